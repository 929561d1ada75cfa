#!/usr/bin/env bats
# The kernel rules by themselves, with real packets: no nfqd, elements put into the sets by hand, and a judge of a few
# lines where a packet must be queued. What a class limits, how pools differ, and what keeps the rules there.

load enforce.bash

setup_file() {
	[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
	export DIR=$BATS_FILE_TMPDIR CONF=$BATS_FILE_TMPDIR/sekisho.conf
	mkdir -p "$DIR/state" "$DIR/run"
	make_namespaces
	ip -n $NS_SUB addr add 2001:db8:1::ff:2/64 dev eth0 nodad preferred_lft 0
	server 25
	server 2525
}
teardown_file() {
	[ -z "${DIR:-}" ] || stop_all
}
# Each test begins with the rules of the configuration it writes, and nobody exempt.
setup() {
	in_gw nft flush ruleset
	configure ""
	arrived v4 > /dev/null
	arrived v6 > /dev/null
}
teardown() {
	end watch
	end judge
	end responder
}

groups() { cat >> "$CONF"; }
nft_gw() { in_gw nft "$@"; }
alive() { # as nfqd says that it is well
	for f in ip ip6; do nft_gw add element $f sekisho alive "{ tcp timeout ${1:-60s}, ah timeout ${1:-60s} }"; done
}
judge() { # FIRST COUNT VERDICT
	daemon judge ip netns exec "$NS_GW" python3 -u "$BATS_TEST_DIRNAME/judge.py" "$@"
	soon 5 grep -q ready "$DIR/log.judge"
	alive
}
near() { # LEVEL ADDRESS: the set that says where to look for an element, and its element there
	python3 -c 'import ipaddress, sys
a = ipaddress.ip_address(sys.argv[2]).packed
host = sys.argv[1] in ("32", "128")
if len(a) == 4:
    print("hosts { %d.%d.%d.%d }" % (*a[:3], a[3] & 240) if host else "near { %d.%d.%d.0 }" % tuple(a[:3]))
else:
    print("hosts { 0x" + a[4:8].hex() + " }" if host else "near { 0x" + a[2:6].hex() + " }")' "$@"
}
exempt() { # CLASS LEVEL PREFIX-LENGTH ADDRESS...: elements of an exemption
	local class=$1 level=$2 len=$3 a f=ip
	shift 3
	for a; do
		case $a in *:*) f=ip6 ;; esac
		# shellcheck disable=SC2046 # a set and an element
		nft_gw add element $f sekisho $(near "$level" "$a")
		if [ "$class" = full ]; then
			nft_gw add element $f sekisho "allow_$level" "{ $a }"
		else
			nft_gw add element $f sekisho "class_$level" "{ $a : goto class_${class}_$len }"
		fi
	done
}
rejected_by() { # TOOL-WORDS ADDRESS [SOURCE]
	local out
	out=$(greet "$2" 25 "${3:-}" 2>&1) && { echo "not refused: $out"; return 1; }
	echo "$out"
	grep -q "$1" <<< "$out"
}

@test "closed as soon as the rules are there, before any daemon is" {
	rules load
	refused $NET4
	refused $NET6
	[ "$(arrived v4)" = 0 ]
	[ "$(arrived v6)" = 0 ]
	[ "$(counter unfiltered)" = 2 ]
	[ "$(counter refused)" = 2 ]
	[ "$(counter noted)" = 2 ]
	nft_gw get element ip sekisho refused "{ $SUB4 . $NET4 }"
	nft_gw get element ip6 sekisho refused "{ $SUB6 . $NET6 }"
	greet $NET4 2525
	greet 192.0.2.26
	rules status
	rules status | grep -P '^set\tip\trefused\t1\t65536$'
}

@test "one base chain a family" {
	rules load
	[ "$(nft_gw list ruleset | grep -c 'type filter hook')" = 2 ]
	[ "$(nft_gw list ruleset | grep -c 'hook forward priority mangle - 10')" = 2 ]
}

@test "an exempt line passes by a look at the sets, and the next packet knows when it ends" {
	rules load
	exempt full 32 32 $SUB4
	exempt full 56 56 2001:db8:1::
	greet $NET4
	greet $NET6
	refused $NET4 100.64.0.3
	[ "$(counter passed)" = 2 ]
	[ "$(counter passed_noted)" = 2 ]
	nft_gw get element ip sekisho passed "{ $SUB4 . $NET4 }"
	nft_gw delete element ip sekisho allow_32 "{ $SUB4 }"
	refused $NET4
}

