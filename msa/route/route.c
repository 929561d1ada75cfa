/*
 * route - see route.h.
 *
 * Purpose: one table that says where each recipient's mail goes; msad and its relay role have the
 * same. Trusted with: passwords for smart hosts, wiped when the table goes. Diagnostics: texts.
 * Known gaps: none.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/mail/path.h"
#include "msa/route/route_int.h"

#define PASSWORD_MAX 1024

/* --- hosts ------------------------------------------------------------------------------- */

static bool number(const char *s, size_t n, unsigned long max, unsigned long *out)
{
	unsigned long v = 0;

	if (n == 0 || n > 5)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!isdigit((unsigned char)s[i]))
			return false;
		v = v * 10 + (unsigned long)(s[i] - '0');
	}
	*out = v;
	return v <= max;
}

/* HOST[:PORT] of n octets: where the port begins; n when there is none. */
static size_t port_at(const char *s, size_t n)
{
	const char *colon = memrchr(s, ':', n);

	if (!colon || (s[0] == '[' && s[n - 1] == ']'))
		return n;
	/* An address of version 6 without brackets has no port. */
	if (s[0] != '[' && memchr(s, ':', (size_t)(colon - s)))
		return n;
	return (size_t)(colon - s);
}

static bool take_name(void *owner, const char *s, size_t n, struct route_host *out,
		      const char **err)
{
	bool brackets = n > 2 && s[0] == '[' && s[n - 1] == ']';
	char *name = brackets ? talloc_strndup(owner, s + 1, n - 2) : talloc_strndup(owner, s, n);
	const char *why;

	if (!name)
		fatal("out of memory");
	for (char *p = name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	out->name = name;
	out->literal = addr_parse(name, &out->addr, &why);
	if (out->literal && !out->mx)
		return true;
	*err = out->mx ? "what follows mx: is not a domain" : "neither a host name nor an address";
	return !out->literal && !brackets && name[0] && path_domain_ok(name, strlen(name));
}

bool route_parse_host(void *owner, const char *text, size_t len, uint16_t port,
		      struct route_host *out, const char **err)
{
	unsigned long v;
	const char *blank = memchr(text, ' ', len);

	*out = (struct route_host){.port = port, .pref = 10};
	if (blank) {
		if (!number(text, (size_t)(blank - text), 65535, &v)) {
			*err = "the preference before the host is not a number of 0 to 65535";
			return false;
		}
		out->pref = (uint16_t)v;
		len -= (size_t)(blank + 1 - text);
		text = blank + 1;
	}
	if (len >= 3 && strncasecmp(text, "mx:", 3) == 0) {
		out->mx = true;
		return take_name(owner, text + 3, len - 3, out, err);
	}
	size_t n = len ? port_at(text, len) : 0;
	if (n < len) {
		if (!number(text + n + 1, len - n - 1, 65535, &v) || v == 0) {
			*err = "the port is not a number of 1 to 65535";
			return false;
		}
		out->port = (uint16_t)v;
	}
	*err = "the host is missing";
	return n && take_name(owner, text, n, out, err);
}

/* --- a route ----------------------------------------------------------------------------- */

static bool take_sources(struct route *r, void *ctx, char **err)
{
	r->has_source4 = r->has_source6 = false;
	for (size_t i = 0; i < r->source.n; i++) {
		struct addr a;
		const char *why;
		if (!addr_parse(r->source.items[i], &a, &why)) {
			*err = talloc_asprintf(ctx, "source: \"%s\": %s", r->source.items[i], why);
			return false;
		}
		bool *has = addr_is4(&a) ? &r->has_source4 : &r->has_source6;
		if (*has) {
			*err = talloc_asprintf(ctx,
					       "source: \"%s\" is the second address of its family",
					       r->source.items[i]);
			return false;
		}
		*has = true;
		*(addr_is4(&a) ? &r->source4 : &r->source6) = a;
	}
	return true;
}

bool route_prepare(void *owner, struct route *r, void *ctx, char **err)
{
	const char *why;

	if (r->hosts.n > ROUTE_HOSTS_MAX) {
		*err = talloc_asprintf(ctx, "hosts: more than %d", ROUTE_HOSTS_MAX);
		return false;
	}
	r->n = r->hosts.n;
	r->list = talloc_zero_array(owner, struct route_host, (unsigned)r->n + 1);
	if (!r->list)
		fatal("out of memory");
	for (size_t i = 0; i < r->n; i++)
		if (!route_parse_host(owner, r->hosts.items[i], strlen(r->hosts.items[i]),
				      r->lmtp ? ROUTE_LMTP_PORT : ROUTE_SMTP_PORT, &r->list[i],
				      &why)) {
			*err = talloc_asprintf(ctx, "hosts: \"%s\": %s", r->hosts.items[i], why);
			return false;
		}
	if (r->lmtp && r->n == 0) {
		*err = talloc_strdup(ctx, "lmtp needs hosts: nobody's mail servers speak it");
		return false;
	}
	if (r->auth_user[0] && r->tls < ROUTE_TLS_ENCRYPT) {
		*err = talloc_strdup(ctx, "auth_user needs tls = encrypt or verify: no password is "
					  "sent in clear text");
		return false;
	}
	if (!r->auth_user[0] != !r->auth_password_file[0]) {
		*err = talloc_strdup(ctx, "auth_user and auth_password_file belong together");
		return false;
	}
	return take_sources(r, ctx, err);
}

static int wipe(char **p)
{
	explicit_bzero(*p, strlen(*p));
	return 0;
}

static void keep_password(void *owner, struct route *r, const char *text, size_t n)
{
	char **holder = talloc(owner, char *);

	r->password = talloc_strndup(holder, text, n);
	if (!holder || !r->password)
		fatal("out of memory");
	*holder = r->password;
	talloc_set_destructor(holder, wipe);
}

bool route_read_password(void *owner, struct route *r, void *ctx, char **err)
{
	size_t len;

	if (!r->auth_password_file[0]) {
		r->password = NULL;
		return true;
	}
	char *text = proc_read_file(r->auth_password_file, PASSWORD_MAX, &len);
	if (!text) {
		*err = talloc_asprintf(ctx, "auth_password_file: %s: %s", r->auth_password_file,
				       strerror(errno));
		return false;
	}
	size_t n = strcspn(text, "\r\n");
	if (n)
		keep_password(owner, r, text, n);
	else
		*err = talloc_asprintf(ctx, "auth_password_file: %s: its first line is empty",
				       r->auth_password_file);
	explicit_bzero(text, len);
	free(text);
	return n > 0;
}

/* --- the table --------------------------------------------------------------------------- */

struct route_table *route_table_new(void *ctx, const struct route *dflt, const struct route *routes,
				    size_t n)
{
	struct route_table *t = talloc_zero(ctx, struct route_table);

	if (!t)
		fatal("out of memory");
	t->routes = talloc_array(t, struct route, (unsigned)n + 1);
	t->hash_cap = 64;
	t->hash = talloc_zero_array(t, struct map_entry *, (unsigned)t->hash_cap);
	if (!t->routes || !t->hash)
		fatal("out of memory");
	t->routes[0] = *dflt;
	for (size_t i = 0; i < n; i++)
		t->routes[i + 1] = routes[i];
	t->n = n + 1;
	return t;
}

const struct route *route_find(const struct route_table *t, const char *name)
{
	for (size_t i = 1; i < t->n; i++)
		if (strcmp(t->routes[i].name, name) == 0)
			return &t->routes[i];
	return NULL;
}

const char *route_name(const struct route_table *t, size_t i)
{
	return i + 1 < t->n ? t->routes[i + 1].name : NULL;
}

bool route_set_fallback(struct route_table *t, const char *name, uint32_t after)
{
	t->fallback = name[0] ? route_find(t, name) : NULL;
	t->fallback_after = after;
	return t->fallback || !name[0];
}

bool route_set_suspect(struct route_table *t, const char *name)
{
	t->suspect = name[0] ? route_find(t, name) : NULL;
	return t->suspect || !name[0];
}

/* --- which one? ---------------------------------------------------------------------------- */

static const struct map_entry *look_up(const struct route_table *t, const char *rcpt,
				       const char *domain)
{
	const struct map_entry *e = route_map_find(t, rcpt, strlen(rcpt));

	if (!e && domain[0])
		e = route_map_find(t, domain, strlen(domain));
	for (const char *up = strchr(domain, '.'); !e && up; up = strchr(up + 1, '.'))
		e = route_map_find(t, up, strlen(up));
	return e ? e : route_map_find(t, "*", 1);
}

static void take_route(struct route_choice *c, const struct route *r, const char *domain)
{
	c->route = r;
	c->domain = r->n ? "" : domain;
}

void route_choose(const struct route_table *t, const struct route_ask *ask,
		  struct route_choice *out)
{
	const char *at = strrchr(ask->rcpt, '@'), *domain = at ? at + 1 : "";
	const struct map_entry *e = t->n_entries ? look_up(t, ask->rcpt, domain) : NULL;

	*out = (struct route_choice){.act = ROUTE_TO, .domain = ""};
	if (e && e->act != ROUTE_TO) {
		out->act = e->act;
		out->status = e->status;
		out->text = e->text;
		return;
	}
	if (t->fallback && ask->attempts >= t->fallback_after) {
		take_route(out, t->fallback, domain);
		out->fallback = true;
	} else if (ask->suspect && t->suspect && !(e && e->route && e->route->lmtp)) {
		take_route(out, t->suspect, domain);
	} else if (e && (e->host || e->domain)) {
		out->route = &t->routes[0];
		out->host = e->host;
		out->domain = e->host ? "" : e->domain;
	} else if (e && e->route) {
		take_route(out, e->route, domain);
	} else if (e) { /* mx */
		out->route = &t->routes[0];
		out->domain = domain;
	} else {
		take_route(out, &t->routes[0], domain);
	}
}

void route_override(const struct route_table *t, const char *name, const struct route_ask *ask,
		    struct route_choice *c)
{
	const struct route *r = name && name[0] ? route_find(t, name) : NULL;
	const char *at = strrchr(ask->rcpt, '@');

	if (!r)
		return;
	*c = (struct route_choice){.act = ROUTE_TO, .domain = ""};
	take_route(c, r, at ? at + 1 : "");
}

const char *route_destination(const struct route_choice *c, char buf[static ROUTE_NAME_MAX])
{
	const char *name = c->route->name;

	if (c->host)
		snprintf(buf, ROUTE_NAME_MAX,
			 c->host->literal && !addr_is4(&c->host->addr) ? "[%s]:%u" : "%s:%u",
			 c->host->name, c->host->port);
	else if (c->domain[0])
		snprintf(buf, ROUTE_NAME_MAX, "%s%s%s", name, name[0] ? "/" : "", c->domain);
	else
		snprintf(buf, ROUTE_NAME_MAX, "route:%s", name[0] ? name : "default");
	return buf;
}
