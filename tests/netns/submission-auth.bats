#!/usr/bin/env bats
# Logins at sekisho-msad with real clients (gsasl, swaks, python) and real back ends: sasldb, SQLite through Cyrus SASL's
# plug-in, saslauthd before PAM, before a real LDAP server and before a real IMAP server.

load submission

setup_file() {
	export NS=sekisho-auth-$$
	submission_up
	local t=$DIR/tls
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$t/key.pem" -out "$t/cert.pem" -days 30 \
		-subj "/CN=smtp.isp.example" -addext "subjectAltName=DNS:smtp.isp.example,IP:127.0.0.1" 2>/dev/null
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$t/people.key" -out "$t/people.crt" -days 30 -subj "/CN=People" 2>/dev/null
	person alice "email:user01@isp.example" people
	person two "email:user01@isp.example,email:user02@isp.example" people
	person nobody "DNS:alice.example" people
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$t/self.key" -out "$t/self.crt" -days 30 -subj "/CN=self" \
		-addext "subjectAltName=email:user01@isp.example" 2>/dev/null
	for i in 01 02; do
		printf 'secret%s' "$i" | saslpasswd2 -p -c -f "$DIR/sasldb2" -u isp.example "user$i"
	done
	base
	start_msad
}

teardown_file() { submission_down; }

person() { # NAME SAN CA
	local f=$DIR/tls/$1
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$f.key" -out "$f.csr" -subj "/CN=$1" -addext "subjectAltName=$2" 2>/dev/null
	openssl x509 -req -in "$f.csr" -CA "$DIR/tls/$3.crt" -CAkey "$DIR/tls/$3.key" -CAcreateserial -days 30 -copy_extensions copy -out "$f.crt" 2>/dev/null
}

ALL='"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "EXTERNAL", "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5"'

