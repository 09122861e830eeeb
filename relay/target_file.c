/*-------------------------------------------------------------------------
 *
 * target_file.c
 *		Messages as lines of a file, or on stdout.
 *
 * "file:PATH" is exactly once: the bookmark is the file's size after a batch,
 * flushed to disk before the batch is finished, and a file that is longer is cut
 * back to it, since what is behind it comes again.  One that is shorter has lost
 * what it had.  A lock keeps a second relay out.
 *
 * "-" is stdout, at least once: what is out can't be called back.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/memory.h"

typedef struct FileTarget
{
	Target base;
	FILE *fp;
	bool is_stdout;
} FileTarget;

static TargetResult
fail_with_errno(FileTarget *t, const char *what)
{
	int error = errno;

	/* a full disk may have room later, all else is for a person */
	return target_fail(t,
					   error == ENOSPC || error == EDQUOT || error == EIO
						   ? TARGET_AWAY
						   : TARGET_STOP,
					   "could not %s %s: %s", what,
					   t->base.config->shown_target, strerror(error));
}

static Target *
file_open(const RelayConfig *config)
{
	FileTarget *t = target_make(sizeof(FileTarget), config);
	const char *path = config->target + strlen("file:");
	int fd;

	if (strcmp(config->target, "-") == 0)
	{
		t->is_stdout = true;
		t->fp = stdout;
		return &t->base;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0)
	{
		fail_with_errno(t, "open");
		return &t->base;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
	{
		target_fail(t, TARGET_AWAY, "another process writes %s",
					config->shown_target);
		close(fd);
		return &t->base;
	}
	t->fp = fdopen(fd, "r+");
	return &t->base;
}

static TargetResult
file_where(Target *target, const TargetBatch *batch, int64_t *done)
{
	FileTarget *t = (FileTarget *) target;
	int64_t size = batch->bookmark ? strtoll(batch->bookmark, NULL, 10) : 0;
	struct stat st;

	*done = 0;
	if (t->is_stdout)
		return TARGET_OK;
	if (fstat(fileno(t->fp), &st) < 0)
		return fail_with_errno(t, "look at");
	if (batch->bookmark == NULL && st.st_size > 0)
		return target_fail(t, TARGET_STOP,
						   "%s has %lld bytes that are not this relay's - move "
						   "the file away, or choose another",
						   t->base.config->shown_target,
						   (long long) st.st_size);
	if (st.st_size < size)
		return target_fail(t, TARGET_STOP,
						   "%s has lost events: it has %lld bytes and had %lld "
						   "before batch %" PRId64,
						   t->base.config->shown_target, (long long) st.st_size,
						   (long long) size, batch->id);
	if (st.st_size > size)
		log_info("[%s]: cutting %s back from %lld bytes to %lld, before batch "
				 "%" PRId64,
				 t->base.config->name, t->base.config->shown_target,
				 (long long) st.st_size, (long long) size, batch->id);
	if (fflush(t->fp) != 0 || ftruncate(fileno(t->fp), size) < 0 ||
		fseeko(t->fp, size, SEEK_SET) < 0)
		return fail_with_errno(t, "cut");
	return TARGET_OK;
}

static TargetResult
file_send(Target *target, const RelayMessage *message)
{
	FileTarget *t = (FileTarget *) target;

	if (memchr(message->body, '\n', message->body_len) != NULL)
		return target_fail(t, TARGET_REFUSED,
						   "its data has a newline, which ends a line of the "
						   "file; format = json has none");
	if (fwrite(message->body, 1, message->body_len, t->fp) !=
			message->body_len ||
		fputc('\n', t->fp) == EOF)
		return fail_with_errno(t, "write");
	return TARGET_OK;
}

static TargetResult
file_flush(Target *target, char **bookmark)
{
	FileTarget *t = (FileTarget *) target;

	if (fflush(t->fp) != 0 || (!t->is_stdout && fdatasync(fileno(t->fp)) < 0))
		return fail_with_errno(t, "write");
	if (!t->is_stdout)
		*bookmark = text_format("%lld", (long long) ftello(t->fp));
	return TARGET_OK;
}

static void
file_close(Target *target)
{
	FileTarget *t = (FileTarget *) target;

	if (t->fp && !t->is_stdout)
		fclose(t->fp);
	free(t);
}

const TargetClass target_file = {
	.scheme = "file",
	.promise = "exactly once (-: stdout, at least once)",
	.starts_with_bookmark = true,
	.open = file_open,
	.where = file_where,
	.send = file_send,
	.flush = file_flush,
	.close = file_close};
