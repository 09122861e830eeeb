-- queue.sql: create, configure and drop queues.

CREATE OR REPLACE FUNCTION pgq.create_queue(i_queue_name text)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	top_id int4;
	child text;
	ev_seq regclass;
BEGIN
	IF i_queue_name IS NULL THEN
		RAISE EXCEPTION 'Invalid NULL value'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Give the name of the queue.';
	END IF;
	-- It must fit into an index, and beside others in a row that is not
	-- toasted.
	IF octet_length(i_queue_name) > 2000 THEN
		RAISE EXCEPTION 'name of the queue is too long'
			USING ERRCODE = 'program_limit_exceeded',
				DETAIL = format('It has %s bytes.',
								octet_length(i_queue_name)),
				HINT = 'A name may have 2000 bytes.';
	END IF;
	PERFORM FROM pgq.queue WHERE queue_name = i_queue_name;
	IF FOUND THEN
		RETURN 0;
	END IF;
	-- waits for who declares one
	LOCK TABLE pgq.remote_queue IN ROW EXCLUSIVE MODE;
	PERFORM FROM pgq.remote_queue WHERE rq_queue = i_queue_name;
	IF FOUND THEN
		RAISE EXCEPTION 'queue "%" is on another server', i_queue_name
			USING ERRCODE = 'duplicate_object',
				HINT = 'Use another name, or call pgq.drop_remote_queue() first.';
	END IF;

	-- The sequence may be behind the table after a restore by hand.
	SELECT max(queue_id) INTO top_id FROM pgq.queue;
	LOOP
		q.queue_id := nextval('pgq.queue_queue_id_seq');
		EXIT WHEN q.queue_id > coalesce(top_id, 0);
	END LOOP;

	-- A second creator of the same name waits here for the first, and then
	-- fails on queue_name_uq.
	INSERT INTO pgq.queue (queue_id, queue_name, queue_data_pfx,
						   queue_event_seq, queue_tick_seq, queue_origin,
						   queue_created_lsn)
	VALUES (q.queue_id, i_queue_name, 'pgq.event_' || q.queue_id,
			'pgq.event_' || q.queue_id || '_id_seq',
			'pgq.event_' || q.queue_id || '_tick_seq', pgq._origin(),
			pg_current_wal_insert_lsn())
	RETURNING * INTO q;

	EXECUTE 'CREATE SEQUENCE ' || pgq.quote_fqname(q.queue_tick_seq);
	EXECUTE 'CREATE SEQUENCE ' || pgq.quote_fqname(q.queue_event_seq);
	ev_seq := pgq.quote_fqname(q.queue_event_seq)::regclass;

	EXECUTE format('CREATE TABLE %s () INHERITS (pgq.event_template)',
				   pgq.quote_fqname(q.queue_data_pfx));
	FOR i IN 0 .. q.queue_ntables - 1 LOOP
		child := q.queue_data_pfx || '_' || i;
		EXECUTE format('CREATE TABLE %s () INHERITS (%s)',
					   pgq.quote_fqname(child),
					   pgq.quote_fqname(q.queue_data_pfx));
		EXECUTE format(
			'ALTER TABLE %s ALTER COLUMN ev_id SET DEFAULT nextval(%L)',
			pgq.quote_fqname(child), q.queue_event_seq);
		EXECUTE format('CREATE INDEX %I ON %s (ev_txid)',
					   split_part(child, '.', 2) || '_txid_idx',
					   pgq.quote_fqname(child));
		INSERT INTO pgq.event_table (evt_relid, evt_queue)
		VALUES (pgq.quote_fqname(child)::regclass, i_queue_name);
	END LOOP;
	PERFORM pgq._invalidate_capture();

	PERFORM pgq.grant_perms(i_queue_name);

	-- The first tick must be there when this commits: a consumer can register
	-- at once, even in this transaction.
	INSERT INTO pgq.tick (tick_queue, tick_id, tick_time, tick_snapshot,
						  tick_event_seq)
	VALUES (q.queue_id,
			nextval(pgq.quote_fqname(q.queue_tick_seq)::regclass),
			now(), txid_current_snapshot(),
			pgq.seq_getval(q.queue_event_seq));

	PERFORM pgq.tune_storage(i_queue_name);
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.create_queue(text) IS
	'Creates a queue with its event tables and first tick; returns 1 when created, 0 when it exists.';


