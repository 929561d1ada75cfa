#!/usr/bin/env bats
# SIGUSR2: sekisho-msad runs its file again, and nobody who submits mail notices.

load submission

setup_file() {
	export NS=sekisho-hand-$$
	submission_up
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/tls/key.pem" -out "$DIR/tls/cert.pem" \
		-days 30 -subj "/CN=smtp.isp.example" -addext "subjectAltName=DNS:smtp.isp.example,IP:127.0.0.1" 2>/dev/null
	printf secret01 | saslpasswd2 -p -c -f "$DIR/sasldb2" -u isp.example user01
	ours
	spawn sink smtp-sink -u nobody -d "$DIR/sink/%M." 127.0.0.1:2525 100
	# A copy, so that the file can be replaced.
	cp "$BIN/sekisho-msad" "$DIR/sekisho-msad"
	spawn msad "$DIR/sekisho-msad" -c "$DIR/sekisho.conf"
	wait_until logged "msad ready"
}

teardown_file() { submission_down; }

ours() { # MORE KEYS
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	max_sessions_per_client = 1000" "${1:-}"
}

upgrade() { # and wait for the new one
	local n
	n=$(grep -c "msad ready" "$DIR/msad.log")
	kill -USR2 "$(cat "$DIR/msad.pid")"
	wait_until logged_times "msad ready" $((n + 1))
}

leaving() { pgrep -x sekisho-leaving --ns "$(cat "$DIR/msad.pid")" --nslist net; }
nobody_leaves() { not leaving; }

# A session of its own on descriptors 7 (to) and the file heard.
talk() { # NAME
	rm -f "$DIR/in.$1"
	mkfifo "$DIR/in.$1"
	in_ns openssl s_client -quiet -crlf -connect 127.0.0.1:465 < "$DIR/in.$1" > "$DIR/heard.$1" 2>/dev/null 3>&- &
}
hears() { grep -q -- "$2" "$DIR/heard.$1"; } # NAME TEXT
login() { printf 'EHLO me\nAUTH PLAIN %s\n' "$(printf '\0user01@isp.example\0secret01' | base64 -w0)"; }

