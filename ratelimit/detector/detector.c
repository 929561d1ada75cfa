/*
 * detector - observations in, changes of stage out. Pure.
 *
 * An attempt is judged before anything of it is learnt, and what it teaches depends on the
 * judgement: a client on probation does not become the owner's, recipients of suspicious mail do
 * not become friends.
 *
 * Trusted with nothing: text from clients is hashed, or compared and cut. Diagnostics: the reasons
 * of a change (words.c). Known gaps: docs/detector.md.
 */
#include "ratelimit/detector/detector.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit/answer.h"
#include "ratelimit/hash.h"

#include "ratelimit/detector/inside.h"

#define SEEN_PER_ACCOUNT 12
#define TEXTS		 512
#define SOURCES		 1024
#define LINES		 1024
#define TEXT_MS		 (2 * DAY_MS)
#define SOURCE_MS	 DAY_MS
#define STRICT_MAX	 2
#define MILD_DAYS	 30
/* How far beyond the threshold replies and reports must be to count before the next attempt. */
#define AT_ONCE 1.5
/* A stage is left when the score is well below it. */
#define LEAVE .75
/* Nothing lasts longer. */
#define FADED_MAX (400 * DAY_MS)

/* --- life --- */

struct detector *detector_new(const struct detector_conf *conf, uint64_t seed, size_t accounts)
{
	struct detector *d = calloc(1, sizeof(*d));
	if (!d || accounts == 0 || accounts >= NONE / 16) {
		free(d);
		return NULL;
	}
	detector_set_conf(d, conf);
	d->seed = seed;
	bool ok = accounts_init(&d->accounts, accounts);
	ok &= seen_init(&d->seen, accounts * SEEN_PER_ACCOUNT);
	ok &= popular_init(&d->popular, accounts / 4 + 8192);
	ok &= crowds_init(&d->texts, TEXTS, TEXT_MS);
	ok &= crowds_init(&d->sources, SOURCES, SOURCE_MS);
	ok &= crowds_init(&d->lines, LINES, DAY_MS);
	if (ok)
		return d;
	detector_free(d);
	return NULL;
}

void detector_free(struct detector *d)
{
	if (!d)
		return;
	accounts_free(&d->accounts);
	seen_free(&d->seen);
	popular_free(&d->popular);
	crowds_free(&d->texts);
	crowds_free(&d->sources);
	crowds_free(&d->lines);
	free(d);
}

void detector_set_conf(struct detector *d, const struct detector_conf *conf)
{
	d->conf = *conf;
	detector_use_levels(d, NULL);
}

void detector_use_levels(struct detector *d, const struct detector_levels *l)
{
	const struct detector_conf *c = &d->conf;
	const struct detector_levels all = {c->watch, c->throttle, c->hold, c->suspend, NULL};
	d->levels = l ? *l : all;
	for (int i = 0; i < SIGNAL_COUNT; i++)
		d->part[i] = l && l->percent ? l->percent[i] / 100.0 : 1;
	d->levels.percent = NULL;
}

size_t detector_memory(const struct detector *d)
{
	const struct accounts *t = &d->accounts;
	return sizeof(*d) + t->cap * (sizeof(*t->a) + sizeof(*t->head)) +
	       t->cap_act * sizeof(*t->act) +
	       d->seen.buckets * SEEN_WAYS * sizeof(struct seen_entry) +
	       d->popular.buckets * POPULAR_WAYS * sizeof(struct popular_entry) +
	       (d->texts.cap + d->sources.cap + d->lines.cap) * sizeof(struct crowd);
}

/* --- time and accounts --- */

static uint16_t tick(struct detector *d, int64_t t_ms)
{
	if (t_ms > d->now_ms)
		d->now_ms = t_ms;
	if (!d->begin_ms)
		d->begin_ms = d->now_ms - d->now_ms % DAY_MS;
	return (uint16_t)(d->now_ms / DAY_MS);
}

static bool learning(const struct detector *d)
{
	return d->now_ms - d->begin_ms < d->conf.learn_ms;
}

/* The last day of it is a rehearsal: what is new then is not the owner's at once. */
static bool trusting(const struct detector *d)
{
	return d->now_ms - d->begin_ms < d->conf.learn_ms - DAY_MS;
}

static uint64_t account_key(const struct detector *d, const char *account)
{
	return hash_text(d->seed, account);
}

