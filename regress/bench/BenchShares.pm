
# Several workers of one consumer: their throughput beside that of one.

package BenchShares;

use strict;
use warnings;

use BenchTools;
use IPC::Run ();
use PgqTest;
use Test::More;

my $events = $smoke ? 240 : 30_000;
my $keys = $smoke ? 20 : 1000;
my $runs = 0;
my $client;

# Events a second that so many workers do.
sub rate
{
	my ($n) = @_;
	my $node = ours();
	my $consumer = 'c' . ++$runs;
	my $done = 0;

	# workers that were there before the events: the first batch of those that come late
	# is one worker's
	sql($node, 'shares', "select pgq.register_consumer('q', '$consumer')");
	sql($node, 'shares', "select pgq.next_share('q', '$consumer', 'w$_', '1 minute', 'extra1')")
	  foreach 1 .. $n;
	sql($node, 'shares', "select pgq.seek_consumer('q', '$consumer', '-infinity'::timestamptz)");
	my $seconds = elapsed(sub {
		my @out = ('') x $n;
		my @workers = map { IPC::Run::start([ $client, $node->connstr('shares'), 'q',
			$consumer, "w$_" ], '>', \$out[ $_ - 1 ]) } 1 .. $n;

		IPC::Run::finish($_) or die 'a worker failed' foreach @workers;
		$done += $_ foreach @out;
	});
	is($done, $events, "$n workers do each event once");
	return $events / $seconds;
}

sub bench
{
	my $node = ours();
	chomp(my $include = `pg_config --includedir`);
	chomp(my $lib = `pg_config --libdir`);

	$client = compile('worker', "-I$include", "$lib/libpgq.a", "-L$lib", '-lpq');
	new_database($node, 'shares', slot => 0);
	sql($node, 'shares', "select pgq.create_queue('q')");
	# as pgqd ticks when many come: by some hundred
	sql($node, 'shares', "do \$\$ begin for n in 1..60 loop perform pgq.insert_event('q',"
		. " 't', 'd', ((n * $events / 60 + i) * 7919 % $keys)::text, null, null, null)"
		. " from generate_series(1, $events / 60) i; commit;"
		. " perform pgq.force_tick('q'); perform pgq.ticker('q'); commit; end loop; end \$\$");
	sql($node, 'shares', 'vacuum analyze');
	sentence('The work of an event is to wait for a millisecond, as for an answer of somebody'
		. ' else: four workers need no four cores for it.');
	foreach my $n (2, 4)
	{
		compare("events a second that wait 1 ms each: $n workers / one",
			$n == 4 ? '>= 3.6' : '', '/s', sub { rate($n) }, sub { rate(1) });
	}
	return;
}

1;
