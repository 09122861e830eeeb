-- What is wrong with the slot, captures and queues: see problem.sql.

-- pgq.get_slot_info() tells its state; here is who reads it, and what for that
-- one waits.
CREATE OR REPLACE FUNCTION pgq._slot_problems(i_slot_size int8)
RETURNS SETOF pgq.problem AS $$
DECLARE
	lost CONSTANT text := 'Changes are missing from the queues. To go on without them, as pgqadm resync does; consumers get an event pgq.resync, and the tables anew:';
	p pgq.problem;
	slot record;
	server record;
	reader record;
	missing_from pg_lsn;
	captures int8;
BEGIN
	p.severity := 'standstill';
	SELECT i.* INTO slot FROM pgq.get_slot_info() i;
	IF NOT FOUND THEN
		SELECT count(*) INTO captures FROM pgq.capture;
		IF captures > 0 THEN
			p.kind := 'start';
			p.object := current_database();
			p.problem := format('%s captures, but capture is not started: their changes go nowhere',
				captures);
			p.hint := 'Make the slot; changes made before are not captured:';
			p.statement := 'SELECT pgq.start_capture();';
			RETURN NEXT p;
		END IF;
		RETURN;
	END IF;

	p.object := slot.slot_name;
	p.age := slot.lag_time;
	SELECT s.slot_problem_lsn INTO missing_from FROM pgq.slot s;
	SELECT r.* INTO server FROM pg_replication_slots r
	WHERE r.slot_name = slot.slot_name;
	IF slot.state IN ('missing', 'lost') OR missing_from IS NOT NULL THEN
		p.kind := 'missing';
		p.problem := CASE WHEN missing_from IS NULL
			THEN format('slot "%s": %s', slot.slot_name, slot.problem)
			ELSE format('ingest stands still: %s', slot.problem) END;
		p.hint := lost;
		-- a copy of a database must not take the slot of the original
		p.statement := format('SELECT pgq.resync_capture(%L);',
			CASE WHEN server.database IS DISTINCT FROM current_database()
					AND server.slot_name IS NOT NULL
				THEN left('pgq_' || regexp_replace(lower(current_database()),
							'[^a-z0-9_]', '_', 'g'), 63)
				ELSE slot.slot_name END);
		RETURN NEXT p;
		RETURN;
	ELSIF slot.state = 'problem' THEN
		p.kind := 'ingest';
		p.problem := format('ingest stands still: %s', slot.problem);
		p.hint := 'Remove the cause; pgqd tries again every few seconds, and nothing is lost meanwhile.';
		RETURN NEXT p;
		RETURN;
	END IF;

	SELECT a.pid, a.application_name, a.usename, a.wait_event_type, a.wait_event
	INTO reader FROM pg_stat_activity a WHERE a.pid = server.active_pid;
	IF reader.pid <> ALL (SELECT o.pid FROM pgq._slot_sessions() o)
		AND reader.pid IS NOT NULL THEN
		p.kind := 'reader';
		p.problem := format('slot "%s" is read by another program, "%s" of role %s, process %s: what it confirms never reaches the queues',
			slot.slot_name, reader.application_name, reader.usename, reader.pid);
		p.hint := 'End it, and see whether changes are missing:';
		p.statement := format('SELECT pg_terminate_backend(%s);', reader.pid);
		RETURN NEXT p;
	ELSIF reader.wait_event = 'WaitForStandbyConfirmation'
		AND slot.lag_time > pgq._patience() THEN
		p.kind := 'slot';
		p.problem := format('slot "%s" waits for the standbys in synchronized_standby_slots: %s',
			slot.slot_name, pgq._sync_standby_problem());
		p.hint := 'Start that standby, or take its slot out of synchronized_standby_slots.';
		RETURN NEXT p;
	ELSIF slot.state = 'inactive' AND slot.lag_time > pgq._patience()
		AND EXISTS (SELECT FROM pgq._slot_sessions()) THEN
		p.kind := 'unread';
		p.problem := format('pgqd is connected, but nobody reads slot "%s"',
			slot.slot_name);
		p.hint := 'See its log for the reason; its ini file must not say ingest = 0.';
		RETURN NEXT p;
	ELSIF slot.lag_time > pgq._patience() AND reader.wait_event_type <> 'IO'
		AND pgq._stands_still(reader.pid) THEN
		-- it waits for something, and there is WAL for it
		p.kind := 'stream';
		p.problem := format('slot "%s" does not move, though there is WAL for it: its walsender, process %s, waits for %s',
			slot.slot_name, reader.pid, reader.wait_event);
		p.hint := 'See whether that process and pgqd are stopped; to make pgqd connect anew:';
		p.statement := format('SELECT pg_terminate_backend(%s);', reader.pid);
		RETURN NEXT p;
	END IF;

	p.kind := 'wal';
	p.age := NULL;
	p.statement := NULL;
	IF slot.wal_status = 'unreserved' THEN
		p.severity := 'problem';
		p.problem := format('slot "%s" is %s behind, and the server is about to remove its WAL',
			slot.slot_name, pg_size_pretty(slot.lag_bytes));
		p.hint := 'Start pgqd at once, or let the server keep more WAL as a superuser:';
		p.statement := E'ALTER SYSTEM SET max_slot_wal_keep_size = -1;\nSELECT pg_reload_conf();';
		RETURN NEXT p;
	ELSIF (i_slot_size > 0 AND slot.held_bytes > i_slot_size)
		OR slot.held_bytes > server.safe_wal_size THEN
		p.severity := 'warning';
		p.problem := format('slot "%s" holds back %s of WAL (max_slot_wal_keep_size is %s)',
			slot.slot_name, pg_size_pretty(slot.held_bytes),
			current_setting('max_slot_wal_keep_size'));
		p.hint := 'See whether pgqd runs and which transactions are long; mind the disk.';
		RETURN NEXT p;
	END IF;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._slot_problems(int8) IS
	'Tells what is wrong with the slot and who reads it.';


