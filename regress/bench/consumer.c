/*
 * consumer.c: reads and finishes batches until there is none, by libpgq, and
 * prints how many batches and events there were and the seconds it took.
 *
 *		consumer CONNINFO QUEUE CONSUMER
 */
#include <stdio.h>

#include <libpgq.h>

#include "common/clock.h"

int
main(int argc, char **argv)
{
	PgqConsumer *consumer = pgq_open(argv[1], argv[2], argv[3], 0);
	long batches = 0;
	long events = 0;
	double start = clock_seconds();
	PgqEvent event;
	PgqResult rc;

	while ((rc = pgq_next_batch(consumer)) == PGQ_OK)
	{
		while ((rc = pgq_next_event(consumer, &event)) == PGQ_OK)
			events++;
		if (rc == PGQ_NONE)
			rc = pgq_finish(consumer);
		if (rc != PGQ_OK)
			break;
		batches++;
	}
	if (rc != PGQ_NONE)
		fprintf(stderr, "%s\n", pgq_error(consumer));
	printf("%ld %ld %.6f\n", batches, events, clock_seconds() - start);
	pgq_close(consumer);
	return rc == PGQ_NONE ? 0 : 1;
}
