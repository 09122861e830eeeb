/*-------------------------------------------------------------------------
 *
 * report.h
 *		What pgqd tells of itself by HTTP.
 *
 * Each function returns malloc'd UTF-8 text, made from what is known already:
 * no query is sent.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_REPORT_H
#define PGQD_REPORT_H

#include "common/buffer.h"
#include "ticker/config.h"
#include "ticker/database.h"

/* What is told of. */
typedef struct Report
{
	const Config *config;
	Database *const *databases;
	int n;
	const char *list_fault; /* databases can not be listed; NULL: they can */
} Report;

/* metrics.c: Prometheus' text format */
extern char *report_metrics(const Report *report);

/* health.c: one line a fault; *status becomes 503 if there is one */
extern char *report_health(const Report *report, int *status);

/* the same, and 503 while it stands by for another */
extern char *report_readiness(const Report *report, int *status);
extern int report_faults(PQExpBuffer out, const Config *config,
						 const Database *db);
extern void report_warnings(PQExpBuffer out, const Database *db);

/* page.c: a page for people */
extern char *report_page(const Report *report, const char *filter, bool all);

#endif /* PGQD_REPORT_H */
