
# A NATS server of the tests' own, and what a test asks it: to make streams, and
# what is in them. NATS' protocol is lines of text.

package PgqNats;

use strict;
use warnings;

use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_RCVTIMEO);
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use PostgreSQL::Test::Utils;
use PgqRelay;
use PgqTest;

our @ISA = ('PgqRelay::Engine');

# new(CONFIG LINE...): a server with JetStream, started. Its data outlive kills.
sub new
{
	my ($class, @config) = @_;

	return (bless { port => free_port(), n => 0 }, $class)->configure(@config);
}

# cluster(COUNT): so many servers that are one, started; one has a leader when its API
# answers.
sub cluster
{
	my ($class, $count) = @_;
	my @servers = map { bless { port => free_port(), route => free_port(), name => "n$_", n => 0 },
		  $class } 1 .. $count;
	my $routes = join(', ', map { "nats://127.0.0.1:$_->{route}" } @servers);

	return map { $_->configure("server_name: $_->{name}",
			"cluster: { name: pgq, listen: 127.0.0.1:$_->{route}, routes: [ $routes ] }") }
	  @servers;
}

sub write_config
{
	my ($self, @config) = @_;
	my $dir = $self->{dir};

	unlink "$dir/nats.conf";
	PostgreSQL::Test::Utils::append_to_file("$dir/nats.conf",
		join("\n", "listen: 127.0.0.1:$self->{port}", "jetstream: { store_dir: \"$dir\" }",
			@config, ''));
	return;
}

sub configure
{
	my ($self, @config) = @_;
	my $dir = $self->{dir} = PostgreSQL::Test::Utils::tempdir();

	$self->write_config(@config);
	return $self->launch('nats-server', need_engine('libnats', 'nats-server', 'nats-server'),
		'-c', "$dir/nats.conf");
}

# reconfigure(CONFIG LINE...): it is killed; with these it starts next, with its data.
sub reconfigure
{
	my ($self, @config) = @_;

	$self->kill9;
	return $self->write_config(@config);
}

sub url { return "nats://127.0.0.1:$_[0]{port}" }

sub probe { return $_[0]->api('INFO', {}) }

# A member of a cluster is not ready by itself.
sub wait_ready
{
	my ($self) = @_;

	delete $self->{socket};
	$self->SUPER::wait_ready if !$self->{name};
	return;
}

sub connection
{
	my ($self) = @_;
	my $s = IO::Socket::INET->new(
		PeerAddr => "127.0.0.1:$self->{port}", Timeout => 5)
	  or die "no connection to nats-server: $!";

	$s->blocking(1);
	# a cluster without a leader does not answer
	setsockopt($s, SOL_SOCKET, SO_RCVTIMEO, pack('l!l!', 3, 0)) or die $!;
	<$s>;
	print $s 'CONNECT {"verbose":false,"headers":true,"no_responders":true'
	  . ($self->{login} // '') . "}\r\nSUB in.> 1\r\n";
	return $s;
}

# request(SUBJECT, TEXT): the answer's text; dies without one.
sub request
{
	my ($self, $subject, $text) = @_;
	my $s = $self->{socket} //= $self->connection;
	my $inbox = 'in.' . ++$self->{n};

	print $s "PUB $subject $inbox " . length($text) . "\r\n$text\r\n";
	while (my $line = <$s>)
	{
		if ($line =~ /^PING/)
		{
			print $s "PONG\r\n";
		}
		elsif ($line =~ /^H?MSG (\S+) \S+ +(?:\d+ +)?(\d+)\r/)
		{
			my ($to, $len) = ($1, $2);
			my $got = '';

			while (length($got) < $len + 2)
			{
				read($s, $got, $len + 2 - length($got), length($got)) or last;
			}
			return substr($got, 0, $len) if $to eq $inbox && $line =~ /^MSG/;
			die "no one answers to $subject" if $to eq $inbox;
		}
	}
	delete $self->{socket};
	die 'connection to nats-server lost';
}

# api(NAME, HASH): an answer of JetStream's API; dies on an error.
sub api
{
	my ($self, $name, $ask) = @_;
	my $answer =
	  decode_json($self->request("\$JS.API.$name", encode_json($ask)));

	die "$name: $answer->{error}{description}" if $answer->{error};
	return $answer;
}

# create(STREAM, SUBJECT..., option => value after '--')
sub create
{
	my ($self, $stream, $subjects, %opt) = @_;

	return $self->api("STREAM.CREATE.$stream",
		{ name => $stream, subjects => $subjects, storage => 'file', %opt });
}

sub last_seq { return $_[0]->api("STREAM.INFO.$_[1]", {})->{state}{last_seq} }

# message(STREAM, SEQUENCE): { subject, data, headers }
sub message
{
	my ($self, $stream, $seq) = @_;
	my $m = $self->api("STREAM.MSG.GET.$stream", { seq => $seq + 0 })->{message};
	my %headers = map { /^([^:]+): ?(.*)$/ ? ($1, $2) : () }
	  split(/\r\n/, decode_base64($m->{hdrs} // ''));

	return {
		subject => $m->{subject},
		data => decode_base64($m->{data} // ''),
		headers => \%headers
	};
}

# events(STREAM): [ev_id, data] of all its messages.
sub events
{
	my ($self, $stream) = @_;
	my @events;

	foreach my $seq (1 .. $self->last_seq($stream))
	{
		my $m = $self->message($stream, $seq);
		my ($id) = $m->{headers}{'Nats-Msg-Id'} =~ m{/(\d+)};

		push @events, [ $id, $m->{data} ];
	}
	return \@events;
}

1;
