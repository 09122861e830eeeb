/*
 * kafka_tool.c: what tests ask of Kafka.
 *
 *	kafka_tool mock BROKERS			a cluster of librdkafka's own, until stdin
 *									ends; prints its address, then obeys lines:
 *									topic NAME PARTITIONS, says TOPIC CODE,
 *									down ID, up ID,
 *									error API TIMES CODE, delay ID MSEC
 *	kafka_tool SERVERS create TOPIC PARTITIONS REPLICAS [NAME=VALUE]...
 *	kafka_tool SERVERS delete TOPIC
 *	kafka_tool SERVERS empty TOPIC			all that is there is gone
 *	kafka_tool SERVERS allow TOPIC PRINCIPAL	who may do all with it, and no one else
 *	kafka_tool SERVERS dump TOPIC [uncommitted]	a line of JSON each message
 *	kafka_tool SERVERS put TOPIC PARTITION KEY VALUE
 *	kafka_tool SERVERS hold TOPIC PARTITION ID	a transaction open until stdin ends
 *	kafka_tool SERVERS busy TOPIC PARTITION ID	transactions of two, one of which is
 *									always open, until stdin ends
 *	kafka_tool SERVERS watch TOPIC		place, and msec since 1970, of each message
 *
 * KAFKA_OPTIONS of the environment has name=value, blanks between.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#define PATIENCE 20000

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "kafka_tool: %s: %s\n", what, why);
	exit(1);
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char why[256];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) !=
		RD_KAFKA_CONF_OK)
		die(name, why);
}

static void
note_delivery(rd_kafka_t *client, const rd_kafka_message_t *message, void *arg)
{
	if (message->err)
		die("produce", rd_kafka_err2str(message->err));
}

static rd_kafka_t *
connect_to(const char *servers, rd_kafka_type_t type, const char *id,
		   bool committed)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char *options = strdup(getenv("KAFKA_OPTIONS") ? getenv("KAFKA_OPTIONS") : "");
	char why[256];
	rd_kafka_t *client;
	char *word;

	set(conf, "bootstrap.servers", servers);
	set(conf, "log_level", "0");
	if (id)
		set(conf, "transactional.id", id);
	if (type == RD_KAFKA_CONSUMER)
	{
		set(conf, "isolation.level",
			committed ? "read_committed" : "read_uncommitted");
		set(conf, "enable.partition.eof", "true");
		set(conf, "fetch.wait.max.ms", "20");
	}
	else
		rd_kafka_conf_set_dr_msg_cb(conf, note_delivery);
	while ((word = strsep(&options, " ")) != NULL)
	{
		char *value = strchr(word, '=');

		if (value == NULL)
			continue;
		*value++ = '\0';
		set(conf, word, value);
	}
	client = rd_kafka_new(type, conf, why, sizeof(why));
	if (client == NULL)
		die("connect", why);
	return client;
}

/* ---- administration ---- */

static void
check_topics(const rd_kafka_topic_result_t **results, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (rd_kafka_topic_result_error(results[i]))
			die(rd_kafka_topic_result_name(results[i]),
				rd_kafka_topic_result_error_string(results[i]));
}

static rd_kafka_event_t *
wait_for_event(rd_kafka_queue_t *queue)
{
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, PATIENCE);

	if (event == NULL)
		die("administration", "no answer");
	if (rd_kafka_event_error(event))
		die("administration", rd_kafka_event_error_string(event));
	return event;
}

static void
create(rd_kafka_t *client, int argc, char **argv)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
	char why[256];
	rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(
		argv[0], atoi(argv[1]), atoi(argv[2]), why, sizeof(why));
	const rd_kafka_topic_result_t **results;
	size_t n;

	if (topic == NULL)
		die("create", why);
	for (int i = 3; i < argc; i++)
	{
		char *value = strchr(argv[i], '=');

		*value++ = '\0';
		rd_kafka_NewTopic_set_config(topic, argv[i], value);
	}
	rd_kafka_CreateTopics(client, &topic, 1, NULL, queue);
	results = rd_kafka_CreateTopics_result_topics(
		rd_kafka_event_CreateTopics_result(wait_for_event(queue)), &n);
	check_topics(results, n);
}

static void
delete (rd_kafka_t *client, const char *name)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
	rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
	const rd_kafka_topic_result_t **results;
	size_t n;

	rd_kafka_DeleteTopics(client, &topic, 1, NULL, queue);
	results = rd_kafka_DeleteTopics_result_topics(
		rd_kafka_event_DeleteTopics_result(wait_for_event(queue)), &n);
	check_topics(results, n);
}

