
# What a backlog of two million changes takes on disk, what it costs to be killed in the
# middle of it, and the same changes as one transaction.

package BenchLarge;

use strict;
use warnings;

use BenchTools;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $rows = 2 * $changes;
my $node;
my $n = 0;

# new_backlog(SQL): a database with so much to be caught up.
sub new_backlog
{
	my ($fill) = @_;
	my $db = 'large' . ++$n;

	new_database($node, $db);
	sql($node, $db, "$orders; select pgq.create_queue('q'); select pgq.capture_table('q', 'orders')");
	my $wal = wal_end($node);
	sql($node, $db, "set synchronous_commit = off; $fill");
	$wal = wal_end($node) - $wal;
	sql($node, $db, 'checkpoint');
	return ($db, $wal);
}

sub events { return sql($node, $_[0], 'select count(*) from pgq.event_template') }

# What pg_wal holds now, in bytes.
sub wal_on_disk
{
	return sql($node, 'postgres', 'select sum(size) from pg_ls_waldir()');
}

# caught_up(FILL, KILLED): until it is in the queue: { seconds, disk => the most WAL that
# was on disk, as a multiple of the backlog }.
sub caught_up
{
	my ($fill, $killed) = @_;
	my ($db, $wal) = new_backlog($fill);
	my $end = sql($node, $db, 'select pg_current_wal_insert_lsn()');
	my $most = 0;
	my $pgqd;
	my %got;

	$got{seconds} = elapsed(sub {
		$pgqd = start_pgqd($node, database_list => $db);
		if ($killed)
		{
			wait_for('half of it', sub { sql($node, $db, "select last_value > $rows / 2
				from pgq.event_1_id_seq") eq 't' });
			$pgqd->kill9;
			$pgqd->start;
		}
		wait_for('all of it', sub {
			my $size = wal_on_disk();

			$most = $size if $size > $most;
			return sql($node, $db, "select pgq.wait_ingest('$end', '0.2 s')") eq 't';
		});
	});
	is(events($db), $rows, 'all changes are in the queue, once');
	$got{disk} = $most / $wal;
	$pgqd->stop;
	sql($node, $db, 'select pgq.stop_capture()');
	sql($node, 'postgres', "drop database $db");
	sql($node, 'postgres', 'checkpoint');
	return \%got;
}

sub column
{
	my ($key, $list) = @_;
	return [ map { $_->{$key} } @$list ];
}

sub bench
{
	# WAL is removed as soon as it may be
	$node = new_ours('large', conf => "min_wal_size = 80MB\nmax_wal_size = 512MB\n");
	my %v = alternate(
		usual => sub { caught_up(fill_orders($rows)) },
		killed => sub { caught_up(fill_orders($rows), 1) },
		one => sub { caught_up(orders_row($rows)) });

	report("a backlog of $rows changes, pgqd killed amid / not killed", '<= 1.15', 's',
		column('seconds', $v{killed}), column('seconds', $v{usual}));
	report("one transaction of $rows rows / the same in transactions of 100", '<= 1.0', 's',
		column('seconds', $v{one}), column('seconds', $v{usual}));
	value('WAL on disk at most meanwhile, as a multiple of the backlog', '<= 2.0', '',
		@{ column('disk', $v{usual}) });
	return;
}

1;
