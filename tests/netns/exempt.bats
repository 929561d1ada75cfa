#!/usr/bin/env bats
# Exemptions from request to removal, with a real name server for their evidence; acctd and sekishoctl in a namespace of
# their own. What is in force in the kernel is enforce*.bats' affair.

BIN=${SEKISHO_BIN:-$BATS_TEST_DIRNAME/../../build/release}

in_ns() { ip netns exec "$NS" "$@"; }
ctl() { in_ns "$BIN/sekishoctl" -c "$CONF" "$@"; }
load wait
is() { # STATUS COMMAND...
	local want=$1
	shift
	run --separate-stderr "$@"
	[ "$status" = "$want" ] || { echo "status $status, want $want: $*"; echo "$output"; echo "$stderr"; return 1; }
}
gone() { ! kill -0 "$1" 2> /dev/null || [ "$(sed 's/.*) //' "/proc/$1/stat" | cut -c1)" = Z ]; }
end() { # NAME
	local pid
	pid=$(cat "$DIR/pid.$1" 2> /dev/null) || return 0
	kill -CONT "$pid" 2> /dev/null || true
	kill "$pid" 2> /dev/null || true
	soon 10 gone "$pid"
	rm -f "$DIR/pid.$1"
}
daemon() { # NAME COMMAND...
	local name=$1
	shift
	ip netns exec "$NS" "$@" >> "$DIR/log.$name" 2>&1 3>&- < /dev/null &
	echo $! > "$DIR/pid.$name"
	disown
}
configure() { # LINES for accounting
	cat > "$CONF" <<-C
	common {
	  state_dir = "$DIR/state"
	  run_dir = "$DIR/run"
	  user = ""
	}
	class gold { rate = 600 }
	class partners { listed = true }
	accounting {
	  dns_server = "127.0.0.1:5300"
	  metrics = ""
	  $1
	}
	C
}
up() { ctl status --json | jq -e .acctd; }
start() { # LINES
	end acctd
	rm -rf "$DIR/state" "$DIR/run"
	mkdir -p "$DIR/state" "$DIR/run"
	configure "$1"
	daemon acctd "$BIN/sekisho-acctd" -c "$CONF"
	soon 10 up
}
zone() { # NAME LINES...
	local name=$1
	shift
	{
		printf '$ORIGIN %s.\n$TTL 5\n@ SOA ns.example. root.example. 1 60 60 60 5\n@ NS ns.example.\n' "$name"
		printf '%s\n' "$@"
	} > "$DIR/nsd/$name"
	printf 'zone:\n  name: "%s"\n  zonefile: "%s/nsd/%s"\n' "$name" "$DIR" "$name" >> "$DIR/nsd/nsd.conf"
}
zones() {
	mkdir -p "$DIR/nsd"
	cat > "$DIR/nsd/nsd.conf" <<-C
	server:
	  ip-address: 127.0.0.1@5300
	  username: ""
	  chroot: ""
	  database: ""
	  pidfile: "$DIR/nsd/pid"
	  zonelistfile: "$DIR/nsd/zones.list"
	  xfrdfile: "$DIR/nsd/xfrd.state"
	  server-count: 1
	remote-control:
	  control-enable: no
	C
	zone 2.0.192.in-addr.arpa '25 PTR mail.good.example.' '27 PTR 192-0-2-27.pool.isp.example.' \
		'28 PTR mail.wrong.example.' '29 PTR mail.broken.example.' '30 PTR mail.good.example.'
	zone good.example 'mail A 192.0.2.25' 'mail AAAA 2001:db8::25' '@ MX 10 mail' '@ TXT "v=spf1 mx -all"'
	zone isp.example '192-0-2-27.pool A 192.0.2.27'
	zone wrong.example 'mail A 192.0.2.99'
	zone fail.example '@ MX 10 mail.good.example.' '@ TXT "v=spf1 ip4:198.51.100.0/24 " "-all"'
	zone deep.example '@ MX 10 mail.good.example.' '@ TXT "v=spf1 include:good.example ~all"'
	zone 0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa '5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR mail.good.example.'
	# A zone whose file is missing: SERVFAIL.
	printf 'zone:\n  name: "broken.example"\n  zonefile: "%s/nsd/missing"\n' "$DIR" >> "$DIR/nsd/nsd.conf"
}
answers() { in_ns dig +short +time=1 +tries=1 -p 5300 @127.0.0.1 -x 192.0.2.25 | grep -q good; }
nsd_signal() { # SIGNAL: to all its processes
	kill "-$1" $(pgrep -f "^nsd -d -c $DIR/nsd/nsd.conf")
}
start_nsd() {
	daemon nsd nsd -d -c "$DIR/nsd/nsd.conf"
	soon 10 answers
}

