\echo Use "CREATE EXTENSION or ALTER EXTENSION UPDATE" to load this file. \quit
-- pgq_ext.sql: extension pgq_ext: in the database that a consumer writes to,
-- keeps what it has done already, in the same transaction.
--
-- Stands alone: extension pgq is in the database of the queue.
--
-- What a consumer has done last is a new row each time, and its id part of the key: the
-- newest is one step down the index, even while a snapshot that is held keeps
-- all others. So plans must use it, also those made while the table was small.

CREATE SCHEMA IF NOT EXISTS pgq_ext;
GRANT USAGE ON SCHEMA pgq_ext TO PUBLIC;

DO $$
BEGIN
	PERFORM FROM pg_catalog.pg_roles WHERE rolname = 'pgq_writer';
	IF NOT FOUND THEN
		CREATE ROLE pgq_writer;
	END IF;
EXCEPTION
	WHEN unique_violation OR duplicate_object THEN
		-- Roles belong to the cluster: another session was faster.
		NULL;
END;
$$;


CREATE OR REPLACE FUNCTION pgq_ext.version()
RETURNS text AS $$
	SELECT '3.1'::pg_catalog.text
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.version() IS
	'Returns the version of pgq_ext''s interface, which clients may ask for.';


CREATE OR REPLACE FUNCTION pgq_ext.upgrade_schema()
RETURNS int4 AS $$
DECLARE
	t record;
	old_key name;
	n int4 := 0;
