/*-------------------------------------------------------------------------
 *
 * options.h
 *		The command line of pgqadm: its commands, their options and help.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQADM_OPTIONS_H
#define PGQADM_OPTIONS_H

#include "admin/admin.h"

/* An option of some commands; the last one of a list has no name. */
typedef struct CommandOption
{
	const char *name; /* without the dashes */
	const char *arg;  /* " S", or "" */
	const char *help; /* lines */
} CommandOption;

typedef struct Command
{
	const char *name;
	int min_args;
	int max_args; /* -1 = any number */
	void (*run)(Admin *a, int argc, char **argv);
	const char *args; /* for the usage line */
	const char *help;
	const char *example;          /* what follows the database */
	const CommandOption *options; /* besides those of all; NULL: none */
} Command;

/* commands.c; the last one has no name */
extern const Command commands[];
extern const Command *commands_find(const char *name);

/* options.c */
extern const Command *options_read(Admin *a, int argc, char **argv,
								   char ***args, int *nargs);

/* help.c */
extern void help_print(int nwords, char **words) ADMIN_NORETURN;

#endif /* PGQADM_OPTIONS_H */
