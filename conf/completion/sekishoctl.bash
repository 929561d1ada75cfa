# bash completion for sekishoctl(8): it asks the program itself, so it knows what the program knows.
_sekishoctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} IFS=$'\n'
	COMPREPLY=($("${COMP_WORDS[0]}" --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
	# Files where the program has nothing to offer.
	[ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$cur"))
}
complete -F _sekishoctl sekishoctl
