/*
 * report - see report.h.
 *
 * Trusted with: nothing; records and names are foreign and were reduced to printable ASCII.
 * Diagnostics: none. Known gaps: none.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/proc.h"

#include "msa/tlsrpt/report.h"

#define DAY_S	 86400
#define LINE_B64 57 /* octets of a line of 76 */

/* --- the record ------------------------------------------------------------------------------- */

static const char *skip_blanks(const char *s)
{
	return s + strspn(s, " \t");
}

static bool known_uri(const char *uri)
{
	return strncasecmp(uri, "mailto:", 7) == 0 || strncasecmp(uri, "https://", 8) == 0;
}

bool tlsrpt_record(const char *text, char rua[static TLSRPT_RUA_MAX])
{
	const char *s = text;

	if (!s || strncmp(s, "v=TLSRPTv1", 10) != 0)
		return false;
	s = skip_blanks(s + 10);
	while (*s == ';') {
		s = skip_blanks(s + 1);
		size_t n = strcspn(s, ";");
		if (strncasecmp(s, "rua", 3) == 0 && *skip_blanks(s + 3) == '=') {
			const char *v = skip_blanks(skip_blanks(s + 3) + 1), *at = rua;
			char uri[TLSRPT_URI_MAX];
			size_t len = (size_t)(s + n - v);
			while (len && (v[len - 1] == ' ' || v[len - 1] == '\t'))
				len--;
			if (len >= TLSRPT_RUA_MAX)
				return false;
			memcpy(rua, v, len);
			rua[len] = '\0';
			return tlsrpt_uri(&at, uri);
		}
		s += n;
	}
	return false;
}

bool tlsrpt_uri(const char **at, char uri[static TLSRPT_URI_MAX])
{
	while (**at) {
		const char *s = skip_blanks(*at);
		size_t n = strcspn(s, ","), len = n;
		*at = s + n + (s[n] == ',');
		while (len && s[len - 1] == ' ')
			len--;
		if (len >= TLSRPT_URI_MAX)
			continue;
		memcpy(uri, s, len);
		uri[len] = '\0';
		if (known_uri(uri))
			return true;
	}
	return false;
}

static int hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

bool tlsrpt_mailto(const char *uri, char address[static TLSRPT_URI_MAX])
{
	size_t n = 0;

	if (strncasecmp(uri, "mailto:", 7) != 0)
		return false;
	for (const char *s = uri + 7; *s && *s != '?' && *s != '!'; s++) {
		char c = *s;
		if (c == '%') {
			int hi = hex(s[1]), lo = hi < 0 ? -1 : hex(s[2]);
			if (lo < 0)
				return false;
			c = (char)(hi << 4 | lo);
			s += 2;
		}
		if (c <= 0x20 || c == 0x7f || c == '<' || c == '>')
			return false;
		address[n++] = c;
	}
	address[n] = '\0';
	return n > 0;
}

