
# Random values of many types, as SQL expressions on one line. All
# randomness comes from Perl's rand(), so that a seed says it all.

package RandomValues;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(any chance value literal types key_types simple_types
  odd_name);

sub any { return $_[ rand @_ ]; }

# chance(N): true once in N times.
sub chance { return rand($_[0]) < 1; }

# A literal that reads the same whatever the settings are.
sub literal
{
	my ($text) = @_;

	$text =~ s/([\\'])/$1 eq "'" ? "''" : '\\\\'/ge;
	$text =~ s/\n/\\n/g;
	$text =~ s/\r/\\r/g;
	return "E'$text'";
}

my @pieces = (
	'a', 'Z', ' ', '  ', "'", "''", '"', '\\', '\\\\', '\\n', '%', '%41', '+',
	'&', '=', ',', '.', '/', ' where ', ' and ', 'null', 'NULL', '{', '}', '[',
	'$1', '$$', "\n", "\r", "\t", "\x01", "\b", "\f", "\x1f", "\x7f",
	'ä', 'ß', '日本', '🐘', "\xe2\x80\xa8", '--', '/*', ';', '<a>', ':x');

sub text { return join('', map { any(@pieces) } 1 .. rand(8)); }

sub number { return int(rand(2 * $_[0])) - $_[0]; }

# Too long for a page, and nothing that pglz could make short.
sub large
{
	my $n = number(1000000);
	my $times = 90 + int(rand 60);

	return "(select string_agg(md5((x + $n)::text), '') "
	  . "from generate_series(1, $times) x)";
}

sub list_of
{
	my ($type, $n) = @_;
	return join(', ', map { value($type, null => 0) } 1 .. $n);
}

sub any_time
{
	return any(
		sprintf('%04d-%02d-%02d %02d:%02d:%02d.%06d',
			1900 + rand 200, 1 + rand 12, 1 + rand 28, rand 24, rand 60,
			rand 60, rand 1000000),
		'2000-01-01 00:00:00', 'infinity', '-infinity',
		'0044-03-15 12:00:00 BC', '12345-06-07 00:00:00.5');
}

my %make = (
	bool => sub { any("'t'", "'f'") },
	int2 => sub { any(number(32767), -32768, 0) },
	int4 => sub { any(number(2000000000), number(50), -2147483648) },
	int8 => sub { any(number(100), '9223372036854775807',
			"'-9223372036854775808'", number(2**50)) },
	numeric => sub { any("'NaN'", '1.0', '1.00', '0', '-0.000001',
			number(1000) / 8, '1' . '0' x 40 . '.5') },
	'numeric(10,2)' => sub { number(10000) / 4 },
	float4 => sub { any("'NaN'", "'Infinity'", '1e-30', "'-0'", number(1e6) / 7) },
	float8 => sub { any("'-Infinity'", '0.1', '1e300', number(1e6) / 7) },
	text => sub { literal(text()) },
	'varchar(80)' => sub { literal(text()) },
	'char(9)' => sub { any("'x'", "''", "'ab  '", literal("'\\\"")) },
	name => sub { literal(any('n', 'a b', "O'x")) },
	'"char"' => sub { any("'a'", "'\\'", "''") },
	bytea => sub { any("'\\x'", "'\\x00ff5c27'", "decode(md5('" . rand() . "'), 'hex')") },
	date => sub { literal(any('2024-02-29', '0044-03-15 BC', 'infinity', '11111-01-01')) },
	time => sub { literal(any('00:00:00', '23:59:59.999999', '24:00:00')) },
	timetz => sub { literal(any('00:00:00+00', '12:34:56.7-08:30')) },
	timestamp => sub { literal(any_time()) },
	timestamptz => sub { literal(any_time() . any('', '')) },
	interval => sub { literal(any('1 mon -3 days 04:05:06.7', '-1 years', '00:00:00', '178000000 years')) },
	uuid => sub { "md5('" . rand() . "')::uuid" },
	json => sub { literal(any('{"a" :  1}', '[1,2,{"b":"\\u00e4\\n"}]', 'null', '"x\'y"')) },
	jsonb => sub { literal(any('{"b":1,"a":[null,true]}', '"\\\\ \\" "', '1.500')) },
	inet => sub { literal(any('10.0.0.1/8', '::1', 'fe80::/10')) },
	cidr => sub { literal(any('10.0.0.0/8', '::/0')) },
	macaddr => sub { "'08:00:2b:01:02:03'" },
	'bit(5)' => sub { any("B'10101'", "B'00000'") },
	varbit => sub { any("B'1'", "B''", "B'0110'") },
	money => sub { '(' . number(100000) / 4 . ')::numeric::money' },
	point => sub { "point(" . number(9) . "," . number(9) . ")" },
	box => sub { "box '((1,2),(3," . number(9) . "))'" },
	path => sub { "path '[(0,0),(1," . number(9) . ")]'" },
	int4range => sub { any("'empty'", "'[1,5)'", "'(,3]'", "'[" . number(5) . ",100]'") },
	tstzrange => sub { any("tstzrange('2020-01-01', null)", "'(,)'",
			"'[\"2020-01-01 00:00:00.5+00\",infinity]'") },
	int4multirange => sub { any("'{}'", "'{[1,3), [7,9]}'") },
	'int4[]' => sub { any("'{}'", 'array[' . list_of('int4', 3) . ']',
			"'[0:1]={7,null}'", "array[[1,2],[3,4]]") },
	'text[]' => sub { any("array[null]::text[]", 'array[' . list_of('text', 3) . ']',
			"array['NULL','','{\"']") },
	'timestamptz[]' => sub { 'array[' . list_of('timestamptz', 2) . ']::timestamptz[]' },
	tsvector => sub { literal(any("'a':1A 'b c':2", 'x')) . '::tsvector' },
	tsquery => sub { literal(any("'a' & !'b'", 'x')) . '::tsquery' },
	pg_lsn => sub { "'1/" . int(rand 1000) . "'" },
	oid => sub { int(rand 1000000) },
	xid8 => sub { "'" . int(rand 1000000) . "'" },
	regclass => sub { any("'pg_class'", "'pg_catalog.pg_type'", '0') },
	xml => sub { literal(any('<a b="1">x &amp; y</a>', 'text', "<x>\n</x>")) },
	# made by RandomSchema in each schema; HERE is its quoted name
	'HERE.mood' => sub { any("'sad'", "'so so'", "'it''s \"ok\"'") },
	'HERE.small' => sub { int(rand 1000) },
	'HERE.label' => sub { literal('x' . text()) },
	'HERE.pair' => sub {
		"row(" . value('int4') . ", " . value('text') . ", "
		  . value('timestamptz') . ")::HERE.pair" },
	'HERE.pair[]' => sub {
		"array[row(1, " . value('text') . ", null), null]::HERE.pair[]" },
	'HERE.mood[]' => sub { "'{sad,NULL}'" },
	'HERE.ints' => sub { "array[" . list_of('int2', 2) . "]::int4[]" },
	'HERE.span' => sub { any("'empty'", "'[0.1,0.5)'") },
	hstore => sub { literal(any('"a"=>"1", "b c"=>NULL', '"\\""=>"=>"', '')) },
	citext => sub { literal(any('Abc', 'aBC', text())) },
);

# Types whose = calls things the same that are not, or that have none.
my %no_equality = map { $_ => 1 }
  qw(json xml point box path numeric float4 float8 char(9) citext regclass);

my @optional;

# types(NAME...): says which of xml, hstore and citext the server has.
sub types
{
	@optional = @_;
	return;
}

sub usable
{
	my %optional = map { $_ => 1 } @optional;

	return grep { !/^(xml|hstore|citext)$/ || $optional{$_} } sort keys %make;
}

# any type; with simple => 1 only such as = is identity for
sub any_type
{
	my (%opt) = @_;

	return 'text' if chance(6);
	return any(grep { !$opt{simple} || !$no_equality{$_} } usable());
}

# Types that a key may have. A literal of no known type can't be compared to a
# composite value, so the sql format can't name rows by one.
sub any_key_type
{
	my ($format) = @_;

	return any('int4', 'int4', 'int8', 'text', 'uuid', 'numeric', 'date', 'bytea',
		'timestamptz', 'HERE.mood', 'HERE.small', 'HERE.label', 'varchar(80)',
		'int4[]', 'int4range', 'float8', 'jsonb', 'bool', 'char(9)',
		$format eq 'sql' ? () : 'HERE.pair');
}

# value(TYPE, null => 0, large => 0): a random value.
sub value
{
	my ($type, %opt) = @_;

	return 'null' if ($opt{null} // 1) && chance(7);
	if (($opt{large} // 0) && chance(4))
	{
		return large() if $type =~ /^(text|HERE\.label)$/;
		return large() . '::bytea' if $type eq 'bytea';
		return 'array[' . large() . ', null]' if $type eq 'text[]';
		return "jsonb_build_object('x', " . large() . ')' if $type eq 'jsonb';
		return "row(1, " . large() . ", null)::HERE.pair" if $type eq 'HERE.pair';
	}
	return $make{$type}->();
}

my $serial = 0;

# A name that is unlike all others, in most cases not a nice one.
sub odd_name
{
	my ($base) = @_;
	my $n = ++$serial;

	return "$base$n" if chance(2);
	return any("$base $n", uc($base) . $n, "$base.$n", "$base\"$n", "$base'$n",
		"$base,$n", "$base\\$n", "ä$base$n", "$base=$n", "$base%$n", "$base:$n",
		"${n}$base", "$base&$n", "select$n", "$base\t$n");
}

sub reset_names { $serial = 0; return; }

1;
