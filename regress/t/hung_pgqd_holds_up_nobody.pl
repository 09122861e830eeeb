# A pgqd that hangs in the middle of a large transaction holds the lock of
# pgq.ingest(): the one that takes over ends its session and goes on.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('main', conf => "wal_sender_timeout = 2s\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key, pad text);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass);
});
my %ini = (ingest_max_bytes => '64kB', ingest_memory => '256kB');
my $first = start_pgqd($node, %ini);
wait_ingest($node, $db);
my $second = start_pgqd($node, %ini);

sql($node, $db, q{insert into t select i, repeat('x', 100)
	from generate_series(1, 100000) i});
wait_for(
	'a pgqd in the middle of it',
	sub {
		sql($node, $db, q{select count(*) from pg_locks l
			where classid = 'pgq.position'::regclass and locktype = 'object'})
		  > 0;
	});
$first->signal('STOP');
my $held = sql($node, $db, q{select count(*) from pg_locks l
	where classid = 'pgq.position'::regclass and locktype = 'object'});
note("locks held by the one that hangs: $held");

wait_ingest($node, $db);
pass('the second pgqd goes on');
like($second->text, qr/ended another pgqd's session/, 'and says why')
  if $held;
$first->signal('CONT');
sql($node, $db, 'insert into t values (0)');
wait_ingest($node, $db);
is_deeply(
	consume($node, $db, 'q', 'c', q{ev_data::json->>'id'}),
	[ 1 .. 100000, 0 ],
	'every row came once, in order');
is($_->stop, 0, 'pgqd ends cleanly') foreach ($first, $second);

done_testing();
