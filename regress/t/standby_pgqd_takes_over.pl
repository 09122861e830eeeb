
# A second pgqd stands by and takes over when the first dies or hangs; events
# come once all the same.

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
my $first = start_pgqd($node);
sql($node, $db, 'insert into t values (1)');
wait_ingest($node, $db);
my $second = start_pgqd($node);
sql($node, $db, 'insert into t values (2)');
wait_ingest($node, $db);
ok($first->alive && $second->alive, 'two pgqd live side by side');

$first->kill9;
sql($node, $db, 'insert into t values (3)');
wait_ingest($node, $db);
pass('the second goes on when the first is killed');

$first->start;
sql($node, $db, 'insert into t values (4)');
wait_ingest($node, $db);
$second->stop;
sql($node, $db, 'insert into t values (5)');
wait_ingest($node, $db);
pass('the first goes on when the second is stopped');

$second->start;
sleep(2);
$first->signal('STOP');
sql($node, $db, 'insert into t values (6)');
wait_ingest($node, $db);
pass('the second goes on when the first hangs');
$first->signal('CONT');
sql($node, $db, 'insert into t values (7)');
wait_ingest($node, $db);
sleep(2);
sql($node, $db, 'insert into t values (8)');
wait_ingest($node, $db);

is_deeply(
	consume($node, $db, 'q', 'c', q{ev_data::json->>'id'}),
	[ 1 .. 8 ],
	'every row came once, in order');
is($_->stop, 0, 'pgqd ends cleanly') foreach ($first, $second);

done_testing();
