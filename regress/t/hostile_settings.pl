
# Roles, databases and servers have settings of their own. Whatever they are, our
# sessions work, no name of others is found, and events say the same.

use strict;
use warnings;

use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use File::Basename qw(dirname);
use IPC::Run;
use Time::HiRes qw(sleep);

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $source = dirname(__FILE__) . '/libpgq_client.c';
chomp(my $includedir = `pg_config --includedir`);
chomp(my $libdir = `pg_config --libdir`);
system("cc -I$includedir -o $tmp/client $source $libdir/libpgq.a -L$libdir -lpq") == 0
  or BAIL_OUT('no client');

my $node = new_server('main');
my $db = 'shop';
my $has_transaction_timeout = $node->pg_version >= 17;

# All that a user may set for a role or a database, to values that hurt.
my %hostile = (
	search_path => 'evil, pg_catalog, public',
	statement_timeout => "'300ms'",
	lock_timeout => "'1ms'",
	idle_in_transaction_session_timeout => "'300ms'",
	idle_session_timeout => "'300ms'",
	default_transaction_isolation => 'serializable',
	default_transaction_read_only => 'on',
	default_transaction_deferrable => 'on',
	synchronous_commit => 'remote_apply',
	wal_sender_timeout => "'50ms'",
	tcp_user_timeout => 1,
	exit_on_error => 'on',
	row_security => 'off',
	datestyle => "'German, DMY'",
	intervalstyle => 'sql_standard',
	timezone => "'Asia/Kathmandu'",
	lc_monetary => "'C.UTF-8'",
	extra_float_digits => -15,
	bytea_output => 'escape',
	xmloption => 'document',
	xmlbinary => 'hex',
	quote_all_identifiers => 'on',
	standard_conforming_strings => 'off',
	escape_string_warning => 'on',
	backslash_quote => 'on',
	array_nulls => 'off',
	transform_null_equals => 'on',
	client_encoding => 'LATIN1',
	client_min_messages => 'debug5',
	plan_cache_mode => 'force_custom_plan',
	work_mem => "'64kB'",
	jit => 'on',
	jit_above_cost => 0,
	jit_optimize_above_cost => 0,
	enable_indexscan => 'off',
	enable_bitmapscan => 'off',
	enable_seqscan => 'off',
	enable_nestloop => 'off',
	default_statistics_target => 1,
	cursor_tuple_fraction => 1,
	join_collapse_limit => 1,
	debug_print_plan => 'off',
);
$hostile{transaction_timeout} = "'300ms'" if $has_transaction_timeout;

# pgqadm's and pgqd's role, a consumer's, and the test's own, which keeps its.
sql($node, 'postgres', qq{create role clerk superuser login;
	create role worker login});
my $me = sql($node, 'postgres', 'select current_user');
new_database($node, $db);

# What is found when a name is looked up in schema "evil".
sql($node, $db, q{
	grant pgq_reader to worker;
	create table public.trap (what text);
	create schema evil;
	create function evil.caught(text) returns void language sql security definer
		as $$insert into public.trap values ($1)$$;
	create function evil.coalesce_(text) returns text language sql as 'select $1';
	create table evil.pg_class as select 'evil'::text as relname;
	create table evil.pg_stat_activity (application_name text, datname text);
	create function evil.format(text, variadic text[]) returns text language sql as
		$$select evil.caught('format'); select 'x'$$;
	create function evil.count(text) returns bigint language sql as
		$$select evil.caught('count'); select 0::bigint$$;
	create function evil.eq(text, text) returns boolean language sql as
		$$select evil.caught('='); select false$$;
	create operator evil.= (leftarg = text, rightarg = text, function = evil.eq);
	create function evil.eqn(name, text) returns boolean language sql as
		$$select evil.caught('name ='); select false$$;
	create operator evil.= (leftarg = name, rightarg = text, function = evil.eqn);
	grant usage on schema evil to public;
	grant execute on all functions in schema evil to public;

	create table public.item (id int primary key, t timestamptz, d date, i interval,
		f float8, b bytea, m money, r regclass, x xml);
	insert into public.item select n, '2026-05-06 07:08:09.5+00', '2026-12-31',
		'1 day 2 hours', 0.1::float8 + 0.2, '\x00ff', 1234.5, 'public.trap',
		'<a/>' from generate_series(1, 3) n;
	select pgq.create_queue('q'), pgq.create_queue('copies'), pgq.create_queue('large');
	select pgq.register_consumer('copies', 'c')});

# Sets all of it; where: "role clerk", "database shop".
sub set_all
{
	my ($where, @names) = @_;
	@names = sort keys %hostile if !@names;
	sql($node, 'postgres',
		join("\n", map { "alter $where set $_ = $hostile{$_};" } @names));
	return;
}

sub pgqadm
{
	my ($role, @args) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'pgqadm', '-d', $node->connstr($db) . " user=$role", @args ],
		\undef, \$out, \$err, IPC::Run::timeout(60));
	return ($? >> 8, $out, $err);
}

sub works
{
	my ($where, $role, @args) = @_;
	my ($rc, $out, $err) = pgqadm($role, @args);

	is($rc, 0, "$where: $args[0]") or diag($out . $err);
	return $out . $err;
}

