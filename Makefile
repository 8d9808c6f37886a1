# Postern: one non-recursive Makefile.  `make help` lists the targets.
#
# FLAVOUR  release (default) | debug | asan | tsan     objects in build/<flavour>/
# V=1      print the commands
# WERROR=1 warnings are errors (the default when CI is set)

FLAVOUR ?= release
V ?= 0
WERROR ?= $(if $(CI),1,0)
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= gcc
PYTHON := /usr/bin/python3
VERSION := 0.1.0

Q := $(if $(filter 1,$(V)),,@)
B := build/$(FLAVOUR)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

# ---------------------------------------------------------------- libraries
# Targets that need no compiler must work before the libraries are installed.
NO_LIBS := help clean demo check check-long dependencies fleet smuggling interop timing guessing lint format format-check
NEED_LIBS := $(if $(MAKECMDGOALS),$(filter-out $(NO_LIBS),$(MAKECMDGOALS)),all)
PKGS := libevent_core libevent_extra openssl libpq libsodium libconfuse libseccomp libcrypt
ifneq ($(NEED_LIBS),)
MISSING := $(shell command -v pkg-config >/dev/null 2>&1 || echo pkg-config; \
	for p in $(PKGS); do pkg-config --exists $$p 2>/dev/null || echo $$p; done; \
	printf '\043include <unicase.h>\n' | $(CC) -E - >/dev/null 2>&1 || echo libunistring)
ifneq ($(strip $(MISSING)),)
$(error missing: $(MISSING). Run `deploy/dependencies build` (Debian), or install the -dev packages)
endif
endif
pkg_cflags = $(shell pkg-config --cflags $(1) 2>/dev/null)
pkg_libs = $(shell pkg-config --libs $(1) 2>/dev/null)

# ------------------------------------------------------------------- flags
WARN := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wconversion \
	-Wno-sign-conversion -Wswitch-enum -Wimplicit-fallthrough -Wdouble-promotion \
	-Werror=format-security -Werror=implicit-function-declaration -Werror=incompatible-pointer-types
ifeq ($(WERROR),1)
WARN += -Werror
endif

HARDEN_C := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
	-ftrivial-auto-var-init=zero -fzero-call-used-regs=used-gpr
HARDEN_L := -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code,--as-needed

ifeq ($(FLAVOUR),release)
OPT := -O2 -g -D_FORTIFY_SOURCE=3 $(HARDEN_C)
LOPT := $(HARDEN_L)
else ifeq ($(FLAVOUR),debug)
OPT := -O0 -g3 -fPIE
LOPT := -pie
else ifeq ($(FLAVOUR),asan)
OPT := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -DPOSTERN_SANITIZER=1
LOPT := -fsanitize=address,undefined
else ifeq ($(FLAVOUR),tsan)
OPT := -O1 -g -fno-omit-frame-pointer -fsanitize=thread -DPOSTERN_SANITIZER=1
LOPT := -fsanitize=thread
else ifeq ($(FLAVOUR),fuzz)
CC := clang
OPT := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -DPOSTERN_SANITIZER=1
FUZZ_C := -fsanitize=fuzzer-no-link
LOPT := -fsanitize=address,undefined
else ifeq ($(FLAVOUR),coverage)
OPT := -O0 -g --coverage -fprofile-update=atomic
LOPT := --coverage
else
$(error unknown FLAVOUR '$(FLAVOUR)': release, debug, asan, tsan, fuzz or coverage)
endif

CPPFLAGS_ALL := -I. -D_GNU_SOURCE -DOPENSSL_NO_DEPRECATED -DPOSTERN_VERSION='"$(VERSION)"' $(CPPFLAGS)
CFLAGS_ALL := -std=c11 $(OPT) $(FUZZ_C) $(WARN) $(call pkg_cflags,$(PKGS)) $(CFLAGS)
LDFLAGS_ALL := $(LOPT) $(LDFLAGS)
# libunistring has no pkg-config file.
LIBS_DAEMON := $(call pkg_libs,$(PKGS)) -lunistring
LIBS_CTL := $(call pkg_libs,libpq libsodium libconfuse libevent_core libcrypto libcrypt) -lunistring

