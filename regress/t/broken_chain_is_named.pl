
# What is broken between a change and its queue is named by all that tell of it, and is
# gone soon after it is mended: the slot, captures, event tables, ticks, copies. See
# Standstill.pm.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use PostgreSQL::Test::Utils;
use Standstill;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $cc = (grep { system("command -v $_ >/dev/null 2>&1") == 0 } qw(cc gcc))[0];
my $full_disk = $cc && system($cc, '-shared', '-fPIC', '-o', "$dir/full_disk.so",
	"$FindBin::RealBin/full_disk.c", '-ldl') == 0;
local $ENV{FULL_DISK} = "$dir/full";
$ENV{LD_PRELOAD} = "$dir/full_disk.so" if $full_disk;
my $node = new_server('main');
delete $ENV{LD_PRELOAD};
my $db = new_database($node, 'shop');

sub do_sql { sql($node, $db, $_) foreach @_; return }

do_sql(q{
	create table t (id serial primary key, pad text);
	create table broken (id int primary key);
	create table copied (id int primary key);
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	select pgq.capture_table('q', 't'), pgq.capture_table('q', 'broken')});
my $events = sql($node, $db, q{select pgq.current_event_table('q')});
my $pgqd = watch($node, $db);

sub change { do_sql(q{insert into t (pad) values ('x')}); return }

# Past the event triggers that forbid it.
sub unseen
{
	do_sql('alter event trigger pgq_capture_ddl disable', @_,
		'alter event trigger pgq_capture_ddl enable always');
	return;
}

sub resync
{
	is(system('pgqadm', '-q', '-d', connstr(), 'resync', '--without-copy'), 0,
		'resync');
	return;
}

my $holder = session($node, $db);

# the first trouble of all: pgqd has told none before
SKIP:
{
	skip('no C compiler for a disk that is full', 10) if !$full_disk;
	standstill('a disk that is full',
		kind => 'pgqd/ingest',
		like => qr/ingest failed, will be tried again: could not extend file "[^"]+": (?:wrote only \d+ of \d+ bytes|No space left on device)/,
		begin => sub {
			# the table has its place already
			$holder->query("begin; lock table $events in exclusive mode");
			do_sql(q{insert into t (pad) select repeat('x', 1000) from generate_series(1, 1000)});
			append_to_file($ENV{FULL_DISK}, '');
			$holder->query('rollback');
		},
		end => sub { unlink($ENV{FULL_DISK}) });
}

standstill('a slot that is gone',
	kind => 'missing',
	like => qr/the replication slot is missing/i,
	begin => sub { drop_slot($node, $db) },
	end => \&resync);

standstill('a slot whose WAL is gone',
	kind => 'missing',
	like => qr/the replication slot has lost WAL that it needs/,
	begin => sub {
		do_sql(q{alter system set max_slot_wal_keep_size = '1MB'});
		$node->reload;
		# it can't move meanwhile
		$holder->query("begin; lock table $events in exclusive mode");
		change();
		foreach (1 .. 3)
		{
			do_sql(q{insert into t (pad) select repeat('x', 1000) from generate_series(1, 3000)});
			do_sql('select pg_switch_wal()');
		}
		do_sql('checkpoint');
		wait_for('the slot to be lost', sub { sql($node, $db,
			'select wal_status from pg_replication_slots') eq 'lost' });
		$holder->query('rollback');
	},
	end => sub {
		do_sql('alter system reset max_slot_wal_keep_size');
		$node->reload;
		resync();
	});

standstill('a capture that is broken',
	kind => 'capture',
	like => qr/table public\.\w+, captured for queue "\w+", has no replica identity: updates and deletes cannot be captured/,
	begin => sub { unseen('alter table broken replica identity nothing') },
	end => sub { do_sql('alter table broken replica identity default') });

standstill('a captured table that is unlogged',
	kind => 'capture',
	like => qr/table public\.\w+, captured for queue "\w+", is unlogged: its changes are in no WAL/,
	begin => sub { unseen('alter table broken set unlogged') },
	end => sub { do_sql('alter table broken set logged') });

standstill('captures into a queue that is gone',
	kind => 'capture',
	like => qr/table public\.\w+ is captured into queue "\w+", which does not exist: its events are discarded/,
	begin => sub { do_sql(q{insert into pgq.capture values ('broken'::regclass, 'gone')}) },
	end => sub { do_sql(q{select pgq.uncapture_table('gone', 'broken')}) });

standstill('an event table that is gone',
	kind => 'pgqd/ingest',
	like => qr/ingest failed, will be tried again: relation "pgq\.event_\d+_\d+" of queue "\w+" does not exist/,
	begin => sub { do_sql("alter table $events rename to away"); change() },
	end => sub { do_sql('alter table pgq.away rename to ' . $events =~ s/pgq\.//r) });

standstill('a tick that fails',
	kind => 'pgqd/tick',
	like => qr/ticker failed: .*function pgq\.tick_due\(\) does not exist/,
	begin => sub { do_sql('alter function pgq.tick_due() rename to tick_due_away') },
	end => sub { do_sql('alter function pgq.tick_due_away() rename to tick_due') });

standstill('a copy that waits for its table',
	kind => 'pgqd/copy',
	like => qr/copy: could not lock table "public\.\w+" against writers in 6000 ms/,
	begin => sub {
		$holder->query('begin; insert into copied values (1)');
		do_sql(q{select pgq.capture_table('q', 'copied', 'copy')});
	},
	end => sub { $holder->query('rollback') });

standstill('captures without a slot',
	kind => 'start',
	like => qr/\d+ captures, but capture is not started: their changes go nowhere/,
	begin => sub { $pgqd->stop; do_sql('select pgq.stop_capture()'); $pgqd->start },
	end => sub { do_sql('select pgq.start_capture()') });

end_standstills();
