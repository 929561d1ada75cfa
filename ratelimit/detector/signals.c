/*
 * signals - what an attempt adds to the score, one function a signal. Pure.
 *
 * Trusted with nothing. Diagnostics: none; words.c says what was raised. Known gaps: see
 * docs/detector.md.
 */
#include <math.h>
#include <string.h>

#include "ratelimit/detector/inside.h"

#define CROWD_LEAST  2 /* other accounts */
#define SILENT_DAYS  14
#define PROBE_MS     (3 * DAY_MS)
#define FAILS_MS     DAY_MS
#define NETWORK_MS   DAY_MS
#define SAME_BODY_OK 8
#define ROUND_MAX    80
#define ORDER_LEN    16 /* of a local part: so much is told of it (rl_name) */
#define MILD_MAX     90 /* of what honest mailings have, too */

static double weight(const struct detector *d, enum detector_signal sig)
{
	return (double)d->conf.weight[sig].points / 100 * d->part[sig];
}

static double most(const struct detector *d, enum detector_signal sig)
{
	return (double)d->conf.weight[sig].max * d->part[sig];
}

static void add_points(struct detector *d, struct active *s, enum detector_signal sig,
		       double points, double max)
{
	double limit = most(d, sig);
	if (max < limit)
		limit = max > 0 ? max : 0;
	double p = s->points[sig] + points;
	/* What stands above a lower limit of this moment stays. */
	if (points > 0 && p > limit)
		p = s->points[sig] > limit ? s->points[sig] : limit;
	s->points[sig] = p > 0 ? p : 0;
}

void signal_raise(struct detector *d, struct active *s, enum detector_signal sig, double units,
		  uint32_t count)
{
	add_points(d, s, sig, units * weight(d, sig), INFINITY);
	s->count[sig] += count;
}

/* At least so much, instead of more and more; max: in points, beside the signal's own. */
static void stand_below(struct detector *d, struct active *s, enum detector_signal sig,
			double units, uint32_t count, double max)
{
	double p = units * weight(d, sig), limit = most(d, sig);
	if (max < limit)
		limit = max;
	if (p > limit)
		p = limit;
	if (p > s->points[sig]) {
		s->points[sig] = p;
		s->count[sig] = count;
	}
}

static void stand(struct detector *d, struct active *s, enum detector_signal sig, double units,
		  uint32_t count)
{
	stand_below(d, s, sig, units, count, INFINITY);
}

/* An account's very first client is no stranger to it: there is nothing it could be strange to. */
static bool stranger(const struct facts *f)
{
	return f->o.novelty >= NOVELTY_STRANGER && !f->fresh;
}

/*
 * Many strangers, the same text as others, much in an hour: so look a shop's confirmations, a form
 * letter, greetings of the new year. From the owner's own client, or of a new customer, all of it
 * together slows down and does not hold; that takes evidence of another kind. What is left for sig.
 */
static double mild_room(const struct facts *f, enum detector_signal sig)
{
	static const enum detector_signal mild[] = {SIGNAL_NEW_CLIENT, SIGNAL_CONTACTS, SIGNAL_RATE,
						    SIGNAL_CAMPAIGN, SIGNAL_SHARED};
	double room = MILD_MAX;
	if (f->o.line_syn || (stranger(f) && !f->young))
		return INFINITY;
	for (size_t i = 0; i < sizeof(mild) / sizeof(mild[0]); i++)
		room -= mild[i] == sig ? 0 : f->s->points[mild[i]];
	return room;
}

/* prvs=TAG=USER@, list-bounces+USER=DOMAIN@, bounce-4711@: what varies by message is cut away. */
uint64_t signal_sender(const struct detector *d, const char *from)
{
	char low[128];
	size_t n = 0;
	const char *at = strrchr(from, '@'), *cut = strpbrk(from, "+=");
	for (const char *p = from; *p && n < sizeof(low); p++) {
		if (cut && at && p >= cut && p < at)
			continue;
		low[n++] = *p >= '0' && *p <= '9' ? '#' : *p;
	}
	char text[129];
	memcpy(text, low, n);
	text[n] = '\0';
	return hash_text(d->seed + 7, text);
}

/* --- one a signal --- */

#define BULK 300 /* strangers of one day, from which on each doubling counts more */

/* By how many doublings today's strangers are more than its habit, or a person's, explains. */
static double bulk(const struct facts *f)
{
	double most = 2 * level_count(f->acc->rcpts_day);
	if (most < BULK)
		most = BULK;
	return f->young || f->s->contacts_today <= most ? 0 : log2(f->s->contacts_today / most);
}

