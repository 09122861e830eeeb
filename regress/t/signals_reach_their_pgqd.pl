# pgqd -s, -k and -r reach the pgqd of the pidfile and nobody else; in the
# background, too, names in the ini file mean what they meant at the start.

use strict;
use warnings;

use Cwd;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();

chdir($dir) or die;

# ini(NAME): its pidfile and log are named relative to the directory
sub ini
{
	my ($name) = @_;
	PostgreSQL::Test::Utils::append_to_file("$name.ini",
		"[pgqd]\nbase_connstr = host=" . $node->host . ' port=' . $node->port
		  . "\ndatabase_list = $db\nsyslog = 0\n"
		  . "logfile = $name.log\npidfile = $name.pid\n");
	return "$name.ini";
}

# pgqd(ARGUMENT...): its exit code and output
sub pgqd
{
	my $out = '';
	my $h = IPC::Run::start(['pgqd', '-q', @_], '<', \undef, '>&', \$out,
		IPC::Run::timeout(60));
	IPC::Run::finish($h);
	return ($? >> 8, $out);
}

# what a crash leaves behind, when the number belongs to another by now
my $other = fork() // die;
if (!$other)
{
	exec('sleep', '300') or POSIX::_exit(1);
}
my $stale = ini('stale');
PostgreSQL::Test::Utils::append_to_file('stale.pid', "$other\n");
foreach my $option ('-k', '-s', '-r')
{
	my ($rc, $out) = pgqd($option, $stale);
	is("$rc $out", "1 Old process is not running\n",
		"$option with the pidfile of a pgqd that is gone");
}
sleep(1);
is(waitpid($other, POSIX::WNOHANG()), 0, 'the other process is left alone');
kill('KILL', $other);
waitpid($other, 0);

# in the background, at once
my $ini = ini('back');
foreach my $option ('-k', '-s')
{
	is((pgqd('-d', $ini))[0], 0, 'begins in the background');
	is((pgqd($option, $ini))[0], 0, "$option right after that reaches it");
	wait_for('its end', sub { !-e 'back.pid' });
	pass("it ends and takes the pidfile along");
}
is((pgqd('-d', $ini))[0], 0, 'begins in the background');
rename('back.log', 'back.log.1') or die;
is((pgqd('-r', $ini))[0], 0, '-r');
ok(wait_for('a new log', sub { -e 'back.log' }), 'opens its log anew');
is((pgqd('-s', $ini))[0], 0, '-s');
wait_for('its end', sub { !-e 'back.pid' });

# an ending pgqd removes its pidfile between our opening it and locking it
PostgreSQL::Test::Utils::append_to_file('shim.c', q{
	#define _GNU_SOURCE
	#include <dlfcn.h>
	#include <sys/file.h>
	#include <unistd.h>
	int flock(int fd, int op)
	{
		static int calls;
		int (*real)(int, int) = (int (*)(int, int)) dlsym(RTLD_NEXT, "flock");
		if (calls++ == 0)
			unlink("gone.pid");
		return real(fd, op);
	}
});
is(system('cc -shared -fPIC -o shim.so shim.c -ldl'), 0, 'shim is built');
my $gone = ini('gone');
{
	local $ENV{LD_PRELOAD} = "$dir/shim.so";
	local $ENV{ASAN_OPTIONS} =
	  join(':', $ENV{ASAN_OPTIONS} // (), 'verify_asan_link_order=0');
	is((pgqd('-d', $gone))[0], 0, 'begins in the background');
}
ok(-s 'gone.pid', 'there is a pidfile nevertheless');
is((pgqd('-s', $gone))[0], 0, '-s reaches it');
wait_for('its end', sub { !-e 'gone.pid' });

# a ticker without an ini file, with a password that would not fit into one
my $log = '';
$ENV{PGPASSWORD} = 'a ;b%(x)s';
my $ticker = IPC::Run::start(['pgqadm', '-d', $node->connstr($db), 'ticker'],
	'<', \undef, '>&', \$log, IPC::Run::timeout(120));
wait_for('a ticker', sub { $ticker->pump_nb; $log =~ /pgq version ok/ });
$ticker->signal('HUP');
wait_for('the signal', sub { $ticker->pump_nb; $log =~ /re-reading config/ });
$ticker->signal('INT');
$ticker->finish;
unlike($log, qr/ERROR/, 'pgqadm ticker without an ini file bears SIGHUP');

done_testing();
