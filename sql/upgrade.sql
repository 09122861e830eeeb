-- upgrade.sql: head of the upgrade from PgQ 3, whose tables it finds in place.
-- The functions follow: those of PgQ 3 are replaced, none is dropped, so that
-- triggers and views that use them stay.

-- Who moves retried events has the first lock and waits for the second.
LOCK TABLE pgq.retry_queue IN SHARE UPDATE EXCLUSIVE MODE;
LOCK TABLE pgq.queue IN ACCESS EXCLUSIVE MODE;

-- What queue_relations_check is going to ask for, with a way out.
DO $$
DECLARE
	q record;
BEGIN
	SELECT * INTO q FROM pgq.queue
	WHERE queue_data_pfx !~ '^pgq\.event_[0-9]+$'
	   OR queue_event_seq !~ '^pgq\.event_[0-9]+_id_seq$'
	   OR queue_tick_seq !~ '^pgq\.event_[0-9]+_tick_seq$'
	ORDER BY queue_id LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'queue "%" uses relations of other names than PgQ gives',
				q.queue_name
			USING ERRCODE = 'check_violation',
				DETAIL = pg_catalog.format(
					'They are tables %s_*, sequences %s and %s.',
					q.queue_data_pfx, q.queue_event_seq, q.queue_tick_seq),
				HINT = pg_catalog.format(
					'Rename them to pgq.event_%1$s_*, pgq.event_%1$s_id_seq and pgq.event_%1$s_tick_seq, and update the row in pgq.queue.',
					q.queue_id);
	END IF;
END;
$$;
