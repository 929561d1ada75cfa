/*
 * header - see header.h.
 *
 * Works on physical lines. The start of a line is held back only until its name is known (NAME_MAX
 * bytes at most: a longer run without a colon is no field); then the line is passed or dropped as
 * it comes. The bodies of From: and Message-ID: are copied aside, bounded. "Sender :" with blanks
 * before the colon is the same field (RFC 5322 4.5, obsolete syntax), so that it does not slip by.
 * Authentication-Results: is held back until the name it speaks in is known; one that hides it
 * behind more than 64 KiB of comments is dropped.
 *
 * Fuzzed by tests/fuzz/msa/fuzz_header.c: any split gives the same output.
 */
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "msa/mail/header.h"
#include "msa/mail/mailbox.h"

#define NAME_MAX_LEN 8192
#define FROM_MAX     65536

#define HOLD_MAX     65536
#define AUTHSERV_MAX 256

enum field {
	F_OTHER,
	F_DROP,
	F_SENDER,
	F_FROM,
	F_MESSAGE_ID,
	F_DATE,
	F_RECEIVED,
	F_CFBL,
	F_AUTH_RESULTS
};

static const struct {
	const char *name;
	enum field field;
} fields[] = {
    {"Return-Path", F_DROP},	  {"Bcc", F_DROP},
    {"Resent-Bcc", F_DROP},	  {"X-Sekisho-Trace", F_DROP},
    {"Sender", F_SENDER},	  {"From", F_FROM},
    {"Message-ID", F_MESSAGE_ID}, {"Date", F_DATE},
    {"Received", F_RECEIVED},	  {"CFBL-Address", F_CFBL},
    {"CFBL-Feedback-ID", F_CFBL}, {"Authentication-Results", F_AUTH_RESULTS},
};

/* An Authentication-Results: field whose name is not known yet. */
struct hold {
	char *buf;
	size_t len;
	unsigned depth;	      /* of comments */
	bool quoted, escaped; /* inside a quoted string; after a backslash */
	char id[AUTHSERV_MAX];
	size_t id_len;
	bool id_long;
};

struct header_editor {
	struct header_opts o;
	header_out *out;
	void *arg;
	enum { H_NAME, H_LINE, H_BODY } state;
	enum field field; /* of the current line, kept for its folded lines */
	bool any_field;	  /* a folded line may follow */
	bool cr;	  /* the last byte of the current line was CR */
	char *name;	  /* start of a line whose field is not known yet */
	size_t name_len;
	char *from; /* bodies of every From: field */
	size_t from_len;
	unsigned n_from, hops;
	bool from_long, have_date, have_id, sender_added;
	char id[260];
	size_t id_len;
	bool id_done;
	bool holding;
	struct hold hold;
	enum header_from from_is;
	struct path from_path;
};

static void put(struct header_editor *h, const char *s)
{
	h->out(s, strlen(s), h->arg);
}

static void put_field(struct header_editor *h, const char *before, const char *value,
		      const char *after)
{
	put(h, before);
	put(h, value);
	put(h, after);
}

struct header_editor *header_new(void *ctx, const struct header_opts *opts, header_out *out,
				 void *arg)
{
	struct header_editor *h = talloc_zero(ctx, struct header_editor);

	h->o = *opts;
	h->out = out;
	h->arg = arg;
	h->name = talloc_array(h, char, NAME_MAX_LEN);
	out(opts->received, strlen(opts->received), arg);
	if (opts->auth_results)
		put(h, opts->auth_results);
	put_field(h, "X-Sekisho-Trace: ", opts->trace, "\r\n");
	if (opts->cfbl_address) {
		put_field(h, "CFBL-Address: ", opts->cfbl_address, "; report=arf\r\n");
		put_field(h, "CFBL-Feedback-ID: ", opts->trace, "\r\n");
	}
	return h;
}

/* --- From: --- */

struct from_reader {
	struct header_editor *h;
	enum identity_right least;
	unsigned n;
};

