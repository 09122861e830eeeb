/*-------------------------------------------------------------------------
 *
 * guard.c
 *		Let what fails for one mark fail for that mark alone.
 *
 * An error while decoding would end the stream, and come again whenever that
 * change is read: nothing that belongs to one mark may do so.  Errors that are
 * the server's, and not the mark's, go on: being told to stop, a full disk, a
 * lack of memory.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lwlock.h"
#include "utils/resowner.h"

#include "event/guard.h"

/* What a reason may take of a frame and of a row. */
#define REASON_MAX 1000

/* Whether an error says something of the server or the session. */
static bool
is_of_server(int sqlerrcode)
{
	int category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_OPERATOR_INTERVENTION ||
		   category == ERRCODE_INSUFFICIENT_RESOURCES ||
		   sqlerrcode == ERRCODE_IO_ERROR;
}

/* In PG_CATCH: take the error. */
static ErrorData *
take_error(MemoryContext cxt)
{
	ErrorData *error;

	MemoryContextSwitchTo(cxt);
	error = CopyErrorData();
	FlushErrorState();
	return error;
}

/*
 * Do work that may leave anything behind when it fails: in a subtransaction,
 * which takes some microseconds.
 *
 * Returns NULL, or the error, palloc'd in the current memory context.  What is
 * palloc'd there stays in either case.  Raises what is the server's fault.
 */
ErrorData *
guard_run(GuardedWork work, void *arg)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		error = take_error(cxt);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	/* not before the subtransaction has ended: who catches it ends his own */
	if (error && is_of_server(error->sqlerrcode))
		ReThrowError(error);
	return error;
}

/* What light work holds; it may do light work itself, whose owner comes next. */
typedef struct GuardOwner
{
	ResourceOwner owner; /* NULL: to be made */
	ResourceOwner parent;
} GuardOwner;

static GuardOwner owners[2];
static int depth = 0;

/* Resource callback: an owner goes, itself or with its parent. */
static void
forget_owner(ResourceReleasePhase phase, bool is_commit, bool is_top, void *arg)
{
	for (int i = 0; i < lengthof(owners); i++)
		if (owners[i].owner == CurrentResourceOwner)
			owners[i].owner = NULL;
}

/* Make one the current owner.  They are kept, since there are many rows. */
static void
enter_owner(GuardOwner *own)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterResourceReleaseCallback(forget_owner, NULL);
		registered = true;
	}
	if (own->owner == NULL || own->parent != CurrentResourceOwner)
	{
		own->parent = CurrentResourceOwner;
		own->owner = ResourceOwnerCreate(own->parent, "pgq guard");
	}
	CurrentResourceOwner = own->owner;
}

static void
release_owner(ResourceOwner owner)
{
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_BEFORE_LOCKS, false, false);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_LOCKS, false, false);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_AFTER_LOCKS, false, false);
	ResourceOwnerDelete(owner);
}

/*
 * As guard_run(), for what is done for each row: expressions and output
 * functions.  These change nothing that only the end of a subtransaction could
 * set right: what they hold when they fail are pins, locks and references, which
 * an owner of their own gives back, and memory.  A lack of memory is returned,
 * too: the caller may do with less.
 */
ErrorData *
guard_run_light(GuardedWork work, void *arg)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner parent = CurrentResourceOwner;
	ErrorData *volatile error = NULL;
	ResourceOwner owner;

	Assert(depth < lengthof(owners));
	enter_owner(&owners[depth]);
	owner = CurrentResourceOwner;
	depth++;
	PG_TRY();
	{
		work(arg);
		depth--;
	}
	PG_CATCH();
	{
		depth--;
		CurrentResourceOwner = parent;
		error = take_error(cxt);
		LWLockReleaseAll();
		UnlockBuffers();
		release_owner(owner);
	}
	PG_END_TRY();
	CurrentResourceOwner = parent;
	if (error && is_of_server(error->sqlerrcode) &&
		error->sqlerrcode != ERRCODE_OUT_OF_MEMORY)
		ReThrowError(error);
	return error;
}

/*
 * What an error says, in one line of a length that fits everywhere, and valid
 * in the database's encoding, though it may quote what is not; palloc'd.
 */
char *
guard_reason(const ErrorData *error)
{
	const char *message = error->message ? error->message : "unknown error";
	char *reason;

	if (error->detail)
		reason = psprintf("%s (%s)", message, error->detail);
	else
		reason = pstrdup(message);
	for (char *c = reason; *c; c++)
		if ((unsigned char) *c < ' ')
			*c = ' ';
	if (!pg_verifymbstr(reason, strlen(reason), true))
		for (char *c = reason; *c; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	reason[pg_mbcliplen(reason, strlen(reason), REASON_MAX)] = '\0';
	return reason;
}
