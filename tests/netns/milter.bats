#!/usr/bin/env bats
# Tags of bounces where mail comes in: sekisho-batv-milter and the policy service, each behind a real Postfix, and bounces that another
# real Postfix makes of mail it has accepted.
#
#   swaks --465--> sekisho-msad --> 127.0.0.2:25 Postfix of far.example --> 127.0.0.2:2526 smtp-sink, which refuses every recipient
#                                        | bounces, to prvs=...=userNN@isp.example
#                                        v
#                  127.0.0.1:25 Postfix, the MX of isp.example, with the milter --> 127.0.0.1:2525 smtp-sink, the mailboxes
#
# All of it on the loopback of one network namespace.

load submission

setup_file() {
	export NS=sekisho-milter-$$
	submission_up
	command -v postfix > /dev/null || skip "needs Postfix"
	users 01 02
	certificate_of smtp.isp.example
	base
	start_sink
	spawn refuser smtp-sink -u nobody -f RCPT 127.0.0.2:2526 100
	postfix_up far 127.0.0.2 <<-END
	myhostname = mx.far.example
	relay_domains = far.example
	transport_maps = inline:{ far.example=smtp:[127.0.0.2]:2526, isp.example=smtp:[127.0.0.1]:25, shop.example=smtp:[127.0.0.1]:25 }
	END
	echo '/^prvs=[0-9]{4}[0-9a-f]{6}=/ OK' > "$DIR/tagged"
	chmod 644 "$DIR/tagged"
	postfix_up mx 127.0.0.1 <<-END
	myhostname = mx.isp.example
	inet_protocols = all
	relay_domains = isp.example, shop.example, other.example
	relay_recipient_maps = inline:{ user01@isp.example=x, user02@isp.example=x, x@shop.example=x, postmaster@shop.example=x, x@other.example=x }, regexp:$DIR/tagged
	relay_transport = smtp:[127.0.0.1]:2525
	smtpd_milters = inet:127.0.0.1:10026
	smtpd_authorized_xclient_hosts = 127.0.0.0/8
	END
	start_msad
	start_milter
}

teardown_file() { submission_down; }

