-- maint.sql: rotation of event tables, and the list of maintenance work.

-- Of the ticks that there are, a rotation leaves those from after the last switch.
-- Who goes back by the retention must find one that is old enough.
CREATE OR REPLACE FUNCTION pgq._is_retention_over(i_queue pgq.queue)
RETURNS bool AS $$
	SELECT i_queue.queue_retention = interval '0'
		OR coalesce((SELECT txid_snapshot_xmin(t.tick_snapshot)
							>= i_queue.queue_switch_step2
					 FROM pgq.tick t
					 WHERE t.tick_queue = i_queue.queue_id
					   AND t.tick_time <= now() - i_queue.queue_retention
					 ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1), false)
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._is_retention_over(pgq.queue) IS
	'Tells whether what a rotation would leave of a queue goes back as far as its retention.';


-- A last rotation that is yet to come means that the clock was set back, and
-- not that nothing is to be done until it has caught up.
CREATE OR REPLACE FUNCTION pgq._is_rotation_due(i_queue pgq.queue)
RETURNS bool AS $$
BEGIN
	RETURN i_queue.queue_switch_time > now() + interval '1 minute'
		OR pgq._is_over_size(i_queue)
		OR i_queue.queue_switch_time + greatest(i_queue.queue_rotation_period,
				i_queue.queue_retention) < now()
			AND pgq._is_retention_over(i_queue);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._is_rotation_due(pgq.queue) IS
	'Tells whether a queue is to go on to its next event table, if its consumers let it.';


CREATE OR REPLACE FUNCTION pgq.maint_rotate_tables_step1(i_queue_name text)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	lowest_tick int8;
	lowest_xmin int8;
	dropped bool := false;
	next_table int4;
	old_table int4;
BEGIN
	-- By an old snapshot, consumers that have registered since would lose the
	-- table where they stand.
	IF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
		RAISE EXCEPTION 'rotation of event tables needs isolation level READ COMMITTED'
			USING ERRCODE = 'invalid_transaction_state',
				HINT = 'Call pgq.maint_rotate_tables_step1() in a transaction of that level.';
	END IF;

	-- The lock also keeps register_consumer from taking a position that goes
	-- away. Who has the row locked makes this queue wait for the next time, not
	-- others for him.
	SELECT * INTO q FROM pgq.queue
	WHERE queue_name = i_queue_name AND queue_switch_step2 IS NOT NULL
	  -- else the ticker has yet to adopt it
	  AND queue_origin = pgq._origin()
	  AND pgq._is_rotation_due(queue)
	FOR NO KEY UPDATE SKIP LOCKED;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;

	IF txid_current() < q.queue_switch_step1 THEN
		RAISE EXCEPTION 'queue % maint failure: step1=%, current=%',
				i_queue_name, q.queue_switch_step1, txid_current()
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'The last rotation has a higher transaction id than this server.',
				HINT = 'Set the queue''s queue_origin in pgq.queue to NULL: then the next ticker run gives it new ids.';
	END IF;

	-- The table to empty holds what was written before the last switch: all
	-- consumers must be past it, or give way.
	LOOP
		SELECT min(sub_last_tick) INTO lowest_tick
		FROM pgq._subscriptions(q.queue_id);
		EXIT WHEN lowest_tick IS NULL;
		SELECT txid_snapshot_xmin(tick_snapshot) INTO lowest_xmin
		FROM pgq.tick
		WHERE tick_queue = q.queue_id AND tick_id = lowest_tick;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'queue % maint failure: tick % not found',
					i_queue_name, lowest_tick
				USING ERRCODE = 'data_corrupted',
					HINT = 'Move the consumer that stands there with pgq.register_consumer_at(), or unregister it.';
		END IF;
		EXIT WHEN lowest_xmin > q.queue_switch_step2;
		-- No more than one a time: those behind it get their chance.
		IF dropped OR NOT pgq._drop_slowest(q, lowest_tick) THEN
			RETURN 0;
		END IF;
		dropped := true;
	END LOOP;
	-- Without consumers too, a writer from before the last switch must be
	-- gone: one may register yet and get what that writer commits then.
	IF txid_snapshot_xmin(txid_current_snapshot()) <= q.queue_switch_step2 THEN
		RETURN 0;
	END IF;

	-- A reader such as pg_dump delays the rotation; it must not make everyone
	-- wait behind our lock.
	next_table := (q.queue_cur_table + 1) % q.queue_ntables;
	BEGIN
		EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT',
			pgq.quote_fqname(q.queue_data_pfx || '_' || next_table));
	EXCEPTION
		WHEN lock_not_available THEN
			RETURN 0;
	END;
	EXECUTE 'TRUNCATE '
		|| pgq.quote_fqname(q.queue_data_pfx || '_' || next_table);

	-- Nobody is before the last switch, so what was written before it is read no
	-- more. Its disk need not be kept for another retention.
	old_table := (q.queue_cur_table + q.queue_ntables - 1) % q.queue_ntables;
	IF q.queue_retention > interval '0' AND old_table <> q.queue_cur_table THEN
		BEGIN
			EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT',
				pgq.quote_fqname(q.queue_data_pfx || '_' || old_table));
			EXECUTE 'TRUNCATE '
				|| pgq.quote_fqname(q.queue_data_pfx || '_' || old_table);
		EXCEPTION
			WHEN lock_not_available THEN
				NULL;
		END;
	END IF;

	UPDATE pgq.queue
	SET queue_cur_table = next_table, queue_switch_time = now(),
		queue_switch_step1 = txid_current(), queue_switch_step2 = NULL
	WHERE queue_id = q.queue_id;

	-- Ticks whose events are gone. The newest one stays: without any tick
	-- nobody could register.
	DELETE FROM pgq.tick
	WHERE tick_queue = q.queue_id
	  AND txid_snapshot_xmin(tick_snapshot) < q.queue_switch_step2
	  AND tick_id < (SELECT max(tick_id) FROM pgq.tick
					 WHERE tick_queue = q.queue_id);
	RETURN 0;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_rotate_tables_step1(text) IS
	'Switches a queue to its next event table when the rotation period and the retention are over, or the queue is over its max_size, and all consumers are past that table.';


