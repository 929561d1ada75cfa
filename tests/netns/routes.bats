#!/usr/bin/env bats
# Where mail goes: MX by a real DNS server with a signed zone, null MX, the transport map, DANE, MTA-STS, LMTP, a fallback, and a
# destination that is dead while others are not.
#
#   client (swaks, smtplib)  --465-->  sekisho-msad  --25-->  hostile_smtp.py on 127.0.1.N, each told what to offer
#                                        |  nsd 127.0.0.53 (example. signed, plain. not), https 127.0.3.1 (MTA-STS), smtp-sink -L
#
# All of it on the loopback of one network namespace.

load submission
load exim

setup_file() {
	export NS=sekisho-routes-$$
	submission_up
	certificate_of smtp.isp.example
	users 01
	authority
	host 1 good "ehlo keywords STARTTLS,PIPELINING,8BITMIME"
	host 2 good ""
	host 3 other "ehlo keywords STARTTLS,CHUNKING"
	host 4 good ""
	host 5 good "greeting stall"
	host 6 good "rcpt reply 451 4.3.0 not now"
	host 7 good "dot slow 4"
	host 9 chain "ehlo keywords STARTTLS"
	zone
	in_ns smtp-sink -u nobody -L -c 127.0.2.1:24 10 > "$DIR/lmtp.log" 2>&1 3>&- &
	echo $! > "$DIR/lmtp.pid"
	sts_server
	printf '%s\n' "mapped.example  127.0.1.2" "local.example route store" "closed.example error:5.7.1 we do not write to them" \
		"void.example discard" "late.example 127.0.1.6" \
		"slow.example 127.0.1.7" > "$DIR/map"
	openssl genrsa -out "$DIR/dkim.pem" 2048
	echo "isp.example s1 $DIR/dkim.pem" > "$DIR/dkim.table"
	base ""
	start_msad
}

teardown_file() { submission_down; }