bool tlsrpt_https(const char *uri, char host[static TLSRPT_URI_MAX],
		  char path[static TLSRPT_URI_MAX])
{
	bool letters = false;
	size_t n = 0;

	if (strncasecmp(uri, "https://", 8) != 0)
		return false;
	for (uri += 8; isalnum((unsigned char)*uri) || *uri == '-' || *uri == '.'; uri++) {
		letters |= isalpha((unsigned char)*uri) != 0;
		host[n++] = (char)tolower((unsigned char)*uri);
	}
	host[n] = '\0';
	if (strncmp(uri, ":443", 4) == 0)
		uri += 4;
	if (!letters || !strchr(host, '.') || !strchr("/?", *uri) || strchr(uri, '#'))
		return false;
	for (const char *s = uri; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
	snprintf(path, TLSRPT_URI_MAX, "%s%s", *uri == '/' ? "" : "/", uri);
	return true;
}

/* --- JSON ------------------------------------------------------------------------------------- */

static int64_t day_start(const char *day)
{
	char text[CLOCK_STRLEN];
	const char *err;
	int64_t ms = 0;

	snprintf(text, sizeof(text), "%.10sT00:00:00Z", day);
	return clock_parse(text, 0, &ms, &err) ? ms : 0;
}

const char *tlsrpt_id(const char *domain, const char *day, const char *hostname,
		      char buf[static TLSRPT_ID_MAX])
{
	snprintf(buf, TLSRPT_ID_MAX, "%.10s.%s@%s", day, domain, hostname);
	return buf;
}

const char *tlsrpt_file(const char *domain, const char *day, const char *hostname,
			char buf[static TLSRPT_FILE_MAX])
{
	long long from = (long long)(day_start(day) / 1000);

	snprintf(buf, TLSRPT_FILE_MAX, "%s!%s!%lld!%lld.json.gz", hostname, domain, from,
		 from + DAY_S - 1);
	return buf;
}

/* Lines that begin with "mx: " are of an MTA-STS policy: its mx-host has them too. */
static void put_policy_text(json_t *policy, const char *text)
{
	json_t *lines = json_array(), *hosts = json_array();

	while (*text) {
		size_t n = strcspn(text, "\n");
		json_array_append_new(lines, json_stringn(text, n));
		if (n > 4 && strncmp(text, "mx: ", 4) == 0)
			json_array_append_new(hosts, json_stringn(text + 4, n - 4));
		text += n + (text[n] == '\n');
	}
	if (json_array_size(lines))
		json_object_set(policy, "policy-string", lines);
	if (json_array_size(hosts))
		json_object_set(policy, "mx-host", hosts);
	json_decref(lines);
	json_decref(hosts);
}

static bool known_addr(const struct addr *a)
{
	static const struct addr none = {{0}};

	return !addr_eq(a, &none);
}

static void put_addr(json_t *o, const char *key, const struct addr *a)
{
	char text[ADDR_STRLEN];

	if (known_addr(a))
		json_object_set_new(o, key, json_string(addr_format(a, text)));
}

static void put_text(json_t *o, const char *key, const char *text)
{
	if (text[0])
		json_object_set_new(o, key, json_string(text));
}

static json_t *failure(const struct tlsrpt_row *t)
{
	json_t *f = json_object();

	put_text(f, "result-type", tlsrpt_result_word(t->result));
	put_addr(f, "sending-mta-ip", &t->from);
	put_text(f, "receiving-mx-hostname", t->mx);
	put_addr(f, "receiving-ip", &t->to);
	json_object_set_new(f, "failed-session-count", json_integer((json_int_t)t->failed));
	put_text(f, "failure-reason-code", t->text);
	return f;
}

static bool fails_under(const struct tlsrpt_row *f, const struct tlsrpt_row *p)
{
	return f->kind == TLSRPT_FAILURE && f->policy == p->policy &&
	       strcmp(f->domain, p->domain) == 0 && strcmp(f->policy_domain, p->policy_domain) == 0;
}

static json_t *policy(const struct tlsrpt_row *rows, size_t n, const struct tlsrpt_row *p)
{
	json_t *what = json_pack("{s:s,s:s}", "policy-type", tlsrpt_policy_word(p->policy),
				 "policy-domain", p->policy_domain);
	json_t *details = json_array();

	put_policy_text(what, p->text);
	for (size_t i = 0; i < n; i++)
		if (fails_under(&rows[i], p))
			json_array_append_new(details, failure(&rows[i]));
	json_t *o = json_pack("{s:o,s:{s:I,s:I}}", "policy", what, "summary",
			      "total-successful-session-count", (json_int_t)p->ok,
			      "total-failure-session-count", (json_int_t)p->failed);
	if (json_array_size(details))
		json_object_set(o, "failure-details", details);
	json_decref(details);
	return o;
}

json_t *tlsrpt_report(const struct tlsrpt_row *rows, size_t n, const char *domain, const char *day,
		      const struct tlsrpt_who *who)
{
	char id[TLSRPT_ID_MAX], from[CLOCK_STRLEN], to[CLOCK_STRLEN];
	json_t *policies = json_array();

	for (size_t i = 0; i < n; i++)
		if (rows[i].kind == TLSRPT_POLICY && strcmp(rows[i].domain, domain) == 0)
			json_array_append_new(policies, policy(rows, n, &rows[i]));
	if (json_array_size(policies) == 0) {
		json_decref(policies);
		return NULL;
	}
	snprintf(from, sizeof(from), "%.10sT00:00:00Z", day);
	snprintf(to, sizeof(to), "%.10sT23:59:59Z", day);
	return json_pack("{s:s,s:{s:s,s:s},s:s,s:s,s:o}", "organization-name", who->organization,
			 "date-range", "start-datetime", from, "end-datetime", to, "contact-info",
			 who->contact, "report-id", tlsrpt_id(domain, day, who->hostname, id),
			 "policies", policies);
}

static const char *rua_of(const struct tlsrpt_row *rows, size_t n, const char *domain)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].kind == TLSRPT_DOMAIN && strcmp(rows[i].domain, domain) == 0)
			return rows[i].text;
	return "";
}

