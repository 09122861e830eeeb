-- copy.sql: copies of captured tables, so that the rows that are there come
-- before their changes. capture/copy_rows.c says how it all goes.

-- Called by capture_table, with the rights checked. Arguments are kept without
-- the word copy.
CREATE FUNCTION pgq._request_copy(i_queue text, i_table regclass, i_args text[])
RETURNS int4 AS $$
DECLARE
	captured bool;
	c pgq.copy%ROWTYPE;
	args text[] := array_remove(i_args, 'copy');
BEGIN
	captured := EXISTS (SELECT FROM pgq.capture m
						WHERE m.cap_queue = i_queue AND m.cap_relid = i_table);
	SELECT * INTO c FROM pgq.copy
	WHERE copy_queue = i_queue AND copy_relid = i_table
	  AND copy_state IN ('waiting', 'copying')
	FOR UPDATE;
	IF FOUND AND c.copy_started IS NOT NULL THEN
		PERFORM pgq._require_no_copy(i_queue, i_table);
	ELSIF FOUND THEN
		UPDATE pgq.copy SET copy_args = args, copy_error = NULL
		WHERE copy_id = c.copy_id;
		RETURN 0;
	END IF;
	INSERT INTO pgq.copy (copy_queue, copy_relid, copy_args, copy_state,
						  copy_truncate, copy_discard)
	VALUES (i_queue, i_table, args, 'waiting', captured, NOT captured);
	RETURN CASE WHEN captured THEN 0 ELSE 1 END;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._request_copy(text, regclass, text[]) IS
	'Notes that a table is to be copied; a part of capture_table.';


CREATE FUNCTION pgq._require_no_copy(i_queue text, i_table regclass)
RETURNS void AS $$
BEGIN
	PERFORM FROM pgq.copy
	WHERE copy_queue = i_queue AND copy_relid = i_table
	  AND copy_state IN ('waiting', 'copying');
	IF FOUND THEN
		RAISE EXCEPTION 'table % is being copied into queue "%"',
				i_table, i_queue
			USING ERRCODE = 'object_in_use',
				HINT = 'Wait until pgq.get_copy_info() says that it is done, or give the copy up with pgq.cancel_copy().';
	END IF;

	-- Changes that a new capture sends at once would come before these.
	PERFORM FROM pgq.copy c
	WHERE c.copy_queue = i_queue AND c.copy_relid = i_table
	  AND c.copy_state = 'cancelled'
	  AND NOT EXISTS (SELECT FROM pgq.capture m
					  WHERE m.cap_copy = c.copy_id);
	IF FOUND THEN
		RAISE EXCEPTION 'changes of table % are still held for a copy into queue "%" that was given up',
				i_table, i_queue
			USING ERRCODE = 'object_in_use',
				HINT = 'pgqd puts them into the queue: try again when pgq.get_copy_info() says that the copy is done.';
	END IF;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._require_no_copy(text, regclass) IS
	'Refuses to change a capture whose table is being copied; a part of capture_table.';


-- A copy that has begun holds changes, which pgqd then publishes; unless they
-- are those of a capture that came with the copy and ends with it.
CREATE FUNCTION pgq._end_copy(i_copy int8, i_capture_ends bool)
RETURNS void AS $$
BEGIN
	DELETE FROM pgq.copy
	WHERE copy_id = i_copy
	  AND (copy_started IS NULL OR (i_capture_ends AND NOT copy_truncate));
	IF NOT FOUND THEN
		UPDATE pgq.copy SET copy_state = 'cancelled', copy_tried = NULL
		WHERE copy_id = i_copy;
	END IF;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._end_copy(int8, bool) IS
	'Gives a copy up; a part of cancel_copy and uncapture_table.';


CREATE FUNCTION pgq._cancel_copy(
	i_queue text, i_table regclass, i_capture_ends bool)
RETURNS int4 AS $$
DECLARE
	id int8;
BEGIN
	SELECT copy_id INTO id FROM pgq.copy
	WHERE copy_queue = i_queue AND copy_relid = i_table
	  AND copy_state IN ('waiting', 'copying')
	FOR UPDATE;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	PERFORM pgq._end_copy(id, i_capture_ends);
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._cancel_copy(text, regclass, bool) IS
	'Gives the copy of a table up; a part of cancel_copy and uncapture_table.';


CREATE FUNCTION pgq.cancel_copy(i_queue text, i_table regclass)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_cancel_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq.cancel_copy(text, regclass) IS
	'Gives up copying a table into a queue, whose capture goes on without; returns 1, or 0 if it was not being copied.';


