-- Ingest: frames become events, once, and the position moves with them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never

-- frames, as event/frame_format.h has them
CREATE FUNCTION pg_temp.str(t text) RETURNS bytea LANGUAGE sql AS $$
	SELECT CASE WHEN t IS NULL THEN int4send(-1)
		ELSE int4send(octet_length(t)) || convert_to(t, 'UTF8') END $$;
CREATE FUNCTION pg_temp.event(us int8, VARIADIC f text[]) RETURNS bytea LANGUAGE sql AS $$
	SELECT int8send(us) || string_agg(pg_temp.str(f[i]), '' ORDER BY i)
	FROM generate_series(1, 6) i $$;
CREATE FUNCTION pg_temp.frame(tag text, body bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT convert_to(tag, 'UTF8') || int4send(octet_length(body)) || body $$;
CREATE FUNCTION pg_temp.events(queue text, VARIADIC ev bytea[]) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.frame('E', pg_temp.str(queue) || int4send(cardinality(ev)) || string_agg(e, '' ORDER BY o))
	FROM unnest(ev) WITH ORDINALITY u(e, o) $$;
CREATE FUNCTION pg_temp.one(queue text, data text) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.events(queue, pg_temp.event(0, 't', data)) $$;
CREATE FUNCTION pg_temp.commit() RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.frame('C', int8send(1) || int8send(1) || int4send(1) || int8send(1)) $$;

BEGIN;
SELECT pgq.ingest('ingest_none', '0/10000001', '0/10000002', '');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

SELECT pgq.create_queue('ingest_a'), pgq.create_queue('ingest_b');
SELECT queue_data_pfx AS a FROM pgq.queue WHERE queue_name = 'ingest_a' \gset
SELECT queue_data_pfx AS b FROM pgq.queue WHERE queue_name = 'ingest_b' \gset
INSERT INTO pgq.slot (slot_name, slot_sysid) VALUES ('ingest_s', 1);
INSERT INTO pgq.position VALUES ('ingest_s', '0/10000100', now(), 0);
CREATE TEMP VIEW positions AS
SELECT pos_lsn, pos_events FROM pgq.position WHERE pos_slot = 'ingest_s' ORDER BY 1;

-- all fields; events of queues in turn; other frames and unknown queues
SET TIME ZONE 'UTC';
SELECT pgq.ingest('ingest_s', '0/10000100', '0/10000200',
	pg_temp.events('ingest_a',
		pg_temp.event(0, 'I', 'data', 'x1', NULL, '', 'x4'),
		pg_temp.event(1500000, NULL, NULL, NULL, NULL, NULL, NULL))
	|| pg_temp.events('ingest_b', pg_temp.event(0, 'b1', 'ünï'))
	|| pg_temp.frame('T', int4send(1) || pg_temp.str('ingest_a'))
	|| pg_temp.commit()
	|| pg_temp.one('ingest_none', 'goes nowhere')
	|| pg_temp.one('ingest_a', 'third')
	|| pg_temp.commit()
	|| pg_temp.frame('M', int8send(512)));
SELECT ev_id, ev_time, ev_owner, ev_retry, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4
FROM :a ORDER BY ev_id;
SELECT ev_id, ev_type, ev_data FROM :b;
SELECT count(DISTINCT ev_txid) FROM (SELECT ev_txid FROM :a UNION ALL SELECT ev_txid FROM :b) e;
SELECT * FROM positions;

-- once only: the position is another by now
SELECT pgq.ingest('ingest_s', '0/10000100', '0/10000200', pg_temp.one('ingest_a', 'again'));
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ingest('ingest_s', '0/10000300', '0/10000400', pg_temp.one('ingest_a', 'again'));
SELECT pgq.ingest('ingest_s', '0/10000200', '0/10000100', '');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ingest('ingest_s', '0/10000200', NULL, '');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ingest('ingest_none', '0/10000200', '0/10000300', '');
\echo :LAST_ERROR_SQLSTATE

-- no events: the position moves all the same
SELECT pgq.ingest('ingest_s', '0/10000200', '0/10000210', '');

-- a large transaction in parts, and the next one
BEGIN;
SELECT pgq.ingest('ingest_s', '0/10000210', '0/10000210', pg_temp.one('ingest_a', 'part 1'));
SELECT pgq.ingest('ingest_s', '0/10000210', '0/10000210', pg_temp.one('ingest_a', 'part 2'));
SELECT pgq.ingest('ingest_s', '0/10000210', '0/10000300', pg_temp.one('ingest_a', 'part 3'));
SELECT pgq.ingest('ingest_s', '0/10000300', '0/10000310', pg_temp.one('ingest_b', 'next'));
COMMIT;
SELECT * FROM positions;
-- one event in pieces, cut anywhere; what the last piece lacks is an error
BEGIN;
SELECT sum(pgq.ingest('ingest_s', '0/10000310', '0/10000310', substr(f.b, i, 7)))
FROM (SELECT pg_temp.one('ingest_b', 'in pieces') || pg_temp.one('ingest_b', 'another') AS b) f,
	generate_series(1, octet_length(f.b), 7) i;
SELECT pgq.ingest('ingest_s', '0/10000310', '0/10000310', substr(pg_temp.one('ingest_b', 'cut'), 1, 30));
SELECT pgq.ingest('ingest_s', '0/10000310', '0/10000320', substr(pg_temp.one('ingest_b', 'cut'), 31));
COMMIT;
SELECT ev_data FROM :b ORDER BY ev_id;
BEGIN;
SELECT pgq.ingest('ingest_s', '0/10000320', '0/10000320', substr(pg_temp.one('ingest_b', 'cut'), 1, 30));
SELECT pgq.ingest('ingest_s', '0/10000320', '0/10000330', '');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
SELECT pgq.ingest('ingest_s', '0/10000320', '0/10000320', '\x45ffffffff');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
DELETE FROM pgq.position WHERE pos_lsn = '0/10000320';
DELETE FROM :b WHERE ev_data IN ('in pieces', 'another', 'cut');
-- rolled back: as if it had not been, and the next total is right
BEGIN;
SELECT pgq.ingest('ingest_s', '0/10000310', '0/10000310', pg_temp.one('ingest_a', 'rolled back'));
ROLLBACK;
SELECT pgq.ingest('ingest_s', '0/10000310', '0/10000400', pg_temp.one('ingest_a', 'comes again'));
SELECT ev_type, ev_data FROM :a WHERE ev_id > 3 ORDER BY ev_id;
SELECT * FROM positions OFFSET 4;

-- other work of the transaction would be hidden from the slot
BEGIN;
SELECT txid_current() IS NOT NULL;
SELECT pgq.ingest('ingest_s', '0/10000400', '0/10000500', '');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT pgq.ingest('ingest_s', '0/10000400', '0/10000500', '');
ROLLBACK;
BEGIN;
SELECT pgq.ingest('ingest_s', '0/10000400', '0/10000500', '');
PREPARE TRANSACTION 'ingest';
BEGIN READ ONLY;
SELECT pgq.ingest('ingest_s', '0/10000400', '0/10000500', '');
ROLLBACK;

-- a disabled queue takes them, and the limit per transaction does not count
UPDATE pgq.queue SET queue_disable_insert = true, queue_per_tx_limit = 0
WHERE queue_name = 'ingest_b';
SELECT pgq.ingest('ingest_s', '0/10000400', '0/10000500', pg_temp.one('ingest_b', 'disabled'));

-- more than fits one write, and a long one
SELECT pgq.ingest('ingest_s', '0/10000500', '0/10000600',
	pg_temp.events('ingest_b', VARIADIC array_agg(pg_temp.event(i, 'many', i::text) ORDER BY i))
	|| pg_temp.one('ingest_b', repeat('long', 100000)))
FROM generate_series(1, 2500) i;
SELECT count(*), bool_and(ev_time = '2000-01-01Z'::timestamptz + ev_data::int * interval '1 us')
FROM :b WHERE ev_type = 'many';
SELECT bool_and(follows) FROM
	(SELECT ev_data::int = 1 + lag(ev_data::int) OVER (ORDER BY ev_id) AS follows
	 FROM :b WHERE ev_type = 'many') x;
SELECT length(ev_data) FROM :b ORDER BY ev_id DESC LIMIT 1;

-- malformed input
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', '\x45');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', '\x58');
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('P', '\x00'));
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', '\x45ffffffff');
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', '\x457fffffff00');
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('E', ''));
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('E', pg_temp.str(NULL) || int4send(1) || pg_temp.event(0, 't')));
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('E', pg_temp.str('ingest_a') || int4send(0)));
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('E', pg_temp.str('ingest_a') || int4send(2) || pg_temp.event(0, 't')));
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('E', pg_temp.str('ingest_a') || int4send(1) || pg_temp.event(0, 't') || '\x00'));
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('E', pg_temp.str('ingest_a') || int4send(1) || int8send(0) || int4send(1000) || repeat('x', 20)::bytea));
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.events('ingest_a', pg_temp.event(9223372036854775807, 't')));
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('E',
	pg_temp.str('ingest_a') || int4send(1) || int8send(0) || int4send(1) || '\xff'
	|| int4send(-1) || int4send(-1) || int4send(-1) || int4send(-1) || int4send(-1)));
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('W',
	int4send(1) || '\xff' || pg_temp.str('t') || 'F' || int8send(1) || int4send(-1)));
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('W',
	pg_temp.str('ingest_a') || pg_temp.str('t') || 'X' || int8send(1)));
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.frame('W',
	pg_temp.str('ingest_a') || pg_temp.str('t') || 'L' || int8send(-1)));
