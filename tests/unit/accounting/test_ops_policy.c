/*
 * ops_policy, ops_import, ops_who, ops_lease: who has which line, and who is exempt, by a real
 * socket and store.
 */
#include "door.h"

/* --- who --- */

static void test_subscribers(void **state)
{
	(void)state;
	int64_t id = number(
	    call("subscriber.add", "{'ref':'C-1','name':'Taro','contact':'t@x.example'}"), "id");
	assert_int_equal(number(call("subscriber.add", "{'ref':'C-1','name':'Jiro'}"), "id"), id);
	assert_int_equal(
	    kit_sql(
		"SELECT count(*) FROM subscriber WHERE name = 'Jiro' AND contact = 't@x.example'"),
	    1);
	FAILS("subscriber.add", "{'ref':''}", "invalid", "1 to 128");
	OK("account.add", "{'login':'Alice@ISP.example','subscriber':'C-1'}");
	assert_int_equal(kit_sql("SELECT count(*) FROM account WHERE login = '" ALICE "'"), 1);
	a.rules.login_case = LOGIN_KEEP;
	OK("account.add", "{'login':'Alice@ISP.example','subscriber':'C-1'}");
	assert_int_equal(kit_sql("SELECT count(*) FROM account WHERE login = 'Alice@isp.example'"),
			 1);
	a.rules.login_case = LOGIN_LOWER;
	FAILS("account.add", "{'login':'alice','subscriber':'C-1'}", "invalid", "user@realm");
	FAILS("account.add", "{'login':'a@b.example','subscriber':'C-9'}", "notfound",
	      "no subscriber C-9");
	assert_int_equal(kit_sql("SELECT count(*) FROM account"), 2); /* rolled back */
	assert_int_equal(audits("subscriber.add"), 2);
	assert_int_equal(audits("account.add"), 2);
}

static void test_leases(void **state)
{
	(void)state;
	OK("subscriber.add", "{'ref':'C-1'}");
	OK("subscriber.add", "{'ref':'C-2'}");
	assert_int_equal(
	    number(call("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','from_ms':1000}"),
		   "ended"),
	    0);
	assert_int_equal(
	    number(call("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-2','from_ms':2000}"),
		   "ended"),
	    1);
	FAILS("lease.add", "{'prefix':'192.0.2.1/24','subscriber':'C-1'}", "invalid",
	      "192.0.2.0/24");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','from_ms':5,'to_ms':5}",
	      "invalid", "after from_ms");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','port_lo':5}", "invalid",
	      "together");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','port_lo':9,'port_hi':8}",
	      "invalid", "together");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','port_lo':0,'port_hi':65536}",
	      "invalid", "together");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','port_lo':-5,'port_hi':-5}",
	      "invalid", "together");
	FAILS("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-9'}", "notfound", "C-9");
	OK("exempt.add", "{'prefix':'192.0.2.1'}"); /* C-2's, by the lease */
	const json_t *r =
	    call("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1','from_ms':3000}");
	assert_int_equal(number(r, "revoked"), 1);
	assert_true(json_is_false(json_object_get(r, "in_force"))); /* no nfqd here to say so */
	assert_int_equal(number(call("lease.end", "{'prefix':'192.0.2.1'}"), "ended"), 1);
	FAILS("lease.end", "{'prefix':'192.0.2.1'}", "notfound", "nobody has an open lease");
	/* A line that ends keeps its exemption for when it comes back, unless it is somebody
	 * else's by that. */
	OK("lease.add", "{'prefix':'192.0.2.0/24','subscriber':'C-2'}");
	OK("lease.add", "{'prefix':'192.0.2.1','subscriber':'C-1'}");
	OK("exempt.add", "{'prefix':'192.0.2.1'}");
	assert_int_equal(number(call("lease.end", "{'prefix':'192.0.2.1'}"), "revoked"), 1);
	OK("exempt.add", "{'prefix':'192.0.2.0/29'}");
	r = call("lease.end", "{'prefix':'192.0.2.0/24'}");
	assert_int_equal(number(r, "revoked"), 0);
	assert_int_equal(number(r, "suspended"), 1); /* it waits for the line to come back */
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'suspended'"), 1);
	r = call("lease.add", "{'prefix':'192.0.2.0/24','subscriber':'C-2'}");
	assert_int_equal(number(r, "revoked"), 0);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'active'"), 1);
}

