
# A relay puts each event of a queue into topics of Apache Kafka once and in order, or
# stands still and says why: whoever is killed, two relays at once, transactions of
# others, a database or a topic that went back.
#
# PGQ_KAFKA_NODES=3 makes it a cluster, of which leaders are killed; PGQ_KAFKA_KILLS is
# how often each is killed.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use PgqTest;
use PgqKafka;
use PgqProxy;
use PgqRelay;
use PgqShop;
use Test::More;
use Time::HiRes qw(sleep time);

my $nodes = $ENV{PGQ_KAFKA_NODES} // 1;
my $kills = $ENV{PGQ_KAFKA_KILLS} // 2;

my $kafka = PgqKafka->new($nodes);
my $shop = PgqShop->new(q{'I:id', 'id=' || i % 50, 'public.t', null, null, null});
my ($node, $db) = @$shop{qw(node db)};

$kafka->create('pgq.positions', 1, 'cleanup.policy=compact');
$kafka->create('q', 3);

my %keys = $shop->keys(
	target => $kafka->url,
	topic => 'q',
	stall_release => 5);

# until a queue's consumer has finished all batches
sub wait_finished
{
	my ($queue) = @_;

	wait_for("the relay of $queue to finish", sub {
		return sql($node, $db, "select count(*) from pgq.subscription
			join pgq.queue on queue_id = sub_queue where queue_name = '$queue'
			and sub_batch is null and sub_last_tick = (select max(tick_id)
				from pgq.tick where tick_queue = queue_id)") == 1;
	}, 60);
	return;
}

# The id of a message's event.
sub event_id { return $_[0]{headers}{'Pgq-Id'} =~ m{/(\d+)} ? $1 : undef }

# Each event once, and in order in its partition.
sub ledger
{
	my ($name) = @_;
	my (@all, %last, $disorder);

	wait_finished('q');
	foreach my $message ($kafka->dump('q'))
	{
		my $id = event_id($message);

		$disorder = $id
		  if $id <= ($last{ $message->{partition} } // 0);
		$last{ $message->{partition} } = $id;
		push @all, [ $id, $message->{value} ];
	}
	same_events([ sort { $a->[0] <=> $b->[0] } @all ], $shop->events, $name);
	ok(!$disorder, "$name: in order in each of " . keys(%last) . ' partitions')
	  or diag("disorder at event $disorder");
	return;
}

my $relay = start_relay(r => \%keys);
$shop->insert(1000);
ledger('each event');

$shop->amid(2 * $kills, 700, sub { $relay->crash }, 0.3);
ledger('the relay was killed');

my $round = 0;
$shop->amid($kills, 700, sub { $kafka->crash(1 + ++$round % $nodes) }, 0.1);
ledger('a broker was killed');

$shop->amid($kills, 700, sub { $shop->crash }, 0.1);
ledger('the database was killed');

$shop->amid(2 * $kills, 700, sub {
	sql($node, $db, q{select pg_terminate_backend(pid) from pg_stat_activity
		where datname = 'shop' and pid <> pg_backend_pid()});
}, 0.1);
ledger('sessions were cut');

# ---- two at once ----

my $second = start_relay(r => \%keys);
$shop->amid(3, 500, sub { sleep(0.3) });
ledger('two relays ran at once');

# who has slept while another took over
$relay->signal('STOP');
$shop->insert(500);
wait_finished('q');
$relay->signal('CONT');
$second->stop;
$shop->insert(500);
$relay->wait_log(
	qr/engine away: another relay has begun to write as "pgq\/shop\/q\/relay_r"/);
ledger('who slept was shut out');

# who is shut out amid what he sends, again and again
foreach my $round (1 .. 3 * $kills)
{
	$shop->insert(2000);
	# the relay may be the faster one
	eval { $kafka->close_hold($kafka->hold('q', 0, 'pgq/shop/q/relay_r')); };
}
ledger('it was shut out amid transactions');
ok($relay->alive, 'and lives');

# ---- others' transactions ----

# in the topic of positions: what is behind an open transaction is not read over
my $held = $kafka->hold('pgq.positions', 0, 'other');
$shop->insert(300);
sleep(0.3);
$relay->crash;
sleep(0.5);
$kafka->close_hold($held);
ledger('another relay had a transaction open');

# of many relays one transaction is always open: the end that is read to must not move
$held = $kafka->busy('pgq.positions', 0, 'other');
$shop->insert(300);
sleep(0.3);
$relay->crash;
ledger('of other relays some transaction was always open');
$kafka->close_hold($held);

# in the events' topic: its end is not taken for the end of all
$held = $kafka->hold('q', 0, 'other');
$shop->insert(300);
wait_finished('q');
$relay->stop;
$relay->start;
$shop->insert(300);
wait_finished('q');
$kafka->close_hold($held);
ledger('another writer had a transaction open');
unlike($relay->text, qr/stands still/, 'and nobody stood still');

# what was aborted is there, and hidden
cmp_ok(scalar(@{ [ $kafka->dump('q', 'uncommitted') ] }), '>',
	scalar(@{ [ $kafka->dump('q') ] }), 'aborted messages are hidden from readers');
is($relay->stop, 0, 'it ends cleanly');

# ---- what went back ----

my $mark = sql($node, $db, q{select pgq.get_bookmark('q', 'relay_r')});
like($mark, qr/^\d+( q:[012]:\d+){3}$/, 'the bookmark has offsets');

# the database: an older position and bookmark come back
sql($node, $db, q{create table old as select s.*, b.bm_batch, b.bm_text
	from pgq.subscription s, pgq.bookmark b});
$relay->start;
$shop->insert(10);
wait_finished('q');
$relay->stop;
sql($node, $db, $_)
  foreach q{update pgq.subscription s set sub_last_tick = o.sub_last_tick from old o},
  q{update pgq.bookmark set bm_batch = o.bm_batch, bm_text = o.bm_text from old o},
  q{select setval('pgq.batch_id_seq', (select max(bm_batch) from old))};
$relay->start;
wait_finished('q');
$relay->stop;
ledger('the database was behind by a batch');
sql($node, $db, $_)
  foreach q{update pgq.subscription s set sub_last_tick = o.sub_last_tick from old o},
  q{select setval('pgq.batch_id_seq', (select max(bm_batch) - 3 from old))};
my $from = length $relay->text;
$relay->start;
$relay->wait_log(
	qr/stands still: the position in topic "pgq.positions" is batch \d+, and this is batch \d+: the database went back/,
	$from);
pass('a database that went back is seen');
$relay->stop;

# fresh(QUEUE => { key => value }, ...): queues with a relay each, in one process
sub fresh
{
	my (%relays) = @_;

	add_relayed_queue($node, $db, $_, "relay_$_") foreach sort keys %relays;
	return start_relay(
		map { $_ => { %keys, queue => $_, topic => $_, %{ $relays{$_} } } } keys %relays);
}

sub give
{
	my ($queue, @events) = @_;

	sql($node, $db, join(';', (map { "select pgq.insert_event('$queue', $_)" } @events),
		"select pgq.force_tick('$queue')", 'select pgq.ticker()'));
	return;
}

# until the batch is finished; what is there then
sub settle
{
	my ($queue, $topic) = @_;

	wait_finished($queue);
	return $kafka->dump($topic // $queue);
}

# the topic of events is made anew
$kafka->create('gone', 1);
my $gone = fresh(gone => {});
give('gone', "'x', 'one'");
settle('gone');
$gone->stop;
$kafka->run('delete', 'gone');
$kafka->create('gone', 1);
give('gone', "'x', 'two'");
$gone->start;
$gone->wait_log(
	qr/stands still: topic "gone" has lost events: its partition 0 ends at offset 0, and the relay wrote offset 0 before batch \d+/);
pass('a topic that was made anew is seen');
$gone->stop;

# retention takes what it may
$kafka->create('kept', 1);
my $kept = fresh(kept => {});
give('kept', "'x', 'one'");
settle('kept');
$kept->stop;
$kafka->run('empty', 'kept');
give('kept', "'x', 'two'");
$kept->start;
is(join(' ', map { $_->{value} } settle('kept')), 'two', 'what retention deletes is not lost');
$kept->stop;

# the topic of positions lost ours
$kafka->create('p2', 1, 'cleanup.policy=compact');
$kafka->create('lost', 1);
my $lost = fresh(lost => { positions => 'p2' });
give('lost', "'x', 'one'");
settle('lost');
$lost->stop;
$kafka->run('delete', 'p2');
$kafka->create('p2', 1, 'cleanup.policy=compact');
give('lost', "'x', 'two'");
$lost->start;
$lost->wait_log(
	qr/stands still: topic "p2" has lost the relay's position: it was at offset 0 before batch \d+/);
pass('a lost position is seen');
$lost->stop;

# ---- what brokers refuse, and tell late ----

$kafka->create('small', 1, 'max.message.bytes=2000');
my $small = fresh(
	small => { on_refused => 'dead' },
	missing => {},
	dots => { topic => '..' });
give($_, "'x', 'one'") foreach qw(missing dots);
sql($node, $db, q{select pgq.insert_event('small', 'x',
	case i when 20 then repeat('y', 5000) else 'event ' || i end)
	from generate_series(1, 40) i});
ticks($node, $db, 'small');
is(join(' ', map { $_->{value} =~ /(\d+)$/ } settle('small')),
	join(' ', grep { $_ != 20 } 1 .. 40), 'all but what is too large is there, in order');
like(sql($node, $db, q{select dead_reason from pgq.get_dead_events('small', 'relay_small')}),
	qr/size|large/i, 'that one is dead, with the reason');
$small->wait_log($_)
  foreach qr/\[missing\]: stands still: the engine will not take event \d+: topic "missing": .*nknown topic/,
  qr/\[dots\]: stands still: the engine will not take event \d+: "\.\." is no name of a topic/;
pass('a topic that is not there, and one that can not be, are named');
$small->stop;

# ---- messages ----

$kafka->create($_, 1) foreach qw(m.public.t_1 json ce ceb);
$kafka->create('hashed', 3);
my $formats = fresh(
	plain => { topic => 'm.{schema}.{table}', tombstones => 1 },
	json => { format => 'json' },
	ce => { format => 'cloudevents' },
	ceb => { format => 'cloudevents-binary' },
	hashed => { key => '{extra1}' });
my %got;
foreach my $queue (qw(plain json ce ceb))
{
	give($queue, q{'I:id', 'id=7&n=b%20%c3%a4', 'public.t 1', null, null, null},
		q{'D:id', 'id=7', 'public.t 1', null, null, null});
	$got{$queue} = [ settle($queue, $queue eq 'plain' ? 'm.public.t_1' : $queue) ];
}
my @plain = @{ $got{plain} };
is(scalar(@plain), 3, 'a tombstone follows the delete');
is($plain[0]{value}, 'id=7&n=b%20%c3%a4', 'plain: the value');
is($plain[0]{key}, '7', 'the key');
is($plain[0]{headers}{'content-type'}, 'text/plain; charset=UTF-8', 'the content type');
is($plain[0]{headers}{'Pgq-Type'}, 'I:id', 'the type');
is($plain[0]{headers}{'Pgq-Source'}, 'shop/plain/relay_plain', 'the source');
is_deeply([ @{ $plain[2] }{qw(key value)} ], [ '7', undef ], 'the tombstone');

is(PgqKafka::decode($got{json}[0]{value})->{key}, '7', 'json: the key');
is(PgqKafka::decode($got{ce}[0]{value})->{type}, 'org.pgq.insert', 'cloudevents: the type');
is($got{ce}[0]{headers}{'content-type'},
	'application/cloudevents+json; charset=UTF-8', 'cloudevents: the content type');
my $ceb = $got{ceb}[0];
is($ceb->{headers}{ce_specversion}, '1.0', 'cloudevents-binary: the version');
is($ceb->{headers}{ce_subject}, 'public.t 1/7', 'cloudevents-binary: the subject, not encoded');
ok(!(grep { /^ce-/ } keys %{ $ceb->{headers} }), 'no ce-id');
is($ceb->{value}, 'id=7&n=b%20%c3%a4', 'cloudevents-binary: the value');

# Java's partitioner: murmur2 of the key, whose values Kafka's own tests have
my %murmur2 = (
	'21' => -973932308,
	'foobar' => -790332482,
	'a-little-bit-long-string' => -985981536,
	'a-little-bit-longer-string' => -1486304829,
	'lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8' => -58897971);
give('hashed', map { "'x', 'x', '$_', null, null, null" } sort keys %murmur2);
is_deeply(
	{ map { $_->{key} => $_->{partition} } settle('hashed') },
	{ map { $_ => ($murmur2{$_} & 0x7fffffff) % 3 } keys %murmur2 },
	"keys go where Java's go");
$formats->stop;

# ---- who we are ----

$kafka->create($_, 1) foreach qw(sasl tls);
my $secret = PostgreSQL::Test::Utils::tempdir() . '/secret';
PostgreSQL::Test::Utils::append_to_file($secret, "secret\n");
chmod 0600, $secret;
my $known = fresh(
	sasl => {
		target => $kafka->{sasl},
		user => 'relay',
		password_file => $secret,
		options => 'sasl.mechanism=PLAIN, client.id=x'
	},
	tls => { target => $kafka->{tls}, tls => 1, tls_ca => $kafka->{ca} });
foreach my $queue (qw(sasl tls))
{
	give($queue, "'x', 'one'");
	is(join(' ', map { $_->{value} } settle($queue)), 'one', "it comes in by $queue");
}
$known->stop;

# ---- bad input ----

my @bad = (
	[ { positions => 'none' }, qr/stands still: there is no topic "none", which keeps the position - make it, with one partition and cleanup.policy=compact/ ],
	[ { positions => 'q' }, qr/stands still: topic "q" has cleanup.policy=delete, which loses positions/ ],
	[ { options => 'nonsense=1' }, qr/stands still: No such configuration property: "nonsense"/ ],
	[ { options => 'linger.ms=5, acks=1' }, qr/stands still: options: acks can't be changed/ ],
	[ { options => 'linger' }, qr/stands still: options: "linger" is no name=value/ ],
	[ { target => 'kafka://' }, qr/stands still: kafka:\/\/ is no address like kafka:/ ],
	[ { target => 'kafka://127.0.0.1:1' }, qr/engine away: .*no connection: .*refused/ ],
	[ { tls => 1 }, qr/stands still: .*SSL handshake failed/ ],
	[ { target => $kafka->{sasl}, user => 'relay', password => 'wrong', options => 'sasl.mechanism=PLAIN' }, qr/stands still: .*uthentication failed/ ],
	[ { target => $kafka->{tls}, tls => 1 }, qr/stands still: .*certificate/ ],
	[ { target => $kafka->{tls} =~ s/127.0.0.1/localhost/r, tls => 1, tls_ca => $kafka->{ca} }, qr/stands still: .*certificate/ ]);
my $bad = start_relay(map { $_ => { %keys, %{ $bad[$_][0] } } } 0 .. $#bad);
foreach my $i (0 .. $#bad)
{
	$bad->wait_log(qr/\[$i\]: $bad[$i][1]/);
	pass("told: $bad[$i][1]");
}
is($bad->stop, 0, 'and it ends cleanly');

done_testing();
