/*-------------------------------------------------------------------------
 *
 * names.c
 *		A set of queue names, and lists as PostgreSQL writes arrays.
 *
 * Every E frame's queue is looked up here, so it is a hash table.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

/* FNV-1a */
static uint32_t
hash_name(const char *name, size_t len)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char) name[i]) * 16777619u;
	return hash;
}

/* The slot that holds the name, or the free one where it belongs. */
static uint32_t *
find_slot(const Names *set, const char *name, size_t len)
{
	size_t at = hash_name(name, len) & (set->nslots - 1);

	for (;;)
	{
		const char *other;

		if (set->slots[at] == 0)
			return &set->slots[at];
		other = set->names[set->slots[at] - 1];
		if (strncmp(other, name, len) == 0 && other[len] == '\0')
			return &set->slots[at];
		at = (at + 1) & (set->nslots - 1);
	}
}

static void
grow_slots(Names *set)
{
	free(set->slots);
	set->nslots = set->nslots ? set->nslots * 2 : 16;
	set->slots = memory_make((set->nslots) * sizeof(uint32_t));
	for (size_t i = 0; i < set->count; i++)
		*find_slot(set, set->names[i], strlen(set->names[i])) = i + 1;
}

/* Add a copy of a name of "len" bytes; false if it was there. */
bool
names_add(Names *set, const char *name, size_t len)
{
	uint32_t *slot;

	if (set->count * 2 >= set->nslots)
		grow_slots(set);
	slot = find_slot(set, name, len);
	if (*slot != 0)
		return false;
	if (set->count == set->room)
	{
		set->room = set->room ? set->room * 2 : 8;
		set->names = memory_resize(set->names, set->room * sizeof(char *));
	}
	set->names[set->count] = text_copy_part(name, len);
	*slot = ++set->count;
	return true;
}

/* Is the name in the set? */
bool
names_has(const Names *set, const char *name, size_t len)
{
	return set->nslots > 0 && *find_slot(set, name, len) != 0;
}

/* Add all of "from", which is empty afterwards. */
void
names_merge(Names *set, Names *from)
{
	if (set->count == 0)
	{
		Names swap = *set;

		*set = *from;
		*from = swap;
		return;
	}
	for (size_t i = 0; i < from->count; i++)
		names_add(set, from->names[i], strlen(from->names[i]));
	names_clear(from);
}

/* Empty the set and free what it holds. */
void
names_clear(Names *set)
{
	for (size_t i = 0; i < set->count; i++)
		free(set->names[i]);
	free(set->names);
	free(set->slots);
	memset(set, 0, sizeof(*set));
}

/* The set as a text[] literal, malloc'd. */
char *
names_to_array(const Names *set)
{
	return text_make_array(set->names, set->count);
}

/* Append a transaction id. */
void
xids_add(Xids *list, uint32_t xid)
{
	if (list->count == list->room)
	{
		list->room = list->room ? list->room * 2 : 16;
		list->xids = memory_resize(list->xids, list->room * sizeof(uint32_t));
	}
	list->xids[list->count++] = xid;
}

/* Append all of "from", which is empty afterwards. */
void
xids_merge(Xids *list, Xids *from)
{
	if (list->count == 0)
	{
		Xids swap = *list;

		*list = *from;
		*from = swap;
		return;
	}
	for (size_t i = 0; i < from->count; i++)
		xids_add(list, from->xids[i]);
	xids_clear(from);
}

/* Empty the list and free what it holds. */
void
xids_clear(Xids *list)
{
	free(list->xids);
	memset(list, 0, sizeof(*list));
}

/* The list as an xid[] literal, malloc'd. */
char *
xids_to_array(const Xids *list)
{
	PQExpBuffer out = text_begin();

	for (size_t i = 0; i < list->count; i++)
		appendPQExpBuffer(out, "%c%u", i > 0 ? ',' : '{', list->xids[i]);
	appendPQExpBufferStr(out, list->count > 0 ? "}" : "{}");
	return text_end(out);
}
