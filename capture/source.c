/*-------------------------------------------------------------------------
 *
 * source.c
 *		A database of another server that feeds queues of this one: which queues
 *		those are, and what it sends in this database's encoding.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "capture/source.h"
#include "queue/own.h"
#include "queue/queue.h"

/* Longest reason that is kept of a warning, in bytes. */
#define MAX_REASON 500

/* Is that what a position of a source is named by, and not a slot's name? */
bool
source_is_key(const char *key)
{
	return strchr(key, '/') != NULL;
}

static int
compare_ids(const ListCell *a, const ListCell *b)
{
	int32 i = ((const SourceQueue *) lfirst(a))->id;
	int32 j = ((const SourceQueue *) lfirst(b))->id;

	return (i > j) - (i < j);
}

static List *
read_queues(Datum name)
{
	OwnScan scan;
	List *queues = NIL;
	Queue queue;

	own_open(&scan, OWN_SOURCE_QUEUE, AccessShareLock);
	own_match(&scan, SOURCE_QUEUE_SOURCE, name);
	own_begin(&scan, OWN_SOURCE_QUEUE_PKEY, NULL);
	while (own_next(&scan))
	{
		SourceQueue *q = palloc(sizeof(SourceQueue));

		q->name = TextDatumGetCString(scan.values[SOURCE_QUEUE_QUEUE]);
		q->extra = scan.nulls[SOURCE_QUEUE_EXTRA]
					   ? 0
					   : DatumGetInt32(scan.values[SOURCE_QUEUE_EXTRA]);
		if (!queue_find(q->name, strlen(q->name), NULL, &queue))
			continue;
		q->id = queue.id;
		queues = lappend(queues, q);
	}
	own_close(&scan);
	list_sort(queues, compare_ids);
	return queues;
}

/*
 * The source whose position is named "key", palloc'd; NULL if there is none.  It
 * stays as it is to the end of the transaction: who takes a queue from it, or
 * drops it, waits.
 */
Source *
source_open(const char *key)
{
	OwnScan scan;
	Source *source = NULL;

	own_open(&scan, OWN_SOURCE, RowShareLock);
	own_match_text(&scan, SOURCE_KEY, key);
	own_begin(&scan, OWN_SOURCE_KEY, NULL);
	if (own_next(&scan))
	{
		char *encoding = TextDatumGetCString(scan.values[SOURCE_ENCODING]);

		source = palloc(sizeof(Source));
		source->name = TextDatumGetCString(scan.values[SOURCE_NAME]);
		source->encoding = pg_char_to_encoding(encoding);
		if (source->encoding < 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("encoding \"%s\" of source \"%s\" is not known",
							encoding, source->name)));
		source->queues = read_queues(scan.values[SOURCE_NAME]);
	}
	own_close(&scan);
	return source;
}

/*
 * Keep other sources from writing into these queues, so that ids of a call's events
 * follow each other; or let them.  Not to the end of the transaction, which may
 * wait for its source.
 */
void
source_lock_queues(const Source *source, bool lock)
{
	Oid table = own_oid(OWN_QUEUE);
	ListCell *lc;

	foreach(lc, source->queues)
	{
		const SourceQueue *queue = lfirst(lc);

		if (lock)
			LockDatabaseObject(table, queue->id, 1, ExclusiveLock);
		else
			UnlockDatabaseObject(table, queue->id, 1, ExclusiveLock);
	}
}

/* The queue of that name, if the source may feed it; else NULL. */
const SourceQueue *
source_find_queue(const Source *source, const EventField *queue)
{
	ListCell *lc;

	foreach(lc, source->queues)
	{
		const SourceQueue *q = lfirst(lc);

		if (strlen(q->name) == (Size) queue->len &&
			memcmp(q->name, queue->str, queue->len) == 0)
			return q;
	}
	return NULL;
}

/*
 * Text of the source in this database's encoding: the same bytes, or palloc'd.
 * Raises an error if they are no text, or a character has no counterpart here.
 */
EventField
source_convert_field(const Source *source, const EventField *field)
{
	EventField here = *field;

	if (field->len <= 0 || source->encoding == GetDatabaseEncoding())
		return here;
	here.str = pg_any_to_server(field->str, field->len, source->encoding);
	if (here.str != field->str)
		here.len = (int) strlen(here.str);
	return here;
}

/* The same for all texts of an event of "queue", which may name its source. */
void
source_convert_event(const Source *source, const SourceQueue *queue,
					 Event *event)
{
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
		event->field[i] = source_convert_field(source, &event->field[i]);
	if (queue->extra > 0)
	{
		EventField *extra = &event->field[EVENT_EXTRA1 + queue->extra - 1];

		extra->str = source->name;
		extra->len = (int) strlen(source->name);
	}
}

/*
 * What a source warns of, as it is to be counted here: under the source's name, so
 * that nobody fills the table with names that he makes up.  False if it is about
 * another's queue.
 */
bool
source_convert_warning(const Source *source, FrameWarning *warning)
{
	EventField table = source_convert_field(source, &warning->table);
	EventField reason = source_convert_field(source, &warning->reason);
	char *text;
	int len;

	warning->queue = source_convert_field(source, &warning->queue);
	if (source_find_queue(source, &warning->queue) == NULL)
		return false;
	text = psprintf("%.*s%s%.*s", table.len, table.str,
					reason.len > 0 ? ": " : "", Max(reason.len, 0), reason.str);
	len = pg_mbcliplen(text, (int) strlen(text), MAX_REASON);
	warning->reason.str = text;
	warning->reason.len = len;
	warning->table.str = psprintf("source %s", source->name);
	warning->table.len = (int) strlen(warning->table.str);
	return true;
}
