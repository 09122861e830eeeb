-- Cooperating consumers share the batches of one subscription, and neither lose
-- one nor hold up rotation, whichever function closes it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE EXTENSION pgq_coop;
CREATE ROLE regress_coop_none;
CREATE ROLE regress_coop_reader IN ROLE pgq_reader;
RESET client_min_messages;
\set SHOW_CONTEXT never

-- the catalogue
\a
SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ')' AS signature,
	pg_get_function_result(oid) AS result, prosecdef AS definer, proisstrict AS strict,
	proconfig AS settings, obj_description(oid, 'pg_proc') IS NOT NULL AS comment,
	(SELECT string_agg(CASE WHEN a.grantee = 0 THEN 'PUBLIC'
			ELSE pg_get_userbyid(a.grantee)::text END, ' ')
		FROM aclexplode(proacl) a WHERE a.grantee <> proowner) AS granted_to
FROM pg_proc p WHERE pronamespace = 'pgq_coop'::regnamespace
ORDER BY p.proname COLLATE "C", pronargs;
\a
SELECT pgq_coop.version() = extversion AS same FROM pg_extension WHERE extname = 'pgq_coop';
SELECT r.extname AS requires FROM pg_extension e JOIN pg_depend d
	ON d.classid = 'pg_extension'::regclass AND d.objid = e.oid
	AND d.refclassid = 'pg_extension'::regclass JOIN pg_extension r ON r.oid = d.refobjid
WHERE e.extname = 'pgq_coop';

