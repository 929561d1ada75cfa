/* The header editor: any split gives the same output; the account's Sender: is there when it must
 * be, a client's never. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "msa/mail/header.h"

struct sink {
	uint8_t *buf;
	size_t len, cap;
};

static void out(const void *data, size_t len, void *arg)
{
	struct sink *s = arg;

	if (s->len + len > s->cap) {
		s->cap = (s->len + len) * 2;
		s->buf = realloc(s->buf, s->cap);
		if (!s->buf)
			abort();
	}
	if (len > 0)
		memcpy(s->buf + s->len, data, len);
	s->len += len;
}

static void edit(const uint8_t *data, size_t size, size_t step, enum sender_mode mode,
		 struct sink *s)
{
	struct path account;
	const struct header_opts o = {.account = &account,
				      .sender = mode,
				      .received = "Received: x\r\n",
				      .authserv_id = "h",
				      .trace = "0123",
				      .cfbl_address = mode == SENDER_OFF ? "fbl@h" : NULL,
				      .message_id = "q@h",
				      .date = "today"};
	struct header_editor *h;

	if (!path_make("user01", 6, "isp.example", &account))
		abort();
	s->len = 0;
	h = header_new(NULL, &o, out, s);
	for (size_t at = 0; at < size; at += step)
		header_feed(h, data + at, step < size - at ? step : size - at);
	header_end(h);
	if (strlen(header_message_id(h)) > 258 ||
	    (mode == SENDER_ALWAYS && !header_sender_added(h)) ||
	    (header_from(h) >= HEADER_FROM_FOREIGN) != (header_from_path(h) != NULL))
		abort();
	talloc_free(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sink whole, parts;
	enum sender_mode mode = size ? data[0] % 3 : 0;

	edit(data, size, size + 1, mode, &whole);
	for (size_t step = 1; step <= 7; step += 3) {
		edit(data, size, step, mode, &parts);
		if (parts.len != whole.len || memcmp(parts.buf, whole.buf, whole.len) != 0)
			abort();
	}
	/* Ours is the first trace, on top. */
	if (whole.len < 13 || memcmp(whole.buf, "Received: x\r\n", 13) != 0)
		abort();
	return 0;
}
