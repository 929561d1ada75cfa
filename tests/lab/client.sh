# What the demo, the sample traffic and the tests do as clients of a running lab. Sourced after lib.sh, with env loaded.
# shellcheck shell=bash

in_sub() { ip netns exec "$LAB_NS_SUBSCRIBER" "$@"; }
in_fix() { ip netns exec "$LAB_NS_FIXED" "$@"; }
in_gw()  { ip netns exec "$LAB_NS_GATEWAY" "$@"; }
in_net() { ip netns exec "$LAB_NS_INTERNET" "$@"; }
ctl() { "$LAB_CTL" "$@"; }

user_field() { awk -v u="$1" -v f="$2" '$1 == u { print $f }' "$LAB_USERS"; }
password_of() { user_field "$1" 2; }
address_of() { user_field "$1" 3; }

# submit USER RCPT [SUBJECT] [EXTRA-HEADER]: one message over 465 with curl; its exit status.
submit() {
	local user=$1 rcpt=$2 subject=${3:-hello} extra=${4:-} address
	address=$(address_of "$user")
	{
		printf 'From: %s\r\nTo: %s\r\nSubject: %s\r\n' "$address" "$rcpt" "$subject"
		[ -z "$extra" ] || printf '%s\r\n' "$extra"
		printf '\r\nA message of the lab.\r\n'
	} | in_sub curl -sS --max-time 20 --cacert "$LAB_CA_FILE" --resolve "$LAB_MSA_HOST:465:$LAB_MSA_IP4" \
		--url "smtps://$LAB_MSA_HOST:$LAB_SUBMISSIONS_PORT" --user "$user:$(password_of "$user")" \
		--mail-from "$address" --mail-rcpt "$rcpt" --upload-file -
}

# swaks_submit ARGS...: swaks from the subscriber's line to the MSA, the certificate checked by name.
swaks_submit() {
	in_sub swaks --server "$LAB_MSA_IP4" --tls-sni "$LAB_MSA_HOST" --tls-ca-path "$LAB_CA_FILE" --tls-verify "$@"
}

# received PATTERN: files of the Internet's mail folder that hold it
received() { grep -lr --include='*.eml' -- "$1" "$LAB_INTERNET_MAIL" 2>/dev/null; }
count_received() { received "$1" | wc -l; }

# --- the dashboard, as a browser without JavaScript would use it -----------------------------------------
web_jar() { printf '%s/run/cookies' "$LAB_DIR"; }
web_get() { curl -sS --cacert "$LAB_CA_FILE" -b "$(web_jar)" -c "$(web_jar)" "${LAB_DASHBOARD_URL%/}$1"; }
web_csrf() { sed -n 's/.*name="csrf" value="\([^"]*\)".*/\1/p' | head -n 1; }
web_post() { # PATH NAME=VALUE...
	local path=$1 args=()
	shift
	for f; do args+=(--data-urlencode "$f"); done
	curl -sS -L --cacert "$LAB_CA_FILE" -b "$(web_jar)" -c "$(web_jar)" "${args[@]}" "${LAB_DASHBOARD_URL%/}$path"
}
web_login() {
	local token
	rm -f "$(web_jar)"
	token=$(web_get /login | web_csrf)
	web_post /login "csrf=$token" "user=$LAB_DASHBOARD_USER" "password=$LAB_DASHBOARD_PASSWORD" > /dev/null
}

# arf_of MAIL-FILE: a complaint (RFC 5965) about a received message, on standard output.
arf_of() {
	local now
	now=$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S +0000')
	cat <<EOT
From: feedback@example.net
To: abuse@isp.example
Subject: FW: complaint
Date: $now
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="arf-part"

--arf-part
Content-Type: text/plain; charset=us-ascii

This is an e-mail abuse report.

--arf-part
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Example-Feedback/1.0
Version: 1
Original-Rcpt-To: redacted@example.net
Arrival-Date: $now
Source-IP: $LAB_MSA_IP4

--arf-part
Content-Type: message/rfc822

EOT
	sed -e '/^X-Envelope-/d' -e 's/^To: .*/To: redacted@example.net/' "$1"
	printf '\n--arf-part--\n'
}
