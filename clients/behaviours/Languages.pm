
# The languages that there are clients for, and whether this machine has what they
# need. Tests of those that it has not are skipped, by name.

package Languages;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use Test::More;

our @EXPORT = qw(languages language);

my $clients = abs_path(dirname(__FILE__) . '/..');

# Each with its name, the command of its worker, how a program in it is run, what its
# programs look like (suffix, fence in documents, what a whole program has), and what is
# missing here, '' if nothing is.
sub languages
{
	return (python());
}

# language(NAME): one of them; ends the test as skipped if something is missing.
sub language
{
	my ($name) = @_;
	my ($language) = grep { $_->{name} eq $name } languages();

	plan skip_all => $language->{missing} if $language->{missing};
	return $language;
}

# The system's Python: those of users are often closed to others.
sub python
{
	my $python = $ENV{PGQ_PYTHON} // '/usr/bin/python3';
	my $there = system("$python -c 'import psycopg, sys; assert sys.version_info >= (3, 10)'"
		  . ' 2>/dev/null') == 0;

	$ENV{PYTHONPATH} = "$clients/python/src";
	$ENV{PYTHONDONTWRITEBYTECODE} = 1;
	return {
		name => 'python',
		missing => $there ? '' : 'no Python 3.10 with psycopg 3',
		worker => [ $python, "$clients/behaviours/worker.py" ],
		run => sub { ($python, @_) },
		suffix => '.py',
		fence => 'python',
		whole => qr/Consumer\("dbname|psycopg\.connect/,
	};
}

1;
