/*-------------------------------------------------------------------------
 *
 * message.c
 *		From an event to the message that an engine gets.
 *
 * Formats: "plain", the event's data as it is; "json", one object with all
 * fields of the event, in which data that is JSON stands as such; and
 * CloudEvents 1.0, structured ("cloudevents") or with the attributes as headers
 * ("cloudevents-binary"): https://github.com/cloudevents/spec.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/memory.h"
#include "common/utf8.h"
#include "event/key.h"

/* What the type and extra1 of captured and triggered events tell. */
typedef struct Origin
{
	const char *op; /* insert ..., NULL: an event of its own type */
	char *schema;   /* both in one malloc'd text; NULL: no table */
	char *table;
} Origin;

struct MessageMaker
{
	const RelayConfig *config;
	char *source;      /* database, for CloudEvents' source and {db} */
	char *origin_name; /* see message_maker_source() */
	Template *address_template;
	Template *key_template;
	TemplateEscape escape;

	PQExpBufferData id;
	size_t id_head; /* "queue/", of all ids */
	PQExpBufferData address;
	PQExpBufferData key;
	PQExpBufferData event_key;
	PQExpBufferData key_object;
	bool needs_key_object; /* a template names it */
	PQExpBufferData body;
	PQExpBufferData scratch; /* all header values, behind each other */
	RelayMessage head;       /* the headers that all messages of a batch have */
	size_t head_len;         /* of their values, which are the first ones */
	char *extra1;            /* the last one, and what it told */
	char *type;
	Origin origin;
};

#define JSON_FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL)

static const struct
{
	char letter;
	const char *word;
	const char *op;
} ops[] = {{'I', "INSERT", "insert"},
		   {'U', "UPDATE", "update"},
		   {'D', "DELETE", "delete"},
		   {'R', "TRUNCATE", "truncate"}};

/*
 * Numbers of JSON may be of any size, and PostgreSQL writes them so; jansson has room
 * for what a machine has.  A copy whose numbers are cut to that, but not mended.
 */
static char *
shorten_numbers(const char *text)
{
	char *copy = text_copy(text);
	char *out = copy;
	bool in_string = false;

	while (*text)
	{
		size_t digits = in_string ? 0 : strspn(text, "0123456789");

		if (digits > 0)
		{
			bool exponent = out > copy && strchr("eE+-", out[-1]) &&
							out - copy > 1 && strchr("0123456789eE", out[-2]);
			size_t kept = exponent ? 1 : digits < 15 ? digits : 15;

			memcpy(out, exponent ? "0" : text, kept);
			out += kept;
			text += digits;
			continue;
		}
		if (*text == '"')
			in_string = !in_string;
		else if (*text == '\\' && in_string && text[1])
			*out++ = *text++;
		*out++ = *text++;
	}
	*out = '\0';
	return copy;
}

/* Is text JSON, whole?  It is checked, not changed. */
static bool
is_json(const char *text)
{
	json_error_t error;
	json_t *value;

	/* most data is not, and tells so at once */
	if (strchr("{[\"-0123456789tfn", *text) == NULL || *text == '\0')
		return false;
	value = json_loads(text, JSON_FLAGS, &error);
	if (value == NULL && json_error_code(&error) == json_error_numeric_overflow)
	{
		char *shorter = shorten_numbers(text);

		value = json_loads(shorter, JSON_FLAGS, NULL);
		free(shorter);
	}
	json_decref(value);
	return value != NULL;
}

/* The operation that a type tells of: {"op":"INSERT",...}, I:id, or I. */
static const char *
find_op(const char *type)
{
	static const char head[] = "{\"op\":\"";

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
	{
		size_t len = strlen(ops[i].word);

		if (strncmp(type, head, sizeof(head) - 1) == 0)
		{
			const char *word = type + sizeof(head) - 1;

			if (strncmp(word, ops[i].word, len) == 0 && word[len] == '"')
				return ops[i].op;
		}
		else if (type[0] == ops[i].letter &&
				 (type[1] == '\0' || type[1] == ':'))
			return ops[i].op;
	}
	return NULL;
}

