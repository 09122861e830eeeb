# PgQ 4: build, install, check, demo. One entry for all of it.
#
#   make                 build pgq.so, the SQL, libpgq, pgqd and pgqadm
#   make install         into the places that PG_CONFIG names; honours DESTDIR
#   make check           every test, in a private copy of the server tree
#   make installcheck    every test with what is installed, in a running server
#   make check-asan, check-valgrind
#                        tests of the server's side with checks of memory
#   make coverage        how much of C the tests run, scripts/coverage
#   make demo            the tour of scripts/demo
#   make bench           measure beside the peers, scripts/bench
#   make check-programs-asan, check-programs-valgrind
#                        tests of the programs with checks of memory
#   make fuzz            a minute of each fuzzer; SECONDS=600 for ten
#   make deb             Debian packages for every server installed here that has
#                        its development files, in build/deb; make deb15: one
#   make format, lint    clang-format in place; clang-format and cppcheck as
#                        a check
#   make clean           what make built; make distclean: build/ too
#
# PG_CONFIG chooses the server: make PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config
# The rules for building are in Makefile.build, which needs a server's PGXS;
# this file needs nothing, so that check and demo can install what is missing.

PG_CONFIG ?= pg_config
export PG_CONFIG

BUILD = $(MAKE) --no-print-directory -f Makefile.build PG_CONFIG='$(PG_CONFIG)'

all install uninstall installdirs installcheck clean:
	+@$(BUILD) $@

# One file: make event/frame.o
.DEFAULT:
	+@$(BUILD) $@

distclean: clean
	rm -rf build

# Only a PG_CONFIG of the caller's counts here: without one, the scripts look
# for a server themselves.
ifeq ($(origin PG_CONFIG),file)
RUN = env -u PG_CONFIG
endif

check:
	@$(RUN) scripts/check

check-asan check-valgrind:
	@$(RUN) scripts/check-sanitized $(@:check-%=%)

coverage:
	@$(RUN) scripts/coverage

demo:
	@$(RUN) scripts/demo

bench:
	@$(RUN) scripts/bench

check-programs-asan check-programs-valgrind:
	@$(RUN) scripts/check-programs $(@:check-programs-%=%)

fuzz:
	@$(RUN) scripts/fuzz --seconds $(or $(SECONDS),60)

deb:
	@$(RUN) scripts/build-deb

deb%:
	@$(RUN) scripts/build-deb $*

lint:
	@$(RUN) scripts/lint

format:
	@$(RUN) scripts/lint --format

.PHONY: all install uninstall installdirs installcheck clean distclean check check-asan \
	check-valgrind check-programs-asan check-programs-valgrind coverage deb demo \
	fuzz lint format
