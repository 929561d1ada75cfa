#!/usr/bin/env bats
# Real servers that receive: Postfix, Exim, OpenSMTPD, Dovecot (LMTP). What they take arrives as it was sent, what they refuse comes back
# with its class, what they put off waits; Postfix and Exim as smart hosts that want a login.
#
#   client  --465-->  sekisho-msad  --25-->  Postfix 127.0.4.1, Exim 127.0.4.2, OpenSMTPD 127.0.4.3;  --24-->  Dovecot 127.0.4.4
#
# Each knows known@ and refuses stranger@; grey@ is deferred.

load submission
load exim

setup_file() {
	export NS=sekisho-receivers-$$
	submission_up
	certificate_of smtp.isp.example
	users 01
	authority
	mkdir -p "$DIR/mail"
	install -d -m 755 -o nobody "$DIR/mail/postfix" "$DIR/mail/exim" "$DIR/mail/opensmtpd" "$DIR/mail/dovecot"
	receiving_postfix
	receiving_exim || touch "$DIR/no-exim"
	receiving_opensmtpd || touch "$DIR/no-opensmtpd"
	receiving_dovecot
	echo secret > "$DIR/password"
	echo wrong > "$DIR/wrong"
	printf '%s\n' "postfix.example 127.0.4.1" "exim.example 127.0.4.2" "opensmtpd.example 127.0.4.3" "dovecot.example route store" "isp.example discard" \
		"login-postfix.example route postfix" "login-exim.example route exim" \
		"wrong-postfix.example route postfix-wrong" "wrong-exim.example route exim-wrong" > "$DIR/map"
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	batv = false" "smarthost = \"127.0.4.1:25\"
	transport_map = \"$DIR/map\"
	relay_ca = \"$DIR/tls/ca.pem\"
	relay_tls = may
	retry_min = 1s
	retry_max = 2s
	}
	route store { hosts = {\"127.0.4.4\"}
	  lmtp = true }
	$(login_route postfix 127.0.4.1:25 password)
	$(login_route postfix-wrong 127.0.4.1:25 wrong)
	$(login_route exim 127.0.4.2:25 password)
	$(login_route exim-wrong 127.0.4.2:25 wrong)
	route unused { hosts = {\"127.0.4.9\"}
	"
	start_msad
}

teardown_file() { submission_down; }

login_route() { # NAME HOST PASSWORD-FILE
	echo "route $1 { hosts = {\"$2\"}
	  tls = verify
	  tls_name = \"receiver.example\"
	  auth_user = \"relay\"
	  auth_password_file = \"$DIR/$3\" }"
}

authority() {
	local d=$DIR/tls
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=Test CA" -keyout "$d/ca.key" -out "$d/ca.pem"
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=receiver.example" -keyout "$d/r.key" -out "$d/r.csr"
	openssl x509 -req -in "$d/r.csr" -CA "$d/ca.pem" -CAkey "$d/ca.key" -CAcreateserial -days 2 -out "$d/r.crt" \
		-extfile <(echo "subjectAltName=DNS:receiver.example")
}

receiving_postfix() {
	local p=$DIR/postfix-recv/etc/sasl
	mkdir -p "$p"
	printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s/db\nmech_list: PLAIN LOGIN\n' "$p" > "$p/smtpd.conf"
	printf secret | saslpasswd2 -p -c -f "$p/db" -u receiver.example relay
	chown -R postfix "$p"
	postfix_up recv 127.0.4.1 "virtual unix - n n - - virtual" <<-END
	myhostname = receiver.example
	virtual_mailbox_domains = postfix.example, login-postfix.example
	virtual_mailbox_base = $DIR/mail/postfix
	virtual_mailbox_maps = inline:{ known@postfix.example=known/, grey@postfix.example=grey/, auth@login-postfix.example=auth/, grün@postfix.example=utf8/ }
	virtual_uid_maps = static:65534
	virtual_gid_maps = static:65534
	virtual_minimum_uid = 1000
	virtual_transport = virtual
	message_size_limit = 20480000
	smtputf8_enable = yes
	smtpd_tls_security_level = may
	smtpd_tls_cert_file = $DIR/tls/r.crt
	smtpd_tls_key_file = $DIR/tls/r.key
	smtpd_sasl_auth_enable = yes
	smtpd_tls_auth_only = yes
	smtpd_sasl_local_domain = receiver.example
	smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
	smtpd_recipient_restrictions = check_recipient_access inline:{ { grey@postfix.example = 450 4.2.0 come back later } }
	END
}

receiving_exim() {
	local e=$DIR/exim
	exim_unpacked || return 1
	mkdir -p "$e/spool"
	exim_user "$e"
	cp "$DIR/tls/r.crt" "$DIR/tls/r.key" "$e/"
	# Without root's powers, which it gives up for a configuration of ours.
	chown -R 64990:64990 "$e/spool" "$e/r.key" "$DIR/mail/exim"
	cat > "$e/conf" <<-END
	primary_hostname = receiver.example
	exim_path = $EXIM/usr/sbin/exim4
	spool_directory = $e/spool
	log_file_path = $e/spool/%slog
	pid_file_path = $e/spool/pid
	keep_environment =
	local_interfaces = 127.0.4.2
	daemon_smtp_ports = 25
	tls_advertise_hosts = *
	tls_certificate = $e/r.crt
	tls_privatekey = $e/r.key
	chunking_advertise_hosts = *
	smtputf8_advertise_hosts = *
	message_size_limit = 20M
	acl_smtp_rcpt = rcpt
	begin acl
	rcpt:
	  defer local_parts = grey
	    message = 4.2.0 come back later
	  accept domains = exim.example
	    local_parts = known : grün
	  accept authenticated = *
	    domains = login-exim.example
	  deny message = no such user here
	begin routers
	keep:
	  driver = accept
	  transport = keep
	begin transports
	keep:
	  driver = appendfile
	  maildir_format
	  directory = $DIR/mail/exim
	  user = 64990
	  group = 64990
	begin authenticators
	plain:
	  driver = plaintext
	  public_name = PLAIN
	  server_prompts = :
	  server_condition = \${if and{{eq{\$auth2}{relay}}{eq{\$auth3}{secret}}}}
	  server_set_id = \$auth2
	  server_advertise_condition = \${if def:tls_in_cipher}
	END
	chmod 644 "$e/conf"
	spawn exim unshare -m sh -ec 'mount --bind "$1/passwd" /etc/passwd; mount --bind "$1/group" /etc/group
		exec "$2/usr/sbin/exim4" -C "$1/conf" -bdf' sh "$e" "$EXIM"
	wait_until in_ns nc -z 127.0.4.2 25
}

# Debian 12's package offers TLS and breaks off every handshake, anybody's: OpenSMTPD 6.8 signs by a method for RSA and EC keys that OpenSSL 3 does not
# call for a key that came with a certificate ("rsa routines::missing private key" in its log). So it stands for servers whose TLS is broken.
receiving_opensmtpd() {
	local o=$DIR/opensmtpd
	unpacked opensmtpd opensmtpd usr/sbin/smtpd || return 1
	mkdir -p "$o"
	user_files "$o" opensmtpd:64991:/usr/sbin/nologin opensmtpq:64992:/usr/sbin/nologin keeper:64993:/bin/sh
	chown 64993 "$DIR/mail/opensmtpd"
	cp "$DIR/tls/r.crt" "$DIR/tls/r.key" "$o/"
	chmod 600 "$o/r.key"
	cat > "$o/conf" <<-END
	table known { known@opensmtpd.example = keeper }
	table users { known@opensmtpd.example }
	smtp max-message-size 20M
	pki receiver.example cert "$o/r.crt"
	pki receiver.example key "$o/r.key"
	listen on 127.0.4.3 port 25 tls pki receiver.example hostname receiver.example
	action "keep" maildir "$DIR/mail/opensmtpd" virtual <known>
	match from any for domain "opensmtpd.example" rcpt-to <users> action "keep"
	END
	spawn opensmtpd unshare -m sh -ec 'mount --bind "$1/passwd" /etc/passwd; mount --bind "$1/group" /etc/group
		for d in /usr/libexec /var/spool /var/lib /run; do mount -t tmpfs tmpfs $d; done
		mkdir -p /usr/libexec/opensmtpd /var/lib/opensmtpd/empty
		cp "$2"/usr/libexec/opensmtpd/* /usr/libexec/opensmtpd/
		mkdir -m 711 /var/spool/smtpd
		exec "$2/usr/sbin/smtpd" -d -f "$1/conf"' sh "$o" "$UNPACKED"
	wait_until in_ns nc -z 127.0.4.3 25
}

receiving_dovecot() {
	local d=$DIR/dovecot
	mkdir -p "$d/run"
	printf '%s\n' "known@dovecot.example::65534:65534::$DIR/mail/dovecot::" > "$d/users"
	chmod 644 "$d/users"
	cat > "$d/dovecot.conf" <<-END
	base_dir = $d/run
	log_path = /dev/stderr
	protocols = lmtp
	ssl = yes
	ssl_cert = <$DIR/tls/r.crt
	ssl_key = <$DIR/tls/r.key
	first_valid_uid = 1000
	mail_location = maildir:$DIR/mail/dovecot
	passdb {
	  driver = passwd-file
	  args = $d/users
	}
	userdb {
	  driver = passwd-file
	  args = $d/users
	}
	service lmtp {
	  inet_listener lmtp {
	    address = 127.0.4.4
	    port = 24
	  }
	}
	END
	spawn dovecot dovecot -F -c "$d/dovecot.conf"
	wait_until in_ns nc -z 127.0.4.4 24
}

setup() { servers=(postfix dovecot); [ -e "$DIR/no-exim" ] || servers+=(exim); [ -e "$DIR/no-opensmtpd" ] || servers+=(opensmtpd); }

mail_to() { # RCPT SUBJECT [SWAKS...]
	in_ns swaks --server 127.0.0.1 --port 465 --tls-on-connect --auth PLAIN --au user01 --ap secret01 -f user01@isp.example -t "$1" \
		--header "Subject: $2" "${@:3}" > "$DIR/swaks.log" 2>&1
}
kept() { find "$DIR/mail/$1" -path '*/new/*' -print0 -o -path '*/cur/*' -print0 | xargs -0 grep -lE "^Subject: $2.?\$"; } # SERVER SUBJECT
fate() { grep -E "queue $1" "$DIR/msad.log"; }

@test "each takes a plain message, an 8-bit one, and one of 5 MB, as they were sent" {
	in_ns python3 - "$DIR" "${servers[@]}" <<-'P'
	import hashlib, random, smtplib, ssl, sys
	folder, servers = sys.argv[1], sys.argv[2:]
	s = smtplib.SMTP_SSL("127.0.0.1", 465, context=ssl._create_unverified_context())
	s.login("user01", "secret01")
	r = random.Random(5)
	bodies = {"plain": "one\r\n.\r\n..two\r\n".encode(), "eight": "grüße\r\n".encode(),
	    "large": b"".join(b"%072x\r\n" % r.getrandbits(288) for _ in range(5 * 1024 * 1024 // 74))}
	for server in servers:
	    for name, body in bodies.items():
	        head = b"From: user01@isp.example\r\nSubject: %s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" % name.encode()
	        head += b"Content-Transfer-Encoding: 8bit\r\n\r\n"
	        s.sendmail("user01@isp.example", ["known@%s.example" % server], head + body, mail_options=["BODY=8BITMIME"])
	        open("%s/%s.sha" % (folder, name), "w").write(hashlib.sha256(body.replace(b"\r\n", b"\n")).hexdigest())
	P
	for s in "${servers[@]}"; do
		for m in plain eight large; do
			wait_until kept "$s" "$m"
			same() { [ "$(sed '1,/^\r\{0,1\}$/d' "$(kept "$s" "$m" | head -n 1)" | tr -d '\r' | sha256sum | cut -d' ' -f1)" = "$(cat "$DIR/$m.sha")" ]; }
			wait_until same || { echo "$s $m differs"; false; }
		done
	done
	# TLS where it is offered.
	grep -q 'queue delivered .*via="\[127.0.4.1\]:25 TLSv1.3' "$DIR/msad.log"
	grep -q 'queue delivered .*via="\[127.0.4.4\]:24 TLSv1.3' "$DIR/msad.log"
	[ -e "$DIR/no-exim" ] || grep -q 'queue delivered .*via="\[127.0.4.2\]:25 TLSv1.3' "$DIR/msad.log"
	# Where it breaks off: in clear text, after one try.
	[ -e "$DIR/no-opensmtpd" ] || { grep -q 'queue delivered .*via=\[127.0.4.3\]:25' "$DIR/msad.log"; [ "$(grep -c 'relay tls-failed .*via=\[127.0.4.3\]:25' "$DIR/msad.log")" = 1 ]; }
}

@test "SMTPUTF8: a recipient that needs it arrives where it is offered, and comes back where it is not" {
	in_ns python3 - "${servers[@]}" <<-'P'
	import smtplib, ssl, sys
	s = smtplib.SMTP_SSL("127.0.0.1", 465, context=ssl._create_unverified_context())
	s.login("user01", "secret01")
	for server in sys.argv[1:]:
	    s.ehlo()
	    s.docmd("MAIL", "FROM:<user01@isp.example> SMTPUTF8 BODY=8BITMIME")
	    s.send("RCPT TO:<grün@%s.example>\r\n".encode() % server.encode())
	    assert s.getreply()[0] == 250
	    assert s.docmd("DATA")[0] == 354
	    s.send("From: user01@isp.example\r\nSubject: utf8\r\nTo: grün@%s.example\r\n\r\nx\r\n.\r\n".encode() % server.encode())
	    assert s.getreply()[0] == 250
	P
	wait_until kept postfix utf8
	[ -e "$DIR/no-exim" ] || wait_until kept exim utf8
	[ -e "$DIR/no-opensmtpd" ] || wait_until fate 'bounced .*status=5.6.9 .*via=\[127.0.4.3\]'
}

@test "a user that each does not know comes back, classed as that; LMTP settles each recipient by itself" {
	local -A said=([postfix]='stranger@postfix.example>: Recipient address rejected: User unknown' [exim]='no such user here' \
		[opensmtpd]='Invalid recipient: <stranger@opensmtpd.example>' [dovecot]="<stranger@dovecot.example> User doesn't exist")
	for s in "${servers[@]}"; do
		mail_to "stranger@$s.example" "unknown $s"
		bounced() { fate "bounced .*class=unknown-user .*reply=\"550 .*${said[$s]}"; }
		wait_until bounced
	done
	mail_to known@dovecot.example,stranger@dovecot.example both
	wait_until kept dovecot both
}

@test "what they put off waits and is classed" {
	mail_to grey@postfix.example grey-postfix
	wait_until fate 'deferred .*status=4.2.0 class=[a-z-]* reply="450 4.2.0 <grey@postfix.example>: Recipient address rejected: come back later'
	if [ ! -e "$DIR/no-exim" ]; then
		mail_to grey@exim.example grey-exim
		wait_until fate 'deferred .*status=4.2.0 .*reply="451 4.2.0 come back later'
	fi
	not fate 'bounced .*come back later'
}

@test "smart hosts that want a login: Postfix and Exim take it under TLS; a wrong password is told as that, and bounces nothing" {
	mail_to auth@login-postfix.example login
	wait_until kept postfix login
	grep -q 'sasl_method=PLAIN, sasl_username=relay' "$DIR/postfix-recv.log"
	mail_to x@wrong-postfix.example wrong
	wait_until fate 'deferred .*status=4.7.8 .*reply="the login as relay was refused: 535 5.7.8'
	if [ ! -e "$DIR/no-exim" ]; then
		mail_to auth@login-exim.example login
		wait_until kept exim login
		grep -q 'A=plain:relay' "$DIR/exim/spool/mainlog"
		mail_to x@wrong-exim.example wrong
		wait_until fate 'deferred .*status=4.7.8 .*reply="the login as relay was refused: 535 Incorrect'
	fi
	not fate 'bounced .*login'
	logged 'relay destination-down .*why="the login as relay was refused'
}
