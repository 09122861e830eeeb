
# The trigger functions write, byte for byte, the events that PgQ 3.5's write:
# Debian's 3.5 and ours get the same tables, arguments, statements and session
# settings. Where ours do better, the last tests say how.

use strict;
use warnings;
use utf8;

use PgqDebian;
use PgqTest;
use Test::More;

my $old = new_server('old', install_path => pgq35_tree());
my $new = new_server('new');

# try() runs a statement and tells its outcome, so that errors are compared,
# too. An error says nothing of the detail and the code, which differ.
my $setup = q{
	create extension pgq;
	create extension hstore;
	create extension citext;
	select pgq.create_queue('q');
	create function try(i_statement text) returns text as $$
	begin
		execute i_statement;
		return 'ok';
	exception when others then
		return sqlerrm;
	end $$ language plpgsql;
	create type mood as enum ('sad', 'it''s ok', 'happy "!"');
	create type pair as (a int, b text);
	create domain d_int as int;
	create domain d_bool as bool;
	create domain d_tz as timestamptz;
	create domain d_text as text;
};
my %encoding = (utf8 => 'UTF8', latin1 => 'LATIN1');

foreach my $node ($old, $new)
{
	foreach my $db (sort keys %encoding)
	{
		sql($node, 'postgres',
			"create database $db encoding '$encoding{$db}'"
			  . " lc_collate 'C' lc_ctype 'C' template template0");
		sql($node, $db, $setup);
	}
}

my $events = q{select '  event', ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3,
	ev_extra4, ev_owner, ev_retry, ev_time = now() from pgq.event_template
	order by ev_id;};

# outcome(NODE, DATABASE, STATEMENT...): what they return and the events they
# leave, in a transaction that is rolled back.
sub outcome
{
	my ($node, $db, @statements) = @_;
	my $script = "\\pset null '<NULL>'\nset client_encoding = utf8;\nbegin;\n";

	foreach my $s (@statements)
	{
		die "can't quote: $s" if $s =~ /\$try\$/;
		$script .= "select try(\$try\$$s\$try\$) as outcome;\n";
	}
	utf8::encode($script);
	return sql($node, $db, "$script$events\nrollback;\n");
}

# What each of the functions is called in a statement: {f} the function.
sub for_function
{
	my ($function, @statements) = @_;
	return map { s/\{f\}/pgq.$function/gr } @statements;
}

# same(NAME, STATEMENT...): with each function, in each encoding.
sub same
{
	my ($name, @statements) = @_;

	foreach my $db (sort keys %encoding)
	{
		# what a database can't hold
		next if $db ne 'utf8' && "@statements" =~ /[^\x00-\xff]/;
		foreach my $function (qw(jsontriga logutriga sqltriga))
		{
			my @s = for_function($function, @statements);
			is(outcome($new, $db, @s), outcome($old, $db, @s),
				"$name, $function, $db");
		}
	}
	return;
}

