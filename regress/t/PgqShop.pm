
# A queue whose events relays bring to an engine, and what many tests do to it: put
# events in, and kill somebody meanwhile.

package PgqShop;

use strict;
use warnings;

use PgqRelay;
use PgqTest;
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

sub bookmark
{
	my ($self) = @_;

	return sql($self->{node}, $self->{db}, q{select pgq.get_bookmark('q', 'relay_r')}) || 0;
}

# events(): [ev_id, ev_data] of all that is in the queue, in order.
sub events { return events_of($_[0]{node}, $_[0]{db}, 'q') }

1;
