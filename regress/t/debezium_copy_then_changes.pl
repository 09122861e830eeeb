
# Who reads format=debezium sees a copy's rows as reads, with a place in the WAL that
# is before all changes that follow.

use strict;
use warnings;

use JSON::PP;
use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $json = JSON::PP->new->utf8(0);

sql($node, $db, q{
	create table t (id int primary key, v text);
	insert into t select g, 'old' from generate_series(1, 50) g;
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c')});
my $pgqd = start_pgqd($node, database_list => $db);
sql($node, $db, q{select pgq.capture_table('q', 't', 'copy', 'format=debezium')});
wait_for('the copy', sub {
	sql($node, $db, 'select state from pgq.get_copy_info()') =~ /^(?:done|)$/ });
sql($node, $db, q{update t set v = 'new' where id = 1; delete from t where id = 2});
wait_ingest($node, $db);
my @events = map { $json->decode($_) } @{ consume($node, $db, 'q', 'c', 'ev_data') };
my @reads = grep { $_->{op} eq 'r' } @events;
my @changes = grep { $_->{op} =~ /[ud]/ } @events;

is(join(' ', map { $_->{op} } @events), join(' ', ('t') x (@events - 52), ('r') x 50, 'u', 'd'),
	'reads, then changes');
is(join(' ', sort { $a <=> $b } map { $_->{after}{id} } @reads), join(' ', 1 .. 50), 'of all rows');
ok(!(grep { defined $_->{before} || defined $_->{source}{txId} || $_->{source}{snapshot} ne 'true' } @reads),
	'they are no changes');
ok(!(grep { $_->{source}{snapshot} ne 'false' || !$_->{source}{txId} } @changes), 'changes are');
is(scalar(grep { $_->{source}{lsn} > $changes[0]{source}{lsn} } @reads), 0, 'reads come before in the WAL');
is($pgqd->stop, 0, 'pgqd ends cleanly');
done_testing();