base() { # KEYS that override
	echo "domain shop.example batv=yes" > "$DIR/identities"
	configure "tls_cert = \"$DIR/tls/cert.pem\"
	tls_key = \"$DIR/tls/key.pem\"
	identities = \"$DIR/identities\"
	bounce_listen = {\"127.0.0.1:10025\"}
	error_delay = 0" "smarthost = \"127.0.0.2:25\" ${1:-}"
}

start_milter() {
	spawn milter "$BIN/sekisho-batv-milter" -c "$DIR/sekisho.conf"
	wait_until milter_says "milter ready"
}
milter_says() { grep -q -- "$1" "$DIR/milter.log"; }
milter_said() { [ "$(grep -c -- "$1" "$DIR/milter.log")" -ge "$2" ]; } # TEXT N

milter_with() { # KEYS of msa: and reloads; reloaded | reload-failed
	local n
	base "$1"
	n=$(grep -c "milter ${2:-reloaded}" "$DIR/milter.log" || true)
	kill -HUP "$(cat "$DIR/milter.pid")"
	wait_until milter_said "milter ${2:-reloaded}" $((n + 1))
}

# comes_in SENDER RECIPIENT SUBJECT [OPTION...]: at the MX, from an address that each test has for itself, as a proxy would say (XCLIENT).
comes_in() {
	local from=$1 to=$2 subject=$3
	shift 3
	in_ns swaks --server 127.0.0.1 --port 25 --xclient-addr "198.51.100.$BATS_TEST_NUMBER" -f "$from" -t "$to" --header "Subject: $subject" "$@"
}

# A fresh tag of userNN, in TAGGED, and with another MAC in FORGED.
tag_of() { # NN
	TAGGED=$(sed -n 's/.*from=<\(prvs=[^>]*=user'"$1"'@isp.example\)>.*/\1/p' "$DIR/postfix-far.log" | tail -1)
	[ -n "$TAGGED" ]
	FORGED=$(sed -E 's/^(prvs=[0-9]{4})[0-9a-f]{6}/\1abcdef/' <<< "$TAGGED")
}

state() { in_ns curl -s http://127.0.0.1:9430/metrics | sed -n "s/^$1 //p"; }

@test "a bounce of our mail, by a real mail server: the tag is taken off and the mailbox has it" {
	for n in 01 02; do
		mail_as "$n" "user$n@isp.example" -t "nobody$n@far.example" --header "Subject: round-$n-$$"
		f=$(arrived "nobody$n@far.example")
		[ "$(envelope "$f")" = "" ]
		[ "$(recipients "$f")" = "user$n@isp.example" ]
		[ "$(grep -c '^X-Sekisho-BATV:' "$f")" = 1 ]
		grep -q '^X-Sekisho-BATV: valid' "$f"
		grep -q '^Subject: Undelivered Mail' "$f"
	done
	milter_says 'batv bounce result=valid reason=valid recipient="\?prvs=.*=user01@isp.example"\? client=127.0.0.'
	[ "$(state 'sekisho_milter_recipients_total{result="valid"}')" -ge 2 ]
	[ "$(state sekisho_milter_stripped_total)" -ge 2 ]
}

@test "tag, the default: each kind of bounce gets its word, and forged fields are taken out" {
	tag_of 01
	old=$(/usr/bin/python3 - "$DIR/state/msa/batv.keys" <<-'END'
	import hashlib, hmac, sys, time
	k, secret = open(sys.argv[1]).read().split()
	ddd = "%03d" % ((int(time.time() // 86400) - 3) % 1000)
	mac = hmac.new(bytes.fromhex(secret[4:]), (k + ddd + "user01@isp.example").encode(), hashlib.sha1).hexdigest()[:6]
	print("prvs=%s%s%s=user01@isp.example" % (k, ddd, mac))
	END
	)
	i=0
	while read -r to want at; do
		i=$((i + 1))
		comes_in '<>' "$to" "kind-$i-$$" --add-header 'X-Sekisho-BATV: valid' --add-header 'x-sekisho-batv: valid, too'
		f=$(arrived "kind-$i-$$")
		[ "$(grep -i '^x-sekisho-batv:' "$f")" = "X-Sekisho-BATV: ${want//_/ }" ] || { echo "$to"; cat "$f"; false; }
		[ "$(recipients "$f")" = "$at" ]
	done <<-END
	$TAGGED valid user01@isp.example
	${TAGGED^^} valid USER01@isp.example
	$FORGED forged user01@isp.example
	${TAGGED/prvs=0/prvs=7} unknown_key user01@isp.example
	$old expired user01@isp.example
	user01@isp.example not_tagged user01@isp.example
	x@shop.example not_tagged x@shop.example
	END
}

@test "mail with a sender: the tag is taken off, nothing is said of it, forged fields are taken out; other domains are left alone" {
	tag_of 01
	comes_in a@far.example "$FORGED" "sender-$$" --add-header 'X-Sekisho-BATV: valid'
	f=$(arrived "sender-$$")
	[ "$(recipients "$f")" = user01@isp.example ]
	not grep -qi '^x-sekisho-batv' "$f"
	comes_in '<>' x@other.example "others-$$"
	not grep -qi '^x-sekisho-batv' "$(arrived "others-$$")"
	comes_in '<>' "prvs=0891abcdef=x@other.example" "theirs-$$"
	f=$(arrived "theirs-$$")
	[ "$(recipients "$f")" = prvs=0891abcdef=x@other.example ]
	not grep -qi '^x-sekisho-batv' "$f"
}

@test "several recipients: tags are taken off each, the worst word counts; one that is refused does not touch the others" {
	tag_of 01
	comes_in '<>' "$TAGGED,$FORGED,user02@isp.example" "several-$$"
	f=$(arrived "several-$$")
	grep -q '^X-Sekisho-BATV: forged' "$f"
	[ "$(recipients "$f" | sort -u | tr '\n' ' ')" = "user01@isp.example user02@isp.example " ]
	milter_with 'bounce_check = reject'
	run comes_in '<>' "$FORGED,$TAGGED" "mixed-$$"
	[[ $output == *"550 5.7.1 "*"the tag of the address is forged"* ]]
	f=$(arrived "mixed-$$")
	grep -q '^X-Sekisho-BATV: valid' "$f"
	[ "$(recipients "$f")" = user01@isp.example ]
}

@test "reject: wrong tags are refused; without a tag only where every bounce has one, and never the postmaster" {
	milter_with 'bounce_check = reject bounce_strict = {"shop.example"}'
	tag_of 02
	run comes_in '<>' "$FORGED" "no-$$"
	[[ $output == *"550 5.7.1 "*"the tag of the address is forged"* ]]
	run comes_in '<>' "${TAGGED/prvs=0/prvs=7}" "no-$$"
	[[ $output == *"550 5.7.1 "*"the tag of the address is unknown"* ]]
	run comes_in '<>' x@shop.example "no-$$"
	[[ $output == *"550 5.7.1 "*"the address has no tag"* ]]
	comes_in '<>' postmaster@shop.example "post-$$"
	grep -q '^X-Sekisho-BATV: not tagged' "$(arrived "post-$$")"
	comes_in '<>' user02@isp.example "lax-$$"
	grep -q '^X-Sekisho-BATV: not tagged' "$(arrived "lax-$$")"
	comes_in a@far.example x@shop.example "ham-$$"
	arrived "ham-$$"
	comes_in '<>' "$TAGGED" "yes-$$"
	[ "$(recipients "$(arrived "yes-$$")")" = user02@isp.example ]
	not delivered "Subject: no-$$"
}

@test "log: said in the log alone; the tag is taken off all the same" {
	milter_with 'bounce_check = log bounce_strict = {"shop.example"}'
	tag_of 01
	comes_in '<>' "$FORGED" "log-$$" --add-header 'X-Sekisho-BATV: valid'
	f=$(arrived "log-$$")
	[ "$(recipients "$f")" = user01@isp.example ]
	not grep -qi '^x-sekisho-batv' "$f"
	comes_in '<>' x@shop.example "log2-$$"
	arrived "log2-$$"
	milter_says 'result=invalid reason=forged'
}

# The client at ADDRESS asks with FORGED N times, then with TAGGED once: the last reply to RCPT.
guess() { # ADDRESS N
	in_ns /usr/bin/python3 - "$1" "$2" "$FORGED" "$TAGGED" <<-'END'
	import smtplib, sys
	address, n, forged, tagged = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
	for i in range(n + 1):
	    s = smtplib.SMTP("127.0.0.1", 25)
	    s.ehlo("me")
	    s.docmd("XCLIENT", "NAME=[UNAVAILABLE] ADDR=" + ("IPV6:" + address if ":" in address else address))
	    s.ehlo("me")
	    s.mail("")
	    code, text = s.rcpt(forged if i < n else tagged)
	    s.close()
	print(code, text.decode())
	END
}

@test "a client that guesses is put off, a right tag included; others are not, and a reload forgets nothing" {
	milter_with 'bounce_check = reject'
	tag_of 01
	[[ $(guess 192.0.2.1 19) == 250* ]]
	[[ $(guess 192.0.2.1 1) == "450 4.7.1 "*"Too many bounces with wrong tags"* ]]
	[[ $(guess 192.0.2.2 0) == 250* ]]
	# An IPv6 network is one client.
	for i in 1 2 3 4; do
		guess "2001:db8::$i" 5 > /dev/null
	done
	[[ $(guess 2001:db8::99 0) == 450* ]]
	[[ $(guess 2001:db8:0:1::1 0) == 250* ]]
	milter_with 'bounce_check = reject'
	[[ $(guess 192.0.2.1 0) == 450* ]]
	[ "$(state 'sekisho_milter_recipients_total{result="put-off"}')" -ge 3 ]
}

@test "SIGHUP takes a new key; a wrong file changes nothing and is named; a session under way goes on" {
	milter_with 'bounce_check = reject'
	tag_of 01
	cp "$DIR/state/msa/batv.keys" "$DIR/keys"
	mkfifo "$DIR/talk"
	ip netns exec "$NS" nc 127.0.0.1 25 < "$DIR/talk" > "$DIR/heard" 3>&- &
	exec 7> "$DIR/talk"
	printf 'EHLO me\r\nMAIL FROM:<>\r\n' >&7
	wait_until grep -q '^250 2.1.0' "$DIR/heard"
	echo "3 0123456789abcdef" > "$DIR/state/msa/batv.keys"
	milter_with 'bounce_check = reject'
	run comes_in '<>' "$TAGGED" "newkey-$$"
	[[ $output == *"550 5.7.1 "*"the tag of the address is unknown"* ]]
	# The session from before is still served, by the new key.
	printf 'RCPT TO:<%s>\r\nRCPT TO:<user01@isp.example>\r\nQUIT\r\n' "$TAGGED" >&7
	exec 7>&-
	wait_until grep -q '^221' "$DIR/heard"
	grep -q '^550 5.7.1 .*the tag of the address is unknown' "$DIR/heard"
	grep -q '^250 2.1.5' "$DIR/heard"
	echo "3 short" > "$DIR/state/msa/batv.keys"
	milter_with 'bounce_check = reject' reload-failed
	milter_says 'reload-failed error=".*batv.keys:1: a key is 16 to 64 characters'
	cp "$DIR/keys" "$DIR/state/msa/batv.keys"
	milter_with 'bounce_check = reject'
	comes_in '<>' "$TAGGED" "oldkey-$$"
	arrived "oldkey-$$"
	not milter_says "$(sed 's/.*hex://' "$DIR/keys")"
}

worker() { pgrep -P "$(cat "$DIR/milter.pid")"; }
other_worker() { [ -n "$(worker)" ] && [ "$(worker)" != "$1" ]; }

@test "a worker that dies is followed by another, and mail goes on" {
	tag_of 01
	before=$(worker)
	kill -9 "$before"
	wait_until other_worker "$before"
	comes_in '<>' "$TAGGED" "again-$$"
	arrived "again-$$"
	[ "$(state sekisho_milter_restarts_total)" = 1 ]
	# It has no capability, and is nobody's child when its parent is gone.
	grep -q '^CapEff:	0000000000000000' "/proc/$(worker)/status"
}

@test "the policy service before Postfix: log, tag and reject; guesses are put off" {
	policy_of() { # MODE: of msad
		base "bounce_check = $1"
		reload reloaded
	}
	milter_with 'bounce_check = log'
	tag_of 02
	p=$DIR/postfix-mx/etc/main.cf
	echo 'smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10025' >> "$p"
	sed -i '/^smtpd_milters/d' "$p"
	echo '/^prvs=[0-9]{4}[0-9a-f]{6}=(.*)$/ $1' > "$DIR/untag"
	chmod 644 "$DIR/untag"
	echo "recipient_canonical_maps = regexp:$DIR/untag" >> "$p"
	kill -HUP "$(sed -n 1p "$DIR/postfix-mx/spool/pid/master.pid")"
	asked() { comes_in '<>' "$1" "$2" > "$DIR/said" 2>&1 || true; logged "batv bounce result=.* recipient=\"\?$1"; }
	policy_of tag
	wait_until asked "$TAGGED" "p0-$$"
	comes_in '<>' "$TAGGED" "p1-$$"
	f=$(arrived "p1-$$")
	grep -q '^X-Sekisho-BATV: valid' "$f"
	[ "$(recipients "$f")" = user02@isp.example ]
	comes_in '<>' "$FORGED" "p2-$$"
	grep -q '^X-Sekisho-BATV: forged' "$(arrived "p2-$$")"
	policy_of log
	comes_in '<>' "$FORGED" "p3-$$"
	not grep -q '^X-Sekisho-BATV' "$(arrived "p3-$$")"
	policy_of reject
	run comes_in '<>' "$FORGED" "p4-$$"
	[[ $output == *"550 5.7.1 "*"the tag of the address is forged"* ]]
	[[ $(guess 192.0.2.9 20) == "450 4.7.1 "*"Too many bounces"* ]]
	[[ $(guess 192.0.2.10 0) == 250* ]]
	base 'bounce_check = reject bounce_strict = {"SHOP.example"}'
	reload reloaded
	run comes_in '<>' x@shop.example "p5-$$"
	[[ $output == *"550 5.7.1 "*"the address has no tag"* ]]
}

@test "it stops cleanly, and starts with no key as little as with a bad configuration" {
	pid=$(cat "$DIR/milter.pid")
	kill "$pid"
	wait_until gone "$pid"
	milter_says "milter stopped"
	mv "$DIR/state/msa/batv.keys" "$DIR/keys"
	run in_ns timeout 30 "$BIN/sekisho-batv-milter" -c "$DIR/sekisho.conf"
	[ "$status" = 71 ]
	[[ $output == *"cannot read $DIR/state/msa/batv.keys: No such file"* ]]
	[ ! -e "$DIR/state/msa/batv.keys" ]
	echo 'milter { listen = "10026" }' >> "$DIR/more.conf"
	run "$BIN/sekisho-batv-milter" -n -c "$DIR/sekisho.conf"
	[ "$status" = 78 ]
	[[ $output == *'milter.listen: '* ]]
}
