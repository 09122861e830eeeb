/*-------------------------------------------------------------------------
 *
 * ini.h
 *		Read one section of a PgQ ini file into a struct.
 *
 * A program describes its section by a table of IniKey, ended by a row whose
 * name is NULL.  The same table gives the defaults, the sample file and the
 * list of keys that are known: any other key is an error.
 *
 * Keys and values are stripped of blanks, lines that begin with ; or # are
 * comments.  For the rest see IniSyntax.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_INI_H
#define PGQ_INI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef enum IniSyntax
{
	/*
	 * As PgQ 3's pgqd reads it: a value is all that is on its line, a line may
	 * be indented, "%include FILE" stands for the lines of another file.
	 */
	INI_PLAIN,
	/*
	 * As Python reads it for PgQ 2: an indented line goes on with the value
	 * above it, "; text" behind a blank is a comment, %(key)s stands for the
	 * value of another key, ":" is as good as "=".
	 */
	INI_PYTHON
} IniSyntax;

/* How a value is read, and the C type of the struct member that gets it. */
typedef enum IniType
{
	INI_STRING,  /* char *, malloc'd, NULL when empty */
	INI_FILE,    /* char *, with ~ replaced by $HOME */
	INI_LIST,    /* char **, malloc'd and NULL-ended: names between commas */
	INI_BOOL,    /* bool: 1/0, yes/no, on/off, true/false */
	INI_INT,     /* int */
	INI_SECONDS, /* double, not negative, 1e9 at most */
	INI_BYTES,   /* size_t: digits, then nothing, kB, MB, GB */
	INI_IGNORED  /* known, but of no effect; no member */
} IniType;

typedef struct IniKey
{
	const char *name;
	IniType type;
	size_t offset;    /* offsetof() the member */
	const char *def;  /* default, as it would stand in the file */
	const char *help; /* one line for the sample file */
} IniKey;

extern bool ini_load(const char *file, const char *section, IniSyntax syntax,
					 const IniKey *keys, void *config, char **error);
extern char *ini_find_file(const char *file, const char *section,
						   IniSyntax syntax, const IniKey *keys,
						   const char *name);
extern bool ini_list_sections(const char *file, const char *prefix,
							  char ***names, char **error);
extern bool ini_load_environment(const char *prefix, const IniKey *keys,
								 void *config, char **error);
extern bool ini_has_section(const char *file, const char *section);
extern void ini_set_defaults(const IniKey *keys, void *config);
extern void ini_free(const IniKey *keys, void *config);
extern void ini_print_sample(FILE *out, const char *section, const IniKey *keys,
							 const char *const *set);
extern bool ini_parse_number(const char *text, double *value);

#endif /* PGQ_INI_H */
