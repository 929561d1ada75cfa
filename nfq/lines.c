/*
 * lines - what refused lines do: the first packet in the log, and which of them go to as many
 * servers as a zombie does (see daemon.h).
 *
 * Trusted with: nothing; it counts and tells. Diagnostics: log lines "SOURCE nfq blocked ...",
 * "SOURCE nfq suspected ...", metrics. Known gaps: what a line did is forgotten at a restart.
 */
#include "lib/clock.h"
#include "lib/log.h"

#include "nfq/daemon.h"

#define LINES	      (16u << 10)
#define LOG_PERIOD_MS 60000 /* with deny_timeout = 0 */
#define SMTP_PORT     25

static struct suspect_limits limits_of(const struct nfq_conf *c)
{
	return (struct suspect_limits){c->suspect_attempts, c->suspect_destinations,
				       c->suspect_networks, c->suspect_window};
}

void lines_start(struct nfqd *d)
{
	const struct suspect_limits limits = limits_of(&d->conf);
	d->suspect = suspect_new(NULL, &limits, LINES);
	d->firstlog = firstlog_new(NULL);
}

void lines_reload(struct nfqd *d)
{
	const struct suspect_limits limits = limits_of(&d->conf);
	suspect_set_limits(d->suspect, &limits);
}

void lines_refused(struct nfqd *d, const struct worker_refused *r)
{
	int64_t period = d->conf.deny_timeout ? d->conf.deny_timeout : LOG_PERIOD_MS;
	char src[ADDR_STRLEN], t[CLOCK_STRLEN];
	if (!d->conf.log_first || !firstlog_wanted(d->firstlog, &r->line, clock_mono_ms(), period))
		return;
	log_event(LOG_INFO, addr_format(&r->src, src), "nfq", "blocked", LS("src", src),
		  LI("sport", r->sport), LA("dst", &r->dst), LI("dport", SMTP_PORT),
		  LS("t", clock_format(r->t_ms, t)));
}

void lines_count(struct nfqd *d, const struct addr *key, const struct addr *dst, uint64_t packets)
{
	suspect_count(d->suspect, key, dst, packets, clock_utc_ms());
}

static uint32_t cut(uint64_t n)
{
	return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void tell(const struct suspect_finding *f, void *arg)
{
	struct nfqd *d = arg;
	char line[ADDR_STRLEN];
	struct addr line_key;
	struct event e = {.kind = EVENT_SUSPECT, .t_ms = clock_utc_ms(), .src = f->line};
	e.u.suspect.first_ms = f->first_ms;
	e.u.suspect.last_dst = f->last_dst;
	e.u.suspect.packets = cut(f->packets);
	e.u.suspect.dsts = f->dsts;
	e.u.suspect.nets = f->nets;
	e.u.suspect.plen = verdict_line(shared_lines(d->shared), &f->line, 0, &line_key);
	outbox_add(d->outbox, &e);
	d->suspects_told++;
	log_event(LOG_NOTICE, addr_format(&f->line, line), "nfq", "suspected",
		  LI("plen", e.u.suspect.plen), LI("packets", f->packets),
		  LI("destinations", f->dsts), LI("networks", f->nets),
		  LA("last_dst", &f->last_dst));
}

void lines_close(struct nfqd *d)
{
	uint64_t left_out = firstlog_suppressed(d->firstlog);
	if (left_out > 0)
		log_event(LOG_INFO, "-", "nfq", "blocked-left-out", LI("lines", left_out),
			  LS("hint", "more sources than lines a second; the counts are complete"));
	suspect_close(d->suspect, clock_utc_ms(), tell, d);
}
