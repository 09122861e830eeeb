/*-------------------------------------------------------------------------
 *
 * capture_change.c
 *		Whether a capture outlives a change of its table, and
 *		pgq.alter_captured, which makes changes that belong together.
 *
 * What would make a captured table impossible to capture is refused, by the
 * same checks as in capture_table.  A mark holds for the rows that are written
 * from then on, and older WAL is decoded with the table as it was; so what is
 * refused is not the change but a state of the table, and in between no other
 * transaction can write it, since the change holds a lock.  pgq.alter_captured
 * looks at the state only after all of its commands.
 *
 * No lock is taken here: a table that has changed is locked by the command that
 * changed it, and of one that is not locked nothing has changed.  A table above
 * it can't change what its partitions need without a lock on these.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "capture/capture.h"

PG_FUNCTION_INFO_V1(pgq_alter_captured);

/*
 * While pgq.alter_captured() runs commands: the marks that these concern, looked
 * at when all are done.
 */
static bool deferring = false;
static List *deferred;
static MemoryContext deferred_context;

/* The call that captures the table of a mark, with "more" behind the table. */
static char *
mark_call(const char *function, const CaptureRow *mark, const char *more)
{
	return psprintf("select pgq.%s(%s, %s%s)", function,
					quote_literal_cstr(mark->queue),
					quote_literal_cstr(capture_table_name(mark->relid)), more);
}

static char *
way_out(const CaptureRow *mark, CaptureWay way)
{
	switch (way)
	{
		case CAPTURE_WAY_ANYHOW:
			return "Let pgq.alter_captured() run the change: select "
				   "pgq.alter_captured('alter table ...').";
		case CAPTURE_WAY_TOGETHER:
			return psprintf(
				"Let pgq.alter_captured() run the change together "
				"with those that make the table fit again: select "
				"pgq.alter_captured('alter table ...; alter table "
				"...'). Or before, in the same transaction, capture "
				"only what needs no key: \"%s\".",
				mark_call("capture_table", mark,
						  ", 'ops=insert,truncate', ..."));
		case CAPTURE_WAY_ARGUMENTS:
			return psprintf(
				"In one transaction give the capture arguments that "
				"fit before and after, by \"%s\", then change the "
				"table.",
				mark_call("capture_table", mark, ", ..."));
		default:
			return psprintf("To end the capture with the change, call \"%s\" "
							"before, in the same transaction; \"%s\" captures "
							"the table anew.",
							mark_call("uncapture_table", mark, ""),
							mark_call("capture_table", mark, ", 'copy', ..."));
	}
}

/*
 * Raise an error: a change would break a capture.  "why" is a sentence.
 */
pg_noreturn static void
refuse_change(const CaptureRow *mark, CaptureWay way, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this change would break the capture of table \"%s\" into "
					"queue \"%s\"",
					capture_table_name(mark->relid), mark->queue),
			 errdetail("%s", why),
			 errhint("%s", way_out(mark, way))));
}

static void
refuse_retyping(const CaptureRow *mark, List *needed, List *retyped)
{
	ListCell *lc;
	ListCell *lc2;

	foreach(lc, retyped)
		foreach(lc2, needed)
			if (strcmp(lfirst(lc), lfirst(lc2)) == 0)
				refuse_change(mark, CAPTURE_WAY_ANYHOW,
							  psprintf("The capture needs column \"%s\" "
									   "with the type that it had.",
									   (char *) lfirst(lc)));
}

/* Capitals and a full stop, since a problem's message becomes a detail. */
static char *
as_sentence(const char *message)
{
	char *sentence = psprintf("%s.", message);

	sentence[0] = pg_toupper((unsigned char) sentence[0]);
	return sentence;
}

static CaptureRow *
copy_mark(const CaptureRow *mark)
{
	CaptureRow *copy = palloc(sizeof(CaptureRow));

	copy->relid = mark->relid;
	copy->queue = pstrdup(mark->queue);
	copy->args = NULL;
	return copy;
}

/* Look at a mark later.  Returns false if it is to be looked at now. */
static bool
defer_check(const CaptureRow *mark)
{
	MemoryContext old;
	ListCell *lc;

	if (!deferring)
		return false;
	foreach(lc, deferred)
	{
		CaptureRow *other = lfirst(lc);

		if (other->relid == mark->relid &&
			strcmp(other->queue, mark->queue) == 0)
			return true;
	}
	old = MemoryContextSwitchTo(deferred_context);
	deferred = lappend(deferred, copy_mark(mark));
	MemoryContextSwitchTo(old);
	return true;
}

