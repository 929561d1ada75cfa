/*
 * dns_answer - see dns_answer.h.
 *
 * Trusted with: bytes from anywhere, each length checked; a name's compression pointers may only go
 * back, so that reading one ends. Diagnostics: none of its own. Known gaps: which alias led to
 * which is not looked at: the resolver has followed them.
 */
#include "accounting/dns_answer.h"

#include <stdio.h>
#include <string.h>

#include <talloc.h>

#define HEADER_LEN     12
#define RCODE_NXDOMAIN 3

struct reader {
	const uint8_t *p;
	size_t len, at;
	bool bad;
};

static uint8_t get8(struct reader *r)
{
	if (r->at >= r->len) {
		r->bad = true;
		return 0;
	}
	return r->p[r->at++];
}

static uint16_t get16(struct reader *r)
{
	uint16_t hi = get8(r);
	return (uint16_t)(hi << 8 | get8(r));
}

static void skip(struct reader *r, size_t n)
{
	if (r->len - r->at < n)
		r->bad = true;
	else
		r->at += n;
}

static char shown(uint8_t b)
{
	if (b >= 'A' && b <= 'Z')
		return (char)(b + 32);
	return b > 0x20 && b < 0x7f && b != '.' && b != '\\' ? (char)b : '?';
}

/* Adds a label of n bytes; false when the name is too long. */
static bool put_label(struct reader *r, size_t n, char *out, size_t *used)
{
	if (*used + n + 2 > DNS_NAME_MAX)
		return false;
	if (*used)
		out[(*used)++] = '.';
	for (size_t i = 0; i < n; i++)
		out[(*used)++] = shown(get8(r));
	return !r->bad;
}

/* RFC 1035 4.1.4. out may be NULL: the name is only passed over. */
static void get_name(struct reader *r, char *out)
{
	char scratch[DNS_NAME_MAX];
	size_t used = 0, back = 0, lowest = r->at;
	bool jumped = false;
	uint8_t n;
	out = out ? out : scratch;
	while (!r->bad && (n = get8(r)) != 0) {
		if (n >= 0xc0) {
			size_t to = (size_t)(n & 0x3f) << 8 | get8(r);
			if (!jumped)
				back = r->at;
			jumped = true;
			if (to >= lowest) /* only back: no loops */
				r->bad = true;
			lowest = r->at = to;
		} else if (n > 63 || !put_label(r, n, out, &used)) {
			r->bad = true;
		}
	}
	out[used] = '\0';
	if (jumped)
		r->at = back;
}

static char *get_text(void *ctx, struct reader *r, size_t end)
{
	char buf[DNS_TEXT_MAX];
	size_t used = 0;
	while (!r->bad && r->at < end) {
		size_t n = get8(r);
		if (r->at + n > end)
			r->bad = true;
		for (size_t i = 0; i < n && !r->bad; i++) {
			uint8_t b = get8(r);
			if (used + 1 < sizeof buf)
				buf[used++] = b >= 0x20 && b < 0x7f ? (char)b : '?';
		}
	}
	return talloc_strndup(ctx, buf, used);
}

static void get_addr(struct reader *r, size_t n, size_t want, struct addr *a)
{
	uint8_t b[16];
	if (n != want || r->len - r->at < want) {
		r->bad = true;
		return;
	}
	memcpy(b, r->p + r->at, want);
	if (want == 4)
		addr_from_v4(a, b);
	else
		addr_from_v6(a, b);
}

/* One that is too long stays without data: the reader must not take it for "there is none". */
static void get_octets(void *ctx, struct reader *r, size_t n, struct dns_rr *rr)
{
	if (r->len - r->at < n) {
		r->bad = true;
		return;
	}
	rr->len = n <= DNS_DATA_MAX ? n : 0;
	rr->data = talloc_memdup(ctx, r->p + r->at, rr->len);
	r->at += n;
}

static void get_data(void *ctx, struct reader *r, enum dns_type type, size_t n, struct dns_rr *rr)
{
	char name[DNS_NAME_MAX];
	*rr = (struct dns_rr){.text = NULL};
	switch (type) {
	case DNS_A:
		get_addr(r, n, 4, &rr->a);
		return;
	case DNS_AAAA:
		get_addr(r, n, 16, &rr->a);
		return;
	case DNS_TXT:
		rr->text = get_text(ctx, r, r->at + n);
		return;
	case DNS_TLSA:
		get_octets(ctx, r, n, rr);
		return;
	case DNS_MX:
		rr->pref = get16(r);
		__attribute__((fallthrough));
	case DNS_PTR:
	case DNS_CNAME:
		get_name(r, name);
		rr->text = talloc_strdup(ctx, name);
		return;
	}
}

static void get_rr(void *ctx, struct reader *r, enum dns_type type, struct dns_answer *out)
{
	char owner[DNS_NAME_MAX];
	get_name(r, owner);
	uint16_t t = get16(r), class = get16(r);
	skip(r, 4);
	size_t n = get16(r), at = r->at;
	skip(r, n);
	if (r->bad || t != (uint16_t)type || class != 1)
		return;
	if (out->n == DNS_RR_MAX) {
		out->dropped++;
		return;
	}
	/* Names in it may point anywhere before, so that it is read in the whole packet. */
	struct reader d = {.p = r->p, .len = at + n, .at = at};
	get_data(ctx, &d, type, n, &out->rr[out->n]);
	if (d.bad) {
		r->bad = true;
		return;
	}
	if (!out->owner)
		out->owner = talloc_strdup(ctx, owner);
	out->n++;
}

static void trouble(struct dns_answer *out, const char *why)
{
	*out = (struct dns_answer){.status = DNS_TROUBLE};
	snprintf(out->why, sizeof out->why, "%s", why);
}

