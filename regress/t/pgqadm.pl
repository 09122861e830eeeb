
# Every command of pgqadm does what it says, and every bad input ends it with
# exit status 1 and one message that says what was wrong.

use strict;
use warnings;

use PgqTest;
use Test::More;
use IPC::Run;

my $node = new_server('main');
my $tmp = PostgreSQL::Test::Utils::tempdir();
my @db = ('-d', $node->connstr('shop'));
my $version = pgq_version();

# Only what a test says shall name the database.
delete $ENV{PGDATABASE};

sql($node, 'postgres', 'create database shop');

# pgqadm(ARGUMENT...): exit status, output, messages.
sub pgqadm
{
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'pgqadm', @_ ], \undef, \$out, \$err,
		IPC::Run::timeout(60));
	return ($? >> 8, $out, $err);
}

# It works, and prints or says this.
sub works
{
	my ($like, @args) = @_;
	my ($rc, $out, $err) = pgqadm(@args);

	like("$out$err", $like, "@args[2..$#args]") && $rc == 0
	  or diag("status $rc");
	fail("@args: status $rc") if $rc != 0;
	return $out;
}

# It fails with this message, the first line of what it says.
sub fails
{
	my ($message, @args) = @_;
	my ($rc, $out, $err) = pgqadm(@args);
	my ($first) = split(/\n/, $err);

	is("$rc $out$first", "1 pgqadm: $message", "@args" || 'no argument');
	return $err;
}

sub write_ini
{
	my ($name, $text) = @_;

	open(my $fh, '>', "$tmp/$name") or die $!;
	print $fh $text;
	close $fh;
	return "$tmp/$name";
}

my $ini = write_ini('adm.ini',
	"[pgqadm]\njob_name = shop\ndb = @{[$node->connstr('shop')]}\n"
	  . "logfile = $tmp/%(job_name)s.log\nmaint_delay_min = 5\n"
	  . "loop_delay = 0.5\nuse_skylog = 0\nlog_size = 10485760\n");

# the command line

fails('need config file');
fails('need config file', 'status');
fails('need command', $ini);
fails('need command', @db);
fails('unknown command: dance', $ini, 'dance');
fails('unknown command: dance', @db, 'dance');
fails('unknown option "--dance"', '--dance');
fails('unknown option "-x"', @db, '-x', 'status');
fails('option "-p" needs a value', '-p');
fails('usage: pgqadm ... create QUEUE', @db, 'create');
fails('usage: pgqadm ... drop QUEUE', @db, 'drop', 'a', 'b');
fails('command "status" has no option --once', @db, '--once', 'status');
like(fails_any(@db, '--once', 'status'), qr/^hint: Commands with it: top consume$/m,
	'it says which have');
fails('option --count needs a number above 0, not "many"',
	@db, 'consume', 'q', 'c', '--count', 'many');
fails('command "status" has no option --timeout',
	@db, '--timeout', 3, 'status');
fails('command "status" has no option --interval',
	@db, '--interval', 3, 'status');
fails('command "status" has no option --consumers',
	@db, '--consumers', 'status');
fails('command "status" has no option -d or --daemon',
	$ini, '-d', 'status');
fails("could not open config file \"$tmp/none.ini\": No such file or directory",
	"$tmp/none.ini", 'status');
fails("$tmp/bad.ini:2: unknown key \"dance\" in section [pgqadm]",
	write_ini('bad.ini', "[pgqadm]\ndance = 1\n"), 'status');
fails("$tmp/nodb.ini: key \"db\" is missing",
	write_ini('nodb.ini', "[pgqadm]\njob_name = x\n"), 'status');
fails('the connect string cannot be read',
	'-d', 'host=here password=secret nonsense', 'status');
unlike(fails("connection to server on socket \"$tmp/.s.PGSQL.1\" failed: "
		  . 'No such file or directory',
		'-d', "host=$tmp port=1 password=secret", 'status'),
	qr/secret/, 'no password is shown');
