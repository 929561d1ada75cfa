/*
 * answers - what nfqd tells when it is asked: nfq.explain, nfq.status, metrics (see daemon.h).
 *
 * Trusted with: nothing; it reads. Diagnostics: itself. Known gaps: which interface a source is
 * behind explain takes from the route to it.
 */
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metrics.h"

#include "nfq/daemon.h"
#include "nfq/procq.h"
#include "nfq/route.h"

static struct procq queue_row(const struct nfqd *d, unsigned number)
{
	char text[8192];
	struct procq q;
	ssize_t len = d->proc_queues < 0 ? -1 : pread(d->proc_queues, text, sizeof text - 1, 0);
	text[len < 0 ? 0 : len] = '\0';
	(void)procq_find(text, number, &q);
	return q;
}

static const char *backend(const struct nfqd *d)
{
	const int both = NFTSET_STEP_XT4 | NFTSET_STEP_XT6;
	if (d->state == NFQD_WAITING) /* what was seen last went with the tables */
		return "none";
	if (d->steps & NFTSET_STEP_NFT)
		return "nft";
	return (d->steps & both) == both ? "xt" : "none";
}

/* --- nfq.explain ----------------------------------------------------------------- */

struct asked {
	struct addr src;
	const struct addr *dst; /* NULL: any */
	unsigned index;		/* of the interface it comes in by; 0: not known */
	const char *interface;
	char name[IF_NAMESIZE];
};

struct explanation {
	const char *decision, *rule;
	char why[512];
	int64_t exemption_id;
	bool in_kernel;
};

static bool in_kernel_sets(struct nfqd *d, const struct addr *a)
{
	for (enum nftset_id set = 0; set < NFTSET_ALLOW_SETS; set++) {
		struct addr key;
		if (nftset_is6(set) == addr_is4(a))
			continue;
		ksync_key(set, a, &key);
		if ((nftset_present(d->sets, set) && nftset_has(d->sets, set, &key) == 1) ||
		    (nftset_present(d->sets, set + NFTSET_CLASS4_32) &&
		     nftset_has(d->sets, set + NFTSET_CLASS4_32, &key) == 1))
			return true;
	}
	return false;
}

/* What an exemption of that class means, besides passing. */
static const char *class_means(enum verdict_rule rule)
{
	switch (rule) {
	case VERDICT_THROTTLED:
		return "; new connections are limited";
	case VERDICT_LISTED:
		return "; only listed destinations";
	case VERDICT_UNLISTED:
		return "; this destination is not one of those listed";
	default:
		return "";
	}
}

static void explain_exempt(struct nfqd *d, const struct addr *src, const struct policy_item *i,
			   const struct verdict *v, struct explanation *x)
{
	const struct policy *p = shared_policy(d->shared);
	const struct prefix covers = policy_prefix(i);
	char who[ADDR_STRLEN], prefix[PREFIX_STRLEN], until[CLOCK_STRLEN] = "";
	if (i->expires_ms)
		(void)clock_format(i->expires_ms, until);
	x->decision = v->allow ? "allow" : "reject";
	x->rule = verdict_rule_name(v->rule);
	x->exemption_id = i->id;
	x->in_kernel = d->state != NFQD_WAITING && in_kernel_sets(d, src);
	(void)snprintf(
	    x->why, sizeof x->why, "%s is exempt by %s (exemption %" PRId64 ", class %s)%s%s%s%s",
	    addr_format(src, who), prefix_format(&covers, prefix), i->id, policy_class(p, i->class),
	    *until ? ", until " : "", until, class_means(v->rule),
	    x->in_kernel ? "" : "; not in the kernel's sets, each packet is judged by nfqd");
}

static bool is_denied(struct nfqd *d, const struct asked *q)
{
	struct addr key;
	uint8_t len = verdict_line(shared_lines(d->shared), &q->src, q->index, &key);
	enum nftset_id set = ksync_deny_set(addr_is4(&q->src), len);
	return d->state != NFQD_WAITING && set != NFTSET_COUNT && nftset_present(d->sets, set) &&
	       nftset_has(d->sets, set, &key) == 1;
}

