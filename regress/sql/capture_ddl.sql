-- Marks stay true when tables are altered, moved, renamed or dropped.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE SCHEMA cap;
SET search_path = cap, public;
\pset format unaligned
\pset tuples_only on

-- Runs a command and tells how it was refused.
CREATE FUNCTION cap.try(cmd text) RETURNS text AS $$
DECLARE
	message text;
	detail text;
	hint text;
	result text;
BEGIN
	IF cmd ~* '^select' THEN
		EXECUTE cmd INTO result;
	ELSE
		EXECUTE cmd;
	END IF;
	RETURN 'accepted' || coalesce(': ' || result, '');
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN format('%s: %s', SQLSTATE, message)
		|| coalesce(E'\n  DETAIL ' || nullif(detail, ''), '')
		|| coalesce(E'\n  HINT ' || nullif(hint, ''), '');
END;
$$ LANGUAGE plpgsql;

SELECT pgq.create_queue('cap_q');
SELECT pgq.start_capture('cap_slot');
CREATE TABLE t (id int, a text, b int, c int, PRIMARY KEY (id));
SELECT pgq.capture_table('cap_q', 't', 'ignore=a');

-- what the capture needs stays as it is
SELECT cmd, cap.try('alter table cap.t ' || cmd) FROM unnest('{
	drop column id,drop constraint t_pkey,drop column a,
	alter id type bigint,alter a type varchar(9),
	replica identity nothing,set unlogged,set schema pgq
	}'::text[]) AS cmd;
-- the rest is free
SELECT cmd, cap.try('alter table cap.t ' || cmd) FROM unnest('{
	drop column c,add column d int,rename b to e,rename id to k,alter e type bigint,
	alter e set default 1,replica identity full,replica identity default
	}'::text[]) AS cmd;
-- another key in one command is a key
ALTER TABLE t ADD UNIQUE (e), ALTER e SET NOT NULL;
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (e);
INSERT INTO t (k, e) VALUES (0, 1);
UPDATE t SET k = k + 1;
SELECT data::json ->> 'ev_type', data::json ->> 'ev_data'
FROM pg_logical_slot_get_changes('cap_slot', NULL, NULL);
DELETE FROM t;
SELECT count(*) FROM pg_logical_slot_get_changes('cap_slot', NULL, NULL);
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_pkey PRIMARY KEY (k);

-- the mark goes where the table goes
ALTER TABLE t RENAME TO t2;
CREATE SCHEMA cap2;
ALTER TABLE t2 SET SCHEMA cap2;
ALTER SCHEMA cap2 RENAME TO cap3;
SELECT table_name, state FROM pgq.get_capture_info('cap_q');
INSERT INTO cap3.t2 (k) VALUES (1);
SELECT data::json ->> 'ev_extra1', data::json ->> 'ev_data'
FROM pg_logical_slot_get_changes('cap_slot', NULL, NULL);
DROP SCHEMA cap3 CASCADE;
SELECT count(*) FROM pgq.get_capture_info('cap_q');
SELECT count(*) FROM pgq.capture;

-- an identity that is an index
CREATE TABLE i (id int PRIMARY KEY, u int NOT NULL);
CREATE UNIQUE INDEX i_u ON i (u);
CREATE INDEX i_other ON i (u, id);
ALTER TABLE i REPLICA IDENTITY USING INDEX i_u;
SELECT pgq.capture_table('cap_q', 'i', 'pkey=u');
SELECT cap.try('drop index cap.i_u');
SET search_path = cap;
DROP INDEX CONCURRENTLY i_u;
SELECT cap.try('drop index cap.i_other');
CREATE INDEX i_other ON i (u, id);
DROP INDEX CONCURRENTLY i_other;
SELECT state FROM pgq.get_capture_info('cap_q');
SELECT cap.try('alter index cap.i rename to i2');
SELECT table_name FROM pgq.get_capture_info('cap_q');
DROP TABLE i2;

-- columns that go with their type or their extension
CREATE TYPE color AS ENUM ('red');
CREATE TABLE e (id int PRIMARY KEY, c color, d color);
SELECT pgq.capture_table('cap_q', 'e', 'ignore=c');
SELECT cap.try('drop type cap.color cascade');
SELECT pgq.capture_table('cap_q', 'e');
SELECT cap.try('drop type cap.color cascade');
SELECT table_name, arguments, state FROM pgq.get_capture_info('cap_q');

-- a table of a type
CREATE TYPE row_type AS (id int, a text);
CREATE TABLE typed OF row_type (PRIMARY KEY (id));
SELECT pgq.capture_table('cap_q', 'typed', 'ignore=a');
SELECT cap.try('alter type cap.row_type alter attribute a type varchar cascade');
SELECT cap.try('alter type cap.row_type drop attribute a cascade');
SELECT cap.try('alter type cap.row_type add attribute b int cascade');

