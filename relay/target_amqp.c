/*-------------------------------------------------------------------------
 *
 * target_amqp.c
 *		Messages to an exchange of RabbitMQ, at least once.
 *
 * The broker can't be asked what it has, so that messages of a batch that was given
 * up may come twice; their ids are the same then.  It confirms each message when
 * all queues have it (publisher confirms), in any order: what is acknowledged is
 * what stands before the first that is not.
 *
 * A message that no queue takes comes back (mandatory), after others were sent:
 * those up to it are sent again, each alone, so that its turn comes by itself and
 * send() can refuse it.
 *
 * https://www.rabbitmq.com/docs/confirms has the rules of confirms and returns.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/target.h"

#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/ssl_socket.h>
#include <rabbitmq-c/tcp_socket.h>
#else /* before 0.12 */
#include <amqp.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#endif

#include "common/clock.h"
#include "common/memory.h"

#define CHANNEL 1
#define HEARTBEAT 30 /* seconds; idle() is called more often */
#define SYSTEM_CA "/etc/ssl/certs/ca-certificates.crt"

/* Most bytes of AMQP's short strings, and of properties beside the headers. */
#define SHORT_STRING_MAX 255
#define PROPERTY_ROOM 2048

/* A message that is not confirmed, or one before it is not. */
typedef struct Pending
{
	int64_t place;
	size_t bytes;
	bool confirmed;
} Pending;

typedef struct AmqpTarget
{
	Target base;
	amqp_connection_state_t conn;
	bool blocked;  /* the broker is short of memory or disk */
	int64_t alone; /* place of the message that is under way alone, 0: none */

	/* a ring of window_events, the oldest at "first", whose tag is first_tag */
	Pending *pending;
	int first;
	int count;
	uint64_t first_tag;
	size_t bytes;
	double progress; /* clock when something was confirmed last */
} AmqpTarget;

/* ---- failures ---- */

static TargetResult
fail_status(AmqpTarget *t, const char *what, int status)
{
	bool is_for_a_person = status == AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED;

	return target_fail(t, is_for_a_person ? TARGET_STOP : TARGET_AWAY,
					   "%s: %s: %s", t->base.config->shown_target, what,
					   amqp_error_string2(status));
}

/* The broker has closed the channel or the connection. */
static TargetResult
fail_closed(AmqpTarget *t, int code, amqp_bytes_t text)
{
	TargetResult result = TARGET_AWAY;

	if (code == AMQP_ACCESS_REFUSED || code == AMQP_NOT_FOUND ||
		code == AMQP_NOT_ALLOWED || code == AMQP_INVALID_PATH ||
		code == AMQP_PRECONDITION_FAILED)
		result = TARGET_STOP;
	return target_fail(t, result, "%s: %.*s", t->base.config->shown_target,
					   (int) text.len, (char *) text.bytes);
}

/* What a call came to that asks the broker. */
static TargetResult
judge(AmqpTarget *t, const char *what, amqp_rpc_reply_t reply)
{
	if (reply.reply_type == AMQP_RESPONSE_NORMAL)
		return TARGET_OK;
	if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
		return fail_status(t, what, reply.library_error);
	if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD)
	{
		const amqp_connection_close_t *close = reply.reply.decoded;

		return fail_closed(t, close->reply_code, close->reply_text);
	}
	if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD)
	{
		const amqp_channel_close_t *close = reply.reply.decoded;

		return fail_closed(t, close->reply_code, close->reply_text);
	}
	return target_fail(t, TARGET_AWAY, "%s: %s: no answer to understand",
					   t->base.config->shown_target, what);
}

/* ---- connecting ---- */

static struct timeval
make_timeval(double seconds)
{
	struct timeval tv = {.tv_sec = (time_t) seconds,
						 .tv_usec = (suseconds_t) (fmod(seconds, 1) * 1000000)};

	return tv;
}

/* A socket that verifies the broker; NULL, with the failure noted. */
static amqp_socket_t *
make_ssl_socket(AmqpTarget *t)
{
	const RelayConfig *config = t->base.config;
	const char *ca = config->tls_ca ? config->tls_ca : SYSTEM_CA;
	amqp_socket_t *socket = amqp_ssl_socket_new(t->conn);

	if (socket == NULL)
		abort();
	amqp_ssl_socket_set_verify_peer(socket, 1);
	amqp_ssl_socket_set_verify_hostname(socket, 1);
	amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST);
	if (amqp_ssl_socket_set_cacert(socket, ca) != AMQP_STATUS_OK)
		target_fail(t, TARGET_STOP, "could not read certificates of %s", ca);
	else if (config->tls_cert &&
			 amqp_ssl_socket_set_key(socket, config->tls_cert,
									 config->tls_key
										 ? config->tls_key
										 : config->tls_cert) != AMQP_STATUS_OK)
		target_fail(t, TARGET_STOP, "could not read tls_cert and tls_key");
	else
		return socket;
	return NULL;
}

