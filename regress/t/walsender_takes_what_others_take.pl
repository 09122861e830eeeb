# The walsender's memory, which grows with the number of tables and with the size
# of a row, is PostgreSQL's own need: with our plugin it takes what it takes with
# pgoutput, give or take little.
#
# PGQ_PEER_TABLES and PGQ_PEER_ROW_MB make it more.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $tables = $ENV{PGQ_PEER_TABLES} // 200;
my $row_mb = $ENV{PGQ_PEER_ROW_MB} // 10;
my %options = (
	pgq => [ '-o', 'format=frames', '-o', 'proto_version=1' ],
	pgoutput => [ '-o', 'proto_version=1', '-o', 'publication_names=all' ],
	test_decoding => []);

my $node = new_server('main',
	conf => "max_locks_per_transaction = 1000\nautovacuum = off\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	select pgq.create_queue('q');
	create table big (id int primary key, pad text);
	select pgq.capture_table('q', 'big'::regclass);
	create publication "all" for all tables;
});

# in pieces, as each takes locks to its end
sub in_pieces
{
	my ($statements) = @_;

	for (my $i = 1; $i <= $tables; $i += 200)
	{
		my $to = $i + 199 < $tables ? $i + 199 : $tables;
		sql($node, $db, "do \$\$ begin for i in $i .. $to loop
			$statements end loop; end \$\$");
	}
	return;
}

# new_slots(): one for each plugin, which has nothing to read yet
sub new_slots
{
	sql($node, $db, "select pg_drop_replication_slot(slot_name)
		from pg_replication_slots where slot_name = '$_';
		select pg_create_logical_replication_slot('$_', '$_')")
	  foreach sort keys %options;
	return;
}

# most_memory(PLUGIN): megabytes that its walsender takes at most, while it
# sends what there is
sub most_memory
{
	my ($plugin) = @_;
	my $end = sql($node, $db, 'select pg_current_wal_insert_lsn()');
	my $s = session($node, $db);
	my $state = "from pg_replication_slots s join pg_stat_replication r
		on r.pid = s.active_pid where slot_name = '$plugin'";
	my $reader = IPC::Run::start(
		[
			'pg_recvlogical', '-d', $node->connstr($db), '-S', $plugin,
			'--start', '-f', '/dev/null', @{ $options{$plugin} }
		], \undef, '2>', \my $err);
	my $pid = wait_for("walsender of $plugin", sub { $s->query("select pid $state") });
	my ($most, $done) = (0, 0);

	while (!$done)
	{
		# once more when all is sent
		$done = $s->query("select sent_lsn >= '$end' $state") eq 't';
		my ($now) = PgqTest::slurp("/proc/$pid/status") =~ /RssAnon:\s+(\d+) kB/;
		$most = $now / 1024 if $now / 1024 > $most;
		sleep(0.005);
	}
	$s->close;
	$reader->signal('INT');
	$reader->finish;
	return $most;
}

sub compare
{
	my ($what) = @_;
	my %mb = map { $_ => most_memory($_) } sort keys %options;

	note(sprintf('%s: walsender takes %d MB with pgq, %d MB with pgoutput, '
			. '%d MB with test_decoding', $what, @mb{qw(pgq pgoutput test_decoding)}));
	cmp_ok($mb{pgq}, '<', 10 + 1.5 * $mb{pgoutput},
		sprintf('%s: %d MB, pgoutput %d MB', $what, @mb{qw(pgq pgoutput)}));
	return;
}

in_pieces(q{
	execute format('create table t%s (id int primary key)', i);
	perform pgq.capture_table('q', ('t' || i)::regclass);});
new_slots();
in_pieces(q{execute format('insert into t%s values (1)', i);});
compare("a row in each of $tables tables");

new_slots();
sql($node, $db, "insert into big select i, repeat('x', $row_mb * 1024 * 1024)
	from generate_series(1, 2) i");
compare("two rows of $row_mb MB");

done_testing();
