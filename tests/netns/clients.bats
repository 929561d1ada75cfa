#!/usr/bin/env bats
# The programs that people submit mail with, each as its manual says, each checking our certificate: swaks, msmtp, curl, Python's smtplib,
# nodemailer, mutt, Postfix and Exim as authenticated clients, and testssl.sh.
#
#   client  --587 STARTTLS, 465-->  sekisho-msad  --2525-->  smtp-sink, a file a message
#
# All of it on the loopback of one network namespace.

load submission
load exim

setup_file() {
	export NS=sekisho-clients-$$
	submission_up
	users 01 02
	issue
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	header_8bit = smtputf8
	error_delay = 0"
	start_sink
	start_msad
	printf '.\r\n..\r\nText, and a line of 900: %0900d\r\n' 0 > "$DIR/text"
}

teardown_file() { submission_down; }

# A certificate such as a public authority's: 80 days, with the places of OCSP and the list of revocations, and a stapled answer.
issue() {
	local t=$DIR/tls key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
	CA=$t/ca.crt
	export CA
	openssl req -x509 "${key[@]}" -keyout "$t/ca.key" -out "$CA" -days 800 -subj "/C=XX/O=Test/CN=Test CA" \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
	cat > "$t/ext" <<-END
	subjectAltName = DNS:smtp.isp.example,IP:127.0.0.1
	basicConstraints = critical,CA:FALSE
	keyUsage = critical,digitalSignature
	extendedKeyUsage = serverAuth
	authorityInfoAccess = OCSP;URI:http://ocsp.example/
	crlDistributionPoints = URI:http://crl.example/ca.crl
	certificatePolicies = 2.23.140.1.2.1
	END
	openssl req "${key[@]}" -keyout "$t/key.pem" -out "$t/csr" -subj "/CN=smtp.isp.example" 2>/dev/null
	openssl x509 -req -in "$t/csr" -CA "$CA" -CAkey "$t/ca.key" -set_serial "0x$(openssl rand -hex 16)" -days 80 -extfile "$t/ext" -out "$t/leaf" 2>/dev/null
	cat "$t/leaf" "$CA" > "$t/cert.pem"
	printf 'V\t491231000000Z\t\t%s\tunknown\t/CN=smtp.isp.example\n' "$(openssl x509 -in "$t/leaf" -noout -serial | cut -d= -f2)" > "$t/index"
	openssl ocsp -issuer "$CA" -cert "$t/leaf" -reqout "$t/req" 2>/dev/null
	openssl ocsp -index "$t/index" -CA "$CA" -rsigner "$CA" -rkey "$t/ca.key" -reqin "$t/req" -respout "$t/cert.pem.ocsp" -ndays 2 > /dev/null 2>&1
}

message() { # SUBJECT: a whole one, with CR LF
	printf 'From: user01@isp.example\r\nTo: rcpt@far.example\r\nSubject: %s\r\n\r\n' "$1"
	cat "$DIR/text"
}

# The message with SUBJECT came through whole, as that mechanism's login and over TLS.
came() { # SUBJECT [MECHANISM]
	local f
	f=$(arrived "^Subject: $1\$")
	[[ $(envelope "$f") == prvs=*=user01@isp.example ]]
	grep -q 'smtp.auth=user01@isp.example' "$f"
	grep -q "auth=pass (${2:-.*})" "$f"
	grep -q '^	(using TLSv1.3' "$f"
	tr -d '\r' < "$f" | sed '1,/^$/d' | head -n 3 | cmp - <(tr -d '\r' < "$DIR/text")
}

@test "swaks: STARTTLS and TLS from the first byte, every mechanism it has, pipelining; the certificate holds" {
	n=0
	for where in "--port 587 --tls" "--port 465 --tlsc"; do
		for mech in PLAIN LOGIN; do
			n=$((n + 1))
			message "swaks-$n" > "$DIR/eml"
			in_ns swaks --server 127.0.0.1 $where --tls-verify --tls-ca-path "$CA" --auth "$mech" --au user01 --ap secret01 --pipeline \
				-f user01@isp.example -t rcpt@far.example --data "@$DIR/eml"
			came "swaks-$n" "$mech"
		done
	done
	run in_ns swaks --server 127.0.0.1 --port 587 --tls --auth PLAIN --au user01 --ap wrong -f user01@isp.example -t rcpt@far.example
	[ "$status" = 28 ]
	[[ $output == *"535 5.7.8 "* ]]
}