static TargetResult
open_socket(AmqpTarget *t, const struct amqp_connection_info *info)
{
	const RelayConfig *config = t->base.config;
	struct timeval patience = make_timeval(config->stall_release);
	unsigned msec = (unsigned) (config->stall_release * 1000);
	amqp_socket_t *socket;
	int status;
	int fd;

	socket = info->ssl || config->tls ? make_ssl_socket(t)
									  : amqp_tcp_socket_new(t->conn);
	if (socket == NULL)
		return t->base.result;
	status = amqp_socket_open_noblock(socket, info->host, info->port,
									  &patience);
	/* the library does not tell more */
	if (status == AMQP_STATUS_SSL_PEER_VERIFY_FAILED)
		return target_fail(t, TARGET_STOP,
						   "%s: the certificate has expired, or is of no "
						   "authority that tls_ca names",
						   config->shown_target);
	if (status == AMQP_STATUS_SSL_CONNECTION_FAILED)
		return target_fail(t, TARGET_STOP,
						   "%s: TLS failed: is it a port with TLS, and does it "
						   "want a certificate of ours, tls_cert?",
						   config->shown_target);
	if (status != AMQP_STATUS_OK)
		return fail_status(t, "no connection", status);
	/* a broker that is short of memory reads no more, and sending would wait */
	fd = amqp_get_sockfd(t->conn);
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &msec, sizeof(msec));
	return TARGET_OK;
}

static amqp_table_entry_t
make_flag(const char *name)
{
	amqp_table_entry_t entry = {.key = amqp_cstring_bytes(name)};

	entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
	entry.value.value.boolean = 1;
	return entry;
}

static TargetResult
log_in(AmqpTarget *t, const struct amqp_connection_info *info)
{
	const RelayConfig *config = t->base.config;
	char *password = target_password(config);
	amqp_table_entry_t flags[] = {make_flag("authentication_failure_close"),
								  make_flag("publisher_confirms"),
								  make_flag("basic.nack"),
								  make_flag("connection.blocked")};
	amqp_table_entry_t ours[2] = {
		{.key = amqp_cstring_bytes("capabilities")},
		{.key = amqp_cstring_bytes("connection_name")}};
	amqp_table_t properties = {.num_entries = 2, .entries = ours};
	amqp_rpc_reply_t reply;

	ours[0].value.kind = AMQP_FIELD_KIND_TABLE;
	ours[0].value.value.table.num_entries = sizeof(flags) / sizeof(flags[0]);
	ours[0].value.value.table.entries = flags;
	ours[1].value.kind = AMQP_FIELD_KIND_UTF8;
	ours[1].value.value.bytes = amqp_cstring_bytes(config->consumer);
	reply = amqp_login_with_properties(t->conn, info->vhost, 0,
									   AMQP_DEFAULT_FRAME_SIZE, HEARTBEAT,
									   &properties, AMQP_SASL_METHOD_PLAIN,
									   config->user ? config->user : info->user,
									   password ? password : info->password);
	free(password);
	return judge(t, "no login", reply);
}

/* A channel with confirms, and the exchange is there. */
static TargetResult
open_channel(AmqpTarget *t)
{
	const char *exchange = t->base.config->exchange;
	TargetResult result;

	amqp_channel_open(t->conn, CHANNEL);
	result = judge(t, "no channel", amqp_get_rpc_reply(t->conn));
	if (result == TARGET_OK && exchange)
	{
		/* passive: its type is not looked at */
		amqp_exchange_declare(t->conn, CHANNEL, amqp_cstring_bytes(exchange),
							  amqp_cstring_bytes("direct"), 1, 0, 0, 0,
							  amqp_empty_table);
		result = judge(t, exchange, amqp_get_rpc_reply(t->conn));
	}
	if (result == TARGET_OK)
	{
		amqp_confirm_select(t->conn, CHANNEL);
		result = judge(t, "no confirms", amqp_get_rpc_reply(t->conn));
	}
	return result;
}

