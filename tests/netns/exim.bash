# Exim for tests: its package wants to be the machine's only mail server, so that it is unpacked and run from there. Sourced.

# exim_unpacked: EXIM is its folder, beside the programs under test. False: it could not be fetched; $DIR/exim-get.log says why.
exim_unpacked() {
	EXIM=${SEKISHO_BIN:-$BATS_TEST_DIRNAME/../../build/release}/../exim
	mkdir -p "$EXIM"
	EXIM=$(cd "$EXIM" && pwd)
	[ -x "$EXIM/usr/sbin/exim4" ] && return 0
	(cd "$EXIM" && apt-get download -q exim4-daemon-light && dpkg -x exim4-daemon-light_*.deb .) > "$DIR/exim-get.log" 2>&1
}

# exim_user FOLDER: a passwd and a group with the user it looks up by name; the machine has none.
exim_user() {
	grep -v '^Debian-exim:' /etc/passwd > "$1/passwd"
	grep -v '^Debian-exim:' /etc/group > "$1/group"
	echo 'Debian-exim:x:64990:64990::/nonexistent:/usr/sbin/nologin' >> "$1/passwd"
	echo 'Debian-exim:x:64990:' >> "$1/group"
}
