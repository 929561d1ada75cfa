#!/usr/bin/env bats
# Extensions of SMTP from a client's MAIL to the smart host's, and back as a notice: DSN, SMTPUTF8, CHUNKING and BINARYMIME,
# REQUIRETLS; and clients that are slow, early, or full of errors.
#
#   client (msmtp, curl, smtplib, raw TLS)  --587/465-->  sekisho-msad  --2525-->  hostile_smtp.py, told what to offer
#
# All of it on the loopback of one network namespace.

load submission

setup_file() {
	export NS=sekisho-ext-$$
	submission_up
	certificate_of smtp.isp.example
	users 01 02
	cat "$DIR/tls/cert.pem" "$DIR/tls/key.pem" > "$DIR/tls/both.pem"
	mkdir -p "$DIR/host/mail"
	mkfifo "$DIR/host/stdin"
	ip netns exec "$NS" python3 "$BATS_TEST_DIRNAME/hostile_smtp.py" 127.0.0.1 2525 "$DIR/host" "$DIR/tls/both.pem" \
		<> "$DIR/host/stdin" > "$DIR/host/out" 2>&1 3>&- &
	echo $! > "$DIR/host.pid"
	wait_until grep -q ready "$DIR/host/out"
	base ""
	start_msad
}

teardown_file() { submission_down; }

setup() { behave ""; }

