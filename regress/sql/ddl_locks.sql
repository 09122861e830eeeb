-- DDL on other tables neither locks captured ones nor looks through their marks.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
\pset format unaligned
\pset tuples_only on
SELECT pgq.create_queue('locks_q');
SELECT pgq.start_capture('locks_slot');
CREATE SCHEMA locks;
SET search_path = locks, public;
CREATE TABLE cap1 (id int PRIMARY KEY);
CREATE TABLE cap2 (id int PRIMARY KEY);
CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE TABLE leaf2 PARTITION OF root FOR VALUES FROM (10) TO (20);
SELECT count(pgq.capture_table('locks_q', t)) FROM unnest('{cap1,cap2,root}'::regclass[]) t;
CREATE TABLE dropped (id int PRIMARY KEY, v int);
CREATE INDEX dropped_v ON dropped (v);
CREATE TABLE altered (id int PRIMARY KEY, v int);
CREATE TABLE moved (id int PRIMARY KEY);

-- Relations of ours and captured ones that this transaction has locked; scans
-- of all marks.
CREATE VIEW touched AS
SELECT 'locked ' || c.relname
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.mode <> 'AccessShareLock'
  AND (c.relname IN ('cap1', 'cap2', 'root', 'leaf1', 'leaf2')
	OR c.relnamespace = 'pgq'::regnamespace)
UNION ALL
SELECT 'read ' || s.relname
FROM pg_locks l JOIN pg_class s ON s.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.mode = 'AccessShareLock'
  AND (s.relname IN ('cap1', 'cap2', 'root', 'leaf1', 'leaf2')
	OR s.relnamespace = 'pgq'::regnamespace)
UNION ALL
SELECT 'scanned ' || relname FROM pg_stat_xact_user_tables
WHERE schemaname = 'pgq' AND seq_scan > 0 AND relname LIKE 'capture%'
ORDER BY 1;

-- a new session: it has scanned nothing
\c -
SET client_min_messages = warning;
SET search_path = locks, public;
BEGIN;
CREATE TABLE new (id int PRIMARY KEY);
CREATE TABLE filled AS SELECT 1 AS id;
CREATE TEMP TABLE passing (id int PRIMARY KEY);
DROP TABLE passing;
DROP INDEX dropped_v;
DROP TABLE dropped;
ALTER TABLE altered ALTER v TYPE bigint, DROP CONSTRAINT altered_pkey;
ALTER TABLE altered RENAME v TO w;
CREATE SCHEMA locks_new CREATE TABLE t (id int);
ALTER SCHEMA locks_new RENAME TO locks_new2;
ALTER TABLE moved SET SCHEMA locks_new2;
DROP SCHEMA locks_new2 CASCADE;
SELECT * FROM touched;
ROLLBACK;

-- one partition, its marks are the root's
BEGIN;
ALTER TABLE leaf1 SET (fillfactor = 90);
SELECT * FROM touched;
ROLLBACK;
BEGIN;
ALTER TABLE leaf1 REPLICA IDENTITY FULL;
SELECT * FROM touched;
ROLLBACK;
-- what is about it is still refused
ALTER TABLE leaf1 REPLICA IDENTITY NOTHING;
ALTER TABLE cap1 DROP CONSTRAINT cap1_pkey;
-- an index that goes with what it was made of, of a table and of a partition
CREATE OPERATOR CLASS locks_ops FOR TYPE int USING btree AS FUNCTION 1 btint4cmp(int, int);
CREATE TABLE key (id int NOT NULL);
CREATE UNIQUE INDEX key_id ON key (id locks_ops);
ALTER TABLE key REPLICA IDENTITY USING INDEX key_id;
SELECT pgq.capture_table('locks_q', 'key', 'pkey=id');
DROP OPERATOR CLASS locks_ops USING btree CASCADE;
ALTER TABLE leaf2 REPLICA IDENTITY FULL;
CREATE UNIQUE INDEX leaf2_id ON leaf2 (id locks_ops);
ALTER TABLE leaf2 REPLICA IDENTITY USING INDEX leaf2_id;
SELECT pgq.uncapture_table('locks_q', 'key');
DROP OPERATOR CLASS locks_ops USING btree CASCADE;
SELECT table_name, state FROM pgq.get_capture_info('locks_q');

SELECT pgq.drop_queue('locks_q', true);
SELECT pgq.stop_capture('locks_slot');
DROP SCHEMA locks CASCADE;
