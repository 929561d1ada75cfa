/*
 * radius_server: packets on a real socket, a store, and an nfqd that says when it is ready: what is
 * answered when, and that an exemption is gone from the kernel before its line is somebody else's.
 */
#include "kit.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

#include "lib/clock.h"
#include "accounting/feed.h"
#include "accounting/radius_auth.h"
#include "accounting/radius_server.h"

#define SECRET "testing123-0123456789"

static struct event_base *base;
static struct store *s;
static struct feed_server *fs;
static struct radius_server *rs;
static struct feed *nfqd;
static uint64_t told; /* the last version nfqd was told, and not yet said to have */
static bool gone;     /* it was told to forget an exemption */
static int sock;
static uint16_t port;
static char secret_file[128];

static void on_idle(evutil_socket_t none, short what, void *arg)
{
	(void)none, (void)what, (void)arg;
}

static void turn(void)
{
	struct timeval tv = {.tv_usec = 5000};
	event_base_once(base, -1, EV_TIMEOUT, on_idle, NULL, &tv);
	event_base_loop(base, EVLOOP_ONCE);
}

#define UNTIL(cond)                                                                                \
	do {                                                                                       \
		int64_t end_ms = clock_mono_ms() + 8000;                                           \
		while (!(cond)) {                                                                  \
			if (clock_mono_ms() > end_ms)                                              \
				fail_msg("not in 8 s: %s", #cond);                                 \
			turn();                                                                    \
		}                                                                                  \
	} while (0)

static void on_applied(const char *program, uint64_t version, void *arg)
{
	(void)arg;
	radius_server_applied(rs, program, version);
}

static void write_secret(void)
{
	snprintf(secret_file, sizeof secret_file, "%s/secret", kit_dir);
	FILE *f = fopen(secret_file, "w");
	fprintf(f, "%s\n", SECRET);
	fclose(f);
	chmod(secret_file, 0600);
}

/* A free port of this machine. */
static void pick_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	getsockname(fd, (struct sockaddr *)&a, &len);
	port = ntohs(a.sin_port);
	close(fd);
}

static struct radius_rules rules(char *listen, size_t n, char *row, size_t m)
{
	static char *items[2];
	snprintf(listen, n, "127.0.0.1:%u", port);
	snprintf(row, m, "127.0.0.1 %s", secret_file);
	items[0] = listen;
	items[1] = row;
	return (struct radius_rules){.listen = {&items[0], 1}, .clients = {&items[1], 1}};
}

static int set_up(void **state)
{
	static char listen[64], row[256];
	char *err = NULL;
	(void)state;
	kit_folder();
	write_secret();
	pick_port();
	base = event_base_new();
	s = kit_store();
	fs = feed_server_new(base, kit_dir, s, on_applied, NULL, &err);
	struct radius_rules r = rules(listen, sizeof listen, row, sizeof row);
	rs = radius_server_new(base, &r, s, fs, &err);
	if (!fs || !rs)
		fail_msg("%s", err);
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(sock, (struct sockaddr *)&a, sizeof a), 0);
	told = 0;
	gone = false;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	feed_free(nfqd);
	nfqd = NULL;
	radius_server_free(rs);
	feed_server_free(fs);
	store_close(s);
	event_base_free(base);
	close(sock);
	kit_remove();
	return 0;
}

/* --- packets --- */

static size_t attr(uint8_t *p, size_t at, uint8_t type, const void *v, size_t n)
{
	p[at] = type;
	p[at + 1] = (uint8_t)(n + 2);
	memcpy(p + at + 2, v, n);
	return at + n + 2;
}

static size_t packet(uint8_t *p, uint8_t id, uint8_t status, const char *session, const char *user,
		     const char *address)
{
	const uint8_t kind[4] = {0, 0, 0, status}, nas[4] = {10, 0, 0, 1}, zero[16] = {0};
	struct addr a = kit_addr(address);
	size_t n = attr(p, RADIUS_HEADER, 40, kind, 4);
	n = attr(p, n, 44, session, strlen(session));
	n = attr(p, n, 1, user, strlen(user));
	n = attr(p, n, 4, nas, 4);
	n = attr(p, n, 8, addr_v4(&a), 4);
	p[0] = RADIUS_ACCOUNTING_REQUEST;
	p[1] = id;
	p[2] = (uint8_t)(n >> 8);
	p[3] = (uint8_t)n;
	radius_sign(p, n, 0, zero, SECRET, strlen(SECRET)); /* made as an answer to zeros is */
	return n;
}

