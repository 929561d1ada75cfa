# Mail servers whose packages want to be the machine's only one, so that they are unpacked and run from there. Sourced.

# unpacked NAME PACKAGE PROGRAM: into $UNPACKED, where every user may look: such a server starts itself again without root's powers. The package is
# kept beside the programs under test. False: it could not be fetched; $DIR/NAME-get.log says why.
unpacked() {
	local kept=${SEKISHO_BIN:-$BATS_TEST_DIRNAME/../../build/release}/../$1
	UNPACKED=$DIR/$1-package
	[ -x "$UNPACKED/$3" ] && return 0
	mkdir -p "$kept" "$UNPACKED"
	(cd "$kept" && flock . sh -c 'ls "$1"_*.deb || apt-get download -q "$1"' sh "$2" && dpkg -x "$2"_*.deb "$UNPACKED") > "$DIR/$1-get.log" 2>&1
}

# exim_unpacked: EXIM is its folder.
exim_unpacked() {
	unpacked exim exim4-daemon-light usr/sbin/exim4 || return 1
	EXIM=$UNPACKED
}

# user_files FOLDER NAME:ID:SHELL...: a passwd and a group with users that the machine does not have.
user_files() {
	local folder=$1 u
	shift
	cp /etc/passwd "$folder/passwd"
	cp /etc/group "$folder/group"
	for u; do
		IFS=: read -r name id shell <<< "$u"
		sed -i "/^$name:/d" "$folder/passwd" "$folder/group"
		echo "$name:x:$id:$id::/nonexistent:$shell" >> "$folder/passwd"
		echo "$name:x:$id:" >> "$folder/group"
	done
}

# exim_user FOLDER: the user it looks up by name.
exim_user() { user_files "$1" Debian-exim:64990:/usr/sbin/nologin; }
