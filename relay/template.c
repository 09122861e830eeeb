/*-------------------------------------------------------------------------
 *
 * template.c
 *		Text with {fields} that an event fills: subjects, topics, keys.
 *
 * "{{" is a brace.  A field that an event has not (the key of one without, the
 * table of one that is of none) is filled with "-", so that parts of a subject
 * keep their places, and so is one that is empty, but in keys.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

static const char *const field_names[TEMPLATE_FIELDS] = {
	"queue",    "db",   "schema", "table",  "op",     "key",
	"key_json", "type", "extra1", "extra2", "extra3", "extra4"};

typedef struct Piece
{
	char *text; /* literal, NULL: a field */
	TemplateField field;
} Piece;

struct Template
{
	int npieces;
	Piece *pieces;
};

static void
add_literal(Template *t, const char *text, size_t len)
{
	if (len == 0)
		return;
	t->pieces[t->npieces++].text = text_copy_part(text, len);
}

static int
find_field(const char *name, size_t len)
{
	for (int i = 0; i < TEMPLATE_FIELDS; i++)
		if (strlen(field_names[i]) == len &&
			strncmp(field_names[i], name, len) == 0)
			return i;
	return -1;
}

/*
 * Read a template.
 *
 * Returns it, to be freed by template_free(), or NULL with a malloc'd message in
 * *error: an unknown field, a brace without its fellow.
 */
Template *
template_parse(const char *text, char **error)
{
	Template *t = memory_make(sizeof(Template));

	/* a piece takes a character at least */
	t->pieces = memory_make((strlen(text) + 1) * sizeof(Piece));
	for (;;)
	{
		size_t len = strcspn(text, "{");
		const char *end;
		int field;

		add_literal(t, text, len);
		text += len;
		if (*text == '\0')
			return t;
		if (text[1] == '{')
		{
			add_literal(t, "{", 1);
			text += 2;
			continue;
		}
		end = strchr(text, '}');
		field = end ? find_field(text + 1, end - text - 1) : -1;
		if (field < 0)
		{
			*error = end ? text_format(
							   "there is no field \"%.*s\"; fields are {queue} "
							   "{db} {schema} {table} {op} {key} {key_json} "
							   "{type} {extra1} to {extra4}",
							   (int) (end + 1 - text), text)
						 : text_format("\"{\" without \"}\" in \"%s\"", text);
			template_free(t);
			return NULL;
		}
		t->pieces[t->npieces++].field = (TemplateField) field;
		text = end + 1;
	}
}

/* Free a template.  NULL is allowed. */
void
template_free(Template *template)
{
	if (template == NULL)
		return;
	for (int i = 0; i < template->npieces; i++)
		free(template->pieces[i].text);
	free(template->pieces);
	free(template);
}

/*
 * The first {field} in a text that is no template, *len characters with its braces;
 * NULL: there is none.
 */
const char *
template_find_field(const char *text, int *len)
{
	while ((text = strchr(text, '{')) != NULL)
	{
		size_t inside = strcspn(++text, "{}");

		if (text[inside] == '}' && find_field(text, inside) >= 0)
		{
			*len = (int) inside + 2;
			return text - 1;
		}
	}
	return NULL;
}

/* Does the template name the field?  NULL does not. */
bool
template_has(const Template *template, TemplateField field)
{
	for (int i = 0; template && i < template->npieces; i++)
		if (template->pieces[i].text == NULL &&
			template->pieces[i].field == field)
			return true;
	return false;
}

/*
 * Append the filled template of an address to "out".  values: of the fields, NULL:
 * the event has none.  escape: for values alone, NULL: as they are.
 */
void
template_fill(const Template *template,
			  const char *const values[TEMPLATE_FIELDS], TemplateEscape escape,
			  PQExpBuffer out)
{
	for (int i = 0; i < template->npieces; i++)
	{
		const Piece *piece = &template->pieces[i];
		const char *value = piece->text ? NULL : values[piece->field];

		if (piece->text)
			appendPQExpBufferStr(out, piece->text);
		else if (value == NULL || *value == '\0')
			appendPQExpBufferChar(out, '-');
		else if (escape)
			escape(out, value);
		else
			appendPQExpBufferStr(out, value);
	}
}

/*
 * The same for a key, in which an empty value stays empty.  False, if the template is
 * a field alone that the event has not: then there is no key.
 */
bool
template_fill_key(const Template *template,
				  const char *const values[TEMPLATE_FIELDS], PQExpBuffer out)
{
	for (int i = 0; i < template->npieces; i++)
	{
		const Piece *piece = &template->pieces[i];
		const char *text = piece->text ? piece->text : values[piece->field];

		if (text == NULL && template->npieces == 1)
			return false;
		appendPQExpBufferStr(out, text ? text : "-");
	}
	return true;
}
