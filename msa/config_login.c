/*
 * config_login - who may log in how: mechanisms, of listeners and of realms.
 *
 * Purpose: the part of the configuration that AUTH asks. Trusted with: nothing of its own.
 * Diagnostics: one line that says what to change. Known gaps: a realm is known only once somebody
 * has logged in, so EHLO offers it what the listener has.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "msa/config.h"

/* --- mechanisms --- */

static const char *const known_mechs[] = {
    "SCRAM-SHA-512-PLUS",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-512",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "EXTERNAL",
    "PLAIN",
    "LOGIN",
    "CRAM-MD5",
    "DIGEST-MD5",
};
#define N_MECHS (sizeof(known_mechs) / sizeof(*known_mechs))

static int known_mech(const char *name, size_t len)
{
	for (size_t i = 0; i < N_MECHS; i++)
		if (strlen(known_mechs[i]) == len && strncasecmp(known_mechs[i], name, len) == 0)
			return (int)i;
	return -1;
}

/* Cyrus SASL's own list: each once, and -PLUS goes without saying. */
static void want_mech(struct msa_config *c, const char *name)
{
	size_t len = strlen(name);
	const char *at;

	if (len > 5 && strcmp(name + len - 5, "-PLUS") == 0)
		len -= 5;
	for (at = c->mechs; (at = strstr(at, name)); at += len)
		if ((at == c->mechs || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
			return;
	c->mechs =
	    talloc_asprintf_append(c->mechs, "%s%.*s", c->mechs[0] ? " " : "", (int)len, name);
}

/* The mechanism of len octets at name, or NULL with *err. */
static const char *check_mech(void *ctx, struct msa_config *c, const char *key, const char *name,
			      size_t len, char **err)
{
	int i = known_mech(name, len);

	if (i < 0) {
		*err = talloc_asprintf(ctx, "msa.%s: %.*s is not known;", key, (int)len, name);
		for (size_t j = 0; j < N_MECHS; j++)
			*err = talloc_asprintf_append(*err, "%s %s", j ? "," : "", known_mechs[j]);
		*err = talloc_asprintf_append(*err, " are");
	} else if (strcmp(known_mechs[i], "EXTERNAL") == 0 && c->tls_client_ca[0] == '\0') {
		*err = talloc_asprintf(ctx, "msa.%s: EXTERNAL needs msa.tls_client_ca", key);
	} else {
		want_mech(c, known_mechs[i]);
		return known_mechs[i];
	}
	return NULL;
}

static bool has_listener(const struct msa_config *c, const char *address)
{
	for (size_t i = 0; i < c->listen_submission.n; i++)
		if (strcmp(c->listen_submission.items[i], address) == 0)
			return true;
	for (size_t i = 0; i < c->listen_submissions.n; i++)
		if (strcmp(c->listen_submissions.items[i], address) == 0)
			return true;
	return false;
}

/* One item of auth_mechanisms_of. */
static bool check_mechs_of(void *ctx, struct msa_config *c, const char *item,
			   struct msa_listener *l, char **err)
{
	size_t n = strcspn(item, " ");

	l->address = talloc_strndup(c, item, n);
	if (!has_listener(c, l->address)) {
		*err = talloc_asprintf(ctx,
				       "msa.auth_mechanisms_of: %s is neither in "
				       "msa.listen_submission nor in msa.listen_submissions",
				       l->address);
		return false;
	}
	for (item += n; *(item += strspn(item, " ")); item += n) {
		n = strcspn(item, " ");
		l->mechs = talloc_realloc(c, l->mechs, const char *, l->n_mechs + 1);
		l->mechs[l->n_mechs] = check_mech(ctx, c, "auth_mechanisms_of", item, n, err);
		if (!l->mechs[l->n_mechs++])
			return false;
	}
	if (l->n_mechs == 0)
		*err =
		    talloc_asprintf(ctx, "msa.auth_mechanisms_of: %s has no mechanism", l->address);
	return l->n_mechs > 0;
}

/* --- realms --- */

static bool has_word(const struct conf_list *l, const char *word)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcasecmp(l->items[i], word) == 0)
			return true;
	return false;
}

