
# Whatever keeps events from moving is named with its cause, and is gone from all
# that tells of it soon after it is over: pgqd's log, /health and its page,
# metrics, pgqadm status, top and doctor. Each case stands in
# doc/standstills.md.

use strict;
use warnings;

use FindBin;
use HTTP::Tiny;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep time);

# The promise is 15 s and 5 s; the machine of the test may be busy.
my $named_within = 15 + ($ENV{PGQ_SLACK} // 15);
my $gone_within = 5 + ($ENV{PGQ_SLACK} // 15);

my $node = new_server('main', conf => "wal_sender_timeout = '10 min'\n");
my $db = new_database($node, 'shop');
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $http = HTTP::Tiny->new(timeout => 20);
my $connstr = $node->connstr($db);
my $doc = slurp("$FindBin::RealBin/../../doc/standstills.md");

sql($node, $db, q{
	create table t (id serial primary key, pad text);
	select pgq.create_queue('q'), pgq.create_queue('other');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't')});
my $events = sql($node, $db, q{select pgq.current_event_table('q')});
my $pgqd = start_pgqd($node, http_listen => $port, database_list => $db);
$pgqd->wait_log(qr/serves http|without libmicrohttpd/);
plan skip_all => 'pgqd was built without libmicrohttpd'
  if $pgqd->text =~ /without libmicrohttpd/;
wait_ingest($node, $db);

sub get { return $http->get("http://127.0.0.1:$port$_[0]") }

# A row that has to get through.
sub change { sql($node, $db, q{insert into t (pad) values ('x')}); return }

my @programs = ('status', 'top --once', 'doctor');

# What all tell now, by outlet.
sub told
{
	my @programs = @_;
	my %told = (health => get('/health')->{content}, page => get('/')->{content});

	$told{$_} = `pgqadm -d '$connstr' $_ 2>&1` foreach @programs;
	return \%told;
}

sub in_metrics
{
	my ($kind) = @_;
	return get('/metrics')->{content} =~
	  /^pgq_problem_seconds\{database="shop",kind="$kind",/m;
}

sub quote
{
	my ($text) = @_;
	$text =~ s/&quot;/"/g;
	$text =~ s/&lt;/</g;
	$text =~ s/\s+/ /g;
	return $text;
}

# standstill(NAME, kind => of the problem, like => its text, begin => SUB,
# end => SUB)
sub standstill
{
	my ($name, %case) = @_;
	my ($begin, %missing);
	my @asked = $case{programs} // 1 ? @programs : ();
	my $like = $case{like};

	like($doc, qr/^\| $name \|/m, "$name: is in the manual's table");
	$case{begin}->();
	$begin = time();
	my $told = wait_for(
		"$name: to be named",
		sub {
			my $now = told(@asked);
			%missing = map { $_ => 1 } grep { quote($now->{$_}) !~ $like } keys %$now;
			$missing{metrics} = 1 if !in_metrics($case{kind});
			$missing{log} = 1 if $pgqd->text !~ $like;
			return !%missing && $now;
		},
		60);
	my $took = time() - $begin;

	cmp_ok($took, '<', $named_within, "$name: is named (in $took s)");
	is(get('/health')->{status}, 503, "$name: /health");
	is(get('/ready')->{status}, 503, "$name: /ready");
	is(get('/live')->{status}, 200, "$name: /live");

	$case{end}->();
	$begin = time();
	wait_for("$name: to be over", sub {
		my $now = told(@asked);
		return !(grep { quote($now->{$_}) =~ $like } keys %$now)
		  && !in_metrics($case{kind}) && get('/ready')->{status} == 200 }, 60);
	$took = time() - $begin;
	cmp_ok($took, '<', $gone_within, "$name: is over (after $took s)");
	wait_ingest($node, $db);
	return;
}

wait_for('ready', sub { get('/ready')->{status} == 200 });

my $holder = session($node, $db);
standstill('a lock on an event table',
	kind => 'lock',
	like => qr/session pgqd\/ingest waits for a lock on \S+ that process \d+ holds \("[^"]*", role \S+, idle in transaction\)/,
	begin => sub {
		$holder->query("begin; lock table $events in exclusive mode");
		change();
	},
	end => sub { $holder->query('rollback') });

my $writer = session($node, $db);
standstill('a synchronous standby that is away',
	kind => 'commit',
	like => qr/commits wait for a synchronous standby: synchronous_standby_names is "nobody", connected are: none/,
	begin => sub {
		commits_wait_for_nobody($node);
		$writer->send(q{insert into t (pad) values ('w')});
	},
	end => sub {
		sql($node, 'postgres', q{set synchronous_commit = local;
			alter system reset synchronous_standby_names});
		$node->reload;
		$writer->answer;
	});

my $stranger;
standstill('somebody else reads the slot',
	kind => 'reader',
	like => qr/slot "pgq_shop" is read by another program, "stranger"/,
	begin => sub {
		is($pgqd->stop, 0, 'pgqd ends');
		$stranger = fork();
		if (!$stranger)
		{
			open(STDOUT, '>', '/dev/null');
			open(STDERR, '>&', \*STDOUT);
			exec('pg_recvlogical', '-d', "$connstr application_name=stranger",
				'-S', 'pgq_shop', '--start', '-f', '-', '-s', '0', '-F', '0',
				'-o', 'format=frames', '-o', 'proto_version=1')
			  or POSIX::_exit(127);
		}
		wait_for('the stranger', sub {
			sql($node, $db, q{select active from pg_replication_slots}) eq 't' });
		# it will confirm nothing
		kill('STOP', $stranger);
		$pgqd->start;
		change();
	},
	end => sub { kill('KILL', $stranger); waitpid($stranger, 0) });

my ($walsender);
standstill('a walsender that is stopped',
	kind => 'stream',
	like => qr/slot "pgq_shop" does not move, though there is WAL for it: its walsender, process \d+, waits for \w+/,
	begin => sub {
		$walsender = sql($node, $db, q{select active_pid from pg_replication_slots});
		kill('STOP', $walsender);
		change();
	},
	end => sub { kill('CONT', $walsender) });

standstill('an external ticker that nobody serves',
	kind => 'ticker',
	like => qr/queue "other" has an external ticker, which has not ticked it lately/,
	begin => sub {
		sql($node, $db, q{select pgq.set_queue_config('other', 'external_ticker', 'true'),
			pgq.set_queue_config('other', 'ticker_idle_period', '1 second'),
			pgq.set_queue_config('other', 'ticker_max_lag', '1 second')});
	},
	end => sub {
		sql($node, $db, q{select pgq.set_queue_config('other', 'external_ticker', 'false')}) });

sub set_ingest
{
	my ($on) = @_;
	my $text = PgqTest::slurp($pgqd->{ini});

	$text =~ s/^ingest = .*\n//m;
	open(my $out, '>', $pgqd->{ini}) or die;
	print $out $text . "ingest = $on\n";
	close($out);
	$pgqd->signal('HUP');
	return;
}
standstill('ingest is switched off',
	kind => 'unread',
	like => qr/pgqd is connected, but nobody reads slot "pgq_shop"/,
	begin => sub { set_ingest(0); change() },
	end => sub { set_ingest(1) });

standstill('a lock on a table of PgQ\'s',
	kind => 'lock',
	programs => 0,
	like => qr/session pgqd\/tick waits for a lock on pgq\.tick that process \d+ holds/,
	begin => sub { $holder->query('begin; lock table pgq.tick') },
	end => sub { $holder->query('rollback') });

SKIP:
{
	skip('no synchronized_standby_slots before PostgreSQL 17', 7)
	  if sql($node, $db, q{select current_setting('server_version_num')::int < 170000}) eq 't';
	standstill('standbys of `synchronized_standby_slots` are away \(PostgreSQL 17\)',
		kind => 'slot',
		like => qr/slot "pgq_shop" waits for the standbys in synchronized_standby_slots: nobody reads slot "gone"/,
		begin => sub {
			sql($node, 'postgres', q{select pg_create_physical_replication_slot('gone')});
			sql($node, 'postgres', q{alter system set synchronized_standby_slots = 'gone'});
			$node->reload;
			wait_for('the setting', sub { sql($node, 'postgres',
				q{show synchronized_standby_slots}) eq 'gone' });
			change();
		},
		end => sub {
			sql($node, 'postgres', q{alter system reset synchronized_standby_slots});
			$node->reload;
		});
}

# without pgqd nobody serves /metrics

like($doc, qr/^\| pgqd does not run \|/m, 'pgqd does not run: is in the table');
is($pgqd->stop, 0, 'pgqd ends');
foreach my $program (@programs)
{
	like(scalar(`pgqadm -d '$connstr' $program 2>&1`),
		qr/pgqd does not look after/, "$program without pgqd");
}
$pgqd->start;
wait_for('ready again', sub { get('/ready')->{status} == 200 });
foreach my $program (@programs)
{
	unlike(scalar(`pgqadm -d '$connstr' $program 2>&1`),
		qr/pgqd does not look after/, "$program with pgqd again");
}

# standing by is neither ill nor ready

my $second_port = PostgreSQL::Test::Cluster::get_free_port();
my $second = start_pgqd($node, http_listen => $second_port, database_list => $db);
wait_for('standing by', sub {
	my $r = $http->get("http://127.0.0.1:$second_port/ready");
	$r->{status} == 503 && $r->{content} =~ /^\[shop\]: stands by$/m });
is($http->get("http://127.0.0.1:$second_port/health")->{status}, 200,
	'standing by: healthy');
is(get('/ready')->{status}, 200, 'the other one is ready');
$pgqd->stop;
wait_for('it takes over', sub {
	$http->get("http://127.0.0.1:$second_port/ready")->{status} == 200 });
pass('it is ready when it has taken over');
is($second->stop, 0, 'pgqd ends cleanly');

done_testing();
