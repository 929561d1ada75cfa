/*
 * The detector runs in two places: behind the frames of sekisho-ratelimitd, and in sekishoctl
 * replay. The same story must come to the same stages, at the same time, with the same score.
 * And what replay says of the past does not depend on what comes later.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "ratelimit/proto.h"
#include "ratelimit/replies.h"
#include "ratelimit/sentry.h"

#include "webui/ctl/cli.h"
#include "webui/ctl/trace.h"

#include "tests/unit/ratelimit/common.h"

#define ACCOUNTS 1000000 /* as many as replay has room for */
#define SEED	 0x5e15
#define MANY	 256 /* changes of one story */

struct change {
	int64_t t_ms;
	char account[80], stage[12];
	long long score;
};

struct changes {
	size_t n;
	struct change c[MANY];
};

static struct change *one_more(struct changes *all)
{
	assert_true(all->n < MANY);
	return &all->c[all->n++];
}

/* --- stories ---------------------------------------------------------------------------------- */

/* One message; reply: of all its recipients, NULL: none is known. */
struct mail {
	int64_t ms;
	const char *account, *ip, *ehlo, *from, *tls, *body, *rcpt, *reply;
	const char *late;  /* reply of those after the 80th; NULL: the same */
	unsigned first, n; /* recipients: rcpt with a number for %u, domains by sevens, one of 30 */
};

static void put_mail(FILE *f, const struct mail *m)
{
	json_t *rcpt = json_array(), *result = json_array(), *v;
	for (unsigned i = m->first; i < m->first + m->n; i++) {
		json_array_append_new(
		    rcpt, json_sprintf("%s%02u@d%u.example", m->rcpt, i, m->n == 30 ? 0 : i % 7));
		if (m->reply)
			json_array_append_new(
			    result,
			    json_string(m->late && i - m->first >= 80 ? m->late : m->reply));
	}
	v = json_pack("{s:I, s:s, s:s*, s:s*, s:s*, s:s*, s:s*, s:o, s:i, s:o}", "t",
		      (json_int_t)(T0 + m->ms), "account", m->account, "ip", m->ip, "ehlo", m->ehlo,
		      "from", m->from, "tls", m->tls, "body", m->body, "rcpt", rcpt, "bytes", 900,
		      "result", result);
	assert_non_null(v);
	json_dumpf(v, f, JSON_COMPACT);
	fputc('\n', f);
	json_decref(v);
}

#define ME	"owner@isp.example"
#define FINE	"250 2.1.5 ok"
#define UNKNOWN "550 5.1.1 no such user"

static struct mail by_owner(const char *account, int64_t ms, unsigned first, unsigned n)
{
	return (struct mail){.ms = ms,
			     .account = account,
			     .ip = "198.51.100.1",
			     .ehlo = "owners-laptop.lan",
			     .from = account,
			     .tls = "t13d1516h2",
			     .rcpt = "Friend",
			     .reply = FINE,
			     .first = first,
			     .n = n};
}

static struct mail by_thief(const char *account, int64_t ms, unsigned first, unsigned n)
{
	return (struct mail){.ms = ms,
			     .account = account,
			     .ip = "203.0.113.9",
			     .ehlo = "win-7c2",
			     .from = account,
			     .tls = "t12d0000h0",
			     .body = "abcdef0123456789",
			     .rcpt = "stranger",
			     .reply = first % 3 ? FINE : UNKNOWN,
			     .first = first,
			     .n = n};
}

/* Twenty days of a person's mail. */
static void live(FILE *f, const char *account)
{
	for (unsigned day = 0; day < 20; day++)
		for (unsigned i = 0; i < 3; i++) {
			struct mail m =
			    by_owner(account, day * DAY + i * HOUR, day % 4 * 3 + i, 1 + i);
			put_mail(f, &m);
		}
}

static void put_fact(FILE *f, int64_t ms, const char *rest)
{
	fprintf(f, "{\"t\":%lld,%s}\n", (long long)(T0 + ms), rest);
}

static void blast(FILE *f)
{
	live(f, ME);
	for (unsigned i = 0; i < 60; i++) {
		struct mail m = by_thief(ME, 20 * DAY + i * 10 * SEC, i, 1);
		m.reply = UNKNOWN;
		put_mail(f, &m);
	}
}

