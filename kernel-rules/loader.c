/*
 * loader - see loader.h.
 *
 * Works through nft(8), and over netlink where nft cannot (xt_queue.c). Order matters: the tables
 * come first, and refuse what nobody has judged; the queue step comes after them. Base chains are
 * never deleted or made again while the tables live: the kernel would drop every queued packet.
 *
 * Trusted with: CAP_NET_ADMIN. Diagnostics: the tools' own words. Known gaps: none.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "kernel-rules/family.h"
#include "kernel-rules/loader.h"
#include "kernel-rules/old.h"
#include "kernel-rules/ruleset.h"
#include "kernel-rules/tool.h"
#include "kernel-rules/xt_queue.h"

/* A probe without base chains: taking those back would drop queued packets. */
static const char probe_queue[] = "table ip sekisho_probe {\n\tchain c {\n"
				  "\t\tqueue flags fanout,bypass to 0-1\n\t}\n}\n";

static const struct step {
	const char *chain;
	enum rules_fail fail;
} steps[] = {{"queue_closed", RULES_FAIL_CLOSED}, {"queue_open", RULES_FAIL_OPEN}};
#define N_STEPS (sizeof steps / sizeof *steps)

static bool nft(void *ctx, const char *input, bool check_only, struct tool_result *r)
{
	const char *argv[] = {"nft", check_only ? "-c" : "-f", check_only ? "-f" : "-",
			      check_only ? "-" : NULL, NULL};
	*r = tool_run(ctx, argv, input);
	return r->status == 0;
}

static struct xt_queue *look(void *ctx, char **err)
{
	char why[256];
	struct xt_queue *x = xt_queue_open(why);
	if (!x)
		*err = talloc_strdup(ctx, why);
	return x;
}

/* --- which way packets get to a queue ------------------------------------------------- */

static bool supported(void *ctx, bool *xt, char **err)
{
	struct xt_queue *x = look(ctx, err);
	if (!x)
		return false;
	*xt = xt_queue_supported(x);
	xt_queue_close(x);
	return true;
}

bool loader_choose(void *ctx, const struct rules_conf *c, struct rules_backend_choice *out,
		   char **err)
{
	struct tool_result r;
	bool xt, there = nft(ctx, probe_queue, true, &r);
	if (!there && (r.status == 127 || strstr(r.error, "not permitted")))
		return tool_fail(ctx, err, "nft", &r);
	if (!supported(ctx, &xt, err))
		return false;
	bool native = c->backend == RULES_NFT || (c->backend == RULES_AUTO && there);
	if (native && !there)
		*err = talloc_strdup(ctx, "backend = nft, but this kernel has no nft `queue` "
					  "(CONFIG_NFT_QUEUE): set backend to auto or xt");
	else if (!native && !xt && c->backend == RULES_XT)
		*err = talloc_strdup(ctx, "backend = xt, but this kernel has no target NFQUEUE for "
					  "nft (CONFIG_NFT_COMPAT, CONFIG_NETFILTER_XT_TARGET_"
					  "NFQUEUE): set backend to auto or nft");
	else if (!native && !xt)
		*err = talloc_strdup(ctx, "this kernel can hand no packet to a program: it needs "
					  "CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT and CONFIG_"
					  "NETFILTER_XT_TARGET_NFQUEUE");
	else
		*out = (struct rules_backend_choice){
		    native, c->backend != RULES_AUTO ? "as configured"
			    : native		     ? "the kernel has nft queue"
				     : "the kernel has no nft queue (CONFIG_NFT_QUEUE)"};
	return native ? there : xt;
}

/* --- the text ------------------------------------------------------------------------- */

struct found {
	void *ctx;
	const struct rules_conf *c;
	const char *family;
	const char **orphans;
	size_t n;
	bool notice;
};

