#!/usr/bin/env bats
# What operators do to the queue of a running lab, with a next server that defers (hostile_smtp.py); and a spool that fills its own disk.

ROOT=$BATS_TEST_DIRNAME/../..

setup_file() {
	export LAB_DIR=$BATS_FILE_TMPDIR/lab HOST=$BATS_FILE_TMPDIR/host
	mkdir -p "$HOST" "$BATS_FILE_TMPDIR/small"
	mount -t tmpfs -o size=64m,mode=755 sekisho-queue "$BATS_FILE_TMPDIR/small"
	cat > "$BATS_FILE_TMPDIR/extra.conf" <<-C
	common {
		state_dir = "$BATS_FILE_TMPDIR/small"
	}
	msa {
		retry_min = 2s
		retry_max = 4s
		relay_timeout = 3s
		pause_min = 1s
		pause_max = 2s
		notices_per_hour = 0
		transport_map = "$BATS_FILE_TMPDIR/map"
	}
	route other {
		hosts = {"127.0.0.1:2601"}
	}
	route one {
		hosts = {"127.0.0.1:2602"}
		connections = 1
	}
	route four {
		hosts = {"127.0.0.1:2603"}
		connections = 4
	}
	C
	printf '%s\n' "one.example route one" "four.example route four" > "$BATS_FILE_TMPDIR/map"
	LAB_LIMITS=off LAB_SMARTHOST=127.0.0.1:2600 LAB_CONF_EXTRA=$BATS_FILE_TMPDIR/extra.conf "$ROOT/tests/lab/up"
	. "$LAB_DIR/env"
	cat "$LAB_DIR/tls/chain.pem" "$LAB_DIR/tls/server.key" > "$HOST/tls.pem"
	start_host 2600 "$HOST"
	mkdir -p "$HOST/other" "$HOST/one" "$HOST/four"
	start_host 2601 "$HOST/other"
	start_host 2602 "$HOST/one"
	start_host 2603 "$HOST/four"
}