/* From the owner's own line and program: it is the answers that speak. */
static void bad_list(FILE *f)
{
	live(f, ME);
	for (unsigned i = 0; i < 60; i++) {
		struct mail m = by_owner(ME, 20 * DAY + i * MIN, 10 * i, 10);
		m.rcpt = "bought";
		m.reply = i % 4 ? FINE : i % 8 ? UNKNOWN : "554 5.7.1 message looks like spam";
		put_mail(f, &m);
	}
}

static void slow_drip(FILE *f)
{
	live(f, ME);
	for (unsigned i = 0; i < 72; i++) {
		struct mail m = by_thief(ME, 20 * DAY + i * 2 * HOUR, i, 1);
		put_mail(f, &m);
		m = by_owner(ME, 20 * DAY + i * 2 * HOUR + MIN, i % 9, 2);
		if (i % 6 == 0)
			put_mail(f, &m);
	}
}

/* The local parts of one domain in their order. */
static void in_order(FILE *f, const char *name)
{
	live(f, ME);
	for (unsigned k = 0; k < 3; k++) {
		struct mail m = by_owner(ME, (20 + k) * DAY, 30 * k, 30);
		m.rcpt = name;
		m.reply = k % 2 ? UNKNOWN : FINE;
		put_mail(f, &m);
	}
}

static void dictionary(FILE *f)
{
	in_order(f, "Abe");
}

/* What is the same in them is as long as all that is told of a local part, and longer. */
static void long_names(FILE *f)
{
	in_order(f, "customer.service");
}

static void longer_names(FILE *f)
{
	in_order(f, "customer.service.berlin");
}

/* The replies to one message count together, however many they are. */
static void hundreds(FILE *f)
{
	live(f, ME);
	for (unsigned i = 0; i < 6; i++) {
		struct mail m = by_owner(ME, 20 * DAY + i * MIN, i * 100, 100);
		m.rcpt = "bought";
		m.late = UNKNOWN;
		put_mail(f, &m);
	}
}

#define FIFTY  "Please read what we say about mail to our customers"
#define LETTER FIFTY FIFTY FIFTY FIFTY FIFTY

/* What a server says at the end of a long answer counts as well as at its beginning. */
static void long_answers(FILE *f)
{
	live(f, ME);
	for (unsigned i = 0; i < 60; i++) {
		struct mail m = by_owner(ME, 20 * DAY + i * MIN, 10 * i, 10);
		m.rcpt = "bought";
		m.reply = i % 4	  ? FINE
			  : i % 8 ? "550 " LETTER " there is no such user here"
				  : "554 " LETTER LETTER " this message looks like spam";
		put_mail(f, &m);
	}
}

static void spraying(FILE *f)
{
	static const char *const who[] = {"owner@isp.example", "nobody@isp.example",
					  "other@isp.example", "third@isp.example"};
	char text[200];
	live(f, ME);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(text, sizeof text,
			 "\"account\":\"%s\",\"ip\":\"2001:db8:9::%x\",\"auth\":\"fail\"",
			 who[i % 4], i % 2 + 1);
		put_fact(f, 20 * DAY + i * SEC, text);
	}
	put_fact(f, 20 * DAY + HOUR,
		 "\"account\":\"owner@isp.example\",\"ip\":\"2001:db8:9:0::1\",\"auth\":\"ok\"");
	for (unsigned i = 0; i < 30; i++) {
		struct mail m = by_thief(ME, 20 * DAY + HOUR + i * MIN, i, 1);
		m.ip = i % 2 ? "2001:DB8:9::1" : "2001:0db8:0009:0000:0000:0000:0000:0001";
		put_mail(f, &m);
	}
}

/* Failures whose client nobody told are of no place at all, not of a strange one. */
static void failures_from_nowhere(FILE *f)
{
	live(f, ME);
	for (unsigned i = 0; i < 5; i++)
		put_fact(f, 20 * DAY + i, "\"account\":\"owner@isp.example\",\"auth\":\"fail\"");
	for (unsigned i = 0; i < 30; i++) {
		struct mail m = by_thief(ME, 20 * DAY + i * MIN + HOUR, i, 1);
		m.ip = i % 5 ? m.ip : NULL;
		put_mail(f, &m);
	}
}

