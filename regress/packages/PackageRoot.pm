
# What the package tests share. They run as root in a Debian system of their
# own: packages in /packages, sources in /pgq, PostgreSQL installed, not started.

package PackageRoot;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(
  run output works fails install has_plugin_list look_for_server start_server sql
  wait_for system_files system_users daemons $version
);

my $dir;
our $version;

# look_for_server(): the newest that is here, if any.
sub look_for_server
{
	my @there = sort { $b <=> $a }
	  map { m{/(\d+)/bin} } glob('/usr/lib/postgresql/*/bin/postgres');

	$version = $there[0] // return;
	$dir = "/usr/lib/postgresql/$version";
	return;
}

look_for_server();

$ENV{LC_ALL} = 'C.UTF-8';
$ENV{DEBIAN_FRONTEND} = 'noninteractive';

# run(COMMAND): by the shell, from /; its exit status, and what it printed on
# both outputs.
sub run
{
	my ($command) = @_;

	# to a file, since a daemon that it starts would keep a pipe open
	system('/bin/sh', '-c', "cd / && { $command\n} >/tmp/output 2>&1 </dev/null");
	my $status = $? >> 8;
	open(my $fh, '<', '/tmp/output') or die $!;
	my $out = do { local $/; <$fh> // '' };
	chomp $out;
	note("\$ $command\n$out\n($status)");
	return ($status, $out);
}

# output(COMMAND): what it printed; dies when it fails.
sub output
{
	my ($command) = @_;
	my ($status, $out) = run($command);

	die "$command\nexit status $status: $out\n" if $status != 0;
	return $out;
}

sub works
{
	my ($command, $name) = @_;
	my ($status, $out) = run($command);

	ok($status == 0, $name) or diag("$command\n$out");
	return $out;
}

sub fails
{
	my ($command, $name) = @_;
	my ($status, $out) = run($command);

	ok($status != 0, $name) or diag("$command\n$out");
	return $out;
}

# install(PACKAGE...): names that apt knows, or files.
sub install
{
	output('apt-get install -q -y --no-install-recommends'
		  . ' -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold '
		  . join(' ', @_));
	return;
}

# has_plugin_list(): does the server restrict output plugins?
sub has_plugin_list
{
	return output("$dir/bin/postgres --describe-config") =~
	  /output_plugin_libraries/;
}

# start_server([conf => TEXT]): Debian's cluster "main", by its socket only; fit
# for captured tables unless other settings are given.
sub start_server
{
	my (%opt) = @_;
	my $conf = "/etc/postgresql/$version/main/conf.d/test.conf";

	output("pg_createcluster $version main")
	  if !-e "/etc/postgresql/$version/main/postgresql.conf";
	my $plugins =
	  has_plugin_list()
	  ? "output_plugin_libraries = 'pgoutput, test_decoding, pgq'\n"
	  : '';

	open(my $fh, '>', $conf) or die "$conf: $!";
	print $fh "listen_addresses = ''\nfsync = off\n"
	  . ($opt{conf} // "wal_level = logical\n$plugins");
	close $fh;
	# it runs already where a package made it just now
	output("pg_ctlcluster $version main restart");
	return;
}

# sql(DATABASE, TEXT): as superuser; the output as psql -At prints it.
sub sql
{
	my ($db, $text) = @_;

	open(my $fh, '>', '/tmp/statements') or die $!;
	print $fh $text;
	close $fh;
	return output(
		"runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d $db -f /tmp/statements");
}

# wait_for(WHAT, SUB): until SUB returns something true, which is returned.
sub wait_for
{
	my ($what, $sub) = @_;

	for (1 .. 300)
	{
		my $result = eval { $sub->() };
		return $result if $result;
		select(undef, undef, undef, 0.2);
	}
	die "gave up waiting: $what\n" . ($@ // '');
}

# system_files(): all there is, but for what apt, dpkg and the server keep.
sub system_files
{
	return output(q{find / -xdev \( -path /proc -o -path /sys -o -path /dev
		-o -path /tmp -o -path /pgq -o -path /packages -o -path /var/lib/dpkg
		-o -path /var/lib/apt -o -path /var/cache -o -path '/var/log/apt*'
		-o -path '/var/lib/postgresql/*' -o -path '/var/log/postgresql/*'
		-o -path '/var/lib/logrotate/*' -o -path '/run/postgresql/*' -o -path '/etc/postgresql/*/main/conf.d/*'
		-o -name ld.so.cache \) -prune -o -print | sort} =~ s/\n\s*/ /gr);
}

sub system_users
{
	return output('getent passwd; getent group');
}

# daemons(): "USER COMMAND LINE" of every pgqd, sorted.
sub daemons
{
	my ($status, $out) = run('ps -C pgqd -o user:20=,args= | grep -v defunct | sort');

	return join("\n", map { join(' ', split(' ', $_)) } split(/\n/, $out));
}

1;