/* Known, active and brought up to now; NULL: never seen. */
static struct account *wake(struct detector *d, const char *account)
{
	struct account *acc = accounts_find(&d->accounts, account_key(d, account));
	if (acc) {
		struct active *s = accounts_active(&d->accounts, acc, d->now_ms);
		account_roll(acc, s, d->now_ms, acc->stage < STAGE_THROTTLE, &d->conf);
	}
	return acc;
}

/* --- the score and the stage --- */

static double factor(const struct detector *d, const struct account *acc)
{
	double f = 1 + .5 * acc->offences;
	if (f > STRICT_MAX)
		f = STRICT_MAX;
	uint16_t day = (uint16_t)(d->now_ms / DAY_MS);
	if (acc->mild_until && day < acc->mild_until)
		f *= .6;
	return f;
}

static double score_of(const struct detector *d, const struct account *acc, const struct active *s)
{
	double sum = 0;
	if (learning(d)) /* only what speaks for itself, and not at once */
		return (s->points[SIGNAL_UNKNOWN] + s->points[SIGNAL_SPAM]) / 2;
	for (int i = 0; i < SIGNAL_COUNT; i++)
		sum += s->points[i];
	return sum * factor(d, acc);
}

static enum detector_stage stage_for(const struct detector *d, double score, double part)
{
	const int64_t at[STAGE_COUNT] = {
	    [STAGE_WATCH] = d->levels.watch,
	    [STAGE_THROTTLE] = d->levels.throttle,
	    [STAGE_HOLD] = d->levels.hold,
	    [STAGE_SUSPEND] = d->levels.suspend,
	};
	int s = STAGE_SUSPEND;
	while (s > STAGE_NORMAL && score < (double)at[s] * part)
		s--;
	return (enum detector_stage)s;
}

static void fill(const struct detector *d, const struct account *acc, enum detector_stage was,
		 int64_t t_ms, double score, struct detector_change *out)
{
	out->t_ms = t_ms;
	out->stage = (enum detector_stage)acc->stage;
	out->was = was;
	out->score = llround(score);
	out->n_why = 0;
	const struct active *s = accounts_peek(&d->accounts, acc);
	if (s)
		words(d, s, out);
}

/* Up at once; down when the score is well below, and never out of a hold: a person does that. */
static bool decide(struct detector *d, struct account *acc, int64_t t_ms,
		   struct detector_change *out)
{
	const struct active *s = accounts_peek(&d->accounts, acc);
	double score = score_of(d, acc, s);
	enum detector_stage was = (enum detector_stage)acc->stage, to = stage_for(d, score, 1);
	if (learning(d) && to < STAGE_HOLD)
		to = STAGE_NORMAL;
	if (to < was)
		to = was >= STAGE_HOLD ? was : stage_for(d, score, LEAVE);
	/* Suspended is who goes on after a hold. */
	if (to == STAGE_SUSPEND && was < STAGE_HOLD)
		to = STAGE_HOLD;
	if (to == was)
		return false;
	acc->stage = (uint8_t)to;
	fill(d, acc, was, t_ms, score, out);
	return true;
}

/* After something else than an attempt: only when there is no doubt. */
static bool decide_at_once(struct detector *d, struct account *acc, int64_t t_ms,
			   struct detector_change *out)
{
	const struct active *s = accounts_peek(&d->accounts, acc);
	if (acc->stage >= STAGE_HOLD || score_of(d, acc, s) < (double)d->levels.hold * AT_ONCE)
		return false;
	return decide(d, acc, t_ms, out);
}

/* --- an attempt --- */

static uint64_t rcpt_key(const struct detector *d, const struct account *acc, const char *rcpt)
{
	return mix(acc->key, hash_text(d->seed, rcpt), 'r');
}

/* Keys are made once, and what they lead to is fetched at once. */
static void make_keys(const struct detector *d, struct facts *f)
{
	for (size_t i = 0; i < f->a->n_rcpt && i < FACTS_KEYS; i++) {
		f->rcpt[i] = rcpt_key(d, f->acc, f->a->rcpt[i]);
		seen_soon(&d->seen, f->rcpt[i]);
	}
	if (!f->a->from)
		return;
	f->sender = mix(f->acc->key, signal_sender(d, f->a->from), 's');
	seen_soon(&d->seen, f->sender);
}

static uint64_t key_at(const struct detector *d, const struct facts *f, size_t i)
{
	return i < FACTS_KEYS ? f->rcpt[i] : rcpt_key(d, f->acc, f->a->rcpt[i]);
}

