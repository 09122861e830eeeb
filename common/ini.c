/*-------------------------------------------------------------------------
 *
 * ini.c
 *		Read one section of a PgQ ini file into a struct, over inih.
 *
 * inih is often built for lines of at most 199 bytes and silently cuts longer
 * ones in two; connect strings get longer than that.  So lines reach it
 * through read_line(), which hands a long line over as a short one and
 * continuation lines, and the handler glues the pieces together again.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/ini.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Longest time, some 30 years: what a timer takes, and no typing error. */
#define MAX_SECONDS 1e9

/* Largest size that a double counts to the byte. */
#define MAX_BYTES 9007199254740992.0

typedef struct IniReader
{
	const char *file;
	FILE *fp;
	const char *section;
	const IniKey *keys;
	char **raw;    /* text of each key, NULL: not in the file */
	int *key_line; /* the line where it stands */
	bool section_seen;
	char *error; /* first error, malloc'd */

	/* the line being handed over in pieces */
	char *line;
	size_t line_size;
	char *rest; /* what is left of it, NULL: read another */
	bool piece; /* the last piece was not a line's first */
	int lineno;
	int last_key;

	/* inih counts pieces: the line of each */
	int *piece_line;
	int npieces;
} IniReader;

static char *
format_text(const char *fmt, ...)
{
	va_list args;
	char *text;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		abort();
	va_end(args);
	return text;
}

static char *
copy_text(const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		abort();
	return copy;
}

/*
 * Cut a comment behind a blank off, as inih would: it does not know that the
 * pieces of a long line belong together.
 */
static void
cut_comment(char *line)
{
	for (char *p = line; *p; p++)
	{
		if (*p == ';' && p > line && isblank((unsigned char) p[-1]))
		{
			*p = '\0';
			return;
		}
	}
}

/* May a continuation line begin with the byte at p and end just before it? */
static bool
good_border(const char *p)
{
	return !isspace((unsigned char) p[-1]) && !isspace((unsigned char) *p) &&
		   strchr(";#", *p) == NULL;
}

/*
 * inih's reader: fill buf with at most size - 1 bytes.
 */
static char *
read_line(char *buf, int size, void *stream)
{
	IniReader *r = stream;
	size_t room = size - 3; /* blank in front, newline behind */
	size_t n;
	char *out = buf;

	r->piece = r->rest != NULL;
	if (r->rest == NULL)
	{
		ssize_t len = getline(&r->line, &r->line_size, r->fp);

		if (len < 0)
			return NULL;
		r->lineno++;
		while (len > 0 && strchr("\r\n", r->line[len - 1]) != NULL)
			r->line[--len] = '\0';
		r->rest = r->line;
		n = strspn(r->line, " \t");
		if (strchr(";#", r->line[n]) != NULL)
			r->line[0] = '\0';
		else
			cut_comment(r->line);
	}
	else
		*out++ = ' ';

	r->piece_line = realloc(r->piece_line, (r->npieces + 1) * sizeof(int));
	if (r->piece_line == NULL)
		abort();
	r->piece_line[r->npieces++] = r->lineno;

	n = strlen(r->rest);
	if (n > room)
	{
		n = room;
		while (n > 1 && !good_border(r->rest + n))
			n--;
	}
	memcpy(out, r->rest, n);
	out[n] = '\n';
	out[n + 1] = '\0';
	r->rest = r->rest[n] ? r->rest + n : NULL;
	return buf;
}

static int
find_key(const IniReader *r, const char *name, size_t len)
{
	for (int i = 0; r->keys[i].name; i++)
		if (strlen(r->keys[i].name) == len &&
			strncmp(r->keys[i].name, name, len) == 0)
			return i;
	return -1;
}

static int
handle_pair(void *user, const char *section, const char *name,
			const char *value)
{
	IniReader *r = user;
	int key;

	if (r->error || strcmp(section, r->section) != 0)
		return 1;
	r->section_seen = true;

	key = find_key(r, name, strlen(name));
	if (key < 0)
	{
		r->error = format_text("%s:%d: unknown key \"%s\" in section [%s]",
							   r->file, r->lineno, name, section);
		return 1;
	}

	/*
	 * inih repeats the name for a continuation line; a second "key = value"
	 * replaces the first.  The two look alike here but for the line itself.
	 */
	if (r->raw[key] && key == r->last_key &&
		(r->piece || isblank((unsigned char) r->line[0])))
	{
		char *whole = format_text("%s%s%s", r->raw[key], r->piece ? "" : " ",
								  value);

		free(r->raw[key]);
		r->raw[key] = whole;
	}
	else
	{
		free(r->raw[key]);
		r->raw[key] = copy_text(value);
	}
	r->last_key = key;
	r->key_line[key] = r->lineno;
	return 1;
}

