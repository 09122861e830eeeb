
# A relay puts each event into Kafka once though its connections are cut in the midst of
# messages and pgqd is killed; it stands still where it has no right to write, and where the
# brokers have come back with the data that they had once.

use strict;
use warnings;

use PgqKafka;
use PgqProxy;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $rounds = $ENV{PGQ_RELAY_CUTS} // 6;
my $kafka = PgqKafka->new(1,
	'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
	'super.users=User:ANONYMOUS',
	'allow.everyone.if.no.acl.found=true');
my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{create table t (id int primary key, v text); select pgq.create_queue('q')});
sql($node, $db, q{select pgq.capture_table('q', 't')});
add_relayed_queue($node, $db, $_, "relay_$_") foreach qw(q closed);
$kafka->create('pgq.positions', 1, 'cleanup.policy=compact');
$kafka->create('q', 3);
$kafka->create('closed', 1);

my $proxy = PgqProxy->new_tcp($kafka->{behind}, $kafka->{proxy});
my $pgqd = start_pgqd($node, database_list => $db);
my %keys = (
	db => $node->connstr($db),
	queue => 'q',
	consumer => 'relay_q',
	target => "kafka://127.0.0.1:$kafka->{proxy}",
	topic => 'q',
	stall_release => 5,
	window_events => 100);
my $relay = start_relay(q => \%keys);
my $n = 0;

sub write_some
{
	my ($count) = @_;

	sql($node, $db, "insert into t select i, repeat('x', 300) from generate_series($n + 1, $n + $count) i");
	$n += $count;
	return;
}

sub wait_finished
{
	my ($queue) = @_;

	ticks($node, $db, $queue);
	wait_for("the relay of $queue to finish", sub { sql($node, $db, "select 1 from pgq.get_consumer_info(
		'$queue', 'relay_$queue') where pending_events = 0 and current_batch is null") }, 120);
	return;
}

sub ledger
{
	my ($name) = @_;
	my (@all, %last, $disorder);

	wait_ingest($node, $db);
	wait_finished('q');
	my $wanted = events_of($node, $db, 'q');
	is(scalar(@$wanted), $n, "$name: all is in the queue");
	foreach my $message ($kafka->dump('q'))
	{
		my ($id) = $message->{headers}{'Pgq-Id'} =~ m{/(\d+)};

		$disorder = $id if $id <= ($last{ $message->{partition} } // 0);
		$last{ $message->{partition} } = $id;
		push @all, [ $id, $message->{value} ];
	}
	same_events([ sort { $a->[0] <=> $b->[0] } @all ], $wanted, "$name: each is there once");
	ok(!$disorder, "$name: and in order");
	return;
}

write_some(500);
ledger('at rest');
foreach (1 .. $rounds)
{
	write_some(600);
	sleep(rand(0.3));
	$proxy->cut;
}
ledger('connections were cut');
write_some(1000);
sleep(rand(0.2));
$proxy->stall;
write_some(500);
ledger('connections stalled');
foreach (1 .. 3)
{
	write_some(500);
	sleep(rand(0.2));
	$pgqd->kill9;
	write_some(200);
	$pgqd->start;
}
ledger('pgqd was killed');
$relay->stop;

# ---- rights ----

my %closed = (%keys, queue => 'closed', consumer => 'relay_closed', topic => 'closed',
	target => $kafka->{sasl}, user => 'relay', password => 'secret', options => 'sasl.mechanism=PLAIN');
$kafka->run('allow', 'closed', 'User:other');
sql($node, $db, q{select pgq.insert_event('closed', 'x', 'event ' || i) from generate_series(1, 9) i});
ticks($node, $db, 'closed');
$relay = start_relay(closed => \%closed);
$relay->wait_log(qr/stands still: .*topic "closed": .*[Aa]uthorization failed/);
pass('a topic that it may not write is named');
$relay->stop;
is(scalar(@{ [ $kafka->dump('closed') ] }), 0, 'nothing is there');
$kafka->run('allow', 'closed', 'User:relay');
$relay->start;
wait_finished('closed');
is(join(' ', map { $_->{value} =~ /(\d+)/ } $kafka->dump('closed')), '1 2 3 4 5 6 7 8 9',
	'when it may, each event is there once');
$relay->stop;
$kafka->run('allow', 'pgq.positions', 'User:other');
$relay = start_relay(closed => { %closed, on_refused => 'dead' });
$relay->wait_log(qr/stands still: .*"?pgq\.positions"?.*[Aa]uthorization failed/);
pass('positions that it may not have are named');
is(sql($node, $db, q{select count(*) from pgq.get_dead_events('closed', null)}), '0',
	'and nothing is dead by it');
$relay->stop;

# ---- data of once come back ----

my ($data, $kept) = ("$kafka->{dir}/data1", PostgreSQL::Test::Utils::tempdir());
$relay = start_relay(q => \%keys);
write_some(100);
ledger('it goes on');
$relay->stop;
$kafka->kill9;
system("cp -Rp '$data/.' '$kept/'") == 0 or die 'cp failed';
$kafka->start;
$relay->start;
write_some(500);
ledger('the broker was started again');
$relay->stop;
$kafka->kill9;
system("rm -rf '$data' && mkdir '$data' && cp -Rp '$kept/.' '$data/'") == 0 or die 'cp failed';
$kafka->start;
my $before = @{ [ $kafka->dump('q') ] };
is($before, $n - 500, 'the cluster has an older state');
$relay->start;
write_some(10);
$relay->wait_log(qr/stands still: topic "(?:pgq\.positions|q)" has lost /);
is(scalar(@{ [ $kafka->dump('q') ] }), $before, 'it is seen, and not written to');
is($relay->stop, 0, 'it ends cleanly');
is($pgqd->stop, 0, 'and so does pgqd');
$proxy->stop;

done_testing();
