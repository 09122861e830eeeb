-- Capture of whole schemas: tables of now and later.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT pgq.start_capture('regress_schema');
SELECT pgq.create_queue('sch_q'), pgq.create_queue('sch_q2');
CREATE SCHEMA sch;
CREATE TABLE sch.old1 (id int PRIMARY KEY, v text);
CREATE TABLE sch.old2 (id int PRIMARY KEY, v text);
CREATE TABLE sch.own (id int PRIMARY KEY, v text);
CREATE UNLOGGED TABLE sch.unlogged (id int);
SELECT pgq.capture_table('sch_q', 'sch.own', 'format=urlenc');

CREATE FUNCTION sch_captures(OUT tab text, OUT q text, OUT args text[]) RETURNS SETOF record
LANGUAGE sql AS $$
    SELECT table_name, queue_name, arguments FROM pgq.get_capture_info()
    WHERE queue_name LIKE 'sch%' ORDER BY 1, 2
$$;

SELECT pgq.capture_schema('sch_q', 'sch', 'format=sql');
SELECT * FROM sch_captures();

-- later tables, in the same transaction as their first rows
BEGIN;
CREATE TABLE sch.new1 (id int PRIMARY KEY, v text);
INSERT INTO sch.new1 VALUES (1, 'first');
COMMIT;
CREATE TABLE sch.part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE sch.part1 PARTITION OF sch.part FOR VALUES FROM (0) TO (10);
INSERT INTO sch.part VALUES (5);
CREATE TEMP TABLE sch_temp (id int);
CREATE TABLE public.sch_outside (id int);
SELECT * FROM sch_captures();
SELECT s.data::json->>'ev_extra1' AS extra1, s.data::json->>'ev_data' AS data
FROM pg_logical_slot_get_changes('regress_schema', NULL, NULL) s;

-- a table with other arguments, and an exception
SELECT pgq.capture_table('sch_q', 'sch.old1', 'format=json');
SELECT pgq.uncapture_table('sch_q', 'sch.old2');
ALTER TABLE sch.old2 ADD COLUMN w int;
SELECT * FROM sch_captures();