# One round of all programs, as this role.
my $id = 100;
my $events;
sub round
{
	my ($where, $role, $consumer) = @_;
	my $pgqd = start_pgqd($node, base_connstr => 'host=' . $node->host . ' port='
		  . $node->port . " user=$role", initial_database => 'postgres');

	$id += 10;
	works($where, $role, 'capture', '--wait', 'copies', 'item', 'copy')
	  if $id == 110;
	works($where, $role, 'capture', 'q', 'item');
	works($where, $role, 'register', 'q', 'c');
	works($where, $role, 'config', 'q', "ticker_max_lag=10 milliseconds");
	sql($node, $db, "insert into public.item select $id + n, t, d, i, f, b, m, r, x
		from public.item, generate_series(1, 1) n where id = 1");
	wait_ingest($node, $db);

	# longer than all the timeouts, between batches, and with one open
	my ($rc, $out, $err) = pgqadm($consumer, 'consume', 'q', 'c', '--count', 1,
		'--timeout', 30, '--exec', 'sleep 0.6; cat');
	is($rc, 0, "$where: consume") or diag($err);
	like($out, qr/"ev_type"/, '... has the event');
	my ($data) = $out =~ /"ev_data":"((?:[^"\\]|\\.)*)"/;
	$data =~ s/\b$id\b|1[0-9]1\b/ID/ if $data;
	$events //= $data;
	is($data, $events, '... which says the same');

	# a reader that is slower than the server
	sql($node, $db, "select pgq.register_consumer('large', 'c')");
	sql($node, $db, "select count(pgq.insert_event('large', 't', repeat('x', 2000)))
		from generate_series(1, 3000)");
	sql($node, $db, "select pgq.force_tick('large'); select pgq.ticker('large')");
	($out, $err) = run_command([ "$tmp/client", $node->connstr($db) . " user=$consumer",
		'large', 'c', 'slow' ]);
	is($out, '3000 events', "$where: a slow reader");
	sql($node, $db, "select pgq.unregister_consumer('large', 'c')");

	works($where, $role, 'status');
	works($where, $role, 'status', '--json');
	works($where, $role, 'top', '--once');
	works($where, $role, 'drain', '--timeout', 30);
	unlike(works($where, $role, '-q', 'doctor'), qr/could not be checked/,
		'... which could check all');
	works($where, $role, 'uncapture', 'q', 'item');
	works($where, $role, 'unregister', 'q', 'c');

	# idle sessions live on
	my $sessions = "select string_agg(pid::text, ' ' order by pid)
		from pg_stat_activity where application_name ~ '^pgqd/(tick|stream|ingest)'";
	my $before;
	# one that takes another's place lives beside it for a moment
	wait_for('one session of each kind',
		sub { ($before = sql($node, $db, $sessions)) =~ /^\d+ \d+ \d+$/ });
	sleep(1);
	is(sql($node, $db, $sessions), $before, "$where: pgqd keeps its sessions");
	unlike(slurp($pgqd->{log}), qr/ERROR|WARNING|timeout/, '... and has nothing to say');
	$pgqd->stop;
	is(sql($node, $db, 'select * from public.trap'), '', '... nothing of others ran');
	return;
}

round('as it is', $me, $me);

# What the user's own connect string has is kept, from wherever it comes; ours wins.
sql($node, 'postgres', 'create role nobody_else');
PostgreSQL::Test::Utils::append_to_file("$tmp/services",
	"[theirs]\noptions=-c role=nobody_else\n");
foreach ([ PGOPTIONS => '-c role=nobody_else' ],
	[ PGSERVICEFILE => "$tmp/services", ' service=theirs' ],
	[ PGAPPNAME => 'x', " options='-c role=nobody_else'" ])
{
	my ($variable, $value, $more) = @$_;
	local $ENV{$variable} = $value;
	my ($rc, $out, $err) = pgqadm($me . ($more // ''), 'create', 'theirs');

	like($err, qr/permission denied/, "$variable: options of the user's are kept");
}
{
	local $ENV{PGOPTIONS} = '-c default_transaction_read_only=on -c search_path=evil';
	works('PGOPTIONS', $me, 'create', 'mine');
}

set_all($_) foreach ('role clerk', 'role worker');
round('roles', 'clerk', 'worker');

# the test's own sessions keep their settings
sql($node, 'postgres', 'alter role clerk reset all; alter role worker reset all');
foreach my $where ($db, 'postgres')
{
	sql($node, 'postgres', "alter role $me in database $where set $_")
	  foreach ("search_path = 'public'", "statement_timeout = 0", "lock_timeout = 0",
		"idle_in_transaction_session_timeout = 0", "idle_session_timeout = 0",
		"default_transaction_isolation = 'read committed'",
		"default_transaction_read_only = off", "default_transaction_deferrable = off",
		"synchronous_commit = on", "exit_on_error = off", "client_min_messages = notice",
		"standard_conforming_strings = on", "datestyle = 'ISO'", "jit = off",
		"client_encoding = 'UTF8'",
		$has_transaction_timeout ? "transaction_timeout = 0" : ());
}
my @names = grep { !/^(timezone|lc_monetary)$/ } sort keys %hostile;
set_all('database shop', @names);
round('database', 'clerk', 'worker');

# That the server ends a stream is its administrator's to say.
sql($node, 'postgres', 'alter database shop reset all');
foreach (grep { $_ ne 'wal_sender_timeout' } @names)
{
	sql($node, 'postgres', "alter system set $_ = $hostile{$_}");
}
$node->reload;
wait_for('reload', sub { $node->safe_psql('template1', 'show jit_above_cost') eq '0' });
round('server', 'clerk', 'worker');

done_testing();
