/*
 * watch - see watch.h.
 *
 * Trusted with: nothing. Diagnostics: none. Known gaps: a daemon that hangs without answering is
 * noticed after the feed's five seconds.
 */
#include "accounting/alert/watch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "lib/clock.h"
#include "lib/proc.h"
#include "accounting/acctd.h"

#define EVERY_MS 5000

struct watch {
	struct acctd *a;
	void (*looked)(const struct conditions_facts *f, void *arg);
	void *arg;
	struct event *timer;
	bool wanted;
	int waiting;
	json_t *nfqd, *msad;
	int64_t absent_since[ABSENT_N];
};

/* Percent of the blocks that we may use; -1 when it cannot be told. */
static int disk_free(const char *path)
{
	struct statvfs v;
	if (statvfs(path, &v) != 0 || v.f_blocks == 0)
		return -1;
	return (int)((double)v.f_bavail * 100 / (double)v.f_blocks);
}

static void note(struct watch *w, int which, bool there, int64_t now_ms)
{
	if (there)
		w->absent_since[which] = 0;
	else if (!w->absent_since[which])
		w->absent_since[which] = now_ms;
}

static void plan(struct watch *w)
{
	const struct timeval tv = {.tv_sec = EVERY_MS / 1000};
	if (w->wanted)
		(void)event_add(w->timer, &tv);
}

static void all_known(struct watch *w)
{
	int64_t now = clock_utc_ms();
	const json_t *enforcing = json_object_get(w->nfqd, "enforcing");
	note(w, ABSENT_NFQD, w->nfqd != NULL, now);
	note(w, ABSENT_MSAD, w->msad != NULL, now);
	note(w, ABSENT_RATELIMITD, rl_connected(w->a->rl), now);
	if (w->nfqd)
		note(w, ABSENT_RULES, !json_is_false(enforcing), now);
	struct conditions_facts f = {.nfqd = w->nfqd,
				     .msad = w->msad,
				     .disk_free = disk_free(w->a->conf.common.state_dir),
				     .now_ms = now};
	memcpy(f.absent_since, w->absent_since, sizeof f.absent_since);
	if (w->wanted)
		w->looked(&f, w->arg);
	plan(w);
}

static void take(struct watch *w, json_t **to, bool ok, const json_t *result)
{
	json_decref(*to);
	*to = ok && result ? json_incref((json_t *)(uintptr_t)result) : NULL;
	if (--w->waiting == 0)
		all_known(w);
}

static void on_nfqd(bool answered, bool ok, const json_t *result, void *arg)
{
	struct watch *w = arg;
	take(w, &w->nfqd, answered && ok, result);
}

static void on_msad(bool answered, bool ok, const json_t *result, void *arg)
{
	struct watch *w = arg;
	take(w, &w->msad, answered && ok, result);
}

static void on_timer(evutil_socket_t none, short what, void *arg)
{
	struct watch *w = arg;
	(void)none, (void)what;
	if (w->waiting)
		return;
	w->waiting = 3; /* one is this function's: an answer may come from inside */
	feed_server_request(w->a->feed, "nfqd", "nfq.status", NULL, on_nfqd, w);
	feed_server_request(w->a->feed, "msad", "msad.status", NULL, on_msad, w);
	if (--w->waiting == 0)
		all_known(w);
}

struct watch *watch_new(struct acctd *a,
			void (*looked)(const struct conditions_facts *f, void *arg), void *arg)
{
	struct watch *w = calloc(1, sizeof *w);
	if (!w)
		fatal("out of memory");
	*w = (struct watch){.a = a, .looked = looked, .arg = arg};
	w->timer = evtimer_new(a->base, on_timer, w);
	if (!w->timer)
		fatal("out of memory");
	return w;
}

void watch_want(struct watch *w, bool wanted)
{
	bool before = w->wanted;
	w->wanted = wanted;
	if (wanted && !before && !w->waiting)
		plan(w);
	if (!wanted)
		(void)event_del(w->timer);
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	event_free(w->timer);
	json_decref(w->nfqd);
	json_decref(w->msad);
	free(w);
}
