
# Whatever the arguments, a function ends with a result or with an error that
# says what was wrong: never with an internal error, never with a crash.
# All functions of the extensions are called with NULLs, with each odd value in
# each place, and with combinations of them by chance.
#
# Environment: PGQ_SWEEP_SEED, PGQ_SWEEP_CALLS (how many by chance, 1000)

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use Test::More;

my $node = new_server('main');
my $db = new_database($node, 'sweep', slot => 0);
my $seed = $ENV{PGQ_SWEEP_SEED} // time();
my $calls = $ENV{PGQ_SWEEP_CALLS} // 1000;

srand($seed);
diag("PGQ_SWEEP_SEED=$seed");
sql($node, $db, q{
	create extension pgq_coop;
	create extension pgq_ext;
	create table t (id int primary key, v text);
	create schema s;
	create table s.t (id int primary key);
	select pgq.create_queue('q'), pgq.register_consumer('q', 'c'),
		pgq.set_queue_config('q', 'ticker_max_lag', '0')});
sql($node, $db, q{
	create trigger trg after insert on t for each row execute function pgq.jsontriga('q');
	select pgq.insert_event('q', 't', 'd') from generate_series(1, 3)});
sql($node, $db, q{select pgq.ticker('q')});
my $b = sql($node, $db, q{select pgq.next_batch('q', 'c')});
sql($node, $db, 'select pgq.start_capture()');
my $slot = sql($node, $db, 'select slot_name from pgq.slot');

# Values that make sense, by the argument's name; else by its type.
my %good_name = (
	qr/queue/ => "'q'",
	qr/consumer|_main_|cons/ => "'c'",
	qr/batch/ => $b,
	qr/slot/ => "'$slot'",
	qr/trigger/ => "'trg'",
	qr/schema/ => "'s'",
	qr/name/ => "'q'");
my %type = (
	text => [ "'t'", "''", q{E'a\nb\tc'}, q{'it''s "odd" \ %s%n {}'}, "'ö\x{2028}'",
		"repeat('x', 9000)", "repeat('x', 3000000)", "'pgq.event_1'", q{'a.b.c'},
		"'-1'", "'infinity'" ],
	name => [ "'s'", "''", q{'it''s "odd" \\'}, "repeat('x', 63)" ],
	integer => [ 1, 0, -1, 2147483647, -2147483648 ],
	bigint => [ 1, 0, -1, "9223372036854775807", "'-9223372036854775808'" ],
	boolean => [ 'true', 'false' ],
	xid => [ "'3'" ],
	oid => [ "'t'::regclass", 0, 4294967295, 1259 ],
	'timestamp with time zone' =>
	  [ 'now()', "'infinity'", "'-infinity'", "'294276-12-31'", "'4713-01-01 BC'" ],
	interval => [ "'1 s'", "'-1 s'", "'178000000 years'", "'0'", "'-178000000 years'" ],
	regclass => [ "'t'", '0', "'pg_class'", '4294967295', "'t_pkey'", "'pgq.queue'" ],
	pg_lsn => [ "'0/1'", "'0/0'", "'FFFFFFFF/FFFFFFFF'" ],
	bytea => [ "''", q{'\x4500000000'}, q{'\x43ffffffff'}, q{'\x45000000087fffffff7fffffff'},
		q{'\x450000000900000001717fffffff'}, "decode(repeat('4d', 5000), 'hex')" ],
	'text[]' => [ "'{}'", "'{NULL}'", "'{{a,b},{c,d}}'", "'{when=}'", q{'{"when=(((("}'},
		"'{format=xml}'", "array(select 'ignore=x' from generate_series(1, 3000))",
		"'{q}'", "array['ev_extra1=' || repeat('(', 5000) || '1']",
		"'[5:6]={a,b}'" ],
	'xid[]' => [ "'{}'", "'{NULL}'", "'{1,2,3}'", "'{4294967295}'", "'{{3},{3}}'" ],
	'pgq.event_template' => [ "(select e from pgq.event_1 e limit 1)", 'null::pgq.event_template' ],
	'pgq.queue' => [ "(select q from pgq.queue q limit 1)", 'null::pgq.queue' ],
	jsonb => [ "'{}'", 'null', "'[1]'", q{'{"a": {"b": null}}'} ],
	'double precision' => [ '0', "'nan'", "'-infinity'", '1e300' ],
	'pgq.share' => [ 'null::pgq.share', '(select s from pgq.share s limit 1)' ],
	# what PostgreSQL gives to event triggers alone
	pg_ddl_command => [ 'null' ]);

