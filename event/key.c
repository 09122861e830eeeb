/*-------------------------------------------------------------------------
 *
 * key.c
 *		The key of a row, read back from its event.  Plain C, for the server and
 *		for clients.
 *
 * Events of the json, debezium and urlenc formats name the key's columns in their
 * type and have their values in their data.  Those of the sql format do not tell
 * the key of an INSERT: they have none.  Type and data are any text that a user
 * may have put into a queue: what is not as our formats have it has no key, and
 * is no error.
 *
 * A key of one column is its value; one of more is a JSON array of strings, so
 * that no two keys read alike.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "event/key.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A primary key has 32 columns at most; pkey= may name more. */
#define MAX_KEY_COLUMNS 64

typedef struct Span
{
	const char *start;
	size_t len;
} Span;

typedef struct Cursor
{
	const char *p;
	const char *end;
} Cursor;

typedef struct Key
{
	int n;
	Span name[MAX_KEY_COLUMNS];  /* as it is written */
	Span value[MAX_KEY_COLUMNS]; /* as well; start NULL: not there */
} Key;

static bool
take(Cursor *c, char expected)
{
	if (c->p >= c->end || *c->p != expected)
		return false;
	c->p++;
	return true;
}

/* Bytes that the urlenc format never has as they are. */
static bool
has_control_bytes(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char) text[i] < ' ')
			return true;
	return false;
}

/* Of a few stops, faster than strchr() by far. */
static inline bool
is_one_of(char c, const char *stops)
{
	while (*stops && *stops != c)
		stops++;
	return *stops != '\0';
}

/* What is up to one of "stops", or the end. */
static inline Span
take_until(Cursor *c, const char *stops)
{
	Span span = {c->p, 0};

	while (c->p < c->end && !is_one_of(*c->p, stops))
		c->p++;
	span.len = c->p - span.start;
	return span;
}

/* A JSON string with its quotes. */
static bool
take_string(Cursor *c, Span *span)
{
	span->start = c->p;
	if (!take(c, '"'))
		return false;
	while (c->p < c->end && *c->p != '"')
		c->p += *c->p == '\\' && c->p + 1 < c->end ? 2 : 1;
	if (!take(c, '"'))
		return false;
	span->len = c->p - span->start;
	return true;
}

static bool
add_name(Key *key, Span name)
{
	if (key->n == MAX_KEY_COLUMNS)
		return false;
	key->name[key->n++] = name;
	return true;
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
		   : c >= 'a' && c <= 'f' ? c - 'a' + 10
		   : c >= 'A' && c <= 'F' ? c - 'A' + 10
								  : -1;
}

/* Byte by byte: decodes what stands at p, and moves p behind it. */
static char
decode_byte(const char **p, const char *end)
{
	char c = *(*p)++;

	if (c == '%' && end - *p > 1 && hex_digit((*p)[0]) >= 0 &&
		hex_digit((*p)[1]) >= 0)
	{
		c = (char) (hex_digit((*p)[0]) << 4 | hex_digit((*p)[1]));
		*p += 2;
		return c;
	}
	return c == '+' ? ' ' : c;
}

/* Is "encoded" the url-encoded form of "name"? */
static bool
is_urlenc_of(Span encoded, Span name)
{
	const char *p = encoded.start;
	const char *end = encoded.start + encoded.len;
	size_t n = 0;

	while (p < end)
		if (n == name.len || decode_byte(&p, end) != name.start[n++])
			return false;
	return n == name.len;
}

/*
 * "name" as it is in the data, where json has it as in the type.  A value is of
 * one column only: with EVENT_KEY_ROOM there is no room for it to come twice.
 */
static void
set_value(Key *key, bool json, Span name, Span value)
{
	for (int i = 0; i < key->n; i++)
		if (json ? key->name[i].len == name.len &&
					   memcmp(key->name[i].start, name.start, name.len) == 0
				 : is_urlenc_of(name, key->name[i]))
		{
			key->value[i] = value;
			return;
		}
}

/* ---- json: {"op":"INSERT","table":["s","t"],"pkey":["a","b"]} ---- */

