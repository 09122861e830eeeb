# A cluster of Patroni: etcd and three nodes on addresses of loopback, with the
# configuration that doc/high-availability.md prints. Only what differs between
# that page's machines and this one is replaced: addresses, ports and folders.

package PgqPatroni;

use strict;
use warnings;

use DocBlocks;
use FindBin;
use HTTP::Tiny;
use IPC::Run;
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(sleep time);

my $page = "$FindBin::RealBin/../../doc/high-availability.md";
my $net = '127.0.8';
my @running;

# the END block stops all, when the test is told to end, too
$SIG{TERM} = $SIG{INT} = sub { exit(1) };

# available(): undef, or what is missing.
sub available
{
	foreach my $program ('patroni', 'patronictl', 'etcd')
	{
		return "no $program"
		  if !grep { -x "$_/$program" } split(/:/, $ENV{PATH}), '/usr/bin';
	}
	return;
}

# free_port(ADDRESS...): one that nobody listens on, on all of them.
sub free_port
{
	my @address = @_;

	for (1 .. 1000)
	{
		my $port = 20000 + int(rand(12000));
		my @s = map { IO::Socket::INET->new(LocalAddr => $_,
				LocalPort => $port, Listen => 1) } @address;

		return $port if !grep { !$_ } @s;
	}
	die 'no free port';
}

# new(DIRECTORY, NODES): nothing runs yet.
sub new
{
	my ($class, $dir, $n) = @_;
	my @address = map { "$net.$_" } 1 .. $n;
	my $self = bless {
		dir => $dir,
		sockets => PostgreSQL::Test::Utils::tempdir_short(),
		nodes => [ map { "node$_" } 1 .. $n ],
		address => { map { ("node$_" => "$net.$_") } 1 .. $n },
		port => free_port(@address),
		api => free_port(@address),
		etcd => free_port("$net.10"),
		http => HTTP::Tiny->new(timeout => 15),
		pid => {},
	}, $class;

	chomp($self->{bindir} = `pg_config --bindir`);
	($self->{version}) = `postgres --version` =~ /\) (\d+)/;
	return $self;
}

