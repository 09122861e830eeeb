
# Rows that are built again from the events equal the source, after each step of
# a random stream of statements on a random schema.
#
# SEEDS=200 or SEEDS=17-17 in the environment says which seeds to run; the
# default is 1-40. A seed that fails leaves its scripts in the test's folder
# of logs.

use strict;
use warnings;

use PgqReplay;
use PgqTest;
use RandomSchema;
use RandomValues;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($first, $last) = ($ENV{SEEDS} // '1-40') =~ /^(?:(\d+)-)?(\d+)$/
  or die "SEEDS is not a number, nor two with a dash between\n";
$first //= 1;
my $pgqd_every = 20;
my $steps = $ENV{STEPS} // 12;

my $node = new_server('main', conf => "max_locks_per_transaction = 256\n"
	. "client_min_messages = warning\n");
my @optional;
my %types;

foreach my $db (qw(by_hand by_pgqd copy))
{
	if ($db eq 'copy') { sql($node, 'postgres', "create database $db"); }
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
my $slot = sql($node, 'by_hand', 'select slot_name from pgq.slot');
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

sub event_lines
{
	my ($by_pgqd) = @_;

	return $by_pgqd ? '' : "select data from pg_logical_slot_get_changes('$slot', null, null);";
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

sub run_seed
{
	my ($seed) = @_;
	my $by_pgqd = $seed % $pgqd_every == 0;
	my $db = $by_pgqd ? 'by_pgqd' : 'by_hand';
	my $file = "$PostgreSQL::Test::Utils::log_path/seed$seed";
	my $queue = $seed % 7 == 0 ? "odd 'q\" $seed" : "q$seed";
	my $q = RandomValues::literal($queue);
	my $s = RandomSchema->new($seed, $queue);
	my $at_end = $seed % 2 || $by_pgqd;

	$s->steps($steps, $at_end ? undef : sub { event_lines($by_pgqd) });
	my @lines = (
		'\\set VERBOSITY verbose',
		'\\set ON_ERROR_ROLLBACK on',
		"set client_min_messages = warning;",
		"set lock_timeout = '10s';",
		"select 'x' from pgq.create_queue($q), pgq.register_consumer($q, 'c'), pgq.capture_table($q, 'rnd.mark'::regclass);");
	my %expect = map { $_ + @lines => $s->{expect}{$_} } keys %{ $s->{expect} };
	push @lines, @{ $s->{script} }, event_lines($by_pgqd);
	push @lines, clean_up_lines($db) if !$by_pgqd;
	my ($out, $err) = psql_file($db, join("\n", @lines, ''), "$file.source.sql");
	check_errors($err, \@lines, \%expect);

	my @source = grep { /^S\|/ } split(/\n/, $out);
	my @events = grep { /^\{/ } split(/\n/, $out);
	if ($by_pgqd)
	{
		wait_ingest($node, $db);
		@events = @{ consume($node, $db, $queue, 'c', 'row_to_json(get_batch_events)') };
		clean_up($db);
	}

	my $replay = PgqReplay->new($s->{marks});
	$replay->line($_) foreach @events;
	my @statements = ('\\set VERBOSITY verbose', '\\set ON_ERROR_STOP on',
		@{ $replay->{out} }, clean_up_lines('copy'));
	($out, $err) = psql_file('copy', join("\n", @statements, ''), "$file.copy.sql");
	die "replay: $1 $3\n$statements[$1 - 1]\n" if $err =~ /psql:.*?:(\d+): (ERROR|FATAL|PANIC):\s+(.*)/;
	die "replay: $err" if $err =~ /ERROR|FATAL|PANIC/;
	my @copy = grep { /^S\|/ } split(/\n/, $out);
	compare(\@source, \@copy);
	return scalar @events;
}

sub compare
{
	my ($source, $copy) = @_;

	for (my $i = 0; $i < @$source || $i < @$copy; $i++)
	{
		my ($a, $b) = ($source->[$i] // 'nothing', $copy->[$i] // 'nothing');

		die "row $i differs\n source: $a\n copy:   $b\n" if $a ne $b;
	}
	return;
}

# Lines that drop all of a seed. The checkpoint lets the slot forget old WAL.
sub clean_up_lines
{
	my ($db) = @_;
	my @lines = (q{do $$ declare s text; begin for s in select nspname from pg_namespace where nspname ~ '^s[0-9]+' loop execute format('drop schema %I cascade', s); end loop; end $$;});

	unshift @lines, "select count(pgq.drop_queue(queue_name, true)) from pgq.queue;"
	  if $db ne 'copy';
	push @lines, 'checkpoint;',
	  "select count(*) from pg_logical_slot_get_changes('$slot', null, null);"
	  if $db eq 'by_hand';
	return ('set client_min_messages = warning;', @lines);
}

sub clean_up
{
	sql($node, $_, join("\n", clean_up_lines($_))) foreach @_;
	return;
}

my $failures = 0;
my ($events, $start) = (0, time());
foreach my $seed ($first .. $last)
{
	my $n = eval { run_seed($seed) };

	if (defined $n)
	{
		$events += $n;
		unlink glob("$PostgreSQL::Test::Utils::log_path/seed$seed.*");
		next;
	}
	fail("seed $seed");
	diag(substr($@, 0, 3000));
	last if ++$failures >= 5;
	clean_up($seed % $pgqd_every == 0 ? 'by_pgqd' : 'by_hand', 'copy');
}
is($failures, 0, "rows of seeds $first to $last are built again from their events");
note(sprintf('%d events in %.0f s', $events, time() - $start));
note(join(', ', map { "$_: $PgqReplay::seen{$_}" } sort keys %PgqReplay::seen));
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
