#!/usr/bin/env bats
# Pools, classes and the notice in a lab, as a site would use them: its configuration, sekishoctl, and what clients then see.

load lab

BIN=${SEKISHO_BIN:-$ROOT/build/release}

setup_file() {
	lab_up <<-C
	class business {
		rate = 6
		burst = 2
	}
	class partners {
		listed = true
	}
	pool dsl {
		interfaces = {"dyn0"}
		notice = true
	}
	C
}

fixed_reaches() { in_fix nc -z -w 10 "$1" 25; }
# reached ADDRESS TIMES: how many connections of the fixed line were let through
reached() {
	local n=0 i
	for ((i = 0; i < $2; i++)); do
		! fixed_reaches "$1" || n=$((n + 1))
	done
	echo $n
}

@test "a refused client is told why, with the help page, at its first connection; IPv4 and IPv6" {
	for to in "$LAB_INTERNET_IP4" "$LAB_INTERNET_IP6"; do
		run in_sub nc -w 20 "$to" 25 < <(printf 'QUIT\r\n')
		echo "$output"
		[[ "${lines[0]}" == "554 5.7.1 $LAB_MSA_HOST "*"https://isp.example/port25"* ]]
		[[ "${lines[1]}" == "221 "* ]]
	done
	run in_sub swaks --server "$LAB_INTERNET_IP4" --from a@home.example --to "$LAB_RCPT" --helo home
	[ "$status" != 0 ]
	[[ "$output" == *"554 5.7.1 "*"https://isp.example/port25"* ]]
}

@test "lines are named as they are counted: an IPv6 line with its length" {
	told() { ctl top --json | jq -e --arg s "$1" '.lines[] | select(.source == $s) | .packets > 0'; }
	soon 10 told "$LAB_DYNAMIC_IP4"
	soon 10 told 2001:db8:1::/64
	ctl top | grep -q $'^line\t2001:db8:1::/64\t'
	ctl watch --count 1 --since -1h | grep -q $'\tblocked\t2001:db8:1::/64\t'
}

@test "a line that goes to many servers is an incident, and whoever looks up its address is led there" {
	ip -n "$LAB_NS_GATEWAY" route add default via "$LAB_INTERNET_IP4"
	in_sub python3 - <<-'P'
	import socket, time
	for turn in range(2):
	    for i in range(24):
	        s = socket.socket()
	        s.setblocking(False)
	        s.connect_ex(("203.0.%d.%d" % (130 + i % 12, i + 1), 25))
	        globals()["s%d_%d" % (turn, i)] = s
	    time.sleep(1.2) # the first SYNs come again, as those of a mail program do
	P
	told() { ctl incident list --json | jq -e --arg a "$LAB_DYNAMIC_IP4" '.[] | select(.subject == $a and .detector == "zombie")'; }
	soon 15 told
	id=$(told | jq .id)
	ctl incident show "$id" | grep -q $'^why\tzombie suspected: '
	web_login
	run web_get "/who?q=$LAB_DYNAMIC_IP4"
	[[ "$output" == *"href=\"/incidents/$id\""* ]]
	run web_get "/incidents/$id"
	[[ "$output" == *"zombie suspected: "* && "$output" != *"Held since"* && "$output" != *"Held in the queue"* ]]
	ctl incident resolve "$id" --reason "machine cleaned"
}

@test "a class's rate is that of its exemption: a /29 and a /56" {
	ctl exempt add 192.0.2.128/29 --class business
	ctl exempt add 2001:db8:2::/56 --class business
	[ "$(reached "$LAB_INTERNET_IP4" 5)" = 2 ]
	[ "$(reached "$LAB_INTERNET_IP6" 5)" = 2 ]
	ip -n "$LAB_NS_FIXED" addr add 192.0.2.131/25 dev eth0
	! in_fix nc -z -w 10 -s 192.0.2.131 "$LAB_INTERNET_IP4" 25 || false
	ctl exempt remove 192.0.2.128/29
	ctl exempt remove 2001:db8:2::/56
}

@test "an exemption with destinations reaches these alone; of the other family they would be none" {
	run ctl exempt add "$LAB_FIXED_IP4" --class partners --to "$LAB_INTERNET_IP6"
	[ "$status" = 64 ]
	[[ "$output" == *"none of these is IPv4"* ]]
	ip -n "$LAB_NS_INTERNET" addr add 198.51.100.26/24 dev eth0
	ctl exempt add "$LAB_FIXED_IP4" --class partners --to "$LAB_INTERNET_IP4"
	fixed_reaches "$LAB_INTERNET_IP4"
	! fixed_reaches 198.51.100.26 || false
	ctl exempt remove "$LAB_FIXED_IP4"
}

