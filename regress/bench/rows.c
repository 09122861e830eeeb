/*
 * rows.c: takes the rows of some statements one by one, as a client does that
 * works on each, drops them, and prints the seconds it took.
 *
 *		rows CONNINFO SQL
 */
#include <stdio.h>
#include <sys/time.h>

#include <libpq-fe.h>

static double
now(void)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	return tv.tv_sec + tv.tv_usec / 1e6;
}

int
main(int argc, char **argv)
{
	PGconn *conn = PQconnectdb(argv[1]);
	double start = now();
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
	printf("%.6f\n", now() - start);
	PQfinish(conn);
	return 0;
}
