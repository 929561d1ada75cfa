/*
 * kernel - nfqd's side of the tables ip and ip6 sekisho (see daemon.h).
 *
 * The table belongs to sekisho-rules; here its sets are filled, its counters read, and it is
 * watched: a table that is gone, or made anew, is noticed within a second and filled again.
 *
 * Trusted with: keeping the kernel's allow sets equal to the policy. Diagnostics: log lines
 * "kernel ...", metrics, nfq.status. Known gaps: with more than SMALL exemptions, an element
 * that somebody else changes by hand is put right only when their number tells, or with its
 * exemption.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"

#include "nfq/daemon.h"

#define COMPARE_MS	60000 /* a full set is tried again this often */
#define COMPARE_SOON_MS 10000 /* look after the sets this often when others change the ruleset */
#define SMALL		3000  /* elements that are put in again as a whole, in one transaction */
#define STEP_MS		5000
#define UNNOTED_SKEW	100 /* packets */
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
	    "tables ip and ip6 sekisho are not loaded: run sekisho-rules load",
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
	size_t counts[NFTSET_FILLED];
	const char *name = NULL;
	ksync_fill(d->ksync, counts);
	for (unsigned i = 0; i < NFTSET_FILLED; i++)
		if (counts[i] * 100 > (size_t)d->conf.set_size * ALARM_PERCENT)
			name = nftset_label(i);
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

/* Which sets there are, and how many elements they have. */
static bool look(struct nfqd *d)
{
	bool ok = nftset_look(d->sets);
	if (!ok && !d->look_failed)
		log_event(LOG_ERR, "-", "kernel", "sets-unreadable", LS("reason", strerror(errno)),
			  LS("hint", "is the table of this version? run sekisho-rules load"));
	if (!ok)
		shared_settle(d->shared, false); /* nobody knows when */
	d->look_failed = !ok;
	return ok;
}

/* Few elements are cheaply put in again; of many only their number is compared. */
static bool worth_refill(const struct nfqd *d)
{
	size_t counts[NFTSET_FILLED], n = 0;
	ksync_fill(d->ksync, counts);
	for (unsigned i = 0; i < NFTSET_DENY4; i++)
		n += counts[i];
	return n <= SMALL || ksync_differs(d->ksync, d->sets);
}

static struct ksync_result put_policy(struct nfqd *d, enum kernel_how how)
{
	const struct policy *p = shared_policy(d->shared);
	int64_t utc = clock_utc_ms();
	if (how == KERNEL_DIRTY)
		return ksync_flush(d->ksync, d->sets, p, utc);
	d->full = d->failed = d->owed = d->others = false;
	d->changed = 0;
	d->compared_ms = clock_mono_ms();
	if (how == KERNEL_ALL && !worth_refill(d))
		return ksync_full(d->ksync, d->sets, p, utc);
	return ksync_refill(d->ksync, d->sets, p, utc);
}

/* A comparison is over. */
static void compared(struct nfqd *d)
{
	if (d->changed > 0)
		log_event(LOG_INFO, "-", "kernel", "policy-applied", LI("version", d->applied),
			  LI("elements", d->changed));
	d->changed = 0;
}

static void go_on_later(struct nfqd *d)
{
	static const struct timeval now = {0, 0};
	if (ksync_busy(d->ksync) && !event_pending(d->step_event, EV_TIMEOUT, NULL))
		(void)event_add(d->step_event, &now);
}

/*
 * What a transaction or a slice came to. The version is in force when nothing of it was put off,
 * and no comparison is under way that its predecessor had not been through: nfqd judges what the
 * sets do not hold, but not what they should not.
 */
static void applied(struct nfqd *d, const struct ksync_result *r)
{
	report(d, "exemptions", &r->sets);
	d->failed |= r->sets.failed > 0;
	shared_settle(d->shared, ksync_limited_owed(d->ksync));
	go_on_later(d);
	/* A set that is full leaves its exemptions to the verdict path: they are in force, only
	 * slower. */
	if (r->sets.failed > 0 || ksync_behind(d->ksync) ||
	    (d->applied == 0 && ksync_busy(d->ksync)))
		return;
	d->applied = policy_version(shared_policy(d->shared));
	kernel_tell(d);
	check_fill(d);
}

void kernel_apply(struct nfqd *d, enum kernel_how how)
{
	d->owed |= how != KERNEL_DIRTY;
	if (d->state == NFQD_WAITING || !d->policy_known || d->look_failed)
		return;
	if (how == KERNEL_ALL && !look(d))
		return;
	shared_settle(d->shared, true);
	const struct ksync_result r = put_policy(d, how);
	if (how != KERNEL_DIRTY)
		d->changed += r.changed;
	else if (r.changed > 0)
		log_event(LOG_DEBUG, "-", "kernel", "policy-applied",
			  LI("version", policy_version(shared_policy(d->shared))),
			  LI("elements", r.changed));
	applied(d, &r);
	if (how != KERNEL_DIRTY && !ksync_busy(d->ksync))
		compared(d);
}

