/*-------------------------------------------------------------------------
 *
 * snapshot.h
 *		The transaction snapshots of ticks, as values of type txid_snapshot.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_SNAPSHOT_H
#define PGQ_SNAPSHOT_H

/*
 * The value of type txid_snapshot, alias pg_snapshot, as the server lays it
 * out.  Ids below xmin were done, those from xmax on had not begun, and those
 * in xip (rising order) were running.
 */
typedef struct TickSnapshot
{
	int32 vl_len_;
	uint32 nxip;
	uint64 xmin;
	uint64 xmax;
	uint64 xip[FLEXIBLE_ARRAY_MEMBER];
} TickSnapshot;

extern TickSnapshot *snapshot_copy(Datum value);
extern TickSnapshot *snapshot_take(void);
extern bool snapshot_sees(const TickSnapshot *snapshot, uint64 txid);

#endif /* PGQ_SNAPSHOT_H */
