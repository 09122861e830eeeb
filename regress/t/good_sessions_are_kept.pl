
# What new connections wait for or fail by holds up nothing that works: a silent
# name server stops neither loop, a session serves until the one that takes
# its place works. And HTTP answers to pgqd's own names only.

use strict;
use warnings;

use FindBin;
use HTTP::Tiny;
use IO::Socket::INET;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $dir = PostgreSQL::Test::Utils::tempdir();
my $cc = (grep { system("command -v $_ >/dev/null 2>&1") == 0 } qw(cc gcc))[0]
  or plan skip_all => 'no C compiler';
system($cc, '-shared', '-fPIC', '-o', "$dir/slow_names.so",
	"$FindBin::RealBin/slow_names.c", '-ldl') == 0
  or plan skip_all => 'the library to preload does not build';

my $node = new_server('main', conf => "listen_addresses = '127.0.0.1'\n");
my $db = new_database($node, 'shop');
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $http = HTTP::Tiny->new(timeout => 20);

sql($node, $db, q{
	create role worker login superuser replication password 'one';
	create table t (id serial primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't')});
my $hba = $node->data_dir . '/pg_hba.conf';
my $rules = slurp($hba);
open(my $fh, '>', $hba) or die;
print $fh "host all worker 127.0.0.1/32 scram-sha-256\n$rules";
close($fh);
$node->reload;

sub get
{
	my ($path) = @_;
	my $begin = time();
	my $r = $http->get("http://127.0.0.1:$port$path");

	$r->{took} = time() - $begin;
	return $r;
}

# The answer to a request by another name, as one text.
sub ask_as
{
	my ($path, $host) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
	  or die "connect: $!";

	local $/;
	print $socket "GET $path HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n";
	return <$socket>;
}

sub base
{
	my ($host, $password) = @_;
	return "host=$host port=" . $node->port . " user=worker password=$password";
}

sub tick_of
{
	return sql($node, $db, 'select max(tick_id) from pgq.tick');
}

# all works: events come in and are ticked
sub works
{
	my ($what) = @_;

	sql($node, $db, 'insert into t default values');
	wait_ingest($node, $db);
	is(scalar @{ consume($node, $db, 'q', 'c') }, 1, "$what: events come");
	my $before = tick_of();
	sql($node, $db, 'insert into t default values');
	wait_for("$what: ticks", sub { tick_of() > $before });
	is(scalar @{ consume($node, $db, 'q', 'c') }, 1, "$what: ticks go on");
	return;
}

sub set
{
	my ($pgqd, $key, $value) = @_;
	my $text = PgqTest::slurp($pgqd->{ini});

	$text =~ s/^$key = .*$/$key = $value/m or die "no $key";
	open(my $out, '>', $pgqd->{ini}) or die;
	print $out $text;
	close($out);
	$pgqd->signal('HUP');
	return;
}

local $ENV{LD_PRELOAD} = "$dir/slow_names.so";
local $ENV{SLOW_NAMES} = "$dir/silent";
my $pgqd = start_pgqd($node, base_connstr => base('db.test', 'one'),
	http_listen => $port, http_hosts => 'queues.example.org, other.example.org',
	connection_lifetime => 2, stats_period => 1);
delete $ENV{LD_PRELOAD};
$pgqd->wait_log(qr/serves http|without libmicrohttpd/);
plan skip_all => 'pgqd was built without libmicrohttpd'
  if $pgqd->text =~ /without libmicrohttpd/;
wait_for('green', sub { get('/health')->{status} == 200 });
works('at first');

# names of pgqd's own

chomp(my $own = `hostname`);
foreach my $host ("127.0.0.1:$port", "[::1]:$port", "localhost:$port",
	'localhost', 'queues', 'queues.example.org', "OTHER.example.org:$port",
	'queues.example.org.', $own)
{
	like(ask_as('/health', $host), qr{^HTTP/1.1 200 }, "Host: $host");
}
foreach my $host ('evil.example.com', "queues.example.org.evil.com:$port",
	'127.0.0.1.evil.com', 'localhost.evil.com')
{
	foreach my $path ('/', '/metrics', '/health')
	{
		my $answer = ask_as($path, $host);

		like($answer, qr{^HTTP/1.1 421 }, "Host: $host, $path");
		unlike($answer, qr/shop/, 'tells nothing');
	}
}

# a session of the ticker is made anew

sub ticker_pid
{
	return sql($node, $db, q{select min(pid) from pg_stat_activity
		where application_name = 'pgqd/tick' and datname = 'shop'});
}
my $pid = ticker_pid();
wait_for('another session', sub { my $p = ticker_pid(); $p && $p ne $pid });
wait_for('the old one to go', sub { sql($node, $db, q{select count(*)
	from pg_stat_activity where application_name = 'pgqd/tick'
	and datname = 'shop'}) eq '1' });
works('with another session');

# the name server is silent

