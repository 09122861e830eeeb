-- Failures are counted, postponements are not; what fails too often is dead, and the
-- rest goes on.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never
SELECT pgq.create_queue('failed');
SELECT pgq.set_queue_config('failed', p, '0')
FROM (VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
SELECT pgq.register_consumer('failed', 'failed_c');
-- what waits comes at once, and the next batch is opened
\set again 'UPDATE pgq.retry_queue SET ev_retry_after = now() - interval \'1 s\' WHERE ev_id < 1000; SELECT pgq.maint_retry_events() \\g /dev/null \\\\ SELECT pgq.ticker(\'failed\') \\g /dev/null \\\\ SELECT pgq.next_batch(\'failed\', \'failed_c\') AS b \\gset'
CREATE TEMP VIEW pauses AS
SELECT ev_id, ev_retry, round(extract(epoch FROM ev_retry_after - now()), -1) AS pause
FROM pgq.retry_queue r JOIN pgq.queue q ON q.queue_id = r.ev_queue
WHERE q.queue_name = 'failed' ORDER BY ev_id;
CREATE TEMP VIEW dead AS
SELECT ev_id, ev_retry, dead_reason FROM pgq.get_dead_events('failed', 'failed_c');
CREATE TEMP VIEW postponed AS
SELECT p.ev_id, p.pe_count, p.pe_txid IS NOT NULL AS is_back
FROM pgq.postponed_event p JOIN pgq.queue q ON q.queue_id = p.pe_queue
WHERE q.queue_name = 'failed' ORDER BY ev_id;

-- pauses double with each failure, up to the longest
SELECT pgq.insert_event('failed', 't', 'e' || i) FROM generate_series(1, 4) i;
SELECT pgq.ticker('failed') IS NOT NULL AS ticked;
SELECT pgq.next_batch('failed', 'failed_c') AS b \gset
SELECT pgq.event_failed(:b, 1, 'no') AS says_when \gset
SELECT ev_retry_after = :'says_when' AS says_when FROM pgq.retry_queue WHERE ev_id = 1;
SELECT pgq.event_failed(:b, 2, 'no', '1 minute', '90 seconds') IS NOT NULL AS waits;
SELECT * FROM pauses;
-- twice is once
SELECT pgq.event_failed(:b, 1, 'no', '5 minutes') = ev_retry_after AS the_same FROM pgq.retry_queue WHERE ev_id = 1;
SELECT * FROM pauses;
SELECT pgq.finish_batch(:b);
:again
SELECT ev_id, ev_retry FROM pgq.get_batch_events(:b);
SELECT pgq.event_failed(:b, 1, 'no') > now() AS waits, pgq.event_failed(:b, 2, 'no', '1 minute', '90 seconds') > now() AS waits;
SELECT * FROM pauses;
SELECT pgq.finish_batch(:b);
:again
SELECT pgq.event_failed(:b, 1, 'no', i_max_retries => 2) IS NULL AS is_dead;
SELECT * FROM dead;
SELECT * FROM pauses;
SELECT pgq.finish_batch(:b);

-- max_retries counts failures, and no postponement
SELECT pgq.set_queue_config('failed', 'max_retries', '2');
SELECT pgq.insert_event('failed', 't', 'e5') AS e5, pgq.insert_event('failed', 't', 'e6') AS e6 \gset
:again
SELECT pgq.event_postpone(:b, :e5, '1 minute'), pgq.event_postpone(:b, :e5, '1 minute');
SELECT * FROM pauses;
SELECT * FROM postponed;
SELECT pgq.finish_batch(:b);
:again
SELECT pgq.event_postpone(:b, :e5, '1 minute');
SELECT pgq.finish_batch(:b);
:again
SELECT pgq.event_postpone(:b, :e5, '1 minute');
SELECT * FROM postponed;
SELECT pgq.finish_batch(:b);
:again
SELECT * FROM postponed;
SELECT pgq.event_failed(:b, :e5, 'first') > now() AS waits;
SELECT * FROM pauses;
SELECT pgq.maint_postponed();
SELECT pgq.finish_batch(:b);
SELECT pgq.maint_postponed();
SELECT * FROM postponed;
:again
-- event_retry says not why: it counts as a failure
SELECT pgq.event_retry(:b, :e5, 0);
SELECT pgq.finish_batch(:b);
:again
SELECT ev_id, ev_retry FROM pgq.get_batch_events(:b);
SELECT pgq.event_failed(:b, :e5, 'third') IS NULL AS is_dead;
SELECT * FROM dead WHERE ev_id = :e5;
SELECT * FROM postponed;
SELECT pgq.finish_batch(:b);
-- postponed, and then failed when the batch came again: its failures count whole
SELECT pgq.insert_event('failed', 't', 'again') AS e \gset
:again
SELECT pgq.event_failed(:b, :e, 'first', '0') > now() AS waits;
SELECT pgq.finish_batch(:b);
:again
SELECT pgq.event_failed(:b, :e, 'second', '0') > now() AS waits;
SELECT pgq.finish_batch(:b);
:again
SELECT pgq.event_postpone(:b, :e, '1 minute');
SELECT pgq.event_failed(:b, :e, 'third') IS NULL AS is_dead;
SELECT * FROM dead WHERE ev_id = :e;
SELECT * FROM pauses;
SELECT pgq.finish_batch(:b);
-- that counts as a failure, too, once: what waits is no postponement any more
SELECT pgq.insert_event('failed', 't', 'f1') AS f1, pgq.insert_event('failed', 't', 'f2') AS f2, pgq.insert_event('failed', 't', 'f3') AS f3 \gset
:again
SELECT sum(pgq.event_postpone(:b, e, '1 minute')) FROM (VALUES (:f1), (:f2), (:f3)) v(e);
SELECT pgq.event_failed(:b, :f1, 'first') = pgq.event_failed(:b, :f1, 'first') AS the_same;
SELECT pgq.event_retry(:b, :f2, 0), pgq.event_retry(:b, :f2, 0), pgq.batch_retry(:b, 0);
SELECT * FROM postponed WHERE ev_id >= :f1;
SELECT pgq.finish_batch(:b);
:again
SELECT pgq.event_failed(:b, :f1, 'second') > now() AS waits, pgq.event_retry(:b, :f2, 60), pgq.batch_retry(:b, 60);
SELECT * FROM pauses;
SELECT pgq.finish_batch(:b);
:again
SELECT pgq.event_failed(:b, :f1, 'third') IS NULL AS is_dead, pgq.event_retry(:b, :f2, 60), pgq.batch_retry(:b, 60);
SELECT ev_retry, dead_reason FROM dead WHERE ev_id >= :f1;
SELECT * FROM pauses;
SELECT pgq.finish_batch(:b);
-- from event_retry and batch_retry, too
SELECT pgq.insert_event('failed', 't', 'e7') AS e7, pgq.insert_event('failed', 't', 'e8') AS e8 \gset
:again
SELECT sum(pgq.event_postpone(:b, e, '0')) FROM (VALUES (:e7), (:e8)) v(e);
SELECT pgq.finish_batch(:b);
:again
SELECT pgq.event_retry(:b, :e7, 0), pgq.batch_retry(:b, 0);
SELECT pgq.finish_batch(:b);
:again
SELECT pgq.event_retry(:b, :e7, 0), pgq.batch_retry(:b, 0);
SELECT * FROM pauses;
SELECT pgq.finish_batch(:b);
:again
SELECT pgq.event_retry(:b, :e7, 0), pgq.batch_retry(:b, 0);
SELECT * FROM dead WHERE ev_id >= :e7;
SELECT * FROM pauses;
SELECT pgq.finish_batch(:b);
-- put back, it has not failed yet
SELECT pgq.requeue_dead_event('failed', 'failed_c', :e5);
:again
SELECT pgq.event_failed(:b, :e5, 'again') > now() AS waits;
SELECT pgq.event_dead(:b, :e5, 'it is hopeless');
SELECT dead_reason FROM dead WHERE ev_id = :e5;
SELECT pgq.finish_batch(:b);

-- what was postponed is forgotten once a batch behind it is finished, and not before
SELECT pgq.insert_event('failed', 't', 'e9') AS e9 \gset
:again
SELECT pgq.event_postpone(:b, :e9, '0');
SELECT pgq.finish_batch(:b);
SELECT func_name FROM pgq.maint_operations() WHERE func_name ~ 'postponed';
:again
SELECT pgq.maint_postponed();
SELECT * FROM postponed;
SELECT func_name FROM pgq.maint_operations() WHERE func_name ~ 'postponed';
SELECT pgq.finish_batch(:b);
SELECT pgq.maint_postponed();
SELECT * FROM postponed;

-- nonsense
\set VERBOSITY terse
SELECT pgq.event_failed(:b, :e9, 'no');
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.insert_event('failed', 't', 'e10') AS e10 \gset
:again
SELECT pgq.event_failed(:b, -1, 'no');
SELECT pgq.event_failed(NULL, NULL, NULL);
SELECT pgq.event_failed(:b, :e10, 'no', '-1 s');
SELECT pgq.event_failed(:b, :e10, 'no', '1 s', NULL);
SELECT pgq.event_failed(:b, :e10, 'no', '1 s', '1 s', -1);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.event_postpone(:b, :e10, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT pgq.event_postpone(:b, -1, '1 s');
SELECT pgq.event_failed(:b, :e10, NULL, '100 years', '1000 years', 0) IS NULL AS is_dead;
SELECT dead_reason FROM dead WHERE ev_id = :e10;

-- all goes with its consumer
SELECT pgq.finish_batch(:b);
SELECT pgq.insert_event('failed', 't', 'e11') AS e11 \gset
:again
SELECT pgq.event_postpone(:b, :e11, '1 h');
SELECT count(*) FROM postponed;
SELECT pgq.unregister_consumer('failed', 'failed_c');
SELECT count(*) FROM postponed;
SELECT pgq.drop_queue('failed');