static void explain_closed(struct nfqd *d, const struct asked *q, struct explanation *x)
{
	const struct addr *src = &q->src;
	char who[ADDR_STRLEN];
	enum nfq_subject subject = nfq_conf_subject(&d->conf, src, q->interface);
	if (subject == NFQ_OUTSIDE) {
		x->decision = "not-subject";
		x->rule = "not-a-subscriber-interface";
		(void)snprintf(x->why, sizeof x->why,
			       "%s is behind %s, which is no interface of subscribers or a pool",
			       addr_format(src, who), q->interface);
		return;
	}
	if (subject == NFQ_STRANGER) {
		x->decision = "not-subject";
		x->rule = "not-a-subscriber";
		(void)snprintf(x->why, sizeof x->why,
			       "%s is in no prefix of kernel-rules.subscriber_prefixes or a pool",
			       addr_format(src, who));
		return;
	}
	x->decision = "reject";
	x->rule = "closed";
	x->in_kernel = is_denied(d, q);
	if (!x->in_kernel && d->state == NFQD_NO_STEP && d->conf.fail) {
		x->decision = "allow";
		x->rule = "unfiltered";
		(void)snprintf(
		    x->why, sizeof x->why,
		    "nothing hands packets to the queue, and fail = open lets %s by; run "
		    "sekisho-rules load",
		    addr_format(src, who));
		return;
	}
	(void)snprintf(
	    x->why, sizeof x->why,
	    "no exemption covers %s, so port 25 is closed; submission on 587 "
	    "and 465 is open%s%s",
	    addr_format(src, who),
	    subject == NFQ_PERHAPS
		? "; in no subscriber prefix, it is closed behind interfaces of pools only"
		: "",
	    x->in_kernel ? "; it was refused lately, the kernel refuses it by itself" : "");
}

static void explain(struct nfqd *d, const struct asked *q, struct explanation *x)
{
	const struct addr *src = &q->src, *dst = q->dst;
	static const struct addr anywhere = {{0}};
	const struct policy *p = shared_policy(d->shared);
	int64_t utc = clock_utc_ms();
	const struct policy_item *i = policy_match(p, src, utc);
	char who[ADDR_STRLEN];
	*x = (struct explanation){0};
	if (d->state == NFQD_WAITING) {
		x->decision = "allow";
		x->rule = "not-loaded";
		(void)snprintf(x->why, sizeof x->why,
			       "tables ip and ip6 sekisho are not loaded: nothing is enforced; run "
			       "sekisho-rules load");
	} else if (dst && nfq_conf_own_mta(&d->conf, dst)) {
		x->decision = "not-subject";
		x->rule = "own-mta";
		(void)snprintf(x->why, sizeof x->why, "%s is one of kernel-rules.own_mta",
			       addr_format(dst, who));
	} else if (i) {
		struct verdict v = verdict_smtp(src, dst ? dst : &anywhere, p, utc);
		/* Asked for the source alone. */
		if (!dst && v.rule == VERDICT_UNLISTED)
			v = (struct verdict){VERDICT_LISTED, true, false, NULL};
		explain_exempt(d, src, i, &v, x);
	} else {
		explain_closed(d, q, x);
	}
}

/* NULL: the answer was an error. */
static const char *address_arg(struct feed_request *r, const json_t *args, const char *name,
			       bool required, struct addr *out)
{
	const char *text = json_string_value(json_object_get(args, name)), *err;
	if (!text && !required)
		return "";
	if (!text) {
		feed_reply(r, false, json_sprintf("%s is missing: give an address", name));
		return NULL;
	}
	if (!addr_parse(text, out, &err)) {
		feed_reply(r, false, json_sprintf("%s: %s", name, err));
		return NULL;
	}
	return text;
}

/* What the exemption that decides says; nothing when there is none. */
static void add_exemption(const struct nfqd *d, const struct addr *src, json_t *o)
{
	const struct policy *p = shared_policy(d->shared);
	const struct policy_item *i = policy_match(p, src, clock_utc_ms());
	char text[PREFIX_STRLEN];
	if (!i)
		return;
	const struct prefix covers = policy_prefix(i);
	(void)json_object_set_new(o, "exemption_id", json_integer(i->id));
	(void)json_object_set_new(o, "class", json_string(policy_class(p, i->class)));
	(void)json_object_set_new(o, "prefix", json_string(prefix_format(&covers, text)));
	if (!i->dsts)
		return;
	json_t *list = json_array();
	for (unsigned n = 0; n < i->dsts->n; n++)
		(void)json_array_append_new(list, json_string(prefix_format(&i->dsts->v[n], text)));
	(void)json_object_set_new(o, "destinations", list);
}

