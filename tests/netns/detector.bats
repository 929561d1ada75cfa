#!/usr/bin/env bats
# The detector of stolen accounts in a whole lab: real logins, real packets, real deliveries.

load lab

setup_file() {
	# Without a time of learning: what an account does first is its habit.
	lab_up <<'C'
detector {
	learn = 0s
	throttle_delay = 1s
	throttle_recipients = 0
}
accounting {
	reflex_exemption = suspend
}
account-class slow {
	members = {"user08@isp.example"}
	watch = 5
	throttle = 10
	hold = 1000000
	suspend = 1000000
	throttle_delay = 5000
}
C
}

shown() { ctl limit show "$1@isp.example" --json | jq -e "$2"; } # USER FILTER
stage_is() { shown "$1" ".stage == \"$2\""; }
held() { ctl queue list --account "$1@isp.example" --json | jq -e '.total > 0'; }
# words_of USER: a text that nobody else writes
words_of() { for i in $(seq 40); do md5sum <<< "$1 $i" | cut -c 1-6; done | tr '\n' ' '; }
# send WHERE USER EHLO RCPT: one message, of the text BODY
send() {
	local where=$1 user=$2 ehlo=$3 rcpt=$4
	"$where" swaks --server "$LAB_MSA_IP4" --port 465 --tls-on-connect --tls-sni "$LAB_MSA_HOST" --tls-ca-path "$LAB_CA_FILE" \
		--tls-verify --ehlo "$ehlo" --auth PLAIN --auth-user "$user" --auth-password "$(password_of "$user")" \
		--from "$(address_of "$user")" --to "$rcpt" --header "Subject: $ehlo" --body "${BODY:-This is a test mailing}" --hide-all --silent 2
}
live() { # USER: a habit: a few friends, from the own line
	local i
	for i in 1 2 3; do send in_sub "$1" "$1-laptop.lan" "friend$i@example.net"; done
}
# blast USER: a thief from elsewhere, one stranger a message; prints how many went out before the hold
blast() {
	local i
	for i in $(seq 30); do
		send in_net "$1" "win-7c2f" "stranger$i-$1@example.net" > /dev/null || return 1
		! stage_is "$1" hold > /dev/null || { echo $((i - 1)); return 0; }
	done
	echo 30
}

@test "a stolen account is on hold within twenty recipients, its own mail to friends was not touched" {
	live user01
	stage_is user01 normal
	out=$(blast user01)
	echo "out: $out"
	[ "$out" -le 20 ]
	held user01
	soon 10 sh -c "'$LAB_CTL' incident list --state contained --json | jq -e '.[] | select(.subject == \"user01@isp.example\")'"
	ctl limit show user01@isp.example
	ctl limit show user01@isp.example | grep -q 'first contacts from a client that is not'
}

@test "the incident tells the score, its reasons, and how it came to that" {
	id=$(ctl incident list --json | jq -r '.[] | select(.subject == "user01@isp.example") | .id' | head -1)
	ctl incident show "$id"
	ctl incident show "$id" --json | jq -e '.detector == "detector" and (.why | test("^score [0-9]+, held from 100; new_client: "))'
	ctl incident show "$id" --json | jq -e '[.timeline[].what] | index("throttle") and index("contained")'
}

@test "somebody who writes to as many strangers from his own line is not held" {
	live user02
	for i in $(seq 15); do send in_sub user02 user02-laptop.lan "guest$i@example.net"; done
	run stage_is user02 hold
	[ "$status" != 0 ]
}

@test "a restart forgets nothing: the hold, the score, the habit" {
	before=$(shown user01 .score.score)
	pid=$(cat "$LAB_DIR/run/ratelimitd.pid")
	kill "$pid"
	soon 10 sh -c "! kill -0 $pid"
	soon 15 shown user01 ".stage == \"hold\" and .score.score >= $before - 2"
	[ -s "$LAB_DIR/state/ratelimit/detector" ]
}

@test "a release lets the mail go; it is remembered" {
	# The daemons come back to the restarted one by themselves, within moments.
	soon 10 ctl incident release user01@isp.example --reason "new password"
	soon 10 stage_is user01 normal
	shown user01 '.score.score == 0'
	soon 20 sh -c "! '$LAB_CTL' queue list --account user01@isp.example --json | jq -e '.total > 0'"
	send in_sub user01 user01-laptop.lan friend1@example.net
	stage_is user01 normal
}

