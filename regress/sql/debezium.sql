-- format=debezium: changes as Debezium's connector writes them, without schemas.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
SELECT pgq.start_capture('regress_debezium');
SELECT pgq.create_queue('dbz');

-- All events since the last look, without what differs from run to run.
CREATE FUNCTION dbz_events() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' ', e->>'ev_type',
        regexp_replace(regexp_replace(replace(e->>'ev_data', current_database(), 'DB'),
            '("ts_.s"|"lsn"|"txId"):\d+', '\1:N', 'g'),
            '\["\d+","\d+"\]|\\"\d+\\"', '\"N\"', 'g'),
        e->>'ev_extra1', e->>'ev_extra2', e->>'ev_extra3', e->>'ev_extra4', 'key=' ||
        pgq.event_key(e->>'ev_type', e->>'ev_data', e->>'ev_extra1'))
    FROM pg_logical_slot_get_changes('regress_debezium', NULL, NULL) s,
         LATERAL (SELECT s.data::json AS e) j
$$;

CREATE TABLE dbz_t (id int4 PRIMARY KEY, txt text, n numeric);
SELECT pgq.capture_table('dbz', 'dbz_t', 'format=debezium');
INSERT INTO dbz_t VALUES (1, E'a "b"\n', 1.50);
UPDATE dbz_t SET txt = 'x';
UPDATE dbz_t SET id = 2;
DELETE FROM dbz_t;
TRUNCATE dbz_t;
SELECT * FROM dbz_events();

-- the old row where the WAL has it
ALTER TABLE dbz_t REPLICA IDENTITY FULL;
INSERT INTO dbz_t VALUES (1, 'a');
UPDATE dbz_t SET txt = NULL;
DELETE FROM dbz_t;
SELECT * FROM dbz_events();

-- without a key; columns that are left out
CREATE TABLE dbz_nokey (a int4, b text, c text);
ALTER TABLE dbz_nokey REPLICA IDENTITY FULL;
SELECT pgq.capture_table('dbz', 'dbz_nokey', 'format=debezium', 'ignore=c');
INSERT INTO dbz_nokey VALUES (1, 'b', 'c');
UPDATE dbz_nokey SET b = 'bb';
DELETE FROM dbz_nokey;
SELECT * FROM dbz_events();

-- a value that the WAL does not have
CREATE TABLE dbz_toast (id int4 PRIMARY KEY, n int4, txt text);
ALTER TABLE dbz_toast ALTER txt SET STORAGE EXTERNAL;
INSERT INTO dbz_toast VALUES (1, 1, repeat('x', 10000));
SELECT pgq.capture_table('dbz', 'dbz_toast', 'format=debezium');
UPDATE dbz_toast SET n = 2;
SELECT * FROM dbz_events();

-- values of all kinds
CREATE TYPE dbz_mood AS ENUM ('sad', 'happy');
CREATE TYPE dbz_pair AS (a int, b text);
CREATE DOMAIN dbz_positive AS int CHECK (VALUE > 0);
CREATE TABLE dbz_types (id int8 PRIMARY KEY, b bool, i2 int2, f4 float4, f8 float8,
    f8s float8[], num numeric, d date, t time, ts timestamp, tz timestamptz, iv interval,
    by bytea, bys bytea[], u uuid, j json, jb jsonb, x text[], i4s int4[], i2d int4[],
    mood dbz_mood, moods dbz_mood[], pair dbz_pair, pos dbz_positive, r int4range,
    ip inet, ch char(3), bits bit(3), p point, vec int2vector);
SELECT pgq.capture_table('dbz', 'dbz_types', 'format=debezium');
SET timezone = 'UTC';
INSERT INTO dbz_types VALUES (9223372036854775807, true, -1, 1.5, 'infinity', '{1e300,nan,null,-0.1}',
    'nan', '2026-01-31', '12:34:56.789', '2026-01-31 12:34:56.789', '2026-01-31 12:34:56.789+02',
    '1 day 02:00', '\x00ff', '{"\\x01",null}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1]}',
    '{"a": [1]}', E'{"a,\\"b\\"",null,"","]}"}', '{1,null,-2}', '{{1,2},{3,4}}', 'happy', '{sad,happy}',
    '(1,"x y")', 7, '[1,5)', '10.0.0.1/8', 'ab', B'101', '(1,2)', '1 2');
INSERT INTO dbz_types (id, x, f8) VALUES (2, '{}', '-infinity');
SELECT * FROM dbz_events();

-- values that Debezium writes in a form of its own
CREATE TABLE dbz_forms (id int8 PRIMARY KEY, d date, t time, tt timetz, ts timestamp, tz timestamptz,
    tz0 timestamptz(0) DEFAULT '2026-01-31 12:00+02', tz3s timestamptz(3)[] DEFAULT '{2026-01-31 12:00:00.1+02}',
    iv interval, m money, o oid, b1 bit, b9 bit(9), vb varbit, pos dbz_positive, poss dbz_positive[], ivs interval[]);
