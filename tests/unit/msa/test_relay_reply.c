/* SMTP replies, whole and byte by byte; EHLO keywords; dot-stuffing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "msa/relay/dot.h"
#include "msa/relay/reply.h"

struct got {
	int n;
	int codes[8];
	char status[8][REPLY_STATUS_MAX], text[8][REPLY_TEXT_MAX];
	const char *err;
};

static void feed(const char *s, size_t len, size_t piece, struct got *g)
{
	struct reply_parser p;
	size_t at = 0, used;

	*g = (struct got){.n = 0};
	reply_init(&p);
	while (at < len) {
		size_t n = len - at < piece ? len - at : piece;
		enum reply_result r = reply_feed(&p, (const uint8_t *)s + at, n, &used);
		assert_true(used <= n);
		at += used;
		if (r == REPLY_BAD) {
			assert_non_null(p.err);
			g->err = p.err;
			assert_int_equal(reply_feed(&p, (const uint8_t *)"250 ok\r\n", 8, &used),
					 REPLY_BAD);
			return;
		}
		if (r == REPLY_MORE)
			assert_int_equal(used, n);
		if (r == REPLY_DONE && g->n < 8) {
			g->codes[g->n] = p.reply.code;
			snprintf(g->status[g->n], REPLY_STATUS_MAX, "%s", p.reply.status);
			snprintf(g->text[g->n], REPLY_TEXT_MAX, "%s", p.reply.text);
			g->n++;
		}
	}
}

static void replies(void **state)
{
	static const struct {
		const char *in;
		int n;
		int code;
		const char *status, *text;
		bool bad;
	} cases[] = {
	    {"250 ok\r\n", 1, 250, "", "ok", false},
	    {"250\r\n", 1, 250, "", "", false},
	    {"250 \r\n", 1, 250, "", "", false},
	    {"250 ok\n", 1, 250, "", "ok", false},
	    {"250-a\r\n250-b\r\n250 c\r\n", 1, 250, "", "a\nb\nc", false},
	    {"250-\r\n250 x\r\n", 1, 250, "", "\nx", false},
	    {"550 5.1.1 no such user\r\n", 1, 550, "5.1.1", "5.1.1 no such user", false},
	    {"550 5.1.1\r\n", 1, 550, "5.1.1", "5.1.1", false},
	    {"550 4.1.1 class differs\r\n", 1, 550, "", "4.1.1 class differs", false},
	    {"550 5.1.1x\r\n", 1, 550, "", "5.1.1x", false},
	    {"550 5.1234.1 x\r\n", 1, 550, "", "5.1234.1 x", false},
	    {"550 5.7.708 x\r\n", 1, 550, "5.7.708", "5.7.708 x", false},
	    {"550 5.. x\r\n", 1, 550, "", "5.. x", false},
	    {"550-5.7.1 a\r\n550 b\r\n", 1, 550, "5.7.1", "5.7.1 a\nb", false},
	    {"250 a\rb\r\n", 1, 250, "", "a b", false},
	    {"250 ok\r\n354 go\r\n", 2, 250, "", "ok", false},
	    {"250 unfinished", 0, 0, "", "", false},
	    {"", 0, 0, "", "", false},
	    {"25\r\n", 0, 0, "", "", true},
	    {"\r\n", 0, 0, "", "", true},
	    {"2500 x\r\n", 0, 0, "", "", true},
	    {"250_x\r\n", 0, 0, "", "", true},
	    {"199 x\r\n", 0, 0, "", "", true},
	    {"600 x\r\n", 0, 0, "", "", true},
	    {"abc x\r\n", 0, 0, "", "", true},
	    {"250-a\r\n251 b\r\n", 0, 0, "", "", true},
	    {"SSH-2.0-OpenSSH\r\n", 0, 0, "", "", true},
	};
	static const size_t pieces[] = {1, 2, 3, 100000};
	static struct got g;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
			feed(cases[i].in, strlen(cases[i].in), pieces[k], &g);
			if ((g.err != NULL) != cases[i].bad || g.n != cases[i].n)
				fail_msg("%s: %d replies, %s", cases[i].in, g.n,
					 g.err ? g.err : "no error");
			if (!g.n)
				continue;
			assert_int_equal(g.codes[0], cases[i].code);
			assert_string_equal(g.status[0], cases[i].status);
			assert_string_equal(g.text[0], cases[i].text);
		}
}

static void bounds(void **state)
{
	static char big[REPLY_LINE_MAX * (REPLY_LINES_MAX + 2)];
	static struct got g;
	size_t n;

	(void)state;
	/* The longest line, and one more octet. */
	memset(big, 'x', sizeof(big));
	memcpy(big, "250 ", 4);
	memcpy(big + REPLY_LINE_MAX, "\n", 1);
	feed(big, REPLY_LINE_MAX + 1, 100000, &g);
	assert_int_equal(g.n, 1);
	big[REPLY_LINE_MAX] = 'x';
	feed(big, REPLY_LINE_MAX + 1, 7, &g);
	assert_non_null(g.err);
	/* As many lines as are taken, and one more. */
	for (int lines = REPLY_LINES_MAX; lines <= REPLY_LINES_MAX + 1; lines++) {
		n = 0;
		for (int i = 0; i < lines - 1; i++)
			n += (size_t)sprintf(big + n, "250-%0100d\r\n", i);
		n += (size_t)sprintf(big + n, "250 end\r\n");
		feed(big, n, 333, &g);
		assert_int_equal(g.err != NULL, lines > REPLY_LINES_MAX);
	}
	/* NUL inside a text. */
	feed("250 a\0b\r\n", 9, 1, &g);
	assert_string_equal(g.text[0], "a b");
}

