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
