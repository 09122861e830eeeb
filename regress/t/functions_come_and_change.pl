# pgqd prepares what it calls all the time.  It goes on when a function comes
# later than pgqd, and when one changes what it returns, in the same session.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);

sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	alter function pgq.tick_due() rename to old_tick_due;
});
my $pgqd = start_pgqd($node, database_list => $db, ticker_period => 0.1);
$pgqd->wait_log(qr/\[shop\]: ticker failed: .*pgq\.tick_due\(\) does not exist/);
my $session = q{select pid from pg_stat_activity where application_name = 'pgqd/tick'};
my $pid = sql($node, $db, $session);

# A tick for this event, by pgqd.
sub is_ticked
{
	my ($when) = @_;
	my $last = 'select max(tick_id) from pgq.tick';
	my $before = sql($node, $db, $last);

	sql($node, $db, "select pgq.insert_event('q', 'x', 'y')");
	wait_for("tick $when", sub { sql($node, $db, $last) > $before });
	pass("ticks $when");
	is(sql($node, $db, $session), $pid, 'in the same session');
	return;
}

sql($node, $db, q{
	create function pgq.tick_due() returns table (queue_name text, tick_id bigint,
		channel text) language sql as 'select * from pgq.old_tick_due()'});
is_ticked('when the function has come');

sql($node, $db, q{
	begin;
	drop function pgq.tick_due();
	create function pgq.tick_due() returns table (queue_name varchar, tick_id bigint,
		channel text) language sql as 'select * from pgq.old_tick_due()';
	commit});
is_ticked('when it returns another type');
like($pgqd->text, qr/cached plan must not change result type/,
	'which the server has refused once');

done_testing();