static bool
read_json_names(const char *type, size_t len, Key *key)
{
	static const char mark[] = "],\"pkey\":[";
	const size_t mark_len = sizeof(mark) - 1;
	Cursor c = {type, type + len};

	/* no name can have such text: its quotes are escaped */
	while ((size_t) (c.end - c.p) > mark_len &&
		   memcmp(c.p, mark, mark_len) != 0)
		c.p++;
	if ((size_t) (c.end - c.p) <= mark_len)
		return false;
	c.p += mark_len;
	do
	{
		Span name;

		if (!take_string(&c, &name) || !add_name(key, name))
			return false;
	} while (take(&c, ','));
	return take(&c, ']') && take(&c, '}') && c.p == c.end;
}

static bool
take_text(Cursor *c, const char *text)
{
	size_t len = strlen(text);

	if ((size_t) (c->end - c->p) < len || memcmp(c->p, text, len) != 0)
		return false;
	c->p += len;
	return true;
}

/* A string, or what is written without quotes. */
static bool
take_value(Cursor *c, Span *value)
{
	if (c->p < c->end && *c->p == '"')
		return take_string(c, value);
	*value = take_until(c, ",}[]{\"");
	return value->len > 0;
}

/* Behind "[", an array of values, which is of no key. */
static bool
skip_array(Cursor *c)
{
	Span value;

	if (take(c, ']'))
		return true;
	do
		if (!take_value(c, &value))
			return false;
	while (take(c, ','));
	return take(c, ']');
}

/* {"col":value,...} without anything nested but arrays of values. */
static bool
read_json_row(Cursor *c, Key *key)
{
	if (!take(c, '{'))
		return false;
	do
	{
		Span name;
		Span value;

		if (!take_string(c, &name) || !take(c, ':'))
			return false;
		if (take(c, '['))
		{
			if (!skip_array(c))
				return false;
			continue;
		}
		if (!take_value(c, &value))
			return false;
		set_value(key, true, name, value);
	} while (take(c, ','));
	return take(c, '}');
}

/*
 * {"before":R,"after":R,"source":{...}...} behind its first name: what is after
 * the change tells the key, if there is anything.
 */
static bool
read_envelope(Cursor *c, Key *key)
{
	return (take_text(c, "null") || read_json_row(c, key)) &&
		   take_text(c, ",\"after\":") &&
		   (take_text(c, "null") || read_json_row(c, key)) &&
		   take_text(c, ",\"source\":{");
}

static bool
read_json_values(const char *data, size_t len, Key *key)
{
	Cursor c = {data, data + len};

	if (take_text(&c, "{\"before\":"))
	{
		Key names = *key;

		if (read_envelope(&c, key))
			return true;
		*key = names;
		c.p = data;
	}
	return read_json_row(&c, key) && c.p == c.end;
}

/* The bytes of a JSON value as it is written; those of strings unescaped. */
static size_t
decode_json(Span value, char *out)
{
	static const char letters[] = "bfnrt";
	static const char bytes[] = "\b\f\n\r\t";
	const char *p = value.start + 1;
	const char *end = value.start + value.len - 1;
	char *start = out;

	if (*value.start != '"')
	{
		memcpy(out, value.start, value.len);
		return value.len;
	}
	for (; p < end; p++)
	{
		const char *letter;

		if (*p != '\\' || p + 1 == end)
		{
			*out++ = *p;
			continue;
		}
		p++;
		letter = *p ? strchr(letters, *p) : NULL;
		if (*p == 'u' && end - p > 4 && p[1] == '0' && p[2] == '0' &&
			p[3] >= '0' && p[3] <= '7' && hex_digit(p[4]) >= 0)
		{
			*out++ = (char) (hex_digit(p[3]) << 4 | hex_digit(p[4]));
			p += 4;
			continue;
		}
		/* a character beyond ASCII stays as it is written */
		if (*p == 'u')
			*out++ = '\\';
		*out++ = letter ? bytes[letter - letters] : *p;
	}
	return out - start;
}

static bool
is_json_null(Span value)
{
	return value.len == 4 && memcmp(value.start, "null", 4) == 0;
}

/* ---- urlenc: I:a,b ---- */

static bool
read_urlenc_names(const char *type, size_t len, Key *key)
{
	Cursor c = {type + 2, type + len};

	if (len < 3 || memchr("IUD", type[0], 3) == NULL || type[1] != ':')
		return false;
	do
		if (!add_name(key, take_until(&c, ",")))
			return false;
	while (take(&c, ','));
	return true;
}

