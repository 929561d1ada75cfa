#!/usr/bin/env bats
# The PROXY protocol in front of sekisho-msad: curl as a client that speaks version 1 itself, and raw headers of both.

load submission

setup_file() {
	export NS=sekisho-proxy-$$
	submission_up
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/tls/key.pem" -out "$DIR/tls/cert.pem" -days 30 \
		-subj "/CN=smtp.isp.example" -addext "subjectAltName=DNS:smtp.isp.example,IP:127.0.0.1" 2>/dev/null
	ip -n "$NS" addr add 127.0.0.2/32 dev lo
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	greet_delay = 0
	proxy_from = {\"127.0.0.2/32\"}
	max_sessions_per_client = 2"
	start_msad
}

teardown_file() { submission_down; }

# What 587 says to octets (printf's escapes) from the proxy's address, or from ADDRESS.
raw() { # OCTETS [ADDRESS]
	printf "$1" | in_ns socat -T10 STDIO,ignoreeof "TCP:127.0.0.1:587,bind=${2:-127.0.0.2}" | tr -d '\r'
}

V2='\r\n\r\n\0\r\nQUIT\n'

@test "version 1 and 2: the client the header names is the client" {
	got=$(raw 'PROXY TCP4 198.51.100.7 127.0.0.1 40001 587\r\nEHLO me\r\nQUIT\r\n')
	[[ $got == 220*221* ]]
	wait_until logged 'smtp end client=198.51.100.7 port=40001'
	got=$(raw 'PROXY TCP6 2001:db8::7 2001:db8::1 40002 587\r\nEHLO me\r\nQUIT\r\n')
	[[ $got == 220*221* ]]
	wait_until logged 'smtp end client=2001:db8::7 port=40002'
	got=$(raw "$V2"'\x21\x11\x00\x0c\xc6\x33\x64\x08\x7f\x00\x00\x01\x9c\x43\x02\x4bEHLO me\r\nQUIT\r\n')
	[[ $got == 220*221* ]]
	wait_until logged 'smtp end client=198.51.100.8 port=40003'
	got=$(raw "$V2"'\x20\x00\x00\x00QUIT\r\n')
	[[ $got == 220*221* ]]
	wait_until logged 'smtp end client=127.0.0.2 '
}

@test "curl speaks it itself, before TLS on 465" {
	in_ns curl -sS --haproxy-protocol --interface 127.0.0.2 --resolve smtp.isp.example:465:127.0.0.1 --cacert "$DIR/tls/cert.pem" \
		smtps://smtp.isp.example/me -X NOOP
	# An octet read too many would break the handshake; the client is 127.0.0.2 by its own word, and by the header.
	[ "$(grep -c 'smtp end client=127.0.0.2 .*why=quit' "$DIR/msad.log")" -ge 2 ]
	not in_ns curl -sS --interface 127.0.0.2 --resolve smtp.isp.example:465:127.0.0.1 --cacert "$DIR/tls/cert.pem" smtps://smtp.isp.example/me -X NOOP
	wait_until logged 'io proxy-refused proxy=127.0.0.2 why="no PROXY header"'
}

@test "without a header the proxy gets nothing; with one, nobody else does" {
	[ -z "$(raw 'EHLO me\r\nQUIT\r\n')" ]
	got=$(raw 'PROXY TCP4 198.51.100.66 127.0.0.1 1 587\r\nQUIT\r\n' 127.0.0.1)
	[[ $got == *"500 5.5.2"*221* ]]
	not grep -q 'client=198.51.100.66' "$DIR/msad.log"
	# Silence is not waited for long.
	in_ns socat -T20 STDIO,ignoreeof TCP:127.0.0.1:587,bind=127.0.0.2 < /dev/null > "$DIR/out" 3>&- &
	wait_until logged 'proxy-refused proxy=127.0.0.2 why="no header in time"'
	[ ! -s "$DIR/out" ]
}

@test "bounds are the client's, not the proxy's" {
	hold() { # CLIENT N: a session that says nothing more
		in_ns socat -T20 STDIO,ignoreeof TCP:127.0.0.1:587,bind=127.0.0.2 < <(printf "PROXY TCP4 $1 127.0.0.1 1 587\r\n") > "$DIR/held.$2" 3>&- &
		echo $! > "$DIR/held$2.pid"
	}
	hold 198.51.100.20 1
	hold 198.51.100.20 2
	hold 198.51.100.21 3
	for i in 1 2 3; do
		wait_until grep -q '^220' "$DIR/held.$i"
	done
	[[ $(raw 'PROXY TCP4 198.51.100.20 127.0.0.1 1 587\r\n') == "421 4.7.0 "*"Too many sessions from your address"* ]]
	[[ $(raw 'PROXY TCP4 198.51.100.22 127.0.0.1 1 587\r\nQUIT\r\n') == 220* ]]
}
