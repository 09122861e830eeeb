\echo Use "CREATE EXTENSION pgq" to load this file. \quit
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
-- helpers.sql: roles, version, and the small functions that others stand on.

-- Administrators may call it, who own none of what it changes.
CREATE OR REPLACE FUNCTION pgq.upgrade_schema()
RETURNS int4 AS $$
DECLARE
	new_role text;
BEGIN
	FOREACH new_role IN ARRAY '{pgq_reader, pgq_writer, pgq_admin}'::text[]
	LOOP
		PERFORM FROM pg_catalog.pg_roles WHERE rolname = new_role;
		CONTINUE WHEN FOUND;
		BEGIN
			EXECUTE pg_catalog.format('CREATE ROLE %I', new_role);
			IF new_role = 'pgq_admin' THEN
				GRANT pgq_reader, pgq_writer TO pgq_admin;
			END IF;
		EXCEPTION
			WHEN unique_violation OR duplicate_object THEN
				-- Roles belong to the cluster: a session in another database
				-- was faster.
				NULL;
		END;
	END LOOP;

	-- Lacks of schemas made by early PgQ 3.
	IF EXISTS (SELECT FROM pg_catalog.pg_attribute
			   WHERE attrelid = 'pgq.subscription'::pg_catalog.regclass
				 AND attname = 'sub_last_tick' AND attnotnull) THEN
		ALTER TABLE pgq.subscription ALTER COLUMN sub_last_tick DROP NOT NULL;
	END IF;
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
				   WHERE attrelid = 'pgq.queue'::pg_catalog.regclass
					 AND attname = 'queue_extra_maint'
					 AND NOT attisdropped) THEN
		ALTER TABLE pgq.queue ADD COLUMN queue_extra_maint text[];
	END IF;

	-- Queues made by PgQ 3, in this database or in the one that was dumped.
	IF to_regclass('pgq.event_table') IS NOT NULL THEN
		INSERT INTO pgq.event_table (evt_relid, evt_queue)
		SELECT child, q.queue_name
		FROM pgq.queue q, generate_series(0, q.queue_ntables - 1) AS i,
			 to_regclass(q.queue_data_pfx || '_' || i) AS child
		WHERE child IS NOT NULL
		  AND child NOT IN (SELECT evt_relid FROM pgq.event_table);
		IF FOUND THEN
			PERFORM pgq._invalidate_capture();
		END IF;
	END IF;
	RETURN 0;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.upgrade_schema() IS
	'Creates roles, columns and rows that a database of PgQ 3, or restored from a dump of one, lacks.';

-- The grants at the end of the script need the roles.
DO $$ BEGIN PERFORM pgq.upgrade_schema(); END $$;


CREATE OR REPLACE FUNCTION pgq.version()
RETURNS text AS $$
	SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'pgq'
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.version() IS
	'Returns the version of the PgQ extension installed in this database.';


CREATE OR REPLACE FUNCTION pgq.quote_fqname(i_name text)
RETURNS text AS $$
DECLARE
	dot int4 := pg_catalog.strpos(i_name, '.');
BEGIN
	IF dot = 0 THEN
		RETURN 'public.' || pg_catalog.quote_ident(i_name);
	END IF;
	RETURN pg_catalog.quote_ident(pg_catalog.substr(i_name, 1, dot - 1))
		|| '.' || pg_catalog.quote_ident(pg_catalog.substr(i_name, dot + 1));
END;
$$ LANGUAGE plpgsql STRICT IMMUTABLE SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.quote_fqname(text) IS
	'Quotes a schema.name pair split at its first dot, the schema being public when there is no dot.';


