
# pg_upgrade, by the steps of doc/operations.md: drain, drop the slot, upgrade,
# make a slot. Queues go on where they were, with open batches, retries and a
# rotation half done; captured rows from before and after come once.
#
# PGQ_UPGRADE_FROM names another installation to upgrade from, the folder above
# its bin/; PgQ 4 must be installed there.

use strict;
use warnings;

use PgqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = new_server('old', install_path => $ENV{PGQ_UPGRADE_FROM});
my $db = new_database($old, 'shop');
my %ini = (ticker_period => 0.2);

sql($old, $db, $_)
  foreach 'create table item (id int primary key, v text)',
  "select pgq.create_queue('q'), pgq.create_queue('rows')",
  "select pgq.capture_table('rows', 'item')",
  "update pgq.queue set queue_ticker_max_lag = '1 h' where queue_name = 'q'",
  "select pgq.ticker('q')",
  "select pgq.register_consumer('q', 'open'), pgq.register_consumer('q', 'late'),
	pgq.register_consumer('rows', 'reader')";
my $pgqd = start_pgqd($old, %ini, maint_period => 3600);
sql($old, $db, "insert into item select i, 'before' from generate_series(1, 100) i");
foreach my $event (qw(one two))
{
	sql($old, $db, $_)
	  foreach "select pgq.insert_event('q', 't', '$event')",
	  "select pgq.force_tick('q')", "select pgq.ticker('q')";
}
sql($old, $db, q{select pgq.event_retry(b, ev_id, 0) from pgq.next_batch('q', 'open') b,
	pgq.get_batch_events(b)});
# the steps
$old->command_ok([ 'pgqadm', '-d', $old->connstr($db), 'drain', '--timeout', 60 ], 'drain');
is($pgqd->stop, 0, 'stop pgqd');
sql($old, $db, $_)
  foreach "update pgq.queue set queue_rotation_period = '0' where queue_name = 'q'",
  "select pgq.maint_rotate_tables_step1('q')";
is(sql($old, $db, "select queue_cur_table, queue_switch_step2 is null
	from pgq.queue where queue_name = 'q'"), '1|t', 'a rotation is half done');
$old->command_ok([ 'pgqadm', '-d', $old->connstr($db), 'slot', 'drop' ], 'drop the slot');
my $state = q{
	select * from pgq.subscription order by 1, 2;
	select tick_queue, tick_id, tick_snapshot from pgq.tick order by 1, 2;
	select queue_name, queue_cur_table, queue_switch_step1, queue_switch_step2 from pgq.queue order by 1;
	select ev_id, ev_txid, ev_data from pgq.event_template order by tableoid::regclass::text, 1;
	select ev_id, ev_owner, ev_retry from pgq.retry_queue;
	select cap_relid, cap_queue, cap_args from pgq.capture};
my $before = sql($old, $db, $state);
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(allows_streaming => 'logical');
$new->append_conf('postgresql.conf', slurp($ENV{PGQ_CONF}));
my @bindir = map { $_->config_data('--bindir') } ($old, $new);
chdir PostgreSQL::Test::Utils::tempdir() or die;
$new->command_ok(
	[
		'pg_upgrade', '--no-sync',
		'-d', $old->data_dir, '-D', $new->data_dir, '-b', $bindir[0], '-B', $bindir[1],
		'-s', $new->host, '-p', $old->port, '-P', $new->port
	],
	'pg_upgrade');
note $old->pg_version . ' to ' . $new->pg_version;
$new->start;

is(sql($new, $db, $state), $before, 'all is as it was');
is( sql($new, $db, "select state from pgq.get_capture_info('rows')"),
	'no slot', 'captures tell that there is no slot');
$new->command_ok([ 'pgqadm', '-d', $new->connstr($db), 'slot', 'create' ], 'make a slot');
sql($new, $db, "insert into item select i, 'after' from generate_series(101, 200) i");
$pgqd = start_pgqd($new, %ini);
wait_ingest($new, $db);
is( join(' ', @{ consume($new, $db, 'rows', 'reader', "ev_data::json ->> 'id'") }),
	join(' ', 1 .. 200), 'captured rows from before and after');

is(sql($new, $db, "select ev_data from pgq.get_batch_events(1)"), 'one', 'the open batch');
is(sql($new, $db, 'select pgq.finish_batch(1)'), '1', 'can be finished');
# a tick from before that would hold up the next rotation
wait_for('the other half', sub {
	sql($new, $db, "select queue_switch_step2 is not null from pgq.queue where queue_name = 'q'") eq 't' });
sql($new, $db, "select pgq.insert_event('q', 't', 'three')");
wait_for('the retry', sub { sql($new, $db, 'select count(*) from pgq.retry_queue') eq '0' });
is_deeply([ sort @{ consume($new, $db, 'q', 'open', "ev_data || coalesce(ev_retry, 0)") } ],
	[qw(one1 three0 two0)], 'its consumer goes on, with the retry');
is_deeply([ sort @{ consume($new, $db, 'q', 'late', 'ev_data') } ],
	[qw(one three two)], 'and so does the other');
wait_for('rotation', sub {
	sql($new, $db, "select queue_cur_table from pgq.queue where queue_name = 'q'") ne '1' });
is(sql($new, $db, 'select count(*) from pgq.queue where queue_origin = pgq._origin()'),
	'2', 'queues belong to the new server');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
