-- capture.sql: the capture slot; which tables are captured into which queues.

-- The slot.

CREATE FUNCTION pgq.start_capture(i_slot text DEFAULT NULL)
RETURNS text AS 'MODULE_PATHNAME', 'pgq_start_capture' LANGUAGE C;

COMMENT ON FUNCTION pgq.start_capture(text) IS
	'Creates the replication slot that feeds the queues of this database, or adopts it, and returns its name; needs REPLICATION.';


CREATE FUNCTION pgq.stop_capture(i_slot text DEFAULT NULL)
RETURNS int4 AS 'MODULE_PATHNAME', 'pgq_stop_capture' LANGUAGE C;

COMMENT ON FUNCTION pgq.stop_capture(text) IS
	'Drops the replication slot with its position; returns 1, or 0 if there was none.';


CREATE FUNCTION pgq.wait_ingest(
	i_lsn pg_lsn, i_timeout interval DEFAULT '10 seconds')
RETURNS bool AS 'MODULE_PATHNAME', 'pgq_wait_ingest' LANGUAGE C;

COMMENT ON FUNCTION pgq.wait_ingest(pg_lsn, interval) IS
	'Waits until all that committed before this LSN is in the queues; false when that takes longer than the timeout.';
