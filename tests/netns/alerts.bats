#!/usr/bin/env bats
# Alerts: real daemons, an HTTPS receiver that checks signatures, a real Postfix with STARTTLS and AUTH, and the lab.
#
#   sekisho-acctd  →  sekisho-alert  →  alert_receiver.py on 127.0.0.1:8443, Postfix on 127.0.0.1:25

bats_require_minimum_version 1.5.0
load submission

setup_file() {
	export NS=sekisho-alerts-$$
	submission_up
	certificate_of smtp.isp.example
	certificate_of other.example other
	cat "$DIR/tls/cert.pem" "$DIR/tls/key.pem" > "$DIR/tls/both.pem"
	users 01
	mkdir -p "$DIR/rx"
	printf 'whsec-%s\n' "$(openssl rand -hex 16)" > "$DIR/rx/secret"
	printf 'mail-secret\n' > "$DIR/password"
	chmod 640 "$DIR/rx/secret" "$DIR/password"
	: > "$DIR/rx/requests"
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	batv = false"
	echo 'include("'"$DIR"'/alerts.conf")' >> "$DIR/sekisho.conf"
	tell_web
	spawn ratelimitd "$BIN/sekisho-ratelimitd" -c "$DIR/sekisho.conf"
	start_acctd
	start_msad
	ctl subscriber add D-1 --name one
	for i in $(seq 10 60); do echo "$i"; done | while read -r i; do ctl account add "user$i@isp.example" --subscriber D-1; done
	receiver
}

teardown_file() { submission_down; }

setup() {
	: > "$DIR/rx/requests"
	: > "$DIR/rx/behaviour"
}

teardown() {
	[ ! -e "$BATS_TEST_TMPDIR/lab" ] || LAB_DIR=$BATS_TEST_TMPDIR/lab "$BATS_TEST_DIRNAME/../lab/down"
}