setup_file() {
	bats_require_minimum_version 1.5.0
	export NS=exempt-$$-$RANDOM DIR CONF
	DIR=$(mktemp -d /tmp/exempt-XXXXXX)
	CONF=$DIR/sekisho.conf
	ip netns add "$NS"
	ip -n "$NS" link set lo up
	zones
	start_nsd
	start 'evidence_interval = 0'
}
teardown_file() {
	end acctd
	end nsd
	ip netns del "$NS"
	rm -rf "$DIR"
}
bats_require_minimum_version 1.5.0
verdict() { # ITEM: of $output, as JSON
	jq -r --arg i "$1" '.items[] | select(.item == $i) | .verdict' <<< "$output"
}
field() { ctl exempt show "$1" --json | jq -r ".$2"; }

@test "a good mail server: every item is good, and it becomes verified, then active" {
	is 0 ctl exempt request 192.0.2.25 --helo mail.good.example --domain good.example --reason "own server"
	[ "$(field 192.0.2.25 state)" = requested ]
	is 73 ctl exempt add 192.0.2.25
	[[ "$stderr" == *"192.0.2.25 is requested already"* ]]
	is 0 ctl exempt verify 192.0.2.25 --json
	for i in ptr generic forward helo mx spf; do [ "$(verdict $i)" = good ]; done
	[ "$(jq -r .state <<< "$output")" = verified ]
	is 0 ctl exempt activate 192.0.2.25 --reason approved
	[ "$(field 192.0.2.25 state)" = active ]
	[ "$(ctl exempt show 192.0.2.25 --json | jq -c '[.history[].new]')" = '["requested","requested","verified","active"]' ]
	[ "$(ctl exempt show 192.0.2.25 --json | jq -r '.history[-1] | .actor + " " + .reason')" = "unix:root approved" ]
	is 0 ctl exempt remove 192.0.2.25 --reason over
}

@test "IPv6: the same by its own reverse zone" {
	is 0 ctl exempt request 2001:db8::25 --helo mail.good.example
	is 0 ctl exempt verify 2001:db8::25 --json
	[ "$(verdict forward)" = good ]
	is 0 ctl exempt remove 2001:db8::25
}

@test "what is wrong is said in words: no name, a generic one, one that leads elsewhere, SPF that forbids" {
	is 0 ctl exempt request 192.0.2.26
	is 1 ctl exempt verify 192.0.2.26
	[[ "$output" == *"192.0.2.26 has no name: set a PTR record"* ]]
	[ "$(field 192.0.2.26 state)" = requested ]
	is 0 ctl exempt request 192.0.2.27
	is 1 ctl exempt verify 192.0.2.27
	[[ "$output" == *"192-0-2-27.pool.isp.example is made from the address 192.0.2.27"* ]]
	is 0 ctl exempt request 192.0.2.28
	is 1 ctl exempt verify 192.0.2.28
	[[ "$output" == *"mail.wrong.example does not lead back to 192.0.2.28"* ]]
	is 0 ctl exempt add 192.0.2.25 --domain fail.example
	is 1 ctl exempt verify 192.0.2.25
	[[ "$output" == *"SPF of fail.example does not allow 192.0.2.25 (fail, -all of fail.example)"* ]]
	is 0 ctl exempt remove 192.0.2.25
	is 0 ctl exempt add 192.0.2.25 --domain deep.example
	is 0 ctl exempt verify 192.0.2.25
	[[ "$output" == *"SPF of deep.example allows 192.0.2.25 (include:good.example of deep.example)"* ]]
	is 0 ctl exempt remove 192.0.2.25
	is 0 ctl exempt add 192.0.2.25 --domain nowhere.example
	is 1 ctl exempt verify 192.0.2.25
	is 0 ctl exempt remove 192.0.2.25
	[ "$(ctl exempt list --evidence bad | cut -f1 | sort | paste -sd ' ')" = "192.0.2.26 192.0.2.27 192.0.2.28" ]
	for i in 26 27 28; do is 0 ctl exempt remove 192.0.2.$i; done
}

