-- What is added to an event table needs nothing of the writer, or is refused.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA et;
SELECT pgq.create_queue('et_q'), pgq.register_consumer('et_q', 'c');
SELECT queue_data_pfx || '_0' AS leaf, queue_data_pfx AS parent, queue_id AS id
FROM pgq.queue WHERE queue_name = 'et_q' \gset
CREATE FUNCTION et.try(cmd text) RETURNS text AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE cmd;
	RETURN 'accepted';
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN regexp_replace(format(E'%s: %s\n  %s %s', SQLSTATE, message, detail,
		left(hint, 32)), 'event_\d+', 'event_N', 'g');
END;
$$ LANGUAGE plpgsql;
CREATE DOMAIN et.filled AS text NOT NULL;
CREATE DOMAIN et.checked AS int CHECK (VALUE > 0);
CREATE DOMAIN et.preset AS int DEFAULT 5;
CREATE DOMAIN et.plain AS int;
CREATE TABLE et.other (id int PRIMARY KEY);

SELECT change, et.try(format('alter table %s %s', :'leaf', change)) FROM unnest(ARRAY[
	'add x int not null default 5', 'add x int default 5', 'add x et.filled',
	'add x et.checked', 'add x et.preset', 'add x int generated always as identity',
	'add x text generated always as (ev_type || ev_data) stored', 'add check (ev_type <> ''bad'')',
	'alter ev_data set not null', 'add x int references et.other',
	'drop ev_extra4', 'alter ev_data type varchar']) WITH ORDINALITY c (change, n) ORDER BY n;
SELECT et.try(format('alter table %s add x int default 5', :'parent'));
SELECT et.try('alter table pgq.event_template add x int not null default 5');
SELECT et.try('alter table pgq.event_template add check (ev_type <> ''bad'')');
-- what stays NULL, indexes, other names are free
SELECT change, et.try(format('alter table %s %s', :'leaf', change)) FROM unnest(ARRAY[
	'add x int', 'add y et.plain', 'add unique (ev_id)', 'set (fillfactor = 90)', 'drop y',
	'alter x set default 1', 'alter x set not null', 'alter ev_extra4 set default 1']) WITH ORDINALITY c (change, n) ORDER BY n;
SELECT pgq.insert_event('et_q', 'ok', 'data') > 0;
SELECT pgq.force_tick('et_q') > 0;
SELECT ev_data FROM pgq.get_batch_events((SELECT b FROM pgq.ticker('et_q'), pgq.next_batch('et_q', 'c') b));
-- other tables of that schema, and tables of that name elsewhere
CREATE TABLE pgq.event_et (ev_id int);
ALTER TABLE pgq.event_et ADD x int NOT NULL DEFAULT 5;
DROP TABLE pgq.event_et;
CREATE TABLE et.event_template (ev_id int);
ALTER TABLE et.event_template ADD x int NOT NULL DEFAULT 5;

-- made past the event trigger: no event is written without what it needs, whoever
-- writes it, and other queues go on
ALTER EVENT TRIGGER pgq_capture_ddl DISABLE;
SELECT et.try(format('alter table %s alter x set default 1', :'leaf'));
ALTER EVENT TRIGGER pgq_capture_ddl ENABLE ALWAYS;
SELECT pgq.create_queue('et_q2');
SELECT et.try('select pgq.insert_event(''et_q'', ''no'', ''data'')');
SELECT et.try('select pgq.insert_event(''et_q2'', ''ok'', ''data'')');
CREATE TABLE et.t (id int PRIMARY KEY);
CREATE TRIGGER q AFTER INSERT ON et.t FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('et_q');
SELECT et.try('insert into et.t values (1)');
SELECT et.try(format('alter table %s alter x drop default', :'leaf'));
SELECT et.try('insert into et.t values (1)');

SELECT pgq.drop_queue('et_q', true), pgq.drop_queue('et_q2', true);
DROP SCHEMA et CASCADE;
