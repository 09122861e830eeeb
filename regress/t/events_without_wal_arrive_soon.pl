
# Without a capture slot, on a server that could not even have one, an event is with a
# consumer that waits for it within milliseconds, and looking for it costs little.

use strict;
use warnings;

use PgqTest;
use Test::More;
use IPC::Run;
use Time::HiRes qw(sleep time);

my $node = new_server('main', conf => "wal_level = replica\n");
my $db = new_database($node, 'shop', slot => 0);
my $tmp = PostgreSQL::Test::Utils::tempdir();

sql($node, $db, q{select pgq.create_queue('q'), pgq.register_consumer('q', 'c')});
my $pgqd = start_pgqd($node);
my ($out, $err) = ('', '');
my $h = IPC::Run::start([ 'pgqadm', '-d', $node->connstr($db), 'consume', 'q', 'c' ],
	'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
my $writer = session($node, $db);

# the first of all: pgqd has to find the queue
$writer->query("select pgq.insert_event('q', 't', 'first')");
wait_for('the first event', sub { $h->pump_nb; $out =~ /"first"/ });

my @took;
foreach my $n (1 .. 40)
{
	sleep(0.02 + rand(0.1));
	my $start = time;

	$writer->query("select pgq.insert_event('q', 't', 'event $n')");
	while ($out !~ /"event $n"/ && time < $start + 10)
	{
		$h->pump_nb;
		sleep(0.001);
	}
	push @took, time - $start;
}
@took = sort { $a <=> $b } @took;
note(sprintf('median %.1f ms, longest %.1f ms', $took[20] * 1000, $took[-1] * 1000));
cmp_ok($took[20], '<', 0.1, 'half of the events take less than 100 ms');
cmp_ok($took[36], '<', 0.5, 'nine of ten less than half a second');

# each is delivered once
my @ids = $out =~ /"ev_id":(\d+)/g;
is(scalar(@ids), 41, 'each event once');

# a queue without a waiting consumer keeps its settings
sql($node, $db, q{select pgq.create_queue('other')});
sql($node, $db, q{select pgq.insert_event('other', 't', 'd') from generate_series(1, 10)});
sleep(0.5);
cmp_ok(sql($node, $db, q{select count(*) from pgq.tick join pgq.queue on queue_id = tick_queue
	where queue_name = 'other'}), '<=', 2, 'nobody waits: no ticks but those of its settings');
$h->signal('TERM');
$h->finish;
$pgqd->stop;

# who asks with patience is told at once
my $asker = session($node, $db);

$writer->query("select pgq.drop_queue('other'), pgq.set_queue_config('q', 'ticker_max_lag', '1 hour')");
$writer->query("select pgq.finish_batch(b) from pgq.next_batch('q', 'c') b where b is not null")
	foreach 1 .. 3;
$asker->send("select queue_name from pgq.tick_awaited('1 ms', '10 s')");
sleep(0.2);
ok($asker->busy, 'pgq.tick_awaited() waits while there is nothing');
my $asked = time;
$writer->query("select pgq.insert_event('q', 't', 'late')");
like($asker->answer, qr/^q$/m, 'and ticks what comes');
cmp_ok(time - $asked, '<', 5, 'at once');

done_testing();
