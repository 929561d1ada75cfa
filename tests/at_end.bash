# How the scripts here tidy up. Sourced, not run.

# at_end COMMAND...: run once, however the script ends, deaf to signals by then; the script's status stays. The signals call it
# themselves: bash would leave a trap of EXIT that has just begun when theirs says exit.
at_end() {
	at_end=("$@")
	trap 'ended $?' EXIT
	trap 'ended 130' INT
	trap 'ended 143' TERM
	trap 'ended 129' HUP
}
ended() {
	trap '' INT TERM HUP
	trap - EXIT
	"${at_end[@]}"
	exit "$1"
}
