/*-------------------------------------------------------------------------
 *
 * target_nats.c
 *		Messages into a stream of NATS JetStream, exactly once.
 *
 * The relay is the only writer of the stream.  Each message expects the stream's
 * last sequence to be that of the message before it, so that a chain of messages
 * may be under way at once and none can be stored twice or out of order, whoever
 * else sends and whatever is sent again.  The bookmark is the sequence after a
 * batch; what the stream has behind it tells its batch and place in headers:
 *
 *		last == bookmark					nothing of the batch is there
 *		last > bookmark, of this batch		it is there up to that place
 *		last > bookmark, of another			the database went back
 *		last > bookmark, not of the relay	another writer
 *		last < bookmark						the stream lost what it had
 *
 * The headers' meaning: https://docs.nats.io/nats-concepts/jetstream/headers.
 * Acknowledgements come in a thread of the library, which may call once more
 * after a connection was closed: it finds its target by number, not by address.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target_nats.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/memory.h"

/* Headers of our own and NATS' marks, counted against max_payload. */
#define HEADER_ROOM 1024

/* Longest subject that the server's lines of 4096 bytes have room for. */
#define SUBJECT_MOST 3900

/* The most that JetStream takes of headers. */
#define HEADER_MOST 65535

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t acked = PTHREAD_COND_INITIALIZER;
static NatsTarget *live;
static unsigned last_number;

/* ---- acknowledgements, in the library's thread ---- */

static NatsTarget *
find_live(unsigned number)
{
	NatsTarget *t = live;

	while (t && t->number != number)
		t = t->next;
	return t;
}

static void
note_ack(NatsTarget *t, natsMsg *msg, const jsPubAck *ack,
		 const jsPubAckErr *error)
{
	t->acks.bytes += (size_t) natsMsg_GetDataLength(msg);
	t->progress = clock_seconds();
	if (t->failure[0])
		return;
	if (error)
		snprintf(t->failure, sizeof(t->failure), "%s (%d)",
				 error->ErrText ? error->ErrText
								: natsStatus_GetText(error->Err),
				 (int) error->ErrCode);
	else if (ack->Sequence != t->acks.seq + 1)
		snprintf(t->failure, sizeof(t->failure),
				 "sequence %" PRIu64 " acknowledged in place of %" PRIu64,
				 ack->Sequence, t->acks.seq + 1);
	else
		t->acks.seq++;
}

/* Is that acknowledged which the sender waits for?  Or it never will be. */
static bool
is_enough(const NatsTarget *t)
{
	return t->failure[0] ||
		   (t->acks.seq >= t->awaited.seq && t->acks.bytes >= t->awaited.bytes);
}

static void
receive_ack(jsCtx *js, natsMsg *msg, jsPubAck *ack, jsPubAckErr *error,
			void *closure)
{
	NatsTarget *t;

	pthread_mutex_lock(&lock);
	t = find_live((unsigned) (uintptr_t) closure);
	if (t)
	{
		note_ack(t, msg, ack, error);
		if (is_enough(t))
			pthread_cond_broadcast(&acked);
	}
	pthread_mutex_unlock(&lock);
	natsMsg_Destroy(msg);
}

/* ---- open, close ---- */

static Target *
nats_open(const RelayConfig *config)
{
	NatsTarget *t = target_make(sizeof(NatsTarget), config);
	natsStatus s;

	pthread_mutex_lock(&lock);
	t->number = ++last_number;
	t->next = live;
	live = t;
	pthread_mutex_unlock(&lock);

	if (config->stream == NULL)
	{
		target_fail(t, TARGET_STOP, "key \"stream\" is missing");
		return &t->base;
	}
	s = nats_connect(t, receive_ack);
	if (s != NATS_OK)
		nats_fail_to_connect(t, s);
	else
		t->base.result = nats_read_stream(t);
	return &t->base;
}

