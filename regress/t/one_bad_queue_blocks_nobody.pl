
# Whatever is wrong with one queue, pgqd ticks the others, brings back their
# retried and delayed events, and rotates their tables.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('bad');
my $db = new_database($node, 'db', slot => 0);
my @bad = qw(a_invalid a_locked a_no_sequence a_limit a_disabled a_ticked a_row
  a_no_table a_tick_gone a_foreign a_dropped);

sql($node, $db, $_)
  foreach "select pgq.create_queue(q) from unnest('{" . join(',', 'z_good', @bad) . "}'::text[]) q",
  "update pgq.queue set queue_ticker_max_lag = '0', queue_ticker_idle_period = '0',
	queue_rotation_period = '0'";

# each has an event that comes back, and a delayed one
my $s = session($node, $db);
foreach my $queue ('z_good', @bad)
{
	$s->query($_)
	  foreach "select pgq.register_consumer('$queue', 'c')",
	  "select pgq.insert_event('$queue', 't', 'again')",
	  "select pgq.ticker('$queue')",
	  "select pgq.next_batch('$queue', 'c') as batch \\gset\n"
	  . "select pgq.event_retry(:batch, ev_id, 0) from pgq.get_batch_events(:batch);\n"
	  . "select pgq.finish_batch(:batch)",
	  "select pgq.insert_event_at('$queue', now(), 't', 'delayed')";
}
my %id = map { split(/\|/) } split(/\n/, $s->query('select queue_name, queue_id from pgq.queue'));

# what is wrong with them
my %hold = map { $_ => session($node, $db) } qw(a_locked a_ticked a_row a_dropped);
$s->query($_) foreach
  "update pgq.tick set tick_snapshot = '900000000000:900000000000:' where tick_queue = $id{a_invalid}",
  "drop sequence pgq.event_$id{a_no_sequence}_id_seq cascade",
  "update pgq.queue set queue_per_tx_limit = 0 where queue_name = 'a_limit'",
  "update pgq.queue set queue_disable_insert = true where queue_name = 'a_disabled'",
  "drop table pgq.event_$id{a_no_table}_0, pgq.event_$id{a_no_table}_1",
  "update pgq.subscription set sub_last_tick = 77777 where sub_queue = $id{a_tick_gone}",
  "drop table pgq.event_$id{a_foreign}_2",
  "update pgq.queue set queue_origin = null, queue_switch_step1 = 900000000000 where queue_name = 'a_foreign'";
$_->query('begin') foreach values %hold;
$hold{a_locked}->query("lock table pgq.event_$id{a_locked} in access exclusive mode");
$hold{a_ticked}->query("select pgq.ticker('a_ticked')");
$hold{a_dropped}->query("select pgq.drop_queue('a_dropped', true)");
$hold{a_row}->query("select * from pgq.queue where queue_name = 'a_row' for update");

my $pgqd = start_pgqd($node, ticker_period => 0.2, retry_period => 0.5, maint_period => 0.5);
my %got;
wait_for(
	'both events of the good queue',
	sub {
		my $batch = $s->query("select pgq.next_batch('z_good', 'c')");
		return 0 if $batch eq '';
		$got{$_}++ foreach split(/\n/,
			$s->query("select ev_data from pgq.get_batch_events($batch)"));
		$s->query("select pgq.finish_batch($batch)");
		return keys %got == 2;
	});
is_deeply(\%got, { again => 1, delayed => 1 }, 'ticks, retries and delayed events');
# once: after that the open transactions are in the way, as they should be
wait_for(
	'a rotation',
	sub { $s->query("select queue_cur_table from pgq.queue where queue_name = 'z_good'") ne '0' });
pass('tables are rotated');
is( $s->query("select count(*) from pgq.retry_queue where ev_queue <> $id{z_good}") > 0 ? 1 : 0,
	1, 'while others wait');

# What can be mended by itself is.
$_->query('rollback') foreach values %hold;
wait_for(
	"events of those that were held up",
	sub {
		$s->query("select count(*) from pgq.retry_queue where ev_queue in
			($id{a_locked}, $id{a_ticked}, $id{a_row}, $id{a_dropped})") eq '0';
	});
pass('and go on when they can');
is($pgqd->stop, 0, 'pgqd ends cleanly');

# a sequence of ticks that is behind them, by a restore without it
$s->query("select setval('pgq.event_$id{z_good}_tick_seq', 1)");
cmp_ok($s->query("select pgq.ticker('z_good')"), '>', 2, 'tick ids go on');

done_testing();
