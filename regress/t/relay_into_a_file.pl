
# A relay writes each event of a queue into a file once and in order, whoever is
# killed, and says what is wrong when something is.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use PgqTest;
use PgqRelay;
use PgqShop;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'pgqrelay was not built here'
  if system('pgqrelay --version >/dev/null 2>&1') != 0;

my $shop = PgqShop->new(q{'t', 'n' || i});
my ($node, $db) = @$shop{qw(node db)};
my $dir = PostgreSQL::Test::Utils::tempdir();
my $file = "$dir/orders";
my %keys = $shop->keys(target => "file:$file");

sub lines { return -e $file ? [ split(/\n/, slurp($file)) ] : [] }

sub ledger
{
	my ($name) = @_;
	my $n = $shop->{n};

	wait_for("$n lines", sub { @{ lines() } >= $n && $shop->bookmark == -s $file });
	return is_deeply(lines(), [ map { "n$_" } 1 .. $n ], "$name: each event once, in order");
}

my $relay = start_relay(r => \%keys);
$shop->insert(1000);
ledger('at rest');

$shop->amid(8, 1000, sub { $relay->crash }, 0.1);
ledger('it was killed');

# what it wrote of a batch that was not finished is cut off
is($relay->stop, 0, 'it ends cleanly');
append_to_file($file, "half of a batch\n");
$shop->insert(10);
$relay->start;
ledger('half of a batch was there');

# the server goes and comes
$node->stop('immediate');
$relay->wait_log(qr/database away/);
$node->start;
$shop->insert(10);
ledger('the server was killed');

# two relays of one consumer
my $second = start_relay(r => \%keys);
$second->wait_log(qr/another process writes/);
$shop->insert(10);
ledger('two relays ran at once');
$second->stop;

# an event that no line can hold stops it, or is dead
my $mark = length $relay->text;
sql($node, $db, q{select pgq.insert_event('q', 't', E'two\nlines')});
$shop->insert(1);
$relay->wait_log(qr/stands still: the engine will not take event \d+: .*newline/,
	$mark);
is(scalar @{ lines() }, $shop->{n} - 1, 'it stands still there');
$relay->stop;
$relay = start_relay(r => { %keys, on_refused => 'dead' });
ledger('without the one that is dead');
is(sql($node, $db, q{select count(*) from pgq.get_dead_events('q', 'relay_r')}),
	'1', 'or makes it dead, with the reason');

# the file lost what it had
$relay->stop;
truncate($file, 100);
$shop->insert(1);
$relay->start;
$relay->wait_log(qr/stands still: .* has lost events: it has 100 bytes/);
pass('a file that lost events is not written to');
$relay->stop;

# in the midst of the first batch of all, and while the database says no
add_relayed_queue($node, $db, 'first', 'relay_first');
sql($node, $db, $_)
  foreach q{select pgq.insert_event('first', 't', 'n' || i) from generate_series(1, 9) i},
  q{select pgq.insert_event('first', 't', E'two\nlines')},
  q{alter function pgq.event_dead(int8, int8, text) rename to event_dead_away};
ticks($node, $db, 'first');
my %first = (%keys, queue => 'first', consumer => 'relay_first',
	target => "file:$dir/first");
$relay = start_relay(first => \%first);
$relay->wait_log(qr/stands still: the engine will not take event/);
$relay->stop;
ok(-s "$dir/first", 'a part of the first batch was written');
$relay = start_relay(first => { %first, on_refused => 'dead' });
$relay->wait_log(qr/database away: .*pgq\.event_dead.* does not exist/);
pass('why an event can not be made dead is told');
$mark = length $relay->text;
sql($node, 'postgres', "alter database $db allow_connections false");
$relay->wait_log(qr/database away: .*is not currently accepting connections/, $mark);
pass('and why the database can not be asked to');
sql($node, 'postgres', "alter database $db allow_connections true");
sql($node, $db,
	q{alter function pgq.event_dead_away(int8, int8, text) rename to event_dead});
wait_for('the first batch', sub { slurp("$dir/first") eq join('', map { "n$_\n" } 1 .. 9)
	&& sql($node, $db, q{select count(*) from pgq.get_dead_events('first', null)}) });
pass('the first batch is written once, whatever came in between');
$relay->stop;

# a key as an object, as Debezium's are
add_relayed_queue($node, $db, 'keys', 'relay_keys');
sql($node, $db, q{select pgq.insert_event('keys', t, d, 'public.t', null, null, null) from (values
	('I:id,b', 'id=7&b=x%22&c=1'), ('{"op":"INSERT","table":["public","t"],"pkey":["id","b"]}',
		'{"id":7,"b":"x\"","c":1}'), ('{"op":"DELETE","table":["public","t"],"pkey":["id"]}',
		'{"before":{"id":7,"c":null},"after":null,"source":{}}'), ('x', 'no key')) v (t, d)});
ticks($node, $db, 'keys');
$relay = start_relay(keys => { %keys, queue => 'keys', target => "file:$dir/keys",
	format => 'json', key => '{key_json}' });
