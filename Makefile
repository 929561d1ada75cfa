# Sekisho: outbound abuse control for ISPs.
#
#   make            build every program into build/release/
#   make run        install what is missing, build, start the lab, say what to try; Ctrl-C stops it
#   make demo       play the whole story in the lab, unattended; exits 0 only if every step came out right
#   make check      install what the tests need, build, run every test; ends in "N passed, N failed, N skipped"
#   make deb        a Debian package: build/sekisho_VERSION_ARCHITECTURE.deb
#   make install    install under $(DESTDIR)$(PREFIX), configuration under $(DESTDIR)/etc/sekisho
#
#   make deps       say what Debian packages are missing and install them (starts and enables no service)
#   make unit       the unit tests alone          make netns    the tests with real packets and mail alone
#   make web        the browser test alone        make lint     man pages, layers, clang-tidy, gcc -fanalyzer
#                   (the last two take two minutes the first time, and are not in make check)
#   make bench-msa  what accepting mail durably costs, side by side with Postfix; minutes, root
#   make bench-sessions  handshakes, memory of 10,000 idle sessions, slow clients beside good ones (docs/tuning.md); minutes, root
#   make bench-spool  what keeping mail durably costs, with an empty queue and with a million queued; two minutes
#   make bench-nfq  what enforcement costs, against the least that could do the same (docs/tuning.md); minutes, root
#   make soak     200,000 messages while everything is killed, and the count must be right (MESSAGES=N SEED=N); minutes, root
#   make bench-ratelimit  how fast the limiter answers, next to a server that only echoes
#   make oracle     random packets and policy changes against an independent model (SEED=N N=100000); minutes, root
#   make eval-detector  what the detector of stolen accounts lets out and holds by mistake (docs/detector.md); minutes
#   make fuzz       build the fuzzers (clang); make fuzz-run SECONDS=60 runs each
#   make format     clang-format everything       make compile_commands.json
#   make clean      remove build/
#
# Options: MODE=release|asan|tsan|cov|fuzz   V=1 (show commands)   O=DIR (objects there, default build)
#          PREFIX=/usr/local   DESTDIR=   T=NAME (unit: only the tests whose path contains NAME)

