/*-------------------------------------------------------------------------
 *
 * settings.c
 *		Pin the settings that the text of a value depends on.
 *
 * A trigger writes dates, floats or bytea as the writer's session likes them;
 * decoding has no such session, and all readers of a slot, and copies, must see
 * the same bytes.  Most settings are constants.  The time zone and lc_monetary
 * are the database's, as ALTER DATABASE had set them when the change was made,
 * else the server's, as its configuration files have them: never those of a
 * role or a client.
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
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "event/settings.h"

/* Those of output first, then those that constants in expressions are read by. */
static const struct
{
	const char *name;
	const char *value;
} constants[] = {
	{"datestyle", "ISO, MDY"},
	{"intervalstyle", "postgres"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"quote_all_identifiers", "off"},
	{"search_path", "pg_catalog, pg_temp"},
	{"xmlbinary", "base64"},
	{"xmloption", "content"},
	{"array_nulls", "on"},
	{"transform_null_equals", "off"},
	{"standard_conforming_strings", "on"},
	{"backslash_quote", "safe_encoding"},
};

/* Settings whose value is the database's or the server's. */
typedef struct LocalSetting
{
	const char *name;
	const char *fallback; /* if there is none, or none that is valid */
	char database[128];   /* as the database has it, else all have */
	char server[128];     /* as the configuration files have it */
} LocalSetting;

static LocalSetting locals[] = {
	{"TimeZone", "GMT", "", ""},
	{"lc_monetary", "C", "", ""},
};

/* of what historic snapshot the databases' are; all invalid: of none */
static TransactionId database_xmin;
static TransactionId database_xmax;
static uint32 database_xcnt;

/* when the server's were read last, by the time of the files' last reload */
static bool server_is_known = false;
static TimestampTz server_reload_time;

/*
 * Set until the end of the transaction, or of the nest level that the caller has
 * made; outside of one, for good.  False if the value is invalid.
 */
bool
settings_set(const char *name, const char *value)
{
	const char *current = GetConfigOption(name, false, false);

	if (current && strcmp(current, value) == 0)
		return true;
	return set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 IsTransactionState() ? GUC_ACTION_SAVE
												  : GUC_ACTION_SET,
							 true, DEBUG1, false) > 0;
}

/*
 * Read the server's values from its files.  A session whose role has others
 * knows them from nowhere else.
 */
static void
read_server(void)
{
	ConfigVariable *head = NULL;
	ConfigVariable *tail = NULL;

	if (server_is_known && server_reload_time == PgReloadTime)
		return;
	(void) ParseConfigFile(ConfigFileName, false, NULL, 0, 0, DEBUG1, &head,
						   &tail);
	(void) ParseConfigFile(PG_AUTOCONF_FILENAME, false, NULL, 0, 0, DEBUG1,
						   &head, &tail);
	for (int i = 0; i < lengthof(locals); i++)
	{
		const char *value = locals[i].fallback;

		for (ConfigVariable *item = head; item; item = item->next)
			if (item->value && pg_strcasecmp(item->name, locals[i].name) == 0)
				value = item->value;
		strlcpy(locals[i].server, value, sizeof(locals[i].server));
	}
	FreeConfigVariables(head);
	server_reload_time = PgReloadTime;
	server_is_known = true;
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

/* Find what is set for all roles in a database, InvalidOid: in all of them. */
static void
scan_settings(Relation rel, Oid database)
{
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple tup;

	ScanKeyInit(&key[0], Anum_pg_db_role_setting_setdatabase,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(database));
	ScanKeyInit(&key[1], Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(InvalidOid));
	scan = systable_beginscan(rel, DbRoleSettingDatidRolidIndexId, true, NULL,
							  2, key);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		bool isnull;
		Datum settings = heap_getattr(tup, Anum_pg_db_role_setting_setconfig,
									  RelationGetDescr(rel), &isnull);

		for (int i = 0; i < lengthof(locals) && !isnull; i++)
		{
			const char *value = find_setting(DatumGetArrayTypePCopy(settings),
											 locals[i].name);

			if (value && locals[i].database[0] == '\0')
				strlcpy(locals[i].database, value, sizeof(locals[i].database));
		}
	}
	systable_endscan(scan);
}

/*
 * Read what databases have settings of.  While decoding that stays as it is until
 * a transaction that changed catalogues is passed: then the snapshot is another.
 */
static void
read_database(void)
{
	Snapshot snapshot = HistoricSnapshotActive()
							? GetCatalogSnapshot(InvalidOid)
							: NULL;
	Relation rel;

	if (snapshot && TransactionIdIsValid(database_xmax) &&
		snapshot->xmin == database_xmin && snapshot->xmax == database_xmax &&
		snapshot->xcnt == database_xcnt)
		return;
	database_xmax = InvalidTransactionId;
	for (int i = 0; i < lengthof(locals); i++)
		locals[i].database[0] = '\0';
	rel = table_open(DbRoleSettingRelationId, AccessShareLock);
	scan_settings(rel, MyDatabaseId);
	scan_settings(rel, InvalidOid);
	table_close(rel, AccessShareLock);
	if (snapshot)
	{
		database_xmin = snapshot->xmin;
		database_xmax = snapshot->xmax;
		database_xcnt = snapshot->xcnt;
	}
}

/*
 * Pin what databases have settings of; to be called in each transaction that is
 * decoded, since they may change from one to the next.  May allocate a little in
 * the current memory context.
 */
void
settings_pin_database(void)
{
	read_database();
	read_server();
	for (int i = 0; i < lengthof(locals); i++)
		if ((locals[i].database[0] == '\0' ||
			 !settings_set(locals[i].name, locals[i].database)) &&
			!settings_set(locals[i].name, locals[i].server))
			(void) settings_set(locals[i].name, locals[i].fallback);
}

/* Set those whose value is always the same, as settings_set() does. */
void
settings_set_constants(void)
{
	for (int i = 0; i < lengthof(constants); i++)
		if (!settings_set(constants[i].name, constants[i].value))
			elog(ERROR, "could not set \"%s\" to \"%s\"", constants[i].name,
				 constants[i].value);
}

/*
 * Pin all settings until settings_unpin(), or an error, ends it; where there is
 * no transaction, as when a walsender starts, the constants for good.
 *
 * Returns what settings_unpin() wants.  May be nested.
 */
int
settings_pin(void)
{
	int level = IsTransactionState() ? NewGUCNestLevel() : 0;

	database_xmax = InvalidTransactionId;
	settings_set_constants();
	if (level > 0)
		settings_pin_database();
	return level;
}

/* Give a user's session its settings back. */
void
settings_unpin(int level)
{
	if (level > 0)
		AtEOXact_GUC(false, level);
}
