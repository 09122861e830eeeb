# pgqadm consume --on-error, and what becomes of dead events: an event that the command
# fails on is put aside, all others go on, and nothing is put aside that nobody sees.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use PgqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();
my ($out, $err);

sql($node, $db, q{select pgq.create_queue('q')});

# pgqadm(WORD...): its exit status; $out and $err are what it prints.
sub pgqadm
{
	($out, $err) = ('', '');
	IPC::Run::run([ 'pgqadm', '-d', $node->connstr($db), @_ ], \undef, \$out, \$err);
	return $? >> 8;
}

sub consumers
{
	sql($node, $db, "select pgq.register_consumer('q', '$_')") foreach @_;
	return;
}

# produce(DATA...): events of one tick, for consumers that are registered
sub produce
{
	sql($node, $db, "select pgq.insert_event('q', 't', '$_')") foreach @_;
	sql($node, $db, q{select pgq.force_tick('q')});
	sql($node, $db, q{select pgq.ticker('q')});
	return;
}

# What waits, at once; the next tick has it.
sub bring_back
{
	sql($node, $db, q{update pgq.retry_queue set ev_retry_after = now() - interval '1 s'});
	sql($node, $db, 'select pgq.maint_retry_events()');
	produce();
	return;
}

sub waiting
{
	my ($consumer) = @_;
	return sql($node, $db, "select coalesce(string_agg(ev_data || ev_retry, ' ' order by ev_id), '')
		from pgq.retry_queue join pgq.subscription on ev_owner = sub_id
		join pgq.consumer on co_id = sub_consumer where co_name = '$consumer'");
}

sub dead
{
	my ($consumer) = @_;
	return sql($node, $db, "select coalesce(string_agg(ev_data || ': ' || dead_reason, ', '
		order by ev_id), '') from pgq.get_dead_events('q', '$consumer')");
}

sub is_over
{
	my ($consumer) = @_;
	return sql($node, $db, "select current_batch is null
		from pgq.get_consumer_info('q', '$consumer')") eq 't';
}

# A command that fails as a whole if a "bad" one is in its input, and writes down the
# others.
sub load
{
	my ($file) = @_;
	return "tee -a $dir/$file.seen | { ! grep '\"bad' ; } >> $dir/$file";
}

sub lines
{
	my ($file) = @_;
	return join(' ', sort map { /"ev_data":"(\w+)"/ } split(/\n/, PgqTest::slurp("$dir/$file.seen")));
}

consumers(qw(stop retry dead answers));
produce('a', 'bad1', 'b', 'c');

# ---- by the exit status ----

is(pgqadm('consume', 'q', 'stop', '--once', '--exec', load('stop')), 1, 'stop: it ends');
like($err, qr/^pgqadm: command exited with status 1; batch \d+ stays open$/m, '... and says so');
ok(!is_over('stop'), '... the batch comes again');
is(pgqadm('consume', 'q', 'stop', '--once', '--on-error', 'stop', '--exec', load('stop')), 1,
	'that is the default');

is(pgqadm('consume', 'q', 'retry', '--once', '--on-error', 'retry', '--max-retries', '1',
	'--retry-delay', '100', '--exec', load('retry')), 0, 'retry: it goes on');
is(waiting('retry'), 'bad11', '... the one it fails on comes again');
ok(is_over('retry'), '... and the batch is finished');
is(sql($node, $db, q{select ev_retry_after between now() + interval '60 s'
	and now() + interval '100 s' from pgq.retry_queue}), 't', '... after the pause');
is(lines('retry'), 'a a b b bad1 bad1 c c', '... which it got alone, as each of the batch');
like($err, qr/one by one\npgqadm: event \d+: command exited with status 1$/m, '... and it is said');
bring_back();
is(pgqadm('consume', 'q', 'retry', '--once', '--on-error', 'retry', '--max-retries', '1',
	'--exec', load('retry')), 0, 'it comes');
is(dead('retry'), 'bad1: command exited with status 1', '... and is dead past --max-retries');

is(pgqadm('consume', 'q', 'dead', '--once', '--on-error', 'dead', '--exec',
	load('dead') . q{ || kill -9 $$}), 0, 'dead: a command that is killed, too');
is(dead('dead'), 'bad1: command was ended by signal 9', '... has a dead event');

# the one at fault of several workers
consumers('team');
produce('d', 'bad2', 'e');
is(pgqadm('consume', 'q', 'team', '--once', '--on-error', 'dead', '--workers', '2', '--key',
	'none', '--exec', load('team')), 0, 'workers do that, too');
is(dead('team'), 'bad2: command exited with status 1', '... each for its share');

# ---- by an answer for each event ----

my $answer = q{while read -r line; do id=${line#*:}; id=${id%%,*}; case $line in
	*end_of_batch*) echo "$line" >&3 ;;
	*bad*) echo "failed $id no such address" >&3 ;;
	*later*) echo "retry $id 7200" >&3 ;;
	*never*) echo "dead $id given up" >&3 ;;
	esac; echo "$line" >> } . "$dir/answers.seen; done";