@test "blocked packets of a line raise the score of the account that is used from it" {
	live user03
	before=$(shown user03 .score.score)
	for i in $(seq 40); do
		in_sub timeout 1 bash -c "exec 3<>/dev/tcp/198.51.100.$((i + 30))/25" 2> /dev/null || true
	done
	soon 20 ip netns exec "$LAB_NS_GATEWAY" sh -c "curl -s http://127.0.0.1:9427/metrics | grep 'what=\"syn25\"' | grep -qv ' 0$'"
	# The refused packets are counted in the kernel, and read back by and by.
	knocked() { send in_sub user03 user03-laptop.lan friend1@example.net; shown user03 '[.score.why[] | test("^syn: ")] | any'; }
	soon 30 knocked
	shown user03 ".score.score >= $before + 10 and ([.score.why[] | test(\"^syn: \")] | any)"
}

@test "what mail servers answer is observed" {
	ip netns exec "$LAB_NS_GATEWAY" curl -s http://127.0.0.1:9427/metrics | grep 'what="result"'
	ip netns exec "$LAB_NS_GATEWAY" curl -s http://127.0.0.1:9427/metrics | grep 'what="result"' | grep -qv ' 0$'
}

@test "a complaint raises the score" {
	soon 20 sh -c "grep -lr --include=*.eml 'user02-laptop' '$LAB_INTERNET_MAIL'"
	before=$(shown user02 .score.score)
	arf_of "$(received user02-laptop | head -1)" > "$BATS_TEST_TMPDIR/arf.eml"
	ctl report import "$BATS_TEST_TMPDIR/arf.eml"
	soon 10 shown user02 ".score.score > $before and ([.score.why[] | test(\"abuse report\")] | any)"
}

@test "a complaint in which only the tag of the envelope sender is left leads to the account" {
	tagged=$(sed -n 's/^X-Envelope-From: *<\?\([^>]*\).*/\1/p' "$(received user02-laptop | head -1)" | head -1)
	[[ $tagged == prvs=*=user02@isp.example ]]
	# As large providers send them: whom it was for, the header and the body are blacked out.
	cat > "$BATS_TEST_TMPDIR/tag.eml" <<-C
	From: feedback@example.net
	MIME-Version: 1.0
	Content-Type: multipart/report; report-type=feedback-report; boundary=b

	--b
	Content-Type: message/feedback-report

	Feedback-Type: abuse
	Version: 0.1
	Original-Rcpt-To: redacted@example.net

	--b
	Content-Type: message/rfc822

	Return-Path: <$tagged>
	To: [REDACTED]
	Subject: [REDACTED]

	--b--
	C
	ctl report import "$BATS_TEST_TMPDIR/tag.eml" --json | jq -e '.match == "tag" and .account == "user02@isp.example" and .incident > 0'
	# A tag that nobody here made leads to nobody.
	sed "s/prvs=..../prvs=1999/" "$BATS_TEST_TMPDIR/tag.eml" > "$BATS_TEST_TMPDIR/forged.eml"
	ctl report import "$BATS_TEST_TMPDIR/forged.eml" --json | jq -e '.match == "none" and .account == null'
	# The same of XARF.
	cat > "$BATS_TEST_TMPDIR/xarf.eml" <<-C
	From: reports@example.net
	MIME-Version: 1.0
	Content-Type: application/json; name=xarf.json

	{"Version":"3","Report":{"ReportType":"Spam","Date":"$(date -u +%FT%TZ)","SourceIp":"203.0.113.25","SmtpMailFromAddress":"$tagged"}}
	C
	id=$(ctl report import "$BATS_TEST_TMPDIR/xarf.eml" --json | jq -e 'select(.match == "tag" and .account == "user02@isp.example") | .id')
	ctl report show "$id" --json | jq -e '.format == "xarf" and .feedback_type == "spam" and .source_ip == "203.0.113.25"'
}

