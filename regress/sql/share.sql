-- Shares: all events of a key are in one share, each event in exactly one; a lease that
-- has ended is another worker's, and only the one who has it finishes the share.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE ROLE regress_worker IN ROLE pgq_reader;
CREATE ROLE regress_no_worker;
RESET client_min_messages;
\set SHOW_CONTEXT never
SELECT pgq.create_queue('share');
SELECT pgq.set_queue_config('share', p, '0')
FROM (VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
SELECT pgq.register_consumer('share', 'c');
\set fill 'SELECT cardinality(pgq.insert_events(\'share\', array_fill(\'U:id\'::text, ARRAY[200]), (SELECT array_agg(\'id=\' || i % 20 || \'&n=\' || i ORDER BY i) FROM generate_series(1, 200) i))) AS inserted'
\set tick 'SELECT pgq.ticker(\'share\') IS NOT NULL AS ticked'
\set join 'INSERT INTO pgq.share_worker SELECT queue_id, co_id, clock_timestamp(), \'w\' || i, -i FROM pgq.queue, pgq.consumer, generate_series(2, :n) i WHERE queue_name = \'share\' AND co_name = \'c\''
CREATE TEMP VIEW position AS SELECT current_batch IS NOT NULL AS open, pending_events AS pending FROM pgq.get_consumer_info('share', 'c');
CREATE FUNCTION pg_temp.outcome(stmt text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
	EXECUTE stmt INTO r;
	RETURN r;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || regexp_replace(SQLERRM, '[0-9]+', 'N');
END $$;

-- nothing to do: nothing is written but that the worker is there
SELECT * FROM pgq.next_share('share', 'c', 'w1');
SELECT count(DISTINCT sw_worker) FROM pgq.share_worker;
-- an empty batch is nobody's work
:tick;
SELECT share_id, batch_id FROM pgq.next_share('share', 'c', 'w1');
SELECT * FROM position;

-- one worker, one share
:fill;
:tick;
SELECT share_id AS s1, share_no, share_count, events, lease_until > now() AS leased FROM pgq.next_share('share', 'c', 'w1') \gset
\echo :share_no :share_count :events :leased
SELECT count(*), min(ev_id) < max(ev_id) AS ids, bool_and(pgq.event_share('key', 1, ev_id, ev_type, ev_data, NULL, NULL, NULL, NULL) = 0) FROM pgq.get_share_events(:s1);
-- asked again, it is the same one; another worker has to wait
SELECT share_id = :s1 AS same FROM pgq.next_share('share', 'c', 'w1');
SELECT share_id, batch_id IS NOT NULL AS batch, lease_until > now() AS leased FROM pgq.next_share('share', 'c', 'w2');
SELECT pgq.finish_share(:s1);
SELECT * FROM position;
SELECT count(*) FROM pgq.share;

-- two workers, and so four shares
:fill;
:tick;
\set n 2
:join;
SELECT share_id AS s1 FROM pgq.next_share('share', 'c', 'w1') \gset
SELECT share_id AS s2 FROM pgq.next_share('share', 'c', 'w2') \gset
SELECT share_id AS s3 FROM pgq.next_share('share', 'c', 'w3') \gset
SELECT share_id AS s4 FROM pgq.next_share('share', 'c', 'w4') \gset
SELECT share_id FROM pgq.next_share('share', 'c', 'w5');
SELECT count(DISTINCT sh_id), min(sh_count), sum(sh_events) FROM pgq.share;
CREATE TEMP TABLE got AS
SELECT s, e.* FROM unnest(ARRAY[:s1, :s2, :s3, :s4]) s, pgq.get_share_events(s) e;
SELECT count(*), count(DISTINCT ev_id), count(DISTINCT s), (SELECT max(n) FROM (SELECT count(DISTINCT s) n FROM got
	GROUP BY pgq.event_key(ev_type, ev_data, ev_extra1)) k) AS shares_of_a_key FROM got;
SELECT bool_and(events = n) AS as_said FROM (SELECT s, count(*) n FROM got GROUP BY s) g JOIN (SELECT sh_id AS s, sh_events AS events FROM pgq.share) h USING (s);
-- within a share in order
SELECT bool_and(ev_id > before) FROM (SELECT ev_id, lag(ev_id) OVER (PARTITION BY s ORDER BY n) AS before
	FROM (SELECT s, ev_id, row_number() OVER () n FROM got) x) y WHERE before IS NOT NULL;
DROP TABLE got;
-- one session is one worker, whatever it calls itself, and notes so rarely
SELECT count(*), count(DISTINCT sw_pid) FROM pgq.share_worker WHERE sw_pid > 0;
-- the batch ends with its last share, in whatever order
SELECT pgq.finish_share(:s4), pgq.finish_share(:s2), pgq.finish_share(:s1);
SELECT * FROM position;
SELECT pgq.finish_share(:s3);
SELECT * FROM position;
SELECT pg_temp.outcome('SELECT pgq.finish_share(' || :s3 || ')');
SELECT pg_temp.outcome('SELECT count(*) FROM pgq.get_share_events(' || :s3 || ')');

-- a share that nobody has can't be read or finished
:fill;
:tick;
SELECT share_id AS s1, share_count FROM pgq.next_share('share', 'c', 'w1') \gset
SELECT count(sh_id), count(*) > 1 AS more FROM pgq.share;
SELECT pg_temp.outcome('SELECT pgq.finish_share(' || i || ')') FROM generate_series(:s1 + 1, :s1 + 3) i;
SELECT pg_temp.outcome('SELECT count(*) FROM pgq.get_share_events(' || :s1 + 1 || ')');
SELECT pg_temp.outcome('SELECT pgq.renew_share(' || :s1 || ', ' || quote_nullable(lease) || ')') FROM unnest('{NULL, 0, -1 s, 178000000 years}'::text[]) lease;
SELECT pgq.finish_batch(pgq.next_batch('share', 'c'));
-- five workers by now; one goes its way, and its lease ends
\set n 5
:join;
:fill;
:tick;
SELECT share_id AS s1, share_no AS no1, share_count FROM pgq.next_share('share', 'c', 'w1', '1 hour') \gset
\echo :share_count
SELECT share_id AS s2, share_no AS no2 FROM pgq.next_share('share', 'c', 'w2', '1 hour') \gset
UPDATE pgq.share SET sh_until = now() WHERE sh_id = :s2;
-- as long as nobody has taken it, it may still be finished
BEGIN;
SELECT pgq.finish_share(:s2);
ROLLBACK;
BEGIN;
SELECT pgq.renew_share(:s2, '1 hour') > now() AS renewed;
SELECT share_no <> :no2 AS another FROM pgq.next_share('share', 'c', 'w3');
ROLLBACK;
SELECT share_id AS taken, share_id <> :s2 AS other_id, share_no = :no2 AS same_share FROM pgq.next_share('share', 'c', 'w3') \gset
\echo :other_id :same_share
SELECT pg_temp.outcome('SELECT pgq.finish_share(' || :s2 || ')');
SELECT pg_temp.outcome('SELECT pgq.renew_share(' || :s2 || ')');
SELECT pg_temp.outcome('SELECT count(*) FROM pgq.get_share_events(' || :s2 || ')');
SELECT pgq.finish_share(:taken);
-- nor does one last whose session has ended
UPDATE pgq.share SET sh_pid = 0 WHERE sh_id = :s1;
SELECT share_no = :no1 AS the_same, share_id <> :s1 AS other_id FROM pgq.next_share('share', 'c', 'w4');
-- a worker of the same name in another session is another one
SELECT sh_id AS s4 FROM pgq.share WHERE sh_worker = 'w4' \gset
UPDATE pgq.share SET sh_pid = (SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer') WHERE sh_id = :s4;
SELECT share_no = :no1 AS the_same, share_id <> :s4 AS other_id FROM pgq.next_share('share', 'c', 'w4');
SELECT pg_temp.outcome('SELECT pgq.finish_share(' || :s4 || ')');

-- whoever finishes the batch as a whole, or moves the consumer, ends all leases
SELECT sh_id AS s4 FROM pgq.share WHERE sh_worker = 'w4' \gset
BEGIN;
SELECT pgq.finish_batch(pgq.next_batch('share', 'c'));
SELECT pg_temp.outcome('SELECT pgq.finish_share(' || :s4 || ')');
SELECT share_id FROM pgq.next_share('share', 'c', 'w1');
SELECT pgq.maint_shares();
SELECT count(*) FROM pgq.share;
ROLLBACK;
SELECT pgq.seek_consumer('share', 'c', 'infinity'::timestamptz, true) IS NOT NULL AS moved;
SELECT pg_temp.outcome('SELECT pgq.finish_share(' || :s4 || ')');
-- also when no worker comes any more
BEGIN;
DELETE FROM pgq.share_worker;
SELECT func_name FROM pgq.maint_operations() WHERE func_name LIKE '%shares';
ROLLBACK;
SELECT pgq.maint_shares();
SELECT count(*) FROM pgq.share;

-- a batch that was opened as a whole is cut like any other
:fill;
:tick;
SELECT pgq.next_batch('share', 'c') AS batch \gset
SELECT batch_id = :batch AS same, share_count > 1 AS cut FROM pgq.next_share('share', 'c', 'w1');
-- when all is done but nobody saw that he was the last, the next one who asks finishes it
UPDATE pgq.share SET sh_done = true;
SELECT share_id FROM pgq.next_share('share', 'c', 'w1');
SELECT * FROM position;

-- retried and given up within a share; retried events come in their share
SELECT pgq.insert_event('share', 'U:id', 'id=1') AS e1, pgq.insert_event('share', 'U:id', 'id=1') AS e2 \gset
:tick;
SELECT share_id AS s, batch_id AS b FROM pgq.next_share('share', 'c', 'w1') \gset
BEGIN;
SELECT pgq.event_retry(:b, :e1, 0), pgq.event_dead(:b, :e2, 'no good');
SELECT pgq.finish_share(:s);
COMMIT;
SELECT ev_id = :e2 AS dead FROM pgq.get_dead_events('share', 'c');
SELECT pgq.maint_retry_events();
:tick;
SELECT share_id AS s FROM pgq.next_share('share', 'c', 'w1') \gset
SELECT ev_id = :e1 AS retried, ev_retry, ev_data FROM pgq.get_share_events(:s);
SELECT pgq.finish_share(:s);

-- events without a key are in share 0; other keys
SELECT pgq.event_share('key', 8, 1, 'greeting', 'hello', NULL, NULL, NULL, NULL) AS no_key,
	pgq.event_share('key', 8, 2, NULL, NULL, NULL, NULL, NULL, NULL) AS nulls,
	pgq.event_share('extra2', 8, 2, 't', 'd', 'x', NULL, NULL, NULL) AS no_extra,
	pgq.event_share('none', 8, 13, 't', 'd', 'x', NULL, NULL, NULL) AS by_id;
SELECT key, count(DISTINCT pgq.event_share(key, 8, 1, 'U:id' || i, 'id' || i || '=' || i, 'a' || i, 'b' || i, 'c' || i, 'd' || i)) > 5 AS spread,
	count(DISTINCT pgq.event_share(key, 8, i, 'U:id', 'id=1&n=' || i, 'a', 'b', 'c', 'd')) = 1 AS together
FROM generate_series(1, 100) i, unnest('{key, type, extra1, extra2, extra3, extra4}'::text[]) key GROUP BY key ORDER BY key;
SELECT pgq.event_share('id', 8, 1, 't', 'd', NULL, NULL, NULL, NULL);
SELECT pgq.event_share('key', 0, 1, 't', 'd', NULL, NULL, NULL, NULL);

-- refused
\set VERBOSITY terse
SELECT pgq.next_share('share', 'nobody', 'w1');
SELECT pgq.next_share('nowhere', 'c', 'w1');
SELECT pgq.next_share('share', 'c', NULL);
SELECT pgq.next_share('share', 'c', repeat('w', 201));
SELECT pgq.next_share('share', 'c', 'w1', '0');
SELECT pgq.next_share('share', 'c', 'w1', NULL);
SELECT pgq.next_share('share', 'c', 'w1', '1 s', NULL);
SELECT pgq.next_share('share', 'c', 'w1', '1 s', 'name');
SELECT pgq.finish_share(NULL);
SELECT pgq.get_share_events(NULL);
UPDATE pgq.subscription SET sub_lost_time = now(), sub_lost_tick = sub_last_tick, sub_last_tick = NULL
WHERE sub_queue = (SELECT queue_id FROM pgq.queue WHERE queue_name = 'share');
SELECT pg_temp.outcome($$SELECT pgq.next_share('share', 'c', 'w1')$$);
SELECT pgq.seek_consumer('share', 'c', 'infinity'::timestamptz) IS NOT NULL AS moved;

-- rights: as for batches
:fill;
:tick;
SET ROLE regress_worker;
SELECT share_id AS s FROM pgq.next_share('share', 'c', 'w9') \gset
SELECT count(*) > 0 AS events FROM pgq.get_share_events(:s);
SELECT pgq.renew_share(:s) > now() AS renewed, pgq.finish_share(:s);
UPDATE pgq.share SET sh_done = true;
SELECT pgq.maint_shares();
SET ROLE regress_no_worker;
SELECT pgq.next_share('share', 'c', 'w1');
SELECT pgq.get_share_events(1);
SELECT pgq.finish_share(1);
RESET ROLE;
SELECT func_name FROM pgq.maint_operations() WHERE func_name LIKE '%shares';
SELECT pgq.drop_queue('share', true), pgq.maint_shares();
SELECT count(*) FROM pgq.share;
DROP ROLE regress_worker, regress_no_worker;
