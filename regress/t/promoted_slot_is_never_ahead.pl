# A position is confirmed only when the commit that ingested is safe: flushed by
# the server, and by the standbys that may take over with a copy of the slot. So
# neither a crash nor a promotion at the worst moment loses an event. The slot on
# the standby is kept by the server from 17 on, before by hand, as cluster managers
# do: its file is copied, then it follows the original.

use strict;
use warnings;

use File::Copy qw(copy);
use PgqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# with room for all pages nobody flushes WAL to write one
my $primary = new_server('main', conf => q{
hot_standby_feedback = on
bgwriter_lru_maxpages = 0
shared_buffers = 64MB
});
my $synced = sql($primary, 'postgres',
	q{select current_setting('server_version_num')::int >= 170000}) eq 't';
my $db = new_database($primary, 'shop', slot => 0);

sql($primary, 'postgres',
	q{select pg_create_physical_replication_slot('standby')});
$primary->backup('base');

# after the backup, so that the standby has all WAL that the slot needs
sql($primary, $db, 'select pgq.start_capture()');
sql($primary, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't');
});

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_slot_name = 'standby'\n"
	  . "hot_standby_feedback = on\ncluster_name = 'standby'\n"
	  . "primary_conninfo = '" . $primary->connstr . " dbname=postgres'\n");
if ($synced)
{
	$primary->append_conf('postgresql.conf',
		"synchronized_standby_slots = 'standby'\n");
	$primary->reload;
	$standby->append_conf('postgresql.conf', "sync_replication_slots = on\n");
}
else
{
	# the slot's file is there only since it was made
	my $dir = $standby->data_dir . '/pg_replslot/pgq_shop';

	mkdir($dir, 0700) or die $!;
	copy($primary->data_dir . '/pg_replslot/pgq_shop/state', "$dir/state")
	  or die $!;
}
$standby->start;
wait_for('the standby', sub {
	sql($primary, 'postgres', q{select count(*) from pg_stat_replication
		where application_name = 'standby' and state = 'streaming'}) });

my %ini = (
	base_connstr => 'host=' . $primary->host . ',' . $standby->host . ' port='
	  . $primary->port . ',' . $standby->port
	  . ' target_session_attrs=read-write',
	database_list => $db);
my $pgqd = start_pgqd($primary, %ini, confirm_after => 'all');

sub confirmed
{
	return sql($primary, $db, q{select confirmed_flush_lsn
		from pg_replication_slots where slot_name = 'pgq_shop'});
}

# The slot on the standby follows the one of the primary.
sub follow
{
	my $lsn = confirmed();

	wait_for('the standby to replay', sub { sql($standby, $db,
		"select pg_last_wal_replay_lsn() >= '$lsn'::pg_lsn") eq 't' });
	sql($standby, $db,
		"select pg_replication_slot_advance('pgq_shop', '$lsn')") if !$synced;
	wait_for('the slot on the standby', sub { sql($standby, $db,
		qq{select count(*) from pg_replication_slots
		where slot_name = 'pgq_shop' and not temporary
		and confirmed_flush_lsn >= '$lsn'::pg_lsn}) eq '1' });
	return;
}

# is_confirmed(LSN): has the slot passed it?
sub is_confirmed
{
	return sql($primary, $db, qq{select confirmed_flush_lsn >= '$_[0]'::pg_lsn
		from pg_replication_slots where slot_name = 'pgq_shop'}) eq 't';
}

# The position has passed it, and the commit that moved it is visible.
sub wait_position
{
	my ($lsn) = @_;

	wait_for('the position', sub { sql($primary, $db,
		"select max(pos_lsn) >= '$lsn'::pg_lsn from pgq.position") eq 't' });
	return;
}

# pgqd has asked what is safe a few times, or confirmed what is not.
sub wait_asked
{
	my ($lsn) = @_;
	my %asked;

	wait_for('pgqd to ask', sub {
		$asked{ sql($primary, $db, q{select query_start from pg_stat_activity
			where application_name = 'pgqd/ingest'
			and query like 'with slot as materialized%'}) } = 1;
		return keys %asked > 4 || is_confirmed($lsn);
	});
	return;
}

