-- bookmark.sql: what a consumer keeps of where it is in another system.
--
-- A bookmark is written in the transaction that finishes a batch, so that it and
-- the consumer's position tell the same. It goes with the consumer.


CREATE OR REPLACE FUNCTION pgq._forget_bookmark()
RETURNS trigger AS $$
BEGIN
	DELETE FROM pgq.bookmark
	WHERE bm_queue = OLD.sub_queue AND bm_consumer = OLD.sub_consumer;
	RETURN NULL;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._forget_bookmark() IS
	'Deletes the bookmark of a consumer that leaves a queue.';


CREATE OR REPLACE FUNCTION pgq.set_bookmark(i_batch_id int8, i_bookmark text)
RETURNS int4 AS $$
DECLARE
	s pgq.subscription;
	last_batch int8;
BEGIN
	SELECT * INTO s FROM pgq._batch_subscription(i_batch_id);
	IF s.sub_id IS NULL THEN
		RAISE EXCEPTION 'batch % is not open', i_batch_id
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'Set a bookmark before the batch is finished, in the same transaction.';
	END IF;
	-- Two sessions with one batch, or this and an unregister, follow each other.
	SELECT * INTO s FROM pgq._lock_subscription(s.sub_queue, s.sub_consumer);
	IF s.sub_batch IS DISTINCT FROM i_batch_id THEN
		RETURN pgq.set_bookmark(i_batch_id, i_bookmark);
	END IF;
	SELECT b.bm_batch INTO last_batch FROM pgq.bookmark b
	WHERE b.bm_queue = s.sub_queue AND b.bm_consumer = s.sub_consumer
	ORDER BY b.bm_queue DESC, b.bm_consumer DESC, b.bm_batch DESC LIMIT 1;
	IF last_batch = i_batch_id THEN
		UPDATE pgq.bookmark SET bm_text = i_bookmark, bm_time = now()
		WHERE bm_queue = s.sub_queue AND bm_consumer = s.sub_consumer
		  AND bm_batch = i_batch_id;
		RETURN 1;
	END IF;
	DELETE FROM pgq.bookmark
	WHERE bm_queue = s.sub_queue AND bm_consumer = s.sub_consumer
	  AND bm_batch = last_batch;
	INSERT INTO pgq.bookmark (bm_queue, bm_consumer, bm_batch, bm_text, bm_time)
	VALUES (s.sub_queue, s.sub_consumer, i_batch_id, i_bookmark, now());
	RETURN 1;
END;
$$ LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	-- a plan made while the table is small must be right when it has grown
	SET enable_seqscan = off;
COMMENT ON FUNCTION pgq.set_bookmark(int8, text) IS
	'Keeps a text for the consumer of an open batch, to be read by get_bookmark.';


CREATE OR REPLACE FUNCTION pgq.get_bookmark(i_queue text, i_consumer text)
RETURNS text AS $$
	SELECT b.bm_text
	FROM pgq.queue q CROSS JOIN pgq.consumer c
		 CROSS JOIN LATERAL (
			SELECT bm_text FROM pgq.bookmark
			WHERE bm_queue = q.queue_id AND bm_consumer = c.co_id
			ORDER BY bm_queue DESC, bm_consumer DESC, bm_batch DESC LIMIT 1) b
	WHERE q.queue_name = i_queue AND c.co_name = i_consumer;
$$ LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;
COMMENT ON FUNCTION pgq.get_bookmark(text, text) IS
	'Returns the text that set_bookmark kept for a consumer; NULL when there is none.';


CREATE OR REPLACE FUNCTION pgq.event_key(ev_type text, ev_data text, ev_extra1 text)
RETURNS text
AS 'MODULE_PATHNAME', 'pgq_event_key'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION pgq.event_key(text, text, text) IS
	'Returns the key of the row that an event is about, as text; NULL when it has none.';
