
# Who may do what is as the table in doc/security.md says: every cell is tried.
# Each action has statements here, which between them call every function and
# touch every table of the extension. A cell says "yes" when the role can run
# all of them, "no" when it is refused each one for want of rights.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'roles', slot => 0);

# The columns of the table, and how such a role is made.
my %make = (
	anybody => '',
	reader => 'in role pgq_reader',
	writer => 'in role pgq_writer',
	admin => 'in role pgq_admin',
	owner => '',
	'owner and writer' => 'in role pgq_writer',
	creator => '',
	'database owner' => '',
	replication => 'replication',
	pgqd => 'replication in role pgq_admin',
	superuser => 'superuser');

sub role
{
	my ($column) = @_;
	(my $role = "r_$column") =~ s/ /_/g;
	return $role;
}

# What they act on. {b} is an open batch of consumer c, {own} a table of the
# role's, or the owner's, {schema} its schema.
foreach my $column (sort keys %make)
{
	my $role = role($column);
	sql($node, $db, qq{
		create role $role $make{$column};
		create schema authorization $role;
		create table $role.t (id int primary key, v text);
		alter table $role.t owner to $role;
		grant usage on schema $role to public});
}
sql($node, $db, qq{
	grant create on database $db to r_creator;
	alter database $db owner to r_database_owner});
sql($node, $db, q{
	create extension pgq_coop;
	create extension pgq_ext;
	select pgq.create_queue('q'), pgq.create_queue('empty');
	select pgq.set_queue_config('q', 'ticker_max_lag', '0'),
		pgq.set_queue_config('q', 'ticker_idle_period', '0'),
		pgq.set_queue_config('q', 'max_retries', '5'),
		pgq.register_consumer('q', 'c')});
sql($node, $db, q{select pgq.insert_event('q', 't', 'd') from generate_series(1, 3)});
sql($node, $db, q{select pgq.ticker('q')});
my $b = sql($node, $db, q{select pgq.next_batch('q', 'c')});
sql($node, $db, 'select pgq.start_capture()');
my $slot = sql($node, $db, 'select slot_name from pgq.slot');

my @mark_tables = qw(capture event_table capture_transaction capture_ddl capture_trouble
  held_event secret bookmark relay);
my @admin_tables = qw(retry_queue dead_event delayed_event once_key postponed_event);

