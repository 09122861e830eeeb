
# The mistakes that are likeliest, each really made: the message says what is
# wrong, and the next step.

use strict;
use warnings;

use PgqTest;
use Test::More;
use IPC::Run;
use IO::Socket::INET;

my $node = new_server('main', conf => "password_encryption = 'scram-sha-256'\n");
my $db = new_database($node, 'shop', slot => 0);
my $tmp = PostgreSQL::Test::Utils::tempdir();
my @adm = ('pgqadm', '-d', $node->connstr($db));
my $mistakes = 0;

delete $ENV{PGDATABASE};
sql($node, 'postgres', q{
	create database plain;
	create role guest login;
	create role adm login;
	create role locked login password 'right'});
sql($node, $db, q{
	grant pgq_admin to adm;
	create table item (id int primary key, name text);
	create table nokey (what text);
	grant all on item to guest;
	select pgq.create_queue('orders')});

# run(COMMAND...): what it says; fails unless it does.
sub run
{
	my ($out, $err) = ('', '');

	IPC::Run::run([@_], \undef, \$out, \$err, IPC::Run::timeout(60));
	return ($? >> 8, $out . $err);
}

# mistake(WHAT, MESSAGE, WAY OUT, COMMAND...): it fails, and says both.
sub mistake
{
	my ($what, $message, $way, @command) = @_;
	my ($rc, $said) = run(@command);

	$mistakes++;
	isnt($rc, 0, "$what: it fails");
	says($what, $message, $way, $said);
	return;
}

sub says
{
	my ($what, $message, $way, $said) = @_;

	like($said, $message, "$what: what is wrong");
	like($said, qr/(?:hint: |HINT:  | - |; ).*$way/s, "$what: the next step");
	return;
}

# logged(WHAT, MESSAGE, WAY OUT, key => value ...): pgqd with this ini goes on
# trying, and its log says both in one line.
sub logged
{
	my ($what, $message, $way, %ini) = @_;
	my $pgqd = start_pgqd($node, %ini);
	my $line;

	$mistakes++;
	ok(eval { $pgqd->wait_log($message); 1 }, "$what: what is wrong")
	  or diag($pgqd->text);
	($line) = grep { $_ =~ $message } split(/\n/, $pgqd->text);
	like($line, $way, "$what: the next step");
	$pgqd->stop if $pgqd->alive;
	return;
}

sub ini
{
	my ($name, $text) = @_;

	PostgreSQL::Test::Utils::append_to_file("$tmp/$name", $text);
	return "$tmp/$name";
}

