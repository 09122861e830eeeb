/*-------------------------------------------------------------------------
 *
 * help.c
 *		pgqadm --help, of all commands or of one.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/options.h"

/* The column that the help of an option begins in. */
#define HELP_COLUMN 24

static void
print_options(const CommandOption *options, int indent)
{
	for (const CommandOption *o = options; o && o->name; o++)
	{
		const char *line = o->help;
		int len = (int) strcspn(line, "\n");
		int used = printf("%*s  --%s%s", indent, "", o->name, o->arg);

		printf("%*s%.*s\n", indent + HELP_COLUMN - used, "", len, line);
		while (line[len])
		{
			line += len + 1;
			len = (int) strcspn(line, "\n");
			printf("%*s%.*s\n", indent + HELP_COLUMN, "", len, line);
		}
	}
}

static void
print_help(void)
{
	puts("Administration of PgQ, the queue inside PostgreSQL.\n"
		 "\n"
		 "usage: pgqadm [OPTION ...] CONFIG.ini COMMAND [ARG ...]\n"
		 "       pgqadm [OPTION ...] -d DBNAME COMMAND [ARG ...]\n"
		 "\n"
		 "commands:");
	for (const Command *cmd = commands; cmd->name; cmd++)
	{
		printf("  %s%s%s\n      %s\n", cmd->name, cmd->args[0] ? " " : "",
			   cmd->args, cmd->help);
		print_options(cmd->options, 4);
		printf("      pgqadm -d shop %s\n", cmd->example);
	}
	puts("\n"
		 "database:\n"
		 "  CONFIG.ini            ini file with a section [pgqadm]\n"
		 "  -d, --dbname DBNAME   database name, libpq connect string or URI\n"
		 "  -h, --host HOST       -p, --port PORT       -U, --username USER\n"
		 "  Without any of these PGDATABASE or PGSERVICE must be set.\n"
		 "  -d means --daemon when CONFIG.ini stands before it, or when an\n"
		 "  ini file (*.ini), an option or nothing follows it.\n"
		 "\n"
		 "running ticker, by the pid file in CONFIG.ini:\n"
		 "  -r, --reload          read the ini file again (SIGHUP)\n"
		 "  -s, --stop            stop cleanly (SIGINT)\n"
		 "  -k, --kill            stop at once (SIGTERM)\n"
		 "\n"
		 "other:\n"
		 "  -d, --daemon          ticker goes to the background\n"
		 "  -q, --quiet           results and errors only\n"
		 "  -v, --verbose         notices too\n"
		 "  --ini                 print a sample CONFIG.ini\n"
		 "  -V, --version         print the version\n"
		 "  --help                this text; behind a command, about that one");
}

static void
print_help_about(const Command *cmd)
{
	printf("usage: pgqadm CONFIG.ini|-d DBNAME %s%s%s\n\n%s\n\n"
		   "example:\n  pgqadm -d shop %s\n",
		   cmd->name, cmd->args[0] ? " " : "", cmd->args, cmd->help,
		   cmd->example);
	if (cmd->options)
		puts("\noptions:");
	print_options(cmd->options, 0);
}

/*
 * Print the help and end the program with status 0: about the command that is
 * the first or, behind an ini file, the second word; else about all.
 */
void
help_print(int nwords, char **words)
{
	const Command *cmd = NULL;

	for (int i = 0; i < nwords && i < 2 && cmd == NULL; i++)
		cmd = commands_find(words[i]);
	if (cmd != NULL)
		print_help_about(cmd);
	else
		print_help();
	exit(0);
}
