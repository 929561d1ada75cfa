/*
 * A file of answers from anywhere, and an answer looked up in it: the first line is the answer, the rest the file. What the file says of
 * a class is a class; a final yes stays a yes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *)data, *end = s + size, *lf = memchr(s, '\n', size);
	struct answer_table *t = answer_table_new();
	const char *err;
	char text[600] = "";
	if (!t || size > 4000)
		goto out;
	size_t n = (size_t)((lf ? lf : end) - s);
	memcpy(text, s, n < sizeof(text) - 1 ? n : sizeof(text) - 1);
	for (s = lf ? lf + 1 : end; s < end && answer_table_size(t) < 20; s = lf ? lf + 1 : end) {
		lf = memchr(s, '\n', (size_t)(end - s));
		answer_line(t, s, (size_t)((lf ? lf : end) - s), &err);
	}
	enum answer_class c = answer_classify(t, "5.1.1", text), builtin = answer_classify(NULL, "5.1.1", text);
	if ((unsigned)c >= ANSWER_CLASSES || (unsigned)builtin >= ANSWER_CLASSES || (builtin == ANSWER_OK && c != ANSWER_OK))
		abort();
out:
	answer_table_free(t);
	return 0;
}
