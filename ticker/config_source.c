/*-------------------------------------------------------------------------
 *
 * config_source.c
 *		The [source NAME] sections of the ini file.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "common/ini.h"
#include "common/memory.h"

#define SECTION "source "

#define KEY(name, help)                                                        \
	{                                                                          \
#name, INI_STRING, offsetof(SourceConfig, name), NULL, help            \
	}

static const IniKey keys[] = {
	KEY(connstr, "libpq connect string of the source database; the role needs"
				 " REPLICATION."),
	KEY(queue_db, "Database of this server that has the queues."),
	KEY(slot, "Its capture slot; empty: the only one that it has."),
	{NULL, INI_IGNORED, 0, NULL, NULL}};

/*
 * Can libpq read it as a connect string?  Its own message may quote a piece of a
 * password, and would be logged at each try to connect.
 */
bool
config_is_connstr(const char *text)
{
	PQconninfoOption *opts = PQconninfoParse(text, NULL);

	PQconninfoFree(opts);
	return opts != NULL;
}

static void
free_source(SourceConfig *source)
{
	ini_free(keys, source);
	free(source->name);
	free(source);
}

/* What is wrong with it, malloc'd; NULL: nothing. */
static char *
find_fault(const Config *config, const SourceConfig *source)
{
	char **db = config->database_list;

	if (source->connstr == NULL || !config_is_connstr(source->connstr))
		return text_format("key \"connstr\" must be a libpq connect string");
	if (source->queue_db == NULL)
		return text_format("key \"queue_db\" must name the database that has "
						   "the queues");
	while (*db && strcmp(*db, source->queue_db) != 0)
		db++;
	if (config->database_list[0] && *db == NULL)
		return text_format("queue_db \"%s\" must be in database_list",
						   source->queue_db);
	for (SourceConfig **other = config->sources; *other; other++)
		if (strcmp((*other)->name, source->name) == 0 &&
			strcmp((*other)->queue_db, source->queue_db) == 0)
			return text_format("the section is there twice");
	return NULL;
}

static bool
read_source(Config *config, const char *file, const char *section,
			SourceConfig *source, char **error)
{
	const char *name = section + strlen(SECTION);
	char *fault;

	source->name = text_copy(name + strspn(name, " \t"));
	if (!ini_load(file, section, INI_PLAIN, keys, source, error))
		return false;
	fault = *source->name ? find_fault(config, source)
						  : text_copy("the source has no name");
	if (fault == NULL)
		return true;
	*error = text_format("%s: section [%s]: %s", file, section, fault);
	free(fault);
	return false;
}

/*
 * Read the sections into config->sources; file NULL: there are none.  Returns
 * false with a malloc'd message in *error if one makes no sense.
 */
bool
config_read_sources(Config *config, const char *file, char **error)
{
	char **sections = NULL;
	int n = 0;
	bool ok = true;

	if (file && !ini_list_sections(file, SECTION, &sections, error))
		return false;
	while (sections && sections[n])
		n++;
	config->sources = memory_make((n + 1) * sizeof(SourceConfig *));
	for (int i = 0; i < n; i++)
	{
		SourceConfig *source = memory_make(sizeof(SourceConfig));

		ok = ok && read_source(config, file, sections[i], source, error);
		if (ok)
			config->sources[i] = source;
		else
			free_source(source);
		free(sections[i]);
	}
	free(sections);
	return ok;
}

/* Free what config_read_sources() made. */
void
config_free_sources(Config *config)
{
	for (SourceConfig **s = config->sources; s && *s; s++)
		free_source(*s);
	free(config->sources);
	config->sources = NULL;
}

/* Print a sample section to stdout, as a comment. */
void
config_print_source(void)
{
	printf("\n# A database of another server that feeds queues of this one:\n"
		   "# [source NAME]\n");
	for (const IniKey *key = keys; key->name; key++)
		printf("# %s =\n#\t%s\n", key->name, key->help);
}
