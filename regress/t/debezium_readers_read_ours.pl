
# What reads Debezium's topics reads ours: Debezium's connector and a capture with
# format=debezium see the same changes, and their messages in Kafka are compared
# field for field; then Kafka Connect and Apache Flink read both.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Utils;
use PgqDebezium;
use PgqKafka;
use PgqRelay;
use PgqTest;
use Test::More;

PgqDebezium::need(qw(debezium flink));
my $json = JSON::PP->new->canonical->allow_nonref;
my $kafka = PgqKafka->new(1);
my $node = new_server('main', conf => "listen_addresses = '127.0.0.1'\n");
my $db = new_database($node, 'shop');
my @tables = qw(types keyed nokey toast item);

$kafka->create('pgq.positions', 1, 'cleanup.policy=compact');
$kafka->create('shop.message', 1);    # markers of pgq.wait_ingest, which Debezium reads, too
sql($node, $db, <<'END');
create type mood as enum ('sad', 'happy');
create type pair as (a int, b text);
create domain positive as int check (value > 0);
create domain day as date;
create table types (id int8 primary key, b bool, i2 int2, i4 int4, f4 float4, f8 float8,
	num numeric, num2 numeric(10, 2), d date, t time, tt timetz, ts timestamp, ts3 timestamp(3),
	tz timestamptz, iv interval, by bytea, u uuid, j json, jb jsonb, x text[], i4s int4[],
	nums numeric[], i2d int4[], mood mood, moods mood[], pair pair, pos positive, r int4range,
	ip inet, ch char(3), vc varchar(9), bits bit(3), p point, m money, xm xml, o oid, mac macaddr,
	dates date[], tzs timestamptz[], bys bytea[], vb varbit, b1 bit, n name, c "char",
	tsv tsvector, cid cidr, bits12 bit(12), day day, bools bool[], f8s float8[]);
create table keyed (a int, b text, c bool, v text, primary key (b, a, c));
alter table keyed replica identity full;
create table nokey (a int, v text);
alter table nokey replica identity full;
create table toast (id int primary key, n int, v text);
alter table toast alter v set storage external;
create table item (id int primary key, name text, price numeric(10, 2), made timestamp(3),
	sold timestamptz(3), day date);
alter table item replica identity full;
select pgq.create_queue('q');
select pgq.register_consumer('q', 'relay_r');
END
foreach my $t (@tables)
{
	$kafka->create("$_.public.$t", 1) foreach qw(shop ours);
	sql($node, $db, "select pgq.capture_table('q', '$t', 'format=debezium')");
}

my $connect = PgqDebezium::connect($kafka->{servers}, PgqDebezium::source($node, $db));
my $pgqd = start_pgqd($node, database_list => $db);
my $relay = start_relay(r => {
	db => $node->connstr($db),
	queue => 'q',
	target => $kafka->url,
	topic => 'ours.{schema}.{table}',
	key => '{key_json}',
	tombstones => 1
});

wait_for('Debezium', sub {
	die $connect->text if !$connect->alive;
	return sql($node, $db,
		q{select 1 from pg_replication_slots where active and plugin = 'pgoutput'});
}, 120);

sql($node, $db, $_) foreach split(/^--\n/m, <<'END');
insert into types values (9223372036854775807, true, -1, 7, 1.5, 'infinity', 'nan', 1.50,
	'2026-01-31', '12:34:56.789', '12:34:56.789+02', '2026-01-31 12:34:56.789',
	'2026-01-31 12:34:56.789', '2026-01-31 12:34:56.789123+02',
	'1 year 2 mons 3 days 04:05:06.7', '\x00ff', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
	'{"a": [1]}', '{"a": [1]}', array['a,"b"', null, '', '}'], '{1,null,-2}', '{1.50,null}',
	'{{1,2},{3,4}}', 'happy', '{sad,happy}', '(1,"x y")', 7, '[1,5)', '10.0.0.1/8', 'ab', 'vc',
	B'101', '(1,2)', '12.34', '<a/>', 77, '08:00:2b:01:02:03', '{2026-01-31,null}',
	'{2026-01-31 12:00:00+02}', array['\x01'::bytea, null], B'10101', B'1', 'name', 'c',
	'a fat cat', '10.0.0.0/8', B'100000001110', '2026-01-31', '{true,null}',
	'{1.5,null}');
--
insert into types (id, f8, num, d, t, tt, ts, tz, iv, m, bits, vb, b1, bits12, o) values
	(2, '-infinity', 12345678901234567890.123456789, 'infinity', '00:00', '23:59:59.000001-12',
		'infinity', '-infinity', '-1 mon', '-1000', B'000', B'', B'0', B'000000000001', 4294967295),
	(3, 'nan', 1e30, '0044-03-15 BC', '01:00', '00:00+14', '0044-03-15 BC', '0044-03-15 BC', '0',
		'0.05', B'001', B'0', null, null, null),
	(4, -0.1, -0.5, '12345-01-01', '23:59:59.999999', '12:00Z', '12345-01-01', '12345-01-01',
		'00:00:00.000001', '0', null, null, null, null, null),
	(5, 1e20, 3, '0001-01-01', '12:00:00.1', '12:00:00.1Z', '2026-01-31 00:00:00.1',
		'1900-01-01 00:00Z', '100 days -01:02:03.4', null, null, B'111111111', null, null, null),
	(6, 0, 0, null, null, null, null, null, '-00:00:00.5', null, null, null, null, null, null);
