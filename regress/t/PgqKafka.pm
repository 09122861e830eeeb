
# Apache Kafka of the tests' own, one broker or more, or librdkafka's mock of it;
# and what tests ask of it, by way of kafka_tool.c.

package PgqKafka;

use strict;
use warnings;

use FindBin;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use PgqRelay;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $tool;

# build_tool(): kafka_tool; ends the test as skipped where pgqrelay has no librdkafka.
sub build_tool
{
	return $tool if $tool;
	plan skip_all => 'pgqrelay was built without librdkafka'
	  if `pgqrelay --version 2>&1` !~ /\(librdkafka \d/;
	$tool = PostgreSQL::Test::Utils::tempdir() . '/kafka_tool';
	system("cc -Wall -D_GNU_SOURCE -o $tool $FindBin::RealBin/../t/kafka_tool.c"
		  . ' $(pkg-config --cflags --libs rdkafka jansson)') == 0
	  or die 'kafka_tool was not built';
	return $tool;
}

# certificate(DIR): for address 127.0.0.1 and no name, signed by itself; broker.pem has
# its key, too.
sub certificate
{
	my ($dir) = @_;

	run_log([ 'openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', 2,
			'-subj', '/CN=broker', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout',
			"$dir/key.pem", '-out', "$dir/ca.pem" ], '2>', '/dev/null')
	  or die 'openssl failed';
	PostgreSQL::Test::Utils::append_to_file("$dir/broker.pem",
		slurp("$dir/key.pem") . slurp("$dir/ca.pem"));
	return;
}

# new(NODES [, CONFIG LINE...]): brokers, started, whose data outlive kills; the first
# listens with SASL (user relay, password secret) and TLS, too, and on a port whose
# clients are sent on to another, where a proxy may be. Ends the test as skipped where
# there is no Java or no Kafka (scripts/install-deps --kafka).
sub new
{
	my ($class, $nodes, @config) = @_;
	my $jars = ($ENV{PGQ_JARS} // '') . '/kafka';

	build_tool();
	plan skip_all => 'no openssl' if system('command -v openssl >/dev/null') != 0;
	plan skip_all => 'no java' if system('java -version >/dev/null 2>&1') != 0;
	plan skip_all => 'no Apache Kafka: scripts/install-deps --kafka fetches it'
	  if !-d $jars;

	my $dir = PostgreSQL::Test::Utils::tempdir();
	my @ports = map { [ free_port(), free_port() ] } 1 .. $nodes;
	my $copies = $nodes < 3 ? 1 : 3;
	my ($sasl, $tls, $behind, $proxy) = map { free_port() } 1 .. 4;
	my $login = 'org.apache.kafka.common.security';
	my $self = bless {
		nodes => $nodes,
		dir => $dir,
		copies => $copies,
		java => [
			'java', '-Xmx320m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp',
			"$jars/*"
		],
		sasl => "kafka://127.0.0.1:$sasl",
		tls => "kafka://127.0.0.1:$tls",
		ca => "$dir/ca.pem",
		behind => $behind,
		proxy => $proxy,
		servers => join(',', map { "127.0.0.1:$_->[0]" } @ports)
	}, $class;
	certificate($dir);
	foreach my $id (1 .. $nodes)
	{
		my ($port, $control) = @{ $ports[ $id - 1 ] };
		my $listeners = "CLIENT://127.0.0.1:$port";
		my $proxied = '';

		if ($id == 1)
		{
			$listeners .= ",SASL://127.0.0.1:$sasl,TLS://127.0.0.1:$tls";
			$proxied = 1;
		}

		PostgreSQL::Test::Utils::append_to_file("$dir/$id.properties", join("\n",
			'process.roles=broker,controller',
			"node.id=$id",
			'controller.quorum.voters='
			  . join(',', map { "$_\@127.0.0.1:$ports[$_ - 1][1]" } 1 .. $nodes),
			"listeners=$listeners," . ($proxied && "PROXY://127.0.0.1:$behind,")
			  . "CONTROLLER://127.0.0.1:$control",
			"advertised.listeners=$listeners" . ($proxied && ",PROXY://127.0.0.1:$proxy"),
			'controller.listener.names=CONTROLLER',
			'inter.broker.listener.name=CLIENT',
			'listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,'
			  . 'SASL:SASL_PLAINTEXT,TLS:SSL,PROXY:PLAINTEXT',
			'listener.name.sasl.sasl.enabled.mechanisms=PLAIN',
			"listener.name.sasl.plain.sasl.jaas.config=$login.plain.PlainLoginModule"
			  . ' required user_relay="secret";',
			'ssl.keystore.type=PEM',
			"ssl.keystore.location=$dir/broker.pem",
			"log.dirs=$dir/data$id",
			'auto.create.topics.enable=false',
			'offsets.topic.num.partitions=1',
			"offsets.topic.replication.factor=$copies",
			'transaction.state.log.num.partitions=3',
			"transaction.state.log.replication.factor=$copies",
			'transaction.state.log.min.isr=' . ($copies > 1 ? 2 : 1),
			'min.insync.replicas=' . ($copies > 1 ? 2 : 1),
			'broker.session.timeout.ms=3000',
			'broker.heartbeat.interval.ms=500',
			'controller.quorum.election.timeout.ms=500',
			'controller.quorum.fetch.timeout.ms=1000',
			@config, ''));
		run_log([ @{ $self->{java} }, 'kafka.tools.StorageTool', 'format', '-t',
				'cGdxIHRlc3RzIG9mIGthZg', '-c', "$dir/$id.properties" ],
			'>', "$dir/format.log", '2>&1')
		  or die slurp("$dir/format.log");
		$self->{broker}{$id} = start_engine("kafka$id", @{ $self->{java} },
			'kafka.Kafka', "$dir/$id.properties");
	}
	$self->wait_ready;
	return $self;
}

# mock(BROKERS): librdkafka's mock of a cluster. It hides no transaction and shuts
# nobody out.
sub mock
{
	my ($class, $brokers) = @_;
	my $self = bless { in => '', out => '', copies => 1 }, $class;

	$self->{h} = IPC::Run::start([ build_tool(), 'mock', $brokers ],
		\$self->{in}, \$self->{out}, IPC::Run::timeout(300));
	$self->{h}->pump until $self->{out} =~ /\n/;
	chomp($self->{servers} = $self->{out});
	return $self;
}

# tell(LINE): has the mock obey; see kafka_tool.c.
sub tell
{
	my ($self, $line) = @_;

	$self->{out} = '';
	$self->{in} .= "$line\n";
	$self->{h}->pump until $self->{out} =~ /ok\n/;
	return;
}

sub url { return "kafka://$_[0]{servers}" }

sub wait_ready
{
	my ($self) = @_;
	my $n = 0;

	wait_for('kafka', sub {
		foreach my $id (keys %{ $self->{broker} })
		{
			die "kafka $id ended: " . $self->{broker}{$id}->text
			  if !$self->{broker}{$id}->alive;
		}
		return eval { $self->run('create', 'ready' . ++$n . "_$$", 1, $self->{copies}); 1 };
	}, 180);
	return;
}

sub kill9 { return $_[0]{broker}{ $_[1] // 1 }->kill9 }

sub start
{
	my ($self, $id) = @_;

	$self->{broker}{ $id // 1 }->start;
	$self->wait_ready;
	return;
}

sub crash
{
	my ($self, $id) = @_;

	$self->kill9($id);
	sleep(rand(0.3));
	return $self->start($id);
}

# run(COMMAND, ARGUMENT...): what kafka_tool prints; dies if it fails.
sub run
{
	my ($self, @args) = @_;
	my ($out, $err);

	IPC::Run::run([ build_tool(), $self->{servers}, @args ], '<', \undef, '>', \$out, '2>',
		\$err, IPC::Run::timeout(60))
	  or die $err;
	return $out;
}

# create(TOPIC, PARTITIONS, NAME=VALUE...)
sub create
{
	my ($self, $topic, $partitions, @config) = @_;

	return $self->run('create', $topic, $partitions, $self->{copies}, @config);
}

# dump(TOPIC): its messages, partition after partition, as hashes; READ: "uncommitted"
# to see what was aborted or may be, too.
sub dump
{
	my ($self, $topic, $read) = @_;

	return map { JSON::PP->new->utf8->decode($_) }
	  split(/\n/, $self->run('dump', $topic, $read // 'committed'));
}

# decode(TEXT): what JSON says.
sub decode { return JSON::PP->new->decode($_[0]) }

# hold(TOPIC, PARTITION, ID): an open transaction; end it with close_hold.
sub hold { return shift->keep_open('hold', @_) }

# busy(TOPIC, PARTITION, ID): transactions, one of which is always open; the same.
sub busy { return shift->keep_open('busy', @_) }

sub keep_open
{
	my ($self, $what, @args) = @_;
	my $p = { in => '', out => '' };

	$p->{h} = IPC::Run::start([ build_tool(), $self->{servers}, $what, @args ],
		\$p->{in}, \$p->{out}, IPC::Run::timeout(120));
	$p->{h}->pump until $p->{out} =~ /open/;
	return $p;
}

sub close_hold
{
	my ($self, $p) = @_;

	$p->{h}->finish;
	return;
}

1;
