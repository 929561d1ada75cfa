# What the tests of sekisho-msad on the loopback of one network namespace share; the test sets DIR and NS.

submission_up() { # a namespace and folders
	[ "$(id -u)" = 0 ] || skip "needs root for a network namespace"
	export BIN=${SEKISHO_BIN:-$BATS_TEST_DIRNAME/../../build/release}
	export DIR=$BATS_FILE_TMPDIR
	mkdir -p "$DIR"/{state,run,sink,tls}
	chmod 711 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/file" "$DIR"
	chmod 777 "$DIR/sink"
	ip netns add "$NS"
	ip -n "$NS" link set lo up
}

submission_down() {
	[ -n "${NS:-}" ] || return 0
	local p
	for p in "$DIR"/*.pid; do
		kill "$(cat "$p")" 2>/dev/null || true
	done
	sleep 0.2
	for p in $(ip netns pids "$NS"); do
		kill -9 "$p" 2>/dev/null || true
	done
	ip netns del "$NS"
}

# set -e does not see a command after "!".
not() { ! "$@"; }
in_ns() { ip netns exec "$NS" "$@"; }

spawn() { # NAME COMMAND... : in the namespace, its pid in NAME.pid, its log in NAME.log
	local name=$1
	shift
	ip netns exec "$NS" "$@" > "$DIR/$name.log" 2>&1 3>&- &
	echo $! > "$DIR/$name.pid"
}

wait_until() { # for at most ten seconds
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" > /dev/null 2>&1 && return 0
		sleep 0.05
	done
	{
		echo "gave up waiting for: $*"
		tail -20 "$DIR/msad.log"
	} >&2
	return 1
}

logged() { grep -q -- "$1" "$DIR/msad.log"; }
logged_times() { [ "$(grep -c -- "$1" "$DIR/msad.log")" -ge "$2" ]; } # TEXT N
gone() { ! kill -0 "$1" 2>/dev/null; }

start_msad() {
	spawn msad "$BIN/sekisho-msad" -c "$DIR/sekisho.conf"
	wait_until logged "msad ready"
}

stop_msad() {
	local pid
	pid=$(cat "$DIR/msad.pid")
	kill "$pid"
	wait_until gone "$pid"
}

reload() { # reloaded | reload-failed: what it must say
	local n
	n=$(grep -c "msad $1" "$DIR/msad.log" || true)
	kill -HUP "$(cat "$DIR/msad.pid")"
	wait_until logged_times "msad $1" $((n + 1))
}

configure() { # KEYS of the section msa [KEYS that override them]
	cat > "$DIR/sekisho.conf" <<-END
	common {
	  state_dir = "$DIR/state"
	  run_dir = "$DIR/run"
	  user = ""
	}
	msa {
	  hostname = "smtp.isp.example"
	  sasl_realm = "isp.example"
	  sasldb = "$DIR/sasldb2"
	  listen_submission = {"127.0.0.1:587", "127.0.0.1:588"}
	  listen_submissions = {"127.0.0.1:465", "[::1]:465"}
	  smarthost = "127.0.0.1:2525"
	  limiter_down = accept
	  $1
	}
	include("$DIR/more.conf")
	END
	echo "msa { ${2:-} }" > "$DIR/more.conf"
}

metric() { in_ns curl -s http://127.0.0.1:9426/metrics | sed -n "s/^$1 //p"; }