@test "trouble of the DNS is unknown, never bad: SERVFAIL, and no answer at all" {
	is 0 ctl exempt request 192.0.2.29
	is 1 ctl exempt verify 192.0.2.29 --json
	[ "$(jq -r .evidence <<< "$output")" = unknown ]
	[ "$(verdict ptr)" = good ]
	[ "$(verdict forward)" = unknown ]
	is 0 ctl exempt remove 192.0.2.29
	is 0 ctl exempt request 192.0.2.31
	nsd_signal STOP
	is 1 ctl exempt verify 192.0.2.31 --json
	[ "$(jq -r .evidence <<< "$output")" = unknown ]
	# Nobody else waited for it.
	nsd_signal CONT
	is 0 ctl exempt remove 192.0.2.31
	soon 10 answers
}

@test "no verdict holds up anybody else" {
	is 0 ctl exempt request 192.0.2.32
	nsd_signal STOP
	ctl exempt verify 192.0.2.32 > "$DIR/out" 2>&1 &
	local job=$!
	is 0 ctl exempt add 192.0.2.33
	# The verdict is still being waited for.
	kill -0 $job
	nsd_signal CONT
	wait $job || true
	soon 10 answers
	is 0 ctl exempt remove 192.0.2.32
	is 0 ctl exempt remove 192.0.2.33
}

@test "suspend, resume, remove: each with its actor and reason; what cannot be is refused with words" {
	is 0 ctl exempt add 192.0.2.40 --reason "own server"
	is 0 ctl exempt suspend 192.0.2.40 --reason "complaints"
	[ "$(field 192.0.2.40 suspended_by)" = operator ]
	is 73 ctl exempt suspend 192.0.2.40
	[[ "$stderr" == *"192.0.2.40 is suspended already"* ]]
	is 64 ctl exempt activate 192.0.2.40
	[[ "$stderr" == *"it is suspended: resume or remove it"* ]]
	is 0 ctl exempt resume 192.0.2.40 --reason "cleaned"
	is 73 ctl exempt resume 192.0.2.40
	is 0 ctl exempt suspend 192.0.2.40 --until +2s --reason "a short rest"
	soon 10 eval '[ "$(field 192.0.2.40 state)" = active ]'
	[ "$(ctl exempt show 192.0.2.40 --json | jq -c '[.history[-1] | .actor, .old, .new]')" = '["schedule","suspended","active"]' ]
	is 64 ctl exempt suspend 192.0.2.40 --until -1h
	is 0 ctl exempt remove 192.0.2.40 --reason "over"
	is 1 ctl exempt resume 192.0.2.40
	[ "$(ctl exempt show 192.0.2.40 --json | jq -r '[.history[] | .new] | join(" ")')" = "requested verified active suspended active suspended active removed" ]
	is 0 ctl exempt request 192.0.2.41
	is 64 ctl exempt suspend 192.0.2.41
	[[ "$stderr" == *"it is requested: verify and activate it, or remove it"* ]]
	is 0 ctl exempt remove 192.0.2.41
	is 1 ctl exempt show 192.0.2.42
	[[ "$stderr" == *"192.0.2.42 has never been registered"* ]]
	[ "$(sqlite3 "$DIR/state/accounting/control.db" "SELECT group_concat(action, ' ') FROM (SELECT action FROM audit WHERE object = '192.0.2.40' ORDER BY seq)")" = \
		"exempt.add exempt.suspend exempt.resume exempt.suspend exempt.resume exempt.remove" ]
}

