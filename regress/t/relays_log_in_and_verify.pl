
# A relay verifies its engine's certificate and logs in as it is told; where that fails
# it says why, once and clearly, and gives no secret away.

use strict;
use warnings;

use IO::Socket::INET;
use IPC::Run;
use PgqCerts;
use PgqNats;
use PgqNkeys;
use PgqRedis;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $version = `pgqrelay --version 2>&1` || '';
my $nats_server = need_engine('libnats', 'nats-server', 'nats-server');
my $certs = PgqCerts->new;
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);

add_relayed_queue($node, $db, 'q', 'relay_r');

$certs->make('good', 'IP:127.0.0.1,DNS:localhost');
$certs->make('expired', 'IP:127.0.0.1,DNS:localhost', 'expired');
$certs->make('other', 'DNS:other.example');
$certs->make('client', 'DNS:relay');
my @ca = (tls_ca => $certs->cert('ca'));
my @client = (tls_cert => $certs->cert('client'), tls_key => $certs->key('client'));

# check(KEYS): what pgqrelay --check says of such a relay
sub check
{
	my (%keys) = (db => $node->connstr($db), queue => 'q', stall_release => 5, @_);
	my $text = '';

	unlink "$dir/r.ini";
	append_to_file("$dir/r.ini", "[relay r]\n" . join('', map { "$_ = $keys{$_}\n" } sort keys %keys));
	chmod 0600, "$dir/r.ini";
	IPC::Run::run([ 'pgqrelay', '--check', "$dir/r.ini" ], '<', \undef, '>&', \$text,
		IPC::Run::timeout(60));
	unlike($text, qr/geheim/, 'no secret is told');
	return $text;
}

sub is_right { my ($what, @keys) = @_; return is(check(@keys), "r: ok\n", $what) }

sub is_wrong
{
	my ($what, $message, @keys) = @_;
	my $text = check(@keys);

	note($text);
	is(scalar(() = $text =~ /\n/g), 1, "$what: one line");
	return like($text, qr/^r: target: $message/, $what);
}

# append_secret(FILE, TEXT): a file for us alone
sub append_secret
{
	my ($file, $text) = @_;

	append_to_file($file, $text);
	return chmod 0600, $file;
}

sub wait_port
{
	my ($port) = @_;

	wait_for("port $port",
		sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 5) });
	return $port;
}

# tls_server(CERT, ARGUMENT...): a port where TLS is spoken, and HTTP
sub tls_server
{
	my ($cert, @arguments) = @_;
	my $port = free_port();

	start_engine('openssl', 'openssl', 's_server', '-accept', "127.0.0.1:$port", '-quiet', '-www',
		'-cert', $certs->cert($cert), '-key', $certs->key($cert), @arguments);
	return wait_port($port);
}
my %tls = map { $_ => tls_server($_) } qw(good expired other);

# NATS: a stream is made before there are passwords
my $plain = PgqNats->new;
$plain->create('ORDERS', ['q.>']);
$plain->kill9;

# nats(CONFIG LINE...): the keys of a relay to that server, with this config
my $nats;

sub nats
{
	my (@config) = @_;
	my $port = free_port();
	my $config = "$dir/nats$port.conf";

	$nats->kill9 if $nats;
	append_to_file($config, join("\n", "listen: 127.0.0.1:$port",
		"jetstream: { store_dir: \"$plain->{dir}\" }", @config, ''));
	$nats = start_engine('nats-server', $nats_server, '-c', $config);
	wait_port($port);
	wait_for('its streams', sub { $nats->text =~ /Server is ready/ });
	return (target => "nats://127.0.0.1:$port", stream => 'ORDERS');
}

sub nats_tls
{
	my ($cert, @more) = @_;

	return nats("tls: { cert_file: \"" . $certs->cert($cert) . '", key_file: "' . $certs->key($cert)
		  . '", timeout: 5, ' . join(', ', @more) . ' }');
}

my @to = nats('authorization: { user: shop, password: geheim1 }');
is_right('nats: user and password', @to, user => 'shop', password => 'geheim1');
is_wrong('nats: a wrong password', qr/nats:.*see user, password, token, credentials/, @to,
	user => 'shop', password => 'geheim2');
