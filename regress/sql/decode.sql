-- The output plugin: what the events of captured tables look like.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\pset format unaligned
\pset null '<null>'

SELECT pgq.start_capture('regress_decode');
SELECT pgq.create_queue('dec_json'), pgq.create_queue('dec_url'), pgq.create_queue('dec_sql');

-- All events since the last look, without their times.
CREATE FUNCTION dec_events(OUT queue text, OUT type text, OUT data text,
    OUT extra1 text, OUT extra2 text, OUT extra3 text, OUT extra4 text)
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT e->>'queue', e->>'ev_type', e->>'ev_data', e->>'ev_extra1',
           e->>'ev_extra2', e->>'ev_extra3', e->>'ev_extra4'
    FROM pg_logical_slot_get_changes('regress_decode', NULL, NULL) s,
         LATERAL (SELECT s.data::json AS e) j
$$;

-- Capture a table in the three formats.
CREATE FUNCTION dec_capture(tab regclass, VARIADIC args text[] DEFAULT '{}')
RETURNS int LANGUAGE sql AS $$
    SELECT sum(pgq.capture_table('dec_' || q, tab, VARIADIC args || f))::int
    FROM (VALUES ('json', 'format=json'), ('url', 'format=urlenc'), ('sql', 'format=sql')) v(q, f)
$$;

-- default replica identity: insert, updates, key change, delete, truncate
CREATE TABLE dec_base (id int4 PRIMARY KEY, txt text, n numeric);
SELECT dec_capture('dec_base');
INSERT INTO dec_base VALUES (1, E'a b&c=\u00e9%+~*''"\\', NULL);
UPDATE dec_base SET txt = 'x';
UPDATE dec_base SET txt = txt;
UPDATE dec_base SET txt = NULL, n = 12.50;
UPDATE dec_base SET id = 2;
DELETE FROM dec_base;
TRUNCATE dec_base;
SELECT * FROM dec_events();

-- the same with the whole old row, and backup
CREATE TABLE dec_full (id int4 PRIMARY KEY, txt text, n numeric);
ALTER TABLE dec_full REPLICA IDENTITY FULL;
SELECT dec_capture('dec_full', 'backup');
INSERT INTO dec_full VALUES (1, E'a b&c=\u00e9%+~*''"\\', 1.0);
UPDATE dec_full SET txt = 'x';
UPDATE dec_full SET txt = txt;
UPDATE dec_full SET txt = NULL, n = 1.00;
UPDATE dec_full SET id = 2;
DELETE FROM dec_full;
SELECT * FROM dec_events();

-- ignored columns
ALTER TABLE dec_full ADD COLUMN txt2 text;
SELECT dec_capture('dec_full', 'ignore=n, txt2');
INSERT INTO dec_full VALUES (1, 'a', 1, 'b');
UPDATE dec_full SET n = 2;
UPDATE dec_full SET n = 3, txt = 'c';
SELECT dec_capture('dec_full', 'columns=id,n');
UPDATE dec_full SET txt = 'd';
UPDATE dec_full SET n = 4;
SELECT * FROM dec_events();

-- no key at all, but the whole old row
CREATE TABLE dec_nokey (a int, b text);
ALTER TABLE dec_nokey REPLICA IDENTITY FULL;
SELECT dec_capture('dec_nokey');
INSERT INTO dec_nokey VALUES (1, NULL);
UPDATE dec_nokey SET a = 2;
DELETE FROM dec_nokey;
SELECT * FROM dec_events();

-- names with any character; the order of key columns
CREATE SCHEMA "Dec S";
CREATE TABLE "Dec S"."Ta.b""le'x" ("Id" int, "col &x" text, "select" int, "t	b" text, PRIMARY KEY ("Id", "select"));
SELECT dec_capture('"Dec S"."Ta.b""le''x"');
INSERT INTO "Dec S"."Ta.b""le'x" VALUES (1, 'v1', 2, E'\t\n\b\x01\x7f');
UPDATE "Dec S"."Ta.b""le'x" SET "col &x" = 'z';
DELETE FROM "Dec S"."Ta.b""le'x";
CREATE TABLE dec_pko (a int, b int, c int, PRIMARY KEY (c, a) INCLUDE (b));
SELECT dec_capture('dec_pko');
INSERT INTO dec_pko VALUES (1, 2, 3);
ALTER TABLE dec_pko RENAME COLUMN a TO "A";
UPDATE dec_pko SET b = 9;
SELECT * FROM dec_events();

-- pkey= is shown word for word
CREATE TABLE dec_pkey (id int, v int, w text, PRIMARY KEY (id, v));
SELECT dec_capture('dec_pkey', 'pkey=id, v');
INSERT INTO dec_pkey VALUES (1, 2, NULL);
UPDATE dec_pkey SET w = 'w';
SELECT * FROM dec_events();

