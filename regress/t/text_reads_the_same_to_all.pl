# The text of money depends on lc_monetary, that of a timestamptz on the time zone. The
# database's count, as they were when the change was made, else the server's: whatever
# role, session or walsender reads the slot, and for copies too.

use strict;
use warnings;

use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# A locale of our own, since the system may have none but C.
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/source", <<'END');
LC_MONETARY
int_curr_symbol "XXX "
currency_symbol "X"
mon_decimal_point ","
mon_thousands_sep "."
mon_grouping 3;3
positive_sign ""
negative_sign "-"
int_frac_digits 2
frac_digits 2
p_cs_precedes 0
p_sep_by_space 1
n_cs_precedes 0
n_sep_by_space 1
p_sign_posn 1
n_sign_posn 1
END LC_MONETARY
END
run_command([ 'localedef', '-c', '-i', "$dir/source", "$dir/xx_XX" ]);
die "localedef made no locale\n" if !-f "$dir/xx_XX/LC_MONETARY";
$ENV{LOCPATH} = "$dir:/usr/lib/locale";

my $node = new_server('main', conf => "lc_monetary = 'C'\n");
my $db = new_database($node, 'shop');
my $zoned = "alter database shop set timezone";

sql($node, $db, q{create table price (id int primary key, m money, t timestamptz);
	select pgq.create_queue('q'), pgq.capture_table('q', 'price'),
		pgq.create_queue('copies'), pgq.register_consumer('copies', 'c'),
		pgq.register_consumer('q', 'c');
	create role daemon superuser login;
	alter role daemon set lc_monetary = 'xx_XX';
	alter role daemon set timezone = 'Asia/Kathmandu';
	alter role daemon in database shop set timezone = 'Asia/Kathmandu'});

sub add
{
	my ($id) = @_;
	sql($node, $db, "insert into price values ($id, 1234.5, '2026-07-01 12:00+00')");
	return;
}

# what a session with settings of its own reads: the text of each row
sub peek
{
	my ($settings) = @_;
	return sql($node, $db, qq{$settings;
		select string_agg(substr(data::json->>'ev_data', 9), ' ')
		from pg_logical_slot_peek_changes('pgq_shop', null, null)
		where data::json->>'ev_data' like '_"id"%'});
}

my $odd = "set lc_monetary = 'xx_XX'; set timezone = 'Asia/Tokyo'; set datestyle = German";
my $plain = '"m":"$1,234.50","t":"2026-07-01T12:00:00+00:00"}';
my $local = '"m":"1.234,50 X","t":"2026-07-01T14:00:00+02:00"}';

is(sql($node, $db, "set lc_monetary = 'xx_XX'; select 1234.5::money"),
	'1.234,50 X', 'the locale works');
add(1);
is(peek('select'), $plain, "the server's");
is(peek($odd), $plain, '... and not the session\'s');
is(sql($node, $db, "$odd; select count(*) from pg_logical_slot_peek_changes('pgq_shop',
	null, null); select 1234.5::money"), "1\n1.234,50 X",
	'... which has its own again') or diag('');

sql($node, $db, "alter database shop set lc_monetary = 'xx_XX';
	$zoned = 'Europe/Berlin'");
add(2);
is(peek($odd), "$plain $local", "the database's, for changes from then on");
sql($node, $db, "alter database shop reset all");
add(3);
is(peek($odd), "$plain $local $plain", '... and no longer');
sql($node, $db, "alter role all set timezone = 'Europe/Berlin';
	alter role all set lc_monetary = 'xx_XX'");
add(4);
is(peek($odd), "$plain $local $plain $local", "... those of all roles are the server's");
sql($node, $db, "alter role all reset all");

# a walsender, whose session lasts; its role has other settings
my $pgqd;
{
	local $ENV{PGOPTIONS} = '-c lc_monetary=C -c timezone=Asia/Tokyo';
	$pgqd = start_pgqd($node, base_connstr => 'host=' . $node->host . ' port='
		  . $node->port . ' user=daemon', initial_database => 'postgres');
}
add(5);
wait_ingest($node, $db);
sql($node, $db, "alter database shop set lc_monetary = 'xx_XX';
	$zoned = 'Europe/Berlin'");
add(6);
wait_ingest($node, $db);

# a copy says what the stream says
sql($node, $db, "select pgq.capture_table('copies', 'price', 'copy')");
wait_for('copy', sub { sql($node, $db, q{select count(*) from pgq.get_copy_info()
	where state <> 'done'}) eq '0' });
add(7);
sql($node, $db, "alter database shop reset all");
sql($node, 'postgres', "alter system set timezone = 'Europe/Berlin'");
sql($node, 'postgres', "alter system set lc_monetary = 'xx_XX'");
$node->reload;
wait_for('reload', sub { sql($node, $db, 'show timezone') eq 'Europe/Berlin' });
$pgqd->stop;
$pgqd->start;
add(8);
wait_ingest($node, $db);
my $expr = "(ev_data::json->>'id') || substr(ev_data, 9)";
is_deeply(consume($node, $db, 'q', 'c', $expr),
	[ "1$plain", "2$local", "3$plain", "4$local", "5$plain", "6$local", "7$local",
		"8$local" ], 'a stream of pgqd has the same');
is_deeply([ grep { /^\d/ } @{ consume($node, $db, 'copies', 'c', $expr) } ],
	[ map { "$_$local" } 1 .. 8 ], 'a copy, and its stream, too');

done_testing();
