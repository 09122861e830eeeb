-- Copies: who may ask for one, what is refused, and what becomes of held changes
-- when one is done, given up or begun anew. What pgqd does is done by hand here.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE SCHEMA cop;
SET search_path = cop, public;
\pset format unaligned
\pset tuples_only on

CREATE FUNCTION cop.try(cmd text) RETURNS text AS $$
DECLARE
	message text;
	hint text;
	result text;
BEGIN
	EXECUTE cmd INTO result;
	RETURN 'accepted' || coalesce(': ' || result, '');
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN format('%s: %s', SQLSTATE, regexp_replace(message, '\d+', 'N'))
		|| coalesce(E'\n  HINT ' || nullif(hint, ''), '');
END;
$$ LANGUAGE plpgsql;

-- what pgqd's ingest does
CREATE FUNCTION cop.ingest() RETURNS bigint LANGUAGE sql AS $$
	SELECT pgq.ingest('cop_slot', (SELECT max(pos_lsn) FROM pgq.position),
		pg_current_wal_insert_lsn(), coalesce(f.frames, ''))
	FROM (SELECT string_agg(data, '' ORDER BY n) AS frames
		  FROM pg_logical_slot_get_binary_changes('cop_slot', NULL, NULL,
			'format', 'frames') WITH ORDINALITY AS c(lsn, xid, data, n)) f
$$;
-- what a consumer of a queue has to see, in order
CREATE FUNCTION cop.events(q text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pgq.force_tick(q);
	PERFORM pgq.ticker(q);
	RETURN QUERY SELECT CASE WHEN ev_type LIKE 'pgq.%' THEN ev_type ELSE
		concat_ws(' ', ev_type::json ->> 'op', ev_data, ev_extra3) END
	FROM pgq.get_batch_events(pgq.next_batch(q, 'c')) ORDER BY ev_id;
	PERFORM pgq.finish_batch(sub_batch) FROM pgq.subscription WHERE sub_batch IS NOT NULL;
END;
$$;

SELECT pgq.create_queue('cop_q'), pgq.register_consumer('cop_q', 'c');
SELECT pgq.start_capture('cop_slot');
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'old'), (2, 'old');

-- rights: the owner's, if he may write to queues
CREATE ROLE cop_owner;
CREATE ROLE cop_writer IN ROLE pgq_writer;
CREATE ROLE cop_reader IN ROLE pgq_reader;
CREATE ROLE cop_both IN ROLE pgq_writer;
GRANT USAGE, CREATE ON SCHEMA cop TO cop_owner, cop_writer, cop_reader, cop_both;
CREATE TABLE owned (id int PRIMARY KEY);
ALTER TABLE owned OWNER TO cop_owner;
CREATE TABLE both_t (id int PRIMARY KEY);
ALTER TABLE both_t OWNER TO cop_both;
SET ROLE cop_owner;
SELECT cop.try($$select pgq.capture_table('cop_q', 'owned', 'copy')$$);
SELECT cop.try($$select pgq.cancel_copy('cop_q', 'owned')$$);
SET ROLE cop_writer;
SELECT cop.try($$select pgq.capture_table('cop_q', 't', 'copy')$$);
SELECT cop.try($$select pgq.cancel_copy('cop_q', 't')$$);
SET ROLE cop_reader;
SELECT cop.try($$select count(*) from pgq.get_copy_info()$$);
SELECT cop.try($$select count(*) from pgq.held_event$$);
SELECT cop.try($$select count(*) from pgq.copy$$);
SET ROLE cop_both;
SELECT cop.try($$select pgq.capture_table('cop_q', 'both_t', 'copy')$$);
SELECT cop.try($$select count(*) from pgq.held_event$$);
SELECT cop.try($$select pgq._restart_copy('cop_q', 'cop.t', true)$$);
SELECT cop.try($$select pgq._forget_captures('cop_q')$$);
SELECT cop.try($$select pgq._end_copy(1)$$);
SELECT cop.try($$select pgq._note_copy(1, 1, 1, 1, 1)$$);
SELECT cop.try($$select pgq._fail_copy(1, 'no')$$);
SELECT cop.try($$select pgq._start_copy(1)$$);
SELECT cop.try($$select pgq._copy_rows()$$);
SELECT cop.try($$select pgq._publish_copy(1)$$);
SELECT cop.try($$select pgq.cancel_copy('cop_q', 'both_t')$$);
SELECT cop.try($$select pgq.cancel_copy('cop_q', 'both_t')$$);
RESET ROLE;

-- refusals
SELECT cop.try($$select pgq.capture_table('cop_q', 't', 'copy', 'ops=update,delete')$$);
SELECT cop.try($$select pgq.capture_table('none', 't', 'copy')$$);
SELECT cop.try($$select pgq.capture_table('cop_q', 'pg_class', 'copy')$$);
SELECT cop.try($$select pgq.capture_table('cop_q', 't', 'copy', 'when=nothing')$$);
SELECT cop.try($$select pgq._begin_copy(1, 'cop_q', 'cop.t'::regclass)$$);
SELECT cop.try($$select pgq._copy_rows()$$);
SELECT cop.try($$select pgq._publish_copy(1)$$);

