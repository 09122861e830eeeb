/*-------------------------------------------------------------------------
 *
 * slot.c
 *		pgq.start_capture and pgq.stop_capture: make and drop the slot;
 *		pgq._renew_slot: replace one that has lost changes.
 *
 * The slot itself is made and dropped by the server's own functions with the
 * invoker's rights, so the server decides who may; the rows beside it are
 * written directly.  A slot is not transactional: it stays if the transaction
 * that made it rolls back, and the next start_capture adopts it.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/resowner.h"
#include "utils/varlena.h"

#include "event/compat.h"
#include "capture/slot.h"
#include "queue/own.h"
#include "queue/table.h"

PG_FUNCTION_INFO_V1(pgq_start_capture);
PG_FUNCTION_INFO_V1(pgq_stop_capture);
PG_FUNCTION_INFO_V1(pgq__renew_slot);

/* What the server knows of a replication slot. */
typedef struct ServerSlot
{
	bool ours;  /* logical, our plugin, this database */
	char *what; /* for messages, if not ours */
	bool lost;
	int active_pid; /* 0: nobody reads it */
} ServerSlot;

static const char server_slot_query[] =
	"select coalesce(s.plugin operator(pg_catalog.=) '" SLOT_PLUGIN "'"
	" and s.database operator(pg_catalog.=) pg_catalog.current_database()"
	" and not s.temporary, false),"
	" case when s.plugin is null then 'It is a physical slot.'"
	" else pg_catalog.format('It is a %s slot with plugin \"%s\" in database"
	" \"%s\".', case when s.temporary then 'temporary' else 'logical' end,"
	" s.plugin, s.database) end,"
	" coalesce(s.wal_status operator(pg_catalog.=) 'lost', false),"
	" coalesce(s.active_pid, 0)"
	" from pg_catalog.pg_replication_slots s"
	" where s.slot_name operator(pg_catalog.=) $1";

static const char advance_slot_query[] =
	"select end_lsn from pg_catalog.pg_replication_slot_advance("
	"$1, pg_catalog.pg_current_wal_lsn())";

static const char drop_slot_query[] =
	"select pg_catalog.pg_drop_replication_slot($1)";

/*
 * Raise ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE unless the server writes
 * what logical decoding needs.
 */
void
slot_require_logical_wal(void)
{
	if (wal_level < WAL_LEVEL_FOR_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("capture needs wal_level = %s",
						WAL_LEVEL_FOR_SLOTS_NAME),
				 errdetail("The server runs with wal_level = %s.",
						   GetConfigOption("wal_level", false, false)),
				 errhint("Run \"ALTER SYSTEM SET wal_level = "
						 WAL_LEVEL_FOR_SLOTS_NAME "\" and restart the server.")));
}

/*
 * Refuse if the server keeps a list of output plugins that we are not on.
 * Minor releases before that list have no such setting.
 */
static void
require_plugin_allowed(void)
{
	const char *setting = GetConfigOption("output_plugin_libraries", true,
										  false);
	List *names = NIL;
	ListCell *lc;
	StringInfoData line;

	if (setting == NULL)
		return;
	initStringInfo(&line);
	if (SplitGUCList(pstrdup(setting), ',', &names))
	{
		foreach(lc, names)
		{
			const char *name = lfirst(lc);

			if (strcmp(name, SLOT_PLUGIN) == 0)
				return;
			if (*name)
				appendStringInfo(&line, "%s, ", quote_identifier(name));
		}
	}
	appendStringInfoString(&line, SLOT_PLUGIN);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the server does not allow output plugin \"%s\"",
					SLOT_PLUGIN),
			 errdetail("output_plugin_libraries is \"%s\".", setting),
			 errhint("As a superuser run: ALTER SYSTEM SET "
					 "output_plugin_libraries = %s; "
					 "SELECT pg_reload_conf();", line.data)));
}

/* One slot a database: pgq_<database>, reduced to what a slot may be named. */
static char *
default_slot_name(void)
{
	char *name = psprintf("pgq_%s", get_database_name(MyDatabaseId));

	for (char *c = name; *c; c++)
	{
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
		else if (!(*c >= 'a' && *c <= 'z') && !(*c >= '0' && *c <= '9'))
			*c = '_';
	}
	if (strlen(name) >= NAMEDATALEN)
		name[NAMEDATALEN - 1] = '\0';
	return name;
}

static Datum
name_datum(const char *name)
{
	return DirectFunctionCall1(namein, CStringGetDatum(name));
}

/*
 * Run a query about slots: $1 is the slot's name.  Every name in it must be
 * qualified, since it runs with the invoker's rights and search_path.
 * Returns the number of rows; SPI stays connected.
 */
static uint64
run_slot_query(const char *query, const char *slot)
{
	Oid types[1] = {NAMEOID};
	Datum values[1];
	int rc;

	values[0] = name_datum(slot);
	SPI_connect();
	rc = SPI_execute_with_args(query, 1, types, values, NULL, false, 0);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args returned %d", rc);
	return SPI_processed;
}

