#!/usr/bin/env bash
# layers.sh: the arrows of docs/architecture.md, checked on every #include. Prints TAP.
#   lib <- ratelimit <- accounting <- nfq | msa | webui | webui/ctl;  kernel-rules uses lib alone; nobody includes tests.
set -u
cd "$(dirname "$0")/.."
n=0 status=0
check() { # TITLE OFFENDERS
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf '%s\n' "$2" | sed 's/^/# /'
		status=1
	fi
}
sources() { find "$@" -name '*.[ch]' | sort; }
# own FOLDER ALLOWED-REGEX [PRUNED]: rooted includes of FOLDER that go elsewhere than allowed
own() {
	local files
	files=$(sources "$1" | grep -v "^${3:-nothing}/")
	[ -n "$files" ] || return 0
	grep -nE '^#[[:space:]]*include[[:space:]]*"' $files /dev/null | grep -vE "\"($2)/" || true
}
check "lib includes only lib" "$(own lib 'lib')"
check "kernel-rules includes kernel-rules and lib" "$(own kernel-rules 'kernel-rules|lib')"
check "ratelimit includes ratelimit and lib" "$(own ratelimit 'ratelimit|lib')"
check "accounting includes accounting, ratelimit and lib" "$(own accounting 'accounting|ratelimit|lib')"
for leaf in nfq msa; do
	check "$leaf includes itself and what is below" "$(own $leaf "$leaf|accounting|ratelimit|lib")"
done
check "webui includes itself and what is below, not ctl" "$(own webui 'webui|accounting|ratelimit|lib' webui/ctl; sources webui | grep -v '^webui/ctl/' | xargs grep -n '"webui/ctl/' || true)"
check "webui/ctl includes itself and what is below" "$(own webui/ctl 'webui/ctl|accounting|ratelimit|lib')"
check "unit tests include no other test" "$(grep -rnE '#include "tests/' --include='*.c' lib kernel-rules ratelimit accounting nfq msa webui || true)"

# Third-party headers have one home each.
home() { # TITLE HEADER-REGEX HOME-REGEX
	check "$1" "$(sources lib kernel-rules ratelimit accounting nfq msa webui | grep -vE "$3" | xargs grep -nE "^#[[:space:]]*include[[:space:]]*<($2)" || true)"
}
home "sasl/*.h in msa/auth/auth_cyrus.c" 'sasl/' '^msa/auth/auth_cyrus\.c$'
home "sqlite3.h in the stores, the queries and the spool" 'sqlite3\.h' '^(accounting/(store|query)[a-z_]*|msa/queue/spool[a-z_]*)\.[ch]$'
home "netlink headers in nfq/nlq.c, nfq/nftset*.c, nfq/route.c and kernel-rules/xt_queue.c" 'libmnl|libnetfilter_queue|libnftnl' '^(nfq/(nlq|nftset|route)[a-z_]*|kernel-rules/xt_queue)\.c$'
home "OpenSSL in tls, batv, token, dkim and radius_auth files" 'openssl/' '(tls|batv|token|dkim|radius_auth)[a-z_]*\.[ch]$'
home "libopendkim in msa/mail/dkim.c" 'dkim\.h>|opendkim/' '^msa/mail/dkim\.c$'
home "libmilter in msa/milter/worker.c" 'libmilter/' '^msa/milter/worker\.c$'
home "libidn2 in msa/mail/path.c" 'idn2\.h' '^msa/mail/path\.c$'
home "gmime in accounting/arf.c" 'gmime' '^accounting/arf[a-z_]*\.c$'
home "libunbound in accounting/dns.c" 'unbound(-event)?\.h' '^accounting/dns\.c$'
home "libcurl in msa/route/https.c and accounting/alert/role.c" 'curl/' '^(msa/route/https|accounting/alert/role)\.c$'
home "zlib in msa/tlsrpt/gzip.c" 'zlib\.h' '^msa/tlsrpt/gzip\.c$'
home "libconfuse in lib/conf.c" 'confuse\.h' '^lib/conf\.c$'
home "seccomp and cap-ng in lib/proc.c" 'seccomp\.h|cap-ng\.h' '^lib/proc\.c$'
home "systemd in lib/proc.c and lib/upgrade.c" 'systemd/' '^lib/(proc|upgrade)\.c$'
check "only lib/clock reads a clock" "$(sources lib kernel-rules ratelimit accounting nfq msa webui | grep -vE '^lib/clock\.c$' | xargs grep -nE '\b(clock_gettime|gettimeofday|time)\((NULL|CLOCK|&)' || true)"
check "no assertion of a bats test that is swallowed" "$(grep -nE '^\s*(\[|\[\[|grep -q|test ).*\|\| (true|:)$' tests/*.bats tests/netns/*.bats tests/lab/*.bats | grep -v '|| kill ' || true)"
check "no sleep in a bats test" "$(grep -nE '(^|[|;&]|\bsh -c ")\s*sleep [0-9.]' tests/*.bats tests/netns/*.bats tests/lab/*.bats || true)"
check "no unit test asserts what is always so" "$(grep -rnE 'assert_[a-z_]+\(.*\|\| true\)' tests/unit || true)"
# bash lets a command after "!" fail without ending the test.
check "no assertion of a bats test that cannot fail" "$(grep -nE '^\s+! ' tests/*.bats tests/netns/*.bats tests/lab/*.bats | grep -v '||' || true)"
echo "1..$n"
exit $status
