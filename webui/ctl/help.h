/*
 * help - what --help prints, and the nearest word to a mistyped one; all of it from the tables of
 * cli.h.
 */
#ifndef WEBUI_CTL_HELP_H
#define WEBUI_CTL_HELP_H

#include <stdio.h>

#include "webui/ctl/cli.h"

/* The options every command takes; ends with a NULL name. */
extern const struct cli_opt help_globals[];

/* Help for as much as is known: the verb, else the noun, else everything. */
void help_print(const struct cli *c, FILE *f);
/* One line on stderr that says where the help is. */
void help_hint(const struct cli *c);
/* "exempt add PREFIX [--expires TIME] ...", folded at 79 columns after an indent. */
void help_synopsis(FILE *f, const struct cli_noun *n, const struct cli_verb *v, const char *lead);

/* The nearest known word, or NULL when none is near. */
const char *help_near_noun(const struct cli *c, const char *word);
const char *help_near_verb(const struct cli *c, const char *word);
const char *help_near_opt(const struct cli *c, const char *word);
/* Edits between two words (insert, delete, replace, swap of neighbours: each 1); 99 above 32
 * characters. */
int help_distance(const char *a, const char *b);

#endif
