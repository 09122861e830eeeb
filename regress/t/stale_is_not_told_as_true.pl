
# What pgqd and pgqadm tell is so now: a standby is not called ill, /health turns
# red when databases can no longer be listed, and what was seen of a server that
# is gone is not told.

use strict;
use warnings;

use HTTP::Tiny;
use PgqTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $http = HTTP::Tiny->new(timeout => 20);

sub get { return $http->get("http://127.0.0.1:$port$_[0]") }

sql($node, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't')});
sql($node, 'postgres', q{select pg_create_physical_replication_slot('standby')});
my $pgqd = start_pgqd($node, http_listen => $port, stats_period => 1.5);
$pgqd->wait_log(qr/serves http|without libmicrohttpd/);
plan skip_all => 'pgqd was built without libmicrohttpd'
  if $pgqd->text =~ /without libmicrohttpd/;
wait_ingest($node, $db);

# a hot standby

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_slot_name = 'standby'\n");
$standby->start;
sql($node, $db, 'insert into t values (1)');
wait_ingest($node, $db);
$node->wait_for_catchup($standby, 'replay');

my $connstr = $standby->connstr($db);
is(sql($standby, $db, 'select state, problem from pgq.get_slot_info()'),
	'standby|', 'get_slot_info on a standby');
is(sql($standby, $db, 'select state, warnings from pgq.get_capture_info()'),
	'ok|{}', 'get_capture_info on a standby');
foreach my $command ('status', 'top --once', 'slot status')
{
	my $out = `pgqadm -d '$connstr' $command 2>&1`;

	is($?, 0, "$command on a standby");
	unlike($out, qr/(?:is|are) missing|resync|problem|nothing arrives/, 'tells of no trouble');
	like($out, qr/standby/, 'tells that it is one');
}
my $doctor = `pgqadm -d '$connstr' doctor`;
is($?, 0, 'doctor on a standby');
unlike($doctor, qr/is missing|are missing|resync/, 'finds nothing missing');
like($doctor, qr/the server is a standby/, 'tells that it is one');
like(scalar(`pgqadm -d '$connstr' status --json`), qr/"state" : "standby"/,
	'status --json');
$standby->stop;

# databases can not be listed

wait_for('green', sub { get('/health')->{status} == 200 });
sql($node, $db, q{alter database postgres allow_connections false});
wait_for('red without a list', sub {
	my $r = get('/health');
	$r->{status} == 503 && $r->{content} =~
	  /^databases can not be listed: .*not currently accepting connections/m });
like(get('/')->{content}, qr/class="pill bad".*databases can not be listed/s,
	'the page tells it');
like(get('/metrics')->{content}, qr/^pgqd_database_list_fails 1$/m, 'so does a metric');
sql($node, $db, q{alter database postgres allow_connections true});
wait_for('green with a list', sub { get('/health')->{status} == 200 }, 10);
like(get('/metrics')->{content}, qr/^pgqd_database_list_fails 0$/m, 'the metric');

# the server is gone

wait_for('a sample', sub {
	get('/metrics')->{content} =~ /^pgq_slot_active\{.*\} 1$/m });
$node->stop('immediate');
wait_for('red', sub { get('/health')->{content} =~ /^\[shop\]: connection: /m }, 10);
unlike(get('/metrics')->{content}, qr/^pgq_(?:slot|queue|consumer)_\w+\{/m,
	'metrics tell nothing of what is in the server');
unlike(get('/')->{content}, qr/<td/, 'nor does the page');
$node->start;
wait_for('a sample again', sub {
	get('/metrics')->{content} =~ /^pgq_slot_active\{.*\} 1$/m }, 20);
wait_for('green', sub { get('/health')->{status} == 200 });

is($pgqd->stop, 0, 'pgqd ends cleanly');
done_testing();
