/*
 * sevenbit - see sevenbit.h.
 *
 * Purpose: no mail comes back because a server between is old. Trusted with: every octet of the
 * message. Diagnostics: status and why of the plan. Known gaps: non-ASCII octets in a header
 * without SMTPUTF8 are not encoded: such mail is not converted.
 */
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/mail/utf8.h"
#include "msa/relay/base64.h"
#include "msa/relay/mime_walk.h"
#include "msa/relay/sevenbit.h"

#define LINE_MOST  998 /* RFC 5322 2.1.1 */
#define QP_LINE	   75  /* and its '=' */
#define B64_OCTETS 57  /* of a line of 76 */

enum encoding {
	AS_IS,
	AS_IS_7BIT, /* and its label says so */
	QP,
	BASE64,
	UTF8 = 0x10 /* beside one of them: the text is UTF-8 */
};

struct facts { /* of a leaf's body */
	uint64_t octets, special, line, longest;
	bool eightbit, bare;
	bool utf8;
	char tail[4]; /* of a character that is not complete */
	size_t n_tail;
};

struct encoder {
	enum encoding how;
	size_t col; /* of the line in QP */
	char held;  /* a blank, which may be the last of its line */
	bool any;   /* something is on this line */
	uint8_t in[B64_OCTETS];
	size_t n;
};

struct sevenbit {
	struct mime_walk *walk;
	bool binary, scanning;
	/* scanning */
	struct sevenbit_plan *plan;
	size_t cap;
	struct facts f;
	/* converting */
	const struct sevenbit_plan *by;
	struct encoder enc;
	sevenbit_out *out;
	void *arg;
	bool bad;
};

/* --- the plan ----------------------------------------------------------------------------------
 */

static void cannot(struct sevenbit *s, const char *status, const char *why)
{
	struct sevenbit_plan *p = s->plan;

	if (p->status[0])
		return;
	snprintf(p->status, sizeof(p->status), "%s", status);
	snprintf(p->why, sizeof(p->why), "%s", why);
}

static void plan_for(struct sevenbit *s, const struct mime_entity *e, uint8_t how)
{
	struct sevenbit_plan *p = s->plan;

	if (e->number >= s->cap) {
		s->cap = (size_t)e->number * 2 + 16;
		p->encodings = talloc_realloc(p, p->encodings, uint8_t, (unsigned)s->cap);
		if (!p->encodings)
			fatal("out of memory");
	}
	while (p->n <= e->number)
		p->encodings[p->n++] = AS_IS;
	p->encodings[e->number] = how;
}

static void scan_header(const struct mime_entity *e, const char *text, size_t len, bool blank,
			void *arg)
{
	struct sevenbit *s = arg;

	(void)text;
	(void)blank;
	s->plan->size += len + 2;
	if (e->header_8bit)
		cannot(s, "5.6.9", "its header has non-ASCII octets, which cannot be encoded");
	s->f = (struct facts){.utf8 = true};
	plan_for(s, e, e->in_signed ? AS_IS : AS_IS_7BIT);
}

/* Whole characters; what is left over waits. */
static void look_utf8(struct facts *f, const uint8_t *data, size_t n)
{
	uint32_t cp;

	for (size_t i = 0; f->utf8 && i < n;) {
		if (!f->n_tail && data[i] < 0x80) {
			i++;
			continue;
		}
		f->tail[f->n_tail++] = (char)data[i++];
		if (utf8_next(f->tail, f->n_tail, &cp))
			f->n_tail = 0;
		else if (f->n_tail == sizeof(f->tail))
			f->utf8 = false;
	}
}

static void scan_body(const struct mime_entity *e, const uint8_t *data, size_t n, void *arg)
{
	struct sevenbit *s = arg;
	struct facts *f = &s->f;
	size_t high = 0, odd = 0, bare = 0;

	s->plan->size += n;
	for (size_t i = 0; i < n; i++) {
		high += data[i] >= 0x80 || data[i] == 0;
		odd += data[i] == '=' || (data[i] < 0x20 && data[i] != '\t');
		bare += data[i] == '\r' || data[i] == '\n';
	}
	if (e->kind != MIME_LEAF) {
		if (e->in_signed && (high || bare))
			cannot(s, "5.6.2", "it is signed, and would not be the same any more");
		return;
	}
	f->octets += n;
	f->line += n;
	f->special += high + odd;
	f->longest = f->line > f->longest ? f->line : f->longest;
	f->eightbit |= high > 0;
	f->bare |= bare > 0;
	if (high || f->n_tail)
		look_utf8(f, data, n);
}

static void scan_eol(const struct mime_entity *e, void *arg)
{
	struct sevenbit *s = arg;

	(void)e;
	s->plan->size += 2;
	s->f.octets += 2;
	s->f.line = 0;
	s->f.utf8 &= s->f.n_tail == 0;
}