CREATE OR REPLACE FUNCTION pgq._capture_problems()
RETURNS SETOF pgq.problem AS $$
DECLARE
	p pgq.problem;
	c record;
BEGIN
	p.kind := 'capture';
	FOR c IN
		SELECT i.*, to_regclass(i.table_name) AS relid, r.relpersistence
		FROM pgq.get_capture_info(NULL) i
			 LEFT JOIN pg_class r ON r.oid = to_regclass(i.table_name)
	LOOP
		p.object := format('%s/%s', c.queue_name, c.table_name);
		p.severity := 'standstill';
		p.statement := NULL;
		IF c.relpersistence = 'u' THEN
			p.problem := format('table %s, captured for queue "%s", is unlogged: its changes are in no WAL',
				c.table_name, c.queue_name);
			p.hint := 'Make it logged:';
			p.statement := format('ALTER TABLE %s SET LOGGED;', c.relid);
			RETURN NEXT p;
		ELSIF c.state = 'broken' AND c.replica_identity = 'nothing' THEN
			p.problem := format('table %s, captured for queue "%s", has no replica identity: updates and deletes cannot be captured',
				c.table_name, c.queue_name);
			p.hint := 'Give it one:';
			p.statement := format('ALTER TABLE %s REPLICA IDENTITY %s;', c.relid,
				CASE WHEN EXISTS (SELECT FROM pg_index x
								  WHERE x.indrelid = c.relid AND x.indisprimary)
					THEN 'DEFAULT' ELSE 'FULL' END);
			RETURN NEXT p;
		ELSIF c.state = 'broken' THEN
			p.problem := format('table %s can no longer be captured for queue "%s": %s',
				c.table_name, c.queue_name, c.warnings[1]);
			p.hint := 'Alter it so that it can, or end its capture with pgqadm uncapture.';
			RETURN NEXT p;
		ELSIF c.state = 'no queue' THEN
			p.problem := format('table %s is captured into queue "%s", which does not exist: its events are discarded',
				c.table_name, c.queue_name);
			p.hint := 'Create it, or end that capture with pgqadm uncapture:';
			p.statement := format('SELECT pgq.create_queue(%L);', c.queue_name);
			RETURN NEXT p;
		ELSIF c.state = 'ok' THEN
			p.severity := 'warning';
			-- what its events lack by design is for doctor
			IF c.failed_rows > 0 THEN
				p.problem := format('table %s, queue "%s": %s', c.table_name,
					c.queue_name, c.warnings[cardinality(c.warnings)]);
				p.hint := 'Make sure that its consumers can do with that.';
				RETURN NEXT p;
			END IF;
		END IF;
	END LOOP;

	RETURN QUERY
	SELECT 'trigger', e.evtname::text, 'problem',
		format('event trigger %s is not always enabled: altered tables may break their capture',
			e.evtname),
		'Enable it:',
		format('ALTER EVENT TRIGGER %I ENABLE ALWAYS;', e.evtname),
		NULL::interval
	FROM pg_event_trigger e
	WHERE e.evtname LIKE 'pgq\_capture%' AND e.evtenabled <> 'A'
	ORDER BY e.evtname;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._capture_problems() IS
	'Tells which captures do not bring all that they should.';


