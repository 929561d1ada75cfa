#!/usr/bin/env bats
# Bounces that come back: what real mail servers and people's programs say of our mail reaches the accounting and the detector.
#
#   swaks --465--> sekisho-msad --> 127.0.0.2:25 Postfix of far.example --> 127.0.0.2:2526 smtp-sink, which refuses every recipient
#                                        | bounces, to prvs=...=userNN@isp.example
#                                        v
#                  127.0.0.1:25 Postfix, the MX of isp.example, with sekisho-batv-milter --> sekisho-acctd --> sekisho-ratelimitd
#
# All of it on the loopback of one network namespace.

load submission

setup_file() {
	export NS=sekisho-returned-$$
	submission_up
	command -v postfix > /dev/null || skip "needs Postfix"
	users 01 02
	certificate_of smtp.isp.example
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"" 'smarthost = "127.0.0.2:25"'
	echo 'detector { learn = 0s }' >> "$DIR/more.conf"
	start_sink
	spawn refuser smtp-sink -u nobody -f RCPT 127.0.0.2:2526 100
	postfix_up far 127.0.0.2 <<-END
	myhostname = mx.far.example
	relay_domains = far.example, quiet.example
	transport_maps = inline:{ far.example=smtp:[127.0.0.2]:2526, isp.example=smtp:[127.0.0.1]:25, quiet.example=discard: }
	END
	echo '/^prvs=[0-9]{4}[0-9a-f]{6}=/ OK' > "$DIR/tagged"
	chmod 644 "$DIR/tagged"
	postfix_up mx 127.0.0.1 <<-END
	myhostname = mx.isp.example
	relay_domains = isp.example
	relay_recipient_maps = inline:{ user01@isp.example=x, user02@isp.example=x }, regexp:$DIR/tagged
	relay_transport = smtp:[127.0.0.1]:2525
	smtpd_milters = inet:127.0.0.1:10026
	END
	spawn ratelimitd "$BIN/sekisho-ratelimitd" -c "$DIR/sekisho.conf"
	start_acctd
	start_msad
	spawn milter "$BIN/sekisho-batv-milter" -c "$DIR/sekisho.conf"
	wait_until milter_says "milter ready"
	wait_until milter_says "accounting-up"
	wait_until connected
}

teardown_file() { submission_down; }

