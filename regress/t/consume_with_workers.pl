
# pgqadm consume --workers: each event once, those of a key in order, whole lines; a
# worker that is killed is replaced; one that fails ends all.

use strict;
use warnings;

use PgqTest;
use Test::More;
use IPC::Run;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $tmp = PostgreSQL::Test::Utils::tempdir();
my @consume = ('pgqadm', '-d', $node->connstr($db), 'consume', 'q', 'c');

sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.set_queue_config('q', 'ticker_max_lag', '0')});

# produce(N): so many events of 20 keys
sub produce
{
	my ($n) = @_;

	sql($node, $db, "select cardinality(pgq.insert_events('q', array_fill('U:id'::text, array[$n]),
		(select array_agg('id=' || i % 20 || '&n=' || i) from generate_series(1, $n) i)))");
	sql($node, $db, $_) foreach q{select pgq.force_tick('q')}, q{select pgq.ticker('q')};
	return;
}

# children(PID): its processes
sub children
{
	my ($parent) = @_;

	return grep { (eval { slurp("/proc/$_/stat") } // '') =~ /\) \S+ $parent / }
	  map { m{/(\d+)$} } glob('/proc/[0-9]*');
}

# in_order(LINES): whether the numbers of each key rise, and how many lines there are
sub in_order
{
	my %last;

	foreach (split(/\n/, $_[0]))
	{
		my ($key, $n) = /^\{"ev_data":"id=(\d+)&n=(\d+)"\}$/ or return "bad line: $_";
		return "key $key: $n after $last{$key}" if $n <= ($last{$key} // -1);
		$last{$key} = $n;
	}
	return scalar(split(/\n/, $_[0]));
}

produce(2000);
my ($out, $err) = ('', '');
IPC::Run::run([ @consume, '--workers', '4', '--once', '--fields', 'ev_data' ],
	'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
is($?, 0, '--once ends') or diag($err);
is(in_order($out), 2000, 'each event once, in order');
is(sql($node, $db, q{select count(*) from pgq.get_consumer_info('q', 'c') where current_batch is null and pending_events <= 1}), 1,
	'and the batch is finished');

# a command may take long; with one worker there is one share

sql($node, $db, 'delete from pgq.share_worker');
produce(20);
my $slow = IPC::Run::start([ @consume, '--workers', '1', '--once', '--exec',
		qq{cat > $tmp/long; touch $tmp/begun; while [ ! -e $tmp/go ]; do sleep 0.1; done} ],
	'<', \undef, '2>', \$err, IPC::Run::timeout(60));
wait_for('the command', sub { -e "$tmp/begun" });
is(sql($node, $db, q{select share_id is null and batch_id is not null
	and (select min(sh_until) from pgq.share where not sh_done) > now() + interval '1 hour'
	from pgq.next_share('q', 'c', 'other')}), 't', 'a share is its command\'s however long that takes');
PostgreSQL::Test::Utils::append_to_file("$tmp/go", '');
$slow->finish;
is($? . $err, '0', '... and is finished by it');

# a command for each share

produce(500);
IPC::Run::run([ @consume, '--workers', '3', '--once', '--fields', 'ev_data', '--exec',
		qq{cat >> $tmp/w\$PGQ_WORKER; sleep 0.2} ],
	'<', \undef, '2>', \$err, IPC::Run::timeout(60));
is($?, 0, '--exec') or diag($err);
my @files = glob("$tmp/w*");
cmp_ok(@files, '>=', 2, 'several worked at a time');
is(in_order(join('', map { slurp($_) } @files)), 500, 'each event once');

# killed

sql($node, $db, q{select pgq.set_queue_config('q', 'ticker_max_lag', '100 ms')});
my $pgqd = start_pgqd($node, ticker_period => 0.1);
my $seen = '';
$err = '';
my $h = IPC::Run::start([ @consume, '--workers', '2', '--fields', 'ev_data',
		'--exec', "sleep 0.1; cat >> $tmp/killed; echo \$PGQ_WORKER \$PPID >> $tmp/pids" ],
	'<', \undef, '>', \$seen, '2>', \$err, IPC::Run::timeout(120));
produce(100);
wait_for('work', sub { -s "$tmp/pids" });
my $parent = $h->{KIDS}[0]{PID};
my ($child) = children($parent);
kill('KILL', $child);
my @workers;
wait_for('another one', sub { $h->pump_nb; $err =~ /worker \d was ended by signal 9; another one is started/ });
produce(100);
wait_for('all events', sub { 200 <= (split(/\n/, slurp("$tmp/killed"))) });
pass('they go on');
@workers = children($parent);
is(@workers, 2, 'two workers');
$h->signal('TERM');
$h->finish;
is($h->full_result(0), 0, 'SIGTERM ends all, with status 0') or diag($err);
is(join(' ', grep { kill(0, $_) } @workers), '', 'no worker is left');

# failures

produce(10);
($out, $err) = ('', '');
IPC::Run::run([ @consume, '--workers', '2', '--once', '--exec', 'exit 3' ],
	'<', \undef, '2>', \$err, IPC::Run::timeout(60));
is($? >> 8, 1, 'a command that fails, with --once');
like($err, qr/command exited with status 3/, 'it is said');
foreach (
	[ 'option --key needs --workers', '--key', 'type' ],
	[ 'option --count does not go with --workers', '--count', '1', '--workers', '2' ],
	[ 'option --workers takes 1 to 1000, not "5000"', '--workers', '5000' ],
	[ 'queue q: there is no key "nokey" to share by', '--workers', '1', '--key', 'nokey', '--once' ])
{
	my ($message, @args) = @$_;

	IPC::Run::run([ @consume, @args ], '<', \undef, '2>', \$err, IPC::Run::timeout(60));
	is($? >> 8, 1, "@args");
	like($err, qr/^pgqadm: \Q$message\E$/m, 'says why');
}
$pgqd->stop;

done_testing();
