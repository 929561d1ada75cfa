/*
 * marks - the bits of the packet mark that are ours, and what they say.
 *
 * Shared by what writes the rules and what answers the queue: both must read kernel-rules.mark_mask
 * alike.
 */
#ifndef LIB_MARKS_H
#define LIB_MARKS_H

#include <stdbool.h>
#include <stdint.h>

/* Values of the whole mark with all other bits 0. */
struct marks {
	uint32_t mask;
	uint32_t notice; /* goes to the local responder; only until it is routed */
	uint32_t allow;	 /* judged: let it through */
	uint32_t reject; /* judged: refuse it */
};

/* "0x00ff0000": 2 to 8 neighbouring bits, in hexadecimal. False with *err (static text). */
bool marks_parse(const char *text, struct marks *out, const char **err);
/* The mark with our bits replaced by value, and nobody else's touched. */
static inline uint32_t marks_set(const struct marks *m, uint32_t old, uint32_t value)
{
	return (old & ~m->mask) | value;
}

#endif
