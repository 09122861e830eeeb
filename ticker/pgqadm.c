/*-------------------------------------------------------------------------
 *
 * pgqadm.c
 *		Administration of PgQ from the command line: reads the options and
 *		calls the command's function from the table below.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ticker/advice.h"
#include "ticker/ini.h"
#include "ticker/pgqadm.h"
#include "ticker/pgqadm_ini.h"
#include "ticker/pgqadm_progress.h"

typedef struct Command
{
	const char *name;
	int min_args;
	int max_args; /* -1 = any number */
	void (*run)(Admin *a, int argc, char **argv);
	const char *args; /* for the usage line */
	const char *help;
	const char *example; /* what follows the database */
} Command;

static const Command commands[] = {
	{"install", 0, 0, admin_install, "[--json]", "create the extension pgq",
	 "install"},
	{"ticker", 0, 0, admin_ticker, "",
	 "run pgqd: ticks, ingest, retries, maintenance", "ticker"},
	{"status", 0, 0, admin_status, "[--json]",
	 "show queues, consumers, captured tables, slot", "status"},
	{"top", 0, 0, admin_top, "[--interval S] [--once] [--json]",
	 "watch rates and lags live", "top --interval 1"},
	{"doctor", 0, 0, admin_doctor, "[--json]",
	 "check the whole chain, say what to do", "doctor"},
	{"create", 1, 1, admin_create, "QUEUE", "create a queue", "create orders"},
	{"drop", 1, 1, admin_drop, "QUEUE", "drop a queue that has no consumers",
	 "drop orders"},
	{"register", 2, 2, admin_register, "QUEUE CONSUMER", "register a consumer",
	 "register orders mailer"},
	{"unregister", 2, 2, admin_unregister, "QUEUE CONSUMER",
	 "remove a consumer", "unregister orders mailer"},
	{"config", 0, -1, admin_config, "[--json] [QUEUE [KEY=VALUE ...]]",
	 "show or change settings", "config orders ticker_max_lag='1 second'"},
	{"capture", 2, -1, admin_capture, "[--wait] QUEUE TABLE [ARG ...]",
	 "send a table's changes to a queue",
	 "capture orders public.item ignore=seen_at"},
	{"uncapture", 2, 2, admin_uncapture, "QUEUE TABLE", "stop sending them",
	 "uncapture orders public.item"},
	{"cancel", 2, 2, admin_cancel, "QUEUE TABLE",
	 "give up copying a table, whose capture goes on",
	 "cancel orders public.item"},
	{"migrate", 0, -1, admin_migrate, "[--dry-run] [--json] [TABLE ...]",
	 "replace triggers of PgQ by captures", "migrate --dry-run"},
	{"slot", 1, 2, admin_slot,
	 "create [--json] [SLOT] | drop [SLOT] | status [--json]",
	 "the slot that captured changes come from", "slot create"},
	{"resync", 0, -1, admin_resync,
	 "[--wait] [--slot SLOT] [TABLE ...], or --without-copy",
	 "a new slot after changes were lost, and the tables anew",
	 "resync --wait"},
	{"drain", 0, 0, admin_drain, "[--consumers] [--timeout S] [--json]",
	 "wait until what is committed is in the queues, or consumed",
	 "drain --consumers --timeout 600"},
	{"consume", 2, 2, admin_consume, "QUEUE CONSUMER [OPTION ...]",
	 "print events as JSON lines, or pipe them",
	 "consume orders mailer --register --exec 'mail -s news me@shop'"},
	{NULL, 0, 0, NULL, NULL, NULL, NULL}};

enum LongOption
{
	OPT_INI = 256,
	OPT_HELP,
	OPT_DBNAME,
	OPT_DAEMON,
	OPT_REGISTER,
	OPT_ONCE,
	OPT_COUNT,
	OPT_EXEC,
	OPT_TIMEOUT,
	OPT_FIELDS,
	OPT_JSON,
	OPT_WITHOUT_COPY,
	OPT_SLOT,
	OPT_WAIT,
	OPT_CONSUMERS,
	OPT_INTERVAL,
	OPT_DRY_RUN
};