static Datum
result_field(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column,
						 isnull);
}

/* Look a slot up; false if there is none of that name. */
static bool
find_server_slot(const char *slot, ServerSlot *found)
{
	MemoryContext caller = CurrentMemoryContext;
	bool exists = run_slot_query(server_slot_query, slot) > 0;

	if (exists)
	{
		bool isnull;

		found->ours = DatumGetBool(result_field(1, &isnull));
		found->what = MemoryContextStrdup(
			caller, TextDatumGetCString(result_field(2, &isnull)));
		found->lost = DatumGetBool(result_field(3, &isnull));
		found->active_pid = DatumGetInt32(result_field(4, &isnull));
	}
	SPI_finish();
	return exists;
}

static void
require_nothing_written(const char *function)
{
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("a slot cannot be made in a transaction that has "
						"written"),
				 errhint("Call %s in a transaction of its own.", function)));
}

/*
 * Make a slot.  Returns the LSN from which it sends changes.
 *
 * The server reads WAL here until no transaction is left that began before.  Each
 * change of the catalogue that it meets is a subtransaction, and at its end
 * the current resource owner and memory context are those of our transaction.  So
 * no query may be under way around this call: what its executor holds belongs
 * to the owner that was.
 */
static XLogRecPtr
create_server_slot(const char *slot)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Oid function = F_PG_CREATE_LOGICAL_REPLICATION_SLOT;
	AclResult allowed = compat_function_aclcheck(function, GetUserId());
	Datum row;
	bool isnull;

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_FUNCTION, get_func_name(function));
	row = CREATE_SLOT(name_datum(slot), name_datum(SLOT_PLUGIN));
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(context);
	return DatumGetLSN(
		GetAttributeByNum(DatumGetHeapTupleHeader(row), 2, &isnull));
}

/*
 * Take over a slot that is there.  Nothing that it still has is for the marks
 * to come, so it goes on from here; WAL from before a DROP EXTENSION could not
 * even be decoded, if marks were written then.  Who still reads it by a position
 * of before may yet confirm what he has, but nothing behind this moment.
 */
static XLogRecPtr
adopt_server_slot(const char *slot, const ServerSlot *found)
{
	bool isnull;
	XLogRecPtr lsn = GetXLogInsertRecPtr();

	if (found->active_pid == 0)
	{
		run_slot_query(advance_slot_query, slot);
		lsn = DatumGetLSN(result_field(1, &isnull));
		SPI_finish();
	}
	return lsn;
}

static void
refuse_foreign_slot(const char *slot, const ServerSlot *found)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("replication slot \"%s\" is not a capture slot of this "
					"database", slot),
			 errdetail("%s", found->what),
			 errhint("Choose another name: "
					 "select pgq.start_capture('another_name').")));
}

/* Refuse what was started before, unless it is the same and is well. */
static void
check_started(const SlotRow *row, const char *slot)
{
	ServerSlot found;

	if (strcmp(row->name, slot) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("capture is already started with slot \"%s\"",
						row->name),
				 errdetail("A database has one capture slot."),
				 errhint("Call pgq.stop_capture('%s') first; changes that are "
						 "not in the queues by then are lost.", row->name)));

	if (row->sysid == GetSystemIdentifier() && find_server_slot(slot, &found) &&
		found.ours && !found.lost)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("capture was started, but its slot \"%s\" is missing or "
					"lost", slot),
			 errdetail("Changes since the last position are not in the "
					   "queues."),
			 errhint("To go on without them call pgq.stop_capture('%s') and "
					 "pgq.start_capture('%s').", slot, slot)));
}

static char *
slot_name_argument(FunctionCallInfo fcinfo, const SlotRow *row)
{
	char *slot;

	if (!PG_ARGISNULL(0))
		slot = text_to_cstring(PG_GETARG_TEXT_PP(0));
	else if (row != NULL)
		slot = pstrdup(row->name);
	else
		slot = default_slot_name();
	VALIDATE_SLOT_NAME(slot);
	return slot;
}

/* Does this database feed queues of another server? */
static bool
remote_queues_exist(void)
{
	OwnScan scan;
	bool found;

	if (!own_exists(OWN_REMOTE_QUEUE))
		return false;
	own_open(&scan, OWN_REMOTE_QUEUE, AccessShareLock);
	own_begin(&scan, OWN_NO_INDEX, NULL);
	found = own_next(&scan);
	own_close(&scan);
	return found;
}

/*
 * pgq.start_capture(i_slot text) returns text
 *
 * Make the slot of this database, or adopt one that is there with our plugin,
 * and write its row and first position.  With remote queues it is for a queue
 * host to read, which has positions of its own.  NULL means the slot that is started
 * already, else the default name.  Returns the slot's name.
 */
