
# A relay moves each event of a queue into a queue of another database once and in
# order, or stands still and says why: whoever is killed, two relays at once, a
# database that went back.

use strict;
use warnings;

use PgqTest;
use PgqRelay;
use PgqShop;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

plan skip_all => 'pgqrelay was not built here'
  if system('pgqrelay --version >/dev/null 2>&1') != 0;

my $shop = PgqShop->new(q{'t' || i, case when i % 5 > 0 then 'n' || i end, '1', null, '3', '4'});
my ($node, $db) = @$shop{qw(node db)};
my $far = new_database($node, 'far', slot => 0);

sql($node, $far, 'create extension pgq_ext');
sql($node, $far, q{select pgq.create_queue('copy')});

my %keys = $shop->keys(
	target => 'postgresql:///far?host=' . ($node->host =~ s{/}{%2F}gr) . '&port=' . $node->port,
	to_queue => 'copy');

sub fields
{
	my ($in, $queue) = @_;

	return [
		split(
			/\n/,
			sql($node, $in, "select concat_ws('|', ev_time, ev_type, coalesce(ev_data, 'null'),
				ev_extra1, coalesce(ev_extra2, 'null'), ev_extra3, ev_extra4)
				from pgq.event_template where tableoid in (select evt_relid
					from pgq.event_table where evt_queue = '$queue') order by ev_id"))
	];
}

sub ledger
{
	my ($name) = @_;

	wait_for("$shop->{n} events", sub { @{ fields($far, 'copy') } >= $shop->{n} });
	return is_deeply(fields($far, 'copy'), fields($db, 'q'), $name);
}

my $relay = start_relay(r => \%keys);
$shop->insert(1000);
ledger('each event, with all its fields');

$shop->amid(6, 700, sub { $relay->crash });
ledger('the relay was killed');

$shop->amid(4, 500, sub {
	sql($node, $db, q{select pg_terminate_backend(pid) from pg_stat_activity
		where datname = 'far' and application_name = 'pgqrelay'});
});
ledger('its sessions were ended');

$shop->crash;
$shop->insert(100);
ledger('the server was killed');

my $second = start_relay(r => \%keys);
$shop->amid(5, 300, sub { sleep(0.1) });
ledger('two relays ran at once');
$second->stop;

# a table there that another has locked
$relay->stop;
$relay = start_relay(r => { %keys, stall_release => 1 });
{
	my $lock = session($node, $far);

	$lock->query('begin; lock table pgq.event_1');
	$shop->insert(1);
	$relay->wait_log(qr/engine away: canceling statement due to statement timeout/);
	pass('a target that gives no answer keeps no transaction open');
	$lock->close;
}
ledger('it went on');

# a queue that there is not
$relay->stop;
my $r = start_relay(r => { %keys, to_queue => 'none' });
$shop->insert(1);
$r->wait_log(qr/stands still|engine away: .*none/);
pass('a missing queue is told');
$r->stop;
$relay->start;
ledger('and nothing is lost by it');

database_goes_back($node, $db, $relay, sub { $shop->insert(10) },
	qr/the database is at batch (\d+), and the bookmark at 1 before batch \d+/);
ledger('with a new bookmark it goes on');

# the other database went back
$relay->stop;
sql($node, $far, q{update pgq_ext.completed_tick set last_tick_id = 1});
$shop->insert(1);
$relay->start;
$relay->wait_log(qr/stands still: the database has lost events: it is at batch 1 and was at \d+/);
pass('a database that went back is seen');
is($relay->stop, 0, 'it ends cleanly');

$shop->takes_little_memory(20000, %keys);

done_testing();
