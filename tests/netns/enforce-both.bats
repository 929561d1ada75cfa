#!/usr/bin/env bats
# What the other enforce*.bats show with one family of addresses, with the other one too; addresses that customers share,
# flowtables, and a million exemptions. Real daemons and packets.

load enforce.bash

# A closed source of IPv6 that is not in the exempt line's /64.
ELSE6=2001:db8:77::2

setup_file() {
	[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
	# In memory: a million rows wait for no disk.
	STATE=$(mktemp -d /dev/shm/skenf-XXXXXX)
	export STATE
	start_all
	in_gw ip -6 route add 2001:db8:77::/64 dev sub0
	ip -n "$NS_SUB" addr add $ELSE6/64 dev eth0 nodad
}
teardown_file() {
	[ -z "${DIR:-}" ] || stop_all
	[ -z "${STATE:-}" ] || rm -r "$STATE"
}
setup() { begin_closed; }
# segment6 FLAGS: raw TCP to port 25 over IPv6, with six bytes of data
segment6() {
	raw "60000000001a0640""20010db8000100000000000000000002""20010db8000200000000000000000025""d4310019000000010000000150${1}ffff0000000048454c4f0d0a"
}

@test "IPv6: nfqd is killed and started under load: exempt SYNs pass all the while, no closed one does" {
	ctl exempt add 2001:db8:1::/64
	flow $SUB6 $ELSE6 $NET6 4 500
	flowing passed
	end nfqd KILL
	flowing passed
	start_nfqd
	flow_ended
}

@test "upgraded under load: an exempt line loses no SYN and a closed one leaks none, IPv4 and IPv6" {
	local n ready
	ctl exempt add $SUB4
	ctl exempt add 2001:db8:1::/64
	for pair in "$SUB4 100.64.0.3 $NET4" "$SUB6 $ELSE6 $NET6"; do
		flow $pair 3 500
		flowing passed
		for n in 1 2 3 4 5; do
			ready=$(grep -c 'process ready' "$DIR/log.nfqd")
			kill -USR2 "$(cat "$DIR/pid.nfqd")"
			again() { [ "$(grep -c 'process ready' "$DIR/log.nfqd")" -gt "$ready" ]; }
			soon 10 again
		done
		flow_ended
		forget_learned
	done
}

@test "IPv4: nfqd stalls: within seconds what is closed is refused by the kernel, what is exempt passes" {
	ctl exempt add 2001:db8:1::/64
	kill -STOP "$(cat "$DIR/pid.nfqd")"
	greet $NET6
	soon 8 refused $NET4
	greet $NET6
	[ "$(arrived v4)" = 0 ]
	kill -CONT "$(cat "$DIR/pid.nfqd")"
	soon 10 state_is running
	refused $NET4
	[ "$(arrived v4)" = 0 ]
}

@test "IPv6: the queue's socket is full: nothing is let by, and it goes on" {
	local pid
	pid=$(cat "$DIR/pid.nfqd")
	python3 "$BATS_TEST_DIRNAME/enforce_flow.py" small "$pid" 4096
	kill -STOP "$pid"
	for _ in {1..60}; do segment6 02; done
	in_gw awk '{ n += $7 } END { exit n == 0 }' /proc/net/netfilter/nfnetlink_queue
	kill -CONT "$pid"
	soon 5 refused $NET6
	[ "$(arrived v6)" = 0 ]
	ctl exempt add 2001:db8:1::/64
	soon 5 greet $NET6
	ctl status --json | jq -e '[.nfqd.queues[].user_dropped] | add > 0'
	end nfqd
}

@test "IPv6: an interface goes down while packets wait for a verdict: they are gone, nfqd goes on" {
	kill -STOP "$(cat "$DIR/pid.nfqd")"
	for _ in {1..20}; do segment6 02; done
	in_gw awk '{ n += $3 } END { exit n == 0 }' /proc/net/netfilter/nfnetlink_queue
	in_gw ip link set net0 down
	kill -CONT "$(cat "$DIR/pid.nfqd")"
	soon 5 state_is running
	in_gw ip link set net0 up
	in_gw ip addr add 2001:db8:2::1/64 dev net0 nodad 2> /dev/null || true
	soon 10 refused $NET6
	arrived v6 > /dev/null
	refused $NET6
	[ "$(arrived v6)" = 0 ]
	ctl exempt add 2001:db8:1::/64
	soon 10 greet $NET6
}

@test "IPv6: a path of one direction: dropped as forged, and judged with antispoof = false" {
	in_gw ip link add back0 type veth peer name back1
	in_gw ip link set back0 up
	in_gw ip -6 route add 2001:db8:1::2/128 dev back0
	ctl exempt add 2001:db8:1::/64
	local spoofed
	spoofed=$(counter spoofed)
	segment6 02
	counted() { [ "$(counter spoofed)" = $((spoofed + 1)) ]; }
	soon 5 counted
	configure 'antispoof = false'
	rules load
	arrived v6 > /dev/null
	n6=0
	segment6 02
	segment6 10
	two() { n6=$((n6 + $(arrived v6))); [ $n6 = 2 ]; }
	soon 5 two
	ctl exempt remove 2001:db8:1::/64
	before=$(counter refused)
	segment6 02
	segment6 10
	judged() { [ "$(counter refused)" -ge $((before + 2)) ]; }
	soon 5 judged
	[ "$(arrived v6)" = 0 ]
	in_gw ip link del back0
	configure ''
	rules load
}

@test "acctd away, and a reload with a bad file: the last policy holds for both families" {
	ctl exempt add $SUB4
	ctl exempt add 2001:db8:1::/64
	end acctd
	greet $NET4
	greet $NET6
	refused $NET4 100.64.0.3
	refused $NET6 "[$ELSE6]"
	cp "$CONF" "$DIR/good"
	echo 'nfq { interval = never }' >> "$CONF"
	kill -HUP "$(cat "$DIR/pid.nfqd")"
	soon 5 grep -q 'process reload-refused' "$DIR/log.nfqd"
	greet $NET4
	greet $NET6
	forget_learned
	refused $NET4 100.64.0.3
	refused $NET6 "[$ELSE6]"
	cp "$DIR/good" "$CONF"
}

@test "IPv4: somebody flushes the mangle table, and with it whatever is there: port 25 stays closed" {
	ctl exempt add 2001:db8:1::/64
	in_gw iptables-nft -t mangle -A FORWARD -p tcp --dport 80 -j ACCEPT
	in_gw iptables-nft -t mangle -F
	in_gw ip6tables-nft -t mangle -F
	forget_learned
	refused $NET4
	greet $NET6
	[ "$(arrived v4)" = 0 ]
}

@test "an address that customers share behind a NAT is nobody's to exempt" {
	for who in one two; do ctl subscriber add "SH-$who" --name "$who"; done
	ctl lease add 100.64.0.3 --ports 1024-2047 --subscriber SH-one
	ctl lease add 100.64.0.3 --ports 2048-4095 --subscriber SH-two
	run ctl exempt add 100.64.0.3 --subscriber SH-one
	[ "$status" != 0 ]
	[[ $output == *"100.64.0.3 is not SH-one's, or not alone"* ]]
	refused $NET4 100.64.0.3
}

@test "a flowtable that leaves port 25 out, as the manual says, leaves removal its effect" {
	in_gw nft add table inet fast
	in_gw nft add flowtable inet fast f '{ hook ingress priority 0; devices = { sub0, net0 }; }' || skip "this kernel has no flowtables"
	in_gw nft delete table inet fast
	offload() { # WHAT
		in_gw nft -f - <<-N
		table inet fast {
			flowtable f { hook ingress priority 0; devices = { sub0, net0 }; }
			chain forward { type filter hook forward priority 10; policy accept; $1 ct state established flow add @f; }
		}
		N
	}
	for pair in "$NET4 $SUB4" "$NET6 2001:db8:1::/64"; do
		set -- $pair
		offload 'tcp dport != 25 tcp sport != 25'
		ctl exempt add "$2"
		open_session "$1"
		ctl exempt remove "$2"
		soon 2 grep -q cut "$DIR/log.session"
		end session
		in_gw nft delete table inet fast
		forget_learned
	done
}

# Last: it fills the sets.
@test "a million exemptions, half of them IPv6: in force after a restart, each change at once, none leaks, in bounds" {
	local begin ms
	in_gw ip route replace 10.0.0.0/8 via $SUB4
	for part in {0..9}; do
		python3 -c 'import sys
print("prefix")
for i in range(int(sys.argv[1]) * 50000, (int(sys.argv[1]) + 1) * 50000):
    print(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}/32\n2001:db8:{0x1000 + (i >> 16):x}:{i & 0xffff:x}::/64")' "$part" > "$DIR/million"
		ctl exempt import --format csv "$DIR/million" | grep -P '^added\t100000$'
	done
	ctl exempt add $SUB4
	ctl exempt add 2001:db8:1::/64
	all_in() { ctl status --json | jq -e '.nfqd.state == "running"' && greet $NET4 && greet $NET6; }
	soon 60 all_in
	end nfqd
	begin=${EPOCHREALTIME/./}
	start_nfqd
	soon 20 state_is running
	ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
	echo "# running again after $ms ms; $(grep VmRSS "/proc/$(cat "$DIR/pid.nfqd")/status")" >&3
	[ "$(awk '/VmRSS/ { print $2 }' "/proc/$(cat "$DIR/pid.nfqd")/status")" -lt 256000 ]
	greet $NET4
	greet $NET6
	refused $NET4 100.64.0.3
	refused $NET6 "[$ELSE6]"
	# A change comes into force behind a million that are sent again.
	applied() { ctl status --json | jq -e '.nfqd.policy | .version == .applied and .on_disk'; }
	soon 60 applied
	ctl exempt remove $SUB4
	soon 30 refused $NET4
	ctl exempt remove 2001:db8:1::/64
	soon 30 refused $NET6
	ctl exempt add $SUB4
	soon 30 greet $NET4
}