wait_for('four lines', sub { -e "$dir/keys" && (() = slurp("$dir/keys") =~ /\n/g) == 4 });
is(join(' ', map { decode_json($_)->{key} // 'none' } split(/\n/, slurp("$dir/keys"))),
	'{"id":"7","b":"x\""} {"id":7,"b":"x\""} {"id":7} none', 'a key may be an object');
$relay->stop;

# keys that are nothing but a sign, or nothing; numbers as PostgreSQL has them
{
	my @data = ('{"n":18446744073709551616,"e":1e400,"f":[-0.10,123456789012345678901234567890.5e+999]}',
		'1' . '0' x 400, '-0', '01', '1e', '{"n":1e400x}', '{"e99999999999999999999":"1e400"}', '"99999999999999999999"');
	add_relayed_queue($node, $db, 'odd', 'relay_odd');
	sql($node, $db, "select pgq.insert_event('odd', 'I:k', d, 'public.t', null, null, null)
		from unnest(array['k=-', 'k=', 'k=a', 'k']) d");
	sql($node, $db, "select pgq.insert_event('odd', 't', '$_')") foreach @data;
	ticks($node, $db, 'odd');
	$relay = start_relay(odd => { %keys, queue => 'odd', target => "file:$dir/odd", format => 'json' },
		more => { %keys, queue => 'odd', target => "file:$dir/more", format => 'json', key => '{type}/{key}', consumer => 'more' });
	my $all = sub { -e "$dir/odd" ? slurp("$dir/odd") =~ s/.*?"key":([^,]*),"data":(.*?),"extra1".*/$1 $2/gr : '' };
	wait_for('all lines', sub { (() = $all->() =~ /\n/g) == 4 + @data });
	is($all->(), join('', map { "$_\n" } '"-" "k=-"', '"" "k="', '"a" "k=a"', 'null "k"',
		map { 'null ' . (/^01|^1e|x/ ? encode_json([$_]) =~ s/^.(.*).$/$1/r : $_) } @data),
		'a key may be - or empty, and a number as large as PostgreSQL takes');
	$relay->stop;
}

# bad input, one clear message each
foreach my $case (
	[ { target => 'smoke:signals' }, qr/no target of the kind "smoke:signals"/ ],
	[ { queue => undef }, qr/key "queue" is missing/ ],
	[ { format => 'xml' }, qr/format "xml" is none of plain, json/ ],
	[ { key => '{kee}' }, qr/there is no field "\{kee\}"/ ],
	[ { key => '{key' }, qr/"\{" without "\}"/ ],
	[ { topic => 'x' }, qr/key "topic" means nothing to a file: target/ ],
	[ { target => "file:$dir/{queue}" }, qr/key "target" is one name, and no template: \{queue\} is not/ ],
	[ { target => 'postgresql:///far', to_queue => 'a{{}{b}{schema}' },
		qr/key "to_queue" is one name, and no template: \{schema\} is not/ ],
	[ { on_refused => 'skip' }, qr/on_refused must be stop or dead/ ],
	[ { password => '${NO_SUCH_VARIABLE}' }, qr/no variable NO_SUCH_VARIABLE/ ],
	[ { nonsense => 1 }, qr/unknown key "nonsense"/ ])
{
	my ($bad, $message) = @$case;
	my $r = start_relay(r => { %keys, %$bad });

	wait_for('its end', sub { !$r->alive });
	like($r->text, $message, "refused: $message");
}

# bytes that are no UTF-8, in a database that has such, stop nothing
sql($node, 'postgres', q{create database ascii template template0 encoding 'SQL_ASCII'
	lc_collate 'C' lc_ctype 'C'});
sql($node, 'ascii', q{create extension pgq; select pgq.create_queue('q');
	select pgq.register_consumer('q', c) from unnest('{relay_a,c}'::text[]) c});
sql($node, 'ascii', q{select pgq.insert_event('q', 't', E'a\xe9z');
	select pgq.insert_event('q', 't', 'after')});
ticks($node, 'ascii', 'q');
my $ascii = start_relay(a => { db => $node->connstr('ascii'), queue => 'q',
		target => "file:$dir/ascii", format => 'json' });
wait_for('both lines', sub { -e "$dir/ascii" && slurp("$dir/ascii") =~ /after/ });
like(slurp("$dir/ascii"), qr/a\\ufffdz.*\n.*after/, 'a relay writes JSON all the same');
$ascii->stop;
my ($out) = run_command([ 'pgqadm', '-d', $node->connstr('ascii'), 'consume', 'q', 'c',
		'--timeout', '1' ]);
like($out, qr/a\\ufffdz.*\n.*after/, 'and so does pgqadm consume');

# servers that take a connection and say nothing hold up nobody's end
my @mute = map { IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) } 1 .. 3;
my $waits = start_relay(mute => { %keys, target => "file:$dir/mute",
	db => 'host=' . join(',', ('127.0.0.1') x 3) . ' port=' . join(',', map { $_->sockport } @mute)
	  . ' dbname=x' });
wait_for('a connection', sub { IO::Select->new($mute[0])->can_read(0) });
my $asked = time;
is($waits->stop, 0, 'it ends cleanly amid a connection');
cmp_ok(time - $asked, '<', 15, 'and does not wait for the time that three may take');
like($waits->text, qr/\[mute\]: it is waited for no longer: its database or/, 'and says so');

$shop->takes_little_memory(20000, %keys, target => "file:$dir/big");

done_testing();
