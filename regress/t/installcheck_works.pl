
# make installcheck runs tests of all kinds with what is installed, in a server that
# runs, and fails when one of them does.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;

plan skip_all => 'it is running' if !$ENV{PGQ_TREE};

my $node = new_server('main');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $top = "$FindBin::RealBin/../..";

system('cp', '-R', (map { "$top/$_" } qw(regress scripts version.h Makefile Makefile.build
	Makefile.client)), $dir) == 0 or die 'cp failed';

# installcheck(NAME=VALUE...): exit status and what it prints
sub installcheck
{
	my @names = @_;
	my $out = '';
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;

	delete local @ENV{qw(PGQ_TREE PGQ_CONF PG_REGRESS TESTDIR TESTDATADIR TESTLOGDIR MAKEFLAGS
		MAKELEVEL)};
	IPC::Run::run([ 'make', '-C', $dir, 'installcheck', @names ],
		\undef, '>', \$out, '2>&1', IPC::Run::timeout(120));
	return ($? >> 8, $out);
}

my ($status, $out) = installcheck('REGRESS=tick ext', 'ISOLATION=queue_race',
	'PROVE_TESTS=regress/t/rolled_back_work.pl');
is($status, 0, 'it succeeds') or diag($out);
like($out, qr/All 2 tests passed|# All 2 tests passed/, 'SQL tests');
like($out, qr/All 1 tests passed|# All 1 tests passed/, 'isolation tests');
like($out, qr/^Result: PASS$/m, 'TAP tests');

append_to_file("$dir/regress/expected/tick.out", "never\n");
($status, $out) = installcheck('REGRESS=tick', 'ISOLATION=', 'PROVE_TESTS=');
isnt($status, 0, 'a test that fails is told');
like($out, qr/regression\.diffs/, 'with the file of differences');
unlike($out, qr/^Result:|isolation/m, 'what is left out is not run');

done_testing();
