#!/usr/bin/env bash
# analyze.sh DIR : hold every C file that DIR/compile_commands.json names against clang-tidy (.clang-tidy) and gcc -fanalyzer. Prints TAP.
#
# One line a tool and file; what they find follows it. As many files at a time as there are processors.
# A file that came out clean is looked at again when one of the files it is made of, the command or the tools have changed; DIR/analyze
# remembers. V=1 says how long each took.
set -uo pipefail
cd "$(dirname "$0")/.."

# The command of one file as an array, its shell quotes undone; the -c FILE at its end stays.
command_of() { # DIR FILE
	eval "cmd=($(jq -r --arg f "$2" '.[] | select(.file == $f).command' "$1/compile_commands.json"))"
}

# What a result depends on: the command, the tools, the rules, and every file the compiler reads.
tools=${tools:-$(clang-tidy --version; gcc --version)}
export tools
fingerprint() {
	{
		printf '%s\n' "${cmd[@]}" "$tools"
		"${cmd[@]}" -M -MT x 2>/dev/null | tr -s ' \\' '\n\n' | grep -v '^x:$' | xargs -d '\n' cat .clang-tidy "$0" 2>/dev/null
	} | sha256sum
}

one() { # DIR FILE TOOL COMMAND... : a TAP line, and a mark when it is clean
	local mark=$1/analyze/$2.$3 title="$3 $2" start log=$1/analyze/$2.$3.log
	shift 3
	if [ "$print" = "$(cat "$mark" 2>/dev/null)" ]; then
		echo "ok - $title (unchanged)"
		return
	fi
	start=$(date +%s%N)
	if "$@" > "$log" 2>&1 < /dev/null; then
		echo "$print" > "$mark"
		echo "ok - $title$([ "${V:-0}" = 1 ] && echo " ($((($(date +%s%N) - start) / 1000000)) ms)")"
	else
		rm -f "$mark"
		echo "not ok - $title"
		sed 's/^/# /' "$log"
	fi
	rm -f "$log"
}

if [ "${1:-}" = --file ]; then # DIR FILE, from below
	dir=$2 file=$3
	mkdir -p "$dir/analyze/$(dirname "$file")"
	command_of "$dir" "$file"
	print=$(fingerprint)
	{
		one "$dir" "$file" clang-tidy clang-tidy --quiet -p "$dir" "$file"
		one "$dir" "$file" fanalyzer gcc "${cmd[@]:1}" -O1 -fanalyzer -o /dev/null
	} > "$dir/analyze/$file.tap"
	exit 0
fi

dir=$(realpath "${1:?usage: tests/analyze.sh DIR}") || exit 66
for tool in clang-tidy gcc jq; do
	command -v "$tool" > /dev/null || { echo "not ok - analyze: $tool is not installed: make deps"; exit 1; }
done
mapfile -t files < <(jq -r '.[].file' "$dir/compile_commands.json")
[ ${#files[@]} -gt 0 ] || { echo "not ok - analyze: $dir/compile_commands.json names no file"; exit 1; }
printf '%s\n' "${files[@]}" | xargs -d '\n' -n 1 -P "$(nproc)" "$0" --file "$dir"
(for f in "${files[@]}"; do cat "$dir/analyze/$f.tap" || echo "not ok - $f: not looked at"; done) > "$dir/analyze/all.tap" 2>&1
cat "$dir/analyze/all.tap"
echo "1..$((2 * ${#files[@]}))"
! grep -q '^not ok' "$dir/analyze/all.tap"
