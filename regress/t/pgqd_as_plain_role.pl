
# pgqd needs no superuser, only what doc/security.md grants: a role with
# REPLICATION that is a member of pgq_admin. Its password is shown to nobody.
# What others write into the WAL, into row security policies or behind the
# slot's back changes nothing.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $secret = 'top-Secret-pw';
my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $manual = slurp("$FindBin::RealBin/../../doc/security.md");

# The grants are the manual's own.
my ($grants) = $manual =~ /^(    CREATE ROLE pgqd .*?)\n\n/ms;
sql($node, $db, $grants);
sql($node, $db, qq{
	alter role pgqd password '$secret';
	create role app in role pgq_writer;
	create role nobody_special;
	create role other_replication replication login;
	grant create on schema public to app});

my $conn = $node->connstr($db) . " user=pgqd password=$secret";
my ($out, $err);
sql($node, $db, q{set session authorization pgqd; select pgq.start_capture()});
sql($node, $db, q{set session authorization pgqd; select pgq.create_queue('q'),
	pgq.create_queue('other'), pgq.register_consumer('q', 'c')});
sql($node, $db, q{
	set session authorization app;
	create table item (id int primary key, owner name default current_user);
	alter table item enable row level security;
	alter table item force row level security;
	create policy mine on item using (owner = 'boss') with check (true);
	select pgq.capture_table('q', 'item')});

my $pgqd = start_pgqd($node,
	base_connstr => 'host=' . $node->host . ' port=' . $node->port
	  . " user=pgqd password=$secret",
	http_listen => "127.0.0.1:$port");

# Row security is for those who read tables; a consumer gets every row.
sql($node, $db, q{set session authorization app; insert into item select generate_series(1, 3)});
wait_ingest($node, $db);
is_deeply(consume($node, $db, 'q', 'c', "ev_data::json->>'id'"),
	[ 1 .. 3 ],
	'a plain role ingests, and rows hidden by a policy come');
is(sql($node, $db, q{select state from pgq.get_slot_info()}), 'ok', 'the slot is well');

# It also ticks, retries and rotates.
sql($node, $db, q{
	set session authorization pgqd;
	select pgq.insert_event('q', 'sql', 'd');
	update pgq.queue set queue_rotation_period = '0'});
my $ticks = sql($node, $db, q{select max(tick_id) from pgq.tick where tick_queue = 1});
wait_for('a tick', sub {
	sql($node, $db, q{select max(tick_id) from pgq.tick where tick_queue = 1}) > $ticks });
wait_for('rotation', sub {
	sql($node, $db, q{select queue_cur_table from pgq.queue where queue_name = 'other'}) ne '0' });
unlike($pgqd->text, qr/permission denied|must be (owner|superuser)/, 'nothing is denied');

# Messages that look like ours, from anybody.
foreach my $prefix ('pgq.event', 'pgq.marker')
{
	foreach my $body (q{''}, q{repeat('x', 32)}, q{repeat('x', 100)},
		q{decode('00' || repeat('ff', 40) || '45000000ff', 'hex')})
	{
		foreach my $transactional ('true', 'false')
		{
			sql($node, $db, qq{set session authorization nobody_special;
				select pg_logical_emit_message($transactional, '$prefix', $body)});
		}
	}
}
sql($node, $db, q{set session authorization app; insert into item values (9)});
wait_ingest($node, $db);
is_deeply(consume($node, $db, 'q', 'c', 'ev_data'),
	[ 'd', '{"id":9,"owner":"app"}' ],
	'forged messages become no events');

# A REPLICATION role may load the plugin with any option, and that is all.
my $options = '';
foreach my $option ([ 'format', 'xml' ], [ 'format', '' ], [ 'proto_version', '1e9' ],
	[ 'x' x 10000, '1' ], [ 'format', '%n%s' ], [ "form'at", "\\\\" ], [ 'format', "te\nxt" ])
{
	(my $o = $option->[1]) =~ s/'/''/g;
	(my $n = $option->[0]) =~ s/'/''/g;
	my ($rc, $stdout, $stderr) = $node->psql($db, qq{set session authorization other_replication;
		select pg_create_logical_replication_slot('odd', 'pgq', true);
		select * from pg_logical_slot_peek_changes('odd', null, null, '$n', '$o')},
		on_error_stop => 0);
	$options .= join(' ', $stderr =~ /(invalid value|not supported|unknown option)/) . "\n";
}
is($options, <<'END', 'odd options are refused');
invalid value
invalid value
not supported
unknown option
invalid value
unknown option
invalid value
END
is(sql($node, $db, q{
	set session authorization other_replication;
	select count(*) from pg_create_logical_replication_slot('theirs', 'pgq', true),
		pg_logical_slot_peek_changes('theirs', null, null)}), 0,
	'they may read the WAL from now on, as with any plugin');
my ($rc) = $node->psql($db, q{set session authorization other_replication;
	select * from pgq.secret}, on_error_stop => 1);
is($rc, 3, 'but not the secret');

# The password

sub everything_said
{
	my $said = $pgqd->text . slurp("/proc/$pgqd->{pid}/cmdline");

	$said .= HTTP::Tiny->new->get("http://127.0.0.1:$port/$_")->{content}
	  foreach 'metrics', 'health', '';
	return $said;
}
my $said = everything_said();
like($said, qr/pgqd_database_up\{database="shop"|without libmicrohttpd/, 'pgqd has said something');
unlike($said, qr/$secret/, 'pgqd never tells its password');
foreach my $d ($conn, "postgresql://pgqd:$secret\@nosuch.invalid/shop",
	"host=/nonexistent user=pgqd password=$secret",
	"host=/nonexistent password='$secret", "host=x password=a $secret",
	"postgresql://pgqd:$secret\@[::1/shop")
{
	foreach my $command ([ 'status', '--json' ], ['doctor'], [ 'doctor', '--json' ])
	{
		($out, $err) = run_command([ 'pgqadm', '-d', $d, @$command ]);
		unlike("$out$err", qr/$secret/, "pgqadm neither: $command->[0], " . substr($d, 0, 16));
	}
}
is($pgqd->stop, 0, 'pgqd ends cleanly');

# a connect string that libpq would quote in its complaint
my $ini = PostgreSQL::Test::Utils::tempdir() . '/bad.ini';
append_to_file($ini, "[pgqd]\nbase_connstr = host=x password=a $secret\n");
($out, $err) = run_command([ 'pgqd', $ini ]);
like($err, qr/base_connstr.*connect string/, 'a broken connect string is told');
unlike($err, qr/$secret/, 'and not shown');

# a server that refuses the password, and is gone
$pgqd = start_pgqd($node,
	base_connstr => "host=/nonexistent user=pgqd password=$secret");
$pgqd->wait_log(qr/No such file|connection/);
$pgqd->stop;
unlike($pgqd->text, qr/$secret/, 'nor where there is no server');

$node->stop;
done_testing();
