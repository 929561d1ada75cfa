/* dkim keygen and show: files alone, records as the zone wants them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "webui/ctl/cli.h"

static char dir[] = "/tmp/sekisho-ctl-dkim-XXXXXX";

struct run {
	int status;
	char out[16384], err[4096];
};

static void run(struct run *r, const char *const *words)
{
	char *argv[12] = {(char *)"sekishoctl", (char *)"-c", NULL}, conf[64];
	int argc = 3;
	struct cli_io io = {.in = stdin,
			    .out = fmemopen(r->out, sizeof(r->out), "w"),
			    .err = fmemopen(r->err, sizeof(r->err), "w"),
			    .now_ms = INT64_C(1795352890000)}; /* 2026-11-22 */

	memset(r, 0, sizeof(*r));
	snprintf(conf, sizeof(conf), "%s/sekisho.conf", dir);
	argv[2] = conf;
	for (; *words; words++)
		argv[argc++] = (char *)*words;
	r->status = cli_main(argc, argv, &io);
	fclose(io.out);
	fclose(io.err);
}
#define RUN(r, ...) run(r, (const char *const[]){__VA_ARGS__, NULL})

static void write_file(const char *name, const char *text)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void test_keygen(void **state)
{
	struct run r;
	struct stat st;
	char path[96], want[128];

	(void)state;
	RUN(&r, "dkim", "keygen", "isp.example", "r1");
	assert_int_equal(r.status, 0);
	snprintf(path, sizeof(path), "%s/dkim/isp.example.r1.pem", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	snprintf(want, sizeof(want), "table_line\tisp.example r1 %s\n", path);
	assert_non_null(strstr(r.out, want));
	assert_non_null(
	    strstr(r.out, "record\tr1._domainkey.isp.example. IN TXT ( \"v=DKIM1; k=rsa; p=MII"));
	assert_null(strstr(r.out, "PRIVATE"));
	/* what is there stays */
	RUN(&r, "dkim", "keygen", "isp.example", "r1");
	assert_int_equal(r.status, 73);
	assert_non_null(strstr(r.err, "File exists"));
	RUN(&r, "dkim", "keygen", "isp.example", "e1", "--bits", "1024");
	assert_int_equal(r.status, 0);
	RUN(&r, "dkim", "keygen", "isp..example", "r1");
	assert_int_equal(r.status, 64);
	RUN(&r, "dkim", "keygen", "isp.example", "../r1");
	assert_int_equal(r.status, 64);
	RUN(&r, "dkim", "keygen", "isp.example", "r2", "--bits", "512");
	assert_int_equal(r.status, 64);
	RUN(&r, "dkim", "keygen", "isp.example", "r2", "--file", "relative");
	assert_int_equal(r.status, 64);
}

static void test_show(void **state)
{
	struct run r;
	char table[512], path[64];
	json_t *v;
	const char *value;

	(void)state;
	snprintf(table, sizeof(table),
		 "# keys\nisp.example r1 %s/dkim/isp.example.r1.pem until=2026-11-01T00:00:00Z\n\n"
		 "isp.example\te1  %s/dkim/isp.example.e1.pem\r\n"
		 "isp.example r3 %s/dkim/isp.example.r1.pem from=2026-12-01T00:00:00Z",
		 dir, dir, dir);
	write_file("table", table);
	RUN(&r, "dkim", "show", "--json");
	assert_int_equal(r.status, 0);
	v = json_loads(r.out, 0, NULL);
	assert_int_equal(json_array_size(v), 3);
	assert_string_equal(json_string_value(json_object_get(json_array_get(v, 0), "state")),
			    "over");
	assert_string_equal(json_string_value(json_object_get(json_array_get(v, 1), "state")),
			    "signing");
	assert_string_equal(json_string_value(json_object_get(json_array_get(v, 2), "state")),
			    "waiting");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(v, 0), "bits")), 2048);
	value = json_string_value(json_object_get(json_array_get(v, 1), "value"));
	assert_memory_equal(value, "v=DKIM1; k=rsa; p=MI", 20);
	assert_int_equal(strlen(value), 18 + 216);
	value = json_string_value(json_object_get(json_array_get(v, 0), "value"));
	assert_int_equal(strlen(value), 18 + 392);
	json_decref(v);
	snprintf(path, sizeof(path), "%s/table", dir);
	RUN(&r, "dkim", "show", path);
	assert_int_equal(r.status, 0);
	/* no string of the zone's line is longer than 255 octets */
	for (const char *p = strchr(r.out, '"'), *end; p; p = strchr(end + 1, '"')) {
		end = strchr(p + 1, '"');
		assert_non_null(end);
		assert_true(end - p - 1 <= 255);
	}
	write_file("table", "isp.example r1\n");
	RUN(&r, "dkim", "show");
	assert_int_equal(r.status, 65);
	write_file("table", "isp.example r1 /nowhere/x.pem\n");
	RUN(&r, "dkim", "show");
	assert_int_equal(r.status, 66);
	write_file("table", "# nothing\n");
	RUN(&r, "dkim", "show");
	assert_int_equal(r.status, 1);
	RUN(&r, "dkim", "show", "/nowhere/table");
	assert_int_equal(r.status, 66);
	write_file("sekisho.conf", "common {\n user = \"\"\n}\n");
	RUN(&r, "dkim", "show");
	assert_int_equal(r.status, 1);
	assert_non_null(strstr(r.err, "msa.dkim is empty"));
}

static int setup(void **state)
{
	char conf[256];

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(conf, sizeof(conf), "common {\n user = \"\"\n}\nmsa {\n dkim = \"%s/table\"\n}\n",
		 dir);
	write_file("sekisho.conf", conf);
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = {"dkim/isp.example.r1.pem",
					    "dkim/isp.example.e1.pem",
					    "dkim",
					    "table",
					    "sekisho.conf",
					    ""};
	char path[96];

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		if (remove(path) != 0)
			print_error("%s stays\n", path);
	}
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_keygen),
	    cmocka_unit_test(test_show),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
