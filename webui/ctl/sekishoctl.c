/*
 * sekishoctl - ask and tell a Sekisho gateway from a terminal; sekishoctl(8).
 *
 * Changes go through acctd's control socket, reads to the database (read-only, so that they work
 * while acctd is away). Trusted with: what the user who runs it may do; acctd knows that user by
 * the socket's credentials. Diagnostics: on stderr. Known gaps: none.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"

#include "webui/ctl/cli.h"

/* Colour is for people who did not say no: https://no-color.org */
static bool want_color(bool tty)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	return tty && !(no && *no) && term && *term && strcmp(term, "dumb") != 0;
}

int main(int argc, char **argv)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	bool tty = isatty(STDOUT_FILENO) == 1;
	if (n > 0)
		self[n] = '\0';
	struct cli_io io = {
	    .in = stdin,
	    .out = stdout,
	    .err = stderr,
	    .in_tty = isatty(STDIN_FILENO) == 1,
	    .out_tty = tty,
	    .color = want_color(tty),
	    .now_ms = clock_utc_ms(),
	    .self = n > 0 ? self : NULL,
	};
	return cli_main(argc, argv, &io);
}
