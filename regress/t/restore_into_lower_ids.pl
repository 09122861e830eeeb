
# A queue restored into a server with lower transaction ids goes on: every event
# that a consumer had still to get comes, none comes again, what was written
# between the restore and the first tick is not lost, and rotation works.
#
# PgQ 3.5 stands still there: its ticker says "Invalid PgQ state", for all
# queues, until its ids have got past the old ones; events written by then are
# never delivered.

use strict;
use warnings;

use PgqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# tick(SESSION): a tick whatever the settings
sub tick
{
	my ($s) = @_;
	$s->query("select pgq.force_tick('q'); select pgq.ticker('q')");
	return;
}

# burn(SESSION, COUNT): uses up transaction ids
sub burn
{
	my ($s, $count) = @_;
	$s->query("do \$\$ begin for i in 1 .. $count loop
		perform txid_current(); commit; end loop; end \$\$");
	return;
}

# step(SESSION, CONSUMER [, BEFORE]): what the consumer's next batch has, or
# undef if there is none; BEFORE is called with its id
sub step
{
	my ($s, $consumer, $before) = @_;
	my ($main, $sub) = split(/\./, $consumer);
	my ($next, $finish) = $sub
	  ? ("pgq_coop.next_batch('q', '$main', '$sub')", 'pgq_coop.finish_batch')
	  : ("pgq.next_batch('q', '$main')", 'pgq.finish_batch');
	my $batch = $s->query("select $next");
	return undef if $batch eq '';
	my @events = split(/\n/, $s->query("select ev_id || ' ' || ev_data
		|| coalesce(' again ' || ev_retry, '')
		from pgq.get_batch_events($batch) order by ev_id, ev_retry"));

	$before->($batch) if $before;
	$s->query("select $finish($batch)");
	return \@events;
}

# fill(NODE, DB): a queue in the middle of its life. Returns a session with an
# open transaction that has written an event.
sub fill
{
	my ($node, $db) = @_;
	new_database($node, $db, slot => 0);
	my ($s, $long) = (session($node, $db), session($node, $db));

	$s->query($_)
	  foreach 'create extension pgq_coop',
	  "select pgq.create_queue('q'), pgq.create_queue('idle'), pgq.create_queue('unticked')",
	  "delete from pgq.tick using pgq.queue where tick_queue = queue_id and queue_name = 'unticked'",
	  "update pgq.queue set queue_rotation_period = '0' where queue_name = 'q'";
	$long->query('begin');
	$long->query("select pgq.insert_event('q', 't', 'of a long transaction')");
	burn($s, 2000);
	$s->query("select pgq.register_consumer('q', '$_')") foreach qw(reader behind coop);
	$s->query("select pgq_coop.register_subconsumer('q', 'coop', 'one')");

	foreach my $round (1 .. 12)
	{
		$s->query("select pgq.insert_event('q', 't', 'event $round.$_')") foreach 1 .. 3;
		tick($s);
		if ($round == 6)
		{
			# "behind" stays where the table was another
			$s->query($_)
			  foreach "select pgq.maint_rotate_tables_step1('q')",
			  'select pgq.maint_rotate_tables_step2()';
			$long->query('commit');
			$long->query('begin');
			$long->query("select pgq.insert_event('q', 't', 'of another')");
		}
	}
	step($s, 'reader') foreach 1 .. 7;
	step($s, 'coop.one');
	step($s, 'reader',
		sub { $s->query("select pgq.event_retry($_[0], ev_id, 0)
			from pgq.get_batch_events($_[0]) where ev_data like '%.2'") });
	burn($s, 500);
	tick($s);
	# more ticks than a new server has ids
	$s->query(q{insert into pgq.tick (tick_queue, tick_id, tick_event_seq)
		select queue_id, n, 1 from pgq.queue, generate_series(2, 3000) n
		where queue_name = 'idle';
		select pgq.seq_setval(queue_tick_seq, 3000) from pgq.queue
		where queue_name = 'idle'});
	$s->query("select pgq.insert_event('q', 't', 'of no tick')");
	# open batches
	$s->query("select pgq.next_batch('q', 'reader'), pgq_coop.next_batch('q', 'coop', 'one')");
	$s->query("select pgq.register_consumer('q', 'ahead')");
	$s->close;
	return $long;
}

# rest(NODE, DB): all that the consumers have still to get
sub rest
{
	my ($node, $db) = @_;
	my $s = session($node, $db);
	my %rest;

	tick($s);
	$s->query('select pgq.maint_retry_events()');
	tick($s);
	foreach my $consumer (qw(reader behind ahead coop.one))
	{
		my @events;

		while (my $more = step($s, $consumer))
		{
			push @events, @$more;
		}
		$rest{$consumer} = \@events;
	}
	$s->close;
	return \%rest;
}

my $old = new_server('old');
my $long = fill($old, 'gap');
my %dump = map { $_ => PostgreSQL::Test::Utils::tempdir() . "/$_" } qw(gap epoch);
$old->command_ok([ 'pg_dump', '-Fc', '-f', $dump{gap}, $old->connstr('gap') ],
	'dump with a transaction open');
$long->query('rollback');
$long->close;
$old->stop;
PostgreSQL::Test::Utils::system_or_bail('pg_resetwal', '-e', 3, $old->data_dir);
$old->start;
fill($old, 'epoch')->close;
$old->command_ok([ 'pg_dump', '-Fc', '-f', $dump{epoch}, $old->connstr('epoch') ],
	'dump with ids above 2^32');
my %expected = map { $_ => rest($old, $_) } qw(gap epoch);
my $twelve = join(' ', map { @$_ } values %{ $expected{epoch} });
like($twelve, qr/of a long transaction/, 'the source has what it should');
like($twelve, qr/event 8\.2 again 1/, 'and retries');
$old->stop;

my $new = new_server('new');
foreach my $case (
	[ 'gap', 'as it is' ],
	[ 'gap', 'one transaction', '-1' ],
	[ 'epoch', 'others at work' ])
{
	my ($dump, $how, @options) = @$case;
	my $next_id = sql($new, 'postgres', 'select txid_current()');
	my $busy = $how eq 'others at work';
	my $db = "$dump $how";

	sql($new, 'postgres', "create database \"$db\"");
	$new->command_ok(
		[ 'pg_restore', @options, '-d', $new->connstr($db), $dump{$dump} ],
		"$db: restored");
	cmp_ok(
		sql($new, $db, "select max(txid_snapshot_xmax(tick_snapshot)) from pgq.tick"),
		'>', $next_id, 'next to lower ids');

	# somebody writes before anybody ticks, and has a savepoint, too
	sql($new, $db, "begin; select pgq.insert_event('q', 't', 'new 1'); savepoint s;
		select pgq.insert_event('q', 't', 'new 2'); commit");
	my $writer = session($new, $db);
	$writer->query('begin; select txid_current()');
	if ($busy)
	{
		$writer->query("select pgq.insert_event('q', 't', 'new 3')");
		my (undef, undef, $err) = $new->psql($db, "select pgq.ticker('q')");
		like($err, qr/WARNING:  queue "q" cannot be ticked now/,
			'nobody is waited for for long');
		my ($rc, $n, $warning) = $new->psql($db, 'select pgq.ticker()');
		is($rc, 0, 'and other queues tick');
	}
	else
	{
		sql($new, $db, "select pgq.ticker('q')");
		$writer->query("select pgq.insert_event('q', 't', 'new 3')");
	}
	$writer->query('commit');
	$writer->close;

	my $got = rest($new, $db);
	foreach my $consumer (sort keys %$got)
	{
		my @want = @{ $expected{$dump}{$consumer} };
		my @got = @{ $got->{$consumer} };
		my @new = grep { /new/ } @got;

		is_deeply([ sort grep { !/new/ } @got ], [ sort @want ],
			"$consumer gets what it would have got");
		is(join(' ', map { s/^\d+ //r } sort @new), 'new 1 new 2 new 3', 'and what is new');
	}
	my $before = sql($new, $db, "select queue_cur_table from pgq.queue where queue_name = 'q'");
	foreach (1 .. 2)
	{
		sql($new, $db, 'select pgq.maint_rotate_tables_step2()');
		rest($new, $db);
		sql($new, $db, "select pgq.maint_rotate_tables_step1('q')");
	}
	isnt(
		sql($new, $db, "select queue_cur_table from pgq.queue where queue_name = 'q'"),
		$before, 'tables are rotated');
	sql($new, $db, "select pgq.insert_event('q', 't', 'last')");
	$got = rest($new, $db);
	like(join(' ', @{ $got->{$_} }), qr/^\d+ last$/, "$_ goes on") foreach sort keys %$got;
	$new->psql($db, "select pgq.ticker('idle')", stderr => \my $said);
	like($said, qr/WARNING:  queue "idle" cannot be ticked now/, 'ids are made') if $db eq 'gap as it is';
	sql($new, $db, 'select pgq.ticker()');
	is( sql($new, $db,
			'select count(*) from pgq.queue where queue_origin is distinct from pgq._origin()'),
		'0', 'all queues are adopted');
}

done_testing();
