
# Rows that can't become the event they should be are told, and the stream goes
# on: expressions that fail again and again, values whose text is over 1 GB; and
# no function that an expression may call ends the server.
#
# Environment: PGQ_LARGE_KEYS=1 for such values in the key, too (20 s more).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'odd');

sql($node, $db, q{
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	create table div (id int primary key, n int);
	select pgq.capture_table('q', 'div', 'ev_extra2=1/n');
	create table calc (id int primary key, t time, i interval, n numeric, v text);
	select pgq.capture_table('q', 'calc', 'ev_extra2=round(n)::text||lpad(v, 3)',
		'ev_extra3=lpad(''x'', 3)', 'ev_extra4="overlaps"(t, i, t, i)',
		'when=n < log(1000)');
	create table big (id int primary key, a numeric[]);
	select pgq.capture_table('q', 'big')});
sql($node, $db, q{
	create table key (a numeric[]);
	alter table key replica identity full;
	select pgq.capture_table('q', 'key', 'pkey=a')}) if $ENV{PGQ_LARGE_KEYS};

my ($rc, $out, $err) = $node->psql($db, q{select pgq.capture_table('q', 'calc',
	'ev_extra2="overlaps"(t} . '+i' x 12 . q{, i, t, i)')});
like($err, qr/ERROR:  capture argument .* is not supported\n.*written in SQL/,
	'a function in SQL that the planner keeps is refused');

# several transactions in one ingest
sql($node, $db, "insert into div values ($_, 0)") foreach 1 .. 3;
sql($node, $db, q{insert into calc values (1, '10:00', '1 s', 2.5, 'v'), (2, '10:00', '1 s', 3.5, 'v')});
# 9,000 times 131,001 digits
sql($node, $db, q{insert into big select 1, array_fill(1e131000::numeric, array[9000])});
sql($node, $db, 'insert into key select a from big') if $ENV{PGQ_LARGE_KEYS};
sql($node, $db, q{insert into div values (4, 0)});

start_pgqd($node);
wait_ingest($node, $db);
sql($node, $db, q{insert into div values (5, 0)});
wait_ingest($node, $db);
is(join("\n", @{ consume($node, $db, 'q', 'c', q{concat_ws('|', ev_extra1, ev_data, ev_extra2, ev_extra3, ev_extra4)}) }),
	join("\n",
		map({ qq(public.div|{"id":$_,"n":0}) } 1 .. 3),
		'public.calc|{"id":1,"t":"10:00:00","i":"00:00:01","n":"2.5","v":"v"}|3  v|  x|t',
		'public.big|{"id":1}|too large',
		$ENV{PGQ_LARGE_KEYS} ? 'public.key|{}|too large' : (),
		map({ qq(public.div|{"id":$_,"n":0}) } 4, 5)),
	'all rows have their event, though not all of it');
is(sql($node, $db, q{select ctr_table, ctr_kind, ctr_count from pgq.capture_trouble order by 1 limit 2}),
	"public.big|L|1\npublic.div|F|5", 'what they lack is counted');
unlike(slurp($node->logfile), qr/terminated by signal|PANIC/, 'the server never crashed');

$node->stop;
done_testing();