@test "msmtp: PLAIN, LOGIN, SCRAM-SHA-256, from a configuration file as its manual has it" {
	rc() { # PORT AUTH PASSWORD
		cat > "$DIR/msmtprc" <<-END
		defaults
		auth $2
		tls on
		tls_starttls $([ "$1" = 587 ] && echo on || echo off)
		tls_trust_file $CA
		account isp
		host 127.0.0.1
		port $1
		from user01@isp.example
		user user01
		password $3
		account default : isp
		END
		chmod 600 "$DIR/msmtprc"
	}
	for port in 587 465; do
		for auth in plain login scram-sha-256 on; do
			rc $port $auth secret01
			message "msmtp-$port-$auth" | tr -d '\r' | in_ns msmtp -C "$DIR/msmtprc" rcpt@far.example
			came "msmtp-$port-$auth"
		done
	done
	rc 465 plain wrong
	message wrong-msmtp > "$DIR/eml"
	run in_ns msmtp -C "$DIR/msmtprc" rcpt@far.example < "$DIR/eml"
	[ "$status" = 77 ]
	[[ $output == *"535 5.7.8 "* ]]
	not delivered wrong-msmtp
}

@test "curl: both ports, both mechanisms" {
	n=0
	for url in smtp://127.0.0.1:587 smtps://127.0.0.1:465; do
		for mech in PLAIN LOGIN; do
			n=$((n + 1))
			message "curl-$n" > "$DIR/eml"
			in_ns curl -sS --ssl-reqd --cacert "$CA" --url "$url" --user user01:secret01 --login-options "AUTH=$mech" \
				--mail-from user01@isp.example --mail-rcpt rcpt@far.example --upload-file "$DIR/eml"
			came "curl-$n" "$mech"
		done
	done
	run in_ns curl -sS --ssl-reqd --cacert "$CA" --url smtps://127.0.0.1:465 --user user01:wrong --mail-from user01@isp.example \
		--mail-rcpt rcpt@far.example --upload-file "$DIR/eml"
	[ "$status" = 67 ]
}

@test "Python's smtplib: mechanisms, an address and a subject in UTF-8, a large attachment, a refusal told" {
	in_ns timeout 60 python3 - "$CA" <<-'END'
	import smtplib, ssl, sys
	from email.message import EmailMessage
	c = ssl.create_default_context(cafile=sys.argv[1])
	def login(password):
	    s = smtplib.SMTP("127.0.0.1", 587)
	    s.starttls(context=c)
	    s.login("user01", password)
	    return s
	try:
	    login("wrong")
	    raise SystemExit("a wrong password got in")
	except smtplib.SMTPAuthenticationError as e:
	    assert e.smtp_code == 535 and b"5.7.8" in e.smtp_error, e
	s = login("secret01")
	m = EmailMessage()
	m["From"], m["To"], m["Subject"] = "Ö <user01@isp.example>", "rcpt@far.example", "smtplib-1"
	m.set_content("ö\n.\n")
	m.add_attachment(bytes(range(256)) * 8000, maintype="application", subtype="octet-stream", filename="ö.bin")
	assert s.send_message(m) == {}
	refused = s.sendmail("user01@isp.example", ["rcpt@far.example", "no..body@far.example"], "Subject: smtplib-2\n\nx\n")
	assert list(refused) == ["no..body@far.example"] and refused["no..body@far.example"][0] in (501, 553), refused
	s.quit()
	with smtplib.SMTP_SSL("127.0.0.1", 465, context=c) as s:
	    s.login("user01@isp.example", "secret01", initial_response_ok=False)
	    s.sendmail("user01@isp.example", ["rcpt@far.example"], "Subject: smtplib-3\n\nx\n")
	END
	for n in 1 2 3; do
		arrived "^Subject: smtplib-$n"
	done
	f=$(arrived "^Subject: smtplib-1")
	python3 - "$f" <<-'END'
	import email, sys
	text = open(sys.argv[1], "rb").read()
	m = email.message_from_bytes(text[text.index(b"Received:"):])
	assert m.get_payload(1).get_payload(decode=True) == bytes(range(256)) * 8000
	END
}

