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
#include "utils/builtins.h"

#include "capture/source.h"
#include "queue/own.h"

/* Longest reason that is kept of a warning, in bytes. */
#define MAX_REASON 500

/* Is that what a position of a source is named by, and not a slot's name? */
bool
source_is_key(const char *key)
{
	return strchr(key, '/') != NULL;
}

static List *
read_queues(Datum name)
{
	OwnScan scan;
	List *queues = NIL;

	own_open(&scan, OWN_SOURCE_QUEUE, AccessShareLock);
	own_match(&scan, SOURCE_QUEUE_SOURCE, name);
	own_begin(&scan, OWN_SOURCE_QUEUE_PKEY, NULL);
	while (own_next(&scan))
		queues = lappend(queues,
						 TextDatumGetCString(scan.values[SOURCE_QUEUE_QUEUE]));
	own_close(&scan);
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

/* May it feed the queue whose name is the "len" bytes at "queue"? */
bool
source_may_feed(const Source *source, const char *queue, int len)
{
	ListCell *lc;

	foreach(lc, source->queues)
	{
		const char *name = lfirst(lc);

		if (strlen(name) == (Size) len && memcmp(name, queue, len) == 0)
			return true;
	}
	return false;
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

/* The same for all texts of an event. */
void
source_convert_event(const Source *source, Event *event)
{
	for (int i = 0; i < FRAME_EVENT_FIELDS; i++)
		event->field[i] = source_convert_field(source, &event->field[i]);
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
	if (!source_may_feed(source, warning->queue.str, warning->queue.len))
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
