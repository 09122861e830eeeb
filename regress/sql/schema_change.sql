-- Changes of the schema are events, in order with those of rows; and nobody's
-- command fails for it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
\pset format unaligned
\pset tuples_only on
SELECT pgq.start_capture('regress_ddl');
SELECT pgq.create_queue('ddl_q'), pgq.create_queue('ddl_q2');
CREATE FUNCTION public.ddl_events() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT replace(concat_ws(' ', e->>'queue', CASE WHEN e->>'ev_type' LIKE '{%' THEN 'row' ELSE e->>'ev_type' END,
        e->>'ev_data', e->>'ev_extra1', e->>'ev_extra2'), session_user, 'ME')
    FROM pg_logical_slot_get_changes('regress_ddl', NULL, NULL) s, LATERAL (SELECT s.data::json AS e) j
$$;
CREATE SCHEMA ddl_s;

-- nobody asked
CREATE TABLE ddl_s.t (id int PRIMARY KEY);
SELECT pgq.capture_table('ddl_q', 'ddl_s.t');
SELECT * FROM ddl_events();

SELECT pgq.capture_ddl('ddl_q');
SELECT pgq.capture_ddl('ddl_q');
BEGIN;
INSERT INTO ddl_s.t VALUES (1);
ALTER TABLE ddl_s.t ADD v varchar(10) NOT NULL DEFAULT '';
INSERT INTO ddl_s.t VALUES (2, 'b');
COMMIT;
SELECT * FROM ddl_events();

-- what is rolled back is in no event
BEGIN;
CREATE TABLE ddl_s.never (id int);
ROLLBACK;
BEGIN;
SAVEPOINT a;
CREATE TABLE ddl_s.never (id int);
ROLLBACK TO a;
CREATE INDEX ddl_i ON ddl_s.t (v);
COMMIT;
-- several objects, renames, types, views, functions, drops
CREATE TABLE ddl_s.serial (id serial PRIMARY KEY, "odd ""name" text);
ALTER TABLE ddl_s.t RENAME COLUMN v TO w;
CREATE VIEW ddl_s.v AS SELECT id FROM ddl_s.t;
CREATE TYPE ddl_s.mood AS ENUM ('a');
CREATE FUNCTION ddl_s.f(int) RETURNS int LANGUAGE sql AS 'select $1';
SELECT * INTO ddl_s.made FROM ddl_s.t;
-- nothing of the schema
COMMENT ON TABLE ddl_s.t IS 'x';
GRANT SELECT ON ddl_s.t TO PUBLIC;
CREATE TEMP TABLE ddl_temp (id int);
ALTER TABLE ddl_temp ADD x int;
DROP TABLE ddl_temp;
SELECT pgq.create_queue('ddl_q3'), pgq.drop_queue('ddl_q3');
DROP VIEW ddl_s.v;
ALTER TABLE ddl_s.serial DROP COLUMN "odd ""name";
DROP TABLE ddl_s.serial, ddl_s.made;
SELECT * FROM ddl_events();

-- a role that may do nothing with queues; two queues
SELECT pgq.capture_ddl('ddl_q2');
CREATE ROLE regress_ddl_joe;
GRANT CREATE, USAGE ON SCHEMA ddl_s TO regress_ddl_joe;
SET ROLE regress_ddl_joe;
CREATE TABLE ddl_s.joes (id int);
SELECT pgq.capture_ddl('ddl_q', false);
RESET ROLE;
SELECT * FROM ddl_events();

-- what can be in no event is a warning
\set SHOW_CONTEXT never
UPDATE pgq.queue SET queue_disable_insert = true WHERE queue_name = 'ddl_q2';
CREATE TABLE ddl_s.disabled (id int);
UPDATE pgq.queue SET queue_disable_insert = false WHERE queue_name = 'ddl_q2';
SELECT * FROM ddl_events();
DROP FUNCTION ddl_events();
SELECT pgq.stop_capture();
CREATE TABLE ddl_s.no_slot (id int);

SELECT pgq.capture_ddl('ddl_q', false), pgq.capture_ddl('ddl_q', false);
SELECT pgq.capture_ddl('none');
SELECT pgq.drop_queue('ddl_q2', true);
SELECT * FROM pgq.capture_ddl;
SELECT pgq.drop_queue('ddl_q', true);
DROP SCHEMA ddl_s CASCADE;
DROP ROLE regress_ddl_joe;
