#!/usr/bin/env bats
# Whose line an address is: a real FreeRADIUS with the files of conf/freeradius, fed by radclient, hands accounting on to an acctd of
# its own; leases, CSV and who. In a namespace of its own, where everything is on loopback; nfqd is away.

ROOT=$BATS_TEST_DIRNAME/../..
BIN=${SEKISHO_BIN:-$ROOT/build/release}
SECRET=acctd-secret-0123456789
PATH=$PATH:/usr/sbin:/sbin

setup_file() {
	export D=$BATS_FILE_TMPDIR BIN NS=sekisho-identity-$$
	[ "$(id -u)" = 0 ] || skip "needs root, for a network namespace"
	ip netns add "$NS"
	ip -n "$NS" link set lo up
	mkdir -p "$D/run" "$D/state" "$D/fr" "$D/radacct/sekisho"
	(umask 027 && echo "$SECRET" > "$D/secret")
	cat > "$D/sekisho.conf" <<-C
		common {
			state_dir = "$D/state"
			run_dir = "$D/run"
			user = ""
		}
		accounting {
			metrics = ""
			radius_listen = {"127.0.0.1:1813"}
			radius_clients = {"127.0.0.1 $D/secret"}
		}
	C
	radius_files
	start_acctd
	start freeradius "$(command -v freeradius)" -X -d "$D/fr"
	wait_for grep -q 'Ready to process requests' "$D/freeradius.log"
}

teardown_file() {
	[ -d "$D/run" ] || return 0
	stop freeradius
	stop acctd
	ip netns del "$NS"
}

setup() {
	cd "$D" || return 1
	T=$(($(date +%s) - 3600)) NAS=10.0.0.1
}

# The least of a FreeRADIUS around our two files; the NASes' packets arrive at 127.0.0.2.
radius_files() {
	cp "$ROOT/conf/freeradius/sekisho_detail" "$D/fr/"
	sed "s/CHANGE-ME/$SECRET/" "$ROOT/conf/freeradius/sekisho" > "$D/fr/sekisho"
	cat > "$D/fr/radiusd.conf" <<-C
		prefix = /usr
		localstatedir = $D/fr
		logdir = $D/fr
		radacctdir = $D/radacct
		run_dir = $D/fr
		pidfile = $D/fr/pid
		libdir = /usr/lib/freeradius
		name = radiusd
		log {
			destination = stdout
		}
		security {
			max_attributes = 200
			status_server = yes
		}
		proxy_requests = yes
		client nas {
			ipaddr = 127.0.0.0/8
			secret = nas-secret
		}
		thread pool {
			start_servers = 2
			max_servers = 4
			min_spare_servers = 1
			max_spare_servers = 4
		}
		modules {
			\$INCLUDE sekisho_detail
		}
		\$INCLUDE sekisho
		server default {
			listen {
				type = acct
				ipaddr = 127.0.0.2
				port = 1813
			}
			accounting {
				update control {
					&Proxy-To-Realm := "sekisho"
				}
			}
		}
	C
	: > "$D/fr/dictionary" # the standard one is read before it
}