static void knocking_line(FILE *f)
{
	live(f, ME);
	put_fact(f, 20 * DAY, "\"ip\":\"198.51.100.1\",\"syn25\":400,\"dst\":90");
	put_fact(f, 20 * DAY + 1, "\"ip\":\"203.0.113.9\",\"syn25\":50,\"dst\":1");
	for (unsigned i = 0; i < 40; i++) {
		struct mail m = by_owner(ME, 20 * DAY + HOUR + i * MIN, 2 * i, 2);
		m.ip = i % 2 ? m.ip : "::ffff:198.51.100.1";
		m.rcpt = "stranger";
		put_mail(f, &m);
	}
}

static void complaints(FILE *f)
{
	live(f, ME);
	for (unsigned i = 0; i < 30; i++) {
		struct mail m = by_owner(ME, 20 * DAY + i * HOUR, 2 * i, 2);
		m.rcpt = "stranger";
		put_mail(f, &m);
		put_fact(f, 20 * DAY + i * HOUR + MIN,
			 "\"account\":\"owner@isp.example\",\"report\":\"abuse\"");
	}
	put_fact(f, 22 * DAY, "\"account\":\"stranger@isp.example\",\"report\":\"abuse\"");
}

static void bounces(FILE *f)
{
	static const char *const said[] = {"\"5.1.1\"", "\"\"", "\"5.7.1\"", "\"4.4.1\"", "true"};
	char text[120];
	live(f, ME);
	for (unsigned i = 0; i < 50; i++) {
		struct mail m = by_thief(ME, 20 * DAY + i * HOUR, 3 * i, 3);
		m.reply = NULL;
		put_mail(f, &m);
		snprintf(text, sizeof text, "\"account\":\"%s\",\"bounce\":%s",
			 i % 7 ? ME : "stranger@isp.example", said[i % 5]);
		put_fact(f, 20 * DAY + i * HOUR + 5 * MIN, text);
	}
}

/* Its own subscribers, its own senders; bounces come back with no sender at all. */
static void newsletter(FILE *f)
{
	for (unsigned week = 0; week < 5; week++)
		for (unsigned i = 0; i < 10; i++) {
			struct mail m =
			    by_owner("news@isp.example", week * 7 * DAY + i * MIN, i * 20, 20);
			m.from = i % 3 ? "news@isp.example" : "";
			m.reply = i % 9 ? FINE : UNKNOWN;
			m.body = i % 2 ? "0" : "1234";
			m.tls = "";
			put_mail(f, &m);
		}
}

/* A first message without a sender, of a text without a hash, and to nobody. */
static void nothing_told(FILE *f)
{
	live(f, ME);
	for (unsigned i = 0; i < 50; i++) {
		struct mail m = by_thief(ME, 20 * DAY + i * MIN, i, i % 3 ? 1 : 0);
		m.from = "";
		m.ehlo = "";
		m.body = "0";
		m.ip = i % 2 ? "::" : "203.0.113.9";
		put_mail(f, &m);
	}
}

/* The same people, written in another way, are no strangers. */
static void shouted(FILE *f)
{
	live(f, ME);
	for (unsigned i = 0; i < 40; i++) {
		struct mail m = by_thief(ME, 20 * DAY + i * MIN, i % 12, 1);
		m.rcpt = i % 2 ? "FRIEND" : "friend";
		m.reply = FINE;
		put_mail(f, &m);
	}
}

static void snowshoe(FILE *f)
{
	char who[4][32];
	for (unsigned k = 0; k < 4; k++) {
		snprintf(who[k], sizeof who[k], "user%u@isp.example", k);
		live(f, who[k]);
	}
	for (unsigned i = 0; i < 80; i++) {
		struct mail m = by_thief(who[i % 4], 30 * DAY + i * MIN, i, 2);
		m.reply = i % 5 ? FINE : "550 5.7.1 spam";
		put_mail(f, &m);
	}
}

static const struct story {
	const char *name;
	void (*tell)(FILE *f);
	bool held;
} stories[] = {
    {"blast", blast, true},
    {"bad list", bad_list, true},
    {"slow drip", slow_drip, true},
    {"dictionary", dictionary, true},
    {"long names", long_names, true},
    {"longer names", longer_names, true},
    {"hundreds", hundreds, false},
    {"long answers", long_answers, true},
    {"spraying", spraying, true},
    {"failures from nowhere", failures_from_nowhere, true},
    {"knocking line", knocking_line, true},
    {"complaints", complaints, true},
    {"bounces", bounces, true},
    {"newsletter", newsletter, false},
    {"nothing told", nothing_told, true},
    {"shouted", shouted, false},
    {"snowshoe", snowshoe, true},
};
#define STORIES (sizeof stories / sizeof stories[0])

