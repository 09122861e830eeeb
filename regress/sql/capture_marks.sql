-- A mark holds from its commit on, for the changes that come after it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE SCHEMA cap;
SET search_path = cap, public;
\pset format unaligned
\pset tuples_only on

CREATE VIEW got AS
SELECT data::json ->> 'queue' AS queue, data::json ->> 'ev_type' AS ev_type,
	data::json ->> 'ev_data' AS ev_data
FROM pg_logical_slot_get_changes('cap_slot', NULL, NULL);

SELECT pgq.create_queue('cap_q'), pgq.create_queue('cap_q"2');
SELECT pgq.start_capture('cap_slot');
CREATE TABLE t (id int PRIMARY KEY, a text);

-- before, from then on, replaced, and after
INSERT INTO t VALUES (1, 'before');
SELECT pgq.capture_table('cap_q', 't', 'format=urlenc');
INSERT INTO t VALUES (2, 'captured');
SELECT pgq.capture_table('cap_q"2', 't', 'format=sql', 'ops=insert,delete');
INSERT INTO t VALUES (3, 'in both');
UPDATE t SET a = 'updated' WHERE id = 3;
SELECT pgq.capture_table('cap_q', 't', 'format=sql');
INSERT INTO t VALUES (4, 'in both, as sql');
SELECT pgq.uncapture_table('cap_q"2', 't');
INSERT INTO t VALUES (5, 'in one');
DELETE FROM t WHERE id = 1;
TRUNCATE t;
SELECT pgq.uncapture_table('cap_q', 't');
INSERT INTO t VALUES (6, 'in none');
-- all of it is decoded only now, each change with the marks of its time
SELECT * FROM got;

-- a mark and writes in one transaction
BEGIN;
CREATE TABLE fresh (id int PRIMARY KEY);
SELECT pgq.capture_table('cap_q', 'fresh', 'format=sql');
INSERT INTO fresh VALUES (1);
SAVEPOINT s;
INSERT INTO fresh VALUES (2);
ROLLBACK TO s;
INSERT INTO fresh VALUES (3);
COMMIT;
-- marks that were rolled back were never there
BEGIN;
SELECT pgq.capture_table('cap_q', 't');
ROLLBACK;
BEGIN;
SELECT pgq.uncapture_table('cap_q', 'fresh');
ROLLBACK;
INSERT INTO t VALUES (7, 'in none');
INSERT INTO fresh VALUES (4);
SELECT * FROM got;

-- a table that is dropped, made again, and not captured again
DROP TABLE fresh;
CREATE TABLE fresh (id int PRIMARY KEY);
INSERT INTO fresh VALUES (5);
SELECT * FROM got;

-- a queue with its marks dropped and made again
SELECT pgq.capture_table('cap_q', 'fresh', 'format=sql');
INSERT INTO fresh VALUES (6);
SELECT pgq.drop_queue('cap_q', true);
INSERT INTO fresh VALUES (7);
SELECT pgq.create_queue('cap_q');
INSERT INTO fresh VALUES (8);
SELECT * FROM got;

-- what the events lack is told
CREATE TABLE short (id int PRIMARY KEY, a varchar(9));
CREATE TABLE long (id int PRIMARY KEY, a text, b text, c int);
CREATE TABLE long_full (LIKE long INCLUDING ALL);
ALTER TABLE long_full REPLICA IDENTITY FULL;
CREATE TABLE log (a text);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child () INHERITS (parent);
SELECT pgq.capture_table('cap_q', 'short'),
	pgq.capture_table('cap_q', 'long', 'ignore=b'),
	pgq.capture_table('cap_q"2', 'long', 'ops=insert'),
	pgq.capture_table('cap_q', 'long_full', 'backup'),
	pgq.capture_table('cap_q', 'log', 'ops=insert'),
	pgq.capture_table('cap_q', 'parent');
SELECT queue_name, table_name, arguments, replica_identity, state,
	array_to_string(array_remove(warnings,
		'Nobody reads the slot: is pgqd running?'), ' / ')
FROM pgq.get_capture_info();

-- looking keeps no locks: there may be more tables than room for them
CREATE TABLE root (id int PRIMARY KEY, a text) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
SELECT pgq.capture_table('cap_q', 'root');
BEGIN;
SELECT table_name, replica_identity, state FROM pgq.get_capture_info('cap_q')
WHERE table_name = 'cap.root';
SELECT relation::regclass FROM pg_locks
WHERE pid = pg_backend_pid() AND relation IN (
	SELECT oid FROM pg_class WHERE relnamespace = 'cap'::regnamespace);
COMMIT;

SELECT pgq.stop_capture();
SELECT pgq.drop_queue('cap_q', true), pgq.drop_queue('cap_q"2', true);
DROP SCHEMA cap CASCADE;