BEGIN
	FOR t IN
		SELECT * FROM (VALUES
			('completed_tick', 'last_tick_id int8 NOT NULL',
			 ', last_tick_id'),
			('completed_batch', 'last_batch_id int8 NOT NULL',
			 ', last_batch_id'),
			('completed_event', 'batch_id int8 NOT NULL, event_id int8 NOT NULL',
			 ', batch_id, event_id'),
			('partial_batch', 'cur_batch_id int8 NOT NULL',
			 ', cur_batch_id')
		) v(name, columns, more_keys)
	LOOP
		-- as pgq_ext 3 made it
		SELECT c.conname INTO old_key FROM pg_catalog.pg_constraint c
		WHERE c.conrelid = pg_catalog.to_regclass('pgq_ext.' || t.name)
		  AND c.contype = 'p' AND pg_catalog.cardinality(c.conkey) = 2;
		IF FOUND THEN
			EXECUTE pg_catalog.format(
				'ALTER TABLE pgq_ext.%I DROP CONSTRAINT %I, '
				'ADD PRIMARY KEY (consumer_id, subconsumer_id%s)',
				t.name, old_key, t.more_keys);
		END IF;
		CONTINUE WHEN EXISTS (
			SELECT FROM pg_catalog.pg_class c
				 JOIN pg_catalog.pg_namespace ns ON ns.oid = c.relnamespace
			WHERE ns.nspname = 'pgq_ext' AND c.relname = t.name);
		EXECUTE pg_catalog.format(
			'CREATE TABLE pgq_ext.%I ('
			'consumer_id text NOT NULL, '
			'subconsumer_id text NOT NULL DEFAULT '''', %s, '
			'PRIMARY KEY (consumer_id, subconsumer_id%s))',
			t.name, t.columns, t.more_keys);
		n := n + 1;
	END LOOP;
	RETURN n;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.upgrade_schema() IS
	'Creates those tables of pgq_ext that are missing and returns how many.';

DO $$ BEGIN PERFORM pgq_ext.upgrade_schema(); END $$;


CREATE OR REPLACE FUNCTION pgq_ext._set_last(
	i_table name, i_column name, i_consumer text, i_subconsumer text, i_id int8)
RETURNS int8 AS $$
DECLARE
	mine text := format('consumer_id = %L AND subconsumer_id = %L',
						i_consumer, i_subconsumer);
	last_id int8;
BEGIN
	-- The first look may wait for another session that puts a new row in place of
	-- this one. Only at the very first time there is none that could be locked.
	FOR look IN 1 .. 3 LOOP
		IF look = 3 THEN
			EXECUTE format('LOCK TABLE pgq_ext.%I IN SHARE ROW EXCLUSIVE MODE',
						   i_table);
		END IF;
		EXECUTE format('SELECT %1$I FROM pgq_ext.%2$I WHERE %3$s '
			'ORDER BY consumer_id DESC, subconsumer_id DESC, %1$I DESC '
			'LIMIT 1 FOR UPDATE', i_column, i_table, mine) INTO last_id;
		EXIT WHEN last_id IS NOT NULL;
	END LOOP;
	IF last_id IS DISTINCT FROM i_id THEN
		EXECUTE format('DELETE FROM pgq_ext.%I WHERE %s AND %I = %L', i_table,
					   mine, i_column, last_id);
		EXECUTE format('INSERT INTO pgq_ext.%I (consumer_id, subconsumer_id, %I) '
			'VALUES (%L, %L, %L)', i_table, i_column, i_consumer, i_subconsumer,
			i_id);
	END IF;
	RETURN last_id;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off;

COMMENT ON FUNCTION pgq_ext._set_last(name, name, text, text, int8) IS
	'Puts an id in the place of the last one of a sub-consumer; returns that, NULL if there was none.';

COMMENT ON TABLE pgq_ext.completed_tick IS
	'Last tick up to which a consumer is done.';
COMMENT ON TABLE pgq_ext.completed_batch IS
	'Last batch that a consumer has done.';
COMMENT ON TABLE pgq_ext.completed_event IS
	'Events of the present batch that a consumer has done.';
COMMENT ON TABLE pgq_ext.partial_batch IS
	'Batch to which a consumer''s rows in completed_event belong.';
SELECT pg_catalog.pg_extension_config_dump('pgq_ext.completed_tick', '');
SELECT pg_catalog.pg_extension_config_dump('pgq_ext.completed_batch', '');
SELECT pg_catalog.pg_extension_config_dump('pgq_ext.completed_event', '');
SELECT pg_catalog.pg_extension_config_dump('pgq_ext.partial_batch', '');


-- Batches

CREATE OR REPLACE FUNCTION pgq_ext.is_batch_done(
	a_consumer text, a_subconsumer text, a_batch_id int8)
RETURNS bool AS $$
DECLARE
	res bool;
BEGIN
	SELECT last_batch_id = a_batch_id INTO res FROM pgq_ext.completed_batch
	WHERE consumer_id = a_consumer AND subconsumer_id = a_subconsumer
	ORDER BY consumer_id DESC, subconsumer_id DESC, last_batch_id DESC LIMIT 1;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	RETURN res;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq_ext.is_batch_done(text, text, int8) IS
	'Tells whether a batch is the one that a sub-consumer has done last.';


CREATE OR REPLACE FUNCTION pgq_ext.is_batch_done(
	a_consumer text, a_batch_id int8)
RETURNS bool AS $$
	SELECT pgq_ext.is_batch_done(a_consumer, '', a_batch_id)
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.is_batch_done(text, int8) IS
	'Tells whether a batch is the one that a consumer has done last.';


-- Of two sessions with the same batch only one is told that it is new.
CREATE OR REPLACE FUNCTION pgq_ext.set_batch_done(
	a_consumer text, a_subconsumer text, a_batch_id int8)
RETURNS bool AS $$
BEGIN
	IF a_batch_id IS NULL OR a_batch_id <= 0 THEN
		RETURN true;
	END IF;
	RETURN pgq_ext._set_last('completed_batch', 'last_batch_id', a_consumer,
							 a_subconsumer, a_batch_id) IS DISTINCT FROM a_batch_id;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.set_batch_done(text, text, int8) IS
	'Remembers a sub-consumer''s batch as done; returns false if it was already.';


CREATE OR REPLACE FUNCTION pgq_ext.set_batch_done(
	a_consumer text, a_batch_id int8)
RETURNS bool AS $$
	SELECT pgq_ext.set_batch_done(a_consumer, '', a_batch_id)
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.set_batch_done(text, int8) IS
	'Remembers a consumer''s batch as done; returns false if it was already.';


-- Events of a batch

CREATE OR REPLACE FUNCTION pgq_ext.is_event_done(
	a_consumer text, a_subconsumer text, a_batch_id int8, a_event_id int8)
RETURNS bool AS $$
BEGIN
	PERFORM FROM pgq_ext.completed_event
	WHERE consumer_id = a_consumer AND subconsumer_id = a_subconsumer
	  AND batch_id = a_batch_id AND event_id = a_event_id;
	RETURN FOUND;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.is_event_done(text, text, int8, int8) IS
	'Tells whether a sub-consumer has done an event of its present batch.';


CREATE OR REPLACE FUNCTION pgq_ext.is_event_done(
	a_consumer text, a_batch_id int8, a_event_id int8)
RETURNS bool AS $$
	SELECT pgq_ext.is_event_done(a_consumer, '', a_batch_id, a_event_id)
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.is_event_done(text, int8, int8) IS
	'Tells whether a consumer has done an event of its present batch.';


CREATE OR REPLACE FUNCTION pgq_ext.set_event_done(
	a_consumer text, a_subconsumer text, a_batch_id int8, a_event_id int8)
RETURNS bool AS $$
DECLARE
	last_batch int8;
BEGIN
	SELECT cur_batch_id INTO last_batch FROM pgq_ext.partial_batch
	WHERE consumer_id = a_consumer AND subconsumer_id = a_subconsumer
	ORDER BY consumer_id DESC, subconsumer_id DESC, cur_batch_id DESC LIMIT 1;
	IF last_batch IS DISTINCT FROM a_batch_id THEN
		last_batch := pgq_ext._set_last('partial_batch', 'cur_batch_id',
										a_consumer, a_subconsumer, a_batch_id);
	END IF;
	-- By the batch's id: while a snapshot is held open, the events of all batches
	-- before it are there yet, dead.
	IF last_batch <> a_batch_id THEN
		DELETE FROM pgq_ext.completed_event
		WHERE consumer_id = a_consumer AND subconsumer_id = a_subconsumer
		  AND batch_id = last_batch;
	END IF;

	INSERT INTO pgq_ext.completed_event
		(consumer_id, subconsumer_id, batch_id, event_id)
	VALUES (a_consumer, a_subconsumer, a_batch_id, a_event_id)
	ON CONFLICT DO NOTHING;
	RETURN FOUND;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq_ext.set_event_done(text, text, int8, int8) IS
	'Remembers an event of a sub-consumer''s batch as done and forgets those of other batches; returns false if it was done already.';


CREATE OR REPLACE FUNCTION pgq_ext.set_event_done(
	a_consumer text, a_batch_id int8, a_event_id int8)
RETURNS bool AS $$
	SELECT pgq_ext.set_event_done(a_consumer, '', a_batch_id, a_event_id)
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.set_event_done(text, int8, int8) IS
	'Remembers an event of a consumer''s batch as done and forgets those of other batches; returns false if it was done already.';


-- Ticks

CREATE OR REPLACE FUNCTION pgq_ext.get_last_tick(
	a_consumer text, a_subconsumer text)
RETURNS int8 AS $$
	SELECT last_tick_id FROM pgq_ext.completed_tick
	WHERE consumer_id = a_consumer AND subconsumer_id = a_subconsumer
	ORDER BY consumer_id DESC, subconsumer_id DESC, last_tick_id DESC LIMIT 1
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;

COMMENT ON FUNCTION pgq_ext.get_last_tick(text, text) IS
	'Returns the tick up to which a sub-consumer is done, NULL if there is none.';


CREATE OR REPLACE FUNCTION pgq_ext.get_last_tick(a_consumer text)
RETURNS int8 AS $$
	SELECT pgq_ext.get_last_tick(a_consumer, '')
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.get_last_tick(text) IS
	'Returns the tick up to which a consumer is done, NULL if there is none.';


CREATE OR REPLACE FUNCTION pgq_ext.set_last_tick(
	a_consumer text, a_subconsumer text, a_tick_id int8)
RETURNS int4 AS $$
BEGIN
	IF a_tick_id IS NULL THEN
		DELETE FROM pgq_ext.completed_tick
		WHERE consumer_id = a_consumer AND subconsumer_id = a_subconsumer;
	ELSE
		PERFORM pgq_ext._set_last('completed_tick', 'last_tick_id', a_consumer,
								  a_subconsumer, a_tick_id);
	END IF;
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.set_last_tick(text, text, int8) IS
	'Remembers the tick up to which a sub-consumer is done; NULL forgets it.';


CREATE OR REPLACE FUNCTION pgq_ext.set_last_tick(
	a_consumer text, a_tick_id int8)
RETURNS int4 AS $$
	SELECT pgq_ext.set_last_tick(a_consumer, '', a_tick_id)
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq_ext.set_last_tick(text, int8) IS
	'Remembers the tick up to which a consumer is done; NULL forgets it.';


REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgq_ext FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgq_ext TO pgq_writer;
REVOKE ALL ON FUNCTION pgq_ext._set_last(name, name, text, text, int8)
	FROM pgq_writer;
GRANT EXECUTE ON FUNCTION pgq_ext.version() TO PUBLIC;