static void one_from(const struct path *p, void *arg)
{
	struct from_reader *r = arg;
	enum identity_right right = identity_right(r->h->o.ids, r->h->o.account, p);

	if (r->n++ == 0)
		r->h->from_path = *p;
	if (right < r->least)
		r->least = right;
}

static enum header_from judge_from(struct header_editor *h)
{
	struct from_reader r = {h, IDENTITY_OWN, 0};
	int n;

	if (h->n_from == 0)
		return HEADER_FROM_NONE;
	if (h->n_from > 1 || h->from_long)
		return HEADER_FROM_BAD;
	n = h->from_len > 0 ? mailbox_each(h->from, h->from_len, one_from, &r) : 0;
	if (n <= 0)
		return n == 0 ? HEADER_FROM_NONE : HEADER_FROM_BAD;
	if (r.least == IDENTITY_NONE)
		return HEADER_FROM_FOREIGN;
	return n == 1 && r.least == IDENTITY_OWN ? HEADER_FROM_OWN : HEADER_FROM_MAY;
}

/* --- Authentication-Results: --- */

/* Does the field speak in our name? A trailing dot is the same name. */
static bool in_our_name(const struct header_editor *h)
{
	size_t n = h->hold.id_len;

	if (n > 0 && h->hold.id[n - 1] == '.')
		n--;
	return !h->hold.id_long && strlen(h->o.authserv_id) == n &&
	       strncasecmp(h->o.authserv_id, h->hold.id, n) == 0;
}

/* The field is known: it goes the way of those that are dropped, or of the others. */
static void end_hold(struct header_editor *h, bool drop)
{
	if (!h->holding)
		return;
	h->holding = false;
	h->field = drop || in_our_name(h) ? F_DROP : F_OTHER;
	if (h->field == F_OTHER && h->hold.len > 0)
		h->out(h->hold.buf, h->hold.len, h->arg);
}

static void begin_hold(struct header_editor *h)
{
	char *buf = h->hold.buf;

	h->hold = (struct hold){.buf = buf};
	h->holding = true;
}

static void keep_hold(struct header_editor *h, const char *p, size_t n)
{
	struct hold *d = &h->hold;

	if (d->len + n > HOLD_MAX) {
		end_hold(h, true);
		return;
	}
	if (d->len + n > talloc_get_size(d->buf))
		d->buf = talloc_realloc(h, d->buf, char, (d->len + n) * 2);
	memcpy(d->buf + d->len, p, n);
	d->len += n;
}

static void keep_name(struct hold *d, char c)
{
	if (d->id_len == AUTHSERV_MAX)
		d->id_long = true;
	else
		d->id[d->id_len++] = c;
}

/* One byte of a comment, or with a backslash before it; true when it was one. */
static bool hold_inside(struct hold *d, char c)
{
	if (d->escaped) {
		d->escaped = false;
		if (d->depth == 0)
			keep_name(d, c);
		return true;
	}
	if (c == '\\' && (d->depth > 0 || d->quoted)) {
		d->escaped = true;
		return true;
	}
	if (d->depth > 0 && (c == '(' || c == ')')) {
		d->depth += c == '(' ? 1 : -1U;
		return true;
	}
	return d->depth > 0;
}

/* One byte of the field's body; false when the name is complete. */
static bool hold_byte(struct hold *d, char c)
{
	if (hold_inside(d, c))
		return true;
	if (c == '"') {
		d->quoted = !d->quoted;
		return true;
	}
	if (!d->quoted && strchr(" \t\r\n(;", c)) {
		if (c == ';' || d->id_len > 0)
			return false;
		d->depth += c == '(';
		return true;
	}
	if (c != '\r' && c != '\n')
		keep_name(d, c);
	return true;
}

static void hold_bytes(struct header_editor *h, const char *p, size_t n)
{
	for (size_t i = 0; i < n && h->holding; i++)
		if (!hold_byte(&h->hold, p[i]))
			end_hold(h, false);
}

