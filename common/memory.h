/*-------------------------------------------------------------------------
 *
 * memory.h
 *		Memory and texts of the programs, which end when there is none left.
 *
 * All of it is the caller's, and goes by free().
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_MEMORY_H
#define PGQ_MEMORY_H

#include <stdarg.h>
#include <stddef.h>

#include "common/buffer.h"

/* Zeroed memory, and memory made larger or smaller, in bytes. */
extern void *memory_make(size_t size);
extern void *memory_resize(void *memory, size_t size);

/* A copy of a text, NULL for NULL; of its first "len" bytes; in place of another. */
extern char *text_copy(const char *text);
extern char *text_copy_part(const char *text, size_t len);
extern void text_set(char **place, const char *text);

extern char *text_format(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));
extern char *text_vformat(const char *fmt, va_list args)
	__attribute__((format(printf, 1, 0)));

/*
 * A text that grows by appendPQExpBuffer() and its like, and goes into one that
 * stays.
 */
extern PQExpBuffer text_begin(void);
extern char *text_end(PQExpBuffer buffer);

/* name="value" behind "lead", as Prometheus' text format has it. */
extern void text_append_label(PQExpBuffer out, const char *lead,
							  const char *name, const char *value);

/* The words as text of a PostgreSQL array. */
extern char *text_make_array(char *const *words, size_t n);

#endif /* PGQ_MEMORY_H */