Datum
pgq_start_capture(PG_FUNCTION_ARGS)
{
	SlotRow *row;
	char *slot;
	ServerSlot found;
	XLogRecPtr lsn;

	PreventCommandDuringRecovery("pgq.start_capture()");
	PreventCommandIfReadOnly("pgq.start_capture()");
	slot_require_logical_wal();

	/*
	 * Only one at a time, if there is something to do; nobody else but
	 * ingest_problem writes there.
	 */
	row = slot_read_row();
	if (row == NULL)
	{
		LockRelationOid(own_oid(OWN_SLOT), ShareRowExclusiveLock);
		row = slot_read_row();
	}
	slot = slot_name_argument(fcinfo, row);
	if (row != NULL)
	{
		check_started(row, slot);
		PG_RETURN_TEXT_P(cstring_to_text(slot));
	}

	require_plugin_allowed();
	if (find_server_slot(slot, &found))
	{
		if (!found.ours)
			refuse_foreign_slot(slot, &found);
		if (found.lost)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("replication slot \"%s\" has lost WAL that it "
							"needs", slot),
					 errhint("Drop it with pgq.stop_capture('%s') and start "
							 "again.", slot)));
		lsn = adopt_server_slot(slot, &found);
	}
	else
	{
		require_nothing_written("pgq.start_capture()");
		lsn = create_server_slot(slot);
	}

	/* positions of a slot that had this name before mean nothing now */
	slot_delete_rows(slot);
	slot_write_rows(slot, lsn, remote_queues_exist());
	PG_RETURN_TEXT_P(cstring_to_text(slot));
}

/*
 * pgq.stop_capture(i_slot text) returns int
 *
 * Drop the slot with its row and positions.  NULL means the slot that is
 * started, else the default name.  Returns 1, or 0 if there was nothing.
 */
Datum
pgq_stop_capture(PG_FUNCTION_ARGS)
{
	char *slot;
	ServerSlot found;
	bool exists;
	int result;

	PreventCommandDuringRecovery("pgq.stop_capture()");
	PreventCommandIfReadOnly("pgq.stop_capture()");
	LockRelationOid(own_oid(OWN_SLOT), ShareRowExclusiveLock);
	slot = slot_name_argument(fcinfo, slot_read_row());

	exists = find_server_slot(slot, &found) && found.ours;
	if (exists && found.active_pid != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("replication slot \"%s\" is active for PID %d",
						slot, found.active_pid),
				 errhint("Stop pgqd, or end that session with "
						 "pg_terminate_backend(%d).", found.active_pid)));

	result = slot_delete_rows(slot);

	/* last, since it can't be rolled back */
	if (exists)
	{
		run_slot_query(drop_slot_query, slot);
		SPI_finish();
		result = 1;
	}
	PG_RETURN_INT32(result);
}

/*
 * Raise unless changes are missing: what is well must not be thrown away.
 */
static void
check_broken(const SlotRow *row, bool exists, const ServerSlot *found)
{
	if (row->sysid == GetSystemIdentifier() && exists && found->ours &&
		!found->lost && row->problem_lsn == InvalidXLogRecPtr)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("slot \"%s\" has lost no changes", row->name),
				 row->problem ? errdetail("%s", row->problem) : 0,
				 errhint("pgq.get_slot_info() tells its state.")));
}

/*
 * pgq._renew_slot(i_slot text, OUT slot text, OUT from_lsn pg_lsn,
 * OUT to_lsn pg_lsn)
 *
 * Replace a slot that has lost changes, or one of a queue host, by a new one with the name i_slot, or
 * with its own name for NULL.  Returns the new name, the position where changes
 * begin to miss, and where they go on.
 */
Datum
pgq__renew_slot(PG_FUNCTION_ARGS)
{
	SlotRow *row;
	char *slot;
	ServerSlot found;
	bool exists;
	XLogRecPtr from = InvalidXLogRecPtr;
	XLogRecPtr to;
	int64 events;
	Datum values[3];
	bool nulls[3] = {false, false, false};

	PreventCommandDuringRecovery("pgq.resync_capture()");
	PreventCommandIfReadOnly("pgq.resync_capture()");
	slot_require_logical_wal();
	require_plugin_allowed();
	LockRelationOid(own_oid(OWN_SLOT), ShareRowExclusiveLock);
	row = slot_require_row();
	exists = find_server_slot(row->name, &found);
	/* what is lost on its way to a queue host is known there alone */
	if (!row->remote)
		check_broken(row, exists, &found);
	slot = slot_name_argument(fcinfo, row);
	slot_read_position(row->name, &from, &events);

	require_nothing_written("pgq.resync_capture()");
	if (exists && found.ours)
	{
		/* raises if it is being read just now */
		run_slot_query(drop_slot_query, row->name);
		SPI_finish();
	}
	if (find_server_slot(slot, &found))
		refuse_foreign_slot(slot, &found);
	to = create_server_slot(slot);

	slot_delete_rows(row->name);
	slot_write_rows(slot, to, row->remote);

	values[0] = CStringGetTextDatum(slot);
	values[1] = LSNGetDatum(from);
	nulls[1] = from == InvalidXLogRecPtr;
	values[2] = LSNGetDatum(to);
	PG_RETURN_DATUM(table_make_record(fcinfo, values, nulls));
}
