/*
 * watch - keep the rules in the kernel whole, whoever else changes nft rules there.
 */
#ifndef KERNEL_RULES_WATCH_H
#define KERNEL_RULES_WATCH_H

#define WATCH_MS 200 /* between two looks */

/* Loads the rules of FILE, and again whenever they are damaged, until SIGTERM. An exit status. */
int watch_run(const char *file);

#endif
