/*
 * chart - the 24-hour picture of the overview.
 *
 * Purpose: see at a glance whether the port is closed and whether mail flows.
 * Trusted with: nothing; draws numbers.
 * Diagnostics: none.
 * Known gaps: no zoom; the table below the drawing carries every figure.
 */
#include "webui/chart.h"

#include <stdio.h>

#include "lib/clock.h"

enum { PLOT = 88, TOP = 12, GAP = 30, TICK_EVERY = 12 }; /* pixels; buckets between time marks */

int64_t chart_nice(int64_t max)
{
	int64_t base = 1;
	if (max <= 4)
		return 4;
	for (;; base *= 10) {
		if (max <= base)
			return base;
		if (max <= base * 2)
			return base * 2;
		if (max <= base * 5)
			return base * 5;
		if (base > INT64_MAX / 100)
			return max;
	}
}

void chart_bar(struct html *h, int64_t value, int64_t max)
{
	int64_t share = max > 0 ? value * 1000 / max * 100 : 0; /* thousandths of a per cent */
	if (value > 0 && share < 2000)
		share = 2000;
	put(h,
	    LIT("<svg class=\"bar\" width=\"100%\" height=\"4\" aria-hidden=\"true\"><rect "
		"width=\"100%\" height=\"4\" rx=\"2\""
		" class=\"bar-bg\"/><rect width=\""),
	    MILLI(share), LIT("%\" height=\"4\" rx=\"2\" class=\"bar-fg\"/></svg>"));
}

/* --- scales ----------------------------------------------------------------------------------- */

static int64_t mail_sum(const struct chart_point *p)
{
	return p->accepted + p->refused;
}

static int64_t port_sum(const struct chart_point *p)
{
	return p->blocked;
}

static int64_t max_of(const struct chart_point *p, size_t n,
		      int64_t (*sum)(const struct chart_point *p))
{
	int64_t max = 0;
	for (size_t i = 0; i < n; i++)
		if (sum(&p[i]) > max)
			max = sum(&p[i]);
	return max;
}

/* Left edge of bucket i in thousandths of a per cent. */
static int64_t left(size_t i, size_t n)
{
	return (int64_t)i * 100000 / (int64_t)n;
}

/* --- drawing ---------------------------------------------------------------------------------- */

static void grid(struct html *h, int y0)
{
	for (int k = 0; k <= 2; k++)
		put(h, LIT("<line x1=\"0\" x2=\"100%\" y1=\""), INT(y0 + PLOT * k / 2),
		    LIT("\" y2=\""), INT(y0 + PLOT * k / 2),
		    EITHER(k == 2, "\" class=\"axis\"/>", "\" class=\"grid\"/>"));
}

/* A piece of a bar; *base_milli is where it stands and is moved up. Values above 0 get at least a
 * pixel. */
static void piece(struct html *h, size_t i, size_t n, int64_t value, int64_t top,
		  int64_t *base_milli, const struct html_piece cls)
{
	if (value <= 0)
		return;
	int64_t height = value * (PLOT * 1000) / top;
	if (height < 1000)
		height = 1000;
	if (height > *base_milli)
		height = *base_milli;
	*base_milli -= height;
	put(h, LIT("<rect x=\""), MILLI(left(i, n)), LIT("%\" width=\""),
	    MILLI(100000 / (int64_t)n * 82 / 100), LIT("%\" y=\""), MILLI(*base_milli),
	    LIT("\" height=\""), MILLI(height), cls);
}

static const struct html_piece as_blocked = LIT("\" class=\"c-blocked\"/>");
static const struct html_piece as_accepted = LIT("\" class=\"c-accepted\"/>");
static const struct html_piece as_held = LIT("\" fill=\"url(#p-held)\"/>");
static const struct html_piece as_refused = LIT("\" fill=\"url(#p-refused)\"/>");

static void hover(struct html *h, const struct chart_point *p, size_t i, size_t n, int height)
{
	char iso[CLOCK_STRLEN];
	clock_format(p->t_ms, iso);
	iso[16] = '\0';
	put(h, LIT("<rect class=\"hit\" x=\""), MILLI(left(i, n)), LIT("%\" width=\""),
	    MILLI(100000 / (int64_t)n), LIT("%\" y=\"0\" height=\""), INT(height),
	    LIT("\"><title>"), TXT(iso + 11), LIT(" UTC&#10;port 25 stopped: "), NUM(p->blocked),
	    LIT("&#10;accepted: "), NUM(p->accepted), LIT("&#10;of them held: "), NUM(p->held),
	    LIT("&#10;refused: "), NUM(p->refused), LIT("</title></rect>"));
}

static void time_axis(struct html *h, const struct chart_point *p, size_t n, int y)
{
	for (size_t i = 0; i < n; i++) {
		/* Marks at the buckets that begin a third hour, e.g. 09:00, 12:00. */
		if (p[i].t_ms % (TICK_EVERY * INT64_C(900000)) != 0)
			continue;
		char iso[CLOCK_STRLEN];
		clock_format(p[i].t_ms, iso);
		iso[16] = '\0';
		put(h, LIT("<line class=\"grid\" y1=\""), INT(TOP), LIT("\" y2=\""), INT(y + 4),
		    LIT("\" x1=\""), MILLI(left(i, n)), LIT("%\" x2=\""), MILLI(left(i, n)),
		    LIT("%\"/>"));
		if (i > n / 40 && i < n - n / 40)
			put(h,
			    EITHER(p[i].t_ms % (2 * TICK_EVERY * INT64_C(900000)) == 0,
				   "<text class=\"tick\"", "<text class=\"tick odd\""),
			    LIT(" text-anchor=\"middle\" y=\""), INT(y + 17), LIT("\" x=\""),
			    MILLI(left(i, n)), LIT("%\">"), TXT(iso + 11), LIT("</text>"));
	}
}

