
# From commit to consumer, and how fast a consumer gets through batches.

package BenchLatency;

use strict;
use warnings;

use BenchTools;
use IO::Handle;
use IPC::Run ();
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

# Milliseconds from commit to consumer, one for each event of queue "q", while pgbench
# runs with these arguments.
sub measure
{
	my ($node, $db, $script, @args) = @_;
	my ($out, $err);
	my $consumer = IPC::Run::start([
		$^X, '-e', q{
			use Time::HiRes qw(time); use Time::Local;
			open(my $in, '-|', @ARGV) or die; $| = 1;
			while (<$in>) {
				my $now = time();
				/"ev_time":"(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)(\.\d+)?/ or next;
				printf "%.3f\n", 1000 * ($now - timegm($6, $5, $4, $3, $2 - 1, $1) - ($7 // 0));
			}
		}, 'pgqadm', '-d', $node->connstr($db), 'consume', 'q', 'c',
		'--timeout', $smoke ? 3 : 10
	], \undef, \$out, \$err);

	sleep 1;
	load_stop(load_start($node, $db, $script, @args));
	IPC::Run::finish($consumer);
	return split(/\n/, $out // '');
}

# What the disk takes to make a page of WAL safe: milliseconds, one for each.
sub flushes
{
	my $node = ours();
	my $file = $node->data_dir . '/pg_wal/flush';
	my @ms;

	open(my $fh, '+>', $file) or die "$file: $!";
	syswrite($fh, "\0" x (16 << 20));
	$fh->sync;
	for my $page (1 .. ($smoke ? 10 : 1000))
	{
		sysseek($fh, 8192 * $page, 0);
		syswrite($fh, "\1" x 8192);
		push @ms, 1000 * elapsed(sub { $fh->sync });
		sleep 0.002;
	}
	close $fh;
	unlink $file;
	return @ms;
}

# percentiles(WHAT, MILLISECONDS, GOAL p50, GOAL p99)
sub percentiles
{
	my ($what, $ms, $p50, $p99) = @_;

	value("$what: p50", $p50 ? "<= $p50 ms" : '', 'ms', percentile(50, @$ms));
	value("$what: p99", $p99 ? "<= $p99 ms" : '', 'ms', percentile(99, @$ms));
	return;
}

sub commit_to_consumer
{
	my $script = orders_row(1) . ';';
	my @thousand = ('1,000 transactions a second', '-R', 1000, '-c', 4);
	my @one = ('1 transaction a second', '-R', 1, '-c', 1);
	my @cases = (
		[ 5, 15, @thousand ],
		[ 2, 5, @one ],
		[ 0, 0, 'as many transactions as two writers can', '-c', 2 ]);
	# what of it isn't the disk
	my @no_disk = ([ 0, 0, @thousand ], [ 0, 0, @one ]);
	my $run = $smoke ? 1 : 10;

	new_database(ours(), 'latency');
	sql(ours(), 'latency', "$orders; select pgq.create_queue('q');"
		. " select pgq.capture_table('q', 'orders'); select pgq.register_consumer('q', 'c')");
	my $pgqd = start_pgqd(ours(), database_list => 'latency');
	wait_ingest(ours(), 'latency');
	percentiles('a flush of a page by this disk', [ flushes() ]);
	foreach my $fsync ('on', 'off')
	{
		my $without = $fsync eq 'on' ? '' : ' (fsync = off)';

		sql(ours(), 'postgres', "alter system set fsync = $fsync") if !$smoke;
		sql(ours(), 'postgres', 'select pg_reload_conf()');
		foreach my $case ($smoke ? $cases[0]
			: $fsync eq 'on' ? @cases : @no_disk)
		{
			my ($p50, $p99, $rate, @args) = @$case;
			my @ms = measure(ours(), 'latency', $script, @args, '-T', $rate eq $one[0] ? 3 * $run : $run);

			ok(@ms > 0, "events arrived at $rate");
			percentiles("commit to consumer, $rate$without", \@ms, $p50, $p99);
		}
	}
	sql(ours(), 'postgres', 'alter system reset fsync');
	sql(ours(), 'postgres', 'select pg_reload_conf()');
	$pgqd->stop;
	sql(ours(), 'latency', 'select pgq.stop_capture()');
	return;
}

# Batches of one event, by a consumer who keeps up.  An hour of ticks, one a
# second, is read by a consumer that was away; the same events in one batch are read by psql.
sub batches
{
	my $ticks = $smoke ? 40 : 3600;
	my $client;
	chomp(my $include = `pg_config --includedir`);
	chomp(my $lib = `pg_config --libdir`);
	my $loop = sub {
		my ($queue, $events, $n, $tick) = @_;
		return "do \$\$ begin for n in 1..$n loop"
		  . " perform pgq.insert_event('$queue', 'type', 'some data of a usual"
		  . " length, say sixty bytes or so') from generate_series(1, $events);"
		  . ' commit; '
		  . ($tick ? "perform pgq.ticker('$queue'); commit; " : '')
		  . 'end loop; end $$';
	};
	my $node = ours();
	my $consume = sub {
		my ($queue, $consumer) = @_;
		my $out;

		IPC::Run::run([ $client, $node->connstr('batches'), $queue, $consumer ],
			'>', \$out) or die 'the consumer failed';
		return split(' ', $out);
	};
	my (@rate, @behind, @full);

	$client = compile('consumer', "-I$include", "$lib/libpgq.a", "-L$lib", '-lpq');
	new_database($node, 'batches', slot => 0);
	sql($node, 'batches', "select pgq.create_queue(q), pgq.set_queue_config(q,"
		. " 'ticker_max_count', '1') from unnest('{one,hour,all}'::text[]) q");
	sql($node, 'batches', 'select count(pgq.register_consumer(q, \'c\' || n)) from'
		. " unnest('{one,hour,all}'::text[]) q, generate_series(1, $rounds) n");
	sql($node, 'batches', $loop->('hour', 100, $ticks, 1));
	sql($node, 'batches', $loop->('all', 100, $ticks, 0));
	sql($node, 'batches', "select pgq.ticker('all')");
	sql($node, 'batches', 'vacuum analyze');

	for my $n (1 .. $rounds)
	{
		my ($batches, $events, $s);

		# not so many that libpgq makes fewer batches of them
		sql($node, 'batches', $loop->('one', 1, $ticks / 8, 1));
		($batches, $events, $s) = $consume->('one', 'c1');
		cmp_ok($batches, '>=', int($ticks / 8), 'a batch for every tick');
		push @rate, $batches / $s;

		(undef, $events, $s) = $consume->('hour', "c$n");
		is($events, 100 * $ticks, 'the events of an hour were read');
		push @behind, $events / $s;

		my $session = session($node, 'batches');
		my $b = $session->query("select pgq.next_batch('all', 'c$n')");
		push @full, 100 * $ticks / elapsed(sub {
			IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('batches'), '-c',
					"select * from pgq.get_batch_events($b)" ], '>', '/dev/null');
		});
		$session->query("select pgq.finish_batch($b)");
		$session->close;
	}
	value('batches a second that one consumer finishes', '>= 1000', '', @rate);
	report('a consumer an hour behind: events a second / get_batch_events of all',
		'>= 0.5', '/s', \@behind, \@full);
	return;
}

sub bench
{
	commit_to_consumer();
	batches();
	return;
}

1;
