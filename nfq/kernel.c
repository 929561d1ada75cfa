/*
 * kernel - nfqd's side of table inet sekisho (see daemon.h).
 *
 * The table belongs to sekisho-rules; here its sets are filled, its counters read, and it is
 * watched: a table that is gone, or made anew, is noticed within a second and filled again.
 *
 * Trusted with: keeping the kernel's allow sets equal to the policy. Diagnostics: log lines
 * "kernel ...", metrics, nfq.status. Known gaps: an element that somebody else changes by hand is
 * put right only by the next comparison (at the latest after a minute).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"

#include "nfq/daemon.h"

#define COMPARE_MS	60000 /* compare everything this often, whatever happens */
#define COMPARE_SOON_MS 10000 /* and this often when others change the ruleset */
#define STEP_MS		5000
#define CLOCK_JUMP_MS	1000
#define ALARM_PERCENT	80

const char *nfqd_state_name(enum nfqd_state s)
{
	static const char *const names[] = {"waiting-for-table", "no-queue-step", "running"};
	return names[s];
}

static void set_state(struct nfqd *d, enum nfqd_state s)
{
	static const char *const hints[NFQD_RUNNING] = {
	    "table inet sekisho is not loaded: run sekisho-rules load",
	    "nothing hands packets to the queue: run sekisho-rules load"};
	if (d->state == s)
		return;
	d->state = s;
	if (s == NFQD_RUNNING)
		log_event(LOG_NOTICE, "-", "kernel", nfqd_state_name(s));
	else
		log_event(LOG_ERR, "-", "kernel", nfqd_state_name(s), LS("hint", hints[s]));
}

static void check_fill(struct nfqd *d)
{
	size_t counts[NFTSET_COUNT];
	const char *name = NULL;
	ksync_fill(d->ksync, counts);
	for (unsigned i = 0; i < NFTSET_COUNT; i++)
		if (counts[i] * 100 > (size_t)d->conf.set_size * ALARM_PERCENT)
			name = nftset_name(i);
	if (name && !d->alarmed)
		log_event(
		    LOG_WARNING, "-", "kernel", "set-nearly-full", LS("set", name),
		    LI("size", d->conf.set_size),
		    LS("hint", "raise kernel-rules.set_size, then unload and load the rules"));
	d->alarmed = name != NULL;
}

static void report(struct nfqd *d, const char *what, const struct nftset_result *r)
{
	if (r->full > 0)
		log_event(
		    LOG_ERR, "-", "kernel", "set-full", LS("what", what), LI("elements", r->full),
		    LS("hint", "raise kernel-rules.set_size, then unload and load the rules"));
	if (r->failed > 0)
		log_event(LOG_ERR, "-", "kernel", "change-failed", LS("what", what),
			  LI("elements", r->failed), LS("reason", strerror(r->error)));
	if (r->full > 0)
		d->full = true;
}

/* --- policy into sets ------------------------------------------------------------ */

static bool put_policy(struct nfqd *d, bool everything, struct ksync_result *r)
{
	int64_t utc = clock_utc_ms();
	if (!everything) {
		*r = ksync_flush(d->ksync, d->sets, shared_policy(d->shared), utc);
		return true;
	}
	d->full = false;
	if (!ksync_full(d->ksync, d->sets, shared_policy(d->shared), utc, clock_mono_ms(), r)) {
		log_event(LOG_ERR, "-", "kernel", "sets-unreadable", LS("reason", strerror(errno)),
			  LS("hint", "is the table of this version? run sekisho-rules load"));
		return false;
	}
	d->compared_ms = clock_mono_ms();
	d->others = false;
	return true;
}

void kernel_apply(struct nfqd *d, bool everything)
{
	struct ksync_result r = {0};
	uint64_t version = policy_version(shared_policy(d->shared));
	if (d->state == NFQD_WAITING || !d->policy_known || !put_policy(d, everything, &r))
		return;
	report(d, "exemptions", &r.sets);
	/* The mirror of the sets is wrong now: read them again soon. */
	d->others |= r.sets.failed > 0;
	if (r.changed > 0)
		log_event(everything ? LOG_INFO : LOG_DEBUG, "-", "kernel", "policy-applied",
			  LI("version", version), LI("elements", r.changed));
	/* A set that is full leaves its exemptions to the verdict path: they are in force, only
	 * slower. */
	if (r.sets.failed > 0)
		return;
	if (version != d->applied && d->feed)
		(void)feed_applied(d->feed, version);
	d->applied = version;
	check_fill(d);
}

