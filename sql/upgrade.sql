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

-- PgQ 4 fills its own columns of event tables, and does not look at what else a
-- writer would have to do. From now on such a change is refused.
DO $$
DECLARE
	t record;
BEGIN
	WITH tables AS (
		SELECT c.oid FROM pg_catalog.pg_class c
		WHERE c.relnamespace = 'pgq'::pg_catalog.regnamespace
		  AND c.relkind = 'r'
		  AND c.relname ~ '^event_(template|[0-9]+(_[0-9]+)?)$')
	SELECT * INTO t FROM (
		SELECT a.attrelid::pg_catalog.regclass AS tab, 'column' AS what,
			   a.attname AS name
		FROM tables JOIN pg_catalog.pg_attribute a ON a.attrelid = tables.oid
			 JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
		WHERE a.attnum > 3 AND NOT a.attisdropped
		  AND (a.attnotnull OR a.attnum > 11
			   AND (a.atthasdef OR y.typnotnull OR y.typdefault IS NOT NULL
					OR EXISTS (SELECT FROM pg_catalog.pg_constraint d
							   WHERE d.contypid = y.oid)))
		UNION ALL
		SELECT k.conrelid::pg_catalog.regclass, 'constraint', k.conname
		FROM tables JOIN pg_catalog.pg_constraint k ON k.conrelid = tables.oid
		WHERE k.contype IN ('c', 'f')) found
	ORDER BY tab::text, name LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'event table % has the % "%", which PgQ 4 would not fill or look at',
				t.tab, t.what, t.name
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'Columns that are added to event tables must be nullable and without a default; CHECK and foreign keys are not possible.',
				HINT = pg_catalog.format(
					'Run ALTER TABLE %s DROP %s %I, or make the column nullable and without a default, and update again.',
					t.tab, upper(t.what), t.name);
	END IF;
END;
$$;
