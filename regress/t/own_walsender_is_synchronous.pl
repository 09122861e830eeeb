
# Someone sets synchronous_standby_names = '*', and pgqd's own walsender becomes
# a synchronous standby: every commit, the ticks' too, waits for what pgqd
# confirms. It must name the problem, go on ticking, and get over it.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'app');

sql($node, $db, q{
	create table item (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 'item')});

my $pgqd = start_pgqd($node);
$pgqd->wait_log(qr/ingest reads slot/);
sql($node, $db, 'insert into item values (1)');

sql($node, 'postgres',
	q{alter system set synchronous_standby_names = '*'});
sql($node, 'postgres', 'select pg_reload_conf()');
wait_for(
	'a synchronous walsender',
	sub {
		sql($node, 'postgres',
			q{select count(*) from pg_stat_replication
			  where sync_state = 'sync'});
	});

$pgqd->wait_log(qr/own walsender counts as a synchronous standby/);
sql($node, $db, 'insert into item values (2)');
my $newest = sql($node, $db, 'select max(tick_id) from pgq.tick');
sql($node, $db, q{select pgq.force_tick('q')});
wait_for(
	'a tick in spite of it',
	sub {
		sql($node, $db, "select max(tick_id) > $newest from pgq.tick") eq 't';
	});
pass('ticks go on');

sql($node, 'postgres', 'alter system reset synchronous_standby_names');
sql($node, 'postgres', 'select pg_reload_conf()');
$pgqd->wait_log(qr/no synchronous standby any more/);
sql($node, $db, 'insert into item values (3)');
wait_ingest($node, $db);
is_deeply(
	consume($node, $db, 'q', 'c', "ev_data::json->>'id'"),
	[ 1, 2, 3 ],
	'every event is there once, in order');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
