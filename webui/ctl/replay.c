/*
 * replay - the real detector over a recorded trace, by the trace's own clock.
 *
 * Trusted with a file from anywhere. Diagnostics: wrong lines on stderr, the first few with their
 * number; a summary. Known gaps: lines are taken in the order of the file; one that is older than
 * those before it counts as if it came at the latest time seen.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <talloc.h>

#include "lib/clock.h"
#include "ratelimit/config.h"

#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"
#include "webui/ctl/trace.h"

#define SEED	 0x5e15
#define TOLD	 5	     /* wrong lines that are named */
#define MAX_LINE (64u << 20) /* bytes */
#define FAR_MS	 (INT64_C(400) * 86400 * 1000)

struct replay {
	struct cli *c;
	struct detector *d;
	struct detector_conf conf;
	struct limiter *classes; /* knows the class of each account; NULL: there is none */
	const struct limits *limits;
	bool observed; /* the class of the account that is looked at only looks on */
	struct detector_change change;
	struct answer_table *answers; /* NULL: only what is built in */
	enum answer_kind *kind;	      /* of the replies of one attempt */
	int64_t latest_ms, far_ms;
	uint64_t line, wrong, late, passed_over, attempts, rcpts, changes[STAGE_COUNT],
	    observations;
};

/* --- classes of accounts --- */

/* The one the line names, in its hours; else that of the account in the configuration. */
static const struct account_class *class_of(const struct replay *r, const struct trace *t)
{
	const struct moment now = {
	    .mono_ms = t->t_ms, .utc_ms = t->t_ms, .minute = clock_local_minute(t->t_ms)};
	int i = t->class ? limits_class(r->limits, t->class) : CLASS_ALL;
	if (i == CLASS_ALL)
		return limiter_class(r->classes, t->a.account, &now);
	const struct account_class *k = &r->limits->class[i];
	return class_open(k, now.minute) ? k : NULL;
}

static void use_class(struct replay *r, const struct trace *t)
{
	struct detector_levels l;
	if (!r->classes || !t->a.account)
		return;
	const struct account_class *k = class_of(r, t);
	class_levels(k, &r->conf, &l);
	detector_use_levels(r->d, &l);
	r->observed = k && k->detector.mode == DETECTOR_OBSERVE;
}

/* --- what comes out --- */

static void print_change(struct replay *r, const char *account)
{
	const struct detector_change *ch = &r->change;
	if (r->observed) {
		r->observations++;
		return;
	}
	json_t *why = json_array();
	for (int i = 0; i < ch->n_why; i++)
		json_array_append_new(why, json_string(ch->why[i]));
	json_t *v = json_pack("{s:I, s:s, s:s, s:I, s:o}", "t", (json_int_t)ch->t_ms, "account",
			      account, "stage", detector_stage_name(ch->stage), "score",
			      (json_int_t)ch->score, "why", why);
	json_dumpf(v, r->c->io->out, JSON_COMPACT | JSON_ENSURE_ASCII);
	fputc('\n', r->c->io->out);
	json_decref(v);
	r->changes[ch->stage]++;
}

static void print_summary(const struct replay *r)
{
	FILE *f = r->c->io->err;
	fprintf(f, "%" PRIu64 " lines, %" PRIu64 " attempts, %" PRIu64 " recipients", r->line,
		r->attempts, r->rcpts);
	for (int s = STAGE_COUNT - 1; s >= 0; s--)
		fprintf(f, ", %" PRIu64 " %s", r->changes[s],
			detector_stage_name((enum detector_stage)s));
	if (r->wrong)
		fprintf(f, ", %" PRIu64 " lines wrong", r->wrong);
	if (r->late)
		fprintf(f, ", %" PRIu64 " out of order", r->late);
	if (r->observations)
		fprintf(f, ", %" PRIu64 " of a class that is only observed", r->observations);
	if (r->passed_over)
		fprintf(f, ", %" PRIu64 " of no known kind", r->passed_over);
	fputc('\n', f);
}