@test "classes are the configuration's; listed ones say where to" {
	is 64 ctl exempt add 192.0.2.50 --class half
	[[ "$stderr" == *"there is no class half: there are full, throttled, listed, gold, partners"* ]]
	is 64 ctl exempt add 192.0.2.50 --class ''
	is 0 ctl exempt add 192.0.2.50 --class gold
	is 64 ctl exempt add 192.0.2.51 --class partners
	[[ "$stderr" == *"class partners needs the destinations it may reach"* ]]
	is 64 ctl exempt add 192.0.2.51 --class gold --to 198.51.100.1
	is 64 ctl exempt add 192.0.2.51 --class partners --to 198.51.100.1,198.51.100.9/24
	[[ "$stderr" == *"to: 198.51.100.9/24"* ]]
	is 64 ctl exempt add 192.0.2.51 --class listed --to "$(seq -s, -f 198.51.100.%g 1 17)"
	[[ "$stderr" == *"at most 16 destinations"* ]]
	is 0 ctl exempt add 192.0.2.51 --class listed --to "$(seq -s, -f 198.51.100.%g 1 16)"
	is 0 ctl exempt add 192.0.2.52 --class partners --to 198.51.100.1,2001:db8:9::/48
	[ "$(field 192.0.2.52 to)" = 198.51.100.1,2001:db8:9::/48 ]
	[ "$(ctl exempt list --class partners | cut -f1)" = 192.0.2.52 ]
	for i in 50 51 52; do is 0 ctl exempt remove 192.0.2.$i; done
}

@test "list: by state, class, subscriber, expiry and network" {
	is 0 ctl subscriber add X-1
	is 0 ctl exempt add 192.0.2.60 --subscriber X-1 --expires +10d
	is 0 ctl exempt add 192.0.2.61 --expires +60d
	is 0 ctl exempt add 198.51.100.0/29
	is 0 ctl exempt request 2001:db8:60::/56
	[ "$(ctl exempt list --subscriber X-1 | cut -f1)" = 192.0.2.60 ]
	[ "$(ctl exempt list --expiring +30d | cut -f1)" = 192.0.2.60 ]
	[ "$(ctl exempt list --within 192.0.2.0/24 | cut -f1 | sort | paste -sd ' ')" = "192.0.2.60 192.0.2.61" ]
	[ "$(ctl exempt list --within 2001:db8::/32 | cut -f1)" = 2001:db8:60::/56 ]
	[ "$(ctl exempt list --state requested | cut -f1)" = 2001:db8:60::/56 ]
	is 0 ctl exempt add 192.0.2.69
	is 0 ctl exempt remove 192.0.2.69
	[ "$(ctl exempt list --state removed --within 192.0.2.69 | cut -f1)" = 192.0.2.69 ]
	is 1 ctl exempt list --state suspended
	for p in 192.0.2.60 192.0.2.61 198.51.100.0/29 2001:db8:60::/56; do is 0 ctl exempt remove $p; done
}

