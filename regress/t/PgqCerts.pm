
# Certificates for the tests' servers, and their clients, of an authority of their own.

package PgqCerts;

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my @key = qw(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes);

# new(): an authority in a folder; its certificate is "ca". Ends the test as skipped
# where there is no openssl.
sub new
{
	my ($class) = @_;
	my $self = bless { dir => PostgreSQL::Test::Utils::tempdir() }, $class;

	plan skip_all => 'no openssl here' if system('openssl version >/dev/null 2>&1') != 0;
	chmod 0755, $self->{dir};
	$self->run('req', '-x509', @key, '-keyout', $self->key('ca'), '-out', $self->cert('ca'),
		'-days', '30', '-subj', '/CN=authority')
	  or die 'no authority';
	return $self;
}

sub cert { return "$_[0]{dir}/$_[1].pem" }
sub key { return "$_[0]{dir}/$_[1].key" }

sub run
{
	my ($self, @words) = @_;

	return system(join(' ', 'openssl', map { "'$_'" } @words) . ' >/dev/null 2>&1') == 0;
}

# make(NAME, HOSTS [, 'expired']): a certificate for subjectAltName HOSTS.
sub make
{
	my ($self, $name, $hosts, $expired) = @_;
	my $base = "$self->{dir}/$name";
	my @sign = ('x509', '-req', '-in', "$base.csr", '-CA', $self->cert('ca'), '-CAkey',
		$self->key('ca'), '-CAcreateserial', '-extfile', "$base.ext", '-out', "$base.pem");

	append_to_file("$base.ext", "subjectAltName=$hosts\n");
	$self->run('req', '-new', @key, '-keyout', "$base.key", '-out', "$base.csr",
		'-subj', "/CN=$name") or die "no request of $name";
	# versions differ in how a time that is over is asked for
	my $ok = $expired
	  ? $self->run(@sign, '-days', '-1')
		|| $self->run(@sign, '-not_before', '20200101000000Z', '-not_after', '20200102000000Z')
	  : $self->run(@sign, '-days', '30');
	die "no certificate $name" if !$ok;
	return;
}

1;