SELECT pgq.capture_table('dbz', 'dbz_forms', 'format=debezium');
INSERT INTO dbz_forms (id, d, t, tt, ts, tz, iv, m, o, b1, b9, vb, pos, poss, ivs) VALUES
    (1, '2026-01-31', '12:34:56.789', '12:34:56.789+02', '2026-01-31 12:34:56.1', '2026-01-31 12:34:56.1+02',
     '1 year 2 mons 3 days 04:05:06.7', 1234.5, 4294967295, B'1', B'100000001', B'10101', 7, '{7,null}', '{1 day}'),
    (2, 'infinity', '24:00', '23:59:59.000001-12', 'infinity', '-infinity', '-1 mon -04:05:06.7', -0.05, 0, B'0',
     B'000000000', B'', null, '{}', '{null}'),
    (3, '0044-03-15 BC', '00:00', '00:00+14', '0044-03-15 BC', '0044-03-15 BC', '-00:00:00.5', 0, null, null, null, null, null, null, null),
    (4, '12345-01-01', '00:00', '12:00Z', '12345-01-01 00:00:00.000001', '12345-01-01', '100 days -01:02:03', null, null, null, null, null, null, null, null),
    (5, '0001-12-31 BC', null, null, '0001-12-31 BC', '0001-01-01', '0', null, null, null, null, null, null, null, null);
SELECT * FROM dbz_events();

-- array and bytea as keys
CREATE TABLE dbz_keys (a int4[], b bytea, PRIMARY KEY (a, b));
SELECT pgq.capture_table('dbz', 'dbz_keys', 'format=debezium');
INSERT INTO dbz_keys VALUES ('{1,2}', '\x01');
SELECT * FROM dbz_events();

-- a part of a table, under the table's name, and its own TRUNCATE
CREATE TABLE dbz_part (id int4 PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE dbz_part1 PARTITION OF dbz_part FOR VALUES FROM (0) TO (10);
SELECT pgq.capture_table('dbz', 'dbz_part', 'format=debezium');
INSERT INTO dbz_part VALUES (1);
TRUNCATE dbz_part1;
SELECT * FROM dbz_events();

-- an expression, an event that is too large without its value
SELECT pgq.capture_table('dbz', 'dbz_t', 'format=debezium', 'ev_extra2=upper(txt)', 'when=id > 0');
INSERT INTO dbz_t VALUES (-1, 'no'), (1, 'yes');
SELECT * FROM dbz_events();

-- order by lsn is the order of the changes
INSERT INTO dbz_t SELECT g FROM generate_series(100, 110) g;
WITH e AS (SELECT (data::json->>'ev_data')::json->'source' AS s, row_number() OVER () AS n
    FROM pg_logical_slot_get_changes('regress_debezium', NULL, NULL))
SELECT count(*), bool_and((s->>'lsn')::numeric > 0), array_agg(n ORDER BY (s->>'lsn')::numeric) = array_agg(n ORDER BY n),
    count(DISTINCT s->>'txId'), bool_and((s->>'ts_ms')::numeric / 1000 BETWEEN
        extract(epoch FROM now()) - 600 AND extract(epoch FROM clock_timestamp())),
    bool_and((s->>'sequence')::json->>1 = s->>'lsn' AND ((s->>'sequence')::json->>0)::numeric > (s->>'lsn')::numeric)
FROM e;

-- mistakes
\set SHOW_CONTEXT never
SELECT pgq.capture_table('dbz', 'dbz_t', 'format=debezium', 'backup');
SELECT pgq.event_key('{"op":"UPDATE","table":["s","t"],"pkey":["before"]}', '{"before":null,"after":null}', NULL) IS NULL,
    pgq.event_key('{"op":"UPDATE","table":["s","t"],"pkey":["before"]}', '{"before":1,"after":2}', NULL),
    pgq.event_key('{"op":"UPDATE","table":["s","t"],"pkey":["after"]}', '{"before":null,"after":2,"source":3}', NULL),
    pgq.event_key('{"op":"UPDATE","table":["s","t"],"pkey":["a"]}', '{"before":{"a":1},"after":{"a":2},"source":{', NULL),
    pgq.event_key('{"op":"UPDATE","table":["s","t"],"pkey":["a"]}', '{"before":{"a":1},"after":{"a":[2]},"source":3}', NULL) IS NULL;

SELECT pgq.drop_queue('dbz', true);
SELECT pgq.stop_capture();
DROP TABLE dbz_t, dbz_nokey, dbz_toast, dbz_types, dbz_forms, dbz_keys, dbz_part;
DROP TYPE dbz_mood, dbz_pair;
DROP DOMAIN dbz_positive;
DROP FUNCTION dbz_events();
