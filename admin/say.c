/*-------------------------------------------------------------------------
 *
 * say.c
 *		pgqadm: the commands' words to the user.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/progress.h"
#include "common/advice.h"
#include "common/memory.h"
#include "common/utf8.h"

/*
 * Prints lines of text, so many blanks before each but the first; blanks stand for
 * other control characters, which names and values may have.
 */
static void
print_lines(FILE *file, const char *text, int indent)
{
	int blanks = 0;

	do
	{
		size_t len = strcspn(text, "\n");
		char *line = text_copy_part(text, len);

		utf8_make_printable(line);
		fprintf(file, "%*s%s\n", blanks, "", line);
		free(line);
		blanks = indent;
		text += len + (text[len] == '\n');
	} while (*text);
}

/*
 * Ends the program with exit status 1 and one message.  hint NULL: the one
 * that advice.c has, if any.
 */
void
admin_fail(const char *hint, const char *fmt, ...)
{
	va_list args;
	char *text;

	fflush(stdout);
	progress_clear();
	fputs("pgqadm: ", stderr);
	va_start(args, fmt);
	text = text_vformat(fmt, args);
	va_end(args);
	if (hint == NULL)
		hint = advice_find(text);
	print_lines(stderr, text, 0);
	if (hint != NULL)
	{
		fputs("hint: ", stderr);
		print_lines(stderr, hint, 0);
	}
	exit(1);
}

/* A message that -q does not silence. */
void
admin_warn(const char *fmt, ...)
{
	va_list args;
	char *text;

	progress_clear();
	fputs("pgqadm: ", stderr);
	va_start(args, fmt);
	text = text_vformat(fmt, args);
	va_end(args);
	print_lines(stderr, text, 0);
	free(text);
}

/* What was done; silent under -q. */
void
admin_say(const Admin *a, const char *fmt, ...)
{
	va_list args;
	char *text;

	if (a->quiet)
		return;
	progress_clear();
	va_start(args, fmt);
	text = text_vformat(fmt, args);
	va_end(args);
	print_lines(stderr, text, 0);
	free(text);
}

/* Prints lines, so many blanks before each but the first, fit for a terminal. */
void
admin_print_lines(const char *text, int indent)
{
	print_lines(stdout, text, indent);
}

/* Prints text and blanks up to width characters of UTF-8. */
void
admin_print_padded(const char *text, int width)
{
	int len = 0;

	for (const char *p = text; *p; p++)
		if (((unsigned char) *p & 0xC0) != 0x80)
			len++;
	fputs(text, stdout);
	if (len < width)
		printf("%*s", width - len, "");
}

/* Fails if what was printed did not all arrive, say on a full disk. */
void
admin_close_stdout(void)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		admin_fail(NULL, "could not write output: %s", strerror(errno));
}

/* Bytes of a message of libpq without the newline that ends it. */
int
admin_message_length(const char *text)
{
	size_t len = strlen(text);

	while (len > 0 && text[len - 1] == '\n')
		len--;
	return (int) len;
}