-- tables that are moved in are captured, those that are moved out still are
CREATE SCHEMA sch_else;
CREATE TABLE sch_else.moved (id int PRIMARY KEY, v text);
INSERT INTO sch_else.moved VALUES (1, 'before');
CREATE TABLE sch_else.tree (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE sch_else.tree1 PARTITION OF sch_else.tree FOR VALUES FROM (0) TO (10);
CREATE TABLE sch_else.nokey (id int);
CREATE UNLOGGED TABLE sch_else.volatile (id int);
ALTER TABLE sch_else.moved SET SCHEMA sch;
ALTER TABLE sch_else.tree SET SCHEMA sch;
ALTER TABLE sch_else.volatile SET SCHEMA sch;
ALTER TABLE sch_else.nokey SET SCHEMA sch;
INSERT INTO sch.moved VALUES (2, 'after');
INSERT INTO sch_else.tree1 VALUES (5);
SELECT s.data::json->>'ev_extra1' AS extra1, s.data::json->>'ev_data' AS data
FROM pg_logical_slot_get_changes('regress_schema', NULL, NULL) s;
SELECT * FROM sch_captures();
ALTER TABLE sch.moved SET SCHEMA sch_else;
SELECT * FROM sch_captures() WHERE tab LIKE 'sch_else.%';
-- it has a mark already
ALTER TABLE sch_else.moved SET SCHEMA sch;
SELECT pgq.uncapture_table('sch_q', 'sch.moved');
ALTER TABLE sch.moved ADD COLUMN w int;
SELECT * FROM sch_captures() WHERE tab LIKE '%.moved';
-- a transaction is captured whole or not at all
ALTER TABLE sch.moved SET SCHEMA sch_else;
BEGIN;
INSERT INTO sch_else.moved VALUES (3, 'half');
ALTER TABLE sch_else.moved SET SCHEMA sch;
ROLLBACK;
SELECT * FROM sch_captures() WHERE tab LIKE '%.moved';
SET client_min_messages = warning;
DROP SCHEMA sch_else CASCADE;
DROP TABLE sch.tree, sch.volatile;
RESET client_min_messages;

-- what could not be captured is refused when it is made
CREATE TABLE sch.nokey (id int);
CREATE TABLE sch.filled AS SELECT 1 AS id;
SELECT 1 AS id INTO sch.filled;
SELECT pgq.capture_schema('sch_q2', 'sch', 'ops=insert');
CREATE TABLE sch.nokey (id int);
SELECT pgq.uncapture_schema('sch_q2', 'sch');
SELECT pgq.uncapture_schema('sch_q2', 'sch');

-- the rule goes with the schema
ALTER SCHEMA sch RENAME TO sch_renamed;
CREATE TABLE sch_renamed.new2 (id int PRIMARY KEY);
SELECT * FROM sch_captures();

-- who may
CREATE ROLE regress_sch_owner;
CREATE ROLE regress_sch_writer IN ROLE pgq_writer;
CREATE SCHEMA sch_own AUTHORIZATION regress_sch_owner;
SET ROLE regress_sch_writer;
SELECT pgq.capture_schema('sch_q', 'sch_own');
SELECT pgq._capture_schema_set('sch_q', 'sch_own', '{}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION pgq.capture_schema(text, name, text[]), pgq._capture_schema_set(text, name, text[]) TO regress_sch_owner;
GRANT SELECT ON pgq.capture_schema TO regress_sch_owner;
SET ROLE regress_sch_owner;
SELECT pgq.capture_schema('sch_q', 'sch_own');
RESET ROLE;
GRANT pgq_writer TO regress_sch_owner;
SET ROLE regress_sch_owner;
SELECT pgq.capture_schema('sch_q', 'sch_own');
CREATE TABLE sch_own.mine (id int PRIMARY KEY);
RESET ROLE;
CREATE ROLE regress_sch_other;
GRANT CREATE, USAGE ON SCHEMA sch_own TO regress_sch_other;
SET ROLE regress_sch_other;
CREATE TABLE sch_own.theirs (id int PRIMARY KEY);
RESET ROLE;
SELECT * FROM sch_captures() WHERE tab LIKE 'sch_own%';

-- refusals
SELECT pgq.capture_schema('sch_q', 'nosuch');
SELECT pgq.capture_schema('nosuch', 'sch_renamed');
SELECT pgq.capture_schema('sch_q', 'sch_renamed', 'colour=red');
SELECT pgq.capture_schema('sch_q', 'pg_catalog');
SELECT pgq.capture_schema('sch_q', NULL);
SELECT pgq.capture_schema('sch_q', 'sch_own', 'when=' || repeat('true and ', 1000) || 'true');
SELECT pgq.drop_queue('sch_q');
START TRANSACTION READ ONLY;
SELECT pgq.capture_schema('sch_q', 'sch_own');
ROLLBACK;
START TRANSACTION READ ONLY;
SELECT pgq.uncapture_schema('sch_q', 'sch_renamed');
ROLLBACK;

CREATE EXTENSION pgq_ext;
SELECT pgq.capture_schema('sch_q', 'pgq_ext');
DROP EXTENSION pgq_ext;
SELECT cps_schema FROM pgq.capture_schema;

SELECT pgq.uncapture_schema('sch_q', 'sch_renamed');
SELECT * FROM sch_captures();
SET client_min_messages = warning;
DROP SCHEMA sch_renamed, sch_own CASCADE;
SELECT * FROM pgq.capture_schema;
DROP TABLE sch_outside;
DROP FUNCTION sch_captures;
SELECT pgq.drop_queue('sch_q'), pgq.drop_queue('sch_q2');
SELECT pgq.stop_capture();
DROP OWNED BY regress_sch_owner;
DROP ROLE regress_sch_owner, regress_sch_writer, regress_sch_other;
