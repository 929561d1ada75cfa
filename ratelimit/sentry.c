/*
 * sentry - see sentry.h.
 *
 * The detector compares texts of recipients; ratelimitd is told hashes and how local parts begin.
 * Of these a text is made that is the same for the same recipient, sorts as its local part does,
 * and names nobody: "beginning#HASH@DOMAINHASH".
 *
 * Results of one message come one by one, from several hosts. They are counted together
 * (replies.h): before anything else of the account is looked at, at the latest after some seconds.
 *
 * Trusted with what msad and acctd tell. Diagnostics: `ACCOUNT detector STAGE|would-STAGE` lines,
 * sentry_stats(). Known gaps: what a host says after the account's next message, or later than
 * those seconds, is counted by itself.
 */
#include "ratelimit/sentry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/proc.h"
#include "ratelimit/replies.h"

#define NAME_SIZE 56 /* 16 bytes, '#', 16 digits, '@', 16 digits, NUL */
_Static_assert(NAME_SIZE <= REPLIES_NAME_SIZE, "names are kept whole");

struct sentry {
	struct detector *d;
	struct limiter *l;
	struct detector_conf conf;
	bool observe;
	bool class_observe;	     /* the class of the account being judged says so */
	struct detector_conf judged; /* conf, with the levels of that class */
	void (*changed)(const struct rl_penalty *p, const struct moment *now, void *arg);
	void *arg;
	struct sentry_stats stats;
	struct replies *replies;
	struct replies_of taken;
	struct detector_change change;
	/* of the attempt being judged */
	char (*name)[NAME_SIZE];
	const char **rcpt;
	uint32_t room;
};

/* --- names ------------------------------------------------------------------------------------ */

static void make_name(char out[static NAME_SIZE], const struct rl_name *begins, uint64_t hash,
		      uint64_t domain)
{
	char text[17];
	for (int i = 0; i < 16; i++)
		text[i] = (char)(begins->half[i / 8] >> (56 - 8 * (i % 8)) & 0xff);
	text[16] = '\0';
	snprintf(out, NAME_SIZE, "%s#%016" PRIx64 "@%016" PRIx64, text, hash, domain);
}

/* The same of an address. */
static void name_of(char out[static NAME_SIZE], const char *address)
{
	const char *at = strrchr(address, '@');
	struct rl_name begins = rl_name_of(address);
	make_name(out, &begins, rl_hash(address), rl_hash(at ? at + 1 : ""));
}

static void make_room(struct sentry *s, uint32_t n)
{
	if (n <= s->room)
		return;
	free(s->name);
	free(s->rcpt);
	s->name = calloc(n, sizeof *s->name);
	s->rcpt = calloc(n, sizeof *s->rcpt);
	if (!s->name || !s->rcpt)
		fatal("out of memory");
	s->room = n;
}

/* --- what follows from a stage ---------------------------------------------------------------- */

static const enum rl_stage stages[STAGE_COUNT] = {
    [STAGE_NORMAL] = RL_NORMAL, [STAGE_WATCH] = RL_WATCH,     [STAGE_THROTTLE] = RL_THROTTLE,
    [STAGE_HOLD] = RL_HOLD,	[STAGE_SUSPEND] = RL_SUSPEND,
};

static bool by_detector(const struct rl_penalty *p)
{
	return strcmp(p->rule, RL_RULE_DETECTOR) == 0;
}

/* Somebody else's decision stands unless ours is graver; a hold ends by people alone. */
static bool outweighed(const struct rl_penalty *old, enum rl_stage stage)
{
	if (!old)
		return stage == RL_NORMAL;
	if (old->stage >= RL_HOLD)
		return stage <= old->stage;
	return !by_detector(old) && stage <= old->stage;
}

/* The levels of the account's class are in force for what comes next. */
static void use_class(struct sentry *s, const char *account, const struct moment *now)
{
	const struct account_class *k = limiter_class(s->l, account, now);
	struct detector_conf *c = &s->judged;
	s->class_observe = k && k->detector.mode == DETECTOR_OBSERVE;
	struct detector_levels l;
	class_levels(k, &s->conf, &l);
	c->watch = l.watch;
	c->throttle = l.throttle;
	c->hold = l.hold;
	c->suspend = l.suspend;
	detector_use_levels(s->d, &l);
}