/* The section is over: what is still missing goes in here. */
static void add_missing(struct header_editor *h)
{
	bool wanted;

	h->from_is = judge_from(h);
	wanted = h->o.sender == SENDER_ALWAYS ||
		 (h->o.sender == SENDER_WHEN_DIFFERENT && h->from_is != HEADER_FROM_OWN);
	h->sender_added = wanted;
	if (wanted)
		put_field(h, "Sender: <", h->o.account->text, ">\r\n");
	if (!h->have_id) {
		put_field(h, "Message-ID: <", h->o.message_id, ">\r\n");
		h->id[0] = '<';
		h->id_len = strnlen(h->o.message_id, sizeof(h->id) - 3);
		memcpy(h->id + 1, h->o.message_id, h->id_len);
		h->id[++h->id_len] = '>';
		h->id_len++;
	}
	if (!h->have_date)
		put_field(h, "Date: ", h->o.date, "\r\n");
	talloc_free(h->from);
	talloc_free(h->name);
	h->from = h->name = NULL;
}

static void begin_body(struct header_editor *h)
{
	end_hold(h, false);
	TALLOC_FREE(h->hold.buf);
	add_missing(h);
	h->state = H_BODY;
}

static bool dropped(const struct header_editor *h)
{
	return h->field == F_DROP || (h->field == F_SENDER && h->o.sender != SENDER_OFF) ||
	       (h->field == F_CFBL && h->o.cfbl_address);
}

static void keep_from(struct header_editor *h, const char *p, size_t n)
{
	if (h->from_long || h->from_len + n > FROM_MAX) {
		h->from_long = true;
		return;
	}
	if (h->from_len + n > talloc_get_size(h->from))
		h->from = talloc_realloc(h, h->from, char, (h->from_len + n) * 2);
	memcpy(h->from + h->from_len, p, n);
	h->from_len += n;
}

/* The first <...> or word of the body, printable bytes only. */
static void keep_id(struct header_editor *h, const char *p, size_t n)
{
	for (size_t i = 0; i < n && !h->id_done; i++) {
		bool blank = p[i] <= ' ' || p[i] > '~';

		if (blank && h->id_len > 0)
			h->id_done = true;
		else if (!blank && h->id_len < 256)
			h->id[h->id_len++] = p[i];
	}
}

/* Bytes of the current line, name and colon not included, are copied aside where they matter. */
static void body_bytes(struct header_editor *h, const char *p, size_t n)
{
	if (h->field == F_FROM)
		keep_from(h, p, n);
	else if (h->field == F_MESSAGE_ID)
		keep_id(h, p, n);
	else if (h->holding)
		hold_bytes(h, p, n);
}

static void pass(struct header_editor *h, const char *p, size_t n)
{
	if (n == 0 || dropped(h))
		return;
	if (h->holding)
		keep_hold(h, p, n);
	else
		h->out(p, n, h->arg);
}

static void count_field(struct header_editor *h)
{
	switch (h->field) {
	case F_FROM:
		h->n_from++;
		break;
	case F_MESSAGE_ID:
		h->have_id = true;
		break;
	case F_DATE:
		h->have_date = true;
		break;
	case F_RECEIVED:
		h->hops++;
		break;
	case F_OTHER:
	case F_DROP:
	case F_SENDER:
	case F_CFBL:
	case F_AUTH_RESULTS:
		break;
	}
}

static enum field field_of(const char *name, size_t len)
{
	while (len > 0 && (name[len - 1] == ' ' || name[len - 1] == '\t'))
		len--;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (strlen(fields[i].name) == len && strncasecmp(fields[i].name, name, len) == 0)
			return fields[i].field;
	return F_OTHER;
}

/* Name characters, then blanks, then a colon. */
static bool name_ok(const char *s, size_t len)
{
	size_t i = 0;

	while (i < len && s[i] > ' ' && s[i] <= '~' && s[i] != ':')
		i++;
	if (i == 0)
		return false;
	while (i < len && (s[i] == ' ' || s[i] == '\t'))
		i++;
	return i == len;
}

