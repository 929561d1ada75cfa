/*
 * status - what is loaded, read back: loader_status() of loader.h.
 *
 * Trusted with: reading. Diagnostics: the result. Known gaps: before Linux 6.16 a set is
 * counted by reading all of it, which takes minutes with a million elements.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "kernel-rules/family.h"
#include "kernel-rules/loader.h"
#include "kernel-rules/ruleset.h"
#include "kernel-rules/xt_queue.h"

struct reading {
	void *ctx;
	struct xt_queue *counter; /* another socket than the one that is read */
	struct rules_status *out;
	const char *family;
};

/* "c_NAME"; of both tables together. */
static void add_counter(const char *name, uint64_t packets, void *arg)
{
	struct reading *r = arg;
	struct rules_status *out = r->out;
	if (strncmp(name, "c_", 2) != 0)
		return;
	for (unsigned i = 0; i < out->n_counters; i++)
		if (strcmp(out->counters[i].name, name + 2) == 0) {
			out->counters[i].packets += packets;
			return;
		}
	if (out->n_counters == RULES_COUNTERS)
		return;
	out->counters[out->n_counters].name = talloc_strdup(r->ctx, name + 2);
	out->counters[out->n_counters++].packets = packets;
}

static uint64_t count(const struct reading *r, const char *set)
{
	uint64_t n;
	return xt_queue_count(r->counter, r->family, set, &n) ? n : 0;
}

static void add_set(const char *set, uint32_t size, int64_t elements, void *arg)
{
	struct reading *r = arg;
	struct rules_status *out = r->out;
	if (out->n_sets == RULES_SETS)
		return;
	out->sets[out->n_sets].family = r->family;
	out->sets[out->n_sets].name = talloc_strdup(r->ctx, set);
	out->sets[out->n_sets].elements = elements >= 0 ? (uint64_t)elements : count(r, set);
	out->sets[out->n_sets++].size = size;
}

static void look_for_steer(const char *chain, void *arg)
{
	if (strcmp(chain, "steer") == 0)
		*(bool *)arg = true;
}

/* nft(8) would read every element of every set for this. */
static bool read_family(struct reading *r, struct xt_queue *x, bool *loaded)
{
	char note[XT_QUEUE_NOTE];
	if (!xt_queue_chains(x, r->family, look_for_steer, loaded))
		return false;
	if (!*loaded)
		return true;
	if (xt_queue_note(x, r->family, note))
		r->out->note = talloc_strdup(r->ctx, note);
	return xt_queue_counters(x, r->family, add_counter, r) &&
	       xt_queue_sets(x, r->family, add_set, r);
}

static void read_step(struct xt_queue *x, const struct rules_conf *c, struct rules_status *out)
{
	enum rules_fail how =
	    rules_fails(c, RULES_FAIL_CLOSED) ? RULES_FAIL_CLOSED : RULES_FAIL_OPEN;
	const char *chain = how == RULES_FAIL_CLOSED ? "queue_closed" : "queue_open";
	/* A rule that is no target of x_tables is nft's own. */
	switch (xt_queue_look(x, "ip", chain, rules_queues(c, how), how == RULES_FAIL_OPEN)) {
	case XT_QUEUE_RIGHT:
		out->step = "xt";
		break;
	case XT_QUEUE_OTHER:
		out->step = strstr(out->note, ": nft: ") ? "nft" : "none";
		break;
	case XT_QUEUE_NONE:
		break;
	}
}

static bool whole(void *ctx, const struct rules_conf *c, const struct rules_status *out)
{
	struct rules_backend_choice how = {.native = strcmp(out->step, "nft") == 0, .why = ""};
	char *err, why[128];
	struct loader_look *l = loader_look_new(ctx, c, how, &err);
	bool ok = l && loader_whole(l, why);
	talloc_free(l);
	return ok && out->loaded[0] && out->loaded[1];
}

bool loader_status(void *ctx, const struct rules_conf *c, struct rules_status *out, char **err)
{
	char why[256];
	bool ok = true;
	struct xt_queue *x = xt_queue_open(why), *counter = x ? xt_queue_open(why) : NULL;
	*out = (struct rules_status){.note = "", .step = "none"};
	if (!counter)
		*err = talloc_strdup(ctx, why);
	for (size_t i = 0; counter && ok && i < 2; i++) {
		struct reading r = {ctx, counter, out, families[i].name};
		ok = read_family(&r, x, &out->loaded[i]);
		if (!ok)
			*err = talloc_asprintf(ctx, "table %s %s cannot be read: %s",
					       families[i].name, RULES_TABLE, strerror(errno));
	}
	ok &= counter != NULL;
	if (ok)
		read_step(x, c, out);
	if (counter)
		xt_queue_close(counter);
	if (x)
		xt_queue_close(x);
	if (ok)
		out->complete = whole(ctx, c, out);
	return ok;
}