start() { # NAME COMMAND...
	local name=$1
	shift
	ip netns exec "$NS" "$@" > "$D/$name.log" 2>&1 3>&- &
	echo $! > "$D/$name.pid"
}
start_acctd() {
	start acctd "$BIN/sekisho-acctd" -c "$D/sekisho.conf"
	wait_for answers
}
stop() {
	local pid
	[ -e "$D/$1.pid" ] || return 0
	pid=$(cat "$D/$1.pid")
	kill "$pid" 2>/dev/null || true
	while kill -0 "$pid" 2>/dev/null; do read -rt 0.05 <> <(:) || true; done
}
ctl() { "$BIN/sekishoctl" -c "$D/sekisho.conf" "$@"; }
answers() { ctl status --json 2>/dev/null | jq -e '.acctd != null' > /dev/null; }
load wait
soon_failed() { tail -n 20 "$D"/*.log; }
wait_for() { soon 40 "$@"; }
at() { date -u -d "@$1" +%Y-%m-%dT%H:%M:%SZ; }

# packet STATUS SESSION USER TIME ATTRIBUTE... : from a NAS to FreeRADIUS, and answered
packet() {
	local status=$1 session=$2 user=$3 time=$4
	shift 4
	{
		printf 'Acct-Status-Type = %s\nNAS-IP-Address = %s\nEvent-Timestamp = "%s"\n' "$status" "$NAS" "$(date -u -d "@$time" '+%b %e %Y %T UTC')"
		[ -z "$session" ] || printf 'Acct-Session-Id = "%s"\nUser-Name = "%s"\n' "$session" "$user"
		[ $# = 0 ] || printf '%s\n' "$@"
	} > packet
	ip netns exec "$NS" radclient -r 1 -t 20 -f packet 127.0.0.2:1813 acct nas-secret > answer 2>&1 || { cat packet answer; return 1; }
}
block() { printf 'IP-Port-Range-Ext-IPv4-Addr = %s\nIP-Port-Range-Range-Start = %s\nIP-Port-Range-Range-End = %s\n' "$@"; }
# who EXPECTED IP [PORT] TIME : the one subscriber, "-" nobody
who() {
	local want=$1 status=0 got
	shift
	got=$(ctl who "$@" 2> said) || status=$?
	if [ "$want" = - ]; then
		[ $status = 1 ] && [ -z "$got" ] && return 0
	else
		[ $status = 0 ] && [ "$(cut -f1 <<< "$got")" = "$want" ] && return 0
	fi
	echo "who $*: status $status, \"$got\", wanted $want"
	return 1
}

@test "a session's address, prefixes and ports are its subscriber's from Start to Stop, to the second" {
	packet Start s1 C-1 "$T" 'Framed-IP-Address = 100.64.0.1' 'Framed-IPv6-Prefix = 2001:db8:1:1::/64' \
		'Delegated-IPv6-Prefix = 2001:db8:100::/56' "$(block 192.0.2.7 1024 2047)"
	packet Interim-Update s1 C-1 $((T + 300)) 'Acct-Session-Time = 300' 'Framed-IP-Address = 100.64.0.1'
	for a in 100.64.0.1 2001:db8:1:1::99 2001:db8:100:ab:1:2:3:4; do
		who - $a "$(at $((T - 1)))"
		who C-1 $a "$(at "$T")"
		who C-1 $a now
	done
	who C-1 192.0.2.7 1024 "$(at "$T")"
	who C-1 192.0.2.7 2047 now
	who - 192.0.2.7 2048 now
	who - 2001:db8:100:100::1 now
	packet Stop s1 C-1 $((T + 600)) 'Acct-Session-Time = 600' 'Framed-IP-Address = 100.64.0.1'
	for a in 100.64.0.1 2001:db8:1:1::99 2001:db8:100:ab:1:2:3:4; do
		who C-1 $a "$(at $((T + 599)))"
		who - $a "$(at $((T + 600)))"
	done
	[ "$(ctl lease list --all | grep -c radius)" = 4 ]
}

@test "behind one address the port tells who; without it there are several, and it says so" {
	packet Start c1 C-1 "$T" 'Framed-IP-Address = 100.64.1.1' "$(block 192.0.2.8 1024 2047)"
	packet Start c2 C-2 "$T" 'Framed-IP-Address = 100.64.1.2' "$(block 192.0.2.8 2048 3071)"
	who C-1 192.0.2.8 2047 now
	who C-2 192.0.2.8 2048 now
	[ "$(ctl who 192.0.2.8 now 2> said | cut -f1 | sort | tr '\n' ' ')" = "C-1 C-2 " ]
	grep -q 'several subscribers' said
	packet Interim-Update c1 C-1 $((T + 60)) "$(block 192.0.2.8 1024 2047)" 'IP-Port-Range-Alloc = Deallocation'
	who - 192.0.2.8 1500 now
	who C-1 192.0.2.8 1500 "$(at $((T + 59)))"
}

@test "late, doubled and lost packets disturb no newer session" {
	packet Start l2 C-2 $((T + 500)) 'Framed-IP-Address = 192.0.2.20'
	packet Start l1 C-1 "$T" 'Framed-IP-Address = 192.0.2.20'
	packet Start l1 C-1 "$T" 'Framed-IP-Address = 192.0.2.20'
	packet Interim-Update l1 C-1 $((T + 900)) 'Acct-Session-Time = 900' 'Framed-IP-Address = 192.0.2.20'
	packet Stop l1 C-1 $((T + 1000)) 'Acct-Session-Time = 1000' 'Framed-IP-Address = 192.0.2.20'
	who C-1 192.0.2.20 "$(at $((T + 499)))"
	who C-2 192.0.2.20 "$(at $((T + 500)))"
	who C-2 192.0.2.20 now
	packet Interim-Update l3 C-3 $((T + 900)) 'Acct-Session-Time = 600' 'Framed-IP-Address = 192.0.2.21' # its Start was lost
	who C-3 192.0.2.21 "$(at $((T + 300)))"
}

@test "Accounting-On ends what the NAS had" {
	NAS=10.0.0.2
	packet Start n1 C-1 "$T" 'Framed-IP-Address = 192.0.2.30'
	packet Accounting-On '' '' $((T + 100))
	wait_for who - 192.0.2.30 now
	who C-1 192.0.2.30 "$(at $((T + 99)))"
	packet Start n2 C-1 $((T + 130)) 'Framed-IP-Address = 192.0.2.30'
	who C-1 192.0.2.30 now
}

@test "an exemption waits for its line to come back, and never serves the next owner" {
	packet Start e1 C-1 "$T" 'Framed-IP-Address = 192.0.2.40'
	ctl exempt add 192.0.2.40 --subscriber C-1
	state() { ctl exempt list --all --json | jq -r '[.[] | select(.prefix == "192.0.2.40")][0].state'; }
	packet Stop e1 C-1 $((T + 100)) 'Framed-IP-Address = 192.0.2.40'
	[ "$(state)" = suspended ]
	packet Start e2 C-1 $((T + 200)) 'Framed-IP-Address = 192.0.2.40'
	[ "$(state)" = active ]
	ctl who 192.0.2.40 now --json | jq -e '.[0].exemptions == ["192.0.2.40 active"]'
	packet Start e3 C-2 $((T + 300)) 'Framed-IP-Address = 192.0.2.40'
	[ "$(state)" = revoked ]
	who C-2 192.0.2.40 now
	grep -q 'radius unconfirmed' acctd.log # no nfqd here to say that the kernel has it
}

@test "what NASes say while acctd is away is not lost" {
	stop acctd
	for i in 1 2 3 4 5; do
		packet Start "a$i" "A-$i" $((T + i)) "Framed-IP-Address = 192.0.2.5$i"
	done
	[ -n "$(ls radacct/sekisho)" ]
	start_acctd
	for i in 1 2 3 4 5; do
		wait_for who "A-$i" "192.0.2.5$i" "$(at $((T + i)))"
		who - "192.0.2.5$i" "$(at $((T + i - 1)))"
	done
}

@test "a wrong secret, an unknown client and what is no packet get no answer and change nothing" {
	printf 'Acct-Status-Type = Start\nNAS-IP-Address = 10.0.0.1\nAcct-Session-Id = f1\nUser-Name = F-1\nFramed-IP-Address = 192.0.2.60\n' > packet
	run ip netns exec "$NS" radclient -r 1 -t 1 -f packet 127.0.0.1:1813 acct wrong
	[ "$status" != 0 ]
	echo 'Packet-Src-IP-Address = 127.0.0.9' >> packet
	run ip netns exec "$NS" radclient -r 1 -t 1 -f packet 127.0.0.1:1813 acct "$SECRET"
	[ "$status" != 0 ]
	ip netns exec "$NS" bash -c 'printf "\004\001\000\024short" > /dev/udp/127.0.0.1/1813'
	wait_for grep -q 'radius malformed' acctd.log
	grep -q 'radius forged' acctd.log
	grep -q '127.0.0.9 radius unknown-client' acctd.log
	who - 192.0.2.60 now
	! grep -q "$SECRET" acctd.log || false
}

@test "a reload takes other clients, or says why not" {
	cp sekisho.conf keep.conf
	sed -i "s|127.0.0.1 $D/secret|127.0.0.1 $D/nowhere|" sekisho.conf
	kill -HUP "$(cat acctd.pid)"
	wait_for grep -q 'reload-refused.*radius_clients.*nowhere' acctd.log
	cp keep.conf sekisho.conf
	packet Start r1 C-1 "$T" 'Framed-IP-Address = 192.0.2.70'
	who C-1 192.0.2.70 now
}

@test "lease import: a hundred thousand rows in seconds, and with one wrong row none" {
	awk 'BEGIN { print "prefix,subscriber,source"; for (i = 0; i < 100000; i++) printf "10.%d.%d.%d,P-%d,plan\n", 64 + i / 65536, i / 256 % 256, i % 256, i % 5000 }' > plan.csv
	sed '50002s/.*/10.64.195.300,P-1,plan/' plan.csv > bad.csv
	run ctl lease import bad.csv --create
	[ "$status" = 65 ]
	[[ $output == *"bad.csv:50002: "* ]]
	run ctl lease import plan.csv # its subscribers are not known
	[ "$status" != 0 ]
	[[ $output == *"plan.csv:2: there is no subscriber P-0"* ]]
	[ -z "$(ctl lease list | cut -f7 | grep -x plan)" ]
	local before=$SECONDS
	ctl lease import plan.csv --create --json > import.json
	echo "# 100000 leases in $((SECONDS - before)) s" >&3
	[ $((SECONDS - before)) -lt 180 ]
	jq -e '.added == 100000 and .subscribers == 5000' import.json
	who P-256 10.64.1.0 now
}

