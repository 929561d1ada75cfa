#!/usr/bin/env bats
# What fails, and what happens then: nothing that is closed gets out, nothing that is exempt is lost for longer than the
# failure, and it is said. Real daemons; IPv4 and IPv6.

load enforce.bash

setup_file() {
	[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
	start_all
	cc -std=gnu11 -D_GNU_SOURCE -O2 -shared -fPIC -o "$DIR/enforce_clock.so" "$BATS_TEST_DIRNAME/enforce_clock.c"
}
teardown_file() {
	[ -z "${DIR:-}" ] || stop_all
}
setup() { begin_closed; }
hex4() { printf '%02x%02x%02x%02x' ${1//./ }; }
# segment FLAGS [SOURCE]: raw TCP to port 25 with six bytes of data
segment() {
	raw "4500002e00014000400600006440000${2:-2}c0000219d4310019000000010000000150${1}ffff0000000048454c4f0d0a"
}
goes_on() { # the session talks, now
	local n
	n=$(grep -c ping "$DIR/log.session")
	more() { [ "$(grep -c ping "$DIR/log.session")" -gt $((n + 2)) ]; }
	soon 5 more
	! grep -q cut "$DIR/log.session" || false
}

@test "a session in mid-stream goes on over a restart of everything, and a closed one does not begin there" {
	for pair in "$NET4 $SUB4" "$NET6 2001:db8:1::/64"; do
		set -- $pair
		ctl exempt add "$2"
		open_session "$1"
		end nfqd KILL
		goes_on
		start_nfqd
		goes_on
		rules load
		goes_on
		end acctd
		end nfqd
		start_acctd
		start_nfqd
		soon 10 state_is running
		goes_on
		end session
		ctl exempt remove "$2"
	done
	forget_learned
	arrived v4 > /dev/null
	for flags in 10 18 11 12; do segment $flags; done
	closed() { [ "$(counter refused)" -ge $((before + 4)) ]; }
	before=$(counter refused)
	for flags in 10 18 11 12; do segment $flags; done
	soon 5 closed
	[ "$(arrived v4)" = 0 ]
}

@test "a path of one direction: the decision needs no other half" {
	ctl exempt add $SUB4
	ctl exempt add 2001:db8:1::/64
	# Segments of a connection whose beginning went another way.
	segment 10
	segment 18
	raw "6000000000140640""20010db8000100000000000000000002""20010db8000200000000000000000025""d4310019000000010000000050""10ffff00000000"
	both() { n4=$((${n4:-0} + $(arrived v4))) n6=$((${n6:-0} + $(arrived v6))); [ $n4 -ge 2 ] && [ $n6 -ge 1 ]; }
	soon 5 both
	# The way back leads elsewhere: by default that is a forged source; antispoof = false is for such networks.
	in_gw ip link add back0 type veth peer name back1
	in_gw ip link set back0 up
	in_gw ip route add 100.64.0.3/32 dev back0
	ctl exempt add 100.64.0.3
	spoofed=$(counter spoofed)
	segment 02 3
	counted() { [ "$(counter spoofed)" = $((spoofed + 1)) ]; }
	soon 5 counted
	configure 'antispoof = false'
	rules load
	n4=0
	arrived v4 > /dev/null
	segment 02 3
	segment 10 3
	two() { n4=$((n4 + $(arrived v4))); [ $n4 = 2 ]; }
	soon 5 two
	ctl exempt remove 100.64.0.3
	segment 02 3
	segment 10 3
	read -rt 0.3 <> <(:) || true
	[ "$(arrived v4)" = 0 ]
	in_gw ip link del back0
	configure ''
	rules load
}

@test "an IPv6 exemption begins and ends to the moment" {
	in_time to_the_moment 2001:db8:1::/64 $SUB6 $NET6
	[ -z "${WRONG:-}" ]
}

# ahead MS: step the clock of the daemons
ahead() { python3 -c 'import struct, sys; open(sys.argv[1], "r+b").write(struct.pack("=q", int(sys.argv[2])))' "$DIR/ahead" "$1"; }
@test "the clock is stepped: exemptions follow it, both ways" {
	end nfqd
	end acctd
	head -c 8 /dev/zero > "$DIR/ahead"
	export DAEMON_ENV="LD_PRELOAD=$DIR/enforce_clock.so SHIFT_CLOCK=$DIR/ahead"
	start_acctd
	start_nfqd
	soon 10 state_is running
	coming() { date -u -d "@$(($(date +%s) + $1))" +%FT%TZ; }
	# Ends in an hour: two hours forward ends it, though the kernel's timeout says an hour.
	ctl exempt add $SUB4 --expires "$(coming 3600)"
	ctl exempt add 2001:db8:1::/64 --expires "$(coming 3600)"
	greet $NET4
	greet $NET6
	ahead 7200000
	soon 15 refused $NET4
	soon 5 refused $NET6
	ahead 0
	ctl exempt list | cut -f 1 | while read -r p; do ctl exempt remove "$p"; done
	# Ends in four seconds: an hour back, and it has an hour more, though the kernel's timeout runs out.
	ctl exempt add $SUB4 --starts "$(coming -7200)" --expires "$(coming 4)"
	greet $NET4
	ahead -3600000
	read -rt 6 <> <(:) || true
	soon 10 greet $NET4
	# Not begun: forward it begins, back it has not.
	ahead 0
	ctl exempt list --all > /dev/null
	ctl exempt add 2001:db8:1::/64 --starts "$(coming 3600)"
	refused $NET6
	ahead 7200000
	soon 15 greet $NET6
	ahead 0
	soon 15 refused $NET6
	end nfqd
	end acctd
	unset DAEMON_ENV
}

@test "an address changes hands: the old owner's exemption goes first, its session with it" {
	for who in old new; do ctl subscriber add "S-$who" --name "$who"; done
	for pair in "$NET4 $SUB4/32" "$NET6 2001:db8:1::/64"; do
		set -- $pair
		ctl lease add "$2" --subscriber S-old
		ctl exempt add "$2" --subscriber S-old
		open_session "$1"
		ctl lease add "$2" --subscriber S-new
		soon 2 grep -q cut "$DIR/log.session"
		end session
		refused "$1"
		! ctl exempt list | grep -q "^${2%/32}" || false
		# And not over a restart.
		end nfqd
		start_nfqd
		soon 10 state_is running
		refused "$1"
	done
}

@test "the queue's socket is full: nothing is let by, what was not judged is counted or dropped by the kernel, and it goes on" {
	local pid
	pid=$(cat "$DIR/pid.nfqd")
	python3 "$BATS_TEST_DIRNAME/enforce_flow.py" small "$pid" 4096
	syn=$(sed 's/../\\x&/g' <<< 45000028000140004006000064400002c0000219d431001900000001000000005002ffff00000000)
	for i in {1..200}; do printf "$syn"; done > "$DIR/syns"
	# Before it is missed.
	kill -STOP "$pid"
	in_sub socat -u -b 40 "OPEN:$DIR/syns" IP4-SENDTO:$NET4:255
	in_gw awk '{ n += $7 } END { exit n == 0 }' /proc/net/netfilter/nfnetlink_queue
	kill -CONT "$pid"
	soon 5 refused $NET4
	[ "$(arrived v4)" = 0 ]
	[ "$(arrived v6)" = 0 ]
	ctl exempt add $SUB4
	greet $NET4
	ctl status --json | jq -e '[.nfqd.queues[].user_dropped] | add > 0'
	end nfqd
}

@test "nfqd stalls: within seconds what is closed is refused by the kernel, and it is said when it is back" {
	ctl exempt add $SUB4
	kill -STOP "$(cat "$DIR/pid.nfqd")"
	greet $NET4
	# At first packets wait for it; then the kernel refuses by itself, at once.
	soon 8 refused $NET6
	greet $NET4
	[ "$(arrived v6)" = 0 ]
	kill -CONT "$(cat "$DIR/pid.nfqd")"
	soon 10 state_is running
	refused $NET6
	[ "$(arrived v6)" = 0 ]
}

@test "nfqd is killed and started under load: exempt SYNs pass all the while, no closed one does" {
	ctl exempt add $SUB4
	flow $SUB4 100.64.0.3 $NET4 4 500
	flowing passed
	end nfqd KILL
	flowing passed
	start_nfqd
	flow_ended
}

@test "somebody flushes the mangle table: port 25 stays closed, or nfqd says so" {
	ctl exempt add $SUB4
	in_gw iptables-nft -t mangle -F
	in_gw ip6tables-nft -t mangle -F
	forget_learned
	refused $NET6
	greet $NET4
	[ "$(arrived v6)" = 0 ]
}

@test "somebody flushes the whole ruleset: nfqd says so within a second, and the rules come back without a restart" {
	ctl exempt add $SUB4
	in_gw nft flush ruleset
	soon 2 state_is waiting-for-table
	ctl status --json | jq -e '.nfqd.state != "running"'
	rules load
	soon 5 state_is running
	greet $NET4
	refused $NET6
}

@test "an interface goes down while packets wait for a verdict: they are gone, nfqd goes on" {
	forget_learned
	kill -STOP "$(cat "$DIR/pid.nfqd")"
	for i in {1..20}; do segment 02; done
	in_gw awk '{ n += $3 } END { exit n == 0 }' /proc/net/netfilter/nfnetlink_queue
	in_gw ip link set net0 down
	kill -CONT "$(cat "$DIR/pid.nfqd")"
	soon 5 state_is running
	in_gw ip link set net0 up
	in_gw ip addr add 2001:db8:2::1/64 dev net0 nodad 2> /dev/null || true
	arrived v4 > /dev/null
	soon 5 refused $NET4
	ctl exempt add $SUB4
	soon 10 greet $NET4
}

@test "before nfqd has ever run everything is closed, and own mail servers are open" {
	end nfqd
	end acctd
	mv "$DIR/state/nfq" "$DIR/state/nfq.away"
	rules unload
	rules load
	refused $NET4
	refused $NET6
	greet 192.0.2.26
	greet $NET4 2525
	[ "$(arrived v6)" = 0 ]
	rm -rf "$DIR/state/nfq"
	mv "$DIR/state/nfq.away" "$DIR/state/nfq"
}

# Last: its sets are small.
@test "sets at their limit: what does not fit is judged packet by packet, and the fill is told" {
	end nfqd
	rules unload
	configure 'set_size = 1024'
	rules load
	start_nfqd
	soon 10 state_is running
	in_gw ip route replace 10.0.0.0/8 via $SUB4
	# 100.64.0.2 comes last: the sets are full by then.
	{ for i in {0..1499}; do echo "10.9.$((i / 256)).$((i % 256))"; done; echo $SUB4; } | ctl exempt import -
	greet $NET4
	ctl status --json | jq -e '[.nfqd | .. | objects | to_entries[] | select(.key | test("allow")) | .value | numbers] | max >= 1000'
	refused $NET6
	refused $NET4 100.64.0.3
	# More sources than the deny set holds: none leaks.
	arrived v4 > /dev/null
	in_sub python3 "$BATS_TEST_DIRNAME/enforce_send.py" sources 10.30.0.0 3000 $NET4
	read -rt 0.5 <> <(:) || true
	[ "$(arrived v4)" = 0 ]
	end nfqd
	rules unload
	configure ''
	rules load
}

nfqd_says() { ctl status --json | jq ".nfqd.$1"; }
all_judged() { # UNFILTERED-BEFORE
	nfqd_says . > "$DIR/says"
	jq -e ".counters.queued == .counters.judged and .unfiltered == $1" "$DIR/says"
}
@test "what nfqd drops in a flood is counted as judged, also when it is killed" {
	cp "$CONF" "$DIR/conf.was"
	sed -i 's/^\( *\)queue_count = .*/&\n\1count_rate = 1/; s/^\( *\)interval = .*/&\n\1deny_timeout = 0/' "$CONF"
	rules load
	end nfqd
	start_nfqd
	soon 10 state_is running
	local before refused
	before=$(nfqd_says unfiltered) refused=$(nfqd_says counters.refused)
	for _ in $(seq 150); do segment 02; done
	more_refused() { [ "$(nfqd_says counters.refused)" = $((refused + 150)) ]; }
	soon 10 more_refused
	soon 10 all_judged "$before"
	# Most of them the rules did not see again.
	[ "$(counter judged)" -lt $(($(counter queued) - 80)) ]
	end nfqd KILL
	start_nfqd
	soon 10 state_is running
	soon 10 all_judged "$before"
	end nfqd
	mv "$DIR/conf.was" "$CONF"
	rules load
	start_nfqd
}
