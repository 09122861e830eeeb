
# Columns, storage, identity and partitions change while others write: every row
# comes once, under the names that it had, with the expression over its value.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create sequence number;
	create table t (id int8, a text, b int8, primary key (id)) partition by range (id);
	create table p0 (like t); alter table p0 add primary key (id);
	create table p1 (bb int8, gone int, id int8 not null, "the a" text, primary key (id));
	alter table p1 drop gone;
	alter table t attach partition p0 for values from (0) to (100000000);
	create table s (id int8 primary key, a text, b int8);
	select pgq.create_queue('q'), pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass, 'ignore=a', 'ev_extra2=b + 1'),
		pgq.capture_table('q', 's'::regclass, 'when=b > 0', 'ev_extra2=b + 1')});
my $pgqd = start_pgqd($node, database_list => $db);
my $load = load_start($node, $db, q{
	select nextval('number') as n \gset
	insert into t values (:n, 'x', :n * 2);
	insert into s values (:n, 'x', :n * 2);
	update s set id = id where id = :n;
	begin;
	insert into s values (-:n, 'x', :n * 2);
	rollback;
}, '-c', 3, '-T', 6);
wait_for('writers', sub { sql($node, $db, 'select count(*) from s') > 100 });

my $changes = session($node, $db);
my @changes = (
	'alter table t rename b to bb', 'alter table s rename b to "B b"',
	'alter table t rename a to "the a"', 'alter table t add c numeric default 5',
	'alter table s add c int default length(random()::text)', 'vacuum full s',
	'alter table s replica identity full', 'alter table p0 replica identity full',
	'begin; alter table t rename bb to b; alter table s rename "B b" to x; rollback',
	'alter table t alter c type int', 'alter table s alter a type varchar(80)',
	'alter table s drop c', 'alter table t drop c', 'cluster s using s_pkey',
	'alter table t attach partition p1 for values from (100000000) to (200000000)',
	q{select setval('number', 100000000)},
	'alter table s replica identity default', 'alter table p0 replica identity default',
	'alter table s rename "B b" to b', 'alter table t rename bb to b',
	'alter table t rename "the a" to a', 'create index on s (b)',
	q{select pgq.capture_table('q', 's'::regclass, 'when=b > 0', 'ev_extra2=b + 1', 'pkey=id')});
foreach (@changes)
{
	$changes->query($_);
	select(undef, undef, undef, 0.15);
}
load_stop($load);
wait_ingest($node, $db);

my %seen;
my %names;
foreach my $row (@{ consume_json($node, $db, 'q', 'c') })
{
	my ($op) = $row->{ev_type} =~ /"op":"(\w)/;
	my $data = JSON::PP->new->decode($row->{ev_data});
	my ($name) = grep { /^b/i } sort keys %$data;

	$seen{"$op $row->{ev_extra1} $data->{id} $data->{$name} $row->{ev_extra2}"}++;
	$names{"$row->{ev_extra1} $name"}++;
}
my %want = map { $_ => 1 } split(/\n/, sql($node, $db, q{
	select concat_ws(' ', 'I public.t', id, b, b + 1) from t
	union all select concat_ws(' ', op, 'public.s', id, b, b + 1)
	from s, unnest('{I,U}'::text[]) op}));
ok(keys %want > 1000, scalar(keys %want) . ' rows were written');
is_deeply([ grep { !$seen{$_} } sort keys %want ], [], 'nothing is lost');
is_deeply([ grep { $seen{$_} > 1 } sort keys %seen ], [], 'nothing is doubled');
is_deeply([ grep { !$want{$_} } sort keys %seen ], [], 'nothing is made up');
is_deeply([ sort keys %names ],
	[ 'public.s B b', 'public.s b', 'public.t b', 'public.t bb' ], 'all names came');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
