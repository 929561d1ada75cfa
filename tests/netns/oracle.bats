#!/usr/bin/env bats
# The policy as an independent model has it, against the gateway: a few thousand random packets and policy changes.
# `make oracle SEED=N N=100000` is the long run.

setup() {
	[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
	export SEKISHO_BIN=${SEKISHO_BIN:-$BATS_TEST_DIRNAME/../../build/release}
}

@test "random packets and policy changes: what leaves is what the model says" {
	# Another seed each time: a failure names it.
	"$BATS_TEST_DIRNAME/../oracle/oracle" --seed "${SEED:-$RANDOM}" --packets 4000
}
