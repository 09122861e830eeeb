
# A relay puts each event of a queue into a stream of NATS JetStream once and in
# order, or stands still and says from where: whoever is killed, whatever is cut,
# with a second relay, a second writer, a stream that lost its end.

use strict;
use warnings;

use PgqTest;
use PgqNats;
use PgqRelay;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

need_engine('libnats', 'nats-server', 'nats-server');

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $nats = PgqNats->new;

sql($node, $db, $_)
  foreach q{select pgq.create_queue('q')},
  q{select pgq.register_consumer('q', 'relay_r')};
$nats->create('ORDERS', ['q.>']);

my %keys = (
	db => $node->connstr($db),
	queue => 'q',
	target => $nats->url,
	stream => 'ORDERS',
	subject => 'q.{table}.{op}',
	stall_release => 2,
	window_events => 100);
my $n = 0;

sub insert
{
	my ($count) = @_;

	sql($node, $db, "select pgq.insert_event('q', 'I:id', 'id=' || i || '&v=x',
		'public.t', null, null, null)
		from generate_series($n + 1, $n + $count) i");
	$n += $count;
	ticks($node, $db, 'q');
	return;
}

sub bookmark
{
	return sql($node, $db, q{select pgq.get_bookmark('q', 'relay_r')}) || 0;
}

sub ledger
{
	my ($name) = @_;

	wait_for("$n messages", sub { bookmark() >= $n });
	return same_events($nats->events('ORDERS'), events_of($node, $db, 'q'), $name);
}

my $relay = start_relay(r => \%keys);
insert(1000);
ledger('each event is a message');

my $m = $nats->message('ORDERS', 7);
is($m->{subject}, 'q.t.insert', 'the subject is filled');
is($m->{headers}{'Pgq-Extra1'}, 'public.t', 'headers tell the rest');
is($m->{headers}{'Pgq-Place'}, '7', 'and the place in the batch');

# killed at any moment: the relay, the engine, the database
foreach my $round (1 .. 6)
{
	insert(700);
	sleep(rand(0.05));
	$relay->kill9;
	$relay->start;
}
ledger('the relay was killed');
foreach my $round (1 .. 4)
{
	insert(700);
	sleep(rand(0.05));
	$nats->kill9;
	sleep(rand(0.3));
	$nats->start;
}
ledger('the engine was killed');
foreach my $round (1 .. 2)
{
	insert(700);
	sleep(rand(0.05));
	$node->stop('immediate');
	$node->start;
}
ledger('the database was killed');

# two relays on one consumer: the chain of sequences lets one message in
my $second = start_relay(r => \%keys);
foreach my $round (1 .. 5)
{
	insert(500);
	sleep(0.1);
}
ledger('two relays ran at once');
$second->stop;

database_goes_back($node, $db, $relay, sub { insert(10) },
	qr/stream "ORDERS" is at message (\d+) of batch \d+, and the bookmark at 1 before batch \d+/);
ledger('with a new bookmark it goes on');

# what the stream can't take
my $mark = length $relay->text;
sql($node, $db, q{select pgq.insert_event('q', 't', repeat('x', 2000000))});
insert(1);
$relay->wait_log(qr/will not take event \d+: it has 2000000 bytes/, $mark);
pass('an event that is too large stops it');
$relay->stop;
$relay = start_relay(r => { %keys, on_refused => 'dead' });
wait_for('the next', sub { bookmark() >= $n });
is(sql($node, $db, q{select dead_reason ~ '2000000 bytes'
	from pgq.get_dead_events('q', 'relay_r')}), 't', 'or is dead, with the reason');

sql($node, $db, "select pgq.insert_event('q', 't', 'small', null,
	repeat('x', $_), null, null)") foreach 100000, 2000000;
insert(1);
wait_for('the next', sub { bookmark() >= $n });
is(sql($node, $db, q{select count(*) from pgq.get_dead_events('q', 'relay_r')
	where dead_reason ~ 'bytes of headers'}), '2', 'headers count, too');

# another writer
$nats->request('q.foreign', 'hello');
$mark = length $relay->text;
insert(1);
$relay->wait_log(qr/stands still: stream "ORDERS" has another writer/, $mark);
pass('another writer is seen');
$relay->stop;

# the stream was made anew: what it had is gone
$nats->api('STREAM.DELETE.ORDERS', {});
$nats->create('ORDERS', ['q.>']);
$relay->start;
$relay->wait_log(qr/stands still: stream "ORDERS" has lost events: .* is 0 and was \d+/);
pass('a stream that lost events is seen');
is($relay->stop, 0, 'it ends cleanly');

# bad input
foreach my $case (
	[ { stream => 'NONE' }, qr/JetStream has no stream "NONE"/ ],
	[ { stream => undef }, qr/key "stream" is missing/ ],
	[ { target => 'nats://127.0.0.1:1' }, qr/engine away: nats:\/\/127.0.0.1:1/ ])
{
	my ($bad, $message) = @$case;
	my $r = start_relay(r => { %keys, %$bad });

	$r->wait_log($message);
	pass("told: $message");
	$r->stop;
}

done_testing();
