/*-------------------------------------------------------------------------
 *
 * main.c
 *		pgqd: options, pidfile, signals to a running pgqd, the background.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/advice.h"
#include "ticker/config.h"
#include "ticker/daemon.h"
#include "common/log.h"

static const char usage[] =
	"usage: pgqd [switches] config.file\n"
	"Switches:\n"
	"  -v        Increase verbosity\n"
	"  -q        No output to console\n"
	"  -d        Daemonize\n"
	"  -h        Show help\n"
	"  -V        Show version\n"
	" --ini      Show sample config file\n"
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
	OPT_INI = 256
};

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'},    {"version", no_argument, NULL, 'V'},
	{"verbose", no_argument, NULL, 'v'}, {"quiet", no_argument, NULL, 'q'},
	{"daemon", no_argument, NULL, 'd'},  {"stop", no_argument, NULL, 's'},
	{"kill", no_argument, NULL, 'k'},    {"reload", no_argument, NULL, 'r'},
	{"ini", no_argument, NULL, OPT_INI}, {NULL, 0, NULL, 0}};

/*
 * Settings of these variables would change how values look in the stream, or
 * which database is meant.
 */
static const char *const unwanted_env[] = {"PGTZ",       "PGDATESTYLE",
										   "PGGEQO",     "PGCLIENTENCODING",
										   "PGDATABASE", "PGAPPNAME"};

#define PIDFILE_HINT "Add a line like pidfile = ~/pgqd.pid to the ini file."

/* By errno, with what to do about it. */
static void
log_failed_open(const char *what, const char *path)
{
	const char *reason = strerror(errno);
	const char *advice = advice_find(reason);

	log_fatal("could not open %s \"%s\": %s%s%s", what, path, reason,
			  advice ? " - " : "", advice ? advice : "");
}

/* Read the process id in the pidfile; 0 if there is none. */
static pid_t
read_pid(const char *pidfile)
{
	FILE *fp = fopen(pidfile, "r");
	long pid = 0;

	if (fp == NULL)
		return 0;
	if (fscanf(fp, "%ld", &pid) != 1 || pid <= 1)
		pid = 0;
	fclose(fp);
	return (pid_t) pid;
}

/*
 * Does a running pgqd hold the lock on the pidfile?  If not, the process of
 * that number may be anyone's by now.
 */
static bool
is_locked(const char *pidfile)
{
	int fd = open(pidfile, O_RDONLY | O_CLOEXEC);
	bool locked;

	if (fd < 0)
		return false;
	locked = flock(fd, LOCK_SH | LOCK_NB) < 0;
	close(fd);
	return locked;
}

/* -s, -k and -r; returns the exit code. */
static int
send_signal(const Config *config, int signum, const char *name)
{
	pid_t pid;

	if (config->pidfile == NULL)
	{
		fprintf(stderr, "No pidfile configured\nhint: " PIDFILE_HINT "\n");
		return 1;
	}
	pid = is_locked(config->pidfile) ? read_pid(config->pidfile) : 0;
	if (pid == 0 || (kill(pid, signum) < 0 && errno == ESRCH))
	{
		fprintf(stderr, "Old process is not running\n");
		return 1;
	}
	if (kill(pid, 0) < 0 && errno != ESRCH)
	{
		fprintf(stderr, "Could not send %s to process %d: %s\n", name,
				(int) pid, strerror(errno));
		return 1;
	}
	printf("%s sent\n", name);
	return 0;
}

