/*-------------------------------------------------------------------------
 *
 * target_redis.c
 *		Messages into streams of Redis or Valkey, exactly once.
 *
 * The id of a message is BATCH-PLACE, and Redis refuses an id that is not above
 * the stream's last: sent again, a message is refused and can't be there twice.
 * So that none is passed over, as many as the window holds go in one MULTI, which
 * is done or not as a whole, and the next one, which is made meanwhile, waits for it.
 *
 * Streams may be many, since their names are a template.  What tells how far the
 * relay is stands in one more, pgq.position.CONSUMER, which gets a message BATCH-0
 * when all of a batch is there: a server that has lost its end, by a failover or a
 * crash, has lost that first.  The bookmark is the batch's id.
 *
 * https://redis.io/docs/latest/commands/xadd/ has the rules of ids.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>
#ifdef HAVE_HIREDIS_SSL
#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#endif

#include "common/memory.h"

#define REFUSED_ID "ERR The ID specified in XADD"

#define DEFAULT_MOST (512 * 1024 * 1024) /* bytes of the longest text */

/* Messages that go together. */
typedef struct Window
{
	int count;
	size_t bytes;            /* of their bodies */
	char **streams;          /* of each of them, window_events */
	PQExpBufferData command; /* all of it, as it goes */
} Window;

typedef struct RedisTarget
{
	Target base;
	redisContext *conn;
	char *marker; /* the stream of positions */
	char *source;
	int64_t batch;
	int64_t tick;
	size_t most; /* bytes that a text may have */

	Window open; /* to be sent */
	Window sent; /* to be answered; empty: none is */
} RedisTarget;

static TargetResult
fail_away(RedisTarget *t, const char *what)
{
	return target_fail(t, TARGET_AWAY, "%s: %s%s%s",
					   t->base.config->shown_target, what,
					   t->conn && t->conn->err ? ": " : "",
					   t->conn && t->conn->err ? t->conn->errstr : "");
}

/* An error that the server answers with. */
static TargetResult
fail_reply(RedisTarget *t, const redisReply *reply)
{
	static const char *const for_a_person[] = {"NOAUTH", "WRONGPASS", "NOPERM",
											   "WRONGTYPE", "MOVED"};

	for (size_t i = 0; i < sizeof(for_a_person) / sizeof(char *); i++)
		if (strncmp(reply->str, for_a_person[i], strlen(for_a_person[i])) == 0)
			return target_fail(t, TARGET_STOP, "%s: %s",
							   t->base.config->shown_target, reply->str);
	return target_fail(t, TARGET_AWAY, "%s: %s", t->base.config->shown_target,
					   reply->str);
}

/* Run one command of words; NULL, with the failure noted, unless it is done. */
static redisReply *
ask(RedisTarget *t, int nwords, const char *const *words)
{
	redisReply *reply = redisCommandArgv(t->conn, nwords, (const char **) words,
										 NULL);

	if (reply == NULL)
	{
		fail_away(t, "connection lost");
		return NULL;
	}
	if (reply->type == REDIS_REPLY_ERROR)
	{
		fail_reply(t, reply);
		freeReplyObject(reply);
		return NULL;
	}
	return reply;
}

/* ---- connecting ---- */

/* redis://HOST[:PORT][/DATABASE] */
static bool
split_address(const char *address, char *host, size_t size, int *port,
			  char *database, size_t db_size)
{
	const char *start = strstr(address, "://");
	size_t len;

	if (start == NULL)
		return false;
	start += 3;
	len = strcspn(start, ":/");
	if (len == 0 || len >= size)
		return false;
	snprintf(host, size, "%.*s", (int) len, start);
	start += len;
	*port = 6379;
	if (*start == ':')
	{
		*port = (int) strtol(start + 1, NULL, 10);
		start += strcspn(start, "/");
	}
	snprintf(database, db_size, "%s", *start == '/' ? start + 1 : "");
	return *port > 0 && *port < 65536 &&
		   database[strspn(database, "0123456789")] == '\0';
}

#ifdef HAVE_HIREDIS_SSL
/*
 * What verifies the server; NULL, with the failure noted.  Not hiredis' own, which
 * asks for a known authority, and not for whom the certificate is.
 */
