/*-------------------------------------------------------------------------
 *
 * lookup.c
 *		Look a host's name up in a thread of its own.
 *
 * The thread and its owner share a Lookup, which whoever is last frees: an owner
 * that loses interest does not wait.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/lookup.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/memory.h"
#include "common/thread.h"

struct Lookup
{
	char *name;
	char *port;
	int fd; /* becomes readable at the end */

	/* set by the thread before the end */
	int rc; /* of getaddrinfo() */
	struct addrinfo *found;

	int owners; /* shared while it runs */
};

/* One of the owners is done with it. */
static void
release(Lookup *lookup)
{
	if (__atomic_sub_fetch(&lookup->owners, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	if (lookup->found)
		freeaddrinfo(lookup->found);
	if (lookup->fd >= 0)
		close(lookup->fd);
	free(lookup->name);
	free(lookup->port);
	free(lookup);
}

static void
run(void *arg)
{
	Lookup *lookup = arg;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
							 .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	static const uint64_t one = 1;

	lookup->rc = getaddrinfo(lookup->name, lookup->port, &hints,
							 &lookup->found);
	if (write(lookup->fd, &one, sizeof(one)) < 0)
		abort();
	release(lookup);
}

/*
 * Begin to look up where to listen: a name, and a port as a number.  The texts
 * are copied.  Returns what lookup_finish() or lookup_drop() is to be called
 * with, or NULL with errno set if there is no room for more.
 */
Lookup *
lookup_start(const char *name, const char *port)
{
	Lookup *lookup = memory_make(sizeof(Lookup));
	int rc;

	lookup->name = text_copy(name);
	lookup->port = text_copy(port);
	lookup->owners = 2;
	lookup->fd = eventfd(0, EFD_CLOEXEC);
	rc = lookup->fd < 0 ? errno : thread_start(run, lookup);
	if (rc == 0)
		return lookup;
	lookup->owners = 1;
	release(lookup);
	errno = rc;
	return NULL;
}

/* A descriptor that becomes readable when the address is known, or is not. */
int
lookup_get_fd(const Lookup *lookup)
{
	return lookup->fd;
}

/*
 * Take what a look up that has ended found, for freeaddrinfo(), and free the
 * rest.  Returns what getaddrinfo() did.
 */
int
lookup_finish(Lookup *lookup, struct addrinfo **found)
{
	int rc = lookup->rc;

	*found = lookup->found;
	lookup->found = NULL;
	release(lookup);
	return rc;
}

/* Lose interest; the thread ends when it can. */
void
lookup_drop(Lookup *lookup)
{
	release(lookup);
}