static bool observes(const struct sentry *s)
{
	return s->observe || s->class_observe;
}

static void say_change(struct sentry *s, const char *account, const struct addr *client,
		       const char *why)
{
	static const char *const would[STAGE_COUNT] = {
	    "would-normal", "would-watch", "would-throttle", "would-hold", "would-suspend"};
	static const struct addr none;
	enum detector_stage to = s->change.stage;
	log_event(to >= STAGE_THROTTLE ? LOG_WARNING : LOG_INFO, account, "detector",
		  observes(s) ? would[to] : detector_stage_name(to),
		  LS("was", detector_stage_name(s->change.was)), LI("score", s->change.score),
		  LS("why", why), LA("client", client ? client : &none));
}

/* What s->change says, in force. */
static void enforce(struct sentry *s, const char *account, const struct addr *client,
		    const struct moment *now)
{
	struct rl_penalty p = {.stage = stages[s->change.stage], .since_ms = now->utc_ms};
	const struct rl_penalty *old = limiter_penalty(s->l, account);
	detector_say(&s->judged, &s->change, p.why, sizeof p.why);
	say_change(s, account, client, p.why);
	if (observes(s)) {
		s->stats.would[s->change.stage]++;
		return;
	}
	s->stats.changes[s->change.stage]++;
	if (outweighed(old, p.stage))
		return;
	if (old && p.since_ms <= old->since_ms)
		p.since_ms = old->since_ms + 1;
	snprintf(p.account, sizeof p.account, "%s", account);
	snprintf(p.rule, sizeof p.rule, "%s", RL_RULE_DETECTOR);
	snprintf(p.actor, sizeof p.actor, "detector");
	if (limiter_set_penalty(s->l, &p, now) == LIMITER_CHANGED)
		s->changed(&p, now, s->arg);
}

/* A stage that was never in force, or is no more (mode observe until now, a crash): it would keep
 * the detector from ever saying anything again. */
static void forget_stale(struct sentry *s, const char *account, const struct moment *now)
{
	const struct rl_penalty *p = limiter_penalty(s->l, account);
	if (detector_stage(s->d, account) >= STAGE_HOLD && (!p || p->stage < RL_HOLD))
		detector_forget(s->d, now->utc_ms, account);
}

/* --- what comes in ---------------------------------------------------------------------------- */

static void count_taken(struct sentry *s, const struct moment *now)
{
	const struct replies_of *r = &s->taken;
	struct detector_attempt a = {
	    .t_ms = now->utc_ms, .account = r->account, .rcpt = r->name, .n_rcpt = r->n};
	use_class(s, r->account, now);
	if (detector_replies(s->d, now->utc_ms, &a, r->kind, r->n, &s->change))
		enforce(s, r->account, NULL, now);
}

/* What the account's messages were answered, and what has waited long enough. account may be "". */
static void count_replies(struct sentry *s, const char *account, const struct moment *now)
{
	while (replies_take(s->replies, NULL, now->mono_ms - REPLIES_WAIT_MS, &s->taken))
		count_taken(s, now);
	while (account[0] && replies_take(s->replies, account, INT64_MAX, &s->taken))
		count_taken(s, now);
}

/* Nobody told where it came from. */
static bool from_nowhere(const struct addr *client)
{
	static const struct addr none;
	return addr_eq(client, &none);
}

