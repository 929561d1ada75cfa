/* Counts of a day on disk, the record that asks for reports, the report and the mail of it (RFC
 * 8460). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <talloc.h>
#include <zlib.h>

#include "lib/clock.h"

#include "msa/relay/tls_counts.h"
#include "msa/tlsrpt/counts.h"
#include "msa/tlsrpt/gzip.h"
#include "msa/tlsrpt/report.h"

#define N(a) (sizeof(a) / sizeof *(a))
#define DAY  "2026-11-22"

static char folder[64];

static int set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/tlsrpt-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static struct addr address(const char *text)
{
	struct addr a;
	const char *err;

	assert_true(addr_parse(text, &a, &err));
	return a;
}

static void add(struct tlsrpt_counts *c, const char *domain, enum tlsrpt_policy policy,
		enum tlsrpt_result result, const char *mx, const char *reason)
{
	static struct addr to, from;
	struct tlsrpt_session s = {
	    .domain = domain,
	    .policy = policy,
	    .policy_domain = policy == TLSRPT_TLSA ? mx : domain,
	    .policy_text = policy == TLSRPT_STS ? "version: STSv1\nmode: testing\nmx: *.x.example"
			   : policy == TLSRPT_TLSA ? "3 1 1 AB"
						   : "",
	    .result = result,
	    .mx = mx,
	    .from = &from,
	    .to = &to,
	    .reason = reason};

	to = address("192.0.2.1");
	from = address("2001:db8::25");
	assert_true(tlsrpt_count(c, &s));
}

static void fill(struct tlsrpt_counts *c)
{
	add(c, "X.Example", TLSRPT_STS, TLSRPT_OK, "mx1.x.example", "");
	add(c, "x.example", TLSRPT_STS, TLSRPT_OK, "mx1.x.example", "");
	add(c, "x.example", TLSRPT_STS, TLSRPT_EXPIRED, "mx1.x.example", "certificate has expired");
	add(c, "x.example", TLSRPT_STS, TLSRPT_EXPIRED, "mx1.x.example", "certificate has expired");
	add(c, "x.example", TLSRPT_STS, TLSRPT_HOST_MISMATCH, "mx2.x.example", "hostname mismatch");
	add(c, "x.example", TLSRPT_TLSA, TLSRPT_OK, "mx3.x.example", "");
	add(c, "y.example", TLSRPT_NO_POLICY, TLSRPT_STARTTLS_NOT_SUPPORTED, "mx.y.example",
	    "not offered\n\"");
	assert_true(tlsrpt_set_rua(c, "x.example", "mailto:tls@x.example"));
}

static const struct tlsrpt_who who = {"smtp.isp.example", "isp.example", "postmaster@isp.example"};

static char *report_text(struct tlsrpt_counts *c, const char *domain)
{
	size_t n;
	const struct tlsrpt_row *rows = tlsrpt_rows(c, &n);
	json_t *r = tlsrpt_report(rows, n, domain, DAY, &who);
	char *text = r ? json_dumps(r, JSON_COMPACT) : NULL;

	json_decref(r);
	return text;
}

/* What is counted is there again after the process died, exactly. */
static void counts_last(void **state)
{
	struct tlsrpt_counts *c = tlsrpt_open(NULL, folder, DAY, true);

	(void)state;
	assert_non_null(c);
	fill(c);
	char *before = report_text(c, "x.example");
	/* Not closed: nothing is left to be written then. */
	struct tlsrpt_counts *again = tlsrpt_open(NULL, folder, DAY, false);
	assert_non_null(again);
	char *after = report_text(again, "x.example");
	assert_string_equal(before, after);
	assert_true(tlsrpt_knows(again, "x.example"));
	assert_false(tlsrpt_knows(again, "y.example"));
	tlsrpt_close(again);
	again = tlsrpt_open(NULL, folder, DAY, true);
	add(again, "x.example", TLSRPT_STS, TLSRPT_OK, "mx1.x.example", "");
	free(after);
	after = report_text(again, "x.example");
	assert_non_null(strstr(after, "\"total-successful-session-count\":3"));
	free(before);
	free(after);
	tlsrpt_close(again);
	tlsrpt_close(c);
}

