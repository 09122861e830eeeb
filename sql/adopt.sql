-- adopt.sql: queues that a dump brought from another server get transaction
-- ids of this one.
--
-- Which events lie between which ticks stays as it was: that is all that the
-- ids are for. Ticks are numbered through from some id below all that are in
-- use; the events that a tick was the first to see get the id below its own.
-- Events that no tick has seen, and those written here since the restore, get
-- the id of the transaction that does this, so that the next tick sees them.

CREATE OR REPLACE FUNCTION pgq._origin()
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_origin'
LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION pgq._origin() IS
	'Returns a number for this server and database, which a dump does not bring along.';


-- xmin of a row as a 64-bit id, by one that is not older. It pins no
-- search_path, which would keep it from being inlined.
CREATE OR REPLACE FUNCTION pgq._full_xid(i_xid xid, i_newer int8)
RETURNS int8 AS $$
	SELECT i_newer OPERATOR(pg_catalog.-) ((i_newer OPERATOR(pg_catalog.-)
		i_xid::pg_catalog.text::pg_catalog.int8) OPERATOR(pg_catalog.&) 4294967295)
$$ LANGUAGE sql IMMUTABLE STRICT;
COMMENT ON FUNCTION pgq._full_xid(xid, int8) IS
	'Returns a transaction id with its epoch, given a newer one with it.';


-- When the indexes of an event table were made: a dump makes them after the
-- rows that it brings, and before any others are written.
CREATE OR REPLACE FUNCTION pgq._index_xid(i_table regclass, i_newer int8)
RETURNS int8 AS $$
	SELECT max(pgq._full_xid(c.xmin, i_newer))
	FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
	WHERE i.indrelid = i_table
$$ LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._index_xid(regclass, int8) IS
	'Returns the transaction that made the newest index of a table.';


CREATE OR REPLACE FUNCTION pgq._is_foreign(i_queue_id int4, i_newer int8)
RETURNS bool AS $$
DECLARE
	tick_xid int8;
	snap txid_snapshot;
	made int8;
BEGIN
	SELECT pgq._full_xid(t.xmin, i_newer), t.tick_snapshot
	INTO tick_xid, snap
	FROM pgq.tick t WHERE t.tick_queue = i_queue_id
	ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1;
	IF NOT FOUND THEN
		RETURN false;
	END IF;

	-- The transaction of a tick is open while its snapshot is taken.
	IF tick_xid < txid_snapshot_xmin(snap)
		OR txid_snapshot_xmax(snap) > txid_snapshot_xmax(txid_current_snapshot())
	THEN
		RETURN true;
	END IF;
	-- A subtransaction may have made it, whose id is not in the snapshot.
	SELECT max(pgq._index_xid(to_regclass(q.queue_data_pfx || '_' || n), i_newer))
	INTO made
	FROM pgq.queue q, generate_series(0, q.queue_ntables - 1) n
	WHERE q.queue_id = i_queue_id;
	RETURN txid_visible_in_snapshot(tick_xid, snap) AND tick_xid <= made;
END;
$$ LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._is_foreign(int4, int8) IS
	'Tells whether the ticks of a queue have snapshots of another server.';


CREATE OR REPLACE FUNCTION pgq._renumber_queue(i_queue pgq.queue, i_own int8)
RETURNS bool AS $$
DECLARE
	nticks int8;
	tops int8[];			-- of each tick, the end of what it can have seen
	open_ids int8[];		-- ids that were open at some tick,
	open_ends int8[];		-- and the first tick that saw each
	child text;
	base int8;
