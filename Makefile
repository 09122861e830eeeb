# PgQ 4: build, install, check, demo, bench. One entry for all of it.
#
#   make                 build pgq.so, pgq--4.0.sql, libpgq, pgqd and pgqadm
#   make install         into the places that PG_CONFIG names; honours DESTDIR
#   make check           every test, in a private copy of the server tree
#   make demo            the tour of scripts/demo
#   make format, lint    clang-format in place; clang-format and cppcheck as a check
#
# PG_CONFIG chooses the server: make PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config

EXTENSION = pgq
EXTVERSION = 4.0
MODULE_big = pgq

OBJS = $(patsubst %.c,%.o,$(sort $(wildcard event/*.c decoder/*.c queue/*.c)))
SERVER_HEADERS = $(wildcard event/*.h decoder/*.h queue/*.h)

# The extension's SQL: one file per group of functions, put together in this
# order (tables first, grants last).
SQL_PARTS = $(addprefix sql/,tables.sql helpers.sql queue.sql produce.sql \
	consumer.sql batch.sql retry.sql tick.sql maint.sql info.sql \
	ingest.sql capture.sql grants.sql)

DATA_built = sql/pgq--$(EXTVERSION).sql
PROGRAMS = ticker/pgqd ticker/pgqadm
CLIENT_LIBS = consumer/libpgq.a consumer/libpgq.so

PG_CPPFLAGS = -I$(srcdir)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-cast-function-type
EXTRA_CLEAN = $(DATA_built) $(PROGRAMS) $(CLIENT_LIBS) \
	$(wildcard ticker/*.o consumer/*.o)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

include Makefile.client

all: $(PROGRAMS) $(CLIENT_LIBS)

$(OBJS): $(SERVER_HEADERS)

sql/pgq--$(EXTVERSION).sql: $(SQL_PARTS)
	{ echo '\echo Use "CREATE EXTENSION pgq" to load this file. \quit'; \
	  cat $^; } > $@.tmp && mv $@.tmp $@