/* The lines of it, to be freed. */
static void tell(const struct story *s, char **trace, size_t *len)
{
	FILE *f = open_memstream(trace, len);
	assert_non_null(f);
	s->tell(f);
	fclose(f);
}

/* --- sekishoctl replay ------------------------------------------------------------------------ */

static char *replayed(const char *trace, size_t len)
{
	static const char *const argv[] = {"sekishoctl", "replay", "-", NULL};
	char *out = NULL, *err = NULL;
	size_t out_len, err_len;
	struct cli_io io = {.in = fmemopen((void *)trace, len, "r")};
	io.out = open_memstream(&out, &out_len);
	io.err = open_memstream(&err, &err_len);
	assert_int_equal(cli_main(3, (char **)argv, &io), 0);
	fclose(io.in);
	fclose(io.out);
	fclose(io.err);
	free(err);
	return out;
}

static void read_changes(const char *out, struct changes *all)
{
	all->n = 0;
	for (const char *l = out, *end; (end = strchr(l, '\n')); l = end + 1) {
		json_t *v = json_loadb(l, (size_t)(end - l), 0, NULL);
		struct change *c = one_more(all);
		assert_non_null(v);
		c->t_ms = json_integer_value(json_object_get(v, "t"));
		c->score = json_integer_value(json_object_get(v, "score"));
		snprintf(c->account, sizeof c->account, "%s",
			 json_string_value(json_object_get(v, "account")));
		snprintf(c->stage, sizeof c->stage, "%s",
			 json_string_value(json_object_get(v, "stage")));
		json_decref(v);
	}
}

/* --- sekisho-ratelimitd, below its socket ----------------------------------------------------- */

struct daemon {
	struct limiter *l;
	struct sentry *s;
	struct proto_ask ask;
	struct changes all;
};

static void changed(const struct rl_penalty *p, const struct moment *now, void *arg)
{
	struct daemon *d = arg;
	struct change *c = one_more(&d->all);
	c->t_ms = now->utc_ms;
	assert_int_equal(sscanf(p->why, "score %lld", &c->score), 1);
	snprintf(c->account, sizeof c->account, "%.79s", p->account);
	snprintf(c->stage, sizeof c->stage, "%s", rl_stage_name(p->stage));
}

static struct moment moment_of(int64_t t_ms)
{
	return (struct moment){.mono_ms = t_ms, .utc_ms = t_ms};
}

static struct daemon *daemon_new(void)
{
	struct daemon *d = calloc(1, sizeof *d);
	struct detector_settings settings = {.accounts = ACCOUNTS};
	struct limiter_conf c = bare_conf();
	finish(&c);
	detector_conf_default(&settings.detector);
	assert_non_null(d);
	d->l = limiter_new(&c, 1);
	d->s = sentry_new(&settings, false, SEED, d->l, changed, d);
	return d;
}

static void daemon_free(struct daemon *d)
{
	sentry_free(d->s);
	limiter_free(d->l);
	free(d);
}

/* As the server takes a frame, from the bytes on. */
static void take_ask(struct daemon *d, const struct wire_out *w, int64_t t_ms)
{
	struct moment now = moment_of(t_ms);
	struct limiter_outcome o;
	struct rl_verdict v;
	assert_false(w->bad);
	assert_true(proto_get_ask(w->buf, w->len, &d->ask));
	limiter_ask(d->l, &d->ask.ask, &now, &v, &o);
	assert_int_not_equal(v.answer, RL_LIMIT);
	assert_int_not_equal(v.answer, RL_DOWN);
}

static void observe(struct daemon *d, const struct rl_observation *o)
{
	uint8_t buf[PROTO_SMALL_MAX];
	struct moment now = moment_of(o->t_ms);
	struct proto_observe seen;
	struct wire_out w;
	wire_out_init(&w, buf, sizeof buf);
	proto_put_observe(&w, o);
	assert_false(w.bad);
	assert_true(proto_get_observe(w.buf, w.len, &seen));
	limiter_observe(d->l, &seen.o, &now);
	sentry_observed(d->s, &seen.o, &now);
}

