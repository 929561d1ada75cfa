/*
 * dest - destinations: whose mail waits, how many connections it may have, when it is tried again.
 *
 * Purpose: a destination that is slow or dead costs nobody else anything: its mail goes back to the
 * parent, which keeps it until the pause is over. Trusted with: nothing of its own. Diagnostics:
 * log lines destination-down, destination-up. Known gaps: none.
 */
#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "msa/relay/relay_int.h"
#include "msa/relay/sts_cache.h"

#define KNOWN_MS       60000  /* then its servers are looked up again */
#define FORGET_MS      600000 /* after the last use */
#define FIXED_MAX_MS   30000  /* of pauses, when the operator named the hosts */
#define LIES_MS	       3600000
#define STREAK_MAX     8 /* transactions lost one after the other: it is down */
#define COMING_UP_ROOM 4 /* connections being opened, in connections allowed */

static void start_lookup(struct dest *d);

/* --- names --------------------------------------------------------------------------------- */

static size_t slot_of(const char *name)
{
	uint64_t h = 14695981039346656037u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 1099511628211u;
	return (size_t)((h ^ (h >> 32)) % DESTS_HASH);
}

static bool is_default(const struct dest *d)
{
	return strcmp(d->name, "route:default") == 0;
}

static void set_route(struct dest *d, const struct route_choice *c)
{
	struct relay *r = d->r;
	struct pace_rules rules = {.most = (uint32_t)c->route->connections,
				   .pause_min = r->cfg.pause_min_ms,
				   .pause_max = r->cfg.pause_max_ms,
				   .rate = c->route->rate};

	if (d->table)
		talloc_unlink(d, d->table);
	d->table = talloc_reference(d, r->table);
	d->route = c->route;
	d->host = c->host;
	snprintf(d->domain, sizeof(d->domain), "%s", c->domain);
	if (!d->domain[0] && rules.pause_max > FIXED_MAX_MS)
		rules.pause_max = rules.pause_min > FIXED_MAX_MS ? rules.pause_min : FIXED_MAX_MS;
	if (d->pace.rules.most)
		pace_set_rules(&d->pace, &rules);
	else
		pace_init(&d->pace, &rules);
	if (d->state == DEST_KNOWN)
		d->state = DEST_COLD;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	dest_pump(arg);
}

struct dest *dest_of(struct relay *r, const struct route_choice *c, bool lax)
{
	char name[ROUTE_NAME_MAX];
	struct dest **slot = &r->dests[slot_of(route_destination(c, name))], *d;

	for (d = *slot; d; d = d->hash_next)
		if (d->lax == lax && strcmp(d->name, name) == 0)
			break;
	if (!d) {
		d = talloc_zero(NULL, struct dest);
		if (!d || !(d->timer = event_new(r->base, -1, 0, on_timer, d)))
			fatal("out of memory");
		d->r = r;
		d->lax = lax;
		memcpy(d->name, name, sizeof(d->name));
		d->hash_next = *slot;
		*slot = d;
		r->n_dests++;
	}
	if (d->table != r->table)
		set_route(d, c);
	d->used_at = clock_mono_ms();
	return d;
}

static void free_dest(struct dest *d)
{
	struct dest **p = &d->r->dests[slot_of(d->name)];

	while (*p != d)
		p = &(*p)->hash_next;
	*p = d->hash_next;
	d->r->n_dests--;
	lookup_cancel(d->lookup);
	event_free(d->timer);
	talloc_free(d);
}

static bool unused(const struct dest *d, int64_t now)
{
	return !d->first && !d->peers && d->state != DEST_LOOKING && now - d->used_at > FORGET_MS &&
	       pace_wait(&d->pace, now) == 0;
}

void dest_sweep(struct relay *r)
{
	int64_t now = clock_mono_ms();

	for (size_t i = 0; i < DESTS_HASH; i++)
		for (struct dest *d = r->dests[i], *next; d; d = next) {
			next = d->hash_next;
			if (unused(d, now))
				free_dest(d);
		}
}

