
# ALTER EXTENSION pgq UPDATE from PgQ 3 keeps queues, positions, open batches,
# retries, half-done rotations, triggers, views and grants, and leaves the
# catalogue that a new installation has.

use strict;
use warnings;

use PgqCatalogue;
use PgqDebian;
use PgqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $prefix = pgq35_tree();
my $v35 = pgq35_version($prefix);
add_pgq4($prefix);
my $node = new_server('upgrade', install_path => $prefix);

new_database($node, 'fresh', slot => 0);
my @fresh = catalogue_of($node, 'fresh');
cmp_ok(scalar @fresh, '>', 300, 'a new installation, for comparison');

# differences(DATABASE): of its catalogue from that of a new installation
sub differences
{
	my ($db) = @_;

	return differences_of(\@fresh, [ catalogue_of($node, $db) ]);
}

# Every version that can be upgraded. Those before 3.5 are 3.5's catalogue
# under another number; early ones lack a column and forbid a NULL.
sub old_database
{
	my ($db, $version) = @_;

	sql($node, 'postgres', "create database \"$db\"");
	sql($node, $db, "create extension pgq version '$v35'");
	sql($node, $db,
		"update pg_extension set extversion = '$version' where extname = 'pgq'");
	sql(
		$node, $db, q{
		alter table pgq.queue drop column queue_extra_maint;
		alter table pgq.subscription alter column sub_last_tick set not null;
	}) if $version =~ /^3\.2/;
	sql($node, $db, "select pgq.create_queue('q')");
	return;
}

foreach my $version (
	qw(3.2 3.2.3 3.2.6 3.3.1 3.4 3.4.1 3.4.2 3.5 3.5.1 3.5.2))
{
	old_database("v$version", $version);
	sql($node, "v$version", q{alter extension pgq update});
	is(differences("v$version"), '',
		"upgraded from $version it is as if installed anew");
	sql($node, 'postgres', "drop database \"v$version\"");
}

sql($node, 'postgres', 'create database plain');
$node->command_ok(
	[
		'psql', '-Xq', '-d', $node->connstr('plain'), '-f',
		$prefix =~ s/\/usr\/.*//r . '/contrib/pgq.sql'
	],
	'PgQ 3.5 from plain SQL files');
sql($node, 'plain', "select pgq.create_queue('q')");
sql($node, 'plain', "create extension pgq version 'unpackaged'");
sql($node, 'plain', 'alter extension pgq update');
is(differences('plain'), '', 'becomes an extension, as if installed anew');
is( sql(
		$node, 'plain', q{
		select pgq.insert_event('q', 't', 'd'), pgq.drop_queue('q')}),
	'1|1',
	'with its queues');
sql($node, 'postgres', 'create database none');
my ($rc, $out, $err) =
  $node->psql('none', q{create extension pgq version 'unpackaged'});
like($err, qr/there is no PgQ 3 in this database/,
	'no PgQ: nothing to be taken in');

# A database in the middle of everything.
old_database('busy', '3.5');
sql($node, 'busy', $_)
  for (
	q{create role app; create role producer in role pgq_writer},
	q{update pgq.queue set queue_ticker_max_lag = '0', queue_rotation_period = '0'},
	q{select pgq.register_consumer('q', 'c1'), pgq.register_consumer('q', 'c2')},
	q{create table item (id int primary key, note text)},
	q{create trigger "My trigger" after insert or update or delete on item
		for each row execute function pgq.logutriga('q', 'ignore=note')},
	q{create view queues as select * from pgq.get_queue_info()},
	q{create view lag as select consumer_name, pending_events
		from pgq.get_consumer_info('q')},
	q{create function pgq.mine() returns int language sql as 'select 1'},
	q{grant select on pgq.retry_queue to app},
	q{grant execute on function pgq.create_queue(text) to app},
	q{select pgq.insert_event('q', 't', 'first')},
	q{insert into item values (1)},
	q{select pgq.ticker('q')},
	q{select pgq.next_batch('q', 'c1')},
	q{select pgq.event_retry(1, 1, 0), pgq.event_retry(1, 2, 3600)},
	q{select pgq.next_batch('q', 'c2')},
	q{select pgq.finish_batch(2)},
	q{select pgq.insert_event('q', 't', 'second')},
	q{update pgq.subscription set sub_last_tick = 2 where sub_batch is null},
	q{select pgq.create_queue('half')},
	q{select pgq.register_consumer('half', 'c1')},
	q{update pgq.queue set queue_rotation_period = '0' where queue_name = 'half'},
	q{select pgq.insert_event('half', 't', 'before')},
	q{select pgq.force_tick('half')}, q{select pgq.ticker('half')},
	q{select pgq.next_batch('half', 'c1')}, q{select pgq.finish_batch(3)},
	q{select pgq.maint_rotate_tables_step1('half')},
	q{select pgq.insert_event('half', 't', 'between')});