/* As sekisho-msad asks at the end of a message. */
static void submit(struct daemon *d, const struct trace *t)
{
	static uint8_t buf[PROTO_ASK_MAX];
	static uint64_t hash[100], domain[100];
	static struct rl_name name[100];
	struct wire_out w;
	struct rl_ask ask = {.account = t->a.account,
			     .client = t->a.client,
			     .t_ms = t->t_ms,
			     .charge = true,
			     .messages = 1,
			     .rcpts = (uint32_t)t->a.n_rcpt,
			     .bytes = (uint64_t)t->a.bytes,
			     .sender_hash = t->a.from ? rl_hash(t->a.from) : 0,
			     .sender_domain = "isp.example",
			     .ehlo = t->a.ehlo,
			     .sender = t->a.from,
			     .tls_hash = t->a.tls,
			     .body = t->a.body,
			     .rcpt_hash = hash,
			     .domain_hash = domain,
			     .rcpt_name = name,
			     .n_hash = (uint32_t)t->a.n_rcpt};
	assert_true(t->a.n_rcpt <= 100);
	for (size_t i = 0; i < t->a.n_rcpt; i++) {
		hash[i] = rl_hash(t->a.rcpt[i]);
		domain[i] = rl_hash(strrchr(t->a.rcpt[i], '@') + 1);
		name[i] = rl_name_of(t->a.rcpt[i]);
	}
	wire_out_init(&w, buf, sizeof buf);
	proto_put_ask(&w, 1, PROTO_CHARGE, &ask);
	take_ask(d, &w, t->t_ms);
}

#define HOSTS	   7  /* that the recipients of one message are at */
#define BETWEEN_MS 10 /* a host and the next */

/* As sekisho-msad tells it: its relay kept 440 octets, and it sends 255. */
static void tell_result(struct daemon *d, const struct trace *t, size_t i, int64_t t_ms)
{
	char kept[441], sent[RL_TEXT_MAX + 1];
	answer_abridge(kept, sizeof kept, t->reply[i]);
	answer_abridge(sent, sizeof sent, kept);
	struct rl_observation o = {.what = RL_SEEN_RESULT,
				   .account = t->a.account,
				   .client = t->a.client,
				   .t_ms = t_ms,
				   .text = sent,
				   .rcpt = t->a.rcpt[i],
				   .rcpt_hash = rl_hash(t->a.rcpt[i]),
				   .message = (uint64_t)t->t_ms,
				   .n = 1};
	observe(d, &o);
}

/* Somebody else's, between them. */
static void tell_another(struct daemon *d, int64_t t_ms)
{
	struct rl_observation o = {.what = RL_SEEN_RESULT,
				   .account = "another@isp.example",
				   .t_ms = t_ms,
				   .text = FINE,
				   .rcpt = "somebody@far.example",
				   .rcpt_hash = rl_hash("somebody@far.example"),
				   .message = (uint64_t)t_ms,
				   .n = 1};
	observe(d, &o);
}

/* One host answers after the other, the last one's recipients first. */
static void answered(struct daemon *d, const struct trace *t)
{
	struct moment now = moment_of(t->t_ms + 1);
	for (size_t host = HOSTS; host-- > 0; now = moment_of(now.utc_ms + BETWEEN_MS)) {
		for (size_t i = host; i < t->a.n_rcpt; i += HOSTS)
			if (t->reply[i])
				tell_result(d, t, i, now.utc_ms);
		tell_another(d, now.utc_ms);
		sentry_tick(d->s, &now);
	}
	now = moment_of(t->t_ms + 1 + REPLIES_WAIT_MS + HOSTS * BETWEEN_MS);
	sentry_tick(d->s, &now);
}

static void see(struct daemon *d, const struct trace *t)
{
	struct rl_observation o = {.account = t->a.account ? t->a.account : "",
				   .client = t->a.client,
				   .t_ms = t->t_ms,
				   .n = 1};
	switch (t->kind) {
	case TRACE_ATTEMPT:
		if (t->a.n_rcpt == 0) /* it has no end of data */
			return;
		submit(d, t);
		answered(d, t);
		return;
	case TRACE_AUTH:
		o.what = t->auth_ok ? RL_SEEN_LOGIN : RL_SEEN_LOGIN_FAILED;
		break;
	case TRACE_SYN:
		o.what = RL_SEEN_SYN25;
		o.n = (uint32_t)t->syn;
		o.m = (uint32_t)t->dst;
		break;
	case TRACE_REPORT:
		o.what = RL_SEEN_REPORT;
		o.text = "abuse";
		break;
	case TRACE_BOUNCE:
		o.what = RL_SEEN_BOUNCE;
		o.text = t->code;
		break;
	case TRACE_OTHER:
		fail_msg("%s", "a line that says nothing");
	}
	observe(d, &o);
}

