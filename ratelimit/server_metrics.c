/*
 * server_metrics - the figures of ratelimitd for Prometheus.
 *
 * Trusted with nothing. Diagnostics: sekisho_ratelimit_* and sekisho_detector_*. Known gaps: none.
 */
#include "ratelimit/server_metrics.h"

#include <inttypes.h>
#include <stdio.h>

#include "lib/metrics.h"

static void put(enum metric_type type, const char *name, const char *labels, const char *help,
		uint64_t v)
{
	metric_set(metric_new(type, name, labels, help), (int64_t)v);
}

static void put_answers(const struct limiter_stats *st)
{
	static const char *const labels[] = {
	    [RL_OK] = "answer=\"ok\"",	   [RL_LIMIT] = "answer=\"limit\"",
	    [RL_HELD] = "answer=\"held\"", [RL_REFUSE] = "answer=\"refuse\"",
	    [RL_DOWN] = "answer=\"full\"",
	};
	for (int i = 0; i <= RL_DOWN; i++)
		put(METRIC_COUNTER, "sekisho_ratelimit_answers_total", labels[i], "Asks by answer",
		    st->answers[i]);
}

static void put_memory(struct limiter *l)
{
	size_t used, touched = subjects_memory(limiter_subjects(l), &used);
	put(METRIC_GAUGE, "sekisho_ratelimit_memory_bytes", "state=\"touched\"",
	    "Memory of counters", touched);
	put(METRIC_GAUGE, "sekisho_ratelimit_memory_bytes", "state=\"used\"", "Memory of counters",
	    used);
}

/* By name of the limit: what it refused, or would have. */
static void put_rows(struct limiter *l, const struct limiter_stats *st)
{
	const struct limits *ls = &limiter_config(l)->limits;
	char labels[64];
	for (unsigned i = 0; i < ls->n; i++) {
		snprintf(labels, sizeof labels, "limit=\"%s\"", ls->row[i].name);
		put(METRIC_COUNTER, "sekisho_ratelimit_refused_total", labels,
		    "Asks refused, by limit", st->refused_by[i]);
		put(METRIC_COUNTER, "sekisho_ratelimit_would_refuse_total", labels,
		    "Asks a limit that only observes would have refused", st->would_by[i]);
	}
}

static void put_observations(const struct limiter_stats *st)
{
	static const char *const labels[RL_N_SEEN] = {
	    "what=\"login\"",  "what=\"login-failed\"", "what=\"rejected\"", "what=\"result\"",
	    "what=\"bounce\"", "what=\"syn25\"",	"what=\"report\""};
	for (int i = 0; i < RL_N_SEEN; i++)
		put(METRIC_COUNTER, "sekisho_ratelimit_observations_total", labels[i],
		    "What was told without a question", st->observations[i]);
}

/* A series a stage; those of the detector's changes too. */
static void put_stages(const struct sentry *s, const struct limiter_stats *st)
{
	struct sentry_stats d;
	char labels[64];
	sentry_stats(s, &d);
	for (int i = RL_WATCH; i < RL_N_STAGES; i++) {
		snprintf(labels, sizeof labels, "stage=\"%s\"", rl_stage_name((enum rl_stage)i));
		put(METRIC_GAUGE, "sekisho_ratelimit_penalised_accounts", labels,
		    "Accounts by penalty", st->penalised[i]);
	}
	for (int i = 0; i < STAGE_COUNT; i++) {
		snprintf(labels, sizeof labels, "stage=\"%s\"",
			 detector_stage_name((enum detector_stage)i));
		put(METRIC_COUNTER, "sekisho_detector_changes_total", labels,
		    "Accounts that entered a stage of the detector", d.changes[i]);
		put(METRIC_COUNTER, "sekisho_detector_would_total", labels,
		    "Mode observe: accounts that would have entered it", d.would[i]);
	}
	put(METRIC_COUNTER, "sekisho_detector_attempts_total", NULL, "Messages judged", d.attempts);
	put(METRIC_GAUGE, "sekisho_detector_learning", NULL, "It is the time of learning",
	    d.learning);
	put(METRIC_GAUGE, "sekisho_detector_memory_bytes", NULL, "Memory of the detector, at most",
	    d.memory);
}

