
# Debian's python3-pgq 3.7 works on our queues: consumers lazy and not, with
# local and remote bookkeeping, cooperating; bulk inserts; the status report.

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Spec;
use IPC::Run;
use JSON::PP;
use PgqDebian;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $unpacked =
  fetch_packages(qw(python3-pgq python3-skytools python3-psycopg2));
local $ENV{PYTHONPATH} = "$unpacked/usr/lib/python3/dist-packages";
local $ENV{PYTHONDONTWRITEBYTECODE} = 1;
system('/usr/bin/python3 -c "import pgq, psycopg2" >/dev/null 2>&1') == 0
  or plan skip_all => 'the system has no Python that its packages are for';

my $driver = File::Spec->rel2abs(dirname(__FILE__) . '/python_clients.py');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_server('python');
my $db = new_database($node, 'db', slot => 0);
my $connstr = $node->connstr($db);
my $json = JSON::PP->new;

sql($node, $db, q{create extension pgq_coop; create extension pgq_ext;
	select pgq.create_queue('q');
	update pgq.queue set queue_ticker_max_lag = '0'});

# ini(NAME, key => value...): a configuration file
sub ini
{
	my ($name, %set) = @_;
	my $section = delete $set{section} // 'test';
	my $file = "$dir/$name.ini";

	%set = (
		job_name => $name,
		db => $connstr,
		remote_db => $connstr,
		queue_name => 'q',
		pidfile => "$dir/$name.pid",
		logfile => "$dir/$name.log",
		use_skylog => 0,
		%set);
	open(my $fh, '>', $file) or die $!;
	print $fh "[$section]\n", map { "$_ = $set{$_}\n" } sort keys %set;
	close $fh;
	return $file;
}

# python(ARGUMENT...): runs the driver; what it prints
sub python
{
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ '/usr/bin/python3', $driver, @_ ],
		\undef, \$out, \$err, IPC::Run::timeout(60));

	note $err if $err ne '';
	die "@_: $err" if !$ok || $err =~ /Traceback/;
	return $out;
}

sub tick
{
	sql($node, $db, q{select pgq.force_tick('q'); select pgq.ticker('q')});
	return;
}

# events(KIND, INI, TURNS): what the consumer prints in so many turns
sub events
{
	my ($kind, $ini, $turns) = @_;
	my @lines = map { split(/\n/, python($kind, $ini)) } 1 .. $turns;

	return [ map { $json->decode($_) } @lines ];
}

my @kinds = (
	[ 'Plain', ini('lazy') ],
	[ 'Plain', ini('whole', pgq_lazy_fetch => 0) ],
	[ 'Plain', ini('pages', pgq_lazy_fetch => 7) ],
	[ 'Plain', ini('filtered', table_filter => 'x', pgq_lazy_fetch => 50) ],
	[ 'Plain', ini('autocommit', pgq_lazy_fetch => 0, pgq_autocommit => 1) ],
	[ 'Plain', ini('collect', pgq_batch_collect_events => 1,
		pgq_batch_collect_interval => '1 day', pgq_keep_lag => '0 seconds') ],
	[ 'Local', ini('local', local_tracking_file => "$dir/local.tick") ],
	[ 'Remote', ini('remote') ],
	[ 'Serial', ini('serial') ],
	[ 'Coop', ini('coop', consumer_name => 'team', subconsumer_name => 's1') ],
	[ 'Coop', ini('timeout', consumer_name => 'crew', subconsumer_name => 's1',
		subconsumer_timeout => '1 hour') ],
);
foreach (@kinds)
{
	my ($kind, $ini) = @$_;
	python($kind, $ini, '--register');
}
is( sql($node, $db,
		'select consumer_name from pgq.get_consumer_info() order by consumer_name collate "C"'),
	join("\n", sort qw(lazy whole pages filtered autocommit collect local remote serial team
		team.s1 crew crew.s1)),
	'all register');

