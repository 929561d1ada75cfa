/* data: end of message, dots and faults, for every split of the input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "msa/smtp/data.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define S(s) (s), sizeof(s) - 1

struct sink {
	uint8_t buf[4096];
	size_t len;
};

static void out(const uint8_t *data, size_t len, void *arg)
{
	struct sink *s = arg;

	assert_true(s->len + len <= sizeof(s->buf));
	memcpy(s->buf + s->len, data, len);
	s->len += len;
}

static const struct {
	const char *in;
	size_t in_len;
	const char *text; /* unstuffed; NULL: not looked at (a fault) */
	size_t text_len;
	size_t rest; /* bytes after the end; SIZE_MAX: the end was not found */
	enum dot_fault fault;
} cases[] = {
    {S("a\r\n.\r\n"), S("a\r\n"), 0, DOT_CLEAN},
    {S(".\r\n"), S(""), 0, DOT_CLEAN},
    {S("..\r\n.\r\n"), S(".\r\n"), 0, DOT_CLEAN},
    {S("..a\r\n...b\r\n.c\r\n.\r\n"), S(".a\r\n..b\r\nc\r\n"), 0, DOT_CLEAN},
    {S("a.\r\n.\r\n"), S("a.\r\n"), 0, DOT_CLEAN},
    {S("\r\n\r\n.\r\n"), S("\r\n\r\n"), 0, DOT_CLEAN},
    {S("a\r\n.\r\nQUIT\r\n"), S("a\r\n"), 6, DOT_CLEAN},
    {S("a\r\n."), S("a\r\n"), SIZE_MAX, DOT_CLEAN},
    {S("a\r\n.\r"), S("a\r\n"), SIZE_MAX, DOT_CLEAN},
    {S("\xff\x80\x01\r\n.\r\n"), S("\xff\x80\x01\r\n"), 0, DOT_CLEAN},
    /* What smugglers try: none of these ends the message before its real end, and all are faulty.
     */
    {S("a\n.\n.\r\n"), NULL, 0, SIZE_MAX, DOT_BARE_LF},
    {S("a\n.\r\nMAIL FROM:<x@y>\r\n.\r\nQ"), NULL, 0, 1, DOT_BARE_LF},
    {S("a\r\n.\nMAIL FROM:<x@y>\r\n.\r\nQ"), NULL, 0, 1, DOT_BARE_LF},
    {S("a\r.\rb\r\n.\r\nQ"), NULL, 0, 1, DOT_BARE_CR},
    {S("a\r\n.\rb\r\n.\r\nQ"), NULL, 0, 1, DOT_BARE_CR},
    {S("a\r\r\n.\r\nQ"), NULL, 0, 1, DOT_BARE_CR},
    {S("a\r\n.\r\r\nb\r\n.\r\nQ"), NULL, 0, 1, DOT_BARE_CR},
    {S("a\r\r\n.\r\r\nb\r\n.\r\nQ"), NULL, 0, 1, DOT_BARE_CR},
    {S("a\n\r.\n\rb\r\n.\r\nQ"), NULL, 0, 1, DOT_BARE_LF},
    {S("a\0b\r\n.\r\nQ"), NULL, 0, 1, DOT_NUL},
    {S("a\r\n\0.\r\n.\r\nQ"), NULL, 0, 1, DOT_NUL},
    {S("a\r\n.\0\r\n.\r\nQ"), NULL, 0, 1, DOT_NUL},
    {S("\n.\r\n\r\n.\r\nQ"), NULL, 0, 1, DOT_BARE_LF},
};

/* Feed case i in pieces: the first of `first` bytes, then `step` at a time. */
static void feed(size_t i, size_t first, size_t step)
{
	const uint8_t *in = (const uint8_t *)cases[i].in;
	size_t at = 0, n = first, used;
	struct sink s = {.len = 0};
	bool done = false;
	struct dot d;

	dot_init(&d);
	while (at < cases[i].in_len && !done) {
		size_t m = n < cases[i].in_len - at ? n : cases[i].in_len - at;

		done = dot_feed(&d, in + at, m, &used, out, &s);
		assert_true(done || used == m);
		at += used;
		n = step;
	}
	if (done != (cases[i].rest != SIZE_MAX) || d.fault != cases[i].fault)
		fail_msg("case %zu split %zu/%zu: done %d, %s", i, first, step, done,
			 dot_fault_name(d.fault));
	if (done)
		assert_int_equal(cases[i].in_len - at, cases[i].rest);
	if (!cases[i].text)
		return;
	assert_int_equal(s.len, cases[i].text_len);
	assert_memory_equal(s.buf, cases[i].text, s.len);
}

static void test_dot_splits(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		feed(i, SIZE_MAX, SIZE_MAX);
		for (size_t first = 1; first < cases[i].in_len; first++) {
			feed(i, first, SIZE_MAX);
			feed(i, first, 1);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_dot_splits)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
