# A consumer that never comes back does not fill the disk: a queue over its
# max_size warns in every place that is looked at, or, with policy drop_slowest,
# the consumer is given up and told so, and the others miss nothing. WAL that
# the slot holds back past slot_warn_size is told of, too.

use strict;
use warnings;

use PgqTest;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $connstr = $node->connstr($db);

sql($node, $db, q{
	create table t (id int primary key, pad text);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'reads'), pgq.register_consumer('q', 'away');
	select pgq.capture_table('q', 't'::regclass);
	select pgq.set_queue_config('q', 'max_size', '3MB');
	-- a tenth of it is what a consumer may be late
	select pgq.set_queue_config('q', 'rotation_period', '50 s');
});
my $pgqd = start_pgqd($node, maint_period => 0.5, stats_period => 0.5,
	http_listen => "127.0.0.1:$port", slot_warn_size => '1MB');
wait_ingest($node, $db);

sub get { return HTTP::Tiny->new->get("http://127.0.0.1:$port$_[0]") }
sub size { return sql($node, $db, q{select size from pgq.get_queue_size('q')}) }

my $rows = 0;
my $read = 0;

# Writes a megabyte, and reads it as the consumer that is there.
sub write_and_read
{
	sql($node, $db, "insert into t select i, repeat('x', 1000)
		from generate_series($rows + 1, $rows + 1000) i");
	$rows += 1000;
	wait_ingest($node, $db);
	foreach my $id (@{ consume($node, $db, 'q', 'reads', "ev_data::json->>'id'") })
	{
		die "$id after $read" if $id != ++$read;
	}
	sleep(0.3);
	return;
}

# An open transaction keeps the slot from letting go of WAL.
my $old = session($node, $db);
$old->query('begin; select txid_current()');
write_and_read() foreach 1 .. 6;
my $warning = 'takes more disk than its max_size of 3';
$pgqd->wait_log(qr/WARNING.*queue "q" $warning.*"away" is in the way/);
$pgqd->wait_log(qr/WARNING.*slot "pgq_shop" holds back \d+ .B of WAL/);
pass('pgqd logs that the queue is over its size, and the slot');
like(`pgqadm -d '$connstr' status`, qr/problem: queue "q" $warning/,
	'pgqadm status says it');
my $json = decode_json(`pgqadm -d '$connstr' status --json`);
ok($json->{sizes}[0]{over}, 'and so in JSON');
cmp_ok($json->{slots}[0]{held_bytes}, '>', 1024 * 1024, 'with the WAL held');
like(`pgqadm -d '$connstr' doctor`, qr/queue "q" takes .* max_size of 3/,
	'doctor says it');
wait_for('metrics', sub {
	my $text = get('/metrics')->{content};
	$text =~ /^pgq_queue_over_max_size\{.*"q"\} 1$/m
	  && $text =~ /^pgq_slot_held_bytes\{.*\} [1-9]\d{6,}$/m
	  && $text =~ /^pgqd_database_warning\{.*\} 1$/m;
});
pass('metrics say it');
is(get('/health')->{status}, 200, 'all works still, says /health');
like(get('/health')->{content}, qr/warning: queue "q"/, 'and warns');
my $grown = size();
cmp_ok($grown, '>', 6e6, 'policy warn lets the queue grow');
is(sql($node, $db, 'select count(*) from pgq.get_lost_consumers()'),
	0, 'and gives up nobody');
$old->close;

sql($node, $db, q{select pgq.set_queue_config('q', 'max_size_policy',
	'drop_slowest')});
for (my $i = 0; $i < 30 && size() > 4e6; $i++)
{
	write_and_read();
}
my $size = size();
cmp_ok($size, '<', 8e6, "drop_slowest makes it small again ($grown, $size)");
is(sql($node, $db, 'select consumer_name from pgq.get_lost_consumers()'),
	'away', 'the one that never comes back is given up');
$pgqd->wait_log(qr/WARNING.*consumer "away" of queue "q" has lost its position/);
pass('pgqd logs it');
like(`pgqadm -d '$connstr' doctor`, qr/consumer "away" of queue "q" has lost its position/,
	'doctor says it');
my ($rc, $out, $err) = $node->psql($db, q{select pgq.next_batch('q', 'away')},
	extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/PQ001.*consumer "away" has lost its position on queue "q"/,
	'its next call says so');
like($err, qr/HINT:.*register_consumer/, 'and what to do');
my ($stdout, $stderr) = run_command([ 'pgqadm', '-d', $connstr, 'consume', 'q',
	'away', '--once' ]);
like($stderr, qr/lost its position/, 'pgqadm consume says it, too');

write_and_read();
is($read, $rows, 'the other consumer has got all, in order');
ok(run_log([ 'pgqadm', '-d', $connstr, 'register', 'q', 'away' ]), 'register');
write_and_read();
my $late = consume($node, $db, 'q', 'away', "ev_data::json->>'id'");
is("@$late[0, -1]", $rows - 999 . " $rows", 'whole from then on');
sql($node, $db, q{select pgq.set_queue_config('q', 'max_size', '1 GB')});
my $n = 0;
wait_for('limits', sub {
	$n--;
	sql($node, $db, "insert into t values ($n)");
	sql($node, $db, q{checkpoint; select count(*) from pgq.get_problems(1048576)
		where kind in ('size', 'lost', 'wal')}) eq '0';
});
$pgqd->wait_log(qr/nothing is left to be seen to/);
pass('and pgqd says that all is well');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
