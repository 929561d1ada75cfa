#!/usr/bin/env bats
# The TLS of sekisho-msad, as openssl, curl and gnutls-cli see it: certificates by name and kind of key, protocol
# versions, resumption, stapling, client certificates, and reloads.

load submission

setup_file() {
	export NS=sekisho-tls-$$
	submission_up
	local t=$DIR/tls
	ca "$t/ca" "Test CA"
	ca "$t/people" "Test CA of people"
	certificate main-ec ec DNS:smtp.isp.example,IP:127.0.0.1
	certificate main-rsa rsa DNS:smtp.isp.example,IP:127.0.0.1
	certificate other ec DNS:mail.other.example,DNS:*.wild.example
	certificate named ec DNS:ignored.example
	mkdir -p "$t/folder/live"
	certificate folder/pair rsa DNS:pair.example
	certificate folder/live/x ec DNS:live.example
	mv "$t/folder/live/x.crt" "$t/folder/live/fullchain.pem"
	mv "$t/folder/live/x.key" "$t/folder/live/privkey.pem"
	person alice "email:user01@isp.example" people
	person stranger "email:user01@isp.example" ca
	person two "email:user01@isp.example,email:user02@isp.example" people
	printf secret01 | saslpasswd2 -p -c -f "$DIR/sasldb2" -u isp.example user01
	full
	start_msad
}

teardown_file() { submission_down; }

ca() { # FILE NAME
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.crt" -days 30 -subj "/CN=$2" 2>/dev/null
	: > "$1.index"
	echo 1000 > "$1.serial"
}

certificate() { # NAME ec|rsa SAN: signed by the test CA
	local f=$DIR/tls/$1 kind=(ec -pkeyopt ec_paramgen_curve:P-256)
	[ "$2" = ec ] || kind=(rsa:2048)
	openssl req -newkey "${kind[@]}" -nodes -keyout "$f.key" -out "$f.csr" -subj "/CN=$(basename "$1")" -addext "subjectAltName=$3" 2>/dev/null
	openssl x509 -req -in "$f.csr" -CA "$DIR/tls/ca.crt" -CAkey "$DIR/tls/ca.key" -CAcreateserial -days 30 -copy_extensions copy -out "$f.crt" 2>/dev/null
}

person() { # NAME SAN CA
	local f=$DIR/tls/$1
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$f.key" -out "$f.csr" -subj "/CN=$1" -addext "subjectAltName=$2" 2>/dev/null
	openssl x509 -req -in "$f.csr" -CA "$DIR/tls/$3.crt" -CAkey "$DIR/tls/$3.key" -CAcreateserial -days 30 -copy_extensions copy -out "$f.crt" 2>/dev/null
}