CREATE OR REPLACE FUNCTION pgq.seq_getval(i_seq_name text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_seq_getval'
LANGUAGE C VOLATILE STRICT;

COMMENT ON FUNCTION pgq.seq_getval(text) IS
	'Returns the last_value of a sequence without moving it.';


CREATE OR REPLACE FUNCTION pgq.seq_setval(i_seq_name text, i_new_value int8)
RETURNS int8 AS $$
BEGIN
	IF pgq.seq_getval(i_seq_name) < i_new_value THEN
		PERFORM pg_catalog.setval(
			pgq.quote_fqname(i_seq_name)::pg_catalog.regclass, i_new_value);
	END IF;
	RETURN pgq.seq_getval(i_seq_name);
END;
$$ LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.seq_setval(text, int8) IS
	'Raises a sequence to a value, never lowers it, and returns its last_value.';


CREATE OR REPLACE FUNCTION pgq._grant_perms_from(
	src_schema text, src_table text, dst_schema text, dst_table text)
RETURNS int4 AS $$
DECLARE
	g record;
BEGIN
	-- The owner's rights always carry the grant option.
	FOR g IN
		SELECT a.privilege_type,
			   CASE WHEN a.grantee = 0 THEN 'PUBLIC'
					ELSE pg_catalog.quote_ident(
						pg_catalog.pg_get_userbyid(a.grantee)) END AS grantee,
			   a.is_grantable OR a.grantee = c.relowner AS grantable
		FROM pg_catalog.pg_class c
			 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
			 LATERAL pg_catalog.aclexplode(coalesce(c.relacl,
				pg_catalog.acldefault('r', c.relowner)))
				WITH ORDINALITY AS a(grantor, grantee, privilege_type,
									 is_grantable, ord)
		WHERE n.nspname = src_schema AND c.relname = src_table
		ORDER BY a.ord
	LOOP
		EXECUTE pg_catalog.format('GRANT %s ON TABLE %I.%I TO %s%s',
			g.privilege_type, dst_schema, dst_table, g.grantee,
			CASE WHEN g.grantable THEN ' WITH GRANT OPTION' ELSE '' END);
	END LOOP;
	RETURN 1;
END;
$$ LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._grant_perms_from(text, text, text, text) IS
	'Grants on one table what is granted on another.';
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
-- tables_4_1.sql: what PgQ 4.1 adds to the tables of 4.0, in a new database or in an
-- update: tables, columns, constraints, indexes, and what of them pg_dump must save.
--
-- The files of functions follow, with triggers that are new.
-- queue.sql: create, configure and drop queues.

CREATE OR REPLACE FUNCTION pgq.create_queue(i_queue_name text)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	top_id int4;
	child text;
	ev_seq regclass;
BEGIN
	IF i_queue_name IS NULL THEN
		RAISE EXCEPTION 'Invalid NULL value'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Give the name of the queue.';
	END IF;
	-- It must fit into an index, and beside others in a row that is not
	-- toasted.
	IF octet_length(i_queue_name) > 2000 THEN
		RAISE EXCEPTION 'name of the queue is too long'
			USING ERRCODE = 'program_limit_exceeded',
				DETAIL = format('It has %s bytes.',
								octet_length(i_queue_name)),
				HINT = 'A name may have 2000 bytes.';
	END IF;
	PERFORM FROM pgq.queue WHERE queue_name = i_queue_name;
	IF FOUND THEN
		RETURN 0;
	END IF;

	-- The sequence may be behind the table after a restore by hand.
	SELECT max(queue_id) INTO top_id FROM pgq.queue;
	LOOP
		q.queue_id := nextval('pgq.queue_queue_id_seq');
		EXIT WHEN q.queue_id > coalesce(top_id, 0);
	END LOOP;

	-- A second creator of the same name waits here for the first, and then
	-- fails on queue_name_uq.
	INSERT INTO pgq.queue (queue_id, queue_name, queue_data_pfx,
						   queue_event_seq, queue_tick_seq, queue_origin,
						   queue_created_lsn)
	VALUES (q.queue_id, i_queue_name, 'pgq.event_' || q.queue_id,
			'pgq.event_' || q.queue_id || '_id_seq',
			'pgq.event_' || q.queue_id || '_tick_seq', pgq._origin(),
			pg_current_wal_insert_lsn())
	RETURNING * INTO q;

	EXECUTE 'CREATE SEQUENCE ' || pgq.quote_fqname(q.queue_tick_seq);
	EXECUTE 'CREATE SEQUENCE ' || pgq.quote_fqname(q.queue_event_seq);
	ev_seq := pgq.quote_fqname(q.queue_event_seq)::regclass;

	EXECUTE format('CREATE TABLE %s () INHERITS (pgq.event_template)',
				   pgq.quote_fqname(q.queue_data_pfx));
	FOR i IN 0 .. q.queue_ntables - 1 LOOP
		child := q.queue_data_pfx || '_' || i;
		EXECUTE format('CREATE TABLE %s () INHERITS (%s)',
					   pgq.quote_fqname(child),
					   pgq.quote_fqname(q.queue_data_pfx));
		EXECUTE format(
			'ALTER TABLE %s ALTER COLUMN ev_id SET DEFAULT nextval(%L)',
			pgq.quote_fqname(child), q.queue_event_seq);
		EXECUTE format('CREATE INDEX %I ON %s (ev_txid)',
					   split_part(child, '.', 2) || '_txid_idx',
					   pgq.quote_fqname(child));
		INSERT INTO pgq.event_table (evt_relid, evt_queue)
		VALUES (pgq.quote_fqname(child)::regclass, i_queue_name);
	END LOOP;
	PERFORM pgq._invalidate_capture();

	PERFORM pgq.grant_perms(i_queue_name);

	-- The first tick must be there when this commits: a consumer can register
	-- at once, even in this transaction.
	INSERT INTO pgq.tick (tick_queue, tick_id, tick_time, tick_snapshot,
						  tick_event_seq)
	VALUES (q.queue_id,
			nextval(pgq.quote_fqname(q.queue_tick_seq)::regclass),
			now(), txid_current_snapshot(),
			pgq.seq_getval(q.queue_event_seq));

	PERFORM pgq.tune_storage(i_queue_name);
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.create_queue(text) IS
	'Creates a queue with its event tables and first tick; returns 1 when created, 0 when it exists.';


CREATE OR REPLACE FUNCTION pgq.drop_queue(x_queue_name text, x_force bool)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	consumer text;
BEGIN
	SELECT * INTO q FROM pgq.queue WHERE queue_name = x_queue_name FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'No such event queue'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no queue %L.', x_queue_name),
				HINT = 'pgq.get_queue_info() lists the queues.';
	END IF;

	IF x_force THEN
		FOR consumer IN
			SELECT i.consumer_name FROM pgq.get_consumer_info(x_queue_name) i
		LOOP
			PERFORM pgq.unregister_consumer(x_queue_name, consumer);
		END LOOP;
	ELSE
		PERFORM FROM pgq.subscription WHERE sub_queue = q.queue_id;
		IF FOUND THEN
			RAISE EXCEPTION 'cannot drop queue, consumers still attached'
				USING ERRCODE = 'dependent_objects_still_exist',
					HINT = 'Unregister the consumers first, or call pgq.drop_queue(queue, true).';
		END IF;
		-- Their changes would be thrown away without a word.
		PERFORM FROM pgq.capture WHERE cap_queue = x_queue_name
		UNION ALL
		SELECT FROM pgq.copy
		WHERE copy_queue = x_queue_name AND copy_state <> 'done'
		UNION ALL
		SELECT FROM pgq.capture_schema WHERE cps_queue = x_queue_name;
		IF FOUND THEN
			RAISE EXCEPTION 'cannot drop queue, tables are still captured into it'
				USING ERRCODE = 'dependent_objects_still_exist',
					HINT = 'Call pgq.uncapture_table() or pgq.uncapture_schema() first, or pgq.drop_queue(queue, true).';
		END IF;
	END IF;

	PERFORM pgq._forget_captures(x_queue_name);
	DELETE FROM pgq.event_table WHERE evt_queue = x_queue_name;
	DELETE FROM pgq.capture_transaction WHERE ctx_queue = x_queue_name;
	FOR i IN 0 .. q.queue_ntables - 1 LOOP
		EXECUTE 'DROP TABLE '
			|| pgq.quote_fqname(q.queue_data_pfx || '_' || i);
	END LOOP;
	EXECUTE 'DROP TABLE ' || pgq.quote_fqname(q.queue_data_pfx);

	DELETE FROM pgq.dead_event WHERE dead_queue = q.queue_id;
	DELETE FROM pgq.delayed_event WHERE ev_queue = q.queue_id;
	DELETE FROM pgq.once_key WHERE ok_queue = q.queue_id;
	-- Waits for tickers, who lock it, and so comes before their ticks go.
	EXECUTE 'DROP SEQUENCE ' || pgq.quote_fqname(q.queue_tick_seq);
	DELETE FROM pgq.tick WHERE tick_queue = q.queue_id;
	EXECUTE 'DROP SEQUENCE ' || pgq.quote_fqname(q.queue_event_seq);
	DELETE FROM pgq.queue WHERE queue_id = q.queue_id;
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.drop_queue(text, bool) IS
	'Drops a queue with its events; with force also unregisters its consumers and uncaptures the tables that feed it.';


CREATE OR REPLACE FUNCTION pgq.drop_queue(x_queue_name text)
RETURNS int4 AS $$
BEGIN
	RETURN pgq.drop_queue(x_queue_name, false);
END;
$$ LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.drop_queue(text) IS
	'Drops a queue that has neither consumers nor captured tables.';


CREATE OR REPLACE FUNCTION pgq.set_queue_config(
	x_queue_name text, x_param_name text, x_param_value text)
RETURNS int4 AS $$
DECLARE
	id int4;
BEGIN
	IF x_queue_name IS NULL OR x_param_name IS NULL THEN
		RAISE EXCEPTION 'Invalid NULL value'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Give the names of the queue and of the parameter.';
	END IF;
	SELECT queue_id INTO id FROM pgq.queue WHERE queue_name = x_queue_name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'No such event queue'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no queue %L.', x_queue_name),
				HINT = 'pgq.get_queue_info() lists the queues.';
	END IF;
	IF x_param_name NOT IN ('ticker_max_count', 'ticker_max_lag',
			'ticker_idle_period', 'ticker_paused', 'rotation_period',
			'external_ticker', 'max_retries', 'max_size',
			'max_size_policy', 'retention') THEN
		RAISE EXCEPTION 'cannot change parameter "%"', x_param_name
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Parameters are ticker_max_count, ticker_max_lag, ticker_idle_period, ticker_paused, rotation_period, external_ticker, max_retries, max_size, max_size_policy and retention.';
	END IF;
	IF x_param_value IS NULL AND x_param_name NOT IN ('max_retries', 'max_size')
	THEN
		RAISE EXCEPTION 'Invalid NULL value'
			USING ERRCODE = 'null_value_not_allowed',
				DETAIL = format('Parameter "%s" cannot be NULL.',
								x_param_name),
				HINT = 'Give the value as text.';
	END IF;

	CASE x_param_name
		WHEN 'ticker_max_count' THEN
			UPDATE pgq.queue SET queue_ticker_max_count = x_param_value::int4
			WHERE queue_id = id;
		WHEN 'ticker_max_lag' THEN
			UPDATE pgq.queue SET queue_ticker_max_lag = x_param_value::interval
			WHERE queue_id = id;
		WHEN 'ticker_idle_period' THEN
			UPDATE pgq.queue
			SET queue_ticker_idle_period = x_param_value::interval
			WHERE queue_id = id;
		WHEN 'ticker_paused' THEN
			UPDATE pgq.queue SET queue_ticker_paused = x_param_value::bool
			WHERE queue_id = id;
		WHEN 'rotation_period' THEN
			UPDATE pgq.queue
			SET queue_rotation_period = x_param_value::interval
			WHERE queue_id = id;
		WHEN 'retention' THEN
			IF x_param_value::interval < interval '0' THEN
				RAISE EXCEPTION 'retention must not be negative'
					USING ERRCODE = 'invalid_parameter_value',
						HINT = 'Give 0 to keep only what consumers have yet to get.';
			END IF;
			UPDATE pgq.queue SET queue_retention = x_param_value::interval
			WHERE queue_id = id;
		WHEN 'external_ticker' THEN
			UPDATE pgq.queue SET queue_external_ticker = x_param_value::bool
			WHERE queue_id = id;
		WHEN 'max_retries' THEN
			IF x_param_value::int4 < 0 THEN
				RAISE EXCEPTION 'max_retries must not be negative'
					USING ERRCODE = 'invalid_parameter_value',
						HINT = 'Give NULL for no limit, 0 to bury events instead of retrying them.';
			END IF;
			UPDATE pgq.queue SET queue_max_retries = x_param_value::int4
			WHERE queue_id = id;
		WHEN 'max_size' THEN
			IF pg_size_bytes(x_param_value) <= 0 THEN
				RAISE EXCEPTION 'max_size must be more than 0'
					USING ERRCODE = 'invalid_parameter_value',
						HINT = 'Give NULL for no limit, else bytes or a size with its unit, such as 10GB.';
			END IF;
			UPDATE pgq.queue SET queue_max_size = pg_size_bytes(x_param_value)
			WHERE queue_id = id;
		WHEN 'max_size_policy' THEN
			IF x_param_value NOT IN ('warn', 'drop_slowest') THEN
				RAISE EXCEPTION 'there is no max_size_policy "%"',
						x_param_value
					USING ERRCODE = 'invalid_parameter_value',
						HINT = 'Policies are warn and drop_slowest.';
			END IF;
			UPDATE pgq.queue SET queue_max_size_policy = x_param_value
			WHERE queue_id = id;
	END CASE;
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.set_queue_config(text, text, text) IS
	'Changes one setting of a queue, named without its queue_ prefix.';


CREATE OR REPLACE FUNCTION pgq.grant_perms(x_queue_name text)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	dst_schema text;
	dst_table text;
BEGIN
	SELECT * INTO q FROM pgq.queue WHERE queue_name = x_queue_name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'Queue not found'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no queue %L.', x_queue_name),
				HINT = 'pgq.get_queue_info() lists the queues.';
	END IF;

	EXECUTE format('GRANT SELECT ON SEQUENCE %s TO PUBLIC',
				   pgq.quote_fqname(q.queue_event_seq));
	EXECUTE format('GRANT USAGE ON SEQUENCE %s TO pgq_admin',
				   pgq.quote_fqname(q.queue_event_seq));
	EXECUTE format('GRANT SELECT ON SEQUENCE %s TO PUBLIC',
				   pgq.quote_fqname(q.queue_tick_seq));

	dst_schema := split_part(q.queue_data_pfx, '.', 1);
	dst_table := split_part(q.queue_data_pfx, '.', 2);
	PERFORM pgq._grant_perms_from('pgq', 'event_template',
								  dst_schema, dst_table);
	FOR i IN 0 .. q.queue_ntables - 1 LOOP
		PERFORM pgq._grant_perms_from('pgq', 'event_template',
									  dst_schema, dst_table || '_' || i);
	END LOOP;
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.grant_perms(text) IS
	'Grants on the tables and sequences of a queue what PgQ''s roles need.';


CREATE OR REPLACE FUNCTION pgq.tune_storage(i_queue_name text)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
BEGIN
	SELECT * INTO q FROM pgq.queue WHERE queue_name = i_queue_name;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	-- Events are never updated and leave by TRUNCATE only.
	FOR i IN 0 .. q.queue_ntables - 1 LOOP
		EXECUTE format('ALTER TABLE %s SET (fillfactor = 100, '
					   'autovacuum_enabled = off, '
					   'toast.autovacuum_enabled = off)',
					   pgq.quote_fqname(q.queue_data_pfx || '_' || i));
	END LOOP;
	RETURN 1;
END;
$$ LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.tune_storage(text) IS
	'Sets the storage options of a queue''s event tables.';
-- produce.sql: pgq.insert_event() and its like, and the table for bulk loads.

CREATE OR REPLACE FUNCTION pgq.insert_event(
	queue_name text, ev_type text, ev_data text,
	ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_insert_event'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.insert_event(text, text, text, text, text, text, text)
	IS 'Puts an event with extra fields into a queue and returns its id.';


CREATE OR REPLACE FUNCTION pgq.insert_event(queue_name text, ev_type text, ev_data text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_insert_event'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.insert_event(text, text, text) IS
	'Puts an event into a queue and returns its id.';


-- Literals without a type stay texts. No argument of these has a default: a call with
-- some fields, which there is no function for, must not come to stand for JSON.
CREATE OR REPLACE FUNCTION pgq.insert_event(
	queue_name text, ev_type text, ev_data jsonb,
	ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_insert_event_jsonb'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.insert_event(text, text, jsonb, text, text, text, text)
	IS 'Puts an event with JSON and extra fields into a queue and returns its id.';


CREATE OR REPLACE FUNCTION pgq.insert_event(queue_name text, ev_type text, ev_data jsonb)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_insert_event_jsonb'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.insert_event(text, text, jsonb) IS
	'Puts an event with JSON into a queue and returns its id.';


CREATE OR REPLACE FUNCTION pgq.insert_events(
	i_queue text, i_types text[], i_datas text[],
	i_extra1 text[] DEFAULT NULL, i_extra2 text[] DEFAULT NULL,
	i_extra3 text[] DEFAULT NULL, i_extra4 text[] DEFAULT NULL)
RETURNS int8[]
AS 'MODULE_PATHNAME', 'pgq_insert_events'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.insert_events(
	text, text[], text[], text[], text[], text[], text[]) IS
	'Puts an event for each place of the arrays into a queue; returns their ids in that order.';


CREATE OR REPLACE FUNCTION pgq.insert_event_raw(
	queue_name text, ev_id int8, ev_time timestamptz,
	ev_owner int4, ev_retry int4, ev_type text, ev_data text,
	ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_insert_event_raw'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.insert_event_raw(
	text, int8, timestamptz, int4, int4, text, text, text, text, text, text) IS
	'Puts an event into a queue with every field as given; returns its id.';


CREATE OR REPLACE FUNCTION pgq.current_event_table(x_queue_name text)
RETURNS text
AS 'MODULE_PATHNAME', 'pgq_current_event_table'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.current_event_table(text) IS
	'Names the table that this transaction may load events of a queue into.';
-- emit.sql: events that go through the WAL alone, and the secret that tells
-- them from other logical messages.

CREATE OR REPLACE FUNCTION pgq.emit_event(
	i_queue text, i_type text, i_data text,
	i_extra1 text DEFAULT NULL, i_extra2 text DEFAULT NULL,
	i_extra3 text DEFAULT NULL, i_extra4 text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'pgq_emit_event'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.emit_event(text, text, text, text, text, text, text) IS
	'Puts an event into a queue through the WAL, without writing any table; it arrives with the commit.';


CREATE OR REPLACE FUNCTION pgq.emit_events(i_queue text, i_types text[], i_datas text[])
RETURNS int4
AS 'MODULE_PATHNAME', 'pgq_emit_events'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.emit_events(text, text[], text[]) IS
	'Puts an event for each pair of type and data into a queue through the WAL; returns their number.';


CREATE OR REPLACE FUNCTION pgq._new_secret()
RETURNS void
AS 'MODULE_PATHNAME', 'pgq_new_secret'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq._new_secret() IS
	'Makes another secret that events of emit_event are sealed with; what is sealed by then still counts.';
-- trigger.sql: trigger functions that write a table's changes into a queue.
-- The first argument is the queue; doc/triggers.md has the others.

CREATE OR REPLACE FUNCTION pgq.jsontriga() RETURNS trigger
AS 'MODULE_PATHNAME', 'pgq_jsontriga' LANGUAGE C;
COMMENT ON FUNCTION pgq.jsontriga() IS
	'Trigger function: writes each change of a row into a queue, the row as a JSON object.';

CREATE OR REPLACE FUNCTION pgq.logutriga() RETURNS trigger
AS 'MODULE_PATHNAME', 'pgq_logutriga' LANGUAGE C;
COMMENT ON FUNCTION pgq.logutriga() IS
	'Trigger function: writes each change of a row into a queue, the row url-encoded.';

CREATE OR REPLACE FUNCTION pgq.sqltriga() RETURNS trigger
AS 'MODULE_PATHNAME', 'pgq_sqltriga' LANGUAGE C;
COMMENT ON FUNCTION pgq.sqltriga() IS
	'Trigger function: writes each change of a row into a queue, as a fragment of an SQL statement.';
-- consumer.sql: register, move and unregister consumers.
--
-- Row locks are taken in the order queue, consumer, subscription everywhere.
--
-- Cooperating consumers share the sub_id of their main consumer in its queue;
-- a sub-consumer's name begins with the main consumer's name and a dot.

-- Who looks a subscription up by its key in SQL reads all versions of the row,
-- and while a snapshot is held open there is one more for each step of a batch. These
-- find the newest from the end of an index.
CREATE OR REPLACE FUNCTION pgq._subscriptions(i_queue_id int4)
RETURNS SETOF pgq.subscription
AS 'MODULE_PATHNAME', 'pgq_subscriptions'
LANGUAGE C VOLATILE STRICT ROWS 3;
COMMENT ON FUNCTION pgq._subscriptions(int4) IS
	'Returns the subscriptions to a queue, whatever dead versions of them there are.';


CREATE OR REPLACE FUNCTION pgq._batch_subscription(i_batch_id int8)
RETURNS pgq.subscription
AS 'MODULE_PATHNAME', 'pgq_batch_subscription'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION pgq._batch_subscription(int8) IS
	'Returns the subscription that has a batch open, NULLs if there is none.';


CREATE OR REPLACE FUNCTION pgq._lock_subscription(
	i_queue_id int4, i_consumer_id int4)
RETURNS pgq.subscription
AS 'MODULE_PATHNAME', 'pgq_lock_subscription'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION pgq._lock_subscription(int4, int4) IS
	'Locks a subscription for an update and returns it, NULLs if there is none.';


CREATE OR REPLACE FUNCTION pgq._move_subscription(
	i_queue_id int4, i_consumer_id int4, i_last_tick int8, i_batch_id int8,
	i_next_tick int8)
RETURNS bool
AS 'MODULE_PATHNAME', 'pgq_move_subscription'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq._move_subscription(int4, int4, int8, int8, int8) IS
	'Gives a subscription a position and an open batch, each of them or NULL, and notes that it is active; false if it is gone.';


CREATE OR REPLACE FUNCTION pgq._main_consumer(
	i_queue_id int4, i_consumer_id int4)
RETURNS int4
AS 'MODULE_PATHNAME', 'pgq_main_consumer'
LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION pgq._main_consumer(int4, int4) IS
	'Returns the main consumer of a cooperating consumer, any other as it is; NULL when it is not registered on the queue.';


-- Takes the consumer's row against the order of locks, and so does not wait.
CREATE OR REPLACE FUNCTION pgq._forget_consumer(i_consumer_id int4)
RETURNS void AS $$
BEGIN
	PERFORM FROM pgq.consumer WHERE co_id = i_consumer_id
	FOR UPDATE SKIP LOCKED;
	IF FOUND THEN
		DELETE FROM pgq.consumer
		WHERE co_id = i_consumer_id
		  AND NOT EXISTS (SELECT FROM pgq.subscription
						  WHERE sub_consumer = i_consumer_id);
	END IF;
EXCEPTION
	WHEN foreign_key_violation THEN
		-- Somebody else's table needs the name.
		NULL;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._forget_consumer(int4) IS
	'Deletes the name of a consumer that is registered nowhere, unless somebody uses it.';



CREATE OR REPLACE FUNCTION pgq.register_consumer_at(
	x_queue_name text, x_consumer_name text, x_tick_pos int8)
RETURNS int4 AS $$
DECLARE
	q_id int4;
	c_id int4;
	s_id int4;
	top_id int4;
	start_tick int8 := x_tick_pos;
	s pgq.subscription;
	was_registered bool;
	was_lost bool;
BEGIN
	-- Keeps rotation and drop_queue away until the position is committed.
	SELECT queue_id INTO q_id FROM pgq.queue
	WHERE queue_name = x_queue_name FOR SHARE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'Event queue not created yet'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no queue %L.', x_queue_name),
				HINT = 'Call pgq.create_queue() first.';
	END IF;

	-- The lock makes two registrations of one consumer follow each other.
	LOOP
		SELECT co_id INTO c_id FROM pgq.consumer
		WHERE co_name = x_consumer_name FOR NO KEY UPDATE;
		EXIT WHEN FOUND;
		-- The sequence may be behind the table after a restore by hand.
		SELECT max(co_id) INTO top_id FROM pgq.consumer;
		LOOP
			c_id := nextval('pgq.consumer_co_id_seq');
			EXIT WHEN c_id > coalesce(top_id, 0);
		END LOOP;
		INSERT INTO pgq.consumer (co_id, co_name)
		VALUES (c_id, x_consumer_name)
		ON CONFLICT (co_name) DO NOTHING;
	END LOOP;

	IF x_tick_pos IS NOT NULL THEN
		PERFORM FROM pgq.tick
		WHERE tick_queue = q_id AND tick_id = x_tick_pos;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'cannot reposition, tick not found: %', x_tick_pos
				USING ERRCODE = 'undefined_object',
					HINT = 'pgq.tick lists the ticks that rotation has left.';
		END IF;
	END IF;

	SELECT * INTO s FROM pgq._lock_subscription(q_id, c_id);
	was_registered := s.sub_id IS NOT NULL;
	was_lost := s.sub_lost_time IS NOT NULL;
	IF was_registered AND x_tick_pos IS NULL AND NOT was_lost THEN
		RETURN 0;
	END IF;

	IF start_tick IS NULL THEN
		SELECT tick_id INTO start_tick FROM pgq.tick
		WHERE tick_queue = q_id ORDER BY tick_queue DESC, tick_id DESC LIMIT 1;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'No ticks for this queue.  Please run ticker on database.'
				USING ERRCODE = 'object_not_in_prerequisite_state',
					HINT = 'Start pgqd, or call pgq.ticker().';
		END IF;
	END IF;

	IF was_registered THEN
		-- A sub-consumer's position would never move, and stop rotation.
		IF pgq._main_consumer(q_id, c_id) <> c_id THEN
			IF x_tick_pos IS NOT NULL THEN
				RAISE EXCEPTION 'cannot reposition, "%" is a sub-consumer',
						x_consumer_name
					USING ERRCODE = 'object_not_in_prerequisite_state',
						DETAIL = 'The main consumer has the position.',
						HINT = 'Reposition the main consumer.';
			END IF;
			start_tick := NULL;
		END IF;
		PERFORM pgq._move_subscription(q_id, c_id, start_tick, NULL, NULL);
		RETURN was_lost::int4;
	END IF;

	-- sub_id has no unique constraint that would catch a used one, and sharing
	-- one by accident means sharing retried events.
	SELECT max(sub_id) INTO top_id FROM pgq.subscription;
	LOOP
		s_id := nextval('pgq.subscription_sub_id_seq');
		EXIT WHEN s_id > coalesce(top_id, 0);
	END LOOP;
	INSERT INTO pgq.subscription (sub_id, sub_queue, sub_consumer,
								  sub_last_tick)
	VALUES (s_id, q_id, c_id, start_tick);
	RETURN 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.register_consumer_at(text, text, int8) IS
	'Registers a consumer at a tick, or moves it there; returns 1 when it is new or had lost its position.';


CREATE OR REPLACE FUNCTION pgq.register_consumer(x_queue_name text, x_consumer_id text)
RETURNS int4 AS $$
BEGIN
	RETURN pgq.register_consumer_at(x_queue_name, x_consumer_id, NULL);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.register_consumer(text, text) IS
	'Registers a consumer at the newest tick of a queue; returns 1 when it is new or had lost its position.';


CREATE OR REPLACE FUNCTION pgq.unregister_consumer(
	x_queue_name text, x_consumer_name text)
RETURNS int4 AS $$
DECLARE
	c_id int4;
	s pgq.subscription%ROWTYPE;
	member int4;
	n int4 := 0;
BEGIN
	SELECT co_id INTO c_id FROM pgq.consumer
	WHERE co_name = x_consumer_name FOR UPDATE;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	SELECT sub.* INTO s
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._lock_subscription(q.queue_id, c_id) sub
	WHERE q.queue_name = x_queue_name;
	IF s.sub_id IS NULL THEN
		RETURN 0;
	END IF;

	IF pgq._main_consumer(s.sub_queue, c_id) <> c_id THEN
		DELETE FROM pgq.subscription
		WHERE sub_queue = s.sub_queue AND sub_consumer = c_id;
		PERFORM pgq._forget_consumer(c_id);
		RETURN 1;
	END IF;

	DELETE FROM pgq.retry_queue
	WHERE ev_owner = s.sub_id AND ev_queue = s.sub_queue;
	DELETE FROM pgq.dead_event
	WHERE dead_queue = s.sub_queue AND dead_consumer = c_id;
	FOR member IN
		DELETE FROM pgq.subscription
		WHERE sub_id = s.sub_id AND sub_queue = s.sub_queue
		  AND pgq._main_consumer(sub_queue, sub_consumer) = c_id
		RETURNING sub_consumer
	LOOP
		n := n + 1;
		IF member <> c_id THEN
			PERFORM pgq._forget_consumer(member);
		END IF;
	END LOOP;
	DELETE FROM pgq.consumer
	WHERE co_id = c_id
	  AND NOT EXISTS (SELECT FROM pgq.subscription
					  WHERE sub_consumer = c_id);
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.unregister_consumer(text, text) IS
	'Removes a consumer from a queue with its retried and dead events; returns the number of subscriptions removed.';
-- seek.sql: consumers go to another place of what their queue still has.

-- The last tick before those that are later, so that all that became visible at
-- the time or later comes behind it, also where the clock was set back.
CREATE OR REPLACE FUNCTION pgq._find_tick_at(i_queue_id int4, i_time timestamptz)
RETURNS int8 AS $$
	SELECT t.tick_id FROM pgq.tick t
	WHERE t.tick_queue = i_queue_id
	  AND t.tick_id < coalesce((SELECT l.tick_id FROM pgq.tick l
								WHERE l.tick_queue = i_queue_id
								  AND l.tick_time > i_time
								ORDER BY l.tick_queue, l.tick_id LIMIT 1),
							   9223372036854775807)
	ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1
$$ LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._find_tick_at(int4, timestamptz) IS
	'Returns the tick of a queue behind which all is that came from a time on; NULL when there is none so old.';


CREATE OR REPLACE FUNCTION pgq._seek_consumer(
	i_queue text, i_consumer text, i_tick int8, i_time timestamptz,
	i_discard_batch bool)
RETURNS int8 AS $$
DECLARE
	q_id int4;
	s pgq.subscription;
	o pgq.subscription;
	oldest pgq.tick;
	target int8;
BEGIN
	-- Keeps rotation and drop_queue away until the position is committed.
	SELECT queue_id INTO q_id FROM pgq.queue
	WHERE queue_name = i_queue FOR SHARE;
	SELECT sub.* INTO s
	FROM pgq.consumer c
		 CROSS JOIN LATERAL pgq._lock_subscription(q_id, c.co_id) sub
	WHERE c.co_name = i_consumer;
	IF s.sub_id IS NULL THEN
		RAISE EXCEPTION 'consumer not registered'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no consumer %L on queue %L.',
								i_consumer, i_queue),
				HINT = 'Call pgq.register_consumer() first.';
	END IF;
	IF pgq._main_consumer(q_id, s.sub_consumer) <> s.sub_consumer THEN
		RAISE EXCEPTION 'cannot reposition, "%" is a sub-consumer', i_consumer
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'The main consumer has the position.',
				HINT = 'Reposition the main consumer.';
	END IF;

	-- Whoever works on a batch would finish it later, and be where he was.
	FOR o IN
		SELECT sub.* FROM pgq._subscriptions(q_id) sub
		WHERE sub.sub_id = s.sub_id AND sub.sub_batch IS NOT NULL
		  AND sub.sub_lost_time IS NULL
	LOOP
		IF i_discard_batch IS NOT TRUE THEN
			RAISE EXCEPTION 'consumer "%" has batch % open', i_consumer, o.sub_batch
				USING ERRCODE = 'object_in_use',
					DETAIL = 'It was opened ' || date_trunc('second',
							  now() - o.sub_active) || ' ago.',
					HINT = 'Stop the consumer when it has finished it. If the batch is to be given up: SELECT pgq.seek_consumer(..., i_discard_batch => true), or pgqadm seek --discard-batch.';
		END IF;
		PERFORM pgq._move_subscription(q_id, o.sub_consumer,
			CASE WHEN o.sub_consumer = s.sub_consumer THEN o.sub_last_tick END,
			NULL, NULL);
	END LOOP;

	SELECT t.* INTO oldest FROM pgq.tick t
	WHERE t.tick_queue = q_id ORDER BY t.tick_queue, t.tick_id LIMIT 1;
	IF i_tick IS NOT NULL THEN
		SELECT t.tick_id INTO target FROM pgq.tick t
		WHERE t.tick_queue = q_id AND t.tick_id = i_tick;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'cannot reposition, tick not found: %', i_tick
				USING ERRCODE = 'undefined_object',
					DETAIL = format('The oldest tick of queue "%s" is %s, of %s.',
									i_queue, oldest.tick_id, oldest.tick_time),
					HINT = 'pgq.tick lists the ticks that rotation has left.';
		END IF;
	ELSE
		target := CASE WHEN i_time = '-infinity' THEN oldest.tick_id
					   ELSE pgq._find_tick_at(q_id, i_time) END;
		IF target IS NULL THEN
			RAISE EXCEPTION 'queue "%" has nothing as old as %', i_queue, i_time
				USING ERRCODE = 'invalid_parameter_value',
					DETAIL = format('Its oldest tick is %s, of %s.',
									oldest.tick_id, oldest.tick_time),
					HINT = 'Take -infinity to go to the oldest; setting "retention" of a queue says how long events are kept.';
		END IF;
	END IF;
	PERFORM pgq._move_subscription(q_id, s.sub_consumer, target, NULL, NULL);
	RETURN target;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._seek_consumer(text, text, int8, timestamptz, bool) IS
	'Moves a consumer to a tick or a time, the one of both that is not NULL; returns the tick.';


CREATE OR REPLACE FUNCTION pgq.seek_consumer(
	i_queue text, i_consumer text, i_time timestamptz,
	i_discard_batch bool DEFAULT false)
RETURNS int8 AS $$
BEGIN
	IF i_time IS NULL THEN
		RAISE EXCEPTION 'time to go to must not be NULL'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Take infinity to go to the end, -infinity to go to the oldest that is there.';
	END IF;
	RETURN pgq._seek_consumer(i_queue, i_consumer, NULL, i_time, i_discard_batch);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.seek_consumer(text, text, timestamptz, bool) IS
	'Moves a consumer, forwards or back, so that it gets what came from a time on; refused while it has a batch open, unless that is to be given up; returns the tick where it stands.';


CREATE OR REPLACE FUNCTION pgq.seek_consumer(
	i_queue text, i_consumer text, i_tick int8,
	i_discard_batch bool DEFAULT false)
RETURNS int8 AS $$
BEGIN
	IF i_tick IS NULL THEN
		RAISE EXCEPTION 'tick to go to must not be NULL'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'pgq.tick lists the ticks that rotation has left.';
	END IF;
	RETURN pgq._seek_consumer(i_queue, i_consumer, i_tick, NULL, i_discard_batch);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.seek_consumer(text, text, int8, bool) IS
	'Moves a consumer to a tick, forwards or back; refused while it has a batch open, unless that is to be given up; returns the tick.';
-- batch.sql: batches: next, read, finish.

CREATE OR REPLACE FUNCTION pgq.find_tick_helper(
	i_queue_id int4, i_prev_tick_id int8, i_prev_tick_time timestamptz,
	i_prev_tick_seq int8, i_min_count int8, i_min_interval interval,
	OUT next_tick_id int8, OUT next_tick_time timestamptz,
	OUT next_tick_seq int8)
RETURNS record
AS 'MODULE_PATHNAME', 'pgq_find_tick_helper'
LANGUAGE C STABLE;
COMMENT ON FUNCTION pgq.find_tick_helper(
	int4, int8, timestamptz, int8, int8, interval) IS
	'Finds the tick that ends a batch of at least so many events or so much time.';


CREATE OR REPLACE FUNCTION pgq.next_batch_custom(
	i_queue_name text, i_consumer_name text, i_min_lag interval,
	i_min_count int4, i_min_interval interval,
	OUT batch_id int8, OUT cur_tick_id int8, OUT prev_tick_id int8,
	OUT cur_tick_time timestamptz, OUT prev_tick_time timestamptz,
	OUT cur_tick_event_seq int8, OUT prev_tick_event_seq int8)
RETURNS record
AS 'MODULE_PATHNAME', 'pgq_next_batch_custom'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.next_batch_custom(text, text, interval, int4, interval)
	IS 'Opens a consumer''s next batch of a wished size and age, or returns the open one; NULLs when there is none.';


CREATE OR REPLACE FUNCTION pgq.next_batch_info(
	i_queue_name text, i_consumer_name text,
	OUT batch_id int8, OUT cur_tick_id int8, OUT prev_tick_id int8,
	OUT cur_tick_time timestamptz, OUT prev_tick_time timestamptz,
	OUT cur_tick_event_seq int8, OUT prev_tick_event_seq int8)
RETURNS record
AS 'MODULE_PATHNAME', 'pgq_next_batch_custom'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.next_batch_info(text, text) IS
	'Opens a consumer''s next batch, or returns the open one, with its ticks; NULLs when there is none.';


CREATE OR REPLACE FUNCTION pgq.next_batch(i_queue_name text, i_consumer_name text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_next_batch'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.next_batch(text, text) IS
	'Opens a consumer''s next batch and returns its id, or that of the open one; NULL when there is none.';


CREATE OR REPLACE FUNCTION pgq.get_batch_events(
	x_batch_id int8,
	OUT ev_id int8, OUT ev_time timestamptz, OUT ev_txid int8,
	OUT ev_retry int4, OUT ev_type text, OUT ev_data text,
	OUT ev_extra1 text, OUT ev_extra2 text, OUT ev_extra3 text,
	OUT ev_extra4 text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgq_get_batch_events'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.get_batch_events(int8) IS
	'Returns the events of an open batch in the order of their ids.';


CREATE OR REPLACE FUNCTION pgq.get_batch_cursor(
	i_batch_id int8, i_cursor_name text, i_quick_limit int4,
	i_extra_where text,
	OUT ev_id int8, OUT ev_time timestamptz, OUT ev_txid int8,
	OUT ev_retry int4, OUT ev_type text, OUT ev_data text,
	OUT ev_extra1 text, OUT ev_extra2 text, OUT ev_extra3 text,
	OUT ev_extra4 text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgq_get_batch_cursor'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.get_batch_cursor(int8, text, int4, text) IS
	'Opens a cursor over those events of a batch that meet a condition, and returns the first of them.';


CREATE OR REPLACE FUNCTION pgq.get_batch_cursor(
	i_batch_id int8, i_cursor_name text, i_quick_limit int4,
	OUT ev_id int8, OUT ev_time timestamptz, OUT ev_txid int8,
	OUT ev_retry int4, OUT ev_type text, OUT ev_data text,
	OUT ev_extra1 text, OUT ev_extra2 text, OUT ev_extra3 text,
	OUT ev_extra4 text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgq_get_batch_cursor'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION pgq.get_batch_cursor(int8, text, int4) IS
	'Opens a cursor over the events of a batch and returns the first of them.';


CREATE OR REPLACE FUNCTION pgq.get_batch_info(
	x_batch_id int8,
	OUT queue_name text, OUT consumer_name text,
	OUT batch_start timestamptz, OUT batch_end timestamptz,
	OUT prev_tick_id int8, OUT tick_id int8, OUT lag interval,
	OUT seq_start int8, OUT seq_end int8)
RETURNS record
AS 'MODULE_PATHNAME', 'pgq_get_batch_info'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.get_batch_info(int8) IS
	'Tells whose an open batch is, its ticks and how old it is; NULLs when it is not open.';


CREATE OR REPLACE FUNCTION pgq.finish_batch(x_batch_id int8)
RETURNS int4
AS 'MODULE_PATHNAME', 'pgq_finish_batch'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.finish_batch(int8) IS
	'Closes a batch, so that the consumer goes on; returns 0 with a warning when it is not open.';


CREATE OR REPLACE FUNCTION pgq.batch_event_sql(x_batch_id int8)
RETURNS text
AS 'MODULE_PATHNAME', 'pgq_batch_event_sql'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.batch_event_sql(int8) IS
	'Returns the SQL query for the events of an open batch.';


CREATE OR REPLACE FUNCTION pgq.batch_event_tables(x_batch_id int8)
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'pgq_batch_event_tables'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.batch_event_tables(int8) IS
	'Names the tables that the events of an open batch are in, the older one first.';
-- bookmark.sql: what a consumer keeps of where it is in another system.
--
-- A bookmark is written in the transaction that finishes a batch, so that it and
-- the consumer's position tell the same. It goes with the consumer.


CREATE OR REPLACE FUNCTION pgq._forget_bookmark()
RETURNS trigger AS $$
BEGIN
	DELETE FROM pgq.bookmark
	WHERE bm_queue = OLD.sub_queue AND bm_consumer = OLD.sub_consumer;
	RETURN NULL;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._forget_bookmark() IS
	'Deletes the bookmark of a consumer that leaves a queue.';


CREATE OR REPLACE FUNCTION pgq.set_bookmark(i_batch_id int8, i_bookmark text)
RETURNS int4 AS $$
DECLARE
	s pgq.subscription;
	last_batch int8;
BEGIN
	SELECT * INTO s FROM pgq._batch_subscription(i_batch_id);
	IF s.sub_id IS NULL THEN
		RAISE EXCEPTION 'batch % is not open', i_batch_id
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'Set a bookmark before the batch is finished, in the same transaction.';
	END IF;
	-- Two sessions with one batch, or this and an unregister, follow each other.
	SELECT * INTO s FROM pgq._lock_subscription(s.sub_queue, s.sub_consumer);
	IF s.sub_batch IS DISTINCT FROM i_batch_id THEN
		RETURN pgq.set_bookmark(i_batch_id, i_bookmark);
	END IF;
	SELECT b.bm_batch INTO last_batch FROM pgq.bookmark b
	WHERE b.bm_queue = s.sub_queue AND b.bm_consumer = s.sub_consumer
	ORDER BY b.bm_queue DESC, b.bm_consumer DESC, b.bm_batch DESC LIMIT 1;
	IF last_batch = i_batch_id THEN
		UPDATE pgq.bookmark SET bm_text = i_bookmark, bm_time = now()
		WHERE bm_queue = s.sub_queue AND bm_consumer = s.sub_consumer
		  AND bm_batch = i_batch_id;
		RETURN 1;
	END IF;
	DELETE FROM pgq.bookmark
	WHERE bm_queue = s.sub_queue AND bm_consumer = s.sub_consumer
	  AND bm_batch = last_batch;
	INSERT INTO pgq.bookmark (bm_queue, bm_consumer, bm_batch, bm_text, bm_time)
	VALUES (s.sub_queue, s.sub_consumer, i_batch_id, i_bookmark, now());
	RETURN 1;
END;
$$ LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	-- a plan made while the table is small must be right when it has grown
	SET enable_seqscan = off;
COMMENT ON FUNCTION pgq.set_bookmark(int8, text) IS
	'Keeps a text for the consumer of an open batch, to be read by get_bookmark.';


CREATE OR REPLACE FUNCTION pgq.get_bookmark(i_queue text, i_consumer text)
RETURNS text AS $$
	SELECT b.bm_text
	FROM pgq.queue q CROSS JOIN pgq.consumer c
		 CROSS JOIN LATERAL (
			SELECT bm_text FROM pgq.bookmark
			WHERE bm_queue = q.queue_id AND bm_consumer = c.co_id
			ORDER BY bm_queue DESC, bm_consumer DESC, bm_batch DESC LIMIT 1) b
	WHERE q.queue_name = i_queue AND c.co_name = i_consumer;
$$ LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off;
COMMENT ON FUNCTION pgq.get_bookmark(text, text) IS
	'Returns the text that set_bookmark kept for a consumer; NULL when there is none.';


CREATE OR REPLACE FUNCTION pgq.event_key(ev_type text, ev_data text, ev_extra1 text)
RETURNS text
AS 'MODULE_PATHNAME', 'pgq_event_key'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION pgq.event_key(text, text, text) IS
	'Returns the key of the row that an event is about, as text; NULL when it has none.';
-- dead.sql: events that a consumer has given up, kept to be looked at, put
-- back or purged.
--
-- They belong to the consumer of the queue; for cooperating consumers that is
-- the main one, whichever of them gave up.
--
-- An event never is among a consumer's dead events and waits for a retry too: of
-- what the consumer said, the last counts. Whoever says either goes by a row in
-- pgq.retry_queue first, by whose key two sessions wait for each other.


CREATE OR REPLACE FUNCTION pgq._add_dead_event(
	i_queue_id int4, i_consumer_id int4, i_sub_id int4,
	i_event pgq.event_template, i_reason text)
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
		ev_owner)
	VALUES (now(), i_queue_id, i_event.ev_id, i_event.ev_time, i_sub_id)
	ON CONFLICT ON CONSTRAINT rq_pkey DO NOTHING;
	DELETE FROM pgq.retry_queue
	WHERE ev_owner = i_sub_id AND ev_id = i_event.ev_id;
	INSERT INTO pgq.dead_event (dead_reason, dead_queue, dead_consumer, ev_id,
		ev_time, ev_txid, ev_retry, ev_type, ev_data,
		ev_extra1, ev_extra2, ev_extra3, ev_extra4)
	VALUES (i_reason, i_queue_id,
		pgq._main_consumer(i_queue_id, i_consumer_id), i_event.ev_id,
		i_event.ev_time, i_event.ev_txid, i_event.ev_retry, i_event.ev_type,
		i_event.ev_data, i_event.ev_extra1, i_event.ev_extra2,
		i_event.ev_extra3, i_event.ev_extra4)
	ON CONFLICT ON CONSTRAINT dead_event_pkey DO NOTHING;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._add_dead_event(
	int4, int4, int4, pgq.event_template, text) IS
	'Puts an event among the dead ones of a consumer, and not into its retry queue; returns 0 when it is dead already.';


CREATE OR REPLACE FUNCTION pgq._revive_event(
	i_queue_id int4, i_consumer_id int4, i_event_id int8)
RETURNS void AS $$
BEGIN
	DELETE FROM pgq.dead_event
	WHERE dead_queue = i_queue_id AND ev_id = i_event_id
	  AND dead_consumer = pgq._main_consumer(i_queue_id, i_consumer_id);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._revive_event(int4, int4, int8) IS
	'Takes an event, which waits for a retry now, from the dead ones of a consumer.';


-- The reason for events that are dead because of queue_max_retries.
CREATE OR REPLACE FUNCTION pgq._retry_reason(i_retries int4)
RETURNS text AS $$
BEGIN
	RETURN format('retries done: %s, queue_max_retries allows no more',
				  coalesce(i_retries, 0));
END;
$$ LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._retry_reason(int4) IS
	'Says why an event that was retried so many times is dead.';


CREATE OR REPLACE FUNCTION pgq.event_dead(
	i_batch_id int8, i_event_id int8, i_reason text)
RETURNS int4 AS $$
DECLARE
	s pgq.subscription%ROWTYPE;
	ev pgq.event_template%ROWTYPE;
BEGIN
	SELECT * INTO s FROM pgq._batch_subscription(i_batch_id);
	IF s.sub_id IS NOT NULL THEN
		SELECT * INTO ev FROM pgq._find_batch_event(i_batch_id, i_event_id);
	END IF;
	IF ev.ev_id IS NULL THEN
		RAISE EXCEPTION 'event not found'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no open batch %s with an event %s.',
								coalesce(i_batch_id::text, 'NULL'),
								coalesce(i_event_id::text, 'NULL')),
				HINT = 'Events can be given up until their batch is finished.';
	END IF;
	RETURN pgq._add_dead_event(s.sub_queue, s.sub_consumer, s.sub_id, ev,
							   i_reason);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_dead(int8, int8, text) IS
	'Gives up an event of an open batch and keeps it among the dead events, also if it was to be retried; returns 0 when it is dead already.';


CREATE OR REPLACE FUNCTION pgq.get_dead_events(
	i_queue text,
	i_consumer text,
	OUT queue_name text,
	OUT consumer_name text,
	OUT dead_time timestamptz,
	OUT dead_reason text,
	OUT ev_id int8,
	OUT ev_time timestamptz,
	OUT ev_retry int4,
	OUT ev_type text,
	OUT ev_data text,
	OUT ev_extra1 text,
	OUT ev_extra2 text,
	OUT ev_extra3 text,
	OUT ev_extra4 text)
RETURNS SETOF record AS $$
	SELECT q.queue_name, c.co_name, d.dead_time, d.dead_reason, d.ev_id,
		   d.ev_time, d.ev_retry, d.ev_type, d.ev_data,
		   d.ev_extra1, d.ev_extra2, d.ev_extra3, d.ev_extra4
	FROM pgq.dead_event d
		 JOIN pgq.queue q ON q.queue_id = d.dead_queue
		 JOIN pgq.consumer c ON c.co_id = d.dead_consumer
	WHERE (i_queue IS NULL OR q.queue_name = i_queue)
	  AND (i_consumer IS NULL OR c.co_name = i_consumer)
	ORDER BY q.queue_name, c.co_name, d.dead_time, d.ev_id
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_dead_events(text, text) IS
	'Returns the dead events of a consumer on a queue, oldest first; NULL stands for all queues or consumers.';


CREATE OR REPLACE FUNCTION pgq.requeue_dead_event(
	i_queue text, i_consumer text, i_event_id int8)
RETURNS int4 AS $$
DECLARE
	s record;
	n int4;
BEGIN
	SELECT sub.sub_id, sub.sub_queue, sub.sub_consumer INTO s
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._subscriptions(q.queue_id) sub
		 JOIN pgq.consumer c ON c.co_id = sub.sub_consumer
	WHERE q.queue_name = i_queue AND c.co_name = i_consumer;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'consumer not registered'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no consumer %L on queue %L.',
								i_consumer, i_queue),
				HINT = 'pgq.get_dead_events(NULL, NULL) lists all dead events with their queues and consumers.';
	END IF;

	-- One that waits for a retry already stays among the dead.
	WITH back AS (
		INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
			ev_txid, ev_owner, ev_retry, ev_type, ev_data,
			ev_extra1, ev_extra2, ev_extra3, ev_extra4)
		SELECT now(), d.dead_queue, d.ev_id, d.ev_time, NULL, s.sub_id, 0,
			d.ev_type, d.ev_data,
			d.ev_extra1, d.ev_extra2, d.ev_extra3, d.ev_extra4
		FROM pgq.dead_event d
		WHERE d.dead_queue = s.sub_queue AND d.ev_id = i_event_id
		  AND d.dead_consumer = pgq._main_consumer(s.sub_queue, s.sub_consumer)
		FOR UPDATE
		ON CONFLICT ON CONSTRAINT rq_pkey DO NOTHING
		RETURNING ev_id
	)
	DELETE FROM pgq.dead_event d USING back
	WHERE d.dead_queue = s.sub_queue AND d.ev_id = back.ev_id
	  AND d.dead_consumer = pgq._main_consumer(s.sub_queue, s.sub_consumer);
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.requeue_dead_event(text, text, int8) IS
	'Puts a dead event back for its consumer, counted as never retried; returns 0 when there is none or it waits already.';


CREATE OR REPLACE FUNCTION pgq.purge_dead_events(
	i_queue text, i_consumer text, i_before timestamptz DEFAULT now())
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	DELETE FROM pgq.dead_event d
	USING pgq.queue q, pgq.consumer c
	WHERE q.queue_id = d.dead_queue AND q.queue_name = i_queue
	  AND c.co_id = d.dead_consumer AND c.co_name = i_consumer
	  AND d.dead_time <= i_before;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.purge_dead_events(text, text, timestamptz) IS
	'Deletes the dead events of a consumer on a queue that died by a time, now unless given; returns how many.';
-- retry.sql: events that a consumer wants to see again later.

CREATE OR REPLACE FUNCTION pgq._find_batch_event(
	i_batch_id int8, i_event_id int8)
RETURNS pgq.event_template
AS 'MODULE_PATHNAME', 'pgq_find_batch_event'
LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION pgq._find_batch_event(int8, int8) IS
	'Returns an event of an open batch, NULLs if there is none; the session remembers where that batch''s events are.';


CREATE OR REPLACE FUNCTION pgq.event_retry(
	x_batch_id int8, x_event_id int8, x_retry_time timestamptz)
RETURNS int4 AS $$
DECLARE
	s record;
	ev pgq.event_template%ROWTYPE;
	n int4;
BEGIN
	SELECT sub.sub_id, sub.sub_queue, sub.sub_consumer, q.queue_max_retries
	INTO s
	FROM pgq._batch_subscription(x_batch_id) sub
		 JOIN pgq.queue q ON q.queue_id = sub.sub_queue;
	IF FOUND THEN
		SELECT * INTO ev FROM pgq._find_batch_event(x_batch_id, x_event_id);
	END IF;
	IF ev.ev_id IS NULL THEN
		RAISE EXCEPTION 'event not found'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no open batch %s with an event %s.',
								coalesce(x_batch_id::text, 'NULL'),
								coalesce(x_event_id::text, 'NULL')),
				HINT = 'Events can be retried until their batch is finished.';
	END IF;

	IF coalesce(ev.ev_retry, 0) >= s.queue_max_retries THEN
		RETURN pgq._add_dead_event(s.sub_queue, s.sub_consumer, s.sub_id, ev,
								   pgq._retry_reason(ev.ev_retry));
	END IF;
	INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
		ev_txid, ev_owner, ev_retry, ev_type, ev_data,
		ev_extra1, ev_extra2, ev_extra3, ev_extra4)
	VALUES (x_retry_time, s.sub_queue, ev.ev_id, ev.ev_time,
		NULL, s.sub_id, coalesce(ev.ev_retry, 0) + 1, ev.ev_type, ev.ev_data,
		ev.ev_extra1, ev.ev_extra2, ev.ev_extra3, ev.ev_extra4)
	ON CONFLICT ON CONSTRAINT rq_pkey DO NOTHING;
	GET DIAGNOSTICS n = ROW_COUNT;
	PERFORM pgq._revive_event(s.sub_queue, s.sub_consumer, ev.ev_id);
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_retry(int8, int8, timestamptz) IS
	'Delivers an event of an open batch again after a time, or buries it past queue_max_retries; of this and event_dead the last call counts; returns 0 when that was done already.';


CREATE OR REPLACE FUNCTION pgq.event_retry(
	x_batch_id int8, x_event_id int8, x_retry_seconds int4)
RETURNS int4 AS $$
BEGIN
	RETURN pgq.event_retry(x_batch_id, x_event_id,
						   now() + make_interval(secs => x_retry_seconds));
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_retry(int8, int8, int4) IS
	'Delivers an event of an open batch again after some seconds, or buries it past queue_max_retries; of this and event_dead the last call counts; returns 0 when that was done already.';


CREATE OR REPLACE FUNCTION pgq.batch_retry(i_batch_id int8, i_retry_seconds int4)
RETURNS int4 AS $$
DECLARE
	s record;
	n int4;
BEGIN
	SELECT sub.sub_id, sub.sub_queue, sub.sub_consumer, q.queue_max_retries,
		   pgq._main_consumer(sub.sub_queue, sub.sub_consumer) AS main_consumer
	INTO s
	FROM pgq._batch_subscription(i_batch_id) sub
		 JOIN pgq.queue q ON q.queue_id = sub.sub_queue;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'batch_retry: batch % not found',
				coalesce(i_batch_id::text, 'NULL')
			USING ERRCODE = 'undefined_object',
				HINT = 'A batch can be retried until it is finished.';
	END IF;
	-- Of one id the event that was retried most often, as in event_retry.
	WITH ev AS MATERIALIZED (
		SELECT DISTINCT ON (e.ev_id) e.*,
			   coalesce(e.ev_retry, 0) >= s.queue_max_retries AS dead
		FROM pgq.get_batch_events(i_batch_id) e
		ORDER BY e.ev_id, e.ev_retry DESC NULLS LAST
	), again AS (
		INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
			ev_txid, ev_owner, ev_retry, ev_type, ev_data,
			ev_extra1, ev_extra2, ev_extra3, ev_extra4)
		SELECT now() + make_interval(secs => i_retry_seconds), s.sub_queue,
			ev.ev_id, ev.ev_time, NULL, s.sub_id, coalesce(ev.ev_retry, 0) + 1,
			ev.ev_type, ev.ev_data,
			ev.ev_extra1, ev.ev_extra2, ev.ev_extra3, ev.ev_extra4
		FROM ev WHERE dead IS NOT TRUE
		ON CONFLICT ON CONSTRAINT rq_pkey DO NOTHING
		RETURNING 1
	)
	SELECT (SELECT count(*) FROM again)
		+ coalesce(sum(pgq._add_dead_event(s.sub_queue, s.sub_consumer, s.sub_id,
			ROW(ev.ev_id, ev.ev_time, ev.ev_txid, NULL, ev.ev_retry, ev.ev_type,
				ev.ev_data, ev.ev_extra1, ev.ev_extra2, ev.ev_extra3,
				ev.ev_extra4)::pgq.event_template,
			pgq._retry_reason(ev.ev_retry))), 0)
	INTO n FROM ev WHERE dead;
	DELETE FROM pgq.dead_event d USING pgq.retry_queue r
	WHERE r.ev_owner = s.sub_id AND r.ev_queue = s.sub_queue
	  AND d.dead_queue = s.sub_queue AND d.dead_consumer = s.main_consumer
	  AND d.ev_id = r.ev_id;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.batch_retry(int8, int4) IS
	'Delivers all events of an open batch again after some seconds, or buries those past queue_max_retries; returns for how many that was not done already.';


CREATE OR REPLACE FUNCTION pgq.event_retry_raw(
	x_queue text, x_consumer text, x_retry_after timestamptz,
	x_ev_id int8, x_ev_time timestamptz, x_ev_retry int4,
	x_ev_type text, x_ev_data text, x_ev_extra1 text, x_ev_extra2 text,
	x_ev_extra3 text, x_ev_extra4 text)
RETURNS int8 AS $$
DECLARE
	s record;
	id int8 := x_ev_id;
BEGIN
	SELECT sub.sub_id, sub.sub_consumer, q.queue_id, q.queue_event_seq INTO s
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._subscriptions(q.queue_id) sub
		 JOIN pgq.consumer c ON c.co_id = sub.sub_consumer
	WHERE q.queue_name = x_queue AND c.co_name = x_consumer;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'consumer not registered'
			USING ERRCODE = 'undefined_object',
				DETAIL = format('There is no consumer %L on queue %L.',
								x_consumer, x_queue),
				HINT = 'Call pgq.register_consumer() first.';
	END IF;
	IF id IS NULL THEN
		id := nextval(pgq.quote_fqname(s.queue_event_seq)::regclass);
	END IF;
	INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time,
		ev_txid, ev_owner, ev_retry, ev_type, ev_data,
		ev_extra1, ev_extra2, ev_extra3, ev_extra4)
	VALUES (x_retry_after, s.queue_id, id, x_ev_time,
		NULL, s.sub_id, x_ev_retry, x_ev_type, x_ev_data,
		x_ev_extra1, x_ev_extra2, x_ev_extra3, x_ev_extra4);
	PERFORM pgq._revive_event(s.queue_id, s.sub_consumer, id);
	RETURN id;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.event_retry_raw(text, text, timestamptz, int8,
	timestamptz, int4, text, text, text, text, text, text) IS
	'Puts an event into the retry queue of one consumer and returns its id.';


