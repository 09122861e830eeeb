/*-------------------------------------------------------------------------
 *
 * advice.h
 *		What to do about messages of libpq and the server that do not say so.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQD_ADVICE_H
#define PGQD_ADVICE_H

extern const char *advice_find(const char *message);

#endif /* PGQD_ADVICE_H */
