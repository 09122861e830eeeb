/*-------------------------------------------------------------------------
 *
 * args_rename.c
 *		Let the arguments of a capture follow the renaming of a column.
 *
 * Only the name itself is replaced; all else stays as the user wrote it.  In
 * an expression the parser says where the column is named, so that a string
 * constant, a function or a field of the same name is left alone.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "event/args.h"
#include "event/expr.h"

static void
refuse(const char *from, const char *to, const char *arg, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("column \"%s\" of a captured table cannot be renamed to "
					"\"%s\"",
					from, to),
			 errdetail("Capture argument \"%s\" names it. %s", arg, why),
			 errhint("Choose another name, or call pgq.uncapture_table() first, "
					 "and pgq.capture_table() again afterwards.")));
}

/* A list of names: ignore=, columns=, pkey=.  NULL if it has not the column. */
static char *
rename_in_list(const char *arg, const char *from, const char *to)
{
	const char *word = strchr(arg, '=') + 1;
	StringInfoData buf;
	bool found = false;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, arg, word - arg);
	for (;;)
	{
		int len = strcspn(word, ",");
		char *copy = pnstrdup(word, len);
		char *name = event_args_column_name(copy);

		if (strcmp(name, from) == 0)
		{
			char *blank_end = strstr(copy, name);

			appendBinaryStringInfo(&buf, copy, blank_end - copy);
			appendStringInfo(&buf, "%s%s", to, blank_end + strlen(name));
			found = true;
		}
		else
			appendStringInfoString(&buf, copy);
		if (word[len] == '\0')
			break;
		appendStringInfoChar(&buf, ',');
		word += len + 1;
	}
	if (!found)
		return NULL;
	if (strchr(to, ',') || strcmp(event_args_column_name(to), to) != 0)
		refuse(from, to, arg,
			   "Names in its list have no commas, nor blanks around them.");
	return buf.data;
}

static bool
is_name_char(char c)
{
	return isalnum((unsigned char) c) || c == '_' || c == '$' ||
		   IS_HIGHBIT_SET(c);
}

/* How many bytes a name takes, as SQL writes it; 0 if it has escapes. */
static int
name_length(const char *name)
{
	int len = 0;

	if (*name == '"')
	{
		for (len = 1; name[len] != '"' || name[len + 1] == '"'; len++)
			if (name[len] == '"')
				len++;
		return len + 1;
	}
	while (is_name_char(name[len]))
		len++;
	/* U&"\0061" */
	return name[len] == '&' && name[len + 1] == '"' ? 0 : len;
}

/* Next to these a name is a name, whatever it is. */
static bool
separates(char c)
{
	return c == ' ' || c == '(' || c == ')' || c == ',' || c == '\0';
}

/* An expression: when=, ev_*=.  NULL if it has not the column. */
static char *
rename_in_expression(const char *arg, const char *from, const char *to)
{
	const char *source = strchr(arg, '=') + 1;
	char *option = pnstrdup(arg, source - arg - 1);
	List *offsets = event_expr_find_column(option, source, from);
	StringInfoData buf;
	int done = 0;
	ListCell *lc;

	if (offsets == NIL)
		return NULL;
	initStringInfo(&buf);
	appendStringInfo(&buf, "%s=", option);
	foreach(lc, offsets)
	{
		int offset = lfirst_int(lc);
		int len = name_length(source + offset);

		if (len == 0)
			refuse(from, to, arg, "It writes the name with Unicode escapes.");
		appendBinaryStringInfo(&buf, source + done, offset - done);
		if (offset > 0 && !separates(source[offset - 1]))
			appendStringInfoChar(&buf, ' ');
		appendStringInfoString(&buf, quote_identifier(to));
		done = offset + len;
		if (!separates(source[done]))
			appendStringInfoChar(&buf, ' ');
	}
	appendStringInfoString(&buf, source + done);
	return buf.data;
}

static char *
rename_in_argument(const char *arg, const char *from, const char *to)
{
	if (strncmp(arg, "ignore=", 7) == 0 || strncmp(arg, "columns=", 8) == 0 ||
		strncmp(arg, "pkey=", 5) == 0)
		return rename_in_list(arg, from, to);
	if (strncmp(arg, "when=", 5) == 0 || strncmp(arg, "ev_", 3) == 0)
		return rename_in_expression(arg, from, to);
	return NULL;
}

/*
 * The arguments of a capture after a column of its table was renamed.
 *
 * array holds valid arguments; from and to are names as in the catalogue.
 * Returns a palloc'd array, or NULL if no argument names the column.  Raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if an argument can't name it by the
 * new name.
 */
ArrayType *
event_args_rename_column(ArrayType *array, const char *from, const char *to)
{
	Datum *elems;
	int nelems;
	bool changed = false;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL,
					  &nelems);
	for (int i = 0; i < nelems; i++)
	{
		char *arg = rename_in_argument(TextDatumGetCString(elems[i]), from, to);

		if (arg == NULL)
			continue;
		elems[i] = CStringGetTextDatum(arg);
		changed = true;
	}
	if (!changed)
		return NULL;
	return construct_array(elems, nelems, TEXTOID, -1, false, TYPALIGN_INT);
}