static void test_lease_import(void **state)
{
	(void)state;
	OK("subscriber.add", "{'ref':'C-1'}");
	FAILS("lease.import", "{'rows':[]}", "invalid", "1 to 1000");
	FAILS("lease.import",
	      "{'rows':[{'prefix':'192.0.2.1','subscriber':'C-1'},"
	      "{'prefix':'192.0.2.2/24','subscriber':'C-1'}]}",
	      "invalid", "row 2: 192.0.2.2/24");
	FAILS("lease.import",
	      "{'rows':[{'prefix':'192.0.2.1','subscriber':'C-1'},"
	      "{'prefix':'192.0.2.2','subscriber':'C-9'}]}",
	      "notfound", "row 2: there is no subscriber C-9");
	assert_int_equal(kit_sql("SELECT count(*) FROM lease"), 0);
	const json_t *r = call("lease.import",
			       "{'rows':[{'prefix':'192.0.2.1','subscriber':'C-1'}],'more':true}");
	char id[64], args[512];
	snprintf(id, sizeof id, "%s", json_string_value(json_object_get(r, "import")));
	assert_int_equal(kit_sql("SELECT count(*) FROM lease"), 0);
	snprintf(args, sizeof args,
		 "{'import':'%s','create':true,'rows':[{'prefix':'192.0.2.2','subscriber':'C-2'},"
		 "{'prefix':'192.0.2.3','port_lo':1024,'port_hi':2047,'subscriber':'C-2'}]}",
		 id);
	r = call("lease.import", args);
	assert_int_equal(number(r, "added"), 3);
	assert_int_equal(number(r, "subscribers"), 1);
	FAILS("lease.import", args, "notfound", "no such import");
}

/* What a source says is all there is of it; others' leases stay. */
static void test_lease_resync(void **state)
{
	(void)state;
	OK("subscriber.add", "{'ref':'C-1'}");
	OK("subscriber.add", "{'ref':'C-2'}");
	OK("lease.add", "{'prefix':'192.0.2.9','subscriber':'C-2'}"); /* somebody typed it */
	FAILS("lease.import",
	      "{'resync':'ipam','rows':[{'prefix':'192.0.2.1','subscriber':'C-1','port_lo':1024,"
	      "'port_hi':2047},{'prefix':'192.0.2.1','subscriber':'C-2','port_lo':2047,"
	      "'port_hi':3000}]}",
	      "invalid", "row 2: 192.0.2.1 and its ports are in row 1");
	const json_t *r =
	    call("lease.import", "{'resync':'ipam','rows':[{'prefix':'192.0.2.1','subscriber':"
				 "'C-1'},{'prefix':'192.0.2.2','subscriber':'C-2'}]}");
	assert_int_equal(number(r, "added"), 2);
	OK("exempt.add", "{'prefix':'192.0.2.1'}");
#define NEXT(dry)                                                                                  \
	"{'resync':'ipam','dry_run':" dry ",'rows':[{'prefix':'192.0.2.1','subscriber':'C-2'},"    \
	"{'prefix':'192.0.2.3','subscriber':'C-2'}]}"
	for (int i = 0; i < 2; i++) { /* what it would do, and what it does */
		r = call("lease.import", i ? NEXT("false") : NEXT("true"));
		assert_int_equal(number(r, "added"), 2);
		assert_int_equal(number(r, "ended"), 2);
		assert_int_equal(number(r, "revoked"), 1);
		assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'active'"),
				 1 - i);
	}
	assert_int_equal(kit_sql("SELECT count(*) FROM lease WHERE to_ms IS NULL"), 3);
	r = call("lease.import", NEXT("false"));
	assert_int_equal(number(r, "same"), 2);
	assert_int_equal(number(r, "ended"), 0);
}

/* --- exemptions --- */

