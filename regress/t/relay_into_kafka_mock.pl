
# What a relay does when brokers answer late, with errors or not at all, on librdkafka's
# mock of a cluster, which needs no Java. It hides no transaction and shuts nobody out:
# relay_into_kafka has what rests on that.

use strict;
use warnings;

use PgqTest;
use PgqKafka;
use PgqRelay;
use PgqShop;
use Test::More;

# requests and errors of Kafka's protocol
my %api = (produce => 0, init => 22, partitions => 24, end => 26);
my %code = (unknown => 3, leader => 6, timeout => 7, coordinator => 14, lost => -195);

my $kafka = PgqKafka->mock(3);
my $shop = PgqShop->new(q{'I:id', 'id=' || i, 'public.t', null, null, null});
my ($node, $db) = @$shop{qw(node db)};

$kafka->tell('topic pgq.positions 1');
$kafka->tell('topic q 1');

sub finished
{
	return sql($node, $db, "select count(*) from pgq.subscription
		join pgq.queue on queue_id = sub_queue where sub_batch is null
		and sub_last_tick = (select max(tick_id) from pgq.tick
			where tick_queue = queue_id)") == 1;
}

# Each event is there, in order; those that were taken back, which the mock shows, too.
sub ledger
{
	my ($name) = @_;
	my %seen;

	wait_for('the relay to finish', \&finished, 60);
	my @first = grep { !$seen{ $_->[0] }++ }
	  map { [ $_->{headers}{'Pgq-Id'} =~ m{/(\d+)}, $_->{value} ] } $kafka->dump('q');
	same_events(\@first, $shop->events, $name);
	return;
}

my $relay = start_relay(r => { $shop->keys(target => $kafka->url, topic => 'q') });
$shop->insert(500);
ledger('each event');

foreach my $case (
	[ 'produce', 'timeout', 3 ],
	[ 'produce', 'leader', 2 ],
	[ 'produce', 'lost', 2 ],
	[ 'partitions', 'coordinator', 2 ],
	[ 'end', 'coordinator', 2 ],
	[ 'end', 'lost', 1 ])
{
	my ($request, $error, $times) = @$case;

	$kafka->tell("error $api{$request} $times $code{$error}");
	$shop->insert(300);
	ledger("$request: $error, $times times");
}
$relay->kill9;
$kafka->tell("error $api{init} 2 $code{coordinator}");
$relay->start;
$shop->insert(300);
ledger('init: coordinator, 2 times');

# a topic that brokers do not know for a moment is no reason to bury what is for it
$relay->stop;
$relay = start_relay(r => { $shop->keys(target => $kafka->url, topic => 'q', on_refused => 'dead', stall_release => 8,
	options => 'topic.metadata.propagation.max.ms=0, topic.metadata.refresh.interval.ms=20') });
$shop->insert(300);
ledger('topics are looked up often');
$kafka->tell("error $api{produce} 30 $code{unknown}");
$shop->insert(300);
ledger('produce: unknown topic');
$kafka->tell("says q $code{unknown}");
$shop->insert(300);
sleep(2);
$kafka->tell('says q 0');
ledger('unknown topic, for 2 s');
is(sql($node, $db, q{select count(*) from pgq.get_dead_events('q', 'relay_r')}), '0',
	'no event is dead by it');
$relay->stop;
$relay = start_relay(r => { $shop->keys(target => $kafka->url, topic => 'q') });

# no answer for longer than stall_release: nothing is held open in the database
my $mark = length $relay->text;
$kafka->tell("delay $_ 30000") foreach 1 .. 3;
$shop->insert(300);
$relay->wait_log(qr/engine away: /, $mark);
is(sql($node, $db, q{select count(*) from pg_stat_activity where datname = 'shop'
	and xact_start < now() - interval '4 s'}), 0, 'no transaction waits for the engine');
$kafka->tell("delay $_ 0") foreach 1 .. 3;
ledger('the engine was too slow');

# a batch without events leaves the bookmark as it is: another relay may have moved it
my $bookmark = $shop->bookmark;
my $newer = $bookmark =~ s/^(\d+)/$1 + 1/er;
sql($node, $db, "update pgq.bookmark set bm_text = '$newer'");
ticks($node, $db, 'q');
wait_for('the batch', \&finished);
is($shop->bookmark, $newer, 'an empty batch writes no bookmark');
sql($node, $db, "update pgq.bookmark set bm_text = '$bookmark'");
is($relay->stop, 0, 'it ends cleanly');

# an event could be a position of any relay
$relay = start_relay(r => { $shop->keys(target => $kafka->url, topic => '{type}', on_refused => 'dead') });
sql($node, $db, q{select pgq.insert_event('q', 'pgq.positions', '{}')});
ticks($node, $db, 'q');
wait_for('the batch', \&finished);
is(sql($node, $db, q{select dead_reason from pgq.get_dead_events('q', 'relay_r')}),
	'topic "pgq.positions" is the one of positions', 'no event is written among positions');
$relay->stop;

# TLS can't be made to verify nothing by the back door
foreach my $option ('security.protocol=plaintext', 'enable.ssl.certificate.verification=false',
	'linger.ms=1, ssl.endpoint.identification.algorithm=none')
{
	my $r = start_relay(r => {
		$shop->keys(target => $kafka->url, topic => 'q'), tls => 1, options => $option });

	$r->wait_log(qr/stands still: options: \S+ can't be changed: it follows from the keys tls and user/);
	pass("refused: $option");
	$r->stop;
}

$shop->takes_little_memory(20000, $shop->keys(target => $kafka->url, topic => 'q'));

done_testing();
