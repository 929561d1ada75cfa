#!/usr/bin/env bats
# The policy as an independent model has it, against the gateway: a few thousand random packets and policy changes.
# `make oracle SEED=N N=100000` is the long run.

setup() {
	[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
	export SEKISHO_BIN=${SEKISHO_BIN:-$BATS_TEST_DIRNAME/../../build/release}
}

@test "random packets and policy changes: what leaves is what the model says" {
	for seed in ${SEED:-43 44 45}; do # one of each configuration
		"$BATS_TEST_DIRNAME/../oracle/oracle" --seed "$seed" --packets 2000
	done
}