static CaptureProblem *
check_marked(Relation rel, const EventArgs *args, List *leaves, bool itself)
{
	CaptureProblem *problem;

	if (!itself)
		return capture_check_leaves(rel, args, leaves);
	/* with no partition there is nothing to lock but the table */
	if (list_length(capture_tree_of(RelationGetRelid(rel), NoLock)) == 1)
		return capture_check_table(rel, args);
	problem = capture_check_columns(rel, args);
	if (problem == NULL)
		problem = capture_check_leaves(rel, args, leaves);
	return problem != NULL ? problem : capture_check_expressions(rel, args);
}

/*
 * Refuse what a marked table cannot be captured with any more.
 *
 * leaves: tables of its tree that the transaction has locked.  itself: whether the
 * marked table is among those that changed, and so is locked.  retyped: its columns
 * that got another type, char *.
 */
void
capture_change_check(CaptureRow *mark, List *leaves, bool itself, List *retyped)
{
	EventArgs *args;
	Relation rel;
	CaptureProblem *problem;

	if (defer_check(mark))
		return;
	rel = RelationIdGetRelation(mark->relid);
	if (!RelationIsValid(rel))
		return;
	args = event_args_parse(mark->args);
	problem = check_marked(rel, args, leaves, itself);
	if (problem != NULL)
		refuse_change(mark, problem->way, as_sentence(problem->message));
	refuse_retyping(mark, capture_needed_columns(rel, args), retyped);
	RelationClose(rel);
}

/*
 * Write a mark with the new name of a column, if it names that.
 */
void
capture_change_rename(CaptureRow *mark, const char *renamed, const char *now)
{
	ArrayType *args = event_args_rename_column(mark->args, renamed, now);

	if (args == NULL)
		return;
	if (VARSIZE(args) + strlen(mark->queue) > CAPTURE_MARK_MAX_SIZE)
		refuse_change(mark, CAPTURE_WAY_ARGUMENTS,
					  "With this name its arguments are too long.");
	(void) capture_mark_write(mark->relid, mark->queue, args, 0);
	mark->args = args;
}

/* Error context callback: errors of parsing are about the commands. */
static void
tell_commands(void *commands)
{
	int position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(position);
	internalerrquery(commands);
}

static List *
parse_commands(char *commands)
{
	ErrorContextCallback context;
	List *parsed;

	context.callback = tell_commands;
	context.arg = commands;
	context.previous = error_context_stack;
	error_context_stack = &context;
	parsed = raw_parser(commands, RAW_PARSE_DEFAULT);
	error_context_stack = context.previous;
	return parsed;
}

/* Raise an error unless all of the commands change definitions, not rows. */
static void
require_definitions(char *commands)
{
	ListCell *lc;

	foreach(lc, parse_commands(commands))
		if (GetCommandLogLevel((Node *) lfirst(lc)) != LOGSTMT_DDL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("pgq.alter_captured() cannot run %s",
							CreateCommandName(
								lfirst_node(RawStmt, lc)->stmt)),
					 errhint("Give it the commands that change the table, such "
							 "as ALTER TABLE; write rows before or after.")));
}

static void
run_commands(const char *commands)
{
	int rc;

	SPI_connect();
	rc = SPI_execute(commands, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute returned %d", rc);
	SPI_finish();
}

/* Look at a mark after all commands; it may be gone, with its table or without. */
static void
check_deferred(const CaptureRow *noted)
{
	CaptureRow *mark = capture_mark_find(noted->relid, noted->queue);
	List *leaves = NIL;
	ListCell *lc;

	if (mark == NULL)
		return;
	foreach(lc, capture_tree_of(mark->relid, NoLock))
		if (capture_holds_lock(lfirst_oid(lc)))
			leaves = lappend_oid(leaves, lfirst_oid(lc));
	capture_change_check(mark, leaves, capture_holds_lock(mark->relid), NIL);
}

/*
 * pgq.alter_captured(i_commands text) returns int
 *
 * Run commands that change tables, and refuse them only if a capture does not fit
 * after all of them.  Runs with the invoker's rights and search_path.  Returns how
 * many captures were concerned.
 */
Datum
pgq_alter_captured(PG_FUNCTION_ARGS)
{
	char *commands = text_to_cstring(PG_GETARG_TEXT_PP(0));
	List *marks;
	ListCell *lc;

	PreventCommandDuringRecovery("pgq.alter_captured()");
	PreventCommandIfReadOnly("pgq.alter_captured()");
	if (deferring)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("pgq.alter_captured() cannot be called within itself")));
	require_definitions(commands);

	deferred = NIL;
	deferred_context = CurrentMemoryContext;
	deferring = true;
	PG_TRY();
	{
		run_commands(commands);
	}
	PG_FINALLY();
	{
		deferring = false;
	}
	PG_END_TRY();

	marks = deferred;
	foreach(lc, marks)
		check_deferred(lfirst(lc));
	PG_RETURN_INT32(list_length(marks));
}
