
# Measures PgQ beside its peers on private servers, in one run, and prints ratios.
# Called by scripts/bench, which says what can be asked for.
#
# Every comparison alternates between the two sides and takes medians, so that
# a machine whose speed drifts hurts both. Goals are ratios; times are not.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use IPC::Run ();
use PgqTest;
use PgqDebian;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $smoke = $ENV{BENCH_SMOKE};
my $rounds = $smoke ? 1 : $ENV{BENCH_ROUNDS} // 3;
my $changes = $smoke ? 20_000 : 1_000_000;
my $seconds = $smoke ? 1 : 5;
my $many = $smoke ? 20 : 500;          # queues to tick
my %wanted = map { $_ => 1 } split(/,/, $ENV{BENCH_ONLY} // '');

my @table;     # [what, ours, peer, ratio, goal]
my ($ours, $old, $wal2json);

sub median
{
	my @s = sort { $a <=> $b } @_;
	return @s % 2 ? $s[ $#s / 2 ] : ($s[ @s / 2 - 1 ] + $s[ @s / 2 ]) / 2;
}

sub percentile
{
	my ($p, @values) = @_;
	my @s = sort { $a <=> $b } @values;
	return $s[ int($#s * $p / 100) ];
}

# The table is a file: the test modules keep what is printed for themselves.
sub print_line
{
	PostgreSQL::Test::Utils::append_to_file("$ENV{TESTLOGDIR}/table.txt",
		sprintf("%-66s %11s %11s %6s  %s\n", map { $_ // '' } @_[ 0 .. 4 ]));
	return;
}

sub row
{
	my ($what, $a, $b, $ratio, $goal) = @_;
	push @table, [ $what, $a, $b, $ratio, $goal ];
	print_line($what, $a, $b, $ratio, $goal);
	return;
}

# compare(WHAT, GOAL, UNIT, SUB ours, SUB peer): a row with medians of the two
# and the ratio of ours over the peer's.
sub compare
{
	my ($what, $goal, $unit, $a, $b) = @_;
	my (@a, @b);

	for (1 .. $rounds)
	{
		push @a, $a->();
		push @b, $b->();
	}
	row(
		$what,
		sprintf("%.4g %s", median(@a), $unit),
		sprintf("%.4g %s", median(@b), $unit),
		sprintf("%.2f", median(@a) / median(@b)), $goal);
	return;
}

# Seconds that a statement takes in an open session.
sub timed
{
	my ($s, $sql) = @_;
	my $t = time();
	$s->query($sql);
	return time() - $t;
}

# A group of measures runs if it was asked for, or nothing was.
sub group
{
	my ($name, $sub) = @_;
	$sub->() if !%wanted || $wanted{$name};
	return;
}

my $orders = 'create table orders (id bigserial primary key, customer int,'
  . ' amount numeric, status text, created timestamptz, note text)';
my $row = "(customer, amount, status, created, note) select i, 12.5 * i, 'new',"
  . " now(), 'some note text ' || i from generate_series(1, %d) i";

sub tps
{
	my ($node, $db, $rows) = @_;
	my $out = load_stop(
		load_start(
			$node, $db, 'insert into orders ' . sprintf($row, $rows) . ';',
			'-c', 2, '-T', $seconds));
	$out =~ /tps = ([\d.]+)/ or die $out;
	return $1;
}

# ---- the servers ----

sub new_ours
{
	my ($name, %opt) = @_;
	return new_server($name, %opt,
		conf => "fsync = on\n" . ($opt{conf} // ''));
}

# ---- what the writer pays ----

sub bench_writer
{
	my $bare = new_ours('bare', conf => "wal_level = replica\n");
	my $trigger = new_ours('trigger', conf => "wal_level = replica\n");

	sql($bare, 'postgres', $orders);
	new_database($ours, 'writer');
	sql($ours, 'writer', "$orders; select pgq.create_queue('q');"
		. " select pgq.capture_table('q', 'orders')");
	new_database($trigger, 'writer', slot => 0);
	sql($trigger, 'writer', "$orders; select pgq.create_queue('q');"
		. ' create trigger t after insert on orders for each row'
		. " execute function pgq.jsontriga('q')");
	foreach my $n (100, 1)
	{
		compare("writer's tps, $n-row transactions: capture / bare", '>= 0.95',
			'tps',
			sub { tps($ours, 'writer', $n) },
			sub { tps($bare, 'postgres', $n) });
		compare("writer's tps, $n-row transactions: our trigger / bare", '',
			'tps',
			sub { tps($trigger, 'writer', $n) },
			sub { tps($bare, 'postgres', $n) });
		next unless $old;
		compare("writer's tps, $n-row transactions: PgQ 3.5's / bare", '',
			'tps',
			sub { tps($old, 'writer', $n) },
			sub { tps($bare, 'postgres', $n) });
	}
	$bare->stop;
	$trigger->stop;
	sql($ours, 'writer', 'select pgq.stop_capture()');
	return;
}

# ---- a backlog ----

# Seconds that pg_recvlogical takes to read a slot to a file.
sub recvlogical
{
	my ($node, $db, $slot, $lsn, @options) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/out';
	my $t = time();

	IPC::Run::run([
		'pg_recvlogical', '-d', $node->connstr($db), '--slot', $slot, '--start',
		'--endpos', $lsn, '-f', $file, '--no-loop', map { ('-o', $_) } @options
	], '2>', '/dev/null') or die "pg_recvlogical of $slot failed";
	return time() - $t;
}

sub bench_backlog
{
	my %peers = (
		pgoutput => [ 'pgoutput', 'proto_version=1', 'publication_names=p' ],
		test_decoding => ['test_decoding']);
	my (%time, @ours, $lsn);
	my $s;

	$peers{wal2json} = [ 'wal2json', 'format-version=2' ] if $wal2json;
	for my $round (1 .. $rounds)
	{
		my $db = "backlog$round";

		new_database($ours, $db);
		sql($ours, $db, "$orders; create publication p for table orders;"
			. " select pgq.create_queue('q'); select pgq.capture_table('q', 'orders')");
		sql($ours, $db,
			"select pg_create_logical_replication_slot('${_}_$round', '$peers{$_}[0]')")
		  foreach keys %peers;
		my $n = $changes / 100;
		sql($ours, $db, "do \$\$ begin for n in 1..$n loop insert into orders "
			. sprintf($row, 100) . '; commit; end loop; end $$');
		$lsn = sql($ours, $db, 'select pg_current_wal_insert_lsn()');
		sql($ours, $db, 'checkpoint');

		my $t = time();
		my $pgqd = start_pgqd($ours, database_list => $db);
		wait_ingest($ours, $db);
		push @ours, time() - $t;
		is(sql($ours, $db, "select count(*) from pgq.event_template"),
			$changes, 'the backlog is in the queue');
		$pgqd->stop;
		foreach my $peer (sort keys %peers)
		{
			my ($plugin, @options) = @{ $peers{$peer} };
			push @{ $time{$peer} },
			  recvlogical($ours, $db, "${peer}_$round", $lsn, @options);
		}
		sql($ours, $db,
			"select pg_drop_replication_slot('${_}_$round')") foreach keys %peers;
		sql($ours, $db, 'select pgq.stop_capture()');
		sql($ours, 'postgres', "drop database $db");
	}
	my %goal = (wal2json => '<= 0.60', pgoutput => '<= 0.90');
	row(
		"$changes changes into the queue / $_ to a file",
		sprintf('%.3g s', median(@ours)),
		sprintf('%.3g s', median(@{ $time{$_} })),
		sprintf('%.2f', median(@ours) / median(@{ $time{$_} })),
		$goal{$_}) foreach sort keys %time;
	return;
}

# ---- from commit to consumer ----

sub bench_latency
{
	my ($pgqd, $h);

	new_database($ours, 'latency');
	sql($ours, 'latency', "$orders; select pgq.create_queue('q');"
		. " select pgq.capture_table('q', 'orders'); select pgq.register_consumer('q', 'c')");
	$pgqd = start_pgqd($ours, database_list => 'latency');
	wait_ingest($ours, 'latency');
	foreach my $rate ($smoke ? 100 : (1000, 1))
	{
		my (@ms, $out, $err);
		my $run = $smoke ? 2 : $rate == 1 ? 20 : 10;
		my $consumer = IPC::Run::start([
			$^X, '-e', q{
				use Time::HiRes qw(time); use Time::Local;
				open(my $in, '-|', @ARGV) or die; $| = 1;
				while (<$in>) {
					my $now = time();
					/"ev_time":"(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)(\.\d+)?/ or next;
					printf "%.3f\n", 1000 * ($now - timegm($6, $5, $4, $3, $2 - 1, $1) - ($7 // 0));
				}
			}, 'pgqadm', '-d', $ours->connstr('latency'), 'consume', 'q', 'c',
			'--timeout', 4
		], \undef, \$out, \$err);
		sleep 1;
		load_stop(load_start($ours, 'latency',
				'insert into orders ' . sprintf($row, 1) . ';',
				'-R', $rate, '-c', $rate > 1 ? 4 : 1, '-T', $run));
		IPC::Run::finish($consumer);
		@ms = split(/\n/, $out // '');
		ok(@ms > 0, "events arrived at $rate a second");
		row("commit to consumer at $rate a second: p50",
			sprintf('%.1f ms', percentile(50, @ms)),
			'', '', $rate > 1 ? '<= 5 ms' : '<= 2 ms');
		row("commit to consumer at $rate a second: p99",
			sprintf('%.1f ms', percentile(99, @ms)),
			'', '', $rate > 1 ? '<= 15 ms' : '<= 5 ms');
	}
	$pgqd->stop;
	sql($ours, 'latency', 'select pgq.stop_capture()');
	return;
}

# ---- the queue functions, beside PgQ 3.5 ----

sub bench_queue
{
	my $n = $smoke ? 2000 : 200_000;
	my (@s);

	new_database($ours, 'queue');
	foreach my $node ($ours, $old ? $old : ())
	{
		my $db = $node == $ours ? 'queue' : 'writer';
		sql($node, $db, "select pgq.create_queue('big'); select pgq.create_queue('loop');"
			. " select pgq.register_consumer('big', 'c'); select pgq.register_consumer('loop', 'c');"
			. ' set client_min_messages = error;'
			. " do \$\$ begin for i in 1..$many loop perform pgq.create_queue('many' || i); commit; end loop; end \$\$");
		push @s, session($node, $db);
	}
	my $peer = $s[1] // $s[0];
	my $label = $old ? "PgQ 3.5's" : 'itself (no package of PgQ 3.5)';
	my $loop = sub {
		"select count($_[0]) from generate_series(1, $n)"
	};
	my $insert = "pgq.insert_event('big', 'type', 'some data of a usual length, say sixty bytes or so')";

	compare("$n times insert_event / $label", '<= 0.30', 's',
		sub { timed($s[0], $loop->($insert)) },
		sub { timed($peer, $loop->($insert)) });
	compare("$n times emit_event / $label insert_event", '<= 0.06', 's',
		sub { timed($s[0], $loop->($insert =~ s/insert/emit/r)) },
		sub { timed($peer, $loop->($insert)) });

	my $five = sub {
		my ($s) = @_;
		my $t = time();
		for (1 .. ($smoke ? 20 : 500))
		{
			$s->query("select pgq.insert_event('loop', 't', 'd')");
			$s->query("select pgq.force_tick('loop')");
			$s->query("select pgq.ticker('loop')");
			my $b = $s->query("select pgq.next_batch('loop', 'c')");
			$s->query("select count(*) from pgq.get_batch_events($b); select pgq.finish_batch($b)");
		}
		return time() - $t;
	};
	compare("insert, tick, next, get, finish / $label", '<= 0.50', 's',
		sub { $five->($s[0]) }, sub { $five->($peer) });

	my $read = sub {
		my ($s, $node, $db) = @_;
		my $b = $s->query("select pgq.next_batch('big', 'c')");
		my $t = time();
		IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr($db), '-c',
				"select * from pgq.get_batch_events($b)" ], '>', '/dev/null');
		return time() - $t;
	};
	foreach my $s (@s)
	{
		$s->query("select pgq.force_tick('big')");
		$s->query("select pgq.ticker('big')");
	}
	compare("get_batch_events of " . $n * $rounds . "+ events / $label", '<= 0.60', 's',
		sub { $read->($s[0], $ours, 'queue') },
		sub { $old ? $read->($peer, $old, 'writer') : $read->($s[0], $ours, 'queue') });

	my $none = sub { $_[0]->query('select pgq.ticker()'); timed($_[0], 'select pgq.ticker()') };
	my $all = sub {
		$_[0]->query("select count(pgq.insert_event('many' || i, 't', 'd')) from generate_series(1, $many) i");
		$_[0]->query("update pgq.queue set queue_ticker_max_count = 1");
		timed($_[0], 'select pgq.ticker()');
	};
	compare("ticker() over $many queues, none due / $label", '<= 0.10', 's',
		sub { $none->($s[0]) }, sub { $none->($peer) });
	compare("ticker() over $many queues, all due / $label", '<= 0.30', 's',
		sub { $all->($s[0]) }, sub { $all->($peer) });
	$_->close foreach @s;
	return;
}

# Peers that are Debian's: there or not.
sub have
{
	my ($package) = @_;
	return !$smoke
	  && system("apt-cache show $package >/dev/null 2>&1") == 0;
}

my ($major) = `pg_config --version` =~ /(\d+)/;
$wal2json = have("postgresql-$major-wal2json");

my $libraries = slurp($ENV{PGQ_CONF}) =~ /^output_plugin_libraries = '(.*)'/m
  ? "output_plugin_libraries = '$1, wal2json'\n" : '';
$ours = new_ours('ours', conf => "max_wal_size = 8GB\n$libraries",
	install_path => $wal2json ? wal2json_tree() : undef);
if (have("postgresql-$major-pgq3"))
{
	$old = new_server('pgq35', install_path => pgq35_tree(),
		conf => "fsync = on\nwal_level = replica\n");
	sql($old, 'postgres', 'create database writer');
	sql($old, 'writer', "create extension pgq; $orders; select pgq.create_queue('q');"
		. ' create trigger t after insert on orders for each row'
		. " execute function pgq.jsontriga('q')");
}

print_line('measure', 'ours', 'peer', 'ratio', 'goal');
group('writer', \&bench_writer);
group('backlog', \&bench_backlog);
group('latency', \&bench_latency);
group('queue', \&bench_queue);
ok(@table > 0, 'something was measured');
done_testing();
