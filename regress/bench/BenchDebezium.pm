
# A captured table on to Apache Kafka: by pgqd and pgqrelay, and by Debezium's connector in
# Kafka Connect, with its usual settings and Kafka Connect's own for Java. The messages are
# the same, into the same broker.

package BenchDebezium;

use strict;
use warnings;

use BenchTools;
use IPC::Run ();
use PgqDebezium;
use PgqKafka;
use PgqRelay;
use PgqTest;
use POSIX ();
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep);

my $rows = $changes * 3 / 10;
my $seconds = 20;    # of a run for latencies
my ($kafka, $node);

# Seconds of CPU of these processes with all their threads.
sub cpu_of
{
	my $ticks = 0;

	foreach my $pid (@_)
	{
		my @fields = split(' ', slurp("/proc/$pid/stat") =~ s/.*\) //sr);

		$ticks += $fields[11] + $fields[12];
	}
	return $ticks / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# The process of a command and the sessions of these names in the database.
sub processes
{
	my ($db, $names, @processes) = @_;

	return (@processes, split(/\n/, sql($node, $db, "select pid from pg_stat_activity
		where datname = current_database() and application_name ~ '^(?:$names)'")));
}

sub start_ours
{
	my ($db) = @_;

	sql($node, $db, q{select pgq.start_capture(); select pgq.create_queue('q');
		select pgq.register_consumer('q', 'relay_r');
		select pgq.capture_table('q', 'orders', 'format=debezium')});
	my $pgqd = start_pgqd($node, database_list => $db);
	my $relay = start_relay(r => {
		db => $node->connstr($db),
		queue => 'q',
		target => $kafka->url,
		topic => "$db.{schema}.{table}",
		key => '{key_json}'
	});
	my $pid = $relay->{h}{KIDS}[0]{PID};

	wait_ingest($node, $db);
	$relay->wait_log(qr/\[r\]: running/);
	return {
		processes => [ $pgqd->{pid}, $pid ],
		sessions => 'pgqd/(?:tick|ingest|stream)|pgqrelay',
		stop => sub { $relay->stop; $pgqd->stop; sql($node, $db, 'select pgq.stop_capture()') }
	};
}

sub start_theirs
{
	my ($db) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $worker = PgqDebezium::write_properties(
		'bootstrap.servers' => $kafka->{servers},
		(map { ("$_.converter" => 'org.apache.kafka.connect.json.JsonConverter',
			"$_.converter.schemas.enable" => 'false') } qw(key value)),
		'offset.storage.file.filename' => "$dir/offsets",
		'plugin.discovery' => 'only_scan',
		'listeners' => 'http://127.0.0.1:' . free_port());
	my $connector = PgqDebezium::write_properties(
		'name' => 'debezium',
		'connector.class' => 'io.debezium.connector.postgresql.PostgresConnector',
		'database.hostname' => '127.0.0.1',
		'database.port' => $node->port,
		'database.user' => scalar getpwuid($<),
		'database.password' => 'x',
		'database.dbname' => $db,
		'plugin.name' => 'pgoutput',
		'publication.autocreate.mode' => 'filtered',
		'table.include.list' => 'public.orders',
		'snapshot.mode' => 'no_data',
		'topic.prefix' => $db);
	my $connect = start_engine('connect', 'java', '-Xms256m', '-Xmx2g', '-server',
		'-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20', '-XX:InitiatingHeapOccupancyPercent=35',
		'-cp', "$ENV{PGQ_JARS}/debezium/*",
		'org.apache.kafka.connect.cli.ConnectStandalone', $worker, $connector);

	wait_for('Debezium', sub {
		die $connect->text if !$connect->alive;
		return sql($node, $db,
			q{select 1 from pg_replication_slots where active and plugin = 'pgoutput'});
	});
	return {
		processes => [ $connect->{h}{KIDS}[0]{PID} ],
		sessions => 'Debezium',
		stop => sub {
			$connect->stop;
			sql($node, $db, q{select pg_drop_replication_slot('debezium')});
		}
	};
}

# wait_row(FILE, ID): until the topic's watcher has written the row's message.
sub wait_row
{
	my ($file, $id) = @_;

	wait_for("row $id in Kafka", sub {
		open(my $fh, '<', $file) or return 0;
		seek($fh, -2000, 2);
		local $/ = undef;
		return readline($fh) =~ /"after":\{"id":$id,/;
	});
	return;
}

# Milliseconds from the commit, as messages have it, to the consumer of the topic, of the
# watcher's lines from one byte on.
sub latencies
{
	my ($file, $from) = @_;
	my @ms;

	open(my $fh, '<', $file) or die "$file: $!";
	seek($fh, $from, 0);
	while (<$fh>)
	{
		/"source":\{[^}]*"ts_us":(\d+).* ([\d.]+)$/ or next;
		push @ms, 1000 * ($2 - $1 / 1e6);
	}
	return @ms;
}

# run(NAME, START): what one of the two does in one round.
sub run
{
	my ($name, $start) = @_;
	my $db = $name;
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$name.watched";
	my %got;

	new_database($node, $db, slot => 0);
	sql($node, $db, $orders);
	$kafka->create("$db.public.orders", 1);
	my $side = $start->($db);
	my $watch = IPC::Run::start([ PgqKafka::build_tool(), $kafka->{servers}, 'watch',
		"$db.public.orders" ], '>', $file);

	# the first are not measured: all is loaded and compiled by them
	sql($node, $db, fill_orders($rows / 10));
	wait_row($file, $rows / 10);
	foreach my $rate (1000, 1)
	{
		my $from = -s $file;

		load_stop(load_start($node, $db, orders_row(1), '-R', $rate, '-c',
			$rate > 1 ? 4 : 1, '-T', $seconds));
		wait_row($file, sql($node, $db, 'select last_value from orders_id_seq'));
		my @ms = latencies($file, $from);

		$got{"p50 $rate"} = percentile(50, @ms);
		$got{"p99 $rate"} = percentile(99, @ms);
	}
	my @pids = processes($db, $side->{sessions}, @{ $side->{processes} });
	my $before = cpu_of(@pids);

	$got{rate} = $rows / elapsed(sub {
		sql($node, $db, fill_orders($rows));
		wait_row($file, sql($node, $db, 'select last_value from orders_id_seq'));
	});
	$got{cpu} = 1e6 * (cpu_of(@pids) - $before) / $rows;
	$got{memory} += memory_peak($_) foreach @{ $side->{processes} };
	$watch->kill_kill;
	$side->{stop}->();
	return \%got;
}

sub bench
{
	if ($smoke || !-d (($ENV{PGQ_JARS} // q{}) . '/debezium'))
	{
		sentence('Left out: no Debezium. `scripts/install-deps --debezium` fetches it.');
		return;
	}
	$node = ours();
	sql($node, 'postgres', q{alter system set listen_addresses = '127.0.0.1'});
	$node->restart;
	$kafka = PgqKafka->new(1);
	$kafka->create('pgq.positions', 1, 'cleanup.policy=compact');

	my $n = 0;
	my %v = alternate(
		ours => sub { run('ours' . ++$n, \&start_ours) },
		peer => sub { run("debezium$n", \&start_theirs) });
	my $row = sub {
		my ($what, $key, $unit, $goal) = @_;

		report($what, $goal, $unit, map { [ map { $_->{$key} } @{ $v{$_} } ] } qw(ours peer));
	};

	$row->("$rows changes in transactions of 100: changes a second, written and in Kafka",
		'rate', '/s', '>= 1.0');
	$row->('CPU per change: all that moves it, the walsender too', 'cpu', 'us', '<= 1.0');
	$row->("commit to Kafka's consumer, 1,000 transactions a second: p50", 'p50 1000', 'ms',
		'<= 1.0');
	$row->('... p99', 'p99 1000', 'ms', '<= 1.0');
	$row->("commit to Kafka's consumer, 1 transaction a second: p50", 'p50 1', 'ms', '<= 1.0');
	$row->('... p99', 'p99 1', 'ms', '<= 1.0');
	$row->('memory at most: pgqd and pgqrelay / Kafka Connect', 'memory', 'MiB', '<= 1.0');
	return;
}

1;
