-- What is wrong, with its cause and what to do: one list for pgqd's log and HTTP,
-- pgqadm status, top and doctor. All thresholds are here and in lasting.sql.
--
-- Severity "standstill" is what keeps events from moving just now; "problem" will,
-- or something is lost; "warning" wants to be known. Kind and object together
-- name one and stay the same while nothing changes.

-- What takes no longer is no problem.
CREATE OR REPLACE FUNCTION pgq._patience()
RETURNS interval AS $$ SELECT interval '6 seconds' $$
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._patience() IS
	'How long something may take before it is told as a problem.';


-- Anybody may call his session pgqd: it is when it has the rights, too. Those of a
-- queue host's pgqd serve none of our queues.
CREATE OR REPLACE FUNCTION pgq._pgqd_sessions()
RETURNS SETOF pg_stat_activity AS $$
	SELECT a.* FROM pg_stat_activity a
	WHERE a.datname = current_database() AND a.application_name ~ '^pgqd(/(?!source)|$)'
	  AND pg_has_role(a.usesysid, 'pgq_admin', 'USAGE')
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._pgqd_sessions() IS
	'Returns the sessions of pgqd in this database.';


CREATE OR REPLACE FUNCTION pgq._slot_sessions()
RETURNS SETOF pg_stat_activity AS $$
	SELECT a.* FROM pgq._pgqd_sessions() a
	WHERE NOT EXISTS (SELECT FROM pgq.slot s WHERE s.slot_remote)
	UNION ALL
	SELECT a.* FROM pg_stat_activity a
	WHERE a.datname = current_database()
	  AND a.application_name LIKE 'pgqd/source%'
	  AND EXISTS (SELECT FROM pgq.slot s WHERE s.slot_remote)
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._slot_sessions() IS
	'Returns the sessions of the pgqd that is to read the slot, ours or that of a queue host.';


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
	PERFORM pg_sleep(0.3);
	RETURN EXISTS (SELECT FROM pg_stat_replication w
				   WHERE w.pid = i_walsender AND w.sent_lsn = sent);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._stands_still(int4) IS
	'Tells whether a walsender has WAL to send and does not.';


-- Who has a table of ours to himself, or a captured one: then we can't look.
CREATE OR REPLACE FUNCTION pgq._table_lock_problems()
RETURNS SETOF pgq.problem AS $$
DECLARE
	captured oid[];
BEGIN
	BEGIN
		captured := ARRAY(SELECT c.cap_relid FROM pgq.capture c);
	EXCEPTION WHEN lock_not_available THEN
		-- it is one of ours
		NULL;
	END;
	RETURN QUERY
	SELECT 'lock', l.relation::regclass::text,
		CASE WHEN c.relnamespace = 'pgq'::regnamespace
			THEN 'standstill' ELSE 'warning' END,
		format('table %s is locked by process %s ("%s", role %s, %s)',
			l.relation::regclass, a.pid, a.application_name, a.usename, a.state),
		'End that transaction, or what it waits for itself; pg_terminate_backend() ends its session.',
		NULL::text, clock_timestamp() - a.xact_start
	FROM pg_locks l
		 JOIN pg_stat_activity a ON a.pid = l.pid
		 JOIN pg_class c ON c.oid = l.relation
	WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p')
	  AND l.database = (SELECT d.oid FROM pg_database d
						WHERE d.datname = current_database())
	  AND (c.relnamespace = 'pgq'::regnamespace OR c.oid = ANY (captured))
	ORDER BY 2, a.pid;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._table_lock_problems() IS
	'Tells which of our tables, and of those captured, somebody has to himself.';


-- Sessions and transactions, from the server's own views: this never hangs.
CREATE OR REPLACE FUNCTION pgq._session_problems()
RETURNS SETOF pgq.problem AS $$
DECLARE
	right_now CONSTANT timestamptz := clock_timestamp();
	p pgq.problem;
	feeds_others bool := false;
