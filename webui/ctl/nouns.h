/*
 * nouns - the verb tables of each group, gathered by nouns.c.
 */
#ifndef WEBUI_CTL_NOUNS_H
#define WEBUI_CTL_NOUNS_H

#include "webui/ctl/cli.h"

extern const struct cli_noun noun_status;	     /* status.c */
extern const struct cli_noun noun_top;		     /* show.c */
extern const struct cli_noun noun_watch;	     /* watch.c */
extern const struct cli_noun noun_explain, noun_who; /* line.c */
extern const struct cli_noun noun_exempt;	     /* exempt.c */
extern const struct cli_noun noun_lease;	     /* lease.c */
extern const struct cli_noun noun_subscriber, noun_account, noun_operator,
    noun_audit;				    /* people.c */
extern const struct cli_noun noun_incident; /* incident.c */
extern const struct cli_noun noun_alert;    /* alert.c */
extern const struct cli_noun noun_limit;    /* limit.c */
extern const struct cli_noun noun_queue;    /* queue.c */
extern const struct cli_noun noun_message;  /* message.c */
extern const struct cli_noun noun_batv;	    /* batv.c */
extern const struct cli_noun noun_dkim;	    /* dkim.c */
extern const struct cli_noun noun_report;   /* report.c */
extern const struct cli_noun noun_tlsrpt;   /* tlsrpt.c */
extern const struct cli_noun noun_replay;   /* replay.c */
extern const struct cli_noun noun_check;    /* check.c */
extern const struct cli_noun noun_init;	    /* init.c */

/* One look of watch --totals (show.c): prints, returns the exit status. */
int show_totals(struct cli *c, int64_t now_ms);

#endif
