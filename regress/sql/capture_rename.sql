-- The arguments of a capture follow the columns that they name.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE SCHEMA ren;
SET search_path = ren, public;
\pset format unaligned
\pset tuples_only on
\set SHOW_CONTEXT never
SELECT pgq.create_queue('ren_q');
SELECT pgq.start_capture('ren_slot');
CREATE VIEW args AS SELECT table_name, arguments, state
FROM pgq.get_capture_info('ren_q') ORDER BY 1;
CREATE FUNCTION events(OUT type text, OUT data text, OUT extra text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT e->>'ev_type', e->>'ev_data',
		concat_ws('|', e->>'ev_extra2', e->>'ev_extra3', e->>'ev_extra4')
	FROM pg_logical_slot_get_changes('ren_slot', NULL, NULL) s,
		LATERAL (SELECT s.data::json AS e) j
$$;

-- lists: the word alone, and blanks stay
CREATE TABLE t (id int PRIMARY KEY, a text, ab text, "b c" text, d text);
ALTER TABLE t REPLICA IDENTITY FULL;
SELECT pgq.capture_table('ren_q', 't', 'format=urlenc', 'pkey= id ,a', 'ignore= ab,a ,d');
ALTER TABLE t RENAME a TO ab2;
ALTER TABLE t RENAME id TO "Id";
ALTER TABLE t RENAME ab TO a;
ALTER TABLE t RENAME "b c" TO "d,e";
SELECT * FROM args;
INSERT INTO t VALUES (1, 'one', 'two', 'three', 'four');
SELECT * FROM events();
-- what a list can't hold, and what is no list
ALTER TABLE t RENAME a TO "x,y";
ALTER TABLE t RENAME a TO " x";
ALTER TABLE t RENAME d TO "ignore=z";
SELECT pgq.capture_table('ren_q', 't', 'columns=Id,a');
ALTER TABLE t RENAME "Id" TO id;
SELECT * FROM args;

-- expressions: the column, and nothing that looks like it
CREATE TABLE x (id int PRIMARY KEY, a text, "Q ""r" int, upper text, u int);
SELECT pgq.capture_table('ren_q', 'x',
	'when=a<>''a''AND NOT"a"IS NULL/*a*/and id>0',
	'ev_extra2=upper(upper) || $$a$$ || ''a"a'' || a',
	'ev_extra3=case"Q ""r"when 1 then U&"\0061"else a end',
	'ev_extra4=("Q ""r"&u)::text');
INSERT INTO x VALUES (1, 'b', 1, 'up', 1);
ALTER TABLE x RENAME a TO select;
ALTER TABLE x RENAME a TO "select";
ALTER TABLE x RENAME "Q ""r" TO u2;
SELECT pgq.capture_table('ren_q', 'x',
	'when=a<>''a''AND NOT"a"IS NULL/*a*/and id>0',
	'ev_extra2=upper(upper) || $$a$$ || ''a"a'' || a',
	'ev_extra3=case u2 when 1 then a else a end', 'ev_extra4=("u2"&u)::text');
INSERT INTO x VALUES (2, 'b', 1, 'up', 1);
ALTER TABLE x RENAME a TO "select";
ALTER TABLE x RENAME upper TO a;
ALTER TABLE x RENAME u TO "it's ""u""";
ALTER TABLE x RENAME u2 TO u;
INSERT INTO x VALUES (3, 'b', 1, 'up', 1);
SELECT unnest(arguments) FROM args WHERE table_name = 'ren.x';
SELECT * FROM events();

-- old WAL is read with the old mark, within a transaction too
BEGIN;
INSERT INTO x VALUES (4, 'c', 1, 'up', 1);
ALTER TABLE x RENAME "select" TO b;
INSERT INTO x VALUES (5, 'd', 1, 'up', 1);
SAVEPOINT s;
ALTER TABLE x RENAME b TO c;
INSERT INTO x VALUES (6, 'd', 1, 'up', 1);
ROLLBACK TO s;
INSERT INTO x VALUES (7, 'e', 1, 'up', 1);
COMMIT;
ALTER TABLE x RENAME b TO c;
INSERT INTO x VALUES (8, 'e', 1, 'up', 1);
SELECT * FROM events();
SELECT unnest(arguments) FROM args WHERE table_name = 'ren.x';

-- names from above: partitions, parents, types; every queue that there is
SELECT pgq.create_queue('ren_q2');
CREATE TABLE root (id int, a int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
SELECT pgq.capture_table('ren_q', 'root', 'ignore=a');
SELECT pgq.capture_table('ren_q2', 'leaf', 'when=a > 1');
ALTER TABLE root RENAME a TO b;
SELECT arguments FROM pgq.get_capture_info('ren_q2');
CREATE TABLE parent (a int);
CREATE TABLE child (id int PRIMARY KEY) INHERITS (parent);
SELECT pgq.capture_table('ren_q', 'child', 'ignore=a');
ALTER TABLE parent RENAME a TO b;
ALTER TABLE parent ALTER b TYPE bigint;
ALTER TABLE parent DROP b;
CREATE TYPE row_type AS (id int, a text);
CREATE TABLE typed OF row_type (PRIMARY KEY (id));
SELECT pgq.capture_table('ren_q', 'typed', 'ev_extra2=a');
ALTER TYPE row_type RENAME ATTRIBUTE a TO b CASCADE;
CREATE TABLE heir () INHERITS (typed);
ALTER TABLE heir ADD PRIMARY KEY (id);
SELECT pgq.capture_table('ren_q', 'heir', 'ev_extra2=b');
ALTER TYPE row_type RENAME ATTRIBUTE b TO c CASCADE;
SELECT * FROM args;

-- a capture that was a trigger
CREATE TABLE trg (id int PRIMARY KEY, a text);
CREATE TRIGGER rows AFTER INSERT ON trg FOR EACH ROW
	EXECUTE FUNCTION pgq.jsontriga('ren_q', 'ignore=id', 'ev_extra3=upper(a)');
SELECT pgq.capture_trigger('trg', 'rows');
ALTER TABLE trg RENAME a TO b;
SELECT arguments FROM args WHERE table_name = 'ren.trg';

-- by who may alter the table, and nobody else's settings
CREATE ROLE ren_owner;
GRANT USAGE, CREATE ON SCHEMA ren TO ren_owner;
ALTER TABLE trg OWNER TO ren_owner;
SET ROLE ren_owner;
-- a server that still has them (19 does not)
SELECT current_setting('server_version_num')::int < 190000 AS old_strings \gset
\if :old_strings
SET standard_conforming_strings = off;
\endif
SET quote_all_identifiers = on;
ALTER TABLE trg RENAME b TO c;
RESET standard_conforming_strings;
RESET quote_all_identifiers;
RESET ROLE;
SELECT arguments FROM args WHERE table_name = 'ren.trg';

-- the server lets other commands rename columns of tables, too
ALTER VIEW trg RENAME c TO v;
SELECT arguments FROM args WHERE table_name = 'ren.trg';
ALTER MATERIALIZED VIEW trg RENAME v TO c;
SELECT arguments FROM args WHERE table_name = 'ren.trg';

-- arguments that get too long
SELECT pgq.capture_table('ren_q', 'trg', 'when=' || repeat('c > '''' and ', 600) || 'true');
ALTER TABLE trg RENAME c TO c_with_a_name_that_is_much_longer;
ALTER TABLE trg RENAME c TO d;

DROP SCHEMA ren CASCADE;
DROP ROLE ren_owner;
SELECT pgq.drop_queue('ren_q'), pgq.drop_queue('ren_q2');
SELECT pgq.stop_capture();
