/*-------------------------------------------------------------------------
 *
 * doctor_checks.c
 *		The checks of pgqadm doctor, along the way from a change to consumers.
 *
 * Queries run with search_path pg_catalog, so that names of functions and
 * operators need no schema and regclass is printed with one.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stddef.h>

#include "admin/doctor.h"
#include "common/lasting.h"
#include "common/wal_level.h"

#define OUR_SLOT                                                               \
	"pg_replication_slots r join pgq.get_slot_info() s"                        \
	" on r.slot_name = s.slot_name and r.plugin = 'pgq'"                       \
	" and r.database = current_database()"

/* Roles that do our work here: who asks, and who runs pgqd. */
#define OUR_ROLES                                                              \
	"pg_roles o where o.rolname = current_user or o.rolname in"                \
	" (select a.usename from pg_stat_activity a"                               \
	" where a.application_name like 'pgqd/%'"                                  \
	" and a.datname = current_database())"

#define PGQD_SESSIONS                                                          \
	"pg_stat_activity a where a.application_name ~ '^pgqd(/|$)'"               \
	" and a.datname = current_database()"

/* A transaction of this age is in the way of rotation, or will be. */
#define LONG_TIME                                                              \
	"(select coalesce(min(least(q.queue_rotation_period, '1 hour')),"          \
	" '1 hour') from pgq.queue q)"

/* Time without its fraction. */
#define AGE(since) "date_trunc('second', clock_timestamp() - " since ")::text"

#define RESYNC "SELECT pgq.resync_capture({1});"
#define CHANGES_LOST                                                           \
	"Changes are missing from the queues. To go on without them, as pgqadm"    \
	" resync does; consumers get an event pgq.resync, and the tables anew:"

/* Of what lasts, the rows of one kind. */
#define LASTING(kind)                                                          \
	"select w.problem, w.hint, w.statement from (" LASTING_SQL ") w"           \
	" where w.kind = '" kind "'"

