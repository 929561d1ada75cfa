/*
 * fuzz_tlsrpt - the record that asks for reports of TLS, and a file of counts: what is read is
 * within bounds, and what goes into a report or an envelope is printable.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "msa/tlsrpt/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void printable(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s <= 0x20 || *s == 0x7f || *s == '<' || *s == '>')
			abort();
}

static void record(const uint8_t *data, size_t size)
{
	char rua[TLSRPT_RUA_MAX], uri[TLSRPT_URI_MAX], address[TLSRPT_URI_MAX];
	char *text = talloc_strndup(NULL, (const char *)data, size);
	const char *at = rua;
	bool any = false;

	if (tlsrpt_record(text, rua)) {
		while (tlsrpt_uri(&at, uri)) {
			any = true;
			if (tlsrpt_mailto(uri, address))
				printable(address);
		}
		if (!any)
			abort();
	}
	talloc_free(text);
}

static void file(const uint8_t *data, size_t size)
{
	static const struct tlsrpt_who who = {"mx.example", "example", "postmaster@example"};
	static char folder[64];
	char path[96];
	size_t n;

	if (!folder[0])
		snprintf(folder, sizeof(folder), "/tmp/fuzz-tlsrpt-%d", (int)getpid());
	snprintf(path, sizeof(path), "%s/2026-01-01", folder);
	struct tlsrpt_counts *c = tlsrpt_open(NULL, folder, "2026-01-01", true);
	int fd = open(path, O_WRONLY | O_TRUNC);
	if (!c || fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	close(fd);
	tlsrpt_close(c);
	c = tlsrpt_open(NULL, folder, "2026-01-01", true);
	if (!c)
		abort();
	struct tlsrpt_session s = {.domain = "x",
				   .policy = TLSRPT_STS,
				   .policy_domain = "x",
				   .policy_text = "",
				   .result = TLSRPT_EXPIRED,
				   .mx = "",
				   .reason = ""};
	(void)tlsrpt_count(c, &s);
	const struct tlsrpt_row *rows = tlsrpt_rows(c, &n);
	if (n > TLSRPT_ROWS)
		abort();
	for (size_t i = 0; i < n; i++)
		json_decref(tlsrpt_report(rows, n, rows[i].domain, "2026-01-01", &who));
	json_decref(tlsrpt_summary(rows, n, NULL));
	tlsrpt_close(c);
	unlink(path);
	rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	record(data, size);
	file(data, size > 64 * 1024 ? 64 * 1024 : size);
	return 0;
}
