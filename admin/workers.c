/*-------------------------------------------------------------------------
 *
 * workers.c
 *		pgqadm consume --workers: so many processes, and this one looks after
 *		them.
 *
 * A worker that a signal has ended is started anew; what it had at hand another
 * one gets meanwhile.  One that fails ends all.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/admin.h"
#include "common/memory.h"

static pid_t *pids; /* of the workers, 0: none any more */
static int npids;
static volatile sig_atomic_t stopping;

static void
signal_workers(int signo)
{
	for (int i = 0; i < npids; i++)
		if (pids[i] > 0)
			kill(pids[i], signo);
}

/* A second signal ends a worker on the spot, as it does without workers. */
static void
handle_stop(int signo)
{
	stopping = 1;
	signal_workers(SIGTERM);
}

/* True in the new worker. */
static bool
start_worker(int i)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	pid_t parent = getpid();
	sigset_t block;
	sigset_t mask;
	pid_t pid;

	/* a signal is for this process, or for the worker once it is one */
	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, &mask);
	pid = fork();
	if (pid == 0)
	{
		/* it ends when we do, and ^C is for us to pass on */
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(1);
		sigaction(SIGINT, &dfl, NULL);
		sigaction(SIGTERM, &dfl, NULL);
	}
	else
		pids[i] = pid;
	sigprocmask(SIG_SETMASK, &mask, NULL);
	if (pid < 0)
	{
		int save_errno = errno;

		signal_workers(SIGTERM);
		admin_fail(NULL, "could not start a worker: %s", strerror(save_errno));
	}
	return pid == 0;
}

/*
 * Starts the workers.  Returns only in them, with their number from 1 on; the
 * process that was there before ends when all have ended.
 */
int
admin_run_workers(Admin *a)
{
	struct sigaction stop = {.sa_handler = handle_stop};
	int left = a->workers;
	bool failed = false;

	npids = a->workers;
	pids = memory_make(npids * sizeof(pid_t));
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	for (int i = 0; i < npids; i++)
		if (start_worker(i))
			return i + 1;

	while (left > 0)
	{
		int status;
		pid_t pid = waitpid(-1, &status, 0);
		int i = 0;

		while (i < npids && pids[i] != pid)
			i++;
		if (pid < 0 || i == npids)
			continue;
		pids[i] = 0;
		if (WIFSIGNALED(status) && !stopping)
		{
			admin_warn("worker %d was ended by signal %d; another one is "
					   "started",
					   i + 1, WTERMSIG(status));
			sleep(1);
			if (start_worker(i))
				return i + 1;
			continue;
		}
		if ((!WIFEXITED(status) || WEXITSTATUS(status) != 0) && !failed)
		{
			failed = true;
			stopping = 1;
			signal_workers(SIGTERM);
		}
		left--;
	}
	exit(failed ? 1 : 0);
}