static void add_line(const struct nfqd *d, const struct asked *q, json_t *o)
{
	const struct nfq_pool *pool = nfq_conf_pool_of(&d->conf, &q->src, q->interface);
	struct prefix line;
	char text[PREFIX_STRLEN];
	line.len = verdict_line(shared_lines(d->shared), &q->src, q->index, &line.a);
	(void)json_object_set_new(o, "line", json_string(prefix_format(&line, text)));
	if (pool)
		(void)json_object_set_new(o, "pool", json_string(pool->name));
	if (q->interface)
		(void)json_object_set_new(o, "interface", json_string(q->interface));
}

/* The interface that is named, else the one that the route to the source leads out by. */
static bool find_interface(struct feed_request *r, const json_t *args, struct asked *q)
{
	const char *name = json_string_value(json_object_get(args, "interface"));
	q->index = name ? if_nametoindex(name) : route_interface(&q->src);
	if (name && q->index == 0) {
		feed_reply(r, false, json_sprintf("there is no interface %s", name));
		return false;
	}
	q->interface = q->index > 0 ? if_indextoname(q->index, q->name) : NULL;
	return true;
}

static void answer_explain(struct nfqd *d, struct feed_request *r, const json_t *args)
{
	struct asked q = {.index = 0};
	struct addr dst;
	struct explanation x;
	if (!address_arg(r, args, "source", true, &q.src))
		return;
	const char *to = address_arg(r, args, "destination", false, &dst);
	if (!to || !find_interface(r, args, &q))
		return;
	q.dst = *to ? &dst : NULL;
	explain(d, &q, &x);
	json_t *o = json_pack("{s:s, s:s, s:s, s:b}", "decision", x.decision, "rule", x.rule, "why",
			      x.why, "in_kernel", (int)x.in_kernel);
	if (x.exemption_id)
		add_exemption(d, &q.src, o);
	add_line(d, &q, o);
	feed_reply(r, true, o);
}

/* --- nfq.status ------------------------------------------------------------------ */

/* Without the file of depths (it is root's alone) the socket says what waits in it. */
static json_t *queue_depth(const struct nfqd *d, unsigned number)
{
	return d->proc_queues < 0 ? json_null()
				  : json_integer((json_int_t)queue_row(d, number).depth);
}

static json_t *status_queues(const struct nfqd *d)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < d->n_workers; i++) {
		const struct worker *w = d->workers[i];
		struct worker_counts c = worker_counts(w);
		struct procq q = queue_row(d, d->queues[i]);
		uint64_t user = q.user_dropped ? q.user_dropped : worker_drops(w);
		(void)json_array_append_new(
		    list,
		    json_pack("{s:I, s:s, s:b, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "queue",
			      (json_int_t)d->queues[i], "fail",
			      queues_fail_open(d, i) ? "open" : "closed", "healthy",
			      (int)worker_healthy(w), "depth", queue_depth(d, d->queues[i]),
			      "waiting_bytes", (json_int_t)worker_waiting(w), "dropped",
			      (json_int_t)q.dropped, "user_dropped", (json_int_t)user, "packets",
			      (json_int_t)c.packets, "verdict_errors", (json_int_t)c.verdict_errors,
			      "learned_lost", (json_int_t)c.learned_lost));
	}
	return list;
}

/* Those in no pool come last, without a name. */
static json_t *status_pools(const struct nfqd *d)
{
	static const char *const fails[] = {"closed", "open"};
	static const char *const reactions[] = {"reset", "icmp", "drop"};
	json_t *list = json_array();
	for (size_t i = 0; i < d->conf.pools.n; i++) {
		const struct nfq_pool *p = nfq_conf_pool(&d->conf, i);
		(void)json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s, s:b}", "pool", p->name, "fail", fails[p->fail],
				    "reaction", reactions[p->reaction], "notice", (int)p->notice));
	}
	(void)json_array_append_new(list, json_pack("{s:n, s:s, s:s}", "pool", "fail",
						    fails[d->conf.fail], "reaction",
						    reactions[d->conf.reaction]));
	return list;
}