static Target *
amqp_open(const RelayConfig *config)
{
	AmqpTarget *t = target_make(sizeof(AmqpTarget), config);
	struct timeval patience = make_timeval(config->stall_release);
	struct amqp_connection_info info;
	char *url = text_copy(config->target);
	TargetResult result;

	t->pending = memory_make(config->window_events * sizeof(Pending));
	t->first_tag = 1;
	t->conn = amqp_new_connection();
	if (t->conn == NULL)
		abort();
	if (amqp_parse_url(url, &info) != AMQP_STATUS_OK)
		target_fail(t, TARGET_STOP,
					"%s is no address like amqp://localhost:5672/vhost",
					config->shown_target);
	else
	{
		amqp_set_handshake_timeout(t->conn, &patience);
		amqp_set_rpc_timeout(t->conn, &patience);
		result = open_socket(t, &info);
		if (result == TARGET_OK)
			result = log_in(t, &info);
		if (result == TARGET_OK)
			result = open_channel(t);
		t->base.result = result;
	}
	free(url);
	return &t->base;
}

static void
amqp_close(Target *target)
{
	AmqpTarget *t = (AmqpTarget *) target;

	/* nothing is said: the broker might not listen */
	amqp_destroy_connection(t->conn);
	free(t->pending);
	free(t);
}

/* ---- what the broker says ---- */

/* Forget confirmed messages that have none unconfirmed before them. */
static void
shift_window(AmqpTarget *t)
{
	while (t->count > 0 && t->pending[t->first].confirmed)
	{
		t->base.acked = t->pending[t->first].place;
		t->bytes -= t->pending[t->first].bytes;
		t->first = (t->first + 1) % t->base.config->window_events;
		t->first_tag++;
		t->count--;
	}
}

static void
note_confirm(AmqpTarget *t, uint64_t tag, bool and_before)
{
	int most = t->base.config->window_events;

	/* tag 0: all of them */
	for (int i = 0; i < t->count; i++)
	{
		uint64_t this = t->first_tag + (uint64_t) i;

		if (this == tag || (and_before && (this < tag || tag == 0)))
			t->pending[(t->first + i) % most].confirmed = true;
	}
	t->progress = clock_seconds();
	shift_window(t);
}

static int64_t
find_place(const amqp_basic_properties_t *properties)
{
	const amqp_table_t *headers = &properties->headers;

	for (int i = 0; i < headers->num_entries; i++)
	{
		const amqp_table_entry_t *e = &headers->entries[i];
		char text[32];

		if (e->key.len != strlen("Pgq-Place") ||
			memcmp(e->key.bytes, "Pgq-Place", e->key.len) != 0 ||
			e->value.kind != AMQP_FIELD_KIND_UTF8)
			continue;
		snprintf(text, sizeof(text), "%.*s", (int) e->value.value.bytes.len,
				 (char *) e->value.value.bytes.bytes);
		return strtoll(text, NULL, 10);
	}
	return 0;
}

/* No queue took a message: it comes back, before it is confirmed. */
static TargetResult
take_return(AmqpTarget *t, const amqp_basic_return_t *returned)
{
	const char *exchange = t->base.config->exchange;
	char key[SHORT_STRING_MAX + 1];
	char why[64];
	amqp_message_t message;
	int64_t place;
	TargetResult result;

	snprintf(key, sizeof(key), "%.*s", (int) returned->routing_key.len,
			 (char *) returned->routing_key.bytes);
	snprintf(why, sizeof(why), "%.*s", (int) returned->reply_text.len,
			 (char *) returned->reply_text.bytes);
	result = judge(t, "a returned message",
				   amqp_read_message(t->conn, CHANNEL, &message, 0));
	if (result != TARGET_OK)
		return result;
	place = find_place(&message.properties);
	amqp_destroy_message(&message);
	result = t->alone == place ? TARGET_REFUSED : TARGET_AWAY;
	if (place > t->base.suspect)
		t->base.suspect = place;
	return target_fail(
		t, result,
		"no queue takes messages of exchange \"%s\" with routing "
		"key \"%s\" (%s)",
		exchange ? exchange : "", key, why);
}

/*
 * The broker has closed the channel: for one of those under way, if that is too
 * large.
 */
