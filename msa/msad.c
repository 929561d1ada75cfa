/*
 * sekisho-msad - the submission server: 587 and 465, AUTH, identity, a durable queue, delivery to a
 * smart host.
 *
 * This file brings the process up and down and connects its parts; the walk of a message is io →
 * conn → smtp/session → message → queue → relay. Roles of the same program: `-x auth` checks
 * passwords (msa/auth), `-x relay` delivers (msa/relay), `-x key` has the certificates' private
 * keys (msa/tls_key).
 *
 * Trusted with: the ports 587 and 465, the tag, DKIM and ticket keys, the spool. Keeps no
 * capability once the ports are bound. execve(2) stays allowed, so that a role that died can be
 * started again. Failure policy: a dead auth worker → 454 4.7.0; limiter away → limiter_down;
 * accounting away → events wait in the spool.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metrics.h"
#include "lib/proc.h"
#include "msa/batvkeys.h"
#include "msa/bounces.h"
#include "msa/reports.h"
#include "msa/handover.h"
#include "msa/heirs.h"
#include "msa/io.h"
#include "msa/keyfiles.h"
#include "msa/restart.h"
#include "msa/server.h"
#include "msa/tls_key_role.h"
#include "msa/wipe.h"

struct daemon {
	struct server srv;
	struct proc_args args;
	void *top; /* configurations live here */
};

/* --- metrics and status --- */

static const struct {
	const char *name, *labels, *help, *key; /* key: in msad.status */
} counts[COUNTS] = {
    [COUNT_SESSIONS] = {"sekisho_msa_sessions_total", NULL, "Sessions begun.", "sessions_total"},
    [COUNT_SESSIONS_TURNED_AWAY] = {"sekisho_msa_sessions_turned_away_total", NULL,
				    "Connections over a bound.", "turned_away"},
    [COUNT_COMMANDS] = {"sekisho_msa_commands_total", NULL, "Command lines read.", "commands"},
    [COUNT_TLS_FAILED] = {"sekisho_msa_tls_failures_total", NULL, "TLS handshakes that failed.",
			  "tls_failures"},
    [COUNT_AUTH_OK] = {"sekisho_msa_auth_total", "result=\"ok\"", "AUTH exchanges ended.",
		       "auth_ok"},
    [COUNT_AUTH_FAILED] = {"sekisho_msa_auth_total", "result=\"failed\"", "AUTH exchanges ended.",
			   "auth_failed"},
    [COUNT_AUTH_UNAVAILABLE] = {"sekisho_msa_auth_unavailable_total", NULL,
				"AUTH exchanges nobody could answer.", "auth_unavailable"},
    [COUNT_AUTH_BLOCKED] = {"sekisho_msa_auth_blocked_total", NULL,
			    "Logins refused because too many had failed before.", "auth_blocked"},
    [COUNT_AUTH_SPRAYED] = {"sekisho_msa_auth_spraying_total", NULL,
			    "Networks from which many accounts were tried.", "auth_spraying"},
    [COUNT_AUTH_SPRAYED_WIDE] = {"sekisho_msa_auth_spraying_wide_total", NULL,
				 "Times that many accounts were tried from many networks.",
				 "auth_spraying_wide"},
    [COUNT_ACCEPTED] = {"sekisho_msa_messages_total", "result=\"accepted\"",
			"Messages by what became of them.", "accepted"},
    [COUNT_HELD] = {"sekisho_msa_messages_total", "result=\"held\"",
		    "Messages by what became of them.", "held"},
    [COUNT_REFUSED] = {"sekisho_msa_refusals_total", "class=\"5xx\"",
		       "Recipients and messages refused.", "refused"},
    [COUNT_DEFERRED] = {"sekisho_msa_refusals_total", "class=\"4xx\"",
			"Recipients and messages refused.", "deferred"},
    [COUNT_LIMITER_DOWN] = {"sekisho_msa_limiter_down_total", NULL,
			    "Questions the limiter did not answer in time.", "limiter_down"},
    [COUNT_DKIM_SIGNED] = {"sekisho_msa_dkim_total", "result=\"signed\"",
			   "Messages for which there was a DKIM key.", "dkim_signed"},
    [COUNT_DKIM_FAILED] = {"sekisho_msa_dkim_total", "result=\"failed\"",
			   "Messages for which there was a DKIM key.", "dkim_failed"},
};

