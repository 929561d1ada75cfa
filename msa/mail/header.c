/*
 * header - see header.h.
 *
 * Works on physical lines. The start of a line is held back only until its name is known (NAME_MAX
 * bytes at most: a longer run without a colon is no field); then the line is passed or dropped as
 * it comes. The bodies of From: and Message-ID: are copied aside, bounded. "Sender :" with blanks
 * before the colon is the same field (RFC 5322 4.5, obsolete syntax), so that it does not slip by.
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

enum field { F_OTHER, F_DROP, F_SENDER, F_FROM, F_MESSAGE_ID, F_DATE, F_RECEIVED };

static const struct {
	const char *name;
	enum field field;
} fields[] = {
    {"Return-Path", F_DROP},	  {"Bcc", F_DROP},	{"Resent-Bcc", F_DROP},
    {"X-Sekisho-Trace", F_DROP},  {"Sender", F_SENDER}, {"From", F_FROM},
    {"Message-ID", F_MESSAGE_ID}, {"Date", F_DATE},	{"Received", F_RECEIVED},
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
};

struct header_editor *header_new(void *ctx, const struct header_opts *opts, header_out *out,
				 void *arg)
{
	struct header_editor *h = talloc_zero(ctx, struct header_editor);

	h->o = *opts;
	h->out = out;
	h->arg = arg;
	h->name = talloc_array(h, char, NAME_MAX_LEN);
	out(opts->received, strlen(opts->received), arg);
	out("X-Sekisho-Trace: ", 17, arg);
	out(opts->trace, strlen(opts->trace), arg);
	out("\r\n", 2, arg);
	return h;
}

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

/* Is From: one mailbox of the account's own? */
static bool from_is_own(const struct header_editor *h)
{
	struct path p;

	if (h->n_from != 1 || h->from_long || h->from_len == 0)
		return false;
	return mailbox_list(h->from, h->from_len, &p) == 1 && path_owned(h->o.account, &p);
}

/* The section is over: what is still missing goes in here. */
static void add_missing(struct header_editor *h)
{
	bool wanted = h->o.sender == SENDER_ALWAYS ||
		      (h->o.sender == SENDER_WHEN_DIFFERENT && !from_is_own(h));

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
	add_missing(h);
	h->state = H_BODY;
}

static bool dropped(const struct header_editor *h)
{
	return h->field == F_DROP || (h->field == F_SENDER && h->o.sender != SENDER_OFF);
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
}

static void pass(struct header_editor *h, const char *p, size_t n)
{
	if (n > 0 && !dropped(h))
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
	bool first = h->name_len == 0;

	h->name[h->name_len++] = c;
	if (first && (c == ' ' || c == '\t') && h->any_field) {
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