void dest_free_all(struct relay *r)
{
	for (size_t i = 0; i < DESTS_HASH; i++)
		while (r->dests[i])
			free_dest(r->dests[i]);
}

/* --- the queue ----------------------------------------------------------------------------- */

static void set_waiting(struct dest *d)
{
	struct relay *r = d->r;
	bool want = d->first != NULL;

	if (want == d->waiting)
		return;
	d->waiting = want;
	if (want && !r->waiting) {
		r->waiting = d->prev = d->next = d;
	} else if (want) { /* a ring; the last is before the first */
		d->next = r->waiting;
		d->prev = r->waiting->prev;
		d->prev->next = d->next->prev = d;
	} else {
		if (r->waiting == d)
			r->waiting = d->next == d ? NULL : d->next;
		d->prev->next = d->next;
		d->next->prev = d->prev;
	}
}

static void insert(struct dest *d, struct part *p, bool front)
{
	p->prev = front ? NULL : d->last;
	p->next = front ? d->first : NULL;
	*(p->prev ? &p->prev->next : &d->first) = p;
	*(p->next ? &p->next->prev : &d->last) = p;
	p->peer = NULL;
	d->n_queued++;
	d->used_at = clock_mono_ms();
	set_waiting(d);
	event_active(d->r->pump, EV_TIMEOUT, 0);
}

void dest_put(struct dest *d, struct part *p)
{
	insert(d, p, false);
}

void dest_take_out(struct dest *d, struct part *p)
{
	*(p->prev ? &p->prev->next : &d->first) = p->next;
	*(p->next ? &p->next->prev : &d->last) = p->prev;
	p->prev = p->next = NULL;
	d->n_queued--;
	set_waiting(d);
}

int64_t dest_wait(const struct dest *d)
{
	return pace_wait(&d->pace, clock_mono_ms());
}

static uint32_t share(const struct dest *d)
{
	return pace_connections(&d->pace) * 4 + 4;
}

/* While there is room for everybody nobody is held to a share. */
bool dest_full(const struct dest *d)
{
	return d->r->works.n > d->r->window / 2 && d->n_queued >= share(d);
}

/* A lane holds mail that a policy keeps back and mail whose sender does not care for it: that one
 * must not wait behind the other. */
const char *dest_lane(const struct dest *d)
{
	return d->lax || d->insecure ? "" : d->name;
}

static void tell_lane(struct dest *d)
{
	uint32_t n = share(d) + (uint32_t)d->n_peers;

	if (!dest_lane(d)[0])
		return;
	if (dest_wait(d) > 0 ? d->told_limit == 0
			     : n * 2 > d->told_limit * 3 || n * 3 < d->told_limit * 2)
		relay_tell_lane(d->r, d, n);
	d->told_limit = dest_wait(d) > 0 ? 0 : n;
}

/* --- down and up ----------------------------------------------------------------------------- */

static void say_up(struct dest *d, bool up)
{
	if (d->said && d->said_up == up)
		return;
	if (d->said || !up)
		log_event(up ? LOG_NOTICE : LOG_WARNING, "-", "relay",
			  up ? "destination-up" : "destination-down", LS("destination", d->name),
			  LS("why", up ? "connected" : d->why), LI("pause_ms", dest_wait(d)));
	d->said = true;
	d->said_up = up;
	if (is_default(d))
		relay_tell_host(d->r, up, up ? "connected" : d->why);
}

static void forget_servers(struct dest *d)
{
	if (d->state == DEST_KNOWN)
		d->state = DEST_COLD;
	d->bad = 0;
}

const char *dest_status(const struct dest *d, const char *dflt)
{
	return d->insecure ? STATUS_INSECURE : d->locked_out ? STATUS_LOCKED_OUT : dflt;
}

