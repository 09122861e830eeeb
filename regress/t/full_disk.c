/*-------------------------------------------------------------------------
 *
 * full_disk.c
 *		Writes of a server whose disk is full.
 *
 * Preloaded. While the file $FULL_DISK is there, no file below "base/" gets any
 * longer; WAL has a disk of its own, which is full while $FULL_DISK.wal is there.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Would a file of the database be longer after this? */
static int
is_refused(int fd, off_t end)
{
	const char *flag = getenv("FULL_DISK");
	char wal_flag[4096];
	char link[64];
	char path[4096];
	int tables;
	int wal;
	struct stat st;
	ssize_t len;

	if (flag == NULL)
		return 0;
	snprintf(wal_flag, sizeof(wal_flag), "%s.wal", flag);
	tables = access(flag, F_OK) == 0;
	wal = access(wal_flag, F_OK) == 0;
	if (!tables && !wal)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0 || fstat(fd, &st) != 0)
		return 0;
	path[len] = '\0';
	return end > st.st_size && ((tables && strstr(path, "/base/") != NULL) ||
								(wal && strstr(path, "/pg_wal/") != NULL));
}

ssize_t
pwrite(int fd, const void *data, size_t size, off_t at)
{
	ssize_t (*real)(int, const void *, size_t, off_t) =
		dlsym(RTLD_NEXT, "pwrite");

	if (!is_refused(fd, at + size))
		return real(fd, data, size, at);
	errno = ENOSPC;
	return -1;
}

ssize_t
pwritev(int fd, const struct iovec *parts, int n, off_t at)
{
	ssize_t (*real)(int, const struct iovec *, int, off_t) =
		dlsym(RTLD_NEXT, "pwritev");
	off_t end = at;

	for (int i = 0; i < n; i++)
		end += parts[i].iov_len;
	if (!is_refused(fd, end))
		return real(fd, parts, n, at);
	errno = ENOSPC;
	return -1;
}

int
posix_fallocate(int fd, off_t at, off_t size)
{
	int (*real)(int, off_t, off_t) = dlsym(RTLD_NEXT, "posix_fallocate");

	return is_refused(fd, at + size) ? ENOSPC : real(fd, at, size);
}