static void judge(const struct rl_ask *ask, const struct moment *now, void *arg)
{
	static const struct rl_name unnamed;
	struct sentry *s = arg;
	struct detector_attempt a = {.t_ms = now->utc_ms,
				     .account = ask->account,
				     .client = ask->client,
				     .has_client = !from_nowhere(&ask->client),
				     .has_body = ask->body != 0,
				     .ehlo = ask->ehlo && ask->ehlo[0] ? ask->ehlo : NULL,
				     .from = ask->sender && ask->sender[0] ? ask->sender : NULL,
				     .n_rcpt = ask->n_hash,
				     .bytes = (int64_t)ask->bytes,
				     .tls = ask->tls_hash,
				     .body = ask->body};
	if (ask->n_hash == 0)
		return;
	count_replies(s, ask->account, now);
	use_class(s, ask->account, now);
	if (!observes(s))
		forget_stale(s, ask->account, now);
	make_room(s, ask->n_hash);
	for (uint32_t i = 0; i < ask->n_hash; i++) {
		make_name(s->name[i], ask->rcpt_name ? &ask->rcpt_name[i] : &unnamed,
			  ask->rcpt_hash[i], ask->domain_hash ? ask->domain_hash[i] : 0);
		s->rcpt[i] = s->name[i];
	}
	a.rcpt = s->rcpt;
	s->stats.attempts++;
	if (detector_attempt(s->d, &a, &s->change))
		enforce(s, ask->account, &ask->client, now);
}

static void saw_result(struct sentry *s, const struct rl_observation *o, const struct moment *now)
{
	char name[NAME_SIZE];
	if (!o->account[0] || !o->rcpt || !o->rcpt[0])
		return;
	if (replies_full(s->replies) && replies_take(s->replies, NULL, INT64_MAX, &s->taken))
		count_taken(s, now);
	name_of(name, o->rcpt);
	replies_add(s->replies, o->account, o->message ? o->message : (uint64_t)o->t_ms,
		    now->mono_ms, name, answer_kind(rl_class(o)));
}

static bool saw(struct sentry *s, const struct rl_observation *o, const struct moment *now)
{
	struct detector_change *c = &s->change;
	const struct addr *client = from_nowhere(&o->client) ? NULL : &o->client;
	int64_t t = now->utc_ms;
	switch (o->what) {
	case RL_SEEN_LOGIN:
	case RL_SEEN_LOGIN_FAILED:
		return o->account[0] &&
		       detector_auth(s->d, t, o->account, client, o->what == RL_SEEN_LOGIN, c);
	case RL_SEEN_BOUNCE:
		return o->account[0] && detector_bounce(s->d, t, o->account, o->text, c);
	case RL_SEEN_REPORT:
		return o->account[0] && detector_complaint(s->d, t, o->account, c);
	case RL_SEEN_SYN25:
		if (client)
			detector_syn25(s->d, t, client, o->plen, o->n, o->m);
		return false;
	default:
		return false;
	}
}

void sentry_observed(struct sentry *s, const struct rl_observation *o, const struct moment *now)
{
	s->stats.observations[o->what]++;
	if (o->what == RL_SEEN_RESULT) {
		saw_result(s, o, now);
		return;
	}
	count_replies(s, o->account, now);
	use_class(s, o->account, now);
	if (saw(s, o, now))
		enforce(s, o->account, &o->client, now);
}

void sentry_decided(struct sentry *s, const struct rl_penalty *p, const struct moment *now)
{
	bool mistake = strcmp(p->rule, RL_RULE_MISTAKE) == 0;
	if (p->stage != RL_NORMAL)
		return;
	count_replies(s, p->account, now);
	/* Who was held by somebody else has not offended by the detector's lights. */
	if (mistake || detector_stage(s->d, p->account) >= STAGE_HOLD)
		(void)detector_release(s->d, now->utc_ms, p->account, mistake);
	else
		detector_forget(s->d, now->utc_ms, p->account);
}

/* In the time of learning, and where it only looks on, fixed rules are what there is. */
static void rest_rules(struct sentry *s, const struct moment *now)
{
	s->stats.learning = detector_learning(s->d, now->utc_ms);
	limiter_rest_rules(s->l, !s->observe && !s->stats.learning);
}

void sentry_tick(struct sentry *s, const struct moment *now)
{
	count_replies(s, "", now);
	rest_rules(s, now);
}

/* --- for people ------------------------------------------------------------------------------- */

#define CLEARS_MAX 160