static bool
read_urlenc_values(const char *data, size_t len, Key *key)
{
	Cursor c = {data, data + len};

	/* they would become longer than there is room */
	if (has_control_bytes(data, len))
		return false;
	do
	{
		Span name = take_until(&c, "=&");
		/* a name alone is NULL */
		Span value = {c.p, 0};

		if (take(&c, '='))
		{
			/* with its "=", by which an empty text is told from NULL */
			take_until(&c, "&");
			value.len = c.p - value.start;
		}
		set_value(key, false, name, value);
	} while (take(&c, '&'));
	return true;
}

static size_t
decode_urlenc(Span value, char *out)
{
	const char *end = value.start + value.len;
	char *start = out;

	for (const char *p = value.start + 1; p < end;)
		*out++ = decode_byte(&p, end);
	return out - start;
}

/* ---- both ---- */

/* A byte of a JSON string, escaped as event_json_string() does it. */
static char *
write_escaped(char *out, unsigned char byte)
{
	static const char letters[] = "\"\\bfnrt";
	static const char bytes[] = "\"\\\b\f\n\r\t";
	const char *found = byte ? strchr(bytes, byte) : NULL;

	if (found)
	{
		*out++ = '\\';
		*out++ = letters[found - bytes];
	}
	else if (byte < ' ')
		out += sprintf(out, "\\u%04x", byte);
	else
		*out++ = (char) byte;
	return out;
}

/* One of several values: a JSON string. */
static size_t
quote_value(Span value, bool json, char *out)
{
	const char *p = value.start + 1;
	const char *end = value.start + value.len;
	char *start = out;

	if (json && *value.start == '"')
	{
		memcpy(out, value.start, value.len);
		return value.len;
	}
	*out++ = '"';
	if (json)
	{
		memcpy(out, value.start, value.len);
		out += value.len;
	}
	else
	{
		while (p < end)
			out = write_escaped(out, (unsigned char) decode_byte(&p, end));
	}
	*out++ = '"';
	return out - start;
}

static long
write_values(const Key *key, bool json, char *out)
{
	char *start = out;

	for (int i = 0; i < key->n; i++)
		if (key->value[i].start == NULL)
			return -1;
	for (int i = 0; i < key->n; i++)
	{
		Span value = key->value[i];
		bool is_null = json ? is_json_null(value) : value.len == 0;

		if (key->n == 1)
			return is_null ? -1
						   : (long) (json ? decode_json(value, out)
										  : decode_urlenc(value, out));
		*out++ = i == 0 ? '[' : ',';
		if (is_null)
		{
			memcpy(out, "null", 4);
			out += 4;
		}
		else
			out += quote_value(value, json, out);
	}
	*out++ = ']';
	return out - start;
}

/* Names as they are in the data, values as JSON has them. */
static long
write_object(const Key *key, bool json, char *out)
{
	char *start = out;

	for (int i = 0; i < key->n; i++)
	{
		Span name = key->name[i];
		Span value = key->value[i];

		if (value.start == NULL)
			return -1;
		*out++ = i == 0 ? '{' : ',';
		if (!json)
			*out++ = '"';
		for (size_t n = 0; n < name.len; n++)
			if (json)
				*out++ = name.start[n];
			else
				out = write_escaped(out, (unsigned char) name.start[n]);
		if (!json)
			*out++ = '"';
		*out++ = ':';
		if (json)
		{
			memcpy(out, value.start, value.len);
			out += value.len;
		}
		else if (value.len == 0)
		{
			memcpy(out, "null", 4);
			out += 4;
		}
		else
			out += quote_value(value, false, out);
	}
	*out++ = '}';
	return out - start;
}

static bool
read_key(const char *type, size_t type_len, const char *data, size_t data_len,
		 Key *key)
{
	if (type_len > 0 && *type == '{')
		return read_json_names(type, type_len, key) &&
			   read_json_values(data, data_len, key) && key->n > 0;
	return read_urlenc_names(type, type_len, key) &&
		   read_urlenc_values(data, data_len, key) && key->n > 0;
}

long
event_key(const char *type, size_t type_len, const char *data, size_t data_len,
		  char *out)
{
	Key key = {0};

	return read_key(type, type_len, data, data_len, &key)
			   ? write_values(&key, *type == '{', out)
			   : -1;
}

long
event_key_object(const char *type, size_t type_len, const char *data,
				 size_t data_len, char *out)
{
	Key key = {0};

	/* a name would become longer than there is room */
	return !has_control_bytes(type, type_len) &&
				   read_key(type, type_len, data, data_len, &key)
			   ? write_object(&key, *type == '{', out)
			   : -1;
}
