/*
 * limits - rows of limits and classes, and which hold for whom.
 *
 * Trusted with nothing. Diagnostics: what is wrong with a row, in words, with its name. Known gaps:
 * none.
 */
#include "ratelimit/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

#define MINUTE_MS 60000
#define DAY_MS	  (24LL * 60 * MINUTE_MS)

const char *const key_names[N_KEYS] = {"account", "account+address", "address", "domain", "realm"};
const char *const unit_names[N_UNITS] = {"messages",
					 "recipients",
					 "bytes",
					 "rejected-recipients",
					 "auth-failures",
					 "sessions",
					 "distinct-recipients",
					 "distinct-domains",
					 "distinct-senders"};
const struct unit_home unit_homes[N_UNITS] = {
    [UNIT_MESSAGES] = {0, 0},
    [UNIT_RECIPIENTS] = {0, 1},
    [UNIT_BYTES] = {1, 0},
    [UNIT_REJECTED] = {1, 1},
    [UNIT_AUTH_FAILURES] = {2, 0},
    [UNIT_SESSIONS] = {2, 1},
    [UNIT_DISTINCT_RCPTS] = {-1, 0},
    [UNIT_DISTINCT_DOMAINS] = {-1, 0},
    [UNIT_DISTINCT_SENDERS] = {-1, 0},
};

/* --- hours ------------------------------------------------------------------------------------ */

static const char *const days[7] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};

static int day_at(const char **p)
{
	for (int d = 0; d < 7; d++)
		if (strncmp(*p, days[d], 3) == 0) {
			*p += 3;
			return d;
		}
	return -1;
}

/* "Mon" or "Mon-Fri"; a range may go over Sunday. */
static bool days_at(const char **p, uint8_t *mask)
{
	int first = day_at(p), last = first;
	if (first >= 0 && **p == '-') {
		(*p)++;
		last = day_at(p);
	}
	if (first < 0 || last < 0)
		return false;
	for (int d = first;; d = (d + 1) % 7) {
		*mask |= (uint8_t)(1u << d);
		if (d == last)
			return true;
	}
}

static bool all_days_at(const char **p, uint8_t *mask)
{
	*mask = 0;
	if (**p == '*') {
		(*p)++;
		*mask = 127;
		return true;
	}
	while (days_at(p, mask)) {
		if (**p != ',')
			return true;
		(*p)++;
	}
	return false;
}

static bool two_digits(const char **p, unsigned *out)
{
	const char *s = *p;
	if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9')
		return false;
	*out = (unsigned)(s[0] - '0') * 10 + (unsigned)(s[1] - '0');
	*p += 2;
	return true;
}

static bool time_at(const char **p, uint16_t *minute)
{
	unsigned h, m;
	if (!two_digits(p, &h) || **p != ':')
		return false;
	(*p)++;
	if (!two_digits(p, &m) || m > 59 || h * 60 + m > 24 * 60)
		return false;
	*minute = (uint16_t)(h * 60 + m);
	return true;
}

bool hours_parse(const char *text, struct hours *out, const char **err)
{
	const char *p = text;
	*err =
	    "hours are days and times such as \"Mon-Fri 08:00-18:00\", \"Sat,Sun 10:00-12:00\" or "
	    "\"* 00:00-24:00\"";
	if (!all_days_at(&p, &out->days) || *p++ != ' ' || !time_at(&p, &out->from) ||
	    *p++ != '-' || !time_at(&p, &out->to) || *p)
		return false;
	*err =
	    "hours end after they begin: write those past midnight as two, \"* 22:00-24:00\" and "
	    "\"* 00:00-06:00\"";
	return out->from < out->to;
}

bool class_open(const struct account_class *c, int minute)
{
	int day = minute / 1440, of_day = minute % 1440;
	for (unsigned i = 0; i < c->n_hours; i++)
		if ((c->hours[i].days >> day & 1) && of_day >= c->hours[i].from &&
		    of_day < c->hours[i].to)
			return true;
	return c->n_hours == 0;
}

static size_t put(char *buf, size_t cap, size_t at, const char *text)
{
	int n = at < cap ? snprintf(buf + at, cap - at, "%s", text) : 0;
	return at + (size_t)(n < 0 ? 0 : n);
}

static size_t put_days(char *buf, size_t cap, size_t at, uint8_t mask)
{
	if (mask == 127)
		return put(buf, cap, at, "*");
	for (int d = 0, first = 1; d < 7; d++) {
		int last = d;
		if (!(mask >> d & 1))
			continue;
		while (last < 6 && (mask >> (last + 1) & 1))
			last++;
		at = put(buf, cap, at, first ? "" : ",");
		at = put(buf, cap, at, days[d]);
		if (last > d) {
			at = put(buf, cap, at, "-");
			at = put(buf, cap, at, days[last]);
		}
		first = 0;
		d = last;
	}
	return at;
}

