-- tables_4_1.sql: what PgQ 4.1 adds to the tables of 4.0, in a new database or in an
-- update: tables, columns, constraints, indexes, and what of them pg_dump must save.
--
-- The files of functions follow, with triggers that are new.

-- Shares of batches, see share.sql. sh_id is that of the lease, NULL before the first.
CREATE SEQUENCE pgq.share_id_seq;
CREATE TABLE pgq.share (
	sh_batch    int8 NOT NULL,
	sh_no       int4 NOT NULL,
	sh_count    int4 NOT NULL,
	sh_key      text NOT NULL,
	sh_events   int8 NOT NULL,
	sh_id       int8,
	sh_done     bool NOT NULL DEFAULT false,
	sh_worker   text,
	sh_until    timestamptz,
	sh_pid      int4,
	sh_since    timestamptz,
	CONSTRAINT share_pkey PRIMARY KEY (sh_batch, sh_no),
	CONSTRAINT share_id_uq UNIQUE (sh_id)
);
COMMENT ON TABLE pgq.share IS
	'Shares of the open batches that several workers of a consumer do together.';
SELECT pg_catalog.pg_extension_config_dump('pgq.share_id_seq', '');

-- Rows are only inserted: the newest are at an end of the index, while an old
-- snapshot keeps all that maint_shares deleted.
CREATE TABLE pgq.share_worker (
	sw_queue    int4 NOT NULL,
	sw_consumer int4 NOT NULL,
	sw_seen     timestamptz NOT NULL,
	sw_worker   text NOT NULL,
	sw_pid      int4 NOT NULL
);
CREATE INDEX share_worker_seen_idx
	ON pgq.share_worker (sw_queue, sw_consumer, sw_seen);
COMMENT ON TABLE pgq.share_worker IS
	'When workers of consumers came for a share, for as long as that counts.';

-- How often events were postponed, which is in their ev_retry but is no failure. pe_txid
-- put the event back into its queue, NULL: it waits. Who is past that is done with it.
CREATE TABLE pgq.postponed_event (
	pe_owner    int4 NOT NULL,
	pe_queue    int4 NOT NULL,
	ev_id       int8 NOT NULL,
	pe_count    int4 NOT NULL,
	pe_txid     int8,
	CONSTRAINT postponed_event_pkey PRIMARY KEY (pe_owner, ev_id)
);
COMMENT ON TABLE pgq.postponed_event IS
	'How often events that wait for a retry, or came from one, were merely postponed.';
SELECT pg_catalog.pg_extension_config_dump('pgq.postponed_event', '');

-- Queues that get changes of the schema as events.
CREATE TABLE pgq.capture_ddl (
	cdl_queue   text PRIMARY KEY
);
COMMENT ON TABLE pgq.capture_ddl IS
	'Queues that get changes of the schema; changed through capture_ddl only.';
SELECT pg_catalog.pg_extension_config_dump('pgq.capture_ddl', '');

-- What pgqd knows of its own troubles, for as long as its session lasts: nothing to be
-- dumped. Its first page is there from the beginning, after a crash too, since a disk
-- that is full has no room for one.
CREATE TABLE pgq.told_problem (
	told_pid      int4 NOT NULL,
	told_session  timestamptz NOT NULL,
	told_time     timestamptz NOT NULL,
	told_kind     text NOT NULL,
	told_severity text NOT NULL,
	told_problem  text NOT NULL
) WITH (vacuum_truncate = false);
INSERT INTO pgq.told_problem VALUES (0, pg_catalog.now(), pg_catalog.now(), '', '', '');
DELETE FROM pgq.told_problem;
COMMENT ON TABLE pgq.told_problem IS
	'What pgqd has told to be wrong; get_problems() shows it.';

-- Queues of another server that captures and emit_event may name, see
-- remote_queue.sql.
CREATE TABLE pgq.remote_queue (
	rq_queue    text PRIMARY KEY,
	rq_declared timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE pgq.remote_queue IS
	'Queues on a queue host that this database feeds; changed through declare_remote_queue only.';
SELECT pg_catalog.pg_extension_config_dump('pgq.remote_queue', '');

ALTER TABLE pgq.slot ADD COLUMN slot_remote bool NOT NULL DEFAULT false;
COMMENT ON COLUMN pgq.slot.slot_remote IS
	'The slot feeds a queue host, and its position is there.';

-- Databases of other servers that feed queues of this one, see source.sql. What
-- the first connection finds there is what the position belongs to.
CREATE TABLE pgq.source (
	src_name        text PRIMARY KEY,
	src_created     timestamptz NOT NULL DEFAULT pg_catalog.now(),
	src_key         text CONSTRAINT source_key_uq UNIQUE,
	src_sysid       int8,
	src_database    text,
	src_slot        text,
	src_encoding    text,
	src_timeline    int4,
	src_problem     text,
	src_problem_lsn pg_lsn
);
COMMENT ON TABLE pgq.source IS
	'Databases of other servers that feed queues of this one; changed through create_source and its like only.';
COMMENT ON COLUMN pgq.source.src_key IS
	'Names its position in pgq.position: system identifier, slot and database.';
SELECT pg_catalog.pg_extension_config_dump('pgq.source', '');

-- By name, as captures name theirs.
CREATE TABLE pgq.source_queue (
	sq_source   text NOT NULL CONSTRAINT source_queue_source_fkey
		REFERENCES pgq.source (src_name),
	sq_queue    text NOT NULL,
	sq_extra    int4 CONSTRAINT source_queue_extra_check
		CHECK (sq_extra BETWEEN 1 AND 4),
	CONSTRAINT source_queue_pkey PRIMARY KEY (sq_source, sq_queue)
);
COMMENT ON TABLE pgq.source_queue IS
	'Which queues a source may feed; changed through grant_source only.';
COMMENT ON COLUMN pgq.source_queue.sq_extra IS
	'Which of ev_extra1 to ev_extra4 names the source in its events; NULL: none does.';
SELECT pg_catalog.pg_extension_config_dump('pgq.source_queue', '');

CREATE TYPE pgq.problem AS (
	kind      text,
	object    text,
	severity  text,
	problem   text,
	hint      text,
	statement text,
	age       interval
);
COMMENT ON TYPE pgq.problem IS 'A row of get_problems().';