/*
 * What was queued and not judged, and does not wait any more, the kernel dropped or let by: with
 * what the rules saw come back, everything that nfqd did not decide. What a crash made go round
 * again (64 packets a queue at most) was queued twice, and is counted here once.
 */
static uint64_t unfiltered(const struct nfqd *d)
{
	uint64_t queued = kernel_counter(d, "queued"), judged = kernel_counter(d, "judged");
	for (unsigned i = 0; i < d->n_workers; i++)
		judged += queue_row(d, d->queues[i]).depth;
	return kernel_counter(d, "unfiltered") + (queued > judged ? queued - judged : 0);
}

static json_t *status_suspects(const struct nfqd *d)
{
	return json_pack("{s:I, s:I, s:I}", "now", (json_int_t)suspect_now(d->suspect), "told",
			 (json_int_t)d->suspects_told, "evicted",
			 (json_int_t)suspect_evicted(d->suspect));
}

static json_t *status_sets(const struct nfqd *d)
{
	size_t counts[NFTSET_FILLED];
	json_t *o = json_object(), *missing = json_array();
	ksync_fill(d->ksync, counts);
	for (enum nftset_id i = 0; i < NFTSET_COUNT; i++) {
		bool there = nftset_present(d->sets, i), delegated = i > NFTSET_DENY4;
		if (there && i < NFTSET_FILLED)
			(void)json_object_set_new(o, nftset_label(i),
						  json_integer((json_int_t)counts[i]));
		/* Of the deny sets there are as many as there are lengths in use. */
		if (!there && d->state != NFQD_WAITING && !(delegated && i < NFTSET_FILLED))
			(void)json_array_append_new(missing, json_string(nftset_label(i)));
	}
	(void)json_object_set_new(o, "missing", missing);
	(void)json_object_set_new(o, "size", json_integer(d->conf.set_size));
	return o;
}

static json_t *status_verdicts(const struct nfqd *d)
{
	json_t *o = json_object();
	for (unsigned rule = 0; rule < VERDICT_RULES; rule++) {
		uint64_t n = 0;
		for (unsigned i = 0; i < d->n_workers; i++)
			n += worker_counts(d->workers[i]).by_rule[rule];
		(void)json_object_set_new(o, verdict_rule_name(rule), json_integer((json_int_t)n));
	}
	return o;
}

static json_t *status_counters(const struct nfqd *d)
{
	json_t *o = json_object();
	for (unsigned i = 0; i < d->n_counters; i++)
		(void)json_object_set_new(o, d->counters[i].name,
					  json_integer((json_int_t)d->counters[i].packets));
	return o;
}

/* What the loader left in the table: "VERSION: STEP: REASON". */
struct rules_note {
	char version[NFTSET_NOTE];
	const char *reason;
};

static void read_note(const struct nfqd *d, struct rules_note *out)
{
	(void)snprintf(out->version, sizeof out->version, "%s", d->note);
	char *step = strstr(out->version, ": "), *reason = step ? strstr(step + 2, ": ") : NULL;
	out->reason = reason ? reason + 2 : "";
	if (reason)
		*step = '\0';
	/* Why it was chosen says nothing when it is gone. */
	if (d->state != NFQD_RUNNING)
		out->reason = d->state == NFQD_WAITING ? "the rules are not loaded"
						       : "the queue step was taken away";
}

