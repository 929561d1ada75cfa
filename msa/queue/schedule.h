/*
 * schedule - when a message is tried again. Pure: time and randomness are arguments.
 */
#ifndef MSA_QUEUE_SCHEDULE_H
#define MSA_QUEUE_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Milliseconds to wait after the attempt number `attempts` (1 for the first) has failed: min
 * doubled with each further attempt, at most max, times a factor of 0.75 to 1.25 that random (any
 * 32 bits) chooses; never below 1 and never above max.
 */
int64_t schedule_delay(int64_t min_ms, int64_t max_ms, uint32_t attempts, uint32_t random);

/* True when a message whose life began at life_from_ms has been tried long enough. A clock set back
 * makes nothing old. */
bool schedule_expired(int64_t life_from_ms, int64_t lifetime_ms, int64_t now_ms);

#endif
