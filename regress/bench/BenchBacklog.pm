
# How fast a backlog gets from the WAL into the queue, beside those who write it
# to a file, and what decoding costs where nothing is captured.

package BenchBacklog;

use strict;
use warnings;

use BenchTools;
use IPC::Run ();
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my %peers = (
	floor => [ 'floor' ],
	pgoutput => [ 'pgoutput', 'proto_version=1', 'publication_names=p' ],
	test_decoding => [ 'test_decoding' ],
	wal2json => [ 'wal2json', 'format-version=2' ]);
my %title = (floor => 'a plugin that does nothing',
	copy => 'COPY of these events from a file into such a table');

# What waits to be read, and what is measured beside it, with a goal or without.
my $n = $changes;
my $some = $n * 3 / 10;
my @shapes = (
	{
		what => "$n changes",
		rows => $n,
		fill => fill_orders($n),
		peers => { floor => '<= 1.75', pgoutput => '<= 0.90', test_decoding => '',
			wal2json => '<= 0.60', copy => '' }
	},
	{
		what => "$n changes, a tenth in one-row transactions,",
		rows => $n,
		fill => 'do $$ begin for n in 1..' . $n / 1000 . ' loop '
		  . '  for k in 1..9 loop ' . orders_row(100) . '; commit; end loop;'
		  . '  for k in 1..100 loop ' . orders_row(1) . '; commit; end loop;'
		  . ' end loop; end $$',
		peers => { pgoutput => '<= 0.75', wal2json => '<= 0.50' }
	},
	{
		what => "$some one-row transactions",
		rows => $some,
		fill => "do \$\$ begin for n in 1..$some loop " . orders_row(1)
		  . '; commit; end loop; end $$',
		peers => { pgoutput => '<= 0.85' }
	});

# Seconds that pg_recvlogical takes to read a slot to a file.
sub recvlogical
{
	my ($node, $db, $slot, $lsn, @options) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/out';
	my $t = elapsed(sub {
		IPC::Run::run([
			'pg_recvlogical', '-d', $node->connstr($db), '--slot', $slot,
			'--start', '--endpos', $lsn, '-f', $file, '--no-loop',
			map { ('-o', $_) } @options
		], '2>', '/dev/null') or die "pg_recvlogical of $slot failed";
	});
	unlink $file;
	return $t;
}

# Seconds of a plain COPY of the events in the queue, from a file.
sub copy
{
	my ($node, $db) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/events';
	my $t;

	sql($node, $db, "copy (select * from pgq.event_template) to '$file' (format binary);"
		. ' create table plain (like pgq.event_template);'
		. ' create index on plain (ev_txid)');
	$t = elapsed(sub { sql($node, $db, "copy plain from '$file' (format binary)") });
	unlink $file;
	return $t;
}

# One of the shapes, beside its peers. They come first: none of them has to read what
# ingest writes.
sub backlog
{
	my ($shape, $number) = @_;
	my $node = ours();
	my $goals = $shape->{peers};
	my @peers = grep { $peers{$_} && ($_ ne 'wal2json' || wal2json()) } sort keys %$goals;
	my %time;

	for my $round (1 .. $rounds)
	{
		my $db = "backlog${number}_$round";

		new_database($node, $db);
		sql($node, $db, "$orders; create publication p for table orders;"
			. " select pgq.create_queue('q'); select pgq.capture_table('q', 'orders')");
		sql($node, $db,
			"select pg_create_logical_replication_slot('${_}_$round', '$peers{$_}[0]')")
		  foreach @peers;
		sql($node, $db, 'set synchronous_commit = off; ' . $shape->{fill});
		my $lsn = sql($node, $db, 'select pg_current_wal_insert_lsn()');
		sql($node, $db, 'checkpoint');

		foreach my $peer (@peers)
		{
			my (undef, @options) = @{ $peers{$peer} };
			push @{ $time{$peer} },
			  recvlogical($node, $db, "${peer}_$round", $lsn, @options);
			sql($node, $db, "select pg_drop_replication_slot('${peer}_$round')");
		}
		sql($node, $db, 'checkpoint');
		my $pgqd;
		push @{ $time{ours} }, elapsed(sub {
			$pgqd = start_pgqd($node, database_list => $db);
			profiled($node, $db, $pgqd, sub { wait_ingest($node, $db) });
		});
		is(sql($node, $db, 'select count(*) from pgq.event_template'),
			$shape->{rows}, 'the backlog is in the queue');
		$pgqd->stop;
		sql($node, $db, 'select pgq.stop_capture()');
		push @{ $time{copy} }, copy($node, $db) if defined $goals->{copy};
		sql($node, 'postgres', "drop database $db");
	}
	foreach my $peer (@peers, defined $goals->{copy} ? 'copy' : ())
	{
		my $to = $title{$peer} // "$peer to a file";
		report("$shape->{what} into the queue / $to", $goals->{$peer}, 's', $time{ours},
			$time{$peer});
	}
	return;
}

