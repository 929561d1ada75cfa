/*
 * reports - sends the reports of TLS that domains ask for (RFC 8460) through our own queue, and
 * shows what was counted. The relay role counts: msa/relay/tls_counts.h.
 */
#ifndef MSA_REPORTS_H
#define MSA_REPORTS_H

#include <jansson.h>
#include <stdbool.h>

#include "msa/server.h"

struct reports;

/* From then on yesterday's reports leave each day, while msa.tlsrpt says so; not before some time
 * of the night, another on each host. */
struct reports *reports_new(struct server *srv);
void reports_free(struct reports *r);
/* "tlsrpt.show", "tlsrpt.send": docs/protocols/control.md. A new reference; *ok false: a string
 * saying why. */
json_t *reports_request(struct reports *r, const char *op, const json_t *args, bool *ok);

#endif
