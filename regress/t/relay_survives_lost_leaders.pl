
# Engines of several nodes: the leader of a stream of NATS JetStream is killed under load,
# and each event is there once and in order; Redis has a replica, for which a relay
# waits, and one that lost the end by a failover is seen.

use strict;
use warnings;

use PgqNats;
use PgqRedis;
use PgqRelay;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

need_engine('libnats', 'nats-server', 'nats-server');
need_engine('hiredis', 'redis-server', 'redis-server', 'redis-tools');

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my %n;

sub queue
{
	my ($queue) = @_;

	add_relayed_queue($node, $db, $queue, "relay_$queue");
	$n{$queue} = 0;
	return;
}

sub insert
{
	my ($queue, $count) = @_;

	sql($node, $db, "select pgq.insert_event('$queue', 't', 'n' || i)
		from generate_series($n{$queue} + 1, $n{$queue} + $count) i");
	$n{$queue} += $count;
	ticks($node, $db, $queue);
	return;
}

sub bookmark { return sql($node, $db, "select pgq.get_bookmark('$_[0]', 'relay_$_[0]')") || 0 }

# three nodes of NATS
my @nats = PgqNats->cluster(3);
my ($any) = @nats;

queue('nats');
wait_for('a leader of all', sub { eval { $any->create('ORDERS', ['q.>'], num_replicas => 3); 1 } });
my $relay = start_relay(nats => {
	db => $node->connstr($db), queue => 'nats', stream => 'ORDERS', subject => 'q.x',
	target => join(',', map { $_->url } @nats), stall_release => 3, window_events => 100 });
insert('nats', 1000);
my $leader;
wait_for('a leader', sub {
	foreach my $server (@nats)
	{
		my $info = eval { $server->api('STREAM.INFO.ORDERS', {})->{cluster} } or next;
		($leader) = grep { $_->{name} eq ($info->{leader} // '') } @nats;
		# so that two of three are enough
		return 1 if $leader && !grep { !$_->{current} } @{ $info->{replicas} };
	}
	return 0;
});
insert('nats', 2000);
wait_for('load', sub { bookmark('nats') > 0 });
$leader->kill9;
insert('nats', 1000);
$leader->start;
wait_for("$n{nats} messages", sub { bookmark('nats') >= $n{nats} });
$relay->stop;
my $events;
wait_for('the stream', sub {
	foreach my $server (@nats)
	{
		$events = eval { $server->events('ORDERS') } or next;
		return 1 if @$events >= $n{nats};
	}
	return 0;
});
same_events($events, events_of($node, $db, 'nats'), 'the leader was killed');
$_->kill9 foreach @nats;

# Redis with a replica
my $first = PgqRedis->new;
my $replica = PgqRedis->new('--replicaof', "127.0.0.1 $first->{port}");
my %keys = (db => $node->connstr($db), queue => 'redis', stream => 'q', stall_release => 2,
	replicas => 1);

sub is_linked { return $replica->ask('INFO', 'replication') =~ /master_link_status:up/ }

queue('redis');
wait_for('the replica', \&is_linked);
$relay = start_relay(redis => { %keys, target => $first->url });
insert('redis', 500);
wait_for('the events', sub { $replica->ask('XLEN', 'q') >= 500 && bookmark('redis') });
same_events($replica->events('q'), events_of($node, $db, 'redis'), 'the replica has what is finished');

# without it no batch is finished
my $mark = bookmark('redis');
$replica->kill9;
insert('redis', 10);
$relay->wait_log(qr/engine away: 0 of 1 replicas have it/);
is(bookmark('redis'), $mark, 'no batch is finished while the replica is away');
$replica->start;
wait_for('the batch', sub { bookmark('redis') > $mark });
same_events($replica->events('q'), events_of($node, $db, 'redis'), 'and goes on with it');
$relay->stop;

# a failover to one that was behind
wait_for('the replica', \&is_linked);
$replica->ask('REPLICAOF', 'NO', 'ONE');
$relay = start_relay(redis => { %keys, replicas => 0, target => $first->url });
insert('redis', 10);
wait_for('the events', sub { $first->ask('XLEN', 'q') >= $n{redis} });
wait_for('the batch', sub { bookmark('redis') > $mark + 1 });
$relay->stop;
$first->kill9;
insert('redis', 10);
$relay = start_relay(redis => { %keys, replicas => 0, target => $replica->url });
$relay->wait_log(qr/stands still: stream pgq\.position\.relay_redis has lost events: it is at batch \d+ and was at \d+/);
is($replica->ask('XLEN', 'q'), $n{redis} - 20, 'a replica that was behind is seen, and not written to');
$relay->stop;

done_testing();
