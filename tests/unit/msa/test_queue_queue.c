/* The queue as its callers see it, without delivery: submit, holds, outbox, operators' requests;
 * and what a crash or a full disk leaves. */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <talloc.h>

#include "lib/log.h"
#include "msa/queue/queue_int.h"
#include "msa/route/route.h"
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

static void reopen(void)
{
	kit_close(&k);
	kit_open(&k);
}

static json_int_t stat_of(const char *what)
{
	return kit_number(&k, "queue.stats", "{}", what);
}

static void survives_a_restart(void **state)
{
	char id[QUEUE_ID_LEN + 1], args[64], before[64];

	(void)state;
	kit_open(&k);
	snprintf(before, sizeof(before), "%s", queue_instance(k.q));
	assert_int_equal(
	    kit_send(&k, &(struct kit_msg){.rcpts = {"a@x.example", "b@y.example"}}, id), QUEUE_OK);
	assert_int_equal(kit_send(&k, &(struct kit_msg){.hold = true}, NULL), QUEUE_OK);
	reopen();
	assert_string_equal(queue_instance(k.q), before);
	assert_int_equal(stat_of("queued"), 2);
	assert_int_equal(stat_of("held"), 1);
	snprintf(args, sizeof(args), "{'id':'%s'}", id);
	json_t *r = kit_ask(&k, "queue.show", args, NULL);
	assert_string_equal(json_string_value(json_object_get(r, "account")), "user01@isp.example");
	assert_string_equal(json_string_value(json_object_get(r, "rcpt_domains")),
			    "x.example y.example");
	assert_int_equal(json_array_size(json_object_get(r, "recipients")), 2);
	assert_non_null(
	    strstr(json_string_value(json_object_get(r, "headers")), "Subject: test\r\n"));
	assert_null(strstr(json_string_value(json_object_get(r, "headers")), "hidden"));
	json_decref(r);
}

static void ids_rise(void **state)
{
	char last[QUEUE_ID_LEN + 1] = "", id[QUEUE_ID_LEN + 1];

	(void)state;
	kit_open(&k);
	for (int i = 0; i < 100000; i++) {
		/* A clock that stands still, and one that goes back. */
		queue_new_id(k.q, 1795352890000 - i / 1000, id);
		assert_true(queue_id_valid(id));
		assert_true(strcmp(id, last) > 0);
		memcpy(last, id, sizeof(id));
	}
}

static bool has_four_events(struct kit *kit, const void *arg)
{
	(void)arg;
	return kit->n_events == 4;
}

static void holds_come_and_go(void **state)
{
	char id[QUEUE_ID_LEN + 1], args[64];

	(void)state;
	kit_open(&k);
	kit_send(&k, &(struct kit_msg){.account = "a@isp.example"}, id);
	kit_send(&k, &(struct kit_msg){.account = "b@isp.example"}, NULL);
	kit_send(&k, &(struct kit_msg){.account = "b@isp.example", .hold = true}, NULL);
	assert_int_equal(stat_of("held"), 1);
	/* The operator's own hold is another thing. */
	snprintf(args, sizeof(args), "{'ids':['%s']}", id);
	json_decref(kit_ask(&k, "queue.hold", args, NULL));
	queue_hold_account(k.q, "a@isp.example", "burst");
	queue_hold_account(k.q, "b@isp.example", "burst");
	assert_int_equal(stat_of("held"), 3);
	/* New mail of a held account is held, whatever the session knew. */
	kit_send(&k, &(struct kit_msg){.account = "b@isp.example"}, NULL);
	assert_int_equal(stat_of("held"), 4);
	assert_true(kit_until(&k, has_four_events, NULL, 5000));
	assert_true(k.events[3].u.message.held);
	reopen();
	assert_int_equal(stat_of("held"), 4);
	queue_release_account(k.q, "a@isp.example");
	assert_int_equal(stat_of("held"), 4);
	assert_int_equal(kit_number(&k, "queue.release", args, "changed"), 1);
	assert_int_equal(stat_of("held"), 3);
	reopen();
	assert_int_equal(stat_of("held"), 3);
	/* Names that ratelimitd no longer gives are released; those it gives are held. */
	const char *held[] = {"c@isp.example"};
	queue_holds_synced(k.q, held, 1);
	assert_int_equal(stat_of("held"), 0);
	kit_send(&k, &(struct kit_msg){.account = "c@isp.example"}, NULL);
	assert_int_equal(stat_of("held"), 1);
	reopen();
	assert_int_equal(stat_of("held"), 1);
	queue_holds_synced(k.q, NULL, 0);
	assert_int_equal(stat_of("held"), 0);
}