CREATE FUNCTION pgq._mark_copy(
	i_queue text, i_table regclass, i_args text[], i_copy int8)
RETURNS void AS 'MODULE_PATHNAME', 'pgq__mark_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._mark_copy(text, regclass, text[], int8) IS
	'Locks a table against writers, checks that it can be captured and sets its mark; a part of _start_copy.';


-- What pgqd calls.

CREATE FUNCTION pgq._next_copy(OUT copy_id int8, OUT is_cancelled bool)
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
		PERFORM pgq._end_copy(gone, true);
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


CREATE FUNCTION pgq._start_copy(
	i_copy int8, OUT copy_id int8, OUT queue_name text, OUT table_oid oid,
	OUT table_name text)
AS $$
DECLARE
	c pgq.copy%ROWTYPE;
	args text[];
	new_id int8;
BEGIN
	SELECT * INTO c FROM pgq.copy p
	WHERE p.copy_id = i_copy AND p.copy_state IN ('waiting', 'copying')
	FOR UPDATE;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	-- The mark follows renamed columns.
	SELECT m.cap_args INTO args FROM pgq.capture m WHERE m.cap_copy = i_copy;
	args := coalesce(args, c.copy_args);

	-- What an earlier try held is in this one's snapshot.
	IF c.copy_started IS NULL OR c.copy_discard THEN
		DELETE FROM pgq.copy p WHERE p.copy_id = i_copy;
	ELSE
		UPDATE pgq.copy p SET copy_state = 'superseded' WHERE p.copy_id = i_copy;
	END IF;
	INSERT INTO pgq.copy AS p (copy_queue, copy_relid, copy_args, copy_state,
			copy_truncate, copy_discard, copy_requested, copy_started, copy_tried)
	VALUES (c.copy_queue, c.copy_relid, args, 'copying', c.copy_truncate,
			c.copy_discard, c.copy_requested, clock_timestamp(), now())
	RETURNING p.copy_id INTO new_id;

	PERFORM pgq._mark_copy(c.copy_queue, c.copy_relid, args, new_id);
	copy_id := new_id;
	queue_name := c.copy_queue;
	table_oid := c.copy_relid;
	table_name := c.copy_relid::text;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._start_copy(int8) IS
	'Locks a table, gives its mark the id of a new copy and returns that; NULL when the copy was given up.';


CREATE FUNCTION pgq._begin_copy(i_copy int8, i_queue text, i_table oid)
RETURNS int8 AS 'MODULE_PATHNAME', 'pgq__begin_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._begin_copy(int8, text, oid) IS
	'Takes the snapshot of a copy while _start_copy keeps writers out; returns the number of blocks, NULL when somebody is in the way.';


CREATE FUNCTION pgq._copy_rows(
	OUT copied int8, OUT bytes int8, OUT blocks int8, OUT done bool)
AS 'MODULE_PATHNAME', 'pgq__copy_rows' LANGUAGE C;
COMMENT ON FUNCTION pgq._copy_rows() IS
	'Copies some rows into the queue and tells how many there are so far.';


CREATE FUNCTION pgq._publish_copy(i_copy int8)
RETURNS text AS 'MODULE_PATHNAME', 'pgq__publish_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._publish_copy(int8) IS
	'Ends a copy: puts the changes that it held behind its rows; returns the queue.';


-- A row that is being deleted is one to let go of: drop_queue waits for us.
CREATE FUNCTION pgq._copy_goes_on(i_copy int8)
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


CREATE FUNCTION pgq._note_copy(
	i_copy int8, i_rows int8, i_bytes int8, i_blocks int8, i_blocks_done int8)
RETURNS void AS $$
	UPDATE pgq.copy
	SET copy_rows = i_rows, copy_bytes = i_bytes, copy_blocks = i_blocks,
		copy_blocks_done = i_blocks_done
	WHERE copy_id = i_copy AND copy_state = 'copying';
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._note_copy(int8, int8, int8, int8, int8) IS
	'Notes how far a copy is.';


CREATE FUNCTION pgq._fail_copy(i_copy int8, i_error text)
RETURNS void AS $$
	UPDATE pgq.copy SET copy_error = i_error, copy_tried = now()
	WHERE copy_id = i_copy AND copy_state IN ('waiting', 'copying', 'cancelled');
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._fail_copy(int8, text) IS
	'Notes why a copy did not succeed; it is tried again.';


CREATE FUNCTION pgq._clean_copies()
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

CREATE FUNCTION pgq.get_copy_info(
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
