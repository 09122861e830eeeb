# Writes the whole programs of documents, as blocks of a language, into
# build/clients/LANGUAGE/programs, named after the page and heading.
#
#   doc-programs.pl LANGUAGE FENCE SUFFIX WHOLE FILE...
#
# WHOLE is what a whole program has: a regular expression.

use strict;
use warnings;

use DocBlocks;

my ($language, $fence, $suffix, $whole, @files) = @ARGV;

foreach my $file (grep { -f } @files)
{
	foreach my $block (grep { $_->{lang} eq $fence && $_->{text} =~ /$whole/ } doc_blocks($file))
	{
		my ($page) = $file =~ m{(?:clients/)?([\w/]+)\.md$};
		my $name = lc("$page-$block->{heading}") =~ s/\W+/-/gr;
		my $out = "build/clients/$language/programs/$name$suffix";

		die "two programs under one heading: $out" if -e $out;
		open(my $fh, '>', $out) or die "$out: $!";
		print $fh $block->{text};
		close $fh;
	}
}
