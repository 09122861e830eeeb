
# 1,000 inserts, 100 updates, 10 deletes and a rollback reach two consumers as
# 1,110 events each, in order, without a trigger on the table.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table orders (id int primary key, item text not null);
	select pgq.create_queue('orders');
	select pgq.register_consumer('orders', 'mailer');
	select pgq.register_consumer('orders', 'ledger');
	select pgq.capture_table('orders', 'orders'::regclass);
});
my $pgqd = start_pgqd($node);

sql($node, $db,
	"insert into orders select i, 'item ' || i from generate_series(1, 500) i");
sql($node, $db,
	join('', map { "insert into orders values ($_, 'item $_');\n" } 501 .. 1000));
sql($node, $db,
	"begin; delete from orders; insert into orders values (0, 'never'); rollback");
sql($node, $db, "update orders set item = 'new ' || id where id <= 100");
sql($node, $db,
	join('', map { "delete from orders where id = $_;\n" } 991 .. 1000));
wait_ingest($node, $db);

my @expected = (
	(map { "INSERT $_ item $_" } 1 .. 1000),
	(map { "UPDATE $_ new $_" } 1 .. 100),
	(map { "DELETE $_" } 991 .. 1000));

foreach my $consumer ('mailer', 'ledger')
{
	my $got = consume($node, $db, 'orders', $consumer,
		"concat_ws(' ', ev_type::json->>'op', ev_data::json->>'id',"
		  . " ev_data::json->>'item')");

	is(scalar @$got, 1110, "$consumer gets 1,110 events");
	is_deeply($got, \@expected, "$consumer gets them as they happened");
}
is( sql($node, $db,
		"select count(*) from pg_trigger where tgrelid = 'orders'::regclass"),
	'0',
	'no trigger on the table');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