/* One message tells the story; the others wait with the parent. */
static void close_dest(struct dest *d, const char *status)
{
	struct relay *r = d->r;
	struct part *p = d->first;

	pace_close(&d->pace, clock_mono_ms(), relay_random());
	forget_servers(d);
	d->streak = 0;
	d->used_at = clock_mono_ms();
	say_up(d, false);
	tell_lane(d);
	if (r->draining || !p)
		return;
	dest_take_out(d, p);
	work_part_settle(r, p, RELAY_DEFERRED, dest_status(d, status), d->why);
	while ((p = d->first)) {
		dest_take_out(d, p);
		work_part_later(r, p, dest_wait(d) + relay_random() % 500, d->why);
	}
}

/* They are refused for good. */
static void refuse_all(struct dest *d, const char *status, const char *why)
{
	struct part *p;

	while ((p = d->first)) {
		dest_take_out(d, p);
		work_part_settle(d->r, p, RELAY_BOUNCED, status, why);
	}
	forget_servers(d);
}

void dest_good(struct dest *d)
{
	d->streak = 0;
	pace_good(&d->pace);
	tell_lane(d);
}

void dest_less(struct dest *d, const char *why)
{
	pace_less(&d->pace);
	snprintf(d->why, sizeof(d->why), "%s", why);
	if (++d->streak >= STREAK_MAX)
		close_dest(d, "4.4.2");
	else
		tell_lane(d);
}

void dest_reopen_all(struct relay *r)
{
	for (size_t i = 0; i < DESTS_HASH; i++)
		for (struct dest *d = r->dests[i]; d; d = d->hash_next) {
			pace_reopen(&d->pace);
			tell_lane(d);
		}
	event_active(r->pump, EV_TIMEOUT, 0);
}

/* --- servers --------------------------------------------------------------------------------- */

/* The address to try; -1 when none is left. */
static int next_addr(const struct dest *d)
{
	for (size_t i = 0; i < d->list->n_addrs; i++)
		if (!(d->bad & UINT64_C(1) << i))
			return (int)i;
	return -1;
}

/* A session that was not begun counts as one that failed. */
static void tell_unnamed(struct dest *d, const struct mx_addr *a)
{
	struct tls_policy p = {d->domain, &d->list->hosts[a->host], d->sts};

	if (d->r->tls_counts)
		tls_count(d->r->tls_counts, &p, TLSRPT_VALIDATION_FAILURE, &a->a, NULL,
			  "the policy does not name this server");
}

static void tell_withheld(struct dest *d, const struct mx_list *list)
{
	struct mx_host h = list->n_hosts ? list->hosts[0] : (struct mx_host){.port = 25};
	struct tls_policy p = {d->domain, &h, NULL};

	h.dane = true;
	if (d->r->tls_counts && d->domain[0] && list->n_hosts)
		tls_count(d->r->tls_counts, &p, TLSRPT_DNSSEC_INVALID, NULL, NULL, list->why);
}

/* MTA-STS: a server that the policy does not name gets nothing (RFC 8461 5). */
static void heed_sts(struct dest *d)
{
	if (!d->sts || d->sts->mode != STS_ENFORCE)
		return;
	for (size_t i = 0; i < d->list->n_addrs; i++) {
		const struct mx_host *h = &d->list->hosts[d->list->addrs[i].host];
		if (!h->dane && !sts_allows(d->sts, h->name)) {
			d->bad |= UINT64_C(1) << i;
			tell_unnamed(d, &d->list->addrs[i]);
		}
	}
	if (next_addr(d) >= 0)
		return;
	snprintf(d->why, sizeof(d->why),
		 "%.255s: its MTA-STS policy names none of its mail servers", d->domain);
	d->insecure = true;
	close_dest(d, STATUS_INSECURE);
}

static void servers_known(struct dest *d)
{
	d->state = DEST_KNOWN;
	d->known_at = clock_mono_ms();
	d->bad = 0;
	d->insecure = d->locked_out = false;
	heed_sts(d);
	event_active(d->r->pump, EV_TIMEOUT, 0);
}

