# Patroni, etcd and three nodes, configured as doc/high-availability.md says, under
# load: whatever the cluster does, each committed change is in each queue exactly
# once, and no batch that a consumer read has other contents later.

use strict;
use warnings;

use PatroniLedger;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my ($cluster, @pgqd) = start_cluster($ENV{PGQ_CLUSTER_SECONDS} // 5);

survives('switchover', \&switches_over);
survives('kill -9 of PostgreSQL', \&kills_server);

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
	is(sql($cluster, 'shop', q{select count(*) from pg_replication_slots
		where slot_name = 'pgq_shop'}), 1, 'the slot is still there');
	$_->start foreach @pgqd;
});

survives('the standbys are rebuilt, and one becomes the primary', sub {
	my $old = $cluster->leader;

	foreach my $node (grep { $_ ne $old } @{ $cluster->{nodes} })
	{
		# which goes with its folder, as short as that may be
		my $mark = "$cluster->{dir}/$node/of-before";
		append_to_file($mark, '');
		$cluster->post($node, '/reinitialize', { force => JSON::PP::true });
		wait_for("$node to begin", sub { !-e $mark });
		wait_for("$node to be there again",
			sub { ($cluster->psql('postgres', 'select', $node))[0] == 0 });
		$cluster->wait_members;
	}
	on_standbys('after the rebuild');
	switches_over();
});

end_cluster();
done_testing();
