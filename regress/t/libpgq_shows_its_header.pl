
# libpgq.so shows the functions of its header and nothing else, each under the version
# it came with, and Debian's packages know them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use Test::More;

my $top = "$FindBin::RealBin/../..";
chomp(my $libdir = `pg_config --libdir`);
chomp(my $includedir = `pg_config --includedir`);

# what is declared, read by the compiler and not by eye
my @declared = `cc -E -I$includedir $includedir/libpgq.h | tr '\\n' ' ' | tr ';' '\\n'`;
@declared = sort map { /^ *(?:# .*)?extern .*\b(pgq_\w+)\s*\([^()]*\)\s*$/ ? $1 : () }
  @declared;
cmp_ok(scalar @declared, '>', 15, 'the header declares functions');

my %shown;
foreach (`nm -D --defined-only --with-symbol-versions $libdir/libpgq.so.4`)
{
	my ($type, $name, $version) = /^\S+ (\S) ([\w.]+)(?:\@\@?(\S+))?$/ or die "nm said $_";
	$shown{$name} = $version if $type ne 'A';
}
is(join("\n", sort keys %shown), join("\n", @declared), 'the library shows them');
is(join(' ', grep { ($shown{$_} // '') !~ /^LIBPGQ_\d+\.\d+$/ } sort keys %shown),
	'', 'each under a version');

my %packaged = map { /^ (pgq_\w+)\@(\S+) (\S+)~$/ ? ($1 => "$2 $3") : () }
  split(/^/, slurp("$top/debian/libpgq4.symbols"));
is_deeply(\%packaged,
	{ map { $_ => "$shown{$_} " . $shown{$_} =~ s/^LIBPGQ_//r } keys %shown },
	"the package's list of symbols is the same");

done_testing();
