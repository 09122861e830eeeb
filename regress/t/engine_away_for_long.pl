
# An engine that is away for long is tried again, after pauses that grow to a minute, and
# the log says it once. Meanwhile other relays and the slot go on, and nothing is held
# open in the database; when it is back, each event comes once.
#
# The relay's clock runs 60 times as fast. PGQ_AWAY_MINUTES is how long the engine is away
# by that clock: 12 unless set.

use strict;
use warnings;

use HTTP::Tiny;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use PgqProxy;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $speed = 60;
my $seconds = ($ENV{PGQ_AWAY_MINUTES} // 12) * 60 / $speed;
my ($faketime) = glob('/usr/lib/*/faketime/libfaketime.so.1 /usr/lib64/faketime/libfaketime.so.1');
plan skip_all => 'no libfaketime here' if !$faketime;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $far = new_database($node, 'far', slot => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();
my ($port, $http) = (free_port(), free_port());

sql($node, $far, q{create extension pgq_ext; select pgq.create_queue('q')});
sql($node, $db, q{create table t (id int primary key); select pgq.create_queue('q')});
sql($node, $db, q{select pgq.capture_table('q', 't')});
add_relayed_queue($node, $db, 'q', "relay_$_") foreach qw(away near);
my $pgqd = start_pgqd($node, database_list => $db);

# takes connections and ends them, and notes when
sub hang_up
{
	my ($listen) = @_;

	while (my $client = $listen->accept)
	{
		append_to_file("$dir/times", time() . "\n");
		close($client);
	}
	return;
}
my $listen = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", ReuseAddr => 1, Listen => 5)
  or die "listen: $!";
my $pid = fork() // die "fork: $!";
if (!$pid)
{
	hang_up($listen);
	POSIX::_exit(0);
}
close($listen);

sub connects { return -e "$dir/times" ? split(/\n/, slurp("$dir/times")) : () }
sub health { return HTTP::Tiny->new->get("http://127.0.0.1:$http/health") }

my $relay;
{
	local %ENV = (%ENV, LD_PRELOAD => $faketime, FAKETIME => "+0 x$speed");
	$relay = start_relay(
		'' => { http_listen => "127.0.0.1:$http" },
		away => { db => $node->connstr($db), queue => 'q', to_queue => 'q',
			target => "postgresql://127.0.0.1:$port/far?sslmode=disable&gssencmode=disable" },
		near => { db => $node->connstr($db), queue => 'q', target => "file:$dir/near" });
}
$relay->wait_log(qr/\[away\]: engine away/);
my $end = time() + $seconds;
my $n = 0;
my ($held, $red) = (0, 0);
my $lsn = sql($node, $db, 'select pg_current_wal_lsn()');

while (time() < $end || connects() < 8)
{
	sql($node, $db, 'insert into t values (' . ++$n . ')');
	wait_ingest($node, $db);
	wait_for('the other relay', sub { -e "$dir/near" && (() = slurp("$dir/near") =~ /\n/g) >= $n });
	$held++
	  if sql($node, $db, q{select count(*) from pg_stat_activity
		where application_name like 'pgqrelay%' and xact_start < clock_timestamp() - '2 s'::interval}) > 0;
	$red++ if health()->{status} != 503 || health()->{content} !~ /^away: engine away/m;
	sleep(0.3);
}
is($held, 0, 'nothing is held open in the database');
is($red, 0, '/health is red, and names it');
ok($n > 5, "the slot and the other relay go on ($n events)");
wait_for('the slot to be confirmed', sub { sql($node, $db,
	"select confirmed_flush_lsn > '$lsn' from pg_replication_slots") eq 't' });
my @times = connects();
my @gaps = map { ($times[$_] - $times[ $_ - 1 ]) * $speed } 1 .. $#times;
note("gaps by its clock: @gaps");
cmp_ok($gaps[0], '<', 30, 'it tries again soon');
is(scalar(grep { $_ < 29 } @gaps[ -2, -1 ]), 0, 'after pauses that grow to about a minute');
is(scalar(() = $relay->text =~ /\[away\]: engine away/g), 1, 'the log says it once');

# it is back
kill('KILL', $pid);
waitpid($pid, 0);
$listen = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", ReuseAddr => 1, Listen => 20)
  or die "listen: $!";
my $proxy = PgqProxy->run($listen,
	sub { IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) });
wait_for('all events', sub { @{ events_of($node, $far, 'q') } >= $n });
is(join(' ', map { $_->[1] =~ /(\d+)/ } @{ events_of($node, $far, 'q') }), join(' ', 1 .. $n),
	'when it is back each event comes once, in order');
wait_for('its state', sub { health()->{status} == 200 });
is($relay->stop, 0, 'it ends cleanly');
$proxy->stop;
is($pgqd->stop, 0, 'and so does pgqd');

done_testing();