/* What ends the stage, in words. */
static void clears(struct sentry *s, const char *account, enum detector_stage stage,
		   const struct moment *now, char buf[static CLEARS_MAX])
{
	double below = detector_leave(s->d, stage);
	int64_t min = 0;
	if (stage == STAGE_NORMAL) {
		snprintf(buf, CLEARS_MAX, "nothing is in force");
		return;
	}
	if (stage >= STAGE_HOLD) {
		snprintf(buf, CLEARS_MAX, "a release: incident release %.100s", account);
		return;
	}
	min = detector_fades_ms(s->d, now->utc_ms, account, below) / 60000 + 1;
	snprintf(buf, CLEARS_MAX,
		 "by itself, with the next message after the score is below %.0f: in %" PRId64
		 " h %" PRId64 " min if nothing more is seen%s",
		 below, min / 60, min % 60, stage == STAGE_THROTTLE ? "; or a release" : "");
}

void sentry_show(struct sentry *s, const char *account, const struct moment *now, json_t *into)
{
	struct detector_change c = {.stage = STAGE_NORMAL};
	char ends[CLEARS_MAX];
	json_t *why = json_array();
	count_replies(s, account, now);
	use_class(s, account, now);
	(void)detector_explain(s->d, now->utc_ms, account, &c);
	for (int i = 0; i < c.n_why; i++)
		json_array_append_new(why, json_string(c.why[i]));
	clears(s, account, c.stage, now, ends);
	json_object_set_new(into, "score",
			    json_pack("{s:s, s:s, s:I, s:o, s:s}", "mode",
				      s->stats.learning ? "learning"
				      : observes(s)	? "observe"
							: "enforce",
				      "stage", detector_stage_name(c.stage), "score",
				      (json_int_t)c.score, "why", why, "clears", ends));
}

void sentry_stats(const struct sentry *s, struct sentry_stats *out)
{
	*out = s->stats;
	out->memory = detector_memory(s->d);
}

/* --- life ------------------------------------------------------------------------------------- */

struct sentry *sentry_new(
    const struct detector_settings *conf, bool observe, uint64_t seed, struct limiter *l,
    void (*changed)(const struct rl_penalty *p, const struct moment *now, void *arg), void *arg)
{
	struct sentry *s = calloc(1, sizeof *s);
	if (!s || !(s->replies = replies_new()) ||
	    !(s->d = detector_new(&conf->detector, seed, (size_t)conf->accounts)))
		fatal("out of memory: lower detector.accounts");
	s->l = l;
	s->conf = s->judged = conf->detector;
	s->observe = observe || conf->mode == DETECTOR_OBSERVE;
	s->changed = changed;
	s->arg = arg;
	limiter_set_judge(l, judge, s);
	return s;
}

void sentry_free(struct sentry *s)
{
	if (!s)
		return;
	detector_free(s->d);
	replies_free(s->replies);
	free(s->name);
	free(s->rcpt);
	free(s);
}

void sentry_configure(struct sentry *s, const struct detector_settings *conf, bool observe,
		      const struct moment *now)
{
	s->conf = s->judged = conf->detector;
	s->observe = observe || conf->mode == DETECTOR_OBSERVE;
	detector_set_conf(s->d, &s->conf);
	rest_rules(s, now);
}

struct detector *sentry_read(const struct sentry *s, const char *path, const char **err)
{
	FILE *f = fopen(path, "re");
	struct detector *d = f ? detector_load(&s->conf, f, err) : NULL;
	if (f)
		(void)fclose(f);
	else
		*err = errno == ENOENT ? NULL : "it cannot be opened";
	return d;
}

void sentry_take(struct sentry *s, struct detector *d, const struct moment *now)
{
	if (d) {
		detector_free(s->d);
		s->d = d;
	}
	rest_rules(s, now);
}

bool sentry_load(struct sentry *s, const char *path, const struct moment *now, const char **err)
{
	struct detector *d = sentry_read(s, path, err);
	sentry_take(s, d, now);
	return d != NULL;
}

bool sentry_save(const struct sentry *s, const char *path)
{
	char *data = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&data, &len);
	bool ok = f && detector_save(s->d, f);
	if (f && fclose(f) != 0)
		ok = false;
	if (!ok)
		errno = ENOMEM;
	ok = ok && proc_write_file(path, data, len, 0640);
	int saved = errno;
	free(data);
	errno = saved;
	return ok;
}
