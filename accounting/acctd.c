/*
 * sekisho-acctd - the only writer of the accounting database, and the only door for changes.
 *
 *   feed.sock     nfqd and msad: events in, policy and requests out        feed_server.c
 *   control.sock  sekishoctl and the CGI: JSON requests, roles, audit       control_server.c,
 * ops_*.c ratelimitd    penalties in, penalties and limits out                    incident.c
 *   UDP           RADIUS accounting, when configured: leases in             radius_server.c
 *   control.db    the store                                                 store*.c, schema/
 *   -x alert      a process of its own that sends alerts                    alert/
 *
 * Trusted with: the accounting database and the raw reports. Not trusted with: packets, mail, ports
 * below 1024; it needs no capability. Foreign mail is read in a child of its own (arf_child.c).
 *
 * Diagnostics: log lines store, feed, radius, control, incident, audit, report; metrics
 * sekisho_accounting_*. Known gaps: retention deletes rows in steps instead of dropping files of a
 * day.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/login.h"
#include "lib/metrics.h"
#include "lib/proc.h"
#include "ratelimit/answer.h"
#include "accounting/acctd.h"
#include "accounting/alert/role.h"
#include "accounting/alert/rules.h"
#include "accounting/evidence_run.h"
#include "accounting/import.h"
#include "accounting/ops_lease.h"

#define PRUNE_S	      600
#define FOLLOW_S      1
#define PRUNE_MORE_MS 200

#define OFF(field) offsetof(struct acctd_conf, field)
static const struct conf_key keys[] = {
    CONF_COMMON_ROWS,
    {"accounting", "admins", CONF_LIST, OFF(admins), "", 0, 0, NULL, true,
     "users, besides root, who act on the control socket as themselves", false},
    {"accounting", "retention", CONF_DURATION, OFF(retention_ms), "180d", 86400000,
     365 * 86400000LL, NULL, true, "how long events, ended leases and abuse reports are kept",
     false},
    {"accounting", "session_idle", CONF_DURATION, OFF(session_idle_ms), "30m", 60000, 86400000,
     NULL, true, "a dashboard session ends after this long without use", false},
    {"accounting", "session_lifetime", CONF_DURATION, OFF(session_lifetime_ms), "12h", 60000,
     7 * 86400000LL, NULL, true, "a dashboard session ends after this long in any case", false},
    {"accounting", "complaints_hold", CONF_INT, OFF(complaints_hold), "0", 0, 1000, NULL, true,
     "this many complaints in one incident hold the account's mail; 0: never by themselves", false},
    {"accounting", "evidence_interval", CONF_DURATION, OFF(evidence_interval_ms), "1d", 0,
     365 * 86400000LL, NULL, true,
     "how often the DNS is asked about each exemption; 0: only when somebody asks", false},
    {"accounting", "evidence_grace", CONF_DURATION, OFF(evidence_grace_ms), "7d", 0,
     365 * 86400000LL, NULL, true,
     "an exemption whose evidence was lost is suspended after this long", false},
    {"accounting", "evidence_required", CONF_BOOL, OFF(evidence_required), "false", 0, 0, NULL,
     true, "an exemption is activated with evidence only", false},
    {"accounting", "dns_server", CONF_STRING, OFF(dns_server), "", 0, 0, NULL, false,
     "the resolver to ask, ADDRESS or ADDRESS:PORT; empty: the system's", false},
    {"accounting", "dns_trust_anchor", CONF_PATH, OFF(dns_trust_anchor), "", 0, 0, NULL, false,
     "DNSSEC trust anchors; empty: nothing is validated", false},
    {"accounting", "metrics", CONF_STRING, OFF(metrics), "127.0.0.1:9428", 0, 0, NULL, false,
     "where Prometheus metrics are served; empty: nowhere", false},
    {"accounting", "reflex_exemption", CONF_ENUM, OFF(reflex.exemption), "note", 0, 0,
     "off|note|suspend", true,
     "what a hold does to the exemption of the line that the account's mail came from", false},
    {"accounting", "reflex_accounts", CONF_ENUM, OFF(reflex.accounts), "watch", 0, 0,
     "off|watch|hold", true,
     "what a suspension for abuse does to the accounts that were used from the line", false},
    {"accounting", "radius_listen", CONF_LIST, OFF(radius.listen), "", 0, 0, NULL, false,
     "ADDRESS:PORT where RADIUS accounting is taken; empty: nowhere", false},
    {"accounting", "radius_clients", CONF_LIST, OFF(radius.clients), "", 0, 0, NULL, true,
     "who may send it: \"ADDRESS[/LENGTH] SECRETFILE\"", false},
    {"accounting", "radius_subscriber", CONF_ENUM, OFF(radius.subscriber), "user-name", 0, 0,
     "user-name|class", true, "the attribute that is the subscriber's reference", false},
    {"accounting", "radius_message_authenticator", CONF_BOOL, OFF(radius.message_authenticator),
     "no", 0, 0, NULL, true, "refuse packets without a Message-Authenticator", false},
    {"accounting", "radius_netmask", CONF_BOOL, OFF(radius.netmask), "no", 0, 0, NULL, true,
     "Framed-IP-Netmask says that the whole network is the subscriber's", false},
    {"accounting", "radius_port_exclusive", CONF_BOOL, OFF(radius.port_exclusive), "no", 0, 0, NULL,
     true, "a session ends when another begins on the same NAS-Port", false},
    {"accounting", "lease_silence", CONF_DURATION, OFF(radius.silence_ms), "0", 0, 30 * 86400000LL,
     NULL, true, "a session that sent Interim-Updates ends after this long without one; 0: never",
     false},
    {"accounting", "dashboard_url", CONF_STRING, OFF(alerts.dashboard_url), "", 0, 0, NULL, true,
     "where people find the dashboard, for the links in alerts", false},
    {"accounting", "alert_away", CONF_DURATION, OFF(alerts.limits.away_ms), "1m", 0, 86400000, NULL,
     true, "a daemon that is away so long is told by alerts", false},
    {"accounting", "alert_queue_depth", CONF_INT, OFF(alerts.limits.queue_depth), "10000", 0,
     1000000000, NULL, true, "more messages in the queue are told by alerts; 0: no limit", false},
    {"accounting", "alert_queue_age", CONF_DURATION, OFF(alerts.limits.queue_age_ms), "6h", 0,
     30 * 86400000LL, NULL, true, "an older message in the queue is told by alerts; 0: no limit",
     false},
    {"accounting", "alert_disk_free", CONF_INT, OFF(alerts.limits.disk_free), "5", 0, 99, NULL,
     true, "less of the disk with state_dir, in percent, is told by alerts", false},
    ALERT_ROWS(OFF(alerts.rules)),
    {"msa", "hostname", CONF_STRING, OFF(hostname), "", 0, 0, NULL, false,
     "the submission server's name, to know its Received headers", true},
    {"msa", "login_case", CONF_ENUM, OFF(login_case), LOGIN_CASE_DEFAULT, 0, 0, LOGIN_CASE_CHOICES,
     false, "what is before the @ of a login", true},
    {"class", "", CONF_GROUP, OFF(classes), NULL, 0, sizeof(struct acctd_class), NULL, true, NULL,
     true},
    {"class", "listed", CONF_BOOL, offsetof(struct acctd_class, listed), "false", 0, 0, NULL, true,
     "for listed destinations only", true},
};
#define N_KEYS (sizeof keys / sizeof keys[0])

struct daemon {
	struct acctd a; /* first */
	void *conf_ctx;
	const char *conf_file;
	struct event *prune;
};

