
# Connections between a relay and its engine are cut in the midst of messages, and stall,
# and pgqd is killed, while events come all the time; then the engine gets the data back
# that it had once. Each event is there once and in order, or the relay stands still.
#
# PGQ_RELAY_CUTS is how often connections are cut.

use strict;
use warnings;

use PgqNats;
use PgqProxy;
use PgqRedis;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $rounds = $ENV{PGQ_RELAY_CUTS} // 4;
my $version = `pgqrelay --version 2>&1` || '';
plan skip_all => 'pgqrelay was built without libnats and hiredis'
  if $version !~ /(?:libnats|hiredis) \d/;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $far = new_database($node, 'far', slot => 0);
my %engine;
my %there;    # of each target: all that is there, in order
my %keys;
my %proxy;

sql($node, $db, q{create table t (id int primary key, v text); select pgq.create_queue('q')});
sql($node, $db, q{select pgq.capture_table('q', 't')});
sql($node, $far, q{create extension pgq_ext; select pgq.create_queue('q')});

if ($version =~ /libnats \d/)
{
	my $port = free_port();

	$engine{nats} = PgqNats->new;
	$engine{nats}->create('S', ['s.>']);
	$proxy{nats} = PgqProxy->new_tcp($engine{nats}{port}, $port);
	$keys{nats} = { target => "nats://127.0.0.1:$port", stream => 'S', subject => 's.{table}' };
	$there{nats} = sub { $engine{nats}->events('S') };
}
if ($version =~ /hiredis \d/)
{
	my $port = free_port();

	$engine{redis} = PgqRedis->new;
	$proxy{redis} = PgqProxy->new_tcp($engine{redis}{port}, $port);
	$keys{redis} = { target => "redis://127.0.0.1:$port/0", stream => 's' };
	$there{redis} = sub { $engine{redis}->events('s') };
}
{
	my $dir = PostgreSQL::Test::Utils::tempdir();

	chmod 0755, $dir;
	$proxy{queue} = PgqProxy->new($node->host, $node->port, $dir);
	$keys{queue} = { target => 'postgresql:///far?host=' . ($dir =~ s{/}{%2F}gr) . '&port=' . $node->port };
	# its ids are its own
	$there{queue} = sub { events_of($node, $far, 'q') };
}
my @names = sort keys %keys;
add_relayed_queue($node, $db, 'q', "relay_$_") foreach @names;
my $relay = start_relay(map { $_ => {
	db => $node->connstr($db),
	queue => 'q',
	stall_release => 2,
	window_events => 100,
	%{ $keys{$_} } } } @names);

my $pgqd = start_pgqd($node, database_list => $db);
my $n = 0;

sub write_some
{
	my ($count) = @_;

	sql($node, $db, "insert into t select i, repeat('x', 300) from generate_series($n + 1, $n + $count) i");
	$n += $count;
	return;
}

sub ledger
{
	my ($name) = @_;

	wait_ingest($node, $db);
	my $wanted = events_of($node, $db, 'q');
	is(scalar(@$wanted), $n, "$name: all is in the queue");
	ticks($node, $db, 'q');
	foreach my $target (@names)
	{
		wait_for("$target to have all", sub { sql($node, $db, "select 1 from pgq.get_consumer_info(
			'q', 'relay_$target') where pending_events = 0 and current_batch is null") }, 120);
		my $got = $there{$target}->();

		$got = [ map { [ $wanted->[$_] ? $wanted->[$_][0] : 0, $got->[$_][1] ] } 0 .. $#$got ]
		  if $target eq 'queue';
		same_events($got, $wanted, "$name: $target has each once, in order");
	}
	return;
}

write_some(500);
ledger('at rest');

foreach (1 .. $rounds)
{
	write_some(600);
	foreach my $name (@names)
	{
		sleep(rand(0.1));
		$proxy{$name}->cut;
	}
}
ledger('connections were cut');

write_some(1000);
sleep(rand(0.2));
$_->stall foreach values %proxy;
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

# ---- data of once come back ----

my %copies;
$relay->stop;
foreach my $name (grep { $engine{$_} } @names)
{
	my ($kept, $data) = (PostgreSQL::Test::Utils::tempdir(), $engine{$name}->data);

	$engine{$name}->kill9;
	system("cp -Rp '$data/.' '$kept/'") == 0 or die 'cp failed';
	$copies{$name} = $kept;
	$engine{$name}->start;
}
$relay->start;
write_some(500);
ledger('engines were started again');
$relay->stop;
foreach my $name (sort keys %copies)
{
	my $data = $engine{$name}->data;

	$engine{$name}->kill9;
	system("rm -rf '$data'/* && cp -Rp '$copies{$name}/.' '$data/'") == 0 or die 'cp failed';
	$engine{$name}->start;
}
my $mark = length $relay->text;
$relay->start;
write_some(10);
foreach my $name (sort keys %copies)
{
	$relay->wait_log(qr/\[$name\]: stands still: .* has lost events/, $mark);
	is(scalar(@{ $there{$name}->() }), $n - 510, "$name: an older state is seen, and not written to");
}
is($relay->stop, 0, 'it ends cleanly');
is($pgqd->stop, 0, 'and so does pgqd');
$_->stop foreach values %proxy;

done_testing();
