-- Each role can do its part and no more, and nobody gets the owner's rights.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE ROLE regress_pgq_none;
CREATE ROLE regress_pgq_reader IN ROLE pgq_reader;
CREATE ROLE regress_pgq_writer IN ROLE pgq_writer;
CREATE ROLE regress_pgq_admin IN ROLE pgq_admin;
RESET client_min_messages;
\set SHOW_CONTEXT never
SELECT pg_has_role('pgq_admin', 'pgq_reader', 'member') AS reads,
	pg_has_role('pgq_admin', 'pgq_writer', 'member') AS writes,
	bool_or(rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication) AS too_much
FROM pg_roles WHERE rolname IN ('pgq_reader', 'pgq_writer', 'pgq_admin');

-- administration, up to maintenance, needs no superuser
SET ROLE regress_pgq_admin;
SELECT pgq.create_queue('queue_roles'), pgq.create_queue('queue_roles2');
SELECT pgq.set_queue_config('queue_roles', p, '0')
FROM (VALUES ('ticker_max_lag'), ('ticker_idle_period')) p(p);
SELECT pgq.upgrade_schema(), pgq.grant_perms('queue_roles');
UPDATE pgq.queue SET queue_ticker_max_count = 5 WHERE queue_name = 'queue_roles';
SELECT pgq.maint_rotate_tables_step1('queue_roles'), pgq.maint_rotate_tables_step2(),
	pgq.maint_retry_events(), pgq.maint_positions();
SELECT count(*) FROM pgq.maint_operations() WHERE func_arg = 'queue_roles';
SELECT count(*) >= 0 AS ok FROM pgq.maint_tables_to_vacuum();
SELECT pgq.drop_queue('queue_roles2');

-- producing
SET ROLE regress_pgq_writer;
SELECT pgq.insert_event('queue_roles', 't', 'd');
SELECT pgq.insert_event_raw('queue_roles', NULL, now(), NULL, NULL, 't', 'd', NULL, NULL, NULL, NULL);
SELECT pgq.register_consumer('queue_roles', 'qroles_w');
SELECT pgq.create_queue('queue_roles3');
SELECT count(*) FROM pgq.event_template;

-- consuming
SET ROLE regress_pgq_reader;
SELECT pgq.insert_event('queue_roles', 't', 'd');
SELECT pgq.ticker();
SELECT pgq.register_consumer_at('queue_roles', 'qroles_r', 1);
RESET ROLE;
SELECT pgq.ticker('queue_roles');
SET ROLE regress_pgq_reader;
SELECT pgq.next_batch('queue_roles', 'qroles_r') AS batch \gset
SELECT ev_id, ev_data FROM pgq.get_batch_events(:batch);
SELECT pgq.event_retry(:batch, 1, 0), pgq.batch_retry(:batch, 0);
SELECT pgq.finish_batch(:batch);
SELECT pgq.event_retry_raw('queue_roles', 'qroles_r', now(), 1, now(), 1, 't', 'd', NULL, NULL, NULL, NULL);
SELECT count(*) FROM pgq.retry_queue;
UPDATE pgq.subscription SET sub_last_tick = 0;
SELECT pgq.drop_queue('queue_roles', true);
SELECT pgq.set_queue_config('queue_roles', 'ticker_paused', 'on');
SELECT pgq.maint_retry_events();
SELECT pgq._invalidate_capture();

-- everybody
SET ROLE regress_pgq_none;
SELECT queue_name, ev_new FROM pgq.get_queue_info('queue_roles');
SELECT queue_name, consumer_name FROM pgq.get_consumer_info('queue_roles');
SELECT count(*) FROM pgq.queue WHERE queue_name = 'queue_roles';
SELECT pgq.version() IS NOT NULL AS version, pgq.quote_fqname('a');
SELECT pgq.insert_event('queue_roles', 't', 'd');
SELECT pgq.next_batch('queue_roles', 'qroles_r');
SELECT pgq.get_batch_events(1);
SELECT count(*) FROM pgq.event_template;
SELECT count(*) FROM pgq.capture;
SELECT count(*) FROM pgq.event_table;
SELECT count(*) FROM pgq.slot;
SELECT count(*) FROM pgq.position;
SELECT nextval('pgq.batch_id_seq');
-- marks are nobody's, not even to look at
SET ROLE regress_pgq_admin;
SELECT count(*) FROM pgq.capture;
INSERT INTO pgq.capture VALUES ('pg_class', 'queue_roles');
SELECT count(*) FROM pgq.event_table;
SELECT count(*) >= 0 AS ok FROM pgq.slot;
SELECT count(*) >= 0 AS ok FROM pgq.position;
\set VERBOSITY terse
-- a queue's relations cannot be made somebody else's
UPDATE pgq.queue SET queue_tick_seq = 'public.seq' WHERE queue_name = 'queue_roles';
UPDATE pgq.queue SET queue_event_seq = 'pgq.batch_id_seq' WHERE queue_name = 'queue_roles';
UPDATE pgq.queue SET queue_data_pfx = 'pgq.capture' WHERE queue_name = 'queue_roles';
UPDATE pgq.queue SET queue_data_pfx = 'pgq.event_template' WHERE queue_name = 'queue_roles';
\set VERBOSITY default
RESET ROLE;

