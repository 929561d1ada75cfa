/* Conversion to 7 bit: what is decoded afterwards is what was there, part by part; the octets are
 * the same however the message is cut; nothing but ASCII leaves. The first octet says whether the
 * message is binary. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/relay/mime_walk.h"
#include "msa/relay/sevenbit.h"

struct text {
	uint8_t *p; /* talloc'd */
	size_t n, cap;
};

static void add(struct text *t, const void *data, size_t n)
{
	if (t->n + n > t->cap) {
		t->cap = (t->n + n) * 2 + 64;
		t->p = talloc_realloc(NULL, t->p, uint8_t, (unsigned)t->cap);
	}
	if (n)
		memcpy(t->p + t->n, data, n);
	t->n += n;
}

static void out(const void *data, size_t n, void *arg)
{
	add(arg, data, n);
}

/* --- the bodies of a message's leaves, each after its number; encoded: decoded by its label --- */

struct reader {
	struct text all, leaf;
	const struct sevenbit_plan *plan; /* NULL: nothing is decoded */
};

static int digit(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void unqp(struct text *to, const struct text *from)
{
	for (size_t i = 0; i < from->n; i++) {
		if (from->p[i] != '=') {
			add(to, from->p + i, 1);
		} else if (i + 2 < from->n && from->p[i + 1] == '\r' && from->p[i + 2] == '\n') {
			i += 2;
		} else {
			if (i + 2 >= from->n || digit(from->p[i + 1]) < 0 ||
			    digit(from->p[i + 2]) < 0)
				abort();
			uint8_t c = (uint8_t)(digit(from->p[i + 1]) << 4 | digit(from->p[i + 2]));
			add(to, &c, 1);
			i += 2;
		}
	}
}

static void unbase64(struct text *to, const struct text *from)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t v = 0;
	unsigned bits = 0;

	for (size_t i = 0; i < from->n; i++) {
		const char *d = from->p[i] ? strchr(digits, from->p[i]) : NULL;
		if (!d && !strchr("\r\n=", from->p[i]))
			abort();
		if (!d)
			continue;
		v = v << 6 | (uint32_t)(d - digits);
		bits += 6;
		if (bits >= 8) {
			uint8_t c = (uint8_t)(v >> (bits -= 8));
			add(to, &c, 1);
		}
	}
}

static void on_header(const struct mime_entity *e, const char *text, size_t len, bool blank,
		      void *arg)
{
	struct reader *r = arg;

	(void)e;
	(void)text;
	(void)len;
	(void)blank;
	r->leaf.n = 0;
}

static void on_body(const struct mime_entity *e, const uint8_t *data, size_t n, void *arg)
{
	struct reader *r = arg;

	if (e->kind == MIME_LEAF)
		add(&r->leaf, data, n);
}

static void on_eol(const struct mime_entity *e, void *arg)
{
	on_body(e, (const uint8_t *)"\r\n", 2, arg);
}

static void on_leaf_end(const struct mime_entity *e, bool last, void *arg)
{
	struct reader *r = arg;
	uint8_t how = 0;

	(void)last;
	if (r->plan && e->number >= r->plan->n)
		abort();
	if (r->plan)
		how = r->plan->encodings[e->number] & 0xf;
	add(&r->all, &e->number, sizeof(e->number));
	if (how == 2 && e->cte != MIME_QP)
		abort();
	if (how == 3 && e->cte != MIME_BASE64)
		abort();
	if (how == 2)
		unqp(&r->all, &r->leaf);
	else if (how == 3)
		unbase64(&r->all, &r->leaf);
	else
		add(&r->all, r->leaf.p, r->leaf.n);
}

static void on_delimiter(const char *line, size_t n, bool before, bool after, void *arg)
{
	(void)line;
	(void)n;
	(void)before;
	(void)after;
	(void)arg;
}

static struct text read_leaves(const uint8_t *data, size_t n, bool binary,
			       const struct sevenbit_plan *plan)
{
	static const struct mime_handler h = {on_header, on_body, on_eol, on_leaf_end,
					      on_delimiter};
	struct reader r = {.plan = plan};
	struct mime_walk *w = mime_walk_new(NULL, binary, &h, &r);

	mime_walk_feed(w, data, n);
	mime_walk_end(w);
	if (mime_walk_trouble(w))
		abort();
	talloc_free(w);
	talloc_free(r.leaf.p);
	return r.all;
}

/* --- the same in pieces --- */

static struct sevenbit_plan *scan(const uint8_t *data, size_t n, bool binary, size_t step)
{
	struct sevenbit *s = sevenbit_scan(NULL, binary);

	for (size_t at = 0; at < n; at += step)
		sevenbit_feed(s, data + at, step < n - at ? step : n - at);
	(void)sevenbit_end(s);
	struct sevenbit_plan *p = sevenbit_plan(s, NULL);
	talloc_free(s);
	return p;
}

static struct text convert(const uint8_t *data, size_t n, bool binary,
			   const struct sevenbit_plan *plan, size_t step)
{
	struct text t = {.n = 0};
	struct sevenbit *s = sevenbit_convert(NULL, binary, plan, out, &t);

	for (size_t at = 0; at < n; at += step)
		sevenbit_feed(s, data + at, step < n - at ? step : n - at);
	if (!sevenbit_end(s))
		abort();
	talloc_free(s);
	return t;
}

static void same(const struct text *a, const struct text *b)
{
	if (a->n != b->n || (a->n && memcmp(a->p, b->p, a->n) != 0))
		abort();
}

static void check(const uint8_t *data, size_t n, bool binary, const struct sevenbit_plan *plan)
{
	struct text whole = convert(data, n, binary, plan, n + 1),
		    bytes = convert(data, n, binary, plan, 1);
	struct text before = read_leaves(data, n, binary, NULL);
	struct text after = read_leaves(whole.p, whole.n, false, plan);

	same(&whole, &bytes);
	same(&before, &after);
	for (size_t i = 0; i < whole.n; i++)
		if (whole.p[i] >= 0x80 || whole.p[i] == 0)
			abort();
	talloc_free(whole.p);
	talloc_free(bytes.p);
	talloc_free(before.p);
	talloc_free(after.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	bool binary = data[0] & 1;
	struct sevenbit_plan *plan = scan(data + 1, size - 1, binary, size),
			     *slow = scan(data + 1, size - 1, binary, 1);
	if (strcmp(plan->status, slow->status) != 0 || plan->n != slow->n)
		abort();
	if (!plan->status[0])
		check(data + 1, size - 1, binary, plan);
	talloc_free(plan);
	talloc_free(slow);
	return 0;
}