static void on_sts(struct sts_policy *policy, void *arg)
{
	struct dest *d = arg;

	talloc_free(d->sts);
	d->sts = talloc_steal(d, policy);
	servers_known(d);
}

static bool wants_sts(const struct dest *d)
{
	return d->r->stss && !d->lax && d->route->tls == ROUTE_TLS_DANE && d->domain[0] &&
	       d->domain[0] != '[';
}

/* TLSA records that are withheld are as good as a certificate that does not hold. */
static void close_unknown(struct dest *d, const struct mx_list *list)
{
	d->insecure = strcmp(list->status, STATUS_INSECURE) == 0;
	if (d->insecure)
		tell_withheld(d, list);
	close_dest(d, list->status);
}

static void on_servers(struct mx_list *list, void *arg)
{
	struct dest *d = arg;

	d->lookup = NULL;
	if (list->result != MX_FOUND) {
		d->state = DEST_COLD;
		snprintf(d->why, sizeof(d->why), "%.440s", list->why);
		if (list->result == MX_REFUSED)
			refuse_all(d, list->status, list->why);
		else
			close_unknown(d, list);
		talloc_free(list);
		return;
	}
	if (d->list)
		talloc_unlink(d, d->list);
	d->list = talloc_steal(d, list);
	if (wants_sts(d))
		sts_get(d->r->stss, d->domain, on_sts, d);
	else
		servers_known(d);
}

static void start_lookup(struct dest *d)
{
	struct relay *r = d->r;
	struct mx_ask ask = {.domain = d->domain,
			     .hosts = d->host ? d->host : d->route->list,
			     .n_hosts = d->host ? 1 : d->route->n,
			     .self = (const char *const *)r->self_names,
			     .n_self = r->n_self_names,
			     .own = r->own,
			     .dane =
				 d->route->tls == ROUTE_TLS_DANE && !d->lax && r->cfg.dns_anchor[0],
			     .random = relay_random()};
	struct dns *dns = relay_dns(r);

	if (!dns) {
		snprintf(d->why, sizeof(d->why), "the DNS cannot be asked here");
		close_dest(d, "4.4.3");
		return;
	}
	d->state = DEST_LOOKING;
	struct lookup *l = lookup_start(dns, &ask, on_servers, d);
	if (d->state == DEST_LOOKING)
		d->lookup = l;
}

/* --- connections ----------------------------------------------------------------------------- */

static struct peer *idle_peer(const struct dest *d)
{
	struct peer *c = d->peers;

	while (c && !peer_idle(c))
		c = peer_next(c);
	return c;
}

/* An idle connection of another destination gives way. */
static bool room_for_one(struct dest *d)
{
	struct relay *r = d->r;

	if (r->n_coming_up >= (size_t)r->cfg.connections * COMING_UP_ROOM)
		return false;
	if (r->n_up < r->cfg.connections)
		return true;
	if (!r->idle)
		return false;
	peer_quit(r->idle);
	return true;
}

/* A stranger is looked at with one connection first. */
static uint32_t may_come_up(const struct dest *d)
{
	return d->domain[0] && !d->said_up ? 1 : pace_connections(&d->pace);
}

static bool may_open(struct dest *d)
{
	return d->n_peers < may_come_up(d) && d->n_coming_up < d->n_queued && room_for_one(d);
}

static void give_next(struct dest *d, struct peer *c)
{
	struct part *p = d->first;

	dest_take_out(d, p);
	pace_take(&d->pace, clock_mono_ms());
	p->peer = c;
	peer_give(c, p);
}

/* True when the rate allows one more; else the timer comes back. */
static bool in_rate(struct dest *d)
{
	int64_t ms = pace_rate_wait(&d->pace, clock_mono_ms());
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	if (ms == 0)
		return true;
	event_add(d->timer, &tv);
	return false;
}

