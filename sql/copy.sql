-- copy.sql: copies of captured tables, so that the rows that are there come
-- before their changes. capture/copy_rows.c says how it all goes.

CREATE OR REPLACE FUNCTION pgq.cancel_copy(i_queue text, i_table regclass)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_cancel_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq.cancel_copy(text, regclass) IS
	'Gives up copying a table into a queue, whose capture goes on without; returns 1, or 0 if it was not being copied.';


-- What pgqd calls.

CREATE OR REPLACE FUNCTION pgq._end_copy(i_copy int8)
RETURNS void AS 'MODULE_PATHNAME', 'pgq__end_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._end_copy(int8) IS
	'Gives a copy up whose table is gone; a part of _next_copy.';


CREATE OR REPLACE FUNCTION pgq._next_copy(OUT copy_id int8, OUT is_cancelled bool)
AS $$
DECLARE
	gone int8;
BEGIN
	FOR gone IN
		SELECT c.copy_id FROM pgq.copy c
		WHERE c.copy_state IN ('waiting', 'copying')
		  AND NOT EXISTS (SELECT FROM pg_class r WHERE r.oid = c.copy_relid)
		FOR UPDATE OF c SKIP LOCKED
	LOOP
		PERFORM pgq._end_copy(gone);
	END LOOP;

	SELECT c.copy_id, c.copy_state = 'cancelled' INTO copy_id, is_cancelled
	FROM pgq.copy c
	WHERE c.copy_state IN ('waiting', 'copying', 'cancelled')
	ORDER BY c.copy_state = 'cancelled' DESC, c.copy_tried NULLS FIRST,
		c.copy_id
	LIMIT 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._next_copy() IS
	'Tells pgqd which copy to begin, or to end when it was cancelled; NULL when there is none.';


CREATE OR REPLACE FUNCTION pgq._start_copy(
	i_copy int8, OUT copy_id int8, OUT queue_name text, OUT table_oid oid,
	OUT table_name text)
AS 'MODULE_PATHNAME', 'pgq__start_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._start_copy(int8) IS
	'Locks a table, gives its mark the id of a new copy and returns that; NULL when the copy was given up.';


CREATE OR REPLACE FUNCTION pgq._begin_copy(i_copy int8, i_queue text, i_table oid)
RETURNS int8 AS 'MODULE_PATHNAME', 'pgq__begin_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._begin_copy(int8, text, oid) IS
	'Takes the snapshot of a copy while _start_copy keeps writers out; returns the number of blocks, NULL when somebody is in the way.';


CREATE OR REPLACE FUNCTION pgq._copy_rows(
	OUT copied int8, OUT bytes int8, OUT blocks int8, OUT done bool)
AS 'MODULE_PATHNAME', 'pgq__copy_rows' LANGUAGE C;
COMMENT ON FUNCTION pgq._copy_rows() IS
	'Copies some rows into the queue and tells how many there are so far.';


CREATE OR REPLACE FUNCTION pgq._publish_copy(i_copy int8)
RETURNS text AS 'MODULE_PATHNAME', 'pgq__publish_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._publish_copy(int8) IS
	'Ends a copy: puts the changes that it held behind its rows; returns the queue.';


-- A row that is being deleted is one to let go of: drop_queue waits for us.
CREATE OR REPLACE FUNCTION pgq._copy_goes_on(i_copy int8)
RETURNS bool AS $$
BEGIN
	PERFORM FROM pgq.copy
	WHERE copy_id = i_copy AND copy_state = 'copying'
	FOR KEY SHARE SKIP LOCKED;
	RETURN FOUND;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._copy_goes_on(int8) IS
	'Tells pgqd whether a copy is still wanted.';


CREATE OR REPLACE FUNCTION pgq._note_copy(
	i_copy int8, i_rows int8, i_bytes int8, i_blocks int8, i_blocks_done int8)
RETURNS void AS 'MODULE_PATHNAME', 'pgq__note_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._note_copy(int8, int8, int8, int8, int8) IS
	'Notes how far a copy is.';


CREATE OR REPLACE FUNCTION pgq._fail_copy(i_copy int8, i_error text)
RETURNS void AS 'MODULE_PATHNAME', 'pgq__fail_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._fail_copy(int8, text) IS
	'Notes why a copy did not succeed; it is tried again.';


