
# Queues on a host apart from their source: every committed change is in the queue
# once, in order, whatever is killed; and a source writes nothing that it was not given.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $source = new_server('source', conf => "max_connections = 40\n");
my $host = new_server('host');
my $db = 'shop';

sql($source, 'postgres', "create database $db");
sql($source, $db, q{
	create extension pgq;
	create role feeder login replication;
	create table t (client int, n int, v text, primary key (client, n));
	create table counter (client int primary key, n int not null);
	insert into counter select i, 0 from generate_series(0, 3) i;
	select pgq.declare_remote_queue('orders'), pgq.declare_remote_queue('secret')});
sql($source, $db, 'select pgq.start_capture()');
sql($source, $db, q{
	select pgq.capture_table('orders', 't'), pgq.capture_table('secret', 'counter')});

new_database($host, 'hub', slot => 0);
sql($host, 'hub', q{
	select pgq.create_queue('orders'), pgq.create_queue('secret'),
		pgq.register_consumer('orders', 'c'), pgq.register_consumer('secret', 'c')});

# its role can do nothing in the source database but read the slot
my $connstr = 'host=' . $source->host . ' port=' . $source->port;
my $pgqd = start_pgqd($host, sources => { shop => {
	connstr => "$connstr dbname=$db user=feeder", queue_db => 'hub' } });

sub info
{
	my ($what) = @_;
	return sql($host, 'hub', "select $what from pgq.get_source_info()");
}

# What is not there yet is said.
$pgqd->wait_log(qr/source shop.*source "shop" does not exist/);
sql($host, 'hub', q{select pgq.create_source('shop', 'orders')});
wait_for('the source to be met', sub { info('state') eq 'ok' });
is(info('database'), $db, 'the source is known by what it is');

# wait_ingest at the source knows when its changes are in the queues there
sql($source, $db, q{
	insert into t values (-1, 1, 'first');
	select pgq.emit_event('orders', 'emitted', 'second')});
wait_ingest($source, $db);
is_deeply(consume($host, 'hub', 'orders', 'c', 'ev_data'),
	[ '{"client":-1,"n":1,"v":"first"}', 'second' ], 'captured and emitted, in order');
is(sql($source, $db, 'select slot_remote from pgq.slot'), 't', 'the slot feeds a host');

# A consumer there is woken by commit.
my $s = session($host, 'hub');
$s->query(q{select pgq.next_batch('orders', 'c')});
sql($source, $db, q{insert into t values (-1, 2, 'third')});
wait_for('a tick by commit',
	sub { $s->query(q{select pgq.next_batch('orders', 'c')}) ne '' }, 10);
$s->query(q{select pgq.finish_batch(sub_batch) from pgq.subscription where sub_batch is not null});
$s->close;

# Committed there, but visible to nobody yet, since its standby is away: the event
# waits, and holds no transaction open on the host meanwhile.
sql($source, 'postgres', $_) foreach q{alter system set synchronous_standby_names = 'away'},
  q{select pg_reload_conf()};
wait_for('the setting', sub {
	sql($source, 'postgres', 'show synchronous_standby_names') eq 'away' });
my $writer = session($source, $db);
$writer->send(q{insert into t values (-1, 3, 'fourth')});
wait_for('the commit to wait', sub { sql($source, 'postgres',
	q{select count(*) from pg_stat_activity where wait_event = 'SyncRep'}) eq '1' });
sleep(2);
is(sql($host, 'hub', q{select count(*) from pg_stat_activity where application_name ~ '^pgqd'
	and backend_xid is not null}), 0, 'no transaction of the host waits for the source');
sql($source, 'postgres', $_) foreach q{alter system reset synchronous_standby_names},
  q{select pg_reload_conf()};
$writer->close;
wait_ingest($source, $db);
is_deeply(consume($host, 'hub', 'orders', 'c', q{ev_data::json->>'v'}), ['fourth'],
	'it comes when it is visible');

