
# Between installing our packages and ALTER EXTENSION UPDATE, and after
# pg_upgrade, a database has PgQ 3.5's functions and our libraries of the old
# names: everything goes on, in sessions old and new.

use strict;
use warnings;

use PgqDebian;
use PgqTest;
use Test::More;

my $prefix = pgq35_tree();
my $node = new_server('old', install_path => $prefix);
my $db = 'db';

sql($node, 'postgres', "create database $db");
sql($node, $db, q{
	create extension pgq;
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	create role producer in role pgq_writer;
	create table item (id int primary key, v text);
	grant all on item to producer;
	create trigger a_json after insert or update or delete on item
		for each row execute function pgq.jsontriga('q', 'backup');
	create trigger b_url after insert or update or delete on item
		for each row execute function pgq.logutriga('q', 'ignore=v');
	create trigger c_sql after insert or update or delete on item
		for each row execute function pgq.sqltriga('q', 'ev_extra3=id * 2');
	create trigger d_sql after truncate on item
		for each statement execute function pgq.sqltriga('q')});

# the same work as seen through either library
my $work = q{
	set role producer;
	select pgq.insert_event('q', 't', 'three');
	select pgq.insert_event('q', 't', 'seven', 'x1', 'x2', 'x3', null);
	insert into item values (1, 'a b'), (2, null);
	update item set v = 'c' where id = 1;
	delete from item where id = 2;
	truncate item;
	reset role;
	select pgq.insert_event_raw('q', null, null, null, 5, 'raw', 'd', null, null,
		null, null)};
my $columns = q{concat_ws('|', ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3,
	ev_retry)};

my $session = session($node, $db);
$session->query($work);
my $before = consume($node, $db, 'q', 'c', $columns);
is(scalar @$before, 15, 'PgQ 3.5 by itself');

add_pgq4($prefix);
sql($node, $db, $work);
is_deeply(consume($node, $db, 'q', 'c', $columns),
	$before, 'the same from our libraries');
$session->query($work);
is_deeply(consume($node, $db, 'q', 'c', $columns),
	$before, 'and from a session that has the old ones loaded');

my $fresh = session($node, $db);
is($fresh->sqlstate(q{select pgq.insert_event('nosuch', 't', 'd')}),
	'42704', 'errors come from ours');
is($fresh->sqlstate('select pgq.jsontriga()'), '39P01',
	'a trigger function can only be called by a trigger');
sql($node, $db, q{update pgq.queue set queue_disable_insert = true});
is($fresh->sqlstate(q{insert into item values (3)}), '55000', 'a disabled queue');
sql($node, $db, q{update pgq.queue set queue_disable_insert = false,
	queue_per_tx_limit = 2, queue_rotation_period = '0'});
is($fresh->sqlstate(q{insert into item values (3)}), '53400', 'a limited one');
sql($node, $db, q{update pgq.queue set queue_per_tx_limit = null});

foreach my $turn (1 .. 4)
{
	sql($node, $db, q{select pgq.maint_rotate_tables_step1('q')});
	$fresh->query(qq{select pgq.insert_event('q', 't', 'turn $turn')});
	sql($node, $db, q{select pgq.maint_rotate_tables_step2()});
	is_deeply(consume($node, $db, 'q', 'c', 'ev_data'),
		["turn $turn"], "over a rotation, $turn");
}

# A user's own insert_event is still called by triggers.
sql($node, $db, q{
	create table seen (v text);
	create or replace function pgq.insert_event(queue_name text, ev_type text,
		ev_data text, ev_extra1 text, ev_extra2 text, ev_extra3 text,
		ev_extra4 text) returns int8 language plpgsql security definer as
	$$ begin insert into public.seen values (ev_type); return 1; end $$;
	insert into item values (9)});
is( sql($node, $db, 'select v from seen'),
	qq{{"op":"INSERT","table":["public","item"],"pkey":["id"]}\nI:id\nI},
	'a replaced insert_event is called');

sql($node, $db, 'drop table seen; alter extension pgq update');
$session->query($work =~ s/insert into/delete from item; insert into/r);
is( sql($node, $db,
		q{select count(*) from pg_proc where probin ~ 'pgq_(lowlevel|triggers)'}),
	'0', 'the update leaves the old libraries behind');
is((consume($node, $db, 'q', 'c', 'ev_data'))->[0], 'three',
	'and old sessions go on');

done_testing();