static void the_report(void **state)
{
	struct tlsrpt_counts *c = tlsrpt_open(NULL, folder, "2026-11-21", true);
	static const char want[] =
	    "{\"organization-name\":\"isp.example\",\"date-range\":{\"start-datetime\":\"2026-11-"
	    "22T00:00:00Z\","
	    "\"end-datetime\":\"2026-11-22T23:59:59Z\"},\"contact-info\":\"postmaster@isp."
	    "example\","
	    "\"report-id\":\"2026-11-22.x.example@smtp.isp.example\",\"policies\":["
	    "{\"policy\":{\"policy-type\":\"sts\",\"policy-domain\":\"x.example\",\"policy-"
	    "string\":"
	    "[\"version: STSv1\",\"mode: testing\",\"mx: "
	    "*.x.example\"],\"mx-host\":[\"*.x.example\"]},"
	    "\"summary\":{\"total-successful-session-count\":2,\"total-failure-session-count\":3},"
	    "\"failure-details\":[{\"result-type\":\"certificate-expired\",\"sending-mta-ip\":"
	    "\"2001:db8::25\","
	    "\"receiving-mx-hostname\":\"mx1.x.example\",\"receiving-ip\":\"192.0.2.1\",\"failed-"
	    "session-count\":2,"
	    "\"failure-reason-code\":\"certificate has "
	    "expired\"},{\"result-type\":\"certificate-host-mismatch\","
	    "\"sending-mta-ip\":\"2001:db8::25\",\"receiving-mx-hostname\":\"mx2.x.example\","
	    "\"receiving-ip\":\"192.0.2.1\","
	    "\"failed-session-count\":1,\"failure-reason-code\":\"hostname mismatch\"}]},"
	    "{\"policy\":{\"policy-type\":\"tlsa\",\"policy-domain\":\"mx3.x.example\",\"policy-"
	    "string\":[\"3 1 1 AB\"]},"
	    "\"summary\":{\"total-successful-session-count\":1,\"total-failure-session-count\":0}}]"
	    "}";

	(void)state;
	fill(c);
	char *got = report_text(c, "x.example");
	assert_string_equal(got, want);
	free(got);
	got = report_text(c, "y.example");
	assert_non_null(strstr(got, "\"policy-type\":\"no-policy-found\""));
	assert_non_null(strstr(got, "\"failure-reason-code\":\"not offered?\\\"\""));
	free(got);
	assert_null(report_text(c, "z.example"));
	tlsrpt_close(c);
}

/* A torn or foreign row is passed over, the others stay; what does not fit is counted. */
static void damage_and_fullness(void **state)
{
	struct tlsrpt_counts *c = tlsrpt_open(NULL, folder, "2026-11-20", true);
	char path[128], name[64];
	size_t n;

	(void)state;
	fill(c);
	tlsrpt_close(c);
	snprintf(path, sizeof(path), "%s/2026-11-20", folder);
	FILE *f = fopen(path, "r+");
	assert_int_equal(fseek(f, (long)(2 * TLSRPT_ROW_BYTES + 30), SEEK_SET), 0);
	assert_int_equal(fputc('!', f), '!');
	fclose(f);
	c = tlsrpt_open(NULL, folder, "2026-11-20", true);
	assert_int_equal(tlsrpt_dropped(c), 1);
	char *text = report_text(c, "x.example");
	assert_non_null(strstr(text, "mx3.x.example"));
	free(text);
	for (unsigned i = 0; i < TLSRPT_ROWS + 10; i++) {
		snprintf(name, sizeof(name), "d%u.example", i);
		add(c, name, TLSRPT_NO_POLICY, TLSRPT_OK, "mx", "");
	}
	(void)tlsrpt_rows(c, &n);
	assert_int_equal(n, TLSRPT_ROWS);
	assert_true(tlsrpt_dropped(c) > 10);
	tlsrpt_close(c);
	/* The file is no larger than that. */
	f = fopen(path, "r");
	fseek(f, 0, SEEK_END);
	assert_int_equal(ftell(f), TLSRPT_ROWS * TLSRPT_ROW_BYTES);
	fclose(f);
}

