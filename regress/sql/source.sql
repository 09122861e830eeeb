-- A source feeds the queues that it was given, in this database's encoding, and
-- nothing else, whatever it sends.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
\set SHOW_CONTEXT never

-- frames, as event/frame_format.h has them; texts are bytes here
CREATE FUNCTION pg_temp.str(t bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT CASE WHEN t IS NULL THEN int4send(-1)
		ELSE int4send(octet_length(t)) || t END $$;
CREATE FUNCTION pg_temp.frame(tag text, body bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT convert_to(tag, 'UTF8') || int4send(octet_length(body)) || body $$;
CREATE FUNCTION pg_temp.event(data bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT int8send(0) || pg_temp.str('t') || pg_temp.str(data)
		|| pg_temp.str(NULL) || pg_temp.str(NULL) || pg_temp.str(NULL) || pg_temp.str(NULL) $$;
CREATE FUNCTION pg_temp.one(queue bytea, data bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.frame('E', pg_temp.str(queue) || int4send(1) || pg_temp.event(data)) $$;
CREATE FUNCTION pg_temp.held(queue bytea, copy int8, data bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.frame('H', pg_temp.str(queue) || int8send(copy) || int4send(1) || pg_temp.event(data)) $$;
CREATE FUNCTION pg_temp.warning(queue bytea, tab bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.frame('W', pg_temp.str(queue) || pg_temp.str(tab) || 'F'::bytea || int8send(2) || int4send(-1)) $$;

SELECT pgq.create_queue('source_a'), pgq.create_queue('sourcé'), pgq.create_queue('source_c');
DO $$ BEGIN
	EXECUTE (SELECT 'CREATE TEMP VIEW data AS '
		|| string_agg(format('SELECT %L AS queue, ev_data FROM %s', queue_name, queue_data_pfx), ' UNION ALL ')
		FROM pgq.queue WHERE queue_name LIKE 'sourc%');
	EXECUTE (SELECT format('CREATE TEMP VIEW extras AS SELECT * FROM %s', queue_data_pfx)
		FROM pgq.queue WHERE queue_name = 'source_c');
END $$;
CREATE TEMP VIEW positions AS
SELECT pos_slot, pos_lsn, pos_events FROM pgq.position WHERE pos_slot LIKE '%/%' ORDER BY 1, 2;

-- named, and given queues that are there
SELECT pgq.create_source('shop', 'source_a', 'source_none');
SELECT pgq.create_source('bad]name');
SELECT pgq.create_source('shop', 'source_a'), pgq.create_source('shop');
SELECT pgq.grant_source('shop', 'sourcé'), pgq.grant_source('shop', 'sourcé'), pgq.create_source('other', 'source_c');
SELECT pgq.grant_source('none', 'source_a');
SELECT pgq.grant_source('shop', 'source_a', 5);

-- what is met first is what the position is of
SELECT * FROM pgq._meet_source('shop', -1, 'db/x', 's', 'LATIN1', '0/10000100');
SELECT * FROM pgq._meet_source('shop', -1, 'db/x', 's', 'LATIN1', '0/10000900');
SELECT * FROM pgq._meet_source('shop', 7, 'db/x', 's', 'LATIN1', '0/10000900');
SELECT * FROM pgq._meet_source('other', -1, 'db/x', 's', 'LATIN1', '0/10000900');
SELECT * FROM pgq._meet_source('none', 7, 'db', 's', 'LATIN1', '0/10000900');
SELECT key FROM pgq._meet_source('other', 7, 'db', 's2', 'UTF8', '0/10000500');
SELECT key AS k FROM pgq._meet_source('shop', -1, 'db/x', 's', 'LATIN1', '0/10000100') \gset

-- its queues and no others, by their names in its encoding
SELECT pgq.ingest(:'k', '0/10000100', '0/10000200',
	pg_temp.one('source_a', '\xe4') || pg_temp.one('\x736f757263e9', 'for it')
	|| pg_temp.one('source_c', 'not given') || pg_temp.one('source_none', 'none'));
SELECT * FROM data ORDER BY 1, 2;
SELECT * FROM positions;

-- an event names its source, whatever that says itself
SELECT pgq.grant_source('other', 'source_c', 4);
DO $$ BEGIN
	PERFORM pgq.ingest('7/s2/db', '0/10000500', '0/10000510', pg_temp.frame('E', pg_temp.str('source_c') || int4send(2)
		|| int8send(0) || pg_temp.str('t') || pg_temp.str('d') || pg_temp.str('1') || pg_temp.str('2') || pg_temp.str('3') || pg_temp.str('shop')
		|| pg_temp.event('e')));
END $$;
SELECT ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4 FROM extras ORDER BY 1;

-- once only
SELECT pgq.ingest(:'k', '0/10000100', '0/10000200', pg_temp.one('source_a', 'again'));
\echo :LAST_ERROR_SQLSTATE
-- nor under a key that nobody has, or what is no source's
SELECT pgq.ingest('7/s2/none', '0/10000500', '0/10000600', pg_temp.one('source_a', 'again'));

-- the position's lock is named by what it is called here, and by no text of its own
BEGIN;
SELECT pgq.ingest(:'k', '0/10000200', '0/10000200', '');
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object'
	AND classid = 'pgq.position'::regclass AND objid = (hashtext('source/shop' COLLATE "C")::int8 & 4294967295)::oid;
ROLLBACK;

-- copies of this database are not its business
INSERT INTO pgq.copy (copy_queue, copy_relid, copy_args, copy_state, copy_truncate, copy_discard)
VALUES ('source_c', 'pg_class', '{}', 'copying', false, false), ('source_c', 'pg_type', '{}', 'done', false, false);
SELECT pgq.ingest(:'k', '0/10000200', '0/10000300', (
	SELECT string_agg(pg_temp.held(convert_to(q, 'UTF8'), copy_id, 'held'), '')
	FROM pgq.copy, unnest('{source_a,source_c}'::text[]) q));
SELECT count(*) FROM pgq.held_event WHERE held_copy IN (SELECT copy_id FROM pgq.copy WHERE copy_queue = 'source_c');
SELECT count(*) FROM data WHERE ev_data = 'held';
DELETE FROM pgq.copy WHERE copy_queue = 'source_c';

-- its warnings are counted under its name, and fill no table
SELECT pgq.ingest(:'k', '0/10000300', '0/10000310', pg_temp.warning('source_a', 't1') || pg_temp.warning('source_a', 't2')
	|| pg_temp.warning('source_c', 't3'));
SELECT ctr_queue, ctr_table, ctr_kind, ctr_count, ctr_reason FROM pgq.capture_trouble WHERE ctr_table LIKE 'source%';
SELECT kind, object, severity, problem FROM pgq._source_problems();

-- text that is none, and time that is none
SELECT pgq.ingest('7/s2/db', '0/10000510', '0/10000600', pg_temp.one('source_c', '\xe4'));
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ingest(:'k', '0/10000310', '0/10000320', pg_temp.one('source_a', '\x6100'));
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ingest('7/s2/db', '0/10000510', '0/10000600', pg_temp.one('source_c', 'fine'));

-- a queue is taken away; dropped, it is not given by its name again
SELECT pgq.revoke_source('shop', 'source_a'), pgq.revoke_source('shop', 'source_a');
DROP VIEW data, extras;
SELECT pgq.drop_queue('sourcé'), pgq.create_queue('sourcé');
SELECT pgq.ingest(:'k', '0/10000310', '0/10000320', pg_temp.one('source_a', 'x') || pg_temp.one('\x736f757263e9', 'x'));
SELECT pgq.grant_source('shop', 'source_a');

-- what is wrong is told
SELECT pgq._note_source('shop', 'the slot is away', '0/10000320', 3);
SELECT source_name, queues, system_id, database, slot, encoding, "position", events, state, problem FROM pgq.get_source_info();
SELECT kind, object, severity, problem, statement FROM pgq._source_problems() WHERE severity = 'standstill';
SELECT key, "position", timeline, problem FROM pgq._meet_source('shop', -1, 'db/x', 's', 'LATIN1', '0/10000900');

-- anew, and away
SELECT pgq.reset_source('shop'), pgq.reset_source('shop'), pgq.reset_source('other');
SELECT * FROM positions;
SELECT pgq.ingest(:'k', '0/10000320', '0/10000330', pg_temp.one('source_a', 'x'));
SELECT "position" FROM pgq._meet_source('shop', -1, 'db/x', 's', 'LATIN1', '0/10000900');
SELECT pgq.drop_source('shop'), pgq.drop_source('other'), pgq.drop_source('other');
SELECT count(*) FROM positions;

-- who may
CREATE ROLE source_reader IN ROLE pgq_reader;
SET ROLE source_reader;
SELECT count(*) FROM pgq.get_source_info();
SELECT pgq.create_source('mine');
RESET ROLE;
DROP ROLE source_reader;

SELECT pgq.drop_queue('source_a'), pgq.drop_queue('sourcé'), pgq.drop_queue('source_c');
DELETE FROM pgq.capture_trouble WHERE ctr_table LIKE 'source%';