/* --- timers --- */

static void timer_in(struct event *ev, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	(void)event_add(ev, &tv);
}

static void on_expiry(evutil_socket_t none, short what, void *arg)
{
	(void)none, (void)what;
	policy_plan_expiry(arg);
}

static void forget_raw(const char *sha256, void *arg)
{
	struct acctd *a = arg;
	char *path = NULL;
	if (asprintf(&path, "%s/accounting/reports/%s", a->conf.common.state_dir, sha256) < 0)
		fatal("out of memory");
	if (unlink(path) != 0 && errno != ENOENT)
		log_event(LOG_WARNING, "-", "report", "unlink-failed", LS("path", path),
			  LS("why", strerror(errno)));
	free(path);
}

static void on_prune(evutil_socket_t none, short what, void *arg)
{
	struct daemon *d = arg;
	struct acctd *a = &d->a;
	int64_t now = clock_utc_ms();
	(void)none, (void)what;
	bool more = store_prune(a->store, now - a->conf.retention_ms,
				now - a->conf.session_lifetime_ms, forget_raw, a);
	timer_in(d->prune, more ? PRUNE_MORE_MS : PRUNE_S * 1000LL);
}

/* --- ratelimitd --- */

static bool set_penalty(const struct rl_penalty *p, void *arg)
{
	struct acctd *a = arg;
	return rl_set(a->rl, p);
}