@test "what the judge allows goes out, what it rejects does not, and each is counted" {
	rules load
	judge 25 2 allow
	greet $NET4
	greet $NET6
	[ "$(counter passed)" = 2 ]
	[ "$(counter queued)" = "$(counter judged)" ]
	[ "$(counter unfiltered)" = 0 ]
	[ "$(counter refused)" = 0 ]
	end judge
	judge 25 2 reject
	arrived v4 > /dev/null
	refused $NET4
	refused $NET6
	[ "$(arrived v4)" = 0 ]
	[ "$(counter refused)" = 2 ]
}

@test "a mark that nobody of ours set does not let a packet through, nor round and round" {
	rules load
	nft_gw 'table ip other { chain c { type filter hook prerouting priority -300; policy accept;
		meta mark set 0x00550000
	}
	}'
	refused $NET4
	judge 25 2 allow
	greet $NET4
	end judge
	judge 25 2 reject
	refused $NET4
}

@test "marks of others are theirs" {
	rules load
	nft_gw 'table ip other { chain c { type filter hook prerouting priority -300; policy accept;
		meta mark set 0x12000034
	}
	chain d { type filter hook postrouting priority 0; policy accept;
		tcp dport 25 meta mark != 0x12000034 drop
	}
	}'
	judge 25 2 allow
	greet $NET4
}

@test "a reload loses no packet that waits, and does not double a rule" {
	rules load
	judge 25 2 hold
	in_sub socat -T30 -t30 - "TCP:$NET4:25,connect-timeout=30" < /dev/null > "$DIR/greeting" &
	client=$!
	soon 5 grep -q held "$DIR/log.judge"
	before=$(nft_gw -a list chain ip sekisho queue_closed | grep -c handle)
	rules load
	rules load
	[ "$(nft_gw -a list chain ip sekisho queue_closed | grep -c handle)" = "$before" ]
	rules status
	kill -USR1 "$(cat "$DIR/pid.judge")"
	# The rest of the session is held as well.
	( while kill -USR1 "$(cat "$DIR/pid.judge")"; do read -rt 0.1 <> <(:) || true; done ) 3>&- &
	helper=$!
	wait $client
	kill $helper
	grep -q 220 "$DIR/greeting"
}

@test "a judge that is gone: dropped until it is known to be, then refused at once" {
	# The session of the test before comes to its end first.
	over() { [ -z "$(in_sub ss -Htn dport = :25; in_net ss -Htn sport = :25)" ]; }
	soon 20 over
	rules load
	arrived v4 > /dev/null
	alive 2s
	refused $NET4 && false
	soon 5 refused $NET4
	[ "$(arrived v4)" = 0 ]
}

@test "rate: an exemption has one meter, however many elements it is" {
	groups <<< 'class slow { rate = 1 burst = 3 }'
	rules load
	exempt slow 32 29 $SUB4 100.64.0.3
	greet $NET4
	greet $NET4 25 100.64.0.3
	greet $NET4
	refused $NET4 100.64.0.3
	refused $NET4
	[ "$(counter throttled)" = 2 ]
	exempt slow 64 56 2001:db8:1::
	greet $NET6
	greet $NET6
	greet $NET6 25 '[2001:db8:1::ff:2]'
	refused $NET6
}

@test "concurrent: so many sessions at once, and one more when one has ended" {
	groups <<< 'class few { concurrent = 2 }'
	rules load
	exempt few 32 32 $SUB4
	for i in 1 2; do
		daemon open$i ip netns exec "$NS_SUB" socat "TCP:$NET4:25" SYSTEM:'sleep 60'
		soon 5 in_net sh -c "[ \$(ss -Htn state established sport = :25 | wc -l) = $i ]"
	done
	refused $NET4
	end open1
	soon 20 greet $NET4
	end open2
}

@test "destinations: known ones go on, new ones are refused" {
	groups <<< 'class narrow { destinations = 1 }'
	ip -n $NS_NET addr add 192.0.2.27/24 dev eth0
	rules load
	exempt narrow 32 32 $SUB4
	greet $NET4
	refused 192.0.2.27
	greet $NET4
	greet $NET4
	ip -n $NS_NET addr del 192.0.2.27/24 dev eth0
}

@test "listed: to the destinations of the exemption, and to others only if the judge says so" {
	ip -n $NS_NET addr add 192.0.2.27/24 dev eth0
	rules load
	exempt listed 32 30 $SUB4
	exempt listed 64 64 2001:db8:1::
	nft_gw add element ip sekisho listed "{ 100.64.0.0 . $NET4 }"
	nft_gw add element ip6 sekisho listed "{ 2001:db8:1:: . $NET6 }"
	greet $NET4
	greet $NET6
	refused 192.0.2.27
	judge 25 2 allow
	greet 192.0.2.27
	ip -n $NS_NET addr del 192.0.2.27/24 dev eth0
}

