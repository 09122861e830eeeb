
# A relay brings each event of a queue to RabbitMQ at least once, with an id that stays
# the same, whoever is killed; what no queue takes is refused by name.

use strict;
use warnings;

use HTTP::Tiny;
use PgqCerts;
use PgqRabbit;
use PgqRelay;
use PgqShop;
use PgqTest;
use Test::More;

my $certs = PgqCerts->new;
my $tls_port = free_port();

$certs->make('good', 'IP:127.0.0.1,DNS:localhost');
$certs->make('client', 'DNS:relay');
my $rabbit = PgqRabbit->new(
	'max_message_size = 1000000',
	"listeners.ssl.1 = 127.0.0.1:$tls_port",
	'ssl_options.cacertfile = ' . $certs->cert('ca'),
	'ssl_options.certfile = ' . $certs->cert('good'),
	'ssl_options.keyfile = ' . $certs->key('good'),
	'ssl_options.verify = verify_peer',
	'ssl_options.fail_if_no_peer_cert = true');
my $shop = PgqShop->new(q{'I:id', 'id=' || i || '&v=x', 'public.t', null, null, null});
my ($node, $db) = @$shop{qw(node db)};

$rabbit->ask('declare', 'orders', 'shop', 'topic', 'q.t.*');

my %keys = $shop->keys(
	target => $rabbit->url,
	exchange => 'shop',
	routing_key => 'q.{table}.{op}');
my (@got, %times);

sub take
{
	foreach my $line (split(/\n/, $rabbit->ask('take', 'orders')))
	{
		my ($id, $place, $body) = $line =~ m{^q/(\d+) (\d+) (.*)$} or die "odd: $line";

		push @got, [ $id, $body ] if !$times{"$id $body"}++;
	}
	return;
}

