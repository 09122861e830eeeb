-- Producing events: what is stored, and what is refused with which code.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT pgq.create_queue('produce');
CREATE TEMP VIEW q AS SELECT * FROM pgq.queue WHERE queue_name = 'produce';
SELECT queue_data_pfx AS pfx, queue_event_seq AS seq FROM q \gset
CREATE TEMP VIEW events AS
SELECT ev_id, ev_time = now() AS now, ev_owner, ev_retry, ev_type, ev_data,
	ev_extra1, ev_extra2, ev_extra3, ev_extra4
FROM :pfx;

-- every field, and NULL in all of them
BEGIN;
SELECT pgq.insert_event('produce', 'type', 'data');
SELECT pgq.insert_event('produce', 'type', 'data', 'x1', NULL, '', 'x4');
SELECT pgq.insert_event('produce', NULL, NULL);
SELECT pgq.insert_event_raw('produce', NULL, NULL, 5, 6, 't', 'd', '1', '2', '3', '4');
SELECT pgq.insert_event_raw('produce', 1000, '2020-02-03 04:05:06Z', NULL, NULL, 't', 'd', NULL, NULL, NULL, NULL);
SELECT * FROM events ORDER BY ev_id;
SELECT count(*), bool_and(ev_txid = txid_current()) FROM :pfx;
-- the given id used up one of the sequence
SELECT pgq.seq_getval(:'seq');
COMMIT;
SELECT ev_time = '2020-02-03 04:05:06Z' FROM :pfx WHERE ev_id = 1000;

-- the transaction's id, also in a subtransaction; an aborted one leaves nothing
BEGIN;
SAVEPOINT a;
SELECT pgq.insert_event('produce', 'kept', '') IS NOT NULL;
RELEASE a;
SAVEPOINT b;
SELECT pgq.insert_event('produce', 'aborted', '') IS NOT NULL;
ROLLBACK TO b;
SELECT pgq.insert_event('produce', 'after', repeat('long', 100000)) IS NOT NULL;
SELECT ev_type, length(ev_data), ev_txid = txid_current() AS own
FROM :pfx WHERE ev_type IN ('kept', 'aborted', 'after') ORDER BY ev_id;
COMMIT;

-- mistakes
SELECT pgq.insert_event(NULL, 'type', 'data');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.insert_event('produce none', 'type', 'data');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.insert_event('', 'type', 'data');
SELECT pgq.insert_event_raw(NULL, 1, now(), NULL, NULL, 't', 'd', NULL, NULL, NULL, NULL);
BEGIN READ ONLY;
SELECT pgq.insert_event('produce', 'type', 'data');
ROLLBACK;

-- a disabled queue takes events of replica sessions only; the sequence moves
SELECT pgq.seq_getval(:'seq') AS seq_before \gset
UPDATE pgq.queue SET queue_disable_insert = true WHERE queue_name = 'produce';
SELECT pgq.insert_event('produce', 'type', 'data');
\echo :LAST_ERROR_SQLSTATE
SET session_replication_role = local;
SELECT pgq.insert_event('produce', 'type', 'data');
SELECT pgq.current_event_table('produce');
\echo :LAST_ERROR_SQLSTATE
SET session_replication_role = replica;
SELECT pgq.insert_event('produce', 'replica', 'data') IS NOT NULL;
SELECT pgq.current_event_table('produce') = :'pfx' || '_0';
RESET session_replication_role;
SELECT pgq.seq_getval(:'seq') - :seq_before AS moved;
UPDATE pgq.queue SET queue_disable_insert = false WHERE queue_name = 'produce';

-- changes of the queue's row count at once in the transaction that makes them
BEGIN;
SELECT pgq.insert_event('produce', 'before', '') IS NOT NULL;
UPDATE pgq.queue SET queue_disable_insert = true WHERE queue_name = 'produce';
SAVEPOINT a;
SELECT pgq.insert_event('produce', 'type', 'data');
ROLLBACK TO a;
UPDATE pgq.queue SET queue_disable_insert = false WHERE queue_name = 'produce';
SELECT pgq.insert_event('produce', 'after', '') IS NOT NULL;
SAVEPOINT b;
UPDATE pgq.queue SET queue_disable_insert = true WHERE queue_name = 'produce';
ROLLBACK TO b;
SELECT pgq.insert_event('produce', 'again', '') IS NOT NULL;
ROLLBACK;