static TargetResult
take_channel_close(AmqpTarget *t, const amqp_channel_close_t *close)
{
	int most = t->base.config->window_events;
	bool is_alone = t->alone != 0;
	int64_t place;
	char text[256];
	amqp_channel_close_ok_t ok = {0};

	if (close->reply_code != AMQP_PRECONDITION_FAILED || t->count == 0)
		return fail_closed(t, close->reply_code, close->reply_text);
	snprintf(text, sizeof(text), "%.*s", (int) close->reply_text.len,
			 (char *) close->reply_text.bytes);
	place = t->pending[(t->first + t->count - 1) % most].place;
	/* another behind it may be known by now */
	if (place > t->base.suspect)
		t->base.suspect = place;
	if (is_alone)
	{
		TargetResult result;

		t->count = 0;
		t->bytes = 0;
		t->first_tag = 1;
		amqp_send_method(t->conn, CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
		result = open_channel(t);
		if (result != TARGET_OK)
			return result;
	}
	return target_fail(t, is_alone ? TARGET_REFUSED : TARGET_AWAY, "%s", text);
}

static TargetResult
take_method(AmqpTarget *t, const amqp_method_t *method)
{
	switch (method->id)
	{
		case AMQP_BASIC_ACK_METHOD:
		{
			const amqp_basic_ack_t *ack = method->decoded;

			note_confirm(t, ack->delivery_tag, ack->multiple);
			return TARGET_OK;
		}
		case AMQP_BASIC_NACK_METHOD:
			return target_fail(t, TARGET_AWAY,
							   "the broker did not take a message: a queue may "
							   "be full");
		case AMQP_BASIC_RETURN_METHOD:
			return take_return(t, method->decoded);
		case AMQP_CHANNEL_CLOSE_METHOD:
			return take_channel_close(t, method->decoded);
		case AMQP_CONNECTION_CLOSE_METHOD:
		{
			const amqp_connection_close_t *close = method->decoded;

			return fail_closed(t, close->reply_code, close->reply_text);
		}
		case AMQP_CONNECTION_BLOCKED_METHOD:
			t->blocked = true;
			return TARGET_OK;
		case AMQP_CONNECTION_UNBLOCKED_METHOD:
			t->blocked = false;
			return TARGET_OK;
		default:
			return TARGET_OK;
	}
}

/* Take what the broker says, waiting so many seconds for the first of it. */
static TargetResult
receive(AmqpTarget *t, double seconds)
{
	TargetResult result = TARGET_OK;

	while (result == TARGET_OK)
	{
		struct timeval tv = make_timeval(seconds);
		amqp_frame_t frame;
		int status = amqp_simple_wait_frame_noblock(t->conn, &frame, &tv);

		if (status == AMQP_STATUS_TIMEOUT)
			return TARGET_OK;
		if (status != AMQP_STATUS_OK)
			return fail_status(t, "connection lost", status);
		if (frame.frame_type == AMQP_FRAME_METHOD)
			result = take_method(t, &frame.payload.method);
		amqp_maybe_release_buffers(t->conn);
		seconds = 0;
	}
	return result;
}

/* Wait until no more than so many messages, and bytes, are not confirmed. */
static TargetResult
wait_for_confirms(AmqpTarget *t, int most, size_t most_bytes)
{
	double patience = t->base.config->stall_release;
	TargetResult result = TARGET_OK;

	while (result == TARGET_OK &&
		   (t->count > most || t->bytes > most_bytes || t->blocked))
	{
		if (clock_seconds() - t->progress > patience)
			return target_fail(t, TARGET_AWAY,
							   t->blocked
								   ? "the broker has blocked who publishes: it "
									 "is short of memory or disk"
								   : "no confirm for %.0f s",
							   patience);
		result = receive(t, 1);
	}
	return result;
}

/* ---- the calls ---- */

static TargetResult
amqp_where(Target *target, const TargetBatch *batch, int64_t *done)
{
	AmqpTarget *t = (AmqpTarget *) target;
	TargetResult result;

	/* of a batch that was given up */
	t->progress = clock_seconds();
	result = wait_for_confirms(t, 0, 0);
	if (result == TARGET_OK)
		result = receive(t, 0);
	t->base.acked = *done = batch->acked;
	return result;
}

/* What AMQP has no room for. */
static TargetResult
check_message(AmqpTarget *t, const RelayMessage *message)
{
	size_t most = (size_t) amqp_get_frame_max(t->conn) - PROPERTY_ROOM;
	size_t headers = 0;

	if (strlen(message->address) > SHORT_STRING_MAX ||
		strlen(message->id) > SHORT_STRING_MAX)
		return target_fail(t, TARGET_REFUSED,
						   "its routing key or its id is longer than %d bytes",
						   SHORT_STRING_MAX);
	for (int i = 0; i < message->nheaders; i++)
		headers += strlen(message->headers[i].name) +
				   strlen(message->headers[i].value) + 6;
	if (headers > most)
		return target_fail(t, TARGET_REFUSED,
						   "it has %zu bytes of headers, and the broker takes "
						   "%zu",
						   headers, most);
	return TARGET_OK;
}

static int
publish(AmqpTarget *t, const RelayMessage *message)
{
	const char *exchange = t->base.config->exchange;
	amqp_table_entry_t headers[MESSAGE_HEADERS];
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG |
				  AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_APP_ID_FLAG |
				  AMQP_BASIC_HEADERS_FLAG,
		.content_type = amqp_cstring_bytes(message->content_type),
		.delivery_mode = AMQP_DELIVERY_PERSISTENT,
		.message_id = amqp_cstring_bytes(message->id),
		.app_id = amqp_cstring_bytes("pgqrelay"),
		.headers = {.num_entries = message->nheaders, .entries = headers}};
	amqp_bytes_t body = {.len = message->body_len,
						 .bytes = (void *) message->body};

	for (int i = 0; i < message->nheaders; i++)
	{
		headers[i].key = amqp_cstring_bytes(message->headers[i].name);
		headers[i].value.kind = AMQP_FIELD_KIND_UTF8;
		headers[i].value.value.bytes = amqp_cstring_bytes(
			message->headers[i].value);
	}
	return amqp_basic_publish(
		t->conn, CHANNEL, amqp_cstring_bytes(exchange ? exchange : ""),
		amqp_cstring_bytes(message->address), 1, 0, &properties, body);
}

