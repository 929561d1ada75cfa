/*
 * store_radius: what each kind of packet does to leases and exemptions; then packets in random
 * order, lost and doubled, against a slow model that looks at all of them each time.
 */
#include "kit.h"

#include "accounting/store_radius.h"

static struct store *s;

static int set_up(void **state)
{
	(void)state;
	kit_folder();
	s = kit_store();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (s->open) /* a random round failed */
		store_rollback(s);
	store_close(s);
	kit_remove();
	return 0;
}

/* --- by example --- */

struct say {
	const char *nas, *session, *who, *line;
	int status;
	int64_t t;     /* seconds after T0 */
	int64_t began; /* before t, seconds */
	int lo, hi;    /* 0, 0: all ports */
	const char *port;
	bool back, confirmed, exclusive;
};

static enum store_radius_result say(struct say x)
{
	struct radius_line l = {
	    .port_lo = (uint16_t)x.lo, .port_hi = x.hi ? (uint16_t)x.hi : 65535, .gone = x.back};
	if (x.line) {
		l.prefix = kit_prefix(x.line);
		l.framed = addr_is4(&l.prefix.a) && !x.hi;
	}
	struct store_radius e = {
	    .news = {x.status, T0 + x.t * 1000, T0 + (x.t - x.began) * 1000, T0 + x.t * 1000},
	    .nas = x.nas ? x.nas : "nas",
	    .session = x.session,
	    .port = x.port ? x.port : "",
	    .calling = "",
	    .subscriber = x.who,
	    .lines = &l,
	    .n_lines = x.line ? 1 : 0,
	    .confirmed = x.confirmed,
	    .port_exclusive = x.exclusive};
	store_begin(s);
	enum store_radius_result got = store_radius_event(s, &e);
	kit_commit(s);
	return got;
}

#define START(...)   say((struct say){.status = RADIUS_START, __VA_ARGS__})
#define INTERIM(...) say((struct say){.status = RADIUS_INTERIM, __VA_ARGS__})
#define STOP(...)    say((struct say){.status = RADIUS_STOP, __VA_ARGS__})

/* Who has an address at a second: a ref, "" nobody, "?" several. */
static const char *holder(const char *address, int port, int64_t t)
{
	static char ref[32];
	struct addr a = kit_addr(address);
	int64_t ids[4];
	int n = store_lease_holders(s, &a, port, T0 + t * 1000, ids, 4);
	if (n != 1)
		return n ? "?" : "";
	char sql[64];
	for (char c = 'A'; c <= 'Z'; c++) {
		snprintf(ref, sizeof ref, "%c", c);
		if (store_subscriber(s, ref) == ids[0])
			return ref;
	}
	snprintf(sql, sizeof sql, "%lld", (long long)ids[0]);
	fail_msg("unknown subscriber %s", sql);
	return "";
}

#define HAS(who, address, port, t) assert_string_equal(holder(address, port, t), who)

static void test_one_session(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100);
	INTERIM(.session = "1", .who = "A", .line = "192.0.2.1", .t = 400, .began = 300);
	HAS("", "192.0.2.1", -1, 99);
	HAS("A", "192.0.2.1", -1, 100);
	HAS("A", "192.0.2.1", -1, 5000);
	STOP(.session = "1", .who = "A", .t = 600); /* it need not name the address */
	HAS("A", "192.0.2.1", -1, 599);
	HAS("", "192.0.2.1", -1, 600);
	assert_int_equal(kit_sql("SELECT count(*) FROM lease"), 1);
	assert_int_equal(store_radius_open(s), 0);
}

/* The Start was lost: the Interim says since when. The Interim was lost, too: the Stop does. */
static void test_lost_start(void **state)
{
	(void)state;
	INTERIM(.session = "1", .who = "A", .line = "192.0.2.1", .t = 400, .began = 300);
	HAS("A", "192.0.2.1", -1, 100);
	STOP(.session = "2", .who = "B", .line = "192.0.2.2", .t = 400, .began = 300);
	HAS("B", "192.0.2.2", -1, 100);
	HAS("", "192.0.2.2", -1, 400);
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 102); /* late: to the second */
	HAS("", "192.0.2.1", -1, 101);
	assert_int_equal(kit_sql("SELECT count(*) FROM lease"), 2);
}

