
# A role with REPLICATION can read what others write into the WAL, with any
# plugin. What it sees of emitted events lets it forge none, nor send one again;
# and the secret that they are sealed with is not to be seen there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');

sql($node, 'postgres', 'create database shop');
sql($node, 'shop', q{
	create role spy replication;
	select pg_create_logical_replication_slot('watch', 'test_decoding'),
		pg_create_logical_replication_slot('listen', 'pgoutput');
	create publication p});
sql($node, 'shop', 'create extension pgq');
sql($node, 'shop', 'select pgq.start_capture()');
sql($node, 'shop', q{select pgq.create_queue('q'), pgq.register_consumer('q', 'c')});
my $pgqd = start_pgqd($node);

sub secret
{
	return sql($node, 'shop', q{select encode(secret, 'hex') from pgq.secret});
}

# All that test_decoding shows to the spy.
sub watched
{
	return sql($node, 'shop', q{set session authorization spy;
		select data from pg_logical_slot_peek_changes('watch', null, null, 'include-rewrites', 'on')});
}
my $first = secret();
sql($node, 'shop', 'select pgq._new_secret()');
my $second = secret();
like($second, qr/^[0-9a-f]{64}$/, 'there is a secret');
isnt($second, $first, 'which can be made anew');
unlike(watched(), qr/$_/i, 'no plugin shows it') foreach $first, $second;
like(watched(), qr/pgq.queue: INSERT/, 'though it shows other tables of the extension');

# Content of the messages that pgoutput shows: behind "M", flags, LSN, prefix
# and length.
sub heard
{
	return sql($node, 'shop', q{set session authorization spy;
		select encode(substr(data, 10 + 1 + length('pgq.event') + 1 + 4), 'hex')
		from pg_logical_slot_peek_binary_changes('listen', null, null,
			'proto_version', '1', 'publication_names', 'p', 'messages', 'true')
		where get_byte(data, 0) = ascii('M')});
}
sql($node, 'shop', q{select pgq.emit_event('q', 'genuine', 'price=1')});
my $message = heard();
like($message, qr/^[0-9a-f]{100,}$/, 'the message is seen');
(my $changed = $message) =~ s/${\unpack('H*', 'price=1')}/${\unpack('H*', 'price=9')}/;
isnt($changed, $message, 'and can be changed');
unlike($message, qr/$second/, 'it has not the secret');

# emit(HEX ...): the spy writes such messages in one transaction.
sub emit
{
	sql($node, 'shop', "set session authorization spy;\n"
		  . 'select ' . join(', ', map {
			"pg_logical_emit_message(true, 'pgq.event', decode('$_', 'hex'))" } @_));
	return;
}
emit($message);
emit($changed);
emit($changed, $message, $message);

# One who knows the secret: the format is as it is documented, and in its own
# transaction a message counts once, also when a savepoint is rolled back.
sql($node, 'shop', q{
	create function seal(n int, body bytea) returns bytea language sql as $$
		select sha256(secret || int8send(txid_current()) || int8send(length(m)) || m) || m
		from pgq.secret, lateral (select int4send(n) || body as m) x $$;
	});
my $frame = substr($message, 2 * 36) =~ s/${\unpack('H*', 'price=1')}/${\unpack('H*', 'price=5')}/r;
sql($node, 'shop', qq{begin;
	select pg_logical_emit_message(true, 'pgq.event', seal(n, decode('$frame', 'hex')))
		from unnest('{1,1,2,1,2}'::int[]) n;
	commit});

sql($node, 'shop', q{select pgq.emit_event('q', 'last', '')});
wait_ingest($node, 'shop');
is_deeply(consume($node, 'shop', 'q', 'c', "ev_type || ' ' || ev_data"),
	[ 'genuine price=1', 'genuine price=5', 'genuine price=5', 'last ' ],
	'nothing that the spy wrote became an event; by the secret two did');

# numbers of a transaction go on behind a rollback to a savepoint
sql($node, 'shop', q{begin;
	select pgq.emit_event('q', 'a', ''); savepoint s; select pgq.emit_event('q', 'gone', '');
	rollback to s; select pgq.emit_event('q', 'b', ''); commit;
	begin; select pgq.emit_event('q', 'c', ''); select pgq._new_secret();
	select pgq.emit_event('q', 'd', ''); commit;
	select pgq.emit_event('q', 'e', '')});
wait_ingest($node, 'shop');
is_deeply([ grep { $_ ne 'd' } @{ consume($node, 'shop', 'q', 'c', 'ev_type') } ],
	[qw(a b c e)], 'all that is genuine arrives');
is($pgqd->stop, 0, 'pgqd ends cleanly');
$node->stop;
done_testing();
