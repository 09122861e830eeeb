
# Debian's pgqd 3.5 runs our queues: ticks, rotation, retries and extra
# maintenance, whether autovacuum is on or off. (At the first row named vacuum it
# gives up the rest of its list, see doc/compatibility.md.)

use strict;
use warnings;

use PgqDebian;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $unpacked = fetch_packages('pgqd');
my $program = "$unpacked/usr/bin/pgqd";
`$program -V 2>&1` =~ /pgqd version 3/
  or plan skip_all => 'the pgqd of the package does not run here';

# The daemon of the tests is started by its name: let this one be found first.
$ENV{PATH} = "$unpacked/usr/bin:$ENV{PATH}";

foreach my $autovacuum (qw(on off))
{
	my $node = new_server("vacuum_$autovacuum", conf => "autovacuum = $autovacuum\n");
	my $db = new_database($node, 'db', slot => 0);

	sql($node, $db, q{
		select pgq.create_queue('q'), pgq.create_queue('other');
		select pgq.register_consumer('q', 'c');
		update pgq.queue set queue_ticker_max_lag = '0.1 second',
			queue_rotation_period = '1 second';
		create table done (queue text, at timestamptz default clock_timestamp());
		create function maintain(text) returns int language sql as
			'insert into public.done values ($1) returning 0';
		update pgq.queue set queue_extra_maint = array['maintain']
			where queue_name = 'q'});
	my $pgqd = start_pgqd($node,
		ticker_period => 0.2, maint_period => 1, retry_period => 0.5);

	sql($node, $db, q{select pgq.insert_event('q', 't', 'one'),
		pgq.insert_event('q', 't', 'two')});
	my $first;
	my $batch = wait_for(
		"a batch with events",
		sub {
			my $b = sql($node, $db, q{select pgq.next_batch('q', 'c')});
			return '' if $b eq '';
			$first = sql($node, $db,
				"select ev_data from pgq.get_batch_events($b)");
			return $b if $first ne '';
			sql($node, $db, "select pgq.finish_batch($b)");
			return '';
		});
	is($first, "one\ntwo", "autovacuum $autovacuum: it ticks");
	sql($node, $db, "select pgq.event_retry($batch, 2, 0);"
		  . " select pgq.finish_batch($batch)");
	wait_for('the retry',
		sub { sql($node, $db, 'select count(*) from pgq.retry_queue') eq '0' });
	is_deeply(
		consume($node, $db, 'q', 'c', "ev_data || ev_retry"),
		['two1'], 'brings back retried events');

	my @tables;
	wait_for(
		'two rotations',
		sub {
			my $table = sql($node, $db,
				q{select queue_cur_table from pgq.queue where queue_name = 'q'});
			consume($node, $db, 'q', 'c');
			push @tables, $table if !@tables || $tables[-1] ne $table;
			return @tables > 2;
		});
	pass('rotates tables');
	is( sql($node, $db,
			q{select string_agg(distinct queue, ' '), count(*) > 1 from public.done}),
		'q|t', 'runs extra maintenance, unqualified names in public');
	ok( wait_for(
			'step 2',
			sub {
				sql($node, $db, q{select pgq.insert_event('q', 't', 'last')});
				sql($node, $db,
					'select count(*) from pgq.queue where queue_switch_step2 is null'
				) eq '0';
			}),
		'completes rotations');
	like($pgqd->text, qr/\[db\]: pgq version ok: \Q@{[pgq_version()]}\E/, 'likes our version');
	unlike($pgqd->text, qr/ERROR/, 'and finds no error')
	  if $autovacuum eq 'on';
	$pgqd->stop;
	$node->stop;
}

done_testing();
