
# What every client of a consumer promises, tried on one client by its worker: a
# program that README.md describes. The tests of a client are  behaviours(NAME,
# COMMAND...)  and what they count up to.

package Behaviours;

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use Encode qw(encode);
use Exporter 'import';
use IPC::Run;
use PgqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(behaviours new_shop run_worker start_worker stop_worker uri make_queue
  insert produce tick wait_done done);

my ($node, $tmp, @command, @options, @running);
my $db = 'shop';

END
{
	my $rc = $?;

	kill9($_) foreach @running;
	$? = $rc;
}

# new_shop(NODE, DATABASE, ENCODING, slot => 1): a database with what workers need.
sub new_shop
{
	my ($on, $name, $encoding, %opt) = @_;

	sql($on, 'postgres', "create database $name template template0
		encoding '$encoding' lc_collate 'C' lc_ctype 'C'");
	sql($on, $name, q{
		create extension pgq;
		create table done (consumer text, ev_id int8, ev_type text, retry int4,
			md5 text, done_at timestamptz default clock_timestamp());
		grant insert on done to public;
		create sequence attempt;
		grant usage on sequence attempt to public;
		create function fail_once() returns void language plpgsql
			set search_path = pg_catalog as $$
			begin
				if nextval('public.attempt') = 1 then
					raise sqlstate '40001';
				end if;
			end $$});
	sql($on, $name, 'select pgq.start_capture()') if $opt{slot};
	return;
}

# uri(DATABASE, NODE...): for the first of them that is no standby.
sub uri
{
	my ($name, @nodes) = @_;
	my $hosts = join(',', map { $_->host } @nodes);
	my $ports = join(',', map { $_->port } @nodes);

	return "postgresql:///$name?host=$hosts&port=$ports&user=" . getpwuid($>);
}

# start_worker(COMMAND, URI, QUEUE, CONSUMER, OPTION...)
sub start_worker
{
	my ($command, @args) = @_;
	my $w = { out => '', err => '' };

	delete local $ENV{PGAPPNAME};    # the tests' own
	$w->{h} = IPC::Run::start([ @$command, @args, @options ], \undef, \$w->{out}, \$w->{err});
	push @running, $w;
	return $w;
}

sub start
{
	my ($queue, $consumer, @options) = @_;
	return start_worker(\@command, uri($db, $node), $queue, $consumer, @options);
}

# run_worker(COMMAND, URI, QUEUE, CONSUMER, OPTION...): to its end; exit code, output.
sub run_worker
{
	my $w = start_worker(@_);
	return finish($w);
}

sub kill9
{
	my ($w) = @_;

	@running = grep { $_ != $w } @running;
	$w->{h}->signal('KILL');
	$w->{h}->finish;
	return;
}

# finish(WORKER): waits for its end; exit code and output.
sub finish
{
	my ($w) = @_;

	wait_for('the end of a worker', sub { $w->{h}->pump_nb; !$w->{h}->pumpable })
	  if $w->{h}->pumpable;
	$w->{h}->finish;
	@running = grep { $_ != $w } @running;
	note $w->{out} . $w->{err} if $w->{out} . $w->{err} ne '';
	return ($w->{h}->full_result(0) & 127 ? 128 : $w->{h}->full_result(0) >> 8, $w->{out});
}

# stop_worker(WORKER): by SIGTERM; its exit code.
sub stop_worker
{
	my ($w) = @_;
	my ($rc);

	$w->{h}->signal('TERM');
	($rc) = finish($w);
	return $rc;
}

# wait_hold(WORKER): until it holds an event, in a batch that is open.
sub wait_hold
{
	my ($w) = @_;

	wait_for('a worker to hold an event', sub {
		$w->{h}->pump_nb;
		die "the worker has ended: $w->{out} $w->{err}" if !$w->{h}->pumpable;
		return $w->{out} =~ s/^hold \d+\n//m });
	return;
}

# make_queue(NODE, DATABASE, QUEUE, CONSUMER...)
sub make_queue
{
	my ($on, $name, $queue, @consumers) = @_;

	sql($on, $name, "select pgq.create_queue('$queue')");
	sql($on, $name, "select pgq.register_consumer('$queue', '$_')") foreach @consumers;
	return;
}

# insert(NODE, DATABASE, QUEUE, [TYPE, DATA]...): events of one transaction, no tick
sub insert
{
	my ($on, $name, $queue, @events) = @_;

	sql($on, $name, "begin; " . join('; ', map {
			"select pgq.insert_event('$queue', '$_->[0]', '$_->[1]')" } @events) . '; commit');
	return;
}

# tick(NODE, DATABASE, QUEUE): and the notice of it, as pgqd does
sub tick
{
	my ($on, $name, $queue) = @_;

	sql($on, $name, "select pgq.force_tick('$queue')");
	sql($on, $name, "select pgq.ticker('$queue')");
	sql($on, $name, "select pg_notify(pgq.tick_channel('$queue'), '')");
	return;
}

# produce(NODE, DATABASE, QUEUE, [TYPE, DATA]...): insert() and tick()
sub produce
{
	my ($on, $name, $queue, @events) = @_;

	insert($on, $name, $queue, @events);
	tick($on, $name, $queue);
	return;
}

# done(NODE, DATABASE, CONSUMER): types of events that are done, in their order
sub done
{
	my ($on, $name, $consumer) = @_;
	return sql($on, $name, "select coalesce(string_agg(ev_type, ' ' order by done_at), '')
		from done where consumer = '$consumer'");
}

# wait_done(NODE, DATABASE, CONSUMER, TYPES): until just these are done, in this order
sub wait_done
{
	my ($on, $name, $consumer, $types, $what) = @_;
	my $got = '';

	eval { wait_for($what, sub {
		$got = eval { done($on, $name, $consumer) } // 'no server';
		return $got eq $types }) };
	is($got, $types, $what);
	return;
}

# What a consumer's session does: state and whether it is in a transaction.
sub activity
{
	my ($consumer) = @_;
	return sql($node, $db, "select state || case when xact_start is null then '' else
		' in a transaction' end from pg_stat_activity
		where application_name = 'pgq consumer $consumer'");
}

# wait_idle(CONSUMER): until it waits for a tick.
sub wait_idle
{
	my ($consumer) = @_;

	wait_for("$consumer to be idle", sub {
		return sql($node, $db, "select state = 'idle' and query ~ '(next_batch|commit)'
			from pg_stat_activity where application_name = 'pgq consumer $consumer'") eq 't' });
	return;
}

sub release
{
	my ($file) = @_;

	PostgreSQL::Test::Utils::append_to_file($file, 'x');
	return;
}

# ---- the behaviours, in the order of README.md ----

sub events_come_once_and_in_order
{
	my $queue = "Queue.\"with'' names";

	make_queue($node, $db, $queue, 'order');
	produce($node, $db, $queue, map { [ "a$_", "data $_" ] } 1 .. 30);
	produce($node, $db, $queue, map { [ "b$_", "data $_" ] } 1 .. 3);
	is((run_worker(\@command, uri($db, $node), $queue =~ s/''/'/r, 'order', 'mode=drain'))[0],
		0, 'it ends when there is nothing more');
	is(done($node, $db, 'order'), join(' ', (map { "a$_" } 1 .. 30), 'b1', 'b2', 'b3'),
		'each event is done once, in order');

	sql($node, $db, "select count(pgq.insert_event('$queue', 'many', g::text))
		from generate_series(1, 5000) g");
	tick($node, $db, $queue);
	run_worker(\@command, uri($db, $node), $queue =~ s/''/'/r, 'order', 'mode=drain');
	is(sql($node, $db, q{select count(*), count(distinct ev_id) from done
		where ev_type = 'many'}), '5000|5000', '... of a large batch, too');
}

sub killed_in_a_batch_does_it_once
{
	my $w;

	make_queue($node, $db, 'kill', 'kill');
	produce($node, $db, 'kill', [ 'x', '' ], [ 'hold', "$tmp/kill" ], [ 'y', '' ]);
	$w = start('kill', 'kill');
	wait_hold($w);
	kill9($w);
	is(done($node, $db, 'kill'), '', 'nothing of the batch is kept');
	release("$tmp/kill");
	$w = start('kill', 'kill');
	wait_done($node, $db, 'kill', 'x hold y', 'the next one does all of it once');
	is(stop_worker($w), 0, 'and ends by SIGTERM');
}

sub sigterm_ends_it_after_the_batch
{
	my ($w, $rc);

	make_queue($node, $db, 'term', 'term');
	produce($node, $db, 'term', [ 'hold', "$tmp/term" ], [ 'x', '' ]);
	$w = start('term', 'term');
	wait_hold($w);
	$w->{h}->signal('TERM');
	produce($node, $db, 'term', [ 'later', '' ]);
	sleep(0.1);
	release("$tmp/term");
	($rc) = finish($w);
	is($rc, 0, 'it ends well');
	is(done($node, $db, 'term'), 'hold x', 'the batch is done, and no other begun');
}

sub idle_it_holds_nothing_and_ends_at_once
{
	my ($w, $start);

	make_queue($node, $db, 'idle', 'idle');
	$w = start('idle', 'idle');
	produce($node, $db, 'idle', [ 'x', '' ]);
	wait_done($node, $db, 'idle', 'x', 'an event is done');
	wait_idle('idle');
	# now that it listens, a notice tells it that it may wait for long
	produce($node, $db, 'idle', [ 'y', '' ]);
	wait_done($node, $db, 'idle', 'x y', 'another event is done');
	wait_idle('idle');
	is(activity('idle'), 'idle', 'no transaction is open while it waits');
	$start = time();
	is(stop_worker($w), 0, 'SIGTERM ends it');
	cmp_ok(time() - $start, '<', 5, '... at once');
}

# The question for a batch is answered "none", and the notice of a tick comes with
# the answer.
sub notice_with_the_answer_is_not_lost
{
	my ($w, $s, $start);

	make_queue($node, $db, 'wake', 'wake');
	$s = session($node, $db);
	$s->query('create table ask (held bool);
		create function wait_a_bit() returns void language plpgsql as $$
		begin
			if (select count(*) from ask) > 0 then
				perform pg_advisory_xact_lock(77);
			end if;
		end $$;
		grant select on ask to public');
	# next_batch and next_batch_info as they are, and then a wait at will
	$s->query(q{alter function pgq.next_batch(text, text) rename to real_next_batch;
		create function pgq.next_batch(text, text) returns int8 language plpgsql as $$
		declare
			batch int8 := pgq.real_next_batch($1, $2);
		begin
			perform public.wait_a_bit();
			return batch;
		end $$;
		alter function pgq.next_batch_info(text, text) rename to real_next_batch_info;
		create function pgq.next_batch_info(text, text, out batch_id int8,
			out cur_tick_id int8, out prev_tick_id int8, out cur_tick_time timestamptz,
			out prev_tick_time timestamptz, out cur_tick_event_seq int8,
			out prev_tick_event_seq int8) language plpgsql as $$
		begin
			select b.* into batch_id, cur_tick_id, prev_tick_id, cur_tick_time,
				prev_tick_time, cur_tick_event_seq, prev_tick_event_seq
			from pgq.real_next_batch_info($1, $2) b;
			perform public.wait_a_bit();
		end $$});
	$w = start('wake', 'wake');
	# with the first notice it knows that there are notices, and waits for longer
	produce($node, $db, 'wake', [ 'x', '' ]);
	wait_done($node, $db, 'wake', 'x', 'an event is done');
	wait_idle('wake');
	$start = time();
	produce($node, $db, 'wake', [ 'y', '' ]);
	wait_done($node, $db, 'wake', 'x y', 'a notice wakes it');
	cmp_ok(time() - $start, '<', 5, '... at once');

	# it is asking, after a notice of nothing, and gets no answer yet
	wait_idle('wake');
	$s->query('begin; select pg_advisory_xact_lock(77)');
	sql($node, $db, 'insert into ask values (true)');
	sql($node, $db, q{select pg_notify(pgq.tick_channel('wake'), '')});
	wait_for('it to ask', sub {
		sql($node, $db, q{select count(*) from pg_stat_activity
			where application_name = 'pgq consumer wake' and wait_event = 'advisory'}) });
	sql($node, $db, 'delete from ask');
	produce($node, $db, 'wake', [ 'z', '' ]);
	$start = time();
	$s->query('commit');
	wait_done($node, $db, 'wake', 'x y z', 'a notice that came with the answer wakes it');
	cmp_ok(time() - $start, '<', 5, '... at once');
	stop_worker($w);
	$s->query(q{drop function pgq.next_batch(text, text);
		alter function pgq.real_next_batch(text, text) rename to next_batch;
		drop function pgq.next_batch_info(text, text);
		alter function pgq.real_next_batch_info(text, text) rename to next_batch_info});
	$s->close;
}

sub poison_is_put_aside
{
	my ($w, $rc, $out);

	make_queue($node, $db, 'poison', 'stops', 'retries', 'buries', 'asks');
	produce($node, $db, 'poison', [ 'a', '' ], [ 'fail', '' ], [ 'b', '' ],
		[ 'badsql', '' ], [ 'c', '' ], [ 'hidesql', '' ], [ 'd', '' ]);

	($rc, $out) = run_worker(\@command, uri($db, $node), 'poison', 'stops', 'mode=drain');
	is($rc, 1, 'stop: it fails');
	like($out, qr/^error - .*told to fail/m, '... and says why');
	is(done($node, $db, 'stops'), '', '... and the batch comes again');

	$w = start('poison', 'retries', 'on_error=retry', 'max_retries=1');
	wait_done($node, $db, 'retries', 'a b c d',
		'retry: all others are done, and nothing of what failed is kept');
	wait_idle('retries');
	bring_back('poison');
	wait_for('dead events', sub { sql($node, $db, q{select count(*)
		from pgq.get_dead_events('poison', 'retries')}) == 3 });
	is(sql($node, $db, q{select string_agg(ev_type || ev_retry, ' ' order by ev_id),
			bool_and(dead_reason ~ 'told to fail|division by zero|handler hid|transaction is aborted')
		from pgq.get_dead_events('poison', 'retries')}),
		'fail1 badsql1 hidesql1|t', 'they come again, and after max_retries are dead, with the error');
	stop_worker($w);

	run_worker(\@command, uri($db, $node), 'poison', 'buries', 'mode=drain', 'on_error=dead');
	is(done($node, $db, 'buries'), 'a b c d', 'dead: all others are done');
	is(sql($node, $db, q{select string_agg(ev_type, ' ' order by ev_id)
		from pgq.get_dead_events('poison', 'buries')}), 'fail badsql hidesql', '... those are dead');

	run_worker(\@command, uri($db, $node), 'poison', 'asks', 'mode=drain', 'on_error=dead');
	produce($node, $db, 'poison', [ 'retry', '' ], [ 'e', '' ], [ 'dead', '' ]);
	run_worker(\@command, uri($db, $node), 'poison', 'asks', 'mode=drain');
	is(done($node, $db, 'asks'), 'a b c d e', 'a handler may ask for a retry, and give up');
	sql($node, $db, 'select pgq.maint_retry_events()');
	tick($node, $db, 'poison');
	run_worker(\@command, uri($db, $node), 'poison', 'asks', 'mode=drain');
	is(done($node, $db, 'asks'), 'a b c d e retry', 'the retry comes');
	is(sql($node, $db, q{select count(*) from pgq.get_dead_events('poison', 'asks')
		where dead_reason = 'told to'}), '1', 'what was given up is dead, with the reason');
}

# Events that wait for a retry come now.
sub bring_back
{
	my ($queue) = @_;

	sql($node, $db, q{update pgq.retry_queue set ev_retry_after = now() - interval '1 s'});
	sql($node, $db, 'select pgq.maint_retry_events()');
	tick($node, $db, $queue);
	return;
}

# Seconds that the only event of a consumer waits, to a hundred.
sub pause_of
{
	my ($consumer) = @_;
	return sql($node, $db, "select round(extract(epoch from ev_retry_after - now()), -2)
		from pgq.retry_queue join pgq.subscription on sub_id = ev_owner
		join pgq.consumer on co_id = sub_consumer where co_name = '$consumer'");
}

sub failures_are_counted
{
	my @once = (\@command, uri($db, $node), 'failures');

	make_queue($node, $db, 'failures', 'pauses');
	sql($node, $db, q{select pgq.set_queue_config('failures', 'max_retries', '3')});
	produce($node, $db, 'failures', [ 'fail', '' ]);
	foreach my $pause (1000, 2000, 3600)
	{
		run_worker(@once, 'pauses', 'mode=drain', 'on_error=retry', 'retry_delay=1000');
		is(pause_of('pauses'), $pause, "a pause of $pause s, twice the one before, an hour at most");
		bring_back('failures');
	}
	run_worker(@once, 'pauses', 'mode=drain', 'on_error=retry');
	is(sql($node, $db, q{select dead_reason ~ 'told to fail €'
		from pgq.get_dead_events('failures', 'pauses')}), 't',
		'past max_retries of the queue it is dead, with the reason');

	sql($node, $db, q{select pgq.register_consumer('failures', 'postpones')});
	sql($node, $db, q{select pgq.set_queue_config('failures', 'max_retries', '0')});
	produce($node, $db, 'failures', [ 'retry', '' ]);
	run_worker(@once, 'postpones', 'mode=drain', 'on_error=retry', 'max_retries=1');
	bring_back('failures');
	run_worker(@once, 'postpones', 'mode=drain', 'on_error=retry', 'max_retries=1');
	is(done($node, $db, 'postpones'), 'retry', 'a retry that a handler asks for is no failure');
	is(sql($node, $db, q{select count(*) from pgq.get_dead_events('failures', 'postpones')}), '0',
		'... and buries nothing');

	foreach ([ 'latin', 'told to fail ?' ], [ 'ascii', 'told to fail' ])
	{
		my ($name, $reason) = @$_;

		make_queue($node, $name, 'failures', 'any');
		produce($node, $name, 'failures', [ 'fail', '' ], [ 'after', '' ]);
		run_worker(\@command, uri($name, $node), 'failures', 'any', 'mode=drain',
			'on_error=dead');
		is(done($node, $name, 'any'), 'after', "whatever is said of it, it blocks nobody ($name)");
		like(sql($node, $name, q{select dead_reason from pgq.get_dead_events('failures', 'any')}),
			qr/\Q$reason\E/, '... and the rest of the reason is kept');
	}
}

sub conflicts_are_tried_again
{
	make_queue($node, $db, 'again', 'again');
	produce($node, $db, 'again', [ 'a', '' ], [ 'again', '' ], [ 'b', '' ]);
	is((run_worker(\@command, uri($db, $node), 'again', 'again', 'mode=drain',
		'on_error=dead'))[0], 0, 'a serialization failure passes');
	is(done($node, $db, 'again'), 'a again b', '... and the batch is done once');
	is(sql($node, $db, 'select last_value from attempt'), '2', '... the second time');
}

sub stale_session_does_nothing
{
	my $w;

	make_queue($node, $db, 'stale', 'stale');
	produce($node, $db, 'stale', [ 'hold', "$tmp/stale" ]);
	$w = start('stale', 'stale');
	wait_hold($w);
	sql($node, $db, q{select pgq.finish_batch(current_batch)
		from pgq.get_consumer_info('stale', 'stale')});
	release("$tmp/stale");
	produce($node, $db, 'stale', [ 'x', '' ]);
	wait_done($node, $db, 'stale', 'x', 'a batch that another finished is undone, the next done');
	is(stop_worker($w), 0, 'it goes on');
}

# A role with settings that break what relies on defaults, and a schema in its
# search_path that catches whoever does not say which function he means.
sub settings_of_the_role_do_no_harm
{
	my $w;
	my $uri = uri($db, $node) =~ s/user=\w+/user=app/r;

	make_queue($node, $db, 'role', 'role');
	sql($node, $db, q{
		create role app login in role pgq_reader, pgq_writer;
		alter role app set statement_timeout = '300ms';
		alter role app set lock_timeout = '300ms';
		alter role app set idle_in_transaction_session_timeout = '300ms';
		alter role app set default_transaction_read_only = on;
		alter role app set default_transaction_isolation = 'serializable';
		alter role app set datestyle = 'German';
		alter role app set client_encoding = 'LATIN1';
		alter role app set search_path = evil, pg_catalog, public;
		create schema evil;
		grant usage on schema evil to public;
		create function evil.trap() returns int language plpgsql as
			$$ begin raise 'trapped'; end $$;
		create function evil.pg_backend_pid() returns int language sql as 'select evil.trap()';
		create function evil.quote_ident(pg_catalog.text) returns pg_catalog.text
			language sql as 'select evil.trap()::pg_catalog.text';
		create function evil.unnest(anyarray) returns setof int
			language sql as 'select evil.trap()';
		create function evil.eq(int4, int4) returns bool
			language sql as 'select evil.trap() is null';
		create operator evil.= (function = evil.eq, leftarg = int4, rightarg = int4);
		create domain evil.text as pg_catalog.text check (evil.trap() is null);
		create domain evil.int8 as pg_catalog.int8 check (evil.trap() is null)});
	sql($node, $db, q{alter role app set transaction_timeout = '300ms'})
	  if $node->pg_version >= 17;
	sql($node, $db, q{alter role app set idle_session_timeout = '300ms'});
	produce($node, $db, 'role', [ 'hold', "$tmp/role" ], [ 'ä', 'ü' ]);
	$w = start_worker(\@command, $uri, 'role', 'role');
	wait_hold($w);
	sleep(0.7);    # longer than any of the limits
	release("$tmp/role");
	wait_done($node, $db, 'role', 'hold ä', 'a slow handler outlives the limits');
	wait_idle('role');
	sleep(0.7);
	produce($node, $db, 'role', [ 'x', '' ]);
	wait_done($node, $db, 'role', 'hold ä x', 'and so does waiting');
	is(sql($node, $db, q{select count(*) from done where md5 = md5('ü')}), '1', 'text is UTF-8');
	is(sql($node, $db, q{select count(*) from pg_stat_activity
		where application_name = 'pgq consumer role'}), '1', 'in one session');
	unlike($w->{err}, qr/trying again/, 'without a failure');
	is(stop_worker($w), 0, 'it ends well');
}

sub large_events_are_whole
{
	my @sizes = (10_000_000, 10_000_000, 10_000_000, 3);

	make_queue($node, $db, 'large', 'large');
	sql($node, $db, "select pgq.insert_event('large', '$_', repeat('x', $_))") foreach @sizes;
	tick($node, $db, 'large');
	is((run_worker(\@command, uri($db, $node), 'large', 'large', 'mode=drain'))[0], 0,
		'events of 10 MB');
	is(sql($node, $db, q{select string_agg((md5 = md5(repeat('x', ev_type::int)))::text, ' ')
		from done where consumer = 'large'}), join(' ', map { 'true' } @sizes), '... are whole');
}

sub text_of_any_encoding_comes
{
	my $bytes = "\xe9\xff";

	make_queue($node, 'latin', 'q', 'c');
	sql($node, 'latin', q{select pgq.insert_event('q', 't', chr(233) || chr(255))});
	tick($node, 'latin', 'q');
	is((run_worker(\@command, uri('latin', $node), 'q', 'c', 'mode=drain'))[0], 0, 'LATIN1');
	is(sql($node, 'latin', q{select md5 from done where consumer = 'c'}), md5_hex(encode('UTF-8', "\x{e9}\x{ff}")),
		'... comes as UTF-8');

	make_queue($node, 'ascii', 'q', 'c');
	sql($node, 'ascii', q{select pgq.insert_event('q', 'utf8', E'\xc3\xa9');
		select pgq.insert_event('q', 'bytes', E'\xe9\xff');
		select pgq.insert_event('q', 'after', 'x')});
	tick($node, 'ascii', 'q');
	is((run_worker(\@command, uri('ascii', $node), 'q', 'c', 'mode=drain'))[0], 0, 'SQL_ASCII');
	is(done($node, 'ascii', 'c'), 'utf8 bytes after', '... whose bytes stop nothing');
	is(sql($node, 'ascii', q{select md5 from done where ev_type = 'utf8'}),
		md5_hex("\xc3\xa9"), '... and are what they were if they are UTF-8');
}

sub refusals_are_told_at_once
{
	my ($rc, $out) = run_worker(\@command, uri($db, $node), 'kill', 'stranger');

	is($rc, 1, 'a consumer that is not registered is refused');
	like($out, qr/^error \w{5} .*stranger/m, '... and told so');
	($rc, $out) = run_worker(\@command, uri($db, $node), 'nowhere', 'c', 'register=yes');
	is($rc, 1, 'so is an unknown queue');
	like($out, qr/^error 42704 .*queue/m, '... as such');
	($rc, $out) = run_worker(\@command, uri('nobase', $node), 'q', 'c');
	is($rc, 1, 'an unknown database');
	like($out, qr/^error \S+ .*nobase/m, '... by its name');
	($rc, $out) = run_worker(\@command, uri('postgres', $node), 'q', 'c');
	is($rc, 1, 'and a database without PgQ');
	like($out, qr/^error \w{5} .*pgq/m, '... by its schema');
}

# A database whose owner has made what is called pgq there, or a part of it.
sub code_of_others_is_not_run
{
	my ($rc, $out);
	my @worker = (\@command, uri('theirs', $node), 'q', 'c', 'mode=drain', 'register=yes');

	sql($node, 'postgres', 'create role stranger');
	sql($node, 'postgres', 'create database theirs owner stranger');
	sql($node, 'theirs', q{
		create schema pgq authorization stranger;
		create table public.trapped (by text);
		grant insert on public.trapped to public;
		create function pgq.trap() returns int8 language sql security invoker as
			$$ insert into public.trapped values (current_user) returning 1::int8 $$;
		create function pgq.register_consumer(text, text) returns int8
			language sql as 'select pgq.trap()';
		create function pgq.tick_channel(text) returns text
			language sql as 'select pgq.trap()::text';
		create function pgq.next_batch(text, text) returns int8
			language sql as 'select pgq.trap()';
		create function pgq.next_batch_custom(text, text, interval, int4, interval,
			out batch_id int8) language sql as 'select pgq.trap()'});
	($rc, $out) = run_worker(@worker);
	is($rc, 1, 'a schema that is called pgq is refused');
	like($out, qr/^error \S+ .*(trusted|no extension)/m, '... and it is said why');
	is(sql($node, 'theirs', 'select count(*) from trapped'), '0', '... nothing of it was run');

	sql($node, 'theirs', 'drop schema pgq cascade');
	sql($node, 'theirs', 'grant all on schema public to public; create table done
		(consumer text, ev_id int8, ev_type text, retry int4, md5 text,
		done_at timestamptz default clock_timestamp())');
	sql($node, 'theirs', 'create extension pgq');
	make_queue($node, 'theirs', 'q', 'c');
	produce($node, 'theirs', 'q', [ 'a', '' ]);
	sql($node, 'theirs', 'alter function pgq.next_batch(text, text) owner to stranger');
	is((run_worker(@worker))[0], 1, 'so is a function in the extension\'s');
	is(done($node, 'theirs', 'c'), '', '... and nothing is done');
	{
		local $ENV{PGQ_DATABASE_OWNERS} = 'nobody, stranger';
		sql($node, 'theirs', 'grant pgq_admin to stranger;
			grant select, insert, update on all tables in schema pgq to stranger');
		is((run_worker(@worker))[0], 0, 'a role that is named may own it');
		is(done($node, 'theirs', 'c'), 'a', '... and its events are done');
	}
}

sub registers_itself
{
	my $w;

	make_queue($node, $db, 'fresh');
	produce($node, $db, 'fresh', [ 'before', '' ]);
	$w = start('fresh', 'newcomer', 'register=yes');
	wait_for('the registration', sub { sql($node, $db,
		q{select count(*) from pgq.get_consumer_info('fresh', 'newcomer')}) });
	produce($node, $db, 'fresh', [ 'after', '' ]);
	wait_done($node, $db, 'newcomer', 'after', 'a new consumer gets what comes from then on');
	is(stop_worker($w), 0, 'it ends well');
}

sub loop_over_batches
{
	make_queue($node, $db, 'loop', 'loop');
	produce($node, $db, 'loop', [ 'a', '' ]);
	produce($node, $db, 'loop', [ 'b', '' ], [ 'stop', '' ], [ 'c', '' ]);
	is((run_worker(\@command, uri($db, $node), 'loop', 'loop', 'mode=iterate'))[0], 0,
		'a loop over batches ends when it is told to');
	is(done($node, $db, 'loop'), 'a b stop c', '... after the batch');
}

sub producers_produce
{
	make_queue($node, $db, 'made', 'made');
	is((run_worker(\@command, uri($db, $node), 'made', '-', 'mode=produce'))[0], 0,
		'its producers');
	ingest_by_hand_now();
	my $got = consume($node, $db, 'made', 'made',
		q{concat_ws('|', ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3)});
	like($got->[0], qr/^one\|\{"key": ?"é"\}\|x\|z$/, 'one, as JSON, with its extras');
	is_deeply([ @$got[ 1 .. 1000 ] ], [ map { "many|$_|x" } 0 .. 999 ], 'many, in order');
	is($got->[1001], 'once|only', 'one that is said twice');
	is($got->[1002], 'emitted|through the WAL', 'one through the WAL');
	is(scalar(@$got), 1003, 'and no more');
}

sub ingest_by_hand_now
{
	my $call = ingest_by_hand($node, $db);

	sql($node, $db, $call) if $call ne '';
	return;
}

sub seek_goes_back
{
	my $tick;

	make_queue($node, $db, 'seek', 'seek');
	$tick = sql($node, $db, q{select last_tick from pgq.get_consumer_info('seek', 'seek')});
	produce($node, $db, 'seek', [ 'a', '' ], [ 'b', '' ]);
	run_worker(\@command, uri($db, $node), 'seek', 'seek', 'mode=drain');
	is(done($node, $db, 'seek'), 'a b', 'events are done');
	is((run_worker(\@command, uri($db, $node), 'seek', 'seek', 'mode=seek', "to=$tick"))[0], 0,
		'it goes back');
	run_worker(\@command, uri($db, $node), 'seek', 'seek', 'mode=drain');
	is(done($node, $db, 'seek'), 'a b a b', 'and they come again');
}

sub workers_share_a_consumer
{
	my @w;
	my $killed;

	make_queue($node, $db, 'team', 'team');
	produce($node, $db, 'team', [ 'hold', "$tmp/team" ]);
	@w = map { start('team', 'team', 'share=type') } 1 .. 3;
	($killed) = wait_for('one to hold the event', sub {
		$_->{h}->pump_nb foreach @w;
		return (grep { $_->{out} =~ /^hold/ } @w)[0] });
	kill9($killed);
	@w = grep { $_ != $killed } @w;
	release("$tmp/team");
	wait_done($node, $db, 'team', 'hold', 'the share of one that was killed is another\'s');
	sql($node, $db, q{select count(pgq.insert_event('team', 'k' || g % 7, g::text))
		from generate_series(1, 700) g});
	tick($node, $db, 'team');
	wait_for('all events', sub { sql($node, $db, q{select count(*) from done
		where consumer = 'team'}) >= 701 });
	is(sql($node, $db, q{select count(*), count(distinct ev_id) from done
		where consumer = 'team'}), '701|701', 'together they do each event once');
	is(sql($node, $db, q{select count(*) from (select ev_id < lag(ev_id) over (
			partition by ev_type order by done_at) as bad
		from done where consumer = 'team') o where bad}), '0', '... those of a key in order');
	is(join(' ', map { stop_worker($_) } @w), '0 0', 'they end well');
}

# What others see of the lease is over, but its transaction is not.
sub slow_work_keeps_its_share
{
	my $w;
	my $other = q{select share_id is null, batch_id is not null
		from pgq.next_share('slow', 'slow', 'other', '1 minute', 'type')};

	make_queue($node, $db, 'slow', 'slow');
	produce($node, $db, 'slow', [ 'hold', "$tmp/slow" ], [ 'hold', "$tmp/slow2" ]);
	$w = start('slow', 'slow', 'share=type', 'lease=1');
	wait_hold($w);
	wait_for('the end of its lease', sub { sql($node, $db,
		q{select bool_and(sh_until < clock_timestamp()) from pgq.share}) eq 't' });
	is(sql($node, $db, $other), 't|t', 'work that takes longer than the lease keeps its share');
	release("$tmp/slow");
	wait_hold($w);
	is(sql($node, $db, $other), 't|t', '... until it ends');
	release("$tmp/slow2");
	wait_done($node, $db, 'slow', 'hold hold', '... and is done once');
	wait_for('the batch to be finished', sub { sql($node, $db, q{select current_batch is null
		from pgq.get_consumer_info('slow', 'slow')}) eq 't' });
	is(stop_worker($w), 0, 'it ends well');
	unlike($w->{out} . $w->{err}, qr/not leased any more/, '... and was refused nothing');
}

sub server_may_go_and_come
{
	my $idle;
	my $held;

	make_queue($node, $db, 'restart', 'restart', 'midst');
	$idle = start('restart', 'restart');
	$held = start('restart', 'midst');
	produce($node, $db, 'restart', [ 'hold', "$tmp/restart" ]);
	wait_hold($held);
	wait_hold($idle);
	release("$tmp/restart");
	wait_done($node, $db, 'restart', 'hold', 'an event is done');
	wait_done($node, $db, 'midst', 'hold', 'an event is done');
	wait_idle('restart');
	produce($node, $db, 'restart', [ 'hold', "$tmp/restart2" ]);
	wait_hold($held);
	wait_hold($idle);
	kill9($idle);
	$node->stop('immediate');
	$node->start;
	release("$tmp/restart2");
	wait_done($node, $db, 'midst', 'hold hold', 'a batch that lost its server is done once');
	produce($node, $db, 'restart', [ 'x', '' ]);
	wait_done($node, $db, 'midst', 'hold hold x', 'and the next one after it');
	$node->stop('fast');
	sleep(0.5);
	$node->start;
	produce($node, $db, 'restart', [ 'y', '' ]);
	wait_done($node, $db, 'midst', 'hold hold x y', 'a server may be away while it waits');
	$node->stop('fast');
	sleep(0.2);
	is(stop_worker($held), 0, 'and SIGTERM ends it without a server');
	$held = start('restart', 'midst');
	sleep(0.5);
	$node->start;
	produce($node, $db, 'restart', [ 'z', '' ]);
	wait_done($node, $db, 'midst', 'hold hold x y z', 'it may be started before the server');
	is(stop_worker($held), 0, 'it ends well');
}

sub standby_takes_over
{
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	my $w;

	make_queue($node, $db, 'failover', 'failover');
	$node->backup('base');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->start;
	$w = start_worker(\@command, uri($db, $standby, $node), 'failover', 'failover');
	produce($node, $db, 'failover', [ 'a', '' ]);
	wait_done($node, $db, 'failover', 'a', 'of several hosts the primary is used');
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	$node->stop('immediate');
	$standby->promote;
	produce($standby, $db, 'failover', [ 'b', '' ]);
	wait_done($standby, $db, 'failover', 'a b', 'and the one that is promoted');
	is(stop_worker($w), 0, 'it ends well');
	$standby->stop('immediate');
}

my @all = qw(
  events_come_once_and_in_order
  killed_in_a_batch_does_it_once
  sigterm_ends_it_after_the_batch
  idle_it_holds_nothing_and_ends_at_once
  notice_with_the_answer_is_not_lost
  poison_is_put_aside
  failures_are_counted
  conflicts_are_tried_again
  stale_session_does_nothing
  settings_of_the_role_do_no_harm
  large_events_are_whole
  text_of_any_encoding_comes
  refusals_are_told_at_once
  code_of_others_is_not_run
  registers_itself
  loop_over_batches
  producers_produce
  seek_goes_back
  workers_share_a_consumer
  slow_work_keeps_its_share
  server_may_go_and_come
  standby_takes_over
);

# behaviours([COMMAND...], options => [OPTION...], without => [NAME...]): all of
# them, with options that each run of the worker gets. BEHAVIOURS in the environment
# names those to try alone.
sub behaviours
{
	my ($command, %opt) = @_;
	my %without = map { $_ => 1 } @{ $opt{without} // [] };
	my @names = $ENV{BEHAVIOURS} ? split(' ', $ENV{BEHAVIOURS}) : @all;

	@command = @$command;
	@options = @{ $opt{options} // [] };
	$tmp = PostgreSQL::Test::Utils::tempdir();
	$node = new_server('main');
	new_shop($node, $db, 'UTF8', slot => 1);
	new_shop($node, 'latin', 'LATIN1');
	new_shop($node, 'ascii', 'SQL_ASCII');
	foreach my $name (grep { !$without{$_} } @names)
	{
		no strict 'refs';
		my $start = time();

		subtest $name => sub {
			eval { &$name(); 1 } or fail("it comes to its end: $@");
			note eval { sql($node, $db, q{select application_name, state, wait_event, query
				from pg_stat_activity where application_name ~ '^pgq consumer'}) } // ''
			  if !Test::More->builder->is_passing;
			note $_->{out} . $_->{err} foreach @running;
			kill9($_) foreach @running;
		};
		note sprintf('%.1f s', time() - $start);
	}
	$node->stop('immediate');
	return;
}

1;
