/*
 * line - explain and who: what happens to an address on port 25, and whose it is or was.
 *
 * Trusted with: reading. explain asks nfqd through acctd, for only it knows what it would decide
 * now. Diagnostics: on stderr. Known gaps: none.
 */
#include <string.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

static const struct col explain_cols[] = {
    {"SOURCE", "source", COL_TEXT},
    {"DESTINATION", "destination", COL_TEXT},
    {"DECISION", "decision", COL_TEXT},
    {"RULE", "rule", COL_TEXT},
    {"WHY", "why", COL_TEXT},
    {"IN_KERNEL", "in_kernel", COL_TEXT},
    {"CLASS", "class", COL_TEXT},
    {"EXEMPTION", "exemption_id", COL_NUM},
    {"PREFIX", "prefix", COL_TEXT},
    {"DESTINATIONS", "destinations", COL_TEXT},
    {"INTERFACE", "interface", COL_TEXT},
    {"POOL", "pool", COL_TEXT},
    {"LINE", "line", COL_TEXT},
    COL_END,
};
static const struct col who_cols[] = {
    {"SUBSCRIBER", "subscriber", COL_TEXT},
    {"PREFIX", "prefix", COL_TEXT},
    {"FROM", "from_ms", COL_TIME},
    {"TO", "to_ms", COL_TIME},
    {"PORT_LO", "port_lo", COL_NUM},
    {"PORT_HI", "port_hi", COL_NUM},
    {"SOURCE", "source", COL_TEXT},
    {"ACCOUNTS", "accounts", COL_TEXT},
    {"NAME", "subscriber_name", COL_TEXT},
    {"INCIDENTS", "incident_ids", COL_TEXT},
    {"EXEMPT", "exemptions", COL_TEXT},
    {"BLOCKED", "blocked", COL_NUM},
    COL_END,
};

/* Whose line it is now; [] when the database cannot say. */
static json_t *owners_now(struct cli *c, const struct addr *a)
{
	int ignored = EX_OK;
	const char *err = NULL;
	struct query *q = ask_query(c, &ignored);
	json_t *r = q ? query_who(q, a, -1, c->io->now_ms, &err) : NULL;
	return r ? r : json_array();
}

static void explain_print(struct cli *c, json_t *r)
{
	const json_t *owners = json_object_get(r, "subscribers");
	if (c->json) {
		out_json(c, r);
		return;
	}
	out_object(c, explain_cols, r);
	if (json_array_size(owners))
		out_rows(c, c->io->out_tty ? "Whose line it is" : "subscriber", who_cols, owners);
}

static int run_explain(struct cli *c)
{
	struct addr src, dst;
	char text[ADDR_STRLEN];
	int status = EX_OK;
	if (!ask_addr(c, c->args[0], &src, &status))
		return status;
	json_t *args = json_pack("{s:s}", "source", addr_format(&src, text));
	if (c->n_args > 1) {
		if (!ask_addr(c, c->args[1], &dst, &status)) {
			json_decref(args);
			return status;
		}
		if (addr_is4(&src) != addr_is4(&dst)) {
			json_decref(args);
			return cli_fail(c, EX_USAGE,
					"%s and %s: one is IPv4, the other IPv6: no connection "
					"goes from one to the other",
					c->args[0], c->args[1]);
		}
		json_object_set_new(args, "destination", json_string(addr_format(&dst, text)));
	}
	if (cli_text(c, "interface"))
		json_object_set_new(args, "interface", json_string(cli_text(c, "interface")));
	json_t *keep = json_incref(args);
	json_t *r = ask_control(c, "nfq.explain", args, &status);
	if (r) {
		json_object_update_missing(r, keep);
		json_object_set_new(r, "subscribers", owners_now(c, &src));
		explain_print(c, r);
	}
	json_decref(keep);
	json_decref(r);
	return status;
}

static const struct cli_opt explain_opts[] = {
    {"interface", CLI_TEXT, "NAME", "as if IP came in by it", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_verb explain_verbs[] = {
    {NULL, "IP [DST]", "Say what happens to a connection from IP to port 25 (of DST), and why.",
     "The answer is nfqd's own, from the policy it holds now. The interface that IP is behind is "
     "the one that the gateway's route to IP leads out by.",
     explain_opts, run_explain},
};
const struct cli_noun noun_explain = {"explain", "what happens to an address on port 25, and why",
				      CLI_VERBS(explain_verbs)};

/* Unresolved incidents of each subscriber found. */
static void add_incidents(struct query *q, json_t *rows)
{
	const char *err = NULL;
	json_t *all = query_incidents(q, &(struct query_list){.state = NULL}, ASK_ROWS, &err), *row,
	       *inc;
	size_t i, j;
	json_array_foreach (rows, i, row) {
		const char *ref = json_string_value(json_object_get(row, "subscriber")), *of;
		json_t *ids = json_array(), *list = json_array();
		json_array_foreach (all, j, inc) {
			of = json_string_value(json_object_get(inc, "subscriber"));
			if (!ref || !of || strcmp(ref, of) != 0)
				continue;
			json_array_append(ids, json_object_get(inc, "id"));
			json_array_append(list, inc);
		}
		json_object_set_new(row, "incident_ids", ids);
		json_object_set_new(row, "incidents", list);
	}
	json_decref(all);
}

/* Different subscribers among the rows. */
static bool several(const json_t *rows)
{
	const char *first = NULL;
	json_t *row;
	size_t i;
	json_array_foreach (rows, i, row) {
		const char *ref = json_string_value(json_object_get(row, "subscriber"));
		if (first && ref && strcmp(first, ref) != 0)
			return true;
		first = ref;
	}
	return false;
}

static int run_who(struct cli *c)
{
	struct addr a;
	int64_t port = -1, t = 0;
	int status = EX_OK;
	const char *err = NULL;
	if (!ask_addr(c, c->args[0], &a, &status) ||
	    !ask_time(c, c->args[c->n_args - 1], &t, &status))
		return status;
	if (c->n_args == 3 && !ask_int(c->args[1], 0, 65535, &port))
		return cli_fail(c, EX_USAGE, "%s is not a port", c->args[1]);
	struct query *q = ask_query(c, &status);
	json_t *r = q ? ask_got(c, query_who(q, &a, (int)port, t, &err), err, &status) : NULL;
	if (r) {
		add_incidents(q, r);
		status = out_list(c, who_cols, r);
	}
	if (r && several(r))
		cli_warn(c,
			 port < 0 ? "%s was several subscribers': give the port, too"
				  : "%s and that port were several subscribers'",
			 c->args[0]);
	if (r && status == CLI_NO)
		cli_warn(c, "nobody is known to have had %s then", c->args[0]);
	json_decref(r);
	return status;
}

static const struct cli_verb who_verbs[] = {
    {NULL, "IP [PORT] TIME", "Say which subscriber used an address (and port) at a time.",
     "The narrowest lease that holds the address counts; its subscriber's unresolved incidents "
     "are named. Several lines when the leases do not tell "
     "them apart, and a word about it on standard error; exit status 1 when nobody is known. "
     "EXEMPT are the subscriber's exemptions of the line, BLOCKED the refused port-25 packets of "
     "the address in the day before.",
     NULL, run_who},
};
const struct cli_noun noun_who = {"who", "who used an address at a time", CLI_VERBS(who_verbs)};
