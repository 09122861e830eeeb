
# What the benches share: taking turns, medians, the table, CPU of processes,
# curves, and the servers of ours and of the peers.
#
# Every comparison takes turns between its sides, so that a machine whose speed
# drifts hurts all of them.  Goals are ratios; times are not.

package BenchTools;

use strict;
use warnings;

use Exporter 'import';
use FlameGraph ();
use IPC::Run ();
use List::Util qw(min max);
use PgqDebian;
use PgqTest;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time sleep);

our @EXPORT = qw(
  $smoke $rounds $changes
  alternate compare report value sentence curve plot median percentile timed
  cpu pids_of profiled stop_settled memory_peak wal_end elapsed
  ours old wal2json compile new_ours
  $orders orders_row fill_orders run_pgbench
);

our $smoke = $ENV{BENCH_SMOKE};
our $rounds = $smoke ? 1 : $ENV{BENCH_ROUNDS} // 3;
our $changes = $smoke ? 20_000 : 1_000_000;    # of a backlog
our @length = $smoke ? ('-t', 20) : ('-T', 4);    # of a run of pgbench

# The table that is written.
our $orders = 'create table orders (id bigserial primary key, customer int,'
  . ' amount numeric, status text, created timestamptz, note text)';

my $group;          # name of the group that runs
my $rows;           # of its table so far
my %nodes;

# ---- the table ----

sub append
{
	my ($file, $text) = @_;
	PostgreSQL::Test::Utils::append_to_file("$ENV{TESTLOGDIR}/$file", $text);
	return;
}

# begin_group(NAME): rows go to that group's part of doc/performance.md.
sub begin_group
{
	($group) = @_;
	$rows = 0;
	append('table.txt', sprintf("%-68s %10s %10s %-18s %s\n",
		"-- $group", 'ours', 'peer', 'ratio', 'goal'));
	return;
}

# Is the value within a goal like '<= 0.30' or '>= 1000'?
sub is_met
{
	my ($value, $goal) = @_;
	my ($op, $limit) = $goal =~ /^([<>])= ([\d.]+)/ or return '';

	return ($op eq '<' ? $value <= $limit : $value >= $limit) ? 'yes' : 'no';
}

sub row
{
	my ($what, $ours, $peer, $ratio, $goal, $met) = @_;

	append('table.txt', sprintf("%-68s %10s %10s %-18s %s%s\n", $what, $ours,
		$peer, $ratio, $goal, $met eq 'no' ? '  MISSED' : ''));
	append("$group.md", "| measure | ours | peer | ratio | goal | met |\n"
		  . "| --- | --- | --- | --- | --- | --- |\n") if !$rows++;
	append("$group.md",
		'| ' . join(' | ', $what, $ours, $peer, $ratio, $goal, $met) . " |\n");
	return;
}

# A sentence in the group's part of doc/performance.md.
sub sentence
{
	my ($text) = @_;
	append("$group.md", "\n$text\n\n");
	append('table.txt', "$text\n");
	return;
}

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

# number(VALUE): three digits that count.
sub number
{
	my ($v) = @_;
	return $v >= 100 ? sprintf('%.0f', $v) : sprintf('%.3g', $v);
}

# The median, and the smallest and largest of several.
sub spread
{
	my ($format, @values) = @_;
	my $text = $format->(median(@values));

	$text .= ' (' . $format->(min(@values)) . '-' . $format->(max(@values)) . ')'
	  if @values > 1;
	return $text;
}

# alternate(NAME => SUB, ...): each SUB in turn, $rounds times; a hash with the
# values that each returned.
sub alternate
{
	my @turns = @_;
	my %values;

	for (1 .. $rounds)
	{
		for (my $i = 0; $i < @turns; $i += 2)
		{
			push @{ $values{ $turns[$i] } }, $turns[ $i + 1 ]->();
		}
	}
	return %values;
}

# report(WHAT, GOAL, UNIT, OURS, PEERS): a row with the medians of two arrays,
# the ratio of ours over the peer's, and its spread over the rounds.
sub report
{
	my ($what, $goal, $unit, $ours, $peer) = @_;
	my @ratios = map { $ours->[$_] / $peer->[$_] } 0 .. $#$ours;

	row($what, number(median(@$ours)) . " $unit",
		number(median(@$peer)) . " $unit",
		spread(sub { sprintf('%.2f', $_[0]) }, @ratios), $goal, is_met(median(@ratios), $goal));
	return;
}

# compare(WHAT, GOAL, UNIT, SUB ours, SUB peer): both, in one.
sub compare
{
	my ($what, $goal, $unit, $ours, $peer) = @_;
	my %v = alternate(ours => $ours, peer => $peer);

	report($what, $goal, $unit, $v{ours}, $v{peer});
	return;
}

