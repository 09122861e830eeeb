# However often its connections are ended, pgqd keeps neither memory nor files,
# and leaves nothing behind in the server.
#
# PGQ_RECONNECTS is how often, 15 unless set.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $times = $ENV{PGQ_RECONNECTS} // 15;
my $warm_up = 5;
my $node = new_server('main', conf => "logical_decoding_work_mem = 64kB\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key, pad text);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass);
});
my $pgqd = start_pgqd($node, database_list => $db, maint_period => 1000,
	retry_period => 1000);
plan skip_all => 'no /proc here' if !-d "/proc/$pgqd->{pid}/fd";
my $s = session($node, $db);

sub files { my @f = glob("/proc/$pgqd->{pid}/fd/*"); return scalar(@f) }

sub memory
{
	return PgqTest::slurp("/proc/$pgqd->{pid}/status") =~ /RssAnon:\s+(\d+) kB/
	  && $1;
}

my (%files, %memory, $reconnects);
foreach my $n (1 .. $warm_up + $times)
{
	# in the middle of a large one as often as not
	$s->query("insert into t select $n * 1000 + i, repeat('x', 200)
		from generate_series(1, 500) i");
	$reconnects += $s->query(q{select count(pg_terminate_backend(pid))
		from pg_stat_activity where application_name like 'pgqd/%'});
	wait_for('ingest', sub {
		$s->query(q{select pgq.wait_ingest(pg_current_wal_insert_lsn(), '1 s')}) eq 't';
	});
	$files{$n} = files();
	$memory{$n} = memory();
}
cmp_ok($reconnects, '>=', 2 * $times, "$reconnects connections were ended");
my $last = $warm_up + $times;
note("files $files{$warm_up} to $files{$last}, memory $memory{$warm_up} "
	  . "to $memory{$last} kB");
# one connection may be just on its way
cmp_ok(abs($files{$last} - $files{$warm_up}), '<=', 1, 'no file is left open');
cmp_ok($memory{$last} - $memory{$warm_up}, '<', 2048, 'memory does not grow');
is($pgqd->stop, 0, 'pgqd ends cleanly');
is_deeply(
	consume($node, $db, 'q', 'c', q{ev_data::json->>'id'}),
	[ map { my $n = $_; map { $n * 1000 + $_ } 1 .. 500 } 1 .. $last ],
	'all events came, each once');
is(sql($node, $db, q{
	select (select count(*) from pg_replication_slots),
		(select count(*) from pg_replication_origin),
		(select count(*) from pg_prepared_xacts),
		(select count(*) from pg_stat_activity where application_name like 'pgqd/%'),
		(select count(*) from pg_ls_tmpdir())}),
	'1|0|0|0|0', 'one slot; no origin, prepared transaction, session, file');
my @spilled = glob($node->data_dir . '/pg_replslot/*/*.spill');
is(scalar(@spilled), 0, 'no spill files');

done_testing();
