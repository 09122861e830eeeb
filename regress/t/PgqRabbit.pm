
# A RabbitMQ server of the tests' own, out of Debian's packages, and what a test asks
# it, by way of amqp_tool.c.

package PgqRabbit;

use strict;
use warnings;

use FindBin;
use IPC::Run;
use PgqDebian;
use PgqRelay;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

our @ISA = ('PgqRelay::Engine');

# new(CONFIG LINE...): a server, started. Its data outlive kills. Ends the test as
# skipped without the packages, or where pgqrelay has no librabbitmq.
sub new
{
	my ($class, @config) = @_;

	plan skip_all => 'pgqrelay was built without librabbitmq'
	  if `pgqrelay --version 2>&1` !~ /\(librabbitmq \d/;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $root = fetch_packages('rabbitmq-server', 'erlang-base', erlang_packages());
	my ($sbin) = glob("$root/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin");
	my $erlang = "$root/usr/lib/erlang/bin";
	my $self = bless {
		port => free_port(),
		dir => $dir,
		tool => "$dir/amqp_tool" }, $class;

	system("cc -Wall -o $self->{tool} $FindBin::RealBin/../t/amqp_tool.c"
		  . ' $(pkg-config --cflags --libs librabbitmq)') == 0
	  or die 'amqp_tool was not built';
	# it knows by its own text where it lies
	system('sed', '-i', "s,=/usr/lib/erlang,=$root/usr/lib/erlang,", "$erlang/erl") == 0
	  or die 'sed failed';
	append_to_file("$dir/rabbitmq.conf", join("\n", @config, ''));
	my $epmd = free_port();

	start_engine('epmd', "$erlang/epmd", '-address', '127.0.0.1', '-port', $epmd);
	$self->{sbin} = $sbin;
	$self->{env} = [ 'env', "HOME=$dir", "PATH=$erlang:$ENV{PATH}",
		'ERL_EPMD_ADDRESS=127.0.0.1', "ERL_EPMD_PORT=$epmd",
		"RABBITMQ_NODENAME=pgq$self->{port}\@localhost" ];
	return $self->launch('rabbitmq', @{ $self->{env} },
		'RABBITMQ_DIST_PORT=' . free_port(),
		"RABBITMQ_NODE_PORT=$self->{port}", 'RABBITMQ_NODE_IP_ADDRESS=127.0.0.1',
		"RABBITMQ_MNESIA_BASE=$dir/mnesia", "RABBITMQ_LOG_BASE=$dir/log", 'RABBITMQ_LOGS=-',
		"RABBITMQ_ENABLED_PLUGINS_FILE=$dir/plugins", "RABBITMQ_CONF_ENV_FILE=$dir/none",
		"RABBITMQ_CONFIG_FILE=$dir/rabbitmq", "RABBITMQ_GENERATED_CONFIG_DIR=$dir/conf",
		# then the shell becomes the server, which can be killed
		'RUNNING_UNDER_SYSTEMD=1', "$sbin/rabbitmq-server");
}

# control(WORD...): by rabbitmqctl; dies when it fails.
sub control
{
	my ($self, @words) = @_;

	my $out = '';

	IPC::Run::run([ @{ $self->{env} }, "$self->{sbin}/rabbitmqctl", '-q', @words ],
		'<', \undef, '>', \$out, '2>&1', IPC::Run::timeout(60))
	  or die "rabbitmqctl @words: $out";
	return;
}

sub erlang_packages
{
	return `apt-cache depends rabbitmq-server 2>/dev/null` =~ /^ *Depends: (erlang-\S+)$/mg,
	  qw(erlang-asn1 erlang-ftp erlang-tftp);
}

sub url { return "amqp://127.0.0.1:$_[0]{port}" }

sub probe { return $_[0]->ask('declare', 'ready') }

# ask(WORD...): what amqp_tool prints; dies when it fails.
sub ask
{
	my ($self, @words) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $self->{tool}, '127.0.0.1', $self->{port}, @words ], '<', \undef, '>',
		\$out, '2>', \$err, IPC::Run::timeout(60))
	  or die "amqp_tool @words: $err";
	return $out;
}

1;