# psql(SQL): a mistake of someone who works in SQL
sub psql
{
	return ('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr($db), '-c', $_[0]);
}

# where is the server, who am I

mistake('no server', qr/failed: /, qr/name the one that runs by host and port/,
	'pgqadm', '-d', "host=$tmp port=1 dbname=x", 'status');
mistake('wrong database', qr/database "nosuch" does not exist/,
	qr/psql -l lists/, 'pgqadm', '-d', $node->connstr('nosuch'), 'status');
mistake('unknown role', qr/role "nosuch" does not exist/, qr/createuser/,
	@adm, '-U', 'nosuch', 'status');
mistake('no extension', qr/schema "pgq" does not exist/, qr/"install"/,
	'pgqadm', '-d', $node->connstr('plain'), 'status');
mistake('no rights to administer', qr/permission denied for function create_queue/,
	qr/GRANT the role pgq_admin/, @adm, '-U', 'guest', 'create', 'q');
mistake('no rights to produce', qr/permission denied for function capture_table/,
	qr/pgq_writer \(produces/, @adm, '-U', 'guest', 'capture', 'orders', 'item');
mistake('no rights to consume', qr/permission denied for function/,
	qr/pgq_reader \(consumes/, @adm, '-U', 'guest', 'consume', 'orders', 'c',
	'--once');

# files

mistake('ini file of pgqadm not there', qr/nosuch\.ini/, qr/Look at the path/,
	'pgqadm', "$tmp/nosuch.ini", 'status');
mistake('ini file of pgqd not there', qr/nosuch\.ini/, qr/Look at the path/,
	'pgqd', "$tmp/nosuch.ini");
mistake('unknown ini key', qr/key\.ini:2: unknown key "tickr_period"/,
	qr/"pgqd --ini" prints all keys/,
	'pgqd', ini('key.ini', "[pgqd]\ntickr_period = 1\n"));
mistake('unknown ini key of pgqadm', qr/akey\.ini:2: unknown key "dbname"/,
	qr/"pgqadm --ini" prints/, 'pgqadm',
	ini('akey.ini', "[pgqadm]\ndbname = shop\n"), 'status');
mistake('log file that cannot be', qr/could not open log file/,
	qr/Look at the path/, 'pgqd',
	ini('log.ini', "[pgqd]\nlogfile = /nonexistent/pgqd.log\n"));
mistake('background without pidfile', qr/needs a pidfile/,
	qr/pidfile = ~\/pgqd\.pid/, 'pgqd', '-d', ini('pid.ini', "[pgqd]\nsyslog = 0\n"));
mistake('no ini file', qr/requires config file/, qr/pgqd --ini > pgqd\.ini/,
	'pgqd');

# names

mistake('queue misspelt, pgqadm', qr/no such queue: order/, qr/"status"/,
	@adm, 'register', 'order', 'mailer');
mistake('queue misspelt, consume', qr/order/, qr/"status" shows/,
	@adm, 'consume', 'order', 'mailer', '--register');
mistake('queue misspelt, insert_event', qr/no queue "order"/,
	qr/get_queue_info\(\) lists/, psql(q{select pgq.insert_event('order', 'a', 'b')}));
mistake('setting misspelt', qr/ticker_max_leg/, qr/ticker_max_lag/,
	@adm, 'config', 'orders', 'ticker_max_leg=1');
mistake('a time that is none', qr/interval: "soon"/, qr/'3 seconds'/,
	@adm, 'config', 'orders', 'ticker_max_lag=soon');
mistake('consumer not registered', qr/Not subscriber/, qr/--register/,
	@adm, 'consume', 'orders', 'mailer', '--once');
mistake('consumer not registered, SQL', qr/Not subscriber/,
	qr/register_consumer/, psql(q{select pgq.next_batch('orders', 'mailer')}));
mistake('batch that is finished', qr/batch not found/, qr/until it is finished/,
	psql(q{select * from pgq.get_batch_events(77)}));

# capture

mistake('no slot', qr/no capture slot in this database/, qr/start_capture/,
	@adm, 'capture', 'orders', 'item');
mistake('no REPLICATION', qr/replication/, qr/ALTER ROLE \.\.\. REPLICATION/,
	@adm, '-U', 'adm', 'slot', 'create');
SKIP:
{
	skip 'this server lets all plugins in', 3
	  if sql($node, $db, q{select count(*) from pg_settings
		where name = 'output_plugin_libraries'}) eq '0';
	my $all = sql($node, $db, 'show output_plugin_libraries');

	sql($node, $db, 'alter system set output_plugin_libraries = pgoutput');
	$node->reload;
	mistake('plugin not on the list', qr/does not allow output plugin "pgq"/,
		qr/ALTER SYSTEM SET output_plugin_libraries = pgoutput, pgq;/,
		@adm, 'slot', 'create');
	sql($node, $db, 'alter system reset output_plugin_libraries');
	$node->reload;
	wait_for('the list', sub {
		sql($node, $db, 'show output_plugin_libraries') eq $all });
}
sql($node, $db, 'select pgq.start_capture()');
mistake('table without key', qr/has no key/, qr/REPLICA IDENTITY FULL/,
	@adm, 'capture', 'orders', 'nokey');
mistake('table misspelt', qr/relation "itme" does not exist/, qr/its schema/,
	@adm, 'capture', 'orders', 'itme');
mistake('queue misspelt, capture', qr/queue "order" does not exist/,
	qr/create_queue/, @adm, 'capture', 'order', 'item');
sql($node, $db, q{select pgq.capture_table('orders', 'item')});
mistake('DDL that breaks a capture', qr/would break the capture/,
	qr/pgq\.alter_captured\(/, psql('alter table item drop constraint item_pkey'));
mistake('queue with consumers dropped', qr/consumers still attached/,
	qr/Unregister/, @adm, 'drop', 'orders')
  if sql($node, $db, q{select pgq.register_consumer('orders', 'mailer')});

# pgqd is down

mistake('pgqd down, drain', qr/not all changes/, qr/"doctor" tells whether pgqd/,
	@adm, 'drain', '--timeout', 1);
{
	my ($rc, $said) = run(@adm, 'consume', 'orders', 'mailer', '--timeout', 12);

	$mistakes++;
	is($rc, 0, 'pgqd down, consume: it waits');
	says('pgqd down, consume', qr/pgqd does not look after/, qr/Start it/, $said);
}
like((run(@adm, 'slot', 'status'))[1], qr/is pgqd running\?/,
	'pgqd down, slot status');

# pgqd

my $pgqd = start_pgqd($node);
wait_ingest($node, $db);
mistake('second pgqd', qr/another pgqd is running/, qr/"pgqd -s" stops it/,
	'pgqd', $pgqd->{ini});
logged('second pgqd with a pidfile of its own', qr/is active for PID/,
	qr/stands by to take over/);
$pgqd->stop;

my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1',
	LocalPort => 0);
logged('port taken', qr/Address already in use/, qr/Choose another port/,
	http_listen => '127.0.0.1:' . $taken->sockport);
logged('pgqd without rights', qr/permission denied for function/,
	qr/GRANT the role pgq_admin/,
	base_connstr => 'host=' . $node->host . ' port=' . $node->port . ' user=guest',
	database_list => $db);
logged('pgqd without REPLICATION', qr/ingest stands still: .*replication|WAL sender/i,
	qr/ALTER ROLE \.\.\. REPLICATION/,
	base_connstr => 'host=' . $node->host . ' port=' . $node->port . ' user=adm',
	database_list => $db);
logged('pgqd, wrong database', qr/database "nosuch" does not exist/,
	qr/psql -l lists/, database_list => 'nosuch');
logged('pgqd, database without the extension', qr/\[plain\]: no pgq here/,
	qr/pgqadm -d plain install/, database_list => 'plain');

# password

my $hba = slurp($node->data_dir . '/pg_hba.conf');
$node->append_conf('pg_hba.conf', $hba);
{
	open(my $fh, '>', $node->data_dir . '/pg_hba.conf') or die $!;
	print $fh "local all locked scram-sha-256\nlocal postgres guest reject\n$hba";
	close $fh;
}
$node->reload;
{
	local $ENV{PGPASSWORD} = 'wrong';
	mistake('wrong password', qr/password authentication failed/, qr/\.pgpass/,
		@adm, '-U', 'locked', 'status');
	delete $ENV{PGPASSWORD};
	mistake('no password', qr/no password supplied/, qr/\.pgpass/,
		@adm, '-U', 'locked', 'status');
}
logged('pgqd, wrong password', qr/password authentication failed/, qr/\.pgpass/,
	base_connstr => 'host=' . $node->host . ' port=' . $node->port
	  . ' user=locked password=wrong', database_list => $db);

# no room: on the consumer's side, and on the server's, whose message is played

if (-w '/dev/full')
{
	sql($node, $db, q{select pgq.insert_event('orders', 't', 'x');
		select pgq.force_tick('orders'); select pgq.ticker()});
	mistake('no room for output', qr/could not write output: No space/,
		qr/its events come again/, 'sh', '-c', 'exec "$@" > /dev/full', 'sh',
		@adm, 'consume', 'orders', 'mailer', '--once');
}
sql($node, $db, q{
	create function full_disk() returns trigger language plpgsql as $$ begin
		raise 'could not extend file "base/5/1": No space left on device'
			using errcode = 'disk_full'; end $$;
	create trigger full_disk before insert on pgq.queue
		execute function full_disk()});
mistake('no room on the server', qr/No space left on device/,
	qr/what is committed is safe/, @adm, 'create', 'more');
sql($node, $db, 'drop function full_disk() cascade');

# slot lost

drop_slot($node, $db);
mistake('slot lost, drain', qr/stands still|missing/, qr/doctor|resync|get_slot_info/,
	@adm, 'drain', '--timeout', 5);
logged('slot lost', qr/\[shop\]: ingest stands still: the replication slot is missing/,
	qr/resync/);
like((run(@adm, 'doctor'))[1], qr/missing.*pgq\.resync_capture/s,
	'slot lost: doctor has the statement');

# wal_level

sql($node, $db, 'select pgq.stop_capture()');
sql($node, $db, 'alter system set wal_level = replica');
$node->restart;
mistake('wrong wal_level', qr/wal_level = logical/, qr/ALTER SYSTEM SET wal_level/,
	@adm, 'slot', 'create');

# a server that only reads

$node->stop;
$node->set_standby_mode;
$node->start;
mistake('read-only server', qr/read-only transaction/, qr/name the primary/,
	@adm, 'create', 'q');

cmp_ok($mistakes, '>', 30, "$mistakes mistakes");
done_testing();
