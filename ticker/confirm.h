/*-------------------------------------------------------------------------
 *
 * confirm.h
 *		Which positions the server may forget the WAL of.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_CONFIRM_H
#define PGQD_CONFIRM_H

#include <stdint.h>

#include <event2/event.h>

#include "ticker/config.h"
#include "ticker/conn.h"
#include "ticker/stream.h"
#include "ticker/trouble.h"

typedef struct Confirm Confirm;

extern Confirm *confirm_create(struct event_base *base, const Config *config,
							   const char *dbname, const char *who, Conn *conn,
							   Stream *stream);
extern void confirm_free(Confirm *confirm);
extern void confirm_reset(Confirm *confirm);
extern void confirm_add(Confirm *confirm, const char *slot, uint64_t position,
						uint64_t wal_end);
extern const Trouble *confirm_get_trouble(const Confirm *confirm);

#endif /* PGQD_CONFIRM_H */
