#!/usr/bin/env bats
# The whole appliance in a lab: what holds when something is missing, stalled, wrong or hostile. Real packets, real clients.

load lab

setup_file() {
	lab_up <<'C'
ratelimit {
	messages_per_minute = 12
}
C
}

pid_of() { cat "$LAB_DIR/run/$1.pid"; }
queued() { ctl queue list --account "$1" --json | jq .total; }
# raw_session USER: after TLS, EHLO and AUTH, standard input byte for byte; prints the server's words
raw_session() {
	in_sub timeout 30 python3 "$ROOT/tests/netns/raw_smtp.py" "$LAB_MSA_IP4" 465 "$LAB_MSA_HOST" "$LAB_CA_FILE" "$1" "$(password_of "$1")"
}

@test "every mechanism logs in, each with a real client" {
	for mech in PLAIN LOGIN; do
		run swaks_submit --port 587 --tls --auth $mech --auth-user user03 --auth-password "$(password_of user03)" \
			--from "$(address_of user03)" --to "$LAB_RCPT" --quit-after RCPT
		[ "$status" = 0 ]
	done
	run in_sub gsasl --smtp --connect "$LAB_MSA_IP4:587" --starttls --x509-ca-file="$LAB_CA_FILE" --mechanism SCRAM-SHA-256 \
		--authentication-id user03 --password "$(password_of user03)" --hostname "$LAB_MSA_HOST" --no-cb --quiet
	echo "$output"
	[ "$status" = 0 ]
}

@test "an account has one name, however its owner and the operator spell it" {
	ctl account add User02@ISP.Example --subscriber F-0001
	run swaks_submit --port 587 --tls --auth PLAIN --auth-user USER02 --auth-password "$(password_of user02)" \
		--from "$(address_of user02)" --to "$LAB_RCPT" --h-Subject spelled
	[ "$status" = 0 ]
	id=$(sed -n 's/.*queued as //p' <<< "$output")
	soon 20 eval "ctl message show $id --json | jq -e '.account == \"user02@isp.example\"'"
	ctl subscriber list --json | jq -e '.[] | select(.ref == "F-0001") | .accounts == ["user02@isp.example"]'
	ctl limit show User02@ISP.Example --json | jq -e '.limits[] | select(.unit == "messages" and .window == "1m") | .used == 1'
	ctl incident hold USER02@isp.example --reason "spelled so"
	run swaks_submit --port 587 --tls --auth PLAIN --auth-user uSer02 --auth-password "$(password_of user02)" \
		--from "$(address_of user02)" --to "$LAB_RCPT"
	[ "$status" = 0 ]
	[ "$(ctl queue list --account UseR02@isp.example --state held --json | jq .total)" = 1 ]
	ctl incident release usEr02@isp.example --reason "spelled otherwise"
}

@test "the limit is exact: twelve messages a minute pass, the thirteenth is deferred with when to come back" {
	for i in $(seq 12); do
		submit user04 "friend@example.net" "limit-$i" || { echo "message $i was refused"; return 1; }
	done
	run swaks_submit --port 587 --tls --auth PLAIN --auth-user user04 --auth-password "$(password_of user04)" \
		--from "$(address_of user04)" --to "friend@example.net"
	echo "$output"
	grep -E '^<~\* 45[0-2] 4\.7\.28' <<< "$output"
	ctl limit show user04@isp.example --json | jq -e '.limits[] | select(.unit == "messages" and .window == "1m") | .used == 12 and .left == 0'
	ctl limit reset user04@isp.example
	submit user04 "friend@example.net" "limit-after-reset"
}

@test "the same limit over parallel connections lets no more through" {
	for i in $(seq 24); do
		{ submit user05 "friend@example.net" "parallel-$i" && echo yes >> "$BATS_TEST_TMPDIR/accepted"; } 2> /dev/null &
	done
	wait
	[ "$(wc -l < "$BATS_TEST_TMPDIR/accepted")" = 12 ]
}

@test "ratelimitd stalled: submission is deferred with 451 4.3.0, never accepted unlimited, never a 5xx; then it goes on" {
	kill -STOP "$(pid_of ratelimitd)"
	run swaks_submit --port 587 --tls --auth PLAIN --auth-user user06 --auth-password "$(password_of user06)" \
		--from "$(address_of user06)" --to "$LAB_RCPT"
	kill -CONT "$(pid_of ratelimitd)"
	echo "$output"
	grep -E '^<~\* 451 4\.3\.0' <<< "$output"
	soon 10 submit user06 "$LAB_RCPT" "after-the-stall"
}

