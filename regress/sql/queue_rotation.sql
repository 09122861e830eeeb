-- Rotation empties a table only when nobody can need it, in two transactions.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT pgq.create_queue('queue_rotation');
SELECT pgq.set_queue_config('queue_rotation', p, '0')
FROM (VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
SELECT pgq.register_consumer('queue_rotation', 'qrot_c');

CREATE TEMP VIEW state AS
SELECT queue_cur_table AS cur, queue_switch_step2 IS NULL AS half_done,
	queue_switch_time = now() AS just_now
FROM pgq.queue WHERE queue_name = 'queue_rotation';
CREATE TEMP VIEW todo AS
SELECT func_name, func_arg FROM pgq.maint_operations()
WHERE func_arg LIKE 'queue_rotation%' OR func_name LIKE '%step2';
-- Rotation waits for every transaction of the cluster that is older than the
-- last switch, also for one of autovacuum: so ours asks more than once.
CREATE PROCEDURE pg_temp.rotate() LANGUAGE plpgsql AS $$
DECLARE
	before int4 := (SELECT cur FROM state);
	batch int8;
BEGIN
	FOR i IN 1 .. 200 LOOP
		PERFORM pgq.ticker('queue_rotation');
		COMMIT;
		LOOP
			batch := pgq.next_batch('queue_rotation', 'qrot_c');
			EXIT WHEN batch IS NULL;
			PERFORM pgq.finish_batch(batch);
		END LOOP;
		COMMIT;
		PERFORM pgq.maint_rotate_tables_step1('queue_rotation');
		COMMIT;
		EXIT WHEN before <> (SELECT cur FROM state);
		PERFORM pg_sleep(0.05);
	END LOOP;
END $$;
CREATE PROCEDURE pg_temp.make_due() LANGUAGE sql AS $$
	UPDATE pgq.queue SET queue_switch_time = now() - interval '1 day'
	WHERE queue_name = 'queue_rotation' $$;

-- the period is not over
SELECT pgq.maint_rotate_tables_step1('queue_rotation');
SELECT * FROM state;
SELECT * FROM todo;
SELECT pgq.maint_rotate_tables_step1('queue_rotation_none'),
	pgq.maint_rotate_tables_step1(NULL);

-- nor is it if the clock was set back by some seconds; by an hour it has to be
BEGIN;
UPDATE pgq.queue SET queue_switch_time = now() + interval '30 s'
WHERE queue_name = 'queue_rotation';
SELECT * FROM todo;
UPDATE pgq.queue SET queue_switch_time = now() + interval '1 hour'
WHERE queue_name = 'queue_rotation';
SELECT * FROM todo;
ROLLBACK;

-- it is, but the consumer stands at a tick from before the last switch
CALL pg_temp.make_due();
SELECT * FROM todo;
SELECT pgq.maint_rotate_tables_step1('queue_rotation');
SELECT * FROM state;

SELECT pgq.insert_event('queue_rotation', 't', 'first table');
CALL pg_temp.rotate();
SELECT * FROM state;
-- no second rotation before the first is completed, however due
CALL pg_temp.make_due();
SELECT pgq.maint_rotate_tables_step1('queue_rotation');
SELECT * FROM state;
SELECT * FROM todo;
-- the transaction that completes it must not be older than the switch
BEGIN;
SELECT txid_current() IS NOT NULL AS has_id;
SELECT pgq.maint_rotate_tables_step2();
COMMIT;
SELECT * FROM state;
SELECT pgq.maint_rotate_tables_step2();
SELECT * FROM state;
SELECT queue_switch_step2 > queue_switch_step1 AS later FROM pgq.queue
WHERE queue_name = 'queue_rotation';
-- without a half done rotation there is nothing to complain about
BEGIN;
SELECT txid_current() IS NOT NULL AS has_id;
SELECT pgq.maint_rotate_tables_step2();
COMMIT;

-- both steps in one transaction: the second does nothing
SELECT pgq.ticker('queue_rotation') IS NOT NULL AS ticked;
SELECT pgq.finish_batch(pgq.next_batch('queue_rotation', 'qrot_c'));
CALL pg_temp.make_due();
CREATE PROCEDURE pg_temp.both() LANGUAGE plpgsql AS $$
DECLARE
	before int4 := (SELECT cur FROM state);
BEGIN
	FOR i IN 1 .. 200 LOOP
		PERFORM pgq.ticker('queue_rotation');
		COMMIT;
		PERFORM pgq.finish_batch(pgq.next_batch('queue_rotation', 'qrot_c'));
		COMMIT;
		SET LOCAL client_min_messages = error;
		PERFORM pgq.maint_rotate_tables_step1('queue_rotation');
		IF before <> (SELECT cur FROM state) THEN
			PERFORM pgq.maint_rotate_tables_step2();
			EXIT;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.05);
	END LOOP;
	COMMIT;
END $$;
CALL pg_temp.both();
SELECT cur, half_done FROM state;
SELECT pgq.maint_rotate_tables_step2();