MODE   ?= release
O      ?= build
V      ?= 0
PREFIX ?= /usr/local
SECONDS ?= 60
# One folder has one name: what was built as build/x must be known to who says /here/build/x, or a changed header would not rebuild it.
override O := $(abspath $(O))
D      := $(O)/$(MODE)
SYSCONFDIR ?= /etc
VERSION := $(shell sed -n 's/^\#\# \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md 2>/dev/null | head -n 1)

# --- the tree: one row a component ----------------------------------------------------------
# dirs_X: folders of component X; uses_X: the components it may call (a wrong arrow does not link);
# pkgs_X: pkg-config names; libs_X: libraries that have none.
components := lib rules ratelimit accounting nfq msa webui ctl

dirs_lib := lib
pkgs_lib := libevent libconfuse talloc libsystemd libcap-ng libseccomp

dirs_rules := kernel-rules
uses_rules := lib
pkgs_rules := libmnl

dirs_ratelimit := ratelimit ratelimit/detector
uses_ratelimit := lib
pkgs_ratelimit := jansson
libs_ratelimit := -lm -pthread

dirs_accounting := accounting accounting/alert
uses_accounting := ratelimit lib
pkgs_accounting := sqlite3 jansson gmime-3.0 libcrypt libcrypto libunbound libcurl
libs_accounting := -pthread

dirs_nfq := nfq
uses_nfq := accounting ratelimit lib
pkgs_nfq := libmnl jansson
libs_nfq := -pthread

dirs_msa := msa msa/route msa/mail msa/smtp msa/queue msa/relay msa/tlsrpt msa/auth msa/milter
uses_msa := accounting ratelimit lib
pkgs_msa := libevent_openssl libssl libcrypto sqlite3 jansson libidn2 opendkim libcurl zlib
libs_msa := -lsasl2 -lmilter -pthread

dirs_webui := webui webui/pages
uses_webui := accounting ratelimit lib
pkgs_webui := jansson libcrypto

dirs_ctl := webui/ctl
uses_ctl := accounting ratelimit lib
pkgs_ctl := jansson

# program: its file with main() and its component
programs := sekisho-rules sekisho-ratelimitd sekisho-acctd sekisho-nfqd sekisho-noticed sekisho-msad sekisho-batv-milter sekisho.cgi sekishoctl
main_sekisho-rules      := kernel-rules/rules_main.c
comp_sekisho-rules      := rules
main_sekisho-ratelimitd := ratelimit/ratelimitd.c
comp_sekisho-ratelimitd := ratelimit
main_sekisho-acctd      := accounting/acctd.c
comp_sekisho-acctd      := accounting
main_sekisho-nfqd       := nfq/nfqd.c
comp_sekisho-nfqd       := nfq
main_sekisho-noticed    := nfq/noticed.c
comp_sekisho-noticed    := nfq
main_sekisho-msad       := msa/msad.c
comp_sekisho-msad       := msa
main_sekisho-batv-milter := msa/milter/main.c
comp_sekisho-batv-milter := msa
main_sekisho.cgi        := webui/cgi_main.c
comp_sekisho.cgi        := webui
main_sekishoctl         := webui/ctl/sekishoctl.c
comp_sekishoctl         := ctl

# --- flags ----------------------------------------------------------------------------------
CC       ?= cc
WARN     := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
            -Wpointer-arith -Wwrite-strings -Wvla -Wformat=2 -Wundef -Wnull-dereference -Wimplicit-fallthrough
CPPFLAGS += -I. -D_GNU_SOURCE -DSEKISHO_VERSION='"$(VERSION)"'
BASE     := -std=gnu11 -g -fPIE -fno-strict-aliasing -fno-omit-frame-pointer $(WARN)
LDFLAGS  += -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed

ifeq ($(MODE),release)
BASE     += -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection
else ifeq ($(MODE),asan)
BASE     += -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Wno-null-dereference
LDFLAGS  += -fsanitize=address,undefined
else ifeq ($(MODE),tsan)
BASE     += -O1 -fsanitize=thread -Wno-null-dereference
LDFLAGS  += -fsanitize=thread
else ifeq ($(MODE),cov)
BASE     += -O0 --coverage -Wno-null-dereference
LDFLAGS  += --coverage
else ifeq ($(MODE),fuzz)
CC       := clang
BASE     += -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -Wno-null-dereference \
            -fprofile-instr-generate -fcoverage-mapping
LDFLAGS  += -fsanitize=address,undefined -fprofile-instr-generate
else
$(error MODE is one of release, asan, tsan, cov, fuzz)
endif

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-6s %s\n'
endif

.DEFAULT_GOAL := all
.PHONY: all help deps deb run demo check unit netns web lint soak bench-msa bench-sessions bench-nfq bench-ratelimit oracle eval-detector format fuzz fuzz-run clean install FORCE

# A change of flags, compiler or place rebuilds everything.
stamp := $(D)/.flags
flags_now := $(D) $(CC) $(CPPFLAGS) $(CFLAGS) $(BASE) $(LDFLAGS)
$(stamp): FORCE
	@mkdir -p $(D)
	@printf '%s\n' '$(subst ','\'',$(flags_now))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(flags_now))' > $@

# --- one define turns a row into rules --------------------------------------------------------
pkgc = $(if $(strip $(1)),$(shell pkg-config --cflags $(1) 2>/dev/null))
pkgl = $(if $(strip $(1)),$(shell pkg-config --libs $(1) 2>/dev/null))
mains := $(foreach p,$(programs),$(main_$(p)))

