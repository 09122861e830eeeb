/*-------------------------------------------------------------------------
 *
 * fuzz_stream.c
 *		Fuzz what pgqd makes of a replication stream: ticker/stream.c's
 *		messages, frames.c and gather.c.
 *
 * The input is a sequence of messages, each behind two bytes of length. What
 * has been gathered is taken out again at every keepalive.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/stream.c"

#include "ticker/gather.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Gather gather;
static size_t bytes_in; /* bytes of the plugin that were taken */
static char *all;       /* of them, those that came out in groups */
static size_t all_len;
static size_t all_walked; /* whole frames of it */
static bool ended;

/* Add what a group holds to "all": behind a whole group, frames are whole. */
static void
check_group(const Group *group)
{
	Frame frame;

	all = realloc(all, all_len + group->frames.len + 1);
	if (all == NULL)
		abort();
	if (group->frames.len > 0)
		memcpy(all + all_len, group->frames.data, group->frames.len);
	all_len += group->frames.len;
	while (all_len > all_walked)
	{
		FramePeek peek = frames_peek(all + all_walked, all_len - all_walked,
									 &frame);

		if (peek == FRAME_PARTIAL && group->kind == GROUP_PART)
			return;
		if (peek != FRAME_WHOLE)
			abort();
		all_walked += frame.len;
	}
}

static void
take_groups(void)
{
	Group *group;

	while ((group = gather_take(&gather)) != NULL)
	{
		check_group(group);
		free(names_to_array(&group->queues));
		free(xids_to_array(&group->xids));
		gather_free_group(group);
	}
	if (gather.bytes != gather.in.len || gather.walked > gather.in.len ||
		all_len + gather.in.len > bytes_in)
		abort();
}

static void
started(void *arg)
{
}

static bool
take_data(const char *data, size_t len, void *arg)
{
	const char *error = NULL;

	bytes_in += len;
	if (gather_put(&gather, data, len, &error))
		return true;
	if (error == NULL)
		abort();
	return false;
}

static void
note_passed(uint64_t lsn, void *arg)
{
	gather_pass(&gather, lsn);
	take_groups();
}

static void
drained(void *arg)
{
}

static void
note_ended(StreamEnd end, const char *sqlstate, const char *why, void *arg)
{
	if (ended || why == NULL)
		abort();
	ended = true;
}

static void
touched(Names *queues, uint32_t xid, void *arg)
{
	free(names_to_array(queues));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const StreamHooks hooks = {started, take_data, note_passed, drained,
									  note_ended};
	static const Config config = {.base_connstr = ""};
	static Stream *stream;

	/* its connection is never opened */
	if (stream == NULL)
		stream = stream_create(event_base_new(), &config, "x", &hooks, NULL);
	ended = false;
	bytes_in = all_len = all_walked = 0;
	gather.max_bytes = 256;
	gather.max_queues = 3;
	gather.touched = touched;
	while (size >= 2 && !ended)
	{
		size_t len = data[0] << 8 | data[1];
		char *msg;
		bool go_on;

		data += 2;
		size -= 2;
		if (len > size)
			len = size;
		/* libpq hands over a copy with a zero byte behind it, never empty */
		if (len == 0)
			continue;
		msg = malloc(len + 1);
		if (msg == NULL)
			abort();
		memcpy(msg, data, len);
		msg[len] = '\0';
		go_on = handle_message(stream, msg, (int) len);
		free(msg);
		if (!go_on)
			break;
		data += len;
		size -= len;
	}
	take_groups();
	gather_reset(&gather);
	free(all);
	all = NULL;
	return 0;
}