/* Text stays readable while it is short, or mostly ASCII. */
static void scan_leaf_end(const struct mime_entity *e, bool last, void *arg)
{
	struct sevenbit *s = arg;
	const struct facts *f = &s->f;
	uint64_t size;

	(void)last;
	if (!f->eightbit && !(s->binary && (f->bare || f->longest > LINE_MOST)))
		return;
	if (e->in_signed)
		cannot(s, "5.6.2", "it is signed, and would not be the same any more");
	else if (e->sealed)
		cannot(s, "5.6.3", "a part of it that holds 8-bit data cannot be encoded");
	bool qp = e->text && !f->bare && f->special * 6 < f->octets + 200;
	uint64_t text = f->octets + 2 * f->special;
	size = qp ? text + text / QP_LINE * 3
		  : (f->octets + 2) / 3 * 4 + f->octets / B64_OCTETS * 2 + 2;
	s->plan->size += size - f->octets + 64;
	bool utf8 = f->utf8 && f->n_tail == 0;
	plan_for(s, e, (uint8_t)((qp ? QP : BASE64) | (utf8 ? UTF8 : 0)));
}

static void scan_delimiter(const char *line, size_t n, bool before, bool after, void *arg)
{
	struct sevenbit *s = arg;

	(void)line;
	s->plan->size += n + (before ? 2 : 0) + (after ? 2 : 0);
}

/* --- encoding ----------------------------------------------------------------------------------
 */

static void put(struct sevenbit *s, const char *p, size_t n)
{
	s->out(p, n, s->arg);
}

/* RFC 2045 6.7: the line has room for n octets, or is broken. */
static void qp_room(struct sevenbit *s, size_t n)
{
	if (s->enc.col + n <= QP_LINE)
		return;
	put(s, "=\r\n", 3);
	s->enc.col = 0;
}

static void qp_hex(struct sevenbit *s, uint8_t c)
{
	static const char digits[] = "0123456789ABCDEF";
	char text[3] = {'=', digits[c >> 4], digits[c & 15]};

	qp_room(s, 3);
	put(s, text, 3);
	s->enc.col += 3;
}

static void qp_plain(struct sevenbit *s, char c)
{
	qp_room(s, 1);
	put(s, &c, 1);
	s->enc.col++;
}

static void qp_held(struct sevenbit *s, bool at_end)
{
	char c = s->enc.held;

	s->enc.held = '\0';
	if (c && at_end)
		qp_hex(s, (uint8_t)c);
	else if (c)
		qp_plain(s, c);
}

/* What begins a line here may have been in the middle of one, where it was no boundary. */
static bool qp_literal(const struct sevenbit *s, uint8_t c)
{
	return c > 0x20 && c < 0x7f && c != '=' &&
	       !((c == '-') && (s->enc.col == 0 || s->enc.col >= QP_LINE));
}

static void qp_put(struct sevenbit *s, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		qp_held(s, false);
		if (data[i] == ' ' || data[i] == '\t')
			s->enc.held = (char)data[i];
		else if (qp_literal(s, data[i]))
			qp_plain(s, (char)data[i]);
		else
			qp_hex(s, data[i]);
	}
}

static void b64_line(struct sevenbit *s)
{
	char text[BASE64_ROOM(B64_OCTETS) + 2];
	size_t n = base64_put(s->enc.in, s->enc.n, text);

	if (s->enc.any)
		put(s, "\r\n", 2);
	s->enc.any = true;
	s->enc.n = 0;
	put(s, text, n);
}

static void b64_put(struct sevenbit *s, const uint8_t *data, size_t n)
{
	while (n) {
		size_t k = B64_OCTETS - s->enc.n < n ? B64_OCTETS - s->enc.n : n;
		memcpy(s->enc.in + s->enc.n, data, k);
		s->enc.n += k;
		data += k;
		n -= k;
		if (s->enc.n == B64_OCTETS)
			b64_line(s);
	}
}

/* --- converting --------------------------------------------------------------------------------
 */

static uint8_t planned(struct sevenbit *s, const struct mime_entity *e)
{
	s->bad |= e->number >= s->by->n;
	return s->bad ? AS_IS : s->by->encodings[e->number];
}

static void put_text(struct sevenbit *s, const char *text)
{
	put(s, text, strlen(text));
}

/* The label; and a message that does not speak of MIME begins to. */
static void put_labels(struct sevenbit *s, const struct mime_entity *e, uint8_t how)
{
	if (e->message && !e->version)
		put_text(s, "MIME-Version: 1.0\r\n");
	if (e->message && !e->typed)
		put_text(s, how & UTF8 ? "Content-Type: text/plain; charset=utf-8\r\n"
				       : "Content-Type: text/plain; charset=unknown-8bit\r\n");
	put_text(s, (how & ~UTF8) == QP ? "Content-Transfer-Encoding: quoted-printable\r\n"
					: "Content-Transfer-Encoding: base64\r\n");
}

