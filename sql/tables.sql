-- tables.sql: schema, tables and sequences of the extension, and which of
-- them pg_dump must save.

CREATE SCHEMA pgq;

-- Consumer names. Foreign keys of other extensions point at co_name.
CREATE TABLE pgq.consumer (
	co_id       serial,
	co_name     text NOT NULL,
	CONSTRAINT consumer_pkey PRIMARY KEY (co_id),
	CONSTRAINT consumer_name_uq UNIQUE (co_name)
);
COMMENT ON TABLE pgq.consumer IS
	'Names of the registered consumers.';

-- Queues. Clients read and update columns by name, so order, names and types
-- are fixed. Steps are 64-bit transaction ids. The check keeps administrators
-- of queues, who may update the table, from pointing functions that run with
-- the owner's rights at relations of their own.
CREATE TABLE pgq.queue (
	queue_id                 serial,
	queue_name               text NOT NULL,
	queue_ntables            int4 NOT NULL DEFAULT 3,
	queue_cur_table          int4 NOT NULL DEFAULT 0,
	queue_rotation_period    interval NOT NULL DEFAULT '2 hours',
	queue_switch_step1       int8 NOT NULL DEFAULT pg_catalog.txid_current(),
	queue_switch_step2       int8 DEFAULT pg_catalog.txid_current(),
	queue_switch_time        timestamptz NOT NULL DEFAULT pg_catalog.now(),
	queue_external_ticker    bool NOT NULL DEFAULT false,
	queue_disable_insert     bool NOT NULL DEFAULT false,
	queue_ticker_paused      bool NOT NULL DEFAULT false,
	queue_ticker_max_count   int4 NOT NULL DEFAULT 500,
	queue_ticker_max_lag     interval NOT NULL DEFAULT '3 seconds',
	queue_ticker_idle_period interval NOT NULL DEFAULT '1 minute',
	queue_per_tx_limit       int4,
	queue_data_pfx           text NOT NULL,
	queue_event_seq          text NOT NULL,
	queue_tick_seq           text NOT NULL,
	queue_extra_maint        text[],
	CONSTRAINT queue_pkey PRIMARY KEY (queue_id),
	CONSTRAINT queue_name_uq UNIQUE (queue_name),
	CONSTRAINT queue_relations_check CHECK (
		queue_data_pfx ~ '^pgq\.event_[0-9]+$'
		AND queue_event_seq ~ '^pgq\.event_[0-9]+_id_seq$'
		AND queue_tick_seq ~ '^pgq\.event_[0-9]+_tick_seq$')
);
COMMENT ON TABLE pgq.queue IS
	'Queues, their settings and the state of their table rotation.';

-- Ticks: a batch lies between the snapshots of two ticks.
CREATE TABLE pgq.tick (
	tick_queue      int4 NOT NULL,
	tick_id         int8 NOT NULL,
	tick_time       timestamptz NOT NULL DEFAULT pg_catalog.now(),
	tick_snapshot   txid_snapshot NOT NULL
					DEFAULT pg_catalog.txid_current_snapshot(),
	tick_event_seq  int8 NOT NULL,
	CONSTRAINT tick_pkey PRIMARY KEY (tick_queue, tick_id),
	CONSTRAINT tick_queue_fkey FOREIGN KEY (tick_queue)
		REFERENCES pgq.queue (queue_id)
);
COMMENT ON TABLE pgq.tick IS
	'Bookmarks in the queues; each holds a transaction snapshot.';

-- Batch ids are shared by all queues of the database.
CREATE SEQUENCE pgq.batch_id_seq;

-- Subscriptions. sub_id is not unique on purpose: cooperating consumers copy
-- it to share retried events. sub_last_tick is NULL only on their idle rows.
CREATE TABLE pgq.subscription (
	sub_id          serial,
	sub_queue       int4 NOT NULL,
	sub_consumer    int4 NOT NULL,
	sub_last_tick   int8,
	sub_active      timestamptz NOT NULL DEFAULT pg_catalog.now(),
	sub_batch       int8,
	sub_next_tick   int8,
	CONSTRAINT subscription_pkey PRIMARY KEY (sub_queue, sub_consumer),
	CONSTRAINT subscription_batch_idx UNIQUE (sub_batch),
	CONSTRAINT sub_queue_fkey FOREIGN KEY (sub_queue)
		REFERENCES pgq.queue (queue_id),
	CONSTRAINT sub_consumer_fkey FOREIGN KEY (sub_consumer)
		REFERENCES pgq.consumer (co_id)
);
COMMENT ON TABLE pgq.subscription IS
	'Position and open batch of each consumer on each queue.';

