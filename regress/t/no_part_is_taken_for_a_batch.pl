# pgqadm consume --exec: a command never takes a part of a batch for the whole,
# whoever dies meanwhile, and holds up nobody however long it takes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $events = 20000;
my $err = '';

# A consumer's session is found by the name that libpgq gives it.
delete $ENV{PGAPPNAME};

sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
});

# far more than all pipes and sockets take
sub produce
{
	my $n = shift // $events;

	sql($node, $db, qq{
		select count(pgq.insert_event('q', 't', repeat('x', 300)))
		from generate_series(1, $n);
		select pgq.force_tick('q'); select pgq.ticker()});
	return;
}

sub start
{
	$err = '';
	return IPC::Run::start(['pgqadm', '-d', $node->connstr($db), 'consume',
		'q', 'c', @_], '<', \undef, '>', '/dev/null', '2>', \$err);
}

# Reads a line, waits until it may go on, and counts the lines in the end.
sub start_counting
{
	my ($name) = @_;
	my $run = start('--exec', "exec 2>&-; echo \$\$ > $dir/$name.pid; cat | {"
		. " read -r line; touch $dir/$name.begun;"
		. " while [ ! -e $dir/$name.go ]; do sleep 0.1; done;"
		. " wc -l >> $dir/$name.count; }; true");

	wait_for('the command', sub { -e "$dir/$name.begun" });
	return $run;
}

sub go_on
{
	my ($name) = @_;
	PostgreSQL::Test::Utils::append_to_file("$dir/$name.go", "\n");
	return;
}

sub counted
{
	my ($name) = @_;
	return -e "$dir/$name.count" ? PgqTest::slurp("$dir/$name.count") : '';
}

sub is_open
{
	return sql($node, $db, q{select current_batch is not null
		from pgq.get_consumer_info('q', 'c')}) eq 't';
}

# Sessions of the consumer that hold back vacuum and rotation.
sub holding
{
	return sql($node, $db, q{select count(*) from pg_stat_activity
		where application_name = 'pgq consumer c'
		and (backend_xmin is not null or xact_start is not null)});
}

sub wait_finished
{
	my ($run) = @_;

	wait_for('the batch to be finished', sub { $run->pump_nb; !is_open() });
	return;
}

# the server's session ends, then the server, while a command works

produce();
my $run = start_counting('lost');
is(holding(), 0, 'no transaction is open while the command works');
is(sql($node, $db, q{select pg_terminate_backend(pid) from pg_stat_activity
	where application_name = 'pgq consumer c'}), 't', 'its session is ended');
$node->restart;
go_on('lost');
wait_finished($run);
is(counted('lost'), ($events - 1) . "\n", 'the batch is read once, whole');
$run->signal('TERM');
$run->finish;
like($err, qr/connection lost/, 'though its connection was lost on the way');

# the role's limits

{
	local $ENV{PGOPTIONS} =
	  '-c statement_timeout=2000 -c idle_in_transaction_session_timeout=500';
	produce();
	$run = start('--once', '--exec', "sleep 3; wc -l > $dir/limits.count");
	$run->finish;
	is(counted('limits') . $err, "$events\n",
		'a slow command finishes a large batch within the role\'s limits');
	ok(!is_open(), 'for good');
}

# a reader of the printed lines that is slow

produce();
$run = IPC::Run::start(['sh', '-c', '"$@" | { read -r line; touch ' .
	"$dir/slow.begun; while [ ! -e $dir/slow.go ]; do sleep 0.1; done;"
	. " wc -l > $dir/slow.count; }", 'sh', 'pgqadm', '-d',
	$node->connstr($db), 'consume', 'q', 'c', '--once'], '<', \undef);
wait_for('the first line', sub { -e "$dir/slow.begun" });
is(holding(), 0, 'no transaction is open while the reader rests');
go_on('slow');
$run->finish;
is(counted('slow'), ($events - 1) . "\n", 'it gets all of the batch');

# pgqadm is stopped or killed

produce();
foreach my $how (['stopped', 'TERM', 'TERM'], ['killed', 'KILL'])
{
	my ($name, @signals) = @$how;

	$run = start_counting($name);
	foreach my $signal (@signals)
	{
		sleep(0.5);
		$run->signal($signal);
	}
	eval { $run->finish };
	wait_for("all of the command of who was $name to end",
		sub { !kill(0, -slurp("$dir/$name.pid")) });
	go_on($name);
	sleep(0.5);
	is(counted($name), '', "the command of who was $name comes to no end");
	ok(is_open(), 'the batch is open');
}

# a command that is deaf to SIGTERM

$run = start('--exec', "trap '' TERM; echo \$\$ > $dir/deaf.pid; while :;"
	. " do sleep 0.2; done");
wait_for('the command', sub { -s "$dir/deaf.pid" });
$run->signal('KILL');
eval { $run->finish };
wait_for('the deaf command to end',
	sub { !kill(0, -slurp("$dir/deaf.pid")) });
pass('a command that is deaf to SIGTERM is ended, too');

# A command that must know that it has all of the batch.

sub once
{
	$run = start('--once', @_);
	$run->finish;
	return ($? >> 8) . $err;
}

my $loop = "n=0; while read -r line; do case \$line in"
  . " '{\"end_of_batch\":'*) echo \"\$line\" >&3; echo \"\$n of \$PGQ_EVENTS\""
  . " > $dir/confirm.count;; *) n=\$((n + 1));; esac; done";
like(once('--confirm', '--exec', "head -n 500 | { $loop; }"),
	qr/^1pgqadm: command did not confirm; batch \d+ stays open\nhint: /,
	'a part of its input is not confirmed');
ok(is_open(), 'and the batch not finished');
like(once('--confirm', '--exec', 'cat >/dev/null; echo yes >&3'),
	qr/did not confirm/, 'nor is it by another answer');
is(once('--confirm', '--exec', $loop), '0', 'the whole is');
is(counted('confirm'), "$events of $events\n", 'with the number of its events');
ok(!is_open(), 'and the batch is finished');

# as the manual has it
my ($shown) = slurp("$FindBin::RealBin/../../doc/pgqadm.md") =~
  /^```\n(while read -r line; do\n.*?\ndone\n)```$/ms;
produce(7);
is(once('--confirm', '--exec', "cd $dir; $shown"), '0',
	'the loop in the manual confirms');
is(scalar(() = slurp("$dir/orders.log") =~ /^\{"ev_id":/mg), 7,
	'after all of the batch');
like(once('--confirm'), qr/option --confirm needs --exec/,
	'who prints has nobody to confirm');

# no room for the file

produce(1);
{
	local $ENV{TMPDIR} = "$dir/nosuch";
	like(once('--exec', 'cat'), qr/could not write the batch to a file:.*TMPDIR/s,
		'a batch that can not be kept is not begun');
}
ok(is_open(), 'and stays open');

done_testing();