start_acctd() {
	spawn acctd "$BIN/sekisho-acctd" -c "$DIR/sekisho.conf"
	wait_until grep -q "accounting ready" "$DIR/acctd.log"
}
milter_says() { grep -q -- "$1" "$DIR/milter.log"; }
connected() { logged "limits connected" && logged "feed connected"; }
ctl() { in_ns "$BIN/sekishoctl" -c "$DIR/sekisho.conf" "$@"; }
state() { in_ns curl -s http://127.0.0.1:9430/metrics | sed -n "s/^$1 //p"; }
state_is() { [ "$(state "$1")" = "$2" ]; }
sql() { sqlite3 -readonly "file:$DIR/state/accounting/control.db?mode=ro" "$1"; }
rows_are() { [ "$(sql "SELECT count(*) FROM ev_delivery WHERE returned = 1 AND $1")" = "$2" ]; }
# What the limiter was told of bounces.
bounces() { in_ns curl -s http://127.0.0.1:9427/metrics | sed -n 's/^sekisho_ratelimit_observations_total{what="bounce"} //p'; }
bounces_are() { [ "$(bounces)" = "$1" ]; }

# send NN RCPT: leaves TAGGED, TOKEN and ID of the message; the far server takes it.
send() {
	mail_as "$1" "user$1@isp.example" -t "$2" --header "Subject: to-$2"
	wait_until sh -c "grep -q 'to=<$2>' '$DIR/postfix-far.log'"
	TAGGED=$(sed -n 's/.*from=<\(prvs=[^>]*=user'"$1"'@isp.example\)>.*/\1/p' "$DIR/postfix-far.log" | tail -1)
	wait_until sh -c "[ -n \"\$(sqlite3 -readonly '$DIR/state/accounting/control.db' \"SELECT queue_id FROM ev_delivery WHERE rcpt = '$2'\")\" ]"
	TOKEN=$(sql "SELECT token FROM ev_message WHERE queue_id = (SELECT queue_id FROM ev_delivery WHERE rcpt = '$2' LIMIT 1)")
	ID=$(sql "SELECT queue_id FROM ev_delivery WHERE rcpt = '$2' LIMIT 1")
	[ -n "$TAGGED" ] && [ -n "$TOKEN" ]
}
# comes_back TO < a whole message: from the null sender, at the MX
comes_back() { in_ns swaks --server 127.0.0.1 --port 25 -f '<>' -t "$1" --data - --hide-all; }

@test "a real server's DSN: the recipient has failed after all, the detector knows, the message's history says so" {
	mail_as 01 user01@isp.example -t nobody1@far.example --header "Subject: real"
	wait_until rows_are "rcpt = 'nobody1@far.example' AND result = 2 AND server = 'mx.far.example' AND answer > 0" 1
	[ "$(state 'sekisho_milter_returned_total{form="dsn"}')" = 1 ]
	[ "$(state sekisho_milter_told_total)" = 1 ]
	id=$(sql "SELECT queue_id FROM ev_delivery WHERE returned = 1")
	# First taken by the next host, then returned.
	[ "$(sql "SELECT group_concat(result) FROM (SELECT result FROM ev_delivery WHERE queue_id = '$id' ORDER BY id)")" = 1,2 ]
	[ "$(sql "SELECT sum(bounced) FROM account_rollup")" = 1 ]
	milter_says 'batv returned form=dsn sender="\?user01@isp.example"\? recipients=1'
}

@test "the same again counts once, and one about somebody nobody wrote to not at all" {
	send 01 nobody2@far.example
	wait_until rows_are "queue_id = '$ID'" 1
	before=$(state sekisho_milter_told_total) known=$(bounces)
	for rcpt in nobody2@far.example nobody2@far.example stranger@far.example; do
		comes_back "$TAGGED" <<-END
		From: MAILER-DAEMON@far.example
		Subject: failure notice

		Hi. This is the qmail-send program at far.example.
		I'm afraid I wasn't able to deliver your message to the following addresses.

		<$rcpt>:
		Sorry, no mailbox here by that name. (#5.1.1)

		--- Below this line is a copy of the message.

		Subject: x
		END
	done
	wait_until state_is sekisho_milter_told_total $((before + 3))
	rows_are "queue_id = '$ID'" 1
	rows_are "rcpt = 'stranger@far.example'" 0
	[ "$(bounces)" = "$known" ]
	[ "$(sql "SELECT sum(n) FROM rollup WHERE metric = 'returned_unknown'")" = 1 ]
}

@test "Exim's way, with the token: an address that mail was forwarded to counts no more often than the message had recipients" {
	send 02 elsewhere@far.example
	wait_until rows_are "queue_id = '$ID'" 1
	comes_back "$TAGGED" <<-END
	From: Mail Delivery System <Mailer-Daemon@e.example>
	Auto-Submitted: auto-replied
	X-Failed-Recipients: gone@forwarded.example
	Subject: Mail delivery failed: returning message to sender

	  gone@forwarded.example
	    SMTP error from remote mail server after RCPT TO:<gone@forwarded.example>:
	    host mx.forwarded.example [192.0.2.9]: 550 5.1.1 User unknown

	------ This is a copy of the message, including all the headers. ------

	X-Sekisho-Trace: $TOKEN
	END
	wait_until state_is 'sekisho_milter_returned_total{form="exim"}' 1
	# It had one recipient, who has failed already: an address more is not believed.
	rows_are "rcpt = 'gone@forwarded.example'" 0
}

@test "recipients that do not exist after all raise the score, in words" {
	send 02 a1@quiet.example
	for n in 2 3 4 5 6 7 8; do send 02 "a$n@quiet.example"; done
	for n in 1 2 3 4 5 6 7; do
		comes_back "$TAGGED" <<-END
		From: MAILER-DAEMON@quiet.example
		Subject: failure notice

		Hi. This is the qmail-send program at quiet.example.

		<a$n@quiet.example>:
		Remote host said: 550 5.1.1 User unknown
		END
	done
	wait_until rows_are "rcpt GLOB 'a?@quiet.example' AND answer = 2" 7
	soon 10 sh -c "'$BIN/sekishoctl' -c '$DIR/sekisho.conf' limit show user02@isp.example --json | jq -e '[.score.why[] | test(\"^unknown: [0-9]+ recipients that do not exist\")] | any'"
}

@test "vacation, a reader's receipt, a delay: no bounce" {
	send 01 nobody5@far.example
	wait_until rows_are "queue_id = '$ID'" 1
	known=$(bounces)
	comes_back "$TAGGED" <<-END
	From: nobody5@far.example
	Auto-Submitted: auto-replied
	Subject: I am away

	550 5.1.1 is the number of my room.
	END
	wait_until state_is 'sekisho_milter_returned_total{form="auto"}' 1
	comes_back "$TAGGED" <<-END
	From: nobody5@far.example
	MIME-Version: 1.0
	Content-Type: multipart/report; report-type=disposition-notification; boundary=b
	Subject: read

	--b
	Content-Type: message/disposition-notification

	Final-Recipient: rfc822; nobody5@far.example
	Disposition: manual-action/MDN-sent-manually; displayed

	--b--
	END
	wait_until state_is 'sekisho_milter_returned_total{form="reader"}' 1
	comes_back "$TAGGED" <<-END
	From: MAILER-DAEMON@far.example
	MIME-Version: 1.0
	Content-Type: multipart/report; report-type=delivery-status; boundary=b
	Subject: delayed

	--b
	Content-Type: message/delivery-status

	Reporting-MTA: dns; mx.far.example

	Final-Recipient: rfc822; nobody5@far.example
	Action: delayed
	Status: 4.4.7

	--b--
	X-Sekisho-Trace: $TOKEN
	END
	wait_until rows_are "queue_id = '$ID' AND result = 3" 1
	[ "$(bounces)" = "$known" ]
}

@test "a tag that is wrong, and mail with a sender: nothing is read" {
	before=$(sql "SELECT count(*) FROM ev_delivery WHERE returned = 1")
	forms=$(in_ns curl -s http://127.0.0.1:9430/metrics | grep '^sekisho_milter_returned_total')
	bad=$(sed -E 's/^(prvs=[0-9]{4})[0-9a-f]{6}/\1abcdef/' <<< "prvs=0123abcdef=user01@isp.example")
	printf 'X-Failed-Recipients: nobody1@far.example\nSubject: forged\n\nno\n' | comes_back "$bad"
	arrived "Subject: forged" > /dev/null
	[ "$(in_ns curl -s http://127.0.0.1:9430/metrics | grep '^sekisho_milter_returned_total')" = "$forms" ]
	[ "$(sql "SELECT count(*) FROM ev_delivery WHERE returned = 1")" = "$before" ]
}

@test "acctd is away: bounces wait, are counted, and are told when it is back, once" {
	kill "$(cat "$DIR/acctd.pid")"
	wait_until gone "$(cat "$DIR/acctd.pid")"
	wait_until state_is sekisho_milter_accounting_up 0
	told=$(state sekisho_milter_told_total)
	mail_as 01 user01@isp.example -t nobody6@far.example --header "Subject: meanwhile"
	wait_until state_is sekisho_milter_waiting 1
	milter_says 'milter accounting-away waiting=1 action='
	start_acctd
	wait_until state_is sekisho_milter_waiting 0
	[ "$(state sekisho_milter_told_total)" = $((told + 1)) ]
	[ "$(state sekisho_milter_untold_total)" = 0 ]
}
