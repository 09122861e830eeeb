-- The trigger functions: what they write, and what they refuse.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\pset format unaligned
\pset null '<null>'

SELECT pgq.create_queue('trg_json'), pgq.create_queue('trg_url'), pgq.create_queue('trg_sql');

-- All events since the last look.
CREATE FUNCTION trg_events(OUT q text, OUT type text, OUT data text,
    OUT extra1 text, OUT extra2 text, OUT extra3 text, OUT extra4 text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    tab text;
BEGIN
    FOREACH q IN ARRAY ARRAY['trg_json', 'trg_sql', 'trg_url'] LOOP
        tab := pgq.current_event_table(q);
        FOR type, data, extra1, extra2, extra3, extra4 IN
            EXECUTE 'SELECT ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4 FROM '
                || tab || ' ORDER BY ev_id'
        LOOP
            RETURN NEXT;
        END LOOP;
        EXECUTE 'TRUNCATE ' || tab;
    END LOOP;
END $$;

-- The three triggers with the same arguments on a table.
CREATE FUNCTION trg_on(tab regclass, VARIADIC args text[] DEFAULT '{}')
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    f text;
    list text := '';
    a text;
BEGIN
    FOREACH a IN ARRAY args LOOP
        list := list || ', ' || quote_literal(a);
    END LOOP;
    FOREACH f IN ARRAY ARRAY['json', 'url', 'sql'] LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', 't_' || f, tab);
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION pgq.%s(%L%s)',
            't_' || f, tab,
            CASE f WHEN 'json' THEN 'jsontriga' WHEN 'url' THEN 'logutriga' ELSE 'sqltriga' END,
            'trg_' || f, list);
    END LOOP;
END $$;

SET client_min_messages = warning;

-- the three formats
CREATE TABLE trg_base (id int4 PRIMARY KEY, txt text, n numeric);
SELECT trg_on('trg_base');
CREATE TRIGGER tr_json AFTER TRUNCATE ON trg_base FOR EACH STATEMENT EXECUTE FUNCTION pgq.jsontriga('trg_json');
CREATE TRIGGER tr_url AFTER TRUNCATE ON trg_base FOR EACH STATEMENT EXECUTE FUNCTION pgq.logutriga('trg_url');
CREATE TRIGGER tr_sql AFTER TRUNCATE ON trg_base FOR EACH STATEMENT EXECUTE FUNCTION pgq.sqltriga('trg_sql');
INSERT INTO trg_base VALUES (1, E'a b&c=\u00e9%+~*''"\\', NULL);
UPDATE trg_base SET txt = 'x';
UPDATE trg_base SET txt = txt;
UPDATE trg_base SET txt = NULL;
DELETE FROM trg_base;
TRUNCATE trg_base;
SELECT * FROM trg_events();

-- backup, ignore, pkey
CREATE TABLE trg_args (id int PRIMARY KEY, v text, w text);
SELECT trg_on('trg_args', 'backup', 'ignore=w');
INSERT INTO trg_args VALUES (1, 'a b', NULL);
UPDATE trg_args SET w = 'x';
UPDATE trg_args SET v = 'c', w = 'y';
UPDATE trg_args SET v = v;
DELETE FROM trg_args;
SELECT trg_on('trg_args', 'ignore=id,v,w');
INSERT INTO trg_args VALUES (2, 'a', 'b');
SELECT trg_on('trg_args', 'pkey=id, v');
INSERT INTO trg_args VALUES (3, 'a', 'b');
UPDATE trg_args SET w = 'c' WHERE id = 3;
SELECT * FROM trg_events();

-- expressions, with when= as their guard, and quoted names
CREATE TABLE trg_expr (id int PRIMARY KEY, v text, "Odd Name" text, wx text);
SELECT trg_on('trg_expr', 'ev_extra3=coalesce(v,''N'')||''/''||wx', 'ev_extra4=null::text',
    'ev_extra1=''tbl''', 'ev_type=case when id>3 then ''big'' end', 'when=id <> 0', 'ev_extra2=1/id');