static json_t *failures_in_short(const struct tlsrpt_row *rows, size_t n,
				 const struct tlsrpt_row *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		if (!fails_under(&rows[i], p))
			continue;
		json_t *f = json_pack("{s:s,s:s,s:I,s:s}", "result",
				      tlsrpt_result_word(rows[i].result), "mx", rows[i].mx, "count",
				      (json_int_t)rows[i].failed, "reason", rows[i].text);
		put_addr(f, "to", &rows[i].to);
		put_addr(f, "from", &rows[i].from);
		json_array_append_new(list, f);
	}
	return list;
}

json_t *tlsrpt_summary(const struct tlsrpt_row *rows, size_t n, const char *domain)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		const struct tlsrpt_row *p = &rows[i];
		if (p->kind != TLSRPT_POLICY || (domain && strcmp(p->domain, domain) != 0))
			continue;
		json_array_append_new(
		    list, json_pack("{s:s,s:s,s:s,s:I,s:I,s:s,s:o}", "domain", p->domain, "policy",
				    tlsrpt_policy_word(p->policy), "policy_domain",
				    p->policy_domain, "successful", (json_int_t)p->ok, "failed",
				    (json_int_t)p->failed, "rua", rua_of(rows, n, p->domain),
				    "failures", failures_in_short(rows, n, p)));
	}
	return list;
}

/* --- the mail --------------------------------------------------------------------------------- */

/* RFC 2045 6.8, lines of 76. */
static char *base64_lines(void *ctx, const uint8_t *in, size_t n)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *out = talloc_array(ctx, char, (unsigned)((n + 2) / 3 * 4 + n / LINE_B64 * 2 + 3)),
	     *w = out;

	if (!out)
		fatal("out of memory");
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) |
			     (i + 2 < n ? in[i + 2] : 0);
		for (size_t k = 0; k < 4; k++)
			*w++ = i + k <= n ? digits[v >> (18 - 6 * k) & 63] : '=';
		if ((i + 3) % LINE_B64 == 0 || i + 3 >= n) {
			*w++ = '\r';
			*w++ = '\n';
		}
	}
	*w = '\0';
	return out;
}

char *tlsrpt_mail(void *ctx, const struct tlsrpt_letter *l, size_t *len)
{
	const struct tlsrpt_who *who = l->who;
	char when[40], id[TLSRPT_ID_MAX], file[TLSRPT_FILE_MAX];
	char *b64 = base64_lines(ctx, l->gz, l->gz_len);

	tlsrpt_id(l->domain, l->day, who->hostname, id);
	tlsrpt_file(l->domain, l->day, who->hostname, file);
	/* TLS-Required: it may tell of TLS that does not work (RFC 8689 5; RFC 8460 3). */
	char *s = talloc_asprintf(
	    ctx,
	    "From: TLS reports <%s>\r\nTo: <%s>\r\nDate: %s\r\n"
	    "Subject: Report Domain: %s\r\n\tSubmitter: %s\r\n\tReport-ID: <%s>\r\n"
	    "Message-ID: <%s@%s>\r\nTLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s\r\n"
	    "TLS-Required: No\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary=\"=_%s\"\r\n\r\n"
	    "This is an SMTP TLS report in MIME format (RFC 8460).\r\n\r\n--=_%s\r\n"
	    "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
	    "This is an aggregate TLS report of %s to %s for %.10s (UTC).\r\n\r\n--=_%s\r\n"
	    "Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n"
	    "Content-Disposition: attachment;\r\n\tfilename=\"%s\"\r\n\r\n%s\r\n--=_%s--\r\n",
	    who->contact, l->to, clock_format_5322(l->now_ms, when), l->domain, who->hostname, id,
	    l->id, who->hostname, l->domain, who->hostname, l->id, l->id, who->organization,
	    l->domain, l->day, l->id, file, b64, l->id);
	talloc_free(b64);
	if (!s)
		fatal("out of memory");
	*len = strlen(s);
	return s;
}
