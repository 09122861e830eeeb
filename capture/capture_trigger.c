/*-------------------------------------------------------------------------
 *
 * capture_trigger.c
 *		pgq.capture_trigger: replace a trigger of PgQ by a capture with the
 *		same arguments.
 *
 * Both happen in one transaction and under a lock that keeps writers out: what
 * committed before was written by the trigger, what commits after comes from
 * the WAL, and nothing is lost or doubled.
 *
 * A capture is one for a table and a queue, while PgQ has a trigger for rows
 * and another for TRUNCATE: the second adds its operations to the capture that
 * the first has become.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "capture/capture.h"
#include "queue/table.h"

PG_FUNCTION_INFO_V1(pgq_capture_trigger);

/* Why a trigger can't be replaced. */
static void
refuse(const Trigger *trigger, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("trigger \"%s\" cannot be replaced by a capture",
					trigger->tgname),
			 errdetail("%s", why),
			 errhint("Keep the trigger, or capture the table by "
					 "pgq.capture_table() and drop it yourself.")));
}

/* Which format a trigger function writes, or NULL if it is not one of ours. */
static const char *
format_of(Oid function)
{
	static const char *const formats[][2] = {
		{"jsontriga", "json"}, {"logutriga", "urlenc"}, {"sqltriga", "sql"}};
	char *name = get_func_name(function);
	char *schema = get_namespace_name(get_func_namespace(function));

	if (name == NULL || schema == NULL || strcmp(schema, "pgq") != 0)
		return NULL;
	for (int i = 0; i < lengthof(formats); i++)
		if (strcmp(name, formats[i][0]) == 0)
			return formats[i][1];
	return NULL;
}

static int
ops_of(const Trigger *trigger)
{
	return (TRIGGER_FOR_INSERT(trigger->tgtype) ? EVENT_OP_INSERT : 0) |
		   (TRIGGER_FOR_UPDATE(trigger->tgtype) ? EVENT_OP_UPDATE : 0) |
		   (TRIGGER_FOR_DELETE(trigger->tgtype) ? EVENT_OP_DELETE : 0) |
		   (TRIGGER_FOR_TRUNCATE(trigger->tgtype) ? EVENT_OP_TRUNCATE : 0);
}

static char *
ops_argument(int ops)
{
	static const char *const names[EVENT_OPS] = {"insert", "update", "delete",
												 "truncate"};
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "ops=");
	for (int i = 0; i < EVENT_OPS; i++)
		if (ops & 1 << i)
			appendStringInfo(&buf, "%s,", names[i]);
	buf.data[--buf.len] = '\0';
	return buf.data;
}

static const Trigger *
find_trigger(Relation rel, const char *name)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc && i < desc->numtriggers; i++)
		if (!desc->triggers[i].tgisinternal &&
			strcmp(desc->triggers[i].tgname, name) == 0)
			return &desc->triggers[i];
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("trigger \"%s\" for table \"%s\" does not exist", name,
					capture_table_name(RelationGetRelid(rel)))));
	return NULL; /* keep compiler quiet */
}

/* Refuse triggers that do more, or less, than a capture can. */
static void
check_trigger(Relation rel, const Trigger *trigger)
{
	if (format_of(trigger->tgfoid) == NULL)
		refuse(trigger, "Its function is not pgq.jsontriga, pgq.logutriga or "
						"pgq.sqltriga.");
	if (strncmp(trigger->tgname, "_londiste_", 10) == 0)
		refuse(trigger, "It is Londiste's, which needs the writers' "
						"transaction ids in its events.");
	if (trigger->tgnargs < 1)
		refuse(trigger, "It names no queue.");
	if (trigger->tgqual)
		refuse(trigger, "It has a WHEN condition; write that as argument "
						"when= of a capture.");
	if (trigger->tgnattr > 0)
		refuse(trigger, "It is for updates of certain columns only.");
	if (trigger->tgenabled == TRIGGER_DISABLED ||
		trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA)
		refuse(trigger, "It does not fire for ordinary sessions.");
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		refuse(trigger, "Triggers of partitions write the partition's name, "
						"captures that of the captured table.");
}

static Datum
text_array_datum(List *words)
{
	Datum *elems = palloc(list_length(words) * sizeof(Datum));
	ListCell *lc;
	int n = 0;

	foreach(lc, words)
		elems[n++] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(
		construct_array(elems, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The arguments of a mark, without ops=; *ops gets those. */
static List *
words_without_ops(ArrayType *array, int *ops)
{
	List *words = NIL;
	Datum *elems;
	int n;

	*ops = event_args_parse(array)->ops;
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL,
					  &n);
	for (int i = 0; i < n; i++)
	{
		char *word = TextDatumGetCString(elems[i]);

		if (strncmp(word, "ops=", 4) != 0)
			words = lappend(words, word);
	}
	return words;
}

static bool
same_words(List *a, List *b)
{
	ListCell *la;
	ListCell *lb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(la, a, lb, b)
		if (strcmp(lfirst(la), lfirst(lb)) != 0)
			return false;
	return true;
}

/*
 * The arguments of the capture: the trigger's own, its format and operations,
 * together with those of the capture that is there.
 */
static List *
capture_arguments(Oid relid, const Trigger *trigger)
{
	List *words = NIL;
	int ops = ops_of(trigger);
	CaptureRow *mark = capture_mark_find(relid, trigger->tgargs[0]);

	words = lappend(words, psprintf("format=%s", format_of(trigger->tgfoid)));
	for (int i = 1; i < trigger->tgnargs; i++)
		words = lappend(words, pstrdup(trigger->tgargs[i]));
	if (mark != NULL)
	{
		int mark_ops;
		List *mark_words = words_without_ops(mark->args, &mark_ops);

		/* the trigger for TRUNCATE has no arguments but the queue */
		if ((ops | mark_ops) == mark_ops ||
			!(same_words(words, mark_words) ||
			  (ops == EVENT_OP_TRUNCATE && trigger->tgnargs == 1 &&
			   strcmp(linitial(words), linitial(mark_words)) == 0)))
			refuse(trigger, "The table is captured into that queue already, "
							"with other arguments.");
		words = mark_words;
		ops |= mark_ops;
	}
	return lappend(words, ops_argument(ops));
}

/*
 * pgq.capture_trigger(i_table regclass, i_trigger name) returns int
 *
 * Runs with the invoker's rights, who must own the table.  Returns what
 * capture_table returns.
 */
Datum
pgq_capture_trigger(PG_FUNCTION_ARGS)
{
	Oid relid;
	char *name;
	Relation rel;
	const Trigger *trigger;
	Datum queue;
	Datum args;
	ObjectAddress address;

	table_refuse_nulls(fcinfo, "pgq.capture_trigger()");
	relid = PG_GETARG_OID(0);
	name = NameStr(*PG_GETARG_NAME(1));

	/*
	 * Rights and kind of table first; then a lock like DROP TRIGGER's, which
	 * waits for writers in turns that let others pass.
	 */
	capture_require_rights(relid);
	capture_lock_tree(relid, AccessExclusiveLock);

	rel = table_open(relid, NoLock);
	trigger = find_trigger(rel, name);
	check_trigger(rel, trigger);
	queue = CStringGetTextDatum(trigger->tgargs[0]);
	args = text_array_datum(capture_arguments(relid, trigger));
	ObjectAddressSet(address, TriggerRelationId, trigger->tgoid);
	table_close(rel, NoLock);

	performDeletion(&address, DROP_RESTRICT, 0);
	CommandCounterIncrement();
	return DirectFunctionCall3(pgq_capture_table, queue,
							   ObjectIdGetDatum(relid), args);
}
