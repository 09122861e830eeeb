# A proxy before a server that can be told to cut or to stall all connections, in the
# middle of a message as often as not.
#
# Before PostgreSQL it listens on a Unix socket and forwards to the server's: a client
# reaches it with host=DIR and the server's port. Before others it is a port of TCP.

package PgqProxy;

use strict;
use warnings;

use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Errno ();
use Time::HiRes qw(time);

# new(SERVER_DIR, PORT, DIR [, CHANGE]): a running proxy that listens in DIR.
# CHANGE is called with what came from the server, a piece of any length, and may
# change it.
sub new
{
	my ($class, $server_dir, $port, $dir, $change) = @_;
	my $listen = IO::Socket::UNIX->new(
		Local => "$dir/.s.PGSQL.$port",
		Listen => 20) or die "can't listen in $dir: $!";

	return $class->run($listen,
		sub { IO::Socket::UNIX->new(Peer => "$server_dir/.s.PGSQL.$port") },
		$change);
}

# new_tcp(SERVER_PORT, PORT): one that listens on PORT of this machine.
sub new_tcp
{
	my ($class, $server_port, $port) = @_;
	my $listen = IO::Socket::INET->new(
		LocalAddr => "127.0.0.1:$port",
		ReuseAddr => 1,
		Listen => 20) or die "can't listen on port $port: $!";

	return $class->run($listen,
		sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$server_port") });
}

sub run
{
	my ($class, $listen, $connect, $change) = @_;
	my $self = bless {}, $class;
	my $pid = fork() // die "fork: $!";

	if (!$pid)
	{
		eval { serve($listen, $connect, $change); 1 }
		  or print STDERR "proxy: $@";
		POSIX::_exit(1);
	}
	close($listen);
	$self->{pid} = $pid;
	return $self;
}

# Forwards half of the next data that come, then cuts all connections.
sub cut { return kill('USR1', $_[0]{pid}) }

# Forwards nothing for three seconds.
sub stall { return kill('USR2', $_[0]{pid}) }

sub stop
{
	my ($self) = @_;

	return if !$self->{pid};
	kill('KILL', $self->{pid});
	waitpid($self->{pid}, 0);
	$self->{pid} = undef;
	return;
}

# Accepts connections and starts a process for each, so that one whose reader
# is slow does not hold up the others. Signals go on to all of them.
sub serve
{
	my ($listen, $connect, $change) = @_;
	my %children;

	local $SIG{USR1} = sub { kill('USR1', keys %children) };
	local $SIG{USR2} = sub { kill('USR2', keys %children) };

	for (;;)
	{
		my $client = $listen->accept;

		while ((my $gone = waitpid(-1, POSIX::WNOHANG())) > 0)
		{
			delete $children{$gone};
		}
		next if !$client;
		my $pid = fork() // die "fork: $!";
		if (!$pid)
		{
			close($listen);
			eval { forward($client, $connect, $change) };
			POSIX::_exit(0);
		}
		$children{$pid} = 1;
		close($client);
	}
	return;
}

sub forward
{
	my ($client, $connect, $change) = @_;
	my $parent = getppid();
	my $to_server = $connect->() or return;
	my @fh = ($client, $to_server);
	my @held = ('', '');    # read from one, not yet written to the other
	my $cut = 0;
	my $stalled_until = 0;

	local $SIG{USR1} = sub { $cut = 1 };
	local $SIG{USR2} = sub { $stalled_until = time() + 3 };
	local $SIG{PIPE} = 'IGNORE';
	$_->blocking(0) foreach @fh;

	while (getppid() == $parent)
	{
		my ($in, $out) = ('', '');

		if (time() < $stalled_until)
		{
			select(undef, undef, undef, 0.05);
			next;
		}
		foreach my $i (0, 1)
		{
			vec($in, fileno($fh[$i]), 1) = 1 if length($held[$i]) < 65536;
			vec($out, fileno($fh[ !$i ]), 1) = 1 if length($held[$i]);
		}
		next if select($in, $out, undef, 0.5) <= 0;
		foreach my $i (0, 1)
		{
			if (vec($in, fileno($fh[$i]), 1))
			{
				my $n = sysread($fh[$i], my $data, 65536);
				return if defined $n ? $n == 0 : !$!{EAGAIN};
				next if !defined $n;
				$change->($data) if $change && $i == 1;
				$held[$i] .= $data;
			}
			next if $held[$i] eq '';
			my $half = int(length($held[$i]) / 2);
			my $n = syswrite($fh[ !$i ], $held[$i],
				$cut && $half ? $half : length($held[$i]));
			return if $cut || (!defined $n && !$!{EAGAIN});
			substr($held[$i], 0, $n // 0) = '';
		}
	}
	return;
}

1;