CREATE OR REPLACE FUNCTION pgq._queue_problems()
RETURNS SETOF pgq.problem AS $$
	-- queues that nobody ticks; a pause is somebody's will
	SELECT CASE WHEN q.queue_external_ticker THEN 'ticker' ELSE 'tick' END,
		q.queue_name, 'standstill', CASE WHEN q.queue_external_ticker
			THEN format('queue "%s" has an external ticker, which has not ticked it lately',
						q.queue_name)
			ELSE format('pgqd is connected, but has not ticked queue "%s" lately',
						q.queue_name) END,
		CASE WHEN q.queue_external_ticker
			THEN 'Start what ticks it, or let pgqd do it:'
			ELSE 'See its log for the reason.' END,
		CASE WHEN q.queue_external_ticker
			THEN format('SELECT pgq.set_queue_config(%L, ''external_ticker'', ''false'');',
						q.queue_name) END,
		clock_timestamp() - t.tick_time
	FROM pgq.queue q
		 CROSS JOIN LATERAL (
			SELECT t.tick_time FROM pgq.tick t
			WHERE t.tick_queue = q.queue_id
			ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1) t
	WHERE NOT q.queue_ticker_paused
	  AND (q.queue_external_ticker OR EXISTS (SELECT FROM pgq._pgqd_sessions()))
	  AND t.tick_time < clock_timestamp() - q.queue_ticker_idle_period
						- q.queue_ticker_max_lag - pgq._patience()
	UNION ALL
	SELECT 'clock', q.queue_name, 'warning',
		format('queue "%s" has a tick %s in the future: the server''s clock was set back',
			q.queue_name, date_trunc('second', t.tick_time - clock_timestamp())),
		'Nothing is lost, and ticks go on; lags are wrong until that time has come.',
		NULL, NULL
	FROM pgq.queue q
		 CROSS JOIN LATERAL (
			SELECT t.tick_time FROM pgq.tick t
			WHERE t.tick_queue = q.queue_id
			ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1) t
	WHERE t.tick_time > clock_timestamp() + interval '5 seconds'
	UNION ALL
	SELECT 'insert', q.queue_name, 'warning',
		format('queue "%s" refuses events from SQL', q.queue_name),
		'Let them in:',
		format('UPDATE pgq.queue SET queue_disable_insert = false WHERE queue_name = %L;',
			q.queue_name), NULL
	FROM pgq.queue q WHERE q.queue_disable_insert
	UNION ALL
	SELECT 'size', concat_ws('/', s.queue_name, s.held_by), 'problem',
		format('queue "%s" takes more disk than its max_size of %s',
			s.queue_name, pg_size_pretty(s.max_size))
			|| CASE WHEN s.held_by IS NULL THEN ''
				ELSE format(': consumer "%s" is in the way', s.held_by) END,
		format('It has %s. In the way is a consumer, a transaction, a dump, or too small a limit. pgqd rotates early while that is so; max_size_policy drop_slowest gives up the consumer that is farthest behind.',
			pg_size_pretty(s.size)), NULL, NULL
	FROM pgq.queue q CROSS JOIN LATERAL pgq.get_queue_size(q.queue_name) s
	WHERE q.queue_max_size IS NOT NULL AND s.is_over
	UNION ALL
	SELECT 'lost', format('%s/%s', l.queue_name, l.consumer_name), 'problem',
		format('consumer "%s" of queue "%s" has lost its position at tick %s, because the queue was over its max_size; it has to register again',
			l.consumer_name, l.queue_name, l.lost_tick),
		format('Events are missing for it. To go on with those to come: SELECT pgq.register_consumer(%1$L, %2$L); or pgq.unregister_consumer(%1$L, %2$L).',
			l.queue_name, l.consumer_name),
		NULL, now() - l.lost_time
	FROM pgq.get_lost_consumers(NULL) l
	UNION ALL
	SELECT 'retry', 'late', 'problem',
		format('%s events should have been retried, the oldest %s ago', count(*),
			date_trunc('second', clock_timestamp() - min(r.ev_retry_after))),
		'pgqd moves them every retry_period: see that it runs, and its log. By hand, as often as it returns more than 0: SELECT pgq.maint_retry_events();',
		NULL, clock_timestamp() - min(r.ev_retry_after)
	FROM pgq.retry_queue r WHERE r.ev_retry_after < now() - interval '10 minutes'
	HAVING count(*) > 0
	UNION ALL
	SELECT 'retry', q.queue_name, 'warning',
		format('%s events of queue "%s" wait to be retried', count(*),
			q.queue_name),
		'Some consumer puts off more events than it can work off: see its errors.',
		NULL, NULL
	FROM pgq.retry_queue r JOIN pgq.queue q ON q.queue_id = r.ev_queue
	GROUP BY q.queue_name HAVING count(*) > 100000
	ORDER BY 1, 2
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._queue_problems() IS
	'Tells which queues are not ticked, refuse events or are too large, and what else is wrong with them.';


