/*
 * worker.c: one of several workers of a consumer, by libpgq.  It waits a millisecond
 * for each event, as for an answer of somebody else, until all is done.
 *
 *		worker CONNINFO QUEUE CONSUMER NAME
 */
#include <stdio.h>
#include <time.h>

#include <libpgq.h>

int
main(int argc, char **argv)
{
	PgqConsumer *consumer = pgq_open(argv[1], argv[2], argv[3], 0);
	const struct timespec work = {.tv_nsec = 1000000};
	long events = 0;
	PgqEvent event;
	PgqResult rc;

	pgq_set_worker(consumer, argv[4], 60, "extra1");
	for (;;)
	{
		rc = pgq_next_batch(consumer);
		if (rc == PGQ_NONE && !pgq_others_work(consumer))
			break;
		if (rc == PGQ_NONE)
			rc = pgq_wait(consumer, 1000);
		else if (rc == PGQ_OK)
		{
			while ((rc = pgq_next_event(consumer, &event)) == PGQ_OK)
			{
				nanosleep(&work, NULL);
				events++;
			}
			if (rc == PGQ_NONE)
				rc = pgq_finish(consumer);
		}
		if (rc != PGQ_OK && rc != PGQ_NONE)
			break;
	}
	if (rc != PGQ_NONE)
		fprintf(stderr, "%s\n", pgq_error(consumer));
	printf("%ld\n", events);
	pgq_close(consumer);
	return rc == PGQ_NONE ? 0 : 1;
}
