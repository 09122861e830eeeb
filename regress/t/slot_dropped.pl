
# A slot that vanished means that changes are missing: ingest stops and says
# so, nothing is skipped in silence, and ticks go on.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass);
});
my $pgqd = start_pgqd($node);
sql($node, $db, 'insert into t values (1)');
wait_ingest($node, $db);
$pgqd->stop;

drop_slot($node, $db);
sql($node, $db, 'insert into t values (2)');
$pgqd->start;

$pgqd->wait_log(qr/slot.*(missing|not exist|gone|dropped)/i);
my $problem = wait_for('the problem in get_slot_info',
	sub { sql($node, $db, 'select problem from pgq.get_slot_info()') });
like($problem, qr/slot/, "get_slot_info says: $problem");

# a slot of the same name made by hand does not hide the gap
sql($node, $db,
	q{select pg_create_logical_replication_slot(slot_name, 'pgq') from pgq.slot});
sql($node, $db, 'insert into t values (3)');
sleep(3);
isnt(sql($node, $db, 'select problem from pgq.get_slot_info()'),
	'', 'a new slot of that name does not hide the gap');

my $before = sql($node, $db, 'select max(tick_id) from pgq.tick');
sql($node, $db, q{select pgq.insert_event('q', 'still', 'here')});
wait_for('a tick',
	sub { sql($node, $db, 'select max(tick_id) from pgq.tick') > $before });
is_deeply(
	consume($node, $db, 'q', 'c', 'coalesce(ev_data, ev_type)'),
	[ '{"id":1}', 'here' ],
	'nothing behind the gap was ingested, other events go on');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
