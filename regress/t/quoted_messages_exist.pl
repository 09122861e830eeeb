
# Each message that doc/troubleshooting.md quotes is one that the sources have, or
# one of the server's that advice.c knows; each test that it names is there. So are
# messages in blocks of the other documents.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use Test::More;

my $top = "$FindBin::RealBin/../..";

# A message as the sources have it: pieces of text, with undef for each value
# that is put in.
my (@messages, %seen);

# add_message(TEXT, REGEX): the regex finds what stands for a value
sub add_message
{
	my ($text, $value) = @_;

	$text =~ s/^\[%s\]: (?:warning: )?//;
	return if $seen{$text}++ || (() = $text =~ /[a-z]/gi) < 8;
	my @pieces;
	foreach (split(/((?:$value)+)/, $text))
	{
		next if $_ eq '';
		push @pieces, /^(?:$value)+$/ && !/^%%$/ ? undef : s/%%/%/gr;
	}
	push @messages, \@pieces
	  if (() = join('', grep { defined } @pieces) =~ /[a-z]/gi) >= 8;
	return;
}

foreach my $file (glob("$top/{event,decoder,capture,queue,consumer,common,ticker,admin,relay}/*.[ch]"))
{
	my $text = slurp($file) =~ s/\\\n/\n/gr;

	# a string, or several in a row, with macros such as INT64_FORMAT between
	while ($text =~ /("(?:[^"\\\n]|\\.)*"(?:\s*(?:[A-Z]\w+\s*)?"(?:[^"\\\n]|\\.)*")*)/g)
	{
		my $source = $1;
		my $string = '';

		while ($source =~ /\G\s*(?:"((?:[^"\\\n]|\\.)*)"|[A-Z]\w+)/g)
		{
			$string = defined $1 ? $string . $1 : $string =~ s/%?$/%s/r;
		}
		$string =~ s/\\(["\\])/$1/g;
		# and what SQL in it says
		add_message($_, qr/%[-+.*0-9]*[hlz]*[a-zA-Z]|%%|\{\d\}/)
		  foreach split(/\\n/, $string), $string =~ /'([^']+)'/g;
	}
}
foreach my $file (grep { !/--/ } glob("$top/sql/*.sql"))
{
	my $text = slurp($file);

	$text =~ s/^\s*--.*$//mg;
	while ($text =~ /'((?:[^'\n]|'')*)'/g)
	{
		add_message($1 =~ s/''/'/gr, qr/%(?:%|\d*\$?[sIL])?/);
	}
}
my @advices = map { my $like = quotemeta(s/\\"/"/gr); $like =~ s/\\\*/.*/g; qr/^$like$/ }
  slurp("$top/common/advice.c") =~ /^\t\{"(\*(?:[^"\\]|\\.)*)"/mg;
ok(@messages > 500 && @advices > 15, 'sources are there');

# is_value(TEXT): a name or a list of names, a number, a time, a size, the reason of
# a system call; or left out
sub is_value
{
	my ($text) = @_;

	return $text !~ /\s/ || $text =~ /^\w+(?:, \w+)+$/
	  || $text =~ /^[-\d:. +]+(?: ?[kMG]B)?$/
	  || $text =~ /^(?:No such file or directory|Permission denied|Address already in use)(?:…)?$/;
}

my %known;

# exists_whole(TEXT): one message, or several in a row, with values, maybe an LSN
sub exists_whole
{
	my ($text) = @_;

	return $known{$text} //= (
		$text =~ m{^(?:…|[\dA-F]+/[\dA-F]+)?$}
		  || ($text =~ /^…(.+)$/s && exists_whole($1))
		  || grep { begins_with($text, 0, @$_) } @messages) ? 1 : 0;
}

# begins_with(TEXT, DEPTH, PIECE...): this message, and others behind it
sub begins_with
{
	my ($text, $depth, @pieces) = @_;

	return $depth > 0 && exists_whole($text) if !@pieces;
	my $piece = shift @pieces;
	if (defined $piece)
	{
		return index($text, $piece) == 0
		  && begins_with(substr($text, length $piece), 1, @pieces);
	}
	# nothing to hold on to in front of a value: not the beginning of a message
	return 0 if $depth == 0 && !grep { defined && length > 8 } @pieces;
	my $next = (grep { defined } @pieces)[0];
	for (my $n = 0; $n <= length($text); $n++)
	{
		next if @pieces && substr($text, $n, length $next) ne $next;
		my $value = substr($text, 0, $n);
		return 1
		  if (is_value($value) || ($depth > 0 && exists_whole($value)))
		  && begins_with(substr($text, $n), 1, @pieces);
	}
	return 0;
}

ok(!exists_whole('this message is in no source: 12'), 'a message that is not there');
ok(!exists_whole('the replication slot is missing indeed'),
	'one that is longer than that of the sources');

my ($heading, $quoted, $named) = ('', 0, 0);
foreach my $line (split(/\n/, slurp("$top/doc/troubleshooting.md")))
{
	$heading = $1 if $line =~ /^## (.*)/;
	next if $line !~ /^\| / || $line =~ /^\| (?:---|what you see)/;
	my @cells = split(/\s*\|\s*/, $line =~ s/^\|\s*|\s*\|\s*$//gr, -1);

	is(scalar @cells, 4, "four cells: $line") if @cells != 4;
	foreach my $message ($cells[0] =~ /`([^`]+)`/g)
	{
		my $there =
			$message !~ / /                   ? 1
		  : $heading eq 'Messages of the server'
		  ? (grep { $message =~ $_ } @advices) > 0
		  : exists_whole($message);

		$quoted++;
		ok($there, "$heading: $message");
	}
	foreach my $test (split(/, /, $cells[3]))
	{
		$named++;
		ok(-f "$top/regress/t/$test.pl" || -f "$top/regress/sql/$test.sql"
			  || -f "$top/regress/specs/$test.spec", "test $test");
	}
}
ok($quoted > 80 && $named > 50, 'the tables can be read');

$quoted = 0;
foreach my $file (glob("$top/doc/*.md"), "$top/README.md")
{
	foreach my $message (
		slurp($file) =~ /^(?:(?:ERROR|WARNING|NOTICE|DETAIL|HINT):  |(?:problem|warning)  [a-z ]+  )(.*)$/mg)
	{
		$quoted++;
		ok(exists_whole($message), $file =~ s/.*\///r . ": $message");
	}
}
ok($quoted > 3, 'blocks can be read');

done_testing();