-- expressions: on a key change each event has its own row's; 1/n fails on 0
CREATE TABLE dec_expr (id int PRIMARY KEY, v text, "Odd N" text, n int);
SELECT pgq.capture_table('dec_json', 'dec_expr', 'when=id < 100', 'ev_extra2=1/n',
    'ev_extra3=coalesce(v,''N'')||''/''||"Odd N"', 'ev_type=case when n > 3 then ''big'' end');
INSERT INTO dec_expr VALUES (1, 'a', 'odd', 5), (2, NULL, 'odd', 0), (200, NULL, NULL, 1);
UPDATE dec_expr SET id = 7 WHERE id = 1;
DELETE FROM dec_expr;
SELECT * FROM dec_events();
-- which are refused
SELECT pgq.capture_table('dec_json', 'dec_expr', 'when=id');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'when=nosuch > 1');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'when=random() > 0.5');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=(select 1)');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=1, 2');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=1; drop table dec_expr');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=count(*)');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=current_user');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=dec_expr.id');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=generate_series(1, 2)');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=id +');
CREATE FUNCTION dec_own(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE OPERATOR pg_temp.@@@ (RIGHTARG = int, FUNCTION = int4um);
CREATE DOMAIN dec_dom AS int CHECK (VALUE > 0);
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=public.dec_own(id)');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=OPERATOR(pg_temp.@@@) id');
SELECT pgq.capture_table('dec_json', 'dec_expr', 'ev_type=id::public.dec_dom');
-- and kept true by refusing what would break them
ALTER TABLE dec_expr DROP COLUMN v;
ALTER TABLE dec_expr RENAME COLUMN v TO w;
ALTER TABLE dec_expr RENAME COLUMN w TO v;
ALTER TABLE dec_expr ALTER COLUMN v TYPE int USING 1;
ALTER TABLE dec_expr ADD COLUMN other int;
DROP OPERATOR pg_temp.@@@ (NONE, int);
DROP FUNCTION dec_own;
DROP DOMAIN dec_dom;

-- columns named _pgq_ev_* replace fields
CREATE TABLE dec_magic (id int PRIMARY KEY, v text, _pgq_ev_type text, _pgq_ev_extra4 text);
ALTER TABLE dec_magic REPLICA IDENTITY FULL;
SELECT dec_capture('dec_magic');
INSERT INTO dec_magic VALUES (1, 'a', 'mine', NULL);
UPDATE dec_magic SET _pgq_ev_extra4 = 'x';
DELETE FROM dec_magic;
SELECT * FROM dec_events();

-- only some operations
SELECT pgq.capture_table('dec_json', 'dec_base', 'ops=delete, truncate');
SELECT pgq.uncapture_table('dec_url', 'dec_base');
SELECT pgq.uncapture_table('dec_sql', 'dec_base');
INSERT INTO dec_base VALUES (1), (2);
UPDATE dec_base SET id = id + 10;
DELETE FROM dec_base WHERE id = 11;
TRUNCATE dec_base;
SELECT * FROM dec_events();

-- what was rolled back never shows; prepared transactions come whole
SELECT pgq.capture_table('dec_json', 'dec_base');
BEGIN;
INSERT INTO dec_base VALUES (1);
SAVEPOINT a;
INSERT INTO dec_base VALUES (2);
ROLLBACK TO a;
INSERT INTO dec_base VALUES (3);
COMMIT;
BEGIN;
INSERT INTO dec_base VALUES (4);
ROLLBACK;
BEGIN;
INSERT INTO dec_base VALUES (5);
PREPARE TRANSACTION 'dec_1';
BEGIN;
INSERT INTO dec_base VALUES (6);
PREPARE TRANSACTION 'dec_2';
INSERT INTO dec_base VALUES (7);
ROLLBACK PREPARED 'dec_2';
COMMIT PREPARED 'dec_1';
SELECT data FROM dec_events();

-- partitions speak as the captured table; a part that is truncated for itself
CREATE TABLE dec_part (a int PRIMARY KEY, b text, c int) PARTITION BY RANGE (a);
CREATE TABLE dec_part1 (x int, c int, b text, a int NOT NULL);
ALTER TABLE dec_part1 DROP COLUMN x;
ALTER TABLE dec_part ATTACH PARTITION dec_part1 FOR VALUES FROM (0) TO (10);
SELECT pgq.capture_table('dec_json', 'dec_part');
CREATE TABLE dec_part2 PARTITION OF dec_part FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (a);
CREATE TABLE dec_part21 PARTITION OF dec_part2 FOR VALUES FROM (10) TO (20);
INSERT INTO dec_part VALUES (1, 'one', 11), (12, 'two', 22);
UPDATE dec_part SET c = 0;
UPDATE dec_part SET a = 13 WHERE a = 1;
TRUNCATE dec_part2;
TRUNCATE dec_part1;
TRUNCATE dec_part;
ALTER TABLE dec_part RENAME TO dec_part_new;
INSERT INTO dec_part_new VALUES (1, 'one', 11);
SELECT type, data, extra1, extra3 FROM dec_events();