const char *class_hours(const struct account_class *c, char *buf, size_t cap)
{
	size_t at = put(buf, cap, 0, c->n_hours ? "" : "always");
	for (unsigned i = 0; i < c->n_hours; i++) {
		char times[24];
		const struct hours *h = &c->hours[i];
		snprintf(times, sizeof times, " %02d:%02d-%02d:%02d", h->from / 60, h->from % 60,
			 h->to / 60, h->to % 60);
		at = put(buf, cap, at, i ? "; " : "");
		at = put_days(buf, cap, at, h->days);
		at = put(buf, cap, at, times);
	}
	return buf;
}

/* --- rows ------------------------------------------------------------------------------------- */

void limits_init(struct limits *l)
{
	memset(l, 0, sizeof *l);
}

int limits_class(const struct limits *l, const char *name)
{
	for (unsigned i = 0; i < l->n_classes; i++)
		if (strcmp(l->class[i].name, name) == 0)
			return (int)i;
	return -1;
}

const struct limit *limits_find(const struct limits *l, const char *name)
{
	for (unsigned i = 0; i < l->n; i++)
		if (strcmp(l->row[i].name, name) == 0)
			return &l->row[i];
	return NULL;
}

bool weight_parse(const char *text, uint16_t out[static SIGNAL_COUNT], const char **err)
{
	size_t n = strcspn(text, " ");
	const char *digits = text + n + strspn(text + n, " ");
	char *end;
	long v = *digits >= '0' && *digits <= '9' ? strtol(digits, &end, 10) : -1;
	*err = "a weight is a signal and a percentage from 0 to 1000, such as \"contacts 50\"";
	if (v < 0 || v > 1000 || *end)
		return false;
	for (int i = 0; i < SIGNAL_COUNT; i++) {
		const char *name = detector_signal_name((enum detector_signal)i);
		if (strlen(name) == n && memcmp(name, text, n) == 0) {
			out[i] = (uint16_t)v;
			return true;
		}
	}
	*err = "there is no such signal; section detector has them all, as SIGNAL_points";
	return false;
}

static bool add_weights(struct account_class *k, const struct conf_list *w, char err[static 256])
{
	const char *why;
	for (int i = 0; i < SIGNAL_COUNT; i++)
		k->detector.percent[i] = 100;
	k->detector.has_percent = w->n > 0;
	for (size_t i = 0; i < w->n; i++)
		if (!weight_parse(w->items[i], k->detector.percent, &why)) {
			snprintf(err, 256, "account-class %s: \"%.40s\": %s", k->name, w->items[i],
				 why);
			return false;
		}
	return true;
}

static int64_t own_or(int64_t own, int64_t all)
{
	return own ? own : all;
}

void class_levels(const struct account_class *k, const struct detector_conf *d,
		  struct detector_levels *out)
{
	*out = (struct detector_levels){d->watch, d->throttle, d->hold, d->suspend, NULL};
	if (!k)
		return;
	out->watch = own_or(k->detector.watch, d->watch);
	out->throttle = own_or(k->detector.throttle, d->throttle);
	out->hold = own_or(k->detector.hold, d->hold);
	out->suspend = own_or(k->detector.suspend, d->suspend);
	out->percent = k->detector.has_percent ? k->detector.percent : NULL;
}

bool limits_add_class(struct limits *l, const struct class_conf *c, char err[static 256])
{
	const char *why;
	if (l->n_classes == LIMITS_MAX_CLASSES) {
		snprintf(err, 256, "account-class %s: at most %d classes", c->name,
			 LIMITS_MAX_CLASSES);
		return false;
	}
	struct account_class *k = &l->class[l->n_classes];
	snprintf(k->name, sizeof k->name, "%s", c->name);
	k->max_recipients = c->max_recipients;
	k->detector = c->detector;
	if (!add_weights(k, &c->weights, err))
		return false;
	if (c->hours.n > LIMITS_MAX_HOURS) {
		snprintf(err, 256, "account-class %s: at most %d lines of hours", c->name,
			 LIMITS_MAX_HOURS);
		return false;
	}
	for (size_t i = 0; i < c->hours.n; i++)
		if (!hours_parse(c->hours.items[i], &k->hours[k->n_hours++], &why)) {
			snprintf(err, 256, "account-class %s: %s", c->name, why);
			return false;
		}
	l->n_classes++;
	return true;
}

static bool row_wrong(const struct limits *l, const struct limit_conf *c, char err[static 256])
{
	if (l->n == LIMITS_MAX)
		snprintf(err, 256, "limit %s: at most %d limits", c->name, LIMITS_MAX);
	else if (limits_find(l, c->name))
		snprintf(err, 256, "limit %s: there is one of that name already; %s", c->name,
			 "messages-1m, -1h, -1d and recipients-1m, -1h, -1d are those of section "
			 "ratelimit");
	else if (strcmp(c->class, "*") != 0 && limits_class(l, c->class) < 0)
		snprintf(err, 256, "limit %s: there is no account-class %.40s", c->name, c->class);
	else if (c->window_ms < 1000 || c->window_ms > SERIES_MAX_WINDOW)
		snprintf(err, 256, "limit %s: window is from 1s to 31d", c->name);
	else
		return false;
	return true;
}

