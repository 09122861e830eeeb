/*-------------------------------------------------------------------------
 *
 * names.h
 *		A set of queue names, and lists as PostgreSQL writes arrays.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_NAMES_H
#define PGQD_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero is an empty set. */
typedef struct Names
{
	char **names; /* in no order; count of them, malloc'd */
	size_t count;
	size_t room;
	uint32_t *slots; /* hash table: index into names + 1, 0 = free */
	size_t nslots;   /* a power of two, or 0 */
} Names;

/* All zero is an empty list. */
typedef struct Xids
{
	uint32_t *xids;
	size_t count;
	size_t room;
} Xids;

extern bool names_add(Names *set, const char *name, size_t len);
extern bool names_has(const Names *set, const char *name, size_t len);
extern void names_merge(Names *set, Names *from);
extern void names_clear(Names *set);
extern char *names_to_array(const Names *set);

extern void xids_add(Xids *list, uint32_t xid);
extern void xids_merge(Xids *list, Xids *from);
extern void xids_clear(Xids *list);
extern char *xids_to_array(const Xids *list);

#endif /* PGQD_NAMES_H */
