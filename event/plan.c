/*-------------------------------------------------------------------------
 *
 * plan.c
 *		Prepare a table and its arguments for building events.
 *
 * Whatever is the same for all rows is made here, once: ev_type, ev_extra1,
 * the column names as the format writes them, the output functions.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "event/event.h"
#include "event/expr.h"
#include "event/relation.h"

/* The text and no more: plans live long, and there may be many. */
static EventField
field_of(StringInfo buf)
{
	EventField field = {pnstrdup(buf->data, buf->len), buf->len};

	pfree(buf->data);
	return field;
}

static void
set_label(EventColumn *col, EventFormat format)
{
	StringInfoData buf;
	EventField label;

	initStringInfo(&buf);
	switch (format)
	{
		case EVENT_FORMAT_JSON:
		case EVENT_FORMAT_DEBEZIUM:
			event_json_string(&buf, col->name, strlen(col->name));
			appendStringInfoChar(&buf, ':');
			break;
		case EVENT_FORMAT_URLENC:
			event_urlenc_string(&buf, col->name, strlen(col->name));
			break;
		case EVENT_FORMAT_SQL:
			appendStringInfoString(&buf, quote_identifier(col->name));
			break;
	}
	label = field_of(&buf);
	col->label = label.str;
	col->label_len = label.len;
}

/*
 * Which field a column named _pgq_ev_... replaces, -1 for all other columns.
 */
static int
magic_field(const char *name, bool is_trigger)
{
	static const char prefix[] = "_pgq_ev_";
	static const char *const fields[EVENT_FIELDS] = {
		"type", "data", "extra1", "extra2", "extra3", "extra4"};

	if (strncmp(name, prefix, strlen(prefix)) != 0)
		return -1;
	for (int i = 0; i < EVENT_FIELDS; i++)
		if (strcmp(name + strlen(prefix), fields[i]) == 0)
			return i;
	if (is_trigger)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
				 errmsg("Unknown magic column: %s", name),
				 errhint("Magic columns are _pgq_ev_type, _pgq_ev_data and "
					 "_pgq_ev_extra1 to _pgq_ev_extra4; rename the column.")));
	return -1;
}

/*
 * Whether a literal can be compared with a column of the type: it is read as
 * what the operator takes, which for a row has no text, and for regclass and the
 * like is a bare oid.
 */
static bool
is_comparable(Oid type)
{
	Oid opr = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
	Oid left;
	Oid right;

	if (!OidIsValid(opr))
		return false;
	op_input_types(opr, &left, &right);
	return left != RECORDOID && (left != OIDOID || getBaseType(type) == OIDOID);
}

static void
set_column(EventColumn *col, Form_pg_attribute att, const EventArgs *args)
{
	Oid output;
	bool isvarlena;

	col->index = att->attnum - 1;
	col->name = pstrdup(NameStr(att->attname));
	col->typid = att->atttypid;
	col->typmod = att->atttypmod;
	col->typlen = att->attlen;
	col->typbyval = att->attbyval;
	col->kind = event_value_kind(att->atttypid);
	getTypeOutputInfo(att->atttypid, &output, &isvarlena);
	fmgr_info(output, &col->output);
	col->magic = magic_field(col->name, args->is_trigger);
	col->ignored = col->magic >= 0 ||
				   event_args_has_name(args->ignore, col->name) ||
				   (args->columns != NIL &&
					!event_args_has_name(args->columns, col->name));
	col->generated = att->attgenerated != '\0';
	col->fixed = att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
	col->comparable = is_comparable(att->atttypid);
	if (args->format == EVENT_FORMAT_DEBEZIUM)
		event_debezium_column(col);
	set_label(col, args->format);
}

/* {"op":"INSERT","table":["public","t"],"pkey":["id"]} */
static EventField
json_type(const char *op, const char *schema, const char *table, List *keys)
{
	StringInfoData buf;
	ListCell *lc;
	bool first = true;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"op\":\"%s\",\"table\":[", op);
	event_json_string(&buf, schema, strlen(schema));
	appendStringInfoChar(&buf, ',');
	event_json_string(&buf, table, strlen(table));
	appendStringInfoString(&buf, "],\"pkey\":[");
	foreach(lc, keys)
	{
		if (!first)
			appendStringInfoChar(&buf, ',');
		first = false;
		event_json_string(&buf, lfirst(lc), strlen(lfirst(lc)));
	}
	appendStringInfoString(&buf, "]}");
	return field_of(&buf);
}

