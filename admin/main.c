/*-------------------------------------------------------------------------
 *
 * main.c
 *		Administration of PgQ from the command line: the run of one command.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "common/memory.h"
#include "admin/admin.h"
#include "admin/options.h"

int
main(int argc, char **argv)
{
	Admin admin = {.max_retries = -1};
	const Command *cmd;
	char **words = memory_make((argc + 1) * sizeof(char *));
	char **args = words;
	int nargs;

	cmd = options_read(&admin, argc, argv, &args, &nargs);
	cmd->run(&admin, nargs, args);
	admin_close_stdout();
	if (admin.conn)
		PQfinish(admin.conn);
	free(admin.begin);
	free(admin.conninfo);
	free(words);
	return 0;
}
