/*
 * exempt - who may use port 25: register, verify, suspend, withdraw. Lists are in exempt_show.c,
 * files in exempt_file.c.
 *
 * Trusted with: asking acctd for changes. Diagnostics: on stderr. Known gaps: none.
 */
#include <string.h>

#include "webui/ctl/exempt.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

static const struct col change_cols[] = {
    {"PREFIX", "prefix", COL_TEXT},	{"ID", "id", COL_NUM},
    {"STATE", "state", COL_TEXT},	{"VERSION", "version", COL_NUM},
    {"IN_FORCE", "in_force", COL_TEXT}, COL_END,
};

/* later: it is to begin some other time, so that nobody waits for it to be in force. */
static int changed(struct cli *c, bool later, json_t *r, int status)
{
	if (!r)
		return status;
	out_result(c, change_cols, r);
	if (!later && json_is_false(json_object_get(r, "in_force")))
		cli_warn(c, "recorded, but sekisho-nfqd has not said yet that it is in force");
	json_decref(r);
	return EX_OK;
}

/* An option's name and the argument it becomes, where they differ. */
static const struct {
	const char *opt, *arg;
} texts[] = {
    {"class", "class"},
    {"to", "to"},
    {"subscriber", "subscriber"},
    {"contract", "contract"},
    {"service", "service"},
    {"static", "static"},
    {"access-port", "access_port"},
    {"contact", "contact"},
    {"abuse-contact", "abuse_contact"},
    {"use", "use"},
    {"software", "software"},
    {"volume", "volume"},
    {"helo", "helo"},
    {"domain", "domain"},
    {"approver", "approver"},
    {"ticket", "ticket"},
    {"reason", "reason"},
};
static const struct {
	const char *opt, *arg;
} times[] = {
    {"starts", "starts_ms"}, {"expires", "expires_ms"}, {"aup", "aup_ms"}, {"review", "review_ms"}};

static int begin(struct cli *c, const char *op)
{
	char prefix[PREFIX_STRLEN];
	int64_t starts = 0;
	int status = EX_OK;
	const char *class = cli_text(c, "class");
	if (!ask_prefix(c, c->args[0], prefix, &status))
		return status;
	/* A script's empty variable must not mean the class without limits. */
	if (class && !*class)
		return cli_fail(c, EX_USAGE,
				"--class is empty: name one, or leave it out for full");
	cli_number(c, "starts", &starts);
	json_t *args = json_pack("{s:s}", "prefix", prefix);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		ask_put_text(c, args, texts[i].arg, texts[i].opt);
	for (size_t i = 0; i < sizeof(times) / sizeof(*times); i++)
		ask_put_number(c, args, times[i].arg, times[i].opt);
	json_t *r = ask_control(c, op, args, &status);
	return changed(c, starts > c->io->now_ms, r, status);
}

static int run_add(struct cli *c)
{
	return begin(c, "exempt.add");
}

static int run_request(struct cli *c)
{
	return begin(c, "exempt.request");
}

static int change(struct cli *c, const char *op, bool until)
{
	char prefix[PREFIX_STRLEN];
	int status = EX_OK;
	if (!ask_prefix(c, c->args[0], prefix, &status))
		return status;
	json_t *args = json_pack("{s:s}", "prefix", prefix);
	ask_put_text(c, args, "reason", "reason");
	if (until)
		ask_put_number(c, args, "until_ms", "until");
	if (until && cli_flag(c, "abuse"))
		json_object_set_new(args, "abuse", json_true());
	json_t *r = ask_control(c, op, args, &status);
	return changed(c, false, r, status);
}

static int run_activate(struct cli *c)
{
	return change(c, "exempt.activate", false);
}

static int run_suspend(struct cli *c)
{
	return change(c, "exempt.suspend", true);
}

static int run_resume(struct cli *c)
{
	return change(c, "exempt.resume", false);
}

static int run_remove(struct cli *c)
{
	return change(c, "exempt.remove", false);
}

/* --- verify --- */

