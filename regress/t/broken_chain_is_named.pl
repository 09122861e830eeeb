
# What is broken between a change and its consumers is named by all that tell of it,
# and is gone soon after it is mended: the slot, captures, event tables, ticks,
# queues, consumers. See Standstill.pm.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgqTest;
use Standstill;
use Test::More;

my $node = new_server('main', conf => "max_prepared_transactions = 2\n");
my $db = new_database($node, 'shop');

sub do_sql { sql($node, $db, $_) foreach @_; return }

do_sql(q{
	create table t (id serial primary key, pad text);
	create table broken (id int primary key);
	create table copied (id int primary key);
	select pgq.create_queue('q'), pgq.create_queue('other');
	select pgq.register_consumer('q', 'c'), pgq.register_consumer('other', 'lazy');
	select pgq.capture_table('q', 't'), pgq.capture_table('q', 'broken')});
my $events = sql($node, $db, q{select pgq.current_event_table('q')});
my $other = sql($node, $db, q{select queue_id from pgq.queue where queue_name = 'other'});
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

standstill('a slot that is gone',
	kind => 'missing',
	like => qr/the replication slot is missing/i,
	begin => sub { drop_slot($node, $db) },
	end => \&resync);

my $holder = session($node, $db);
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
	like => qr/copy: could not lock table "public\.\w+" against writers in 10000 ms/,
	begin => sub {
		$holder->query('begin; insert into copied values (1)');
		do_sql(q{select pgq.capture_table('q', 'copied', 'copy')});
	},
	end => sub { $holder->query('rollback') });

standstill('a queue that is paused',
	kind => 'paused', severity => 'warning',
	like => qr/queue "\w+" is paused: its consumers get nothing/,
	begin => sub { do_sql(q{select pgq.set_queue_config('other', 'ticker_paused', 'true')}) },
	end => sub { do_sql(q{select pgq.set_queue_config('other', 'ticker_paused', 'false')}) });

standstill('a queue that refuses events',
	kind => 'insert', severity => 'warning',
	like => qr/queue "\w+" refuses events from SQL/,
	begin => sub { do_sql(q{update pgq.queue set queue_disable_insert = true where queue_name = 'other'}) },
	end => sub { do_sql(q{update pgq.queue set queue_disable_insert = false where queue_name = 'other'}) });

my $late = qq{update pgq.tick set tick_time = tick_time - interval '1 day'
	where tick_queue = $other};
standstill('a consumer that does not come',
	kind => 'consumer', severity => 'problem',
	like => qr/consumer "\w+" of queue "\w+" is [\w: ]+ behind, with \d+ events to come: the queue cannot forget any of them/,
	begin => sub {
		do_sql(q{select pgq.insert_event('other', 't', 'd')}, q{select pgq.force_tick('other')},
			q{select pgq.ticker('other')}, $late,
			q{select pgq.force_tick('other')}, q{select pgq.ticker('other')});
	},
	end => sub { do_sql(q{select pgq.unregister_consumer('other', 'lazy')}) });

standstill('tables that are not rotated',
	kind => 'rotation', severity => 'problem',
	like => qr/queue "\w+" has not rotated its tables for [\w: ]+: they grow \(/,
	begin => sub { do_sql(q{update pgq.queue set queue_switch_time = now() - interval '10 hours'
		where queue_name = 'other'}) },
	end => sub { do_sql(q{update pgq.queue set queue_switch_time = now() where queue_name = 'other'}) });

standstill('a queue over its size',
	kind => 'size', severity => 'problem',
	like => qr/queue "\w+" takes more disk than its max_size of \d+ \wB/,
	begin => sub { do_sql(q{select pgq.set_queue_config('other', 'max_size', '16 kB')}) },
	end => sub { do_sql(q{select pgq.set_queue_config('other', 'max_size', null)}) });

standstill('events that are not retried',
	kind => 'retry', severity => 'problem',
	like => qr/\d+ events should have been retried, the oldest [\w: ]+ ago/,
	begin => sub {
		do_sql(q{insert into pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
			ev_txid, ev_owner, ev_retry, ev_type)
			select now() - interval '1 hour', sub_queue, 1, now(), 1, sub_id, 1, 'x'
			from pgq.subscription});
	},
	end => sub { do_sql('select pgq.maint_retry_events()') });

do_sql(q{select pgq.set_queue_config('other', 'rotation_period', '1 s')});
my $open = session($node, 'postgres');
standstill('a transaction that stays open',
	kind => 'transaction', severity => 'warning',
	like => qr/process \d+ in database "\w+" has been in a transaction for [\d:]+ \(idle in transaction\): it holds back WAL and the rotation of event tables/,
	begin => sub { $open->query('begin; select txid_current()') },
	end => sub { $open->query('rollback') });

standstill('a transaction that is prepared and forgotten',
	kind => 'transaction', severity => 'problem',
	like => qr/transaction "\w+" in database "\w+" was prepared [\d:]+ ago: it holds back WAL and the rotation of event tables/,
	begin => sub {
		my $s = session($node, $db);

		$s->query(q{begin; insert into t values (-1); prepare transaction 'forgotten'});
		$s->close;
	},
	end => sub { do_sql(q{rollback prepared 'forgotten'}) });
do_sql(q{select pgq.set_queue_config('other', 'rotation_period', '2 h')});

standstill('a standby of `confirm_after` that is away',
	kind => 'pgqd/confirm', severity => 'warning',
	like => qr/the server keeps WAL for slot "pgq_shop", because standby or slot "\w+" of confirm_after is not there/,
	begin => sub { set_ini(confirm_after => 's1'); change() },
	end => sub { set_ini(confirm_after => '') });

standstill('pgqd counts as a synchronous standby',
	kind => 'sync', severity => 'problem',
	like => qr/synchronous_standby_names is "\*", which counts pgqd as a standby: commits wait for it/,
	begin => sub { do_sql(q{alter system set synchronous_standby_names = '*'}); $node->reload },
	end => sub { do_sql(q{alter system reset synchronous_standby_names}); $node->reload });

standstill('an event trigger that is off',
	kind => 'trigger', severity => 'problem',
	like => qr/event trigger pgq_capture_ddl is not always enabled: altered tables may break their capture/,
	begin => sub { do_sql('alter event trigger pgq_capture_ddl disable') },
	end => sub { do_sql('alter event trigger pgq_capture_ddl enable always') });

standstill('captures without a slot',
	kind => 'start',
	like => qr/\d+ captures, but capture is not started: their changes go nowhere/,
	begin => sub { $pgqd->stop; do_sql('select pgq.stop_capture()'); $pgqd->start },
	end => sub { do_sql('select pgq.start_capture()') });

end_standstills();