@test "a class that is no longer configured leads to the judge, and goes when nothing points to it" {
	groups <<< 'class temp { }'
	rules load
	exempt temp 32 32 $SUB4
	greet $NET4
	configure ""
	rules load
	refused $NET4
	nft_gw list chain ip sekisho class_temp_32
	nft_gw delete element ip sekisho class_32 "{ $SUB4 }"
	rules load
	run nft_gw list chain ip sekisho class_temp_32
	[ "$status" != 0 ]
	rules status
}

@test "pools: by prefix before interface, each with its reaction and its way to fail" {
	groups <<-'G'
	pool line { interfaces = {"sub0"} reaction = icmp }
	pool host { prefixes = {"100.64.0.3/32"} fail = open }
	G
	rules load
	rejected_by prohibited $NET4 || rejected_by 'No route' $NET4
	greet $NET4 25 100.64.0.3
	[ "$(counter unfiltered)" -ge 2 ]
	# Both queues have their judge: the open pool's packets go to the second pair.
	judge 25 2 allow
	greet $NET4
	end judge
	judge 27 2 reject
	refused $NET4 100.64.0.3 || rejected_by refused $NET4 100.64.0.3
}

@test "subject prefixes: a source that is in none is nobody's business" {
	configure 'subscriber_prefixes = {"100.64.0.3/32", "2001:db8:1::ff:0/112"}'
	rules load
	greet $NET4
	greet $NET6
	refused $NET4 100.64.0.3
	refused $NET6 '[2001:db8:1::ff:2]'
}

@test "a forged source is dropped, is nobody's attempt, and is not answered" {
	rules load
	exempt full 32 32 198.51.100.9
	ip -n $NS_SUB addr add 198.51.100.9/32 dev lo
	run greet $NET4 25 198.51.100.9
	[ "$status" != 0 ]
	[ "$(arrived v4)" = 0 ]
	[ "$(counter spoofed)" -ge 1 ]
	[ "$(counter passed)" = 0 ]
	# Where it is not checked, it passes as the exemption it is.
	configure 'antispoof_except = {"sub0"}'
	rules load
	ip -n $NS_GW route add 198.51.100.9/32 via 100.64.0.2
	greet $NET4 25 198.51.100.9
	ip -n $NS_GW route del 198.51.100.9/32
	ip -n $NS_SUB addr del 198.51.100.9/32 dev lo
}

@test "notice: a refused line meets the responder, and is refused without it" {
	groups <<< 'pool home { interfaces = {"sub0"} notice = true }'
	rules load
	rules status
	daemon responder ip netns exec "$NS_GW" python3 -u "$BATS_TEST_DIRNAME/responder.py" 2525
	soon 5 grep -q ready "$DIR/log.responder"
	nft_gw add element ip sekisho deny "{ $SUB4 }"
	nft_gw add element ip6 sekisho deny_64 '{ 2001:db8:1:: }'
	greet $NET4 | grep -q '^554 5.7.1'
	greet $NET6 | grep -q '^554 5.7.1'
	grep -q "^$SUB4 $NET4 25$" "$DIR/log.responder"
	grep -q "^$SUB6 $NET6 25$" "$DIR/log.responder"
	[ "$(arrived v4)" = 0 ]
	[ "$(arrived v6)" = 0 ]
	[ "$(counter noticed)" = 2 ]
	[ "$(counter refused)" = 2 ]
	nft_gw get element ip sekisho refused "{ $SUB4 . $NET4 }"
	# An exemption of any class comes first.
	exempt full 32 32 $SUB4
	exempt throttled 128 128 $SUB6
	greet $NET4 | grep -q '^220'
	greet $NET6 | grep -q '^220'
	nft_gw delete element ip sekisho allow_32 "{ $SUB4 }"
	end responder
	refused $NET4
	# Without a pool that asks for it nothing is left but an empty chain.
	configure ""
	rules load
	[ -z "$(ip -n $NS_GW rule list pref 2525)" ]
	refused $NET4
	rules status
}