# CPU of decoding changes of a table that is not captured.
sub uncaptured
{
	my $node = ours();
	my $s;
	my $pid;
	my $read = sub {
		my ($slot, $options) = @_;
		my $before = cpu($pid);

		is($s->query("select count(*) from pg_logical_slot_peek_binary_changes("
				. "'$slot', null, null$options)"), 0, 'nothing is sent');
		return cpu($pid) - $before;
	};

	new_database($node, 'uncaptured');
	sql($node, 'uncaptured', "$orders; create table other (like orders including all);"
		. " select pgq.create_queue('q'); select pgq.capture_table('q', 'other')");
	sql($node, 'uncaptured',
		"select pg_create_logical_replication_slot('floor', 'floor')");
	sql($node, 'uncaptured', fill_orders($changes));
	$s = session($node, 'uncaptured');
	$pid = $s->query('select pg_backend_pid()');
	# short runs, and a small difference
	local $BenchTools::rounds = $smoke ? 1 : 7 * $rounds;
	compare('CPU of decoding changes that are not captured / a plugin that does nothing',
		'<= 1.1', 's',
		sub { $read->('pgq_uncaptured', ", 'format', 'frames', 'proto_version', '1'") },
		sub { $read->('floor', '') });
	$s->close;
	sql($node, 'uncaptured', "select pg_drop_replication_slot('floor')");
	sql($node, 'uncaptured', 'select pgq.stop_capture()');
	return;
}

# The most memory that pgqd takes: idle, for a backlog, for one transaction of
# 2 GB.
sub memory
{
	my $node = ours();
	my $rows = $smoke ? 200 : 200_000;

	new_database($node, 'memory');
	sql($node, 'memory', "$orders; create table wide (id bigserial primary key, t text);"
		. " select pgq.create_queue('q'); select pgq.capture_table('q', 'orders');"
		. " select pgq.capture_table('q', 'wide')");
	foreach my $case (
		[ 'idle', '<= 16', 'select 1' ],
		[ "after $changes changes", '<= 64', fill_orders($changes) ],
		[ 'after one transaction of ' . ($smoke ? '2 MB' : '2 GB'), '<= 64',
			'insert into wide (t) select repeat(md5(i::text), 320)'
			. " from generate_series(1, $rows) i" ])
	{
		my ($what, $goal, $load) = @$case;

		sql($node, 'memory', 'alter table wide alter t set storage external');
		sql($node, 'memory', $load);
		my $pgqd = start_pgqd($node, database_list => 'memory');
		# several times the patience of other tests
		wait_ingest($node, 'memory');
		value("memory of pgqd, $what", $goal, 'MiB', memory_peak($pgqd->{pid}));
		$pgqd->stop;
	}
	sql($node, 'memory', 'select pgq.stop_capture()');
	sql($node, 'postgres', 'drop database memory');
	return;
}

sub bench
{
	backlog($shapes[$_], $_) foreach 0 .. $#shapes;
	uncaptured();
	memory();
	return;
}

1;
