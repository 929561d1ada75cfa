#!/usr/bin/env bats
# The lab is a contract (docs/architecture.md): up and down, twice in a row, everything env promises, nothing left behind.

setup_file() {
	export LAB_DIR=$BATS_FILE_TMPDIR/lab
	export ROOT=$BATS_TEST_DIRNAME/../..
	snapshot > "$BATS_FILE_TMPDIR/before"
}

teardown_file() {
	"$ROOT/tests/lab/down"
}

# Other labs and tests may come and go meanwhile: of namespaces, only those that carry our six letters count.
without_others() {
	local ours
	ours=$(. "$ROOT/tests/lab/lib.sh" && echo "$LAB_TAG")
	awk -v ours="$ours" '!/(netns |\/run\/netns\/)/ || index($0, "sekisho-" ours "-")'
}

# What a lab could leave behind on the machine: namespaces, links of the root namespace, its listeners, temporary files, processes of ours.
snapshot() {
	ip netns list | awk '{print "netns", $1}' | without_others | sort
	ip -o link show | awk -F': ' '{print "link", $2}' | sort
	find /run/netns/ /etc/postfix /etc/nsd /etc/lighttpd /var/spool/postfix /var/mail -mindepth 1 -newer "$BATS_FILE_TMPDIR" 2>/dev/null | without_others | sort
	ps -eo args | grep -F "$LAB_DIR" | grep -vE 'grep|bats' | sort
}

@test "up writes env with every promised name" {
	"$ROOT/tests/lab/up"
	for name in LAB_NS_SUBSCRIBER LAB_NS_FIXED LAB_NS_GATEWAY LAB_NS_INTERNET LAB_DYNAMIC_IP4 LAB_DYNAMIC_IP6 \
		LAB_FIXED_IP4 LAB_FIXED_IP6 LAB_INTERNET_IP4 LAB_INTERNET_IP6 LAB_MSA_HOST LAB_MSA_IP4 LAB_SUBMISSION_PORT \
		LAB_SUBMISSIONS_PORT LAB_CA_FILE LAB_USERS LAB_RCPT LAB_INTERNET_MAIL LAB_DASHBOARD_URL LAB_DASHBOARD_USER \
		LAB_DASHBOARD_PASSWORD LAB_CONF LAB_STATE LAB_CTL; do
		grep -qE "^$name=[^ '\"]+\$" "$LAB_DIR/env" || { echo "env has no $name, or one that needs quoting"; return 1; }
	done
}

@test "there are at least 32 users, and the first and the last can log in" {
	. "$LAB_DIR/env"
	[ "$(wc -l < "$LAB_USERS")" -ge 32 ]
	for line in "$(head -n 1 "$LAB_USERS")" "$(tail -n 1 "$LAB_USERS")"; do
		read -r user password address <<< "$line"
		ip netns exec "$LAB_NS_SUBSCRIBER" swaks --server "$LAB_MSA_IP4" --port "$LAB_SUBMISSION_PORT" --tls --tls-verify \
			--tls-sni "$LAB_MSA_HOST" --tls-ca-path "$LAB_CA_FILE" --auth PLAIN --auth-user "$user" --auth-password "$password" \
			--from "$address" --to "$LAB_RCPT" --quit-after RCPT
	done
}

@test "the MSA listens on 127.0.0.1 inside the gateway's namespace, on both ports" {
	. "$LAB_DIR/env"
	ip netns exec "$LAB_NS_GATEWAY" nc -z 127.0.0.1 "$LAB_SUBMISSION_PORT"
	ip netns exec "$LAB_NS_GATEWAY" nc -z 127.0.0.1 "$LAB_SUBMISSIONS_PORT"
}

@test "any local part at LAB_RCPT's domain is accepted outside, and lands in LAB_INTERNET_MAIL with its envelope on top" {
	. "$LAB_DIR/env"
	. "$ROOT/tests/lab/client.sh"
	submit user01 "any.body+tag@${LAB_RCPT#*@}" "contract-mail"
	deadline=$((SECONDS + 20))
	until received 'Subject: contract-mail'; do
		[ $SECONDS -lt $deadline ]
		read -rt 0.1 <> <(:) || true
	done
	file=$(received 'Subject: contract-mail')
	sed -n 1p "$file" | grep -E '^X-Envelope-From: prvs='
	sed -n 2p "$file" | grep -F "X-Envelope-To: any.body+tag@${LAB_RCPT#*@}"
}

@test "the dashboard answers on this machine and in the gateway's namespace, with the lab's certificate" {
	. "$LAB_DIR/env"
	curl -fsS --cacert "$LAB_CA_FILE" "${LAB_DASHBOARD_URL%/}/login" | grep -q 'name="password"'
	ip netns exec "$LAB_NS_GATEWAY" curl -fsS --cacert "$LAB_CA_FILE" "${LAB_DASHBOARD_URL%/}/login" | grep -q 'name="password"'
}

