
# A value of any type, in a table and columns of any name, in a database of any
# encoding: trigger and capture write the same bytes, in all three formats, and
# what is replayed from the events equals the source.

use strict;
use warnings;

use PgqTest;
use Test::More;

my @formats = ([ 'json', 'jsontriga' ], [ 'urlenc', 'logutriga' ], [ 'sql', 'sqltriga' ]);
my %databases = (
	utf8 => [ 'UTF8', 'é日本🐘', "''" ],
	latin1 => [ 'LATIN1', 'éüß÷', 'ÿ' ],
	eucjp => [ 'EUC_JP', '日本語、表', 'ソ能' ]);

# Values for types that do not take '1' or '{}'; two of each where it matters.
my %values = (
	bool => [qw(t f)], bytea => [ '\x00ff5c27', '' ], '"char"' => [qw(a \\ )],
	box => ['(2,3),(0,1)'], circle => ['<(1,2),3>'], line => ['{1,2,3}'],
	lseg => ['[(0,0),(1,1)]'], path => ['[(0,0),(1,1)]'], point => ['(1,2.5)'],
	polygon => ['((0,0),(1,1),(2,0))'], bpchar => [ 'ab  ', ' ' ],
	cid => ['7'], cidr => ['10.0.0.0/8'], inet => [ '10.1.2.3/8', '::1' ],
	date => [qw(2024-02-29 infinity)], float4 => [qw(0.1 NaN)],
	float8 => [ '-0', '1e300' ], interval => ['1 mon -3 days 04:05:06.7'],
	json => [ '{"a" :  1}', 'null' ], jsonb => ['{"b":1,"a":[null,"x\\n"]}'],
	jsonpath => ['$."a"[*] ? (@ > 1)'], macaddr => ['08:00:2b:01:02:03'],
	macaddr8 => ['08:00:2b:01:02:03:04:05'], money => ['-12.50'],
	numeric => [qw(1.00 NaN)], pg_lsn => ['16/B374D848'],
	pg_snapshot => ['10:20:10,14'], txid_snapshot => ['10:20:10,14'],
	regclass => ['pg_class'], regcollation => ['"C"'], regconfig => ['english'],
	regdictionary => ['simple'], regnamespace => ['pg_catalog'],
	regoper => ['||/'], regoperator => ['+(integer,integer)'], regproc => ['now'],
	regprocedure => ['lower(text)'], regrole => ['pg_monitor'],
	regtype => [ 'int', 'timestamptz[]' ], tid => ['(1,2)'],
	time => ['23:59:59.999999'], timestamp => [ '0044-03-15 12:00:00 BC', '2024-01-01 10:00' ],
	timestamptz => ['2024-07-01 00:00:00.5+02'], timetz => ['12:34:56.7-08:30'],
	tsquery => ["'a' & !'b'"], tsvector => ["'a':1A 'b c':2"],
	uuid => ['12345678-1234-1234-1234-1234567890ab'], xml => ['<a b="1">x &amp; y</a>'],
	bit => ['1'], varbit => [ '0110', '' ], refcursor => ['c'], name => ["O'x"],
	aclitem => ['pg_monitor=r/pg_monitor'], int2vector => ['1 2'], oidvector => ['1 2'],
	text => [ "tab\tquote'\"back\\slash\nline\rend", '' ], varchar => [ 'é%41+&=', ' ' ],
	hstore => [ '"a"=>"1", "b c"=>NULL', '' ], citext => ['aBc'], ltree => ['a.b.c'],
	lquery => ['*.b.*'], ltxtquery => ['a & b'], cube => ['(1, 2),(3, 4)'],
	seg => ['1 .. 2.5'], isbn13 => ['978-0-393-04002-9'], ean13 => ['978-0-393-04002-9'],
	ismn => ['9790060115615'], ismn13 => ['9790060115615'], isbn => ['0-393-04002-X'],
	issn => ['1436-4522'], issn13 => ['9771436452008'], upc => ['220356483481']);
# what PostgreSQL itself can't read back, or only makes for statistics
my $unreadable = q{'pg_node_tree','pg_ndistinct','pg_dependencies','pg_mcv_list',
	'pg_brin_bloom_summary','pg_brin_minmax_multi_summary','gtsvector','pg_ddl_command'};

my $node = new_server('main');

