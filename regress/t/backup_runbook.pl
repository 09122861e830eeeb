# What doc/backup.md says is done, word for word: a server goes back in time in
# place, and is restored beside the original, with pgBackRest and with a base backup.
# Afterwards no batch id or event id that a consumer saw comes again, a consumer that
# applies events has the source's rows, and the original is left alone. A relay into
# another server sees that the database went back, and goes on as the page says.

use strict;
use warnings;

use DocBlocks;
use FindBin;
use List::Util qw(max);
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my @blocks = doc_blocks("$FindBin::RealBin/../../doc/backup.md");
my $base = PostgreSQL::Test::Utils::tempdir();
my (%seen, %copy);
my $has_relay = system('pgqrelay --version >/dev/null 2>&1') == 0;
my $far;

if ($has_relay)
{
	$far = new_server('far');
	new_database($far, 'far', slot => 0);
	sql($far, 'far', 'create extension pgq_ext');
}

# The page shows machines of its own.
sub block
{
	my ($note, %replace) = @_;
	my ($block) = grep { $_->{note} eq $note } @blocks;
	my $text = ($block // die "no block '$note'\n")->{text};

	$text =~ s/\Q$_\E/$replace{$_}/g
	  foreach sort { length($b) <=> length($a) } keys %replace;
	return $text;
}

sub shell
{
	my ($what, $text) = @_;

	$text =~ s/^\s+//mg;
	my $out = `set -e; $text 2>&1`;
	is($?, 0, $what) or diag($out);
	return;
}

# The relays of a node, into a queue of the far server that has the node's name, and
# into a file.
sub relays
{
	my ($node) = @_;
	my %keys = (db => $node->connstr('shop'), queue => 'q');
	my $name = $node->name;

	sql($far, 'far', "select pgq.create_queue('$name')");
	return start_relay(
		orders => { %keys, consumer => "relay_$name", to_queue => $name,
			target => 'postgresql:///far?host=' . ($far->host =~ s{/}{%2F}gr)
			  . '&port=' . $far->port },
		file => { %keys, format => 'json', target => "file:$base/$name.out" });
}

# Waits until the relays have moved all that there is, row ID the last of it.
sub relayed
{
	my ($node, $id) = @_;
	my $name = $node->name;

	sql($node, 'shop', q{select pgq.force_tick('q'); select pgq.ticker('q')});
	wait_for('the relays', sub {
		-f "$base/$name.out"
		  && slurp("$base/$name.out") =~ /"id\\?":\s*$id\b/
		  && sql($far, 'far', qq{select count(*) from pgq.event_template
			where ev_data::json->>'id' = '$id' and tableoid in (select evt_relid
				from pgq.event_table where evt_queue = '$name')}) > 0 });
	return;
}

# The rows that a consumer of the far queue has, and how often it had each event.
sub far_rows
{
	my ($node) = @_;
	my $name = $node->name;
	my %rows;

	foreach my $event (split(/\n/, sql($far, 'far', qq{select case
			when ev_type like 'pgq.%' then ev_type else ev_type::json->>'op' end
			|| ' ' || coalesce(ev_data::json->>'id', '') from pgq.event_template
		where tableoid in (select evt_relid from pgq.event_table
			where evt_queue = '$name') order by ev_id})))
	{
		my ($op, $row) = split(/ /, $event);

		%rows = () if $op eq 'TRUNCATE';
		$rows{$row} = 1 if $op eq 'INSERT';
	}
	return join(' ', sort { $a <=> $b } keys %rows);
}

# went_back(WHAT, NODE, RELAY): what the page says of relays, done.
sub went_back
{
	my ($what, $node, $relay) = @_;
	my $name = $node->name;
	my $mark = length $relay->text;

	$relay->start;
	$relay->wait_log(qr/\[orders\]: stands still: the database is at batch \d+, and the bookmark at \d+ before batch \d+: the database went back/, $mark);
	pass("$what, in place: the relay sees that the database went back");
	my ($at) = substr($relay->text, $mark) =~ /is at batch (\d+), and/;
	$relay->wait_log(qr/\[file\]: cutting file:\S+ back from \d+ bytes to/, $mark);
	pass("$what, in place: the relay says that it cuts the file");
	$relay->stop;
	my $got = sql($node, 'shop', block(
		$name eq 'plain' ? 'relay from now on' : 'relay again',
		"'orders'" => "'q'", relay_orders => "relay_$name", "'107'" => "'$at'"));
	is($got, $name eq 'plain' ? "1\n1" : 1, "$what, in place: what the page says for it");
	return;
}

# apply(NODE, ID ...): reads all there is, as a consumer with a copy of its own,
# and notes each batch and event.
sub apply
{
	my ($node) = @_;
	my $s = session($node, 'shop');

	$s->query("select pgq.force_tick('q'); select pgq.ticker('q')");
	while ((my $batch = $s->query("select pgq.next_batch('q', 'c')")) ne '')
	{
		my $out = $s->query("select ev_id || ' ' || case when ev_type like 'pgq.%'
			then ev_type else coalesce(ev_type::json->>'op', ev_type) || ' '
				|| coalesce(ev_data::json->>'id', '') end
			from pgq.get_batch_events($batch) order by ev_id");
		foreach my $line (split(/\n/, $out))
		{
			my ($id, $op, $row) = split(/ /, $line);

			push @{ $seen{events}{$id} }, $line;
			%copy = () if $op eq 'TRUNCATE';
			$copy{$row} = 1 if $op eq 'INSERT';
			$seen{resync}++ if $op eq 'pgq.resync';
		}
		push @{ $seen{batches}{$batch} }, $out;
		$s->query("select pgq.finish_batch($batch)");
	}
	$s->close;
	return;
}

sub rows
{
	my ($node) = @_;
	return sql($node, 'shop', q{select string_agg(id::text, ' ' order by id) from t});
}

# goes_back(WHAT, CONF, BACKUP, RESTORE): one round. BACKUP and RESTORE are
# called with the node, RESTORE with the time, too, and a folder, if beside.
sub goes_back
{
	my ($what, $name, $conf, $backup, $restore) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	%seen = %copy = ();
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', slurp($ENV{PGQ_CONF}) . $conf->($node));
	$node->start;
	my $db = new_database($node, 'shop');
	sql($node, $db, q{
		create table t (id int primary key);
		select pgq.create_queue('q');
		select pgq.register_consumer('q', 'c');
		select pgq.capture_table('q', 't')});
	my $pgqd = start_pgqd($node, database_list => $db);
	my $relay = relays($node) if $has_relay;
	wait_for('the relays', sub { sql($node, $db,
		'select count(*) from pgq.get_consumer_info()') == 3 }) if $has_relay;
	sql($node, $db, 'insert into t select generate_series(1, 5)');
	wait_ingest($node, $db);
	apply($node);
	$backup->($node);
	sql($node, $db, 'insert into t values (6)');
	wait_ingest($node, $db);
	apply($node);
	relayed($node, 6) if $has_relay;
	# the target lies between two commits, a second from each, since tools for
	# backups count in seconds
	my $time = sql($node, $db, 'select pg_sleep(1.1), clock_timestamp()') =~ s/^\|//r;
	sql($node, $db, "select pg_sleep(1); insert into t values (7), (8)");
	sql($node, $db, "insert into t values ($_)") foreach 9 .. 12;
	# more than a sequence is written ahead of
	sql($node, $db, q{select nextval('pgq.batch_id_seq') from generate_series(1, 40)});
	wait_ingest($node, $db);
	apply($node);
	is(join(' ', sort { $a <=> $b } keys %copy), rows($node), "$what: the copy is right");
	sql($node, $db, 'select pg_switch_wal()');

	# beside the original
	my $copy = PostgreSQL::Test::Cluster->new("${name}_copy");
	mkdir($copy->basedir);
	$restore->($node, $time, $copy);
	$copy->append_conf('postgresql.conf', 'port = ' . $copy->port
		  . "\narchive_mode = off\nunix_socket_directories = '" . $copy->host . "'\n");
	$copy->start;
	wait_for('the copy', sub { sql($copy, $db, 'select pg_is_in_recovery()') eq 'f' });
	is(rows($copy), '1 2 3 4 5 6', "$what, beside: the rows of that time");
	my $other = start_pgqd($copy, database_list => $db);
	$other->wait_log(qr/stands still: the replication slot is missing; changes are missing/);
	pass("$what, beside: pgqd says that the copy has no slot");
	is($other->stop, 0, 'pgqd ends cleanly');
	sql($copy, $db, block('copy'));
	is(sql($copy, $db, q{select count(*) from pgq.get_consumer_info()}), 0,
		"$what, beside: the copy has no consumers");
	$copy->stop;
	sql($node, $db, 'insert into t values (13)');
	wait_ingest($node, $db);
	apply($node);
	is($seen{resync}, undef, "$what, beside: the original went on");
	if ($has_relay)
	{
		relayed($node, 13);
		is(far_rows($node), rows($node), "$what: the far copy is right");
		is($relay->stop, 0, 'pgqrelay ends cleanly');
	}

	# in place
	my $last_batch = max(keys %{ $seen{batches} });
	my %before = %{ $seen{batches} };
	is($pgqd->stop, 0, 'pgqd ends cleanly');
	$node->stop;
	$restore->($node, $time);
	$node->start;
	wait_for('the server', sub { sql($node, $db, 'select pg_is_in_recovery()') eq 'f' });
	is(rows($node), '1 2 3 4 5 6', "$what, in place: the rows of that time");
	sql($node, $db, block('after'));
	$pgqd->start;
	wait_for('pgqd to say so', sub { sql($node, $db,
		q{select slot_problem from pgq.slot}) =~ /missing/ });
	$pgqd->wait_log(qr/stands still: the replication slot is missing; changes are missing from/);
	pass("$what, in place: pgqd says that the slot is missing");
	went_back($what, $node, $relay) if $has_relay;
	sql($node, $db, 'insert into t values (20)');
	{
		local $ENV{PGHOST} = $node->host;
		local $ENV{PGPORT} = $node->port;
		shell("$what, in place: resync", block('resync'));
	}
	sql($node, $db, 'insert into t values (21)');
	wait_ingest($node, $db);
	apply($node);
	is($seen{resync}, 1, "$what, in place: the consumer is told once");
	is(join(' ', sort { $a <=> $b } keys %copy), rows($node),
		"$what, in place: the copy has the source's rows");
	is(join(' ', grep { !$before{$_} && $_ <= $last_batch } keys %{ $seen{batches} })
		. join("\n", map { @$_ > 1 ? join(', ', @$_) : () } values %{ $seen{batches} }),
		'', "$what, in place: all batch ids are new");
	is(join("\n", map { @$_ > 1 ? join(', ', @$_) : () } values %{ $seen{events} }),
		'', "$what, in place: no event id comes again");
	if ($has_relay)
	{
		$relay->start;
		relayed($node, 21);
		is(far_rows($node), rows($node),
			"$what, in place: the far copy has the source's rows");
		my @ids = slurp("$base/$name.out") =~ /"ev_id":(\d+)/g;
		my %ids = map { $_ => 1 } @ids;
		is(@ids, keys %ids, "$what, in place: the file has each event once");
		is($relay->stop, 0, 'pgqrelay ends cleanly');
	}
	is($pgqd->stop, 0, 'pgqd ends cleanly');
	$node->stop;
	return;
}

# A base backup, and its archive of WAL.
goes_back('base backup', 'plain', sub {
	mkdir("$base/archive");
	return "archive_mode = on\narchive_command = 'cp %p $base/archive/%f'\n";
}, sub {
	my ($node) = @_;
	PostgreSQL::Test::Utils::system_or_bail('pg_basebackup', '-D', "$base/backup",
		'-c', 'fast', '-d', $node->connstr('postgres'));
}, sub {
	my ($node, $time, $copy) = @_;
	my $to = ($copy // $node)->data_dir;

	wait_for('the archive', sub { sql($node, 'postgres', q{select
		last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 16777216)
		from pg_stat_archiver}) eq 't' }) if $copy;
	system('rm', '-rf', $to);
	system('cp', '-a', "$base/backup", $to) == 0 or die;
	PostgreSQL::Test::Utils::append_to_file("$to/postgresql.conf",
		"restore_command = 'cp $base/archive/%f %p'\n"
		  . "recovery_target_time = '$time'\nrecovery_target_action = promote\n");
	PostgreSQL::Test::Utils::append_to_file("$to/recovery.signal", '');
});

SKIP:
{
	skip('pgbackrest is not installed', 1)
	  if !grep { -x "$_/pgbackrest" } split(/:/, $ENV{PATH});

	$ENV{PGBACKREST_CONFIG} = "$base/pgbackrest.conf";
	$ENV{PGBACKREST_LOG_PATH} = $ENV{PGBACKREST_LOCK_PATH} =
	  $ENV{PGBACKREST_SPOOL_PATH} = $base;
	my @place;

	goes_back('pgBackRest', 'backrest', sub {
		my ($node) = @_;

		@place = ('/var/lib/postgresql/shop' => $node->data_dir,
			'/var/lib/pgbackrest' => "$base/repo");
		PostgreSQL::Test::Utils::append_to_file("$base/pgbackrest.conf",
			block('pgbackrest.conf', @place));
		$ENV{PGBACKREST_PG1_PORT} = $node->port;
		$ENV{PGBACKREST_PG1_SOCKET_PATH} = $node->host;
		return block('postgresql.conf');
	}, sub {
		shell('pgBackRest: a backup', block(''));
	}, sub {
		my ($node, $time, $copy) = @_;

		shell('pgBackRest: restore ' . ($copy ? 'beside' : 'in place'),
			block($copy ? 'beside' : 'in place', @place,
				'2026-11-30 12:00:00+00' => $time,
				$copy ? ('/var/lib/postgresql/copy' => $copy->data_dir) : ()));
	});
}

done_testing();
