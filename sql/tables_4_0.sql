-- tables_4_0.sql: what PgQ 4.0 adds to the tables of PgQ 3, in a new database or
-- in an upgrade, and what pg_dump must save.
--
-- Frozen, since databases have it: what is new stands in tables_4_1.sql.

COMMENT ON TABLE pgq.consumer IS
	'Names of the registered consumers.';
COMMENT ON TABLE pgq.queue IS
	'Queues, their settings and the state of their table rotation.';
COMMENT ON TABLE pgq.tick IS
	'Bookmarks in the queues; each holds a transaction snapshot.';
COMMENT ON TABLE pgq.subscription IS
	'Position and open batch of each consumer on each queue.';
COMMENT ON TABLE pgq.event_template IS
	'Parent of the event tables of all queues.';
COMMENT ON TABLE pgq.retry_queue IS
	'Events that wait to be put into their queue again.';

-- The check keeps administrators of queues, who may update the table, from
-- pointing functions that run with the owner's rights at relations of their
-- own.
ALTER TABLE pgq.queue ADD CONSTRAINT queue_relations_check CHECK (
	queue_data_pfx ~ '^pgq\.event_[0-9]+$'
	AND queue_event_seq ~ '^pgq\.event_[0-9]+_id_seq$'
	AND queue_tick_seq ~ '^pgq\.event_[0-9]+_tick_seq$');

-- Past so many retries an event goes to pgq.dead_event; NULL sets no limit.
ALTER TABLE pgq.queue ADD COLUMN queue_max_retries int4
	CONSTRAINT queue_max_retries_check CHECK (queue_max_retries >= 0);

-- Bytes of disk; NULL sets no limit. See size.sql for what happens past it.
ALTER TABLE pgq.queue ADD COLUMN queue_max_size int8
	CONSTRAINT queue_max_size_check CHECK (queue_max_size > 0);
ALTER TABLE pgq.queue ADD COLUMN queue_max_size_policy text NOT NULL
	DEFAULT 'warn' CONSTRAINT queue_max_size_policy_check
	CHECK (queue_max_size_policy IN ('warn', 'drop_slowest'));

-- When and where a consumer lost its position; NULL while it has one. Such a
-- row has no tick any more, so that nothing attaches it again by mistake.
ALTER TABLE pgq.subscription ADD COLUMN sub_lost_time timestamptz;
ALTER TABLE pgq.subscription ADD COLUMN sub_lost_tick int8;
ALTER TABLE pgq.subscription ADD CONSTRAINT subscription_lost_check
	CHECK (sub_lost_time IS NULL
		   OR sub_last_tick IS NULL AND sub_next_tick IS NULL);

-- The versions of a row in the order in which they came: see _subscriptions().
CREATE INDEX subscription_active_idx
	ON pgq.subscription (sub_queue, sub_consumer, sub_active);

-- Where its ticks' transaction ids come from, see adopt.sql. No default: a
-- queue that a dump of PgQ 3 brings must not pass for one that was made here.
ALTER TABLE pgq.queue ADD COLUMN queue_origin int8;
COMMENT ON COLUMN pgq.queue.queue_origin IS
	'A number for the server and database whose transaction ids the ticks have; NULL until the ticker has looked.';

-- Captured events name their queue by its name, and come late: those from before
-- it was made were for another of that name.
ALTER TABLE pgq.queue ADD COLUMN queue_created_lsn pg_lsn;
COMMENT ON COLUMN pgq.queue.queue_created_lsn IS
	'From where on in the WAL of its origin the queue is meant by its name; NULL for always.';

-- How long what all consumers are past is kept.
ALTER TABLE pgq.queue ADD COLUMN queue_retention interval NOT NULL DEFAULT '0'
	CONSTRAINT queue_retention_check CHECK (queue_retention >= '0');

