
# pgqadm consume: a batch is finished only when its lines were taken. Kill it,
# close its pipe, fail its command: the same events come again, none is lost.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(sleep time);
use IPC::Run;
use JSON::PP;

my $node = new_server('main');
my $tmp = PostgreSQL::Test::Utils::tempdir();
my @consume =
  ('pgqadm', '-d', $node->connstr('shop'), 'consume', 'q', 'c');

# A consumer's session is found by the name that libpgq gives it.
delete $ENV{PGAPPNAME};

new_database($node, 'shop');
sql($node, 'shop', q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c')});

# Puts events of these data into one new batch.
sub produce
{
	my (@data) = @_;
	my $s = session($node, 'shop');

	$s->query('begin');
	$s->query("select pgq.insert_event('q', 't', '$_')") foreach @data;
	$s->query('commit');
	$s->query("select pgq.force_tick('q')");
	$s->query("select pgq.ticker('q')");
	$s->close;
	return;
}

# Runs it to its end: exit status, lines, messages.
sub consume_once
{
	my ($out, $err) = ('', '');

	IPC::Run::run([ @consume, '--once', @_ ], \undef, \$out, \$err,
		IPC::Run::timeout(60));
	return ($? >> 8, $out, $err);
}

# The data of the lines.
sub data
{
	return join(' ', map { decode_json($_)->{ev_data} } split(/\n/, shift));
}

# Starts it in the background. It would outlive a test that dies.
my @running;
END { my $rc = $?; eval { $_->kill_kill } foreach @running; $? = $rc; }

sub start
{
	my $run = { out => '', err => '' };

	push @running, $run->{h} = IPC::Run::start([ @consume, @_ ],
		\undef, \$run->{out}, \$run->{err}, IPC::Run::timeout(120));
	return $run;
}

sub wait_out
{
	my ($run, $like) = @_;

	wait_for("consumer to print $like",
		sub { $run->{h}->pump_nb; $run->{out} =~ $like });
	return;
}

sub stop
{
	my ($run, $signal) = @_;

	$run->{h}->signal($signal);
	return finish($run);
}

# Waits for its end: the exit status as $? has it.
sub finish
{
	my ($run) = @_;

	eval { $run->{h}->finish };
	return $?;
}

my ($rc, $out, $err);

# what is printed

sql($node, 'shop', q{select pgq.insert_event('q', E'ty"p\\\\e',
	E'a\n\t\r\x01 ä € \U0001F600 \u2028', 'x1', '', null, 'x4')});
produce();
($rc, $out, $err) = consume_once();
my $ev = decode_json($out);
is(delete $ev->{ev_data}, "a\n\t\r\x01 \xe4 \x{20ac} \x{1F600} \x{2028}",
	'every character comes through');
is(delete $ev->{ev_type}, 'ty"p\\e', 'quotes too');
like(delete $ev->{ev_time}, qr/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+[+-]\d\d/,
	'time');
like(delete $ev->{ev_id}, qr/^\d+$/, 'id');
like(delete $ev->{ev_txid}, qr/^\d+$/, 'txid');
is_deeply(
	$ev,
	{
		ev_retry => undef, ev_extra1 => 'x1', ev_extra2 => '',
		ev_extra3 => undef, ev_extra4 => 'x4'
	},
	'NULL is null, empty is empty');
is_deeply([ consume_once() ], [ 0, '', '' ], 'then there is nothing more');

produce('a', 'b');
($rc, $out) = consume_once('--fields', 'ev_data,ev_extra1');
is($out,
	qq({"ev_data":"a","ev_extra1":null}\n{"ev_data":"b","ev_extra1":null}\n),
	'--fields');

# a command takes the batch

produce('c', 'd');
($rc, $out, $err) = consume_once('--exec', 'cat; exit 3');
is($rc, 1, 'a command that fails ends a single run');
is(data($out), 'c d', 'it saw the batch');
like($err, qr/^pgqadm: command exited with status 3; batch \d+ stays open$/,
	'this is said');
($rc, $out, $err) = consume_once('--exec', 'kill -9 $$');
like($err, qr/command was ended by signal 9/, 'so is its violent end');
($rc, $out, $err) = consume_once('--exec', 'cat; echo $PGQ_QUEUE $PGQ_CONSUMER');
is($rc, 0, 'until it works');
like($out, qr/"d",.*\nq c\n$/s, 'the same events came again');

produce('e');
my $run = start('--exec', "cat; test -e $tmp/mended", '--count', 1);
wait_out($run, qr/"e".*"e"/s);
open(my $fh, '>', "$tmp/mended") or die $!;
close $fh;
is(finish($run), 0, 'a failing command is tried again, then --count');

produce(map { "f$_" } 1 .. 2000);
($rc, $out, $err) = consume_once('--exec', 'head -n 1');
is($rc, 0, 'a command need not read all');

# output that cannot be written

produce(map { "g$_" } 1 .. 5000);
($rc, $out, $err) = (0, '', '');
IPC::Run::run([ 'bash', '-c', '"$@" | head -n 1; exit ${PIPESTATUS[0]}',
		'bash', @consume, '--once' ], \undef, \$out, \$err);
is($? >> 8, 1, 'a closed pipe ends it');
like($err, qr/could not write output: Broken pipe/, 'and is named');
IPC::Run::run([ 'bash', '-c', '"$@" >/dev/full', 'bash', @consume, '--once' ],
	\undef, \$out, \$err);
is($? >> 8, 1, 'so does a full disk');
like($err, qr/No space left on device/, 'and is named');
($rc, $out) = consume_once();
is(scalar(() = $out =~ /\n/g), 5000, 'the whole batch came again');

# kill -9 in the middle of a batch

produce('h', 'i');
$run = start('--exec', "exec >/dev/null 2>&1; cat > $tmp/killed;"
	  . " touch $tmp/read; exec sleep 30");
wait_for('the command to have read', sub { -e "$tmp/read" });
stop($run, 'KILL');
is(data(slurp("$tmp/killed")), 'h i', 'the batch was read');
wait_for('end of its session', sub {
	sql($node, 'shop', q{select count(*) from pg_stat_activity
		where application_name like 'pgq consumer%'}) == 0 });
($rc, $out) = consume_once();
is(data($out), 'h i', 'at least once after kill -9');

# wake-up

$run = start('--fields', 'ev_data');
produce('first');
wait_out($run, qr/first/);
my $worst = 0;
foreach my $n (1 .. 5)
{
	sleep(0.3);
	produce("wake$n");
	my $start = time();
	sql($node, 'shop', q{select pg_notify(pgq.tick_channel('q'), '1')});
	wait_out($run, qr/wake$n\D/);
	$worst = time() - $start if time() - $start > $worst;
}
cmp_ok($worst, '<', 0.7, 'a notice wakes it at once');

my $pgqd = start_pgqd($node);
wait_for('ingest to start', sub {
	sql($node, 'shop', 'select active from pgq.get_slot_info()') eq 't' });
sql($node, 'shop', q{select pgq.insert_event('q', 't', 'warm')});
wait_out($run, qr/warm/);
$worst = 0;
foreach my $n (1 .. 5)
{
	sleep(0.3);
	my $start = time();
	sql($node, 'shop', qq{select pgq.insert_event('q', 't', 'ticked$n')});
	wait_out($run, qr/ticked$n\D/);
	$worst = time() - $start if time() - $start > $worst;
}
cmp_ok($worst, '<', 0.7, 'so does a commit, where pgqd runs');
is($pgqd->stop, 0, 'pgqd ends');
is(stop($run, 'TERM'), 0, 'SIGTERM while it waits: status 0');

# a signal lets the batch come to its end

produce('j');
$run = start('--exec', "touch $tmp/begun; sleep 1; cat > $tmp/last");
wait_for('the command to run', sub { -e "$tmp/begun" });
is(stop($run, 'INT'), 0, 'SIGINT in a batch: status 0');
is(data(slurp("$tmp/last")), 'j', 'after its end');
is((consume_once())[1], '', 'it was finished');

# lost connections

$run = start();
produce('before');
wait_out($run, qr/"before"/);
sql($node, 'shop', q{select pg_terminate_backend(pid) from pg_stat_activity
	where application_name like 'pgq consumer%'});
produce('k');
wait_out($run, qr/"k"/);
$node->restart;
produce('l');
wait_out($run, qr/"l"/);
is(stop($run, 'TERM'), 0, 'it went on after kill and restart');
like($run->{err}, qr/connection lost.*connected again.*connection lost/s,
	'and said so');

# two sessions of one consumer

produce('m');
$run = start('--exec', "touch $tmp/two; sleep 2", '--once');
wait_for('the command to run', sub { -e "$tmp/two" });
sql($node, 'shop', q{select pgq.finish_batch(current_batch)
	from pgq.get_consumer_info('q', 'c')});
is(finish($run), 1 << 8, 'a batch that somebody else finished');
like($run->{err}, qr/the batch is no longer open/, 'is named');

# registering, limits

$node->command_fails_like([ @consume[0 .. 3], 'q', 'new', '--once' ],
	qr/^pgqadm: Not subscriber to queue: q\/new\nhint: /, 'not registered');
$node->command_fails_like(
	[ @consume[0 .. 3], 'none', 'new', '--register' ],
	qr/^pgqadm: /, 'no such queue');
$node->command_ok([ @consume[0 .. 3], 'q', 'new', '--register', '--once' ],
	'--register');
is(sql($node, 'shop',
		"select count(*) from pgq.get_consumer_info('q', 'new')"),
	1, 'is registered');
($rc, $out, $err) = consume_once('--fields', 'dance');
like($err, qr/^pgqadm: bad field: dance\n/, 'an unknown field');
$node->command_ok([ @consume, '--timeout', '0.5' ], '--timeout');
{
	local $ENV{PGOPTIONS} = '-c idle_session_timeout=300';
	$run = start('--timeout', 2);
	is(finish($run), 0, 'a limit on the time of idle sessions');
	is($run->{err}, '', 'does not end the one that waits for a tick');
}
$node->command_fails_like([ @consume, '--timeout', '0.5', '--count', 1 ],
	qr/no event came for 0.5 seconds; 0 of 1 were finished/,
	'--timeout before --count');

done_testing();