my @answers = ('consume', 'q', 'answers', '--once', '--confirm', '--exec', $answer);

sql($node, $db, q{select pgq.seek_consumer('q', 'answers', 'infinity'::timestamptz)});
produce('a', 'bad3', 'later', 'never', 'b');
is(pgqadm(@answers), 1, 'an answer that an event failed is a failure without --on-error');
like($err, qr/command failed on event \d+: no such address\nhint: .*--on-error/, '... named');
is(waiting('answers') . dead('answers'), '', '... and nothing was put aside');
is(pgqadm(@answers, '--on-error', 'retry'), 0, 'with it, it goes on');
is(waiting('answers'), 'bad31 later1', 'failed and retry come again');
is(dead('answers'), 'never: given up', 'dead is kept with the reason');
is(lines('answers'), 'a a b b bad3 bad3 later later never never', 'no event was given alone');
ok(is_over('answers'), 'the batch is finished');
is(sql($node, $db, q{select count(*) from pgq.postponed_event}), '1',
	'retry is a postponement, no failure');
sql($node, $db, q{select pgq.set_queue_config('q', 'max_retries', '0')});
bring_back();
is(pgqadm(@answers, '--on-error', 'retry'), 0, 'they come');
is(dead('answers'), 'bad3: no such address, never: given up',
	'max_retries of the queue counts failures');
is(waiting('answers'), 'later2', '... and no postponements');
sql($node, $db, q{select pgq.set_queue_config('q', 'max_retries', null)});

