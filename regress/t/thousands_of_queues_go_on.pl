# More queues than the server has room for locks of: ticks, ingest and what shows
# the queues go on, in parts.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $queues = 1400;

# room for about 1700 locks, and a little more
my $node = new_server('main', conf => "max_connections = 20\n"
	  . "max_locks_per_transaction = 40\nmax_prepared_transactions = 0\n"
	  . "autovacuum = off\n");
my $db = new_database($node, 'shop');

# run a statement for some queues at a time
sub in_pieces
{
	my ($text) = @_;
	my $s = session($node, $db);

	for (my $i = 1; $i <= $queues; $i += 28)
	{
		$s->query("select count($text) from generate_series($i, $i + 27) i");
	}
	$s->close;
	return;
}

in_pieces("pgq.create_queue('q' || i)");
is(sql($node, $db, 'select count(*), count(last_tick_id)
	from pgq.get_queue_info()'), "$queues|$queues", 'all can be looked at');

# Every queue is always due: one call ticks a part, and none waits for ever.
sql($node, $db, "update pgq.queue
	set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0'");
my $part = sql($node, $db, 'select pgq.ticker()');
cmp_ok($part, '>', 50, "ticker() ticks $part queues");
cmp_ok($part, '<', $queues / 3, '... but not all of them');
is(sql($node, $db, "select count(tick_id) between 50 and $part, count(*)
	from pgq.tick_due()"), "t|$queues", 'tick_due() ticks no more, and names the others');
sql($node, $db, 'select pgq.ticker()') for 3 .. 1 + $queues / $part;
is(sql($node, $db, 'select min(last_tick_id) from pgq.get_queue_info()'), 2,
	'those that waited longest come first');

# Many small transactions feed all of them while pgqd is away.
sql($node, $db, "update pgq.queue
	set queue_ticker_idle_period = '1 hour'");
in_pieces("pgq.emit_event('q' || i, 't', 'd')");
my $pgqd = start_pgqd($node, database_list => $db, ticker_period => 60);
wait_ingest($node, $db);
is(sql($node, $db, 'select events from pgq.get_slot_info()'), $queues,
	'all events are in their queues');
wait_for('ticks', sub {
	sql($node, $db, 'select pg_sleep(1), count(*) from pgq.get_queue_info()
		where ev_new > 0') eq '|0' });
is($pgqd->stop, 0, 'pgqd ends cleanly');
unlike(slurp($pgqd->{log}), qr/WARNING|ERROR/, 'without a complaint');

# A dump brought them from another server.
sql($node, $db, "update pgq.queue set queue_origin = null;
	update pgq.tick set tick_snapshot = '9000000:9000000:'");
my $left = $queues;
foreach my $n (1 .. 3)
{
	my $before = $left;

	sql($node, $db, 'select pgq.ticker()');
	$left = sql($node, $db,
		'select count(*) from pgq.queue where queue_origin is null');
	cmp_ok($left, '<', $before, "$left queues are left to be adopted");
}

done_testing();
