
# What was rolled back is never in a queue: whole transactions, savepoints,
# prepared transactions. What was prepared and committed is, at its commit.

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
	select pgq.capture_table('q', 't'::regclass, 'format=sql');
});
my $pgqd = start_pgqd($node);

sql($node, $db, 'begin; insert into t values (1); rollback');
sql($node, $db, q{
	begin;
	insert into t values (2);
	savepoint a;
	insert into t values (3);
	savepoint b;
	insert into t values (4);
	rollback to b;
	insert into t values (5);
	release a;
	savepoint c;
	delete from t;
	rollback to c;
	insert into t values (6);
	commit;
});
sql($node, $db, q{
	do $$ begin
		begin
			insert into t values (7);
			raise exception 'undo';
		exception when others then
			insert into t values (8);
		end;
	end $$;
});
sql($node, $db, q{begin; insert into t values (9); prepare transaction 'no'});
sql($node, $db, q{begin; insert into t values (10); prepare transaction 'yes'});
sql($node, $db, 'insert into t values (11)');
wait_ingest($node, $db);
is_deeply(
	consume($node, $db, 'q', 'c'),
	[ map { "I|(id) values ('$_')|public.t" } 2, 3, 5, 6, 8, 11 ],
	'only committed work is in the queue');

$pgqd->kill9;
$pgqd->start;
sql($node, $db, q{rollback prepared 'no'});
sql($node, $db, q{commit prepared 'yes'});
wait_ingest($node, $db);
is_deeply(
	consume($node, $db, 'q', 'c'),
	["I|(id) values ('10')|public.t"],
	'a prepared transaction comes when it commits, also after a restart');
is(sql($node, $db, q{select string_agg(id::text, ',' order by id) from t}),
	'2,3,5,6,8,10,11', 'as in the table');

done_testing();
