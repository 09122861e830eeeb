/*-------------------------------------------------------------------------
 *
 * secrets.h
 *		What must not be read by others: in the ini file, in files that it
 *		names, in what we tell.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_RELAY_SECRETS_H
#define PGQ_RELAY_SECRETS_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/config.h"

extern const char *secrets_next_key(const RelayConfig *relay, int *next);
extern bool secrets_others_may_read(const char *file);
extern bool secrets_are_in_target(const char *target);
extern char *secrets_show_target(const char *target);
extern bool secrets_check_files(const RelayConfig *relay, char *error,
								size_t size);
extern void secrets_hide(const RelayConfig *relay, char *text, size_t size);

#endif /* PGQ_RELAY_SECRETS_H */