-- Waits for nobody for long: other queues are behind this one.
CREATE OR REPLACE FUNCTION pgq._move_retry_events(
	i_queue_id int4, i_queue_name text, i_max int8)
RETURNS int8 AS $$
	WITH due AS (
		SELECT r.ev_owner, r.ev_id FROM pgq.retry_queue r
		WHERE r.ev_queue = i_queue_id AND r.ev_retry_after <= now()
		ORDER BY r.ev_retry_after, r.ev_owner, r.ev_id
		LIMIT i_max
	), gone AS (
		DELETE FROM pgq.retry_queue r USING due
		WHERE r.ev_owner = due.ev_owner AND r.ev_id = due.ev_id
		RETURNING r.*
	), ordered AS MATERIALIZED (
		SELECT * FROM gone ORDER BY ev_retry_after, ev_owner, ev_id
	)
	SELECT count(pgq.insert_event_raw(i_queue_name, o.ev_id, o.ev_time,
			o.ev_owner, o.ev_retry, o.ev_type, o.ev_data, o.ev_extra1,
			o.ev_extra2, o.ev_extra3, o.ev_extra4))
	FROM ordered o
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s';

COMMENT ON FUNCTION pgq._move_retry_events(int4, text, int8) IS
	'Puts due retried events of one queue into it; returns how many.';


