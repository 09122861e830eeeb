# Patroni, etcd and three nodes, configured as doc/high-availability.md says, under
# load: whatever the cluster does, each committed change is in each queue exactly
# once, and no batch that a consumer read has other contents later.

use strict;
use warnings;

use PgqLedger;
use PgqPatroni;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $missing = PgqPatroni::available();
plan(skip_all => $missing) if $missing;

$PgqTest::patience = 120;
my $seconds = $ENV{PGQ_CLUSTER_SECONDS} // 5;
my $cluster = PgqPatroni->new(PostgreSQL::Test::Utils::tempdir(), 3);
my $version = $cluster->{version} >= 17 ? 17 : 15;
my $db = 'shop';

$cluster->start;
my ($out, $err) = ('', '');
IPC::Run::run([ 'patronictl', '-c', "$cluster->{dir}/node1.yml", 'edit-config',
		'--force', '--apply', '-', 'shop' ],
	\$cluster->block("pgq.yml $version"), \$out, \$err)
  or die "$out$err";
sql($cluster, 'postgres', 'create database shop');

# wal_level needs a restart
sub wait_restarted
{
	wait_for('no restart to be pending', sub {
		my $pending = 0;
		foreach my $node (@{ $cluster->{nodes} })
		{
			my ($ok, $state) = $cluster->api($node, 'GET', '/patroni');
			$pending++ if !$ok || $state->{pending_restart}
			  || $cluster->safe_psql('postgres', 'show wal_level', $node) ne 'logical';
		}
		return !$pending;
	});
	return;
}
sleep(1);
foreach my $node (@{ $cluster->{nodes} })
{
	wait_for("$node to know the setting", sub {
		my ($ok, $state) = $cluster->api($node, 'GET', '/patroni');
		return $ok && $state->{pending_restart} });
	$cluster->post($node, '/restart', {});
}
wait_restarted();
$cluster->wait_members;
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
my @pgqd = map { start_pgqd($cluster, %ini) } 1 .. 2;
wait_ingest($cluster, $db);

my %file = map { $_ => PostgreSQL::Test::Utils::tempdir() . "/$_" } @PgqLedger::queues;

# on_standbys(): the slot is on each standby and does not lag behind what the
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

sub other_leader
{
	my ($old) = @_;

	wait_for('another primary', sub {
		my $new = $cluster->leader;
		return $new && $new ne $old;
	});
	return;
}

on_standbys('at the start');

survives('switchover', sub {
	my $old = $cluster->leader;
	my ($new) = grep { ($_->{role} // '') =~ /^(sync|quorum)_standby$/ }
	  values %{ { $cluster->members } };
	$cluster->post($old, '/switchover',
		{ leader => $old, candidate => $new->{name} });
	other_leader($old);
});

survives('kill -9 of PostgreSQL', sub {
	$cluster->kill_server($cluster->leader);
	sleep(1);
	wait_for('a primary', sub { $cluster->leader
		&& ($cluster->psql($db, 'create temp table x ()'))[0] == 0 });
});

survives('kill -9 of Patroni, started again at once', sub {
	my $old = $cluster->leader;
	$cluster->signal_node($old, 'KILL');
	sleep(1);
	$cluster->start_node($old);
	wait_for('its Patroni', sub { ($cluster->api($old, 'GET', '/primary'))[0] });
});

# the machine's watchdog, which the page demands, is played here
survives('kill -9 of Patroni, then the watchdog, and another takes over', sub {
	my $old = $cluster->leader;
	$cluster->signal_node($old, 'KILL');
	sleep(3);
	$cluster->kill_server($old);
	other_leader($old);
	$cluster->start_node($old);
	note("rebuilt: $_") foreach $cluster->rebuild_those_behind;
});

survives('Patroni restarted while pgqd is down', sub {
	my $old = $cluster->leader;
	is($_->stop, 0, 'pgqd ends cleanly') foreach @pgqd;
	$cluster->signal_node($old, 'TERM');
	$cluster->start_node($old);
	$cluster->wait_members;
	foreach my $node (@{ $cluster->{nodes} })
	{
		$cluster->signal_node($node, 'KILL');
		$cluster->start_node($node);
		wait_for("Patroni of $node",
			sub { ($cluster->api($node, 'GET', '/patroni'))[0] });
	}
	$cluster->wait_members;
	# longer than it takes Patroni to look through the slots
	sleep(25);
	is(sql($cluster, $db, q{select count(*) from pg_replication_slots
		where slot_name = 'pgq_shop'}), 1, 'the slot is still there');
	$_->start foreach @pgqd;
});

survives('the standbys are rebuilt, and one becomes the primary', sub {
	my $old = $cluster->leader;
	my ($first, $second) = grep { $_ ne $old } @{ $cluster->{nodes} };

	# while the second is away, the first is the synchronous one
	foreach my $node ($first, $second)
	{
		$cluster->post($node, '/reinitialize', { force => JSON::PP::true });
		wait_for("$node to begin", sub {
			my %m = $cluster->members;
			return ($m{$node}{state} // '') !~ /^(running|streaming)$/ });
		wait_for("$node to stream", sub {
			my %m = $cluster->members;
			return ($m{$node}{state} // '') =~ /^(running|streaming)$/ });
		$cluster->wait_members;
	}
	on_standbys('after the rebuild');
	$cluster->post($old, '/switchover', { leader => $old, candidate => $first });
	other_leader($old);
});

is($_->stop, 0, 'pgqd ends cleanly') foreach @pgqd;
$cluster->stop;
done_testing();
