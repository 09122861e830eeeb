-- Triggers of PgQ become captures with the same arguments.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT pgq.start_capture('regress_captrg');
SELECT pgq.create_queue('ctg_q');
CREATE TABLE ctg (id int PRIMARY KEY, v text, w text);
ALTER TABLE ctg REPLICA IDENTITY FULL;
CREATE TRIGGER rows AFTER INSERT OR UPDATE OR DELETE ON ctg FOR EACH ROW
    EXECUTE FUNCTION pgq.logutriga('ctg_q', 'backup', 'ignore=w', 'when=id < 100', 'ev_extra3=upper(v)');
CREATE TRIGGER gone AFTER TRUNCATE ON ctg FOR EACH STATEMENT EXECUTE FUNCTION pgq.logutriga('ctg_q');
CREATE FUNCTION ctg_change() RETURNS void LANGUAGE sql AS $$
    INSERT INTO ctg VALUES (1, 'a', 'b'), (100, 'c', 'd');
    UPDATE ctg SET w = 'x';
    UPDATE ctg SET v = 'y' WHERE id = 1;
    DELETE FROM ctg WHERE id = 1;
    TRUNCATE ctg;
$$;
CREATE FUNCTION ctg_events(OUT type text, OUT data text, OUT extra1 text, OUT extra2 text, OUT extra3 text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    tab text := pgq.current_event_table('ctg_q');
BEGIN
    FOR type, data, extra1, extra2, extra3 IN
        EXECUTE 'SELECT ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3 FROM ' || tab || ' ORDER BY ev_id'
    LOOP
        RETURN NEXT;
    END LOOP;
    EXECUTE 'TRUNCATE ' || tab;
END $$;
CREATE FUNCTION ctg_captured(OUT type text, OUT data text, OUT extra1 text, OUT extra2 text, OUT extra3 text)
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT e->>'ev_type', e->>'ev_data', e->>'ev_extra1', e->>'ev_extra2', e->>'ev_extra3'
    FROM pg_logical_slot_get_changes('regress_captrg', NULL, NULL) s, LATERAL (SELECT s.data::json AS e) j
$$;

SELECT ctg_change();
SELECT * FROM ctg_events();
SELECT pgq.capture_trigger('ctg', 'rows');
SELECT arguments FROM pgq.get_capture_info('ctg_q');
SELECT pgq.capture_trigger('ctg', 'gone');
SELECT arguments FROM pgq.get_capture_info('ctg_q');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'ctg'::regclass;
SELECT * FROM ctg_captured();
SELECT ctg_change();
-- the same events, none from the trigger
SELECT * FROM ctg_captured();
SELECT * FROM ctg_events();

-- what is not the same as a capture is refused, and the trigger stays
CREATE TRIGGER t1 AFTER INSERT ON ctg FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('ctg_q');
SELECT pgq.capture_trigger('ctg', 't1');
SELECT pgq.uncapture_table('ctg_q', 'ctg');
SELECT pgq.capture_trigger('ctg', 'nosuch');
CREATE TRIGGER t2 BEFORE INSERT ON ctg FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('ctg_q', 'SKIP');
SELECT pgq.capture_trigger('ctg', 't2');
CREATE TRIGGER t3 AFTER INSERT ON ctg FOR EACH ROW WHEN (NEW.id > 1) EXECUTE FUNCTION pgq.jsontriga('ctg_q');
SELECT pgq.capture_trigger('ctg', 't3');
CREATE TRIGGER t4 AFTER UPDATE OF v ON ctg FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('ctg_q');
SELECT pgq.capture_trigger('ctg', 't4');
CREATE TRIGGER t5 AFTER INSERT ON ctg FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('ctg_q', 'ev_data=(select 1)');
SELECT pgq.capture_trigger('ctg', 't5');
CREATE TRIGGER t6 BEFORE UPDATE ON ctg FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
SELECT pgq.capture_trigger('ctg', 't6');
CREATE TRIGGER t7 AFTER INSERT ON ctg FOR EACH ROW EXECUTE FUNCTION pgq.jsontriga('no such queue');
SELECT pgq.capture_trigger('ctg', 't7');
CREATE TRIGGER _londiste_q AFTER INSERT ON ctg FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('ctg_q');
SELECT pgq.capture_trigger('ctg', '_londiste_q');
ALTER TABLE ctg DISABLE TRIGGER t1;
SELECT pgq.capture_trigger('ctg', 't1');
SELECT pgq.capture_trigger('ctg', NULL);
CREATE ROLE regress_ctg_writer IN ROLE pgq_writer;
SET ROLE regress_ctg_writer;
SELECT pgq.capture_trigger('ctg', 't1');
RESET ROLE;
DROP ROLE regress_ctg_writer;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'ctg'::regclass ORDER BY 1;
SELECT count(*) FROM pgq.get_capture_info('ctg_q');

DROP TABLE ctg;
DROP FUNCTION ctg_change, ctg_events, ctg_captured;
SELECT pgq.drop_queue('ctg_q');
SELECT pgq.stop_capture();