/* --- what goes in --- */

/* All its replies by their meaning, whole as they are. */
static const enum answer_kind *kinds_of(struct replay *r, const struct trace *t)
{
	r->kind = talloc_realloc(r, r->kind, enum answer_kind, t->a.n_rcpt);
	for (size_t i = 0; i < t->a.n_rcpt; i++)
		r->kind[i] = answer_kind(answer_classify(r->answers, "", t->reply[i]));
	return r->kind;
}

static bool feed_attempt(struct replay *r, const struct trace *t)
{
	r->attempts++;
	r->rcpts += t->a.n_rcpt;
	if (t->a.n_rcpt == 0) /* to nobody: it never comes to a message */
		return false;
	if (detector_attempt(r->d, &t->a, &r->change))
		print_change(r, t->a.account);
	/* The replies come after it: what they change is in force for the next. */
	return detector_replies(r->d, t->t_ms + 1, &t->a, kinds_of(r, t), t->a.n_rcpt, &r->change);
}

static bool feed(struct replay *r, const struct trace *t)
{
	const struct addr *client = t->a.has_client ? &t->a.client : NULL;
	switch (t->kind) {
	case TRACE_ATTEMPT:
		return feed_attempt(r, t);
	case TRACE_AUTH:
		return detector_auth(r->d, t->t_ms, t->a.account, client, t->auth_ok, &r->change);
	case TRACE_SYN:
		detector_syn25(r->d, t->t_ms, client, 0, t->syn, t->dst);
		return false;
	case TRACE_REPORT:
		return detector_complaint(r->d, t->t_ms, t->a.account, &r->change);
	case TRACE_BOUNCE:
		return detector_bounce(r->d, t->t_ms, t->a.account, t->code, &r->change);
	case TRACE_OTHER:
		r->passed_over++;
		break;
	}
	return false;
}

static void wrong_line(struct replay *r, const char *err)
{
	if (r->wrong++ < TOLD)
		cli_warn(r->c, "line %" PRIu64 " is left out: %s", r->line, err);
	if (r->wrong == TOLD + 1)
		cli_warn(r->c, "further wrong lines are only counted");
}

/* One time that is far ahead would make all that follow late; when the next one agrees it is so. */
static bool too_far(struct replay *r, int64_t t_ms)
{
	if (r->latest_ms == 0 || t_ms - r->latest_ms <= FAR_MS)
		return false;
	bool again = r->far_ms && t_ms - r->far_ms <= FAR_MS && r->far_ms - t_ms <= FAR_MS;
	r->far_ms = t_ms;
	return !again;
}

static void take_line(struct replay *r, struct trace *t, const char *line, size_t len)
{
	const char *err;
	r->line++;
	if (strspn(line, " \t\r\n") == len)
		return;
	if (len > MAX_LINE) {
		wrong_line(r, "it is too long");
		return;
	}
	if (!trace_parse(t, line, len, &err)) {
		wrong_line(r, err);
		return;
	}
	if (too_far(r, t->t_ms)) {
		wrong_line(r, "its time is more than 400 days after all before it");
		return;
	}
	r->late += t->t_ms < r->latest_ms;
	r->latest_ms = t->t_ms > r->latest_ms ? t->t_ms : r->latest_ms;
	use_class(r, t);
	if (feed(r, t))
		print_change(r, t->a.account);
}

static int read_all(struct replay *r, FILE *f, const char *name)
{
	struct trace t = {.root = NULL};
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	int status = EX_OK;
	while ((n = getline(&line, &cap, f)) >= 0)
		take_line(r, &t, line, (size_t)n);
	if (ferror(f))
		status = cli_fail(r->c, EX_IOERR, "%s: %s", name, strerror(errno));
	free(line);
	trace_clear(&t);
	return status ? status : r->wrong ? EX_DATAERR : EX_OK;
}