-- TOAST values that an update leaves alone
CREATE TABLE dec_toast (id int PRIMARY KEY, big text, v int);
ALTER TABLE dec_toast ALTER big SET STORAGE EXTERNAL;
SELECT dec_capture('dec_toast');
INSERT INTO dec_toast VALUES (1, repeat('x', 5000), 1);
UPDATE dec_toast SET v = 2;
UPDATE dec_toast SET id = 5;
UPDATE dec_toast SET big = repeat('y', 5000);
SELECT queue, type, length(data), extra2, extra4 FROM dec_events();
ALTER TABLE dec_toast REPLICA IDENTITY FULL;
UPDATE dec_toast SET v = 3;
SELECT queue, type, length(data), extra2, extra4 FROM dec_events();

-- generated and dropped columns, missing values
CREATE TABLE dec_gen (id int PRIMARY KEY, gone int, g int GENERATED ALWAYS AS (id * 2) STORED);
SELECT dec_capture('dec_gen');
INSERT INTO dec_gen VALUES (1, 1);
ALTER TABLE dec_gen DROP COLUMN gone;
ALTER TABLE dec_gen ADD COLUMN late text DEFAULT 'since';
UPDATE dec_gen SET id = id;
SELECT queue, type, data FROM dec_events();

-- text does not depend on the settings of a session
CREATE TABLE dec_types (id int PRIMARY KEY, b bool, i2 int2, i8 int8, d date, ts timestamp,
    tstz timestamptz, f float8, f4 float4, by bytea, iv interval, t time, js json, jb jsonb,
    arr int[], da date[], ch char(5), u uuid, rc regclass, x xml);
CREATE DOMAIN dec_dom_int AS int;
CREATE DOMAIN dec_dom_ts AS timestamptz;
CREATE TYPE dec_mood AS ENUM ('sad', 'ok');
ALTER TABLE dec_types ADD di dec_dom_int, ADD dt dec_dom_ts, ADD mood dec_mood, ADD rng int4range;
SELECT dec_capture('dec_types');
SET datestyle = 'German'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'escape';
SET extra_float_digits = -15; SET timezone = 'Asia/Kolkata';
INSERT INTO dec_types VALUES (1, true, -2, 9007199254740993, '2020-01-02', '2020-01-02 03:04:05.100',
    '2020-01-02 03:04:05.678+00', 0.1::float8 + 0.2, 'NaN', '\x00ff', '1 year 2 days 03:04', '03:04:05',
    '{"a": [1, null]}', '{"b":2}', '{1,NULL,3}', '{2020-01-02}', 'ab',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'pg_class', '<a/>', 5, '2020-01-02 03:04:05.678+00', 'ok', '[1,3)');
INSERT INTO dec_types (id, d, ts, f) VALUES (2, 'infinity', '0044-03-15 01:00 BC', '-Infinity');
SELECT queue, data FROM dec_events();
-- and the session keeps its own
SHOW datestyle;
SHOW timezone;
RESET datestyle; RESET intervalstyle; RESET bytea_output; RESET extra_float_digits; RESET timezone;

-- origin=none leaves out what replication has applied
SELECT pgq.capture_table('dec_json', 'dec_base', 'origin=none');
SELECT pgq.capture_table('dec_url', 'dec_base', 'format=urlenc');
SELECT pg_replication_origin_create('dec_origin') > 0 AS made;
INSERT INTO dec_base VALUES (21);
SELECT pg_replication_origin_session_setup('dec_origin');
INSERT INTO dec_base VALUES (22);
SELECT pg_replication_origin_session_reset();
INSERT INTO dec_base VALUES (23);
SELECT queue, data FROM dec_events();
SELECT pg_replication_origin_drop('dec_origin');

-- a mark takes effect at its place in the WAL, also when that is read later
INSERT INTO dec_base VALUES (31);
SELECT pgq.uncapture_table('dec_url', 'dec_base');
SELECT pgq.uncapture_table('dec_json', 'dec_base');
INSERT INTO dec_base VALUES (32);
SELECT pgq.capture_table('dec_json', 'dec_base', 'pkey=id');
INSERT INTO dec_base VALUES (33);
ALTER TABLE dec_base RENAME TO dec_renamed;
INSERT INTO dec_renamed VALUES (34);
ALTER TABLE dec_renamed SET SCHEMA "Dec S";
ALTER SCHEMA "Dec S" RENAME TO dec_s;
INSERT INTO dec_s.dec_renamed VALUES (35);
SELECT queue, extra1, data FROM dec_events();

