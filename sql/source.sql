-- source.sql: databases of other servers that feed queues of this one. pgqd reads
-- their slots and calls pgq.ingest() here; a source may feed the queues that it was
-- given, and no others, whatever it sends.

CREATE OR REPLACE FUNCTION pgq.create_source(
	i_source text, VARIADIC i_queues text[] DEFAULT '{}')
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	IF i_source IS NULL OR i_queues IS NULL THEN
		RAISE EXCEPTION 'Invalid NULL value'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Give the name of the source, as [source NAME] in pgqd''s ini file has it.';
	END IF;
	IF i_source = '' OR octet_length(i_source) > 200 OR i_source ~ '[\x01-\x1f\]]'
	THEN
		RAISE EXCEPTION 'a source cannot be named "%"', i_source
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'A name has 1 to 200 bytes, without "]" and line breaks.';
	END IF;
	INSERT INTO pgq.source (src_name) VALUES (i_source)
	ON CONFLICT DO NOTHING;
	GET DIAGNOSTICS n = ROW_COUNT;
	PERFORM pgq.grant_source(i_source, q) FROM unnest(i_queues) q;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.create_source(text, text[]) IS
	'Lets a database of another server, [source NAME] of pgqd''s ini file, feed these queues; returns 1, or 0 if the source was there.';


CREATE OR REPLACE FUNCTION pgq._require_source(i_source text)
RETURNS void AS $$
BEGIN
	PERFORM FROM pgq.source WHERE src_name = i_source FOR KEY SHARE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'source "%" does not exist', i_source
			USING ERRCODE = 'undefined_object',
				HINT = 'Create it with pgq.create_source(); pgq.get_source_info() lists the sources.';
	END IF;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._require_source(text) IS
	'Raises an error if there is no such source; a part of grant_source and its like.';


CREATE OR REPLACE FUNCTION pgq.grant_source(
	i_source text, i_queue text, i_extra int4 DEFAULT NULL)
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	PERFORM pgq._require_source(i_source);
	PERFORM FROM pgq.queue WHERE queue_name = i_queue FOR KEY SHARE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'queue "%" does not exist', i_queue
			USING ERRCODE = 'undefined_object',
				HINT = 'Create it with pgq.create_queue(); pgq.get_queue_info() lists the queues.';
	END IF;
	IF i_extra NOT BETWEEN 1 AND 4 THEN
		RAISE EXCEPTION 'there is no column ev_extra%', i_extra
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Give 1 to 4, or NULL for events that do not name their source.';
	END IF;
	UPDATE pgq.source_queue SET sq_extra = i_extra
	WHERE sq_source = i_source AND sq_queue = i_queue;
	IF FOUND THEN
		RETURN 0;
	END IF;
	INSERT INTO pgq.source_queue (sq_source, sq_queue, sq_extra)
	VALUES (i_source, i_queue, i_extra) ON CONFLICT DO NOTHING;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.grant_source(text, text, int4) IS
	'Lets a source feed a queue, where ev_extra1 to ev_extra4 of its events may name it; returns 1, or 0 if it might already.';


CREATE OR REPLACE FUNCTION pgq.revoke_source(i_source text, i_queue text)
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	-- waits for what is being ingested
	LOCK TABLE pgq.source IN EXCLUSIVE MODE;
	PERFORM pgq._require_source(i_source);
	DELETE FROM pgq.source_queue
	WHERE sq_source = i_source AND sq_queue = i_queue;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '10s';

COMMENT ON FUNCTION pgq.revoke_source(text, text) IS
	'From its commit on a source feeds a queue no more: such events are discarded; returns 1, or 0 if it might not.';


CREATE OR REPLACE FUNCTION pgq.reset_source(i_source text)
RETURNS int4 AS $$
DECLARE
	key text;
BEGIN
	LOCK TABLE pgq.source IN EXCLUSIVE MODE;
	PERFORM pgq._require_source(i_source);
	SELECT src_key INTO key FROM pgq.source
	WHERE src_name = i_source AND src_key IS NOT NULL;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	UPDATE pgq.source
	SET src_key = NULL, src_sysid = NULL, src_database = NULL, src_slot = NULL,
		src_encoding = NULL, src_timeline = NULL, src_problem = NULL,
		src_problem_lsn = NULL
	WHERE src_name = i_source;
	DELETE FROM pgq.position WHERE pos_slot = key;
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '10s';

COMMENT ON FUNCTION pgq.reset_source(text) IS
	'Forgets what a source is and its position, so that it begins anew where its slot is confirmed: changes that the slot does not have are not in the queues, and those that were written but not confirmed come twice. Returns 1, or 0 if nothing was known.';


CREATE OR REPLACE FUNCTION pgq.drop_source(i_source text)
RETURNS int4 AS $$
BEGIN
	LOCK TABLE pgq.source IN EXCLUSIVE MODE;
	PERFORM FROM pgq.source WHERE src_name = i_source;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	PERFORM pgq.reset_source(i_source);
	DELETE FROM pgq.source_queue WHERE sq_source = i_source;
	DELETE FROM pgq.source WHERE src_name = i_source;
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '10s';

COMMENT ON FUNCTION pgq.drop_source(text) IS
	'Ends the feeding by a source and forgets its position; its slot stays. Returns 1, or 0 if there was none.';


-- pgqd has connected to the source. The first time what it found is noted; later it
-- must be the same.
CREATE OR REPLACE FUNCTION pgq._meet_source(
	i_source text, i_sysid int8, i_database text, i_slot text, i_encoding text,
	i_start pg_lsn,
	OUT key text, OUT "position" pg_lsn, OUT timeline int4, OUT problem text,
	OUT foreign_reason text)
