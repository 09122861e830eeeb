/*-------------------------------------------------------------------------
 *
 * pipe.c
 *		pgqadm consume --exec: a batch's way through the command, and what becomes
 *		of events that it fails on.
 *
 * The command tells by its exit status whether it has done the batch.  With
 * --confirm it gives the last line back, on a descriptor of its own, and before it
 * may name events that it has not done.  With --on-error a command that fails on a
 * batch gets each of its events alone, so that it is known which ones it fails on.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "admin/command.h"
#include "admin/consume.h"
#include "common/memory.h"
#include "common/utf8.h"

/* What the command says of one event. */
typedef enum Verdict
{
	VERDICT_FAILED,   /* what --on-error says */
	VERDICT_POSTPONE, /* again, after some seconds */
	VERDICT_DEAD
} Verdict;

static const struct
{
	const char *word;
	Verdict verdict;
} words[] = {{"failed", VERDICT_FAILED},
			 {"retry", VERDICT_POSTPONE},
			 {"dead", VERDICT_DEAD}};

#define NWORDS ((int) (sizeof(words) / sizeof(words[0])))
#define POSTPONE_SECONDS 60

/* One line of the command's answer. */
typedef struct Answer
{
	Verdict verdict;
	int64_t id;
	int seconds;
	const char *reason; /* in the line */
} Answer;

void
pipe_set_variable(const char *name, long long number)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", number);
	setenv(name, text, 1);
}

/* ---- events that are put aside ---- */

/* Bytes that are no UTF-8 become question marks. */
static void
mend_text(char *text)
{
	unsigned char *p = (unsigned char *) text;

	while (*p)
	{
		int len = utf8_length(p);

		if (len == 0)
			*p++ = '?';
		else
			p += len;
	}
}

/* As told, however long the server is away; false: see pgq_status(). */
static bool
put_aside(Run *run, const Answer *a)
{
	PgqResult rc;

	for (;;)
	{
		switch (a->verdict)
		{
			case VERDICT_FAILED:
				rc = pgq_fail(run->c, a->id, a->reason);
				break;
			case VERDICT_POSTPONE:
				rc = pgq_postpone(run->c, a->id, a->seconds);
				break;
			default:
				rc = pgq_dead(run->c, a->id, a->reason);
		}
		if (rc == PGQ_OK || pgq_batch_id(run->c) == 0)
			return rc == PGQ_OK;
		consume_handle_trouble(run);
	}
}

/* ---- the command's answer ---- */

static bool
is_in_batch(const Run *run, long n, int64_t id)
{
	for (long i = 0; i < n; i++)
		if (run->ids[i] == id)
			return true;
	return false;
}

/* Reads "WORD ID [TEXT]"; false if the line is not like that. */
static bool
read_answer(const Run *run, char *line, long n, Answer *a)
{
	size_t len = strcspn(line, " ");
	char *end;
	int w = 0;

	line[strcspn(line, "\n")] = '\0';
	while (w < NWORDS && (strlen(words[w].word) != len ||
						  strncmp(words[w].word, line, len) != 0))
		w++;
	if (w == NWORDS || line[len] != ' ')
		return false;
	a->verdict = words[w].verdict;
	errno = 0;
	a->id = strtoll(line + len + 1, &end, 10);
	if (errno != 0 || end == line + len + 1 || (*end != ' ' && *end != '\0') ||
		!is_in_batch(run, n, a->id))
		return false;
	a->reason = *end ? end + 1 : NULL;
	a->seconds = POSTPONE_SECONDS;
	if (a->verdict != VERDICT_POSTPONE || a->reason == NULL)
		return true;
	a->seconds = (int) strtol(a->reason, &end, 10);
	return errno == 0 && end != a->reason && *end == '\0' && a->seconds >= 0;
}

/*
 * Reads what the command has answered, and with "act" does it.  Only when all of it
 * is right, the end line last, anything is done.  *aside counts the events.
 */