CREATE OR REPLACE FUNCTION pgq._clean_copies()
RETURNS void AS $$
BEGIN
	-- Ingest has passed the start of the newer one: nothing names the older
	-- one any more.
	DELETE FROM pgq.copy d USING pgq.copy n
	WHERE d.copy_state = 'done' AND n.copy_state = 'done'
	  AND n.copy_queue = d.copy_queue AND n.copy_relid = d.copy_relid
	  AND n.copy_id > d.copy_id;

	PERFORM FROM pgq.held_event LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	PERFORM FROM pgq.copy
	WHERE copy_state <> 'done' AND copy_started IS NOT NULL;
	IF FOUND THEN
		DELETE FROM pgq.held_event h
		WHERE NOT EXISTS (SELECT FROM pgq.copy c
						  WHERE c.copy_id = h.held_copy AND c.copy_state <> 'done');
		RETURN;
	END IF;
	-- Ingest must not wait, nor must we. Who begins to hold changes now, waits.
	LOCK TABLE pgq.held_event IN ACCESS EXCLUSIVE MODE NOWAIT;
	PERFORM FROM pgq.copy
	WHERE copy_state <> 'done' AND copy_started IS NOT NULL;
	IF NOT FOUND THEN
		TRUNCATE pgq.held_event;
	END IF;
EXCEPTION
	WHEN lock_not_available THEN
		NULL;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._clean_copies() IS
	'Removes held changes, and rows of copies, that nothing needs any more.';


-- What users see.

CREATE OR REPLACE FUNCTION pgq.get_copy_info(
	OUT queue_name text,
	OUT table_name text,
	OUT state text,
	OUT copied_rows int8,
	OUT total_rows int8,
	OUT bytes int8,
	OUT share float8,
	OUT started timestamptz,
	OUT finished timestamptz,
	OUT time_left interval,
	OUT problem text)
RETURNS SETOF record AS $$
DECLARE
	slot_problem text;
	c pgq.copy%ROWTYPE;
BEGIN
	SELECT coalesce(i.problem, CASE WHEN i.state <> 'ok' THEN i.state END)
	INTO slot_problem FROM pgq.get_slot_info() i;
	IF NOT FOUND THEN
		slot_problem := 'Capture is not started: call pgq.start_capture().';
	END IF;

	FOR c IN
		SELECT p.* FROM pgq.copy p
			 JOIN pg_class r ON r.oid = p.copy_relid
		WHERE p.copy_state <> 'superseded'
		  AND NOT EXISTS (SELECT FROM pgq.copy n
						  WHERE n.copy_queue = p.copy_queue
							AND n.copy_relid = p.copy_relid
							AND n.copy_id > p.copy_id)
		ORDER BY p.copy_queue, p.copy_relid::text
	LOOP
		queue_name := c.copy_queue;
		table_name := c.copy_relid::text;
		state := c.copy_state;
		copied_rows := c.copy_rows;
		bytes := c.copy_bytes;
		started := c.copy_started;
		finished := c.copy_finished;
		share := NULL;
		time_left := NULL;
		problem := NULL;
		CASE
			WHEN c.copy_state = 'done' THEN
				total_rows := c.copy_rows;
				share := 1;
			WHEN c.copy_blocks_done > 0 THEN
				share := least(c.copy_blocks_done::float8 / c.copy_blocks, 1);
				total_rows := (c.copy_rows / share)::int8;
				time_left := (clock_timestamp() - started)
					* ((1 - share) / share);
			ELSE
				share := 0;
				SELECT sum(r.reltuples)::int8 INTO total_rows
				FROM pg_class r
				WHERE r.reltuples >= 0 AND r.relkind = 'r'
				  AND r.oid IN (SELECT c.copy_relid UNION ALL
					SELECT t.relid FROM pg_partition_tree(c.copy_relid) t);
		END CASE;
		IF c.copy_state <> 'done' THEN
			problem := coalesce(c.copy_error, slot_problem);
		END IF;
		RETURN NEXT;
	END LOOP;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.get_copy_info() IS
	'Tells how far the copies of captured tables are, the last one of each table and queue.';