all_fields='prefix,class,to,state,suspended_until,subscriber,contract,service,static,access_port,contact,abuse_contact,use,software,volume,helo,domain,aup,approver,ticket,reason,starts,expires,review'
@test "import and export: every field comes back, again and in JSON; what did not change is said so" {
	{
		echo $all_fields
		echo '192.0.2.70,partners,"198.51.100.1,2001:db8:9::/48",active,,X-1,K-1,Fibre Pro,yes,olt7/3,noc@c.example,abuse@c.example,newsletters,Postfix 3.7,2000 a day,mail.c.example,c.example,2026-01-02,A. Boss,T-9,"own ""server"", new",2026-01-03,2099-01-01,2098-01-01'
		echo '192.0.2.71,full,,requested,,,,,no,,,,,,,,,,,,,,,'
		echo '192.0.2.72,gold,,suspended,2098-05-06T07:08:09Z,,,,,,,,,,,,,,,,=cmd,,,'
		echo '2001:db8:70::/48,throttled,,verified,,,,,,,,,,,,,,,,,,,,'
	} > "$DIR/in.csv"
	is 0 ctl exempt import "$DIR/in.csv" --dry-run
	[ "$output" = $'added\t4\nupdated\t0\nunchanged\t0\nremoved\t0' ]
	is 1 ctl exempt list
	is 0 ctl exempt import "$DIR/in.csv"
	ctl exempt export > "$DIR/one.csv"
	is 0 ctl exempt import "$DIR/one.csv"
	[ "$output" = $'added\t0\nupdated\t0\nunchanged\t4\nremoved\t0\nin_force\tyes' ]
	ctl exempt export --format json > "$DIR/one.json"
	# All away, and back from each of the two.
	for file in one.csv one.json; do
		ctl exempt export --json | jq -r '.[].prefix' | while read -r p; do ctl exempt remove "$p" > /dev/null; done
		is 0 ctl exempt import "$DIR/$file"
		ctl exempt export | cmp - "$DIR/one.csv"
	done
	[ "$(ctl exempt export | sed -n 2p | tr -d '\r')" = '192.0.2.70,partners,X-1,K-1,noc@c.example,"own ""server"", new",2026-01-03T00:00:00Z,2099-01-01T00:00:00Z,"198.51.100.1,2001:db8:9::/48",active,,Fibre Pro,yes,olt7/3,abuse@c.example,newsletters,Postfix 3.7,2000 a day,mail.c.example,c.example,2026-01-02T00:00:00Z,A. Boss,T-9,2098-01-01T00:00:00Z' ]
}

@test "import: a full sync counts first and removes what is absent" {
	printf 'prefix,reason\n192.0.2.71,new words\n192.0.2.79,\n' > "$DIR/sync.csv"
	is 0 ctl exempt import "$DIR/sync.csv" --replace-missing --dry-run
	[ "$output" = $'added\t1\nupdated\t1\nunchanged\t0\nremoved\t3' ]
	[ "$(ctl exempt list | wc -l)" = 4 ]
	is 0 ctl exempt import "$DIR/sync.csv" --replace-missing --reason nightly
	[ "$(ctl exempt list | cut -f1 | sort | paste -sd ' ')" = "192.0.2.71 192.0.2.79" ]
	[ "$(field 192.0.2.71 state)" = requested ]
	[ "$(ctl exempt show 192.0.2.70 --json | jq -r '.history[-1].reason')" = "it is not in the import" ]
	: > "$DIR/none.csv"
	is 65 ctl exempt import "$DIR/none.csv" --replace-missing
	is 0 ctl exempt remove 192.0.2.71
	is 0 ctl exempt remove 192.0.2.79
}

@test "import: a bad row is named by line and column, and nothing is applied, whatever the number of rows" {
	for i in $(seq 0 2500); do echo "10.2.$((i / 256)).$((i % 256)),full"; done > "$DIR/many.csv"
	echo "10.3.0.0,half" >> "$DIR/many.csv"
	is 65 ctl exempt import "$DIR/many.csv"
	[[ "$stderr" == *"many.csv:2502: class: there is no class half"* ]]
	is 1 ctl exempt list
	printf 'prefix,static\n192.0.2.80,yes\n192.0.2.81,perhaps\n' > "$DIR/bad.csv"
	is 65 ctl exempt import "$DIR/bad.csv"
	[[ "$stderr" == *"bad.csv:3: static: perhaps: say yes, no or nothing"* ]]
	printf 'prefix,helo\n192.0.2.80,not a name\n' > "$DIR/bad.csv"
	is 65 ctl exempt import "$DIR/bad.csv"
	[[ "$stderr" == *"bad.csv:2: helo: not a name is no host name"* ]]
	is 0 ctl exempt add 192.0.2.82
	printf 'prefix,state\n192.0.2.80,\n192.0.2.82,requested\n' > "$DIR/bad.csv"
	is 65 ctl exempt import "$DIR/bad.csv"
	[[ "$stderr" == *"bad.csv:3: state: 192.0.2.82 cannot become requested: it is active: suspend or remove it"* ]]
	[ "$(ctl exempt list | cut -f1)" = 192.0.2.82 ]
	is 0 ctl exempt remove 192.0.2.82
}

