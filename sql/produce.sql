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
