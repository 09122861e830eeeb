-- Who may capture: a table's owner who may write to queues; nobody writes marks.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgq;
CREATE SCHEMA cap;
SET search_path = cap, public;
\pset format unaligned
\pset tuples_only on

-- Runs a command and tells how it was refused.
CREATE FUNCTION cap.try(cmd text) RETURNS text AS $$
DECLARE
	message text;
	detail text;
	hint text;
	result text;
BEGIN
	IF cmd ~* '^select' THEN
		EXECUTE cmd INTO result;
	ELSE
		EXECUTE cmd;
	END IF;
	RETURN 'accepted' || coalesce(': ' || result, '');
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN format('%s: %s', SQLSTATE, message)
		|| coalesce(E'\n  DETAIL ' || nullif(detail, ''), '')
		|| coalesce(E'\n  HINT ' || nullif(hint, ''), '');
END;
$$ LANGUAGE plpgsql;

SELECT pgq.create_queue('cap_q');
SELECT pgq.start_capture('cap_slot');
CREATE ROLE cap_owner;
CREATE ROLE cap_writer IN ROLE pgq_writer;
CREATE ROLE cap_reader IN ROLE pgq_reader;
CREATE ROLE cap_both IN ROLE pgq_writer;
CREATE ROLE cap_admin IN ROLE pgq_admin;
CREATE ROLE cap_member IN ROLE cap_both;
GRANT USAGE ON SCHEMA cap
	TO cap_owner, cap_writer, cap_reader, cap_both, cap_admin, cap_member;
CREATE TABLE owned (id int PRIMARY KEY);
ALTER TABLE owned OWNER TO cap_owner;
CREATE TABLE both_t (id int PRIMARY KEY);
ALTER TABLE both_t OWNER TO cap_both;
CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
ALTER TABLE root OWNER TO cap_both;

-- an owner who may not write to queues
SET ROLE cap_owner;
SELECT cap.try($$select pgq.capture_table('cap_q', 'cap.owned')$$);
SELECT cap.try($$select pgq.uncapture_table('cap_q', 'cap.owned')$$);
SELECT cap.try($$select * from pgq.get_capture_info()$$);
SELECT cap.try($$select pgq.wait_ingest('0/1')$$);
-- not even when somebody lets him call it
RESET ROLE;
GRANT EXECUTE ON FUNCTION pgq.capture_table(text, regclass, text[])
	TO cap_owner;
SET ROLE cap_owner;
SELECT cap.try($$select pgq.capture_table('cap_q', 'cap.owned')$$);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION pgq.capture_table(text, regclass, text[])
	FROM cap_owner;

-- writers and administrators who do not own the table
SET ROLE cap_writer;
SELECT cap.try($$select pgq.capture_table('cap_q', 'cap.owned')$$);
SELECT cap.try($$select pgq.uncapture_table('cap_q', 'cap.owned')$$);
SET ROLE cap_admin;
SELECT cap.try($$select pgq.capture_table('cap_q', 'cap.owned')$$);

-- owners who are writers, or members of such an owner
SET ROLE cap_both;
SELECT cap.try($$select pgq.capture_table('cap_q', 'cap.both_t')$$);
SELECT cap.try($$select pgq.capture_table('cap_q', 'cap.root')$$);
SELECT cap.try($$select pgq.wait_ingest('0/1')$$);
SET ROLE cap_member;
SELECT cap.try($$select pgq.capture_table('cap_q', 'cap.both_t', 'ops=insert')$$);
SELECT cap.try($$select pgq.uncapture_table('cap_q', 'cap.both_t')$$);

-- readers see, and do no more
SET ROLE cap_reader;
SELECT table_name, arguments, state FROM pgq.get_capture_info('cap_q');
SELECT slot_name, state FROM pgq.get_slot_info();
SELECT cap.try($$select pgq.capture_table('cap_q', 'cap.owned')$$);
SELECT cap.try($$select pgq._invalidate_capture()$$);