static void test_lost_stop(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100);
	START(.session = "2", .who = "B", .line = "192.0.2.1", .t = 500);
	HAS("A", "192.0.2.1", -1, 499);
	HAS("B", "192.0.2.1", -1, 500);
	/* Whatever the old session still says changes nothing for the new one. */
	INTERIM(.session = "1", .who = "A", .line = "192.0.2.1", .t = 600, .began = 500);
	HAS("B", "192.0.2.1", -1, 700);
	STOP(.session = "1", .who = "A", .line = "192.0.2.1", .t = 800, .began = 700);
	HAS("B", "192.0.2.1", -1, 900);
	HAS("A", "192.0.2.1", -1, 499);
	assert_int_equal(kit_sql("SELECT count(*) FROM lease WHERE to_ms IS NULL"), 1);
}

/* A Stop with another session id, or of another NAS, is not this session's. */
static void test_foreign_stop(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100);
	STOP(.session = "0", .who = "A", .line = "192.0.2.1", .t = 200, .began = 150);
	STOP(.nas = "other", .session = "1", .who = "A", .t = 200);
	HAS("A", "192.0.2.1", -1, 300);
}

static void test_session_id_again(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100);
	STOP(.session = "1", .who = "A", .line = "192.0.2.1", .t = 200);
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 300);
	HAS("", "192.0.2.1", -1, 250);
	HAS("A", "192.0.2.1", -1, 300);
	STOP(.session = "1", .who = "A", .line = "192.0.2.1",
	     .t = 202); /* once more, of the first */
	HAS("A", "192.0.2.1", -1, 400);
	START(.session = "1", .who = "B", .line = "192.0.2.1", .t = 500); /* somebody else has it */
	HAS("A", "192.0.2.1", -1, 499);
	HAS("B", "192.0.2.1", -1, 500);
	assert_int_equal(STOP(.session = "1", .who = "A", .line = "192.0.2.1", .t = 203),
			 STORE_RADIUS_LATE);
}

static void test_port_blocks(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.9", .t = 100, .lo = 1024, .hi = 2047);
	START(.session = "2", .who = "B", .line = "192.0.2.9", .t = 110, .lo = 2048, .hi = 3071);
	HAS("A", "192.0.2.9", 1024, 200);
	HAS("B", "192.0.2.9", 2048, 200);
	HAS("", "192.0.2.9", 1023, 200);
	HAS("?", "192.0.2.9", -1, 200);
	INTERIM(.session = "1", .who = "A", .line = "192.0.2.9", .t = 300, .lo = 1024, .hi = 2047,
		.back = true);
	HAS("A", "192.0.2.9", 1500, 299);
	HAS("", "192.0.2.9", 1500, 300);
	HAS("B", "192.0.2.9", -1, 300);
	START(.session = "3", .who = "C", .line = "192.0.2.9", .t = 400, .lo = 2048, .hi = 3071);
	HAS("B", "192.0.2.9", 3071, 399);
	HAS("C", "192.0.2.9", 3071, 400);
}

static void test_prefixes(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "2001:db8:1::/56", .t = 100);
	HAS("A", "2001:db8:1:ff::1", -1, 100);
	HAS("", "2001:db8:1:100::1", -1, 100);
	START(.session = "2", .who = "B", .line = "2001:db8:1:8::/64", .t = 200); /* within it */
	HAS("B", "2001:db8:1:8::1", -1, 200);
	HAS("A", "2001:db8:1:9::1", -1, 200);
}

static void test_moves(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100);
	INTERIM(.session = "1", .who = "A", .line = "192.0.2.2", .t = 200, .began = 100);
	HAS("A", "192.0.2.1", -1, 199);
	HAS("", "192.0.2.1", -1, 200);
	HAS("", "192.0.2.2", -1, 199);
	HAS("A", "192.0.2.2", -1, 200);
}

static void restart(const char *nas, int64_t t)
{
	store_begin(s);
	store_radius_restart(s, nas, T0 + t * 1000);
	while (store_radius_restart_step(s, T0 + t * 1000, 1))
		;
	kit_commit(s);
}

