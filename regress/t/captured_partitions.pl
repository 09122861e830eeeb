
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

done_testing();
