
# Each change of a captured table that is refused has a way, which its hint names:
# done while others write, no row's event is lost or doubled.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create sequence number;
	create table t (id int8 primary key, v int, b text, inserted int default 1, updated int default 1);
	create table r (like t including defaults) partition by range (id);
	alter table r add primary key (id);
	create table r0 partition of r for values from (-9000000) to (1000000);
	create table r1 (like t including defaults);
	alter table r1 replica identity nothing;
	create table i (like t including defaults);
	create unique index i_id on i (id);
	alter table i replica identity using index i_id;
	create table f (like t including defaults, primary key (id));
	alter table f replica identity full;
	select pgq.create_queue('q'), pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass, 'ignore=b', 'ev_extra2=v + 1'),
		pgq.capture_table('q', 'r'::regclass), pgq.capture_table('q', 'i'::regclass, 'pkey=id'),
		pgq.capture_table('q', 'f'::regclass, 'backup')});
my $pgqd = start_pgqd($node, database_list => $db);
# "inserted" and "updated" tell under which defaults that was done
my $script = join('', "select nextval('number') as n \\gset\n", map { qq{
	insert into $_ (id, v, updated) values (':n', ':n', 0);
	begin;
	update $_ set updated = default where id = ':n';
	savepoint s;
	insert into $_ (id, v) values ('-:n', ':n');
	rollback to s;
	commit;
} } qw(t i f r));
my $load = load_start($node, $db, $script, '-c', 3, '-T', 100);

my $session = session($node, $db);

# refused(CHANGE, HINT, WAY...): the change is refused with this hint; the
# statements after it are the way.
sub refused
{
	my ($change, $hint, @way) = @_;
	my $last = sql($node, $db, q{select last_value from number});

	wait_for('writers', sub {
		sql($node, $db, 'select last_value from number') > $last + 20 });
	is($session->sqlstate($change), '55000', "refused: $change");
	like($session->{err}, $hint, 'with the way as its hint');
	$session->query($_) foreach (@way);
}

my $alter = qr/HINT: .*pgq\.alter_captured\(/;
my $arguments = qr/HINT: .*In one transaction .*pgq\.capture_table\('q', 'public\.t', .*then change/;

refused('alter table t alter id type text', $alter,
	q{select pgq.alter_captured('alter table t alter id type text')});
refused('alter table t drop constraint t_pkey', $alter,
	q{select pgq.alter_captured('alter table t drop constraint t_pkey;
		alter table t add constraint t_again primary key (id)')});
refused('alter table t replica identity nothing', $alter,
	q{select pgq.alter_captured('alter table t replica identity nothing;
		alter table t replica identity full')});
refused('alter table t drop b', $arguments, 'begin',
	q{select pgq.capture_table('q', 't', 'ev_extra2=v + 1')}, 'alter table t drop b', 'commit');
refused('alter table t alter v type text', $arguments, 'begin',
	q{select pgq.capture_table('q', 't')}, 'alter table t alter v type text',
	q{select pgq.capture_table('q', 't', 'ev_extra2=v || ''!''')}, 'commit');
refused('drop index concurrently i_id', qr/HINT: .*ALTER TABLE public\.i REPLICA IDENTITY FULL/,
	'alter table public.i replica identity full', 'drop index concurrently i_id');
refused('alter table r attach partition r1 for values from (1000000) to (2000000)', $alter,
	q{select pgq.alter_captured('alter table r attach partition r1
		for values from (1000000) to (2000000); alter table r1 replica identity default')},
	q{select setval('number', 1000000)});
refused('alter table f replica identity default', $alter, 'begin',
	q{select pgq.capture_table('q', 'f')}, 'alter table f replica identity default', 'commit');
refused('alter table t set unlogged',
	qr/HINT: .*\"select pgq\.uncapture_table\('q', 'public\.t'\)\" before, in the same transaction/,
	'begin', q{select pgq.uncapture_table('q', 't')}, 'alter table t set unlogged',
	'alter table t alter inserted set default 2, alter updated set default 2', 'commit');
refused('alter table f drop constraint f_pkey', $alter, 'begin',
	q{select pgq.capture_table('q', 'f', 'ops=insert,truncate')},
	'alter table f drop constraint f_pkey', 'alter table f add primary key (id)',
	q{select pgq.capture_table('q', 'f')}, 'commit');

my $end = sql($node, $db, 'select last_value from number');
wait_for('writers', sub { sql($node, $db, 'select last_value from number') > $end + 20 });
load_kill($load);
wait_for('the end of the writers', sub { sql($node, $db, q{select not exists (
	select from pg_stat_activity where application_name = 'pgbench')}) eq 't' });
wait_ingest($node, $db);

my %seen;
foreach my $row (@{ consume_json($node, $db, 'q', 'c') })
{
	my ($op) = $row->{ev_type} =~ /"op":"(\w)/;
	my $data = JSON::PP->new->decode($row->{ev_data});

	$seen{"$op $row->{ev_extra1} $data->{id}"}++;
}
my %rows = map { $_ => 1 } split(/\n/, sql($node, $db, q{
	with a as (select 't' as n, id, inserted, updated from t
		union all select 'r', id::text, inserted, updated from r
		union all select 'i', id::text, inserted, updated from i
		union all select 'f', id::text, inserted, updated from f)
	select 'I public.' || n || ' ' || id from a where inserted = 1
	union all select 'U public.' || n || ' ' || id from a where updated = 1}));
ok(keys %rows > 500, scalar(keys %rows) . ' rows were written');
is_deeply([ grep { !$seen{$_} } sort keys %rows ], [], 'no row is lost');
is_deeply([ grep { $seen{$_} > 1 } sort keys %seen ], [], 'nothing is doubled');
is_deeply([ grep { !$rows{$_} } sort keys %seen ], [], 'nothing is made up');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