/* --- watching -------------------------------------------------------------------- */

/* Others' transactions since the last look. */
static bool others_changed(struct nfqd *d)
{
	uint32_t gen, commits = nftset_commits(d->sets);
	if (!nftset_generation(d->sets, &gen))
		return false;
	bool changed = (int32_t)((gen - d->gen) - (commits - d->commits)) > 0;
	d->gen = gen;
	d->commits = commits;
	return changed;
}

/* False: there is no table. */
static bool watch_table(struct nfqd *d, bool *anew)
{
	uint64_t handle;
	int there = nftset_table(d->sets, &handle);
	*anew = there == 1 && handle != d->table;
	if (there == -1)
		log_event(LOG_ERR, "-", "kernel", "unreadable", LS("reason", strerror(errno)));
	if (there != 1) {
		d->table = 0;
		d->note[0] = '\0';
		d->applied = 0;
		ksync_forget(d->ksync);
		set_state(d, NFQD_WAITING);
		return false;
	}
	d->table = handle;
	if (*anew)
		ksync_forget(d->ksync);
	return true;
}

static void watch_steps(struct nfqd *d, int64_t mono)
{
	const int both = NFTSET_STEP_XT4 | NFTSET_STEP_XT6;
	if (d->state == NFQD_RUNNING && mono - d->checked_steps_ms < STEP_MS)
		return;
	d->checked_steps_ms = mono;
	d->steps = nftset_steps(d->sets);
	(void)nftset_note(d->sets, d->note);
	bool complete = (d->steps & NFTSET_STEP_NFT) || (d->steps & both) == both;
	set_state(d, complete ? NFQD_RUNNING : NFQD_NO_STEP);
}

struct edges {
	struct ksync *ksync;
	int64_t from_ms, to_ms;
};

static bool mark_edge(const struct policy_entry *e, void *arg)
{
	const struct edges *x = arg;
	const int64_t times[] = {e->starts_ms, e->expires_ms};
	for (size_t i = 0; i < 2; i++)
		if (times[i] > x->from_ms && times[i] <= x->to_ms)
			ksync_dirty(x->ksync, &e->prefix);
	return true;
}

/* The walk over all exemptions is for the moments in which one begins or ends. */
int64_t kernel_edges(struct nfqd *d)
{
	const struct policy *policy = shared_policy(d->shared);
	int64_t utc = clock_utc_ms();
	struct edges x = {d->ksync, d->edges_ms, utc};
	if (d->next_edge_ms == EDGE_UNKNOWN)
		d->next_edge_ms = policy_next_edge(policy, d->edges_ms);
	if (d->next_edge_ms != 0 && d->next_edge_ms <= utc) {
		policy_each(policy, mark_edge, &x);
		kernel_apply(d, false);
		d->edges_ms = utc;
		d->next_edge_ms = policy_next_edge(policy, utc);
	}
	return d->next_edge_ms == 0 ? -1 : d->next_edge_ms - utc;
}

void kernel_expect(struct nfqd *d, const struct policy_entry *e)
{
	const int64_t times[] = {e->starts_ms, e->expires_ms};
	for (size_t i = 0; i < 2 && d->next_edge_ms != EDGE_UNKNOWN; i++)
		if (times[i] > d->edges_ms && (d->next_edge_ms == 0 || times[i] < d->next_edge_ms))
			d->next_edge_ms = times[i];
}

static bool clock_jumped(struct nfqd *d, int64_t utc, int64_t mono)
{
	int64_t moved = utc - mono - d->clock_offset_ms;
	d->clock_offset_ms = utc - mono;
	if (moved < CLOCK_JUMP_MS && moved > -CLOCK_JUMP_MS)
		return false;
	log_event(LOG_NOTICE, "-", "kernel", "clock-jumped", LI("ms", moved));
	d->edges_ms = utc;
	d->next_edge_ms = EDGE_UNKNOWN;
	return true;
}

static void read_counter(const char *name, uint64_t packets, void *arg)
{
	struct nfqd *d = arg;
	struct nfqd_counter *c = d->counters;
	for (; c < d->counters + d->n_counters; c++)
		if (strcmp(c->name, name) == 0)
			break;
	if (c == d->counters + MAX_COUNTERS || strlen(name) >= sizeof c->name)
		return;
	if (c == d->counters + d->n_counters) {
		(void)snprintf(c->name, sizeof c->name, "%s", name);
		d->n_counters++;
	}
	c->packets = packets;
}

