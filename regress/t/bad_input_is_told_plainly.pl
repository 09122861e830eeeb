
# Bad input gets one clear message and an exit code, and loses nothing. Odd
# names are not bad input.

use strict;
use warnings;

use PgqTest;
use Test::More;
use PostgreSQL::Test::Utils;

my $node = new_server('main');
my $db = new_database($node, 'shop');
my $dir = PostgreSQL::Test::Utils::tempdir();

sql($node, $db, q{
	create table item (id int primary key, name text);
	create table heap (what text);
	create view v as select 1 as one;
	create unlogged table unlogged (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
});
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = $db;

# refused(WHAT, LIKE, COMMAND...): exit code 1, a message like this
sub refused
{
	my ($what, $like, @command) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run(\@command, '<', '/dev/null', '>', \$out, '2>', \$err);
	my $rc = $? >> 8;
	is($rc, 1, "$what: exit code");
	like("$out$err", $like, "$what: message");
	unlike("$out$err", qr/\n(?!hint|HINT|DETAIL|detail| ).+\n(?!hint|HINT| )./,
		"$what: one message");
	return;
}

sub ini
{
	my ($name, $text) = @_;
	append_to_file("$dir/$name", $text);
	return "$dir/$name";
}

refused('no command', qr/need command/, 'pgqadm', '-d', $db);
refused('unknown command', qr/unknown command/, 'pgqadm', '-d', $db, 'destroy');
refused('unknown queue', qr/queue.*nosuch|nosuch.*queue/i,
	'pgqadm', 'register', 'nosuch', 'c');
refused('unknown consumer', qr/nosuch/, 'pgqadm', 'consume', 'q', 'nosuch',
	'--once');
refused('unknown table', qr/nosuch/, 'pgqadm', 'capture', 'q', 'nosuch');
refused('unknown format', qr/xml/, 'pgqadm', 'capture', 'q', 'item',
	'format=xml');
refused('unknown argument', qr/colour/, 'pgqadm', 'capture', 'q', 'item',
	'colour=red');
refused('table without key', qr/key/, 'pgqadm', 'capture', 'q', 'heap');
refused('a view', qr/view|table/, 'pgqadm', 'capture', 'q', 'v');
refused('an unlogged table', qr/unlogged/, 'pgqadm', 'capture', 'q', 'unlogged');
refused('unknown database', qr/nosuch/, 'pgqadm', '-d', 'nosuch', 'status');
refused('no server', qr/.../, 'pgqadm', '-d', "host=$dir port=1", 'status');
refused('pgqadm, no ini file', qr/nosuch\.ini/, 'pgqadm', "$dir/nosuch.ini",
	'status');

refused('pgqd without a file', qr/pgqd requires config file/, 'pgqd');
refused('pgqd, no ini file', qr/nosuch\.ini/, 'pgqd', "$dir/nosuch.ini");
refused('pgqd, unknown key', qr/unknown\.ini.*2.*colour|unknown\.ini.*colour/,
	'pgqd', ini('unknown.ini', "[pgqd]\ncolour = red\n"));
refused('pgqd, bad number', qr/ticker_period/,
	'pgqd', ini('number.ini', "[pgqd]\nticker_period = soon\n"));
refused('pgqd, endless period', qr/ticker_period.*seconds/,
	'pgqd', ini('endless.ini', "[pgqd]\nticker_period = 1e300\n"));
refused('pgqd, size past all bounds', qr/ingest_memory.*size/,
	'pgqd', ini('size.ini', "[pgqd]\ningest_memory = 99999999999999GB\n"));
refused('pgqd, size that the server refuses', qr/ingest_max_bytes.*512MB/,
	'pgqd', ini('toobig.ini',
		"[pgqd]\ningest_max_bytes = 2GB\ningest_memory = 4GB\n"));
refused('pgqd, old ini without database', qr/db.*dbname/,
	'pgqd', ini('nodb.ini', "[pgqadm]\ndb = dbname=''\n"));
refused('pgqd -s without pidfile', qr/No pidfile configured/,
	'pgqd', '-s', ini('nopid.ini', "[pgqd]\nsyslog = 0\n"));

my $pgqd = start_pgqd($node);
sql($node, $db, q{select pgq.capture_table('q', 'item'::regclass)});
sql($node, $db, q{insert into item values (1, 'pen')});
wait_ingest($node, $db);
refused('a second pgqd with this pidfile', qr/pid/, 'pgqd', $pgqd->{ini});
ok($pgqd->alive, 'the first one lives on');
$pgqd->stop;

# Nothing of all this has done harm.
is_deeply(consume($node, $db, 'q', 'c', 'ev_data'),
	['{"id":1,"name":"pen"}'], 'events come as before');

# Names with everything in them.
$pgqd->start;
my $odd = q{it's a "queue". \\ %s } . 'ä' x 150;
foreach my $command (
	[ 'create', $odd ],
	[ 'register', $odd, q{con'sumer "x".y} ],
	[ 'capture', $odd, 'item', 'format=sql' ])
{
	command_ok([ 'pgqadm', @$command ], "odd names: $command->[0]");
}
sql($node, $db, q{insert into item values (2, 'ink')});
wait_ingest($node, $db);
my ($out, $err) = run_command(
	[ 'pgqadm', 'consume', $odd, q{con'sumer "x".y}, '--count', 1,
		'--timeout', 20 ]);
like($out, qr/values \('2','ink'\)/, 'odd names: consume');
command_ok([ 'pgqadm', 'uncapture', $odd, 'item' ], 'odd names: uncapture');
command_ok([ 'pgqadm', 'unregister', $odd, q{con'sumer "x".y} ],
	'odd names: unregister');
command_ok([ 'pgqadm', 'drop', $odd ], 'odd names: drop');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