sub literal
{
	my ($text) = @_;

	return 'null' if !defined $text;
	$text =~ s/([\\'])/\\$1/g;
	return "E'$text'";
}

sub quoted { return '"' . ($_[0] =~ s/"/""/gr) . '"'; }

# Every type that a column can have: [SQL name, values...]
sub types_of
{
	my ($s) = @_;
	my (@types, %of);

	foreach my $line (split(/\n/, $s->query(qq{
		select t.oid::regtype, coalesce(r.rngsubtype, m.rngsubtype)::regtype,
			case when m.rngtypid is not null then 'm' else t.typtype::text end, t.typname
		from pg_type t left join pg_range r on r.rngtypid = t.oid
			left join pg_range m on m.rngmultitypid = t.oid
		where (t.typtype in ('b', 'r', 'm') and t.typcategory <> 'A')
			and t.typname not in ($unreadable) and t.typname !~ '^(gbtreekey|ghstore|gtrgm|ltree_gist)'
			and t.typnamespace in ('pg_catalog'::regnamespace, 'public'::regnamespace)
			and (t.typtype = 'b' or t.typnamespace = 'pg_catalog'::regnamespace)
			and t.typisdefined and t.typinput <> 0
		order by t.typtype = 'b' desc, t.oid})))
	{
		my ($type, $sub, $kind, $name) = split(/\|/, $line);
		my @v;

		if ($kind eq 'b') { @v = @{ $values{$name} // $values{$type} // ['1'] } }
		else
		{
			my %low = (int4 => [1, 5], int8 => [1, 5], numeric => [1.5, 2], date => [qw(2020-01-01 infinity)]);
			my $d = $sub =~ /int|big/ ? '[1,5)' : $sub eq 'numeric' ? '(1.50,2.0]'
			  : $sub eq 'date' ? '[2020-01-01,infinity)' : '["2020-01-01 00:00:00",)';

			@v = $kind eq 'r' ? ($d, 'empty') : ("{$d}", '{}');
		}
		push @types, [ $type, @v ];
	}
	push @types, [ "$_->[0]\[]", map { ; "array[" . join(', ', map { literal($_) } (@$_[1 .. $#$_], undef)) . "]::$_->[0]\[]" } $_ ]
	  foreach @types[0 .. $#types];
	return @types;
}

sub value_sql
{
	my ($type, $n) = @_;
	my ($name, @v) = @$type;
	my $v = $v[ $n % @v ];

	return $v if $name =~ /\[\]$/ && $v =~ /^array/;
	return $v if $v =~ /::\w+\.?\w*$/ && $v =~ /^row|^array/;
	return literal($v) . "::$name";
}

# watch(SESSION, TABLE): six queues, three of triggers, three of captures
sub watch
{
	my ($s, $table) = @_;

	$s->query(join(';', "alter table $table replica identity full",
		(map {
			my ($format, $function) = @$_;
			("select pgq.create_queue('t_$format'), pgq.create_queue('c_$format')",
				"select pgq.register_consumer(q, 'c') from unnest('{t_$format,c_$format}'::text[]) q",
				"create trigger t_$format after insert or update or delete on $table for each row execute function pgq.$function('t_$format', 'backup')",
				"create trigger tt_$format after truncate on $table for each statement execute function pgq.$function('t_$format')",
				"select pgq.capture_table('c_$format', ${\literal($table)}::regclass, 'format=$format', 'backup')")
		} @formats),
		"select pgq.create_queue('c_debezium'); select pgq.register_consumer('c_debezium', 'c');
		select pgq.capture_table('c_debezium', ${\literal($table)}::regclass, 'format=debezium')"));
	return;
}

# Events of the json and the debezium format of the same changes, in pairs, that do
# not say the same: the rows' names, and values but in arrays, of years BC, and of types that
# Debezium writes otherwise, which the SQL test debezium has.
my $unlike_envelopes = q{
	with j as (select row_number() over (order by ev_id) as n, ev_type, ev_data::json as d from JSON),
	e as (select row_number() over (order by ev_id) as n, ev_type, ev_data::json as d from DEBEZIUM)
	select count(*) || ' unlike: ' || min(concat_ws(' ', n, j.ev_type, (
		select left(string_agg(concat_ws(' ', key, a.value, b.value), '; '), 2000)
		from json_each(j.d) a full join json_each(case e.d->>'op' when 'd' then e.d->'before' when 't' then '{}' else e.d->'after' end) b using (key)
		where json_typeof(b.value) is distinct from 'array' and a.value::text is distinct from b.value::text and a.value #>> '{}' is distinct from b.value::text)))
	from j full join e using (n)
	where not coalesce(j.ev_type = e.ev_type
		and strpos('INSERT c UPDATE u DELETE d TRUNCATE t', (j.ev_type::json->>'op') || ' ' || (e.d->>'op')) > 0
		and case e.d->>'op' when 't' then (e.d->>'after') is null and (e.d->>'before') is null
			else not exists (
				select from json_each(j.d) a full join json_each(case e.d->>'op' when 'd' then e.d->'before' else e.d->'after' end) b
					using (key)
				where case when key in (select c.attname from pg_attribute c join pg_type t on t.oid = c.atttypid
					where c.attrelid >= 16384 and coalesce(nullif(t.typbasetype, 0), t.oid) = any
						('{timestamptz,timetz,interval,money,bit,varbit}'::regtype[]))
					or right(a.value #>> '{}', 3) = ' BC' then false
				else not coalesce(case when json_typeof(b.value) = 'array' then json_typeof(a.value) = 'string'
					when a.value::text = b.value::text or a.value #>> '{}' = b.value::text then true
					when left(a.value #>> '{}', 2) <> '\x' then false
					else a.value #>> '{}' = '\x' || encode(decode(b.value #>> '{}', 'base64'), 'hex') end, false) end) end,
		false)
};

sub literal_table
{
	my ($db, $queue) = @_;
	return sql($node, $db, "select pgq.current_event_table('$queue')");
}

sub compare
{
	my ($db, $what, $least) = @_;

	wait_ingest($node, $db);
	my $unlike = $unlike_envelopes =~ s/JSON/literal_table($db, 'c_json')/er =~ s/DEBEZIUM/literal_table($db, 'c_debezium')/er;
	is(sql($node, $db, $unlike), '', "$what, debezium: says what json says");

	foreach my $format (map { $_->[0] } @formats)
	{
		my ($t, $c) = map { consume($node, $db, "${_}_$format", 'c',
			'to_json(array[ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4])') } 't', 'c';
		my ($i) = grep { ($t->[$_] // '') ne ($c->[$_] // '') } 0 .. ($#$t > $#$c ? $#$t : $#$c);

		ok(@$t >= $least, "$what, $format: " . @$t . ' events');
		ok(!defined $i, "$what, $format: captured as by the trigger")
		  or diag("trigger: " . substr($t->[$i] // 'none', 0, 2000)
			  . "\ncapture: " . substr($c->[$i] // 'none', 0, 2000));
	}
	return;
}

# The sql format is replayed as it is.
my $replay = q{
	create function replay(i_copy text) returns int language plpgsql as $$
	declare e record; n int := 0; hit int; b int8;
	begin
		for e in execute format('select ev_type, ev_data from %s order by ev_id',
			pgq.current_event_table('c_sql'))
		loop
			execute case e.ev_type when 'I' then 'insert into ' || i_copy || ' ' || e.ev_data
				when 'U' then 'update ' || i_copy || ' set ' || e.ev_data
				when 'R' then 'truncate ' || i_copy
				else 'delete from ' || i_copy || ' where ' || e.ev_data end;
			get diagnostics hit = row_count;
			if hit <> 1 and e.ev_type <> 'R' then
				raise exception 'event hits % rows: %', hit, e.ev_data;
			end if;
			n := n + 1;
		end loop;
		return n;
	end $$};

foreach my $db (sort keys %databases)
{
	my ($encoding, $words, $more) = @{ $databases{$db} };

	sql($node, 'postgres', "create database $db encoding '$encoding' locale 'C' template template0");
	sql($node, $db, 'create extension pgq; select pgq.start_capture()');
}
my $pgqd = start_pgqd($node, database_list => join(', ', sort keys %databases));

foreach my $db (sort keys %databases)
{
	my ($encoding, $words, $more) = @{ $databases{$db} };
	my $s = session($node, $db);

	$s->query("set client_encoding = utf8; set client_min_messages = warning; $replay");
	$s->query("create extension $_") foreach qw(hstore citext ltree cube seg isn);
	my $q = literal($words);
	$s->query("create type mood as enum ('sad', $q, E'it''s \"ok\"');
		create type pair as (n int, \"a $words\" text, at timestamptz);
		create type deep as (p pair, l pair[], m mood);
		create domain d_int as int check (value > 0); create domain d_pairs as pair[];
		create domain d_text as text collate \"C\"; create type span as range (subtype = float8)");
	my @types = types_of($s);
	push @types, [ 'mood', $words, "it's \"ok\"" ], [ 'd_int', 7 ], [ 'd_text', "$words\n$more", $more ],
	  [ 'span', '[0.1,0.5)' ], [ 'mood[]', "{sad,NULL,\"$words\"}" ],
	  [ 'pair', "(1,\"$words \"\"q\"\" \\\\\\\\\",\"2020-01-01 00:00:00+00\")", '(,,)' ],
	  [ 'deep', "row(row(1, $q, null)::pair, array[row(2, $q, null), null]::pair[], 'sad')::deep" ],
	  [ 'd_pairs', "array[row(3, $q, '2020-01-01')]::pair[]::d_pairs" ],
	  [ 'bit(5)', '10101' ], [ 'char(9)', $words ], [ 'numeric(10,2)', '1.5' ];
	my @names = map {
		$_ % 3 ? "c$_" : "$words$_" . ("'", '"', '\\', ' ', ',', '.', '%', '=', '&', "\n", ':', '$')[ $_ / 3 % 12 ]
	} 1 .. @types;
	my $schema = quoted("$words ' \" \\ .");
	my $table = "$schema." . quoted("T,$more\"\\ '%");
	my $cols = join(', ', map { quoted($names[$_]) . " $types[$_][0]" } 0 .. $#types);

	$s->query("create schema $schema; create table $table (id int primary key,
			i int generated always as identity, $cols);
		create table copy (like $table)");
	watch($s, $table);
	$s->query("insert into $table values ($_, default, "
		. join(', ', map { value_sql($types[$_], 0) } 0 .. $#types) . ')') foreach 1 .. 2;
	$s->query("insert into $table values (3, default, " . join(', ', map { value_sql($_, 1) } @types) . ')');
	$s->query("insert into $table (id) values (4), (5)");
	$s->query("update $table set " . join(', ', map { quoted($names[$_]) . ' = ' . value_sql($types[$_], 1) } 0 .. $#types)
		. ' where id in (2, 4)');
	# each column alone
	$s->query("update $table set " . quoted($names[$_]) . ' = ' . value_sql($types[$_], 0) . ' where id = 5')
	  foreach 0 .. $#types;
	# rows from before a column, and a generated one
	$s->query("alter table $_ add d1 text default $q, add d2 int[] default '{1}',
		add g text generated always as (id::text || $q) stored") foreach $table, 'copy';
	$s->query("update $table set d2 = '{2}' where id = 1; insert into $table (id, d1) values (6, $q)");
	$s->query("delete from $table where id = 3");
	compare($db, "$encoding, " . @types . ' types', 10);
	cmp_ok($s->query('select replay(\'copy\')'), '>', 10, "$encoding: replayed");
	is($s->query("select string_agg(md5(c::text), ',' order by id) from copy c"),
		$s->query("select string_agg(md5(c::text), ',' order by id) from $table c"),
		"$encoding: the copy equals the source");
	$s->close;
}

# The widest table there is, and a value of 100 MB.
my $s = session($node, 'utf8');
$s->query('set client_min_messages = warning; drop extension pgq cascade; drop table copy');
$s->query("create extension pgq; select pgq.start_capture()");
$s->query('create table wide (' . join(', ', map { "c$_ int" } 1 .. 1600) . ', primary key (c1600, c1));
	create table copy (like wide)');
watch($s, 'wide');
$s->query('insert into wide select ' . join(', ', 1 .. 1600));
$s->query('insert into wide (c1, c2, c1600) values (0, 1, 2)');
$s->query('update wide set c2 = 7, c1599 = 8; delete from wide where c1 = 0');
compare('utf8', '1,600 columns', 4);
is($s->query('select replay(\'copy\')'), 5, '1,600 columns: replayed');
is($s->query('select md5(string_agg(c::text, $$$$)) from copy c'),
	$s->query('select md5(string_agg(c::text, $$$$)) from wide c'), '1,600 columns: the copy equals the source');

$s->query(q{create table big (id int primary key, v text, b bytea);
	select pgq.create_queue('big'), pgq.register_consumer('big', 'c');
	select pgq.capture_table('big', 'big'::regclass);
	insert into big values (1, repeat(E'0123456789abcdeé\n"\\\\', 5000000), '\x00ff');
	update big set b = decode(repeat('00ff7f', 3000000), 'hex')});
wait_ingest($node, 'utf8');
is_deeply(
	consume($node, 'utf8', 'big', 'c', q{concat_ws(' ', ev_type::json->>'op',
		(select string_agg(md5(value), ' ') from json_each_text(ev_data::json)), ev_extra4)}),
	[ split(/\n/, $s->query(q{
		select concat_ws(' ', 'INSERT', md5('1'), md5(v), md5('\x00ff')) from big
		union all select concat_ws(' ', 'UPDATE', md5('1'), md5(b::text), 'unchanged=v') from big})) ],
	'a value of 100 MB');
my ($peak) = slurp("/proc/$pgqd->{pid}/status") =~ /VmHWM:\s*(\d+)/;
note(sprintf('pgqd used %d MB at most', $peak / 1024));
cmp_ok($peak, '<', 600 * 1024, 'pgqd holds few copies of it');
$s->close;
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
