-- What keeps events from moving just now, with its cause: one list for pgqd's
-- log and HTTP, pgqadm status, top and doctor.
--
-- The texts stay the same while nothing changes: how long it has been so is in
-- a column of its own.

CREATE OR REPLACE FUNCTION pgq._sync_standby_problem()
RETURNS text AS $$
	SELECT string_agg(
		CASE WHEN r.slot_name IS NULL
				THEN format('there is no slot "%s"', n.name)
			 WHEN NOT r.active
				THEN format('nobody reads slot "%s"', n.name)
			 ELSE format('the standby of slot "%s" is behind', n.name) END,
		', ' ORDER BY r.slot_name IS NOT NULL, r.active, n.name)
	FROM (SELECT btrim(s.name, ' "') AS name
		  FROM string_to_table(
			current_setting('synchronized_standby_slots', true), ',') s (name)
		 ) n
		 LEFT JOIN pg_replication_slots r ON r.slot_name = n.name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._sync_standby_problem() IS
	'Tells how the slots of synchronized_standby_slots are.';


-- What session i_pid waits for, and by whose fault.
CREATE OR REPLACE FUNCTION pgq._lock_problem(i_pid int4, OUT problem text,
											 OUT holder int4)
AS $$
	SELECT format('session %s waits for a lock%s that process %s holds%s',
			s.application_name,
			coalesce(' on ' || (
				SELECT CASE WHEN l.relation IS NOT NULL
						AND l.database = (SELECT d.oid FROM pg_database d
									WHERE d.datname = current_database())
						THEN l.relation::regclass::text
						ELSE l.locktype END
				FROM pg_locks l WHERE l.pid = i_pid AND NOT l.granted
				LIMIT 1), ''),
			b.pid,
			coalesce(format(' ("%s", role %s, %s)', h.application_name,
							h.usename, coalesce(h.state, h.backend_type)), '')),
		b.pid
	FROM pg_stat_activity s
		 CROSS JOIN LATERAL (SELECT (pg_blocking_pids(s.pid))[1] AS pid) b
		 LEFT JOIN pg_stat_activity h ON h.pid = b.pid
	WHERE s.pid = i_pid AND b.pid IS NOT NULL
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._lock_problem(int4) IS
	'Tells which lock a session waits for, and who holds it; no text when it does not.';


CREATE OR REPLACE FUNCTION pgq._stands_still(i_walsender int4)
RETURNS bool AS $$
DECLARE
	flushed pg_lsn := pg_current_wal_flush_lsn();
	sent pg_lsn;
BEGIN
	SELECT w.sent_lsn INTO sent FROM pg_stat_replication w
	WHERE w.pid = i_walsender;
	IF (sent < flushed) IS NOT TRUE THEN
		RETURN false;
	END IF;
	-- what was flushed this moment it may not have seen yet
	PERFORM pg_sleep(1);
	RETURN EXISTS (SELECT FROM pg_stat_replication w
				   WHERE w.pid = i_walsender AND w.sent_lsn = sent);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._stands_still(int4) IS
	'Tells whether a walsender has WAL to send and does not.';


CREATE OR REPLACE FUNCTION pgq.get_problems(
	OUT kind text,
	OUT object text,
	OUT problem text,
	OUT hint text,
	OUT age interval)
RETURNS SETOF record AS $$
DECLARE
	-- what takes no longer is no problem
	patience interval := '6 seconds';
	right_now timestamptz := clock_timestamp();
	has_pgqd bool;
	slot record;
	reader record;