BEGIN
	-- Nobody writes now, nor has written something that we would not see.
	FOR n IN 0 .. i_queue.queue_ntables - 1 LOOP
		EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE',
			pgq.quote_fqname(i_queue.queue_data_pfx || '_' || n));
	END LOOP;

	SELECT count(*), coalesce(array_agg(t.top ORDER BY t.tick_id), '{}')
	INTO nticks, tops
	FROM (SELECT tick_id, max(txid_snapshot_xmax(tick_snapshot))
					OVER (ORDER BY tick_id) AS top
		  FROM pgq.tick WHERE tick_queue = i_queue.queue_id) t;
	SELECT coalesce(array_agg(o.id), '{}'),
		   coalesce(array_agg(coalesce(e.n, nticks + 1)), '{}')
	INTO open_ids, open_ends
	FROM (SELECT DISTINCT x AS id
		  FROM pgq.tick, txid_snapshot_xip(tick_snapshot) x
		  WHERE tick_queue = i_queue.queue_id) o,
		 LATERAL (SELECT min(t.n) AS n
				  FROM (SELECT tick_snapshot,
							   row_number() OVER (ORDER BY tick_id) AS n
						FROM pgq.tick
						WHERE tick_queue = i_queue.queue_id) t
				  WHERE txid_visible_in_snapshot(o.id, t.tick_snapshot)) e;

	-- Not above ids that are in use: their owners may write yet.
	base := txid_snapshot_xmin(txid_current_snapshot()) - nticks;
	IF base < 1 THEN
		-- A very young server: use up some, and succeed next time.
		FOR n IN base .. 1 LOOP
			BEGIN
				UPDATE pgq.queue SET queue_origin = NULL
				WHERE queue_id = i_queue.queue_id;
				RAISE EXCEPTION USING ERRCODE = 'triggered_action_exception';
			EXCEPTION
				WHEN triggered_action_exception THEN
					NULL;
			END;
		END LOOP;
		RETURN false;
	END IF;

	FOR n IN 0 .. i_queue.queue_ntables - 1 LOOP
		child := pgq.quote_fqname(i_queue.queue_data_pfx || '_' || n);
		EXECUTE format(
			'UPDATE %s e SET ev_txid = CASE WHEN seen.n <= $1 '
				'THEN $2 + seen.n - 1 ELSE $3 END '
			'FROM (SELECT ctid, CASE '
					'WHEN pgq._full_xid(xmin, $3) > $4 THEN $1 + 1 '
					'WHEN ev_txid = ANY ($6) '
					'THEN ($7)[array_position($6, ev_txid)] '
					'ELSE width_bucket(ev_txid, $5) + 1 END AS n '
				  'FROM ONLY %1$s) seen '
			'WHERE seen.ctid = e.ctid', child)
		USING nticks, base, i_own,
			coalesce(pgq._index_xid(child::regclass, i_own), i_own),
			tops, open_ids, open_ends;
	END LOOP;
	UPDATE pgq.tick t
	SET tick_snapshot = format('%s:%1$s:', base + o.n)::txid_snapshot
	FROM (SELECT tick_id, row_number() OVER (ORDER BY tick_id) AS n
		  FROM pgq.tick WHERE tick_queue = i_queue.queue_id) o
	WHERE t.tick_queue = i_queue.queue_id AND t.tick_id = o.tick_id;
	UPDATE pgq.postponed_event SET pe_txid = i_own
	WHERE pe_queue = i_queue.queue_id AND pe_txid IS NOT NULL;
	-- All batches up to now are looked for in both tables.
	UPDATE pgq.queue
	SET queue_switch_step1 = base, queue_switch_step2 = i_own
	WHERE queue_id = i_queue.queue_id;
	RAISE LOG 'queue "%" comes from another server and got new transaction ids',
		i_queue.queue_name;
	RETURN true;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._renumber_queue(pgq.queue, int8) IS
	'Replaces the transaction ids of a queue from another server; false if it has to be called again later.';


-- Called by the ticker, with the queue's tick lock.
CREATE OR REPLACE FUNCTION pgq._adopt_queue(i_queue_id int4, i_origin int8)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	own int8 := txid_current();
	result int4 := 1;
BEGIN
	SELECT * INTO q FROM pgq.queue
	WHERE queue_id = i_queue_id FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	IF q.queue_switch_step1 > own OR pgq._is_foreign(i_queue_id, own) THEN
		IF NOT pgq._renumber_queue(q, own) THEN
			RETURN 0;
		END IF;
		result := 2;
	END IF;
	UPDATE pgq.queue
	SET queue_origin = i_origin, queue_created_lsn = NULL
	WHERE queue_id = i_queue_id;
	RETURN result;
EXCEPTION
	WHEN lock_not_available THEN
		RETURN 0;
	WHEN OTHERS THEN
		-- Other queues are behind this one.
		RAISE WARNING 'queue "%" cannot get transaction ids of this server: %',
			q.queue_name, SQLERRM;
		RETURN 0;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s';
COMMENT ON FUNCTION pgq._adopt_queue(int4, int8) IS
	'Makes a queue from another server one of this; returns 1 if it was already, 2 if it got new ids, 0 if somebody is in the way.';