-- what was written two rotations ago is emptied now, what came later is not
SELECT pgq.insert_event('queue_rotation', 't', 'third table');
SELECT ev_data FROM pgq.event_template e JOIN pgq.event_table ON evt_relid = e.tableoid
WHERE evt_queue = 'queue_rotation' ORDER BY ev_id;
CALL pg_temp.make_due();
CALL pg_temp.rotate();
SELECT cur, half_done FROM state;
SELECT pgq.maint_rotate_tables_step2();
SELECT ev_data FROM pgq.event_template e JOIN pgq.event_table ON evt_relid = e.tableoid
WHERE evt_queue = 'queue_rotation' ORDER BY ev_id;

-- old ticks go, but never the newest: someone may want to register
SELECT pgq.unregister_consumer('queue_rotation', 'qrot_c');
CREATE PROCEDURE pg_temp.rotate_idle() LANGUAGE plpgsql AS $$
DECLARE
	before int4 := (SELECT cur FROM state);
BEGIN
	FOR i IN 1 .. 200 LOOP
		PERFORM pgq.maint_rotate_tables_step1('queue_rotation');
		COMMIT;
		EXIT WHEN before <> (SELECT cur FROM state);
		PERFORM pg_sleep(0.05);
	END LOOP;
	COMMIT;
	PERFORM pgq.maint_rotate_tables_step2();
END $$;
CALL pg_temp.make_due();
CALL pg_temp.rotate_idle();
CALL pg_temp.make_due();
CALL pg_temp.rotate_idle();
CALL pg_temp.make_due();
CALL pg_temp.rotate_idle();
SELECT count(*) FROM pgq.tick JOIN pgq.queue ON queue_id = tick_queue
WHERE queue_name = 'queue_rotation';
SELECT pgq.register_consumer('queue_rotation', 'qrot_c');

-- states that should not be
UPDATE pgq.subscription SET sub_last_tick = 0
FROM pgq.queue WHERE queue_id = sub_queue AND queue_name = 'queue_rotation';
CALL pg_temp.make_due();
SELECT pgq.maint_rotate_tables_step1('queue_rotation');
\echo :LAST_ERROR_SQLSTATE
UPDATE pgq.queue SET queue_switch_step1 = 1::int8 << 60
WHERE queue_name = 'queue_rotation';
\set VERBOSITY sqlstate
SELECT pgq.maint_rotate_tables_step1('queue_rotation');
\set VERBOSITY default

-- the list of work: extra functions, an empty list does no harm
SELECT pgq.create_queue('queue_rotation 2'), pgq.create_queue('queue_rotation 3');
UPDATE pgq.queue SET queue_extra_maint = '{}'
WHERE queue_name = 'queue_rotation 2';
UPDATE pgq.queue SET queue_extra_maint = '{b.two,a.one,NULL}'
WHERE queue_name = 'queue_rotation 3';
SELECT * FROM todo;
-- functions of other extensions, found by name, and before all vacuum rows
BEGIN;
CREATE SCHEMA pgq_node;
CREATE SCHEMA londiste;
CREATE TABLE pgq_node.node_info (queue_name text, node_type text);
CREATE TABLE londiste.seq_info (queue_name text, local bool);
CREATE FUNCTION pgq_node.maint_watermark(text) RETURNS int LANGUAGE sql AS 'SELECT 0';
CREATE FUNCTION londiste.root_check_seqs(text) RETURNS int LANGUAGE sql AS 'SELECT 0';
CREATE FUNCTION londiste.periodic_maintenance() RETURNS int LANGUAGE sql AS 'SELECT 0';
-- they are no extensions here
CREATE OR REPLACE FUNCTION pgq._has_function(i_extension name, i_function name)
RETURNS bool LANGUAGE sql AS 'SELECT to_regproc(i_extension || ''.'' || i_function) IS NOT NULL';
INSERT INTO pgq_node.node_info VALUES ('queue_rotation', 'branch'),
	('queue_rotation 2', 'root');
INSERT INTO londiste.seq_info VALUES ('queue_rotation 2', true),
	('queue_rotation 2', true), ('queue_rotation', true);
SELECT * FROM todo
UNION ALL
SELECT * FROM pgq.maint_operations() WHERE func_name LIKE 'londiste.p%';
ROLLBACK;
SELECT count(*) FROM pgq.maint_tables_to_vacuum()
WHERE current_setting('autovacuum') = 'on';

-- an old snapshot does not see all consumers
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pgq.maint_rotate_tables_step1('queue_rotation');
ROLLBACK;

-- positions: only the newest of each slot stays, when there are many
SELECT count(*) FROM pgq.maint_operations() WHERE func_name = 'pgq.maint_positions';
INSERT INTO pgq.position
SELECT s, ('1/' || to_hex(x'10000000'::int + i))::pg_lsn, now(), i
FROM (VALUES ('qrot_a'), ('qrot_b')) s(s), generate_series(1, 600) i;
SELECT * FROM pgq.maint_operations() WHERE func_name = 'pgq.maint_positions';
SELECT pgq.maint_positions();
SELECT pos_slot, pos_lsn, pos_events FROM pgq.position
WHERE pos_slot LIKE 'qrot%' ORDER BY 1;
SELECT count(*) FROM pgq.maint_operations() WHERE func_name = 'pgq.maint_positions';
DELETE FROM pgq.position WHERE pos_slot LIKE 'qrot%';

SELECT pgq.drop_queue(q, true)
FROM (VALUES ('queue_rotation'), ('queue_rotation 2'), ('queue_rotation 3')) q(q);
