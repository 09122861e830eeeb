/*-------------------------------------------------------------------------
 *
 * admin.h
 *		What the files of pgqadm share: the command line as read, the
 *		connection, and how it talks to its user.
 *
 * Results go to stdout; everything else goes to stderr, each line led by
 * "pgqadm: ", "detail: " or "hint: ".  A command that fails ends the program
 * with exit status 1 through one of the admin_fail functions.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQADM_H
#define PGQADM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <libpq-fe.h>

/* Where in a queue, for the commands seek and register. */
typedef enum PlaceKind
{
	PLACE_NOWHERE,
	PLACE_TIME,
	PLACE_TICK,
	PLACE_START,
	PLACE_END
} PlaceKind;

typedef struct Place
{
	PlaceKind kind;
	bool twice;       /* more than one was given */
	const char *text; /* of a time or a tick */
} Place;

/* The command line and the ini file, put together. */
typedef struct Admin
{
	bool quiet;         /* -q: results and errors only */
	bool verbose;       /* -v */
	bool daemon;        /* -d, for the command ticker */
	const char *config; /* ini file or NULL */
	char *conninfo;     /* libpq's; may hold a password: never shown */
	PGconn *conn;       /* made by admin_connect() */
	bool pooled;        /* through a pooler: its session is not ours */
	char *begin;        /* then: SQL that begins each transaction */
	bool json;          /* --json, for commands that know it */
	int no_connect;     /* exit status if the server can't be reached */
	bool looks_itself;  /* admin_connect() does not ask whose PgQ it is */

	bool without_copy; /* --without-copy, for the command resync */
	const char *slot;  /* --slot, for the same */
	bool wait;         /* --wait, for capture and resync */
	bool consumers;    /* --consumers, for the command drain */
	bool dry_run;      /* --dry-run, for the command migrate */

	/* options of seek, some of register too */
	Place place;
	bool yes;           /* --yes: do not ask */
	bool discard_batch; /* --discard-batch */

	const char *before; /* --before, for dead purge */
	bool all;           /* --all, for dead */

	const char *filter; /* --filter, for top; NULL: not given */
	double interval;    /* --interval, for the command top; seconds */

	/* options of consume; top has "once", drain "timeout" */
	bool do_register;
	bool once;
	long count;     /* 0 = no limit */
	double timeout; /* seconds, 0 = none */
	const char *exec;
	bool confirm;
	const char *fields;
	const char *on_error; /* NULL: not given */
	double retry_delay;   /* seconds, 0: not given */
	int max_retries;      /* negative: not given */
	int workers;          /* 0: not by shares */
	const char *key;
} Admin;

#define ADMIN_NORETURN __attribute__((noreturn))
#define ADMIN_PRINTF(a, b) __attribute__((format(printf, a, b)))

/* say.c */
extern void admin_fail(const char *hint, const char *fmt, ...) ADMIN_NORETURN
	ADMIN_PRINTF(2, 3);
extern void admin_warn(const char *fmt, ...) ADMIN_PRINTF(1, 2);
extern void admin_say(const Admin *a, const char *fmt, ...) ADMIN_PRINTF(2, 3);
extern void admin_print_lines(const char *text, int indent);
extern void admin_print_padded(const char *text, int width);
extern void admin_close_stdout(void);
extern int admin_message_length(const char *text);

/* connect.c */
extern PGconn *admin_try_connect(Admin *a);
extern PGconn *admin_begin_connect(const Admin *a);

/* query.c */
extern void admin_connect(Admin *a);
extern PGresult *admin_exec(Admin *a, const char *sql, int nparams,
							const Oid *types, const char *const *params);
extern void admin_begin(Admin *a);
extern void admin_set(Admin *a, const char *name, const char *value);
extern const char *admin_find_distrust(Admin *a, PGresult **res);
extern PGresult *admin_query(Admin *a, const char *hint, const char *sql,
							 int nparams, const char *const *params);
extern const char *admin_get_text(PGresult *res, int row, int column);
extern int admin_query_int(Admin *a, const char *hint, const char *sql,
						   int nparams, const char *const *params);
extern bool admin_has_function(Admin *a, const char *signature);

/* names.c */
extern const char *admin_find_table(Admin *a, const char *word);
extern char *admin_make_table_array(Admin *a, int argc, char **argv);

/* json.c */
extern void admin_write_json(FILE *out, const char *text);
extern void admin_print_object(const char *name, ...);

/* setup.c: the connect string, installing, running pgqd. */
extern char *admin_make_conninfo(const char *db, const char *host,
								 const char *port, const char *user);
extern void admin_install(Admin *a, int argc, char **argv);
extern void admin_ticker(Admin *a, int argc, char **argv);
extern const char *admin_find_program(const char *name);
extern void admin_exec_pgqd(const Admin *a, const char *option) ADMIN_NORETURN;

/* queue.c */
extern void admin_create(Admin *a, int argc, char **argv);
extern void admin_drop(Admin *a, int argc, char **argv);
extern void admin_register(Admin *a, int argc, char **argv);
extern void admin_unregister(Admin *a, int argc, char **argv);
extern void admin_config(Admin *a, int argc, char **argv);

/* dead.c */
extern void admin_dead(Admin *a, int argc, char **argv);

/* seek.c */
extern void admin_seek(Admin *a, int argc, char **argv);

/* status.c */
extern void admin_status(Admin *a, int argc, char **argv);
extern void admin_print_slots(Admin *a);
extern void admin_print_slots_json(Admin *a);

/* doctor.c */
extern void admin_doctor(Admin *a, int argc, char **argv);

/* capture.c */
extern void admin_capture(Admin *a, int argc, char **argv);
extern void admin_uncapture(Admin *a, int argc, char **argv);
extern void admin_slot(Admin *a, int argc, char **argv);

/* copy.c */
extern void admin_cancel(Admin *a, int argc, char **argv);
extern void admin_resync(Admin *a, int argc, char **argv);
extern void admin_print_copies(Admin *a);
extern char *admin_read_time(Admin *a);
extern void admin_wait_copies(Admin *a, const char *queue, const char *table,
							  const char *since);

/* top.c */
extern void admin_top(Admin *a, int argc, char **argv);

/* migrate.c */
extern void admin_migrate(Admin *a, int argc, char **argv);

/* drain.c */
extern void admin_drain(Admin *a, int argc, char **argv);

/* relay.c */
extern void admin_relay(Admin *a, int argc, char **argv);

/* source.c */
extern void admin_print_sources(Admin *a, const char *none);
extern void admin_source(Admin *a, int argc, char **argv);

/* workers.c */
extern int admin_run_workers(Admin *a);

/* consume.c */
extern void admin_consume(Admin *a, int argc, char **argv);

#endif /* PGQADM_H */