INSERT INTO trg_expr VALUES (3, NULL, 'odd', 'w');
INSERT INTO trg_expr VALUES (0, NULL, 'odd', 'w');
INSERT INTO trg_expr VALUES (4, 'v', 'odd', 'w');
SELECT trg_on('trg_expr', 'ev_data="Odd Name" || (select max(id) from trg_base)');
INSERT INTO trg_base VALUES (7);
INSERT INTO trg_expr VALUES (5, NULL, 'odd', 'w');
DELETE FROM trg_expr;
SELECT * FROM trg_events();
SELECT trg_on('trg_expr', 'when=null::bool');
INSERT INTO trg_expr VALUES (1);
SELECT trg_on('trg_expr', 'when=1');
INSERT INTO trg_expr VALUES (1);
SELECT trg_on('trg_expr', 'ev_data=id from generate_series(1,2)');
INSERT INTO trg_expr VALUES (1);
SELECT trg_on('trg_expr', 'ev_data=nosuch');
INSERT INTO trg_expr VALUES (1);

-- magic columns
CREATE TABLE trg_magic (id int PRIMARY KEY, v text, _pgq_ev_type text, _pgq_ev_extra2 text);
SELECT trg_on('trg_magic', 'ev_extra3=''e3''');
INSERT INTO trg_magic VALUES (1, 'a', 'mytype', NULL);
UPDATE trg_magic SET v = 'b', _pgq_ev_extra2 = 'x';
UPDATE trg_magic SET _pgq_ev_type = NULL;
DELETE FROM trg_magic;
SELECT * FROM trg_events();
CREATE TABLE trg_magic2 (id int PRIMARY KEY, _pgq_ev_foo text);
SELECT trg_on('trg_magic2');
INSERT INTO trg_magic2 VALUES (1);

-- renamed keys, included columns, generated columns, new scale
CREATE TABLE trg_keys (a int, b int, c int, g int GENERATED ALWAYS AS (b * 2) STORED, n numeric, PRIMARY KEY (c, a) INCLUDE (b));
SELECT trg_on('trg_keys');
INSERT INTO trg_keys (a, b, c, n) VALUES (1, 2, 3, 1.0);
ALTER TABLE trg_keys RENAME COLUMN a TO "A";
UPDATE trg_keys SET b = 9;
UPDATE trg_keys SET n = 1.00;
DELETE FROM trg_keys;
CREATE SCHEMA trg_s;
ALTER TABLE trg_keys SET SCHEMA trg_s;
INSERT INTO trg_s.trg_keys (b, "A", c) VALUES (1, 2, 3);
ALTER SCHEMA trg_s RENAME TO trg_s2;
DELETE FROM trg_s2.trg_keys;
ALTER TABLE trg_s2.trg_keys ADD COLUMN late text DEFAULT 'x', DROP COLUMN n;
INSERT INTO trg_s2.trg_keys (b, "A", c) VALUES (1, 2, 3);
SELECT * FROM trg_events();

-- BEFORE, SKIP, INSTEAD OF, deny
CREATE TABLE trg_skip (id int PRIMARY KEY, v text);
CREATE TRIGGER t1 BEFORE INSERT OR UPDATE OR DELETE ON trg_skip FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('trg_url', 'SKIP');
INSERT INTO trg_skip VALUES (1, 'a');
SELECT * FROM trg_skip;
DROP TRIGGER t1 ON trg_skip;
CREATE TRIGGER t1 BEFORE INSERT OR UPDATE OR DELETE ON trg_skip FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('trg_url');
INSERT INTO trg_skip VALUES (1, 'a');
UPDATE trg_skip SET v = 'b';
SELECT * FROM trg_skip;
CREATE VIEW trg_view AS SELECT * FROM trg_skip;
CREATE TRIGGER t1 INSTEAD OF INSERT OR UPDATE OR DELETE ON trg_view FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('trg_url', 'pkey=id', 'SKIP');
UPDATE trg_view SET v = 'c';
DELETE FROM trg_view;
SELECT * FROM trg_skip;
SELECT * FROM trg_events();
CREATE TRIGGER t2 BEFORE INSERT OR UPDATE OR DELETE ON trg_skip FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('trg_json', 'deny');
CREATE TRIGGER t3 BEFORE TRUNCATE ON trg_skip FOR EACH STATEMENT EXECUTE FUNCTION pgq.sqltriga('trg_json', 'deny');
INSERT INTO trg_skip VALUES (2);
UPDATE trg_skip SET v = 'x';
DELETE FROM trg_skip;
TRUNCATE trg_skip;
-- replicated rows pass in silence
SET session_replication_role = local;
INSERT INTO trg_skip VALUES (2, 'local');
RESET session_replication_role;
SELECT * FROM trg_skip;
SELECT * FROM trg_events();