/* "I:k1,k2" for urlenc, "I" for sql */
static EventField
short_type(char op, bool with_keys, List *keys)
{
	StringInfoData buf;
	ListCell *lc;
	char lead = ':';

	initStringInfo(&buf);
	appendStringInfoChar(&buf, op);
	if (with_keys && keys == NIL)
		appendStringInfoChar(&buf, ':');
	if (with_keys)
		foreach(lc, keys)
		{
			appendStringInfoChar(&buf, lead);
			lead = ',';
			appendStringInfoString(&buf, lfirst(lc));
		}
	return field_of(&buf);
}

static void
set_types(EventPlan *plan, const char *schema, const char *table, List *keys)
{
	static const char *const names[EVENT_OPS] = {"INSERT", "UPDATE", "DELETE",
												 "TRUNCATE"};
	bool is_json = plan->format == EVENT_FORMAT_JSON ||
				   plan->format == EVENT_FORMAT_DEBEZIUM;

	for (int i = 0; i < EVENT_OPS; i++)
		plan->type[i] =
			is_json
				? json_type(names[i], schema, table, keys)
				: short_type("IUDR"[i],
							 plan -> format == EVENT_FORMAT_URLENC &&
										 i != EVENT_OP_NO(EVENT_OP_TRUNCATE),
							 keys);
}

static void
set_insert_head(EventPlan *plan)
{
	StringInfoData buf;
	bool first = true;
	bool has_fixed = false;

	initStringInfo(&buf);
	for (int i = 0; i < plan->ncolumns; i++)
	{
		EventColumn *col = &plan->columns[i];

		if (col->ignored || col->generated)
			continue;
		appendStringInfoChar(&buf, first ? '(' : ',');
		first = false;
		has_fixed |= col->fixed;
		appendStringInfoString(&buf, col->label);
	}
	/* what a trigger writes stays PgQ's, which nobody can execute */
	if (first)
		appendStringInfoString(&buf, plan->is_trigger ? "() values ("
													  : "default values");
	else
		appendStringInfoString(&buf, has_fixed
										 ? ") overriding system value values ("
										 : ") values (");
	plan->insert_tail = first && !plan->is_trigger ? "" : ")";
	plan->insert_head = field_of(&buf).str;
}

static void
set_expressions(EventPlan *plan, Relation rel, const EventArgs *args)
{
	if (args->when)
		plan->when = event_expr_make(rel, "when", args->when, true);
	for (int i = 0; i < EVENT_FIELDS; i++)
	{
		if (!args->expr[i])
			continue;
		plan->expr[i] = event_expr_make(rel, event_args_expression_name(i),
										args->expr[i], false);
		plan->has_expr = true;
	}
}

/*
 * Prepare to build events of a table.
 *
 * rel is open and need not be locked (historic snapshot); args as parsed.
 * The plan and all it points to is palloc'd in the current memory context and
 * does not refer to rel or args afterwards.  Raises an error if an expression
 * of a capture is invalid or not allowed.
 */
EventPlan *
event_plan_make(Relation rel, const EventArgs *args)
{
	TupleDesc desc = RelationGetDescr(rel);
	EventPlan *plan = palloc0(sizeof(EventPlan));
	char *schema = get_namespace_name(RelationGetNamespace(rel));
	char *table = RelationGetRelationName(rel);
	List *key = event_relation_key(rel, args);
	StringInfoData name;

	if (schema == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_SCHEMA),
						errmsg("schema of table \"%s\" does not exist", table)));
	plan->format = args->format;
	plan->ops = args->ops;
	plan->backup = args->backup;
	plan->has_ignore = args->ignore != NIL || args->columns != NIL;
	plan->has_key = key != NIL;
	plan->is_trigger = args->is_trigger;

	plan->columns = palloc0(desc->natts * sizeof(EventColumn));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		EventColumn *col = &plan->columns[plan->ncolumns];

		if (att->attisdropped || event_relation_is_virtual(att))
			continue;
		set_column(col, att, args);
		col->is_key = list_member_int(key, att->attnum);
		plan->has_magic |= col->magic >= 0;
		plan->ncolumns++;
	}
	/* in sql magic columns count as ignored ones, else only beside those */
	if (plan->format == EVENT_FORMAT_SQL && plan->has_magic)
		plan->has_ignore = true;

	initStringInfo(&name);
	appendStringInfo(&name, "%s.%s", schema, table);
	plan->table = field_of(&name);
	set_types(plan, schema, table,
			  args->has_pkey ? args->pkey : event_relation_key_names(rel));
	if (plan->format == EVENT_FORMAT_SQL)
		set_insert_head(plan);
	if (plan->format == EVENT_FORMAT_DEBEZIUM)
	{
		initStringInfo(&name);
		event_debezium_source(schema, table, &name);
		plan->source = field_of(&name);
	}
	if (!args->is_trigger)
		set_expressions(plan, rel, args);
	return plan;
}
