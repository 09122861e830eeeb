/*-------------------------------------------------------------------------
 *
 * doctor_checks.c
 *		The checks of pgqadm doctor, along the way from a change to consumers.
 *
 * What is wrong in a database with PgQ the server tells itself, by
 * pgq.get_problems(); here is what must be right before it can, and what only a
 * client can see.
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
#include "common/wal_level.h"

/* Roles that do our work here: who asks, and who runs pgqd. */
#define OUR_ROLES                                                              \
	"pg_roles o where o.rolname = current_user or o.rolname in"                \
	" (select a.usename from pg_stat_activity a"                               \
	" where a.application_name ~ '^pgqd/(?!source)'"                           \
	" and a.datname = current_database())"

/* A check of what pgq.get_problems() tells. */
#define TOLD(name, kinds)                                                      \
	{                                                                          \
		name, NEED_PGQ, DOCTOR_OK, NULL, NULL, NULL, NULL, kinds               \
	}

const DoctorCheck doctor_checks[] = {
	{"server", NEED_SERVER, DOCTOR_PROBLEM,
	 "select current_setting('server_version') where"
	 " current_setting('server_version_num')::int < 140000",
	 "PostgreSQL {1} is too old", "Move to PostgreSQL 14 or later.", NULL,
	 NULL},
	{"server", NEED_SERVER, DOCTOR_WARNING,
	 "select current_setting('server_version') where"
	 " current_setting('server_version_num')::int >= 200000",
	 "PostgreSQL {1} is newer than what this version of PgQ was made for",
	 "Look for a newer PgQ.", NULL, NULL},
	{"server", NEED_SERVER, DOCTOR_WARNING,
	 "select 1 where pg_is_in_recovery()",
	 "the server is a standby: queues stand still here",
	 "Run doctor on the primary, too; here it looks at the slot for a failover.",
	 NULL, NULL},

	{"extension", NEED_SERVER, DOCTOR_PROBLEM,
	 "select 1 where not exists (select from pg_extension where extname = 'pgq')"
	 " and not exists (select from pg_available_extensions where name = 'pgq')",
	 "the server's machine has no extension pgq",
	 "Install the package of PgQ for this server there, or run make install.",
	 NULL, NULL},
	{"extension", NEED_SERVER, DOCTOR_PROBLEM,
	 "select 1 where not exists (select from pg_extension where extname = 'pgq')"
	 " and exists (select from pg_available_extensions where name = 'pgq')"
	 " and to_regnamespace('pgq') is null",
	 "this database has no extension pgq",
	 "Create it as a superuser:", "CREATE EXTENSION pgq;", NULL},
	{"extension", NEED_SERVER, DOCTOR_WARNING,
	 "select e.extversion, a.default_version from pg_extension e"
	 " join pg_available_extensions a on a.name = e.extname"
	 " where e.extname = 'pgq' and string_to_array("
	 "substring(e.extversion from '^[0-9.]*[0-9]'), '.')::int[]"
	 " < string_to_array("
	 "substring(a.default_version from '^[0-9.]*[0-9]'), '.')::int[]",
	 "the extension is version {1}, the server's machine has {2}",
	 "Move to it:", "ALTER EXTENSION pgq UPDATE;", NULL},
	TOLD("extension", "trigger"),
	{"library", NEED_PGQ, DOCTOR_PROBLEM,
	 /* stops with an error if the library or one function is not there */
	 "select 1 from (select count(fmgr_c_validator(p.oid)::text) as n"
	 " from pg_proc p where p.probin ~ '^\\$libdir/pgq'"
	 " and has_function_privilege(p.oid, 'execute')) as f where f.n < 0",
	 "", "", NULL, NULL},

	{"wal_level", NEED_SERVER, DOCTOR_CAPTURE_PROBLEM,
	 "select current_setting('wal_level')"
	 " where not " WAL_LEVEL_SUFFICES,
	 "wal_level is {1}; captured tables need logical",
	 "Set it as a superuser and restart the server:",
	 "ALTER SYSTEM SET wal_level = logical;", NULL},

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
	 "SELECT pg_reload_conf();",
	 NULL},

	{"slots free", NEED_SERVER, DOCTOR_CAPTURE_PROBLEM,
	 "select n.used, n.used + 4 from (select count(*) as used,"
	 " coalesce(bool_or(plugin = 'pgq' and database = current_database()),"
	 " false) as have from pg_replication_slots) n"
	 " where not n.have and"
	 " n.used >= current_setting('max_replication_slots')::int",
	 "all {1} replication slots are in use, and this database has none",
	 "Drop one that nobody reads, or as a superuser allow more and restart the"
	 " server:",
	 "ALTER SYSTEM SET max_replication_slots = {2};", NULL},
	{"slots free", NEED_SERVER, DOCTOR_CAPTURE_PROBLEM,
	 "select n.used, n.used + 4 from (select count(*) as used,"
	 " coalesce(bool_or(application_name like 'pgqd/%'), false) as have"
	 " from pg_stat_replication) n where not n.have and n.used >="
	 " current_setting('max_wal_senders')::int",
	 "all {1} WAL senders are in use, none is left for pgqd",
	 "End a replication that is not needed, or as a superuser allow more and"
	 " restart the server:",
	 "ALTER SYSTEM SET max_wal_senders = {2};", NULL},

	{"roles", NEED_PGQ, DOCTOR_PROBLEM,
	 "select o.rolname::text, quote_ident(o.rolname) from (select * from"
	 " " OUR_ROLES ") o where not o.rolsuper and not"
	 " pg_has_role(o.oid, 'pgq_admin', 'usage')",
	 "role \"{1}\" has not the rights of pgq_admin",
	 "Grant them:", "GRANT pgq_admin TO {2};", NULL},
	{"roles", NEED_SERVER, DOCTOR_CAPTURE_PROBLEM,
	 "select o.rolname::text, quote_ident(o.rolname) from (select * from"
	 " " OUR_ROLES ") o where not o.rolsuper and not o.rolreplication",
	 "role \"{1}\" may not read a slot",
	 "As a superuser give it the attribute:", "ALTER ROLE {2} REPLICATION;",
	 NULL},

	TOLD("slot", "start missing ingest reader slot stream unread"),
	TOLD("failover", "failover"),
	TOLD("WAL held", "wal pgqd/confirm"),
	TOLD("sources", "source pgqd/source"),
	TOLD("captures", "capture"),
	/* what all consumers of a table bear is nobody's problem */
	{"captures", NEED_CAPTURE, DOCTOR_WARNING,
	 "select c.table_name, c.queue_name, w, (select string_agg(format("
	 "'ALTER TABLE %s REPLICA IDENTITY FULL;', t.oid::regclass), E'\\n'"
	 " order by t.oid) from pg_class t where t.relkind <> 'p' and t.oid in"
	 " (select to_regclass(c.table_name)::oid union select p.relid::oid"
	 " from pg_partition_tree(to_regclass(c.table_name)) p))"
	 " from pgq.get_capture_info() c, unnest(c.warnings) w"
	 " where c.state = 'ok' and w ~ 'replica identity FULL'",
	 "table {1}, queue \"{2}\": {3}",
	 "Consumers can bear that, or, at the price of more WAL:", "{4}", NULL},
	{"captures", NEED_CAPTURE, DOCTOR_WARNING,
	 "select c.table_name, c.queue_name, w"
	 " from pgq.get_capture_info() c, unnest(c.warnings) w"
	 " where c.state = 'ok' and w !~ 'replica identity FULL'"
	 " and w !~ '^An expression failed'"
	 " and w not in (select i.problem from pgq.get_slot_info() i"
	 " where i.problem is not null)",
	 "table {1}, queue \"{2}\": {3}",
	 "Make sure that its consumers can do with that.", NULL, NULL},
	TOLD("progress", "lock commit"),
	TOLD("transactions", "transaction"),
	TOLD("consumers", "consumer lost"),
	TOLD("relays", "relay"),
	TOLD("queues", "paused size insert"),
	TOLD("rotation", "rotation"),
	TOLD("retry", "retry"),
	TOLD("pgqd", "pgqd tick ticker"),
	TOLD("sync", "sync"),
	TOLD("clock", "clock"),
	{"clock", NEED_SERVER, DOCTOR_WARNING,
	 "select round(abs(extract(epoch from clock_timestamp())::numeric"
	 " - $1::numeric), 1) where abs(extract(epoch from clock_timestamp())"
	 "::float8 - $1) > 5",
	 "the server's clock and the clock here differ by {1} s",
	 "Let both follow a time service; lags are shown by the server's clock.",
	 NULL, NULL},
	/* whatever else there is */
	TOLD("others", ""),

	{NULL, NEED_SERVER, DOCTOR_OK, NULL, NULL, NULL, NULL, NULL}};
