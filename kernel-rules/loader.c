/*
 * loader - see loader.h.
 *
 * Works through nft(8) and iptables-nft(8). Order matters: the table comes first, so that a subject
 * packet is marked and, with nobody to judge it, refused; the queue step comes after it. Base
 * chains are never deleted or made again while the table lives: the kernel would drop every queued
 * packet.
 *
 * Trusted with: CAP_NET_ADMIN, for the time of one command. Diagnostics: the tools' own words.
 * Known gaps: the mangle table is shared with others, who may remove the twin's rule; status tells.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "kernel-rules/loader.h"
#include "kernel-rules/ruleset.h"
#include "kernel-rules/tool.h"

#define COMMENT "sekisho-queue-step"

static const char *const xt_tools[] = {"iptables-nft", "ip6tables-nft"};
static const char *const xt_families[] = {"ip", "ip6"};

/* A probe without base chains: taking those back would drop queued packets. */
static const char probe_queue[] = "table inet sekisho_probe {\n\tchain c {\n"
				  "\t\tqueue flags fanout,bypass to 0-1\n\t}\n}\n";

static bool nft(void *ctx, const char *input, bool check_only, struct tool_result *r)
{
	const char *argv[] = {"nft", check_only ? "-c" : "-f", check_only ? "-f" : "-",
			      check_only ? "-" : NULL, NULL};
	*r = tool_run(ctx, argv, input);
	return r->status == 0;
}

static bool fail(void *ctx, char **err, const char *what, const struct tool_result *r)
{
	if (r->status == 127)
		*err = talloc_asprintf(ctx, "%s: %s (Debian: apt-get install nftables iptables)",
				       what, r->error);
	else if (strstr(r->error, "Operation not permitted"))
		*err = talloc_asprintf(ctx, "%s: not permitted; run it as root", what);
	else
		*err = talloc_asprintf(ctx, "%s: %s", what, r->error);
	return false;
}

static bool chain_exists(void *ctx, const char *chain)
{
	const char *argv[] = {"nft", "list", "chain", "inet", RULES_TABLE, chain, NULL};
	return tool_run(ctx, argv, NULL).status == 0;
}

bool loader_choose(void *ctx, const struct rules_conf *c, bool *native, const char **why,
		   char **err)
{
	struct tool_result r;
	bool there = nft(ctx, probe_queue, true, &r);
	if (!there && (r.status == 127 || strstr(r.error, "not permitted")))
		return fail(ctx, err, "nft", &r);
	if (c->backend == RULES_NFT && !there) {
		*err = talloc_strdup(ctx, "backend = nft, but this kernel has no nft `queue` "
					  "(CONFIG_NFT_QUEUE): set backend to auto or xt");
		return false;
	}
	*native = c->backend == RULES_NFT || (c->backend == RULES_AUTO && there);
	*why = c->backend != RULES_AUTO ? "as configured"
	       : there			? "the kernel has nft queue"
					: "the kernel has no nft queue (CONFIG_NFT_QUEUE)";
	if (!*native && (!tool_exists(xt_tools[0]) || !tool_exists(xt_tools[1]))) {
		*err =
		    talloc_strdup(ctx, "the queue step needs iptables-nft and ip6tables-nft here "
				       "(Debian: apt-get install iptables)");
		return false;
	}
	return true;
}

char *loader_text(void *ctx, const struct rules_conf *c, bool native, const char *why)
{
	char *note =
	    talloc_asprintf(ctx, "%s: %s: %s", SEKISHO_VERSION, native ? "nft" : "xt", why);
	struct ruleset_how how = {.native = native,
				  .clear_q = !native && chain_exists(ctx, "q"),
				  .queue_last = rules_queue_last(c),
				  .note = note};
	return ruleset_render(ctx, c, &how);
}

/* --- the twin -------------------------------------------------------------------- */

#define MAX_ARGS 32

