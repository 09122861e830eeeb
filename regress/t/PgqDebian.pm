
# Programs of PgQ 3 and its clients, as Debian packs them: fetched, not
# installed, and only run. Tests that need them are skipped where there are
# none.

package PgqDebian;

use strict;
use warnings;

use Exporter 'import';
use Fcntl qw(:flock);
use File::Copy qw(copy);
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(fetch_packages find_program pgq35_tree pgq4_tree add_pgq4 pgq35_package
  pgq35_version
  wal2json_tree);

# pgq35_package(): the name of the package that has PgQ 3 for our server.
sub pgq35_package
{
	my ($version) = `pg_config --version` =~ /^PostgreSQL (\d+)/;
	return "postgresql-$version-pgq3";
}

# fetch(PACKAGE...): their files, each once for all tests of a run; undef for those
# that are not to be had.
sub fetch
{
	my @packages = @_;
	my $cache = $ENV{PGQ_PACKAGES} // PostgreSQL::Test::Utils::tempdir();

	open(my $lock, '>', "$cache/lock") or die "$cache/lock: $!";
	flock($lock, LOCK_EX) or die "$cache/lock: $!";
	my %seen;
	my @missing = grep { !$seen{$_}++ && !-d "$cache/$_" } @packages;
	mkdir("$cache/$_") or die "$cache/$_: $!" foreach @missing;
	# all at once, since apt takes long to begin; one that is unknown spoils it
	if (@missing > 1 && download($cache, @missing))
	{
		foreach my $package (@missing)
		{
			rename($_, "$cache/$package/" . s{.*/}{}r) or die "$_: $!"
			  foreach glob("$cache/${package}_*.deb");
		}
	}
	else
	{
		download("$cache/$_", $_) foreach @missing;
	}
	return map { (glob("$cache/$_/*.deb"))[0] } @packages;
}

# our own Python or libraries will not do for another architecture
sub download
{
	my ($dir, @packages) = @_;

	return 1
	  if system("cd '$dir' && timeout 120 apt-get download @packages >/dev/null 2>&1") == 0;
	unlink(glob("$dir/*.deb"));
	return 0;
}

# fetch_packages(PACKAGE...): a folder with what is in them, from usr/ on.
# Ends the test as skipped if one is not to be had.
sub fetch_packages
{
	my @packages = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();

	my @files = fetch(@packages);

	foreach my $i (0 .. $#packages)
	{
		plan skip_all => "no package $packages[$i] to be had"
		  if !defined $files[$i] || system('dpkg-deb', '-x', $files[$i], $dir) != 0;
	}
	return $dir;
}

# find_program(NAME, PACKAGE...): where it is, and what LD_LIBRARY_PATH it needs: the
# system's, or out of these packages and the libraries that they depend on, since to
# install them would start a daemon. Ends the test as skipped if it is not to be had.
sub find_program
{
	my ($name, @packages) = @_;
	my ($program) = grep { -x } map { "$_/$name" } '/usr/sbin', split(/:/, $ENV{PATH});
	my %needed;

	return ($program, '') if $program;
	foreach my $package (@packages)
	{
		$needed{$_} = 1
		  foreach grep { !/^libc6/ }
		  `apt-cache depends $package 2>/dev/null` =~ /^ *Depends: (lib\S+|lua-\S+)$/mg;
	}
	my $dir = fetch_packages(@packages, sort keys %needed);
	($program) = grep { -x } map { "$dir/usr/$_/$name" } 'sbin', 'bin';
	plan skip_all => "no program $name in @packages" if !$program;
	return ($program,
		join(':', glob("$dir/usr/lib/*-linux-*"), glob("$dir/lib/*-linux-*")));
}

# pg_config_of(DIR or undef, OPTION): what the pg_config of a tree says.
sub pg_config_of
{
	my ($prefix, $option) = @_;
	my $program = $prefix ? "$prefix/bin/pg_config" : 'pg_config';

	chomp(my $value = `$program --$option`);
	return $value;
}

# place(FILE...): copies into the installation, as a package manager does:
# running servers keep what they have open.
sub place
{
	my ($prefix, @files) = @_;
	my $libdir = pg_config_of($prefix, 'pkglibdir');
	my $extdir = pg_config_of($prefix, 'sharedir') . '/extension';

	foreach my $file (@files)
	{
		my ($name) = $file =~ /([^\/]+)$/;
		my $to = ($name =~ /\.so$/ ? $libdir : $extdir) . "/$name";

		copy($file, "$to.new") or die "$file: $!";
		rename("$to.new", $to) or die "$to: $!";
	}
	return;
}

# extension_files(DIR): libraries, control and SQL files of unpacked packages.
sub extension_files
{
	my ($unpacked) = @_;

	return (
		glob("$unpacked/usr/lib/postgresql/*/lib/*.so"),
		glob("$unpacked/usr/share/postgresql/*/extension/*"));
}

# ours(): the files of PgQ 4 as they are installed in the tests' tree.
sub ours
{
	return (
		glob(pg_config_of(undef, 'pkglibdir') . '/pgq*.so'),
		glob(pg_config_of(undef, 'sharedir') . '/extension/pgq[.-]*'));
}

# copy_tree(): a copy of the tests' installation that the tests may change: its
# root, and the folder above bin/ in it.
sub copy_tree
{
	plan skip_all => 'scripts/check has a private tree for this, installcheck has not'
	  if !$ENV{PGQ_TREE};
	my $tree = PostgreSQL::Test::Utils::tempdir() . '/tree';
	my ($inside) = pg_config_of(undef, 'bindir') =~ /^\Q$ENV{PGQ_TREE}\E(.*)\/bin$/;

	system('cp', '-a', $ENV{PGQ_TREE}, $tree) == 0 or die 'cp failed';
	return ($tree, "$tree$inside");
}

# pgq4_tree(PACKAGE...): a copy of the tests' installation with what else is in
# these packages, to be given to new_server as install_path. Ends the test as
# skipped without them.
sub pgq4_tree
{
	my $unpacked = fetch_packages(@_);
	my (undef, $prefix) = copy_tree();

	place($prefix, extension_files($unpacked));
	return $prefix;
}

# wal2json_tree(): the same with the output plugin wal2json.
sub wal2json_tree
{
	my ($version) = `pg_config --version` =~ /^PostgreSQL (\d+)/;

	return pgq4_tree("postgresql-$version-wal2json");
}

# pgq35_tree(PACKAGE...): a copy of the tests' installation with PgQ 3.5 instead
# of ours and what else is in these packages, to be given to new_server as
# install_path. Ends the test as skipped without them.
sub pgq35_tree
{
	my $unpacked = fetch_packages(pgq35_package(), @_);
	my ($tree, $prefix) = copy_tree();

	unlink map { s/^\Q$ENV{PGQ_TREE}\E/$tree/r } ours();
	place($prefix, extension_files($unpacked));
	system('cp', '-a', glob("$unpacked/usr/share/postgresql/*/contrib"),
		"$tree/contrib") == 0 or die 'cp failed';
	return $prefix;
}

# pgq35_version(PREFIX): which 3.5 that is, by the script that creates it.
sub pgq35_version
{
	my ($prefix) = @_;
	my ($version) = map { /\/pgq--(3\.5[\d.]*)\.sql$/ }
	  glob(pg_config_of($prefix, 'sharedir') . '/extension/pgq--3.5*.sql');

	return $version // die 'no script that creates PgQ 3.5';
}

# add_pgq4(PREFIX): installs PgQ 4 over the PgQ 3.5 that is there.
sub add_pgq4
{
	my ($prefix) = @_;

	place($prefix, ours());
	return;
}

1;
