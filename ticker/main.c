/*-------------------------------------------------------------------------
 *
 * main.c
 *		pgqd: its options, and from the config to the loop.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/advice.h"
#include "common/process.h"
#include "common/thread.h"
#include "ticker/config.h"
#include "ticker/daemon.h"
#include "version.h"

static const char usage[] =
	"usage: pgqd [switches] config.file\n"
	"Switches:\n"
	"  -v        Increase verbosity\n"
	"  -q        No output to console\n"
	"  -d        Daemonize\n"
	"  -h        Show help\n"
	"  -V        Show version\n"
	" --ini      Show sample config file\n"
	" --env      Read PGQD_... of the environment instead of a config file\n"
	"  -s        Stop: send SIGINT to running process\n"
	"  -k        Kill: send SIGTERM to running process\n"
	"  -r        Reload: send SIGHUP to running process\n"
	"Example:\n"
	"  pgqd --ini > pgqd.ini\n"
	"  pgqd -d pgqd.ini\n"
	"  pgqd -s pgqd.ini\n";

/* Values of getopt_long() for options without a letter. */
enum
{
	OPT_INI = 256,
	OPT_ENV
};

static const struct option long_options[] = {
	PROCESS_LONG_SWITCHES,
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{"ini", no_argument, NULL, OPT_INI},
	{"env", no_argument, NULL, OPT_ENV},
	{NULL, 0, NULL, 0}};

/*
 * Settings of these variables would change how values look in the stream, or
 * which database is meant.
 */
static const char *const unwanted_env[] = {"PGTZ",       "PGDATESTYLE",
										   "PGGEQO",     "PGCLIENTENCODING",
										   "PGDATABASE", "PGAPPNAME"};

/* Some five files for each database, which systems allow, but not at first. */
static void
allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int
main(int argc, char **argv)
{
	Config config;
	char *error;
	const char *file;
	bool environment = false;
	ProcessSwitches switches = {0};
	int opt;
	int code = 1;

	while ((opt = getopt_long(argc, argv, PROCESS_SWITCHES "hV", long_options,
							  NULL)) != -1)
	{
		if (process_take_switch(&switches, opt))
			continue;
		switch (opt)
		{
			case 'V':
				printf("pgqd version %s\n", PGQ_VERSION);
				return 0;
			case 'h':
				fputs(usage, stdout);
				return 0;
			case OPT_ENV:
				environment = true;
				break;
			case OPT_INI:
				config_print_sample();
				return 0;
			default:
				fputs(usage, stderr);
				return 1;
		}
	}
	if (optind != argc - (environment ? 0 : 1))
	{
		fputs(optind >= argc ? "pgqd requires config file\n"
			  : environment  ? "pgqd --env takes no config file\n"
							 : "pgqd takes one config file\n",
			  stderr);
		fputs("hint: \"pgqd --ini > pgqd.ini\" writes one to begin with.\n",
			  stderr);
		return 1;
	}

	file = environment ? NULL : argv[optind];
	if (!config_load(&config, file, &error))
	{
		const char *advice = advice_find(error);

		fprintf(stderr, "pgqd: %s\nhint: %s\n", error,
				advice ? advice : "\"pgqd --ini\" prints all keys.");
		free(error);
		return 1;
	}
	if (switches.signum)
		code = process_send_signal(config.process.pidfile, &switches);
	else
	{
		signal(SIGPIPE, SIG_IGN);
		/* a log that may not grow is like a full disk: go on without it */
		signal(SIGXFSZ, SIG_IGN);
		for (size_t i = 0; i < sizeof(unwanted_env) / sizeof(char *); i++)
			unsetenv(unwanted_env[i]);
		allow_files();
		if (process_begin(&config.process, switches.background))
		{
			daemon_run(&config, file);
			process_end(&config.process);
			code = 0;
		}
	}
	config_free(&config);
	/* libraries that clean up at exit would do so under a thread's feet */
	if (thread_is_any_running())
	{
		fflush(NULL);
		_exit(code);
	}
	return code;
}
