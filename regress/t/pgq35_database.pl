
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

# A role that may create schemas makes up another extension, which PgQ 3's list
# of operations would read. Nothing of it runs, and rotation goes on.
sql($node, 'postgres', 'create role creator; grant create on database old to creator');
sql($node, $db, q{
	set session authorization creator;
	create schema pgq_node;
	grant usage on schema pgq_node to public;
	create function pgq_node.run() returns text language plpgsql as
		$$begin raise log 'planted code runs'; return 'root'; end$$;
	create function pgq_node.maint_watermark(text) returns int language sql as
		'select pgq_node.run(); select 0';
	create view pgq_node.node_info as
		select 'q'::text as queue_name, pgq_node.run() as node_type, true as local;
	grant select on pgq_node.node_info to public});
$pgqd->wait_log(qr/maintenance: extra operations are left out: schema "pgq_node" is there, but no extension/);
my $table = sql($node, $db, 'select queue_cur_table from pgq.queue');
wait_for(
	'another rotation',
	sub {
		next_events() if sql($node, $db, q{select pgq.insert_event('q', 't', 'more')});
		sql($node, $db, 'select queue_cur_table from pgq.queue') ne $table;
	});
unlike(slurp($node->logfile), qr/planted code runs/, 'code of a schema without extension does not run');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
