/*
 * conf_scan - cleans a configuration file's text before libconfuse sees it. For conf.c alone.
 *
 * libconfuse's lexer drops characters it does not know, replaces environment variables, miscounts
 * lines in comments, and keeps its state after an unclosed string, so that the next (good) file
 * would fail. What leaves here gives it no occasion.
 */
#ifndef LIB_CONF_SCAN_H
#define LIB_CONF_SCAN_H

#include <stddef.h>

/*
 * The same text, line for line, without comments, with every string closed, and with {""} for an
 * empty list (libconfuse says nothing about one). Talloc'd under pool; text ends in a NUL at len.
 * NULL on an error: *why (static) and *line (0: the whole file) say what is wrong.
 */
char *conf_scan(void *pool, const char *text, size_t len, const char **why, int *line);

#endif
