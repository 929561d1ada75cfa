#!/usr/bin/env bats
# sekishoctl against a real acctd and ratelimitd of its own, in a folder of its own; nfqd and msad are away. No lab, no traffic.

ROOT=$BATS_TEST_DIRNAME/../..
BIN=${SEKISHO_BIN:-$ROOT/build/release}

setup_file() {
	export D=$BATS_FILE_TMPDIR BIN
	mkdir -p "$D/run" "$D/state"
	cat > "$D/sekisho.conf" <<-C
		common {
			state_dir = "$D/state"
			run_dir = "$D/run"
			user = ""
		}
		ratelimit {
			metrics = ""
		}
		accounting {
			metrics = ""
		}
	C
	start acctd
	start ratelimitd
	wait_for answers ratelimitd
}

teardown_file() {
	stop acctd
	stop ratelimitd
}

setup() {
	cd "$D" || return 1
}

start() {
	"$BIN/sekisho-$1" -c "$D/sekisho.conf" > "$D/$1.log" 2>&1 3>&- &
	echo $! > "$D/$1.pid"
}
stop() {
	local pid
	pid=$(cat "$D/$1.pid")
	kill "$pid" 2>/dev/null || true
	while kill -0 "$pid" 2>/dev/null; do read -rt 0.05 <> <(:) || true; done
}
ctl() { "$BIN/sekishoctl" -c "$D/sekisho.conf" "$@"; }
tty_ctl() { script -qefc "$(printf '%q ' "$BIN/sekishoctl" -c "$D/sekisho.conf" "$@")" /dev/null; }
# typed ANSWERS COMMAND...: on a terminal, with one of the newline-separated answers typed after each prompt ("...: " or "... ").
# Sets status and output.
typed() {
	local answers=$1 a n=0 pid
	shift
	rm -f keys screen
	mkfifo keys
	: > screen
	tty_ctl "$@" < keys > screen 2>&1 3>&- &
	pid=$!
	exec 7> keys
	while read -r a; do
		n=$((n + 1))
		wait_for prompted "$n"
		echo "$a" >&7
	done <<< "$answers"
	status=0
	wait "$pid" || status=$?
	exec 7>&-
	output=$(cat screen)
}
prompted() { [ "$(grep -oE '(Password|Again): |\[y/N\] ' screen | wc -l)" -ge "$1" ]; }
answers() { ctl status --json 2>/dev/null | jq -e --arg d "$1" '.[$d] != null' > /dev/null; }
load wait
soon_failed() { cat "$D"/*.log; }
wait_for() { soon 20 "$@"; }
# is STATUS COMMAND...: runs it, and wants that exit status
is() {
	local want=$1
	shift
	run --separate-stderr "$@"
	if [ "$status" != "$want" ]; then
		echo "exit status $status, not $want: $*"
		echo "$output"
		echo "$stderr"
		return 1
	fi
}
bats_require_minimum_version 1.5.0

@test "status: who is up and who is away; 69 while one is" {
	is 69 ctl status
	[[ "$output" == *$'acctd\tprocess\tup'* ]]
	[[ "$output" == *$'ratelimitd\tprocess\tup'* ]]
	[[ "$output" == *$'nfqd\tprocess\taway'* ]]
	is 69 ctl --json status
	jq -e '.acctd.version and .nfqd == null' <<< "$output"
}

@test "exempt: add, list, refuse twice, remove" {
	is 0 ctl subscriber add F-0001 --name 'Example "Trading" Co.' --contact '+81-3-1234'
	is 0 ctl exempt add 192.0.2.25 --subscriber F-0001 --contract C-7 --contact postmaster@fixed.example --reason 'own server' --expires +90d
	[[ "$output" == $'prefix\t192.0.2.25\n'* ]]
	is 0 ctl exempt add 2001:DB8:5::/48 --class throttled --starts +1d
	is 73 ctl exempt add 192.0.2.25
	is 64 ctl exempt add 192.0.2.9 --expires -1d
	is 64 ctl exempt add 0.0.0.0/0
	is 1 ctl exempt add 192.0.2.10 --subscriber nobody
	is 0 ctl exempt list
	[ "$(cut -f1 <<< "$output" | sort)" = $'192.0.2.25\n2001:db8:5::/48' ]
	[ "$(grep ^192.0.2.25 <<< "$output" | cut -f2,3,6,7)" = $'full\tactive\tF-0001\tC-7' ]
	is 0 ctl exempt list --json
	jq -e '.[] | select(.prefix == "192.0.2.25") | (.expires | test("^20[0-9-]+T[0-9:.]+Z$")) and .expires_ms > 0' <<< "$output"
	is 0 ctl exempt remove 192.0.2.25 --reason over
	is 1 ctl exempt remove 192.0.2.25
	is 0 ctl exempt remove 2001:db8:5::/48
	is 1 ctl exempt list
	[ -z "$output" ]
	is 1 ctl exempt list --json
	[ "$output" = "[]" ]
	is 0 ctl exempt list --all
}

@test "exempt import: a wrong row is named, and nothing is sent" {
	printf 'prefix,class\n192.0.2.30,full\n192.0.2.31/24,full\n' > bad.csv
	is 65 ctl exempt import bad.csv
	[[ "$stderr" == *"bad.csv:3: prefix: 192.0.2.31/24: "* ]]
	printf 'prefix\n192.0.2.30\n192.0.2.31\n192.0.2.30\n' > bad.csv
	is 65 ctl exempt import bad.csv
	[[ "$stderr" == *"bad.csv:4: prefix: 192.0.2.30 is there already, at bad.csv:2"* ]]
	printf 'prefix,subscriber\n192.0.2.30,F-0001\n192.0.2.31,nobody\n' > bad.csv
	is 65 ctl exempt import bad.csv
	[[ "$stderr" == *"bad.csv:3: subscriber: there is no subscriber nobody"* ]]
	printf 'prefix,expires\n192.0.2.30,2020-01-01\n' > bad.csv
	is 65 ctl exempt import bad.csv
	is 65 ctl exempt import --format json - <<< '[{"prefix":"192.0.2.30","class":"half"}]'
	is 66 ctl exempt import missing.csv
	is 1 ctl exempt list
}

@test "exempt export and import: the same rows come back, formulas guarded" {
	printf 'prefix,reason,contact,expires\r\n192.0.2.40,"=cmd|x, ""y""",+81-3-1234,2099-01-01\r\n192.0.2.41,,"'"'"'=1",\r\n' > in.csv
	is 0 ctl exempt import in.csv
	[ "$output" = $'added\t2\nupdated\t0\nunchanged\t0\nremoved\t0\nin_force\tno' ]
	ctl exempt export > one.csv
	grep -q "'=cmd|x" one.csv
	grep -q "'+81-3-1234" one.csv
	is 0 ctl exempt import one.csv
	[ "$output" = $'added\t0\nupdated\t0\nunchanged\t2\nremoved\t0\nin_force\tyes' ]
	ctl exempt export > two.csv
	cmp one.csv two.csv
	ctl exempt export --format json > one.json
	[ "$(jq -r '.[] | select(.prefix == "192.0.2.40") | .reason + .expires' one.json)" = '=cmd|x, "y"2099-01-01T00:00:00Z' ]
	is 0 ctl exempt import one.json
	ctl exempt list --json | is 0 ctl exempt import --format json -
	ctl exempt export | cmp - two.csv
	is 0 ctl exempt remove 192.0.2.40
	is 0 ctl exempt remove 192.0.2.41
}

@test "exempt import: more than a thousand rows" {
	for i in $(seq 0 1200); do echo "10.1.$((i / 256)).$((i % 256))"; done > many.csv
	is 0 ctl exempt import many.csv
	[ "$output" = $'added\t1201\nupdated\t0\nunchanged\t0\nremoved\t0\nin_force\tno' ]
	[ "$(ctl exempt list | wc -l)" = 1201 ]
	# The second thousand holds a row that acctd refuses: nothing is in.
	for i in $(seq 0 1200); do echo "10.2.$((i / 256)).$((i % 256)),full,"; done > many.csv
	echo "10.3.0.0,full,nobody" >> many.csv
	is 65 ctl exempt import many.csv
	[[ "$stderr" == *"many.csv:1202: subscriber: there is no subscriber nobody"* ]]
	[[ "$stderr" == *"nothing was imported"* ]]
	[ "$(ctl exempt list | wc -l)" = 1201 ]
}

@test "lease, account, who: from an address and a time to a subscriber" {
	is 0 ctl subscriber add L-1 --name "Line one"
	is 0 ctl subscriber add L-2
	is 0 ctl account add U0@L.Example --subscriber L-1
	is 0 ctl account add u1@l.example --subscriber L-2
	is 1 ctl account logins U1@l.example --since 2026-01-01 # nobody has
	is 0 ctl lease add 198.51.100.0/25 --subscriber L-1 --from 2026-01-01 --to 2026-02-01
	is 0 ctl lease add 198.51.100.0/25 --subscriber L-2 --from 2026-02-01
	is 0 ctl who 198.51.100.7 2026-01-15
	[ "$(cut -f1 <<< "$output")" = L-1 ]
	[[ "$output" == *u0@l.example* ]]
	is 0 ctl who 198.51.100.7 443 2026-03-01T00:00:00+09:00 --json
	[ "$(jq -r '.[0].subscriber' <<< "$output")" = L-2 ]
	is 1 ctl who 198.51.100.200 now
	is 1 ctl lease add 198.51.100.0/25 --subscriber nobody
	is 0 ctl lease list
	[[ "$output" == *$'198.51.100.0/25\tL-2\t2026-02-01T00:00:00Z'* ]]
	is 0 ctl lease end 198.51.100.0/25
	is 1 ctl lease end 198.51.100.0/25
	printf 'prefix,subscriber,from,port_lo,port_hi\n203.0.113.1,L-1,2026-01-01,1024,2047\n203.0.113.1,L-2,2026-01-01,2048,4095\n' > leases.csv
	is 0 ctl lease import leases.csv
	is 0 ctl who 203.0.113.1 2050 now
	[ "$(cut -f1 <<< "$output")" = L-2 ]
	printf 'prefix,subscriber,port_lo\n203.0.113.1,L-1,9\n' > leases.csv
	is 65 ctl lease import leases.csv
	[[ "$stderr" == *"leases.csv:2: "* ]]
	is 0 ctl subscriber list --json
	jq -e '.[] | select(.ref == "L-1") | .accounts == ["u0@l.example"]' <<< "$output"
}

@test "operator: the password comes from standard input or a silent prompt, and is nowhere to be seen" {
	is 0 ctl operator add ann --role desk <<< 'correct horse battery'
	[[ "$output" != *horse* ]]
	is 64 ctl operator add ann <<< short
	is 64 ctl operator add ann < /dev/null
	# A new password keeps the role.
	is 0 ctl operator add ann --password-stdin <<< 'another long one'
	is 0 ctl operator list
	[ "$(cut -f1,2 <<< "$output")" = $'ann\tdesk' ]
	typed $'typed in secret\ntyped in secret' operator add bob
	echo "$output"
	[ "$status" = 0 ]
	[[ "$output" != *secret* ]]
	[ "$(ctl operator list | cut -f1,2 | tail -n 1)" = $'bob\tviewer' ]
	typed $'typed in secret\ntyped otherwise' operator add bob
	[ "$status" = 64 ]
	is 0 ctl operator remove ann
	is 1 ctl operator remove ann
	[ -z "$(grep horse "$D"/*.log)" ]
	[ -z "$(ctl audit list --limit 1000 | grep horse)" ]
}

@test "incident: hold by account, show, note, release, resolve" {
	is 0 ctl incident hold u1@l.example --reason "called in"
	id=$(cut -f2 <<< "$output")
	is 0 ctl incident list
	[[ "$output" == "$id"$'\tcontained\tu1@l.example'* ]]
	is 0 ctl incident note "$id" $'said \xe3\x83\x8f\xe3\x82\xa4 on the phone'
	is 0 ctl incident ack "$id"
	is 0 ctl limit show u1@l.example
	[[ "$output" == *$'stage\thold'* ]]
	is 64 ctl incident resolve "$id"
	is 0 ctl incident show "$id"
	[[ "$output" == *$'timeline\t'*'called in'* ]]
	[[ "$output" == *'said ハイ on the phone'* ]]
	is 0 ctl incident release "$id" --reason fine
	is 0 ctl incident resolve "$id"
	is 1 ctl incident list
	is 0 ctl incident list --state all --json
	jq -e --argjson id "$id" '.[] | select(.id == $id) | .state == "resolved" and (.opened | endswith("Z"))' <<< "$output"
	is 1 ctl incident show 99999
	is 1 ctl incident ack 99999
}

@test "limit: show, set, reset" {
	is 0 ctl limit set u1@l.example --unit messages --window 1h --limit 7 --reason newsletter --expires +1d
	grep -P '^limit\tmessages\t1h\t7\t0\t7\t' <<< "$output"
	is 0 ctl limit set u1@l.example --unit messages --window 1h --limit none --json
	jq -e '.limits[] | select(.unit == "messages" and .window == "1h") | .override == false' <<< "$output"
	is 0 ctl limit reset u1@l.example
	is 1 ctl limit set u1@l.example --unit messages --window 2h --limit 7
}

@test "report: import finds what it is, list, show, attach" {
	cat > arf.eml <<-'M'
		From: feedback@example.net
		To: abuse@isp.example
		Subject: FW: complaint
		Date: Sun, 22 Nov 2026 13:08:10 +0000
		MIME-Version: 1.0
		Content-Type: multipart/report; report-type=feedback-report; boundary="b"

		--b
		Content-Type: text/plain

		An abuse report.

		--b
		Content-Type: message/feedback-report

		Feedback-Type: abuse
		User-Agent: Example/1.0
		Version: 1
		Source-IP: 203.0.113.77

		--b
		Content-Type: message/rfc822

		From: a@isp.example
		Subject: spam

		spam
		--b--
	M
	is 0 ctl report import arf.eml --json
	[ "$(jq -r '.match' <<< "$output")" = none ]
	id=$(jq -r '.id' <<< "$output")
	is 0 ctl report import - --json < arf.eml
	jq -e '.duplicate' <<< "$output"
	is 0 ctl report list --unmatched
	[ "$(cut -f1,3,4 <<< "$output")" = "$id"$'\tabuse\tnone' ]
	is 1 ctl report list --matched
	is 0 ctl report show "$id"
	[[ "$output" == *$'header\tSubject: spam'* ]]
	is 65 ctl report import - <<< $'Subject: hello\n\nnot a report'
	is 1 ctl report show 99999
	is 0 ctl incident hold u1@l.example
	incident=$(cut -f2 <<< "$output")
	is 0 ctl report attach "$id" "$incident"
	is 0 ctl incident show "$incident"
	[[ "$output" == *$'report\t'"$id"* ]]
	is 0 ctl incident release u1@l.example
}

@test "what nfqd and msad must answer is 69 while they are away" {
	is 69 ctl explain 192.0.2.1 198.51.100.1
	is 69 ctl queue list
	is 69 ctl queue release --all --yes
	is 69 ctl batv verify a@isp.example
	is 69 ctl batv verify <<< a@isp.example
}

@test "top, watch and audit" {
	is 0 ctl top --json
	jq -e '.lines == [] and (.since | endswith("Z"))' <<< "$output"
	is 0 ctl watch --totals --count 2 --interval 100ms --json
	[ "$(wc -l <<< "$output")" = 2 ]
	jq -e '.overview.exemptions_active >= 0' <<< "${lines[1]}"
	is 0 ctl audit list --limit 5
	[ "${#lines[@]}" = 5 ]
	[[ "$output" == *$'\tunix:'* ]]
	ctl audit list --limit 1000 | cut -f4 | sort -u > actions
	for a in exempt.add exempt.remove exempt.import lease.add operator.add incident.hold limit.set report.import; do
		grep -qx "$a" actions
	done
}

@test "watch shows what is new, and only that" {
	"$BIN/sekishoctl" -c "$D/sekisho.conf" watch --interval 100ms --json > watch.json 3>&- &
	watcher=$!
	wait_for grep -q acctd.process watch.json
	ctl subscriber add W-1 --name 'Watched'
	wait_for grep -q subscriber watch.json
	kill -TERM "$watcher"
	wait "$watcher"
	jq -es 'map(select(.kind == "state" and .subject == "acctd.process" and .text == "up" and .was == null)) | length == 1' watch.json
	jq -es 'map(select(.kind == "change")) | length == 1 and (.[0].text | test("subscriber"))' watch.json
}

@test "watch ends by Ctrl-C with status 0" {
	timeout --preserve-status -s INT 0.5 "$BIN/sekishoctl" -c "$D/sekisho.conf" watch --interval 60s > watch.out
	grep -q $'\tstate\tacctd.process\tup$' watch.out
}

@test "foreign text cannot reach the terminal as control characters" {
	is 64 ctl subscriber add X-1 --name $'\e[31mred'
	is 64 ctl exempt remove $'\e]0;title\a'
	[[ "$stderr" != *$'\e'* ]]
	is 0 ctl subscriber add X-2 --name $'right\u202eleft'
	is 0 ctl subscriber list
	[[ "$output" != *$'\u202e'* ]]
	[[ "$output" == *'right\xe2\x80\xaeleft'* ]]
}

@test "on a terminal: a header, aligned; colour unless NO_COLOR" {
	TERM=xterm run tty_ctl subscriber list
	[[ "$output" == *$'\e[1mREF'* ]]
	NO_COLOR=1 TERM=xterm run tty_ctl subscriber list
	[[ "$output" == REF* ]]
	[[ "$output" != *$'\e'* ]]
	NO_COLOR=1 TERM=xterm run tty_ctl exempt list --help
	[[ "$output" == usage:* ]]
}

@test "check: each program's own word; 78 when one refuses" {
	sed 's/^ratelimit {/&\nno_such_key = 1/' sekisho.conf > wrong.conf
	is 78 "$BIN/sekishoctl" -c wrong.conf check
	grep -P '^sekisho-acctd\tok\tconfiguration OK' <<< "$output"
	grep -P '^sekisho-ratelimitd\tfailed\t.*no_such_key' <<< "$output"
}

@test "init: writes a first configuration, overwrites nothing" {
	is 0 ctl init --dir "$D/etc" --hostname smtp.isp.example --smarthost 192.0.2.10:25 --interface lo
	[[ "$stderr" == *"Next:"* ]]
	is 73 ctl init --dir "$D/etc" --hostname smtp.isp.example
	is 0 "$BIN/sekisho-rules" -n -c "$D/etc/sekisho.conf"
	rm "$D/etc/site.conf"
	cp "$ROOT/conf/sekisho.conf" "$D/etc/"
	is 0 ctl init --dir "$D/etc" --hostname smtp.isp.example --interface lo
	is 0 "$BIN/sekisho-rules" -n -c "$D/etc/sekisho.conf"
	[ "$(grep -c site.conf "$D/etc/sekisho.conf")" -ge 1 ]
}

@test "with acctd away questions are answered and changes are not" {
	stop acctd
	is 0 ctl exempt list
	is 0 ctl audit list
	is 69 ctl exempt add 192.0.2.99
	is 69 ctl status
	[[ "$output" == *$'acctd\tprocess\taway'* ]]
	start acctd
	wait_for answers acctd
}
