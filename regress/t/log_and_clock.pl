# pgqd's log can be rotated, by moving it away and SIGHUP or by copying and
# truncating it; a server's clock that is set back does not stop ticks, and pgqd's
# own may go forth and back as it likes.

use strict;
use warnings;

use PgqTest;
use HTTP::Tiny;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);

sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.set_queue_config('q', 'ticker_max_lag', '0.5 s');
});
my $pgqd = start_pgqd($node, database_list => $db, stats_period => 0.2);
$pgqd->wait_log(qr/\{ticks: /);

rename($pgqd->{log}, "$pgqd->{log}.1") or die;
$pgqd->signal('HUP');
wait_for('a new log', sub { -s $pgqd->{log} });
pass('SIGHUP opens the log anew after it was moved');
like(PgqTest::slurp("$pgqd->{log}.1"), qr/Got SIGHUP/, 'the old one has all before');

truncate($pgqd->{log}, 0) or die;
like(wait_for('a line', sub { PgqTest::slurp($pgqd->{log}) }), qr/\A\d{4}-/,
	'a log that was truncated begins at its beginning');

# as if the server's clock had been right then, and an hour ahead before
my $s = session($node, $db);
wait_for('two ticks', sub { $s->query('select count(*) > 2 from pgq.tick') eq 't' });
$s->query(q{update pgq.tick set tick_time = tick_time + interval '1 hour'});
foreach my $event ('one', 'two')
{
	$s->query("select pgq.insert_event('q', 'x', '$event')");
	my $got = wait_for("event $event", sub {
		my $batch = $s->query(q{select pgq.next_batch('q', 'c')});
		return if $batch eq '';
		my $data = $s->query("select ev_data from pgq.get_batch_events($batch)");
		$s->query("select pgq.finish_batch($batch)");
		return $data;
	}, 20);
	is($got, $event, "event $event comes though the clock went back");
}
is($pgqd->stop, 0, 'pgqd ends cleanly');

# pgqd's clock is one that this file sets, in seconds from the right time
my ($lib) = glob('/usr/lib/*/faketime/libfaketime.so.1 /usr/lib*/faketime/libfaketime.so.1');
die "libfaketime is not installed: scripts/install-deps does it\n" if !$lib;
my $clock = PostgreSQL::Test::Utils::tempdir() . '/clock';
my $port = PostgreSQL::Test::Cluster::get_free_port();

sub set_clock
{
	my ($seconds) = @_;

	open(my $fh, '>', "$clock.new") or die;
	print $fh sprintf("%+d\n", $seconds);
	close($fh);
	rename("$clock.new", $clock) or die;
	return;
}

set_clock(0);
{
	local %ENV = (%ENV, LD_PRELOAD => $lib, FAKETIME_TIMESTAMP_FILE => $clock,
		FAKETIME_NO_CACHE => 1, FAKETIME_DONT_FAKE_MONOTONIC => 1);
	$pgqd = start_pgqd($node, database_list => $db, stats_period => 0.2,
		http_listen => "127.0.0.1:$port");
}

sub healthy
{
	return HTTP::Tiny->new->get("http://127.0.0.1:$port/health")->{status} == 200;
}

# processor time that it has taken, in seconds
sub effort
{
	my @stat = split(/ /, PgqTest::slurp("/proc/$pgqd->{pid}/stat"));
	return ($stat[13] + $stat[14]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

wait_for('health', \&healthy);
foreach my $jump (3600, -3600, 0)
{
	my $tick = 'select max(tick_id) from pgq.tick';

	set_clock($jump);
	my $hour = POSIX::strftime('%Y-%m-%d %H:', localtime(time() + $jump));
	wait_for('a line of that time', sub {
		(split(/\n/, $pgqd->text))[-1] =~ /^\Q$hour/;
	}, 10);
	my $before = $s->query($tick);
	my $effort = effort();
	$s->query(q{select pgq.insert_event('q', 'x', 'jump')});
	wait_for('a tick', sub { $s->query($tick) > $before }, 10);
	$s->query(q{select pg_terminate_backend(pid) from pg_stat_activity
		where application_name like 'pgqd/%'});
	sleep(1);
	wait_for('health', \&healthy, 10);
	$before = $s->query($tick);
	$s->query(q{select pgq.insert_event('q', 'x', 'jump')});
	wait_for('a tick', sub { $s->query($tick) > $before }, 10);
	pass("a clock that is $jump s wrong: ticks, connections, health as ever");
	cmp_ok(effort() - $effort, '<', 0.7, 'and no loop without rest');
}

# five seconds are five seconds
$s->query('begin; lock table pgq.tick');
my $busy = session($node, $db);
wait_for('a ticker that waits', sub {
	$busy->query(q{select count(*) from pg_stat_activity where
		application_name = 'pgqd/tick' and wait_event_type = 'Lock'});
});
$pgqd->signal('INT');
$pgqd->wait_log(qr/Got SIGINT/);
set_clock(-3600);
is($pgqd->wait_end, 0, 'SIGINT does not wait for an hour that comes twice');
$_->close foreach ($s, $busy);

done_testing();