static struct {
	struct metric *sessions, *in_flight, *workers, *restarts, *penalties, *limiter, *feed;
	struct metric *key_up, *signatures, *key_failures, *key_restarts, *key_waiting;
} gauges;

static void metrics_setup(struct server *srv)
{
	for (int i = 0; i < COUNTS; i++)
		srv->count[i] =
		    metric_new(METRIC_COUNTER, counts[i].name, counts[i].labels, counts[i].help);
	gauges.sessions = metric_new(METRIC_GAUGE, "sekisho_msa_sessions", NULL, "Sessions open.");
	gauges.in_flight = metric_new(METRIC_GAUGE, "sekisho_msa_in_flight_bytes", NULL,
				      "Bytes of messages being received.");
	gauges.workers = metric_new(METRIC_GAUGE, "sekisho_msa_auth_workers", NULL,
				    "Auth processes that are up.");
	gauges.restarts = metric_new(METRIC_COUNTER, "sekisho_msa_auth_restarts_total", NULL,
				     "Auth processes started again.");
	gauges.penalties =
	    metric_new(METRIC_GAUGE, "sekisho_msa_penalties", NULL, "Accounts held or suspended.");
	gauges.limiter = metric_new(METRIC_GAUGE, "sekisho_msa_limiter_connected", NULL,
				    "1 while sekisho-ratelimitd is there.");
	gauges.feed = metric_new(METRIC_GAUGE, "sekisho_msa_feed_connected", NULL,
				 "1 while sekisho-acctd is there.");
	gauges.key_up = metric_new(METRIC_GAUGE, "sekisho_msa_key_up", NULL,
				   "1 while the process with the private keys is there.");
	gauges.signatures = metric_new(METRIC_COUNTER, "sekisho_msa_key_signatures_total", NULL,
				       "Handshakes signed.");
	gauges.key_failures = metric_new(METRIC_COUNTER, "sekisho_msa_key_failures_total", NULL,
					 "Handshakes nobody could sign.");
	gauges.key_restarts = metric_new(METRIC_COUNTER, "sekisho_msa_key_restarts_total", NULL,
					 "Key processes started again.");
	gauges.key_waiting = metric_new(METRIC_GAUGE, "sekisho_msa_key_waiting", NULL,
					"Signatures asked for and not there yet.");
}

static void metrics_refresh(void *arg)
{
	struct tls_key_counts keys = tls_keys_counts();
	struct server *srv = arg;

	metric_set(gauges.sessions, (int64_t)io_sessions(srv));
	metric_set(gauges.in_flight, srv->in_flight);
	metric_set(gauges.workers, auth_workers_up(srv->auth));
	metric_set(gauges.restarts, auth_restarts(srv->auth));
	metric_set(gauges.penalties, (int64_t)limits_penalties(srv->limits));
	metric_set(gauges.limiter, limits_connected(srv->limits));
	metric_set(gauges.feed, feed_connected(srv->feed));
	metric_set(gauges.key_up, tls_keys_up(tls_keys_of(srv->tls)));
	metric_set(gauges.signatures, keys.signatures);
	metric_set(gauges.key_failures, keys.failures);
	metric_set(gauges.key_restarts, keys.restarts);
	metric_set(gauges.key_waiting, keys.asked);
}

static json_t *status(struct server *srv)
{
	bool ok = true;
	json_t *stats = queue_request(srv->queue, "queue.stats", NULL, &ok);
	json_t *o = json_pack(
	    "{s:s,s:I,s:I,s:I,s:i,s:i,s:b,s:I}", "version", SEKISHO_VERSION, "started_ms",
	    (json_int_t)srv->started_ms, "sessions", (json_int_t)io_sessions(srv), "in_flight",
	    (json_int_t)srv->in_flight, "auth_workers", auth_workers_up(srv->auth),
	    "auth_workers_wanted", auth_workers_wanted(srv->auth), "limiter",
	    limits_connected(srv->limits), "penalties", (json_int_t)limits_penalties(srv->limits));

	json_object_set_new(o, "key_up", json_boolean(tls_keys_up(tls_keys_of(srv->tls))));
	json_object_set_new(o, "key_failures", json_integer(tls_keys_counts().failures));
	json_object_set_new(o, "key_restarts", json_integer(tls_keys_counts().restarts));
	for (int i = 0; i < COUNTS; i++)
		json_object_set_new(o, counts[i].key, json_integer(metric_get(srv->count[i])));
	json_object_set_new(o, "queue", ok ? stats : json_null());
	if (!ok)
		json_decref(stats);
	return o;
}

