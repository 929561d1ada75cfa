#!/usr/bin/env bats
# The private keys of sekisho-msad are in sekisho-key and nowhere else; what happens when that process ends or stands still.

load submission

setup_file() {
	export NS=sekisho-key-$$
	submission_up
	pair ec ec -pkeyopt ec_paramgen_curve:P-256
	pair rsa rsa:2048
	pair ed ed25519
	pair pss rsa-pss -pkeyopt rsa_keygen_bits:2048
	pair p384 ec -pkeyopt ec_paramgen_curve:P-384
	printf secret01 | saslpasswd2 -p -c -f "$DIR/sasldb2" -u isp.example user01
	configure "tls_cert = \"$DIR/tls/ec.crt\"
	tls_key = \"$DIR/tls/ec.key\"
	tls_certs = {\"$DIR/tls/rsa.crt $DIR/tls/rsa.key\", \"$DIR/tls/ed.crt $DIR/tls/ed.key\",
		\"$DIR/tls/pss.crt $DIR/tls/pss.key\", \"$DIR/tls/p384.crt $DIR/tls/p384.key\"}"
	start_msad
}

teardown_file() { submission_down; }

pair() { # NAME KIND...
	local name=$1
	shift
	openssl req -x509 -newkey "$@" -nodes -keyout "$DIR/tls/$name.key" -out "$DIR/tls/$name.crt" -days 30 -subj "/CN=$name.example" \
		-addext "subjectAltName=DNS:$name.example" 2>/dev/null
}

hello() { in_ns timeout 30 openssl s_client -connect 127.0.0.1:465 "$@" < /dev/null 2>&1; }
up() { hello "$@" | grep -q 'New, TLSv1'; }
key_pid() { pgrep -x sekisho-key -P "$(cat "$DIR/msad.pid")"; }
find_key() { python3 "$BATS_TEST_DIRNAME/find_key.py" "$1" "$2"; }
status() { metric "sekisho_msa_key_$1"; }

@test "each key is in sekisho-key, and not in sekisho-msad, its workers or its relay" {
	local k p
	# Also after it was used, and after a reload.
	reload reloaded
	for k in ec rsa ed pss p384; do
		up -servername $k.example
	done
	[ "$(key_pid | wc -l)" = 1 ]
	for k in ec rsa; do
		find_key "$(key_pid)" "$DIR/tls/$k.key"
		not find_key "$(cat "$DIR/msad.pid")" "$DIR/tls/$k.key"
		for p in $(pgrep -P "$(cat "$DIR/msad.pid")" -x 'sekisho-auth|sekisho-relay'); do
			not find_key "$p" "$DIR/tls/$k.key"
		done
	done
}

@test "it has nothing but its socket and stderr, no capability, no dump, and a filter that kills" {
	local p
	p=$(key_pid)
	[ "$(ls "/proc/$p/fd" | tr '\n' ' ')" = '0 1 2 3 ' ]
	readlink "/proc/$p/fd/3" | grep -q '^socket:'
	grep -q '^CapEff:[[:space:]]*0000000000000000$' "/proc/$p/status"
	grep -q '^NoNewPrivs:[[:space:]]*1$' "/proc/$p/status"
	grep -q '^Seccomp:[[:space:]]*2$' "/proc/$p/status"
	grep -q '^Max core file size *0 *0 ' "/proc/$p/limits"
}

@test "every kind of key, with TLS 1.3 and 1.2, verified by openssl and gnutls" {
	local k
	for k in ec rsa ed p384; do
		for v in -tls1_3 -tls1_2; do
			hello $v -servername $k.example -CAfile "$DIR/tls/$k.crt" | grep -q 'Verify return code: 0' || { echo "$k $v"; false; }
		done
	done
	for a in rsa_pkcs1_sha256 rsa_pkcs1_sha384 rsa_pkcs1_sha512 rsa_pss_rsae_sha256 rsa_pss_rsae_sha384 rsa_pss_rsae_sha512; do
		hello -tls1_2 -servername rsa.example -sigalgs $a -CAfile "$DIR/tls/rsa.crt" | grep -q 'Verify return code: 0' || { echo "$a"; false; }
	done
	for a in ECDSA+SHA256 ECDSA+SHA384 ECDSA+SHA512; do
		hello -tls1_2 -servername ec.example -sigalgs $a -CAfile "$DIR/tls/ec.crt" | grep -q 'Verify return code: 0' || { echo "$a"; false; }
	done
	printf 'QUIT\r\n' | in_ns timeout 30 gnutls-cli --x509cafile "$DIR/tls/rsa.crt" --sni-hostname rsa.example --verify-hostname rsa.example \
		-p 465 127.0.0.1 > "$DIR/out" 2>&1
	grep -q 'The certificate is trusted' "$DIR/out"
	[ "$(status signatures_total)" -ge 20 ]
	[ "$(status failures_total)" = 0 ]
}

@test "it ends: sessions go on, handshakes fail with an alert and are counted, a new one comes with the same keys" {
	local p n
	rm -f "$DIR/in" "$DIR/heard"
	mkfifo "$DIR/in"
	in_ns openssl s_client -quiet -crlf -connect 127.0.0.1:465 < "$DIR/in" > "$DIR/heard" 2>/dev/null 3>&- &
	exec 7> "$DIR/in"
	wait_until grep -q '^220' "$DIR/heard"
	p=$(key_pid)
	# It cannot come back while its file is away.
	mv "$DIR/tls/rsa.key" "$DIR/tls/away"
	kill -9 "$p"
	wait_until logged "key down pid=$p"
	wait_until logged 'key down .*rsa.key: No such file'
	[ "$(status up)" = 0 ]
	hello > "$DIR/out" || true
	grep -q 'alert internal error' "$DIR/out"
	[ "$(status failures_total)" -ge 1 ]
	printf 'EHLO me\n' >&7
	wait_until grep -q '^250 ' "$DIR/heard"
	# Another key at that place is not taken.
	cp "$DIR/tls/ec.key" "$DIR/tls/rsa.key"
	n=$(status restarts_total)
	tried_twice() { [ "$(status restarts_total)" -ge $((n + 2)) ]; }
	wait_until tried_twice
	[ "$(status up)" = 0 ]
	mv "$DIR/tls/away" "$DIR/tls/rsa.key"
	wait_until logged 'key up-again'
	[ "$(status up)" = 1 ]
	up
	[ "$(status restarts_total)" -ge 1 ]
	exec 7>&-
}

# open N: a session through file descriptor N, what it hears in $DIR/heard.N
open() {
	rm -f "$DIR/in.$1" "$DIR/heard.$1"
	mkfifo "$DIR/in.$1"
	in_ns openssl s_client -quiet -crlf -connect 127.0.0.1:465 < "$DIR/in.$1" > "$DIR/heard.$1" 2>/dev/null 3>&- 7>&- 8>&- &
	eval "exec $1> \"\$DIR/in.$1\""
}

waiting() { [ "$(status waiting)" = "$1" ]; }

# It has a second to sign, then it is taken for dead: what the tests do meanwhile may come too late on a busy machine.
stands_still() {
	local p n
	open 7
	wait_until grep -q '^220' "$DIR/heard.7" || return
	p=$(key_pid)
	n=$(grep -c 'key down' "$DIR/msad.log")
	kill -STOP "$p"
	open 8
	down() { [ "$(grep -c 'key down' "$DIR/msad.log")" -gt "$n" ]; }
	asked() { waiting 1 || down; }
	wait_until asked || return
	# It is asked, and says nothing: a session that is there gets its answers.
	printf 'NOOP\n%.0s' 1 2 3 4 5 >&7
	noops() { [ "$(grep -c '^250 2.0.0' "$DIR/heard.7")" = 5 ]; }
	wait_until noops || return
	waiting 1 && [ ! -s "$DIR/heard.8" ] || return
	kill -CONT "$p"
	wait_until grep -q '^220' "$DIR/heard.8" || return
	exec 7>&- 8>&-
	waiting 0 && [ "$(grep -c 'key down' "$DIR/msad.log")" = "$n" ] && [ "$(key_pid)" = "$p" ]
}
@test "it stands still in the middle of a handshake: other sessions are served meanwhile, and the handshake goes on when it does" {
	in_time stands_still
}

ends() {
	local p i n down clients=()
	wait_until up
	p=$(key_pid)
	n=$(grep -c 'key up-again' "$DIR/msad.log") down=$(grep -c 'key down' "$DIR/msad.log")
	kill -STOP "$p"
	for i in 1 2 3 4 5 6; do
		hello > "$DIR/out.$i" &
		clients+=($!)
	done
	asked() { waiting 6 || [ "$(grep -c 'key down' "$DIR/msad.log")" -gt "$down" ]; }
	wait_until asked
	kill -KILL "$p"
	wait "${clients[@]}" || true
	for i in 1 2 3 4 5 6; do
		grep -q 'alert internal error' "$DIR/out.$i" || return
	done
	waiting 0 && wait_until logged_times 'key up-again' $((n + 1)) && wait_until up
}
@test "it ends in the middle of many handshakes: an alert for each, and none is left over" {
	in_time ends
}

@test "it stands still for good: who waits gets an alert at the deadline, who goes away leaves nothing, then a new one signs" {
	local p n waits leaves
	p=$(key_pid)
	n=$(grep -c 'key up-again' "$DIR/msad.log")
	kill -STOP "$p"
	hello > "$DIR/out" &
	waits=$!
	ip netns exec "$NS" openssl s_client -connect 127.0.0.1:465 < /dev/null > /dev/null 2>&1 3>&- &
	leaves=$!
	# Both have asked, or are so late that the deadline has passed.
	asked() { waiting 2 || logged "key down pid=$p "; }
	wait_until asked
	kill "$leaves" || true
	wait "$waits" || true
	grep -q 'alert internal error' "$DIR/out"
	wait_until logged "key down pid=$p reason=\"no answer in time\""
	wait_until logged_times 'key up-again' $((n + 1))
	waiting 0
	up
	not kill -0 "$p"
}

@test "a reload has a key process of its own; the one before goes, though there are sessions" {
	local p
	rm -f "$DIR/in" "$DIR/heard"
	mkfifo "$DIR/in"
	in_ns openssl s_client -quiet -crlf -connect 127.0.0.1:465 < "$DIR/in" > "$DIR/heard" 2>/dev/null 3>&- &
	exec 7> "$DIR/in"
	wait_until grep -q '^220' "$DIR/heard"
	p=$(key_pid)
	reload reloaded
	wait_until gone "$p"
	[ "$(key_pid | wc -l)" = 1 ]
	up
	printf 'QUIT\n' >&7
	wait_until grep -q '^221' "$DIR/heard"
	exec 7>&-
}

@test "tls_cert, a reload with a wrong key: the old process stays, and the failed one goes" {
	local p
	p=$(key_pid)
	mv "$DIR/tls/ed.key" "$DIR/tls/away"
	reload reload-failed
	[ "$(key_pid)" = "$p" ]
	mv "$DIR/tls/away" "$DIR/tls/ed.key"
	up
}
