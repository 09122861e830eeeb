/*
 * engine.c: what an engine takes from a program that has its messages in memory, and
 * when its readers get them.
 *
 *	engine publish ENGINE ADDRESS STREAM COUNT BYTES
 *		the same messages as the relay's, with the same library and window: prints
 *		the seconds that they took to be acknowledged
 *	engine watch ENGINE ADDRESS STREAM
 *		prints each new message's body, and when it came, in seconds of 1970
 *
 * ENGINE is nats or redis, or kafka, which has a watcher in kafka_tool.c.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef HAVE_NATS
#include <nats/nats.h>
#endif
#ifdef HAVE_HIREDIS
#include <hiredis/hiredis.h>
#endif
#ifdef HAVE_RDKAFKA
#include <librdkafka/rdkafka.h>
#endif

#define WINDOW 1000
#define KAFKA_WINDOW "10000"
#define SOURCE "bench/q/relay_r"
#define TIME "2026-12-01 01:11:50.123456+00"

static const char *address;
static const char *stream;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "engine: %s: %s\n", what, why);
	exit(1);
}

static double
now(int clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void
print_arrival(const char *body, int len)
{
	printf("%.*s %.6f\n", len, body, now(CLOCK_REALTIME));
	fflush(stdout);
}

#ifdef HAVE_NATS

static void
check_nats(natsStatus s)
{
	if (s != NATS_OK)
		die("nats", natsStatus_GetText(s));
}

static jsCtx *
connect_nats(void)
{
	natsConnection *conn;
	jsCtx *js;
	jsOptions options;

	check_nats(natsConnection_ConnectTo(&conn, address));
	jsOptions_Init(&options);
	options.PublishAsync.MaxPending = WINDOW;
	options.PublishAsync.StallWait = 10000;
	check_nats(natsConnection_JetStream(&js, conn, &options));
	return js;
}

static void
publish_nats(long count, char *body, int len)
{
	jsCtx *js = connect_nats();

	for (long i = 1; i <= count; i++)
	{
		natsMsg *msg;
		char text[32];

		check_nats(natsMsg_Create(&msg, stream, NULL, body, len));
		snprintf(text, sizeof(text), "%ld", i - 1);
		natsMsgHeader_Set(msg, "Nats-Expected-Last-Sequence", text);
		natsMsgHeader_Set(msg, "Nats-Expected-Stream", stream);
		snprintf(text, sizeof(text), "q/%ld", i);
		natsMsgHeader_Set(msg, "Nats-Msg-Id", text);
		natsMsgHeader_Set(msg, "Content-Type", "text/plain; charset=UTF-8");
		natsMsgHeader_Set(msg, "Pgq-Source", SOURCE);
		natsMsgHeader_Set(msg, "Pgq-Batch", "1");
		natsMsgHeader_Set(msg, "Pgq-Tick", "1796084021102286");
		natsMsgHeader_Set(msg, "Pgq-Place", text);
		natsMsgHeader_Set(msg, "Pgq-Time", TIME);
		natsMsgHeader_Set(msg, "Pgq-Type", "I:id");
		natsMsgHeader_Set(msg, "Pgq-Extra1", "public.t");
		check_nats(js_PublishMsgAsync(js, &msg, NULL));
	}
	check_nats(js_PublishAsyncComplete(js, NULL));
}

static void
watch_nats(void)
{
	jsCtx *js = connect_nats();
	natsSubscription *sub;
	jsSubOptions options;
	jsErrCode code;

	jsSubOptions_Init(&options);
	options.Ordered = true;
	options.Config.DeliverPolicy = js_DeliverNew;
	check_nats(js_SubscribeSync(&sub, js, stream, NULL, &options, &code));
	puts("ready");
	fflush(stdout);
	for (;;)
	{
		natsMsg *msg;

		if (natsSubscription_NextMsg(&msg, sub, 1000) != NATS_OK)
			continue;
		print_arrival(natsMsg_GetData(msg), natsMsg_GetDataLength(msg));
		natsMsg_Destroy(msg);
	}
}

#endif

#ifdef HAVE_HIREDIS

static redisContext *
connect_redis(void)
{
	char host[64];
	int port;
	redisContext *conn;

	if (sscanf(address, "redis://%63[^:]:%d", host, &port) != 2)
		die("redis", address);
	conn = redisConnect(host, port);
	if (conn == NULL || conn->err)
		die("redis", "no connection");
	return conn;
}

static void
end_transaction(redisContext *conn, int answers)
{
	redisAppendCommand(conn, "EXEC");
	for (int i = 0; i < answers + 2; i++)
	{
		redisReply *reply;

		if (redisGetReply(conn, (void **) &reply) != REDIS_OK ||
			reply->type == REDIS_REPLY_ERROR)
			die("redis", conn->errstr);
		freeReplyObject(reply);
	}
}

static void
publish_redis(long count, char *body, int len)
{
	redisContext *conn = connect_redis();
	int sent = 0;

	for (long i = 1; i <= count; i++)
	{
		char id[32];
		char place[32];
		char event[32];
		const char *words[] = {"XADD",      stream,   id,          "id",
							   event,       "Pgq-Source", SOURCE,  "Pgq-Batch",
							   "1",         "Pgq-Tick", "1796084021102286",
							   "Pgq-Place", place,    "Pgq-Time",  TIME,
							   "Pgq-Type",  "I:id",   "Pgq-Extra1", "public.t",
							   "body",      body};
		size_t lengths[sizeof(words) / sizeof(words[0])];
		int n = sizeof(words) / sizeof(words[0]);

		snprintf(id, sizeof(id), "1-%ld", i);
		snprintf(place, sizeof(place), "%ld", i);
		snprintf(event, sizeof(event), "q/%ld", i);
		for (int w = 0; w < n; w++)
			lengths[w] = strlen(words[w]);
		if (sent == 0)
			redisAppendCommand(conn, "MULTI");
		redisAppendCommandArgv(conn, n, words, lengths);
		if (++sent == WINDOW || i == count)
		{
			end_transaction(conn, sent);
			sent = 0;
		}
	}
	(void) len;
}

static void
watch_redis(void)
{
	redisContext *conn = connect_redis();
	char last[64] = "$";

	puts("ready");
	fflush(stdout);
	for (;;)
	{
		redisReply *reply =
			redisCommand(conn, "XREAD BLOCK 0 STREAMS %s %s", stream, last);
		redisReply *entries;

		if (reply == NULL || reply->type != REDIS_REPLY_ARRAY)
			die("redis", conn->errstr);
		entries = reply->element[0]->element[1];
		for (size_t i = 0; i < entries->elements; i++)
		{
			redisReply *fields = entries->element[i]->element[1];
			redisReply *body = fields->element[fields->elements - 1];

			print_arrival(body->str, (int) body->len);
			snprintf(last, sizeof(last), "%s", entries->element[i]->element[0]->str);
		}
		freeReplyObject(reply);
	}
}

#endif

#ifdef HAVE_RDKAFKA

static void
check_kafka(rd_kafka_error_t *error)
{
	if (error)
		die("kafka", rd_kafka_error_string(error));
}

static void
note_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *arg)
{
	if (message->err)
		die("kafka", rd_kafka_err2str(message->err));
}

static rd_kafka_t *
connect_kafka(void)
{
	const char *settings[][2] = {{"bootstrap.servers", address},
								 {"transactional.id", stream},
								 {"partitioner", "murmur2_random"},
								 {"linger.ms", "20"},
								 {"queue.buffering.max.messages", KAFKA_WINDOW}};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];
	rd_kafka_t *client;

	address += strlen("kafka://");
	settings[0][1] = address;
	rd_kafka_conf_set_dr_msg_cb(conf, note_delivery);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why,
							  sizeof(why)))
			die("kafka", why);
	client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	if (client == NULL)
		die("kafka", why);
	check_kafka(rd_kafka_init_transactions(client, 30000));
	return client;
}

/* Transactions of five seconds, as the relay's. */
static void
publish_kafka(long count, char *body, int len)
{
	rd_kafka_t *client = connect_kafka();
	rd_kafka_topic_t *topic = rd_kafka_topic_new(client, stream, NULL);
	double began = now(CLOCK_MONOTONIC);

	check_kafka(rd_kafka_begin_transaction(client));
	for (long i = 1; i <= count; i++)
	{
		char id[32];

		snprintf(id, sizeof(id), "q/%ld", i);
		for (;;)
		{
			rd_kafka_headers_t *headers = rd_kafka_headers_new(9);
			rd_kafka_resp_err_t code;

			rd_kafka_header_add(headers, "Pgq-Id", -1, id, -1);
			rd_kafka_header_add(headers, "content-type", -1,
								"text/plain; charset=UTF-8", -1);
			rd_kafka_header_add(headers, "Pgq-Source", -1, SOURCE, -1);
			rd_kafka_header_add(headers, "Pgq-Batch", -1, "1", -1);
			rd_kafka_header_add(headers, "Pgq-Tick", -1, "1796084021102286", -1);
			rd_kafka_header_add(headers, "Pgq-Place", -1, id + 2, -1);
			rd_kafka_header_add(headers, "Pgq-Time", -1, TIME, -1);
			rd_kafka_header_add(headers, "Pgq-Type", -1, "I:id", -1);
			rd_kafka_header_add(headers, "Pgq-Extra1", -1, "public.t", -1);
			code = rd_kafka_producev(
				client, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_KEY(id + 2, strlen(id + 2)),
				RD_KAFKA_V_VALUE(body, len),
				RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
				RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
			if (code == 0)
				break;
			rd_kafka_headers_destroy(headers);
			if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
				die("kafka", rd_kafka_err2str(code));
			while (rd_kafka_outq_len(client) > atoi(KAFKA_WINDOW) * 3 / 4)
				rd_kafka_poll(client, 100);
		}
		rd_kafka_poll(client, 0);
		if (now(CLOCK_MONOTONIC) - began > 5)
		{
			check_kafka(rd_kafka_commit_transaction(client, 30000));
			check_kafka(rd_kafka_begin_transaction(client));
			began = now(CLOCK_MONOTONIC);
		}
	}
	check_kafka(rd_kafka_commit_transaction(client, 30000));
}

#endif

int
main(int argc, char **argv)
{
	int publishes = argc > 5 && strcmp(argv[1], "publish") == 0;
	long count = publishes ? atol(argv[5]) : 0;
	int len = publishes ? atoi(argv[6]) : 0;
	char *body = calloc(1, len + 1);
	double began = now(CLOCK_MONOTONIC);
	char engine = argc > 2 ? argv[2][0] : '?';

	if (argc < 5)
		die("usage", "see its source");
	memset(body, 'x', len);
	address = argv[3];
	stream = argv[4];
#ifdef HAVE_NATS
	if (engine == 'n')
		publishes ? publish_nats(count, body, len) : watch_nats();
#endif
#ifdef HAVE_HIREDIS
	if (engine == 'r')
		publishes ? publish_redis(count, body, len) : watch_redis();
#endif
#ifdef HAVE_RDKAFKA
	if (engine == 'k')
		publish_kafka(count, body, len);
#endif
	printf("%.3f\n", now(CLOCK_MONOTONIC) - began);
	fflush(stdout);
	_Exit(0);
}
