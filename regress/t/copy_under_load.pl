# Tables are copied into queues while clients insert, update, delete and
# truncate: the rows rebuilt from the events equal the source, and each row's
# copy comes once and before its changes.
#
# Longer with COPY_ROWS (8000) and COPY_SECONDS (5) in the environment.

use strict;
use warnings;

use PgqCopy;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $rows = $ENV{COPY_ROWS} // 8000;
my $seconds = $ENV{COPY_SECONDS} // 5;
my $node = new_server('main', conf => "max_connections = 40\n");
my $db = new_database($node, 'shop');

sql($node, $db, qq{
	create table plain (id int primary key, n int, pad text);
	create table parted (id int primary key, n int, pad text)
		partition by range (id);
	create table parted_1 partition of parted for values from (minvalue) to (5000);
	-- other column order, and a dropped column
	create table parted_2 (gone int, pad text, n int, id int not null);
	alter table parted_2 drop column gone;
	alter table parted attach partition parted_2 for values from (5000) to (maxvalue);
	create table for_sql (id int primary key, n int, pad text);
	insert into plain select i, 0, repeat('x', i % 50)
		from generate_series(1, $rows) i;
	insert into parted select * from plain;
	insert into for_sql select * from plain;
	-- values out of line, and one that old rows don't have
	insert into plain select -i, 0, string_agg(md5(i::text || j), '')
		from generate_series(1, 20) i, generate_series(1, 500) j group by i;
	alter table plain add m int default 7;
	alter table plain replica identity full;
	create schema mine;
	create table mine.for_sql (like for_sql including all);
	create table slow (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.create_queue('s');
	select pgq.register_consumer('s', 'c');
});

# What clients do to a table; some of it is rolled back.
sub script
{
	my ($table) = @_;
	my $ids = int($rows * 1.2);

	return qq{
\\set id random(1, $ids)
\\set what random(1, 100)
begin;
\\if :what <= 35
insert into $table (id, n, pad) values (:id, 1, 'new') on conflict do nothing;
\\elif :what <= 85
update $table set n = n + 1 where id = :id;
\\else
delete from $table where id = :id;
\\endif
\\if :what % 10 = 0
rollback;
\\else
commit;
\\endif
};
}

my $pgqd = start_pgqd($node);
my @loads = map {
	load_start($node, $db, script($_), '-c', 2, '-j', 1, '-T', $seconds, '-R', 300)
} qw(plain parted for_sql);

sleep(1);
sql($node, $db, q{
	select pgq.capture_table('q', 'plain'::regclass, 'copy');
	select pgq.capture_table('s', 'for_sql'::regclass, 'copy', 'format=sql');
	select pgq.capture_table('q', 'parted'::regclass, 'copy')});
wait_copied($node, $db);
# may wait for a copy, and comes behind it
sql($node, $db, q{select pgq.capture_table('q', 'plain'::regclass, 'copy')});
wait_for('second copy', sub { copy_state($node, $db, 'public.plain') ne 'waiting' });
sql($node, $db, 'truncate plain; truncate parted_1');
wait_copied($node, $db);
load_stop($_) foreach @loads;
wait_ingest($node, $db);

my $r = new_replica($node, $db, 'q', 'c',
	partitions => { 'public.parted_1' => [ 'public.parted', sub { $_[0] < 5000 } ] });
replica_read($r);
note("$r->{events} events, $r->{copied} of them copies");
replica_is($r, 'json', 'public.plain', 'public.parted');
cmp_ok($r->{copied}, '>', $rows * 2, 'rows were copied, those of one table twice');
cmp_ok($r->{events} - $r->{copied}, '>', 100, 'there was a load');

# the sql format: its statements make the same table elsewhere
my $events = consume($node, $db, 's', 'c',
	q{case ev_type when 'I' then 'insert into ' when 'U' then 'update '
		when 'D' then 'delete from ' end || 'mine.for_sql '
		|| case ev_type when 'U' then 'set ' when 'D' then 'where ' else '' end
		|| ev_data});
my $apply = join("\n", map { "with x as ($_ returning 1) select one(count(*)) from x;" } @$events);
sql($node, $db, q{create function one(n int8) returns void language plpgsql as
	$$ begin if n <> 1 then raise 'an event hits % rows', n; end if; end $$});
my ($rc, $out, $err) = $node->psql($db, "\\set ON_ERROR_STOP 1\n$apply");
is($err, '', 'sql: each statement hits one row');
is(sql($node, $db, q{
	select count(*) from (select * from for_sql except select * from mine.for_sql) a
	union all
	select count(*) from (select * from mine.for_sql except select * from for_sql) b}),
	"0\n0", 'sql: they make the same table');

# nothing is left of it
is(sql($node, $db, 'select count(*) from pgq.held_event'), '0', 'nothing is held any more');
is(sql($node, $db, 'select count(*) from pgq.capture where cap_copy is not null'),
	'0', 'no mark names a copy any more');
is(sql($node, $db, q{select string_agg(state, ' ') from pgq.get_capture_info()}),
	'ok ok ok', 'the captures are in order');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