-- a copy waits; asking again changes its arguments
SELECT pgq.capture_table('cop_q', 't', 'copy');
SELECT pgq.capture_table('cop_q', 't', 'ignore=v', 'copy');
SELECT pgq.capture_table('cop_q', 't', 'copy', 'when=id > 0');
SELECT cop.try($$select pgq.capture_table('cop_q', 't')$$);
SELECT cop.try($$select pgq.drop_queue('cop_q')$$);
SELECT table_name, arguments, state, warnings[1] FROM pgq.get_capture_info('cop_q');
SELECT queue_name, table_name, state, copied_rows, share, problem FROM pgq.get_copy_info();
-- it can be given up, with all that belongs to it
SELECT pgq.uncapture_table('cop_q', 't'), pgq.uncapture_table('cop_q', 't');
SELECT count(*) FROM pgq.copy;

-- the whole way: the rows, then their changes
SELECT pgq.capture_table('cop_q', 't', 'copy');
SELECT cop.ingest();
SELECT queue_name, table_name FROM pgq._start_copy((pgq._next_copy()).copy_id);
SELECT max(copy_id) AS copy FROM pgq.copy \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pgq._begin_copy(:copy, 'cop_q', 't'::regclass);
COMMIT;
UPDATE t SET v = 'new' WHERE id = 1;
INSERT INTO t VALUES (3, 'new');
SELECT count(*) FROM pgq.get_capture_info('cop_q') WHERE state = 'copying';
SELECT data FROM pg_logical_slot_peek_changes('cop_slot', NULL, NULL)
	WHERE data NOT LIKE '%"copy":' || :copy || '}';
SELECT cop.ingest();
SELECT * FROM cop.events('cop_q');
SELECT ev_data FROM pgq.held_event ORDER BY ev_id;
SELECT cop.try($$select pgq.capture_table('cop_q', 't')$$);
SELECT cop.try($$select pgq.capture_table('cop_q', 't', 'copy')$$);
-- this try fails; the next one has what the old one held
SELECT queue_name, table_name FROM pgq._start_copy((pgq._next_copy()).copy_id);
\set VERBOSITY sqlstate
SELECT pgq._publish_copy(:copy);
\set VERBOSITY default
SELECT max(copy_id) AS copy FROM pgq.copy \gset
SELECT copy_state, copy_truncate, copy_discard FROM pgq.copy;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pgq._begin_copy(:copy, 'cop_q', 't'::regclass);
SELECT copied, blocks, done FROM pgq._copy_rows();
SELECT pgq._publish_copy(:copy);
COMMIT;
SELECT * FROM cop.events('cop_q');
DELETE FROM t WHERE id = 2;
SELECT cop.ingest();
SELECT * FROM cop.events('cop_q');
SELECT pgq._copy_goes_on(:copy);
SELECT table_name, arguments, state FROM pgq.get_capture_info('cop_q');
SELECT table_name, state, copied_rows, total_rows, share, problem FROM pgq.get_copy_info();
SELECT pgq._clean_copies();
SELECT count(*) FROM pgq.held_event;

-- again, of a table that is captured: what a failed try held comes before
SELECT pgq.capture_table('cop_q', 't', 'copy', 'ev_extra1=v');
SELECT table_name FROM pgq._start_copy((pgq._next_copy()).copy_id);
INSERT INTO t VALUES (4, 'held');
SELECT cop.ingest();
SELECT table_name FROM pgq._start_copy((pgq._next_copy()).copy_id);
SELECT copy_state, copy_truncate, copy_discard FROM pgq.copy ORDER BY copy_id;
SELECT max(copy_id) AS copy FROM pgq.copy \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pgq._begin_copy(:copy, 'cop_q', 't'::regclass);
SELECT copied, blocks, done FROM pgq._copy_rows();
SELECT pgq._publish_copy(:copy);
COMMIT;
SELECT * FROM cop.events('cop_q');
SELECT pgq._clean_copies();
SELECT copy_state FROM pgq.copy;

-- given up while it goes on: the capture stays, and what was held comes
SELECT pgq.capture_table('cop_q', 't', 'copy');
SELECT table_name FROM pgq._start_copy((pgq._next_copy()).copy_id);
INSERT INTO t VALUES (5, 'held');
SELECT cop.ingest();
SELECT pgq.cancel_copy('cop_q', 't'), pgq.cancel_copy('cop_q', 't');
INSERT INTO t VALUES (6, 'held');
SELECT cop.ingest();
SELECT state FROM pgq.get_capture_info('cop_q');
SELECT copy_id AS copy, is_cancelled FROM pgq._next_copy() \gset
BEGIN;
SELECT pgq._publish_copy(:copy);
PREPARE TRANSACTION 'cop';
SELECT :'is_cancelled', pgq._publish_copy(:copy);
INSERT INTO t VALUES (7, 'at once');
SELECT cop.ingest();
SELECT * FROM cop.events('cop_q');
SELECT state FROM pgq.get_capture_info('cop_q');

