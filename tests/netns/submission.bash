# What the tests of sekisho-msad on the loopback of one network namespace share; the test sets DIR and NS.

submission_up() { # a namespace and folders
	[ "$(id -u)" = 0 ] || skip "needs root for a network namespace"
	export BIN=${SEKISHO_BIN:-$BATS_TEST_DIRNAME/../../build/release}
	export DIR=$BATS_FILE_TMPDIR
	mkdir -p "$DIR"/{state,run,sink,tls}
	chmod 711 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/file" "$DIR"
	chmod 777 "$DIR/sink"
	ip netns add "$NS"
	ip -n "$NS" link set lo up
}

submission_down() {
	[ -n "${NS:-}" ] || return 0
	local p
	for p in "$DIR"/*.pid; do
		kill "$(cat "$p")" 2>/dev/null || true
	done
	# What ends by itself may do so.
	for _ in {1..40}; do
		[ -n "$(ip netns pids "$NS")" ] || break
		read -rt 0.05 <> <(:) || true
	done
	for p in $(ip netns pids "$NS"); do
		kill -9 "$p" 2>/dev/null || true
	done
	ip netns del "$NS"
}

# set -e does not see a command after "!".
not() { ! "$@"; }
in_ns() { ip netns exec "$NS" "$@"; }

spawn() { # NAME COMMAND... : in the namespace, its pid in NAME.pid, its log in NAME.log
	local name=$1
	shift
	# Appended: one that leaves may still write when the next begins.
	: > "$DIR/$name.log"
	ip netns exec "$NS" "$@" >> "$DIR/$name.log" 2>&1 3>&- &
	echo $! > "$DIR/$name.pid"
}

load wait
soon_failed() { tail -n 20 "$DIR"/*.log; }
wait_until() { soon 10 "$@" >&2; }

logged() { grep -q -- "$1" "$DIR/msad.log"; }
logged_times() { [ "$(grep -c -- "$1" "$DIR/msad.log")" -ge "$2" ]; } # TEXT N
gone() { ! kill -0 "$1" 2>/dev/null; }

start_msad() {
	rm -f "$DIR/msad.log"
	spawn msad "$BIN/sekisho-msad" -c "$DIR/sekisho.conf"
	wait_until logged "msad ready"
}

stop_msad() {
	local pid
	pid=$(cat "$DIR/msad.pid")
	kill "$pid"
	wait_until gone "$pid"
}

reload() { # reloaded | reload-failed: what it must say
	local n
	n=$(grep -c "msad $1" "$DIR/msad.log" || true)
	kill -HUP "$(cat "$DIR/msad.pid")"
	wait_until logged_times "msad $1" $((n + 1))
}

configure() { # KEYS of the section msa [KEYS that override them]
	cat > "$DIR/sekisho.conf" <<-END
	common {
	  state_dir = "$DIR/state"
	  run_dir = "$DIR/run"
	  user = ""
	}
	msa {
	  hostname = "smtp.isp.example"
	  sasl_realm = "isp.example"
	  sasldb = "$DIR/sasldb2"
	  listen_submission = {"127.0.0.1:587", "127.0.0.1:588"}
	  listen_submissions = {"127.0.0.1:465", "[::1]:465"}
	  smarthost = "127.0.0.1:2525"
	  limiter_down = accept
	  $1
	}
	include("$DIR/more.conf")
	END
	echo "msa { ${2:-} }" > "$DIR/more.conf"
}

# policy_answers PORT [N]: standard input to a policy service of 127.0.0.1; its N (1) answers, or what it says until it closes
policy_answers() {
	in_ns timeout 30 bash -c 'exec 3<> "/dev/tcp/127.0.0.1/$1" && cat >&3 && for ((n = 0; n < $2; n++)); do
		while read -ru 3 line || exit 0; [ -n "$line" ]; do echo "$line"; done
	done' sh "$1" "${2:-1}"
}

metric() { in_ns curl -s http://127.0.0.1:9426/metrics | sed -n "s/^$1 //p"; }

# --- users, certificates, mail and where it goes ---

users() { # NN...: userNN@isp.example with the password secretNN
	local i
	for i; do
		printf 'secret%s' "$i" | saslpasswd2 -p -c -f "$DIR/sasldb2" -u isp.example "user$i"
	done
}

certificate_of() { # NAME [FILE]: self-signed, for smtp.isp.example too; tls/cert.pem with tls/key.pem, or tls/FILE.crt and .key
	local cert=$DIR/tls/cert.pem key=$DIR/tls/key.pem
	[ -z "${2:-}" ] || cert=$DIR/tls/$2.crt key=$DIR/tls/$2.key
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$key" -out "$cert" -days 30 -subj "/CN=$1" \
		-addext "subjectAltName=DNS:smtp.isp.example,IP:127.0.0.1" 2>/dev/null
}

start_sink() { # the smart host: a file a message
	spawn sink smtp-sink -u nobody -d "$DIR/sink/%M." 127.0.0.1:2525 100
	wait_until listens 127.0.0.1 2525
}
listens() { in_ns nc -z "$@"; }

# mail_as NN FROM [OPTION...]: swaks on 465; From: is the envelope's unless an option says otherwise.
mail_as() {
	local n=$1 from=$2
	shift 2
	in_ns swaks --server 127.0.0.1 --port 465 --tls-on-connect --auth PLAIN --au "user$n" --ap "secret$n" -f "$from" -t rcpt@far.example "$@"
}

# Lines on standard input to a TLS session on 465, in one write; the answers are printed.
raw() { in_ns timeout 30 openssl s_client -quiet -connect 127.0.0.1:465 2>/dev/null; }

delivered() { grep -rl -- "$1" "$DIR/sink" > "$DIR/found"; }
arrived() { # TEXT: the file in the sink that holds it, once it is there
	wait_until delivered "$1"
	head -1 "$DIR/found"
}
# Of a file in the sink: its envelope's addresses.
envelope() { sed -n 's/^X-Mail-Args: <\([^>]*\)>.*/\1/p' "$1"; }
recipients() { sed -n 's/^X-Rcpt-Args: <\([^>]*\)>.*/\1/p' "$1"; }

postfix_up() { # NAME ADDRESS [LINES of master.cf] < lines of main.cf: a real one, with folders of its own
	local p=$DIR/postfix-$1
	mkdir -p "$p"/{etc,spool,data}
	chmod 755 "$p"
	cp "$BATS_TEST_DIRNAME/../lab/postfix/master.cf" "$p/etc/"
	[ -z "${3:-}" ] || printf '%s\n' "$3" >> "$p/etc/master.cf"
	cp -r /etc/postfix/dynamicmaps.cf* /etc/postfix/postfix-files* "$p/etc/" 2>/dev/null || true
	cat > "$p/generic" <<-END
	compatibility_level = 3.6
	mydestination =
	alias_maps =
	alias_database =
	inet_interfaces = $2
	inet_protocols = ipv4
	maillog_file = /dev/stdout
	smtpd_peername_lookup = no
	smtpd_relay_restrictions = reject_unauth_destination
	smtp_dns_support_level = disabled
	END
	cat "$p/generic" - > "$p/etc/main.cf"
	chown postfix "$p/data"
	[ "$2" = 127.0.0.1 ] || ip -n "$NS" addr add "$2/8" dev lo
	spawn "postfix-$1" unshare -m sh -ec 'mount --bind "$1/etc" /etc/postfix
		mount --bind "$1/spool" /var/spool/postfix
		mount --bind "$1/data" /var/lib/postfix
		exec postfix start-fg' sh "$p" < /dev/null
	wait_until listens "$2" 25
}
