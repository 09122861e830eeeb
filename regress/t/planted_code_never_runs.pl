
# Who owns a database, or may create schemas in it, can put code there under
# every name that we use. None of it runs with the rights of pgqd, pgqadm or a
# consumer, whoever they are. What is planted writes a line into the server's log
# when it runs, which no rollback undoes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Seconds that pgqd looks at those databases, each time.
my $seconds = $ENV{PGQ_PLANTED_SECONDS} // 8;
my $node = new_server('main');
my $port = 20000 + $$ % 10000;

sql($node, 'postgres', q{
	create role owner_of_another login;
	create role creator login;
	create role plain login replication;
	create role pgq_reader; create role pgq_writer; create role pgq_admin;
	grant pgq_reader, pgq_writer to pgq_admin;
	grant pgq_admin to plain});

# plant(DATABASE, ROLE, SCHEMA ...): all that the role can put there, and into
# schemas of these names. Each action is tried
# by itself, since not all of them are allowed; the number of those that were.
sub plant
{
	my ($db, $role, @schemas) = @_;
	my @sql = ('create schema evil', 'grant usage on schema evil to public',
		q{create function evil.run() returns void language plpgsql volatile as
			$$begin raise log 'planted code runs in %', pg_catalog.current_database(); end$$});
	my @types = qw(text name int4 int8 bool oid regclass regprocedure pg_lsn float8
	  numeric interval timestamptz bigint xid bytea);
	my @functions = qw(version ticker tick tick_due maint_operations maint_retry_events
	  get_queue_info get_consumer_info get_capture_info get_slot_info get_copy_info
	  get_problems get_queue_size get_lost_consumers next_batch next_batch_custom
	  register_consumer unregister_consumer tick_channel create_queue drop_queue
	  set_queue_config capture_table uncapture_table cancel_copy start_capture stop_capture
	  resync_capture wait_ingest force_tick seq_getval ingest maint_tables_to_vacuum
	  maint_rotate_tables_step1 maint_rotate_tables_step2 capture_trigger);
	# evil alone would come after pg_catalog
	my @settings = ("search_path = evil, pg_catalog, pg_temp");

	# schemas of our names, with functions of every name, tables and views
	foreach my $schema (@schemas, 'evil')
	{
		push @sql, "create schema $schema", "grant usage on schema $schema to public";
		foreach my $f ($schema eq 'evil' ? () : @functions,
			qw(maint_watermark root_check_seqs periodic_maintenance))
		{
			foreach my $args ('', 'text', 'text, text', 'text[], xid[]', 'text, text[]',
				'bigint', 'variadic anyarray', 'text, text, interval, int4, interval',
				'text, regclass, text[]', 'pg_lsn, interval')
			{
				push @sql, "create function $schema.$f($args) returns text language sql
					volatile as \$\$select evil.run(); select '4.0'\$\$";
			}
			push @sql, "create function $schema.$f() returns text language sql
				immutable as \$\$select evil.run(); select '4.0'\$\$";
		}
		foreach my $view (qw(queue consumer subscription tick slot position copy capture
			node_info seq_info retry_queue event_template))
		{
			push @sql, "create view $schema.$view as select evil.run(), 'q'::text queue_name,
				'root'::text node_type, true as local";
		}
	}
	# all that could stand for something of pg_catalog
	foreach my $name (qw(pg_extension pg_namespace pg_proc pg_class pg_database pg_roles
		pg_settings pg_stat_activity pg_stat_replication pg_replication_slots pg_depend
		pg_trigger pg_inherits pg_available_extensions pg_event_trigger))
	{
		push @sql, "create view evil.$name as select evil.run(), c.* from pg_catalog.$name c";
		push @sql, "create rule r as on update to evil.$name do instead select evil.run()";
	}
	foreach my $type (@types)
	{
		push @sql, "create function evil.check_$type(pg_catalog.text) returns bool
			language sql volatile as \$\$select evil.run(); select true\$\$";
		push @sql, "create domain evil.$type as pg_catalog.text
			check (evil.check_$type(value::pg_catalog.text))";
	}
	foreach my $f (qw(set_config to_regprocedure format count current_setting now
		clock_timestamp pg_size_pretty date_part extract quote_ident quote_literal
		coalesce json_agg json_build_object array_agg unnest trunc date_trunc
		pg_is_in_recovery current_database version pg_notify))
	{
		foreach my $args ('', 'text', 'text, text', 'variadic text[]', 'text, text, bool',
			'anyelement', 'variadic "any"')
		{
			push @sql, "create function evil.\"$f\"($args) returns text language sql
				volatile as \$\$select evil.run(); select ''\$\$";
		}
	}
	foreach my $op ('=', '<>', '<', '>', '>=', '<=', '+', '-', '*', '/', '||', '~', '!~',
		'~~', '->>', '^')
	{
		foreach my $t ('pg_catalog.text', 'pg_catalog.name', 'pg_catalog.int4',
			'pg_catalog.int8', 'pg_catalog.oid', 'pg_catalog.bool', 'pg_catalog.timestamptz',
			'pg_catalog.interval', 'pg_catalog.pg_lsn', 'pg_catalog.numeric',
			'pg_catalog."char"', 'pg_catalog.anyelement')
		{
			(my $f = "op_$t") =~ s/\W/_/g;
			push @sql, "create function evil.$f($t, $t) returns bool language sql
				volatile as \$\$select evil.run(); select true\$\$";
			push @sql, "create operator evil.$op (leftarg = $t, rightarg = $t, function = evil.$f)";
		}
	}
	# a number in SQL is int4, beside a column of int8
	push @sql, "create function evil.op_mixed(pg_catalog.int8, pg_catalog.int4) returns bool
			language sql volatile as \$\$select evil.run(); select true\$\$",
	  map { "create operator evil.$_ (leftarg = pg_catalog.int8, rightarg = pg_catalog.int4,
			function = evil.op_mixed)" } '=', '<>', '<', '>', '>=', '<=', '+', '-';
	push @sql, "create type evil.pair as (a pg_catalog.int4)",
	  "create function evil.cast_it(evil.pair) returns pg_catalog.text language sql
		volatile as \$\$select evil.run(); select ''\$\$",
	  "create cast (evil.pair as pg_catalog.text) with function evil.cast_it(evil.pair)
		as implicit";
	# these need a superuser
	push @sql, "create function evil.on_event() returns event_trigger language plpgsql as
			\$\$begin perform evil.run(); end\$\$",
	  "create event trigger evil on ddl_command_start execute function evil.on_event()",
	  "create cast (pg_catalog.text as pg_catalog.int4) with inout as implicit";
	push @sql, map { "alter database \"$db\" set $_" } @settings;

	my $script = "\\set VERBOSITY sqlstate\nset session authorization $role;\n"
	  . join('', map { "$_;\n" } @sql)
	  . "\\warn wrong\nreset session authorization;\n";
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr($db) ],
		'<', \$script, '>', \$out, '2>', \$err);
	my $refused = () = $err =~ /ERROR/g;
	return @sql - $refused;
}

