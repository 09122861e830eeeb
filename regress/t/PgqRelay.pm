
# What the tests of pgqrelay share: relays that can be killed, engines on free
# ports, and the ledger that compares what an engine holds with the queue.

package PgqRelay;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use PgqDebian;
use PgqTest;
use Test::More;

our @EXPORT = qw(add_relayed_queue database_goes_back start_relay start_engine need_engine
  free_port tells ticks events_of same_events);

my @processes;

# free_port(): a TCP port that nobody listens on.
sub free_port { return PostgreSQL::Test::Cluster::get_free_port() }

my %libs;    # LD_LIBRARY_PATH of programs out of packages

# need_engine(LIBRARY, PROGRAM, PACKAGE...): where the program is; ends the test as
# skipped if it is not to be had, or if pgqrelay was built without the library.
sub need_engine
{
	my ($library, $program, @packages) = @_;

	plan skip_all => "pgqrelay was built without $library"
	  if `pgqrelay --version 2>&1` !~ /\($library \d/;
	my ($path, $libs) = find_program($program, @packages);
	$libs{$path} = $libs;
	return $path;
}

# start_engine(NAME, COMMAND...): a server in the background, see package Process.
sub start_engine
{
	my ($name, @command) = @_;
	my $p = PgqRelay::Process->new($name, @command);

	$p->{libs} = $libs{ $command[0] };

	push @processes, $p;
	return $p->start;
}

# start_relay(NAME => { key => value }, ...): pgqrelay with these relays; a value
# undef is left out. Keys of [pgqrelay] are under the name "".
sub start_relay
{
	my (%relays) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $text = "[pgqrelay]\nsyslog = 0\n";
	my %main = %{ delete $relays{''} // {} };

	$text .= "$_ = $main{$_}\n" foreach sort keys %main;
	foreach my $name (sort keys %relays)
	{
		my %keys = %{ $relays{$name} };

		$text .= "\n[relay $name]\n";
		$text .= "$_ = $keys{$_}\n"
		  foreach grep { defined $keys{$_} } sort keys %keys;
	}
	PostgreSQL::Test::Utils::append_to_file("$dir/relay.ini", $text);
	chmod 0600, "$dir/relay.ini";
	my $p = start_engine('pgqrelay', 'pgqrelay', "$dir/relay.ini");
	$p->{ini} = "$dir/relay.ini";
	return $p;
}

# tells(KEYS, [ MORE KEYS, REGEX ], ...): a relay with such keys says so.
sub tells
{
	my ($keys, @cases) = @_;

	foreach my $case (@cases)
	{
		my ($more, $message) = @$case;
		my $r = start_relay(r => { %$keys, %$more });

		$r->wait_log($message);
		pass("told: $message");
		$r->stop;
	}
	return;
}

# add_relayed_queue(NODE, DATABASE, QUEUE, CONSUMER): a queue and the consumer of its relay.
sub add_relayed_queue
{
	my ($node, $db, $queue, $consumer) = @_;

	sql($node, $db, "select pgq.create_queue('$queue'),
		pgq.register_consumer('$queue', '$consumer')");
	return;
}

# ticks(NODE, DATABASE, QUEUE): all that was inserted is in a batch.
sub ticks
{
	my ($node, $db, $queue) = @_;

	sql($node, $db, "select pgq.force_tick('$queue'); select pgq.ticker()");
	return;
}

# database_goes_back(NODE, DATABASE, RELAY, INSERT, REGEX): the bookmark of RELAY, of
# consumer relay_r, is older than what the engine has.  INSERT makes an event; REGEX
# is how the relay says so, with $1 what the bookmark has to be to go on.
sub database_goes_back
{
	my ($node, $db, $relay, $insert, $regex) = @_;
	my $mark;

	$relay->stop;
	sql($node, $db, q{update pgq.bookmark set bm_text = '1'});
	$insert->();
	$mark = length $relay->text;
	$relay->start;
	$relay->wait_log(qr/stands still: $regex: the database went back/, $mark);
	Test::More::pass('a database that went back is seen');
	my ($bookmark) = substr($relay->text, $mark) =~ $regex;
	$relay->stop;
	sql($node, $db, qq{select pgq.set_bookmark(pgq.next_batch('q', 'relay_r'),
		'$bookmark')});
	$relay->start;
	return;
}

# events_of(NODE, DATABASE, QUEUE): [ev_id, ev_data] of all events still in the
# queue's tables, in order.
sub events_of
{
	my ($node, $db, $queue) = @_;

	return [
		map { [ split(/\|/, $_, 2) ] } split(
			/\n/,
			sql($node, $db, "select ev_id, ev_data from pgq.event_template
				where tableoid in (select evt_relid from pgq.event_table
					where evt_queue = '$queue') order by ev_id"))
	];
}

# same_events(GOT, WANTED, NAME): lists of [ev_id, data]: each once, in order.
sub same_events
{
	my ($got, $wanted, $name) = @_;
	my $n = 0;

	$n++
	  while $n < @$got
	  && $n < @$wanted
	  && "@{$got->[$n]}" eq "@{$wanted->[$n]}";
	return ok(1, $name . ' (' . @$wanted . ' events)')
	  if $n == @$got && $n == @$wanted;
	diag(sprintf('%d there, %d wanted; at place %d: %s, wanted %s',
		scalar(@$got), scalar(@$wanted), $n,
		map { $_ ? "@$_" : 'nothing' } $got->[$n], $wanted->[$n]));
	return ok(0, $name);
}

END
{
	my $rc = $?;

	foreach my $p (@processes)
	{
		$p->kill9;
		diag("$p->{name}: ...", substr($p->text, -2000)) if $rc && -s $p->{log};
	}
	$? = $rc;
}

package PgqRelay::Process;

use strict;
use warnings;

sub new
{
	my ($class, $name, @command) = @_;

	return bless {
		name => $name,
		command => \@command,
		log => PostgreSQL::Test::Utils::tempdir() . "/$name.log"
	}, $class;
}

sub start
{
	my ($self) = @_;

	local $ENV{LD_LIBRARY_PATH} = $self->{libs} if $self->{libs};
	# into a file: nobody reads a pipe all the time
	$self->{h} = IPC::Run::start($self->{command}, '<', '/dev/null',
		'>>', $self->{log}, '2>>', $self->{log});
	return $self;
}

sub alive
{
	my ($self) = @_;

	return 0 if !$self->{h};
	$self->{h}->reap_nb;
	return $self->{h}->pumpable;
}

# The log so far.
sub text
{
	my ($self) = @_;

	return PgqTest::slurp($self->{log});
}

sub signal
{
	my ($self, $signal) = @_;

	$self->{h}->signal($signal) if $self->{h};
	return;
}

# Ends it; returns the exit status.
sub stop
{
	my ($self, $signal) = @_;
	my $h = delete $self->{h} or return 0;

	$h->signal($signal // 'TERM');
	eval { $h->finish };
	return $h->full_result(0);
}

sub kill9 { return $_[0]->stop('KILL') }

# crash(): it is killed and started again.
sub crash
{
	my ($self) = @_;

	$self->kill9;
	return $self->start;
}

# Waits until the log has what REGEX says, behind what was there before if FROM.
sub wait_log
{
	my ($self, $regex, $from) = @_;

	PgqTest::wait_for("$self->{name} to log $regex",
		sub { substr($self->text, $from // 0) =~ $regex });
	return;
}

# A server that relays write into, of whatever kind: it is ready when "probe" of its
# class does not die, and it keeps its data and port when it is killed.
package PgqRelay::Engine;

use strict;
use warnings;

use Time::HiRes qw(sleep);

# launch(NAME, COMMAND...)
sub launch
{
	my ($self, @command) = @_;

	$self->{server} = PgqRelay::start_engine(@command);
	$self->wait_ready;
	return $self;
}

sub wait_ready
{
	my ($self) = @_;

	delete $self->{socket};
	PgqTest::wait_for($self->{server}{name},
		sub { eval { $self->probe; 1 } or do { delete $self->{socket}; 0 } });
	return;
}

sub kill9 { return $_[0]{server}->kill9 }

# data(): the folder with all that it has.
sub data { return $_[0]{dir} }

sub start
{
	my ($self) = @_;

	$self->{server}->start;
	$self->wait_ready;
	return;
}

sub crash
{
	my ($self) = @_;

	$self->kill9;
	sleep(rand(0.3));
	return $self->start;
}

1;
