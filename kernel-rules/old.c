/*
 * old - see old.h.
 *
 * Trusted with: CAP_NET_ADMIN, for the time of one command. Diagnostics: the tools' own words.
 * Known gaps: the kernel drops what waits in a queue when the old base chains go, once.
 */
#include <string.h>
#include <talloc.h>

#include "kernel-rules/old.h"
#include "kernel-rules/ruleset.h"
#include "kernel-rules/tool.h"

#define COMMENT "sekisho-queue-step"

static const char *const xt_tools[] = {"iptables-nft", "ip6tables-nft"};
static const char *const xt_families[] = {"ip", "ip6"};

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
	/* rule: "-A FORWARD ..."; our arguments held no blanks. */
	for (char *word = strtok_r(rule, " ", &save); word && n < 63;
	     word = strtok_r(NULL, " ", &save))
		if (strcmp(word, "-A") != 0)
			argv[n++] = word;
	struct tool_result r = tool_run(ctx, argv, NULL);
	return r.status == 0 || tool_fail(ctx, err, xt_tools[i], &r);
}

/* Without a rule of anybody else the table mangle goes too: it would cost every packet. */
static bool twin_remove(void *ctx, size_t i, char **err)
{
	const char *argv[] = {"nft", "delete", "table", xt_families[i], "mangle", NULL};
	char *save = NULL, *list = twin_list(ctx, i);
	if (!strstr(list, COMMENT))
		return true;
	for (char *l = strtok_r(list, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (strncmp(l, "-A FORWARD ", 11) == 0 && strstr(l, COMMENT) &&
		    !twin_delete(ctx, i, l, err))
			return false;
	if (!strstr(twin_list(ctx, i), "-A "))
		(void)tool_run(ctx, argv, NULL);
	return true;
}

bool old_remove(void *ctx, char **err)
{
	const char *list[] = {"nft", "list", "chain", "inet", RULES_TABLE, "steer", NULL};
	const char *delete[] = {"nft", "delete", "table", "inet", RULES_TABLE, NULL};
	for (size_t i = 0; i < 2; i++)
		if (!twin_remove(ctx, i, err))
			return false;
	if (tool_run(ctx, list, NULL).status != 0)
		return true;
	struct tool_result r = tool_run(ctx, delete, NULL);
	return r.status == 0 || tool_fail(ctx, err, "nft", &r);
}
