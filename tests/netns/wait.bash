# How the tests here wait: for what is to be, never for a while.

# soon SECONDS COMMAND...: it succeeds, in so many seconds at most where nobody else is; a machine that is shared has half a minute, as
# the deadline is for what never comes. Else its own words, and those of soon_failed when a test has that.
soon() {
	local deadline=$((SECONDS + ($1 < 30 ? 30 : $1)))
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

# in_time COMMAND...: it succeeds at one of three tries. For what has to happen within a time that is the very thing tested: a machine
# that is busy is late now and then, what is too slow is late each time. What must never be is not for this.
in_time() {
	"$@" || "$@" || "$@"
}