static void step(struct nfqd *d)
{
	const struct ksync_result r =
	    ksync_step(d->ksync, d->sets, shared_policy(d->shared), clock_utc_ms());
	d->changed += r.changed;
	applied(d, &r);
	if (!ksync_busy(d->ksync))
		compared(d);
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
	struct nfqd *d = arg;
	(void)fd, (void)what;
	/* Without tables there is nothing to go on with. */
	if (d->state != NFQD_WAITING && ksync_busy(d->ksync))
		step(d);
}

void kernel_start(struct nfqd *d)
{
	d->step_event = event_new(d->base, -1, 0, on_step, d);
	if (!d->step_event)
		fatal("out of memory");
	kernel_tick(d);
	while (d->state != NFQD_WAITING && ksync_busy(d->ksync))
		step(d);
}

void kernel_tell(struct nfqd *d)
{
	if (d->applied != d->told && d->feed && policy_store_has(d->store, d->applied) &&
	    feed_applied(d->feed, d->applied))
		d->told = d->applied;
}

/* --- watching -------------------------------------------------------------------- */

/* Others' transactions since the last look. */
static bool others_changed(struct nfqd *d)
{
	uint32_t gen, own = alive_commits(d->alive), commits = nftset_commits(d->sets) + own / 2;
	/* Nothing of ours between the two, or later. */
	if (own % 2 == 1 || !nftset_generation(d->sets, &gen) || own != alive_commits(d->alive))
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
		alive_tables(d->alive, false);
		d->table = 0;
		d->note[0] = '\0';
		d->applied = 0;
		ksync_forget(d->ksync);
		set_state(d, NFQD_WAITING);
		return false;
	}
	d->table = handle;
	if (*anew) {
		alive_tables(d->alive, true);
		ksync_forget(d->ksync);
	}
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

int64_t kernel_edges(struct nfqd *d)
{
	struct policy *p = shared_policy_edges(d->shared);
	int64_t utc = clock_utc_ms();
	struct prefix x;
	bool any = false;
	for (; policy_edge(p, utc, &x); any = true)
		ksync_dirty(d->ksync, &x);
	if (any)
		kernel_apply(d, KERNEL_DIRTY);
	int64_t next = policy_next_edge(p);
	if (next == 0)
		return -1;
	return next > utc ? next - utc : 0;
}

static bool clock_jumped(struct nfqd *d, int64_t utc, int64_t mono)
{
	int64_t moved = utc - mono - d->clock_offset_ms;
	d->clock_offset_ms = utc - mono;
	if (moved < CLOCK_JUMP_MS && moved > -CLOCK_JUMP_MS)
		return false;
	log_event(LOG_NOTICE, "-", "kernel", "clock-jumped", LI("ms", moved));
	policy_edges_start(shared_policy_edges(d->shared), utc);
	return true;
}

/* Of both tables together. */
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
	c->packets += packets;
}

uint64_t kernel_counter(const struct nfqd *d, const char *name)
{
	for (unsigned i = 0; i < d->n_counters; i++)
		if (strcmp(d->counters[i].name, name) == 0)
			return d->counters[i].packets;
	return 0;
}

/* A table that came while we ran: what did not come back to it, we dropped. */
static uint64_t unaccounted(struct nfqd *d)
{
	uint64_t queued = kernel_counter(d, "queued"), judged = kernel_counter(d, "judged");
	bool ran = d->ran;
	d->ran = true;
	return ran && queued > judged ? queued - judged : 0;
}

/* With what the workers dropped, which the rules did not see again. */
static void read_counters(struct nfqd *d)
{
	for (unsigned i = 0; i < d->n_counters; i++)
		d->counters[i].packets = 0;
	if (!nftset_counters(d->sets, read_counter, d))
		return;
	uint64_t dropped = tally_since(d->tally, d->table, unaccounted(d));
	read_counter("refused", dropped, d);
	read_counter("judged", dropped, d);
}

static void look_after_sets(struct nfqd *d, bool anew, bool jumped, int64_t mono)
{
	int64_t age = mono - d->compared_ms;
	bool again = (d->full && age >= COMPARE_MS) || (d->failed && age >= COMPARE_SOON_MS);
	bool others = (d->others && age >= COMPARE_SOON_MS && !ksync_busy(d->ksync)) || d->owed;
	if (!d->policy_known || (!anew && !jumped && !again && !others))
		return;
	if (!look(d))
		return;
	/* A jump of the clock moves the ends that the kernel has; chains may have come or gone. */
	kernel_apply(d, anew || jumped || again ? KERNEL_REFILL : KERNEL_ALL);
}

