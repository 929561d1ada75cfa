/*
 * radius: packets as facts, whole and cut at every byte; proofs and answers against digests made
 * elsewhere; event times, lives of a session id, claims.
 */
#include "kit.h"

#include "accounting/radius.h"
#include "accounting/radius_auth.h"
#include "accounting/radius_session.h"

struct packet {
	uint8_t b[RADIUS_MAX];
	size_t n;
};

static void begin(struct packet *p, uint8_t code)
{
	memset(p, 0, sizeof *p);
	p->b[0] = code;
	p->b[1] = 42;
	p->n = RADIUS_HEADER;
}

static void attr(struct packet *p, uint8_t type, const void *v, size_t n)
{
	p->b[p->n] = type;
	p->b[p->n + 1] = (uint8_t)(n + 2);
	memcpy(p->b + p->n + 2, v, n);
	p->n += n + 2;
	p->b[2] = (uint8_t)(p->n >> 8);
	p->b[3] = (uint8_t)p->n;
}

static void number(struct packet *p, uint8_t type, uint32_t v)
{
	uint8_t b[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
	attr(p, type, b, 4);
}

static void text(struct packet *p, uint8_t type, const char *s)
{
	attr(p, type, s, strlen(s));
}

#define BYTES(p, type, ...)                                                                        \
	attr(p, type, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* 192.0.2.77 ports 1024-2047; alloc 1: given, 2: given back */
#define PORT_BLOCK(alloc)                                                                          \
	6, 3, 6, 192, 0, 2, 77, 8, 6, 0, 0, 0, alloc, 9, 6, 0, 0, 4, 0, 10, 6, 0, 0, 7, 255

static void full(struct packet *p)
{
	begin(p, RADIUS_ACCOUNTING_REQUEST);
	number(p, 40, RADIUS_INTERIM);
	text(p, 44, "0000 A%");
	text(p, 1, "kunde@isp.example");
	text(p, 25, "C-100");
	text(p, 25, "other");
	BYTES(p, 4, 10, 0, 0, 1);
	number(p, 5, 7);
	text(p, 87, "eth 0/1");
	text(p, 31, "00-11-22-33-44-55");
	BYTES(p, 8, 100, 64, 0, 5);
	BYTES(p, 9, 255, 255, 255, 248);
	BYTES(p, 97, 0, 64, 0x20, 1, 0xd, 0xb8, 0, 1, 0, 0);
	BYTES(p, 123, 0, 56, 0x20, 1, 0xd, 0xb8, 1, 0, 1, 0xff);
	BYTES(p, 168, 0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9);
	BYTES(p, 241, PORT_BLOCK(1));
	number(p, 55, 1795000000);
	number(p, 41, 3);
	number(p, 46, 600);
	BYTES(p, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	BYTES(p, 26, 0, 0, 0, 9, 1, 3, 'x'); /* somebody's own */
}

static bool has_line(const struct radius_request *r, const char *prefix, int lo, int hi)
{
	struct prefix p = kit_prefix(prefix);
	for (size_t i = 0; i < r->n_lines; i++)
		if (prefix_eq(&r->lines[i].prefix, &p) && r->lines[i].port_lo == lo &&
		    r->lines[i].port_hi == hi)
			return true;
	return false;
}

static struct radius_request r;

static bool parse(const struct packet *p)
{
	assert_int_equal(radius_packet(p->b, p->n), p->n);
	return radius_parse(p->b, p->n, false, &r);
}

static void test_facts(void **state)
{
	struct packet p;
	(void)state;
	full(&p);
	assert_true(parse(&p));
	assert_int_equal(r.status, RADIUS_INTERIM);
	assert_string_equal(r.user, "kunde@isp.example");
	assert_string_equal(r.class, "C-100");
	assert_string_equal(r.nas, "10.0.0.1");
	assert_string_equal(r.session, "0000%20A%25");
	assert_string_equal(r.port, "eth%200/1");
	assert_string_equal(r.calling, "00-11-22-33-44-55");
	assert_int_equal(r.event_s, 1795000000);
	assert_int_equal(r.delay_s, 3);
	assert_int_equal(r.session_s, 600);
	assert_true(r.auth_at > 0);
	assert_int_equal(r.n_lines, 5);
	assert_true(has_line(&r, "100.64.0.5", 0, 65535));
	assert_true(has_line(&r, "2001:db8:1::/64", 0, 65535));
	assert_true(has_line(&r, "2001:db8:100:100::/56", 0, 65535)); /* the bits behind are cut */
	assert_true(has_line(&r, "2001:db8:2::9", 0, 65535));
	assert_true(has_line(&r, "192.0.2.77", 1024, 2047));
	assert_true(radius_parse(p.b, p.n, true, &r));
	assert_true(has_line(&r, "100.64.0.0/29", 0, 65535)); /* the netmask is believed */
}

/* Every shorter packet is none, and no byte beyond its length is looked at. */
static void test_cut(void **state)
{
	struct packet p;
	(void)state;
	full(&p);
	for (size_t n = 0; n < p.n; n++) {
		uint8_t *cut = malloc(n ? n : 1);
		memcpy(cut, p.b, n);
		assert_int_equal(radius_packet(cut, n), 0);
		if (n >= RADIUS_HEADER) { /* it says how short it is */
			cut[2] = (uint8_t)(n >> 8);
			cut[3] = (uint8_t)n;
			size_t len = radius_packet(cut, n);
			if (len)
				(void)radius_parse(cut, len, true, &r);
		}
		free(cut);
	}
	p.b[3]--; /* shorter than its attributes */
	assert_int_equal(radius_packet(p.b, p.n), 0);
	full(&p);
	p.b[0] = 1;
	assert_int_equal(radius_packet(p.b, p.n), 0);
	full(&p);
	p.b[RADIUS_HEADER + 1] = 1; /* an attribute shorter than its own head */
	assert_int_equal(radius_packet(p.b, p.n), 0);
	full(&p);
	assert_int_equal(radius_packet(p.b, p.n + 10), p.n); /* padding */
}

static void test_bad_values(void **state)
{
	static const struct {
		uint8_t type, n, v[20];
		const char *word; /* in what it says */
	} cases[] = {
	    {8, 3, {1, 2, 3}, "Framed-IP-Address"},
	    {8, 5, {1, 2, 3, 4, 5}, "Framed-IP-Address"},
	    {9, 4, {255, 0, 255, 0}, "holes"},
	    {97, 1, {0}, "Framed-IPv6-Prefix"},
	    {97, 10, {0, 129, 0x20, 1}, "does not fit"},
	    {123, 6, {0, 56, 0x20, 1, 0xd, 0xb8}, "does not fit"},
	    {168, 15, {0x20}, "Framed-IPv6-Address"},
	    {40, 2, {0, 1}, "Acct-Status-Type"},
	    {241, 2, {6, 3}, "parts"},
	    {241, 4, {6, 9, 2, 0}, "parts"},
	    {241, 6, {6, 9, 5, 0, 4, 0}, "parts"},
	    {241, 13, {6, 9, 6, 0, 0, 8, 0, 10, 6, 0, 0, 4, 0}, "ends before"},
	    {241, 13, {6, 9, 6, 0, 0, 4, 0, 10, 6, 0, 1, 0, 0}, "65535"},
	    {241, 13, {6, 9, 6, 0, 0, 4, 0, 10, 6, 0, 0, 7, 255}, "without an address"},
	    {80, 15, {0}, "Message-Authenticator"},
	};
	struct packet p;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		begin(&p, RADIUS_ACCOUNTING_REQUEST);
		attr(&p, cases[i].type, cases[i].v, cases[i].n);
		assert_false(parse(&p));
		if (!strstr(r.bad, cases[i].word))
			fail_msg("case %zu: %s", i, r.bad);
	}
	begin(&p, RADIUS_ACCOUNTING_REQUEST);
	text(&p, 44, "a");
	text(&p, 44, "b");
	assert_false(parse(&p)); /* twice */
	begin(&p, RADIUS_ACCOUNTING_REQUEST);
	text(&p, 1, "a\nb");
	assert_true(parse(&p));
	assert_true(r.user_bad);
	begin(&p, RADIUS_ACCOUNTING_REQUEST);
	for (int i = 0; i < 33; i++)
		BYTES(&p, 168, 0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, (uint8_t)i);
	assert_false(parse(&p));
}

/* Addresses that say nothing. */
static void test_no_lines(void **state)
{
	static const uint8_t none[][4] = {{0, 0, 0, 0},
					  {255, 255, 255, 255},
					  {255, 255, 255, 254},
					  {127, 0, 0, 1},
					  {224, 0, 0, 1}};
	struct packet p;
	(void)state;
	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
		begin(&p, RADIUS_ACCOUNTING_REQUEST);
		attr(&p, 8, none[i], 4);
		assert_true(parse(&p));
		assert_int_equal(r.n_lines, 0);
	}
	begin(&p, RADIUS_ACCOUNTING_REQUEST);
	BYTES(&p, 97, 0, 0);
	BYTES(&p, 168, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
	BYTES(&p, 241, 6, 1, 6, 0, 0, 0, 1); /* a limit, not a range */
	BYTES(&p, 241, 5, 1, 6, 0, 0, 0, 1); /* another extended attribute */
	assert_true(parse(&p));
	assert_int_equal(r.n_lines, 0);
}

/* Ports of the framed address itself: then it is shared, and not the session's alone. */
static void test_shared_framed(void **state)
{
	struct packet p;
	(void)state;
	begin(&p, RADIUS_ACCOUNTING_REQUEST);
	BYTES(&p, 241, 6, 9, 6, 0, 0, 4, 0, 10, 6, 0, 0, 7, 255);
	BYTES(&p, 8, 192, 0, 2, 1);
	assert_true(parse(&p));
	assert_int_equal(r.n_lines, 1);
	assert_true(has_line(&r, "192.0.2.1", 1024, 2047));
	begin(&p, RADIUS_ACCOUNTING_REQUEST);
	BYTES(&p, 241, PORT_BLOCK(2));
	assert_true(parse(&p));
	assert_true(r.lines[0].gone);
}

static void test_names_of_nas(void **state)
{
	struct packet p;
	(void)state;
	begin(&p, RADIUS_ACCOUNTING_REQUEST);
	text(&p, 32, "bras 1");
	BYTES(&p, 95, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
	number(&p, 5, 4000000000);
	assert_true(parse(&p));
	assert_string_equal(r.nas, "2001:db8::1");
	assert_string_equal(r.port, "4000000000");
	begin(&p, RADIUS_ACCOUNTING_REQUEST);
	text(&p, 32, "bras 1");
	assert_true(parse(&p));
	assert_string_equal(r.nas, "bras%201");
}

/* --- proofs --- */

#define SECRET "testing123-0123456789"

/* What FreeRADIUS's radclient 3.2.1 sent with this secret, and the answer that it took for genuine:
 * a Start, one with a Message-Authenticator, a Status-Server. */
static const struct {
	const char *request, *answer;
} vectors[] = {
    {"041c0035492a85063dd741bfad9dc0193e7e47bf2806000000012c0473310107432d31303004060a0000010806644"
     "0000521040102",
     "051c001889e1c037278d91ad21547f1769b91edb21040102"},
    {"049400472f79386015503860eeb53850951afee52806000000012c0473310107432d31303004060a0000010806644"
     "000052104010250123f9920ad6b6439b7d815ae65f2444dda",
     "059400183726bdc1bda228375e8e74eb50b7dc0021040102"},
    {"0c7700264f39a1a78d1b21560cf124a7bb513ef8501214ee19224919545821a626fddfe99b20",
     "05770026643866894c1c97b3de5e2702b44ac227501279552781603a340de48be7f1b9e3b127"},
};

static size_t unhex(const char *hex, uint8_t *out)
{
	size_t n = strlen(hex) / 2;
	for (size_t i = 0; i < n; i++) {
		unsigned v;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		out[i] = (uint8_t)v;
	}
	return n;
}

static void test_proof(void **state)
{
	uint8_t b[RADIUS_MAX], answer[RADIUS_MAX];
	size_t n, at;
	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		n = unhex(vectors[i].request, b);
		assert_int_equal(radius_packet(b, n), n);
		(void)radius_parse(b, n, false, &r);
		bool has = r.auth_at > 0;
		assert_int_equal(radius_check(b, n, r.auth_at, false, SECRET, strlen(SECRET)),
				 RADIUS_GENUINE);
		assert_int_equal(radius_check(b, n, r.auth_at, true, SECRET, strlen(SECRET)),
				 has ? RADIUS_GENUINE : RADIUS_UNPROVEN);
		assert_int_equal(
		    radius_check(b, n, r.auth_at, false, SECRET "x", strlen(SECRET) + 1),
		    RADIUS_FORGED);
		for (size_t k = 0; k < n; k++) { /* any byte another: forged, or no packet */
			b[k] ^= 0x40;
			if (radius_packet(b, n) == n) {
				(void)radius_parse(b, n, false, &r);
				enum radius_proof proof =
				    radius_check(b, n, r.auth_at, false, SECRET, strlen(SECRET));
				assert_int_not_equal(proof, RADIUS_GENUINE);
			}
			b[k] ^= 0x40;
		}
		size_t len = radius_answer(b, n, answer, &at);
		radius_sign(answer, len, at, b + 4, SECRET, strlen(SECRET));
		uint8_t want[RADIUS_MAX];
		assert_int_equal(unhex(vectors[i].answer, want), len);
		assert_memory_equal(answer, want, len);
	}
}

static void test_answer(void **state)
{
	struct packet p;
	uint8_t out[RADIUS_MAX];
	size_t at;
	(void)state;
	full(&p);
	text(&p, 33, "first");
	text(&p, 33, "second");
	size_t n = radius_answer(p.b, p.n, out, &at);
	assert_int_equal(n, RADIUS_HEADER + 7 + 8);
	assert_int_equal(at, 0);
	assert_int_equal(out[0], RADIUS_ACCOUNTING_RESPONSE);
	assert_int_equal(out[1], 42);
	assert_int_equal(out[3], n);
	assert_memory_equal(out + RADIUS_HEADER,
			    "\x21\x07"
			    "first\x21\x08"
			    "second",
			    15);
}

/* --- when --- */

static void test_event_time(void **state)
{
	static const struct {
		int64_t event_s, delay_s; /* relative to T0; -1: none */
		int64_t want_ms;	  /* relative to T0 */
		bool skewed;
	} cases[] = {
	    {-100000000, -1, 0, false}, /* no timestamp */
	    {-100000000, 30, -30000, false},
	    {-60, -1, -60000, false},
	    {-60, 60, -60000, false},
	    {-86400, -1, -86400000, false}, /* buffered, and it does not say how long */
	    {-86400, 86390, -86400000, false},
	    {-86400, 0, 0, true}, /* its clock is a day behind */
	    {-9 * 86400, -1, 0, true},
	    {200, -1, 0, false}, /* a little ahead: it has happened, all the same */
	    {301, -1, 0, true},
	    {3600, 10, -10000, true},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		bool skewed = false;
		struct radius_request q = {
		    .event_s = cases[i].event_s == -100000000 ? -1 : T0 / 1000 + cases[i].event_s,
		    .delay_s = cases[i].delay_s};
		int64_t t = radius_event_ms(&q, T0, &skewed);
		if (t != T0 + cases[i].want_ms || skewed != cases[i].skewed)
			fail_msg("case %zu: %lld %d", i, (long long)(t - T0), skewed);
	}
}

static void test_whose(void **state)
{
	const struct radius_life running = {.started = true, .start_ms = 100000},
				 ended = {.started = true, .start_ms = 100000, .stop_ms = 200000},
				 guessed = {.start_ms = 500000};
	const struct {
		struct radius_news n;
		const struct radius_life *before, *after;
		enum radius_whose want;
	} cases[] = {
	    {{RADIUS_START, 100000, 100000, 0}, NULL, NULL, RADIUS_OF_NEW},
	    {{RADIUS_START, 101000, 101000, 0}, &running, NULL, RADIUS_OF_BEFORE}, /* told twice */
	    {{RADIUS_START, 300000, 300000, 0}, &running, NULL, RADIUS_OF_NEW},
	    {{RADIUS_START, 300000, 300000, 0}, &ended, &guessed, RADIUS_OF_AFTER},
	    {{RADIUS_INTERIM, 150000, 100000, 0}, &ended, NULL, RADIUS_OF_BEFORE},
	    {{RADIUS_INTERIM, 201000, 201000, 0}, &ended, NULL, RADIUS_OF_NONE}, /* late */
	    {{RADIUS_INTERIM, 201000, 100000, 0}, &ended, NULL, RADIUS_OF_NONE},
	    {{RADIUS_INTERIM, 900000, 300000, 0}, &ended, NULL, RADIUS_OF_NEW}, /* used again */
	    {{RADIUS_STOP, 205000, 100000, 0}, &ended, NULL, RADIUS_OF_NONE},
	    {{RADIUS_STOP, 400000, 400000, 0}, NULL, &guessed, RADIUS_OF_AFTER},
	    {{RADIUS_INTERIM, 400000, 400000, 0}, NULL, &running, RADIUS_OF_NEW},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (radius_whose(&cases[i].n, cases[i].before, cases[i].after) != cases[i].want)
			fail_msg("case %zu", i);
}

static void test_claims(void **state)
{
	struct radius_claim a = {.first_ms = 0}, b = {.first_ms = 0};
	(void)state;
	radius_claim_add(&a, 100, false);
	radius_claim_add(&a, 50, false);
	radius_claim_add(&b, 200, false);
	assert_int_equal(a.first_ms, 50);
	assert_int_equal(radius_claim_back(&a, NULL), 0);
	assert_int_equal(radius_claim_back(&a, &b), 200); /* moved to b */
	assert_int_equal(radius_claim_back(&b, &a), 0);
	radius_claim_add(&a, 300, false); /* and back */
	assert_int_equal(radius_claim_back(&a, &b), 0);
	assert_int_equal(radius_claim_back(&b, &a), 300);
	radius_claim_add(&a, 350, true);
	assert_int_equal(radius_claim_back(&a, NULL), 350);
	radius_claim_add(&a, 400, false);
	assert_int_equal(radius_claim_back(&a, NULL), 0);
}

#define T(f) cmocka_unit_test(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_facts),	   T(test_cut),		 T(test_bad_values), T(test_no_lines),
	    T(test_shared_framed), T(test_names_of_nas), T(test_proof),	     T(test_answer),
	    T(test_event_time),	   T(test_whose),	 T(test_claims),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
