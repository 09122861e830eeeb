-- once.sql: events of producers that may say the same thing twice.


CREATE OR REPLACE FUNCTION pgq._insert_event_as(
	i_queue text, i_id int8, i_type text, i_data text,
	i_extra1 text, i_extra2 text, i_extra3 text, i_extra4 text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_insert_event_as'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq._insert_event_as(
	text, int8, text, text, text, text, text, text) IS
	'Puts an event into a queue under an id that its sequence has given; returns the id, which is another one where insert_event was replaced.';


-- Of sessions with one key, others wait at its row for the first one's end.
CREATE OR REPLACE FUNCTION pgq.insert_event_once(
	i_queue text, i_key text, i_type text, i_data text,
	i_keep interval DEFAULT '1 day',
	i_extra1 text DEFAULT NULL, i_extra2 text DEFAULT NULL,
	i_extra3 text DEFAULT NULL, i_extra4 text DEFAULT NULL)
RETURNS int8 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	id int8;
	given int8;
BEGIN
	IF i_queue IS NULL OR i_key IS NULL THEN
		RAISE EXCEPTION '% must not be NULL',
				CASE WHEN i_queue IS NULL THEN 'Queue name' ELSE 'key' END
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	-- what an index takes, compressed or not
	IF octet_length(i_key) > 1000 THEN
		RAISE EXCEPTION 'key of an event is too long'
			USING ERRCODE = 'program_limit_exceeded',
				DETAIL = format('It has %s bytes, 1000 at most.',
								octet_length(i_key)),
				HINT = 'Give a hash of it, such as sha256() returns.';
	END IF;
	IF coalesce(i_keep, interval '0') <= interval '0' THEN
		RAISE EXCEPTION 'time to keep a key must be more than 0'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Give the time during which a producer may say the same again.';
	END IF;
	SELECT * INTO q FROM pgq.queue WHERE queue_name = i_queue;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'No such queue'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no queue "%s".', i_queue),
				HINT = 'Create it with pgq.create_queue(); pgq.get_queue_info() lists the queues.';
	END IF;

	LOOP
		SELECT ok_event INTO id FROM pgq.once_key
		WHERE ok_queue = q.queue_id AND ok_key = i_key AND ok_until > now();
		IF FOUND THEN
			RETURN id;
		END IF;
		id := nextval(pgq.quote_fqname(q.queue_event_seq)::regclass);
		INSERT INTO pgq.once_key (ok_queue, ok_key, ok_event, ok_until)
		VALUES (q.queue_id, i_key, id, now() + i_keep)
		ON CONFLICT ON CONSTRAINT once_key_pkey DO UPDATE
			SET ok_event = excluded.ok_event, ok_until = excluded.ok_until
			WHERE once_key.ok_until <= now();
		IF FOUND THEN
			given := pgq._insert_event_as(i_queue, id, i_type, i_data,
										  i_extra1, i_extra2, i_extra3, i_extra4);
			IF given <> id THEN
				UPDATE pgq.once_key SET ok_event = given
				WHERE ok_queue = q.queue_id AND ok_key = i_key;
			END IF;
			RETURN given;
		END IF;
	END LOOP;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	-- a plan made while the table is small must be right when it has grown
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq.insert_event_once(text, text, text, text, interval,
	text, text, text, text) IS
	'Puts an event into a queue unless that was done with the same key within the time to keep it; returns the id of the event that is there.';


CREATE OR REPLACE FUNCTION pgq.maint_once_keys()
RETURNS int4 AS $$
DECLARE
	most constant int4 := 10000;
	n int4;
BEGIN
	DELETE FROM pgq.once_key k
	USING (SELECT ok_queue, ok_key FROM pgq.once_key
		   WHERE ok_until <= now()
		   ORDER BY ok_until LIMIT most FOR UPDATE SKIP LOCKED) old
	WHERE k.ok_queue = old.ok_queue AND k.ok_key = old.ok_key;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN (n = most)::int4;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq.maint_once_keys() IS
	'Deletes keys of insert_event_once that need not be kept any more; returns 1 when there may be more of them.';