static const struct option long_options[] = {
	{"quiet", no_argument, NULL, 'q'},
	{"verbose", no_argument, NULL, 'v'},
	{"daemon", no_argument, NULL, OPT_DAEMON},
	{"version", no_argument, NULL, 'V'},
	{"reload", no_argument, NULL, 'r'},
	{"stop", no_argument, NULL, 's'},
	{"kill", no_argument, NULL, 'k'},
	{"ini", no_argument, NULL, OPT_INI},
	{"help", no_argument, NULL, OPT_HELP},
	{"dbname", required_argument, NULL, OPT_DBNAME},
	{"host", required_argument, NULL, 'h'},
	{"port", required_argument, NULL, 'p'},
	{"username", required_argument, NULL, 'U'},
	{"register", no_argument, NULL, OPT_REGISTER},
	{"once", no_argument, NULL, OPT_ONCE},
	{"count", required_argument, NULL, OPT_COUNT},
	{"exec", required_argument, NULL, OPT_EXEC},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"fields", required_argument, NULL, OPT_FIELDS},
	{"json", no_argument, NULL, OPT_JSON},
	{"without-copy", no_argument, NULL, OPT_WITHOUT_COPY},
	{"slot", required_argument, NULL, OPT_SLOT},
	{"wait", no_argument, NULL, OPT_WAIT},
	{"consumers", no_argument, NULL, OPT_CONSUMERS},
	{"interval", required_argument, NULL, OPT_INTERVAL},
	{"dry-run", no_argument, NULL, OPT_DRY_RUN},
	{NULL, 0, NULL, 0}};

/* ---- talking to the user ---- */

/*
 * Ends the program with exit status 1 and one message.  hint NULL: the one
 * that advice.c has, if any.
 */
void
admin_fail(const char *hint, const char *fmt, ...)
{
	va_list args;
	char *text;

	fflush(stdout);
	progress_clear();
	fputs("pgqadm: ", stderr);
	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = strdup(fmt);
	va_end(args);
	if (hint == NULL)
		hint = advice_find(text);
	fprintf(stderr, "%s\n", text);
	if (hint != NULL)
		fprintf(stderr, "hint: %s\n", hint);
	exit(1);
}

