/*-------------------------------------------------------------------------
 *
 * server.h
 *		As much of the server as event/ and decoder/options.c call, so that
 *		they can be fuzzed without one.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_FUZZ_SERVER_H
#define PGQ_FUZZ_SERVER_H

#include "postgres.h"

#include "utils/array.h"

/*
 * Call body(arg).  Returns true, or false if it raised an error.  What was
 * palloc'd stays until server_reset().
 */
extern bool server_try(void (*body)(void *arg), void *arg);

/* The SQLSTATE of the last error, as ERRCODE_... */
extern int server_errcode;

/* Free all that has been palloc'd. */
extern void server_reset(void);

/* A text[] of these words, NULL for a NULL element; palloc'd. */
extern ArrayType *server_make_array(char **words, int nwords);

/* Split input at newlines into words, palloc'd; the number is returned. */
extern int server_split_lines(const uint8_t *data, size_t size, char ***words);

#endif /* PGQ_FUZZ_SERVER_H */