static void on_penalty(const struct rl_penalty *p, void *arg)
{
	struct acctd *a = arg;
	incidents_penalty(a->incidents, p, clock_utc_ms());
}

static void on_synced(void *arg)
{
	struct acctd *a = arg;
	incidents_synced(a->incidents, clock_utc_ms());
}

static void on_rl_state(bool connected, void *arg)
{
	struct acctd *a = arg;
	log_event(LOG_NOTICE, "-", "ratelimit", connected ? "connected" : "disconnected");
	if (connected)
		incidents_connected(a->incidents);
}

/* A line that knocks at port 25: the detector looks at the accounts that are used from there. */
static void on_packets(const struct event *e, void *arg)
{
	struct acctd *a = arg;
	struct rl_observation o = {.what = RL_SEEN_SYN25,
				   .account = "",
				   .client = e->src,
				   .t_ms = e->t_ms,
				   .n = e->u.block.packets,
				   .m = e->u.block.dsts,
				   .plen = e->u.block.plen};
	if (e->kind == EVENT_BLOCK)
		(void)rl_observe(a->rl, &o);
}

/* What the detector knows the kind of answer by; codes of servers differ, and their words more. */
static const char *code_of(const struct event *e)
{
	switch (answer_kind(e->u.bounce.answer)) {
	case ANSWER_KIND_UNKNOWN:
		return "5.1.1";
	case ANSWER_KIND_SPAM:
		return "5.7.1";
	default:
		return "";
	}
}

/* A recipient was not reached after all. */
static void on_bounce(const char *login, const struct event *e, void *arg)
{
	struct acctd *a = arg;
	struct rl_observation o = {
	    .what = RL_SEEN_BOUNCE, .account = login, .t_ms = e->t_ms, .text = code_of(e), .n = 1};
	(void)rl_observe(a->rl, &o);
}

/* --- held mail --- */

/* Its message tells of the line it came from, and comes after the hold. */
static void on_mail(const struct event *e, void *arg)
{
	struct acctd *a = arg;
	struct timeval soon = {.tv_sec = FOLLOW_S};
	if (e->kind != EVENT_MESSAGE || !e->u.message.held ||
	    a->conf.reflex.exemption == REFLEX_EXEMPTION_OFF)
		return;
	(void)json_object_set_new(a->held, e->u.message.account, json_true());
	if (!event_pending(a->follow, EV_TIMEOUT, NULL))
		(void)event_add(a->follow, &soon);
}

static void on_follow(evutil_socket_t none, short what, void *arg)
{
	struct acctd *a = arg;
	struct store_incident inc;
	const char *account;
	json_t *value;
	(void)none, (void)what;
	store_begin(a->store);
	json_object_foreach (a->held, account, value) {
		if (store_incident_of(a->store, account, NULL, &inc) &&
		    strcmp(inc.detector, "operator") != 0)
			incidents_follow(a->incidents, inc.id, clock_utc_ms());
	}
	(void)store_commit(a->store, NULL, NULL);
	(void)json_object_clear(a->held);
}

