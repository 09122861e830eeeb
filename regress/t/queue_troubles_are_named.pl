
# What is wrong with queues, consumers, relays, and with who is in their way, is named by
# all that tell of it, and is gone soon after it is mended. See Standstill.pm.

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
	select pgq.create_queue('q'), pgq.create_queue('other');
	select pgq.register_consumer('q', 'c'), pgq.register_consumer('other', 'lazy');
	select pgq.capture_table('q', 't')});
my $other = sql($node, $db, q{select queue_id from pgq.queue where queue_name = 'other'});
# what is late has to stay so
my $pgqd = watch($node, $db, retry_period => 600, maint_period => 600);

sub change { do_sql(q{insert into t (pad) values ('x')}); return }

my %relay = ('a relay that stands still' => [ 'stands still', qr/stands still: \w/ ],
	'a relay whose engine is away' => [ 'engine away', qr/does not reach its engine: \w/ ],
	'a relay that is gone' => [ 'running', qr/has not been heard of for [\d:]+/ ]);
foreach my $name (sort keys %relay)
{
	my ($state, $like) = @{ $relay{$name} };

	standstill($name,
		kind => 'relay', severity => 'problem',
		like => qr/relay "\w+" of queue "\w+" into \S+ $like/,
		begin => sub {
			do_sql(qq{select pgq.note_relay('other', 'lazy', 'file:/x', '$state', 'disk full', 0)});
			do_sql(q{update pgq.relay set rl_seen = now() - interval '4 minutes'})
			  if $state eq 'running';
		},
		end => sub { do_sql(q{select pgq.note_relay('other', 'lazy', 'file:/x', 'running', '', 0)}) });
}
do_sql(q{select pgq.note_relay('other', 'lazy', 'file:/x', 'ended', '', 0)});

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

do_sql(q{select pgq.register_consumer('other', 'keeper')});
standstill('a consumer that keeps its batch open',
	kind => 'consumer', severity => 'problem',
	like => qr/consumer "\w+" of queue "\w+" has had batch \d+ open for [\w: ]+, and is [\w: ]+ behind, with \d+ events to come: the queue cannot forget any of them/,
	begin => sub {
		do_sql(q{select pgq.insert_event('other', 't', 'd')}, q{select pgq.force_tick('other')},
			q{select pgq.ticker('other')}, q{select pgq.next_batch('other', 'keeper')},
			# at once, or a look between them sees something else
			qq{begin; $late; update pgq.subscription set sub_active = sub_active - interval '1 day'
				where sub_queue = $other; commit},
			q{select pgq.force_tick('other')}, q{select pgq.ticker('other')});
	},
	# this batch, and those that came since
	end => sub { do_sql(q{do $$ declare b int8; begin loop
		b := pgq.next_batch('other', 'keeper');
		exit when b is null;
		perform pgq.finish_batch(b);
		end loop; end $$}) });

standstill('tables that are not rotated',
	kind => 'rotation', severity => 'problem',
	like => qr/queue "\w+" has not rotated its tables for [\w: ]+: they grow \(consumer "\w+" is in the way\)/,
	# its last tick is of before the last rotation
	begin => sub {
		do_sql(qq{begin; $late; update pgq.queue
				set queue_switch_time = now() - interval '10 hours'
				where queue_name = 'other'; commit},
			q{select pgq.force_tick('other')}, q{select pgq.ticker('other')});
	},
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

end_standstills();