static void tell(uint8_t id, uint8_t status, const char *session, const char *user,
		 const char *address)
{
	uint8_t p[512];
	size_t n = packet(p, id, status, session, user, address);
	assert_int_equal(send(sock, p, n, 0), n);
}

static int answers; /* so far */
static uint8_t answered_id;

static bool answer_came(void)
{
	uint8_t p[512];
	ssize_t n = recv(sock, p, sizeof p, MSG_DONTWAIT);
	if (n < 0)
		return false;
	assert_int_equal(n, 20);
	assert_int_equal(p[0], RADIUS_ACCOUNTING_RESPONSE);
	answered_id = p[1];
	answers++;
	return true;
}

static void quiet(int64_t ms)
{
	for (int64_t end = clock_mono_ms() + ms; clock_mono_ms() < end; turn())
		assert_false(answer_came());
}

static int64_t counted(const char *what)
{
	json_t *o = radius_server_status(rs);
	int64_t n = json_integer_value(json_object_get(o, what));
	json_decref(o);
	return n;
}

static int64_t holder(const char *address)
{
	int64_t ids[4];
	struct addr a = kit_addr(address);
	int n = store_lease_holders(s, &a, -1, clock_utc_ms() + 1000, ids, 4);
	return n == 1 ? ids[0] : -n;
}

/* --- nfqd --- */

static void nfqd_end(uint64_t version, void *arg)
{
	(void)arg;
	feed_applied(nfqd, version);
}

static void nfqd_change(uint64_t version, enum policy_op op, const struct policy_entry *e,
			void *arg)
{
	(void)e, (void)arg;
	told = version;
	gone |= op == POLICY_DELETE;
}

static void start_nfqd(void)
{
	static const struct feed_handlers h = {.policy_end = nfqd_end,
					       .policy_change = nfqd_change};
	nfqd = feed_new(base, kit_dir, "nfqd", "1", NULL, &h, NULL);
	UNTIL(feed_server_connected(fs, "nfqd"));
}

static void exempt(const char *prefix, const char *ref)
{
	struct store_exemption e = {.prefix = kit_prefix(prefix), .class = "full", .actor = "test"};
	store_begin(s);
	e.subscriber = store_subscriber(s, ref);
	e.starts_ms = T0;
	store_exemption_add(s, &e, T0);
	kit_commit(s);
}

/* --- tests --- */