static const struct col verify_cols[] = {
    {"PREFIX", "prefix", COL_TEXT},
    {"ID", "id", COL_NUM},
    {"STATE", "state", COL_TEXT},
    {"EVIDENCE", "evidence", COL_TEXT},
    COL_END,
};
static const struct col item_cols[] = {
    {"ITEM", "item", COL_TEXT},
    {"VERDICT", "verdict", COL_TEXT},
    {"WHY", "words", COL_TEXT},
    COL_END,
};

static int run_verify(struct cli *c)
{
	char prefix[PREFIX_STRLEN];
	int status = EX_OK;
	if (!ask_prefix(c, c->args[0], prefix, &status))
		return status;
	json_t *r = ask_control(c, "exempt.verify", json_pack("{s:s}", "prefix", prefix), &status);
	if (!r)
		return status;
	out_result(c, verify_cols, r);
	if (!c->json)
		out_rows(c, "evidence", item_cols, json_object_get(r, "items"));
	const char *found = json_string_value(json_object_get(r, "evidence"));
	bool holds = found && (strcmp(found, "good") == 0 || strcmp(found, "weak") == 0);
	json_decref(r);
	return holds ? EX_OK : CLI_NO;
}

/* --- the table --- */

#define REASON_OPT                                                                                 \
	{                                                                                          \
		"reason", CLI_TEXT, "R", "why, for the audit trail", 0, 0, false                   \
	}
#define OPTS_END                                                                                   \
	{                                                                                          \
		NULL, CLI_FLAG, NULL, NULL, 0, 0, false                                            \
	}

static const struct cli_opt add_opts[] = {
    {"expires", CLI_END, "TIME|never", "when it ends by itself; default never", 0, 0, false},
    {"starts", CLI_TIME, "TIME", "when it begins; default now", 0, 0, false},
    {"class", CLI_TEXT, "NAME",
     "full: unlimited, throttled: at a low rate, listed: to listed destinations, or a class of the "
     "configuration; default full",
     0, 0, false},
    {"to", CLI_TEXT, "DEST[,DEST...]",
     "the addresses or networks a line of class listed may reach, at most 16", 0, 0, false},
    {"subscriber", CLI_TEXT, "REF", "whose line it is; default the one who holds its lease", 0, 0,
     false},
    {"contract", CLI_TEXT, "C", "the contract that allows it", 0, 0, false},
    {"service", CLI_TEXT, "S", "the service the line is of", 0, 0, false},
    {"static", CLI_CHOICE, "yes|no", "is the address fixed by provisioning", 0, 0, false},
    {"access-port", CLI_TEXT, "P", "where the line ends in the access network", 0, 0, false},
    {"contact", CLI_TEXT, "A", "whom to write to about it", 0, 0, false},
    {"abuse-contact", CLI_TEXT, "A", "whom to write to about abuse", 0, 0, false},
    {"use", CLI_TEXT, "U", "what the mail is", 0, 0, false},
    {"software", CLI_TEXT, "M", "the mail server's software", 0, 0, false},
    {"volume", CLI_TEXT, "V", "how much mail is expected", 0, 0, false},
    {"helo", CLI_TEXT, "NAME", "the name the mail server says of itself", 0, 0, false},
    {"domain", CLI_TEXT, "NAME", "the domain it sends mail of", 0, 0, false},
    {"aup", CLI_TIME, "TIME", "when the acceptable use policy was accepted", 0, 0, false},
    {"approver", CLI_TEXT, "WHO", "who approved it", 0, 0, false},
    {"ticket", CLI_TEXT, "T", "where that is written down", 0, 0, false},
    {"review", CLI_TIME, "TIME", "when somebody is to look at it again", 0, 0, false},
    REASON_OPT,
    OPTS_END,
};
static const struct cli_opt reason_opts[] = {REASON_OPT, OPTS_END};
static const struct cli_opt suspend_opts[] = {
    {"until", CLI_END, "TIME|never", "resume it then by itself; default never", 0, 0, false},
    {"abuse", CLI_FLAG, NULL,
     "the line sends abuse: what accounting.reflex_accounts says happens to the accounts "
     "used from it",
     0, 0, false},
    REASON_OPT,
    OPTS_END,
};
static const struct cli_opt list_opts[] = {
    {"all", CLI_FLAG, NULL, "ended and revoked ones too", 0, 0, false},
    {"state", CLI_CHOICE, "requested|verified|active|pending|suspended|expired|revoked|removed",
     "only those of this state", 0, 0, false},
    {"class", CLI_TEXT, "NAME", "only those of this class", 0, 0, false},
    {"subscriber", CLI_TEXT, "REF", "only this subscriber's", 0, 0, false},
    {"evidence", CLI_CHOICE, "good|weak|unknown|bad", "only those with this evidence", 0, 0, false},
    {"expiring", CLI_TIME, "TIME", "only those that expire by then, such as +30d", 0, 0, false},
    {"within", CLI_TEXT, "PREFIX", "only those inside this network", 0, 0, false},
    OPTS_END,
};
static const struct cli_opt import_opts[] = {
    {"format", CLI_CHOICE, "csv|json", "default csv, or what the file's name says", 0, 0, false},
    {"dry-run", CLI_FLAG, NULL, "check and count, change nothing", 0, 0, false},
    {"replace-missing", CLI_FLAG, NULL, "remove those that are not in the file", 0, 0, false},
    REASON_OPT,
    OPTS_END,
};
static const struct cli_opt export_opts[] = {
    {"format", CLI_CHOICE, "csv|json", "default csv", 0, 0, false},
    OPTS_END,
};

