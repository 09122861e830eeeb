-- Events through the WAL alone.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\pset null '<null>'

SELECT pgq.create_queue('emit_q');

-- not without a slot
SELECT pgq.emit_event('emit_q', 'type', 'data');
BEGIN;
SAVEPOINT a;
INSERT INTO pgq.slot (slot_name, slot_sysid) VALUES ('regress_none', 0);
SELECT pgq.emit_event('emit_q', 'type', 'data');
ROLLBACK TO a;
SELECT pgq.emit_event('emit_q', 'type', 'data');
ROLLBACK;
SELECT pgq.start_capture('regress_emit');

CREATE FUNCTION emit_seen(OUT type text, OUT data text, OUT extra1 text, OUT extra4 text)
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT e->>'ev_type', e->>'ev_data', e->>'ev_extra1', e->>'ev_extra4'
    FROM pg_logical_slot_get_changes('regress_emit', NULL, NULL) s,
         LATERAL (SELECT s.data::json AS e) j
$$;

-- in order with the changes of tables, and gone with what is rolled back
CREATE TABLE emit_t (id int PRIMARY KEY);
SELECT pgq.capture_table('emit_q', 'emit_t', 'format=sql');
BEGIN;
INSERT INTO emit_t VALUES (1);
SELECT pgq.emit_event('emit_q', 'type', 'data', 'e1', i_extra4 => 'e4');
INSERT INTO emit_t VALUES (2);
SAVEPOINT a;
SELECT pgq.emit_event('emit_q', 'gone', 'data');
ROLLBACK TO a;
SELECT pgq.emit_events('emit_q', '{a,b}', '{1,NULL}');
COMMIT;
BEGIN;
SELECT pgq.emit_event('emit_q', 'gone', 'data');
ROLLBACK;
SELECT pgq.emit_event('emit_q', NULL, repeat('long', 100000));
SELECT type, left(data, 40) AS data, length(data), extra1, extra4 FROM emit_seen();

-- among changes of other subtransactions, which the server would put in front
BEGIN;
INSERT INTO emit_t VALUES (11);
SAVEPOINT a;
SELECT pgq.emit_event('emit_q', 'in a', '12');
RELEASE a;
INSERT INTO emit_t VALUES (13);
SAVEPOINT b;
INSERT INTO emit_t VALUES (14);
RELEASE b;
SELECT pgq.emit_event('emit_q', 'on top', '15');
SAVEPOINT c;
INSERT INTO emit_t VALUES (16);
SAVEPOINT d;
SELECT pgq.emit_event('emit_q', 'in d', '17');
SAVEPOINT e;
INSERT INTO emit_t VALUES (18);
COMMIT;
SELECT type, data FROM emit_seen();

-- nobody can forge one: the secret is nobody's, and what lacks it is nothing
CREATE ROLE regress_emit_writer IN ROLE pgq_writer;
CREATE ROLE regress_emit_other;
SET ROLE regress_emit_other;
SELECT pgq.emit_event('emit_q', 'type', 'data');
SELECT * FROM pgq.secret;
SELECT pg_logical_emit_message(true, 'pgq.event', '') IS NOT NULL AS sent;
SELECT pg_logical_emit_message(true, 'pgq.event', repeat('x', 500)) IS NOT NULL AS sent;
SELECT pg_logical_emit_message(false, 'pgq.event', repeat('x', 500)) IS NOT NULL AS sent;
SELECT pg_logical_emit_message(true, 'pgq.marker', 'x') IS NOT NULL AS sent;
RESET ROLE;
SET ROLE regress_emit_writer;
SELECT * FROM pgq.secret;
SELECT pgq.emit_event('emit_q', 'genuine', 'data');
RESET ROLE;
SELECT type FROM emit_seen();
DROP ROLE regress_emit_writer, regress_emit_other;

-- a new secret counts from its commit on
SELECT pgq.emit_event('emit_q', 'old secret', 'data');
UPDATE pgq.secret SET secret = decode(repeat('ab', 32), 'hex');
SELECT pgq.emit_event('emit_q', 'new secret', 'data');
SELECT type FROM emit_seen();

-- refusals
SELECT pgq.emit_event('no such queue', 'type', 'data');
SELECT pgq.emit_event(NULL, 'type', 'data');
SELECT pgq.emit_events('emit_q', '{a,b}', '{1}');
SELECT pgq.emit_events('emit_q', NULL, '{1}');
UPDATE pgq.queue SET queue_disable_insert = true WHERE queue_name = 'emit_q';
SELECT pgq.emit_event('emit_q', 'type', 'data');
BEGIN READ ONLY;
SELECT pgq.emit_event('emit_q', 'type', 'data');
ROLLBACK;
SELECT type FROM emit_seen();

-- a queue does not get what was on its way to another of its name
SELECT pgq.create_queue('emit_again');
SELECT pgq.capture_table('emit_again', 'emit_t');
INSERT INTO emit_t VALUES (100);
SELECT pgq.emit_event('emit_again', 'to the old one', '');
SELECT pgq.emit_event('emit_again', 'to the old one', repeat('long', 100000));
SELECT pgq.drop_queue('emit_again', true), pgq.create_queue('emit_again');
INSERT INTO emit_t VALUES (101);
SELECT pgq.capture_table('emit_again', 'emit_t');
INSERT INTO emit_t VALUES (102);
BEGIN;
SELECT pgq.drop_queue('emit_again', true), pgq.create_queue('emit_again');
SELECT pgq.emit_event('emit_again', 'to the new one', i) FROM (VALUES ('1'), ('2')) i(i);
COMMIT;
SELECT pgq.emit_event('emit_again', 'to the new one', repeat('long', 100000));
SELECT pgq.ingest('regress_emit',
		(SELECT max(pos_lsn) FROM pgq.position WHERE pos_slot = 'regress_emit'),
		pg_current_wal_lsn(), string_agg(data, ''))
FROM pg_logical_slot_peek_binary_changes('regress_emit', NULL, NULL, 'format', 'frames');
SELECT pgq.current_event_table('emit_again') AS again \gset
SELECT ev_type, left(ev_data, 10) AS ev_data FROM :again ORDER BY ev_id;
-- what is known of another server says nothing
TRUNCATE :again;
UPDATE pgq.queue SET queue_origin = 0 WHERE queue_name = 'emit_again';
SELECT pgq.ingest('regress_emit',
		(SELECT max(pos_lsn) FROM pgq.position WHERE pos_slot = 'regress_emit'),
		pg_current_wal_lsn(), string_agg(data, ''))
FROM pg_logical_slot_get_binary_changes('regress_emit', NULL, NULL, 'format', 'frames');
SELECT ev_type, left(ev_data, 10) AS ev_data FROM :again ORDER BY ev_id;

DROP TABLE emit_t;
SELECT pgq.drop_queue('emit_again');
DROP FUNCTION emit_seen;
SELECT pgq.drop_queue('emit_q');
SELECT pgq.stop_capture();