@test "ratelimitd killed: it comes back, and a hold survives" {
	ctl incident hold user07@isp.example --reason "a test of the snapshot"
	soon 5 submit user07 "held@example.net" "held-1"
	kill -9 "$(pid_of ratelimitd)"
	soon 10 ctl status
	soon 10 submit user07 "held@example.net" "held-2"
	[ "$(queued user07@isp.example)" = 2 ]
	ctl limit show user07@isp.example --json | jq -e '.stage == "hold"'
	ctl incident release user07@isp.example --reason "done"
	soon 20 received 'Subject: held-1'
	soon 20 received 'Subject: held-2'
}

@test "acctd stalled: mail and packets go on; afterwards every event is there, once" {
	kill -STOP "$(pid_of acctd)"
	for i in 1 2 3; do
		submit user08 "friend@example.net" "no-acctd-$i"
	done
	run in_sub nc -z -w 10 "$LAB_INTERNET_IP4" 25
	stalled=$status
	soon 20 received 'Subject: no-acctd-3'
	kill -CONT "$(pid_of acctd)"
	[ "$stalled" != 0 ]
	messages() { [ "$(sqlite3 -readonly "$LAB_STATE/accounting/control.db" "select count(*) from ev_message m join account a on a.id = m.account_id where a.login = 'user08@isp.example'" 2>/dev/null)" = 3 ]; }
	soon 15 messages
}

@test "acctd killed: sekishoctl still reads, says who is away for a change, and all is well after" {
	sv=$(cat "$LAB_DIR/run/acctd.supervisor")
	kill -STOP "$sv"
	kill -9 "$(pid_of acctd)"
	run ctl incident list
	listed=$status
	run ctl exempt add 192.0.2.150
	kill -CONT "$sv"
	echo "$output"
	[ "$listed" -le 1 ]
	[ "$status" = 69 ]
	soon 10 ctl status
	ctl exempt add 192.0.2.150 --reason "again"
	ctl exempt remove 192.0.2.150 --reason "test"
}

@test "a bad reload keeps the old state and says why; a good one is taken" {
	cp "$LAB_CONF" "$BATS_TEST_TMPDIR/good"
	printf 'msa {\n\tnonsense = 1\n}\n' >> "$LAB_CONF"
	kill -HUP "$(pid_of msad)"
	soon 5 grep -q nonsense "$LAB_DIR/log/msad.log"
	cp "$BATS_TEST_TMPDIR/good" "$LAB_CONF"
	submit user09 "friend@example.net" "after-bad-reload"
}

@test "a failed delivery comes back to the sender as a notification from the null sender" {
	submit user10 "nobody@gone.example.org" "to-nobody"
	dsn() { received '^X-Envelope-To: user10@isp.example' ; }
	soon 20 dsn
	file=$(dsn | head -n 1)
	grep -E '^X-Envelope-From: <>$' "$file"
	grep -F 'multipart/report' "$file"
	grep -E '^Status: 5\.1\.1' "$file"
	grep -F 'Subject: to-nobody' "$file"
}

@test "no smuggling: a bare LF around the dot ends no message and is refused" {
	from=$(address_of user11)
	out=$(printf 'MAIL FROM:<%s>\r\nRCPT TO:<a@example.net>\r\nDATA\r\nSubject: outer\r\n\r\ntext\n.\nMAIL FROM:<%s>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\nQUIT\r\n' "$from" "$from" | raw_session user11)
	echo "$out"
	! grep -q '^250 2.0.0' <<< "$out" || false
	grep -qE '^5[0-9][0-9] 5\.' <<< "$out"
	run received 'Subject: smuggled'
	[ -z "$output" ]
	[ "$(queued user11@isp.example)" = 0 ]
}