static void test_exemptions(void **state)
{
	(void)state;
	start_nfqd(true);
	const json_t *r =
	    call("exempt.add", "{'prefix':'192.0.2.1','contract':'K-7','reason':'mail server'}");
	assert_non_null(r);
	assert_true(flag(r, "in_force"));
	assert_string_equal(json_string_value(json_object_get(r, "prefix")), "192.0.2.1");
	int64_t version = number(r, "version");
	FAILS("exempt.add", "{'prefix':'192.0.2.1'}", "exists",
	      "id 1, contract K-7, never expires");
	assert_int_equal(kit_sql("SELECT value FROM setting WHERE key = 'policy_version'"),
			 version); /* a refusal is no version */
	FAILS("exempt.add", "{'prefix':'192.0.2.1/24'}", "invalid", "192.0.2.0/24");
	FAILS("exempt.add", "{'prefix':'0.0.0.0/0'}", "invalid", "too wide");
	FAILS("exempt.add", "{'prefix':'2001:db8::/31'}", "invalid", "");
	FAILS("exempt.add", "{'prefix':'192.0.2.2','class':'some'}", "invalid",
	      "full, throttled, listed");
	FAILS("exempt.add", "{'prefix':'192.0.2.2','expires_ms':1}", "invalid", "in the past");
	FAILS("exempt.add", "{'prefix':'192.0.2.2','subscriber':'C-9'}", "notfound", "C-9");
	r = call("exempt.remove", "{'prefix':'192.0.2.1','reason':'contract ended'}");
	assert_true(flag(r, "in_force"));
	assert_int_equal(number(r, "version"), version + 1);
	FAILS("exempt.remove", "{'prefix':'192.0.2.1'}", "notfound", "is not exempt");
	assert_int_equal(kit_sql("SELECT count(*) FROM audit WHERE action = 'exempt.remove' AND "
				 "reason = 'contract ended' "
				 "AND object = '192.0.2.1' AND actor LIKE 'unix:%'"),
			 1);
}

static void test_exemption_without_nfqd(void **state)
{
	(void)state;
	int64_t t = clock_mono_ms();
	assert_false(flag(call("exempt.add", "{'prefix':'192.0.2.1'}"), "in_force"));
	assert_true(clock_mono_ms() - t < 900); /* nobody to wait for */
	start_nfqd(false);			/* there, but it does not say so */
	t = clock_mono_ms();
	assert_false(flag(call("exempt.add", "{'prefix':'192.0.2.2'}"), "in_force"));
	assert_true(clock_mono_ms() - t >= 900);
}

static void test_exemption_times(void **state)
{
	char args[128];
	(void)state;
	start_nfqd(true);
	int64_t now = clock_utc_ms();
	snprintf(args, sizeof args, "{'prefix':'192.0.2.1','starts_ms':%lld}",
		 (long long)now + 3600000);
	assert_false(flag(call("exempt.add", args), "in_force")); /* its time is to come */
	snprintf(args, sizeof args, "{'prefix':'192.0.2.2','starts_ms':%lld,'expires_ms':%lld}",
		 (long long)now + 3600000, (long long)now + 3500000);
	FAILS("exempt.add", args, "invalid", "after it starts");
	snprintf(args, sizeof args, "{'prefix':'192.0.2.3','expires_ms':%lld}",
		 (long long)clock_utc_ms() + 300);
	OK("exempt.add", args);
	UNTIL(kit_sql("SELECT count(*) FROM exemption WHERE state = 'expired'") ==
	      1); /* by its timer */
	assert_int_equal(audits("exempt.expire"), 1);
	OK("exempt.add", "{'prefix':'192.0.2.3'}"); /* free again */
}

static void test_import(void **state)
{
	(void)state;
	OK("exempt.add", "{'prefix':'192.0.2.1','contract':'old'}");
	FAILS(
	    "exempt.import",
	    "{'rows':[{'prefix':'192.0.2.8/29'},{'prefix':'192.0.2.1'},{'prefix':'192.0.2.9/29'}]}",
	    "invalid", "row 3: prefix: 192.0.2.9/29");
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.8/29'},{'prefix':'192.0.2.1','x':1}]}",
	      "invalid", "row 2: a row has no");
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.8/29'},7]}", "invalid", "row 2");
	FAILS("exempt.import", "{'rows':[]}", "invalid", "1 to 1000");
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption"), 1); /* all or nothing */
	const json_t *r =
	    call("exempt.import",
		 "{'rows':[{'prefix':'192.0.2.8/29'},{'prefix':'192.0.2.1','contract':'new'}]}");
	assert_int_equal(number(r, "added"), 1);
	assert_int_equal(number(r, "updated"), 1);
	assert_int_equal(
	    kit_sql("SELECT count(*) FROM exemption WHERE contract = 'new' AND state = 'active'"),
	    1);
}

/* Rows in several requests are one import: checked as they come, applied at the end, or not at all.
 */
