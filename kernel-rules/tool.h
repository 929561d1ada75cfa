/*
 * tool - run nft(8) or iptables-nft(8) and keep what it says.
 */
#ifndef KERNEL_RULES_TOOL_H
#define KERNEL_RULES_TOOL_H

#include <stdbool.h>

struct tool_result {
	int status;  /* exit status; 127 when the program is not there, 128 + n after signal n */
	char *out;   /* standard output, talloc'd */
	char *error; /* standard error, talloc'd, without a final newline */
};

/*
 * Run argv (NULL-terminated; argv[0] is looked up in the system folders, not in $PATH) with input
 * (NULL: nothing) on its standard input, and wait for it. Output above 16 MB is cut.
 */
struct tool_result tool_run(void *ctx, const char *const argv[], const char *input);
/* False; *err, talloc'd under ctx: what failed, the program's words and what to do about them. */
bool tool_fail(void *ctx, char **err, const char *what, const struct tool_result *r);
/* Is the program there? */
bool tool_exists(const char *name);

#endif