-- a limit per transaction; what a savepoint undid still counts
UPDATE pgq.queue SET queue_per_tx_limit = 2 WHERE queue_name = 'produce';
BEGIN;
SELECT pgq.insert_event('produce', 'limit', '1') IS NOT NULL;
SAVEPOINT a;
SELECT pgq.insert_event('produce', 'limit', '2') IS NOT NULL;
ROLLBACK TO a;
SELECT pgq.insert_event('produce', 'limit', '3') IS NOT NULL;
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT count(pgq.insert_event('produce', 'limit', i::text)) FROM generate_series(1, 3) i;
SELECT count(pgq.insert_event('produce', 'limit', i::text)) FROM generate_series(1, 2) i;
UPDATE pgq.queue SET queue_per_tx_limit = 0 WHERE queue_name = 'produce';
SELECT pgq.insert_event('produce', 'limit', '');
UPDATE pgq.queue SET queue_per_tx_limit = -1 WHERE queue_name = 'produce';
SELECT pgq.insert_event('produce', 'limit', '') IS NOT NULL;
UPDATE pgq.queue SET queue_per_tx_limit = NULL WHERE queue_name = 'produce';

-- loading into the current table
BEGIN;
SELECT pgq.current_event_table('produce') AS cur \gset
SELECT :'cur' = :'pfx' || '_0';
INSERT INTO :cur (ev_time, ev_type, ev_data) VALUES (now(), 'loaded', 'data');
SELECT mode, granted FROM pg_locks
WHERE relation = :'cur'::regclass AND pid = pg_backend_pid() AND mode = 'RowExclusiveLock';
COMMIT;
SELECT pgq.current_event_table('produce none');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.current_event_table(NULL);

-- a subtransaction that is rolled back takes the lock with it, not for good
BEGIN;
SAVEPOINT a;
SELECT pgq.current_event_table('produce') IS NOT NULL;
ROLLBACK TO a;
SELECT pgq.insert_event('produce', 'type', 'data') IS NOT NULL;
SELECT mode, granted FROM pg_locks
WHERE relation = :'cur'::regclass AND pid = pg_backend_pid();
ROLLBACK;

-- after an error nothing is known that is not so
SELECT queue_event_seq AS seq FROM pgq.queue WHERE queue_name = 'produce' \gset
\set VERBOSITY sqlstate
BEGIN;
SET LOCAL client_min_messages = warning;
DROP SEQUENCE :seq CASCADE;
SAVEPOINT a;
SELECT pgq.insert_event('produce', 'type', 'data');
ROLLBACK TO a;
SELECT pgq.insert_event('produce', 'type', 'data');
ROLLBACK;
\set VERBOSITY default

-- someone replaces the function with seven arguments: the short one calls it
BEGIN;
CREATE OR REPLACE FUNCTION pgq.insert_event(
	queue_name text, ev_type text, ev_data text,
	ev_extra1 text, ev_extra2 text, ev_extra3 text, ev_extra4 text)
RETURNS int8 LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'insert_event(%, %, %, %)', queue_name, ev_type, ev_data, ev_extra1;
	RETURN -1;
END $$;
SELECT pgq.insert_event('produce', 'type', 'data');
SELECT pgq.insert_event(NULL, NULL, NULL);
ROLLBACK;
SELECT pgq.insert_event('produce', 'real again', 'data') > 0;

-- queue names are any text
SELECT pgq.create_queue(n), pgq.insert_event(n, 'type', n) FROM
	(VALUES (''), ('a "b" ''c''.d'), (repeat('long', 50)), ('ünï')) v(n);
SELECT pgq.drop_queue(n) FROM
	(VALUES (''), ('a "b" ''c''.d'), (repeat('long', 50)), ('ünï')) v(n);

-- writers need no rights on tables, and have none
CREATE ROLE produce_writer IN ROLE pgq_writer;
CREATE ROLE produce_nobody;
SET ROLE produce_writer;
SELECT pgq.insert_event('produce', 'writer', '') IS NOT NULL;
\set VERBOSITY sqlstate
INSERT INTO :cur (ev_time) VALUES (now());
\set VERBOSITY default
SELECT pgq.insert_event_raw('produce', 1, now(), NULL, NULL, 't', 'd', NULL, NULL, NULL, NULL);
SET ROLE produce_nobody;
SELECT pgq.insert_event('produce', 'nobody', '');
RESET ROLE;
DROP ROLE produce_writer, produce_nobody;

-- indexes that the owner adds are kept up
SELECT :'pfx' || '_0' AS first_table \gset
CREATE INDEX ON :first_table (upper(ev_type)) WHERE ev_data = 'indexed';
SELECT pgq.insert_event('produce', 'expr', 'indexed') IS NOT NULL,
	pgq.insert_event('produce', 'expr', 'not') IS NOT NULL;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*) FROM :first_table WHERE upper(ev_type) = 'EXPR' AND ev_data = 'indexed';
RESET enable_seqscan;
RESET enable_bitmapscan;

DROP VIEW events;
SELECT pgq.drop_queue('produce');
SELECT pgq.insert_event('produce', 'type', 'data');
