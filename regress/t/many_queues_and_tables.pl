# Many queues and many captured tables: pgqd and the walsender stay small, ticks
# and captured changes come in time, and a consumer that stands still holds up
# no other queue.
#
# PGQ_MANY_QUEUES and PGQ_MANY_TABLES make it more.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(time sleep);

my $queues = $ENV{PGQ_MANY_QUEUES} // 30;
my $tables = $ENV{PGQ_MANY_TABLES} // 200;

$PgqTest::patience = 900 if $tables > 1000;
my $node = new_server('main',
	conf => "max_locks_per_transaction = 1000\nautovacuum = off\n");
my $db = new_database($node, 'shop');
my $start = time();

# in pieces, as each takes locks to its end
for (my $i = 1; $i <= $queues; $i += 100)
{
	my $to = $i + 99 < $queues ? $i + 99 : $queues;

	sql($node, $db, "select count(pgq.create_queue('q' || i)),
		count(pgq.register_consumer('q' || i, 'c'))
		from generate_series($i, $to) i");
}
note(sprintf('%d queues made in %.1f s', $queues, time() - $start));
$start = time();
for (my $i = 1; $i <= $tables; $i += 200)
{
	my $to = $i + 199 < $tables ? $i + 199 : $tables;

	sql($node, $db, "do \$\$ begin for i in $i .. $to loop
		execute format('create table t%s (id int primary key)', i);
		perform pgq.capture_table('q' || 1 + i % $queues, ('t' || i)::regclass);
		end loop; end \$\$");
}
note(sprintf('%d tables captured in %.1f s', $tables, time() - $start));

my $pgqd = start_pgqd($node, database_list => $db);
wait_ingest($node, $db);

sub memory
{
	my ($pid) = @_;
	my $status = eval { PgqTest::slurp("/proc/$pid/status") } // return 0;
	return $status =~ /RssAnon:\s+(\d+) kB/ ? $1 / 1024 : 0;
}

my $idle = memory($pgqd->{pid});
cmp_ok($idle, '<', 8, sprintf('pgqd takes %.1f MB when idle', $idle));

# one row in each table, and then again
my %took;
foreach my $time (1, 2, 3)
{
	$start = time();
	for (my $i = 1; $i <= $tables; $i += 200)
	{
		my $to = $i + 199 < $tables ? $i + 199 : $tables;

		sql($node, $db, "do \$\$ begin for i in $i .. $to loop
			execute format('insert into t%s values ($time)', i);
			end loop; end \$\$");
	}
	my $written = time() - $start;
	wait_ingest($node, $db);
	note(sprintf('round %d: a row in each table written in %.1f s, ingested '
			. 'after %.1f s', $time, $written, time() - $start));
}
is(sql($node, $db, 'select events from pgq.get_slot_info()'), 3 * $tables,
	'all events came');
my $walsender = memory(sql($node, $db, q{select active_pid
	from pg_replication_slots where slot_name = 'pgq_shop'}));
my $busy = memory($pgqd->{pid});
note(sprintf('pgqd %.1f MB, walsender %.1f MB', $busy, $walsender));
cmp_ok($busy, '<', 8, 'memory of pgqd');
cmp_ok($walsender, '<', 50 + $tables / 50, 'memory of the walsender');

# The consumers of all queues but one stand still: that one is served.
my $s = session($node, $db);
my $slowest = 0;
foreach my $n (1 .. 10)
{
	$s->query(q{select count(pgq.finish_batch(b)) from
		(select pgq.next_batch('q1', 'c') as b) x where b is not null})
	  foreach 1 .. 2;
	my $from = time();
	$s->query(q{insert into t} . $queues . " values (100 + $n)")
	  if $tables >= $queues;
	my $batch = wait_for('a batch', sub { $s->query(q{select pgq.next_batch('q1', 'c')}) });
	$slowest = time() - $from if time() - $from > $slowest;
	$s->query("select pgq.finish_batch($batch)");
}
note(sprintf('slowest event of a queue whose consumer waits: %.2f s', $slowest));
cmp_ok($slowest, '<', 10, 'no other queue holds it up');
$s->close;
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
