/*
 * exempt - what the files of the noun share. Only they include it.
 */
#ifndef WEBUI_CTL_EXEMPT_H
#define WEBUI_CTL_EXEMPT_H

#include "webui/ctl/ask.h"
#include "webui/ctl/cli.h"

/* exempt_show.c */
int exempt_run_list(struct cli *c);
int exempt_run_show(struct cli *c);
/* exempt_file.c */
int exempt_run_import(struct cli *c);
int exempt_run_export(struct cli *c);

/* Those f finds, newest first, whatever their number; NULL with *status. */
json_t *exempt_all(struct cli *c, const struct query_exempt *f, int *status);

#endif
