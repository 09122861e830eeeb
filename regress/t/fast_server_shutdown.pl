
# pgqd's open stream does not hold up the server's fast shutdown, and what was
# committed before it is in the queue after the next start.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(time);

my $node = new_server('main', conf => "wal_sender_timeout = 60s\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id serial primary key, pad text);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass);
});
my $pgqd = start_pgqd($node);
sql($node, $db, 'insert into t default values');
wait_ingest($node, $db);

foreach my $when ('idle', 'under load')
{
	if ($when eq 'under load')
	{
		sql($node, $db, q{insert into t (pad)
			select repeat('x', 500) from generate_series(1, 50000)});
	}
	my $start = time();
	$node->stop('fast');
	my $took = time() - $start;
	cmp_ok($took, '<', 5, "fast shutdown while pgqd is $when");
	ok($pgqd->alive, 'pgqd lives on');
	$node->start;
}

wait_ingest($node, $db);
is_deeply(
	consume($node, $db, 'q', 'c', q{ev_data::json->>'id'}),
	[ 1 .. 50001 ],
	'all rows came once, in order');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
