
# A relay writes each event of a queue into a file once and in order, whoever is
# killed, and says what is wrong when something is.

use strict;
use warnings;

use PgqTest;
use PgqRelay;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

plan skip_all => 'pgqrelay was not built here'
  if system('pgqrelay --version >/dev/null 2>&1') != 0;

my $node = new_server('main');
my $db = new_database($node, 'shop', slot => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $file = "$dir/orders";

sql($node, $db, q{select pgq.create_queue('q')});
sql($node, $db, q{select pgq.register_consumer('q', 'relay_r')});

my %keys = (db => $node->connstr($db), queue => 'q', target => "file:$file");

sub insert
{
	my ($from, $to) = @_;

	sql($node, $db, "select pgq.insert_event('q', 't', 'n' || i)
		from generate_series($from, $to) i");
	ticks($node, $db, 'q');
	return;
}

sub lines { return -e $file ? [ split(/\n/, slurp($file)) ] : [] }

sub wanted { return [ map { "n$_" } 1 .. $_[0] ] }

sub wait_lines
{
	my ($n) = @_;

	wait_for("$n lines", sub { @{ lines() } >= $n && bookmark() == -s $file });
	return is_deeply(lines(), wanted($n), "$n events, each once, in order");
}

sub bookmark
{
	return sql($node, $db, q{select pgq.get_bookmark('q', 'relay_r')}) || 0;
}

# in the way of events
my $relay = start_relay(r => \%keys);
insert(1, 1000);
wait_lines(1000);

# killed at any moment
foreach my $round (1 .. 8)
{
	insert($round * 1000 + 1, ($round + 1) * 1000);
	sleep(rand(0.1));
	$relay->kill9;
	$relay->start;
}
wait_lines(9000);

# what it wrote of a batch that was not finished is cut off
is($relay->stop, 0, 'it ends cleanly');
append_to_file($file, "half of a batch\n");
insert(9001, 9010);
$relay->start;
wait_lines(9010);

# the server goes and comes
$node->stop('immediate');
$relay->wait_log(qr/database away/);
$node->start;
insert(9011, 9020);
wait_lines(9020);

# two relays of one consumer
my $second = start_relay(r => \%keys);
$second->wait_log(qr/another process writes/);
insert(9021, 9030);
wait_lines(9030);
$second->stop;

# an event that no line can hold stops it, or is dead
my $mark = length $relay->text;
sql($node, $db, q{select pgq.insert_event('q', 't', E'two\nlines')});
insert(9031, 9031);
$relay->wait_log(qr/stands still: the engine will not take event \d+: .*newline/,
	$mark);
is(scalar @{ lines() }, 9030, 'it stands still there');
$relay->stop;
$relay = start_relay(r => { %keys, on_refused => 'dead' });
wait_lines(9031);
is(sql($node, $db, q{select count(*) from pgq.get_dead_events('q', 'relay_r')}),
	'1', 'or makes it dead, with the reason');

# the file lost what it had
$relay->stop;
truncate($file, 100);
insert(9032, 9032);
$relay->start;
$relay->wait_log(qr/stands still: .* has lost events: it has 100 bytes/);
pass('a file that lost events is not written to');
$relay->stop;

# in the midst of the first batch of all, and while the database says no
sql($node, $db, $_)
  foreach q{select pgq.create_queue('first')},
  q{select pgq.register_consumer('first', 'relay_first')},
  q{select pgq.insert_event('first', 't', 'n' || i) from generate_series(1, 9) i},
  q{select pgq.insert_event('first', 't', E'two\nlines')},
  q{alter function pgq.event_dead(int8, int8, text) rename to event_dead_away};
ticks($node, $db, 'first');
my %first = (%keys, queue => 'first', consumer => 'relay_first',
	target => "file:$dir/first");
$relay = start_relay(first => \%first);
$relay->wait_log(qr/stands still: the engine will not take event/);
$relay->stop;
ok(-s "$dir/first", 'a part of the first batch was written');
$relay = start_relay(first => { %first, on_refused => 'dead' });
$relay->wait_log(qr/database away: .*pgq\.event_dead.* does not exist/);
pass('why an event can not be made dead is told');
sql($node, $db,
	q{alter function pgq.event_dead_away(int8, int8, text) rename to event_dead});
wait_for('the first batch', sub { slurp("$dir/first") eq join('', map { "n$_\n" } 1 .. 9)
	&& sql($node, $db, q{select count(*) from pgq.get_dead_events('first', null)}) });
pass('the first batch is written once, whatever came in between');
$relay->stop;

# bad input, one clear message each
foreach my $case (
	[ { target => 'smoke:signals' }, qr/no target of the kind "smoke:signals"/ ],
	[ { queue => undef }, qr/key "queue" is missing/ ],
	[ { format => 'xml' }, qr/format "xml" is none of plain, json/ ],
	[ { key => '{kee}' }, qr/there is no field "\{kee\}"/ ],
	[ { key => '{key' }, qr/"\{" without "\}"/ ],
	[ { topic => 'x' }, qr/key "topic" means nothing to a file: target/ ],
	[ { on_refused => 'skip' }, qr/on_refused must be stop or dead/ ],
	[ { password => '${NO_SUCH_VARIABLE}' }, qr/no variable NO_SUCH_VARIABLE/ ],
	[ { nonsense => 1 }, qr/unknown key "nonsense"/ ])
{
	my ($bad, $message) = @$case;
	my $r = start_relay(r => { %keys, %$bad });

	wait_for('its end', sub { !$r->alive });
	like($r->text, $message, "refused: $message");
}

# bytes that are no UTF-8, in a database that has such, stop nothing
sql($node, 'postgres', q{create database ascii template template0 encoding 'SQL_ASCII'
	lc_collate 'C' lc_ctype 'C'});
sql($node, 'ascii', q{create extension pgq; select pgq.create_queue('q');
	select pgq.register_consumer('q', c) from unnest('{relay_a,c}'::text[]) c});
sql($node, 'ascii', q{select pgq.insert_event('q', 't', E'a\xe9z');
	select pgq.insert_event('q', 't', 'after')});
ticks($node, 'ascii', 'q');
my $ascii = start_relay(a => { db => $node->connstr('ascii'), queue => 'q',
		target => "file:$dir/ascii", format => 'json' });
wait_for('both lines', sub { -e "$dir/ascii" && slurp("$dir/ascii") =~ /after/ });
like(slurp("$dir/ascii"), qr/a\\ufffdz.*\n.*after/, 'a relay writes JSON all the same');
$ascii->stop;
my ($out) = run_command([ 'pgqadm', '-d', $node->connstr('ascii'), 'consume', 'q', 'c',
		'--timeout', '1' ]);
like($out, qr/a\\ufffdz.*\n.*after/, 'and so does pgqadm consume');

done_testing();
