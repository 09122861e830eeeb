# While a table is copied its writers go on, the progress can be seen, and the
# copy can be given up: by cancel_copy, which leaves the capture and publishes
# what was held, by uncapture_table, and by dropping the queue.

use strict;
use warnings;

use PgqCopy;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key, n int);
	insert into t select i, 0 from generate_series(1, 30000) i;
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
});
my $pgqd = start_pgqd($node);
my $slow = "when=length(repeat(md5(id::text), 4000)) > 0";

sub begin_copy
{
	sql($node, $db, "select pgq.capture_table('q', 't'::regclass, 'copy', '$slow')");
	wait_for('progress', sub {
		sql($node, $db, q{select share > 0 and copied_rows > 0 and total_rows > 1000
			from pgq.get_copy_info()}) eq 't';
	});
	return;
}

# A transaction that began before does not let the copy begin, and does not make
# others wait for long.
my $s = session($node, $db);
$s->query('begin; update t set n = 1 where id = 1');
sql($node, $db, "select pgq.capture_table('q', 't'::regclass, 'copy', '$slow')");
my $longest = 0;
for (my $end = time() + 2; time() < $end;)
{
	my $start = time();
	sql($node, $db, 'update t set n = n + 1 where id = 2');
	$longest = time() - $start if time() - $start > $longest;
}
cmp_ok($longest, '<', 10, "a writer waits for a moment ($longest s)");
is(copy_state($node, $db, 'public.t'), 'waiting', 'the copy waits for an older transaction');
$s->query('commit');
wait_for('progress', sub {
	sql($node, $db, q{select share > 0 from pgq.get_copy_info()}) eq 't';
});
my ($state, $warning) = split(/\|/, sql($node, $db, q{select state,
	(select w from unnest(warnings) w where w ~ 'copied') from pgq.get_capture_info()}));
is($state, 'copying', 'the capture says so');
like($warning, qr/^\d+% of it is copied, \d+ rows/, "and how far it is: $warning");

# cancelled: nothing is copied, nothing of what happened is missing
sql($node, $db, 'insert into t values (100001, 0)');
wait_ingest($node, $db);
is(scalar @{ consume($node, $db, 'q', 'c') }, 0, 'nothing is seen of it yet');
is(sql($node, $db, q{select pgq.cancel_copy('q', 't')}), '1', 'it is cancelled');
wait_copied($node, $db);
sql($node, $db, 'insert into t values (100002, 0)');
wait_ingest($node, $db);
is_deeply(consume($node, $db, 'q', 'c', 'ev_data'),
	[ '{"id":100001,"n":0}', '{"id":100002,"n":0}' ],
	'what was held came, then what followed');
is(sql($node, $db, 'select state from pgq.get_capture_info()'), 'ok', 'the capture goes on');

# a copy of what is captured, ended together with the capture
begin_copy();
sql($node, $db, 'insert into t values (100003, 0)');
is(sql($node, $db, q{select pgq.uncapture_table('q', 't')}), '1', 'capture and copy end');
sql($node, $db, 'insert into t values (100004, 0)');
wait_copied($node, $db);
wait_ingest($node, $db);
is_deeply(consume($node, $db, 'q', 'c', 'ev_data'), ['{"id":100003,"n":0}'],
	'what was captured is there');

# a new capture, ended together with its copy: as if it had never been
begin_copy();
sql($node, $db, 'insert into t values (100005, 0)');
is(sql($node, $db, q{select pgq.uncapture_table('q', 't')}), '1', 'a new capture ends');
wait_copied($node, $db);
wait_ingest($node, $db);
is(scalar @{ consume($node, $db, 'q', 'c') }, 0, 'nothing came of it');

# the queue is dropped, which waits for the copy to let go
begin_copy();
is(sql($node, $db, q{select pgq.drop_queue('q', true)}), '1', 'the queue is dropped');
is(sql($node, $db, q{select (select count(*) from pgq.copy) + (select count(*) from pgq.capture)}),
	'0', 'with its copy');
sql($node, $db, 'insert into t values (100006, 0)');
wait_ingest($node, $db);
wait_for('cleaning', sub {
	sql($node, $db, q{select count(*) from pg_stat_activity
		where application_name like 'pgqd/copy%'}) eq '0';
});
unlike($pgqd->text, qr/discarded [1-9]\d* events/, 'no event was without a queue');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
