-- share.sql: several workers of one consumer on one batch.
--
-- A batch is cut into shares by the events' keys, so that all events of a key are in
-- one share; a worker leases one, does its events and finishes it. When all are done
-- the batch is finished and the next one is cut, for as many workers as there are by
-- then: a key's events come in order, and the consumer has one position.
--
-- The id of a share is that of its lease: who takes it over gives it another, and the one
-- before can't finish it any more.

CREATE OR REPLACE FUNCTION pgq.event_share(
	i_key text, i_count int4, ev_id int8, ev_type text, ev_data text,
	ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
RETURNS int4
AS 'MODULE_PATHNAME', 'pgq_event_share'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION pgq.event_share(
	text, int4, int8, text, text, text, text, text, text) IS
	'Returns the number of the share, from 0 on, that an event of a batch of so many shares belongs to; events without a key are in share 0.';


CREATE OR REPLACE FUNCTION pgq._count_shares(
	i_batch_id int8, i_key text, i_count int4,
	OUT share_no int4, OUT events int8)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgq_count_shares'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION pgq._count_shares(int8, text, int4) IS
	'Returns those shares of an open batch that have events, with their number.';


CREATE OR REPLACE FUNCTION pgq._next_share_id()
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_next_share_id'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq._next_share_id() IS
	'Returns an id for the lease of a share; the transaction''s commit will be flushed.';


CREATE OR REPLACE FUNCTION pgq.get_share_events(
	i_share_id int8,
	OUT ev_id int8, OUT ev_time timestamptz, OUT ev_txid int8,
	OUT ev_retry int4, OUT ev_type text, OUT ev_data text,
	OUT ev_extra1 text, OUT ev_extra2 text, OUT ev_extra3 text,
	OUT ev_extra4 text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgq_get_share_events'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.get_share_events(int8) IS
	'Returns the events of a share that is leased, in the order of their ids.';


-- Whether the one who has a lease may be thought gone.
CREATE OR REPLACE FUNCTION pgq._is_share_free(i_share pgq.share)
RETURNS bool AS $$
	SELECT i_share.sh_until IS NULL OR i_share.sh_until <= clock_timestamp()
		OR NOT EXISTS (
			SELECT FROM pg_stat_get_activity(i_share.sh_pid) a
			WHERE a.backend_start IS NULL OR a.backend_start <= i_share.sh_since)
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._is_share_free(pgq.share) IS
	'Tells whether a share is leased to nobody: not yet, no longer, or to one whose session has ended.';


CREATE OR REPLACE FUNCTION pgq._lease_end(i_lease interval)
RETURNS timestamptz AS $$
BEGIN
	IF (i_lease > interval '0') IS NOT TRUE THEN
		RAISE EXCEPTION 'lease of a share must be more than 0'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Give the time that a share takes at most, such as ''1 minute''.';
	END IF;
	RETURN clock_timestamp() + i_lease;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._lease_end(interval) IS
	'Returns when a lease that begins now ends; an error if that is not later.';


-- Once per session, whatever names it gives: none can make many of itself.
CREATE OR REPLACE FUNCTION pgq._note_worker(
	i_queue_id int4, i_consumer_id int4, i_worker text)
RETURNS void AS $$
BEGIN
	PERFORM FROM pgq.share_worker
	WHERE sw_queue = i_queue_id AND sw_consumer = i_consumer_id
	  AND sw_seen > clock_timestamp() - interval '10 s'
	  AND sw_pid = pg_backend_pid();
	IF NOT FOUND THEN
		INSERT INTO pgq.share_worker
			(sw_queue, sw_consumer, sw_seen, sw_worker, sw_pid)
		VALUES (i_queue_id, i_consumer_id, clock_timestamp(), i_worker,
				pg_backend_pid());
	END IF;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq._note_worker(int4, int4, text) IS
	'Notes that a worker of a consumer is there, every ten seconds at most.';


-- Cuts a batch, a new one if none is open. More shares than workers: who is done
-- early takes another. Each is a look at all of the batch and some flushes, so they are
-- not many, and fewer of a small batch. Empty ones, and so empty batches, are nobody's
-- work.
CREATE OR REPLACE FUNCTION pgq._cut_batch(
	i_queue text, i_consumer text, i_queue_id int4, i_consumer_id int4,
	i_key text)
RETURNS bool AS $$
DECLARE
	workers int4;
	batch int8;
	per_worker int4;
BEGIN
	-- through a pooler a session is of many workers, and a worker has many
	SELECT least(count(DISTINCT sw_worker), count(DISTINCT sw_pid)) INTO workers
	FROM pgq.share_worker
	WHERE sw_queue = i_queue_id AND sw_consumer = i_consumer_id
	  AND sw_seen > clock_timestamp() - interval '30 s';
	workers := least(greatest(workers, 1), 1000);
	-- so many events that the end of a batch, where some have nothing to do, counts little
	SELECT n.batch_id INTO batch
	FROM pgq.next_batch_custom(i_queue, i_consumer, NULL,
							   CASE workers WHEN 1 THEN 500 ELSE 2000 * workers END,
							   NULL) n;
	IF batch IS NULL THEN
		batch := pgq.next_batch(i_queue, i_consumer);
	END IF;
	IF batch IS NULL THEN
		RETURN false;
	END IF;
	SELECT CASE WHEN i.seq_end - i.seq_start >= 1000 * workers THEN 4 ELSE 2 END
	INTO per_worker FROM pgq.get_batch_info(batch) i;
	INSERT INTO pgq.share (sh_batch, sh_no, sh_count, sh_key, sh_events)
	SELECT batch, c.share_no, n.count, i_key, c.events
	FROM (SELECT CASE workers WHEN 1 THEN 1 ELSE per_worker * workers END AS count) n,
		 pgq._count_shares(batch, i_key, n.count) c;
	IF NOT FOUND THEN
		PERFORM pgq.finish_batch(batch);
	END IF;
	RETURN true;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq._cut_batch(text, text, int4, int4, text) IS
	'Cuts the open batch of a consumer, or its next one, into shares; false if there is none.';


CREATE OR REPLACE FUNCTION pgq.next_share(
	i_queue text, i_consumer text, i_worker text,
	i_lease interval DEFAULT '1 minute', i_key text DEFAULT 'key',
	OUT share_id int8, OUT batch_id int8, OUT share_no int4,
	OUT share_count int4, OUT events int8, OUT lease_until timestamptz,
	OUT share_key text)
RETURNS record AS $$
DECLARE
	q_id int4;
	c_id int4;
	s pgq.subscription;
	sh pgq.share;
	n_left int8;
	is_locked bool := false;
BEGIN
	IF i_worker IS NULL OR octet_length(i_worker) > 200 THEN
		RAISE EXCEPTION 'a worker needs a name of 200 bytes at most'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Name each worker differently, such as by its host and process id.';
	END IF;
	PERFORM pgq._lease_end(i_lease);
	SELECT q.queue_id, c.co_id INTO q_id, c_id
	FROM pgq.queue q, pgq.consumer c
	WHERE q.queue_name = i_queue AND c.co_name = i_consumer;
	PERFORM pgq.event_share(coalesce(i_key, ''), 1, 0, NULL, NULL, NULL, NULL,
							NULL, NULL);

	LOOP
		SELECT sub.* INTO s FROM pgq._subscriptions(q_id) sub
		WHERE sub.sub_consumer = c_id;
		IF s.sub_id IS NULL OR s.sub_lost_time IS NOT NULL THEN
			-- which says so
			PERFORM pgq.next_batch(i_queue, i_consumer);
		END IF;
		batch_id := s.sub_batch;

		IF batch_id IS NOT NULL THEN
			-- one's own, else a free one that nobody is about to take or finish, large
			-- ones first: with small ones at the end all end at about the same time
			SELECT t.* INTO sh FROM pgq.share t
			WHERE t.sh_batch = s.sub_batch AND NOT t.sh_done
			  AND (t.sh_worker = i_worker OR pgq._is_share_free(t))
			ORDER BY t.sh_worker = i_worker DESC NULLS LAST, t.sh_events DESC, t.sh_no
			LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
			IF FOUND THEN
				-- as long as it is the same session, it may go on with it
				IF sh.sh_worker IS DISTINCT FROM i_worker
					OR sh.sh_pid IS DISTINCT FROM pg_backend_pid()
					OR pgq._is_share_free(sh) THEN
					sh.sh_id := pgq._next_share_id();
				END IF;
				lease_until := pgq._lease_end(i_lease);
				UPDATE pgq.share
				SET sh_id = sh.sh_id, sh_worker = i_worker,
					sh_until = lease_until, sh_pid = pg_backend_pid(),
					sh_since = clock_timestamp()
				WHERE sh_batch = sh.sh_batch AND sh_no = sh.sh_no;
				share_id := sh.sh_id;
				share_no := sh.sh_no;
				share_count := sh.sh_count;
				share_key := sh.sh_key;
				events := sh.sh_events;
				PERFORM pgq._note_worker(q_id, c_id, i_worker);
				RETURN;
			END IF;
			-- others do what is left
			SELECT count(*), min(t.sh_until) INTO n_left, lease_until
			FROM pgq.share t
			WHERE t.sh_batch = s.sub_batch AND NOT t.sh_done;
			IF n_left > 0 THEN
				PERFORM pgq._note_worker(q_id, c_id, i_worker);
				RETURN;
			END IF;
		ELSE
			-- who has to wait locks nothing
			PERFORM FROM pgq.tick t
			WHERE t.tick_queue = q_id AND t.tick_id > s.sub_last_tick
			ORDER BY t.tick_queue, t.tick_id LIMIT 1;
			IF NOT FOUND THEN
				PERFORM pgq._note_worker(q_id, c_id, i_worker);
				RETURN;
			END IF;
		END IF;

		-- It is done, or not cut yet, or the next one is to be opened: one of the
		-- workers sees to that, and looks again first.
		IF NOT is_locked THEN
			PERFORM pgq._lock_subscription(q_id, c_id);
			is_locked := true;
			CONTINUE;
		END IF;
		PERFORM FROM pgq.share t WHERE t.sh_batch = s.sub_batch;
		IF FOUND THEN
			PERFORM pgq.finish_batch(s.sub_batch);
			DELETE FROM pgq.share t WHERE t.sh_batch = s.sub_batch;
			CONTINUE;
		END IF;
		PERFORM pgq._note_worker(q_id, c_id, i_worker);
		IF NOT pgq._cut_batch(i_queue, i_consumer, q_id, c_id, i_key) THEN
			batch_id := NULL;
			RETURN;
		END IF;
	END LOOP;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	-- plans made while tables are small must be right when they have grown
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq.next_share(text, text, text, interval, text) IS
	'Leases a share of the consumer''s batch to one of its workers; NULLs when there is none, with batch_id when others are at work on it. Keys are ''key'' (as of event_key), ''type'', ''extra1'' to ''extra4'', or ''none''.';


CREATE OR REPLACE FUNCTION pgq._require_share(i_share_id int8)
RETURNS pgq.share AS $$
DECLARE
	sh pgq.share;
	s pgq.subscription;
BEGIN
	SELECT t.* INTO sh FROM pgq.share t
	WHERE t.sh_id = i_share_id AND NOT t.sh_done FOR NO KEY UPDATE;
	IF FOUND THEN
		SELECT * INTO s FROM pgq._batch_subscription(sh.sh_batch);
	END IF;
	IF s.sub_id IS NULL THEN
		RAISE EXCEPTION 'share % is not leased any more', i_share_id
			USING ERRCODE = 'PQ002',
				DETAIL = 'It was given to another worker, or is done, or the consumer was moved.',
				HINT = 'Roll back what was done for it and ask for the next share; give longer leases to long work.';
	END IF;
	RETURN sh;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq._require_share(int8) IS
	'Locks a share by the id of its lease and returns it; an error if somebody else has it.';


CREATE OR REPLACE FUNCTION pgq.renew_share(
	i_share_id int8, i_lease interval DEFAULT '1 minute')
RETURNS timestamptz AS $$
DECLARE
	until timestamptz := pgq._lease_end(i_lease);
BEGIN
	PERFORM pgq._require_share(i_share_id);
	UPDATE pgq.share SET sh_until = until WHERE sh_id = i_share_id;
	RETURN until;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq.renew_share(int8, interval) IS
	'Gives the lease of a share another end; an error if the share was given to another worker.';


CREATE OR REPLACE FUNCTION pgq.finish_share(i_share_id int8)
RETURNS int4 AS $$
DECLARE
	sh pgq.share;
	s pgq.subscription;
BEGIN
	sh := pgq._require_share(i_share_id);
	UPDATE pgq.share SET sh_done = true WHERE sh_id = i_share_id;
	SELECT * INTO s FROM pgq._batch_subscription(sh.sh_batch);
	PERFORM pgq._note_worker(s.sub_queue, s.sub_consumer, sh.sh_worker);

	-- Of two that finish the last ones at a time neither sees the other done: then
	-- the next call of next_share finishes the batch.
	PERFORM FROM pgq.share t WHERE t.sh_batch = sh.sh_batch AND NOT t.sh_done;
	IF NOT FOUND THEN
		SELECT * INTO s
		FROM pgq._lock_subscription(s.sub_queue, s.sub_consumer);
		IF s.sub_batch = sh.sh_batch THEN
			PERFORM pgq.finish_batch(sh.sh_batch);
			DELETE FROM pgq.share t WHERE t.sh_batch = sh.sh_batch;
			-- who waits for the end of this batch need not look for it
			PERFORM pg_notify(pgq.tick_channel(q.queue_name), '')
			FROM pgq.queue q
			WHERE q.queue_id = s.sub_queue AND sh.sh_count > 1;
		END IF;
	END IF;
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq.finish_share(int8) IS
	'Finishes a share, and its batch with the last one; an error (PQ002) if the share was given to another worker.';


CREATE OR REPLACE FUNCTION pgq.maint_shares()
RETURNS int4 AS $$
BEGIN
	DELETE FROM pgq.share_worker
	WHERE sw_seen < clock_timestamp() - interval '1 minute';
	-- of batches that were finished or given up as a whole, but for those whose
	-- workers have not ended their transactions
	DELETE FROM pgq.share
	WHERE (sh_batch, sh_no) IN (
		SELECT d.sh_batch, d.sh_no FROM pgq.share d
		WHERE d.sh_batch NOT IN (
			SELECT s.sub_batch FROM pgq.queue q
				 CROSS JOIN LATERAL pgq._subscriptions(q.queue_id) s
			WHERE s.sub_batch IS NOT NULL)
		FOR UPDATE SKIP LOCKED);
	RETURN 0;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_shares() IS
	'Deletes what is known of workers that did not come lately, and shares of batches that are closed.';
