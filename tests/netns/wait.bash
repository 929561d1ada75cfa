# How the tests here wait: for what is to be, never for a while.

# soon SECONDS COMMAND...: it succeeds within so many seconds; else its own words, and those of soon_failed when a test has that
soon() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@" > /dev/null 2>&1; do
		if [ $SECONDS -ge $deadline ]; then
			echo "not within the time: $*"
			"$@" || true
			! declare -F soon_failed > /dev/null || soon_failed
			return 1
		fi
		read -rt 0.05 <> <(:) || true
	done
}