AS $$
DECLARE
	src pgq.source%ROWTYPE;
	other text;
BEGIN
	SELECT * INTO src FROM pgq.source WHERE src_name = i_source FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		PERFORM pgq._require_source(i_source);
	END IF;
	key := format('%s/%s/%s', i_sysid::numeric
		+ CASE WHEN i_sysid < 0 THEN 18446744073709551616 ELSE 0 END,
		i_slot, i_database);
	IF src.src_key IS NULL THEN
		SELECT s.src_name INTO other FROM pgq.source s WHERE s.src_key = key;
		IF FOUND THEN
			foreign_reason := format('it is source "%s" already', other);
			RETURN;
		END IF;
		IF i_start IS NULL THEN
			foreign_reason := 'its slot has no position to begin at';
			RETURN;
		END IF;
		DELETE FROM pgq.position WHERE pos_slot = key;
		UPDATE pgq.source
		SET src_key = key, src_sysid = i_sysid, src_database = i_database,
			src_slot = i_slot, src_encoding = i_encoding
		WHERE src_name = i_source
		RETURNING * INTO src;
		INSERT INTO pgq.position (pos_slot, pos_lsn, pos_time, pos_events)
		VALUES (key, i_start, now(), 0);
	ELSIF src.src_key <> key OR src.src_encoding <> i_encoding THEN
		foreign_reason := format('the position is of system %s, database "%s", slot "%s", encoding %s, and this is system %s, database "%s", slot "%s", encoding %s',
			split_part(src.src_key, '/', 1), src.src_database, src.src_slot,
			src.src_encoding, split_part(key, '/', 1), i_database, i_slot,
			i_encoding);
	END IF;
	key := src.src_key;
	timeline := src.src_timeline;
	problem := src.src_problem;
	SELECT p.pos_lsn INTO "position" FROM pgq.position p
	WHERE p.pos_slot = src.src_key ORDER BY p.pos_lsn DESC LIMIT 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._meet_source(text, int8, text, text, text, pg_lsn) IS
	'Tells pgqd where to go on with a source, and whether it is still the same.';


CREATE OR REPLACE FUNCTION pgq._note_source(
	i_source text, i_problem text, i_problem_lsn pg_lsn, i_timeline int4)
RETURNS void AS $$
	UPDATE pgq.source
	SET src_problem = i_problem, src_problem_lsn = i_problem_lsn,
		src_timeline = coalesce(i_timeline, src_timeline)
	WHERE src_name = i_source
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._note_source(text, text, pg_lsn, int4) IS
	'Notes why ingest of a source stands still and from which LSN changes are missing, NULL when it goes on, and its timeline.';


CREATE OR REPLACE FUNCTION pgq.get_source_info(
	OUT source_name text, OUT queues text[], OUT system_id text,
	OUT database text, OUT slot text, OUT encoding text, OUT "position" pg_lsn,
	OUT position_time timestamptz, OUT events int8, OUT state text,
	OUT problem text)
RETURNS SETOF record AS $$
	SELECT s.src_name, ARRAY(SELECT q.sq_queue FROM pgq.source_queue q
							 WHERE q.sq_source = s.src_name
							 ORDER BY q.sq_queue),
		split_part(s.src_key, '/', 1), s.src_database, s.src_slot,
		s.src_encoding, p.pos_lsn, p.pos_time, p.pos_events,
		CASE WHEN s.src_problem_lsn IS NOT NULL THEN 'missing'
			WHEN s.src_problem IS NOT NULL THEN 'problem'
			WHEN s.src_key IS NULL THEN 'new' ELSE 'ok' END,
		s.src_problem || coalesce('; changes are missing from '
			|| s.src_problem_lsn, '')
	FROM pgq.source s
		 LEFT JOIN LATERAL (
			SELECT o.pos_lsn, o.pos_time, o.pos_events
			FROM pgq.position o WHERE o.pos_slot = s.src_key
			ORDER BY o.pos_lsn DESC LIMIT 1) p ON true
	ORDER BY s.src_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_source_info() IS
	'Tells which databases of other servers feed queues of this one, and how far they are.';


CREATE OR REPLACE FUNCTION pgq._source_problems()
RETURNS SETOF pgq.problem AS $$
	SELECT 'source', i.source_name, 'standstill',
		format('source "%s" stands still: %s', i.source_name, i.problem),
		CASE i.state WHEN 'missing'
			THEN 'Changes are missing from the queues. To go on without them, and tell consumers of it, make a new slot there with "pgqadm resync", and then here:'
			ELSE 'Remove the cause; pgqd tries again every few seconds, and nothing is lost meanwhile.'
		END,
		CASE i.state WHEN 'missing'
			THEN format('SELECT pgq.reset_source(%L);', i.source_name) END,
		NULL::interval
	FROM pgq.get_source_info() i
	WHERE i.state IN ('missing', 'problem')
	UNION ALL
	SELECT 'source', t.ctr_queue, 'warning',
		format('%s, queue "%s": %s events lack something, the last: %s',
			t.ctr_table, t.ctr_queue, t.ctr_count, t.ctr_reason),
		'pgq.get_capture_info() there tells more. Make sure that its consumers can do with that.',
		NULL, NULL
	FROM pgq.capture_trouble t
		 JOIN pgq.source s ON t.ctr_table = 'source ' || s.src_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._source_problems() IS
	'Tells which sources do not bring all that they should.';
