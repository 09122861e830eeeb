# pgqadm doctor, on the primary and on a standby, tells whether a promoted standby
# would have the slot, and is content when its fix is applied. Before 17 a manager
# copies the slot, here by hand; from 17 on the server does.

use strict;
use warnings;

use File::Copy qw(copy);
use JSON::PP;
use PgqTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = new_server('main', conf => "hot_standby_feedback = on\n");
my $has_sync = sql($primary, 'postgres',
	q{select current_setting('server_version_num')::int >= 170000}) eq 't';
my $db = new_database($primary, 'shop', slot => 0);

sql($primary, 'postgres',
	q{select pg_create_physical_replication_slot('standby')});
$primary->backup('base');
# behind the backup, so that the standby has all WAL that the slot needs
sql($primary, $db, 'select pgq.start_capture()');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_slot_name = 'standby'\n"
	  . "hot_standby_feedback = on\nwal_receiver_status_interval = 1s\n"
	  . "primary_conninfo = '" . $primary->connstr
	  . " dbname=postgres application_name=second'\n");
$standby->start;
my $pgqd = start_pgqd($primary, database_list => $db);
wait_ingest($primary, $db);
$primary->wait_for_catchup('second');

# findings(NODE): those of check "failover", as lines.
sub findings
{
	my ($node) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'pgqadm', '-d', $node->connstr($db), 'doctor', '--json' ],
		\undef, \$out, \$err, IPC::Run::timeout(60));
	my $report = eval { JSON::PP->new->utf8->decode($out) }
	  or die "no JSON: $out$err";

	return map { @{ $_->{findings} } }
	  grep { $_->{check} eq 'failover' } @{ $report->{checks} };
}

# tells(NODE, LIKE, LEVEL): until doctor finds it and nothing else; the finding.
sub tells
{
	my ($node, $like, $level) = @_;
	my @found;

	ok(eval { wait_for('the finding', sub {
		@found = findings($node);
		return @found == 1 && $found[0]{problem} =~ $like; }, 30) },
		'told on the ' . $node->name . ": $like") or diag(explain(\@found));
	is($found[0]{level}, $level, "a $level");
	return $found[0];
}

# content(NODE, WHAT)
sub content
{
	my ($node, $what) = @_;
	my @found;

	ok(eval { wait_for('no finding', sub {
		# the server looks for slots every 30 seconds, when nothing changes
		sql($primary, $db, 'select pg_log_standby_snapshot()') if $has_sync;
		return !(@found = findings($node)); }, 120) },
		$node->name . ": nothing to find, $what") or diag(explain(\@found));
	return;
}

tells($standby, qr/no slot "pgq_shop": were it promoted/, 'warning');
content($primary, 'as nothing says that standbys copy slots');

if (!$has_sync)
{
	# what a cluster manager does
	my $dir = $standby->data_dir . '/pg_replslot/pgq_shop';

	$standby->stop;
	mkdir($dir, 0700) or die $!;
	copy($primary->data_dir . '/pg_replslot/pgq_shop/state', "$dir/state")
	  or die $!;
	$standby->start;
	content($standby, 'with a copied slot');
}
else
{
	sub set
	{
		my ($node, $setting) = @_;

		sql($node, 'postgres', "alter system set $setting");
		$node->reload;
		return;
	}

	set($_, 'sync_replication_slots = on') foreach $primary, $standby;
	content($standby, 'with a synchronised slot');
	content($primary, 'with a failover slot');

	# a standby that can keep no slots
	set($standby, 'hot_standby_feedback = off');
	tells($primary, qr/standby "second" can keep no copy.*hot_standby_feedback/,
		'warning');
	set($standby, 'hot_standby_feedback = on');
	content($primary, 'with feedback');

	# no failover slot, as one from before an upgrade
	$pgqd->stop;
	sql($primary, $db, q{select pg_drop_replication_slot('pgq_shop'),
		pg_create_logical_replication_slot('pgq_shop', 'pgq')});
	my $fix = tells($primary, qr/"pgq_shop" is no failover slot, though sync_/,
		'problem')->{fix};
	my ($command) = $fix =~ /(psql '.*? \(FAILOVER\)')/;
	local $ENV{PGHOST} = $primary->host;
	local $ENV{PGPORT} = $primary->port;
	is(system($command), 0, 'the fix is a command');
	content($primary, 'after the fix');
	content($standby, 'after the fix');

	# a former primary's own slot
	set($standby, 'sync_replication_slots = off');
	wait_for('the worker to end', sub { !sql($standby, $db,
		q{select count(*) from pg_stat_activity
		where backend_type like '%slotsync%'}) });
	$standby->stop;
	$standby->append_conf('postgresql.conf', "sync_replication_slots = off\n");
	$standby->start;
	$standby->promote;
	sql($standby, $db, q{select pg_drop_replication_slot('pgq_shop'),
		pg_create_logical_replication_slot('pgq_shop', 'pgq', failover => true)});
	$standby->stop;
	$standby->set_standby_mode;
	$standby->append_conf('postgresql.auto.conf', "sync_replication_slots = on\n");
	$standby->start;
	$fix = tells($standby, qr/not the copy of the primary's/, 'problem');
	sql($standby, $db, $fix->{sql});
	ok(!(grep { $_->{problem} =~ /not the copy/ } findings($standby)),
		'gone with the fix');
}
is($pgqd->stop, 0, 'pgqd ends cleanly') if $pgqd->alive;

done_testing();