static void test_nas_restart(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100);
	START(.session = "2", .who = "B", .line = "192.0.2.2", .t = 150);
	START(.nas = "other", .session = "3", .who = "C", .line = "192.0.2.3", .t = 150);
	restart("nas", 300);
	HAS("A", "192.0.2.1", -1, 299);
	HAS("", "192.0.2.1", -1, 300);
	HAS("", "192.0.2.2", -1, 300);
	HAS("C", "192.0.2.3", -1, 400);
	INTERIM(.session = "1", .who = "A", .line = "192.0.2.1", .t = 250, .began = 150); /* late */
	HAS("", "192.0.2.1", -1, 300);
	START(.session = "9", .who = "D", .line = "192.0.2.4", .t = 200); /* late, of before it */
	HAS("D", "192.0.2.4", -1, 299);
	HAS("", "192.0.2.4", -1, 300);
	START(.session = "4", .who = "A", .line = "192.0.2.1", .t = 300); /* in the same second */
	HAS("A", "192.0.2.1", -1, 300);
	INTERIM(.session = "2", .who = "B", .line = "192.0.2.2", .t = 500,
		.began = 350); /* it lives */
	HAS("B", "192.0.2.2", -1, 350);
}

static void test_port_exclusive(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100, .port = "7");
	START(.session = "2", .who = "B", .line = "192.0.2.2", .t = 200, .port = "7");
	HAS("A", "192.0.2.1", -1, 300); /* ports may be shared */
	START(.session = "3", .who = "C", .line = "192.0.2.3", .t = 300, .port = "7",
	      .exclusive = true);
	HAS("A", "192.0.2.1", -1, 199);
	HAS("", "192.0.2.1", -1, 300);
	HAS("", "192.0.2.2", -1, 300);
	HAS("C", "192.0.2.3", -1, 300);
}

static bool silence(int64_t now)
{
	store_begin(s);
	bool more =
	    store_radius_silence_step(s, T0 + (now - 100) * 1000, 100000, T0 + now * 1000, 10);
	kit_commit(s);
	return more;
}

static void test_silence(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100);
	START(.session = "2", .who = "B", .line = "192.0.2.2", .t = 100);
	INTERIM(.session = "2", .who = "B", .line = "192.0.2.2", .t = 150, .began = 50);
	assert_false(silence(249));
	HAS("B", "192.0.2.2", -1, 300);
	assert_false(silence(260));
	HAS("B", "192.0.2.2", -1, 249);
	HAS("", "192.0.2.2", -1, 250);
	HAS("A", "192.0.2.1", -1, 1000); /* never sent one: its silence says nothing */
	INTERIM(.session = "2", .who = "B", .line = "192.0.2.2", .t = 270, .began = 170);
	HAS("B", "192.0.2.2", -1, 260); /* it was there all the time */
}

/* --- exemptions --- */

static void exempt(const char *prefix, const char *who)
{
	struct store_exemption e = {.prefix = kit_prefix(prefix),
				    .class = "full",
				    .contract = "",
				    .contact = "",
				    .reason = "",
				    .actor = "test",
				    .starts_ms = T0};
	store_begin(s);
	e.subscriber = store_subscriber(s, who);
	store_exemption_add(s, &e, T0);
	kit_commit(s);
}

static bool is_exempt(const char *prefix)
{
	struct prefix p = kit_prefix(prefix);
	return store_exemption(s, &p) != 0;
}

static void test_exemption_goes_first(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100);
	exempt("192.0.2.1", "A");
	/* The same subscriber again, with a Stop and without. */
	STOP(.session = "1", .who = "A", .t = 200);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'suspended'"), 1);
	assert_int_equal(START(.session = "2", .who = "A", .line = "192.0.2.1", .t = 300),
			 STORE_RADIUS_DONE);
	assert_int_equal(START(.session = "3", .who = "A", .line = "192.0.2.1", .t = 400),
			 STORE_RADIUS_DONE);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'active'"), 1);
	/* Somebody else: first the exemption, and nothing of the lease. */
	struct say b = {
	    .status = RADIUS_START, .session = "4", .who = "B", .line = "192.0.2.1", .t = 500};
	assert_int_equal(say(b), STORE_RADIUS_WAIT);
	assert_false(is_exempt("192.0.2.1"));
	HAS("A", "192.0.2.1", -1, 600);
	assert_int_equal(kit_sql("SELECT count(*) FROM radius_session WHERE session = '4'"), 0);
	assert_int_equal(kit_sql("SELECT count(*) FROM audit WHERE action = 'exempt.revoke'"), 1);
	b.confirmed = true;
	assert_int_equal(say(b), STORE_RADIUS_DONE);
	HAS("B", "192.0.2.1", -1, 600);
	HAS("A", "192.0.2.1", -1, 499);
}

