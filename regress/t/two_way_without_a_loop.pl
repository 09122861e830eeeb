
# Two databases that capture the same table into queues and apply each other's
# events: with origin=none, and an origin in the session that applies, nothing
# comes back. The same holds for what a subscription applies.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main', conf => "max_replication_slots = 10\n");
my %other = (here => 'there', there => 'here');

foreach my $db (sort keys %other)
{
	new_database($node, $db);
	sql($node, $db, qq{
		create table t (id int primary key, v text);
		create table s (id int primary key, v text);
		select pgq.create_queue('q'), pgq.create_queue('all');
		select pgq.register_consumer('q', 'apply'), pgq.register_consumer('all', 'count');
		select pgq.capture_table('q', 't'::regclass, 'format=sql', 'origin=none');
		select pgq.capture_table('all', 't'::regclass, 'format=sql');
		select pgq.capture_table('all', 's'::regclass, 'origin=none');
		select pg_replication_origin_create('from_$other{$db}')});
}
my $pgqd = start_pgqd($node, database_list => 'here, there');

# apply(FROM): what came to the queue of one database is done in the other; how
# many events that were
sub apply
{
	my ($from) = @_;

	wait_ingest($node, $from);
	my $events = consume($node, $from, 'q', 'apply', q{
		case ev_type when 'I' then 'insert into t ' when 'U' then 'update t set '
			else 'delete from t where ' end || ev_data});
	return 0 if !@$events;
	sql($node, $other{$from}, join(";\n",
		"select pg_replication_origin_session_setup('from_$from')", 'begin', @$events, 'commit'));
	return scalar @$events;
}

sub table { return sql($node, $_[0], q{select string_agg(id || v, ' ' order by id) from t}); }

sql($node, 'here', q{insert into t values (1, 'a'), (2, 'b')});
sql($node, 'there', q{insert into t values (3, 'c')});
is(apply('here'), 2, 'changes made here go there');
is(apply('there'), 1, 'changes made there come here, not those that came from here');
sql($node, 'here', q{update t set v = 'x' where id = 3; delete from t where id = 1});
sql($node, 'there', q{update t set v = 'y' where id = 2});
is(apply('there'), 1, 'a change of a row that came from here');
is(apply('here'), 2, 'changes, one of a row that came from there');
is(apply($_), 0, "no more from $_") foreach 'here', 'there';
is(table('here'), '2y 3x', 'both are the same');
is(table('there'), '2y 3x', '... with all changes');
wait_ingest($node, 'here');
is(scalar @{ consume($node, 'here', 'all', 'count') }, 6, 'origin=any has the applied ones, too');

# logical replication sets an origin of its own
sql($node, 'here', q{
	create publication p for table s;
	select pg_create_logical_replication_slot('sub', 'pgoutput')});
sql($node, 'there', 'create subscription sub connection ' . "'"
	  . ($node->connstr('here') =~ s/'/''/gr)
	  . "' publication p with (create_slot = false, slot_name = 'sub', copy_data = false)");
consume($node, 'there', 'all', 'count');
sql($node, 'here', q{insert into s values (1, 'replicated')});
wait_for('replication', sub { sql($node, 'there', 'select count(*) from s') == 1 });
sql($node, 'there', q{insert into s values (2, 'own')});
wait_ingest($node, $_) foreach 'here', 'there';
is_deeply(consume($node, 'here', 'all', 'count', 'ev_data'), ['{"id":1,"v":"replicated"}'],
	'captured where it was made');
is_deeply(consume($node, 'there', 'all', 'count', 'ev_data'), ['{"id":2,"v":"own"}'],
	'not captured where a subscription applied it');
sql($node, 'there', 'alter subscription sub disable; alter subscription sub set (slot_name = none); drop subscription sub');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
