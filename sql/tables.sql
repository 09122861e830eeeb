-- tables.sql: schema, tables and sequences as PgQ 3 has them. An upgrade finds
-- them in place, so they are changed in tables_4_0.sql, not here.

CREATE SCHEMA pgq;

-- Consumer names. Foreign keys of other extensions point at co_name.
CREATE TABLE pgq.consumer (
	co_id       serial,
	co_name     text NOT NULL,
	CONSTRAINT consumer_pkey PRIMARY KEY (co_id),
	CONSTRAINT consumer_name_uq UNIQUE (co_name)
);

-- Queues. Clients read and update columns by name, so order, names and types
-- are fixed. Steps are 64-bit transaction ids.
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
	CONSTRAINT queue_name_uq UNIQUE (queue_name)
);

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
