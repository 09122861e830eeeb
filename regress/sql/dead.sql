-- What can't be done after so many retries is kept aside, for its consumer alone.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE ROLE regress_dead_reader IN ROLE pgq_reader;
RESET client_min_messages;
\set SHOW_CONTEXT never
SELECT pgq.create_queue('dead');
SELECT pgq.set_queue_config('dead', p, '0')
FROM (VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
SELECT pgq.register_consumer('dead', 'dead_a'), pgq.register_consumer('dead', 'dead_b');
\set tick 'SELECT pgq.ticker(\'dead\') IS NOT NULL AS ticked'
CREATE TEMP VIEW waiting AS
SELECT ev_id, ev_retry FROM pgq.retry_queue JOIN pgq.queue ON queue_id = ev_queue
WHERE queue_name = 'dead' ORDER BY ev_id;

-- the limit
SELECT pgq.set_queue_config('dead', 'max_retries', '-1');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.set_queue_config('dead', 'max_retries', 'many');
\set VERBOSITY terse
UPDATE pgq.queue SET queue_max_retries = -1 WHERE queue_name = 'dead';
\set VERBOSITY default
SELECT queue_max_retries IS NULL AS unlimited FROM pgq.queue WHERE queue_name = 'dead';
SELECT pgq.set_queue_config('dead', 'max_retries', '2');
SELECT queue_max_retries FROM pgq.queue WHERE queue_name = 'dead';

-- twice again, then it is dead; the rest of the batch is not
SELECT pgq.insert_event('dead', 'type', 'd' || i, 'e1', 'e2', 'e3', 'e4') FROM generate_series(1, 3) i;
:tick;
SELECT pgq.next_batch('dead', 'dead_a') AS b \gset
SELECT pgq.event_retry(:b, 1, 0), pgq.event_retry(:b, 2, 0);
SELECT * FROM waiting;
SELECT pgq.finish_batch(:b), pgq.maint_retry_events();
:tick;
SELECT pgq.next_batch('dead', 'dead_a') AS b \gset
SELECT ev_id, ev_retry, ev_data FROM pgq.get_batch_events(:b);
SELECT pgq.event_retry(:b, 1, 0);
SELECT pgq.finish_batch(:b), pgq.maint_retry_events();
:tick;
SELECT pgq.next_batch('dead', 'dead_a') AS b \gset
SELECT ev_id, ev_retry, ev_data FROM pgq.get_batch_events(:b);
SELECT pgq.event_retry(:b, 1, 0), pgq.event_retry(:b, 1, 0);
SELECT * FROM waiting;
SELECT queue_name, consumer_name, dead_time IS NOT NULL AS dead_time, dead_reason, ev_id, ev_retry,
	ev_time IS NOT NULL AS ev_time, ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4
FROM pgq.get_dead_events('dead', 'dead_a');
SELECT pgq.finish_batch(:b);
SELECT pgq.maint_retry_events();

-- put back, it may be retried as often again
SELECT pgq.requeue_dead_event('dead', 'dead_b', 1), pgq.requeue_dead_event('dead', 'dead_a', 2);
SELECT pgq.requeue_dead_event('dead', 'dead_c', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.requeue_dead_event('dead', 'dead_a', 1), pgq.requeue_dead_event('dead', 'dead_a', 1);
SELECT * FROM waiting;
SELECT count(*) FROM pgq.get_dead_events('dead', NULL);
SELECT pgq.maint_retry_events();
:tick;
SELECT pgq.next_batch('dead', 'dead_a') AS b \gset
SELECT ev_id, ev_retry, ev_data FROM pgq.get_batch_events(:b);

-- given up at once
SELECT pgq.event_dead(:b, 1, 'poison'), pgq.event_dead(:b, 1, 'again');
SELECT pgq.finish_batch(:b);
\set VERBOSITY terse
SELECT pgq.event_dead(:b, 1, 'late') IS NULL AS finished;
\set VERBOSITY default
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.event_dead(NULL, 1, 'no batch');
-- the other consumer has its own
SELECT pgq.next_batch('dead', 'dead_b') AS b \gset
SELECT ev_id, ev_retry FROM pgq.get_batch_events(:b);
\set VERBOSITY terse
SELECT pgq.event_dead(:b, 4, 'not in this batch');
\set VERBOSITY default
SELECT pgq.event_dead(:b, 1, NULL), pgq.event_dead(:b, 2, 'two');
SELECT consumer_name, dead_reason, ev_id FROM pgq.get_dead_events('dead', NULL) ORDER BY 1, 3;
SELECT consumer_name, ev_id FROM pgq.get_dead_events('dead', 'dead_b') ORDER BY 2;
SELECT count(*) FROM pgq.get_dead_events('dead none', NULL);
SELECT pgq.finish_batch(:b);

-- a whole batch: some again, some dead, none twice
SELECT pgq.insert_event('dead', 'new', 'd5') AS id \gset
SELECT pgq.event_retry_raw('dead', 'dead_b', now(), 90000 + i, now(), i, 'raw', 'r' || i, NULL, NULL, NULL, NULL)
FROM generate_series(1, 3) i;
SELECT pgq.maint_retry_events();
:tick;
SELECT pgq.finish_batch(pgq.next_batch('dead', 'dead_b')) FROM generate_series(1, 3);
SELECT pgq.next_batch('dead', 'dead_b') AS b \gset
SELECT ev_type, ev_data, ev_retry FROM pgq.get_batch_events(:b);
SELECT pgq.event_dead(:b, 90002, 'before');
SELECT pgq.batch_retry(:b, 0), pgq.batch_retry(:b, 0);
SELECT ev_data, r.ev_retry FROM waiting JOIN pgq.retry_queue r USING (ev_id) ORDER BY ev_id;
SELECT ev_data, ev_retry, dead_reason FROM pgq.get_dead_events('dead', 'dead_b') WHERE ev_type = 'raw';
-- what waits for a retry already is not put back beside it
INSERT INTO pgq.retry_queue (ev_retry_after, ev_queue, ev_id, ev_time, ev_owner)
SELECT now(), sub_queue, 90003, now(), sub_id FROM pgq.subscription JOIN pgq.consumer ON co_id = sub_consumer
WHERE co_name = 'dead_b';
SELECT pgq.requeue_dead_event('dead', 'dead_b', 90003), pgq.requeue_dead_event('dead', 'dead_b', 90002);
SELECT ev_data FROM pgq.get_dead_events('dead', 'dead_b') WHERE ev_type = 'raw';
-- 0: nothing is retried; NULL: no limit
SELECT pgq.set_queue_config('dead', 'max_retries', '0');
SELECT pgq.event_retry(:b, ev_id, 0) FROM pgq.get_batch_events(:b) WHERE ev_type = 'new';
SELECT dead_reason, ev_data, ev_retry FROM pgq.get_dead_events('dead', 'dead_b') WHERE ev_type = 'new';
SELECT pgq.set_queue_config('dead', 'max_retries', NULL);
SELECT queue_max_retries IS NULL AS unlimited FROM pgq.queue WHERE queue_name = 'dead';

-- purging
SELECT pgq.purge_dead_events('dead', 'dead_b', now() - interval '1 day');
UPDATE pgq.dead_event SET dead_time = now() - interval '2 days' WHERE ev_id = 2;
SELECT pgq.purge_dead_events('dead', 'dead_b', now() - interval '1 day');
SELECT pgq.purge_dead_events('dead', 'dead_b') > 0 AS purged, pgq.purge_dead_events('dead', 'none');
SELECT consumer_name, ev_id FROM pgq.get_dead_events('dead', NULL);

-- readers can do all of it, and look no further
SET ROLE regress_dead_reader;
SELECT pgq.event_dead(:b, 90002, 'by a reader');
SELECT count(*) FROM pgq.get_dead_events(NULL, 'dead_b');
SELECT pgq.requeue_dead_event('dead', 'dead_b', 90002), pgq.purge_dead_events('dead', 'dead_a');
SELECT count(*) FROM pgq.dead_event;
SELECT pgq._add_dead_event(1, 1, 1, NULL, 'x');
SELECT pgq._find_batch_event(:b, 90002);
RESET ROLE;

-- to be retried or dead: the last word counts, whoever has it
CREATE TEMP VIEW said AS
SELECT 'waits' AS said, ev_id, ev_retry FROM waiting WHERE ev_id BETWEEN 91000 AND 92000
UNION ALL
SELECT dead_reason, ev_id, ev_retry FROM pgq.get_dead_events('dead', 'dead_b')
WHERE ev_id BETWEEN 91000 AND 92000 ORDER BY ev_id, said;
SELECT pgq.event_retry_raw('dead', 'dead_b', now(), 91000 + i, now(), i, 'raw', '', NULL, NULL, NULL, NULL)
FROM generate_series(1, 3) i;
-- and another of the first, retried more often, in the same batch
SELECT pgq.maint_retry_events() > 0;
SELECT pgq.event_retry_raw('dead', 'dead_b', now(), 91001, now(), 2, 'raw', '', NULL, NULL, NULL, NULL);
SELECT pgq.maint_retry_events();
SELECT pgq.finish_batch(:b);
:tick;
SELECT pgq.next_batch('dead', 'dead_b') AS b \gset
SELECT pgq.event_retry(:b, 91001, 0), pgq.event_dead(:b, 91001, 'no');
SELECT * FROM said;
SELECT pgq.event_dead(:b, 91001, 'no, no'), pgq.event_retry(:b, 91001, 0), pgq.event_retry(:b, 91001, 0);
SELECT * FROM said;
SELECT pgq.event_dead(:b, 91001, 'no'), pgq.event_dead(:b, 91002, 'no'), pgq.batch_retry(:b, 0);
SELECT * FROM said;
-- past the limit
SELECT pgq.set_queue_config('dead', 'max_retries', '3');
SELECT pgq.batch_retry(:b, 0), pgq.event_retry(:b, 91002, 0);
SELECT * FROM said;
SELECT pgq.event_retry_raw('dead', 'dead_b', now(), 91003, now(), 0, 'raw', '', NULL, NULL, NULL, NULL);
SELECT * FROM said;
SELECT pgq.set_queue_config('dead', 'max_retries', NULL);
DELETE FROM pgq.retry_queue WHERE ev_id BETWEEN 91000 AND 92000;
DELETE FROM pgq.dead_event WHERE ev_id BETWEEN 91000 AND 92000;

-- many events, one by one and out of order, with room for only some of their places
SELECT pgq.finish_batch(:b);
DELETE FROM pgq.retry_queue WHERE ev_queue = (SELECT queue_id FROM pgq.queue WHERE queue_name = 'dead');
SELECT count(pgq.insert_event('dead', 'many', i::text)) FROM generate_series(1, 5000) i;
:tick;
SELECT pgq.next_batch('dead', 'dead_b') AS b \gset
SELECT ev_id AS id FROM pgq.get_batch_events(:b) ORDER BY 1 LIMIT 1 \gset
SET work_mem = '64kB';
SELECT sum(pgq.event_retry(:b, :id + i, 0)) FROM generate_series(0, 4999, 2) i;
SELECT sum(pgq.event_retry(:b, :id + (i * 7919) % 5000, 0)) FROM generate_series(0, 99) i;
SELECT count(*), count(*) FILTER (WHERE ev_data::int8 = ev_id - :id + 1) AS right_data
FROM pgq.retry_queue WHERE ev_type = 'many';
\set VERBOSITY terse
SELECT pgq.event_retry(:b, :id + 5000, 0);
SELECT pgq.event_retry(:b, 9223372036854775807, 0);
\set VERBOSITY default
RESET work_mem;
-- moved or gone meanwhile
SELECT pgq.event_retry(:b, :id, 0);
SELECT evt_relid AS ev_table FROM pgq.event_table JOIN pgq.queue ON queue_name = evt_queue
WHERE evt_queue = 'dead' AND evt_relid::text LIKE '%\_' || queue_cur_table \gset
DELETE FROM :ev_table WHERE ev_id IN (:id + 1, :id - 1);
VACUUM FULL :ev_table;
SELECT sum(pgq.event_dead(:b, :id + i, 'moved')) FROM generate_series(2, 99) i;
SELECT count(*) FILTER (WHERE ev_data::int8 = ev_id - :id + 1) AS right_data
FROM pgq.get_dead_events('dead', 'dead_b') WHERE dead_reason = 'moved';
\set VERBOSITY terse
SELECT pgq.event_retry(:b, ev, 0) IS NOT NULL AS found FROM (SELECT :id + 1 AS ev) e;
\set VERBOSITY default

-- they go with the consumer, and with the queue
SELECT pgq.unregister_consumer('dead', 'dead_b');
SELECT count(*) FROM pgq.get_dead_events('dead', 'dead_b');
SELECT pgq.insert_event('dead', 'last', 'x') AS id \gset
:tick \gset
SELECT pgq.finish_batch(pgq.next_batch('dead', 'dead_a')) FROM generate_series(1, 2) \g /dev/null
SELECT pgq.next_batch('dead', 'dead_a') AS b \gset
SELECT pgq.event_dead(:b, ev_id, 'x') FROM pgq.get_batch_events(:b) LIMIT 1;
SELECT pgq.drop_queue('dead', true);
SELECT count(*) FROM pgq.get_dead_events('dead', NULL);
SELECT count(*) FROM pgq.dead_event d WHERE NOT EXISTS (SELECT FROM pgq.queue WHERE queue_id = dead_queue);
DROP ROLE regress_dead_reader;
