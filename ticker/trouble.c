/*-------------------------------------------------------------------------
 *
 * trouble.c
 *		Say a lasting trouble once, not at every attempt.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/trouble.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/advice.h"
#include "common/clock.h"
#include "ticker/conn.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/utf8.h"

/* Seconds after which the same text is logged again. */
#define REPEAT_PERIOD 600.0

/* Longest text of somebody else's server that is kept, in bytes. */
#define MAX_FOREIGN_TEXT 1000

/* The text with what to do about it behind it; takes and gives malloc'd text. */
static char *
add_advice(char *text)
{
	const char *advice = advice_find(text);
	char *both;

	/* some say it themselves */
	if (advice == NULL || strstr(text, "ALTER ROLE"))
		return text;
	both = text_format("%s - %s", text, advice);
	free(text);
	return both;
}

/*
 * Log a text as a warning for database "dbname", unless it is what was logged
 * last; then it is only a debug message.
 */
void
trouble_report(Trouble *trouble, const char *dbname, const char *fmt, ...)
{
	va_list args;
	char *text;
	size_t lead = trouble->who ? strlen(trouble->who) + 2 : 0;
	double now = clock_seconds();

	va_start(args, fmt);
	text = text_vformat(fmt, args);
	va_end(args);
	if (trouble->who)
	{
		if (strlen(text) > MAX_FOREIGN_TEXT)
			text[MAX_FOREIGN_TEXT] = '\0';
		utf8_make_printable(text);
	}
	text = add_advice(text);
	if (trouble->who)
	{
		char *whole = text_format("%s: %s", trouble->who, text);

		free(text);
		text = whole;
	}

	if (trouble->text && strcmp(trouble->text, text) == 0 &&
		now - trouble->logged_at < REPEAT_PERIOD)
	{
		log_debug("[%s]: %s", dbname, text + lead);
		free(text);
		return;
	}
	log_warning("[%s]: %s", dbname, text + lead);
	if (trouble->text == NULL)
		trouble->since = now;
	free(trouble->text);
	trouble->text = text;
	trouble->logged_at = now;
}

/* All is well: say so if there was trouble.  what NULL: say nothing. */
void
trouble_clear(Trouble *trouble, const char *dbname, const char *what)
{
	if (trouble->text && what)
		log_info("[%s]: %s", dbname, what);
	text_set(&trouble->text, NULL);
}
