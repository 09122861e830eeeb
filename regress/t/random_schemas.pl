
# Rows that are built again from the events equal the source, after each step of
# a random stream of statements on a random schema. Where the WAL has all that a
# trigger sees, PgQ's triggers on the same tables write the same events.
#
# SEEDS=1000 or SEEDS=17-17 in the environment says which seeds to run; the
# default is 1-200. Batches of seeds share a queue and a session; of a batch that
# fails each seed is run alone. A seed that fails leaves its scripts in the test's
# folder of logs.

use strict;
use warnings;

use PgqReplay;
use PgqTest;
use RandomSchema;
use RandomValues;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($first, $last) = ($ENV{SEEDS} // '1-200') =~ /^(?:(\d+)-)?(\d+)$/
  or die "SEEDS is not a number, nor two with a dash between\n";
$first //= 1;
my $steps = $ENV{STEPS} // 12;
my $workers = 2;
my $batch_size = 10;
my $pgqd_every = 10;    # one batch of so many goes through pgqd

my $node = new_server('main', conf => "max_locks_per_transaction = 512\n"
	. "client_min_messages = warning\nautovacuum = off\n");
my %types;

foreach my $db ('by_pgqd', map { ("by_hand$_", "copy$_") } 1 .. $workers)
{
	if ($db =~ /copy/) { sql($node, 'postgres', "create database $db"); }
	else { new_database($node, $db); }
	sql($node, $db, q{
		create schema rnd;
		create table rnd.mark (n int);
		alter table rnd.mark replica identity full;
		create function rnd.one(n int8, event int) returns text as $$
		begin
			if n <> 1 then
				raise exception 'event % hits % rows', event, n;
			end if;
			return null;
		end $$ language plpgsql;
	});
	foreach my $type (qw(hstore citext))
	{
		my ($rc) = $node->psql($db, "create extension if not exists $type schema pg_catalog");
		($rc) = $node->psql($db, "create extension $type schema public") if $rc;
		$types{$type} = $rc == 0;
	}
	# short names, as the plugin has none either
	my ($rc) = $node->psql($db, "select '<a/>'::xml");
	$types{xml} = $rc == 0;
}
RandomValues::types(grep { $types{$_} } keys %types);
my $pgqd = start_pgqd($node, database_list => 'by_pgqd');

# psql_file(DATABASE, FILE TEXT, NAME): output and errors
sub psql_file
{
	my ($db, $text, $file) = @_;
	my ($out, $err) = ('', '');

	open(my $fh, '>', $file) or die "$file: $!";
	print $fh $text;
	close $fh;
	IPC::Run::run(
		[ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', $file ],
		'<' => \undef, '>' => \$out, '2>' => \$err);
	return ($out, $err);
}

# What psql printed, checked against what the script lets come. Dies on others.
sub check_errors
{
	my ($err, $lines, $expect) = @_;
	my %missing = %$expect;

	foreach my $line (split(/\n/, $err))
	{
		next if $line !~ /^psql:.*?:(\d+): (ERROR|FATAL|PANIC):\s+(\w{5}):? ?(.*)/;
		my ($n, $state) = ($1, $3);

		next if delete $missing{$n} && $state eq $expect->{$n};
		$PgqReplay::seen{'harmless error'}++, next if $RandomSchema::harmless{$state};
		die "line $n: $state $4\n$lines->[$n - 1]\n";
	}
	# the rest of the output are warnings, or the end of the connection
	die "lost connection: $err" if $err =~ /server closed|connection to server/;
	foreach my $n (sort keys %missing)
	{
		die "line $n is not refused: $lines->[$n - 1]\n";
	}
	return;
}

sub get_changes { return "select data from pg_logical_slot_get_changes('pgq_$_[0]', null, null);"; }

# The scripts of some seeds one after the other: lines, marks, and the lines
# that have to fail.
sub source_script
{
	my ($db, $queue, @seeds) = @_;
	my $q = RandomValues::literal($queue);
	my $by_hand = $db ne 'by_pgqd';
	my @lines = (
		'\\set VERBOSITY verbose',
		'\\set ON_ERROR_ROLLBACK on',
		"set client_min_messages = warning;",
		"set lock_timeout = '10s';",
		"select 'x' from pgq.create_queue($q), pgq.create_queue($q || ' t') t, pgq.register_consumer($q, 'c'), pgq.capture_table($q, 'rnd.mark'::regclass);");
	my (@marks, %expect);

	foreach my $seed (@seeds)
	{
		my $s = RandomSchema->new($seed, $queue, scalar @marks);

		# read in small pieces, or all at once
		$s->steps($steps, $by_hand && $seed % 2 == 0 ? sub { get_changes($db) } : undef);
		$expect{ $_ + @lines } = $s->{expect}{$_} foreach keys %{ $s->{expect} };
		push @lines, @{ $s->{script} };
		push @marks, @{ $s->{marks} };
		# the checkpoint lets the slot forget old WAL
		push @lines, 'checkpoint;', get_changes($db) if $by_hand;
	}
	push @lines,
	  "select format('select ''T'' || to_json(e) from %s e order by ev_id', pgq.current_event_table($q || ' t')) \\gexec";
	push @lines, "select 'x' from pgq.drop_queue($q, true), pgq.drop_queue($q || ' t', true) t;",
	  get_changes($db)
	  if $by_hand;
	return (\@lines, \@marks, \%expect);
}

# run_seeds(WORKER, DATABASE, SEED...): how many events were replayed, and how
# many of them were compared with a trigger's. Dies on any difference.
sub run_seeds
{
	my ($worker, $db, @seeds) = @_;
	my $file = "$PostgreSQL::Test::Utils::log_path/seed$seeds[0]";
	my $queue = $seeds[0] % 7 == 0 ? "odd 'q\" $seeds[0]" : "q$seeds[0]";
	my ($lines, $marks, $expect) = source_script($db, $queue, @seeds);
	my ($out, $err) = psql_file($db, join("\n", @$lines, ''), "$file.source.sql");

	check_errors($err, $lines, $expect);
	my @source = grep { /^S\|/ } split(/\n/, $out);
	my @events = grep { /^\{/ } split(/\n/, $out);
	my @triggered = map { PgqReplay::event_text(PgqReplay::parsed(substr($_, 1))) }
	  grep { /^T\{/ } split(/\n/, $out);

	if ($db eq 'by_pgqd')
	{
		wait_ingest($node, $db);
		@events = @{ consume($node, $db, $queue, 'c', 'row_to_json(get_batch_events)') };
	}

	my $replay = PgqReplay->new($marks);
	$replay->line($_) foreach @events;
	my @statements = ('\\set VERBOSITY verbose', '\\set ON_ERROR_STOP on',
		'set client_min_messages = warning;', @{ $replay->{out} });
	($out, $err) = psql_file("copy$worker", join("\n", @statements, ''), "$file.copy.sql");
	die "replay: $1 $3\n$statements[$1 - 1]\n" if $err =~ /psql:.*?:(\d+): (ERROR|FATAL|PANIC):\s+(.*)/;
	die "replay: $err" if $err =~ /ERROR|FATAL|PANIC/;
	my @copy = grep { /^S\|/ } split(/\n/, $out);
	compare('row', 'source', \@source, 'copy', \@copy);
	# ids of triggers' events are those of statements, not of commits
	compare_sets(\@triggered, $replay->{as_trigger});
	unlink "$file.source.sql", "$file.copy.sql";
	return (scalar @events, scalar @triggered);
}

sub compare
{
	my ($what, $a_name, $a, $b_name, $b) = @_;

	for (my $i = 0; $i < @$a || $i < @$b; $i++)
	{
		my ($x, $y) = ($a->[$i] // 'nothing', $b->[$i] // 'nothing');

		die "$what $i differs\n $a_name: $x\n $b_name: $y\n" if $x ne $y;
	}
	return;
}

sub compare_sets
{
	my ($triggered, $captured) = @_;
	my %n;

	$n{$_}++ foreach @$triggered;
	$n{$_}-- foreach @$captured;
	my @missing = grep { $n{$_} > 0 } @$triggered;
	my @more = grep { $n{$_} < 0 } @$captured;

	die scalar(@missing) . " events are the triggers' only, like $missing[0]\n" if @missing;
	die scalar(@more) . " events are the captures' only, like $more[0]\n" if @more;
	return;
}

# Drop what a run that failed has left.
sub clean_up
{
	my ($worker, @dbs) = @_;

	foreach my $db (@dbs, "copy$worker")
	{
		sql($node, $db, q{set client_min_messages = warning;
			do $$ declare s text; begin
				for s in select gid from pg_prepared_xacts where database = current_database() loop
					raise warning 'prepared transaction % is left', s;
				end loop;
				for s in select nspname from pg_namespace where nspname ~ '^s[0-9]+' loop
					execute format('drop schema %I cascade', s);
				end loop; end $$;}
			  . ($db =~ /copy/ ? '' : 'select count(pgq.drop_queue(queue_name, true)) from pgq.queue;')
			  . ($db =~ /hand/ ? get_changes($db) : ''));
	}
	return;
}

# One of the processes: its share of the batches. Writes what came out of it, for
# others to read, in lines of a word and the rest.
sub work
{
	my ($worker, $to, @batches) = @_;
	my $failures = 0;

	foreach my $batch (@batches)
	{
		my ($db, @seeds) = @$batch;
		my @n = eval { run_seeds($worker, $db, @seeds) };

		if (@n)
		{
			print $to "events $n[0]\ntriggered $n[1]\n";
			next;
		}
		print $to 'batch ' . ($@ =~ s/\n/\\n/gr) . "\n";
		foreach my $seed (@seeds)
		{
			clean_up($worker, $db);
			my @alone = eval { run_seeds($worker, $db, $seed) };
			next if @alone;
			print $to "seed $seed: " . (substr($@, 0, 3000) =~ s/\n/\\n/gr) . "\n";
			$failures++;
		}
		clean_up($worker, $db);
		last if $failures >= 5;
	}
	print $to "seen $PgqReplay::seen{$_} $_\n" foreach keys %PgqReplay::seen;
	return;
}

my @batches;
for (my $seed = $first; $seed <= $last; $seed += $batch_size)
{
	my $end = $seed + $batch_size - 1;
	# batches of the first worker only, so that it has pgqd's database alone
	my $db = @batches % $pgqd_every == 0 ? 'by_pgqd' : 'by_hand' . (1 + @batches % $workers);

	push @batches, [ $db, $seed .. ($end < $last ? $end : $last) ];
}

my $start = time();
my @from;
foreach my $worker (1 .. $workers)
{
	my @mine = @batches[ grep { $_ % $workers == $worker - 1 } 0 .. $#batches ];
	my $pid = open(my $from, '-|') // die "fork: $!";

	if (!$pid)
	{
		my $ok = eval { work($worker, \*STDOUT, @mine); 1 };
		print STDOUT 'worker ' . ($@ =~ s/\n/\\n/gr) . "\n" if !$ok;
		close STDOUT;
		POSIX::_exit($ok ? 0 : 1);
	}
	push @from, $from;
}

my (%sum, @failed, %seen);
foreach my $from (@from)
{
	while (my $line = <$from>)
	{
		my ($word, $rest) = $line =~ /^(\w+) (.*)/;

		if ($word eq 'seen') { $rest =~ /^(\d+) (.*)/; $seen{$2} += $1; }
		elsif ($word =~ /^(seed|batch|worker)$/) { push @failed, "$word $rest" =~ s/\\n/\n/gr; }
		else { $sum{$word} += $rest; }
	}
	ok(close $from, 'a worker came to its end');
}
is(scalar @failed, 0, "rows of seeds $first to $last are built again from their events")
  or diag(join("\n", @failed));
cmp_ok($sum{triggered} // 0, '>', 2 * ($last - $first), 'triggers wrote the same events');
note(sprintf('%d events in %.0f s, %d of them by triggers, too', $sum{events} // 0,
	time() - $start, $sum{triggered} // 0));
note(join(', ', map { "$_: $seen{$_}" } sort keys %seen));
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
