/*-------------------------------------------------------------------------
 *
 * commands.c
 *		pgqadm: the list of its commands.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "admin/options.h"

#define JSON                                                                   \
	{                                                                          \
		"json", "", "print JSON, for scripts"                                  \
	}
#define END                                                                    \
	{                                                                          \
		NULL, NULL, NULL                                                       \
	}

static const CommandOption json_options[] = {JSON, END};

#define PLACES                                                                 \
	{"time", " T", "what came from time T on"},                                \
		{"tick", " N", "what came after tick N, as in pgq.tick"},              \
	{                                                                          \
		"start", "", "all that the queue still has"                            \
	}

static const CommandOption register_options[] = {PLACES, END};

static const CommandOption seek_options[] = {
	PLACES,
	{"end", "", "what comes from now on"},
	{"discard-batch", "", "give up the batch that is open"},
	{"yes", "", "do not ask"},
	END};

static const CommandOption top_options[] = {
	{"interval", " S", "look every S seconds (2)"},
	{"filter", " TEXT", "only what has TEXT in its name"},
	{"once", "", "print one look, without a terminal"},
	JSON,
	END};

static const CommandOption capture_options[] = {
	{"wait", "",
	 "with the argument \"copy\": look on until the rows\nare copied"},
	END};

static const CommandOption migrate_options[] = {
	{"dry-run", "", "say what would be done, change nothing"}, JSON, END};

static const CommandOption resync_options[] = {
	{"wait", "", "look on until all tables are copied"},
	{"slot", " SLOT", "name of the new slot"},
	{"without-copy", "", "do not send the rows that are there again"},
	JSON,
	END};

static const CommandOption drain_options[] = {
	{"consumers", "", "wait for every consumer too"},
	{"timeout", " S", "give up after S seconds"},
	JSON,
	END};

static const CommandOption consume_options[] = {
	{"register", "", "register the consumer if it is not yet"},
	{"once", "", "what is there now, then end"},
	{"count", " N", "end with the batch that brings the Nth event"},
	{"timeout", " S", "end when no event came for S seconds"},
	{"exec", " CMD",
	 "give each batch to sh -c CMD as its input; it is\n"
	 "finished only if CMD exits with status 0"},
	{"confirm", "",
	 "and only if CMD writes the last line of its input,\n"
	 "{\"end_of_batch\":ID,\"events\":N}, to descriptor 3"},
	{"on-error", " X",
	 "what becomes of events that CMD fails on: \"stop\", the\n"
	 "batch comes again; \"retry\", after pauses that double;\n"
	 "\"dead\", they are kept aside"},
	{"retry-delay", " S", "the first of these pauses (10 seconds)"},
	{"max-retries", " N",
	 "past so many the event is dead; else what the queue's\n"
	 "max_retries says"},
	{"fields", " A,B", "print these fields only"},
	{"workers", " N",
	 "N workers at a time, each on the events whose keys\n"
	 "fall to it"},
	{"key", " K",
	 "with --workers: keys are \"key\", of a row (without the\n"
	 "option), \"type\", \"extra1\" .. \"extra4\" or \"none\""},
	{"json", "", "print JSON, as it always does"},
	END};

static const CommandOption dead_options[] = {
	{"all", "", "requeue or purge all of the consumer's"},
	{"before", " T", "purge those that died before time T"},
	JSON,
	END};

const Command commands[] = {
	{"install", 0, 0, admin_install, "[--json]", "create the extension pgq",
	 "install", json_options},
	{"ticker", 0, 0, admin_ticker, "",
	 "run pgqd: ticks, ingest, retries, maintenance", "ticker", NULL},
	{"status", 0, 0, admin_status, "[--json]",
	 "show queues, consumers, captured tables, slot", "status", json_options},
	{"top", 0, 0, admin_top, "[--interval S] [--filter TEXT] [--once] [--json]",
	 "watch rates and lags live", "top --interval 1", top_options},
	{"doctor", 0, 0, admin_doctor, "[--json]",
	 "check the whole chain, say what to do", "doctor", json_options},
	{"create", 1, 1, admin_create, "QUEUE", "create a queue", "create orders",
	 NULL},
	{"drop", 1, 1, admin_drop, "QUEUE", "drop a queue that has no consumers",
	 "drop orders", NULL},
	{"register", 2, 2, admin_register,
	 "QUEUE CONSUMER [--time T | --tick N | --start]",
	 "register a consumer, for what comes from now on",
	 "register orders mailer --start", register_options},
	{"seek", 2, 2, admin_seek,
	 "QUEUE CONSUMER --time T | --tick N | --start | --end",
	 "move a consumer back or forwards; says what that means and asks",
	 "seek orders mailer --start --yes", seek_options},
	{"unregister", 2, 2, admin_unregister, "QUEUE CONSUMER",
	 "remove a consumer", "unregister orders mailer", NULL},
	{"config", 0, -1, admin_config, "[--json] [QUEUE [KEY=VALUE ...]]",
	 "show or change settings", "config orders ticker_max_lag='1 second'",
	 json_options},
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
	 "the slot that captured changes come from", "slot create", json_options},
	{"resync", 0, -1, admin_resync,
	 "[--wait] [--slot SLOT] [--json] [TABLE ...], or --without-copy",
	 "a new slot after changes were lost, and the tables anew", "resync --wait",
	 resync_options},
	{"drain", 0, 0, admin_drain, "[--consumers] [--timeout S] [--json]",
	 "wait until what is committed is in the queues, or consumed",
	 "drain --consumers --timeout 600", drain_options},
	{"relay", 1, 3, admin_relay,
	 "list [--json] | show [--json] QUEUE CONSUMER | check RELAY.ini",
	 "relays into other systems; check asks pgqrelay", "relay list",
	 json_options},
	{"dead", 1, -1, admin_dead,
	 "list [--json] [QUEUE [CONSUMER]] | requeue QUEUE CONSUMER ID ... | --all | "
	 "purge QUEUE CONSUMER --before T | --all",
	 "events that a consumer has given up", "dead requeue orders mailer --all",
	 dead_options},
	{"source", 1, -1, admin_source,
	 "list [--json] | add SOURCE [QUEUE ...] | drop SOURCE | grant SOURCE QUEUE "
	 "[EXTRA] | revoke SOURCE QUEUE | reset SOURCE",
	 "databases of other servers that feed queues here", "source list",
	 json_options},
	{"consume", 2, 2, admin_consume, "QUEUE CONSUMER [OPTION ...]",
	 "print events as JSON lines, or pipe them",
	 "consume orders mailer --register --exec 'mail -s news me@shop'",
	 consume_options},
	{NULL, 0, 0, NULL, NULL, NULL, NULL, NULL}};

/* The command of that name, or NULL. */
const Command *
commands_find(const char *word)
{
	for (const Command *cmd = commands; cmd->name; cmd++)
		if (strcmp(cmd->name, word) == 0)
			return cmd;
	return NULL;
}