BEGIN
	BEGIN
		feeds_others := NOT EXISTS (SELECT FROM pgq.queue)
			AND EXISTS (SELECT FROM pgq.slot s WHERE s.slot_remote);
	EXCEPTION WHEN lock_not_available THEN
		-- which is told
		NULL;
	END;
	IF NOT feeds_others AND NOT EXISTS (SELECT FROM pgq._pgqd_sessions()) THEN
		p.kind := 'pgqd';
		p.object := current_database();
		p.severity := 'standstill';
		p.problem := 'pgqd does not look after this database: no ticks, nothing arrives';
		p.hint := 'Start pgqd (pgqadm CONFIG.ini ticker -d, or pgqd -d pgqd.ini). If it runs, see base_connstr and database_list in its ini file, and its log.';
		RETURN NEXT p;
	END IF;

	-- it looks every few seconds
	RETURN QUERY
	SELECT 'pgqd', current_database()::text, 'standstill',
		'pgqd is connected, but has asked nothing for a while: it is stopped, or its machine hangs',
		'See to its process, and to the machine that it runs on.', NULL::text,
		right_now - a.state_change
	FROM pgq._pgqd_sessions() a
	WHERE a.application_name = 'pgqd/watch'
	  AND a.state = 'idle' AND a.state_change < right_now - interval '10 seconds';

	RETURN QUERY
	SELECT 'lock', a.application_name, 'standstill', l.problem,
		'End that transaction, or what it waits for itself; pg_terminate_backend() ends its session.',
		NULL::text, right_now - a.query_start
	FROM pgq._pgqd_sessions() a CROSS JOIN LATERAL pgq._lock_problem(a.pid) l
	WHERE a.wait_event_type = 'Lock' AND l.problem IS NOT NULL
	  AND a.query_start < right_now - pgq._patience()
	ORDER BY a.application_name;

	-- commits that a synchronous standby holds up: their events wait, too
	RETURN QUERY
	SELECT 'commit', 'synchronous_standby_names', 'standstill',
		format('commits wait for a synchronous standby: synchronous_standby_names is "%s", connected are: %s',
			current_setting('synchronous_standby_names'),
			coalesce((SELECT string_agg(DISTINCT w.application_name, ', ')
					  FROM pg_stat_replication w
					  WHERE w.application_name NOT LIKE 'pgqd/%'), 'none')),
		'Start the standby, or take it out of synchronous_standby_names.',
		NULL::text, right_now - min(a.query_start)
	FROM pg_stat_activity a
	WHERE a.datname = current_database() AND a.wait_event = 'SyncRep'
	  AND a.query_start < right_now - pgq._patience()
	HAVING count(*) > 0;

	RETURN QUERY
	SELECT 'sync', r.application_name, 'problem',
		format('synchronous_standby_names is "%s", which counts pgqd as a standby: commits wait for it',
			current_setting('synchronous_standby_names')),
		'Name the standbys as a superuser:',
		format(E'ALTER SYSTEM SET synchronous_standby_names = %L;\nSELECT pg_reload_conf();',
			coalesce((SELECT 'ANY 1 ('
						|| string_agg(DISTINCT quote_ident(o.application_name), ', ')
						|| ')'
					  FROM pg_stat_replication o
					  WHERE o.application_name NOT LIKE 'pgqd/%'), '')),
		NULL::interval
	FROM pg_stat_replication r
	WHERE r.application_name LIKE 'pgqd/%' AND r.sync_state <> 'async';
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._session_problems() IS
	'Tells what is wrong with pgqd''s sessions and what they wait for.';