static void on_applied(const char *program, uint64_t version, void *arg)
{
	struct acctd *a = arg;
	policy_applied(a, program, version);
	radius_server_applied(a->radius, program, version);
}

/* --- start and stop --- */

static void use_rules(struct acctd *a)
{
	a->rules = (struct control_rules){.admins = &a->conf.admins,
					  .session_idle_ms = a->conf.session_idle_ms,
					  .session_lifetime_ms = a->conf.session_lifetime_ms,
					  .login_case = (enum login_case)a->conf.login_case};
}

static void on_stop(void *arg)
{
	struct daemon *d = arg;
	proc_stopping();
	(void)event_base_loopbreak(d->a.base);
}

/* False with *err under ctx, as conf_load() says it. */
static bool reload_radius(struct acctd *a, void *ctx, const struct acctd_conf *fresh, char **err)
{
	char *why = NULL;
	if (radius_server_reload(a->radius, &fresh->radius, &why))
		return true;
	*err = talloc_strdup(ctx, why);
	free(why);
	return false;
}

static void on_reload(void *arg)
{
	struct daemon *d = arg;
	struct acctd_conf fresh = {.retention_ms = 0};
	void *ctx = talloc_new(NULL);
	char *err = NULL;
	proc_reloading();
	if (conf_load(ctx, d->conf_file, keys, N_KEYS, &fresh, &err) &&
	    rules_check(ctx, &fresh.alerts.rules, &err) &&
	    conf_may_reload(ctx, keys, N_KEYS, &d->a.conf, &fresh, &err) &&
	    reload_radius(&d->a, ctx, &fresh, &err)) {
		talloc_free(d->conf_ctx);
		d->conf_ctx = ctx;
		d->a.conf = fresh;
		use_rules(&d->a);
		evidence_plan(&d->a);
		alerts_reloaded(d->a.alerts);
		log_event(LOG_NOTICE, "-", "accounting", "reloaded");
	} else {
		log_event(LOG_ERR, "-", "accounting", "reload-refused", LS("why", err));
		talloc_free(ctx);
	}
	proc_ready(NULL);
}

static void make_folders(const struct acctd *a, const struct proc_identity *id)
{
	static const char *const names[] = {"", "/accounting", "/accounting/reports"};
	char path[4096];
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s%s", a->conf.common.state_dir, names[i]);
		if (!proc_folder(path, 0750, id))
			fatal_errno("%s", path);
	}
	if (!proc_folder(a->conf.common.run_dir, 0755, id))
		fatal_errno("%s", a->conf.common.run_dir);
}

static void connect_ratelimitd(struct acctd *a)
{
	static const struct rl_handlers h = {
	    .penalty = on_penalty, .synced = on_synced, .state = on_rl_state};
	a->incidents = incidents_new(a->store, set_penalty, a);
	incidents_reflexes(a->incidents, &a->conf.reflex);
	a->rl = rl_new(a->base, a->conf.common.run_dir, 1000, &h, a);
}

static void open_all(struct acctd *a)
{
	char *err = NULL;
	const char *why = NULL;
	a->store = store_open(a->conf.common.state_dir, &err);
	if (!a->store)
		fatal("%s", err);
	store_accounts_fold(a->store, (enum login_case)a->conf.login_case);
	a->backoff = backoff_new();
	a->held = json_object();
	a->follow = evtimer_new(a->base, on_follow, a);
	if (!a->follow)
		fatal("out of memory");
	use_rules(a);
	connect_ratelimitd(a); /* before the sockets: an operation may need it at once */
	a->feed = feed_server_new(a->base, a->conf.common.run_dir, a->store, on_applied, a, &err);
	if (!a->feed)
		fatal("%s", err);
	store_on_bounce(a->store, on_bounce, a);
	feed_server_watch(a->feed, "nfqd", on_packets, a);
	feed_server_watch(a->feed, "msad", on_mail, a);
	a->radius = radius_server_new(a->base, &a->conf.radius, a->store, a->feed, &err);
	if (!a->radius)
		fatal_config("%s", err);
	a->control =
	    control_server_new(a->base, a->conf.common.run_dir, a->store, &a->rules, a, &err);
	if (!a->control)
		fatal("%s", err);
	a->evidence = evidence_runner_new(a, &why);
	if (!a->evidence)
		fatal_config("accounting.dns_server or dns_trust_anchor: %s", why);
	a->alerts = alerts_new(a, proc_own_file());
	if (!metrics_serve(a->base, a->conf.metrics, NULL, NULL, &why))
		fatal_config("accounting.metrics %s: %s", a->conf.metrics, why);
}

