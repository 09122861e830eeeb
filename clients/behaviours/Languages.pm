
# The languages that there are clients for, as scripts/build-clients has built them, and
# whether this machine has what they need. Tests of those that it has not are skipped,
# by name.

package Languages;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use PgqTest;
use Test::More;

our @EXPORT = qw(languages language);

my $top = abs_path(dirname(__FILE__) . '/../..');

# Each with its name, the command of its worker, the programs of its documents (name =>
# command), and what is missing here, '' if nothing is.
sub languages
{
	return map { one(@$_) } (
		[ 'python', \&python ],
		[ 'go', sub { (undef, "$top/built/go/worker") } ],
		[ 'node', sub { my $node = found('node'); ($node, $node, "$top/built/node/worker.mjs") } ]);
}

# language(NAME): one of them; ends the test as skipped if something is missing.
sub language
{
	my ($name) = @_;
	my ($language) = grep { $_->{name} eq $name } languages();

	plan skip_all => $language->{missing} if $language->{missing};
	return $language;
}

sub one
{
	my ($name, $about) = @_;
	my $built = "$top/built/$name";
	my ($run, @worker) = $about->();
	my %programs;

	foreach my $file (glob("$built/programs/*"))
	{
		my ($program) = $file =~ m{([^/]+?)(?:\.\w+)?$};

		# compiled ones stand beside their source
		$programs{$program} = $run ? [ $run, $file ] : [$file] if $run || -x $file;
	}
	return {
		name => $name,
		worker => \@worker,
		programs => \%programs,
		missing => -f "$built/missing" ? slurp("$built/missing") =~ s/\n//r
		: !$worker[0] || !-x $worker[0] ? "clients/$name was not built"
		: '',
	};
}

# found(PROGRAM): where it is in the PATH, or ''
sub found
{
	my ($program) = @_;
	return (grep { -x } map { "$_/$program" } split(/:/, $ENV{PATH}))[0] // '';
}

# The system's Python: those of users are often closed to others.
sub python
{
	my $python = $ENV{PGQ_PYTHON} // '/usr/bin/python3';

	$ENV{PYTHONPATH} = "$top/clients/python/src";
	$ENV{PYTHONDONTWRITEBYTECODE} = 1;
	return ('', '')
	  if system("$python -c 'import psycopg, sys; assert sys.version_info >= (3, 10)'"
		  . ' 2>/dev/null') != 0;
	return ($python, $python, "$top/clients/behaviours/worker.py");
}

1;
