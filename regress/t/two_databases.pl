
# One pgqd serves all databases of a cluster: each gets its own events, one
# without PgQ is left alone, a dead one does not disturb the others, and one
# made later is found.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');

sub prepare
{
	my ($db) = @_;

	new_database($node, $db);
	sql($node, $db, q{
		create table t (id int primary key);
		select pgq.create_queue('q');
		select pgq.register_consumer('q', 'c');
		select pgq.capture_table('q', 't'::regclass, 'format=sql');
	});
	return;
}

prepare('one');
prepare("it's two");
sql($node, 'postgres', 'create database plain');
my $pgqd = start_pgqd($node);

sql($node, 'one', 'insert into t values (1)');
sql($node, "it's two", 'insert into t values (2)');
wait_ingest($node, $_) foreach ('one', "it's two");
is_deeply(
	consume($node, 'one', 'q', 'c'),
	["I|(id) values ('1')|public.t"],
	'the first has its own event');
is_deeply(
	consume($node, "it's two", 'q', 'c'),
	["I|(id) values ('2')|public.t"],
	'the second too');

sql($node, 'postgres', q{
	alter database one allow_connections false;
	select pg_terminate_backend(pid) from pg_stat_activity where datname = 'one';
});
prepare('three');
sql($node, 'three', 'insert into t values (3)');
sql($node, "it's two", 'insert into t values (4)');
wait_ingest($node, $_) foreach ('three', "it's two");
is_deeply(
	consume($node, 'three', 'q', 'c'),
	["I|(id) values ('3')|public.t"],
	'a new database is served');
is_deeply(
	consume($node, "it's two", 'q', 'c'),
	["I|(id) values ('4')|public.t"],
	'a dead one does not disturb the others');

sql($node, 'postgres', 'alter database one allow_connections true');
sql($node, 'one', 'insert into t values (5)');
wait_ingest($node, 'one');
is_deeply(
	consume($node, 'one', 'q', 'c'),
	["I|(id) values ('5')|public.t"],
	'it is served again when it is back');
unlike($pgqd->text, qr/\[plain\].*ok/, 'no word of the one without PgQ');

done_testing();