static void test_answered_after_commit(void **state)
{
	(void)state;
	tell(1, 1, "a", "A", "192.0.2.1");
	UNTIL(answer_came());
	assert_int_equal(answered_id, 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM lease WHERE to_ms IS NULL"), 1);
	assert_int_equal(holder("192.0.2.1"), store_subscriber(s, "A"));
}

/* Unchanged once more: the same answer, and nothing new; while it waits, no second answer. */
static void test_again(void **state)
{
	int64_t before = counted("duplicate");
	(void)state;
	answers = 0;
	tell(1, 1, "a", "A", "192.0.2.1");
	tell(1, 1, "a", "A", "192.0.2.1");
	UNTIL(answer_came());
	quiet(50);
	tell(1, 1, "a", "A", "192.0.2.1");
	UNTIL(answer_came());
	assert_int_equal(answers, 2);
	assert_int_equal(counted("duplicate") - before, 2);
	assert_int_equal(kit_sql("SELECT count(*) FROM radius_session"), 1);
}

static void test_many(void **state)
{
	char session[16], address[32];
	(void)state;
	answers = 0;
	for (int i = 0; i < 250; i++) {
		snprintf(session, sizeof session, "s%d", i);
		snprintf(address, sizeof address, "192.0.2.%d", i + 1);
		tell((uint8_t)i, 1, session, "A", address);
		turn();
		while (answer_came())
			;
	}
	UNTIL(answer_came() ? answers == 250 : answers == 250);
	assert_int_equal(kit_sql("SELECT count(*) FROM lease"), 250);
}

/* First the exemption leaves the kernel; the lease and the answer come after nfqd has said so. */
static void test_exemption_goes_first(void **state)
{
	int64_t before = counted("unconfirmed");
	(void)state;
	start_nfqd();
	tell(1, 1, "a", "A", "192.0.2.1");
	UNTIL(answer_came());
	exempt("192.0.2.1", "A");
	UNTIL(told != 0);
	feed_applied(nfqd, told);
	gone = false;
	tell(2, 1, "b", "B", "192.0.2.1");
	UNTIL(gone);
	quiet(100); /* the kernel has it still: nobody hears of the new owner */
	assert_int_equal(holder("192.0.2.1"), store_subscriber(s, "A"));
	assert_int_equal(kit_sql("SELECT count(*) FROM radius_session WHERE session = 'b'"), 0);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'revoked'"), 1);
	tell(3, 1, "c", "C", "192.0.2.9"); /* others do not wait for it */
	UNTIL(answer_came());
	assert_int_equal(answered_id, 3);
	feed_applied(nfqd, told);
	UNTIL(answer_came());
	assert_int_equal(answered_id, 2);
	assert_int_equal(holder("192.0.2.1"), store_subscriber(s, "B"));
	assert_int_equal(counted("unconfirmed") - before, 0);
}

/* An nfqd that says nothing does not keep the truth back for ever. */
static void test_unconfirmed(void **state)
{
	int64_t before = counted("unconfirmed");
	(void)state;
	start_nfqd();
	tell(1, 1, "a", "A", "192.0.2.1");
	UNTIL(answer_came());
	exempt("192.0.2.1", "A");
	tell(2, 1, "b", "B", "192.0.2.1");
	quiet(300);
	UNTIL(answer_came());
	assert_int_equal(counted("unconfirmed") - before, 1);
	assert_int_equal(holder("192.0.2.1"), store_subscriber(s, "B"));
}

/* What could not be stored is not answered, and is taken when it comes again. */
static void test_not_stored(void **state)
{
	int64_t before = counted("not-stored");
	(void)state;
	assert_true(sql_script(s->db, "CREATE TRIGGER full BEFORE INSERT ON radius_session BEGIN "
				      "SELECT raise(ABORT, 'no room'); END"));
	tell(1, 1, "a", "A", "192.0.2.1");
	UNTIL(counted("not-stored") - before == 1);
	quiet(50);
	assert_true(sql_script(s->db, "DROP TRIGGER full"));
	tell(1, 1, "a", "A", "192.0.2.1");
	UNTIL(answer_came());
	assert_int_equal(holder("192.0.2.1"), store_subscriber(s, "A"));
}

static void test_rules(void **state)
{
	static char listen[64], row[256];
	struct radius_rules r = rules(listen, sizeof listen, row, sizeof row);
	char *err = NULL;
	(void)state;
	assert_true(radius_rules_check(&r, &err));
	chmod(secret_file, 0644);
	assert_false(radius_rules_check(&r, &err));
	assert_non_null(strstr(err, "chmod o="));
	free(err);
	snprintf(row, sizeof row, "127.0.0.1/8 %s", secret_file);
	assert_false(radius_server_reload(rs, &r, &err));
	assert_non_null(strstr(err, "127.0.0.0/8"));
	free(err);
	snprintf(row, sizeof row, "127.0.0.1");
	assert_false(radius_rules_check(&r, &err));
	assert_non_null(strstr(err, "/path/to/secret"));
	free(err);
	r.clients.n = 0;
	assert_false(radius_rules_check(&r, &err));
	assert_non_null(strstr(err, "radius_clients"));
	free(err);
	tell(1, 1, "a", "A", "192.0.2.1"); /* what was refused changed nothing */
	UNTIL(answer_came());
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_answered_after_commit),
	    T(test_again),
	    T(test_many),
	    T(test_exemption_goes_first),
	    T(test_unconfirmed),
	    T(test_not_stored),
	    T(test_rules),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
