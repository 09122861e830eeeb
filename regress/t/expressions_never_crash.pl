
# Expressions made by chance are refused with a clear error or work: in
# capture_table, and in decoding what was captured with them. Neither ends with
# an internal error or a crash, and none runs a user's code.
#
# Environment: PGQ_EXPR_SEED, PGQ_EXPR_COUNT (300), or PGQ_EXPR_SECONDS to go on
# for so long.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'expr', slot => 0);
my $seed = $ENV{PGQ_EXPR_SEED} // time();
my $count = $ENV{PGQ_EXPR_COUNT} // 300;
my $end = time() + ($ENV{PGQ_EXPR_SECONDS} // 0);

srand($seed);
diag("PGQ_EXPR_SEED=$seed");
sql($node, $db, q{
	create schema evil;
	create function evil.check_value(int) returns bool language plpgsql immutable
	as $$ begin raise exception 'user code ran as %', current_user; end $$;
	create domain evil.dom as int check (evil.check_value(value));
	create type evil.pair as (a int, b evil.dom);
	create type evil.mood as enum ('a', 'b');
	create type evil.span as range (subtype = int);
	create function evil.f(evil.dom[]) returns text language sql immutable
	as 'select ''x''';
	create function evil.eq(int, evil.dom[]) returns bool language sql immutable
	as 'select true';
	create operator evil.= (leftarg = int, rightarg = evil.dom[], function = evil.eq);
	create collation evil.coll from "C";
	create table t (id int primary key, v text, n numeric, d date, b bool, j jsonb,
		a int[], ts timestamptz, f float8, x bytea, iv interval, "Odd N" text,
		doms evil.dom[], m evil.mood, r evil.span);
	alter table t replica identity full;
	select pgq.create_queue('q')});
sql($node, $db, 'select pgq.start_capture()');
my $slot = sql($node, $db, 'select slot_name from pgq.slot');

my @functions = split(/\n/, sql($node, $db, q{
	select distinct quote_ident(proname) || ' ' || pronargs from pg_proc
	where pronamespace = 'pg_catalog'::regnamespace and pronargs between 1 and 3
		and prorettype not in ('internal'::regtype, 'trigger'::regtype) order by 1}));
my @operators = split(/\n/, sql($node, $db,
	q{select distinct oprname from pg_operator where oprkind = 'b' order by 1}));
my @columns = (qw(id v n d b j a ts f x iv), '"Odd N"', qw(doms m r));
my @types = ('int', 'text', 'numeric', 'date', 'bool', 'jsonb', 'int[]', 'float8', 'bytea',
	'interval', 'varchar(3)', 'bit(3)', 'regclass', 'name', 'record', 'int4range', 'point',
	'timestamptz', 'xml', 'evil.dom', 'evil.dom[]', 'evil.pair', 'evil.mood', 'evil.span',
	'nosuch', 'pg_catalog.int4', 'information_schema.cardinal_number', '"char"');
my @literals = ('1', '0', '-1', '2147483648', '1e10', '1e400', 'null', 'true', q{''}, q{'a'},
	q{'{1}'}, q{'{"a":1}'}, q{'2020-01-01'}, q{'[1,2)'}, q{E'\\\\'}, '$1', '$$x$$', 'U&\'\0041\'',
	q{B'101'}, q{X'1F'}, 'current_date', 'current_user', 'default', '*', 'now()',
	'{', q{'(1,1)'}, 'interval \'1\' day', '1.5', 'array[1,2]', 'row(1,2)', 'evil.f(\'{1}\')');

sub pick { return $_[ rand(@_) ]; }

sub expression
{
	my ($depth) = @_;
	my $sub = sub { expression($depth - 1) };

	return rand() < 0.5 ? pick(@columns) : pick(@literals) if $depth <= 0 || rand() < 0.15;
	return pick(
		sub { $sub->() . ' ' . pick(@operators) . ' ' . $sub->() },
		sub { $sub->() . ' ' . pick('=', '<', '||', '+', 'and', 'or', 'is distinct from', 'like') . ' ' . $sub->() },
		sub { '(' . $sub->() . ')::' . pick(@types) },
		sub { pick(@literals) . '::' . pick(@types) },
		sub { 'cast(' . $sub->() . ' as ' . pick(@types) . ')' },
		sub
		{
			my ($name, $n) = split(/ (?=\d+$)/, pick(@functions));
			"$name(" . join(', ', map { $sub->() } 1 .. $n) . ')';
		},
		sub { pick(qw(lower upper length abs md5 coalesce greatest nullif concat)) . '(' . $sub->() . ')' },
		sub { 'case when ' . $sub->() . ' then ' . $sub->() . ' else ' . $sub->() . ' end' },
		sub { $sub->() . ' in (' . $sub->() . ', ' . $sub->() . ')' },
		sub { $sub->() . pick(' = any (', ' <> all (') . $sub->() . ')' },
		sub { $sub->() . pick(' is null', ' is true', ' is unknown', ' is of (int)', ' is document') },
		sub { 'not ' . $sub->() },
		sub { '(' . $sub->() . ')[' . $sub->() . ']' },
		sub { '(' . $sub->() . ').' . pick('a', '*', 'b') },
		sub { '(select ' . $sub->() . ')' },
		sub { 'exists (select ' . $sub->() . ' from t)' },
		sub { $sub->() . ' collate ' . pick('"C"', '"default"', 'evil.coll', 'nosuch') },
		sub { 'array[' . $sub->() . ', ' . $sub->() . ']' },
		sub { 'row(' . $sub->() . ')' . pick('', '::evil.pair') },
		sub { $sub->() . ' operator(evil.=) ' . $sub->() },
		sub { $sub->() . ' at time zone ' . $sub->() },
		sub { 'extract(' . pick('year', 'epoch', 'nosuch') . ' from ' . $sub->() . ')' },
		sub { 'xmlelement(name a, ' . $sub->() . ')' },
		sub { 'xmlserialize(content ' . $sub->() . ' as ' . pick(@types) . ')' },
		sub { 'sum(' . $sub->() . ') over ()' },
		sub { 'count(*) filter (where ' . $sub->() . ')' },
		sub { 'grouping(' . $sub->() . ')' },
		sub { $sub->() . pick(', ', '; ', ' from t where ', ' union select ', ' order by ') . $sub->() },
	)->();
}

# As it is, or with some of its characters gone wrong.
sub source
{
	my $text = expression(rand() < 0.1 ? 6 : 3);

	if (rand() < 0.15)
	{
		for (0 .. rand(3))
		{
			substr($text, rand(length $text), rand(3), pick('(', ')', "'", '"', '\\', '::', ';', '--', '/*', '.', "\n"));
		}
	}
	return $text;
}

my $tried = 0;
my $accepted = 0;
my @bad;
do
{
	my $script = "\\set VERBOSITY verbose\nset client_min_messages = error;\n"
	  . "set statement_timeout = '20s';\n";
	my @sources;

	foreach my $i (0 .. $count - 1)
	{
		my $option = pick('when', 'ev_type', 'ev_data', 'ev_extra1');

		push @sources, "$option=" . source();
		(my $arg = $sources[-1]) =~ s/'/''/g;
		$script .= "\\warn try $i\nselect pgq.capture_table('q', 't', 'ops=insert', '$arg');\n";
		$script .= "insert into t (id, v, n, d, b, j, a, ts, f, x, iv, \"Odd N\")"
		  . " values ($i, 'v', 1.5, '2020-01-01', true, '{\"a\":[1]}', '{1,2}', now(), 'nan',"
		  . " '\\x00', '1 s', 'o');\n";
	}
	$script .= "\\warn try $count\n";
	my ($out, $err) = ('', '');
	my $file = PostgreSQL::Test::Utils::tempdir() . "/tries$tried.sql";
	append_to_file($file, $script);
	IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', $file ],
		'<', '/dev/null', '>', \$out, '2>', \$err);

	# not by SQL, where a statement's snapshot is there to be used
	my $lsn = sql($node, $db, 'select pg_current_wal_lsn()');
	my $recv_err = '';
	IPC::Run::run(
		[
			'pg_recvlogical', '--start', '--no-loop', '-S', $slot,
			'--endpos', $lsn, '-f', '/dev/null', '-d', $node->connstr($db)
		],
		'<', '/dev/null', '2>', \$recv_err,
		IPC::Run::timeout(120)) or push @bad, "decoding\n  $recv_err";
	$node->psql($db, "truncate t; select pgq.uncapture_table('q', 't')") if !@bad;
	my $at = -1;
	my %refused;
	foreach (split(/\n/, $err))
	{
		s/^psql:\S+: //;
		if (/^try (\d+)$/) { $at = $1; }
		elsif (/(ERROR|FATAL|PANIC):\s+(\w+):/ || /(server closed|connection to server) (\w+)/)
		{
			$refused{$at} = 1;
			push @bad, ($sources[$at] // 'decoding') . "\n  $_"
			  if $1 ne 'ERROR' || $2 =~ /^(XX|57|58)/ || /user code ran/;
		}
	}
	push @bad, "psql stopped at $at" if $at != $count;
	$tried += @sources;
	$accepted += @sources - grep { $_ < $count } keys %refused;
} while (time() < $end && !@bad);

is(join("\n", @bad), '', "none of $tried expressions did harm");
cmp_ok($accepted, '>', $tried / 100, 'and some were accepted');
diag("$tried expressions, $accepted accepted");
my $log = slurp($node->logfile);
unlike($log, qr/user code ran/, "no user's code ran");
unlike($log, qr/terminated by signal|PANIC|TRAP/, 'the server never crashed');

$node->stop;
done_testing();
