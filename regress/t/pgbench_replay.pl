
# pgbench runs with all four tables captured while pgqd is killed twice; the
# events, replayed into a second database, give the same rows.

use strict;
use warnings;

use PgqTest;
use Test::More;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep);

my $node = new_server('main', conf => "max_connections = 40\n");
my $db = new_database($node, 'bank');
my @tables = map { "pgbench_$_" } qw(accounts branches history tellers);
my @server = ('-h', $node->host, '-p', $node->port);

$node->run_log([ 'pgbench', '-i', '-q', '-s', 1, @server, $db ]);
sql($node, 'postgres', 'create database copy');
system_or_bail('sh', '-c',
	"pg_dump @server -t 'pgbench_*' $db | psql -qX @server copy");

sql($node, $db, q{
	select pgq.create_queue('bank');
	select pgq.register_consumer('bank', 'replayer');
	select pgq.capture_table('bank', ('pgbench_' || t)::regclass, 'format=sql')
		from unnest('{accounts,branches,tellers}'::text[]) t;
	select pgq.capture_table('bank', 'pgbench_history'::regclass, 'format=sql',
		'ops=insert');
});

my $pgqd = start_pgqd($node);
my $load = load_start($node, $db, undef, '-c', 4, '-j', 1, '-T', 15, '-R', 400);

foreach (1, 2)
{
	sleep(4);
	$pgqd->kill9;
	sleep(0.5);
	$pgqd->start;
}
load_stop($load);
wait_ingest($node, $db);

my $statements = consume(
	$node, $db, 'bank', 'replayer', q{
	case ev_type
	when 'I' then format('insert into %s %s;', ev_extra1, ev_data)
	when 'U' then format('update only %s set %s;', ev_extra1, ev_data)
	when 'D' then format('delete from only %s where %s;', ev_extra1, ev_data)
	else 'unknown type ' || ev_type
	end});
cmp_ok(scalar @$statements, '>', 4 * 1000, 'there was a load');

my $script = PostgreSQL::Test::Utils::tempdir() . '/replay.sql';
append_to_file($script, join("\n", 'begin;', @$statements, 'commit;', ''));
my ($out, $err) = run_command(
	[
		'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-f', $script, '-d',
		$node->connstr('copy')
	]);
is($err, '', 'the events replay without an error');

foreach my $table (@tables)
{
	my $all = "select t::text from $table t order by 1";

	ok(sql($node, $db, $all) eq sql($node, 'copy', $all),
		"$table is the same, row for row");
}

done_testing();
