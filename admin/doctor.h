/*-------------------------------------------------------------------------
 *
 * doctor.h
 *		The checks of pgqadm doctor as a table.
 *
 * doctor_checks.c holds the table, doctor.c works through it.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQADM_DOCTOR_H
#define PGQADM_DOCTOR_H

typedef enum DoctorLevel
{
	DOCTOR_OK,
	DOCTOR_WARNING,
	DOCTOR_PROBLEM,
	/* a problem if this database captures tables, else a warning */
	DOCTOR_CAPTURE_PROBLEM
} DoctorLevel;

/* What must be there for a query to make sense; without it, it is skipped. */
typedef enum DoctorNeed
{
	NEED_SERVER,
	NEED_PGQ,     /* the extension, any version */
	NEED_CAPTURE, /* an extension that captures */
	NEED_SLOT     /* start_capture was called */
} DoctorNeed;

/*
 * One query.  Each row that it returns is a finding; {1}, {2} ... in the texts
 * stand for its columns.  The columns come from the server, so what goes into
 * "sql" must be quoted there.
 *
 * Rows of the table with the same name make one check.
 */
typedef struct DoctorCheck
{
	const char *name;
	DoctorNeed need;
	DoctorLevel level;
	const char *query;   /* $1: the client's clock, seconds since 1970 */
	const char *problem; /* what is wrong */
	const char *fix;     /* what to do, a sentence */
	const char *sql;     /* statements that do it, or NULL */
	const char *kinds;   /* without a query: of problems, with spaces between;
						  * "": all others */
} DoctorCheck;

/* Ended by a row without name. */
extern const DoctorCheck doctor_checks[];

#endif /* PGQADM_DOCTOR_H */
