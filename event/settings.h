/*-------------------------------------------------------------------------
 *
 * settings.h
 *		Pin the settings that the text of a value depends on.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_SETTINGS_H
#define PGQ_SETTINGS_H

extern bool settings_set(const char *name, const char *value);
extern void settings_set_constants(void);
extern int settings_pin(void);
extern void settings_pin_database(void);
extern void settings_unpin(int level);

#endif /* PGQ_SETTINGS_H */
