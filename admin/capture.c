/*-------------------------------------------------------------------------
 *
 * capture.c
 *		pgqadm: captured tables and the slot that feeds them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "common/memory.h"

static void
require_capture(Admin *a)
{
	if (!admin_has_function(a, "pgq.capture_table(text, regclass, text[])"))
		admin_fail("It needs the extension pgq 4; command \"install\" says "
				   "which one is there.",
				   "this database cannot capture "
				   "tables");
}

/* Is the argument "copy" among them? */
static bool
has_copy(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "copy") == 0)
			return true;
	return false;
}

/* capture [--wait] QUEUE TABLE [ARG ...] */
void
admin_capture(Admin *a, int argc, char **argv)
{
	char *args = text_make_array(argv + 2, argc - 2);
	const char *params[3] = {argv[0], argv[1], args};
	bool copy = has_copy(argc - 2, argv + 2);
	char *since;
	bool is_new;

	if (a->wait && !copy)
		admin_fail(NULL, "option --wait needs the argument \"copy\"");
	require_capture(a);
	params[1] = admin_find_table(a, argv[1]);
	since = admin_read_time(a);
	is_new = admin_query_int(a, NULL,
							 "select pgq.capture_table($1::text, "
							 "$2::text::regclass, variadic $3::text[])",
							 3, params) == 1;
	if (copy)
		admin_say(a,
				  "pgqd copies table %s into queue %s, and captures it from "
				  "then on",
				  argv[1], argv[0]);
	else if (is_new)
		admin_say(a, "Capturing table %s for queue %s", argv[1], argv[0]);
	else
		admin_say(a, "Changed the capture of table %s for queue %s", argv[1],
				  argv[0]);
	if (a->wait)
		admin_wait_copies(a, argv[0], params[1], since);
	free(since);
	free(args);
}

/* uncapture QUEUE TABLE */
void
admin_uncapture(Admin *a, int argc, char **argv)
{
	const char *params[2] = {argv[0], argv[1]};

	require_capture(a);
	params[1] = admin_find_table(a, argv[1]);
	if (admin_query_int(a, NULL,
						"select pgq.uncapture_table($1::text, "
						"$2::text::regclass)",
						2, params) == 0)
		admin_fail("Command \"status\" shows the captured tables.",
				   "table %s is not captured for queue %s", argv[1], argv[0]);
	admin_say(a, "Table %s is no longer captured for queue %s", argv[1],
			  argv[0]);
}

/* slot create|drop|status [SLOT] */
void
admin_slot(Admin *a, int argc, char **argv)
{
	const char *slot = argc > 1 ? argv[1] : NULL;
	PGresult *res;

	if (strcmp(argv[0], "create") != 0 && strcmp(argv[0], "drop") != 0 &&
		strcmp(argv[0], "status") != 0)
		admin_fail("There are create, drop and status.",
				   "unknown command: slot %s", argv[0]);
	if (a->json && strcmp(argv[0], "drop") == 0)
		admin_fail(NULL, "command \"slot drop\" has no option --json");
	require_capture(a);

	if (strcmp(argv[0], "create") == 0)
	{
		res = admin_query(a, NULL, "select pgq.start_capture($1::text)", 1,
						  &slot);
		admin_say(a, "Created slot %s", PQgetvalue(res, 0, 0));
		if (a->json)
			admin_print_object("slot", PQgetvalue(res, 0, 0), (char *) NULL);
		PQclear(res);
	}
	else if (strcmp(argv[0], "drop") == 0)
	{
		if (admin_query_int(a, NULL, "select pgq.stop_capture($1::text)", 1,
							&slot) == 0)
			admin_fail(NULL, "there is no slot to drop");
		admin_say(a, "Dropped the slot");
	}
	else if (slot != NULL)
		admin_fail(NULL, "usage: pgqadm ... slot status");
	else if (a->json)
		admin_print_slots_json(a);
	else
		admin_print_slots(a);
}
