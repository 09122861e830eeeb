/*
 * rows.c: takes the rows of some statements one by one, as a client does that
 * works on each, drops them, and prints the seconds it took.
 *
 *		rows CONNINFO SQL
 */
#include <stdio.h>

#include <libpq-fe.h>

#include "common/clock.h"

int
main(int argc, char **argv)
{
	PGconn *conn = PQconnectdb(argv[1]);
	double start = clock_seconds();
	PGresult *result;

	if (!PQsendQuery(conn, argv[2]) || !PQsetSingleRowMode(conn))
	{
		fprintf(stderr, "%s", PQerrorMessage(conn));
		return 1;
	}
	while ((result = PQgetResult(conn)) != NULL)
	{
		if (PQresultStatus(result) == PGRES_FATAL_ERROR)
		{
			fprintf(stderr, "%s", PQresultErrorMessage(result));
			return 1;
		}
		PQclear(result);
	}
	printf("%.6f\n", clock_seconds() - start);
	PQfinish(conn);
	return 0;
}
