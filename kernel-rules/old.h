/*
 * old - what earlier versions put into the kernel, taken out again: `table inet sekisho`, and rules
 * in the mangle tables of iptables-nft(8).
 */
#ifndef KERNEL_RULES_OLD_H
#define KERNEL_RULES_OLD_H

#include <stdbool.h>

/* Nothing there is no failure. False: *err, talloc'd under ctx, says what to do. */
bool old_remove(void *ctx, char **err);

#endif