static void
allow(rd_kafka_t *client, const char *topic, const char *principal)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
	char why[256];
	rd_kafka_AclBinding_t *binding = rd_kafka_AclBinding_new(
		RD_KAFKA_RESOURCE_TOPIC, topic, RD_KAFKA_RESOURCE_PATTERN_LITERAL,
		principal, "*", RD_KAFKA_ACL_OPERATION_ALL,
		RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, why, sizeof(why));
	const rd_kafka_acl_result_t **results;
	size_t n;

	if (binding == NULL)
		die("allow", why);
	rd_kafka_CreateAcls(client, &binding, 1, NULL, queue);
	results = rd_kafka_CreateAcls_result_acls(
		rd_kafka_event_CreateAcls_result(wait_for_event(queue)), &n);
	for (size_t i = 0; i < n; i++)
		if (rd_kafka_acl_result_error(results[i]))
			die("allow",
				rd_kafka_error_string(rd_kafka_acl_result_error(results[i])));
}

static int
count_partitions(rd_kafka_t *client, const char *name)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(client, name, NULL);
	const struct rd_kafka_metadata *found;
	rd_kafka_resp_err_t code =
		rd_kafka_metadata(client, 0, topic, &found, PATIENCE);
	int n;

	if (code || found->topics[0].err)
		die(name, rd_kafka_err2str(code ? code : found->topics[0].err));
	n = found->topics[0].partition_cnt;
	rd_kafka_metadata_destroy(found);
	rd_kafka_topic_destroy(topic);
	return n;
}

static void
empty(rd_kafka_t *client, const char *name)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
	int n = count_partitions(client, name);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
	rd_kafka_DeleteRecords_t *records;

	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, name, i)->offset =
			RD_KAFKA_OFFSET_END;
	records = rd_kafka_DeleteRecords_new(list);
	rd_kafka_DeleteRecords(client, &records, 1, NULL, queue);
	wait_for_event(queue);
}

/* ---- reading ---- */

static json_t *
text_of(const void *bytes, size_t len)
{
	return bytes ? json_stringn_nocheck(bytes, len) : json_null();
}

static void
print_message(const rd_kafka_message_t *message)
{
	json_t *line = json_object();
	json_t *headers = json_object();
	rd_kafka_headers_t *found = NULL;
	const char *name;
	const void *value;
	size_t size;

	if (rd_kafka_message_headers(message, &found) == 0)
		for (size_t i = 0;
			 rd_kafka_header_get_all(found, i, &name, &value, &size) == 0; i++)
			json_object_set_new(headers, name, text_of(value, size));
	json_object_set_new(line, "partition", json_integer(message->partition));
	json_object_set_new(line, "offset", json_integer(message->offset));
	json_object_set_new(line, "key", text_of(message->key, message->key_len));
	json_object_set_new(line, "value", text_of(message->payload, message->len));
	json_object_set_new(line, "headers", headers);
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(line);
}

static void
dump(rd_kafka_t *client, const char *name)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(client, name, NULL);
	int n = count_partitions(client, name);

	for (int i = 0; i < n; i++)
	{
		bool at_end = false;

		if (rd_kafka_consume_start(topic, i, RD_KAFKA_OFFSET_BEGINNING) < 0)
			die(name, rd_kafka_err2str(rd_kafka_last_error()));
		while (!at_end)
		{
			rd_kafka_message_t *message =
				rd_kafka_consume(topic, i, PATIENCE);

			if (message == NULL)
				die(name, "no answer");
			at_end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
			if (!message->err)
				print_message(message);
			else if (!at_end)
				die(name, rd_kafka_message_errstr(message));
			rd_kafka_message_destroy(message);
		}
		rd_kafka_consume_stop(topic, i);
	}
	rd_kafka_topic_destroy(topic);
}

