/*-------------------------------------------------------------------------
 *
 * report.c
 *		What pgqrelay tells of itself by HTTP.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#include "relay/report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/memory.h"

char *
report_health(Relay *const *relays, int *status)
{
	PQExpBuffer out = text_begin();

	for (; *relays; relays++)
	{
		RelayStatus s;

		relay_get_status(*relays, &s);
		if (s.state == RELAY_RUNNING)
			continue;
		*status = 503;
		appendPQExpBuffer(
			out, "%s: %s for %lld s%s%s\n", relay_config(*relays)->name,
			relay_state_name(s.state), (long long) (time(NULL) - s.since),
			s.error[0] ? ": " : "", s.error);
	}
	if (out->len == 0)
		appendPQExpBufferStr(out, "ok\n");
	return text_end(out);
}

typedef struct Metric
{
	const char *name;
	const char *type;
	const char *help;
	size_t offset; /* of an int64_t in RelayStatus */
} Metric;

static const Metric metrics[] = {
	{"events_total", "counter", "Events that the engine was given.",
	 offsetof(RelayStatus, events)},
	{"bytes_total", "counter", "Bytes of their bodies.",
	 offsetof(RelayStatus, bytes)},
	{"batches_total", "counter", "Batches that were finished.",
	 offsetof(RelayStatus, batches)},
	{"dead_events_total", "counter", "Events that the engine would not take.",
	 offsetof(RelayStatus, dead)},
	{"batch", "gauge", "Id of the batch under way; 0: none.",
	 offsetof(RelayStatus, batch)},
	{"batch_events", "gauge", "Place of the event sent last in it.",
	 offsetof(RelayStatus, place)}};

static void
append_labels(PQExpBuffer out, const Relay *relay)
{
	const RelayConfig *config = relay_config(relay);

	text_append_label(out, "{", "relay", config->name);
	text_append_label(out, ",", "queue", config->queue);
	text_append_label(out, ",", "consumer", config->consumer);
	appendPQExpBufferChar(out, '}');
}

char *
report_metrics(Relay *const *relays)
{
	PQExpBuffer out = text_begin();

	appendPQExpBufferStr(out, "# HELP pgqrelay_running 1: nothing is wrong.\n"
							  "# TYPE pgqrelay_running gauge\n");
	for (int i = 0; relays[i]; i++)
	{
		RelayStatus s;

		relay_get_status(relays[i], &s);
		appendPQExpBufferStr(out, "pgqrelay_running");
		append_labels(out, relays[i]);
		appendPQExpBuffer(out, " %d\n", s.state == RELAY_RUNNING);
	}
	for (size_t m = 0; m < sizeof(metrics) / sizeof(metrics[0]); m++)
	{
		appendPQExpBuffer(out, "# HELP pgqrelay_%s %s\n# TYPE pgqrelay_%s %s\n",
						  metrics[m].name, metrics[m].help, metrics[m].name,
						  metrics[m].type);
		for (int i = 0; relays[i]; i++)
		{
			RelayStatus s;

			relay_get_status(relays[i], &s);
			appendPQExpBuffer(out, "pgqrelay_%s", metrics[m].name);
			append_labels(out, relays[i]);
			appendPQExpBuffer(
				out, " %" PRId64 "\n",
				*(const int64_t *) ((const char *) &s + metrics[m].offset));
		}
	}
	return text_end(out);
}
