# Whatever dies, and when, and whatever is done to tables, databases and settings
# meanwhile: each committed change is in each target queue
# exactly once, in the order of the commits, a transaction's whole in one
# batch; what was rolled back never is; and a batch id that a consumer saw
# always has the same contents.
#
# scripts/chaos runs this for longer: PGQ_CHAOS_SECONDS, PGQ_CHAOS_SEED.

use strict;
use warnings;

use PgqTest;
use PgqProxy;
use PgqLedger;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{PGQ_CHAOS_SECONDS} // 25;
my $seed = $ENV{PGQ_CHAOS_SEED} // int(time() * 1000) % 1000000;

$PgqTest::patience = 60;
srand($seed);
note("seed $seed, $seconds seconds");

my $node = new_server('main', conf => q{
wal_sender_timeout = 2s
max_connections = 80
logical_decoding_work_mem = 64kB
checkpoint_timeout = 30s
restart_after_crash = on
wal_recycle = off
});
my $db = new_database($node, 'shop');
sql($node, $db, ledger_schema());
sql($node, $db, q{
	select pgq.create_queue('away');
	select pgq.capture_table('away', 't3'::regclass);
});

# a database whose owner planted functions under our names
sql($node, 'postgres', 'create database planted');
foreach my $f ('version()', 'tick(name text[], seen xid[])', 'tick_due()', 'ticker()',
	'maint_operations()', 'get_slot_info()', 'get_capture_info()')
{
	sql($node, 'planted', qq{create schema if not exists pgq;
		create function pgq.$f returns text language plpgsql as
			\$\$begin raise log 'planted code runs'; return '4.0'; end\$\$});
}

# a consumer that keeps up and one that makes rotation wait
my $connstr = $node->connstr($db);
my %file;
foreach my $queue (@PgqLedger::queues)
{
	foreach my $consumer ('fast', 'slow')
	{
		$file{$queue}{$consumer} =
		  PostgreSQL::Test::Utils::tempdir() . "/$queue.$consumer";
		sql($node, $db, "select pgq.register_consumer('$queue', '$consumer')");
	}
	sql($node, $db, "select pgq.set_queue_config('$queue', 'rotation_period',
		'1 second')");
}

my $proxy_dir = PostgreSQL::Test::Utils::tempdir_short();
my $proxy = PgqProxy->new($node->host, $node->port, $proxy_dir);
my %ini = (
	base_connstr => "host=$proxy_dir port=" . $node->port,
	maint_period => 1,
	ingest_max_bytes => '64kB',
	ingest_memory => '256kB');
my @pgqd = map { start_pgqd($node, %ini) } 1 .. 2;

foreach my $queue (@PgqLedger::queues)
{
	start_consumer($connstr, $queue, 'fast', $file{$queue}{fast}, 0.5);
	start_consumer($connstr, $queue, 'slow', $file{$queue}{slow}, 4);
}
start_writer($connstr, $_, $_ % 2, 0.02, 0) foreach 0 .. 3;
start_writer($connstr, 4, 2, 0.2, 4000);
start_preparer($connstr, 5, 3);

sub a_pgqd { return $pgqd[ rand @pgqd ] }

