/*-------------------------------------------------------------------------
 *
 * copy.c
 *		Ask for the copy of a captured table, and give it up.
 *
 * Users have no rights on pgq.copy.  Once C has checked theirs, functions of
 * sql/copy.sql that nobody may call do the writing, with their owner's rights.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"

#include "capture/copy.h"

/* A function pgq.NAME(text, regclass [, third]). */
static Oid
find_function(const char *name, Oid third)
{
	const Oid types[3] = {TEXTOID, REGCLASSOID, third};
	List *words = list_make2(makeString("pgq"),
							 makeString(unconstify(char *, name)));

	return LookupFuncName(words, OidIsValid(third) ? 3 : 2, types, false);
}

/*
 * Ask pgqd for a copy.  The caller has checked rights, table and arguments.
 * Returns true if the table was not captured into that queue.
 */
bool
copy_request(const char *queue, Oid relid, ArrayType *args)
{
	return DatumGetInt32(OidFunctionCall3(
			   find_function("_request_copy", TEXTARRAYOID),
			   CStringGetTextDatum(queue), ObjectIdGetDatum(relid),
			   PointerGetDatum(args))) > 0;
}

/* Raise an error if the table waits for a copy, or is being copied. */
void
copy_require_none(const char *queue, Oid relid)
{
	(void) OidFunctionCall2(find_function("_require_no_copy", InvalidOid),
							CStringGetTextDatum(queue),
							ObjectIdGetDatum(relid));
}

/*
 * Give up a copy; what is held goes to the queue, unless the capture ends and
 * came with this copy.  Returns false if there is none.
 */
bool
copy_cancel(const char *queue, Oid relid, bool capture_ends)
{
	return DatumGetInt32(OidFunctionCall3(
			   find_function("_cancel_copy", BOOLOID),
			   CStringGetTextDatum(queue), ObjectIdGetDatum(relid),
			   BoolGetDatum(capture_ends))) > 0;
}