CREATE OR REPLACE FUNCTION pgq.maint_rotate_tables_step2()
RETURNS int4 AS $$
DECLARE
	before txid_snapshot := txid_current_snapshot();
BEGIN
	-- Writers that still use the old table have ids from before step1's
	-- commit. Readers leave that table out for good above step2, so our id
	-- must be newer than theirs: it must not be assigned yet, and a rotation
	-- that was not there before it was is left to the next call.
	IF txid_current_if_assigned() IS NOT NULL THEN
		PERFORM FROM pgq.queue WHERE queue_switch_step2 IS NULL;
		IF FOUND THEN
			RAISE WARNING 'rotation of event tables is not completed by this call'
				USING DETAIL = 'The transaction has written before.',
					HINT = 'Call pgq.maint_rotate_tables_step2() in a transaction of its own.';
		END IF;
		RETURN 0;
	END IF;
	UPDATE pgq.queue SET queue_switch_step2 = txid_current()
	WHERE queue_id IN (SELECT queue_id FROM pgq.queue
					   WHERE queue_switch_step2 IS NULL
						 AND txid_visible_in_snapshot(queue_switch_step1, before)
					   FOR NO KEY UPDATE SKIP LOCKED);
	RETURN 0;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_rotate_tables_step2() IS
	'Completes the rotations that step1 began in earlier transactions; needs a transaction of its own.';


CREATE OR REPLACE FUNCTION pgq.maint_tables_to_vacuum()
RETURNS SETOF text AS $$
	SELECT n.nspname || '.' || c.relname
	FROM unnest(ARRAY[
			'pgq.subscription', 'pgq.consumer', 'pgq.queue', 'pgq.tick',
			'pgq.retry_queue',
			'pgq_ext.completed_tick', 'pgq_ext.completed_batch',
			'pgq_ext.completed_event', 'pgq_ext.partial_batch',
			'pgq_node.local_state', 'londiste.seq_info', 'txid.epoch',
			'londiste.completed', 'pgq.position', 'pgq.dead_event',
			'pgq.delayed_event', 'pgq.once_key', 'pgq.share',
			'pgq.share_worker', 'pgq.postponed_event'
		 ]) WITH ORDINALITY AS t(name, ord)
		 JOIN pg_catalog.pg_namespace n ON n.nspname = split_part(t.name, '.', 1)
		 JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
								   AND c.relname = split_part(t.name, '.', 2)
	WHERE current_setting('autovacuum') = 'off' AND c.relkind = 'r'
	ORDER BY t.ord
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_tables_to_vacuum() IS
	'Lists the small busy tables that need VACUUM; none when autovacuum is on.';


CREATE OR REPLACE FUNCTION pgq.maint_positions()
RETURNS int4 AS $$
BEGIN
	DELETE FROM pgq.position p
	USING (SELECT pos_slot, max(pos_lsn) AS pos_lsn
		   FROM pgq.position GROUP BY pos_slot) newest
	WHERE p.pos_slot = newest.pos_slot AND p.pos_lsn < newest.pos_lsn;
	RETURN 0;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_positions() IS
	'Deletes all but the newest ingest position of each slot.';


