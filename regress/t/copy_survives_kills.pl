# Whoever dies while tables are copied - pgqd, one of its sessions, the server -
# the copy starts over with nothing doubled and nothing missing: not a row, and of
# a table that was captured before not a change either.
#
# COPY_KILLS in the environment: how many deaths, 6 by default.

use strict;
use warnings;

use PgqCopy;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $kills = $ENV{COPY_KILLS} // 6;
my $node = new_server('main', conf => "max_connections = 40\n");
my $db = new_database($node, 'shop');

sql($node, $db, q{
	create table fresh (id int primary key, n int);
	create table known (id serial primary key, n int);
	insert into fresh select i, 0 from generate_series(1, 1500) i;
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 'known'::regclass);
	insert into known (n) select 0 from generate_series(1, 1500) i;
});
# takes a moment for each row
my $slow = "when=length(repeat(md5(id::text), 20000)) > 0";
my $fresh = q{
\set id random(1, 2000)
\set what random(1, 100)
\if :what <= 30
insert into fresh values (:id, 1) on conflict do nothing;
\elif :what <= 80
update fresh set n = n + 1 where id = :id;
\else
delete from fresh where id = :id;
\endif
};
my $known = q{
\set id random(1, 2000)
\if :id < 1000
insert into known (n) values (1);
\else
update known set n = n + 1 where id = :id;
\endif
};
my $pgqd = start_pgqd($node);
wait_ingest($node, $db);

# Clients that lose their server; what is committed is in the tables.
my @loads;
sub load
{
	push @loads, map { load_start($node, $db, $_, '-c', 1, '-T', 60, '-R', 30) } $fresh, $known;
	return;
}

sub unload
{
	$_->{h}->kill_kill foreach @loads;
	@loads = ();
	return;
}

sub killed
{
	my ($job) = @_;
	return $node->psql($db, "select pg_terminate_backend(pid)
		from pg_stat_activity where application_name = '$job'");
}

my @deaths = (
	[ 'pgqd', sub { $pgqd->kill9; $pgqd->start } ],
	[ 'the session that copies', sub { killed('pgqd/copy') } ],
	[ 'the session that controls', sub { killed('pgqd/copy control') } ],
	[ 'the ingest session', sub { killed('pgqd/ingest') } ],
	[ 'the server', sub { unload(); $node->stop('immediate'); $node->start; load() } ]);

load();
sql($node, $db, qq{
	select pgq.capture_table('q', 'fresh'::regclass, 'copy', '$slow');
	select pgq.capture_table('q', 'known'::regclass, 'copy', '$slow')});
my $hit = 0;
foreach my $i (1 .. $kills)
{
	my ($what, $kill) = @{ $deaths[ ($i - 1) % @deaths ] };

	wait_for('a copy under way', sub {
		my ($rc, $out) = $node->psql($db, q{select count(*) from pgq.get_copy_info()
			where state = 'copying' or not exists (select from pgq.get_copy_info()
				where state <> 'done')});
		$rc == 0 && $out ne '0';
	});
	sleep(0.2 + rand(1));
	my (undef, $copying) = $node->psql($db, q{select string_agg(table_name, ' ')
		from pgq.get_copy_info() where state = 'copying'});
	note("death of $what, while copying: $copying");
	$hit++ if $copying ne '';
	$kill->();
	# the other table has its turn, too
	$node->psql($db, q{update pgq.copy set copy_tried = clock_timestamp()
		where copy_state = 'copying'});
}
cmp_ok($hit, '>=', $kills / 2, 'deaths while something was copied');
wait_copied($node, $db);
unload();
wait_ingest($node, $db);

my $r = new_replica($node, $db, 'q', 'c');
replica_read($r);
note("$r->{events} events, $r->{copied} of them copies");
replica_is($r, 'after deaths', 'public.fresh', 'public.known');
is(join(' ', map { "$_: $r->{inserted}{'public.known'}{$_}" }
	  grep { $r->{inserted}{'public.known'}{$_} != 1 }
	  sort keys %{ $r->{inserted}{'public.known'} }),
	'', 'each insert into the table that was captured before came once');
is(scalar keys %{ $r->{inserted}{'public.known'} },
	sql($node, $db, 'select count(*) from known'), 'and none is missing');
wait_for('cleaning', sub {
	sql($node, $db, 'select count(*) from pgq.held_event') eq '0';
});
is(sql($node, $db, q{select count(*), min(copy_state) from pgq.copy}),
	'2|done', 'nothing is left of the failed tries');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
