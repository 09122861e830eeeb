
# Debian's pgq_node and londiste on top of our queues: the same calls give the
# same answers as on PgQ 3.5, line by line, and what they leave in our tables
# is the same too. Both sides are only run; see PgqDebian.pm.

use strict;
use warnings;

use PgqDebian;
use PgqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my ($version) = `pg_config --version` =~ /^PostgreSQL (\d+)/;
my @cascade =
  ("postgresql-$version-pgq-node", "postgresql-$version-londiste-sql");
my %server = (
	'3.5' => new_server('old', install_path => pgq35_tree(@cascade)),
	'4.0' => new_server('new', install_path => pgq4_tree(@cascade)));

foreach my $node (values %server)
{
	sql($node, 'postgres', 'create database db');
	sql($node, 'db', "create extension $_")
	  foreach qw(pgq pgq_node londiste);
}

# What pgq_node and its nodes have in PgQ's tables. No times, and nothing that
# counts transactions.
my $state = q{
	select queue_name, queue_external_ticker, queue_disable_insert
		from pgq.queue order by 1;
	select queue_name, consumer_name, last_tick, current_batch, next_tick
		from pgq.get_consumer_info();
	select queue_name, tick_id, tick_event_seq
		from pgq.tick join pgq.queue on queue_id = tick_queue order by 1, 2;
	select co_name from pgq.consumer order by co_name collate "C";
};
my @steps = (
	# create_queue, register_consumer and get_consumer_info in one transaction
	'a root' => q{
		begin;
		select * from pgq_node.register_location('root', 'n1', 'dbname=one', false);
		select * from pgq_node.create_node('root', 'root', 'n1', 'w1', null, null, null);
		commit},
	'a subscriber of it' => q{
		select * from pgq_node.register_location('root', 'n2', 'dbname=two', false);
		select * from pgq_node.register_subscriber('root', 'n2', 'w2', null);
		select * from pgq_node.get_subscriber_info('root')},
	'its watermark is maintenance' => q{
		select * from pgq.maint_operations();
		select pgq_node.maint_watermark('root')},
	'the watermark follows its subscribers' => q{
		select pgq.insert_event('root', 't', 'one'), pgq.insert_event('root', 't', 'two');
		-- a forced tick uses up ids of events in PgQ 3.5 only
		select pgq.set_queue_config('root', 'ticker_max_count', '1');
		select pgq.ticker('root');
		select pgq.next_batch('root', 'w2');
		select ev_id, ev_type, ev_data from pgq.get_batch_events(1);
		select pgq.finish_batch(1);
		select * from pgq_node.set_subscriber_watermark('root', 'n2', 2);
		select pgq_node.maint_watermark('root');
		select local_watermark, global_watermark from pgq_node.get_node_info('root')},
	'a consumer that a subscription needs' => q{
		select pgq.unregister_consumer('root', 'w2')},
	'a branch, with a position of its provider' => q{
		select * from pgq_node.register_location('branch', 'n1', 'dbname=one', false);
		select * from pgq_node.register_location('branch', 'n2', 'dbname=two', false);
		select * from pgq_node.create_node('branch', 'branch', 'n2', 'w2', 'n1', 7, null);
		select ret_code, node_type, global_watermark, local_watermark, worker_last_tick
			from pgq_node.get_node_info('branch')},
	'only its worker writes and ticks there' => q{
		select pgq.insert_event('branch', 't', 'no');
		select pgq.current_event_table('branch');
		select pgq.ticker('branch');
		begin;
		set local session_replication_role = replica;
		insert into pgq.event_2_0 (ev_id, ev_time, ev_type, ev_data)
			values (90, now(), 't', 'copied');
		select pgq.insert_event('branch', 'pgq.tick-id', '8', 'branch', null, null, null) > 1;
		commit;
		select pgq.ticker('branch', 8, now(), 100);
		select * from pgq_node.set_consumer_completed('branch', 'w2', 8);
		select * from pgq_node.set_consumer_uptodate('branch', 'w2', true);
		select pgq.register_consumer_at('branch', 'reader', 7);
		select pgq.next_batch('branch', 'reader');
		select ev_type, ev_data from pgq.get_batch_events(2) order by ev_id desc;
		select pgq.finish_batch(2)},
	'a leaf' => q{
		select * from pgq_node.register_location('leaf', 'n1', 'dbname=one', false);
		select * from pgq_node.register_location('leaf', 'n3', 'dbname=three', false);
		select * from pgq_node.create_node('leaf', 'leaf', 'n3', 'w3', 'n1', 7, null);
		select * from pgq_node.is_leaf_node('leaf');
		select * from pgq.get_queue_info('leaf')},
	'the branch becomes the root' => q{
		select * from pgq_node.set_consumer_paused('branch', 'w2', true);
		select * from pgq_node.promote_branch('branch');
		select pgq.insert_event('branch', 't', 'now') > 100;
		select pgq.ticker('branch', 9, now(), 200);
		select pgq.set_queue_config('branch', 'ticker_max_count', '1');
		select pgq.ticker('branch')},
	'the root becomes a branch' => q{
		select * from pgq_node.demote_root('root', 1, 'n2');
		select pgq.insert_event('root', 't', 'no');
		select * from pgq_node.demote_root('root', 2, 'n2');
		select * from pgq_node.demote_root('root', 3, 'n2')},
	'nodes can be dropped' => q{
		select * from pgq_node.unregister_subscriber('root', 'n2');
		select * from pgq_node.drop_node('root', 'n1');
		select * from pgq_node.drop_node('leaf', 'n3')},

	# tgflags choose the trigger function; SKIP is looked for in pg_trigger
	'londiste makes triggers' => q{
		select * from pgq_node.register_location('repl', 'n1', 'dbname=one', false);
		select * from pgq_node.create_node('repl', 'root', 'n1', 'w1', null, null, null);
		create table plain (id int primary key, v text);
		create table query (id int primary key, v text);
		create table json (id int primary key, v text);
		create table extra (id int primary key, v text, w text);
		create table skipped (id int primary key, v text);
		select * from londiste.local_add_table('repl', 'public.plain');
		select * from londiste.local_add_table('repl', 'public.query', array['tgflags=AIUDQ']);
		select * from londiste.local_add_table('repl', 'public.json', array['tgflags=BIUDJ']);
		select * from londiste.local_add_table('repl', 'public.extra',
			array['backup', 'ignore=w', 'when=id < 9', 'ev_extra3=v']);
		select * from londiste.local_add_table('repl', 'public.skipped', array['skip']);
		select pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
			and tgrelid::regclass::text in ('plain', 'query', 'json', 'extra', 'skipped')
			order by tgrelid, tgname},
	'which write its events' => (
		join('', map { "
		insert into $_ (id, v) values (1, 'a b'), (9, null);
		update $_ set v = 'it''s \\';
		delete from $_ where id = 1;
		truncate $_;" } qw(plain query json extra skipped))
		  . q{
		select ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3 from pgq.event_template
			where ev_type not like 'londiste.%' and ev_extra1 is not null order by ev_id}),
	'and looks after sequences' => q{
		create sequence serial;
		select * from londiste.local_add_seq('repl', 'public.serial');
		select * from pgq.maint_operations();
		select setval('serial', 30000);
		select * from londiste.root_check_seqs('repl');
		select londiste.periodic_maintenance();
		select ev_type, ev_data, ev_extra1 from pgq.event_template
			where ev_type = 'londiste.update-seq' order by ev_id},
	'execute' => q{
		select * from londiste.execute_start('repl', 'f.sql', 'select 1', true);
		select * from londiste.execute_finish('repl', 'f.sql');
		select ev_type, ev_data, ev_extra1, ev_extra2 from pgq.event_template
			where ev_type = 'EXECUTE'},
	'tables can go again' => q{
		select * from londiste.local_remove_table('repl', 'public.plain');
		select tgname from pg_trigger where tgrelid = 'plain'::regclass});

while (my ($name, $step) = splice(@steps, 0, 2))
{
	my %said;

	foreach my $at (keys %server)
	{
		my ($rc, $out, $err) = $server{$at}->psql(
			'db', "$step; $state",
			on_error_stop => 0,
			extra_params => [qw(-v VERBOSITY=terse)]);
		$said{$at} = "$out\n$err";
	}
	note $said{'4.0'};
	is($said{'4.0'}, $said{'3.5'}, $name);
}

done_testing();
