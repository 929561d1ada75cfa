#!/usr/bin/env bash
# docs.sh BIN: what the documentation says against what the programs know. Prints TAP.
set -u
cd "$(dirname "$0")/.."
bin=$1
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
for page in docs/man/*; do
	check "mandoc finds nothing in $page" "$(mandoc -Tlint -W warning "$page" 2>&1)"
done
for p in nfqd noticed msad batv-milter ratelimitd acctd rules; do
	check "sekisho-$p has a manual page" "$([ -e docs/man/sekisho-$p.8 ] || echo missing)"
done
check "sekishoctl has a manual page" "$([ -e docs/man/sekishoctl.8 ] || echo missing)"

# The sample is the documentation of the defaults: every program accepts it, and each key of the sample is in the manual.
for p in nfqd noticed msad batv-milter ratelimitd acctd; do
	check "sekisho-$p -n accepts conf/sekisho.conf" "$("$bin/sekisho-$p" -n -c conf/sekisho.conf 2>&1 | grep -v '^configuration OK$')"
done
keys=$(sed -n 's/^[[:space:]]*#\{0,1\}[[:space:]]*\([a-z_][a-z0-9_]*\) *= .*/\1/p' conf/sekisho.conf | sort -u)
check "each key of conf/sekisho.conf is in sekisho.conf.5" "$(for k in $keys; do grep -qE "^\.It Ic (.* )?$k( |$)" docs/man/sekisho.conf.5 || echo "$k"; done)"
check "each key of sekisho.conf.5 is in conf/sekisho.conf" "$(sed -n 's/^\.It Ic //p' docs/man/sekisho.conf.5 | tr -s ' ,' '\n' | grep -xE '[a-z][a-z_0-9]*' | grep -vx reload | sort -u | while read -r k; do printf '%s\n' "$keys" | grep -qx "$k" || echo "$k"; done)"

# Links between pages of docs/ lead somewhere.
check "relative links in *.md lead somewhere" "$(git ls-files '*.md' | while read -r f; do
	grep -oE '\]\([^)#: ]+' "$f" | sed 's/^](//' | while read -r l; do
		[ -e "$(dirname "$f")/$l" ] || echo "$f: $l"
	done
done)"
check "each test that docs/submission.md names is there" "$(python3 tests/docs_tests.py 2>&1)"
echo "1..$n"
exit $status
