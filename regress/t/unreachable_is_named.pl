
# When pgqd does not get to the database, or may not do its work there, the reason is
# named by all that can know it, and is gone soon after it is over: see
# Standstill.pm. What the server itself can not know, status, top and doctor tell as
# that pgqd is not there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use Standstill;
use Test::More;

my $node = new_server('main',
	conf => "max_wal_senders = 3\nmax_connections = 16\nsuperuser_reserved_connections = 4\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create role plain login replication password 'right';
	create role crowd login;
	grant pgq_admin to plain;
	create table t (id serial primary key);
	select pgq.create_queue('q');
	select pgq.set_queue_config('q', 'ticker_idle_period', '1 second'),
		pgq.set_queue_config('q', 'ticker_max_lag', '1 second');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't')});

my $hba = $node->data_dir . '/pg_hba.conf';
my $trust = slurp($hba);
sub set_hba
{
	my ($line) = @_;

	open(my $out, '>', $hba) or die;
	print $out "$line\n$trust";
	close($out);
	$node->reload;
	return;
}
set_hba('local all plain scram-sha-256');
sub primary
{
	my ($server) = @_;
	return 'host=' . $server->host . ' port=' . $server->port . ' user=plain password=right';
}
my $pgqd = watch($node, $db, base_connstr => primary($node));

# All sessions of pgqd end, and it has to come again.
sub end_sessions
{
	sql($node, 'postgres', q{select count(pg_terminate_backend(pid))
		from pg_stat_activity where usename = 'plain'});
	return;
}

my $nobody = qr/pgqd does not look after this database: no ticks, nothing arrives/;

# refused(NAME, LIKE, BEGIN, END)
sub refused
{
	my ($name, $like, $begin, $end) = @_;

	standstill($name,
		kind => 'pgqd/connection',
		like => $like,
		map({ $_ => $nobody } qw(status top doctor)),
		begin => sub { sql($node, 'postgres', $begin) if !ref $begin;
			$begin->() if ref $begin; end_sessions() },
		end => ref $end ? $end : sub { sql($node, 'postgres', $end) });
	return;
}

my $crowd;
standstill('all connections of the server are in use',
	kind => 'pgqd/connection',
	# later versions say it in other words
	like => qr/remaining connection slots are reserved for /,
	map({ $_ => $nobody } qw(status top doctor)),
	begin => sub {
		$pgqd->signal('STOP');
		end_sessions();
		my $others = q{select count(*) from pg_stat_activity
			where backend_type = 'client backend' and pid <> pg_backend_pid()};
		wait_for('its sessions to end', sub { sql($node, 'postgres', $others) eq '0' });
		$crowd = load_start($node, 'postgres', "\\sleep 600 s\n", '-U', 'crowd', '-c', 12, '-t', 1);
		wait_for('the crowd', sub { sql($node, 'postgres', $others) eq '12' });
		$pgqd->signal('CONT');
	},
	end => sub { load_kill($crowd) });

my $closed = qr/database "shop" is not currently accepting connections/;
standstill('the database refuses connections',
	kind => 'pgqd/connection',
	like => $closed,
	begin => sub {
		sql($node, 'postgres', 'alter database shop allow_connections false');
		end_sessions();
	},
	end => sub { sql($node, 'postgres', 'alter database shop allow_connections true') });

refused("the database's limit of connections",
	qr/too many connections for database "shop"/,
	'alter database shop connection limit 0',
	'alter database shop connection limit -1');

refused("the role's limit of connections",
	qr/too many connections for role "plain"/,
	'alter role plain connection limit 0', 'alter role plain connection limit -1');

refused('a role that may not log in',
	qr/role "plain" is not permitted to log in/,
	'alter role plain nologin', 'alter role plain login');

refused('pg_hba.conf lets nobody in',
	qr/pg_hba\.conf rejects connection for host "\[local\]", user "plain", database "shop"/,
	sub { set_hba('local shop plain reject') },
	sub { set_hba('local all plain scram-sha-256') });

refused('a password that is wrong',
	qr/password authentication failed for user "plain"/,
	q{alter role plain password 'other'}, q{alter role plain password 'right'});

standstill('a server that is down',
	kind => 'pgqd/connection',
	like => qr/connection to server on socket "[^"]+" failed: (?:No such file or directory|Connection refused)/,
	begin => sub { $node->stop('fast') },
	end => sub { $node->start });

standstill('a role without the rights of pgq_admin',
	kind => 'pgqd/tick',
	like => qr/ticker failed: .*permission denied/,
	# pgqd may tell nobody else, and a session without its rights is no pgqd
	(map { $_ => $nobody } qw(status top)),
	doctor => qr/role "plain" has not the rights of pgq_admin/,
	begin => sub { sql($node, $db, 'revoke pgq_admin from plain') },
	end => sub { sql($node, $db, 'grant pgq_admin to plain') });

standstill('a role without REPLICATION',
	kind => 'ingest',
	like => qr/ingest stands still: .*the role needs REPLICATION: ALTER ROLE/,
	begin => sub {
		sql($node, $db, 'alter role plain noreplication');
		sql($node, $db, 'select pg_terminate_backend(active_pid) from pg_replication_slots');
		sql($node, $db, 'insert into t default values');
	},
	end => sub { sql($node, $db, 'alter role plain replication') });

$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
standstill('a standby given instead of the primary',
	kind => 'pgqd',
	like => $nobody,
	(map { $_ => qr/stands by: the server is a standby/ } qw(health)),
	page => qr/stands by/,
	metrics => qr/^pgqd_database_state\{database="shop",state="stands by"\} 1$/m,
	log => qr/the server is a standby: waits for its promotion/,
	stands_by => 1,
	begin => sub { set_ini(base_connstr => primary($standby)) },
	end => sub { set_ini(base_connstr => primary($node)) });
$standby->stop;
sql($node, 'postgres', 'select count(pg_terminate_backend(pid)) from pg_stat_replication'
	. q{ where application_name = 'standby'});

my @receivers;
standstill('all WAL senders are in use',
	kind => 'pgqd/ingest',
	like => qr/number of requested standby connections exceeds "?max_wal_senders"?/,
	begin => sub {
		$pgqd->signal('STOP');
		sql($node, $db, 'select pg_terminate_backend(active_pid) from pg_replication_slots');
		wait_for('the slot', sub { sql($node, $db,
			'select count(*) from pg_stat_replication') eq '0' });
		@receivers = map { IPC::Run::start([ 'pg_receivewal', '-d', $node->connstr('postgres'),
				'-D', PostgreSQL::Test::Utils::tempdir() ], \undef, \my $out, \my $err) } 1 .. 3;
		wait_for('the receivers', sub { sql($node, $db,
			q{select count(*) from pg_stat_replication where state is not null}) eq '3' });
		$pgqd->signal('CONT');
		sql($node, $db, 'insert into t default values');
	},
	end => sub { $_->signal('INT'), $_->finish foreach @receivers });

end_standstills();