/*
 * Whose program, or whose address, is the owner's: bulk once is not enough, but it must not go on,
 * nor be of a size that nobody has friends for. Of a new customer everything is new: that alone
 * does not hold him.
 */
static double new_client_max(const struct facts *f)
{
	int days = f->o.met_days > 5 ? 5 : f->o.met_days;
	if (stranger(f) && !f->young)
		return INFINITY;
	if (f->o.line_syn)
		return 90;
	return 60 + 25 * (days > 1 ? days - 1 : 0) + 25 * bulk(f);
}

static void new_client(struct detector *d, struct facts *f)
{
	double n = f->o.novelty;
	if (n <= NOVELTY_OWN)
		return;
	if (f->young)
		n *= .5;
	if (f->o.line_syn && n < .5)
		n = .5;
	const double *p = f->s->points;
	double others = p[SIGNAL_CONTACTS] + p[SIGNAL_CAMPAIGN] + p[SIGNAL_SHARED];
	add_points(d, f->s, SIGNAL_NEW_CLIENT, n * f->contacts * weight(d, SIGNAL_NEW_CLIENT),
		   new_client_max(f) - (stranger(f) && !f->young ? 0 : others));
	f->s->count[SIGNAL_NEW_CLIENT] += f->contacts;
	/* Whoever writes to the owner's friends is likely the owner; two of them a message count.
	 */
	double friends = f->known > 2 ? 2 : f->known;
	if (f->contacts <= f->known && f->own_sender)
		signal_raise(d, f->s, SIGNAL_NEW_CLIENT, -.45 * friends, 0);
}

static void contacts(struct detector *d, struct facts *f)
{
	double allowed = 2 * level_count(f->acc->contacts_day);
	if (allowed < 8)
		allowed = 8;
	uint32_t today = f->s->contacts_today, before = today - f->contacts;
	double more = today - (before > allowed ? before : allowed);
	if (f->o.novelty > NOVELTY_OWN || more <= 0 || !f->contacts)
		return;
	double max = 45, units = f->young ? .6 : 1;
	if (f->o.line_syn) {
		units *= 3;
		max = 90;
	}
	/* One mailing by two of the owner's programs is one mailing. */
	max = fmin(max - f->s->points[SIGNAL_NEW_CLIENT], mild_room(f, SIGNAL_CONTACTS));
	add_points(d, f->s, SIGNAL_CONTACTS, more * units * weight(d, SIGNAL_CONTACTS), max);
	f->s->count[SIGNAL_CONTACTS] += f->contacts;
}

static double hour(const struct detector *d, const uint32_t n[2])
{
	double part = (double)(d->now_ms % HOUR_MS) / (double)HOUR_MS;
	return n[0] + n[1] * (1 - part);
}

static void rate(struct detector *d, struct facts *f)
{
	double n = hour(d, f->s->rcpts_hour),
	       habit = 2 * level_count(week_level(f->acc, f->s->block)),
	       day = level_count(f->acc->rcpts_day) / 3;
	double base = habit > day ? habit : day;
	if (base < 10)
		base = 10;
	if (n <= base || !f->contacts)
		return;
	double units = log2(n / base) * hour(d, f->s->contacts_hour) / n;
	/* Bulk from the owner's own program is rare, but no more than that. */
	if (!stranger(f) && units > 1.5)
		units = 1.5;
	stand_below(d, f->s, SIGNAL_RATE, units, (uint32_t)n, mild_room(f, SIGNAL_RATE));
}

static void networks(struct detector *d, struct facts *f)
{
	static const double units[] = {0, 0, 0, .8, 2, 3.5, 5};
	unsigned n = 0, known = 0, met = 0;
	if (!stranger(f))
		return;
	for (int i = 0; i < CLIENTS; i++) {
		const struct client *c = &f->s->client[i];
		if (!c->net || d->now_ms - c->last_ms > NETWORK_MS)
			continue;
		n++;
		known += c->known;
		met += c->contacts;
	}
	double share = (met + 1.0) / (met + known + 1.0);
	stand(d, f->s, SIGNAL_NETWORKS, units[n > 6 ? 6 : n] * share, n);
}

static void silence(struct detector *d, struct facts *f)
{
	if (stranger(f) && f->s->silent_days >= SILENT_DAYS && f->day - f->s->silent_day <= 3u)
		stand(d, f->s, SIGNAL_SILENCE, f->o.novelty, f->s->silent_days);
}