static json_t *status(const struct nfqd *d)
{
	const struct policy *p = shared_policy(d->shared);
	struct rules_note note;
	read_note(d, &note);
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b}", "version",
			      SEKISHO_VERSION, "state", nfqd_shown_state(d), "backend", backend(d),
			      "backend_reason", note.reason, "rules_version", note.version, "fail",
			      d->conf.fail ? "open" : "closed", "set_full", (int)d->full,
			      "set_alarm", (int)d->alarmed);
	(void)json_object_set_new(o, "enforcing",
				  json_boolean(d->state == NFQD_RUNNING && nfqd_healthy(d)));
	(void)json_object_set_new(o, "unfiltered", json_integer((json_int_t)unfiltered(d)));
	(void)json_object_set_new(o, "stalls", json_integer((json_int_t)d->stalls));
	(void)json_object_set_new(o, "suspects", status_suspects(d));
	(void)json_object_set_new(o, "pools", status_pools(d));
	(void)json_object_set_new(o, "queues", status_queues(d));
	(void)json_object_set_new(
	    o, "policy",
	    json_pack("{s:I, s:I, s:I, s:I, s:b, s:b, s:s, s:s}", "version",
		      (json_int_t)policy_version(p), "applied", (json_int_t)d->applied, "entries",
		      (json_int_t)policy_count(p), "loose", (json_int_t)ksync_loose(d->ksync),
		      "known", (int)d->policy_known, "on_disk",
		      (int)policy_store_has(d->store, policy_version(p)), "unknown_class",
		      d->unknown, "class_without_chain", ksync_unchained(d->ksync)));
	(void)json_object_set_new(o, "sampled", json_boolean(d->sampled));
	(void)json_object_set_new(o, "sets", status_sets(d));
	(void)json_object_set_new(o, "verdicts", status_verdicts(d));
	(void)json_object_set_new(o, "counters", status_counters(d));
	(void)json_object_set_new(
	    o, "feed",
	    json_pack("{s:b, s:I}", "connected", (int)d->connected, "age_ms",
		      (json_int_t)(d->heard_ms ? clock_mono_ms() - d->heard_ms : -1)));
	(void)json_object_set_new(
	    o, "outbox",
	    json_pack("{s:I, s:I, s:I, s:I}", "batches", (json_int_t)outbox_batches(d->outbox),
		      "bytes", (json_int_t)outbox_bytes(d->outbox), "events_lost",
		      (json_int_t)outbox_lost(d->outbox), "packets_unattributed",
		      (json_int_t)stats_lost(d->stats)));
	return o;
}

void answers_request(struct feed_request *r, const char *op, const json_t *args, void *arg)
{
	struct nfqd *d = arg;
	d->heard_ms = clock_mono_ms();
	if (strcmp(op, "nfq.explain") == 0)
		answer_explain(d, r, args);
	else if (strcmp(op, "nfq.status") == 0)
		feed_reply(r, true, status(d));
	else
		feed_reply(r, false, json_sprintf("nfqd does not know the request %s", op));
}

/* --- metrics --------------------------------------------------------------------- */

static void metric(enum metric_type type, const char *name, const char *labels, const char *help,
		   uint64_t v)
{
	metric_set(metric_new(type, name, labels, help), (int64_t)v);
}

static void refresh_queues(const struct nfqd *d)
{
	for (unsigned i = 0; i < d->n_workers; i++) {
		char labels[48];
		const struct worker *w = d->workers[i];
		struct worker_counts c = worker_counts(w);
		(void)snprintf(labels, sizeof labels, "queue=\"%u\",fail=\"%s\"",
			       (unsigned)d->queues[i], queues_fail_open(d, i) ? "open" : "closed");
		struct procq q = queue_row(d, d->queues[i]);
		if (d->proc_queues >= 0)
			metric(METRIC_GAUGE, "sekisho_nfq_queue_depth_packets", labels,
			       "Packets waiting for a verdict.", q.depth);
		metric(METRIC_GAUGE, "sekisho_nfq_queue_waiting_bytes", labels,
		       "Memory of the packets waiting in the socket.", worker_waiting(w));
		metric(METRIC_GAUGE, "sekisho_nfq_queue_healthy", labels,
		       "1: what waits is answered.", worker_healthy(w));
		metric(METRIC_COUNTER, "sekisho_nfq_queue_dropped_total", labels,
		       "Packets that the queue had no room for.", q.dropped);
		metric(METRIC_COUNTER, "sekisho_nfq_queue_user_dropped_total", labels,
		       "Packets that the socket had no room for.",
		       q.user_dropped ? q.user_dropped : worker_drops(w));
		metric(METRIC_COUNTER, "sekisho_nfq_packets_total", labels, "Packets judged.",
		       c.packets);
		metric(METRIC_COUNTER, "sekisho_nfq_verdict_errors_total", labels,
		       "Verdicts that the kernel refused (the packet was gone).", c.verdict_errors);
		metric(METRIC_COUNTER, "sekisho_nfq_learned_lost_total", labels,
		       "Refused sources that were not put into the deny sets in time.",
		       c.learned_lost);
	}
}