SELECT pgq.create_queue('coop');
SELECT pgq.set_queue_config('coop', p, '0')
FROM (VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
CREATE TEMP VIEW subs AS
SELECT c.co_name, s.sub_id = first_value(s.sub_id) OVER (ORDER BY c.co_name COLLATE "C") AS same_id,
	s.sub_last_tick AS last, s.sub_next_tick AS next, s.sub_batch IS NOT NULL AS batch
FROM pgq.subscription s JOIN pgq.consumer c ON c.co_id = s.sub_consumer
	JOIN pgq.queue q ON q.queue_id = s.sub_queue
WHERE q.queue_name = 'coop' ORDER BY c.co_name COLLATE "C";
\set tick 'SELECT pgq.ticker(\'coop\') IS NOT NULL AS ticked'
-- how long ago a consumer was last seen
CREATE FUNCTION pg_temp.silent(i_name text, i_time interval) RETURNS void AS $$
	UPDATE pgq.subscription s SET sub_active = now() - i_time
	FROM pgq.consumer c WHERE c.co_id = s.sub_consumer AND c.co_name = i_name
$$ LANGUAGE sql;

-- registering
SELECT pgq_coop.register_subconsumer('coop', 'm', 's1'),
	pgq_coop.register_subconsumer('coop', 'm', 's1'),
	pgq_coop.register_subconsumer('coop', 'm', 's2');
SELECT * FROM subs;
SELECT pgq_coop.register_subconsumer('coop none', 'm', 's1');
\set VERBOSITY terse
SELECT pgq_coop.register_subconsumer('coop', 'm', NULL);
\set VERBOSITY default

-- each gets a batch of its own; a batch stays whose it is
SELECT pgq_coop.next_batch('coop', 'm', 's1') AS nothing;
SELECT pgq.insert_event('coop', 't', 'one') AS id \gset
:tick \gset
SELECT pgq.insert_event('coop', 't', 'two') AS id \gset
:tick \gset
SELECT pgq.insert_event('coop', 't', 'three') AS id \gset
:tick \gset
SELECT pgq_coop.next_batch('coop', 'm', 's1') AS b1 \gset
SELECT pgq_coop.next_batch('coop', 'm', 's2') AS b2 \gset
SELECT pgq_coop.next_batch('coop', 'm', 's1') = :b1 AS same;
-- registers on demand
SELECT pgq_coop.next_batch_custom('coop', 'm', 's3', NULL, NULL, NULL) AS b3 \gset
SELECT pgq_coop.next_batch_custom('coop', 'm', 's4', '1 hour', NULL, NULL) AS nothing;
SELECT * FROM subs;
SELECT ev_data FROM pgq.get_batch_events(:b1);
SELECT ev_data FROM pgq.get_batch_events(:b2);
SELECT ev_data FROM pgq.get_batch_cursor(:b3, 'walker', 10);
SELECT consumer_name, prev_tick_id, tick_id FROM pgq.get_batch_info(:b2);
SELECT queue_name, consumer_name, last_tick, next_tick, current_batch IS NOT NULL AS batch, pending_events
FROM pgq.get_consumer_info('coop');

-- finished by whichever function: no position is left behind
SELECT pgq_coop.finish_batch(:b1), pgq.finish_batch(:b2);
SELECT * FROM subs;
SET client_min_messages = error;
SELECT pgq_coop.finish_batch(:b1), pgq.finish_batch(:b2);
RESET client_min_messages;
SELECT pgq_coop.finish_batch(-1), pgq_coop.finish_batch(NULL);
-- the open batch still holds up rotation, and nothing else does
UPDATE pgq.queue SET queue_rotation_period = '0' WHERE queue_name = 'coop';
SELECT pgq.maint_rotate_tables_step1('coop');
SELECT pgq.maint_rotate_tables_step2();
SELECT pgq.maint_rotate_tables_step1('coop');
SELECT queue_cur_table FROM pgq.queue WHERE queue_name = 'coop';
SELECT pgq.ticker('coop');
SELECT pgq_coop.finish_batch(:b3);
SELECT pgq.maint_rotate_tables_step1('coop');
SELECT queue_cur_table FROM pgq.queue WHERE queue_name = 'coop';
SELECT pgq_coop.finish_batch(pgq_coop.next_batch('coop', 'm', 's1'));
SELECT pgq.maint_rotate_tables_step1('coop');
SELECT pgq.maint_rotate_tables_step2();
SELECT queue_cur_table FROM pgq.queue WHERE queue_name = 'coop';
UPDATE pgq.queue SET queue_rotation_period = '2 hours' WHERE queue_name = 'coop';

-- a batch of the main consumer itself: closed by pgq_coop, it keeps its position
SELECT pgq.insert_event('coop', 't', 'four') AS id \gset
:tick \gset
SELECT pgq_coop.next_batch('coop', 'm', 's1') AS b1 \gset
SELECT pgq.insert_event('coop', 't', 'five') AS id \gset
:tick \gset
SELECT pgq.next_batch('coop', 'm') AS bm \gset
\set VERBOSITY terse
SELECT pgq_coop.next_batch('coop', 'm', 's2');
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT pgq_coop.finish_batch(:bm), pgq_coop.finish_batch(:b1);
SELECT co_name, last IS NOT NULL AS last, next, batch FROM subs;
SELECT pgq.next_batch('coop', 'm') AS nothing;

-- what is retried comes to whichever gets the batch with it
SELECT pgq.insert_event('coop', 't', 'six') AS id \gset
:tick \gset
SELECT pgq_coop.next_batch('coop', 'm', 's1') AS b1 \gset
SELECT pgq.event_retry(:b1, ev_id, 0) FROM pgq.get_batch_events(:b1);
SELECT pgq_coop.finish_batch(:b1);
SELECT pgq.maint_retry_events();
SELECT pgq.ticker('coop') IS NOT NULL AS ticked;
SELECT pgq_coop.next_batch('coop', 'm', 's2') AS b2 \gset
SELECT ev_data, ev_retry FROM pgq.get_batch_events(:b2);
-- what is given up belongs to the main consumer
SELECT pgq.event_dead(:b2, ev_id, 'broken') FROM pgq.get_batch_events(:b2);
SELECT consumer_name, dead_reason, ev_data FROM pgq.get_dead_events('coop', NULL);
SELECT pgq_coop.finish_batch(:b2);

-- of the dead, the one that was silent for longest goes first; its batch is taken over
SELECT pgq.insert_event('coop', 't', 'seven') AS id \gset
:tick \gset
SELECT pgq.insert_event('coop', 't', 'eight') AS id \gset
:tick \gset
SELECT pgq_coop.next_batch('coop', 'm', 's1') AS b1 \gset
SELECT pgq_coop.next_batch('coop', 'm', 's2') AS b2 \gset
SELECT pg_temp.silent('m', '1 year'), pg_temp.silent('m.s1', '2 hours'),
	pg_temp.silent('m.s2', '3 hours'), pg_temp.silent('m.s3', '4 hours'),
	pg_temp.silent('m.s4', '30 minutes');
SELECT pgq_coop.next_batch('coop', 'm', 's5', '1 day') AS nothing;
SELECT pgq_coop.next_batch('coop', 'm', 's5', '1 hour') AS nothing;
SELECT co_name, batch FROM subs;
SELECT pgq_coop.next_batch('coop', 'm', 's5', '1 hour') = :b2 AS taken_over;
SELECT co_name, batch FROM subs;
SELECT pgq_coop.next_batch_custom('coop', 'm', 's6', NULL, NULL, NULL, '1 hour') = :b1 AS taken_over;
SELECT co_name, batch FROM subs;
SELECT ev_data FROM pgq.get_batch_events(:b2);
-- their names are gone with them
SELECT co_name FROM pgq.consumer WHERE co_name LIKE 'm.%' ORDER BY 1;
SELECT pgq_coop.finish_batch(:b1), pgq_coop.finish_batch(:b2);
-- who asks in vain is not dead
SELECT pg_temp.silent('m.s4', '50 minutes');
SELECT pgq_coop.next_batch('coop', 'm', 's4', '1 hour') AS nothing;
SELECT last_seen < '1 minute' AS seen FROM pgq.get_consumer_info('coop', 'm.s4');

-- unregistering
SELECT pgq.insert_event('coop', 't', 'nine') AS id \gset
:tick \gset
SELECT pgq_coop.next_batch('coop', 'm', 's4') AS b4 \gset
\set VERBOSITY terse
SELECT pgq_coop.unregister_subconsumer('coop', 'm', 's4', 0);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq_coop.unregister_subconsumer('coop', 'm', 's4', NULL);
\set VERBOSITY default
SELECT pgq_coop.unregister_subconsumer('coop', 'm', 's4', 1),
	pgq_coop.unregister_subconsumer('coop', 'm', 's4', 1),
	pgq_coop.unregister_subconsumer('coop none', 'm', 's4', 1);
SELECT pgq.unregister_consumer('coop', 'm.s5');
-- a name that somebody else needs, stays
CREATE TABLE coop_fk (name text REFERENCES pgq.consumer (co_name));
INSERT INTO coop_fk VALUES ('m.s6');
SELECT pgq_coop.unregister_subconsumer('coop', 'm', 's6', 0);
SELECT co_name FROM pgq.consumer WHERE co_name LIKE 'm.%' ORDER BY 1;
DROP TABLE coop_fk;
SELECT pgq_coop.register_subconsumer('coop', 'm', 's6'), pgq_coop.register_subconsumer('coop', 'm', 's1');
SELECT * FROM subs;
-- the main consumer takes all along, batch or not
SELECT pgq.insert_event('coop', 't', 'ten') AS id \gset
:tick \gset
SELECT pgq.insert_event('coop', 't', 'eleven') AS id \gset
:tick \gset
SELECT pgq_coop.next_batch('coop', 'm', 's1') IS NOT NULL AS sub_batch,
	pgq.next_batch('coop', 'm') IS NOT NULL AS main_batch;
SELECT pgq.register_consumer('coop', 'm2');
SELECT pgq.unregister_consumer('coop', 'm');
SELECT co_name FROM subs;
SELECT co_name FROM pgq.consumer WHERE co_name LIKE 'm%' ORDER BY 1;

-- no mixing up with a consumer that only has such a name
SELECT pgq.register_consumer('coop', 'm2.own');
SELECT pgq_coop.register_subconsumer('coop', 'm2', 'own');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq_coop.unregister_subconsumer('coop', 'm2', 'own', 1);
SELECT pgq_coop.register_subconsumer('coop', 'm2', 's1');
SELECT pgq.register_consumer_at('coop', 'm2.s1', tick_id) FROM pgq.tick
	JOIN pgq.queue ON queue_id = tick_queue AND queue_name = 'coop' ORDER BY tick_id DESC LIMIT 1;
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.unregister_consumer('coop', 'm2');
SELECT co_name FROM subs;

-- rights
SET ROLE regress_coop_none;
SELECT pgq_coop.version() IS NOT NULL AS version;
SELECT pgq_coop.next_batch('coop', 'r', 's1');
SET ROLE regress_coop_reader;
SELECT pgq_coop.register_subconsumer('coop', 'r', 's1');
RESET ROLE;
SELECT pgq.insert_event('coop', 't', 'twelve') AS id \gset
:tick \gset
SET ROLE regress_coop_reader;
SELECT pgq_coop.next_batch('coop', 'r', 's1', '1 hour') AS b1 \gset
SELECT ev_data FROM pgq.get_batch_events(:b1);
SELECT pgq_coop.finish_batch(:b1), pgq_coop.unregister_subconsumer('coop', 'r', 's1', 0);
RESET ROLE;

-- rows that PgQ 3 left with a position are mended by an update
SELECT pgq_coop.register_subconsumer('coop', 'r', 's2');
UPDATE pgq.subscription SET sub_last_tick = 1 WHERE sub_consumer =
	(SELECT co_id FROM pgq.consumer WHERE co_name = 'r.s2');
UPDATE pg_extension SET extversion = '3.4' WHERE extname = 'pgq_coop';
SET client_min_messages = warning;
ALTER EXTENSION pgq_coop UPDATE;
RESET client_min_messages;
SELECT co_name, last IS NULL AS idle FROM subs WHERE co_name LIKE 'r%';
SELECT pgq_coop.version() = default_version AS newest
FROM pg_available_extensions WHERE name = 'pgq_coop';

SELECT pgq.drop_queue('coop', true);
DROP EXTENSION pgq_coop;
SELECT count(*) FROM pgq.consumer WHERE co_name ~ '^(m|m2|r)(\.|$)';
DROP ROLE regress_coop_none, regress_coop_reader;