/* --- the feed to accounting --- */

static bool on_outbox(uint64_t seq, uint32_t n, const uint8_t *records, size_t len, void *arg)
{
	struct server *srv = arg;

	return srv->feed && feed_send(srv->feed, seq, n, records, len);
}

static void on_acked(uint64_t seq, void *arg)
{
	struct server *srv = arg;

	queue_outbox_acked(srv->queue, seq);
}

static void on_feed(bool connected, void *arg)
{
	struct server *srv = arg;

	log_event(connected ? LOG_INFO : LOG_WARNING, "-", "feed",
		  connected ? "connected" : "disconnected");
	if (connected)
		queue_outbox_kick(srv->queue);
}

static void on_request(struct feed_request *r, const char *op, const json_t *args, void *arg)
{
	struct server *srv = arg;
	bool ok = true;
	json_t *result;

	if (strcmp(op, "msad.status") == 0)
		result = status(srv);
	else if (strncmp(op, "queue.", 6) == 0)
		result = queue_request(srv->queue, op, args, &ok);
	else if (strncmp(op, "tlsrpt.", 7) == 0)
		result = reports_request(srv->reports, op, args, &ok);
	else
		result =
		    batv_request(srv->cfg->batv_keys, &srv->batv, op, args, clock_utc_ms(), &ok);
	feed_reply(r, ok, result);
}

/* --- signals --- */

static void stopped(void *arg)
{
	struct server *srv = arg;

	event_base_loopbreak(srv->base);
}

static void on_stop(void *arg)
{
	struct daemon *d = arg;

	if (d->srv.stopping && !d->srv.leaving) { /* asked twice: now */
		event_base_loopbreak(d->srv.base);
		return;
	}
	d->srv.stopping = true;
	proc_stopping();
	log_event(LOG_NOTICE, "-", "msad", "stopping", LI("sessions", io_sessions(&d->srv)));
	io_stop(&d->srv, d->srv.cfg->stop_timeout, stopped, &d->srv);
}

static struct tls *load_tls(struct daemon *d, const struct msa_config *cfg, char **err)
{
	struct tls_config tc;

	msa_config_tls(cfg, &d->srv.tickets, &tc);
	tc.base = d->srv.base;
	return tls_load(d->top, &tc, err);
}

static bool reload(struct daemon *d, char **err)
{
	struct server *srv = &d->srv;
	struct msa_config *fresh = msa_config_load(d->top, d->args.conf_file, err);
	struct batv_keys keys;
	struct token_key trace;
	struct tls *tls;

	if (!fresh)
		return false;
	if (!msa_config_may_reload(d->top, srv->cfg, fresh, err))
		goto failed;
	tls = load_tls(d, fresh, err);
	if (!tls)
		goto failed;
	if (!batv_keys_load(d->top, fresh->batv_keys, &keys, err) ||
	    !keyfiles_token(d->top, fresh->trace_key, &trace, err)) {
		tls_free(tls);
		goto failed;
	}
	srv->trace = trace;
	explicit_bzero(&trace, sizeof(trace));
	batv_wipe(&srv->batv);
	srv->batv = keys;
	explicit_bzero(&keys, sizeof(keys));
	tls_free(srv->tls);
	srv->tls = tls;
	srv->tickets.period_ms = fresh->tls_ticket_period;
	queue_set_routes(srv->queue, fresh->route_table);
	queue_set_answers(srv->queue, fresh->answer_table);
	queue_set_dkim(srv->queue, fresh->dkim_table);
	talloc_unlink(d->top, srv->cfg);
	srv->cfg = fresh;
	return true;
failed:
	talloc_free(fresh);
	return false;
}