full() { # MORE KEYS
	configure "tls_cert = \"$DIR/tls/main-ec.crt\"
	tls_key = \"$DIR/tls/main-ec.key\"
	tls_certs = {\"$DIR/tls/main-rsa.crt $DIR/tls/main-rsa.key\", \"$DIR/tls/other.crt $DIR/tls/other.key\",
		\"$DIR/tls/named.crt $DIR/tls/named.key given.example\", \"$DIR/tls/folder\"}
	$1"
}

# s_client's report of one handshake on 465; the session ends at once.
hello() { in_ns timeout 30 openssl s_client -connect 127.0.0.1:465 -CAfile "$DIR/tls/ca.crt" "$@" < /dev/null 2>&1; }
up() { hello "$@" | grep -q 'New, TLSv1'; }
subject() { hello "$@" | sed -n 's/^subject=CN = //p'; }

@test "the certificate goes by the name that is asked for; a name in full, a wildcard, from folders, given, unknown" {
	while read -r name want; do
		got=$(subject -servername "$name")
		[ "$got" = "$want" ] || { echo "$name: got '$got', not '$want'"; false; }
	done <<-END
	smtp.isp.example main-ec
	SMTP.isp.EXAMPLE main-ec
	mail.other.example other
	a.wild.example other
	a.b.wild.example main-ec
	wild.example main-ec
	given.example named
	ignored.example main-ec
	pair.example pair
	live.example x
	unknown.example main-ec
	END
	[ "$(subject -noservername)" = main-ec ]
	grep -q 'tls certificate file=.*main-rsa.crt name=smtp.isp.example names=1 key=RSA' "$DIR/msad.log"
}

@test "ECDSA and RSA side by side: each client gets what it can verify" {
	[ "$(subject -servername smtp.isp.example -sigalgs RSA-PSS+SHA256)" = main-rsa ]
	[ "$(subject -noservername -sigalgs RSA-PSS+SHA256)" = main-rsa ]
	[ "$(subject -servername smtp.isp.example -tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256)" = main-rsa ]
	[ "$(subject -servername smtp.isp.example -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256)" = main-ec ]
}

@test "TLS 1.3 before 1.2, nothing older; no static RSA, no CBC; ALPN is ignored" {
	hello -servername smtp.isp.example > "$DIR/out"
	grep -q 'New, TLSv1.3' "$DIR/out"
	grep -q 'Verify return code: 0 (ok)' "$DIR/out"
	hello -tls1_2 | grep -q 'New, TLSv1.2'
	not up -tls1_1 -cipher 'ALL:@SECLEVEL=0'
	not up -tls1_2 -cipher AES128-GCM-SHA256:AES128-SHA:ECDHE-ECDSA-AES128-SHA
	up -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256
	hello -alpn h2,smtp > "$DIR/out"
	grep -q 'New, TLSv1.3' "$DIR/out"
	grep -q 'No ALPN negotiated' "$DIR/out"
}

@test "curl and gnutls-cli verify it, with STARTTLS too" {
	in_ns curl -sS --resolve smtp.isp.example:465:127.0.0.1 --cacert "$DIR/tls/ca.crt" smtps://smtp.isp.example/me -X NOOP
	in_ns curl -sS --resolve mail.other.example:587:127.0.0.1 --ssl-reqd --cacert "$DIR/tls/ca.crt" smtp://mail.other.example:587/me -X NOOP
	printf 'QUIT\r\n' | in_ns timeout 30 gnutls-cli --x509cafile "$DIR/tls/ca.crt" --sni-hostname pair.example --verify-hostname pair.example \
		--starttls-proto smtp -p 587 127.0.0.1 > "$DIR/out" 2>&1
	grep -q 'The certificate is trusted' "$DIR/out"
	printf 'QUIT\r\n' | in_ns timeout 30 gnutls-cli --x509cafile "$DIR/tls/ca.crt" --sni-hostname live.example --verify-hostname live.example \
		-p 465 127.0.0.1 > "$DIR/out" 2>&1
	grep -q 'The certificate is trusted' "$DIR/out"
}

# A whole session: the tickets have come when it ends.
session() { printf 'QUIT\r\n' | in_ns timeout 30 openssl s_client -ign_eof -connect 127.0.0.1:465 "$@" 2>/dev/null; }
resumed() { session "$@" | grep -qE '^Reused, TLS'; }
kept() { session "$@" > /dev/null; }

@test "sessions are resumed with both versions, and after a reload" {
	for v in -tls1_2 -tls1_3; do
		kept $v -sess_out "$DIR/session$v"
		resumed $v -sess_in "$DIR/session$v"
	done
	reload reloaded
	resumed -tls1_3 -sess_in "$DIR/session-tls1_3"
	# A damaged ticket is no error, but a full handshake.
	kept -tls1_2 -sess_out "$DIR/mine"
	openssl sess_id -in "$DIR/mine" -outform DER -out "$DIR/mine.der"
	python3 - "$DIR/mine.der" <<-'END'
	import sys
	b = bytearray(open(sys.argv[1], "rb").read())
	b[-40] ^= 1
	open(sys.argv[1], "wb").write(b)
	END
	openssl sess_id -inform DER -in "$DIR/mine.der" -out "$DIR/mine" || skip "s_client does not read it any more"
	not resumed -tls1_2 -sess_in "$DIR/mine"
	hello -tls1_2 | grep -q 'New, TLSv1.2'
}

ocsp() { # CERTIFICATE good|revoked : its .ocsp file
	local t=$DIR/tls serial until
	serial=$(openssl x509 -in "$t/$1.crt" -noout -serial | cut -d= -f2)
	if [ "$2" = good ]; then
		printf 'V\t491231000000Z\t\t%s\tunknown\t/CN=%s\n' "$serial" "$1" > "$t/ca.index"
	else
		printf 'R\t491231000000Z\t250101000000Z\t%s\tunknown\t/CN=%s\n' "$serial" "$1" > "$t/ca.index"
	fi
	openssl ocsp -issuer "$t/ca.crt" -cert "$t/$1.crt" -reqout "$t/req" 2>/dev/null
	openssl ocsp -index "$t/ca.index" -CA "$t/ca.crt" -rsigner "$t/ca.crt" -rkey "$t/ca.key" -reqin "$t/req" -respout "$t/$1.crt.ocsp" -ndays 2 > /dev/null 2>&1
}

@test "an OCSP response beside the certificate is stapled; a wrong, foreign or bad one is not, and says why" {
	hello -status | grep -q 'OCSP response: no response sent'
	ocsp main-ec good
	ocsp main-rsa good
	reload reloaded
	hello -status -servername smtp.isp.example > "$DIR/out"
	grep -q 'OCSP Response Status: successful' "$DIR/out"
	grep -q 'Cert Status: good' "$DIR/out"
	# The RSA certificate has its own.
	hello -status -sigalgs RSA-PSS+SHA256 | grep -A20 'OCSP Response Data' |
		grep -qi "Serial Number: $(openssl x509 -in "$DIR/tls/main-rsa.crt" -noout -serial | cut -d= -f2)"
	cp "$DIR/tls/main-rsa.crt.ocsp" "$DIR/tls/main-ec.crt.ocsp"
	reload reloaded
	wait_until logged 'no-stapling .*main-ec.*why="it is not about this certificate"'
	hello -status | grep -q 'OCSP response: no response sent'
	ocsp main-ec revoked
	reload reloaded
	wait_until logged 'no-stapling .*why="it does not say that the certificate is good"'
	echo rubbish > "$DIR/tls/main-ec.crt.ocsp"
	reload reloaded
	wait_until logged 'no-stapling .*why="not a successful OCSP response in DER"'
	rm "$DIR"/tls/*.ocsp
}

# A session that stays open; FIFO $DIR/talk, what it hears in $DIR/heard.
open_session() {
	rm -f "$DIR/talk" "$DIR/heard"
	mkfifo "$DIR/talk"
	ip netns exec "$NS" openssl s_client -quiet -connect 127.0.0.1:465 -servername smtp.isp.example < "$DIR/talk" > "$DIR/heard" 2>/dev/null 3>&- &
	echo $! > "$DIR/client.pid"
	exec 7> "$DIR/talk"
	wait_until grep -q '^220' "$DIR/heard"
}

@test "SIGHUP: new certificates for new sessions, the old sessions go on, and errors change nothing" {
	open_session
	cp "$DIR/tls/main-ec.crt" "$DIR/tls/keep.crt"
	cp "$DIR/tls/main-ec.key" "$DIR/tls/keep.key"
	certificate main-ec ec DNS:smtp.isp.example
	reload reloaded
	new=$(openssl x509 -in "$DIR/tls/main-ec.crt" -noout -fingerprint -sha256)
	[ "$(hello | openssl x509 -noout -fingerprint -sha256)" = "$new" ]
	printf 'EHLO me\r\n' >&7
	wait_until grep -q '^250 ENHANCEDSTATUSCODES' "$DIR/heard"
	# Each of these leaves everything as it is, and says what is wrong.
	bad() { # TEXT
		reload reload-failed
		tail -5 "$DIR/msad.log" | grep -q -- "$1" || { echo "expected: $1"; tail -3 "$DIR/msad.log"; false; }
		[ "$(hello | openssl x509 -noout -fingerprint -sha256)" = "$new" ]
	}
	mv "$DIR/tls/main-ec.key" "$DIR/tls/away"
	bad 'cannot read the key .*main-ec.key: No such file'
	cp "$DIR/tls/other.key" "$DIR/tls/main-ec.key"
	bad 'the key does not belong to the certificate: .*main-ec.key'
	openssl pkey -in "$DIR/tls/away" -aes256 -passout pass:x -out "$DIR/tls/main-ec.key"
	bad 'main-ec.key: it has a pass phrase'
	mv "$DIR/tls/away" "$DIR/tls/main-ec.key"
	mv "$DIR/tls/other.crt" "$DIR/tls/other.away"
	bad 'cannot read the certificate .*other.crt: no such file'
	head -c 300 "$DIR/tls/other.away" > "$DIR/tls/other.crt"
	bad 'cannot read the certificate .*other.crt'
	mv "$DIR/tls/other.away" "$DIR/tls/other.crt"
	full "tls_client_ca = \"$DIR/tls/main-ec.key\""
	bad 'cannot read the authorities .*main-ec.key'
	full "tls_policy = lax"
	bad 'tls_policy'
	full
	reload reloaded
	printf 'NOOP\r\nQUIT\r\n' >&7
	exec 7>&-
	wait_until grep -q '^221' "$DIR/heard"
}

@test "tls_policy = modern: TLS 1.3 alone" {
	full "tls_policy = modern"
	reload reloaded
	hello | grep -q 'New, TLSv1.3'
	not up -tls1_2
	full
	reload reloaded
	hello -tls1_2 | grep -q 'New, TLSv1.2'
}

@test "sslscan finds nothing old, weak or broken" {
	in_ns sslscan --no-colour --no-compression --starttls-smtp 127.0.0.1:587 > "$DIR/out"
	grep -qE 'TLSv1.3 +enabled' "$DIR/out"
	grep -qE 'TLSv1.2 +enabled' "$DIR/out"
	for v in SSLv2 SSLv3 TLSv1.0 TLSv1.1; do
		grep -qE "$v +disabled" "$DIR/out"
	done
	grep -q 'Session renegotiation not supported' "$DIR/out"
	not grep -qE '[ -](RC4|3?DES|CBC|NULL|EXP|MD5|SHA)( |$)' "$DIR/out"
	not grep -qE '(^|[^t]) vulnerable to heartbleed' "$DIR/out"
}
