/*-------------------------------------------------------------------------
 *
 * template.h
 *		Text with {fields} that an event fills: subjects, topics, keys.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_TEMPLATE_H
#define PGQ_RELAY_TEMPLATE_H

#include <stdbool.h>

#include "common/buffer.h"

/* The fields that a template may name. */
typedef enum TemplateField
{
	FIELD_QUEUE,
	FIELD_DB,
	FIELD_SCHEMA,
	FIELD_TABLE,
	FIELD_OP,
	FIELD_KEY,
	FIELD_KEY_JSON,
	FIELD_TYPE,
	FIELD_EXTRA1,
	FIELD_EXTRA2,
	FIELD_EXTRA3,
	FIELD_EXTRA4,
	TEMPLATE_FIELDS
} TemplateField;

/* Appends text, made fit for a place that a field fills. */
typedef void (*TemplateEscape)(PQExpBuffer out, const char *text);

typedef struct Template Template;

extern Template *template_parse(const char *text, char **error);
extern void template_free(Template *template);
extern const char *template_find_field(const char *text, int *len);
extern bool template_has(const Template *template, TemplateField field);
extern void template_fill(const Template *template,
						  const char *const values[TEMPLATE_FIELDS],
						  TemplateEscape escape, PQExpBuffer out);

extern bool template_fill_key(const Template *template,
							  const char *const values[TEMPLATE_FIELDS],
							  PQExpBuffer out);

#endif /* PGQ_RELAY_TEMPLATE_H */
