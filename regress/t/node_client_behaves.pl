
# The Node client does what every client promises.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../../clients/behaviours";
use Behaviours;
use Languages;
use Test::More;

behaviours(language('node')->{worker});
done_testing();
