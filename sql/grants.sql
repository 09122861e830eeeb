-- grants.sql: who may call what. Nothing is for PUBLIC but what is named so.

GRANT USAGE ON SCHEMA pgq TO PUBLIC;

-- Not of all functions in the schema: before an upgrade, people may have put
-- some of their own there.
DO $$
DECLARE
	func regprocedure;
BEGIN
	FOR func IN
		SELECT d.objid FROM pg_depend d
		WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		  AND d.refclassid = 'pg_extension'::regclass
		  AND d.refobjid = (SELECT e.oid FROM pg_extension e
							WHERE e.extname = 'pgq')
	LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', func);
	END LOOP;
END;
$$;

-- Everybody: look at the state of queues, and alter tables, with their own rights.
GRANT EXECUTE ON FUNCTION
	pgq.alter_captured(text),
	pgq.seq_getval(text),
	pgq.get_queue_info(),
	pgq.get_queue_info(text),
	pgq.get_consumer_info(),
	pgq.get_consumer_info(text),
	pgq.get_consumer_info(text, text),
	pgq.get_queue_size(text),
	pgq.get_lost_consumers(text),
	pgq.quote_fqname(text),
	pgq.event_key(text, text, text),
	pgq.version()
TO PUBLIC;

-- Readers: consume.
GRANT EXECUTE ON FUNCTION
	pgq.batch_event_sql(int8),
	pgq.batch_event_tables(int8),
	pgq.find_tick_helper(int4, int8, timestamptz, int8, int8, interval),
	pgq.register_consumer(text, text),
	pgq.register_consumer_at(text, text, int8),
	pgq.unregister_consumer(text, text),
	pgq.seek_consumer(text, text, timestamptz, bool),
	pgq.seek_consumer(text, text, int8, bool),
	pgq.next_batch_info(text, text),
	pgq.next_batch(text, text),
	pgq.next_batch_custom(text, text, interval, int4, interval),
	pgq.get_batch_events(int8),
	pgq.get_batch_info(int8),
	pgq.get_batch_cursor(int8, text, int4),
	pgq.get_batch_cursor(int8, text, int4, text),
	pgq.event_retry(int8, int8, timestamptz),
	pgq.event_retry(int8, int8, int4),
	pgq.batch_retry(int8, int4),
	pgq.event_failed(int8, int8, text, interval, interval, int4),
	pgq.event_postpone(int8, int8, interval),
	pgq.event_dead(int8, int8, text),
	pgq.get_dead_events(text, text),
	pgq.requeue_dead_event(text, text, int8),
	pgq.purge_dead_events(text, text, timestamptz),
	pgq.force_tick(text),
	pgq.finish_batch(int8),
	pgq.event_share(text, int4, int8, text, text, text, text, text, text),
	pgq.next_share(text, text, text, interval, text),
	pgq.get_share_events(int8),
	pgq.renew_share(int8, interval),
	pgq.finish_share(int8),
	pgq.set_bookmark(int8, text),
	pgq.get_bookmark(text, text),
	pgq.get_relay_info(),
	pgq.note_relay(text, text, text, text, text, float8),
	pgq.tick_channel(text)
TO pgq_reader;

-- Writers: produce, and capture tables that are theirs.
GRANT EXECUTE ON FUNCTION
	pgq.insert_event(text, text, text),
	pgq.insert_event(text, text, text, text, text, text, text),
	pgq.insert_event(text, text, jsonb),
	pgq.insert_event(text, text, jsonb, text, text, text, text),
	pgq.insert_events(text, text[], text[], text[], text[], text[], text[]),
	pgq.insert_event_once(text, text, text, text, interval, text, text, text,
						  text),
	pgq.insert_event_at(text, timestamptz, text, text, text, text, text,
						text),
	pgq.current_event_table(text),
	pgq.emit_event(text, text, text, text, text, text, text),
	pgq.emit_events(text, text[], text[]),
	pgq.jsontriga(),
	pgq.logutriga(),
	pgq.sqltriga(),
	pgq.capture_table(text, regclass, text[]),
	pgq.uncapture_table(text, regclass),
	pgq.cancel_copy(text, regclass),
	pgq.capture_trigger(regclass, name),
	pgq.capture_schema(text, name, text[]),
	pgq.uncapture_schema(text, name),
	pgq._capture_schema_set(text, name, text[]),
	pgq._capture_schema_unset(text, name),
	pgq._capture_schema_tables(name)
TO pgq_writer;

-- Both see the state of capture and may wait for it.
GRANT EXECUTE ON FUNCTION
	pgq.get_capture_info(),
	pgq.get_capture_info(text),
	pgq.get_copy_info(),
	pgq.get_slot_info(),
	pgq.get_source_info(),
	pgq.get_problems(int8),
	pgq.wait_ingest(pg_lsn, interval)
