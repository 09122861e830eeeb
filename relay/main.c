/*-------------------------------------------------------------------------
 *
 * main.c
 *		pgqrelay: its options, and from the config to the loop.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/process.h"
#include "common/thread.h"
#include "relay/config.h"
#include "relay/daemon.h"
#include "relay/relay.h"
#include "relay/target.h"
#include "version.h"

static const char usage[] =
	"usage: pgqrelay [switches] config.file\n"
	"Switches:\n"
	"  -v        Increase verbosity\n"
	"  -q        No output to console\n"
	"  -d        Daemonize\n"
	"  -h        Show help\n"
	"  -V        Show version, and what targets there are\n"
	" --ini      Show sample config file\n"
	" --check    Try each queue and target, send nothing\n"
	"  -s        Stop: send SIGINT to running process\n"
	"  -k        Kill: send SIGTERM to running process\n"
	"  -r        Reload: send SIGHUP to running process\n"
	"Example:\n"
	"  pgqrelay --ini > pgqrelay.ini\n"
	"  pgqrelay --check pgqrelay.ini\n"
	"  pgqrelay -d pgqrelay.ini\n";

/* Values of getopt_long() for options without a letter. */
enum
{
	OPT_INI = 256,
	OPT_CHECK
};

static const struct option long_options[] = {
	PROCESS_LONG_SWITCHES,
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{"ini", no_argument, NULL, OPT_INI},
	{"check", no_argument, NULL, OPT_CHECK},
	{NULL, 0, NULL, 0}};

/* --check: a line for each relay; returns the exit code. */
static int
check(const Config *config)
{
	int code = 0;

	for (int i = 0; config->relays[i]; i++)
	{
		char *error = NULL;

		if (relay_check(config->relays[i], &error))
			printf("%s: ok\n", config->relays[i]->name);
		else
		{
			printf("%s: %s\n", config->relays[i]->name, error);
			code = 1;
		}
		free(error);
	}
	return code;
}

int
main(int argc, char **argv)
{
	Config config;
	char *error;
	bool check_only = false;
	ProcessSwitches switches = {0};
	int opt;
	int code = 1;
	bool ended = true;

	process_set_name("pgqrelay");
	while ((opt = getopt_long(argc, argv, PROCESS_SWITCHES "hV", long_options,
							  NULL)) != -1)
	{
		if (process_take_switch(&switches, opt))
			continue;
		switch (opt)
		{
			case 'V':
				printf("pgqrelay version %s\nTargets:\n", PGQ_VERSION);
				target_print_all();
				return 0;
			case 'h':
				fputs(usage, stdout);
				return 0;
			case OPT_INI:
				config_print_sample();
				return 0;
			case OPT_CHECK:
				check_only = true;
				break;
			default:
				fputs(usage, stderr);
				return 1;
		}
	}
	if (optind != argc - 1)
	{
		fprintf(stderr, optind >= argc ? "pgqrelay requires config file\n"
									   : "pgqrelay takes one config file\n");
		fputs("hint: \"pgqrelay --ini > pgqrelay.ini\" writes one to begin "
			  "with.\n",
			  stderr);
		return 1;
	}
	if (!config_load(&config, argv[optind], target_check_config, &error))
	{
		fprintf(stderr,
				"pgqrelay: %s\nhint: \"pgqrelay --ini\" prints all "
				"keys.\n",
				error);
		free(error);
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	if (switches.signum)
		code = process_send_signal(config.process.pidfile, &switches);
	else if (check_only)
		code = check(&config);
	else if (process_begin(&config.process, switches.background))
	{
		ended = daemon_run(&config, argv[optind]);
		process_end(&config.process);
		code = 0;
	}
	if (ended)
		config_free(&config);
	/* libraries that clean up at exit would do so under a thread's feet */
	if (!ended || thread_is_any_running())
	{
		fflush(NULL);
		_exit(code);
	}
	return code;
}
