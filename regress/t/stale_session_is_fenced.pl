
# A session that ingests from a position that has moved on is refused, however
# late it comes: nothing is doubled, nothing is lost.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table t (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'::regclass);
});
sql($node, $db, 'insert into t values (1), (2)');

my $ingest = ingest_by_hand($node, $db);
my ($old, $new) = (session($node, $db), session($node, $db));

# The old session has not committed when the new one starts from the same
# position: the new one waits, and is refused once the old one is through.
$old->query('begin');
is($old->query($ingest), '2', 'the old session ingests');
$new->send($ingest);
sleep(1);
ok($new->busy, 'the new one waits for it');
$old->query('commit');
$new->answer;
like($new->{err}, qr/40001: position of slot .* is .*, not/,
	'the new one is refused');

# An old session that wakes up after all was taken over.
is($old->sqlstate($ingest), '40001', 'a late one is refused');

# One that was rolled back moved nothing.
sql($node, $db, 'insert into t values (3)');
$ingest = ingest_by_hand($node, $db);
$ingest =~ /'([0-9A-F]+\/[0-9A-F]+)', '([0-9A-F]+\/[0-9A-F]+)'/;
my ($from, $to) = ($1, $2);
$old->query('begin');
$old->query($ingest);
$old->query('rollback');
is( sql($node, $db,
		'select max(pos_lsn) from pgq.position'), $from,
	'the position of a rolled-back ingest is gone with it');
is($new->query($ingest), '1', 'so the next one may ingest it');
is(sql($node, $db, 'select max(pos_lsn) from pgq.position'),
	$to, 'and moves the position');

is_deeply(
	consume($node, $db, 'q', 'c', q{ev_data::json->>'id'}),
	[ 1, 2, 3 ],
	'every row came once');

# Our own writes are not decoded again.
is(sql($node, $db,
	q{select count(*) from pg_logical_slot_peek_changes(
		(select slot_name from pgq.slot), null, null)
	  where data like '%event_%'}),
	'0', 'the ingest is not in the stream');

done_testing();