-- Transactions of this age are in the way of rotation, or will be.
CREATE OR REPLACE FUNCTION pgq._transaction_problems()
RETURNS SETOF pgq.problem AS $$
	WITH long AS MATERIALIZED (
		SELECT coalesce(min(least(q.queue_rotation_period, '1 hour')), '1 hour')
			AS age
		FROM pgq.queue q)
	SELECT 'transaction', format('process %s', a.pid), 'warning',
		format('process %s in database "%s" has been in a transaction for %s (%s): it holds back WAL and the rotation of event tables',
			a.pid, a.datname,
			date_trunc('second', clock_timestamp() - a.xact_start), a.state),
		'See what it does; if it is forgotten, end it:',
		format('SELECT pg_terminate_backend(%s);', a.pid),
		clock_timestamp() - a.xact_start
	FROM pg_stat_activity a, long
	WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
	  AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)
	  AND a.xact_start < clock_timestamp() - long.age
	UNION ALL
	SELECT 'transaction', x.gid, 'problem',
		format('transaction "%s" in database "%s" was prepared %s ago: it holds back WAL and the rotation of event tables',
			x.gid, x.database,
			date_trunc('second', clock_timestamp() - x.prepared)),
		format('Ask its owner, then end it there: COMMIT PREPARED %1$L; or ROLLBACK PREPARED %1$L;',
			x.gid),
		NULL, clock_timestamp() - x.prepared
	FROM pg_prepared_xacts x, long
	WHERE x.prepared < clock_timestamp() - long.age
	ORDER BY 1, 7 DESC
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._transaction_problems() IS
	'Tells of transactions that have been open for long.';


-- What pgqd alone knows. Rows of a pgqd that is gone do not count.
CREATE OR REPLACE FUNCTION pgq.tell_problems(
	i_kinds text[], i_severities text[], i_problems text[])
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	DELETE FROM pgq.told_problem t
	WHERE t.told_pid = pg_backend_pid()
	   OR NOT EXISTS (SELECT FROM pg_stat_activity a
					  WHERE a.pid = t.told_pid
						AND a.backend_start = t.told_session);
	INSERT INTO pgq.told_problem
	SELECT a.pid, a.backend_start, clock_timestamp(), u.*
	FROM unnest(i_kinds, i_severities, i_problems) u, pg_stat_activity a
	WHERE a.pid = pg_backend_pid();
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '1s';

COMMENT ON FUNCTION pgq.tell_problems(text[], text[], text[]) IS
	'For pgqd: has get_problems() tell, as long as this session lasts, what pgqd knows to be wrong; replaces what the session told before. Returns the number of problems.';


CREATE OR REPLACE FUNCTION pgq._told_problems()
RETURNS SETOF pgq.problem AS $$
	SELECT t.told_kind, current_database()::text, t.told_severity,
		t.told_problem, 'See pgqd''s log.', NULL::text,
		clock_timestamp() - t.told_time
	FROM pgq.told_problem t
		 JOIN pg_stat_activity a ON a.pid = t.told_pid
			AND a.backend_start = t.told_session
	ORDER BY t.told_kind, t.told_problem
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._told_problems() IS
	'Tells what pgqd has told of itself.';


CREATE OR REPLACE FUNCTION pgq.get_problems(
	i_slot_size int8 DEFAULT 10737418240,
	OUT kind text,
	OUT object text,
	OUT severity text,
	OUT problem text,
	OUT hint text,
	OUT statement text,
	OUT age interval)
RETURNS SETOF record AS $$
BEGIN
	IF pg_is_in_recovery() THEN
		RETURN QUERY SELECT * FROM pgq._failover_problems();
		RETURN;
	END IF;
	RETURN QUERY SELECT * FROM pgq._session_problems();

	-- not to hang where all others do
	BEGIN
		RETURN QUERY SELECT * FROM pgq._slot_problems(i_slot_size);
		RETURN QUERY SELECT * FROM pgq._failover_problems();
		RETURN QUERY SELECT * FROM pgq._queue_problems();
		RETURN QUERY SELECT * FROM pgq._source_problems();
		RETURN QUERY SELECT * FROM pgq._transaction_problems();
		RETURN QUERY SELECT * FROM pgq._lasting_problems();
		RETURN QUERY SELECT * FROM pgq._relay_problems();
		RETURN QUERY SELECT * FROM pgq._told_problems();
		-- last, since a lock on one of these tables is its owner's to take
		RETURN QUERY SELECT * FROM pgq._capture_problems();
	EXCEPTION WHEN lock_not_available THEN
		RETURN QUERY SELECT * FROM pgq._table_lock_problems();
	END;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '1s';

COMMENT ON FUNCTION pgq.get_problems(int8) IS
	'Tells what is wrong just now, why, and what to do: standstills, in which events do not move, problems and warnings, among them that the slot keeps more WAL than a number of bytes; no row when all is well.';
