/*-------------------------------------------------------------------------
 *
 * fuzz_options.c
 *		Fuzz the options of the output plugin, decoder/options.c.
 *
 * Each line of the input is one option, "name=value" or a name alone.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "regress/fuzz/stubs/server.h"

#include "decoder/decoder.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool frames;
static bool hold_back;

static void
parse(void *arg)
{
	options_parse(arg, &frames, &hold_back);
}

/* A node of this size and tag; Value and String differ between versions. */
static void *
make_node(size_t size, NodeTag tag)
{
	Node *node = palloc0(size);

	node->type = tag;
	return node;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	List *options = NIL;
	bool want_frames = false;
	char **words;
	int nwords = server_split_lines(data, size, &words);

	for (int i = 0; i < nwords; i++)
	{
		DefElem *opt = make_node(sizeof(DefElem), T_DefElem);
		char *value = strchr(words[i], '=');

		if (value)
		{
#if PG_VERSION_NUM >= 150000
			String *string = make_node(sizeof(String), T_String);

			string->sval = value + 1;
#else
			Value *string = make_node(sizeof(Value), T_String);

			string->val.str = value + 1;
#endif
			*value = '\0';
			opt->arg = (Node *) string;
			if (strcmp(words[i], "format") == 0)
				want_frames = strcmp(value + 1, "frames") == 0;
		}
		opt->defname = words[i];
		options = lappend(options, opt);
	}
	if (server_try(parse, options))
	{
		if (frames != want_frames)
			abort();
	}
	else if (server_errcode == ERRCODE_INTERNAL_ERROR)
		abort();
	server_reset();
	return 0;
}
