# A switchover of Patroni, and kill -9 of the primary, lose and double nothing: two
# of the cases of scripts/check-cluster, where Patroni and etcd are installed.

use strict;
use warnings;

use PatroniLedger;
use Test::More;

start_cluster(1);
survives('switchover', \&switches_over);
survives('kill -9 of PostgreSQL', \&kills_server);
end_cluster();
done_testing();