static void look_at_lines(struct nfqd *d, int64_t mono)
{
	if (!nfq_conf_lines_vary(&d->conf) || mono - d->lines_ms < STEP_MS)
		return;
	d->lines_ms = mono;
	shared_set_lines(d->shared, nfq_conf_lines(NULL, &d->conf));
}

void kernel_tick(struct nfqd *d)
{
	int64_t utc = clock_utc_ms(), mono = clock_mono_ms();
	bool anew, jumped = clock_jumped(d, utc, mono);
	look_at_lines(d, mono);
	if (!watch_table(d, &anew))
		return;
	if (anew && !look(d))
		return;
	watch_steps(d, mono);
	d->others |= others_changed(d);
	look_after_sets(d, anew, jumped, mono);
	if (ksync_pending(d->ksync))
		kernel_apply(d, KERNEL_DIRTY);
	kernel_tell(d);
	ksync_expire(d->ksync, mono);
	read_counters(d);
}

/* --- learning and counting ------------------------------------------------------- */

/* More in a second are left to be judged: they come again. */
static bool may_learn(struct nfqd *d, int64_t mono)
{
	if (d->learn_s != mono / 1000) {
		d->learn_s = mono / 1000;
		d->learned = 0;
	}
	return d->learned++ < LEARN_RATE;
}

static void learn_source(const struct worker_refused *r, void *arg)
{
	struct nfqd *d = arg;
	int64_t utc = clock_utc_ms(), mono = clock_mono_ms();
	lines_refused(d, r);
	/* An exemption may have come since. */
	if (r->again && d->conf.deny_timeout > 0 && d->state != NFQD_WAITING &&
	    may_learn(d, mono) && !policy_match(shared_policy(d->shared), &r->src, utc))
		ksync_learn(d->ksync, d->sets, &r->line, r->len, mono, d->conf.deny_timeout,
			    d->conf.deny_timeout_max);
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
		(void)verdict_line(shared_lines(h->d->shared), &e->src, 0, &src);
	if (h->kind == EVENT_BLOCK && h->pair)
		lines_count(h->d, &src, &e->dst, e->packets);
	stats_count(h->d->stats, h->kind, &src, h->pair ? &e->dst : NULL, e->packets, h->since_ms);
}

/* Above a rate the kernel notes the source of some packets only; the others it still counts. */
static void look_at_unnoted(struct nfqd *d)
{
	static const struct {
		const char *all, *noted;
		enum event_kind kind;
	} counters[2] = {{"refused", "noted", EVENT_BLOCK}, {"passed", "passed_noted", EVENT_PASS}};
	read_counters(d);
	d->sampled = false;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t all = kernel_counter(d, counters[i].all);
		uint64_t noted = kernel_counter(d, counters[i].noted);
		uint64_t now = all > noted ? all - noted : 0, was = d->unnoted[i];
		/* The two are not read at one moment: a small difference waits until it has
		 * grown. */
		if (d->unnoted_known && now + UNNOTED_SKEW >= was && now <= was + UNNOTED_SKEW)
			continue;
		d->unnoted[i] = now;
		/* The first time, or after the table was made anew, there is nothing to compare
		 * with. */
		if (!d->unnoted_known || now < was)
			continue;
		stats_uncounted(d->stats, counters[i].kind, now - was);
		d->sampled = true;
	}
	d->unnoted_known = true;
}

size_t kernel_counting(struct nfqd *d)
{
	size_t sum = 0;
	if (d->state == NFQD_WAITING || !look(d))
		return 0;
	for (enum nftset_id id = NFTSET_REFUSED4; id <= NFTSET_SEEN6; id++)
		if (nftset_present(d->sets, id) &&
		    nftset_elements(d->sets, id) != NFTSET_COUNT_UNKNOWN)
			sum += nftset_elements(d->sets, id);
	return sum;
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
	unsigned first = d->harvest_turn;
	if (d->state == NFQD_WAITING || !look(d))
		return;
	for (unsigned n = 0; n < HARVESTS; n++) {
		unsigned i = (first + n) % HARVESTS;
		int64_t now = clock_utc_ms();
		struct harvest h = {d, from[i].kind, from[i].pair, d->harvested_ms[i]};
		int64_t got = nftset_harvest(d->sets, from[i].set, max, count, &h);
		if (got < 0 && errno != ENOENT)
			log_event(LOG_ERR, "-", "kernel", "harvest-failed",
				  LS("set", nftset_label(from[i].set)),
				  LS("reason", strerror(errno)));
		if (got < 0 || (got == 0 && nftset_elements(d->sets, from[i].set) > max)) {
			/* One that was left has its turn first the next time. */
			d->harvest_turn = i;
			continue;
		}
		d->harvested_ms[i] = now;
		max -= (size_t)got < max ? (size_t)got : max;
	}
	look_at_unnoted(d);
}