static BatchEnd
read_answers(Run *run, FILE *file, const char *end_line, long n, bool act,
			 long *aside)
{
	char *line = NULL;
	size_t room = 0;
	bool confirmed = false;
	BatchEnd end = BATCH_TAKEN;
	Answer a;

	*aside = 0;
	rewind(file);
	while (end == BATCH_TAKEN && getline(&line, &room, file) >= 0)
	{
		if (confirmed || strcmp(line, end_line) == 0)
		{
			/* nothing may follow */
			if (confirmed)
				end = BATCH_REFUSED;
			confirmed = true;
			continue;
		}
		mend_text(line);
		if (!read_answer(run, line, n, &a))
		{
			admin_warn("command has answered: %.200s\n"
					   "hint: Before the last line may stand: failed ID "
					   "[REASON], retry ID [SECONDS], dead ID [REASON].",
					   line);
			end = BATCH_REFUSED;
		}
		else if (a.verdict == VERDICT_FAILED && !run->puts_aside)
		{
			admin_warn(
				"command failed on event %lld: %s\n"
				"hint: Option --on-error says what becomes of such events.",
				(long long) a.id, a.reason ? a.reason : "no reason given");
			end = BATCH_REFUSED;
		}
		else if (act && !put_aside(run, &a))
			end = BATCH_BROKEN;
		else
			(*aside)++;
	}
	free(line);
	if (end == BATCH_TAKEN && !confirmed)
		end = BATCH_REFUSED;
	return end;
}

/* ---- one run ---- */

/*
 * Runs the command on n events in a file.  When it has failed on them, *why, 128
 * bytes, gets in what way; "" when that is no fault of theirs.
 */
static BatchEnd
run_once(Run *run, FILE *file, long n, char *why)
{
	long long batch = pgq_batch_id(run->c);
	FILE *answer = NULL;
	BatchEnd end = BATCH_REFUSED;
	char line[128];
	long aside;
	bool ran;
	int status;

	why[0] = '\0';
	pipe_set_variable("PGQ_BATCH", batch);
	pipe_set_variable("PGQ_EVENTS", n);
	if (run->admin->confirm)
	{
		/* the line behind the events */
		snprintf(line, sizeof(line), "{\"end_of_batch\":%lld,\"events\":%ld}\n",
				 batch, n);
		fseek(file, 0, SEEK_END);
		fputs(line, file);
		answer = command_make_file();
	}
	ran = (answer != NULL || !run->admin->confirm) &&
		  command_run(run->admin->exec, file, answer, &status);
	if (!ran)
		admin_warn("could not start the command: %s", strerror(errno));
	else if (WIFSIGNALED(status))
		snprintf(why, 128, "command was ended by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		snprintf(why, 128, "command exited with status %d",
				 WEXITSTATUS(status));
	else if (answer == NULL)
		end = BATCH_TAKEN;
	else
	{
		end = read_answers(run, answer, line, n, false, &aside);
		if (end == BATCH_TAKEN && aside > 0)
			end = read_answers(run, answer, line, n, true, &aside);
		if (end == BATCH_REFUSED)
			snprintf(why, 128, "command did not confirm");
	}
	if (answer != NULL)
		fclose(answer);
	return end;
}

/* ---- a batch ---- */

/* Runs the command on each event alone, and puts those aside that it fails on. */
static BatchEnd
run_each(Run *run, FILE *file, long n)
{
	char *line = NULL;
	size_t room = 0;
	BatchEnd end = BATCH_TAKEN;

	rewind(file);
	for (long i = 0; i < n && end == BATCH_TAKEN; i++)
	{
		Answer failed = {.verdict = VERDICT_FAILED, .id = run->ids[i]};
		FILE *one = command_make_file();
		char why[128] = "";

		if (one == NULL || getline(&line, &room, file) < 0 ||
			fputs(line, one) == EOF)
		{
			admin_warn("could not write an event to a file: %s",
					   strerror(errno));
			end = BATCH_REFUSED;
		}
		else
			end = run_once(run, one, 1, why);
		if (one != NULL)
			fclose(one);
		if (end == BATCH_REFUSED && why[0])
		{
			admin_warn("event %lld: %s", (long long) failed.id, why);
			failed.reason = why;
			end = put_aside(run, &failed) ? BATCH_TAKEN : BATCH_BROKEN;
		}
	}
	free(line);
	return end;
}

BatchEnd
pipe_batch(Run *run, FILE *file, long n)
{
	char why[128];
	BatchEnd end;

	setenv("PGQ_QUEUE", run->queue, 1);
	setenv("PGQ_CONSUMER", run->consumer, 1);
	end = run_once(run, file, n, why);
	if (end != BATCH_REFUSED)
		return end;
	if (run->puts_aside && why[0])
	{
		if (n > 1)
			admin_warn("%s; it gets the %ld events of batch %lld one by one",
					   why, n, (long long) pgq_batch_id(run->c));
		return run_each(run, file, n);
	}
	admin_warn(
		"%s; batch %lld stays open%s", why[0] ? why : "it was not run",
		(long long) pgq_batch_id(run->c),
		strstr(why, "confirm")
			? "\nhint: With --confirm it has to write the last line of its "
			  "input to descriptor 3."
			: "");
	return end;
}