static void old_days_go(void **state)
{
	char path[128];

	(void)state;
	tlsrpt_close(tlsrpt_open(NULL, folder, "2026-10-01", true));
	tlsrpt_close(tlsrpt_open(NULL, folder, "2026-10-09", true));
	snprintf(path, sizeof(path), "%s/2026-10-01", folder);
	assert_int_equal(access(path, F_OK), 0);
	tlsrpt_close(tlsrpt_open(NULL, folder, "2026-10-10", true));
	assert_int_not_equal(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/2026-10-09", folder);
	assert_int_equal(access(path, F_OK), 0);
}

static void long_policies_lose_lines(void **state)
{
	struct tlsrpt_counts *c = tlsrpt_open(NULL, folder, "2026-11-19", true);
	char text[2000] = "mx: a.example";
	size_t n;

	(void)state;
	for (size_t at = strlen(text), i = 0; i < 60; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "\nmx: b.example");
	struct tlsrpt_session s = {
	    .domain = "x", .policy = TLSRPT_STS, .policy_domain = "x", .policy_text = text};
	assert_true(tlsrpt_count(c, &s));
	const struct tlsrpt_row *r = tlsrpt_rows(c, &n);
	assert_true(strlen(r->text) > 400);
	assert_string_equal(r->text + strlen(r->text) - 9, "b.example");
	tlsrpt_close(c);
}

static void records(void **state)
{
	static const struct {
		const char *text, *rua; /* NULL: no record */
	} cases[] = {
	    {"v=TLSRPTv1; rua=mailto:a@x.example", "mailto:a@x.example"},
	    {"v=TLSRPTv1;rua=mailto:a@x.example,https://x.example/r;",
	     "mailto:a@x.example,https://x.example/r"},
	    {"v=TLSRPTv1 ; rua = mailto:a@x.example ; x=y", "mailto:a@x.example"},
	    {"v=TLSRPTv1; x=y; rua=https://x.example/", "https://x.example/"},
	    {"v=TLSRPTv1", NULL},
	    {"v=TLSRPTv1; rua=", NULL},
	    {"v=TLSRPTv1; rua=ftp://x.example", NULL},
	    {"v=TLSRPTv2; rua=mailto:a@x.example", NULL},
	    {" v=TLSRPTv1; rua=mailto:a@x.example", NULL},
	    {"rua=mailto:a@x.example", NULL},
	    {"", NULL},
	    {NULL, NULL},
	};
	char rua[TLSRPT_RUA_MAX], large[1200] = "v=TLSRPTv1; rua=mailto:";

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		bool ok = tlsrpt_record(cases[i].text, rua);
		if (ok != (cases[i].rua != NULL) || (ok && strcmp(rua, cases[i].rua) != 0))
			fail_msg("%s: %s", cases[i].text, ok ? rua : "no");
	}
	memset(large + strlen(large), 'a', 1000);
	assert_false(tlsrpt_record(large, rua));
}

static void addresses(void **state)
{
	static const struct {
		const char *uri, *address;
	} cases[] = {
	    {"mailto:a@x.example", "a@x.example"},
	    {"MAILTO:a%2Bb@x.example?subject=x", "a+b@x.example"},
	    {"mailto:a@x.example!10m", "a@x.example"},
	    {"mailto:a%0d%0aBcc:b@x.example", NULL},
	    {"mailto:%zz@x.example", NULL},
	    {"mailto:a%2", NULL},
	    {"mailto:<a@x.example>", NULL},
	    {"mailto:", NULL},
	    {"https://x.example", NULL},
	};
	char address[TLSRPT_URI_MAX];
	const char *at = " https://a/ , mailto:x@y ,ftp://z";

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		bool ok = tlsrpt_mailto(cases[i].uri, address);
		if (ok != (cases[i].address != NULL) ||
		    (ok && strcmp(address, cases[i].address) != 0))
			fail_msg("%s: %s", cases[i].uri, ok ? address : "no");
	}
	assert_true(tlsrpt_uri(&at, address));
	assert_string_equal(address, "https://a/");
	assert_true(tlsrpt_uri(&at, address));
	assert_string_equal(address, "mailto:x@y");
	assert_false(tlsrpt_uri(&at, address));
}

