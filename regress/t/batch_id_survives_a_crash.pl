# A batch id that a consumer saw never comes back with other events, even where
# the database's default is synchronous_commit = off: ticks and batches are
# flushed nevertheless, and with them the events before them.

use strict;
use warnings;

use PgqTest;
use Test::More;

# nothing is flushed unless a commit asks for it
my $node = new_server('main', conf => q{
synchronous_commit = off
wal_writer_delay = 10s
wal_writer_flush_after = 0
bgwriter_delay = 10s
});
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass);
});
my $pgqd = start_pgqd($node, database_list => $db);
my %seen;

foreach my $round (1 .. 5)
{
	sql($node, $db, qq{set synchronous_commit = on;
		insert into t select $round * 100 + i from generate_series(1, 20) i});
	wait_ingest($node, $db);
	sql($node, $db, q{select pgq.insert_event('q', 'sql', 'x')});
	my $batch;
	wait_for('a batch',
		sub { $batch = sql($node, $db, q{select pgq.next_batch('q', 'c')}) });
	my $read = sub {
		sql($node, $db, "select ev_id, ev_txid, ev_data
			from pgq.get_batch_events($batch) order by ev_id");
	};
	my $before = $read->();

	ok(!$seen{$batch}++, "round $round: batch $batch is new");
	$node->stop('immediate');
	$node->start;
	is(sql($node, $db, q{select pgq.next_batch('q', 'c')}),
		$batch, 'it is open after the crash');
	is($read->(), $before, 'with the same events');
	sql($node, $db, "select pgq.finish_batch($batch)");
}
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