/* Our rule, as arguments after the command and chain. */
static size_t twin_rule(void *ctx, const struct rules_conf *c, const char **argv)
{
	struct rules_marks m;
	const char *err;
	size_t n = 0;
	unsigned first = (unsigned)c->queue_first, last = rules_queue_last(c);
	bug_on(!rules_parse_mask(c->mark_mask, &m, &err));
	argv[n++] = "-m";
	argv[n++] = "mark";
	argv[n++] = "--mark";
	argv[n++] = talloc_asprintf(ctx, "0x%" PRIx32 "/0x%" PRIx32, m.pend, m.mask);
	argv[n++] = "-m";
	argv[n++] = "comment";
	argv[n++] = "--comment";
	argv[n++] = COMMENT;
	argv[n++] = "-j";
	argv[n++] = "NFQUEUE";
	argv[n++] = first == last ? "--queue-num" : "--queue-balance";
	argv[n++] = first == last ? talloc_asprintf(ctx, "%u", first)
				  : talloc_asprintf(ctx, "%u:%u", first, last);
	argv[n++] = "--queue-bypass";
	if (first != last)
		argv[n++] = "--queue-cpu-fanout";
	argv[n] = NULL;
	return n;
}

static struct tool_result twin(void *ctx, size_t i, const char *command, const struct rules_conf *c)
{
	const char *argv[MAX_ARGS] = {xt_tools[i], "-w", "-t", "mangle", command, "FORWARD"};
	(void)twin_rule(ctx, c, argv + 6);
	return tool_run(ctx, argv, NULL);
}

/* The table mangle of one family as iptables-nft -S prints it; "" when there is none. */
static char *twin_list(void *ctx, size_t i)
{
	const char *table[] = {"nft", "list", "table", xt_families[i], "mangle", NULL};
	const char *argv[] = {xt_tools[i], "-w", "-t", "mangle", "-S", NULL};
	/* Asking iptables-nft about a table that is not there would make it. */
	if (tool_run(ctx, table, NULL).status != 0 || !tool_exists(xt_tools[i]))
		return talloc_strdup(ctx, "");
	return tool_run(ctx, argv, NULL).out;
}

static bool twin_delete(void *ctx, size_t i, char *rule, char **err)
{
	const char *argv[64] = {xt_tools[i], "-w", "-t", "mangle", "-D"};
	size_t n = 5;
	char *save = NULL;
	/* rule: "-A FORWARD ..."; our arguments hold no blanks. */
	for (char *word = strtok_r(rule, " ", &save); word && n < 63;
	     word = strtok_r(NULL, " ", &save))
		if (strcmp(word, "-A") != 0)
			argv[n++] = word;
	struct tool_result r = tool_run(ctx, argv, NULL);
	return r.status == 0 || fail(ctx, err, xt_tools[i], &r);
}

