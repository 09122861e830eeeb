-- Queues of another server: captures and emit_event name them, nothing is written
-- here.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
\set SHOW_CONTEXT never

CREATE TABLE remote_t (id int PRIMARY KEY, v text);
SELECT pgq.create_queue('remote_local');

-- the slot is for one or the other
SELECT pgq.start_capture('remote_s');
SELECT pgq.declare_remote_queue('remote_q');
SELECT pgq.capture_table('remote_local', 'remote_t');
SELECT pgq.stop_capture();
SELECT pgq.declare_remote_queue('remote_q');
SELECT pgq.start_capture('remote_s');
SELECT pgq.uncapture_table('remote_local', 'remote_t'), pgq.stop_capture();
SELECT pgq.declare_remote_queue('remote_local');
SELECT pgq.declare_remote_queue(NULL);
SELECT pgq.declare_remote_queue('remote_q'), pgq.declare_remote_queue('remote_q');
SELECT pgq.create_queue('remote_q');
SELECT pgq.start_capture('remote_s');
SELECT slot_remote FROM pgq.slot;

-- captured, emitted
SELECT pgq.capture_table('remote_local', 'remote_t');
SELECT pgq.capture_table('remote_none', 'remote_t');
SELECT pgq.capture_table('remote_q', 'remote_t', 'copy');
SELECT pgq.capture_table('remote_q', 'remote_t');
SELECT pgq.capture_transactions('remote_q');
SELECT queue_name, table_name, state FROM pgq.get_capture_info() WHERE queue_name LIKE 'remote%';
INSERT INTO remote_t VALUES (1, 'a');
SELECT pgq.emit_event('remote_q', 'typ', 'emitted');
SELECT pgq.emit_events('remote_q', '{a,b}', '{1,2}');
SELECT pgq.emit_event('remote_local', 'typ', 'emitted');
SELECT s.data::json->>'ev_type' AS type, s.data::json->>'ev_data' AS data
FROM pg_logical_slot_peek_changes('remote_s', NULL, NULL) s
WHERE s.data::json->>'ev_type' !~ 'begin|commit';

-- not inserted
SELECT pgq.insert_event('remote_q', 'typ', 'data');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.insert_event('remote_local', 'typ', 'goes on');
CREATE TRIGGER remote_trig AFTER INSERT ON remote_t FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('remote_q');
INSERT INTO remote_t VALUES (2, 'b');
DROP TRIGGER remote_trig ON remote_t;

-- nor is the slot ingested here; where it is confirmed, its changes are in the queues
SELECT pgq.ingest('remote_s', pos_lsn, pos_lsn + 8, '') FROM pgq.position WHERE pos_slot = 'remote_s';
SELECT i.state, i.events, i."position" = r.confirmed_flush_lsn AS confirmed
FROM pgq.get_slot_info() i JOIN pg_replication_slots r ON r.slot_name = 'remote_s';
SELECT pgq.wait_ingest((SELECT "position" FROM pgq.get_slot_info()));
SELECT pgq.wait_ingest(pg_current_wal_insert_lsn(), '10 ms');
-- a new slot is told of through the WAL; the host has to begin anew with it
SELECT slot, from_lsn IS NOT NULL AS from, queues, copies FROM pgq.resync_capture();
SELECT slot_remote FROM pgq.slot;
SELECT s.data::json->>'ev_type' AS type, (s.data::json->>'ev_data')::json->>'tables' AS tables
FROM pg_logical_slot_peek_changes('remote_s', NULL, NULL) s;

SELECT pgq.drop_remote_queue('remote_q');
SELECT pgq.uncapture_table('remote_q', 'remote_t');
SELECT pgq.drop_remote_queue('remote_q'), pgq.drop_remote_queue('remote_q');
SELECT count(*) FROM pgq.capture_transaction WHERE ctx_queue = 'remote_q';
SELECT pgq.stop_capture();
SELECT pgq.drop_queue('remote_local');
DROP TABLE remote_t;