/* Messages that come from now on, all partitions, until we are ended. */
static void
watch(rd_kafka_t *client, const char *name)
{
	rd_kafka_topic_t *topic = rd_kafka_topic_new(client, name, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
	int n = count_partitions(client, name);

	for (int i = 0; i < n; i++)
		if (rd_kafka_consume_start_queue(topic, i, RD_KAFKA_OFFSET_END, queue) < 0)
			die(name, rd_kafka_err2str(rd_kafka_last_error()));
	for (;;)
	{
		rd_kafka_message_t *message = rd_kafka_consume_queue(queue, 1000);
		struct timespec now;

		if (message == NULL)
			continue;
		clock_gettime(CLOCK_REALTIME, &now);
		if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		{
			if (--n == 0)
				puts("ready");
		}
		else if (!message->err && message->payload)
			printf("%.*s %.6f\n", (int) message->len, (char *) message->payload,
				   now.tv_sec + now.tv_nsec / 1e9);
		rd_kafka_message_destroy(message);
		fflush(stdout);
	}
}

/* ---- writing ---- */

static void
put(rd_kafka_t *client, char **argv)
{
	rd_kafka_resp_err_t code = rd_kafka_producev(
		client, RD_KAFKA_V_TOPIC(argv[0]), RD_KAFKA_V_PARTITION(atoi(argv[1])),
		RD_KAFKA_V_KEY(argv[2], strlen(argv[2])),
		RD_KAFKA_V_VALUE(argv[3], strlen(argv[3])),
		RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);

	if (code || (code = rd_kafka_flush(client, PATIENCE)) != 0)
		die("put", rd_kafka_err2str(code));
}

static void
check(rd_kafka_error_t *error)
{
	if (error)
		die("transaction", rd_kafka_error_string(error));
}

static void
hold(rd_kafka_t *client, char **argv)
{
	char *message[] = {argv[0], argv[1], "held", "held"};

	check(rd_kafka_init_transactions(client, PATIENCE));
	check(rd_kafka_begin_transaction(client));
	put(client, message);
	puts("open");
	fflush(stdout);
	while (getchar() != EOF)
		;
	check(rd_kafka_abort_transaction(client, PATIENCE));
}

/* One begins before the other commits. */
static void
busy(const char *servers, char **argv)
{
	char *message[] = {argv[0], argv[1], "busy", "busy"};
	rd_kafka_t *clients[2];
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	int i = 0;

	for (int n = 0; n < 2; n++)
	{
		char id[64];

		snprintf(id, sizeof(id), "%s%d", argv[2], n);
		clients[n] = connect_to(servers, RD_KAFKA_PRODUCER, id, true);
		check(rd_kafka_init_transactions(clients[n], PATIENCE));
	}
	check(rd_kafka_begin_transaction(clients[0]));
	put(clients[0], message);
	puts("open");
	fflush(stdout);
	for (; poll(&in, 1, 5) == 0; i = !i)
	{
		check(rd_kafka_begin_transaction(clients[!i]));
		put(clients[!i], message);
		check(rd_kafka_commit_transaction(clients[i], PATIENCE));
	}
	check(rd_kafka_abort_transaction(clients[i], PATIENCE));
}

/* ---- the mock cluster ---- */

static void
mock(int brokers)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];
	rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
	rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(client, brokers);
	char line[512];

	puts(rd_kafka_mock_cluster_bootstraps(cluster));
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
	{
		char name[250];
		int a;
		int b;
		int c;

		if (sscanf(line, "topic %249s %d", name, &a) == 2)
			rd_kafka_mock_topic_create(cluster, name, a, 1);
		else if (sscanf(line, "says %249s %d", name, &a) == 2)
			rd_kafka_mock_topic_set_error(cluster, name,
										  (rd_kafka_resp_err_t) a);
		else if (sscanf(line, "down %d", &a) == 1)
			rd_kafka_mock_broker_set_down(cluster, a);
		else if (sscanf(line, "up %d", &a) == 1)
			rd_kafka_mock_broker_set_up(cluster, a);
		else if (sscanf(line, "delay %d %d", &a, &b) == 2)
			rd_kafka_mock_broker_set_rtt(cluster, a, b);
		else if (sscanf(line, "error %d %d %d", &a, &b, &c) == 3)
			while (b-- > 0)
				rd_kafka_mock_push_request_errors(cluster, (int16_t) a, 1,
												  (rd_kafka_resp_err_t) c);
		puts("ok");
		fflush(stdout);
	}
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(client);
}

int
main(int argc, char **argv)
{
	const char *servers = argc > 2 ? argv[1] : "";
	const char *what = argc > 2 ? argv[2] : "";
	bool reads = strcmp(what, "dump") == 0 || strcmp(what, "watch") == 0;
	rd_kafka_t *client;

	if (strcmp(servers, "mock") == 0)
	{
		mock(atoi(what));
		return 0;
	}
	if (argc < 4)
		die("usage", "see its source");
	client = connect_to(servers, reads ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER,
						strcmp(what, "hold") == 0 ? argv[5] : NULL,
						argc < 5 || strcmp(argv[4], "uncommitted") != 0);
	if (strcmp(what, "create") == 0)
		create(client, argc - 3, argv + 3);
	else if (strcmp(what, "delete") == 0)
		delete (client, argv[3]);
	else if (strcmp(what, "empty") == 0)
		empty(client, argv[3]);
	else if (strcmp(what, "allow") == 0)
		allow(client, argv[3], argv[4]);
	else if (strcmp(what, "dump") == 0)
		dump(client, argv[3]);
	else if (strcmp(what, "watch") == 0)
		watch(client, argv[3]);
	else if (strcmp(what, "put") == 0)
		put(client, argv + 3);
	else if (strcmp(what, "hold") == 0)
		hold(client, argv + 3);
	else if (strcmp(what, "busy") == 0)
		busy(servers, argv + 3);
	else
		die(what, "unknown");
	fflush(stdout);
	_Exit(0); /* nothing to wait for */
}
