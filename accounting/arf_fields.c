/*
 * arf_fields - header blocks of abuse reports, without any library: fields, addresses, our own
 * marks, and the codec (contracts in arf.h and arf_int.h). Pure.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <talloc.h>

#include "lib/proc.h"
#include "lib/wire.h"
#include "accounting/arf_int.h"

#define TOKEN_LEN    24
#define QUEUE_ID_LEN 16
#define HEX	     "0123456789abcdef"
#define QUEUE_CHARS  "0123456789abcdefghijklmnopqrstuvwxyz"

char *arf_text(void *ctx, const char *s, size_t len, size_t max)
{
	size_t n = len < max ? len : max;
	char *out = talloc_size(ctx, n + 1);
	if (!out)
		fatal("out of memory");
	for (size_t i = 0; i < n; i++)
		out[i] = s[i] ? s[i] : '?';
	out[n] = '\0';
	return out;
}

/* --- fields --- */

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* One logical line: from *p to its end, continuation lines included; *p goes past it. */
static size_t logical_line(const char **p, const char *end)
{
	const char *start = *p, *q = start;
	for (;;) {
		const char *nl = memchr(q, '\n', (size_t)(end - q));
		if (!nl) {
			*p = end;
			return (size_t)(end - start);
		}
		q = nl + 1;
		if (q == end || (*q != ' ' && *q != '\t')) {
			*p = q;
			return (size_t)(nl - start);
		}
	}
}

/* Blanks and line ends become one blank; none at either end. */
static char *unfold(void *ctx, const char *s, size_t len)
{
	char *out = arf_text(ctx, s, len, ARF_VALUE_MAX), *w = out;
	for (const char *r = out; *r; r++) {
		bool white = blank(*r) || *r == '\n';
		if (!white)
			*w++ = *r;
		else if (w > out && w[-1] != ' ')
			*w++ = ' ';
	}
	if (w > out && w[-1] == ' ')
		w--;
	*w = '\0';
	return out;
}

/* RFC 5322 3.6.8: printable ASCII but the colon. */
static size_t name_len(const char *s, size_t len)
{
	size_t n = 0;
	while (n < len && s[n] > 32 && s[n] < 127 && s[n] != ':')
		n++;
	return n;
}

static bool read_field(void *ctx, const char *s, size_t len, struct arf_field *out)
{
	size_t n = name_len(s, len), colon = n;
	while (colon < len && blank(s[colon]))
		colon++;
	if (n == 0 || n > ARF_NAME_MAX || colon >= len || s[colon] != ':')
		return false;
	out->name = arf_text(ctx, s, n, n);
	out->value = unfold(ctx, s + colon + 1, len - colon - 1);
	return true;
}

size_t arf_read_fields(void *ctx, const char *text, size_t len, struct arf_field *out, size_t max)
{
	size_t n = 0;
	const char *p = text, *end = text + len;
	while (p < end && n < max) {
		const char *line = p;
		size_t line_len = logical_line(&p, end);
		n += read_field(ctx, line, line_len, &out[n]);
	}
	return n;
}

const char *arf_field(const struct arf *a, const char *name)
{
	for (uint32_t i = 0; i < a->n_fields; i++)
		if (strcasecmp(a->fields[i].name, name) == 0)
			return a->fields[i].value;
	return NULL;
}

/* --- what they say --- */

/* "1.2.3.4", "1.2.3.4 (host)", "[1.2.3.4]", "IPv6:2001:db8::1" */
static void read_source_ip(struct arf *a)
{
	const char *v = arf_field(a, "Source-IP"), *err = NULL;
	char text[64], canonical[ADDR_STRLEN];
	if (!v)
		return;
	v += strspn(v, "[ ");
	if (strncasecmp(v, "IPv6:", 5) == 0)
		v += 5;
	size_t n = strcspn(v, " \t(;,]");
	if (n >= sizeof text)
		return;
	memcpy(text, v, n);
	text[n] = '\0';
	if (addr_parse(text, &a->source, &err))
		a->source_ip = talloc_strdup(a, addr_format(&a->source, canonical));
}