sub fast_meanwhile
{
	my ($what, $seconds) = @_;
	my ($slowest, $end) = (0, time() + $seconds);

	while (time() < $end)
	{
		my $r = get('/health');

		$slowest = $r->{took} if $r->{took} > $slowest;
		sleep(0.1);
	}
	cmp_ok($slowest, '<', 3, "$what: HTTP answers meanwhile (slowest: $slowest s)");
	return;
}
append_to_file("$dir/silent", '');
wait_for('a look up that takes long', sub {
	$pgqd->text =~ /\[shop\]: tick: the address of host "db.test" is being looked up/ });
fast_meanwhile('without names', 6);
works('without names');
wait_for('red, with the cause', sub {
	get('/health')->{content} =~
	  /^\[shop\]: (?:the address of host "db.test" is being looked up: does the name server answer\?|no new connection, the old one goes on: .*db\.test)/m });
unlike($pgqd->text, qr/synchronous standby/, 'nobody else is blamed');
unlink("$dir/silent");
wait_for('green with names', sub { get('/health')->{status} == 200 });
works('with names again');

# the password is another

sql($node, $db, q{alter role worker password 'two'});
wait_for('a warning of the old password', sub {
	get('/health')->{content} =~
	  /^\[shop\]: warning: no new connection, the old one goes on: .*password authentication failed/m });
works('with the old session');
set($pgqd, 'base_connstr', base('db.test', 'wrong'));
$pgqd->wait_log(qr/Got SIGHUP/);
sleep(1);
works('with a wrong password in the file');
set($pgqd, 'base_connstr', base('db.test', 'two'));
wait_for('no warning with the new password', sub {
	my $r = get('/health');
	$r->{status} == 200 && $r->{content} !~ /no new connection/ });
works('with the new password');

# elsewhere

set($pgqd, 'base_connstr', 'host=/nowhere');
wait_for('a warning of a server that is not there', sub {
	get('/health')->{content} =~ /^\[shop\]: warning: no new connection, .*\/nowhere/m });
works('while the new server is not there');
set($pgqd, 'base_connstr', 'host=' . $node->host . ' port=' . $node->port);
wait_for('no warning any more', sub {
	my $r = get('/health');
	$r->{status} == 200 && $r->{content} !~ /no new connection/ });
wait_for('all sessions by the new address', sub { sql($node, $db,
	q{select bool_and(client_addr is null) and count(*) > 2
	from pg_stat_activity where application_name ~ '^pgqd/(tick|ingest|stream)'
	and datname = 'shop'}) eq 't' });
works('by the new address');

# nor does a list of users elsewhere that is silent, which libpq asks who we are

append_to_file("$dir/silent", '');
set($pgqd, 'base_connstr', 'host=' . $node->host . ' port=' . $node->port
	. ' connect_timeout=9');
$pgqd->wait_log(qr/Got SIGHUP(?:.*Got SIGHUP){4}/s);
fast_meanwhile('without users', 3);
unlink("$dir/silent");

# a name that is being looked up does not hold up the end

append_to_file("$dir/silent", '');
set($pgqd, 'base_connstr', base('db.test', 'two'));
wait_for('a look up', sub { get('/health')->{content} =~ /is being looked up/ });
my $begin = time();
is($pgqd->stop('TERM'), 0, 'pgqd ends cleanly');
cmp_ok(time() - $begin, '<', 5, 'and at once');

# nor does the name that HTTP is to listen at hold up anything

my $web = "web.test:$port";

sub with_silent_names
{
	my ($start) = @_;
	local $ENV{LD_PRELOAD} = "$dir/slow_names.so";
	return $start->();
}
# a user is named, since a list of users is no better
my $here = 'host=' . $node->host . ' port=' . $node->port . ' user=worker';
$pgqd = with_silent_names(sub { start_pgqd($node, http_listen => $web,
	base_connstr => $here) });
works('with an address of our own that is looked up');
unlike($pgqd->text, qr/http/, 'the look up has not ended');
$begin = time();
is($pgqd->stop('TERM'), 0, 'pgqd ends cleanly amid it');
cmp_ok(time() - $begin, '<', 5, 'and at once');

SKIP:
{
	skip('pgqrelay was not built here', 4) if system('pgqrelay --version >/dev/null 2>&1') != 0;
	sql($node, $db, q{select pgq.register_consumer('q', 'relay_r');
		select pgq.insert_event('q', 't', 'd'); select pgq.force_tick('q');
		select pgq.ticker()});
	my $relay = with_silent_names(sub {
		start_relay('' => { http_listen => $web }, r => { db => "$here dbname=$db",
			queue => 'q', target => "file:$dir/orders" }) });
	wait_for('an event moved', sub { -s "$dir/orders" });
	unlike($relay->text, qr/http/, 'the look up has not ended');
	$begin = time();
	is($relay->stop, 0, 'pgqrelay ends cleanly amid it');
	cmp_ok(time() - $begin, '<', 5, 'and at once');
}

unlink("$dir/silent");
$pgqd = with_silent_names(sub { start_pgqd($node, http_listen => $web) });
$pgqd->wait_log(qr{serves http://\Q$web\E/});
wait_for('HTTP at an address that was looked up', sub { get('/health')->{success} });
is($pgqd->stop, 0, 'pgqd ends cleanly');
done_testing();
