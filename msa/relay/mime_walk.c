/*
 * mime_walk - see mime_walk.h.
 *
 * Purpose: cut a message at its boundaries, line by line; memory is bounded whatever comes. Trusted
 * with: nothing; every octet is a stranger's. Diagnostics: mime_walk_trouble(). Known gaps: a
 * boundary in the form of RFC 2231 is not read: such a multipart is sealed.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/relay/mime_walk.h"

#define LINE 1024 /* of which the beginning of a line is looked at */

struct level {
	struct mime_entity e; /* the multipart */
	char boundary[MIME_BOUNDARY_MAX + 1];
	size_t len;
	bool digest;
};

struct mime_walk {
	bool binary, in_header, cr, is_long, eol, over;
	char line[LINE];
	size_t n;
	char *header; /* talloc'd; grows */
	size_t header_len, header_cap;
	bool odd; /* a line of the header that is no field */
	struct mime_entity e;
	struct level *levels; /* talloc'd, MIME_DEPTH_MAX */
	size_t depth;
	unsigned entities, nested;
	const char *trouble;
	const struct mime_handler *h;
	void *arg;
};

/* --- fields ---------------------------------------------------------------------------------- */

bool mime_field_is(const char *line, size_t n, const char *name)
{
	size_t len = strlen(name);

	if (n <= len || strncasecmp(line, name, len) != 0)
		return false;
	while (len < n && (line[len] == ' ' || line[len] == '\t'))
		len++;
	return len < n && line[len] == ':';
}

size_t mime_field_len(const char *text, size_t len)
{
	size_t at = 0;

	do {
		const char *lf = memchr(text + at, '\n', len - at);
		at = lf ? (size_t)(lf - text) + 1 : len;
	} while (at < len && (text[at] == ' ' || text[at] == '\t'));
	return at;
}

/* A value as it is read: over blanks, line ends and comments. */
struct value {
	const char *s, *end;
};

static void skip_cfws(struct value *v)
{
	unsigned depth = 0;

	for (; v->s < v->end; v->s++) {
		char c = *v->s;
		if (depth && c == '\\' && v->s + 1 < v->end)
			v->s++;
		else if (c == '(')
			depth++;
		else if (depth && c == ')')
			depth--;
		else if (!depth && !strchr(" \t\r\n", c))
			return;
	}
}

static bool token_char(char c)
{
	return c > 0x20 && c < 0x7f && !strchr("()<>@,;:\\\"/[]?=", c);
}

/* Lower case. False: none, or longer than cap. */
static bool take_token(struct value *v, char *out, size_t cap)
{
	size_t n = 0;

	skip_cfws(v);
	for (; v->s < v->end && token_char(*v->s); v->s++) {
		if (n + 1 >= cap)
			return false;
		out[n++] = (char)(*v->s >= 'A' && *v->s <= 'Z' ? *v->s + 32 : *v->s);
	}
	out[n] = '\0';
	return n > 0;
}

static bool take_char(struct value *v, char c)
{
	skip_cfws(v);
	if (v->s >= v->end || *v->s != c)
		return false;
	v->s++;
	return true;
}

/* A token, with its case, or a quoted string. Many write what must be quoted unquoted: up to a
 * blank or semicolon it is taken. */
static bool take_value(struct value *v, char *out, size_t cap)
{
	size_t n = 0;
	bool quoted = take_char(v, '"');

	for (; v->s < v->end && (quoted ? *v->s != '"' : !strchr(" \t\r\n;", *v->s)); v->s++) {
		if (*v->s == '\r' || *v->s == '\n')
			continue;
		if (quoted && *v->s == '\\' && v->s + 1 < v->end)
			v->s++;
		if (n + 1 >= cap)
			return false;
		out[n++] = *v->s;
	}
	if (quoted && !take_char(v, '"'))
		return false;
	while (n && (out[n - 1] == ' ' || out[n - 1] == '\t'))
		n--;
	out[n] = '\0';
	return n > 0;
}

/* Of the parameters after a type: a boundary, once and whole. */
static bool take_boundary(struct value *v, char out[static MIME_BOUNDARY_MAX + 1])
{
	char name[64], other[1024];
	bool found = false;

	while (take_char(v, ';')) {
		if (!take_token(v, name, sizeof(name)))
			continue;
		if (!take_char(v, '='))
			return false;
		bool it = strcmp(name, "boundary") == 0;
		if (strncmp(name, "boundary*", 9) == 0 || (it && found))
			return false;
		if (!take_value(v, it ? out : other, it ? MIME_BOUNDARY_MAX + 1 : sizeof(other)))
			return false;
		found |= it;
	}
	skip_cfws(v);
	return found && v->s == v->end;
}