static void refresh_watch(const struct nfqd *d)
{
	metric(METRIC_COUNTER, "sekisho_nfq_unfiltered_packets_total", NULL,
	       "Packets of subscribers that nobody judged.", unfiltered(d));
	metric(METRIC_COUNTER, "sekisho_nfq_stalls_total", NULL,
	       "Times that a queue was not answered.", d->stalls);
	metric(METRIC_COUNTER, "sekisho_nfq_upgrades_refused_total", NULL,
	       "Upgrades that the new program did not pass.", d->upgrades_refused);
	metric(METRIC_GAUGE, "sekisho_nfq_suspects", NULL, "Lines that behave like a zombie.",
	       suspect_now(d->suspect));
	metric(METRIC_COUNTER, "sekisho_nfq_suspects_told_total", NULL,
	       "Reports of suspected lines to acctd.", d->suspects_told);
	metric(METRIC_COUNTER, "sekisho_nfq_suspects_evicted_total", NULL,
	       "Lines forgotten before their time for want of room.", suspect_evicted(d->suspect));
	metric(METRIC_GAUGE, "sekisho_nfq_feed_age_seconds", NULL, "Since the last word of acctd.",
	       d->heard_ms ? (uint64_t)(clock_mono_ms() - d->heard_ms) / 1000 : 0);
	metric(METRIC_GAUGE, "sekisho_nfq_policy_known_version", NULL,
	       "Policy version held, in force or not.", policy_version(shared_policy(d->shared)));
}

static void refresh_rules(const struct nfqd *d)
{
	char labels[64];
	for (unsigned rule = 0; rule < VERDICT_RULES; rule++) {
		uint64_t n = 0;
		for (unsigned i = 0; i < d->n_workers; i++)
			n += worker_counts(d->workers[i]).by_rule[rule];
		(void)snprintf(labels, sizeof labels, "rule=\"%s\"", verdict_rule_name(rule));
		metric(METRIC_COUNTER, "sekisho_nfq_verdicts_total", labels, "Verdicts by rule.",
		       n);
	}
	for (unsigned i = 0; i < d->n_counters; i++) {
		(void)snprintf(labels, sizeof labels, "counter=\"%s\"", d->counters[i].name);
		metric(METRIC_COUNTER, "sekisho_nfq_kernel_packets_total", labels,
		       "Packets as the ruleset counted them.", d->counters[i].packets);
	}
}

static void refresh(void *arg)
{
	const struct nfqd *d = arg;
	size_t counts[NFTSET_FILLED];
	char labels[64];
	refresh_queues(d);
	refresh_rules(d);
	refresh_watch(d);
	ksync_fill(d->ksync, counts);
	for (enum nftset_id i = 0; i < NFTSET_FILLED; i++) {
		if (!nftset_present(d->sets, i))
			continue;
		(void)snprintf(labels, sizeof labels, "set=\"%s\"", nftset_label(i));
		metric(METRIC_GAUGE, "sekisho_nfq_set_elements", labels,
		       "Elements of a kernel set.", counts[i]);
	}
	metric(METRIC_GAUGE, "sekisho_nfq_set_size", NULL, "Most elements of a set.",
	       (uint64_t)d->conf.set_size);
	metric(METRIC_GAUGE, "sekisho_nfq_enforcing", NULL,
	       "1: the rules are in place, and what is queued is answered.",
	       d->state == NFQD_RUNNING && nfqd_healthy(d));
	metric(METRIC_GAUGE, "sekisho_nfq_policy_entries", NULL, "Exemptions known.",
	       policy_count(shared_policy(d->shared)));
	metric(METRIC_GAUGE, "sekisho_nfq_policy_version", NULL, "Policy version in force.",
	       d->applied);
	metric(METRIC_GAUGE, "sekisho_nfq_feed_connected", NULL, "1: connected to acctd.",
	       d->connected);
	metric(METRIC_GAUGE, "sekisho_nfq_outbox_bytes", NULL,
	       "Events that acctd has not acknowledged.", outbox_bytes(d->outbox));
	metric(METRIC_COUNTER, "sekisho_nfq_events_lost_total", NULL,
	       "Events given up for want of room.", outbox_lost(d->outbox));
}

void answers_metrics(struct nfqd *d)
{
	const char *err;
	refresh(d);
	if (!metrics_serve(d->base, d->conf.metrics, refresh, d, &err))
		fatal("nfq.metrics = \"%s\": %s", d->conf.metrics, err);
}