static bool
same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Origins come in runs: the last one is kept. */
static const Origin *
find_origin(MessageMaker *m, const PgqEvent *event)
{
	char *dot;

	if (same_text(m->type, event->ev_type) &&
		same_text(m->extra1, event->ev_extra1))
		return &m->origin;
	free(m->type);
	free(m->extra1);
	free(m->origin.schema);
	m->type = text_copy(event->ev_type);
	m->extra1 = text_copy(event->ev_extra1);
	memset(&m->origin, 0, sizeof(m->origin));
	m->origin.op = m->type ? find_op(m->type) : NULL;

	/* a schema with a dot in its name can't be told from the table's part */
	if (m->origin.op && m->extra1 && (dot = strchr(m->extra1, '.')) != NULL)
	{
		m->origin.schema = text_copy(m->extra1);
		m->origin.table = m->origin.schema + (dot - m->extra1);
		*m->origin.table++ = '\0';
	}
	return &m->origin;
}

static void
append_json_string(PQExpBuffer out, const char *text)
{
	int len;

	appendPQExpBufferChar(out, '"');
	for (; *text; text += len)
	{
		len = utf8_length((const unsigned char *) text);
		if (len > 1)
			appendBinaryPQExpBuffer(out, text, len);
		else if (len == 0)
		{
			/* of a database in SQL_ASCII */
			appendPQExpBufferStr(out, "\\ufffd");
			len = 1;
		}
		else if (*text == '"' || *text == '\\')
			appendPQExpBuffer(out, "\\%c", *text);
		else if ((unsigned char) *text < ' ')
			appendPQExpBuffer(out, "\\u%04x", (unsigned char) *text);
		else
			appendPQExpBufferChar(out, *text);
	}
	appendPQExpBufferChar(out, '"');
}

/* ,"name":"value", null for NULL; JSON values stand as they are. */
static void
append_member(PQExpBuffer out, const char *name, const char *value,
			  bool may_be_json)
{
	appendPQExpBuffer(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
	if (value == NULL)
		appendPQExpBufferStr(out, "null");
	else if (may_be_json && is_json(value))
		appendPQExpBufferStr(out, value);
	else
		append_json_string(out, value);
}

/* ev_time in RFC 3339: PostgreSQL's ISO has a blank, and zones of hours. */
static void
append_time(PQExpBuffer out, const char *time)
{
	size_t len = strlen(time);
	size_t zone = len;

	while (zone > 0 && time[zone - 1] != '+' && time[zone - 1] != '-')
		zone--;
	for (size_t i = 0; i < len; i++)
		appendPQExpBufferChar(out, time[i] == ' ' ? 'T' : time[i]);
	if (len - zone == 2)
		appendPQExpBufferStr(out, ":00");
}

static void
make_json(MessageMaker *m, const PgqEvent *event, const RelayMessage *message)
{
	PQExpBuffer out = &m->body;

	appendPQExpBufferChar(out, '{');
	append_member(out, "id", message->id, false);
	append_member(out, "queue", m->config->queue, false);
	appendPQExpBuffer(out, ",\"ev_id\":%" PRId64, event->ev_id);
	append_member(out, "time", event->ev_time, false);
	append_member(out, "type", event->ev_type, true);
	append_member(out, "key", message->key, false);
	append_member(out, "data", event->ev_data, true);
	append_member(out, "extra1", event->ev_extra1, false);
	append_member(out, "extra2", event->ev_extra2, true);
	append_member(out, "extra3", event->ev_extra3, false);
	append_member(out, "extra4", event->ev_extra4, false);
	appendPQExpBufferChar(out, '}');
}

/* Each text that "scratch" gets is ended by a zero; returns where it begins. */
static size_t
begin_text(MessageMaker *m)
{
	return m->scratch.len;
}

static void
end_text(MessageMaker *m)
{
	appendBinaryPQExpBuffer(&m->scratch, "", 1);
}

/*
 * Header values point into "scratch", which may move while it grows: until all
 * are there, they are kept as places in it.
 */
static void
add_header(RelayMessage *message, const char *name, size_t place)
{
	message->headers[message->nheaders].name = name;
	message->headers[message->nheaders++].value = (const char *) place;
}

static void
add_text_header(MessageMaker *m, RelayMessage *message, const char *name,
				const char *text)
{
	size_t place = begin_text(m);

	if (text == NULL)
		return;
	appendPQExpBufferStr(&m->scratch, text);
	end_text(m);
	/* a header is one line in every engine */
	for (char *p = m->scratch.data + place; *p; p++)
		if ((unsigned char) *p < ' ')
			*p = ' ';
	add_header(message, name, place);
}

/* Much faster than printf(). */
static void
append_number(PQExpBuffer out, int64_t number)
{
	char digits[24];
	char *p = digits + sizeof(digits);
	uint64_t rest = number < 0 ? -(uint64_t) number : (uint64_t) number;

	do
		*--p = (char) ('0' + rest % 10);
	while ((rest /= 10) > 0);
	if (number < 0)
		*--p = '-';
	appendBinaryPQExpBuffer(out, p, digits + sizeof(digits) - p);
}

static void
add_number_header(MessageMaker *m, RelayMessage *message, const char *name,
				  int64_t number)
{
	size_t place = begin_text(m);

	append_number(&m->scratch, number);
	end_text(m);
	add_header(message, name, place);
}

/* CloudEvents percent-encodes all but printable ASCII, blank, " and %. */
static void
add_encoded_header(MessageMaker *m, RelayMessage *message, const char *name,
				   const char *text)
{
	size_t place = begin_text(m);

	if (text == NULL)
		return;
	for (; *text; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c <= ' ' || c > '~' || c == '"' || c == '%')
			appendPQExpBuffer(&m->scratch, "%%%02X", c);
		else
			appendPQExpBufferChar(&m->scratch, (char) c);
	}
	end_text(m);
	add_header(message, name, place);
}