-- Callers repeat it until it returns 0. A call moves up to 1000 events (PgQ 3
-- moved 10): clients look only at zero or not.
CREATE OR REPLACE FUNCTION pgq.maint_retry_events()
RETURNS int4 AS $$
DECLARE
	g record;
	failed int4[] := '{}';
	moved int4 := 0;
	n int4;
	again bool := true;
BEGIN
	-- One mover at a time, while consumers can still add events.
	LOCK TABLE pgq.retry_queue IN SHARE UPDATE EXCLUSIVE MODE;

	WHILE again LOOP
		again := false;
		FOR g IN
			SELECT q.queue_id, q.queue_name,
				   -- More than the limit of one transaction would fail.
				   CASE WHEN q.queue_per_tx_limit > 0
						THEN least(count(*), q.queue_per_tx_limit)
						ELSE count(*) END AS n_due
			FROM (SELECT r.ev_queue, r.ev_retry_after FROM pgq.retry_queue r
				  WHERE r.ev_retry_after <= now()
					AND r.ev_queue <> ALL (failed)
				  ORDER BY r.ev_retry_after LIMIT 1000) due
				 JOIN pgq.queue q ON q.queue_id = due.ev_queue
			GROUP BY q.queue_id
			ORDER BY min(due.ev_retry_after), q.queue_name
		LOOP
			-- A queue that refuses events must not hold up the others.
			BEGIN
				n := pgq._move_retry_events(g.queue_id, g.queue_name, g.n_due);
				moved := moved + n;
			EXCEPTION WHEN OTHERS THEN
				RAISE WARNING 'retried events of queue "%" have to wait: %',
					g.queue_name, SQLERRM;
				failed := failed || g.queue_id;
				-- Its events may have filled the list: look behind them.
				again := true;
			END;
		END LOOP;
		again := again AND moved = 0;
	END LOOP;

	-- In a transaction of their own, as both count against queue_per_tx_limit.
	IF moved = 0 THEN
		moved := pgq._move_delayed_events();
	END IF;
	RETURN moved;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_retry_events() IS
	'Puts due events, retried and delayed ones, into their queues; returns how many, 0 when nothing is left to move.';
-- delayed.sql: events that are put into their queue at a later time.


CREATE OR REPLACE FUNCTION pgq.insert_event_at(
	i_queue text, i_time timestamptz, i_type text, i_data text,
	i_extra1 text DEFAULT NULL, i_extra2 text DEFAULT NULL,
	i_extra3 text DEFAULT NULL, i_extra4 text DEFAULT NULL)
RETURNS int8 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	id int8;
BEGIN
	IF i_queue IS NULL THEN
		RAISE EXCEPTION 'Queue name must not be NULL'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	-- As a foreign key would: keeps drop_queue away.
	SELECT * INTO q FROM pgq.queue WHERE queue_name = i_queue FOR KEY SHARE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'queue "%" does not exist', i_queue
			USING ERRCODE = 'undefined_object',
				HINT = 'Create it with pgq.create_queue(); pgq.get_queue_info() lists the queues.';
	END IF;
	IF i_time IS NULL OR i_time = 'infinity' THEN
		RAISE EXCEPTION 'time of a delayed event must not be %',
				coalesce(i_time::text, 'NULL')
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Give the time when the event is to be put into the queue.';
	END IF;
	IF q.queue_disable_insert
		AND current_setting('session_replication_role') <> 'replica' THEN
		RAISE EXCEPTION 'Insert into queue disallowed'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = format('Queue "%s" is disabled.', i_queue);
	END IF;

	id := nextval(pgq.quote_fqname(q.queue_event_seq)::regclass);
	INSERT INTO pgq.delayed_event (ev_queue, ev_time, ev_id, ev_type, ev_data,
		ev_extra1, ev_extra2, ev_extra3, ev_extra4)
	VALUES (q.queue_id, greatest(i_time, now()), id, i_type, i_data,
		i_extra1, i_extra2, i_extra3, i_extra4);
	RETURN id;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.insert_event_at(text, timestamptz, text, text,
	text, text, text, text) IS
	'Puts an event into a queue at a later time and returns its id.';


-- A call moves up to 1000 events of each queue.
CREATE OR REPLACE FUNCTION pgq._move_delayed_events()
RETURNS int4 AS $$
DECLARE
	q record;
	moved int4 := 0;
	n int4;
BEGIN
	FOR q IN
		SELECT queue_id, queue_name,
			   -- More than the limit of one transaction would fail.
			   CASE WHEN queue_per_tx_limit > 0
					THEN least(1000, queue_per_tx_limit)
					ELSE 1000 END AS n_due
		FROM pgq.queue
		WHERE EXISTS (SELECT FROM pgq.delayed_event d
					  WHERE d.ev_queue = queue_id AND d.ev_time <= now())
		ORDER BY queue_name
	LOOP
		-- A queue that refuses events must not hold up the others.
		BEGIN
			WITH due AS (
				SELECT d.ev_time, d.ev_id FROM pgq.delayed_event d
				WHERE d.ev_queue = q.queue_id AND d.ev_time <= now()
				ORDER BY d.ev_time, d.ev_id LIMIT q.n_due
			), gone AS (
				DELETE FROM pgq.delayed_event d USING due
				WHERE d.ev_queue = q.queue_id AND d.ev_time = due.ev_time
				  AND d.ev_id = due.ev_id
				RETURNING d.*
			), ordered AS MATERIALIZED (
				SELECT * FROM gone ORDER BY ev_time, ev_id
			)
			SELECT count(pgq.insert_event_raw(q.queue_name, o.ev_id,
					o.ev_time, NULL, NULL, o.ev_type, o.ev_data,
					o.ev_extra1, o.ev_extra2, o.ev_extra3, o.ev_extra4))
			INTO n FROM ordered o;
			moved := moved + n;
		EXCEPTION WHEN OTHERS THEN
			RAISE WARNING 'delayed events of queue "%" have to wait: %',
				q.queue_name, SQLERRM;
		END;
	END LOOP;
	RETURN moved;
END;
$$ LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s';

COMMENT ON FUNCTION pgq._move_delayed_events() IS
	'Puts delayed events that are due into their queues and returns how many.';
-- once.sql: events of producers that may say the same thing twice.


CREATE OR REPLACE FUNCTION pgq._insert_event_as(
	i_queue text, i_id int8, i_type text, i_data text,
	i_extra1 text, i_extra2 text, i_extra3 text, i_extra4 text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_insert_event_as'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq._insert_event_as(
	text, int8, text, text, text, text, text, text) IS
	'Puts an event into a queue under an id that its sequence has given; returns the id.';


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
			RETURN pgq._insert_event_as(i_queue, id, i_type, i_data,
										i_extra1, i_extra2, i_extra3, i_extra4);
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
-- tick.sql: ticking queues.

CREATE OR REPLACE FUNCTION pgq.ticker(i_queue_name text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_ticker_queue'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.ticker(text) IS
	'Ticks one queue if it is due; returns the new tick''s id, NULL when it is not.';


CREATE OR REPLACE FUNCTION pgq.ticker()
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_ticker_all'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.ticker() IS
	'Ticks the queues that are due, of thousands a part, those that waited longest; returns how many it ticked.';


-- Raises sequences, which only their owner may.
CREATE OR REPLACE FUNCTION pgq.ticker(
	i_queue_name text, i_tick_id int8, i_orig_timestamp timestamptz,
	i_event_seq int8)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_ticker_external'
LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.ticker(text, int8, timestamptz, int8) IS
	'Copies a tick from elsewhere to a queue with an external ticker.';


-- Raises a sequence, which only its owner may.
CREATE OR REPLACE FUNCTION pgq.force_tick(i_queue_name text)
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_force_tick'
LANGUAGE C VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.force_tick(text) IS
	'Makes the next ticker run tick a queue; returns the id of the newest tick until then.';


CREATE OR REPLACE FUNCTION pgq.tick_due()
RETURNS TABLE (queue_name text, tick_id int8, channel text)
AS 'MODULE_PATHNAME', 'pgq_tick_due'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.tick_due() IS
	'Ticks the queues that are due and returns them with their new ticks and channels; of thousands a part, the others without a tick: these want another call.';


CREATE OR REPLACE FUNCTION pgq.tick(i_queues text[], i_xids xid[])
RETURNS TABLE (queue_name text, tick_id int8, channel text)
AS 'MODULE_PATHNAME', 'pgq_tick'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.tick(text[], xid[]) IS
	'Ticks queues that transactions have fed, once these are visible, where a consumer waits; returns those with events.';


CREATE OR REPLACE FUNCTION pgq.tick_channel(i_queue text)
RETURNS text
AS 'MODULE_PATHNAME', 'pgq_tick_channel'
LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION pgq.tick_channel(text) IS
	'Names the channel that announces the ticks of a queue, for LISTEN.';
-- adopt.sql: queues that a dump brought from another server get transaction
-- ids of this one.
--
-- Which events lie between which ticks stays as it was: that is all that the
-- ids are for. Ticks are numbered through from some id below all that are in
-- use; the events that a tick was the first to see get the id below its own.
-- Events that no tick has seen, and those written here since the restore, get
-- the id of the transaction that does this, so that the next tick sees them.

CREATE OR REPLACE FUNCTION pgq._origin()
RETURNS int8
AS 'MODULE_PATHNAME', 'pgq_origin'
LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION pgq._origin() IS
	'Returns a number for this server and database, which a dump does not bring along.';


-- xmin of a row as a 64-bit id, by one that is not older. It pins no
-- search_path, which would keep it from being inlined.
CREATE OR REPLACE FUNCTION pgq._full_xid(i_xid xid, i_newer int8)
RETURNS int8 AS $$
	SELECT i_newer OPERATOR(pg_catalog.-) ((i_newer OPERATOR(pg_catalog.-)
		i_xid::pg_catalog.text::pg_catalog.int8) OPERATOR(pg_catalog.&) 4294967295)
$$ LANGUAGE sql IMMUTABLE STRICT;
COMMENT ON FUNCTION pgq._full_xid(xid, int8) IS
	'Returns a transaction id with its epoch, given a newer one with it.';


-- When the indexes of an event table were made: a dump makes them after the
-- rows that it brings, and before any others are written.
CREATE OR REPLACE FUNCTION pgq._index_xid(i_table regclass, i_newer int8)
RETURNS int8 AS $$
	SELECT max(pgq._full_xid(c.xmin, i_newer))
	FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
	WHERE i.indrelid = i_table
$$ LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._index_xid(regclass, int8) IS
	'Returns the transaction that made the newest index of a table.';


CREATE OR REPLACE FUNCTION pgq._is_foreign(i_queue_id int4, i_newer int8)
RETURNS bool AS $$
DECLARE
	tick_xid int8;
	snap txid_snapshot;
	made int8;
BEGIN
	SELECT pgq._full_xid(t.xmin, i_newer), t.tick_snapshot
	INTO tick_xid, snap
	FROM pgq.tick t WHERE t.tick_queue = i_queue_id
	ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1;
	IF NOT FOUND THEN
		RETURN false;
	END IF;

	-- The transaction of a tick is open while its snapshot is taken.
	IF tick_xid < txid_snapshot_xmin(snap)
		OR txid_snapshot_xmax(snap) > txid_snapshot_xmax(txid_current_snapshot())
	THEN
		RETURN true;
	END IF;
	-- A subtransaction may have made it, whose id is not in the snapshot.
	SELECT max(pgq._index_xid(to_regclass(q.queue_data_pfx || '_' || n), i_newer))
	INTO made
	FROM pgq.queue q, generate_series(0, q.queue_ntables - 1) n
	WHERE q.queue_id = i_queue_id;
	RETURN txid_visible_in_snapshot(tick_xid, snap) AND tick_xid <= made;
END;
$$ LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._is_foreign(int4, int8) IS
	'Tells whether the ticks of a queue have snapshots of another server.';


CREATE OR REPLACE FUNCTION pgq._renumber_queue(i_queue pgq.queue, i_own int8)
RETURNS bool AS $$
DECLARE
	nticks int8;
	tops int8[];			-- of each tick, the end of what it can have seen
	open_ids int8[];		-- ids that were open at some tick,
	open_ends int8[];		-- and the first tick that saw each
	child text;
	base int8;
BEGIN
	-- Nobody writes now, nor has written something that we would not see.
	FOR n IN 0 .. i_queue.queue_ntables - 1 LOOP
		EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE',
			pgq.quote_fqname(i_queue.queue_data_pfx || '_' || n));
	END LOOP;

	SELECT count(*), coalesce(array_agg(t.top ORDER BY t.tick_id), '{}')
	INTO nticks, tops
	FROM (SELECT tick_id, max(txid_snapshot_xmax(tick_snapshot))
					OVER (ORDER BY tick_id) AS top
		  FROM pgq.tick WHERE tick_queue = i_queue.queue_id) t;
	SELECT coalesce(array_agg(o.id), '{}'),
		   coalesce(array_agg(coalesce(e.n, nticks + 1)), '{}')
	INTO open_ids, open_ends
	FROM (SELECT DISTINCT x AS id
		  FROM pgq.tick, txid_snapshot_xip(tick_snapshot) x
		  WHERE tick_queue = i_queue.queue_id) o,
		 LATERAL (SELECT min(t.n) AS n
				  FROM (SELECT tick_snapshot,
							   row_number() OVER (ORDER BY tick_id) AS n
						FROM pgq.tick
						WHERE tick_queue = i_queue.queue_id) t
				  WHERE txid_visible_in_snapshot(o.id, t.tick_snapshot)) e;

	-- Not above ids that are in use: their owners may write yet.
	base := txid_snapshot_xmin(txid_current_snapshot()) - nticks;
	IF base < 1 THEN
		-- A very young server: use up some, and succeed next time.
		FOR n IN base .. 1 LOOP
			BEGIN
				UPDATE pgq.queue SET queue_origin = NULL
				WHERE queue_id = i_queue.queue_id;
				RAISE EXCEPTION USING ERRCODE = 'triggered_action_exception';
			EXCEPTION
				WHEN triggered_action_exception THEN
					NULL;
			END;
		END LOOP;
		RETURN false;
	END IF;

	FOR n IN 0 .. i_queue.queue_ntables - 1 LOOP
		child := pgq.quote_fqname(i_queue.queue_data_pfx || '_' || n);
		EXECUTE format(
			'UPDATE %s e SET ev_txid = CASE WHEN seen.n <= $1 '
				'THEN $2 + seen.n - 1 ELSE $3 END '
			'FROM (SELECT ctid, CASE '
					'WHEN pgq._full_xid(xmin, $3) > $4 THEN $1 + 1 '
					'WHEN ev_txid = ANY ($6) '
					'THEN ($7)[array_position($6, ev_txid)] '
					'ELSE width_bucket(ev_txid, $5) + 1 END AS n '
				  'FROM ONLY %1$s) seen '
			'WHERE seen.ctid = e.ctid', child)
		USING nticks, base, i_own,
			coalesce(pgq._index_xid(child::regclass, i_own), i_own),
			tops, open_ids, open_ends;
	END LOOP;
	UPDATE pgq.tick t
	SET tick_snapshot = format('%s:%1$s:', base + o.n)::txid_snapshot
	FROM (SELECT tick_id, row_number() OVER (ORDER BY tick_id) AS n
		  FROM pgq.tick WHERE tick_queue = i_queue.queue_id) o
	WHERE t.tick_queue = i_queue.queue_id AND t.tick_id = o.tick_id;
	-- All batches up to now are looked for in both tables.
	UPDATE pgq.queue
	SET queue_switch_step1 = base, queue_switch_step2 = i_own
	WHERE queue_id = i_queue.queue_id;
	RAISE LOG 'queue "%" comes from another server and got new transaction ids',
		i_queue.queue_name;
	RETURN true;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._renumber_queue(pgq.queue, int8) IS
	'Replaces the transaction ids of a queue from another server; false if it has to be called again later.';


-- Called by the ticker, with the queue's tick lock.
CREATE OR REPLACE FUNCTION pgq._adopt_queue(i_queue_id int4, i_origin int8)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	own int8 := txid_current();
	result int4 := 1;
BEGIN
	SELECT * INTO q FROM pgq.queue
	WHERE queue_id = i_queue_id FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	IF q.queue_switch_step1 > own OR pgq._is_foreign(i_queue_id, own) THEN
		IF NOT pgq._renumber_queue(q, own) THEN
			RETURN 0;
		END IF;
		result := 2;
	END IF;
	UPDATE pgq.queue
	SET queue_origin = i_origin, queue_created_lsn = NULL
	WHERE queue_id = i_queue_id;
	RETURN result;
EXCEPTION
	WHEN lock_not_available THEN
		RETURN 0;
	WHEN OTHERS THEN
		-- Other queues are behind this one.
		RAISE WARNING 'queue "%" cannot get transaction ids of this server: %',
			q.queue_name, SQLERRM;
		RETURN 0;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s';
COMMENT ON FUNCTION pgq._adopt_queue(int4, int8) IS
	'Makes a queue from another server one of this; returns 1 if it was already, 2 if it got new ids, 0 if somebody is in the way.';
-- size.sql: how much disk a queue takes, and what is done when that is more
-- than its max_size: the next maintenance rotates early; with policy
-- drop_slowest it also takes the position from the consumer that is in the way.

CREATE OR REPLACE FUNCTION pgq._queue_size(i_queue_id int4)
RETURNS int8 AS $$
	SELECT sum(pg_total_relation_size(to_regclass(
		q.queue_data_pfx || '_' || i)))::int8
	FROM pgq.queue q, generate_series(0, q.queue_ntables - 1) AS i
	WHERE q.queue_id = i_queue_id
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._queue_size(int4) IS
	'Returns the bytes that the event tables of a queue take, with indexes.';


CREATE OR REPLACE FUNCTION pgq._is_over_size(i_queue pgq.queue)
RETURNS bool AS $$
BEGIN
	RETURN i_queue.queue_max_size IS NOT NULL
		AND pgq._queue_size(i_queue.queue_id) > i_queue.queue_max_size;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._is_over_size(pgq.queue) IS
	'Tells whether a queue takes more disk than its max_size.';