-- the marks are nobody's
SELECT rolname, has_table_privilege(rolname, 'pgq.capture',
	'select, insert, update, delete, truncate')
FROM pg_roles WHERE rolname LIKE 'pgq\_%' OR rolname = 'cap_both' ORDER BY 1;

-- a function that somebody else defines acts as its owner, not as the caller
RESET ROLE;
CREATE FUNCTION cap.as_both() RETURNS int LANGUAGE sql SECURITY DEFINER
AS $$ SELECT pgq.capture_table('cap_q', 'cap.owned') $$;
ALTER FUNCTION cap.as_both() OWNER TO cap_both;
SET ROLE cap_owner;
SELECT cap.try('select cap.as_both()');
RESET ROLE;

-- Types and operators that run their owner's code. Whoever analyses the
-- expression, be it the table's owner, an event trigger or get_capture_info()
-- with the rights of the extension's owner, or the plugin, must not run it.
GRANT CREATE ON SCHEMA cap TO cap_both;
CREATE SCHEMA cap_smuggle AUTHORIZATION cap_both;
SET ROLE cap_both;
CREATE FUNCTION cap.check_value(int) RETURNS bool LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'user code runs as %', current_user; END $$;
CREATE DOMAIN cap.dom AS int CHECK (cap.check_value(value));
CREATE FUNCTION cap.take_array(cap.dom[]) RETURNS text LANGUAGE sql IMMUTABLE
AS $$ SELECT 'x' $$;
CREATE FUNCTION cap.equal(int, cap.dom[]) RETURNS bool LANGUAGE sql IMMUTABLE
AS $$ SELECT true $$;
CREATE OPERATOR cap.=== (LEFTARG = int, RIGHTARG = cap.dom[], FUNCTION = cap.equal);
CREATE DOMAIN pg_temp.text AS int CHECK (cap.check_value(value));
CREATE TABLE cap.smuggle (id int PRIMARY KEY, doms cap.dom[]);
SELECT cap.try(format($$select pgq.capture_table('cap_q', 'cap.smuggle', %L)$$, arg))
FROM unnest(ARRAY[
	$$ev_extra1='{1}'::cap.dom[]::text$$, $$ev_extra1=cap.take_array('{1}')$$,
	$$when=1 operator(cap.===) '{1}'$$, $$when=doms = '{1}'$$,
	$$when='1'::cap.dom is null$$, $$when=cast('{1}' as cap.dom[]) is null$$,
	$$when=(select '{1}'::cap.dom[]) is null$$,
	$$when='1'::pg_temp.text is null$$, $$ev_data=md5((select id::text))$$]) arg;
-- a name that is the server's and somebody's means the server's
SELECT cap.try($$select pgq.capture_table('cap_q', 'cap.smuggle', 'ev_extra1=''1''::text')$$);
-- a rule for tables to come, which an event trigger looks at
SELECT cap.try($$select pgq.capture_schema('cap_q', 'cap_smuggle', 'ev_extra1=''{1}''::cap.dom[]::text')$$);
SELECT cap.try('create table cap_smuggle.t (id int primary key)');
DROP TABLE cap.smuggle;
DROP DOMAIN pg_temp.text;
RESET ROLE;
DROP SCHEMA cap_smuggle;

-- functions of the triggers can't be called, and no search path reaches what
-- runs with other rights
SELECT cap.try('select pgq._capture_ddl()');
SELECT cap.try('select pgq._capture_drop()');
SELECT cap.try('select pgq._capture_drop_index()');
SELECT proname FROM pg_proc
WHERE pronamespace = 'pgq'::regnamespace AND prosecdef
	AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false);

SELECT pgq.drop_queue('cap_q', true);
SELECT pgq.stop_capture();
DROP SCHEMA cap CASCADE;
DROP ROLE cap_owner, cap_writer, cap_reader, cap_both, cap_admin, cap_member;
