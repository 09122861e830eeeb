
# Debian's londiste replicates tables over our queues, with our pgqd: from a root
# through a branch to a leaf, under load with one table copied meanwhile, and with the branch
# taking over from the root. Nothing is missing or doubled at the end.

use strict;
use warnings;

use IPC::Run;
use PgqDebian;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my ($version) = `pg_config --version` =~ /^PostgreSQL (\d+)/;
my $prefix = pgq4_tree("postgresql-$version-pgq-node",
	"postgresql-$version-londiste-sql");
my $unpacked = fetch_packages(
	qw(python3-londiste python3-pgq python3-skytools python3-psycopg2 python3-yaml));
my $londiste = "$unpacked/usr/bin/londiste";
local $ENV{PYTHONPATH} = "$unpacked/usr/lib/python3/dist-packages";
local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
system('/usr/bin/python3 -c "import londiste.cli, psycopg2" >/dev/null 2>&1') == 0
  or plan skip_all => 'the system has no Python that its packages are for';

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_server('londiste', install_path => $prefix);
my @databases = qw(root branch leaf);
my %worker;

# run_londiste(DATABASE, COMMAND...): runs it to its end; what it says
sub run_londiste
{
	my ($db, @command) = @_;
	my $out = '';
	my $ok = IPC::Run::run(
		[ '/usr/bin/python3', $londiste, "$dir/$db.ini", @command ],
		\undef, '&>', \$out, IPC::Run::timeout($PgqTest::patience));

	die "londiste $db @command: $out" if !$ok || $out =~ / ERROR |Traceback/;
	return $out;
}

# rows(DATABASE, TABLE): how many, and a sum over all they hold
sub rows
{
	my ($db, $table) = @_;
	return sql($node, $db,
		"select count(*), md5(string_agg(t::text, ',' order by id)) from $table t");
}

# wait_same(TABLE, FROM, TO...): until they hold the same rows
sub wait_same
{
	my ($table, $from, @to) = @_;

	foreach my $db (@to)
	{
		wait_for("$table of $db",
			sub { rows($db, $table) eq rows($from, $table) });
	}
	return;
}

foreach my $db (@databases)
{
	my $connstr = $node->connstr($db);

	PostgreSQL::Test::Utils::append_to_file("$dir/$db.ini", <<"INI");
[londiste]
job_name = worker_$db
db = $connstr
queue_name = repl
logfile = $PostgreSQL::Test::Utils::log_path/$db.log
pidfile = $dir/$db.pid
use_skylog = 0
loop_delay = 0.1
lock_timeout = 60
local_wm_publish_period = 1
global_wm_publish_period = 1
INI
	sql($node, 'postgres', "create database $db");
	sql($node, $db, "create extension $_") foreach qw(pgq pgq_node londiste);
	sql($node, $db, 'create table url (id int primary key, v text, n numeric);'
		  . ' create table json (id int primary key, v text, n numeric);'
		  . ' create table sql (id int primary key, v text, n numeric)');
	run_londiste($db, $db eq 'root' ? 'create-root' : "create-$db", $db, $connstr,
		$db eq 'root' ? ()
		: ('--provider=' . $node->connstr($db eq 'leaf' ? 'branch' : 'root')));
	sql($node, $db, q{update pgq.queue set queue_ticker_max_lag = '0.1 s',
		queue_ticker_idle_period = '0.5 s', queue_rotation_period = '3 s'});
	is( sql($node, $db, 'select node_type from pgq_node.node_info'),
		$db, "a $db node");
}

my $pgqd = start_pgqd($node, ticker_period => 0.1, maint_period => 1);
foreach my $db (@databases)
{
	$worker{$db} = IPC::Run::start(
		[ '/usr/bin/python3', $londiste, "$dir/$db.ini", 'worker' ],
		\undef, '>', "$dir/$db.out", '2>&1');
}
END
{
	my $rc = $?;
	eval { IPC::Run::kill_kill($_) } foreach values %worker;
	$? = $rc;
}

