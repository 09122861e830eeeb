
# Through PgBouncer pgqadm, pgqrelay, consumers in C and python3-pgq work, in pools
# of sessions and of transactions, and nothing that they set or listen to stays in a
# pooled session. pgqd says that it must be connected to the server itself.

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Spec;
use IPC::Run;
use PgqDebian;
use PgqPooler;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

find_pooler();

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $source = dirname(__FILE__) . '/libpgq_client.c';
chomp(my $includedir = `pg_config --includedir`);
chomp(my $libdir = `pg_config --libdir`);
system("cc -I$includedir -o $tmp/client $source $libdir/libpgq.a -L$libdir -lpq") == 0
  or BAIL_OUT('no client');

my $python;
my $has_python = eval {
	$python = fetch_packages(qw(python3-pgq python3-skytools python3-psycopg2));
	local $ENV{PYTHONPATH} = "$python/usr/lib/python3/dist-packages";
	system('/usr/bin/python3 -c "import pgq, psycopg2" >/dev/null 2>&1') == 0;
};

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $me = sql($node, $db, 'select current_user');

# A role whose settings would break what relies on them.
sql($node, $db, q{
	create role app superuser login;
	alter role app set statement_timeout = '300ms';
	alter role app set idle_in_transaction_session_timeout = '300ms';
	alter role app set default_transaction_read_only = on;
	alter role app set default_transaction_isolation = 'serializable';
	alter role app set datestyle = 'German';
	alter role app set search_path = evil, public;
	create schema evil;
	create table item (id int primary key, v text);
	create table copy (data text);
	insert into item values (0, 'there');
	select pgq.create_queue('q')});
sql($node, $db, q{alter role app set transaction_timeout = '300ms'})
  if $node->pg_version >= 17;

# What a pooler sets for its clients by itself.
my $own = "'application_name', 'client_encoding', 'DateStyle', 'TimeZone',
	'standard_conforming_strings', 'IntervalStyle', 'search_path',
	'default_transaction_read_only'";

sub pgqadm
{
	my ($pool, @args) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'pgqadm', '-d', "$pool dbname=$db user=app", @args ],
		\undef, \$out, \$err, IPC::Run::timeout(60));
	return ($? >> 8, $out, $err);
}

sub works
{
	my ($name, $pool, @args) = @_;
	my ($rc, $out, $err) = pgqadm($pool, @args);

	is($rc, 0, "$name: @args") or diag($out . $err);
	return $out . $err;
}

