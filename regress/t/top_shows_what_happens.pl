
# pgqadm top shows rates and lags on a terminal of any size, answers its keys,
# lives through a restart of the server, and prints where there is no terminal.

use strict;
use warnings;

use PgqTest;
use Test::More;
use IPC::Run;
use JSON::PP;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my @top = ('pgqadm', '-d', $node->connstr($db), 'top');
my ($out, $err);

sub run
{
	($out, $err) = ('', '');
	IPC::Run::run([@_], \undef, \$out, \$err, IPC::Run::timeout(60));
	return $? >> 8;
}

sql($node, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('orders');
	select pgq.register_consumer('orders', 'mailer');
	select pgq.create_queue('naïve "queue"');
	select pgq.set_queue_config('naïve "queue"', 'ticker_paused', 'true');
	select pgq.capture_table('orders', 't');
	create table old (id int primary key);
	insert into old values (1);
	select pgq.capture_table('orders', 'old', 'copy')});

# no terminal

isnt(run(@top), 0, 'no terminal: an error');
like($err, qr/^pgqadm: top needs a terminal\nhint: .*--once/, 'that says so');
{
	local $ENV{LC_ALL} = 'C';
	is(run(@top, '--once', '--interval', '0.2'), 0, '--once');
}
like($out, qr/^shop +PostgreSQL \S+ +PgQ \Q@{[pgq_version()]}\E .*\n.*\npgqd does not look after this database/,
	'it misses pgqd');
like($out, qr/^Nobody reads the slot/m, "and shows the slot's problem");
like($out, qr/^Copy .*Rows left.*\norders\/public\.old .* waiting/m,
	'a copy that waits');
like($out, qr/^na\?ve "queue" .* paused/m,
	'a terminal of another encoding gets no foreign characters');

my $pgqd = start_pgqd($node, ticker_period => 0.2);
wait_ingest($node, $db);

# rates are those of the writer: 100 events in each sample, about
my $load = load_start($node, $db, "select pgq.insert_event('orders', 't', repeat('x', 1000));",
	'-c', 1, '-T', 5, '-R', 200);
wait_for('events', sub {
	sql($node, $db, q{select ev_new + last_tick_id > 30 from
		pgq.get_queue_info('orders')}) eq 't' });
is(run(@top, '--once', '--json', '--interval', '2'), 0, '--json');
my $seen = JSON::PP->new->utf8->decode($out);
my ($queue) = grep { $_->{queue} eq 'orders' } @{ $seen->{queues} };
my ($consumer) = @{ $seen->{consumers} };
ok($queue->{events_per_s} > 50 && $queue->{events_per_s} < 1000, 'rate of a queue')
  or diag($out);
ok($queue->{size_bytes} > 8192, 'size of a queue');
ok($consumer->{lag_events} > 30 && $consumer->{lag_s} > 0, "a consumer's lag");
ok($consumer->{lag_bytes} > 500 * $consumer->{lag_events}, 'in bytes, too');
is($seen->{slots}[0]{slot}, 'pgq_shop', 'the slot');
like($seen->{warning}, qr/^queue ".*" is paused: its consumers get nothing$/, 'the worst that is wrong');
load_stop($load);

# on a terminal

my $screen = '';
my $keys = '';
my $h;

sub start
{
	my ($lines, $columns) = @_;

	local %ENV = (%ENV, TERM => 'xterm', LINES => $lines, COLUMNS => $columns,
		LC_ALL => 'C.UTF-8');
	$screen = '';
	$h = IPC::Run::start([ @top, '--interval', '0.5' ], '<pty<', \$keys,
		'>pty>', \$screen, IPC::Run::timeout(90));
	return;
}

# shows(KEYS, LIKE...): after these keys the screen looks like this. Ctrl-L
# has all of it written, of which ncurses else writes only what changes.
sub shows
{
	my ($typed, @like) = @_;
	my $now = '';

	$keys .= $typed;
	eval {
		wait_for(
			'screen',
			sub {
				my $end = time() + 0.3;

				$keys .= "\f";
				while (time() < $end)
				{
					$h->pump_nb;
					select(undef, undef, undef, 0.02);
				}
				($now = $screen) =~ s/.*\e\[2J//s;
				$now =~ s/\e[\[(][?0-9;]*[A-Za-z]/ /g;
				return !grep { $now !~ $_ } @like;
			},
			20);
	};
	foreach my $like (@like)
	{
		like($now, $like, $typed eq '' ? 'screen' : "after $typed");
	}
	return;
}

start(24, 80);
shows('', qr/shop   PostgreSQL/, qr/Events a second: in \d.*by lag, every 0\.5 s/,
	qr/Slot .*pgq_shop .*B/, qr/naïve "queue" .*paused/, qr/orders\/mailer .*█/,
	qr/q quit  \/ filter  s sort  p pause/);
shows('s', qr/by rate/);
shows('+', qr/every 1 s/);
shows('-', qr/every 0\.5 s/);
shows('h', qr/the average event/);
shows('h', qr/mailer/);
shows('p', qr/PAUSED/);
shows('p', qr/every 0\.5 s /);

$node->stop;
shows('', qr/Trying again: .*Slot/s);
$node->start;
sql($node, $db, q{select pgq.create_queue('created later')});
shows('', qr/\A(?!.*Trying again).*created later/s);
$keys .= 'q';
ok($h->finish, 'q ends it');
like($screen, qr/\e\[\?1049l/, 'and the terminal is as it was');

# a small one: the rest is below

start(10, 60);
shows('', qr/\(more below\)/);
shows('j' x 20, qr/mailer/);
$keys .= 'q';
ok($h->finish, 'q ends it');

# errors come before the screen

isnt(run('pgqadm', '-d', $node->connstr('postgres'), 'top', '--once'), 0,
	'a database without PgQ');
like($err, qr/schema "pgq" does not exist\nhint: Command "install"/,
	'has the usual message');

is($pgqd->stop, 0, 'pgqd ends cleanly');
done_testing();
