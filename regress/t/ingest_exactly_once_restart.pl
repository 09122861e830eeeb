
# pgqd is killed again and again while clients write: every committed row is in
# the queue exactly once, in the order of the commits.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('main', conf => "max_connections = 40\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table counter (client int primary key, n int not null);
	insert into counter select i, 0 from generate_series(0, 3) i;
	create table t (client int, n int, primary key (client, n));
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass);
});

# Each client numbers its own rows; now and then it rolls back.
my $script = q{
\set undo random(1, 10)
begin;
update counter set n = n + 1 where client = :client_id returning n as n \gset
insert into t values (:client_id, :n);
\if :undo = 1
rollback;
\else
commit;
\endif
};
my $pgqd = start_pgqd($node);
my $load = load_start($node, $db, $script, '-c', 4, '-j', 1, '-T', 12, '-R', 800);

foreach my $i (1 .. 6)
{
	sleep(1.5);
	$pgqd->kill9;
	$pgqd->start;
}
load_stop($load);

# The server's crash loses no more than pgqd's.
$node->stop('immediate');
$node->start;
wait_ingest($node, $db);

my $got = consume($node, $db, 'q', 'c',
	q{ev_data::json->>'client' || ' ' || (ev_data::json->>'n')});
my $rows = sql($node, $db, q{select client || ' ' || n from t order by client, n});
my %clients;

foreach (@$got)
{
	my ($client, $n) = split / /;
	push @{ $clients{$client} }, "$client $n";
}
cmp_ok(scalar @$got, '>', 1000, 'there was a load');
is(scalar @$got, scalar(split /\n/, $rows), 'as many events as rows');
is(join("\n", map { @{ $clients{$_} } } sort keys %clients),
	$rows, "each row once, each client's in its order");

done_testing();
