
# The fenced blocks of a Markdown file, for tests that run what a document says.

package DocBlocks;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(doc_blocks);

# doc_blocks(FILE): for each block, in order, a hash of its language (the word
# behind the fence, or ''), its note (what stands behind that), its text, and the
# heading that it stands under.
sub doc_blocks
{
	my ($file) = @_;
	my ($block, @blocks);
	my $heading = '';

	open(my $fh, '<', $file) or die "can't read $file: $!";
	while (my $line = <$fh>)
	{
		if ($line =~ /^ *```\s*(\S*)\s*(.*?)\s*$/)
		{
			push @blocks, $block if $block;
			$block =
			  $block
			  ? undef
			  : { lang => $1, note => $2, heading => $heading, text => '' };
		}
		elsif ($block)
		{
			$block->{text} .= $line;
		}
		elsif ($line =~ /^#+ (.*)/)
		{
			$heading = $1;
		}
	}
	die "$file: a block is not closed\n" if $block;
	return @blocks;
}

1;