-- While an old transaction keeps all ticks from being past the last switch, no
-- consumer is to blame; nor is one that had no time to get there.
CREATE OR REPLACE FUNCTION pgq._can_be_past_switch(i_queue pgq.queue)
RETURNS bool AS $$
	SELECT txid_snapshot_xmin(t.tick_snapshot) > i_queue.queue_switch_step2
	FROM pgq.tick t
	WHERE t.tick_queue = i_queue.queue_id
	  AND t.tick_time <= now() - least(interval '1 minute',
									   i_queue.queue_rotation_period / 10)
	ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._can_be_past_switch(pgq.queue) IS
	'Tells whether a consumer that is a minute late at most, or a tenth of the rotation period, would let a queue rotate.';


CREATE OR REPLACE FUNCTION pgq.get_queue_size(
	i_queue_name text DEFAULT NULL,
	OUT queue_name text,
	OUT size int8,
	OUT max_size int8,
	OUT max_size_policy text,
	OUT is_over bool,
	OUT held_by text)
RETURNS SETOF record AS $$
	SELECT q.queue_name, s.size, q.queue_max_size, q.queue_max_size_policy,
		   coalesce(s.size > q.queue_max_size, false), slow.co_name
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._queue_size(q.queue_id) AS s (size)
		 LEFT JOIN LATERAL (
			SELECT c.co_name
			FROM pgq._subscriptions(q.queue_id) sub
				 JOIN pgq.consumer c ON c.co_id = sub.sub_consumer
				 JOIN pgq.tick t ON t.tick_queue = sub.sub_queue
								AND t.tick_id = sub.sub_last_tick
			WHERE txid_snapshot_xmin(t.tick_snapshot) <= q.queue_switch_step2
			  AND pgq._can_be_past_switch(q)
			ORDER BY sub.sub_last_tick, c.co_name LIMIT 1) slow ON true
	WHERE i_queue_name IS NULL OR q.queue_name = i_queue_name
	ORDER BY q.queue_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_queue_size(text) IS
	'Returns the disk space that queues take, their limit, and the consumer that keeps the next event table from being emptied.';


CREATE OR REPLACE FUNCTION pgq.get_lost_consumers(
	i_queue_name text DEFAULT NULL,
	OUT queue_name text,
	OUT consumer_name text,
	OUT lost_time timestamptz,
	OUT lost_tick int8,
	OUT lost_batch int8)
RETURNS SETOF record AS $$
	SELECT q.queue_name, c.co_name, s.sub_lost_time, s.sub_lost_tick,
		   s.sub_batch
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._subscriptions(q.queue_id) s
		 JOIN pgq.consumer c ON c.co_id = s.sub_consumer
	WHERE s.sub_lost_time IS NOT NULL
	  AND (i_queue_name IS NULL OR q.queue_name = i_queue_name)
	ORDER BY q.queue_name, c.co_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_lost_consumers(text) IS
	'Returns the consumers whose position was given up because their queue was over its max_size.';


-- The batch's id stays, so that its reader can be told.
CREATE OR REPLACE FUNCTION pgq._drop_slowest(
	i_queue pgq.queue, i_tick_id int8)
RETURNS bool AS $$
DECLARE
	s record;
	found_one bool := false;
BEGIN
	IF i_queue.queue_max_size_policy <> 'drop_slowest'
		OR pgq._can_be_past_switch(i_queue) IS NOT TRUE
		OR NOT pgq._is_over_size(i_queue)
	THEN
		RETURN false;
	END IF;

	FOR s IN
		SELECT sub.sub_consumer, c.co_name
		FROM pgq.subscription sub
			 JOIN pgq.consumer c ON c.co_id = sub.sub_consumer
		WHERE sub.sub_queue = i_queue.queue_id
		  AND sub.sub_last_tick = i_tick_id
		ORDER BY c.co_name
		FOR NO KEY UPDATE OF sub SKIP LOCKED
	LOOP
		UPDATE pgq.subscription
		SET sub_lost_time = now(), sub_lost_tick = sub_last_tick,
			sub_last_tick = NULL, sub_next_tick = NULL
		WHERE sub_queue = i_queue.queue_id AND sub_consumer = s.sub_consumer;
		found_one := true;
		RAISE WARNING 'consumer "%" of queue "%" has lost its position',
				s.co_name, i_queue.queue_name
			USING DETAIL = format('The queue takes %s, more than its max_size of %s, and the consumer was the slowest, at tick %s.',
					pg_size_pretty(pgq._queue_size(i_queue.queue_id)),
					pg_size_pretty(i_queue.queue_max_size), i_tick_id);
	END LOOP;
	RETURN found_one;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._drop_slowest(pgq.queue, int8) IS
	'Takes the position from the consumers at a tick, the lowest of the queue, if the queue is over its max_size and has the policy for it; true if there was one.';


-- One text for the daemon's log, pgqadm and others. It must stay the same while
-- nothing changes: no sizes of this moment.
CREATE OR REPLACE FUNCTION pgq.get_limit_warnings(
	i_slot_size int8 DEFAULT NULL)
RETURNS SETOF text AS $$
	SELECT format('queue "%s" takes more disk than its max_size of %s',
				  s.queue_name, pg_size_pretty(s.max_size))
		|| CASE WHEN s.held_by IS NULL THEN ''
				ELSE format(': consumer "%s" is in the way', s.held_by) END
	FROM pgq.get_queue_size(NULL) s WHERE s.is_over
	UNION ALL
	SELECT format('consumer "%s" of queue "%s" has lost its position at tick %s, because the queue was over its max_size; it has to register again',
				  l.consumer_name, l.queue_name, l.lost_tick)
	FROM pgq.get_lost_consumers(NULL) l
	UNION ALL
	SELECT format('slot "%s" holds back more than %s of WAL', s.slot_name,
				  pg_size_pretty(i_slot_size))
	FROM pgq.get_slot_info() s
	WHERE i_slot_size > 0 AND s.held_bytes > i_slot_size
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_limit_warnings(int8) IS
	'Says which queues are over their max_size, which consumers have lost their position, and whether the slot holds back more WAL than a number of bytes.';
-- maint.sql: rotation of event tables, and the list of maintenance work.

-- Of the ticks that there are, a rotation leaves those from after the last switch.
-- Who goes back by the retention must find one that is old enough.
CREATE OR REPLACE FUNCTION pgq._is_retention_over(i_queue pgq.queue)
RETURNS bool AS $$
	SELECT i_queue.queue_retention = interval '0'
		OR coalesce((SELECT txid_snapshot_xmin(t.tick_snapshot)
							>= i_queue.queue_switch_step2
					 FROM pgq.tick t
					 WHERE t.tick_queue = i_queue.queue_id
					   AND t.tick_time <= now() - i_queue.queue_retention
					 ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1), false)
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._is_retention_over(pgq.queue) IS
	'Tells whether what a rotation would leave of a queue goes back as far as its retention.';


-- A last rotation that is yet to come means that the clock was set back, and
-- not that nothing is to be done until it has caught up.
CREATE OR REPLACE FUNCTION pgq._is_rotation_due(i_queue pgq.queue)
RETURNS bool AS $$
BEGIN
	RETURN i_queue.queue_switch_time > now() + interval '1 minute'
		OR pgq._is_over_size(i_queue)
		OR i_queue.queue_switch_time + greatest(i_queue.queue_rotation_period,
				i_queue.queue_retention) < now()
			AND pgq._is_retention_over(i_queue);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._is_rotation_due(pgq.queue) IS
	'Tells whether a queue is to go on to its next event table, if its consumers let it.';


CREATE OR REPLACE FUNCTION pgq.maint_rotate_tables_step1(i_queue_name text)
RETURNS int4 AS $$
DECLARE
	q pgq.queue%ROWTYPE;
	lowest_tick int8;
	lowest_xmin int8;
	dropped bool := false;
	next_table int4;
	old_table int4;
BEGIN
	-- By an old snapshot, consumers that have registered since would lose the
	-- table where they stand.
	IF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
		RAISE EXCEPTION 'rotation of event tables needs isolation level READ COMMITTED'
			USING ERRCODE = 'invalid_transaction_state',
				HINT = 'Call pgq.maint_rotate_tables_step1() in a transaction of that level.';
	END IF;

	-- The lock also keeps register_consumer from taking a position that goes
	-- away. Who has the row locked makes this queue wait for the next time, not
	-- others for him.
	SELECT * INTO q FROM pgq.queue
	WHERE queue_name = i_queue_name AND queue_switch_step2 IS NOT NULL
	  -- else the ticker has yet to adopt it
	  AND queue_origin = pgq._origin()
	  AND pgq._is_rotation_due(queue)
	FOR NO KEY UPDATE SKIP LOCKED;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;

	IF txid_current() < q.queue_switch_step1 THEN
		RAISE EXCEPTION 'queue % maint failure: step1=%, current=%',
				i_queue_name, q.queue_switch_step1, txid_current()
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'The last rotation has a higher transaction id than this server.',
				HINT = 'Set the queue''s queue_origin in pgq.queue to NULL: then the next ticker run gives it new ids.';
	END IF;

	-- The table to empty holds what was written before the last switch: all
	-- consumers must be past it, or give way.
	LOOP
		SELECT min(sub_last_tick) INTO lowest_tick
		FROM pgq._subscriptions(q.queue_id);
		EXIT WHEN lowest_tick IS NULL;
		SELECT txid_snapshot_xmin(tick_snapshot) INTO lowest_xmin
		FROM pgq.tick
		WHERE tick_queue = q.queue_id AND tick_id = lowest_tick;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'queue % maint failure: tick % not found',
					i_queue_name, lowest_tick
				USING ERRCODE = 'data_corrupted',
					HINT = 'Move the consumer that stands there with pgq.register_consumer_at(), or unregister it.';
		END IF;
		EXIT WHEN lowest_xmin > q.queue_switch_step2;
		-- No more than one a time: those behind it get their chance.
		IF dropped OR NOT pgq._drop_slowest(q, lowest_tick) THEN
			RETURN 0;
		END IF;
		dropped := true;
	END LOOP;
	-- Without consumers too, a writer from before the last switch must be
	-- gone: one may register yet and get what that writer commits then.
	IF txid_snapshot_xmin(txid_current_snapshot()) <= q.queue_switch_step2 THEN
		RETURN 0;
	END IF;

	-- A reader such as pg_dump delays the rotation; it must not make everyone
	-- wait behind our lock.
	next_table := (q.queue_cur_table + 1) % q.queue_ntables;
	BEGIN
		EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT',
			pgq.quote_fqname(q.queue_data_pfx || '_' || next_table));
	EXCEPTION
		WHEN lock_not_available THEN
			RETURN 0;
	END;
	EXECUTE 'TRUNCATE '
		|| pgq.quote_fqname(q.queue_data_pfx || '_' || next_table);

	-- Nobody is before the last switch, so what was written before it is read no
	-- more. Its disk need not be kept for another retention.
	old_table := (q.queue_cur_table + q.queue_ntables - 1) % q.queue_ntables;
	IF q.queue_retention > interval '0' AND old_table <> q.queue_cur_table THEN
		BEGIN
			EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT',
				pgq.quote_fqname(q.queue_data_pfx || '_' || old_table));
			EXECUTE 'TRUNCATE '
				|| pgq.quote_fqname(q.queue_data_pfx || '_' || old_table);
		EXCEPTION
			WHEN lock_not_available THEN
				NULL;
		END;
	END IF;

	UPDATE pgq.queue
	SET queue_cur_table = next_table, queue_switch_time = now(),
		queue_switch_step1 = txid_current(), queue_switch_step2 = NULL
	WHERE queue_id = q.queue_id;

	-- Ticks whose events are gone. The newest one stays: without any tick
	-- nobody could register.
	DELETE FROM pgq.tick
	WHERE tick_queue = q.queue_id
	  AND txid_snapshot_xmin(tick_snapshot) < q.queue_switch_step2
	  AND tick_id < (SELECT max(tick_id) FROM pgq.tick
					 WHERE tick_queue = q.queue_id);
	RETURN 0;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_rotate_tables_step1(text) IS
	'Switches a queue to its next event table when the rotation period and the retention are over, or the queue is over its max_size, and all consumers are past that table.';


CREATE OR REPLACE FUNCTION pgq.maint_rotate_tables_step2()
RETURNS int4 AS $$
DECLARE
	before txid_snapshot := txid_current_snapshot();
BEGIN
	-- Writers that still use the old table have ids from before step1's
	-- commit. Readers leave that table out for good above step2, so our id
	-- must be newer than theirs: it must not be assigned yet, and a rotation
	-- that was not there before it was is left to the next call.
	IF txid_current_if_assigned() IS NOT NULL THEN
		PERFORM FROM pgq.queue WHERE queue_switch_step2 IS NULL;
		IF FOUND THEN
			RAISE WARNING 'rotation of event tables is not completed by this call'
				USING DETAIL = 'The transaction has written before.',
					HINT = 'Call pgq.maint_rotate_tables_step2() in a transaction of its own.';
		END IF;
		RETURN 0;
	END IF;
	UPDATE pgq.queue SET queue_switch_step2 = txid_current()
	WHERE queue_id IN (SELECT queue_id FROM pgq.queue
					   WHERE queue_switch_step2 IS NULL
						 AND txid_visible_in_snapshot(queue_switch_step1, before)
					   FOR NO KEY UPDATE SKIP LOCKED);
	RETURN 0;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_rotate_tables_step2() IS
	'Completes the rotations that step1 began in earlier transactions; needs a transaction of its own.';


CREATE OR REPLACE FUNCTION pgq.maint_tables_to_vacuum()
RETURNS SETOF text AS $$
	SELECT n.nspname || '.' || c.relname
	FROM unnest(ARRAY[
			'pgq.subscription', 'pgq.consumer', 'pgq.queue', 'pgq.tick',
			'pgq.retry_queue',
			'pgq_ext.completed_tick', 'pgq_ext.completed_batch',
			'pgq_ext.completed_event', 'pgq_ext.partial_batch',
			'pgq_node.local_state', 'londiste.seq_info', 'txid.epoch',
			'londiste.completed', 'pgq.position', 'pgq.dead_event',
			'pgq.delayed_event', 'pgq.once_key'
		 ]) WITH ORDINALITY AS t(name, ord)
		 JOIN pg_catalog.pg_namespace n ON n.nspname = split_part(t.name, '.', 1)
		 JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
								   AND c.relname = split_part(t.name, '.', 2)
	WHERE current_setting('autovacuum') = 'off' AND c.relkind = 'r'
	ORDER BY t.ord
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_tables_to_vacuum() IS
	'Lists the small busy tables that need VACUUM; none when autovacuum is on.';


CREATE OR REPLACE FUNCTION pgq.maint_positions()
RETURNS int4 AS $$
BEGIN
	DELETE FROM pgq.position p
	USING (SELECT pos_slot, max(pos_lsn) AS pos_lsn
		   FROM pgq.position GROUP BY pos_slot) newest
	WHERE p.pos_slot = newest.pos_slot AND p.pos_lsn < newest.pos_lsn;
	RETURN 0;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_positions() IS
	'Deletes all but the newest ingest position of each slot.';


-- Whoever may create a schema could give it any name and put anything into it.
CREATE OR REPLACE FUNCTION pgq._has_function(i_extension name, i_function name)
RETURNS bool AS $$
	WITH trusted AS (
		SELECT r.oid FROM pg_roles r WHERE r.rolsuper
		UNION ALL
		SELECT e.extowner FROM pg_extension e WHERE e.extname = 'pgq'
	)
	SELECT EXISTS (
		SELECT FROM pg_extension e
			 JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass
							 AND d.refobjid = e.oid AND d.deptype = 'e'
							 AND d.classid = 'pg_proc'::regclass
			 JOIN pg_proc p ON p.oid = d.objid AND p.proname = i_function
			 JOIN pg_namespace n ON n.oid = p.pronamespace
								AND n.nspname = i_extension
		WHERE e.extname = i_extension
		  AND e.extowner IN (SELECT t.oid FROM trusted t)
		  AND n.nspowner IN (SELECT t.oid FROM trusted t)
		  AND p.proowner IN (SELECT t.oid FROM trusted t))
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._has_function(name, name) IS
	'Tells whether another extension has a function, in a schema of its name, that may be called with the caller''s rights.';


-- The caller runs the rows in order, each in its own transaction. Rows named
-- vacuum come last, since PgQ 3's daemon stops at the first of them.
CREATE OR REPLACE FUNCTION pgq.maint_operations(OUT func_name text, OUT func_arg text)
RETURNS SETOF record AS $$
DECLARE
	need_step2 bool := false;
BEGIN
	FOR func_arg IN
		SELECT q.queue_name FROM pgq.queue q
		WHERE q.queue_switch_step2 IS NOT NULL
		  AND pgq._is_rotation_due(q)
		ORDER BY q.queue_name
	LOOP
		func_name := 'pgq.maint_rotate_tables_step1';
		RETURN NEXT;
		need_step2 := true;
	END LOOP;

	IF NOT need_step2 THEN
		PERFORM FROM pgq.queue q WHERE q.queue_switch_step2 IS NULL;
		need_step2 := FOUND;
	END IF;
	IF need_step2 THEN
		func_name := 'pgq.maint_rotate_tables_step2';
		func_arg := NULL;
		RETURN NEXT;
	END IF;

	FOR func_name, func_arg IN
		SELECT m.name, q.queue_name
		FROM pgq.queue q,
			 LATERAL unnest(q.queue_extra_maint)
				WITH ORDINALITY AS m(name, ord)
		WHERE m.name IS NOT NULL
		ORDER BY q.queue_name, m.ord
	LOOP
		RETURN NEXT;
	END LOOP;

	IF pgq._has_function('pgq_node', 'maint_watermark') THEN
		func_name := 'pgq_node.maint_watermark';
		FOR func_arg IN EXECUTE
			'SELECT queue_name FROM pgq_node.node_info'
			' WHERE node_type = ''root'' ORDER BY queue_name'
		LOOP
			RETURN NEXT;
		END LOOP;
	END IF;

	IF pgq._has_function('londiste', 'root_check_seqs')
		AND pgq._has_function('pgq_node', 'maint_watermark') THEN
		func_name := 'londiste.root_check_seqs';
		FOR func_arg IN EXECUTE
			'SELECT DISTINCT s.queue_name FROM londiste.seq_info s'
			' JOIN pgq_node.node_info n ON n.queue_name = s.queue_name'
			' WHERE n.node_type = ''root'' AND s.local ORDER BY 1'
		LOOP
			RETURN NEXT;
		END LOOP;
	END IF;

	func_arg := NULL;
	IF pgq._has_function('londiste', 'periodic_maintenance') THEN
		func_name := 'londiste.periodic_maintenance';
		RETURN NEXT;
	END IF;

	-- Below a thousand rows it is not worth a transaction. The look goes no
	-- further than that either.
	PERFORM FROM pgq.position OFFSET 1001 LIMIT 1;
	IF FOUND THEN
		func_name := 'pgq.maint_positions';
		RETURN NEXT;
	END IF;

	PERFORM FROM pgq.once_key WHERE ok_until <= now() LIMIT 1;
	IF FOUND THEN
		func_name := 'pgq.maint_once_keys';
		RETURN NEXT;
	END IF;

	func_name := 'vacuum';
	FOR func_arg IN SELECT * FROM pgq.maint_tables_to_vacuum() LOOP
		RETURN NEXT;
	END LOOP;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.maint_operations() IS
	'Lists the functions, with their argument, that maintenance has to call now, then tables to vacuum.';
-- info.sql: state of queues and consumers.

CREATE OR REPLACE FUNCTION pgq.get_queue_info(
	i_queue_name text,
	OUT queue_name text,
	OUT queue_ntables int4,
	OUT queue_cur_table int4,
	OUT queue_rotation_period interval,
	OUT queue_switch_time timestamptz,
	OUT queue_external_ticker bool,
	OUT queue_ticker_paused bool,
	OUT queue_ticker_max_count int4,
	OUT queue_ticker_max_lag interval,
	OUT queue_ticker_idle_period interval,
	OUT ticker_lag interval,
	OUT ev_per_sec float8,
	OUT ev_new int8,
	OUT last_tick_id int8)
