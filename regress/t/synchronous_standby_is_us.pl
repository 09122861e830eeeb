# synchronous_standby_names = '*' makes pgqd's own walsender a synchronous
# standby: commits wait for ingest, but nothing waits for ever, and pgqd and
# get_slot_info() name the cause.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(time);

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key);
	create table plain (id int);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.set_queue_config('q', 'ticker_idle_period', '1 s');
	select pgq.set_queue_config('q', 'rotation_period', '1 s');
	select pgq.capture_table('q', 't'::regclass);
});
my $pgqd = start_pgqd($node);
sql($node, $db, 'insert into t values (0)');
wait_ingest($node, $db);

$node->append_conf('postgresql.conf', "synchronous_standby_names = '*'\n");
$node->reload;
$pgqd->wait_log(qr/as a synchronous standby/);
pass('pgqd names the problem');
like(
	sql($node, $db, 'select state || problem from pgq.get_slot_info()'),
	qr/^okCommits wait for pgqd/,
	'get_slot_info() names the problem');

foreach my $what ('insert into t values (1)', 'insert into plain values (1)')
{
	my $start = time();
	sql($node, $db, "set statement_timeout = '30 s'; $what");
	cmp_ok(time() - $start, '<', 15, "$what comes back");
}
my $ticks = sql($node, $db, 'select max(tick_id) from pgq.tick');
wait_for('ticks',
	sub { sql($node, $db, 'select max(tick_id) from pgq.tick') > $ticks + 3 });
pass('ticks go on');

# the test's own consumer shall not wait at each step
sql($node, $db, "alter database $db set synchronous_commit = local");
is_deeply(
	consume($node, $db, 'q', 'c', q{ev_data::json->>'id'}),
	[ 0, 1 ], 'events come');

# a restart with everything as it is
$node->restart;
sql($node, $db, q{set synchronous_commit = on; set statement_timeout = '30 s';
	insert into t values (2)});
is_deeply(
	consume($node, $db, 'q', 'c', q{ev_data::json->>'id'}),
	[2], 'events come after a restart');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
