# pgqd's log can be rotated, by moving it away and SIGHUP or by copying and
# truncating it; and a server's clock that is set back does not stop ticks.

use strict;
use warnings;

use PgqTest;
use Test::More;

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
$s->close;
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
