/*-------------------------------------------------------------------------
 *
 * gather.c
 *		What has come from the stream and is not yet in the queues.
 *
 * The frames of the transaction that is arriving collect in g->in.  When its
 * C frame comes they move to the last group, if that has room, or to a new
 * one.  A transaction that grows past max_bytes leaves in parts, and so does a
 * single event: pgq.ingest() puts the pieces of its frame together.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "ticker/gather.h"

#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "event/frame_format.h"
#include "ticker/frames.h"

static void
bytes_append(Bytes *b, const char *data, size_t len)
{
	if (b->room - b->len < len)
	{
		size_t room = b->room ? b->room : 4096;

		while (room - b->len < len)
			room *= 2;
		b->data = memory_resize(b->data, room);
		b->room = room;
	}
	if (len > 0)
		memcpy(b->data + b->len, data, len);
	b->len += len;
}

/* Nothing more will come: give back what is not used, up to half of it. */
static void
bytes_fit(Bytes *b)
{
	char *data = memory_resize(b->data, b->len);

	if (data == NULL)
		return;
	b->data = data;
	b->room = b->len;
}

static void
bytes_clear(Bytes *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

/* Forget everything; limits, nameless, touched and arg stay. */
void
gather_reset(Gather *g)
{
	Gather empty = {.max_bytes = g->max_bytes,
					.max_queues = g->max_queues,
					.nameless = g->nameless,
					.touched = g->touched,
					.arg = g->arg};
	Group *group;

	while ((group = gather_take(g)) != NULL)
		gather_free_group(group);
	bytes_clear(&g->in);
	names_clear(&g->queues);
	*g = empty;
}

/* Free a group that gather_take() returned. */
void
gather_free_group(Group *group)
{
	if (group == NULL)
		return;
	bytes_clear(&group->frames);
	names_clear(&group->queues);
	xids_clear(&group->xids);
	free(group);
}

static Group *
new_group(Gather *g, GroupKind kind)
{
	Group *group = memory_make(sizeof(Group));

	group->kind = kind;
	if (g->last)
		g->last->next = group;
	else
		g->first = group;
	g->last = group;
	return group;
}

static void
add_queue(const char *name, size_t len, void *arg)
{
	Gather *g = arg;

	if (!g->nameless)
		names_add(&g->queues, name, len);
}

/* Move the first "len" bytes that have arrived into a group. */
static void
move_frames(Gather *g, Group *group, size_t len)
{
	if (group->frames.len == 0 && len == g->in.len)
	{
		Bytes swap = group->frames;

		group->frames = g->in;
		g->in = swap;
		g->in.len = 0;
	}
	else
	{
		bytes_append(&group->frames, g->in.data, len);
		g->in.len -= len;
		memmove(g->in.data, g->in.data + len, g->in.len);
	}
	g->walked = 0;
}

/* The arriving transaction is too long: send ahead what is there of it. */
static void
cut_part(Gather *g)
{
	Group *group = new_group(g, GROUP_PART);

	names_merge(&group->queues, &g->queues);
	move_frames(g, group, g->walked);
	bytes_fit(&group->frames);
	g->in_parts = true;
}

/* Has a group room for the queues of the transaction that has arrived? */
static bool
has_room(const Gather *g, const Group *group)
{
	const Names *queues = &g->queues;

	if (group->queues.count < g->max_queues)
		return true;
	for (size_t i = 0; i < queues->count; i++)
		if (!names_has(&group->queues, queues->names[i],
					   strlen(queues->names[i])))
			return false;
	return true;
}

/* The group at the end that may take a whole transaction of "len" bytes. */
static Group *
group_for(Gather *g, size_t len)
{
	if (g->last && g->last->kind == GROUP_WHOLE &&
		(len == 0 ||
		 (g->last->frames.len + len <= g->max_bytes && has_room(g, g->last))))
		return g->last;
	if (g->last && g->last->frames.len > 0)
		bytes_fit(&g->last->frames);
	return new_group(g, GROUP_WHOLE);
}

/* A transaction is complete, and ends where "walked" stands. */
static void
end_transaction(Gather *g, const FrameCommit *commit)
{
	Group *group;

	if (commit->end_lsn > g->reached)
		g->reached = commit->end_lsn;
	if (commit->end_lsn > g->reached_by_commit)
		g->reached_by_commit = commit->end_lsn;
	g->commit_time = commit->time;

	if (!g->has_events && !g->in_parts)
	{
		/*
		 * Nothing to write, so nothing to wait for.  The position follows
		 * with the next group; on its own it would cost a transaction for
		 * each of the source's.
		 */
		g->touched(&g->queues, commit->xid, g->arg);
		names_clear(&g->queues);
		g->in.len -= g->walked;
		memmove(g->in.data, g->in.data + g->walked, g->in.len);
		g->bytes -= g->walked;
		g->walked = 0;
		if (g->last && g->last->kind != GROUP_PART &&
			g->last->end_lsn < commit->end_lsn)
			g->last->end_lsn = commit->end_lsn;
		return;
	}

	group = g->in_parts ? new_group(g, GROUP_LAST) : group_for(g, g->walked);
	move_frames(g, group, g->walked);
	names_merge(&group->queues, &g->queues);
	xids_add(&group->xids, commit->xid);
	group->nevents += commit->nevents;
	group->end_lsn = commit->end_lsn;
	g->has_events = g->in_parts = false;
}

/*
 * Make sure that the position moves to "lsn" with the last group, one without
 * frames if need be.  All transactions before it must have been put in.
 */
void
gather_mark(Gather *g, uint64_t lsn)
{
	Group *group = group_for(g, 0);

	if (group->end_lsn < lsn)
		group->end_lsn = lsn;
	if (g->reached < lsn)
		g->reached = lsn;
}

/*
 * The frame that is arriving is too long to be kept: walk over what there is
 * of it, and over the rest as it comes.  False if it is malformed.
 */
static bool
begin_long_frame(Gather *g)
{
	size_t there = g->in.len - g->walked;
	Frame frame;

	if (frames_peek(g->in.data + g->walked, there, &frame) != FRAME_PARTIAL ||
		!frames_has_events(&frame))
		return true;
	if (!frames_get_queues(&frame, add_queue, g))
		return false;
	g->has_events = true;
	g->walked = g->in.len;
	g->missing = frame.len - there;
	return true;
}

/* Is the oldest incomplete frame the start of a transaction? */
static bool
between_transactions(const Gather *g)
{
	return g->walked == 0 && !g->in_parts && !g->has_events;
}

/*
 * Take in bytes of the stream, in whatever pieces they come.
 *
 * Returns false, with a static text in *error, if they are not frames.
 */
bool
gather_put(Gather *g, const char *data, size_t len, const char **error)
{
	bytes_append(&g->in, data, len);
	g->bytes += len;
	if (g->missing > 0)
	{
		size_t n = g->missing < len ? g->missing : len;

		g->missing -= n;
		g->walked += n;
	}

	while (g->walked < g->in.len)
	{
		Frame frame;
		FrameCommit commit;
		uint64_t lsn;
		FramePeek peek = frames_peek(g->in.data + g->walked,
									 g->in.len - g->walked, &frame);

		if (peek == FRAME_PARTIAL)
			break;
		if (peek == FRAME_BAD)
		{
			*error = "unknown kind of frame";
			return false;
		}
		if (frame.tag == FRAME_MARKER || frame.tag == FRAME_REACHED)
		{
			if (!between_transactions(g) || !frames_get_lsn(&frame, &lsn))
			{
				*error = "misplaced or malformed M or R frame";
				return false;
			}
			if (frame.tag == FRAME_MARKER)
				gather_mark(g, lsn);
			else if (lsn > g->reached)
				g->reached = lsn;
			g->in.len -= frame.len;
			memmove(g->in.data, g->in.data + frame.len, g->in.len);
			g->bytes -= frame.len;
			continue;
		}
		g->walked += frame.len;
		if (frame.tag == FRAME_COMMIT)
		{
			if (!frames_get_commit(&frame, &commit))
			{
				*error = "malformed C frame";
				return false;
			}
			end_transaction(g, &commit);
			continue;
		}
		/* these are pgq.ingest()'s to read; of a warning it writes a row */
		if (frame.tag == FRAME_WARNING)
			g->has_events = true;
		if (frame.tag == FRAME_WARNING || frame.tag == FRAME_PLACE)
			continue;
		if (!frames_get_queues(&frame, add_queue, g))
		{
			*error = "malformed E, H or T frame";
			return false;
		}
		if (frames_has_events(&frame))
			g->has_events = true;
	}
	if (g->in.len - g->walked >= g->max_bytes && !begin_long_frame(g))
	{
		*error = "malformed E or H frame";
		return false;
	}
	if (g->walked >= g->max_bytes)
		cut_part(g);
	return true;
}

/*
 * The walsender has read all WAL before "lsn" and sent what there was in it.
 */
void
gather_pass(Gather *g, uint64_t lsn)
{
	if (between_transactions(g) && g->in.len == 0 && lsn > g->reached)
		g->reached = lsn;
}

/* Take out the oldest group, NULL if there is none; the caller frees it. */
Group *
gather_take(Gather *g)
{
	Group *group = g->first;

	if (group == NULL)
		return NULL;
	g->first = group->next;
	if (g->first == NULL)
		g->last = NULL;
	group->next = NULL;
	g->bytes -= group->frames.len;
	return group;
}

/* Has everything been taken out, and is no transaction arriving? */
bool
gather_is_idle(const Gather *g)
{
	return g->first == NULL && g->in.len == 0 && between_transactions(g);
}
