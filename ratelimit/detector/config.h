/*
 * config - the section `detector` of sekisho.conf: thresholds, and of each signal its points, its
 * limit and how fast it fades.
 */
#ifndef RATELIMIT_DETECTOR_CONFIG_H
#define RATELIMIT_DETECTOR_CONFIG_H

#include "lib/conf.h"
#include "ratelimit/detector/detector.h"

struct detector_settings {
	struct conf_common common;
	struct detector_conf detector;
	int64_t accounts;
	int mode; /* enum detector_mode */
	int64_t throttle_delay_ms, throttle_recipients;
	int64_t snapshot_interval_ms;
};

enum detector_mode { DETECTOR_ENFORCE, DETECTOR_OBSERVE };

extern const struct conf_key detector_keys[];
extern const size_t detector_n_keys;

#endif
