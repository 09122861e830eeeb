-- Consumers register at a tick, move, and go without leaving anything.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never

CREATE TEMP VIEW subs AS
SELECT q.queue_name, c.co_name, sub_last_tick, sub_batch IS NOT NULL AS open,
	sub_next_tick
FROM pgq.subscription JOIN pgq.queue q ON q.queue_id = sub_queue
	JOIN pgq.consumer c ON c.co_id = sub_consumer
WHERE q.queue_name LIKE 'queue_consumer%'
ORDER BY q.queue_name, c.co_name COLLATE "C";

SELECT pgq.register_consumer('queue_consumer', 'qcons_a');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.create_queue('queue_consumer'), pgq.create_queue('queue_consumer2');
-- every call of the ticker ticks
SELECT pgq.set_queue_config(q, p, '0')
FROM (VALUES ('queue_consumer'), ('queue_consumer2')) q(q),
	(VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
SELECT pgq.register_consumer('queue_consumer', 'qcons_a');
SELECT pgq.register_consumer('queue_consumer', 'qcons_a');
SELECT pgq.register_consumer(NULL, 'qcons_a');
\set VERBOSITY terse
SELECT pgq.register_consumer('queue_consumer', NULL);
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE

SELECT pgq.ticker('queue_consumer'), pgq.ticker('queue_consumer');
-- new ones start at the newest tick, or where they ask to
SELECT pgq.register_consumer('queue_consumer', 'qcons_b');
SELECT pgq.register_consumer_at('queue_consumer', 'qcons_c', 2);
SELECT pgq.register_consumer_at('queue_consumer', 'qcons_d', 77);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM pgq.consumer WHERE co_name = 'qcons_d';
-- ticks of another queue don't count
SELECT pgq.register_consumer_at('queue_consumer2', 'qcons_a', 2);
SELECT * FROM subs;

-- registering again keeps the open batch, moving discards it
SELECT pgq.next_batch('queue_consumer', 'qcons_a') IS NOT NULL AS batch;
SELECT pgq.register_consumer('queue_consumer', 'qcons_a');
SELECT * FROM subs WHERE co_name = 'qcons_a';
SELECT pgq.register_consumer_at('queue_consumer', 'qcons_a', 3);
SELECT * FROM subs WHERE co_name = 'qcons_a';
SELECT pgq.register_consumer_at('queue_consumer', 'qcons_a', 1);
SELECT * FROM subs WHERE co_name = 'qcons_a';

-- no tick at all
DELETE FROM pgq.tick USING pgq.queue
WHERE tick_queue = queue_id AND queue_name = 'queue_consumer2';
SELECT pgq.register_consumer('queue_consumer2', 'qcons_a');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.ticker('queue_consumer2') IS NOT NULL AS ticked;
SELECT pgq.register_consumer('queue_consumer2', 'qcons_a');

-- unregister: the name goes with its last subscription, retried events too
SELECT pgq.event_retry_raw('queue_consumer', 'qcons_a', now(), 1, now(), 1,
	't', 'd', NULL, NULL, NULL, NULL);
SELECT pgq.unregister_consumer('queue_consumer', 'qcons_none'),
	pgq.unregister_consumer('queue_consumer_none', 'qcons_a'),
	pgq.unregister_consumer(NULL, NULL);
SELECT pgq.next_batch('queue_consumer', 'qcons_a') IS NOT NULL AS batch;
SELECT pgq.unregister_consumer('queue_consumer', 'qcons_a');
SELECT count(*) FROM pgq.retry_queue JOIN pgq.queue ON queue_id = ev_queue
WHERE queue_name = 'queue_consumer';
SELECT * FROM subs;
SELECT count(*) FROM pgq.consumer WHERE co_name = 'qcons_a';
SELECT pgq.unregister_consumer('queue_consumer2', 'qcons_a');
SELECT count(*) FROM pgq.consumer WHERE co_name = 'qcons_a';

-- a restored sequence never hands out a subscription id in use
SELECT setval('pgq.subscription_sub_id_seq', 1, false),
	setval('pgq.consumer_co_id_seq', 1, false);
SELECT pgq.register_consumer('queue_consumer2', 'qcons_e'),
	pgq.register_consumer('queue_consumer2', 'qcons_f');
SELECT count(*) = count(DISTINCT sub_id) AS ids_differ FROM pgq.subscription;
-- and where an older release has: the other queue's consumer stays
UPDATE pgq.subscription
SET sub_id = (SELECT sub_id FROM pgq.subscription
		JOIN pgq.consumer ON co_id = sub_consumer WHERE co_name = 'qcons_b')
FROM pgq.consumer WHERE co_id = sub_consumer AND co_name = 'qcons_e';
SELECT pgq.unregister_consumer('queue_consumer', 'qcons_b');
SELECT * FROM subs;

-- cooperating consumers share the main row's id
SELECT pgq.register_consumer('queue_consumer', 'qcons_m'),
	pgq.register_consumer('queue_consumer', 'qcons_m.1'),
	pgq.register_consumer('queue_consumer', 'qcons_m.2'),
	pgq.register_consumer('queue_consumer', 'qcons_m.3');
UPDATE pgq.subscription
SET sub_id = (SELECT sub_id FROM pgq.subscription
		JOIN pgq.consumer ON co_id = sub_consumer WHERE co_name = 'qcons_m'),
	sub_last_tick = NULL
FROM pgq.consumer WHERE co_id = sub_consumer AND co_name LIKE 'qcons_m.%';
UPDATE pgq.subscription SET sub_last_tick = 1, sub_next_tick = 2, sub_batch = -1
FROM pgq.consumer WHERE co_id = sub_consumer AND co_name = 'qcons_m.2';
SELECT consumer_name, last_tick, current_batch, next_tick, lag IS NULL AS no_lag,
	pending_events
FROM pgq.get_consumer_info('queue_consumer') WHERE consumer_name LIKE 'qcons_m%';
-- a sub-consumer goes alone, idle or working
SELECT pgq.unregister_consumer('queue_consumer', 'qcons_m.1');
SELECT pgq.unregister_consumer('queue_consumer', 'qcons_m.2');
SELECT * FROM subs WHERE co_name LIKE 'qcons_m%';
-- the main one takes the rest along
SELECT pgq.unregister_consumer('queue_consumer', 'qcons_m');
SELECT * FROM subs WHERE co_name LIKE 'qcons_m%';
DELETE FROM pgq.consumer WHERE co_name LIKE 'qcons_m%';

-- a name that others refer to stays, and the subscription with it
CREATE TABLE queue_consumer_ref (name text REFERENCES pgq.consumer (co_name));
INSERT INTO queue_consumer_ref VALUES ('qcons_c');
SELECT pgq.unregister_consumer('queue_consumer', 'qcons_c');
SELECT * FROM subs WHERE co_name = 'qcons_c';
DROP TABLE queue_consumer_ref;

-- a queue can be created and consumed in one transaction
BEGIN;
SELECT pgq.create_queue('queue_consumer3'),
	pgq.register_consumer('queue_consumer3', 'qcons_g');
SELECT last_tick FROM pgq.get_consumer_info('queue_consumer3', 'qcons_g');
COMMIT;

SELECT pgq.drop_queue(q, true)
FROM (VALUES ('queue_consumer'), ('queue_consumer2'), ('queue_consumer3')) q(q);
SELECT count(*) FROM pgq.consumer WHERE co_name LIKE 'qcons%';