bool limits_add(struct limits *l, const struct limit_conf *c, char err[static 256])
{
	if (row_wrong(l, c, err))
		return false;
	struct limit *r = &l->row[l->n++];
	snprintf(r->name, sizeof r->name, "%s", c->name);
	r->key = (enum limit_key)c->key;
	r->unit = (enum unit)c->unit;
	r->window_ms = c->window_ms;
	r->max = r->unit == UNIT_BYTES ? (c->max + 1023) / 1024 : c->max;
	r->class = strcmp(c->class, "*") == 0 ? CLASS_ALL : limits_class(l, c->class);
	r->observe = c->mode != 0;
	r->set = -1;
	clock_format_duration(c->window_ms, r->window);
	return true;
}

/* --- which hold for whom ---------------------------------------------------------------------- */

static bool replaced(const struct limits *l, const struct limit *r, int class)
{
	for (unsigned i = 0; class != CLASS_ALL && i < l->n; i++)
		if (l->row[i].class == class && l->row[i].key == r->key &&
		    l->row[i].unit == r->unit)
			return true;
	return false;
}

static void find_applying(struct limits *l, int class)
{
	unsigned at = class == CLASS_ALL ? LIMITS_MAX_CLASSES : (unsigned)class;
	l->n_applies[at] = 0;
	for (unsigned i = 0; i < l->n; i++) {
		const struct limit *r = &l->row[i];
		if (r->class == class || (r->class == CLASS_ALL && !replaced(l, r, class)))
			l->applies[at][l->n_applies[at]++] = (uint8_t)i;
	}
}

static bool same_distinct(const struct limit *a, const struct limit *b)
{
	return strcmp(a->name, b->name) == 0 && a->key == b->key && a->unit == b->unit &&
	       a->window_ms == b->window_ms;
}

/* The places that limits which stay have had; the others' are stale. */
static uint32_t keep_places(struct limits *l, const struct limits *old, uint32_t *stale)
{
	uint32_t taken = 0;
	*stale = 0;
	for (unsigned i = 0; old && i < old->n; i++) {
		struct limit *r = (struct limit *)(uintptr_t)limits_find(l, old->row[i].name);
		if (old->row[i].set < 0)
			continue;
		if (r && same_distinct(r, &old->row[i])) {
			r->set = old->row[i].set;
			taken |= 1u << r->set;
		} else {
			*stale |= 1u << old->row[i].set;
		}
	}
	return taken;
}

static bool give_places(struct limits *l, uint32_t taken, char err[static 256])
{
	for (unsigned i = 0; i < l->n; i++) {
		struct limit *r = &l->row[i];
		if (unit_homes[r->unit].series >= 0 || r->set >= 0)
			continue;
		r->set = __builtin_ctz(~taken);
		if (r->set >= LIMITS_MAX_SETS) {
			snprintf(err, 256, "limit %s: at most %d limits of distinct things",
				 r->name, LIMITS_MAX_SETS);
			return false;
		}
		taken |= 1u << r->set;
	}
	return true;
}

static bool find_windows(struct limits *l, char err[static 256])
{
	(void)series_window_add(&l->windows[KEY_ACCOUNT][0], MINUTE_MS); /* the detector's rate */
	for (unsigned i = 0; i < l->n; i++) {
		const struct limit *r = &l->row[i];
		int s = unit_homes[r->unit].series;
		l->key_used[r->key] = true;
		if (s < 0)
			l->sets_of[r->key] = true;
		else if (!series_window_add(&l->windows[r->key][s], r->window_ms)) {
			snprintf(err, 256, "limit %s: at most %d different windows a key", r->name,
				 SERIES_MAX_WINDOWS - 1);
			return false;
		}
	}
	l->key_used[KEY_ACCOUNT] = true;
	return true;
}

bool limits_finish(struct limits *l, const struct limits *old, int64_t detect_window_ms,
		   uint32_t *stale, char err[static 256])
{
	memset(l->windows, 0, sizeof l->windows);
	memset(&l->watch, 0, sizeof l->watch);
	memset(l->key_used, 0, sizeof l->key_used);
	memset(l->sets_of, 0, sizeof l->sets_of);
	for (unsigned i = 0; i < l->n; i++)
		l->row[i].set = -1;
	uint32_t taken = keep_places(l, old, stale);
	if (!give_places(l, taken, err) || !find_windows(l, err))
		return false;
	(void)series_window_add(&l->watch, detect_window_ms);
	(void)series_window_add(&l->watch, DAY_MS);
	for (int c = CLASS_ALL; c < (int)l->n_classes; c++)
		find_applying(l, c);
	return true;
}
