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
start_pgqd($node);
wait_ingest($node, $db);
my $position = q{select max(pos_lsn) from pgq.position};

foreach my $away (3, 14)
{
	$node->stop;
	sleep($away);
	$node->start;
	my $back = time();
	my $lsn = sql($node, $db,
		'insert into t select coalesce(max(id), 0) + 1 from t;'
		  . ' select pg_current_wal_flush_lsn()');
	wait_for('ingest', sub {
		sql($node, $db, "select ($position) >= '$lsn'::pg_lsn") eq 't' });
	my $late = time() - $back;
	cmp_ok($late, '<', 8,
		sprintf('ingest was there %.1f s after the server', $late));
}

done_testing();