static size_t unpack(const uint8_t *gz, size_t n, char *out, size_t cap)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)gz,
		      .avail_in = (uInt)n,
		      .next_out = (Bytef *)out,
		      .avail_out = (uInt)cap};

	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	inflateEnd(&z);
	return z.total_out;
}

static void the_mail(void **state)
{
	static const char report[] = "{\"report-id\":\"x\"}";
	void *ctx = talloc_new(NULL);
	size_t n = 0, len = 0;
	char out[100];

	(void)state;
	uint8_t *gz = gzip_pack(ctx, report, strlen(report), &n);
	assert_non_null(gz);
	assert_int_equal(unpack(gz, n, out, sizeof(out)), strlen(report));
	assert_memory_equal(out, report, strlen(report));
	struct tlsrpt_letter l = {.who = &who,
				  .id = "0123456789abcdef",
				  .to = "tls@x.example",
				  .domain = "x.example",
				  .day = DAY,
				  .now_ms = 1795392000000,
				  .gz = gz,
				  .gz_len = n};
	char *mail = tlsrpt_mail(ctx, &l, &len);
	assert_int_equal(strlen(mail), len);
	static const char *const has[] = {
	    "From: TLS reports <postmaster@isp.example>\r\n",
	    "\r\nTLS-Report-Domain: x.example\r\nTLS-Report-Submitter: smtp.isp.example\r\n",
	    "Subject: Report Domain: x.example\r\n\tSubmitter: smtp.isp.example\r\n\tReport-ID: "
	    "<2026-11-22.x.example@smtp.isp.example>\r\n",
	    "report-type=\"tlsrpt\"",
	    "\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n",
	    "filename=\"smtp.isp.example!x.example!1795305600!1795391999.json.gz\"",
	    "\r\n--=_0123456789abcdef--\r\n",
	};
	for (size_t i = 0; i < N(has); i++)
		if (!strstr(mail, has[i]))
			fail_msg("%s is not in %s", has[i], mail);
	for (char *s = mail; (s = strchr(s, '\n')); s++)
		assert_int_equal(s[-1], '\r');
	talloc_free(ctx);
}

static void urls(void **state)
{
	static const struct {
		const char *uri, *host, *path; /* host NULL: it cannot be used */
	} cases[] = {
	    {"https://A.example/x?y=1", "a.example", "/x?y=1"},
	    {"HTTPS://a.example", "a.example", "/"},
	    {"https://a.example:443?y", "a.example", "/?y"},
	    {"https://a.example:8443/", NULL, NULL},
	    {"https://a.example:4430/", NULL, NULL},
	    {"https://user@a.example/", NULL, NULL},
	    {"https://user:pw@a.example/", NULL, NULL},
	    {"https://127.0.0.1/", NULL, NULL},
	    {"https://[::1]/", NULL, NULL},
	    {"https://localhost/", NULL, NULL},
	    {"https:///x", NULL, NULL},
	    {"https://a.example/#x", NULL, NULL},
	    {"https://a.example/ x", NULL, NULL},
	    {"https://a.example\\x", NULL, NULL},
	    {"http://a.example/", NULL, NULL},
	    {"mailto:a@b.example", NULL, NULL},
	};
	char host[TLSRPT_URI_MAX], path[TLSRPT_URI_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (tlsrpt_https(cases[i].uri, host, path) != (cases[i].host != NULL))
			fail_msg("%s", cases[i].uri);
		if (!cases[i].host)
			continue;
		assert_string_equal(host, cases[i].host);
		assert_string_equal(path, cases[i].path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(counts_last),
	    cmocka_unit_test(the_report),
	    cmocka_unit_test(damage_and_fullness),
	    cmocka_unit_test(old_days_go),
	    cmocka_unit_test(long_policies_lose_lines),
	    cmocka_unit_test(records),
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(urls),
	    cmocka_unit_test(the_mail),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