static const int64_t steps_us[SERVED_STEPS - 1] = {5, 10, 20, 50, 100, 200, 500, 1000, 10000};

void served_add(struct served *s, unsigned n, int64_t us)
{
	int i = 0;
	while (i < SERVED_STEPS - 1 && us > steps_us[i])
		i++;
	s->up_to[i] += n;
	s->sum_us += (uint64_t)us * n;
}

/* Cumulative, as Prometheus has its histograms; as counters, for lib/metrics knows no third kind.
 */
static void put_served(const struct served *s)
{
	char labels[32];
	uint64_t n = 0;
	for (int i = 0; i < SERVED_STEPS; i++) {
		n += s->up_to[i];
		if (i < SERVED_STEPS - 1)
			snprintf(labels, sizeof labels, "le=\"%" PRId64 "\"", steps_us[i]);
		else
			snprintf(labels, sizeof labels, "le=\"+Inf\"");
		put(METRIC_COUNTER, "sekisho_ratelimit_service_microseconds_bucket", labels,
		    "Frames by the time from their read to the writing of the answers", n);
	}
	put(METRIC_COUNTER, "sekisho_ratelimit_service_microseconds_sum", NULL, "The sum of it",
	    s->sum_us);
	put(METRIC_COUNTER, "sekisho_ratelimit_service_microseconds_count", NULL, "Frames", n);
}

void server_put_metrics(struct limiter *l, const struct sentry *s, const struct disk *d,
			const struct served *served, int64_t age_ms)
{
	put_served(served);
	const struct limiter_stats *st = limiter_stats(l);
	put(METRIC_COUNTER, "sekisho_ratelimit_asks_total", "kind=\"check\"", "Asks by kind",
	    st->checks);
	put(METRIC_COUNTER, "sekisho_ratelimit_asks_total", "kind=\"charge\"", "Asks by kind",
	    st->charges);
	put_answers(st);
	put(METRIC_COUNTER, "sekisho_ratelimit_detections_total", NULL,
	    "Accounts put on hold by the detector", st->detections);
	put(METRIC_COUNTER, "sekisho_ratelimit_would_limit_total", NULL,
	    "Mode observe: asks a limit would have refused", st->would_limit);
	put(METRIC_COUNTER, "sekisho_ratelimit_would_hold_total", NULL,
	    "Mode observe: holds the detector would have opened", st->would_hold);
	put(METRIC_COUNTER, "sekisho_ratelimit_evicted_total", NULL,
	    "Accounts forgotten early for want of room", subjects_evicted(limiter_subjects(l)));
	put(METRIC_GAUGE, "sekisho_ratelimit_accounts", NULL,
	    "Accounts, addresses and domains remembered", subjects_count(limiter_subjects(l)));
	put_memory(l);
	put_rows(l, st);
	put_observations(st);
	put_stages(s, st);
	put(METRIC_GAUGE, "sekisho_ratelimit_snapshot_age_seconds", NULL,
	    "Time since the counters on disk were complete", (uint64_t)age_ms / 1000);
	put(METRIC_GAUGE, "sekisho_ratelimit_snapshot_fork_milliseconds", NULL,
	    "How long asks waited while the process was copied for the last snapshot",
	    (uint64_t)disk_fork_ms(d));
	put(METRIC_COUNTER, "sekisho_ratelimit_snapshot_errors_total", NULL,
	    "Snapshot writes that failed", disk_errors(d));
	put(METRIC_COUNTER, "sekisho_ratelimit_snapshot_damaged_total", NULL,
	    "Snapshot files set aside", disk_damaged(d));
}
