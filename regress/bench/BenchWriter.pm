
# What the writer pays, in transactions a second, in CPU and in WAL.

package BenchWriter;

use strict;
use warnings;

use BenchTools;
use PgqTest;
use Test::More;
use Time::HiRes qw(time);

sub bench
{
	my $bare = new_ours('bare', conf => "wal_level = replica\n");
	my $trigger = $smoke ? $bare
	  : new_ours('trigger', conf => "wal_level = replica\n");

	sql($bare, 'postgres', $orders);
	new_database(ours(), 'writer');
	sql(ours(), 'writer', "$orders; select pgq.create_queue('q');"
		. " select pgq.capture_table('q', 'orders')");
	new_database($trigger, 'writer', slot => 0);
	sql($trigger, 'writer', "$orders; select pgq.create_queue('q');"
		. ' create trigger t after insert on orders for each row'
		. " execute function pgq.jsontriga('q')");
	inserts($bare, $trigger);
	updates($bare);
	$trigger->stop if !$smoke;
	sql(ours(), 'writer', 'select pgq.stop_capture()');
	together($bare);
	per_change();
	$bare->stop;
	return;
}

sub inserts
{
	my ($bare, $trigger) = @_;

	foreach my $n (100, 1)
	{
		my $script = orders_row($n) . ';';
		my $in = "writer's tps, inserts, $n-row transactions";
		my %tps = alternate(
			bare => sub { scalar run_pgbench($bare, 'postgres', $script) },
			capture => sub { scalar run_pgbench(ours(), 'writer', $script) },
			trigger => sub { scalar run_pgbench($trigger, 'writer', $script) },
			old() ? (old => sub {
				scalar run_pgbench(old(), 'writer', $script) }) : ());

		report("$in: capture / bare", '>= 0.95', 'tps', $tps{capture},
			$tps{bare});
		report("$in: our jsontriga / bare", '', 'tps', $tps{trigger},
			$tps{bare});
		report("$in: PgQ 3.5's jsontriga / bare", '', 'tps', $tps{old},
			$tps{bare}) if old();
	}
	return;
}

# The old rows go into the WAL: that is what a replica identity FULL costs.
sub updates
{
	my ($bare) = @_;
	my $table = "create table account (id int primary key, balance numeric,"
	  . " name text, changed timestamptz) with (fillfactor = 50);"
	  . " insert into account select i, i, 'name of account ' || i, now()"
	  . ' from generate_series(1, 10000) i';
	my $script = "\\set a random(0, 99)\nupdate account set balance = balance + 1,"
	  . ' changed = now() where id > :a * 100 and id <= :a * 100 + 100;';

	sql($bare, 'postgres', $table);
	sql(ours(), 'writer', "$table; alter table account replica identity full;"
		. " select pgq.capture_table('q', 'account')");
	compare("writer's tps, updates of 100 rows: capture with FULL / bare", '',
		'tps',
		sub { scalar run_pgbench(ours(), 'writer', $script) },
		sub { scalar run_pgbench($bare, 'postgres', $script) });
	return;
}

# Changes written a second by two writers who do what they can.
sub writing
{
	my ($node, $db) = @_;
	my $n;
	my $t = elapsed(sub {
		(undef, $n) = run_pgbench($node, $db, orders_row(100) . ';');
		wait_ingest($node, $db) if $db eq 'together';
	});

	return 100 * $n / $t;
}

# The same with all of them in the queue.  Without capture they show what the two
# processors could do at best.
sub together
{
	my ($bare) = @_;
	my $in = 'changes written';
	my $to = old() ? "PgQ 3.5's jsontriga" : 'written only';
	my %rate;

	new_database(ours(), 'together');
	sql(ours(), 'together', "$orders; select pgq.create_queue('q');"
		. " select pgq.capture_table('q', 'orders')");
	%rate = alternate(
		ours => sub {
			my $pgqd = start_pgqd(ours(), database_list => 'together');
			wait_ingest(ours(), 'together');
			my $rate = writing(ours(), 'together');
			$pgqd->stop;
			return $rate;
		},
		bare => sub { writing($bare, 'postgres') },
		old() ? (old => sub { writing(old(), 'writer') }) : ());
	report("$in and in the queue a second, / $to", old() ? '>= 2.5' : '', '/s',
		$rate{ours}, $rate{old} // $rate{bare});
	report("$in a second without any capture / $to", '', '/s', $rate{bare},
		$rate{old}) if old();
	sql(ours(), 'together', 'select pgq.stop_capture()');
	return;
}

# CPU and WAL of one change; of ours so many that the start of pgqd and its
# sessions does not count.
sub per_change
{
	my $n = $changes;
	my (%cpu, %wal);

	new_database(ours(), 'per_change');
	sql(ours(), 'per_change', "$orders; select pgq.create_queue('q');"
		. " select pgq.capture_table('q', 'orders')");
	for (1 .. $rounds)
	{
		my ($wal, $cpu);

		sql(ours(), 'per_change', 'checkpoint');
		$wal = wal_end(ours());
		sql(ours(), 'per_change', fill_orders($n));
		my $written = wal_end(ours());
		my $pgqd = start_pgqd(ours(), database_list => 'per_change');
		profiled(ours(), 'per_change', $pgqd, sub { wait_ingest(ours(), 'per_change') });
		$cpu = cpu(pids_of(ours(), 'per_change', $pgqd));
		push @{ $wal{part} }, (wal_end(ours()) - $written) / $n;
		$wal = wal_end(ours()) - $wal;
		stop_settled(ours(), $pgqd);
		push @{ $cpu{ours} }, 1e6 * $cpu / $n;
		push @{ $wal{ours} }, $wal / $n;
		is(sql(ours(), 'per_change', 'select count(*) from pgq.event_template'),
			$n * $_, 'CPU was measured over all changes');
		push @{ $wal{event} }, sql(ours(), 'per_change',
			'select avg(pg_column_size(e.*)) from (select * from pgq.event_template limit 10000) e');
		next unless old();

		my %used;
		my $triggered = $n / 5;
		foreach my $mode ('disable', 'enable')
		{
			my $s = session(old(), 'writer');
			my $pid = $s->query('select pg_backend_pid()');

			sql(old(), 'writer', "alter table orders $mode trigger t; checkpoint");
			$wal = wal_end(old());
			$cpu = cpu($pid);
			$s->query(fill_orders($triggered));
			$used{$mode} = cpu($pid) - $cpu;
			$wal = wal_end(old()) - $wal;
			$s->close;
		}
		push @{ $cpu{old} }, 1e6 * ($used{enable} - $used{disable}) / $triggered;
		push @{ $wal{old} }, $wal / $triggered;
	}
	sql(ours(), 'per_change', 'select pgq.stop_capture()');
	report("WAL per change, our part / the event's bytes in the table", '<= 1.25', 'bytes',
		$wal{part}, $wal{event});
	if (old())
	{
		report("CPU per change: walsender, pgqd, backend / PgQ 3.5's jsontriga",
			'<= 0.38', 'us', $cpu{ours}, $cpu{old});
		report("WAL per change, all told / PgQ 3.5's jsontriga", '<= 1.0',
			'bytes', $wal{ours}, $wal{old});
		return;
	}
	value('CPU per change: walsender, pgqd, backend', '', 'us', @{ $cpu{ours} });
	value('WAL per change, all told', '', 'bytes', @{ $wal{ours} });
	return;
}

1;