SELECT count(*) FROM :a WHERE ev_type = 't' AND ev_data IS NULL;

-- a dropped queue loses its events only
SELECT pgq.drop_queue('ingest_b');
SELECT pgq.ingest('ingest_s', '0/10000600', '0/10000700', pg_temp.one('ingest_b', 'gone') || pg_temp.one('ingest_a', 'here'));

-- why it stands still
SELECT pgq.ingest_problem('ingest_s', 'slot is gone', '0/10000700');
SELECT slot_problem, slot_problem_lsn FROM pgq.slot WHERE slot_name = 'ingest_s';
SELECT pgq.ingest_problem('ingest_s', NULL, NULL);
SELECT slot_problem, slot_problem_lsn FROM pgq.slot WHERE slot_name = 'ingest_s';
SELECT pgq.ingest_problem('ingest_none', 'x', NULL);
\echo :LAST_ERROR_SQLSTATE

-- for administrators of queues
CREATE ROLE ingest_admin IN ROLE pgq_admin;
CREATE ROLE ingest_writer IN ROLE pgq_writer, pgq_reader;
SET ROLE ingest_writer;
SELECT pgq.ingest('ingest_s', '0/10000700', '0/10000800', pg_temp.one('ingest_a', 'writer'));
SELECT pgq.ingest_problem('ingest_s', NULL, NULL);
SET ROLE ingest_admin;
SELECT pgq.ingest('ingest_s', '0/10000700', '0/10000800', '\x');
SELECT pgq.ingest_problem('ingest_s', NULL, NULL);
RESET ROLE;
DROP ROLE ingest_admin, ingest_writer;

DELETE FROM pgq.slot WHERE slot_name = 'ingest_s';
DELETE FROM pgq.position WHERE pos_slot = 'ingest_s';
SELECT pgq.drop_queue('ingest_a');
