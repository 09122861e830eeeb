# A cluster of Patroni with two pgqd, set up as doc/high-availability.md says, and a
# ledger that proves what happens to it under load: each committed change is in
# each queue exactly once, and no batch that a consumer read has other contents later.

package PatroniLedger;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PgqLedger;
use PgqPatroni;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(start_cluster end_cluster survives on_standbys other_leader
  kills_server switches_over);

my $db = 'shop';
my ($cluster, $version, $seconds, @pgqd, %file);

# start_cluster(SECONDS): with load so long before and after what happens. Skips all
# where Patroni is not there. Returns the cluster and its pgqds.
sub start_cluster
{
	my $missing = PgqPatroni::available();

	plan(skip_all => $missing) if $missing;
	($seconds) = @_;
	$PgqTest::patience = 120;
	$cluster = PgqPatroni->new(PostgreSQL::Test::Utils::tempdir(), 3);
	$version = $cluster->{version} >= 17 ? 17 : 15;
	$cluster->start;
	configure();
	sql($cluster, 'postgres', 'create database shop');
	foreach my $node (@{ $cluster->{nodes} })
	{
		$cluster->safe_psql('postgres', $cluster->block('every node'), $node)
		  if $cluster->safe_psql('postgres', q{select count(*) from pg_settings
			where name = 'output_plugin_libraries'}, $node);
	}
	sql($cluster, 'postgres', $cluster->block('primary'));
	sql($cluster, $db, ledger_schema());
	sql($cluster, $db, "select pgq.register_consumer('$_', 'c')")
	  foreach @PgqLedger::queues;

	my %ini = $cluster->block('pgqd.ini') =~ /^(\w+) = (.*)$/mg;
	@pgqd = map { start_pgqd($cluster, %ini) } 1 .. 2;
	wait_ingest($cluster, $db);
	%file = map { $_ => PostgreSQL::Test::Utils::tempdir() . "/$_" }
	  @PgqLedger::queues;
	on_standbys('at the start');
	return ($cluster, @pgqd);
}

# The cluster's own configuration, which needs a restart of each node.
sub configure
{
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'patronictl', '-c', "$cluster->{dir}/node1.yml",
			'edit-config', '--force', '--apply', '-', 'shop' ],
		\$cluster->block("pgq.yml $version"), \$out, \$err)
	  or die "$out$err";
	foreach my $node (@{ $cluster->{nodes} })
	{
		wait_for("$node to know the setting", sub {
			my ($ok, $state) = $cluster->api($node, 'GET', '/patroni');
			return $ok && $state->{pending_restart} });
		$cluster->post($node, '/restart', {});
	}
	wait_for('no restart to be pending', sub {
		my $pending = 0;
		foreach my $node (@{ $cluster->{nodes} })
		{
			my ($ok, $state) = $cluster->api($node, 'GET', '/patroni');
			$pending++ if !$ok || $state->{pending_restart}
			  || ($cluster->psql('postgres', 'show wal_level', $node))[1]
			  ne 'logical';
		}
		return !$pending;
	});
	$cluster->wait_members;
	return;
}

# Stops all.
sub end_cluster
{
	is($_->stop, 0, 'pgqd ends cleanly') foreach @pgqd;
	$cluster->stop;
	return;
}

# on_standbys(WHAT): the slot is on each standby and does not lag behind what the
# primary's slot had when this began.
sub on_standbys
{
	my ($what) = @_;
	my $leader = $cluster->leader;

	wait_ingest($cluster, $db);
	my $lsn = sql($cluster, $db, q{select confirmed_flush_lsn
		from pg_replication_slots where slot_name = 'pgq_shop'});
	foreach my $node (grep { $_ ne $leader } @{ $cluster->{nodes} })
	{
		my $seen;
		# Patroni restarts a standby that it brings the slot to
		ok(eval { wait_for("the slot on $node", sub {
			$cluster->psql($db, 'select pg_log_standby_snapshot()')
			  if $version >= 17;
			(my $rc, $seen) = $cluster->psql($db, qq{select case when
				not temporary and confirmed_flush_lsn >= '$lsn'::pg_lsn
				then 'there' else to_jsonb(r)::text end
				from pg_replication_slots r where slot_name = 'pgq_shop'}, $node);
			return $rc == 0 && $seen eq 'there';
		}, 120) }, "$what: $node has the slot") or diag("$node: $seen");
	}
	return;
}

# survives(WHAT, SUB): while writers write and consumers read, SUB happens to
# the cluster; then the ledger is compared.
sub survives
{
	my ($what, $sub) = @_;
	my $connstr = $cluster->connstr($db);
	my $start = time();

	note("$what: begins, $db is on " . $cluster->leader);
	start_writer($connstr, $_, $_ % 2, 0.05, 0) foreach 0 .. 2;
	start_writer($connstr, 3, 2, 0.3, 500);
	start_consumer($connstr, $_, 'c', $file{$_}, 1) foreach @PgqLedger::queues;
	sleep($seconds);
	$sub->();
	note(sprintf('%s: happened within %.0f s', $what, time() - $start));
	$cluster->wait_members;
	sleep($seconds);
	stop_helpers();
	wait_ingest($cluster, $db);

	my ($want, $transactions) = ledger_expected($connstr);
	foreach my $queue (@PgqLedger::queues)
	{
		drain($connstr, $queue, 'c', $file{$queue});
		my ($wrong, $events, $batches) =
		  ledger_check($file{$queue}, $want->{$queue});
		is(join("\n", @$wrong[ 0 .. ($#$wrong > 9 ? 9 : $#$wrong) ]),
			'', "$what: $queue: $events events, $batches batches,"
			  . " $transactions transactions so far");
	}
	note(sprintf('%s: %.0f s', $what, time() - $start));
	on_standbys($what);
	return;
}

# other_leader(OLD): waits until another node is the primary.
sub other_leader
{
	my ($old) = @_;

	wait_for('another primary', sub {
		my $new = $cluster->leader;
		return $new && $new ne $old;
	});
	return;
}

# The primary gives its place to the synchronous standby.
sub switches_over
{
	my $old = $cluster->leader;

	# which one that is may change until Patroni takes the order
	wait_for('Patroni to take the order', sub {
		my ($new) = grep { ($_->{role} // '') =~ /^(sync|quorum)_standby$/ }
		  values %{ { $cluster->members } };
		return $new && ($cluster->api($old, 'POST', '/switchover',
			{ leader => $old, candidate => $new->{name} }))[0];
	});
	other_leader($old);
	return;
}

# PostgreSQL of the primary is killed; it, or another, is the primary then.
sub kills_server
{
	$cluster->kill_server($cluster->leader);
	sleep(1);
	wait_for('a primary', sub { $cluster->leader
		&& ($cluster->psql($db, 'create temp table x ()'))[0] == 0 });
	return;
}

1;