/* A hold that comes while the message is on its way to the disk. */
static void hold_meets_submit(void **state)
{
	char id[QUEUE_ID_LEN + 1];

	(void)state;
	kit_open(&k);
	kit_put(&k, &(struct kit_msg){.account = "a@isp.example"}, id);
	queue_hold_account(k.q, "a@isp.example", "burst");
	kit_put(&k, &(struct kit_msg){.account = "a@isp.example", .hold = true}, id);
	assert_true(kit_until(&k, kit_idle, NULL, 5000));
	assert_int_equal(stat_of("held"), 2);
	/* And a release that does. */
	kit_put(&k, &(struct kit_msg){.account = "a@isp.example", .hold = true}, id);
	queue_release_account(k.q, "a@isp.example");
	kit_put(&k, &(struct kit_msg){.account = "b@isp.example", .hold = true}, id);
	assert_true(kit_until(&k, kit_idle, NULL, 5000));
	assert_int_equal(stat_of("held"), 1);
	reopen();
	assert_int_equal(stat_of("queued"), 4);
	assert_int_equal(stat_of("held"), 1);
}

static bool events_are(struct kit *kit, const void *n)
{
	return kit->n_events == *(const uint32_t *)n;
}

static void outbox_is_offered_until_acknowledged(void **state)
{
	uint32_t two = 2, three = 3, six = 6;
	struct event e = {.kind = EVENT_LOGIN, .t_ms = 5};

	(void)state;
	k.refuse = true;
	kit_open(&k);
	kit_send(&k, &(struct kit_msg){.hold = true}, NULL);
	kit_send(&k, &(struct kit_msg){.hold = true}, NULL);
	assert_int_equal(k.n_events, 0);
	/* The feed comes up, takes them, and goes away before it acknowledges. */
	k.refuse = false;
	k.keep = true;
	queue_outbox_kick(k.q);
	assert_true(kit_until(&k, events_are, &two, 5000));
	queue_event(k.q, &e);
	assert_true(kit_until(&k, events_are, &three, 5000));
	uint32_t n = k.n_seqs;
	uint64_t seqs[8];
	memcpy(seqs, k.seqs, sizeof(seqs));
	/* The same batches again, with the same numbers: the other side must be able to tell. */
	queue_outbox_kick(k.q);
	assert_true(kit_until(&k, events_are, &six, 5000));
	assert_int_equal(k.n_seqs, 2 * n);
	assert_memory_equal(k.seqs + n, seqs, n * sizeof(seqs[0]));
	queue_outbox_acked(k.q, seqs[n - 1]);
	queue_outbox_acked(k.q, 9999);
	k.keep = false;
	reopen();
	kit_send(&k, &(struct kit_msg){.hold = true}, NULL);
	uint32_t seven = 7;
	assert_true(kit_until(&k, events_are, &seven, 5000));
	assert_true(k.seqs[k.n_seqs - 1] > seqs[n - 1]);
}

static void bounds(void **state)
{
	(void)state;
	k.cfg.max_held_per_account = 2;
	k.cfg.max_bytes = 100000;
	kit_open(&k);
	assert_int_equal(queue_may_accept(k.q, "a@isp.example", 1000), QUEUE_OK);
	assert_int_equal(queue_may_accept(k.q, "a@isp.example", 200000), QUEUE_FULL);
	assert_int_equal(queue_may_accept(k.q, "a@isp.example", UINT64_MAX - 10), QUEUE_FULL);
	kit_send(&k, &(struct kit_msg){.account = "a@isp.example", .hold = true}, NULL);
	kit_send(&k, &(struct kit_msg){.account = "a@isp.example", .hold = true}, NULL);
	assert_int_equal(queue_may_accept(k.q, "a@isp.example", 1000), QUEUE_FULL);
	assert_int_equal(queue_may_accept(k.q, "b@isp.example", 1000), QUEUE_OK);
	kit_send(&k, &(struct kit_msg){.pad = 90000}, NULL);
	assert_int_equal(queue_may_accept(k.q, "b@isp.example", 10000), QUEUE_FULL);
	assert_int_equal(queue_may_accept(k.q, "b@isp.example", 100), QUEUE_OK);
	reopen();
	assert_int_equal(queue_may_accept(k.q, "b@isp.example", 10000), QUEUE_FULL);
}

/* --- requests ------------------------------------------------------------------------------ */

