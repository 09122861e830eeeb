# No room for pgqd's log, and none for the files that decoding spills large
# transactions to: events go on, or wait until there is room again. (No room for
# WAL is the end of the server: full_disk_loses_nothing.)
#
# A full disk is played by /dev/full, and by a folder that can't be written.

use strict;
use warnings;

use PgqTest;
use Test::More;

plan skip_all => 'no /dev/full here' if !-w '/dev/full';
plan skip_all => 'root may write everywhere' if $> == 0;

my $node = new_server('main', conf => "logical_decoding_work_mem = 64kB\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key, pad text);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass);
});
my $pgqd = start_pgqd($node, logfile => '/dev/full');
sql($node, $db, 'insert into t values (1)');
wait_ingest($node, $db);
ok($pgqd->alive, 'pgqd lives on without room for its log');
is($pgqd->stop, 0, 'and ends cleanly');

$pgqd = start_pgqd($node);
sql($node, $db, 'insert into t values (2)');
wait_ingest($node, $db);

my $dir = $node->data_dir . '/pg_replslot/pgq_shop';
chmod(0500, $dir) or die "chmod $dir: $!";
sql($node, $db, q{insert into t select i, repeat('x', 100)
	from generate_series(3, 20000) i});
$pgqd->wait_log(qr/WARNING.*could not open file|WARNING.*ermission/);
pass('decoding stops where it cannot spill, and pgqd says why');
sql($node, $db, q{select pgq.insert_event('q', 'still', 'here')});
my $tick = sql($node, $db, 'select max(tick_id) from pgq.tick');
wait_for('a tick',
	sub { sql($node, $db, 'select max(tick_id) from pgq.tick') > $tick });
pass('ticks go on');

chmod(0700, $dir) or die "chmod $dir: $!";
wait_ingest($node, $db);
is_deeply(
	consume($node, $db, 'q', 'c', q{case ev_type when 'still' then 'still'
		else ev_data::json->>'id' end}),
	[ 1, 2, 'still', 3 .. 20000 ],
	'with room again all rows come, each once');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