RETURNS SETOF record AS $$
	SELECT q.queue_name, q.queue_ntables, q.queue_cur_table,
		   q.queue_rotation_period, q.queue_switch_time,
		   q.queue_external_ticker, q.queue_ticker_paused,
		   q.queue_ticker_max_count, q.queue_ticker_max_lag,
		   q.queue_ticker_idle_period,
		   now() - top.tick_time,
		   -- not NULL while there is one tick: PgQ 3's clients can't print it
		   CASE WHEN top.tick_time > past.tick_time
				THEN (top.tick_event_seq - past.tick_event_seq)
					/ extract(epoch FROM top.tick_time - past.tick_time)::float8
				WHEN top.tick_id IS NOT NULL THEN 0 END,
		   pgq.seq_getval(q.queue_event_seq) - top.tick_event_seq,
		   top.tick_id
	FROM pgq.queue q
		 LEFT JOIN LATERAL (
			SELECT t.tick_id, t.tick_time, t.tick_event_seq
			FROM pgq.tick t
			WHERE t.tick_queue = q.queue_id
			ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1) top ON true
		 LEFT JOIN LATERAL (
			SELECT t.tick_time, t.tick_event_seq
			FROM pgq.tick t
			WHERE t.tick_queue = q.queue_id AND t.tick_id >= top.tick_id - 20
			ORDER BY t.tick_queue, t.tick_id LIMIT 1) past ON true
	WHERE i_queue_name IS NULL OR q.queue_name = i_queue_name
	ORDER BY q.queue_name
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_queue_info(text) IS
	'Returns settings and state of one queue, or of all for NULL.';


CREATE OR REPLACE FUNCTION pgq.get_queue_info(
	OUT queue_name text,
	OUT queue_ntables int4,
	OUT queue_cur_table int4,
	OUT queue_rotation_period interval,
	OUT queue_switch_time timestamptz,
	OUT queue_external_ticker bool,
	OUT queue_ticker_paused bool,
	OUT queue_ticker_max_count int4,
	OUT queue_ticker_max_lag interval,
	OUT queue_ticker_idle_period interval,
	OUT ticker_lag interval,
	OUT ev_per_sec float8,
	OUT ev_new int8,
	OUT last_tick_id int8)
RETURNS SETOF record AS $$
	SELECT * FROM pgq.get_queue_info(NULL)
$$ LANGUAGE sql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_queue_info() IS
	'Returns settings and state of all queues.';


CREATE OR REPLACE FUNCTION pgq.get_consumer_info(
	i_queue_name text,
	i_consumer_name text,
	OUT queue_name text,
	OUT consumer_name text,
	OUT lag interval,
	OUT last_seen interval,
	OUT last_tick int8,
	OUT current_batch int8,
	OUT next_tick int8,
	OUT pending_events int8)
RETURNS SETOF record AS $$
	SELECT q.queue_name, c.co_name,
		   now() - done.tick_time,
		   now() - s.sub_active,
		   s.sub_last_tick, s.sub_batch, s.sub_next_tick,
		   -- an idle sub-consumer has no position of its own; who lost his
		   -- has no end of it
		   CASE WHEN s.sub_last_tick IS NULL AND s.sub_lost_time IS NULL THEN 0
				ELSE top.tick_event_seq - done.tick_event_seq END
	FROM pgq.queue q
		 CROSS JOIN LATERAL pgq._subscriptions(q.queue_id) s
		 JOIN pgq.consumer c ON c.co_id = s.sub_consumer
		 LEFT JOIN pgq.tick done ON done.tick_queue = q.queue_id
								AND done.tick_id = s.sub_last_tick
		 LEFT JOIN LATERAL (
			SELECT t.tick_event_seq
			FROM pgq.tick t
			WHERE t.tick_queue = q.queue_id
			ORDER BY t.tick_queue DESC, t.tick_id DESC LIMIT 1) top ON true
	WHERE (i_queue_name IS NULL OR q.queue_name = i_queue_name)
	  AND (i_consumer_name IS NULL OR c.co_name = i_consumer_name)
	ORDER BY q.queue_name, c.co_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_consumer_info(text, text) IS
	'Returns position and lag of one consumer on one queue; NULL stands for all.';


CREATE OR REPLACE FUNCTION pgq.get_consumer_info(
	i_queue_name text,
	OUT queue_name text,
	OUT consumer_name text,
	OUT lag interval,
	OUT last_seen interval,
	OUT last_tick int8,
	OUT current_batch int8,
	OUT next_tick int8,
	OUT pending_events int8)
RETURNS SETOF record AS $$
	SELECT * FROM pgq.get_consumer_info(i_queue_name, NULL)
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_consumer_info(text) IS
	'Returns position and lag of all consumers of one queue, or of all queues for NULL.';


CREATE OR REPLACE FUNCTION pgq.get_consumer_info(
	OUT queue_name text,
	OUT consumer_name text,
	OUT lag interval,
	OUT last_seen interval,
	OUT last_tick int8,
	OUT current_batch int8,
	OUT next_tick int8,
	OUT pending_events int8)
RETURNS SETOF record AS $$
	SELECT * FROM pgq.get_consumer_info(NULL, NULL)
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_consumer_info() IS
	'Returns position and lag of all consumers on all queues.';
-- relay.sql: what pgqrelay tells of itself, so that all see it from anywhere.
--
-- A relay writes its row when its state changes and once a minute, never per batch.
-- What belongs to a batch is in the consumer's row and its bookmark.  Not in dumps:
-- a relay that runs writes it anew.


CREATE OR REPLACE FUNCTION pgq._forget_relay()
RETURNS trigger AS $$
BEGIN
	DELETE FROM pgq.relay
	WHERE rl_queue = OLD.sub_queue AND rl_consumer = OLD.sub_consumer;
	RETURN NULL;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._forget_relay() IS
	'Deletes what the relay told that was a consumer, when that leaves a queue.';


CREATE OR REPLACE FUNCTION pgq.note_relay(i_queue text, i_consumer text,
	i_target text, i_state text, i_error text, i_ev_per_sec float8)
RETURNS int4 AS $$
DECLARE
	s pgq.subscription;
	error text := nullif(i_error, '');
BEGIN
	-- Neither waits for an open batch nor outlives the consumer.
	SELECT b.* INTO s FROM pgq.queue q CROSS JOIN pgq.consumer c
		 JOIN pgq.subscription b ON b.sub_queue = q.queue_id AND b.sub_consumer = c.co_id
	WHERE q.queue_name = i_queue AND c.co_name = i_consumer
	FOR KEY SHARE OF b;
	IF NOT FOUND THEN
		RETURN 0;
	END IF;
	INSERT INTO pgq.relay AS r
	VALUES (s.sub_queue, s.sub_consumer, i_target, i_state, now(), now(), i_ev_per_sec,
			error, CASE WHEN error IS NOT NULL THEN now() END)
	ON CONFLICT (rl_queue, rl_consumer) DO UPDATE SET
		rl_target = i_target,
		rl_state = i_state,
		rl_since = CASE WHEN r.rl_state = i_state THEN r.rl_since ELSE now() END,
		rl_seen = now(),
		rl_rate = i_ev_per_sec,
		rl_error = coalesce(error, r.rl_error),
		rl_error_time = coalesce(excluded.rl_error_time, r.rl_error_time);
	RETURN 1;
END;
$$ LANGUAGE plpgsql STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.note_relay(text, text, text, text, text, float8) IS
	'Keeps how a relay is, for get_relay_info; returns 0 when there is no such consumer.';


CREATE OR REPLACE FUNCTION pgq.get_relay_info(
	OUT queue_name text,
	OUT consumer_name text,
	OUT target text,
	OUT state text,
	OUT since timestamptz,
	OUT batch int8,
	OUT engine_position text,
	OUT ev_per_sec float8,
	OUT lag interval,
	OUT pending_events int8,
	OUT last_error text,
	OUT last_error_time timestamptz,
	OUT last_seen interval)
RETURNS SETOF record AS $$
	SELECT q.queue_name, c.co_name, r.rl_target,
		   -- it tells of itself once a minute
		   CASE WHEN silent THEN 'silent' ELSE r.rl_state END,
		   CASE WHEN silent THEN r.rl_seen ELSE r.rl_since END,
		   coalesce(i.current_batch, b.bm_batch), b.bm_text,
		   CASE WHEN silent THEN 0 ELSE r.rl_rate END,
		   i.lag, i.pending_events, r.rl_error, r.rl_error_time, now() - r.rl_seen
	FROM pgq.relay r
		 JOIN pgq.queue q ON q.queue_id = r.rl_queue
		 JOIN pgq.consumer c ON c.co_id = r.rl_consumer
		 CROSS JOIN LATERAL (SELECT r.rl_state <> 'ended'
			AND r.rl_seen < now() - interval '3 minutes' AS silent) s
		 LEFT JOIN LATERAL pgq.get_consumer_info(q.queue_name, c.co_name) i ON true
		 LEFT JOIN LATERAL (
			SELECT k.bm_batch, k.bm_text FROM pgq.bookmark k
			WHERE k.bm_queue = r.rl_queue AND k.bm_consumer = r.rl_consumer
			ORDER BY k.bm_queue DESC, k.bm_consumer DESC, k.bm_batch DESC LIMIT 1) b ON true
	ORDER BY q.queue_name, c.co_name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.get_relay_info() IS
	'Returns how each relay is: its target, state and since when, the batch under way or finished last, the bookmark, events per second, lag, the last error.';
-- ingest.sql: what pgqd calls to write events that it read from the WAL.

CREATE OR REPLACE FUNCTION pgq.ingest(
	i_slot text, i_from pg_lsn, i_to pg_lsn, i_frames bytea)
RETURNS bigint
AS 'MODULE_PATHNAME', 'pgq_ingest'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.ingest(text, pg_lsn, pg_lsn, bytea) IS
	'Writes frames of events to their queues and moves the slot''s position, exactly once; returns the number of events.';


CREATE OR REPLACE FUNCTION pgq.ingest_problem(
	i_slot text, i_problem text, i_lsn pg_lsn)
RETURNS void AS 'MODULE_PATHNAME', 'pgq_ingest_problem' LANGUAGE C;
COMMENT ON FUNCTION pgq.ingest_problem(text, text, pg_lsn) IS
	'Notes why ingest of a slot stands still and from which LSN changes are missing; NULL when it goes on.';


CREATE OR REPLACE FUNCTION pgq.ingest_timeline(i_slot text, i_timeline int4)
RETURNS void AS 'MODULE_PATHNAME', 'pgq_ingest_timeline' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq.ingest_timeline(text, int4) IS
	'Notes the timeline of the server, after pgqd has found that the slot''s position is on its way.';
-- copy.sql: copies of captured tables, so that the rows that are there come
-- before their changes. capture/copy_rows.c says how it all goes.

CREATE OR REPLACE FUNCTION pgq.cancel_copy(i_queue text, i_table regclass)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_cancel_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq.cancel_copy(text, regclass) IS
	'Gives up copying a table into a queue, whose capture goes on without; returns 1, or 0 if it was not being copied.';


-- What pgqd calls.

CREATE OR REPLACE FUNCTION pgq._end_copy(i_copy int8)
RETURNS void AS 'MODULE_PATHNAME', 'pgq__end_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._end_copy(int8) IS
	'Gives a copy up whose table is gone; a part of _next_copy.';


CREATE OR REPLACE FUNCTION pgq._next_copy(OUT copy_id int8, OUT is_cancelled bool)
AS $$
DECLARE
	gone int8;
BEGIN
	FOR gone IN
		SELECT c.copy_id FROM pgq.copy c
		WHERE c.copy_state IN ('waiting', 'copying')
		  AND NOT EXISTS (SELECT FROM pg_class r WHERE r.oid = c.copy_relid)
		FOR UPDATE OF c SKIP LOCKED
	LOOP
		PERFORM pgq._end_copy(gone);
	END LOOP;

	SELECT c.copy_id, c.copy_state = 'cancelled' INTO copy_id, is_cancelled
	FROM pgq.copy c
	WHERE c.copy_state IN ('waiting', 'copying', 'cancelled')
	ORDER BY c.copy_state = 'cancelled' DESC, c.copy_tried NULLS FIRST,
		c.copy_id
	LIMIT 1;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._next_copy() IS
	'Tells pgqd which copy to begin, or to end when it was cancelled; NULL when there is none.';


CREATE OR REPLACE FUNCTION pgq._start_copy(
	i_copy int8, OUT copy_id int8, OUT queue_name text, OUT table_oid oid,
	OUT table_name text)
AS 'MODULE_PATHNAME', 'pgq__start_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._start_copy(int8) IS
	'Locks a table, gives its mark the id of a new copy and returns that; NULL when the copy was given up.';


CREATE OR REPLACE FUNCTION pgq._begin_copy(i_copy int8, i_queue text, i_table oid)
RETURNS int8 AS 'MODULE_PATHNAME', 'pgq__begin_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._begin_copy(int8, text, oid) IS
	'Takes the snapshot of a copy while _start_copy keeps writers out; returns the number of blocks, NULL when somebody is in the way.';


CREATE OR REPLACE FUNCTION pgq._copy_rows(
	OUT copied int8, OUT bytes int8, OUT blocks int8, OUT done bool)
AS 'MODULE_PATHNAME', 'pgq__copy_rows' LANGUAGE C;
COMMENT ON FUNCTION pgq._copy_rows() IS
	'Copies some rows into the queue and tells how many there are so far.';


CREATE OR REPLACE FUNCTION pgq._publish_copy(i_copy int8)
RETURNS text AS 'MODULE_PATHNAME', 'pgq__publish_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._publish_copy(int8) IS
	'Ends a copy: puts the changes that it held behind its rows; returns the queue.';


-- A row that is being deleted is one to let go of: drop_queue waits for us.
CREATE OR REPLACE FUNCTION pgq._copy_goes_on(i_copy int8)
RETURNS bool AS $$
BEGIN
	PERFORM FROM pgq.copy
	WHERE copy_id = i_copy AND copy_state = 'copying'
	FOR KEY SHARE SKIP LOCKED;
	RETURN FOUND;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._copy_goes_on(int8) IS
	'Tells pgqd whether a copy is still wanted.';


CREATE OR REPLACE FUNCTION pgq._note_copy(
	i_copy int8, i_rows int8, i_bytes int8, i_blocks int8, i_blocks_done int8)
RETURNS void AS 'MODULE_PATHNAME', 'pgq__note_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._note_copy(int8, int8, int8, int8, int8) IS
	'Notes how far a copy is.';


CREATE OR REPLACE FUNCTION pgq._fail_copy(i_copy int8, i_error text)
RETURNS void AS 'MODULE_PATHNAME', 'pgq__fail_copy' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._fail_copy(int8, text) IS
	'Notes why a copy did not succeed; it is tried again.';


CREATE OR REPLACE FUNCTION pgq._clean_copies()
RETURNS void AS $$
BEGIN
	-- Ingest has passed the start of the newer one: nothing names the older
	-- one any more.
	DELETE FROM pgq.copy d USING pgq.copy n
	WHERE d.copy_state = 'done' AND n.copy_state = 'done'
	  AND n.copy_queue = d.copy_queue AND n.copy_relid = d.copy_relid
	  AND n.copy_id > d.copy_id;

	PERFORM FROM pgq.held_event LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	PERFORM FROM pgq.copy
	WHERE copy_state <> 'done' AND copy_started IS NOT NULL;
	IF FOUND THEN
		DELETE FROM pgq.held_event h
		WHERE NOT EXISTS (SELECT FROM pgq.copy c
						  WHERE c.copy_id = h.held_copy AND c.copy_state <> 'done');
		RETURN;
	END IF;
	-- Ingest must not wait, nor must we. Who begins to hold changes now, waits.
	LOCK TABLE pgq.held_event IN ACCESS EXCLUSIVE MODE NOWAIT;
	PERFORM FROM pgq.copy
	WHERE copy_state <> 'done' AND copy_started IS NOT NULL;
	IF NOT FOUND THEN
		TRUNCATE pgq.held_event;
	END IF;
EXCEPTION
	WHEN lock_not_available THEN
		NULL;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq._clean_copies() IS
	'Removes held changes, and rows of copies, that nothing needs any more.';


-- What users see.

CREATE OR REPLACE FUNCTION pgq.get_copy_info(
	OUT queue_name text,
	OUT table_name text,
	OUT state text,
	OUT copied_rows int8,
	OUT total_rows int8,
	OUT bytes int8,
	OUT share float8,
	OUT started timestamptz,
	OUT finished timestamptz,
	OUT time_left interval,
	OUT problem text)
RETURNS SETOF record AS $$
DECLARE
	slot_problem text;
	c pgq.copy%ROWTYPE;
BEGIN
	SELECT coalesce(i.problem, CASE WHEN i.state <> 'ok' THEN i.state END)
	INTO slot_problem FROM pgq.get_slot_info() i;
	IF NOT FOUND THEN
		slot_problem := 'Capture is not started: call pgq.start_capture().';
	END IF;

	FOR c IN
		SELECT p.* FROM pgq.copy p
			 JOIN pg_class r ON r.oid = p.copy_relid
		WHERE p.copy_state <> 'superseded'
		  AND NOT EXISTS (SELECT FROM pgq.copy n
						  WHERE n.copy_queue = p.copy_queue
							AND n.copy_relid = p.copy_relid
							AND n.copy_id > p.copy_id)
		ORDER BY p.copy_queue, p.copy_relid::text
	LOOP
		queue_name := c.copy_queue;
		table_name := c.copy_relid::text;
		state := c.copy_state;
		copied_rows := c.copy_rows;
		bytes := c.copy_bytes;
		started := c.copy_started;
		finished := c.copy_finished;
		share := NULL;
		time_left := NULL;
		problem := NULL;
		CASE
			WHEN c.copy_state = 'done' THEN
				total_rows := c.copy_rows;
				share := 1;
			WHEN c.copy_blocks_done > 0 THEN
				share := least(c.copy_blocks_done::float8 / c.copy_blocks, 1);
				total_rows := (c.copy_rows / share)::int8;
				time_left := (clock_timestamp() - started)
					* ((1 - share) / share);
			ELSE
				share := 0;
				SELECT sum(r.reltuples)::int8 INTO total_rows
				FROM pg_class r
				WHERE r.reltuples >= 0 AND r.relkind = 'r'
				  AND r.oid IN (SELECT c.copy_relid UNION ALL
					SELECT t.relid FROM pg_partition_tree(c.copy_relid) t);
		END CASE;
		IF c.copy_state <> 'done' THEN
			problem := coalesce(c.copy_error, slot_problem);
		END IF;
		RETURN NEXT;
	END LOOP;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.get_copy_info() IS
	'Tells how far the copies of captured tables are, the last one of each table and queue.';
-- capture.sql: the capture slot; which tables are captured into which queues.

-- The slot.

