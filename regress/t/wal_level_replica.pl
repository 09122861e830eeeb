
# Where the server can't decode, pgqd says so plainly and goes on ticking.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
});

# ticks(): an event of insert_event() is delivered by pgqd's ticks alone
my $n = 0;

sub ticks
{
	my ($why) = @_;

	$n++;
	sql($node, $db, "select pgq.insert_event('q', 'n', '$n')");
	my $batch = wait_for("a batch, $why",
		sub {
			my $b = sql($node, $db, q{select pgq.next_batch('q', 'c')});
			return 0 if $b eq '';
			my $got = sql($node, $db,
				"select ev_data from pgq.get_batch_events($b)");
			sql($node, $db, "select pgq.finish_batch($b)");
			return $got eq $n;
		});
	ok($batch, "ticks go on $why");
	return;
}

SKIP:
{
	skip 'this server lets all plugins in', 2
	  if sql($node, $db,
		q{select count(*) from pg_settings
		  where name = 'output_plugin_libraries'}) eq '0';

	$node->append_conf('postgresql.conf',
		"output_plugin_libraries = 'pgoutput'");
	$node->reload;
	my $pgqd = start_pgqd($node, ticker_period => 0.2);
	$pgqd->wait_log(qr/output_plugin_libraries/);
	pass('pgqd says that the plugin is not on the list');
	ticks('without the plugin on the list');
	$node->append_conf('postgresql.conf',
		"output_plugin_libraries = 'pgoutput, pgq'");
	$node->reload;
	sql($node, $db, q{select pgq.capture_table('q', 't'::regclass)});
	sql($node, $db, 'insert into t values (1)');
	wait_ingest($node, $db);
	is_deeply(consume($node, $db, 'q', 'c', 'ev_data'),
		['{"id":1}'], 'ingest starts once it is allowed');
	is($pgqd->stop, 0, 'pgqd ends cleanly');
}

drop_slot($node, $db);
# 19 writes what slots need as soon as there is one
my $adds_itself = sql($node, $db, 'show server_version_num') >= 190000;
$node->append_conf('postgresql.conf', 'wal_level = replica');
$node->restart;
if ($adds_itself)
{
	ok(sql($node, $db, 'select pgq.stop_capture() > 0; select pgq.start_capture()'),
		'a slot is made where wal_level is replica');
	drop_slot($node, $db);
	$node->append_conf('postgresql.conf',
		"wal_level = minimal\nmax_wal_senders = 0");
	$node->restart;
}
my $pgqd = start_pgqd($node, ticker_period => 0.2);
$pgqd->wait_log(qr/wal_level/);
pass('pgqd says that wal_level is too low');
ticks('where the server cannot decode');

my $s = session($node, $db);
is($s->sqlstate(q{select pgq.capture_table('q', 't'::regclass, 'format=sql')}),
	'55000', 'capture_table refuses');
like($s->{err}, qr/HINT:.*wal_level/s, 'with a hint');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
