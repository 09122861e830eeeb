
# The queue's functions, beside PgQ 3.5's.

package BenchQueue;

use strict;
use warnings;

use BenchTools;
use IPC::Run ();
use PgqTest;
use Test::More;
use Time::HiRes qw(time);

my $n = $smoke ? 2000 : 200_000;
my $many = $smoke ? 20 : 500;          # queues to tick
my $peer;                              # its session
my $client;                            # program that takes rows

# compare_both(WHAT, GOAL, SUB of a session [, SUB of the peer's])
sub compare_both
{
	my ($s, $what, $goal, $ours, $theirs) = @_;

	compare("$what / " . (old() ? "PgQ 3.5's" : 'itself, no PgQ 3.5 is there'),
		old() ? $goal : '', 's', sub { $ours->($s) }, sub { ($theirs // $ours)->($peer) });
	return;
}

# Seconds for insert, tick, next, get and finish, one event each time, by psql.
sub five_statements
{
	my ($node, $db, $options) = @_;
	local $ENV{PGOPTIONS} = $options // '';
	my $script = q{
		select pgq.insert_event('loop', 't', 'd');
		select pgq.force_tick('loop');
		select pgq.ticker('loop');
		select pgq.next_batch('loop', 'c') as b \gset
		select count(*) from pgq.get_batch_events(:b);
		select pgq.finish_batch(:b);
	} x ($smoke ? 20 : 500);

	return elapsed(sub {
		IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
				$node->connstr($db) ], '<', \$script, '>', '/dev/null') or die;
	});
}

# An event for each of many queues.
sub insert_many
{
	my ($s) = @_;

	$s->query("select count(pgq.insert_event('many' || i, 't', 'd'))"
		. " from generate_series(1, $many) i");
	return;
}

sub tick_many
{
	my ($s) = @_;

	insert_many($s);
	my $before = $s->query('select count(*) from pgq.tick');
	my $seconds = timed($s, 'select pgq.ticker()');
	is($s->query('select count(*) from pgq.tick'), $before + $many,
		'all queues are ticked');
	return $seconds;
}

# Seconds until a client has got the events of an open batch.  It drops them one
# by one: to keep or to print them would take longer than to get them.
sub read_batch
{
	my ($node, $db, $sql) = @_;
	my $out;

	IPC::Run::run([ $client, $node->connstr($db), $sql ], '>', \$out)
	  or die 'the client failed';
	return $out;
}

# Seconds of CPU that the server takes for the same.
sub read_batch_cpu
{
	my ($s, $sql) = @_;
	my $pid = $s->query('select pg_backend_pid()');
	my $before = cpu($pid);

	$s->query("\\o /dev/null\n$sql;\n\\o\nselect");
	return cpu($pid) - $before;
}

sub bench
{
	my @nodes = ([ ours(), 'queue' ], old() ? [ old(), 'writer' ] : ());
	my $insert = "pgq.insert_event('big', 'type', 'some data of a usual length,"
	  . " say sixty bytes or so')";
	my $emit = $insert =~ s/insert/emit/r;
	my $loop = sub { "select count($_[0]) from generate_series(1, $n)" };
	my $events = $smoke ? $n : 5 * $n;
	my (@s, @batches);

	new_database(ours(), 'queue');
	foreach (@nodes)
	{
		my ($node, $db) = @$_;
		my $s = session($node, $db);

		$s->query('set client_min_messages = error');
		$s->query("select pgq.create_queue('big'); select pgq.create_queue('loop');"
			. " select pgq.create_queue('read'); select pgq.register_consumer('read', 'c');"
			. " select pgq.register_consumer('loop', 'c')");
		$s->query("do \$\$ begin for i in 1..$many loop"
			. " perform pgq.create_queue('many' || i); commit; end loop; end \$\$");
		$s->query("select count(" . ($insert =~ s/big/read/r)
			. ") from generate_series(1, $events)");
		$s->query('vacuum analyze; checkpoint');
		push @s, $s;
	}
	$peer = $s[1] // $s[0];

	compare_both($s[0], "$n times insert_event", '<= 0.30',
		sub { timed($_[0], $loop->($insert)) });
	compare_both($s[0], "$n times emit_event / insert_event of", '<= 0.06',
		sub { timed($_[0], $loop->($emit)) },
		sub { timed($_[0], $loop->($insert)) });
	compare_both($s[0], 'insert, tick, next, get, finish', '<= 0.50',
		sub { five_statements(@{ $nodes[0] }) },
		sub { five_statements(@{ $nodes[-1] }) });
	my $no_flush = '-c synchronous_commit=off';
	compare_both($s[0], 'insert, tick, next, get, finish, synchronous_commit = off', '',
		sub { five_statements(@{ $nodes[0] }, $no_flush) },
		sub { five_statements(@{ $nodes[-1] }, $no_flush) });

	foreach my $s (@s)
	{
		$s->query("select pgq.force_tick('read')");
		$s->query("select pgq.ticker('read')");
		push @batches, $s->query("select pgq.next_batch('read', 'c')");
	}
	chomp(my $include = `pg_config --includedir`);
	$client = compile('rows', "-I$include", '-lpq');
	my @sql = map { "select * from pgq.get_batch_events($_)" } @batches;
	my @read = map {
		my $i = $_;
		sub { read_batch(@{ $nodes[$i] }, $sql[$i]) }
	} 0 .. $#nodes;
	is(scalar split(/\n/, sql(@{ $nodes[0] },
			"select 1 from pgq.get_batch_events($batches[0])")),
		$events, 'all events are in the batch');
	compare_both($s[0], "$events events by get_batch_events to a client",
		'<= 0.60', $read[0], $read[1]);
	compare_both($s[0], "$events events by get_batch_events, CPU of the server", '',
		sub { read_batch_cpu($_[0], $sql[0]) },
		sub { read_batch_cpu($_[0], $sql[-1]) });
	compare_both($s[0], "$events events by get_batch_cursor / get_batch_events of",
		'', sub {
			read_batch(@{ $nodes[0] }, "begin; select * from pgq.get_batch_cursor("
				. "$batches[0], 'cur', 10000); fetch all from cur; commit") },
		$read[1]);

	compare_both($s[0], "ticker() over $many queues, none due", '<= 0.10',
		sub {
			my ($s) = @_;
			$s->query('select pgq.ticker()');
			median(map { timed($s, 'select pgq.ticker()') } 1 .. 9);
		});
	# From here on every event makes its queue due, but for a queue's first, which
	# does not count.
	foreach (@s)
	{
		$_->query('update pgq.queue set queue_ticker_max_count = 1');
		insert_many($_);
		$_->query('select pgq.ticker()');
	}
	compare_both($s[0], "ticker() over $many queues, all due", '<= 0.30',
		\&tick_many);
	$_->close foreach @s;
	sql(ours(), 'queue', 'select pgq.stop_capture()');
	return;
}

1;
