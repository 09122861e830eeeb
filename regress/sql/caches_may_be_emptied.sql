-- Any look-up in the catalogue may empty what a session knows by heart. A server
-- with assertions does so at each of them, where it is asked to; others run this
-- as it is.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\pset null '<null>'
SELECT pgq.create_queue('cached');
SELECT pgq.set_queue_config('cached', p, '0')
FROM (VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
SELECT pgq.register_consumer('cached', 'cached_c');
SELECT pgq.start_capture('regress_cached');
CREATE TABLE cached_t (id int PRIMARY KEY, v text);
CREATE TABLE cached_c (id int PRIMARY KEY, v text);
CREATE TRIGGER cached AFTER INSERT OR UPDATE ON cached_t
	FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('cached', 'ev_extra4=upper(v)', 'when=id < 100');
SELECT pgq.capture_table('cached', 'cached_c', 'format=sql', 'ev_extra1=upper(v)');
CREATE FUNCTION cached_ingest() RETURNS int8 LANGUAGE sql AS $$
	SELECT pgq.ingest('regress_cached',
		(SELECT max(pos_lsn) FROM pgq.position WHERE pos_slot = 'regress_cached'),
		pg_current_wal_lsn(), string_agg(data, ''))
	FROM pg_logical_slot_get_binary_changes('regress_cached', NULL, NULL, 'format', 'frames')
$$;
SELECT set_config(name, least(max_val, '1'), false) IS NOT NULL AS asked
FROM pg_settings WHERE name = 'debug_discard_caches';

-- in
SELECT pgq.insert_event('cached', 'three', 'arguments') IS NOT NULL;
SELECT pgq.insert_event('cached', 'seven', '', '1', '2', '3', '4') IS NOT NULL;
BEGIN;
SELECT pgq.insert_event('cached', 'kept', '') IS NOT NULL;
SAVEPOINT a;
SELECT pgq.insert_event('cached', 'gone', '') IS NOT NULL;
ROLLBACK TO a;
SELECT pgq.insert_event('cached', 'kept', '') IS NOT NULL;
COMMIT;
INSERT INTO cached_t VALUES (1, 'a'), (100, 'none');
UPDATE cached_t SET v = 'b' WHERE id = 1;
INSERT INTO cached_c VALUES (1, 'a'), (2, 'b');
UPDATE cached_c SET v = 'c' WHERE id = 1;
SELECT pgq.emit_event('cached', 'emitted', 'x');
SELECT cached_ingest();

-- another insert_event
BEGIN;
CREATE OR REPLACE FUNCTION pgq.insert_event(
	queue_name text, ev_type text, ev_data text,
	ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
RETURNS int8 LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'insert_event(%, %, %, %)', queue_name, ev_type, ev_data, ev_extra4;
	RETURN -1;
END $$;
SELECT pgq.insert_event('cached', 'type', 'data');
INSERT INTO cached_t VALUES (3, 'c');
ROLLBACK;
INSERT INTO cached_t VALUES (4, 'd');

-- out
SELECT pgq.ticker('cached') IS NOT NULL AS ticked;
SELECT pgq.next_batch('cached', 'cached_c') AS b \gset
SELECT ev_type, ev_data, ev_extra1, ev_extra4 FROM pgq.get_batch_events(:b);
SELECT ev_type FROM pgq.get_batch_cursor(:b, 'c', 2) \g /dev/null
SELECT min(ev_id) AS id FROM pgq.get_batch_events(:b) \gset
SELECT pgq.event_retry(:b, :id, 0), pgq.event_dead(:b, :id + 1, 'no');
SELECT pgq.finish_batch(:b);
SELECT pgq.maint_retry_events();
SELECT pgq.ticker() > 0 AS ticked;
SELECT pgq.next_batch('cached', 'cached_c') AS b \gset
SELECT ev_type, ev_retry FROM pgq.get_batch_events(:b);

RESET debug_discard_caches;
DROP TABLE cached_t, cached_c;
DROP FUNCTION cached_ingest;
SELECT pgq.drop_queue('cached', true);
SELECT pgq.stop_capture();
