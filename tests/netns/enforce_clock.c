/*
 * enforce_clock - a step of the system's clock for one program: a library for LD_PRELOAD.
 *
 * CLOCK_REALTIME is ahead by the milliseconds in the file that SHIFT_CLOCK names, a native int64
 * that is mapped: whoever writes it steps the clock. The other clocks go on, as they do when
 * somebody sets the date. A time namespace has no CLOCK_REALTIME of its own, and to set the
 * machine's is not a test's business.
 *
 * Diagnostics: none; without the file nothing is shifted. Known gaps: time(2), timers on
 * CLOCK_REALTIME.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const int64_t none;
static const volatile int64_t *ahead_ms = &none;

__attribute__((constructor)) static void map(void)
{
	const char *file = getenv("SHIFT_CLOCK");
	int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		ahead_ms = p;
	if (fd >= 0)
		(void)close(fd);
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	long r = syscall(SYS_clock_gettime, id, t);
	if (r == 0 && id == CLOCK_REALTIME) {
		t->tv_sec += *ahead_ms / 1000;
		t->tv_nsec += *ahead_ms % 1000 * 1000000;
		if (t->tv_nsec < 0 || t->tv_nsec >= 1000000000) {
			long carry = t->tv_nsec < 0 ? -1 : 1;
			t->tv_sec += carry;
			t->tv_nsec -= carry * 1000000000;
		}
	}
	return (int)r;
}