static void on_reload(void *arg)
{
	struct daemon *d = arg;
	char *err = NULL;

	if (d->srv.leaving)
		return; /* the new program's business */

	proc_reloading();
	if (reload(d, &err))
		log_event(LOG_NOTICE, "-", "msad", "reloaded");
	else
		log_event(LOG_ERR, "-", "msad", "reload-failed", LS("error", err),
			  LS("state", "the old configuration stays"));
	talloc_free(err);
	proc_ready(NULL);
}

/* --- upgrade --- */

/* Ports below 1024 cannot be opened any more: they must be there. */
static bool same_ports(const struct conf_list *old, const struct conf_list *fresh)
{
	if (old->n != fresh->n)
		return false;
	for (size_t i = 0; i < old->n; i++)
		if (strcmp(old->items[i], fresh->items[i]) != 0)
			return false;
	return true;
}

/* What the program's own check (-n) does not look at: certificates, keys, and ports. */
static bool may_upgrade(void *ctx, void *arg, char **why)
{
	struct daemon *d = arg;
	struct msa_config *fresh = msa_config_load(ctx, d->args.conf_file, why);
	struct tls *tls;

	if (!fresh)
		return false;
	if (!same_ports(&d->srv.cfg->listen_submission, &fresh->listen_submission) ||
	    !same_ports(&d->srv.cfg->listen_submissions, &fresh->listen_submissions)) {
		*why = talloc_strdup(ctx, "msa.listen_submission(s) has changed: restart it");
		return false;
	}
	tls = load_tls(d, fresh, why);
	if (!tls)
		return false;
	tls_free(tls);
	return true;
}

static void let_go(void *arg)
{
	struct daemon *d = arg;

	bounces_free(&d->srv);
	feed_free(d->srv.feed);
	d->srv.feed = NULL;
}

static void on_suspended(const char *account, const char *why, void *arg)
{
	io_suspend(arg, account, why);
}

/* --- up and down --- */

/* Each session is a descriptor: take what the hard limit allows. */
static void raise_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return;
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r) != 0)
		log_event(LOG_WARNING, "-", "msad", "few-descriptors",
			  LS("error", strerror(errno)));
}

/* What needs root, or must not be readable afterwards: ports, certificate, folders. */
static void privileged(struct daemon *d)
{
	struct server *srv = &d->srv;
	struct proc_identity id;
	const char *why;
	char *err = NULL, *folder;

	if (!proc_identity(srv->cfg->common.user, &id, &why))
		fatal_config("common.user = \"%s\": %s", srv->cfg->common.user, why);
	folder = talloc_asprintf(d->top, "%s/msa", srv->cfg->common.state_dir);
	if (!proc_folder(srv->cfg->common.state_dir, 0755, NULL) || !proc_folder(folder, 0700, &id))
		fatal_errno("cannot make %s", folder);
	srv->tickets.period_ms = srv->cfg->tls_ticket_period;
	srv->tls = load_tls(d, srv->cfg, &err);
	if (!srv->tls)
		fatal("%s", err);
	if (!io_listen(srv, &err) || !bounces_listen(srv, &err))
		fatal("%s", err);
	if (!metrics_serve(srv->base, srv->cfg->metrics, metrics_refresh, srv, &why))
		fatal("cannot serve metrics on %s: %s", srv->cfg->metrics, why);
	raise_files();
	proc_drop(&id, NULL, 0);
	proc_seccomp(true);
}

static void on_delivery(const struct event *e, void *arg)
{
	struct server *srv = arg;

	if (srv->limits)
		limits_saw_delivery(srv->limits, e);
}

static void start_queue(struct server *srv)
{
	static const struct queue_handlers handlers = {.outbox = on_outbox,
						       .delivery = on_delivery};
	struct queue_config qc;
	char *err = NULL;

	msa_config_queue(srv->cfg, &qc);
	srv->queue = queue_open(srv->base, &qc, &handlers, srv, &err);
	if (!srv->queue)
		fatal("the queue does not open: %s", err);
	queue_set_dkim(srv->queue, srv->cfg->dkim_table);
	if (!queue_start(srv->queue, &err))
		fatal("the relay does not start: %s", err);
}

