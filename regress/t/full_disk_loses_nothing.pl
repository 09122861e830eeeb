
# A disk that is full stops ingest, and nothing else: when there is room again
# it goes on, and nothing is lost or doubled. The disk is a limit on the size
# of the server's files, which refuses writes in the same places. Where the disk of
# the WAL is full the server ends; pgqd says so, and goes on with it.

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

SKIP:
{
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $cc = (grep { system("command -v $_ >/dev/null 2>&1") == 0 } qw(cc gcc))[0];

	skip 'no C compiler for a WAL disk that is full', 6
	  if !$cc || system($cc, '-shared', '-fPIC', '-o', "$dir/full_disk.so",
		"$FindBin::RealBin/full_disk.c", '-ldl') != 0;
	local $ENV{FULL_DISK} = "$dir/full";
	{
		local $ENV{LD_PRELOAD} = "$dir/full_disk.so";
		$node->start;
	}
	$pgqd = start_pgqd($node, database_list => 'shop', check_period => 1);
	wait_ingest($node, 'shop');
	consume($node, 'shop', 'q', 'c');

	# all of the segments that it has must be used first
	append_to_file("$dir/full.wal", '');
	my $rows = 40000;
	while ($rows < 600_000)
	{
		my ($rc) = $node->psql('shop', 'insert into item select generate_series('
			  . ($rows + 1) . ', ' . ($rows + 2000) . ')');
		last if $rc != 0;
		$rows += 2000;
	}
	like(slurp($node->logfile), qr/PANIC: .*pg_wal.*(?:No space left|wrote only)/,
		'the server ends where there is no room for WAL');
	$pgqd->wait_log(qr/\[shop\]: .*(?:connection|server)/i);
	ok(kill(0, $pgqd->{pid}), 'pgqd lives, and says that the server is away');
	unlink("$dir/full.wal");
	wait_for('the server to end', sub { !-e "$data/postmaster.pid" });
	$node->_update_pid(0);
	$node->start;
	cmp_ok(sql($node, 'shop', 'select max(id) from item'), '>=', $rows,
		'what was committed is there');
	wait_ingest($node, 'shop');
	is(join(' ', @{ consume($node, 'shop', 'q', 'c', q{ev_data::json->>'id'}) }),
		sql($node, 'shop', q{select string_agg(id::text, ' ' order by id) from item where id > 40000}),
		'and in the queue, once and in order');
	is($pgqd->stop, 0, 'pgqd ends cleanly');
	$node->stop;
}
done_testing();