/* Is the file that we have open still the one of this name? */
static bool
is_same_file(int fd, const char *path)
{
	struct stat opened;
	struct stat named;

	return fstat(fd, &opened) == 0 && stat(path, &named) == 0 &&
		   opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/*
 * Open and lock the pidfile.  The lock goes with the process, so a file left
 * behind by a crash is no obstacle.  Returns -1 after a message.
 */
static int
lock_pidfile(const char *pidfile)
{
	int fd = open(pidfile, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
	{
		log_failed_open("pidfile", pidfile);
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
	{
		log_fatal("another pgqd is running with pidfile \"%s\", process %d - "
				  "\"pgqd -r\" has it read its ini file again, \"pgqd -s\" "
				  "stops it.",
				  pidfile, (int) read_pid(pidfile));
		close(fd);
		return -1;
	}
	if (!is_same_file(fd, pidfile))
	{
		/* one that ended just now has removed it */
		close(fd);
		return lock_pidfile(pidfile);
	}
	return fd;
}

static bool
write_pidfile(int fd, const char *pidfile, pid_t pid)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%d\n", (int) pid);

	if (ftruncate(fd, 0) == 0 && pwrite(fd, text, len, 0) == len)
		return true;
	log_fatal("could not write pidfile \"%s\": %s", pidfile, strerror(errno));
	return false;
}

/*
 * Go on in the background; the parent exits when the pidfile is written.  The
 * working directory stays, for what is named relative to it.
 */
static bool
enter_background(int pid_fd, const char *pidfile)
{
	int null_fd;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
	{
		log_fatal("could not fork: %s", strerror(errno));
		return false;
	}
	if (pid > 0)
	{
		if (write_pidfile(pid_fd, pidfile, pid))
			_exit(0);
		kill(pid, SIGTERM);
		_exit(1);
	}
	if (setsid() < 0)
	{
		log_fatal("could not enter the background: %s", strerror(errno));
		return false;
	}
	null_fd = open("/dev/null", O_RDWR);
	if (null_fd >= 0)
	{
		dup2(null_fd, STDIN_FILENO);
		dup2(null_fd, STDOUT_FILENO);
		dup2(null_fd, STDERR_FILENO);
		if (null_fd > STDERR_FILENO)
			close(null_fd);
	}
	log_set_console(false);
	return true;
}

/* From the config to the loop's end; returns the exit code. */
static int
run(Config *config, const char *config_file, bool background)
{
	int pid_fd = -1;

	if (background && config->pidfile == NULL)
	{
		log_fatal("-d needs a pidfile in the config file - " PIDFILE_HINT);
		return 1;
	}
	if (!log_set_file(config->logfile))
	{
		log_failed_open("log file", config->logfile);
		return 1;
	}
	if (config->pidfile && (pid_fd = lock_pidfile(config->pidfile)) < 0)
		return 1;
	log_set_syslog(config->syslog, config->syslog_ident,
				   config->syslog_facility);
	/* whoever knows the pidfile may send one */
	daemon_hold_signals(true);
	if (background
			? !enter_background(pid_fd, config->pidfile)
			: pid_fd >= 0 && !write_pidfile(pid_fd, config->pidfile, getpid()))
		return 1;

	daemon_run(config, config_file);

	if (pid_fd >= 0)
		unlink(config->pidfile);
	return 0;
}

int
main(int argc, char **argv)
{
	Config config;
	char *error;
	const char *file;
	bool background = false;
	int signum = 0;
	const char *signame = NULL;
	int opt;
	int code;

	while ((opt = getopt_long(argc, argv, "qvdskrhV", long_options, NULL)) !=
		   -1)
	{
		switch (opt)
		{
			case 'q':
				log_set_console(false);
				break;
			case 'v':
				log_set_level(LEVEL_DEBUG);
				break;
			case 'd':
				background = true;
				break;
			case 's':
				signum = SIGINT;
				signame = "SIGINT";
				break;
			case 'k':
				signum = SIGTERM;
				signame = "SIGTERM";
				break;
			case 'r':
				signum = SIGHUP;
				signame = "SIGHUP";
				break;
			case 'V':
				printf("pgqd version %s\n", PGQD_VERSION);
				return 0;
			case 'h':
				fputs(usage, stdout);
				return 0;
			case OPT_INI:
				config_print_sample();
				return 0;
			default:
				fputs(usage, stderr);
				return 1;
		}
	}
	if (optind != argc - 1)
	{
		fprintf(stderr, optind >= argc ? "pgqd requires config file\n"
									   : "pgqd takes one config file\n");
		fputs("hint: \"pgqd --ini > pgqd.ini\" writes one to begin with.\n",
			  stderr);
		return 1;
	}

	file = argv[optind];
	if (!config_load(&config, file, &error))
	{
		const char *advice = advice_find(error);

		fprintf(stderr, "pgqd: %s\nhint: %s\n", error,
				advice ? advice : "\"pgqd --ini\" prints all keys.");
		free(error);
		return 1;
	}
	if (signum)
		code = send_signal(&config, signum, signame);
	else
	{
		signal(SIGPIPE, SIG_IGN);
		/* a log that may not grow is like a full disk: go on without it */
		signal(SIGXFSZ, SIG_IGN);
		for (size_t i = 0; i < sizeof(unwanted_env) / sizeof(char *); i++)
			unsetenv(unwanted_env[i]);
		code = run(&config, file, background);
	}
	config_free(&config);
	return code;
}