/* --- a header that is complete -----------------------------------------------------------------
 */

struct type {
	char main[64], sub[64], boundary[MIME_BOUNDARY_MAX + 1];
	bool bad; /* there are two; or a multipart's boundary cannot be read */
};

static void read_type(struct mime_entity *e, struct type *t, struct value v)
{
	t->bad |= e->typed;
	e->typed = true;
	if (t->bad || !take_token(&v, t->main, sizeof(t->main)))
		return;
	bool whole = take_char(&v, '/') && take_token(&v, t->sub, sizeof(t->sub));
	if (strcmp(t->main, "multipart") == 0)
		t->bad = !whole || !take_boundary(&v, t->boundary);
}

static void read_cte(struct mime_entity *e, struct value v)
{
	static const char *const words[] = {[MIME_7BIT] = "7bit",
					    [MIME_8BIT] = "8bit",
					    [MIME_BINARY] = "binary",
					    [MIME_QP] = "quoted-printable",
					    [MIME_BASE64] = "base64"};
	char word[32];
	bool again = e->cte != MIME_NONE, ok = take_token(&v, word, sizeof(word));

	skip_cfws(&v);
	e->cte = MIME_OTHER;
	for (int i = MIME_7BIT; ok && !again && v.s == v.end && i <= MIME_BASE64; i++)
		if (strcmp(word, words[i]) == 0)
			e->cte = (enum mime_cte)i;
}

static void read_fields(struct mime_walk *w, struct type *t)
{
	struct mime_entity *e = &w->e;

	for (size_t at = 0, n; at < w->header_len; at += n) {
		const char *f = w->header + at;
		n = mime_field_len(f, w->header_len - at);
		const char *colon = memchr(f, ':', n);
		if (!colon)
			continue;
		struct value v = {colon + 1, f + n};
		if (mime_field_is(f, n, "Content-Type"))
			read_type(e, t, v);
		else if (mime_field_is(f, n, "Content-Transfer-Encoding"))
			read_cte(e, v);
		else if (mime_field_is(f, n, "MIME-Version"))
			e->version = true;
	}
}

static void look_8bit(struct mime_walk *w)
{
	bool bad = false;

	for (size_t i = 0; i < w->header_len; i++) {
		char c = w->header[i];
		bool crlf = c == '\r' ? i + 1 < w->header_len && w->header[i + 1] == '\n'
				      : c == '\n' && i > 0 && w->header[i - 1] == '\r';
		bad |= (uint8_t)c >= 0x80 || c == 0 || ((c == '\r' || c == '\n') && !crlf);
	}
	w->e.header_8bit = bad;
}

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* What the type makes of it. RFC 2045 6.4: multipart and message are not encoded themselves; 2046
 * 5.2: message/partial and external-body are 7 bit. RFC 6532 3.7: message/global may be. */
static void judge(struct mime_entity *e, const struct type *t, bool odd)
{
	bool plain = e->cte <= MIME_BINARY;

	e->kind = MIME_LEAF;
	e->text = !e->typed || strcmp(t->main, "text") == 0;
	e->sealed = t->bad || odd || !plain;
	if (t->bad || !e->typed)
		return;
	if (strcmp(t->main, "multipart") == 0 && plain && !odd)
		e->kind = MIME_MULTIPART;
	else if (strcmp(t->main, "message") == 0 && strcmp(t->sub, "rfc822") == 0 && plain && !odd)
		e->kind = MIME_MESSAGE;
	else if (strcmp(t->main, "multipart") == 0 ||
		 (strcmp(t->main, "message") == 0 && !starts(t->sub, "global")))
		e->sealed = true;
}

static void begin_entity(struct mime_walk *w, bool message, bool in_signed)
{
	if (w->entities >= MIME_ENTITIES_MAX) {
		w->trouble = "it has too many parts";
		return;
	}
	w->e = (struct mime_entity){
	    .number = w->entities++, .message = message, .in_signed = in_signed};
	w->in_header = true;
	w->eol = w->odd = false;
	w->header_len = 0;
}