/* Nothing acctd opens needs root, and what it creates belongs to its user: so privileges go first.
 */
static void drop(struct acctd *a)
{
	struct proc_identity id;
	const char *why = NULL;
	if (!proc_identity(a->conf.common.user, &id, &why))
		fatal_config("common.user: %s", why);
	make_folders(a, &id);
	proc_give_way(); /* what has happened can wait for who is at the door */
	proc_drop(&id, NULL, 0);
	proc_seccomp(true); /* it starts itself again to send alerts */
}

static void start_timers(struct daemon *d)
{
	d->a.expiry = evtimer_new(d->a.base, on_expiry, &d->a);
	d->prune = evtimer_new(d->a.base, on_prune, d);
	if (!d->a.expiry || !d->prune)
		fatal("out of memory");
	policy_plan_expiry(&d->a);
	evidence_plan(&d->a);
	timer_in(d->prune, 1000);
}

/* Answers what waits, writes what is under way, and closes in the order of dependence. */
static void stop(struct daemon *d)
{
	struct acctd *a = &d->a;
	policy_waits_end(a);
	evidence_runner_free(a->evidence);
	imports_end(a);
	radius_server_free(a->radius);
	feed_server_free(a->feed);
	rl_free(a->rl);
	alerts_free(a->alerts);
	control_server_free(a->control);
	incidents_free(a->incidents);
	store_close(a->store);
	backoff_free(a->backoff);
	event_free(a->expiry);
	event_free(a->follow);
	json_decref(a->held);
	event_free(d->prune);
	event_base_free(a->base);
	talloc_free(d->conf_ctx);
	log_event(LOG_NOTICE, "-", "accounting", "stopped");
}

int main(int argc, char **argv)
{
	struct proc_args args;
	struct daemon d = {.conf_ctx = talloc_new(NULL)};
	char *err = NULL;
	if (argc == 3 && strcmp(argv[1], "-x") == 0 && strcmp(argv[2], "alert") == 0)
		return alert_role_main();
	proc_args(argc, argv, "sekisho-acctd", "the writer of the accounting database", &args);
	log_open("sekisho-acctd", args.log_priority);
	d.conf_file = args.conf_file;
	if (!conf_load(d.conf_ctx, args.conf_file, keys, N_KEYS, &d.a.conf, &err) ||
	    !rules_check(d.conf_ctx, &d.a.conf.alerts.rules, &err))
		fatal_config("%s", err);
	if (args.check_only && !radius_rules_check(&d.a.conf.radius, &err))
		fatal_config("%s", err);
	if (args.check_only) {
		puts("configuration OK");
		talloc_free(d.conf_ctx);
		return 0;
	}
	d.a.started_ms = clock_utc_ms();
	drop(&d.a);
	d.a.base = event_base_new();
	if (!d.a.base)
		fatal("libevent does not start");
	open_all(&d.a);
	start_timers(&d);
	proc_signals(d.a.base, on_stop, on_reload, &d);
	proc_watchdog(d.a.base);
	proc_ready("serving");
	log_event(LOG_NOTICE, "-", "accounting", "ready", LI("schema", store_schema(d.a.store)));
	(void)event_base_dispatch(d.a.base);
	stop(&d);
	return 0;
}
