/*
 * ceiling - see ceiling.h.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: when more addresses are told something
 * within an hour than are known at once, the oldest begin a new hour.
 */
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "msa/queue/ceiling.h"

#define SLOTS 4096

struct known {
	char *to;
	int64_t since_ms;
	uint32_t n;
	struct ceiling_summary *summary; /* talloc'd under this */
	struct known *next;		 /* of the slot */
	struct known *older, *newer;
};

struct ceiling {
	uint32_t per_hour;
	size_t n, most;
	struct known *slots[SLOTS];
	struct known *oldest, *newest;
};

struct ceiling *ceiling_new(void *ctx, uint32_t per_hour, size_t addresses)
{
	struct ceiling *c = talloc_zero(ctx, struct ceiling);

	if (c) {
		c->per_hour = per_hour;
		c->most = addresses ? addresses : 1;
	}
	return c;
}

static struct known **slot_of(struct ceiling *c, const char *to)
{
	uint32_t h = 2166136261u;

	for (; *to; to++)
		h = (h ^ (uint8_t)(*to | 0x20)) * 16777619u;
	return &c->slots[h % SLOTS];
}

static void unlink_age(struct ceiling *c, struct known *k)
{
	*(k->older ? &k->older->newer : &c->oldest) = k->newer;
	*(k->newer ? &k->newer->older : &c->newest) = k->older;
}

static void link_newest(struct ceiling *c, struct known *k)
{
	k->newer = NULL;
	k->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = k;
	c->newest = k;
}

static void forget(struct ceiling *c, struct known *k)
{
	struct known **p = slot_of(c, k->to);

	while (*p != k)
		p = &(*p)->next;
	*p = k->next;
	unlink_age(c, k);
	c->n--;
	talloc_free(k);
}

static struct known *find(struct ceiling *c, const char *to)
{
	struct known *k = *slot_of(c, to);

	while (k && strcasecmp(k->to, to) != 0)
		k = k->next;
	return k;
}

static struct known *add(struct ceiling *c, const char *to, int64_t now_ms)
{
	struct known *k = talloc_zero(c, struct known), **slot = slot_of(c, to);

	if (!k || !(k->to = talloc_strdup(k, to))) {
		talloc_free(k);
		return NULL;
	}
	k->since_ms = now_ms;
	k->next = *slot;
	*slot = k;
	link_newest(c, k);
	c->n++;
	return k;
}

static bool over(const struct known *k, int64_t now_ms)
{
	return now_ms - k->since_ms >= CEILING_WINDOW_MS || now_ms < k->since_ms;
}

/* Its hour as it is now. */
static struct known *look(struct ceiling *c, const char *to, int64_t now_ms)
{
	struct known *k;

	while (c->oldest && (c->n >= c->most || over(c->oldest, now_ms)) &&
	       strcasecmp(c->oldest->to, to) != 0)
		forget(c, c->oldest);
	k = find(c, to);
	if (k && over(k, now_ms)) {
		forget(c, k);
		k = NULL;
	}
	return k ? k : add(c, to, now_ms);
}

bool ceiling_take(struct ceiling *c, const char *to, int64_t now_ms)
{
	struct known *k = c->per_hour ? look(c, to, now_ms) : NULL;

	if (!k || k->n < c->per_hour) {
		if (k)
			k->n++;
		return true;
	}
	return false;
}

struct ceiling_summary *ceiling_summary(struct ceiling *c, const char *to, int64_t now_ms)
{
	struct known *k = look(c, to, now_ms);

	if (k && !k->summary) {
		k->summary = talloc_zero(k, struct ceiling_summary);
		if (k->summary)
			k->summary->due_ms = k->since_ms + CEILING_WINDOW_MS;
	}
	return k ? k->summary : NULL;
}

bool ceiling_list(struct ceiling_summary *s, const struct dsn_rcpt *r, const char *about)
{
	struct dsn_rcpt *t = &s->rcpts[s->n];

	if (s->n == CEILING_LISTED) {
		s->more++;
		return true;
	}
	*t = *r;
	t->address = talloc_strdup(s, r->address);
	t->status = talloc_strdup(s, r->status);
	t->reply = talloc_strdup(s, r->reply);
	t->orcpt = talloc_strdup(s, r->orcpt ? r->orcpt : "");
	t->mta = talloc_strdup(s, r->mta ? r->mta : "");
	t->about = talloc_strdup(s, about);
	if (!t->address || !t->status || !t->reply || !t->orcpt || !t->mta || !t->about)
		return false;
	s->n++;
	return true;
}