static void ehlo(void **state)
{
	static const struct {
		const char *in;
		struct reply_ehlo out;
	} cases[] = {
	    {"250 PIPELINING\r\n", {.size = false}}, /* the first line is the greeting */
	    {"250-x\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 STARTTLS\r\n",
	     {.pipelining = true,
	      .starttls = true,
	      .eightbitmime = true,
	      .size = true,
	      .max_size = 1000}},
	    {"250-x\r\n250-SMTPUTF8\r\n250-DSN\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250 "
	     "REQUIRETLS\r\n",
	     {.smtputf8 = true,
	      .dsn = true,
	      .chunking = true,
	      .binarymime = true,
	      .requiretls = true}},
	    {"250-x\r\n250-pipelining\r\n250 Size\r\n", {.pipelining = true, .size = true}},
	    {"250-x\r\n250-PIPELININGS\r\n250 SIZEX 4\r\n", {.size = false}},
	    {"250-x\r\n250 SIZE 0\r\n", {.size = true}},
	    {"250-x\r\n250 SIZE 99999999999999999999999\r\n", {.size = true}},
	    {"250-x\r\n250 SIZE 12a\r\n", {.size = true}},
	};
	struct reply_parser p;
	size_t used;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reply_ehlo e;
		reply_init(&p);
		assert_int_equal(
		    reply_feed(&p, (const uint8_t *)cases[i].in, strlen(cases[i].in), &used),
		    REPLY_DONE);
		reply_ehlo(&p.reply, &e);
		assert_int_equal(e.pipelining, cases[i].out.pipelining);
		assert_int_equal(e.starttls, cases[i].out.starttls);
		assert_int_equal(e.eightbitmime, cases[i].out.eightbitmime);
		assert_int_equal(e.size, cases[i].out.size);
		assert_int_equal(e.smtputf8, cases[i].out.smtputf8);
		assert_int_equal(e.dsn, cases[i].out.dsn);
		assert_int_equal(e.chunking, cases[i].out.chunking);
		assert_int_equal(e.binarymime, cases[i].out.binarymime);
		assert_int_equal(e.requiretls, cases[i].out.requiretls);
		assert_int_equal(e.max_size, cases[i].out.max_size);
	}
}

static void one_line(void **state)
{
	struct reply r = {.code = 550, .text = "5.1.1 a\tb\n\x1b[31mred \xe9", .len = 19};
	char buf[64], tiny[6];

	(void)state;
	r.len = strlen(r.text);
	assert_string_equal(reply_line(&r, buf, sizeof(buf)), "550 5.1.1 a b ?[31mred ?");
	assert_string_equal(reply_line(&r, tiny, sizeof(tiny)), "550 5");

	/* Of many lines the end says what it is. */
	for (r.len = 0; r.len < 1000; r.len += 20)
		memcpy(r.text + r.len, "Dear postmaster, we\n", 21);
	r.len += (size_t)snprintf(r.text + r.len, 100, "have no mailbox of that name");
	assert_string_equal(reply_line(&r, buf, sizeof(buf)),
			    "550 Dear postmaster, we Dear postmaster, we Dear ... no mailbox");
}

static void stuffing(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
	    {"", ".\r\n"},
	    {"a\r\n", "a\r\n.\r\n"},
	    {"a", "a\r\n.\r\n"},
	    {".\r\n", "..\r\n.\r\n"},
	    {".a\r\n..b\r\nc.\r\n", "..a\r\n...b\r\nc.\r\n.\r\n"},
	    {"\r\n.\r\n", "\r\n..\r\n.\r\n"},
	    /* Nothing that another server could take for an end of data. */
	    {"a\n.\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"},
	    {"a\r.\rb\r\n", "a\r\n..\r\nb\r\n.\r\n"},
	    {"a\n.\r\nMAIL", "a\r\n..\r\nMAIL\r\n.\r\n"},
	    {"a\r\r\n", "a\r\n\r\n.\r\n"},
	    {"a\r", "a\r\n.\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t piece = 1; piece < 9; piece++) {
			struct dot d = {.last = 0};
			uint8_t out[100];
			size_t n = 0, len = strlen(cases[i].in);
			for (size_t at = 0; at < len; at += piece) {
				size_t k = len - at < piece ? len - at : piece;
				/* Room for exactly what was promised. */
				uint8_t *room = malloc(DOT_ROOM(k));
				size_t w =
				    dot_stuff(&d, (const uint8_t *)cases[i].in + at, k, room);
				assert_true(w <= DOT_ROOM(k));
				memcpy(out + n, room, w);
				n += w;
				free(room);
			}
			n += dot_end(&d, out + n);
			out[n] = '\0';
			assert_string_equal((char *)out, cases[i].out);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(replies), cmocka_unit_test(bounds),
					   cmocka_unit_test(ehlo), cmocka_unit_test(one_line),
					   cmocka_unit_test(stuffing)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
