/*
 * health - what the daemons say of themselves, as one row each with the few figures that matter.
 * Pure.
 */
#ifndef WEBUI_HEALTH_H
#define WEBUI_HEALTH_H

#include <jansson.h>

#include "webui/html.h"

/* status: the answer to the control request of that name; a daemon that is null in it is away. */
void health_write(struct html *h, json_t *status);

/*
 * The integer at path ("queue/held"; "queues[]/dropped" sums over an array); false when it is not
 * there.
 */
bool health_figure(json_t *o, const char *path, int64_t *out);

#endif