/* Is it the chain of a class that is configured? "class_NAME_LEN" */
static bool known_class(const struct rules_conf *c, const char *chain)
{
	struct rules_class k[RULES_MAX_CLASSES + 2];
	size_t n = rules_classes(c, k);
	const char *name = chain + strlen("class_"), *end = strrchr(name, '_');
	for (size_t i = 0; end && i < n; i++)
		if (strlen(k[i].name) == (size_t)(end - name) &&
		    strncmp(k[i].name, name, (size_t)(end - name)) == 0)
			return true;
	return false;
}

static void find_chain(const char *chain, void *arg)
{
	struct found *f = arg;
	f->notice |= strcmp(chain, "notice") == 0;
	if (strncmp(chain, "class_", 6) != 0 || known_class(f->c, chain))
		return;
	f->orphans = talloc_realloc(f->ctx, f->orphans, const char *, (unsigned)f->n + 2);
	f->orphans[f->n++] = talloc_asprintf(f->ctx, "%s %s", f->family, chain);
	f->orphans[f->n] = NULL;
}

/* What an earlier load has left that this configuration does not know. */
static struct found find_left(void *ctx, const struct rules_conf *c)
{
	struct found f = {.ctx = ctx, .c = c};
	char why[256];
	struct xt_queue *x = xt_queue_open(why);
	for (size_t i = 0; x && i < 2; i++) {
		f.family = families[i].name;
		(void)xt_queue_chains(x, families[i].name, find_chain, &f);
	}
	xt_queue_close(x);
	return f;
}

static char *text_with(void *ctx, const struct rules_conf *c, struct rules_backend_choice b,
		       const struct found *f)
{
	char *note =
	    talloc_asprintf(ctx, "%s: %s: %s", SEKISHO_VERSION, b.native ? "nft" : "xt", b.why);
	struct ruleset_how how = {
	    .native = b.native, .notice_there = f->notice, .note = note, .orphans = f->orphans};
	return ruleset_render(ctx, c, &how);
}

char *loader_text(void *ctx, const struct rules_conf *c, struct rules_backend_choice how)
{
	struct found f = find_left(ctx, c);
	return text_with(ctx, c, how, &f);
}

/* --- the queue step ------------------------------------------------------------------- */

static bool step_right(struct xt_queue *x, const struct rules_conf *c, const char *family,
		       const struct step *s)
{
	return xt_queue_look(x, family, s->chain, rules_queues(c, s->fail),
			     s->fail == RULES_FAIL_OPEN) == XT_QUEUE_RIGHT;
}

static bool put_steps(void *ctx, const struct rules_conf *c, char **err)
{
	struct xt_queue *x = look(ctx, err);
	bool ok = x != NULL;
	for (size_t i = 0; ok && i < 2 * N_STEPS; i++) {
		const struct step *s = &steps[i / 2];
		const char *family = families[i % 2].name;
		if (!rules_fails(c, s->fail) || step_right(x, c, family, s))
			continue;
		ok = xt_queue_put(x, family, s->chain, rules_queues(c, s->fail),
				  s->fail == RULES_FAIL_OPEN);
		if (!ok)
			*err = talloc_asprintf(
			    ctx, "the kernel takes no target NFQUEUE in table %s sekisho: %s",
			    family, strerror(errno));
	}
	xt_queue_close(x);
	return ok;
}

/* --- routing to the notice responder ----------------------------------------------------- */

#define LOOKUP_TEXT STRING(RULES_NOTICE_LOOKUP)
#define STRING(n)   STRING2(n)
#define STRING2(n)  #n

static struct tool_result ip(void *ctx, size_t family, const char *const words[])
{
	static const char *const options[] = {"-4", "-6"};
	const char *argv[24] = {"ip", options[family]};
	size_t n = 2;
	for (; *words && n < 23; words++)
		argv[n++] = *words;
	return tool_run(ctx, argv, NULL);
}

static const char *const rule_list[] = {"rule", "list", "pref", LOOKUP_TEXT, NULL};
static const char *const rule_delete[] = {"rule", "del", "pref", LOOKUP_TEXT, NULL};
static const char *const route_flush[] = {"route", "flush", "table", LOOKUP_TEXT, NULL};