my %statements = (
	'look at queues and consumers' => [
		q{select pgq.get_queue_info(), pgq.get_queue_info('q')},
		q{select pgq.get_consumer_info(), pgq.get_consumer_info('q'), pgq.get_consumer_info('q', 'c')},
		q{select pgq.version(), pgq_coop.version(), pgq_ext.version()},
		q{select pgq.event_key('I:id', 'id=1', null)},
		q{select pgq.quote_fqname('a'), pgq.seq_getval('pgq.event_1_id_seq')},
		q{select pgq.get_queue_size('q'), pgq.get_lost_consumers('q')},
		(map { "select count(*) from pgq.$_" } qw(consumer queue tick subscription)),
	],
	'listen for ticks' => [ 'listen pgq_1' ],
	'write a logical message with a prefix of PgQ' => [
		q{select pg_logical_emit_message(true, 'pgq.event', repeat('x', 100))},
		q{select pg_logical_emit_message(false, 'pgq.marker', '')},
	],
	'consume' => [
		q{select pgq.register_consumer('q', 'n'), pgq.unregister_consumer('q', 'n')},
		q{select pgq.register_consumer_at('q', 'n', 1)},
		q{select pgq.next_batch('q', 'c'), pgq.next_batch_info('q', 'c')},
		q{select pgq.next_batch_custom('q', 'c', null, null, null)},
		q{select pgq.find_tick_helper(1, 1, now(), 1, 1, '1 s')},
		q{select pgq.get_batch_events({b}), pgq.get_batch_info({b})},
		q{select pgq.get_batch_cursor({b}, 'cur', 1)},
		q{select pgq.get_batch_cursor({b}, 'cur', 1, 'ev_id > 0')},
		q{select pgq.batch_event_sql({b}), pgq.batch_event_tables({b})},
		q{select pgq.event_retry({b}, 1, 0), pgq.event_retry({b}, 2, now())},
		q{select pgq.batch_retry({b}, 1)},
		q{select pgq.event_dead({b}, 1, 'r'), pgq.get_dead_events('q', 'c')},
		q{select pgq.event_failed({b}, 1, 'r'), pgq.event_postpone({b}, 2, '1 s')},
		q{select pgq.set_bookmark({b}, 'x'), pgq.get_bookmark('q', 'c')},
		q{select count(*) from pgq.get_relay_info()},
		q{select pgq.note_relay('q', 'c', 'file:x', 'running', '', 0)},
		q{select pgq.next_share('q', 'c', 'w'), pgq.event_share('key', 1, 1, 't', 'd', '', '', '', '')},
		q{select pgq.renew_share(s.share_id), (select count(*) from pgq.get_share_events(s.share_id)),
			pgq.finish_share(s.share_id) from pgq.next_share('q', 'c', 'w') s},
		q{select count(*) from pgq.share}, q{select count(*) from pgq.share_worker},
		q{select pgq.seek_consumer('q', 'c', '-infinity'::timestamptz, true)},
		q{select pgq.seek_consumer('q', 'c', (select max(tick_id) from pgq.tick), true)},
		q{select pgq.requeue_dead_event('q', 'c', 1), pgq.purge_dead_events('q', 'c')},
		q{select pgq.finish_batch({b}), pgq.force_tick('q')},
		q{select pgq.tick_channel('q')},
		q{select count(*) from pgq.event_1},
		q{select count(*) from pgq.event_template},
		q{select pgq_coop.register_subconsumer('q', 'm', 's'),
			pgq_coop.next_batch('q', 'm', 's'), pgq_coop.next_batch('q', 'm', 's', '1 s'),
			pgq_coop.next_batch_custom('q', 'm', 's', null, null, null),
			pgq_coop.next_batch_custom('q', 'm', 's', null, null, null, '1 s'),
			pgq_coop.unregister_subconsumer('q', 'm', 's', 0)},
		q{select pgq_coop.finish_batch({b})},
	],
	'produce' => [
		q{select pgq.insert_event('q', 't', 'd'), pgq.insert_event('q', 't', 'd', '', '', '', '')},
		q{select pgq.insert_event('q', 't', '1'::jsonb),
			pgq.insert_event('q', 't', '1'::jsonb, '', '', '', '')},
		q{select pgq.insert_events('q', '{t}', '{d}')},
		q{select pgq.insert_event_once('q', gen_random_uuid()::text, 't', 'd')},
		q{select pgq.insert_event_at('q', now(), 't', 'd')},
		q{select pgq.emit_event('q', 't', 'd')},
		q{select pgq.emit_events('q', '{t}', '{d}')},
		q{select pgq.current_event_table('q')},
	],
	'note in another database how far a consumer is (`pgq_ext`)' => [
		q{select pgq_ext.is_batch_done('c', 1), pgq_ext.is_batch_done('c', '', 1)},
		q{select pgq_ext.set_batch_done('c', 2), pgq_ext.set_batch_done('c', '', 3)},
		q{select pgq_ext.is_event_done('c', 4, 1), pgq_ext.is_event_done('c', '', 4, 1)},
		q{select pgq_ext.set_event_done('c', 4, 1), pgq_ext.set_event_done('c', '', 4, 2)},
		q{select pgq_ext.get_last_tick('c'), pgq_ext.get_last_tick('c', '')},
		q{select pgq_ext.set_last_tick('c', 1), pgq_ext.set_last_tick('c', '', 2)},
	],
	'look at captures and the slot' => [
		q{select pgq.get_capture_info(), pgq.get_capture_info('q'), pgq.get_copy_info()},
		q{select count(*) from pgq.get_slot_info()},
		q{select count(*) from pgq.get_problems()},
		q{select count(*) from pgq.get_source_info()},
		q{select count(*) from pgq.remote_queue},
		q{select pgq.wait_ingest('0/1')},
		q{select count(*) from pgq.capture_schema},
	],
	'make a trigger of PgQ on a table' => [
		map { "create trigger e after insert on {own}
			for each row execute function pgq.$_('q')" } qw(jsontriga logutriga sqltriga)
	],
	'capture a table' => [
		q{select pgq.capture_table('q', '{own}'), pgq.uncapture_table('q', '{own}')},
		q{select pgq.capture_table('q', '{own}', 'copy'), pgq.cancel_copy('q', '{own}')},
		q{create trigger e after insert or update or delete on {own}
			for each row execute function pgq.jsontriga('q');
		select pgq.capture_trigger('{own}', 'e')},
	],
	'capture a schema' => [
		q{select pgq.capture_schema('q', '{schema}'), pgq.uncapture_schema('q', '{schema}')},
	],
	"alter a captured table of one's own" => [
		q{select pgq.alter_captured('alter table {own} add c int')},
	],
	"capture another's table or schema" => [
		q{select pgq.capture_table('q', 'r_owner.t')},
		q{select pgq.uncapture_table('q', 'r_owner.t')},
		q{select pgq.capture_schema('q', 'r_owner')},
		q{select pgq.uncapture_schema('q', 'r_owner')},
	],
	'administer queues' => [
		q{select pgq.create_queue('new'), pgq.set_queue_config('new', 'ticker_paused', '1'),
			pgq.drop_queue('new')},
		q{select pgq.drop_queue('q', true)},
		q{select pgq.grant_perms('q'), pgq.upgrade_schema()},
		q{select pgq.seq_setval('pgq.event_1_id_seq', 1)},
		q{select pgq.insert_event_raw('q', null, now(), null, null, 't', 'd', null, null, null, null)},
		q{select pgq.event_retry_raw('q', 'c', now(), null, now(), 1, 't', 'd', null, null, null, null)},
		q{select pgq.capture_transactions('q', true)},
		q{select pgq.capture_ddl('q', true)},
		q{do $$ begin
			perform pgq.declare_remote_queue('r');
			exception when object_not_in_prerequisite_state then null;
		end $$},
		q{select pgq.drop_remote_queue('r')},
		q{select pgq.create_source('s', 'q'), pgq.grant_source('s', 'empty'),
			pgq.revoke_source('s', 'q'), pgq.reset_source('s'), pgq.drop_source('s')},
		q{update pgq.queue set queue_ticker_paused = true},
		q{insert into pgq.consumer values (1000, 'x')},
		q{delete from pgq.subscription},
		q{update pgq.tick set tick_event_seq = 0},
		(map { "delete from pgq.$_" } @admin_tables),
		'truncate pgq.event_2_0',
		q{insert into pgq.event_1_0 (ev_time) values (now())},
	],
	'tick, ingest, retry and maintain' => [
		q{select pgq.ticker(), pgq.ticker('q'), pgq.tick_due(), pgq.tick_awaited(), pgq.tick('{q}', '{}')},
		q{update pgq.queue set queue_external_ticker = true;
			select pgq.ticker('q', 1000, now(), 5)},
		q{select pgq.ingest('{slot}', p.pos_lsn, p.pos_lsn, '') from pgq.position p
			order by p.pos_lsn desc limit 1},
		q{select pgq.ingest_problem('{slot}', null, null), pgq.tell_problems('{}', '{}', '{}')},
		q{select pgq.ingest_timeline('{slot}', 1)},
		q{select pgq.maint_retry_events(), pgq.maint_rotate_tables_step1('q')},
		q{select pgq.maint_rotate_tables_step2()},
		q{select pgq.maint_tables_to_vacuum(), pgq.maint_operations(), pgq.maint_positions(),
			pgq.maint_once_keys(), pgq.maint_postponed(), pgq.maint_shares()},
		(map { "select count(*) from pgq.$_" } qw(slot position copy source source_queue)),
	],
	'start and stop capture' => [
		q{select pgq.stop_capture()},
		q{select pg_drop_replication_slot('{slot}'); select pgq.resync_capture()},
		q{select pgq.stop_capture(); select pgq.start_capture()},
	],
	'load the output plugin, read or drop a slot' => [
		q{select count(*) from pg_logical_slot_peek_changes('{slot}', null, null, 'format', 'text')},
		q{select pg_drop_replication_slot('{slot}')},
	],
	'touch marks, the secret, or positions' => [
		(map { ("select count(*) from pgq.$_", "delete from pgq.$_") } @mark_tables),
		(map { "delete from pgq.$_" } qw(slot position capture_schema copy told_problem
			remote_queue source source_queue)),
		q{insert into pgq.capture values ('{own}', 'q', '{}')},
		q{select nextval('pgq.batch_id_seq')},
	],
	'change the tables and functions of PgQ' => [
		q{create table pgq.mine ()},
		q{select pgq.tune_storage('q')},
		q{alter table pgq.queue add column x int},
		q{create trigger e after insert on pgq.event_1_0
			for each row execute function tsvector_update_trigger_column()},
		q{alter event trigger pgq_capture_ddl disable},
		q{drop extension pgq cascade},
		q{grant pgq_admin to r_anybody},
	],
	'plant functions and views in schemas named `pgq_node` and the like, which nobody runs' => [
		map { "create schema $_; create function $_.maint_watermark(text) returns int
			language sql as 'select 1'; create view $_.node_info as select 1" }
			qw(pgq_node londiste txid)
	],
	'plant triggers, rules, policies or defaults on tables of PgQ, functions in its schema, event triggers, casts between types of others' => [
		q{create trigger e before insert on pgq.queue
			for each row execute function suppress_redundant_updates_trigger()},
		q{create rule e as on insert to pgq.tick do also select 1},
		q{create policy e on pgq.event_1_0},
		q{alter table pgq.event_1_0 alter ev_data set default 'x'},
		q{alter table pgq.queue add check (queue_name <> 'x')},
		q{create index on pgq.event_1_0 (lower(ev_data))},
		q{create function pgq.version(text) returns text language sql as 'select 1::text'},
		q{create or replace function pgq.version() returns text language sql as 'select 1::text'},
		q{create table pgq.mine ()},
		q{create view pgq.mine as select 1},
		q{create domain pgq.text as pg_catalog.text},
		q{create operator pgq.= (leftarg = text, rightarg = text, function = texteq)},
		q{create function pg_catalog.mine() returns int language sql as 'select 1'},
		q{create function {schema}.e() returns event_trigger language plpgsql as 'begin end';
			create event trigger e on ddl_command_start execute function {schema}.e()},
		q{create cast (text as int8) with inout as implicit},
		q{alter extension pgq add table {own}},
	]);

# Some need a slot that is as it was.
my %repair = map { $_ => 1 } 'start and stop capture',
  'load the output plugin, read or drop a slot';
my $repair = "select pgq.stop_capture();\nselect pgq.start_capture();\n";

# The table in the manual

my ($table) = slurp("$FindBin::RealBin/../../doc/security.md") =~
  /^(\| action \|.*?)\n\n/ms;
my ($head, undef, @rows) = map { [ /\|\s*([^|]*?)\s*(?=\|)/g ] } split(/\n/, $table);
my (undef, @columns) = @$head;
my %says;

is_deeply([ sort @columns ], [ sort keys %make ], 'the table has a column for each role');
foreach my $row (@rows)
{
	my ($action, @cells) = @$row;
	@{ $says{$action} }{@columns} = @cells;
}
is_deeply([ sort keys %says ], [ sort keys %statements ],
	'the table has a row for each action');

# Try them all in one psql, which marks where it is.

my $script = "\\set VERBOSITY sqlstate\n";
my @tried;
foreach my $action (sort keys %statements)
{
	foreach my $column (@columns)
	{
		foreach my $statement (@{ $statements{$action} })
		{
			my $role = role($column);
			my $own = $column =~ /owner/ || $column eq 'superuser' ? $role : 'r_owner';
			(my $s = $statement) =~ s/\{own\}/$own.t/g;
			$s =~ s/\{schema\}/$own/g;
			$s =~ s/\{slot\}/$slot/g;
			$s =~ s/\{b\}/$b/g;
			push @tried, [ $action, $column, $s ];
			# without BEGIN a single statement may also make slots
			my ($begin, $end) =
			  $repair{$action} ? ('', '') : ("begin;\n", "rollback;\n");
			$script .= "\\warn cell $#tried\n"
			  . "set session authorization $role;\n$begin$s;\n$end"
			  . "reset session authorization;\n";
			$script .= "\\warn repair\n$repair" if $repair{$action};
		}
	}
}
my ($out, $err) = ('', '');
IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr($db) ],
	'<', \$script, '>', \$out, '2>', \$err);