# value(WHAT, GOAL, UNIT, VALUE...): a row without a peer.
sub value
{
	my ($what, $goal, $unit, @values) = @_;

	row($what, spread(\&number, @values) . " $unit", '', '', $goal,
		is_met(median(@values), $goal));
	return;
}

# ---- curves ----

# plot(NAME, TITLE, X, Y, STYLE, SERIES...): NAME.svg by gnuplot.  STYLE is a text
# of further settings; a series is [title, [x, y], ...].
sub plot
{
	my ($name, $title, $x, $y, $style, @series) = @_;
	my $file = "$ENV{TESTLOGDIR}/$name.svg";
	my $script = "set terminal svg size 560,320 font 'sans,11'\n"
	  . "set output '$file'\nset title \"$title\"\nset xlabel \"$x\"\n"
	  . "set ylabel \"$y\"\nset grid\nset key top left\nset yrange [0:*]\n"
	  . "$style\nplot "
	  . join(', ', map { "'-' with linespoints title \"$_->[0]\"" } @series)
	  . "\n";

	foreach my $s (@series)
	{
		my (undef, @points) = @$s;
		$script .= join('', map { "$_->[0] $_->[1]\n" } @points) . "e\n";
	}
	return if system('command -v gnuplot >/dev/null') != 0;
	IPC::Run::run([ 'gnuplot' ], '<', \$script) or die 'gnuplot failed';
	append("$group.md", "\n![$title](performance/$name.svg)\n");
	return;
}

# curve(NAME, TITLE, X, UNIT, [x, y], ...): rows, and a plot with a logarithmic x.
sub curve
{
	my ($name, $title, $x, $unit, @points) = @_;
	my $first = $points[0][1];

	append("$group.md", "\n$title:\n\n| $x | "
		  . join(' | ', map { $_->[0] } @points) . " |\n|"
		  . ' --- |' x (@points + 1) . "\n| $unit | "
		  . join(' | ', map { number($_->[1]) } @points) . " |\n");
	append('table.txt', "$title ($unit)\n");
	append('table.txt', sprintf("%12s %s: %10s  x%.2f\n", $_->[0], $x,
		number($_->[1]), $_->[1] / $first)) foreach @points;
	plot($name, $title, $x, $unit, 'set logscale x', [ '', @points ]);
	return;
}

# ---- looking at processes and servers ----

# Seconds that a statement takes in an open session, as psql sees it.
sub timed
{
	my ($s, $sql) = @_;
	my ($ms) = $s->query("\\timing on\n$sql") =~ /^Time: ([\d.]+) ms/m
	  or die "no time of $sql";

	$s->query("\\timing off\nselect");
	return $ms / 1000;
}

# Seconds that a piece of work takes.
sub elapsed
{
	my ($sub) = @_;
	my $t = time();

	$sub->();
	return time() - $t;
}

# Seconds of CPU that these processes, of one thread each, have used.
sub cpu
{
	my $ns = 0;

	$ns += (split(' ', slurp("/proc/$_/schedstat")))[0] foreach @_;
	return $ns / 1e9;
}

# The processes that move changes: pgqd and its sessions, the walsender too. Other
# sessions of pgqd come and go.
sub pids_of
{
	my ($node, $db, $pgqd) = @_;

	return ($pgqd->{pid}, split(/\n/, sql($node, $db, q{
		select pid from pg_stat_activity
		where application_name in ('pgqd/tick', 'pgqd/ingest', 'pgqd/stream')
			and datname = current_database()})));
}

# profiled(NODE, DB, PGQD, SUB): runs SUB; if it was asked for, with a flame graph of
# the processes that move changes meanwhile, as GROUP_profile.svg.
sub profiled
{
	my ($node, $db, $pgqd, $sub) = @_;
	my $data = PostgreSQL::Test::Utils::tempdir() . '/perf.data';
	my $file = "$ENV{TESTLOGDIR}/${group}_profile.svg";
	my (%names, $out);

	return $sub->() if !$ENV{BENCH_PROFILE} || -e $file;
	wait_for('the sessions', sub { 4 == (() = pids_of($node, $db, $pgqd)) });
	%names = map { split(/\|/, $_) } split(/\n/, sql($node, $db, q{
		select pid, split_part(application_name, ' ', 1) from pg_stat_activity
		where datname = current_database()}));
	my $perf = IPC::Run::start([ 'perf', 'record', '-F', 499, '--call-graph', 'dwarf,8192',
		'-o', $data, '-p', join(',', pids_of($node, $db, $pgqd)) ], '>', \$out, '2>', \$out);
	$sub->();
	$perf->signal('INT');
	$perf->finish;
	-s $data or die "perf: $out";
	FlameGraph::flame_graph($data, $file, $group, \%names);
	return;
}