static const struct cli_verb verbs[] = {
    {"add", "PREFIX", "Let PREFIX use port 25.",
     "PREFIX is an address or a network, such as 192.0.2.25 or 2001:db8:5::/48. The command "
     "returns when the kernel has it, and says so in in_force. "
     "A prefix that is registered already is refused with status 73; import changes its entry.",
     add_opts, run_add},
    {"request", "PREFIX", "Record that PREFIX is to use port 25, without letting it.",
     "Its evidence is looked up at once; verify and activate put it in force.", add_opts,
     run_request},
    {"verify", "PREFIX", "Look up the evidence of PREFIX in the DNS now.",
     "The name of the address, whether it is one of its own and leads back, the HELO name, MX and "
     "SPF of the mail domain. A requested one is verified when the evidence is good or weak; exit "
     "status 1 when it is bad or cannot be known now.",
     NULL, run_verify},
    {"activate", "PREFIX", "Put a requested or verified exemption in force.",
     "Where accounting.evidence_required is set it must be verified.", reason_opts, run_activate},
    {"suspend", "PREFIX", "Take the exemption of PREFIX out of force; open sessions are cut.", NULL,
     suspend_opts, run_suspend},
    {"resume", "PREFIX", "Put a suspended exemption in force again.", NULL, reason_opts,
     run_resume},
    {"remove", "PREFIX", "Take the exemption of PREFIX back; sessions that are open are cut.", NULL,
     reason_opts, run_remove},
    {"show", "PREFIX", "Show all that is recorded of an exemption, its evidence and its history.",
     NULL, NULL, exempt_run_show},
    {"list", "", "List the exemptions that have not ended.", NULL, list_opts, exempt_run_list},
    {"import", "FILE|-", "Register many prefixes from a file, all or nothing.",
     "CSV: the first line names the columns; only prefix is needed. Without such a line they are "
     "prefix, class, subscriber, contract, contact, reason, starts and expires. JSON: an array of "
     "objects with these members; export writes all there are. A row says all there is to its "
     "entry: what it leaves out is empty, but state, start and subscriber stay. The rows are one "
     "transaction: with one that is wrong, nothing changes.",
     import_opts, exempt_run_import},
    {"export", "", "Write the exemptions in a form that import reads.",
     "In CSV a field that a spreadsheet would take for a formula gets an apostrophe before it, "
     "which import takes away.",
     export_opts, exempt_run_export},
};
const struct cli_noun noun_exempt = {"exempt", "who may use port 25", CLI_VERBS(verbs)};