# Kills of all, while clients write and roll back.
my $script = q{
\set undo random(1, 10)
begin;
update counter set n = n + 1 where client = :client_id returning n as n \gset
insert into t values (:client_id, :n, repeat('x', 100));
\if :undo = 1
rollback;
\else
commit;
\endif
};
my $load = load_start($source, $db, $script, '-c', 4, '-j', 1, '-T', 8, '-R', 500);
foreach my $i (1 .. 3)
{
	sleep(0.8);
	$pgqd->kill9;
	$pgqd->start;
	sleep(0.8);
	$host->stop('immediate');
	$host->start;
}
load_stop($load);
$source->stop('immediate');
$source->start;
wait_ingest($source, $db);

my $got = consume($host, 'hub', 'orders', 'c',
	q{ev_data::json->>'client' || ' ' || (ev_data::json->>'n')});
my $rows = sql($source, $db,
	q{select client || ' ' || n from t where client >= 0 order by client, n});
my %clients;

push @{ $clients{ (split / /)[0] } }, $_ foreach @$got;
cmp_ok(scalar @$got, '>', 500, 'there was a load');
is(join("\n", map { @{ $clients{$_} } } sort keys %clients),
	$rows, 'each row once, each client\'s in its order');

# What it was not given, it has not written.
is_deeply(consume($host, 'hub', 'secret', 'c'), [], 'a queue that was not given is empty');
wait_for('discarded events to be told', sub { $pgqd->text =~ /discarded [1-9]\d* events/ });
sql($host, 'hub', q{select pgq.grant_source('shop', 'secret')});
sql($source, $db, q{update counter set n = 0 where client = 0});
wait_ingest($source, $db);
is(scalar @{ consume($host, 'hub', 'secret', 'c') }, 1, 'given, it is fed from then on');

# The WAL of the source goes, and the source's own pgqd leaves the slot alone.
is(sql($source, $db, q{select confirmed_flush_lsn = (select "position" from pgq.get_slot_info())
	from pg_replication_slots where slot_name = 'pgq_shop'}), 't', 'the slot is confirmed');
my $local = start_pgqd($source);
$local->wait_log(qr/\[shop\]: pgq version ok/);
$pgqd->stop;
sql($source, $db, q{insert into t values (-2, 1, 'while the host is away')});
wait_for('runs of the ticker', sub { my @n = $local->text =~ /\{ticks: [1-9]/g; @n > 1 });
unlike($local->text, qr/reads slot/, 'its own pgqd leaves the slot to the host');
$local->stop;

# A host that was put back is noticed.
sql($host, 'hub', q{delete from pgq.position; insert into pgq.position
	select src_key, '0/1', now(), 0 from pgq.source});
$pgqd->start;
wait_for('missing changes to be told', sub { info('state') eq 'missing' });
like(info('problem'), qr/confirmed up to .* past the position .*missing from 0\/0*1$/, 'and why');
is(sql($host, 'hub', q{select count(*) from pgq.get_problems()
	where kind = 'source' and severity = 'standstill'}), 1, 'get_problems tells it');
# pgqd may just be looking at the slot
wait_for('a new slot', sub { ($source->psql($db, 'select pgq.resync_capture()'))[0] == 0 });
sql($host, 'hub', q{select pgq.reset_source('shop')});
wait_for('it to begin anew', sub { info('state') eq 'ok' });
sql($source, $db, q{insert into t values (-3, 1, 'anew')});
wait_ingest($source, $db);
is_deeply(consume($host, 'hub', 'orders', 'c', q{coalesce(ev_data::json->>'v', ev_type)}),
	[ 'pgq.resync', 'anew' ], 'with a new slot it goes on, and consumers are told');

# Taken out of the ini file, it ends.
my $ini = slurp($pgqd->{ini});
$ini =~ s/\n\[source.*//s;
open(my $fh, '>', $pgqd->{ini}) or die $!;
print $fh "$ini\n";
close($fh);
$pgqd->signal('HUP');
$pgqd->wait_log(qr/source shop\]: is no longer wanted/);
wait_for('the slot to be free', sub {
	sql($source, $db, q{select active from pg_replication_slots}) eq 'f' });

done_testing();
