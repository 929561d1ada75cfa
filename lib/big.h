/*
 * big - memory of a table that is taken once and kept: zeroed, in huge pages where the kernel has
 * them.
 *
 * A table of a million accounts, or messages, is read at random places. In pages of 4 KB nearly every look also
 * misses the table of pages, and fork() copies an entry for each of them; in pages of 2 MB neither.
 */
#ifndef LIB_BIG_H
#define LIB_BIG_H

#include <stddef.h>

/* bytes > 0. Memory that was never touched is not used. NULL: there is none. */
void *big_new(size_t bytes);
/* The same bytes; NULL is allowed. */
void big_free(void *p, size_t bytes);

#endif