/* Attributes of CloudEvents: values in the order of their names below. */
enum
{
	CE_ID,
	CE_SOURCE,
	CE_SPECVERSION,
	CE_TYPE,
	CE_SUBJECT,
	CE_TIME,
	CE_PARTITIONKEY,
	CE_SEQUENCE,
	CE_ATTRIBUTES
};

static const char *const ce_names[CE_ATTRIBUTES] = {
	"ce-id",      "ce-source", "ce-specversion",  "ce-type",
	"ce-subject", "ce-time",   "ce-partitionkey", "ce-sequence"};

static void
make_cloudevent(MessageMaker *m, const PgqEvent *event, const Origin *origin,
				RelayMessage *message)
{
	bool binary = m->config->format == FORMAT_CLOUDEVENTS_BINARY;
	char *values[CE_ATTRIBUTES] = {NULL};
	PQExpBufferData text;
	PQExpBuffer out = &m->body;
	bool json = event->ev_data && is_json(event->ev_data);

	initPQExpBuffer(&text);
	append_time(&text, event->ev_time);
	values[CE_ID] = text_copy(message->id);
	values[CE_SOURCE] = text_format("/pgq/%s/%s", m->source, m->config->queue);
	values[CE_TYPE] = text_format(origin->op ? "org.pgq.%s" : "%s",
								  origin->op       ? origin->op
								  : event->ev_type ? event->ev_type
												   : "org.pgq.event");
	if (event->ev_extra1)
		values[CE_SUBJECT] = text_format("%s%s%s", event->ev_extra1,
										 message->key ? "/" : "",
										 message->key ? message->key : "");
	values[CE_SEQUENCE] = text_format("%020" PRId64, event->ev_id);
	values[CE_SPECVERSION] = text_copy("1.0");
	values[CE_TIME] = text_copy(text.data);
	values[CE_PARTITIONKEY] = text_copy(message->key);
	termPQExpBuffer(&text);

	message->content_type = json ? "application/json" : "text/plain";
	if (binary)
	{
		for (int i = 0; i < CE_ATTRIBUTES; i++)
			add_encoded_header(m, message, ce_names[i], values[i]);
		message->body = event->ev_data ? event->ev_data : "";
		message->body_len = strlen(message->body);
	}
	else
	{
		appendPQExpBufferChar(out, '{');
		for (int i = 0; i < CE_ATTRIBUTES; i++)
			if (values[i])
				append_member(out, ce_names[i] + 3, values[i], false);
		append_member(out, "datacontenttype", message->content_type, false);
		append_member(out, "data", event->ev_data, true);
		appendPQExpBufferChar(out, '}');
		message->content_type = "application/cloudevents+json; charset=UTF-8";
	}
	for (int i = 0; i < CE_ATTRIBUTES; i++)
		free(values[i]);
}