python('produce', $connstr);
sql($node, $db, q{select pgq.insert_event('q', 't', 'fail', 'public.x', null, null, null)});
tick();
my @expected = (
	[ 'single', "it's one", 'e1', undef ],
	(map { [ 'bulk', "tab\tand 'quote' \\ $_", 'public.x', undef ] } 0 .. 999),
	[ 't', 'fail', 'public.x', undef ]);

foreach (@kinds)
{
	my ($kind, $ini) = @$_;
	my ($name) = $ini =~ /(\w+)\.ini$/;
	my @mine = $name eq 'filtered' ? @expected[ 1 .. $#expected ] : @expected;

	# a batch that fails comes again
	PostgreSQL::Test::Utils::append_to_file("$ini.fail", '');
	eval { python($kind, $ini) };
	unlink "$ini.fail";
	is_deeply(events($kind, $ini, 2),
		\@mine, "$kind $name gets what insert_event and COPY wrote");
}
is(sql($node, $db, q{select pgq_ext.get_last_tick('serial') is not null,
	(select count(*) from pgq_ext.completed_batch)}),
	't|1', 'target-side bookkeeping is used');

# Died after it had written down that the batch is done, before the server knew:
# it comes again and is passed over.
foreach ([ 'Local', 'local' ], [ 'Serial', 'serial' ])
{
	my ($kind, $name) = @$_;
	my $last = sql($node, $db, "select last_tick from pgq.get_consumer_info('q', '$name')");

	sql($node, $db, "select pgq.register_consumer_at('q', '$name', (select max(tick_id)
		from pgq.tick where tick_id < $last))");
	is_deeply(events($kind, "$dir/$name.ini", 1), [], "$kind passes over what is done");
	is(sql($node, $db, "select last_tick from pgq.get_consumer_info('q', '$name')"),
		$last, 'and finishes it');
}
sql($node, $db, q{select pgq.insert_event('q', 't', 'done', 'public.x', null, null, null)});
tick();
is(sql($node, $db, q{select pgq_ext.set_batch_done('remote', pgq.next_batch('q', 'remote'))}),
	't', 'a batch done on the target side only');
is_deeply(events('Remote', "$dir/remote.ini", 1), [], 'Remote passes over it');
is(sql($node, $db, q{select current_batch is null, pending_events
	from pgq.get_consumer_info('q', 'remote')}), 't|0', 'and finishes it');
events($_->[0], $_->[1], 1) foreach grep { $_->[0] ne 'Remote' } @kinds;

sql($node, $db, q{select pgq.insert_event('q', 't', 'again', 'public.x', null, null, null)});
tick();
foreach (grep { $_->[0] =~ /Plain|Coop/ } @kinds)
{
	my ($kind, $ini) = @$_;
	my ($name) = $ini =~ /(\w+)\.ini$/;

	is_deeply(events($kind, $ini, 1), [ [ 't', 'again', 'public.x', undef ] ],
		"$kind $name tags an event");
}
is(sql($node, $db, 'select pgq.maint_retry_events()'), '8', 'and it waits for each');
tick();
foreach (grep { $_->[0] =~ /Plain|Coop/ } @kinds)
{
	my ($kind, $ini) = @$_;
	my ($name) = $ini =~ /(\w+)\.ini$/;

	is_deeply(events($kind, $ini, 2), [ [ 't', 'again', 'public.x', 1 ] ],
		"$kind $name gets its own copy");
}

my $status = python('status', ini('status', section => 'pgqadm'));
like($status, qr/^Event queue\s+Rotation\s+Ticker\s+TLag\s+EPS\s+New\n/m, 'status has a head');
like($status, qr/^q +3\/7200s +500\/0s\/60s/m, 'the queue');
like($status, qr/^  whole +\d/m, 'and its consumers');

python($_->[0], $_->[1], '--unregister') foreach @kinds;
is(sql($node, $db, q{select count(*) from pgq.get_consumer_info()
	where consumer_name not in ('team', 'crew')}), '0', 'all unregister');

done_testing();
