
# A PgBouncer in front of a test's server: the system's, or Debian's package,
# fetched and not installed. Tests that need one are skipped where there is none.

package PgqPooler;

use strict;
use warnings;

use Exporter 'import';
use PgqDebian;
use PgqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(find_pooler start_pooler);

my ($program, $libs);
my @running;

END
{
	my $rc = $?;

	kill('KILL', $_) foreach @running;
	$? = $rc;
}

# find_pooler(): ends the test as skipped if there is none.
sub find_pooler
{
	($program, $libs) = find_program('pgbouncer', 'pgbouncer');
	return;
}

# start_pooler(NODE, key => value...): one with these settings; returns what goes
# before "dbname=..." in a connect string.
sub start_pooler
{
	my ($node, %conf) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $users = $node->safe_psql('postgres',
		q{select string_agg(format('"%s" ""', rolname), E'\n') from pg_roles});
	my $pid;

	%conf = (
		listen_port => $port,
		unix_socket_dir => $dir,
		auth_type => 'trust',
		auth_file => "$dir/users",
		logfile => "$dir/log",
		default_pool_size => 1,
		%conf);
	PostgreSQL::Test::Utils::append_to_file("$dir/users", "$users\n");
	PostgreSQL::Test::Utils::append_to_file("$dir/ini", "[databases]\n"
		  . '* = host=' . $node->host . ' port=' . $node->port
		  . "\n[pgbouncer]\n" . join('', map { "$_ = $conf{$_}\n" } sort keys %conf));
	$pid = fork() // die "fork: $!";
	if (!$pid)
	{
		local $ENV{LD_LIBRARY_PATH} = $libs if $libs;
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$dir/stdout");
		open(STDERR, '>&', \*STDOUT);
		exec($program, "$dir/ini") or POSIX::_exit(127);
	}
	push @running, $pid;
	wait_for('the pooler', sub {
		die map { slurp($_) } grep { -f } ("$dir/stdout", "$dir/log")
		  if waitpid($pid, POSIX::WNOHANG()) != 0;
		return -S "$dir/.s.PGSQL.$port" });
	return "host=$dir port=$port";
}

1;
