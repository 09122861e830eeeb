# A consumer lives through a server that is away, starts, or is a standby: from
# the start on, and says so once. What lasts until somebody mends it is an error
# at once.

use strict;
use warnings;

use PgqTest;
use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $source = dirname($0) . '/libpgq_client.c';
chomp(my $includedir = `pg_config --includedir`);
chomp(my $libdir = `pg_config --libdir`);
is(system("cc -Wall -Wextra -I$includedir -o $tmp/client $source"
		. " $libdir/libpgq.a -L$libdir -lpq"), 0, 'the client builds');

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.register_consumer('q', 'c2');
	create role locked login password 'right';
	grant pgq_reader to locked});

sub produce
{
	my ($on, $data) = @_;
	sql($on, $db, "select pgq.insert_event('q', 't', '$data')");
	sql($on, $db, "select pgq.force_tick('q')");
	sql($on, $db, "select pgq.ticker('q')");
	return;
}

my @running;
END { my $rc = $?; eval { $_->kill_kill } foreach @running; $? = $rc; }

# pgqadm consume with this connect string and consumer, in the background.
sub start
{
	my $run = { out => '', err => '' };

	push @running, $run->{h} = IPC::Run::start([ 'pgqadm', '-d', shift,
			'consume', 'q', @_ ], \undef, \$run->{out}, \$run->{err});
	return $run;
}

sub wait_said
{
	my ($run, $what, $like) = @_;

	wait_for("$what to match $like",
		sub { $run->{h}->pump_nb; $run->{$what} =~ $like });
	return;
}

sub stop
{
	my ($run) = @_;

	$run->{h}->signal('TERM');
	$run->{h}->finish;
	return $? >> 8;
}

# Its messages without the details of libpq.
sub messages
{
	my ($run) = @_;
	return join('|', map { s/^pgqadm: //r =~ s/^connection to server.*; /away; /r }
			grep { /^pgqadm: / } split(/\n/, $run->{err} =~ s/\n(\t|FATAL)/ /gr));
}

# a standby is no server for a consumer, and no reason to give up

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

produce($node, 'first');
my $both = sub {
	my @nodes = @_;
	return 'dbname=shop host=' . join(',', map { $_->host } @nodes) . ' port='
	  . join(',', map { $_->port } @nodes);
};
my $run = start($both->($standby, $node), 'c');
wait_said($run, 'out', qr/"first"/);
is(messages($run), '', 'of several hosts the primary is found');
is(stop($run), 0, 'it ends');

# each by another way to notice it
my @waiting = (start($standby->connstr($db), 'c'),
	start($standby->connstr($db) . ' target_session_attrs=any', 'c2'));
wait_said($_, 'err', qr/trying again/) foreach @waiting;
like($waiting[0]->{err}, qr/hot standby mode; trying again/,
	'who is led to a standby waits');
is($waiting[1]->{err}, "pgqadm: the server is a standby; trying again\n",
	'also who asks for no primary');
sleep(2);
$node->stop;
$standby->promote;
produce($standby, 'second');
foreach my $run (@waiting)
{
	wait_said($run, 'out', qr/"second"/);
	like($run->{err}, qr/\A[^\n]*; trying again\npgqadm: connected\n\z/,
		'until it is the primary; it is said once');
	is(stop($run), 0, 'it ends');
}

# away at the start

$standby->stop;
$run = start($standby->connstr($db) . ' user=locked', 'c', '--register');
wait_said($run, 'err', qr/trying again/);
sleep(2);
$standby->start;
produce($standby, 'third');
wait_said($run, 'out', qr/"third"/);
like($run->{err}, qr/\A[^\n]*\n?[^\n]*; trying again\npgqadm: connected\n\z/,
	'a server that is away at the start is waited for, and it is said once');

# what lasts, seen when the server was there once, may be a failover's

sql($standby, $db, 'alter role locked nologin');
sql($standby, $db, q{select pg_terminate_backend(pid) from pg_stat_activity
	where usename = 'locked'});
wait_said($run, 'err', qr/connection lost/);
sleep(1.5);
sql($standby, $db, 'alter role locked login');
produce($standby, 'fourth');
wait_said($run, 'out', qr/"fourth"/);
pass('who was connected once goes on trying');
is(stop($run), 0, 'it ends');

# what lasts is an error at once

sub refused
{
	my ($what, $like, $conninfo, @args) = @_;
	my $start = time();
	my ($out, $err) = ('', '');

	IPC::Run::run(['pgqadm', '-d', $conninfo, 'consume', @args], \undef, \$out,
		\$err, IPC::Run::timeout(60));
	is($? >> 8, 1, "$what ends it");
	like($err, $like, 'with a clear error');
	cmp_ok(time() - $start, '<', 10, 'at once');
	return;
}

my $hba = slurp($standby->data_dir . '/pg_hba.conf');
open(my $fh, '>', $standby->data_dir . '/pg_hba.conf') or die $!;
print $fh "local all locked scram-sha-256\nhost all locked all scram-sha-256\n$hba";
close $fh;
$standby->reload;
my $conn = $standby->connstr($db);
refused('a wrong password', qr/password authentication failed/,
	"$conn user=locked password=wrong", 'q', 'c');
refused('no password', qr/no password supplied/,
	"$conn user=locked passfile=/dev/null", 'q', 'c');
refused('an unknown database', qr/database "nosuch" does not exist/,
	$standby->connstr('nosuch'), 'q', 'c');
refused('a bad value in the connect string', qr/sslmode/,
	"$conn sslmode=maybe", 'q', 'c');
refused('a bad setting in the connect string', qr/nosuch_setting/,
	"$conn options='-c nosuch_setting=1'", 'q', 'c');
refused('an unknown queue', qr/nosuch/, $conn, 'nosuch', 'c', '--register');
refused('a consumer that is not registered', qr/Not subscriber/, $conn, 'q',
	'nosuch');
refused('a server that is away, with --once,', qr/No such file|refused/,
	'host=' . $standby->host . ' port=1 dbname=shop', 'q', 'c', '--once');
is(system("$tmp/client", "$conn user=locked password=wrong", 'q', 'c', 'copy')
	>> 8, 1, 'a wrong password is an error for libpgq, too');

# a notice that comes with the answer to another question wakes

sub client
{
	my $out = '';
	IPC::Run::run([ "$tmp/client", $conn, 'q', 'c', @_ ], \undef, \$out);
	return $out;
}
like(client('notice'), qr/^woken\n/,
	'a notice that came with the answer of next_batch ends the wait');

# a batch that was detached survives its connection

produce($standby, 'fifth');
is(client('detach'), "ok\n", 'a batch without a transaction can be finished'
	. ' by another session');
is(sql($standby, $db, q{select current_batch from
	pgq.get_consumer_info('q', 'c')}), '', 'it is');

done_testing();