/* What an old session says takes nothing from the new one. */
static void test_late_takes_nothing(void **state)
{
	(void)state;
	START(.session = "2", .who = "B", .line = "192.0.2.1", .t = 500);
	exempt("192.0.2.1", "B");
	assert_int_equal(START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100),
			 STORE_RADIUS_DONE);
	assert_int_equal(
	    INTERIM(.session = "1", .who = "A", .line = "192.0.2.1", .t = 900, .began = 800),
	    STORE_RADIUS_DONE);
	STOP(.session = "1", .who = "A", .line = "192.0.2.1", .t = 950, .began = 850);
	assert_true(is_exempt("192.0.2.1"));
	HAS("A", "192.0.2.1", -1, 499);
	HAS("B", "192.0.2.1", -1, 1000);
}

static void test_other_sources(void **state)
{
	(void)state;
	int64_t z = kit_subscriber(s, "Z");
	kit_lease(s, "192.0.2.0/24", z, T0, 0);
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100);
	HAS("A", "192.0.2.1", -1, 200);
	HAS("Z", "192.0.2.2", -1, 200);
	kit_lease(s, "192.0.2.1", z, T0 + 300000, 0); /* from the command line */
	HAS("A", "192.0.2.1", -1, 299);
	HAS("Z", "192.0.2.1", -1, 300);
	INTERIM(.session = "1", .who = "A", .line = "192.0.2.1", .t = 400, .began = 300);
	HAS("Z", "192.0.2.1", -1, 500);
}

/* Retention takes sessions after their leases. */
static void test_prune(void **state)
{
	(void)state;
	START(.session = "1", .who = "A", .line = "192.0.2.1", .t = 100);
	STOP(.session = "1", .who = "A", .t = 200);
	START(.session = "2", .who = "A", .line = "192.0.2.1", .t = 300);
	restart("other", 150);
	while (store_prune(s, T0 + 250000, T0, NULL, NULL))
		;
	assert_int_equal(kit_sql("SELECT count(*) FROM radius_session"), 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM radius_restart"), 0);
	HAS("A", "192.0.2.1", -1, 300);
}

/* --- at random, against a model --- */

#define SESSIONS 8
#define EVENTS	 48

static uint64_t seed;

static unsigned roll(unsigned n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)((seed >> 20) % n);
}

struct m_line {
	const char *prefix;
	int lo, hi;
};
static const struct m_line m_lines[] = {
    {"192.0.2.1", 0, 65535},	    {"192.0.2.2", 0, 65535},   {"192.0.2.9", 1024, 2047},
    {"192.0.2.9", 2048, 3071},	    {"192.0.2.9", 1024, 3071}, {"2001:db8:1::/56", 0, 65535},
    {"2001:db8:1:8::/64", 0, 65535}};
#define M_LINES (sizeof m_lines / sizeof m_lines[0])

struct m_session {
	int64_t begin;
	char id[16], who[2];
	const char *nas;
	unsigned lines; /* bits of m_lines */
};
struct m_event {
	int session; /* -1: restart */
	int status;
	int64_t t, began;
	unsigned lines;
	const char *nas;
};

static struct m_session sessions[SESSIONS];
static struct m_event heard[2 * EVENTS];
static int n_heard;

static void make_sessions(void)
{
	for (int i = 0; i < SESSIONS; i++) {
		struct m_session *m = &sessions[i];
		m->begin = T0 + (int64_t)roll(600) * 1000 + i; /* no two at once */
		snprintf(m->id, sizeof m->id, "s%d", i);
		snprintf(m->who, sizeof m->who, "%c", 'A' + (char)roll(3));
		m->nas = roll(2) ? "nas" : "other";
		m->lines = 1U << roll(M_LINES);
		if (roll(3) == 0)
			m->lines |= 1U << (5 + roll(2)); /* and a prefix */
	}
}

