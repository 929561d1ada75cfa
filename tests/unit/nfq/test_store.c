/* The policy on disk: a start has what was told to be on it, whatever happened since. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <talloc.h>
#include <unistd.h>
#include <cmocka.h>

#include "nfq/policy_store.h"

static char folder[64];
static int wake_fd;
static struct shared *shared;
static struct policy_store *store;

static struct policy_entry host(unsigned n)
{
	struct policy_entry e = {.exemption_id = n + 1, .class = "full", .prefix.len = 32};
	addr_from_v4(&e.prefix.a,
		     (const uint8_t[4]){10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n});
	return e;
}

static void begin(void)
{
	static const struct marks marks = {0};
	bool known;
	shared = shared_new(policy_store_load(NULL, folder, &known), &marks, wake_fd);
	store = policy_store_open(folder, shared, wake_fd);
}

static void end(void)
{
	policy_store_close(store);
	shared_free(shared);
}

static int set_up(void **state)
{
	(void)state;
	(void)snprintf(folder, sizeof folder, "/tmp/sekisho-store-XXXXXX");
	assert_non_null(mkdtemp(folder));
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	begin();
	return 0;
}

static int tear_down(void **state)
{
	char command[128];
	(void)state;
	end();
	(void)close(wake_fd);
	(void)snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static void put(uint64_t version, unsigned n, enum policy_op op)
{
	const struct policy_entry e = host(n);
	struct policy *p = shared_write_begin(shared);
	if (op == POLICY_SET)
		policy_put(p, &e);
	else
		(void)policy_remove(p, &e);
	policy_set_version(p, version);
	shared_write_end(shared);
	policy_store_change(store, version, op, &e);
}

static void wait_for(uint64_t version)
{
	for (int i = 0; i < 5000 && !policy_store_has(store, version); i++)
		(void)usleep(1000);
	assert_true(policy_store_has(store, version));
}

/* What a start would have now, while the other still runs: as after kill -9. */
static void on_disk(uint64_t version, size_t count)
{
	bool known;
	struct policy *p = policy_store_load(NULL, folder, &known);
	assert_true(known);
	assert_int_equal(policy_version(p), version);
	assert_int_equal(policy_count(p), count);
	policy_free(p);
}

static void replace(uint64_t version, unsigned n)
{
	struct policy *p = policy_new(NULL);
	for (unsigned i = 0; i < n; i++) {
		const struct policy_entry e = host(i);
		policy_put(p, &e);
	}
	policy_set_version(p, version);
	shared_replace(shared, p);
	policy_store_replaced(store);
}

static void nothing_is_nothing(void **state)
{
	bool known = true;
	(void)state;
	struct policy *p = policy_store_load(NULL, folder, &known);
	assert_false(known);
	assert_int_equal(policy_count(p), 0);
	policy_free(p);
}

static void told_is_kept(void **state)
{
	(void)state;
	replace(10, 3000);
	wait_for(10);
	on_disk(10, 3000);
	put(11, 3000, POLICY_SET);
	put(12, 5, POLICY_DELETE);
	assert_false(policy_store_has(store, 12)); /* not handed over yet */
	policy_store_commit(store);
	wait_for(12);
	on_disk(12, 3000);
	end();
	begin();
	assert_int_equal(policy_version(shared_policy(shared)), 12);
	put(13, 6, POLICY_DELETE);
	policy_store_sync(store);
	assert_true(policy_store_has(store, 13));
	on_disk(13, 2999);
}

/* Changes come while a snapshot is written, and another replacement; a lower version, too. */
static void changes_meanwhile(void **state)
{
	(void)state;
	uint64_t version = 100;
	replace(version, 20000);
	for (unsigned i = 0; i < 5000; i++) {
		put(++version, i, POLICY_DELETE);
		if (i % 50 == 0)
			policy_store_commit(store);
	}
	policy_store_commit(store);
	wait_for(version);
	on_disk(version, 15000);
	replace(7, 10); /* of a database that was restored */
	put(8, 10, POLICY_SET);
	policy_store_commit(store);
	wait_for(8);
	on_disk(8, 11);
}

/* A journal that is much longer than the policy is given up for a snapshot. */
static void compacts(void **state)
{
	char path[96];
	(void)state;
	replace(1, 10);
	policy_store_sync(store);
	for (uint64_t v = 2; v < 80000; v++) {
		put(v, (unsigned)v % 10, POLICY_SET);
		if (v % 1000 == 0)
			policy_store_commit(store);
	}
	policy_store_sync(store);
	on_disk(79999, 10);
	(void)snprintf(path, sizeof path, "%s/changes-000001", folder);
	assert_int_not_equal(access(path, F_OK), 0);
}

static void cut_short(void **state)
{
	char path[96];
	(void)state;
	replace(1, 10);
	wait_for(1);
	put(2, 10, POLICY_SET);
	policy_store_sync(store);
	put(3, 11, POLICY_SET);
	policy_store_sync(store);
	on_disk(3, 12);
	for (unsigned part = 1; part < 9; part++) {
		(void)snprintf(path, sizeof path, "%s/changes-%06u", folder, part);
		FILE *f = fopen(path, "r");
		if (!f)
			continue;
		assert_int_equal(fseek(f, 0, SEEK_END), 0);
		long size = ftell(f);
		(void)fclose(f);
		if (size > 0)
			assert_int_equal(truncate(path, size - 1), 0);
	}
	on_disk(2, 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(nothing_is_nothing, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(told_is_kept, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(changes_meanwhile, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(compacts, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(cut_short, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