# ------------------------------------------------------------------ sources
# One archive a folder: a test links only the objects that it needs.
COMMON_SRC := $(wildcard common/*.c)
PROXY_SRC := $(wildcard proxy/*.c)
AUTH_SRC := $(wildcard auth/*.c)
PROBE_SRC := $(wildcard probe/*.c)
ADMIN_SRC := $(wildcard admin/*.c)
MASTER_SRC := $(wildcard master/*.c)
CTL_SRC := $(wildcard ctl/*.c)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
TOOL_SRC := $(wildcard tests/tools/*.c)
BENCH_SRC := $(wildcard tests/bench/*.c)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
ARCHIVES := $(foreach d,common proxy auth probe admin master,$(B)/lib$(d).a)
TEST_ARCHIVES := $(ARCHIVES) $(B)/libctl.a
ALL_SRC := $(COMMON_SRC) $(PROXY_SRC) $(AUTH_SRC) $(PROBE_SRC) $(ADMIN_SRC) $(MASTER_SRC) $(CTL_SRC)
TEST_SRC := $(UNIT_SRC) $(FUZZ_SRC) $(TOOL_SRC) $(BENCH_SRC)

PROGRAMS := $(B)/postern $(B)/posternctl
UNITS := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_SRC))
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(FUZZ_SRC))
TOOLS := $(patsubst tests/tools/%.c,$(B)/tools/%,$(TOOL_SRC))
BENCHES := $(patsubst tests/bench/%.c,$(B)/bench/%,$(BENCH_SRC))

.PHONY: all units tools benches
all: $(PROGRAMS)
units: $(UNITS)
tools: $(TOOLS)
benches: $(BENCHES)

# Objects depend on the flags: a change of flags rebuilds.
$(B)/flags: FORCE
	@mkdir -p $(B)
	@printf '%s\n' '$(subst ','\'',$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL))' | cmp -s - $@ || \
		printf '%s\n' '$(subst ','\'',$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL))' > $@
.PHONY: FORCE
FORCE:

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(if $(Q),@echo "  CC    $(B) $<")
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

define archive_rule
$(B)/lib$(1).a: $(call obj,$(2))
	$$(if $$(Q),@echo "  AR    $$@")
	$$(Q)rm -f $$@ && ar rcsD $$@ $$^
endef
$(eval $(call archive_rule,common,$(COMMON_SRC)))
$(eval $(call archive_rule,proxy,$(PROXY_SRC)))
$(eval $(call archive_rule,auth,$(AUTH_SRC)))
$(eval $(call archive_rule,probe,$(PROBE_SRC)))
$(eval $(call archive_rule,admin,$(ADMIN_SRC)))
$(eval $(call archive_rule,master,$(filter-out master/main.c,$(MASTER_SRC))))
$(eval $(call archive_rule,ctl,$(filter-out ctl/main.c,$(CTL_SRC))))

link = $(if $(Q),@echo "  LINK  $@");$(CC) $(LDFLAGS_ALL) -o $@

$(B)/postern: $(call obj,master/main.c) $(ARCHIVES)
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(call obj,master/main.c) -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS_DAEMON)

$(B)/posternctl: $(call obj,ctl/main.c) $(B)/libctl.a $(B)/libauth.a $(B)/libcommon.a
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(call obj,ctl/main.c) $(B)/libctl.a $(B)/libauth.a $(B)/libcommon.a $(LIBS_CTL)

$(B)/unit/%: $(B)/obj/tests/unit/%.o $(TEST_ARCHIVES)
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(TEST_ARCHIVES) -Wl,--end-group $(LIBS_DAEMON) $(call pkg_libs,cmocka)

$(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(TEST_ARCHIVES)
	@mkdir -p $(@D)
	$(if $(Q),@echo "  LINK  $@")
	$(Q)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $< -Wl,--start-group $(TEST_ARCHIVES) -Wl,--end-group $(LIBS_DAEMON)

$(B)/tools/%: $(B)/obj/tests/tools/%.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS_DAEMON)

$(B)/bench/%: $(B)/obj/tests/bench/%.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(ARCHIVES) -Wl,--end-group $(LIBS_DAEMON)

# Keep test objects: they are the cheap half of the next run.
.SECONDARY:

-include $(patsubst %.o,%.d,$(call obj,$(ALL_SRC) $(TEST_SRC)))

# ------------------------------------------------------------------ running
.PHONY: dependencies demo check check-long check-installed unit e2e
dependencies:
	$(Q)deploy/dependencies build

demo:
	$(Q)deploy/dependencies build demo
	$(Q)$(MAKE) --no-print-directory all
	$(Q)deploy/demo

check:
	$(Q)deploy/dependencies build demo test
	$(Q)tests/run check

check-long:
	$(Q)deploy/dependencies build demo test guessing
	$(Q)tests/run check-long

unit: $(UNITS)
	$(Q)tests/run units $(B)

e2e: all
	$(Q)tests/run e2e $(B) $(ARGS)

.PHONY: model
model: all
	$(Q)tests/run model $(B) $(or $(ARGS),--seconds 60)

# Three nodes, a standby, kill -9 of everything in turn, and books that balance afterwards.
.PHONY: fleet
fleet:
	$(Q)deploy/dependencies build demo test
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/fleet/run --build $(B) --rounds $(or $(ROUNDS),5) --seed $(or $(SEED),1) $(ARGS)

.PHONY: mutants coverage
mutants:
	$(Q)tests/mutants/run $(ARGS)

coverage:
	$(Q)$(MAKE) --no-print-directory FLAVOUR=coverage units
	$(Q)tests/coverage build/coverage $(ARGS)

.PHONY: asan tsan valgrind fuzz-smoke bench
asan:
	$(Q)$(MAKE) --no-print-directory FLAVOUR=asan all units
	$(Q)tests/run units build/asan
	$(Q)tests/run e2e build/asan $(ARGS)

tsan:
	$(Q)$(MAKE) --no-print-directory FLAVOUR=tsan all units
	$(Q)tests/run units build/tsan
	$(Q)tests/run e2e build/tsan $(ARGS)

valgrind:
	$(Q)$(MAKE) --no-print-directory FLAVOUR=debug all units
	$(Q)tests/run valgrind build/debug $(ARGS)

fuzz-smoke:
	$(Q)$(MAKE) --no-print-directory FLAVOUR=fuzz fuzzers
	$(Q)tests/run fuzz build/fuzz $(or $(SECONDS_EACH),30)

# Runs whatever proves a row of tests/conformance.tsv or tests/threats.tsv, and writes the two pages from it.
.PHONY: conformance
conformance: all units
	$(Q)tests/tools/conformance.py $(B)

.PHONY: fuzzers
fuzzers: $(FUZZERS)

bench:
	$(Q)deploy/dependencies build demo test bench
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/run bench $(B) $(ARGS)

# hydra against an account, while its owner logs in.
.PHONY: guessing
guessing:
	$(Q)deploy/dependencies build demo test guessing
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/guessing/run --build $(B) $(ARGS)

# Whether a refused log-in tells what was wrong; writes docs/timing.md.
.PHONY: timing
timing:
	$(Q)deploy/dependencies build demo test
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/timing/run --build $(B) --write $(ARGS)

.PHONY: smuggling interop
interop:
	$(Q)deploy/dependencies build demo test interop
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/interop/run --build $(B) $(ARGS)

smuggling:
	$(Q)deploy/dependencies build demo test
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/smuggling/run --build $(B) $(ARGS)

# --------------------------------------------------------------------- lint
FORMATTED := $(wildcard common/*.[ch] proxy/*.[ch] auth/*.[ch] probe/*.[ch] admin/*.[ch] master/*.[ch] \
	ctl/*.[ch] tests/*/*.[ch])