-- no new capture gets ahead of what is still held
SELECT pgq.capture_table('cop_q', 't', 'copy');
SELECT table_name FROM pgq._start_copy((pgq._next_copy()).copy_id);
INSERT INTO t VALUES (70, 'held');
SELECT cop.ingest();
SELECT pgq.uncapture_table('cop_q', 't');
SELECT cop.try($$select pgq.capture_table('cop_q', 't')$$);
INSERT INTO t VALUES (71, 'not captured');
SELECT pgq._publish_copy((pgq._next_copy()).copy_id);
SELECT pgq.capture_table('cop_q', 't');
INSERT INTO t VALUES (72, 'at once');
SELECT cop.ingest();
SELECT * FROM cop.events('cop_q');

-- a capture that came with its copy leaves nothing when both end
SELECT pgq.uncapture_table('cop_q', 't');
SELECT pgq.capture_table('cop_q', 't', 'copy');
SELECT table_name FROM pgq._start_copy((pgq._next_copy()).copy_id);
INSERT INTO t VALUES (8, 'lost');
SELECT pgq.uncapture_table('cop_q', 't');
SELECT cop.ingest();
SELECT * FROM cop.events('cop_q');
SELECT copy_id IS NULL FROM pgq._next_copy();
SELECT pgq._clean_copies();
SELECT count(*) FROM pgq.held_event;

-- rows of partitions that have a capture of their own are not the parent's
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
INSERT INTO parted VALUES (1), (11);
SELECT pgq.capture_table('cop_q', 'part_2');
SELECT pgq.capture_table('cop_q', 'parted', 'copy');
SELECT copy_id AS copy FROM pgq._start_copy((pgq._next_copy()).copy_id) \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pgq._begin_copy(:copy, 'cop_q', 'parted'::regclass);
SELECT copied, blocks, done FROM pgq._copy_rows();
SELECT pgq._publish_copy(:copy);
COMMIT;
SELECT * FROM cop.events('cop_q');

-- a row that can't be written fails alone, and leaves nothing open behind
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TYPE pair AS (n int, m mood);
CREATE TABLE moods (id int PRIMARY KEY, p pair);
INSERT INTO moods VALUES (1, (1, 'good')), (2, (2, 'bad')), (3, (3, 'good'));
DELETE FROM pg_enum WHERE enumlabel = 'bad' AND enumtypid = 'mood'::regtype;
SELECT pgq.capture_table('cop_q', 'moods', 'copy');
SELECT copy_id AS copy FROM pgq._start_copy((pgq._next_copy()).copy_id) \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pgq._begin_copy(:copy, 'cop_q', 'moods'::regclass);
SELECT copied, blocks, done FROM pgq._copy_rows();
SELECT pgq._publish_copy(:copy);
COMMIT;
SELECT * FROM cop.events('cop_q');
DROP TABLE moods;

-- where transactions have boundaries, what is held has its own; a disabled queue
-- is no obstacle
SELECT pgq.uncapture_table('cop_q', 'part_2'), pgq.capture_transactions('cop_q');
UPDATE pgq.queue SET queue_disable_insert = true WHERE queue_name = 'cop_q';
SELECT pgq.capture_table('cop_q', 't');
SELECT pgq.capture_table('cop_q', 'parted', 'copy');
SELECT table_name FROM pgq._start_copy((pgq._next_copy()).copy_id);
BEGIN;
INSERT INTO parted VALUES (2);
INSERT INTO t VALUES (9, 'not held');
INSERT INTO parted VALUES (12);
COMMIT;
SELECT cop.ingest();
SELECT * FROM cop.events('cop_q');
SELECT pgq.cancel_copy('cop_q', 'parted');
SELECT pgq._publish_copy((pgq._next_copy()).copy_id);
SELECT * FROM cop.events('cop_q');
UPDATE pgq.queue SET queue_disable_insert = false WHERE queue_name = 'cop_q';

-- a table or queue that is dropped takes its copy with it
SELECT pgq.capture_table('cop_q', 't', 'copy');
DROP TABLE t;
SELECT copy_id IS NULL FROM pgq._next_copy();
CREATE TABLE t (id int PRIMARY KEY);
SELECT pgq.capture_table('cop_q', 't', 'copy');
SELECT pgq.drop_queue('cop_q', true);
SELECT count(*) FROM pgq.copy;

SELECT pgq.stop_capture();
DROP SCHEMA cop CASCADE;
DROP ROLE cop_owner, cop_writer, cop_reader, cop_both;
