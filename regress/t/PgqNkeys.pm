
# What a NATS server wants of credentials: keys of an operator, an account and its user,
# and the tokens by which each vouches for the next.

package PgqNkeys;

use strict;
use warnings;

use JSON::PP;
use MIME::Base64 qw(encode_base64url);
use PgqTest;
use PostgreSQL::Test::Utils;

my %kinds = (operator => 14 << 3, account => 0, user => 20 << 3);
my @alphabet = ('A' .. 'Z', 2 .. 7);

# encode(BYTES): base32 of them with their check sum behind.
sub encode
{
	my ($bytes) = @_;
	my $crc = 0;

	foreach my $byte (unpack('C*', $bytes))
	{
		$crc ^= $byte << 8;
		$crc = ($crc << 1 ^ ($crc & 0x8000 ? 0x1021 : 0)) & 0xffff foreach 1 .. 8;
	}
	my $bits = unpack('B*', $bytes . pack('v', $crc));
	$bits .= '0' x (-length($bits) % 5);
	return join('', map { $alphabet[ oct("0b$_") ] } $bits =~ /(.{5})/g);
}

sub run
{
	my ($command) = @_;
	my $out = `$command 2>/dev/null`;

	die "failed: $command" if $?;
	return $out;
}

# new(KIND): a key
sub new
{
	my ($class, $kind) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/key';

	run("openssl genpkey -algorithm ed25519 -out $file");
	# both are the last bytes of their forms
	return bless {
		kind => $kind,
		file => $file,
		public => encode(pack('C', $kinds{$kind})
			  . substr(run("openssl pkey -in $file -pubout -outform DER"), -32)),
		seed => encode(pack('CC', 18 << 3 | $kinds{$kind} >> 5, ($kinds{$kind} & 31) << 3)
			  . substr(run("openssl pkey -in $file -outform DER"), -32)) }, $class;
}

# vouch(KEY, CLAIMS): the token by which this key vouches for that.
sub vouch
{
	my ($self, $key, $claims) = @_;
	my $text = join('.', map { encode_base64url(encode_json($_)) }
		  { typ => 'JWT', alg => 'ed25519-nkey' },
		{
			jti => $key->{public},
			iat => time,
			iss => $self->{public},
			name => $key->{kind},
			sub => $key->{public},
			nats => { %$claims, type => $key->{kind}, version => 2 } });

	append_to_file("$self->{file}.text", $text);
	my $signature =
	  run("openssl pkeyutl -sign -rawin -inkey $self->{file} -in $self->{file}.text");
	unlink "$self->{file}.text";
	return "$text." . encode_base64url($signature);
}

my %limits = ((map { $_ => -1 } qw(subs data payload imports exports conn leaf)),
	wildcards => JSON::PP::true);
# which the server's own account must not have
my %streams = map { $_ => -1 } qw(mem_storage disk_storage streams consumer);

# account(): a hash: config of a server that has an account, and credentials of
# its user.
sub account
{
	my ($class) = @_;
	my ($operator, $system, $account, $user) =
	  map { $class->new($_) } qw(operator account account user);

	return (
		config => [
			'operator: ' . $operator->vouch($operator, {}),
			'resolver: MEMORY',
			"system_account: $system->{public}",
			'resolver_preload: { '
			  . "$system->{public}: " . $operator->vouch($system, { limits => \%limits }) . ', '
			  . "$account->{public}: "
			  . $operator->vouch($account, { limits => { %limits, %streams } }) . ' }' ],
		credentials => "-----BEGIN NATS USER JWT-----\n"
		  . $account->vouch($user, { pub => {}, sub => {}, map { $_ => -1 } qw(subs data payload) })
		  . "\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n"
		  . "$user->{seed}\n------END USER NKEY SEED------\n");
}

1;
