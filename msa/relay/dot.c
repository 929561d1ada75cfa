/*
 * dot - dot-stuffing.
 *
 * Purpose: keep the message transparent, and the end of data unmistakable. Trusted with: the body.
 * Diagnostics: none. Known gaps: none.
 */
#include "msa/relay/dot.h"

/*
 * last is '\r' when a CR came and its LF has not: the CR was not written yet, since what follows
 * decides. At the start of a line last is '\n' or 0.
 */
size_t dot_stuff(struct dot *d, const uint8_t *in, size_t n, uint8_t *out)
{
	size_t w = 0;

	for (size_t i = 0; i < n; i++) {
		char c = (char)in[i];
		if (d->last == '\r' || c == '\n') {
			/* CRLF, CR alone and LF alone all end a line. */
			out[w++] = '\r';
			out[w++] = '\n';
			d->last = '\n';
			if (c == '\n')
				continue;
		}
		if (c == '\r') {
			d->last = '\r';
			continue;
		}
		if (c == '.' && d->last != 'x')
			out[w++] = '.';
		out[w++] = (uint8_t)c;
		d->last = 'x';
	}
	return w;
}

size_t dot_end(struct dot *d, uint8_t out[static DOT_END_MAX])
{
	size_t w = 0;

	if (d->last == 'x' || d->last == '\r') {
		out[w++] = '\r';
		out[w++] = '\n';
	}
	out[w++] = '.';
	out[w++] = '\r';
	out[w++] = '\n';
	*d = (struct dot){.last = 0};
	return w;
}
