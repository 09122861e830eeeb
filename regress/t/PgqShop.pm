
# A queue whose events relays bring to an engine, and what many tests do to it: put
# events in, and kill somebody meanwhile.

package PgqShop;

use strict;
use warnings;

use PgqRelay;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

# new(EVENT): a server with database shop, and in it queue q with consumer relay_r.
# EVENT: what insert_event takes after the queue; i is the event's number.
sub new
{
	my ($class, $event) = @_;
	my $node = new_server('main');
	my $db = new_database($node, 'shop', slot => 0);
	my $self = bless { node => $node, db => $db, event => $event, n => 0 }, $class;

	add_relayed_queue($node, $db, 'q', 'relay_r');
	return $self;
}

# keys(KEY => VALUE, ...): of a relay, with those that most tests have.
sub keys
{
	my ($self, @more) = @_;

	return (
		db => $self->{node}->connstr($self->{db}),
		queue => 'q',
		stall_release => 2,
		window_events => 100,
		@more);
}

# insert(COUNT): so many events more, in a batch that can be read.
sub insert
{
	my ($self, $count) = @_;
	my $from = $self->{n} + 1;

	$self->{n} += $count;
	sql($self->{node}, $self->{db}, "select pgq.insert_event('q', $self->{event})
		from generate_series($from, $self->{n}) i");
	ticks($self->{node}, $self->{db}, 'q');
	return;
}

# amid(ROUNDS, COUNT, ACTION, SECONDS): so often, COUNT events and a moment later ACTION;
# after so many seconds at most, 0.05 if not given.
sub amid
{
	my ($self, $rounds, $count, $action, $seconds) = @_;

	foreach (1 .. $rounds)
	{
		$self->insert($count);
		sleep(rand($seconds // 0.05));
		$action->();
	}
	return;
}

# crash(): the server is killed and started again.
sub crash
{
	my ($self) = @_;

	$self->{node}->stop('immediate');
	$self->{node}->start;
	return;
}

# takes_little_memory(SMALL, KEY => VALUE, ...): a relay of these keys, with a window as
# it is by default, takes no more than 64 MiB for a batch of larger events than that, and
# SMALL others.
sub takes_little_memory
{
	my ($self, $small, @keys) = @_;
	my ($node, $db) = @$self{qw(node db)};

	add_relayed_queue($node, $db, 'big', 'relay_big');
	sql($node, $db, "select count(pgq.insert_event('big', 'I:id',
		'id=' || i || '&v=' || repeat('x', case when i <= 80 then 900000 else 100 end),
		'public.t', null, null, null)) from generate_series(1, 80 + $small) i");
	ticks($node, $db, 'big');
	my $relay = start_relay(big => { @keys, queue => 'big', window_events => undef,
		stall_release => 10 });
	wait_for('large events to be there', sub { sql($node, $db, q{select 1
		from pgq.get_consumer_info('big', 'relay_big')
		where pending_events = 0 and current_batch is null}) });
	my ($kb) = slurp("/proc/$relay->{h}{KIDS}[0]{PID}/status") =~ /^VmHWM:\s+(\d+) kB/m;
	note(sprintf('%.1f MiB', $kb / 1024));
	cmp_ok($kb / 1024, '<=', 64, 'MiB of memory for 72 MB of large events');
	$relay->stop;
	sql($node, $db, q{select pgq.drop_queue('big', true)});
	return;
}

sub bookmark
{
	my ($self) = @_;

	return sql($self->{node}, $self->{db}, q{select pgq.get_bookmark('q', 'relay_r')}) || 0;
}

# events(): [ev_id, ev_data] of all that is in the queue, in order.
sub events { return events_of($_[0]{node}, $_[0]{db}, 'q') }

1;
