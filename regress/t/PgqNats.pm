
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

# new(CONFIG LINE...): a server with JetStream, started. Its data outlive kills.
sub new
{
	my ($class, @config) = @_;
	my $port = free_port();
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $self = bless { port => $port, dir => $dir, n => 0 }, $class;

	PostgreSQL::Test::Utils::append_to_file("$dir/nats.conf",
		join("\n", "listen: 127.0.0.1:$port", "jetstream: { store_dir: \"$dir\" }",
			@config, ''));
	$self->{server} = start_engine('nats-server',
		need_engine('libnats', 'nats-server', 'nats-server'),
		'-c', "$dir/nats.conf");
	$self->wait_ready;
	return $self;
}

# cluster(COUNT): so many servers that are one, started; one has a leader when its API
# answers.
sub cluster
{
	my ($class, $count) = @_;
	my @members = map { { port => free_port(), route => free_port() } } 1 .. $count;
	my $routes = join(', ', map { "nats://127.0.0.1:$_->{route}" } @members);
	my @servers;

	foreach my $i (1 .. $count)
	{
		my $m = $members[ $i - 1 ];
		my $dir = PostgreSQL::Test::Utils::tempdir();
		my $self = bless { %$m, dir => $dir, n => 0, name => "n$i", waits => 0 }, $class;

		PostgreSQL::Test::Utils::append_to_file("$dir/nats.conf", join("\n",
			"server_name: n$i", "listen: 127.0.0.1:$m->{port}",
			"jetstream: { store_dir: \"$dir\" }",
			"cluster: { name: pgq, listen: 127.0.0.1:$m->{route}, routes: [ $routes ] }", ''));
		$self->{server} = start_engine('nats-server',
			need_engine('libnats', 'nats-server', 'nats-server'),
			'-c', "$dir/nats.conf");
		push @servers, $self;
	}
	return @servers;
}

sub url { return "nats://127.0.0.1:$_[0]{port}" }

sub kill9 { return $_[0]{server}->kill9 }

sub start
{
	my ($self) = @_;

	$self->{server}->start;
	delete $self->{socket};
	$self->wait_ready if !defined $self->{waits};
	return;
}

sub wait_ready
{
	my ($self) = @_;

	delete $self->{socket};
	wait_for('nats-server',
		sub { eval { $self->api('INFO', {}); 1 } });
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
