
# A disk that is full stops ingest, and nothing else: when there is room again
# it goes on, and nothing is lost or doubled. The disk is a limit on the size
# of the server's files, which refuses writes in the same places.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('full');
my $data = $node->data_dir;

# start_limited(BLOCKS): the server, with files of so many 1 kB blocks at most
sub start_limited
{
	my ($limit) = @_;

	system_or_bail('bash', '-c',
		"ulimit -f $limit; exec pg_ctl -s -w -D '$data' -l '"
		  . $node->logfile . "' start");
	$node->_update_pid(1);
	return;
}

new_database($node, 'shop');
sql($node, 'shop', q{
	select pgq.create_queue('q');
	create table item (id int primary key);
	-- the events are what fills the disk, not the table
	select pgq.capture_table('q', 'item', 'ev_extra2=repeat(''x'', 1000)');
	select pgq.register_consumer('q', 'c')});
$node->stop;
start_limited(20_000);

# its own log goes to a disk that is always full
my $pgqd = start_pgqd($node, database_list => 'shop', logfile => '/dev/full',
	check_period => 1);
wait_ingest($node, 'shop');
sql($node, 'shop', 'insert into item select generate_series(1, 40000)');
my $log = wait_for('the server to say that it could not write',
	sub { slurp($node->logfile) =~ /(could not (extend|write).*)/ && $1 });
note $log;
is(sql($node, 'shop', 'select count(*) from pgq.event_template'),
	0, 'of a transaction that does not fit, no event is there');
ok(kill(0, $pgqd->{pid}), 'pgqd lives');
like(sql($node, 'shop', "select pgq.insert_event('q', 'small', 'still goes')"),
	qr/^\d+$/, 'the queue takes events that fit');

$node->stop('fast');
$node->start;
wait_ingest($node, 'shop');
my $rows = consume($node, 'shop', 'q', 'c',
	"case when ev_type = 'small' then 'small' else (ev_data::json->>'id') end");
is(scalar(grep { $_ eq 'small' } @$rows), 1, 'the event of before is there');
my @ids = grep { $_ ne 'small' } @$rows;
is(scalar(@ids), 40000, 'with room again all events came');
is_deeply([ @ids[ 0 .. 4 ], $ids[-1] ], [ 1 .. 5, 40000 ], 'in their order');

$pgqd->stop;
$node->stop;
done_testing();
