# nfqd over upgrades, crashes and stalls; suspects, log lines, what the operator sees. Real packets.
# Each SYN of 10.0.0.0/8 must be refused, each of 2001:db8:9::/96 (exempt by a prefix that the kernel's sets cannot
# hold) must arrive: both are judged by nfqd one by one.

setup_file() {
	load enforce.bash
	NFQ_LINES="deny_timeout = 0s" start_all || return 1
	in_gw ip route replace 10.0.0.0/8 via $SUB4
	in_gw ip -6 route replace 2001:db8:9::/64 via $SUB6
	in_net nft -f - <<-'N'
	table inet streams {
		counter exempt { }
		counter leaked { }
		chain in {
			type filter hook prerouting priority -490; policy accept;
			tcp dport 25 ip6 saddr 2001:db8:9::/96 counter name exempt drop
			tcp dport 25 ip saddr 10.0.0.0/8 counter name leaked drop
		}
	}
	N
	ctl exempt add 2001:db8:9::/96
	# The neighbours are known before the streams begin.
	soon 10 refused $NET6
}
teardown_file() {
	load enforce.bash
	stop_all
}
setup() {
	load enforce.bash
	export DIR=$BATS_FILE_TMPDIR CONF=$BATS_FILE_TMPDIR/sekisho.conf
	PATH=$PATH:/usr/sbin:/sbin
}

# What a test that failed left behind must not fail the next ones.
teardown() { rm -f "$DIR/held" "$DIR/streaming"; }

