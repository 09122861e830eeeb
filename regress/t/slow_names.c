/*-------------------------------------------------------------------------
 *
 * slow_names.c
 *		A machine whose name server is silent, and that of its users.
 *
 * Preloaded. Names that end in ".test" are this machine; while the file
 * $SLOW_NAMES is there they are looked up for 12 s, and not found. So are users.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
getaddrinfo(const char *name, const char *service,
			const struct addrinfo *hints, struct addrinfo **found)
{
	int (*real)(const char *, const char *, const struct addrinfo *,
				struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
	size_t len = name ? strlen(name) : 0;

	if (len < 5 || strcmp(name + len - 5, ".test") != 0 ||
		(hints && hints->ai_flags & AI_NUMERICHOST))
		return real(name, service, hints, found);
	if (access(getenv("SLOW_NAMES"), F_OK) == 0)
	{
		sleep(12);
		return EAI_AGAIN;
	}
	return real("127.0.0.1", service, hints, found);
}

int
getpwuid_r(uid_t uid, struct passwd *user, char *buffer, size_t size,
		   struct passwd **found)
{
	int (*real)(uid_t, struct passwd *, char *, size_t, struct passwd **) =
		dlsym(RTLD_NEXT, "getpwuid_r");

	if (access(getenv("SLOW_NAMES"), F_OK) != 0)
		return real(uid, user, buffer, size, found);
	sleep(12);
	*found = NULL;
	return EIO;
}
