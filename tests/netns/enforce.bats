#!/usr/bin/env bats
# Port 25 of subscribers, with real packets over IPv4 and IPv6: closed, exempt, cut, and what happens when a
# part is missing. The kernel rules, nfqd and acctd are the real ones.

load enforce.bash

setup_file() {
	[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
	start_all
}
teardown_file() {
	[ -z "${DIR:-}" ] || stop_all
}
setup() { begin_closed; }

@test "load is idempotent and keeps what the sets hold" {
	rules status
	ctl exempt add $SUB4
	before=$(in_gw nft list chain ip sekisho smtp | grep -c .)
	rules load
	rules load
	[ "$(in_gw nft list chain ip sekisho smtp | grep -c .)" = "$before" ]
	in_gw nft get element ip sekisho allow_32 "{ $SUB4 }"
	greet $NET4
	# One rule for the queue step, however often it was loaded.
	for f in ip ip6; do
		[ "$(in_gw nft -a list chain $f sekisho queue_closed | grep -c 'queue num')" = 1 ]
	done
	rules check
}

@test "a closed line is refused at once, counted, and nothing gets out" {
	before=$(counter refused)
	told4=$(told $SUB4) told6=$(told 2001:db8:1::/64)
	for i in 1 2 3; do
		refused $NET4
		refused $NET6
	done
	[ "$(counter refused)" = $((before + 6)) ]
	[ "$(arrived v4)" = 0 ]
	[ "$(arrived v6)" = 0 ]
	# Exactly so many are told to accounting, though all but the first met the deny set.
	all_told() { [ "$(told $SUB4)" = $((told4 + 3)) ] && [ "$(told 2001:db8:1::/64)" = $((told6 + 3)) ]; }
	soon 5 all_told
}

@test "the kernel learns: a refused source does not trouble the daemon again" {
	refused $NET4 100.64.0.3 || true
	refused $NET4 100.64.0.3 || true # at the second sight
	soon 5 in_gw nft get element ip sekisho deny "{ 100.64.0.3 }"
	judged() { ctl status --json | jq '[.nfqd.queues[].packets] | add'; }
	before=$(judged)
	for i in 1 2 3 4 5; do refused $NET4 100.64.0.3; done
	[ "$(judged)" = "$before" ]
}

@test "other ports, own mail servers and the way in are untouched" {
	greet $NET4 2525
	greet $NET6 2525
	greet 192.0.2.26
	daemon inside ip netns exec "$NS_SUB" socat TCP6-LISTEN:25,ipv6only=0,fork,reuseaddr SYSTEM:'echo 220 inside'
	soon 5 in_net socat -T10 - TCP:$SUB4:25,connect-timeout=10
	in_net socat -T10 - "TCP:[$SUB6]:25,connect-timeout=10" < /dev/null
	end inside
}

@test "an exemption is in force when the command returns; removing it closes the line again" {
	refused $NET4
	refused $NET6
	ctl exempt add $SUB4 | grep -P 'in_force\tyes'
	greet $NET4
	refused $NET4 100.64.0.3
	refused $NET6
	ctl exempt add 2001:db8:1::/56 | grep -P 'in_force\tyes'
	greet $NET6
	ctl exempt remove $SUB4
	ctl exempt remove 2001:db8:1::/56
	refused $NET4
	refused $NET6
}

@test "prefixes of every length" {
	for p in 100.64.0.0/30 100.64.0.0/24 100.64.0.0/22 2001:db8:1::2 2001:db8:1::/124 2001:db8:1::/64 2001:db8:1::/61 \
		2001:db8::/46 2001:db8::/32 2001:db8:1::/80; do
		case $p in *:*) to=$NET6 ;; *) to=$NET4 ;; esac
		ctl exempt add $p
		# The command waits a second for nfqd, whose comparison of a wide one takes longer on a busy machine.
		soon 20 greet $to || { echo "$p does not pass"; false; }
		ctl exempt remove $p
		soon 20 refused $to || { echo "$p is not closed again"; false; }
	done
}

