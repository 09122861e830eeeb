/*-------------------------------------------------------------------------
 *
 * forward.h
 *		Entry points of PgQ 3's libraries that lead to those of pgq.so.
 *
 * A database that was not upgraded yet, or was moved here by pg_upgrade, has
 * functions that name the old libraries.  What they need of the catalogue is
 * what PgQ 3 has.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_FORWARD_H
#define PGQ_FORWARD_H

#include "postgres.h"

#include "fmgr.h"

#include "event/compat.h"

/* Defines the SQL-callable function "name", which calls its namesake. */
#define FORWARD_TO_PGQ(name)                                                   \
	PG_FUNCTION_INFO_V1(name);                                                 \
	Datum name(PG_FUNCTION_ARGS)                                               \
	{                                                                          \
		static PGFunction target = NULL;                                       \
		if (target == NULL)                                                    \
			target = load_external_function("$libdir/pgq", #name, true, NULL); \
		return target(fcinfo);                                                 \
	}                                                                          \
	extern int no_such_variable

#endif