/*
 * Make what turns the events of config's queue into messages.
 *
 * source: name of the database.  address: a template, NULL: messages have none.
 * escape: for what is filled into it.  All but "escape" are copied or outlive
 * it.  Returns NULL with a malloc'd message in *error for a template that can't
 * be read.
 */
MessageMaker *
message_maker_create(const RelayConfig *config, const char *source,
					 const char *address, TemplateEscape escape, char **error)
{
	MessageMaker *m = memory_make(sizeof(MessageMaker));

	m->config = config;
	m->source = text_copy(source);
	m->origin_name = text_format("%s/%s/%s", source, config->queue,
								 config->consumer);
	m->escape = escape;
	initPQExpBuffer(&m->id);
	appendPQExpBuffer(&m->id, "%s/", config->queue);
	m->id_head = m->id.len;
	initPQExpBuffer(&m->address);
	initPQExpBuffer(&m->key);
	initPQExpBuffer(&m->event_key);
	initPQExpBuffer(&m->key_object);
	initPQExpBuffer(&m->body);
	initPQExpBuffer(&m->scratch);
	m->key_template = template_parse(config->key, error);
	if (m->key_template && address)
		m->address_template = template_parse(address, error);
	if (m->key_template == NULL || (address && m->address_template == NULL))
	{
		message_maker_free(m);
		return NULL;
	}
	m->needs_key_object = template_has(m->key_template, FIELD_KEY_JSON) ||
						  template_has(m->address_template, FIELD_KEY_JSON);
	return m;
}

/* Free a maker.  NULL is allowed. */
void
message_maker_free(MessageMaker *m)
{
	if (m == NULL)
		return;
	template_free(m->address_template);
	template_free(m->key_template);
	termPQExpBuffer(&m->id);
	termPQExpBuffer(&m->address);
	termPQExpBuffer(&m->key);
	termPQExpBuffer(&m->event_key);
	termPQExpBuffer(&m->key_object);
	termPQExpBuffer(&m->body);
	termPQExpBuffer(&m->scratch);
	free(m->origin.schema);
	free(m->type);
	free(m->extra1);
	free(m->origin_name);
	free(m->source);
	free(m);
}

/* The event's key, by one of the functions of key.h, NULL: it has none. */
static const char *
find_key(const PgqEvent *event,
		 long (*write)(const char *, size_t, const char *, size_t, char *),
		 PQExpBuffer out)
{
	size_t type_len = event->ev_type ? strlen(event->ev_type) : 0;
	size_t data_len = event->ev_data ? strlen(event->ev_data) : 0;
	long len;

	resetPQExpBuffer(out);
	if (!enlargePQExpBuffer(out, EVENT_KEY_ROOM(type_len, data_len)))
		abort();
	len = write(event->ev_type, type_len, event->ev_data, data_len, out->data);
	if (len < 0)
		return NULL;
	out->data[len] = '\0';
	return out->data;
}

