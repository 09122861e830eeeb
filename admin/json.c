/*-------------------------------------------------------------------------
 *
 * json.c
 *		pgqadm: text as JSON.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>

#include "admin/admin.h"
#include "common/utf8.h"

/* Writes text, which is UTF-8, as a string of JSON; NULL is null. */
void
admin_write_json(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *) text;
	int len;

	if (text == NULL)
	{
		fputs("null", out);
		return;
	}
	putc('"', out);
	for (; *p; p += len)
	{
		len = utf8_length(p);
		if (len > 1)
			fwrite(p, 1, len, out);
		else if (len == 0)
		{
			fputs("\\ufffd", out);
			len = 1;
		}
		else if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (*p == '\n')
			fputs("\\n", out);
		else if (*p == '\t')
			fputs("\\t", out);
		else if (*p == '\r')
			fputs("\\r", out);
		else if (*p < 0x20)
			fprintf(out, "\\u%04x", *p);
		else
			putc(*p, out);
	}
	putc('"', out);
}

/*
 * Prints one object of strings on stdout: name, value, name, value ... NULL.
 * A value of NULL is null.
 */
void
admin_print_object(const char *name, ...)
{
	const char *lead = "{";
	va_list args;

	va_start(args, name);
	for (; name != NULL; name = va_arg(args, const char *))
	{
		fputs(lead, stdout);
		admin_write_json(stdout, name);
		fputs(": ", stdout);
		admin_write_json(stdout, va_arg(args, const char *));
		lead = ", ";
	}
	va_end(args);
	puts("}");
}
