/*
 * rules - see rules.h.
 *
 * Trusted with: names of files with secrets; the secrets are read by the role that sends, at each
 * attempt. Diagnostics: *err. Known gaps: none.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <talloc.h>

#include "accounting/alert/rules.h"

static const char *const kinds[] = {"account",	"operator",  "zombie",
				    "spraying", "complaint", "appliance"};
static const char *const severities[] = {"low", "medium", "high"};

static int index_of(const char *const *words, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i], word) == 0)
			return (int)i;
	return -1;
}

#define INDEX(words, word) index_of(words, sizeof(words) / sizeof *(words), word)

/* --- checks --- */

static const char *bad_secret(const char *file)
{
	struct stat st;
	if (!*file)
		return NULL;
	if (stat(file, &st) != 0 || access(file, R_OK) != 0)
		return strerror(errno);
	if (st.st_mode & 07)
		return "everybody may use it: chmod o=";
	return st.st_size == 0 ? "it is empty: put the secret into its first line" : NULL;
}

static bool plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s <= 0x20 || (unsigned char)*s == 0x7f)
			return false;
	return true;
}

static const char *bad_url(const struct alert_rule *r)
{
	bool https = strncasecmp(r->url, "https://", 8) == 0;
	bool http = strncasecmp(r->url, "http://", 7) == 0;
	if (!*r->url)
		return NULL;
	if (!plain(r->url) || (!https && !http))
		return "url: write https://HOST/PATH";
	if (http && !r->plain_http)
		return "url: without TLS anybody on the way reads and forges alerts: use https, or "
		       "say plain_http = true";
	const char *host = r->url + (https ? 8 : 7);
	return memchr(host, '@', strcspn(host, "/?#")) ? "url: put no password into it: use headers"
						       : NULL;
}

/* "Name: value", a name the role does not set itself. */
static const char *bad_header(const char *line)
{
	static const char *const own[] = {
	    "host:", "content-length:", "content-type:", "transfer-encoding:", "sekisho-"};
	size_t n = strcspn(line, ":");
	if (n == 0 || line[n] != ':')
		return "headers: write \"Name: value\"";
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)line[i]) && !strchr("-_", line[i]))
			return "headers: write \"Name: value\"";
	for (const char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p == 0x7f)
			return "headers: no control characters";
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (strncasecmp(line, own[i], strlen(own[i])) == 0)
			return "headers: Host, Content-… and Sekisho-… are set by themselves";
	return NULL;
}

static const char *bad_address(const char *a)
{
	const char *at = strrchr(a, '@');
	if (!at || at == a || !at[1] || strlen(a) > 254 || !plain(a) || strpbrk(a, "<>(),;:\\\""))
		return "is not a mail address";
	return NULL;
}

static const char *bad_mail(const struct alert_rule *r)
{
	if (!*r->smtp_host)
		return r->to.n ? "to needs smtp_host" : NULL;
	if (!plain(r->smtp_host) || strpbrk(r->smtp_host, "/@?#"))
		return "smtp_host: write a name or an address";
	if (r->to.n == 0 || bad_address(r->from))
		return "smtp_host needs from and to, mail addresses";
	for (size_t i = 0; i < r->to.n; i++)
		if (bad_address(r->to.items[i]))
			return "to: write mail addresses";
	if ((*r->smtp_user != '\0') != (*r->smtp_password_file != '\0'))
		return "smtp_user and smtp_password_file go together";
	if (*r->smtp_user && r->smtp_tls >= ALERT_TLS_OPPORTUNISTIC)
		return "a password is not sent without TLS: smtp_tls = required or implicit";
	return NULL;
}

static const char *bad_words(const struct alert_rule *r)
{
	for (size_t i = 0; i < r->kinds.n; i++)
		if (INDEX(kinds, r->kinds.items[i]) < 0)
			return "kinds: account, operator, zombie, spraying, complaint, appliance";
	for (size_t i = 0; i < r->headers.n; i++) {
		const char *bad = bad_header(r->headers.items[i]);
		if (bad)
			return bad;
	}
	return r->retry_max_ms < r->retry_min_ms ? "retry_max is below retry_min" : NULL;
}

