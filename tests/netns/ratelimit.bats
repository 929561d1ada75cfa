#!/usr/bin/env bats
# sekisho-ratelimitd as a process: its start, its socket, kill -9, its files, SIGHUP. It runs in a network
# namespace of its own, for its metrics port.

ME=user01@isp.example

setup() {
	[ "$(id -u)" = 0 ] || skip "needs root for a network namespace"
	bin=${SEKISHO_BIN:-$BATS_TEST_DIRNAME/../../build/release}/sekisho-ratelimitd
	dir=$BATS_TEST_TMPDIR
	conf=$dir/sekisho.conf log=$dir/log sock=$dir/run/ratelimitd.sock
	pid= client=
	configure ""
}

teardown() {
	leave
	[ -z "$pid" ] || stop KILL
}

configure() { # LINES for the section
	cat > "$conf" <<-END
	common {
	  state_dir = "$dir/state"
	  run_dir = "$dir/run"
	  user = ""
	}
	ratelimit {
	  snapshot_interval = 1s
	  $1
	}
	END
}

# wait_until COMMAND... : for at most ten seconds
load wait
soon_failed() { cat "$log"; }
wait_until() { soon 10 "$@"; }

said() { grep -q -- "$1" "$log"; }

start() {
	: > "$log"
	unshare --net sh -c 'ip link set lo up && exec "$@"' sh "$bin" -c "$conf" 2>> "$log" &
	pid=$!
	wait_until said "ratelimit started"
}

stop() { # SIGNAL
	kill "-$1" "$pid"
	wait "$pid" 2>/dev/null || true
	pid=
}

metric() { nsenter -t "$pid" -n curl -sf http://127.0.0.1:9427/metrics | sed -n "s/^sekisho_ratelimit_$1 //p"; }

# --- a client made of socat and od: hexadecimal out, hexadecimal in

u32() { printf '%08x' "$1"; }
str() { u32 "${#1}"; printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n'; }

join() {
	coproc RL { exec socat - "UNIX-CONNECT:$sock"; }
	client=$RL_PID
	exec {to}>&"${RL[1]}" {from}<&"${RL[0]}" # the shell's own are not passed to subshells
}

leave() {
	[ -n "$client" ] || return 0
	exec {to}>&- {from}<&-
	kill "$client" 2>/dev/null || true
	wait "$client" 2>/dev/null || true
	client=
}

send() { # TYPE HEX
	local hex
	hex=$(u32 $((${#2} / 2 + 2)))$(printf '%04x' "$1")$2
	printf '%b' "$(sed 's/../\\x&/g' <<< "$hex")" >&"$to"
}

bytes() { timeout 30 dd bs=1 count="$1" status=none <&"$from" | od -An -v -tx1 | tr -d ' \n'; }

# One frame: sets type and data.
receive() {
	local head
	head=$(bytes 6)
	type=$((16#${head:8:4})) data=
	[ $((16#${head:0:8})) = 2 ] || data=$(bytes $((16#${head:0:8} - 2)))
}

zero=0000000000000000
# charge N: one message to recipient number N; the answer's number in $answer
charge() {
	send 1 "$(u32 1)01$(str $ME)00000000000000000000ffffc0000201$(printf '%016x' 1795000000000)$(u32 1)$(u32 1)$zero$zero$(str "")$zero$zero$zero$(u32 1)$(printf '%016x' "$1")$zero$(str "")$(str "")$zero$zero"
	receive
	[ "$type" = 17 ] && answer=$((16#${data:8:2}))
}

@test "-n accepts the sample and names file and line of a mistake" {
	run "$bin" -n -c "$BATS_TEST_DIRNAME/../../conf/sekisho.conf"
	[ "$status" = 0 ]
	[[ $output == *"configuration OK"* ]]
	configure "messages_per_minute = lots"
	run "$bin" -n -c "$conf"
	[ "$status" = 78 ]
	[[ $output == *"$conf:8"* ]]
}

@test "a burst is held, and still held after kill -9" {
	start
	join
	for i in $(seq 29); do
		charge "$i"
		[ "$answer" = 0 ]
	done
	charge 30
	[ "$answer" = 2 ]
	stop KILL
	leave
	said "$ME ratelimit hold rule=burst"
	start
	join
	send 2 ""
	receive
	[ "$type" = 18 ]
	[[ $data == "$(str $ME)02"* ]]
	receive
	[ "$type" = 19 ]
	charge 1
	[ "$answer" = 2 ]
	[ "$(metric 'penalised_accounts{stage="hold"}')" = 1 ]
}

@test "counters survive kill -9 once they are on disk, and a stop at once" {
	configure "messages_per_minute = 2"
	start
	join
	charge 1
	[ "$answer" = 0 ]
	wait_until test -s "$dir/state/ratelimit/snapshot"
	stop KILL
	leave
	start
	join
	charge 1
	[ "$answer" = 0 ]
	charge 1
	[ "$answer" = 1 ]
	stop TERM
	[ ! -e "$sock" ]
	leave
	start
	join
	charge 1
	[ "$answer" = 1 ]
}

@test "a damaged snapshot is set aside, named and counted" {
	mkdir -p "$dir/state/ratelimit"
	echo "not a snapshot, by any means" > "$dir/state/ratelimit/snapshot"
	start
	said "snapshot-damaged file=$dir/state/ratelimit/snapshot"
	[ -s "$dir/state/ratelimit/snapshot.damaged" ]
	[ "$(metric snapshot_damaged_total)" = 1 ]
	join
	charge 1
	[ "$answer" = 0 ]
}

@test "SIGHUP changes limits; a mistake keeps the old ones and says why" {
	start
	join
	charge 1
	configure "messages_per_minute = 1"
	kill -HUP "$pid"
	wait_until said "ratelimit reloaded"
	charge 1
	[ "$answer" = 1 ]
	configure "messages_per_minute = 100 accounts = 5000"
	kill -HUP "$pid"
	wait_until said "reload-failed.*accounts"
	charge 1
	[ "$answer" = 1 ]
	configure "mode = observe"
	kill -HUP "$pid"
	wait_until eval '[ "$(grep -c "ratelimit reloaded" "$log")" = 2 ]'
	charge 1
	[ "$answer" = 0 ]
}

@test "a frame that is wrong ends its connection and nothing else" {
	start
	join
	send 1 00
	wait_until eval '! kill -0 "$client"'
	leave
	join
	charge 1
	[ "$answer" = 0 ]
}

@test "a second daemon is refused, the first goes on" {
	start
	run "$bin" -c "$conf"
	[ "$status" = 71 ]
	[[ $output == *"another process is listening"* ]]
	join
	charge 1
	[ "$answer" = 0 ]
}