@test "import: a hundred thousand rows, exported the same" {
	awk 'BEGIN { print "prefix,class,contract,contact,reason"; for (i = 0; i < 100000; i++) printf "10.%d.%d.%d,full,K-%d,noc%d@c.example,own server\r\n", 16 + int(i / 65536), int(i / 256) % 256, i % 256, i, i }' > "$DIR/big.csv"
	local t0 t1 t2
	t0=$(date +%s%N)
	is 0 ctl exempt import "$DIR/big.csv"
	t1=$(date +%s%N)
	[ "$(head -n1 <<< "$output")" = $'added\t100000' ]
	is 0 ctl exempt import "$DIR/big.csv"
	t2=$(date +%s%N)
	[[ "$output" == *$'unchanged\t100000'* ]]
	echo "# 100,000 rows: $(((t1 - t0) / 1000000)) ms, the same again: $(((t2 - t1) / 1000000)) ms" >&3
	[ $(((t1 - t0) / 1000000)) -lt 120000 ]
	[ "$(ctl exempt export | wc -l)" = 100001 ]
	printf 'prefix\n192.0.2.90\n' > "$DIR/sync.csv"
	is 0 ctl exempt import "$DIR/sync.csv" --replace-missing
	[[ "$output" == *$'removed\t100000'* ]]
	is 0 ctl exempt remove 192.0.2.90
}

@test "on a schedule: evidence that held and was lost is a warning, then a suspension; nothing comes back by itself" {
	start 'evidence_interval = 1s
	  evidence_grace = 3s'
	is 0 ctl exempt add 192.0.2.25 --helo mail.good.example --domain good.example
	is 0 ctl exempt add 192.0.2.26 # it never had any: the operator's own word
	soon 15 eval '[ "$(field 192.0.2.25 evidence)" = good ]'
	soon 15 eval '[ "$(field 192.0.2.26 evidence)" = bad ]'
	end nsd
	sed -i '/^25 PTR/d' "$DIR/nsd/2.0.192.in-addr.arpa"
	daemon nsd nsd -d -c "$DIR/nsd/nsd.conf"
	soon 20 eval '[ "$(field 192.0.2.25 evidence)" = bad ]'
	[ "$(field 192.0.2.25 state)" = active ]
	[[ "$(ctl exempt list --within 192.0.2.25 | cut -f12)" == "bad since 20"* ]]
	grep -q 'evidence lost .*has no name' "$DIR/log.acctd"
	soon 20 eval '[ "$(field 192.0.2.25 state)" = suspended ]'
	[ "$(field 192.0.2.25 suspended_by)" = evidence ]
	[ "$(ctl exempt show 192.0.2.25 --json | jq -r '.history[-1].actor')" = evidence ]
	[ "$(ctl exempt show 192.0.2.25 --json | jq -r '.history[-1].reason')" = "bad: ptr: 192.0.2.25 has no name: set a PTR record for its mail server" ]
	grep -q 'evidence suspended' "$DIR/log.acctd"
	end nsd
	echo '25 PTR mail.good.example.' >> "$DIR/nsd/2.0.192.in-addr.arpa"
	start_nsd
	soon 20 eval '[ "$(field 192.0.2.25 evidence)" = good ]'
	[ "$(field 192.0.2.25 state)" = suspended ]
	[ "$(field 192.0.2.26 state)" = active ]
}

@test "evidence_required: activation only with evidence, and no short cut" {
	start 'evidence_interval = 0
	  evidence_required = true'
	is 64 ctl exempt add 192.0.2.26
	[[ "$stderr" == *"use exempt request, exempt verify and exempt activate"* ]]
	is 0 ctl exempt request 192.0.2.26
	is 64 ctl exempt activate 192.0.2.26
	[[ "$stderr" == *"it is requested: verify it first"* ]]
	is 1 ctl exempt verify 192.0.2.26
	is 64 ctl exempt activate 192.0.2.26
	is 0 ctl exempt request 192.0.2.25
	is 0 ctl exempt verify 192.0.2.25
	is 0 ctl exempt activate 192.0.2.25
	[ "$(field 192.0.2.25 state)" = active ]
}
