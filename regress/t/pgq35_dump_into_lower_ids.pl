
# A dump of PgQ 3.5 restored beside lower transaction ids: 3.5 itself stands
# still there; 4.0, which the restore installs, goes on with every event once.

use strict;
use warnings;

use PgqDebian;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $prefix = pgq35_tree();
my $old = new_server('old', install_path => $prefix);
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';

sql($old, 'postgres', 'create database db');
my $s = session($old, 'db');
$s->query($_)
  foreach 'create extension pgq', "select pgq.create_queue('q')",
  'do $$ begin for i in 1 .. 3000 loop perform txid_current(); commit; end loop; end $$',
  "select pgq.register_consumer('q', 'c')";
foreach my $n (1 .. 3)
{
	$s->query($_)
	  foreach "select pgq.insert_event('q', 't', 'event $n')",
	  "select pgq.force_tick('q')", "select pgq.ticker('q')";
}
$s->query("select pgq.finish_batch(pgq.next_batch('q', 'c'))");
$s->query("select pgq.next_batch('q', 'c')");
$s->query("select pgq.insert_event('q', 't', 'event 4')");
$s->close;
$old->command_ok([ 'pg_dump', '-f', $dump, $old->connstr('db') ], 'dump');

foreach my $at (qw(3.5 4.0))
{
	my $new = new_server("new_$at" =~ s/\.//r, $at eq '3.5' ? (install_path => $prefix) : ());

	sql($new, 'postgres', 'create database db');
	$new->command_ok(
		[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $new->connstr('db'), '-f', $dump ],
		"restored, where $at is installed");
	sql($new, 'db', "select pgq.insert_event('q', 't', 'new')");
	if ($at eq '3.5')
	{
		my (undef, undef, $err) = $new->psql('db', 'select pgq.ticker()');
		like($err, qr/Invalid PgQ state/, '3.5 does not tick');
		next;
	}
	like(sql($new, 'db', 'select pgq.version(), pgq.upgrade_schema()'), qr/^4/, 'it is 4.0');
	is(sql($new, 'db', "select pgq.ticker('q')"), '', 'the first run gives it new ids');
	is_deeply(consume($new, 'db', 'q', 'c', 'ev_data'),
		[ 'event 2', 'event 3', 'event 4', 'new' ],
		'4.0 delivers what had not been finished, and what is new');
	sql($new, 'db', "select pgq.insert_event('q', 't', 'last')");
	is_deeply(consume($new, 'db', 'q', 'c', 'ev_data'), ['last'], 'and goes on');
}

done_testing();
