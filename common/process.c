/*-------------------------------------------------------------------------
 *
 * process.c
 *		What makes a program a daemon: pidfile, background, signals to a running
 *		one.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/advice.h"
#include "common/log.h"

static const char *program = "pgqd";

/* Tell how the program is called, for messages; a constant string. */
void
process_set_name(const char *name)
{
	program = name;
}

/* Take one of PROCESS_SWITCHES; false if it is none of them. */
bool
process_take_switch(ProcessSwitches *switches, int opt)
{
	static const struct
	{
		int opt;
		int signum;
		const char *name;
	} signals[] = {{'s', SIGINT, "SIGINT"},
				   {'k', SIGTERM, "SIGTERM"},
				   {'r', SIGHUP, "SIGHUP"}};

	switch (opt)
	{
		case 'q':
			log_set_console(false);
			return true;
		case 'v':
			log_set_level(LEVEL_DEBUG);
			return true;
		case 'd':
			switches->background = true;
			return true;
	}
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
	{
		if (signals[i].opt != opt)
			continue;
		switches->signum = signals[i].signum;
		switches->signame = signals[i].name;
		return true;
	}
	return false;
}

/* What to do where a pidfile is needed and none is configured. */
static const char *
pidfile_hint(void)
{
	static char hint[128];

	snprintf(hint, sizeof(hint),
			 "Add a line like pidfile = ~/%s.pid to the ini file.", program);
	return hint;
}

/* Say that a file could not be opened: by errno, with what to do about it. */
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
 * Does a running program hold the lock on the pidfile?  If not, the process of
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

/*
 * What -s, -k and -r do: send their signal to the program whose pidfile this is,
 * NULL: none is configured.  Says what came of it; returns the exit code.
 */
int
process_send_signal(const char *pidfile, const ProcessSwitches *switches)
{
	pid_t pid;

	if (pidfile == NULL)
	{
		fprintf(stderr, "No pidfile configured\nhint: %s\n", pidfile_hint());
		return 1;
	}
	pid = is_locked(pidfile) ? read_pid(pidfile) : 0;
	if (pid == 0 || (kill(pid, switches->signum) < 0 && errno == ESRCH))
	{
		fprintf(stderr, "Old process is not running\n");
		return 1;
	}
	if (kill(pid, 0) < 0 && errno != ESRCH)
	{
		fprintf(stderr, "Could not send %s to process %d: %s\n",
				switches->signame, (int) pid, strerror(errno));
		return 1;
	}
	printf("%s sent\n", switches->signame);
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
		log_fatal("another %s is running with pidfile \"%s\", process %d - "
				  "\"%s -r\" has it read its ini file again, \"%s -s\" "
				  "stops it.",
				  program, pidfile, (int) read_pid(pidfile), program, program);
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

/* Returns false after a message. */
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

/*
 * Hold back the signals that the loop handles, or let them come: one that came
 * while there is no handler would end the process where it is.
 */
void
process_hold_signals(bool on)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(on ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/*
 * Open the log and the pidfile, and go into the background if asked to.  On
 * return signals are held back: whoever knows the pidfile may send one.
 *
 * Returns false after a message.
 */
bool
process_begin(const ProcessConfig *config, bool background)
{
	int pid_fd = -1;

	if (background && config->pidfile == NULL)
	{
		log_fatal("-d needs a pidfile in the config file - %s", pidfile_hint());
		return false;
	}
	if (!log_set_file(config->logfile))
	{
		log_failed_open("log file", config->logfile);
		return false;
	}
	if (config->pidfile && (pid_fd = lock_pidfile(config->pidfile)) < 0)
		return false;
	log_set_syslog(config->syslog, config->syslog_ident,
				   config->syslog_facility);
	process_hold_signals(true);
	if (background)
		return enter_background(pid_fd, config->pidfile);
	return pid_fd < 0 || write_pidfile(pid_fd, config->pidfile, getpid());
}

/* Remove the pidfile; the lock on it goes with the process. */
void
process_end(const ProcessConfig *config)
{
	if (config->pidfile)
		unlink(config->pidfile);
}
