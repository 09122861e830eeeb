
# What a batch reads and takes after many others, while a snapshot is held open:
# beside PgQ 3.5 and a queue by SKIP LOCKED; after many more, PgQ 4 alone. And what
# maintenance reads then.

package BenchHeld;

use strict;
use warnings;

use BenchTools;
use List::Util qw(min);
use PgqTest;
use Test::More;

my $n = $smoke ? 200 : 3_000;      # batches between the two looks
my $many = $smoke ? 400 : 100_000;   # until the last one; an hour has some thousand
my $retries = $smoke ? 200 : 100_000;

# An event comes, and one that came before is worked off.
my $pgq = q{
	create extension pgq;
	select pgq.create_queue('q');
	select pgq.register_consumer('q', 'c');
	create function one_batch() returns void as $$
	declare
		batch int8;
	begin
		perform pgq.insert_event('q', 't', 'd');
		perform pgq.force_tick('q');
		perform pgq.ticker('q');
		batch := pgq.next_batch('q', 'c');
		perform pgq.get_batch_events(batch);
		perform pgq.finish_batch(batch);
	end $$ language plpgsql;
};
my $skip_locked = q{
	create table jobs (id bigserial primary key, data text);
	create function one_batch() returns void as $$
	begin
		insert into jobs (data) values ('d');
		delete from jobs where id = (select id from jobs order by id
			for update skip locked limit 1);
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
my $tools = q{
	create procedure work(n int) as $$
	begin
		for i in 1 .. n loop
			perform one_batch();
			commit;
		end loop;
	end $$ language plpgsql;
	create function buffers() returns int as $$
	declare
		plan json;
		least int;
	begin
		-- once in a while a page is cleaned or added
		for i in 1 .. 5 loop
			execute 'explain (analyze, buffers, format json) select one_batch()' into plan;
			least := least(least, (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int
				+ (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int);
		end loop;
		return least;
	end $$ language plpgsql;
};

# Buffers and milliseconds of a batch; of some rounds the fastest, since a disk may be
# busy with other work.
sub look
{
	my ($s) = @_;
	my $few = $smoke ? 5 : 20;
	my $buffers = $s->query('select buffers()');

	return ($buffers,
		1000 * min(map { timed($s, "call work($few)") / $few } 1 .. 10));
}

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

sub bench
{
	my @queues = ([ 'PgQ 4', ours(), 'held_pgq', $pgq ]);

	push @queues, [ 'PgQ 3.5', old(), 'held_pgq', $pgq ] if old();
	push @queues, [ 'SKIP LOCKED', ours(), 'held_skip', $skip_locked ];
	BenchTools::append('held.md', "A batch of one event while a snapshot is held open, and"
		. " after $n others:\n\n| queue | buffers | then | ms | then |\n"
		. "| --- | --- | --- | --- | --- |\n");
	my $more = '';
	foreach my $queue (@queues)
	{
		my ($name, $node, $db, $setup) = @$queue;

		sql($node, 'postgres', "create database $db");
		sql($node, $db, "$setup; $tools");
		my $s = session($node, $db);
		my $holder = session($node, $db);
		$s->query('call work(20)');
		$holder->query('begin isolation level repeatable read');
		$holder->query('select count(*) from pg_class');
		my @before = look($s);
		$s->query("call work($n)");
		my @after = look($s);
		my @last;
		if ($name eq 'PgQ 4')
		{
			$s->query("call work($many - $n)");
			@last = look($s);
			cmp_ok($last[0], '<=', $before[0] + 60,
				"... after $many batches, too");
		}
		$holder->close;
		$s->close;

		my @cells = ($before[0], $after[0], map { sprintf('%.2f', $_) } $before[1], $after[1]);
		BenchTools::append('held.md', '| ' . join(' | ', $name, @cells) . " |\n");
		BenchTools::append('table.txt', sprintf("%-20s buffers of a batch %d, after $n %d;"
				. " ms %s, after %s\n", $name, @cells));
		$more = sprintf("\nAfter %d batches PgQ 4 reads %d buffers in %.2f ms.\n",
			$many, @last) if @last;
		cmp_ok($after[0], '<=', $before[0] + 40, 'a batch reads what the first ones did')
		  if $name eq 'PgQ 4';
	}
	BenchTools::append('held.md', $more);
	bench_maintenance();
	return;
}

1;