base() { # MORE KEYS: every mechanism on 587, as by default on 465
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	tls_client_ca = \"$DIR/tls/people.crt\"
	auth_mechanisms = {$ALL}
	auth_mechanisms_of = {\"127.0.0.1:587 SCRAM-SHA-256 PLAIN LOGIN\"}
	error_delay = 0" "$1"
}

restart() { # MORE KEYS
	stop_msad
	rm -f "$DIR/msad.log"
	base "$1"
	start_msad
}

offered() { # PORT [OPTION...]
	printf 'EHLO me\nQUIT\n' | in_ns timeout 30 openssl s_client -quiet -crlf -connect 127.0.0.1:"$@" 2>/dev/null | tr -d '\r' | sed -n 's/^250-AUTH //p'
}

client() { # MECHANISM ...: the last reply on 465
	in_ns timeout 40 python3 "$BATS_TEST_DIRNAME/sasl_client.py" 465 "$DIR/tls/cert.pem" "$@"
}

says() { # REPLY-PREFIX MECHANISM ...
	local want=$1 got
	shift
	got=$(client "$@")
	[[ $got == "$want"* ]] || { echo "$*: got '$got', not '$want'"; tail -3 "$DIR/msad.log"; false; }
}

gnu() { # MECHANISM PASSWORD [OPTION...]
	local m=$1 p=$2
	shift 2
	in_ns timeout 40 gsasl --smtp --connect 127.0.0.1:588 --starttls --x509-ca-file="$DIR/tls/cert.pem" --mechanism "$m" \
		--authentication-id user01 --authorization-id '' --password "$p" --hostname smtp.isp.example "$@" < /dev/null
}

swaks_as() { # MECHANISM USER PASSWORD
	in_ns swaks --server 127.0.0.1 --port 465 --tls-on-connect --auth "$1" --au "$2" --ap "$3" --quit-after AUTH --timeout 30
}

@test "what is offered: by listener, by TLS version, by the certificate of the client" {
	[ "$(offered 587 -starttls smtp)" = "SCRAM-SHA-256 PLAIN LOGIN" ]
	[ "$(offered 465)" = "SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5 DIGEST-MD5" ]
	[ "$(offered 465 -tls1_2)" = "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5 DIGEST-MD5" ]
	[[ "$(offered 465 -cert "$DIR/tls/alice.crt" -key "$DIR/tls/alice.key")" == *" EXTERNAL "* ]]
	# What a listener does not offer it does not do either.
	got=$(printf 'EHLO me\r\nAUTH CRAM-MD5\r\nQUIT\r\n' | in_ns timeout 30 openssl s_client -quiet -starttls smtp -connect 127.0.0.1:587 2>/dev/null)
	[[ $got == *"504 5.5.4"* ]]
}

@test "SCRAM with SHA-1, SHA-256 and SHA-512, the first message with AUTH or after it" {
	for m in SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-512; do
		says 235 "$m" user01 secret01
		says 235 "$m" user01 secret01 --late
		says 235 "$m" user01 secret01 --tls12
		says "535 5.7.8" "$m" user01 wrong
		says "535 5.7.8" "$m" nobody secret01
	done
}

@test "one account, however its name is typed; with login_case = keep it is as typed" {
	: > "$DIR/msad.log"
	for m in PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5; do
		says 235 "$m" USER01 secret01
	done
	says 235 PLAIN User01@ISP.example secret01
	says "535 5.7.8" PLAIN USER01 Secret01
	[ "$(grep -c 'smtp login account=user01@isp.example ' "$DIR/msad.log")" = 6 ]
	restart 'login_case = keep'
	says "535 5.7.8" PLAIN USER01 secret01
	says 235 PLAIN user01 secret01
	restart ""
}

@test "realms: mechanisms and listeners of their own; what is not allowed fails like a wrong password" {
	printf secret88 | saslpasswd2 -p -c -f "$DIR/sasldb2" -u firm.example user88
	says 235 PLAIN user88@firm.example secret88
	cat >> "$DIR/more.conf" <<-'END'
	realm firm { domains = {"firm.example"} auth_mechanisms = {"scram-sha-256"} }
	realm home { domains = {"isp.example"} listeners = {"127.0.0.1:587", "127.0.0.1:588"} }
	END
	reload reloaded
	says 235 SCRAM-SHA-256 user88@firm.example secret88
	says "535 5.7.8 Authentication failed" PLAIN user88@FIRM.example secret88
	says "535 5.7.8 Authentication failed" PLAIN user88@firm.example wrong
	[ "$(grep -c 'login-failed account=user88@firm.example .*its realm does not allow' "$DIR/msad.log")" = 1 ]
	says "535 5.7.8 Authentication failed" PLAIN user01 secret01
	gnu PLAIN secret01
	# As many failures as of a wrong password.
	[ "$(metric 'sekisho_msa_auth_total{result="failed"}')" -ge 3 ]
	wrong() { # TEXT GROUP
		base ""
		echo "$2" >> "$DIR/more.conf"
		reload reload-failed
		grep 'reload-failed' "$DIR/msad.log" | tail -1 | grep -q -- "$1"
	}
	wrong 'realm x: domains is empty' 'realm x { }'
	wrong 'realm x: FOO is not a known mechanism' 'realm x { domains = {"a.example"} auth_mechanisms = {"FOO"} }'
	wrong 'realm x: 127.0.0.1:1 is neither in' 'realm x { domains = {"a.example"} listeners = {"127.0.0.1:1"} }'
	base ""
	reload reloaded
	says 235 PLAIN user01 secret01
}

@test "-PLUS with tls-server-end-point; with a wrong one, an unknown one, or none it fails" {
	for m in SCRAM-SHA-1-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-512-PLUS; do
		says 235 "$m" user01 secret01 --flag p
		says 235 "$m" user01 secret01 --flag p --late
		says "535 5.7.8" "$m" user01 secret01 --flag p --wrong
		says "535 5.7.8" "$m" user01 wrong --flag p
		says "501 5.5.2" "$m" user01 secret01 --flag p --binding tls-unique
		says "501 5.5.2" "$m" user01 secret01 --flag n
	done
	says "504 5.5.4" SCRAM-SHA-256-PLUS user01 secret01 --flag p --tls12
	says "501 5.5.2" SCRAM-SHA-256 user01 secret01 --flag p
}

@test "a client that could bind and was told that we cannot is stopped; on TLS 1.2 it was told the truth" {
	says "535 5.7.8" SCRAM-SHA-256 user01 secret01 --flag y
	says 235 SCRAM-SHA-256 user01 secret01 --flag y --tls12
}

@test "an unknown user's SCRAM challenge looks like a known one's" {
	for m in SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-512; do
		known=$(client "$m" user01 x --challenge)
		nobody=$(client "$m" nobody x --challenge)
		again=$(client "$m" nobody x --challenge)
		[ "${#known}" = "${#nobody}" ] || { echo "$m: $known / $nobody"; false; }
		[ "${nobody#*,}" = "${again#*,}" ]
	done
}

@test "gsasl: -PLUS with tls-exporter" {
	for m in SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS; do
		run gnu "$m" secret01
		[ "$status" = 0 ] || { echo "$output"; false; }
		run gnu "$m" wrong
		[ "$status" != 0 ]
	done
	for m in SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5; do
		run gnu "$m" secret01 --no-cb
		[ "$status" = 0 ] || { echo "$output"; false; }
	done
	grep -q 'smtp login account=user01@isp.example mech=SCRAM-SHA-256-PLUS' "$DIR/msad.log"
}

@test "swaks: CRAM-MD5 and DIGEST-MD5 where they are wanted" {
	for m in CRAM-MD5 DIGEST-MD5; do
		run swaks_as "$m" user01 secret01
		[ "$status" = 0 ] || { echo "$output"; false; }
		run swaks_as "$m" user01 wrong
		[ "$status" = 28 ]
	done
}

@test "EXTERNAL: the one address in a certificate of our people, as itself alone" {
	cert() { printf -- '--cert %s --key %s' "$DIR/tls/$1.crt" "$DIR/tls/$1.key"; }
	says 235 EXTERNAL $(cert alice)
	says 235 EXTERNAL $(cert alice) --late
	says 235 EXTERNAL $(cert alice) --authzid user01@isp.example
	says "535 5.7.8" EXTERNAL $(cert alice) --authzid user02@isp.example
	says "504 5.5.4" EXTERNAL $(cert two)
	says "504 5.5.4" EXTERNAL $(cert nobody)
	says "504 5.5.4" EXTERNAL $(cert self)
	says "504 5.5.4" EXTERNAL
	# Who has a certificate can still give a password.
	says 235 PLAIN user02 secret02 $(cert self)
	grep -q 'client-certificate client=127.0.0.1 why="self-signed certificate"' "$DIR/msad.log"
	grep -q 'smtp login account=user01@isp.example mech=EXTERNAL' "$DIR/msad.log"
}

@test "too many failures: the network waits, whoever tries; the owner elsewhere does not, nor where he is known" {
	restart 'auth_free_failures = 1 auth_spray = 4'
	six() { in_ns timeout 40 openssl s_client -quiet -crlf -connect '[::1]:465' 2>/dev/null; }
	login_at_six() { printf 'EHLO me\nAUTH PLAIN %s\nQUIT\n' "$(printf '\0%s\0%s' "$1" "$2" | base64)" | six; }
	says 235 PLAIN user02 secret02
	# The first is free; then he waits one second, two, four. What is tried meanwhile does not count.
	for i in 1 2 3 4; do
		wait_until says "535 5.7.8" PLAIN user01 wrong
	done
	# Right or wrong, known or not: one answer.
	client PLAIN user01 secret01 > "$DIR/said.1" 3>&- &
	client PLAIN user01 wrong > "$DIR/said.2" 3>&- &
	client PLAIN nobody wrong > "$DIR/said.3" 3>&- &
	client SCRAM-SHA-256 nobody wrong > "$DIR/said.4" 3>&- &
	local last=$!
	# He has logged in from there.
	says 235 PLAIN user02 secret02
	wait_until gone "$last"
	wait_until test -s "$DIR/said.1" -a -s "$DIR/said.2" -a -s "$DIR/said.3" -a -s "$DIR/said.4"
	[ "$(grep -hcE '^454 4\.7\.0 Too many failed logins; try again in [1-4]s$' "$DIR"/said.[1-4] | sort -u)" = 1 ]
	# From another network.
	[[ $(login_at_six user01 secret01) == *"235 "* ]]
	# It is over in a moment.
	wait_until says 235 PLAIN user01 secret01
	[ "$(metric sekisho_msa_auth_blocked_total)" -ge 4 ]
}

@test "password spraying is told once" {
	restart 'auth_spray = 4'
	for u in a b c d e f; do
		login_at_six() { printf 'EHLO me\nAUTH PLAIN %s\nQUIT\n' "$(printf '\0%s\0%s' "$1" x | base64)" | in_ns timeout 40 openssl s_client -quiet -crlf -connect '[::1]:465' 2>/dev/null; }
		login_at_six "$u" > /dev/null
	done
	[ "$(grep -c 'auth spraying client=::1 accounts=4 within=1h' "$DIR/msad.log")" = 1 ]
	[ "$(metric sekisho_msa_auth_spraying_total)" = 1 ]
}

incident() { in_ns "$BIN/sekishoctl" -c "$DIR/sekisho.conf" --json incident list | jq -e "$1"; }

@test "password spraying has an incident: who was tried, and who got in from there" {
	restart 'auth_spray = 4 auth_max_wait = 0'
	spawn acctd "$BIN/sekisho-acctd" -c "$DIR/sekisho.conf"
	wait_until logged "feed connected"
	from_nine() { printf 'EHLO me\nAUTH PLAIN %s\nQUIT\n' "$(printf '\0%s\0%s' "$1" "$2" | base64)" | in_ns timeout 40 openssl s_client -quiet -crlf -connect 127.0.0.1:465 -bind 127.0.0.9:0 2>/dev/null; }
	[[ $(from_nine user02 secret02) == *"235 "* ]]
	for u in a b c d e; do
		from_nine "$u" x > /dev/null
	done
	wait_until incident '.[] | select(.detector == "spraying" and .subject == "127.0.0.9" and .severity == "medium")'
	incident '.[] | select(.why | test("^password spraying: 4 accounts failed in [34] attempts from .*: a@isp.example, b@isp.example, c@isp.example(, d@isp.example)?; logged in from there: user02@isp.example$"))'
	# From elsewhere it is nobody's suspicion.
	says 235 PLAIN user01 secret01
	[[ $(from_nine user01 secret01) == *"235 "* ]]
	wait_until incident '.[] | select(.subject == "127.0.0.9" and .severity == "high")'
	id=$(incident '.[] | select(.subject == "127.0.0.9").id')
	said=$(in_ns "$BIN/sekishoctl" -c "$DIR/sekisho.conf" --json incident show "$id")
	[ "$(grep -o 'user01@isp.example logged in from there: its password may have been found' <<< "$said" | wc -l)" = 1 ]
	[[ $said != *"user02@isp.example logged in from there: its"* ]]
	kill "$(cat "$DIR/acctd.pid")"
}

@test "password spraying from ever new addresses: one incident for all of them, nobody is kept out" {
	restart 'auth_spray = 4 auth_spray_wide = 20 auth_free_failures = 1'
	spawn acctd "$BIN/sekisho-acctd" -c "$DIR/sekisho.conf"
	wait_until logged "feed connected"
	from() { # ADDRESS USER PASSWORD
		printf 'EHLO me\nAUTH PLAIN %s\nQUIT\n' "$(printf '\0%s\0%s' "$2" "$3" | base64)" | in_ns timeout 40 openssl s_client -quiet -crlf -connect 127.0.0.1:465 -bind "$1:0" 2>/dev/null
	}
	# An owner mistypes where he is known: that is none of it.
	[[ $(from 127.0.0.200 user01 secret01) == *"235 "* ]]
	from 127.0.0.200 user01 x > /dev/null
	for i in {1..24}; do
		from "127.0.1.$i" "0victim$i" Summer2026 > /dev/null
	done
	[ "$(grep -cE 'auth spraying-wide accounts=20 networks=20 attempts=20 unknown=20 usual=0 within=1h' "$DIR/msad.log")" = 1 ]
	not grep -q 'auth spraying ' "$DIR/msad.log"
	[ "$(metric sekisho_msa_auth_spraying_wide_total)" = 1 ]
	wait_until incident '.[] | select(.detector == "spraying" and .subject == "::/0" and .severity == "medium")'
	incident '.[] | select(.subject == "::/0" and (.why | test("^password spraying from many networks: [0-9]+ accounts failed in [0-9]+ attempts from .*, from [0-9]+ addresses; 0 accounts an hour are usual: .*0victim10@isp.example.* and [0-9]+ more$")))'
	# Its owner logs in, from home and from elsewhere.
	[[ $(from 127.0.0.201 user01 secret01) == *"235 "* ]]
	[[ $(from 127.0.0.202 user02 secret02) == *"235 "* ]]
	kill "$(cat "$DIR/acctd.pid")"
}

@test "the answer to an unknown user takes as long as that to a wrong password" {
	restart ''
	python3 - "$DIR" "$NS" <<-'END'
	import base64, os, socket, ssl, sys, time
	fd = os.open(f"/run/netns/{sys.argv[2]}", os.O_RDONLY)
	import ctypes
	assert ctypes.CDLL(None).setns(fd, 0) == 0
	context = ssl.create_default_context(cafile=f"{sys.argv[1]}/tls/cert.pem")
	def once(user):
	    s = context.wrap_socket(socket.create_connection(("127.0.0.1", 465)), server_hostname="smtp.isp.example")
	    f = s.makefile("rb")
	    f.readline()
	    s.sendall(b"EHLO me\r\n")
	    while f.readline()[3:4] == b"-":
	        pass
	    auth = base64.b64encode(f"\0{user}\0wrong".encode()).decode()
	    t = time.monotonic()
	    s.sendall(f"AUTH PLAIN {auth}\r\n".encode())
	    assert f.readline().startswith(b"535")
	    return time.monotonic() - t
	known, nobody = [], []
	for i in range(5): # one more, and it would have to wait
	    known.append(once("user02"))
	    nobody.append(once("nobody"))
	print(known, nobody)
	# The least of each: what a busy machine adds is no answer's.
	assert abs(min(known) - min(nobody)) < 0.02
	END
}

sasl_folder() { # SAMPLE [SED-EXPRESSION...]: DIR/SAMPLE from conf/sasl, for the test's own paths
	mkdir -p "$DIR/$1"
	sed "${@:2}" "$BATS_TEST_DIRNAME/../../conf/sasl/$1/sekisho.conf" > "$DIR/$1/sekisho.conf"
}

@test "sql: the sample with SQLite, and a password that changes" {
	sasl_folder sql -e "s#/var/lib/sekisho/accounts.db#$DIR/accounts.db#"
	sqlite3 "$DIR/accounts.db" "CREATE TABLE account (name TEXT PRIMARY KEY, password TEXT NOT NULL);
		INSERT INTO account VALUES ('user01@isp.example', 'fromsql')"
	restart "sasl_conf_path = \"$DIR/sql\""
	for m in PLAIN SCRAM-SHA-256 SCRAM-SHA-512; do
		says 235 "$m" user01 fromsql
		says "535 5.7.8" "$m" user01 secret01
		says "535 5.7.8" "$m" "x'OR'1'<'2" fromsql
	done
	says 235 PLAIN user01@ISP.example fromsql
	sqlite3 "$DIR/accounts.db" "UPDATE account SET password = 'changed'"
	says 235 SCRAM-SHA-256 user01 changed
	says "535 5.7.8" PLAIN user01 fromsql
}

@test "several realms in one back end: each its own users, and the server's own completes a bare name" {
	printf secret77 | saslpasswd2 -p -c -f "$DIR/sasldb2" -u other.example user77
	printf secret77 | saslpasswd2 -p -c -f "$DIR/sasldb2" -u other.example user01
	restart ''
	for m in PLAIN SCRAM-SHA-256; do
		says 235 "$m" user77@other.example secret77
		says 235 "$m" user77@OTHER.example secret77
		says 235 "$m" user01@other.example secret77
		says "535 5.7.8" "$m" user77 secret77
		says "535 5.7.8" "$m" user01 secret77
		says "535 5.7.8" "$m" user01@other.example secret01
	done
	grep -q 'smtp login account=user77@other.example' "$DIR/msad.log"
}

stop_saslauthd() {
	local pid
	pid=$(cat "$DIR/saslauthd.pid" 2> /dev/null) || return 0
	kill "$pid" 2> /dev/null || true
	wait_until gone "$pid"
	rm -f "$DIR/saslauthd.pid" "$DIR"/mux/*
}

saslauthd_with() { # OPTIONS...: a saslauthd on DIR/mux, a PAM configuration of its own
	mkdir -p "$DIR"/{mux,upper,work}
	chmod 755 "$DIR/mux"
	spawn saslauthd setsid unshare -m sh -c "mount --bind '$DIR/pam' /etc/pam.d && exec saslauthd -d -n 1 -m '$DIR/mux' $*"
	wait_until test -S "$DIR/mux/mux"
	sasl_folder saslauthd -e "s#/run/saslauthd/mux#$DIR/mux/mux#"
	restart "sasl_conf_path = \"$DIR/saslauthd\" auth_mechanisms = {\"PLAIN\", \"LOGIN\"}"
}

@test "saslauthd: the sample, before PAM" {
	mkdir -p "$DIR/pam"
	cp -r /etc/pam.d/. "$DIR/pam"
	cat > "$DIR/pam/smtp" <<-END
	auth required pam_exec.so quiet expose_authtok $DIR/check
	account required pam_permit.so
	END
	cat > "$DIR/check" <<-'END'
	#!/bin/bash
	read -r -d '' password
	[ "$PAM_USER" = user01@isp.example ] && [ "$password" = pam01 ]
	END
	chmod 755 "$DIR/check"
	saslauthd_with -r -a pam
	[ "$(offered 465)" = "PLAIN LOGIN" ]
	says 235 PLAIN user01 pam01
	says "535 5.7.8" PLAIN user01 secret01
	says "535 5.7.8" PLAIN nobody pam01
}

@test "saslauthd: the samples, before a real LDAP server" {
	stop_saslauthd
	command -v slapd > /dev/null || skip "needs slapd"
	mkdir -p "$DIR"/ldap/db
	# A copy: the machine's AppArmor profile of slapd keeps it to its own folders.
	cp "$(command -v slapd)" "$DIR/ldap/slapd"
	cat > "$DIR/ldap/conf" <<-END
	include /etc/ldap/schema/core.schema
	include /etc/ldap/schema/cosine.schema
	include /etc/ldap/schema/inetorgperson.schema
	modulepath /usr/lib/ldap
	moduleload back_mdb
	pidfile $DIR/ldap/pid
	database mdb
	directory $DIR/ldap/db
	suffix dc=isp,dc=example
	access to attrs=userPassword by anonymous auth by * none
	access to * by * read
	END
	slapd_adds() { "$DIR/ldap/slapd" -Tadd -f "$DIR/ldap/conf"; }
	{
		printf 'dn: dc=isp,dc=example\nobjectClass: dcObject\nobjectClass: organization\ndc: isp\no: ISP\n\n'
		for u in user01@isp.example user07@other.example; do
			printf 'dn: mail=%s,dc=isp,dc=example\nobjectClass: inetOrgPerson\ncn: x\nsn: x\nmail: %s\nuserPassword: ldap01\n\n' "$u" "$u"
		done
	} | slapd_adds
	spawn slapd "$DIR/ldap/slapd" -f "$DIR/ldap/conf" -h ldap://127.0.0.1:3890/ -d 0
	wait_until in_ns nc -z 127.0.0.1 3890
	sed "s#^ldap_servers: .*#ldap_servers: ldap://127.0.0.1:3890/#" "$BATS_TEST_DIRNAME/../../conf/sasl/saslauthd/saslauthd-ldap.conf" > "$DIR/ldap/saslauthd.conf"
	saslauthd_with -r -a ldap -O "$DIR/ldap/saslauthd.conf"
	says 235 PLAIN user01 ldap01
	says 235 PLAIN user01@isp.example ldap01
	# Another realm is in the same tree.
	says 235 PLAIN user07@other.example ldap01
	says "535 5.7.8" PLAIN user07 ldap01
	says "535 5.7.8" PLAIN user01 pam01
	says "535 5.7.8" PLAIN nobody ldap01
	says "535 5.7.8" PLAIN 'user01)(mail=*' ldap01
	says "535 5.7.8" PLAIN '*' ldap01
}

@test "realms with back ends of their own: SQL for one, saslauthd for another; one that hangs holds up nobody else" {
	stop_saslauthd
	mkdir -p "$DIR/pam"
	cp -r /etc/pam.d/. "$DIR/pam"
	cat > "$DIR/pam/smtp" <<-END
	auth required pam_exec.so quiet expose_authtok $DIR/check
	account required pam_permit.so
	END
	# A back end that is slow for as long as somebody holds it: the name of the fifo is all it has to know.
	cat > "$DIR/check" <<-END
	#!/bin/bash
	read -r -d '' password
	[ ! -p "$DIR/hold" ] || read -r _ < "$DIR/hold"
	[ "\$password" = pam01 ] && case \$PAM_USER in user01@firm.example | user01@isp.example | user01@office.example) exit 0 ;; esac
	exit 1
	END
	chmod 755 "$DIR/check"
	saslauthd_with -r -a pam
	sasl_folder sql -e "s#/var/lib/sekisho/accounts.db#$DIR/accounts.db#"
	rm -f "$DIR/accounts.db"
	sqlite3 "$DIR/accounts.db" "CREATE TABLE account (name TEXT PRIMARY KEY, password TEXT NOT NULL);
		INSERT INTO account VALUES ('user01@shop.example', 'fromsql'), ('user01@isp.example', 'fromsql')"
	stop_msad
	rm -f "$DIR/msad.log"
	base "sasl_realm_of = {\"127.0.0.1:588 Shop.example\"} auth_max_wait = 0"
	cat >> "$DIR/more.conf" <<-END
	realm firm { domains = {"firm.example", "office.example"} sasl_conf_path = "$DIR/saslauthd" auth_workers = 1 }
	realm shop { domains = {"shop.example"} sasl_conf_path = "$DIR/sql" }
	END
	start_msad
	# Each from its own, by every way of saying who it is.
	for m in PLAIN LOGIN; do
		says 235 "$m" user01 secret01
		says 235 "$m" user01@FIRM.example pam01
		says 235 "$m" user01@office.example pam01
		says 235 "$m" user01@shop.example fromsql
		for u in user01@firm.example user01@shop.example user01 nobody@firm.example; do
			says "535 5.7.8 Authentication failed" "$m" "$u" wrong
		done
	done
	for m in SCRAM-SHA-256 SCRAM-SHA-512; do
		says 235 "$m" user01@shop.example fromsql
		says 235 "$m" user01@shop.example fromsql --late
		says 235 "$m" user01 secret01 --late
		says "535 5.7.8" "$m" user01@shop.example wrong
		says "535 5.7.8" "$m" nobody@shop.example wrong --late
	done
	says 235 SCRAM-SHA-256-PLUS user01@shop.example fromsql --flag p --late
	# Nobody vouches for a realm that is not his: what PAM and SQL know of isp.example is nobody's password.
	says "535 5.7.8" PLAIN user01 pam01
	says "535 5.7.8" PLAIN user01@isp.example fromsql
	says "535 5.7.8" PLAIN user01@shop.example pam01
	# AUTH without an initial response: the name comes after a prompt.
	got=$(printf 'EHLO me\r\nAUTH PLAIN\r\n%s\r\nQUIT\r\n' "$(printf '\0user01@shop.example\0fromsql' | base64)" | raw)
	[[ $got == *"334 "*"235 "* ]]
	got=$(printf 'EHLO me\r\nAUTH LOGIN\r\n%s\r\n%s\r\nQUIT\r\n' "$(printf user01@firm.example | base64)" "$(printf pam01 | base64)" | raw)
	[[ $got == *"334 VXNlcm5hbWU6"*"334 UGFzc3dvcmQ6"*"235 "* ]]
	for empty in 'AUTH PLAIN\r\n\r\n' 'AUTH LOGIN\r\n\r\n' 'AUTH SCRAM-SHA-256\r\n\r\n'; do
		[[ $(printf "EHLO me\r\n${empty}QUIT\r\n" | raw) == *"334 "*"501 5.5.2"*"221 "* ]]
	done
	[[ $(printf 'EHLO me\r\nAUTH PLAIN\r\n*\r\nQUIT\r\n' | raw) == *"334 "*"501 "*"221 "* ]]
	# The listener's realm: a bare name is the shop's there, and where the server speaks first it goes by the listener.
	gnu PLAIN fromsql
	gnu CRAM-MD5 fromsql --no-cb
	run gnu PLAIN secret01
	[ "$status" != 0 ]
	grep -q 'smtp login account=user01@shop.example mech=CRAM-MD5' "$DIR/msad.log"
	says 235 CRAM-MD5 user01 secret01
	says "535 5.7.8" CRAM-MD5 user01@shop.example fromsql
	# saslauthd has one worker and both hang: firm's logins wait, the others' do not.
	mkfifo "$DIR/hold"
	client PLAIN user01@firm.example pam01 > "$DIR/held.1" 3>&- &
	local first=$!
	wait_until pgrep -f "$DIR/check"
	for i in 1 2 3; do
		says 235 PLAIN user01@shop.example fromsql
		says 235 PLAIN user01 secret01
		says 235 SCRAM-SHA-256 user01@shop.example fromsql
	done
	[ ! -s "$DIR/held.1" ]
	echo go > "$DIR/hold"
	wait_until gone "$first"
	[[ $(< "$DIR/held.1") == 235* ]]
	rm "$DIR/hold"
	# It is dead: our trouble for its own, and only theirs.
	stop_saslauthd
	says "454 4.7.0" PLAIN user01@firm.example pam01
	says 235 PLAIN user01@shop.example fromsql
	says 235 PLAIN user01 secret01
	# Two, one for firm, two for shop.
	[ "$(metric sekisho_msa_auth_workers)" = 5 ]
	# SIGHUP cannot change back ends, and says what can.
	sed -i 's/auth_workers = 1/auth_workers = 3/' "$DIR/more.conf"
	reload reload-failed
	grep -q 'reload-failed.*auth_workers' "$DIR/msad.log"
	sed -i 's/auth_workers = 3/auth_workers = 1/; s/"firm.example", //' "$DIR/more.conf"
	reload reload-failed
	grep -q 'reload-failed.*realms with back ends of their own cannot change on SIGHUP: send SIGUSR2' "$DIR/msad.log"
}

@test "back ends of realms that cannot be are refused by name" {
	refused() { # TEXT MSA-KEYS GROUPS
		base "$2"
		echo "$3" >> "$DIR/more.conf"
		run "$BIN/sekisho-msad" -n -c "$DIR/sekisho.conf"
		[ "$status" = 78 ] && [[ $output == *"$1"* ]] || { echo "$status $output"; false; }
	}
	refused 'realm x: sasldb and sasl_conf_path are two back ends; give one' '' 'realm x { domains = {"a.example"} sasldb = "/a" sasl_conf_path = "/b" }'
	refused 'realm y: A.example is in realm x too; with back ends it can have one' '' \
		'realm x { domains = {"b.example", "a.example"} } realm y { domains = {"A.example"} sasldb = "/a" }'
	refused 'msa.sasl_realm_of: 127.0.0.1:1 is neither in' 'sasl_realm_of = {"127.0.0.1:1 a.example"}' ''
	refused 'msa.sasl_realm_of: 127.0.0.1:588 is not followed by a domain' 'sasl_realm_of = {"127.0.0.1:588"}' ''
	refused 'msa.sasl_realm_of: 127.0.0.1:588 is not followed by a domain' 'sasl_realm_of = {"127.0.0.1:588 a_b!"}' ''
}

@test "saslauthd: the sample, before a real IMAP server" {
	stop_saslauthd
	command -v dovecot > /dev/null || skip "needs dovecot-imapd"
	mkdir -p "$DIR/dovecot/mail"
	chmod -R 777 "$DIR/dovecot/mail"
	echo "user01@isp.example:{PLAIN}imap01" > "$DIR/dovecot/passwd"
	chmod 644 "$DIR/dovecot/passwd"
	cat > "$DIR/dovecot/dovecot.conf" <<-END
	base_dir = $DIR/dovecot/run
	log_path = $DIR/dovecot/log
	protocols = imap
	listen = 127.0.0.1
	ssl = no
	disable_plaintext_auth = no
	mail_location = maildir:$DIR/dovecot/mail/%u
	mail_uid = nobody
	mail_gid = nogroup
	first_valid_uid = 1
	first_valid_gid = 1
	passdb {
	  driver = passwd-file
	  args = $DIR/dovecot/passwd
	}
	userdb {
	  driver = static
	  args = uid=nobody gid=nogroup home=$DIR/dovecot/mail
	}
	service imap-login {
	  inet_listener imap {
	    port = 14300
	  }
	}
	END
	spawn dovecot dovecot -F -c "$DIR/dovecot/dovecot.conf"
	wait_until in_ns nc -z 127.0.0.1 14300
	saslauthd_with -r -a rimap -O 127.0.0.1/14300
	says 235 PLAIN user01 imap01
	says "535 5.7.8" PLAIN user01 pam01
	says "535 5.7.8" PLAIN nobody imap01
	# Without its back end it is our trouble, not the user's.
	stop_saslauthd
	says "454 4.7.0" PLAIN user01 imap01
}