# One table is copied while writers are at work: londiste tells by ev_txid which
# events are in the copy already.
my %flags = (url => 'AIUD', json => 'AIUDJ', sql => 'AIUDQ');
my $statements = '';
foreach my $table (sort keys %flags)
{
	$statements .= "insert into $table values (5000 + :i, E'it''s \\\\ ' || :i, :n);\n"
	  . "update $table set v = v || '+', n = n + 1 where id = :n;\n"
	  . "delete from $table where id = :n + 1;\n";
}
sql($node, 'root', 'create sequence ids; insert into url'
	  . " select i, 'old ' || i, i from generate_series(1, 3000) i");
foreach my $table (sort keys %flags)
{
	run_londiste('root', 'add-table', $table, "--trigger-flags=$flags{$table}");
	if ($table eq 'url')
	{
		run_londiste('branch', 'add-table', $table);
		next;
	}
	run_londiste($_, 'add-table', $table, '--expect-sync') foreach qw(branch leaf);
}
my $load = load_start($node, 'root',
	"select nextval('ids') as i \\gset\n\\set n random(1, 4000)\n"
	  . "begin;\n$statements commit;\n",
	'-c', 2, '-t', 300, '-R', 60);

wait_for(
	'the copy to be in sync',
	sub {
		sql($node, 'branch', "select count(*) from londiste.table_info
			where merge_state = 'ok'") eq '3';
	});
load_stop($load);
foreach my $table (sort keys %flags)
{
	my @to = $table eq 'url' ? 'branch' : qw(branch leaf);
	wait_same($table, 'root', @to);
	like(rows($to[-1], $table), qr/^\d{3,4}\|/, "$table is the same everywhere");
}
like(run_londiste('branch', 'compare', 'url'), qr/checksum/i, 'londiste compares');

sql($node, 'root', 'truncate sql; insert into sql values (1, null, null)');
wait_same('sql', 'root', qw(branch leaf));
is(rows('leaf', 'sql') =~ s/\|.*//r, '1', 'TRUNCATE is replicated');

PostgreSQL::Test::Utils::append_to_file("$dir/ddl.sql",
	'alter table sql add column extra text;');
run_londiste('root', 'execute', "$dir/ddl.sql");
sql($node, 'root', q{update sql set extra = 'new' where id < 100});
wait_same('sql', 'root', qw(branch leaf));
pass('so are statements that execute runs');

# ticks of the branch are its provider's, and its watermark reaches the root
is( sql($node, 'branch', 'select queue_external_ticker from pgq.queue'),
	't', 'the branch has its ticks from the root');
wait_for(
	'the watermark',
	sub {
		sql($node, 'root', q{select last_tick > 1 from
			pgq.get_consumer_info('repl', '.global_watermark')}) eq 't';
	});
pass('maintenance moves the watermark');
wait_for(
	'rotations',
	sub {
		sql($node, $_, q{select min(queue_switch_step1) > 0 and
			count(*) filter (where queue_cur_table > 0) > 0 from pgq.queue}) eq 't'
		  or return 0
		  foreach qw(root branch);
		return 1;
	});
pass('and rotates the tables of root and branch');

like(run_londiste('branch', 'takeover', 'root'), qr/\S/, 'the branch takes over');
is( join(' ', map { sql($node, $_, 'select node_type from pgq_node.node_info') }
		@databases),
	'branch root leaf', 'and is the root now');
my $n = sql($node, 'branch', 'select count(*) from json');
sql($node, 'branch', q{insert into json select i, 'after', i from generate_series(9000, 9099) i});
wait_same('json', 'branch', qw(root leaf));
is(rows('leaf', 'json') =~ s/\|.*//r, $n + 100, 'what is written there goes to the others');
my ($rc, undef, $err) = $node->psql('root', q{insert into json values (1000000, 'x', 1)});
like($err, qr/change not allowed|disallowed/, 'and the old root takes no writes');

unlike($pgqd->text, qr/ ERROR /, 'pgqd had no error');
is($pgqd->stop, 0, 'and ends cleanly');
done_testing();
