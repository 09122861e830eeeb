
# A relay gives each event of a queue to a webhook, in order and at least once:
# with ids that stay, signed, getting on in a batch that fails half way, and with
# what the web server answers taken at its word.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_base64);
use JSON::PP;
use MIME::Base64 qw(encode_base64);
use PgqTest;
use PgqRelay;
use PgqShop;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'no python3 here' if system('python3 -c "" 2>/dev/null') != 0;
plan skip_all => 'pgqrelay was built without libcurl'
  if `pgqrelay --version 2>&1` !~ /^  https: .*libcurl \d/m;

my $shop = PgqShop->new(q{'t', 'n' || i || '.'});
my ($node, $db) = @$shop{qw(node db)};
my $dir = PostgreSQL::Test::Utils::tempdir();
my $port = free_port();
my ($log, $orders) = ("$dir/log", "$dir/orders");
my ($here) = __FILE__ =~ m{^(.*)/};
my $server = start_engine('webhook', 'python3', "$here/webhook_server.py",
	$port, $log, $orders);
my $key = 'a key of the signature';

my %keys = $shop->keys(
	target => "http://127.0.0.1:$port/hook",
	secret => 'whsec_' . encode_base64($key, ''));

sub received { return -e $log ? [ map { decode_json($_) } split(/\n/, slurp($log)) ] : [] }

# Bodies in the order in which they first came.
sub bodies
{
	my %seen;

	return [ grep { !$seen{$_}++ } map { $_->{body} } @{ received() } ];
}

sub wait_all
{
	my ($name) = @_;

	wait_for("$shop->{n} events", sub { @{ bodies() } >= $shop->{n} });
	return is_deeply(bodies(), [ map { "n$_." } 1 .. $shop->{n} ], $name);
}

sub order
{
	my (%what) = @_;

	open(my $fh, '>', "$orders.new") or die $!;
	print $fh encode_json(\%what);
	close($fh);
	rename("$orders.new", $orders) or die $!;
	return;
}

my $relay = start_relay(r => \%keys);
$shop->insert(200);
wait_all('each event, in order');

my $first = received()->[0];
my $h = $first->{headers};
my $mac = hmac_sha256_base64("$h->{'webhook-id'}.$h->{'webhook-timestamp'}.$first->{body}", $key);
$mac .= '=' while length($mac) % 4;
is($h->{'webhook-signature'}, "v1,$mac", 'the signature is right');
like($h->{'webhook-id'}, qr{^q/\d+$}, 'the id is that of the event');
is($h->{'idempotency-key'}, $h->{'webhook-id'}, 'and the idempotency key');

# killed in the middle: what comes again has the same id
$shop->insert(300);
$relay->crash;
wait_all('the relay was killed');
my %id_of;
my $same = 1;
foreach my $r (@{ received() })
{
	my $id = $id_of{ $r->{body} } //= $r->{headers}{'webhook-id'};
	$same = 0 if $id ne $r->{headers}{'webhook-id'};
}
ok($same, 'an event that came twice had the same id');

# a server that fails half way: the batch gets on, and is not sent from its start
my $before = @{ received() };
order(match => 'n' . ($shop->{n} + 150) . '.', status => 500);
$shop->insert(200);
$relay->wait_log(qr/engine away: .* answers 500/);
order();
wait_all('the server failed half way');
is(scalar @{ received() } - $before, 200, 'no event was sent twice for that');

# it asks to wait
order(match => 'n' . ($shop->{n} + 1) . '.', status => 429, retry_after => 1);
my $mark = length $relay->text;
$shop->insert(2);
$relay->wait_log(qr/answers 429/, $mark);
order();
wait_all('it asked to come later');

# it will not take one
order(match => 'n' . ($shop->{n} + 1) . '.', status => 422);
$mark = length $relay->text;
$shop->insert(2);
$relay->wait_log(qr/will not take event \d+: the server answers 422/, $mark);
pass('an event that is refused stops it');
$relay->stop;

# whatever the server says goes into the database and to a terminal
order(match => 'n' . ($shop->{n} - 1) . '.', status => 422, answer => "r\x{e9}fus\e[31m");
$relay = start_relay(r => { %keys, on_refused => 'dead' });
wait_for('the next', sub { bodies()->[-1] eq "n$shop->{n}." });
is(sql($node, $db, q{select dead_reason from pgq.get_dead_events('q', 'relay_r')}),
	'the server answers 422 r?fus [31m', 'or is dead, with the reason');

foreach my $status (414, 431)
{
	order(match => 'n' . ($shop->{n} + 1) . '.', status => $status);
	$shop->insert(2);
	wait_for('the next', sub { bodies()->[-1] eq "n$shop->{n}." });
	is(sql($node, $db, qq{select count(*) from pgq.get_dead_events('q', 'relay_r')
		where dead_reason ~ 'answers $status'}), 1, "$status: too long is dead");
}

# gone, and moved
foreach my $status (410, 302)
{
	order(match => '.', status => $status);
	$mark = length $relay->text;
	$shop->insert(1);
	$relay->wait_log(qr/stands still: .* answers $status/, $mark);
	pass("$status: a person must look");
	$relay->stop;
	order();
	$relay->start;
	wait_for('the next', sub { bodies()->[-1] eq "n$shop->{n}." });
}
is($relay->stop, 0, 'it ends cleanly');

foreach my $case (
	[ { secret => '!' }, qr/key "secret" is no base64/ ],
	[ { target => 'http://127.0.0.1:1/' }, qr/engine away: http:\/\/127.0.0.1:1/ ])
{
	my ($bad, $message) = @$case;
	my $r = start_relay(r => { %keys, %$bad });

	$shop->insert(1);
	$r->wait_log($message);
	pass("told: $message");
	$r->stop;
}

# a database that goes back amid a batch gives its id anew: what was sent of the one
# counts for nothing in the other
order();
$relay = start_relay(r => \%keys);
wait_for('all that is there', sub { bodies()->[-1] eq "n$shop->{n}." });
wait_for('the end of the batch', sub { sql($node, $db, q{select current_batch is null
	and pending_events = 0 from pgq.get_consumer_info('q', 'relay_r')}) eq 't' });
$node->stop;
system('cp', '-a', $node->data_dir, "$dir/backup") == 0 or die 'cp failed';
$node->start;
order(match => 'n' . ($shop->{n} + 6) . '.', status => 500);
$mark = length $relay->text;
$shop->insert(10);
$relay->wait_log(qr/engine away: .* answers 500/, $mark);
my $batch = sql($node, $db, q{select current_batch from pgq.get_consumer_info('q', 'relay_r')});
is(bodies()->[-1], 'n' . ($shop->{n} - 5) . '.', 'half of a batch is sent');
$node->stop('immediate');
system('rm', '-rf', $node->data_dir) == 0 or die 'rm failed';
system('cp', '-a', "$dir/backup", $node->data_dir) == 0 or die 'cp failed';
order(match => '.', status => 500);
$node->start;
$shop->insert(10);
wait_for('a batch of that id', sub { sql($node, $db, qq{select current_batch = $batch
	from pgq.get_consumer_info('q', 'relay_r')}) eq 't' });
order();
wait_for('the last', sub { bodies()->[-1] eq "n$shop->{n}." });
my %there = map { $_ => 1 } @{ bodies() };
is(join(' ', grep { !$there{"n$_."} } $shop->{n} - 9 .. $shop->{n}), '',
	'each event of the batch that has its id now is sent');
$relay->stop;

$shop->takes_little_memory(200, %keys);

done_testing();
