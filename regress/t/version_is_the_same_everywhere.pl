
# Wherever the version stands it is that of version.h, and what is installed tells it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my ($version) = slurp("$top/version.h") =~ /^#define PGQ_VERSION "(\d+\.\d+)"$/m;
my ($major) = $version =~ /^(\d+)/;

like($version, qr/^\d+\.\d+$/, 'there is one');
foreach my $name (qw(pgq pgq_coop pgq_ext))
{
	my ($told) = slurp("$top/$name.control") =~ /^default_version = '(.*)'$/m;
	is($told, $version, "$name.control");
}
foreach my $page (glob("$top/doc/man/*.[1-9]"))
{
	my ($told) = slurp($page) =~ /^\.TH .* "PgQ (\S+)" /;
	is($told, $version, $page =~ s/.*\///r);
}
like(slurp("$top/debian/changelog"), qr/^pgq4 \(\Q$version\E-\d+\) /, 'debian/changelog');
foreach my $file ('control', 'control.in')
{
	my ($told) = slurp("$top/debian/$file") =~ /^Recommends: pgqd \(>= (.*)~\)$/m;
	is($told, $version, "debian/$file");
}
foreach my $file (qw(python/pyproject.toml node/package.json node/package-lock.json))
{
	my ($told) = slurp("$top/clients/$file") =~ /^ *"?version"?(?: =|:) "(.*)",?$/m;
	is($told, "$version.0", "clients/$file");
}
my ($newest) = slurp("$top/CHANGELOG.md") =~ /^## (\S+)/m;
is($newest, $version, 'CHANGELOG.md');

is(`pgqd -V`, "pgqd version $version\n", 'pgqd');
is(`pgqadm -V`, "pgqadm version $version\n", 'pgqadm');
SKIP:
{
	skip('pgqrelay was not built', 1) if system('command -v pgqrelay >/dev/null') != 0;
	like(`pgqrelay -V`, qr/^pgqrelay version \Q$version\E\n/, 'pgqrelay');
}
is(pgq_version(), $version, 'the extension');
chomp(my $libdir = `pg_config --libdir`);
is(`PKG_CONFIG_PATH=$libdir/pkgconfig pkg-config --modversion libpgq`, "$version\n",
	'libpgq.pc');
ok(-e "$libdir/libpgq.so.$major", 'libpgq.so');

done_testing();
