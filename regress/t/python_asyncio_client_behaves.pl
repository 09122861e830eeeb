
# The Python client on asyncio does what every client promises.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../../clients/behaviours";
use Behaviours;
use Languages;
use Test::More;

behaviours(language('python')->{worker}, options => [ 'twin=async' ]);
done_testing();