static void scale_labels(struct html *h, int y0, int64_t top)
{
	for (int k = 0; k <= 2; k++)
		put(h, LIT("<text class=\"tick\" text-anchor=\"end\" x=\"100%\" y=\""),
		    INT(y0 + PLOT * k / 2 + 4), LIT("\">"), NUM(top * (2 - k) / 2), LIT("</text>"));
}

static void patterns(struct html *h)
{
	put(h, LIT("<defs><pattern id=\"p-held\" width=\"4\" height=\"4\" "
		   "patternUnits=\"userSpaceOnUse\" "
		   "patternTransform=\"rotate(45)\"><rect width=\"4\" height=\"4\" "
		   "class=\"c-held-bg\"/>"
		   "<rect width=\"2\" height=\"4\" class=\"c-held\"/></pattern>"
		   "<pattern id=\"p-refused\" width=\"4\" height=\"4\" "
		   "patternUnits=\"userSpaceOnUse\">"
		   "<rect width=\"4\" height=\"4\" class=\"c-refused\"/><circle cx=\"2\" cy=\"2\" "
		   "r=\"0.8\" class=\"c-refused-dot\"/>"
		   "</pattern></defs>"));
}

static void legend(struct html *h)
{
	put(h, LIT("<ul class=\"legend\"><li><svg width=\"12\" height=\"12\" "
		   "aria-hidden=\"true\"><rect width=\"12\" height=\"12\" rx=\"2\" "
		   "class=\"c-blocked\"/></svg>port 25 stopped</li>"
		   "<li><svg width=\"12\" height=\"12\" aria-hidden=\"true\"><rect width=\"12\" "
		   "height=\"12\" rx=\"2\" class=\"c-accepted\"/></svg>"
		   "accepted, sent on</li>"
		   "<li><svg width=\"12\" height=\"12\" aria-hidden=\"true\"><rect width=\"12\" "
		   "height=\"12\" rx=\"2\" fill=\"url(#p-held)\"/></svg>"
		   "held</li>"
		   "<li><svg width=\"12\" height=\"12\" aria-hidden=\"true\"><rect width=\"12\" "
		   "height=\"12\" rx=\"2\" "
		   "fill=\"url(#p-refused)\"/></svg>refused</li></ul>"));
}

static void drawing(struct html *h, const struct chart_point *p, size_t n)
{
	int64_t top1 = chart_nice(max_of(p, n, port_sum)),
		top2 = chart_nice(max_of(p, n, mail_sum));
	int y2 = TOP + PLOT + GAP, bottom = y2 + PLOT;
	put(h, LIT("<div class=\"plot\"><svg class=\"scale\" height=\""), INT(bottom + 24),
	    LIT("\" aria-hidden=\"true\">"));
	scale_labels(h, TOP, top1);
	scale_labels(h, y2, top2);
	put(h, LIT("</svg><svg class=\"bars\" height=\""), INT(bottom + 24),
	    LIT("\" role=\"img\" aria-labelledby=\"chart-title chart-desc\"><title "
		"id=\"chart-title\">The last 24 hours</title>"
		"<desc id=\"chart-desc\">Bars for every 15 minutes: port 25 attempts stopped "
		"above, mail accepted, held and refused "
		"below. The table under the drawing holds the same figures.</desc>"));
	patterns(h);
	grid(h, TOP);
	grid(h, y2);
	time_axis(h, p, n, bottom);
	for (size_t i = 0; i < n; i++) {
		int64_t base = (TOP + PLOT) * 1000;
		piece(h, i, n, p[i].blocked, top1, &base, as_blocked);
		base = (int64_t)bottom * 1000;
		piece(h, i, n, p[i].accepted - p[i].held, top2, &base, as_accepted);
		piece(h, i, n, p[i].held, top2, &base, as_held);
		piece(h, i, n, p[i].refused, top2, &base, as_refused);
		hover(h, &p[i], i, n, bottom);
	}
	put(h, LIT("</svg></div>"));
}

static void table(struct html *h, const struct chart_point *p, size_t n)
{
	put(h,
	    LIT("<details class=\"figures\" id=\"chart-table\"><summary>The same figures as a "
		"table</summary><div class=\"scroll tall\" tabindex=\"0\" role=\"region\" "
		"aria-label=\"Figures of the last 24 hours\"><table><caption class=\"sr\">Per 15 "
		"minutes, newest first</caption>"
		"<thead><tr><th scope=\"col\">From (UTC)</th><th scope=\"col\" class=\"n\">Port 25 "
		"stopped</th>"
		"<th scope=\"col\" class=\"n\">Accepted</th><th scope=\"col\" class=\"n\">of them "
		"held</th>"
		"<th scope=\"col\" class=\"n\">Refused</th></tr></thead><tbody>"));
	for (size_t i = n; i-- > 0;)
		put(h, LIT("<tr><th scope=\"row\">"), WHEN(p[i].t_ms), LIT("</th><td class=\"n\">"),
		    NUM(p[i].blocked), LIT("</td><td class=\"n\">"), NUM(p[i].accepted),
		    LIT("</td><td class=\"n\">"), NUM(p[i].held), LIT("</td><td class=\"n\">"),
		    NUM(p[i].refused), LIT("</td></tr>"));
	put(h, LIT("</tbody></table></div></details>"));
}

void chart_write(struct html *h, const struct chart_point *p, size_t n)
{
	if (!n) {
		put(h, LIT("<p class=\"empty\">Nothing has been counted yet.</p>"));
		return;
	}
	put(h, LIT("<figure class=\"chart\">"));
	legend(h);
	drawing(h, p, n);
	table(h, p, n);
	put(h, LIT("</figure>"));
}