static SSL *
make_ssl(RedisTarget *t, const char *host)
{
	const RelayConfig *config = t->base.config;
	const char *key = config->tls_key ? config->tls_key : config->tls_cert;
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = NULL;

	if (context == NULL)
		abort();
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	if ((config->tls_ca
			 ? SSL_CTX_load_verify_locations(context, config->tls_ca, NULL)
			 : SSL_CTX_set_default_verify_paths(context)) != 1)
		target_fail(t, TARGET_STOP, "could not read certificates of %s",
					config->tls_ca ? config->tls_ca : "the system");
	else if (config->tls_cert &&
			 (SSL_CTX_use_certificate_chain_file(context, config->tls_cert) !=
				  1 ||
			  SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1))
		target_fail(t, TARGET_STOP, "could not read tls_cert and tls_key");
	else if ((ssl = SSL_new(context)) == NULL)
		abort();
	SSL_CTX_free(context);
	if (ssl && X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) != 1)
	{
		SSL_set1_host(ssl, host);
		SSL_set_tlsext_host_name(ssl, host);
	}
	return ssl;
}
#endif

static TargetResult
encrypt(RedisTarget *t, const char *host)
{
	const RelayConfig *config = t->base.config;

	if (!config->tls && strncmp(config->target, "rediss:", 7) != 0)
		return TARGET_OK;
#ifdef HAVE_HIREDIS_SSL
	{
		SSL *ssl = make_ssl(t, host);
		long verdict;

		if (ssl == NULL)
			return t->base.result;
		if (redisInitiateSSL(t->conn, ssl) == REDIS_OK)
			return TARGET_OK; /* it belongs to the connection */
		verdict = SSL_get_verify_result(ssl);
		SSL_free(ssl);
		if (verdict != X509_V_OK)
			return target_fail(t, TARGET_STOP, "%s: TLS: %s",
							   config->shown_target,
							   X509_verify_cert_error_string(verdict));
		return fail_away(t, "TLS");
	}
#else
	(void) host;
	return target_fail(t, TARGET_STOP,
					   "TLS needs hiredis 1.0 with its TLS library, and this "
					   "build has hiredis %d.%d",
					   HIREDIS_MAJOR, HIREDIS_MINOR);
#endif
}

static TargetResult
log_in(RedisTarget *t)
{
	const RelayConfig *config = t->base.config;
	char *password = target_password(config);
	const char *words[3] = {"AUTH", config->user, password};
	redisReply *reply;

	if (password == NULL)
		return TARGET_OK;
	if (config->user == NULL)
		words[1] = password;
	reply = ask(t, config->user ? 3 : 2, words);
	free(password);
	if (reply == NULL)
		return t->base.result;
	freeReplyObject(reply);
	return TARGET_OK;
}

static TargetResult
choose_database(RedisTarget *t, const char *database)
{
	const char *words[2] = {"SELECT", database};
	redisReply *reply;

	if (*database == '\0')
		return TARGET_OK;
	reply = ask(t, 2, words);
	if (reply == NULL)
		return t->base.result;
	freeReplyObject(reply);
	return TARGET_OK;
}

static void
make_window(Window *window, int events)
{
	window->streams = memory_make(events * sizeof(char *));
	initPQExpBuffer(&window->command);
}

static void
forget_window(Window *window)
{
	for (int i = 0; i < window->count; i++)
		free(window->streams[i]);
	window->count = 0;
	window->bytes = 0;
	resetPQExpBuffer(&window->command);
}

static void
free_window(Window *window)
{
	forget_window(window);
	free(window->streams);
	termPQExpBuffer(&window->command);
}

/* Servers end the connection of who sends more. Not every user may ask. */
static TargetResult
read_most(RedisTarget *t)
{
	redisReply *reply = redisCommand(t->conn, "CONFIG GET proto-max-bulk-len");

	if (reply == NULL)
		return fail_away(t, "connection lost");
	t->most = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
				  ? strtoull(reply->element[1]->str, NULL, 10)
				  : DEFAULT_MOST;
	freeReplyObject(reply);
	return TARGET_OK;
}