static struct m_event make_event(void)
{
	int i = (int)roll(SESSIONS);
	struct m_session *m = &sessions[i];
	if (roll(16) == 0)
		return (struct m_event){
		    .session = -1, .t = T0 + (int64_t)roll(900) * 1000 + 500, .nas = m->nas};
	int kind = (int)roll(6);
	struct m_event e = {.session = i, .nas = m->nas, .lines = m->lines};
	int64_t late = (int64_t)roll(300) * 1000;
	e.status = kind == 0 ? RADIUS_START : kind == 1 ? RADIUS_STOP : RADIUS_INTERIM;
	e.t = e.status == RADIUS_START ? m->begin : m->begin + late;
	if (e.status == RADIUS_STOP)
		e.t = m->begin + 300000; /* after all it has said */
	e.began = m->begin;
	if (e.status != RADIUS_START && roll(4) == 0)
		e.lines = 0; /* it does not say what it has */
	return e;
}

/* What is known of a session from all that was heard. */
static bool m_life(int i, int64_t *begin, int64_t *first, int64_t *end)
{
	int64_t start = 0, began = INT64_MAX, last = 0, stop = 0;
	*first = INT64_MAX;
	for (int k = 0; k < n_heard; k++) {
		const struct m_event *e = &heard[k];
		if (e->session != i)
			continue;
		if (e->status == RADIUS_START)
			start = e->t;
		if (e->status == RADIUS_STOP)
			stop = e->t;
		if (e->began < began)
			began = e->began;
		if (e->t < *first)
			*first = e->t;
		if (e->t > last)
			last = e->t;
	}
	*begin = start ? start : began;
	*end = stop;
	for (int k = 0; k < n_heard; k++) {
		const struct m_event *e = &heard[k];
		if (e->session == -1 && strcmp(e->nas, sessions[i].nas) == 0 && e->t >= last &&
		    e->t > *begin && (!*end || e->t < *end))
			*end = e->t;
	}
	return last != 0;
}

static int64_t m_from(int i, unsigned line)
{
	int64_t begin, first, end, named = INT64_MAX;
	if (!m_life(i, &begin, &first, &end))
		return 0;
	for (int k = 0; k < n_heard; k++)
		if (heard[k].session == i && (heard[k].lines >> line & 1) && heard[k].t < named)
			named = heard[k].t;
	if (named == INT64_MAX)
		return 0;
	return named == first ? begin : named;
}

static bool m_inside(unsigned in, unsigned out)
{
	struct prefix a = kit_prefix(m_lines[in].prefix), b = kit_prefix(m_lines[out].prefix);
	return a.len >= b.len && prefix_contains(&b, &a.a) && m_lines[in].lo <= m_lines[out].hi &&
	       m_lines[in].hi >= m_lines[out].lo;
}

/* When session i's line ends, 0: it is open. */
static int64_t m_to(int i, unsigned line, int64_t from)
{
	int64_t begin, first, to;
	(void)m_life(i, &begin, &first, &to);
	if (to && to < from)
		to = from;
	for (int k = 0; k < SESSIONS; k++)
		for (unsigned l = 0; l < M_LINES; l++) {
			int64_t other = k == i || !m_inside(line, l) ? 0 : m_from(k, l);
			if (other > from && (!to || other < to))
				to = other;
		}
	return to;
}

static int64_t stored_session(int i)
{
	const struct m_session *m = &sessions[i];
	int64_t sub = store_subscriber(s, m->who), id = 0;
	if (sql_first(s->db, ST_RADIUS_BEFORE, QS(m->nas), QS(m->id), QI(sub), QI(INT64_MAX))) {
		id = sql_int(s->db, ST_RADIUS_BEFORE, 0);
		sql_end(s->db, ST_RADIUS_BEFORE);
	}
	return id;
}

