/*-------------------------------------------------------------------------
 *
 * http_host.c
 *		Are we asked by a name of our own?
 *
 * Who has a domain can let a name in it point to us, and a page of his that
 * somebody here looks at can then read our answers as its own.  He can give us
 * neither an address, nor a name without a dot, nor that of this machine.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/http.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/memory.h"

static bool
is_address(const char *name)
{
	unsigned char address[16];

	return inet_pton(AF_INET, name, address) == 1 ||
		   inet_pton(AF_INET6, name, address) == 1;
}

static bool
is_our_name(const char *name, char *const *names)
{
	char own[256];

	if (is_address(name) || strchr(name, '.') == NULL)
		return true;
	if (gethostname(own, sizeof(own)) == 0 && strcasecmp(own, name) == 0)
		return true;
	for (; *names; names++)
		if (strcmp(*names, "*") == 0 || strcasecmp(*names, name) == 0)
			return true;
	return false;
}

/*
 * May this header Host, a name or address with or without a port, be answered?
 * names: others that are ours, NULL-ended; "*" stands for all.
 */
bool
http_is_known_host(const char *host, char *const *names)
{
	char *copy = text_copy(host);
	char *name = copy;
	char *end;
	bool known;

	/* [address] of IPv6 has colons of its own */
	if (*name == '[')
		end = strchr(++name, ']');
	else
		end = strchr(name, ':');
	if (end)
		*end = '\0';
	end = name + strlen(name);
	if (end > name && end[-1] == '.')
		end[-1] = '\0';
	known = is_our_name(name, names);
	free(copy);
	return known;
}