/* A message that -q does not silence. */
void
admin_warn(const char *fmt, ...)
{
	va_list args;

	progress_clear();
	fputs("pgqadm: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

/* What was done; silent under -q. */
void
admin_say(const Admin *a, const char *fmt, ...)
{
	va_list args;

	if (a->quiet)
		return;
	progress_clear();
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

/* Prints text and blanks up to width characters of UTF-8. */
void
admin_print_padded(const char *text, int width)
{
	int len = 0;

	for (const char *p = text; *p; p++)
		if (((unsigned char) *p & 0xC0) != 0x80)
			len++;
	fputs(text, stdout);
	if (len < width)
		printf("%*s", width - len, "");
}

/* Fails if what was printed did not all arrive, say on a full disk. */
void
admin_close_stdout(void)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		admin_fail(NULL, "could not write output: %s", strerror(errno));
}

/* ---- talking to the server ---- */

static void
drop_notice(void *arg, const PGresult *res)
{
	const Admin *a = arg;
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

	if (a->verbose && text)
		fprintf(stderr, "notice: %s\n", text);
}

/* Bytes of a message of libpq without the newline that ends it. */
int
admin_message_length(const char *text)
{
	size_t len = strlen(text);

	while (len > 0 && text[len - 1] == '\n')
		len--;
	return (int) len;
}

static PGconn *
open_connection(const Admin *a,
				PGconn *(*open)(const char *const *, const char *const *, int) )
{
	const char *keys[] = {"fallback_application_name", "dbname",
						  "client_encoding", NULL};
	const char *vals[] = {"pgqadm", a->conninfo, "UTF8", NULL};

	return open(keys, vals, 1);
}

/* A connection that PQconnectPoll() goes on with; the caller's to finish. */
PGconn *
admin_begin_connect(const Admin *a)
{
	return open_connection(a, PQconnectStartParams);
}

/* Connects a->conn, or fails. */
void
admin_connect(Admin *a)
{
	if (a->conn != NULL)
		return;
	a->conn = open_connection(a, PQconnectdbParams);
	if (PQstatus(a->conn) != CONNECTION_OK)
	{
		const char *text = PQerrorMessage(a->conn);

		if (a->no_connect != 0)
		{
			admin_warn("%.*s", admin_message_length(text), text);
			exit(a->no_connect);
		}
		admin_fail(NULL, "%.*s", admin_message_length(text), text);
	}
	PQsetNoticeReceiver(a->conn, drop_notice, a);
}

/*
 * Runs one statement with text parameters.  Returns its result, which the
 * caller clears.  Fails with the server's message otherwise; hint is shown if
 * the server sent none, and may be NULL.
 */
PGresult *
admin_query(Admin *a, const char *hint, const char *sql, int nparams,
			const char *const *params)
{
	PGresult *res;
	ExecStatusType st;
	const char *primary;
	const char *detail;
	const char *server_hint;

	admin_connect(a);
	res = PQexecParams(a->conn, sql, nparams, NULL, params, NULL, NULL, 0);
	st = PQresultStatus(res);
	if (st == PGRES_TUPLES_OK || st == PGRES_COMMAND_OK)
		return res;

	primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	detail = PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL);
	server_hint = PQresultErrorField(res, PG_DIAG_MESSAGE_HINT);
	if (primary == NULL)
		primary = PQerrorMessage(a->conn);
	if (server_hint != NULL)
		hint = server_hint;
	if (detail != NULL)
		admin_fail(hint, "%.*s\ndetail: %s", admin_message_length(primary),
				   primary, detail);
	admin_fail(hint, "%.*s", admin_message_length(primary), primary);
}

/* As admin_query; returns the integer in the first column, 0 for NULL. */
int
admin_query_int(Admin *a, const char *hint, const char *sql, int nparams,
				const char *const *params)
{
	PGresult *res = admin_query(a, hint, sql, nparams, params);
	int value = PQntuples(res) > 0 ? atoi(PQgetvalue(res, 0, 0)) : 0;

	PQclear(res);
	return value;
}

/* Does the server have this function?  Older extensions lack some. */
bool
admin_has_function(Admin *a, const char *signature)
{
	return admin_query_int(a, NULL,
						   "select (pg_catalog.to_regprocedure($1) "
						   "is not null)::int",
						   1, &signature) == 1;
}

/* ---- the command line ---- */

static const char consume_help[] =
	"  --register            register the consumer if it is not yet\n"
	"  --once                what is there now, then end\n"
	"  --count N             end with the batch that brings the Nth event\n"
	"  --timeout S           end when no event came for S seconds\n"
	"  --exec CMD            pipe each batch to sh -c CMD; it is finished\n"
	"                        only if CMD exits with status 0\n"
	"  --fields A,B          print these fields only\n";

static const char drain_help[] =
	"  --consumers           wait for every consumer too\n"
	"  --timeout S           give up after S seconds\n";

static const char top_help[] =
	"  --interval S          look every S seconds (2)\n"
	"  --once                print one look, without a terminal\n";

static const char migrate_help[] =
	"  --dry-run             say what would be done, change nothing\n";

static const char json_help[] =
	"  --json                print JSON, for scripts\n";

static void
print_help(void)
{
	puts("Administration of PgQ, the queue inside PostgreSQL.\n"
		 "\n"
		 "usage: pgqadm [OPTION ...] CONFIG.ini COMMAND [ARG ...]\n"
		 "       pgqadm [OPTION ...] -d DBNAME COMMAND [ARG ...]\n"
		 "\n"
		 "commands:");
	for (const Command *cmd = commands; cmd->name; cmd++)
		printf("  %s%s%s\n      %s\n      pgqadm -d shop %s\n", cmd->name,
			   cmd->args[0] ? " " : "", cmd->args, cmd->help, cmd->example);
	printf(
		"\n"
		"database:\n"
		"  CONFIG.ini            ini file with a section [pgqadm]\n"
		"  -d, --dbname DBNAME   database name, libpq connect string or URI\n"
		"  -h, --host HOST       -p, --port PORT       -U, --username USER\n"
		"  Without any of these PGDATABASE or PGSERVICE must be set.\n"
		"  -d means --daemon when CONFIG.ini stands before it, or when an\n"
		"  ini file (*.ini), an option or nothing follows it.\n"
		"\n"
		"consume:\n"
		"%s"
		"\n"
		"drain:\n"
		"%s"
		"\n"
		"top:\n"
		"%s"
		"\n"
		"migrate:\n"
		"%s"
		"\n"
		"status, top, doctor, slot status, migrate:\n"
		"%s"
		"\n"
		"running ticker, by the pid file in CONFIG.ini:\n"
		"  -r, --reload          read the ini file again (SIGHUP)\n"
		"  -s, --stop            stop cleanly (SIGINT)\n"
		"  -k, --kill            stop at once (SIGTERM)\n"
		"\n"
		"other:\n"
		"  -d, --daemon          ticker goes to the background\n"
		"  -q, --quiet           results and errors only\n"
		"  -v, --verbose         notices too\n"
		"  --ini                 print a sample CONFIG.ini\n"
		"  -V, --version         print the version\n"
		"  --help                this text; behind a command, about that one\n",
		consume_help, drain_help, top_help, migrate_help, json_help);
}

static bool
is_ini_name(const char *word)
{
	size_t len = strlen(word);

	return len > 4 && strcmp(word + len - 4, ".ini") == 0;
}

static const Command *
find_command(const char *word)
{
	for (const Command *cmd = commands; cmd->name; cmd++)
		if (strcmp(cmd->name, word) == 0)
			return cmd;
	return NULL;
}

static double
number_or_fail(const char *option, const char *text)
{
	double value;

	if (!ini_parse_number(text, &value) || value <= 0)
		admin_fail(NULL, "option --%s needs a number above 0, not \"%s\"",
				   option, text);
	return value;
}

/* The options of one run that are not kept in Admin. */
typedef struct Words
{
	char **args; /* what is not an option, in its order */
	int nargs;
	const char *dbname;
	const char *host;
	const char *port;
	const char *user;
	const char *signal;       /* "-r", "-s" or "-k" */
	const char *consume_only; /* an option that only consume knows */
	bool help;
} Words;

/* --help: about the command that was named, if one was. */
static void
print_help_about(const Words *w)
{
	const Command *cmd = NULL;

	for (int i = 0; i < w->nargs && i < 2 && cmd == NULL; i++)
		cmd = find_command(w->args[i]);
	if (cmd == NULL)
		print_help();
	else
	{
		printf("usage: pgqadm CONFIG.ini|-d DBNAME %s%s%s\n\n%s\n\n"
			   "example:\n  pgqadm -d shop %s\n",
			   cmd->name, cmd->args[0] ? " " : "", cmd->args, cmd->help,
			   cmd->example);
		if (cmd->run == admin_consume)
			printf("\noptions:\n%s", consume_help);
		if (cmd->run == admin_drain)
			printf("\noptions:\n%s", drain_help);
		if (cmd->run == admin_top)
			printf("\noptions:\n%s", top_help);
		if (cmd->run == admin_migrate)
			printf("\noptions:\n%s", migrate_help);
		if (strstr(cmd->args, "--json"))
			printf("\noptions:\n%s", json_help);
	}
	exit(0);
}

static void
read_option(Admin *a, Words *w, int opt, int argc, char **argv)
{
	switch (opt)
	{
		case 1: /* not an option */
			w->args[w->nargs++] = optarg;
			break;
		case 'd':
		{
			const char *next = optind < argc ? argv[optind] : "-";
			bool have_ini = w->nargs > 0 && (is_ini_name(w->args[0]) ||
											 !find_command(w->args[0]));

			if (have_ini || next[0] == '-' || is_ini_name(next))
				a->daemon = true;
			else
				w->dbname = argv[optind++];
		}
		break;
		case OPT_DAEMON:
			a->daemon = true;
			break;
		case OPT_DBNAME:
			w->dbname = optarg;
			break;
		case 'h':
			w->host = optarg;
			break;
		case 'p':
			w->port = optarg;
			break;
		case 'U':
			w->user = optarg;
			break;
		case 'q':
			a->quiet = true;
			break;
		case 'v':
			a->verbose = true;
			break;
		case 'r':
			w->signal = "-r";
			break;
		case 's':
			w->signal = "-s";
			break;
		case 'k':
			w->signal = "-k";
			break;
		case OPT_REGISTER:
			a->do_register = true;
			w->consume_only = "register";
			break;
		case OPT_ONCE:
			a->once = true;
			break;
		case OPT_COUNT:
			a->count = (long) number_or_fail("count", optarg);
			w->consume_only = "count";
			break;
		case OPT_TIMEOUT:
			a->timeout = number_or_fail("timeout", optarg);
			break;
		case OPT_INTERVAL:
			a->interval = number_or_fail("interval", optarg);
			break;
		case OPT_CONSUMERS:
			a->consumers = true;
			break;
		case OPT_DRY_RUN:
			a->dry_run = true;
			break;
		case OPT_EXEC:
			a->exec = optarg;
			w->consume_only = "exec";
			break;
		case OPT_FIELDS:
			a->fields = optarg;
			w->consume_only = "fields";
			break;
		case OPT_JSON:
			a->json = true;
			break;
		case 'V':
			puts("pgqadm version " PGQADM_VERSION);
			exit(0);
		case OPT_WITHOUT_COPY:
			a->without_copy = true;
			break;
		case OPT_SLOT:
			a->slot = optarg;
			break;
		case OPT_WAIT:
			a->wait = true;
			break;
		case OPT_INI:
			ini_print_sample(stdout, "pgqadm", pgqadm_ini_keys);
			exit(0);
		case OPT_HELP:
			w->help = true;
			break;
		case ':':
			admin_fail(NULL, "option \"%s\" needs a value", argv[optind - 1]);
		default:
			if (optopt != 0 && optopt < 256)
				admin_fail("Try \"pgqadm --help\".", "unknown option \"-%c\"",
						   optopt);
			admin_fail("Try \"pgqadm --help\".", "unknown option \"%s\"",
					   argv[optind - 1]);
	}
}

/* Takes the database from the ini file or from the options. */
static void
choose_database(Admin *a, const Words *w)
{
	PgqadmIni ini = {0};
	char *error;

	if (a->config == NULL)
	{
		a->conninfo = admin_make_conninfo(w->dbname, w->host, w->port, w->user);
		return;
	}
	if (!ini_load(a->config, "pgqadm", pgqadm_ini_keys, &ini, &error))
		admin_fail(strstr(error, ".ini:") || strstr(error, "section")
					   ? "\"pgqadm --ini\" prints a sample with all keys."
					   : NULL,
				   "%s", error);
	if (ini.db == NULL)
		admin_fail("A line like \"db = dbname=shop host=127.0.0.1\" belongs "
				   "in section [pgqadm].",
				   "%s: key \"db\" is missing", a->config);
	a->conninfo = admin_make_conninfo(ini.db, w->host, w->port, w->user);
	ini_free(pgqadm_ini_keys, &ini);
}

int
main(int argc, char **argv)
{
	Admin admin = {0};
	Words w = {0};
	char **words;
	const Command *cmd;
	bool by_options;
	int opt;

	words = w.args = calloc(argc + 1, sizeof(char *));
	if (w.args == NULL)
		admin_fail(NULL, "out of memory");
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "-:qvdVrskh:p:U:", long_options,
							  NULL)) != -1)
		read_option(&admin, &w, opt, argc, argv);
	while (optind < argc)
		w.args[w.nargs++] = argv[optind++];

	if (w.help)
		print_help_about(&w);

	/* The first word is CONFIG.ini unless the database is named otherwise. */
	by_options = w.dbname || w.host || w.port || w.user ||
				 getenv("PGDATABASE") || getenv("PGSERVICE");
	if (w.nargs > 0 && !w.dbname &&
		(is_ini_name(w.args[0]) || !(by_options || find_command(w.args[0]))))
	{
		admin.config = w.args[0];
		w.args++;
		w.nargs--;
	}
	else if (!by_options || (w.signal && !w.dbname))
		admin_fail("Name an ini file first, or a database with -d.",
				   "need config file");

	if (w.signal)
	{
		if (admin.config == NULL)
			admin_fail("The running ticker is found by the pid file that an "
					   "ini file names.",
					   "need config file");
		admin_exec_pgqd(&admin, w.signal);
	}
	if (w.nargs == 0)
		admin_fail("Try \"pgqadm --help\".", "need command");
	cmd = find_command(w.args[0]);
	if (cmd == NULL)
		admin_fail("Try \"pgqadm --help\".", "unknown command: %s", w.args[0]);
	w.args++;
	w.nargs--;
	if (w.nargs < cmd->min_args ||
		(cmd->max_args >= 0 && w.nargs > cmd->max_args))
		admin_fail(NULL, "usage: pgqadm ... %s%s%s", cmd->name,
				   cmd->args[0] ? " " : "", cmd->args);
	if (w.consume_only && cmd->run != admin_consume)
		admin_fail(NULL, "option --%s belongs to command \"consume\"",
				   w.consume_only);
	/* consume prints nothing but JSON */
	if (admin.json && strstr(cmd->args, "--json") == NULL &&
		cmd->run != admin_consume)
		admin_fail(NULL, "command \"%s\" has no option --json", cmd->name);
	if (admin.without_copy && cmd->run != admin_resync)
		admin_fail(NULL, "option --without-copy belongs to command "
						 "\"resync\"");
	if (admin.slot && cmd->run != admin_resync)
		admin_fail(NULL, "option --slot belongs to command \"resync\"");
	if (admin.wait && cmd->run != admin_resync && cmd->run != admin_capture)
		admin_fail(NULL, "option --wait belongs to commands \"capture\" and "
						 "\"resync\"");
	if (admin.timeout > 0 && strstr(cmd->args, "--timeout") == NULL &&
		cmd->run != admin_consume)
		admin_fail(NULL, "option --timeout belongs to commands \"consume\" "
						 "and \"drain\"");
	if (admin.once && cmd->run != admin_top && cmd->run != admin_consume)
		admin_fail(NULL, "option --once belongs to commands \"consume\" and "
						 "\"top\"");
	if (admin.interval > 0 && cmd->run != admin_top)
		admin_fail(NULL, "option --interval belongs to command \"top\"");
	if (admin.consumers && cmd->run != admin_drain)
		admin_fail(NULL, "option --consumers belongs to command \"drain\"");
	if (admin.dry_run && cmd->run != admin_migrate)
		admin_fail(NULL, "option --dry-run belongs to command \"migrate\"");
	if (admin.daemon && cmd->run != admin_ticker)
		admin_fail(NULL, "option -d or --daemon belongs to command "
						 "\"ticker\"");

	choose_database(&admin, &w);
	cmd->run(&admin, w.nargs, w.args);
	admin_close_stdout();
	if (admin.conn)
		PQfinish(admin.conn);
	free(admin.conninfo);
	free(words);
	return 0;
}
