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


CREATE OR REPLACE FUNCTION pgq.tick_awaited(i_period interval DEFAULT '0', i_wait interval DEFAULT '0')
RETURNS TABLE (queue_name text, tick_id int8, channel text)
AS 'MODULE_PATHNAME', 'pgq_tick_awaited'
LANGUAGE C VOLATILE;
COMMENT ON FUNCTION pgq.tick_awaited(interval, interval) IS
	'Ticks the queues that have events which a consumer waits for, or are due; returns them with their new ticks and channels. Looks each i_period, at most 10 seconds, until it has ticked one or i_wait, at most 10 seconds, is over; without i_period once.';


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