# Nothing of ours is left in the one pooled session of role app. As a client of
# the pooler sees it.
sub is_clean
{
	my ($name, $pool, $what, $in) = @_;
	my ($left) = run_command([ 'psql', '-XAt', '-d',
		"$pool user=app dbname=" . ($in // $db),
		'-c', "select string_agg(name || '=' || setting, ' ') from pg_settings
			where source = 'session' and name not in ($own)",
		'-c', "select count(*) from pg_listening_channels()",
		'-c', "select current_setting('search_path')
			|| current_setting('default_transaction_read_only')" ]);

	is($left, "\n0\nevil, publicon", "$name: $what leaves nothing behind");
	return;
}

sub produce
{
	my ($id) = @_;
	sql($node, $db, "insert into item values ($id, 'new')");
	wait_ingest($node, $db);
	return;
}

new_database($node, 'far', slot => 0);
sql($node, 'far', q{create extension pgq_ext; select pgq.create_queue('copy')});

# What begins with nothing, before there is a pgqd that takes its slot.
sql($node, 'postgres', 'create database fresh; alter role app in database fresh set
	statement_timeout = 0');
foreach my $mode (qw(session transaction))
{
	my $pool = start_pooler($node, pool_mode => $mode);
	my @words = ([qw(install)], [qw(create q)], [qw(slot create)], [qw(resync --without-copy)],
		[qw(slot drop)], [qw(drop q)]);

	foreach (@words)
	{
		my ($out, $err) = ('', '');
		sql($node, 'fresh', q{select pg_drop_replication_slot('pgq_fresh')})
		  if $_->[0] eq 'resync';
		IPC::Run::run([ 'pgqadm', '-d', "$pool dbname=fresh user=app", @$_ ],
			\undef, \$out, \$err, IPC::Run::timeout(60));
		is($?, 0, "$mode: @$_") or diag($out . $err);
	}
	sql($node, 'fresh', 'drop extension pgq cascade');
}

my $pgqd = start_pgqd($node);
my $id = 0;

# relays(NAME, POOL): from a queue into a file, and into a queue of another database;
# it has one session for the batch, and another before the first one.
my $has_relay = system('pgqrelay --version >/dev/null 2>&1') == 0;
sub relays
{
	my ($name, $pool) = @_;
	my ($host, $port) = $pool =~ /host=(\S+) port=(\d+)/;
	my %keys = (db => "$pool dbname=$db user=app", queue => 'q', stall_release => 5);
	my $file = "$tmp/relay" . ++$id;

  SKIP:
	{
		skip 'pgqrelay was not built here', 6 if !$has_relay;
		my $relay = start_relay(
			into_file => { %keys, consumer => "file$id", target => "file:$file" },
			into_queue => { %keys, consumer => "queue$id", to_queue => 'copy',
				target => 'postgresql:///far?host=' . ($host =~ s{/}{%2F}gr)
				  . "&port=$port&user=app" });
		wait_for('two consumers', sub { sql($node, $db, q{select count(*)
			from pgq.get_consumer_info('q') where consumer_name <> 'c'}) == 2 });
		foreach my $round (1, 2)
		{
			produce(++$id);
			wait_for('the file', sub { -f $file && slurp($file) =~ /"id":$id\b/ });
			wait_for('the queue', sub { sql($node, 'far', qq{select count(*)
				from pgq.event_template where ev_data like '%"id":$id,%'}) == 1 });
			pass("$name: pgqrelay moves batch $round");
		}
		is(sql($node, $db, qq{select pgq.get_bookmark('q', consumer_name)
				from pgq.get_consumer_info('q') where consumer_name like 'file%'}),
			-s $file, '... and keeps its bookmark');
		is($relay->stop, 0, '... and ends cleanly');
		is_clean($name, $pool, 'pgqrelay');
		is_clean($name, $pool, 'pgqrelay, where it writes', 'far');
		sql($node, $db, q{select pgq.unregister_consumer('q', consumer_name)
			from pgq.get_consumer_info('q') where consumer_name <> 'c'});
	}
	return;
}

foreach my $mode (qw(session transaction))
{
	foreach my $ignored ('', 'options')
	{
		my $name = $mode . ($ignored ? ', options dropped' : '');
		my $pool = start_pooler($node, pool_mode => $mode,
			ignore_startup_parameters => "extra_float_digits, $ignored");
		my ($rc, $out, $err);

		# pgqadm
		works($name, $pool, 'register', 'q', 'c');
		works($name, $pool, 'config', 'q', 'ticker_max_lag=10 milliseconds');
		works($name, $pool, 'capture', '--wait', 'q', 'item', 'copy');
		works($name, $pool, 'status');
		works($name, $pool, 'status', '--json');
		works($name, $pool, 'slot', 'status');
		works($name, $pool, 'top', '--once');
		works($name, $pool, 'drain', '--timeout', 30);
		works($name, $pool, 'migrate', '--dry-run');
		unlike(works($name, $pool, '-q', 'doctor'), qr/could not be checked/,
			'... which checks all');
		is_clean($name, $pool, 'pgqadm');

		# consume, with a command that is slower than the timeouts
		produce(++$id);
		($rc, $out, $err) = pgqadm($pool, 'consume', 'q', 'c', '--timeout', 5,
			'--count', 2, '--exec', 'sleep 0.5; cat');
		is($rc, 0, "$name: consume");
		like($out, qr/"ev_time":"\d{4}-.*\\"there\\".*\\"id\\":$id,/s, '... has the events');
		is(() = $err =~ /through a pooler.*\nhint: Connect to/g, 1,
			'... and says once that it looks for them') or diag($err);
		is_clean($name, $pool, 'consume');

		# libpgq, which works in the batch's transaction
		produce(++$id);
		sql($node, $db, 'truncate copy');
		wait_for('the batch', sub {
			$out = '';
			IPC::Run::run([ "$tmp/client", "$pool dbname=$db user=app", 'q', 'c', 'copy' ],
				\undef, \$out, '2>', "$tmp/err", IPC::Run::timeout(60));
			return sql($node, $db, 'select count(*) from copy') > 0;
		});
		is($? >> 8, 0, "$name: libpgq");
		is_clean($name, $pool, 'libpgq');

	  SKIP:
		{
			skip 'no python3-pgq', 2 if !$has_python;
			local $ENV{PYTHONPATH} = "$python/usr/lib/python3/dist-packages";
			local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
			my $driver = File::Spec->rel2abs(dirname(__FILE__) . '/python_clients.py');
			my $ini = "$tmp/p$id.ini";
			my $wide = start_pooler($node, pool_mode => $mode, default_pool_size => 5,
				ignore_startup_parameters => 'extra_float_digits');

			sql($node, $db, 'alter role app set default_transaction_read_only = off');
			PostgreSQL::Test::Utils::append_to_file($ini, "[test]\njob_name = c\n"
				  . "db = $wide dbname=$db user=app\nqueue_name = q\npidfile = $ini.pid\n"
				  . "logfile = $ini.log\nuse_skylog = 0\n");
			produce(++$id);
			my $got = '';
			wait_for('events in Python', sub {
				my ($line, $trouble) = ('', '');
				IPC::Run::run([ '/usr/bin/python3', $driver, 'Plain', $ini ], \undef,
					\$line, \$trouble, IPC::Run::timeout(60));
				$got .= $line . $trouble;
				return $got =~ /\\"id\\":$id,/ });
			like($got, qr/\\"id\\":$id,/, "$name: python3-pgq");
			sql($node, $db, 'alter role app set default_transaction_read_only = on');
		}

		relays($name, start_pooler($node, pool_mode => $mode, default_pool_size => 4,
			ignore_startup_parameters => "extra_float_digits, $ignored"));

		# pgqd
		my $pooled = start_pgqd($node, base_connstr => "$pool user=app",
			initial_database => $db);
		wait_for('pgqd to say so',
			sub { -f $pooled->{log} && slurp($pooled->{log}) =~ /pooler/ });
		like(slurp($pooled->{log}), qr/(connected to a pooler|unsupported startup parameter).* - Name the server itself/,
			"$name: pgqd says what to do");
		$pooled->stop;
		is_clean($name, $pool, 'pgqd');

		works($name, $pool, 'uncapture', 'q', 'item');
		works($name, $pool, 'unregister', 'q', 'c');
		sql($node, $db, 'delete from item where id > 0');
	}
}
done_testing();
