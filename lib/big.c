/*
 * big - an anonymous mapping that begins at a multiple of 2 MB.
 *
 * Trusted with memory only. Diagnostics: none; where the kernel gives no huge pages it is merely
 * slower. Known gap: a table that is used here and there takes whole huge pages.
 */
#include "lib/big.h"

#include <stdint.h>
#include <sys/mman.h>

#define HUGE ((size_t)2 << 20)

/* Less than one huge page is not worth any. */
static size_t mapped(size_t bytes)
{
	size_t unit = bytes < HUGE ? 4096 : HUGE;
	return (bytes + unit - 1) / unit * unit;
}

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

/* Gives back what is before and after the aligned part. */
static uint8_t *trim(uint8_t *p, size_t bytes)
{
	size_t before = (HUGE - (uintptr_t)p % HUGE) % HUGE, after = HUGE - before;
	if (before)
		(void)munmap(p, before);
	if (after)
		(void)munmap(p + before + bytes, after);
	return p + before;
}

void *big_new(size_t bytes)
{
	size_t n = mapped(bytes);
	if (n < bytes || n < HUGE)
		return n < bytes ? NULL : map(n);
	uint8_t *p = map(n + HUGE);
	if (!p)
		return NULL;
	p = trim(p, n);
	(void)madvise(p, n, MADV_HUGEPAGE);
	return p;
}

void big_free(void *p, size_t bytes)
{
	if (p)
		(void)munmap(p, mapped(bytes));
}