teardown_file() {
	for f in "$HOST/pid" "$HOST"/*/pid; do
		[ ! -e "$f" ] || kill -9 "$(cat "$f")" 2>/dev/null || true
	done
	"$ROOT/tests/lab/down"
	umount "$BATS_FILE_TMPDIR/small"
}

setup() {
	. "$LAB_DIR/env"
	. "$ROOT/tests/lab/client.sh"
}

start_host() { # PORT FOLDER
	mkfifo "$2/stdin"
	ip netns exec "$LAB_NS_GATEWAY" python3 "$ROOT/tests/netns/hostile_smtp.py" 127.0.0.1 "$1" "$2" "$HOST/tls.pem" \
		<> "$2/stdin" > "$2/out" 2>&1 3>&- &
	echo $! > "$2/pid"
	soon 10 grep -q ready "$2/out"
}

soon() { # SECONDS COMMAND...
	local deadline=$((SECONDS + $1))
	shift
	until "$@" > /dev/null 2>&1; do
		if [ $SECONDS -ge $deadline ]; then
			echo "not within the time: $*"
			ctl queue list --limit 10 || true
			tail -5 "$LAB_DIR/log/msad.log"
			return 1
		fi
		read -rt 0.05 <> <(:) || true
	done
}

behave() {
	local folder=${2:-$HOST}
	printf '%b\n' "$1" > "$folder/behaviour.new"
	mv "$folder/behaviour.new" "$folder/behaviour"
}
send() { # USER SUBJECT RCPT...
	local user=$1 subject=$2 args=()
	shift 2
	for rcpt; do args+=(--mail-rcpt "$rcpt"); done
	printf 'From: %s@isp.example\r\nSubject: %s\r\n\r\nx\r\n' "$user" "$subject" | in_sub curl -sS --max-time 20 --cacert "$LAB_CA_FILE" \
		--resolve "$LAB_MSA_HOST:465:$LAB_MSA_IP4" --url "smtps://$LAB_MSA_HOST:465" --user "$user:$(password_of "$user")" \
		--mail-from "$user@isp.example" "${args[@]}" --upload-file -
}
total() { ctl queue list --json "$@" | jq '.messages | length'; }
is() { # N SELECTION...
	local n=$1
	shift
	[ "$(total "$@")" = "$n" ]
}
queue_empty() { is 0; }
subjects() { grep -h '^Subject: ' "${1:-$HOST}"/mail/*.eml 2>/dev/null | tr -d '\r' | sed 's/Subject: //' | sort; }
id_of() { # SUBJECT : of a queued message
	ctl queue list --json | jq -r '.messages[].id' | while read -r id; do
		! ctl queue show "$id" --json | jq -e --arg s "Subject: $1" '.headers | contains($s)' > /dev/null || echo "$id"
	done
}
changed() { ctl queue "$@" --yes --json | jq .changed; }

# Six messages that are deferred: three accounts, three domains.
six() {
	behave "rcpt reply 450 4.2.1 mailbox of the day is full"
	send user01 one a@red.example
	send user01 two a@blue.example
	send user02 three b@red.example b@green.example
	send user02 four b@blue.example
	send user03 five c@blue.example
	send user03 six c@green.example
	soon 20 all_tried
}
all_tried() { [ "$(ctl queue list --json | jq '[.messages[] | select(.attempts > 0)] | length')" = 6 ]; }

@test "list chooses by account, destination, age, state and reason; show says everything; the grid counts" {
	six
	is 2 --account user01@isp.example
	is 3 --destination blue.example
	is 2 --domain red.example
	is 1 --account user02@isp.example --destination red.example
	is 6 --younger 1h
	is 0 --older 1h
	is 6 --reason "OF THE DAY"
	is 0 --reason "of yesterday"
	is 0 --state held
	id=$(id_of three)
	run ctl queue show "$id" --json
	[ "$(jq -r '[.account, .rcpts, .recipients[0].address, .recipients[0].state, .recipients[0].status] | join(" ")' <<< "$output")" = \
		"user02@isp.example 2 b@red.example deferred 4.2.1" ]
	run ctl queue list "$id" --json
	[ "$(jq -r '.messages[0].last_reply' <<< "$output")" = "450 4.2.1 mailbox of the day is full" ]
	run ctl queue grid --json
	[ "$(jq -r '[.rows[] | .domain + "=" + (.total | tostring)] | sort | join(" ")' <<< "$output")" = "blue.example=3 green.example=2 red.example=2" ]
	[ "$(jq -r '.rows[0].counts[0]' <<< "$output")" = 3 ]
	run ctl queue grid --destination red.example --json
	[ "$(jq '[.rows[].counts[0]] | add' <<< "$output")" = 3 ] # b@green.example is of the same message
}

@test "a change of many is counted first, and not made without a yes" {
	run ctl queue hold --destination blue.example
	[ "$status" = 64 ]
	[[ $output == *"--yes"* ]]
	run ctl queue hold --destination blue.example --dry-run --json
	[ "$status" = 0 ]
	[ "$(jq -r '[.matched, .would_change, .changed] | join(" ")' <<< "$output")" = "3 3 0" ]
	is 0 --state held
	run ctl queue hold --destination nowhere.example --dry-run
	[ "$status" = 1 ]
}

@test "hold keeps, release gives back, retry is now, and each says how many" {
	[ "$(changed hold --destination blue.example)" = 3 ]
	[ "$(changed hold --destination blue.example)" = 0 ]
	is 3 --state held
	is 3 --reason "held by the operator"
	behave ""
	[ "$(changed retry --all)" = 3 ]
	soon 20 is 3
	[ "$(subjects | xargs)" = "one six three" ]
	# A hold survives a kill.
	kill -9 $(ip netns pids "$LAB_NS_GATEWAY" | while read -r p; do [ "$(cat "/proc/$p/comm")" != sekisho-msad ] || echo "$p"; done)
	soon 20 is 3 --state held
	[ "$(changed release "$(id_of two)")" = 1 ]
	soon 20 is 2
	[ "$(changed release --account user02@isp.example)" = 1 ]
	soon 20 is 1
	[ "$(changed release --all)" = 1 ]
	soon 20 queue_empty
	[ "$(subjects | xargs)" = "five four one six three two" ]
}

came_other() { grep -rq "^Subject: $1" "$HOST/other/mail"; }

@test "bounce tells the sender, delete tells nobody, move takes another way, flush tries all" {
	rm -f "$HOST"/mail/*
	six
	[ "$(changed bounce --account user01@isp.example)" = 2 ]
	[ "$(changed delete "$(id_of three)")" = 1 ]
	[ "$(changed move other --destination green.example)" = 1 ]
	soon 20 came_other six
	behave ""
	[ "$(changed flush)" -ge 2 ]
	soon 20 queue_empty
	# Two notices, of one and two; three is nowhere.
	[ "$(grep -l '^Content-Type: multipart/report' "$HOST"/mail/*.eml | wc -l)" = 2 ]
	grep -l '^Content-Type: multipart/report' "$HOST"/mail/*.eml | xargs grep -hE '^Subject: (one|two)' | tr -d '\r' | sort | xargs -I{} echo {} > "$HOST/told"
	[ "$(xargs < "$HOST/told")" = "Subject: one Subject: two" ]
	! grep -q '^Subject: three' "$HOST"/mail/*.eml "$HOST"/other/mail/*.eml || false
	[ "$(subjects "$HOST/other" | xargs)" = six ]
}

# timed COMMAND...: runs it; when it began and when it had returned, of CLOCK_MONOTONIC, as the receivers' times
timed() {
	python3 - "$@" <<-'P'
	import subprocess, sys, time
	before = time.monotonic()
	subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
	print(before, time.monotonic())
	P
}
# steps USER AFTER STAGE: how many of the user's transactions came to that stage at the slow receivers
steps() {
	awk -v after="$2" -v user="$1" -v stage="$3" '
		$3 == "mail" { mine[FILENAME, $2] = index($0, user "@") > 0 }
		$3 == stage && mine[FILENAME, $2] && $1 > after { n++ }
		END { print n + 0 }' "$HOST/one/times" "$HOST/four/times"
}
at_least() { [ "$(steps "${@:2}")" -ge "$1" ]; }
asked_for_mail() { tail -n 1 "$HOST/one/times" | grep -q " mail MAIL FROM:<[^>]*$1@"; }
taken_and_held() { is $(($1 - $(steps "$2" 0 dot))) --account "$2@isp.example" --state held; }

@test "a held account's mail is out of delivery within a second, from slow connections too; it is released in order" {
	soon 20 queue_empty
	for host in one four; do
		behave "ehlo slow 0.3\nmail slow 0.3\nrcpt slow 0.3\ndata slow 0.3\ndot slow 0.3" "$HOST/$host"
	done
	in_sub python3 "$ROOT/tests/netns/submit.py" turns "$LAB_DIR" 30 user20,user21 one.example,four.example
	soon 10 at_least 3 user20 0 dot
	# One of its transactions has just begun, with the whole envelope in the pipeline.
	soon 10 asked_for_mail user20
	hold=$(timed "$LAB_CTL" incident hold user20@isp.example --reason "too slow to watch")
	over=$(awk '{ print $2 + 1 }' <<< "$hold")
	soon 10 at_least 4 user21 "$over" mail
	soon 5 taken_and_held 30 user20
	is 0 --account user21@isp.example --state held
	for host in one four; do behave "" "$HOST/$host"; done
	soon 15 is 0 --account user21@isp.example
	taken_and_held 30 user20
	is "$(total --account user20@isp.example)" --account user20@isp.example --state held
	release=$(timed "$LAB_CTL" incident release user20@isp.example)
	soon 15 queue_empty
	python3 - "$HOST" $hold $release <<-'P'
	import sys
	hold, returned, release, _ = map(float, sys.argv[2:])
	taken, steps = {}, []
	for host in ("one", "four"):
	    now = {}  # connection: (account, recipient) of its transaction
	    for line in open(f"{sys.argv[1]}/{host}/times", encoding="latin-1"):
	        at, number, stage, *command = line.split()
	        at = float(at)
	        if stage == "mail":
	            now[number] = ["user20" if "user20@" in line else "user21", None]
	        elif stage == "rcpt":
	            now[number][1] = command[1].removeprefix("TO:<").split("@")[0]
	        elif stage == "dot":
	            taken.setdefault(host, []).append((at, *now[number]))
	        if stage in ("mail", "rcpt", "data", "dot"):
	            steps.append((at, now[number][0], stage))
	mine = [(at, stage) for at, user, stage in steps if user == "user20" and at < release]
	late = [(round(at - returned, 3), stage) for at, stage in mine if at > returned + 1 and stage in ("mail", "dot")]
	last = {stage: round(max(at for at, s in mine if s == stage) - hold, 3) for stage in ("mail", "rcpt", "data", "dot")}
	broken = sum(s == "mail" for _, s in mine) - sum(s == "dot" for _, s in mine)
	print(f"hold: returned after {returned - hold:.3f} s; the last of each, after its begin: {last}; broken off: {broken}")
	assert not late, late
	assert broken > 0, "nothing was in a pipeline"
	everything = [name for host in taken.values() for _, _, name in host]
	assert sorted(everything) == sorted(f"{u}-{i}" for u in ("user20", "user21") for i in range(30)), everything
	for user in ("user20", "user21"):
	    # Over one connection, each account's as it was submitted; over several what is begun in order may overtake.
	    order = [int(name.split("-")[1]) for _, u, name in taken["one"] if u == user]
	    assert order == sorted(order), (user, order)
	after = [at for at, user, stage in steps if user == "user20" and stage == "mail" and at > release]
	print(f"release: {len(after)} begun, the first after {min(after) - release:.3f} s, the last after {max(after) - release:.3f} s")
	P
}

@test "what is damaged is put aside and shown; the rest goes on" {
	behave "rcpt reply 450 4.2.1 later"
	send user01 whole a@red.example
	send user02 broken b@red.example
	soon 20 is 2
	seg=$(grep -l 'Subject: broken' "$BATS_FILE_TMPDIR"/small/msa/spool/*.seg | tail -n 1)
	# Every octet of its subject, wherever it is: in the file as msad reads it.
	python3 - "$seg" <<-'P'
	import sys
	with open(sys.argv[1], "r+b") as f:
	    data = f.read()
	    at = data.index(b"Subject: broken")
	    f.seek(at)
	    f.write(b"Subject: brXken")
	P
	behave ""
	ctl queue retry --all --yes
	soon 20 queue_empty
	grep -q '^Subject: whole' "$HOST"/mail/*.eml
	! grep -q '^Subject: br.ken' "$HOST"/mail/*.eml || false
	run ctl queue damaged --json
	[ "$status" = 0 ]
	[ "$(jq -r '[.total, .pieces[0].account, .pieces[0].rcpts] | join(" ")' <<< "$output")" = "1 user02@isp.example 1" ]
	ctl status --json | jq -e '.msad.queue | .damaged == 1 and (.damaged_where | endswith("/damaged: see sekishoctl queue damaged"))'
	rm -r "$BATS_FILE_TMPDIR"/small/msa/spool/damaged
	run ctl queue damaged
	[ "$status" = 1 ]
}

@test "a spool that has filled its own disk, every recipient deferred for long: healed, it empties, nothing is lost, and mail is taken again" {
	rm -f "$HOST"/mail/*
	behave "rcpt reply 450 4.2.1 later"
	in_sub python3 "$ROOT/tests/netns/submit.py" fill "$LAB_DIR" 6000 filled > "$HOST/acked"
	n=$(wc -l < "$HOST/acked")
	[ "$n" -gt 500 ]
	# Everything is tried some times; written down each time it would take the whole disk.
	soon 120 deferred_times $((4 * n))
	grep -q 'queue room disk=short' "$LAB_DIR/log/msad.log"
	run send user01 refused a@red.example
	[ "$status" != 0 ]
	[[ $output == *452* ]]
	[ "$(ctl queue list --json --limit 100000 | jq '.messages | length')" = "$n" ]
	kill -9 $(ip netns pids "$LAB_NS_GATEWAY" | while read -r p; do [ "$(cat "/proc/$p/comm")" != sekisho-msad ] || echo "$p"; done)
	behave ""
	soon 180 queue_empty
	subjects | grep '^filled' > "$HOST/arrived"
	[ -z "$(sort "$HOST/acked" | comm -23 - <(uniq "$HOST/arrived"))" ]
	[ -z "$(uniq -d "$HOST/arrived")" ]
	soon 20 send user01 again a@red.example
}
deferred_times() { [ "$(grep -c ' queue deferred ' "$LAB_DIR/log/msad.log")" -ge "$1" ]; }
