/*
 * limits - the limits and account classes of the configuration, as rows. Pure.
 *
 * A limit says: of this unit, at most max in any window, for each different key, for accounts of
 * this class. Limits of class * hold for everybody; where a class that is in force for an account
 * has limits of its own with the same key and unit, they hold instead. A class is in force in its
 * hours only, so bulk mail at night is judged as everybody's.
 */
#ifndef RATELIMIT_LIMITS_H
#define RATELIMIT_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/conf.h"
#include "ratelimit/detector/detector.h"
#include "ratelimit/series.h"

enum limit_key {
	KEY_ACCOUNT,
	KEY_ACCOUNT_ADDRESS,
	KEY_ADDRESS, /* or its delegated prefix */
	KEY_DOMAIN,  /* of the envelope sender; of the account when there is none */
	KEY_REALM,   /* of the account: what follows its last @ */
	N_KEYS
};

enum unit {
	UNIT_MESSAGES,
	UNIT_RECIPIENTS,
	UNIT_BYTES, /* counted in KiB, each message rounded up */
	UNIT_REJECTED,
	UNIT_AUTH_FAILURES,
	UNIT_SESSIONS,
	UNIT_DISTINCT_RCPTS,
	UNIT_DISTINCT_DOMAINS,
	UNIT_DISTINCT_SENDERS,
	N_UNITS
};
#define N_ADDED UNIT_DISTINCT_RCPTS /* units before it are sums */

#define KEY_CHOICES "account|account+address|address|domain|realm"
#define UNIT_CHOICES                                                                               \
	"messages|recipients|bytes|rejected-recipients|auth-failures|sessions|"                    \
	"distinct-recipients|distinct-domains|distinct-senders"

extern const char *const key_names[N_KEYS];
extern const char *const unit_names[N_UNITS];

#define LIMITS_MAX	   64 /* limits */
#define LIMITS_MAX_SETS	   8  /* distinct-* limits */
#define LIMITS_MAX_CLASSES 16
#define LIMITS_MAX_HOURS   8 /* lines of a class */
#define CLASS_ALL	   (-1)
#define LIMIT_NAME_MAX	   (CONF_TITLE_MAX + 1)

struct limit {
	char name[LIMIT_NAME_MAX];
	enum limit_key key;
	enum unit unit;
	int64_t window_ms;
	int64_t max; /* 0: none. Of bytes: KiB */
	int class;   /* index, or CLASS_ALL */
	bool observe;
	int set;		   /* place of a distinct one's set; -1: no such unit */
	char window[CLOCK_STRLEN]; /* "1m" */
};

struct hours {
	uint8_t days;	   /* bit 0: Monday */
	uint16_t from, to; /* minutes of the day */
};

/* How its accounts are judged by the detector of stolen accounts. */
struct class_detector {
	int64_t watch, throttle, hold, suspend; /* scores; 0: as for everybody */
	int64_t throttle_delay_ms;		/* below 0: as for everybody */
	int64_t throttle_recipients;		/* in a minute, 0: no limit; below 0: the same */
	int mode;				/* 0 enforce, 1: only log what would be done */
	bool has_percent;
	uint16_t percent[SIGNAL_COUNT]; /* of each signal's points and limit, if has_percent */
};

struct account_class {
	char name[LIMIT_NAME_MAX];
	int64_t max_recipients; /* of one message; 0: no limit here */
	struct hours hours[LIMITS_MAX_HOURS];
	unsigned n_hours; /* 0: always */
	struct class_detector detector;
};

/* Where the counts of a unit are: main series, or one of the others, and which count. */
struct unit_home {
	int series; /* 0: main; 1 + MORE_*; -1: a set */
	int which;
};
extern const struct unit_home unit_homes[N_UNITS];
#define N_SERIES 3 /* main, traffic, login */

struct limits {
	unsigned n, n_classes;
	struct limit row[LIMITS_MAX];
	struct account_class class[LIMITS_MAX_CLASSES];
	/* Rows that hold for accounts of class c; the last is CLASS_ALL's. */
	uint8_t applies[LIMITS_MAX_CLASSES + 1][LIMITS_MAX];
	uint8_t n_applies[LIMITS_MAX_CLASSES + 1];
	struct series_windows windows[N_KEYS][N_SERIES];
	struct series_windows watch; /* of the detector's counts */
	bool key_used[N_KEYS];
	bool sets_of[N_KEYS]; /* some distinct-* limit has this key */
};

/* Rows as the configuration gives them. */
struct limit_conf {
	char *name;
	int key, unit;
	int64_t window_ms, max;
	char *class;
	int mode; /* 0 enforce, 1 observe */
};
struct class_conf {
	char *name;
	int64_t max_recipients;
	struct conf_list hours, members, weights;
	struct class_detector detector;
};

void limits_init(struct limits *l);
/* False: err (256 bytes) says what to change. Classes before the limits that name them. */
bool limits_add_class(struct limits *l, const struct class_conf *c, char err[static 256]);
bool limits_add(struct limits *l, const struct limit_conf *c, char err[static 256]);
/* Last: which limits hold for whom. old may be NULL; a distinct limit that stays keeps its set.
 * stale: places (a bit each) whose sets belong to limits that are gone. */
bool limits_finish(struct limits *l, const struct limits *old, int64_t detect_window_ms,
		   uint32_t *stale, char err[static 256]);

/* -1: no such class. */
int limits_class(const struct limits *l, const char *name);
/* NULL: no such limit. */
const struct limit *limits_find(const struct limits *l, const char *name);
/* "new_client 50": the signal counts half; out has them all. False: *err says what is wrong. */
bool weight_parse(const char *text, uint16_t out[static SIGNAL_COUNT], const char **err);
/* How accounts of class k (NULL: none) are judged, where d holds for all. Points into k. */
void class_levels(const struct account_class *k, const struct detector_conf *d,
		  struct detector_levels *out);
/* "Mon-Fri 08:00-18:00", "Sat,Sun 10:00-12:00", "* 00:00-24:00". False: *err says what is wrong. */
bool hours_parse(const char *text, struct hours *out, const char **err);
/* minute: of the week, Monday 00:00 is 0. */
bool class_open(const struct account_class *c, int minute);
/* "Mon-Fri 08:00-18:00; Sat 10:00-12:00", or "always". */
const char *class_hours(const struct account_class *c, char *buf, size_t cap);

#endif