sub good
{
	my ($name, $type) = @_;

	foreach my $like (keys %good_name)
	{
		return $good_name{$like}
		  if $name =~ $like && $type =~ /^(text|name|bigint)$/;
	}
	return $type{$type}[0];
}

# Functions with their arguments: name, then pairs of name and type.
my @functions = map { [ split(/\t/, $_, -1) ] } split(/\n/, sql($node, $db, q{
	select concat_ws(E'\t', p.oid::regproc, p.provariadic <> 0,
		(select string_agg(coalesce(p.proargnames[i], '') || '=' ||
				format_type(p.proargtypes[i - 1], null), E'\t' order by i)
			from generate_series(1, p.pronargs) i))
	from pg_proc p join pg_namespace n on n.oid = p.pronamespace
		join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
	where n.nspname in ('pgq', 'pgq_coop', 'pgq_ext')
		and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
	order by p.oid}));
cmp_ok(@functions, '>', 90, 'the functions are known');

# An array has no values of its own: what all arrays may be.
foreach my $t (map { /=(\S+\[\])$/ ? $1 : () } map { @$_ } @functions)
{
	$type{$t} //= [ "'{}'", "'{NULL}'", "array[$type{ $t =~ s/\[\]$//r }[0]]" ];
}

my %unknown;
my @tried;

sub call
{
	my ($name, $variadic, $types, $values) = @_;
	my @args = map { "$values->[$_]::$types->[$_]" } 0 .. $#$types;

	$args[-1] = "variadic $args[-1]" if $variadic eq 't';
	push @tried, "select $name(" . join(', ', @args) . ')';
	return;
}

foreach my $f (@functions)
{
	my ($name, $variadic, @args) = @$f;
	my @names = map { /^(.*)=/ } @args;
	my @types = map { /^.*=(.*)/ } @args;

	$unknown{$_} = 1 foreach grep { !$type{$_} } @types;
	call($name, $variadic, \@types, [ ('null') x @types ]);
	foreach my $i (0 .. $#types)
	{
		foreach my $odd ('null', @{ $type{ $types[$i] } // [] })
		{
			my @values = map { good($names[$_], $types[$_]) } 0 .. $#types;

			$values[$i] = $odd;
			call($name, $variadic, \@types, \@values);
		}
	}
}
is(join(', ', sort keys %unknown), '', 'there are values for every type');
foreach (1 .. $calls)
{
	my ($name, $variadic, @args) = @{ $functions[ rand(@functions) ] };
	my @names = map { /^(.*)=/ } @args;
	my @types = map { /^.*=(.*)/ } @args;

	call($name, $variadic, \@types,
		[
			map {
				my @odd = ('null', @{ $type{ $types[$_] } });
				rand() < 0.5 ? good($names[$_], $types[$_]) : $odd[ rand(@odd) ];
			} 0 .. $#types
		]);
}

# One psql tries them all, each in a transaction that is rolled back.
my $script = "set client_min_messages = error;\nset statement_timeout = '1s';\n"
  . "set lock_timeout = '500ms';\n\\set VERBOSITY verbose\n";
for my $i (0 .. $#tried)
{
	$script .= "\\warn call $i\nbegin;\n$tried[$i];\nrollback;\n";
}
utf8::encode($script);
my ($out, $err) = ('', '');
IPC::Run::run([ 'psql', '-XAtq', '-o', '/dev/null', '-d', $node->connstr($db) ],
	'<', \$script, '>', \$out, '2>', \$err);

my $at = -1;
my %state;
my @bad;
foreach (split(/\n/, $err))
{
	if (/^call (\d+)$/) { $at = $1; }
	elsif (/(ERROR|FATAL|PANIC):\s+(\w+):/ || /(server closed) the (conn)/)
	{
		$state{$2}++;
		push @bad, substr("$tried[$at]", 0, 300) . "\n  $_"
		  if $1 ne 'ERROR' || $2 =~ /^XX|^58|^53/;
	}
}
is($at, $#tried, "all " . scalar(@tried) . " calls were made");
is(join("\n", @bad), '', 'no internal error');
diag(join(' ', map { "$_:$state{$_}" } sort keys %state));
unlike(slurp($node->logfile), qr/terminated by signal|PANIC|TRAP/,
	'the server never crashed');
is(sql($node, $db, q{select count(*) from pgq.get_batch_events(} . "$b)"), 3,
	'nothing was done');

$node->stop;
done_testing();
