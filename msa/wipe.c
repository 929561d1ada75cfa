/*
 * wipe - see wipe.h. The size of a block is what malloc says it is.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "msa/wipe.h"

#define KEEP_FREE (16 << 20)

static void wipe_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *wipe_realloc(void *p, size_t n)
{
	size_t old = p ? malloc_usable_size(p) : 0;
	void *fresh = malloc(n);

	if (!fresh)
		return NULL;
	if (old > 0)
		memcpy(fresh, p, old < n ? old : n);
	wipe_free(p);
	return fresh;
}

void wipe_buffers(void)
{
	event_set_mem_functions(malloc, wipe_realloc, wipe_free);
}

void wipe_keep_memory(void)
{
	(void)mallopt(M_TRIM_THRESHOLD, KEEP_FREE);
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
}
