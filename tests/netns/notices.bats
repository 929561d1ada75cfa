#!/usr/bin/env bats
# Notices: what senders are told of their mail, what class an answer has, and what accounting keeps of it.
#
#   client (swaks)  --465-->  sekisho-msad  --25-->  hostile_smtp.py on 127.0.1.1, smtp-sink -L on 127.0.2.1

load submission

setup_file() {
	export NS=sekisho-notices-$$
	submission_up
	certificate_of smtp.isp.example
	users 01
	cat "$DIR/tls/cert.pem" "$DIR/tls/key.pem" > "$DIR/tls/both.pem"
	mkdir -p "$DIR/h1/mail"
	printf '%s\n' "ehlo keywords PIPELINING,SMTPUTF8,8BITMIME" > "$DIR/h1/behaviour"
	mkfifo "$DIR/h1/stdin"
	ip netns exec "$NS" python3 "$BATS_TEST_DIRNAME/hostile_smtp.py" 127.0.1.1 25 "$DIR/h1" "$DIR/tls/both.pem" <> "$DIR/h1/stdin" > "$DIR/h1/out" 2>&1 3>&- &
	echo $! > "$DIR/h1.pid"
	wait_until grep -q ready "$DIR/h1/out"
	mkdir -p "$DIR/h2/mail"
	printf '%s\n' "rcpt reply 550 5.9.9 caixa postal inexistente" > "$DIR/h2/behaviour"
	mkfifo "$DIR/h2/stdin"
	ip netns exec "$NS" python3 "$BATS_TEST_DIRNAME/hostile_smtp.py" 127.0.1.2 25 "$DIR/h2" "$DIR/tls/both.pem" <> "$DIR/h2/stdin" > "$DIR/h2/out" 2>&1 3>&- &
	echo $! > "$DIR/h2.pid"
	wait_until grep -q ready "$DIR/h2/out"
	in_ns smtp-sink -N -u nobody -L -c 127.0.2.1:24 10 > "$DIR/lmtp.log" 2>&1 3>&- &
	echo $! > "$DIR/lmtp.pid"
	printf '%s\n' "refuses.example 127.0.1.2" "down.example 127.0.1.9" "local.example route store" > "$DIR/map"
	printf 'unknown-user\t5xx\tcaixa postal\n' > "$DIR/answers"
	openssl genrsa -out "$DIR/dkim.pem" 2048
	echo "isp.example s1 $DIR/dkim.pem" > "$DIR/dkim.table"
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	batv = false" "smarthost = \"127.0.1.1:25\"
	transport_map = \"$DIR/map\"
	relay_tls = may
	retry_min = 1s
	retry_max = 1s
	delay_notice = 3s
	notices_per_hour = 4
	answers = \"$DIR/answers\"
	dkim = \"$DIR/dkim.table\"
	}
	route store { hosts = {\"127.0.2.1\"}
	  lmtp = true }
	route unused { hosts = {\"127.0.1.4\"}
	"
	start_msad
}

teardown_file() { submission_down; }

mail_to() { # RCPT SUBJECT [SWAKS...]
	in_ns swaks --server 127.0.0.1 --port 465 --tls-on-connect --auth PLAIN --au user01 --ap secret01 -f user01@isp.example -t "$1" \
		--header "Subject: $2" "${@:3}" > "$DIR/swaks.log" 2>&1
}
came() { grep -rlE --include='*.eml' "$1" "$DIR/h1/mail"; } # REGEX: a notice of the smart host's mail that says it

@test "a failure: who answered, its class by the operator's table, and a log id" {
	mail_to a@refuses.example one
	wait_until logged 'queue bounced .*class=unknown-user'
	wait_until came '^Diagnostic-Code: smtp; 550 5.9.9 caixa postal inexistente'
	f=$(came '^Diagnostic-Code: smtp; 550 5.9.9' | head -n 1)
	grep -q '^Remote-MTA: dns; \[127.0.1.2\]' "$f"
	grep -q '^Last-Attempt-Date: ' "$f"
	grep -q '^Final-Log-Id: [0-9a-z]\{16\}' "$f"
	echo 'nonsense' >> "$DIR/answers"
	reload reload-failed
	logged 'answers:2: three fields'
	sed -i '$d' "$DIR/answers"
	reload reloaded
}

@test "notices are signed with the DKIM key of the postmaster's domain; by another one after a reload" {
	signed() { # SELECTOR: every notice that came, one of them with it
		/usr/bin/python3 - "$1" "$DIR" $(came '^Content-Type: multipart/report') <<-'P'
		import base64, dkim, subprocess, sys
		selector, folder = sys.argv[1:3]
		def key(name, timeout=5):
		    s = name.decode().split(".")[0]
		    der = subprocess.check_output(["openssl", "pkey", "-in", "%s/dkim%s.pem" % (folder, "" if s == "s1" else s), "-pubout", "-outform", "DER"])
		    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)
		n = 0
		for name in sys.argv[3:]:
		    raw = open(name, "rb").read()
		    assert dkim.verify(raw, dnsfunc=key), name
		    n += b"s=%s;" % selector.encode() in raw.split(b"\r\n\r\n")[0].replace(b"\r\n\t", b"")
		assert n
		P
	}
	wait_until came '^Diagnostic-Code: smtp; 550 5.9.9'
	signed s1
	openssl genrsa -out "$DIR/dkims2.pem" 2048
	echo "isp.example s2 $DIR/dkims2.pem" > "$DIR/dkim.table"
	reload reloaded
	mail_to b@refuses.example two
	wait_until signed s2
}

@test "a delay is told without being asked for, once" {
	mail_to a@down.example late
	wait_until came '^Action: delayed'
	f=$(came '^Action: delayed' | head -n 1)
	grep -q '^Will-Retry-Until: ' "$f"
	attempts=$(grep -c 'queue deferred' "$DIR/msad.log")
	more() { [ "$(grep -c 'queue deferred' "$DIR/msad.log")" -gt "$attempts" ]; }
	wait_until more
	[ "$(came '^Action: delayed' | wc -l)" = 1 ]
}

@test "LMTP tells of a delivery into the mailbox, a server without DSN of one handed on" {
	in_ns python3 - <<-'P'
	import smtplib, ssl
	c = ssl._create_unverified_context()
	s = smtplib.SMTP_SSL("127.0.0.1", 465, context=c)
	s.login("user01", "secret01")
	s.sendmail("user01@isp.example", ["a@local.example"], "Subject: s\r\n\r\nx\r\n", rcpt_options=["NOTIFY=SUCCESS"])
	P
	wait_until came '^Action: delivered'
}

@test "above the ceiling there is one summary, in the queue until the hour is over" {
	for i in 1 2 3 4 5; do mail_to "flood$i@refuses.example" "flood $i"; done
	wait_until logged_times 'queue notices-summary' 4
	[ "$(grep -c 'queue notice ' "$DIR/msad.log")" = 4 ]
}