void dest_pump(struct dest *d)
{
	struct peer *c;
	int64_t now = clock_mono_ms();

	if (d->r->draining || !d->first || d->state == DEST_LOOKING || dest_wait(d) > 0)
		return;
	while (d->first && (c = idle_peer(d)) && in_rate(d))
		give_next(d, c);
	if (!d->first || !in_rate(d))
		return;
	if (d->state == DEST_COLD || (now - d->known_at > KNOWN_MS && !d->n_coming_up)) {
		start_lookup(d);
		return;
	}
	while (d->first && d->state == DEST_KNOWN && may_open(d)) {
		int i = next_addr(d);
		if (i < 0)
			break;
		peer_open(d, (size_t)i);
	}
}

void dest_pump_all(struct relay *r)
{
	size_t n = 0;

	if (!r->waiting)
		return;
	for (struct dest *d = r->waiting->next; d != r->waiting; d = d->next)
		n++;
	for (n++; n && r->waiting; n--) {
		struct dest *d = r->waiting;
		r->waiting = d->next;
		dest_pump(d);
	}
}

void dest_set_clear(struct dest *d, const struct addr *a, int64_t until)
{
	unsigned i = d->n_clear++ % DEST_CLEAR;

	d->clear[i].a = *a;
	d->clear[i].until = until;
}

bool dest_is_clear(const struct dest *d, const struct addr *a)
{
	int64_t now = clock_mono_ms();

	for (unsigned i = 0; i < DEST_CLEAR; i++)
		if (d->clear[i].until > now && addr_eq(&d->clear[i].a, a))
			return true;
	return false;
}

unsigned dest_lies(const struct dest *d, const struct addr *a)
{
	int64_t now = clock_mono_ms();
	unsigned lies = 0;

	for (unsigned i = 0; i < DEST_CLEAR; i++)
		if (d->liars[i].until > now && addr_eq(&d->liars[i].a, a))
			lies |= d->liars[i].lies;
	return lies;
}

void dest_add_lies(struct dest *d, const struct addr *a, unsigned lies)
{
	unsigned i = d->n_liars % DEST_CLEAR;

	if (!(lies & ~dest_lies(d, a)))
		return;
	d->n_liars++;
	d->liars[i].a = *a;
	d->liars[i].lies = lies;
	d->liars[i].until = clock_mono_ms() + LIES_MS;
}

void dest_peer_ready(struct dest *d, struct peer *c)
{
	if (d->r->draining) {
		peer_quit(c);
		return;
	}
	d->streak = 0;
	d->insecure = d->locked_out = false;
	if (pace_probing(&d->pace))
		dest_good(d);
	say_up(d, true);
	if (d->first && in_rate(d))
		give_next(d, c);
}

void dest_peer_failed(struct dest *d, const struct addr *a, uint16_t port, const char *why,
		      const struct smtp_client *how)
{
	d->insecure |= how->insecure;
	d->locked_out |= how->locked_out;
	snprintf(d->why, sizeof(d->why), "%s", why);
	if (d->r->draining || d->state != DEST_KNOWN)
		return;
	if (d->n_peers > d->n_coming_up) { /* others work: there are too many */
		dest_less(d, why);
		return;
	}
	for (size_t i = 0; i < d->list->n_addrs; i++)
		if (addr_eq(&d->list->addrs[i].a, a) &&
		    d->list->hosts[d->list->addrs[i].host].port == port)
			d->bad |= UINT64_C(1) << i;
	if (next_addr(d) < 0 && d->n_coming_up == 0)
		close_dest(d, "4.4.1");
}

void dest_peer_gone(struct dest *d, struct part *p)
{
	struct relay *r = d->r;

	if (p && !r->draining)
		insert(d, p, true);
	event_active(r->pump, EV_TIMEOUT, 0);
	relay_exit_when_done(r);
}

void dest_each_peer(struct relay *r, void (*fn)(struct peer *c))
{
	for (size_t i = 0; i < DESTS_HASH; i++)
		for (struct dest *d = r->dests[i]; d; d = d->hash_next)
			for (struct peer *c = d->peers, *next; c; c = next) {
				next = peer_next(c);
				fn(c);
			}
}
