#!/usr/bin/env bats
# sekisho-msad as clients see it: real TLS, real passwords in a sasldb, mail delivered to a real SMTP sink.
#
#   client (swaks, msmtp, curl, openssl, perl)  --587/465-->  sekisho-msad  --2525-->  smtp-sink, a file a message
#
# All of it on the loopback of one network namespace.

load submission

setup_file() {
	export NS=sekisho-sub-$$
	submission_up
	certificate_of one.isp.example
	users 01 02 03 04
	base ""
	start_sink
	start_msad
}

teardown_file() { submission_down; }

base() { # KEYS that override
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	mail_from = owned" "$1"
	sed -i '/^msa {/i ratelimit { messages_per_minute = 4 }' "$DIR/sekisho.conf"
}

# swaks on 465 with a right password; more options replace or add.
mail() { in_ns swaks --server 127.0.0.1 --port 465 --tls-on-connect --auth PLAIN --au user01 --ap secret01 \
	-f user01@isp.example -t rcpt@far.example "$@"; }

login() { printf 'EHLO me\r\nAUTH PLAIN %s\r\n' "$(printf '\0%s\0%s' user01 secret01 | base64)"; }

@test "587 with STARTTLS: the message arrives with Sender, ESMTPSA, trace and a tagged envelope" {
	run in_ns swaks --server 127.0.0.1 --port 587 -tls --auth PLAIN --au user01 --ap secret01 -f user01@isp.example \
		-t rcpt@far.example --pipeline --h-From 'Boss <boss@isp.example>' --header "Subject: first-$$" --add-header "Bcc: hidden@x" \
		--add-header 'Sender: forged@x' --add-header 'X-Sekisho-Trace: forged'
	[ "$status" = 0 ]
	f=$(arrived "first-$$")
	grep -qE '^X-Mail-Args: <prvs=0[0-9]{3}[0-9a-f]{6}=user01@isp\.example>' "$f"
	grep -q '^Sender: <user01@isp.example>' "$f"
	grep -q '	by smtp.isp.example (Sekisho) with ESMTPSA id [0-9a-z]\{16\}' "$f"
	grep -q '	(using TLSv1.3 with cipher TLS_AES' "$f"
	grep -q '	for <rcpt@far.example>;' "$f"
	grep -qE '^X-Sekisho-Trace: [0-9a-f]{24}' "$f"
	! grep -qiE '^(Bcc:|Sender: forged|X-Sekisho-Trace: forged)' "$f" || false
}

@test "465 with LOGIN and two recipients: no recipient is named in Received, no Sender for an own From" {
	run mail --auth LOGIN --au user02@isp.example --ap secret02 -f User02+x@isp.example -t a@far.example,b@far.example \
		--h-From 'user02@isp.example' --header "Subject: second-$$"
	[ "$status" = 0 ]
	f=$(arrived "second-$$")
	! grep -q '^	for <' "$f" || false
	! grep -q '^Sender:' "$f" || false
}

@test "465 over IPv6 with SCRAM-SHA-256 (msmtp)" {
	printf 'From: user01@isp.example\nSubject: scram-%s\n\nx\n' $$ | in_ns msmtp --host ::1 --port 465 --tls=on --tls-starttls=off \
		--tls-certcheck=off --auth=scram-sha-256 --user=user01 --passwordeval='echo secret01' -f user01@isp.example r@far.example
	f=$(arrived "scram-$$")
	grep -q '^Received: from .* (\[IPv6:::1\])' "$f"
	grep -q 'mech=SCRAM-SHA-256' "$DIR/msad.log"
}

@test "curl submits; Date and Message-ID are added when missing" {
	printf 'From: user01@isp.example\r\nSubject: curl-%s\r\n\r\nx\r\n' $$ > "$DIR/curl.eml"
	in_ns curl -sSk --url smtps://127.0.0.1:465 --user user01:secret01 --mail-from user01@isp.example \
		--mail-rcpt r@far.example --upload-file "$DIR/curl.eml"
	f=$(arrived "curl-$$")
	grep -qE '^Message-ID: <[0-9a-z]{16}@smtp.isp.example>' "$f"
	grep -qE '^Date: (Mon|Tue|Wed|Thu|Fri|Sat|Sun), ' "$f"
}