static void count_recipients(const struct detector *d, struct facts *f)
{
	bool own = f->o.novelty <= NOVELTY_OWN;
	for (size_t i = 0; i < f->a->n_rcpt; i++) {
		int age = seen_age(&d->seen, key_at(d, f, i), f->day);
		f->contacts += age < 0;
		f->known += age > 0 || (age == 0 && own);
	}
	f->share = f->a->n_rcpt ? (double)f->contacts / (double)f->a->n_rcpt : 0;
}

/* Did the account use this sender before today, or none was told? */
static void look_at_sender(struct detector *d, struct facts *f)
{
	f->own_sender = !f->a->from || f->fresh || seen_age(&d->seen, f->sender, f->day) >= 0;
}

static struct client *client_slot(struct active *s, uint32_t net)
{
	struct client *oldest = s->client;
	for (int i = 0; i < CLIENTS; i++) {
		if (s->client[i].net == net)
			return &s->client[i];
		if (s->client[i].last_ms < oldest->last_ms)
			oldest = &s->client[i];
	}
	*oldest = (struct client){.net = net};
	return oldest;
}

static void count_up(const struct detector *d, struct facts *f)
{
	struct active *s = f->s;
	uint32_t n = (uint32_t)f->a->n_rcpt;
	s->rcpts_today += n;
	s->contacts_today += f->contacts;
	s->rcpts_hour[0] += n;
	s->contacts_hour[0] += f->contacts;
	s->block_rcpts += n;
	s->novelty = f->o.novelty;
	if (f->o.novelty > NOVELTY_OWN && f->o.has_addr) {
		f->client = client_slot(s, (uint32_t)f->o.part[ADDR_NEAR] | 1);
		f->client->last_ms = d->now_ms;
	}
}

/* May the client be the owner's from now on? In the time of learning, a customer's first, or one
 * that mostly writes to the owner's friends. */
static bool vouched(const struct detector *d, const struct facts *f)
{
	const struct client *c = f->client;
	if (trusting(d) || f->fresh || f->o.novelty <= NOVELTY_OWN / 2)
		return true;
	if (f->young && f->o.novelty <= NOVELTY_NEW_LINE)
		return true;
	if (f->o.novelty >= NOVELTY_STRANGER)
		return c && c->known >= 6 && c->known >= 3 * c->contacts;
	return c && c->known >= 3 && 2 * c->known >= 3 * c->contacts;
}

static void learn(struct detector *d, struct facts *f)
{
	if (f->client) {
		f->client->known += f->known > 2 ? 2 : (uint16_t)f->known;
		f->client->contacts += (uint16_t)(f->contacts > 1000 ? 1000 : f->contacts);
	}
	bool own = f->o.novelty <= NOVELTY_OWN, trusted = vouched(d, f);
	if (f->acc->stage < STAGE_THROTTLE)
		origin_learn(d, f->acc, &f->o, trusted, f->share < .5, f->day);
	/* The owner's program on a new line, as it turns out. */
	if (trusted && !own && f->o.novelty < NOVELTY_STRANGER && f->acc->stage < STAGE_THROTTLE)
		f->s->points[SIGNAL_NEW_CLIENT] = 0;
	if (f->acc->stage >= (own ? STAGE_HOLD : STAGE_WATCH))
		return;
	for (size_t i = 0; i < f->a->n_rcpt; i++)
		seen_add(&d->seen, key_at(d, f, i), f->day);
	if (f->a->from && (own || f->own_sender || f->share < .5))
		seen_add(&d->seen, f->sender, f->day);
}

static void note_silence(struct facts *f)
{
	uint16_t gap = (uint16_t)(f->day - f->acc->last_day);
	if (!f->fresh && gap >= 14) {
		f->s->silent_days = gap;
		f->s->silent_day = f->day;
	}
	f->acc->last_day = f->day;
}

/* Not the accounts of the first days of all, which may only write seldom. */
static bool is_young(const struct detector *d, const struct account *acc, uint16_t day)
{
	uint16_t age = (uint16_t)(day - acc->first_day);
	return age * DAY_MS < d->conf.learn_ms &&
	       acc->first_day * DAY_MS - d->begin_ms >= d->conf.learn_ms / 2;
}

