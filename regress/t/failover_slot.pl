# A physical standby is promoted under load. From PostgreSQL 17 on the slot is
# there too, not further than the queues: events go on, each once. Before 17 the
# promoted server has no slot: pgqd says so, and resync goes on.

use strict;
use warnings;

use PgqTest;
use PgqLedger;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $primary = new_server('main', conf => "hot_standby_feedback = on\n");
my $synced = sql($primary, 'postgres',
	q{select current_setting('server_version_num')::int >= 170000}) eq 't';
my $db = new_database($primary, 'shop');

sql($primary, $db, ledger_schema());
sql($primary, $db, "select pgq.register_consumer('$_', 'c')")
  foreach @PgqLedger::queues;
sql($primary, 'postgres',
	q{select pg_create_physical_replication_slot('standby')});
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
my $primary_conninfo = $primary->connstr . ' dbname=postgres';
$standby->append_conf('postgresql.conf',
	"primary_slot_name = 'standby'\nhot_standby_feedback = on\n");
if ($synced)
{
	$standby->append_conf('postgresql.conf', qq{
sync_replication_slots = on
primary_conninfo = '$primary_conninfo'
});
	$primary->append_conf('postgresql.conf',
		"synchronized_standby_slots = 'standby'\n");
	$primary->reload;
}

# what a client is told is committed is on the standby, too
$primary->append_conf('postgresql.conf',
	"synchronous_standby_names = 'standby'\n");
$standby->append_conf('postgresql.conf', "cluster_name = 'standby'\n");
$standby->start;
wait_for('the standby', sub {
	sql($primary, 'postgres', q{select count(*) from pg_stat_replication
		where application_name = 'standby' and state = 'streaming'}) });
$primary->reload;

my $both = 'host=' . $primary->host . ',' . $standby->host . ' port='
  . $primary->port . ',' . $standby->port . ' target_session_attrs=read-write';
my $pgqd = start_pgqd($primary, base_connstr => $both, database_list => $db);

wait_ingest($primary, $db);
if ($synced)
{
	wait_for('the synchronised slot', sub {
		sql($standby, 'postgres', q{select count(*)
			from pg_replication_slots where slot_name = 'pgq_shop' and synced
			and not temporary and invalidation_reason is null}) });
}

my $connstr = "$both dbname=$db";
start_writer($connstr, $_, $_ % 2, 0.01, 0) foreach 0 .. 3;
start_writer($connstr, 4, 2, 0.2, 2000);
my %file = map { $_ => PostgreSQL::Test::Utils::tempdir() . "/$_" }
  @PgqLedger::queues;
start_consumer($connstr, $_, 'c', $file{$_}, 1) foreach @PgqLedger::queues;
sleep(8);

$primary->stop('immediate');
$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$standby->promote;
sleep(4);
stop_helpers();

if ($synced)
{
	wait_ingest($standby, $db);
	my ($want, $transactions) = ledger_expected($standby->connstr($db));

	cmp_ok($transactions, '>', 100, "$transactions transactions");
	foreach my $queue (@PgqLedger::queues)
	{
		drain($standby->connstr($db), $queue, 'c', $file{$queue});
		my ($wrong, $events, $batches) =
		  ledger_check($file{$queue}, $want->{$queue});
		is(join("\n", @$wrong[ 0 .. ($#$wrong > 9 ? 9 : $#$wrong) ]),
			'', "$queue: $events events in $batches batches");
	}
	like($pgqd->text, qr/ingest reads slot.*ingest reads slot/s,
		'pgqd went on with the slot of the promoted server');
}
else
{
	$pgqd->wait_log(
		qr/slot is missing; changes are missing from [0-9A-F]+\//);
	pass('pgqd says that the promoted server has no slot');
	run_log([ 'pgqadm', '-d', $standby->connstr($db), 'resync',
			'--without-copy' ]);
	sql($standby, $db, q{
		insert into lane values (99, 1, 0, 0);
	});
	wait_ingest($standby, $db);
	my $last = consume($standby, $db, 'qa', 'c',
		q{coalesce(ev_data::json->>'lane', ev_type)});
	is($last->[-1], '99', 'events come after resync');
	is(scalar(grep { $_ eq 'pgq.resync' } @$last),
		1, 'consumers are told once');
}
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
