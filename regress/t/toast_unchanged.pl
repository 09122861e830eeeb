
# An unchanged TOASTed value is taken from the old row under REPLICA IDENTITY
# FULL; otherwise the column is left out of the event and named in ev_extra4.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $big = 'b' x 10000;

sql($node, $db, qq{
	create table doc (id int primary key, title text, body text);
	alter table doc alter column body set storage external;
	insert into doc values (1, 'one', '$big');
	select pgq.create_queue('json');
	select pgq.create_queue('sql');
	select pgq.create_queue('url');
	select pgq.register_consumer(q, 'c') from unnest('{json,sql,url}'::text[]) q;
	select pgq.capture_table('json', 'doc'::regclass);
	select pgq.capture_table('sql', 'doc'::regclass, 'format=sql');
	select pgq.capture_table('url', 'doc'::regclass, 'format=urlenc');
});
my $pgqd = start_pgqd($node);

# event(QUEUE): the only event that came, data and ev_extra4
sub event
{
	my ($queue) = @_;
	my $rows = consume_json($node, $db, $queue, 'c');

	is(scalar @$rows, 1, "one event in $queue");
	return ($rows->[0]{ev_data} // 'NULL', $rows->[0]{ev_extra4});
}

sql($node, $db, q{update doc set title = 'two'});
wait_ingest($node, $db);
is_deeply(
	[ event('json') ],
	[ '{"id":1,"title":"two"}', 'unchanged=body' ],
	'json leaves it out and says so');
is_deeply(
	[ event('sql') ],
	[ "id='1',title='two' where id='1'", 'unchanged=body' ],
	'sql leaves it out and says so');
is_deeply(
	[ event('url') ],
	[ 'id=1&title=two', 'unchanged=body' ],
	'urlenc leaves it out and says so');
like(
	sql($node, $db, q{select warnings from pgq.get_capture_info('json') i}),
	qr/body|toast/i,
	'get_capture_info warns of it');

sql($node, $db, q{update doc set body = 'c' || body});
wait_ingest($node, $db);
is_deeply([ event('json') ],
	[ qq({"id":1,"title":"two","body":"c$big"}), undef ],
	'a changed one is there');
event($_) foreach ('sql', 'url');

sql($node, $db, 'alter table doc replica identity full');
sql($node, $db, q{update doc set title = 'three'});
wait_ingest($node, $db);
is_deeply([ event('json') ],
	[ qq({"id":1,"title":"three","body":"c$big"}), undef ],
	'FULL has it');
is_deeply(
	[ event('sql') ],
	[ "title='three' where id='1'", undef ],
	'FULL lets sql name the changed column only');

done_testing();