bool detector_attempt(struct detector *d, const struct detector_attempt *a,
		      struct detector_change *out)
{
	struct facts f = {.a = a, .day = tick(d, a->t_ms), .learning = learning(d)};
	f.acc = accounts_get(&d->accounts, account_key(d, a->account), f.day, &f.fresh);
	f.s = accounts_active(&d->accounts, f.acc, d->now_ms);
	account_roll(f.acc, f.s, d->now_ms, f.acc->stage < STAGE_THROTTLE, &d->conf);
	note_silence(&f);
	f.young = is_young(d, f.acc, f.day);
	make_keys(d, &f);
	origin_of(d, f.acc, a->has_client ? &a->client : NULL, a->ehlo, f.young, f.day, &f.o);
	origin_tls(d, f.acc, a->tls, f.day, &f.o);
	count_recipients(d, &f);
	look_at_sender(d, &f);
	count_up(d, &f);
	signals_attempt(d, &f);
	bool changed = decide(d, f.acc, a->t_ms, out);
	learn(d, &f);
	return changed;
}

/* --- what is answered --- */

/* What the replies to one message add up to: their order says nothing. */
struct weighed {
	double unknown, spam; /* units */
	uint32_t n_unknown, n_spam;
	uint32_t new_unknown, new_spam, new_fine; /* of those it never wrote to before */
};

/* A likelihood: addresses that a person wrote down exist, those of a bought list often do not. */
static void weigh_reply(const struct active *s, enum answer_kind k, double part, struct weighed *w)
{
	switch (k) {
	case ANSWER_KIND_UNKNOWN:
		w->unknown += part * (s->novelty >= NOVELTY_STRANGER ? 1.5 : .65);
		w->n_unknown++;
		break;
	case ANSWER_KIND_SPAM:
		w->spam += part;
		w->n_spam++;
		break;
	case ANSWER_KIND_OK:
		w->unknown -= .2 * part;
		w->spam -= .07 * part;
		break;
	case ANSWER_KIND_NONE:
	case ANSWER_KIND_OTHER:
		break;
	}
}

/* A program that tries again each minute what was refused hears nothing new, nor does one that
 * writes to itself all day. */
static bool is_news(struct detector *d, uint64_t rcpt, enum answer_kind k)
{
	uint16_t day = (uint16_t)(d->now_ms / DAY_MS);
	uint64_t key = mix(rcpt, (uint64_t)k << 16 | (k == ANSWER_KIND_OK ? day : 0), 'a');
	bool met = seen_age(&d->seen, key, day) >= 0;
	seen_add(&d->seen, key, day);
	return !met;
}

/* What old friends' servers say is none either. */
static bool is_friend(const struct detector *d, uint64_t rcpt)
{
	return seen_age(&d->seen, rcpt, (uint16_t)(d->now_ms / DAY_MS)) > 0;
}

/* One that was refused; good ones are only counted. */
static void weigh_refused(struct detector *d, const struct account *acc, const char *rcpt,
			  enum answer_kind k, struct weighed *w)
{
	uint64_t key = rcpt_key(d, acc, rcpt);
	if (k == ANSWER_KIND_NONE || k == ANSWER_KIND_OTHER)
		return;
	bool friend = is_friend(d, key);
	w->new_unknown += k == ANSWER_KIND_UNKNOWN && !friend;
	w->new_spam += k == ANSWER_KIND_SPAM && !friend;
	w->new_fine += k == ANSWER_KIND_OK && !friend;
	if (k != ANSWER_KIND_OK && is_news(d, key, k))
		weigh_reply(accounts_peek(&d->accounts, acc), k, friend ? .1 : 1, w);
}

static void weigh_good(struct detector *d, const struct account *acc, const char *rcpt,
		       enum answer_kind k, struct weighed *w)
{
	uint64_t key = rcpt_key(d, acc, rcpt);
	if (k == ANSWER_KIND_OK && is_news(d, key, ANSWER_KIND_OK))
		weigh_reply(accounts_peek(&d->accounts, acc), ANSWER_KIND_OK,
			    is_friend(d, key) ? .1 : 1, w);
}

static void add_weighed(struct detector *d, struct active *s, const struct weighed *w)
{
	signal_raise(d, s, SIGNAL_UNKNOWN, w->unknown, w->n_unknown);
	signal_raise(d, s, SIGNAL_SPAM, w->spam, w->n_spam);
}

