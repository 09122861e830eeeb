/*-------------------------------------------------------------------------
 *
 * refusal.c
 *		Why there is no connection: because of something that passes, such as
 *		a server that starts, or of something that lasts until it is mended,
 *		such as a wrong password?
 *
 * libpq gives a failed connection no SQLSTATE, but writes it into a verbose
 * message, which has to be asked for before the server answers.
 *
 *-------------------------------------------------------------------------
 */
#include <poll.h>
#include <string.h>
#include <time.h>

#include "consumer/internal.h"

/* Seconds for a server that has just answered to answer again. */
#define ASK_SECONDS 5

/*
 * SQLSTATEs, or classes of them, of what lasts: authorization, database, rights
 * and names, settings in the connect string.
 */
static const char *const lasting[] = {"28", "3D000", "42", "22", "0A", NULL};

static bool
is_lasting(const char *sqlstate)
{
	for (int i = 0; lasting[i]; i++)
		if (strncmp(sqlstate, lasting[i], strlen(lasting[i])) == 0)
			return true;
	return false;
}

/*
 * Puts the first lasting SQLSTATE in a verbose message into sqlstate: several
 * hosts may have answered.  A line is  FATAL:  28P01: text,  whose first word
 * may be of any language.
 */
static bool
find_lasting(const char *message, char *sqlstate)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (const char *p = message; (p = strstr(p, ":  ")) != NULL; p++)
		if (strspn(p + 3, digits) == 5 && p[8] == ':' && is_lasting(p + 3))
		{
			memcpy(sqlstate, p + 3, 5);
			sqlstate[5] = '\0';
			return true;
		}
	return false;
}

/* Lets the connection come to success or failure, for a limited time. */
static PostgresPollingStatusType
finish_polling(PGconn *conn)
{
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;
	time_t end = time(NULL) + ASK_SECONDS;

	while ((state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING) &&
		   time(NULL) < end)
	{
		struct pollfd fd = {.fd = PQsocket(conn)};

		fd.events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
		if (poll(&fd, 1, ASK_SECONDS * 1000) > 0)
			state = PQconnectPoll(conn);
	}
	return state;
}

bool
libpgq_is_refused(const char *const *keys, const char *const *vals,
				  char *sqlstate)
{
	bool refused = false;
	PGconn *conn;

	switch (PQpingParams(keys, vals, 1))
	{
		case PQPING_NO_ATTEMPT:
			return true; /* the connect string is bad */
		case PQPING_OK:
			break;
		default:
			return false;
	}
	conn = PQconnectStartParams(keys, vals, 1);
	if (PQstatus(conn) != CONNECTION_BAD)
	{
		PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
		if (finish_polling(conn) == PGRES_POLLING_FAILED)
			refused = PQconnectionNeedsPassword(conn) ||
					  find_lasting(PQerrorMessage(conn), sqlstate);
	}
	PQfinish(conn);
	return refused;
}
