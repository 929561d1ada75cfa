/* End to end: queue, relay role (this program with -x relay), and a smart host that does what its addresses say. */
#include "tests/unit/msa/kit.h"

static struct kit k;

static int setup(void **state)
{
	(void)state;
	kit_init(&k);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kit_remove(&k);
	return 0;
}

static void delivers_once(void **state)
{
	char ids[50][QUEUE_ID_LEN + 1];
	(void)state;
	kit_open_relay(&k);
	for (int i = 0; i < 50; i++)
		kit_put(&k, &(struct kit_msg){.rcpts = {"a@example.net", "b@example.net"}}, ids[i]);
	assert_true(kit_until(&k, kit_idle, NULL, 5000));
	assert_int_equal(k.last, QUEUE_OK);
	assert_true(kit_queued(&k, 0, 10000));
	for (int i = 0; i < 50; i++)
		assert_int_equal(sink_count(&k.sink, ids[i]), 1);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "-x") == 0)
		return relay_main();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(delivers_once, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