@test "what is pipelined in clear before STARTTLS is not taken as said under TLS" {
	out=$(in_sub timeout 20 python3 - "$LAB_MSA_IP4" <<'P'
import socket, ssl, sys
s = socket.create_connection((sys.argv[1], 587), 10)
f = s.makefile('rb')
f.readline()
s.sendall(b'EHLO x\r\n')
while f.readline()[3:4] == b'-':
    pass
s.sendall(b'STARTTLS\r\nNOOP injected\r\n')
print(f.readline().decode().strip())
c = ssl.create_default_context()
c.check_hostname = False
c.verify_mode = ssl.CERT_NONE
t = c.wrap_socket(s)
t.settimeout(1)
try:
    print('unexpected', t.recv(100))
except (TimeoutError, socket.timeout):
    print('silence')
P
)
	echo "$out"
	grep -q '^220 2.0.0' <<< "$out"
	grep -q '^silence' <<< "$out"
}

@test "a report without our token is found by queue id, and one with nothing waits unmatched" {
	submit user12 "reader@example.net" "complained-about"
	soon 20 received 'Subject: complained-about'
	file=$(received 'Subject: complained-about')
	arf_of "$file" | sed '/^X-Sekisho-Trace/d' > "$BATS_TEST_TMPDIR/by-id.eml"
	ctl report import "$BATS_TEST_TMPDIR/by-id.eml" --json | jq -e '.match == "queue_id" and .account == "user12@isp.example"'
	arf_of "$file" | sed -e '/^X-Sekisho-Trace/d' -e '/^CFBL-Feedback-ID/d' -e '/^Message-I[Dd]:/d' -e '/^Received/,/^[A-Z]/{/^Received/d;/^[ \t]/d}' -e 's/^Source-IP: .*/Source-IP: 203.0.113.200/' > "$BATS_TEST_TMPDIR/nothing.eml"
	ctl report import "$BATS_TEST_TMPDIR/nothing.eml" --json | jq -e '.match == "none"'
	ctl report list --unmatched --json | jq -e 'length >= 1'
	# One put under an incident by hand is not unmatched any more.
	id=$(ctl report list --unmatched --json | jq '.[0].id')
	ctl report attach "$id" "$(ctl incident list --state all --json | jq '.[0].id')"
	ctl report list --unmatched --json | jq -e --argjson id "$id" 'all(.id != $id)'
	run ctl report import /etc/hostname
	[ "$status" -ge 64 ]
}

@test "who: address and time lead to the subscriber" {
	ctl who "$LAB_DYNAMIC_IP4" now --json | jq -e '.[0].subscriber == "D-0001"'
	ctl who "$LAB_DYNAMIC_IP6" 40000 now --json | jq -e '.[0].subscriber == "D-0001"'
	run ctl who 203.0.113.99 now
	[ "$status" = 1 ]
}

@test "exit codes and help are those of the contract" {
	run ctl
	[ "$status" = 64 ]
	run ctl exempt add 192.0.2.1/24
	[ "$status" = 64 ]
	[[ $output == *192.0.2.0/24* ]]
	run ctl exempt remove 192.0.2.77
	[ "$status" = 1 ]
	run ctl batv verify nobody@isp.example
	[ "$status" = 1 ]
	for noun in status top watch explain who exempt lease incident limit queue batv report check init; do
		run ctl $noun --help
		[ "$status" = 0 ] || { echo "$noun --help: $status"; return 1; }
	done
	run ctl check
	[ "$status" = 0 ]
}

@test "the dashboard refuses without a session, without a token, and with a wrong password" {
	jar=$BATS_TEST_TMPDIR/jar
	[ "$(curl -sS --cacert "$LAB_CA_FILE" -o /dev/null -w '%{http_code}' "${LAB_DASHBOARD_URL%/}/overview")" != 200 ]
	web_login
	web_get /overview | grep -q 'name="csrf"\|/logout'
	[ "$(curl -sS --cacert "$LAB_CA_FILE" -b "$(web_jar)" -o /dev/null -w '%{http_code}' -d 'prefix=192.0.2.160' "${LAB_DASHBOARD_URL%/}/exemptions/add")" = 403 ]
	ctl exempt list --json | jq -e '[.[] | select(.prefix == "192.0.2.160")] | length == 0'
	curl -sSI --cacert "$LAB_CA_FILE" "${LAB_DASHBOARD_URL%/}/login" | grep -i '^content-security-policy:' | grep -q "default-src 'none'"
}

fixed_25() { in_fix nc -z -w 10 -s "$LAB_FIXED_IP4" "$LAB_INTERNET_IP4" 25; }