@test "a wrong password and an unknown user get the same 535, in every mechanism" {
	for mech in PLAIN LOGIN; do
		run mail --auth "$mech" --ap wrong
		[[ $output == *"535 5.7.8 Authentication failed"* ]]
		run mail --auth "$mech" --au nobody --ap wrong
		[[ $output == *"535 5.7.8 Authentication failed"* ]]
	done
	for user in user01 nobody; do
		run in_ns msmtp -d --host 127.0.0.1 --port 465 --tls=on --tls-starttls=off --tls-certcheck=off --auth=scram-sha-256 \
			--user=$user --passwordeval='echo wrong' -f user01@isp.example r@far.example <<< x
		[ "$(grep -ac '^<-- 334' <<< "$output")" = 2 ] # an unknown user is challenged too
		[[ $output == *"535 5.7.8 Authentication failed"* ]]
	done
}

@test "the third failed login of a session ends it" {
	run raw <<< $'EHLO me\r
AUTH PLAIN AGEAYg==\r
AUTH PLAIN AGEAYg==\r
AUTH PLAIN AGEAYg==\r
NOOP\r'
	[ "$(grep -c '^535 5.7.8' <<< "$output")" = 2 ]
	[[ ${lines[-1]} == "421 4.7.0 "* ]]
}

@test "before TLS: AUTH is not offered and refused with 538, mail with 530" {
	run in_ns bash -c "printf 'EHLO me\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<user01@isp.example>\r\nQUIT\r\n' | timeout 30 socat -t20 - TCP:127.0.0.1:587"
	[[ $output == *"250-STARTTLS"* ]]
	[[ $output != *"250-AUTH"* ]]
	[[ $output == *"538 5.7.11 "* ]]
	[[ $output == *"530 5.7.0 "* ]]
}

@test "what was pipelined in plain text behind STARTTLS is dropped" {
	run in_ns perl -MIO::Socket::SSL -MIO::Socket::INET -e '
		my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:587") or die;
		$s->sysread(my $b, 4096);
		$s->syswrite("EHLO plain\r\n"); $s->sysread($b, 4096);
		$s->syswrite("STARTTLS\r\nEHLO injected\r\nNOOP\r\n"); $s->sysread($b, 4096); print $b;
		IO::Socket::SSL->start_SSL($s, SSL_verify_mode => 0) or die "tls: $SSL_ERROR";
		$s->print("QUIT\r\n"); while ($s->read($b, 1)) { print $b; }'
	[ "$status" = 0 ]
	[ "$output" = $'220 2.0.0 Ready to start TLS\r\n221 2.0.0 Bye\r' ]
}

@test "relaying without AUTH is refused; so is a forged envelope" {
	run in_ns swaks --server 127.0.0.1 --port 465 --tls-on-connect -f user01@isp.example -t r@far.example
	[[ $output == *"530 5.7.0 "* ]]
	run mail -f boss@isp.example
	[[ $output == *"553 5.7.1 <boss@isp.example> is not an address of this account; send as <user01@isp.example>"* ]]
}