static const char *rcode_words(unsigned rcode)
{
	static const char *const words[] = {
	    NULL, "the question was not understood", "SERVFAIL", NULL, "NOTIMP", "REFUSED"};
	return rcode < sizeof words / sizeof *words && words[rcode] ? words[rcode] : "an error";
}

bool dns_answer_parse(void *ctx, const uint8_t *p, size_t len, enum dns_type type,
		      struct dns_answer *out)
{
	struct reader r = {.p = p, .len = len};
	skip(&r, 2);
	uint16_t flags = get16(&r), questions = get16(&r), answers = get16(&r);
	skip(&r, HEADER_LEN - 8);
	if (r.bad || !(flags & 0x8000)) {
		trouble(out, "not an answer");
		return false;
	}
	unsigned rcode = flags & 0xf;
	if (rcode != 0 && rcode != RCODE_NXDOMAIN) {
		trouble(out, rcode_words(rcode));
		return true;
	}
	*out = (struct dns_answer){.rr = talloc_zero_array(ctx, struct dns_rr, DNS_RR_MAX)};
	for (; questions && !r.bad; questions--) {
		get_name(&r, NULL);
		skip(&r, 4);
	}
	for (; answers && !r.bad; answers--)
		get_rr(ctx, &r, type, out);
	if (r.bad) {
		trouble(out, "a damaged answer");
		return false;
	}
	out->status = out->n ? DNS_FOUND : rcode ? DNS_NXDOMAIN : DNS_NODATA;
	return true;
}

const char *dns_reverse_name(const struct addr *a, char buf[static DNS_NAME_MAX])
{
	if (addr_is4(a)) {
		const uint8_t *v = addr_v4(a);
		snprintf(buf, DNS_NAME_MAX, "%u.%u.%u.%u.in-addr.arpa", v[3], v[2], v[1], v[0]);
		return buf;
	}
	char *w = buf;
	for (int i = 15; i >= 0; i--)
		w += snprintf(w, 5, "%x.%x.", a->b[i] & 15, a->b[i] >> 4);
	snprintf(w, 9, "ip6.arpa");
	return buf;
}

static bool label_byte(char b)
{
	return (b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b == '-' || b == '_';
}

bool dns_name(const char *text, char out[static DNS_NAME_MAX])
{
	size_t n = strlen(text), label = 0;
	if (n && text[n - 1] == '.')
		n--;
	if (n == 0 || n > 253)
		return false;
	for (size_t i = 0; i < n; i++) {
		out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
		label = out[i] == '.' ? 0 : label + 1;
		if (label > 63 ||
		    (out[i] == '.' ? i == 0 || out[i - 1] == '.' : !label_byte(out[i])))
			return false;
	}
	out[n] = '\0';
	return label > 0;
}

const char *dns_type_name(enum dns_type t)
{
	switch (t) {
	case DNS_A:
		return "A";
	case DNS_PTR:
		return "PTR";
	case DNS_CNAME:
		return "CNAME";
	case DNS_MX:
		return "MX";
	case DNS_TXT:
		return "TXT";
	case DNS_AAAA:
		return "AAAA";
	case DNS_TLSA:
		return "TLSA";
	}
	return "?";
}

/* --- facts --- */

struct fact {
	struct dns_need q;
	struct dns_answer a;
};

struct dns_facts {
	struct fact *list;
	size_t n, cap;
	struct dns_need needs[DNS_NEEDS_MAX];
	size_t n_needs;
};

struct dns_facts *dns_facts_new(void *ctx)
{
	return talloc_zero(ctx, struct dns_facts);
}

static bool same(const struct dns_need *q, enum dns_type type, const char *name)
{
	return q->type == type && strcmp(q->name, name) == 0;
}

static void note_need(struct dns_facts *f, enum dns_type type, const char *name)
{
	for (size_t i = 0; i < f->n_needs; i++)
		if (same(&f->needs[i], type, name))
			return;
	if (f->n_needs == DNS_NEEDS_MAX)
		return; /* it will be asked for again, when those before it are known */
	struct dns_need *q = &f->needs[f->n_needs++];
	q->type = type;
	snprintf(q->name, sizeof q->name, "%s", name);
}

const struct dns_answer *dns_fact(struct dns_facts *f, enum dns_type type, const char *name)
{
	static const struct dns_answer no_name = {.status = DNS_NXDOMAIN},
				       too_many = {.status = DNS_TROUBLE,
						   .why = "too many questions"};
	char canonical[DNS_NAME_MAX];
	if (!dns_name(name, canonical))
		return &no_name;
	for (size_t i = 0; i < f->n; i++)
		if (same(&f->list[i].q, type, canonical))
			return &f->list[i].a;
	if (f->n + f->n_needs >= DNS_FACTS_MAX)
		return &too_many;
	note_need(f, type, canonical);
	return NULL;
}

void dns_fact_put(struct dns_facts *f, enum dns_type type, const char *name,
		  const struct dns_answer *a)
{
	if (f->n == f->cap) {
		f->cap = f->cap ? 2 * f->cap : 16;
		f->list = talloc_realloc(f, f->list, struct fact, f->cap);
	}
	struct fact *x = &f->list[f->n++];
	x->q.type = type;
	snprintf(x->q.name, sizeof x->q.name, "%s", name);
	x->a = *a;
}

size_t dns_facts_needs(struct dns_facts *f, struct dns_need out[static DNS_NEEDS_MAX])
{
	size_t n = f->n_needs;
	memcpy(out, f->needs, n * sizeof *out);
	f->n_needs = 0;
	return n;
}
