
# A relay puts each event of a queue into streams of Redis once and in order, or
# stands still and says why: whoever is killed, two relays at once, another writer, a
# server that lost its end.

use strict;
use warnings;

use PgqRedis;
use PgqRelay;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

need_engine('hiredis', 'redis-server', 'redis-server', 'redis-tools');

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $redis = PgqRedis->new;

sql($node, $db, $_)
  foreach q{select pgq.create_queue('q')},
  q{select pgq.register_consumer('q', 'relay_r')};

my %keys = (
	db => $node->connstr($db),
	queue => 'q',
	target => $redis->url,
	stream => 'q.{table}',
	stall_release => 2,
	window_events => 100);
my $n = 0;

# into two streams, in turn
sub insert
{
	my ($count) = @_;

	sql($node, $db, "select pgq.insert_event('q', 'I:id', 'id=' || i,
		'public.t' || i % 2, null, null, null)
		from generate_series($n + 1, $n + $count) i");
	$n += $count;
	ticks($node, $db, 'q');
	return;
}

sub ledger
{
	my ($name) = @_;
	my $all;

	wait_for("$n messages",
		sub { $redis->ask('XLEN', 'q.t0') + $redis->ask('XLEN', 'q.t1') >= $n });
	$all = events_of($node, $db, 'q');
	foreach my $t (0, 1)
	{
		same_events($redis->events("q.t$t"),
			[ grep { $_->[1] =~ /(\d+)$/ && $1 % 2 == $t } @$all ],
			"$name, stream $t");
	}
	return;
}

my $relay = start_relay(r => \%keys);
insert(1000);
ledger('each event');

foreach my $round (1 .. 6)
{
	insert(700);
	sleep(rand(0.05));
	$relay->kill9;
	$relay->start;
}
ledger('the relay was killed');

foreach my $round (1 .. 3)
{
	insert(700);
	sleep(rand(0.05));
	$redis->kill9;
	sleep(rand(0.3));
	$redis->start;
}
ledger('the engine was killed');

my $second = start_relay(r => \%keys);
foreach my $round (1 .. 5)
{
	insert(500);
	sleep(0.1);
}
ledger('two relays ran at once');
$second->stop;

database_goes_back($node, $db, $relay, sub { insert(10) },
	qr/stream pgq.position.relay_r is at batch (\d+), and the bookmark at 1 before batch \d+/);
ledger('with a new bookmark it goes on');

# another writer of a stream
my $mark = length $relay->text;
$redis->ask('XADD', 'q.t1', '999999999-1', 'id', 'x/1', 'body', 'foreign');
insert(2);
$relay->wait_log(qr/stands still: stream q.t1 has another writer: its last message is of batch 999999999/, $mark);
pass('another writer is seen');
$relay->stop;

# the server lost its end
$redis->ask('FLUSHALL');
$relay->start;
$relay->wait_log(qr/stands still: stream pgq.position.relay_r has lost events: it is at batch 0 and was at \d+/);
pass('a server that lost events is seen');
is($relay->stop, 0, 'it ends cleanly');

# bad input
$redis->ask('SET', 'q.t1', 'no stream');
foreach my $case (
	[ { stream => undef }, qr/key "stream" is missing/ ],
	[ { target => 'redis://' }, qr/is no address like redis:/ ],
	[ { password => 'wrong' }, qr/stands still|engine away: .*AUTH/ ],
	[ { target => 'redis://127.0.0.1:1' }, qr/engine away: .*no connection/ ])
{
	my ($bad, $message) = @$case;
	my $r = start_relay(r => { %keys, %$bad });

	$r->wait_log($message);
	pass("told: $message");
	$r->stop;
}

done_testing();