@test "nodemailer: a pool, attachments, names in UTF-8, DSN" {
	command -v npm > /dev/null || skip "needs npm"
	modules=${SEKISHO_BIN:-$BATS_TEST_DIRNAME/../../build/release}/../node-clients
	mkdir -p "$modules"
	cp "$BATS_TEST_DIRNAME"/nodemailer/* "$modules/"
	(cd "$modules" && npm ci --no-audit --no-fund --loglevel=error > "$DIR/npm.log" 2>&1) || skip "npm cannot fetch nodemailer: $(tail -n 1 "$DIR/npm.log")"
	for port in 587 465; do
		run in_ns timeout 60 node "$modules/send.mjs" $port "$CA" user01 secret01 "node-$port"
		echo "$output"
		[ "$status" = 0 ]
		[ "$(grep -c '^[123] 3 250 2.0.0 Ok: queued as' <<< "$output")" = 3 ]
		f=$(arrived "^Subject: node-$port-3")
		[ "$(recipients "$f" | sort | tr '\n' ' ')" = "bcc@far.example cc@far.example rcpt@far.example " ]
		not grep -qi '^bcc' "$f"
	done
	run in_ns timeout 60 node "$modules/send.mjs" 587 "$CA" user01 wrong no
	[ "$output" = "EAUTH 535 535 5.7.8 Authentication failed" ] || [[ $output == "EAUTH 535 535 5.7.8 "* ]]
}

@test "mutt: smtp_url, SCRAM-SHA-256 and PLAIN, which it must be told to use" {
	mutt_with() { # URL PASSWORD SUBJECT [MECHANISM]
		cat > "$DIR/muttrc" <<-END
		set from = "user01@isp.example"
		set use_from = yes
		set envelope_from = yes
		set smtp_url = "$1"
		set smtp_pass = "$2"
		${4:+set smtp_authenticators = "$4"}
		set ssl_ca_certificates_file = "$CA"
		set ssl_starttls = yes
		set ssl_force_tls = yes
		set copy = no
		END
		tr -d '\r' < "$DIR/text" | in_ns env HOME="$DIR" timeout 20 mutt -n -F "$DIR/muttrc" -s "$3" rcpt@far.example
	}
	mutt_with smtp://user01@127.0.0.1:587/ secret01 mutt-1 scram-sha-256
	came mutt-1 SCRAM-SHA-256
	mutt_with smtps://user01@127.0.0.1:465/ secret01 mutt-2 plain
	came mutt-2 PLAIN
	run mutt_with smtps://user01@127.0.0.1:465/ wrong mutt-3 plain
	[ "$status" != 0 ]
	not delivered mutt-3
	# By itself mutt 2.2 with GNU SASL takes SCRAM-SHA-256-PLUS, and then cannot bind it: so where that is not offered.
	echo 'msa { auth_mechanisms = {"SCRAM-SHA-256", "PLAIN"} }' > "$DIR/more.conf"
	stop_msad
	start_msad
	mutt_with smtps://user01@127.0.0.1:465/ secret01 mutt-4
	came mutt-4 SCRAM-SHA-256
	: > "$DIR/more.conf"
	stop_msad
	start_msad
}

@test "Postfix with relayhost and SASL: STARTTLS and wrapped, 40 messages, its own mail by a foreign sender too" {
	command -v postfix > /dev/null || skip "needs Postfix"
	postfix_up client 127.0.0.3 <<-END
	myhostname = mail.customer.example
	mynetworks = 127.0.0.0/8
	smtpd_relay_restrictions = permit_mynetworks, reject
	relayhost = [127.0.0.1]:587
	smtp_sasl_auth_enable = yes
	smtp_sasl_security_options = noanonymous
	smtp_sasl_password_maps = inline:{ [127.0.0.1]:587=user01:secret01, [127.0.0.1]:465=user01:secret01 }
	smtp_tls_security_level = secure
	smtp_tls_secure_cert_match = smtp.isp.example
	smtp_tls_CAfile = $CA
	END
	in_ns smtp-source -s 8 -m 40 -l 4000 -S postfix-many -f user01@isp.example -t rcpt@far.example 127.0.0.3:25
	all_there() { [ "$(grep -rlE '^Subject: postfix-many' "$DIR/sink" | wc -l)" = 40 ]; }
	wait_until all_there
	in_ns swaks --server 127.0.0.3 -f cron@customer.example -t rcpt@far.example --h-From cron@customer.example --header "Subject: postfix-cron"
	f=$(arrived '^Subject: postfix-cron')
	[[ $(envelope "$f") == prvs=*=user01@isp.example ]]
	grep -q '^From: cron@customer.example' "$f"
	grep -q '^Sender: <user01@isp.example>' "$f"
	cat >> "$DIR/postfix-client/etc/main.cf" <<-END
	relayhost = [127.0.0.1]:465
	smtp_tls_wrappermode = yes
	END
	kill -HUP "$(cat "$DIR/postfix-client/spool/pid/master.pid")"
	in_ns swaks --server 127.0.0.3 -f user01@isp.example -t rcpt@far.example --header "Subject: postfix-465"
	arrived '^Subject: postfix-465'
	not grep -q 'status=deferred\|status=bounced\|Untrusted\|Unverified' "$DIR/postfix-client.log"
}

@test "Exim as an authenticated client: PLAIN and LOGIN, STARTTLS and TLS on connect" {
	exim_unpacked || skip "exim4-daemon-light cannot be fetched: $(tail -n 1 "$DIR/exim-get.log")"
	e=$DIR/exim
	mkdir -p "$e"
	exim_user "$e"
	for port in 587 465; do
		mkdir -p "$e/spool"
		chown -R 64990:64990 "$e/spool"
		cat > "$e/conf" <<-END
		primary_hostname = mail.customer.example
		exim_path = $EXIM/usr/sbin/exim4
		spool_directory = $e/spool
		log_file_path = $e/spool/%slog
		keep_environment =
		untrusted_set_sender = *
		local_from_check = false
		begin routers
		isp:
		  driver = manualroute
		  transport = isp
		  route_list = * 127.0.0.1::$port byname
		  self = send
		begin transports
		isp:
		  driver = smtp
		  hosts_require_auth = *
		  hosts_require_tls = *
		  tls_verify_certificates = $CA
		  tls_verify_hosts = *
		  tls_verify_cert_hostnames =
		  $([ $port = 465 ] && echo 'protocol = smtps')
		begin authenticators
		$([ $port = 465 ] && printf 'login:\n  driver = plaintext\n  public_name = LOGIN\n  client_send = : user01 : secret01\n')
		plain:
		  driver = plaintext
		  public_name = PLAIN
		  client_send = ^user01^secret01
		END
		chmod 644 "$e/conf"
		message "exim-$port" | tr -d '\r' | in_ns unshare -m sh -ec 'mount --bind "$1/passwd" /etc/passwd; mount --bind "$1/group" /etc/group
			exec "$2/usr/sbin/exim4" -C "$1/conf" -odf -i -f user01@isp.example rcpt@far.example' sh "$e" "$EXIM"
		came "exim-$port" "$([ $port = 465 ] && echo LOGIN || echo PLAIN)"
	done
	grep -q '=> rcpt@far.example .*X=TLS1.3:.*CV=yes.* A=plain' "$e/spool/mainlog"
	not grep -q '==\|\*\*' "$e/spool/mainlog"
}

@test "testssl.sh has nothing to say above info" {
	command -v testssl > /dev/null || skip "needs testssl.sh"
	for what in "--starttls smtp 127.0.0.1:587" "127.0.0.1:465"; do
		rm -f "$DIR/testssl.json"
		in_ns timeout 300 testssl --quiet --color 0 --warnings off --add-ca "$CA" --sneaky --jsonfile "$DIR/testssl.json" $what > "$DIR/testssl.log" 2>&1 < /dev/null || true
		jq -e 'length > 60' "$DIR/testssl.json" > /dev/null || { tail "$DIR/testssl.log"; false; }
		# Not of ours: what its own openssl lacks, a DNS record of an address on the loopback, and a check it could not make (WARN).
		found=$(jq -r '.[] | select(.severity | IN("DEBUG", "OK", "INFO", "WARN") | not) | select(.id | IN("engine_problem", "DNS_CAArecord") | not) | [.severity, .id, .finding] | @tsv' "$DIR/testssl.json")
		[ -z "$found" ] || { echo "$found"; false; }
	done
}
