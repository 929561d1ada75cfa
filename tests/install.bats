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
	! grep -rl '@[A-Z]*@' "$DEST/usr/lib/systemd" "$DEST/etc" || false
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
	! grep -E 'sekisho-[a-z]+\.service:[0-9]+|Unknown (key|lvalue|section)' <<< "$output" || false
}

@test "make deb: a package that unpacks, runs, keeps configurations and names its libraries" {
	cd "$BATS_TEST_DIRNAME/.."
	out=$BATS_FILE_TMPDIR/build
	mkdir "$out"
	cp -a "$DEST" "$out/deb"
	conf/debian/package "$out/deb" 1.2.3 "$out/sekisho.deb"
	[ "$(dpkg-deb -f "$out/sekisho.deb" Version)" = 1.2.3 ]
	for lib in libssl3 libsqlite3-0 libevent-2.1-7 libsasl2-2 nftables; do
		dpkg-deb -f "$out/sekisho.deb" Depends | grep -q "$lib" || { echo "does not depend on $lib"; return 1; }
	done
	dpkg-deb -R "$out/sekisho.deb" "$out/unpacked"
	# Nothing outside of /usr and /etc, and all that is in /etc is kept at an upgrade.
	[ "$(ls "$out/unpacked" | tr '\n' ' ')" = "DEBIAN etc usr " ]
	diff <(cd "$out/unpacked" && find etc -type f | sed 's|^|/|' | sort) <(sort "$out/unpacked/DEBIAN/conffiles")
	sh -n "$out/unpacked/DEBIAN/postinst"
	sh -n "$out/unpacked/DEBIAN/prerm"
	"$out/unpacked/usr/bin/sekishoctl" --version
	"$out/unpacked/usr/sbin/sekisho-acctd" -n -c conf/sekisho.conf
	gzip -t "$out/unpacked/usr/share/man/man8/sekishoctl.8.gz"
}
