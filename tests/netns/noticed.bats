# sekisho-noticed behind tproxy, with real clients: 554 and QUIT, limits of sources, in all and in time.

ROOT=$BATS_TEST_DIRNAME/../..
BIN=${SEKISHO_BIN:-$ROOT/build/release}

in_sub() { ip netns exec "$NS_SUB" "$@"; }
in_gw() { ip netns exec "$NS_GW" "$@"; }
load wait
configure() {
	cat > "$CONF" <<-C
	common { state_dir = "$DIR/state" run_dir = "$DIR/run" user = "${NOTICED_USER:-}" }
	notice {
	  hostname = gw.isp.example
	  help_url = "https://isp.example/port25"
	  max_connections = 20
	  timeout = $1
	}
	C
}
setup_file() {
	export DIR=$BATS_FILE_TMPDIR CONF=$BATS_FILE_TMPDIR/sekisho.conf PATH=$PATH:/usr/sbin:/sbin
	export NS_SUB=sknot-sub-$$ NS_GW=sknot-gw-$$
	ip netns add "$NS_SUB"
	ip netns add "$NS_GW"
	ip -n "$NS_GW" link set lo up
	ip -n "$NS_GW" link add sub0 type veth peer name eth0 netns "$NS_SUB"
	for a in 2 3 4 5 6 7 8 9 10 11 12 13; do ip -n "$NS_SUB" addr add 100.64.0.$a/24 dev eth0; done
	ip -n "$NS_SUB" addr add 2001:db8:1::2/64 dev eth0 nodad
	ip -n "$NS_GW" addr add 100.64.0.1/24 dev sub0
	ip -n "$NS_GW" addr add 2001:db8:1::1/64 dev sub0 nodad
	ip -n "$NS_GW" link set sub0 up
	ip -n "$NS_SUB" link set eth0 up
	ip -n "$NS_SUB" route add default via 100.64.0.1
	ip -n "$NS_SUB" -6 route add default via 2001:db8:1::1
	# What the rules do for a pool with notice = true, no more.
	in_gw nft -f - <<-'N'
	table inet t {
		chain c {
			type filter hook prerouting priority -150; policy accept;
			ip daddr 192.0.2.0/24 tcp dport 25 tproxy ip to 127.0.0.1:2525 meta mark set 0x10000
			ip6 daddr 2001:db8:2::/64 tcp dport 25 tproxy ip6 to [::1]:2525 meta mark set 0x10000
		}
	}
	N
	for v in -4 -6; do
		ip -n "$NS_GW" $v rule add fwmark 0x10000 lookup 99
		ip -n "$NS_GW" $v route add local default dev lo table 99
	done
	configure 30s
	ip netns exec "$NS_GW" "$BIN/sekisho-noticed" -c "$CONF" > "$DIR/log" 2>&1 3>&- < /dev/null &
	echo $! > "$DIR/pid"
	disown
	soon 10 grep -q 'process ready port=2525' "$DIR/log"
}
teardown_file() {
	local ns
	for ns in "$NS_SUB" "$NS_GW"; do
		[ -z "$(ip netns pids "$ns")" ] || kill $(ip netns pids "$ns") || true
		ip netns del "$ns"
	done
}
# talk ADDRESS [SOURCE]: standard input to it, line by line as it answers
talk() {
	local host=$1
	case $1 in *:*) host="[$1]" ;; esac
	in_sub socat -T20 -t20 - "TCP:$host:25,connect-timeout=20${2:+,bind=$2}"
}
metric() { in_gw curl -s http://127.0.0.1:9429/metrics | awk -v m="sekisho_notice_$1" '$1 == m { print $2 }'; }
metric_is() { [ "$(metric "$1")" = "$2" ]; }

@test "whoever they call, they are told why, IPv4 and IPv6" {
	for to in 192.0.2.25 192.0.2.77 2001:db8:2::25; do
		run talk $to <<< $'EHLO home\r\nQUIT\r'
		echo "$output"
		[ "${lines[0]%$'\r'}" = "554 5.7.1 gw.isp.example Port 25 is closed on this line: submit mail on port 587 or 465 see https://isp.example/port25" ]
		[[ "${lines[1]}" == "503 5.5.1 "* ]]
		[[ "${lines[2]}" == "221 2.0.0 "* ]]
	done
}

@test "a mail program gives up with the text in hand" {
	command -v swaks > /dev/null || skip "no swaks"
	run in_sub swaks --server 192.0.2.25 --from a@home.example --to b@far.example --helo home
	[ "$status" != 0 ]
	[[ "$output" == *"554 5.7.1 gw.isp.example"*"https://isp.example/port25"* ]]
}

@test "it holds no capability and no file of ours" {
	grep -q '^CapEff:[[:space:]]0000000000000000$' "/proc/$(cat "$DIR/pid")/status"
	grep -q '^CapPrm:[[:space:]]0000000000000000$' "/proc/$(cat "$DIR/pid")/status"
	grep -q '^CapAmb:[[:space:]]0000000000000000$' "/proc/$(cat "$DIR/pid")/status"
}

@test "one source has a tenth, all together have the whole; what ends makes room" {
	soon 5 metric_is connections 0
	: > "$DIR/hold"
	before=$(metric turned_away_total)
	in_sub python3 - "$DIR/hold" > "$DIR/held" 3>&- <<-'P' &
	import os, socket, sys, time
	keep, refused = [], 0
	for i in range(60):
	    s = socket.socket()
	    s.bind(("100.64.0.%d" % (2 + i % 12), 0))
	    s.settimeout(30)
	    s.connect(("192.0.2.25", 25))
	    try:
	        refused += not s.recv(4)
	    except ConnectionResetError:
	        refused += 1
	    keep.append(s)
	print(len(keep) - refused, refused, flush=True)
	while os.path.exists(sys.argv[1]):
	    time.sleep(0.02)
	P
	soon 20 test -s "$DIR/held"
	[ "$(cat "$DIR/held")" = "20 40" ]
	[ "$(metric turned_away_total)" = $((before + 40)) ]
	[ "$(metric connections)" = 20 ]
	rm "$DIR/hold"
	soon 10 metric_is connections 0
	run talk 192.0.2.25 <<< $'QUIT\r'
	[[ "$output" == "554 "* ]]
}

@test "errors without end and lines without end are ended" {
	run talk 192.0.2.25 < <(for n in {1..50}; do printf 'NOOP\r\n'; done)
	[ "$(grep -c '^503 ' <<< "$output")" -le 9 ]
	run talk 192.0.2.25 < <(head -c 100000 /dev/zero | tr '\0' x; printf '\r\nQUIT\r\n')
	[[ "$output" == *"500 5.5.2 "* ]]
	kill -0 "$(cat "$DIR/pid")"
}

@test "the time is for the whole connection, also for one that keeps talking" {
	configure 1s
	kill -HUP "$(cat "$DIR/pid")"
	soon 5 grep -q 'process reloaded' "$DIR/log"
	before=$(metric timeouts_total)
	run talk 192.0.2.25 < <(for n in {1..20}; do printf 'x'; read -rt 0.2 <> <(:) || true; done)
	[[ "$output" == *"421 4.4.2 "* ]]
	[ "$(metric timeouts_total)" = $((before + 1)) ]
	configure 30s
}

@test "a greeting that is no reply line is refused, and a reload keeps the old one" {
	sed 's/gw.isp.example/"gw isp"/' "$CONF" > "$DIR/wrong.conf"
	run "$BIN/sekisho-noticed" -n -c "$DIR/wrong.conf"
	[ "$status" = 78 ]
	[[ "$output" == *"notice: hostname"* ]]
	cp "$CONF" "$DIR/good.conf"
	cp "$DIR/wrong.conf" "$CONF"
	kill -HUP "$(cat "$DIR/pid")"
	soon 5 grep -q 'process reload-refused' "$DIR/log"
	cp "$DIR/good.conf" "$CONF"
	run talk 192.0.2.25 <<< $'QUIT\r'
	[[ "$output" == "554 5.7.1 gw.isp.example"* ]]
}
