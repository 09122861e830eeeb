--
-- what relays tell of themselves
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
SELECT pgq.create_queue('rl');
SELECT pgq.register_consumer('rl', 'c');
-- no row without a consumer
SELECT pgq.note_relay('rl', 'none', 'file:x', 'running', '', 0),
	pgq.note_relay('none', 'c', 'file:x', 'running', '', 0);
SELECT * FROM pgq.get_relay_info();
SELECT pgq.insert_event('rl', 't', 'd') > 0;
SELECT pgq.force_tick('rl') IS NOT NULL, pgq.ticker() > 0;
SELECT pgq.next_batch('rl', 'c') AS b \gset
SELECT pgq.set_bookmark(:b, '42');
CREATE VIEW pg_temp.seen AS
SELECT queue_name, consumer_name, target, state, engine_position, ev_per_sec,
	pending_events, last_error, last_error_time > now() - interval '1 hour' AS error_time,
	batch = :b AS same_batch, lag < '1 hour' AS lag, last_seen < '1 minute' AS seen
FROM pgq.get_relay_info();
SELECT pgq.note_relay('rl', 'c', 'file:x', 'running', '', 12.5);
SELECT * FROM pg_temp.seen;
-- its last error stays when it is over, a state's beginning while it lasts
UPDATE pgq.relay SET rl_since = '2026-01-01';
SELECT pgq.note_relay('rl', 'c', 'file:x', 'running', '', 0);
SELECT since = '2026-01-01' FROM pgq.get_relay_info();
SELECT pgq.note_relay('rl', 'c', 'file:x', 'engine away', 'disk full', 0);
SELECT since > now() - interval '1 hour' FROM pgq.get_relay_info();
SELECT * FROM pg_temp.seen;
SELECT pgq.note_relay('rl', 'c', 'file:x', 'running', '', 0);
SELECT * FROM pg_temp.seen;
-- what any reader may tell does nothing to a terminal, and is not long
BEGIN;
SELECT pgq.note_relay('rl', 'c', E'a\nb\x1b[2Jc', E'run\x07ning', repeat('e', 5000), 'NaN');
SELECT target, state, length(last_error) FROM pgq.get_relay_info();
ROLLBACK;
-- one that was killed
UPDATE pgq.relay SET rl_seen = '2026-01-01', rl_rate = 7;
SELECT state, since = '2026-01-01' AS since, ev_per_sec FROM pgq.get_relay_info();
SELECT pgq.note_relay('rl', 'c', 'file:x', 'ended', '', 0);
UPDATE pgq.relay SET rl_seen = '2026-01-01';
SELECT state FROM pgq.get_relay_info();
-- it goes with the consumer
SELECT pgq.finish_batch(:b), pgq.unregister_consumer('rl', 'c');
SELECT count(*) FROM pgq.relay;
DROP VIEW pg_temp.seen;
SELECT pgq.drop_queue('rl', true);
