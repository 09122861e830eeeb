/*-------------------------------------------------------------------------
 *
 * sequence.h
 *		Reading sequences.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_SEQUENCE_H
#define PGQ_SEQUENCE_H

extern bool sequence_read(Oid seqid, int64 *value);
extern bool sequence_read_called(Oid seqid, int64 *value, bool *called);

#endif /* PGQ_SEQUENCE_H */
