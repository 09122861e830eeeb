
# Whatever keeps events from moving is named with its cause, and is gone from all
# that tells of it soon after it is over: locks, standbys, strangers, and processes
# that are stopped. See Standstill.pm.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use Standstill;
use Test::More;

my $node = new_server('main', conf => "wal_sender_timeout = '10 min'\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id serial primary key, pad text);
	select pgq.create_queue('q'), pgq.create_queue('other');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't')});
my $events = sql($node, $db, q{select pgq.current_event_table('q')});
my $pgqd = watch($node, $db);

# A row that has to get through.
sub change { sql($node, $db, q{insert into t (pad) values ('x')}); return }

# stopped(SQL): the process that it finds stands still.
my $stopped;
sub stop_process
{
	$stopped = sql($node, $db, $_[0]);
	kill('STOP', $stopped) or die;
	return;
}
sub go_on { kill('CONT', $stopped); return }
my $walsender_sql = q{select active_pid from pg_replication_slots where slot_name = 'pgq_shop'};

my $holder = session($node, $db);
sub hold { $holder->query("begin; lock table $_[0]"); return }
sub release { $holder->query('rollback'); return }

standstill('a lock on an event table',
	kind => 'lock',
	like => qr/session pgqd\/ingest waits for a lock on \S+ that process \d+ holds \("[^"]*", role \S+, idle in transaction\)/,
	begin => sub { hold("$events in exclusive mode"); change() },
	end => \&release);

standstill('a lock on the table of ticks',
	kind => 'lock',
	# these read it themselves
	without => [ 'status', 'top' ],
	like => qr/session pgqd\/tick waits for a lock on pgq\.tick that process \d+ holds/,
	begin => sub { hold('pgq.tick') },
	end => \&release);

standstill('a lock on the table of positions',
	kind => 'lock',
	without => [ 'status', 'top' ],
	like => qr/table pgq\."position" is locked by process \d+ \("[^"]*", role \S+, idle in transaction\)/,
	begin => sub { hold('pgq.position') },
	end => \&release);

my $writer = session($node, $db);
standstill('a synchronous standby that is away',
	kind => 'commit',
	like => qr/commits wait for a synchronous standby: synchronous_standby_names is "[^"]+", connected are: none/,
	begin => sub {
		commits_wait_for_nobody($node);
		$writer->send(q{insert into t (pad) values ('w')});
	},
	end => sub {
		sql($node, 'postgres', q{set synchronous_commit = local;
			alter system reset synchronous_standby_names});
		$node->reload;
		$writer->answer;
	});

my $stranger;
standstill('somebody else reads the slot',
	kind => 'reader',
	like => qr/slot "pgq_shop" is read by another program, "[^"]+" of role \w+, process \d+: what it confirms never reaches the queues/,
	begin => sub {
		is($pgqd->stop, 0, 'pgqd ends');
		$stranger = fork();
		if (!$stranger)
		{
			open(STDOUT, '>', '/dev/null');
			open(STDERR, '>&', \*STDOUT);
			exec('pg_recvlogical', '-d', connstr() . ' application_name=stranger',
				'-S', 'pgq_shop', '--start', '-f', '-', '-s', '0', '-F', '0',
				'-o', 'format=frames', '-o', 'proto_version=1')
			  or POSIX::_exit(127);
		}
		wait_for('the stranger', sub {
			sql($node, $db, q{select active from pg_replication_slots}) eq 't' });
		# it will confirm nothing
		kill('STOP', $stranger);
		$pgqd->start;
		change();
	},
	end => sub { kill('KILL', $stranger); waitpid($stranger, 0) });

my $stream = qr/slot "pgq_shop" does not move, though there is WAL for it: its walsender, process \d+, waits for \w+/;
standstill('a walsender that is stopped',
	kind => 'stream',
	like => $stream,
	begin => sub { stop_process($walsender_sql); change() },
	end => \&go_on);

standstill('the same on an idle server',
	kind => 'stream',
	like => $stream,
	begin => sub { stop_process($walsender_sql) },
	end => \&go_on);