@test "lease resync: the difference is counted first, and then made" {
	# One line goes, one changes hands, one is new.
	sed -e '2d' -e '3s/P-1/P-2/' plan.csv > next.csv
	echo '10.99.0.1,P-7,plan' >> next.csv
	for dry in true false; do
		ctl lease resync next.csv --source plan --json $([ $dry = false ] || echo --dry-run) > resync.json
		jq -e --argjson dry $dry '.added == 2 and .same == 99998 and .ended == 2 and .dry_run == $dry' resync.json
		[ $dry = false ] || who P-0 10.64.0.0 now
	done
	who - 10.64.0.0 now
	who P-2 10.64.0.1 now
	who P-7 10.99.0.1 now
	who C-1 192.0.2.70 now # told by RADIUS: not this source's
}

@test "lease add takes ports and times, lease end ends them" {
	ctl subscriber add M-1
	ctl subscriber add M-2
	ctl lease add 198.51.100.9 --subscriber M-1 --ports 1024-2047 --from "$(at "$T")" --to "$(at $((T + 60)))"
	ctl lease add 198.51.100.9 --subscriber M-2 --ports 1024-2047 --from "$(at $((T + 60)))"
	who M-1 198.51.100.9 1100 "$(at $((T + 59)))"
	who M-2 198.51.100.9 1100 "$(at $((T + 60)))"
	ctl lease end 198.51.100.9 --port-lo 1024
	who - 198.51.100.9 1100 now
	run ctl lease end 198.51.100.9
	[ "$status" = 1 ]
	run ctl lease add 198.51.100.9 --subscriber M-2 --ports 2-1
	[ "$status" = 64 ]
	run ctl who 198.51.100.9 70000 now
	[ "$status" = 64 ]
}
