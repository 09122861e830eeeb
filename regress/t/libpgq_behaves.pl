
# libpgq does what every client promises. It has no producers, and seeking and sharing
# are calls of SQL.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../../clients/behaviours";
use Behaviours;
use PostgreSQL::Test::Utils;
use Test::More;

my $worker = PostgreSQL::Test::Utils::tempdir() . '/worker';
my $source = "$FindBin::RealBin/../../clients/behaviours/worker.c";
chomp(my $includedir = `pg_config --includedir`);
chomp(my $libdir = `pg_config --libdir`);

is(system("cc -Wall -Wextra -I$includedir -o $worker $source $libdir/libpgq.a"
		. " -L$libdir -lpq"), 0, 'the worker builds')
  or BAIL_OUT('no worker');
behaviours([$worker], without => [qw(producers_produce seek_goes_back)]);
done_testing();
