
# However many tables are captured, DDL on others locks none of them: it works where
# the server has room for few locks.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main', conf => "max_locks_per_transaction = 20\nmax_connections = 12\n"
	  . "max_prepared_transactions = 0\nmax_wal_senders = 2\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{select pgq.create_queue('q')});
sql($node, $db, q{do $$ begin for i in 1..800 loop
	execute format('create table c%s (id int primary key)', i);
	perform pgq.capture_table('q', format('c%s', i)::regclass);
	commit; end loop; end $$});
sql($node, $db, q{
	create table plain (id int primary key, v int);
	create index plain_v on plain (v);
	create type kind as enum ('x');
	create table typed (id int primary key, k kind)});

my $session = session($node, $db);
is($session->sqlstate('begin; lock table c1, c2, c3; select 1'), '', 'somebody locks some of them');
foreach (
	'create table t (id int primary key)', 'alter table plain alter v type bigint',
	'drop index plain_v', 'alter table plain drop constraint plain_pkey', 'drop type kind cascade',
	'create temp table passing (id int primary key); drop table passing', 'drop table t')
{
	my ($rc, undef, $err) = $node->psql($db, "set lock_timeout = '5s'; set client_min_messages = error; $_");
	is("$rc $err", '0 ', $_);
}
is(sql($node, $db, 'begin; drop table plain; ' .
		q{select count(*) from pg_locks where pid = pg_backend_pid()
			and relation in (select cap_relid from pgq.capture)}),
	'0', 'no captured table is locked afterwards');

$node->stop('immediate');
done_testing();
