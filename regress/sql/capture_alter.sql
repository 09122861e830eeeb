-- What a capture refuses can be done all the same, with the capture kept.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
SELECT pgq.create_queue('alter_q'), pgq.create_queue('alter_q2');
SELECT pgq.start_capture('alter_slot');
CREATE SCHEMA alt;
SET search_path = alt, public;
CREATE VIEW alt.got AS
SELECT concat_ws(' ', data::json ->> 'queue', data::json ->> 'ev_type', data::json ->> 'ev_data')
FROM pg_logical_slot_get_changes('alter_slot', NULL, NULL) WITH ORDINALITY c (lsn, xid, data, n)
ORDER BY n;
CREATE TABLE t (id int PRIMARY KEY, k int NOT NULL, v text);
SELECT pgq.capture_table('alter_q', 't'), pgq.capture_table('alter_q2', 't', 'format=sql');

-- the type of the key, amid rows of the same transaction
BEGIN;
INSERT INTO t VALUES (1, 1, 'old');
COMMIT;
SELECT pgq.alter_captured('alter table t alter id type text');
INSERT INTO t VALUES ('two', 2, 'new');
BEGIN;
INSERT INTO t VALUES ('three', 3, 'before');
SELECT pgq.alter_captured('alter table alt.t alter id type varchar(20); alter table t alter v set default 1');
UPDATE t SET v = 'after' WHERE k = 3;
COMMIT;
TABLE got;
-- another key
ALTER TABLE t DROP CONSTRAINT t_pkey;
SELECT pgq.alter_captured('alter table t drop constraint t_pkey; alter table t add primary key (k)');
UPDATE t SET k = k + 10;
TABLE got;
-- another identity
SELECT pgq.alter_captured('alter table t replica identity nothing; alter table t replica identity full');
DELETE FROM t WHERE k = 11;
TABLE got;
-- a column that the arguments name
SELECT pgq.capture_table('alter_q', 't', 'ignore=v', 'when=k > 5');
ALTER TABLE t DROP COLUMN v;
BEGIN;
SELECT pgq.capture_table('alter_q', 't', 'when=k > 5');
ALTER TABLE t DROP COLUMN v;
COMMIT;
-- a rewrite that an expression does not outlive, and new arguments after it
SELECT pgq.alter_captured('alter table t alter k type text');
BEGIN;
SELECT pgq.capture_table('alter_q', 't');
SELECT pgq.alter_captured('alter table t alter k type text');
SELECT pgq.capture_table('alter_q', 't', 'when=k <> ''13''');
COMMIT;
INSERT INTO t VALUES ('x', '12b'), ('y', '14');
TABLE got;
-- a partition that comes with all it needs
CREATE TABLE root (id int, a text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
SELECT pgq.capture_table('alter_q', 'root', 'backup');
CREATE TABLE p PARTITION OF root FOR VALUES FROM (0) TO (9);
SELECT pgq.alter_captured('create table p partition of root for values from (0) to (9);
	alter table p replica identity full');
INSERT INTO root VALUES (1, 'a');
UPDATE root SET a = 'b';
TABLE got;
-- until it is unlogged the capture is whole
BEGIN;
INSERT INTO p VALUES (2, 'c');
COMMIT;
ALTER TABLE p SET UNLOGGED;
BEGIN;
SELECT pgq.uncapture_table('alter_q', 'root');
ALTER TABLE p SET UNLOGGED;
COMMIT;
INSERT INTO p VALUES (3, 'd');
TABLE got;

-- the end is what counts, for each capture
SELECT pgq.alter_captured('alter table t drop constraint t_pkey');
SELECT pgq.alter_captured('alter table t set unlogged');
SELECT table_name, queue_name, state FROM pgq.get_capture_info() WHERE queue_name ~ '^alter' ORDER BY 2;
-- and after an error all is as before
SELECT pgq.alter_captured('alter table t replica identity nothing; alter table nosuch add i int');
SELECT pgq.alter_captured('alter table t replica identity nothing; alter table');
ALTER TABLE t REPLICA IDENTITY NOTHING;
-- only definitions, once, and where it is allowed
SELECT pgq.alter_captured('alter table t add i int; update t set i = 1');
SELECT pgq.alter_captured('truncate t');
SELECT pgq.alter_captured('commit');
SELECT pgq.alter_captured('create table x as select pgq.alter_captured(''create table y ()'')');
START TRANSACTION READ ONLY;
SELECT pgq.alter_captured('create table x ()');
ROLLBACK;
SELECT pgq.alter_captured('create table not_captured (id int); drop table not_captured');
SELECT pgq.alter_captured('drop table t');
-- with the rights of who calls it
CREATE ROLE alter_other;
GRANT USAGE ON SCHEMA alt TO alter_other;
SET ROLE alter_other;
SELECT pgq.alter_captured('alter table alt.root add i int');
RESET ROLE;
DROP SCHEMA alt CASCADE;
DROP ROLE alter_other;
SELECT pgq.drop_queue('alter_q'), pgq.drop_queue('alter_q2');
SELECT pgq.stop_capture('alter_slot');