static void requests_that_make_no_sense(void **state)
{
	static const struct {
		const char *op, *args, *error;
	} cases[] = {
	    {"queue.nothing", "{}", "no such request"},
	    {"queue.list", "{'colour':1}", "unknown member colour"},
	    {"queue.list", "{'limit':0}", "limit must be"},
	    {"queue.list", "{'limit':'x'}", "limit must be"},
	    {"queue.list", "{'state':'lost'}", "state must be"},
	    {"queue.list", "{'account':7}", "account must be text"},
	    {"queue.list", "{'ids':['x']}", "not a queue id"},
	    {"queue.list", "{'ids':'x'}", "ids must be an array"},
	    {"queue.grid", "{'by':'colour'}", "by must be"},
	    {"queue.list", "{'by':'account'}", "unknown member by"},
	    {"queue.list", "{'dry_run':true}", "unknown member dry_run"},
	    {"queue.hold", "{}", "say which"},
	    {"queue.hold", "{'dry_run':true}", "say which"},
	    {"queue.delete", "{'all':false}", "say which"},
	    {"queue.delete", "{'all':1}", "true or false"},
	    {"queue.delete", "{'all':true,'limit':1}", "unknown member limit"},
	    {"queue.show", "{}", "give id"},
	    {"queue.show", "{'id':'0123456789abcdef'}", "no such message"},
	    {"queue.show", "{'id':'0123456789abcdef','x':1}", "give id"},
	    {"queue.stats", "{'x':1}", "no arguments"},
	    {"queue.list", "[]", "must be an object"},
	};

	(void)state;
	kit_open(&k);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool ok = true;
		json_t *r = kit_ask(&k, cases[i].op, cases[i].args, &ok);
		if (ok || !json_is_string(r) || !strstr(json_string_value(r), cases[i].error))
			fail_msg("%s %s: %s", cases[i].op, cases[i].args,
				 ok ? "taken" : json_string_value(r));
		json_decref(r);
	}
	bool ok;
	json_t *r = queue_request(k.q, "queue.stats", NULL, &ok);
	assert_true(ok);
	json_decref(r);
}

static void selections(void **state)
{
	static const struct {
		const char *args;
		int total;
	} cases[] = {
	    {"{}", 6},
	    {"{'all':true}", 6},
	    {"{'account':'a@isp.example'}", 3},
	    {"{'account':'nobody@isp.example'}", 0},
	    {"{'domain':'x.example'}", 4},
	    {"{'domain':'example'}", 0},
	    {"{'domain':'x.example','account':'a@isp.example'}", 2},
	    {"{'state':'held'}", 2},
	    {"{'state':'due'}", 4},
	    {"{'state':'held','account':'b@isp.example'}", 2},
	    {"{'state':'deferred'}", 0},
	    {"{'state':'active'}", 0},
	    {"{'ids':['ID0','ID3','ID3','0000000000000000']}", 2},
	    {"{'ids':['ID0','ID3'],'account':'a@isp.example'}", 1},
	};
	char id[6][QUEUE_ID_LEN + 1];

	(void)state;
	kit_open(&k);
	for (int i = 0; i < 6; i++)
		kit_send(&k,
			 &(struct kit_msg){
			     .account = i < 3 ? "a@isp.example" : "b@isp.example",
			     .hold = i > 3,
			     .rcpts = {i % 3 ? "u@x.example" : "u@y.example", "\"v@w\"@z.example"}},
			 id[i]);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char args[200], *p;
		snprintf(args, sizeof(args), "%s", cases[i].args);
		if (strstr(args, "ID0"))
			snprintf(args, sizeof(args), "{'ids':['%s','%s','%s','0000000000000000']%s",
				 id[3], id[0], id[3],
				 strstr(cases[i].args, "],") ? ",'account':'a@isp.example'}" : "}");
		json_t *r = kit_ask(&k, "queue.list", args, NULL);
		if (json_integer_value(json_object_get(r, "total")) != cases[i].total ||
		    (int)json_array_size(json_object_get(r, "messages")) != cases[i].total)
			fail_msg("%s: %lld", args,
				 (long long)json_integer_value(json_object_get(r, "total")));
		const char *last = "";
		size_t n;
		const json_t *row;
		json_array_foreach (json_object_get(r, "messages"), n, row) {
			assert_true(strcmp(json_string_value(json_object_get(row, "id")), last) >
				    0);
			last = json_string_value(json_object_get(row, "id"));
		}
		json_decref(r);
		(void)p;
	}
	json_t *r = kit_ask(&k, "queue.list", "{'limit':2}", NULL);
	assert_int_equal(json_array_size(json_object_get(r, "messages")), 2);
	assert_int_equal(json_integer_value(json_object_get(r, "total")), 6);
	json_decref(r);
	r = kit_ask(&k, "queue.grid", "{}", NULL);
	const json_t *row = json_array_get(json_object_get(r, "rows"), 0);
	assert_string_equal(json_string_value(json_object_get(row, "domain")), "z.example");
	assert_int_equal(json_integer_value(json_object_get(row, "total")), 6);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(row, "counts"), 0)), 6);
	assert_int_equal(json_array_size(json_object_get(r, "rows")), 3);
	json_decref(r);
	r = kit_ask(&k, "queue.grid", "{'by':'account'}", NULL);
	int64_t messages = 0;
	size_t at;
	json_array_foreach (json_object_get(r, "rows"), at, row) {
		assert_non_null(json_string_value(json_object_get(row, "account")));
		messages += json_integer_value(json_object_get(row, "total"));
	}
	assert_int_equal(messages, 6);
	json_decref(r);
	r = kit_ask(&k, "queue.grid", "{'state':'held'}", NULL);
	row = json_array_get(json_object_get(r, "rows"), 0);
	assert_int_equal(json_integer_value(json_object_get(row, "total")), 2);
	json_decref(r);
}