is( sql(
		$node, 'busy', q{select queue_cur_table, queue_switch_step2
			from pgq.queue where queue_name = 'half'}),
	'1|', 'a rotation is half done');

my $columns = columns_of($node, 'busy', 'pgq');
my @rows = rows_of($node, 'busy', $columns);
my $triggers = q{select oid, tgname, tgfoid, tgargs from pg_trigger
	where not tgisinternal and tgname !~ '^(forget_(bookmark|relay)|switch_ddl)$' order by oid};
my $events = q{select * from pgq.get_batch_events(1)};
my %before = map { $_ => sql($node, 'busy', $_) } ($triggers, $events);

sql($node, 'busy', 'alter extension pgq update');
is(sql($node, 'busy', 'select pgq.version()'), pgq_version(), 'upgraded');
is(differences_of(\@rows, [ rows_of($node, 'busy', $columns) ]), '', 'rows stay');
is(sql($node, 'busy', $_), $before{$_}, 'triggers and open batch stay')
  foreach ($triggers, $events);
is( sql(
		$node, 'busy', q{
		select has_table_privilege('app', 'pgq.retry_queue', 'select'),
			has_function_privilege('app', 'pgq.create_queue(text)', 'execute'),
			has_function_privilege('producer', 'pgq.mine()', 'execute'),
			pg_has_role('producer', 'pgq_writer', 'member'),
			has_function_privilege('public', 'pgq.drop_queue(text)', 'execute')}),
	't|t|t|t|f',
	'so do grants');
is( sql(
		$node, 'busy', q{select queue_name, queue_ntables, last_tick_id
			from queues order by 1}),
	"half|3|2\nq|3|2",
	'views go on working');
