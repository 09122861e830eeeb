/*-------------------------------------------------------------------------
 *
 * target.h
 *		What an engine must be able to do for a relay: five calls.
 *
 * A relay reads a batch and asks where() how much of it the engine has.  It
 * sends what is missing, in order, and calls flush(), which returns when the
 * engine has acknowledged all of it and gives the bookmark that is kept with the
 * finished batch.  That where() tells the truth whoever died in between is all
 * there is to exactly once.
 *
 *		where -> send ... send -> flush -> (bookmark and finish_batch, one
 *		transaction)
 *
 * Calls block, for config->stall_release seconds without progress at most; they
 * are made by one thread.  A call that fails fills the target's error.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_TARGET_H
#define PGQ_RELAY_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/config.h"
#include "relay/message.h"

typedef enum TargetResult
{
	TARGET_OK,
	TARGET_AWAY,    /* no answer, or "later": close, wait, open, where() */
	TARGET_REFUSED, /* the engine will never take this message */
	TARGET_STOP     /* a person must look: the engine lost what it had, has
					 * another writer, is not what the ini file says */
} TargetResult;

typedef struct Target Target;

/* The batch that where() is asked about. */
typedef struct TargetBatch
{
	int64_t id;
	int64_t tick;         /* when its end was ticked, in us of 1970: a database
						   * that went back gives an id anew, but not this */
	const char *bookmark; /* of the batch before, NULL: there is none */
	const char *source;   /* of all messages: database/queue/consumer */
	int64_t acked;   /* Target's "acked" when it was closed amid this batch */
	int64_t suspect; /* its "suspect" then */
} TargetBatch;

typedef struct TargetClass
{
	const char *scheme;      /* of the ini file's "target" */
	const char *promise;     /* one line for people */
	const char *const *keys; /* of the ini file that it knows, NULL-ended; NULL:
							  * none of its own */

	/* which of RelayConfig's strings is the address' template, and how what is
	 * filled in is made fit for it; 0 and NULL: messages have no address */
	size_t address_offset;
	TemplateEscape escape;
	bool (*is_name)(const RelayConfig *config); /* true: it is one whole, and
												 * nothing to be escaped; may
												 * be NULL */

	/*
	 * where() tells a batch from what was there before by the bookmark alone, so
	 * there must be one before the first event: where there is none yet, flush()
	 * is called right after where(), with nothing sent, and gives it.
	 */
	bool starts_with_bookmark;

	const char *(*library)(void); /* name and version, NULL: none */

	/*
	 * Make a target from config, which outlives it, and connect;
	 * target->result tells, as for all calls.
	 */
	Target *(*open)(const RelayConfig *config);

	/*
	 * How many places of the batch the engine has: 0, nothing of it, so that
	 * the next message to send is that of place *done + 1.  STOP when it has what
	 * the database does not know of: that went back.
	 */
	TargetResult (*where)(Target *target, const TargetBatch *batch,
						  int64_t *done);

	/*
	 * Give the engine the message, which is the caller's again after the call.
	 * It may be on its way for a while.
	 */
	TargetResult (*send)(Target *target, const RelayMessage *message);

	/*
	 * Wait until the engine has all that was sent.  *bookmark gets malloc'd
	 * text, or NULL where the engine needs none.
	 */
	TargetResult (*flush)(Target *target, char **bookmark);

	/*
	 * Called every few seconds while there is nothing to send, to keep the
	 * connection alive.  May be NULL.
	 */
	TargetResult (*idle)(Target *target);

	/* Disconnect and free; what is on its way is not waited for. */
	void (*close)(Target *target);
} TargetClass;

/* What every target begins with. */
struct Target
{
	const RelayConfig *config;
	TargetResult result; /* what open() came to */
	int64_t acked; /* place up to which the engine has the open batch: of those
					* that can't be asked, so that a long batch gets on */
	int64_t suspect;  /* some message up to this place was refused after send()
					  * had taken it: to tell which, each is to go alone */
	long retry_after; /* seconds that the engine asks to wait, 0: as we like */
	char error[512];  /* of the last call that failed */
};

/* targets.c */
extern const TargetClass *target_find(const char *address);
extern bool target_check_config(const RelayConfig *relay, char **error);
extern MessageMaker *target_make_messages(const RelayConfig *relay,
										  const char *source, char **error);
extern void target_print_all(void);

/* what it means that the engine has more than the database knows of */
#define TARGET_WENT_BACK                                                       \
	"the database went back, or another relay has this consumer's name"

/* target.c */
extern void *target_make(size_t size, const RelayConfig *config);
extern TargetResult target_fail(void *target, TargetResult result,
								const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
extern TargetResult target_compare_batches(void *target, const char *what,
										   int64_t last, int64_t tick,
										   const TargetBatch *batch,
										   int64_t *done);
extern char *target_password(const RelayConfig *config);

/* one of each file; those without their library are left out of the list */
extern const TargetClass target_file;
extern const TargetClass target_nats;
extern const TargetClass target_kafka;
extern const TargetClass target_redis;
extern const TargetClass target_postgresql;
extern const TargetClass target_amqp;
extern const TargetClass target_https;

#endif /* PGQ_RELAY_TARGET_H */