static void changes(void **state)
{
	(void)state;
	kit_open(&k);
	for (int i = 0; i < 6; i++)
		kit_send(&k,
			 &(struct kit_msg){.account = i < 3 ? "a@isp.example" : "b@isp.example"},
			 NULL);
	assert_int_equal(
	    kit_number(&k, "queue.hold", "{'account':'a@isp.example','dry_run':true}", "changed"),
	    3);
	assert_int_equal(stat_of("held"), 0);
	assert_int_equal(kit_number(&k, "queue.hold", "{'account':'a@isp.example'}", "changed"), 3);
	assert_int_equal(kit_number(&k, "queue.hold", "{'all':true}", "matched"), 6);
	assert_int_equal(stat_of("held"), 6);
	reopen();
	assert_int_equal(stat_of("held"), 6);
	assert_int_equal(kit_number(&k, "queue.release", "{'account':'a@isp.example'}", "changed"),
			 3);
	assert_int_equal(kit_number(&k, "queue.retry", "{'all':true}", "changed"), 3);
	assert_int_equal(
	    kit_number(&k, "queue.delete", "{'account':'b@isp.example','dry_run':true}", "changed"),
	    3);
	assert_int_equal(stat_of("queued"), 6);
	assert_int_equal(kit_number(&k, "queue.delete", "{'account':'b@isp.example'}", "changed"),
			 3);
	int three = 3;
	assert_true(kit_until(&k, kit_queued_is, &three, 1000));
	assert_int_equal(kit_number(&k, "queue.bounce", "{'account':'a@isp.example'}", "changed"),
			 3);
	reopen();
	/* Three notices to the senders. */
	assert_int_equal(stat_of("queued"), 3);
	json_t *r = kit_ask(&k, "queue.list", "{}", NULL);
	size_t i;
	const json_t *row;
	json_array_foreach (json_object_get(r, "messages"), i, row) {
		assert_string_equal(json_string_value(json_object_get(row, "mail_from")), "");
		assert_string_equal(json_string_value(json_object_get(row, "account")), "");
	}
	json_decref(r);
}

/* Goes through a selection piece by piece; the sum of member. */
static json_int_t walk(const char *op, const char *args, const char *member, int *requests)
{
	char text[300] = "";
	json_int_t sum = 0;

	for (*requests = 1;; ++*requests) {
		char all[400];
		snprintf(all, sizeof(all), "{%s%s%s}", args, args[0] && text[0] ? "," : "", text);
		json_t *r = kit_ask(&k, op, all, NULL), *v;
		size_t i;
		if (json_is_array(json_object_get(r, member))) {
			json_array_foreach (json_object_get(r, member), i, v)
				sum += json_object_get(v, "total")
					   ? json_integer_value(json_object_get(v, "total"))
					   : 1;
		} else {
			sum += json_integer_value(json_object_get(r, member));
		}
		const char *next = json_string_value(json_object_get(r, "next"));
		snprintf(text, sizeof(text), "'after':'%s'", next ? next : "");
		json_decref(r);
		if (!next)
			return sum;
	}
}

/* However many there are, a request takes a piece, and the pieces are the whole. */
static void pieces(void **state)
{
	int n;

	(void)state;
	k.cfg.max_held_per_account = 100000;
	kit_open(&k);
	for (int i = 0; i < 20500; i++) {
		char id[QUEUE_ID_LEN + 1];
		kit_put(&k,
			&(struct kit_msg){.hold = i % 2,
					  .rcpts = {i % 4 ? "a@x.example" : "b@y.example"}},
			id);
		if (i % 500 == 0)
			assert_true(kit_until(&k, kit_idle, NULL, 20000));
	}
	assert_true(kit_until(&k, kit_idle, NULL, 20000));
	assert_int_equal(walk("queue.list", "'limit':1000", "messages", &n), 20500);
	assert_int_equal(n, 21);
	assert_int_equal(walk("queue.grid", "", "rows", &n), 20500);
	assert_int_equal(n, 2);
	assert_int_equal(walk("queue.grid", "'domain':'y.example'", "rows", &n), 5125);
	assert_int_equal(walk("queue.hold", "'domain':'y.example','dry_run':true", "matched", &n),
			 5125);
	assert_int_equal(walk("queue.hold", "'domain':'y.example'", "changed", &n), 5125);
	assert_int_equal(
	    walk("queue.list", "'limit':1000,'reason':'BY THE OPERATOR'", "messages", &n), 5125);
	assert_int_equal(walk("queue.delete", "'all':true", "changed", &n), 20500);
	const int none = 0;
	assert_true(kit_until(&k, kit_queued_is, &none, 20000));
}

