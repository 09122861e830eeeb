--
-- bookmarks of consumers, and the keys of events
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
SELECT pgq.create_queue('bm');
SELECT pgq.register_consumer('bm', 'c');
SELECT pgq.get_bookmark('bm', 'c'), pgq.get_bookmark('none', 'c');
-- in the transaction that finishes the batch
SELECT pgq.insert_event('bm', 't', 'd') > 0;
SELECT pgq.force_tick('bm') IS NOT NULL, pgq.ticker() > 0;
SELECT pgq.next_batch('bm', 'c') AS b \gset
BEGIN;
SELECT pgq.set_bookmark(:b, 'one');
SELECT pgq.finish_batch(:b);
ROLLBACK;
SELECT pgq.get_bookmark('bm', 'c');
BEGIN;
SELECT pgq.set_bookmark(:b, 'one');
SELECT pgq.set_bookmark(:b, 'two');
SELECT pgq.finish_batch(:b);
COMMIT;
SELECT pgq.get_bookmark('bm', 'c');
-- the message has the batch's number
\set VERBOSITY sqlstate
SELECT pgq.set_bookmark(:b, 'late');
\set VERBOSITY terse
SELECT pgq.set_bookmark(-1, 'none');
-- it goes with the consumer
SELECT pgq.unregister_consumer('bm', 'c');
SELECT count(*) FROM pgq.bookmark;
SELECT pgq.register_consumer('bm', 'c');
SELECT pgq.get_bookmark('bm', 'c');
SELECT pgq.drop_queue('bm', true);

-- keys, as the trigger functions write them
CREATE SCHEMA bm;
CREATE TABLE bm.one (id int PRIMARY KEY, v text);
CREATE TABLE bm.two ("a b" text, "c""d" text, n int, PRIMARY KEY ("a b", "c""d", n));
CREATE TABLE bm.none (v text);
SELECT pgq.create_queue('bm');
DO $$
DECLARE
	t text;
	f text;
BEGIN
	FOREACH t IN ARRAY array['one', 'two', 'none'] LOOP
		FOREACH f IN ARRAY array['json', 'logu', 'sql'] LOOP
			EXECUTE format('CREATE TRIGGER %s AFTER INSERT OR DELETE ON bm.%s FOR EACH ROW
				EXECUTE FUNCTION pgq.%striga(''bm'')', f, t, f);
		END LOOP;
	END LOOP;
END;
$$;
INSERT INTO bm.one VALUES (-7, E'x"y\\z\n');
INSERT INTO bm.two VALUES (E'x"y\\z\n,&=%+ ü', '', 3);
INSERT INTO bm.none VALUES ('v');
DELETE FROM bm.one;
SELECT ev_extra1, ev_type, pgq.event_key(ev_type, ev_data, ev_extra1)
FROM pgq.event_template
WHERE tableoid IN (SELECT evt_relid FROM pgq.event_table WHERE evt_queue = 'bm')
ORDER BY ev_id;
-- any text is no error
SELECT t, d, pgq.event_key(t, d, NULL)
FROM (VALUES ('I:id', 'id=1'), ('I:id', 'id'), ('I:id', 'id='), ('I:id', ''), ('I:id', 'x=1'),
	('I:', 'id=1'), ('I:id,b', 'id=1&b'), ('U:id', 'id=%'), ('U:id', 'id=%4'), ('U:id', 'id=%41'), ('R', ''), ('', 'x'),
	('{"op":"INSERT","table":["s","t"],"pkey":["id"]}', '{"id":true}'),
	('{"op":"INSERT","table":["s","t"],"pkey":["id"]}', '{"id":null}'),
	('{"op":"INSERT","table":["s","t"],"pkey":["id"]}', '{"id":"\u0041\ud83d"}'),
	('{"op":"INSERT","table":["s","t"],"pkey":["id"]}', '{"id":"'),
	('{"op":"INSERT","table":["s","t"],"pkey":["id"]}', '{"id":"\'),
	('{"op":"INSERT","table":["s","t"],"pkey":["id"]}', '{"id":1'),
	('{"op":"INSERT","table":["s","t"],"pkey":["id"]}', '{"id":[1]}'),
	('{"op":"INSERT","table":["s","t"],"pkey":["id"]}', '{}'),
	('{"op":"INSERT","table":["s","t"],"pkey":["id"]}', ''),
	('{"op":"INSERT","table":["],\"pkey\":[","t"],"pkey":["id"]}', '{"id":5}'),
	('{"op":"INSERT","table":["s","t"],"pkey":[]}', '{"id":1}'),
	('{"op":"INSERT","table":["s","t"],"pkey":["id"', '{"id":1}'),
	('{', '{'), (NULL, 'id=1'), ('I:id', NULL)) v (t, d);
SELECT pgq.event_key('I:id', 'id=' || repeat('x', 1000000), NULL) = repeat('x', 1000000);
-- nor does any become a key that is longer than there is room for
SELECT pgq.event_key(t, d, NULL) IS NULL AS has_none
FROM (VALUES ('{"op":"INSERT","table":["s","t"],"pkey":["a"' || repeat(',"a"', 62) || ']}', '{"a":"' || repeat('x', 1000000) || '"}'),
	('I:a,b', 'b=1&a=' || repeat(E'\x01', 1000000)), ('I:a,a', 'a=' || repeat('x', 1000000)), ('I:' || repeat(',', 63), '')) v (t, d);
SELECT pgq.drop_queue('bm', true);
DROP SCHEMA bm CASCADE;