-- boundaries of transactions, for a queue that asked for them
SELECT pgq.capture_transactions('dec_json');
SELECT pgq.capture_transactions('dec_json');
SELECT pgq.capture_transactions('no such queue');
SELECT pgq.capture_table('dec_url', 'dec_s.dec_renamed', 'format=urlenc');
BEGIN;
INSERT INTO dec_s.dec_renamed VALUES (51), (52);
SELECT pgq.emit_event('dec_json', 'emitted', 'too');
COMMIT;
INSERT INTO dec_s.dec_renamed VALUES (53);
SELECT queue, type, CASE WHEN type LIKE 'pgq.%' THEN ((data::jsonb - 'xid') - 'lsn' - 'commit_time')::text ELSE data END AS data
FROM dec_events();
SELECT pgq.capture_transactions('dec_json', false);
SELECT pgq.uncapture_table('dec_url', 'dec_s.dec_renamed');
INSERT INTO dec_s.dec_renamed VALUES (54);
SELECT queue, data FROM dec_events();

-- frames: place; tag, length, queue, number of events
INSERT INTO dec_s.dec_renamed VALUES (41, 'text');
SELECT pgq.insert_event('dec_url', 'type', 'data') > 0 AS inserted;
SELECT has_place, encode(substring(data FROM 1 + 13 * has_place::int FOR 21), 'escape') AS head, length(data)
FROM (SELECT data, get_byte(data, 0) = ascii('P') AS has_place FROM pg_logical_slot_peek_binary_changes('regress_decode', NULL, NULL, 'format', 'frames', 'proto_version', '1')) f;

-- rows on which an expression failed are counted, when their events are ingested
SELECT count(*) AS left_over FROM dec_events();
INSERT INTO dec_expr VALUES (1, 'a', 'b', 0), (2, 'a', 'b', 1), (3, 'a', 'b', 0);
CREATE FUNCTION dec_ingest() RETURNS bigint LANGUAGE sql AS $$
    SELECT pgq.ingest('regress_decode', (SELECT max(pos_lsn) FROM pgq.position), pg_current_wal_insert_lsn(), f.frames)
    FROM (SELECT string_agg(data, '' ORDER BY n) AS frames
          FROM pg_logical_slot_get_binary_changes('regress_decode', NULL, NULL, 'format', 'frames') WITH ORDINALITY AS c(lsn, xid, data, n)) f
$$;
SELECT dec_ingest();
SELECT table_name, state, regexp_replace(array_to_string(warnings, ' '), ' at [^;]*;', ' at TIME;') AS warnings
FROM pgq.get_capture_info('dec_json') WHERE table_name LIKE '%expr';
INSERT INTO dec_expr VALUES (4, 'a', 'b', 0);
SELECT dec_ingest();
SELECT ctr_queue, ctr_table, ctr_kind, ctr_count FROM pgq.capture_trouble;
SELECT pgq.capture_table('dec_json', 'dec_expr');
SELECT count(*) FROM pgq.capture_trouble;
DROP FUNCTION dec_ingest;

-- bad options
SELECT 1 FROM pg_logical_slot_peek_changes('regress_decode', NULL, NULL, 'format', 'csv');
SELECT 1 FROM pg_logical_slot_peek_changes('regress_decode', NULL, NULL, 'proto_version', '2');
SELECT 1 FROM pg_logical_slot_peek_changes('regress_decode', NULL, NULL, 'speed', 'high');
SELECT 1 FROM pg_logical_slot_peek_changes('regress_decode', NULL, NULL, 'format', 'frames');
SHOW datestyle;
-- nor does making a slot after that touch those of whoever does it
CREATE FUNCTION dec_other_slot() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_create_logical_replication_slot('regress_decode2', 'pgq');
    RETURN current_setting('search_path');
END $$;
SELECT dec_other_slot(), current_setting('search_path');
SELECT pg_drop_replication_slot('regress_decode2');
DROP FUNCTION dec_other_slot;

-- clean up
SET client_min_messages = warning;
DROP TABLE dec_s.dec_renamed, dec_full, dec_nokey, dec_pko, dec_pkey, dec_part_new, dec_toast, dec_gen, dec_types, dec_expr, dec_magic;
DROP SCHEMA dec_s CASCADE;
DROP DOMAIN dec_dom_int, dec_dom_ts;
DROP TYPE dec_mood;
DROP FUNCTION dec_events, dec_capture;
SELECT pgq.drop_queue('dec_json'), pgq.drop_queue('dec_url'), pgq.drop_queue('dec_sql');
SELECT pgq.stop_capture();
