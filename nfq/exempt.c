/*
 * exempt - the exemptions, from acctd and from the disk into memory (see daemon.h).
 *
 * Changes that came together are applied together: one lock, one transaction with the kernel, one
 * write of the journal. acctd is told of a version when it is in force and on disk.
 *
 * Trusted with: who may pass. Diagnostics: log lines "feed policy-...", "state ...". Known gaps:
 * none.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/proc.h"

#include "nfq/daemon.h"

#define EDGE_MAX_MS 3600000
#define TOGETHER    1024 /* changes that wait for each other at most */

struct change {
	uint64_t version;
	enum policy_op op;
	struct policy_entry entry;
};

struct changes {
	size_t n;
	struct change v[TOGETHER];
};

static char *folder(const struct nfqd *d, void *ctx)
{
	return talloc_asprintf(ctx, "%s/nfq", d->conf.common.state_dir);
}

/* --- classes --------------------------------------------------------------------- */

static void look_at_classes(struct nfqd *d, struct policy *p)
{
	const char *unknown = "";
	policy_set_kinds(p, nfq_conf_kind, &d->conf);
	policy_set_limits(p, nfq_conf_limits, &d->conf);
	for (unsigned i = 0; i < policy_classes(p); i++)
		if (!nfq_conf_class_known(&d->conf, policy_class(p, i)))
			unknown = policy_class(p, i);
	if (strcmp(d->unknown, unknown) == 0)
		return;
	memcpy(d->unknown, unknown, strlen(unknown) + 1);
	if (*unknown)
		log_event(LOG_WARNING, "-", "feed", "class-unknown", LS("class", unknown),
			  LS("hint", "it is treated as throttled; write class NAME { } into the "
				     "configuration"));
}

/* --- edges ----------------------------------------------------------------------- */

void exempt_watch_edges(struct nfqd *d)
{
	int64_t ms = kernel_edges(d) + 1;
	if (ms > EDGE_MAX_MS)
		ms = EDGE_MAX_MS;
	const struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	(void)event_del(d->edge_event);
	if (ms > 0)
		(void)event_add(d->edge_event, &tv);
}

static void on_edge(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	exempt_watch_edges(arg);
}

/* --- changes --------------------------------------------------------------------- */

static void apply_changes(struct nfqd *d)
{
	struct changes *c = d->changes;
	if (c->n == 0)
		return;
	shared_settle(d->shared, true);
	struct policy *p = shared_write_begin(d->shared);
	unsigned classes = policy_classes(p);
	for (size_t i = 0; i < c->n; i++) {
		if (c->v[i].op == POLICY_SET)
			policy_put(p, &c->v[i].entry);
		else
			(void)policy_remove(p, &c->v[i].entry);
		policy_set_version(p, c->v[i].version);
	}
	if (policy_classes(p) != classes)
		look_at_classes(d, p);
	shared_write_end(d->shared);
	for (size_t i = 0; i < c->n; i++) {
		ksync_dirty(d->ksync, &c->v[i].entry.prefix);
		policy_store_change(d->store, c->v[i].version, c->v[i].op, &c->v[i].entry);
	}
	c->n = 0;
	policy_store_commit(d->store);
	kernel_apply(d, KERNEL_DIRTY);
	exempt_watch_edges(d);
}

static void on_apply(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	apply_changes(arg);
}

void exempt_change(uint64_t version, enum policy_op op, const struct policy_entry *e, void *arg)
{
	static const struct timeval now = {0, 0};
	struct nfqd *d = arg;
	d->heard_ms = clock_mono_ms();
	d->changes->v[d->changes->n++] = (struct change){version, op, *e};
	if (d->changes->n == TOGETHER)
		apply_changes(d);
	else if (!event_pending(d->apply_event, EV_TIMEOUT, NULL))
		(void)event_add(d->apply_event, &now); /* once this read is done */
}

/* --- snapshots ------------------------------------------------------------------- */

void exempt_begin(uint64_t version, uint32_t count, void *arg)
{
	struct nfqd *d = arg;
	(void)count;
	apply_changes(d);
	if (d->staging)
		policy_free(d->staging);
	d->staging = policy_new(NULL);
	policy_set_version(d->staging, version);
}

void exempt_entry(const struct policy_entry *e, void *arg)
{
	struct nfqd *d = arg;
	if (d->staging)
		policy_put(d->staging, e);
}

void exempt_end(uint64_t version, void *arg)
{
	struct nfqd *d = arg;
	if (!d->staging)
		return;
	policy_set_version(d->staging, version);
	look_at_classes(d, d->staging);
	policy_edges_start(d->staging, clock_utc_ms());
	log_event(LOG_INFO, "-", "feed", "policy-snapshot", LI("version", version),
		  LI("entries", policy_count(d->staging)));
	shared_settle(d->shared, true);
	shared_replace(d->shared, d->staging);
	d->staging = NULL;
	d->policy_known = true;
	d->applied = d->told = 0;
	d->heard_ms = clock_mono_ms();
	policy_store_replaced(d->store);
	kernel_apply(d, KERNEL_ALL);
	exempt_watch_edges(d);
}

/* --- start, reload, stop --------------------------------------------------------- */

struct policy *exempt_load(struct nfqd *d)
{
	char *path = folder(d, NULL);
	struct policy *p = policy_store_load(NULL, path, &d->policy_known);
	talloc_free(path);
	look_at_classes(d, p);
	policy_edges_start(p, clock_utc_ms());
	return p;
}

static struct event *one_shot(struct nfqd *d, event_callback_fn fn)
{
	struct event *ev = event_new(d->base, -1, 0, fn, d);
	if (!ev)
		fatal("out of memory");
	return ev;
}

void exempt_start(struct nfqd *d)
{
	char *path = folder(d, NULL);
	d->changes = calloc(1, sizeof *d->changes);
	if (!d->changes)
		fatal("out of memory");
	d->store = policy_store_open(path, d->shared, d->wake_fd);
	talloc_free(path);
	d->apply_event = one_shot(d, on_apply);
	d->edge_event = one_shot(d, on_edge);
}

void exempt_reload(struct nfqd *d)
{
	look_at_classes(d, shared_write_begin(d->shared));
	shared_write_end(d->shared);
	shared_set_lines(d->shared, nfq_conf_lines(NULL, &d->conf));
	kernel_apply(d, KERNEL_ALL);
}

void exempt_sync(struct nfqd *d)
{
	apply_changes(d);
	policy_store_sync(d->store);
}

void exempt_stop(struct nfqd *d)
{
	apply_changes(d);
	policy_store_close(d->store);
}
