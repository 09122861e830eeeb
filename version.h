/*-------------------------------------------------------------------------
 *
 * version.h
 *		The version of all of PgQ: extensions, programs and libpgq.
 *
 * Makefile.build reads it here.  Where else it must stand, scripts/freeze-release
 * writes it, and test version_is_the_same_everywhere looks.
 *
 * Copyright (c) 2026, the PgQ 4 authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGQ_VERSION_H
#define PGQ_VERSION_H

#define PGQ_VERSION "4.1"

#endif /* PGQ_VERSION_H */
