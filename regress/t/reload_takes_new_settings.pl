# SIGHUP makes the ini file count as it is now: where to ask for databases, how
# often to write counts, where to serve HTTP.

use strict;
use warnings;

use HTTP::Tiny;
use IO::Socket::INET;
use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $http = HTTP::Tiny->new(timeout => 20);
my $port = PostgreSQL::Test::Cluster::get_free_port();

sub change
{
	my ($pgqd, $from, $to) = @_;
	my $text = PgqTest::slurp($pgqd->{ini});

	$text =~ s/^$from$/$to/m or die "no $from";
	open(my $fh, '>', $pgqd->{ini}) or die;
	print $fh $text;
	close($fh);
	$pgqd->signal('HUP');
	return;
}

# somebody else has the port
my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1',
	LocalPort => $port, ReuseAddr => 1) or die "listen: $!";
my $pgqd = start_pgqd($node, initial_database => 'nowhere',
	stats_period => 1000, http_listen => $port);
$pgqd->wait_log(qr/database "nowhere" does not exist/);
$pgqd->wait_log(qr/could not serve http_listen/);
plan skip_all => 'pgqd was built without libmicrohttpd'
  if $pgqd->text =~ /without libmicrohttpd/;
close($taken);

change($pgqd, 'initial_database = nowhere', 'initial_database = postgres');
$pgqd->wait_log(qr/\[shop\]: pgq version ok/);
pass('the databases are found by way of another one');
$pgqd->wait_log(qr{serves http://127\.0\.0\.1:$port/});
is($http->get("http://127.0.0.1:$port/health")->{success}, 1,
	'HTTP is served when the port is free');

unlike($pgqd->text, qr/\{ticks: /, 'counts come seldom');
change($pgqd, 'stats_period = 1000', 'stats_period = 0.5');
$pgqd->wait_log(qr/\{ticks: /);
pass('and often after a reload');

change($pgqd, 'stats_period = 0.5', "stats_period = 0.5\ndatabase_list = postgres");
$pgqd->wait_log(qr/\[shop\]: is gone or no longer wanted/);
pass('a list of databases counts');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
