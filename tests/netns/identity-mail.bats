#!/usr/bin/env bats
# Who writes as whom, and what a message carries when it leaves: addresses, delegates and rules of msa.identities, the header fields
# that are added and taken away, tags, and DKIM signatures put before an independent verifier (dkimpy).
#
#   client (swaks)  --465-->  sekisho-msad  --2525-->  smtp-sink, a file a message
#
# All of it on the loopback of one network namespace.

load submission

setup_file() {
	/usr/bin/python3 -c 'import dkim' || skip "needs python3-dkim"
	export NS=sekisho-ident-$$
	submission_up
	mkdir -p "$DIR/dkim"
	certificate_of smtp.isp.example
	users 01 02 03 04
	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$DIR/dkim/r.pem" 2>/dev/null
	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out "$DIR/dkim/e.pem" 2>/dev/null
	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out "$DIR/dkim/s.pem" 2>/dev/null
	cat > "$DIR/dkim/table" <<-END
	isp.example  r1  $DIR/dkim/r.pem
	isp.example  e1  $DIR/dkim/e.pem
	shop.example s1  $DIR/dkim/s.pem
	END
	cat > "$DIR/verify.py" <<-'END'
	import base64, subprocess, sys, dkim
	def record(name, timeout=5):
	    sel, dom = name.decode().rstrip('.').split('._domainkey.')
	    file = {'r1': 'r', 'e1': 'e', 's1': 's'}[sel]
	    der = subprocess.run(['openssl', 'pkey', '-in', sys.argv[2] + '/dkim/' + file + '.pem', '-pubout', '-outform', 'DER'],
	                         capture_output=True, check=True).stdout
	    return b'v=DKIM1; k=rsa; p=' + base64.b64encode(der)
	text = open(sys.argv[1], 'rb').read()
	text = text[text.index(b'DKIM-Signature:'):].replace(b'\n', b'\r\n')
	# The sink ends each file with an empty line of its own.
	for n in range(text.count(b'DKIM-Signature: v=1;')):
	    d = dkim.DKIM(text)
	    ok = d.verify(idx=n, dnsfunc=record)
	    print(d.domain.decode(), d.selector.decode(), 'good' if ok else 'BAD')
	END
	identities
	base ""
	start_sink
	start_msad
}

teardown_file() { submission_down; }

identities() { # LINES more
	cat > "$DIR/identities" <<-END
	own       info@isp.example    user01@isp.example user02@isp.example
	own       @shop.example       user03@isp.example
	own       me@elsewhere.example user03@isp.example
	delegate  boss@isp.example    user02@isp.example
	domain    shop.example        batv=yes
	account   user04@isp.example  mail_from=owned from_header=owned batv=no auth_results=no hide_client=yes
	recipient lists.example       batv=no
	${1:-}
	END
}

