-- A queue keeps events as long as its retention says though all consumers are past them,
-- and no longer; consumers go back to any place of it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE ROLE regress_seeker IN ROLE pgq_reader;
CREATE ROLE regress_no_seeker;
RESET client_min_messages;
\set SHOW_CONTEXT never
SELECT pgq.create_queue('retention');
SELECT pgq.set_queue_config('retention', p, '0')
FROM (VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
SELECT pgq.register_consumer('retention', 'reader');
SELECT queue_id AS id, queue_data_pfx AS pfx FROM pgq.queue WHERE queue_name = 'retention' \gset
CREATE TEMP VIEW state AS
SELECT queue_cur_table AS cur, queue_retention AS retention FROM pgq.queue WHERE queue_name = 'retention';
CREATE TEMP VIEW tables AS
SELECT right(evt_relid::text, 1) AS n, (xpath('//c/text()', query_to_xml('SELECT count(*) AS c FROM ' || evt_relid, false, true, '')))[1]::text AS events
FROM pgq.event_table WHERE evt_queue = 'retention' ORDER BY 1;
-- Rotation waits for every older transaction of the cluster: asks more than once.
CREATE PROCEDURE pg_temp.fill(data text) LANGUAGE plpgsql AS $$
DECLARE
	batch int8;
BEGIN
	PERFORM pgq.insert_event('retention', 't', data);
	COMMIT;
	PERFORM pgq.ticker('retention');
	COMMIT;
	LOOP
		batch := pgq.next_batch('retention', 'reader');
		EXIT WHEN batch IS NULL;
		PERFORM pgq.finish_batch(batch);
	END LOOP;
	COMMIT;
END $$;
CREATE PROCEDURE pg_temp.rotate(tries int4) LANGUAGE plpgsql AS $$
DECLARE
	before int4 := (SELECT cur FROM state);
	batch int8;
BEGIN
	FOR i IN 1 .. tries LOOP
		PERFORM pgq.ticker('retention');
		COMMIT;
		LOOP
			batch := pgq.next_batch('retention', 'reader');
			EXIT WHEN batch IS NULL;
			PERFORM pgq.finish_batch(batch);
		END LOOP;
		COMMIT;
		PERFORM pgq.maint_rotate_tables_step1('retention');
		COMMIT;
		EXIT WHEN before <> (SELECT cur FROM state);
		PERFORM pg_sleep(0.05);
	END LOOP;
	PERFORM pgq.maint_rotate_tables_step2();
END $$;
CREATE PROCEDURE pg_temp.last_rotation(ago interval) LANGUAGE sql AS $$
	UPDATE pgq.queue SET queue_switch_time = now() - ago WHERE queue_name = 'retention';
	UPDATE pgq.tick SET tick_time = least(tick_time, now() - ago) FROM pgq.queue
	WHERE tick_queue = queue_id AND queue_name = 'retention' $$;
CREATE FUNCTION pg_temp.events() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	batch int8;
BEGIN
	LOOP
		batch := pgq.next_batch('retention', 'reader');
		EXIT WHEN batch IS NULL;
		RETURN QUERY SELECT ev_data FROM pgq.get_batch_events(batch);
		PERFORM pgq.finish_batch(batch);
	END LOOP;
END $$;

-- the setting
SELECT * FROM state;
SELECT pgq.set_queue_config('retention', 'retention', '-1 s');
SELECT pgq.set_queue_config('retention', 'retention', 'long');
SELECT pgq.set_queue_config('retention', 'retention', NULL);
SELECT pgq.set_queue_config('retention', 'retention', '7 days');
SELECT * FROM state;

-- all consumers are past it and the period is over, but not the retention
CALL pg_temp.fill('first table');
CALL pg_temp.last_rotation('6 days');
CALL pg_temp.rotate(3);
SELECT cur FROM state;
SELECT count(*) FROM pgq.maint_operations() WHERE func_arg = 'retention';
-- it is over: the events are in the table before
CALL pg_temp.last_rotation('8 days');
CALL pg_temp.rotate(200);
SELECT cur FROM state;
CALL pg_temp.fill('second table, before its first tick');
CALL pg_temp.fill('second table');
SELECT * FROM tables;
-- they go with the next rotation, which may not come early
CALL pg_temp.last_rotation('6 days');
CALL pg_temp.rotate(3);
SELECT * FROM tables;
SELECT pgq.seek_consumer('retention', 'reader', '-infinity'::timestamptz) = min(tick_id) FROM pgq.tick WHERE tick_queue = :id;
SELECT * FROM pg_temp.events();
-- as long as somebody could not go back that far, it may not come either
BEGIN;
CALL pg_temp.last_rotation('8 days');
UPDATE pgq.tick SET tick_time = now() - interval '6 days'
WHERE tick_queue = :id AND txid_snapshot_xmin(tick_snapshot) >= (SELECT queue_switch_step2 FROM pgq.queue WHERE queue_id = :id);
SELECT count(*) FROM pgq.maint_operations() WHERE func_arg = 'retention';
ROLLBACK;
-- the table before the last one is emptied along, though it is not written next
CALL pg_temp.last_rotation('8 days');
CALL pg_temp.rotate(200);
SELECT cur FROM state;
SELECT * FROM tables;
SELECT pgq.seek_consumer('retention', 'reader', '-infinity'::timestamptz) = min(tick_id) FROM pgq.tick WHERE tick_queue = :id;
SELECT * FROM pg_temp.events();
CALL pg_temp.fill('third table');
-- every tick that is there can be read from
SELECT bool_and(pgq.seek_consumer('retention', 'reader', tick_id) = tick_id) FROM pgq.tick WHERE tick_queue = :id;
-- a limit of disk goes before the retention
UPDATE pgq.queue SET queue_max_size = 1 WHERE queue_name = 'retention';
CALL pg_temp.rotate(200);
SELECT cur FROM state;
UPDATE pgq.queue SET queue_max_size = NULL WHERE queue_name = 'retention';

-- by time: the last tick before it
CALL pg_temp.fill('a');
CALL pg_temp.fill('b');
SELECT max(tick_id) AS b FROM pgq.tick WHERE tick_queue = :id \gset
CALL pg_temp.fill('c');
UPDATE pgq.tick SET tick_time = now() - interval '1 day' - (interval '1 hour') * (:b - tick_id) WHERE tick_queue = :id;
SELECT pgq.seek_consumer('retention', 'reader', now() - interval '1 day') - :b AS at,
	pgq.seek_consumer('retention', 'reader', now() - interval '25 hours') - :b AS before,
	pgq.seek_consumer('retention', 'reader', now() - interval '24 hours 1 s') - :b AS between,
	pgq.seek_consumer('retention', 'reader', 'infinity'::timestamptz) - :b AS "end",
	pgq.seek_consumer('retention', 'reader', now() + interval '1 day') - :b AS future;
SELECT pgq.seek_consumer('retention', 'reader', i_tick => :b) - :b AS tick;
SELECT * FROM pg_temp.events();
SELECT pgq.seek_consumer('retention', 'reader', i_time => now() - interval '25 hours') - :b AS tick;
SELECT * FROM pg_temp.events();
-- a clock that was set back: rather too much than too little
BEGIN;
UPDATE pgq.tick SET tick_time = now() - interval '2 days' WHERE tick_queue = :id AND tick_id = (SELECT max(tick_id) FROM pgq.tick WHERE tick_queue = :id);
SELECT pgq.seek_consumer('retention', 'reader', now() - interval '24 hours 1 s') - :b AS tick;
ROLLBACK;

-- refused
\set VERBOSITY terse
SELECT pgq.seek_consumer('retention', 'reader', '2001-01-01'::timestamptz);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.seek_consumer('retention', 'reader', 1000000);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.seek_consumer('retention', 'reader', NULL::int8);
SELECT pgq.seek_consumer('retention', 'reader', NULL::timestamptz);
SELECT pgq.seek_consumer('retention', 'nobody', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.seek_consumer('nowhere', 'reader', 1);
SELECT pgq.seek_consumer(NULL, NULL, 1);
-- an open batch
SELECT pgq.seek_consumer('retention', 'reader', :b) = :b AS moved;
SELECT pgq.next_batch('retention', 'reader') AS batch \gset
CREATE FUNCTION pg_temp.refused(stmt text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE stmt;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || regexp_replace(SQLERRM, '[0-9]+', 'N');
END $$;
SELECT pg_temp.refused('SELECT pgq.seek_consumer(''retention'', ''reader'', ''infinity''::timestamptz)');
SELECT last_tick = :b AS stays, current_batch = :batch AS open FROM pgq.get_consumer_info('retention', 'reader');
SELECT pgq.seek_consumer('retention', 'reader', 'infinity'::timestamptz, true) > :b AS moved;
SELECT current_batch FROM pgq.get_consumer_info('retention', 'reader');
SELECT pgq.finish_batch(0);

-- a consumer that has lost its position goes on from one that is there
UPDATE pgq.subscription SET sub_lost_time = now(), sub_lost_tick = sub_last_tick, sub_last_tick = NULL WHERE sub_queue = :id;
SELECT pgq.seek_consumer('retention', 'reader', :b) = :b AS moved;
SELECT * FROM pg_temp.events();
-- a new one begins in the past
SELECT pgq.register_consumer_at('retention', 'new', :b);
SELECT last_tick = :b AS there FROM pgq.get_consumer_info('retention', 'new');

-- cooperating consumers: the main one is moved, when no worker has a batch
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq_coop;
RESET client_min_messages;
SELECT pgq_coop.register_subconsumer('retention', 'main', 's');
SELECT pgq.seek_consumer('retention', 'main', :b) = :b AS moved;
SELECT pgq_coop.next_batch('retention', 'main', 's') IS NOT NULL AS open;
SELECT pg_temp.refused(format('SELECT pgq.seek_consumer(%L, %L, %s)', 'retention', c, :b)) FROM (VALUES ('main'), ('main.s')) c(c);
SELECT pgq.seek_consumer('retention', 'main', :b, true) = :b AS moved;
SELECT consumer_name, last_tick = :b AS at, current_batch FROM pgq.get_consumer_info('retention') WHERE consumer_name LIKE 'main%' ORDER BY 1;
SELECT count(*) FROM pgq.get_batch_events(pgq_coop.next_batch('retention', 'main', 's'));

-- who may consume may go back
SET ROLE regress_seeker;
SELECT pgq.seek_consumer('retention', 'reader', :b) = :b AS moved, pgq.seek_consumer('retention', 'reader', 'infinity'::timestamptz) > :b AS moved;
SET ROLE regress_no_seeker;
SELECT pgq.seek_consumer('retention', 'reader', 1);
SELECT pgq.seek_consumer('retention', 'reader', now());
RESET ROLE;
SELECT pgq.drop_queue('retention', true);
DROP EXTENSION pgq_coop;
DROP ROLE regress_seeker, regress_no_seeker;