update types set i4 = 8 where id = 2;
update types set id = 20 where id = 2;
delete from types where id = 20;
--
insert into keyed values (1, 'b "x"', true, 'v');
update keyed set v = 'w';
update keyed set a = 2;
delete from keyed;
begin;
insert into keyed values (5, 'x', false, 'x');
savepoint a;
insert into keyed values (6, 'ä', false, 'x');
release a;
commit;
--
insert into nokey values (1, 'v');
update nokey set v = 'w';
delete from nokey;
--
insert into toast values (1, 1, repeat('x', 10000));
update toast set n = 2;
truncate toast;
--
insert into item select i, 'item ' || i, i * 1.5, '2026-01-31 12:34:56.789', '2026-01-31 12:34:56.789+02',
	'2026-01-31' from generate_series(1, 5) i;
update item set name = 'two', price = 2.22 where id = 2;
delete from item where id = 3;
update item set id = 40 where id = 4;
END
wait_ingest($node, $db);
my %topic;
my %count = (types => 12, keyed => 9, nokey => 4, toast => 3, item => 11);

# The messages of a topic, once there are so many.
sub messages
{
	my ($topic, $count) = @_;
	my @messages;

	wait_for("$count messages in $topic", sub {
		die $connect->text if !$connect->alive;
		return (@messages = $kafka->dump($topic)) >= $count;
	});
	return \@messages;
}

# What Debezium has otherwise, as we have it; doc/events.md tells why.
my %no_zone = map { $_ => 1 } qw(d t ts ts3 dates day made);
my %infinite = (
	'-5877611-06-21Z' => 'infinity',
	'+294247-01-10T04:00:25.2Z' => 'infinity');
my %text = (i2d => '{{1,2},{3,4}}', pair => '(1,"x y")', p => '(1,2)');

sub as_ours
{
	my ($row) = @_;

	return $row if !$row;
	foreach my $name (keys %$row)
	{
		next if !defined $row->{$name};
		$row->{$name} = 'NaN' if $row->{$name} eq 'NAN';
		$row->{$name} = $text{$name} if $text{$name};
		next if !$no_zone{$name};
		foreach my $value (ref $row->{$name} ? @{ $row->{$name} } : $row->{$name})
		{
			$value = $infinite{$value} // $value =~ s/Z$//r if defined $value;
		}
	}
	return $row;
}

sub same
{
	my ($what, $theirs, $ours) = @_;

	return is($json->encode($ours), $json->encode($theirs), $what);
}

foreach my $t (@tables)
{
	my ($theirs, $ours) =
	  (messages("shop.public.$t", $count{$t}), messages("ours.public.$t", $count{$t} - ($t eq 'nokey')));

	# what has no key needs no tombstone
	pop @$theirs if $t eq 'nokey' && !defined $theirs->[-1]{value};
	is(scalar(@$ours), scalar(@$theirs), "$t: as many");
	foreach my $i (0 .. $#$theirs)
	{
		my ($a, $b) = ($theirs->[$i], $ours->[$i] // {});
		my ($v, $w) = map { $json->decode($_->{value} // 'null') } $a, $b;
		my $what = "$t, $i, " . ($v ? $v->{op} : 'tombstone');

		same("$what: key", $a->{key}, $b->{key});
		next if !$v || !$w;
		my ($s, $r) = (delete $v->{source}, delete $w->{source});
		same("$what: before", as_ours($v->{before}), $w->{before});
		same("$what: after", as_ours($v->{after}), $w->{after});
		delete @$s{qw(version origin origin_lsn)};
		delete $r->{version};
		my ($p, $q) = map { $json->decode(delete $_->{sequence}) } $s, $r;
		same("$what: source", $s, $r);
		is($q->[1], $p->[1], "$what: the same place in the WAL");
		delete @$_{qw(before after ts_ms ts_us ts_ns)} foreach $v, $w;
		same("$what: the rest", $v, $w);
	}
}
$connect->stop;

# ---- readers ----

my $columns = 'id INT, name STRING, price DECIMAL(10, 2), sold TIMESTAMP_LTZ(3)';
my $wanted = q{select id, name, price, to_char(sold at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')};
is(PgqDebezium::flink($kafka->{servers}, 'shop.public.item', $columns),
	sql($node, $db, "$wanted from item order by id"), 'Flink has the rows of the table from Debezium');
is(PgqDebezium::flink($kafka->{servers}, 'ours.public.item',
		"$columns, made TIMESTAMP(3), `day` DATE"),
	sql($node, $db, qq{$wanted, to_char(made, 'YYYY-MM-DD"T"HH24:MI:SS.MS'), day from item order by id}),
	'and from us, with days and times, which it can not read of those');

# without schemas in them Debezium's transformation leaves envelopes as they are
my $dir = PostgreSQL::Test::Utils::tempdir();
$connect = PgqDebezium::connect($kafka->{servers},
	map { PgqDebezium::unwrapped($_, "$_.public.item", "$dir/$_") } qw(shop ours));

sub rows
{
	my ($file) = @_;

	return -e $file ? map { s/, source=.*//r =~ s/Z(?=[,}])|ts_us=\d+//gr } grep { /before=/ } split(/\n/, slurp($file)) : ();
}
wait_for('what Kafka Connect reads', sub {
	die $connect->text if !$connect->alive;
	return rows("$dir/shop") >= 9 && rows("$dir/ours") >= 9;
}, 120);
is(join("\n", rows("$dir/ours")), join("\n", rows("$dir/shop")), 'Kafka Connect makes the same of both');
note((rows("$dir/ours"))[0]);
$connect->stop;

done_testing();
