# Generated columns: stored ones are as others; virtual ones (PostgreSQL 18) have no
# value in the WAL, so what needs one is refused, and events are without it.

use strict;
use warnings;

use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my @kinds = ('stored');

push @kinds, 'virtual'
  if sql($node, $db, 'show server_version_num') >= 180000;

# what capture_table says of arguments: 1, or the error with detail and hint
sub capture
{
	my ($table, @args) = @_;
	my $list = join('', map { ", \$a\$$_\$a\$" } @args);
	my ($rc, $out, $err) = $node->psql($db,
		"select pgq.capture_table('q', '$table'$list)");

	return $rc == 0 ? $out : $err;
}

sql($node, $db, "select pgq.create_queue('q')");
foreach my $kind (@kinds)
{
	sql($node, $db, "create table $kind (id int primary key, a int,
		g int generated always as (a * 2) $kind);
		alter table $kind replica identity full");
}

is(capture('stored', 'columns=id,g', 'when=g > 0', 'ev_extra2=g'), 1,
	'a stored column can be used');
is(capture('stored', 'pkey=g', 'ev_extra2=g'), 0, '... as a key, too');

if (@kinds > 1)
{
	my $refused = qr/the WAL has no value of it.*HINT:.*STORED/s;

	like(capture('virtual', 'when=g > 0'), $refused, 'no condition over it');
	like(capture('virtual', 'ev_extra2=a + g'), $refused, 'no expression');
	like(capture('virtual', 'pkey=g'), $refused, 'no key');
	like(capture('virtual', 'columns=id,g'), $refused,
		'not among the columns that are wanted');
	is(capture('virtual', 'ignore=g'), 1, 'it can be ignored');
	is(capture('virtual', 'ev_extra2=a * 2'), 0, 'what it stands for');
	like(sql($node, $db, "select warnings from pgq.get_capture_info()
		where table_name = 'public.virtual'"),
		qr/Virtual generated columns are not in the events \(g\)/,
		'the lack is told');
}

sql($node, $db, "insert into $_ values (1, 21)") foreach @kinds;
my @events = map { [ split(/\|/, $_) ] } split(/\n/, sql($node, $db, q{
	select data::json->>'ev_data', data::json->>'ev_extra2'
	from pg_logical_slot_get_changes('pgq_shop', null, null)}));
is_deeply($events[0], [ '{"id":1,"a":21,"g":42}', '42' ], 'stored: in the event');
is_deeply($events[1], [ '{"id":1,"a":21}', '42' ], 'virtual: not')
  if @kinds > 1;

done_testing();
