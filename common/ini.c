/*-------------------------------------------------------------------------
 *
 * ini.c
 *		Read one section of a PgQ ini file into a struct.
 *
 * The files are older than we are, and come in two dialects (see ini.h): what
 * PgQ 3's pgqd reads, and what Python's ConfigParser read for PgQ 2.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ini.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/memory.h"

/* Longest time, some 30 years: what a timer takes, and no typing error. */
#define MAX_SECONDS 1e9

/* Largest size that a double counts to the byte. */
#define MAX_BYTES 9007199254740992.0

/* Files that include each other end somewhere. */
#define MAX_INCLUDES 10

typedef struct IniReader
{
	const char *file; /* being read */
	int lineno;
	const char *section;
	IniSyntax syntax;
	const IniKey *keys; /* NULL: is the section there? */
	char **raw;         /* text of each key, NULL: not in the file */
	char **where;       /* "file:line" of each key */
	bool in_any;        /* a section has begun */
	bool in_section;    /* ours has */
	bool section_seen;  /* there is something in it */
	const char *prefix; /* of sections to be listed, NULL: none */
	char **names;
	int nnames;
	int last_key; /* whose value may go on, -1: none */
	int includes;
	char *error; /* first error, malloc'd */
} IniReader;

/* The text without blanks at either end; it is cut in place. */
static char *
strip(char *text)
{
	size_t len;

	text += strspn(text, " \t\r\n\v\f");
	len = strlen(text);
	while (len > 0 && isspace((unsigned char) text[len - 1]))
		text[--len] = '\0';
	return text;
}