static Target *
redis_open(const RelayConfig *config)
{
	RedisTarget *t = target_make(sizeof(RedisTarget), config);
	struct timeval patience = {.tv_sec = (time_t) config->stall_release};
	char host[256];
	char database[16];
	int port;
	TargetResult result;

	make_window(&t->open, config->window_events);
	make_window(&t->sent, config->window_events);
	t->marker = text_format("pgq.position.%s", config->consumer);
	if (config->stream == NULL)
	{
		target_fail(t, TARGET_STOP, "key \"stream\" is missing");
		return &t->base;
	}
	if (!split_address(config->target, host, sizeof(host), &port, database,
					   sizeof(database)))
	{
		target_fail(t, TARGET_STOP,
					"%s is no address like redis://localhost:6379/0",
					config->shown_target);
		return &t->base;
	}
	t->conn = redisConnectWithTimeout(host, port, patience);
	if (t->conn == NULL || t->conn->err)
	{
		fail_away(t, "no connection");
		return &t->base;
	}
	redisSetTimeout(t->conn, patience);
	result = encrypt(t, host);
	if (result == TARGET_OK)
		result = log_in(t);
	if (result == TARGET_OK)
		result = choose_database(t, database);
	if (result == TARGET_OK)
		result = read_most(t);
	t->base.result = result;
	return &t->base;
}

static void
redis_close(Target *target)
{
	RedisTarget *t = (RedisTarget *) target;

	free_window(&t->open);
	free_window(&t->sent);
	if (t->conn)
		redisFree(t->conn);
	free(t->marker);
	free(t->source);
	free(t);
}

/* ---- where ---- */

/* What a stream's last id tells, and the message that has it. */
typedef struct LastId
{
	int64_t batch; /* 0: there is no such stream */
	int64_t place;
	int64_t tick; /* of the message, 0: it is gone or has none */
	bool is_ours; /* the message comes from this relay */
} LastId;

static const char *
find_field(const redisReply *list, const char *name)
{
	for (size_t i = 0; i + 1 < list->elements; i += 2)
		if (list->element[i]->str && list->element[i + 1]->str &&
			strcmp(list->element[i]->str, name) == 0)
			return list->element[i + 1]->str;
	return NULL;
}

/* Read the message that has the stream's last id, unless it was deleted. */
static TargetResult
read_last_message(RedisTarget *t, const char *stream, LastId *last)
{
	char id[48];
	const char *words[4] = {"XRANGE", stream, id, id};
	redisReply *reply;

	snprintf(id, sizeof(id), "%" PRId64 "-%" PRId64, last->batch, last->place);
	reply = ask(t, 4, words);
	if (reply == NULL)
		return t->base.result;
	if (reply->elements == 1 && reply->element[0]->elements == 2)
	{
		const redisReply *fields = reply->element[0]->element[1];
		const char *tick = find_field(fields, "Pgq-Tick");
		const char *source = find_field(fields, "Pgq-Source");

		last->tick = tick ? strtoll(tick, NULL, 10) : 0;
		last->is_ours = source && strcmp(source, t->source) == 0;
	}
	freeReplyObject(reply);
	return TARGET_OK;
}

/* The stream's last id; messages that were deleted or trimmed count. */
static TargetResult
read_last(RedisTarget *t, const char *stream, LastId *last)
{
	const char *words[3] = {"XINFO", "STREAM", stream};
	redisReply *reply = ask(t, 3, words);
	const char *id;

	memset(last, 0, sizeof(*last));
	if (reply == NULL)
	{
		if (strstr(t->base.error, "no such key") == NULL)
			return t->base.result;
		t->base.error[0] = '\0';
		return t->base.result = TARGET_OK;
	}
	id = find_field(reply, "last-generated-id");
	if (id)
		(void) sscanf(id, "%" SCNd64 "-%" SCNd64, &last->batch, &last->place);
	freeReplyObject(reply);
	return read_last_message(t, stream, last);
}

/* A stream has what this database does not know of. */
static TargetResult
fail_went_back(RedisTarget *t, const char *stream, const LastId *last)
{
	return target_fail(t, TARGET_STOP,
					   "stream %s is at batch %" PRId64
					   ", which is not batch %" PRId64
					   " of the queue: " TARGET_WENT_BACK,
					   stream, last->batch, t->batch);
}