static void start_parts(struct daemon *d)
{
	static const struct feed_handlers handlers = {
	    .acked = on_acked, .request = on_request, .state = on_feed};
	struct server *srv = &d->srv;
	const char *run_dir = srv->cfg->common.run_dir, *why;
	struct auth_config ac;
	uint64_t seed;
	char *err = NULL;

	if (!batv_keys_load(d->top, srv->cfg->batv_keys, &srv->batv, &err) ||
	    !keyfiles_token(d->top, srv->cfg->trace_key, &srv->trace, &err))
		fatal("%s", err);
	msa_config_auth(srv->cfg, &ac);
	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		fatal_errno("getrandom");
	srv->guard = guard_new(d->top, seed);
	srv->spray = spray_wide_new(d->top, seed);
	srv->auth = auth_new(srv->base, &ac, &why);
	if (!srv->auth)
		fatal("the auth processes do not start: %s", why);
	start_queue(srv);
	srv->reports = reports_new(srv);
	srv->limits = limits_new(srv->base, run_dir, (int)srv->cfg->limiter_deadline, srv->queue,
				 on_suspended, srv);
	srv->feed =
	    feed_new(srv->base, run_dir, "msad", queue_instance(srv->queue), NULL, &handlers, srv);
}

static void down(struct daemon *d)
{
	struct server *srv = &d->srv;

	heirs_free(srv->heirs);
	bounces_free(srv);
	io_free(srv);
	limits_free(srv->limits);
	reports_free(srv->reports);
	queue_close(srv->queue);
	handover_free(srv->leaving);
	if (srv->feed)
		feed_free(srv->feed);
	auth_free(srv->auth);
	tls_free(srv->tls);
	tls_tickets_wipe(&srv->tickets);
	batv_wipe(&srv->batv);
	explicit_bzero(&srv->trace, sizeof(srv->trace));
	log_event(LOG_NOTICE, "-", "msad", "stopped");
	talloc_free(d->top);
}

/* A role has a name of its own in ps(1), and whoever kills sekisho-msad by name leaves the relay to
 * finish: killed with a message on its way it could not tell whether that was taken (decision
 * 0002). */
static int role(const char *name)
{
	char comm[16];

	snprintf(comm, sizeof(comm), "sekisho-%s", name);
	prctl(PR_SET_NAME, comm, 0, 0, 0);
	if (strcmp(name, "auth") == 0) {
		log_open("sekisho-msad[auth]", LOG_INFO);
		return auth_main();
	}
	if (strcmp(name, "key") == 0)
		return tls_key_main();
	if (strcmp(name, "relay") == 0)
		return relay_main();
	return 64;
}

static void run(struct daemon *d)
{
	for (;;) {
		event_base_dispatch(d->srv.base);
		if (!restart_wanted())
			return;
		restart_now(&d->srv); /* what comes back is the old one, with its sessions */
	}
}

int main(int argc, char **argv)
{
	static const struct restart_hooks hooks = {.possible = may_upgrade, .let_go = let_go};
	struct daemon d = {.top = NULL};
	char *err = NULL;

	if (argc == 3 && strcmp(argv[1], "-x") == 0)
		return role(argv[2]);
	proc_args(argc, argv, "sekisho-msad", "mail submission server of Sekisho", &d.args);
	wipe_buffers();
	wipe_keep_memory();
	d.top = talloc_new(NULL);
	d.srv.cfg = msa_config_load(d.top, d.args.conf_file, &err);
	if (!d.srv.cfg)
		fatal_config("%s", err);
	if (d.args.check_only) {
		puts("configuration OK");
		talloc_free(d.top);
		return 0;
	}
	d.srv.base = event_base_new();
	d.srv.started_ms = clock_utc_ms();
	if (!d.srv.base)
		fatal("no event loop");
	metrics_setup(&d.srv);
	privileged(&d);
	start_parts(&d);
	d.srv.heirs = heirs_take(&d.srv);
	(void)upgrade_drop_rest();
	restart_watch(&d.srv, &d.args, &hooks, &d); /* before the signals are let in */
	proc_signals(d.srv.base, on_stop, on_reload, &d);
	proc_watchdog(d.srv.base);
	io_start(&d.srv);
	proc_ready("submission is open");
	log_event(LOG_NOTICE, "-", "msad", "ready", LS("hostname", d.srv.cfg->hostname),
		  LS("realm", d.srv.cfg->sasl_realm));
	run(&d);
	down(&d);
	event_base_free(d.srv.base);
	return 0;
}
