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
	fprintf(stderr, "%s\n", text);
	if (hint != NULL)
		fprintf(stderr, "hint: %s\n", hint);
	exit(1);
}

/* A message that -q does not silence. */
void
admin_warn(const char *fmt, ...)
{
	va_list args;

	progress_clear();
	fputs("pgqadm: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

/* What was done; silent under -q. */
void
admin_say(const Admin *a, const char *fmt, ...)
{
	va_list args;

	if (a->quiet)
		return;
	progress_clear();
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
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
