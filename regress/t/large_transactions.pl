# A very large transaction, in rows or in bytes, is ingested while it arrives:
# pgqd does not keep it in memory, nor does the walsender more than a row; its
# spill files go, and events that go straight into another queue are not held up.
#
# PGQ_LARGE_ROWS, PGQ_LARGE_MB (in rows of 10 kB) and PGQ_LARGE_ROW_MB (size of
# one row) make it larger.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $rows = $ENV{PGQ_LARGE_ROWS} // 300_000;
my $mb = $ENV{PGQ_LARGE_MB} // 100;
my $row_mb = $ENV{PGQ_LARGE_ROW_MB} // 50;
my $node = new_server('main', conf => "max_wal_size = 8GB\n");
my $db = new_database($node, 'shop');

$PgqTest::patience = 1800;
sql($node, $db, q{
	create table t (id int primary key, pad text);
	alter table t alter pad set storage external;
	select pgq.create_queue('q');
	select pgq.create_queue('other');
	select pgq.register_consumer('other', 'c');
	select pgq.capture_table('q', 't'::regclass);
});
my $pgqd = start_pgqd($node);
wait_ingest($node, $db);

# Memory of a process that no other shares, in MB.
sub memory
{
	my ($pid) = @_;
	my $status = eval { PgqTest::slurp("/proc/$pid/status") } // return 0;
	return $status =~ /RssAnon:\s+(\d+) kB/ ? int($1 / 1024) : 0;
}

# Runs SQL, and watches until it is ingested.
sub watch
{
	my ($what, $sql, $most_walsender) = @_;
	my %max = (pgqd => 0, walsender => 0);
	my ($slowest, $n) = (0, 0);
	my $s = session($node, $db);
	my $t = session($node, $db);
	my $start = time();

	my $before = sql($node, $db, 'select events from pgq.get_slot_info()');
	sql($node, $db, $sql);
	my $written = time() - $start;
	$s->send(q{select pgq.wait_ingest(pg_current_wal_insert_lsn(), '1700 s')});
	while ($s->busy)
	{
		my $pid = $t->query(q{select active_pid from pg_replication_slots
			where slot_name = 'pgq_shop'});
		my $now = memory($pgqd->{pid});
		$max{pgqd} = $now if $now > $max{pgqd};
		$now = memory($pid);
		$max{walsender} = $now if $now > $max{walsender};

		# another queue
		my $from = time();
		$t->query(q{select pgq.insert_event('other', 'x', 'y')});
		my $batch;
		while (($batch = $t->query(q{select pgq.next_batch('other', 'c')}))
			eq '')
		{
			sleep(0.02);
		}
		$t->query("select pgq.finish_batch($batch)");
		$n++;
		$slowest = time() - $from if time() - $from > $slowest;
	}
	is($s->answer, 't', "$what: ingested");
	note(sprintf('%s: written in %.1f s, ingested after %.1f s; at most %d MB '
			. 'in pgqd, %d MB in the walsender; slowest of %d events in '
			. 'another queue %.2f s',
		$what, $written, time() - $start, $max{pgqd}, $max{walsender}, $n,
		$slowest));
	cmp_ok($max{pgqd}, '<', 64, "$what: memory of pgqd is bounded");
	cmp_ok($max{walsender}, '<', $most_walsender,
		"$what: memory of the walsender is bounded");
	# they go after the last of it was sent
	ok(wait_for('spill files to go', sub {
		my @left = glob($node->data_dir . '/pg_replslot/pgq_shop/*.spill');
		return !@left;
	}, 60), "$what: spill files are removed");
	cmp_ok($slowest, '<', 10, "$what: another queue is not held up");
	$_->close foreach ($s, $t);
	return sql($node, $db, 'select events from pgq.get_slot_info()') - $before;
}

is(watch("$rows rows", "insert into t select i, 'x'
	from generate_series(1, $rows) i", 200), $rows, 'all events came');
my $n = $mb * 100;
is(watch("$n rows of 10 kB", "insert into t
	select -i, repeat('y', 10000) from generate_series(1, $n) i", 200), $n,
	'all events came');
is(watch("two rows of $row_mb MB", "insert into t
	select -$n - i, repeat('z', $row_mb * 1024 * 1024)
	from generate_series(1, 2) i", 200 + 6 * $row_mb), 2, 'all events came');
is(sql($node, $db, "select count(*) from pgq.event_template
	where length(ev_data) > $row_mb * 1024 * 1024"), 2, 'and they are whole');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
