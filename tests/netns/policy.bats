#!/usr/bin/env bats
# Limits for the mail servers an ISP has already: a real Postfix with AUTH by Cyrus sasldb, and a real Exim, ask sekisho-ratelimitd by the
# policy protocol. All of it on the loopback of one network namespace.

load submission
load exim

setup_file() {
	export NS=sekisho-policy-$$
	submission_up
	command -v postfix > /dev/null || skip "needs Postfix"
	users 01 02 03 04 05 06 07 08 09 10 11 12 13 20 21 22 23 24
	mkdir -p "$DIR/sasl"
	cat > "$DIR/sasl/smtpd.conf" <<-END
	pwcheck_method: auxprop
	auxprop_plugin: sasldb
	sasldb_path: $DIR/sasldb2
	mech_list: PLAIN LOGIN
	END
	chmod 755 "$DIR/sasl"
	chmod 644 "$DIR/sasldb2" "$DIR/sasl/smtpd.conf"
	start_sink
	cat > "$DIR/rl.conf" <<-END
	common { state_dir = "$DIR/state"  run_dir = "$DIR/run"  user = "" }
	ratelimit {
	  metrics = ""
	  messages_per_minute = 3
	  recipients_per_minute = 6
	  burst_recipients = 0
	  policy_listen = {"unix:$DIR/policy", "inet:127.0.0.1:10040"}
	}
	limit bytes { unit = bytes  window = 1h  max = 100k }
	account-class few-people { members = {"user10@isp.example", "User20@ISP.example", "user24@isp.example"} }
	limit few-people { unit = distinct-recipients  window = 1h  max = 2  class = few-people }
	account-class few-domains { members = {"user11@isp.example", "user21@isp.example"} }
	limit few-domains { unit = distinct-domains  window = 1h  max = 2  class = few-domains }
	account-class few-senders { members = {"user12@isp.example", "user22@isp.example"} }
	limit few-senders { unit = distinct-senders  window = 1h  max = 2  class = few-senders }
	account-class only-seen { members = {"user13@isp.example", "user23@isp.example"} }
	limit only-seen { unit = distinct-recipients  window = 1h  max = 1  class = only-seen  mode = observe }
	END
	spawn ratelimitd "$BIN/sekisho-ratelimitd" -c "$DIR/rl.conf"
	wait_until grep -q "ratelimit started" "$DIR/ratelimitd.log"
	n=1
	hooked rcpt "smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10040, permit_sasl_authenticated, reject"
	hooked end "smtpd_recipient_restrictions = permit_sasl_authenticated, reject
smtpd_end_of_data_restrictions = check_policy_service unix:$DIR/policy"
	hooked both "smtpd_recipient_restrictions = check_policy_service unix:$DIR/policy, permit_sasl_authenticated, reject
smtpd_end_of_data_restrictions = check_policy_service unix:$DIR/policy"
}

teardown_file() { submission_down; }

hooked() { # NAME LINES: a Postfix at 127.0.0.1N
	n=$((n + 1))
	mkdir -p "$DIR/postfix-$1/etc/sasl"
	cp "$DIR/sasl/smtpd.conf" "$DIR/postfix-$1/etc/sasl/"
	postfix_up "$1" "127.0.0.$n" <<-END
	myhostname = $1.isp.example
	smtpd_sasl_auth_enable = yes
	smtpd_sasl_local_domain = isp.example
	cyrus_sasl_config_path = /etc/postfix/sasl
	smtpd_relay_restrictions = permit_sasl_authenticated, reject
	default_transport = smtp:[127.0.0.1]:2525
	$2
	END
}

# send SERVER NN RECIPIENTS [OPTION...]: one message
send() {
	local server=$1 nn=$2 to=$3
	shift 3
	in_ns swaks --server "$server" --auth PLAIN --au "user$nn@isp.example" --ap "secret$nn" -f "user$nn@isp.example" -t "$to" "$@"
}
accepted() { grep -q "<-  250 2.0.0 Ok: queued" <<< "$output"; }
ask() { printf 'request=smtpd_access_policy\n%b\n' "$1" | policy_answers 10040; }