static bool stored(int i, unsigned line, int64_t *from, int64_t *to)
{
	struct prefix p = kit_prefix(m_lines[line].prefix);
	bool found = false;
	for (bool row = sql_first(s->db, ST_CLAIMS, QI(stored_session(i))); row;
	     row = sql_next(s->db, ST_CLAIMS)) {
		struct addr a;
		sql_addr(s->db, ST_CLAIMS, 2, &a);
		if (sql_int(s->db, ST_CLAIMS, 1) != p.len || !addr_eq(&a, &p.a) ||
		    sql_int(s->db, ST_CLAIMS, 3) != m_lines[line].lo ||
		    sql_int(s->db, ST_CLAIMS, 4) != m_lines[line].hi)
			continue;
		assert_false(found); /* not twice */
		found = true;
		*from = sql_int(s->db, ST_CLAIMS, 5);
		*to = sql_int(s->db, ST_CLAIMS, 6);
	}
	return found;
}

/* The store says what the model says, and no address and port is open twice. */
static void compare(uint64_t first_seed, int step)
{
	int open[M_LINES] = {0};
	for (int i = 0; i < SESSIONS; i++)
		for (unsigned l = 0; l < M_LINES; l++) {
			int64_t from = m_from(i, l), to = from ? m_to(i, l, from) : 0;
			int64_t got_from = 0, got_to = 0;
			bool found = stored(i, l, &got_from, &got_to);
			if (found != (from != 0) || got_from != from || got_to != to)
				fail_msg("seed %llu step %d: %s of %s: [%lld,%lld) stored, "
					 "[%lld,%lld) by the model",
					 (unsigned long long)first_seed, step, m_lines[l].prefix,
					 sessions[i].id, (long long)got_from - T0,
					 (long long)got_to - T0, (long long)from - T0,
					 (long long)to - T0);
			if (found && !got_to)
				open[l]++;
		}
	for (unsigned l = 0; l < M_LINES; l++)
		assert_true(open[l] <= 1);
	assert_true(open[4] + open[2] <= 1 && open[4] + open[3] <= 1); /* they share ports */
}

static void tell(const struct m_event *e)
{
	struct radius_line lines[M_LINES];
	size_t n = 0;
	if (e->session < 0) {
		store_radius_restart(s, e->nas, e->t);
		while (store_radius_restart_step(s, e->t, 3))
			;
		return;
	}
	const struct m_session *m = &sessions[e->session];
	for (unsigned l = 0; l < M_LINES; l++)
		if (e->lines >> l & 1)
			lines[n++] = (struct radius_line){.prefix = kit_prefix(m_lines[l].prefix),
							  .port_lo = (uint16_t)m_lines[l].lo,
							  .port_hi = (uint16_t)m_lines[l].hi,
							  .framed = l < 2};
	struct store_radius x = {.news = {e->status, e->t, e->began, T0 + 3600000},
				 .nas = e->nas,
				 .session = m->id,
				 .port = "",
				 .calling = "",
				 .subscriber = m->who,
				 .lines = lines,
				 .n_lines = n};
	assert_int_not_equal(store_radius_event(s, &x), STORE_RADIUS_WAIT);
}

/* Packets in any order, some twice, most not at all: at each step the leases are what all that was
 * heard until then says. */
static void test_random(void **state)
{
	(void)state;
	const char *env = getenv("RADIUS_SEED"), *rounds = getenv("RADIUS_ROUNDS");
	uint64_t first = env ? strtoull(env, NULL, 10) : 20261122;
	int n = rounds ? (int)strtol(rounds, NULL, 10) : 150;
	for (int round = 0; round < n; round++) {
		uint64_t this = first + (uint64_t)round;
		seed = this * 0x9e3779b97f4a7c15 + 1;
		make_sessions();
		n_heard = 0;
		store_begin(s);
		for (int i = 0; i < EVENTS; i++) {
			struct m_event e = n_heard && roll(8) == 0
					       ? heard[roll((unsigned)n_heard)] /* again */
					       : make_event();
			heard[n_heard++] = e;
			tell(&e);
			compare(this, i);
		}
		if (sql_error(s->db))
			fail_msg("%s", sql_error(s->db));
		store_rollback(s);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_one_session),
	    T(test_lost_start),
	    T(test_lost_stop),
	    T(test_foreign_stop),
	    T(test_session_id_again),
	    T(test_port_blocks),
	    T(test_prefixes),
	    T(test_moves),
	    T(test_nas_restart),
	    T(test_port_exclusive),
	    T(test_silence),
	    T(test_exemption_goes_first),
	    T(test_late_takes_nothing),
	    T(test_other_sources),
	    T(test_prune),
	    T(test_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
