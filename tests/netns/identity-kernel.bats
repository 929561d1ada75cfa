#!/usr/bin/env bats
# An address that RADIUS gives to somebody else, with the real rules and nfqd: its exemption is out of the kernel before anybody can
# see the new lease, and an open session is cut.

load enforce.bash

setup_file() {
	[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
	start_all
	(umask 027 && echo acctd-secret-0123456789 > "$DIR/secret")
	cat >> "$CONF" <<-C
		accounting {
			radius_listen = {"127.0.0.1:1813"}
			radius_clients = {"127.0.0.1 $DIR/secret"}
		}
	C
	end acctd
	start_acctd
	soon 10 state_is running
	soon 10 fed
}
teardown_file() {
	[ -z "${DIR:-}" ] || stop_all
}

fed() { ctl status --json | jq -e '.acctd.feeds[] | select(.program == "nfqd")'; }
packet() { # STATUS SESSION SUBSCRIBER
	printf 'Acct-Status-Type = %s\nNAS-IP-Address = 10.0.0.1\nAcct-Session-Id = "%s"\nUser-Name = "%s"\nFramed-IP-Address = %s\n' "$@" $SUB4 |
		in_gw radclient -r 1 -t 5 -f - 127.0.0.1:1813 acct acctd-secret-0123456789
}
in_kernel() { in_gw nft get element ip sekisho allow_32 "{ $SUB4 }"; }
owner() { ctl who $SUB4 now 2> /dev/null | cut -f 1; }
owner_is() { [ "$(owner)" = "$1" ]; }
unconfirmed() { ctl status --json | jq .acctd.radius.unconfirmed; }

@test "the next owner's lease is seen only when the kernel has forgotten the exemption, each of ten times" {
	for i in 1 2 3 4 5 6 7 8 9 10; do
		packet Start "a$i" "OLD-$i"
		ctl exempt add $SUB4 --subscriber "OLD-$i" --json | jq -e .in_force
		greet $NET4
		packet Start "b$i" "NEW-$i" > "$DIR/answer" 2>&1 &
		radclient=$!
		until owner_is "NEW-$i"; do :; done
		run in_kernel
		[ "$status" != 0 ]
		wait $radclient # it was answered
		refused $NET4
	done
	[ "$(unconfirmed)" = 0 ]
}

@test "a line that ends loses its exemption until it comes back to the same subscriber" {
	packet Start s1 SAME
	ctl exempt add $SUB4 --subscriber SAME --json | jq -e .in_force
	greet $NET4
	packet Stop s1 SAME
	soon 2 refused $NET4
	packet Start s2 SAME
	soon 2 greet $NET4
	packet Start s3 OTHER
	refused $NET4
	packet Start s4 SAME # the address comes back, the exemption does not
	refused $NET4
}
