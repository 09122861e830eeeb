
# What PgQ 3.5 refuses, PgQ 4 refuses with the same words, and with a SQLSTATE
# that tells what is wrong; what it returns for odd calls is the same, too.

use strict;
use warnings;

use PgqDebian;
use PgqTest;
use Test::More;

my %server = (
	'3.5' => new_server('old', install_path => pgq35_tree()),
	'4.0' => new_server('new'));

# try(STATEMENT): 'ok: results' or 'error: message', then the SQLSTATE
foreach my $node (values %server)
{
	sql($node, 'postgres', 'create database db');
	sql($node, 'db', $_)
	  foreach 'create extension pgq', q{
	create function try(i_sql text, out said text, out code text) language plpgsql as $$
	declare
		r record;
	begin
		said := 'ok:';
		for r in execute i_sql loop
			said := said || ' ' || r::text;
		end loop;
	exception when others then
		said := 'error: ' || sqlerrm;
		code := sqlstate;
	end $$},
	  q{select pgq.create_queue('q'), pgq.create_queue('paused'), pgq.create_queue('ext'),
		pgq.create_queue('limit'), pgq.create_queue('closed'), pgq.create_queue('no ticks')},
	  q{select pgq.set_queue_config('paused', 'ticker_paused', 't'),
		pgq.set_queue_config('ext', 'external_ticker', 't')},
	  q{update pgq.queue set queue_per_tx_limit = 1 where queue_name = 'limit';
		update pgq.queue set queue_disable_insert = true where queue_name = 'closed';
		delete from pgq.tick using pgq.queue where tick_queue = queue_id and queue_name = 'no ticks'},
	  q{select pgq.register_consumer('q', 'c'), pgq.register_consumer('q', 'busy')},
	  q{select pgq.insert_event('q', 't', 'd')}, q{select pgq.force_tick('q')},
	  q{select pgq.ticker('q')}, q{select pgq.next_batch('q', 'busy')};
}

my @statements = split(/\n/, <<'SQL');
select pgq.create_queue(null)
select pgq.create_queue('q')
select pgq.drop_queue('none')
select pgq.drop_queue(null)
select pgq.drop_queue(null, true)
select pgq.drop_queue('q')
select pgq.drop_queue('q', null)
select pgq.set_queue_config(null, 'ticker_max_lag', '1')
select pgq.set_queue_config('q', null, '1')
select pgq.set_queue_config('none', 'foo', '1')
select pgq.set_queue_config('q', 'ticker_max_lag', 'soon')
select pgq.set_queue_config('q', 'ticker_max_count', 'many')
select pgq.set_queue_config('q', 'ticker_max_count', '-5')
select pgq.grant_perms('none')
select pgq.tune_storage('none')
select pgq.tune_storage(null)
select pgq.insert_event(null, 't', 'd')
select pgq.insert_event('none', 't', 'd')
select pgq.insert_event('closed', 't', 'd')
select pgq.insert_event('limit', 't', 'd'), pgq.insert_event('limit', 't', 'd')
select pgq.current_event_table('none')
select pgq.current_event_table(null)
select pgq.current_event_table('closed')
select pgq.register_consumer('none', 'c')
select pgq.register_consumer(null, 'c')
select pgq.register_consumer('q', null)
select pgq.register_consumer('no ticks', 'c')
select pgq.register_consumer_at('q', 'c', 99)
select pgq.register_consumer_at('q', 'c', 1)
select pgq.register_consumer_at('q', 'c', null)
select pgq.unregister_consumer('none', 'c')
select pgq.unregister_consumer('q', 'none')
select pgq.unregister_consumer(null, null)
select pgq.next_batch('q', 'none')
select pgq.next_batch('none', 'c')
select pgq.next_batch(null, 'c')
select pgq.next_batch('q', null)
select * from pgq.get_batch_events(99)
select * from pgq.get_batch_events(null)
select pgq.batch_event_sql(99)
select * from pgq.batch_event_tables(99)
select * from pgq.batch_event_tables(null)
select * from pgq.batch_event_tables(1)
select * from pgq.get_batch_info(99)
select * from pgq.get_batch_cursor(99, 'x', 5)
select * from pgq.get_batch_cursor(1, null, 5)
select ev_id from pgq.get_batch_cursor(1, 'x', 5, '')
select ev_id from pgq.get_batch_cursor(1, 'x', 0, null)
select ev_id, ev_data from pgq.get_batch_cursor(1, 'x', 5, 'ev_id > 0')
select pgq.event_retry(99, 1, 0)
select pgq.event_retry(1, 99, 0)
select pgq.event_retry(1, 1, null::timestamptz)
select pgq.event_retry(1, 1, 3600)
select pgq.event_retry(1, 1, 3600)
select pgq.batch_retry(99, 0)
select pgq.batch_retry(1, 3600)
select pgq.event_retry_raw('none', 'c', now(), 1, now(), 1, 't', 'd', null, null, null, null)
select pgq.event_retry_raw('q', 'busy', now(), 1, now(), 1, 't', 'd', null, null, null, null)
select pgq.event_retry_raw('q', 'c', null, 1, now(), 1, 't', 'd', null, null, null, null)
select pgq.finish_batch(99)
select pgq.finish_batch(null)
select pgq.ticker('none')
select pgq.ticker(null)
select pgq.ticker('paused')
select pgq.ticker('ext')
select pgq.ticker('q', 99, now(), 99)
select pgq.ticker('none', 99, now(), 99)
select pgq.ticker('ext', 1, now(), 99)
select pgq.ticker('ext', 50, now(), 99)
select pgq.ticker('ext', 40, now(), 9)
select pgq.force_tick('none')
select pgq.force_tick('paused')
select pgq.seq_getval('pgq.none')
select pgq.seq_getval('pgq.event_3_tick_seq')
select pgq.seq_setval('pgq.event_3_tick_seq', 5)
select pgq.seq_setval(null, 5)
select pgq.quote_fqname(x) from unnest('{abc,a.B,a.b.C,""}'::text[]) x
select * from pgq.get_queue_info('none')
select * from pgq.get_consumer_info('none')
select * from pgq.get_consumer_info('q', 'none')
select queue_name, consumer_name, last_tick, current_batch, next_tick from pgq.get_consumer_info(null, null)
select pgq.maint_rotate_tables_step1('none')
select pgq.maint_retry_events()
select * from pgq.maint_tables_to_vacuum()
select pgq.upgrade_schema()
select pgq.jsontriga()
select pgq.logutriga()
select pgq.sqltriga()
SQL

my %session = map { $_ => session($server{$_}, 'db') } keys %server;
$_->query('set client_min_messages = error') foreach values %session;
foreach my $statement (@statements)
{
	my %is;

	foreach my $at (keys %server)
	{
		my ($said, $code) = split(/\t/, $session{$at}->query(
			"select said || E'\\t' || coalesce(code, '')"
			  . " from try(\$try\$$statement\$try\$)"));

		# the SQL around a condition of the caller's is another one
		$said =~ s/ at or near .*//;

		$is{$at} = { said => $said, code => $code // '' };
	}
	is($is{'4.0'}{said}, $is{'3.5'}{said}, $statement);
	unlike($is{'4.0'}{code}, qr/^(P0001|XX000)$/, "has a proper code: $is{'4.0'}{code}")
	  if $is{'4.0'}{code} ne '';
}

done_testing();
