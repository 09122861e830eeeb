
# A database that was restored, or failed over to a standby that was behind, gives
# numbers anew to other events. A relay that finds the engine ahead of it stands still and
# says so: nothing of the new events is taken for what is there, and none is sent twice.

use strict;
use warnings;

use PgqNats;
use PgqRedis;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $nats = PgqNats->new;
my $redis = PgqRedis->new;
my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $other = new_server('other');
my $far = new_database($other, 'far', slot => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();

sql($other, $far, $_)
  foreach 'create extension pgq_ext', q{select pgq.create_queue('copy')};
$nats->create('ORDERS', ['q.>']);

my %engines = (
	postgresql => {
		target => 'postgresql:///far?host=' . ($other->host =~ s{/}{%2F}gr) . '&port=' . $other->port,
		to_queue => 'copy' },
	nats => { target => $nats->url, stream => 'ORDERS', subject => 'q.x' },
	redis => { target => $redis->url, stream => 'q' });
my %count = (
	postgresql => sub {
		return sql($other, $far, q{select count(*) from pgq.event_template
			where tableoid in (select evt_relid from pgq.event_table)});
	},
	nats => sub { return $nats->last_seq('ORDERS') },
	redis => sub { return $redis->ask('XLEN', 'q') });

# one queue for each engine
foreach my $name (sort keys %engines)
{
	add_relayed_queue($node, $db, $name, "relay_$name");
	$engines{$name} = { %{ $engines{$name} },
		db => $node->connstr($db), queue => $name, stall_release => 2 };
}

sub insert
{
	my ($text) = @_;

	foreach my $name (sort keys %engines)
	{
		sql($node, $db, "select pgq.insert_event('$name', 't', '$text' || i)
			from generate_series(1, 10) i");
		ticks($node, $db, $name);
	}
	return;
}

sub wait_counts
{
	my ($n) = @_;

	foreach my $name (sort keys %engines)
	{
		wait_for("$n events in $name", sub { $count{$name}->() >= $n
			&& sql($node, $db, "select pgq.get_bookmark('$name', 'relay_$name') is not null
				and pending_events = 0 from pgq.get_consumer_info('$name', 'relay_$name')") eq 't' });
	}
	return;
}

my $relay = start_relay(%engines);
insert('before');
wait_counts(10);
$relay->stop;
$node->stop;
system('cp', '-a', $node->data_dir, "$dir/backup") == 0 or die 'cp failed';
$node->start;
$relay->start;
insert('lost');
wait_counts(20);
$relay->stop;

# the same numbers come again, or others, as after a failover
foreach my $jump (0, 100)
{
	$node->stop;
	system('rm', '-rf', $node->data_dir) == 0 or die 'rm failed';
	system('cp', '-a', "$dir/backup", $node->data_dir) == 0 or die 'cp failed';
	$node->start;
	sql($node, $db, "select setval('pgq.batch_id_seq', nextval('pgq.batch_id_seq') + $jump)")
	  if $jump;
	insert('after');
	my $mark = length $relay->text;
	$relay->start;
	foreach my $name (sort keys %engines)
	{
		$relay->wait_log(qr/\[$name\]: stands still: .*the database went back/, $mark);
		is($count{$name}->(), 20, "$name, numbers $jump ahead: nothing is taken for the same");
		is(sql($node, $db, "select pending_events from pgq.get_consumer_info('$name', 'relay_$name')"),
			'10', 'and the new events wait');
	}
	$relay->stop;
}

done_testing();
