
# A Redis server of the tests' own, and what a test asks it in Redis' protocol.

package PgqRedis;

use strict;
use warnings;

use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use PgqRelay;
use PgqTest;

our @ISA = ('PgqRelay::Engine');

# new(ARGUMENT...): a server, started. Its data outlive kills.
sub new
{
	my ($class, @arguments) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $self = bless { port => free_port(), dir => $dir }, $class;

	return $self->launch('redis',
		need_engine('hiredis', 'redis-server', 'redis-server', 'redis-tools'),
		'--bind', '127.0.0.1', '--port', $self->{port}, '--dir', $dir,
		'--appendonly', 'yes', '--appendfsync', 'always', '--save', '', @arguments);
}

sub url { return "redis://127.0.0.1:$_[0]{port}/0" }

sub probe { $_[0]->ask('PING') eq 'PONG' or die 'not ready'; return }

# ask(WORD...): the answer as nested lists; dies on an error.
sub ask
{
	my ($self, @words) = @_;

	my $socket = $self->{socket} //=
	  IO::Socket::INET->new(PeerAddr => "127.0.0.1:$self->{port}", Timeout => 5)
	  or die "no connection to redis: $!";
	print $socket '*' . @words . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @words;
	return $self->answer;
}

sub answer
{
	my ($self) = @_;
	my $socket = $self->{socket};
	my $line = <$socket>;

	if (!defined $line)
	{
		delete $self->{socket};
		die 'connection to redis lost';
	}
	$line =~ s/\r\n$//;
	my ($kind, $rest) = $line =~ /^(.)(.*)/;
	die $rest if $kind eq '-';
	return $rest if $kind eq '+' || $kind eq ':';
	return [ map { $self->answer } 1 .. $rest ] if $kind eq '*';
	return undef if $rest < 0;
	my $got = '';
	read($socket, $got, $rest + 2 - length($got), length($got)) while length($got) < $rest + 2;
	return substr($got, 0, $rest);
}

# events(STREAM): [ev_id, data] of all its messages.
sub events
{
	my ($self, $stream) = @_;

	return [
		map { my %f = @{ $_->[1] }; [ $f{id} =~ m{/(\d+)}, $f{body} ] }
		  @{ $self->ask('XRANGE', $stream, '-', '+') }
	];
}

1;