static void
nats_close(Target *target)
{
	NatsTarget *t = (NatsTarget *) target;

	pthread_mutex_lock(&lock);
	for (NatsTarget **p = &live; *p; p = &(*p)->next)
	{
		if (*p == t)
		{
			*p = t->next;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	jsStreamInfo_Destroy(t->info);
	if (t->conn)
		natsConnection_Close(t->conn);
	jsCtx_Destroy(t->js);
	natsConnection_Destroy(t->conn);
	natsOptions_Destroy(t->options);
	free(t);
}

/* ---- where ---- */

/* A header, "" without it. */
static const char *
read_header(natsMsg *msg, const char *name)
{
	const char *text = NULL;

	return natsMsgHeader_Get(msg, name, &text) == NATS_OK ? text : "";
}

static int64_t
read_number(natsMsg *msg, const char *name)
{
	return strtoll(read_header(msg, name), NULL, 10);
}

/*
 * The place that the stream's last message has in the batch, 0 if nothing of it
 * is there; STOP if the message has no business to be there.
 */
static TargetResult
read_place(NatsTarget *t, const TargetBatch *batch, int64_t *place)
{
	const char *stream = t->base.config->stream;
	uint64_t last = t->info->State.LastSeq;
	const char *source = "";
	natsMsg *msg = NULL;
	jsErrCode code = 0;
	TargetResult result = TARGET_OK;
	natsStatus s = js_GetMsg(&msg, t->js, stream, last, NULL, &code);

	*place = 0;
	if (s != NATS_OK && s != NATS_NOT_FOUND)
		return target_fail(t, TARGET_AWAY, "message %" PRIu64 ": %s (%d)", last,
						   natsStatus_GetText(s), (int) code);
	if (s == NATS_NOT_FOUND && batch->bookmark)
		return target_fail(
			t, TARGET_STOP,
			"message %" PRIu64 " of stream \"%s\" is gone, by the stream's "
			"limits or by hand, so how much of batch %" PRId64 " is there "
			"can't be told - to send all of it: select "
			"pgq.set_bookmark(%" PRId64 ", '%" PRIu64 "')",
			last, stream, batch->id, batch->id, last);
	if (s == NATS_OK)
	{
		source = read_header(msg, "Pgq-Source");
		if (strcmp(source, batch->source) == 0 &&
			read_number(msg, "Pgq-Batch") == batch->id &&
			read_number(msg, "Pgq-Tick") == batch->tick)
			*place = read_number(msg, "Pgq-Place");
	}
	if (batch->bookmark == NULL || *place > 0)
		;
	else if (strcmp(source, batch->source) == 0)
		result = target_fail(t, TARGET_STOP,
							 "stream \"%s\" is at message %" PRIu64
							 " of batch %" PRId64 ", and the bookmark at %s "
							 "before batch %" PRId64 ": " TARGET_WENT_BACK,
							 stream, last, read_number(msg, "Pgq-Batch"),
							 batch->bookmark, batch->id);
	else
		result = target_fail(t, TARGET_STOP,
							 "stream \"%s\" has another writer: message "
							 "%" PRIu64 " is not of batch %" PRId64,
							 stream, last, batch->id);
	natsMsg_Destroy(msg);
	return result;
}

static TargetResult
nats_where(Target *target, const TargetBatch *batch, int64_t *done)
{
	NatsTarget *t = (NatsTarget *) target;
	const char *stream = t->base.config->stream;
	uint64_t mark = batch->bookmark ? strtoull(batch->bookmark, NULL, 10) : 0;
	TargetResult result;
	uint64_t last;

	*done = 0;
	/* whoever has changed it since will have the next message refused */
	if (t->is_whole && batch->bookmark && mark == t->last_seq)
		return TARGET_OK;
	result = nats_read_stream(t);
	if (result != TARGET_OK)
		return result;
	last = t->info->State.LastSeq;
	if (last < mark)
		return target_fail(
			t, TARGET_STOP,
			"stream \"%s\" has lost events: its last sequence is "
			"%" PRIu64 " and was %" PRIu64 " before batch %" PRId64,
			stream, last, mark, batch->id);
	if (last > 0 && (batch->bookmark == NULL || last > mark))
		result = read_place(t, batch, done);
	if (result != TARGET_OK)
		return result;
	pthread_mutex_lock(&lock);
	t->last_seq = t->seen.seq = t->acks.seq = last;
	t->sent_bytes = t->seen.bytes = t->acks.bytes = 0;
	t->progress = clock_seconds();
	pthread_mutex_unlock(&lock);
	return TARGET_OK;
}

/* ---- send ---- */

/* A subject's tokens are what is between dots; * and > are for readers. */
static void
nats_escape(PQExpBuffer out, const char *text)
{
	for (; *text; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c <= ' ' || strchr(".*>%", c) || c == 0x7f)
			appendPQExpBuffer(out, "%%%02X", c);
		else
			appendPQExpBufferChar(out, (char) c);
	}
}

/* Does a subject fit one of the stream's, which may have * and >? */
static bool
fits(const char *pattern, const char *subject)
{
	for (;;)
	{
		size_t plen = strcspn(pattern, ".");
		size_t slen = strcspn(subject, ".");

		if (plen == 1 && *pattern == '>')
			return slen > 0;
		if (!(plen == 1 && *pattern == '*' && slen > 0) &&
			(plen != slen || strncmp(pattern, subject, plen) != 0))
			return false;
		pattern += plen;
		subject += slen;
		if (*pattern == '\0' || *subject == '\0')
			return *pattern == *subject;
		pattern++;
		subject++;
	}
}

/* Bytes of the headers, or a few more. */
static int64_t
count_headers(const NatsTarget *t, const RelayMessage *message)
{
	int64_t n = HEADER_ROOM + strlen(t->base.config->stream) +
				strlen(message->id);

	for (int i = 0; i < message->nheaders; i++)
		n += strlen(message->headers[i].name) +
			 strlen(message->headers[i].value) + strlen(": \r\n");
	return n;
}

/* What the stream will never take. */
static TargetResult
check_message(NatsTarget *t, const RelayMessage *message)
{
	const jsStreamConfig *config = t->info->Config;
	int64_t headers = count_headers(t, message);
	int64_t most = natsConnection_GetMaxPayload(t->conn);
	bool belongs = false;

	if (config->MaxMsgSize > 0 && config->MaxMsgSize < most)
		most = config->MaxMsgSize;
	/* that one would be deleted at once */
	if (config->MaxBytes > 0 && config->MaxBytes < most)
		most = config->MaxBytes;
	if (strlen(message->address) > SUBJECT_MOST)
		return target_fail(t, TARGET_REFUSED,
						   "its subject has %zu bytes, and the server takes "
						   "%d",
						   strlen(message->address), SUBJECT_MOST);
	if (headers > HEADER_MOST)
		return target_fail(t, TARGET_REFUSED,
						   "it has %" PRId64
						   " bytes of headers, and the server "
						   "takes %d",
						   headers, HEADER_MOST);
	if ((int64_t) message->body_len + headers > most)
		return target_fail(t, TARGET_REFUSED,
						   "it has %zu bytes and headers of %" PRId64
						   ", and the server takes %" PRId64,
						   message->body_len, headers, most);
	for (int i = 0; i < config->SubjectsLen && !belongs; i++)
		belongs = fits(config->Subjects[i], message->address);
	if (!belongs)
		return target_fail(t, TARGET_REFUSED,
						   "subject \"%s\" is none of stream \"%s\"",
						   message->address, config->Name);
	return TARGET_OK;
}

/* Wait until so much is acknowledged. */
static TargetResult
wait_for_acks(NatsTarget *t, NatsAcks awaited)
{
	double patience = t->base.config->stall_release;
	TargetResult result = TARGET_OK;

	pthread_mutex_lock(&lock);
	t->awaited = awaited;
	/* nothing may have been under way */
	if (t->seen.seq == t->acks.seq)
		t->progress = clock_seconds();
	while (!is_enough(t) && result == TARGET_OK)
	{
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&acked, &lock, &until);
		if (clock_seconds() - t->progress > patience)
			result = target_fail(t, TARGET_AWAY,
								 "no acknowledgement for %.0f s", patience);
	}
	if (t->failure[0])
		result = target_fail(t, TARGET_AWAY, "%s", t->failure);
	t->seen = t->acks;
	pthread_mutex_unlock(&lock);
	/* what comes behind a message that is forbidden is out of sequence */
	return result != TARGET_OK && nats_is_forbidden(t) ? TARGET_STOP : result;
}