/* The same for who only asks whether there is anything in the section. */
static int
note_section(void *user, const char *section, const char *name,
			 const char *value)
{
	IniReader *r = user;

	if (strcmp(section, r->section) == 0)
		r->section_seen = true;
	return 1;
}

/* Hand all of r->file to "handler"; what goes wrong is in r->error. */
static void
read_file(IniReader *r, ini_handler handler)
{
	int bad;

	r->fp = fopen(r->file, "r");
	if (r->fp == NULL)
	{
		r->error = format_text("could not open config file \"%s\": %s", r->file,
							   strerror(errno));
		return;
	}
	bad = ini_parse_stream(read_line, r, handler, r);
	if (ferror(r->fp) && !r->error)
		r->error = format_text("could not read config file \"%s\": %s", r->file,
							   strerror(errno));
	fclose(r->fp);
	if (bad > 0 && bad <= r->npieces && !r->error)
		r->error = format_text("%s:%d: neither \"key = value\" nor [section]",
							   r->file, r->piece_line[bad - 1]);
	free(r->piece_line);
	free(r->line);
}

/*
 * Replace %(key)s by the text of that key.  "depth" ends a key that refers to
 * itself.  Returns malloc'd text, NULL with r->error set.
 */
static char *
interpolate(IniReader *r, const char *text, int depth)
{
	char *out = copy_text("");

	for (;;)
	{
		const char *open = strstr(text, "%(");
		const char *close = open ? strstr(open, ")s") : NULL;
		const char *found;
		char *inner;
		char *longer;
		int key;

		if (close == NULL)
		{
			longer = format_text("%s%s", out, text);
			free(out);
			return longer;
		}
		key = find_key(r, open + 2, close - open - 2);
		found = key < 0 ? NULL : r->raw[key] ? r->raw[key] : r->keys[key].def;
		if (key < 0 || depth > 8)
		{
			if (!r->error)
				r->error = format_text(
					"%s: %.*s in section [%s] %s", r->file,
					(int) (close + 2 - open), open, r->section,
					key < 0 ? "names no key of it" : "refers to itself");
			free(out);
			return NULL;
		}
		inner = interpolate(r, found ? found : "", depth + 1);
		if (inner == NULL)
		{
			free(out);
			return NULL;
		}
		longer = format_text("%s%.*s%s", out, (int) (open - text), text, inner);
		free(inner);
		free(out);
		out = longer;
		text = close + 2;
	}
}

/* Replace a leading ~ or ~user by the home directory. */
static char *
expand_home(const char *text)
{
	size_t len;
	char *user;
	const char *home;
	struct passwd *pw;

	if (text[0] != '~')
		return copy_text(text);
	len = strcspn(text + 1, "/");
	user = strndup(text + 1, len);
	if (user == NULL)
		abort();
	home = len == 0 ? getenv("HOME") : NULL;
	pw = home ? NULL : len ? getpwnam(user) : getpwuid(getuid());
	free(user);
	if (pw)
		home = pw->pw_dir;
	return home ? format_text("%s%s", home, text + 1 + len) : copy_text(text);
}

/*
 * Read a number without sign; the whole text must be one.
 *
 * Returns false if it is not, and leaves *value alone.
 */
bool
ini_parse_number(const char *text, double *value)
{
	char *end;
	double d;

	if (!isdigit((unsigned char) text[0]) && text[0] != '.')
		return false;
	errno = 0;
	d = strtod(text, &end);
	if (*end != '\0' || errno != 0)
		return false;
	*value = d;
	return true;
}

static bool
parse_bytes(const char *text, size_t *value)
{
	static const struct
	{
		const char *unit;
		double factor;
	} units[] = {{"", 1},
				 {"B", 1},
				 {"kB", 1024},
				 {"MB", 1048576.0},
				 {"GB", 1073741824.0}};
	size_t len = strspn(text, "0123456789.");
	char *digits = strndup(text, len);
	double number;
	bool ok;

	if (digits == NULL)
		abort();
	ok = ini_parse_number(digits, &number);
	free(digits);
	text += len + strspn(text + len, " ");
	for (size_t i = 0; ok && i < sizeof(units) / sizeof(units[0]); i++)
	{
		if (strcasecmp(text, units[i].unit) == 0 &&
			number * units[i].factor <= MAX_BYTES)
		{
			*value = (size_t) (number * units[i].factor);
			return true;
		}
	}
	return false;
}

static bool
parse_bool(const char *text, bool *value)
{
	static const char *const words[] = {"0",   "1",  "no",    "yes",
										"off", "on", "false", "true"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		if (strcasecmp(text, words[i]) == 0)
		{
			*value = i % 2;
			return true;
		}
	}
	return false;
}