bool detector_replies(struct detector *d, int64_t t_ms, const struct detector_attempt *a,
		      const enum answer_kind *kind, size_t n, struct detector_change *out)
{
	struct weighed w = {.unknown = 0};
	tick(d, t_ms);
	struct account *acc = wake(d, a->account);
	if (!acc)
		return false;
	struct active *s = accounts_peek(&d->accounts, acc);
	if (n > a->n_rcpt)
		n = a->n_rcpt;
	for (size_t i = 0; i < n; i++)
		weigh_refused(d, acc, a->rcpt[i], kind[i], &w);
	/* Good ones only lower what there is; without, they need not be remembered. */
	bool any = s->points[SIGNAL_UNKNOWN] + s->points[SIGNAL_SPAM] + w.unknown + w.spam > 0;
	for (size_t i = 0; i < n && any; i++)
		weigh_good(d, acc, a->rcpt[i], kind[i], &w);
	signals_answered(d, s, w.new_unknown, w.new_spam, w.new_fine);
	add_weighed(d, s, &w);
	return decide_at_once(d, acc, t_ms, out);
}

/* First contacts among all of today: of a bulk sender's bounces most are no news. */
static double strange_part(const struct active *s)
{
	return (s->contacts_today + 1.0) / (s->rcpts_today + 1.0);
}

/* Bounces come late and without the deliveries they must be held against: only a share that a
 * person's list does not have counts. */
static bool many_bounces(const struct active *s)
{
	double bounces = s->bounces_today + s->bounces_before,
	       contacts = s->contacts_today + s->contacts_before,
	       share = s->novelty >= NOVELTY_STRANGER ? .06 : .2;
	return bounces > 2 + share * contacts;
}

bool detector_bounce(struct detector *d, int64_t t_ms, const char *account, const char *code,
		     struct detector_change *out)
{
	tick(d, t_ms);
	struct account *acc = wake(d, account);
	if (!acc)
		return false;
	struct active *s = accounts_peek(&d->accounts, acc);
	enum answer_kind k = answer_kind(answer_classify(NULL, code, ""));
	struct weighed w = {.unknown = 0};
	s->bounces_today += k == ANSWER_KIND_UNKNOWN;
	if (k == ANSWER_KIND_SPAM || (k == ANSWER_KIND_UNKNOWN && many_bounces(s)))
		weigh_reply(s, k, strange_part(s), &w);
	add_weighed(d, s, &w);
	return decide_at_once(d, acc, t_ms, out);
}

bool detector_complaint(struct detector *d, int64_t t_ms, const char *account,
			struct detector_change *out)
{
	tick(d, t_ms);
	struct account *acc = wake(d, account);
	if (!acc)
		return false;
	/* Of a list with a thousand readers somebody always complains. */
	double readers = level_count(acc->rcpts_day);
	signal_raise(d, accounts_peek(&d->accounts, acc), SIGNAL_COMPLAINTS,
		     1 / (1 + log2(1 + readers / 20)), 1);
	return decide_at_once(d, acc, t_ms, out);
}

/* --- logins and lines --- */

/* Whoever sprays tries names that are nobody's, and accounts that never send, as well. */
static void failed_from(struct detector *d, const struct addr *client, const char *account)
{
	struct crowd *c = crowds_get(&d->sources, origin_self(d, client), 0, d->now_ms);
	crowd_join(c->failed, &c->n_failed, (uint32_t)account_key(d, account));
}

static void login_failed(struct detector *d, struct active *s, const struct origin *o)
{
	/* The owner mistypes, and has old passwords in forgotten phones. */
	if (o->novelty < NOVELTY_STRANGER)
		return;
	if (d->now_ms - s->fails_ms > DAY_MS)
		s->fails = 0;
	s->fails++;
	s->fails_ms = d->now_ms;
}

bool detector_auth(struct detector *d, int64_t t_ms, const char *account, const struct addr *client,
		   bool ok, struct detector_change *out)
{
	uint16_t day = tick(d, t_ms);
	struct account *acc = wake(d, account);
	struct origin o;
	(void)out;
	if (!ok && client)
		failed_from(d, client, account);
	if (!acc)
		return false;
	struct active *s = accounts_peek(&d->accounts, acc);
	origin_of(d, acc, client, NULL, is_young(d, acc, day), day, &o);
	if (!ok) {
		login_failed(d, s, &o);
	} else if (o.novelty >= NOVELTY_STRANGER && o.has_addr) {
		client_slot(s, (uint32_t)o.part[ADDR_NEAR] | 1)->last_ms = d->now_ms;
	}
	return false;
}

