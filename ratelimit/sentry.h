/*
 * sentry - runs the detector of stolen accounts for ratelimitd: what is asked and seen goes in,
 * its changes of stage become penalties of the limiter.
 *
 * Pure but for its file: times are passed in. A stage that somebody else's decision already
 * outweighs (an operator's hold) changes nothing; a release by people goes back to the detector. In
 * mode observe what would have been done is only counted and logged.
 */
#ifndef RATELIMIT_SENTRY_H
#define RATELIMIT_SENTRY_H

#include <jansson.h>
#include <stdbool.h>

#include "ratelimit/detector/config.h"
#include "ratelimit/limiter.h"

struct sentry;

struct sentry_stats {
	uint64_t changes[STAGE_COUNT]; /* by the stage entered */
	uint64_t would[STAGE_COUNT];   /* the same in mode observe */
	uint64_t attempts, observations[RL_N_SEEN];
	bool learning;
	size_t memory; /* bytes */
};

/*
 * Judges for l from now on. changed() is told of each penalty that was set or lifted; it may be
 * called during limiter_ask(). observe: whatever the settings say.
 */
struct sentry *sentry_new(
    const struct detector_settings *conf, bool observe, uint64_t seed, struct limiter *l,
    void (*changed)(const struct rl_penalty *p, const struct moment *now, void *arg), void *arg);
void sentry_free(struct sentry *s);
void sentry_configure(struct sentry *s, const struct detector_settings *conf, bool observe,
		      const struct moment *now);
void sentry_observed(struct sentry *s, const struct rl_observation *o, const struct moment *now);
/* People have lifted a penalty, or set one. */
void sentry_decided(struct sentry *s, const struct rl_penalty *p, const struct moment *now);
/* What waits to be counted together, and whether the time of learning is over; now and then. */
void sentry_tick(struct sentry *s, const struct moment *now);
/* Into the answer of limit.show: "score": {"mode","stage","score","why":[…],"clears":"…"}. */
void sentry_show(struct sentry *s, const char *account, const struct moment *now, json_t *into);
void sentry_stats(const struct sentry *s, struct sentry_stats *out);

/*
 * What was learnt, from its file; may be called in another thread while s is only configured and
 * nobody else uses it. NULL: *err (static) says why, NULL: there is no file.
 */
struct detector *sentry_read(const struct sentry *s, const char *path, const char **err);
/* Takes d in place of what it knows; NULL: it begins anew. */
void sentry_take(struct sentry *s, struct detector *d, const struct moment *now);
/* Both. False: nothing was taken. */
bool sentry_load(struct sentry *s, const char *path, const struct moment *now, const char **err);
/* Durable when it returns true; else errno says why. Leaves no half-written file. */
bool sentry_save(const struct sentry *s, const char *path);

#endif
