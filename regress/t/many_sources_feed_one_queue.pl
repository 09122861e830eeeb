
# Several sources feed one queue: each one's order is kept, transactions are whole, events
# name their source, text is converted; one that is lost leaves the others alone, and
# sources come and go while pgqd runs.

use strict;
use warnings;

use PgqTest;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep);

my $source = new_server('source', conf => "max_connections = 60\n");
my $host = new_server('host');
my $connstr = 'host=' . $source->host . ' port=' . $source->port;
my @names = qw(one two latin);
my %sections;

foreach my $name (@names)
{
	sql($source, 'postgres', "create database $name" . ($name eq 'latin'
		? " encoding 'LATIN1' locale 'C' template template0" : ''));
	sql($source, $name, q{
		create extension pgq;
		create table t (id int primary key, v text);
		select pgq.declare_remote_queue('all')});
	sql($source, $name, 'select pgq.start_capture()');
	sql($source, $name, q{
		select pgq.capture_table('all', 't'), pgq.capture_transactions('all')});
	$sections{$name} = { connstr => "$connstr dbname=$name", queue_db => 'hub' };
}
new_database($host, 'hub', slot => 0);
sql($host, 'hub', q{
	select pgq.create_queue('all'), pgq.register_consumer('all', 'c');
	select pgq.create_source('one'), pgq.create_source('two'), pgq.create_source('latin');
	select pgq.grant_source(source_name, 'all', 4) from pgq.get_source_info()});

my $pgqd = start_pgqd($host, sources => \%sections);

# Each transaction has 1 to 20 rows.
my $script = q{
\set n random(1, 20)
insert into t select (select coalesce(max(id), 0) from t) + i, repeat('x', 50)
from generate_series(1, :n) i;
};
sql($source, $_, q{insert into t values (0, '')}) foreach @names;
my @loads = map { load_start($source, $_, $script, '-c', 1, '-t', 300, '-R', 150) } @names;
load_stop($_) foreach @loads;
wait_ingest($source, $_) foreach @names;

my %ids;
my %open;
my ($split, $nameless) = (0, 0);
my $whole = '';
my $events = consume_json($host, 'hub', 'all', 'c');
my @turns;

foreach my $e (@$events)
{
	my $from = $e->{ev_extra4} // '';

	$nameless++ if !$sections{$from};
	$split++ if $whole ne '' && $from ne $whole;
	$whole = $from if $e->{ev_type} eq 'pgq.begin';
	$whole = '' if $e->{ev_type} eq 'pgq.commit';
	next if $e->{ev_type} =~ /^pgq/;
	push @turns, $from if !@turns || $turns[-1] ne $from;
	push @{ $ids{$from} }, decode_json($e->{ev_data})->{id};
}
is($nameless, 0, 'each event names its source');
is($split, 0, 'no transaction has another source\'s events in it');
cmp_ok(scalar @turns, '>', 20, 'sources took turns');
foreach my $name (@names)
{
	my @rows = split(/\n/, sql($source, $name, q{select id from t order by id}));

	is_deeply($ids{$name}, \@rows, "$name: each row once, in order");
}

# Text is the host's, where it has a counterpart.
sql($source, 'latin', q{insert into t values (-1, chr(228) || 'b')});
wait_ingest($source, 'latin');
my ($e) = grep { $_->{ev_type} !~ /^pgq/ } @{ consume_json($host, 'hub', 'all', 'c') };
is(decode_json($e->{ev_data})->{v}, "\x{e4}b", 'LATIN1 becomes UTF8');

# pgqd looks for what SQL puts in, too: what sources feed must not wait behind that
sql($host, 'hub', q{
	create sequence looks;
	create sequence long_looks;
	create or replace function pgq.tick_awaited(i_period interval default '0', i_wait interval default '0')
	returns table (queue_name text, tick_id int8, channel text) language plpgsql as $$
	begin
		perform nextval('public.looks');
		if i_wait > '0' then
			perform nextval('public.long_looks'), pg_sleep(0.1);
		end if;
	end $$});
sub looks { return split(/\|/, sql($host, 'hub', 'select (select last_value from looks), last_value from long_looks')) }

