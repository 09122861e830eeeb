# A connect string with several hosts: one that refuses and one that does not
# answer at all, as after a failover, are passed over.

use strict;
use warnings;

use PgqTest;
use IO::Socket::INET;
use Socket;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');

sub listener
{
	socket(my $s, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
	bind($s, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die "bind: $!";
	return ($s, (unpack_sockaddr_in(getsockname($s)))[0]);
}

# bound, but nobody listens
my ($refusing, $refused) = listener();

# a full queue of connections: the kernel drops what else asks
my ($silent, $unanswered) = listener();
listen($silent, 0) or die "listen: $!";
my @waiting = map {
	my $c = IO::Socket::INET->new(Proto => 'tcp', Blocking => 0);
	connect($c, pack_sockaddr_in($unanswered, INADDR_LOOPBACK));
	$c;
} 1 .. 4;

sub start
{
	my ($hosts, $ports) = @_;
	return start_pgqd($node, database_list => $db,
		base_connstr => "host=$hosts port=$ports connect_timeout=2");
}

my $pgqd = start("127.0.0.1,127.0.0.1," . $node->host,
	"$refused,$unanswered," . $node->port);
ok(wait_for('ingest', sub { $pgqd->text =~ /ingest reads slot/ }, 25),
	'the third host is reached');
is($pgqd->stop, 0, 'pgqd ends cleanly');

$pgqd = start('127.0.0.1', $unanswered);
$pgqd->wait_log(qr/timeout while connecting: .*port $unanswered/);
pass('a timeout says of which host');
is($pgqd->stop, 0, 'pgqd ends cleanly while it connects');

done_testing();