is_wrong('nats: no user', qr/nats:.*see user, password, token, credentials/, @to);
append_secret("$dir/password", "geheim1\n");
is_right('nats: a password from a file', @to, user => 'shop', password_file => "$dir/password");

@to = nats('authorization: { token: geheim1 }');
is_right('nats: a token', @to, token => 'geheim1');
is_wrong('nats: a wrong token', qr/nats:.*see user, password, token, credentials/, @to,
	token => 'geheim2');
is_wrong('nats: no credentials file', qr/could not read credentials .*none\.creds: No such file/, @to, credentials => "$dir/none.creds");

my %account = PgqNkeys->account;
my %stranger = PgqNkeys->account;
append_secret("$dir/shop.creds", $account{credentials});
append_secret("$dir/other.creds", $stranger{credentials});
@to = nats(@{ $account{config} });
is_wrong('nats: credentials, of an account without streams', qr/JetStream has no stream "ORDERS"/,
	@to, credentials => "$dir/shop.creds");
is_wrong('nats: credentials of another', qr/nats:.*see user, password, token, credentials/, @to,
	credentials => "$dir/other.creds");

@to = nats_tls('good');
is_right('nats: TLS', @to, tls => 1, @ca);
is_wrong('nats: an authority that is not known', qr/nats:.*certificate/, @to, tls => 1);
is_wrong('nats: no such file', qr/nats:.*none\.pem/, @to, tls => 1, tls_ca => "$dir/none.pem");
is_wrong('nats: a certificate that has expired', qr/nats:.*expired/, nats_tls('expired'), tls => 1, @ca);
is_wrong('nats: a certificate of another host', qr/nats:.*(?i:host|address|mismatch)/, nats_tls('other'), tls => 1, @ca);
@to = nats_tls('good', 'ca_file: "' . $certs->cert('ca') . '"', 'verify: true');
is_right('nats: with a certificate of ours', @to, tls => 1, @ca, @client);
is_wrong('nats: without one', qr/nats:.*(?:does the server want a certificate of ours|(?i:alert|certificate required))/, @to, tls => 1, @ca);

