# What a .bats shares that runs in a lab of its own: lab_up in its setup_file, with what it adds to the configuration.

ROOT=$BATS_TEST_DIRNAME/../..

# lab_up: with standard input at the end of the configuration, which stays in extra.conf
lab_up() {
	export LAB_DIR=$BATS_FILE_TMPDIR/lab
	cat > "$BATS_FILE_TMPDIR/extra.conf"
	LAB_CONF_EXTRA=$BATS_FILE_TMPDIR/extra.conf "$ROOT/tests/lab/up"
}
teardown_file() { "$ROOT/tests/lab/down"; }
setup() {
	. "$LAB_DIR/env"
	. "$ROOT/tests/lab/client.sh"
}
load wait
