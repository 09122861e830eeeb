
# pgqadm drain waits until what was committed is in the queues and finished by
# every consumer, shows how far it is, and says who is late.

use strict;
use warnings;

use PgqTest;
use Test::More;
use IPC::Run;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my @drain = ('pgqadm', '-d', $node->connstr($db), 'drain');

# drain(ARGUMENT...): exit status and messages.
sub drain
{
	my ($out, $err) = ('', '');

	IPC::Run::run([ @drain, @_ ], \undef, \$out, \$err,
		IPC::Run::timeout(60));
	is($out, '', 'nothing on standard output');
	return ($? >> 8, $err);
}

sql($node, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('q');
	select pgq.create_queue('unused');
	select pgq.register_consumer('q', 'fast');
	select pgq.register_consumer('q', 'slow')});
is_deeply([ drain() ], [ 0, "There is no slot: nothing is to be ingested\n" ],
	'nothing is captured');

# ingest

sql($node, $db, q{select pgq.start_capture()});
sql($node, $db, q{select pgq.capture_table('q', 't');});
sql($node, $db, q{insert into t select generate_series(1, 1000)});
my ($rc, $err) = drain('--timeout', '1');
is($rc, 1, 'without pgqd it is late');
like($err, qr/^pgqadm: after 1 s not all changes up to \S+ are in the queues\nhint: Command "doctor"/m,
	'and says so');

my $pgqd = start_pgqd($node);
($rc, $err) = drain();
is($rc, 0, 'with pgqd it is done');
like($err, qr/^All changes up to \S+ are in the queues$/, 'and says so');
is(sql($node, $db, q{select count(*) from pgq.event_template}), 1000,
	'all are there');

# consumers

consume($node, $db, 'q', 'fast');
($rc, $err) = drain('--consumers', '--timeout', '1');
is($rc, 1, 'a consumer is behind');
like($err,
	qr/^pgqadm: after 1 s consumer "slow" of queue "q" has about 999 events to come \(consumers behind: 1\)$/m,
	'which one, and how far');

# on a terminal it shows a line that moves; events are read meanwhile
sql($node, $db, q{select pgq.insert_event('q', 'a', 'b')});
my $seen = '';
my $h = IPC::Run::start([ @drain, '--consumers' ], '<pty<', \my $in, '>pty>',
	\$seen, IPC::Run::timeout(60));
wait_for('a bar', sub {
	$h->pump_nb;
	$seen =~ /\rconsumers: \[\.{20}\] 0%, 0 of \d+ events, 0\/s\e\[K/ });
consume($node, $db, 'q', 'slow');
wait_for('half of it', sub {
	$h->pump_nb;
	$seen =~ /\rconsumers: \[#+\.*\] \d+%, [1-9]\d+ of \d+ events, [1-9]\d*\/s, 0:0\d left\e\[K/ });
consume($node, $db, 'q', 'fast');
ok($h->finish, 'drained') or diag($seen);
like($seen, qr/\r\e\[KAll consumers have finished what was in their queues\r\n\z/,
	'the line gives way to the result');

# what it can't drain

sql($node, $db, q{select pgq.set_queue_config('q', 'ticker_paused', 'true');
	select pgq.insert_event('q', 'a', 'b')});
($rc, $err) = drain('--consumers');
like($err, qr/^pgqadm: queue "q" is paused.*^hint: /ms, 'a paused queue');
is($rc, 1, 'is an error');

is($pgqd->stop, 0, 'pgqd ends cleanly');
done_testing();
