/*-------------------------------------------------------------------------
 *
 * stream.h
 *		A replication connection that reads a slot.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_STREAM_H
#define PGQD_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event.h>

#include "ticker/config.h"

typedef struct Stream Stream;

typedef enum StreamEnd
{
	STREAM_BROKEN,       /* could not connect, or lost */
	STREAM_REFUSED,      /* the server does not start it: sqlstate */
	STREAM_OTHER_SYSTEM, /* not the cluster that the position is of, or not
						  * the timeline */
	STREAM_BEHIND        /* the server's WAL ends before the position */
} StreamEnd;

typedef struct StreamHooks
{
	/* the slot is ours; data may come from now on */
	void (*started)(void *arg);
	/* bytes of the plugin; false closes the stream without ended() */
	bool (*data)(const char *data, size_t len, void *arg);
	/* the server is alive; it has sent what was in the WAL before lsn, 0: nothing new */
	void (*passed)(uint64_t lsn, void *arg);
	/* everything that was read has been handed over: time to act on it */
	void (*drained)(void *arg);
	/* the stream is closed already */
	void (*ended)(StreamEnd end, const char *sqlstate, const char *why,
				  void *arg);
} StreamHooks;

extern Stream *stream_create(struct event_base *base, const Config *config,
							 const char *dbname, const StreamHooks *hooks,
							 void *arg);
extern void stream_set_server(Stream *stream, const char *connstr);
extern void stream_free(Stream *stream);
extern void stream_open(Stream *stream, const char *slot, uint64_t position,
						const char *sysid, unsigned timeline, bool hold_back);
extern void stream_close(Stream *stream);
extern void stream_confirm(Stream *stream, uint64_t lsn);
extern void stream_pause(Stream *stream, bool on);
extern int stream_get_pid(const Stream *stream);
extern unsigned stream_get_timeline(const Stream *stream);

extern bool stream_parse_lsn(const char *text, uint64_t *lsn);

/* Seconds from 1970 to 2000, where the server's times begin */
#define POSTGRES_EPOCH 946684800LL

/* For printf: LSN_FORMAT with LSN_ARGS(lsn) */
#define LSN_FORMAT "%X/%X"
#define LSN_ARGS(lsn) (unsigned) ((lsn) >> 32), (unsigned) (lsn)

#endif /* PGQD_STREAM_H */