@test "blocked packets of an IPv6 line raise the score of the account used from another address of its prefix, before any spam" {
	in_sub ip addr add 2001:db8:1::77/64 dev eth0 nodad
	log_in6() { # USER: one message to a friend, from the line's first address
		in_sub python3 - "$1" "$(password_of "$1")" "$LAB_DYNAMIC_IP6" <<-'EOT'
		import smtplib, ssl, sys
		user, password, source = sys.argv[1:]
		context = ssl.create_default_context()
		context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
		s = smtplib.SMTP_SSL("2001:db8:25::25", 465, local_hostname=user + "-laptop.lan", context=context, source_address=(source, 0))
		s.login(user, password)
		s.sendmail(user + "@isp.example", ["friend1@example.net"], "Subject: hello\r\n\r\nto a friend\r\n")
		EOT
	}
	log_in6 user15
	before=$(shown user15 .score.score)
	for i in $(seq 40); do
		in_sub nc -z -w 1 -s 2001:db8:1::77 "2001:db8:ffff::$i" 25 2> /dev/null || true
	done
	knocked6() { log_in6 user15; shown user15 '[.score.why[] | test("^syn: ")] | any'; }
	soon 40 knocked6
	shown user15 ".score.score >= $before + 10"
	# Nobody else is blamed: this one is on another line.
	in_fix python3 - user16 "$(password_of user16)" <<-'EOT'
	import smtplib, ssl, sys
	user, password = sys.argv[1:]
	context = ssl.create_default_context()
	context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
	s = smtplib.SMTP_SSL("2001:db8:25::25", 465, local_hostname=user + "-laptop.lan", context=context)
	s.login(user, password)
	s.sendmail(user + "@isp.example", ["friend1@example.net"], "Subject: hello\r\n\r\nto a friend\r\n")
	EOT
	run shown user16 '[.score.why[] | test("^syn: ")] | any'
	[ "$status" != 0 ]
}

@test "a false positive teaches: the same client may go on" {
	live user04
	out=$(blast user04)
	[ "$out" -le 20 ]
	ctl incident release user04@isp.example --false-positive --reason "his new laptop"
	soon 10 stage_is user04 normal
	run blast user04
	echo "second time: $output, first time: $out"
	[ "$output" -gt "$out" ]
}

# --- between the layers ------------------------------------------------------------------------------------

fixed_25() { in_fix nc -z -w 10 -s "$LAB_FIXED_IP4" "$LAB_INTERNET_IP4" 25; }
shut_25() { ! fixed_25; }
line_is() { ctl exempt list --all --json | jq -e --arg p "$LAB_FIXED_IP4" ".[] | select(.prefix | startswith(\$p)) | $1"; } # FILTER

@test "mail that is held came from an exempt line: the line may not use port 25 until the release as a false positive" {
	ctl exempt add "$LAB_FIXED_IP4" --contract K-7 --json | jq -e '.in_force == true'
	fixed_25
	BODY=$(words_of user05) live user05
	for i in $(seq 30); do
		! stage_is user05 hold > /dev/null || break
		send in_fix user05 win-fixed "stranger$i-user05@example.net"
	done
	stage_is user05 hold
	soon 10 line_is '.state == "suspended" and .suspended_by == "reflex"'
	soon 5 shut_25
	id=$(ctl incident list --json | jq -r '.[] | select(.subject == "user05@isp.example") | .id' | head -1)
	ctl incident show "$id" --json | jq -e "[.timeline[] | select(.actor == \"reflex\" and (.text | test(\"exempt resume $LAB_FIXED_IP4\")))] | length == 1"
	ctl audit list --json | jq -e "[.[] | select(.actor == \"reflex\" and .action == \"exempt.suspend\" and (.reason | test(\"^incident $id: \")))] | length == 1"
	ctl incident release user05@isp.example --false-positive --reason "the customer's own mailing"
	soon 10 line_is '.state == "active"'
	soon 5 fixed_25
}

@test "a line's exemption is suspended for abuse: accounts used from it are watched until it is resumed" {
	BODY=$(words_of user06) send in_fix user06 user06-laptop.lan friend1@example.net
	BODY=$(words_of user07) send in_sub user07 user07-laptop.lan friend1@example.net
	# Their logins have reached the accounting.
	soon 10 sh -c "'$LAB_CTL' account logins user06@isp.example --json | jq -e 'length > 0'"
	ctl exempt suspend "$LAB_FIXED_IP4" --abuse --reason "spam from its server" --json | jq -e '.accounts >= 1'
	soon 5 shut_25
	soon 10 shown user06 '.stage == "watch" and .rule == "exemption"'
	ctl incident list --json | jq -e '.[] | select(.subject == "user06@isp.example" and .detector == "exemption")'
	run shown user07 '.rule == "exemption"'
	[ "$status" != 0 ]
	ctl exempt resume "$LAB_FIXED_IP4"
	soon 5 fixed_25
	soon 10 stage_is user06 normal
}