/* Put a value into its member; returns what it should have been, or NULL. */
static const char *
store_value(const IniKey *key, const char *text, void *config)
{
	void *member = (char *) config + key->offset;
	double number;

	switch (key->type)
	{
		case INI_STRING:
			*(char **) member = *text ? copy_text(text) : NULL;
			return NULL;
		case INI_FILE:
			*(char **) member = *text ? expand_home(text) : NULL;
			return NULL;
		case INI_BOOL:
			return parse_bool(text, member) ? NULL : "1 or 0";
		case INI_INT:
			if (!ini_parse_number(text, &number) || number > 2147483647 ||
				number != (int) number)
				return "a whole number";
			*(int *) member = (int) number;
			return NULL;
		case INI_SECONDS:
			if (!ini_parse_number(text, &number) || number > MAX_SECONDS)
				return "a number of seconds";
			*(double *) member = number;
			return NULL;
		case INI_BYTES:
			return parse_bytes(text, member) ? NULL : "a size like 4MB";
		case INI_IGNORED:
			break;
	}
	return NULL;
}

static bool
store_all(IniReader *r, void *config)
{
	for (int i = 0; r->keys[i].name && !r->error; i++)
	{
		const IniKey *key = &r->keys[i];
		const char *text = r->raw[i] ? r->raw[i] : key->def;
		const char *wanted;
		char *value;

		/* no default and not given: the member stays zero */
		if (text == NULL || key->type == INI_IGNORED)
			continue;
		value = interpolate(r, text, 0);
		if (value == NULL)
			return false;
		wanted = store_value(key, value, config);
		if (wanted)
			r->error = format_text("%s:%d: value \"%s\" of key \"%s\" must "
								   "be %s",
								   r->file, r->key_line[i], value, key->name,
								   wanted);
		free(value);
	}
	return r->error == NULL;
}

/*
 * Read section "section" of "file" into the struct at "config".
 *
 * All members named by "keys" are set, to their defaults when the file says
 * nothing; strings are malloc'd and freed by ini_free().  What the struct
 * held before is overwritten, not freed.
 *
 * Returns false, with a malloc'd message that names file and line in *error,
 * if the file cannot be read, has no such section, an unknown key or a value
 * that cannot be read.  The struct's strings can be freed then too.
 */
bool
ini_load(const char *file, const char *section, const IniKey *keys,
		 void *config, char **error)
{
	IniReader r = {
		.file = file, .section = section, .keys = keys, .last_key = -1};
	int nkeys = 0;

	while (keys[nkeys].name)
		nkeys++;
	for (int i = 0; i < nkeys; i++)
		if (keys[i].type == INI_STRING || keys[i].type == INI_FILE)
			*(char **) ((char *) config + keys[i].offset) = NULL;

	r.raw = calloc(nkeys + 1, sizeof(char *));
	r.key_line = calloc(nkeys + 1, sizeof(int));
	if (r.raw == NULL || r.key_line == NULL)
		abort();
	read_file(&r, handle_pair);
	if (!r.section_seen && !r.error)
		r.error = format_text("%s: nothing in section [%s]", file, section);
	if (!r.error)
		store_all(&r, config);

	for (int i = 0; i < nkeys; i++)
		free(r.raw[i]);
	free(r.raw);
	free(r.key_line);
	*error = r.error;
	return r.error == NULL;
}

/*
 * Does the file have something in this section?  False too if it cannot be
 * read.
 */
bool
ini_has_section(const char *file, const char *section)
{
	IniReader r = {.file = file, .section = section};

	read_file(&r, note_section);
	free(r.error);
	return r.section_seen;
}

/* Set all members to their defaults, as ini_load() does for an empty section. */
void
ini_set_defaults(const IniKey *keys, void *config)
{
	for (; keys->name; keys++)
	{
		if (keys->type == INI_STRING || keys->type == INI_FILE)
			*(char **) ((char *) config + keys->offset) = NULL;
		if (keys->def)
			store_value(keys, keys->def, config);
	}
}

/* Free the strings that ini_load() put into a struct. */
void
ini_free(const IniKey *keys, void *config)
{
	for (; keys->name; keys++)
	{
		char **member = (char **) ((char *) config + keys->offset);

		if (keys->type == INI_STRING || keys->type == INI_FILE)
		{
			free(*member);
			*member = NULL;
		}
	}
}

/*
 * Print a sample file that can be used: every key with its meaning and its
 * default, commented out but for those in "set": name, value ... NULL.
 */
void
ini_print_sample(FILE *out, const char *section, const IniKey *keys,
				 const char *const *set)
{
	fprintf(out, "[%s]\n", section);
	for (; keys->name; keys++)
	{
		const char *const *s = set;

		if (keys->type == INI_IGNORED)
			continue;
		while (*s && strcmp(*s, keys->name) != 0)
			s += 2;
		fprintf(out, "\n# %s\n%s%s = %s\n", keys->help, *s ? "" : "#",
				keys->name,
				*s          ? s[1]
				: keys->def ? keys->def
							: "");
	}
}