-- Will a promoted standby have the slot?  Columns that not all servers have are
-- read from JSON.
CREATE OR REPLACE FUNCTION pgq._failover_problems()
RETURNS SETOF pgq.problem AS $$
DECLARE
	is_standby CONSTANT bool := pg_is_in_recovery();
	syncs CONSTANT bool := coalesce(
		current_setting('sync_replication_slots', true) = 'on', false);
	waits CONSTANT bool := coalesce(
		current_setting('synchronized_standby_slots', true) <> '', false);
	p pgq.problem;
	name text;
	reason text;
	server record;
BEGIN
	SELECT s.slot_name INTO name FROM pgq.slot s;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	p.kind := 'failover';
	p.object := name;
	SELECT r.temporary, r.wal_status,
		   (to_jsonb(r) ->> 'failover')::bool AS failover,
		   (to_jsonb(r) ->> 'synced')::bool AS synced,
		   to_jsonb(r) ->> 'invalidation_reason' AS reason
	INTO server FROM pg_replication_slots r
	WHERE r.slot_name = name AND r.plugin = 'pgq'
	  AND r.database = current_database();

	IF NOT is_standby AND NOT server.failover AND (waits OR syncs) THEN
		p.severity := 'problem';
		p.problem := format('slot "%s" is no failover slot, though %s: a promoted standby will not have it',
			name, CASE WHEN waits THEN 'synchronized_standby_slots is set'
				ELSE 'sync_replication_slots is on' END);
		p.hint := format('Stop pgqd, make it one with psql ''dbname=%s replication=database'' -c ''ALTER_REPLICATION_SLOT %s (FAILOVER)'', and start pgqd; nothing is lost.',
			current_database(), name);
		RETURN NEXT p;
	ELSIF NOT is_standby AND server.failover AND syncs THEN
		RETURN QUERY
		SELECT 'failover', a.application_name, 'warning',
			format('standby "%s" can keep no copy of slot "%s": %s',
				a.application_name, name, CASE WHEN s.slot_name IS NULL
					THEN 'it has no primary_slot_name'
					ELSE 'it has hot_standby_feedback off' END),
			'Set that on the standby: see high-availability.md.', NULL::text,
			NULL::interval
		FROM pg_stat_replication a
			 LEFT JOIN pg_replication_slots s ON s.active_pid = a.pid
		WHERE a.state = 'streaming' AND s.slot_type IS DISTINCT FROM 'logical'
		  AND (s.slot_name IS NULL
			   OR s.xmin IS NULL AND s.catalog_xmin IS NULL);
	ELSIF is_standby AND server IS NULL
		AND NOT EXISTS (SELECT FROM pg_replication_slots r
						WHERE r.slot_name = name AND r.plugin = 'pgq') THEN
		p.severity := 'warning';
		p.problem := format('this standby has no slot "%s": were it promoted, changes would be missing',
			name);
		p.hint := format('It takes %s; see high-availability.md.',
			CASE WHEN current_setting('sync_replication_slots', true) IS NOT NULL
				THEN 'sync_replication_slots on this standby, and a slot with failover on the primary'
				ELSE 'a cluster manager that copies it, as Patroni does its permanent slots' END);
		RETURN NEXT p;
	END IF;
	IF NOT is_standby OR server IS NULL THEN
		RETURN;
	END IF;

	IF server.synced AND server.temporary THEN
		p.severity := 'warning';
		p.problem := format('slot "%s" is not complete on this standby: promoted now, it would not have it',
			name);
		p.hint := 'It is when the standby has all that the primary''s slot needs: see the server''s log for what it waits for.';
		RETURN NEXT p;
	ELSIF NOT server.synced AND syncs THEN
		p.severity := 'problem';
		p.problem := format('slot "%s" on this standby is not the copy of the primary''s, but from when it was the primary itself, and does not follow',
			name);
		p.hint := 'Drop it here; the server then copies the primary''s:';
		p.statement := format('SELECT pg_drop_replication_slot(%L);', name);
		RETURN NEXT p;
		p.statement := NULL;
	END IF;
	reason := coalesce(server.reason,
		CASE WHEN server.wal_status = 'lost' THEN server.wal_status END);
	IF reason IS NOT NULL THEN
		p.severity := 'problem';
		p.problem := format('slot "%s" is lost on this standby (%s): were it promoted, changes would be missing',
			name, reason);
		p.hint := 'Drop it here, to be copied anew; hot_standby_feedback must be on.';
		RETURN NEXT p;
	END IF;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._failover_problems() IS
	'Tells whether a promoted standby would have the slot.';
