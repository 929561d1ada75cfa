/* queues - see queues.h. */
#include <unistd.h>

#include "lib/queues.h"

unsigned queues_count(int64_t configured)
{
	int64_t n = configured ? configured : sysconf(_SC_NPROCESSORS_CONF);

	if (n < 1)
		return 1;
	return n > QUEUES_MAX ? QUEUES_MAX : (unsigned)n;
}