CREATE OR REPLACE FUNCTION pgq.drop_queue(x_queue_name text, x_force bool)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	consumer text;
BEGIN
	SELECT * INTO q FROM pgq.queue WHERE queue_name = x_queue_name FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'No such event queue'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no queue "%s".', x_queue_name),
				HINT = 'pgq.get_queue_info() lists the queues.';
	END IF;

	IF x_force THEN
		FOR consumer IN
			SELECT i.consumer_name FROM pgq.get_consumer_info(x_queue_name) i
		LOOP
			PERFORM pgq.unregister_consumer(x_queue_name, consumer);
		END LOOP;
	ELSE
		PERFORM FROM pgq.subscription WHERE sub_queue = q.queue_id;
		IF FOUND THEN
			RAISE EXCEPTION 'cannot drop queue, consumers still attached'
				USING ERRCODE = 'dependent_objects_still_exist',
					HINT = 'Unregister the consumers first, or call pgq.drop_queue(queue, true).';
		END IF;
		-- Their changes would be thrown away without a word.
		PERFORM FROM pgq.capture WHERE cap_queue = x_queue_name
		UNION ALL
		SELECT FROM pgq.copy
		WHERE copy_queue = x_queue_name AND copy_state <> 'done'
		UNION ALL
		SELECT FROM pgq.capture_schema WHERE cps_queue = x_queue_name;
		IF FOUND THEN
			RAISE EXCEPTION 'cannot drop queue, tables are still captured into it'
				USING ERRCODE = 'dependent_objects_still_exist',
					HINT = 'Call pgq.uncapture_table() or pgq.uncapture_schema() first, or pgq.drop_queue(queue, true).';
		END IF;
	END IF;

	PERFORM pgq._forget_captures(x_queue_name);
	DELETE FROM pgq.event_table WHERE evt_queue = x_queue_name;
	DELETE FROM pgq.capture_transaction WHERE ctx_queue = x_queue_name;
	DELETE FROM pgq.capture_ddl WHERE cdl_queue = x_queue_name;
	DELETE FROM pgq.source_queue WHERE sq_queue = x_queue_name;
	FOR i IN 0 .. q.queue_ntables - 1 LOOP
		EXECUTE 'DROP TABLE '
			|| pgq.quote_fqname(q.queue_data_pfx || '_' || i);
	END LOOP;
	EXECUTE 'DROP TABLE ' || pgq.quote_fqname(q.queue_data_pfx);

	DELETE FROM pgq.dead_event WHERE dead_queue = q.queue_id;
	DELETE FROM pgq.delayed_event WHERE ev_queue = q.queue_id;
	DELETE FROM pgq.once_key WHERE ok_queue = q.queue_id;
	-- Waits for tickers, who lock it, and so comes before their ticks go.
	EXECUTE 'DROP SEQUENCE ' || pgq.quote_fqname(q.queue_tick_seq);
	DELETE FROM pgq.tick WHERE tick_queue = q.queue_id;
	EXECUTE 'DROP SEQUENCE ' || pgq.quote_fqname(q.queue_event_seq);
	DELETE FROM pgq.queue WHERE queue_id = q.queue_id;
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.drop_queue(text, bool) IS
	'Drops a queue with its events; with force also unregisters its consumers and uncaptures the tables that feed it.';


CREATE OR REPLACE FUNCTION pgq.drop_queue(x_queue_name text)
RETURNS int4 AS $$
BEGIN
	RETURN pgq.drop_queue(x_queue_name, false);
END;
$$ LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.drop_queue(text) IS
	'Drops a queue that has neither consumers nor captured tables.';


CREATE OR REPLACE FUNCTION pgq.set_queue_config(
	x_queue_name text, x_param_name text, x_param_value text)
RETURNS int4 AS $$
DECLARE
	id int4;
	kind text;
	value text := x_param_value;