@test "a bare LF, CR or NUL in the message: refused, and nothing of it is taken for commands" {
	before=$(metric 'sekisho_msa_messages_total{result="accepted"}')
	for evil in '\n.\n' '\n.\r\n' '\r\n.\n' '\r.\r' '\r.\r\n' '\r\n.\r' '\n\n.\r\n' '\r\n\0.\r\n'; do
		run raw < <(login
			printf 'MAIL FROM:<user01@isp.example>\r\nRCPT TO:<r@far.example>\r\nDATA\r\nSubject: smuggle-%s\r\n\r\nx' $$
			printf "$evil"
			printf 'MAIL FROM:<user01@isp.example>\r\nRCPT TO:<victim@far.example>\r\nDATA\r\nSubject: smuggle-%s\r\n\r\ny\r\n.\r\nQUIT\r\n' $$)
		[ "$(grep -c '^354' <<< "$output")" = 1 ]
		[ "$(grep -c '^550 5.6.0' <<< "$output")" = 1 ]
		[[ $output == *"221 2.0.0"* ]]
	done
	[ "$(metric 'sekisho_msa_messages_total{result="accepted"}')" = "$before" ]
	! delivered "smuggle-$$" || false
}

@test "a client that says all it has to say and closes its side: its mail is taken, and it hears so" {
	run in_ns socat -t10 - OPENSSL:127.0.0.1:465,verify=0 < <(login
		for i in 1 2 3; do
			printf 'MAIL FROM:<user01@isp.example>\r\nRCPT TO:<r@far.example>\r\nDATA\r\nSubject: closed-%s-%s\r\n\r\nx\r\n.\r\n' $i $$
		done
		printf 'MAIL FROM:<user01@isp.example>\r\nRCPT TO:<r@far.example>\r\nDATA\r\nSubject: closed-cut-%s\r\n\r\nx\r\n' $$)
	echo "$output"
	[ "$(grep -c '^250 2.0.0 Ok: queued as ' <<< "$output")" = 3 ]
	arrived "closed-3-$$"
	! delivered "closed-cut-$$" || false
}

@test "the processes have names" {
	pid=$(cat "$DIR/msad.pid")
	[ "$(cat /proc/$pid/comm)" = sekisho-msad ]
	[ "$(pgrep -P "$pid" -x sekisho-auth | wc -l)" = 2 ]
	[ "$(pgrep -P "$pid" -x sekisho-relay | wc -l)" = 1 ]
}

@test "a bare LF in a command line: 500 and the end of the session" {
	run raw < <(printf 'EHLO me\r\nNOOP\nNOOP\r\nQUIT\r\n')
	[[ ${lines[-1]} == "500 5.5.2 "* ]]
}

@test "dots at line starts arrive as they were" {
	run raw < <(login
		printf 'MAIL FROM:<user01@isp.example>\r\nRCPT TO:<r@far.example>\r\nDATA\r\nSubject: dots-%s\r\n\r\n..one\r\n...two\r\n..\r\n.\r\nQUIT\r\n' $$)
	[[ $output == *"250 2.0.0 Ok: queued as "* ]]
	f=$(arrived "dots-$$")
	grep -qx '.one.\?' "$f"
	grep -qx '\.\.two.\?' "$f"
}

@test "bounds: declared and real size, recipients" {
	run raw < <(login
		printf 'MAIL FROM:<user01@isp.example> SIZE=99999999\r\nQUIT\r\n')
	[[ $output == *"552 5.3.4 "* ]]
	run raw < <(login
		printf 'MAIL FROM:<user01@isp.example>\r\n'
		for i in {1..101}; do printf 'RCPT TO:<r%s@far.example>\r\n' "$i"; done
		printf 'RSET\r\nQUIT\r\n')
	[ "$(grep -c '^250 2.1.5' <<< "$output")" = 100 ]
	[ "$(grep -c '^452 4.5.3' <<< "$output")" = 1 ]
}

@test "the tag keys are in a file of their own, for the daemon alone" {
	[ "$(stat -c %a "$DIR/state/msa/batv.keys")" = 600 ]
	grep -qE '^0 hex:[0-9a-f]{64}$' "$DIR/state/msa/batv.keys"
}

@test "no capability is kept, and no password is in the log" {
	grep -q '^CapEff:	0000000000000000' "/proc/$(cat "$DIR/msad.pid")/status"
	! grep -q 'secret0' "$DIR/msad.log" || false
	! grep -q "$(printf '\0user01\0secret01' | base64)" "$DIR/msad.log" || false
}

