/*
 * watch - see watch.h.
 *
 * `nft flush ruleset`, which many a firewall script begins with, takes our tables away, and port 25
 * would be open. Five times a second the generation of the namespace's nft rules is asked for: a
 * number. When it has moved on, the chains are counted against what the configuration renders to,
 * and loaded again if anything is missing. The kernel could tell of changes by itself, but would
 * then write a message for each of the elements that nfqd puts into the sets, thousands a second.
 *
 * Trusted with: CAP_NET_ADMIN, running nft(8). Diagnostics: `rules damaged`, `rules restored`,
 * `rules failed`, `rules loaded`. Known gaps: a rule that was replaced by another, and a class's
 * own chains, are not noticed.
 */
#include <event2/event.h>
#include <string.h>
#include <sysexits.h>
#include <talloc.h>

#include "lib/log.h"
#include "lib/proc.h"

#include "kernel-rules/loader.h"
#include "kernel-rules/watch.h"

struct watch {
	const char *file;
	struct event_base *base;
	void *ctx; /* of what is in force: */
	struct rules_conf *conf;
	struct rules_backend_choice how;
	struct loader_look *look;
	bool failing; /* said so already */
};

/* Load the file's rules, or those in force if it is not valid. */
static bool load(struct watch *w, char **err)
{
	void *ctx = talloc_new(NULL);
	struct rules_conf *c = talloc_zero(ctx, struct rules_conf);
	struct rules_backend_choice how;
	struct loader_look *look = NULL;
	bool ok = rules_conf_load(ctx, w->file, true, c, err) && loader_choose(ctx, c, &how, err) &&
		  loader_load(ctx, c, how, err) && (look = loader_look_new(ctx, c, how, err));
	if (!ok) {
		*err = talloc_strdup(w->ctx, *err);
		talloc_free(ctx);
		return false;
	}
	talloc_free(w->ctx);
	w->ctx = ctx;
	w->conf = c;
	w->how = how;
	w->look = look;
	return true;
}

static void failed(struct watch *w, const char *why)
{
	if (!w->failing)
		log_event(LOG_ERR, "-", "rules", "failed", LS("reason", why));
	w->failing = true;
}

static void restore(struct watch *w, const char *damage)
{
	char *err = NULL;
	log_event(LOG_ALERT, "-", "rules", "damaged", LS("what", damage));
	/* A file that somebody has broken meanwhile is no reason to leave port 25 open. */
	if (!load(w, &err)) {
		failed(w, err);
		if (!loader_load(w->ctx, w->conf, w->how, &err)) {
			failed(w, err);
			return;
		}
	}
	w->failing = false;
	log_event(LOG_NOTICE, "-", "rules", "restored");
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;
	char why[128];
	(void)fd;
	(void)what;
	if (!w->failing && !loader_changed(w->look))
		return;
	if (!loader_whole(w->look, why))
		restore(w, why);
}

static void stop(void *arg)
{
	struct watch *w = arg;
	proc_stopping();
	(void)event_base_loopbreak(w->base);
}

static void reload(void *arg)
{
	struct watch *w = arg;
	char *err = NULL;
	proc_reloading();
	if (load(w, &err))
		log_event(LOG_NOTICE, "-", "rules", "loaded");
	else
		log_event(LOG_ERR, "-", "rules", "failed", LS("reason", err));
	proc_ready(NULL);
}

int watch_run(const char *file)
{
	struct watch w = {.file = file, .ctx = talloc_new(NULL)};
	const struct timeval often = {0, WATCH_MS * 1000};
	char *err = NULL;
	if (!load(&w, &err)) {
		failed(&w, err);
		talloc_free(w.ctx);
		return EX_UNAVAILABLE;
	}
	w.base = event_base_new();
	struct event *timer = w.base ? event_new(w.base, -1, EV_PERSIST, tick, &w) : NULL;
	if (!timer || event_add(timer, &often) < 0)
		fatal("out of memory");
	proc_signals(w.base, stop, reload, &w);
	proc_watchdog(w.base);
	log_event(LOG_NOTICE, "-", "rules", "watching");
	proc_ready(NULL);
	(void)event_base_dispatch(w.base);
	event_free(timer);
	talloc_free(w.ctx);
	return 0;
}