static TargetResult
amqp_send(Target *target, const RelayMessage *message)
{
	AmqpTarget *t = (AmqpTarget *) target;
	int most = t->base.config->window_events;
	TargetResult result = check_message(t, message);
	int status;

	if (result == TARGET_OK)
		result = receive(t, 0);
	if (t->count == 0)
		t->progress = clock_seconds();
	if (result == TARGET_OK)
		result = wait_for_confirms(t, most - 1, t->base.config->window_bytes);
	if (result != TARGET_OK)
		return result;
	status = publish(t, message);
	if (status != AMQP_STATUS_OK)
		return fail_status(t, "could not publish", status);
	t->pending[(t->first + t->count++) % most] = (Pending){
		.place = message->place, .bytes = message->body_len};
	t->bytes += message->body_len;
	if (message->place <= t->base.suspect)
	{
		t->alone = message->place;
		result = wait_for_confirms(t, 0, 0);
		t->alone = 0;
	}
	return result;
}

static TargetResult
amqp_flush(Target *target, char **bookmark)
{
	(void) bookmark;
	return wait_for_confirms((AmqpTarget *) target, 0, 0);
}

/* Heartbeats are sent by the library's calls alone. */
static TargetResult
amqp_idle(Target *target)
{
	return receive((AmqpTarget *) target, 0);
}

/* A key's words are what is between dots; * and # are for who binds. */
static void
escape_word(PQExpBuffer out, const char *text)
{
	for (; *text; text++)
		if (strchr(".*#%", *text))
			appendPQExpBuffer(out, "%%%02X", (unsigned char) *text);
		else
			appendPQExpBufferChar(out, *text);
}

/* The default exchange's routing keys are names of queues. */
static bool
is_queue(const RelayConfig *config)
{
	return config->exchange == NULL;
}

static const char *
amqp_library(void)
{
	static char text[48];

	snprintf(text, sizeof(text), "librabbitmq %s", amqp_version());
	return text;
}

const TargetClass target_amqp = {
	.scheme = "amqp",
	.promise = "RabbitMQ, at least once",
	.keys = (const char *const[]){"exchange", "routing_key", "user", "password",
								  "password_file", "tls", "tls_ca", "tls_cert",
								  "tls_key", NULL},
	.address_offset = offsetof(RelayConfig, routing_key),
	.escape = escape_word,
	.is_name = is_queue,
	.library = amqp_library,
	.open = amqp_open,
	.where = amqp_where,
	.send = amqp_send,
	.flush = amqp_flush,
	.idle = amqp_idle,
	.close = amqp_close};
