/*
 * complete - candidates for shell completion, from the same tables as the parser.
 */
#ifndef WEBUI_CTL_COMPLETE_H
#define WEBUI_CTL_COMPLETE_H

#include "webui/ctl/cli.h"

/*
 * words are what stands after "sekishoctl"; the last one, which may be empty, is being typed.
 * Prints one candidate a line. Where only the person can know (an address, a file) nothing is
 * printed.
 */
void complete_print(struct cli *c, int n, char **words);

#endif
