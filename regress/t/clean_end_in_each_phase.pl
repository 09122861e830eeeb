# Whatever pgqd is at, SIGTERM ends it at once and cleanly: status 0, a last line
# in the log, no file, and nothing of it left in the server, where a statement
# that waits for somebody is not waited for. Started again it goes on, with
# nothing lost and nothing doubled.

use strict;
use warnings;

use PgqTest;
use File::Basename;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $http_port = PostgreSQL::Test::Cluster::get_free_port();

sql($node, $db, q{
	create table t (id int primary key, pad text);
	create table other (id int primary key, pad text);
	insert into other select i, '' from generate_series(1, 300) i;
	select pgq.create_queue('q'), pgq.create_queue('copies');
	select pgq.register_consumer('q', 'c'), pgq.register_consumer('copies', 'c');
	select pgq.capture_table('q', 't'::regclass);
	create function stay(text) returns int language sql as
		'select pg_sleep(600); select 0';
});
my $s = session($node, $db);
my $blocker = session($node, $db);
my $next = 1;

# insert(N [, LENGTH]): so many rows more, in one transaction
sub insert
{
	my ($n, $length) = @_;
	my $last = $next + $n - 1;

	$length //= 10;
	$s->query("insert into t select i, repeat('x', $length)
		from generate_series($next, $last) i");
	$next += $n;
	return;
}

# wait_blocked(JOB): until that session waits for a lock
sub wait_blocked
{
	my ($job) = @_;
	wait_for("pgqd/$job behind a lock", sub {
		$s->query("select count(*) from pg_stat_activity
			where application_name = 'pgqd/$job' and wait_event_type = 'Lock'")
	});
	return;
}

# ends(PGQD, WHEN [, ROLE]): SIGTERM, and look for what is left; ROLE is its
# role, if another pgqd goes on.
sub ends
{
	my ($pgqd, $when, $role) = @_;
	my $start = time();
	my $dir = dirname($pgqd->{ini});
	my $sessions = q{from pg_stat_activity
		where application_name like 'pgqd/%'} . ($role ? " and usename = '$role'" : '');

	subtest $when => sub {
		is($pgqd->stop('TERM'), 0, 'ends with status 0');
		cmp_ok(time() - $start, '<', 5, 'soon');
		like(PgqTest::slurp($pgqd->{log}),
			qr/Got SIGTERM, fast exit\n.* pgqd has ended\n\z/,
			'the last line of the log says so');
		is_deeply([ map { basename($_) } glob("$dir/*") ],
			[ basename($pgqd->{ini}) ], 'no pidfile, nor another file');
		ok(eval { wait_for('the end of sessions',
				sub { $s->query("select count(*) = 0 $sessions") eq 't' }, 10) },
			'no session is left')
		  or diag($s->query("select application_name, state, query $sessions"));
		is($s->query('select count(*) from pg_replication_slots where active'),
			$role ? 1 : 0, 'nobody but another pgqd has the slot');
		is($s->query('select count(*) from pg_ls_tmpdir()'), 0,
			'no temporary file is left');
	};
	return;
}

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $pgqd = start_pgqd($node, base_connstr => "host=127.0.0.1 port=$port");
$pgqd->wait_log(qr/could not read|connection/);
ends($pgqd, 'no server');

my $mute = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die;
$pgqd = start_pgqd($node, database_list => $db,
	base_connstr => 'host=127.0.0.1 port=' . $mute->sockport);
my $client = $mute->accept;
$client->sysread(my $request, 8);
ends($pgqd, 'a server that does not answer');

$pgqd = start_pgqd($node);
wait_for('the pidfile', sub { -s $pgqd->{ini} =~ s/ini$/pid/r });
ends($pgqd, 'just started');

insert(10);
$pgqd = start_pgqd($node);
wait_ingest($node, $db);
$pgqd->signal('TERM');
ends($pgqd, 'idle, told twice');

$s->query(q{select pgq.capture_table('copies', 'other'::regclass)});
my $load = load_start($node, $db, 'insert into other values
	(1000 + random() * 1000000, $$x$$) on conflict do nothing', '-T', 2);
$pgqd = start_pgqd($node);
wait_ingest($node, $db);
sleep(0.5);
ends($pgqd, 'under load');
load_stop($load);
$s->query(q{select pgq.uncapture_table('copies', 'other'::regclass)});

$pgqd = start_pgqd($node);
wait_ingest($node, $db);
my $table = $s->query(q{select pgq.current_event_table('q')});
$blocker->query("begin; lock table $table in exclusive mode");
insert(10);
wait_blocked('ingest');
ends($pgqd, 'with an ingest that waits');
$blocker->query('rollback');

$pgqd = start_pgqd($node, ingest_max_bytes => '64kB', ingest_memory => '256kB');
wait_ingest($node, $db);
my $before = $s->query("select pg_relation_size('$table')");
my $written = "select count(*) from $table where length(ev_data) > 200";
insert(50000, 200);
wait_for('a part of it', sub {
	$s->query("select pg_relation_size('$table') > $before + 1000000") eq 't'
});
ends($pgqd, 'with half of a large transaction written');
is($s->query($written), 0, 'of which nothing is left');

$pgqd = start_pgqd($node, maint_period => 0.2);
wait_ingest($node, $db);
$s->query(q{update pgq.queue set queue_extra_maint = '{public.stay}'
	where queue_name = 'q'});
wait_for('maintenance under way', sub {
	$s->query(q{select count(*) from pg_stat_activity where
		application_name = 'pgqd/maint' and query like '%stay%' and state = 'active'})
});
ends($pgqd, 'in maintenance');
$s->query(q{update pgq.queue set queue_extra_maint = null});

foreach my $what ([ 'retry', 'retry_queue' ], [ 'tick', 'tick' ])
{
	my ($job, $relation) = @$what;

	$blocker->query("begin; lock table pgq.$relation");
	$pgqd = start_pgqd($node, retry_period => 0.2);
	wait_blocked($job);
	ends($pgqd, "with a $job that waits");
	$blocker->query('rollback');
}

# takes a moment for each row
consume($node, $db, 'copies', 'c');
$s->query(q{select pgq.capture_table('copies', 'other'::regclass, 'copy',
	'when=length(repeat(md5(id::text), 3000)) > 0')});
$blocker->query('begin; lock table other');
$pgqd = start_pgqd($node);
wait_blocked('copy control');
ends($pgqd, 'with a copy that waits for its table');
$blocker->query('rollback');
$pgqd = start_pgqd($node);
wait_for('a copy', sub {
	$s->query(q{select count(*) from pgq.get_copy_info() where state = 'copying'})
});
ends($pgqd, 'while it copies');

$pgqd = start_pgqd($node);
wait_ingest($node, $db);
$s->query('create role second login superuser');
my $second = start_pgqd($node, base_connstr => $node->connstr . ' user=second');
$second->wait_log(qr/stands by/);
ends($second, 'standing by', 'second');
insert(10);
wait_ingest($node, $db);
pass('the first goes on');
$second->start;
$second->wait_log(qr/stands by.*stands by/s);
$pgqd->stop('TERM');
wait_ingest($node, $db);
ends($second, 'after it took over');

$pgqd = start_pgqd($node, http_listen => "127.0.0.1:$http_port");
wait_for('HTTP', sub {
	$client = IO::Socket::INET->new("127.0.0.1:$http_port")
});
$client->syswrite("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
$client->sysread(my $page, 1000);
like($page, qr/200 OK/, 'a page is served');
$client->syswrite("GET / HT");
sleep(0.1);
ends($pgqd, 'in the middle of a request');

$pgqd = start_pgqd($node);
wait_ingest($node, $db);
wait_for('the copy', sub { $s->query(q{select count(*) from pgq.get_copy_info()
	where state <> 'done'}) eq '0' });
is_deeply(
	consume($node, $db, 'q', 'c', q{ev_data::json->>'id'}),
	[ 1 .. $next - 1 ], 'all rows came, each once, in order');
is_deeply(
	[ sort { $a <=> $b } @{ consume($node, $db, 'copies', 'c', q{ev_data::json->>'id'}) } ],
	[ split(/\n/, $s->query('select id from other order by 1')) ],
	'and all rows that were copied');
is($pgqd->stop('TERM'), 0, 'pgqd ends cleanly');

done_testing();