# The process id of a server process, by what its session is called.
sub backend
{
	my ($like) = @_;
	my ($rc, $out) = $node->psql('postgres',
		"select pid from pg_stat_activity where application_name like '$like'
		order by random() limit 1");

	return $rc == 0 && $out =~ /^\d+$/ ? $out : 0;
}

sub terminate
{
	my ($like) = @_;
	my $pid = backend($like);

	kill('TERM', $pid) if $pid;
	return $pid;
}

# A full disk is played by a limit on the size of the files that a process
# writes, so that it needs no rights: limit(BYTES or 'unlimited', PID ...).
sub limit
{
	my ($bytes, @pids) = @_;

	system('prlimit', '--pid', $_, "--fsize=$bytes:unlimited") foreach @pids;
	return;
}

sub pids
{
	my ($where) = @_;
	my ($rc, $out) = $node->psql('postgres',
		"select pid from pg_stat_activity where $where");

	return $rc == 0 ? grep { /^\d+$/ } split(/\n/, $out) : ();
}

# Limits processes for a while; those that are gone by then are no harm.
sub limit_shortly
{
	my ($bytes, $seconds, @pids) = @_;

	limit($bytes, @pids);
	sleep($seconds);
	limit('unlimited', grep { kill(0, $_) } @pids);
	return;
}

my $can_limit = system("prlimit --pid $$ --fsize=unlimited:unlimited 2>/dev/null") == 0;
my @dumps;
my $ddl = 0;
my %faults = (
	'kill -9 pgqd' => [ 4, sub { my $d = a_pgqd(); $d->kill9; sleep(rand); $d->start; } ],
	'stop and start pgqd' => [ 1, sub { my $d = a_pgqd(); $d->stop; $d->start; } ],
	'pgqd hangs longer than wal_sender_timeout' => [ 1, sub {
		my $d = a_pgqd();
		$d->signal('STOP');
		sleep(2.5 + rand);
		$d->signal('CONT');
	} ],
	'pgqd hangs shortly' => [ 2, sub {
		my $d = a_pgqd();
		$d->signal('STOP');
		sleep(rand);
		$d->signal('CONT');
	} ],
	'terminate walsender' => [ 2, sub { terminate('pgqd/stream') } ],
	'terminate ingest' => [ 2, sub { terminate('pgqd/ingest') } ],
	'terminate ticker' => [ 2, sub { terminate('pgqd/tick') } ],
	'terminate maintenance' => [ 1, sub { terminate('pgqd/maint') } ],
	'crash by a killed backend' => [ 1, sub {
		my $pid = backend('pgqd/%');
		kill('KILL', $pid) if $pid;
		sleep(0.5);
	} ],
	'immediate stop' => [ 2, sub {
		$node->stop('immediate');
		sleep(rand);
		$node->start;
	} ],
	'kill -9 the postmaster' => [ 1, sub {
		my $pid = $node->{_pid};

		$node->kill9;
		# pg_ctl takes the old pid file for a running server until it is gone,
		# and until the last of its processes is, it can't start
		for (my $i = 0; $i < 100 && kill(0, $pid); $i++)
		{
			sleep(0.1);
		}
		for (my $i = 0; $i < 100 && !$node->start(fail_ok => 1); $i++)
		{
			sleep(0.2);
		}
	} ],
	'fast restart' => [ 1, sub { $node->restart } ],
	'cut connections in mid-message' => [ 4, sub { $proxy->cut } ],
	'connections stall' => [ 1, sub { $proxy->stall; sleep(3) } ],
	'drop and create a queue' => [ 2, sub {
		$node->psql($db, q{select pgq.drop_queue('away', true)});
		sleep(0.2 * rand);
		$node->psql($db, q{select pgq.create_queue('away')});
	} ],
	'pg_dump' => [ 1, sub {
		my $pid = fork() // die;
		if (!$pid)
		{
			open(STDOUT, '>', '/dev/null');
			open(STDERR, '>&', \*STDOUT);
			exec('pg_dump', $connstr) or POSIX::_exit(1);
		}
		push @dumps, $pid;
	} ],
	'no room for spill files' => [ $can_limit, sub {
		limit_shortly(16384, 1 + rand, pids(q{application_name = 'pgqd/stream'}));
	} ],
	'no room for WAL and tables' => [ $can_limit, sub {
		my @all = pids(q{backend_type in ('client backend', 'walsender', 'walwriter')});
		limit(1048576, @all);
		# a new segment is wanted by one that can't make it: a crash
		$node->psql('postgres', 'select pg_switch_wal()') foreach 1 .. 2;
		limit_shortly(1048576, 1 + rand, grep { kill(0, $_) } @all);
	} ],
	"no room for pgqd's log" => [ $can_limit, sub {
		limit_shortly(1, 1 + rand, map { $_->{pid} } @pgqd);
	} ],
	'reindex the database' => [ 1, sub { $node->psql($db, "reindex database $db") } ],
	'vacuum full of our tables' => [ 2, sub {
		$node->psql($db, q{select format('vacuum full %s', c.oid::regclass)
			from pg_class c where relnamespace = 'pgq'::regnamespace and relkind = 'r'
			order by random() limit 4 \\gexec});
	} ],
	'DDL on a captured table' => [ 4, sub {
		my $t = 't' . int(rand(4));
		my @ddl = ("alter table $t add column extra" . ++$ddl . ' int default 1',
			"alter table $t drop column if exists extra" . int(1 + rand($ddl)),
			"begin; alter table $t rename to elsewhere; alter table elsewhere rename to $t; commit",
			"begin; alter table $t alter pad type varchar(2000); alter table $t alter pad type text; commit",
			map { "select pgq.alter_captured('$_')" }
			  "alter table $t alter k type bigint",
			  "alter table $t alter k type int",
			  "alter table $t alter id type bigint",
			  "alter table $t alter id type int",
			  "alter table $t replica identity full",
			  "alter table $t replica identity default",
			  "alter table $t drop constraint ${t}_pkey; alter table $t add primary key (client, x, id)");

		my ($rc, $out, $err) = $node->psql($db, "set lock_timeout = '3s'; " . $ddl[ rand @ddl ]);
		note($err) if $rc;
	} ],
	'a setting of the database' => [ 4, sub {
		my @settings = ("lc_monetary = 'C.UTF-8'", "timezone = 'Asia/Kathmandu'",
			"datestyle = 'German, DMY'", 'intervalstyle = sql_standard',
			"statement_timeout = '200ms'", "lock_timeout = '1ms'",
			"idle_in_transaction_session_timeout = '100ms'",
			'default_transaction_read_only = on',
			'default_transaction_isolation = serializable',
			'synchronous_commit = off', 'bytea_output = escape',
			"work_mem = '64kB'", 'jit_above_cost = 0',
			"search_path = 'pg_temp, nowhere, public'");

		# the last ones are in force until another comes
		$node->psql('postgres', "alter database $db reset all") if rand() < 0.5;
		$node->psql('postgres', "alter database $db set $settings[rand @settings]");
	} ],
	'a hostile database comes or goes' => [ 2, sub {
		my ($rc) = $node->psql('postgres', 'create database hostile template planted');

		$node->psql('postgres', 'drop database hostile with (force)') if $rc;
	} ],
	'checkpoint' => [ 1, sub { $node->psql('postgres', 'checkpoint') } ],
);
my @deck = map { ($_) x $faults{$_}[0] } sort keys %faults;
my %done;
my $end = time() + $seconds;

while (time() < $end)
{
	my $name = $deck[ rand @deck ];

	sleep(0.2 + rand() * 1.5);
	note(sprintf('%5.1f s before the end: %s', $end - time(), $name));
	$done{$name}++;
	$faults{$name}[1]->();
	$node->poll_query_until('postgres', 'select true') or die 'no server';
}

sql($node, 'postgres', "alter database $db reset all");
stop_helpers();
waitpid($_, 0) foreach @dumps;
wait_ingest($node, $db);
note("$_: $done{$_}") foreach sort keys %done;

my ($want, $transactions) = ledger_expected($connstr);
cmp_ok($transactions, '>', 100, "$transactions transactions were committed");
foreach my $queue (@PgqLedger::queues)
{
	foreach my $consumer ('fast', 'slow')
	{
		drain($connstr, $queue, $consumer, $file{$queue}{$consumer});
		my ($wrong, $events, $batches, $again) =
		  ledger_check($file{$queue}{$consumer}, $want->{$queue});
		is(join("\n", @$wrong[ 0 .. ($#$wrong > 9 ? 9 : $#$wrong) ]),
			'', "$queue, $consumer: $events events in $batches batches, "
			  . "$again read again");
	}
}
is($_->stop, 0, 'pgqd ends cleanly') foreach @pgqd;
unlike(slurp($node->logfile), qr/planted code runs/, 'no planted code ran');
$proxy->stop;

done_testing();
