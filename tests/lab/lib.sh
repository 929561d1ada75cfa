# Shared by the lab's scripts: where things are, and how namespaces and processes are named. Sourced, not run.
#
#   subscriber ns          gateway ns (every Sekisho daemon)          Internet ns
#   192.0.2.10  ── dyn0 ── 192.0.2.1                 198.51.100.1 ── 198.51.100.25  nsd, Postfix
#   fixed ns               203.0.113.25 (the MSA)
#   192.0.2.130 ── fix0 ── 192.0.2.129
#
# shellcheck shell=bash disable=SC2034

LAB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# One folder has one name, however it was written: up and down must mean the same lab.
LAB_DIR=$(realpath -ms -- "${LAB_DIR:-$LAB_ROOT/build/lab}")
LAB_BIN=$(realpath -ms -- "${SEKISHO_BIN:-$LAB_ROOT/build/release}")
PATH=$PATH:/usr/sbin:/sbin

# Two labs in two folders do not meet: the folder's name gives the namespaces theirs.
LAB_TAG=$(printf '%s' "$LAB_DIR" | sha256sum | cut -c1-6)
NS_SUB=sekisho-$LAB_TAG-sub
NS_FIX=sekisho-$LAB_TAG-fix
NS_GW=sekisho-$LAB_TAG-gw
NS_NET=sekisho-$LAB_TAG-net

DYN_NET4=192.0.2.0/25;     DYN_GW4=192.0.2.1;    DYN_IP4=192.0.2.10
DYN_NET6=2001:db8:1::/64;  DYN_GW6=2001:db8:1::1; DYN_IP6=2001:db8:1::10
FIX_NET4=192.0.2.128/25;   FIX_GW4=192.0.2.129;  FIX_IP4=192.0.2.130
FIX_NET6=2001:db8:2::/64;  FIX_GW6=2001:db8:2::1; FIX_IP6=2001:db8:2::25
OUT_GW4=198.51.100.1;      NET_IP4=198.51.100.25
OUT_GW6=2001:db8:ffff::1;  NET_IP6=2001:db8:ffff::25
MSA_IP4=203.0.113.25;      MSA_IP6=2001:db8:25::25
MSA_HOST=smtp.isp.example
REALM=isp.example
RCPT_DOMAIN=example.net

say() { printf '%s\n' "$*"; }
die() { printf 'lab: %s\n' "$*" >&2; exit 1; }

. "$LAB_ROOT/tests/at_end.bash"

# wait_for SECONDS WHAT COMMAND... : until the command succeeds; polls, with the deadline as the only clock.
wait_for() {
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || die "$what did not come up (logs: $LAB_DIR/log)"
		read -rt 0.05 <> <(:) || true
	done
}

# supervise NAME COMMAND... : in the background, restarted when it dies, its pid in run/NAME.pid.
supervise() {
	setsid "$LAB_ROOT/tests/lab/supervise" "$LAB_DIR" "$@" </dev/null >>"$LAB_DIR/log/$1.log" 2>&1 &
	disown
}