@test "a longer prefix survives the removal of a shorter one, and the other way round" {
	ctl exempt add 100.64.0.0/28
	ctl exempt add $SUB4
	ctl exempt remove 100.64.0.0/28
	greet $NET4
	refused $NET4 100.64.0.3
	ctl exempt add 100.64.0.0/28
	ctl exempt remove $SUB4
	greet $NET4
	greet $NET4 25 100.64.0.3
}

@test "a prefix too wide for the sets, and narrower ones in it, come and go in any order" {
	ctl exempt add 2001:db8:1::/96
	ctl exempt add 2001:db8:1::/124
	greet $NET6
	ctl exempt remove 2001:db8:1::/124
	greet $NET6
	# What the narrower one had put into the kernel must not outlive the wider one.
	ctl exempt remove 2001:db8:1::/96
	refused $NET6
	ctl exempt add 2001:db8:1::/124
	ctl exempt add 2001:db8:1::/66
	ctl exempt remove 2001:db8:1::/66
	greet $NET6
	ctl exempt remove 2001:db8:1::/124
	refused $NET6
	# One wide one for another, in one change: what was refused before is not refused any more.
	ctl exempt add 2001:db8:1:8000::/66
	refused $NET6
	soon 5 in_gw nft get element ip6 sekisho deny_64 '{ 2001:db8:1:: }'
	printf 'prefix,expires\n2001:db8:1::/66,\n' | ctl exempt import -
	greet $NET6
}

@test "an exemption begins and ends to the moment" {
	refused $NET4
	in_time to_the_moment $SUB4 $SUB4 $NET4
	[ -z "${WRONG:-}" ]
}

@test "every refused packet of 8000 sources is told, however slow acctd is" {
	in_gw ip route replace 10.0.0.0/8 via $SUB4
	end nfqd
	NFQ_LINES="event_backlog = 1M" configure ''
	start_nfqd
	soon 10 state_is running
	kill -STOP "$(cat "$DIR/pid.acctd")"
	# Four rounds of events are more than the backlog.
	for n in 1 2 3 4; do
		in_sub python3 "$BATS_TEST_DIRNAME/enforce_send.py" sources 10.1.0.0 8000 $NET4
		read -rt 0.3 <> <(:) || true
	done
	kill -CONT "$(cat "$DIR/pid.acctd")"
	all() { [ "$(ctl top --json --limit 10000 | jq '[.lines[] | select(.source | startswith("10.1.")) | .packets] | add')" = 32000 ]; }
	# nfqd takes its time when it has much to read.
	soon 60 all
	ctl status --json | jq -e '.nfqd.outbox.events_lost == 0 and .nfqd.outbox.packets_unattributed == 0'
	end nfqd
	configure ''
}

@test "an exemption that ends, ends by itself" {
	ctl exempt add $SUB4 --expires +2s
	greet $NET4
	soon 4 refused $NET4
}

live_session() { # V ADDRESS PREFIX
	ctl exempt add "$3"
	open_session "$2"
	ctl exempt remove "$3"
	soon 2 grep -q cut "$DIR/log.session"
	grep -qi 'reset by peer' "$DIR/log.session"
	end session
}
@test "removing an exemption cuts the session that is open, IPv4" { live_session 4 $NET4 $SUB4; }
@test "removing an exemption cuts the session that is open, IPv6" { live_session 6 $NET6 2001:db8:1::/64; }

@test "a throttled line has its connections limited, and no more than that" {
	ctl exempt add $SUB4 --class throttled
	before=$(counter throttled)
	greet $NET4
	greet $NET4
	refused $NET4
	[ "$(counter throttled)" -gt "$before" ]
	ctl exempt add $SUB4 --class full || { ctl exempt remove $SUB4 && ctl exempt add $SUB4; }
	for i in 1 2 3 4 5; do greet $NET4; done
	ctl exempt add 2001:db8:1::/64 --class throttled
	greet $NET6
	greet $NET6
	refused $NET6
}

@test "exempt packets are counted by source" {
	ctl exempt add $SUB4
	before=$(counter passed)
	greet $NET4
	[ "$(counter passed)" = $((before + 1)) ]
	empty() { [ -z "$(in_gw nft -j list set ip sekisho passed | jq '.nftables[].set? | .elem? // empty')" ]; }
	soon 5 empty
}