define component
all_$(1)   := $(1) $(uses_$(1))
src_$(1)   := $$(filter-out $$(mains),$$(wildcard $$(addsuffix /*.c,$$(dirs_$(1)))))
obj_$(1)   := $$(patsubst %.c,$(D)/%.o,$$(src_$(1)))
ar_$(1)    := $$(foreach c,$(1) $(uses_$(1)),$(D)/$$(c).a)
cflags_$(1) := $$(call pkgc,$(pkgs_$(1)) $$(foreach u,$(uses_$(1)),$$(pkgs_$$(u))))
ldlibs_$(1) := $(libs_$(1)) $$(foreach u,$(uses_$(1)),$$(libs_$$(u))) $$(call pkgl,$(pkgs_$(1)) $$(foreach u,$(uses_$(1)),$$(pkgs_$$(u))))
$(D)/$(1).a: $$(obj_$(1))
	$$(say) AR $$@
	$$(Q)rm -f $$@ && ar qcs $$@ $$^
$(foreach d,$(dirs_$(1)),$(D)/$(d)/%.o): private CF = $$(cflags_$(1))
endef
$(foreach c,$(components),$(eval $(call component,$(c))))

$(D)/accounting/store.o: $(wildcard accounting/schema/*.sql) # built in

$(D)/%.o: %.c $(stamp)
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(BASE) $(CFLAGS) $(CF) -MMD -MP -c -o $@ $<

define program
$(D)/$(1): $(D)/$(main_$(1):.c=.o) $$(ar_$(comp_$(1)))
	$$(say) LINK $$@
	$$(Q)$$(CC) $$(BASE) $$(CFLAGS) -o $$@ $(D)/$(main_$(1):.c=.o) $$(ar_$(comp_$(1))) $$(LDFLAGS) $$(ldlibs_$(comp_$(1)))
.PHONY: $(1)
$(1): $(D)/$(1)
endef
$(foreach p,$(programs),$(eval $(call program,$(p))))
all: $(foreach p,$(programs),$(D)/$(p))

# Unit tests: tests/unit/FOLDER/test_X.c links FOLDER's component, what it uses, and cmocka.
tests_of = $(filter $(if $(T),%$(T)%,%),$(wildcard tests/unit/$(1)/test_*.c))
define unittests
$(patsubst tests/unit/%.c,$(D)/unit/%,$(wildcard tests/unit/$(1)/test_*.c)): $(D)/unit/%: tests/unit/%.c $$(ar_$(1)) $(stamp)
	$$(say) TEST $$<
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CPPFLAGS) $$(BASE) $$(CFLAGS) $$(cflags_$(1)) -MMD -MP -o $$@ $$< $$(ar_$(1)) $$(LDFLAGS) $$(ldlibs_$(1)) -lcmocka
unit_bins += $(patsubst tests/unit/%.c,$(D)/unit/%,$(foreach f,$(wildcard tests/unit/$(1)/test_*.c),$(if $(T),$(if $(findstring $(T),$(f)),$(f)),$(f))))
endef
$(foreach c,$(components),$(eval $(call unittests,$(c))))

# Fuzzers: tests/fuzz/FOLDER/fuzz_X.c, seeds in tests/fuzz/FOLDER/seeds/X/. In fuzz mode they link libFuzzer;
# in every other mode a small driver replays the seeds (part of make check).
define fuzzers
$(patsubst tests/fuzz/%.c,$(D)/fuzz/%,$(wildcard tests/fuzz/$(1)/fuzz_*.c)): $(D)/fuzz/%: tests/fuzz/%.c $$(ar_$(1)) $(stamp)
	$$(say) FUZZ $$<
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CPPFLAGS) $$(BASE) $$(CFLAGS) $$(cflags_$(1)) -Wno-missing-prototypes -MMD -MP -o $$@ $$< \
	    $(if $(filter fuzz,$(MODE)),-fsanitize=fuzzer,tests/fuzz/replay.c) $$(ar_$(1)) $$(LDFLAGS) $$(ldlibs_$(1))
fuzz_bins += $(patsubst tests/fuzz/%.c,$(D)/fuzz/%,$(wildcard tests/fuzz/$(1)/fuzz_*.c))
endef
$(foreach c,$(components),$(eval $(call fuzzers,$(c))))

-include $(shell [ -d $(D) ] && find $(D) -name '*.d' 2>/dev/null)

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

deps:
	@conf/debian/deps build lab test

# --- the main jobs -------------------------------------------------------------------------------
# `make run` and `make demo` install what building and the lab need, `make check` also what the tests need.
run:
	@conf/debian/deps build lab
	@$(MAKE) --no-print-directory all
	@tests/lab/run

demo:
	@conf/debian/deps build lab
	@$(MAKE) --no-print-directory all
	@tests/lab/demo

check:
	@conf/debian/deps build lab test
	@tests/run all

unit: $(unit_bins) $(if $(T),,$(fuzz_bins))
	@tests/run unit-only $(D) $(unit_bins) $(if $(T),,$(fuzz_bins))
netns web:
	@tests/run $@
lint:
	@tests/run lint analyze
soak: all
	@SEKISHO_BIN=$(abspath $(D)) tests/soak/soak
bench-msa: all
	@SEKISHO_BIN=$(abspath $(D)) tests/bench/msa
bench-sessions: all
	@SEKISHO_BIN=$(abspath $(D)) tests/bench/msa-sessions
$(D)/bench/%: tests/bench/%.c $(ar_msa) $(stamp)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(BASE) $(CFLAGS) $(cflags_msa) -o $@ $< $(ar_msa) $(LDFLAGS) $(ldlibs_msa)
bench-spool: $(D)/bench/spool_store $(D)/bench/spool_queue $(D)/bench/smtp_sink $(D)/sekisho-msad
	@SEKISHO_BIN=$(abspath $(D)) SEKISHO_BENCH=$(abspath $(D))/bench tests/bench/spool
bench-ratelimit: all
	@SEKISHO_BIN=$(abspath $(D)) tests/bench/ratelimit
bench-nfq: all
	@SEKISHO_BIN=$(abspath $(D)) tests/bench/nfq
oracle: all
	@SEKISHO_BIN=$(abspath $(D)) tests/oracle/oracle $(if $(SEED),--seed $(SEED)) --packets $(or $(N),100000) --batch 1000

eval-detector: sekishoctl
	@SEKISHO_BIN=$(abspath $(D)) DIR=$(O)/eval tests/eval/run $(SEED)

fuzz:
	@$(MAKE) --no-print-directory MODE=fuzz fuzz-bins
fuzz-run: fuzz
	@tests/fuzz/run $(O)/fuzz $(SECONDS)
.PHONY: fuzz-bins unit-bins
fuzz-bins: $(fuzz_bins)
unit-bins: $(unit_bins) $(fuzz_bins)

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

$(O)/compile_commands.json: FORCE
	@mkdir -p $(@D)
	@conf/compile-commands '$(subst ','\'',$(CC) $(CPPFLAGS) $(BASE) $(CFLAGS))' $(foreach c,$(components),'$(dirs_$(c))' '$(cflags_$(c))') > $@
compile_commands.json: $(O)/compile_commands.json
	@cp $< $@

clean:
	rm -rf $(O)

# --- install ---------------------------------------------------------------------------------------
LIBEXEC := $(DESTDIR)$(PREFIX)/lib/sekisho
deb: all
	rm -rf $(O)/deb
	$(MAKE) --no-print-directory install DESTDIR=$(O)/deb PREFIX=/usr SYSCONFDIR=/etc
	conf/debian/package $(O)/deb $(VERSION) $(O)/sekisho_$(VERSION)_$(shell dpkg --print-architecture).deb

install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(LIBEXEC) $(DESTDIR)$(SYSCONFDIR)/sekisho \
	    $(DESTDIR)$(PREFIX)/share/sekisho/static $(DESTDIR)$(PREFIX)/share/sekisho/conf \
	    $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8 \
	    $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
	install -m 755 $(D)/sekisho-nfqd $(D)/sekisho-noticed $(D)/sekisho-msad $(D)/sekisho-batv-milter $(D)/sekisho-ratelimitd $(D)/sekisho-acctd $(D)/sekisho-rules $(DESTDIR)$(PREFIX)/sbin/
	install -m 755 $(D)/sekishoctl $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(D)/sekisho.cgi $(LIBEXEC)/
	install -m 644 webui/static/* $(DESTDIR)$(PREFIX)/share/sekisho/static/
	cp -R conf/lighttpd conf/sasl conf/freeradius conf/alerts $(DESTDIR)$(PREFIX)/share/sekisho/conf/
	install -m 644 docs/man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -m 644 docs/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -D -m 644 conf/completion/sekishoctl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/sekishoctl
	for u in conf/systemd/*.service conf/systemd/*.target; do sed 's|@PREFIX@|$(PREFIX)|g' $$u > $(DESTDIR)$(PREFIX)/lib/systemd/system/$${u##*/}; done
	[ -e $(DESTDIR)$(SYSCONFDIR)/sekisho/lighttpd.conf ] || sed -e 's|@BIND@|127.0.0.1|' -e 's|@PORT@|8443|' \
	    -e 's|@CERT@|$(SYSCONFDIR)/sekisho/tls/cert.pem|' -e 's|@KEY@|$(SYSCONFDIR)/sekisho/tls/key.pem|' \
	    -e 's|@CGI@|$(PREFIX)/lib/sekisho/sekisho.cgi|' -e 's|@STATIC@|$(PREFIX)/share/sekisho/static|' \
	    -e 's|@CONF@|$(SYSCONFDIR)/sekisho/sekisho.conf|' -e 's|@STATE@|/var/cache/sekisho-web|' \
	    conf/lighttpd/lighttpd.conf.in > $(DESTDIR)$(SYSCONFDIR)/sekisho/lighttpd.conf
	install -m 644 conf/systemd/sekisho.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/sekisho.conf
	install -m 644 conf/systemd/sekisho.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/sekisho.conf
	[ -e $(DESTDIR)$(SYSCONFDIR)/sekisho/sekisho.conf ] || install -m 640 conf/sekisho.conf $(DESTDIR)$(SYSCONFDIR)/sekisho/sekisho.conf
