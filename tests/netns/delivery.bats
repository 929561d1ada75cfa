#!/usr/bin/env bats
# Delivery to a smart host that misbehaves (hostile_smtp.py), and what crashes, stalls and a full disk leave: every message that got its
# 250 arrives as it was sent, and once.

ROOT=$BATS_TEST_DIRNAME/../..

setup_file() {
	export LAB_DIR=$BATS_FILE_TMPDIR/lab HOST=$BATS_FILE_TMPDIR/host
	mkdir -p "$HOST" "$BATS_FILE_TMPDIR/small"
	# A disk of its own for the state, to be filled.
	mount -t tmpfs -o size=96m,mode=755 sekisho-delivery "$BATS_FILE_TMPDIR/small"
	cat > "$BATS_FILE_TMPDIR/extra.conf" <<-C
	common {
		state_dir = "$BATS_FILE_TMPDIR/small"
	}
	msa {
		retry_min = 1s
		relay_timeout = 3s
	}
	C
	LAB_LIMITS=off LAB_SMARTHOST=127.0.0.1:2600 LAB_CONF_EXTRA=$BATS_FILE_TMPDIR/extra.conf "$ROOT/tests/lab/up"
	. "$LAB_DIR/env"
	cat "$LAB_DIR/tls/chain.pem" "$LAB_DIR/tls/server.key" > "$HOST/tls.pem"
	start_host
}

teardown_file() {
	[ ! -e "$HOST/pid" ] || kill -9 "$(cat "$HOST/pid")" 2>/dev/null || true
	"$ROOT/tests/lab/down"
	umount "$BATS_FILE_TMPDIR/small"
}

setup() {
	. "$LAB_DIR/env"
	. "$ROOT/tests/lab/client.sh"
	behave ""
}

start_host() {
	mkfifo "$HOST/stdin" 2>/dev/null || true
	ip netns exec "$LAB_NS_GATEWAY" python3 "$ROOT/tests/netns/hostile_smtp.py" 127.0.0.1 2600 "$HOST" "$HOST/tls.pem" \
		<> "$HOST/stdin" > "$HOST/out" 2>&1 3>&- &
	echo $! > "$HOST/pid"
	soon 10 grep -q ready "$HOST/out"
}

load wait
soon_failed() {
	ctl queue list || true
	tail -5 "$LAB_DIR/log/msad.log"
}