static void read_source_port(struct arf *a)
{
	const char *v = arf_field(a, "Source-Port");
	char *end = NULL;
	long port = v ? strtol(v, &end, 10) : 0;
	if (end && end != v && port > 0 && port <= 65535)
		a->source_port = (uint32_t)port;
}

/* s without angle brackets and blanks, when it is exactly len characters of the set. */
static char *id_text(void *ctx, const char *s, size_t len, const char *set)
{
	s += strspn(s, "<\" ");
	size_t n = strspn(s, set);
	return n == len && (s[n] == '\0' || strchr(">\"; ,)", s[n])) ? arf_text(ctx, s, n, n)
								     : NULL;
}

static void read_envelope_id(struct arf *a)
{
	const char *v = arf_field(a, "Original-Envelope-Id");
	char *token = v ? id_text(a, v, TOKEN_LEN, HEX) : NULL;
	char *id = v ? id_text(a, v, QUEUE_ID_LEN, QUEUE_CHARS) : NULL;
	if (token)
		a->token = token;
	if (id)
		a->queue_id = id;
}

/* The value after word in a Received header, where word stands alone; NULL when it is not there. */
static const char *after_word(const char *s, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = s; (p = strcasestr(p, word)) != NULL; p += n)
		if ((p == s || p[-1] == ' ' || p[-1] == ';') && p[n] == ' ')
			return p + n + 1;
	return NULL;
}

static bool is_by(const char *received, const char *hostname)
{
	const char *by = after_word(received, "by");
	size_t n = strlen(hostname);
	return by && (n == 0 || (strncasecmp(by, hostname, n) == 0 && strchr(" ;(", by[n])));
}

static void read_received(struct arf *a, const char *received, const char *hostname)
{
	const char *id = is_by(received, hostname) ? after_word(received, "id") : NULL;
	char *text = id ? id_text(a, id, QUEUE_ID_LEN, QUEUE_CHARS) : NULL;
	if (text)
		a->queue_id = text;
}

/* One that msad made is the queue id at our host's name; a Received header counts more. */
static void read_message_id(struct arf *a, const char *value, const char *hostname)
{
	const char *id = value + strspn(value, "<"), *at = id + strspn(id, QUEUE_CHARS);
	size_t n = strlen(hostname);
	if (at - id == QUEUE_ID_LEN && *at == '@' && n > 0 &&
	    strncasecmp(at + 1, hostname, n) == 0 && at[n + 1] == '>' && !a->queue_id[0])
		a->queue_id = arf_text(a, id, QUEUE_ID_LEN, QUEUE_ID_LEN);
}

/* --- the tag in the envelope sender --- */

#define TAG_CHARS 10 /* of KDDDSSSSSS */

/* What begins with our kind of tag in it, up to the end of the address. */
static char *tagged_text(void *ctx, const char *s)
{
	for (const char *p = s; (p = strcasestr(p, "prvs=")) != NULL; p += 5) {
		const char *tag = p + 5;
		size_t n = strcspn(p, " \t<>();,[]\"");
		if (strspn(tag, HEX "ABCDEF") == TAG_CHARS && tag[TAG_CHARS] == '=' &&
		    n <= ARF_TAGGED_MAX && memchr(tag, '@', n - 5))
			return arf_text(ctx, p, n, n);
	}
	return NULL;
}

static char *tag_in(struct arf *a, const struct arf_field *f, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		char *text = strcasecmp(f[i].name, name) == 0 ? tagged_text(a, f[i].value) : NULL;
		if (text)
			return text;
	}
	return NULL;
}

/* From where it is most certainly the envelope's, to where others only mention it. */
static void read_tag(struct arf *a, const struct arf_field *original, size_t n)
{
	static const char *const names[] = {"Return-Path",     "Original-Mail-From",
					    "X-Envelope-From", "Envelope-From",
					    "Received-SPF",    "Authentication-Results"};
	char *text = NULL;
	for (size_t i = 0; i < sizeof names / sizeof names[0] && !text; i++) {
		text = tag_in(a, original, n, names[i]);
		if (!text)
			text = tag_in(a, a->fields, a->n_fields, names[i]);
	}
	if (text)
		a->tagged = text;
}

