
# scripts/bench measures what it says: its queries run and events arrive. How
# fast is not asked here.

use strict;
use warnings;

use FindBin;

$ENV{BENCH_SMOKE} = 1;
exec $^X, (map { "-I$_" } @INC), "$FindBin::RealBin/../bench/bench.pl"
  or die $!;
