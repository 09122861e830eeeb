
# pgqadm migrate turns triggers into captures while others write: every change
# is in the queue once. What can't be a capture stays a trigger, and it says why.

use strict;
use warnings;

use JSON::PP;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $conn = 'host=' . $node->host . ' port=' . $node->port . " dbname=$db";

# pgqadm(WORD...): exit status, output, messages
sub pgqadm
{
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'pgqadm', '-d', $conn, @_ ], '<' => \undef, '>' => \$out, '2>' => \$err);
	return ($? >> 8, $out, $err);
}

sql($node, $db, q{
	create sequence number;
	create schema "Odd ""s";
	create table a (id int8 primary key, w int default 0);
	create table "Odd ""s"."b'c" (id int8 primary key, w int default 0);
	create table pair (id int8 primary key);
	create table parts (id int8 primary key) partition by range (id);
	create table part partition of parts for values from (0) to (100);
	create table other (id int);
	select pgq.create_queue('q'), pgq.register_consumer('q', 'c'), pgq.create_queue('q2');
	create trigger rows after insert or update or delete on a
		for each row execute function pgq.jsontriga('q', 'ignore=none of these');
	create trigger "Gone!" after truncate on a execute function pgq.jsontriga('q');
	create trigger rows after insert or update or delete on "Odd ""s"."b'c"
		for each row execute function pgq.sqltriga('q', 'ev_extra3=w % 2');
	create trigger good after insert on pair
		for each row execute function pgq.logutriga('q2');
	create trigger zbad after insert on pair
		for each row when (new.id > 1) execute function pgq.logutriga('q2');
	create trigger rows after insert on parts
		for each row execute function pgq.logutriga('q2');
	create trigger _londiste_q2 after insert on other
		for each row execute function pgq.logutriga('q2');
	create trigger nameless after insert on other
		for each row execute function pgq.jsontriga()});
my $triggers = q{select string_agg(tgrelid::regclass || ' ' || tgname, ', '
		order by tgrelid::regclass::text, tgname)
	from pg_trigger t where tgfoid::regproc::text ~ '^pgq\..*triga$' and tgparentid = 0};

my ($rc, $out, $err) = pgqadm('migrate');
is($rc, 1, 'without a slot it refuses');
like($err, qr/^pgqadm: capture is not started.*hint: .*slot create/s, '... and says what to do');

sql($node, $db, q{select pgq.start_capture()});
# a column that is not there is no matter to a trigger, but to a capture
($rc, $out, $err) = pgqadm('migrate', 'public.a');
is($rc, 2, 'exit status 2 when triggers are left');
is($out, qq{kept public.a.rows: column "none of these" of table "public.a" does not exist. The argument ignore= names it.\n}
	  . "kept public.a.Gone!: another trigger of the table is kept\n",
	'one that is refused keeps the others of its table');
sql($node, $db, q{
	drop trigger rows on a;
	create trigger rows after insert or update or delete on a
		for each row execute function pgq.jsontriga('q', 'ignore=w')});

my $before = sql($node, $db, $triggers);
($rc, $out, $err) = pgqadm('migrate', '--dry-run', '--json');
my $told = JSON::PP->new->decode($out);
is($rc, 2, 'a dry run has the same exit status');
is_deeply([ @$told{qw(captured kept)}, !!$told->{dry_run} ], [ 3, 5, 1 ], '... and counts');
is_deeply(
	[ map { "$_->{table} $_->{trigger} " . ($_->{captured} ? join(' ', @{ $_->{arguments} }) : $_->{detail} // '-') }
		  @{ $told->{triggers} } ],
	[
		q{"Odd ""s"."b'c" rows format=sql ev_extra3=w % 2 ops=insert,update,delete},
		'public.a rows format=json ignore=w ops=insert,update,delete,truncate',
		'public.a Gone! format=json ignore=w ops=insert,update,delete,truncate',
		q{public.other _londiste_q2 It is Londiste's, which needs the writers' transaction ids in its events.},
		'public.other nameless -',
		'public.pair good -',
		'public.pair zbad It has a WHEN condition; write that as argument when= of a capture.',
		'public.parts rows Triggers of partitions write the partition\'s name, captures that of the captured table.',
	],
	'... and tells of each trigger');
is(sql($node, $db, $triggers), $before, '... and changes nothing');

# writers go on all the while
my $pgqd = start_pgqd($node, database_list => $db);
my $load = load_start($node, $db, q{
	select nextval('number') as n \gset
	begin;
	insert into a values (:n);
	insert into "Odd ""s"."b'c" values (:n);
	update a set id = id where id = :n;
	delete from "Odd ""s"."b'c" where id = :n - 1;
	commit;
}, '-c', 4, '-T', 4);
wait_for('writers', sub { sql($node, $db, 'select count(*) from a') > 100 });
($rc, $out, $err) = pgqadm('migrate');
is($rc, 2, 'some stay');
like($out, qr/^captured public.a.rows into q: \["format=json"/m, 'it tells what it did');
like($err, qr/^3 trigger\(s\) became captures, 5 kept$/m, '... and how many');
is(sql($node, $db, $triggers),
	'other _londiste_q2, other nameless, pair good, pair zbad, parts rows', 'those triggers are gone');
my $at = sql($node, $db, 'select count(*) from a');
wait_for('writers', sub { sql($node, $db, 'select count(*) from a') > $at + 100 });
load_stop($load);
wait_ingest($node, $db);

my %seen;
$seen{$_}++ foreach @{ consume($node, $db, 'q', 'c', q{
	case when ev_extra1 = 'public.a' then ev_type::json->>'op' || ' ' || (ev_data::json->>'id')
		else ev_type || ' ' || substring(ev_data from '''(\d+)''') end}) };
my $n = sql($node, $db, 'select max(id) from a');
my %want = map { $_ => 1 } split(/\n/, sql($node, $db, q{
	select unnest(array['INSERT ', 'UPDATE ', 'I ']) || id from a
	union all select 'D ' || id from a
	where not exists (select from "Odd ""s"."b'c" x where x.id = a.id)}));
ok($n > 200, "$n transactions were written");
is_deeply([ grep { !$seen{$_} } sort keys %want ], [], 'nothing is lost');
is_deeply([ grep { $seen{$_} > 1 } sort keys %seen ], [], 'nothing is doubled');
is_deeply([ grep { !$want{$_} } sort keys %seen ], [], 'nothing is made up');

# what is left, and what is not there
sql($node, $db, q{select pgq.capture_table('q2', 'a'::regclass)});
($rc, $out, $err) = pgqadm('migrate', 'pair', 'other');
is($rc, 2, 'again');
like($err, qr/queue q2 gets events from triggers and from captures/, 'a queue of both kinds is told');
($rc, $out, $err) = pgqadm('migrate', 'a');
is("$rc $err", "1 pgqadm: table a has no trigger of PgQ\n", 'a table without triggers');
sql($node, $db, 'drop trigger zbad on pair');
($rc, $out, $err) = pgqadm('migrate', '-q', 'pair');
is("$rc $out", qq{0 captured public.pair.good into q2: ["format=urlenc","ops=insert"]\n}, 'now it can be');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