@test "an auth process that dies: its exchange gets 454, the next login works" {
	run in_ns perl -MIO::Socket::SSL -e '
		my $s = IO::Socket::SSL->new(PeerAddr => "127.0.0.1:465", SSL_verify_mode => 0) or die;
		$s->print("EHLO me\r\n"); while (<$s>) { last if /^250 / }
		$s->print("AUTH LOGIN\r\n"); print scalar <$s>;
		system("for p in \$(pgrep -P $ARGV[0] -f \"[-]x auth\"); do kill -9 \$p; done");
		$s->print("dXNlcjAx\r\n"); print scalar <$s>;
		my $r = "";
		for my $try (1 .. 100) {
			$s->print("AUTH PLAIN AHVzZXIwMQBzZWNyZXQwMQ==\r\n"); $r = <$s>;
			last if $r =~ /^235/; select undef, undef, undef, 0.05;
		}
		print $r;' "$(cat "$DIR/msad.pid")"
	[ "${lines[0]}" = $'334 VXNlcm5hbWU6\r' ]
	[[ ${lines[1]} == "454 4.7.0 "* ]]
	[[ ${lines[2]} == "235 2.7.0 "* ]]
}

served() { in_ns openssl s_client -connect 127.0.0.1:465 < /dev/null 2>/dev/null | grep -q "CN = $1.isp.example"; }

@test "SIGHUP takes a new certificate; a broken one leaves the old in place" {
	served one
	certificate_of two.isp.example
	kill -HUP "$(cat "$DIR/msad.pid")"
	wait_until served two
	echo nonsense > "$DIR/tls/cert.pem"
	kill -HUP "$(cat "$DIR/msad.pid")"
	wait_until logged 'reload-failed.*cert.pem'
	served two
	certificate_of one.isp.example
	base 'hostname = "other.example"'
	kill -HUP "$(cat "$DIR/msad.pid")"
	wait_until logged 'reload-failed.*hostname'
	base ""
}

@test "the limiter is away: 451 when so configured; it is there: the fifth message in a minute gets 450 with the time" {
	stop_msad
	base 'limiter_down = defer'
	start_msad
	run mail
	[[ $output == *"451 4.3.0 "* ]]
	spawn ratelimitd "$BIN/sekisho-ratelimitd" -c "$DIR/sekisho.conf"
	wait_until logged "limits connected"
	for i in 1 2 3 4; do
		run mail --au user03 --ap secret03 -f user03@isp.example --h-From user03@isp.example
		[ "$status" = 0 ]
	done
	run mail --au user03 --ap secret03 -f user03@isp.example
	[[ $output =~ "452 4.7.28 ".*"try again in "[0-9]+" s" ]]
	run mail --au user04 --ap secret04 -f user04@isp.example # nobody else is touched
	[ "$status" = 0 ]
}

# A penalty as sekisho-acctd would set it (docs/protocols/ratelimit.md): STAGE 0 released, 2 hold, 3 suspended.
penalty() { # ACCOUNT STAGE WHY
	perl -MIO::Socket::UNIX -MTime::HiRes=time -e '
		my $s = IO::Socket::UNIX->new(Peer => shift) or die "connect: $!";
		my ($account, $stage, $why) = @ARGV;
		my $p = pack("nN/aCq>N/aN/aN/a", 3, $account, $stage, int(time * 1000), "operator", $why, "test");
		print $s pack("N", length $p), $p;' "$DIR/run/ratelimitd.sock" "$@"
}

