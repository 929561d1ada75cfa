/*
 * list - the verbs that print the newest rows of a list: incidents, reports, alerts, changes.
 */
#ifndef WEBUI_CTL_LIST_H
#define WEBUI_CTL_LIST_H

#include "webui/ctl/ask.h"
#include "webui/ctl/cli.h"
#include "webui/ctl/out.h"

/* The options of such a verb, in its table; about says what --about takes. */
#define LIST_OPTIONS(about)                                                                        \
	{"about", CLI_TEXT, "TEXT", about, 0, 0, false},                                           \
	    {"before", CLI_INT,	  "ID", "the next page: only those with a smaller ID",             \
	     1,	       INT64_MAX, false},                                                          \
	{                                                                                          \
		"limit", CLI_INT, "N", "at most so many, newest first; default 100", 1, ASK_ROWS,  \
		    false                                                                          \
	}

typedef json_t *list_get(struct query *q, const struct query_list *l, int limit, const char **err);

/* Prints what get answers for those options and state. The exit status: 1 when there are no rows.
 */
int list_run(struct cli *c, list_get *get, const char *state, const struct col *cols);

#endif