CREATE OR REPLACE FUNCTION pgq.start_capture(i_slot text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'pgq_start_capture' LANGUAGE C;

COMMENT ON FUNCTION pgq.start_capture(text) IS
	'Creates the replication slot that feeds the queues of this database, or adopts it, and returns its name; needs REPLICATION.';


CREATE OR REPLACE FUNCTION pgq.stop_capture(i_slot text DEFAULT NULL)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_stop_capture' LANGUAGE C;

COMMENT ON FUNCTION pgq.stop_capture(text) IS
	'Drops the replication slot with its position; returns 1, or 0 if there was none.';


CREATE OR REPLACE FUNCTION pgq._renew_slot(
	i_slot text, OUT slot text, OUT from_lsn pg_lsn, OUT to_lsn pg_lsn)
AS 'MODULE_PATHNAME', 'pgq__renew_slot' LANGUAGE C;

COMMENT ON FUNCTION pgq._renew_slot(text) IS
	'Replaces a slot that has lost changes; pgq.resync_capture() also tells consumers.';


-- Changes that were held for a copy lack some, too: copies that are under way
-- start over. From now on changes of the tables to copy are held, and thrown
-- away when their copy starts, which has them.
CREATE OR REPLACE FUNCTION pgq._restart_copy(i_queue text, i_table regclass, i_anew bool)
RETURNS bool AS 'MODULE_PATHNAME', 'pgq__restart_copy' LANGUAGE C STRICT;

COMMENT ON FUNCTION pgq._restart_copy(text, regclass, bool) IS
	'Lets a copy that is under way start over, or asks for one of a captured table; a part of _resync_copies.';


CREATE OR REPLACE FUNCTION pgq._resync_copies(i_copy bool, i_tables regclass[])
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	PERFORM pgq._restart_copy(c.copy_queue, c.copy_relid, false)
	FROM pgq.copy c WHERE c.copy_state = 'copying';

	SELECT count(*) INTO n
	FROM (SELECT c.cap_queue, c.cap_relid
		  FROM pgq.capture c JOIN pg_class r ON r.oid = c.cap_relid
		  WHERE i_copy AND (i_tables IS NULL OR c.cap_relid = ANY (i_tables))
			AND NOT EXISTS (SELECT FROM unnest(c.cap_args) a
							WHERE a LIKE 'ops=%' AND a NOT LIKE '%insert%')
		  ORDER BY c.cap_queue, c.cap_relid::text
		  OFFSET 0) m
	WHERE pgq._restart_copy(m.cap_queue, m.cap_relid, true);
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._resync_copies(bool, regclass[]) IS
	'Asks for copies of captured tables after changes were lost; a part of resync_capture.';


CREATE OR REPLACE FUNCTION pgq._tell_resync(i_slot text, i_from pg_lsn, i_to pg_lsn)
RETURNS int4 AS $$
DECLARE
	queue text;
	tables text[];
	copies text[];
	n int4 := 0;
BEGIN
	FOR queue, tables, copies IN
		SELECT c.cap_queue, array_agg(n.nspname || '.' || r.relname),
			coalesce(array_agg(n.nspname || '.' || r.relname)
				FILTER (WHERE p.copy_id IS NOT NULL), '{}')
		FROM pgq.capture c
			JOIN pg_class r ON r.oid = c.cap_relid
			JOIN pg_namespace n ON n.oid = r.relnamespace
			LEFT JOIN pgq.copy p ON p.copy_queue = c.cap_queue
				AND p.copy_relid = c.cap_relid AND p.copy_state = 'waiting'
		WHERE c.cap_queue IN (SELECT q.queue_name FROM pgq.queue q)
		GROUP BY c.cap_queue ORDER BY c.cap_queue
	LOOP
		SELECT array_agg(t ORDER BY t) INTO tables FROM unnest(tables) t;
		SELECT coalesce(array_agg(t ORDER BY t), '{}') INTO copies
		FROM unnest(copies) t;
		PERFORM pgq.insert_event_raw(queue, NULL, now(), NULL, NULL,
			'pgq.resync', json_build_object('slot', i_slot, 'from', i_from,
				'to', i_to, 'tables', tables, 'copied', tables = copies,
				'copies', copies)::text,
			NULL, NULL, NULL, NULL);
		n := n + 1;
	END LOOP;
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._tell_resync(text, pg_lsn, pg_lsn) IS
	'Puts an event of type pgq.resync into every queue that tables are captured into; returns how many.';


-- The invoker's rights make the slot: the server decides who may.
CREATE OR REPLACE FUNCTION pgq.resync_capture(
	i_slot text DEFAULT NULL, i_copy bool DEFAULT true,
	i_tables regclass[] DEFAULT NULL,
	OUT slot text, OUT from_lsn pg_lsn, OUT to_lsn pg_lsn, OUT queues int4,
	OUT copies int4)
AS $$
DECLARE
	stray regclass;
BEGIN
	SELECT t INTO stray FROM unnest(i_tables) t
	WHERE t::text NOT IN (SELECT i.table_name FROM pgq.get_capture_info() i)
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'table % is not captured', stray
			USING ERRCODE = 'undefined_object',
				HINT = 'pgq.get_capture_info() lists the captured tables.';
	END IF;
	SELECT r.slot, r.from_lsn, r.to_lsn INTO slot, from_lsn, to_lsn
	FROM pgq._renew_slot(i_slot) r;
	copies := pgq._resync_copies(coalesce(i_copy, true), i_tables);
	queues := pgq._tell_resync(slot, from_lsn, to_lsn);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.resync_capture(text, bool, regclass[]) IS
	'Goes on with a new slot after changes were lost, tells the queues by an event pgq.resync, and has the captured tables, or those named, copied anew.';


CREATE OR REPLACE FUNCTION pgq.wait_ingest(
	i_lsn pg_lsn, i_timeout interval DEFAULT '10 seconds')
RETURNS bool AS 'MODULE_PATHNAME', 'pgq_wait_ingest' LANGUAGE C;

COMMENT ON FUNCTION pgq.wait_ingest(pg_lsn, interval) IS
	'Waits until all that committed before this LSN is in the queues; false when that takes longer than the timeout.';


-- Marks.

CREATE OR REPLACE FUNCTION pgq.capture_table(
	i_queue text, i_table regclass, VARIADIC i_args text[] DEFAULT '{}')
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_capture_table' LANGUAGE C;

COMMENT ON FUNCTION pgq.capture_table(text, regclass, text[]) IS
	'Captures the changes of a table into a queue from the commit of this call on; returns 1, or 0 if it replaced the arguments of a capture.';


CREATE OR REPLACE FUNCTION pgq.capture_trigger(i_table regclass, i_trigger name)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_capture_trigger' LANGUAGE C;

COMMENT ON FUNCTION pgq.capture_trigger(regclass, name) IS
	'Replaces a trigger of PgQ by a capture with the same arguments, losing and doubling nothing; returns what capture_table returns.';


CREATE OR REPLACE FUNCTION pgq.uncapture_table(i_queue text, i_table regclass)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_uncapture_table' LANGUAGE C;

COMMENT ON FUNCTION pgq.uncapture_table(text, regclass) IS
	'Ends the capture of a table into a queue; returns 1, or 0 if it was not captured.';


CREATE OR REPLACE FUNCTION pgq._invalidate_capture()
RETURNS void AS 'MODULE_PATHNAME', 'pgq__invalidate_capture' LANGUAGE C;

COMMENT ON FUNCTION pgq._invalidate_capture() IS
	'Makes the output plugin read captures and event tables anew, after a change of these.';


CREATE OR REPLACE FUNCTION pgq._forget_captures(i_queue text)
RETURNS void AS 'MODULE_PATHNAME', 'pgq__forget_captures' LANGUAGE C STRICT;

COMMENT ON FUNCTION pgq._forget_captures(text) IS
	'Ends all that is captured or copied into a queue; a part of drop_queue.';


CREATE OR REPLACE FUNCTION pgq.alter_captured(i_commands text)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_alter_captured' LANGUAGE C STRICT;

COMMENT ON FUNCTION pgq.alter_captured(text) IS
	'Runs commands such as ALTER TABLE that a capture forbids one by one, and looks only afterwards whether the captures fit; returns how many were concerned.';


-- Marks stay true when tables are altered or dropped. The triggers fire under
-- session_replication_role = replica, too.

CREATE OR REPLACE FUNCTION pgq._capture_ddl()
RETURNS event_trigger AS 'MODULE_PATHNAME', 'pgq__capture_ddl' LANGUAGE C
SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._capture_ddl() IS
	'Lets captures follow renamed columns and captured schemas new tables, and refuses changes of a captured table that its capture could not follow.';


CREATE OR REPLACE FUNCTION pgq._capture_drop()
RETURNS event_trigger AS 'MODULE_PATHNAME', 'pgq__capture_drop' LANGUAGE C
SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._capture_drop() IS
	'Ends the captures of dropped tables and schemas, and refuses to drop what a capture needs.';


CREATE OR REPLACE FUNCTION pgq._capture_drop_index()
RETURNS event_trigger AS 'MODULE_PATHNAME', 'pgq__capture_drop_index' LANGUAGE C;

COMMENT ON FUNCTION pgq._capture_drop_index() IS
	'Refuses DROP INDEX CONCURRENTLY of the replica identity of a captured table.';


-- What is captured, and how it goes.

CREATE OR REPLACE FUNCTION pgq._capture_problem(i_table regclass, i_args text[])
RETURNS text AS 'MODULE_PATHNAME', 'pgq__capture_problem' LANGUAGE C STRICT;

COMMENT ON FUNCTION pgq._capture_problem(regclass, text[]) IS
	'Tells why a table can not be captured with these arguments as it is now; NULL when it can.';


CREATE OR REPLACE FUNCTION pgq._capture_warnings(i_table regclass, i_args text[])
RETURNS text[] AS 'MODULE_PATHNAME', 'pgq__capture_warnings' LANGUAGE C STRICT;

COMMENT ON FUNCTION pgq._capture_warnings(regclass, text[]) IS
	'Tells what the events of a captured table lack.';


CREATE OR REPLACE FUNCTION pgq.get_slot_info(
	OUT slot_name text,
	OUT active bool,
	OUT wal_status text,
	OUT lag_bytes int8,
	OUT lag_time interval,
	OUT "position" pg_lsn,
	OUT events int8,
	OUT state text,
	OUT problem text,
	OUT held_bytes int8)
RETURNS SETOF record AS $$
DECLARE
	wal_end pg_lsn;
	sysid int8;
	row_problem text;
	missing_from pg_lsn;
	found_slot bool;
	sync_state text;
	pos_at timestamptz;
	sent pg_lsn;
BEGIN
	wal_end := CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
					ELSE pg_current_wal_lsn() END;

	SELECT s.slot_name, s.slot_sysid, s.slot_problem, s.slot_problem_lsn
	INTO slot_name, sysid, row_problem, missing_from FROM pgq.slot s;
	IF NOT FOUND THEN
		RETURN;
	END IF;

	SELECT p.pos_lsn, p.pos_events, p.pos_time
	INTO "position", events, pos_at
	FROM pgq.position p WHERE p.pos_slot = get_slot_info.slot_name
	ORDER BY p.pos_lsn DESC LIMIT 1;

	SELECT r.active, r.wal_status, w.sent_lsn, w.sync_state,
		   greatest(wal_end - r.restart_lsn, 0)
	INTO active, wal_status, sent, sync_state, held_bytes
	FROM pg_replication_slots r
	LEFT JOIN pg_stat_replication w ON w.pid = r.active_pid
	WHERE r.slot_name = get_slot_info.slot_name
		AND r.plugin = 'pgq' AND r.database = current_database();
	found_slot := FOUND;
	active := coalesce(active, false);

	-- On an idle database pgqd leaves up to 16 kB of WAL without events behind
	-- its position: no lag, as long as all of it was read.
	lag_bytes := greatest(wal_end - "position", 0)::int8;
	IF lag_bytes > 16384 OR (lag_bytes > 0 AND (sent < wal_end) IS NOT FALSE)
	THEN
		lag_time := greatest(clock_timestamp() - pos_at, interval '0');
	END IF;

	IF sysid <> (SELECT system_identifier FROM pg_control_system()) THEN
		state := 'missing';
		problem := 'The slot belongs to another server; changes since the position are not in the queues.';
	ELSIF pg_is_in_recovery() AND row_problem IS NULL THEN
		-- before PostgreSQL 17 it has no slot, and needs none
		state := 'standby';
	ELSIF NOT found_slot AND NOT pg_is_in_recovery() THEN
		state := 'missing';
		problem := 'The slot does not exist; changes since the position are not in the queues.';
	ELSIF wal_status = 'lost' THEN
		state := 'lost';
		problem := 'The server removed WAL that the slot needs; changes since the position are not in the queues.';
	ELSIF row_problem IS NOT NULL THEN
		state := 'problem';
	ELSIF NOT active THEN
		state := 'inactive';
		problem := 'Nobody reads the slot: is pgqd running?';
	ELSE
		state := 'ok';
		IF sync_state IN ('sync', 'quorum') THEN
			problem := 'Commits wait for pgqd: synchronous_standby_names counts it as a standby; name the standbys there.';
		END IF;
	END IF;
	problem := coalesce(row_problem
		|| coalesce('; changes are missing from ' || missing_from
			|| ', "pgqadm resync" starts anew', ''), problem);
	RETURN NEXT;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_slot_info() IS
	'Tells how far the changes of captured tables are in the queues; no row before start_capture.';


CREATE OR REPLACE FUNCTION pgq.get_capture_info(
	i_queue text,
	OUT queue_name text,
	OUT table_name text,
	OUT arguments text[],
	OUT replica_identity text,
	OUT state text,
	OUT warnings text[],
	OUT failed_rows int8,
	OUT large_events int8)
RETURNS SETOF record AS $$
DECLARE
	slot record;
	table_problem text;
	relid regclass;
	copying bool;
	trouble record;
BEGIN
	SELECT * INTO slot FROM pgq.get_slot_info();

	FOR queue_name, relid, arguments, copying IN
		SELECT m.* FROM (
			SELECT c.cap_queue, c.cap_relid, c.cap_args,
				   c.cap_copy IS NOT NULL
			FROM pgq.capture c
			UNION ALL
			SELECT p.copy_queue, p.copy_relid, p.copy_args, NULL
			FROM pgq.copy p
			WHERE p.copy_state = 'waiting'
			  AND NOT EXISTS (SELECT FROM pgq.capture c
							  WHERE c.cap_queue = p.copy_queue
								AND c.cap_relid = p.copy_relid)
			) m (queue, relid, args, copying)
		WHERE m.queue = i_queue OR i_queue IS NULL
		ORDER BY m.queue, m.relid::text
	LOOP
		-- search_path is pinned, so this has the schema
		table_name := relid::text;

		-- rows are in the WAL as their partition's identity says; an array
		-- lets the index of pg_class find them (and pg_partition_tree()
		-- would keep locks on all)
		SELECT string_agg(DISTINCT i.ident, ', ' ORDER BY i.ident)
		INTO replica_identity
		FROM (SELECT CASE r.relreplident WHEN 'd' THEN 'default'
							WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full'
							ELSE 'index' END AS ident, r.relkind
				FROM pg_class r
				WHERE r.oid = ANY (ARRAY(
					WITH RECURSIVE tree (oid, kind) AS (
						SELECT c.oid, c.relkind FROM pg_class c
						WHERE c.oid = relid
						UNION ALL
						SELECT c.oid, c.relkind
						FROM tree t
							 JOIN pg_inherits h ON h.inhparent = t.oid
							 JOIN pg_class c ON c.oid = h.inhrelid
						WHERE t.kind = 'p')
					SELECT t.oid FROM tree t))) AS i
		WHERE i.relkind <> 'p';

		table_problem := pgq._capture_problem(relid, arguments);
		warnings := pgq._capture_warnings(relid, arguments);
		IF table_problem IS NOT NULL THEN
			state := 'broken';
			warnings := table_problem || warnings;
		ELSIF slot.slot_name IS NULL
			OR slot.state IN ('missing', 'lost', 'problem') THEN
			state := 'no slot';
			warnings := coalesce(slot.problem,
				'Capture is not started: call pgq.start_capture().')
				|| warnings;
		ELSIF NOT EXISTS (SELECT FROM pgq.queue q
				WHERE q.queue_name = get_capture_info.queue_name) THEN
			state := 'no queue';
		ELSE
			state := CASE copying WHEN true THEN 'copying'
						WHEN false THEN 'ok' ELSE 'waiting' END;
			IF slot.state NOT IN ('ok', 'standby') THEN
				warnings := warnings || slot.problem;
			END IF;
			IF state = 'waiting' THEN
				warnings := warnings || 'It waits for pgqd to copy it, and is captured from then on.'::text;
			ELSIF state = 'copying' THEN
				warnings := warnings || (
					SELECT CASE WHEN i.state = 'cancelled'
						THEN 'Its copy is given up; changes are held until pgqd has done so.'
						ELSE format('%s%% of it is copied, %s rows; changes are held until all are.',
							trunc(i.share * 100), i.copied_rows) END
					FROM pgq.get_copy_info() i
					WHERE i.queue_name = get_capture_info.queue_name
					  AND i.table_name = get_capture_info.table_name);
			END IF;
		END IF;

		failed_rows := 0;
		large_events := 0;
		FOR trouble IN
			SELECT t.* FROM pgq.capture_trouble t
				 JOIN pg_class c ON c.oid = relid
				 JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE t.ctr_queue = get_capture_info.queue_name
			  AND t.ctr_table = n.nspname || '.' || c.relname
			ORDER BY t.ctr_kind
		LOOP
			IF trouble.ctr_kind = 'L' THEN
				state := 'broken';
				large_events := trouble.ctr_count;
				warnings := format('%s events were too large and have their key only, the last one at %s.',
					trouble.ctr_count, trouble.ctr_last) || warnings;
			ELSIF trouble.ctr_kind = 'R' THEN
				state := 'broken';
				warnings := format('%s events could not be written and have their key only, the last one at %s: %s. Mend that, then capture the table again with argument copy.',
					trouble.ctr_count, trouble.ctr_last, trouble.ctr_reason)
					|| warnings;
			ELSIF trouble.ctr_kind = 'B' THEN
				state := 'broken';
				warnings := format('%s changes have no event, the last one at %s: %s. Mend that, then capture the table again with argument copy.',
					trouble.ctr_count, trouble.ctr_last, trouble.ctr_reason)
					|| warnings;
			ELSE
				failed_rows := trouble.ctr_count;
				warnings := warnings || format('An expression failed on %s rows, the last time at %s; its field is NULL there.',
					trouble.ctr_count, trouble.ctr_last);
			END IF;
		END LOOP;
		RETURN NEXT;
	END LOOP;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_capture_info(text) IS
	'Lists the tables that are captured into a queue, with what their events lack and whether they still can be captured.';


CREATE OR REPLACE FUNCTION pgq.get_capture_info(
	OUT queue_name text,
	OUT table_name text,
	OUT arguments text[],
	OUT replica_identity text,
	OUT state text,
	OUT warnings text[],
	OUT failed_rows int8,
	OUT large_events int8)
RETURNS SETOF record AS $$
	SELECT * FROM pgq.get_capture_info(NULL::text);
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq.get_capture_info() IS
	'Lists the tables that are captured into queues, with what their events lack and whether they still can be captured.';


CREATE OR REPLACE FUNCTION pgq.capture_transactions(i_queue text, i_on bool DEFAULT true)
RETURNS int4 AS $$
DECLARE
	n int4;
BEGIN
	-- The lock also keeps two callers from inserting the same row.
	PERFORM FROM pgq.queue WHERE queue_name = i_queue FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'queue "%" does not exist', i_queue
			USING ERRCODE = 'undefined_object',
				HINT = 'Create it with pgq.create_queue(); pgq.get_queue_info() lists the queues.';
	END IF;
	IF octet_length(i_queue) > 2000 THEN
		RAISE EXCEPTION 'name of the queue is too long'
			USING ERRCODE = 'program_limit_exceeded',
				HINT = 'Use a queue with a shorter name.';
	END IF;
	IF i_on THEN
		INSERT INTO pgq.capture_transaction (ctx_queue)
		SELECT i_queue
		WHERE NOT EXISTS (SELECT FROM pgq.capture_transaction
						  WHERE ctx_queue = i_queue);
	ELSE
		DELETE FROM pgq.capture_transaction WHERE ctx_queue = i_queue;
	END IF;
	GET DIAGNOSTICS n = ROW_COUNT;
	PERFORM pgq._invalidate_capture();
	RETURN n;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.capture_transactions(text, bool) IS
	'Puts events of type pgq.begin and pgq.commit around the captured transactions of a queue; returns 1 when that is new.';
-- capture_schema.sql: capture all tables of a schema, those made later too.
--
-- A rule in pgq.capture_schema is what capture_schema was told; every table
-- has a mark of its own, set when the rule is made or, by the event trigger
-- pgq_capture_ddl, when the table is.

CREATE OR REPLACE FUNCTION pgq._capture_schema_set(
	i_queue text, i_schema name, i_args text[])
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq__capture_schema_set' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._capture_schema_set(text, name, text[]) IS
	'Notes that tables of a schema are to be captured; a part of capture_schema.';

CREATE OR REPLACE FUNCTION pgq._capture_schema_unset(i_queue text, i_schema name)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq__capture_schema_unset' LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._capture_schema_unset(text, name) IS
	'Forgets that tables of a schema are to be captured; a part of uncapture_schema.';


CREATE OR REPLACE FUNCTION pgq._capture_schema_tables(i_schema name)
RETURNS SETOF regclass AS 'MODULE_PATHNAME', 'pgq__capture_schema_tables'
LANGUAGE C STRICT;
COMMENT ON FUNCTION pgq._capture_schema_tables(name) IS
	'Lists the tables of a schema that capture_schema is about.';


CREATE OR REPLACE FUNCTION pgq.capture_schema(
	i_queue text, i_schema name, VARIADIC i_args text[] DEFAULT '{}')
RETURNS int4 AS $$
DECLARE
	old_args text[];
	is_new int4;
	tab regclass;
	tab_args text[];
	-- Tables that are made later have no rows to copy.
	rule_args text[] := array_remove(i_args, 'copy');
BEGIN
	IF i_queue IS NULL OR i_schema IS NULL OR i_args IS NULL THEN
		RAISE EXCEPTION 'arguments of pgq.capture_schema() must not be null'
			USING ERRCODE = 'null_value_not_allowed',
				HINT = 'Give the names of the queue and of the schema.';
	END IF;
	SELECT r.cps_args INTO old_args FROM pgq.capture_schema r
	WHERE r.cps_schema = i_schema AND r.cps_queue = i_queue;
	is_new := pgq._capture_schema_set(i_queue, i_schema, rule_args);

	FOR tab, tab_args IN
		SELECT t.tab, i.arguments
		FROM pgq._capture_schema_tables(i_schema) t(tab)
			 LEFT JOIN pgq.get_capture_info(i_queue) i
				ON i.table_name = t.tab::text
		ORDER BY t.tab::oid
	LOOP
		-- Tables with arguments of their own keep them.
		IF tab_args IS NULL OR tab_args = old_args THEN
			PERFORM pgq.capture_table(i_queue, tab, VARIADIC i_args);
		END IF;
	END LOOP;
	RETURN is_new;
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.capture_schema(text, name, text[]) IS
	'Captures all tables of a schema into a queue, those made later too; returns 1 when that is new.';


CREATE OR REPLACE FUNCTION pgq.uncapture_schema(i_queue text, i_schema name)
RETURNS int4 AS $$
DECLARE
	old_args text[];
	gone int4;
	tab regclass;
BEGIN
	SELECT r.cps_args INTO old_args FROM pgq.capture_schema r
	WHERE r.cps_schema = i_schema AND r.cps_queue = i_queue;
	gone := pgq._capture_schema_unset(i_queue, i_schema);

	FOR tab IN
		SELECT t.tab FROM pgq._capture_schema_tables(i_schema) t(tab)
			 JOIN pgq.get_capture_info(i_queue) i ON i.table_name = t.tab::text
		WHERE i.arguments = old_args
		ORDER BY t.tab::oid
	LOOP
		PERFORM pgq.uncapture_table(i_queue, tab);
	END LOOP;
	RETURN coalesce(gone, 0);
END;
$$ LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgq.uncapture_schema(text, name) IS
	'Ends the capture of a schema''s tables, but for those with arguments of their own; returns 1, or 0 when there was none.';
-- What keeps events from moving just now, with its cause: one list for pgqd's
-- log and HTTP, pgqadm status, top and doctor.
--
-- The texts stay the same while nothing changes: how long it has been so is in
-- a column of its own.

CREATE OR REPLACE FUNCTION pgq._sync_standby_problem()
RETURNS text AS $$
	SELECT string_agg(
		CASE WHEN r.slot_name IS NULL
				THEN format('there is no slot "%s"', n.name)
			 WHEN NOT r.active
				THEN format('nobody reads slot "%s"', n.name)
			 ELSE format('the standby of slot "%s" is behind', n.name) END,
		', ' ORDER BY r.slot_name IS NOT NULL, r.active, n.name)
	FROM (SELECT btrim(s.name, ' "') AS name
		  FROM string_to_table(
			current_setting('synchronized_standby_slots', true), ',') s (name)
		 ) n
		 LEFT JOIN pg_replication_slots r ON r.slot_name = n.name
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._sync_standby_problem() IS
	'Tells how the slots of synchronized_standby_slots are.';


-- What session i_pid waits for, and by whose fault.
CREATE OR REPLACE FUNCTION pgq._lock_problem(i_pid int4, OUT problem text,
											 OUT holder int4)
AS $$
	SELECT format('session %s waits for a lock%s that process %s holds%s',
			s.application_name,
			coalesce(' on ' || (
				SELECT CASE WHEN l.relation IS NOT NULL
						AND l.database = (SELECT d.oid FROM pg_database d
									WHERE d.datname = current_database())
						THEN l.relation::regclass::text
						ELSE l.locktype END
				FROM pg_locks l WHERE l.pid = i_pid AND NOT l.granted
				LIMIT 1), ''),
			b.pid,
			coalesce(format(' ("%s", role %s, %s)', h.application_name,
							h.usename, coalesce(h.state, h.backend_type)), '')),
		b.pid
	FROM pg_stat_activity s
		 CROSS JOIN LATERAL (SELECT (pg_blocking_pids(s.pid))[1] AS pid) b
		 LEFT JOIN pg_stat_activity h ON h.pid = b.pid
	WHERE s.pid = i_pid AND b.pid IS NOT NULL
$$ LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._lock_problem(int4) IS
	'Tells which lock a session waits for, and who holds it; no text when it does not.';


CREATE OR REPLACE FUNCTION pgq._stands_still(i_walsender int4)
RETURNS bool AS $$
DECLARE
	flushed pg_lsn := pg_current_wal_flush_lsn();
	sent pg_lsn;
BEGIN
	SELECT w.sent_lsn INTO sent FROM pg_stat_replication w
	WHERE w.pid = i_walsender;
	IF (sent < flushed) IS NOT TRUE THEN
		RETURN false;
	END IF;
	-- what was flushed this moment it may not have seen yet
	PERFORM pg_sleep(1);
	RETURN EXISTS (SELECT FROM pg_stat_replication w
				   WHERE w.pid = i_walsender AND w.sent_lsn = sent);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION pgq._stands_still(int4) IS
	'Tells whether a walsender has WAL to send and does not.';


CREATE OR REPLACE FUNCTION pgq.get_problems(
	OUT kind text,
	OUT object text,
	OUT problem text,
	OUT hint text,
	OUT age interval)
RETURNS SETOF record AS $$
DECLARE
	-- what takes no longer is no problem
	patience interval := '6 seconds';
	right_now timestamptz := clock_timestamp();
	has_pgqd bool;
	slot record;
	reader record;
BEGIN
	IF pg_is_in_recovery() THEN
		RETURN;
	END IF;
	has_pgqd := EXISTS (SELECT FROM pg_stat_activity a
						WHERE a.datname = current_database()
						  AND a.application_name ~ '^pgqd(/|$)');

	IF NOT has_pgqd THEN
		kind := 'pgqd';
		object := current_database();
		problem := 'pgqd does not look after this database: no ticks, nothing arrives';
		hint := 'Start pgqd; if it runs, see base_connstr and database_list in its ini file, and its log.';
		RETURN NEXT;
	END IF;

	-- locks that our sessions wait for
	hint := 'End that transaction, or what it waits for itself; pg_terminate_backend() ends its session.';
	kind := 'lock';
	FOR object, problem, age IN
		SELECT a.application_name, l.problem, right_now - a.query_start
		FROM pg_stat_activity a
			 CROSS JOIN LATERAL pgq._lock_problem(a.pid) l
		WHERE a.datname = current_database()
		  AND a.application_name LIKE 'pgqd/%' AND a.wait_event_type = 'Lock'
		  AND a.query_start < right_now - patience AND l.problem IS NOT NULL
		ORDER BY a.application_name
	LOOP
		RETURN NEXT;
	END LOOP;

	-- commits that a synchronous standby holds up: their events wait, too
	SELECT right_now - min(a.query_start) INTO age
	FROM pg_stat_activity a
	WHERE a.datname = current_database() AND a.wait_event = 'SyncRep'
	  AND a.query_start < right_now - patience;
	IF age IS NOT NULL THEN
		kind := 'commit';
		object := 'synchronous_standby_names';
		problem := format('commits wait for a synchronous standby: synchronous_standby_names is "%s", connected are: %s',
			current_setting('synchronous_standby_names'),
			coalesce((SELECT string_agg(DISTINCT w.application_name, ', ')
					  FROM pg_stat_replication w
					  WHERE w.application_name NOT LIKE 'pgqd/%'), 'none'));
		hint := 'Start the standby, or take it out of synchronous_standby_names.';
		RETURN NEXT;
	END IF;

	-- not to hang where all others do
	BEGIN
		-- the slot: who reads it, and what for does that one wait?
		SELECT i.* INTO slot FROM pgq.get_slot_info() i
		WHERE i.state IN ('ok', 'inactive');
		SELECT a.pid, a.application_name, a.usename, a.wait_event_type,
			   a.wait_event INTO reader
		FROM pg_replication_slots r JOIN pg_stat_activity a ON a.pid = r.active_pid
		WHERE r.slot_name = slot.slot_name;
		kind := 'slot';
		object := slot.slot_name;
		age := slot.lag_time;
		IF reader.application_name NOT LIKE 'pgqd/%' THEN
			kind := 'reader';
			problem := format('slot "%s" is read by another program, "%s" of role %s, process %s: what it confirms never reaches the queues',
				slot.slot_name, reader.application_name, reader.usename, reader.pid);
			hint := format('End it: SELECT pg_terminate_backend(%s); and see whether changes are missing.',
				reader.pid);
			RETURN NEXT;
		ELSIF reader.wait_event = 'WaitForStandbyConfirmation'
			AND slot.lag_time > patience THEN
			problem := format('slot "%s" waits for the standbys in synchronized_standby_slots: %s',
				slot.slot_name, pgq._sync_standby_problem());
			hint := 'Start that standby, or take its slot out of synchronized_standby_slots.';
			RETURN NEXT;
		ELSIF slot.state = 'inactive' AND has_pgqd AND slot.lag_time > patience THEN
			kind := 'unread';
			problem := format('pgqd is connected, but nobody reads slot "%s"',
				slot.slot_name);
			hint := 'See its log for the reason; its ini file must not say ingest = 0.';
			RETURN NEXT;
		ELSIF slot.lag_time > patience AND reader.wait_event_type <> 'IO'
			AND pgq._stands_still(reader.pid) THEN
			-- it waits for something, and there is WAL for it
			kind := 'stream';
			problem := format('slot "%s" does not move, though there is WAL for it: its walsender, process %s, waits for %s',
				slot.slot_name, reader.pid, reader.wait_event);
			hint := format('See whether that process and pgqd are stopped; to make pgqd connect anew: SELECT pg_terminate_backend(%s);',
				reader.pid);
			RETURN NEXT;
		END IF;

		-- queues that nobody ticks; a pause is somebody's will
		FOR kind, object, problem, hint, age IN
			SELECT CASE WHEN q.queue_external_ticker THEN 'ticker' ELSE 'tick' END,
				q.queue_name, CASE WHEN q.queue_external_ticker
					THEN format('queue "%s" has an external ticker, which has not ticked it lately',
								q.queue_name)
					ELSE format('pgqd is connected, but has not ticked queue "%s" lately',
								q.queue_name) END,
				CASE WHEN q.queue_external_ticker
					THEN format('Start what ticks it, or let pgqd do it: SELECT pgq.set_queue_config(%L, ''external_ticker'', ''false'');',
								q.queue_name)
					ELSE 'See its log for the reason.' END,
				right_now - t.tick_time
			FROM pgq.queue q
				 CROSS JOIN LATERAL (
					SELECT t.tick_time FROM pgq.tick t
					WHERE t.tick_queue = q.queue_id
					ORDER BY t.tick_id DESC LIMIT 1) t
			WHERE NOT q.queue_ticker_paused
			  AND (q.queue_external_ticker OR has_pgqd)
			  AND t.tick_time < right_now - q.queue_ticker_idle_period
								- q.queue_ticker_max_lag - patience
			ORDER BY q.queue_name
		LOOP
			RETURN NEXT;
		END LOOP;
	EXCEPTION WHEN lock_not_available THEN
		kind := 'lock';
		hint := 'End that transaction, or what it waits for itself; pg_terminate_backend() ends its session.';
		age := NULL;
		FOR object, problem IN
			SELECT l.relation::regclass::text,
				format('table %s is locked by process %s ("%s", role %s, %s)',
					l.relation::regclass, a.pid, a.application_name, a.usename,
					a.state)
			FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
			WHERE l.granted AND l.mode = 'AccessExclusiveLock'
			  AND l.relation IN (SELECT c.oid FROM pg_class c
								 WHERE c.relnamespace = 'pgq'::regnamespace
								   AND c.relkind = 'r')
			ORDER BY 1, a.pid
		LOOP
			RETURN NEXT;
		END LOOP;
	END;
END;
$$ LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET lock_timeout = '1s';

COMMENT ON FUNCTION pgq.get_problems() IS
	'Tells what keeps events from moving just now, why, and what to do; no row when nothing does.';
-- triggers_4_0.sql: what of PgQ 4.0 needs functions and is made once: triggers, and
-- the first secret. Frozen, as tables_4_0.sql is.

SELECT pgq._new_secret();

-- In place of foreign keys, see tables_4_0.sql.
CREATE OR REPLACE TRIGGER forget_bookmark AFTER DELETE ON pgq.subscription
	FOR EACH ROW EXECUTE FUNCTION pgq._forget_bookmark();

CREATE OR REPLACE TRIGGER forget_relay AFTER DELETE ON pgq.subscription
	FOR EACH ROW EXECUTE FUNCTION pgq._forget_relay();

-- ALTER INDEX renames tables, too, and ALTER VIEW their columns; CREATE may add
-- a partition, or a table to a captured schema.
CREATE EVENT TRIGGER pgq_capture_ddl ON ddl_command_end
	WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER INDEX',
				 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER TYPE',
				 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS',
				 'SELECT INTO', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA')
	EXECUTE FUNCTION pgq._capture_ddl();
ALTER EVENT TRIGGER pgq_capture_ddl ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER pgq_capture_ddl IS
	'Keeps captured tables fit for their capture, and captures what comes into captured schemas.';

CREATE EVENT TRIGGER pgq_capture_drop ON sql_drop
	EXECUTE FUNCTION pgq._capture_drop();
ALTER EVENT TRIGGER pgq_capture_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER pgq_capture_drop IS
	'Ends the captures of dropped tables and schemas.';

CREATE EVENT TRIGGER pgq_capture_drop_index ON ddl_command_start
	WHEN TAG IN ('DROP INDEX')
	EXECUTE FUNCTION pgq._capture_drop_index();
ALTER EVENT TRIGGER pgq_capture_drop_index ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER pgq_capture_drop_index IS
	'Keeps the replica identity of captured tables.';
-- grants.sql: who may call what. Nothing is for PUBLIC but what is named so.

GRANT USAGE ON SCHEMA pgq TO PUBLIC;

-- Not of all functions in the schema: before an upgrade, people may have put
-- some of their own there.
DO $$
DECLARE
	func regprocedure;
BEGIN
	FOR func IN
		SELECT d.objid FROM pg_depend d
		WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		  AND d.refclassid = 'pg_extension'::regclass
		  AND d.refobjid = (SELECT e.oid FROM pg_extension e
							WHERE e.extname = 'pgq')
	LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', func);
	END LOOP;
END;
$$;

-- Everybody: look at the state of queues, and alter tables, with their own rights.
GRANT EXECUTE ON FUNCTION
	pgq.alter_captured(text),
	pgq.seq_getval(text),
	pgq.get_queue_info(),
	pgq.get_queue_info(text),
	pgq.get_consumer_info(),
	pgq.get_consumer_info(text),
	pgq.get_consumer_info(text, text),
	pgq.get_queue_size(text),
	pgq.get_lost_consumers(text),
	pgq.quote_fqname(text),
	pgq.event_key(text, text, text),
	pgq.version()
TO PUBLIC;

-- Readers: consume.
GRANT EXECUTE ON FUNCTION
	pgq.batch_event_sql(int8),
	pgq.batch_event_tables(int8),
	pgq.find_tick_helper(int4, int8, timestamptz, int8, int8, interval),
	pgq.register_consumer(text, text),
	pgq.register_consumer_at(text, text, int8),
	pgq.unregister_consumer(text, text),
	pgq.seek_consumer(text, text, timestamptz, bool),
	pgq.seek_consumer(text, text, int8, bool),
	pgq.next_batch_info(text, text),
	pgq.next_batch(text, text),
	pgq.next_batch_custom(text, text, interval, int4, interval),
	pgq.get_batch_events(int8),
	pgq.get_batch_info(int8),
	pgq.get_batch_cursor(int8, text, int4),
	pgq.get_batch_cursor(int8, text, int4, text),
	pgq.event_retry(int8, int8, timestamptz),
	pgq.event_retry(int8, int8, int4),
	pgq.batch_retry(int8, int4),
	pgq.event_dead(int8, int8, text),
	pgq.get_dead_events(text, text),
	pgq.requeue_dead_event(text, text, int8),
	pgq.purge_dead_events(text, text, timestamptz),
	pgq.force_tick(text),
	pgq.finish_batch(int8),
	pgq.set_bookmark(int8, text),
	pgq.get_bookmark(text, text),
	pgq.note_relay(text, text, text, text, text, float8),
	pgq.tick_channel(text)
TO pgq_reader;

-- Writers: produce, and capture tables that are theirs.
GRANT EXECUTE ON FUNCTION
	pgq.insert_event(text, text, text),
	pgq.insert_event(text, text, text, text, text, text, text),
	pgq.insert_event(text, text, jsonb),
	pgq.insert_event(text, text, jsonb, text, text, text, text),
	pgq.insert_events(text, text[], text[], text[], text[], text[], text[]),
	pgq.insert_event_once(text, text, text, text, interval, text, text, text,
						  text),
	pgq.insert_event_at(text, timestamptz, text, text, text, text, text,
						text),
	pgq.current_event_table(text),
	pgq.emit_event(text, text, text, text, text, text, text),
	pgq.emit_events(text, text[], text[]),
	pgq.jsontriga(),
	pgq.logutriga(),
	pgq.sqltriga(),
	pgq.capture_table(text, regclass, text[]),
	pgq.uncapture_table(text, regclass),
	pgq.cancel_copy(text, regclass),
	pgq.capture_trigger(regclass, name),
	pgq.capture_schema(text, name, text[]),
	pgq.uncapture_schema(text, name),
	pgq._capture_schema_set(text, name, text[]),
	pgq._capture_schema_unset(text, name),
	pgq._capture_schema_tables(name)
TO pgq_writer;

-- Both see the state of capture and may wait for it.
GRANT EXECUTE ON FUNCTION
	pgq.get_capture_info(),
	pgq.get_capture_info(text),
	pgq.get_copy_info(),
	pgq.get_slot_info(),
	pgq.get_limit_warnings(int8),
	pgq.get_relay_info(),
	pgq.get_problems(),
	pgq.wait_ingest(pg_lsn, interval)
TO pgq_reader, pgq_writer;

-- Administrators, which is also the role for the daemon.
GRANT EXECUTE ON FUNCTION
	pgq.ticker(),
	pgq.ticker(text),
	pgq.ticker(text, int8, timestamptz, int8),
	pgq.tick(text[], xid[]),
	pgq.tick_due(),
	pgq.ingest(text, pg_lsn, pg_lsn, bytea),
	pgq.ingest_problem(text, text, pg_lsn),
	pgq._next_copy(),
	pgq._start_copy(int8),
	pgq._begin_copy(int8, text, oid),
	pgq._copy_rows(),
	pgq._publish_copy(int8),
	pgq._copy_goes_on(int8),
	pgq._note_copy(int8, int8, int8, int8, int8),
	pgq._fail_copy(int8, text),
	pgq._clean_copies(),
	pgq.ingest_timeline(text, int4),
	pgq.start_capture(text),
	pgq.stop_capture(text),
	pgq.resync_capture(text, bool, regclass[]),
	pgq._resync_copies(bool, regclass[]),
	pgq._renew_slot(text),
	pgq._tell_resync(text, pg_lsn, pg_lsn),
	pgq.capture_transactions(text, bool),
	pgq.maint_retry_events(),
	pgq._move_retry_events(int4, text, int8),
	pgq._move_delayed_events(),
	pgq._is_over_size(pgq.queue),
	pgq._subscriptions(int4),
	pgq._queue_size(int4),
	pgq._drop_slowest(pgq.queue, int8),
	pgq._can_be_past_switch(pgq.queue),
	pgq._is_rotation_due(pgq.queue),
	pgq._is_retention_over(pgq.queue),
	pgq.maint_rotate_tables_step1(text),
	pgq._origin(),
	pgq.maint_rotate_tables_step2(),
	pgq.maint_tables_to_vacuum(),
	pgq.maint_positions(),
	pgq.maint_once_keys(),
	pgq.maint_operations(),
	pgq._has_function(name, name),
	pgq.upgrade_schema(),
	pgq.grant_perms(text),
	pgq._grant_perms_from(text, text, text, text),
	pgq.tune_storage(text),
	pgq.seq_setval(text, int8),
	pgq.create_queue(text),
	pgq.drop_queue(text, bool),
	pgq.drop_queue(text),
	pgq.set_queue_config(text, text, text),
	pgq.insert_event_raw(text, int8, timestamptz, int4, int4, text, text,
						 text, text, text, text),
	pgq.event_retry_raw(text, text, timestamptz, int8, timestamptz, int4,
						text, text, text, text, text, text)
TO pgq_admin;

-- Tables. The marks in pgq.capture and pgq.event_table are nobody's,
-- nor are pgq.secret and pgq.held_event.
GRANT SELECT ON pgq.consumer, pgq.queue, pgq.tick, pgq.subscription
	TO PUBLIC;
GRANT SELECT ON pgq.consumer, pgq.queue, pgq.tick, pgq.subscription,
	pgq.event_template
	TO pgq_reader;
GRANT SELECT, INSERT, UPDATE, DELETE
	ON pgq.consumer, pgq.queue, pgq.tick, pgq.subscription, pgq.retry_queue,
	   pgq.dead_event, pgq.delayed_event, pgq.once_key
	TO pgq_admin;
-- Copied to the event tables of each queue.
GRANT SELECT, INSERT, TRUNCATE ON pgq.event_template TO pgq_admin;
GRANT SELECT ON pgq.slot, pgq.position, pgq.copy TO pgq_admin;
GRANT SELECT ON pgq.capture_schema TO pgq_reader, pgq_writer;
