
# What a batch reads and takes while a snapshot is held open, by the clock: an hour of
# 400 transactions a second, beside PgQ 3.5 and a queue by SKIP LOCKED, all three at the
# same time. And what maintenance reads then.

package BenchHeld;

use strict;
use warnings;

use BenchTools;
use PgqTest;
use Test::More;

my $seconds = $smoke ? 3 : 60 * ($ENV{BENCH_MINUTES} // 60);
my $pause = $smoke ? 50 : 500;    # milliseconds between two batches
my $edge = $seconds / 12;         # that much of the beginning is compared with the end
my $retries = $smoke ? 200 : 100_000;

# What each queue is given, and how a batch is worked off: statements that are measured,
# each in a transaction of its own.
my $pgq = {
	setup => q{
		create extension pgq;
		select pgq.create_queue('q');
		select pgq.register_consumer('q', 'c');
		select pgq.set_queue_config('q', 'ticker_max_lag', '0.01 seconds');
		create function take() returns void as $$
		declare
			batch int8 := pgq.next_batch('q', 'c');
			n int := 0;
		begin
			-- none where nothing was committed since the last tick
			if batch is not null then
				select count(*) into n from pgq.get_batch_events(batch);
				perform pgq.finish_batch(batch);
			end if;
			perform set_config('bench.events', n::text, false);
		end $$ language plpgsql},
	insert => q{select pgq.insert_event('q', 't', 'd')},
	batch => [ q{pgq.ticker('q')}, 'take()' ] };
my $skip_locked = {
	setup => q{
		create table jobs (id bigserial primary key, data text);
		create function take() returns void as $$
		declare
			n int;
		begin
			with taken as (delete from jobs where id = any (array(select id from jobs
				order by id limit 1000 for update skip locked)) returning data)
			select count(*) into n from taken;
			perform set_config('bench.events', n::text, false);
		end $$ language plpgsql
		-- the plan that is best for it, before it is analyzed, too
		set enable_seqscan = off set enable_sort = off},
	insert => q{insert into jobs (data) values ('d')},
	batch => ['take()'] };
my $tools = q{
	create table looks (at timestamptz default clock_timestamp(), buffers int, ms float,
		events int);
	create procedure batch(variadic calls text[]) as $$
	declare
		plan json;
		call text;
		read int := 0;
		took float := 0;
	begin
		foreach call in array calls loop
			execute 'explain (analyze, buffers, format json) select ' || call into plan;
			read := read + (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int
				+ (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int;
			took := took + (plan -> 0 ->> 'Execution Time')::float;
			commit;
		end loop;
		insert into looks (buffers, ms, events)
			values (read, took, current_setting('bench.events')::int);
	end $$ language plpgsql;
};
# Events that are retried and read again, a hundred at a time; and rotations.
my $maintained = q{
	select pgq.create_queue('again'), pgq.register_consumer('again', 'c'),
		pgq.set_queue_config('again', 'rotation_period', '0');
	create function take(out batch int8) as $$
	begin
		perform pgq.force_tick('again');
		perform pgq.ticker('again');
		batch := pgq.next_batch('again', 'c');
	end $$ language plpgsql;
	create procedure retry(n int, last bool) as $$
	declare
		batch int8;
	begin
		for i in 1 .. n / 100 loop
			perform pgq.insert_event('again', 't', 'd') from generate_series(1, 100);
			batch := take();
			perform pgq.batch_retry(batch, 0);
			perform pgq.finish_batch(batch);
			commit;
			if not last then
				perform pgq.maint_retry_events();
				commit;
				perform pgq.finish_batch(take());
				commit;
			end if;
		end loop;
	end $$ language plpgsql;
	create procedure rotate() as $$
	begin
		perform pgq.maint_rotate_tables_step1('again');
		commit;
		perform pgq.maint_rotate_tables_step2();
		commit;
		-- consumers are past the switch
		for i in 1 .. 2 loop
			perform pgq.finish_batch(take());
			commit;
		end loop;
	end $$ language plpgsql;
	create function reads(statement text) returns text as $$
	declare
		plan json;
	begin
		execute 'explain (analyze, buffers, format json) ' || statement into plan;
		return (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int
			+ (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int || ' '
			|| (plan -> 0 ->> 'Execution Time');
	end $$ language plpgsql;
};
# Buffers and milliseconds of moving a hundred retried events, and of a rotation.
sub look_at_maintenance
{
	my ($s) = @_;
	my @got;

	foreach my $call (q{select pgq.maint_retry_events()},
		q{select pgq.maint_rotate_tables_step1('again')})
	{
		$s->query($call =~ /retry/ ? 'call retry(100, true)' : 'call rotate()') for 1 .. 2;
		push @got, [ split(/ /, $s->query("select reads(\$\$$call\$\$)")) ];
		$s->query('select pgq.maint_rotate_tables_step2()');
		$s->query('select pgq.finish_batch(take())') for 1 .. 2;
	}
	return @got;
}

sub bench_maintenance
{
	my $node = ours();
	my $db = 'held_maintenance';

	sql($node, 'postgres', "create database $db");
	sql($node, $db, "create extension pgq; $maintained");
	my $s = session($node, $db);
	my $holder = session($node, $db);
	$s->query('call retry(200, false)');
	$holder->query('begin isolation level repeatable read');
	$holder->query('select count(*) from pg_class');
	look_at_maintenance($s);
	my @before = look_at_maintenance($s);
	$s->query("call retry($retries, false)");
	my @after = look_at_maintenance($s);
	$holder->close;
	$s->close;

	my $ticks = 2 * $retries / 100;
	BenchTools::append('held.md', "\nMaintenance meanwhile, after $retries retried events in "
		. "$ticks batches:\n\n| call | buffers | then | ms | then |\n"
		. "| --- | --- | --- | --- | --- |\n");
	foreach my $i (0, 1)
	{
		BenchTools::append('held.md', sprintf("| %s | %d | %d | %.2f | %.2f |\n",
			('`maint_retry_events`, 100 due', '`maint_rotate_tables_step1`')[$i],
			$before[$i][0], $after[$i][0], $before[$i][1], $after[$i][1]));
	}
	# each old row's page is read once
	cmp_ok($after[0][0], '<=', $before[0][0] + $retries / 20 + 200,
		'retries read no more than what was retried takes');
	cmp_ok($after[1][0], '<=', $before[1][0] + $ticks / 5 + 20,
		'a rotation reads no more than the ticks of before take');
	return;
}

# Medians of what batches read, took and had, between two times of the run.
sub medians
{
	my ($queue, $from, $to) = @_;

	return split(/\|/, sql($queue->{node}, $queue->{db}, q{
		select percentile_cont(0.5) within group (order by buffers),
			percentile_cont(0.5) within group (order by ms),
			percentile_cont(0.5) within group (order by events)
		from looks where at - (select min(at) from looks) } . sprintf(
				q{between interval '%f s' and interval '%f s'}, $from, $to)));
}

# The whole time of it: writers, consumers and holders of snapshots of all queues.
sub run
{
	my (@queues) = @_;

	foreach my $q (@queues)
	{
		sql($q->{node}, 'postgres', "create database $q->{db}");
		sql($q->{node}, $q->{db}, "$q->{setup}; $tools");
		$q->{holder} = session($q->{node}, $q->{db});
		$q->{holder}->query('begin isolation level repeatable read');
		$q->{holder}->query('select count(*) from pg_class');
	}
	foreach my $q (@queues)
	{
		my $calls = join(', ', map { "\$\$$_\$\$" } @{ $q->{batch} });

		$q->{writer} = load_start($q->{node}, $q->{db}, "$q->{insert};\n",
			'-M', 'prepared', '-c', 4, '-R', 400, '-T', $seconds);
		$q->{consumer} = load_start($q->{node}, $q->{db},
			"call batch($calls);\n\\sleep $pause ms\n", '-c', 1, '-T', $seconds);
	}
	foreach my $q (@queues)
	{
		($q->{written}) = load_stop($q->{writer}) =~ /actually processed: (\d+)/;
		load_stop($q->{consumer});
	}
	foreach my $q (@queues)
	{
		$q->{holder}->query('commit');    # dies if it is not there any more
		$q->{holder}->close;
	}
	return;
}

sub bench
{
	my @queues = ({ name => 'PgQ 4', node => ours(), db => 'held_pgq', %$pgq });

	push @queues, { name => 'PgQ 3.5', node => old(), db => 'held_pgq', %$pgq } if old();
	push @queues, { name => 'SKIP LOCKED', node => ours(), db => 'held_skip', %$skip_locked };
	run(@queues);

	sentence(sprintf('%g minutes with a snapshot held open in each database, all at the same'
				. ' time: 400 transactions a second, of an event each, and a batch each half'
				. ' second. Medians of the first and of the last %g minutes:',
			$seconds / 60, $edge / 60));
	BenchTools::append('held.md', "\n| queue | events | batches | events a batch | then"
		. " | buffers | then | ms | then |\n" . '| --- ' x 9 . "|\n");
	my @series;
	foreach my $q (@queues)
	{
		my ($done, $batches) = split(/\|/, sql($q->{node}, $q->{db},
			'select sum(events), count(*) from looks'));
		my ($end) = sql($q->{node}, $q->{db},
			'select extract(epoch from max(at) - min(at)) from looks');
		my @first = medians($q, 0, $edge);
		my @last = medians($q, $end - $edge, $end);
		my @cells = ($done, $batches, map { $_->[0] eq 'ms'
			? (sprintf('%.2f', $first[ $_->[1] ]), sprintf('%.2f', $last[ $_->[1] ]))
			: (sprintf('%d', $first[ $_->[1] ]), sprintf('%d', $last[ $_->[1] ])) }
			([ events => 2 ], [ buffers => 0 ], [ ms => 1 ]));

		BenchTools::append('held.md', '| ' . join(' | ', $q->{name}, @cells) . " |\n");
		BenchTools::append('table.txt', sprintf("%-12s %d events in %d batches;"
				. " events of a batch %d, then %d; buffers %d, then %d; ms %s, then %s\n",
			$q->{name}, @cells));
		cmp_ok($done, '>=', 0.9 * $q->{written}, "$q->{name} took what was written");
		cmp_ok($last[0], '<=', $first[0] + 60, 'a batch reads what the first ones did')
		  if $q->{name} eq 'PgQ 4';
		push @series, [ $q->{name}, map { [ $_, (medians($q, 60 * $_, 60 * $_ + 60))[0] ] }
			  0 .. $end / 60 - 1 ];
	}
	plot('held', 'A batch, while a snapshot is held open', 'minutes', 'buffers',
		"set yrange [10:*]\nset logscale y", @series) if $seconds >= 120;
	bench_maintenance();
	return;
}

1;