-- errors
\set VERBOSITY verbose
\set SHOW_CONTEXT never
CREATE FUNCTION trg_try(tab regclass, timing text, fn text, args text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    code text; msg text; hint text; detail text;
BEGIN
    EXECUTE format('CREATE TRIGGER try %s ON %s EXECUTE FUNCTION pgq.%s(%s)', replace(timing, '$', tab::text), tab, fn, args);
    INSERT INTO trg_err VALUES (1, 'a');
    UPDATE trg_err SET id = 2;
    TRUNCATE trg_err;
    RAISE EXCEPTION 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, msg = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' | ', code, msg, nullif(detail, ''), nullif(hint, ''));
END $$;
CREATE TABLE trg_err (id int PRIMARY KEY, v text);
SELECT trg_try('trg_err', t, f, a) FROM (VALUES
    ('AFTER INSERT', 'jsontriga', '''trg_json'''),
    ('AFTER INSERT OR UPDATE', 'jsontriga', '''trg_json'''),
    ('AFTER TRUNCATE', 'jsontriga', ''),
    ('AFTER TRUNCATE', 'jsontriga', '''nosuch'''),
    ('AFTER TRUNCATE', 'jsontriga', '''trg_json'', ''ignore=v'''),
    ('AFTER TRUNCATE', 'jsontriga', '''trg_json'', ''pkey=v'''),
    ('AFTER TRUNCATE', 'jsontriga', '''trg_json'', ''backup'''),
    ('AFTER TRUNCATE', 'jsontriga', '''trg_json'', ''ev_data=1'''),
    ('AFTER TRUNCATE', 'jsontriga', '''trg_json'', ''skip'''),
    ('AFTER TRUNCATE', 'jsontriga', '''trg_json'', ''SKIP''')) v(t, f, a);
\set VERBOSITY default
CREATE TRIGGER t AFTER INSERT OR UPDATE ON trg_err FOR EACH ROW EXECUTE FUNCTION pgq.sqltriga('trg_sql');
INSERT INTO trg_err VALUES (1, 'a');
UPDATE trg_err SET id = 2;
CREATE TRIGGER t2 AFTER UPDATE ON trg_err FOR EACH ROW EXECUTE FUNCTION pgq.sqltriga('trg_sql', 'pkey=');
DROP TRIGGER t ON trg_err;
UPDATE trg_err SET v = 'b';
SELECT pgq.jsontriga();

-- a user's own insert_event gets the events
CREATE OR REPLACE FUNCTION pgq.insert_event(queue_name text, ev_type text, ev_data text,
    ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
RETURNS int8 LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING 'insert_event(%, %, %, %)', queue_name, ev_type, ev_data, ev_extra1;
    RETURN 1;
END $$;
INSERT INTO trg_base VALUES (8, 'seen');
SELECT pgq.insert_event('trg_json', 'a', 'b');
CREATE OR REPLACE FUNCTION pgq.insert_event(queue_name text, ev_type text, ev_data text,
    ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
RETURNS int8 LANGUAGE c AS '$libdir/pgq', 'pgq_insert_event';
INSERT INTO trg_base VALUES (9, 'stored');
SELECT type, data FROM trg_events();

-- who may not produce events may not change the table
CREATE ROLE regress_trg_user;
GRANT ALL ON trg_base TO regress_trg_user;
SET ROLE regress_trg_user;
INSERT INTO trg_base VALUES (10, 'refused');
RESET ROLE;
REVOKE ALL ON trg_base FROM regress_trg_user;
DROP ROLE regress_trg_user;

-- a trigger that failed leaves nothing behind when its table changes
CREATE TABLE trg_mem (id int PRIMARY KEY);
CREATE TRIGGER t AFTER UPDATE ON trg_mem FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('trg_json');
INSERT INTO trg_mem VALUES (1);
SELECT count(*) AS before FROM pg_backend_memory_contexts WHERE name = 'pgq trigger' \gset
UPDATE trg_mem SET id = 2;
ALTER TABLE trg_mem ADD a int;
UPDATE trg_mem SET id = 2;
ALTER TABLE trg_mem ADD b int;
UPDATE trg_mem SET id = 2;
SELECT count(*) - :before AS states FROM pg_backend_memory_contexts WHERE name = 'pgq trigger';
DROP TABLE trg_mem;

-- clean up
DROP TABLE trg_base, trg_args, trg_expr, trg_magic, trg_magic2, trg_err CASCADE;
DROP TABLE trg_skip CASCADE;
DROP SCHEMA trg_s2 CASCADE;
DROP FUNCTION trg_events, trg_on, trg_try;
SELECT pgq.drop_queue('trg_json'), pgq.drop_queue('trg_url'), pgq.drop_queue('trg_sql');