standstill("the server's process of the ticker is stopped",
	kind => 'pgqd/tick',
	like => qr/ticks do not come to an end: see what session "pgqd\/tick", process \d+, waits for, or whether it is stopped/,
	begin => sub { stop_process(q{select pid from pg_stat_activity
		where application_name = 'pgqd/tick'}) },
	end => \&go_on);

standstill('an external ticker that nobody serves',
	kind => 'ticker',
	like => qr/queue "\w+" has an external ticker, which has not ticked it lately/,
	begin => sub {
		sql($node, $db, q{select pgq.set_queue_config('other', 'external_ticker', 'true'),
			pgq.set_queue_config('other', 'ticker_idle_period', '1 second'),
			pgq.set_queue_config('other', 'ticker_max_lag', '1 second')});
	},
	end => sub {
		sql($node, $db, q{select pgq.set_queue_config('other', 'external_ticker', 'false')}) });

standstill('ingest is switched off',
	kind => 'unread',
	like => qr/pgqd is connected, but nobody reads slot "pgq_shop"/,
	begin => sub { set_ini(ingest => 0); change() },
	end => sub { set_ini(ingest => 1) });

standstill('pgqd is stopped',
	kind => 'pgqd',
	# these are pgqd
	without => [ 'log', 'metrics', 'health', 'page' ],
	like => qr/pgqd is connected, but has asked nothing for a while: it is stopped, or its machine hangs/,
	begin => sub { $pgqd->signal('STOP') },
	end => sub { $pgqd->signal('CONT') });

my $liar;
standstill('pgqd does not run',
	kind => 'pgqd',
	without => [ 'log', 'metrics', 'health', 'page' ],
	like => qr/pgqd does not look after this database: no ticks, nothing arrives/,
	begin => sub {
		is($pgqd->stop, 0, 'pgqd ends');
		# whoever calls himself pgqd without its rights
		sql($node, $db, 'create role liar login');
		$liar = fork();
		if (!$liar)
		{
			exec('psql', '-Xqd', connstr() . ' user=liar application_name=pgqd/watch',
				'-c', 'select pg_sleep(600)') or POSIX::_exit(127);
		}
		wait_for('the liar', sub { sql($node, $db, q{
			select count(*) from pg_stat_activity where usename = 'liar'}) });
	},
	end => sub { kill('KILL', $liar); waitpid($liar, 0); $pgqd->start });

SKIP:
{
	skip('no synchronized_standby_slots before PostgreSQL 17', 10)
	  if sql($node, $db, q{select current_setting('server_version_num')::int < 170000}) eq 't';
	sql($node, $db, q{select pg_create_physical_replication_slot('s2')});
	standstill('standbys of `synchronized_standby_slots` are away (17)',
		kind => 'slot',
		like => qr/slot "pgq_shop" waits for the standbys in synchronized_standby_slots: nobody reads slot "s2"/,
		begin => sub {
			sql($node, 'postgres', q{alter system set synchronized_standby_slots = 's2'});
			$node->reload;
			wait_for('the setting', sub { sql($node, 'postgres',
				q{show synchronized_standby_slots}) eq 's2' });
			change();
		},
		end => sub {
			sql($node, 'postgres', q{alter system reset synchronized_standby_slots});
			$node->reload;
		});
}

# standing by is neither ill nor ready

my $second_port = PostgreSQL::Test::Cluster::get_free_port();
my $second = start_pgqd($node, http_listen => $second_port, database_list => $db);
my $http = HTTP::Tiny->new(timeout => 20);
wait_for('standing by', sub {
	my $r = $http->get("http://127.0.0.1:$second_port/ready");
	$r->{status} == 503 && $r->{content} =~ /^\[shop\]: stands by: another session reads the slot$/m });
is($http->get("http://127.0.0.1:$second_port/health")->{status}, 200,
	'standing by: healthy');
is(get('/ready')->{status}, 200, 'the other one is ready');
$pgqd->stop;
wait_for('it takes over', sub {
	$http->get("http://127.0.0.1:$second_port/ready")->{status} == 200 });
pass('it is ready when it has taken over');
is($second->stop, 0, 'pgqd ends cleanly');
$pgqd->start;
wait_for('ready again', sub { get('/ready')->{status} == 200 });

end_standstills();