/* The id, the key and the address: what does not depend on the format. */
static void
make_names(MessageMaker *m, const PgqEvent *event, const Origin *origin,
		   RelayMessage *message)
{
	const char *values[TEMPLATE_FIELDS] = {
		[FIELD_QUEUE] = m->config->queue,  [FIELD_DB] = m->source,
		[FIELD_SCHEMA] = origin->schema,   [FIELD_TABLE] = origin->table,
		[FIELD_OP] = origin->op,           [FIELD_TYPE] = event->ev_type,
		[FIELD_EXTRA1] = event->ev_extra1, [FIELD_EXTRA2] = event->ev_extra2,
		[FIELD_EXTRA3] = event->ev_extra3, [FIELD_EXTRA4] = event->ev_extra4};

	values[FIELD_KEY] = find_key(event, event_key, &m->event_key);
	if (m->needs_key_object)
		values[FIELD_KEY_JSON] = find_key(event, event_key_object,
										  &m->key_object);

	m->id.len = m->id_head;
	append_number(&m->id, event->ev_id);
	if (event->ev_retry > 0)
		appendPQExpBuffer(&m->id, ".%d", event->ev_retry);
	message->id = m->id.data;

	resetPQExpBuffer(&m->key);
	message->key = template_fill_key(m->key_template, values, &m->key)
					   ? m->key.data
					   : NULL;

	if (m->address_template)
	{
		resetPQExpBuffer(&m->address);
		template_fill(m->address_template, values, m->escape, &m->address);
		message->address = m->address.data;
	}
}

/* Where all messages of a maker come from: database/queue/consumer. */
const char *
message_maker_source(const MessageMaker *m)
{
	return m->origin_name;
}

/* Begin a message with what all messages of its batch have. */
static void
begin_message(MessageMaker *m, int64_t batch, int64_t tick,
			  RelayMessage *message)
{
	if (m->head.batch != batch || m->head.tick != tick)
	{
		resetPQExpBuffer(&m->scratch);
		memset(&m->head, 0, sizeof(m->head));
		m->head.batch = batch;
		m->head.tick = tick;
		add_text_header(m, &m->head, "Pgq-Source", m->origin_name);
		add_number_header(m, &m->head, "Pgq-Batch", batch);
		add_number_header(m, &m->head, "Pgq-Tick", tick);
		m->head_len = m->scratch.len;
	}
	m->scratch.len = m->head_len;
	*message = m->head;
}

/*
 * Make the message of an event.
 *
 * batch: the batch's id.  tick: of its end, in us of 1970.  place: the event's in
 * it, from 1.  *message gets strings that belong to the maker.
 */
void
message_make(MessageMaker *m, const PgqEvent *event, int64_t batch,
			 int64_t tick, int64_t place, RelayMessage *message)
{
	const Origin *origin = find_origin(m, event);

	begin_message(m, batch, tick, message);
	resetPQExpBuffer(&m->body);
	message->event = event;
	message->ev_id = event->ev_id;
	message->place = place;
	message->is_delete = origin->op && strcmp(origin->op, "delete") == 0;
	make_names(m, event, origin, message);

	add_number_header(m, message, "Pgq-Place", place);
	switch (m->config->format)
	{
		case FORMAT_PLAIN:
			add_text_header(m, message, "Pgq-Time", event->ev_time);
			add_text_header(m, message, "Pgq-Type", event->ev_type);
			add_text_header(m, message, "Pgq-Extra1", event->ev_extra1);
			add_text_header(m, message, "Pgq-Extra2", event->ev_extra2);
			add_text_header(m, message, "Pgq-Extra3", event->ev_extra3);
			add_text_header(m, message, "Pgq-Extra4", event->ev_extra4);
			message->body = event->ev_data ? event->ev_data : "";
			message->body_len = strlen(message->body);
			message->content_type = "text/plain; charset=UTF-8";
			break;
		case FORMAT_JSON:
			make_json(m, event, message);
			message->content_type = "application/json";
			break;
		case FORMAT_CLOUDEVENTS:
		case FORMAT_CLOUDEVENTS_BINARY:
			make_cloudevent(m, event, origin, message);
			break;
	}
	if (message->body == NULL)
	{
		message->body = m->body.data;
		message->body_len = m->body.len;
	}
	for (int i = 0; i < message->nheaders; i++)
		message->headers[i].value = m->scratch.data +
									(size_t) message->headers[i].value;
	if (PQExpBufferBroken(&m->body) || PQExpBufferBroken(&m->scratch) ||
		PQExpBufferBroken(&m->id))
		abort();
}
