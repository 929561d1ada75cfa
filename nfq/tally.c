/*
 * tally - see tally.h.
 *
 * File: struct file below, in the machine's own byte order; it is of no use elsewhere.
 *
 * Trusted with: a part of the counts. What is not a file of this boot and this layout is taken for
 * none. Diagnostics: err of tally_open(). Known gaps: a batch that a crash came in between is
 * counted as dropped, whether its verdicts went out or not: 64 packets a queue.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/proc.h"

#include "nfq/tally.h"

#define MAGIC	"SKNT1\n\n"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

struct tally_slot {
	_Alignas(64) atomic_uint_fast64_t dropped;
};

struct file {
	char magic[8], boot[56];
	uint64_t table, before; /* what was counted when that table was new */
	struct tally_slot slots[TALLY_SLOTS];
};

struct tally {
	struct file *map;
};

static void read_boot(char out[static 56])
{
	size_t len = 0;
	char *text = proc_read_file(BOOT_ID, 64, &len);
	memset(out, 0, 56);
	if (text)
		memcpy(out, text, len < 55 ? len : 55);
	free(text);
}

static struct file *map_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	void *p = MAP_FAILED;
	if (fd < 0)
		return NULL;
	if (ftruncate(fd, sizeof(struct file)) == 0)
		p = mmap(NULL, sizeof(struct file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int why = errno;
	(void)close(fd);
	errno = why;
	return p == MAP_FAILED ? NULL : p;
}

struct tally *tally_open(const char *file, char err[static 256])
{
	struct tally *t = calloc(1, sizeof *t);
	char boot[56];
	if (!t)
		fatal("out of memory");
	err[0] = '\0';
	t->map = map_file(file);
	if (!t->map) {
		(void)snprintf(err, 256, "%s: %s", file, strerror(errno));
		t->map = mmap(NULL, sizeof *t->map, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (t->map == MAP_FAILED)
			fatal("out of memory");
	}
	read_boot(boot);
	if (memcmp(t->map->magic, MAGIC, sizeof t->map->magic) != 0 ||
	    memcmp(t->map->boot, boot, sizeof boot) != 0) {
		memset(t->map, 0, sizeof *t->map);
		memcpy(t->map->magic, MAGIC, sizeof t->map->magic);
		memcpy(t->map->boot, boot, sizeof boot);
	}
	return t;
}

void tally_close(struct tally *t)
{
	(void)munmap(t->map, sizeof *t->map);
	free(t);
}

struct tally_slot *tally_slot(struct tally *t, unsigned i)
{
	bug_on(i >= TALLY_SLOTS);
	return &t->map->slots[i];
}

uint64_t tally_load(const struct tally_slot *s)
{
	return s ? atomic_load_explicit(&s->dropped, memory_order_relaxed) : 0;
}

void tally_store(struct tally_slot *s, uint64_t n)
{
	if (s)
		atomic_store_explicit(&s->dropped, n, memory_order_relaxed);
}

uint64_t tally_since(struct tally *t, uint64_t table, uint64_t counted)
{
	uint64_t all = 0;
	for (unsigned i = 0; i < TALLY_SLOTS; i++)
		all += tally_load(&t->map->slots[i]);
	if (t->map->table != table) {
		t->map->table = table;
		t->map->before = all > counted ? all - counted : 0;
	}
	return all > t->map->before ? all - t->map->before : 0;
}