sql($source, 'one', q{insert into t values (-100, 'told')});
wait_ingest($source, 'one');
# one that was under way before
wait_for('looks', sub { (looks())[0] > 20 });
my ($before, $long_before) = looks();
foreach my $n (101 .. 115)
{
	sql($source, 'one', "insert into t values (-$n, 'told')");
	sleep(0.2);
}
my ($after, $long_after) = looks();
cmp_ok($after, '>', $before, 'it looks');
is($long_after, $long_before, 'no look keeps its connection from others');
wait_ingest($source, 'one');
consume_json($host, 'hub', 'all', 'c');

# One is lost: the others go on, and it is told.
sql($source, 'two', q{update pg_database set datallowconn = false where datname = 'two'});
sql($source, 'postgres', q{select pg_terminate_backend(pid) from pg_stat_activity where datname = 'two'});
$pgqd->wait_log(qr/source two\]: .*not currently accepting connections/);
sql($source, 'one', q{insert into t values (-2, 'goes on')});
wait_ingest($source, 'one');
is(scalar(grep { $_->{ev_type} !~ /^pgq/ } @{ consume_json($host, 'hub', 'all', 'c') }), 1,
	'the others go on');
wait_for('get_problems to tell it', sub { sql($host, 'hub', q{
	select count(*) from pgq.get_problems() where problem ~ 'source two: .*accepting'}) > 0 });

# pgqadm knows both sides.
my ($out, $err);
my @hub = ('pgqadm', '-d', $host->connstr('hub'));
IPC::Run::run([ @hub, 'source', 'list', '--json' ], '>', \$out, '2>', \$err);
is(join(' ', map { "$_->{source}:$_->{state}" } @{ decode_json($out) }),
	'latin:ok one:ok two:ok', 'pgqadm source list');
IPC::Run::run([ @hub, 'doctor' ], '>', \$out, '2>', \$err);
like($out . $err, qr/source two/, 'doctor on the host tells what is wrong');
IPC::Run::run([ @hub, 'status' ], '>', \$out, '2>', \$err);
like($out, qr/^Source .*^latin .*feeds: all/ms, 'status shows sources');
ok(IPC::Run::run([ 'pgqadm', '-d', $source->connstr('one'), 'doctor' ], '>', \$out, '2>', \$err),
	'doctor is content at the source') or diag $out;
ok(IPC::Run::run([ 'pgqadm', '-d', $source->connstr('one'), 'drain' ], '>', \$out, '2>', \$err),
	'drain at the source waits for the host');

# It comes back, another is taken away and a new one added, by a reload each.
sql($source, 'postgres', q{update pg_database set datallowconn = true where datname = 'two'});
sql($source, 'two', q{insert into t values (-3, 'is back')});
wait_ingest($source, 'two');
sql($source, 'postgres', q{create database three});
sql($source, 'three', q{
	create extension pgq;
	create table t (id int primary key, v text);
	select pgq.declare_remote_queue('all')});
sql($source, 'three', 'select pgq.start_capture()');
sql($source, 'three', q{select pgq.capture_table('all', 't')});
IPC::Run::run([ @hub, 'source', 'add', 'three', 'all' ], '>', \$out, '2>', \$err);
my $ini = slurp($pgqd->{ini});
$ini =~ s/\[source one\].*?(?=\[)//s;
open(my $fh, '>', $pgqd->{ini}) or die $!;
print $fh "$ini\n[source three]\nconnstr = $connstr dbname=three\nqueue_db = hub\n"
  . "[source twin]\nconnstr = $connstr dbname=three\nqueue_db = hub\n";
close($fh);
sql($host, 'hub', q{select pgq.create_source('twin', 'all')});
$pgqd->signal('HUP');
sql($source, 'three', q{insert into t values (1, 'new')});
wait_for('one of the twins to be refused',
	sub { $pgqd->text =~ /source (twin|three)\]: .*it is source "(twin|three)" already/ });
wait_ingest($source, 'three');
is_deeply([ map { $_->{ev_data} } grep { $_->{ev_type} !~ /^pgq/ } @{ consume_json($host, 'hub', 'all', 'c') } ],
	[ '{"id":-3,"v":"is back"}', '{"id":1,"v":"new"}' ], 'sources come and go; one has one name');
wait_for('the slot of the one taken away to be free', sub {
	sql($source, 'one', q{select active from pg_replication_slots where slot_name = 'pgq_one'}) eq 'f' });

done_testing();
