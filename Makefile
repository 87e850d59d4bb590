# eventutils: make, make test, make demo, make install; see CONTRIBUTING.md.

VERSION = 0.1.0

# Settings: yours to change, as are CC, CPPFLAGS and LDFLAGS. Flags of our own are added to them.

PREFIX ?= /usr/local
bindir = $(PREFIX)/bin
libexecdir = $(PREFIX)/libexec
datadir = $(PREFIX)/share
mandir = $(datadir)/man
# fish looks below /usr/local only where XDG_DATA_DIRS names it, and always in its administrator's folder.
fishdir = $(if $(filter /usr/local,$(PREFIX)),/etc/fish/completions,$(datadir)/fish/vendor_completions.d)
# In front of the names in bindir, ev excepted: PROGRAM_PREFIX=eu- gives eu-publish.
PROGRAM_PREFIX ?=
DESTDIR ?=

CFLAGS ?= -O2 -g
# SAN=address,undefined: with these sanitizers. SHARED=1: with SQLite and jansson shared, as distributions
# want it; otherwise their archives are taken where they are installed, since finding the symbols of both
# took half of the instructions of a short process, and the shortest commands have no shared library at
# all: loading libc and libm took a fifth of their time. STATIC=1: no command has any.
# WERROR=1: warnings are errors. T="dlq spool": only test files with one of these in their name.
SAN =
SHARED =
STATIC =
WERROR =
T =
# ENGINE=postgres: the tests on a PostgreSQL server that they start themselves.
ENGINE = sqlite
# Spools and outboxes on PostgreSQL: auto (when pkg-config finds libpq), yes or no.
LIBPQ = $(if $(STATIC),no,auto)

# A build folder for each kind of build, so that objects never mix.
BUILD = build$(if $(SAN),/san-$(SAN))$(if $(STATIC),/static)

# What we need, whatever the caller's flags are.
warnings = -Wall -Wextra -Wpedantic -Wshadow -Wconversion $(if $(WERROR),-Werror)
sanitize = $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
compile = $(if $(MISSING),$(error $(MISSING)))$(CC) -std=c11 -D_GNU_SOURCE -DEVENTUTILS_VERSION='"$(VERSION)"' -Ilib -Icmd -Ilib/store/$(engine) $(defines) \
    $(CPPFLAGS) $(PKG_CFLAGS) $(warnings) $(CFLAGS)
link = $(CC) $(CFLAGS) $(sanitize) $(if $(STATIC),-static,$(whole)) -Wl,--as-needed $(LDFLAGS)