static void senders(struct detector *d, struct facts *f)
{
	double habit = level_count(f->acc->senders_day);
	if (f->own_sender || f->learning)
		return;
	uint32_t today = ++f->s->senders_today;
	bool churn = today > 2 && today > 2 * habit;
	if (!f->young && (churn || (stranger(f) && today > habit)))
		signal_raise(d, f->s, SIGNAL_SENDERS, f->share, 1);
}

static void one_in_order(struct detector *d, struct facts *f, const char *rcpt)
{
	struct active *s = f->s;
	const char *at = strrchr(rcpt, '@');
	size_t n = at ? (size_t)(at - rcpt) : strlen(rcpt);
	char local[sizeof(s->last_local)];
	if (n > ORDER_LEN)
		n = ORDER_LEN;
	memcpy(local, rcpt, n);
	local[n] = '\0';
	uint32_t domain = (uint32_t)hash_text(d->seed, at ? at : "");
	bool goes_on = domain == s->last_domain && strcasecmp(local, s->last_local) > 0;
	s->run = goes_on ? s->run + 1 : 1;
	s->last_domain = domain;
	memcpy(s->last_local, local, n + 1);
	if (s->run >= 6) {
		signal_raise(d, s, SIGNAL_DICTIONARY, 1, 0);
		if (s->run > s->count[SIGNAL_DICTIONARY])
			s->count[SIGNAL_DICTIONARY] = s->run;
	}
}

static void same_body(struct detector *d, struct facts *f)
{
	struct active *s = f->s;
	if (!f->a->has_body)
		return;
	bool same = __builtin_popcountll(s->body ^ f->a->body) <= d->conf.near_bits;
	uint32_t before = same ? s->body_rcpts : 0;
	s->body = f->a->body;
	s->body_rcpts = before + (uint32_t)f->a->n_rcpt;
	double allowed = level_count(f->acc->rcpts_day);
	if (allowed < SAME_BODY_OK)
		allowed = SAME_BODY_OK;
	double more = s->body_rcpts - (before > allowed ? before : allowed);
	if (stranger(f) && !f->young && more > 0) {
		signal_raise(d, s, SIGNAL_SAME_BODY, more * f->o.novelty, 0);
		s->count[SIGNAL_SAME_BODY] = s->body_rcpts;
	}
}

/* Of all strangers it went to, do more not exist, or call it spam, than of people's own lists? */
static bool unwelcome(const struct crowd *c)
{
	return (c->unknown >= 3 && 8 * c->unknown > c->fine) ||
	       (c->spam >= 3 && 40 * c->spam > c->fine);
}

/*
 * Others that did the same and looked stolen, less those that did it and did not. A text that comes
 * mostly from the owners' own clients goes round among people, or is a form; of one that comes from
 * clients that are none of theirs, an infected computer's share is no better.
 */
static void crowd_points(struct detector *d, struct facts *f, const struct crowd *c,
			 enum detector_signal sig, unsigned least, double part)
{
	uint32_t me = (uint32_t)f->acc->key;
	unsigned bad = crowd_others(c->suspect, c->n_suspect, me),
		 good = crowd_others(c->honest, c->n_honest, me);
	if (bad < least + good || !f->contacts)
		return;
	double reached = c->contacts > 20 ? 20 : c->contacts, max = mild_room(f, sig);
	if (sig == SIGNAL_CAMPAIGN)
		max = 2u * c->n_new >= bad || unwelcome(c) ? INFINITY : fmin(max, ROUND_MAX);
	stand_below(d, f->s, sig, (bad - good + reached / 8) * f->share * part, bad, max);
}

static void join(struct facts *f, struct crowd *c, bool odd)
{
	if (odd && crowd_join(c->suspect, &c->n_suspect, (uint32_t)f->acc->key))
		c->n_new += stranger(f);
	else if (!odd)
		crowd_join(c->honest, &c->n_honest, (uint32_t)f->acc->key);
	c->contacts += odd ? f->contacts : 0;
}

static void campaign_by(struct detector *d, struct facts *f, uint64_t key, int bits)
{
	bool odd = stranger(f) ? f->share >= .5 : f->share >= .7;
	struct crowd *c = odd ? crowds_get(&d->texts, key, bits, d->now_ms)
			      : crowds_find(&d->texts, key, bits, d->now_ms);
	if (!c)
		return;
	crowd_points(d, f, c, SIGNAL_CAMPAIGN, stranger(f) ? CROWD_LEAST : CROWD_LEAST + 1, 1);
	join(f, c, odd);
}

