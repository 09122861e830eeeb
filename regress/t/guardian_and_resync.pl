# Every way in which a slot can lose changes is found, at the start and while
# pgqd runs: ingest of that database stops with one named problem and the LSN
# from which changes are missing, ticks go on, another database is not
# disturbed, and resync makes it whole again.

use strict;
use warnings;

use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', conf => "max_wal_size = 64MB\nmin_wal_size = 32MB\n");
my $db = new_database($node, 'shop');
my $other = new_database($node, 'other');

foreach ($db, $other)
{
	sql($node, $_, q{
		create table t (id int primary key);
		create table noise (pad text);
		select pgq.create_queue('q');
		select pgq.register_consumer('q', 'c');
		select pgq.capture_table('q', 't'::regclass);
	});
}
my $pgqd = start_pgqd($node);
my $n = 0;
sql($node, $db, 'insert into t values (0)');
wait_ingest($node, $db);
consume($node, $db, 'q', 'c');

sub resync { return run_log([ 'pgqadm', '-d', $node->connstr($db), 'resync', @_ ]) }

# Ends the stream for good, so that something can be done to the slot.
sub slot_free
{
	sql($node, $db, q{select pg_terminate_backend(active_pid)
		from pg_replication_slots where slot_name like 'pgq_shop%' and active});
}

# Does SQL to the slot while pgqd may come back at any time.
sub to_slot
{
	my ($text) = @_;
	wait_for($text, sub {
		slot_free();
		my ($rc) = $node->psql($db, $text);
		$rc == 0;
	});
}

my $drop = q{select pg_drop_replication_slot('pgq_shop')};
my $create = q{select pg_create_logical_replication_slot('pgq_shop', 'pgq')};
my $advance = q{insert into noise values ('x');
	select pg_replication_slot_advance('pgq_shop', pg_current_wal_lsn())};
my $noise = q{insert into noise select repeat('x', 1000)
	from generate_series(1, 40000); checkpoint};

# what is done, with pgqd stopped or not, and the problem
my @cases = (
	[ 'missing', sub { to_slot($drop) }, qr/missing/ ],
	[ 'made anew', sub { to_slot($drop); sql($node, $db, $create) }, qr/missing|confirmed/ ],
	[ 'advanced by another', sub { to_slot($advance) }, qr/confirmed/ ],
	[ 'invalidated', sub {
		# nobody must read it, and its WAL must go
		$pgqd->signal('STOP');
		slot_free();
		sql($node, 'postgres', q{alter system set max_slot_wal_keep_size = '1MB'});
		sql($node, 'postgres', q{select pg_reload_conf()});
		sql($node, $other, $noise) foreach 1 .. 3;
		wait_for('the slot to be lost', sub {
			sql($node, 'postgres', q{select pg_switch_wal(); checkpoint;
				select wal_status = 'lost' from pg_replication_slots
				where slot_name = 'pgq_shop'}) =~ /t$/;
		});
		sql($node, 'postgres', q{alter system reset max_slot_wal_keep_size});
		sql($node, 'postgres', q{select pg_reload_conf()});
		$pgqd->signal('CONT');
	}, qr/lost|invalidat/ ],
	[ 'of another server', sub {
		slot_free();
		sql($node, $db, 'update pgq.slot set slot_sysid = 42');
		slot_free();
	}, qr/another server|system 42/ ],
	[ 'of another timeline', sub {
		slot_free();
		sql($node, $db, 'update pgq.slot set slot_timeline = 7');
		slot_free();
	}, qr/timeline 7/ ],
	[ 'of another database', sub {
		to_slot($drop);
		sql($node, $other, $create);
	}, qr/another database/, 'pgq_shop_2' ]);

foreach my $case (@cases)
{
	my ($name, $break, $problem, $new_slot) = @$case;

	# a running pgqd may look between the drop and the other's slot
	foreach my $when ($new_slot ? () : 'running', 'stopped')
	{
		my $what = "slot $name, pgqd $when";

		note($what);
		$pgqd->stop if $when eq 'stopped';
		$pgqd->start if $when eq 'stopped' && $name eq 'invalidated';
		$break->();
		sql($node, $db, 'insert into t values (' . ++$n . ')');
		$pgqd->start if !$pgqd->alive;
		my $said = wait_for("problem of: $what", sub {
			sql($node, $db, q{select problem from pgq.get_slot_info()
				where problem ~ 'changes are missing from'});
		});
		like($said, $problem, "$what: $said");
		$pgqd->wait_log(qr/stands still.*changes are missing from/);
		unlike(
			sql($node, $other, 'select state from pgq.get_slot_info()'),
			qr/problem|missing/, "$what: another database goes on")
		  if $name ne 'invalidated';
		my $tick = sql($node, $db, 'select max(tick_id) from pgq.tick');
		sql($node, $db, q{select pgq.insert_event('q', 'still', 'here')});
		wait_for('a tick', sub {
			sql($node, $db, 'select max(tick_id) from pgq.tick') > $tick;
		});
		my $out = `pgqadm -d '@{[ $node->connstr($db) ]}' status`;
		like($out, qr/problem: .*missing from/, "$what: pgqadm status says it");

		ok(!resync('public.noise'), "$what: only captured tables can be named")
		  if $when eq 'running';
		ok(resync('--without-copy', $new_slot ? ('--slot', $new_slot) : ()), "$what: resync");
		sql($node, $db, 'insert into t values (' . ++$n . ')');
		wait_ingest($node, $db);
		is(sql($node, $db, 'select state from pgq.get_slot_info()'),
			'ok', "$what: whole again");
		my $got = consume($node, $db, 'q', 'c',
			q{case ev_type when 'pgq.resync' then 'resync of '
				|| (ev_data::json->>'tables') when 'still' then 'still'
				else ev_data::json->>'id' end});
		is_deeply($got, [ 'still', 'resync of ["public.t"]', $n ],
			"$what: nothing behind the gap until resync, which is told");
	}
}
ok(!resync('--without-copy'), 'a healthy slot is not thrown away');

# A new timeline that begins behind the position is no problem.
sql($node, $db, 'insert into t values (' . ++$n . ')');
$node->stop;
$node->append_conf('postgresql.conf', "restore_command = 'false'\n");
PostgreSQL::Test::Utils::append_to_file($node->data_dir . '/recovery.signal', '');
$node->start;
$node->poll_query_until('postgres', 'select not pg_is_in_recovery()');
sql($node, $db, 'insert into t values (' . ++$n . ')');
wait_ingest($node, $db);
is(sql($node, $db, 'select slot_timeline, state from pgq.slot, pgq.get_slot_info()'),
	'2|ok', 'the slot is followed to a new timeline');
is_deeply(consume($node, $db, 'q', 'c', q{ev_data::json->>'id'}),
	[ $n - 1, $n ], 'nothing lost, nothing twice');
$pgqd->wait_log(qr/the server is on timeline 2 now/);

# One that branched off before it is.
slot_free();
sql($node, $db, 'update pgq.slot set slot_timeline = 1');
slot_free();
like(wait_for('problem', sub {
	slot_free();
	sql($node, $db, q{select problem from pgq.get_slot_info()
		where problem ~ 'changes are missing from'});
}), qr/timeline 1, which the server left at/,
	'a timeline that branched off before the position');
ok(resync('--without-copy'), 'resync');
wait_ingest($node, $db);
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
