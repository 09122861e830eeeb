
# pgqadm seek says what it is going to do, asks, and does no more than that; a new
# consumer may begin in the past. Retention accuses nobody.

use strict;
use warnings;

use PgqTest;
use Test::More;
use IPC::Run;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my @adm = ('pgqadm', '-d', $node->connstr($db));

# run(ARGUMENT...): exit status and messages.
sub run
{
	my $err = '';

	IPC::Run::run([ @adm, @_ ], '<', \undef, '>', '/dev/null', '2>', \$err,
		IPC::Run::timeout(60));
	return ($? >> 8, $err);
}

sub position
{
	return sql($node, $db,
		"select last_tick || coalesce(' ' || current_batch, '')
			from pgq.get_consumer_info('q', 'c')");
}

sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.set_queue_config('q', 'ticker_idle_period', '0'),
		pgq.set_queue_config('q', 'ticker_max_lag', '0');
	select pgq.register_consumer('q', 'c')});
foreach my $n (1 .. 3)
{
	sql($node, $db, "select pgq.insert_event('q', 't', 'd') from generate_series(1, 10)");
	sql($node, $db, q{select pgq.ticker('q')});
}
consume($node, $db, 'q', 'c');
sql($node, $db, q{update pgq.tick set tick_time = '2026-01-01 12:00:00+00'::timestamptz + tick_id * interval '1 h'});
my ($first, $last) = split(/\|/, sql($node, $db, 'select min(tick_id), max(tick_id) from pgq.tick'));
is(position(), $last, 'it is at the end');

# without somebody to ask nothing is done

my ($rc, $err) = run('seek', 'q', 'c', '--start');
is($rc, 1, 'nobody to ask');
like($err, qr/^Consumer c of queue q goes\n  from tick $last of .* ago\n  to tick $first of .* ago\n  about \d+ events come again\npgqadm: nobody is there to say yes\nhint: Option --yes/,
	'what would be done');
is(position(), $last, 'nothing was done');

# answers

foreach my $answer ([ 'n', $last ], [ '', $last ], [ 'y', $first ])
{
	my ($in, $seen) = ('', '');
	my $h = IPC::Run::start([ @adm, 'seek', 'q', 'c', '--start' ],
		'<pty<', \$in, '>pty>', \$seen, IPC::Run::timeout(60));

	wait_for('the question', sub { $h->pump_nb; $seen =~ /Do it\?/ });
	is(sql($node, $db, "select count(*) from pg_stat_activity where state like 'idle in%'"),
		0, 'it holds nothing while it asks');
	$in .= "$answer->[0]\n";
	$h->finish;
	is(position(), $answer->[1], "answer \"$answer->[0]\"");
}

# places

my $middle = $first + 1;
foreach my $move (
	[ $middle, 'about 10 events are left out', '--tick', $middle ],
	[ $last, 'about 20 events are left out', '--end' ],
	[ $middle, 'about 20 events come again', '--time',
		sql($node, $db, "select tick_time + interval '1 s' from pgq.tick where tick_id = $middle") ],
	[ $middle, 'no event comes again or is left out', '--tick', $middle ])
{
	my ($at, $says, @where) = @$move;

	($rc, $err) = run('seek', 'q', 'c', @where, '--yes');
	is("$rc " . position(), "0 $at", "@where");
	like($err, qr/^  $says\nConsumer c of queue q stands at tick $at$/m, $says)
	  if "@where" ne "--tick $middle" || $says =~ /^no/;
}
is((run('-q', 'seek', 'q', 'c', '--end', '--yes'))[1], '', '-q says nothing');
is(position(), $last, 'and does it');

# refused

foreach (
	[ qr/^pgqadm: no place is given\nhint: Say where/, 'q', 'c' ],
	[ qr/^pgqadm: more than one place is given\n/, 'q', 'c', '--start', '--end' ],
	[ qr/^pgqadm: queue "q" has nothing as old as .*\ndetail: Its oldest tick is $first, of .*\nhint: /, 'q', 'c', '--time', '2000-01-01' ],
	[ qr/^pgqadm: cannot reposition, tick not found: 9999\n/, 'q', 'c', '--tick', '9999' ],
	[ qr/^pgqadm: invalid input syntax for type bigint: "x"/, 'q', 'c', '--tick', 'x' ],
	[ qr/^pgqadm: consumer not registered\n/, 'q', 'none', '--start' ],
	[ qr/^pgqadm: consumer not registered\n/, 'none', 'c', '--start' ])
{
	my ($like, @args) = @$_;

	($rc, $err) = run('seek', @args, '--yes');
	is($rc, 1, "seek @args");
	like($err, $like, 'says why');
}
run('seek', 'q', 'c', '--start', '--yes');
my $batch = sql($node, $db, q{select pgq.next_batch('q', 'c')});
($rc, $err) = run('seek', 'q', 'c', '--end', '--yes');
is($rc, 1, 'a batch is open');
like($err, qr/^pgqadm: consumer "c" has batch $batch open\ndetail: .*\nhint: .*--discard-batch/, 'it is said, with a way out');
is(position(), "$first $batch", 'it stays open');
($rc, $err) = run('seek', 'q', 'c', '--end', '--yes', '--discard-batch');
like($err, qr/^  batch $batch, which it has open, is given up$/m, 'a batch is given up');
is(position(), $last, 'it is given up');

# a new consumer

is((run('register', 'q', 'from start', '--start'))[0], 0, 'a new one begins at the start');
is((run('register', 'q', 'from tick', '--tick', $middle))[0], 0, 'at a tick');
is((run('register', 'q', 'plain'))[0], 0, 'or at the end');
is(sql($node, $db, "select string_agg(last_tick::text, ' ' order by consumer_name) from pgq.get_consumer_info('q')"),
	"$last $first $middle $last", 'they are there');
($rc, $err) = run('register', 'q', 'c', '--start');
is($rc, 1, 'one that is there is not moved');
like($err, qr/^pgqadm: consumer c is registered on queue q already\nhint: Command "seek" moves it/, 'and it is said how');
is((run('register', 'q', 'too old', '--time', '2000-01-01'))[0], 1, 'not where nothing is');
is(sql($node, $db, q{select count(*) from pgq.consumer where co_name = 'too old'}), 0, 'nor registered');

# who is within the retention, and a queue that keeps its tables for it, are not accused

sub doctor
{
	my $out = '';

	IPC::Run::run([ @adm, 'doctor' ], '<', \undef, '>', \$out, '2>&1', IPC::Run::timeout(60));
	return $out;
}
sql($node, $db, q{update pgq.tick set tick_time = now() - interval '3 days';
	update pgq.queue set queue_switch_time = now() - interval '3 days'});
like(doctor(), qr/consumer "from start" of queue "q" is 3 days.*behind/, 'a consumer that is behind');
like(doctor(), qr/queue "q" has not rotated/, 'a queue that does not rotate');
is((run('config', 'q', 'retention=4 days'))[0], 0, 'retention is set');
unlike(doctor(), qr/from start|has not rotated/, 'within the retention');
sql($node, $db, q{update pgq.queue set queue_retention = '2 days'});
like(doctor(), qr/consumer "from start"/, 'beyond it');
like(doctor(), qr/queue "q" has not rotated/, 'also for a rotation');
my $config = `@{[ join(' ', map { qq{"$_"} } @adm) ]} config q`;
like($config, qr/^    retention\t= 172800$/m, 'config shows it');
my $status = `@{[ join(' ', map { qq{"$_"} } @adm) ]} status --json`;
like($status, qr/"retention_s" : 172800/, 'and so does status');

done_testing();
