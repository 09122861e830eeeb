/*-------------------------------------------------------------------------
 *
 * seek.c
 *		pgqadm seek: moves a consumer back or forwards.
 *
 * What it would do is found out by doing it in a transaction that is rolled
 * back: nobody waits while the user makes up his mind.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/seek.h"
#include "common/memory.h"

#define HINT "Say where: --time T, --tick N, --start or --end."

/* Fails unless one place is given or, if "optional", none. */
void
seek_check_options(const Admin *a, bool optional)
{
	if (a->place.twice || (a->place.kind == PLACE_NOWHERE && !optional))
		admin_fail(HINT, "%s",
				   a->place.twice ? "more than one place is given"
								  : "no place is given");
}

/* Moves the consumer to the place, in a transaction that is open. */
void
seek_move(Admin *a, const char *queue, const char *consumer)
{
	const Place *place = &a->place;
	const char *text = place->kind == PLACE_START ? "-infinity"
					   : place->kind == PLACE_END ? "infinity"
												  : place->text;
	const char *params[4] = {queue, consumer, text,
							 a->discard_batch ? "true" : "false"};

	if (!admin_has_function(a, "pgq.seek_consumer(text,text,bigint,boolean)"))
		admin_fail("Update the extension: ALTER EXTENSION pgq UPDATE;",
				   "PgQ of this database cannot move consumers");
	PQclear(admin_query(a, NULL,
						place->kind == PLACE_TICK
							? "select pgq.seek_consumer($1::text, $2::text, "
							  "$3::bigint, $4::boolean)"
							: "select pgq.seek_consumer($1::text, $2::text, "
							  "$3::timestamptz, $4::boolean)",
						4, params));
}

/* Where the consumer stands: tick, its time, its age, events up to it; or NULLs. */
static PGresult *
read_position(Admin *a, const char *queue, const char *consumer)
{
	const char *params[2] = {queue, consumer};

	return admin_query(
		a, NULL,
		"select t.tick_id, pg_catalog.date_trunc('second', t.tick_time),"
		" pg_catalog.date_trunc('second', pg_catalog.now() - t.tick_time),"
		" t.tick_event_seq, c.current_batch"
		" from pgq.get_consumer_info($1::text, $2::text) c"
		" join pgq.queue q on q.queue_name = c.queue_name"
		" left join pgq.tick t on t.tick_queue = q.queue_id"
		" and t.tick_id = c.last_tick",
		2, params);
}

static void
say_position(const char *what, const PGresult *res)
{
	if (PQgetisnull(res, 0, 0))
		fprintf(stderr, "  %s nowhere: it has lost its position\n", what);
	else
		fprintf(stderr, "  %s tick %s of %s, %s ago\n", what,
				PQgetvalue(res, 0, 0), PQgetvalue(res, 0, 1),
				PQgetvalue(res, 0, 2));
}

/* Says what the move means. */
static void
say_plan(const char *queue, const char *consumer, const PGresult *from,
		 const PGresult *to)
{
	long long events = atoll(PQgetvalue(to, 0, 3)) -
					   atoll(PQgetvalue(from, 0, 3));

	fprintf(stderr, "Consumer %s of queue %s goes\n", consumer, queue);
	say_position("from", from);
	say_position("to", to);
	if (!PQgetisnull(from, 0, 4))
		fprintf(stderr, "  batch %s, which it has open, is given up\n",
				PQgetvalue(from, 0, 4));
	if (PQgetisnull(from, 0, 0))
		return;
	if (events < 0)
		fprintf(stderr, "  about %lld events come again\n", -events);
	else if (events > 0)
		fprintf(stderr, "  about %lld events are left out\n", events);
	else
		fprintf(stderr, "  no event comes again or is left out\n");
}

/* Asks whether to do it; fails where nobody can answer. */
static bool
is_wanted(void)
{
	char answer[16];

	if (!isatty(STDIN_FILENO))
		admin_fail("Option --yes does it without asking.",
				   "nobody is there to say yes");
	fputs("Do it? [y/N] ", stderr);
	return fgets(answer, sizeof(answer), stdin) != NULL &&
		   (answer[0] == 'y' || answer[0] == 'Y');
}

/* seek QUEUE CONSUMER --time T | --tick N | --start | --end */
void
admin_seek(Admin *a, int argc, char **argv)
{
	PGresult *from;
	PGresult *to;
	char *tick;

	seek_check_options(a, false);
	admin_begin(a);
	from = read_position(a, argv[0], argv[1]);
	seek_move(a, argv[0], argv[1]);
	to = read_position(a, argv[0], argv[1]);
	PQclear(admin_query(a, NULL, "rollback", 0, NULL));

	if (!a->quiet || !a->yes)
		say_plan(argv[0], argv[1], from, to);
	if (!a->yes && !is_wanted())
		admin_fail(NULL, "nothing was changed");

	/* to what was shown, wherever the end is by now */
	tick = text_copy(PQgetvalue(to, 0, 0));
	a->place = (Place){.kind = PLACE_TICK, .text = tick};
	admin_begin(a);
	seek_move(a, argv[0], argv[1]);
	PQclear(admin_query(a, NULL, "commit", 0, NULL));
	admin_say(a, "Consumer %s of queue %s stands at tick %s", argv[1], argv[0],
			  tick);
	free(tick);
	PQclear(from);
	PQclear(to);
}