stream_start() { # RATE
	in_net nft reset counters table inet streams > /dev/null
	: > "$DIR/streaming"
	in_sub python3 "$BATS_TEST_DIRNAME/nfqd_stream.py" stream "$1" "$DIR/streaming" $NET4 $NET6 > "$DIR/sent" 3>&- &
	echo $! > "$DIR/pid.stream"
}
# stream_stop: SENT is how many of each were sent
stream_stop() {
	rm -f "$DIR/streaming"
	soon 10 test -s "$DIR/sent"
	rm -f "$DIR/pid.stream"
	SENT=$(cat "$DIR/sent")
}
streamed() { in_net nft -j list counter inet streams "$1" | jq '.nftables[] | select(.counter) | .counter.packets'; }
all_there() { [ "$(streamed exempt)" = "$SENT" ]; }
streaming() { [ "$(streamed exempt)" -gt $((${1:-0} + 50)) ]; }
drops() { ctl status --json | jq '[.nfqd.queues[] | .dropped + .user_dropped] | add'; }
# A look that a change of the rules came between says so, and nothing of the element.
believed() {
	local said
	until said=$(in_gw nft get element "$1" sekisho alive '{ tcp }' 2>&1); do
		[[ $said == *"Interrupted system call"* ]] || return 1
	done
}
threads() { grep -l "^$2" /proc/"$1"/task/*/comm | cut -d/ -f5; } # PID NAME
hold() { # TID, until $DIR/held is gone
	: > "$DIR/held"
	python3 "$BATS_TEST_DIRNAME/nfqd_hold.py" "$1" "$DIR/held" > "$DIR/hold.$1" 3>&- &
	soon 5 grep -q held "$DIR/hold.$1"
}
log_has() { grep -q -- "$1" "$DIR/log.nfqd"; }
log_count() { [ "$(grep -c -- "$1" "$DIR/log.nfqd")" -ge "$2" ]; }

@test "upgraded 20 times under load: no SYN is lost, none leaks, the process stays" {
	pid=$(cat "$DIR/pid.nfqd")
	stream_start 1000
	soon 10 streaming
	for n in {1..20}; do
		kill -USR2 "$pid"
		soon 10 log_count 'process upgrading' "$n"
		soon 10 log_count 'process ready' $((n + 1))
	done
	soon 10 streaming "$(streamed exempt)"
	stream_stop
	[ "$SENT" -gt 1000 ]
	echo "sent $SENT of each, arrived $(streamed exempt), leaked $(streamed leaked)"
	soon 10 all_there
	[ "$(streamed leaked)" = 0 ]
	kill -0 "$pid"
	# Each queue was taken over each time, none bound anew.
	[ "$(grep -c 'queue taken-over .*from=upgrade' "$DIR/log.nfqd")" = 40 ]
	! log_has not-taken-over || false
	[ "$(drops)" = 0 ]
	# Still confined, with the one capability and one filter.
	grep -q '^CapEff:[[:space:]]0000000000001000$' "/proc/$pid/status"
	grep -q '^NoNewPrivs:[[:space:]]1$' "/proc/$pid/status"
	grep -q '^Seccomp_filters:[[:space:]]1$' "/proc/$pid/status" || grep -q '^Seccomp:[[:space:]]0$' "/proc/$pid/status"
}

@test "a signal after the other asks for one upgrade at a time" {
	pid=$(cat "$DIR/pid.nfqd")
	ready=$(grep -c 'process ready' "$DIR/log.nfqd")
	for n in {1..200}; do kill -USR2 "$pid"; done
	soon 10 log_count 'process ready' $((ready + 1))
	soon 10 state_is running
	kill -0 "$pid"
}

@test "a program that does not accept the configuration leaves the old one at work" {
	pid=$(cat "$DIR/pid.nfqd")
	cp "$CONF" "$CONF.good"
	echo 'nfq { interval = never }' >> "$CONF"
	stream_start 200
	soon 10 streaming
	kill -USR2 "$pid"
	soon 10 log_has 'process upgrade-refused .*exit status 78'
	mv "$CONF.good" "$CONF"
	stream_stop
	soon 10 all_there
	[ "$(streamed leaked)" = 0 ]
	soon 10 state_is running
	[ "$(cat "$DIR/pid.nfqd")" = "$pid" ] && kill -0 "$pid"
}

@test "a program that is not there leaves the old one at work" {
	end nfqd
	cp "$BIN/sekisho-nfqd" "$DIR/nfqd-copy"
	daemon nfqd ip netns exec "$NS_GW" "$DIR/nfqd-copy" -c "$CONF"
	soon 10 log_has 'process ready'
	rm "$DIR/nfqd-copy"
	kill -USR2 "$(cat "$DIR/pid.nfqd")"
	soon 10 log_has 'process upgrade-refused reason="\(No such file\|.*exit status 127\)'
	soon 10 state_is running
	end nfqd
	start_nfqd
	soon 10 state_is running
}

managed() {
	end nfqd
	daemon nfqd ip netns exec "$NS_GW" python3 "$BATS_TEST_DIRNAME/nfqd_manager.py" "$DIR/manager" "$BIN/sekisho-nfqd" -c "$CONF"
	soon 10 log_has 'process ready'
	soon 10 grep -q FDNAME=nfq-26 "$DIR/manager"
}
child() { awk '$1 == "started" { p = $2 } END { print p }' "$DIR/manager"; }

@test "killed under load with its queues in the service manager's hands: nothing is lost, nothing leaks" {
	rm -f "$DIR/manager"
	managed
	stream_start 1000
	soon 10 streaming
	for n in 1 2 3 4 5; do
		kill -KILL "$(child)"
		soon 10 log_count 'process ready' $((n + 1))
		soon 10 streaming "$(streamed exempt)"
	done
	stream_stop
	echo "sent $SENT of each, arrived $(streamed exempt), leaked $(streamed leaked)"
	soon 10 all_there
	[ "$(streamed leaked)" = 0 ]
	[ "$(grep -c 'queue taken-over .*from=service-manager' "$DIR/log.nfqd")" = 10 ]
	! log_has not-taken-over || false
	# Each was stored once.
	[ "$(grep -c FDSTORE=1 "$DIR/manager")" = 2 ]
	end nfqd
}

@test "what a service manager hands over is looked at before it is used" {
	rm -f "$DIR/manager"
	KEEP="nfq-25 nfq-99" managed
	log_has 'queue not-taken-over queue=25 .*no netfilter socket'
	log_has 'queue let-go sockets=1'
	soon 10 grep -q 'heard FDSTOREREMOVE=1 FDNAME=nfq-25' "$DIR/manager"
	soon 10 grep -q 'heard FDSTOREREMOVE=1 FDNAME=nfq-99' "$DIR/manager"
	soon 10 state_is running
	refused $NET4
	end nfqd
	start_nfqd
	soon 10 state_is running
}

@test "a main thread held for six seconds is not taken for gone; a worker that hangs is" {
	NFQ_LINES="deny_timeout = 0s" configure ""
	pid=$(cat "$DIR/pid.nfqd")
	stream_start 200
	soon 10 streaming
	hold "$pid"
	end=$((SECONDS + 7))
	while [ "$SECONDS" -lt "$end" ]; do
		believed ip
		believed ip6
	done
	stream_stop
	soon 10 all_there
	rm "$DIR/held"
	[ "$(streamed leaked)" = 0 ]
	soon 10 state_is running
	end nfqd
	NFQ_LINES=$'deny_timeout = 0s\nstall = 1s' configure ""
	start_nfqd
	soon 10 state_is running
	for tid in $(threads "$(cat "$DIR/pid.nfqd")" queue-); do hold "$tid"; done
	in_sub python3 "$BATS_TEST_DIRNAME/enforce_send.py" sources 10.1.0.0 100 $NET4
	not_believed() { ! believed ip && ! believed ip6; }
	soon 15 not_believed
	rm "$DIR/held"
	soon 10 believed ip
	soon 10 state_is running
	end nfqd
	NFQ_LINES="deny_timeout = 0s" configure ""
	start_nfqd
	soon 10 state_is running
}

@test "a worker that hangs is a stall: said, counted, and the service manager hears no more" {
	rm -f "$DIR/manager"
	NFQ_LINES=$'deny_timeout = 0s\nstall = 1s' configure ""
	managed
	for tid in $(threads "$(child)" queue-); do hold "$tid"; done
	in_sub python3 "$BATS_TEST_DIRNAME/enforce_send.py" sources 10.1.0.0 100 $NET4
	soon 10 log_has 'queue stalled queue='
	soon 5 state_is stalled
	n=$(grep -c WATCHDOG=1 "$DIR/manager")
	run in_gw "$BIN/sekishoctl" -c "$CONF" status
	[ "$status" = 1 ]
	rm "$DIR/held"
	soon 10 log_has 'queue goes-on queue='
	soon 10 state_is running
	more() { [ "$(grep -c WATCHDOG=1 "$DIR/manager")" -gt $((n + 1)) ]; }
	soon 10 more
	end nfqd
	NFQ_LINES="deny_timeout = 0s" configure ""
	start_nfqd
	soon 10 state_is running
}

@test "the first refused packet of a source is in the log, with its port and the time, once a deny_timeout" {
	end nfqd
	NFQ_LINES="deny_timeout = 60s" configure ""
	start_nfqd
	soon 10 state_is running
	for n in 1 2 3; do refused $NET4; done
	soon 5 grep -Eq "100.64.0.2 nfq blocked src=100.64.0.2 sport=[0-9]+ dst=$NET4 dport=25 t=20[0-9T:.-]+Z" "$DIR/log.nfqd"
	refused "$NET6"
	soon 5 grep -Eq "nfq blocked src=$SUB6 sport=[0-9]+ dst=$NET6 dport=25" "$DIR/log.nfqd"
	[ "$(grep -c 'nfq blocked src=100.64.0.2 ' "$DIR/log.nfqd")" = 1 ]
	end nfqd
	NFQ_LINES="log_first = false" configure ""
	start_nfqd
	soon 10 state_is running
	refused $NET4
	! log_has 'nfq blocked' || false
}

zombies() { ctl incident list --json | jq '[.[] | select(.detector == "zombie")] | length'; }
@test "a line that goes to many servers is one incident; one that retries two for ever is none" {
	end nfqd
	NFQ_LINES=$'suspect_attempts = 10\nsuspect_destinations = 8\nsuspect_networks = 6' configure ""
	start_nfqd
	soon 10 state_is running
	ctl subscriber add K-100 --name "A home"
	ctl lease add 100.64.0.3 --subscriber K-100
	in_gw ip route replace default via 192.0.2.25
	for n in {1..40}; do
		in_sub socat -u OPEN:/dev/null "TCP:$NET4:25,connect-timeout=1,bind=100.64.0.2" 2> /dev/null || true
	done
	for n in {1..16}; do
		in_sub socat -u OPEN:/dev/null "TCP:198.51.$n.25:25,connect-timeout=1,bind=100.64.0.3" 2> /dev/null || true
	done
	one() { [ "$(zombies)" = 1 ]; }
	soon 10 one
	ctl incident list --json | jq -e '.[] | select(.detector == "zombie") |
	    .subject == "100.64.0.3" and .subscriber == "K-100" and .severity == "high" and .state == "open" and
	    (.why | test("zombie suspected: 1[0-9] refused attempts on port 25 to at least ([89]|1[0-9]) servers"))'
	id=$(ctl incident list --json | jq '.[] | select(.detector == "zombie") | .id')
	ctl incident show "$id" | grep -q 'zombie suspected'
	ctl who 100.64.0.3 now --json | jq -e --argjson id "$id" '.[0].incidents[0].id == $id'
	ctl status --json | jq -e '.nfqd.suspects.now == 1'
	# More of it is the same case; resolved, it opens again only by new packets.
	for n in {1..16}; do
		in_sub socat -u OPEN:/dev/null "TCP:198.51.$n.26:25,connect-timeout=1,bind=100.64.0.3" 2> /dev/null || true
	done
	[ "$(zombies)" = 1 ]
	in_gw ip route del default
}

@test "pools that fail differently have queues of their own" {
	end nfqd
	configure ''
	cat >> "$CONF" <<-'C'
	pool business { interfaces = {"sub1"} fail = open }
	C
	start_nfqd
	soon 10 state_is running
	ctl status --json | jq -e '[.nfqd.queues[] | [.queue, .fail]] == [[25, "closed"], [26, "closed"], [27, "open"], [28, "open"]]'
	# Without it again, by a reload: the ones too many are let go.
	configure ''
	kill -HUP "$(cat "$DIR/pid.nfqd")"
	soon 10 log_has 'queue let-go sockets=2'
	soon 10 state_is running
	ctl status --json | jq -e '[.nfqd.queues[].queue] == [25, 26]'
	end nfqd
	configure ''
	start_nfqd
	soon 10 state_is running
}

# Class throttled: one connection a minute, two at once.
limited_lines() { # FIRST COUNT
	python3 -c "import ipaddress; a = int(ipaddress.ip_address('$1')); print('prefix,class'); [print(f'{ipaddress.ip_address(a + n)},throttled') for n in range($2)]"
}
limited_begin() { # SOURCE DESTINATION RATE
	in_net nft reset counters table inet limited > /dev/null
	: > "$DIR/streaming"
	in_sub python3 "$BATS_TEST_DIRNAME/nfqd_stream.py" line "$3" "$DIR/streaming" "$1" "$2" > "$DIR/sent" 3>&- &
}
limited_end() {
	rm -f "$DIR/streaming"
	soon 10 test -s "$DIR/sent"
}
limited_came() { in_net nft -j list counter inet limited "$1" | jq '.nftables[] | select(.counter) | .counter.packets'; }

@test "a limited line is no freer while the sets are filled, nor where they cannot hold it" {
	in_net nft -f - <<-'N'
	table inet limited {
		counter v4 { }
		counter v6 { }
		chain in {
			type filter hook prerouting priority -495; policy accept;
			tcp dport 25 ip saddr 10.8.0.0/15 counter name v4 drop
			tcp dport 25 ip6 saddr 2001:db8:9:0:1::/80 counter name v6 drop
		}
	}
	N
	limited_lines 10.8.0.0 30000 > "$DIR/limited.csv"
	echo 10.9.9.9,throttled >> "$DIR/limited.csv"
	ctl exempt import "$DIR/limited.csv"
	soon 30 in_gw nft get element ip sekisho class_32 '{ 10.9.9.9 }'
	soon 10 state_is running
	local began=$SECONDS
	limited_begin 10.9.9.9 $NET4 1000
	some() { [ "$(limited_came v4)" -ge 2 ]; }
	soon 10 some
	for n in 1 2 3; do
		end nfqd KILL
		start_nfqd
		soon 20 state_is running
	done
	limited_end
	echo "sent $(cat "$DIR/sent"), came $(limited_came v4)"
	[ "$(limited_came v4)" -le $((3 + (SECONDS - began) / 60)) ]
	# A prefix that is no element of any set.
	ctl exempt add 2001:db8:9:0:1::/96 --class throttled
	limited_begin 2001:db8:9:0:1::1+50 $NET6 1000
	some6() { [ "$(limited_came v6)" -ge 2 ] && ctl status --json | jq -e '.nfqd.verdicts["over-limit"] > 100'; }
	soon 10 some6
	limited_end
	[ "$(limited_came v6)" -le 3 ]
}