/*
 * Wait for room in the window.  One that is full is waited for until half of it is
 * free: to wake for each acknowledgement costs more than to send.
 */
static TargetResult
wait_for_room(NatsTarget *t)
{
	const RelayConfig *config = t->base.config;
	int events = (int) (t->last_seq - t->seen.seq);
	size_t bytes = t->sent_bytes - t->seen.bytes;
	NatsAcks awaited = t->seen;

	if (events < config->window_events && bytes < config->window_bytes)
		return TARGET_OK;
	if (events >= config->window_events)
		awaited.seq = t->last_seq - config->window_events / 2;
	if (bytes >= config->window_bytes)
		awaited.bytes = t->sent_bytes - config->window_bytes / 2;
	return wait_for_acks(t, awaited);
}

static natsStatus
fill_message(NatsTarget *t, natsMsg *msg, const RelayMessage *message)
{
	char text[32];
	natsStatus s;

	snprintf(text, sizeof(text), "%" PRIu64, t->last_seq);
	s = natsMsgHeader_Set(msg, "Nats-Expected-Last-Sequence", text);
	if (s == NATS_OK)
		s = natsMsgHeader_Set(msg, "Nats-Expected-Stream",
							  t->base.config->stream);
	if (s == NATS_OK)
		s = natsMsgHeader_Set(msg, "Nats-Msg-Id", message->id);
	if (s == NATS_OK)
		s = natsMsgHeader_Set(msg, "Content-Type", message->content_type);
	for (int i = 0; s == NATS_OK && i < message->nheaders; i++)
		s = natsMsgHeader_Set(msg, message->headers[i].name,
							  message->headers[i].value);
	return s;
}