/* Delete every rule with our comment but, if keep is set, the one that -C found. */
static bool twin_remove(void *ctx, size_t i, const struct rules_conf *keep, char **err)
{
	char *save = NULL;
	unsigned kept = 0;
	char *list = twin_list(ctx, i);
	char *mine = NULL;
	if (keep) {
		const char *argv[MAX_ARGS];
		(void)twin_rule(ctx, keep, argv);
		mine = talloc_asprintf(ctx, " %s %s ", argv[10], argv[11]);
	}
	for (char *l = strtok_r(list, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		if (strncmp(l, "-A FORWARD ", 11) != 0 || !strstr(l, COMMENT))
			continue;
		if (mine && kept == 0 && strstr(talloc_asprintf(ctx, "%s ", l), mine)) {
			kept++;
			continue;
		}
		if (!twin_delete(ctx, i, l, err))
			return false;
	}
	return true;
}

static bool twin_load(void *ctx, const struct rules_conf *c, char **err)
{
	for (size_t i = 0; i < 2; i++) {
		/* The new rule before the old one goes: packets always find a queue. */
		if (twin(ctx, i, "-C", c).status != 0) {
			struct tool_result r = twin(ctx, i, "-A", c);
			if (r.status != 0)
				return fail(ctx, err, xt_tools[i], &r);
		}
		if (!twin_remove(ctx, i, c, err))
			return false;
	}
	return true;
}

/* Without a rule of ours or of anybody else the table mangle goes too: it would cost every packet.
 */
static bool twin_unload(void *ctx, char **err)
{
	for (size_t i = 0; i < 2; i++) {
		const char *argv[] = {"nft", "delete", "table", xt_families[i], "mangle", NULL};
		bool ours = strstr(twin_list(ctx, i), COMMENT) != NULL;
		if (!twin_remove(ctx, i, NULL, err))
			return false;
		if (ours && !strstr(twin_list(ctx, i), "-A "))
			(void)tool_run(ctx, argv, NULL);
	}
	return true;
}

/* --- the commands ---------------------------------------------------------------- */

/* nft's words for what a person can do something about. */
static bool explain(void *ctx, char **err, const char *what, const struct tool_result *r)
{
	if (strstr(r->error, "File exists"))
		*err = talloc_asprintf(ctx,
				       "%s: the table in the kernel was made with another "
				       "set_size or by another version: unload, then load (%s)",
				       what, r->error);
	else
		return fail(ctx, err, what, r);
	return false;
}

bool loader_load(void *ctx, const struct rules_conf *c, bool native, const char *why, char **err)
{
	struct tool_result r;
	if (!nft(ctx, loader_text(ctx, c, native, why), false, &r))
		return explain(ctx, err, "nft", &r);
	return native ? twin_unload(ctx, err) : twin_load(ctx, c, err);
}

bool loader_check(void *ctx, const struct rules_conf *c, bool native, const char *why, char **err)
{
	struct tool_result r;
	return nft(ctx, loader_text(ctx, c, native, why), true, &r) || explain(ctx, err, "nft", &r);
}

bool loader_unload(void *ctx, char **err)
{
	const char *argv[] = {"nft", "delete", "table", "inet", RULES_TABLE, NULL};
	if (!twin_unload(ctx, err))
		return false;
	if (!chain_exists(ctx, "steer"))
		return true;
	struct tool_result r = tool_run(ctx, argv, NULL);
	return r.status == 0 || fail(ctx, err, "nft", &r);
}

/* "counter c_NAME {\n packets N bytes N\n}" */
static void read_counters(void *ctx, struct rules_status *out, const char *text)
{
	const char *p = text;
	while ((p = strstr(p, "counter c_")) && out->n_counters < 16) {
		const char *name = p + strlen("counter c_"), *end = strchr(name, ' ');
		const char *packets = strstr(p, "packets ");
		if (!end || !packets)
			return;
		out->counters[out->n_counters].name =
		    talloc_strndup(ctx, name, (size_t)(end - name));
		out->counters[out->n_counters++].packets = strtoull(packets + 8, NULL, 10);
		p = packets;
	}
}

static const char *read_note(void *ctx)
{
	const char *argv[] = {"nft", "list", "chain", "inet", RULES_TABLE, "apply", NULL};
	const char *text = strstr(tool_run(ctx, argv, NULL).out, "comment \"" RULES_NOTE);
	if (!text)
		return "";
	text += strlen("comment \"" RULES_NOTE);
	return talloc_strndup(ctx, text, strcspn(text, "\"\n"));
}

bool loader_status(void *ctx, struct rules_status *out, char **err)
{
	const char *table[] = {"nft", "list", "chain", "inet", RULES_TABLE, "steer", NULL};
	const char *chain[] = {"nft", "list", "chain", "inet", RULES_TABLE, "q", NULL};
	const char *counters[] = {"nft", "list", "counters", "table", "inet", RULES_TABLE, NULL};
	*out = (struct rules_status){.note = ""};
	struct tool_result r = tool_run(ctx, table, NULL);
	if (r.status != 0 && !strstr(r.error, "No such file"))
		return fail(ctx, err, "nft", &r);
	out->loaded = r.status == 0;
	out->native_step = out->loaded && strstr(tool_run(ctx, chain, NULL).out, "queue ") != NULL;
	out->xt_step4 = strstr(twin_list(ctx, 0), COMMENT) != NULL;
	out->xt_step6 = strstr(twin_list(ctx, 1), COMMENT) != NULL;
	if (out->loaded) {
		out->note = read_note(ctx);
		read_counters(ctx, out, tool_run(ctx, counters, NULL).out);
	}
	return true;
}