# an answer that is nonsense is none
consumers('nonsense');
produce('a');
foreach my $nonsense ('failed', 'failed x', 'failed 999999 not in the batch', 'retry $id soon',
	'retry $id -1', 'done $id', 'failed $id twice\nend\n', 'dead $id first\nend\n',
	'dead $id first\ndead 999999 not in the batch')
{
	my $exec = qq{read -r l; id=\${l#*:}; id=\${id%%,*}; printf "$nonsense\\n" >&3; cat >&3};

	is(pgqadm('consume', 'q', 'nonsense', '--once', '--confirm', '--exec', $exec), 1,
		"\"$nonsense\" is no answer");
	ok(!is_over('nonsense'), '... and the batch stays open');
}
is(pgqadm('consume', 'q', 'nonsense', '--once', '--confirm', '--exec',
	'read -r l; cat >&3; echo more >&3'), 1, 'nothing may follow the end line');
ok(!is_over('nonsense'), '... and the batch stays open');
is(waiting('nonsense') . dead('nonsense'), '', 'an answer that is wrong at its end does nothing');
is(pgqadm('consume', 'q', 'nonsense', '--once', '--confirm', '--on-error', 'dead', '--exec',
	'read -r l; echo "failed 1 x" >&3'), 0, 'who does not confirm has failed');
is(dead('nonsense'), 'a: command did not confirm', '... with --on-error');
produce('b');
pgqadm('consume', 'q', 'nonsense', '--once', '--confirm', '--on-error', 'dead', '--exec',
	q{read -r l; id=${l#*:}; printf "failed ${id%%,*} \351\377 x\n" >&3; cat >&3});
like(dead('nonsense'), qr/b: \?\? x$/, 'a reason may be any bytes');

# ---- dead events ----

is(pgqadm('dead', 'list', 'q', 'answers'), 0, 'dead list');
like($out, qr/^q, answers:\n  \d+ .* t\n    given up\n    never\n  \d+ .* retries: 1  t\n    no such address\n    bad3\n/,
	'... of a consumer');
pgqadm('dead', 'list');
like($out, qr/^q, retry:$/m, '... of all');
pgqadm('dead', 'list', '--json', 'q', 'team');
like($out, qr/^\[\{"queue" : "q", "consumer" : "team", .*"ev_data" : "bad2"/, '... as JSON');
my ($id) = sql($node, $db, q{select ev_id from pgq.get_dead_events('q', 'retry')});
is(pgqadm('dead', 'requeue', 'q', 'retry', $id), 0, 'dead requeue');
is(dead('retry'), '', '... takes it from them');
is(waiting('retry'), 'bad10', '... and lets it come again, as if it had not failed');
is(pgqadm('dead', 'requeue', 'q', 'retry', $id), 1, 'one that is not there');
like($err, qr/consumer retry has no dead event $id/, '... is named');
is(pgqadm('dead', 'requeue', 'q', 'answers', '--all'), 0, 'dead requeue --all');
is(dead('answers'), '', '... takes all');
is(pgqadm('dead', 'purge', 'q', 'team', '--before', 'yesterday'), 0, 'dead purge --before');
is(dead('team') ne '', 1, '... leaves what died since');
is(pgqadm('dead', 'purge', 'q', 'team', '--all'), 0, 'dead purge --all');
is(dead('team'), '', '... leaves none');
foreach ([ 'purge', 'q', 'team' ], [ 'requeue', 'q', 'team' ], [ 'list', 'q', 'team', 'x' ],
	[ 'requeue', 'q', 'team', '1', '--all' ], [ 'list', '--all' ])
{
	is(pgqadm('dead', @$_), 1, "dead @$_ is refused");
	like($err, qr/usage: pgqadm \.\.\. dead $_->[0]/, '... with the usage');
}
is(pgqadm('dead', 'bury'), 1, 'so is an unknown word');
is(pgqadm('dead', 'requeue', 'q', 'team', 'x1'), 1, 'and what is no id');
is(pgqadm('dead', 'purge', 'q', 'nobody', '--all'), 1, 'and an unknown consumer');
like($err, qr/no consumer nobody on queue q/, '... by its name');

# ---- on pgqd's page ----

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $pgqd = start_pgqd($node, http_listen => "127.0.0.1:$port", stats_period => 1);
my $page = '';

SKIP:
{
	$pgqd->wait_log(qr/serves http|without libmicrohttpd/);
	skip 'pgqd was built without libmicrohttpd', 2
	  if $pgqd->text =~ /without libmicrohttpd/;
	wait_for('dead events on the page', sub {
		$page = HTTP::Tiny->new->get("http://127.0.0.1:$port/")->{content};
		return $page =~ /Dead events of/ });
	like($page, qr{>dead</td><td class="t">q</td><td>1</td>.*command was ended by signal 9},
		'the page shows them, with the newest reason');
	like(HTTP::Tiny->new->get("http://127.0.0.1:$port/metrics")->{content},
		qr/^pgq_consumer_dead_events\{database="shop",queue="q",consumer="dead"\} 1$/m,
		'and so do the metrics');
}
$pgqd->stop;

# ---- options ----

is(pgqadm('consume', 'q', 'stop', '--on-error', 'retry'), 1, '--on-error needs --exec');
is(pgqadm('consume', 'q', 'stop', '--exec', 'true', '--on-error', 'ignore'), 1,
	'and one of three words');
like($err, qr/takes stop, retry or dead, not "ignore"/, '... which it names');

# a database that is not at 4.1 yet says what to do, and loses nothing
sql($node, $db, q{alter function pgq.event_failed(int8, int8, text, interval, interval, int4)
	rename to event_failed_away});
is(pgqadm('consume', 'q', 'stop', '--once', '--on-error', 'retry', '--exec', 'false'), 1,
	'without event_failed it ends');
like($err, qr/hint: Update the extension: ALTER EXTENSION pgq UPDATE;/, '... with the way out');
ok(!is_over('stop'), '... and the batch comes again');

done_testing();