static TargetResult
nats_send(Target *target, const RelayMessage *message)
{
	NatsTarget *t = (NatsTarget *) target;
	TargetResult result = check_message(t, message);
	natsMsg *msg = NULL;
	natsStatus s;

	/* the stream may have been changed */
	if (result == TARGET_REFUSED && (result = nats_read_stream(t)) == TARGET_OK)
		result = check_message(t, message);
	if (result == TARGET_OK)
		result = wait_for_room(t);
	if (result != TARGET_OK)
		return result;
	t->is_whole = false;

	/* no MaxWait: the library would keep each message's time for so long, though it
	 * was acknowledged; wait_for_acks() sees when none comes */
	s = natsMsg_Create(&msg, message->address, NULL, message->body,
					   (int) message->body_len);
	if (s == NATS_OK)
		s = fill_message(t, msg, message);
	if (s == NATS_OK)
		s = js_PublishMsgAsync(t->js, &msg, NULL);
	natsMsg_Destroy(msg);
	if (s != NATS_OK)
		return nats_is_forbidden(t)
				   ? TARGET_STOP
				   : target_fail(t, TARGET_AWAY, "could not publish: %s",
								 natsStatus_GetText(s));
	t->last_seq++;
	t->sent_bytes += message->body_len;
	return TARGET_OK;
}

static TargetResult
nats_flush(Target *target, char **bookmark)
{
	NatsTarget *t = (NatsTarget *) target;
	NatsAcks all = {t->last_seq, t->sent_bytes};
	TargetResult result = wait_for_acks(t, all);

	t->is_whole = result == TARGET_OK;
	if (t->is_whole)
		*bookmark = text_format("%" PRIu64, t->last_seq);
	return result;
}

static const char *
nats_library(void)
{
	return "libnats " NATS_VERSION_STRING;
}

const TargetClass target_nats = {
	.scheme = "nats",
	.promise = "JetStream, exactly once",
	.keys = (const char *const[]){"stream", "subject", "user", "password",
								  "password_file", "token", "credentials",
								  "tls", "tls_ca", "tls_cert", "tls_key", NULL},
	.address_offset = offsetof(RelayConfig, subject),
	.escape = nats_escape,
	.starts_with_bookmark = true,
	.library = nats_library,
	.open = nats_open,
	.where = nats_where,
	.send = nats_send,
	.flush = nats_flush,
	.close = nats_close};