is((pgqadm('-V'))[1], "pgqadm version $version\n", '-V');
like((pgqadm('--help'))[1], qr/usage: pgqadm .*unregister QUEUE CONSUMER/s,
	'--help');
like((pgqadm('--ini'))[1], qr/^\[pgqadm\].*pidfile/s, '--ini');

# the extension

fails('schema "pgq" does not exist', @db, 'create', 'q');
fails('schema "pgq" does not exist', @db, 'consume', 'q', 'c');
works(qr/^pgq \Q$version\E is installed$/m, @db, 'install');
works(qr/^pgq \Q$version\E is installed$/m, @db, 'install');

# queues and consumers

my $odd = q{it's "a" q.ueue; drop $1 äöü};
works(qr/^Creating queue: orders$/, @db, 'create', 'orders');
works(qr/^Queue exists already: orders$/, @db, 'create', 'orders');
works(qr/^Creating queue: \Q$odd\E$/, @db, 'create', $odd);
works(qr/^Registering consumer mailer on queue orders$/,
	$ini, 'register', 'orders', 'mailer');
works(qr/^Consumer mailer is registered on queue orders already$/,
	$ini, 'register', 'orders', 'mailer');
works(qr/^Registering consumer \Q$odd\E on queue \Q$odd\E$/,
	@db, 'register', $odd, $odd);
is(sql($node, 'shop', 'select count(*) from pgq.get_consumer_info()'),
	2, 'both are registered');
fails('no such queue: none', @db, 'register', 'none', 'c');
fails('no such queue: none', @db, 'unregister', 'none', 'c');
fails('no such queue: none', @db, 'drop', 'none');
fails('consumer c is not registered on queue orders',
	@db, 'unregister', 'orders', 'c');
fails('cannot drop queue, consumers still attached', @db, 'drop', 'orders');
is((pgqadm('-q', @db, 'create', 'quiet'))[2], '', '-q says nothing');
works(qr/^Dropping queue: quiet$/, @db, 'drop', 'quiet');

# settings

is( works(qr/^orders/, @db, 'config', 'orders'),
	"orders\n"
	  . "    ticker_max_count\t=    500\n"
	  . "    ticker_max_lag\t=      3\n"
	  . "    ticker_idle_period\t=     60\n"
	  . "    rotation_period\t=   7200\n",
	'settings as PgQ 2 prints them');
like((pgqadm(@db, 'config'))[1], qr/^orders$/m, 'all queues');
works(
	qr/^Change queue orders config to: ticker_max_lag=1 second, queue_rotation_period=1 hour$/,
	@db, 'config', 'orders', 'ticker_max_lag=1 second',
	'queue_rotation_period=1 hour');
works(qr/Change queue/, @db, 'config', 'orders', 'per_tx_limit=7',
	'ticker_paused=true');
like((pgqadm(@db, 'config', 'orders'))[1],
	qr/max_lag\t=      1\n.*period\t=   3600\n    ticker_paused\t=      t\n    per_tx_limit\t=      7\n$/s,
	'changed');
works(qr/Change queue/, @db, 'config', 'orders', 'per_tx_limit=',
	'ticker_paused=false');
fails('unknown config var: foo', @db, 'config', 'orders', 'foo=1');
fails('no value given: foo', @db, 'config', 'orders', 'foo');
fails('no such queue: none', @db, 'config', 'none');
fails('no such queue: none', @db, 'config', 'none', 'ticker_max_lag=1');
fails('invalid input syntax for type interval: "x"',
	@db, 'config', 'orders', 'ticker_max_count=9', 'ticker_max_lag=x');
like((pgqadm(@db, 'config', 'orders'))[1], qr/max_count\t=    500/,
	'one bad value, none is changed');

# capture

sql($node, 'shop', 'create table item (id int primary key, seen int);'
	  . 'create table "Odd ""name" (id int primary key);'
	  . 'create table keyless (a int)');
fails('unknown command: slot dance', @db, 'slot', 'dance');
like((pgqadm(@db, 'slot', 'status'))[1], qr/slot create/, 'no slot yet');
works(qr/^Created slot pgq_shop$/, @db, 'slot', 'create');
like((pgqadm(@db, 'slot', 'status'))[1], qr/pgq_shop/, 'slot status');
works(qr/^Capturing table item for queue orders$/,
	@db, 'capture', 'orders', 'item', 'ignore=seen', 'format=json');
works(qr/^Changed the capture of table item for queue orders$/,
	@db, 'capture', 'orders', 'item', 'ignore=seen');
works(qr/^Capturing table public."Odd ""name" for queue \Q$odd\E$/,
	@db, 'capture', $odd, 'public."Odd ""name"');
is( sql($node, 'shop', q{select string_agg(cap_args::text, ' ' order by
		cap_queue desc) from pgq.capture}),
	'{ignore=seen} {}',
	'arguments');
works(qr/^pgqd copies table item into queue orders/,
	@db, 'capture', 'orders', 'item', 'copy', 'ignore=seen');
like((pgqadm(@db, 'status'))[1], qr/^Copy of table .*^public\.item +orders +waiting +0 /ms,
	'status shows the copy');
like((pgqadm(@db, 'status', '--json'))[1], qr/"state" : "waiting", "rows" : 0/,
	'so does its JSON');
like(fails_any(@db, 'capture', 'orders', 'item'), qr/^hint: .*cancel_copy/m,
	'arguments stay while it waits');
works(qr/^Gave up copying table item into queue orders$/,
	@db, 'cancel', 'orders', 'item');
fails('table item is not being copied into queue orders',
	@db, 'cancel', 'orders', 'item');
fails('option --wait needs the argument "copy"',
	@db, 'capture', '--wait', 'orders', 'item');
fails('command "status" has no option --slot', @db, '--slot', 's', 'status');
fails('with --without-copy there are no tables to name, or to wait for',
	@db, 'resync', '--without-copy', 'item');

# a name without a schema is that of the only table, whatever the search_path
sql($node, 'shop', 'create schema other; create table other.item (id int primary key);
	create table other.only_here (id int primary key)');
{
	local $ENV{PGOPTIONS} = '-c search_path=other';
	like(fails('there is more than one table item: other.item, public.item',
		@db, 'uncapture', 'orders', 'item'), qr/^hint: Write it with its schema/m,
		'... and how to name it');
}
sql($node, 'shop', 'drop table other.item');
works(qr/^Capturing table only_here/, @db, 'capture', 'orders', 'only_here');
works(qr/no longer captured/, @db, 'uncapture', 'orders', 'other.only_here');
sql($node, 'shop', 'drop schema other cascade');
fails('relation "none" does not exist', @db, 'capture', 'orders', 'none');
like(fails_any(@db, 'capture', 'none', 'item'), qr/queue/, 'unknown queue');
like(fails_any(@db, 'capture', 'orders', 'item', 'dance=1'),
	qr/dance/, 'unknown argument');
like(fails_any(@db, 'capture', 'orders', 'item', 'format=xml'),
	qr/xml/, 'unknown format');
like(fails_any(@db, 'capture', 'orders', 'keyless'),
	qr/^hint: /m, 'a table without key, with a hint');

# It fails, whatever the server's words are; they are returned.
sub fails_any
{
	my ($rc, $out, $err) = pgqadm(@_);

	is($rc, 1, "@_[2..$#_] fails");
	like($err, qr/^pgqadm: /, 'with a message');
	return $err;
}

# status

my $status = works(qr/PgQ version: \Q$version\E$/m, $ini, 'status');
like($status, qr/^Postgres version: \S.*   PgQ version: \Q$version\E$/m, 'versions');
like($status, qr/^Event queue {24}Rotation {8}Ticker   TLag    EPS   New\n-{78}$/m,
	'head of the queues');
like($status,
	qr/^orders {30}3\/3600s    500\/1s\/60s +\d+s +\d+\.\d +\d+$/m, 'a queue');
like($status, qr/^Consumer {47}Lag  LastSeen  Pending\n-{78}$/m,
	'head of the consumers');
like($status, qr/^orders:\n  mailer {41} +\d+s +\d+s +\d+$/m, 'a consumer');
like($status, qr/^  \Q$odd\E +\d+s/m, 'a consumer with an odd name');
like($status, qr/^public\.item +orders/m, 'a captured table');
like($status, qr/pgq_shop/, 'the slot');

works(qr/^Table item is no longer captured for queue orders$/,
	@db, 'uncapture', 'orders', 'item');
fails('table item is not captured for queue orders',
	@db, 'uncapture', 'orders', 'item');
works(qr/no longer captured/, @db, 'uncapture', $odd, '"Odd ""name"');
works(qr/^Dropped the slot$/, @db, 'slot', 'drop');
fails('there is no slot to drop', @db, 'slot', 'drop');
works(qr/^Unregistering consumer mailer from queue orders$/,
	@db, 'unregister', 'orders', 'mailer');
works(qr/^Dropping queue: orders$/, @db, 'drop', 'orders');

# what is printed for scripts

{
	require JSON::PP;
	my $json = sub { JSON::PP->new->utf8->decode((pgqadm(@db, @_, '--json'))[1]) };

	is_deeply($json->('install'), { version => $version }, 'install --json');
	is_deeply($json->('slot', 'create'), { slot => 'pgq_shop' },
		'slot create --json');
	is_deeply([ map { $_->{slot} } @{ $json->('slot', 'status')->{slots} } ],
		['pgq_shop'], 'slot status --json');
	works(qr/Creating/, @db, 'create', 'json');
	my ($queue) = grep { $_->{queue} eq 'json' } @{ $json->('config') };
	is($queue->{ticker_max_count}, 500, 'config --json');
	is($queue->{ticker_paused}, undef, 'null for a default');
	is_deeply($json->('config', 'json'), [$queue], 'of one queue');
	fails('command "slot drop" has no option --json',
		@db, 'slot', 'drop', '--json');
	fails('command "create" has no option --json',
		@db, 'create', 'x', '--json');
	works(qr/Dropped/, @db, 'slot', 'drop');
	is_deeply($json->('drain'), { ingested_to => undef }, 'drain --json');
}

# the environment names the database

{
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port,
		PGDATABASE => 'shop');
	my ($rc, $out, $err) = pgqadm('status');

	like($out, qr/PgQ version/, 'PGDATABASE instead of -d');
}

# ticker, by its ini file

my $daemon_ini = write_ini('run.ini',
	"[pgqadm]\njob_name = run\ndb = @{[$node->connstr('shop')]}\n"
	  . "logfile = $tmp/%(job_name)s.log\npidfile = $tmp/%(job_name)s.pid\n"
	  . "loop_delay = 0.2\n");
like((pgqadm("-s", $ini))[2], qr{^No pidfile configured\nhint: .*pidfile}, "-s without pidfile");
is((pgqadm('-s', $daemon_ini))[2], "Old process is not running\n",
	'-s without a running ticker');
my ($rc, $out, $err) = pgqadm($daemon_ini, 'ticker', '-d');
is($rc, 0, 'ticker goes to the background') or diag($err);
wait_for('ticks', sub {
	sql($node, 'shop', "select count(*) > 2 from pgq.tick t, pgq.queue q
		where tick_queue = queue_id") eq 't' });
pass('it ticks');
is((pgqadm('-r', $daemon_ini))[0], 0, '-r');
is((pgqadm('-s', $daemon_ini))[0], 0, '-s');
wait_for('end of the ticker', sub { !-e "$tmp/run.pid" });
pass('it is stopped');

done_testing();
