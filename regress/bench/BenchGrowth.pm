
# What grows, and how fast, when there is more of everything: tables, columns,
# queues, consumers, backlog, the age of an open transaction, the size of rows.
#
# The cost of a change is CPU of walsender, pgqd and its sessions together.

package BenchGrowth;

use strict;
use warnings;

use BenchTools;
use PgqTest;

my $node;

# Microseconds of CPU for each of the $n changes that this SQL makes.
sub cost
{
	my ($db, $n, $sql) = @_;

	sql($node, $db, $sql);
	my $pgqd = start_pgqd($node, database_list => $db);
	wait_ingest($node, $db);
	my $cpu = cpu(pids_of($node, $db, $pgqd));
	stop_settled($node, $pgqd);
	return 1e6 * $cpu / $n;
}

# A new database for one curve, given away when SUB is done with it.
sub in_database
{
	my ($db, $sub) = @_;

	$node = ours();
	new_database($node, $db);
	sql($node, $db, "select pgq.create_queue('q')");
	$sub->($db);
	sql($node, $db, 'select pgq.stop_capture()');
	sql($node, 'postgres', "drop database $db");
	return;
}

# A statement that captures tables t$from to t$to, each into a queue.
sub capture_tables
{
	my ($from, $to, $queue) = @_;
	my $new = $queue eq "'q'" ? '' : "perform pgq.create_queue($queue);";
	return "do \$\$ begin for i in $from..$to loop $new"
	  . " perform pgq.capture_table($queue, ('t' || i)::regclass,"
	  . " 'ops=insert'); commit; end loop; end \$\$";
}

# A statement that inserts $n rows, a hundred a transaction, into $k tables in turn.
sub fill_tables
{
	my ($n, $k) = @_;
	return 'do $$ begin for n in 1..' . ($n / 100) . ' loop execute format('
	  . "'insert into t%s select i, ''some note text '' || i from generate_series(1, 100) i',"
	  . " 1 + n % $k); commit; end loop; end \$\$";
}

# The same for tables and for queues: both begin at 1.
sub tables
{
	my ($db, $queue, $title, $name, @steps) = @_;
	my $last = 0;
	my @points;

	sql($node, $db, "do \$\$ begin for i in 1..$steps[-1] loop"
		. " execute format('create table t%s (id int, note text)', i);"
		. ' commit; end loop; end $$');
	foreach my $k (@steps)
	{
		my $n = $k * 100 > 200_000 ? $k * 100 : 200_000;

		sql($node, $db, capture_tables($last + 1, $k, $queue));
		$last = $k;
		cost($db, 1, 'select 1');    # past the marks
		push @points, [ $k, cost($db, $n, fill_tables($n, $k)) ];
	}
	curve("growth-$name", $title, $name, 'us of CPU per change', @points);
	return;
}

sub columns
{
	my ($db) = @_;
	my $n = $smoke ? 500 : 20_000;
	my (@points, @each);

	foreach my $k ($smoke ? (5, 20) : (5, 20, 50, 100, 200, 500))
	{
		sql($node, $db, "create table t$k (" . join(', ',
				map { "c$_ int" } 1 .. $k)
			. "); select pgq.capture_table('q', 't$k', 'ops=insert')");
		push @points, [ $k, cost($db, $n, "insert into t$k select "
			. join(', ', map { "i + $_" } 1 .. $k)
			. " from generate_series(1, $n) i") ];
		push @each, [ $k, $points[-1][1] / $k ];
	}
	curve('growth-columns', 'Columns of a row', 'columns',
		'us of CPU per column of a change', @each);
	return;
}

sub idle_queues
{
	my ($db) = @_;
	my $s = session($node, $db);
	my $last = 0;
	my @points;

	foreach my $k ($smoke ? (1, 10) : (1, 10, 100, 1000))
	{
		$s->query("do \$\$ begin for i in @{[$last + 1]}..$k loop"
			. " perform pgq.create_queue('idle' || i); commit; end loop; end \$\$");
		$last = $k;
		$s->query('select pgq.ticker()') for 1 .. 2;
		push @points, [ $k, 1e6 * median(map {
			timed($s, 'select pgq.ticker()') } 1 .. 9) / ($k + 1) ];
	}
	$s->close;
	curve('growth-idle', 'A ticker run over queues without events', 'queues',
		'us per queue', @points);
	return;
}

