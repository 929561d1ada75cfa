# What the enforce*.bats share: three network namespaces, the daemons, and ways to send.
#
#   subscriber (eth0) --- sub0 gateway net0 --- (eth0) internet
#   100.64.0.2 .3         100.64.0.1 192.0.2.1       192.0.2.25: port 25 and 2525 answer
#   2001:db8:1::2, :ff::2 2001:db8:1::1 2001:db8:2::1     2001:db8:2::25

ROOT=$BATS_TEST_DIRNAME/../..
BIN=${SEKISHO_BIN:-$ROOT/build/release}
SUB4=100.64.0.2 SUB6=2001:db8:1::2 NET4=192.0.2.25 NET6=2001:db8:2::25

in_sub() { ip netns exec "$NS_SUB" "$@"; }
in_gw() { ip netns exec "$NS_GW" "$@"; }
in_net() { ip netns exec "$NS_NET" "$@"; }
rules() { in_gw "$BIN/sekisho-rules" "$@" -c "$CONF"; }
ctl() { in_gw "$BIN/sekishoctl" -c "$CONF" "$@"; }

load wait

make_namespaces() {
	local ns id=$$-$RANDOM
	export NS_SUB=skenf-sub-$id NS_GW=skenf-gw-$id NS_NET=skenf-net-$id
	for ns in $NS_SUB $NS_GW $NS_NET; do
		ip netns add "$ns"
		ip -n "$ns" link set lo up
		# Addresses are usable at once.
		ip netns exec "$ns" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	done
	ip -n $NS_GW link add sub0 type veth peer name eth0 netns $NS_SUB
	ip -n $NS_GW link add net0 type veth peer name eth0 netns $NS_NET
	ip -n $NS_SUB addr add 100.64.0.2/24 dev eth0
	ip -n $NS_SUB addr add 100.64.0.3/24 dev eth0
	ip -n $NS_SUB addr add 2001:db8:1::2/64 dev eth0 nodad
	ip -n $NS_GW addr add 100.64.0.1/24 dev sub0
	ip -n $NS_GW addr add 2001:db8:1::1/64 dev sub0 nodad
	ip -n $NS_GW addr add 192.0.2.1/24 dev net0
	ip -n $NS_GW addr add 2001:db8:2::1/64 dev net0 nodad
	ip -n $NS_NET addr add 192.0.2.25/24 dev eth0
	ip -n $NS_NET addr add 192.0.2.26/24 dev eth0
	ip -n $NS_NET addr add 2001:db8:2::25/64 dev eth0 nodad
	ip -n $NS_GW link set sub0 up
	ip -n $NS_GW link set net0 up
	ip -n $NS_SUB link set eth0 up
	ip -n $NS_NET link set eth0 up
	ip -n $NS_SUB route add default via 100.64.0.1
	ip -n $NS_SUB -6 route add default via 2001:db8:1::1
	ip -n $NS_NET route add default via 192.0.2.1
	ip -n $NS_NET -6 route add default via 2001:db8:2::1
	in_gw sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	# What reaches the Internet from a subscriber, before anything is put together again.
	in_net nft -f - <<-'N'
	table inet arrived {
		counter v4 { }
		counter v6 { }
		chain in {
			type filter hook prerouting priority -500; policy accept;
			ip saddr 100.64.0.0/24 counter name v4
			ip6 saddr 2001:db8:1::/64 meta l4proto != ipv6-icmp counter name v6
		}
	}
	N
}

# daemon NAME COMMAND...: in the background, its process id in pid.NAME, its words in log.NAME
daemon() {
	local name=$1
	shift
	"$@" > "$DIR/log.$name" 2>&1 3>&- < /dev/null &
	echo $! > "$DIR/pid.$name"
	disown
}
end() { # NAME [SIGNAL]: and wait until it is gone
	local pid
	pid=$(cat "$DIR/pid.$1" 2> /dev/null) || return 0
	kill -"${2:-TERM}" "$pid" 2> /dev/null || true
	soon 10 gone "$pid"
	rm -f "$DIR/pid.$1"
}
gone() { ! kill -0 "$1" 2> /dev/null || [ "$(sed 's/.*) //' "/proc/$1/stat" | cut -c1)" = Z ]; }