static void choosing(void **state)
{
	(void)state;
	kit_open(&k);
	kit_send(&k,
		 &(struct kit_msg){.account = "a@isp.example",
				   .rcpts = {"a@x.example", "b@x.example", "c@y.example"}},
		 NULL);
	kit_send(&k, &(struct kit_msg){.account = "b@isp.example", .rcpts = {"a@Example.ORG"}},
		 NULL);
	int n;
	assert_int_equal(walk("queue.list", "'older_ms':3600000", "messages", &n), 0);
	assert_int_equal(walk("queue.list", "'younger_ms':3600000", "messages", &n), 2);
	assert_int_equal(walk("queue.list", "'domain':'example.org'", "messages", &n), 1);
	assert_int_equal(walk("queue.list", "'domain':'y.example'", "messages", &n), 1);
	assert_int_equal(walk("queue.list", "'domain':'example'", "messages", &n), 0);
	assert_int_equal(walk("queue.list", "'reason':'spam'", "messages", &n), 0);
	queue_hold_account(k.q, "a@isp.example", "too much spam");
	assert_int_equal(walk("queue.list", "'reason':'Spam'", "messages", &n), 1);
	char fast[] = "fast", slow[] = "slow", no[] = "";
#define NAMED(n)                                                                                   \
	{                                                                                          \
		.name = (n), .auth_user = no, .tls_name = no, .tls_ca = no,                        \
		.auth_password_file = no                                                           \
	}
	const struct route dflt = NAMED(no), routes[] = {NAMED(fast), NAMED(slow)};
	struct route_table *table = route_table_new(NULL, &dflt, routes, 2);
	queue_set_routes(k.q, table);
	bool known = true;
	json_t *r =
	    kit_ask(&k, "queue.move", "{'account':'b@isp.example','route':'slower'}", &known);
	assert_false(known);
	assert_string_equal(json_string_value(r),
			    "there is no route slower; routes of the configuration: fast, slow");
	json_decref(r);
	assert_int_equal(
	    walk("queue.move", "'account':'b@isp.example','route':'slow'", "changed", &n), 1);
	reopen();
	talloc_free(table);
	r = kit_ask(&k, "queue.list", "{'account':'b@isp.example'}", NULL);
	const json_t *row = json_array_get(json_object_get(r, "messages"), 0);
	assert_string_equal(json_string_value(json_object_get(row, "route")), "slow");
	json_decref(r);
	bool ok = true;
	r = kit_ask(&k, "queue.move", "{'all':true}", &ok);
	assert_false(ok);
	json_decref(r);
	r = kit_ask(&k, "queue.move", "{'all':true,'route':'a b'}", &ok);
	assert_false(ok);
	json_decref(r);
}

/* What an account's hold kept leaves in the order in which it came. */
static void release_keeps_order(void **state)
{
	char id[QUEUE_ID_LEN + 1], last[QUEUE_ID_LEN + 1] = "";

	(void)state;
	kit_open(&k);
	queue_hold_account(k.q, "a@isp.example", "burst");
	for (int i = 0; i < 50; i++)
		kit_put(&k, &(struct kit_msg){.account = "a@isp.example"}, id);
	assert_true(kit_until(&k, kit_idle, NULL, 5000));
	assert_null(index_due(k.q->ix, INT64_MAX));
	reopen();
	queue_release_account(k.q, "a@isp.example");
	for (int i = 0; i < 50; i++) {
		struct msg *m = index_due(k.q->ix, INT64_MAX);
		assert_non_null(m);
		assert_true(strcmp(m->id, last) > 0);
		memcpy(last, m->id, sizeof(last));
		index_set_state(k.q->ix, m, MSG_ACTIVE);
	}
	assert_null(index_due(k.q->ix, INT64_MAX));
}

/* A message that stays must not keep the room of those that have left. */
static int segments(void)
{
	char name[300];
	int n = 0;

	snprintf(name, sizeof(name), "%s/msa/spool", k.dir);
	DIR *d = opendir(name);
	for (const struct dirent *e; d && (e = readdir(d));)
		n += strstr(e->d_name, ".seg") != NULL;
	if (d)
		closedir(d);
	return n;
}

static bool has_few_segments(struct kit *kit, const void *arg)
{
	(void)kit;
	(void)arg;
	return segments() <= 4;
}