base() { # KEYS that override
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	smarthost_ca = \"$DIR/tls/cert.pem\"
	max_message_of = {\"user02@isp.example 2M\"}
	batv = false" "$1"
}

restart_msad() { # KEYS
	stop_msad
	base "$1"
	start_msad
}

closings() { grep -c '^now' "$DIR/host/log" || true; }
closed_since() { [ "$(closings)" -gt "$1" ]; }
behave() { # LINES: what the smart host does from now on; connections that are open learn nothing new, so they are closed
	local before
	before=$(closings)
	printf 'now x1 close\n%s\n' "$1" > "$DIR/host/behaviour.new"
	mv "$DIR/host/behaviour.new" "$DIR/host/behaviour"
	wait_until closed_since "$before"
}
offer() { behave "ehlo keywords $1"; }

delivered() { grep -rlaF --include='*.eml' -- "$1" "$DIR/host/mail" > "$DIR/found"; }
arrived() { # TEXT: the file's name without its end
	wait_until delivered "$1"
	head -1 "$DIR/found" | sed 's/\.eml$//'
}
env_of() { python3 -c 'import json,sys; e=json.load(open(sys.argv[1]+".env")); print(e["from"], *e["rcpts"], sep="\n")' "$1"; }

# Lines on standard input to a TLS session on 465, in one write, byte for byte; the answers are printed.
raw() { in_ns python3 "$BATS_TEST_DIRNAME/raw_smtp.py" 127.0.0.1 465 smtp.isp.example "$DIR/tls/cert.pem" "${1:-user01}" "${2:-secret01}"; }

msmtp_dsn() { # OPTIONS
	in_ns msmtp --host 127.0.0.1 --port 465 --tls=on --tls-starttls=off --tls-trust-file="$DIR/tls/cert.pem" --auth=plain --user=user01 \
		--passwordeval='echo secret01' -f user01@isp.example "$@"
}

@test "EHLO offers all of it, STARTTLS and REQUIRETLS in their turn, and the account's own size" {
	run in_ns bash -c "printf 'EHLO me\r\nQUIT\r\n' | timeout 30 socat -t20 - TCP:127.0.0.1:587"
	for word in PIPELINING 'SIZE 26214400' 8BITMIME BINARYMIME CHUNKING SMTPUTF8 DSN 'LIMITS RCPTMAX=100' STARTTLS; do
		[[ $output == *"250-$word"$'\r\n'* ]]
	done
	[[ $output != *REQUIRETLS* ]]
	run raw user02 secret02 <<< $'EHLO me\r\nQUIT\r'
	[[ $output == *"250-REQUIRETLS"* ]]
	[[ $output == *"250-SIZE 26214400"*"235 2.7.0"*"250-SIZE 2097152"* ]]
}

@test "DSN: what msmtp asks for is passed on to a host that knows it" {
	offer "PIPELINING,8BITMIME,DSN"
	printf 'From: user01@isp.example\nSubject: dsn-%s\n\nx\n' $$ | msmtp_dsn --dsn-notify=success,failure --dsn-return=headers r@far.example
	f=$(arrived "dsn-$$")
	env_of "$f" | grep -q '^MAIL FROM:<user01@isp.example> .*RET=HDRS'
	env_of "$f" | grep -q '^RCPT TO:<r@far.example> NOTIFY=SUCCESS,FAILURE'
	wait_until logged "delivered.*status=2.0.0"
	! delivered "was handed on" || false
}

@test "DSN: of a success at a host that does not know it the sender is told, with envelope id and original recipient" {
	offer "PIPELINING,8BITMIME"
	run raw < <(printf 'MAIL FROM:<user01@isp.example> RET=HDRS ENVID=QQ+2B%s\r\nRCPT TO:<r@far.example> NOTIFY=SUCCESS ORCPT=rfc822;Orig+2B@far.example\r\nDATA\r\nSubject: relayed-%s\r\n\r\nx\r\n.\r\nQUIT\r\n' $$ $$)
	[[ $output == *"250 2.0.0 Ok: queued as "* ]]
	f=$(arrived "Original-Envelope-Id: QQ+$$")
	grep -q '^Original-Recipient: rfc822;Orig+@far.example' "$f.eml"
	grep -q '^Action: relayed' "$f.eml"
	env_of "$f" | grep -q '^MAIL FROM:<>'
	env_of "$f" | grep -q '^RCPT TO:<user01@isp.example>'
}

@test "DSN: NOTIFY=NEVER is told nothing; without it the failure comes back, in full when asked" {
	offer "PIPELINING,8BITMIME"
	printf 'rcpt=gone reply 550 5.1.1 no such user\n' >> "$DIR/host/behaviour"
	run raw < <(printf 'MAIL FROM:<user01@isp.example>\r\nRCPT TO:<gone1@far.example> NOTIFY=NEVER\r\nDATA\r\nSubject: never-%s\r\n\r\nx\r\n.\r\n' $$
		printf 'MAIL FROM:<user01@isp.example> RET=FULL\r\nRCPT TO:<gone2@far.example>\r\nDATA\r\nSubject: full-%s\r\n\r\nthe whole text %s\r\n.\r\nQUIT\r\n' $$ $$)
	f=$(arrived "the whole text $$")
	grep -q '^Content-Type: message/rfc822' "$f.eml"
	grep -q '^Action: failed' "$f.eml"
	[ "$(grep -c 'bounced recipient=0 status=5.1.1' "$DIR/msad.log")" = 2 ]
	! delivered "gone1@far.example" || false
}

@test "SMTPUTF8: curl to an internationalised address, on to a host that has it" {
	offer "PIPELINING,8BITMIME,SMTPUTF8"
	printf 'From: user01@isp.example\r\nSubject: grüße-%s\r\n\r\nx\r\n' $$ > "$DIR/utf8.eml"
	in_ns curl -sS --cacert "$DIR/tls/cert.pem" --url smtps://127.0.0.1:465 --user user01:secret01 --mail-from user01@isp.example \
		--mail-rcpt 'jörg@bücher.example' --upload-file "$DIR/utf8.eml"
	f=$(arrived "grüße-$$")
	env_of "$f" | grep -q '^MAIL FROM:.* SMTPUTF8'
	python3 -c 'import json,sys; sys.exit("RCPT TO:<jörg@xn--bcher-kva.example>".encode().decode("latin-1") not in json.load(open(sys.argv[1]+".env"))["rcpts"])' "$f"
	grep -q '	by smtp.isp.example (Sekisho) with UTF8SMTPSA id' "$f.eml"
}

@test "SMTPUTF8: a host without it gets what it can have, the rest comes back with 5.6.7 and 5.6.9" {
	offer "PIPELINING,8BITMIME"
	run in_ns python3 - "$DIR/tls/cert.pem" $$ <<-'END'
	import smtplib, ssl, sys
	s = smtplib.SMTP_SSL("127.0.0.1", 465, context=ssl.create_default_context(cafile=sys.argv[1]))
	s.login("user01", "secret01")
	text = f"From: user01@isp.example\r\nSubject: split-{sys.argv[2]}\r\n\r\nx\r\n"
	s.sendmail("user01@isp.example", ["jörg@far.example", "plain@far.example"], text, mail_options=["SMTPUTF8"])
	s.sendmail("user01@isp.example", ["other@far.example"], f"Subject: grüße-back-{sys.argv[2]}\r\n\r\nx\r\n".encode(), mail_options=["SMTPUTF8", "BODY=8BITMIME"])
	s.quit()
	END
	[ "$status" = 0 ]
	f=$(arrived "Subject: split-$$")
	wait_until delivered 'Final-Recipient: utf-8; j\x{F6}rg@far.example'
	wait_until delivered 'Status: 5.6.9'
	delivered 'Status: 5.6.7'
	[ "$(grep -c 'delivered recipient=1' "$DIR/msad.log")" = 1 ]
}

@test "non-ASCII without SMTPUTF8: the address gets 553 5.6.7, the header 550 5.6.9, Latin-1 always" {
	run raw < <(printf 'MAIL FROM:<user01@isp.example>\r\nRCPT TO:<j\xc3\xb6rg@far.example>\r\nRCPT TO:<r@far.example>\r\nDATA\r\nSubject: \xc3\xb6\r\n\r\nx\r\n.\r\n'
		printf 'MAIL FROM:<user01@isp.example> SMTPUTF8\r\nRCPT TO:<j\xf6rg@far.example>\r\nRCPT TO:<r@far.example>\r\nDATA\r\nSubject: \xf6\r\n\r\nx\r\n.\r\nQUIT\r\n')
	[ "$(grep -c '^553 5.6.7 ' <<< "$output")" = 2 ]
	[ "$(grep -c '^550 5.6.9 ' <<< "$output")" = 1 ]
	[ "$(grep -c '^550 5.6.0 ' <<< "$output")" = 1 ]
	[[ $output == *"221 2.0.0"* ]]
}

@test "BDAT and DATA bring the same message" {
	body=$'.\r\n..two\r\n\r\n.\r\ngr\xc3\xbc\xc3\x9fe\r\n'
	head=$'From: user01@isp.example\r\nMessage-ID: <same@x>\r\nDate: today\r\nSubject: same-'$$$'\r\n\r\n'
	size() { printf '%s' "$1" | wc -c; }
	run raw < <(printf 'MAIL FROM:<user01@isp.example> BODY=8BITMIME\r\nRCPT TO:<r@far.example>\r\nDATA\r\n%s' "$head"
		printf '%s' "$body" | sed 's/^\./../'
		printf '.\r\nMAIL FROM:<user01@isp.example> BODY=8BITMIME\r\nRCPT TO:<r@far.example>\r\nBDAT %s\r\n%sBDAT %s\r\n%sBDAT 0 LAST\r\nQUIT\r\n' \
			"$(LC_ALL=C size "$head")" "$head" "$(size "$body")" "$body")
	[ "$(grep -c '^250 2.0.0 Ok: queued as ' <<< "$output")" = 2 ]
	two() { [ "$(grep -rlaF --include='*.eml' "Subject: same-$$" "$DIR/host/mail" | wc -l)" = 2 ]; }
	wait_until two
	[ "$(grep -rlaF --include='*.eml' "Subject: same-$$" "$DIR/host/mail" | while read -r f; do sed '1,/^X-Sekisho-Trace/d' "$f" | sha256sum; done | sort -u | wc -l)" = 1 ]
}

@test "BINARYMIME: octet by octet to a host that has it, in base64 to one that has not" {
	offer "PIPELINING,8BITMIME,CHUNKING,BINARYMIME"
	binary() { # TAG
		printf 'Subject: %s\r\n\r\n' "$1" > "$DIR/binary"
		printf '\0\1\r\r\n\n.\n\377.\r\nMAIL FROM:<x@y>\r\n\r\n.\r\n\r' >> "$DIR/binary"
		printf 'MAIL FROM:<user01@isp.example> BODY=BINARYMIME\r\nRCPT TO:<r@far.example>\r\nBDAT %s LAST\r\n' "$(wc -c < "$DIR/binary")"
		cat "$DIR/binary"
		printf 'QUIT\r\n'
	}
	run raw < <(binary "binary-$$")
	[[ $output == *"250 2.0.0 Ok: queued as "*"221 2.0.0"* ]]
	f=$(arrived "binary-$$")
	env_of "$f" | grep -q '^MAIL FROM:.* BODY=BINARYMIME'
	tail -c "$(sed '1,/^\r$/d' "$DIR/binary" | wc -c)" "$f.eml" | cmp - <(sed '1,/^\r$/d' "$DIR/binary")
	offer "PIPELINING,8BITMIME,CHUNKING"
	raw < <(binary "encoded-$$")
	f=$(arrived "encoded-$$")
	not grep -q BODY= <<< "$(env_of "$f")"
	grep -q '^Content-Transfer-Encoding: base64.$' "$f.eml"
	sed '1,/^\r$/d' "$f.eml" | base64 -di | cmp - <(sed '1,/^\r$/d' "$DIR/binary")
}

@test "REQUIRETLS: through TLS with a proven certificate to a host that promises it, back with 5.7.30 or 5.7.10 else" {
	required() { printf 'MAIL FROM:<user01@isp.example> REQUIRETLS RET=FULL\r\nRCPT TO:<r@far.example>\r\nDATA\r\nMessage-ID: <%s@x>\r\nSubject: secret\r\n\r\nx\r\n.\r\nQUIT\r\n' "$1" | raw; }
	offer "PIPELINING,8BITMIME,STARTTLS,REQUIRETLS"
	required "kept-$$"
	f=$(arrived "kept-$$")
	env_of "$f" | grep -q '^MAIL FROM:.* REQUIRETLS'
	grep -q '"tls": true' "$f.env"
	offer "PIPELINING,8BITMIME,STARTTLS"
	required "nopromise-$$"
	f=$(arrived "nopromise-$$")
	grep -q '^Status: 5.7.30' "$f.eml"
	! grep -q 'Subject: secret' "$f.eml" || false
	offer "PIPELINING,8BITMIME"
	required "notls-$$"
	f=$(arrived "notls-$$")
	grep -q '^Status: 5.7.10' "$f.eml"
	offer "PIPELINING,8BITMIME,STARTTLS,REQUIRETLS"
	restart_msad 'smarthost_name = "other.example"'
	required "notproven-$$"
	f=$(arrived "notproven-$$")
	grep -q '^Status: 5.7.10' "$f.eml"
	restart_msad ""
}

@test "whatever follows a BDAT that is refused is no command" {
	before=$(grep -c 'smtp accepted' "$DIR/msad.log") || true
	evil=$'MAIL FROM:<user01@isp.example>\r\nRCPT TO:<victim@far.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n'
	n=${#evil}
	for first in "BDAT $n LAST" "MAIL FROM:<user01@isp.example>\r\nBDAT $n LAST" "MAIL FROM:<user01@isp.example> SIZE=1\r\nRCPT TO:<nobody>\r\nBDAT $n" \
		"MAIL FROM:<user01@isp.example>\r\nRCPT TO:<r@far.example>\r\nBDAT 3\r\na\nbBDAT $n LAST"; do
		run raw < <(printf "$first"'\r\n%sNOOP\r\nQUIT\r\n' "$evil")
		[[ $output == *"221 2.0.0"* ]]
		[[ $output != *"354 "* ]]
		[[ $output != *"queued as"* ]]
	done
	for first in "BDAT -5" "BDAT 0x10 LAST" "BDAT 99999999999999999999" "BDAT" "BDAT 999999999999 LAST" "BDAT 5 LAST LAST"; do
		run raw < <(printf '%s\r\n%sQUIT\r\n' "$first" "$evil")
		[[ $output != *"221 "* ]]
		[[ $output != *"354 "* ]]
	done
	[ "$(grep -c 'smtp accepted' "$DIR/msad.log" || true)" = "$before" ]
	! delivered "smuggled" || false
}

@test "errors are answered late, without anybody else waiting; then the session ends" {
	restart_msad $'free_errors = 1\n error_delay = 2s\n max_errors = 3'
	raw < <(printf 'WHAT\r\nWHAT\r\nWHAT\r\nWHAT\r\nNOOP\r\n') > "$DIR/late" 3>&- &
	slow=$!
	started=$EPOCHREALTIME
	wait_until grep -q '^500 5.5.2' "$DIR/late"
	raw <<< $'NOOP\r\nQUIT\r' | grep -q '^221'
	[ "$(grep -c '^500 5.5.2' "$DIR/late")" -lt 3 ]
	wait "$slow"
	awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { exit !(b - a >= 4) }'
	[ "$(grep -c '^500 5.5.2' "$DIR/late")" = 3 ]
	grep -q '^421 4.7.0 smtp.isp.example Too many errors' "$DIR/late"
	! grep -q '^250 2.0.0 Ok' "$DIR/late" || false
}

@test "a message, a chunk or a command that trickles in ends the session; a steady one does not" {
	restart_msad $'min_rate = 100\n min_rate_after = 1s\n idle_timeout = 2s'
	run in_ns timeout 30 python3 - "$DIR/tls/cert.pem" <<-'END'
	import base64, socket, ssl, sys, time
	def session(last):
	    c = ssl.create_default_context(cafile=sys.argv[1])
	    s = c.wrap_socket(socket.create_connection(("127.0.0.1", 465)), server_hostname="smtp.isp.example")
	    f = s.makefile("rb")
	    s.sendall(b"EHLO me\r\nAUTH PLAIN " + base64.b64encode(b"\0user01\0secret01") + b"\r\n" + last)
	    return s, f
	def trickle(name, last, piece, wait, most):
	    s, f = session(last)
	    s.settimeout(0.05)
	    got, start = b"", time.monotonic()
	    while time.monotonic() - start < most:
	        try:
	            s.sendall(piece)
	            got += s.recv(4096)
	        except TimeoutError:
	            pass
	        except OSError:
	            break
	        if b"421 4.4.2" in got:
	            break
	        time.sleep(wait)
	    print(name, "421" if b"421 4.4.2" in got else "alive", flush=True)
	mail = b"MAIL FROM:<user01@isp.example>\r\nRCPT TO:<r@far.example>\r\n"
	trickle("data", mail + b"DATA\r\n", b"x", 0.2, 8)
	trickle("chunk", mail + b"BDAT 5000\r\n", b"x", 0.2, 8)
	trickle("command", b"NOOP ", b"x", 0.5, 8)
	s, f = session(b"")
	for i in range(5): # each message has a time of its own
	    s.sendall(mail + b"DATA\r\n")
	    time.sleep(0.4)
	    s.sendall(b"Subject: short\r\n\r\nx\r\n.\r\n")
	s.sendall(b"QUIT\r\n")
	text = f.read()
	print("short", text.count(b"queued as"), "421" if b"421" in text else "alive", flush=True)
	trickle("steady", mail + b"DATA\r\n", b"x" * 60 + b"\r\n", 0.1, 4)
	END
	echo "$output"
	[ "$status" = 0 ]
	[ "${lines[0]}" = "data 421" ]
	[ "${lines[1]}" = "chunk 421" ]
	[ "${lines[2]}" = "command 421" ]
	[ "${lines[3]}" = "short 5 alive" ]
	[ "${lines[4]}" = "steady alive" ]
}

@test "who speaks before the greeting is sent away, who waits is served" {
	restart_msad 'greet_delay = 500ms'
	run in_ns bash -c "printf 'EHLO me\r\nQUIT\r\n' | timeout 30 socat -t20 - TCP:127.0.0.1:587"
	[ "$output" = $'554 5.5.1 smtp.isp.example Wait for the greeting before you speak\r' ]
	run in_ns swaks --server 127.0.0.1 --port 587 -tls --auth PLAIN --au user01 --ap secret01 -f user01@isp.example -t r@far.example \
		--h-From user01@isp.example
	[ "$status" = 0 ]
	run raw <<< $'QUIT\r'
	[[ $output == "220 "*"221 2.0.0"* ]]
	restart_msad ""
}

@test "VRFY says the same of everybody; EXPN is not done; commands that bring nothing on have an end" {
	run raw < <(printf 'VRFY user01\r\nVRFY nobody@far.example\r\nEXPN staff\r\nQUIT\r\n')
	[ "$(grep '^252 2.5.2' <<< "$output" | sort -u | wc -l)" = 1 ]
	[ "$(grep -c '^252 2.5.2' <<< "$output")" = 2 ]
	[[ $output == *"502 5.5.1 "* ]]
	run raw < <(for i in {1..101}; do printf 'NOOP\r\n'; done)
	[[ $output == *"421 4.7.0 smtp.isp.example Too many commands without mail"* ]]
}