sub consumers
{
	my ($db) = @_;
	my $s = session($node, $db);
	my $last = 0;
	my @points;

	$s->query("select pgq.set_queue_config('q', 'ticker_max_count', '1')");
	foreach my $k ($smoke ? (1, 5) : (1, 10, 50, 100, 200))
	{
		$s->query("select count(pgq.register_consumer('q', 'c' || i))"
			. " from generate_series(@{[$last + 1]}, $k) i");
		$last = $k;
		$s->query('vacuum analyze');
		my $t = 0;
		for (1 .. 200 / $k + 3)
		{
			$s->query("select count(pgq.insert_event('q', 't', 'some data'))"
				. ' from generate_series(1, 100)');
			$t += timed($s, "select pgq.ticker('q')");
			$t += timed($s, "do \$\$ declare b int8; n int8; begin"
				. " for i in 1..$k loop b := pgq.next_batch('q', 'c' || i); commit;"
				. ' select count(*) into n from pgq.get_batch_events(b);'
				. ' perform pgq.finish_batch(b); commit; end loop; end $$');
		}
		push @points, [ $k, 1e3 * $t / $k / int(200 / $k + 3) ];
	}
	$s->close;
	curve('growth-consumers', 'A tick, and a batch of 100 events for each consumer',
		'consumers', 'ms per consumer', @points);
	return;
}

sub backlog
{
	my ($db) = @_;
	my @points;

	sql($node, $db, "$orders; select pgq.capture_table('q', 'orders')");
	foreach my $n (100_000, 1_000_000, $ENV{BENCH_LONG} ? 10_000_000 : 3_000_000)
	{
		push @points, [ $n, cost($db, $n, fill_orders($n)) ];
	}
	curve('growth-backlog', 'A backlog of changes', 'changes',
		'us of CPU per change', @points);
	return;
}

# While a transaction is open that was there before all changes.
sub open_transaction
{
	my ($db) = @_;
	my $n = $smoke ? 1000 : 200_000;
	my $s = session($node, $db);
	my (@points, @starts);
	my $pgqd;

	sql($node, $db, "$orders; create table other (i int);"
		. " select pgq.capture_table('q', 'orders')");
	$s->query('begin');
	$s->query('insert into other values (1)');
	$pgqd = start_pgqd($node, database_list => $db);
	wait_ingest($node, $db);
	foreach my $step (1 .. ($smoke ? 2 : 5))
	{
		my @pids = pids_of($node, $db, $pgqd);
		my $before = cpu(@pids);

		sql($node, $db, fill_orders($n));
		wait_ingest($node, $db);
		push @points, [ $n * $step, 1e6 * (cpu(@pids) - $before) / $n ];

		$pgqd->stop;
		push @starts, [ $n * $step, elapsed(sub {
			$pgqd = start_pgqd($node, database_list => $db);
			wait_ingest($node, $db);
		}) ];
	}
	$pgqd->stop;
	$s->close;
	curve('growth-open', 'An open transaction, by the changes since it began',
		'changes', 'us of CPU per change', @points);
	curve('growth-restart', 'Until pgqd is up to date after a restart, by the'
		. ' changes since an open transaction began', 'changes', 's', @starts);
	return;
}

sub row_sizes
{
	my ($db) = @_;
	my @points;

	sql($node, $db, 'create table wide (i int, t text);'
		. ' alter table wide alter t set storage external;'
		. " select pgq.capture_table('q', 'wide', 'ops=insert')");
	foreach my $size ((100, 1000, 10_000, 100_000, 1_000_000, 10_000_000))
	{
		my $n = int(200_000_000 / ($size + 2000));

		push @points, [ $size, cost($db, $n, "insert into wide"
			. " select i, repeat('0123456789', $size / 10)"
			. " from generate_series(1, $n) i") / ($size / 1000) ];
		sql($node, $db, 'truncate wide');
	}
	curve('growth-rows', 'The size of a row', 'bytes', 'us of CPU per kB', @points);
	return;
}

sub bench
{
	in_database('columns', \&columns);
	in_database('idle', \&idle_queues);
	in_database('consumers', \&consumers);
	in_database('open', \&open_transaction);
	return if $smoke;
	in_database('backlog', \&backlog);
	in_database('rows', \&row_sizes);
	in_database('queues', sub { tables($_[0], "'q' || i", 'Queues that changes go to',
		'queues', 1, 10, 100, 1000) });
	in_database('tables', sub { tables($_[0], "'q'", 'Captured tables', 'tables',
		1, 10, 100, 1000, 10_000) });
	return;
}

1;