server() { # PORT
	daemon "server$1" ip netns exec "$NS_NET" socat "TCP6-LISTEN:$1,ipv6only=0,fork,reuseaddr,backlog=64" "SYSTEM:echo 220 hello; cat"
	soon 10 in_net socat -u OPEN:/dev/null "TCP:127.0.0.1:$1"
}
configure() { # LINES for kernel-rules; those for nfq are in NFQ_LINES
	cat > "$CONF" <<-C
	common {
	  state_dir = "${STATE:-$DIR/state}"
	  run_dir = "$DIR/run"
	  user = ""
	}
	kernel-rules {
	  subscriber_interfaces = {"sub0"}
	  queue_count = 2
	  own_mta = {"192.0.2.26"}
	  throttle_rate = 1
	  throttle_burst = 2
	  $1
	}
	nfq {
	  interval = 200ms
	  ${NFQ_LINES:-}
	}
	C
}
acctd_up() { ctl status --json | jq -e .acctd; }
start_acctd() {
	daemon acctd ip netns exec "$NS_GW" env ${DAEMON_ENV:-} "$BIN/sekisho-acctd" -c "$CONF"
	soon 10 acctd_up
}
start_nfqd() {
	daemon nfqd ip netns exec "$NS_GW" env ${DAEMON_ENV:-} "$BIN/sekisho-nfqd" -c "$CONF"
	soon 10 grep -q 'process ready' "$DIR/log.nfqd"
}
# forget_learned: empty the deny sets
forget_learned() {
	in_gw nft -j list sets | jq -r '.nftables[].set | select(. != null and .table == "sekisho" and (.name | startswith("deny"))) |
		"flush set \(.family) \(.table) \(.name)"' | in_gw nft -f -
}
nfqd_state() { ctl status --json | jq -r .nfqd.state; }
state_is() { [ "$(nfqd_state)" = "$1" ]; }
# nfqd renews this as long as it is well.
nobody_judges() { ! in_gw nft get element ip sekisho alive '{ tcp }'; }

start_all() {
	export DIR=$BATS_FILE_TMPDIR CONF=$BATS_FILE_TMPDIR/sekisho.conf
	mkdir -p "$DIR/state" "$DIR/run"
	make_namespaces
	configure ""
	server 25
	server 2525
	rules load
	start_acctd
	start_nfqd
	soon 10 state_is running
}
stop_all() {
	local f ns
	rm -f "$DIR/flowing"
	for f in "$DIR"/pid.*; do
		[ ! -e "$f" ] || end "${f##*/pid.}"
	done
	for ns in $NS_SUB $NS_GW $NS_NET; do
		[ -z "$(ip netns pids "$ns")" ] || kill $(ip netns pids "$ns") || true
		ip netns del "$ns"
	done
}

# greet ADDRESS [PORT [SOURCE]]: connect from the subscriber and print the greeting; fails when refused
greet() {
	local host=$1
	case $1 in *:*) host="[$1]" ;; esac
	in_sub socat -T10 -t10 - "TCP:$host:${2:-25},connect-timeout=10${3:+,bind=$3}" < /dev/null
}
# refused ADDRESS [SOURCE]: by a reset, to its first SYN: the client sent no second one, as it does after a second
refused() {
	local before out
	before=$(syns_again)
	if out=$(greet "$1" 25 "${2:-}" 2>&1); then
		echo "not refused: $out"
		return 1
	fi
	echo "$out"
	grep -q refused <<< "$out" && [ "$(syns_again)" = "$before" ]
}
syns_again() { in_sub awk '$1 == "TcpExt:" && !c { for (i = 1; i <= NF; i++) if ($i == "TCPSynRetrans") c = i; next } $1 == "TcpExt:" { print $c }' /proc/net/netstat; }
# counter NAME: of both tables together
counter() { rules status --json | jq ".counters.$1"; }
# arrived V: packets that reached the Internet since the last call
arrived() { in_net nft -j reset counter inet arrived "$1" | jq '.nftables[] | select(.counter) | .counter.packets'; }
# raw HEX: send these bytes as an IP packet from the subscriber
raw() {
	local hex=${1// /} to=$NET4
	case $hex in 6*) to="[$NET6]" ;; esac
	printf "$(sed 's/../\\x&/g' <<< "$hex")" | in_sub socat -u - "IP${hex:0:1}-SENDTO:$to:255"
}
# told SOURCE: refused packets of a source as accounting has them
told() {
	ctl top | awk -F '\t' -v s="$1" '$1 == "line" && ($2 == s || index($2, s "/") == 1) { print $3; n = 1 } END { if (!n) print 0 }'
}

