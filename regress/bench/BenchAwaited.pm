
# From insert to consumer in a database without capture, and what it costs to look
# for events when there are none; beside PgQ 3.5 and its pgqd.

package BenchAwaited;

use strict;
use warnings;

use BenchLatency;
use BenchTools;
use PgqDebian;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $db = 'awaited';
my $many = $smoke ? 5 : 500;

# as pgqd has them when it is told nothing
my %periods = (check_period => 60, retry_period => 30, maint_period => 120,
	ticker_period => 1, stats_period => 30);

sub prepare
{
	my ($node) = @_;

	sql($node, $db, "select pgq.create_queue('q'); select pgq.register_consumer('q', 'c')");
	return;
}

# Queues whose consumers wait.
sub add_queues
{
	my ($node) = @_;

	sql($node, $db, "do \$\$ begin for i in 1..$many loop perform pgq.create_queue('idle' || i);"
		. " perform pgq.register_consumer('idle' || i, 'c'); commit; end loop; end \$\$");
	return;
}

# Percent of a core that pgqd and its sessions take while nothing happens.
sub idle_cost
{
	my ($node, $pgqd) = @_;
	my @pids = ($pgqd->{pid}, split(/\n/, sql($node, $db, q{select pid from pg_stat_activity
		where application_name ~ '^pgqd' and datname = current_database()
			and application_name !~ 'sample|watch'})));
	my $before;

	sleep($smoke ? 1 : 5);
	$before = cpu(@pids);
	sleep($smoke ? 1 : 20);
	return 5 * (cpu(@pids) - $before) * ($smoke ? 20 : 1);
}

sub latency
{
	my ($node, $rate, $clients, $who, @goals) = @_;
	my $insert = q{select pgq.insert_event('q', 't', 'some data')};
	# pgbench waits at random: at 1 a second sometimes longer than the consumer does
	my @ms = BenchLatency::measure($node, $db, $insert, '-R', $smoke ? 100 : $rate, '-c', $clients,
		$smoke ? ('-t', $rate == 1 ? 2 : 100) : ('-T', $rate == 1 ? 60 : 10));

	ok(@ms > 0, 'events arrived');
	BenchLatency::percentiles("insert to consumer$who, $rate a second", \@ms, @goals);
	return;
}

sub bench
{
	my $node = ours();
	my $pgqd;

	new_database($node, $db, slot => 0);
	prepare($node);
	$pgqd = start_pgqd($node, database_list => $db, %periods);
	latency($node, 1, 1, '', 15, 30);
	latency($node, 1000, 4, '', 15, 30);
	add_queues($node);
	value("$many idle queues: part of a core that pgqd and its sessions take", '<= 1', '%',
		idle_cost($node, $pgqd));
	latency($node, 1, 1, " beside $many idle queues", 15, 30);
	$pgqd->stop;

	if (!old())
	{
		sentence('There is no PgQ 3.5 here to compare with.');
		return;
	}
	local $ENV{PATH} = fetch_packages('pgqd') . "/usr/bin:$ENV{PATH}";
	sql(old(), 'postgres', "create database $db");
	sql(old(), $db, 'create extension pgq');
	prepare(old());
	$pgqd = start_pgqd(old(), database_list => $db, %periods);
	latency(old(), 1, 1, ' with PgQ 3.5 and its pgqd');
	add_queues(old());
	value("$many idle queues with PgQ 3.5 and its pgqd", '', '%', idle_cost(old(), $pgqd));
	$pgqd->stop;
	return;
}

1;