void detector_syn25(struct detector *d, int64_t t_ms, const struct addr *client, unsigned plen,
		    uint64_t n, uint64_t destinations)
{
	tick(d, t_ms);
	uint64_t key = origin_line_key(d, client, plen);
	/* A misconfigured device knocks at one door; an infected one at many. */
	if (destinations == 0)
		destinations = n;
	if (destinations < 3 && n < 100)
		return;
	struct crowd *c = crowds_get(&d->lines, key, 0, d->now_ms);
	c->contacts += n > 100000 ? 100000 : (uint32_t)n;
}

/* --- people --- */

enum detector_stage detector_stage(const struct detector *d, const char *account)
{
	const struct account *acc = accounts_find(&d->accounts, account_key(d, account));
	return acc ? (enum detector_stage)acc->stage : STAGE_NORMAL;
}

static void count_release(struct account *acc, uint16_t day, bool false_positive)
{
	if (!false_positive) {
		acc->offences += acc->offences < UINT8_MAX;
		return;
	}
	acc->pardons += acc->pardons < UINT8_MAX;
	acc->offences -= acc->offences > 0;
	acc->mild_until = (uint16_t)(day + MILD_DAYS);
}

static void wipe(struct account *acc, struct active *s)
{
	memset(s->points, 0, sizeof(s->points));
	memset(s->count, 0, sizeof(s->count));
	s->fails = 0;
	s->probe_ms = 0;
	acc->stage = STAGE_NORMAL;
}

bool detector_release(struct detector *d, int64_t t_ms, const char *account, bool false_positive)
{
	uint16_t day = tick(d, t_ms);
	struct account *acc = wake(d, account);
	if (!acc)
		return false;
	struct active *s = accounts_peek(&d->accounts, acc);
	/* What it did today was its own way: the habit reaches as far as it went. */
	if (false_positive) {
		uint8_t met = level_of(s->contacts_today), all = level_of(s->rcpts_today);
		acc->contacts_day = met > acc->contacts_day ? met : acc->contacts_day;
		acc->rcpts_day = all > acc->rcpts_day ? all : acc->rcpts_day;
	}
	wipe(acc, s);
	count_release(acc, day, false_positive);
	return true;
}

void detector_forget(struct detector *d, int64_t t_ms, const char *account)
{
	tick(d, t_ms);
	struct account *acc = wake(d, account);
	if (acc)
		wipe(acc, accounts_peek(&d->accounts, acc));
}

bool detector_learning(const struct detector *d, int64_t t_ms)
{
	int64_t now = t_ms > d->now_ms ? t_ms : d->now_ms;
	return d->conf.learn_ms > 0 && (!d->begin_ms || now - d->begin_ms < d->conf.learn_ms);
}

double detector_leave(const struct detector *d, enum detector_stage stage)
{
	return (double)(stage == STAGE_WATCH ? d->levels.watch : d->levels.throttle) * LEAVE;
}

/* The score dt from now. */
static double score_in(const struct detector *d, const struct account *acc, const struct active *s,
		       int64_t dt)
{
	struct active later = *s;
	for (int i = 0; i < SIGNAL_COUNT; i++)
		later.points[i] *= exp2(-(double)dt / (double)d->conf.weight[i].half_life_ms);
	return score_of(d, acc, &later);
}

int64_t detector_fades_ms(struct detector *d, int64_t t_ms, const char *account, double below)
{
	tick(d, t_ms);
	struct account *acc = wake(d, account);
	const struct active *s = acc ? accounts_peek(&d->accounts, acc) : NULL;
	int64_t no = 0, yes = FADED_MAX;
	if (!s || score_in(d, acc, s, 0) < below)
		return 0;
	while (yes - no > 60000) {
		int64_t t = no + (yes - no) / 2;
		if (score_in(d, acc, s, t) < below)
			yes = t;
		else
			no = t;
	}
	return yes;
}

bool detector_explain(struct detector *d, int64_t t_ms, const char *account,
		      struct detector_change *out)
{
	tick(d, t_ms);
	struct account *acc = wake(d, account);
	if (!acc)
		return false;
	const struct active *s = accounts_peek(&d->accounts, acc);
	fill(d, acc, (enum detector_stage)acc->stage, d->now_ms, score_of(d, acc, s), out);
	return true;
}