-- Whoever may create a schema could give it any name and put anything into it.
CREATE OR REPLACE FUNCTION pgq._has_function(i_extension name, i_function name)
RETURNS bool AS $$
	WITH trusted AS (
		SELECT r.oid FROM pg_roles r WHERE r.rolsuper
		UNION ALL
		SELECT e.extowner FROM pg_extension e WHERE e.extname = 'pgq'
	)
	SELECT EXISTS (
		SELECT FROM pg_extension e
			 JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass
							 AND d.refobjid = e.oid AND d.deptype = 'e'
							 AND d.classid = 'pg_proc'::regclass
			 JOIN pg_proc p ON p.oid = d.objid AND p.proname = i_function
			 JOIN pg_namespace n ON n.oid = p.pronamespace
								AND n.nspname = i_extension
		WHERE e.extname = i_extension
		  AND e.extowner IN (SELECT t.oid FROM trusted t)
		  AND n.nspowner IN (SELECT t.oid FROM trusted t)
		  AND p.proowner IN (SELECT t.oid FROM trusted t))
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._has_function(name, name) IS
	'Tells whether another extension has a function, in a schema of its name, that may be called with the caller''s rights.';


-- The caller runs the rows in order, each in its own transaction. Rows named
-- vacuum come last, since PgQ 3's daemon stops at the first of them.
CREATE OR REPLACE FUNCTION pgq.maint_operations(OUT func_name text, OUT func_arg text)
RETURNS SETOF record AS $$
DECLARE
	need_step2 bool := false;
BEGIN
	FOR func_arg IN
		SELECT q.queue_name FROM pgq.queue q
		WHERE q.queue_switch_step2 IS NOT NULL
		  AND pgq._is_rotation_due(q)
		ORDER BY q.queue_name
	LOOP
		func_name := 'pgq.maint_rotate_tables_step1';
		RETURN NEXT;
		need_step2 := true;
	END LOOP;

	IF NOT need_step2 THEN
		PERFORM FROM pgq.queue q WHERE q.queue_switch_step2 IS NULL;
		need_step2 := FOUND;
	END IF;
	IF need_step2 THEN
		func_name := 'pgq.maint_rotate_tables_step2';
		func_arg := NULL;
		RETURN NEXT;
	END IF;

	FOR func_name, func_arg IN
		SELECT m.name, q.queue_name
		FROM pgq.queue q,
			 LATERAL unnest(q.queue_extra_maint)
				WITH ORDINALITY AS m(name, ord)
		WHERE m.name IS NOT NULL
		ORDER BY q.queue_name, m.ord
	LOOP
		RETURN NEXT;
	END LOOP;

	IF pgq._has_function('pgq_node', 'maint_watermark') THEN
		func_name := 'pgq_node.maint_watermark';
		FOR func_arg IN EXECUTE
			'SELECT queue_name FROM pgq_node.node_info'
			' WHERE node_type = ''root'' ORDER BY queue_name'
		LOOP
			RETURN NEXT;
		END LOOP;
	END IF;

	IF pgq._has_function('londiste', 'root_check_seqs')
		AND pgq._has_function('pgq_node', 'maint_watermark') THEN
		func_name := 'londiste.root_check_seqs';
		FOR func_arg IN EXECUTE
			'SELECT DISTINCT s.queue_name FROM londiste.seq_info s'
			' JOIN pgq_node.node_info n ON n.queue_name = s.queue_name'
			' WHERE n.node_type = ''root'' AND s.local ORDER BY 1'
		LOOP
			RETURN NEXT;
		END LOOP;
	END IF;

	func_arg := NULL;
	IF pgq._has_function('londiste', 'periodic_maintenance') THEN
		func_name := 'londiste.periodic_maintenance';
		RETURN NEXT;
	END IF;

	-- Below a thousand rows it is not worth a transaction. The look goes no
	-- further than that either.
	PERFORM FROM pgq.position OFFSET 1001 LIMIT 1;
	IF FOUND THEN
		func_name := 'pgq.maint_positions';
		RETURN NEXT;
	END IF;

	IF EXISTS (SELECT FROM pgq.share_worker) OR EXISTS (SELECT FROM pgq.share) THEN
		func_name := 'pgq.maint_shares';
		RETURN NEXT;
	END IF;
	PERFORM FROM pgq.once_key WHERE ok_until <= now() LIMIT 1;
	IF FOUND THEN
		func_name := 'pgq.maint_once_keys';
		RETURN NEXT;
	END IF;
	PERFORM FROM pgq.postponed_event WHERE pe_txid IS NOT NULL LIMIT 1;
	IF FOUND THEN
		func_name := 'pgq.maint_postponed';
		RETURN NEXT;
	END IF;

	func_name := 'vacuum';
	FOR func_arg IN SELECT * FROM pgq.maint_tables_to_vacuum() LOOP
		RETURN NEXT;
	END LOOP;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_operations() IS
	'Lists the functions, with their argument, that maintenance has to call now, then tables to vacuum.';
