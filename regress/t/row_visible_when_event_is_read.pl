
# The WAL shows a commit before other sessions see it. A consumer that reads an
# event must find its row all the same.

use strict;
use warnings;

use PgqTest;
use Test::More;

# A commit that waits for a standby is in the WAL, but not yet visible.
my $node = new_server('main', conf => "synchronous_commit = local\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass);
});
my $pgqd = start_pgqd($node);
my $reader = session($node, $db);

# read_events(): reads what batches there are; the events' ids, and in the
# second list those whose row can't be seen.
sub read_events
{
	my (@seen, @unseen);

	while ((my $batch = $reader->query(q{select pgq.next_batch('q', 'c')})) ne '')
	{
		my $ids = $reader->query(
			"select ev_data::json->>'id' from pgq.get_batch_events($batch)");

		foreach my $id (split /\n/, $ids)
		{
			push @seen, $id;
			push @unseen, $id
			  if $reader->query("select 1 from t where id = $id") eq '';
		}
		$reader->query("select pgq.finish_batch($batch)");
	}
	return (\@seen, \@unseen);
}

sql($node, $db, 'insert into t values (1)');
wait_ingest($node, $db);

commits_wait_for_nobody($node);
my $writer = session($node, $db);
$writer->query('set synchronous_commit = on');
$writer->send('insert into t values (2)');
wait_for(
	'the commit to wait',
	sub {
		sql($node, $db, q{select count(*) from pg_stat_activity
			where wait_event = 'SyncRep' and query like 'insert into t %'})
		  eq '1';
	});

my @early;
for (my $i = 0; $i < 80; $i++)
{
	my ($seen, $unseen) = read_events();
	push @early, @$unseen;
	Time::HiRes::sleep(0.1);
}
is_deeply(\@early, [], 'no event without its row while the commit waits');
ok($writer->busy, 'the commit has waited all the time');
$pgqd->wait_log(qr/ingest waits until .* a synchronous standby away/);
pass('pgqd says what it waits for');

# Whatever ends the wait ends what comes behind it. A wait that was ended is there
# again, or what it was for has come too early.
sub waits_since
{
	my ($since) = @_;

	return sql($node, $db, qq{select count(*) from pg_stat_activity
		where application_name = 'pgqd/ingest' and state = 'active'
		and query like '%pgq.tick(%' and query_start > '$since'}) eq '1';
}

foreach my $end (qw(pg_cancel_backend pg_terminate_backend))
{
	my $since = sql($node, $db, 'select clock_timestamp()');

	sql($node, $db, "select $end(pid) from pg_stat_activity
		where application_name like 'pgqd/%'
		and application_name <> 'pgqd/stream'");
	wait_for("a wait after $end",
		sub {
			my ($seen, $unseen) = read_events();
			push @early, @$unseen;
			return @early > 0 || waits_since($since);
		});
	is_deeply(\@early, [], "no event without its row after $end");
}

sql($node, $db, 'alter system reset synchronous_standby_names');
$node->reload;
$writer->answer;
my @late;
wait_for(
	'the event',
	sub {
		my ($seen, $unseen) = read_events();
		push @late, @$seen;
		push @early, @$unseen;
		return @late > 0;
	});
is_deeply(\@late, ['2'], 'the event comes when the row is there');

# The same without a standby: many commits, a reader close behind.
sql($node, $db, q{create sequence s start 10});
my $load = load_start($node, $db,
	"insert into t values (nextval('s'));\n", '-c', 4, '-j', 1, '-T', 5);
my $count = 0;
my $end = time() + 6;
while (time() < $end)
{
	my ($seen, $unseen) = read_events();
	$count += @$seen;
	push @early, @$unseen;
}
load_stop($load);
cmp_ok($count, '>', 100, 'the reader kept up with a load');
is_deeply(\@early, [], 'every event had its row');

done_testing();