my %found;
my @errors = map { [] } @tried;
my $at;
foreach (split(/\n/, $err))
{
	if (/^cell (\d+)$/) { $at = $1; }
	elsif (/^repair$/) { $at = undef; }
	elsif (/(?:ERROR|FATAL|PANIC):\s+(\w+)/)
	{
		if (defined $at) { push @{ $errors[$at] }, $1; }
		else { fail("repair: $_"); }
	}
}
is($at // 'end', $repair{ $tried[-1][0] } ? 'end' : $#tried, 'all were tried');
for my $i (0 .. $#tried)
{
	my ($action, $column, $statement) = @{ $tried[$i] };
	my $first = $errors[$i][0];
	my $did = !defined $first ? 'yes' : $first eq '42501' ? 'no' : "error $first";

	push @{ $found{$action}{$column}{$did} }, $statement;
}
foreach my $action (sort keys %statements)
{
	foreach my $column (@columns)
	{
		my %did = %{ $found{$action}{$column} };
		is(join(' and ', sort keys %did), $says{$action}{$column}, "$action: $column")
		  or map { my $did = $_; diag("$did: $_") foreach @{ $did{$did} } } sort keys %did;
	}
}

# Nothing is left out

my $all = join("\n", map { @$_ } values %statements);
my @functions = split(/\n/, sql($node, $db, q{
	select distinct n.nspname || '.' || p.proname
	from pg_proc p join pg_namespace n on n.oid = p.pronamespace
		join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
	where n.nspname in ('pgq', 'pgq_coop', 'pgq_ext')
		and p.proname not like '\_%' and p.proname <> 'upgrade_schema' order by 1}));
cmp_ok(@functions, '>', 70, 'the functions are known');
is(join(' ', grep { $all !~ /\b\Q$_\E\b\(/ } @functions), '',
	'every function is called');
my @relations = split(/\n/, sql($node, $db, q{
	select 'pgq.' || relname from pg_class c
	where relnamespace = 'pgq'::regnamespace and relkind = 'r' and relname !~ '^event_[0-9]'}));
is(join(' ', grep { $all !~ /\b\Q$_\E\b/ } @relations), '', 'every table is touched');
is(sql($node, $db, q{
	select string_agg(distinct p.proname, ' ') from pg_proc p
	where p.pronamespace = 'pgq'::regnamespace and p.proname not like '\_%'
	group by p.proname
	having count(distinct (select array_agg(g order by g::text) from (
		select a.grantee::text from aclexplode(p.proacl) a) x(g))) > 1}),
	'', 'who may call a function may call all of its name');
is(sql($node, $db, q{
	select string_agg(p.oid::regprocedure::text || ' by ' || r, ', ')
	from pg_proc p, unnest('{r_anybody, r_reader, r_owner, r_replication}'::name[]) r
	where p.pronamespace in ('pgq'::regnamespace, 'pgq_coop'::regnamespace,
			'pgq_ext'::regnamespace)
		and p.proname like '\_%' and has_function_privilege(r, p.oid, 'execute')}),
	'', 'internal functions are not for those who need none');

# Rights of others are borrowed in one way only.
is(sql($node, $db, q{
	select string_agg(p.oid::regprocedure::text, ' ') from pg_proc p
	where p.pronamespace in ('pgq'::regnamespace, 'pgq_coop'::regnamespace,
			'pgq_ext'::regnamespace)
		-- names all in full, to be inlined
		and p.oid <> 'pgq._full_xid(xid, int8)'::regprocedure
		and (p.prosecdef or p.prolang <> (select oid from pg_language where lanname = 'c'))
		and not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false)}),
	'', 'every function in SQL, and every SECURITY DEFINER one, pins search_path');

$node->stop;
done_testing();
