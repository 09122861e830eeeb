
# Measures PgQ beside its peers on private servers, in one run, and prints ratios.
# Called by scripts/bench, which says what can be asked for. Each group is a room
# of its own; BenchTools.pm has what they share.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use BenchTools;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my %groups = (
	writer => 'BenchWriter',
	backlog => 'BenchBacklog',
	latency => 'BenchLatency',
	awaited => 'BenchAwaited',
	shares => 'BenchShares',
	queue => 'BenchQueue',
	growth => 'BenchGrowth',
	bloat => 'BenchBloat',
	held => 'BenchHeld',
	relay => 'BenchRelay',
	source => 'BenchSource',
	large => 'BenchLarge',
	debezium => 'BenchDebezium');
my @usual = qw(writer backlog latency awaited shares queue);
push @usual, qw(growth bloat held relay source large) if $smoke;
my @wanted = split(/,/, $ENV{BENCH_ONLY} // '');

# a backlog takes its time
$PgqTest::patience = 600 if !$smoke;

foreach my $group (@wanted ? @wanted : @usual)
{
	my $room = $groups{$group} or die "no group \"$group\"\n";

	require "$room.pm";
	BenchTools::begin_group($group);
	$room->can('bench')->();
	ok(1, "$group was measured");
}
done_testing();