uint64_t kernel_counter(const struct nfqd *d, const char *name)
{
	for (unsigned i = 0; i < d->n_counters; i++)
		if (strcmp(d->counters[i].name, name) == 0)
			return d->counters[i].packets;
	return 0;
}

void kernel_tick(struct nfqd *d)
{
	int64_t utc = clock_utc_ms(), mono = clock_mono_ms();
	bool anew, jumped = clock_jumped(d, utc, mono);
	if (!watch_table(d, &anew))
		return;
	watch_steps(d, mono);
	d->others |= others_changed(d);
	int64_t age = mono - d->compared_ms;
	if (anew || jumped || age >= COMPARE_MS || (d->others && age >= COMPARE_SOON_MS))
		kernel_apply(d, true);
	if (ksync_pending(d->ksync))
		kernel_apply(d, false);
	ksync_expire(d->ksync, mono);
	(void)nftset_counters(d->sets, read_counter, d);
}

/* --- learning and counting ------------------------------------------------------- */

static void learn_source(const struct worker_refused *r, void *arg)
{
	struct nfqd *d = arg;
	const struct addr *src = &r->src;
	struct addr key;
	int64_t utc = clock_utc_ms();
	verdict_source_key(src, &key);
	lines_refused(d, r);
	/* An exemption may have come since. */
	if (d->conf.deny_timeout > 0 && d->state != NFQD_WAITING &&
	    !policy_match(shared_policy(d->shared), src, utc))
		ksync_learn(d->ksync, &key, clock_mono_ms(), d->conf.deny_timeout);
}

void kernel_learn(struct nfqd *d)
{
	for (unsigned i = 0; i < d->n_workers; i++)
		(void)worker_learned(d->workers[i], learn_source, d);
	struct nftset_result r = ksync_learn_flush(d->ksync, d->sets);
	if (r.full > 0 && !d->full)
		report(d, "refused sources", &r);
}

struct harvest {
	struct nfqd *d;
	enum event_kind kind;
	bool pair;
	int64_t since_ms;
};

/* Refused sources are told as the deny sets know them; an exempt one is told as it is. */
static void count(const struct nftset_elem *e, void *arg)
{
	const struct harvest *h = arg;
	struct addr src = e->src;
	if (h->kind == EVENT_BLOCK)
		verdict_source_key(&e->src, &src);
	if (h->kind == EVENT_BLOCK && h->pair)
		lines_count(h->d, &src, &e->dst, e->packets);
	stats_count(h->d->stats, h->kind, &src, h->pair ? &e->dst : NULL, e->packets, h->since_ms);
}

/* What is not taken out goes on counting in the kernel. */
void kernel_harvest(struct nfqd *d, size_t max)
{
	static const struct {
		enum nftset_id set;
		enum event_kind kind;
		bool pair;
	} from[HARVESTS] = {
	    {NFTSET_REFUSED4, EVENT_BLOCK, true}, {NFTSET_REFUSED6, EVENT_BLOCK, true},
	    {NFTSET_PASSED4, EVENT_PASS, true},	  {NFTSET_PASSED6, EVENT_PASS, true},
	    {NFTSET_SEEN4, EVENT_BLOCK, false},	  {NFTSET_SEEN6, EVENT_BLOCK, false}};
	if (d->state == NFQD_WAITING)
		return;
	unsigned first = d->harvest_turn;
	for (unsigned n = 0; n < HARVESTS && max > 0; n++) {
		unsigned i = (first + n) % HARVESTS;
		int64_t now = clock_utc_ms();
		struct harvest h = {d, from[i].kind, from[i].pair, d->harvested_ms[i]};
		int64_t got = nftset_harvest(d->sets, from[i].set, max, count, &h);
		if (got < 0 && errno != ENOENT)
			log_event(LOG_ERR, "-", "kernel", "harvest-failed",
				  LS("set", nftset_name(from[i].set)),
				  LS("reason", strerror(errno)));
		if (got < 0)
			continue;
		/* One that was not emptied has its turn first the next time. */
		d->harvest_turn = (size_t)got < max ? 0 : i;
		d->harvested_ms[i] = now;
		max -= (size_t)got;
	}
}
