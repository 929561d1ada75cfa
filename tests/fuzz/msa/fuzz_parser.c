/* Lines and commands: splitting the input changes nothing, and what a command points to lies inside
 * its line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "msa/mail/path.h"
#include "msa/smtp/parser.h"

struct seen {
	uint64_t hash;
	size_t lines;
};

static void mix(struct seen *s, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		s->hash = (s->hash ^ ((const uint8_t *)p)[i]) * UINT64_C(1099511628211);
}

static void params(const char *p, const char *end)
{
	struct smtp_param param;

	while (smtp_param_next(&p, end, &param) == 1)
		if (param.key + param.key_len > end ||
		    (param.value && param.value + param.value_len > end) || p > end)
			abort();
}

static void command(const struct smtp_line *l)
{
	struct smtp_command c;
	struct path path;
	const char *err;
	size_t used;

	smtp_command_parse(l->buf, l->len, &c);
	if (c.arg < l->buf || c.arg + c.arg_len > l->buf + l->len)
		abort();
	if (c.arg_len < 5 || !path_parse(c.arg + 5, c.arg_len - 5, &path, &used, &err))
		return;
	params(c.arg + 5 + used, c.arg + c.arg_len);
}

static struct seen run(const uint8_t *data, size_t size, size_t step)
{
	static struct smtp_line l;
	struct seen s = {UINT64_C(14695981039346656037), 0};
	size_t used;

	smtp_line_wipe(&l);
	for (size_t at = 0; at < size; at += used) {
		enum smtp_line_result r =
		    smtp_line_feed(&l, 200, data + at, step < size - at ? step : size - at, &used);

		if (r == SMTP_LINE_MORE)
			continue;
		s.lines++;
		mix(&s, &r, sizeof(r));
		if (r != SMTP_LINE_OK)
			continue;
		mix(&s, l.buf, l.len);
		command(&l);
	}
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole = run(data, size, SIZE_MAX);

	for (size_t step = 1; step <= 7; step += 3) {
		struct seen s = run(data, size, step);

		if (s.hash != whole.hash || s.lines != whole.lines)
			abort();
	}
	return 0;
}
