/*
 * arf_child - arf_parse() in a child process that can only compute, with a time limit.
 */
#ifndef ACCOUNTING_ARF_CHILD_H
#define ACCOUNTING_ARF_CHILD_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/arf.h"

/*
 * raw is borrowed until the call returns. done is called once, from the loop: a is talloc'd and the
 * callee's to free, or NULL with err (static).
 */
void arf_child_run(struct event_base *base, const uint8_t *raw, size_t len, const char *hostname,
		   void (*done)(struct arf *a, const char *err, void *arg), void *arg);

#endif
