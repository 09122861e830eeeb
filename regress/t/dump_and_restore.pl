# A dumped and restored database goes on where it was: open batches, positions,
# marks; and no id in use is handed out again.
#
# PgQ 3 did not dump the sequences of its ids: after a restore a new
# subscription could get an existing sub_id, and unregistering it then removed
# another consumer's subscription on another queue.

use strict;
use warnings;

use PgqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('source');
new_database($node, 'src');
my $odd = q{a "quoted" 'queue'. 1};
my $odd_sql = $odd =~ s/'/''/gr;

sql($node, 'src', $_)
  for (
	"create table item (id int primary key)",
	"select pgq.create_queue('q'), pgq.create_queue('gone')",
	"select pgq.drop_queue('gone')",
	"select pgq.create_queue('$odd_sql')",
	"select pgq.set_queue_config(queue_name, 'ticker_max_lag', '0') from pgq.queue",
	"select pgq.register_consumer('q', 'c1'), pgq.register_consumer('q', 'c2')",
	"select pgq.register_consumer('$odd_sql', 'c1')",
	"select pgq.unregister_consumer('q', 'c2')",
	"select pgq.capture_table('q', 'item')",
	"create table waits (id int primary key)",
	"create table begun (id int primary key)",
	"select pgq.create_queue('copies')",
	"select pgq.capture_table('copies', 'begun', 'copy')",
	"select pgq._start_copy((pgq._next_copy()).copy_id)",
	"select pgq.capture_table('copies', 'waits', 'copy')",
	"select pgq.insert_event('q', 't', 'first')",
	"select pgq.ticker('q')",
	"select pgq.next_batch('q', 'c1')",
	"select pgq.insert_event('q', 't', 'second')");

my $dump = PostgreSQL::Test::Utils::tempdir() . '/src.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('src') ], 'dump');

my $subscriptions = q{
	select q.queue_name, c.co_name, sub_id, sub_last_tick, sub_batch, sub_next_tick
	from pgq.subscription s join pgq.queue q on queue_id = sub_queue
		join pgq.consumer c on co_id = sub_consumer order by 1, 2};
my $event_tables =
  'select evt_relid, evt_queue from pgq.event_table order by 1::text';
my $before = sql($node, 'src', $subscriptions);

my %problem = (
	'the same server' => 'The slot does not exist; changes since the position are not in the queues.',
	'another server' => 'The slot belongs to another server; changes since the position are not in the queues.');
my $fresh = new_server('fresh');
foreach my $case ([ $node, 'the same server' ], [ $fresh, 'another server' ])
{
	my ($to, $where) = @$case;

	sql($to, 'postgres', 'create database copy');
	$to->command_ok(
		[
			'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d',
			$to->connstr('copy'), '-f', $dump
		],
		"restored into $where");
	is(sql($to, 'copy', $subscriptions), $before, 'positions are the same');
	is( sql($to, 'copy', $event_tables),
		sql($node, 'src', $event_tables),
		'event tables are registered');
	is( sql($to, 'copy', q{select cap_relid, cap_queue, cap_args from pgq.capture
			where cap_queue = 'q'}),
		'item|q|{}', 'marks are there');
	is( sql($to, 'copy', q{select table_name, state from pgq.get_copy_info()}),
		"public.begun|copying\npublic.waits|waiting", 'copies are to be made');
	is( sql($to, 'copy', q{select n.table_name, n.copy_id > o.id
			from (select max(copy_id) as id from pgq.copy) o,
				 pgq._start_copy((pgq._next_copy()).copy_id) n}),
		'public.waits|t', 'and begin under an id of their own');
	is( sql($to, 'copy', q{select s.state, s.problem, c.state
			from pgq.get_slot_info() s, pgq.get_capture_info('q') c}),
		"missing|$problem{$where}|no slot", 'and say that their slot is missing');
	is( sql(
			$to, 'copy', "select pgq.create_queue('new'),
			pgq.register_consumer('new', 'c3'), pgq.register_consumer('q', 'c3')"),
		'1|1|1', 'new queues and consumers');
	is( sql(
			$to, 'copy', 'select count(*) = count(distinct sub_id),
			max(sub_id) > (select max(sub_id) from pgq.subscription
				join pgq.consumer on co_id = sub_consumer where co_name = \'c1\')
			from pgq.subscription'),
		't|t', 'with ids of their own');
	is(sql($to, 'copy', "select pgq.unregister_consumer('q', 'c3')"),
		'1', 'and only they go');
	is( sql(
			$to, 'copy', "select pgq.drop_queue('new', true),
			pgq.insert_event('$odd_sql', 't', 'd')"),
		'1|1', 'queues take events');
}

# Here the transactions go on counting, so the open batch is still good.
is(sql($node, 'copy', 'select ev_data from pgq.get_batch_events(1)'),
	'first', 'the open batch is');
is(sql($node, 'copy', 'select pgq.finish_batch(1)'), '1', 'and can be finished');
sql($node, 'copy', "select pgq.ticker('q')");
sql($node, 'copy', "select pgq.next_batch('q', 'c1')");
is( sql(
		$node, 'copy', q{select ev_id, ev_data from pgq.subscription,
		pgq.get_batch_events(sub_batch) where sub_batch is not null}),
	'2|second',
	'the next one follows');

done_testing();