void signals_answered(struct detector *d, const struct active *s, uint32_t unknown, uint32_t spam,
		      uint32_t fine)
{
	if (s->body_rcpts == 0)
		return;
	struct crowd *c = crowds_find(&d->texts, s->body, (int)d->conf.near_bits, d->now_ms);
	if (c) {
		c->unknown += unknown;
		c->spam += spam;
		c->fine += fine;
	}
}

/* By the text; or by a sender that is none of the account's. */
static void campaign(struct detector *d, struct facts *f)
{
	if (f->learning)
		return;
	if (f->a->has_body)
		campaign_by(d, f, f->a->body, (int)d->conf.near_bits);
	if (f->a->from && *f->a->from && !f->own_sender)
		campaign_by(d, f, signal_sender(d, f->a->from), 0);
}

static void shared(struct detector *d, struct facts *f)
{
	/* A new customer has no history, nor have the others of the same office. */
	bool odd = stranger(f) && f->share >= .5 && !f->young;
	if (!f->o.has_addr || f->learning)
		return;
	for (int i = ADDR_SELF; i <= ADDR_NEAR; i++) {
		uint64_t key = f->o.part[i];
		struct crowd *c = odd ? crowds_get(&d->sources, key, 0, d->now_ms)
				      : crowds_find(&d->sources, key, 0, d->now_ms);
		if (!c)
			continue;
		if (odd)
			crowd_points(d, f, c, SIGNAL_SHARED, CROWD_LEAST, i == ADDR_SELF ? 1 : .5);
		join(f, c, odd);
	}
}

static void syn(struct detector *d, struct facts *f)
{
	if (!f->o.line_syn)
		return;
	const struct crowd *c = origin_line(d, &f->o);
	if (c)
		stand(d, f->s, SIGNAL_SYN, log2((double)origin_syns(d, &f->o, c) / SYN_FEW) + 1,
		      c->contacts);
}

static void passwords(struct detector *d, struct facts *f)
{
	if (!stranger(f))
		return;
	if (f->s->fails && d->now_ms - f->s->fails_ms <= FAILS_MS)
		stand(d, f->s, SIGNAL_PASSWORDS, f->s->fails, f->s->fails);
	const struct crowd *c =
	    f->o.has_addr ? crowds_find(&d->sources, f->o.part[ADDR_SELF], 0, d->now_ms) : NULL;
	if (c && c->n_failed >= 3)
		stand(d, f->s, SIGNAL_PASSWORDS, 10, c->n_failed);
}

static void probe(struct detector *d, struct facts *f)
{
	struct active *s = f->s;
	bool first = f->client && f->client->known + f->client->contacts == 0;
	if (!stranger(f) || f->learning || f->young)
		return;
	bool recent = s->probe_ms && d->now_ms - s->probe_ms <= PROBE_MS;
	if (recent && f->contacts && f->share >= .6)
		stand(d, s, SIGNAL_PROBE, 1, 1);
	if (first && f->a->n_rcpt == 1 && f->contacts == 1 && !recent)
		s->probe_ms = d->now_ms;
}

static unsigned new_tls(struct active *s, uint64_t tls)
{
	const unsigned most = sizeof(s->tls) / sizeof(*s->tls);
	uint32_t key = (uint32_t)tls | 1;
	unsigned n = 0;
	while (n < most && s->tls[n] && s->tls[n] != key)
		n++;
	if (n == most)
		return n;
	s->tls[n] = key;
	for (n++; n < most && s->tls[n]; n++)
		;
	return n;
}

/* Programs are updated, and then say hello in another way: by itself it means next to nothing. */
static void tls(struct detector *d, struct facts *f)
{
	if (!f->o.tls_new || !f->contacts || f->learning || f->young)
		return;
	unsigned n = new_tls(f->s, f->o.tls);
	double units = .5 + .5 * n;
	if (!stranger(f))
		units *= .5;
	if (f->o.tls_usual)
		units *= .5;
	stand(d, f->s, SIGNAL_TLS, units * f->share, n);
}

void signals_attempt(struct detector *d, struct facts *f)
{
	new_client(d, f);
	contacts(d, f);
	rate(d, f);
	networks(d, f);
	silence(d, f);
	senders(d, f);
	same_body(d, f);
	campaign(d, f);
	shared(d, f);
	syn(d, f);
	passwords(d, f);
	probe(d, f);
	tls(d, f);
	for (size_t i = 0; i < f->a->n_rcpt && f->share >= .8; i++)
		one_in_order(d, f, f->a->rcpt[i]);
}