const DoctorCheck doctor_checks[] = {
	{"server", NEED_SERVER, DOCTOR_PROBLEM,
	 "select current_setting('server_version') where"
	 " current_setting('server_version_num')::int < 140000",
	 "PostgreSQL {1} is too old", "Move to PostgreSQL 14 or later.", NULL},
	{"server", NEED_SERVER, DOCTOR_WARNING,
	 "select current_setting('server_version') where"
	 " current_setting('server_version_num')::int >= 200000",
	 "PostgreSQL {1} is newer than what this version of PgQ was made for",
	 "Look for a newer PgQ.", NULL},
	{"server", NEED_SERVER, DOCTOR_WARNING,
	 "select 1 where pg_is_in_recovery()",
	 "the server is a standby: queues stand still here",
	 "Run doctor on the primary, too; here it looks at the slot for a failover.",
	 NULL},

	{"extension", NEED_SERVER, DOCTOR_PROBLEM,
	 "select 1 where not exists (select from pg_extension where extname = 'pgq')"
	 " and not exists (select from pg_available_extensions where name = 'pgq')",
	 "the server's machine has no extension pgq",
	 "Install the package of PgQ for this server there, or run make install.",
	 NULL},
	{"extension", NEED_SERVER, DOCTOR_PROBLEM,
	 "select 1 where not exists (select from pg_extension where extname = 'pgq')"
	 " and exists (select from pg_available_extensions where name = 'pgq')"
	 " and to_regnamespace('pgq') is null",
	 "this database has no extension pgq",
	 "Create it as a superuser:", "CREATE EXTENSION pgq;"},
	{"extension", NEED_SERVER, DOCTOR_WARNING,
	 "select e.extversion, a.default_version from pg_extension e"
	 " join pg_available_extensions a on a.name = e.extname"
	 " where e.extname = 'pgq' and string_to_array("
	 "substring(e.extversion from '^[0-9.]*[0-9]'), '.')::int[]"
	 " < string_to_array("
	 "substring(a.default_version from '^[0-9.]*[0-9]'), '.')::int[]",
	 "the extension is version {1}, the server's machine has {2}",
	 "Move to it:", "ALTER EXTENSION pgq UPDATE;"},
	{"extension", NEED_CAPTURE, DOCTOR_PROBLEM,
	 "select evtname::text, quote_ident(evtname) from pg_event_trigger"
	 " where evtname like 'pgq\\_capture%' and evtenabled <> 'A'",
	 "event trigger {1} is not always enabled: altered tables may break their"
	 " capture",
	 "Enable it:", "ALTER EVENT TRIGGER {2} ENABLE ALWAYS;"},

	{"library", NEED_PGQ, DOCTOR_PROBLEM,
	 /* stops with an error if the library or one function is not there */
	 "select 1 from (select count(fmgr_c_validator(p.oid)::text) as n"
	 " from pg_proc p where p.probin ~ '^\\$libdir/pgq'"
	 " and has_function_privilege(p.oid, 'execute')) as f where f.n < 0",
	 "", "", NULL},

	{"wal_level", NEED_SERVER, DOCTOR_CAPTURE_PROBLEM,
	 "select current_setting('wal_level')"
	 " where not " WAL_LEVEL_SUFFICES,
	 "wal_level is {1}; captured tables need logical",
	 "Set it as a superuser and restart the server:",
	 "ALTER SYSTEM SET wal_level = logical;"},

	{"plugin list", NEED_SERVER, DOCTOR_CAPTURE_PROBLEM,
	 /*
	  * A quoted name may hold commas: someone put the whole list in quotes.
	  * To split at them sets that right.  Who may not read the setting asks
	  * only if no slot is there to show that all is well.
	  */
	 "with s as (select case when"
	 " pg_has_role('pg_read_all_settings', 'usage')"
	 " or not exists (select from pg_replication_slots where active"
	 " and plugin = 'pgq') then"
	 " current_setting('output_plugin_libraries', true) end as v),"
	 " allowed as (select btrim(m[1], E' \\t\\n\"') as name"
	 " from s, regexp_matches(s.v, '\"[^\"]*\"|[^,\"]+', 'g') m)"
	 " select s.v, (select coalesce(string_agg(quote_ident(w) || ', ', ''"
	 " order by n), '') from (select btrim(p, E' \\t\\n\"') as w, n"
	 " from string_to_table(s.v, ',') with ordinality as t (p, n)) as t"
	 " where w not in ('', 'pgq'))"
	 " from s where s.v is not null and not exists"
	 " (select from allowed where name = 'pgq')",
	 "output_plugin_libraries is \"{1}\": the server refuses our output plugin",
	 "Put pgq on the list as a superuser, without quotes around the whole:",
	 "ALTER SYSTEM SET output_plugin_libraries = {2}pgq;\n"
	 "SELECT pg_reload_conf();"},

	{"slots free", NEED_SERVER, DOCTOR_CAPTURE_PROBLEM,
	 "select n.used, n.used + 4 from (select count(*) as used,"
	 " coalesce(bool_or(plugin = 'pgq' and database = current_database()),"
	 " false) as have from pg_replication_slots) n"
	 " where not n.have and"
	 " n.used >= current_setting('max_replication_slots')::int",
	 "all {1} replication slots are in use, and this database has none",
	 "Drop one that nobody reads, or as a superuser allow more and restart the"
	 " server:",
	 "ALTER SYSTEM SET max_replication_slots = {2};"},
	{"slots free", NEED_SERVER, DOCTOR_CAPTURE_PROBLEM,
	 "select n.used, n.used + 4 from (select count(*) as used,"
	 " coalesce(bool_or(application_name like 'pgqd/%'), false) as have"
	 " from pg_stat_replication) n where not n.have and n.used >="
	 " current_setting('max_wal_senders')::int",
	 "all {1} WAL senders are in use, none is left for pgqd",
	 "End a replication that is not needed, or as a superuser allow more and"
	 " restart the server:",
	 "ALTER SYSTEM SET max_wal_senders = {2};"},

	{"roles", NEED_PGQ, DOCTOR_PROBLEM,
	 "select o.rolname::text, quote_ident(o.rolname) from (select * from"
	 " " OUR_ROLES ") o where not o.rolsuper and not"
	 " pg_has_role(o.oid, 'pgq_admin', 'usage')",
	 "role \"{1}\" has not the rights of pgq_admin",
	 "Grant them:", "GRANT pgq_admin TO {2};"},
	{"roles", NEED_SERVER, DOCTOR_CAPTURE_PROBLEM,
	 "select o.rolname::text, quote_ident(o.rolname) from (select * from"
	 " " OUR_ROLES ") o where not o.rolsuper and not o.rolreplication",
	 "role \"{1}\" may not read a slot",
	 "As a superuser give it the attribute:", "ALTER ROLE {2} REPLICATION;"},

	{"slot", NEED_CAPTURE, DOCTOR_PROBLEM,
	 "select count(*) from pgq.get_capture_info()"
	 " having count(*) > 0 and not exists (select from pgq.get_slot_info())",
	 "{1} captures, but capture is not started: their changes go nowhere",
	 "Make the slot; changes made before are not captured:",
	 "SELECT pgq.start_capture();"},
	{"slot", NEED_SLOT, DOCTOR_PROBLEM,
	 /* a copy of a database must not take the slot of the original */
	 "select quote_literal(case when exists (select from pg_replication_slots r"
	 " where r.slot_name = i.slot_name and r.database is distinct from"
	 " current_database()) then left('pgq_' || regexp_replace(lower("
	 "current_database()), '[^a-z0-9_]', '_', 'g'), 63) else i.slot_name end),"
	 " i.slot_name, i.problem from pgq.get_slot_info() i"
	 " where i.state in ('missing', 'lost')",
	 "slot \"{2}\": {3}", CHANGES_LOST, RESYNC},
	{"slot", NEED_SLOT, DOCTOR_PROBLEM,
	 "select quote_literal(s.slot_name), s.slot_name, s.slot_problem,"
	 " s.slot_problem_lsn from pgq.slot s join pgq.get_slot_info() i"
	 " on i.state = 'problem' where s.slot_problem_lsn is not null",
	 "ingest stands still at {4}: {3}", CHANGES_LOST, RESYNC},
	{"slot", NEED_SLOT, DOCTOR_PROBLEM,
	 "select s.slot_problem from pgq.slot s join pgq.get_slot_info() i"
	 " on i.state = 'problem' where s.slot_problem_lsn is null",
	 "ingest stands still: {1}",
	 "Remove the cause; pgqd tries again every check_period, and nothing is"
	 " lost meanwhile.",
	 NULL},
	{"slot", NEED_SLOT, DOCTOR_PROBLEM,
	 "select r.slot_name::text, r.active_pid, a.application_name from " OUR_SLOT
	 " join pg_stat_activity a on a.pid = r.active_pid"
	 " where a.application_name not like 'pgqd/%'",
	 "slot \"{1}\" is read by another program, \"{3}\", process {2}",
	 "What it confirms never reaches the queues. End it:",
	 "SELECT pg_terminate_backend({2});"},
	{"slot", NEED_SLOT, DOCTOR_PROBLEM,
	 "select slot_name from pgq.get_slot_info() where state = 'inactive'"
	 " and exists (select from " PGQD_SESSIONS ")",
	 "pgqd is connected, but nobody reads slot \"{1}\"",
	 "See pgqd's log for the reason. Its ini file must not say ingest = 0.",
	 NULL},

	{"progress", NEED_CAPTURE, DOCTOR_PROBLEM,
	 /* of the other kinds we tell ourselves, with statements */
	 "select problem, hint from pgq.get_problems()"
	 " where kind in ('lock', 'commit', 'slot', 'stream', 'ticker')",
	 "{1}", "{2}", NULL},
	/*
	 * Will a promoted standby have the slot?  Columns that not all servers have
	 * are read from JSON.
	 */
	{"failover", NEED_SLOT, DOCTOR_PROBLEM,
	 "select r.slot_name::text, current_database()::text,"
	 " case when current_setting('synchronized_standby_slots', true) <> ''"
	 " then 'synchronized_standby_slots is set'"
	 " else 'sync_replication_slots is on' end from " OUR_SLOT
	 " where not pg_is_in_recovery() and not (to_jsonb(r) ->> 'failover')::bool"
	 " and (current_setting('synchronized_standby_slots', true) <> ''"
	 " or current_setting('sync_replication_slots', true) = 'on')",
	 "slot \"{1}\" is no failover slot, though {3}: a promoted standby will not"
	 " have it",
	 "Stop pgqd, make it one with psql 'dbname={2} replication=database' -c"
	 " 'ALTER_REPLICATION_SLOT {1} (FAILOVER)', and start pgqd; nothing is lost.",
	 NULL},
	{"failover", NEED_SLOT, DOCTOR_WARNING,
	 "select r.slot_name::text, a.application_name, case"
	 " when p.slot_name is null then 'it has no primary_slot_name'"
	 " else 'it has hot_standby_feedback off' end"
	 " from " OUR_SLOT " cross join pg_stat_replication a"
	 " left join pg_replication_slots p on p.active_pid = a.pid"
	 " where not pg_is_in_recovery() and (to_jsonb(r) ->> 'failover')::bool"
	 " and current_setting('sync_replication_slots', true) = 'on'"
	 " and a.state = 'streaming' and p.slot_type is distinct from 'logical'"
	 " and (p.slot_name is null"
	 " or p.xmin is null and p.catalog_xmin is null)",
	 "standby \"{2}\" can keep no copy of slot \"{1}\": {3}",
	 "Set that on the standby: see high-availability.md.", NULL},
	{"failover", NEED_SLOT, DOCTOR_WARNING,
	 "select s.slot_name, case when"
	 " current_setting('sync_replication_slots', true) is not null then"
	 " 'sync_replication_slots on this standby, and a slot with failover on the"
	 " primary'"
	 " else 'a cluster manager that copies it, as Patroni does its permanent"
	 " slots' end from pgq.get_slot_info() s where pg_is_in_recovery() and not exists (select from"
	 " pg_replication_slots p where p.slot_name = s.slot_name"
	 " and p.plugin = 'pgq')",
	 "this standby has no slot \"{1}\": were it promoted, changes would be"
	 " missing",
	 "It takes {2}; see high-availability.md.", NULL},
	{"failover", NEED_SLOT, DOCTOR_WARNING,
	 "select r.slot_name::text from " OUR_SLOT
	 " where pg_is_in_recovery() and (to_jsonb(r) ->> 'synced')::bool"
	 " and r.temporary",
	 "slot \"{1}\" is not complete on this standby: promoted now, it would not"
	 " have it",
	 "It is when the standby has all that the primary's slot needs: see the"
	 " server's log for what it waits for.",
	 NULL},
	{"failover", NEED_SLOT, DOCTOR_PROBLEM,
	 "select r.slot_name::text, quote_literal(r.slot_name) from " OUR_SLOT
	 " where pg_is_in_recovery() and not (to_jsonb(r) ->> 'synced')::bool"
	 " and current_setting('sync_replication_slots', true) = 'on'",
	 "slot \"{1}\" on this standby is not the copy of the primary's, but from"
	 " when it was the primary itself, and does not follow",
	 "Drop it here; the server then copies the primary's:",
	 "SELECT pg_drop_replication_slot({2});"},
	{"failover", NEED_SLOT, DOCTOR_PROBLEM,
	 "select r.slot_name::text, coalesce(to_jsonb(r) ->> 'invalidation_reason',"
	 " r.wal_status) from " OUR_SLOT " where pg_is_in_recovery()"
	 " and (r.wal_status = 'lost'"
	 " or to_jsonb(r) ->> 'invalidation_reason' is not null)",
	 "slot \"{1}\" is lost on this standby ({2}): were it promoted, changes would"
	 " be missing",
	 "Drop it here, to be copied anew; hot_standby_feedback must be on.", NULL},

	{"WAL held", NEED_SLOT, DOCTOR_PROBLEM,
	 "select r.slot_name::text, pg_size_pretty(s.lag_bytes) from " OUR_SLOT
	 " where r.wal_status = 'unreserved'",
	 "slot \"{1}\" is {2} behind, and the server is about to remove its WAL",
	 "Start pgqd at once, or let the server keep more WAL as a superuser:",
	 "ALTER SYSTEM SET max_slot_wal_keep_size = -1;\n"
	 "SELECT pg_reload_conf();"},
	{"WAL held", NEED_SLOT, DOCTOR_WARNING,
	 "select r.slot_name::text, pg_size_pretty(h.held),"
	 " current_setting('max_slot_wal_keep_size') from " OUR_SLOT
	 " cross join lateral (select pg_wal_lsn_diff(case when pg_is_in_recovery()"
	 " then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,"
	 " r.restart_lsn) as held) h where r.wal_status <> 'unreserved'"
	 " and (h.held > r.safe_wal_size or h.held > 16::numeric * 1024^3)",
	 "slot \"{1}\" holds back {2} of WAL (max_slot_wal_keep_size is {3})",
	 "See whether pgqd runs and which transactions are long; mind the disk.",
	 NULL},

	{"captures", NEED_CAPTURE, DOCTOR_PROBLEM,
	 "select c.table_name, c.queue_name from pgq.get_capture_info() c"
	 " join pg_class r on r.oid = to_regclass(c.table_name)"
	 " where r.relpersistence = 'u'",
	 "table {1}, captured for queue \"{2}\", is unlogged: its changes are in no"
	 " WAL",
	 "Make it logged:", "ALTER TABLE {1} SET LOGGED;"},
	{"captures", NEED_CAPTURE, DOCTOR_PROBLEM,
	 "select c.table_name, c.queue_name, c.warnings[1] from"
	 " pgq.get_capture_info() c left join pg_class r"
	 " on r.oid = to_regclass(c.table_name) where c.state = 'broken'"
	 " and r.relpersistence is distinct from 'u'"
	 " and c.replica_identity is distinct from 'nothing'",
	 "table {1} can no longer be captured for queue \"{2}\": {3}",
	 "Alter it so that it can, or end its capture with pgqadm uncapture.",
	 NULL},
	{"captures", NEED_CAPTURE, DOCTOR_PROBLEM,
	 "select c.table_name, c.queue_name, case when exists (select from"
	 " pg_index i where i.indrelid = to_regclass(c.table_name)"
	 " and i.indisprimary) then 'DEFAULT' else 'FULL' end"
	 " from pgq.get_capture_info() c where c.state = 'broken'"
	 " and c.replica_identity = 'nothing'",
	 "table {1}, captured for queue \"{2}\", has no replica identity: updates"
	 " and deletes cannot be captured",
	 "Give it one:", "ALTER TABLE {1} REPLICA IDENTITY {3};"},
	{"captures", NEED_CAPTURE, DOCTOR_PROBLEM,
	 "select distinct c.queue_name, quote_literal(c.queue_name)"
	 " from pgq.get_capture_info() c where not exists (select from pgq.queue q"
	 " where q.queue_name = c.queue_name)",
	 "tables are captured for queue \"{1}\", which does not exist: their events"
	 " are discarded",
	 "Create it, or end those captures with pgqadm uncapture:",
	 "SELECT pgq.create_queue({2});"},
	{"captures", NEED_CAPTURE, DOCTOR_WARNING,
	 "select c.table_name, c.queue_name, w, (select string_agg(format("
	 "'ALTER TABLE %s REPLICA IDENTITY FULL;', t.oid::regclass), E'\\n'"
	 " order by t.oid) from pg_class t where t.relkind <> 'p' and t.oid in"
	 " (select to_regclass(c.table_name)::oid union select p.relid::oid"
	 " from pg_partition_tree(to_regclass(c.table_name)) p))"
	 " from pgq.get_capture_info() c, unnest(c.warnings) w"
	 " where c.state = 'ok' and w ~ 'replica identity FULL'",
	 "table {1}, queue \"{2}\": {3}",
	 "Consumers can bear that, or, at the price of more WAL:", "{4}"},
	{"captures", NEED_CAPTURE, DOCTOR_WARNING,
	 "select c.table_name, c.queue_name, w"
	 " from pgq.get_capture_info() c, unnest(c.warnings) w"
	 " where c.state = 'ok' and w !~ 'replica identity FULL'"
	 " and w not in (select i.problem from pgq.get_slot_info() i"
	 " where i.problem is not null)",
	 "table {1}, queue \"{2}\": {3}",
	 "Make sure that its consumers can do with that.", NULL},

	/* clang-format off */
	{"transactions", NEED_PGQ, DOCTOR_WARNING,
	 "select a.pid, " AGE("a.xact_start") ", a.datname::text, a.state"
	 " from pg_stat_activity a where a.backend_type = 'client backend'"
	 " and (a.backend_xid is not null or a.backend_xmin is not null)"
	 " and a.pid <> pg_backend_pid()"
	 " and a.xact_start < clock_timestamp() - " LONG_TIME
	 " order by a.xact_start",
	 "process {1} in database \"{3}\" has been in a transaction for {2} ({4}):"
	 " it holds back WAL and the rotation of event tables",
	 "See what it does; if it is forgotten, end it:",
	 "SELECT pg_terminate_backend({1});"},
	{"transactions", NEED_PGQ, DOCTOR_PROBLEM,
	 "select x.gid, " AGE("x.prepared") ", x.database::text,"
	 " quote_literal(x.gid) from pg_prepared_xacts x"
	 " where x.prepared < clock_timestamp() - " LONG_TIME
	 " order by x.prepared",
	 "transaction \"{1}\" in database \"{3}\" was prepared {2} ago: it holds"
	 " back WAL and the rotation of event tables",
	 "Ask its owner, then end it there: COMMIT PREPARED {4}; or"
	 " ROLLBACK PREPARED {4};",
	 NULL},
	/* clang-format on */

	{"consumers", NEED_PGQ, DOCTOR_PROBLEM, LASTING("consumers"), "{1}", "{2}",
	 NULL},
	{"consumers", NEED_CAPTURE, DOCTOR_PROBLEM,
	 "select l.queue_name, l.consumer_name, date_trunc('second',"
	 " l.lost_time)::text, quote_literal(l.queue_name),"
	 " quote_literal(l.consumer_name) from pgq.get_lost_consumers() l",
	 "consumer \"{2}\" lost its position on queue \"{1}\" at {3}, because the"
	 " queue was over its max_size",
	 "Events are missing for it. To go on with those to come: SELECT"
	 " pgq.register_consumer({4}, {5}); or pgq.unregister_consumer({4}, {5}).",
	 NULL},

	{"queues", NEED_CAPTURE, DOCTOR_PROBLEM,
	 "select s.queue_name, pg_size_pretty(s.size), pg_size_pretty(s.max_size),"
	 " coalesce('consumer \"' || s.held_by || '\"', 'a transaction, a dump, or"
	 " too small a limit') from pgq.get_queue_size() s where s.is_over",
	 "queue \"{1}\" takes {2} of disk, more than its max_size of {3}",
	 "In the way is {4}. pgqd rotates early while that is so; max_size_policy"
	 " drop_slowest gives up the consumer that is farthest behind.",
	 NULL},
	{"queues", NEED_PGQ, DOCTOR_WARNING, LASTING("paused"), "{1}", "{2}",
	 "{3}"},
	{"queues", NEED_PGQ, DOCTOR_WARNING,
	 "select queue_name, quote_literal(queue_name) from pgq.queue"
	 " where queue_disable_insert",
	 "queue \"{1}\" refuses events from SQL", "Let them in:",
	 "UPDATE pgq.queue SET queue_disable_insert = false"
	 " WHERE queue_name = {2};"},

	{"rotation", NEED_PGQ, DOCTOR_PROBLEM, LASTING("rotation"), "{1}", "{2}",
	 NULL},

	{"retry", NEED_PGQ, DOCTOR_PROBLEM,
	 "select count(*), date_trunc('second', clock_timestamp()"
	 " - min(ev_retry_after))::text from pgq.retry_queue"
	 " where ev_retry_after < now() - interval '10 minutes'"
	 " having count(*) > 0",
	 "{1} events should have been retried, the oldest {2} ago",
	 "pgqd moves them every retry_period: see that it runs, and its log. By"
	 " hand, as often as it returns more than 0: SELECT"
	 " pgq.maint_retry_events();",
	 NULL},
	{"retry", NEED_PGQ, DOCTOR_WARNING,
	 "select q.queue_name, count(*) from pgq.retry_queue r"
	 " join pgq.queue q on q.queue_id = r.ev_queue"
	 " group by q.queue_name having count(*) > 100000",
	 "{2} events of queue \"{1}\" wait to be retried",
	 "Some consumer puts off more events than it can work off: see its errors.",
	 NULL},

	{"pgqd", NEED_PGQ, DOCTOR_PROBLEM,
	 "select current_database()::text where not pg_is_in_recovery()"
	 " and not exists (select from " PGQD_SESSIONS ")",
	 "pgqd does not look after database \"{1}\": no ticks, nothing arrives",
	 "Start pgqd (pgqadm CONFIG.ini ticker -d, or pgqd -d pgqd.ini). If it"
	 " runs, see base_connstr and database_list in its ini file, and its log.",
	 NULL},
	{"pgqd", NEED_PGQ, DOCTOR_PROBLEM,
	 "select i.queue_name, date_trunc('second', i.ticker_lag)::text"
	 " from pgq.get_queue_info() i where exists (select from " PGQD_SESSIONS ")"
	 " and not i.queue_external_ticker and not i.queue_ticker_paused"
	 " and i.ticker_lag > i.queue_ticker_idle_period + i.queue_ticker_max_lag"
	 " + interval '1 minute'",
	 "pgqd is connected, but queue \"{1}\" had its last tick {2} ago",
	 "See pgqd's log for the reason.", NULL},

	{"sync", NEED_PGQ, DOCTOR_PROBLEM,
	 "select r.pid, current_setting('synchronous_standby_names'),"
	 " quote_literal(coalesce((select 'ANY 1 (' || string_agg(distinct"
	 " quote_ident(o.application_name), ', ') || ')' from pg_stat_replication o"
	 " where o.application_name not like 'pgqd/%'), ''))"
	 " from pg_stat_replication r where r.application_name like 'pgqd/%'"
	 " and r.sync_state <> 'async'",
	 "synchronous_standby_names is \"{2}\", which counts pgqd as a standby:"
	 " commits wait for it",
	 "Name the standbys as a superuser:",
	 "ALTER SYSTEM SET synchronous_standby_names = {3};\n"
	 "SELECT pg_reload_conf();"},

	{"clock", NEED_SERVER, DOCTOR_WARNING,
	 "select round(abs(extract(epoch from clock_timestamp())::numeric"
	 " - $1::numeric), 1) where abs(extract(epoch from clock_timestamp())"
	 "::float8 - $1) > 5",
	 "the server's clock and the clock here differ by {1} s",
	 "Let both follow a time service; lags are shown by the server's clock.",
	 NULL},
	{"clock", NEED_PGQ, DOCTOR_WARNING,
	 "select queue_name, date_trunc('second', -ticker_lag)::text"
	 " from pgq.get_queue_info() where ticker_lag < interval '-5 seconds'",
	 "queue \"{1}\" has a tick {2} in the future: the server's clock was set"
	 " back",
	 "Nothing is lost, and ticks go on; lags are wrong until that time has"
	 " come.",
	 NULL},

	{NULL, NEED_SERVER, DOCTOR_OK, NULL, NULL, NULL, NULL}};