# Stop pgqd when the slot has come along too, or the next start would decode
# again what this one has ingested, at the cost of what is measured then.
sub stop_settled
{
	my ($node, $pgqd) = @_;

	sql($node, 'postgres', 'checkpoint');
	sleep(2.5) if !$smoke;
	$pgqd->stop;
	return;
}

# The most memory that a process has had resident, in MiB.
sub memory_peak
{
	my ($pid) = @_;
	my ($kb) = slurp("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m;

	return $kb / 1024;
}

# Where the server's WAL ends, in bytes.
sub wal_end
{
	my ($node) = @_;
	return sql($node, 'postgres',
		"select pg_current_wal_insert_lsn() - '0/0'::pg_lsn");
}

# ---- the servers ----

sub have
{
	my ($package) = @_;
	return !$smoke
	  && system("apt-cache show $package >/dev/null 2>&1") == 0;
}

my ($major) = `pg_config --version` =~ /(\d+)/;

sub wal2json
{
	return have("postgresql-$major-wal2json");
}

# compile(NAME, ARGUMENT...): builds NAME.c of this folder; the file made.
sub compile
{
	my ($name, @args) = @_;
	my ($here) = __FILE__ =~ /(.*)\//;
	my $to = PostgreSQL::Test::Utils::tempdir() . "/$name";

	system("cc -O2 -Wall -I'$here/../..' -o '$to' '$here/$name.c' @args") == 0
	  or die "$name.c does not build";
	return $to;
}

# A server as people run it.  The test harness saves memory and disk: a megabyte of
# buffers would make whoever writes wait for his own pages, and its WAL; locks have
# room for each connection.  Segments are used again, as on a server that has been
# running for a while.
sub new_ours
{
	my ($name, %opt) = @_;
	my $conf = "shared_buffers = 128MB\nmax_connections = 100\nwal_log_hints = off\n"
	  . "max_wal_size = 8GB\nmin_wal_size = 4GB\n";

	$conf .= "fsync = on\n" if !$smoke;
	return new_server($name, %opt, conf => $conf . ($opt{conf} // ''));
}

# Our server: with wal2json if there is one, and with the plugin that does
# nothing, called "floor".
sub ours
{
	return $nodes{ours} if $nodes{ours};

	my $tree = wal2json() ? wal2json_tree() : (PgqDebian::copy_tree())[1];
	my ($include, $lib) = map { chomp; $_ }
	  map { `$tree/bin/pg_config --$_` } 'includedir-server', 'pkglibdir';
	my $libraries = slurp($ENV{PGQ_CONF}) =~ /^output_plugin_libraries = '(.*)'/m
	  ? "output_plugin_libraries = '$1, wal2json, floor'\n" : '';
	my $floor = compile('floor', '-shared', '-fPIC', "-I$include");

	system('cp', $floor, "$lib/floor.so") == 0 or die;
	return $nodes{ours} = new_ours('ours', conf => $libraries,
		install_path => $tree);
}

# A server with PgQ 3.5, and a table with its trigger in database "writer";
# undef without the package.
sub old
{
	return $nodes{old} if exists $nodes{old};
	return $nodes{old} = undef if !have("postgresql-$major-pgq3");

	my $node = new_ours('pgq35', install_path => pgq35_tree(),
		conf => "wal_level = replica\n");
	sql($node, 'postgres', 'create database writer');
	sql($node, 'writer', "create extension pgq; $orders; select pgq.create_queue('q');"
		. ' create trigger t after insert on orders for each row'
		. " execute function pgq.jsontriga('q')");
	return $nodes{old} = $node;
}

# ---- the table that is written ----

# A statement that inserts this many rows.
sub orders_row
{
	my ($rows, $table) = @_;
	$table //= 'orders';
	return "insert into $table (customer, amount, status, created, note)"
	  . " select i, 12.5 * i, 'new', now(), 'some note text ' || i"
	  . " from generate_series(1, $rows) i";
}

# A statement that inserts so many rows in transactions of a hundred.
sub fill_orders
{
	my ($n, $table) = @_;
	return 'do $$ begin for n in 1..' . int($n / 100) . ' loop '
	  . orders_row(100, $table) . '; commit; end loop; end $$';
}

# run_pgbench(NODE, DATABASE, SCRIPT): transactions a second, and how many.
sub run_pgbench
{
	my ($node, $db, $script) = @_;
	my $out = load_stop(
		load_start($node, $db, $script, '-c', 2, @length));
	my ($tps) = $out =~ /tps = ([\d.]+)/ or die $out;
	my ($n) = $out =~ /actually processed: (\d+)/ or die $out;

	return wantarray ? ($tps, $n) : $tps;
}

1;