# block(NOTE): the text of the page's block with that note, for this machine.
sub block
{
	my ($self, $note) = @_;
	my ($block) = grep { $_->{note} eq $note } doc_blocks($page);
	my $text = ($block // die "no block '$note' in $page\n")->{text};

	# who connects to an address of loopback comes from the first of them
	$text =~ s{\b10\.0\.0\.0/24\b}{127.0.0.0/8}g;
	$text =~ s/\b10\.0\.0\./$net./g;
	$text =~ s/\b5432\b/$self->{port}/g;
	$text =~ s/\b8008\b/$self->{api}/g;
	$text =~ s/\b2379\b/$self->{etcd}/g;
	$text =~ s{/usr/lib/postgresql/\d+/bin}{$self->{bindir}}g;
	$text =~ s{/var/lib/postgresql/shop}{$self->{dir}/node1}g;
	$text =~ s{/run/postgresql}{$self->{sockets}/node1}g;
	$text =~ s{/etc/patroni/pgq-callback}{$self->{dir}/node1.callback}g;
	return $text;
}

sub write_file
{
	my ($file, $text) = @_;

	open(my $fh, '>', $file) or die "$file: $!";
	print $fh $text;
	close($fh);
	chmod(0600, $file);
	return $file;
}

# run(NAME, COMMAND...): starts it with a log of its own.
sub run
{
	my ($self, $name, @command) = @_;
	my $pid = fork() // die "fork: $!";

	if (!$pid)
	{
		setpgrp(0, 0);
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$PostgreSQL::Test::Utils::log_path/$name.log");
		open(STDERR, '>&', \*STDOUT);
		$ENV{LC_ALL} = 'C.UTF-8';
		# where Patroni keeps the server's passwords
		$ENV{HOME} = "$self->{dir}/home-$name";
		mkdir($ENV{HOME});
		exec(@command) or POSIX::_exit(127);
	}
	$self->{pid}{$name} = $pid;
	push @running, $self if !grep { $_ == $self } @running;
	return;
}

# start(): etcd, then the nodes, with the page's passwords in a file for libpq.
sub start
{
	my ($self) = @_;
	my $url = "http://$net.10";

	$ENV{PGPASSFILE} =
	  write_file("$self->{dir}/pgpass", $self->block('~/.pgpass'));
	$self->run('etcd', 'etcd', '--data-dir', "$self->{dir}/etcd",
		'--listen-client-urls', "$url:$self->{etcd}",
		'--advertise-client-urls', "$url:$self->{etcd}",
		'--listen-peer-urls', 'http://127.0.0.1:0', '--log-outputs', 'stderr');
	PgqTest::wait_for('etcd',
		sub { $self->{http}->get("$url:$self->{etcd}/health")->{success} });
	foreach my $node (@{ $self->{nodes} })
	{
		$self->configure($node);
		$self->start_node($node);
		PgqTest::wait_for('the first node', sub { $self->leader })
		  if $node eq 'node1';
	}
	$self->wait_members;
	return;
}

# The page shows node1; another node has its own name, address and folder.
sub configure
{
	my ($self, $node) = @_;
	my $text = $self->block('patroni.yml');
	my $callback = $self->block('pgq-callback') =~ s/\bnode1\b/$node/gr;

	$text .= $self->block('patroni.yml 17') if $self->{version} >= 17;
	chmod(0700, write_file("$self->{dir}/$node.callback", $callback));
	if ($node ne 'node1')
	{
		my ($n) = $node =~ /(\d+)/;

		# in a list of the others, this node and node1 change places
		$text =~ s/\bnode$n\b/node_/g;
		$text =~ s/\bnode1\b/$node/g;
		$text =~ s/\bnode_\b/node1/g;
		$text =~ s/\Q$net.1:\E/$net.$n:/g;
	}
	mkdir("$self->{sockets}/$node");
	write_file("$self->{dir}/$node.yml", $text);
	return;
}

sub start_node
{
	my ($self, $node) = @_;

	$self->run($node, 'patroni', "$self->{dir}/$node.yml");
	return;
}

# signal_node(NODE, SIGNAL): to Patroni; waits until it is gone.
sub signal_node
{
	my ($self, $node, $signal) = @_;
	my $pid = delete $self->{pid}{$node};

	kill($signal, $pid);
	waitpid($pid, 0);
	return;
}

# kill_server(NODE): its PostgreSQL, with SIGKILL.
sub kill_server
{
	my ($self, $node) = @_;
	my ($pid) =
	  PgqTest::slurp("$self->{dir}/$node/postmaster.pid") =~ /^(\d+)/;

	kill('KILL', $pid);
	return;
}

# api(NODE, METHOD, PATH [, DATA]): Patroni's answer, decoded if it is JSON.
sub api
{
	my ($self, $node, $method, $path, $data) = @_;
	my $res = $self->{http}->request($method,
		"http://$self->{address}{$node}:$self->{api}$path",
		$data ? { content => encode_json($data) } : {});

	return ($res->{success}, eval { decode_json($res->{content}) }
		  // $res->{content});
}

# members(): what the cluster says of each node, by name.
sub members
{
	my ($self) = @_;

	foreach my $node (@{ $self->{nodes} })
	{
		my ($ok, $cluster) = $self->api($node, 'GET', '/cluster');

		return map { ($_->{name} => $_) } @{ $cluster->{members} } if $ok;
	}
	return;
}

# leader(): the node whose Patroni says that it is the primary.
sub leader
{
	my ($self) = @_;

	foreach my $node (@{ $self->{nodes} })
	{
		my ($ok) = $self->api($node, 'GET', '/primary');

		return $node if $ok;
	}
	return;
}

# wait_members(): until all nodes are there, one primary, the others streaming,
# one of them synchronous, on one timeline; SECONDS at most.
sub wait_members
{
	my ($self, $seconds) = @_;
	my %m;

	eval {
		PgqTest::wait_for('all nodes', sub {
			my $n = @{ $self->{nodes} };
			%m = $self->members;
			my $leader = $self->leader // return 0;
			my $timeline = ($m{$leader} // return 0)->{timeline} // return 0;
			return keys %m == $n
			  && (grep { $_->{state} =~ /^(running|streaming)$/
				  && ($_->{timeline} // 0) == $timeline } values %m) == $n
			  && (grep { $_->{role} =~ /^(sync_standby|quorum_standby)$/ }
				values %m) >= 1;
		}, $seconds // 180);
		1;
	} or die "$@" . JSON::PP->new->canonical->encode(\%m) . "\n";
	return;
}

# rebuild_those_behind(): a standby that had received more than the one that was
# promoted can't follow it, and Patroni 3.0 leaves it so: it is rebuilt, as the page
# says. Returns their names.
sub rebuild_those_behind
{
	my ($self) = @_;

	return if eval { $self->wait_members(45); 1 };
	my %m = $self->members;
	my $timeline = $m{ $self->leader }{timeline};
	my @behind = grep { ($m{$_}{timeline} // 0) != $timeline } sort keys %m;

	$self->post($_, '/reinitialize', { force => JSON::PP::true })
	  foreach @behind;
	return @behind;
}

# post(NODE, PATH, DATA): an order to Patroni, given until it is taken.
sub post
{
	my ($self, $node, $path, $data) = @_;
	my $said;

	eval {
		PgqTest::wait_for("Patroni to take $path", sub {
			(my $ok, $said) = $self->api($node, 'POST', $path, $data);
			return $ok;
		}, 90);
		1;
	} or die "$@$said\n";
	return;
}

# For the functions of PgqTest: the primary, wherever it is.
sub host { return join(',', map { $_[0]->{address}{$_} } @{ $_[0]->{nodes} }) }
sub port { return $_[0]->{port} }

sub connstr
{
	my ($self, $db) = @_;

	return 'host=' . $self->host . " port=$self->{port} user=postgres"
	  . " dbname=$db target_session_attrs=read-write connect_timeout=5";
}

# psql(DATABASE, TEXT [, NODE]): exit status, output, errors.
sub psql
{
	my ($self, $db, $text, $node) = @_;
	my ($out, $err) = ('', '');
	my $connstr =
	  $node
	  ? "host=$self->{address}{$node} port=$self->{port} user=postgres dbname=$db"
	  : $self->connstr($db);

	# a psql that can't connect does not read its input
	my $rc = eval {
		IPC::Run::run(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $connstr ],
			\$text, \$out, \$err, IPC::Run::timeout(120));
		$? >> 8;
	} // 2;
	chomp($out);
	return ($rc, $out, $err);
}

sub safe_psql
{
	my ($self, $db, $text, $node) = @_;
	my ($rc, $out, $err) = $self->psql($db, $text, $node);

	die "$text\n$err" if $rc != 0;
	return $out;
}

# stop(): everything, at once.
sub stop
{
	my ($self) = @_;

	foreach my $node (@{ $self->{nodes} })
	{
		kill('KILL', $self->{pid}{$node}) if $self->{pid}{$node};
		waitpid($self->{pid}{$node}, 0) if $self->{pid}{$node};
		system('pg_ctl', 'stop', '-s', '-m', 'immediate', '-D',
			"$self->{dir}/$node")
		  if -f "$self->{dir}/$node/postmaster.pid";
	}
	if (my $pid = $self->{pid}{etcd})
	{
		kill('KILL', $pid);
		waitpid($pid, 0);
	}
	$self->{pid} = {};
	return;
}

END
{
	my $rc = $?;

	$_->stop foreach @running;
	$? = $rc;
}

1;
