
# Eight workers of one consumer, killed and stopped at random: each event is done once,
# those of a key in order, whatever worker had them; retried and dead ones too.

use strict;
use warnings;

use PgqTest;
use Test::More;
use File::Basename;
use IPC::Run;
use Time::HiRes qw(sleep time);

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $source = dirname($0) . '/share_worker.c';
chomp(my $libdir = `pg_config --libdir`);
my $built = system(
	"cc -Wall -Wextra -o $tmp/worker $source"
	  . " \$(PKG_CONFIG_PATH=$libdir/pkgconfig pkg-config --cflags --libs libpgq)") == 0;
ok($built, 'a worker is built') or BAIL_OUT('no worker');
$ENV{LD_LIBRARY_PATH} = join(':', $libdir, $ENV{LD_LIBRARY_PATH} // ());

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
sql($node, $db, q{
	create table ledger (n bigserial, worker text, ev_id int8, key text);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.set_queue_config('q', 'ticker_max_lag', '100 ms')});
my $pgqd = start_pgqd($node, retry_period => 1, ticker_period => 0.1);

my %workers;    # number => pid
my %hangs;      # number => true, of those that go on later
my $started = 0;
my $test = $$;

sub start_worker
{
	my ($n) = @_;
	my $pid = fork();

	die $! if !defined $pid;
	if ($pid == 0)
	{
		open(STDOUT, '>>', "$tmp/out.txt");
		exec("$tmp/worker", $node->connstr($db), 'q', 'c', 'w' . $n . '-' . ++$started, 3);
		exit 1;
	}
	$started++;
	$workers{$n} = $pid;
	return;
}
start_worker($_) foreach 1 .. 8;

# load and kills

my $writer = session($node, $db);
my ($rounds, $killed, $stopped) = (0, 0, 0);
my $until = time + 12;
srand($ENV{SEED} // 7);
while (time < $until)
{
	$writer->query("select cardinality(pgq.insert_events('q', array_fill('U:id'::text, array[100]),
		(select array_agg('id=' || (random() * 40)::int || case when i % 40 = 7 then '&x=again'
			when i % 40 = 9 then '&x=bad' else '' end) from generate_series(1, 100) i)))");
	$rounds++;
	my $n = 1 + int(rand(8));
	my $what = rand();

	if ($what < 0.25 && !$hangs{$n})
	{
		kill('KILL', $workers{$n});
		waitpid($workers{$n}, 0);
		start_worker($n);
		$killed++;
	}
	elsif ($what >= 0.25 && $what < 0.4 && $stopped < 4 && !$hangs{$n})
	{
		# one that hangs keeps its share, and goes on with it
		my $pid = $workers{$n};

		kill('STOP', $pid);
		$hangs{$n} = 1;
		$stopped++;
		if (fork() == 0)
		{
			sleep(5);
			kill('CONT', $pid);
			require POSIX;
			POSIX::_exit(0);
		}
	}
	sleep(0.1);
}
$writer->close;
cmp_ok($killed, '>', 5, "$killed workers were killed, $stopped stopped");

# to the end

my $events = $rounds * 100;
my $bad = int($rounds * 3);
$bad = sql($node, $db, q{select count(*) from (select from generate_series(1, 100) i where i % 40 = 9) x}) * $rounds;
wait_for('all events', sub {
	sql($node, $db, q{select (select count(*) from ledger) + (select count(*) from pgq.dead_event)}) >= $events });
is(sql($node, $db, q{select count(*) from pgq.dead_event}), $bad, 'the bad ones are dead');
is(sql($node, $db, q{select count(*) || ' ' || count(distinct ev_id) from ledger}),
	($events - $bad) . ' ' . ($events - $bad), 'each other event is done once');
is(sql($node, $db, q{select count(*) from ledger l join pgq.dead_event d using (ev_id)}), 0, 'no dead one is');
is(sql($node, $db, q{
	select count(*) from (
		select ev_id, lag(ev_id) over (partition by key order by n) as before,
			key from ledger
		where ev_id not in (select ev_id from pgq.event_template where ev_retry > 0)) o
	where before > ev_id}), 0, 'those of a key in order, but for retried ones');
cmp_ok(sql($node, $db, q{select count(distinct worker) from ledger}), '>=', 8, 'all workers worked');
wait_for('the end of the last batch', sub {
	sql($node, $db, q{select count(*) from pgq.get_consumer_info('q', 'c') where current_batch is null and pending_events = 0}) == 1 });
pass('nothing is left open');
$pgqd->stop;

done_testing();

# also when it has died
END
{
	my $rc = $?;

	foreach my $pid ($$ == $test ? values %workers : ())
	{
		kill('KILL', $pid);
		waitpid($pid, 0);
	}
	$? = $rc;
}
