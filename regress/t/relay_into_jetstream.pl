
# A relay puts each event of a queue into a stream of NATS JetStream once and in
# order, or stands still and says from where: whoever is killed, whatever is cut,
# with a second relay, a second writer, a stream that lost its end.

use strict;
use warnings;

use PgqTest;
use IPC::Run;
use PgqNats;
use PgqRelay;
use PgqShop;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $nats = PgqNats->new;
my $shop = PgqShop->new(q{'I:id', 'id=' || i || '&v=x', 'public.t', null, null, null});
my ($node, $db) = @$shop{qw(node db)};

$nats->create('ORDERS', ['q.>']);

my %keys = $shop->keys(
	target => $nats->url,
	stream => 'ORDERS',
	subject => 'q.{table}.{op}');

sub ledger
{
	my ($name) = @_;

	wait_for("$shop->{n} messages", sub { $shop->bookmark >= $shop->{n} });
	return same_events($nats->events('ORDERS'), $shop->events, $name);
}

my $r;
my $relay = start_relay(r => \%keys);
$shop->insert(1000);
ledger('each event is a message');

my $m = $nats->message('ORDERS', 7);
is($m->{subject}, 'q.t.insert', 'the subject is filled');
is($m->{headers}{'Pgq-Extra1'}, 'public.t', 'headers tell the rest');
is($m->{headers}{'Pgq-Place'}, '7', 'and the place in the batch');

# killed at any moment: the relay, the engine, the database
$shop->amid(6, 700, sub { $relay->crash });
ledger('the relay was killed');
$shop->amid(4, 700, sub { $nats->crash });
ledger('the engine was killed');
$shop->amid(2, 700, sub { $shop->crash });
ledger('the database was killed');

# two relays on one consumer: the chain of sequences lets one message in
my $second = start_relay(r => \%keys);
$shop->amid(5, 500, sub { sleep(0.1) });
ledger('two relays ran at once');
$second->stop;

database_goes_back($node, $db, $relay, sub { $shop->insert(10) },
	qr/stream "ORDERS" is at message (\d+) of batch \d+, and the bookmark at 1 before batch \d+/);
ledger('with a new bookmark it goes on');

# what the stream can't take
my $mark = length $relay->text;
sql($node, $db, q{select pgq.insert_event('q', 't', repeat('x', 2000000))});
$shop->insert(1);
$relay->wait_log(qr/will not take event \d+: it has 2000000 bytes/, $mark);
pass('an event that is too large stops it');
$relay->stop;
$relay = start_relay(r => { %keys, on_refused => 'dead' });
wait_for('the next', sub { $shop->bookmark >= $shop->{n} });
is(sql($node, $db, q{select dead_reason ~ '2000000 bytes'
	from pgq.get_dead_events('q', 'relay_r')}), 't', 'or is dead, with the reason');

sql($node, $db, "select pgq.insert_event('q', 't', 'small', null,
	repeat('x', $_), null, null)") foreach 100000, 2000000;
$shop->insert(1);
wait_for('the next', sub { $shop->bookmark >= $shop->{n} });
is(sql($node, $db, q{select count(*) from pgq.get_dead_events('q', 'relay_r')
	where dead_reason ~ 'bytes of headers'}), '2', 'headers count, too');

# a subject for which the protocol's lines have no room: the server would hang up
sql($node, $db, q{select pgq.insert_event('q', 'I:id', 'id=1', 'public.' || repeat('t', 5000), null, null, null)});
$shop->insert(1);
wait_for('the next', sub { $shop->bookmark >= $shop->{n} });
is(sql($node, $db, q{select count(*) from pgq.get_dead_events('q', 'relay_r')
	where dead_reason ~ 'its subject has \d+ bytes'}), '1', 'so do subjects');

# another writer
$nats->request('q.foreign', 'hello');
$mark = length $relay->text;
$shop->insert(1);
$relay->wait_log(qr/stands still: stream "ORDERS" has another writer/, $mark);
pass('another writer is seen');
$relay->stop;