# row_trigger(TABLE, ARGUMENT...), truncate_trigger(...)
sub row_trigger
{
	my ($table, @args) = @_;
	my $args = join(', ', map { "'" . s/'/''/gr . "'" } 'q', @args);

	return "create trigger t after insert or update or delete on $table"
	  . " for each row execute function {f}($args)";
}

sub truncate_trigger
{
	return row_trigger(@_) =~ s/insert or update or delete/truncate/r =~
	  s/trigger t/trigger tr/r =~ s/for each row/for each statement/r;
}

my @base = ('create table base (id int4 primary key, txt text, n numeric)');

# The statements of a table's life.
my $strange = q{a b&c=é%+~*'"\\};
my @life = (
	"insert into base values (1, '" . ($strange =~ s/'/''/gr) . "', null)",
	"update base set txt = 'x'",
	'update base set txt = txt',
	'update base set txt = null, n = 12.50',
	'update base set n = 1e20 where id = 1',
	"insert into base values (2, '', 0), (3, null, 'NaN')",
	"update base set id = 7 where id = 2",
	'delete from base where id = 3',
	'truncate base',
	"insert into base values (1, 'x', 1)",
	'delete from base');

same('life of a row', @base, row_trigger('base'), truncate_trigger('base'), @life);

same(
	'quoting of names',
	'create schema "My S"',
	'create table "My S"."Ta.b""le\'x"("Id" int, "col &x" text, "select" int,
		"ä" text, "a\\b" int, _x1 int, "1a" int, "user" int,
		primary key ("Id", "select"))',
	row_trigger('"My S"."Ta.b""le\'x"'),
	truncate_trigger('"My S"."Ta.b""le\'x"'),
	q{insert into "My S"."Ta.b""le'x" values (1, 'v1', 2, 'ü', 3, 4, 5, 6)},
	q{update "My S"."Ta.b""le'x" set "col &x" = 'z', "a\\b" = 4},
	q{set local quote_all_identifiers = on},
	q{update "My S"."Ta.b""le'x" set "ä" = 'é\\', _x1 = 0},
	q{reset quote_all_identifiers},
	q{delete from "My S"."Ta.b""le'x"},
	q{truncate "My S"."Ta.b""le'x"});

same('order of key columns',
	'create table pko (a int, b int, c int, primary key (c, a))',
	row_trigger('pko'),
	'insert into pko values (1, 2, 3)',
	'update pko set b = 9',
	'update pko set a = 2',
	'delete from pko');

same(
	'control characters',
	@base,
	row_trigger('base'),
	q{insert into base values (1, E'\t\n\b\x01\x7f\r\f\x1f/<>&', 0)},
	q{update base set txt = E'it''s\\\\ two\\nlines'},
	q{set local standard_conforming_strings = off},
	q{update base set txt = txt || 'x'},
	q{delete from base});

same('characters of more bytes',
	@base, row_trigger('base', 'backup'),
	"insert into base values (1, 'ü€😀ﬁ', 0)",
	"update base set txt = '日本 語'",
	'delete from base');

# Every kind of type, in every kind of text.
my @types = (
	q{create table ty (
		id int primary key, b bool, i2 int2, i8 int8, f4 float4, f8 float8,
		nu numeric(20,4), mo money, oi oid, ch char(5), vc varchar(10),
		na name, c "char", by bytea, da date, ti time, tiz timetz,
		ts timestamp, tz timestamptz, ts0 timestamp(0), iv interval, js json,
		jb jsonb, uu uuid, ip inet, ci cidr, ma macaddr, po point, bi bit(4),
		vb varbit, ir int4range, tzr tstzrange, im int4multirange, ai int[],
		at text[], ad date[], az timestamptz[], ab bool[], co pair, en mood,
		di d_int, db d_bool, dz d_tz, dt d_text, tv tsvector, hs hstore,
		ct citext, ox xid, rc regclass, xm xml, afl float8[])},
	row_trigger('ty', 'backup'));
my @values = (
	q{insert into ty (id) values (1)},
	q{insert into ty values (2, true, -5, 9223372036854775807, 0.1,
		1.0/3, 12, 5, 5, 'ab', 'v', 'n', 'x', '\x00ff5c27', '2020-01-02',
		'03:04:05.6', '03:04:05.6+05:30', '2020-01-02 03:04:05.100',
		'2020-01-02 03:04:05.678+00', '2020-01-02 03:04:05',
		'1 year 2 mons -3 days 04:05:06.7', '{"a": [1, null]}',
		'{"b":1,"a":"é"}', '12345678-1234-1234-1234-1234567890ab',
		'10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', '(1,2.5)', '0101',
		'101', '[1,5)', '[2020-01-01 00:00+00,2021-01-01 00:00+00)',
		'{[1,2),[5,6)}', '{1,NULL,3}', '{"a b","c\"d",NULL,""}',
		'{2020-01-02,infinity}', '{2020-01-02 03:04:05+00}', '{t,f,NULL}',
		'(1,"a b")', 'it''s ok', 5, true, '2020-01-02 03:04:05.678+00', 'x',
		'a:1 b:2', 'a=>1,b=>NULL', 'Ab', '77', 'pg_class', '<a>é</a>',
		'{0.1,NaN,-Infinity}')},
	q{insert into ty (id, b, f4, f8, nu, da, ts, tz, dz, iv, ad, by, vb, ti) values
		(3, false, 'NaN', 'Infinity', 'NaN', 'infinity', '-infinity',
		'infinity', '-infinity', '-1 day', '{}', '', '', '24:00'),
		(4, false, -0.0, 1e300, -0.5, '-infinity', 'infinity', '-infinity',
		null, '0', null, 'abc', null, '00:00'),
		(5, null, 1e-30, 123456789012345678, 0, '0044-03-15 BC',
		'0044-03-15 12:00:00.000001 BC', '0044-03-15 12:00:00+00 BC',
		'0044-03-15 12:00:00+00 BC', '-1 mon +1 day -0.000001 s', '{}', '\x5c',
		null, '23:59:59.999999'),
		(6, null, 3.4e38, 5e-324, 1, '1890-06-01', '1890-06-01 00:00',
		'1890-06-01 00:00+00', '1890-06-01 00:00+00', '100 years', '{}', 'é',
		null, null),
		(7, null, 16777216, 0.30000000000000004, 1, '12345-06-01',
		'12345-06-01 00:00', '12345-06-01 00:00:01.5+00', null, '-1:00', '{}',
		null, null, null)},
	q{update ty set id = id},
	q{update ty set f8 = f8 + 1, iv = iv + '1 s', jb = '{"c": 1}', b = not b,
		ai = '{2}', tz = now() where id = 2 and false},
	q{update ty set jb = '{"c": 1}', b = not b, ai = '{2}', tz =
		'2021-07-01 00:00+00', co = '(2,)' where id in (2, 5)},
	q{delete from ty});

my @settings = (
	[],
	[ 'DateStyle = German', 'IntervalStyle = iso_8601', 'bytea_output = escape' ],
	[
		"DateStyle = 'SQL, DMY'",
		'IntervalStyle = sql_standard',
		"TimeZone = 'Asia/Kathmandu'"
	],
	[
		"DateStyle = 'Postgres, MDY'",
		'IntervalStyle = postgres_verbose',
		"TimeZone = 'America/St_Johns'",
		'extra_float_digits = 0'
	],
	[ "DateStyle = 'ISO, DMY'", "TimeZone = 'Europe/Amsterdam'", 'extra_float_digits = -3' ],
	[ "TimeZone = '<+05:53:28>-05:53:28'", 'quote_all_identifiers = on' ],
	[ "TimeZone = 'Australia/Lord_Howe'", 'search_path = pg_catalog, public', "lc_monetary = 'C'" ],
);
foreach my $set (@settings)
{
	same('types, with ' . (join(', ', @$set) || 'default settings'),
		(map { "set local $_" } @$set),
		@types, @values);
}

# Arguments
my @kv = ('create table kv (id int primary key, v text, w int)');
my @kv_life = (
	"insert into kv values (1, 'a b', null)",
	"insert into kv values (4, 'b', 3)",
	"update kv set v = 'c' where id = 1",
	'update kv set w = 5',
	"update kv set v = 'd', w = 6",
	'update kv set v = v',
	'update kv set v = null where id = 1',
	'update kv set id = id + 10',
	'delete from kv where id = 1',
	'delete from kv');
foreach my $args (
	['backup'],
	['ignore=w'],
	[ 'backup', 'ignore=w' ],
	['ignore=id,v'],
	['ignore=id'],
	['ignore=id,v,w'],
	['ignore= w , v '],
	[ 'ignore=v', 'ignore=w' ],
	['ignore='],
	['ignore=nosuch'],
	['pkey=id, v'],
	['pkey=id,v'],
	['pkey=v'],
	['pkey=w'],
	['pkey='],
	['deny'],
	[ 'deny', 'ignore=w' ],
	['SKIP'],
	['skip'],
	['nonsense'],
	['when='],
	['backup=1'],
	["when=v='a b'"],
	['when=id > 3 or v is null'],
	['when=null::bool'],
	['when=1'],
	["ev_type='x'"],
	['ev_data=w'],
	[ "ev_extra3=coalesce(v,'N')||'/'||w", 'ev_extra4=null::text' ],
	[ "ev_extra1='tbl'", "ev_type=case when id>3 then 'big' end" ],
	['ev_extra2=id'],
	[ 'ev_extra2=id', 'backup' ],
	['ev_extra2=(select count(*) from kv)'],
	['ev_extra2=kv.id'],
	['ev_extra2=nosuch'],
	['ev_extra2=1, 2'],
	['ev_extra2=1 from generate_series(1,2)'],
	['ev_extra2=1 where false'],
	['ev_extra5=1'],
	['ev_extra2=v || $q$it is w$q$'],
	["ev_extra2=v || ' is v /* v */' -- v"],
	['ev_extra2=now() is null'],
	['ev_extra2=array[id, w]'],
	['ev_type=v'],
	["ev_extra2=w::numeric / 7"],
)
{
	same('arguments ' . join(', ', @$args),
		@kv, row_trigger('kv', @$args), @kv_life);
}
foreach my $args ([], ['ignore=w'], ['pkey=id'], ['backup'], ['when=true'],
	["ev_type='x'"], ['deny'], ['SKIP'])
{
	same('TRUNCATE with ' . (join(', ', @$args) || 'no arguments'),
		@kv, truncate_trigger('kv', @$args), 'insert into kv values (1)',
		'truncate kv');
}

same('no such queue',
	@kv, row_trigger('kv') =~ s/'q'/'nosuch'/r, @kv_life);
same('no arguments at all',
	@kv, row_trigger('kv') =~ s/'q'//r, @kv_life);
same('row events for each statement',
	@kv, row_trigger('kv') =~ s/for each row/for each statement/r, @kv_life);
same('not called as a trigger', 'select {f}()');
same('a table without key',
	'create table nokey (a int, b text)',
	row_trigger('nokey'), truncate_trigger('nokey'),
	"insert into nokey values (1, 'x')", "update nokey set b = 'y'",
	'delete from nokey', 'truncate nokey');
same('unique indexes are no key',
	'create table uq (a int unique not null, b text)',
	row_trigger('uq'), "insert into uq values (1, 'x')", 'delete from uq');
same('no columns', 'create table none ()', row_trigger('none'),
	'insert into none default values', 'delete from none');
same('BEFORE triggers',
	@kv, row_trigger('kv') =~ s/after/before/r, @kv_life,
	'select 1/count(*) from kv');
same('SKIP',
	@kv, row_trigger('kv', 'SKIP', 'ignore=w') =~ s/after/before/r,
	@kv_life, 'select 1/count(*) from kv');
same('SKIP of an update',
	@kv, "insert into kv values (1, 'a', 1), (4, 'b', 2)",
	row_trigger('kv', 'SKIP', 'ignore=w', 'when=id=1') =~ s/after/before/r,
	'update kv set w = 9', "update kv set v = 'z'", 'delete from kv',
	'select 1 / (count(*) - 2) from kv');
same('BEFORE TRUNCATE and SKIP',
	@kv, truncate_trigger('kv', 'SKIP') =~ s/after/before/r,
	'insert into kv values (1)', 'truncate kv', 'select 1/count(*) from kv');
same('a view',
	@kv, 'create view kvv as select * from kv',
	row_trigger('kvv', 'pkey=id', 'backup') =~ s/after/instead of/r,
	"insert into kvv values (1, 'x', 2)", "insert into kv values (1, 'x', 2)",
	"update kvv set v = 'y'", 'delete from kvv');
same('the view without pkey=',
	@kv, 'create view kvv as select * from kv', row_trigger('kvv') =~ s/after/instead of/r,
	"insert into kvv values (1, 'x', 2)", "insert into kv values (1, 'x', 2)",
	"update kvv set v = 'y'", 'delete from kvv');
same(
	'magic columns',
	'create table magic (id int primary key, v text, _pgq_ev_type text,
		_pgq_ev_data int, _pgq_ev_extra1 text, _pgq_ev_extra4 text)',
	row_trigger('magic', "ev_extra4='argument'"),
	"insert into magic values (1, 'a', 'type', 5, null, 'x')",
	"insert into magic values (2, 'a', null, null, 'e1', 'x')",
	"update magic set v = 'b', _pgq_ev_type = 'new'",
	"update magic set _pgq_ev_type = 'only this'",
	'update magic set v = v',
	'delete from magic');
same(
	'magic columns and ignore=',
	'create table magic (id int primary key, v text, w int, _pgq_ev_type text)',
	row_trigger('magic', 'ignore=w'),
	"insert into magic values (1, 'a', 1, 'type')",
	"update magic set v = 'b', _pgq_ev_type = 'new'",
	"update magic set _pgq_ev_type = 'only this'",
	"update magic set w = 5",
	'delete from magic');
same(
	'an unknown magic column',
	'create table magic (id int primary key, _pgq_ev_foo text)',
	row_trigger('magic'), "insert into magic values (1, 'a')");
same('rows older than a column',
	@kv, "insert into kv values (1, 'a', 1), (2, 'b', 2)",
	"alter table kv add column d text default 'x'", row_trigger('kv', 'backup'),
	'update kv set w = 5 where id = 1', 'delete from kv');
same('quoted names in the old row',
	'create table qn ("Id x" int primary key, "select" int, é text)',
	row_trigger('qn', 'backup'),
	"insert into qn values (1, 2, 'ö')", 'update qn set "select" = 3',
	'delete from qn');
same('dropped and added columns',
	'create table dr (a int primary key, b int, c int)',
	row_trigger('dr'), 'insert into dr values (1, 2, 3)',
	'alter table dr drop column b', 'insert into dr values (2, 4)',
	"alter table dr add column d text default 'x'",
	'update dr set c = 5', 'update dr set d = null', 'delete from dr');
same('renamed table and columns',
	@kv, row_trigger('kv'), 'insert into kv values (1)',
	'alter table kv rename to kv2', 'insert into kv2 values (2)',
	'alter table kv2 rename column v to "V v"', 'update kv2 set w = 1');
same(
	'partitions',
	'create table pt (id int, part int, v text, primary key (id, part))
		partition by list (part)',
	'create table "Pt1" partition of pt for values in (1)',
	'create table pt2 (v text, part int not null, id int not null, primary key (id, part))',
	'alter table pt attach partition pt2 for values in (2)',
	row_trigger('pt'), truncate_trigger('pt'),
	"insert into pt values (1, 1, 'a'), (2, 2, 'b')", "update pt set v = 'c'",
	'update pt set part = 2 where id = 1', 'delete from pt', 'truncate pt');
same('inheritance',
	@kv, 'create table kvc (x int, primary key (id)) inherits (kv)',
	row_trigger('kv'), row_trigger('kvc', 'backup'),
	'insert into kv values (1)', 'insert into kvc values (2)',
	'update kv set w = 7', 'delete from kv');
same(
	'equality by text and by operator',
	'create table eq (id int primary key, js json, ai int[], pt point)',
	row_trigger('eq', 'ignore=pt'),
	"insert into eq values (1, '{}', '{1}', '(1,2)')",
	"update eq set js = '{ }'", "update eq set ai = '[0:0]={1}'",
	"update eq set pt = '(2,3)'", "update eq set js = js",
	"update eq set ai = '{1}', pt = null");
same('NULL in a key',
	'create table nk (a int, b int)', row_trigger('nk', 'pkey=a'),
	'insert into nk values (null, 1)', 'update nk set b = 2',
	'update nk set a = 1', 'delete from nk');
same('key of a type of its own', 'create table ck (k citext primary key, v int)',
	row_trigger('ck'), "insert into ck values ('Ab', 1)", 'update ck set v = 2',
	"delete from ck where k = 'aB'");
same(
	'replication roles',
	@kv, row_trigger('kv', 'deny'),
	"set local session_replication_role = 'local'", 'insert into kv values (1)',
	"set local session_replication_role = 'replica'",
	'insert into kv values (2)',
	'alter table kv enable always trigger t', 'insert into kv values (3)',
	"reset session_replication_role", 'delete from kv');
same(
	'replication role and a disabled queue',
	@kv, row_trigger('kv'), 'alter table kv enable always trigger t',
	q{update pgq.queue set queue_disable_insert = true},
	'insert into kv values (1)',
	"set local session_replication_role = 'replica'",
	'insert into kv values (2)');
same('limit of events in a transaction',
	@kv, row_trigger('kv'),
	'update pgq.queue set queue_per_tx_limit = 2',
	'insert into kv values (1)', 'insert into kv values (2)',
	'insert into kv values (3)');
same('long values',
	@kv, row_trigger('kv', 'backup'),
	q{insert into kv values (1, repeat('aé&\\', 20000), 1)},
	q{update kv set w = 2}, q{delete from kv});
same('COPY-like many rows',
	@kv, row_trigger('kv'),
	q{insert into kv select i, 'v' || i, i from generate_series(1, 50) i},
	q{update kv set w = w + 1 where id % 3 = 0},
	q{insert into kv select 1, 'x' on conflict (id) do update set v = excluded.v});
same('deferred constraint triggers',
	@kv,
	row_trigger('kv') =~ s/create trigger t/create constraint trigger t/r =~
	  s/for each row/initially deferred for each row/r,
	@kv_life, 'set constraints all immediate');

# different(NAME, FUNCTION, PATTERN of 3.5, PATTERN of ours, STATEMENT...): where
# ours do better
sub different
{
	my ($name, $function, $was, $is, @statements) = @_;
	my @s = for_function($function, @statements);

	like(outcome($old, 'utf8', @s), $was, "$name: in PgQ 3.5");
	like(outcome($new, 'utf8', @s), $is, "$name: in PgQ 4");
	return;
}

# json and url print what pkey= says; sql can not name a row by it.
foreach my $function (qw(jsontriga logutriga))
{
	my @s = for_function($function, @kv, row_trigger('kv', 'pkey=nosuch'), @kv_life);
	is(outcome($new, 'utf8', @s), outcome($old, 'utf8', @s),
		"pkey= of no column, $function");
}
different('pkey= of no column', 'sqltriga', qr/U\|v='c' where \|/,
	qr/Update\/Delete on table without pkey/,
	@kv, row_trigger('kv', 'pkey=nosuch'), @kv_life);

my @renamed = (@kv, 'insert into kv values (1)', 'alter table kv rename id to key',
	row_trigger('kv'), 'update kv set w = 1', 'delete from kv');
different('a renamed key column', 'sqltriga', qr/U\|w='1' where \|/,
	qr/U\|w='1' where key='1'\|.*D\|key='1'\|/s, @renamed);
different('a renamed key column', 'logutriga', qr/U:id\|key=1/,
	qr/U:key\|key=1/, @renamed);
different(
	'INCLUDE columns of the key',
	'logutriga',
	qr/primary key update not allowed/,
	qr/U:a\|a=1&b=3\|/,
	'create table inc (a int, b int, primary key (a) include (b))',
	row_trigger('inc'), 'insert into inc values (1, 2)',
	'update inc set b = 3');
different(
	'a change that the type calls equal',
	'sqltriga',
	qr/^(?!.*n='1\.00')/s,
	qr/U\|n='1\.00' where id='1'\|/,
	@base, row_trigger('base'), "insert into base values (1, 'x', 1.0)",
	'update base set n = 1.00');
different(
	'such a change and ignore=',
	'logutriga',
	qr/^(?!.*U:id)/s,
	qr/U:id\|id=1&n=1\.00\|/,
	@base, row_trigger('base', 'ignore=txt'),
	"insert into base values (1, 'x', 1.0)",
	"update base set n = 1.00, txt = 'y'");
different(
	'generated columns',
	'sqltriga',
	qr/\(id,v,g\) values \('1','2','3'\)/,
	qr/\(id,v\) values \('1','2'\)/,
	'create table gen (id int primary key, v int, g int generated always as (v + 1) stored)',
	row_trigger('gen'), 'insert into gen values (1, 2)', 'update gen set v = 3');
different('a quoted column in an expression', 'logutriga', qr/^QB: syntax error$/m,
	qr/I:id\|id=1&v&w\|public\.kv\|1\|/,
	@kv, row_trigger('kv', 'ev_extra2="id"'), 'insert into kv values (1)');
different('when= guards other expressions', 'logutriga', qr/^division by zero$/m,
	qr/^(?!.*division by zero)/s,
	@kv, row_trigger('kv', 'ev_extra2=1/w', 'when=w<>0'),
	'insert into kv values (1, null, 0)');

done_testing();
