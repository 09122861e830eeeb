/*-------------------------------------------------------------------------
 *
 * args.c
 *		Parse the arguments of a capture or a trigger.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "event/args.h"

typedef struct NamedValue
{
	const char *name;
	int value;
} NamedValue;

static const NamedValue formats[] = {{"json", EVENT_FORMAT_JSON},
									 {"urlenc", EVENT_FORMAT_URLENC},
									 {"sql", EVENT_FORMAT_SQL},
									 {"debezium", EVENT_FORMAT_DEBEZIUM},
									 {NULL, 0}};

static const NamedValue operations[] = {{"insert", EVENT_OP_INSERT},
										{"update", EVENT_OP_UPDATE},
										{"delete", EVENT_OP_DELETE},
										{"truncate", EVENT_OP_TRUNCATE},
										{NULL, 0}};

static const NamedValue origins[] = {{"any", false}, {"none", true}, {NULL, 0}};

/* in the order of EventArgs.expr, then when= */
static const char *const expressions[EVENT_FIELDS + 1] = {
	"ev_type",   "ev_data",   "ev_extra1", "ev_extra2",
	"ev_extra3", "ev_extra4", "when"};

static int
lookup_value(const NamedValue *table, const char *option, const char *value,
			 const char *choices)
{
	for (; table->name; table++)
		if (strcmp(table->name, value) == 0)
			return table->value;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for capture argument \"%s\"",
					value, option),
			 errhint("Valid values are %s.", choices)));
	return 0; /* keep compiler quiet */
}

/*
 * The column that a word of ignore=, columns= or pkey= means: blanks around
 * it do not count.  The result is palloc'd.
 */
char *
event_args_column_name(const char *word)
{
	int len;

	while (isspace((unsigned char) *word))
		word++;
	len = strlen(word);
	while (len > 0 && isspace((unsigned char) word[len - 1]))
		len--;
	return pnstrdup(word, len);
}

/* Split at commas; an empty text has no words unless keep_empty. */
static List *
split_words(const char *text, bool trim, bool keep_empty)
{
	List *words = NIL;

	for (;;)
	{
		const char *comma = strchr(text, ',');
		char *word = comma ? pnstrdup(text, comma - text) : pstrdup(text);

		if (trim)
			word = event_args_column_name(word);
		if (*word || keep_empty)
			words = lappend(words, word);
		if (!comma)
			return words;
		text = comma + 1;
	}
}

static int
parse_ops(const char *value)
{
	List *words = split_words(value, true, false);
	int ops = 0;
	ListCell *lc;

	foreach(lc, words)
		ops |= lookup_value(
			operations, "ops", lfirst(lc),
			"insert, update, delete and truncate, separated by commas");
	if (ops == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("capture argument \"ops\" names no operation"),
				 errhint("For example: ops=insert,update,delete")));
	return ops;
}

static void
refuse_unsupported(const char *arg, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("capture argument \"%s\" is not supported", arg),
			 errhint("%s", hint)));
}

/* The value of "name=value", or NULL if arg is another one. */
static const char *
value_of(const char *arg, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(arg, name, len) == 0 && arg[len] == '=')
		return arg + len + 1;
	return NULL;
}

/* The name of the argument whose expression replaces a field. */
const char *
event_args_expression_name(int field)
{
	return expressions[field];
}

/* when= and ev_*=; false for others */
static bool
parse_expression(EventArgs *args, const char *arg)
{
	for (int i = 0; i < lengthof(expressions); i++)
	{
		const char *value = value_of(arg, expressions[i]);

		if (!value)
			continue;
		if (i < EVENT_FIELDS)
			args->expr[i] = pstrdup(value);
		else
			args->when = pstrdup(value);
		return true;
	}
	return false;
}

/* What a capture and a trigger have in common; false for others. */
static bool
parse_common(EventArgs *args, const char *arg)
{
	const char *value;

	if (strcmp(arg, "backup") == 0)
		args->backup = true;
	else if ((value = value_of(arg, "ignore")) != NULL)
		args->ignore = split_words(value, true, false);
	else if ((value = value_of(arg, "pkey")) != NULL)
	{
		args->pkey = split_words(value, false, true);
		args->has_pkey = true;
	}
	else
		return parse_expression(args, arg);
	return true;
}