# ran(DATABASE): how often planted code ran there since the last call.
my %seen;

sub ran
{
	my ($db) = @_;
	my $n = () = slurp($node->logfile) =~ /planted code runs in $db$/mg;
	my $new = $n - ($seen{$db} // 0);

	$seen{$db} = $n;
	return $new;
}

# The databases: a stranger's own without PgQ; a stranger's own with ours in it, or
# where pgqadm installs it afterwards; and ours, where a stranger may create schemas.
sql($node, 'postgres', $_) foreach 'create database theirs owner owner_of_another',
  'create database ours_in_theirs owner owner_of_another',
  'create database installed_in_theirs owner owner_of_another',
  'create database ours', 'grant create on database ours to creator';
foreach my $db (qw(ours_in_theirs ours))
{
	sql($node, $db, 'create extension pgq');
	sql($node, $db, q{select pgq.create_queue('q'), pgq.register_consumer('q', 'c')});
	sql($node, $db, 'create table public.item (id int primary key)');
}
my @names = qw(pgq pgq_node pgq_coop pgq_ext londiste);
my %planter = (theirs => 'owner_of_another', ours_in_theirs => 'owner_of_another',
	installed_in_theirs => 'owner_of_another', ours => 'creator');
foreach my $db (sort keys %planter)
{
	my $n = plant($db, $planter{$db}, $db =~ /^installed/ ? () : @names);
	cmp_ok($n, '>', 400, "$db: $n objects are planted");
	sql($node, $db, 'begin read only; select evil.run(); rollback');
	is(ran($db), 1, "$db: what runs is seen");
}

sql($node, 'installed_in_theirs', 'create table public.item (id int primary key)');
run_command([ 'pgqadm', '-d', $node->connstr('installed_in_theirs'), @$_ ])
  foreach ['install'], [ 'create', 'q' ], [ 'register', 'q', 'c' ];
is(sql($node, 'installed_in_theirs', 'select queue_name, consumer_name from pgq.get_consumer_info()'),
	'q|c', 'pgqadm installs it');
is(ran('installed_in_theirs'), 0, 'and runs nothing that is planted');

# pgqd

my %role = (superuser => '', 'plain role' => ' user=plain');
foreach my $who (sort keys %role)
{
	my $pgqd = start_pgqd($node,
		base_connstr => 'host=' . $node->host . ' port=' . $node->port . $role{$who},
		http_listen => "127.0.0.1:$port", ticker_period => 0.1, maint_period => 0.5,
		retry_period => 0.5);
	$pgqd->wait_log(qr/\[theirs\]: is left alone: schema "pgq" is there, but no extension/);
	$pgqd->wait_log(qr/\[$_\]: pgq version ok/) foreach qw(ours ours_in_theirs installed_in_theirs);
	sleep($seconds);
	my $health = HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/health")->{content};
	like($health, qr/^\[theirs\]: warning: is left alone: schema "pgq"/m, '/health tells of it');
	like($health, qr/^ok$/m, 'but a stranger cannot make it unwell');
	is(ran($_), 0, "pgqd as $who runs nothing in $_") foreach sort keys %planter;
	unlike($pgqd->text, qr/maintenance.*failed|permission denied/, 'and does its own work');
	$pgqd->stop;
}

# A consumer in SQL: the query of a cursor runs under his search_path.
sub read_cursor
{
	my ($db) = @_;
	sql($node, $db, q{select pgq.register_consumer('q', 'by_cursor');
		select pgq.insert_event('q', 't', 'd') from generate_series(1, 3);
		select pgq.force_tick('q'); select pgq.ticker('q')});
	my $batch = sql($node, $db, q{select pgq.next_batch('q', 'by_cursor')});
	like(sql($node, $db, "begin; select from pgq.get_batch_cursor($batch, 'cur', 0); fetch all in cur"),
		qr/\|t\|d\|/, 'a cursor gives events');
	sql($node, $db, "select pgq.finish_batch($batch), pgq.unregister_consumer('q', 'by_cursor')");
	is(ran($db), 0, 'and runs nothing');
	return;
}

# pgqadm, every command

my @commands = (
	[ 'install', '--json' ], [ 'status' ], [ 'status', '--json' ], [ 'doctor' ],
	[ 'doctor', '--json' ], [ 'top', '--once' ], [ 'create', 'q2' ],
	[ 'register', 'q2', 'c' ], [ 'unregister', 'q2', 'c' ], ['config'], [ 'config', 'q2' ],
	[ 'config', 'q2', 'max_size=1GB' ], [ 'drop', 'q2' ], [ 'slot', 'create' ],
	[ 'slot', 'status' ], [ 'slot', 'status', '--json' ],
	[ 'capture', 'q', 'public.item' ], [ 'uncapture', 'q', 'public.item' ],
	[ 'capture', 'q', 'public.item', 'copy' ], [ 'cancel', 'q', 'public.item' ],
	[ 'migrate', '--dry-run' ], [ 'migrate' ], [ 'resync', '--without-copy' ], ['resync'],
	[ 'drain', '--timeout', '0.5' ], [ 'drain', '--consumers', '--timeout', '0.5' ],
	[ 'consume', 'q', 'c', '--register', '--once' ], [ 'seek', 'q', 'c', '--end', '--yes' ],
	[ 'relay', 'list' ], [ 'dead', 'list' ], [ 'dead', 'requeue', 'q', 'c', '--all' ],
	[ 'dead', 'purge', 'q', 'c', '--all' ], [ 'source', 'add', 's', 'q' ], [ 'source', 'list' ],
	[ 'source', 'grant', 's', 'q', '1' ], [ 'source', 'revoke', 's', 'q' ],
	[ 'source', 'reset', 's' ], [ 'source', 'drop', 's' ], [ 'slot', 'drop' ]);
my %known = map { $_->[0] => 1 } @commands;
my ($listed) = qx{pgqadm --help} =~ /^commands:\n(.*?)\n\n/ms;
my @listed = $listed =~ /^  ([a-z]+)\b/mg;
cmp_ok(@listed, '>', 15, 'the commands of pgqadm are known');
is(join(' ', grep { !$known{$_} && $_ ne 'ticker' } @listed), '', 'every one is tried');
foreach my $who (sort keys %role)
{
	foreach my $db (sort keys %planter)
	{
		my $said = '';
		my $consumed;

		# a batch of some pages to consume
		sql($node, $db, q{select pgq.insert_event('q', 't', 'd') from generate_series(1, 300);
			select pgq.force_tick('q'); select pgq.ticker('q')}) if $db ne 'theirs';
		read_cursor($db) if $db ne 'theirs';
		foreach my $command (@commands)
		{
			my ($out, $err) = run_command([ 'pgqadm', '-d', $node->connstr($db) . $role{$who},
				@$command ]);
			$said .= "@$command: $err\n";
			$consumed = () = $out =~ /"ev_id"/g if $command->[0] eq 'consume';
			is(ran($db), 0, "pgqadm @$command as $who runs nothing in $db");
		}
		like($said, qr/is there, but no extension/, 'and says why') if $db eq 'theirs';
		is($consumed, 303, 'a consumer gets its events') if $db ne 'theirs';
		unlike($said, qr/is there, but no extension|not trusted/, 'which is not said of ours')
		  if $db ne 'theirs';
	}
}

$node->stop;
done_testing();