/* --- the command --- */

static bool conf_given(const struct cli *c)
{
	for (size_t i = 0; i < c->n_given; i++)
		if (strcmp(c->given[i].opt->name, "config") == 0)
			return true;
	return false;
}

/* A trace is judged by the defaults unless another configuration is asked for. */
static struct ratelimit_conf *settings(struct cli *c)
{
	char *err = NULL;
	struct ratelimit_conf *conf;
	if (!conf_given(c)) {
		conf = talloc_zero(c->pool, struct ratelimit_conf);
		detector_conf_default(&conf->detector.detector);
		conf->detector.accounts = 1000000;
		return conf;
	}
	conf = config_load(c->conf_file, &err);
	if (!conf)
		cli_fail(c, EX_CONFIG, "%s", err);
	talloc_free(err);
	return talloc_steal(c->pool, conf);
}

/* The file that sekisho-msad reads, if that configuration names one. False: said. */
static bool load_answers(struct replay *r)
{
	static const struct conf_key keys[] = {
	    {"msa", "answers", CONF_PATH, 0, "", 0, 0, NULL, true, "read by sekisho-msad", true}};
	char *file = NULL, *err = NULL;
	if (!conf_given(r->c))
		return true;
	if (!conf_load(r, r->c->conf_file, keys, 1, &file, &err)) {
		cli_fail(r->c, EX_CONFIG, "%s", err);
		return false;
	}
	if (!file[0])
		return true;
	r->answers = answer_load(file, &err);
	if (!r->answers) {
		cli_fail(r->c, EX_CONFIG, "%s", err ? err : "out of memory");
		free(err);
	}
	return r->answers != NULL;
}

static int run_on(struct cli *c, const struct ratelimit_conf *conf, FILE *f)
{
	struct replay *r = talloc_zero(c->pool, struct replay);
	r->c = c;
	r->conf = conf->detector.detector;
	r->limits = &conf->limiter.limits;
	if (!load_answers(r))
		return EX_CONFIG;
	if (r->limits->n_classes)
		r->classes = limiter_new(&conf->limiter, SEED);
	r->d = detector_new(&r->conf, SEED, (size_t)conf->detector.accounts);
	int status = r->d ? read_all(r, f, c->args[0]) : cli_fail(c, EX_OSERR, "no memory");
	if (r->d)
		print_summary(r);
	detector_free(r->d);
	if (r->classes)
		limiter_free(r->classes);
	answer_table_free(r->answers);
	return status;
}

static int run_replay(struct cli *c)
{
	const char *name = c->args[0];
	bool in = strcmp(name, "-") == 0;
	const struct ratelimit_conf *conf = settings(c);
	if (!conf)
		return EX_CONFIG;
	FILE *f = in ? c->io->in : fopen(name, "re");
	if (!f)
		return cli_fail(c, EX_NOINPUT, "%s: %s", name, strerror(errno));
	int status = run_on(c, conf, f);
	if (!in)
		fclose(f);
	return status;
}

static const struct cli_verb verbs[] = {
    {NULL, "FILE|-", "Run the detector of stolen accounts over a recorded trace.",
     "The trace is JSON lines; sekishoctl(8) says what they hold. Printed is one line of JSON for "
     "each change of an account's stage: normal, watch, throttle, hold, suspend, with the score "
     "and "
     "the reasons; the summary goes to standard error. The clock is the trace's own. Thresholds "
     "and "
     "weights are the defaults, or those of --config FILE; that has classes of accounts and the "
     "meaning of answers (msa.answers), too, and "
     "a line may name a class in \"class\". Nothing else is read, and nothing "
     "is "
     "changed. Wrong lines are left out; then the exit status is 65.",
     NULL, run_replay},
};
const struct cli_noun noun_replay = {"replay", "what would the detector have done",
				     CLI_VERBS(verbs)};
