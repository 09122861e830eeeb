# While pgqd works off a backlog, the server forgets the WAL of what is in the
# queues, and a pgqd that is killed in the middle goes on near where it was.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id serial primary key, pad text);
	create table stop (id int primary key);
	select pgq.create_queue(q), pgq.register_consumer(q, 'c')
		from unnest('{q,odd,even}'::text[]) q;
	select pgq.capture_table('q', 't');
	select pgq.capture_table('odd', 'stop', 'when=id % 2 = 1');
	select pgq.capture_table('even', 'stop', 'when=id % 2 = 0');
});

# The backlog: some transactions, a stop, and so on. A running server writes
# what it needs to decode from a later place every 15 s, a checkpoint at once.
my $stops = 8;
my @lsn;
foreach my $i (1 .. $stops)
{
	foreach (1 .. 5)
	{
		sql($node, $db, q{insert into t (pad)
			select repeat('x', 200) from generate_series(1, 200)});
		sql($node, 'postgres', 'checkpoint');
	}
	push @lsn, sql($node, $db, 'select pg_current_wal_insert_lsn()');
	sql($node, $db, "insert into stop values ($i)");
}

# Ingest waits at a stop as long as its event table is locked.
my %lock;
foreach my $queue ('odd', 'even')
{
	my $table = sql($node, $db, "select pgq.current_event_table('$queue')");

	$lock{$queue} = session($node, $db);
	$lock{table}{$queue} = $table;
}

sub close_stop
{
	my ($queue) = @_;
	$lock{$queue}->query("begin; lock table $lock{table}{$queue}");
	return;
}

sub slot_is_past
{
	my ($column, $lsn) = @_;
	return sql($node, $db,
		"select $column > '$lsn' from pg_replication_slots") eq 't';
}

sub wait_at_stop
{
	my ($queue) = @_;

	wait_for("ingest to reach a stop of $queue", sub {
		sql($node, $db, qq{select count(*) from pg_stat_activity
			where application_name = 'pgqd/ingest'
			and wait_event_type = 'Lock' and pg_blocking_pids(pid) = array[
				(select pid from pg_locks where granted
				and relation = '$lock{table}{$queue}'::regclass
				and mode = 'AccessExclusiveLock')]}) eq '1' });
	# all that was ingested is flushed, and pgqd's next question comes behind
	wait_for('the flush', sub { sql($node, $db,
		'select pg_current_wal_flush_lsn() = pg_current_wal_insert_lsn()') eq 't'
	});
	Time::HiRes::sleep(1.5);
	return;
}

close_stop($_) foreach 'odd', 'even';
my %ini = (ingest_max_bytes => '64kB', ingest_memory => '128kB');
my $pgqd = start_pgqd($node, %ini);
foreach my $i (1 .. $stops - 2)
{
	my $queue = $i % 2 ? 'odd' : 'even';

	wait_at_stop($queue);
	if ($i > 2)
	{
		# ahead of this stop is what was asked for at the one before
		ok(eval { wait_for('the confirmation',
			sub { slot_is_past('confirmed_flush_lsn', $lsn[ $i - 3 ]) }, 10) },
			"at stop $i the slot is past stop " . ($i - 2));
	}
	last if $i == $stops - 2;
	$lock{$queue}->query('commit');
	wait_at_stop($queue eq 'odd' ? 'even' : 'odd');
	close_stop($queue);
}
ok(slot_is_past('restart_lsn', $lsn[1]), 'old WAL may be removed');

# Killed in the middle, it begins there.
$pgqd->kill9;
$lock{$_}->query('rollback') foreach 'odd', 'even';
my $begin = sql($node, $db, 'select restart_lsn from pg_replication_slots');
$pgqd->start;
wait_ingest($node, $db);
ok($pgqd->text =~ /ingest reads slot.*ingest reads slot "pgq_shop" from (\S+)/s
	&& sql($node, $db, "select '$1'::pg_lsn > '$lsn[$stops - 4]'::pg_lsn") eq 't',
	'pgqd went on where it was');
is(scalar(@{ consume($node, $db, 'q', 'c') }), 1000 * $stops,
	'each event came once');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