static bool check_realm(void *ctx, const struct msa_config *c, const struct msa_realm *r,
			char **err)
{
	const char *what = NULL, *item = "";

	if (r->domains.n == 0)
		what = "domains is empty: whose accounts is it about?";
	for (size_t i = 0; i < r->domains.n && !what; i++)
		if (item = r->domains.items[i], !path_domain_ok(item, strlen(item)))
			what = "is not a domain";
	for (size_t i = 0; i < r->auth_mechanisms.n && !what; i++)
		if (item = r->auth_mechanisms.items[i], known_mech(item, strlen(item)) < 0)
			what = "is not a known mechanism";
	for (size_t i = 0; i < r->listeners.n && !what; i++)
		if (item = r->listeners.items[i], !has_listener(c, item))
			what = "is neither in msa.listen_submission nor in msa.listen_submissions";
	if (!what && r->sasldb[0] && r->sasl_conf_path[0])
		item = "", what = "sasldb and sasl_conf_path are two back ends; give one";
	if (what)
		*err =
		    talloc_asprintf(ctx, "realm %s: %s%s%s", r->name, item, *item ? " " : "", what);
	return !what;
}

/* One item of sasl_realm_of. */
static bool check_realm_of(void *ctx, const struct msa_config *c, char *item, char **err)
{
	size_t n = strcspn(item, " "), blanks = strspn(item + n, " ");
	char *domain = item + n + blanks;
	const char *what = NULL;
	char *address = talloc_strndup(ctx, item, n);

	if (!has_listener(c, address))
		what = "is neither in msa.listen_submission nor in msa.listen_submissions";
	else if (!path_domain_ok(domain, strlen(domain)))
		what = "is not followed by a domain";
	if (what)
		*err = talloc_asprintf(ctx, "msa.sasl_realm_of: %s %s", address, what);
	talloc_free(address);
	for (; *domain; domain++)
		*domain = (char)tolower((unsigned char)*domain);
	return !what;
}

const char *msa_config_realm_of(const struct msa_config *c, const char *listener)
{
	size_t n = strlen(listener);

	for (size_t i = 0; i < c->sasl_realm_of.n; i++) {
		const char *item = c->sasl_realm_of.items[i];

		if (strncmp(item, listener, n) == 0 && item[n] == ' ')
			return item + n + strspn(item + n, " ");
	}
	return c->sasl_realm;
}

/* --- back ends --- */

static bool has_backend(const struct msa_realm *r)
{
	return r->sasldb[0] || r->sasl_conf_path[0];
}

static void make_backends(struct msa_config *c)
{
	const struct msa_realm *all = c->realms.items;

	c->backends = talloc_zero_array(c, struct auth_backend, (unsigned)c->realms.n + 1);
	c->backends[0] = (struct auth_backend){.name = "",
					       .sasldb = c->sasldb,
					       .conf_path = c->sasl_conf_path,
					       .workers = (int)c->auth_workers};
	c->n_backends = 1;
	for (size_t i = 0; i < c->realms.n; i++)
		if (has_backend(&all[i]))
			c->backends[c->n_backends++] = (struct auth_backend){
			    .name = all[i].name,
			    .domains = (const char *const *)all[i].domains.items,
			    .n_domains = all[i].domains.n,
			    .sasldb = all[i].sasldb,
			    .conf_path = all[i].sasl_conf_path,
			    .workers = (int)all[i].auth_workers};
}