-- Marks: which table's changes go to which queue. The output plugin reads
-- them under the historic snapshot, which does not reach into a TOAST table,
-- so no column may be moved out of the row.
CREATE TABLE pgq.capture (
	cap_relid   regclass NOT NULL,
	cap_queue   text NOT NULL,
	cap_args    text[] NOT NULL DEFAULT '{}',
	cap_copy    int8,
	PRIMARY KEY (cap_relid, cap_queue)
) WITH (user_catalog_table = true);
ALTER TABLE pgq.capture ALTER COLUMN cap_queue SET STORAGE PLAIN;
ALTER TABLE pgq.capture ALTER COLUMN cap_args SET STORAGE PLAIN;
COMMENT ON TABLE pgq.capture IS
	'Marks of captured tables; changed through capture_table only.';
COMMENT ON COLUMN pgq.capture.cap_copy IS
	'The copy that is under way and holds the changes; NULL when there is none.';

-- Copies of captured tables. Each try has an id of its own.
CREATE TABLE pgq.copy (
	copy_id          bigserial PRIMARY KEY,
	copy_queue       text NOT NULL,
	copy_relid       regclass NOT NULL,
	copy_args        text[] NOT NULL,
	copy_state       text NOT NULL,
	copy_truncate    bool NOT NULL,
	copy_discard     bool NOT NULL,
	copy_requested   timestamptz NOT NULL DEFAULT pg_catalog.now(),
	copy_started     timestamptz,
	copy_finished    timestamptz,
	copy_tried       timestamptz,
	copy_rows        int8 NOT NULL DEFAULT 0,
	copy_bytes       int8 NOT NULL DEFAULT 0,
	copy_blocks      int8,
	copy_blocks_done int8 NOT NULL DEFAULT 0,
	copy_error       text,
	CHECK (copy_state IN ('waiting', 'copying', 'superseded', 'cancelled', 'done'))
);
CREATE UNIQUE INDEX copy_active_idx ON pgq.copy (copy_queue, copy_relid)
	WHERE copy_state IN ('waiting', 'copying');
COMMENT ON TABLE pgq.copy IS
	'Copies of captured tables, those to come and the last one of each; see get_copy_info.';
COMMENT ON COLUMN pgq.copy.copy_truncate IS
	'The table was in the queue before: an event of TRUNCATE comes first.';
COMMENT ON COLUMN pgq.copy.copy_discard IS
	'What a try held that failed is thrown away, and not published before the rows.';
COMMENT ON COLUMN pgq.copy.copy_started IS
	'When changes began to be held; NULL as long as they are not.';

-- Changes of tables that are being copied. Columns are those of event tables,
-- and the copy behind them.
CREATE TABLE pgq.held_event (
	ev_id       bigserial,
	ev_time     timestamptz NOT NULL,
	ev_txid     int8 NOT NULL,
	ev_owner    int4,
	ev_retry    int4,
	ev_type     text,
	ev_data     text,
	ev_extra1   text,
	ev_extra2   text,
	ev_extra3   text,
	ev_extra4   text,
	held_copy   int8 NOT NULL,
	PRIMARY KEY (held_copy, ev_id)
);
COMMENT ON TABLE pgq.held_event IS
	'Changes of captured tables that wait until their table is copied; not saved by pg_dump.';

-- Rules of capture_schema: what new tables of a schema are captured with.
CREATE TABLE pgq.capture_schema (
	cps_schema  name NOT NULL,
	cps_queue   text NOT NULL,
	cps_args    text[] NOT NULL,
	PRIMARY KEY (cps_schema, cps_queue)
);
COMMENT ON TABLE pgq.capture_schema IS
	'Schemas whose tables are captured; changed through capture_schema only.';

-- Queues that get the boundaries of captured transactions as events.
CREATE TABLE pgq.capture_transaction (
	ctx_queue   text PRIMARY KEY
) WITH (user_catalog_table = true);
ALTER TABLE pgq.capture_transaction ALTER COLUMN ctx_queue SET STORAGE PLAIN;
COMMENT ON TABLE pgq.capture_transaction IS
	'Queues that get begin and commit of captured transactions; changed through capture_transactions only.';