# webhooks
SKIP:
{
	skip 'pgqrelay was built without libcurl', 1 if $version !~ /libcurl/;
	my $mutual = tls_server('good', '-Verify', '1', '-verify_return_error', '-CAfile', $certs->cert('ca'), '-tls1_2');
	my $url = sub { return (target => "https://127.0.0.1:$_[0]/hook") };

	is_right('https: TLS', $url->($tls{good}), @ca);
	is_wrong('https: an authority that is not known', qr/https:.*certificate/, $url->($tls{good}));
	is_wrong('https: a certificate that has expired', qr/https:.*expired/, $url->($tls{expired}), @ca);
	is_wrong('https: a certificate of another host', qr/https:.*127\.0\.0\.1'?/, $url->($tls{other}), @ca);
	is_wrong('https: no such file', qr/https:.*none\.pem/, $url->($tls{good}), tls_ca => "$dir/none.pem");
	is_right('https: with a certificate of ours', $url->($mutual), @ca, @client);
	is_wrong('https: without one', qr/https:.*(?i:alert|certificate)/, $url->($mutual), @ca);
	is_wrong('https: nobody there', qr/https:.*(?i:connect)/, $url->(1), @ca);
}

# RabbitMQ: relay_into_rabbitmq has what is right
SKIP:
{
	skip 'pgqrelay was built without librabbitmq', 1 if $version !~ /librabbitmq/;
	my $url = sub { return (target => "amqps://localhost:$_[0]") };

	is_wrong('amqp: an authority that is not known', qr/(?:amqps:.*|could not read )certificate/, $url->($tls{good}));
	is_wrong('amqp: a certificate that has expired', qr/amqps:.*(?i:expired)/, $url->($tls{expired}), @ca);
	is_wrong('amqp: a certificate of another host', qr/amqps:.*(?i:host)/, $url->($tls{other}), @ca);
	is_wrong('amqp: no such file', qr/could not read certificates of \Q$dir\E\/none\.pem/, $url->($tls{good}), tls_ca => "$dir/none.pem");
}

# Kafka: relay_into_kafka has what is right
SKIP:
{
	skip 'pgqrelay was built without librdkafka', 1 if $version !~ /librdkafka/;
	my $url = sub { return (target => "kafka://localhost:$_[0]", topic => 't', tls => 1) };

	is_wrong('kafka: an authority that is not known', qr/kafka:.*no authority that tls_ca names/, $url->($tls{good}));
	is_wrong('kafka: a certificate that has expired', qr/kafka:.*certificate has expired/, $url->($tls{expired}), @ca);
	is_wrong('kafka: a certificate of another host', qr/kafka:.*of another host/, $url->($tls{other}), @ca);
	is_wrong('kafka: no such file', qr/could not read certificates of \Q$dir\E\/none\.pem/, $url->($tls{good}), tls_ca => "$dir/none.pem");
}

# another database's queue
{
	my $pg = free_port();
	my $ssl = sub { return "ssl_cert_file = '" . $certs->cert($_[0]) . "'\nssl_key_file = '"
		. $certs->key($_[0]) . "'\n" };
	my $far = new_server('far', conf => "listen_addresses = '127.0.0.1'\nport = $pg\nssl = on\n" . $ssl->('good'));
	my $url = "postgresql://127.0.0.1:$pg/far?sslmode=verify-full";
	my @right = (target => "$url&sslrootcert=" . $certs->cert('ca'), to_queue => 'q');
	my $serve = sub {
		my $lines = () = slurp($far->logfile) =~ /received SIGHUP/g;
		$far->append_conf('postgresql.conf', $ssl->($_[0]));
		$far->reload;
		wait_for('the certificate', sub { $lines < (() = slurp($far->logfile) =~ /received SIGHUP/g) });
	};

	$far->{_port} = $pg;
	sql($far, 'postgres', 'create database far');
	sql($far, 'far', q{create extension pgq; select pgq.create_queue('q')});
	is_right('postgresql: TLS', @right);
	is_wrong('postgresql: no such file', qr/.*none\.pem/, target => "$url&sslrootcert=$dir/none.pem", to_queue => 'q');
	$serve->('expired');
	is_wrong('postgresql: a certificate that has expired', qr/.*certificate verify failed/, @right);
	$serve->('other');
	is_wrong('postgresql: a certificate of another host', qr/.*does not match/, @right);
}

# Redis, Valkey
SKIP:
{
	my ($major) = $version =~ /hiredis (\d+)/;

	skip 'pgqrelay was built without hiredis', 1 if !defined $major;
	my $redis = PgqRedis->new;
	my @redis = (target => $redis->url, stream => 'q');

	$redis->ask('ACL', 'SETUSER', 'shop', 'on', '>geheim1', '~*', '+@all');
	is_right('redis: a user', @redis, user => 'shop', password => 'geheim1');
	is_wrong('redis: a wrong password', qr/redis:.*WRONGPASS/, @redis, user => 'shop', password => 'geheim2');
	$redis->ask('CONFIG', 'SET', 'requirepass', 'geheim3');
	is_right('redis: the password of all', @redis, password => 'geheim3');
	is_wrong('redis: without it', qr/redis:.*NOAUTH/, @redis, target => $redis->url =~ s{0$}{1}r);
	my $rediss = 'rediss://127.0.0.1:';
	if ($major < 1)
	{
		is_wrong('redis: TLS that there is not', qr/TLS needs hiredis 1\.0/, @redis, target => "$rediss$tls{good}");
	}
	else
	{
		my $encrypted = PgqRedis->new('--tls-port', my $port = free_port(), '--tls-auth-clients', 'optional',
			'--tls-cert-file', $certs->cert('good'), '--tls-key-file', $certs->key('good'),
			'--tls-ca-cert-file', $certs->cert('ca'));

		is_right('redis: TLS', @redis, target => "$rediss$port", @ca);
		is_right('redis: with a certificate of ours', @redis, target => "$rediss$port", @ca, @client);
		is_wrong('redis: an authority that is not known', qr/redis.*certificate/, @redis, target => "$rediss$port");
		is_wrong('redis: a certificate that has expired', qr/redis.*expired/, @redis, target => "$rediss$tls{expired}", @ca);
		is_wrong('redis: a certificate of another host', qr/redis.*IP address mismatch/, @redis, target => "$rediss$tls{other}", @ca);
	}
}

done_testing();
