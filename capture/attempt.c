/*-------------------------------------------------------------------------
 *
 * attempt.c
 *		Do something that may fail, and go on if it does.
 *
 * An error leaves locks, pins and references behind; only the end of a
 * transaction or subtransaction gives them back.  So whoever catches an error
 * and does not raise it again does his work in a subtransaction: here.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "capture/attempt.h"

/*
 * Call work(arg) in a subtransaction and in the current memory context.
 *
 * Returns NULL if it came to its end.  Else all that it did is undone, and the
 * error is returned, palloc'd in the current memory context.  Being told to stop,
 * and having no memory or disk left, are raised on.
 */
ErrorData *
attempt_run(void (*work)(void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (error != NULL)
	{
		int category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

		if (category == ERRCODE_OPERATOR_INTERVENTION ||
			category == ERRCODE_INSUFFICIENT_RESOURCES)
			ReThrowError(error);
	}
	return error;
}