-- Captured rows whose events lack something, counted by ingest.
CREATE TABLE pgq.capture_trouble (
	ctr_queue   text NOT NULL,
	ctr_table   text NOT NULL,
	ctr_kind    text NOT NULL,
	ctr_count   int8 NOT NULL,
	ctr_last    timestamptz NOT NULL,
	ctr_reason  text,
	PRIMARY KEY (ctr_queue, ctr_table, ctr_kind)
);
COMMENT ON TABLE pgq.capture_trouble IS
	'Counts captured rows whose events lack something; see get_capture_info.';
COMMENT ON COLUMN pgq.capture_trouble.ctr_kind IS
	'F: an expression failed and its field is NULL; L: the event was too large and has its key only; R: its row could not be written, and it has its key only; B: the capture could not be decoded, and there is no event.';
COMMENT ON COLUMN pgq.capture_trouble.ctr_reason IS
	'What failed the last time, for R and B.';

-- Event tables, so that the plugin can tell which queues a transaction fed
-- from SQL.
CREATE TABLE pgq.event_table (
	evt_relid   regclass PRIMARY KEY,
	evt_queue   text NOT NULL
) WITH (user_catalog_table = true);
ALTER TABLE pgq.event_table ALTER COLUMN evt_queue SET STORAGE PLAIN;
COMMENT ON TABLE pgq.event_table IS
	'Event tables and the queue that each belongs to.';

-- The slot whose stream is ingested here: at most one row a database.
CREATE TABLE pgq.slot (
	slot_name        text PRIMARY KEY,
	slot_created     timestamptz NOT NULL DEFAULT pg_catalog.now(),
	slot_sysid       int8 NOT NULL,
	slot_problem     text,
	slot_problem_lsn pg_lsn,
	slot_timeline    int4
);
COMMENT ON TABLE pgq.slot IS
	'The replication slot that feeds the queues of this database.';
COMMENT ON COLUMN pgq.slot.slot_sysid IS
	'System identifier of the server that has the slot.';
COMMENT ON COLUMN pgq.slot.slot_timeline IS
	'Timeline that the position is on; NULL when that is not known.';
COMMENT ON COLUMN pgq.slot.slot_problem IS
	'Why ingest stands still; NULL when it does not.';
COMMENT ON COLUMN pgq.slot.slot_problem_lsn IS
	'From where changes are missing, if any are.';

-- Positions are only inserted; the newest row of a slot counts. So a look-up
-- is one step down the index from its end, even while an old snapshot keeps
-- the rows that maint_positions deleted. No foreign key, to stay cheap.
CREATE TABLE pgq.position (
	pos_slot    text NOT NULL,
	pos_lsn     pg_lsn NOT NULL,
	pos_time    timestamptz NOT NULL,
	pos_events  int8 NOT NULL,
	PRIMARY KEY (pos_slot, pos_lsn)
);
COMMENT ON TABLE pgq.position IS
	'Up to which LSN the changes of a slot are in the queues.';
COMMENT ON COLUMN pgq.position.pos_events IS
	'Number of events ingested since start_capture.';

-- The secret that messages of emit_event are sealed with. emit.sql makes it, the
-- plugin reads it. It is not dumped: a database that is made anew from a dump
-- makes a new one.
CREATE TABLE pgq.secret (
	secret      bytea NOT NULL
) WITH (user_catalog_table = true);
ALTER TABLE pgq.secret ALTER COLUMN secret SET STORAGE PLAIN;
COMMENT ON TABLE pgq.secret IS
	'Marks events of emit_event as genuine; for nobody''s eyes.';

-- Events that consumers have given up, see dead.sql.
CREATE TABLE pgq.dead_event (
	dead_time      timestamptz NOT NULL DEFAULT pg_catalog.now(),
	dead_reason    text,
	dead_queue     int4 NOT NULL,
	dead_consumer  int4 NOT NULL,
	ev_id          int8 NOT NULL,
	ev_time        timestamptz NOT NULL,
	ev_txid        int8,
	ev_retry       int4,
	ev_type        text,
	ev_data        text,
	ev_extra1      text,
	ev_extra2      text,
	ev_extra3      text,
	ev_extra4      text,
	CONSTRAINT dead_event_pkey
		PRIMARY KEY (dead_queue, dead_consumer, ev_id),
	CONSTRAINT dead_event_queue_fkey FOREIGN KEY (dead_queue)
		REFERENCES pgq.queue (queue_id),
	CONSTRAINT dead_event_consumer_fkey FOREIGN KEY (dead_consumer)
		REFERENCES pgq.consumer (co_id)
);
COMMENT ON TABLE pgq.dead_event IS
	'Events that a consumer has given up, with the reason.';

