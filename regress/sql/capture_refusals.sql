-- What cannot be captured is refused at once, with the reason and the way out.
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

CREATE TABLE t (id int PRIMARY KEY, a text, b int);
SELECT pgq.create_queue('cap_q');

SELECT cap.try($$select pgq.capture_table('cap_q', 't')$$);
SELECT pgq.start_capture('cap_slot');

-- names
SELECT cap.try($$select pgq.capture_table('cap_none', 't')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'none')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 1)$$);
SELECT cap.try($$select pgq.uncapture_table('cap_q', 1)$$);
SELECT cap.try($$select pgq.capture_table(null, 't')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', null)$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 't', variadic null)$$);
SELECT cap.try($$select pgq.uncapture_table(null, 't')$$);

-- an expression that the parser stumbles over leaves nothing behind
BEGIN;
SELECT pgq._capture_problem('t', '{when=id = int ''x''}');
COMMIT;

-- what is no table, or is not in the WAL
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE TEMP TABLE temporary (id int PRIMARY KEY);
CREATE VIEW view AS SELECT * FROM t;
CREATE MATERIALIZED VIEW matview AS SELECT * FROM t;
CREATE SEQUENCE seq;
CREATE TYPE comp AS (i int);
CREATE FOREIGN DATA WRAPPER cap_wrapper;
CREATE SERVER cap_server FOREIGN DATA WRAPPER cap_wrapper;
CREATE FOREIGN TABLE remote (id int) SERVER cap_server;
SELECT name, regexp_replace(
	cap.try(format('select pgq.capture_table(''cap_q'', %L)', name)),
	'pg_temp_[0-9]+', 'pg_temp')
FROM unnest('{unlogged,temporary,view,matview,seq,t_pkey,comp,remote,
	pg_catalog.pg_class,information_schema.sql_features,pgq.queue,
	pgq.capture,pgq.event_template}'::text[]) AS name;
SELECT left(cap.try(format('select pgq.capture_table(''cap_q'', %L)',
	queue_data_pfx || '_0')), 5) FROM pgq.queue WHERE queue_name = 'cap_q';

-- arguments
SELECT arg, cap.try(format('select pgq.capture_table(''cap_q'', ''t'', %L)', arg))
FROM unnest('{SKIP,skip,deny,nonsense,format=xml,ops=,ops=merge,
	origin=some,when=true,ev_type=a,ev_data=a,ev_extra1=a,ev_extra4=a,
	ignore=none,columns=none,pkey=none,"ignore=a,A"}'::text[]) AS arg;
SELECT cap.try($$select pgq.capture_table('cap_q', 't', 'ops=insert', null)$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 't', variadic '{{a},{b}}')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 't',
	'ignore=' || repeat('a,', 3500))$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 't', 'ignore= a , b')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 't',
	'ignore=' || repeat('a,', 3400))$$);

-- no key, or one that old rows do not have
CREATE TABLE nokey (id int NOT NULL, a text NOT NULL);
SELECT cap.try($$select pgq.capture_table('cap_q', 'nokey')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'nokey', 'ops=delete')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'nokey', 'pkey=')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'nokey', 'pkey=id')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'nokey',
	'ops=insert,truncate')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'nokey', 'ops=insert',
	'backup')$$);
ALTER TABLE nokey REPLICA IDENTITY FULL;
SELECT cap.try($$select pgq.capture_table('cap_q', 'nokey')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'nokey', 'backup',
	'pkey=id, a')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 't', 'pkey=a')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 't', 'pkey=id,a')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 't', 'backup')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 't', 'backup',
	'ops=delete')$$);

CREATE TABLE nothing (id int PRIMARY KEY);
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
SELECT cap.try($$select pgq.capture_table('cap_q', 'nothing')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'nothing', 'ops=insert')$$);

CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
SELECT cap.try($$select pgq.capture_table('cap_q', 'deferred')$$);