# begin_closed: how a test begins: everything runs, nobody is exempt, nothing is learned
begin_closed() {
	[ -e "$DIR/pid.acctd" ] || start_acctd
	[ -e "$DIR/pid.nfqd" ] || start_nfqd
	soon 10 state_is running
	ctl exempt list | cut -f 1 | while read -r p; do ctl exempt remove "$p" > /dev/null; done
	forget_learned
	arrived v4 > /dev/null
	arrived v6 > /dev/null
}
mac() { in_gw cat /sys/class/net/sub0/address; }
# flow OPEN CLOSED DESTINATION SECONDS PER-SECOND: SYNs of two sources, in the background, until flow_ended
flow() {
	: > "$DIR/flowing"
	python3 "$BATS_TEST_DIRNAME/enforce_flow.py" flow $NS_SUB $NS_NET "$(mac)" "$DIR/flowing" "$@" > "$DIR/flow" 2>&1 3>&- &
	flow=$!
}
flowing() { # NAME-OF-COUNTER: packets of it go by, now
	local before
	before=$(counter "$1")
	more() { [ "$(counter "$1")" -gt $((before + 50)) ]; }
	soon 5 more "$1"
}
flow_ended() { # every open SYN arrived, no closed one did
	local sent_open arrived_open sent_closed arrived_closed reset
	rm -f "$DIR/flowing"
	wait $flow
	cat "$DIR/flow"
	read -r sent_open arrived_open sent_closed arrived_closed reset < "$DIR/flow"
	[ "$sent_open" -gt 500 ] && [ "$arrived_open" = "$sent_open" ] && [ "$arrived_closed" = 0 ]
}
open_session() { # ADDRESS: a session that goes on talking, its words in log.session
	daemon session ip netns exec "$NS_SUB" bash -c '
		exec 3<> "/dev/tcp/$1/25"
		read -ru 3 line && echo "$line"
		n=0
		# Silence is not how a session is cut.
		heard() { read -rt 20 -u 3 line || { [ $? -lt 128 ] || { echo silence; exit; }; false; }; }
		while echo "ping $n" >&3 && heard; do echo "$line"; n=$((n + 1)); read -rt 0.02 <> <(:); done
		echo cut' sh "$1"
	soon 5 grep -q ping "$DIR/log.session"
}
# to_the_moment PREFIX SOURCE DESTINATION: exempt for a while; WRONG is said when it was so before it began or after it had ended
to_the_moment() {
	local starts ends out first last
	starts=$((${EPOCHREALTIME/./} / 1000 + 2000)) ends=$((${EPOCHREALTIME/./} / 1000 + 3400))
	at() { date -u -d "@$(($1 / 1000)).$(printf %03d $(($1 % 1000)))" +%FT%T.%3NZ; }
	ctl exempt add "$1" --starts "$(at $starts)" --expires "$(at $ends)"
	out=$(python3 "$BATS_TEST_DIRNAME/enforce_send.py" window $NS_SUB $NS_NET "$2" "$3" $((ends + 1500)))
	echo "$out, from $starts to $ends"
	read -r first last <<< "$out"
	[ "$first" -ge "$starts" ] && [ "$last" -lt "$ends" ] || WRONG=yes
	[ "$first" -le $((starts + 150)) ] && [ "$last" -ge $((ends - 150)) ]
}