TO pgq_reader, pgq_writer;

-- Administrators, which is also the role for the daemon.
GRANT EXECUTE ON FUNCTION
	pgq.ticker(),
	pgq.ticker(text),
	pgq.ticker(text, int8, timestamptz, int8),
	pgq.tick(text[], xid[]),
	pgq.tick_due(),
	pgq.tick_awaited(interval, interval),
	pgq.ingest(text, pg_lsn, pg_lsn, bytea),
	pgq.ingest_problem(text, text, pg_lsn),
	pgq.tell_problems(text[], text[], text[]),
	pgq._next_copy(),
	pgq._start_copy(int8),
	pgq._begin_copy(int8, text, oid),
	pgq._copy_rows(),
	pgq._publish_copy(int8),
	pgq._copy_goes_on(int8),
	pgq._note_copy(int8, int8, int8, int8, int8),
	pgq._fail_copy(int8, text),
	pgq._clean_copies(),
	pgq.ingest_timeline(text, int4),
	pgq.declare_remote_queue(text),
	pgq.drop_remote_queue(text),
	pgq.create_source(text, text[]),
	pgq.drop_source(text),
	pgq.grant_source(text, text, int4),
	pgq.revoke_source(text, text),
	pgq.reset_source(text),
	pgq._require_source(text),
	pgq._meet_source(text, int8, text, text, text, pg_lsn),
	pgq._note_source(text, text, pg_lsn, int4),
	pgq.start_capture(text),
	pgq.stop_capture(text),
	pgq.resync_capture(text, bool, regclass[]),
	pgq._resync_copies(bool, regclass[]),
	pgq._renew_slot(text),
	pgq._tell_resync(text, pg_lsn, pg_lsn),
	pgq.capture_transactions(text, bool),
	pgq.capture_ddl(text, bool),
	pgq.maint_retry_events(),
	pgq._move_retry_events(int4, text, int8),
	pgq._move_delayed_events(),
	pgq._is_over_size(pgq.queue),
	pgq._subscriptions(int4),
	pgq._queue_size(int4),
	pgq._drop_slowest(pgq.queue, int8),
	pgq._can_be_past_switch(pgq.queue),
	pgq._is_rotation_due(pgq.queue),
	pgq._is_retention_over(pgq.queue),
	pgq.maint_rotate_tables_step1(text),
	pgq._origin(),
	pgq.maint_rotate_tables_step2(),
	pgq.maint_tables_to_vacuum(),
	pgq.maint_positions(),
	pgq.maint_once_keys(),
	pgq.maint_shares(),
	pgq.maint_postponed(),
	pgq.maint_operations(),
	pgq._has_function(name, name),
	pgq.upgrade_schema(),
	pgq.grant_perms(text),
	pgq._grant_perms_from(text, text, text, text),
	pgq.tune_storage(text),
	pgq.seq_setval(text, int8),
	pgq.create_queue(text),
	pgq.drop_queue(text, bool),
	pgq.drop_queue(text),
	pgq.set_queue_config(text, text, text),
	pgq.insert_event_raw(text, int8, timestamptz, int4, int4, text, text,
						 text, text, text, text),
	pgq.event_retry_raw(text, text, timestamptz, int8, timestamptz, int4,
						text, text, text, text, text, text)
TO pgq_admin;

-- Tables. The marks in pgq.capture and pgq.event_table are nobody's,
-- nor are pgq.secret and pgq.held_event.
GRANT SELECT ON pgq.consumer, pgq.queue, pgq.tick, pgq.subscription
	TO PUBLIC;
GRANT SELECT ON pgq.consumer, pgq.queue, pgq.tick, pgq.subscription,
	pgq.event_template
	TO pgq_reader;
GRANT SELECT, INSERT, UPDATE, DELETE
	ON pgq.consumer, pgq.queue, pgq.tick, pgq.subscription, pgq.retry_queue,
	   pgq.dead_event, pgq.delayed_event, pgq.once_key, pgq.postponed_event
	TO pgq_admin;
-- Copied to the event tables of each queue.
GRANT SELECT, INSERT, TRUNCATE ON pgq.event_template TO pgq_admin;
GRANT SELECT ON pgq.share, pgq.share_worker TO pgq_reader, pgq_admin;
GRANT SELECT ON pgq.slot, pgq.position, pgq.copy TO pgq_admin;
GRANT SELECT ON pgq.remote_queue TO pgq_reader, pgq_writer;
GRANT SELECT ON pgq.source, pgq.source_queue TO pgq_admin;
GRANT SELECT ON pgq.capture_schema TO pgq_reader, pgq_writer;
