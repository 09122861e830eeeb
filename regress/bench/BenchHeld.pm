
# What a batch reads and takes after many others, while a snapshot is held open:
# beside PgQ 3.5 and a queue by SKIP LOCKED.

package BenchHeld;

use strict;
use warnings;

use BenchTools;
use PgqTest;
use Test::More;

my $n = $smoke ? 200 : 3_000;      # batches between the two looks

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

# Buffers and milliseconds of a batch.
sub look
{
	my ($s) = @_;
	my $few = $smoke ? 10 : 200;

	return ($s->query('select buffers()'), 1000 * timed($s, "call work($few)") / $few);
}

sub bench
{
	my @queues = ([ 'PgQ 4', ours(), 'held_pgq', $pgq ]);

	push @queues, [ 'PgQ 3.5', old(), 'held_pgq', $pgq ] if old();
	push @queues, [ 'SKIP LOCKED', ours(), 'held_skip', $skip_locked ];
	BenchTools::append('held.md', "A batch of one event while a snapshot is held open, and"
		. " after $n others:\n\n| queue | buffers | then | ms | then |\n"
		. "| --- | --- | --- | --- | --- |\n");
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
		$holder->close;
		$s->close;

		my @cells = ($before[0], $after[0], map { sprintf('%.2f', $_) } $before[1], $after[1]);
		BenchTools::append('held.md', '| ' . join(' | ', $name, @cells) . " |\n");
		BenchTools::append('table.txt', sprintf("%-20s buffers of a batch %d, after $n %d;"
				. " ms %s, after %s\n", $name, @cells));
		cmp_ok($after[0], '<=', $before[0] + 40, 'a batch reads what the first ones did')
		  if $name eq 'PgQ 4';
	}
	return;
}

1;