-- a type that no captured table is of, and an index of another table
CREATE TYPE other_type AS (id int, a text);
SELECT cap.try('alter type cap.other_type alter attribute id type bigint');
CREATE TABLE named (id int PRIMARY KEY, k int NOT NULL UNIQUE, a text, b text);
ALTER TABLE named REPLICA IDENTITY USING INDEX named_k_key;
SELECT pgq.capture_table('cap_q', 'named', 'pkey=k', 'ignore=a');
CREATE TABLE other (id int PRIMARY KEY, a text);
CREATE INDEX other_a ON other (a);
-- though a capture is broken, behind our back
ALTER EVENT TRIGGER pgq_capture_drop DISABLE;
ALTER EVENT TRIGGER pgq_capture_ddl DISABLE;
ALTER TABLE named DROP COLUMN a;
ALTER EVENT TRIGGER pgq_capture_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER pgq_capture_ddl ENABLE ALWAYS;
SELECT state, warnings[1] FROM pgq.get_capture_info('cap_q')
WHERE table_name = 'cap.named';
SELECT cap.try('alter type cap.other_type add attribute b int');
SELECT cap.try('drop index cap.other_a');
-- its own changes are looked at
SELECT cap.try('alter table cap.named drop column b');
SELECT cap.try('alter table cap.named drop constraint named_k_key');
SELECT pgq.uncapture_table('cap_q', 'named');
DROP TABLE named, other;
DROP TYPE other_type;

-- partitions: changes above and below the marked table
CREATE TABLE root (id int, a int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE TABLE leaf2 (a int, id int NOT NULL);
ALTER TABLE leaf2 REPLICA IDENTITY NOTHING;
SELECT pgq.capture_table('cap_q', 'root', 'ignore=a');
SELECT cmd, cap.try(cmd) FROM unnest('{
	alter table cap.leaf1 replica identity nothing,
	alter table cap.leaf1 set unlogged,
	alter table cap.root attach partition cap.leaf2 for values from (10) to (20),
	alter table cap.root alter a type bigint,
	create unlogged table cap.leaf3 partition of cap.root for values from (20) to (30)
	}'::text[]) AS cmd;
ALTER TABLE leaf2 REPLICA IDENTITY DEFAULT;
ALTER TABLE root ATTACH PARTITION leaf2 FOR VALUES FROM (10) TO (20);
INSERT INTO root VALUES (1, 1), (11, 1);
ALTER TABLE root RENAME TO root2;
INSERT INTO root2 VALUES (2, 1), (12, 1);
ALTER TABLE root2 DETACH PARTITION leaf2;
INSERT INTO leaf2 VALUES (1, 13);
SELECT data::json ->> 'ev_extra1', data::json ->> 'ev_data'
FROM pg_logical_slot_get_changes('cap_slot', NULL, NULL);
-- leaf2 is on its own now
ALTER TABLE leaf2 REPLICA IDENTITY NOTHING;

-- the triggers hold in a replica's session, and for whoever may alter
SET session_replication_role = replica;
SELECT cap.try('alter table cap.root2 drop constraint root_pkey');
RESET session_replication_role;
CREATE ROLE cap_owner;
GRANT USAGE, CREATE ON SCHEMA cap TO cap_owner;
ALTER TABLE root2 OWNER TO cap_owner;
SET ROLE cap_owner;
SELECT cap.try('alter table cap.root2 drop constraint root_pkey');
SELECT cap.try('alter table cap.root2 rename to root3');
SELECT cap.try('drop table cap.root3');
RESET ROLE;

-- a dropped mark can be rolled back
BEGIN;
DROP TABLE e;
SELECT table_name FROM pgq.get_capture_info('cap_q');
ROLLBACK;
SELECT table_name FROM pgq.get_capture_info('cap_q');

-- a mark of a table that was dropped behind our back
ALTER EVENT TRIGGER pgq_capture_drop DISABLE;
DROP TABLE e;
ALTER EVENT TRIGGER pgq_capture_drop ENABLE ALWAYS;
SELECT cap_relid AS gone FROM pgq.capture c
WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = cap_relid) \gset
SELECT replace(table_name, :'gone', 'gone'), state,
	replace(warnings[1], :'gone', 'gone')
FROM pgq.get_capture_info('cap_q') WHERE state = 'broken';
SELECT pgq.uncapture_table('cap_q', :gone);

-- the extension goes with its triggers, and marks with the queue
SELECT cap.try($$select pgq.drop_queue('cap_q')$$);
SELECT cap.try($$select pgq.drop_queue('cap_q', true)$$);
SELECT count(*) FROM pgq.get_capture_info();
SELECT evtname, evtenabled FROM pg_event_trigger WHERE evtname ~ '^pgq'
ORDER BY 1;
SELECT pgq.stop_capture();
SET client_min_messages = warning;
DROP SCHEMA cap CASCADE;
DROP ROLE cap_owner;
