# A server that was away for long gets ticks and events again within seconds: the
# pauses between attempts to connect do not grow with the time.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('q');
	select pgq.capture_table('q', 't');
});
my $events = sql($node, $db, q{select pgq.current_event_table('q')});
start_pgqd($node);
wait_ingest($node, $db);

foreach my $away (3, 14)
{
	$node->stop;
	sleep($away);
	$node->start;
	my $back = time();
	sql($node, $db, 'insert into t select count(*) + 1 from t');
	# not by the position: past WAL without events it follows now and then only
	wait_for('ingest', sub {
		sql($node, $db, "select (select count(*) from $events) = (select count(*) from t)") eq 't' });
	my $late = time() - $back;
	cmp_ok($late, '<', 8,
		sprintf('ingest was there %.1f s after the server', $late));
}

done_testing();
