/*-------------------------------------------------------------------------
 *
 * target.c
 *		What targets share: their making, their failures, their password.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "common/utf8.h"
#include "relay/secrets.h"

/* Zeroed memory for a target that begins with a Target. */
void *
target_make(size_t size, const RelayConfig *config)
{
	Target *target = memory_make(size);

	target->config = config;
	return target;
}

/* Note what went wrong; returns "result". */
TargetResult
target_fail(void *target, TargetResult result, const char *fmt, ...)
{
	Target *t = target;
	va_list args;

	va_start(args, fmt);
	vsnprintf(t->error, sizeof(t->error), fmt, args);
	va_end(args);
	secrets_hide(t->config, t->error, sizeof(t->error));
	/* part of it may be a stranger's, and it goes into the database */
	utf8_make_printable(t->error);
	t->result = result;
	return result;
}

/*
 * where() of engines that note the last batch that they have whole.  last: that
 * one, 0: none; tick: when it ended, 0: not known; what: the thing that is noted
 * there, for messages; the rest is where()'s.
 *
 * The bookmark is that note as the database has it.  An engine that has more
 * than the bookmark and this batch has batches that the database knows nothing
 * of any more: their events may be those that are to come, under other ids.
 */
TargetResult
target_compare_batches(void *target, const char *what, int64_t last,
					   int64_t tick, const TargetBatch *batch, int64_t *done)
{
	int64_t before = batch->bookmark ? strtoll(batch->bookmark, NULL, 10) : 0;

	if (last < before)
		return target_fail(target, TARGET_STOP,
						   "%s has lost events: it is at batch %" PRId64
						   " and was at %" PRId64 " before batch %" PRId64,
						   what, last, before, batch->id);
	if (last > batch->id)
		return target_fail(target, TARGET_STOP,
						   "%s is at batch %" PRId64 ", ahead of batch %" PRId64
						   ": " TARGET_WENT_BACK,
						   what, last, batch->id);
	if (last == batch->id && tick != 0 && tick != batch->tick)
		return target_fail(target, TARGET_STOP,
						   "%s is at batch %" PRId64
						   ", which is of other events now: " TARGET_WENT_BACK,
						   what, last);
	if (batch->bookmark && last != before && last != batch->id)
		return target_fail(target, TARGET_STOP,
						   "%s is at batch %" PRId64
						   ", and the bookmark at %" PRId64
						   " before batch %" PRId64 ": " TARGET_WENT_BACK,
						   what, last, before, batch->id);
	*done = last == batch->id ? INT64_MAX : 0;
	return TARGET_OK;
}

/*
 * The password, of the ini file or the first line of the file that it names.
 * Malloc'd; NULL: there is none.
 */
char *
target_password(const RelayConfig *config)
{
	FILE *fp;
	char *line = NULL;
	size_t size = 0;

	if (config->password || config->password_file == NULL)
		return text_copy(config->password);
	fp = fopen(config->password_file, "r");
	if (fp == NULL)
		return NULL;
	if (getline(&line, &size, fp) >= 0)
		line[strcspn(line, "\r\n")] = '\0';
	else
	{
		free(line);
		line = NULL;
	}
	fclose(fp);
	return line;
}
