
# A relay puts each event of a queue into streams of Redis once and in order, or
# stands still and says why: whoever is killed, two relays at once, another writer, a
# server that lost its end.

use strict;
use warnings;

use PgqRedis;
use PgqRelay;
use PgqShop;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $redis = PgqRedis->new;
# into two streams, in turn
my $shop = PgqShop->new(q{'I:id', 'id=' || i, 'public.t' || i % 2, null, null, null});
my ($node, $db) = @$shop{qw(node db)};

my %keys = $shop->keys(
	target => $redis->url,
	stream => 'q.{table}');

sub ledger
{
	my ($name) = @_;
	my $all;

	wait_for("$shop->{n} messages",
		sub { $redis->ask('XLEN', 'q.t0') + $redis->ask('XLEN', 'q.t1') >= $shop->{n} });
	$all = $shop->events;
	foreach my $t (0, 1)
	{
		same_events($redis->events("q.t$t"),
			[ grep { $_->[1] =~ /(\d+)$/ && $1 % 2 == $t } @$all ],
			"$name, stream $t");
	}
	return;
}

my $relay = start_relay(r => \%keys);
$shop->insert(1000);
ledger('each event');

$shop->amid(6, 700, sub { $relay->crash });
ledger('the relay was killed');

$shop->amid(3, 700, sub { $redis->crash });
ledger('the engine was killed');

# what the engine refused for want of memory comes before what it took afterwards
{
	my $mark = length $relay->text;

	$redis->ask('CONFIG', 'SET', 'maxmemory', 1);
	$shop->insert(30000);
	$relay->wait_log(qr/engine away: .*OOM/, $mark);
	foreach my $round (1 .. 6)
	{
		$redis->ask('CONFIG', 'SET', 'maxmemory', 0);
		sleep(0.03);
		$redis->ask('CONFIG', 'SET', 'maxmemory', 1);
		sleep(0.2);
	}
	$redis->ask('CONFIG', 'SET', 'maxmemory', 0);
	ledger('the engine was short of memory');
}

# the database fails while answers to what was sent are still to come: they are not
# those to what is asked next
{
	my $mark = length $relay->text;
	my $pid;

	$redis->ask('CLIENT', 'PAUSE', 60000, 'WRITE');
	$shop->insert(5000);
	wait_for('events under way', sub {
		$pid = sql($node, $db, q{select pid from pg_stat_activity
			where state = 'idle in transaction' and query ~ '^fetch'});
	});
	sql($node, $db, "select pg_terminate_backend($pid)");
	$redis->ask('CLIENT', 'UNPAUSE');
	ledger('the database failed amid a batch');
	unlike(substr($relay->text, $mark), qr/stands still/, 'and it did not stand still');
}

my $second = start_relay(r => \%keys);
$shop->amid(5, 500, sub { sleep(0.1) });
ledger('two relays ran at once');
$second->stop;

database_goes_back($node, $db, $relay, sub { $shop->insert(10) },
	qr/stream pgq.position.relay_r is at batch (\d+), and the bookmark at 1 before batch \d+/);
ledger('with a new bookmark it goes on');

# another writer of a stream
my $mark = length $relay->text;
$redis->ask('XADD', 'q.t1', '999999999-1', 'id', 'x/1', 'body', 'foreign');
$shop->insert(2);
$relay->wait_log(qr/stands still: stream q.t1 has another writer: its last message is of batch 999999999/, $mark);
pass('another writer is seen');
$relay->stop;

# the server lost its end
$redis->ask('FLUSHALL');
$relay->start;
$relay->wait_log(qr/stands still: stream pgq.position.relay_r has lost events: it is at batch 0 and was at \d+/);
pass('a server that lost events is seen');
is($relay->stop, 0, 'it ends cleanly');

$shop->takes_little_memory(20000, %keys, stream => 'big');

# bad input
$redis->ask('SET', 'q.t1', 'no stream');
tells(\%keys,
	[ { stream => undef }, qr/key "stream" is missing/ ],
	[ { target => 'redis://' }, qr/is no address like redis:/ ],
	[ { password => 'wrong' }, qr/stands still|engine away: .*AUTH/ ],
	[ { target => 'redis://127.0.0.1:1' }, qr/engine away: .*no connection/ ]);

done_testing();
