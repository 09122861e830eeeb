
# What a source pays whose queues are on a host, beside one that has them itself: CPU
# of getting a backlog out of its WAL, and the WAL that this writes.

package BenchSource;

use strict;
use warnings;

use BenchTools;
use PgqTest;
use Test::More;

# Seconds of CPU of those of a server's sessions that move changes.
sub sessions_cpu
{
	my ($node, $db) = @_;

	return cpu(split(/\n/, sql($node, $db, q{
		select pid from pg_stat_activity where datname = current_database()
			and application_name ~ '^pgqd/(tick|ingest|stream|source)'})));
}

# A database with a backlog; $remote: for a host.  Returns the bytes of WAL that
# writing it took.
sub backlog
{
	my ($node, $db, $remote) = @_;

	sql($node, 'postgres', "create database $db");
	sql($node, $db, "create extension pgq; $orders; select "
		. ($remote ? "pgq.declare_remote_queue('q')" : "pgq.create_queue('q')"));
	sql($node, $db, 'select pgq.start_capture()');
	sql($node, $db, "select pgq.capture_table('q', 'orders')");
	my $start = wal_end($node);
	sql($node, $db, fill_orders($changes));
	return wal_end($node) - $start;
}

sub bench
{
	my $source = new_ours('source');
	my $host = new_ours('queuehost');
	my %cpu;
	my %wal;

	new_database($host, 'hub', slot => 0);
	sql($host, 'hub', q{select pgq.create_queue('q')});
	foreach my $round (1 .. $rounds)
	{
		foreach my $kind (qw(local host))
		{
			my $db = "$kind$round";
			my $written = backlog($source, $db, $kind eq 'host');
			my $start = wal_end($source);
			my $pgqd;

			if ($kind eq 'host')
			{
				sql($host, 'hub', "select pgq.create_source('$db', 'q')");
				$pgqd = start_pgqd($host, database_list => 'hub', sources => { $db => {
					connstr => $source->connstr($db), queue_db => 'hub' } });
			}
			else { $pgqd = start_pgqd($source, database_list => $db); }
			wait_ingest($source, $db);
			push @{ $cpu{$kind} }, sessions_cpu($source, $db)
			  + ($kind eq 'local' ? cpu($pgqd->{pid}) : 0);
			push @{ $wal{$kind} }, ($written + wal_end($source) - $start) / 2**20;
			push @{ $wal{written} }, $written / 2**20 if $kind eq 'host';
			stop_settled($source, $pgqd);
			sql($source, $db, 'select pgq.stop_capture()');
		}
	}
	report("CPU of the source for $changes changes, queues on a host / its own",
		'<= 0.45', 's', $cpu{host}, $cpu{local});
	report("WAL of the source for $changes changes, queues on a host / no ingest",
		'<= 1.05', 'MiB', $wal{host}, $wal{written});
	report('WAL of the source, queues on a host / its own', '', 'MiB', $wal{host},
		$wal{local});
	return;
}

1;
