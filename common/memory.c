/*-------------------------------------------------------------------------
 *
 * memory.c
 *		Memory and texts of the programs, which end when there is none left.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *
check(void *memory)
{
	if (memory == NULL)
	{
		fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
		abort();
	}
	return memory;
}

void *
memory_make(size_t size)
{
	return check(calloc(1, size > 0 ? size : 1));
}

void *
memory_resize(void *memory, size_t size)
{
	return check(realloc(memory, size > 0 ? size : 1));
}

char *
text_copy(const char *text)
{
	return text ? check(strdup(text)) : NULL;
}

char *
text_copy_part(const char *text, size_t len)
{
	return check(strndup(text, len));
}

void
text_set(char **place, const char *text)
{
	char *copy = text_copy(text);

	free(*place);
	*place = copy;
}

char *
text_vformat(const char *fmt, va_list args)
{
	char *text;

	return check(vasprintf(&text, fmt, args) < 0 ? NULL : text);
}

char *
text_format(const char *fmt, ...)
{
	va_list args;
	char *text;

	va_start(args, fmt);
	text = text_vformat(fmt, args);
	va_end(args);
	return text;
}

PQExpBuffer
text_begin(void)
{
	return check(createPQExpBuffer());
}

char *
text_end(PQExpBuffer buffer)
{
	char *text = check(PQExpBufferBroken(buffer) ? NULL : buffer->data);

	free(buffer);
	return text;
}

void
text_append_label(PQExpBuffer out, const char *lead, const char *name,
				  const char *value)
{
	appendPQExpBuffer(out, "%s%s=\"", lead, name);
	for (; *value; value++)
	{
		if (*value == '\\' || *value == '"')
			appendPQExpBufferChar(out, '\\');
		if (*value == '\n')
			appendPQExpBufferStr(out, "\\n");
		else
			appendPQExpBufferChar(out, *value);
	}
	appendPQExpBufferChar(out, '"');
}

char *
text_make_array(char *const *words, size_t n)
{
	PQExpBuffer out = text_begin();

	appendPQExpBufferChar(out, '{');
	for (size_t i = 0; i < n; i++)
	{
		appendPQExpBufferStr(out, i > 0 ? ",\"" : "\"");
		for (const char *p = words[i]; *p; p++)
		{
			if (*p == '"' || *p == '\\')
				appendPQExpBufferChar(out, '\\');
			appendPQExpBufferChar(out, *p);
		}
		appendPQExpBufferChar(out, '"');
	}
	appendPQExpBufferChar(out, '}');
	return text_end(out);
}