static void read_original(struct arf *a, const char *hostname)
{
	struct arf_field f[ARF_FIELDS_MAX];
	void *pool = talloc_new(a);
	size_t n = arf_read_fields(pool, a->original_headers, strlen(a->original_headers), f,
				   ARF_FIELDS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (strcasecmp(f[i].name, "Received") == 0) {
			read_received(a, f[i].value, hostname);
		} else if (strcasecmp(f[i].name, "Message-ID") == 0) {
			read_message_id(a, f[i].value, hostname);
		} else if (strcasecmp(f[i].name, "X-Sekisho-Trace") == 0 ||
			   strcasecmp(f[i].name, "CFBL-Feedback-ID") == 0) {
			char *token = id_text(a, f[i].value, TOKEN_LEN, HEX);
			if (token)
				a->token = token;
		}
	}
	read_tag(a, f, n);
	talloc_free(pool);
}

void arf_interpret(struct arf *a, const char *hostname)
{
	read_source_ip(a);
	read_source_port(a);
	read_envelope_id(a);
	if (arf_field(a, "Message-ID"))
		read_message_id(a, arf_field(a, "Message-ID"), hostname);
	read_original(a, hostname); /* what is in the message itself counts more */
}

/* --- codec --- */

size_t arf_encode(const struct arf *a, uint8_t *buf, size_t cap)
{
	struct wire_out w;
	wire_out_init(&w, buf, cap);
	wire_str(&w, a->format);
	wire_str(&w, a->feedback_type);
	wire_str(&w, a->reporter);
	wire_str(&w, a->source_ip);
	wire_addr(&w, &a->source);
	wire_u32(&w, a->source_port);
	wire_i64(&w, a->arrival_ms);
	wire_i64(&w, a->original_ms);
	wire_str(&w, a->token);
	wire_str(&w, a->queue_id);
	wire_str(&w, a->tagged);
	wire_str(&w, a->original_headers);
	wire_u32(&w, a->n_fields);
	for (uint32_t i = 0; i < a->n_fields; i++) {
		wire_str(&w, a->fields[i].name);
		wire_str(&w, a->fields[i].value);
	}
	return w.bad ? 0 : w.len;
}

static char *get_text(void *ctx, struct wire_in *r, size_t max)
{
	size_t len = 0;
	const uint8_t *p = wire_get_bytes(r, max, &len);
	return arf_text(ctx, p ? (const char *)p : "", p ? len : 0, max);
}

static void get_fields(struct arf *a, struct wire_in *r)
{
	uint32_t n = wire_get_u32(r);
	if (n > ARF_FIELDS_MAX)
		r->bad = true;
	a->fields = talloc_zero_array(a, struct arf_field, ARF_FIELDS_MAX);
	if (!a->fields)
		fatal("out of memory");
	for (; a->n_fields < n && !r->bad; a->n_fields++) {
		a->fields[a->n_fields].name = get_text(a, r, ARF_NAME_MAX);
		a->fields[a->n_fields].value = get_text(a, r, ARF_VALUE_MAX);
	}
}

struct arf *arf_decode(void *ctx, const uint8_t *buf, size_t len)
{
	struct wire_in r;
	struct arf *a = talloc_zero(ctx, struct arf);
	if (!a)
		fatal("out of memory");
	wire_in_init(&r, buf, len);
	a->format = get_text(a, &r, 16);
	a->feedback_type = get_text(a, &r, ARF_VALUE_MAX);
	a->reporter = get_text(a, &r, ARF_VALUE_MAX);
	a->source_ip = get_text(a, &r, ADDR_STRLEN);
	wire_get_addr(&r, &a->source);
	a->source_port = wire_get_u32(&r);
	a->arrival_ms = wire_get_i64(&r);
	a->original_ms = wire_get_i64(&r);
	a->token = get_text(a, &r, TOKEN_LEN);
	a->queue_id = get_text(a, &r, QUEUE_ID_LEN);
	a->tagged = get_text(a, &r, ARF_TAGGED_MAX);
	a->original_headers = get_text(a, &r, ARF_HEADERS_MAX);
	get_fields(a, &r);
	if (a->source_port > 65535 || !wire_done(&r)) {
		talloc_free(a);
		return NULL;
	}
	return a;
}