static void set_error(IniReader *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Note what is wrong with the line, if nothing was wrong before. */
static void
set_error(IniReader *r, const char *fmt, ...)
{
	va_list args;
	char *text;

	if (r->error)
		return;
	va_start(args, fmt);
	text = text_vformat(fmt, args);
	va_end(args);
	r->error = text_format("%s:%d: %s", r->file, r->lineno, text);
	free(text);
}

static int
find_key(const IniReader *r, const char *name, size_t len)
{
	int (*compare)(const char *, const char *,
				   size_t) = r->syntax == INI_PYTHON ? strncasecmp : strncmp;

	for (int i = 0; r->keys[i].name; i++)
		if (strlen(r->keys[i].name) == len &&
			compare(r->keys[i].name, name, len) == 0)
			return i;
	return -1;
}

/* "; text" behind a blank, which only Python takes for a comment. */
static void
cut_comment(char *line)
{
	for (char *p = line; *p; p++)
		if (*p == ';' && p > line && isblank((unsigned char) p[-1]))
			*p = '\0';
}

/* A line "key = value" of our section. */
static void
read_pair(IniReader *r, char *line)
{
	char *equals = line + strcspn(line, r->syntax == INI_PYTHON ? "=:" : "=");
	char *name;
	int key;

	r->last_key = -1;
	if (*equals == '\0' || equals == line)
	{
		set_error(r, "neither \"key = value\" nor [section]");
		return;
	}
	*equals = '\0';
	name = strip(line);
	key = find_key(r, name, strlen(name));
	if (key < 0)
	{
		set_error(r, "unknown key \"%s\" in section [%s]", name, r->section);
		return;
	}
	free(r->raw[key]);
	free(r->where[key]);
	r->raw[key] = text_copy(strip(equals + 1));
	r->where[key] = text_format("%s:%d", r->file, r->lineno);
	r->last_key = key;
}

/* Keep the name of a section that is to be listed. */
static void
note_name(IniReader *r, const char *name)
{
	if (strncmp(name, r->prefix, strlen(r->prefix)) != 0)
		return;
	for (int i = 0; i < r->nnames; i++)
		if (strcmp(r->names[i], name) == 0)
			return;
	r->names = memory_resize(r->names, (r->nnames + 2) * sizeof(char *));
	r->names[r->nnames++] = text_copy(name);
	r->names[r->nnames] = NULL;
}

static void
read_head(IniReader *r, char *line)
{
	char *end = strchr(line, ']');

	if (end == NULL)
	{
		set_error(r, "section without \"]\"");
		return;
	}
	*end = '\0';
	r->in_any = true;
	if (r->prefix)
		note_name(r, line + 1);
	r->in_section = strcmp(line + 1, r->section) == 0;
	r->last_key = -1;
}

static void read_file(IniReader *r, const char *file);

static void
read_line(IniReader *r, char *text)
{
	bool indented = isblank((unsigned char) text[0]);
	char *line = strip(text);

	if (*line == '\0' || strchr(";#", *line))
		return;
	if (r->syntax == INI_PYTHON && r->in_section)
		cut_comment(line);
	if (r->syntax == INI_PYTHON && r->in_section && indented &&
		r->last_key >= 0)
	{
		char **raw = &r->raw[r->last_key];
		char *whole = text_format("%s %s", *raw, strip(line));

		free(*raw);
		*raw = whole;
	}
	else if (*line == '[')
		read_head(r, line);
	else if (r->syntax == INI_PLAIN && strncmp(line, "%include", 8) == 0 &&
			 isblank((unsigned char) line[8]))
		read_file(r, strip(line + 8));
	else if (!r->in_any)
		set_error(r, "no [section] before this line");
	else if (r->in_section)
	{
		r->section_seen = true;
		if (r->keys)
			read_pair(r, line);
	}
}

/* Read all lines of "file"; what goes wrong is in r->error. */
static void
read_file(IniReader *r, const char *file)
{
	const char *outer = r->file;
	int outer_lineno = r->lineno;
	FILE *fp = fopen(file, "r");
	char *line = NULL;
	size_t size = 0;

	r->file = file;
	r->lineno = 0;
	if (++r->includes > MAX_INCLUDES)
		set_error(r, "too many files are included");
	while (fp && !r->error && getline(&line, &size, fp) >= 0)
	{
		/* some editors put a mark in front of UTF-8 */
		bool mark = r->lineno++ == 0 && strncmp(line, "\xef\xbb\xbf", 3) == 0;

		read_line(r, line + (mark ? 3 : 0));
	}
	if ((fp == NULL || ferror(fp)) && !r->error)
		r->error = text_format("could not %s config file \"%s\": %s",
							   fp ? "read" : "open", file, strerror(errno));
	if (fp)
		fclose(fp);
	free(line);
	r->file = outer;
	r->lineno = outer_lineno;
}

/*
 * Replace %(key)s by the text of that key.  "depth" ends a key that refers to
 * itself.  Returns malloc'd text, NULL with r->error set.
 */
static char *
interpolate(IniReader *r, const char *text, int depth)
{
	char *out = text_copy("");

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
			longer = text_format("%s%s", out, text);
			free(out);
			return longer;
		}
		key = find_key(r, open + 2, close - open - 2);
		found = key < 0 ? NULL : r->raw[key] ? r->raw[key] : r->keys[key].def;
		if (key < 0 || depth > 8)
		{
			if (!r->error)
				r->error = text_format(
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
		longer = text_format("%s%.*s%s", out, (int) (open - text), text, inner);
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
		return text_copy(text);
	len = strcspn(text + 1, "/");
	user = text_copy_part(text + 1, len);
	home = len == 0 ? getenv("HOME") : NULL;
	pw = home ? NULL : len ? getpwnam(user) : getpwuid(getuid());
	free(user);
	if (pw)
		home = pw->pw_dir;
	return home ? text_format("%s%s", home, text + 1 + len) : text_copy(text);
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
	char *digits = text_copy_part(text, len);
	double number;
	bool ok;

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

/*
 * Split a list at commas; blanks around the names and empty names go.  NULL-ended.
 */
static char **
split_names(const char *list)
{
	char **names = memory_make((strlen(list) / 2 + 2) * sizeof(char *));
	int n = 0;

	for (;;)
	{
		size_t len;
		size_t used;

		list += strspn(list, " \t\n,");
		if (*list == '\0')
			return names;
		len = used = strcspn(list, ",");
		while (strchr(" \t\n", list[used - 1]) != NULL)
			used--;
		names[n++] = text_copy_part(list, used);
		list += len;
	}
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
			*(char **) member = *text ? text_copy(text) : NULL;
			return NULL;
		case INI_FILE:
			*(char **) member = *text ? expand_home(text) : NULL;
			return NULL;
		case INI_LIST:
			*(char ***) member = split_names(text);
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

/* A list is never NULL. */
static const char *
default_of(const IniKey *key)
{
	return key->def == NULL && key->type == INI_LIST ? "" : key->def;
}

/* Is the member something malloc'd? */
static bool
is_pointer(const IniKey *key)
{
	return key->type == INI_STRING || key->type == INI_FILE ||
		   key->type == INI_LIST;
}

static bool
store_all(IniReader *r, void *config)
{
	for (int i = 0; r->keys[i].name && !r->error; i++)
	{
		const IniKey *key = &r->keys[i];
		const char *text = r->raw[i] ? r->raw[i] : default_of(key);
		const char *wanted;
		char *value;

		/* no default and not given: the member stays zero */
		if (text == NULL || key->type == INI_IGNORED)
			continue;
		value = r->syntax == INI_PYTHON ? interpolate(r, text, 0)
										: text_copy(text);
		if (value == NULL)
			return false;
		wanted = store_value(key, value, config);
		if (wanted)
			r->error = text_format("%s: value \"%s\" of key \"%s\" must be %s",
								   r->where[i], value, key->name, wanted);
		free(value);
	}
	return r->error == NULL;
}

/* Room for each key's text. */
static void
make_room(IniReader *r)
{
	int n = 0;

	while (r->keys[n].name)
		n++;
	r->raw = memory_make((n + 1) * sizeof(char *));
	r->where = memory_make((n + 1) * sizeof(char *));
}

static void
free_room(IniReader *r)
{
	for (int i = 0; r->keys[i].name; i++)
	{
		free(r->raw[i]);
		free(r->where[i]);
	}
	free(r->raw);
	free(r->where);
}

/* Room for them; strings of the struct can be freed from now on. */
static void
begin_keys(IniReader *r, void *config)
{
	for (int n = 0; r->keys[n].name; n++)
		if (is_pointer(&r->keys[n]))
			*(void **) ((char *) config + r->keys[n].offset) = NULL;
	make_room(r);
}

/* Store what was read if nothing went wrong, and free the reader. */
static bool
end_keys(IniReader *r, void *config, char **error)
{
	if (!r->error)
		store_all(r, config);
	free_room(r);
	*error = r->error;
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
ini_load(const char *file, const char *section, IniSyntax syntax,
		 const IniKey *keys, void *config, char **error)
{
	IniReader r = {.file = file,
				   .section = section,
				   .syntax = syntax,
				   .keys = keys,
				   .last_key = -1};

	begin_keys(&r, config);
	read_file(&r, file);
	if (!r.section_seen && !r.error)
		r.error = text_format("%s: nothing in section [%s]", file, section);
	return end_keys(&r, config, error);
}

/*
 * The file in which the value of key "name" stands: "file", or one that it includes.
 * Malloc'd; NULL: in none, or they can't be read.
 */
char *
ini_find_file(const char *file, const char *section, IniSyntax syntax,
			  const IniKey *keys, const char *name)
{
	IniReader r = {.file = file,
				   .section = section,
				   .syntax = syntax,
				   .keys = keys,
				   .last_key = -1};
	int key = find_key(&r, name, strlen(name));
	char *found = NULL;

	make_room(&r);
	read_file(&r, file);
	/* "file:line" */
	if (key >= 0 && r.where[key])
		found = text_copy_part(r.where[key],
							   strrchr(r.where[key], ':') - r.where[key]);
	free_room(&r);
	free(r.error);
	return found;
}

/*
 * As ini_load(), from the environment: key "name" is variable PREFIX_NAME.  What is
 * not set has its default.
 */
bool
ini_load_environment(const char *prefix, const IniKey *keys, void *config,
					 char **error)
{
	IniReader r = {.syntax = INI_PLAIN, .keys = keys};

	begin_keys(&r, config);
	for (int i = 0; keys[i].name; i++)
	{
		const char *value;

		r.where[i] = text_format("%s_%s", prefix, keys[i].name);
		for (char *p = r.where[i]; *p; p++)
			*p = (char) toupper((unsigned char) *p);
		value = getenv(r.where[i]);
		if (value)
			r.raw[i] = text_copy(value);
	}
	return end_keys(&r, config, error);
}

/*
 * List the sections whose names begin with "prefix", each once, in the order of
 * the file.
 *
 * Returns true with malloc'd names, NULL-ended, in *names; false with a malloc'd
 * message in *error if the file cannot be read.
 */
bool
ini_list_sections(const char *file, const char *prefix, char ***names,
				  char **error)
{
	IniReader r = {
		.file = file, .section = "", .prefix = prefix, .last_key = -1};

	r.names = memory_make(sizeof(char *));
	read_file(&r, file);
	*error = r.error;
	*names = r.names;
	if (r.error == NULL)
		return true;
	for (int i = 0; i < r.nnames; i++)
		free(r.names[i]);
	free(r.names);
	*names = NULL;
	return false;
}

/*
 * Does the file have something in this section?  False too if it cannot be
 * read.
 */
bool
ini_has_section(const char *file, const char *section)
{
	IniReader r = {.file = file, .section = section, .last_key = -1};

	read_file(&r, file);
	free(r.error);
	return r.section_seen;
}

/* Set all members to their defaults, as ini_load() does for an empty section. */
void
ini_set_defaults(const IniKey *keys, void *config)
{
	for (; keys->name; keys++)
	{
		if (is_pointer(keys))
			*(void **) ((char *) config + keys->offset) = NULL;
		if (default_of(keys))
			store_value(keys, default_of(keys), config);
	}
}

/* Free the strings that ini_load() put into a struct. */
void
ini_free(const IniKey *keys, void *config)
{
	for (; keys->name; keys++)
	{
		void **member = (void **) ((char *) config + keys->offset);

		if (!is_pointer(keys))
			continue;
		if (keys->type == INI_LIST)
			for (char **name = *member; name && *name; name++)
				free(*name);
		free(*member);
		*member = NULL;
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