@test "20 upgrades under load: what got its 250 arrives once, no connection is refused, no session breaks" {
	local i pid
	pid=$(cat "$DIR/msad.pid")
	in_ns python3 "$BATS_TEST_DIRNAME/handover_load.py" "$DIR/stop" 12 > "$DIR/load" 2>&1 3>&- &
	for i in $(seq 20); do
		wait_until sh -c "[ \$(grep -c '^250' '$DIR/load') -ge $((i * 10)) ]"
		upgrade
	done
	touch "$DIR/stop"
	wait
	cat "$DIR/load" | tail -1
	[ "$(cat "$DIR/msad.pid")" = "$pid" ]
	kill -0 "$pid"
	tail -1 "$DIR/load" | grep -q '^refused=0 broken=0 '
	not grep -qE '^(4[^2]|42[^1]|5)' "$DIR/load"
	# Some finished in a process that was leaving, or this shows nothing.
	[ "$(grep -c 'handover leaving' "$DIR/msad.log")" = 20 ]
	grep -q ' [0-9a-z]\{9\}z[0-9a-z]\{6\} ' "$DIR/msad.log"
	wait_until nobody_leaves
	sed -n 's/^250 //p' "$DIR/load" | sort > "$DIR/said"
	all_there() { cat "$DIR"/sink/* | sed -n 's/^Subject: \(TAG-.*\)$/\1/p' | tr -d '\r' | sort > "$DIR/came"; [ "$(comm -23 "$DIR/said" "$DIR/came" | wc -l)" = 0 ]; }
	wait_until all_there
	[ -z "$(uniq -d "$DIR/came")" ]
}

ask_bounce() { printf 'request=smtpd_access_policy\nprotocol_state=RCPT\nsender=\nrecipient=a@isp.example\nclient_address=192.0.2.1\n\n' | policy_answers 9425; }

@test "the policy service's port stays open over upgrades: no question is refused" {
	ours 'bounce_listen = {"127.0.0.1:9425"}'
	stop_msad
	rm -f "$DIR/msad.log"
	spawn msad "$DIR/sekisho-msad" -c "$DIR/sekisho.conf"
	wait_until logged "msad ready"
	[[ $(ask_bounce) == action=* ]]
	in_ns python3 - "$DIR/asking" > "$DIR/asked" 2>&1 3>&- <<-'END' &
	import os, socket, sys
	n = refused = 0
	open(sys.argv[1], "w").close()
	while os.path.exists(sys.argv[1]):
	    try:
	        s = socket.create_connection(("127.0.0.1", 9425), 10)
	        s.close()
	        n += 1
	    except ConnectionRefusedError:
	        refused += 1
	print(n, refused)
	END
	wait_until test -e "$DIR/asking"
	for i in 1 2 3 4 5; do upgrade; done
	rm "$DIR/asking"
	wait_until test -s "$DIR/asked"
	read -r n refused < "$DIR/asked"
	echo "$n asked, $refused refused"
	[ "$n" -gt 100 ] && [ "$refused" = 0 ]
	[[ $(ask_bounce) == action=* ]]
	ours
	wait_until nobody_leaves
}

kept() { grep -c '^heard FDSTORE=1' "$DIR/manager"; }
@test "a service manager keeps the sockets: over a crash no connection is refused, and they are taken back" {
	stop_msad
	rm -f "$DIR/msad.log" "$DIR/manager"
	ours 'bounce_listen = {"127.0.0.1:9425"}'
	spawn msad env KEEP="l-0123456789abcdef nfq-1" python3 "$BATS_TEST_DIRNAME/nfqd_manager.py" "$DIR/manager" "$DIR/sekisho-msad" -c "$DIR/sekisho.conf"
	wait_until logged "msad ready"
	# 587, 588, 465 twice, and the policy service; what is none of its own it lets go, and says so.
	[ "$(kept)" = 5 ]
	wait_until grep -q 'FDSTOREREMOVE=1 FDNAME=l-0123456789abcdef' "$DIR/manager"
	wait_until grep -q 'FDSTOREREMOVE=1 FDNAME=nfq-1' "$DIR/manager"
	child() { awk '$1 == "started" { p = $2 } END { print p }' "$DIR/manager"; }
	inodes() { in_ns ss -Htlne | grep -E ':(465|587|588|9425) ' | grep -oE 'ino:[0-9]+' | sort; }
	before=$(inodes)
	for i in 1 2 3; do
		old=$(child)
		kill -STOP "$old"
		# It waits in the queue of the socket, while nobody serves it.
		rm -f "$DIR/connected"
		in_ns python3 -c 'import socket, sys
s = socket.create_connection(("127.0.0.1", 587), 20)
open(sys.argv[1], "w").close()
print(s.recv(100).decode())
s.sendall(b"QUIT\r\n")' "$DIR/connected" > "$DIR/waited" 3>&- &
		client=$!
		wait_until test -e "$DIR/connected"
		kill -KILL "$old"
		wait_until logged_times "msad ready" $((i + 1))
		wait $client
		grep -q '^220 ' "$DIR/waited"
	done
	# The very same sockets, and none was given away twice.
	[ "$(kept)" = 5 ]
	[ "$(inodes)" = "$before" ]
	[ "$(awk -v p="$(child)" '$1 == "started" && $2 == p { print NF }' "$DIR/manager")" = 7 ]
	[ "$(in_ns ss -Htln | grep -cE ':(465|587|588|9425) ')" = 5 ]
	kill "$(cat "$DIR/msad.pid")"
	wait_until gone "$(cat "$DIR/msad.pid")"
	ours
	spawn msad "$DIR/sekisho-msad" -c "$DIR/sekisho.conf"
	wait_until logged "msad ready"
}

@test "children of the programs before are waited for" {
	[ "$(ps -o stat= --ppid "$(cat "$DIR/msad.pid")" | grep -c Z)" = 0 ]
}

@test "a session goes on over an upgrade: login, message, 250" {
	talk a
	exec 7> "$DIR/in.a"
	wait_until hears a '^220'
	upgrade
	login >&7
	wait_until hears a '^235'
	leaving
	printf 'MAIL FROM:<user01@isp.example>\nRCPT TO:<someone@far.example>\nDATA\n' >&7
	wait_until hears a '^354'
	upgrade
	printf 'Subject: over two upgrades\n\ntext\n.\n' >&7
	wait_until hears a '^250 2.0.0'
	wait_until grep -rq 'Subject: over two upgrades' "$DIR/sink"
	printf 'QUIT\n' >&7
	exec 7>&-
	wait_until nobody_leaves
}

@test "STARTTLS after the upgrade, in the old process, is signed by its own key process" {
	exec 7<> <(:) || true
	in_ns python3 - "$DIR" <<-'END' 3>&- &
	import os, smtplib, ssl, sys, time
	d = sys.argv[1]
	s = smtplib.SMTP("127.0.0.1", 587, timeout=20)
	s.ehlo()
	open(d + "/connected", "w").close()
	while not os.path.exists(d + "/upgraded"):
	    time.sleep(0.02)
	c = ssl.create_default_context(cafile=d + "/tls/cert.pem")
	c.check_hostname = False
	s.starttls(context=c)
	s.login("user01@isp.example", "secret01")
	s.sendmail("user01@isp.example", ["someone@far.example"], "Subject: signed late\r\n\r\ntext\r\n")
	s.quit()
	open(d + "/done", "w").close()
	END
	wait_until test -e "$DIR/connected"
	upgrade
	touch "$DIR/upgraded"
	wait_until test -e "$DIR/done"
	wait_until grep -rq 'Subject: signed late' "$DIR/sink"
	wait_until nobody_leaves
}

@test "handover_timeout: idle sessions end with 421 4.3.2, a message under way is finished" {
	ours "handover_timeout = 1s"
	reload reloaded
	talk b
	exec 7> "$DIR/in.b"
	talk c
	exec 8> "$DIR/in.c"
	{ login; printf 'MAIL FROM:<user01@isp.example>\nRCPT TO:<someone@far.example>\nDATA\n'; } >&8
	wait_until hears c '^354'
	wait_until hears b '^220'
	upgrade
	wait_until hears b '^421 4.3.2'
	printf 'Subject: just in time\n\ntext\n.\n' >&8
	wait_until hears c '^250 2.0.0'
	wait_until hears c '^421 4.3.2'
	exec 7>&- 8>&-
	wait_until nobody_leaves
	wait_until grep -rq 'Subject: just in time' "$DIR/sink"
	ours
	reload reloaded
}

@test "failed logins in the process that leaves: counted there, told to the new one" {
	in_ns python3 - "$DIR" <<-'END' 3>&- &
	import base64, os, smtplib, ssl, sys, time
	d = sys.argv[1]
	c = ssl.create_default_context(cafile=d + "/tls/cert.pem")
	c.check_hostname = False
	all = [smtplib.SMTP_SSL("127.0.0.1", 465, timeout=20, context=c) for _ in range(5)]
	for s in all:
	    s.ehlo()
	open(d + "/guessing", "w").close()
	while not os.path.exists(d + "/guess"):
	    time.sleep(0.02)
	for i in range(10):
	    code, _ = all[i // 3].docmd("AUTH PLAIN", base64.b64encode(b"\0victim%d@isp.example\0x" % i).decode())
	    assert code in (535, 421), code
	assert all[4].noop()[0] == 250
	all[4].quit()
	open(d + "/guessed", "w").close()
	END
	wait_until test -e "$DIR/guessing"
	upgrade
	touch "$DIR/guess"
	# Ten wrong passwords take eleven seconds.
	wait_until test -e "$DIR/guessed" 2> /dev/null || wait_until test -e "$DIR/guessed"
	logged 'auth spraying client=127.0.0.1 accounts=10'
	not logged 'process bug'
	wait_until nobody_leaves
}

@test "the new program is gone: what the old one completes is not acknowledged" {
	talk d
	exec 7> "$DIR/in.d"
	{ login; printf 'MAIL FROM:<user01@isp.example>\nRCPT TO:<someone@far.example>\nDATA\n'; } >&7
	wait_until hears d '^354'
	upgrade
	kill -9 "$(cat "$DIR/msad.pid")"
	wait_until logged 'handover successor-gone'
	printf 'Subject: never\n\ntext\n.\n' >&7
	wait_until hears d '^451 4.3.0'
	not hears d '^250 2.0.0'
	exec 7>&-
	wait_until nobody_leaves
	spawn msad "$DIR/sekisho-msad" -c "$DIR/sekisho.conf"
	wait_until logged "msad ready"
}

@test "a program, certificate or configuration that would not start changes nothing" {
	refused() { # TEXT
		local n
		n=$(grep -c 'process upgrade-refused' "$DIR/msad.log" || true)
		kill -USR2 "$(cat "$DIR/msad.pid")"
		wait_until logged_times 'process upgrade-refused' $((n + 1))
		grep 'upgrade-refused' "$DIR/msad.log" | tail -1 | grep -q -- "$1"
		in_ns curl -sS --cacert "$DIR/tls/cert.pem" smtps://127.0.0.1/me -X NOOP
	}
	mv "$DIR/sekisho-msad" "$DIR/away"
	printf '#!/bin/sh\nexit 3\n' > "$DIR/sekisho-msad"
	chmod 755 "$DIR/sekisho-msad"
	refused 'exit status 3'
	mv "$DIR/away" "$DIR/sekisho-msad"
	mv "$DIR/tls/key.pem" "$DIR/tls/away"
	refused 'key.pem: No such file'
	mv "$DIR/tls/away" "$DIR/tls/key.pem"
	ours "listen_submission = {\"127.0.0.1:589\"}"
	refused 'listen_submission'
	ours "nonsense = 1"
	refused 'exit status 78'
	ours
	upgrade
	in_ns curl -sS --cacert "$DIR/tls/cert.pem" smtps://127.0.0.1/me -X NOOP
}