static void run_daemon(const char *trace, struct changes *all)
{
	struct daemon *d = daemon_new();
	struct trace t = {.root = NULL};
	const char *err = "";
	for (const char *l = trace, *end; (end = strchr(l, '\n')); l = end + 1) {
		if (!trace_parse(&t, l, (size_t)(end - l), &err))
			fail_msg("%s", err);
		see(d, &t);
	}
	trace_clear(&t);
	*all = d->all;
	daemon_free(d);
}

/* --- the tests -------------------------------------------------------------------------------- */

static void print_changes(const char *title, const struct changes *all)
{
	for (size_t i = 0; i < all->n; i++)
		print_message("%s: %lld %s %s %lld\n", title, (long long)(all->c[i].t_ms - T0),
			      all->c[i].account, all->c[i].stage, all->c[i].score);
}

static bool is_held(const struct changes *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (strcmp(all->c[i].stage, "hold") == 0)
			return true;
	return false;
}

static bool same(const struct change *a, const struct change *b)
{
	return a->score == b->score && strcmp(a->account, b->account) == 0 &&
	       strcmp(a->stage, b->stage) == 0;
}

/* What replies alone bring about is known to replay at once, to the daemon when it has waited. */
static bool same_time(const struct change *there, const struct change *here)
{
	int64_t late = here->t_ms - there->t_ms;
	return late == 0 || (late > 0 && late <= REPLIES_WAIT_MS + HOSTS * BETWEEN_MS);
}

static bool all_same(const struct changes *a, const struct changes *b)
{
	for (size_t i = 0; i < a->n && i < b->n; i++)
		if (!same(&a->c[i], &b->c[i]) || !same_time(&a->c[i], &b->c[i]))
			return false;
	return a->n == b->n;
}

static void both_say_the_same(void **state)
{
	(void)state;
	static struct changes there, here;
	unsigned differ = 0;
	for (size_t i = 0; i < STORIES; i++) {
		size_t len;
		char *trace, *out;
		tell(&stories[i], &trace, &len);
		out = replayed(trace, len);
		read_changes(out, &there);
		run_daemon(trace, &here);
		if (!all_same(&there, &here) || is_held(&there) != stories[i].held) {
			print_message("%s:\n", stories[i].name);
			print_changes("replay", &there);
			print_changes("daemon", &here);
			differ++;
		}
		free(out);
		free(trace);
	}
	assert_int_equal(differ, 0);
}

static void a_trace_is_judged_alike_each_time(void **state)
{
	(void)state;
	for (size_t i = 0; i < STORIES; i++) {
		size_t len;
		char *trace;
		tell(&stories[i], &trace, &len);
		char *once = replayed(trace, len), *again = replayed(trace, len);
		assert_string_equal(once, again);
		free(once);
		free(again);
		free(trace);
	}
}

/* The time of the line that begins there. */
static int64_t time_at(const char *l)
{
	return strtoll(strstr(l, "\"t\":") + 4, NULL, 10);
}

/* Cut after a line: what was said until then stays, and the rest is all of later. */
static void check_cut(const char *trace, size_t cut, const char *whole)
{
	char *part = replayed(trace, cut);
	size_t n = strlen(part);
	if (strncmp(whole, part, n) != 0)
		fail_msg("cut at %zu: other changes", cut);
	if (trace[cut] && whole[n])
		assert_true(time_at(whole + n) >= time_at(trace + cut));
	free(part);
}

static void what_comes_later_changes_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < STORIES; i++) {
		size_t len, line = 0;
		char *trace;
		tell(&stories[i], &trace, &len);
		char *whole = replayed(trace, len);
		for (const char *end = trace; (end = strchr(end, '\n')); end++)
			if (line++ % 7 == i % 7)
				check_cut(trace, (size_t)(end + 1 - trace), whole);
		free(whole);
		free(trace);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_say_the_same),
	    cmocka_unit_test(a_trace_is_judged_alike_each_time),
	    cmocka_unit_test(what_comes_later_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
