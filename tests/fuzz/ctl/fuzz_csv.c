/*
 * fuzz_csv - any bytes through the CSV reader; what came out, written and read again, must be the
 * same rows.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "webui/ctl/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct rows {
	FILE *csv;  /* the rows as CSV, guarded as an export is */
	FILE *seen; /* their fields, each with its NUL, each row with an extra one */
};

static bool take(size_t n, char *const *fields, unsigned line, void *arg)
{
	struct rows *r = arg;
	(void)line;
	for (size_t i = 0; i < n; i++) {
		const char *f = fields[i];
		if (csv_is_guarded(f))
			f++;
		fputs(f, r->seen);
		fputc('\0', r->seen);
		fputs(i ? "," : "", r->csv);
		if (csv_must_guard(f)) {
			char *g = malloc(strlen(f) + 2);
			g[0] = '\'';
			memcpy(g + 1, f, strlen(f) + 1);
			csv_put(r->csv, g);
			free(g);
		} else if (n == 1 && !*f) {
			fputs("\"\"", r->csv); /* else it would be an empty line */
		} else {
			csv_put(r->csv, f);
		}
	}
	fputs("\r\n", r->csv);
	fputc('\0', r->seen);
	return true;
}

struct memory {
	char *csv, *seen;
	size_t n_csv, n_seen;
};

/* step 0: all at once. */
static bool read_rows(const void *data, size_t size, size_t step, struct memory *m)
{
	struct csv *r = malloc(sizeof(*r));
	struct rows rows = {open_memstream(&m->csv, &m->n_csv),
			    open_memstream(&m->seen, &m->n_seen)};
	bool ok = true;
	csv_init(r, take, &rows);
	for (size_t i = 0; ok && i < size; i += step ? step : size)
		ok = csv_feed(r, (const char *)data + i, step && size - i > step ? step : size - i);
	ok = ok && csv_end(r);
	if (!ok && !r->err)
		abort();
	fclose(rows.csv);
	fclose(rows.seen);
	free(r);
	return ok;
}

static void same(const struct memory *a, const struct memory *b)
{
	if (a->n_seen != b->n_seen || memcmp(a->seen, b->seen, a->n_seen) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memory whole, bytes, again;
	bool ok = read_rows(data, size, 0, &whole);
	if (read_rows(data, size, 1, &bytes) != ok)
		abort();
	same(&whole, &bytes);
	/* A first field that starts with a byte-order mark would lose it, and a guard makes a row
	 * longer: both are told by the reader or fit. */
	bool mark = whole.n_csv >= 3 && memcmp(whole.csv, "\xef\xbb\xbf", 3) == 0;
	if (!mark && read_rows(whole.csv, whole.n_csv, 0, &again))
		same(&whole, &again);
	else if (mark)
		again = (struct memory){NULL, NULL, 0, 0};
	free(whole.csv), free(whole.seen), free(bytes.csv), free(bytes.seen);
	free(again.csv), free(again.seen);
	return 0;
}
