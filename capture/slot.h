/*-------------------------------------------------------------------------
 *
 * slot.h
 *		The slot whose stream is ingested into this database's queues: its
 *		row in pgq.slot and its positions in pgq.position.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_SLOT_H
#define PGQ_SLOT_H

#include "access/xlogdefs.h"

#include "event/compat.h"

#define SLOT_PLUGIN "pgq"

/* A row of pgq.slot */
typedef struct SlotRow
{
	char *name;
	uint64 sysid;           /* system identifier of the source */
	char *problem;          /* NULL: ingest is well */
	XLogRecPtr problem_lsn; /* from where changes are missing, if any are */
	bool remote;            /* it feeds queues of another server */
} SlotRow;

extern SlotRow *slot_read_row(void);
extern SlotRow *slot_require_row(void);
extern bool slot_read_position(const char *slot, XLogRecPtr *lsn,
							   int64 *events);
extern void slot_lock_position(const char *slot);
extern void slot_add_position(const char *slot, XLogRecPtr lsn, int64 events);
extern void slot_write_rows(const char *slot, XLogRecPtr lsn, bool remote);
extern int slot_delete_rows(const char *slot);
pg_noreturn extern void slot_refuse_unknown(const char *slot);
extern void slot_require_logical_wal(void);

#endif /* PGQ_SLOT_H */