base() { # KEYS that override
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	limiter_deadline = 50ms
	identities = \"$DIR/identities\"
	dkim = \"$DIR/dkim/table\"
	cfbl_address = \"fbl@isp.example\"
	header_8bit = accept
	bounce_listen = {\"127.0.0.1:10025\"}" "$1"
}

@test "rewrite, the default: somebody else's envelope sender becomes the account's, with a tag" {
	run mail_as 01 ceo@bank.example --header "Subject: a-$BATS_ROOT_PID" --h-From 'Boss <ceo@bank.example>'
	[ "$status" = 0 ]
	[[ $output == *"250 2.1.0 <user01@isp.example> sender ok"* ]]
	f=$(arrived "a-$BATS_ROOT_PID")
	[[ $(envelope "$f") =~ ^prvs=0[0-9]{3}[0-9a-f]{6}=user01@isp\.example$ ]]
	grep -q '^From: Boss <ceo@bank.example>' "$f"
	grep -q '^Sender: <user01@isp.example>' "$f"
}

@test "an address of the file is the account's own, sub-addresses too; a catch-all domain is" {
	mail_as 01 Info+x@isp.example --header "Subject: b1-$BATS_ROOT_PID"
	f=$(arrived "b1-$BATS_ROOT_PID")
	[[ $(envelope "$f") =~ ^prvs=[0-9a-f]{10}=Info\+x@isp\.example$ ]]
	! grep -q '^Sender:' "$f" || false
	mail_as 03 anything@shop.example --header "Subject: b2-$BATS_ROOT_PID"
	f=$(arrived "b2-$BATS_ROOT_PID")
	[[ $(envelope "$f") =~ ^prvs=[0-9a-f]{10}=anything@shop\.example$ ]]
	! grep -q '^Sender:' "$f" || false
	# its own, but bounces to there do not come to us: no tag
	mail_as 03 me@elsewhere.example --header "Subject: b3-$BATS_ROOT_PID"
	f=$(arrived "b3-$BATS_ROOT_PID")
	[ "$(envelope "$f")" = me@elsewhere.example ]
	# not user01's
	mail_as 01 anything@shop.example --header "Subject: b4-$BATS_ROOT_PID"
	[[ $(envelope "$(arrived "b4-$BATS_ROOT_PID")") == prvs=*=user01@isp.example ]]
}

@test "a delegate writes as the address, and Sender names the delegate, never a tag" {
	mail_as 02 boss@isp.example --header "Subject: c-$BATS_ROOT_PID" --add-header 'Sender: boss@isp.example'
	f=$(arrived "c-$BATS_ROOT_PID")
	[[ $(envelope "$f") =~ ^prvs=[0-9a-f]{10}=boss@isp\.example$ ]]
	[ "$(grep '^Sender:' "$f")" = 'Sender: <user02@isp.example>' ]
}

@test "rules of one account: 553 for the envelope, 550 for From, nothing of it arrives" {
	run mail_as 04 boss@isp.example
	[[ $output == *"553 5.7.1 <boss@isp.example> is not an address of this account"* ]]
	for from in 'boss@isp.example' 'user04@isp.example, boss@isp.example' 'A:user04@isp.example;' '"user04@isp.example" <x@y.example>'; do
		run mail_as 04 user04@isp.example --h-From "$from" --header "Subject: d1-$BATS_ROOT_PID"
		[ "$status" != 0 ]
		[[ $output == *"550 5.7.1 From: must name addresses of this account alone, such as <user04@isp.example>"* ]]
	done
	run mail_as 04 user04@isp.example --h-From "user04@isp.example" --add-header "From: x@y.example"
	[[ $output == *"550 5.7.1 "* ]]
	mail_as 04 user04@isp.example --h-From "Me <user04+x@isp.example>" --header "Subject: d2-$BATS_ROOT_PID"
	f=$(arrived "d2-$BATS_ROOT_PID")
	! delivered "d1-$BATS_ROOT_PID" || false
	# batv=no, hide_client=yes, auth_results=no
	[ "$(envelope "$f")" = user04@isp.example ]
	! grep -q '^Authentication-Results:' "$f" || false
	grep -A1 '^Received: (using TLSv1' "$f" | grep -q '	by smtp.isp.example (Sekisho) with ESMTPSA id'
	! grep -q '127\.0\.0\.1.*TLS\|from .*\[127.0.0.1\].*(using' "$f" || false
}

@test "a recipient's domain that takes no tags: the whole message leaves without" {
	mail_as 01 user01@isp.example -t a@far.example,b@lists.example --header "Subject: e-$BATS_ROOT_PID"
	[ "$(envelope "$(arrived "e-$BATS_ROOT_PID")")" = user01@isp.example ]
}

@test "Authentication-Results: ours is there once, forged ones are gone, others stay" {
	mail_as 01 user01@isp.example --header "Subject: f-$BATS_ROOT_PID" \
		--add-header 'Authentication-Results: smtp.isp.example; auth=pass smtp.auth=boss@isp.example' \
		--add-header 'authentication-results : (x) "SMTP.isp.example" 1; none' \
		--add-header 'Authentication-Results: mx.other.example; spf=pass'
	f=$(arrived "f-$BATS_ROOT_PID")
	[ "$(grep -ci '^authentication-results' "$f")" = 2 ]
	grep -q '^Authentication-Results: mx.other.example; spf=pass' "$f"
	[ "$(grep -A2 '^Authentication-Results: smtp.isp.example;' "$f")" = \
		$'Authentication-Results: smtp.isp.example;\n\tauth=pass (PLAIN)\n\tsmtp.auth=user01@isp.example' ]
}

@test "the trace token is the key's HMAC of queue id and account, in both of its fields" {
	mail_as 02 user02@isp.example --header "Subject: g-$BATS_ROOT_PID" --add-header 'CFBL-Address: me@bad.example; report=arf' \
		--add-header 'CFBL-Feedback-ID: 1'
	f=$(arrived "g-$BATS_ROOT_PID")
	[ "$(stat -c %a "$DIR/state/msa/trace.key")" = 600 ]
	id=$(sed -n 's/.*(Sekisho) with ESMTPSA id \([0-9a-z]*\).*/\1/p' "$f")
	want=$(printf '%s\0user02@isp.example' "$id" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(cat "$DIR/state/msa/trace.key")" |
		sed 's/.*= //' | cut -c 1-24)
	[ "$(sed -n 's/^X-Sekisho-Trace: //p' "$f")" = "$want" ]
	[ "$(grep '^CFBL-' "$f")" = $'CFBL-Address: fbl@isp.example; report=arf\nCFBL-Feedback-ID: '"$want" ]
}

@test "DKIM: every key of the domain signs, over everything that was added" {
	mail_as 01 user01@isp.example --header "Subject: h1-$BATS_ROOT_PID" --h-From 'Boss <ceo@isp.example>' --add-header 'X-Odd:   a  b ' \
		--body $'one \n\n.two\n\xc3\xb6\n\n\n'
	f=$(arrived "h1-$BATS_ROOT_PID")
	run /usr/bin/python3 "$DIR/verify.py" "$f" "$DIR"
	[ "$output" = $'isp.example r1 good\nisp.example e1 good' ]
	sed -n '/^DKIM-Signature/,/^Received/p' "$f" | tr -d '\n\t ' > "$DIR/h"
	for h in From:From Sender:Sender CFBL-Address CFBL-Feedback-ID Message-ID Date; do
		grep -qi "[:=]${h%:*}" "$DIR/h"
	done
	# a byte changed is noticed
	sed 's/^X-Odd/X-Even/; s/^Subject: h1/Subject: H1/' "$f" > "$DIR/changed"
	run /usr/bin/python3 "$DIR/verify.py" "$DIR/changed" "$DIR"
	[ "$output" = $'isp.example r1 BAD\nisp.example e1 BAD' ]
}

@test "DKIM: a customer's domain signs for its own only; the complaint address's domain signs too" {
	mail_as 03 x@shop.example --header "Subject: i1-$BATS_ROOT_PID"
	run /usr/bin/python3 "$DIR/verify.py" "$(arrived "i1-$BATS_ROOT_PID")" "$DIR"
	[ "$output" = $'isp.example r1 good\nisp.example e1 good\nshop.example s1 good' ]
	# user01 may not write as shop.example: the account's own domain signs, and that alone
	mail_as 01 user01@isp.example --h-From 'x@shop.example' --header "Subject: i2-$BATS_ROOT_PID"
	run /usr/bin/python3 "$DIR/verify.py" "$(arrived "i2-$BATS_ROOT_PID")" "$DIR"
	[ "$output" = $'isp.example r1 good\nisp.example e1 good' ]
}

@test "DKIM: without From nothing is signed, and nobody complains" {
	mail_as 01 user01@isp.example --data "Subject: i3-$BATS_ROOT_PID\n\nx"
	! grep -q '^DKIM-Signature' "$(arrived "i3-$BATS_ROOT_PID")" || false
}

@test "what was not to be changed arrives as it was" {
	/usr/bin/python3 - > "$DIR/hostile" <<-'END'
	import random, sys
	r = random.Random(20261122)
	out = sys.stdout.buffer
	out.write(b'From: user01@isp.example\r\nMessage-ID: <1@x>\r\nDate: today\r\nX-Begin: 1\r\n')
	for i in range(60):
	    body = bytes(r.choice([b for b in range(1, 256) if b not in (10, 13)]) for _ in range(r.randrange(200)))
	    fold = r.choice([b'', b'\r\n ', b'\r\n\t \r\n '])
	    out.write(b'X-%d%s:%s%sx\r\n' % (i, r.choice([b'', b' ', b'\t ']), body, fold))
	out.write(b'X-End: 1\r\n\r\nBcc: of the body\r\nSender: too\r\n')
	END
	(printf 'EHLO me\r\nAUTH PLAIN %s\r\nMAIL FROM:<user01@isp.example> BODY=8BITMIME\r\nRCPT TO:<hostile@far.example>\r\nDATA\r\n' \
		"$(printf '\0user01\0secret01' | base64)"
	cat "$DIR/hostile"
	printf '.\r\nQUIT\r\n') | in_ns timeout 30 openssl s_client -quiet -connect 127.0.0.1:465 > "$DIR/replies" 2>/dev/null
	grep -q '^250 2.0.0 Ok: queued as' "$DIR/replies"
	f=$(arrived 'hostile@far.example')
	sed -n '/^X-Begin/,/^X-End/p' "$f" | cmp - <(tr -d '\r' < "$DIR/hostile" | sed -n '/^X-Begin/,/^X-End/p')
	grep -q '^Bcc: of the body' "$f"
	grep -q '^Sender: too' "$f"
}

@test "SIGHUP takes a new file of identities; a wrong one leaves the old in force and is named" {
	identities "own new@isp.example user01@isp.example"
	reload reloaded
	mail_as 01 new@isp.example --header "Subject: j1-$BATS_ROOT_PID"
	[[ $(envelope "$(arrived "j1-$BATS_ROOT_PID")") == prvs=*=new@isp.example ]]
	identities "own newer@isp.example"
	reload reload-failed
	logged "reload-failed error=\".*/identities:8: the accounts are missing\""
	mail_as 01 new@isp.example --header "Subject: j2-$BATS_ROOT_PID"
	[[ $(envelope "$(arrived "j2-$BATS_ROOT_PID")") == prvs=*=new@isp.example ]]
	run "$BIN/sekisho-msad" -n -c "$DIR/sekisho.conf"
	[ "$status" = 78 ]
	[[ $output == *"/identities:8: the accounts are missing"* ]]
	identities
}

@test "DKIM keys rotate by the times of the table; a key that cannot be read leaves the old ones" {
	yesterday=$(date -u -d -1day +%FT%TZ) tomorrow=$(date -u -d +1day +%FT%TZ)
	cat > "$DIR/dkim/table" <<-END
	isp.example  r1  $DIR/dkim/r.pem until=$yesterday
	isp.example  e1  $DIR/dkim/e.pem from=$yesterday until=$tomorrow
	isp.example  s1  $DIR/dkim/s.pem from=$tomorrow
	END
	reload reloaded
	mail_as 01 user01@isp.example --header "Subject: k1-$BATS_ROOT_PID"
	run /usr/bin/python3 "$DIR/verify.py" "$(arrived "k1-$BATS_ROOT_PID")" "$DIR"
	[ "$output" = 'isp.example e1 good' ]
	echo "isp.example x1 $DIR/dkim/none.pem" > "$DIR/dkim/table"
	reload reload-failed
	logged 'reload-failed error="cannot read .*none.pem: No such file'
	mail_as 01 user01@isp.example --header "Subject: k2-$BATS_ROOT_PID"
	run /usr/bin/python3 "$DIR/verify.py" "$(arrived "k2-$BATS_ROOT_PID")" "$DIR"
	[ "$output" = 'isp.example e1 good' ]
}

# policy RECIPIENT [CLIENT [SENDER]]: what an MX is told.
policy() {
	printf 'request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=%s\nsender=%s\nrecipient=%s\n\n' "${2:-192.0.2.1}" "${3:-}" "$1" |
		policy_answers 10025
}

@test "the policy service knows its own tags, and says so as it is told to" {
	mail_as 01 user01@isp.example --header "Subject: l-$BATS_ROOT_PID"
	tagged=$(envelope "$(arrived "l-$BATS_ROOT_PID")")
	forged=$(sed -E 's/(prvs=[0-9]{4})[0-9a-f]{6}/\1abcdef/' <<< "$tagged")
	[ "$(policy "$tagged")" = "action=PREPEND X-Sekisho-BATV: valid" ]
	[ "$(policy "$forged")" = "action=PREPEND X-Sekisho-BATV: forged" ]
	[ "$(policy user01@isp.example)" = "action=PREPEND X-Sekisho-BATV: not tagged" ]
	[ "$(policy "$forged" 192.0.2.1 a@far.example)" = "action=DUNNO" ]
	[ "$(policy x@far.example)" = "action=DUNNO" ]
	base 'bounce_check = reject'
	reload reload-failed # the DKIM table of the test before is still wrong: nothing changes
	[ "$(policy "$forged")" = "action=PREPEND X-Sekisho-BATV: forged" ]
	echo "isp.example e1 $DIR/dkim/e.pem" > "$DIR/dkim/table"
	reload reloaded
	[[ $(policy "$forged") == "action=550 5.7.1 "* ]]
	[ "$(policy "$tagged")" = "action=PREPEND X-Sekisho-BATV: valid" ]
	# a client that guesses is put off, others are not
	for i in $(seq 20); do
		policy "$forged" 192.0.2.66 > /dev/null
	done
	[[ $(policy "$tagged" 192.0.2.66) == "action=450 4.7.1 "* ]]
	[ "$(policy "$tagged" 192.0.2.67)" = "action=PREPEND X-Sekisho-BATV: valid" ]
	# what is no request ends that connection alone
	[ -z "$(printf 'nonsense\n\n' | policy_answers 10025)" ]
	[ "$(policy "$tagged")" = "action=PREPEND X-Sekisho-BATV: valid" ]
	logged 'batv bounce result=invalid reason=forged recipient='
}

@test "no private key and no password is in the log" {
	! logged 'PRIVATE KEY' || false
	! logged secret01 || false
	[ "$(grep -c dkim-failed "$DIR/msad.log")" = 0 ]
}
