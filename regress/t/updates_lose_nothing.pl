
# From each version of PgQ 4 that is out: ALTER EXTENSION UPDATE leaves the catalogue
# that a new installation has, and every row as it was, while pgqd runs and a table
# is written to. Before it today's library and programs work with that version's
# catalogue, since the packages come first.

use strict;
use warnings;

use PgqCatalogue;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $newest = pgq_version();
my $node = new_server('main');

# other extensions' versions are the same as pgq's
chomp(my $sharedir = `pg_config --sharedir`);
my @frozen = map { /pgq--(\d+\.\d+)\.sql$/ && $1 ne $newest ? $1 : () }
  glob("$sharedir/extension/pgq--4.*.sql");
cmp_ok(scalar @frozen, '>', 0, 'there are versions to be updated');

my @extensions = qw(pgq pgq_coop pgq_ext);
my @schemas = ('pgq', 'pgq_ext');
my %fresh;
sql($node, 'postgres', 'create database fresh');
foreach (@extensions)
{
	sql($node, 'fresh', "create extension $_");
	$fresh{$_} = [ catalogue_of($node, 'fresh', $_) ];
	cmp_ok(scalar @{ $fresh{$_} }, '>', 10, "a new $_, for comparison");
}

sub versions_of
{
	my ($db) = @_;

	return sql($node, $db, q{select string_agg(extname || ' ' || extversion, ', '
		order by extname) from pg_extension where extname like 'pgq%'});
}

my $pgqd;
foreach my $version (@frozen)
{
	my $db = "from_$version";

	sql($node, 'postgres', "create database \"$db\"");
	sql($node, $db, "create extension $_ version '$version'") foreach @extensions;
	is(versions_of($db), join(', ', map { "$_ $version" } @extensions),
		"$version is installed");
	sql($node, $db, q{
		create table item (id int primary key, name text);
		insert into item values (0, 'copied');
		select pgq.create_queue('q'), pgq.create_queue('other');
		select pgq.register_consumer('q', 'c1'), pgq.register_consumer('q', 'c2');
		select pgq_coop.register_subconsumer('q', 'team', 'one');
		select pgq.start_capture();
		select pgq.capture_table('q', 'item'::regclass, 'copy', 'when=id < 100');
		select pgq.capture_transactions('other', true);
		select pgq.set_queue_config('q', 'max_retries', '1');
		create view mine as select * from pgq.get_queue_info();
	});

	# with the packages of today, before the update
	$pgqd = start_pgqd($node, database_list => $db, check_period => 1);
	$pgqd->wait_log(qr/\[\Q$db\E\]: pgq version ok: \Q$version\E/);
	wait_for('the copy',
		sub { sql($node, $db, 'select copy_state from pgq.copy') eq 'done' });
	sql($node, $db, q{insert into item values (1, 'before'), (100, 'never')});
	sql($node, $db, q{select pgq.emit_event('other', 't', 'emitted')});
	wait_ingest($node, $db);
	is_deeply(
		consume($node, $db, 'q', 'c2', q{ev_data::json->>'name'}),
		[ 'copied', 'before' ],
		'captured, copied, read');
	is(sql($node, $db, q{
		select pgq.insert_event_at('q', now() + '1 day', 't', 'delayed') is not null;
		select pgq.insert_event('q', 't', 'open') is not null;
		select pgq.force_tick('q') is not null}),
		"t\nt\nt", 'events come in');
	# ticked by pgqd
	my $batch = wait_for('a batch', sub { sql($node, $db,
		q{select batch_id from pgq.next_batch_custom('q', 'c1', null, 2, null)}) });
	my @ids = split(/\n/,
		sql($node, $db, "select ev_id from pgq.get_batch_events($batch)"));
	cmp_ok(scalar @ids, '>=', 2, 'a batch is open');
	sql($node, $db, "select pgq.event_retry($batch, $ids[0], 86400),
		pgq.event_dead($batch, $ids[1], 'no good')");
	sql($node, $db, q{select pgq_ext.set_batch_done('far', 5)});
	like(scalar `pgqadm -d '@{[$node->connstr($db)]}' status`,
		qr/PgQ version: \Q$version\E$/m, 'pgqadm tells the version');

	# nothing of pgqd's own in between
	$pgqd->signal('STOP');
	my $columns = columns_of($node, $db, @schemas);
	my @rows = rows_of($node, $db, $columns);
	cmp_ok(scalar @rows, '>', 20, 'there are rows');
	my @filled = grep { my $t = $_; grep { /^\Q$t\E: / } @rows } keys %$columns;
	foreach my $table (map { "pgq.$_" } qw(queue tick subscription retry_queue dead_event
		delayed_event capture copy capture_transaction slot "position" secret event_table))
	{
		ok((grep { $_ eq $table } @filled), "of $table, too");
	}
	sql($node, $db, "alter extension $_ update") foreach @extensions;
	is(versions_of($db), join(', ', map { "$_ $newest" } @extensions), 'updated');
	is(differences_of(\@rows, [ rows_of($node, $db, $columns) ]), '', 'each row is kept');
	foreach (@extensions)
	{
		is(differences_of($fresh{$_}, [ catalogue_of($node, $db, $_) ]),
			'', "$_ is as if installed anew");
	}
	cmp_ok(sql($node, $db, 'select count(*) from mine'), '==', 2, 'views stay');

	sql($node, $db, q{insert into item values (2, 'after')});
	$pgqd->signal('CONT');
	$pgqd->wait_log(qr/\[\Q$db\E\]: pgq version ok: \Q$newest\E/);
	wait_ingest($node, $db);
	is(sql($node, $db, "select pgq.finish_batch($batch)"), '1',
		'the open batch is finished');
	is_deeply(consume($node, $db, 'q', 'c2', 'ev_data'),
		[ 'open', '{"id":2,"name":"after"}' ], 'what was captured since is read');
	is($pgqd->stop, 0, 'pgqd ends cleanly');
	sql($node, $db, 'select pgq.stop_capture()');
}

done_testing();
