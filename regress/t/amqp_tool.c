/*
 * amqp_tool.c: what tests ask a RabbitMQ server.
 *
 *	amqp_tool HOST PORT declare QUEUE [EXCHANGE TYPE KEY]
 *		make a durable queue, and an exchange, of which KEY leads to the queue
 *	amqp_tool HOST PORT take QUEUE
 *		take all of its messages: a line "ID PLACE BODY" each
 *	amqp_tool HOST PORT delete QUEUE
 *
 * Exit status 1 and a message when it fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif

static amqp_connection_state_t conn;

static void
check(amqp_rpc_reply_t reply)
{
	if (reply.reply_type == AMQP_RESPONSE_NORMAL)
		return;
	fprintf(stderr, "failed: %s\n",
			reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION
				? amqp_error_string2(reply.library_error)
				: "refused");
	exit(1);
}

static void
print_bytes(amqp_bytes_t bytes)
{
	fwrite(bytes.bytes, 1, bytes.len, stdout);
}

static void
print_header(const amqp_table_t *headers, const char *name)
{
	for (int i = 0; i < headers->num_entries; i++)
		if (headers->entries[i].key.len == strlen(name) &&
			memcmp(headers->entries[i].key.bytes, name, strlen(name)) == 0)
			print_bytes(headers->entries[i].value.value.bytes);
}

static void
take(const char *queue)
{
	for (;;)
	{
		amqp_message_t message;
		amqp_rpc_reply_t reply =
			amqp_basic_get(conn, 1, amqp_cstring_bytes(queue), 1);

		check(reply);
		if (reply.reply.id == AMQP_BASIC_GET_EMPTY_METHOD)
			break;
		check(amqp_read_message(conn, 1, &message, 0));
		print_bytes(message.properties.message_id);
		putchar(' ');
		print_header(&message.properties.headers, "Pgq-Place");
		putchar(' ');
		print_bytes(message.body);
		putchar('\n');
		amqp_destroy_message(&message);
		amqp_maybe_release_buffers(conn);
	}
}

int
main(int argc, char **argv)
{
	amqp_socket_t *socket;
	amqp_bytes_t queue;

	if (argc < 5)
		return 2;
	queue = amqp_cstring_bytes(argv[4]);
	conn = amqp_new_connection();
	socket = amqp_tcp_socket_new(conn);
	if (amqp_socket_open(socket, argv[1], atoi(argv[2])) != AMQP_STATUS_OK)
	{
		fprintf(stderr, "no connection\n");
		return 1;
	}
	check(amqp_login(conn, "/", 0, AMQP_DEFAULT_FRAME_SIZE, 0,
					 AMQP_SASL_METHOD_PLAIN, "guest", "guest"));
	amqp_channel_open(conn, 1);
	check(amqp_get_rpc_reply(conn));
	if (strcmp(argv[3], "take") == 0)
		take(argv[4]);
	else if (strcmp(argv[3], "delete") == 0)
		amqp_queue_delete(conn, 1, queue, 0, 0);
	else
		amqp_queue_declare(conn, 1, queue, 0, 1, 0, 0, amqp_empty_table);
	check(amqp_get_rpc_reply(conn));
	if (argc > 7)
	{
		amqp_bytes_t exchange = amqp_cstring_bytes(argv[5]);

		amqp_exchange_declare(conn, 1, exchange, amqp_cstring_bytes(argv[6]), 0,
							  1, 0, 0, amqp_empty_table);
		check(amqp_get_rpc_reply(conn));
		amqp_queue_bind(conn, 1, queue, exchange, amqp_cstring_bytes(argv[7]),
						amqp_empty_table);
		check(amqp_get_rpc_reply(conn));
	}
	check(amqp_connection_close(conn, AMQP_REPLY_SUCCESS));
	amqp_destroy_connection(conn);
	return 0;
}