# the last message is gone, and with it how much of the batch is there
sql($node, $db, "update pgq.bookmark set bm_text = '" . $nats->last_seq('ORDERS') . "'");
$nats->request('q.foreign', 'hello');
$nats->api('STREAM.MSG.DELETE.ORDERS', { seq => $nats->last_seq('ORDERS') });
$relay->start;
$relay->wait_log(qr/stands still: message \d+ of stream "ORDERS" is gone, by the stream's limits or by hand, .* - to send all of it: (select pgq\.set_bookmark\(\d+, '\d+'\))/);
my ($way_out) = $relay->text =~ /to send all of it: (.*)/;
pass('a last message that is gone is told as that');
$relay->stop;
sql($node, $db, $way_out);
$relay->start;
wait_for('the rest', sub { $shop->bookmark == $nats->last_seq('ORDERS') });
pass('with the way out');
$relay->stop;

# streams that can't keep where the relay is
foreach my $case (
	[ { retention => 'workqueue' }, qr/has retention workqueue, so it deletes what was read, .* - make it with retention limits/ ],
	[ { retention => 'interest' }, qr/has retention interest, so it deletes what was read/ ],
	[ { no_ack => \1 }, qr/acknowledges nothing \(no_ack\)/ ],
	[ { subjects => undef, mirror => { name => 'ORDERS' } }, qr/is a mirror/ ],
	[ { subjects => undef, sources => [ { name => 'ORDERS' } ] }, qr/has sources/ ],
	[ { sealed => \1 }, qr/is sealed/ ])
{
	my ($settings, $why) = @$case;
	my $sealed = delete $settings->{sealed};
	my $out = '';

	$nats->create('UNFIT', ['unfit.>'], %$settings);
	$nats->api('STREAM.UPDATE.UNFIT', { name => 'UNFIT', subjects => ['unfit.>'], storage => 'file', sealed => $sealed })
	  if $sealed;
	$r = start_relay(r => { %keys, stream => 'UNFIT', subject => 'unfit.{table}' });
	$r->wait_log(qr/stands still: stream "UNFIT" $why/);
	IPC::Run::run([ 'pgqrelay', '--check', $r->{ini} ], '<', \undef, '>&', \$out, IPC::Run::timeout(60));
	like($out, qr/^r: target: stream "UNFIT" $why/, "told at the start and by --check: $why");
	$r->stop;
	$nats->api('STREAM.DELETE.UNFIT', {});
}

# nor one that has no room for a message: it would be gone at once
$nats->create('SMALL', ['small.>'], max_bytes => 2000);
add_relayed_queue($node, $db, 'small', 'relay_small');
sql($node, $db, q{select pgq.insert_event('small', 't', repeat('x', 1500))});
ticks($node, $db, 'small');
$r = start_relay(r => { %keys, queue => 'small', consumer => 'relay_small', stream => 'SMALL', subject => 'small.{table}' });
$r->wait_log(qr/will not take event \d+: it has 1500 bytes and headers of \d+, and the server takes 2000/);
pass('a message that is larger than all that a stream may have');
$r->stop;

# the stream was made anew: what it had is gone
$nats->api('STREAM.DELETE.ORDERS', {});
$nats->create('ORDERS', ['q.>']);
$relay->start;
$relay->wait_log(qr/stands still: stream "ORDERS" has lost events: .* is 0 and was \d+/);
pass('a stream that lost events is seen');
is($relay->stop, 0, 'it ends cleanly');

$shop->takes_little_memory(20000, %keys);

# bad input
tells(\%keys,
	[ { stream => 'NONE' }, qr/JetStream has no stream "NONE"/ ],
	[ { stream => 'S.{table}' }, qr/key "stream" is one name, and no template: \{table\} is not/ ],
	[ { stream => undef }, qr/key "stream" is missing/ ],
	[ { target => 'nats://127.0.0.1:1' }, qr/engine away: nats:\/\/127.0.0.1:1/ ]);

done_testing();
