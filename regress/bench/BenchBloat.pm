
# Sizes of the queue's tables at full rate, with rotation, while a snapshot is
# held open for two thirds of the time.

package BenchBloat;

use strict;
use warnings;

use BenchTools;
use IPC::Run ();
use PgqTest;
use Test::More;
use Time::HiRes qw(time sleep);

my $minutes = $smoke ? 0.05 : $ENV{BENCH_MINUTES} // 30;
my %tables = (
	'event tables' => 'pgq.event_1_0,pgq.event_1_1,pgq.event_1_2',
	'pgq.tick' => 'pgq.tick',
	'pgq.subscription' => 'pgq.subscription',
	'pgq.position' => 'pgq.position');
my @order = ('event tables', 'pgq.tick', 'pgq.subscription', 'pgq.position');

sub sizes
{
	my ($s) = @_;

	return map { $_ => $s->query('select sum(pg_total_relation_size(t::regclass))'
			. " from unnest('{$tables{$_}}'::text[]) t") / 1048576 } @order;
}

sub bench
{
	my $node = ours();
	my $length = 60 * $minutes;
	my (%points, $holder, $s, $out, @ticks);

	new_database($node, 'bloat');
	sql($node, 'bloat', "$orders; select pgq.create_queue('q');"
		. " select pgq.capture_table('q', 'orders', 'ops=insert');"
		. " select pgq.register_consumer('q', 'c');"
		. " select pgq.set_queue_config('q', 'rotation_period', '"
		. int($length / 15 + 1) . " seconds')");
	my $pgqd = start_pgqd($node, database_list => 'bloat', maint_period => 5,
		stats_period => 60);
	wait_ingest($node, 'bloat');
	my $consumer = IPC::Run::start([ 'pgqadm', '-d', $node->connstr('bloat'),
		'consume', 'q', 'c', '--timeout', $smoke ? 2 : 20 ], '>', '/dev/null', '2>', \$out);
	my $load = load_start($node, 'bloat', orders_row(10) . ';', '-c', 2,
		'-T', int($length) + 1);
	$s = session($node, 'bloat');

	my $start = time();
	my $emptied = 0;
	while ((my $t = time() - $start) < $length)
	{
		my %now = sizes($s);

		push @{ $points{$_} }, [ sprintf('%.3f', $t / 60), $now{$_} ] foreach @order;
		push @ticks, [ sprintf('%.3f', $t / 60),
			$s->query('select last_value from pgq.batch_id_seq') ];
		if (!$holder && $t > $length / 6 && $t < $length * 5 / 6)
		{
			$holder = session($node, 'bloat');
			$holder->query('begin isolation level repeatable read');
			$holder->query('select count(*) from pg_class');
		}
		elsif ($holder && $t >= $length * 5 / 6)
		{
			$holder->close;
			$holder = undef;
		}
		# the captured table is not what is measured
		if ($t - $emptied > $length / 30)
		{
			$s->query('truncate orders');
			$emptied = $t;
		}
		sleep($length / 120);
	}
	load_stop($load);
	wait_ingest($node, 'bloat');
	IPC::Run::finish($consumer);
	my $events = sql($node, 'bloat', 'select max(pos_events) from pgq.position');
	my $batches = $s->query('select last_value from pgq.batch_id_seq');
	ok($events > 0 && $batches > 1, 'events went through the queue');
	$s->close;
	$holder->close if $holder;
	$pgqd->stop;
	sql($node, 'bloat', 'select pgq.stop_capture()');

	my $held = sprintf("set arrow from %g, graph 0 to %g, graph 1 nohead dt 2\n"
		. "set arrow from %g, graph 0 to %g, graph 1 nohead dt 2",
		($minutes / 6) x 2, ($minutes * 5 / 6) x 2);
	sentence(sprintf('%d minutes, %.1f million events in %d batches; between the dashed'
			. ' lines a snapshot is held open.', $minutes, $events / 1e6, $batches));
	BenchTools::append('bloat.md', "\n| largest, MiB | before | while held | after |\n"
		. "| --- | --- | --- | --- |\n");
	foreach my $name (@order)
	{
		my @p = @{ $points{$name} };
		my $largest = sub {
			my ($from, $to) = @_;
			my @v = map { $_->[1] } grep {
				$_->[0] >= $from * $minutes && $_->[0] < $to * $minutes } @p;
			return @v ? sprintf('%.1f', List::Util::max(@v)) : '';
		};
		my @cells = ($largest->(0, 1 / 6), $largest->(1 / 6, 5 / 6),
			$largest->(11 / 12, 2));

		BenchTools::append('bloat.md', '| ' . join(' | ', $name, @cells) . " |\n");
		BenchTools::append('table.txt', sprintf("%-20s largest, MiB: before %s, while held %s,"
				. " after %s\n", $name, @cells));
	}
	plot('bloat-events', 'Event tables', 'minutes', 'MiB', $held,
		[ 'event tables', @{ $points{'event tables'} } ]);
	plot('bloat-small', 'The other tables', 'minutes', 'MiB', $held,
		map { [ $_, @{ $points{$_} } ] } @order[ 1 .. 3 ]);
	plot('bloat-batches', 'Batches finished', 'minutes', 'batches', $held,
		[ 'batches', @ticks ]);
	return;
}

1;