base() { # KEYS that override
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	batv = false" "smarthost = mx
	dns_server = \"127.0.0.53\"
	dns_trust_anchor = \"$DIR/anchor\"
	relay_ca = \"$DIR/tls/ca.pem\"
	transport_map = \"$DIR/map\"
	tlsrpt = true
	dkim = \"$DIR/dkim.table\"
	fallback_route = \"retry\"
	fallback_after = 2
	retry_min = 1s
	retry_max = 2s
	relay_timeout = ${TIMEOUT:-2s}
	$1
	}
	route store { hosts = {\"127.0.2.1\"}
	  lmtp = true }
	route retry { hosts = {\"127.0.1.4\"}
	"
}

authority() {
	local d=$DIR/tls
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=Test CA" -keyout "$d/ca.key" -out "$d/ca.pem"
	for n in good other; do
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$n" -keyout "$d/$n.key" -out "$d/$n.csr"
		openssl x509 -req -in "$d/$n.csr" -CA "$d/ca.pem" -CAkey "$d/ca.key" -CAcreateserial -days 2 -out "$d/$n.crt" \
			-extfile <(echo "subjectAltName=DNS:mx1.example,DNS:mta-sts.sts.example,DNS:mta-sts.sts-bad.example,DNS:mta-sts.sts-test.example,DNS:$n.example")
		cat "$d/$n.crt" "$d/$n.key" > "$d/$n.pem"
	done
	cat "$d/other.crt" "$d/ca.pem" "$d/other.key" > "$d/chain.pem"
}

host() { # N CERTIFICATE BEHAVIOUR
	mkdir -p "$DIR/h$1/mail"
	printf '%s\n' "$3" > "$DIR/h$1/behaviour"
	mkfifo "$DIR/h$1/stdin"
	ip netns exec "$NS" python3 "$BATS_TEST_DIRNAME/hostile_smtp.py" "127.0.1.$1" 25 "$DIR/h$1" "$DIR/tls/$2.pem" \
		<> "$DIR/h$1/stdin" > "$DIR/h$1/out" 2>&1 3>&- &
	echo $! > "$DIR/h$1.pid"
	wait_until grep -q ready "$DIR/h$1/out"
}

spki() { openssl x509 -in "$DIR/tls/$1.crt" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1; }

authority_digest() { openssl x509 -in "$DIR/tls/ca.pem" -outform DER | sha256sum | cut -d' ' -f1; }

zone() {
	mkdir -p "$DIR/nsd"
	cat > "$DIR/nsd/example" <<-Z
	\$ORIGIN example.
	@ 300 IN SOA ns hostmaster 1 3600 600 86400 300
	@ 300 IN NS ns
	ns 300 IN A 127.0.0.53
	mx1 300 IN A 127.0.1.1
	self 300 IN A 127.0.0.1
	mx2 300 IN A 127.0.1.2
	mx3 300 IN A 127.0.1.3
	mx4 300 IN A 127.0.1.4
	dead 300 IN A 127.0.1.99
	stalls 300 IN A 127.0.1.5
	pref 300 IN MX 10 dead
	pref 300 IN MX 20 mx1
	pref 300 IN MX 30 mx2
	implicit 300 IN A 127.0.1.2
	null 300 IN MX 0 .
	loop 300 IN MX 10 smtp.isp.example.
	empty 300 IN TXT "nothing"
	dane 300 IN MX 10 mx3
	_25._tcp.mx3 300 IN TLSA 3 1 1 $(spki other)
	exim 300 IN MX 10 mx8
	mx8 300 IN A 127.0.1.8
	_25._tcp.mx8 300 IN TLSA 3 1 1 $(spki other)
	dane-bad 300 IN MX 10 mx-bad
	mx-bad 300 IN A 127.0.1.3
	_25._tcp.mx-bad 300 IN TLSA 3 1 1 $(spki good)
	dane-clear 300 IN MX 10 mx-clear
	mx-clear 300 IN A 127.0.1.2
	_25._tcp.mx-clear 300 IN TLSA 3 1 1 $(spki good)
	alias 300 IN MX 10 mx-alias
	mx-alias 300 IN CNAME mx3
	alias-own 300 IN MX 10 mx-own
	mx-own 300 IN CNAME mx9
	_25._tcp.mx-own 300 IN TLSA 3 1 1 $(spki good)
	mx9 300 IN A 127.0.1.9
	alias-out 300 IN MX 10 mx-out
	mx-out 300 IN CNAME mx3.plain.
	_25._tcp.mx-out 300 IN TLSA 3 1 1 $(spki good)
	other 300 IN MX 10 mx-ta
	mx-ta 300 IN A 127.0.1.9
	_25._tcp.mx-ta 300 IN TLSA 2 0 1 $(authority_digest)
	dane-name 300 IN MX 10 mx-ta
	odd 300 IN MX 10 mx-odd
	mx-odd 300 IN A 127.0.1.3
	_25._tcp.mx-odd 300 IN TLSA 3 1 9 00
	odd-clear 300 IN MX 10 mx-odd-clear
	mx-odd-clear 300 IN A 127.0.1.2
	_25._tcp.mx-odd-clear 300 IN TLSA 0 0 1 $(spki good)
	bogus 300 IN MX 10 mx1
	bogus-tlsa 300 IN MX 10 mx-bogus
	mx-bogus 300 IN A 127.0.1.3
	_25._tcp.mx-bogus 300 IN TLSA 3 1 1 $(spki other)
	gone 300 IN MX 10 dead
	stall 300 IN MX 10 stalls
	sts 300 IN MX 10 mx1
	_mta-sts.sts 300 IN TXT "v=STSv1; id=1;"
	sts-test 300 IN MX 10 mx2
	_mta-sts.sts-test 300 IN TXT "v=STSv1; id=3;"
	mta-sts.sts-test 300 IN A 127.0.3.1
	sts-none 300 IN MX 10 mx1
	_mta-sts.sts-none 300 IN TXT "v=STSv1; id=3;"
	mta-sts.sts-none 300 IN A 127.0.3.9
	_smtp._tls.dane 300 IN TXT "v=TLSRPTv1; rua=https://dane.example/tls,mailto:tls-dane@pref.example"
	_smtp._tls.sts-test 300 IN TXT "v=TLSRPTv1;rua=mailto:tls-sts@pref.example"
	_smtp._tls.plain-mx 300 IN TXT "v=TLSRPTv1; rua=ftp://nowhere"
	_smtp._tls.pref 300 IN TXT "v=TLSRPTv1; rua=https://mta-sts.sts.example/v1/tls?a=b"
	_smtp._tls.implicit 300 IN TXT "v=TLSRPTv1; rua=https://mx4.example/tls"
	plain-mx 300 IN MX 10 mx2
	mta-sts.sts 300 IN A 127.0.3.1
	sts-bad 300 IN MX 10 mx2
	_mta-sts.sts-bad 300 IN TXT "v=STSv1; id=7;"
	mta-sts.sts-bad 300 IN A 127.0.3.1
	Z
	(cd "$DIR/nsd" && k=$(ldns-keygen -a ECDSAP256SHA256 -k example) && ldns-signzone -o example example "$k" &&
		cat "$k.key" > "$DIR/anchor"
		# Signatures that do not hold any more.
		sed -i -E '/^bogus\.example\..*MX/s/mx1/mx2/; /^_25\._tcp\.mx-bogus\.example\..*TLSA/s/(.*)[0-9a-f]$/\10/; /^_25\._tcp\.mx-bogus\.example\..*TLSA/s/3\t?\s*1 1 [0-9a-f]{2}/3 1 1 00/' example.signed)
	cat > "$DIR/nsd/plain" <<-Z
	\$ORIGIN plain.
	@ 300 IN SOA ns.example. hostmaster 1 3600 600 86400 300
	@ 300 IN NS ns.example.
	@ 300 IN MX 10 mx1
	mx1 300 IN A 127.0.1.1
	_25._tcp.mx1 300 IN TLSA 3 1 1 $(spki other)
	mx3 300 IN A 127.0.1.3
	Z
	cat > "$DIR/nsd/nsd.conf" <<-C
	server:
	  ip-address: 127.0.0.53
	  username: ""
	  chroot: ""
	  zonesdir: "$DIR/nsd"
	  database: ""
	  pidfile: "$DIR/nsd/pid"
	  xfrdfile: "$DIR/nsd/xfrd"
	  zonelistfile: "$DIR/nsd/zones"
	  server-count: 1
	remote-control:
	  control-enable: no
	zone:
	  name: example
	  zonefile: example.signed
	zone:
	  name: plain
	  zonefile: plain
	C
	spawn nsd nsd -d -c "$DIR/nsd/nsd.conf"
	wait_until in_ns dig +short @127.0.0.53 mx1.example A
}

sts_server() {
	mkdir -p "$DIR/www/.well-known"
	cat > "$DIR/sts.py" <<-'P'
	import http.server, ssl, sys
	class H(http.server.BaseHTTPRequestHandler):
	    def do_GET(self):
	        bad = "sts.example" not in self.headers["Host"]
	        mode = "testing" if "sts-test" in self.headers["Host"] else "enforce"
	        body = "version: STSv1\r\nmode: %s\r\nmx: %s\r\nmax_age: 86400\r\n" % (mode, "mx1.example" if not bad else "*.elsewhere.example")
	        ok = self.path == "/.well-known/mta-sts.txt"
	        self.send_response(200 if ok else 404)
	        self.send_header("Content-Type", "text/plain")
	        self.end_headers()
	        self.wfile.write(body.encode() if ok else b"")
	    def do_POST(self):
	        body = self.rfile.read(int(self.headers["Content-Length"]))
	        no = __import__("os").path.exists(sys.argv[2] + ".no")
	        with open(sys.argv[2], "ab") as f:
	            f.write(("%s %s %s %s\n" % (503 if no else 201, self.headers["Host"] + self.path, self.headers["Content-Type"], body.hex())).encode())
	        self.send_response(503 if no else 201)
	        self.end_headers()
	s = http.server.ThreadingHTTPServer(("127.0.3.1", 443), H)
	c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
	c.load_cert_chain(sys.argv[1])
	s.socket = c.wrap_socket(s.socket, server_side=True)
	print("ready", flush=True)
	s.serve_forever()
	P
	spawn sts python3 "$DIR/sts.py" "$DIR/tls/good.pem" "$DIR/posts"
	wait_until grep -q ready "$DIR/sts.log"
}

mail_to() { # RCPT[,RCPT] SUBJECT
	in_ns swaks --server 127.0.0.1 --port 465 --tls-on-connect --auth PLAIN --au user01 --ap secret01 -f user01@isp.example -t "$1" \
		--header "Subject: $2" "${@:3}" > "$DIR/swaks.log" 2>&1
}
at() { grep -rlE --include='*.eml' "^Subject: $2.?\$" "$DIR/h$1/mail"; } # HOST SUBJECT
fate() { grep -E "queue (delivered|bounced|deferred) .*$1" "$DIR/msad.log"; }

@test "MX: the best that answers gets the mail, an address will do, nobody is guessed" {
	mail_to a@pref.example pref
	mail_to a@implicit.example implicit
	wait_until at 1 pref
	wait_until at 2 implicit
	not at 2 pref
	wait_until logged 'delivered .*via="mx1.example\[127.0.1.1\]:25 TLSv1.3'
	mail_to 'a@[127.0.1.4]' literal
	wait_until at 4 literal
}

@test "no such domain, null MX, a loop, no address: back at once, each with its own status" {
	mail_to a@null.example null
	wait_until fate 'status=5.1.10'
	mail_to a@nosuch.example nosuch
	wait_until fate 'status=5.1.2 .*no such domain'
	mail_to a@loop.example loop
	wait_until fate 'status=5.4.6'
	mail_to a@empty.example empty
	wait_until fate 'status=5.1.2 .*no mail server with an address'
}

@test "the transport map: a host, a refusal, nowhere; one message to all of them; read again on reload" {
	mail_to x@mapped.example,x@pref.example,x@closed.example,x@void.example many
	wait_until at 2 many
	wait_until at 1 many
	wait_until fate 'status=5.7.1 class=[a-z-]* reply="we do not write to them"'
	wait_until fate 'reply="discarded'
	sed -i 's/^mapped.example.*/mapped.example 127.0.1.4/' "$DIR/map"
	reload reloaded
	mail_to x@mapped.example again
	wait_until at 4 again
	echo "broken.example route nowhere" >> "$DIR/map"
	reload reload-failed
	logged "map:7: no such route"
	sed -i '$d' "$DIR/map"
	reload reloaded
}

@test "DANE: the right key is verified; a wrong one, or no TLS, keeps the mail back" {
	mail_to a@dane.example dane
	wait_until at 3 dane
	wait_until logged 'via="mx3.example\[127.0.1.3\]:25 TLSv1.3 [^ ]* dane"'
	mail_to a@dane-bad.example dane-bad
	wait_until fate 'reply="dane: the certificate of mx-bad.example does not hold'
	mail_to a@dane-clear.example dane-clear
	wait_until fate 'reply="dane: the next mail server does not offer TLS'
	not at 3 dane-bad
	not at 2 dane-clear
}

@test "TLS-Required: No goes where a policy of TLS keeps other mail back; said twice it is not said" {
	mail_to a@dane-bad.example lax --add-header "TLS-Required: No"
	wait_until at 3 lax
	mail_to a@dane-clear.example lax-clear --add-header "TLS-Required: no"
	wait_until at 2 lax-clear
	mail_to a@bogus-tlsa.example lax-bogus --add-header "TLS-Required: No"
	wait_until at 3 lax-bogus
	mail_to a@dane-clear.example lax-twice --add-header "TLS-Required: No" --add-header "TLS-Required: No"
	# The mail of before, which is kept back by the same policies, is where it was.
	mail_to a@dane-bad.example lax-more --add-header "TLS-Required: No"
	wait_until at 3 lax-more
	mail_to a@dane-clear.example lax-last --add-header "TLS-Required: No"
	wait_until at 2 lax-last
	not at 3 dane-bad
	not at 2 lax-twice
}

@test "DANE and aliases: the records of the name at the end, else of the alias; in and out of DNSSEC" {
	mail_to a@alias.example alias
	wait_until logged 'delivered .*via="mx-alias.example\[127.0.1.3\]:25 TLSv1.3 [^ ]* dane"'
	mail_to a@alias-own.example alias-own
	wait_until fate 'reply="dane: the certificate of mx-own.example does not hold'
	mail_to a@alias-out.example alias-out
	wait_until fate 'reply="dane: the certificate of mx-out.example does not hold'
}

@test "DANE by an authority: the certificate may have the name of the domain, and must have one" {
	mail_to a@other.example ta
	wait_until at 9 ta
	wait_until logged 'delivered .*via="mx-ta.example\[127.0.1.9\]:25 TLSv1.3 [^ ]* dane"'
	mail_to a@dane-name.example ta-name
	wait_until fate 'reply="dane: the certificate of mx-ta.example does not hold: [Hh]ostname mismatch'
	not at 9 ta-name
}

@test "records that nobody can use ask for TLS, and no more" {
	mail_to a@odd.example odd
	wait_until logged 'delivered .*via="mx-odd.example\[127.0.1.3\]:25 TLSv1.3 [^ ]* unverified"'
	mail_to a@odd-clear.example odd-clear
	wait_until fate 'reply="dane: the next mail server does not offer TLS'
	not at 2 odd-clear
}

@test "signatures that do not hold: nothing is sent, nobody is told it failed; a zone without any: as TLS is offered" {
	mail_to a@bogus.example bogus
	wait_until fate 'status=4.4.3 .*its DNSSEC signatures do not hold'
	mail_to a@bogus-tlsa.example bogus-tlsa
	wait_until fate 'status=4.7.5 .*TLSA'
	not at 2 bogus
	not at 1 bogus
	not at 3 bogus-tlsa
	mail_to a@plain plain
	wait_until logged 'delivered .*via="mx1.plain\[127.0.1.1\]:25 TLSv1.3 [^ ]* unverified"'
}

@test "a host of a route that is this server: refused when it is read, kept back when the DNS says so" {
	sed 's/smarthost = mx/smarthost = "127.0.0.1:465"/' "$DIR/more.conf" > "$DIR/loop-more.conf"
	sed 's/more.conf/loop-more.conf/' "$DIR/sekisho.conf" > "$DIR/loop.conf"
	run in_ns "$BIN/sekisho-msad" -c "$DIR/loop.conf" -n
	[ "$status" != 0 ]
	[[ $output == *"127.0.0.1:465 is this server itself"* ]]
	echo "myself.example  self.example:465" >> "$DIR/map"
	reload reloaded
	mail_to a@myself.example myself
	wait_until fate 'status=4.4.6 .*that is this server itself'
	sed -i '$d' "$DIR/map"
	reload reloaded
}

@test "MTA-STS: the policy is fetched, kept and obeyed" {
	mail_to a@sts.example sts
	wait_until at 1 sts
	logged 'sts-policy domain=sts.example mode=enforce'
	wait_until logged 'delivered .*via="mx1.example\[127.0.1.1\]:25 TLSv1.3 [^ ]* sts"'
	mail_to a@sts-bad.example sts-bad
	wait_until fate 'MTA-STS policy names none of its mail servers'
	not at 2 sts-bad
	[ -s "$DIR/state/msa/sts/sts.example" ]
}

@test "LMTP, and a fallback for what was deferred twice" {
	mail_to a@local.example,b@local.example lmtp
	wait_until logged_times 'queue delivered .*reply="250 2.2.0 Ok" via=\[127.0.2.1\]:24' 2
	mail_to a@late.example late
	wait_until at 4 late
	[ "$(fate 'reply="451 4.3.0 not now"' | wc -l)" = 2 ]
}

# The mail of the tests above is tried again and again meanwhile.
@test "what was kept back for its safety does not go to a fallback that proves nothing" {
	kept_back() { [ "$(fate "status=4.7.5 .*$1" | wc -l)" -ge 3 ]; }
	TIMEOUT_S=40 wait_until kept_back 'mx-bad.example does not hold'
	TIMEOUT_S=40 wait_until kept_back 'dane: the next mail server does not offer TLS'
	TIMEOUT_S=40 wait_until kept_back 'MTA-STS policy names none'
	for m in dane-bad dane-clear sts-bad; do
		not at 4 "$m"
		not at 2 "$m"
	done
}

ctl() { in_ns "$BIN/sekishoctl" -c "$DIR/sekisho.conf" "$@"; }
counted() { ctl tlsrpt show --json "$2" | jq -e "$1"; } # JQ DOMAIN

@test "how TLS went is counted by domain and policy, survives kill -9, and is reported to who asks" {
	local today yesterday before
	today=$(date -u +%F) yesterday=$(date -u -d yesterday +%F)
	spawn acctd "$BIN/sekisho-acctd" -c "$DIR/sekisho.conf"
	wait_until logged "feed connected path"
	for d in dane dane-bad dane-clear sts-test sts-none plain-mx; do mail_to "a@$d.example" "rpt-$d"; done
	wait_until counted '.policies[0] | .policy["policy-type"] == "tlsa" and .policy["policy-domain"] == "mx3.example"
		and (.policy["policy-string"][0] | startswith("3 1 1 ")) and .summary["total-successful-session-count"] >= 1' dane.example
	wait_until counted '.policies[0]["failure-details"][0] | .["result-type"] == "validation-failure" and .["receiving-mx-hostname"] == "mx-bad.example"
		and .["receiving-ip"] == "127.0.1.3" and .["sending-mta-ip"] == "127.0.0.1"' dane-bad.example
	wait_until counted '.policies[0]["failure-details"][0]["result-type"] == "starttls-not-supported"' dane-clear.example
	wait_until counted '.policies[0] | .policy["policy-type"] == "sts" and .policy["mx-host"] == ["*.elsewhere.example"]
		and .["failure-details"][0]["result-type"] == "starttls-not-supported"' sts-test.example
	# Testing: what failed is told, and the mail goes all the same.
	wait_until at 2 rpt-sts-test
	wait_until counted '[.policies[]["failure-details"][]?["result-type"]] | index("sts-policy-fetch-error")' sts-none.example
	wait_until counted '.policies[0] | .policy["policy-type"] == "no-policy-found" and .summary["total-failure-session-count"] >= 1' plain-mx.example
	ctl tlsrpt show dane-bad.example | grep -q 'validation-failure'
	run ctl tlsrpt show nobody.example
	[ "$status" = 1 ]

	before=$(dane_row)
	kill -9 $(in_ns pgrep -P "$(cat "$DIR/msad.pid")" -x sekisho-relay) "$(cat "$DIR/msad.pid")"
	wait_until gone "$(cat "$DIR/msad.pid")"
	start_msad
	same() { [ "$(dane_row)" = "$before" ]; }
	wait_until same

	run ctl tlsrpt send "$today"
	[ "$status" != 0 ]
	# The day is over.
	stop_msad
	mv "$DIR/state/msa/tlsrpt/$today" "$DIR/state/msa/tlsrpt/$yesterday"
	start_msad
	touch "$DIR/posts.no"
	report() { ctl tlsrpt send --json | jq -e ".sent == $1"; }
	first() { ctl tlsrpt send --json | jq -e '.sent >= 2'; }
	wait_until first
	wait_until report 2
	# Over HTTPS, to who takes no mail for it: when it is not taken, and where nobody is, again later.
	wait_until logged 'relay tlsrpt-unsent domain=pref.example .*why="the server answered with a code that is not 2xx"'
	wait_until logged 'relay tlsrpt-unsent domain=implicit.example .*to=https://mx4.example/tls'
	rm "$DIR/posts.no"
	report 2
	wait_until logged "relay tlsrpt-sent domain=pref.example day=$yesterday to=\"*https://mta-sts.sts.example/v1/tls"
	grep '^201 ' "$DIR/posts" | python3 -c 'if True:
	import gzip, json, sys
	code, url, type, body = sys.stdin.read().split()
	assert (url, type) == ("mta-sts.sts.example/v1/tls?a=b", "application/tlsrpt+gzip")
	r = json.loads(gzip.decompress(bytes.fromhex(body)))
	assert r["report-id"] and r["policies"][0]["policy"]["policy-domain"] == "pref.example", r'
	reports() { [ "$(grep -rlE --include='*.eml' '^TLS-Report-Domain: ' "$DIR/h1/mail" | wc -l)" = "$1" ]; }
	wait_until reports 2
	report 1
	/usr/bin/python3 - "$(openssl pkey -in "$DIR/dkim.pem" -pubout -outform DER | base64 -w0)" "$yesterday" \
		$(grep -rlE --include='*.eml' '^TLS-Report-Domain: ' "$DIR/h1/mail") <<-'P'
	import dkim, email, email.policy, gzip, json, sys
	key, day = sys.argv[1:3]
	to = {"dane.example": "tls-dane@pref.example", "sts-test.example": "tls-sts@pref.example"}
	for name in sys.argv[3:]:
	    raw = open(name, "rb").read()
	    assert dkim.verify(raw, dnsfunc=lambda n, timeout=5: b"v=DKIM1; k=rsa; p=" + key.encode() if n == b"s1._domainkey.isp.example." else None), name
	    m = email.message_from_bytes(raw, policy=email.policy.default)
	    domain = m["TLS-Report-Domain"]
	    envelope = json.load(open(name[:-3] + "env"))
	    assert envelope["from"].startswith("MAIL FROM:<>") and envelope["rcpts"] == ["RCPT TO:<%s>" % to.pop(domain)], envelope
	    assert m.get_content_type() == "multipart/report" and m.get_param("report-type") == "tlsrpt"
	    assert m["TLS-Report-Submitter"] == "smtp.isp.example" and m["TLS-Required"] == "No"
	    text, packed = m.iter_parts()
	    assert packed.get_content_type() == "application/tlsrpt+gzip" and packed.get_filename().startswith("smtp.isp.example!%s!" % domain)
	    report = json.loads(gzip.decompress(packed.get_payload(decode=True)))
	    assert set(report) == {"organization-name", "date-range", "contact-info", "report-id", "policies"}
	    assert report["date-range"] == {"start-datetime": day + "T00:00:00Z", "end-datetime": day + "T23:59:59Z"}
	    for p in report["policies"]:
	        assert sum(f["failed-session-count"] for f in p.get("failure-details", [])) == p["summary"]["total-failure-session-count"]
	assert not to, to
	P
}
dane_row() { ctl tlsrpt show --json | jq -cS '[.rows[] | select(.domain == "dane.example")]'; }

exim_receives() { # on 127.0.1.8
	local e=$DIR/exim
	exim_unpacked || return 1
	local x=$EXIM
	mkdir -p "$e/spool"
	exim_user "$e"
	cp "$DIR/tls/other.crt" "$DIR/tls/other.key" "$e/"
	chown -R 64990:64990 "$e/spool" "$e/other.key"
	cat > "$e/conf" <<-END
	primary_hostname = mx3.example
	exim_path = $x/usr/sbin/exim4
	spool_directory = $e/spool
	log_file_path = $e/spool/%slog
	pid_file_path = $e/spool/pid
	keep_environment =
	local_interfaces = 127.0.1.8
	daemon_smtp_ports = 25
	tls_advertise_hosts = *
	tls_certificate = $e/other.crt
	tls_privatekey = $e/other.key
	chunking_advertise_hosts = *
	queue_only
	acl_smtp_rcpt = rcpt
	begin acl
	rcpt:
	  deny local_parts = nobody
	    message = no such user
	  accept
	END
	chmod 644 "$e/conf"
	spawn exim unshare -m sh -ec 'mount --bind "$1/passwd" /etc/passwd; mount --bind "$1/group" /etc/group
		exec "$2/usr/sbin/exim4" -C "$1/conf" -bdf' sh "$e" "$x"
	wait_until in_ns nc -z 127.0.1.8 25
}

@test "Exim: TLS with DANE, PIPELINING, BDAT; a recipient it does not know" {
	exim_receives || skip "exim4-daemon-light cannot be fetched: $(tail -n 1 "$DIR/exim-get.log")"
	mail_to a@exim.example,nobody@exim.example exim
	wait_until logged 'queue delivered .*via="mx8.example\[127.0.1.8\]:25 TLSv1.3 [^ ]* dane"'
	wait_until logged 'queue bounced .*reply="550 no such user"'
	wait_until grep -q ' K S=.* from <user01@isp.example>\| <= user01@isp.example .* K S=' "$DIR/exim/spool/mainlog"
}

@test "msad is killed while a server thinks about a message: its successor delivers the others at once, and that one once" {
	local id
	stop_msad
	TIMEOUT=20s base ""
	start_msad
	mail_to a@slow.example slow
	wait_until grep -q '^dot' "$DIR/h7/log"
	id=$(sed -n 's/.* \([0-9a-z]\{16\}\) smtp accepted .*/\1/p' "$DIR/msad.log" | tail -1)
	kill -9 "$(cat "$DIR/msad.pid")"
	start_msad
	mail_to a@pref.example quick
	wait_until at 1 quick
	not logged "$id queue"
	wait_until logged "$id queue delivered .*reply=\"250 2.0.0 taken\""
	[ "$(at 7 slow | wc -l)" = 1 ]
	not compgen -G "$DIR/state/msa/orphan.*"
	stop_msad
	base ""
	start_msad
}

@test "three hundred messages for a server that hangs, as many for one that is away: others pass" {
	in_ns python3 - <<-'P'
	import smtplib, ssl
	c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
	s = smtplib.SMTP_SSL("127.0.0.1", 465, context=c)
	s.login("user01", "secret01")
	for i in range(300):
	    for d in ("stall", "gone"):
	        s.sendmail("user01@isp.example", [f"x{i}@{d}.example"], f"From: user01@isp.example\r\nSubject: {d}\r\n\r\nx\r\n")
	P
	local from=$EPOCHREALTIME
	mail_to a@pref.example passes
	wait_until at 1 passes
	echo "# passed after $(echo "$EPOCHREALTIME - $from" | bc) s" >&3
	[ "$(metric sekisho_msa_queue_messages)" -gt 500 ]
	[ "$(grep -c 'queue deferred' "$DIR/msad.log")" -lt 100 ]
}
