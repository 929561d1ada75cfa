/*
 * chart - the last 24 hours as inline SVG, with its figures as a table.
 *
 * Two panels over one time axis: port-25 attempts stopped, and mail accepted, held and refused
 * (stacked). They have their own scales, because a flood of SYNs must not hide the mail. Positions
 * along time are in per cent, so that the drawing fits any width without distorting its text. Held
 * and refused also differ by pattern, never by colour alone. Pure.
 */
#ifndef WEBUI_CHART_H
#define WEBUI_CHART_H

#include <stddef.h>
#include <stdint.h>

#include "webui/html.h"

struct chart_point {
	int64_t t_ms;				  /* begin of the bucket */
	int64_t blocked, accepted, held, refused; /* held messages are accepted ones too */
};

/* The whole figure. Points are oldest first and evenly spaced; none at all gives a sentence
 * instead. */
void chart_write(struct html *h, const struct chart_point *p, size_t n);

/* The least "nice" number (1, 2 or 5 times a power of ten, at least 4) that is not below max. */
int64_t chart_nice(int64_t max);
/* A small horizontal bar of value/max with 0 <= value <= max; decoration only (aria-hidden). */
void chart_bar(struct html *h, int64_t value, int64_t max);

#endif
