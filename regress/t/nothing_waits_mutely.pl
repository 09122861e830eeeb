# What pgqadm waits for is said within two seconds, by name; and whoever stops
# waiting leaves nothing behind that goes on for him in the server.

use strict;
use warnings;

use IPC::Run;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_server('main', conf => "max_prepared_transactions = 2\n");
my $db = new_database($node, 'shop', slot => 0);
my $user = sql($node, $db, 'select quote_ident(current_user)');

$ENV{PGAPPNAME} = 'pgqadm';
sql($node, 'postgres', 'create database bare');
sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	create table item (id int primary key);
	create table old (id int primary key);
	create trigger to_q after insert on old for each row
		execute function pgq.jsontriga('q')});

my @running;
END { my $rc = $?; eval { $_->{h}->kill_kill } foreach @running; $? = $rc; }

sub start
{
	my ($database, @args) = @_;
	my $run = { err => '', at => time() };

	push @running, $run;
	$run->{h} = IPC::Run::start([ 'pgqadm', '-d', $node->connstr($database),
			@args ], \undef, '>', '/dev/null', '2>', \$run->{err});
	return $run;
}

sub wait_said
{
	my ($run, $like) = @_;

	wait_for("message like $like",
		sub { eval { $run->{h}->pump_nb }; $run->{err} =~ $like });
	return time() - $run->{at};
}

# Exit status, or minus the signal's number.
sub finish
{
	my ($run) = @_;

	eval { $run->{h}->finish };
	return $? & 127 ? -($? & 127) : $? >> 8;
}

sub stop
{
	my ($run, $signal) = @_;

	$run->{h}->signal($signal);
	return finish($run);
}

# Server sessions of pgqadm that are there in three seconds.
sub left
{
	my $end = time() + 3;
	my $n;

	do
	{
		$n = sql($node, 'postgres', q{select count(*) from pg_stat_activity
			where application_name = 'pgqadm' and pid <> pg_backend_pid()
			and query !~ 'pg_stat_activity'});
	} while ($n > 0 && time() < $end && sleep(0.1));
	return $n;
}

# An open transaction that has run this.
sub opened
{
	my ($database, $sql) = @_;
	my $s = do { local $ENV{PGAPPNAME} = 'holder'; session($node, $database) };
	my $pid = $s->query('select pg_backend_pid()');

	$s->query('begin');
	$s->query($sql);
	return ($s, $pid);
}

# told(WHAT, DATABASE, HOLDER'S SQL, COMMAND...): it names the holder, and goes
# on when he has ended.
sub told
{
	my ($what, $database, $sql, @command) = @_;
	my $begin = time();
	my ($s, $pid) = opened($database, $sql);
	# a loaded machine takes its time for this, and for pgqadm's two sessions
	my $slow = time() - $begin;
	my $run = start($database, @command);
	my $after = wait_said($run, qr/waiting for process/);

	cmp_ok($after, '<', 2 + 5 * $slow, "$what: said in time");
	my $holder = "(user $user, holder, idle in transaction for 00:00:00, its"
	  . " transaction is open for 00:00:00)\nhint: If it is forgotten:"
	  . " SELECT pg_terminate_backend($pid);\n";

	is($run->{err} =~ s/00:00:0\d/00:00:00/gr,
		"pgqadm: waiting for process $pid $holder", 'for whom');
	$s->query('rollback');
	$s->close;
	return $run;
}

my $run = told('slot create', $db, 'select txid_current()', 'slot', 'create');
is(finish($run), 0, 'it goes on');
is(() = $run->{err} =~ /waiting for/g, 1, 'it was said once');
$run = told('capture', $db, 'insert into item values (1)', 'capture', 'q', 'item');
is(finish($run), 0, 'it goes on');
$run = told('migrate', $db, 'insert into old values (1)', 'migrate');
is(finish($run), 0, 'it goes on');
$run = told('uncapture', $db, q{lock table pgq.capture}, 'uncapture', 'q', 'old');
is(finish($run), 0, 'it goes on');
$run = told('install', 'bare', 'create extension pgq', 'install');
is(finish($run), 0, 'it goes on');
$run = told('create', $db, 'lock table pgq.queue', 'create', 'q2');
is(finish($run), 0, 'it goes on');
sql($node, $db, $_) foreach q{select pgq.insert_event('q', 't', 'x')},
  q{select pgq.force_tick('q')}, q{select pgq.ticker('q')};