static void remove_routes(void *ctx)
{
	for (size_t i = 0; i < 2; i++) {
		if (!*ip(ctx, i, rule_list).out)
			continue;
		while (ip(ctx, i, rule_delete).status == 0)
			continue;
		(void)ip(ctx, i, route_flush);
	}
}

/* Packets that tproxy has marked are delivered here, whatever address they are for. */
static bool put_routes(void *ctx, const struct rules_conf *c, char **err)
{
	struct marks m;
	const char *why;
	bug_on(!marks_parse(c->mark_mask, &m, &why));
	char *mark = talloc_asprintf(ctx, "0x%" PRIx32 "/0x%" PRIx32, m.notice, m.mask);
	const char *const rule[] = {"rule", "add",    "pref",	   LOOKUP_TEXT, "fwmark",
				    mark,   "lookup", LOOKUP_TEXT, NULL};
	const char *const route[] = {"route", "replace", "local",     "default", "dev",
				     "lo",    "table",	 LOOKUP_TEXT, NULL};
	for (size_t i = 0; i < 2; i++) {
		struct tool_result r = ip(ctx, i, route);
		if (r.status == 0 && !strstr(ip(ctx, i, rule_list).out, mark)) {
			while (ip(ctx, i, rule_delete).status == 0)
				continue;
			r = ip(ctx, i, rule);
		}
		if (r.status != 0)
			return tool_fail(ctx, err, "ip, for pools that give notice", &r);
	}
	return true;
}

/* --- the commands ---------------------------------------------------------------------- */

/* nft's words for what a person can do something about. */
static bool explain(void *ctx, char **err, const char *what, const struct tool_result *r)
{
	if (!strstr(r->error, "File exists"))
		return tool_fail(ctx, err, what, r);
	*err = talloc_asprintf(ctx,
			       "%s: the tables in the kernel were made with another set_size or by "
			       "another version: unload, then load (%s)",
			       what, r->error);
	return false;
}

/* The chains of classes that are gone, once nothing points to them. */
static void delete_orphans(void *ctx, const struct found *f)
{
	for (size_t i = 0; i < f->n; i++) {
		struct tool_result r;
		char *chain = strchr(talloc_strdup(ctx, f->orphans[i]), ' ');
		(void)nft(ctx,
			  talloc_asprintf(ctx, "delete chain %.*s " RULES_TABLE "%s\n",
					  (int)strcspn(f->orphans[i], " "), f->orphans[i], chain),
			  false, &r);
	}
}

bool loader_load(void *ctx, const struct rules_conf *c, struct rules_backend_choice how, char **err)
{
	struct tool_result r;
	struct found f = find_left(ctx, c);
	if (!nft(ctx, text_with(ctx, c, how, &f), false, &r))
		return explain(ctx, err, "nft", &r);
	if (!how.native && !put_steps(ctx, c, err))
		return false;
	if (rules_notices(c) && !put_routes(ctx, c, err))
		return false;
	if (!rules_notices(c))
		remove_routes(ctx);
	delete_orphans(ctx, &f);
	return old_remove(ctx, err);
}

bool loader_check(void *ctx, const struct rules_conf *c, struct rules_backend_choice how,
		  char **err)
{
	struct tool_result r;
	return nft(ctx, loader_text(ctx, c, how), true, &r) || explain(ctx, err, "nft", &r);
}

static bool table_there(void *ctx, const char *family)
{
	const char *argv[] = {"nft", "-t", "list", "chain", family, RULES_TABLE, "steer", NULL};
	return tool_run(ctx, argv, NULL).status == 0;
}

