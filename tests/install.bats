#!/usr/bin/env bats
# make install into a folder: everything a package needs, and nothing outside it.

setup_file() {
	export DEST=$BATS_FILE_TMPDIR/dest
	cd "$BATS_TEST_DIRNAME/.."
	make -s O="${SEKISHO_BIN%/*}" DESTDIR="$DEST" PREFIX=/usr install
}

@test "programs, manual pages, units, completion and samples are installed" {
	for f in sbin/sekisho-nfqd sbin/sekisho-noticed sbin/sekisho-msad sbin/sekisho-batv-milter sbin/sekisho-ratelimitd sbin/sekisho-acctd sbin/sekisho-rules bin/sekishoctl \
		lib/sekisho/sekisho.cgi share/man/man5/sekisho.conf.5 share/man/man8/sekishoctl.8 lib/systemd/system/sekisho.target \
		lib/systemd/system/sekisho-web.service lib/sysusers.d/sekisho.conf lib/tmpfiles.d/sekisho.conf \
		share/bash-completion/completions/sekishoctl share/sekisho/static/sekisho.css; do
		[ -s "$DEST/usr/$f" ] || { echo "missing: $f"; return 1; }
	done
	[ -s "$DEST/etc/sekisho/sekisho.conf" ]
	! grep -rl '@[A-Z]*@' "$DEST/usr/lib/systemd" "$DEST/etc"
}

@test "an installed configuration is not overwritten" {
	cd "$BATS_TEST_DIRNAME/.."
	echo "# mine" >> "$DEST/etc/sekisho/sekisho.conf"
	make -s O="${SEKISHO_BIN%/*}" DESTDIR="$DEST" PREFIX=/usr install
	tail -n 1 "$DEST/etc/sekisho/sekisho.conf" | grep -qx '# mine'
}

@test "the installed programs find each other: init, then check" {
	dir=$BATS_FILE_TMPDIR/etc
	mkdir "$dir"
	"$DEST/usr/bin/sekishoctl" init --dir "$dir" --hostname smtp.isp.example --smarthost 192.0.2.25:25 --interface lo
	run "$DEST/usr/bin/sekishoctl" -c "$dir/sekisho.conf" check
	echo "$output"
	[ "$status" = 0 ]
	[ "$(grep -c 'sekisho-' <<< "$output")" -ge 5 ]
	echo 'msa { hostnam = "x" }' >> "$dir/site.conf"
	run "$DEST/usr/bin/sekishoctl" -c "$dir/sekisho.conf" check
	[ "$status" = 78 ]
	grep -E 'site.conf:[0-9]+: .*hostnam' <<< "$output"
}

@test "systemd takes the units" {
	command -v systemd-analyze > /dev/null || skip "systemd-analyze is not installed"
	mkdir -p "$BATS_FILE_TMPDIR/units"
	for u in "$DEST"/usr/lib/systemd/system/*; do
		sed "s|/usr/sbin/sekisho|$DEST/usr/sbin/sekisho|" "$u" > "$BATS_FILE_TMPDIR/units/${u##*/}"
	done
	run systemd-analyze verify --man=no "$BATS_FILE_TMPDIR"/units/*.service
	echo "$output"
	! grep -E 'sekisho-[a-z]+\.service:[0-9]+|Unknown (key|lvalue|section)' <<< "$output"
}