CREATE TABLE included (id int, a int, PRIMARY KEY (id) INCLUDE (a));
SELECT cap.try($$select pgq.capture_table('cap_q', 'included')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'included', 'pkey=a')$$);

CREATE TABLE by_index (id int PRIMARY KEY, a int NOT NULL UNIQUE);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_a_key;
SELECT cap.try($$select pgq.capture_table('cap_q', 'by_index')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'by_index', 'pkey=a')$$);

-- partitions: the key is the root's, the identity each leaf's
CREATE TABLE root (id int, a int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (10);
CREATE TABLE middle PARTITION OF root FOR VALUES FROM (10) TO (20)
	PARTITION BY RANGE (id);
CREATE TABLE leaf2 (a int, id int NOT NULL);
ALTER TABLE middle ATTACH PARTITION leaf2 FOR VALUES FROM (10) TO (15);
ALTER TABLE leaf2 REPLICA IDENTITY NOTHING;
SELECT cap.try($$select pgq.capture_table('cap_q', 'root')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'leaf1')$$);
ALTER TABLE leaf2 REPLICA IDENTITY DEFAULT;
SELECT cap.try($$select pgq.capture_table('cap_q', 'root', 'backup')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'root')$$);
ALTER TABLE leaf2 REPLICA IDENTITY FULL;

CREATE TABLE root2 (id int) PARTITION BY RANGE (id);
SELECT cap.try($$select pgq.capture_table('cap_q', 'root2')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'root2', 'ops=insert')$$);
CREATE FOREIGN TABLE leaf3 (id int) SERVER cap_server;
SELECT cap.try($$alter table root2 attach partition leaf3
	for values from (0) to (10)$$);

-- a transaction is captured whole or not at all
CREATE TABLE w (id int PRIMARY KEY);
BEGIN;
INSERT INTO w VALUES (1);
SELECT cap.try($$select pgq.capture_table('cap_q', 'w')$$);
SELECT cap.try($$select pgq.uncapture_table('cap_q', 'w')$$);
ROLLBACK;
BEGIN;
TRUNCATE w;
SELECT cap.try($$select pgq.capture_table('cap_q', 'w')$$);
ROLLBACK;
BEGIN;
CREATE TABLE w2 AS SELECT 1 AS id;
ALTER TABLE w2 ADD PRIMARY KEY (id);
SELECT cap.try($$select pgq.capture_table('cap_q', 'w2')$$);
ROLLBACK;
BEGIN;
INSERT INTO leaf2 VALUES (11, 11);
SELECT cap.try($$select pgq.uncapture_table('cap_q', 'root')$$);
ROLLBACK;
-- a savepoint that was rolled back did not write, a new table is empty
BEGIN;
SAVEPOINT s;
INSERT INTO w VALUES (1);
ROLLBACK TO s;
CREATE TABLE w2 (id int PRIMARY KEY);
SELECT pgq.capture_table('cap_q', 'w2'), pgq.capture_table('cap_q', 'w');
COMMIT;

BEGIN READ ONLY;
SELECT cap.try($$select pgq.capture_table('cap_q', 't')$$);
SELECT cap.try($$select pgq.uncapture_table('cap_q', 't')$$);
ROLLBACK;

SELECT queue_name, table_name,
	CASE WHEN length(arguments::text) > 100 THEN '(long)'
		ELSE arguments::text END,
	replica_identity, state, array_to_string(warnings, ' / ')
FROM pgq.get_capture_info('cap_q');

-- uncaptured once, and again
SELECT pgq.uncapture_table('cap_q', 't');
SELECT pgq.uncapture_table('cap_q', 't');
SELECT pgq.uncapture_table('cap_none', 't');

SELECT pgq.stop_capture();
SELECT state, warnings[1] FROM pgq.get_capture_info() LIMIT 1;
DROP SCHEMA cap CASCADE;
DROP FOREIGN DATA WRAPPER cap_wrapper CASCADE;
SELECT count(*) FROM pgq.get_capture_info();
SELECT pgq.drop_queue('cap_q');
