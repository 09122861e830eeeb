
# A mark on a partitioned table covers its leaves, also those attached later and
# until they are detached; events carry the marked table's name.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table sale (id int, day int, what text, primary key (id, day))
		partition by range (day);
	create table sale_1 partition of sale for values from (1) to (10);
	-- other column order and a dropped column
	create table sale_2 (gone int, what text, day int not null, id int not null,
		primary key (id, day));
	alter table sale_2 drop column gone;
	alter table sale attach partition sale_2 for values from (10) to (20);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 'sale'::regclass, 'format=sql');
});
my $pgqd = start_pgqd($node);

# got(WHAT, EVENT...): these events, and no others, have come since.
sub got
{
	my ($what, @events) = @_;

	wait_ingest($node, $db);
	is_deeply(
		consume($node, $db, 'q', 'c',
			"concat_ws('|', ev_type, ev_data, ev_extra1, ev_extra3)"),
		\@events, $what);
	return;
}

sql($node, $db, q{
	insert into sale values (1, 1, 'a'), (2, 11, 'b');
	insert into sale_2 (id, day, what) values (3, 12, 'c');
	delete from sale where id = 2;
});
got('rows of all leaves, named after the root',
	"I|(id,day,what) values ('1','1','a')|public.sale",
	"I|(id,day,what) values ('2','11','b')|public.sale",
	"I|(id,day,what) values ('3','12','c')|public.sale",
	"D|id='2' and day='11'|public.sale");

sql($node, $db, 'update sale set day = 13 where id = 1');
got('a row that moves is a delete and an insert',
	"D|id='1' and day='1'|public.sale",
	"I|(id,day,what) values ('1','13','a')|public.sale");

sql($node, $db, q{
	create table sale_3 (like sale including all);
	insert into sale_3 values (9, 21, 'before');
	alter table sale attach partition sale_3 for values from (20) to (30);
	insert into sale values (4, 22, 'd');
	alter table sale detach partition sale_3;
	insert into sale_3 values (5, 23, 'after');
});
got('a leaf counts from when it is attached until it is detached',
	"I|(id,day,what) values ('4','22','d')|public.sale");

sql($node, $db, 'alter table sale rename to sold');
sql($node, $db, q{insert into sold values (6, 2, 'e')});
got('a renamed root gives its new name at once',
	"I|(id,day,what) values ('6','2','e')|public.sold");

sql($node, $db, 'truncate sale_1');
sql($node, $db, 'truncate sold');
got('truncate: a leaf under its own name, the root once',
	'R||public.sale_1|partition', 'R||public.sold');

is(sql($node, $db, "select pgq.uncapture_table('q', 'sold'::regclass)"),
	'1', 'the mark is taken away');
sql($node, $db, q{insert into sold values (7, 2, 'f')});
got('no events after that');

# Who stands for whom in TRUNCATE: each mark has its event as a trigger in its place
# would have, and one of a part where only a part of its table is truncated.
sql($node, $db, q{
	create table r (k int, v int) partition by range (k);
	create table m partition of r for values from (0) to (10) partition by range (k);
	create table a partition of m for values from (0) to (5);
	create table b partition of m for values from (5) to (10);
	create table o partition of r for values from (10) to (20);
	create table p (k int);
	create table c () inherits (p);
	create table d (k int);
	select pgq.create_queue('q2'), pgq.register_consumer('q2', 'c');
});

# Queue and table of each mark, a statement, and the events: queue, table, and
# whether it is of a part.
my @truncates = (
	[ 'q.r', 'r', 'q r' ],
	[ 'q.r', 'm', 'q m part' ],
	[ 'q.r', 'a', 'q a part' ],
	[ 'q.r', 'a, b, o', 'q a part', 'q b part', 'q o part' ],
	[ 'q.r', 'a, r', 'q r' ],
	[ 'q.r', 'm, a, o', 'q m part', 'q o part' ],
	[ 'q.a', 'r', 'q a' ],
	[ 'q.a', 'm', 'q a' ],
	[ 'q.a', 'b, o', () ],
	[ 'q.m', 'r', 'q m' ],
	[ 'q.m', 'm, o', 'q m' ],
	[ 'q.r q.a', 'r', 'q r', 'q a' ],
	[ 'q.r q.a', 'm', 'q m part', 'q a' ],
	[ 'q.r q.m q.a', 'r', 'q r', 'q m', 'q a' ],
	[ 'q.r q.m', 'r', 'q r', 'q m' ],
	[ 'q.r q.m', 'a', 'q a part' ],
	[ 'q.r q2.m', 'r', 'q r', 'q2 m' ],
	[ 'q.r q2.m', 'm', 'q m part', 'q2 m' ],
	[ 'q.r q2.a', 'r', 'q r', 'q2 a' ],
	[ 'q.r q2.r q2.b', 'r, d', 'q r', 'q2 r', 'q2 b' ],
	[ 'q.m q2.r', 'a', 'q a part', 'q2 a part' ],
	[ 'q.r.insert q.a', 'r', 'q a' ],
	[ 'q.r q.a.insert', 'r', 'q r' ],
	[ 'q.p q.c', 'p', 'q p', 'q c' ],
	[ 'q.p', 'p', 'q p' ],
	[ 'q.c', 'p', 'q c' ],
	[ 'q.p q.c', 'only p', 'q p' ],
	[ 'q.d q2.d q.p', 'p, d', 'q p', 'q d', 'q2 d' ]);

foreach my $case (@truncates)
{
	my ($marks, $statement, @events) = @$case;
	my $seen = sub
	{
		map { my $q = $_; map { "$q $_" } @{ consume($node, $db, $q, 'c',
			"concat_ws(' ', replace(ev_extra1, 'public.', ''), case when ev_extra3 = 'partition' then 'part' end)") } }
			qw(q q2);
	};
	my @marks = map { [ split(/\./, $_) ] } split(/ /, $marks);

	sql($node, $db, join(';', map { sprintf("select pgq.capture_table('%s', '%s', 'ops=%s')",
		$_->[0], $_->[1], $_->[2] // 'insert,truncate') } @marks));
	sql($node, $db, "truncate $statement");
	wait_ingest($node, $db);
	my @got = $seen->();
	is_deeply([ sort @got ], [ sort @events ], "captured $marks, truncate $statement");
	sql($node, $db, join(';', map { "select pgq.uncapture_table('$_->[0]', '$_->[1]')" } @marks));
}

# one that is attached in the transaction that truncates counts, too
sql($node, $db, q{select pgq.capture_table('q', 'r', 'ops=insert,truncate')});
sql($node, $db, q{
	create table late (k int, v int);
	begin;
	truncate late;
	alter table r attach partition late for values from (20) to (30);
	truncate late;
	alter table r detach partition late;
	truncate late;
	commit});
wait_ingest($node, $db);
is_deeply(consume($node, $db, 'q', 'c', "concat_ws('|', ev_extra1, ev_extra3)"),
	['public.late|partition'], 'a partition counts while it is attached');

done_testing();