@test "Postfix hooked at RCPT: three messages pass, the fourth is refused there" {
	for i in 1 2 3; do
		run send 127.0.0.2 01 "a$i@far.example"
		accepted
	done
	run send 127.0.0.2 01 a4@far.example
	[[ $output == *"452 4.7.28 "*"4 messages in 1m, limit 3; try again in "* ]]
	run send 127.0.0.2 02 b@far.example
	accepted
}

@test "Postfix hooked at RCPT: recipients are counted one by one, the rest of the message goes on" {
	run send 127.0.0.2 03 c1@far.example,c2@far.example,c3@far.example,c4@far.example,c5@far.example,c6@far.example,c7@far.example
	accepted
	[ "$(grep -c '<-  250 2.1.5' <<< "$output")" = 6 ]
	[[ $output == *"452 4.7.28 "*"7 recipients in 1m, limit 6"* ]]
}

@test "Postfix hooked at END-OF-MESSAGE: counted once, with its size" {
	for i in 1 2 3; do
		run send 127.0.0.3 04 "d$i@far.example,e$i@far.example"
		accepted
	done
	run send 127.0.0.3 04 d4@far.example
	[[ $output == *"452 4.7.28 "*"messages in 1m, limit 3"* ]]
	head -c 70000 /dev/zero | tr '\0' x | fold -w 70 > "$DIR/big"
	run send 127.0.0.3 05 d@far.example --body "$DIR/big"
	accepted
	run send 127.0.0.3 05 d@far.example --body "$DIR/big"
	[[ $output == *"452 4.7.28 "*"KiB in 1h, limit 100"* ]]
}

@test "Postfix hooked at both: still once a message" {
	for i in 1 2 3; do
		run send 127.0.0.4 06 "f$i@far.example,g$i@far.example"
		accepted
	done
	run send 127.0.0.4 06 f4@far.example
	[[ $output == *"452 4.7.28 "*"4 messages in 1m, limit 3"* ]]
}

# each_unit ADDRESS FIRST: of each unit: who, as whom, to whom, "ok" or the words of the refusal. What was refused is not counted.
each_unit() {
	while read -r n from to want; do
		nn=$(($2 + n)) from=${from/%LOGIN/user$(($2 + n))}
		run send "$1" "$nn" "$to" -f "$from@isp.example"
		echo "$nn $from $to: $want; $(grep "^<" <<< "$output" | tail -3)"
		if [ "$want" = ok ]; then accepted; else [[ $output == *"452 4.7.28 "*"$want"* ]]; fi
	done <<-'END'
	0 LOGIN a1@far.example ok
	0 LOGIN a2@far.example ok
	0 LOGIN a3@far.example 3 distinct-recipients in 1h, limit 2
	0 LOGIN a1@far.example ok
	1 LOGIN a@one.example ok
	1 LOGIN a@two.example ok
	1 LOGIN a@three.example 3 distinct-domains in 1h, limit 2
	1 LOGIN b@one.example ok
	2 LOGIN a@far.example ok
	2 sales a@far.example ok
	2 other a@far.example 3 distinct-senders in 1h, limit 2
	2 sales a@far.example ok
	3 LOGIN a1@far.example ok
	3 LOGIN a2@far.example ok
	3 LOGIN a3@far.example ok
	3 LOGIN a4@far.example 4 messages in 1m, limit 3
	END
}

@test "Postfix hooked at RCPT: what is different is counted once, whatever the unit" {
	each_unit 127.0.0.2 10
}

@test "Postfix hooked at both: what is different is refused at RCPT and counted at the end" {
	each_unit 127.0.0.4 20
	run send 127.0.0.4 24 b1@far.example,b2@far.example,b3@far.example,b2@far.example
	accepted
	grep -F 'RCPT TO:<b3@far.example>' -A1 <<< "$output" | grep -F "452 4.7.28 "
	[ "$(grep -c '<-  250 2.1.5' <<< "$output")" = 3 ]
	run send 127.0.0.4 24 b4@far.example
	[[ $output == *"452 4.7.28 "*"3 distinct-recipients in 1h, limit 2"* ]]
}

