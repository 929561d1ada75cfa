/*
 * returned - see returned.h.
 *
 * The parts of the report are the outermost multipart's. Of a report the part of statuses is read
 * after its transfer encoding is undone; the token is looked for in the whole of the body, as every
 * program quotes the message in a way of its own.
 *
 * Trusted with: nothing. Diagnostics: the result. Known gaps: parameters of RFC 2231 are not read,
 * nor addresses that are encoded (utf-8-addr-xtext): they stay as they are. Fuzzed by
 * tests/fuzz/msa/fuzz_returned.c.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/mail/returned.h"

#define BOUNDARY_MAX 70 /* RFC 2046 5.1.1 */
#define PARTS_MAX    20
#define BLOCKS_MAX   200

struct text {
	const char *p, *end;
};

struct returned_reader {
	char type[RETURNED_FIELD + 1];	 /* Content-Type */
	char failed[RETURNED_FIELD + 1]; /* X-Failed-Recipients */
	bool automatic;
	char body[RETURNED_BODY_MAX + 1];
	size_t len;
};

/* --- words and lines --- */

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct text trim(struct text t)
{
	while (t.p < t.end && blank(*t.p))
		t.p++;
	while (t.end > t.p && blank(t.end[-1]))
		t.end--;
	return t;
}

static size_t size(struct text t)
{
	return (size_t)(t.end - t.p);
}

/* The next line without its end; false at the end. */
static bool line_of(struct text *in, struct text *line)
{
	const char *nl;

	if (in->p >= in->end)
		return false;
	nl = memchr(in->p, '\n', size(*in));
	line->p = in->p;
	line->end = nl ? nl : in->end;
	in->p = nl ? nl + 1 : in->end;
	if (line->end > line->p && line->end[-1] == '\r')
		line->end--;
	return true;
}

static bool begins(struct text t, const char *word)
{
	size_t n = strlen(word);

	return size(t) >= n && strncasecmp(t.p, word, n) == 0;
}

static bool equals(struct text t, const char *word)
{
	return size(t) == strlen(word) && begins(t, word);
}

static bool holds(const char *text, const char *word)
{
	return strcasestr(text, word) != NULL;
}