BEGIN
	IF x_queue_name IS NULL OR x_param_name IS NULL THEN
		RAISE EXCEPTION 'Invalid NULL value'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Give the names of the queue and of the parameter.';
	END IF;
	SELECT queue_id INTO id FROM pgq.queue WHERE queue_name = x_queue_name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'No such event queue'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no queue "%s".', x_queue_name),
				HINT = 'pgq.get_queue_info() lists the queues.';
	END IF;
	IF x_param_name NOT IN ('ticker_max_count', 'ticker_max_lag',
			'ticker_idle_period', 'ticker_paused', 'rotation_period',
			'external_ticker', 'max_retries', 'max_size',
			'max_size_policy', 'retention') THEN
		RAISE EXCEPTION 'cannot change parameter "%"', x_param_name
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Parameters are ticker_max_count, ticker_max_lag, ticker_idle_period, ticker_paused, rotation_period, external_ticker, max_retries, max_size, max_size_policy and retention.';
	END IF;
	IF x_param_value IS NULL AND x_param_name NOT IN ('max_retries', 'max_size')
	THEN
		RAISE EXCEPTION 'Invalid NULL value'
			USING ERRCODE = 'null_value_not_allowed',
				DETAIL = format('Parameter "%s" cannot be NULL.',
								x_param_name),
				HINT = 'Give the value as text.';
	END IF;

	CASE
		WHEN x_param_name IN ('ticker_max_lag', 'ticker_idle_period',
							  'rotation_period', 'retention') THEN
			kind := 'interval';
			-- a time that far from now can be told, and three times that, too
			IF x_param_value::interval NOT BETWEEN '-1000 years' AND '1000 years' THEN
				RAISE EXCEPTION '% must be 1000 years at most', x_param_name
					USING ERRCODE = 'invalid_parameter_value',
						HINT = 'Give a time such as ''2 hours''.';
			ELSIF x_param_name = 'retention' AND x_param_value::interval < '0' THEN
				RAISE EXCEPTION 'retention must not be negative'
					USING ERRCODE = 'invalid_parameter_value',
						HINT = 'Give 0 to keep only what consumers have yet to get.';
			END IF;
		WHEN x_param_name IN ('ticker_paused', 'external_ticker') THEN
			kind := 'bool';
		WHEN x_param_name = 'max_size' THEN
			kind := 'int8';
			value := pg_size_bytes(x_param_value)::text;
			IF value::int8 <= 0 THEN
				RAISE EXCEPTION 'max_size must be more than 0'
					USING ERRCODE = 'invalid_parameter_value',
						HINT = 'Give NULL for no limit, else bytes or a size with its unit, such as 10GB.';
			END IF;
		WHEN x_param_name = 'max_size_policy' THEN
			kind := 'text';
			IF x_param_value NOT IN ('warn', 'drop_slowest') THEN
				RAISE EXCEPTION 'there is no max_size_policy "%"',
						x_param_value
					USING ERRCODE = 'invalid_parameter_value',
						HINT = 'Policies are warn and drop_slowest.';
			END IF;
		ELSE
			kind := 'int4';
			IF x_param_name = 'max_retries' AND x_param_value::int4 < 0 THEN
				RAISE EXCEPTION 'max_retries must not be negative'
					USING ERRCODE = 'invalid_parameter_value',
						HINT = 'Give NULL for no limit, 0 to bury events instead of retrying them.';
			END IF;
	END CASE;
	EXECUTE format('UPDATE pgq.queue SET %I = $1::%s WHERE queue_id = $2',
				   'queue_' || x_param_name, kind)
	USING value, id;
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.set_queue_config(text, text, text) IS
	'Changes one setting of a queue, named without its queue_ prefix.';


CREATE OR REPLACE FUNCTION pgq.grant_perms(x_queue_name text)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	dst_schema text;
	dst_table text;
BEGIN
	SELECT * INTO q FROM pgq.queue WHERE queue_name = x_queue_name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'Queue not found'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no queue "%s".', x_queue_name),
				HINT = 'pgq.get_queue_info() lists the queues.';
	END IF;

	EXECUTE format('GRANT SELECT ON SEQUENCE %s TO PUBLIC',
				   pgq.quote_fqname(q.queue_event_seq));
	EXECUTE format('GRANT USAGE ON SEQUENCE %s TO pgq_admin',
				   pgq.quote_fqname(q.queue_event_seq));
	EXECUTE format('GRANT SELECT ON SEQUENCE %s TO PUBLIC',
				   pgq.quote_fqname(q.queue_tick_seq));

	dst_schema := split_part(q.queue_data_pfx, '.', 1);
	dst_table := split_part(q.queue_data_pfx, '.', 2);
	PERFORM pgq._grant_perms_from('pgq', 'event_template',
								  dst_schema, dst_table);
	FOR i IN 0 .. q.queue_ntables - 1 LOOP
		PERFORM pgq._grant_perms_from('pgq', 'event_template',
									  dst_schema, dst_table || '_' || i);
	END LOOP;
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.grant_perms(text) IS
	'Grants on the tables and sequences of a queue what PgQ''s roles need.';


CREATE OR REPLACE FUNCTION pgq.tune_storage(i_queue_name text)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
BEGIN
	SELECT * INTO q FROM pgq.queue WHERE queue_name = i_queue_name;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	-- Events are never updated and leave by TRUNCATE only.
	FOR i IN 0 .. q.queue_ntables - 1 LOOP
		EXECUTE format('ALTER TABLE %s SET (fillfactor = 100, '
					   'autovacuum_enabled = off, '
					   'toast.autovacuum_enabled = off)',
					   pgq.quote_fqname(q.queue_data_pfx || '_' || i));
	END LOOP;
	RETURN 1;
END;
$$ LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.tune_storage(text) IS
	'Sets the storage options of a queue''s event tables.';
