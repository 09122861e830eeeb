-- capture.sql: the capture slot; which tables are captured into which queues.

-- The slot.

CREATE OR REPLACE FUNCTION pgq.start_capture(i_slot text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'pgq_start_capture' LANGUAGE C;

COMMENT ON FUNCTION pgq.start_capture(text) IS
	'Creates the replication slot that feeds the queues of this database, or adopts it, and returns its name; needs REPLICATION.';


CREATE OR REPLACE FUNCTION pgq.stop_capture(i_slot text DEFAULT NULL)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_stop_capture' LANGUAGE C;

COMMENT ON FUNCTION pgq.stop_capture(text) IS
	'Drops the replication slot with its position; returns 1, or 0 if there was none.';


CREATE OR REPLACE FUNCTION pgq._renew_slot(
	i_slot text, OUT slot text, OUT from_lsn pg_lsn, OUT to_lsn pg_lsn)
AS 'MODULE_PATHNAME', 'pgq__renew_slot' LANGUAGE C;

COMMENT ON FUNCTION pgq._renew_slot(text) IS
	'Replaces a slot that has lost changes; pgq.resync_capture() also tells consumers.';


-- Changes that were held for a copy lack some, too: copies that are under way
-- start over. From now on changes of the tables to copy are held, and thrown
-- away when their copy starts, which has them.
CREATE OR REPLACE FUNCTION pgq._restart_copy(i_queue text, i_table regclass, i_anew bool)
RETURNS bool AS 'MODULE_PATHNAME', 'pgq__restart_copy' LANGUAGE C STRICT;

COMMENT ON FUNCTION pgq._restart_copy(text, regclass, bool) IS
	'Lets a copy that is under way start over, or asks for one of a captured table; a part of _resync_copies.';


CREATE OR REPLACE FUNCTION pgq._resync_copies(i_copy bool, i_tables regclass[])
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	PERFORM pgq._restart_copy(c.copy_queue, c.copy_relid, false)
	FROM pgq.copy c WHERE c.copy_state = 'copying';

	SELECT count(*) INTO n
	FROM (SELECT c.cap_queue, c.cap_relid
		  FROM pgq.capture c JOIN pg_class r ON r.oid = c.cap_relid
		  WHERE i_copy AND (i_tables IS NULL OR c.cap_relid = ANY (i_tables))
			AND NOT EXISTS (SELECT FROM unnest(c.cap_args) a
							WHERE a LIKE 'ops=%' AND a NOT LIKE '%insert%')
		  ORDER BY c.cap_queue, c.cap_relid::text
		  OFFSET 0) m
	WHERE m.cap_queue NOT IN (SELECT q.rq_queue FROM pgq.remote_queue q)
	  AND pgq._restart_copy(m.cap_queue, m.cap_relid, true);
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._resync_copies(bool, regclass[]) IS
	'Asks for copies of captured tables after changes were lost; a part of resync_capture.';


CREATE OR REPLACE FUNCTION pgq._tell_resync(i_slot text, i_from pg_lsn, i_to pg_lsn)
RETURNS int4 AS $$
DECLARE
	queue text;
	tables text[];
	copies text[];
	told text;
	n int4 := 0;
BEGIN
	FOR queue, tables, copies IN
		SELECT c.cap_queue, array_agg(n.nspname || '.' || r.relname),
			coalesce(array_agg(n.nspname || '.' || r.relname)
				FILTER (WHERE p.copy_id IS NOT NULL), '{}')
		FROM pgq.capture c
			JOIN pg_class r ON r.oid = c.cap_relid
			JOIN pg_namespace n ON n.oid = r.relnamespace
			LEFT JOIN pgq.copy p ON p.copy_queue = c.cap_queue
				AND p.copy_relid = c.cap_relid AND p.copy_state = 'waiting'
		WHERE c.cap_queue IN (SELECT q.queue_name FROM pgq.queue q
							  UNION ALL
							  SELECT q.rq_queue FROM pgq.remote_queue q)
		GROUP BY c.cap_queue ORDER BY c.cap_queue
	LOOP
		SELECT array_agg(t ORDER BY t) INTO tables FROM unnest(tables) t;
		SELECT coalesce(array_agg(t ORDER BY t), '{}') INTO copies
		FROM unnest(copies) t;
		told := json_build_object('slot', i_slot, 'from', i_from,
			'to', i_to, 'tables', tables, 'copied', tables = copies,
			'copies', copies)::text;
		IF queue IN (SELECT q.rq_queue FROM pgq.remote_queue q) THEN
			PERFORM pgq.emit_event(queue, 'pgq.resync', told);
		ELSE
			PERFORM pgq.insert_event_raw(queue, NULL, now(), NULL, NULL,
				'pgq.resync', told, NULL, NULL, NULL, NULL);
		END IF;
		n := n + 1;
	END LOOP;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._tell_resync(text, pg_lsn, pg_lsn) IS
	'Puts an event of type pgq.resync into every queue that tables are captured into; returns how many.';


-- The invoker's rights make the slot: the server decides who may.
CREATE OR REPLACE FUNCTION pgq.resync_capture(
	i_slot text DEFAULT NULL, i_copy bool DEFAULT true,
	i_tables regclass[] DEFAULT NULL,
	OUT slot text, OUT from_lsn pg_lsn, OUT to_lsn pg_lsn, OUT queues int4,
	OUT copies int4)
AS $$
DECLARE
	stray regclass;
BEGIN
	SELECT t INTO stray FROM unnest(i_tables) t
	WHERE t::text NOT IN (SELECT i.table_name FROM pgq.get_capture_info() i)
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'table % is not captured', stray
			USING ERRCODE = 'undefined_object',
				HINT = 'pgq.get_capture_info() lists the captured tables.';
	END IF;
	SELECT r.slot, r.from_lsn, r.to_lsn INTO slot, from_lsn, to_lsn
	FROM pgq._renew_slot(i_slot) r;
	copies := pgq._resync_copies(coalesce(i_copy, true), i_tables);
	queues := pgq._tell_resync(slot, from_lsn, to_lsn);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.resync_capture(text, bool, regclass[]) IS
	'Goes on with a new slot after changes were lost, tells the queues by an event pgq.resync, and has the captured tables, or those named, copied anew.';


CREATE OR REPLACE FUNCTION pgq.wait_ingest(
	i_lsn pg_lsn, i_timeout interval DEFAULT '10 seconds')
RETURNS bool AS 'MODULE_PATHNAME', 'pgq_wait_ingest' LANGUAGE C;

COMMENT ON FUNCTION pgq.wait_ingest(pg_lsn, interval) IS
	'Waits until all that committed before this LSN is in the queues; false when that takes longer than the timeout.';


-- Marks.

CREATE OR REPLACE FUNCTION pgq.capture_table(
	i_queue text, i_table regclass, VARIADIC i_args text[] DEFAULT '{}')
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_capture_table' LANGUAGE C;

COMMENT ON FUNCTION pgq.capture_table(text, regclass, text[]) IS
	'Captures the changes of a table into a queue from the commit of this call on; returns 1, or 0 if it replaced the arguments of a capture.';


CREATE OR REPLACE FUNCTION pgq.capture_trigger(i_table regclass, i_trigger name)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_capture_trigger' LANGUAGE C;

COMMENT ON FUNCTION pgq.capture_trigger(regclass, name) IS
	'Replaces a trigger of PgQ by a capture with the same arguments, losing and doubling nothing; returns what capture_table returns.';


CREATE OR REPLACE FUNCTION pgq.uncapture_table(i_queue text, i_table regclass)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_uncapture_table' LANGUAGE C;

COMMENT ON FUNCTION pgq.uncapture_table(text, regclass) IS
	'Ends the capture of a table into a queue; returns 1, or 0 if it was not captured.';


CREATE OR REPLACE FUNCTION pgq._invalidate_capture()
RETURNS void AS 'MODULE_PATHNAME', 'pgq__invalidate_capture' LANGUAGE C;

COMMENT ON FUNCTION pgq._invalidate_capture() IS
	'Makes the output plugin read captures and event tables anew, after a change of these.';


CREATE OR REPLACE FUNCTION pgq._forget_captures(i_queue text)
RETURNS void AS 'MODULE_PATHNAME', 'pgq__forget_captures' LANGUAGE C STRICT;

COMMENT ON FUNCTION pgq._forget_captures(text) IS
	'Ends all that is captured or copied into a queue; a part of drop_queue.';


CREATE OR REPLACE FUNCTION pgq.alter_captured(i_commands text)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_alter_captured' LANGUAGE C STRICT;

COMMENT ON FUNCTION pgq.alter_captured(text) IS
	'Runs commands such as ALTER TABLE that a capture forbids one by one, and looks only afterwards whether the captures fit; returns how many were concerned.';


-- Marks stay true when tables are altered or dropped. The triggers fire under
-- session_replication_role = replica, too.

CREATE OR REPLACE FUNCTION pgq._capture_ddl()
RETURNS event_trigger AS 'MODULE_PATHNAME', 'pgq__capture_ddl' LANGUAGE C
SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._capture_ddl() IS
	'Lets captures follow renamed columns and captured schemas new tables, and refuses changes of a captured table that its capture could not follow.';


CREATE OR REPLACE FUNCTION pgq._capture_drop()
RETURNS event_trigger AS 'MODULE_PATHNAME', 'pgq__capture_drop' LANGUAGE C
SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._capture_drop() IS
	'Ends the captures of dropped tables and schemas, and refuses to drop what a capture needs.';


CREATE OR REPLACE FUNCTION pgq._capture_drop_index()
RETURNS event_trigger AS 'MODULE_PATHNAME', 'pgq__capture_drop_index' LANGUAGE C;

COMMENT ON FUNCTION pgq._capture_drop_index() IS
	'Refuses DROP INDEX CONCURRENTLY of the replica identity of a captured table.';


-- What is captured, and how it goes.

CREATE OR REPLACE FUNCTION pgq._capture_problem(i_table regclass, i_args text[])
RETURNS text AS 'MODULE_PATHNAME', 'pgq__capture_problem' LANGUAGE C STRICT;

COMMENT ON FUNCTION pgq._capture_problem(regclass, text[]) IS
	'Tells why a table can not be captured with these arguments as it is now; NULL when it can.';


CREATE OR REPLACE FUNCTION pgq._capture_warnings(i_table regclass, i_args text[])
RETURNS text[] AS 'MODULE_PATHNAME', 'pgq__capture_warnings' LANGUAGE C STRICT;

COMMENT ON FUNCTION pgq._capture_warnings(regclass, text[]) IS
	'Tells what the events of a captured table lack.';


CREATE OR REPLACE FUNCTION pgq.get_slot_info(
	OUT slot_name text,
	OUT active bool,
	OUT wal_status text,
	OUT lag_bytes int8,
	OUT lag_time interval,
	OUT "position" pg_lsn,
	OUT events int8,
	OUT state text,
	OUT problem text,
	OUT held_bytes int8)
RETURNS SETOF record AS $$
DECLARE
	wal_end pg_lsn;
	sysid int8;
	row_problem text;
	missing_from pg_lsn;
	found_slot bool;
	sync_state text;
	pos_at timestamptz;
	sent pg_lsn;
	remote bool;
	confirmed pg_lsn;
BEGIN
	wal_end := CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
					ELSE pg_current_wal_lsn() END;

	SELECT s.slot_name, s.slot_sysid, s.slot_problem, s.slot_problem_lsn,
		   s.slot_remote
	INTO slot_name, sysid, row_problem, missing_from, remote FROM pgq.slot s;
	IF NOT FOUND THEN
		RETURN;
	END IF;

	SELECT p.pos_lsn, p.pos_events, p.pos_time
	INTO "position", events, pos_at
	FROM pgq.position p WHERE p.pos_slot = get_slot_info.slot_name
	ORDER BY p.pos_lsn DESC LIMIT 1;

	SELECT r.active, r.wal_status, w.sent_lsn, w.sync_state,
		   greatest(wal_end - r.restart_lsn, 0), r.confirmed_flush_lsn
	INTO active, wal_status, sent, sync_state, held_bytes, confirmed
	FROM pg_replication_slots r
	LEFT JOIN pg_stat_replication w ON w.pid = r.active_pid
	WHERE r.slot_name = get_slot_info.slot_name
		AND r.plugin = 'pgq' AND r.database = current_database();
	found_slot := FOUND;
	active := coalesce(active, false);
	-- the queue host has the position; what is confirmed is in its queues
	IF remote THEN
		"position" := confirmed;
		events := NULL;
		pos_at := NULL;
	END IF;

	-- On an idle database pgqd leaves up to 16 kB of WAL without events behind
	-- its position: no lag, as long as all of it was read.
	lag_bytes := greatest(wal_end - "position", 0)::int8;
	IF lag_bytes > 16384 OR (lag_bytes > 0 AND (sent < wal_end) IS NOT FALSE)
	THEN
		lag_time := greatest(clock_timestamp() - pos_at, interval '0');
	END IF;

	IF sysid <> (SELECT system_identifier FROM pg_control_system()) THEN
		state := 'missing';
		problem := 'The slot belongs to another server; changes since the position are not in the queues.';
	ELSIF pg_is_in_recovery() AND row_problem IS NULL THEN
		-- before PostgreSQL 17 it has no slot, and needs none
		state := 'standby';
	ELSIF NOT found_slot AND NOT pg_is_in_recovery() THEN
		state := 'missing';
		problem := 'The slot does not exist; changes since the position are not in the queues.';
	ELSIF wal_status = 'lost' THEN
		state := 'lost';
		problem := 'The server removed WAL that the slot needs; changes since the position are not in the queues.';
	ELSIF row_problem IS NOT NULL THEN
		state := 'problem';
	ELSIF NOT active THEN
		state := 'inactive';
		problem := CASE WHEN remote
			THEN 'Nobody reads the slot: is pgqd of the queue host running, and has it a section [source] for this database?'
			ELSE 'Nobody reads the slot: is pgqd running?' END;
	ELSE
		state := 'ok';
		IF sync_state IN ('sync', 'quorum') THEN
			problem := 'Commits wait for pgqd: synchronous_standby_names counts it as a standby; name the standbys there.';
		END IF;
	END IF;
	problem := coalesce(row_problem
		|| coalesce('; changes are missing from ' || missing_from
			|| ', "pgqadm resync" starts anew', ''), problem);
	RETURN NEXT;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_slot_info() IS
	'Tells how far the changes of captured tables are in the queues; no row before start_capture.';


CREATE OR REPLACE FUNCTION pgq.get_capture_info(
	i_queue text,
	OUT queue_name text,
	OUT table_name text,
	OUT arguments text[],
	OUT replica_identity text,
	OUT state text,
	OUT warnings text[],
	OUT failed_rows int8,
	OUT large_events int8)
RETURNS SETOF record AS $$
DECLARE
	slot record;
	table_problem text;
	relid regclass;
	copying bool;
	trouble record;
BEGIN
	SELECT * INTO slot FROM pgq.get_slot_info();

	FOR queue_name, relid, arguments, copying IN
		SELECT m.* FROM (
			SELECT c.cap_queue, c.cap_relid, c.cap_args,
				   c.cap_copy IS NOT NULL
			FROM pgq.capture c
			UNION ALL
			SELECT p.copy_queue, p.copy_relid, p.copy_args, NULL
			FROM pgq.copy p
			WHERE p.copy_state = 'waiting'
			  AND NOT EXISTS (SELECT FROM pgq.capture c
							  WHERE c.cap_queue = p.copy_queue
								AND c.cap_relid = p.copy_relid)
			) m (queue, relid, args, copying)
		WHERE m.queue = i_queue OR i_queue IS NULL
		ORDER BY m.queue, m.relid::text
	LOOP
		-- search_path is pinned, so this has the schema
		table_name := relid::text;

		-- rows are in the WAL as their partition's identity says; an array
		-- lets the index of pg_class find them (and pg_partition_tree()
		-- would keep locks on all)
		SELECT string_agg(DISTINCT i.ident, ', ' ORDER BY i.ident)
		INTO replica_identity
		FROM (SELECT CASE r.relreplident WHEN 'd' THEN 'default'
							WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full'
							ELSE 'index' END AS ident, r.relkind
				FROM pg_class r
				WHERE r.oid = ANY (ARRAY(
					WITH RECURSIVE tree (oid, kind) AS (
						SELECT c.oid, c.relkind FROM pg_class c
						WHERE c.oid = relid
						UNION ALL
						SELECT c.oid, c.relkind
						FROM tree t
							 JOIN pg_inherits h ON h.inhparent = t.oid
							 JOIN pg_class c ON c.oid = h.inhrelid
						WHERE t.kind = 'p')
					SELECT t.oid FROM tree t))) AS i
		WHERE i.relkind <> 'p';

		table_problem := pgq._capture_problem(relid, arguments);
		warnings := pgq._capture_warnings(relid, arguments);
		IF table_problem IS NOT NULL THEN
			state := 'broken';
			warnings := table_problem || warnings;
		ELSIF slot.slot_name IS NULL
			OR slot.state IN ('missing', 'lost', 'problem') THEN
			state := 'no slot';
			warnings := coalesce(slot.problem,
				'Capture is not started: call pgq.start_capture().')
				|| warnings;
		ELSIF NOT EXISTS (SELECT FROM pgq.queue q
				WHERE q.queue_name = get_capture_info.queue_name
				UNION ALL SELECT FROM pgq.remote_queue q
				WHERE q.rq_queue = get_capture_info.queue_name) THEN
			state := 'no queue';
		ELSE
			state := CASE copying WHEN true THEN 'copying'
						WHEN false THEN 'ok' ELSE 'waiting' END;
			IF slot.state NOT IN ('ok', 'standby') THEN
				warnings := warnings || slot.problem;
			END IF;
			IF state = 'waiting' THEN
				warnings := warnings || 'It waits for pgqd to copy it, and is captured from then on.'::text;
			ELSIF state = 'copying' THEN
				warnings := warnings || (
					SELECT CASE WHEN i.state = 'cancelled'
						THEN 'Its copy is given up; changes are held until pgqd has done so.'
						ELSE format('%s%% of it is copied, %s rows; changes are held until all are.',
							trunc(i.share * 100), i.copied_rows) END
					FROM pgq.get_copy_info() i
					WHERE i.queue_name = get_capture_info.queue_name
					  AND i.table_name = get_capture_info.table_name);
			END IF;
		END IF;

		failed_rows := 0;
		large_events := 0;
		FOR trouble IN
			SELECT t.* FROM pgq.capture_trouble t
				 JOIN pg_class c ON c.oid = relid
				 JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE t.ctr_queue = get_capture_info.queue_name
			  AND t.ctr_table = n.nspname || '.' || c.relname
			ORDER BY t.ctr_kind
		LOOP
			IF trouble.ctr_kind = 'L' THEN
				state := 'broken';
				large_events := trouble.ctr_count;
				warnings := format('%s events were too large and have their key only, the last one at %s.',
					trouble.ctr_count, trouble.ctr_last) || warnings;
			ELSIF trouble.ctr_kind = 'R' THEN
				state := 'broken';
				warnings := format('%s events could not be written and have their key only, the last one at %s: %s. Mend that, then capture the table again with argument copy.',
					trouble.ctr_count, trouble.ctr_last, trouble.ctr_reason)
					|| warnings;
			ELSIF trouble.ctr_kind = 'B' THEN
				state := 'broken';
				warnings := format('%s changes have no event, the last one at %s: %s. Mend that, then capture the table again with argument copy.',
					trouble.ctr_count, trouble.ctr_last, trouble.ctr_reason)
					|| warnings;
			ELSE
				failed_rows := trouble.ctr_count;
				warnings := warnings || format('An expression failed on %s rows, the last time at %s; its field is NULL there.',
					trouble.ctr_count, trouble.ctr_last);
			END IF;
		END LOOP;
		RETURN NEXT;
	END LOOP;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_capture_info(text) IS
	'Lists the tables that are captured into a queue, with what their events lack and whether they still can be captured.';


CREATE OR REPLACE FUNCTION pgq.get_capture_info(
	OUT queue_name text,
	OUT table_name text,
	OUT arguments text[],
	OUT replica_identity text,
	OUT state text,
	OUT warnings text[],
	OUT failed_rows int8,
	OUT large_events int8)
RETURNS SETOF record AS $$
	SELECT * FROM pgq.get_capture_info(NULL::text);
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_capture_info() IS
	'Lists the tables that are captured into queues, with what their events lack and whether they still can be captured.';


-- The lock also keeps two callers from inserting the same row.
CREATE OR REPLACE FUNCTION pgq._lock_queue(i_queue text)
RETURNS void AS $$
BEGIN
	PERFORM FROM pgq.queue WHERE queue_name = i_queue FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		PERFORM FROM pgq.remote_queue WHERE rq_queue = i_queue
		FOR NO KEY UPDATE;
	END IF;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'queue "%" does not exist', i_queue
			USING ERRCODE = 'undefined_object',
				HINT = 'Create it with pgq.create_queue(); pgq.get_queue_info() lists the queues.';
	ELSIF octet_length(i_queue) > 2000 THEN
		RAISE EXCEPTION 'name of the queue is too long'
			USING ERRCODE = 'program_limit_exceeded',
				HINT = 'Use a queue with a shorter name.';
	END IF;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._lock_queue(text) IS
	'Locks a queue, of this database or of its queue host, that is to be captured into; an error if there is none.';


CREATE OR REPLACE FUNCTION pgq.capture_transactions(i_queue text, i_on bool DEFAULT true)
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	PERFORM pgq._lock_queue(i_queue);
	IF i_on THEN
		INSERT INTO pgq.capture_transaction (ctx_queue)
		SELECT i_queue
		WHERE NOT EXISTS (SELECT FROM pgq.capture_transaction
						  WHERE ctx_queue = i_queue);
	ELSE
		DELETE FROM pgq.capture_transaction WHERE ctx_queue = i_queue;
	END IF;
	GET DIAGNOSTICS n = ROW_COUNT;
	PERFORM pgq._invalidate_capture();
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.capture_transactions(text, bool) IS
	'Puts events of type pgq.begin and pgq.commit around the captured transactions of a queue; returns 1 when that is new.';