BEGIN
	IF pg_is_in_recovery() THEN
		RETURN;
	END IF;
	has_pgqd := EXISTS (SELECT FROM pg_stat_activity a
						WHERE a.datname = current_database()
						  AND a.application_name ~ '^pgqd(/|$)');

	IF NOT has_pgqd THEN
		kind := 'pgqd';
		object := current_database();
		problem := 'pgqd does not look after this database: no ticks, nothing arrives';
		hint := 'Start pgqd; if it runs, see base_connstr and database_list in its ini file, and its log.';
		RETURN NEXT;
	END IF;

	-- locks that our sessions wait for
	hint := 'End that transaction, or what it waits for itself; pg_terminate_backend() ends its session.';
	kind := 'lock';
	FOR object, problem, age IN
		SELECT a.application_name, l.problem, right_now - a.query_start
		FROM pg_stat_activity a
			 CROSS JOIN LATERAL pgq._lock_problem(a.pid) l
		WHERE a.datname = current_database()
		  AND a.application_name LIKE 'pgqd/%' AND a.wait_event_type = 'Lock'
		  AND a.query_start < right_now - patience AND l.problem IS NOT NULL
		ORDER BY a.application_name
	LOOP
		RETURN NEXT;
	END LOOP;

	-- commits that a synchronous standby holds up: their events wait, too
	SELECT right_now - min(a.query_start) INTO age
	FROM pg_stat_activity a
	WHERE a.datname = current_database() AND a.wait_event = 'SyncRep'
	  AND a.query_start < right_now - patience;
	IF age IS NOT NULL THEN
		kind := 'commit';
		object := 'synchronous_standby_names';
		problem := format('commits wait for a synchronous standby: synchronous_standby_names is "%s", connected are: %s',
			current_setting('synchronous_standby_names'),
			coalesce((SELECT string_agg(DISTINCT w.application_name, ', ')
					  FROM pg_stat_replication w
					  WHERE w.application_name NOT LIKE 'pgqd/%'), 'none'));
		hint := 'Start the standby, or take it out of synchronous_standby_names.';
		RETURN NEXT;
	END IF;

	-- not to hang where all others do
	BEGIN
		-- the slot: who reads it, and what for does that one wait?
		SELECT i.* INTO slot FROM pgq.get_slot_info() i
		WHERE i.state IN ('ok', 'inactive');
		SELECT a.pid, a.application_name, a.usename, a.wait_event_type,
			   a.wait_event INTO reader
		FROM pg_replication_slots r JOIN pg_stat_activity a ON a.pid = r.active_pid
		WHERE r.slot_name = slot.slot_name;
		kind := 'slot';
		object := slot.slot_name;
		age := slot.lag_time;
		IF reader.application_name NOT LIKE 'pgqd/%' THEN
			kind := 'reader';
			problem := format('slot "%s" is read by another program, "%s" of role %s, process %s: what it confirms never reaches the queues',
				slot.slot_name, reader.application_name, reader.usename, reader.pid);
			hint := format('End it: SELECT pg_terminate_backend(%s); and see whether changes are missing.',
				reader.pid);
			RETURN NEXT;
		ELSIF reader.wait_event = 'WaitForStandbyConfirmation'
			AND slot.lag_time > patience THEN
			problem := format('slot "%s" waits for the standbys in synchronized_standby_slots: %s',
				slot.slot_name, pgq._sync_standby_problem());
			hint := 'Start that standby, or take its slot out of synchronized_standby_slots.';
			RETURN NEXT;
		ELSIF slot.state = 'inactive' AND has_pgqd AND slot.lag_time > patience THEN
			kind := 'unread';
			problem := format('pgqd is connected, but nobody reads slot "%s"',
				slot.slot_name);
			hint := 'See its log for the reason; its ini file must not say ingest = 0.';
			RETURN NEXT;
		ELSIF slot.lag_time > patience AND reader.wait_event_type <> 'IO'
			AND pgq._stands_still(reader.pid) THEN
			-- it waits for something, and there is WAL for it
			kind := 'stream';
			problem := format('slot "%s" does not move, though there is WAL for it: its walsender, process %s, waits for %s',
				slot.slot_name, reader.pid, reader.wait_event);
			hint := format('See whether that process and pgqd are stopped; to make pgqd connect anew: SELECT pg_terminate_backend(%s);',
				reader.pid);
			RETURN NEXT;
		END IF;

		-- queues that nobody ticks; a pause is somebody's will
		FOR kind, object, problem, hint, age IN
			SELECT CASE WHEN q.queue_external_ticker THEN 'ticker' ELSE 'tick' END,
				q.queue_name, CASE WHEN q.queue_external_ticker
					THEN format('queue "%s" has an external ticker, which has not ticked it lately',
								q.queue_name)
					ELSE format('pgqd is connected, but has not ticked queue "%s" lately',
								q.queue_name) END,
				CASE WHEN q.queue_external_ticker
					THEN format('Start what ticks it, or let pgqd do it: SELECT pgq.set_queue_config(%L, ''external_ticker'', ''false'');',
								q.queue_name)
					ELSE 'See its log for the reason.' END,
				right_now - t.tick_time
			FROM pgq.queue q
				 CROSS JOIN LATERAL (
					SELECT t.tick_time FROM pgq.tick t
					WHERE t.tick_queue = q.queue_id
					ORDER BY t.tick_id DESC LIMIT 1) t
			WHERE NOT q.queue_ticker_paused
			  AND (q.queue_external_ticker OR has_pgqd)
			  AND t.tick_time < right_now - q.queue_ticker_idle_period
								- q.queue_ticker_max_lag - patience
			ORDER BY q.queue_name
		LOOP
			RETURN NEXT;
		END LOOP;
	EXCEPTION WHEN lock_not_available THEN
		kind := 'lock';
		hint := 'End that transaction, or what it waits for itself; pg_terminate_backend() ends its session.';
		age := NULL;
		FOR object, problem IN
			SELECT l.relation::regclass::text,
				format('table %s is locked by process %s ("%s", role %s, %s)',
					l.relation::regclass, a.pid, a.application_name, a.usename,
					a.state)
			FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
			WHERE l.granted AND l.mode = 'AccessExclusiveLock'
			  AND l.relation IN (SELECT c.oid FROM pg_class c
								 WHERE c.relnamespace = 'pgq'::regnamespace
								   AND c.relkind = 'r')
			ORDER BY 1, a.pid
		LOOP
			RETURN NEXT;
		END LOOP;
	END;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '1s';

COMMENT ON FUNCTION pgq.get_problems() IS
	'Tells what keeps events from moving just now, why, and what to do; no row when nothing does.';
