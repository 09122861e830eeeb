
# What an engine will never take is told by name and reason, and nothing is passed over:
# the relay stands still there, or the event is dead and the others are there. What only
# a person can allow makes it stand still, whatever on_refused says.

use strict;
use warnings;

use PgqNats;
use PgqRedis;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $version = `pgqrelay --version 2>&1` || '';
my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $n = 0;

# queue_of(EVENT...): a queue with these, as arguments of insert_event behind the queue;
# the keys of a relay to it
sub queue_of
{
	my @events = @_;
	my $queue = 'q' . ++$n;

	add_relayed_queue($node, $db, $queue, "relay_$queue");
	sql($node, $db, join(';', map { "select pgq.insert_event('$queue', $_)" } @events));
	ticks($node, $db, $queue);
	return (
		db => $node->connstr($db),
		queue => $queue,
		consumer => "relay_$queue",
		stall_release => 3,
		window_events => 4);
}

sub is_finished
{
	my ($queue) = @_;

	return sql($node, $db, "select count(*) from pgq.subscription
		join pgq.queue on queue_id = sub_queue where queue_name = '$queue'
		and sub_batch is null and sub_last_tick = (select max(tick_id)
			from pgq.tick where tick_queue = queue_id)") == 1;
}

# refuses(WHAT, REASON, [ EVENT... ], THERE, KEYS): of the events, bad ones hold "bad"
sub refuses
{
	my ($what, $reason, $events, $there, %target) = @_;
	my %keys = (queue_of(@$events), %target);
	my $relay = start_relay(r => \%keys);
	my @good = map { /'(good[0-9]+)'/ } @$events;
	my $bad = @$events - @good;

	$relay->wait_log(qr/stands still: the engine will not take event \d+: .*$reason/);
	pass("$what: it stands still, and says why");
	ok(!is_finished($keys{queue}), "$what: the batch is not finished");
	$relay->stop;
	$relay = start_relay(r => { %keys, on_refused => 'dead' });
	wait_for('the rest', sub { is_finished($keys{queue}) });
	is(sql($node, $db, "select count(*) from pgq.get_dead_events('$keys{queue}', '$keys{consumer}')
		where dead_reason ~ '$reason' and ev_data ~ 'bad'"), $bad, "$what: or it is dead, with the reason");
	is(join(' ', $there->()), "@good", "$what: all others are there, once and in order");
	is($relay->stop, 0, "$what: it ends cleanly");
	return;
}

# forbids(WHAT, MESSAGE, THERE, ALLOW, KEYS): until it is allowed
sub forbids
{
	my ($what, $message, $there, $allow, %target) = @_;
	my %keys = (queue_of(map { "'x', 'good$_', 'public.t', null, null, null" } 1 .. 9), on_refused => 'dead', %target);
	my $relay = start_relay(r => \%keys);

	$relay->wait_log(qr/stands still: .*$message/);
	pass("$what: it stands still, and says why");
	$relay->stop;
	is(sql($node, $db, "select count(*) from pgq.get_dead_events('$keys{queue}', null)"), '0',
		"$what: nothing is dead by it");
	$allow->();
	$relay = start_relay(r => \%keys);
	wait_for('all', sub { is_finished($keys{queue}) });
	is(join(' ', $there->()), join(' ', map { "good$_" } 1 .. 9), "$what: then all is there");
	$relay->stop;
	return;
}

# good1 bad good2 ... with what is bad at the places given
sub mixed
{
	my ($bad, @places) = @_;
	my $g = 0;

	return [ map { my $i = $_; (grep { $_ == $i } @places) ? $bad
		: "'x', 'good" . ++$g . "', 'public.t', null, null, null" } 1 .. 12 ];
}

# ---- another database ----
{
	sql($node, 'postgres', q{create database latin1 template template0 encoding 'LATIN1'
		lc_collate 'C' lc_ctype 'C'});
	sql($node, 'latin1', q{create extension pgq; create extension pgq_ext;
		create role plain login; select pgq.create_queue('far')});
	my %to = (target => 'postgresql:///latin1?host=' . ($node->host =~ s{/}{%2F}gr) . '&port=' . $node->port, to_queue => 'far');
	my $there = sub {
		my @events = map { $_->[1] } @{ events_of($node, 'latin1', 'far') };
		sql($node, 'latin1', q{select pgq.drop_queue('far'), pgq.create_queue('far')});
		return @events;
	};

	refuses('postgresql: a character that its encoding lacks', 'has no equivalent in encoding',
		mixed(q{'x', 'bad ' || chr(8364)}, 1, 6, 7, 12), $there, %to);
	forbids('postgresql: a role without rights', 'permission denied', $there,
		sub { sql($node, 'latin1', 'grant pgq_admin to plain; grant usage on schema pgq_ext to plain') },
		%to, user => 'plain');
	sql($node, 'latin1', q{create role secret login in role pgq_admin password 'geheim'});
	append_to_file($node->data_dir . '/pg_hba.new',
		"local all secret scram-sha-256\n" . slurp($node->data_dir . '/pg_hba.conf'));
	rename($node->data_dir . '/pg_hba.new', $node->data_dir . '/pg_hba.conf') or die $!;
	$node->reload;
	tells({ queue_of("'x', 'good1'"), %to, user => 'secret', password => 'wrong' },
		[ {}, qr/engine away: .*password authentication failed/ ]);
}

# ---- Redis ----
SKIP:
{
	skip 'pgqrelay was built without hiredis', 1 if $version !~ /hiredis \d/;
	my $redis = PgqRedis->new('--proto-max-bulk-len', '1mb');
	my %to = (target => $redis->url, stream => 's');
	my $there = sub {
		my @events = map { $_->[1] } @{ $redis->events('s') };
		$redis->ask('DEL', 's');
		return @events;
	};

	refuses('redis: too large', 'a text of [0-9]+ bytes, and the server takes 1048576',
		mixed(q{'x', 'bad' || repeat('x', 1100000)}, 1, 6, 7, 12), $there, %to);
	$redis->ask('SET', 's', 'no stream');
	forbids('redis: a key that is no stream', 'WRONGTYPE', $there, sub { $redis->ask('DEL', 's') }, %to);
	$redis->ask('ACL', 'SETUSER', 'shop', 'on', '>geheim', '~pgq.*', '+@all');
	forbids('redis: a user without rights', 'NOPERM', $there,
		sub { $redis->ask('ACL', 'SETUSER', 'shop', '~s') },
		%to, user => 'shop', password => 'geheim');
}

# ---- NATS JetStream ----
SKIP:
{
	skip 'pgqrelay was built without libnats', 1 if $version !~ /libnats \d/;
	my $nats = PgqNats->new;
	my %to = (target => $nats->url, stream => 'S', subject => 's.{type}');
	my $there = sub {
		my @events = map { $_->[1] } @{ $nats->events('S') };
		$nats->api('STREAM.DELETE.S', {});
		$nats->create('S', ['s.x']);
		return @events;
	};

	$nats->create('S', ['s.x']);
	refuses('nats: a subject that is not of the stream', 'subject "s.y" is none of stream "S"',
		mixed(q{'y', 'bad'}, 1, 6, 7, 12), $there, %to);
	$nats->reconfigure('authorization: { users: [ { user: all, password: all },',
		'  { user: shop, password: geheim, permissions: { publish: ["$JS.API.>"] } } ] }');
	$nats->{login} = ',"user":"all","pass":"all"';
	$nats->start;
	forbids('nats: a user without rights', 'Permissions Violation for Publish to "s.x"', $there,
		sub {
			$nats->reconfigure('authorization: { users: [ { user: all, password: all },',
				'  { user: shop, password: geheim, permissions: { publish: ["$JS.API.>", "s.>"] } } ] }');
			$nats->start;
		},
		%to, user => 'shop', password => 'geheim');
	$nats->reconfigure('authorization: { users: [ { user: shop, password: geheim,',
		'  permissions: { publish: ["s.>"] } } ] }');
	$nats->{server}->start;
	tells({ queue_of("'x', 'good1'"), %to, user => 'shop', password => 'geheim' },
		[ {}, qr/stands still: .*Permissions Violation for Publish to "\$JS\.API\.STREAM\.INFO\.S"/ ]);
}

done_testing();
