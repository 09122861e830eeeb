
# How fast pgqrelay gets a backlog into NATS JetStream, Apache Kafka and Redis, beside a
# program that has the same messages in memory and puts them there with the same
# library; from a commit to the engine's consumer; and the relay's memory.

package BenchRelay;

use strict;
use warnings;

use BenchTools;
use IPC::Run ();
use PgqKafka;
use PgqNats;
use PgqRedis;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use Time::Local;

my $bytes = 200;
my $wanted = $ENV{BENCH_ENGINE} // '.*';
my $n = 0;
my ($program, $version);

# Is there a server to be had, and its library in pgqrelay?
sub can_run
{
	my ($library, $command, $package) = @_;

	return $version =~ /\($library \d/
	  && (system("command -v $command >/dev/null") == 0
		|| (!$smoke && $package && system("apt-cache show $package >/dev/null 2>&1") == 0));
}

# What is asked of each engine: a server, a stream in it, keys of a relay into it, a
# program that watches it.
sub engines
{
	my @engines;

	if (can_run('libnats', 'nats-server', 'nats-server'))
	{
		my $nats = PgqNats->new;

		push @engines, {
			name => 'JetStream',
			kind => 'nats',
			url => $nats->url,
			goal => '<= 6',
			make => sub { $nats->create($_[0], [ $_[0] ]) },
			keys => sub { (stream => $_[0], subject => $_[0]) }
		};
	}
	if (!$smoke && can_run('librdkafka', 'java') && -d (($ENV{PGQ_JARS} // q{}) . "/kafka"))
	{
		my $kafka = PgqKafka->new(1);

		$kafka->create('pgq.positions', 1, 'cleanup.policy=compact');
		push @engines, {
			name => 'Kafka',
			kind => 'kafka',
			url => $kafka->url,
			make => sub { $kafka->create($_[0], 3) },
			keys => sub { (topic => $_[0]) },
			watch => sub { (PgqKafka::build_tool(), $kafka->{servers}, 'watch', $_[0]) }
		};
	}
	if (can_run('hiredis', 'redis-server', 'redis-server'))
	{
		my $redis = PgqRedis->new('--appendfsync', 'everysec');

		push @engines, {
			name => 'Redis',
			kind => 'redis',
			url => $redis->url,
			make => sub { },
			keys => sub { (stream => $_[0]) }
		};
	}
	return @engines;
}

# Seconds that the relay takes for a backlog that is there, and its memory.
sub relayed
{
	my ($engine) = @_;
	my $node = ours();
	my $stream = 's' . ++$n;
	my ($t, $memory, $relay);

	sql($node, 'relay', "select pgq.create_queue('$stream');"
		  . " select pgq.register_consumer('$stream', 'c$stream')");
	sql($node, 'relay', "select count(pgq.insert_event('$stream', 'I:id',
		'id=' || i || '&t=' || repeat('x', $bytes - 10), 'public.t', null, null, null))
		from generate_series(1, $changes) i");
	ticks($node, 'relay', $stream);
	sql($node, 'relay', 'checkpoint');
	$engine->{make}->($stream);
	$t = elapsed(sub {
		$relay = start_relay(r => {
			db => $node->connstr('relay'),
			queue => $stream,
			consumer => "c$stream",
			target => $engine->{url},
			stall_release => 60,
			$engine->{keys}->($stream)
		});
		wait_for('the relay', sub {
			sql($node, 'relay', "select current_batch is null and last_tick =
				(select max(tick_id) from pgq.tick t join pgq.queue on queue_id = tick_queue
					where queue_name = '$stream')
				from pgq.get_consumer_info('$stream', 'c$stream')") eq 't';
		});
	});
	$memory = memory_peak($relay->{h}{KIDS}[0]{PID});
	$relay->stop;
	sql($node, 'relay', "select pgq.drop_queue('$stream', true)");
	return ($t, $memory);
}

sub published
{
	my ($engine) = @_;
	my $stream = 's' . ++$n;
	my ($out, $err);

	$engine->{make}->($stream);
	IPC::Run::run([ $program, 'publish', $engine->{kind}, $engine->{url}, $stream,
			$changes, $bytes ], '>', \$out, '2>', \$err) or die $err;
	return $out;
}

# Milliseconds from commit to the engine's consumer, of a captured table.
sub latencies
{
	my ($engine) = @_;
	my $node = ours();
	my $db = 'relay_' . lc $engine->{name};
	my $stream = 's' . ++$n;
	my $out = '';
	my @ms;

	new_database($node, $db);
	sql($node, $db, "$orders; select pgq.create_queue('q');"
		  . " select pgq.capture_table('q', 'orders');"
		  . " select pgq.register_consumer('q', 'c$stream')");
	$engine->{make}->($stream);
	my $pgqd = start_pgqd($node, database_list => $db);
	wait_ingest($node, $db);
	my $relay = start_relay(r => {
		db => $node->connstr($db),
		queue => 'q',
		consumer => "c$stream",
		target => $engine->{url},
		format => 'json',
		$engine->{keys}->($stream)
	});
	$relay->wait_log(qr/\[r\]: running/);
	my $watch = IPC::Run::start(
		[ $engine->{watch} ? $engine->{watch}->($stream)
			: ($program, 'watch', $engine->{kind}, $engine->{url}, $stream) ],
		'>', \$out);
	$watch->pump until $out =~ /ready/;

	load_stop(load_start($node, $db, orders_row(1), '-R', 1000, '-c', 4,
		'-T', $smoke ? 2 : 20));
	sleep(1);
	$watch->pump_nb;
	$watch->kill_kill;
	foreach my $line (split /\n/, $out)
	{
		my ($y, $mon, $d, $h, $m, $s, $part, $came) =
		  $line =~ /"time":"(\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)(\.\d+)?\+00".* ([\d.]+)$/
		  or next;

		push @ms, 1000 * ($came - timegm($s, $m, $h, $d, $mon - 1, $y) - ($part // 0));
	}
	$relay->stop;
	$pgqd->stop;
	sql($node, $db, 'select pgq.stop_capture()');
	return @ms;
}

sub bench
{
	my @libraries = (
		[ 'libnats', 'NATS' ], [ 'hiredis', 'HIREDIS' ], [ 'rdkafka', 'RDKAFKA' ]);
	my @flags = map { "-DHAVE_$_->[1] \$(pkg-config --cflags --libs $_->[0])" }
	  grep { system("pkg-config --exists $_->[0]") == 0 } @libraries;

	$version = `pgqrelay --version`;
	$program = compile('engine', '-D_GNU_SOURCE', @flags);
	new_database(ours(), 'relay', slot => 0);
	foreach my $engine (grep { $_->{name} =~ /^(?:$wanted)$/i } engines())
	{
		my (@ours, @peers, @memory);

		foreach my $round (1 .. $rounds)
		{
			my ($t, $mib) = relayed($engine);

			push @ours, $changes / $t;
			push @memory, $mib;
			push @peers, $changes / published($engine);
		}
		report("events a second of $changes into $engine->{name} / the same from memory",
			'>= 0.7', '', \@ours, \@peers);
		value("memory of pgqrelay into $engine->{name}", '<= 64', 'MiB', @memory);
		my @ms = latencies($engine);
		next if !@ms;
		value("from commit to a consumer of $engine->{name}, at 1000/s: p50",
			$engine->{goal} // '', 'ms', percentile(50, @ms));
		value("... p99", '', 'ms', percentile(99, @ms));
	}
	return;
}

1;
