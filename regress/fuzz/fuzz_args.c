/*-------------------------------------------------------------------------
 *
 * fuzz_args.c
 *		Fuzz the arguments of captures and triggers, event/args.c.
 *
 * Each line of the input is one argument, "\N" is NULL.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "regress/fuzz/stubs/server.h"

#include "event/args.h"

typedef struct Input
{
	char **words;
	int nwords;
	EventArgs *args;
} Input;

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
parse_capture(void *arg)
{
	Input *in = arg;

	in->args = event_args_parse(server_make_array(in->words, in->nwords));
}

static void
parse_trigger(void *arg)
{
	Input *in = arg;

	in->args = event_args_parse_trigger(in->nwords, in->words,
										EVENT_FORMAT_URLENC);
}

/* Whatever was let in makes sense. */
static void
check(const EventArgs *args)
{
	ListCell *lc;

	if (args->ops < 1 || args->ops > EVENT_OPS_ALL ||
		args->format > EVENT_FORMAT_DEBEZIUM || (args->pkey && !args->has_pkey))
		abort();
	foreach(lc, args->columns)
		if (*(char *) lfirst(lc) == '\0')
			abort();
	foreach(lc, args->ignore)
		if (*(char *) lfirst(lc) == '\0')
			abort();
	foreach(lc, args->pkey)
		if (strchr(event_args_column_name(lfirst(lc)), ','))
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input in;

	in.nwords = server_split_lines(data, size, &in.words);
	if (server_try(parse_trigger, &in))
		check(in.args);
	else if (server_errcode == ERRCODE_INTERNAL_ERROR)
		abort();

	for (int i = 0; i < in.nwords; i++)
		if (strcmp(in.words[i], "\\N") == 0)
			in.words[i] = NULL;
	if (server_try(parse_capture, &in))
		check(in.args);
	else if (server_errcode == ERRCODE_INTERNAL_ERROR)
		abort();
	server_reset();
	return 0;
}
