# The text of money depends on lc_monetary: that of the database counts, whatever the
# session or the walsender has that reads the slot.

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

sql($node, $db, q{create table price (id int primary key, m money);
	select pgq.create_queue('q'), pgq.capture_table('q', 'price')});
sql($node, $db, "insert into price values (1, 1234.5)");

# what a session with a locale reads
sub peek
{
	my ($locale) = @_;
	return sql($node, $db, qq{set lc_monetary = '$locale';
		select data::json->>'ev_data'
		from pg_logical_slot_peek_changes('pgq_shop', null, null)});
}

is(sql($node, $db, "set lc_monetary = 'xx_XX'; select m from price"),
	'1.234,50 X', 'the locale works');
is(peek('C'), '{"id":1,"m":"$1,234.50"}', "the server's");
is(peek('xx_XX'), peek('C'), '... and not the session\'s');

sql($node, $db, "alter database shop set lc_monetary = 'xx_XX'");
is(peek('C'), '{"id":1,"m":"1.234,50 X"}', "the database's");

# a walsender begins with the settings of the time that it reads
sql($node, $db, q{select pg_logical_slot_get_changes('pgq_shop', null, null);
	insert into price values (2, 1234.5)});
my $end = sql($node, $db, 'select pg_current_wal_lsn()');
sql($node, $db, 'insert into price values (3, 0)');
{
	local $ENV{PGOPTIONS} = '-c lc_monetary=C';
	my ($out, $err) = run_command([
		'pg_recvlogical', '-d', $node->connstr($db), '--slot', 'pgq_shop',
		'--start', '--no-loop', '--endpos', $end, '-f', '-' ]);

	like($out, qr/1\.234,50 X/, 'a walsender knows it, too');
}

done_testing();