static TargetResult
redis_where(Target *target, const TargetBatch *batch, int64_t *done)
{
	RedisTarget *t = (RedisTarget *) target;
	char what[128];
	LastId last;
	TargetResult result;

	text_set(&t->source, batch->source);
	t->batch = batch->id;
	t->tick = batch->tick;
	forget_window(&t->open);
	result = read_last(t, t->marker, &last);
	if (result != TARGET_OK)
		return result;
	snprintf(what, sizeof(what), "stream %s", t->marker);
	return target_compare_batches(t, what, last.batch, last.tick, batch, done);
}

/* ---- send ---- */

/* A message that was refused as too old must be one of this batch. */
static TargetResult
check_refused(RedisTarget *t, const char *stream)
{
	LastId last;
	TargetResult result = read_last(t, stream, &last);

	if (result != TARGET_OK ||
		(last.batch == t->batch && (last.tick == 0 || last.tick == t->tick)))
		return result;
	if (last.is_ours)
		return fail_went_back(t, stream, &last);
	return target_fail(t, TARGET_STOP,
					   "stream %s has another writer: its last message is of "
					   "batch %" PRId64 ", not %" PRId64,
					   stream, last.batch, t->batch);
}

/* Read the answers to MULTI and the commands behind it; *exec gets EXEC's. */
static TargetResult
read_answers(RedisTarget *t, redisReply **exec)
{
	TargetResult result = TARGET_OK;
	int last = t->sent.count + 1;

	for (int i = 0; i <= last; i++)
	{
		redisReply *reply = NULL;

		if (redisGetReply(t->conn, (void **) &reply) != REDIS_OK)
			return fail_away(t, "connection lost");
		/* the first error tells why EXEC, which ends with one too, failed */
		if (reply->type == REDIS_REPLY_ERROR && result == TARGET_OK)
			result = fail_reply(t, reply);
		if (i == last && result == TARGET_OK)
			*exec = reply;
		else
			freeReplyObject(reply);
	}
	return result;
}

/* What became of each message. */
static TargetResult
read_outcomes(RedisTarget *t, const redisReply *exec)
{
	const Window *sent = &t->sent;
	const char *checked = NULL;

	for (int i = 0; i < sent->count && (size_t) i < exec->elements; i++)
	{
		const redisReply *reply = exec->element[i];
		TargetResult result;

		if (reply->type != REDIS_REPLY_ERROR)
			continue;
		if (strncmp(reply->str, REFUSED_ID, strlen(REFUSED_ID)) != 0)
			return fail_reply(t, reply);
		if (checked && strcmp(checked, sent->streams[i]) == 0)
			continue;
		result = check_refused(t, sent->streams[i]);
		if (result != TARGET_OK)
			return result;
		checked = sent->streams[i];
	}
	return TARGET_OK;
}

/* Wait until the window that was sent is there. */
static TargetResult
wait_for_window(RedisTarget *t)
{
	redisReply *exec = NULL;
	TargetResult result;

	if (t->sent.count == 0)
		return TARGET_OK;
	result = read_answers(t, &exec);
	if (result == TARGET_OK)
		result = read_outcomes(t, exec);
	freeReplyObject(exec);
	forget_window(&t->sent);
	return result;
}

/* Send the open window, once the one before is there. */
static TargetResult
send_window(RedisTarget *t)
{
	Window sent = t->open;
	TargetResult result = wait_for_window(t);
	int done = 0;

	if (result != TARGET_OK || t->open.count == 0)
		return result;
	redisAppendCommand(t->conn, "MULTI");
	redisAppendFormattedCommand(t->conn, sent.command.data, sent.command.len);
	redisAppendCommand(t->conn, "EXEC");
	t->open = t->sent;
	t->sent = sent;
	while (!done)
		if (redisBufferWrite(t->conn, &done) != REDIS_OK)
			return fail_away(t, "could not send");
	return TARGET_OK;
}

/* Add a command to a window. */
static void
add_command(Window *window, int nwords, const char **words,
			const size_t *lengths)
{
	char *text;
	int len = redisFormatSdsCommandArgv(&text, nwords, words, lengths);

	if (len < 0)
		abort();
	appendBinaryPQExpBuffer(&window->command, text, len);
	if (PQExpBufferBroken(&window->command))
		abort();
	redisFreeSdsCommand(text);
}