sub insert_row
{
	my ($id) = @_;

	return sql($primary, $db,
		"insert into t values ($id); select pg_current_wal_flush_lsn()");
}

my $lsn = insert_row(1);
wait_position($lsn);
ok(eval { wait_for('the confirmation', sub { is_confirmed($lsn) }) },
	'what the standby has is confirmed');

# The server keeps a copy only when the standby has all that the slot needs.
if ($synced)
{
	wait_for('the synchronised slot', sub {
		sql($primary, $db, 'select pg_log_standby_snapshot()');
		wait_ingest($primary, $db);
		return sql($standby, $db, q{select count(*) from pg_replication_slots
			where slot_name = 'pgq_shop' and not temporary}) eq '1' });
}
follow();

# Between commit and flush: only the WAL writer flushes what pgqd commits.
# Before 17 no standby is asked here, which would lack it too.
is($pgqd->stop, 0, 'pgqd ends cleanly');
$pgqd = start_pgqd($primary, %ini);
wait_ingest($primary, $db);
my $walwriter = sql($primary, 'postgres',
	q{select pid from pg_stat_activity where backend_type = 'walwriter'});
kill('STOP', $walwriter);
$lsn = insert_row(2);
wait_position($lsn);
is(sql($primary, $db,
		'select pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()'),
	't', 'the ingest is not flushed');
wait_asked($lsn);
ok(!is_confirmed($lsn), 'what is not flushed is not confirmed');
$primary->stop('immediate');
$primary->start;
wait_ingest($primary, $db);
is_deeply(consume($primary, $db, 'q', 'c', q{ev_data::json->>'id'}),
	[ 1, 2 ], 'no event is lost by the crash');

# Between flush and standby: it has the row, but not its event.
is($pgqd->stop, 0, 'pgqd ends cleanly');
$pgqd = start_pgqd($primary, %ini, confirm_after => $synced ? '' : 'standby');
wait_ingest($primary, $db);
$lsn = sql($primary, $db, 'select max(pos_lsn) from pgq.position');
wait_for('the confirmation', sub { is_confirmed($lsn) });
follow();

my $lock = session($primary, $db);
$lock->query("begin; lock table "
	  . sql($primary, $db, q{select pgq.current_event_table('q')}));
$lsn = insert_row(3);
wait_for('ingest to wait', sub { sql($primary, $db,
	q{select count(*) from pg_stat_activity
	where application_name = 'pgqd/ingest' and wait_event_type = 'Lock'})
	eq '1' });
wait_for('the standby to have the row', sub { sql($standby, $db,
	"select pg_last_wal_replay_lsn() >= '$lsn'::pg_lsn") eq 't' });
kill('STOP', sql($standby, $db, 'select pid from pg_stat_wal_receiver'));
$lock->query('rollback');
wait_position($lsn);
wait_for('the flush', sub { sql($primary, $db,
	'select pg_current_wal_flush_lsn() = pg_current_wal_insert_lsn()') eq 't' });
my $said = qr/keeps\ WAL\ for\ slot\ "pgq_shop",\ because\ standby\ or\ slot\ "standby"\ of
	\ (?:confirm_after|synchronized_standby_slots)\ has\ not\ received/x;
ok(eval { wait_for('the warning', sub { $pgqd->text =~ $said }, 30) },
	'pgqd says which standby WAL is kept for');
ok(!is_confirmed($lsn), 'what the standby lacks is not confirmed');
follow();

# The standby takes over.
$primary->stop('immediate');
$standby->stop('immediate');
$standby->start;
$standby->promote;
sql($standby, $db, 'insert into t values (4)');
my $rows = eval {
	wait_ingest($standby, $db);
	consume($standby, $db, 'q', 'c', q{ev_data::json->>'id'});
};
is_deeply($rows, [ 3, 4 ], 'no event is lost by the promotion');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
