/*-------------------------------------------------------------------------
 *
 * settings.c
 *		Pin the settings that the text of a value depends on.
 *
 * A trigger writes dates, floats or bytea as the writer's session likes them;
 * decoding has no such session, and two readers of one slot must see the same
 * bytes.
 *
 * A walsender lives for its stream, so its session is simply set.  The SQL
 * functions (pg_logical_slot_peek_changes and friends, and the copy of a table)
 * run in a user's session, which must get its settings back.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"

#include "event/settings.h"

static const struct
{
	const char *name;
	const char *value;
} pinned[] = {
	{"datestyle", "ISO, MDY"},        {"intervalstyle", "postgres"},
	{"extra_float_digits", "1"},      {"bytea_output", "hex"},
	{"quote_all_identifiers", "off"}, {"search_path", ""},
};

/* GUC nesting level to end at shutdown, 0 in a walsender */
static int nest_level = 0;

/* the database's settings have been looked up since the start */
static bool database_pinned = false;

/* its lc_monetary, in a walsender that was started with another, else empty */
static char monetary[128];

/* Problems with the value are told by elevel; 0: as an error. */
static void
pin(const char *name, const char *value, int elevel)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 nest_level ? GUC_ACTION_SAVE : GUC_ACTION_SET,
							 true, elevel, false);
}

/* "1MB" out of {"work_mem=1MB","TimeZone=Europe/Berlin"} for work_mem, or NULL */
static char *
find_setting(ArrayType *settings, const char *name)
{
	size_t len = strlen(name);
	Datum *elems;
	int n;

	deconstruct_array(settings, TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL,
					  &n);
	for (int i = 0; i < n; i++)
	{
		char *setting = TextDatumGetCString(elems[i]);

		if (pg_strncasecmp(setting, name, len) == 0 && setting[len] == '=')
			return setting + len + 1;
	}
	return NULL;
}

/*
 * What ALTER DATABASE has set, else what the session started with, which is the
 * server's unless the client asked for another.
 */
static const char *
database_setting(const char *name)
{
	const char *result = NULL;
	Relation rel = table_open(DbRoleSettingRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple tup;

	ScanKeyInit(&key[0], Anum_pg_db_role_setting_setdatabase,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(MyDatabaseId));
	ScanKeyInit(&key[1], Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(InvalidOid));
	scan = systable_beginscan(rel, DbRoleSettingDatidRolidIndexId, true, NULL,
							  2, key);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		bool isnull;
		Datum settings = heap_getattr(tup, Anum_pg_db_role_setting_setconfig,
									  RelationGetDescr(rel), &isnull);

		if (!isnull)
			result = find_setting(DatumGetArrayTypePCopy(settings), name);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	return result ? result : GetConfigOptionResetString(name);
}

/*
 * Pin all settings; in a walsender, when decoding starts, all but those of the
 * database.
 */
void
settings_pin(void)
{
	bool in_sql = IsTransactionState();

	database_pinned = false;
	monetary[0] = '\0';
	nest_level = in_sql ? NewGUCNestLevel() : 0;
	for (int i = 0; i < lengthof(pinned); i++)
		pin(pinned[i].name, pinned[i].value, 0);
	if (in_sql)
	{
		pin("TimeZone", database_setting("TimeZone"), 0);
		pin("lc_monetary", database_setting("lc_monetary"), DEBUG1);
		database_pinned = true;
	}
}

/*
 * Pin what the database has settings of; to be called in each transaction.  A
 * walsender can't read catalogues before its first transaction, and what is set
 * inside of a transaction is undone at its end: so the variable behind the time
 * zone is set, and lc_monetary in each transaction if the client, or its role,
 * has another.
 */
void
settings_pin_database(void)
{
	if (!database_pinned)
	{
		pg_tz *tz = pg_tzset(database_setting("TimeZone"));
		const char *name = database_setting("lc_monetary");

		if (tz)
			session_timezone = tz;
		if (strcmp(name, GetConfigOption("lc_monetary", false, false)) != 0)
			strlcpy(monetary, name, sizeof(monetary));
		database_pinned = true;
	}
	if (monetary[0] != '\0')
		pin("lc_monetary", monetary, DEBUG1);
}

/*
 * Give a user's session its settings back.  After an error the end of the
 * transaction does that.
 */
void
settings_restore(void)
{
	if (nest_level > 0)
		AtEOXact_GUC(false, nest_level);
	nest_level = 0;
}