@test "nfqd killed: exempt lines pass, the others are refused and counted, and told later" {
	ctl exempt add $SUB4
	soon 5 test -s "$DIR/state/nfq/policy"
	told6=$(told 2001:db8:1::/64)
	in_gw nft flush set ip6 sekisho deny_64
	end nfqd KILL
	# What nobody takes is dropped, until the kernel knows that nobody is there.
	soon 5 nobody_judges
	before=$(counter unfiltered)
	greet $NET4
	refused $NET4 100.64.0.3
	refused $NET6
	refused $NET6
	[ "$(counter unfiltered)" = $((before + 3)) ] || [ "$(counter unfiltered)" = $((before + 2)) ]
	[ "$(arrived v6)" = 0 ]
	start_nfqd
	both() { [ "$(told 2001:db8:1::/64)" = $((told6 + 2)) ]; }
	soon 5 both
	greet $NET4
}

@test "nfqd without acctd goes on with the last policy" {
	ctl exempt add $SUB4
	before=$(told 2001:db8:1::/64)
	# In force is on disk: what is killed now starts with it.
	grep -raqP '\x64\x40\x00\x02' "$DIR/state/nfq"
	end nfqd KILL
	end acctd
	in_gw nft flush set ip sekisho allow_32
	start_nfqd
	soon 5 greet $NET4
	refused $NET6
	# What it counts meanwhile waits, and is told when acctd is back.
	start_acctd
	soon 10 state_is running
	first() { [ "$(told 2001:db8:1::/64)" = $((before + 1)) ]; }
	soon 10 first
	end acctd
	for i in 1 2 3 4; do refused $NET6; done
	end nfqd
	test -s "$DIR/state/nfq/events"
	start_acctd
	start_nfqd
	all() { [ "$(told 2001:db8:1::/64)" = $((before + 5)) ]; }
	soon 10 all
}

@test "fail = open lets through what nobody judged, counted" {
	end nfqd KILL
	soon 5 nobody_judges
	in_gw nft flush set ip sekisho deny
	in_gw nft flush set ip6 sekisho deny_64
	configure 'fail = open'
	rules load
	before=$(counter unfiltered)
	greet $NET4
	greet $NET6
	[ "$(counter unfiltered)" -ge $((before + 8)) ]
	start_nfqd
	refused $NET4
	refused $NET6
	configure ''
	rules load
}

@test "nfqd stalls and its queues fill up: what does not fit is dropped, and soon the rest is refused" {
	end nfqd
	NFQ_LINES="queue_length = 64" configure ''
	start_nfqd
	soon 10 state_is running
	in_gw nft flush set ip sekisho deny
	queued=$(counter queued) judged=$(counter judged) unfiltered=$(counter unfiltered)
	syn=$(sed 's/../\\x&/g' <<< 45000028000140004006000064400002c0000219d431001900000001000000005002ffff00000000)
	for i in {1..400}; do printf "$syn"; done > "$DIR/syns"
	# Before it is missed.
	kill -STOP "$(cat "$DIR/pid.nfqd")"
	in_sub socat -u -b 40 "OPEN:$DIR/syns" IP4-SENDTO:$NET4:255
	[ "$(counter queued)" = $((queued + 400)) ]
	# It does not say any more that it is well.
	soon 6 nobody_judges
	refused $NET4
	[ "$(counter unfiltered)" = $((unfiltered + 1)) ]
	kill -CONT "$(cat "$DIR/pid.nfqd")"
	# Two queues of 64 at most are judged now.
	some() { [ "$(counter judged)" -gt "$judged" ]; }
	soon 5 some
	soon 10 state_is running
	[ "$(counter judged)" -le $((judged + 128)) ]
	[ "$(arrived v4)" = 0 ]
	end nfqd
	configure ''
}

@test "the table is taken away and comes back: nfqd says so, and fills it again" {
	ctl exempt add $SUB4
	rules unload
	soon 5 state_is waiting-for-table
	ctl status --json | jq -e '.nfqd | .backend == "none" and .backend_reason == "the rules are not loaded" and .enforcing == false'
	greet $NET6
	run rules status
	[ "$status" = 1 ]
	rules load
	soon 5 state_is running
	soon 5 greet $NET4
	refused $NET6
}