# each event, its id always with the same body
sub ledger
{
	my ($name, $missing) = @_;

	wait_for("$shop->{n} messages", sub { take(); @got >= $shop->{n} - ($missing // 0) });
	return same_events([ sort { $a->[0] <=> $b->[0] } @got ],
		[ grep { $_->[1] !~ /^nowhere/ } @{ $shop->events } ], $name);
}

sub times_more { return scalar grep { $_ > 1 } values %times }

my $relay = start_relay(r => \%keys);
$shop->insert(1000);
ledger('each event is a message');
is(times_more(), 0, 'and is there once, when nobody dies');
is(join(' ', map { $_->[0] } @got), join(' ', sort { $a <=> $b } map { $_->[0] } @got), 'in order');

$shop->amid(6, 700, sub { $relay->crash });
ledger('the relay was killed');
$shop->amid(1, 700, sub { $rabbit->crash });
ledger('the engine was killed');
$shop->amid(1, 700, sub { $shop->crash });
ledger('the database was killed');
wait_for('it to run', sub { sql($node, $db, q{select state from pgq.get_relay_info()}) eq 'running' });

# what no queue takes, in the midst of others
my $mark = length $relay->text;
my $there = scalar @got;
$shop->insert(250);
sql($node, $db, q{select pgq.insert_event('q', 'I:id', 'nowhere' || i, 'public.u', null, null, null)
	from generate_series(1, 2) i});
$shop->insert(250);
$relay->wait_log(qr/stands still: the engine will not take event \d+: no queue takes messages of exchange "shop" with routing key "q\.u\.insert" \(NO_ROUTE\)/, $mark);
pass('what no queue takes stops it');
take();
$relay->stop;
$relay = start_relay(r => { %keys, on_refused => 'dead' });
ledger('or is dead, and all others are there');
is(sql($node, $db, q{select string_agg(ev_data || ' ' || (dead_reason ~ 'NO_ROUTE'), ',' order by ev_id)
	from pgq.get_dead_events('q', 'relay_r')}), 'nowhere1 true,nowhere2 true', 'with the reason');
is(sql($node, $db, q{select count(*) from pgq.get_dead_events('q', 'relay_r')}), '2', 'each once');

# too large: its body, its headers
$shop->insert(5);
sql($node, $db, q{select pgq.insert_event('q', 'I:id', 'nowhere' || repeat('x', 1000001), 'public.t', null, null, null)});
sql($node, $db, q{select pgq.insert_event('q', 'I:id', 'nowhere', 'public.t', repeat('x', 200000), null, null)});
sql($node, $db, q{select pgq.insert_event('q', 'I:id', 'nowhere', 'public.' || repeat('x', 300), null, null, null)});
sql($node, $db, q{select pgq.insert_event('q', 'I:id', 'nowhere', 'public.a.b*#%', null, null, null)});
$shop->insert(5);
ledger('what is too large is dead, and all others are there');
wait_for('all dead ones', sub { sql($node, $db, q{select count(*) from pgq.get_dead_events('q', 'relay_r')}) >= 6 });
is(sql($node, $db, q{select count(*), count(*) filter (where dead_reason ~ 'max size'),
	count(*) filter (where dead_reason ~ 'bytes of headers'),
	count(*) filter (where dead_reason ~ 'routing key or its id is longer than 255'),
	count(*) filter (where dead_reason ~ 'routing key "q.a%2Eb%2A%23%25.insert"')
	from pgq.get_dead_events('q', 'relay_r')}), '6|1|1|1|1', 'with the reason; words of keys are escaped');
is($relay->stop, 0, 'it ends cleanly');

# short of memory or disk, it takes nothing, and says so
my $http = free_port();
$relay = start_relay('' => { http_listen => "127.0.0.1:$http" },
	r => { %keys, on_refused => 'dead', stall_release => 2 });
$shop->insert(10);
ledger('there is room');
foreach my $case (
	[ 'memory', 'set_vm_memory_high_watermark', [ 'absolute', '1' ], '0.9' ],
	[ 'disk', 'set_disk_free_limit', [ '1000000GB' ], '1MB' ])
{
	my ($what, $limit, $alarm, $over) = @$case;

	$mark = length $relay->text;
	$rabbit->control($limit, @$alarm);
	$shop->insert(50);
	$relay->wait_log(qr/engine away: the broker has blocked who publishes: it is short of memory or disk/, $mark);
	wait_for('the state', sub { sql($node, $db, q{select state from pgq.get_relay_info()}) eq 'engine away' });
	wait_for('/health', sub {
		my $page = HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$http/health");

		# 599: without libmicrohttpd
		return $page->{status} == 599 || $page->{content} =~ /the broker has blocked who publishes/;
	});
	is(sql($node, $db, q{select count(*) from pg_stat_activity where application_name ~ 'pgqrelay|relay_r'
		and xact_start < now() - interval '3 s'}), 0, "$what: no transaction stays open meanwhile");
	$rabbit->control($limit, $over);
	ledger("$what: it goes on when there is room again");
}
is($relay->stop, 0, 'it ends cleanly');

# TLS, each side with a certificate
my %tls = (%keys, target => "amqps://localhost:$tls_port", tls_ca => $certs->cert('ca'));
$relay = start_relay(r =>
	{ %tls, tls_cert => $certs->cert('client'), tls_key => $certs->key('client') });
$shop->insert(200);
ledger('by TLS');
$relay->stop;

# bad input
tells(\%keys,
	[ { exchange => 'shop.{schema}' }, qr/key "exchange" is one name, and no template: \{schema\} is not/ ],
	[ { exchange => 'none' }, qr/stands still: amqp:.*no exchange 'none'/ ],
	[ { user => 'guest', password => 'wrong' }, qr/stands still: amqp:.*ACCESS_REFUSED/ ],
	[ { target => $rabbit->url . '/none' }, qr/stands still: amqp:.*vhost none not found|stands still: amqp:.*NOT_ALLOWED/ ],
	[ { target => 'amqp://127.0.0.1:x' }, qr/stands still: amqp:.* is no address like amqp:/ ],
	[ { target => 'amqp://127.0.0.1:1' }, qr/engine away: amqp:\/\/127\.0\.0\.1:1: no connection/ ],
	[ { target => $rabbit->url, tls => 1, tls_ca => $certs->cert('ca') }, qr/stands still: amqp:.*TLS failed: is it a port with TLS/ ],
	[ { %tls }, qr/(?:stands still|engine away): amqps:/ ],
	[ { stream => 'x' }, qr/key "stream" means nothing to a amqp: target/ ]);

$shop->takes_little_memory(20000, %keys);

done_testing();
