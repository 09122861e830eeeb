
# The recipes of doc/relay.md, each run as it stands against an engine of its kind; only
# addresses are others.

use strict;
use warnings;

use DocBlocks;
use FindBin;
use IO::Socket::INET;
use PgqNats;
use PgqRedis;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $version = `pgqrelay --version 2>&1` || '';
plan skip_all => 'pgqrelay was not built here' if $version eq '';

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();
my @blocks = doc_blocks("$FindBin::RealBin/../../doc/relay.md");
my %sql = map { $_->{heading} => $_->{text} } grep { $_->{lang} eq 'sql' } @blocks;
my $n = 0;

local $ENV{NATS_PASSWORD} = 'geheim';
local $ENV{WEBHOOK_SECRET} = 'whsec_Z2VoZWlt';

# what each kind of target has in place of its address, and how many messages are there
my %engine = (
	nats => sub {
		return "pgqrelay was built without libnats" if $version !~ /libnats \d/;
		my $nats = PgqNats->new;

		$nats->create('ORDERS', ['shop.>']);
		$nats->reconfigure('authorization: { users: [ { user: all, password: all },'
			  . ' { user: pgqrelay, password: geheim, permissions: { publish: ["shop.>",'
			  . ' "$JS.API.STREAM.INFO.ORDERS", "$JS.API.STREAM.MSG.GET.ORDERS"], subscribe: ["_INBOX.>"] } } ] }');
		$nats->{login} = ',"user":"all","pass":"all"';
		$nats->start;
		return ([ qr{nats://localhost:4222}, $nats->url ], sub { $nats->last_seq('ORDERS') });
	},
	redis => sub {
		return "pgqrelay was built without hiredis" if $version !~ /hiredis \d/;
		my $redis = PgqRedis->new;

		return ([ qr{redis://localhost:6379/0}, $redis->url ], sub { $redis->ask('XLEN', 'shop.item') });
	},
	postgresql => sub {
		my ($heading) = grep { /queue of another/ } keys %sql;
		my $host = $node->host =~ s{/}{%2F}gr;

		sql($node, 'postgres', 'create database stock');
		sql($node, 'stock', $sql{$heading});
		return ([ qr{postgresql://stockhost/stock}, "postgresql:///stock?host=$host&port=" . $node->port ],
			sub { scalar @{ events_of($node, 'stock', 'shop_orders') } });
	},
	file => sub {
		return ([ qr{/var/lib/pgqrelay}, $dir ],
			sub { -e "$dir/orders.jsonl" ? scalar(() = slurp("$dir/orders.jsonl") =~ /\n/g) : 0 });
	},
	https => sub {
		return "pgqrelay was built without libcurl" if $version !~ /libcurl \d/;
		my $port = free_port();

		start_engine('webhook', 'python3', "$FindBin::RealBin/webhook_server.py", $port, "$dir/log", "$dir/no");
		wait_for('the web server', sub { IO::Socket::INET->new("127.0.0.1:$port") });
		return ([ qr{https://hooks\.example\.com}, "http://127.0.0.1:$port" ],
			sub { -e "$dir/log" ? scalar(() = slurp("$dir/log") =~ /\n/g) : 0 });
	});

foreach my $block (grep { $_->{lang} eq 'ini' && $_->{text} =~ /^\[relay/m } @blocks)
{
	my ($scheme) = $block->{text} =~ /^target = (\w+):/m;
	my $what = "$block->{heading}, $scheme";

	if (!$engine{$scheme})
	{
		# these have tests of their own; here it is seen that the keys are right
		append_to_file("$dir/check.ini", $block->{text} =~ s/\$\{\w+\}/x/gr);
		chmod 0600, "$dir/check.ini";
		my $out = `pgqrelay --check $dir/check.ini 2>&1`;

		like($out, qr/^\w+: database: /, "$what: it is read");
		unlink "$dir/check.ini";
		next;
	}
SKIP:
	{
		my @made = $engine{$scheme}->();

		skip "$what: $made[0]", 1 if !ref $made[0];
		my ($address, $there) = @made;
		my $text = $block->{text} =~ s/^\[pgqrelay\]\n.*?(?=^\[relay)//msr;
		my $consumer = 'relay_' . ++$n;
		my $before = $there->();

		$text =~ s/$address->[0]/$address->[1]/ or die "$what: another address";
		$text =~ s/^db = .*/'db = ' . $node->connstr($db)/me;
		$text .= "consumer = $consumer\n";
		# the first one has no login; the server of this test wants one
		$text .= "user = all\npassword = all\n" if $scheme eq 'nats' && $text !~ /^user/m;
		sql($node, $db, q{select pgq.create_queue('orders')});
		append_to_file("$dir/$n.ini", "[pgqrelay]\nsyslog = 0\n$text");
		chmod 0600, "$dir/$n.ini";
		is(`pgqrelay --check $dir/$n.ini 2>&1`, "orders: ok\n", "$what: --check");
		my $relay = start_engine('pgqrelay', 'pgqrelay', "$dir/$n.ini");

		wait_for('its consumer', sub { sql($node, $db,
			"select count(*) from pgq.get_consumer_info('orders', '$consumer')") == 1 });
		sql($node, $db, q{select pgq.insert_event('orders', 'I:id', 'id=1', 'public.item', null, null, null)});
		ticks($node, $db, 'orders');
		wait_for('the event', sub { $there->() > $before });
		is($there->(), $before + 1, "$what: the event is there");
		is($relay->stop, 0, "$what: it ends cleanly");
	}
}

done_testing();
