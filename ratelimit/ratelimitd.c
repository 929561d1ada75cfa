/*
 * sekisho-ratelimitd - counts what each account sends, and says stop.
 *
 * msad asks it before it accepts a recipient and a message; the answer comes from memory. It
 * notices accounts that behave like a zombie, puts them on hold and tells msad and acctd at once.
 * The parts: limiter (all decisions, pure) over limits (rows), standing (what people decided) and
 * subjects (counters: pool, series, uniq); detect; snapshot and disk (what survives a restart);
 * proto, link, server (the socket), admin (JSON requests), policy and policy_front (Postfix's
 * protocol), config; rl (the client others link).
 *
 * Trusted with the counters: one socket, one folder, no network but the metrics port. Diagnostics:
 * log lines and metrics of server.c. Known gaps: one process for all accounts, no sharing between
 * gateways.
 */
#include <stdio.h>

#include <talloc.h>

#include "lib/log.h"
#include "lib/metrics.h"
#include "lib/proc.h"
#include "ratelimit/ahead.h"
#include "ratelimit/server.h"

struct daemon {
	struct event_base *base;
	struct server *server;
	const char *conf_file;
	struct ratelimit_conf *conf; /* its own talloc context */
};

/* Legal, but not what one wants: the limit then defers a burst before the detector sees it. */
static void advise(const struct ratelimit_conf *conf)
{
	int64_t limit = conf->simple[0][0], rate = conf->limiter.detect.rate;
	if (limit > 0 && rate > limit)
		log_event(LOG_WARNING, "-", "ratelimit", "burst-rate-above-limit",
			  LI("burst_rate", rate), LI("messages_per_minute", limit),
			  LS("advice", "set burst_rate below messages_per_minute"));
}

static void stop(void *arg)
{
	struct daemon *d = arg;
	proc_stopping();
	event_base_loopbreak(d->base);
}

static void reload(void *arg)
{
	struct daemon *d = arg;
	char *err = NULL;
	proc_reloading();
	struct ratelimit_conf *fresh = config_load(d->conf_file, &err);
	if (fresh &&
	    conf_may_reload(fresh, ratelimit_keys, ratelimit_n_keys, d->conf, fresh, &err) &&
	    conf_may_reload(fresh, detector_keys, detector_n_keys, &d->conf->detector,
			    &fresh->detector, &err)) {
		server_reload(d->server, fresh);
		talloc_free(d->conf);
		d->conf = fresh;
		advise(fresh);
		log_event(LOG_NOTICE, "-", "ratelimit", "reloaded", LS("file", d->conf_file));
	} else {
		log_event(LOG_ERR, "-", "ratelimit", "reload-failed", LS("reason", err),
			  LS("kept", "the old configuration"));
		if (fresh)
			talloc_free(fresh); /* err is part of it */
		else
			talloc_free(err);
	}
	proc_ready(NULL);
}

static void start(struct daemon *d)
{
	struct proc_identity id;
	const char *why;
	char *err;
	if (!proc_identity(d->conf->common.user, &id, &why))
		fatal_config("common.user: %s", why);
	if (!proc_folder(d->conf->common.run_dir, 0755, &id))
		fatal_errno("%s", d->conf->common.run_dir);
	d->server = server_new(d->base, d->conf, &id, &err);
	if (!d->server)
		fatal("%s", err);
	if (!metrics_serve(d->base, d->conf->metrics, server_refresh_metrics, d->server, &why))
		fatal("ratelimit.metrics %s: %s", d->conf->metrics, why);
	proc_drop(&id, NULL, 0);
	proc_seccomp(false);
	(void)ahead_start();
}

int main(int argc, char **argv)
{
	struct proc_args args;
	char *err;
	proc_args(argc, argv, "sekisho-ratelimitd",
		  "counts what each account sends and holds zombies", &args);
	log_open("sekisho-ratelimitd", args.log_priority);
	struct daemon d = {.conf_file = args.conf_file, .conf = config_load(args.conf_file, &err)};
	if (!d.conf)
		fatal_config("%s", err);
	advise(d.conf);
	if (args.check_only) {
		puts("configuration OK");
		talloc_free(d.conf);
		return 0;
	}
	d.base = event_base_new();
	if (!d.base)
		fatal("no event loop");
	start(&d);
	proc_signals(d.base, stop, reload, &d);
	proc_watchdog(d.base);
	proc_ready(NULL);
	log_event(LOG_NOTICE, "-", "ratelimit", "started", LS("version", SEKISHO_VERSION));
	event_base_dispatch(d.base);
	ahead_stop();
	bool saved = server_save(d.server);
	server_free(d.server);
	log_event(LOG_NOTICE, "-", "ratelimit", "stopped");
	event_base_free(d.base);
	talloc_free(d.conf);
	return saved ? 0 : 1;
}