@test "an account on hold sends into the queue and learns nothing; a suspended one is told at login and at MAIL" {
	penalty user04@isp.example 2 "40 recipients in 1m"
	wait_until logged 'user04@isp.example limits hold'
	run mail --au user04 --ap secret04 -f user04@isp.example --header "Subject: held-$$"
	[[ $output == *"250 2.0.0 Ok: queued as "* ]]
	logged 'accepted-held .*account=user04@isp.example'
	in_ns perl -MIO::Socket::SSL -e '
		my $s = IO::Socket::SSL->new(PeerAddr => "127.0.0.1:465", SSL_verify_mode => 0) or die;
		$s->print("EHLO me\r\n"); while (<$s>) { last if /^250 / }
		$s->print("AUTH PLAIN AHVzZXIwNABzZWNyZXQwNA==\r\n"); $| = 1; print while <$s>;' > "$DIR/suspended" 2>&1 3>&- &
	open=$!
	wait_until grep -q '^235' "$DIR/suspended"
	! delivered "held-$$" || false
	penalty user04@isp.example 3 "stolen password"
	wait "$open" # an idle session is ended at once
	grep -q '^421 4.7.0 smtp.isp.example This account is suspended: stolen password' "$DIR/suspended"
	run mail --au user04 --ap secret04 -f user04@isp.example
	[[ $output == *"535 5.7.8 This account is suspended: stolen password"* ]]
	penalty user04@isp.example 0 "all clear"
	arrived "held-$$"
	run mail --au user04 --ap secret04 -f user04@isp.example
	[ "$status" = 0 ]
}

@test "help_url: who is suspended or held is told where to read about it; tell_held = false keeps the second to itself" {
	base 'help_url = "https://isp.example/help"'
	reload reloaded
	penalty user04@isp.example 2 "40 recipients in 1m"
	wait_until logged_times 'user04@isp.example limits hold' 2
	run mail --au user04 --ap secret04 -f user04@isp.example --header "Subject: told-$$"
	[[ $output == *"250 2.0.0 Ok: queued as "*", held for a look at it; see https://isp.example/help"* ]]
	base 'help_url = "https://isp.example/help" tell_held = false'
	reload reloaded
	run mail --au user04 --ap secret04 -f user04@isp.example --header "Subject: untold-$$"
	[[ $output == *"250 2.0.0 Ok: queued as "* ]]
	[[ $output != *"held"*"help"* ]]
	penalty user04@isp.example 3 "stolen password"
	wait_until logged_times 'user04@isp.example limits suspend' 2
	run mail --au user04 --ap secret04 -f user04@isp.example
	[[ $output == *"535 5.7.8 This account is suspended: stolen password; see https://isp.example/help"* ]]
	base 'help_url = "https://isp.example/a b"'
	reload reload-failed
	penalty user04@isp.example 0 "all clear"
	arrived "untold-$$"
	base ""
	reload reloaded
}

@test "who does not log in, or does not speak at all, is sent away" {
	stop_msad
	base 'login_timeout = 1s'
	start_msad
	run in_ns timeout 10 socat -t10 -u TCP:127.0.0.1:587 -
	[[ $output == *"421 4.4.2 smtp.isp.example Log in sooner"* ]]
	run in_ns timeout 10 socat -t10 -u TCP:127.0.0.1:465 - # no handshake
	[ "$status" = 0 ]
	logged 'why="login timeout"'
	stop_msad
	base 'idle_timeout = 1s'
	start_msad
	run in_ns timeout 10 socat -t10 -u TCP:127.0.0.1:587 -
	[[ $output == *"421 4.4.2 smtp.isp.example Idle for too long"* ]]
	stop_msad
	base ""
	start_msad
}

@test "SIGTERM: an idle session hears 421, the process ends with 0" {
	in_ns perl -MIO::Socket::SSL -e '
		my $s = IO::Socket::SSL->new(PeerAddr => "127.0.0.1:465", SSL_verify_mode => 0) or die;
		$s->print("EHLO me\r\n"); while (<$s>) { last if /^250 / }
		print "up\n"; $| = 1; print ""; print while <$s>;' > "$DIR/idle" 2>&1 3>&- &
	idle=$!
	wait_until grep -q 'smtp end\|up' "$DIR/idle" || true
	stop_msad
	wait "$idle"
	grep -q '^421 4.3.2 smtp.isp.example ' "$DIR/idle"
	logged 'msad stopped'
}