# The libraries, asked for before anything is built: make has this file written, then reads it. Goals
# that promise to do all the set-up install them first.
.DEFAULT_GOAL = all
ifneq ($(filter-out uninstall setup clean format,$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/libraries.mk
endif

# Sources. The folders of lib/ tell the architecture; make lint knows what may include what.

programs = $(patsubst cmd/%.c,$(BUILD)/bin/%,$(wildcard cmd/*.c))
short = breaker once publish retry throttle
library = $(BUILD)/libeventutils.a
no_objects = lib/store/postgres/% $(if $(PQ_LIBS),,lib/pgkit/% lib/project/postgres%)
objects = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(no_objects),$(wildcard lib/*/*.c lib/*/*/*.c))) $(patsubst %.sql,$(BUILD)/%.o,$(wildcard share/*.sql))
# The store once more, for spools on PostgreSQL: the commands linked with it are called by those of the
# same name when a spool's name is an address, so that nobody else loads libpq.
engine = sqlite
postgres = $(patsubst %.c,$(BUILD)/postgres/%.o,$(wildcard lib/store/*.c lib/store/sql/*.c lib/store/postgres/*.c))
on_postgres = $(if $(PQ_LIBS),$(patsubst $(BUILD)/bin/%,$(BUILD)/bin/postgresql/%,$(filter-out %/ev %/retry,$(programs))))
# The same for spools in files, when another database is on a server.
file_on_postgres = $(if $(PQ_LIBS),$(BUILD)/bin/postgresql/file/project)
units = $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/unit/*.c))
stored = $(if $(PQ_LIBS),$(patsubst tests/unit/%.c,$(BUILD)/unit/postgresql/%,$(shell grep -l '"spool.h"' tests/unit/*.c)))
benches = $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/bench/*.c))
# Preloaded by tests. A sanitizer wants to be loaded first, so there are none beside one.
faults = $(if $(SAN),,$(patsubst tests/%.c,$(BUILD)/%.so,$(wildcard tests/fault/*.c)))
# Commands to preload them to, with SQLite shared: two of them call it.
hooked = $(if $(SAN)$(STATIC),,$(patsubst %,$(BUILD)/hooked/%,$(short) consume dlq spool))
pages = $(wildcard man/*.[1-9])

# Build.

.DELETE_ON_ERROR .SECONDARY .SUFFIXES:
# What is built for somebody who wants to see something else is a line, not a page.
ifneq ($(filter test demo,$(MAKECMDGOALS)),)
.SILENT:
ifndef MAKE_RESTARTS
$(info building in $(BUILD): a minute or two when all is new$(if $(filter test,$(MAKECMDGOALS)),; then the \
    tests: all of them take about $(if $(filter postgres,$(ENGINE)),ten,four) minutes on two cores))
endif
endif
.PHONY: all install uninstall test bench demo lint setup setup-build setup-test setup-lint clean format FORCE

all: $(library) $(programs) $(on_postgres) $(file_on_postgres)

# A command may keep its verbs in a folder of its name.
.SECONDEXPANSION:
$(programs) $(hooked) $(on_postgres) $(file_on_postgres): $(BUILD)/cmd/$$(@F).o $$(patsubst %.c,$$(BUILD)/%.o,$$(wildcard cmd/$$(@F)/*.c)) \
    $$($$(if $$(filter $$@,$$(on_postgres)),postgres)) $(library) $(BUILD)/libraries.mk
	@mkdir -p $(@D)
	$(link) -o $@ $(filter %.o %.a,$^) $(PKG_LIBS) $(libs)
$(on_postgres) $(file_on_postgres): libs = $(PQ_LIBS)
# Only they have the other engine of read models; see model_postgres.
$(BUILD)/bin/postgresql/project $(file_on_postgres): libs = -Wl,-u,model_postgres $(PQ_LIBS)
$(hooked) $(BUILD)/bench/floor_oneshot: PKG_LIBS = $(SHARED_LIBS)
$(short:%=$(BUILD)/bin/%): whole = $(if $(SAN),,$(WHOLE))

$(library): $(objects)
	rm -f $@
	$(AR) qcs $@ $^

define object =
@mkdir -p $(@D)
$(compile) $(sanitize) -MMD -MP -c -o $@ $<
endef
$(BUILD)/%.o: %.c Makefile $(BUILD)/libraries.mk
	$(object)
$(BUILD)/postgres/%.o: engine = postgres
$(BUILD)/postgres/%.o: defines = $(PQ_CFLAGS)
$(BUILD)/postgres/%.o: %.c Makefile $(BUILD)/libraries.mk
	$(object)

# A text of SQL becomes a string, without its comments: share/schema.sql is schema_sql[].
$(BUILD)/share/%.o: share/%.sql Makefile
	@mkdir -p $(@D)
	{ echo 'extern const char $*_sql[]; const char $*_sql[] ='; sed '/^--/d; s/[\\"]/\\&/g; s/.*/"&\\n"/' $<; echo ';'; } | \
	    $(compile) -Wno-overlength-strings $(sanitize) -x c -c -o $@ -

$(units) $(benches): $(BUILD)/%: $(BUILD)/tests/%.o $(library)
	@mkdir -p $(@D)
	$(link) -o $@ $^ $(PKG_LIBS)

# Those that need a spool, once more.
$(stored): $(BUILD)/unit/postgresql/%: $(BUILD)/tests/unit/%.o $(postgres) $(library)
	@mkdir -p $(@D)
	$(link) -o $@ $^ $(PKG_LIBS) $(PQ_LIBS)

# It counts the calls of js_scan.
$(BUILD)/unit/scans $(BUILD)/unit/postgresql/scans: LDFLAGS += -Wl,--wrap=js_scan

$(faults): $(BUILD)/%.so: tests/%.c $(wildcard tests/fault/*.h) Makefile
	@mkdir -p $(@D)
	$(compile) -fPIC -shared $(LDFLAGS) -o $@ $< -ldl

# The path to the executables is part of this object.
$(BUILD)/cmd/ev.o: $(BUILD)/libexecdir
$(BUILD)/cmd/ev.o: defines = -DEVENTUTILS_LIBEXECDIR='"$(libexecdir)/eventutils"'

# What libpq brings along takes other commands longer to load than to work.
$(BUILD)/bin/outbox-relay: libs = $(PQ_LIBS)
$(BUILD)/lib/outbox/postgres% $(BUILD)/lib/project/postgres% $(BUILD)/lib/pgkit/%: defines = $(PQ_CFLAGS)

# Rewritten only when libexecdir is another one than last time.
$(BUILD)/libexecdir: FORCE
	@mkdir -p $(@D)
	@echo '$(libexecdir)' | cmp -s - $@ || echo '$(libexecdir)' >$@

$(BUILD)/libraries.mk: FORCE
	@$(if $(filter test demo bench lint,$(MAKECMDGOALS)),share/setup build || :,:)
	@mkdir -p $(@D)
	@CC='$(CC)' STATIC='$(STATIC)' SHARED='$(SHARED)' LIBPQ='$(LIBPQ)' share/libraries $@

-include $(wildcard $(BUILD)/lib/*/*.d $(BUILD)/lib/*/*/*.d $(BUILD)/postgres/lib/store/*.d $(BUILD)/postgres/lib/store/*/*.d $(BUILD)/cmd/*.d $(BUILD)/cmd/*/*.d $(BUILD)/tests/*/*.d)

# Check.

run = BUILD='$(abspath $(BUILD))' TOP='$(CURDIR)' SAN='$(SAN)' STATIC='$(STATIC)' ENGINE='$(ENGINE)'

test: setup-test all $(units) $(stored) $(faults) $(hooked)
	@$(run) tests/run '$(T)'

bench: setup-build all $(benches)
	@$(run) PATH='$(abspath $(BUILD)/bin)':"$$PATH" tests/bench/run

demo: setup-build all
	@$(run) PATH='$(abspath $(BUILD)/bin)':"$$PATH" share/demo

lint: setup-lint $(library)
	@OBJECTS=$(BUILD)/lib tests/lint

format:
	clang-format -i $$(find cmd lib tests -name "*.[ch]")

setup: setup-test
setup-build:
	@share/setup build
setup-test:
	@share/setup build test
setup-lint:
	@share/setup build lint

clean:
	rm -rf build

# Install: the executables into a folder of their own, ev and the manual where they are found, each
# command's page as eventutils-NAME(1); and for each command whose name nobody else has a link, with
# its page and completions under that name (share/links lists those that it left out).

own = $(DESTDIR)$(libexecdir)/eventutils
data = $(DESTDIR)$(datadir)/eventutils
links = OWN='$(libexecdir)/eventutils' BIN='$(bindir)' DATA='$(datadir)' MAN='$(mandir)' \
    FISH='$(fishdir)' DESTDIR='$(DESTDIR)' PROGRAM_PREFIX='$(PROGRAM_PREFIX)' BUILD='$(abspath $(BUILD))' share/links

install: all
	mkdir -p '$(own)' '$(DESTDIR)$(bindir)' '$(data)'
	install -m 755 $(filter-out %/ev,$(programs)) '$(own)'
	$(if $(on_postgres),install -D -m 755 -t '$(own)/postgresql' $(on_postgres))
	$(if $(on_postgres),install -D -m 755 -t '$(own)/postgresql/file' $(file_on_postgres))
	install -m 755 $(BUILD)/bin/ev '$(DESTDIR)$(bindir)/ev'
	cp -R share/examples share/completions '$(data)'
	sed -i 's|/usr/local/bin/|$(bindir)/|' '$(data)'/examples/systemd/*.service
	@for page in $(pages); do n=$${page##*.}; name=$${page##*/}; \
	    [ $$n != 1 ] || name=eventutils-$$name; mkdir -p '$(DESTDIR)$(mandir)'/man$$n && \
	    sed 's|share/examples|$(datadir)/eventutils/examples|g' $$page | \
	        install -m 644 /dev/stdin '$(DESTDIR)$(mandir)'/man$$n/$$name || exit; done
	@$(links) add

uninstall:
	@$(links) remove
	rm -rf '$(own)' '$(data)'
	rm -f '$(DESTDIR)$(bindir)/ev'
	rm -f $(patsubst %,'$(DESTDIR)$(mandir)'/man1/eventutils-%,$(notdir $(filter %.1,$(pages)))) \
	    $(foreach n,5 7,$(patsubst %,'$(DESTDIR)$(mandir)'/man$n/%,$(notdir $(filter %.$n,$(pages)))))
