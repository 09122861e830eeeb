
# Where processes spend their CPU: perf's samples of them, drawn as a flame graph. Each
# box is a function, as wide as its share, above the one that called it.

package FlameGraph;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run ();
use List::Util qw(max);
use PostgreSQL::Test::Utils;

our @EXPORT_OK = qw(flame_graph);

my ($width, $line) = (1000, 15);
my %colours = (ours => '#f4a582', kernel => '#bababa', other => '#92c5de');

# Whose is a function of this file?
sub owner
{
	my ($dso) = @_;

	return $dso =~ /\bkernel\b|vdso/ ? 'kernel' : $dso =~ /pgq/ ? 'ours' : 'other';
}

# read_samples(DATA, NAMES): a tree of boxes { n, owner, boxes { name => box } }, first by
# process; NAMES has those of process ids.
sub read_samples
{
	my ($data, $names) = @_;
	my $root = { n => 0, owner => 'other', boxes => {} };
	my ($text, $err);

	IPC::Run::run([ 'perf', 'script', '-i', $data, '--no-inline', '-F', 'comm,pid,ip,sym,dso' ],
		'>', \$text, '2>', \$err)
	  or die "perf script: $err";
	foreach my $sample (split(/\n\n+/, $text))
	{
		my ($head, @frames) = split(/\n/, $sample);
		my ($comm, $pid) = $head =~ /^\s*(.*?)\s+(\d+)\s*$/ or next;
		my @stack = map { /^\s*[0-9a-f]+ (.*) \((.*)\)$/ ? [ $1, owner($2) ] : () } @frames;
		my $box = $root;

		$box->{n}++;
		foreach my $frame ([ $names->{$pid} // $comm, 'other' ], reverse @stack)
		{
			my ($name, $owner) = @$frame;

			$name = 'static functions' if $name eq '[unknown]';
			$box = $box->{boxes}{$name} //= { n => 0, owner => $owner, boxes => {} };
			$box->{n}++;
		}
	}
	return $root;
}

sub depth
{
	my ($box) = @_;

	return 1 + max(0, map { depth($_) } values %{ $box->{boxes} });
}

# draw(BOX, NAME, X, Y, PIXELS A SAMPLE): as text of SVG, with those above it.
sub draw
{
	my ($box, $name, $x, $y, $scale) = @_;
	my $w = $box->{n} * $scale;
	my $label = $w < 30 ? '' : substr($name, 0, int($w / 5.7));

	return '' if $w < 0.5;
	s/&/&amp;/g, s/</&lt;/g, s/>/&gt;/g foreach $label, $name;
	my $svg = sprintf(
		qq{<g><title>%s: %d</title><rect x="%.1f" y="%d" width="%.1f" height="%d" }
		  . qq{fill="%s" stroke="white" stroke-width="0.5"/>%s</g>\n},
		$name, $box->{n}, $x, $y, $w, $line, $colours{ $box->{owner} },
		$label eq '' ? '' : sprintf('<text x="%.1f" y="%d">%s</text>', $x + 2, $y + 11, $label));
	foreach my $above (sort keys %{ $box->{boxes} })
	{
		$svg .= draw($box->{boxes}{$above}, $above, $x, $y - $line, $scale);
		$x += $box->{boxes}{$above}{n} * $scale;
	}
	return $svg;
}

# flame_graph(DATA, FILE, TITLE, NAMES): FILE is an SVG of what perf recorded in DATA, of
# processes with NAMES by id.
sub flame_graph
{
	my ($data, $file, $title, $names) = @_;
	my $root = read_samples($data, $names);
	my $height = $line * (depth($root) + 2);

	die "perf saw nothing\n" if !$root->{n};
	PostgreSQL::Test::Utils::append_to_file($file,
		qq{<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" }
		  . qq{font-family="sans-serif" font-size="10">\n}
		  . draw($root, "$title: $root->{n} samples", 0, $height - $line, $width / $root->{n})
		  . "</svg>\n");
	return;
}

1;
