/*-------------------------------------------------------------------------
 *
 * options.c
 *		pgqadm: reads the command line.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/ini.h"
#include "common/pgqadm_ini.h"
#include "common/trust.h"
#include "admin/options.h"
#include "version.h"

/* Long options; those from OPT_REGISTER on are some commands' only. */
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
	OPT_CONFIRM,
	OPT_FIELDS,
	OPT_WORKERS,
	OPT_KEY,
	OPT_ON_ERROR,
	OPT_RETRY_DELAY,
	OPT_MAX_RETRIES,
	OPT_BEFORE,
	OPT_ALL,
	OPT_JSON,
	OPT_WITHOUT_COPY,
	OPT_SLOT,
	OPT_WAIT,
	OPT_CONSUMERS,
	OPT_INTERVAL,
	OPT_FILTER,
	OPT_DRY_RUN,
	OPT_TIME,
	OPT_TICK,
	OPT_START,
	OPT_TO_END,
	OPT_YES,
	OPT_DISCARD_BATCH,
	OPT_END
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
	{"confirm", no_argument, NULL, OPT_CONFIRM},
	{"fields", required_argument, NULL, OPT_FIELDS},
	{"workers", required_argument, NULL, OPT_WORKERS},
	{"key", required_argument, NULL, OPT_KEY},
	{"on-error", required_argument, NULL, OPT_ON_ERROR},
	{"retry-delay", required_argument, NULL, OPT_RETRY_DELAY},
	{"max-retries", required_argument, NULL, OPT_MAX_RETRIES},
	{"before", required_argument, NULL, OPT_BEFORE},
	{"all", no_argument, NULL, OPT_ALL},
	{"json", no_argument, NULL, OPT_JSON},
	{"without-copy", no_argument, NULL, OPT_WITHOUT_COPY},
	{"slot", required_argument, NULL, OPT_SLOT},
	{"wait", no_argument, NULL, OPT_WAIT},
	{"consumers", no_argument, NULL, OPT_CONSUMERS},
	{"interval", required_argument, NULL, OPT_INTERVAL},
	{"filter", required_argument, NULL, OPT_FILTER},
	{"dry-run", no_argument, NULL, OPT_DRY_RUN},
	{"time", required_argument, NULL, OPT_TIME},
	{"tick", required_argument, NULL, OPT_TICK},
	{"start", no_argument, NULL, OPT_START},
	{"end", no_argument, NULL, OPT_TO_END},
	{"yes", no_argument, NULL, OPT_YES},
	{"discard-batch", no_argument, NULL, OPT_DISCARD_BATCH},
	{NULL, 0, NULL, 0}};