/* The first realm with a domain has it: a back end in a later one would serve nobody. */
static bool check_shadowed(void *ctx, const struct msa_config *c, char **err)
{
	const struct msa_realm *all = c->realms.items;

	for (size_t i = 1; i < c->realms.n; i++)
		for (size_t k = 0; k < all[i].domains.n * i; k++) {
			const char *domain = all[i].domains.items[k / i];
			const struct msa_realm *before = &all[k % i];

			if (!has_word(&before->domains, domain) ||
			    (!has_backend(&all[i]) && !has_backend(before)))
				continue;
			*err = talloc_asprintf(
			    ctx, "realm %s: %s is in realm %s too; with back ends it can have one",
			    all[i].name, domain, before->name);
			return false;
		}
	return true;
}

static bool same_backend(const struct auth_backend *a, const struct auth_backend *b)
{
	if (strcmp(a->name, b->name) != 0 || strcmp(a->sasldb, b->sasldb) != 0 ||
	    strcmp(a->conf_path, b->conf_path) != 0 || a->workers != b->workers ||
	    a->n_domains != b->n_domains)
		return false;
	for (size_t i = 0; i < a->n_domains; i++)
		if (strcasecmp(a->domains[i], b->domains[i]) != 0)
			return false;
	return true;
}

bool msa_config_same_backends(void *ctx, const struct msa_config *old,
			      const struct msa_config *fresh, char **err)
{
	bool same = old->n_backends == fresh->n_backends;

	for (size_t i = 0; same && i < old->n_backends; i++)
		same = same_backend(&old->backends[i], &fresh->backends[i]);
	if (!same)
		*err = talloc_strdup(ctx, "realms with back ends of their own cannot change on "
					  "SIGHUP: send SIGUSR2, or restart");
	return same;
}

bool msa_config_may_login(const struct msa_config *c, const char *account, const char *mech,
			  const char *listener)
{
	const char *at = strrchr(account, '@');
	const struct msa_realm *all = c->realms.items;

	for (size_t i = 0; at && i < c->realms.n; i++)
		if (has_word(&all[i].domains, at + 1))
			return (!all[i].auth_mechanisms.n ||
				has_word(&all[i].auth_mechanisms, mech)) &&
			       (!all[i].listeners.n || has_word(&all[i].listeners, listener));
	return true;
}

/* --- all of it --- */

static bool check_mechs(void *ctx, struct msa_config *c, char **err)
{
	c->mechs = talloc_strdup(c, "");
	for (size_t i = 0; i < c->auth_mechanisms.n; i++) {
		const char *name = c->auth_mechanisms.items[i];
		const char *m = check_mech(ctx, c, "auth_mechanisms", name, strlen(name), err);

		if (!m)
			return false;
		c->auth_mechanisms.items[i] = talloc_strdup(c, m);
	}
	c->of = talloc_zero_array(c, struct msa_listener, (unsigned)c->auth_mechanisms_of.n);
	for (size_t i = 0; i < c->auth_mechanisms_of.n; i++)
		if (!check_mechs_of(ctx, c, c->auth_mechanisms_of.items[i], &c->of[i], err))
			return false;
	if (c->auth_mechanisms.n > 0)
		return true;
	*err = talloc_strdup(ctx, "msa.auth_mechanisms is empty: nobody could log in");
	return false;
}

const struct msa_listener *msa_config_listener(const struct msa_config *c, const char *address)
{
	for (size_t i = 0; i < c->auth_mechanisms_of.n; i++)
		if (strcmp(c->of[i].address, address) == 0)
			return &c->of[i];
	return NULL;
}

bool msa_config_login(void *ctx, struct msa_config *c, char **err)
{
	const struct msa_realm *all = c->realms.items;

	if (!check_mechs(ctx, c, err))
		return false;
	for (size_t i = 0; i < c->realms.n; i++)
		if (!check_realm(ctx, c, &all[i], err))
			return false;
	for (size_t i = 0; i < c->sasl_realm_of.n; i++)
		if (!check_realm_of(ctx, c, c->sasl_realm_of.items[i], err))
			return false;
	make_backends(c);
	return check_shadowed(ctx, c, err);
}