is( sql(
		$node, 'busy', 'select evt_relid, evt_queue from pgq.event_table
			order by evt_relid::text'),
	join("\n", (map { "pgq.event_1_$_|q" } 0 .. 2),
		map { "pgq.event_2_$_|half" } 0 .. 2),
	'event tables are registered');

is(sql($node, 'busy', 'select pgq.finish_batch(1)'), '1', 'finish the batch');
is(sql($node, 'busy', 'select pgq.maint_retry_events()'),
	'1', 'an event comes back, another waits');
sql($node, 'busy',
	q{set session_replication_role = replica; insert into item values (2)});
sql($node, 'busy', q{insert into item values (3)});
is_deeply(
	consume($node, 'busy', 'q', 'c1', q{ev_data || '/' || coalesce(ev_retry, 0)}),
	[ 'first/1', 'second/0', 'id=3/0' ],
	'the next ones hold what was retried, inserted and triggered since');
is_deeply(
	consume($node, 'busy', 'q', 'c2', 'ev_data'),
	[ 'second', 'id=3' ],
	'without the retried one for the other consumer');

like(
	sql($node, 'busy', 'select func_name, func_arg from pgq.maint_operations()'),
	qr/^pgq\.maint_rotate_tables_step2\|$/m,
	'the rotation is to be completed');
sql($node, 'busy', q{select pgq.insert_event('half', 't', 'after')});
sql($node, 'busy', 'select pgq.maint_rotate_tables_step2()');
sql($node, 'busy', q{select pgq.insert_event('half', 't', 'last')});
is_deeply(
	consume($node, 'busy', 'half', 'c1', 'ev_data'),
	[qw(between after last)],
	'and loses nothing');
is( sql(
		$node, 'busy', q{
		select pgq.maint_rotate_tables_step1('half');
		select queue_cur_table from pgq.queue where queue_name = 'half'}),
	"0\n2",
	'the next rotation follows');
is( sql(
		$node, 'busy', q{select pgq.create_queue('new'),
			pgq.register_consumer('new', 'c3'),
			pgq.unregister_consumer('new', 'c3'), pgq.drop_queue('new'),
			pgq.drop_queue('q', true)}),
	'1|1|1|1|1', 'queues come and go');
is(sql($node, 'busy', 'select count(*) from pgq.event_table'),
	'3', 'and their event tables');

# What can not be upgraded is refused, with nothing changed.
old_database('odd', '3.5');
foreach ([ 'add x int not null default 5', 'drop x', qr/column "x"/ ],
	[ 'add x int default 5', 'drop x', qr/column "x"/ ],
	[ 'alter ev_data set not null', 'alter ev_data drop not null', qr/column "ev_data"/ ],
	[ q{add constraint k check (ev_type <> '')}, 'drop constraint k', qr/constraint "k"/ ])
{
	my ($change, $back, $what) = @$_;

	sql($node, 'odd', "alter table pgq.event_1 $change");
	my (undef, undef, $error) = $node->psql('odd', 'alter extension pgq update');
	like($error, qr/event table pgq\.event_1 has the $what.*HINT:  Run ALTER TABLE/s,
		"an event table after $change is refused with a way out");
	sql($node, 'odd', "alter table pgq.event_1 $back");
}
sql($node, 'odd', q{
	create schema mine;
	alter table pgq.event_1 set schema mine;
	update pgq.queue set queue_data_pfx = 'mine.event_1'});
my $before = sql($node, 'odd', 'select pgq.version()');
($rc, $out, $err) = $node->psql('odd', 'alter extension pgq update');
like(
	$err,
	qr/queue "q" uses relations of other names.*HINT:  Rename them to pgq\.event_1_/s,
	'a queue with tables elsewhere is refused with a way out');
is(sql($node, 'odd', 'select pgq.version()'), $before, 'and nothing is changed');

# The administrator who upgrades need not be the one who installed.
sql($node, 'postgres', 'create database owned; ');
sql($node, 'owned', qq{
	create role boss superuser;
	set session authorization boss;
	create extension pgq version '$v35';
	reset session authorization;
	alter role boss nosuperuser;
	alter extension pgq update});
is( sql(
		$node, 'owned', q{
		select count(*) filter (where relname !~ '^pg_toast'),
			count(*) filter (where pg_get_userbyid(relowner) <> 'boss')
		from pg_class where relnamespace = 'pgq'::regnamespace}) =~ /\|0$/,
	1,
	'new tables belong to the owner of the old ones');
is( sql(
		$node, 'owned', q{
		grant pgq_admin to app; set role app;
		select pgq.create_queue('q'), pgq.drop_queue('q', true)}),
	'1|1',
	'whose functions can use them');

# A dump of PgQ 3 brings rows that know nothing of version 4's tables.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/old.sql';
old_database('dumped', '3.5');
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('dumped') ],
	'a dump of PgQ 3.5');
sql($node, 'postgres', 'create database restored');
$node->command_ok(
	[
		'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr('restored'), '-f', $dump
	],
	'restored, it has PgQ 4');
is( sql(
		$node, 'restored', q{
		select pgq.version(), pgq.upgrade_schema();
		select count(*) from pgq.event_table}),
	pgq_version() . "|0\n3",
	'upgrade_schema registers its event tables');

done_testing();