/* What fits of t; control characters are blanks, and several blanks are one. */
static void copy(char *out, size_t cap, struct text t)
{
	size_t n = 0;

	t = trim(t);
	for (; t.p < t.end && n + 1 < cap; t.p++) {
		unsigned char c = (unsigned char)*t.p;
		char to = c < 32 || c == 127 ? ' ' : (char)c;

		if (to != ' ' || (n > 0 && out[n - 1] != ' '))
			out[n++] = to;
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

/* --- fields --- */

/* "Name: value" of a block whose lines may be folded. False at the end of the block: an empty line,
 * or of the text. */
static bool field_of(struct text *in, struct text *name, struct text *value)
{
	struct text line, rest;
	const char *colon;

	if (!line_of(in, &line) || size(trim(line)) == 0)
		return false;
	while (in->p < in->end && (*in->p == ' ' || *in->p == '\t')) {
		rest = *in;
		if (!line_of(&rest, &(struct text){NULL, NULL}))
			break;
		line.end = rest.p;
		*in = rest;
	}
	colon = memchr(line.p, ':', size(line));
	*name = trim((struct text){line.p, colon ? colon : line.p});
	*value = trim((struct text){colon ? colon + 1 : line.p, line.end});
	return true;
}

/* A parameter of a Content-Type; false: it has none, or one that is too long. */
static bool parameter(const char *type, const char *name, char *out, size_t cap)
{
	size_t n = strlen(name);

	for (const char *p = strchr(type, ';'); p; p = strchr(p, ';')) {
		const char *end;

		p++;
		p += strspn(p, " \t\r\n");
		if (strncasecmp(p, name, n) != 0 || p[n + strspn(p + n, " \t")] != '=')
			continue;
		p = strchr(p, '=') + 1;
		p += strspn(p, " \t");
		if (*p == '"')
			end = strchr(++p, '"');
		else
			end = p + strcspn(p, "; \t\r\n");
		if (!end || end == p || (size_t)(end - p) >= cap)
			return false;
		memcpy(out, p, (size_t)(end - p));
		out[end - p] = '\0';
		return true;
	}
	return false;
}

/* --- the parts of a report --- */

/* "--boundary", or with "--" behind it the last one; a longer one is another's. */
static bool is_boundary(struct text line, const char *boundary)
{
	size_t n = strlen(boundary);
	struct text rest;

	if (size(line) < n + 2 || line.p[0] != '-' || line.p[1] != '-' ||
	    memcmp(line.p + 2, boundary, n) != 0)
		return false;
	rest = trim((struct text){line.p + 2 + n, line.end});
	return size(rest) == 0 || equals(rest, "--");
}

/* Up to the next line of the boundary. False: there is none any more. */
static bool next_part(struct text *in, const char *boundary, struct text *part)
{
	struct text line;

	part->p = part->end = in->p;
	while (line_of(in, &line)) {
		if (is_boundary(line, boundary)) {
			part->end = line.p;
			return true;
		}
		part->end = in->p;
	}
	return false;
}

static int digit64(char c)
{
	static const char all[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(all, c) : NULL;

	return at ? (int)(at - all) : -1;
}

/* In place: what comes out is never longer. */
static struct text from_base64(char *p, char *end)
{
	char *out = p;
	const char *start = p;
	uint32_t bits = 0;
	int have = 0, v;

	for (; p < end; p++) {
		if ((v = digit64(*p)) < 0)
			continue;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have >= 8) {
			have -= 8;
			*out++ = (char)(bits >> have & 0xff);
		}
	}
	return (struct text){start, out};
}

static int digit16(char c)
{
	return isdigit((unsigned char)c) ? c - '0'
	       : c >= 'A' && c <= 'F'	 ? c - 'A' + 10
	       : c >= 'a' && c <= 'f'	 ? c - 'a' + 10
					 : -1;
}

/* "3D"; -1: it is none. */
static int octet16(const char *p)
{
	int high = digit16(p[0]), low = digit16(p[1]);

	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static struct text from_quoted(char *p, char *end)
{
	char *out = p;
	const char *start = p;

	while (p < end) {
		if (*p != '=' || end - p < 2) {
			*out++ = *p++;
		} else if (p[1] == '\n' || (p[1] == '\r' && end - p > 2 && p[2] == '\n')) {
			p += p[1] == '\n' ? 2 : 3;
		} else if (end - p > 2 && octet16(p + 1) >= 0) {
			*out++ = (char)octet16(p + 1);
			p += 3;
		} else {
			*out++ = *p++;
		}
	}
	return (struct text){start, out};
}

/* Is it the part of statuses? Then its content. */
static bool statuses_of(struct text part, struct text *content)
{
	struct text name, value;
	bool yes = false, base64 = false, quoted = false;

	while (field_of(&part, &name, &value)) {
		if (equals(name, "Content-Type"))
			yes = begins(value, "message/delivery-status") ||
			      begins(value, "message/global-delivery-status");
		else if (equals(name, "Content-Transfer-Encoding")) {
			base64 = begins(value, "base64");
			quoted = begins(value, "quoted-printable");
		}
	}
	if (!yes)
		return false;
	/* The text is the reader's own, and is not looked at again. */
	char *p = (char *)(uintptr_t)part.p, *end = (char *)(uintptr_t)part.end;
	*content = base64 ? from_base64(p, end) : quoted ? from_quoted(p, end) : part;
	return true;
}

/* --- statuses (RFC 3464 2.3) --- */

/* "rfc822; user@example" */
static void put_address(char *out, struct text value)
{
	const char *semi = memchr(value.p, ';', size(value));

	if (semi)
		value.p = semi + 1;
	value = trim(value);
	if (size(value) > 2 && *value.p == '<' && value.end[-1] == '>') {
		value.p++;
		value.end--;
	}
	if (size(value) > RETURNED_ADDRESS || memchr(value.p, ' ', size(value)))
		return;
	copy(out, RETURNED_ADDRESS + 1, value);
}

static size_t digits(struct text t, size_t most)
{
	size_t n = 0;

	while (n < most && t.p + n < t.end && isdigit((unsigned char)t.p[n]))
		n++;
	return n;
}

/* "5.1.1" at the beginning of t; false: it is none. */
static bool put_status(char out[static 12], struct text t)
{
	struct text at = t;
	size_t n;

	for (int part = 0; part < 3; part++) {
		n = digits(at, part ? 3 : 1);
		if (n == 0 || (part == 0 && !strchr("245", *at.p)))
			return false;
		at.p += n;
		if (part < 2 && (at.p >= at.end || *at.p++ != '.'))
			return false;
	}
	if (at.p < at.end && (isalnum((unsigned char)*at.p) || *at.p == '.'))
		return false;
	copy(out, 12, (struct text){t.p, at.p});
	return true;
}

static bool put_action(enum returned_action *out, struct text value)
{
	static const struct {
		const char *word;
		enum returned_action action;
	} words[] = {{"failed", RETURNED_FAILED},   {"failure", RETURNED_FAILED},
		     {"delayed", RETURNED_DELAYED}, {"delivered", RETURNED_ARRIVED},
		     {"relayed", RETURNED_ARRIVED}, {"expanded", RETURNED_ARRIVED}};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (begins(value, words[i].word)) {
			*out = words[i].action;
			return true;
		}
	return false;
}

/* "smtp; 550 5.1.1 No such user" */
static void put_text(char *out, struct text value)
{
	const char *semi = memchr(value.p, ';', size(value));

	if (semi && semi - value.p < 20)
		value.p = semi + 1;
	copy(out, RETURNED_TEXT + 1, value);
}

/* One recipient's fields; false: they lack what makes it one. */
static bool read_rcpt(struct text *in, struct returned_rcpt *r)
{
	struct text name, value;
	bool acted = false;

	memset(r, 0, sizeof(*r));
	while (field_of(in, &name, &value)) {
		if (equals(name, "Final-Recipient"))
			put_address(r->rcpt, value);
		else if (equals(name, "Original-Recipient"))
			put_address(r->original, value);
		else if (equals(name, "Action"))
			acted = put_action(&r->action, value);
		else if (equals(name, "Status"))
			put_status(r->status, value);
		else if (equals(name, "Diagnostic-Code"))
			put_text(r->text, value);
	}
	if (!r->rcpt[0])
		memcpy(r->rcpt, r->original, sizeof(r->rcpt));
	/* A word that contradicts its number is not believed. */
	if (acted && r->action == RETURNED_FAILED && r->status[0] && r->status[0] != '5')
		r->action = r->status[0] == '4' ? RETURNED_DELAYED : RETURNED_ARRIVED;
	return acted && strchr(r->rcpt, '@');
}

static void skip_empty(struct text *in)
{
	struct text at = *in, line;

	while (line_of(&at, &line) && size(trim(line)) == 0)
		*in = at;
}

static void read_statuses(struct text in, struct returned *out)
{
	struct text name, value;

	skip_empty(&in);
	while (field_of(&in, &name, &value))
		if (equals(name, "Reporting-MTA")) {
			const char *semi = memchr(value.p, ';', size(value));
			if (semi)
				value.p = semi + 1;
			copy(out->mta, sizeof(out->mta), value);
		}
	for (int i = 0; i < BLOCKS_MAX && out->n < RETURNED_RCPTS; i++) {
		skip_empty(&in);
		if (in.p >= in.end)
			return;
		out->n += read_rcpt(&in, &out->rcpt[out->n]);
	}
}

static bool read_report(const struct returned_reader *r, struct returned *out)
{
	char boundary[BOUNDARY_MAX + 1];
	struct text in = {r->body, r->body + r->len}, part, content;
	bool more;

	if (strncasecmp(r->type, "multipart/report", 16) != 0 ||
	    !parameter(r->type, "boundary", boundary, sizeof(boundary)))
		return false;
	(void)next_part(&in, boundary, &part); /* what is before the first */
	for (int i = 0; i < PARTS_MAX; i++) {
		more = next_part(&in, boundary, &part);
		if (statuses_of(part, &content)) {
			out->form = RETURNED_DSN;
			read_statuses(content, out);
			return true;
		}
		if (!more)
			break;
	}
	return false;
}

/* --- words of servers in plain text --- */

/* "550 5.1.1 …" or "#5.1.1" somewhere in t: the reply from there on, and its status. */
static void find_reply(struct returned_rcpt *r, struct text t)
{
	copy(r->text, sizeof(r->text), t);
	for (const char *p = t.p; p < t.end; p++) {
		struct text at = {p, t.end};
		bool edge = p == t.p || strchr(" #(\n:[", p[-1]);

		if (!edge || !strchr("45", *p))
			continue;
		if (digits(at, 4) == 3 && size(at) > 3 && strchr(" -\r\n", p[3])) {
			copy(r->text, sizeof(r->text), at);
			put_status(r->status, trim((struct text){p + 4, t.end}));
			return;
		}
		if (!r->status[0])
			(void)put_status(r->status, at);
	}
}

/* Paragraphs of "<address>:" and what was said (QSBMF). */
static bool read_qmail(const struct returned_reader *r, struct returned *out)
{
	struct text in = {r->body, r->body + r->len}, line, words;

	skip_empty(&in);
	if (!begins(in, "Hi. This is the"))
		return false;
	out->form = RETURNED_QMAIL;
	while (line_of(&in, &line) && !begins(line, "---") && out->n < RETURNED_RCPTS) {
		struct returned_rcpt *to = &out->rcpt[out->n];

		line = trim(line);
		if (size(line) < 4 || *line.p != '<' || line.end[-1] != ':' || line.end[-2] != '>')
			continue;
		memset(to, 0, sizeof(*to));
		put_address(to->rcpt, (struct text){line.p + 1, line.end - 2});
		words = (struct text){in.p, in.p};
		while (line_of(&in, &line) && size(trim(line)) > 0)
			words.end = in.p;
		find_reply(to, words);
		out->n += strchr(to->rcpt, '@') != NULL;
	}
	return true;
}

/* What Exim says of a recipient: from the line that is its address to the next empty one. */
static struct text paragraph_of(const struct returned_reader *r, const char *address)
{
	struct text in = {r->body, r->body + r->len}, line;

	while (line_of(&in, &line)) {
		struct text found = {in.p, in.p};

		if (!begins(trim(line), address))
			continue;
		while (line_of(&in, &line) && size(trim(line)) > 0)
			found.end = in.p;
		return found;
	}
	return (struct text){in.end, in.end};
}

static bool read_exim(const struct returned_reader *r, struct returned *out)
{
	struct text in = {r->failed, r->failed + strlen(r->failed)};

	if (!r->failed[0])
		return false;
	out->form = RETURNED_EXIM;
	while (in.p < in.end && out->n < RETURNED_RCPTS) {
		struct returned_rcpt *to = &out->rcpt[out->n];
		const char *comma = memchr(in.p, ',', size(in));

		memset(to, 0, sizeof(*to));
		put_address(to->rcpt, (struct text){in.p, comma ? comma : in.end});
		in.p = comma ? comma + 1 : in.end;
		if (!strchr(to->rcpt, '@'))
			continue;
		find_reply(to, paragraph_of(r, to->rcpt));
		out->n++;
	}
	return true;
}

/* --- the whole --- */

static void find_token(const struct returned_reader *r, struct returned *out)
{
	static const char field[] = "X-Sekisho-Trace:";
	struct text in = {r->body, r->body + r->len}, line;

	while (line_of(&in, &line)) {
		line = trim(line);
		if (!begins(line, field))
			continue;
		line = trim((struct text){line.p + sizeof(field) - 1, line.end});
		if (size(line) == TOKEN_LEN) {
			copy(out->token, sizeof(out->token), line);
			return;
		}
	}
}

static bool is_reader(const struct returned_reader *r)
{
	char type[64];

	return strncasecmp(r->type, "multipart/report", 16) == 0 &&
	       parameter(r->type, "report-type", type, sizeof(type)) &&
	       strcasecmp(type, "disposition-notification") == 0;
}

struct returned_reader *returned_new(void *ctx)
{
	struct returned_reader *r = talloc(ctx, struct returned_reader);

	if (!r)
		fatal("out of memory");
	r->type[0] = r->failed[0] = '\0';
	r->automatic = false;
	r->len = 0;
	return r;
}

static void keep(char to[static RETURNED_FIELD + 1], const char *value)
{
	if (!to[0]) /* the first one counts */
		snprintf(to, RETURNED_FIELD + 1, "%s", value);
}

void returned_field(struct returned_reader *r, const char *name, const char *value)
{
	if (strcasecmp(name, "Content-Type") == 0)
		keep(r->type, value);
	else if (strcasecmp(name, "X-Failed-Recipients") == 0)
		keep(r->failed, value);
	else if (strcasecmp(name, "Auto-Submitted") == 0)
		r->automatic |= holds(value, "auto-replied");
	else if (strcasecmp(name, "Precedence") == 0)
		r->automatic |= holds(value, "auto_reply");
	else if (strcasecmp(name, "X-Autoreply") == 0 || strcasecmp(name, "X-Autorespond") == 0)
		r->automatic = true;
}

void returned_body(struct returned_reader *r, const void *data, size_t len)
{
	if (len > RETURNED_BODY_MAX - r->len)
		len = RETURNED_BODY_MAX - r->len;
	memcpy(r->body + r->len, data, len);
	r->len += len;
}

void returned_end(struct returned_reader *r, struct returned *out)
{
	r->body[r->len] = '\0';
	memset(out, 0, sizeof(*out));
	find_token(r, out);
	/* Servers call their notifications automatic replies, too. */
	if (is_reader(r))
		out->form = RETURNED_READER;
	else if (!read_report(r, out) && !read_exim(r, out) && !read_qmail(r, out) && r->automatic)
		out->form = RETURNED_AUTO;
	talloc_free(r);
}

const char *returned_form_name(enum returned_form f)
{
	static const char *const names[RETURNED_FORMS] = {
	    [RETURNED_NONE] = "none", [RETURNED_DSN] = "dsn",	[RETURNED_QMAIL] = "qmail",
	    [RETURNED_EXIM] = "exim", [RETURNED_AUTO] = "auto", [RETURNED_READER] = "reader"};

	return names[f];
}