static TargetResult
redis_send(Target *target, const RelayMessage *message)
{
	RedisTarget *t = (RedisTarget *) target;
	Window *open = &t->open;
	const char *words[8 + 2 * MESSAGE_HEADERS];
	size_t lengths[8 + 2 * MESSAGE_HEADERS];
	char id[48];
	int n = 0;

	snprintf(id, sizeof(id), "%" PRId64 "-%" PRId64, message->batch,
			 message->place);
	words[n++] = "XADD";
	words[n++] = message->address;
	words[n++] = id;
	words[n++] = "id";
	words[n++] = message->id;
	for (int i = 0; i < message->nheaders; i++)
	{
		words[n++] = message->headers[i].name;
		words[n++] = message->headers[i].value;
	}
	words[n++] = "body";
	words[n] = message->body;
	for (int i = 0; i < n; i++)
		lengths[i] = strlen(words[i]);
	lengths[n++] = message->body_len;
	for (int i = 0; i < n; i++)
		if (lengths[i] > t->most)
			return target_fail(
				t, TARGET_REFUSED,
				"it has a text of %zu bytes, and the server takes %zu",
				lengths[i], t->most);

	add_command(open, n, words, lengths);
	open->streams[open->count++] = text_copy(message->address);
	open->bytes += message->body_len;
	/* another window is under way meanwhile */
	if (open->count == t->base.config->window_events ||
		open->bytes >= t->base.config->window_bytes / 2)
		return send_window(t);
	return TARGET_OK;
}

/* Wait until as many replicas have it as the ini file wants. */
static TargetResult
wait_for_replicas(RedisTarget *t)
{
	const RelayConfig *config = t->base.config;
	char count[16];
	char msec[16];
	const char *words[3] = {"WAIT", count, msec};
	redisReply *reply;
	int64_t have;

	if (config->replicas == 0)
		return TARGET_OK;
	snprintf(count, sizeof(count), "%d", config->replicas);
	snprintf(msec, sizeof(msec), "%d", (int) (config->stall_release * 800));
	reply = ask(t, 3, words);
	if (reply == NULL)
		return t->base.result;
	have = reply->integer;
	freeReplyObject(reply);
	if (have < config->replicas)
		return target_fail(t, TARGET_AWAY, "%" PRId64 " of %d replicas have it",
						   have, config->replicas);
	return TARGET_OK;
}

static TargetResult
redis_flush(Target *target, char **bookmark)
{
	RedisTarget *t = (RedisTarget *) target;
	char id[32];
	char tick[32];
	const char *words[7] = {"XADD", t->marker,  "MAXLEN", "1",
							id,     "Pgq-Tick", tick};
	TargetResult result = send_window(t);
	redisReply *reply;

	if (result == TARGET_OK)
		result = wait_for_window(t);
	if (result != TARGET_OK)
		return result;
	/* place 0 is below that of any message, and above the batch before */
	snprintf(id, sizeof(id), "%" PRId64 "-0", t->batch);
	snprintf(tick, sizeof(tick), "%" PRId64, t->tick);
	reply = ask(t, 7, words);
	if (reply == NULL)
	{
		LastId last;

		if (strstr(t->base.error, REFUSED_ID) == NULL)
			return t->base.result;
		/* another relay of this consumer was there first */
		result = read_last(t, t->marker, &last);
		if (result == TARGET_OK &&
			(last.batch != t->batch || (last.tick && last.tick != t->tick)))
			result = fail_went_back(t, t->marker, &last);
		if (result != TARGET_OK)
			return result;
	}
	else
		freeReplyObject(reply);
	result = wait_for_replicas(t);
	if (result == TARGET_OK)
		*bookmark = text_format("%" PRId64, t->batch);
	return result;
}

static const char *
redis_library(void)
{
	static char text[48];

	snprintf(text, sizeof(text), "hiredis %d.%d.%d", HIREDIS_MAJOR,
			 HIREDIS_MINOR, HIREDIS_PATCH);
	return text;
}

const TargetClass target_redis = {
	.scheme = "redis",
	.promise = "streams of Redis and Valkey, exactly once",
	.keys = (const char *const[]){"stream", "replicas", "user", "password",
								  "password_file", "tls", "tls_ca", "tls_cert",
								  "tls_key", NULL},
	.address_offset = offsetof(RelayConfig, stream),
	.library = redis_library,
	.open = redis_open,
	.where = redis_where,
	.send = redis_send,
	.flush = redis_flush,
	.close = redis_close};