static void
parse_capture_arg(EventArgs *args, const char *arg)
{
	const char *value;

	if (parse_common(args, arg))
		return;
	if ((value = value_of(arg, "format")) != NULL)
		args->format = lookup_value(formats, "format", value,
									"json, urlenc, sql and debezium");
	else if ((value = value_of(arg, "ops")) != NULL)
		args->ops = parse_ops(value);
	else if ((value = value_of(arg, "origin")) != NULL)
		args->origin_none = lookup_value(origins, "origin", value,
										 "any and none");
	else if ((value = value_of(arg, "columns")) != NULL)
		args->columns = split_words(value, true, false);
	else if (strcmp(arg, "SKIP") == 0)
		refuse_unsupported(arg, "A capture sees a change after its commit and "
								"cannot suppress it. Use a trigger for that.");
	else if (strcmp(arg, "deny") == 0)
		refuse_unsupported(arg, "A capture sees a change after its commit and "
								"cannot refuse it. Use a trigger for that.");
	else if (strcmp(arg, "copy") == 0)
		args->copy = true;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown capture argument \"%s\"", arg),
				 errhint("Valid arguments are backup, copy, ignore=, pkey=, "
						 "columns=, format=, ops=, origin=, when=, ev_type=, ev_data= "
						 "and ev_extra1= to ev_extra4=.")));
}

static void
parse_trigger_arg(EventArgs *args, const char *arg)
{
	if (parse_common(args, arg))
		return;
	if (strcmp(arg, "SKIP") == 0)
		args->skip = true;
	else if (strcmp(arg, "deny") == 0)
		args->deny = true;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("bad param to pgq trigger"),
				 errdetail("The argument is \"%s\".", arg),
				 errhint("Valid arguments are SKIP, backup, deny, ignore=, "
						 "pkey=, when=, ev_type=, ev_data= and ev_extra1= "
						 "to ev_extra4=.")));
}

/*
 * Parse the arguments of a capture.
 *
 * array is a text[] without dimensions or with one; NULL elements are
 * refused.  A later argument of the same name wins.  The result is palloc'd
 * in the current memory context.  Raises ERRCODE_INVALID_PARAMETER_VALUE for
 * what it does not know, ERRCODE_FEATURE_NOT_SUPPORTED for arguments that
 * only trigger functions take.
 */
EventArgs *
event_args_parse(ArrayType *array)
{
	EventArgs *args = palloc0(sizeof(EventArgs));
	Datum *elems;
	bool *nulls;
	int nelems;

	args->format = EVENT_FORMAT_JSON;
	args->ops = EVENT_OPS_ALL;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("capture arguments must be a one-dimensional array")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls,
					  &nelems);
	for (int i = 0; i < nelems; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("capture argument must not be null")));
		parse_capture_arg(args, TextDatumGetCString(elems[i]));
	}
	if (args->format == EVENT_FORMAT_DEBEZIUM && args->backup)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("capture argument \"backup\" does not go with "
						"format=debezium"),
				 errhint("Leave it out: \"before\" has the old row where the "
						 "table has REPLICA IDENTITY FULL.")));
	return args;
}

/*
 * Parse the arguments of a trigger, without the first one, the queue.
 *
 * The format is the trigger function's own.  The result is palloc'd in the
 * current memory context.  Raises ERRCODE_INVALID_PARAMETER_VALUE.
 */
EventArgs *
event_args_parse_trigger(int nargs, char **words, EventFormat format)
{
	EventArgs *args = palloc0(sizeof(EventArgs));

	args->format = format;
	args->ops = EVENT_OPS_ALL;
	args->is_trigger = true;
	for (int i = 0; i < nargs; i++)
		parse_trigger_arg(args, words[i]);
	return args;
}

/* Whether a list of strings has a name. */
bool
event_args_has_name(List *names, const char *name)
{
	ListCell *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}