static void stragglers_are_moved(void **state)
{
	char id[6][QUEUE_ID_LEN + 1], args[200];

	(void)state;
	k.cfg.max_bytes = (int64_t)1 << 32;
	kit_open(&k);
	for (int i = 0; i < 6; i++) {
		kit_send(&k, &(struct kit_msg){.hold = true}, id[i]);
		for (int n = 0; n < 34; n++)
			kit_send(&k,
				 &(struct kit_msg){
				     .account = "b@isp.example", .pad = 1000000, .hold = true},
				 NULL);
	}
	json_decref(kit_ask(&k, "queue.delete", "{'account':'b@isp.example'}", NULL));
	assert_true(segments() >= 6);
	k.q->housekept_mono_ms = 0;
	for (int i = 0; i < 20 && !kit_until(&k, has_few_segments, NULL, 1500); i++) {
		k.q->housekept_mono_ms = 0;
		queue_kick(k.q);
	}
	assert_true(has_few_segments(&k, NULL));
	reopen();
	assert_int_equal(stat_of("queued"), 6);
	for (int i = 0; i < 6; i++) {
		snprintf(args, sizeof(args), "{'id':'%s'}", id[i]);
		json_t *r = kit_ask(&k, "queue.show", args, NULL);
		assert_non_null(strstr(json_string_value(json_object_get(r, "headers")), id[i]));
		json_decref(r);
	}
}

/* --- crashes ------------------------------------------------------------------------------- */

struct shared {
	volatile int acked;
	volatile int asked, answered; /* of fill() */
	volatile enum queue_result last;
	char ids[5000][QUEUE_ID_LEN + 1];
	volatile char ok[5000];
};

struct put {
	struct shared *s;
	int i;
};

static void acked(enum queue_result r, void *arg)
{
	struct put *p = arg;
	p->s->answered++;
	p->s->last = r;
	if (r == QUEUE_OK) {
		p->s->ok[p->i] = 1;
		p->s->acked++;
	}
}

static void put_one(struct shared *s, struct put *puts, int i, size_t len)
{
	static char data[100000];
	struct queue_rcpt rcpt = {.address = "a@example.net"};
	struct event e = {.kind = EVENT_MESSAGE, .t_ms = 1};
	struct queue_msg m = {.account = "a@isp.example",
			      .mail_from = "a@isp.example",
			      .mail_from_out = "a@isp.example",
			      .rcpts = &rcpt,
			      .n_rcpts = 1,
			      .received_ms = clock_utc_ms(),
			      .data = (const uint8_t *)data,
			      .len = len,
			      .event = &e};
	queue_new_id(k.q, clock_utc_ms(), m.id);
	memcpy(s->ids[i], m.id, sizeof(m.id));
	memset(data, 'x', sizeof(data));
	snprintf(data, sizeof(data), "X-Test-Id: %s\r\n\r\n", m.id);
	puts[i] = (struct put){s, i};
	queue_submit(k.q, &m, false, acked, &puts[i]);
	event_base_loop(k.base, EVLOOP_NONBLOCK);
}

static void victim(struct shared *s, int from)
{
	static struct put puts[5000];
	kit_open(&k);
	for (int i = from; i < from + 500; i++)
		put_one(s, puts, i, 500 + (size_t)(i % 50) * 1000);
	event_base_dispatch(k.base);
	_exit(0);
}

static void check_acknowledged(const struct shared *s)
{
	char args[64];
	for (int i = 0; i < 5000; i++) {
		if (!s->ok[i])
			continue;
		snprintf(args, sizeof(args), "{'id':'%s'}", s->ids[i]);
		json_t *r = kit_ask(&k, "queue.show", args, NULL);
		assert_non_null(
		    strstr(json_string_value(json_object_get(r, "headers")), s->ids[i]));
		json_decref(r);
	}
}

/* kill -9 in the middle of commits: what was answered with OK is there, and each stored message has
 * its event. */