@test "notice: the first packet of a line is not answered, so that it tries again" {
	groups <<< 'pool home { interfaces = {"sub0"} notice = true }'
	rules load
	judge 25 2 reject
	daemon responder ip netns exec "$NS_GW" python3 -u "$BATS_TEST_DIRNAME/responder.py" 2525
	soon 5 grep -q ready "$DIR/log.responder"
	in_sub socat -T30 -t30 - "TCP:$NET4:25,connect-timeout=30" < /dev/null > "$DIR/greeting" &
	client=$!
	judged_one() { [ "$(counter judged)" -ge 1 ]; }
	soon 5 judged_one
	nft_gw add element ip sekisho deny "{ $SUB4 }"
	wait $client
	grep -q '^554' "$DIR/greeting"
}

@test "watch: a foreign flush is undone within a second, a damaged chain too" {
	daemon watch ip netns exec "$NS_GW" "$BIN/sekisho-rules" watch -c "$CONF"
	soon 5 grep -q 'rules watching' "$DIR/log.watch"
	rules status
	whole() { rules status; }
	restored() { [ "$(grep -c 'rules restored' "$DIR/log.watch")" -gt "$before" ]; }
	damaged() { # WHAT: is it undone within a second?
		local begin=${EPOCHREALTIME/./}
		before=$(grep -c 'rules restored' "$DIR/log.watch" || true)
		nft_gw $1
		soon 5 restored
		[ $((${EPOCHREALTIME/./} - begin)) -lt 1000000 ] || { echo "$1: too late"; false; }
	}
	for damage in 'flush ruleset' 'flush table ip sekisho' 'flush chain ip6 sekisho queue_closed' 'delete table ip6 sekisho' \
		'flush chain ip sekisho smtp'; do
		in_time damaged "$damage"
		soon 1 whole
		refused $NET4
		refused $NET6
	done
	# Somebody else's rules, and elements, are none of its business.
	before=$(grep -c 'rules restored' "$DIR/log.watch")
	nft_gw add table ip other
	exempt full 32 32 $SUB4
	rules load
	greet $NET4
	# It sees changes in their order: the next that is its business is the next it does.
	nft_gw flush chain ip sekisho smtp
	soon 5 restored
	[ "$(grep -c 'rules restored' "$DIR/log.watch")" = $((before + 1)) ]
	soon 1 whole
	# With a file that is not valid, the rules in force are put back.
	cp "$CONF" "$DIR/good"
	echo 'nonsense' >> "$CONF"
	nft_gw flush ruleset
	soon 5 nft_gw list chain ip sekisho queue_closed
	soon 5 refused $NET4
	cp "$DIR/good" "$CONF"
	kill -HUP "$(cat "$DIR/pid.watch")"
	soon 5 grep -q 'rules loaded' "$DIR/log.watch"
}

@test "at boot a configuration that is not valid gives way to the last good one" {
	rules load --fallback "$DIR/last.conf"
	echo 'nonsense' >> "$CONF"
	nft_gw flush ruleset
	run rules load
	[ "$status" = 78 ]
	run rules load --fallback "$DIR/last.conf"
	[ "$status" = 0 ]
	grep -q 'nonsense\|missing\|unknown' <<< "$output"
	refused $NET4
}

@test "what an earlier version loaded is taken out, and only that" {
	in_gw iptables-nft -t mangle -A FORWARD -m mark --mark 0x10000/0xff0000 -m comment --comment sekisho-queue-step \
		-j NFQUEUE --queue-balance 25:26 --queue-bypass --queue-cpu-fanout
	in_gw ip6tables-nft -t mangle -A FORWARD -m mark --mark 0x10000/0xff0000 -m comment --comment sekisho-queue-step \
		-j NFQUEUE --queue-balance 25:26 --queue-bypass --queue-cpu-fanout
	in_gw ip6tables-nft -t mangle -A FORWARD -p udp -j ACCEPT
	nft_gw 'table inet sekisho { chain steer { type filter hook forward priority -160; policy accept;
		tcp dport 25 meta mark set 0x10000
	}
	}'
	rules load
	run nft_gw list table inet sekisho
	[ "$status" != 0 ]
	run nft_gw list table ip mangle
	[ "$status" != 0 ]
	in_gw ip6tables-nft -t mangle -S FORWARD | grep -q udp
	! in_gw ip6tables-nft -t mangle -S FORWARD | grep -q sekisho || false
	refused $NET4
}

@test "unload leaves nothing" {
	groups <<< 'pool home { interfaces = {"sub0"} notice = true }'
	rules load
	rules unload
	[ -z "$(nft_gw list ruleset)" ]
	[ -z "$(ip -n $NS_GW rule list pref 2525)" ]
	[ -z "$(ip -n $NS_GW route list table 2525 2> /dev/null)" ]
	greet $NET4
	run rules status
	[ "$status" = 1 ]
	rules unload
}
