-- The slot of a database: started once, adopted, refused, dropped.
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

-- before: nothing to see, nothing to wait for, nothing to stop
SELECT count(*) FROM pgq.get_slot_info();
SELECT cap.try($$select pgq.wait_ingest('0/1')$$);
SELECT pgq.stop_capture();

-- the server does not allow the plugin (if it knows that setting)
SELECT count(set_config(name, 'test_decoding, "Odd"', false)) >= 0
FROM pg_settings WHERE name = 'output_plugin_libraries';
SELECT s.name IS NULL OR cap.try('select pgq.start_capture(''cap_slot'')') =
'55000: the server does not allow output plugin "pgq"
  DETAIL output_plugin_libraries is "test_decoding, "Odd"".
  HINT As a superuser run: ALTER SYSTEM SET output_plugin_libraries = test_decoding, "Odd", pgq; SELECT pg_reload_conf();'
FROM (VALUES (1)) AS one
LEFT JOIN pg_settings s ON s.name = 'output_plugin_libraries';
SELECT count(set_config(name, reset_val, false)) >= 0
FROM pg_settings WHERE name = 'output_plugin_libraries';

-- a slot cannot be made by a transaction that wrote, nor with any name
SELECT cap.try($$select pgq.start_capture('Bad Name')$$);
BEGIN;
SELECT pg_current_xact_id() IS NOT NULL;
SELECT cap.try($$select pgq.start_capture('cap_slot')$$);
ROLLBACK;

-- the slot stays when its transaction rolls back, and is adopted then
BEGIN;
SELECT pgq.start_capture('cap_slot');
ROLLBACK;
SELECT count(*) FROM pgq.slot;
SELECT pgq.start_capture('cap_slot');
SELECT slot_name, slot_problem FROM pgq.slot;
SELECT pos_slot, pos_lsn = confirmed_flush_lsn AS at_slot, pos_events
FROM pgq.position JOIN pg_replication_slots ON slot_name = pos_slot;
SELECT plugin, slot_type, temporary, two_phase, database = current_database()
FROM pg_replication_slots WHERE slot_name LIKE 'cap%';

-- started is started
SELECT pgq.start_capture('cap_slot');
SELECT pgq.start_capture();
SELECT cap.try($$select pgq.start_capture('cap_other')$$);
SELECT slot_name, active, events, state, problem FROM pgq.get_slot_info();

-- nobody ingests: what is there is there, the rest is waited for in vain
SELECT pgq.wait_ingest('0/1');
SELECT pgq.wait_ingest(pg_current_wal_lsn(), '50 milliseconds');
SELECT cap.try('select pgq.wait_ingest(null)');
SELECT cap.try($$select pgq.wait_ingest('0/1', null)$$);
UPDATE pgq.slot SET slot_problem = 'WAL is missing.';
SELECT cap.try($$select pgq.wait_ingest('0/1')$$);
SELECT state, problem FROM pgq.get_slot_info();
UPDATE pgq.slot SET slot_problem = NULL;

-- the slot was dropped behind our back
SELECT pg_drop_replication_slot('cap_slot');
SELECT cap.try($$select pgq.start_capture('cap_slot')$$);
SELECT state, problem FROM pgq.get_slot_info();
SELECT pgq.stop_capture();
SELECT count(*) FROM pgq.slot;
SELECT count(*) FROM pgq.position;

-- of another server, say from a dump
SELECT pgq.start_capture('cap_slot');
UPDATE pgq.slot SET slot_sysid = 1;
SELECT state, problem FROM pgq.get_slot_info();
SELECT cap.try($$select pgq.start_capture('cap_slot')$$);
SELECT pgq.stop_capture('cap_slot');

-- the names of others are left alone
SELECT slot_name FROM pg_create_physical_replication_slot('cap_physical');
SELECT cap.try($$select pgq.start_capture('cap_physical')$$);
SELECT pgq.stop_capture('cap_physical');
SELECT pg_drop_replication_slot('cap_physical');
SELECT slot_name
FROM pg_create_logical_replication_slot('cap_test', 'test_decoding');
SELECT cap.try($$select pgq.start_capture('cap_test')$$);
SELECT pgq.stop_capture('cap_test');
SELECT pg_drop_replication_slot('cap_test');

-- the default name comes from the database's
SELECT pgq.start_capture() = 'pgq_' || regexp_replace(lower(current_database()),
	'[^a-z0-9_]', '_', 'g');
SELECT pgq.stop_capture();
SELECT pgq.stop_capture();

-- who may: pgq_admin to call, REPLICATION to make the slot
CREATE ROLE cap_nobody;
CREATE ROLE cap_admin IN ROLE pgq_admin;
CREATE ROLE cap_replication REPLICATION IN ROLE pgq_admin;
GRANT USAGE ON SCHEMA cap TO cap_nobody, cap_admin, cap_replication;
SET ROLE cap_nobody;
SELECT left(cap.try('select pgq.start_capture()'), 5);
SELECT left(cap.try('select pgq.stop_capture()'), 5);
SET ROLE cap_admin;
SELECT left(cap.try('select pgq.start_capture()'), 5);
SET ROLE cap_replication;
SELECT cap.try($$select pgq.start_capture('cap_slot')$$);
SET ROLE cap_admin;
SELECT left(cap.try('select pgq.stop_capture()'), 5);
SET ROLE cap_replication;
SELECT cap.try('select pgq.stop_capture()');
RESET ROLE;
SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'cap%';

-- a read-only transaction writes nothing
SELECT pgq.start_capture('cap_slot');
START TRANSACTION READ ONLY;
SELECT cap.try('select pgq.stop_capture()');
SELECT cap.try('select pgq.resync_capture()');
COMMIT;
SELECT pgq.stop_capture();
START TRANSACTION READ ONLY;
SELECT cap.try('select pgq.start_capture()');
COMMIT;

DROP SCHEMA cap CASCADE;
DROP ROLE cap_nobody, cap_admin, cap_replication;