# behave LINES: from now on; connections from before are closed, so that greeting and ehlo are asked again
behave() {
	printf 'now x1 close\n%b\n' "$1" > "$HOST/behaviour.new"
	: > "$HOST/log"
	mv "$HOST/behaviour.new" "$HOST/behaviour"
	soon 5 grep -q '^now' "$HOST/log"
}
copies() { grep -lE "^Subject: $1.?\$" "$HOST"/mail/*.eml 2>/dev/null | xargs -r grep -L '^Content-Type: multipart/report' | wc -l; }
notices() { grep -lE "^Subject: $1.?\$" "$HOST"/mail/*.eml 2>/dev/null | xargs -r grep -l '^Content-Type: multipart/report' | wc -l; }
# Does not wait for the time of the next try; the tests with one trouble do.
hurried() { queue_empty || { ctl queue retry --all --yes && false; }; }
queue_empty() { [ "$(ctl queue list --json | jq .total)" = 0 ]; }
send() { # SUBJECT RCPT... : one message of user06 through curl
	local subject=$1 args=()
	shift
	for rcpt; do args+=(--mail-rcpt "$rcpt"); done
	printf 'From: user06@isp.example\r\nSubject: %s\r\n\r\nx\r\n' "$subject" | in_sub curl -sS --max-time 20 --cacert "$LAB_CA_FILE" \
		--resolve "$LAB_MSA_HOST:465:$LAB_MSA_IP4" --url "smtps://$LAB_MSA_HOST:465" --user "user06:$(password_of user06)" \
		--mail-from user06@isp.example "${args[@]}" --upload-file -
}
# fate NAME BEHAVIOUR COPIES NOTICES [RCPT...]
fate() {
	local name=$1 copies=$3 notices=$4
	behave "$2"
	shift 4
	send "$name" "${@:-r@far.example}"
	soon 15 "${drained:-queue_empty}"
	[ "$(copies "$name") $(notices "$name")" = "$copies $notices" ] ||
		{ echo "$name: $(copies "$name") copies and $(notices "$name") notices, not $copies and $notices"; return 1; }
}
proc_named() { for p in $(ip netns pids "$LAB_NS_GATEWAY"); do [ "$(cat "/proc/$p/comm" 2>/dev/null)" != "$1" ] || echo "$p"; done; }
running() { [ -n "$(proc_named "$1")" ]; }
gone() { ! kill -0 "$@" 2> /dev/null; } # the last of them, too: kill -0 is content with one

@test "random bodies arrive byte for byte" {
	in_sub python3 "$ROOT/tests/netns/submit.py" roundtrip "$LAB_DIR" "$HOST/mail" 60 1
	in_sub python3 "$ROOT/tests/netns/submit.py" roundtrip "$LAB_DIR" "$HOST/mail" 60 $RANDOM
}

@test "a trouble at any stage: the message arrives later, once, and nobody is bothered" {
	local n=0 drained=hurried
	for stage in greeting ehlo mail rcpt data dot; do
		for action in "reply 421 4.3.2 bye" "reply 451 4.3.0 later" "last 421 4.3.2 bye" close reset; do
			fate "trouble-$((n += 1))" "$stage x1 $action" 1 0 || { echo "at $stage: $action"; return 1; }
		done
	done
	drained=queue_empty
	fate slow "greeting dribble\nehlo dribble\nmail dribble\nrcpt dribble\ndata dribble\ndot dribble" 1 0
	fate greet554 "greeting x1 reply 554 go away" 1 0
	grep -q 'smarthost-down .*why="554 go away"' "$LAB_DIR/log/msad.log"
	grep -q 'deferred .*reply="554 go away"' "$LAB_DIR/log/msad.log"
	fate nonsense "greeting x1 reply 999 hm" 1 0
	fate data250 "data x1 reply 250 what?" 1 0
	fate dot354 "dot x1 reply 354 what?" 1 0
	fate stall "rcpt x1 stall" 1 0
}

@test "a hostile host: replies without end, of the wrong shape, before their time, octet by octet" {
	local n=0
	for stage in greeting ehlo mail rcpt data; do
		for action in endless endless-line trickle 'raw 250-one\\r\\n550 two\\r\\n' 'raw 250\\x00\\x07\\xff\\r\\n' 'raw 25\\r\\n' 'raw 199 x\\r\\n'; do
			drained=hurried fate "hostile-$((n += 1))" "$stage x1 $action" 1 0 || { echo "at $stage: $action"; return 1; }
		done
	done
	fate early-dot "data x1 raw 354 go\\\\r\\\\n250 taken\\\\r\\\\n" 1 0
	fate early-554 "data x1 raw 354 go\\\\r\\\\n554 5.7.1 no\\\\r\\\\n" 0 1
	fate trickled "dot x1 trickle" 1 0
	fate control "dot x1 raw 250 2.0.0 \\\\x00\\\\x1b[2Jtaken\\\\r\\\\n" 0 0
	! grep -qP '[\x00-\x08\x0e-\x1f]' "$LAB_DIR/log/msad.log" || false
}

@test "replies that make no sense where they are, ends at odd moments: delivered when it was taken, once; else later" {
	local n=0 drained=hurried
	for stage in greeting ehlo mail rcpt; do
		fate "go-on-$((n += 1))" "$stage x1 reply 354 go on" 1 0 || { echo "354 at $stage"; return 1; }
	done
	fate "body-cut" "body x1 close" 1 0
	fate "body-cuts" "body x3 close" 1 0
	fate "no-hello" "ehlo x2 reply 550 no" 1 0
	fate "many-words" "ehlo keywords PIPELINING,8BITMIME$(printf ',X-WORD-%s and more' {1..80})" 1 0
	fate "many-lines" "rcpt x1 reply 250 $(printf 'line\\\\n%.0s' {1..60})ok" 1 0
	fate "some-later" "rcpt=b@ x1 reply 452 4.5.3 too many" 2 0 a@far.example b@far.example
	fate "reset-cut" "rcpt x1 reply 450 4.2.0 grey\nrset x1 close" 1 0
	fate "reset-refused" "rcpt x1 reply 450 4.2.0 grey\nrset x1 reply 500 what?" 1 0
	fate "quit-stalls" "quit stall" 1 0
	# Closed, or said to be, with the reply that takes the message: it is theirs.
	fate "taken-and-gone" "dot x1 last 250 2.0.0 taken" 1 0
	fate "next" "" 1 0
	fate "dot-reset" "dot x1 reset" 1 0
	# TLS: what is no TLS, and what came in clear text before it began and must not count.
	fate "tls-garbage" "ehlo keywords PIPELINING,STARTTLS\nstarttls x1 garbage" 1 0
	forget
	fate "tls-injected" "ehlo keywords PIPELINING,STARTTLS\nstarttls x1 raw 220 go on\\\\r\\\\n250-evil\\\\r\\\\n250 REQUIRETLS\\\\r\\\\n" 1 0
	grep -q '"tls": true' "$(grep -l 'Subject: tls-injected' "$HOST"/mail/*.eml | sed 's/eml$/env/')"
	forget
}

@test "a smart host of few words: no EHLO, no PIPELINING, no 8BITMIME" {
	fate helo "ehlo x1 reply 502 no" 1 0
	fate lockstep "ehlo keywords SIZE 1000000\nrcpt=no reply 550 5.1.1 no" 1 1 yes@far.example no@far.example
	behave "ehlo keywords PIPELINING"
	in_sub python3 - "$LAB_DIR" "$ROOT" <<-'P'
	import sys
	sys.argv = ["submit", "none", sys.argv[1]] + sys.argv[2:]
	sys.argv[3:] = ["0", "x", sys.argv[3]]
	exec(open(sys.argv[5] + "/tests/netns/submit.py").read())
	s = Session("user06")
	for subject, body in (("seven", b"ascii"), ("eight", b"\xc3\xa9")):
	    s.s.sendall(b"MAIL FROM:<user06@isp.example> BODY=8BITMIME\r\nRCPT TO:<r@far.example>\r\nDATA\r\n")
	    for code in ("250", "250", "354"):
	        s.expect(code)
	    s.s.sendall(b"From: user06@isp.example\r\nSubject: bits-" + subject.encode() + b"\r\n\r\n" + body + b"\r\n.\r\n")
	    s.expect("250")
	P
	soon 15 queue_empty
	[ "$(copies bits-seven) $(notices bits-seven)" = "1 0" ]
	[ "$(copies bits-eight) $(notices bits-eight)" = "1 0" ]
	grep -l 'bits-eight' "$HOST"/mail/*.eml | xargs grep -q '^=C3=A9'
}

@test "a host of 7 bit: random messages of many parts are what they were when they are decoded; what is signed comes back" {
	behave "ehlo keywords PIPELINING"
	in_sub python3 "$ROOT/tests/netns/submit.py" mime "$LAB_DIR" "$HOST/mail" 40 1
	in_sub python3 "$ROOT/tests/netns/submit.py" mime "$LAB_DIR" "$HOST/mail" 40 $RANDOM
	[ "$(grep -c 'relay converted .*from=8bit' "$LAB_DIR/log/msad.log")" -ge 40 ]
	in_sub python3 - "$LAB_DIR" "$ROOT" <<-'P'
	import sys
	sys.argv = ["submit", "none", sys.argv[1]] + sys.argv[2:]
	sys.argv[3:] = ["0", "x", sys.argv[3]]
	exec(open(sys.argv[5] + "/tests/netns/submit.py").read())
	s = Session("user06")
	s.mail("From: user06@isp.example\r\nSubject: sealed\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n"
	    "--b\r\n\r\ngrün\r\n--b\r\n\r\nsig\r\n--b--\r\n".encode())
	P
	soon 15 queue_empty
	[ "$(copies sealed) $(notices sealed)" = "0 1" ]
	grep -l 'Subject: sealed' "$HOST"/mail/*.eml | xargs grep -q '^Status: 5.6.2'
	# Offered and refused: the same, and it is known for an hour.
	fate_eight() { printf 'From: user06@isp.example\r\nSubject: %s\r\n\r\n\xc3\xa9\r\n' "$1" | in_sub curl -sS --max-time 20 --cacert "$LAB_CA_FILE" \
		--resolve "$LAB_MSA_HOST:465:$LAB_MSA_IP4" --url "smtps://$LAB_MSA_HOST:465" --user "user06:$(password_of user06)" \
		--mail-from user06@isp.example --mail-rcpt r@far.example --upload-file - && soon 15 queue_empty && [ "$(copies "$1") $(notices "$1")" = "1 0" ]; }
	behave "ehlo keywords PIPELINING,8BITMIME,SIZE 1000000\nmail=BODY= reply 555 5.5.4 BODY?"
	fate_eight offered-eight
	grep -q 'relay offer-empty .*offers=.*8BITMIME' "$LAB_DIR/log/msad.log"
	[ "$(said mail)" = 3 ]
	fate_eight known-eight
	[ "$(said mail)" = 4 ]
	forget
}

@test "a refusal at any stage: one notice that programs can read; of the null sender's mail to the postmaster" {
	for stage in mail rcpt data dot; do
		fate "refused-$stage" "$stage x1 reply 550 5.7.1 not\\\\nfrom you" 0 1
	done
	fate mixed "rcpt=bad reply 550 5.1.1 gone\nrcpt=grey x1 reply 450 4.2.0 grey" 2 1 a@far.example bad@far.example grey@far.example
	run python3 - "$(grep -l 'Subject: mixed' "$HOST"/mail/*.eml | xargs grep -l '^Content-Type: multipart/report')" <<-'P'
	import email, email.policy, json, re, sys
	raw = open(sys.argv[1], "rb").read()
	assert not re.search(rb"(?<!\r)\n|\r(?!\n)|[^\x00-\x7f]", raw)
	envelope = json.load(open(sys.argv[1][:-3] + "env"))
	assert envelope["from"].startswith("MAIL FROM:<> ") and envelope["rcpts"] == ["RCPT TO:<user06@isp.example>"], envelope
	m = email.message_from_bytes(raw, policy=email.policy.default)
	assert m.get_content_type() == "multipart/report" and m.get_param("report-type") == "delivery-status"
	assert m["Auto-Submitted"] == "auto-replied" and m["To"].addresses[0].addr_spec == "user06@isp.example"
	text, status, headers = m.iter_parts()
	assert [p.get_content_type() for p in (text, status, headers)] == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
	message, rcpt = status.get_payload()
	assert message["Reporting-MTA"] == "dns; smtp.isp.example" and message["Arrival-Date"]
	rcpt = dict(rcpt.items())
	assert rcpt.pop("Last-Attempt-Date") and re.fullmatch("[0-9a-z]{16}", rcpt.pop("Final-Log-Id"))
	assert rcpt == {"Final-Recipient": "rfc822; bad@far.example", "Action": "failed", "Status": "5.1.1",
	    "Remote-MTA": "dns; [127.0.0.1]", "Diagnostic-Code": "smtp; 550 5.1.1 gone"}, rcpt
	assert "bad@far.example" in text.get_content() and "grey" not in text.get_content()
	assert re.search(r"^X-Sekisho-Trace: [0-9a-f]{24}\r?$", headers.get_content(), re.M)
	assert not any(p.defects for p in m.walk())
	P
	echo "$output"
	[ "$status" = 0 ]
	behave "rcpt x1 reply 550 5.1.1 no"
	printf 'From: user06@isp.example\r\nSubject: nobody\r\n\r\nx\r\n' | in_sub curl -sS --max-time 20 --cacert "$LAB_CA_FILE" \
		--resolve "$LAB_MSA_HOST:465:$LAB_MSA_IP4" --url "smtps://$LAB_MSA_HOST:465" --user "user06:$(password_of user06)" \
		--mail-from '' --mail-rcpt r@far.example --upload-file -
	soon 15 queue_empty
	# There is no sender to tell: the postmaster is.
	[ "$(copies nobody) $(notices nobody)" = "0 1" ]
	grep -lE '^Subject: nobody.?$' "$HOST"/mail/*.eml | xargs grep -qi '^To: <postmaster@'
}

@test "a reply to the final dot that is lost: the message comes again, as SMTP asks" {
	fate lost "dot x1 lost" 2 0
}

# The relay role forgets what it knows of the host.
forget() {
	local pid
	pid=$(proc_named sekisho-relay)
	kill -9 $pid
	soon 5 gone $pid
	soon 5 running sekisho-relay
}
said() { grep -c "^$1 " "$HOST/log" || true; } # STAGE

@test "a host that offers an extension and refuses its words: nothing comes back for it, and it is not tried there again" {
	local offers="ehlo keywords PIPELINING,CHUNKING,DSN,SIZE 1000000,8BITMIME"
	for code in "500 what?" "502 5.5.1 not implemented" "503 out of order" "554 5.5.1 no"; do
		fate "bdat-${code%% *}" "$offers\nbdat reply $code" 1 0
		# What it took for commands of the message was not answered by anything that counts.
		[ "$(said bdat)" = 1 ]
		send again r@far.example
		soon 15 queue_empty
		[ "$(said bdat)" = 1 ]
		forget
	done
	grep -q 'relay offer-empty .*offers=CHUNKING' "$LAB_DIR/log/msad.log"
	fate mail-size "$offers\nmail=SIZE= reply 555 5.5.4 SIZE?" 1 0
	fate mail-dsn "$offers\nmail=SIZE= reply 504 no\nrcpt=NOTIFY reply 501 5.5.4 NOTIFY?" 1 0
	forget
	fate pipelined "$offers\npipelined reply 503 5.5.1 one at a time" 1 0
	grep -q 'relay offer-empty .*offers=PIPELINING' "$LAB_DIR/log/msad.log"
	forget
	fate liar "$offers\npipelined reply 500 what?\nbdat reply 500 what?\nmail=SIZE= reply 501 what?" 1 0
	# It swallows what it does not expect: the next attempt goes step by step.
	forget
	fate swallowed "$offers\npipelined stall" 1 0
	forget
}

@test "TLS when offered; clear text after a failed handshake" {
	fate offered-tls "ehlo keywords PIPELINING,STARTTLS" 1 0
	grep -q '"tls": true' "$(grep -l 'Subject: offered-tls' "$HOST"/mail/*.eml | sed 's/eml$/env/')"
	fate refused-tls "ehlo keywords PIPELINING,STARTTLS\nstarttls reply 454 not now" 1 0
	fate broken-tls "ehlo keywords PIPELINING,STARTTLS\nstarttls x1 last 220 go on" 1 0
	grep -q 'relay tls-failed .*action="clear text for a minute' "$LAB_DIR/log/msad.log"
}

@test "a smart host that stands still: mail is taken meanwhile and arrives once" {
	send before r@far.example
	soon 15 queue_empty
	kill -STOP "$(cat "$HOST/pid")"
	in_sub python3 "$ROOT/tests/netns/submit.py" load "$LAB_DIR" 100 standing > "$HOST/acked"
	[ "$(wc -l < "$HOST/acked")" = 100 ]
	ctl queue list > /dev/null
	kill -CONT "$(cat "$HOST/pid")"
	soon 30 queue_empty
	once standing
}

# once TAG: every message in acked is there, none twice
once() {
	grep -hoE "^Subject: $1-[0-9]+-end" "$HOST"/mail/*.eml | sed 's/Subject: //' | sort > "$HOST/arrived"
	[ -z "$(sort "$HOST/acked" | comm -23 - <(uniq "$HOST/arrived"))" ] || { echo "lost: $(sort "$HOST/acked" | comm -23 - <(uniq "$HOST/arrived"))"; return 1; }
	[ -z "$(uniq -d "$HOST/arrived")" ] || { echo "twice: $(uniq -d "$HOST/arrived")"; return 1; }
}
acked_at_least() { [ "$(wc -l < "$HOST/acked")" -ge "$1" ]; }

# What has the name may be about to become a role: then there is nothing to kill yet.
kill_msad() {
	local pids
	pids=$(proc_named sekisho-msad)
	[ -n "$pids" ] && kill -9 $pids
}

@test "kill -9 of every sekisho-msad in a load, five times: every 250 arrives, once" {
	behave "dot slow 0.005"
	in_sub python3 "$ROOT/tests/netns/submit.py" load "$LAB_DIR" 1500 killed > "$HOST/acked" 3>&- &
	load=$!
	for at in 100 300 500 700 900; do
		soon 30 acked_at_least $at
		soon 5 kill_msad
	done
	wait "$load"
	soon 60 queue_empty
	once killed
}

@test "kill -9 of everything msad runs: nothing is lost; what comes twice had its reply in flight" {
	behave "dot slow 0.005"
	in_sub python3 "$ROOT/tests/netns/submit.py" load "$LAB_DIR" 800 wiped > "$HOST/acked" 3>&- &
	load=$!
	for at in 100 300 500; do
		soon 30 acked_at_least $at
		soon 10 running sekisho-msad
		soon 10 running sekisho-relay
		victims=$(proc_named sekisho-msad; proc_named sekisho-relay; proc_named sekisho-auth)
		kill -9 $victims
		soon 10 gone $victims
	done
	wait "$load"
	soon 60 queue_empty
	once wiped > "$HOST/twice" || ! grep -q lost "$HOST/twice"
	# At most what the relay has on its way, at each kill.
	[ "$(uniq -d "$HOST/arrived" | wc -l)" -le $((3 * 20)) ]
}

@test "the disk is full: 452, what was taken leaves all the same, and mail is taken again" {
	# One at a time: this host needs more than relay_timeout for many large messages at once.
	echo 'msa { destination_connections = 1 }' >> "$LAB_DIR/extra.conf"
	kill -HUP $(proc_named sekisho-msad)
	soon 5 grep -q 'msad reloaded' "$LAB_DIR/log/msad.log"
	behave "greeting reply 451 later"
	dd if=/dev/zero of="$BATS_FILE_TMPDIR/small/eaten" bs=1M 2> /dev/null || true
	soon 5 refuses
	[[ $(send full r@far.example 2>&1 || true) == *"452"* ]]
	rm "$BATS_FILE_TMPDIR/small/eaten"
	soon 5 send roomy r@far.example
	yes "$(printf '%076d\r' 0)" | head -n 128000 > "$HOST/large"
	n=0
	while { printf 'From: user06@isp.example\r\nSubject: large-%s-end\r\n\r\n' $n; cat "$HOST/large"; } | in_sub curl -sS --max-time 20 --cacert \
		"$LAB_CA_FILE" --resolve "$LAB_MSA_HOST:465:$LAB_MSA_IP4" --url "smtps://$LAB_MSA_HOST:465" --user "user06:$(password_of user06)" \
		--mail-from user06@isp.example --mail-rcpt r@far.example --upload-file - 2> /dev/null; do
		echo "large-$n-end"
		[ $((n += 1)) -lt 20 ]
	done > "$HOST/acked"
	[ $n -lt 20 ]
	acked_at_least 1
	dd if=/dev/zero of="$BATS_FILE_TMPDIR/small/eaten" bs=64k 2> /dev/null || true
	behave ""
	soon 60 queue_empty
	once large
	rm "$BATS_FILE_TMPDIR/small/eaten"
	soon 5 send again r@far.example
}
refuses() { ! send probe r@far.example; }