static void push(struct mime_walk *w, const struct type *t)
{
	struct level *l;

	if (w->depth + w->nested >= MIME_DEPTH_MAX) {
		w->trouble = "its parts are nested too deep";
		return;
	}
	l = &w->levels[w->depth++];
	l->e = w->e;
	l->len = strlen(t->boundary);
	memcpy(l->boundary, t->boundary, l->len + 1);
	l->digest = strcmp(t->sub, "digest") == 0;
	l->e.in_signed |= strcmp(t->sub, "signed") == 0;
}

static void end_header(struct mime_walk *w, bool blank)
{
	struct type t = {.bad = false};
	bool digest = w->depth && w->levels[w->depth - 1].digest && !w->e.message;

	read_fields(w, &t);
	look_8bit(w);
	judge(&w->e, &t, w->odd);
	if (digest && !w->e.typed && !w->e.sealed) /* RFC 2046 5.1.5 */
		w->e.kind = MIME_MESSAGE;
	w->in_header = w->eol = false;
	w->h->header(&w->e, w->header, w->header_len, blank, w->arg);
	if (w->e.kind == MIME_MULTIPART)
		push(w, &t);
	if (w->e.kind != MIME_MESSAGE || !blank)
		return;
	if (w->depth + ++w->nested > MIME_DEPTH_MAX)
		w->trouble = "its parts are nested too deep";
	else
		begin_entity(w, true, w->e.in_signed);
}

/* --- lines -------------------------------------------------------------------------------------
 */

static void add_header(struct mime_walk *w, const char *p, size_t n)
{
	if (w->header_len + n > MIME_HEADER_MAX) {
		w->trouble = "a header in it is too long";
		return;
	}
	if (w->header_len + n > w->header_cap) {
		w->header_cap = (w->header_len + n) * 2 + 1024;
		w->header = talloc_realloc(w, w->header, char, (unsigned)w->header_cap);
		if (!w->header)
			fatal("out of memory");
	}
	memcpy(w->header + w->header_len, p, n);
	w->header_len += n;
}

static void content(struct mime_walk *w, const char *p, size_t n)
{
	if (w->eol)
		w->h->eol(&w->e, w->arg);
	w->eol = false;
	if (n)
		w->h->body(&w->e, (const uint8_t *)p, n, w->arg);
}

/* Its body, if it has one that can be called so, is over. */
static void close_leaf(struct mime_walk *w, bool last)
{
	if (w->in_header)
		end_header(w, false);
	if (!w->trouble && w->e.kind == MIME_LEAF)
		w->h->leaf_end(&w->e, last, w->arg);
}

enum match { NO_MATCH, UNSURE, OPENS, CLOSES };

static enum match match_level(const struct mime_walk *w, const struct level *l)
{
	const char *rest = w->line + 2 + l->len;
	size_t left, blanks = 0;

	if (w->n < 2 + l->len || memcmp(w->line + 2, l->boundary, l->len) != 0)
		return NO_MATCH;
	left = w->n - 2 - l->len;
	bool closes = left >= 2 && rest[0] == '-' && rest[1] == '-';
	if (closes) {
		rest += 2;
		left -= 2;
	}
	while (blanks < left && (rest[blanks] == ' ' || rest[blanks] == '\t'))
		blanks++;
	return blanks < left || w->is_long ? UNSURE : closes ? CLOSES : OPENS;
}

/* The line in w->line is between parts: which level's, how. RFC 2046 5.1.1 wants only the beginning
 * to be the same, many programs the whole line: what they would not agree about is not sure. */
static enum match match_line(struct mime_walk *w, size_t *level)
{
	enum match m, unsure = NO_MATCH;

	if (w->n < 2 || w->line[0] != '-' || w->line[1] != '-')
		return NO_MATCH;
	for (size_t i = w->depth; i > 0; i--) {
		m = match_level(w, &w->levels[i - 1]);
		if (m == UNSURE)
			unsure = UNSURE;
		if (m < OPENS)
			continue;
		*level = i - 1;
		return m;
	}
	return unsure;
}

static void delimit(struct mime_walk *w, size_t level, enum match m, bool after)
{
	bool before = w->eol && !w->in_header;

	close_leaf(w, false);
	if (w->trouble)
		return;
	w->h->delimiter(w->line, w->n, before, after, w->arg);
	struct level *l = &w->levels[level];
	w->nested = 0;
	w->eol = false;
	if (m == OPENS) {
		w->depth = level + 1;
		begin_entity(w, false, l->e.in_signed);
		return;
	}
	w->depth = level;
	w->e = l->e;
}

