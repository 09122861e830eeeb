
# Commands that take long show on a terminal how far they are, the rate and the
# time left: drain, migrate, capture --wait, resync --wait.

use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use PgqTest;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_server('main');
my $db = new_database($node, 'shop');
my @adm = ('pgqadm', '-d', $node->connstr($db));
my ($run, $seen, $out, $pgqd);

# begin(COMMAND...): starts it on a terminal; $seen is what is seen there, $out
# what goes to standard output
sub begin
{
	($seen, $out) = ('', '');
	$run = IPC::Run::start([ @adm, @_ ], '<', \undef, '>', \$out, '2>pty>', \$seen,
		IPC::Run::timeout(120));
	return;
}

# shows(WHAT, LINE [, BRAKE]): with a brake pgqd stands still most of the time, so
# that there is something to see on a fast machine, too
sub shows
{
	my ($what, $line, $brake) = @_;

	ok( eval {
			wait_for($what, sub {
				$pgqd->signal('STOP'), sleep(0.3), $pgqd->signal('CONT')
				  if $brake;
				$run->pump_nb;
				return $seen =~ /\r$line\e\[K/;
			});
			1;
		}, $what) or diag($seen);
	return;
}

sub ends
{
	my ($what, $line) = @_;

	ok($run->finish, "$what ends well");
	like($seen, qr/\r\e\[K.*$line\r\n/s, 'the line gives way to the result');
	return;
}

my $bar = qr/\[#*\.*\]/;
my $left = qr/\d+:\d\d left/;

sql($node, $db, q{
	create table t (id int primary key, what text);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't')});

# drain: the queue is fed in two steps

sql($node, $db, q{insert into t select g, repeat('x', 100) from generate_series(1, 3000) g});
my $half = ingest_by_hand($node, $db);
sql($node, $db, q{insert into t select g, repeat('x', 100) from generate_series(3001, 6000) g});
begin('drain');
shows('drain has not begun', qr/ingest: \[\.{20}\] 0%, 0 bytes of \d+ kB, 0 bytes\/s/);
sql($node, $db, $half);
shows('drain', qr/ingest: $bar [2-8]\d%, \d+ kB of \d+ kB, \d+ (?:bytes|kB|MB)\/s, $left/);
$pgqd = start_pgqd($node);
ends('drain', 'All changes up to \S+ are in the queues');

# migrate: a writer holds up the tenth of twenty tables

sql($node, $db, q{
	do $$ begin for i in 1..20 loop
		execute format('create table m%s (id int primary key)', to_char(i, 'FM00'));
		execute format('create trigger x after insert on m%s for each row
			execute function pgq.jsontriga(''q'')', to_char(i, 'FM00'));
	end loop; end $$});
my $writer = session($node, $db);
$writer->query('begin; insert into m10 values (1)');
begin('migrate');
shows('migrate has not begun', qr/migrate: \[\.{20}\] 0%, 0 of 20 triggers, 0\/s/);
sql($node, $db, 'select pg_sleep(0.8)');
$writer->query('commit');
shows('migrate', qr/migrate: \[#{10}\.{10}\] 50%, 10 of 20 triggers, [1-9]\d*\/s, $left/);
ends('migrate', '20 trigger\(s\) became captures, 0 kept');
is(() = $out =~ /^captured public\.m\d\d\.x into q/mg, 20, 'with a line each');

# a copy

sql($node, $db, q{
	create table slow (id int primary key);
	insert into slow select generate_series(1, 6000);
	analyze slow});
my $copy = 'when=length(repeat(md5(id::text), 4000)) > 0';
begin('capture', '--wait', 'q', 'slow', 'copy', $copy);
shows('capture', qr/copy: $bar [1-9]\d?%, [1-9]\d* of \d+ rows, [1-9]\d*\/s, $left/, 1);
ends('capture', 'Copied table public.slow into queue q: 6000 rows');

# resync: all tables are one piece of work

sql($node, $db, 'analyze t');
$pgqd->stop;
drop_slot($node, $db);
$pgqd->start;
$pgqd->wait_log(qr/stands still/);
begin('resync', '--wait', '--json', 't', 'slow');
shows('resync', qr/copy: $bar \d\d?%, [1-9]\d* of 1[12]\d\d\d rows, [1-9]\d*\/s, $left/, 1);
ends('resync', 'Copied table public.slow into queue q: 6000 rows');
my $json = JSON::PP->new->decode($out);
is($json->{slot}, 'pgq_shop', 'resync --json: the slot');
like($json->{from} . $json->{to}, qr/^[\dA-F]+\/[\dA-F]+\/[\dA-F]+$/, 'from where to where');
is($json->{queues}, 1, 'queues');
is($json->{copies}, 2, 'copies');
is($pgqd->stop, 0, 'pgqd ends cleanly');

done_testing();