-- Operators, functions and tables that lie in wait in the caller's
-- search_path. Any use of one is an error that names the rights it had.
CREATE SCHEMA regress_evil AUTHORIZATION regress_pgq_admin;
GRANT USAGE ON SCHEMA regress_evil TO PUBLIC;
SET ROLE regress_pgq_admin;
DO $$
DECLARE
	op record;
	f text;
BEGIN
	FOR op IN
		SELECT * FROM (VALUES ('=', 'text', 'bool'), ('=', 'name', 'bool'), ('=', 'int4', 'bool'),
			('=', 'int8', 'bool'), ('<>', 'int4', 'bool'), ('<', 'int8', 'bool'), ('>', 'int8', 'bool'),
			('<=', 'int8', 'bool'), ('>=', 'int8', 'bool'), ('-', 'int8', 'int8'), ('+', 'int4', 'int4'),
			('-', 'timestamptz', 'interval'), ('<', 'timestamptz', 'bool'), ('<=', 'timestamptz', 'bool'),
			('>=', 'timestamptz', 'bool'), ('||', 'text', 'text'), ('/', 'float8', 'float8')) o(name, arg, result)
	LOOP
		f := format('op_%s_%s', op.arg, (SELECT string_agg(ascii(c)::text, '_') FROM regexp_split_to_table(op.name, '') c));
		EXECUTE format('CREATE FUNCTION regress_evil.%I(%s, %s) RETURNS %s LANGUAGE plpgsql
			AS $f$BEGIN RAISE EXCEPTION ''hostile operator %s runs as %%'', current_user; END$f$',
			f, op.arg, op.arg, op.result, op.name);
		EXECUTE format('CREATE OPERATOR regress_evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = regress_evil.%I)',
			op.name, op.arg, op.arg, f);
	END LOOP;
	FOREACH f IN ARRAY ARRAY['now()', 'txid_current()', 'txid_current_snapshot()',
		'nextval(text)', 'nextval(regclass)', 'quote_ident(text)', 'strpos(text, text)',
		'unnest(text[])', 'txid_snapshot_xmin(txid_snapshot)']
	LOOP
		EXECUTE format('CREATE FUNCTION regress_evil.%s RETURNS int8 LANGUAGE plpgsql
			AS $f$BEGIN RAISE EXCEPTION ''hostile function runs as %%'', current_user; END$f$', f);
	END LOOP;
END $$;
CREATE TABLE regress_evil.queue (LIKE pgq.queue);
CREATE TABLE regress_evil.consumer (LIKE pgq.consumer);
CREATE TEMP TABLE subscription (LIKE pgq.subscription);
SET search_path = regress_evil, pg_temp, pg_catalog;
SELECT 'a'::text = 'b'::text;
SELECT pgq.create_queue('queue_roles2'), pgq.set_queue_config('queue_roles2', 'ticker_max_lag', '0'),
	pgq.set_queue_config('queue_roles2', 'ticker_idle_period', '0'), pgq.grant_perms('queue_roles2');
SELECT pgq.register_consumer('queue_roles2', 'qroles_e'), pgq.register_consumer('queue_roles2', 'qroles_e2');
SELECT pgq.insert_event('queue_roles2', 't', 'd');
SELECT pgq.ticker('queue_roles2');
SELECT pgq.next_batch('queue_roles2', 'qroles_e') AS batch \gset
SELECT ev_data FROM pgq.get_batch_events(:batch);
SELECT pgq.event_retry(:batch, 1, 0), pgq.batch_retry(:batch, 0), pgq.finish_batch(:batch);
SELECT pgq.event_retry_raw('queue_roles2', 'qroles_e', pg_catalog.now(), NULL, pg_catalog.now(), 1,
	't', 'd', NULL, NULL, NULL, NULL) IS NOT NULL AS id;
SELECT pgq.maint_retry_events(), pgq.maint_rotate_tables_step1('queue_roles2'), pgq.maint_rotate_tables_step2();
SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>=) 0 AS ok FROM pgq.maint_operations();
SELECT pgq.maint_positions(), pgq.upgrade_schema(), pgq.quote_fqname('a'), pgq.version() IS NOT NULL AS version;
SELECT queue_name FROM pgq.get_queue_info('queue_roles2');
SELECT consumer_name FROM pgq.get_consumer_info('queue_roles2', 'qroles_e');
SELECT pgq.unregister_consumer('queue_roles2', 'qroles_e');
SELECT pgq.drop_queue('queue_roles2', true);
RESET search_path;
RESET ROLE;

-- every function with the owner's rights has a fixed search_path
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = 'pgq'::regnamespace AND p.prosecdef
	AND (p.proconfig IS NULL OR NOT 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig));

SELECT pgq.drop_queue('queue_roles', true);
SET client_min_messages = warning;
DROP SCHEMA regress_evil CASCADE;
DROP TABLE pg_temp.subscription;
DROP OWNED BY regress_pgq_admin;
DROP ROLE regress_pgq_none, regress_pgq_reader, regress_pgq_writer, regress_pgq_admin;
