-- The functions that are called for each event or batch make no plan: they call
-- nothing in a procedural language, and read only what they need, once.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;

SELECT pgq.create_queue('hot_calls'), pgq.register_consumer('hot_calls', 'c');
SELECT queue_data_pfx AS pfx FROM pgq.queue WHERE queue_name = 'hot_calls' \gset
CREATE TABLE hot_table (id int PRIMARY KEY);
CREATE TRIGGER to_queue AFTER INSERT ON hot_table
	FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('hot_calls');
-- how often each event table has been looked through; statistics of earlier
-- transactions may be in it
CREATE TEMP VIEW scans AS
SELECT replace(c.oid::regclass::text, :'pfx', 'event') AS event_table,
	pg_stat_get_xact_numscans(c.oid)
		+ sum(pg_stat_get_xact_numscans(i.indexrelid)) AS n
FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid
WHERE c.oid::regclass::text LIKE :'pfx' || '\_%'
GROUP BY c.oid;
CREATE TEMP TABLE earlier (event_table text, n int8);
CREATE TEMP VIEW scans_since AS
SELECT event_table, s.n - e.n AS scans FROM scans s JOIN earlier e USING (event_table)
ORDER BY event_table;
-- functions in procedural languages that were called in this transaction
CREATE TEMP VIEW calls AS
SELECT funcname, calls FROM pg_stat_xact_user_functions ORDER BY 1;

BEGIN;
SET LOCAL track_functions = 'pl';
SELECT count(pgq.insert_event('hot_calls', 't', i::text)) FROM generate_series(1, 2000) i;
INSERT INTO hot_table SELECT generate_series(1, 10);
SELECT pgq.ticker('hot_calls') IS NOT NULL AS ticked;
SELECT * FROM calls;
COMMIT;
SELECT pgq.ticker('hot_calls') IS NOT NULL AS ticked;

-- rotated twice: the batch can only be in the current table
UPDATE pgq.queue SET queue_rotation_period = '0' WHERE queue_name = 'hot_calls';
DO $$ BEGIN PERFORM pgq.finish_batch(pgq.next_batch('hot_calls', 'c')); END $$;
SELECT pgq.force_tick('hot_calls') > 0;
SELECT pgq.ticker('hot_calls') > 0;
DO $$ BEGIN PERFORM pgq.finish_batch(pgq.next_batch('hot_calls', 'c')); END $$;
SELECT pgq.maint_rotate_tables_step1('hot_calls');
SELECT pgq.maint_rotate_tables_step2();
SELECT pgq.force_tick('hot_calls') > 0;
SELECT pgq.ticker('hot_calls') > 0;
DO $$ BEGIN PERFORM pgq.finish_batch(pgq.next_batch('hot_calls', 'c')); END $$;
SELECT count(pgq.insert_event('hot_calls', 't', i::text)) FROM generate_series(1, 2000) i;
SELECT pgq.ticker('hot_calls') > 0;
BEGIN;
SET LOCAL track_functions = 'pl';
INSERT INTO earlier SELECT * FROM scans;
SELECT pgq.next_batch('hot_calls', 'c') AS batch \gset
SELECT count(*) FROM pgq.get_batch_events(:batch);
SELECT * FROM scans_since;
SELECT * FROM calls;
COMMIT;

-- retrying one by one: the batch is read once, not for each event
BEGIN;
DELETE FROM earlier;
INSERT INTO earlier SELECT * FROM scans;
SELECT sum(pgq.event_retry(:batch, ev_id, 0)) FROM pgq.get_batch_events(:batch) WHERE ev_id % 2 = 0;
SELECT * FROM scans_since;
COMMIT;
SELECT pgq.finish_batch(:batch);

-- the counting of calls works
BEGIN;
SET LOCAL track_functions = 'pl';
SELECT pgq.create_queue('hot_calls');
SELECT * FROM calls;
COMMIT;

DROP TABLE hot_table;
SELECT pgq.drop_queue('hot_calls', true);
