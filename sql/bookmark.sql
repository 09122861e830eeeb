-- bookmark.sql: what a consumer keeps of where it is in another system.
--
-- A bookmark is written in the transaction that finishes a batch, so that it and
-- the consumer's position tell the same. It goes with the consumer.

CREATE TABLE pgq.bookmark (
	bm_queue     int4 NOT NULL,
	bm_consumer  int4 NOT NULL,
	bm_text      text NOT NULL,
	bm_time      timestamptz NOT NULL,
	CONSTRAINT bookmark_pkey PRIMARY KEY (bm_queue, bm_consumer),
	CONSTRAINT bookmark_subscription_fkey FOREIGN KEY (bm_queue, bm_consumer)
		REFERENCES pgq.subscription (sub_queue, sub_consumer) ON DELETE CASCADE
);
COMMENT ON TABLE pgq.bookmark IS
	'Where consumers are in the systems that they feed; changed through set_bookmark only.';
SELECT pg_catalog.pg_extension_config_dump('pgq.bookmark', '');


CREATE OR REPLACE FUNCTION pgq.set_bookmark(i_batch_id int8, i_bookmark text)
RETURNS int4 AS $$
BEGIN
	INSERT INTO pgq.bookmark AS b (bm_queue, bm_consumer, bm_text, bm_time)
	SELECT s.sub_queue, s.sub_consumer, i_bookmark, pg_catalog.now()
	FROM pgq.subscription s WHERE s.sub_batch = i_batch_id
	ON CONFLICT ON CONSTRAINT bookmark_pkey
		DO UPDATE SET bm_text = excluded.bm_text, bm_time = excluded.bm_time;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'batch % is not open', i_batch_id
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'Set a bookmark before the batch is finished, in the same transaction.';
	END IF;
	RETURN 1;
END;
$$ LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.set_bookmark(int8, text) IS
	'Keeps a text for the consumer of an open batch, to be read by get_bookmark.';


CREATE OR REPLACE FUNCTION pgq.get_bookmark(i_queue text, i_consumer text)
RETURNS text AS $$
	SELECT b.bm_text
	FROM pgq.bookmark b
		JOIN pgq.queue q ON q.queue_id = b.bm_queue
		JOIN pgq.consumer c ON c.co_id = b.bm_consumer
	WHERE q.queue_name = i_queue AND c.co_name = i_consumer;
$$ LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.get_bookmark(text, text) IS
	'Returns the text that set_bookmark kept for a consumer; NULL when there is none.';


CREATE OR REPLACE FUNCTION pgq.event_key(ev_type text, ev_data text, ev_extra1 text)
RETURNS text
AS 'MODULE_PATHNAME', 'pgq_event_key'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION pgq.event_key(text, text, text) IS
	'Returns the key of the row that an event is about, as text; NULL when it has none.';
