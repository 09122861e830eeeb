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
