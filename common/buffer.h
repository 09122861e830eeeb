/*-------------------------------------------------------------------------
 *
 * buffer.h
 *		libpq's growing text buffer, for programs without the server's c.h.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_BUFFER_H
#define PGQ_BUFFER_H

/* libpq's header takes these to be there */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#ifndef pg_attribute_printf
#define pg_attribute_printf(f, a) __attribute__((format(printf, f, a)))
#endif

#include <stdarg.h> /* these two the next needs, and does not include from 17 on */
#include <stdbool.h>

#include <pqexpbuffer.h>

#endif /* PGQ_BUFFER_H */
