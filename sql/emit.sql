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
