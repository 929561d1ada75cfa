/*
 * tally - how many refused packets each thread dropped itself, in a file that is mapped: a process
 * that is killed leaves it behind, so that what was judged is known as exactly as what the rules
 * counted.
 *
 * The rules begin their counts with their table; what was dropped before is left out by remembering
 * the table's handle with the count of that moment. After a boot all begins anew.
 */
#ifndef NFQ_TALLY_H
#define NFQ_TALLY_H

#include <stdint.h>

#define TALLY_SLOTS 128

struct tally;
struct tally_slot; /* one thread's, in a cache line of its own */

/* Opens or makes file. Never NULL: where it cannot be had, the counts end with the process, and err
 * says why; else err is "". */
struct tally *tally_open(const char *file, char err[static 256]);
void tally_close(struct tally *t);

struct tally_slot *tally_slot(struct tally *t, unsigned i);
/* From the slot's thread alone. A slot may be NULL: nothing is kept. */
uint64_t tally_load(const struct tally_slot *s);
void tally_store(struct tally_slot *s, uint64_t n);

/* Dropped since the table with this handle was made, all slots together; the first call with a new
 * handle begins at counted. */
uint64_t tally_since(struct tally *t, uint64_t table, uint64_t counted);

#endif