static void killed_while_committing(void **state)
{
	struct shared *s =
	    mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(s != MAP_FAILED);
	for (int round = 0; round < 10; round++) {
		int target = s->acked + 1 + round * round * 5;
		pid_t pid = fork();
		if (pid == 0) {
			k.refuse = true;
			victim(s, round * 500);
		}
		for (int64_t end = clock_mono_ms() + 20000;
		     s->acked < target && clock_mono_ms() < end;)
			;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	kit_open(&k);
	check_acknowledged(s);
	uint32_t queued = (uint32_t)stat_of("queued");
	assert_true(queued >= (uint32_t)s->acked && s->acked >= 10);
	assert_true(kit_until(&k, events_are, &queued, 5000));
	print_message("%d acknowledged, %u stored\n", s->acked, queued);
	munmap(s, sizeof(*s));
}

static bool answered(struct kit *kit, const void *arg)
{
	const struct shared *s = arg;
	(void)kit;
	return s->answered >= s->asked;
}

/* n more messages; returns when each is answered. */
static void fill(struct shared *s, struct put *puts, int *i, int n)
{
	for (int end = *i + n; *i < end; (*i)++) {
		s->asked++;
		put_one(s, puts, *i, 50000);
	}
	assert_true(kit_until(&k, answered, s, 10000));
}

/* A batch fails as a whole and may leave room for a few more: one at a time until there is none. */
static void fill_up(struct shared *s, struct put *puts, int *i)
{
	for (int had = -1; s->acked > had && *i < 400;) {
		had = s->acked;
		fill(s, puts, i, 1);
	}
}

static bool all_answered(struct kit *kit, const void *arg)
{
	(void)arg;
	(void)kit;
	return writer_sync(k.q->writer, 1);
}

/* In a child, so that the limit is its own: the segment that is being written may not grow beyond
 * 3 MB. */
static int with_file_limit(struct shared *s)
{
	static struct put puts[5000];
	struct rlimit lim = {3 << 20, RLIM_INFINITY};
	char args[100];
	int i = 0;

	signal(SIGXFSZ, SIG_IGN);
	kit_open(&k);
	if (setrlimit(RLIMIT_FSIZE, &lim) != 0)
		return 1;
	fill(s, puts, &i, 200);
	fill_up(s, puts, &i);
	if (s->last != QUEUE_FULL)
		return 2;
	if (queue_may_accept(k.q, "a@isp.example", 100) != QUEUE_OK ||
	    queue_may_accept(k.q, "a@isp.example", 100) != QUEUE_FULL)
		return 3; /* one probe a second */
	int before = s->acked;
	if (before < 5 || before > 190)
		return 4;
	/* A hold cannot be stored now; it holds all the same, and is stored when there is room. */
	queue_hold_account(k.q, "a@isp.example", "burst while the disk is full");
	if (stat_of("held") != before)
		return 5;
	/* More of that kind than one commit takes: who comes after them has an answer. */
	lim.rlim_cur = 4096;
	if (setrlimit(RLIMIT_FSIZE, &lim) != 0)
		return 10;
	for (int n = 0; n < 2500; n++) {
		snprintf(args, sizeof(args), "u%d@isp.example", n);
		queue_hold_account(k.q, args, "burst while the disk is full");
	}
	for (int n = 0; n < 3; n++)
		if (kit_send(&k, &(struct kit_msg){.pad = 100}, NULL) != QUEUE_FULL)
			return 11;
	snprintf(args, sizeof(args), "{'all':true}");
	bool ok = true;
	json_t *r = kit_ask(&k, "queue.hold", args, &ok);
	if (!ok && !strstr(json_string_value(r), "disk full"))
		return 6;
	json_decref(r);
	lim.rlim_cur = RLIM_INFINITY;
	if (setrlimit(RLIMIT_FSIZE, &lim) != 0)
		return 7;
	if (!kit_until(&k, all_answered, NULL, 5000))
		return 8;
	if (kit_send(&k, &(struct kit_msg){.pad = 60000}, NULL) != QUEUE_OK)
		return 9;
	kit_close(&k);
	return 0;
}

static int in_child(int (*fn)(struct shared *s), struct shared *s)
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0)
		_exit(fn(s));
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void file_size_limit(void **state)
{
	struct shared *s =
	    mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_int_equal(in_child(with_file_limit, s), 0);
	kit_open(&k);
	check_acknowledged(s);
	assert_int_equal(stat_of("queued"), s->acked + 1);
	assert_int_equal(stat_of("held"), s->acked);
	munmap(s, sizeof(*s));
}

/* How many more it takes: a refusal empties the WAL, and that may make room for a few. */
static int send_until_full(void)
{
	for (int n = 0; n < 200; n++)
		if (kit_send(&k, &(struct kit_msg){.pad = 60000}, NULL) == QUEUE_FULL)
			return n;
	return 1000;
}

static bool takes_mail(struct kit *kit, const void *arg)
{
	(void)arg;
	return kit_send(kit, &(struct kit_msg){.pad = 60000}, NULL) == QUEUE_OK;
}