-- Events that are put into their queue at a later time, see delayed.sql. ev_time is
-- when that is to be. All consumers get the event, so it has no owner.
CREATE TABLE pgq.delayed_event (
	ev_queue    int4 NOT NULL,
	ev_time     timestamptz NOT NULL,
	ev_id       int8 NOT NULL,
	ev_type     text,
	ev_data     text,
	ev_extra1   text,
	ev_extra2   text,
	ev_extra3   text,
	ev_extra4   text,
	CONSTRAINT delayed_event_pkey PRIMARY KEY (ev_queue, ev_time, ev_id),
	CONSTRAINT delayed_event_queue_fkey FOREIGN KEY (ev_queue)
		REFERENCES pgq.queue (queue_id)
);
COMMENT ON TABLE pgq.delayed_event IS
	'Events that wait for the time to be put into their queue.';

-- What consumers keep of where they are elsewhere, see bookmark.sql. A row a
-- batch, so that the newest is one step down the index, even while a snapshot that
-- is held keeps all others. No foreign key: its check would read all versions of
-- the consumer's row.
CREATE TABLE pgq.bookmark (
	bm_queue     int4 NOT NULL,
	bm_consumer  int4 NOT NULL,
	bm_batch     int8 NOT NULL,
	bm_text      text NOT NULL,
	bm_time      timestamptz NOT NULL,
	CONSTRAINT bookmark_pkey PRIMARY KEY (bm_queue, bm_consumer, bm_batch)
);
COMMENT ON TABLE pgq.bookmark IS
	'Where consumers are in the systems that they feed; changed through set_bookmark only.';

-- Keys of events that are inserted only once, see once.sql. No foreign key: its
-- check would lock the queue's row for each event. drop_queue deletes keys when no
-- producer has the queue's tables locked any more.
CREATE TABLE pgq.once_key (
	ok_queue    int4 NOT NULL,
	ok_key      text NOT NULL,
	ok_event    int8 NOT NULL,
	ok_until    timestamptz NOT NULL,
	CONSTRAINT once_key_pkey PRIMARY KEY (ok_queue, ok_key)
);
CREATE INDEX once_key_until_idx ON pgq.once_key (ok_until);
COMMENT ON TABLE pgq.once_key IS
	'Keys of events that insert_event_once has inserted, kept until a time.';

-- What relays tell of themselves, see relay.sql. Not in dumps: a relay that runs
-- writes it anew.
CREATE TABLE pgq.relay (
	rl_queue      int4 NOT NULL,
	rl_consumer   int4 NOT NULL,
	rl_target     text NOT NULL,
	rl_state      text NOT NULL,
	rl_since      timestamptz NOT NULL,
	rl_seen       timestamptz NOT NULL,
	rl_rate       float8 NOT NULL,
	rl_error      text,
	rl_error_time timestamptz,
	CONSTRAINT relay_pkey PRIMARY KEY (rl_queue, rl_consumer)
);
COMMENT ON TABLE pgq.relay IS
	'How relays are; changed through note_relay only.';

-- What pg_dump saves. The serial sequences belong to it: without them a
-- restored database would hand out ids that are in use.
SELECT pg_catalog.pg_extension_config_dump('pgq.consumer', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.queue', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.tick', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.subscription', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.event_template', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.retry_queue', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.capture', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.copy', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.copy_copy_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.capture_schema', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.capture_transaction', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.capture_trouble', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.event_table', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.slot', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.position', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.batch_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.consumer_co_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.queue_queue_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.subscription_sub_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.dead_event', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.delayed_event', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.bookmark', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.once_key', '');