ctl() { in_ns "$BIN/sekishoctl" -c "$DIR/sekisho.conf" "$@"; }
receiver() {
	ip netns exec "$NS" python3 "$BATS_TEST_DIRNAME/alert_receiver.py" "$DIR/rx" 127.0.0.1:8443 "$DIR/tls/both.pem" > "$DIR/rx.log" 2>&1 3>&- &
	echo $! > "$DIR/rx.pid"
	wait_until listens 127.0.0.1 8443
}
no_receiver() {
	kill "$(cat "$DIR/rx.pid")"
	wait_until not listens 127.0.0.1 8443
}
start_acctd() {
	spawn acctd "$BIN/sekisho-acctd" -c "$DIR/sekisho.conf"
	wait_until connected
}
connected() { ctl limit list; }
acctd_said() { grep -q -- "$1" "$DIR/acctd.log"; }
tell() { # KEYS of alert ops [KEYS of accounting]
	printf 'alert ops {\n%s\n gather = 1s\n repeat = 2s\n retry_min = 200ms\n retry_max = 1s\n timeout = 2s\n}\naccounting {\n alert_away = 1s\n %s\n}\n' \
		"$1" "${2:-}" > "$DIR/alerts.conf"
}
tell_web() { # [KEYS]
	tell " url = \"https://127.0.0.1:8443/hook\"
 secret_file = \"$DIR/rx/secret\"
 ca_file = \"$DIR/tls/cert.pem\"
 headers = {\"Authorization: Bearer abc\"}
 ${1:- kinds = {\"operator\"\}}"
}
reload_acctd() {
	local n
	n=$(grep -c "accounting reloaded" "$DIR/acctd.log" || true)
	kill -HUP "$(cat "$DIR/acctd.pid")"
	wait_until more_reloads "$n"
}
more_reloads() { [ "$(grep -c "accounting reloaded" "$DIR/acctd.log")" -gt "$1" ]; }
alert_pid() { ip netns pids "$NS" | while read -r p; do grep -q '^sekisho-alert' "/proc/$p/cmdline" && echo "$p"; done | grep .; }
came() { jq -se "$1" "$DIR/rx/requests"; } # FILTER over all requests
hold() { ctl incident hold "$1@isp.example" --reason "${2:-a test}"; }
sent_all() { ctl alert list --json | jq -e 'length > 0 and all(.state == "sent")'; }

@test "a test is sent at once and shows the answer; a wrong certificate is refused" {
	run -0 ctl alert test
	[[ $output == *"said the receiver"* ]]
	came 'length == 1 and .[0].verified and .[0].body.test and .[0].headers.Authorization == "Bearer abc"'
	run -0 ctl alert test ops --json
	run -1 ctl alert test nothing
	[[ $output == *"no alert nothing"* ]]
	sed -i "s|ca_file = .*|ca_file = \"$DIR/tls/other.crt\"|" "$DIR/alerts.conf"
	reload_acctd
	run -1 ctl alert test
	[[ $output == *certificate* ]]
	echo "redirect https://127.0.0.1:8443/else" > "$DIR/rx/behaviour"
	tell_web
	reload_acctd
	run -1 ctl alert test
	[[ $output == *"HTTP 302"* ]]
	came 'map(select(.path == "/else")) == []'
}

@test "a case is told at once: cause, evidence, the next command; once, and signed" {
	hold user10 "phone call"
	wait_until came 'length == 1'
	came '.[0] | .verified and .body.schema == "sekisho.alert/1" and .body.id == .id and .body.title == "user10@isp.example: mail held"'
	came '.[0].body.cases[0] | .subscriber == "D-1" and (.cause | test("phone call")) and .evidence.totals.messages == 0'
	id=$(jq '.body.cases[0].incident' "$DIR/rx/requests")
	came ".[0].body.cases[0].next | any(.run == \"sekishoctl incident release $id --false-positive\")"
	wait_until sent_all
	ctl incident release user10@isp.example
	ctl incident resolve "$id"
	wait_until came 'length == 2 and .[1].body.resolved'
	[ "$(ctl status --json | jq -r .acctd.alerts.state)" = ok ]
}

@test "a campaign is few alerts that hold all accounts" {
	for i in $(seq 11 30); do hold "user$i" > /dev/null; done
	wait_until came '[.[].body.cases[].subject] | unique | length == 20'
	came 'length <= 6 and ([.[].body.cases[].subject] | length == 20)'
	came '.[-1].body.title | test("accounts: mail held")'
	wait_until sent_all
}

@test "500, then 200: tried again, the same alert, taken once" {
	printf '500\n503\n' > "$DIR/rx/behaviour"
	hold user31
	wait_until came 'length == 3'
	came '[.[].code] == [500, 503, 200] and ([.[].id] | unique | length == 1) and all(.verified)'
	wait_until sent_all
	ctl alert list --json | jq -e '.[0].attempts == 3'
	acctd_said 'alert not-sent .*attempt=1 answer="HTTP 500 said the receiver"'
}

@test "a receiver that is down for a while: retrying is shown, nothing is lost, acctd killed in between" {
	no_receiver
	hold user32
	retrying() { ctl status --json | jq -e '.acctd.alerts.state | test("^retrying: .* since 20")'; }
	wait_until retrying
	ctl status | grep -q 'retrying: '
	run -0 ctl alert list --state waiting --json
	kill -9 "$(cat "$DIR/acctd.pid")"
	wait_until gone "$(cat "$DIR/acctd.pid")"
	start_acctd
	receiver
	wait_until came 'length == 1 and .[0].body.cases[0].subject == "user32@isp.example"'
	wait_until sent_all
	came 'length == 1'
}

@test "acctd killed the moment a case is known: told after its start, with one id" {
	printf 'slow 1\n' > "$DIR/rx/behaviour"
	hold user33
	kill -9 "$(cat "$DIR/acctd.pid")"
	wait_until gone "$(cat "$DIR/acctd.pid")"
	start_acctd
	told() { came '[.[] | select(.body.cases[0].subject == "user33@isp.example")] | length >= 1 and ([.[].id] | unique | length == 1)'; }
	wait_until told
	wait_until sent_all
	[ "$(alert_pid | wc -l)" = 1 ]
}

@test "a receiver that is slow holds nobody up" {
	printf 'slow 5\nslow 5\nslow 5\n' > "$DIR/rx/behaviour"
	hold user34
	pending() { ctl alert list --state waiting --json; }
	wait_until pending
	for i in 1 2 3 4 5; do ctl incident list > /dev/null; done
	run ctl status
	[[ $output == *alerts* ]]
	pending # acctd answered all of that while the receiver was still silent
	wait_until sent_all
}

@test "the sending process is killed: another one goes on" {
	printf 'slow 1\n' > "$DIR/rx/behaviour"
	hold user35
	wait_until alert_pid
	pid=$(alert_pid)
	grep -q 'NoNewPrivs:.1' "/proc/$pid/status"
	[ "$(sed -n 's/^CapEff:\t//p' "/proc/$pid/status")" = 0000000000000000 ]
	kill -9 "$pid"
	wait_until acctd_said 'alert process-ended'
	wait_until sent_all
}

@test "msad stands still, then is away: alerts leave all the same, and tell of it" {
	tell_web ' kinds = {"operator", "appliance"}'
	reload_acctd
	kill -STOP "$(cat "$DIR/msad.pid")"
	hold user36
	wait_until came 'any(.body.kind == "operator")'
	kill -CONT "$(cat "$DIR/msad.pid")"
	stop_msad
	away() { came '[.[].body.cases[] | select(.case == "msad-away" and (.over | not))] | length >= 1'; }
	for _ in 1 2 3; do wait_until away && break; done
	away
	came '[.[].body.cases[] | select(.case == "msad-away")][0] | .severity == "high" and any(.next[]; .run == "journalctl -u sekisho-msad -n 50")'
	start_msad
	back() { came '[.[].body.cases[] | select(.case == "msad-away" and .over)] | length == 1'; }
	for _ in 1 2 3; do wait_until back && break; done
	back
}

@test "mail straight to a Postfix with STARTTLS and AUTH, to each address" {
	p=$DIR/postfix-rx
	mkdir -p "$p/etc/sasl"
	chmod 755 "$p" "$p/etc" "$p/etc/sasl"
	printf 'mail-secret' | saslpasswd2 -p -c -f "$p/sasldb2" -u smtp.isp.example alerts
	chown postfix "$p/sasldb2"
	printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s\nmech_list: PLAIN LOGIN\n' "$p/sasldb2" > "$p/etc/sasl/smtpd.conf"
	chmod 644 "$p/etc/sasl/smtpd.conf"
	printf '/^(Subject|To|Auto-Submitted|Sekisho-Alert-Id):/ WARN seen\n' > "$p/headers"
	postfix_up rx 127.0.0.1 <<-END
	myhostname = smtp.isp.example
	mydestination = isp.example
	local_recipient_maps =
	local_transport = discard:kept
	smtpd_tls_chain_files = $DIR/tls/key.pem, $DIR/tls/cert.pem
	smtpd_tls_security_level = may
	smtpd_tls_auth_only = yes
	smtpd_sasl_auth_enable = yes
	smtpd_sasl_path = smtpd
	cyrus_sasl_config_path = /etc/postfix/sasl
	smtpd_sasl_local_domain = smtp.isp.example
	smtpd_client_restrictions = permit_sasl_authenticated, reject
	header_checks = regexp:$p/headers
	END
	tell " smtp_host = \"127.0.0.1\"
 smtp_port = 25
 smtp_user = alerts
 smtp_password_file = \"$DIR/password\"
 ca_file = \"$DIR/tls/cert.pem\"
 from = \"sekisho@isp.example\"
 to = {\"noc@isp.example\", \"abuse@isp.example\"}
 kinds = {\"operator\"}"
	reload_acctd
	run ctl alert test
	echo "$output"
	[ "$status" = 0 ] || { tail -n 20 "$DIR/postfix-rx.log"; false; }
	hold user37
	log=$DIR/postfix-rx.log
	mailed() { [ "$(grep -c 'Subject: \[Sekisho high\] user37@isp.example: mail held' "$log")" = 2 ]; }
	wait_until mailed
	grep -q 'sasl_username=alerts' "$log"
	grep -q 'to=<noc@isp.example>.*status=sent' "$log"
	grep -q 'to=<abuse@isp.example>.*status=sent' "$log"
	wait_until sent_all
	# A wrong password, and no TLS: the mail server's own words.
	printf 'wrong\n' > "$DIR/password"
	run -1 ctl alert test
	[[ $output == *"Login denied"* ]] || [[ $output == *535* ]]
}

@test "what cannot be right is refused at the start and at a reload" {
	tell ' url = "http://127.0.0.1:8080/"'
	run -78 "$BIN/sekisho-acctd" -n -c "$DIR/sekisho.conf"
	[[ $output == *plain_http* ]]
	chmod 644 "$DIR/rx/secret"
	tell_web
	run -78 "$BIN/sekisho-acctd" -n -c "$DIR/sekisho.conf"
	[[ $output == *"chmod o="* ]]
	kill -HUP "$(cat "$DIR/acctd.pid")"
	wait_until acctd_said reload-refused
	chmod 640 "$DIR/rx/secret"
	run -0 "$BIN/sekisho-acctd" -n -c "$DIR/sekisho.conf"
}

@test "no secret in any log" {
	not grep -rq -e mail-secret -e "$(cat "$DIR/rx/secret")" -e 'Bearer abc' "$DIR"/*.log
}

@test "in the lab: a stolen account leads to an alert within seconds, with the evidence" {
	export LAB_DIR=$BATS_TEST_TMPDIR/lab
	rx=$BATS_TEST_TMPDIR/rx
	mkdir -p "$rx"
	echo lab-secret > "$rx/secret"
	chmod 640 "$rx/secret"
	: > "$rx/requests"
	cat > "$BATS_TEST_TMPDIR/extra.conf" <<-C
	detector {
	  learn = 0s
	  throttle_delay = 1s
	  throttle_recipients = 0
	}
	alert ops {
	  url = "http://127.0.0.1:8181/hook"
	  plain_http = true
	  secret_file = "$rx/secret"
	  stage = hold
	  kinds = {"account"}
	}
	C
	LAB_CONF_EXTRA=$BATS_TEST_TMPDIR/extra.conf "$BATS_TEST_DIRNAME/../lab/up" 3>&-
	. "$LAB_DIR/env"
	ip netns exec "$LAB_NS_GATEWAY" python3 "$BATS_TEST_DIRNAME/alert_receiver.py" "$rx" 127.0.0.1:8181 > "$rx/log" 2>&1 3>&- &
	rx_pid=$!
	read -r user password address < "$LAB_USERS"
	post() { # NAMESPACE EHLO RCPT
		ip netns exec "$1" swaks --server "$LAB_MSA_IP4" --port 465 --tls-on-connect --ehlo "$2" --auth PLAIN --au "$user" --ap "$password" \
			-f "$address" -t "$3" --body "This is a test mailing" --hide-all --silent 2 || true
	}
	for i in 1 2 3; do post "$LAB_NS_SUBSCRIBER" laptop.lan "friend$i@example.net"; done
	for i in $(seq 30); do
		post "$LAB_NS_INTERNET" win-7c2f "stranger$i@example.net"
		[ "$("$LAB_CTL" limit show "$address" --json | jq -r .stage)" != hold ] || break
	done
	held=$(date +%s)
	DIR=$LAB_DIR/log
	alerted() { [ -s "$rx/requests" ]; }
	wait_until alerted
	echo "after $(($(date +%s) - held)) s: $(cat "$rx/requests")"
	[ $(($(date +%s) - held)) -le 5 ]
	kill "$rx_pid"
	jq -se --arg a "$address" '.[0] | .verified and .body.cases[0].subject == $a and .body.cases[0].stage == "hold" and (.body.cases[0].evidence.signals | length > 0)' "$rx/requests"
}
