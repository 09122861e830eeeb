
# PgQ 3.5 becomes PgQ 4 while producers write, by call and by trigger, pgqd
# ticks, rotates and retries, and consumers read: no event is lost or doubled.

use strict;
use warnings;

use PgqDebian;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $prefix = pgq35_tree();
my $v35 = pgq35_version($prefix);
my $node = new_server('load', install_path => $prefix);
my $db = 'load';

sql($node, 'postgres', "create database $db");
sql($node, $db, q{
	create extension pgq;
	create table ledger (id serial primary key);
	create table item (id int primary key);
	select pgq.create_queue('q');
	create trigger to_q after insert on item
		for each row execute function pgq.logutriga('q');
	select pgq.register_consumer('q', 'busy'), pgq.register_consumer('q', 'slow');
	update pgq.queue set queue_rotation_period = '1 second',
		queue_ticker_max_lag = '0.2 second'});

# One transaction in ten is rolled back.
my $producer = q{
\set n random(1, 10)
begin;
insert into ledger values (default) returning id \gset
select pgq.insert_event('q', 'call', :id::text);
insert into item values (:id);
\if :n = 1
rollback;
\else
commit;
\endif
};

# Events read by a consumer: how often each came, first and again.
my %seen = (busy => {}, slow => {});
my %retried = (busy => {}, slow => {});
my %again = (busy => {}, slow => {});
my %session = map { $_ => session($node, $db) } qw(busy slow);

# name(EV_DATA): how the event of a row is called here
sub name
{
	return $_[0] =~ s/^id=/trigger /r =~ s/^(?=\d)/call /r;
}

sub note_events
{
	my ($who, $rows) = @_;

	foreach my $row (split(/\n/, $rows))
	{
		my ($data, $retry) = split(/\|/, $row);

		($retry ? $again{$who} : $seen{$who})->{ name($data) }++;
	}
	return;
}

# Reads all batches there are; one event in fifty is to come again.
sub read_batches
{
	my ($who, $retry) = @_;
	my $s = $session{$who};

	while ((my $batch = $s->query("select pgq.next_batch('q', '$who')")) ne '')
	{
		my $rows = $s->query(
			"select ev_data, ev_retry from pgq.get_batch_events($batch)");
		note_events($who, $rows);
		if ($retry)
		{
			my $tagged = $s->query(
				"select ev_data from pgq.get_batch_events($batch)"
				  . " where ev_retry is null and ev_id % 50 = 0"
				  . " and pgq.event_retry($batch, ev_id, 0) = 1");
			$retried{$who}{ name($_) }++ foreach split(/\n/, $tagged);
		}
		$s->query("select pgq.finish_batch($batch)");
	}
	return;
}

sub read_for
{
	my ($seconds) = @_;
	my $end = time() + $seconds;

	while (time() < $end)
	{
		read_batches('busy', 1);
		read_batches('slow', 0);
		sleep(0.1);
	}
	return;
}

my $pgqd = start_pgqd(
	$node,
	database_list => $db,
	ticker_period => 0.1,
	maint_period => 0.5,
	retry_period => 0.5);
my $load = load_start($node, $db, $producer, '-c', 2, '-T', 15, '-R', 400);
my $rotation = 'select queue_switch_step1 from pgq.queue';
my $first = sql($node, $db, $rotation);

read_for(4);
isnt(my $second = sql($node, $db, $rotation), $first, 'tables are rotated');
cmp_ok(scalar keys %{ $seen{busy} }, '>', 100, 'PgQ 3.5 delivers');

# A batch stays open, some of its events are to be retried.
my $slow = $session{slow};
my $batch = wait_for(
	'a batch',
	sub { $slow->query("select pgq.next_batch('q', 'slow')") });
my $get = "select ev_data, ev_retry from pgq.get_batch_events($batch) order by ev_id";
my $open = $slow->query($get);
$retried{slow}{ name($_) }++
  foreach split(
	/\n/,
	$slow->query(
		"select ev_data from (select * from pgq.get_batch_events($batch)"
		  . " where ev_retry is null limit 2) e"
		  . " where pgq.event_retry($batch, ev_id, 0) = 1"));

# First come the files: until the update, old functions call the new library.
add_pgq4($prefix);
sql($node, $db, q{
	with new as (insert into ledger values (default) returning id),
	called as (select pgq.insert_event('q', 'call', id::text), id from new)
	insert into item select id from called});
is(sql($node, $db, 'select pgq.version()'), $v35,
	'new sessions load our libraries in a database of PgQ 3.5');
read_batches('busy', 1);

# A transaction that has written before the update commits after it began.
my $straddling = session($node, $db);
my $admin = session($node, $db);
$straddling->query('begin');
$straddling->query(q{insert into ledger values (default)});
$straddling->query(q{select pgq.insert_event('q', 'call', max(id)::text) from ledger
	where xmin = pg_current_xact_id()::xid});
$straddling->query(
	q{insert into item select id from ledger where xmin = pg_current_xact_id()::xid});
$admin->send('alter extension pgq update');
sleep(0.5);
$straddling->query('commit');
$admin->answer;
is($admin->{err}, '', 'and succeeds while all goes on');
is(sql($node, $db, 'select pgq.version()'), pgq_version(), 'to the newest');

is($slow->query($get), $open, 'an open batch holds the same events');
note_events('slow', $open);
is($slow->query("select pgq.finish_batch($batch)"), '1', 'and can be finished');
$straddling->query(q{begin; insert into ledger values (default)});
$straddling->query(q{select pgq.insert_event('q', 'call', max(id)::text) from ledger
	where xmin = pg_current_xact_id()::xid});
$straddling->query(
	q{insert into item select id from ledger where xmin = pg_current_xact_id()::xid});
$straddling->query('commit');

my $third = sql($node, $db, $rotation);
read_for(4);
load_stop($load);
pass('no producer failed');
isnt(sql($node, $db, $rotation), $third, 'tables are rotated again');
$pgqd->wait_log(qr/\[load\]: pgq version ok: \Q@{[pgq_version()]}\E/);

# What waits still to be retried comes first.
wait_for('retries',
	sub { sql($node, $db, 'select count(*) from pgq.retry_queue') eq '0' });
sql($node, $db, q{select pgq.force_tick('q'); select pgq.ticker('q')});
sql($node, $db, q{select pgq.force_tick('q'); select pgq.ticker('q')});
read_batches('busy', 0);
read_batches('slow', 0);
is($pgqd->stop, 0, 'pgqd ends cleanly');

my %ledger = map { ("call $_" => 1, "trigger $_" => 1) }
  split(/\n/, sql($node, $db, 'select id from ledger'));
cmp_ok(scalar keys %ledger, '>', 1000, 'enough was written');
foreach my $who (qw(busy slow))
{
	my @lost = grep { !$seen{$who}{$_} } keys %ledger;
	my @doubled = grep { $seen{$who}{$_} > 1 } keys %{ $seen{$who} };
	my @forged = grep { !$ledger{$_} } keys %{ $seen{$who} };

	is("@lost | @doubled | @forged", ' |  | ',
		"$who: every committed event once, nothing else");
	is_deeply($again{$who}, $retried{$who}, "$who: retried ones once again");
	cmp_ok(scalar keys %{ $again{$who} }, '>', 1, 'of which there are some');
}

done_testing();
