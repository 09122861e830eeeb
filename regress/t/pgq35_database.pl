
# A database with Debian's PgQ 3.5 is ticked, rotated and retried by our pgqd.

use strict;
use warnings;

use PgqDebian;
use PgqTest;
use Test::More;

my $node = new_server('old', install_path => pgq35_tree());

sql($node, 'postgres', 'create database old');
my $db = 'old';
sql($node, $db, 'create extension pgq');
like(sql($node, $db, 'select pgq.version()'), qr/^3\./, 'a PgQ 3 database');
sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.set_queue_config('q', 'ticker_max_lag', '0.1 second');
	update pgq.queue set queue_rotation_period = '1 second';
});

my $pgqd = start_pgqd($node, ticker_period => 0.2);

# next_events(): the events of the next batch that holds some
sub next_events
{
	my ($then) = @_;

	return wait_for(
		'a batch with events',
		sub {
			my $batch = sql($node, $db, q{select pgq.next_batch('q', 'c')});
			return '' if $batch eq '';
			my $events = sql($node, $db,
				"select ev_data, ev_retry from pgq.get_batch_events($batch)");
			sql($node, $db, "select pgq.event_retry($batch, ev_id, 0)"
				  . " from pgq.get_batch_events($batch)")
			  if $then && $events ne '';
			sql($node, $db, "select pgq.finish_batch($batch)");
			return $events;
		});
}

# together, lest a tick comes in between
sql($node, $db, q{select pgq.insert_event('q', 't', 'one'),
	pgq.insert_event('q', 't', 'two')});
is(next_events('retry'), "one|\ntwo|", 'pgqd ticks it');
like(next_events(), qr/^(one|two)\|1/, 'and brings back retried events');
ok( wait_for(
		'rotation',
		sub { sql($node, $db, 'select queue_cur_table from pgq.queue') ne '0' }),
	'and rotates its tables');
like($pgqd->text, qr/\[old\]: pgq version ok: 3\./, 'and says so');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