static bool is_field(const struct mime_walk *w)
{
	const char *colon = memchr(w->line, ':', w->n);

	if (w->line[0] == ' ' || w->line[0] == '\t')
		return w->header_len > 0;
	if (!colon || colon == w->line)
		return false;
	for (const char *p = w->line; p < colon; p++)
		if (*p <= 0x20 || *p >= 0x7f) {
			/* Blanks between name and colon, of old. */
			while (p < colon && (*p == ' ' || *p == '\t'))
				p++;
			return p == colon;
		}
	return true;
}

static void header_line(struct mime_walk *w, bool ended)
{
	if (!w->is_long && w->n == 0) {
		if (ended)
			end_header(w, true);
		return;
	}
	if (!w->is_long)
		w->odd |= !is_field(w);
	add_header(w, w->line, w->n);
	if (!w->trouble)
		add_header(w, "\r\n", ended ? 2 : 0);
}

/* ended: with a line end; else the message is over in it. */
static void end_line(struct mime_walk *w, bool ended)
{
	size_t level = 0;
	enum match m = w->is_long ? NO_MATCH : match_line(w, &level);

	if (m == UNSURE)
		w->trouble = "a line in it may be a boundary or not";
	else if (m != NO_MATCH)
		delimit(w, level, m, ended);
	else if (w->in_header)
		header_line(w, ended);
	else {
		content(w, w->line, w->n);
		w->eol = ended;
	}
	w->n = 0;
	w->is_long = false;
}

/* The line is longer than what is looked at. */
static void flush_long(struct mime_walk *w)
{
	size_t level;
	bool first = !w->is_long;

	w->is_long = true;
	if (first && match_line(w, &level) != NO_MATCH) {
		w->trouble = "a line in it may be a boundary or not";
		return;
	}
	if (w->in_header) {
		w->odd |= first && !is_field(w);
		add_header(w, w->line, w->n);
	} else {
		content(w, w->line, w->n);
	}
	w->n = 0;
}

static void add(struct mime_walk *w, const char *p, size_t n)
{
	while (n && !w->trouble) {
		size_t k = LINE - w->n < n ? LINE - w->n : n;
		memcpy(w->line + w->n, p, k);
		w->n += k;
		p += k;
		n -= k;
		if (w->n == LINE)
			flush_long(w);
	}
}

static size_t to_line_end(const struct mime_walk *w, const uint8_t *p, size_t n)
{
	const uint8_t *cr = memchr(p, '\r', n);
	size_t at = cr ? (size_t)(cr - p) : n;
	const uint8_t *lf = w->binary ? NULL : memchr(p, '\n', at);

	return lf ? (size_t)(lf - p) : at;
}

void mime_walk_feed(struct mime_walk *w, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n && !w->trouble;) {
		if (w->cr) {
			w->cr = false;
			bool lf = data[i] == '\n';
			i += lf;
			if (lf || !w->binary) {
				end_line(w, true);
				continue;
			}
			add(w, "\r", 1);
		}
		size_t k = to_line_end(w, data + i, n - i);
		add(w, (const char *)data + i, k);
		i += k;
		if (i == n || w->trouble)
			continue;
		if (data[i++] == '\r')
			w->cr = true;
		else
			end_line(w, true);
	}
}

void mime_walk_end(struct mime_walk *w)
{
	if (w->over || w->trouble)
		return;
	w->over = true;
	if (w->cr && w->binary)
		add(w, "\r", 1);
	else if (w->cr)
		end_line(w, true);
	if (!w->trouble && (w->n || w->is_long))
		end_line(w, false);
	if (!w->trouble && !w->in_header && w->eol)
		content(w, "", 0);
	if (!w->trouble)
		close_leaf(w, true);
}

struct mime_walk *mime_walk_new(void *ctx, bool binary, const struct mime_handler *h, void *arg)
{
	struct mime_walk *w = talloc_zero(ctx, struct mime_walk);

	if (!w)
		fatal("out of memory");
	w->levels = talloc_array(w, struct level, MIME_DEPTH_MAX);
	w->header_cap = 4096;
	w->header = talloc_array(w, char, (unsigned)w->header_cap);
	if (!w->levels || !w->header)
		fatal("out of memory");
	w->binary = binary;
	w->h = h;
	w->arg = arg;
	begin_entity(w, true, false);
	return w;
}

const char *mime_walk_trouble(const struct mime_walk *w)
{
	return w->trouble;
}