@test "an exemption that expires closes port 25 in the kernel, an open session included" {
	ctl exempt add "$LAB_FIXED_IP4" --expires +5s --json | jq -e '.in_force == true'
	fixed_25
	run in_fix timeout 40 python3 - "$LAB_INTERNET_IP4" <<-'EOT'
		import socket, sys, time
		s = socket.create_connection((sys.argv[1], 25), timeout=30)
		try:
		    while s.recv(200):
		        s.sendall(b"NOOP\r\n")
		        time.sleep(0.1)
		except OSError as e:
		    print("cut:", e)
	EOT
	echo "$output"
	[[ $output == cut:* ]]
	run fixed_25
	[ "$status" = 1 ]
	ctl exempt list --all --json | jq -e '.[0].state == "expired" and .[0].packets > 0'
}

@test "an address that goes to another subscriber is closed before the command returns; its neighbours stay whose they were" {
	ctl subscriber add NEXT
	ctl subscriber add AFTER
	ctl exempt add "${LAB_FIXED_IP4%.*}.128/25"
	fixed_25
	ctl lease add "$LAB_FIXED_IP4" --subscriber NEXT --json | jq -e '.revoked == 1 and .in_force == true'
	run fixed_25
	[ "$status" = 1 ]
	ctl who "$LAB_FIXED_IP4" now --json | jq -e 'length == 1 and .[0].subscriber == "NEXT"'
	ctl who "${LAB_FIXED_IP4%.*}.200" now --json | jq -e 'length == 1 and .[0].subscriber == "F-0001"'
	ctl exempt add "$LAB_FIXED_IP4"
	fixed_25
	ctl lease add "$LAB_FIXED_IP4" --subscriber NEXT --json | jq -e '.revoked == 0'
	fixed_25
	ctl lease add "$LAB_FIXED_IP4" --subscriber AFTER --json | jq -e '.revoked == 1'
	run fixed_25
	[ "$status" = 1 ]
	ctl lease end "$LAB_FIXED_IP4"
	ctl who "$LAB_FIXED_IP4" now --json | jq -e '.[0].subscriber == "F-0001"'
}

@test "exempt import is in force when it returns; an export is the same whatever the order of the import" {
	printf '%s\n192.0.2.140\n192.0.2.200/29\n2001:db8:2::/64\n' "$LAB_FIXED_IP4" | ctl exempt import - --json | jq -e '.added == 4 and .in_force == true'
	fixed_25
	ctl exempt export > "$BATS_TEST_TMPDIR/one.csv"
	ctl exempt export --json | jq -r '.[].prefix' | while read -r p; do ctl exempt remove "$p" > /dev/null; done
	run fixed_25
	[ "$status" = 1 ]
	{ sed -n 1p "$BATS_TEST_TMPDIR/one.csv"; sed 1d "$BATS_TEST_TMPDIR/one.csv" | tac; } | ctl exempt import -
	ctl exempt export | diff "$BATS_TEST_TMPDIR/one.csv" -
	ctl exempt export --json | jq -r '.[].prefix' | while read -r p; do ctl exempt remove "$p" > /dev/null; done
}

@test "batv verify: a line that is no text is a wrong address, the rest is still answered" {
	tag=$(ctl batv sign user01@isp.example)
	run ctl batv verify < <(printf 'caf\xe9@x\na\x00b@x\n\n%s\r\n' "$tag")
	[ "$status" = 1 ]
	[ "$(cut -f1 <<< "$output")" = $'invalid\ninvalid\nvalid' ]
}

@test "a complaint about a huge message is filed by its beginning, an empty one is refused in words" {
	submit user09 "$LAB_RCPT" "huge-complaint"
	soon 20 received 'Subject: huge-complaint'
	{ arf_of "$(received 'Subject: huge-complaint')" | sed '/^--arf-part--/d'; head -c 3000000 /dev/zero | tr '\0' x | fold -w 76; printf '\n--arf-part--\n'; } > "$BATS_TEST_TMPDIR/huge"
	ctl report import "$BATS_TEST_TMPDIR/huge" --json | jq -e '.match == "token" and .account == "user09@isp.example"'
	run ctl report import - < /dev/null
	[ "$status" = 65 ]
	[[ $output == *"the message is empty"* ]]
}