@test "down leaves no process, namespace, link or file behind, and can be said twice" {
	"$ROOT/tests/lab/down"
	[ ! -e "$LAB_DIR/env" ]
	snapshot | diff "$BATS_FILE_TMPDIR/before" -
	"$ROOT/tests/lab/down"
}

@test "a second up, with extra configuration, another smart host and limits off, comes up and goes" {
	printf 'msa {\n\tmax_recipients = 7\n\tretry_min = 9s\n}\n' > "$BATS_FILE_TMPDIR/extra.conf"
	# From another folder, with relative paths and a slash too many: it is the same lab.
	cd "$BATS_FILE_TMPDIR"
	LAB_DIR=./lab/ LAB_CONF_EXTRA=extra.conf LAB_LIMITS=off LAB_SMARTHOST=198.51.100.25:2525 "$ROOT/tests/lab/up"
	cd "$OLDPWD"
	. "$LAB_DIR/env"
	"$LAB_CTL" status --json | jq -e '.ratelimitd.mode == "observe"'
	. "$ROOT/tests/lab/client.sh"
	# Nobody listens on port 2525: what is accepted stays queued, and the queue says for what host.
	submit user02 "waiting@${LAB_RCPT#*@}" "contract-smarthost"
	[ "$(ctl queue list --json | jq .total)" = 1 ]
	# The extra key is in force.
	args=()
	for i in 1 2 3 4 5 6 7 8; do
		args+=("r$i@${LAB_RCPT#*@}")
	done
	run swaks_submit --port 587 --tls --auth PLAIN --auth-user user02 --auth-password "$(password_of user02)" \
		--from "$(address_of user02)" --to "$(IFS=,; echo "${args[*]}")"
	grep -E '^<~\* 452 4\.5\.3' <<< "$output"
	"$ROOT/tests/lab/down"
	snapshot | diff "$BATS_FILE_TMPDIR/before" -
}

@test "bad options are refused in words" {
	LAB_CONF_EXTRA=/nonexistent run "$ROOT/tests/lab/up"
	[ "$status" = 1 ]
	[[ $output == *"cannot read /nonexistent"* ]]
	printf 'msa {\n\tno_such_key = 1\n}\n' > "$BATS_FILE_TMPDIR/bad.conf"
	LAB_CONF_EXTRA=$BATS_FILE_TMPDIR/bad.conf run "$ROOT/tests/lab/up"
	[ "$status" = 1 ]
	[[ $output == *no_such_key* ]]
	LAB_SMARTHOST=127.0.0.1 run "$ROOT/tests/lab/up"
	[ "$status" = 1 ]
	[[ $output == *"say ADDRESS:PORT"* ]]
	LAB_LIMITS=none run "$ROOT/tests/lab/up"
	[ "$status" = 1 ]
	[[ $output == *"LAB_LIMITS: none"* ]]
	LAB_DIR="$BATS_FILE_TMPDIR/a b" run "$ROOT/tests/lab/up"
	[ "$status" = 1 ]
	[[ $output == *"may be in its path"* ]]
	snapshot | diff "$BATS_FILE_TMPDIR/before" -
}

# in_group SECONDS SIGNAL COMMAND...: the command in a session of its own; the signal to all of it after so long, as Ctrl-C does.
in_group() {
	python3 - "$@" <<-'EOT'
		import os, signal, subprocess, sys
		# A shell in the background ignores Ctrl-C, and so would all that it starts.
		p = subprocess.Popen(sys.argv[3:], start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
		try:
		    sys.exit(p.wait(float(sys.argv[1])))
		except subprocess.TimeoutExpired:
		    os.killpg(p.pid, getattr(signal, "SIG" + sys.argv[2]))
		    sys.exit(p.wait(60))
	EOT
}

@test "an up that is interrupted, early or late, leaves nothing behind" {
	for seconds in 0.2 0.8 1.6 2.4; do
		run in_group $seconds INT "$ROOT/tests/lab/up"
		# On a fast machine it may be up by then.
		[ "$status" = 130 ] || [ "$status" = 0 ]
		[ "$status" = 130 ] || "$ROOT/tests/lab/down"
		[ ! -e "$LAB_DIR/env" ]
		snapshot | diff "$BATS_FILE_TMPDIR/before" -
	done
}

@test "make run's script comes up, says what to try, and leaves nothing behind after Ctrl-C" {
	LAB_RUN_ONCE=1 run "$ROOT/tests/lab/run"
	[ "$status" = 0 ]
	[[ $output == *"Things to try"* ]]
	snapshot | diff "$BATS_FILE_TMPDIR/before" -
	run in_group 3 INT "$ROOT/tests/lab/run"
	[[ $output == *"Sekisho: stopped."* ]]
	snapshot | diff "$BATS_FILE_TMPDIR/before" -
}