static void test_import_in_pieces(void **state)
{
	char args[256], id[64];
	(void)state;
	OK("exempt.add", "{'prefix':'192.0.2.1','contract':'old'}");
	const json_t *r = call("exempt.import", "{'rows':[{'prefix':'192.0.2.8/29'}],'more':true}");
	assert_int_equal(number(r, "rows"), 1);
	snprintf(id, sizeof id, "%s", json_string_value(json_object_get(r, "import")));
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption"), 1);
	/* Nobody else's, and no other. */
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.9'}],'import':'0123'}", "notfound",
	      "begin again");
	snprintf(args, sizeof args,
		 "{'import':'%s','rows':[{'prefix':'192.0.2.1','contract':'new'}],'dry_run':true,"
		 "'replace_missing':true}",
		 id);
	r = call("exempt.import", args);
	assert_int_equal(number(r, "added"), 1);
	assert_int_equal(number(r, "updated"), 1);
	assert_int_equal(number(r, "removed"), 0);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption"), 1); /* it was a dry run */
	FAILS("exempt.import", args, "notfound", "begin again");	/* and is over */
	/* Twice the same prefix, in two requests. */
	r = call("exempt.import", "{'rows':[{'prefix':'192.0.2.8/29'}],'more':true}");
	snprintf(args, sizeof args, "{'import':'%s','rows':[{'prefix':'192.0.2.8/29'}]}",
		 json_string_value(json_object_get(r, "import")));
	FAILS("exempt.import", args, "invalid", "row 2: prefix: 192.0.2.8/29 is in row 1 already");
	r = call("exempt.import",
		 "{'rows':[{'prefix':'192.0.2.2','state':'suspended'}],'replace_missing':true}");
	assert_int_equal(number(r, "removed"), 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption WHERE state = 'removed'"), 1);
	r = call("exempt.import", "{'rows':[{'prefix':'192.0.2.2'}]}");
	assert_int_equal(number(r, "unchanged"), 1); /* suspended it stays */
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.2','state':'requested'}]}", "invalid",
	      "row 1: state: 192.0.2.2 cannot become requested");
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.2'}],'dry_run':'yes'}", "invalid",
	      "\"dry_run\" must be true or false");
	/* One that is not gone on with does not stay for ever. */
	(void)call("exempt.import", "{'rows':[{'prefix':'192.0.2.8/29'}],'more':true}");
	imports_end(&a);
}

static const char *begun(const char *op, const char *rows)
{
	static char id[64];
	char args[160];
	snprintf(args, sizeof args, "{'rows':[%s],'more':true}", rows);
	const json_t *r = call(op, args);
	assert_non_null(r);
	snprintf(id, sizeof id, "%s", json_string_value(json_object_get(r, "import")));
	return id;
}

/* An import is gone on with by who began it, with the operation it was begun with; four of each
 * operation wait. */
static void test_whose_import(void **state)
{
	char args[128], id[64], admin[64];
	(void)state;
	OK("operator.add", "{'user':'boss','password':'correct horse','role':'admin'}");
	log_in("boss", admin);
	snprintf(id, sizeof id, "%s", begun("exempt.import", "{'prefix':'192.0.2.1'}"));
	snprintf(args, sizeof args, "{'import':'%s','rows':[{'prefix':'192.0.2.2'}]}", id);
	assert_code(call_as(admin, "exempt.import", args), "notfound", "begin again");
	snprintf(args, sizeof args,
		 "{'import':'%s','rows':[{'prefix':'192.0.2.2','subscriber':'S'}]}", id);
	FAILS("lease.import", args, "notfound", "begin again");
	for (int i = 2; i <= 4; i++)
		(void)begun("exempt.import", "{'prefix':'192.0.2.1'}");
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.9'}]}", "unavailable",
	      "4 imports are under way");
	(void)begun("lease.import", "{'prefix':'192.0.2.2','subscriber':'S'}");
	/* The one that was refused to others is there still. */
	snprintf(args, sizeof args, "{'import':'%s','rows':[{'prefix':'192.0.2.2'}]}", id);
	assert_int_equal(number(call("exempt.import", args), "added"), 2);
	OK("exempt.import", "{'rows':[{'prefix':'192.0.2.9'}]}");
}