@test "an exemption whose class is taken from the configuration is throttled, and says so" {
	ctl exempt add "$LAB_FIXED_IP4" --class business
	fixed_reaches "$LAB_INTERNET_IP4"
	cp "$LAB_DIR/extra.conf" "$BATS_FILE_TMPDIR/before.conf"
	sed -i '/^class business/,/^}/d' "$LAB_DIR/extra.conf"
	in_gw "$BIN/sekisho-rules" load -c "$LAB_CONF"
	kill -HUP "$(cat "$LAB_DIR/run/nfqd.pid")"
	says() { ctl status | grep -q $'^nfqd\tpolicy.unknown_class\tbusiness$'; }
	soon 10 says
	ctl watch --count 1 | grep -q $'\tstate\tnfqd.policy.unknown_class\tbusiness$'
	ctl explain "$LAB_FIXED_IP4" | grep -q $'^rule\tthrottled$'
	grep -q 'class-unknown class=business' "$LAB_DIR/log/nfqd.log"
	cp "$BATS_FILE_TMPDIR/before.conf" "$LAB_DIR/extra.conf"
	in_gw "$BIN/sekisho-rules" load -c "$LAB_CONF"
	kill -HUP "$(cat "$LAB_DIR/run/nfqd.pid")"
	soon 10 fixed_reaches "$LAB_INTERNET_IP4"
	ctl exempt remove "$LAB_FIXED_IP4"
}

@test "the responder away: refused as everywhere; back: told again" {
	pid=$(cat "$LAB_DIR/run/noticed.pid")
	kill -STOP "$(cat "$LAB_DIR/run/noticed.supervisor")"
	kill "$pid"
	refused() { in_sub nc -v -w 10 "$1" 25 < /dev/null 2>&1 | grep -q refused; }
	soon 5 refused "$LAB_INTERNET_IP4"
	soon 5 refused "$LAB_INTERNET_IP6"
	kill -CONT "$(cat "$LAB_DIR/run/noticed.supervisor")"
	told() { in_sub nc -w 10 "$1" 25 < <(printf 'QUIT\r\n') | grep -q '^554 5.7.1'; }
	soon 10 told "$LAB_INTERNET_IP4"
	soon 10 told "$LAB_INTERNET_IP6"
}

@test "explain finds a line's pool by the interface that it is behind" {
	ctl explain "$LAB_DYNAMIC_IP4" | grep -q $'^pool\tdsl$'
	ctl explain "$LAB_DYNAMIC_IP6" | grep -q $'^interface\tdyn0$'
	! ctl explain "$LAB_FIXED_IP4" | grep -q $'^pool\t' || false
	ctl explain "$LAB_FIXED_IP4" --interface dyn0 | grep -q $'^pool\tdsl$'
}

@test "a pool that asks for no notice any more: a reload, and its lines are refused without one" {
	sed -i 's/notice = true/notice = false/' "$LAB_DIR/extra.conf"
	in_gw "$BIN/sekisho-rules" load -c "$LAB_CONF"
	run in_sub nc -v -w 10 "$LAB_INTERNET_IP4" 25 < /dev/null
	[[ "$output" == *refused* ]]
}

@test "where prefixes are configured others are nobody's business, and explain says so" {
	! fixed_reaches "$LAB_INTERNET_IP4" || false
	printf 'pool dsl {\n\tprefixes = {"192.0.2.0/25", "2001:db8:1::/64"}\n}\n' > "$LAB_DIR/extra.conf"
	in_gw "$BIN/sekisho-rules" load -c "$LAB_CONF"
	kill -HUP "$(cat "$LAB_DIR/run/nfqd.pid")"
	says() { ctl explain "$LAB_FIXED_IP4" | grep -q $'^decision\tnot-subject$'; }
	soon 10 says
	ctl explain "$LAB_FIXED_IP6" | grep -q $'^rule\tnot-a-subscriber$'
	fixed_reaches "$LAB_INTERNET_IP4"
	fixed_reaches "$LAB_INTERNET_IP6"
	for a in "$LAB_DYNAMIC_IP4" "$LAB_DYNAMIC_IP6"; do
		ctl explain "$a" | grep -q $'^decision\treject$'
		ctl explain "$a" | grep -q $'^pool\tdsl$'
	done
	! in_sub nc -z -w 10 "$LAB_INTERNET_IP4" 25 || false
}