static const char *bad_rule(const struct alert_rule *r)
{
	const char *(*const checks[])(const struct alert_rule *) = {bad_url, bad_mail, bad_words};
	if (!*r->url && !*r->smtp_host)
		return "it tells nobody: set url, or smtp_host with from and to";
	for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
		const char *bad = checks[i](r);
		if (bad)
			return bad;
	}
	return NULL;
}

static bool check_one(void *ctx, const struct alert_rule *r, char **err)
{
	const char *const files[] = {r->secret_file, r->smtp_password_file};
	const char *bad = bad_rule(r);
	if (bad) {
		*err = talloc_asprintf(ctx, "alert %s: %s", r->name, bad);
		return false;
	}
	for (size_t i = 0; i < 2; i++) {
		bad = bad_secret(files[i]);
		if (!bad)
			continue;
		*err = talloc_asprintf(ctx, "alert %s: %s: %s", r->name, files[i], bad);
		return false;
	}
	if (!*r->ca_file || access(r->ca_file, R_OK) == 0)
		return true;
	*err = talloc_asprintf(ctx, "alert %s: %s: %s", r->name, r->ca_file, strerror(errno));
	return false;
}

bool rules_check(void *ctx, const struct conf_items *rules, char **err)
{
	const struct alert_rule *all = rules->items;
	for (size_t i = 0; i < rules->n; i++)
		if (!check_one(ctx, &all[i], err))
			return false;
	return true;
}

/* --- questions --- */

const struct alert_rule *rules_named(const struct conf_items *rules, const char *name)
{
	const struct alert_rule *all = rules->items;
	for (size_t i = 0; i < rules->n; i++)
		if (strcmp(all[i].name, name) == 0)
			return &all[i];
	return NULL;
}

const char *rules_dest(const struct alert_rule *r, size_t i)
{
	if (*r->url && i-- == 0)
		return r->url;
	return *r->smtp_host && i < r->to.n ? r->to.items[i] : NULL;
}

const char *rules_kind(const char *detector)
{
	static const char *const own[] = {"operator", "zombie", "spraying", "complaint"};
	int i = INDEX(own, detector);
	return i < 0 ? "account" : own[i];
}

int rules_rank(const struct alert_change *c)
{
	static const struct {
		const char *what;
		int rank;
	} map[] = {{"watch", 1},     {"throttle", 2}, {"contained", 3}, {"opened", 2},
		   {"complaint", 1}, {"suspect", 4},  {"begun", 2},	{"released", -1},
		   {"resolved", -1}, {"faded", -1},   {"ended", -1}};
	for (size_t i = 0; i < sizeof map / sizeof map[0]; i++) {
		if (strcmp(c->what, map[i].what) != 0)
			continue;
		bool suspended = map[i].rank == 3 && strcmp(c->stage, "suspend") == 0;
		return suspended ? 4 : map[i].rank;
	}
	return 0;
}

static bool listed(const struct conf_list *l, const char *word)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->items[i], word) == 0)
			return true;
	return l->n == 0;
}

/* The detector's and the limits' penalties have a stage; what else opens a case has none. */
static bool stage_enough(const struct alert_rule *r, const struct alert_change *c)
{
	if (strcmp(c->kind, "account") != 0)
		return true;
	return rules_rank(c) > r->stage && strcmp(c->what, "opened") != 0;
}

bool rules_wants(const struct alert_rule *r, const struct alert_change *c)
{
	if (rules_rank(c) <= 0 || !listed(&r->kinds, c->kind) || !stage_enough(r, c))
		return false;
	if (INDEX(severities, c->severity) < r->severity)
		return false;
	/* A class that nobody can say is no reason to be silent. */
	return !c->account || !*c->class || listed(&r->classes, c->class);
}