@test "the queue step is taken away: nfqd says so" {
	in_gw nft flush chain ip6 sekisho queue_closed
	soon 15 state_is no-queue-step
	run rules status
	[ "$status" = 1 ]
	# Closed it stays closed; open it is open, and both are said.
	ctl explain $SUB6 | grep -P 'decision\treject'
	ctl status | grep -P 'nfqd\tbackend_reason\tthe queue step was taken away'
	rules load
	soon 10 state_is running
}

@test "status says which backend is at work, and why" {
	local step
	step=$(rules status --json | jq -r .queue_step)
	ctl status --json | jq -e --arg step "$step" '.nfqd | .backend == $step and (.backend_reason | test("^the kernel has ")) and
		(.version | length > 0) and .rules_version == .version'
	rules status | grep -P "loaded_as\t.*: $step: the kernel has "
}

@test "a set that somebody emptied is filled again" {
	ctl exempt add $SUB4
	in_gw nft flush set ip sekisho allow_32
	soon 20 in_gw nft get element ip sekisho allow_32 "{ $SUB4 }"
}

@test "a policy snapshot replaces what the kernel held" {
	in_gw nft add element ip sekisho allow_32 "{ 100.64.0.3 }"
	end acctd
	start_acctd
	soon 10 refused $NET4 100.64.0.3
}

@test "explain says why" {
	ctl exempt add $SUB4
	ctl explain $SUB4 $NET4 | grep -P 'decision\tallow'
	ctl explain 100.64.0.3 | grep -P 'decision\treject'
	ctl explain 100.64.0.3 192.0.2.26 | grep -P 'decision\tnot-subject'
	# By the route, or as it is said.
	for a in 100.64.0.3 2001:db8:1::7; do ctl explain "$a" | grep -P 'interface\tsub0'; done
	for a in $NET4 $NET6; do
		ctl explain "$a" | grep -P 'interface\tnet0'
		ctl explain "$a" | grep -P 'rule\tnot-a-subscriber-interface'
		ctl explain "$a" --interface sub0 | grep -P 'rule\tclosed'
	done
	ctl explain 100.64.0.3 --interface net0 | grep -P 'decision\tnot-subject'
	run ctl explain 100.64.0.3 --interface nowhere0
	[ "$status" -ne 0 ]
	[[ "$output" == *"there is no interface nowhere0"* ]]
}

@test "a second nfqd does not start, and names the holder of the queue" {
	run in_gw "$BIN/sekisho-nfqd" -c "$CONF"
	[ "$status" = 71 ]
	grep -q 'queue 25 is taken' <<< "$output"
	grep -q '(sekisho-nfqd)' <<< "$output"
}

@test "a reload with a mistake keeps the old state, and says why" {
	cp "$CONF" "$DIR/good"
	sed -i 's/interval = 200ms/interval = soon/' "$CONF"
	kill -HUP "$(cat "$DIR/pid.nfqd")"
	soon 5 grep -q reload-refused "$DIR/log.nfqd"
	cp "$DIR/good" "$CONF"
	kill -HUP "$(cat "$DIR/pid.nfqd")"
	soon 5 grep -q ' reloaded' "$DIR/log.nfqd"
	state_is running
}

@test "wrong configurations are refused by name" {
	cp "$CONF" "$DIR/good"
	for bad in 'mark_mask = "0x1"' 'queue_count = 65' 'fail = maybe' 'nonsense = 1'; do
		configure "$bad"
		run rules load
		[ "$status" = 78 ] || { echo "$bad: $status $output"; cp "$DIR/good" "$CONF"; false; }
		grep -q "$(cut -d ' ' -f 1 <<< "$bad")" <<< "$output"
	done
	configure ''
	sed -i 's/{"sub0"}/{}/' "$CONF"
	run rules load
	[ "$status" = 78 ] && grep -q subscriber_interfaces <<< "$output"
	cp "$DIR/good" "$CONF"
}

# Last: it takes everything away.
@test "unload leaves nothing behind" {
	end nfqd
	rules unload
	rules unload
	[ -z "$(in_gw nft list ruleset)" ]
	rules load
}