@test "who is slowed down waits for each reply, and nobody waits with him" {
	export BODY
	BODY=$(words_of user08)
	live user08
	# A bulk to strangers; its class is slowed down early, and never held.
	for i in $(seq 40); do
		! stage_is user08 throttle > /dev/null || break
		send in_sub user08 user08-laptop.lan "guest$i@example.net"
	done
	stage_is user08 throttle
	# Both messages are on their way, his first: the other's reply comes before his.
	run in_sub python3 - "$LAB_MSA_IP4" user08 "$(password_of user08)" user09 "$(password_of user09)" <<-'EOT'
	import smtplib, ssl, sys
	host, slow, slow_password, other, other_password = sys.argv[1:]
	context = ssl.create_default_context()
	context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
	def ready(user, password):
	    s = smtplib.SMTP_SSL(host, 465, local_hostname=user + "-laptop.lan", context=context)
	    s.login(user, password)
	    s.mail(user + "@isp.example")
	    s.rcpt("friend1@example.net")
	    assert s.docmd("DATA")[0] == 354
	    return s
	a, b = ready(slow, slow_password), ready(other, other_password)
	for s in a, b:
	    s.send(b"Subject: one of two\r\n\r\ntext\r\n.\r\n")
	other_code = b.getreply()[0]
	a.sock.settimeout(0.01)
	try:
	    early = a.sock.recv(1)
	except (TimeoutError, ssl.SSLWantReadError):
	    early = b""
	a.sock.settimeout(30)
	print(other_code, "early" if early else "later", a.getreply()[0] if not early else "")
	EOT
	echo "$output"
	[ "$output" = "250 later 250" ]
}

# --- what each kind of evidence says -------------------------------------------------------------------------

says() { shown "$1" "[.score.why[] | test(\"$2\")] | any"; } # USER REGEX

@test "passwords were tried on several accounts before this client came in: in words, with the points" {
	BODY=$(words_of user10) live user10
	for n in 11 12 13; do
		run in_net swaks --server "$LAB_MSA_IP4" --port 465 --tls-on-connect --ehlo win-7c2f --auth PLAIN --auth-user "user$n" \
			--auth-password wrong --quit-after AUTH --hide-all --silent 2
		[ "$status" != 0 ]
	done
	BODY=$(words_of user10-thief) send in_net user10 win-7c2f stranger-user10@example.net
	says user10 '^passwords: [0-9]+ wrong passwords or accounts tried before \\(\\+[0-9]+\\)$'
}

@test "a TLS client never seen for the account says so, and is far from doing anything by itself" {
	BODY=$(words_of user14) live user14
	in_sub python3 - "$LAB_MSA_IP4" user14 "$(password_of user14)" <<-'EOT'
	import smtplib, ssl, sys
	host, user, password = sys.argv[1:]
	context = ssl.create_default_context()
	context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
	context.maximum_version = ssl.TLSVersion.TLSv1_2
	s = smtplib.SMTP_SSL(host, 465, local_hostname=user + "-laptop.lan", context=context)
	s.login(user, password)
	s.sendmail(user + "@isp.example", ["new-" + user + "@example.net"], "Subject: hello\r\n\r\nfrom a new program\r\n")
	EOT
	says user14 '^tls: a TLS client never seen for this account \\(1 today\\) \\(\\+5\\)$'
	stage_is user14 normal
	# The login is known by the name of its TLS.
	soon 10 sh -c "'$LAB_CTL' account logins user14@isp.example --json | jq -e '[.[].tls | test(\"^1[23]-[0-9]{2}-[0-9]{2}-\")] | any'"
}

@test "an account that was held says in its incident what was seen, by how much, and what clears it" {
	id=$(ctl incident list --json | jq -r '.[] | select(.subject == "user04@isp.example") | .id' | head -1)
	ctl incident show "$id" --json | jq -e '.why | test("^score [0-9]+, (held|slowed down) from [0-9]+; [a-z_]+: .* \\(\\+[0-9]+\\)")'
	blast user04 > /dev/null
	shown user04 '.score.clears | length > 0'
}