bool loader_unload(void *ctx, char **err)
{
	for (size_t i = 0; i < 2; i++) {
		const char *argv[] = {"nft",	   "delete", "table", families[i].name,
				      RULES_TABLE, NULL};
		if (!table_there(ctx, families[i].name))
			continue;
		struct tool_result r = tool_run(ctx, argv, NULL);
		if (r.status != 0)
			return tool_fail(ctx, err, "nft", &r);
	}
	remove_routes(ctx);
	return old_remove(ctx, err);
}

/* --- looking ------------------------------------------------------------------------- */

struct expected {
	char family[8], chain[64];
	unsigned rules, seen;
};

struct loader_look {
	struct xt_queue *x;
	const struct rules_conf *c;
	bool native;
	uint32_t generation;
	const char *family; /* while rules are counted */
	struct expected *list;
	size_t n;
};

static bool is_step(const char *chain)
{
	return strncmp(chain, "queue_", 6) == 0;
}

static void expect(const char *family, const char *chain, unsigned rules, void *arg)
{
	struct loader_look *l = arg;
	/* A class's own chains are not looked at: they are many, and lead to nothing that would
	 * be open. */
	if (strncmp(chain, "class_", 6) == 0)
		return;
	l->list = talloc_realloc(l, l->list, struct expected, (unsigned)l->n + 1);
	struct expected *e = &l->list[l->n++];
	*e = (struct expected){.rules = is_step(chain) ? 1 : rules};
	(void)snprintf(e->family, sizeof e->family, "%s", family);
	(void)snprintf(e->chain, sizeof e->chain, "%s", chain);
}

static int look_free(struct loader_look *l)
{
	xt_queue_close(l->x);
	return 0;
}

struct loader_look *loader_look_new(void *ctx, const struct rules_conf *c,
				    struct rules_backend_choice how, char **err)
{
	struct found none = {.notice = false};
	struct loader_look *l = talloc_zero(ctx, struct loader_look);
	l->c = c;
	l->native = how.native;
	l->x = look(ctx, err);
	if (!l->x) {
		talloc_free(l);
		return NULL;
	}
	talloc_set_destructor(l, look_free);
	ruleset_chains(text_with(l, c, how, &none), expect, l);
	return l;
}

bool loader_changed(struct loader_look *l)
{
	uint32_t gen;
	if (xt_queue_generation(l->x, &gen) && gen == l->generation)
		return false;
	l->generation = gen;
	return true;
}

static void count_rule(const char *chain, void *arg)
{
	struct loader_look *l = arg;
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->list[i].family, l->family) == 0 &&
		    strcmp(l->list[i].chain, chain) == 0) {
			l->list[i].seen++;
			return;
		}
}

static bool family_whole(struct loader_look *l, const char *family, char why[static 128])
{
	l->family = family;
	for (size_t i = 0; i < l->n; i++)
		l->list[i].seen = 0;
	if (!xt_queue_rules(l->x, family, count_rule, l)) {
		/* Changed while it was read: the next look tells. */
		if (errno == EINTR)
			return true;
		(void)snprintf(why, 128, errno == ENOENT ? "table %s is gone" : "table %s: %s",
			       family, strerror(errno));
		return false;
	}
	for (size_t i = 0; i < l->n; i++) {
		const struct expected *e = &l->list[i];
		if (strcmp(e->family, family) == 0 && e->seen != e->rules) {
			(void)snprintf(why, 128, "table %s: chain %s has %u rules, not %u", family,
				       e->chain, e->seen, e->rules);
			return false;
		}
	}
	return true;
}

bool loader_whole(struct loader_look *l, char why[static 128])
{
	for (size_t i = 0; i < 2; i++)
		if (!family_whole(l, families[i].name, why))
			return false;
	for (size_t i = 0; !l->native && i < 2 * N_STEPS; i++) {
		const struct step *s = &steps[i / 2];
		const char *family = families[i % 2].name;
		if (rules_fails(l->c, s->fail) && !step_right(l->x, l->c, family, s)) {
			(void)snprintf(why, 128, "table %s: chain %s does not lead to the queues",
				       family, s->chain);
			return false;
		}
	}
	return true;
}
