/*-------------------------------------------------------------------------
 *
 * sources.c
 *		The sources that feed queues of one database: an ingest for each, that
 *		knows nothing of the others.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/sources.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/memory.h"
#include "ticker/ingest.h"

typedef struct Source
{
	struct Source *next;
	SourceConfig config; /* a copy */
	Ingest *ingest;
	Stats stats;
} Source;

struct Sources
{
	struct event_base *base;
	const Config *config;
	char *dbname;
	Tick *tick;
	Source *first;
	Stats gone; /* of sources that are no more */
};

/* Make the sources of a database that the configuration has, switched off. */
Sources *
sources_create(struct event_base *base, const Config *config,
			   const char *dbname, Tick *tick)
{
	Sources *sources = memory_make(sizeof(Sources));

	sources->base = base;
	sources->config = config;
	sources->dbname = text_copy(dbname);
	sources->tick = tick;
	sources_reload(sources);
	return sources;
}

static void
free_source(Source *source)
{
	ingest_free(source->ingest);
	free(source->config.name);
	free(source->config.connstr);
	free(source->config.queue_db);
	free(source->config.slot);
	free(source);
}

/* sum += stats, as far as ingest counts */
static void
add_stats(Stats *sum, const Stats *stats)
{
	sum->groups += stats->groups;
	sum->events += stats->events;
	sum->bytes += stats->bytes;
	sum->discarded += stats->discarded;
}

/* Stop at once, and free. */
void
sources_free(Sources *sources)
{
	Source *source;

	while ((source = sources->first) != NULL)
	{
		sources->first = source->next;
		free_source(source);
	}
	free(sources->dbname);
	free(sources);
}

static bool
same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool
is_same(const SourceConfig *a, const SourceConfig *b)
{
	return same_text(a->name, b->name) && same_text(a->connstr, b->connstr) &&
		   same_text(a->queue_db, b->queue_db) && same_text(a->slot, b->slot);
}

static bool
is_wanted(const Sources *sources, const Source *source)
{
	for (SourceConfig **c = sources->config->sources; *c; c++)
		if (is_same(*c, &source->config))
			return true;
	return false;
}

static void
add_source(Sources *sources, const SourceConfig *config)
{
	Source *source = memory_make(sizeof(Source));

	source->config.name = text_copy(config->name);
	source->config.connstr = text_copy(config->connstr);
	source->config.queue_db = text_copy(config->queue_db);
	source->config.slot = config->slot ? text_copy(config->slot) : NULL;
	source->ingest = ingest_create(sources->base, sources->config,
								   sources->dbname, config, sources->tick,
								   &source->stats);
	source->next = sources->first;
	sources->first = source;
}

/*
 * The configuration has changed: sources that are there no more, or not as they
 * were, end; new ones wait for sources_start().
 */
void
sources_reload(Sources *sources)
{
	Source **link = &sources->first;
	Source *source;

	while ((source = *link) != NULL)
	{
		if (is_wanted(sources, source))
		{
			if (!sources->config->ingest)
				ingest_stop(source->ingest);
			link = &source->next;
			continue;
		}
		log_info("[%s: source %s]: is no longer wanted as it was",
				 sources->dbname, source->config.name);
		*link = source->next;
		add_stats(&sources->gone, &source->stats);
		free_source(source);
	}
	for (SourceConfig **c = sources->config->sources; *c; c++)
	{
		bool found = strcmp((*c)->queue_db, sources->dbname) != 0;

		for (source = sources->first; source && !found; source = source->next)
			found = is_same(*c, &source->config);
		if (!found)
			add_source(sources, *c);
	}
}

/* Switch those on that are off. */
void
sources_start(Sources *sources)
{
	for (Source *s = sources->first; s && sources->config->ingest; s = s->next)
		ingest_start(s->ingest);
}

/* Switch all off at once. */
void
sources_stop(Sources *sources)
{
	for (Source *s = sources->first; s; s = s->next)
		ingest_stop(s->ingest);
}

/* Switch those off that write nothing just now. */
void
sources_quiesce(Sources *sources)
{
	for (Source *s = sources->first; s; s = s->next)
		if (!ingest_is_busy(s->ingest))
			ingest_stop(s->ingest);
}

/* Is a group of some source being written? */
bool
sources_are_busy(const Sources *sources)
{
	for (const Source *s = sources->first; s; s = s->next)
		if (ingest_is_busy(s->ingest))
			return true;
	return false;
}

/* Add what was ingested from them to *sum. */
void
sources_add_stats(const Sources *sources, Stats *sum)
{
	add_stats(sum, &sources->gone);
	for (const Source *s = sources->first; s; s = s->next)
		add_stats(sum, &s->stats);
}

/*
 * What is wrong with them: up to "max", valid until the event loop goes on.
 * Returns their number.
 */
int
sources_get_troubles(const Sources *sources, Told *told, int max)
{
	int n = 0;

	for (const Source *s = sources->first; s; s = s->next)
	{
		const Told all[2] = {{"source", true, ingest_get_trouble(s->ingest)},
							 {"source", false, ingest_get_warning(s->ingest)}};

		for (int i = 0; i < 2; i++)
			if (n < max && all[i].trouble->text)
				told[n++] = all[i];
	}
	return n;
}