@test "mail without a login is none of the limits' business" {
	for i in $(seq 30); do
		printf 'request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=x@isp.example\nclient_address=192.0.2.1\ninstance=%s\n\n' "$i"
	done > "$DIR/strangers"
	[ "$(policy_answers 10040 30 < "$DIR/strangers" | grep -c '^action=DUNNO$')" = 30 ]
}

@test "what does not keep to the protocol ends its connection, and nothing else" {
	run ask 'nonsense\n'
	[ -z "$output" ]
	grep -q "policy bad-request.*without =" "$DIR/ratelimitd.log"
	[ "$(ask 'protocol_state=RCPT\nsasl_username=user07@isp.example\nrecipient=x@y.example\ninstance=q\n')" = "action=DUNNO" ]
}

@test "Exim by readsocket: three messages pass, the fourth is refused" {
	exim_unpacked || skip "exim4-daemon-light cannot be fetched: $(tail -n 1 "$DIR/exim-get.log")"
	e=$DIR/exim
	mkdir -p "$e/spool"
	exim_user "$e"
	cat > "$e/conf" <<-'END'
	primary_hostname = exim.isp.example
	spool_directory = SPOOL
	log_file_path = SPOOL/log-%s
	keep_environment =
	daemon_smtp_ports = 2626
	local_interfaces = 127.0.0.1
	tls_advertise_hosts =
	acl_smtp_mail = check_mail
	acl_smtp_rcpt = check_rcpt
	queue_only
	host_lookup =
	begin acl
	check_mail:
	  accept set acl_m_id = $tod_epoch.$pid.${randint:1000000}
	check_rcpt:
	  defer authenticated = *
	        set acl_m_policy = ${readsocket{inet:127.0.0.1:10040}{request=smtpd_access_policy\nprotocol_state=RCPT\ninstance=$acl_m_id\nsasl_username=$authenticated_id\nsender=$sender_address\nrecipient=$local_part@$domain\nclient_address=$sender_host_address\n\n}{5s}{}{action=DUNNO}}
	        condition = ${if !match{$acl_m_policy}{DUNNO}}
	        message = ${sg{$acl_m_policy}{\N(?s)^.*action=(452 )?(.*?)\s*$\N}{\$2}}
	  accept authenticated = *
	begin routers
	all:
	  driver = manualroute
	  route_list = * 127.0.0.1
	  transport = out
	begin transports
	out:
	  driver = smtp
	begin authenticators
	plain:
	  driver = plaintext
	  public_name = PLAIN
	  server_prompts = :
	  server_condition = ${if eq{$auth3}{secret}}
	  server_set_id = $auth2
	  server_advertise_condition = yes
	END
	sed -i "s|SPOOL|$e/spool|" "$e/conf"
	chown -R 64990:64990 "$e/spool"
	chmod 644 "$e/conf"
	spawn exim unshare -m sh -ec 'mount --bind "$1/passwd" /etc/passwd
		mount --bind "$1/group" /etc/group
		exec "$2/usr/sbin/exim4" -C "$1/conf" -bdf' sh "$e" "$EXIM"
	wait_until listens 127.0.0.1 2626
	for i in 1 2 3; do
		run in_ns swaks --server 127.0.0.1 --port 2626 --auth PLAIN --au user09@isp.example --ap secret -f user09@isp.example -t "x$i@far.example"
		grep -q "<-  250 OK id=" <<< "$output"
	done
	run in_ns swaks --server 127.0.0.1 --port 2626 --auth PLAIN --au user09@isp.example --ap secret -f user09@isp.example -t x4@far.example
	[[ $output == *"451 "*"4.7.28 4 messages in 1m, limit 3; try again in "* ]]
}
