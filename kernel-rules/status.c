/*
 * status - what is loaded, read back: loader_status() of loader.h.
 *
 * Trusted with: reading. Diagnostics: the tools' own words. Known gaps: a set is counted by reading
 * all of it, which takes about a second a million elements.
 */
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "kernel-rules/family.h"
#include "kernel-rules/loader.h"
#include "kernel-rules/ruleset.h"
#include "kernel-rules/tool.h"
#include "kernel-rules/xt_queue.h"

static void add_counter(void *ctx, struct rules_status *out, const char *name, size_t len,
			uint64_t packets)
{
	for (unsigned i = 0; i < out->n_counters; i++)
		if (strlen(out->counters[i].name) == len &&
		    memcmp(out->counters[i].name, name, len) == 0) {
			out->counters[i].packets += packets;
			return;
		}
	if (out->n_counters == RULES_COUNTERS)
		return;
	out->counters[out->n_counters].name = talloc_strndup(ctx, name, len);
	out->counters[out->n_counters++].packets = packets;
}

/* "counter c_NAME {\n packets N bytes N\n}" */
static void read_counters(void *ctx, struct rules_status *out, const char *family)
{
	const char *argv[] = {"nft", "list", "counters", "table", family, RULES_TABLE, NULL};
	const char *p = tool_run(ctx, argv, NULL).out;
	while ((p = strstr(p, "counter c_"))) {
		const char *name = p + strlen("counter c_"), *end = strchr(name, ' ');
		const char *packets = strstr(p, "packets ");
		if (!end || !packets)
			return;
		add_counter(ctx, out, name, (size_t)(end - name), strtoull(packets + 8, NULL, 10));
		p = packets;
	}
}

static const char *read_note(void *ctx, const char *family)
{
	const char *argv[] = {"nft", "list", "chain", family, RULES_TABLE, "about", NULL};
	const char *text = strstr(tool_run(ctx, argv, NULL).out, "comment \"" RULES_NOTE);
	if (!text)
		return "";
	text += strlen("comment \"" RULES_NOTE);
	return talloc_strndup(ctx, text, strcspn(text, "\"\n"));
}

struct reading {
	void *ctx;
	struct rules_status *out;
	const char *family;
};

static void add_set(const char *set, uint32_t size, void *arg)
{
	struct reading *r = arg;
	struct rules_status *out = r->out;
	if (out->n_sets == RULES_SETS)
		return;
	out->sets[out->n_sets].family = r->family;
	out->sets[out->n_sets].name = talloc_strdup(r->ctx, set);
	out->sets[out->n_sets++].size = size;
}

static void read_sets(void *ctx, struct xt_queue *x, struct rules_status *out)
{
	for (size_t i = 0; i < 2; i++) {
		struct reading r = {ctx, out, families[i].name};
		if (out->loaded[i])
			(void)xt_queue_sets(x, r.family, add_set, &r);
	}
	for (unsigned i = 0; i < out->n_sets; i++)
		if (!xt_queue_count(x, out->sets[i].family, out->sets[i].name,
				    &out->sets[i].elements))
			out->sets[i].elements = 0;
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
	struct xt_queue *x = xt_queue_open(why);
	*out = (struct rules_status){.note = "", .step = "none"};
	if (!x) {
		*err = talloc_strdup(ctx, why);
		return false;
	}
	for (size_t i = 0; i < 2; i++) {
		const char *f = families[i].name;
		const char *argv[] = {"nft", "list", "chain", f, RULES_TABLE, "steer", NULL};
		struct tool_result r = tool_run(ctx, argv, NULL);
		if (r.status != 0 && !strstr(r.error, "No such file")) {
			xt_queue_close(x);
			return tool_fail(ctx, err, "nft", &r);
		}
		out->loaded[i] = r.status == 0;
		if (out->loaded[i]) {
			out->note = read_note(ctx, f);
			read_counters(ctx, out, f);
		}
	}
	read_sets(ctx, x, out);
	read_step(x, c, out);
	xt_queue_close(x);
	out->complete = whole(ctx, c, out);
	return true;
}