static void put_header(const struct mime_entity *e, const char *text, size_t len, bool blank,
		       void *arg)
{
	struct sevenbit *s = arg;
	uint8_t how = planned(s, e);
	enum encoding plain = (enum encoding)(how & ~UTF8);
	bool says = e->cte == MIME_8BIT || e->cte == MIME_BINARY;

	s->enc = (struct encoder){.how = e->kind == MIME_LEAF ? plain : AS_IS};
	for (size_t at = 0, n; at < len; at += n) {
		n = mime_field_len(text + at, len - at);
		bool label = mime_field_is(text + at, n, "Content-Transfer-Encoding");
		if (label && plain == AS_IS_7BIT && says)
			put_text(s, "Content-Transfer-Encoding: 7bit\r\n");
		else if (!label || plain == AS_IS || plain == AS_IS_7BIT)
			put(s, text + at, n);
	}
	if (plain == QP || plain == BASE64)
		put_labels(s, e, how);
	if (blank)
		put(s, "\r\n", 2);
}

/* What nobody reads, before and after the parts. */
static void put_margin(struct sevenbit *s, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool fine = data[i] && data[i] < 0x80 && data[i] != '\r' && data[i] != '\n';
		put(s, fine ? (const char *)data + i : "?", 1);
	}
}

static void put_body(const struct mime_entity *e, const uint8_t *data, size_t n, void *arg)
{
	struct sevenbit *s = arg;

	if (e->kind != MIME_LEAF)
		put_margin(s, data, n);
	else if (s->enc.how == QP)
		qp_put(s, data, n);
	else if (s->enc.how == BASE64)
		b64_put(s, data, n);
	else
		put(s, (const char *)data, n);
}

static void put_eol(const struct mime_entity *e, void *arg)
{
	struct sevenbit *s = arg;

	if (e->kind == MIME_LEAF && s->enc.how == BASE64) {
		b64_put(s, (const uint8_t *)"\r\n", 2);
		return;
	}
	if (e->kind == MIME_LEAF && s->enc.how == QP)
		qp_held(s, true);
	put(s, "\r\n", 2);
	s->enc.col = 0;
}

/* The message's own end is a CRLF that is not in it. */
static void put_leaf_end(const struct mime_entity *e, bool last, void *arg)
{
	struct sevenbit *s = arg;

	(void)e;
	if (s->enc.how == BASE64) {
		if (s->enc.n)
			b64_line(s);
		if (last && s->enc.any)
			put(s, "\r\n", 2);
	} else if (s->enc.how == QP) {
		qp_held(s, true);
		if (last && s->enc.col)
			put(s, "=\r\n", 3);
	}
}

static void put_delimiter(const char *line, size_t n, bool before, bool after, void *arg)
{
	struct sevenbit *s = arg;

	put(s, "\r\n", before ? 2 : 0);
	put(s, line, n);
	put(s, "\r\n", after ? 2 : 0);
}

/* --- both --------------------------------------------------------------------------------------
 */

static struct sevenbit *begin(void *ctx, bool binary, const struct mime_handler *h)
{
	struct sevenbit *s = talloc_zero(ctx, struct sevenbit);

	if (!s)
		fatal("out of memory");
	s->binary = binary;
	s->walk = mime_walk_new(s, binary, h, s);
	return s;
}

struct sevenbit *sevenbit_scan(void *ctx, bool binary)
{
	static const struct mime_handler scan = {scan_header, scan_body, scan_eol, scan_leaf_end,
						 scan_delimiter};
	struct sevenbit *s = begin(ctx, binary, &scan);

	s->scanning = true;
	s->plan = talloc_zero(s, struct sevenbit_plan);
	if (!s->plan)
		fatal("out of memory");
	return s;
}

struct sevenbit *sevenbit_convert(void *ctx, bool binary, const struct sevenbit_plan *plan,
				  sevenbit_out *out, void *arg)
{
	static const struct mime_handler convert = {put_header, put_body, put_eol, put_leaf_end,
						    put_delimiter};
	struct sevenbit *s = begin(ctx, binary, &convert);

	bug_on(plan->status[0] != '\0');
	s->by = plan;
	s->out = out;
	s->arg = arg;
	return s;
}

void sevenbit_feed(struct sevenbit *s, const uint8_t *data, size_t n)
{
	mime_walk_feed(s->walk, data, n);
}

bool sevenbit_end(struct sevenbit *s)
{
	mime_walk_end(s->walk);
	return !s->bad && !mime_walk_trouble(s->walk);
}

struct sevenbit_plan *sevenbit_plan(struct sevenbit *s, void *ctx)
{
	const char *trouble = mime_walk_trouble(s->walk);

	bug_on(!s->scanning);
	if (trouble)
		cannot(s, "5.6.3", trouble);
	return talloc_steal(ctx, s->plan);
}