static void test_life(void **state)
{
	(void)state;
	OK("exempt.request", "{'prefix':'192.0.2.1','helo':'mail.c.example','static':'yes'}");
	FAILS("exempt.request", "{'prefix':'192.0.2.1'}", "exists",
	      "192.0.2.1 is requested already");
	FAILS("exempt.add", "{'prefix':'192.0.2.2','static':'maybe'}", "invalid", "static: maybe");
	FAILS("exempt.add", "{'prefix':'192.0.2.2','helo':'a b'}", "invalid", "helo: a b");
	FAILS("exempt.suspend", "{'prefix':'192.0.2.1'}", "invalid", "verify and activate it");
	FAILS("exempt.verify", "{'prefix':'192.0.2.1'}", "unavailable", "nothing is looked up");
	a.conf.evidence_required = true;
	FAILS("exempt.activate", "{'prefix':'192.0.2.1'}", "invalid", "verify it first");
	FAILS("exempt.add", "{'prefix':'192.0.2.3'}", "invalid", "exempt request");
	a.conf.evidence_required = false;
	OK("exempt.activate", "{'prefix':'192.0.2.1','reason':'known'}");
	OK("exempt.suspend", "{'prefix':'192.0.2.1','reason':'complaints'}");
	FAILS("exempt.suspend", "{'prefix':'192.0.2.1'}", "exists", "suspended already");
	FAILS("exempt.activate", "{'prefix':'192.0.2.1'}", "invalid", "resume or remove it");
	FAILS("exempt.suspend", "{'prefix':'192.0.2.1','until_ms':1}", "invalid",
	      "that time is over");
	OK("exempt.resume", "{'prefix':'192.0.2.1'}");
	OK("exempt.remove", "{'prefix':'192.0.2.1'}");
	FAILS("exempt.resume", "{'prefix':'192.0.2.1'}", "notfound", "is not exempt");
	assert_int_equal(audits("exempt.activate"), 1);
	assert_int_equal(kit_sql("SELECT count(*) FROM exemption_event"), 6);
}

/* What is in force for a line serves who has it: the leases must not say somebody else. */
static void test_whose(void **state)
{
	(void)state;
	OK("subscriber.add", "{'ref':'A'}");
	OK("subscriber.add", "{'ref':'B'}");
	OK("lease.add", "{'prefix':'192.0.2.0/25','subscriber':'A'}");
	OK("lease.add", "{'prefix':'192.0.2.9','subscriber':'B'}");
	OK("lease.add", "{'prefix':'100.64.0.1','subscriber':'A','port_lo':1024,'port_hi':2047}");
	OK("lease.add", "{'prefix':'100.64.0.1','subscriber':'B','port_lo':2048,'port_hi':3071}");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','subscriber':'B'}", "invalid", "is not B's");
	FAILS("exempt.add", "{'prefix':'192.0.2.9','subscriber':'A'}", "invalid", "is not A's");
	FAILS("exempt.add", "{'prefix':'192.0.2.8/29','subscriber':'A'}", "invalid", "not alone");
	FAILS("exempt.add", "{'prefix':'100.64.0.1','subscriber':'A'}", "invalid", "not alone");
	FAILS("exempt.import", "{'rows':[{'prefix':'192.0.2.1','subscriber':'B'}]}", "invalid",
	      "is not B's");
	OK("exempt.add", "{'prefix':'192.0.2.1','subscriber':'A'}");
	OK("exempt.add", "{'prefix':'192.0.2.9','subscriber':'B'}");
	OK("exempt.add", "{'prefix':'198.51.100.1','subscriber':'B'}"); /* nobody's */
	OK("exempt.add", "{'prefix':'192.0.2.2','subscriber':'B','starts_ms':99999999999999}");
}

static void test_classes(void **state)
{
	static struct acctd_class classes[] = {{(char *)(uintptr_t) "gold", false},
					       {(char *)(uintptr_t) "partners", true}};
	(void)state;
	a.conf.classes = (struct conf_items){classes, 2};
	FAILS("exempt.add", "{'prefix':'192.0.2.1','class':'half'}", "invalid",
	      "there are full, throttled, listed, gold, partners");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','class':'partners'}", "invalid",
	      "needs the destinations");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','class':'partners','to':'2001:db8::9'}",
	      "invalid", "none of these is IPv4");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','class':'gold','to':'192.0.2.9'}", "invalid",
	      "any destination");
	FAILS("exempt.add", "{'prefix':'192.0.2.1','class':'listed','to':'x'}", "invalid", "to: x");
	OK("exempt.add", "{'prefix':'192.0.2.1','class':'gold'}");
	OK("exempt.add",
	   "{'prefix':'192.0.2.2','class':'partners','to':'192.0.2.9, 2001:db8::/32'}");
	a.conf.classes.n = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_subscribers),     T(test_leases),	 T(test_lease_import),
	    T(test_lease_resync),    T(test_exemptions), T(test_exemption_without_nfqd),
	    T(test_exemption_times), T(test_import),	 T(test_import_in_pieces),
	    T(test_whose_import),    T(test_life),	 T(test_whose),
	    T(test_classes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
