
# Two workers share a consumer: woken by NOTIFY on the queue's channel they do
# every event, each in one of them, what is retried or delayed too.

use strict;
use warnings;

use PgqTest;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_server('main');
new_database($node, 'db');
sql($node, 'db', $_)
  for (
	'create extension pgq_coop',
	"select pgq.create_queue('q')",
	"select pgq_coop.register_subconsumer('q', 'm', 'w1')");
# by its period it would tick much later than the workers are waited for
my $pgqd = start_pgqd($node, ticker_period => 60);

my $channel = sql($node, 'db', "select pgq.tick_channel('q')");
my %worker = map { $_ => session($node, 'db') } qw(w1 w2);
$_->query("listen $channel") foreach values %worker;

# Does what there is; returns "worker event" for each event.
sub work
{
	my ($name) = @_;
	my $s = $worker{$name};
	my @done;

	while ((my $batch = $s->query("select pgq_coop.next_batch('q', 'm', '$name', '1 hour')"))
		=~ /^(\d+)$/m)
	{
		my $id = $1;
		push @done, map { "$name $_" } grep { !/notification/ } split(/\n/,
			$s->query("select ev_data from pgq.get_batch_events($id) order by ev_id"));
		$s->query("select pgq.event_retry($id, ev_id, 0) from pgq.get_batch_events($id)
			where ev_data = 'twice' and ev_retry is null");
		$s->query("select pgq_coop.finish_batch($id)");
	}
	return @done;
}

# Both wait for a notification, and then work.
sub wait_and_work
{
	my ($want) = @_;
	my (@done, %woken);

	wait_for(
		"$want events",
		sub {
			foreach my $name (sort keys %worker)
			{
				next
				  if $worker{$name}->query('select 1') !~
				  /notification "$channel"/;
				$woken{$name} = 1;
				push @done, work($name);
			}
			return @done >= $want;
		},
		30);
	return \@done;
}

# the first tick after the start takes the period; from then on commits count
sql($node, 'db', "select pgq.insert_event('q', 't', 'start')");
wait_ingest($node, 'db');
wait_for('pgqd to tick',
	sub { work('w1') || sql($node, 'db', "select count(*) > 1 from pgq.tick") eq 't' });
work($_) foreach qw(w1 w2);

my @done;
my $start = time();
for my $i (1 .. 10)
{
	sql($node, 'db', "select pgq.insert_event('q', 't', 'e$i')");
	push @done, @{ wait_and_work(1) };
}
cmp_ok(time() - $start, '<', 30, 'woken by each commit, not by the period');
is(join(' ', sort map { /(\S+)$/ } @done),
	join(' ', sort map { "e$_" } 1 .. 10),
	'every event was done once');

sql($node, 'db', "select pgq.insert_event('q', 't', 'twice'),
	pgq.insert_event_at('q', now() + '2 s', 't', 'delayed')");
@done = @{ wait_and_work(3) };
is(join(' ', sort map { /(\S+)$/ } @done),
	'delayed twice twice', 'a retried and a delayed event arrive');
is( sql($node, 'db', 'select count(*) from pgq.subscription where sub_batch is not null'),
	'0', 'no batch is left open');

$pgqd->stop;
done_testing();
