/*-------------------------------------------------------------------------
 *
 * command.h
 *		Files for a batch's lines, and the run of a command on them.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQADM_COMMAND_H
#define PGQADM_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

/* What a command answers on, if it has to: the next one after stderr. */
#define COMMAND_ANSWER_FD 3

/* An empty file without a name, in TMPDIR; NULL, and errno, on failure. */
extern FILE *command_make_file(void);

/*
 * Runs sh -c TEXT to its end, with standard input from the file "input", read
 * from its start, and descriptor COMMAND_ANSWER_FD to the file "answer" if that
 * is not NULL.  It gets this process's environment.
 *
 * The command is in a process group of its own, so that ^C does not stop it in
 * the middle of a batch; when this process dies, by SIGKILL too, all of its
 * group is ended: by SIGTERM, and five seconds later by SIGKILL.
 *
 * Returns true, with its status as waitpid() gives it; false, and errno, if it
 * could not be started.
 */
extern bool command_run(const char *text, FILE *input, FILE *answer,
						int *status);

#endif /* PGQADM_COMMAND_H */