/* A disk of 4 MB, in a mount namespace of its own. 77: not allowed here. */
static int with_full_disk(struct shared *s)
{
	static struct put puts[5000];
	char junk[4096] = {0}, path[100];
	int i = 0, fd;

	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", k.dir, "tmpfs", 0, "size=4m") != 0)
		return 77;
	kit_open(&k);
	fill(s, puts, &i, 150);
	int before = s->acked + send_until_full();
	if (before < 5 || before > 140)
		return 4;
	/* Somebody else takes the rest, and gives it back. */
	snprintf(path, sizeof(path), "%s/junk", k.dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	while (write(fd, junk, sizeof(junk)) > 0)
		;
	before += send_until_full();
	if (queue_may_accept(k.q, "a@isp.example", 100) != QUEUE_FULL)
		return 6;
	close(fd);
	unlink(path);
	/* After a crash in this state everything acknowledged is there. */
	kit_close(&k);
	kit_open(&k);
	if (stat_of("queued") != before)
		return 7;
	check_acknowledged(s);
	/* With the disk as good as full, mail still leaves: deletes need no more room than there
	 * is. */
	bool ok = true;
	json_t *r = kit_ask(&k, "queue.delete", "{'all':true}", &ok);
	if (!ok && !strstr(json_string_value(r), "it is tried again"))
		return 10;
	json_decref(r);
	const int none = 0;
	if (!kit_until(&k, kit_queued_is, &none, 5000))
		return 8;
	/* New mail, as soon as the reserve is kept again. */
	if (!kit_until(&k, takes_mail, NULL, 5000))
		return 9;
	kit_close(&k);
	return 0;
}

static void disk_full(void **state)
{
	struct shared *s =
	    mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rc = in_child(with_full_disk, s);

	(void)state;
	munmap(s, sizeof(*s));
	if (rc == 77) {
		print_message("no mount namespace here: skipped\n");
		skip();
	}
	assert_int_equal(rc, 0);
}

/* Octets of the spool's files. */
static off_t all_bytes;

static int add_size(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)f;
	if (type == FTW_F && !strstr(path, "reserve"))
		all_bytes += st->st_size;
	return 0;
}

static off_t spool_bytes(void)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/msa/spool", k.dir);
	all_bytes = 0;
	assert_int_equal(nftw(path, add_size, 16, FTW_PHYS), 0);
	return all_bytes;
}

static bool is_short(struct kit *kit, const void *arg)
{
	(void)kit;
	(void)arg;
	return spool_bytes() < 34 << 20;
}

/* A backlog that has gone does not keep its disk: what is free there decides about new mail. */
static void gives_disk_back(void **state)
{
	(void)state;
	kit_open(&k);
	for (int i = 0; i < 100; i++)
		assert_int_equal(
		    kit_send(&k, &(struct kit_msg){.pad = 1000000, .hold = true}, NULL), QUEUE_OK);
	assert_true(spool_bytes() > 90 << 20);
	json_decref(kit_ask(&k, "queue.delete", "{'all':true}", NULL));
	const int none = 0;
	assert_true(kit_until(&k, kit_queued_is, &none, 10000));
	assert_true(kit_until(&k, is_short, NULL, 10000));
	assert_int_equal(kit_send(&k, &(struct kit_msg){.pad = 1000}, NULL), QUEUE_OK);
}

/* Where what was written ends, and the zeros ahead of it begin. */
static long written(const char *path)
{
	FILE *f = fopen(path, "r");
	long end = 0;

	assert_non_null(f);
	for (int c; (c = getc(f)) != EOF;)
		if (c)
			end = ftell(f);
	fclose(f);
	return end;
}

/* The tail torn off, as by a machine that lost power in the middle of a write that nobody was told
 * of. */
static void torn_tail(void **state)
{
	char path[300];

	(void)state;
	kit_open(&k);
	for (int i = 0; i < 10; i++)
		kit_send(&k, &(struct kit_msg){.hold = true}, NULL);
	snprintf(path, sizeof(path), "cp -a %s/msa %s/copy", k.dir, k.dir);
	assert_int_equal(system(path), 0);
	kit_close(&k);
	snprintf(path, sizeof(path), "rm -r %s/msa && mv %s/copy %s/msa", k.dir, k.dir, k.dir);
	assert_int_equal(system(path), 0);
	snprintf(path, sizeof(path), "%s/msa/spool/00000001.seg", k.dir);
	assert_int_equal(truncate(path, written(path) - 100), 0);
	kit_open(&k);
	json_int_t n = stat_of("queued");
	assert_true(n >= 8 && n < 10);
}

int main(void)
{
	log_open("test", getenv("KIT_LOG") ? LOG_DEBUG : LOG_ALERT);
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(survives_a_restart),
	    T(ids_rise),
	    T(holds_come_and_go),
	    T(hold_meets_submit),
	    T(outbox_is_offered_until_acknowledged),
	    T(bounds),
	    T(requests_that_make_no_sense),
	    T(selections),
	    T(changes),
	    T(pieces),
	    T(choosing),
	    T(release_keeps_order),
	    T(stragglers_are_moved),
	    T(killed_while_committing),
	    T(file_size_limit),
	    T(disk_full),
	    T(gives_disk_back),
	    T(torn_tail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
