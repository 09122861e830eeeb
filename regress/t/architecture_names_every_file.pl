
# doc/architecture.md names each source file below its folder, and none that is
# not there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my ($rooms) = slurp("$top/doc/architecture.md") =~ /^## Rooms\n(.*?)^## /ms;
my %named;

# parts begin with the folder in bold; a folder may have more than one
my ($head, @parts) = split(/^\*\*`(\w+)\/`\*\*/m, $rooms);
while (my ($folder, $text) = splice(@parts, 0, 2))
{
	foreach my $line (grep { /^\| `/ } split(/\n/, $text))
	{
		my ($files) = $line =~ /^\| (.*?) \|/;

		foreach my $file ($files =~ /`([^`]+)`/g)
		{
			ok(!$named{"$folder/$file"}++, "$folder/$file once");
			ok(-f "$top/$folder/$file", "$folder/$file is there");
		}
	}
}

my @files = grep { !/--/ }
  map { glob("$top/$_") } map { ("$_/*.c", "$_/*.h", "$_/*.sql", "$_/*/*.[ch]") }
  qw(event decoder capture queue sql ticker admin common consumer);
ok(@files > 150, 'sources are there');
is(join(' ', grep { !$named{$_} } map { substr($_, 1 + length $top) } @files),
	'', 'each is named');

done_testing();