.PHONY: lint format format-check
lint: format-check
	$(Q)tests/lint

format:
	$(Q)clang-format -i $(FORMATTED)

format-check:
	$(Q)clang-format --dry-run -Werror $(FORMATTED)

# ------------------------------------------------------------------ install
$(B)/postern.conf.5: docs/man/postern.conf.5.awk docs/configuration.md
	$(Q)awk -f docs/man/postern.conf.5.awk docs/configuration.md >$@

$(B)/completion.%: $(B)/posternctl
	$(Q)$(B)/posternctl completion $* >$@

.PHONY: install clean help
install: all $(B)/postern.conf.5 $(B)/completion.bash $(B)/completion.zsh
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/postern/sql/adapters \
		$(DESTDIR)$(PREFIX)/share/doc/postern $(DESTDIR)/etc/postern
	install -m 755 $(B)/postern $(DESTDIR)$(PREFIX)/sbin/postern
	install -m 755 $(B)/posternctl $(DESTDIR)$(PREFIX)/bin/posternctl
	install -m 644 sql/*.sql $(DESTDIR)$(PREFIX)/share/postern/sql/
	install -m 644 sql/adapters/*.sql $(DESTDIR)$(PREFIX)/share/postern/sql/adapters/
	install -m 644 deploy/postern.conf README.md $(DESTDIR)$(PREFIX)/share/doc/postern/
	install -d $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	install -m 644 docs/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 $(B)/postern.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -m 644 $(B)/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/posternctl
	install -m 644 $(B)/completion.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_posternctl
	test -e $(DESTDIR)/etc/postern/postern.conf || \
		install -m 640 deploy/postern.conf $(DESTDIR)/etc/postern/postern.conf

clean:
	rm -rf build

help:
	@echo 'make demo          install what is missing, build, and watch Postern do its job'
	@echo 'make check         install what is missing, build, run all tests (under 15 minutes)'
	@echo 'make check-long    the rest: valgrind, TSan, long soaks'
	@echo ''
	@echo 'make all           build/<flavour>/postern and posternctl     FLAVOUR=release|debug|asan|tsan'
	@echo 'make unit          unit tests                                 V=1 shows commands'
	@echo 'make e2e           end-to-end tests                           ARGS="-k name" goes to pytest'
	@echo 'make model         random sessions against a model              ARGS="--seed N" prints one'
	@echo 'make fleet         limits and the ledger of three nodes through crashes  ROUNDS=5 SEED=1 ARGS=--asynchronous'
	@echo 'make mutants       plants faults one by one; a test must notice    ARGS="PATTERN"'
	@echo 'make coverage      lines and branches of the parsers by the units  ARGS=--missing'
	@echo 'make asan          units and end-to-end under ASan and UBSan  (also: tsan, valgrind)'
	@echo 'make conformance   docs/conformance.md and docs/threats.md from the tests that prove them'
	@echo 'make fuzz-smoke    each fuzz target for SECONDS_EACH=30'
	@echo 'make bench         CPU time a session and a message, memory a connection, log-ins under a flood, strangers, what a take adds'
	@echo 'make guessing      hydra against an account, while its owner logs in'
	@echo 'make timing        whether refused log-ins differ in time, into docs/timing.md   ARGS="--samples N"'
	@echo 'make interop       sixteen clients, both ports, into docs/interop.md'
	@echo 'make smuggling     what four mail servers take for two messages, into docs/smuggling.md'
	@echo 'make lint          format-check, structure, documentation     make format rewrites'
	@echo 'make install       into PREFIX=/usr/local, with DESTDIR'
	@echo 'make clean'