-- Parent of all event tables; holds no rows itself.
CREATE TABLE pgq.event_template (
	ev_id       int8 NOT NULL,
	ev_time     timestamptz NOT NULL,
	ev_txid     int8 NOT NULL DEFAULT pg_catalog.txid_current(),
	ev_owner    int4,
	ev_retry    int4,
	ev_type     text,
	ev_data     text,
	ev_extra1   text,
	ev_extra2   text,
	ev_extra3   text,
	ev_extra4   text
);
COMMENT ON TABLE pgq.event_template IS
	'Parent of the event tables of all queues.';

-- Events that wait to be delivered again to one subscription.
CREATE TABLE pgq.retry_queue (
	ev_retry_after  timestamptz NOT NULL,
	ev_queue        int4 NOT NULL,
	ev_id           int8 NOT NULL,
	ev_time         timestamptz NOT NULL,
	ev_txid         int8,
	ev_owner        int4 NOT NULL,
	ev_retry        int4,
	ev_type         text,
	ev_data         text,
	ev_extra1       text,
	ev_extra2       text,
	ev_extra3       text,
	ev_extra4       text,
	CONSTRAINT rq_pkey PRIMARY KEY (ev_owner, ev_id),
	CONSTRAINT rq_queue_id_fkey FOREIGN KEY (ev_queue)
		REFERENCES pgq.queue (queue_id)
);
CREATE INDEX rq_retry_idx ON pgq.retry_queue (ev_retry_after);
COMMENT ON TABLE pgq.retry_queue IS
	'Events that wait to be put into their queue again.';

-- Marks: which table's changes go to which queue. The output plugin reads
-- them under the historic snapshot, which does not reach into a TOAST table,
-- so no column may be moved out of the row.
CREATE TABLE pgq.capture (
	cap_relid   regclass NOT NULL,
	cap_queue   text NOT NULL,
	cap_args    text[] NOT NULL DEFAULT '{}',
	PRIMARY KEY (cap_relid, cap_queue)
) WITH (user_catalog_table = true);
ALTER TABLE pgq.capture ALTER COLUMN cap_queue SET STORAGE PLAIN;
ALTER TABLE pgq.capture ALTER COLUMN cap_args SET STORAGE PLAIN;
COMMENT ON TABLE pgq.capture IS
	'Marks of captured tables; changed through capture_table only.';

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
	slot_problem_lsn pg_lsn
);
COMMENT ON TABLE pgq.slot IS
	'The replication slot that feeds the queues of this database.';
COMMENT ON COLUMN pgq.slot.slot_sysid IS
	'System identifier of the server that has the slot.';
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

-- The secret that tells messages of emit_event from others in the WAL. The
-- plugin reads it. It is not dumped: a database that is made anew from a dump
-- makes a new one.
CREATE TABLE pgq.secret (
	secret      bytea NOT NULL
) WITH (user_catalog_table = true);
ALTER TABLE pgq.secret ALTER COLUMN secret SET STORAGE PLAIN;
INSERT INTO pgq.secret
SELECT pg_catalog.decode(pg_catalog.replace(
	pg_catalog.gen_random_uuid()::text || pg_catalog.gen_random_uuid()::text,
	'-', ''), 'hex');
COMMENT ON TABLE pgq.secret IS
	'Marks events of emit_event as genuine; for nobody''s eyes.';

-- What pg_dump saves. The serial sequences belong to it: without them a
-- restored database would hand out ids that are in use.
SELECT pg_catalog.pg_extension_config_dump('pgq.consumer', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.queue', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.tick', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.subscription', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.event_template', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.retry_queue', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.capture', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.event_table', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.slot', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.position', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.batch_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.consumer_co_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.queue_queue_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('pgq.subscription_sub_id_seq', '');
