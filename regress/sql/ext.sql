-- pgq_ext, in the database that a consumer writes to: nothing is done twice.
CREATE DATABASE regress_pgq_target;
\c regress_pgq_target
-- needs no other extension
CREATE EXTENSION pgq_ext;
\set SHOW_CONTEXT never

-- the catalogue
\a
SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ')' AS signature,
	pg_get_function_result(oid) AS result, prosecdef AS definer, proisstrict AS strict,
	proconfig AS settings, obj_description(oid, 'pg_proc') IS NOT NULL AS comment,
	(SELECT string_agg(CASE WHEN a.grantee = 0 THEN 'PUBLIC'
			ELSE pg_get_userbyid(a.grantee)::text END, ' ' ORDER BY a.grantee = 0)
		FROM aclexplode(proacl) a WHERE a.grantee <> proowner) AS granted_to
FROM pg_proc p WHERE pronamespace = 'pgq_ext'::regnamespace
ORDER BY p.proname COLLATE "C", pronargs;
\a
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull,
	pg_get_expr(d.adbin, d.adrelid) AS "default"
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'pgq_ext'::regnamespace AND c.relkind = 'r'
ORDER BY c.relname COLLATE "C", a.attnum;
SELECT conrelid::regclass, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'pgq_ext'::regnamespace AND contype = 'p' ORDER BY 1;
SELECT c.relname, nullif(cond, '') AS filter FROM pg_extension,
	unnest(extconfig, extcondition) AS x(rel, cond) JOIN pg_class c ON c.oid = rel
WHERE extname = 'pgq_ext' ORDER BY c.relname COLLATE "C";
SELECT pgq_ext.upgrade_schema(), pgq_ext.version();

-- ticks
SELECT pgq_ext.get_last_tick('c') AS nothing;
SELECT pgq_ext.set_last_tick('c', 5), pgq_ext.set_last_tick('c', 's', 7);
SELECT pgq_ext.get_last_tick('c'), pgq_ext.get_last_tick('c', 's'), pgq_ext.get_last_tick('c', '');
SELECT pgq_ext.set_last_tick('c', 3);
SELECT pgq_ext.get_last_tick('c');
SELECT pgq_ext.set_last_tick('c', NULL), pgq_ext.set_last_tick('c', NULL);
SELECT pgq_ext.get_last_tick('c') AS nothing, pgq_ext.get_last_tick('c', 's');

-- batches: only the last one is remembered
SELECT pgq_ext.is_batch_done('c', 1), pgq_ext.is_batch_done('c', NULL);
SELECT pgq_ext.set_batch_done('c', 2), pgq_ext.set_batch_done('c', 2);
SELECT pgq_ext.is_batch_done('c', 2), pgq_ext.is_batch_done('c', 1),
	pgq_ext.is_batch_done('c', NULL) IS NULL AS null_batch, pgq_ext.is_batch_done('c', 's', 2);
SELECT pgq_ext.set_batch_done('c', 1), pgq_ext.is_batch_done('c', 2);
SELECT pgq_ext.set_batch_done('c', 's', 2), pgq_ext.is_batch_done('c', 's', 2), pgq_ext.is_batch_done('c', 2);
SELECT pgq_ext.set_batch_done('c', 0), pgq_ext.set_batch_done('c', -1), pgq_ext.set_batch_done('c', NULL);
SELECT * FROM pgq_ext.completed_batch ORDER BY 1, 2;

-- events: those of the present batch
SELECT pgq_ext.is_event_done('c', 1, 1);
SELECT pgq_ext.set_event_done('c', 1, 1), pgq_ext.set_event_done('c', 1, 1), pgq_ext.set_event_done('c', 1, 2);
SELECT pgq_ext.set_event_done('c', 's', 1, 1);
SELECT pgq_ext.is_event_done('c', 1, 1), pgq_ext.is_event_done('c', 1, 3), pgq_ext.is_event_done('c', 2, 1),
	pgq_ext.is_event_done('c', 's', 1, 1), pgq_ext.is_event_done('c', 's', 1, 2);
SELECT pgq_ext.set_event_done('c', 2, 1);
SELECT pgq_ext.is_event_done('c', 1, 1), pgq_ext.is_event_done('c', 2, 1), pgq_ext.is_event_done('c', 's', 1, 1);
SELECT * FROM pgq_ext.completed_event ORDER BY 1, 2;
SELECT * FROM pgq_ext.partial_batch ORDER BY 1, 2;

-- work that is rolled back was not done
BEGIN;
SELECT pgq_ext.set_batch_done('c', 9);
ROLLBACK;
SELECT pgq_ext.is_batch_done('c', 9);

-- rights
CREATE ROLE regress_ext_none;
CREATE ROLE regress_ext_writer IN ROLE pgq_writer;
SET ROLE regress_ext_none;
SELECT pgq_ext.version();
SELECT pgq_ext.is_batch_done('c', 1);
SELECT count(*) FROM pgq_ext.completed_batch;
SET ROLE regress_ext_writer;
SELECT pgq_ext.set_batch_done('w', 1), pgq_ext.is_batch_done('w', 's', 1);
SELECT pgq_ext.set_event_done('w', 1, 1), pgq_ext.is_event_done('w', 1, 1);
SELECT pgq_ext.set_last_tick('w', 1), pgq_ext.get_last_tick('w');
RESET ROLE;

-- an older one is brought up, with its rows
UPDATE pg_extension SET extversion = '3.1' WHERE extname = 'pgq_ext';
SET client_min_messages = warning;
ALTER EXTENSION pgq_ext UPDATE;
RESET client_min_messages;
SELECT installed_version = default_version AS newest, pgq_ext.is_batch_done('w', 1)
FROM pg_available_extensions WHERE name = 'pgq_ext';

DROP ROLE regress_ext_none, regress_ext_writer;
\c pgq_regress
DROP DATABASE regress_pgq_target;