static bool
is_ini_name(const char *word)
{
	size_t len = strlen(word);

	return len > 4 && strcmp(word + len - 4, ".ini") == 0;
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

/* What is set in the ini file of --ini. */
static const char *const sample[] = {"db", "dbname=shop", "pidfile",
									 "~/%(job_name)s.pid", NULL};

/* The options of one run that are not kept in Admin. */
typedef struct Words
{
	char **args; /* what is not an option, in its order */
	int nargs;
	const char *dbname;
	const char *host;
	const char *port;
	const char *user;
	const char *signal;  /* "-r", "-s" or "-k" */
	bool given[OPT_END]; /* those of some commands only */
	bool help;
} Words;

/* Options without a value, and what they set. */
static const struct
{
	int opt;
	size_t offset; /* of a bool in Admin */
} flags[] = {{'q', offsetof(Admin, quiet)},
			 {'v', offsetof(Admin, verbose)},
			 {OPT_DAEMON, offsetof(Admin, daemon)},
			 {OPT_REGISTER, offsetof(Admin, do_register)},
			 {OPT_ONCE, offsetof(Admin, once)},
			 {OPT_CONFIRM, offsetof(Admin, confirm)},
			 {OPT_JSON, offsetof(Admin, json)},
			 {OPT_WITHOUT_COPY, offsetof(Admin, without_copy)},
			 {OPT_WAIT, offsetof(Admin, wait)},
			 {OPT_CONSUMERS, offsetof(Admin, consumers)},
			 {OPT_DRY_RUN, offsetof(Admin, dry_run)},
			 {OPT_ALL, offsetof(Admin, all)},
			 {OPT_YES, offsetof(Admin, yes)},
			 {OPT_DISCARD_BATCH, offsetof(Admin, discard_batch)}};

static void
set_place(Place *place, PlaceKind kind, const char *text)
{
	place->twice = place->kind != PLACE_NOWHERE;
	place->kind = kind;
	place->text = text;
}

/* -d: PgQ's "in the background" with an ini file, else a database, which is next. */
static void
read_d(Admin *a, Words *w, const char *next)
{
	bool have_ini = w->nargs > 0 &&
					(is_ini_name(w->args[0]) || !commands_find(w->args[0]));

	if (have_ini || next[0] == '-' || is_ini_name(next))
		a->daemon = true;
	else
	{
		w->dbname = next;
		optind++;
	}
}

static void
read_option(Admin *a, Words *w, int opt, int argc, char **argv)
{
	if (opt >= OPT_REGISTER && opt < OPT_END)
		w->given[opt] = true;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (flags[i].opt == opt)
		{
			*(bool *) ((char *) a + flags[i].offset) = true;
			return;
		}
	switch (opt)
	{
		case 1: /* not an option */
			w->args[w->nargs++] = optarg;
			break;
		case 'd':
			read_d(a, w, optind < argc ? argv[optind] : "-");
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
		case 'r':
			w->signal = "-r";
			break;
		case 's':
			w->signal = "-s";
			break;
		case 'k':
			w->signal = "-k";
			break;
		case OPT_COUNT:
			a->count = (long) number_or_fail("count", optarg);
			break;
		case OPT_TIMEOUT:
			a->timeout = number_or_fail("timeout", optarg);
			break;
		case OPT_FILTER:
			a->filter = optarg;
			break;
		case OPT_INTERVAL:
			a->interval = number_or_fail("interval", optarg);
			break;
		case OPT_EXEC:
			a->exec = optarg;
			break;
		case OPT_WORKERS:
			a->workers = (int) number_or_fail("workers", optarg);
			if (a->workers < 1 || a->workers > 1000)
				admin_fail(NULL, "option --workers takes 1 to 1000, not \"%s\"",
						   optarg);
			break;
		case OPT_KEY:
			a->key = optarg;
			break;
		case OPT_ON_ERROR:
			a->on_error = optarg;
			break;
		case OPT_RETRY_DELAY:
			a->retry_delay = number_or_fail("retry-delay", optarg);
			break;
		case OPT_MAX_RETRIES:
			a->max_retries = strcmp(optarg, "0") == 0
								 ? 0
								 : (int) number_or_fail("max-retries", optarg);
			break;
		case OPT_BEFORE:
			a->before = optarg;
			break;
		case OPT_FIELDS:
			a->fields = optarg;
			break;
		case 'V':
			puts("pgqadm version " PGQ_VERSION);
			exit(0);
		case OPT_TIME:
			set_place(&a->place, PLACE_TIME, optarg);
			break;
		case OPT_TICK:
			set_place(&a->place, PLACE_TICK, optarg);
			break;
		case OPT_START:
			set_place(&a->place, PLACE_START, NULL);
			break;
		case OPT_TO_END:
			set_place(&a->place, PLACE_END, NULL);
			break;
		case OPT_SLOT:
			a->slot = optarg;
			break;
		case OPT_INI:
			ini_print_sample(stdout, "pgqadm", pgqadm_ini_keys, sample);
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

static bool
knows_option(const Command *cmd, const char *name)
{
	for (const CommandOption *o = cmd->options; o && o->name; o++)
		if (strcmp(o->name, name) == 0)
			return true;
	return false;
}

/* Fails if an option was given that is of other commands only. */
static void
check_options(const Admin *a, const Words *w, const Command *cmd)
{
	for (const struct option *o = long_options; o->name; o++)
	{
		char hint[256] = "Commands with it:";

		if (o->val < OPT_REGISTER || !w->given[o->val] ||
			knows_option(cmd, o->name))
			continue;
		for (const Command *c = commands; c->name; c++)
			if (knows_option(c, o->name))
				snprintf(hint + strlen(hint), sizeof(hint) - strlen(hint),
						 " %s", c->name);
		admin_fail(hint, "command \"%s\" has no option --%s", cmd->name,
				   o->name);
	}
	if (a->daemon && cmd->run != admin_ticker)
		admin_fail("Commands with it: ticker",
				   "command \"%s\" has no option -d or --daemon", cmd->name);
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
	if (!ini_load(a->config, "pgqadm", INI_PYTHON, pgqadm_ini_keys, &ini,
				  &error))
		admin_fail(strstr(error, ".ini:") || strstr(error, "section")
					   ? "\"pgqadm --ini\" prints a sample with all keys."
					   : NULL,
				   "%s", error);
	if (ini.db == NULL)
		admin_fail("A line like \"db = dbname=shop host=127.0.0.1\" belongs "
				   "in section [pgqadm].",
				   "%s: key \"db\" is missing", a->config);
	a->conninfo = admin_make_conninfo(ini.db, w->host, w->port, w->user);
	/* libpgq looks there, too */
	if (ini.database_owners)
		setenv(TRUST_VARIABLE, ini.database_owners, 1);
	ini_free(pgqadm_ini_keys, &ini);
}

/* "relay check FILE" asks pgqrelay, and no database. */
static bool
checks_relay(const Words *w)
{
	return w->nargs > 1 && strcmp(w->args[0], "relay") == 0 &&
		   strcmp(w->args[1], "check") == 0;
}

/*
 * Read the command line into *a, the database's connect string included.  args
 * has room for argc words, and gets those of the command, *nargs of them.
 * Returns the command, or ends the program: after --help and the like, and
 * with a message if something is wrong.
 */
const Command *
options_read(Admin *a, int argc, char **argv, char ***args, int *nargs)
{
	Words w = {.args = *args};
	const Command *cmd;
	bool by_options;
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "-:qvdVrskh:p:U:", long_options,
							  NULL)) != -1)
		read_option(a, &w, opt, argc, argv);
	while (optind < argc)
		w.args[w.nargs++] = argv[optind++];

	if (w.help)
		help_print(w.nargs, w.args);

	/* The first word is CONFIG.ini unless the database is named otherwise. */
	by_options = w.dbname || w.host || w.port || w.user ||
				 getenv("PGDATABASE") || getenv("PGSERVICE");
	if (w.nargs > 0 && !w.dbname &&
		(is_ini_name(w.args[0]) || !(by_options || commands_find(w.args[0]))))
	{
		a->config = w.args[0];
		w.args++;
		w.nargs--;
	}
	else if ((!by_options && !checks_relay(&w)) || (w.signal && !w.dbname))
		admin_fail("Name an ini file first, or a database with -d.",
				   "need config file");

	if (w.signal)
	{
		if (a->config == NULL)
			admin_fail("The running ticker is found by the pid file that an "
					   "ini file names.",
					   "need config file");
		admin_exec_pgqd(a, w.signal);
	}
	if (w.nargs == 0)
		admin_fail("Try \"pgqadm --help\".", "need command");
	cmd = commands_find(w.args[0]);
	if (cmd == NULL)
		admin_fail("Try \"pgqadm --help\".", "unknown command: %s", w.args[0]);
	w.args++;
	w.nargs--;
	if (w.nargs < cmd->min_args ||
		(cmd->max_args >= 0 && w.nargs > cmd->max_args))
		admin_fail(NULL, "usage: pgqadm ... %s%s%s", cmd->name,
				   cmd->args[0] ? " " : "", cmd->args);
	check_options(a, &w, cmd);
	choose_database(a, &w);
	*args = w.args;
	*nargs = w.nargs;
	return cmd;
}
