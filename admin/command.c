/*-------------------------------------------------------------------------
 *
 * command.c
 *		Files for a batch's lines, and the run of a command on them.
 *
 * The command reads a file that holds the whole batch before it begins: the end
 * of its input is the end of the batch, whatever happens to us meanwhile.
 *
 * Between us and the command stands a guard, a process that only waits for the
 * end of either: who is killed can't end others himself.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "admin/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Seconds between SIGTERM and SIGKILL for a command that nobody waits for. */
#define TERM_PATIENCE 5

/* Descriptors that the guard may have got from us and must not hold open. */
#define HIGHEST_FD 1023

/* ---- files ---- */

FILE *
command_make_file(void)
{
	const char *dir = getenv("TMPDIR");
	char *path;
	FILE *file = NULL;
	int fd;

	if (asprintf(&path, "%s/pgqadm.XXXXXX", dir && *dir ? dir : "/tmp") < 0)
		return NULL;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
	{
		unlink(path);
		file = fdopen(fd, "w+");
		if (file == NULL)
			close(fd);
	}
	free(path);
	return file;
}

/* ---- the command ---- */

static void exec_command(const char *text, int input, int answer)
	__attribute__((noreturn));

/* In the command's process. */
static void
exec_command(const char *text, int input, int answer)
{
	sigset_t none;

	setpgid(0, 0);
	/* the guard may be killed, too */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(input, STDIN_FILENO) < 0 ||
		(answer >= 0 && answer != COMMAND_ANSWER_FD &&
		 dup2(answer, COMMAND_ANSWER_FD) < 0))
		_exit(127);
	if (answer == COMMAND_ANSWER_FD)
		fcntl(answer, F_SETFD, 0);
	execl("/bin/sh", "sh", "-c", text, (char *) NULL);
	_exit(127);
}

/* ---- the guard ---- */

/* Nobody waits for the command any more: ends it with all of its group. */
static void
end_group(pid_t group)
{
	const struct timespec nap = {.tv_nsec = 100 * 1000 * 1000};

	kill(-group, SIGTERM);
	for (int i = 0; i < TERM_PATIENCE * 10 && kill(-group, 0) == 0; i++)
	{
		nanosleep(&nap, NULL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	kill(-group, SIGKILL);
}

static void exit_like(int status) __attribute__((noreturn));

/* Ends the guard as the command has ended. */
static void
exit_like(int status)
{
	const struct rlimit no_core = {0, 0};
	sigset_t none;

	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	setrlimit(RLIMIT_CORE, &no_core);
	signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	raise(WTERMSIG(status));
	_exit(128 + WTERMSIG(status));
}

static void run_guard(const char *text, int input, int answer, pid_t parent)
	__attribute__((noreturn));

static void
run_guard(const char *text, int input, int answer, pid_t parent)
{
	sigset_t set;
	int status;
	pid_t pid;

	setpgid(0, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_SETMASK, &set, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127);

	pid = fork();
	if (pid == 0)
		exec_command(text, input, answer);
	if (pid < 0)
		_exit(127);
	setpgid(pid, pid); /* whoever comes first */

	/* Our session must end with us, so the guard must not hold its socket. */
	for (int fd = STDERR_FILENO + 1; fd <= HIGHEST_FD; fd++)
		close(fd);
	for (;;)
	{
		if (sigwaitinfo(&set, NULL) == SIGTERM)
		{
			end_group(pid);
			_exit(127);
		}
		if (waitpid(pid, &status, WNOHANG) == pid)
			exit_like(status);
	}
}

bool
command_run(const char *text, FILE *input, FILE *answer, int *status)
{
	pid_t parent = getpid();
	pid_t guard;

	/* the two share the place in the file */
	if (fflush(input) != 0 || lseek(fileno(input), 0, SEEK_SET) < 0)
		return false;
	fflush(stdout);
	guard = fork();
	if (guard == 0)
		run_guard(text, fileno(input), answer ? fileno(answer) : -1, parent);
	if (guard < 0)
		return false;
	while (waitpid(guard, status, 0) < 0)
		if (errno != EINTR)
			return false;
	return true;
}