$run = told('consume', $db, 'select * from pgq.subscription for update',
	'consume', 'q', 'c', '--once');
is(finish($run), 0, 'it goes on');

# who is quiet is asked for nothing

{
	my ($s) = opened($db, 'lock table pgq.queue');
	$run = start($db, '-q', 'create', 'q3');
	sleep(2);
	$run->{h}->pump_nb;
	is($run->{err}, '', '-q: nothing is said');
	$s->query('rollback');
	$s->close;
	is(finish($run), 0, 'it goes on');
}

# a prepared transaction

sql($node, $db, q{select pgq.stop_capture()});
sql($node, $db, q{begin; insert into item values (2); prepare transaction 'gone''s'});
$run = start($db, 'slot', 'create');
wait_said($run, qr/^pgqadm: waiting for prepared transaction 'gone''s' \(user \Q$user\E, database shop, prepared 00:00:0\d ago\)\nhint: If it is forgotten: COMMIT PREPARED 'gone''s'; or ROLLBACK PREPARED 'gone''s';$/m);
pass('a prepared transaction is named');

# whoever stops waiting, is gone

sub no_slot_comes
{
	my ($how) = @_;

	is(left(), 0, "$how: its session in the server ends");
	sql($node, $db, q{rollback prepared 'gone''s'});
	sleep(0.5);
	is(sql($node, $db, 'select count(*) from pg_replication_slots'), 0,
		'and makes no slot later');
	return;
}
is(stop($run, 'INT'), -2, 'SIGINT ends it');
like($run->{err}, qr/^pgqadm: stopped$/m, 'which is said');
no_slot_comes('SIGINT');
foreach my $signal ([ 'TERM', 15 ], [ 'KILL', 9 ])
{
	sql($node, $db, q{begin; insert into item values (2); prepare transaction 'gone''s'});
	$run = start($db, 'slot', 'create');
	wait_said($run, qr/waiting for/);
	is(stop($run, $signal->[0]), -$signal->[1], "SIG$signal->[0] ends it");
	no_slot_comes("SIG$signal->[0]");
}
sql($node, $db, 'select pgq.start_capture()');

# pgqd, and for whom it waits

$run = start($db, 'drain');
cmp_ok(wait_said($run, qr/^pgqadm: waiting for pgqd, which does not look after this database\nhint:/m), '<', 2.5, 'drain says that there is no pgqd');
is(stop($run, 'INT'), -2, 'SIGINT ends it');
my $pgqd = start_pgqd($node, database_list => $db);
wait_ingest($node, $db);
my ($s, $pid) = opened($db, 'lock table item');
$run = start($db, 'capture', '--wait', 'q', 'item', 'copy');
wait_said($run, qr/waiting for process $pid/);
$s->query('rollback');
is(finish($run), 0, 'a capture goes on');
($s, $pid) = opened($db, 'lock table pgq.event_1');
sql($node, $db, q{insert into item values (7)});
$run = start($db, 'drain');
wait_said($run, qr/^pgqadm: waiting for pgqd \(process \d+\)$/m);
wait_said($run, qr/^pgqadm: pgqd waits for process $pid \(user/m);
pass('drain says for whom pgqd waits');
$s->query('rollback');
$s->close;
is(finish($run), 0, 'it goes on');
$run = start($db, 'drain', '--consumers');
cmp_ok(wait_said($run, qr/^pgqadm: waiting for consumer "c" of queue "q", about \d+ events behind$/m), '<', 3.5, 'and for which consumer it waits');
stop($run, 'INT');
is($pgqd->stop, 0, 'pgqd ends');

# a standby that is not there

commits_wait_for_nobody($node);
$run = start($db, 'create', 'q4');
wait_said($run, qr/^pgqadm: waiting for a synchronous standby \(synchronous_standby_names is nobody\)$/m);
is(stop($run, 'TERM'), -15, 'SIGTERM ends it');
is(left(), 0, 'and its session');

done_testing();
