/*-------------------------------------------------------------------------
 *
 * gather.h
 *		What has come from the stream and is not yet in the queues.
 *
 * Bytes go in as they arrive; out come groups, in order.  A group is what one
 * pgq.ingest() call takes: whole source transactions, as many as came while
 * the one before was being written, up to a number of bytes; or a piece of
 * one source transaction that is longer than that.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_GATHER_H
#define PGQD_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ticker/names.h"

typedef struct Bytes
{
	char *data;
	size_t len;
	size_t room;
} Bytes;

typedef enum GroupKind
{
	GROUP_WHOLE, /* whole transactions only */
	GROUP_PART,  /* of one large transaction, not its end */
	GROUP_LAST   /* the end of a large transaction */
} GroupKind;

typedef struct Group
{
	struct Group *next;
	GroupKind kind;
	Bytes frames;
	uint64_t end_lsn; /* position after it; none for a part */
	int64_t nevents;  /* that the C frames speak of */
	Names queues;     /* fed by it */
	Xids xids;        /* of its source transactions */
} Group;

typedef struct Gather
{
	size_t max_bytes; /* of a group, if transactions allow it */

	/* a group that feeds so many takes no transaction that feeds others */
	size_t max_queues;
	bool nameless; /* names of queues are not wanted */

	/* the transaction that is arriving */
	Bytes in;
	size_t walked;  /* whole frames of it */
	size_t missing; /* of a long frame whose beginning is walked already */
	Names queues;
	bool has_events; /* some E, H or W frame has come */
	bool in_parts;   /* some of it went into parts */

	Group *first; /* oldest */
	Group *last;
	size_t bytes; /* in all groups, and arriving */

	/*
	 * All transactions that committed before this LSN are in groups or were
	 * taken out of them.  Zero: unknown.
	 */
	uint64_t reached;
	/* the part of it that the queues' position should follow soon */
	uint64_t reached_by_commit;
	int64_t commit_time; /* of the last transaction, as C frames have it */

	/* called for a transaction that fed queues from SQL alone */
	void (*touched)(Names *queues, uint32_t xid, void *arg);
	void *arg;
} Gather;

extern void gather_reset(Gather *g);
extern bool gather_put(Gather *g, const char *data, size_t len,
					   const char **error);
extern void gather_pass(Gather *g, uint64_t lsn);
extern void gather_mark(Gather *g, uint64_t lsn);
extern Group *gather_take(Gather *g);
extern void gather_free_group(Group *group);
extern bool gather_is_idle(const Gather *g);

#endif /* PGQD_GATHER_H */