/* The held bytes start a line of the body after all. */
static void not_a_field(struct header_editor *h)
{
	char *held = talloc_steal(NULL, h->name);
	size_t n = h->name_len;

	h->name = NULL;
	begin_body(h);
	put(h, "\r\n");
	h->out(held, n, h->arg);
	talloc_free(held);
}

/* The empty line that ends the section is held: pass it on. */
static void empty_line(struct header_editor *h)
{
	begin_body(h);
	put(h, "\r\n");
}

static void start_line(struct header_editor *h, enum field f)
{
	h->field = f;
	h->any_field = true;
	h->state = H_LINE;
	h->cr = false;
	pass(h, h->name, h->name_len);
	h->name_len = 0;
}

/* "From user@host Mon Jan 1 ..." or the same behind ">": what mailbox files put before a message.
 */
static bool is_mbox_line(const char *s, size_t len)
{
	while (len > 0 && *s == '>') {
		s++;
		len--;
	}
	return len >= 5 && memcmp(s, "From ", 5) == 0;
}

/* It is no field, but the header section begins after it: it becomes one. */
static void mbox_line(struct header_editor *h)
{
	bool whole = h->name[h->name_len - 1] == '\n';

	put(h, "X-Mailbox-Line: ");
	start_line(h, F_OTHER);
	if (whole)
		h->state = H_NAME;
}

/* One more byte of a line whose field is not known. */
static void name_byte(struct header_editor *h, char c)
{
	bool folded = h->name_len == 0 && (c == ' ' || c == '\t') && h->any_field;

	if (h->name_len == 0 && !folded)
		end_hold(h, false);
	h->name[h->name_len++] = c;
	if (folded) {
		start_line(h, h->field); /* folded: belongs to the field before it */
		body_bytes(h, &c, 1);
		return;
	}
	if (h->name_len == 2 && memcmp(h->name, "\r\n", 2) == 0) {
		empty_line(h);
		return;
	}
	if (c == ':' && name_ok(h->name, h->name_len - 1)) {
		enum field f = field_of(h->name, h->name_len - 1);

		if (f == F_AUTH_RESULTS && h->o.authserv_id)
			begin_hold(h);
		start_line(h, f);
		count_field(h);
		return;
	}
	if (c != ':' && c != '\n' && h->name_len < NAME_MAX_LEN)
		return;
	if (!h->any_field && is_mbox_line(h->name, h->name_len))
		mbox_line(h);
	else
		not_a_field(h);
}

/* Bytes up to the end of the current line; returns how many. */
static size_t line_bytes(struct header_editor *h, const char *p, size_t n)
{
	const char *nl = memchr(p, '\n', n);
	size_t m = nl ? (size_t)(nl - p) + 1 : n;

	pass(h, p, m);
	body_bytes(h, p, m);
	if (nl)
		h->state = H_NAME;
	return m;
}

void header_feed(struct header_editor *h, const uint8_t *data, size_t len)
{
	const char *p = (const char *)data;

	for (size_t i = 0; i < len;) {
		switch (h->state) {
		case H_NAME:
			name_byte(h, p[i++]);
			break;
		case H_LINE:
			i += line_bytes(h, p + i, len - i);
			break;
		case H_BODY:
			h->out(p + i, len - i, h->arg);
			return;
		}
	}
}

void header_end(struct header_editor *h)
{
	if (h->state == H_BODY)
		return;
	if (h->state == H_NAME && h->name_len > 0)
		not_a_field(h);
	else
		begin_body(h);
}

const char *header_message_id(const struct header_editor *h)
{
	return h->id;
}

unsigned header_hops(const struct header_editor *h)
{
	return h->hops;
}

bool header_sender_added(const struct header_editor *h)
{
	return h->sender_added;
}

enum header_from header_from(const struct header_editor *h)
{
	return h->from_is;
}

const struct path *header_from_path(const struct header_editor *h)
{
	return h->from_is >= HEADER_FROM_FOREIGN ? &h->from_path : NULL;
}
