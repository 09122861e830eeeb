/*-------------------------------------------------------------------------
 *
 * admin.c
 *		Administration of PgQ from the command line: its commands, and the run
 *		of one.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/options.h"

/* The options of a command, as --help shows them; it knows these only. */
#define JSON_OPTION "  --json                print JSON, for scripts\n"

static const char top_options[] =
	"  --interval S          look every S seconds (2)\n"
	"  --once                print one look, without a terminal\n" JSON_OPTION;

static const char capture_options[] =
	"  --wait                with the argument \"copy\": look on until the rows\n"
	"                        are copied\n";

static const char migrate_options[] =
	"  --dry-run             say what would be done, change nothing\n" JSON_OPTION;

static const char resync_options[] =
	"  --wait                look on until all tables are copied\n"
	"  --slot SLOT           name of the new slot\n"
	"  --without-copy        do not send the rows that are there again\n" JSON_OPTION;

static const char drain_options[] =
	"  --consumers           wait for every consumer too\n"
	"  --timeout S           give up after S seconds\n" JSON_OPTION;

static const char consume_options[] =
	"  --register            register the consumer if it is not yet\n"
	"  --once                what is there now, then end\n"
	"  --count N             end with the batch that brings the Nth event\n"
	"  --timeout S           end when no event came for S seconds\n"
	"  --exec CMD            give each batch to sh -c CMD as its input; it is\n"
	"                        finished only if CMD exits with status 0\n"
	"  --confirm             and only if CMD writes the last line of its input,\n"
	"                        {\"end_of_batch\":ID,\"events\":N}, to descriptor 3\n"
	"  --fields A,B          print these fields only\n"
	"  --json                print JSON, as it always does\n";

const Command admin_commands[] = {
	{"install", 0, 0, admin_install, "[--json]", "create the extension pgq",
	 "install", JSON_OPTION},
	{"ticker", 0, 0, admin_ticker, "",
	 "run pgqd: ticks, ingest, retries, maintenance", "ticker", NULL},
	{"status", 0, 0, admin_status, "[--json]",
	 "show queues, consumers, captured tables, slot", "status", JSON_OPTION},
	{"top", 0, 0, admin_top, "[--interval S] [--once] [--json]",
	 "watch rates and lags live", "top --interval 1", top_options},
	{"doctor", 0, 0, admin_doctor, "[--json]",
	 "check the whole chain, say what to do", "doctor", JSON_OPTION},
	{"create", 1, 1, admin_create, "QUEUE", "create a queue", "create orders",
	 NULL},
	{"drop", 1, 1, admin_drop, "QUEUE", "drop a queue that has no consumers",
	 "drop orders", NULL},
	{"register", 2, 2, admin_register, "QUEUE CONSUMER", "register a consumer",
	 "register orders mailer", NULL},
	{"unregister", 2, 2, admin_unregister, "QUEUE CONSUMER",
	 "remove a consumer", "unregister orders mailer", NULL},
	{"config", 0, -1, admin_config, "[--json] [QUEUE [KEY=VALUE ...]]",
	 "show or change settings", "config orders ticker_max_lag='1 second'",
	 JSON_OPTION},
	{"capture", 2, -1, admin_capture, "[--wait] QUEUE TABLE [ARG ...]",
	 "send a table's changes to a queue",
	 "capture orders public.item ignore=seen_at", capture_options},
	{"uncapture", 2, 2, admin_uncapture, "QUEUE TABLE", "stop sending them",
	 "uncapture orders public.item", NULL},
	{"cancel", 2, 2, admin_cancel, "QUEUE TABLE",
	 "give up copying a table, whose capture goes on",
	 "cancel orders public.item", NULL},
	{"migrate", 0, -1, admin_migrate, "[--dry-run] [--json] [TABLE ...]",
	 "replace triggers of PgQ by captures", "migrate --dry-run",
	 migrate_options},
	{"slot", 1, 2, admin_slot,
	 "create [--json] [SLOT] | drop [SLOT] | status [--json]",
	 "the slot that captured changes come from", "slot create", JSON_OPTION},
	{"resync", 0, -1, admin_resync,
	 "[--wait] [--slot SLOT] [--json] [TABLE ...], or --without-copy",
	 "a new slot after changes were lost, and the tables anew", "resync --wait",
	 resync_options},
	{"drain", 0, 0, admin_drain, "[--consumers] [--timeout S] [--json]",
	 "wait until what is committed is in the queues, or consumed",
	 "drain --consumers --timeout 600", drain_options},
	{"consume", 2, 2, admin_consume, "QUEUE CONSUMER [OPTION ...]",
	 "print events as JSON lines, or pipe them",
	 "consume orders mailer --register --exec 'mail -s news me@shop'",
	 consume_options},
	{NULL, 0, 0, NULL, NULL, NULL, NULL, NULL}};

int
main(int argc, char **argv)
{
	Admin admin = {0};
	const Command *cmd;
	char **words = calloc(argc + 1, sizeof(char *));
	char **args = words;
	int nargs;

	if (words == NULL)
		admin_fail(NULL, "out of memory");
	cmd = options_read(&admin, argc, argv, &args, &nargs);
	cmd->run(&admin, nargs, args);
	admin_close_stdout();
	if (admin.conn)
		PQfinish(admin.conn);
	free(admin.begin);
	free(admin.conninfo);
	free(words);
	return 0;
}
