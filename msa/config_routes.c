/*
 * config_routes - the routes of the configuration as one table.
 *
 * Purpose: from `route` groups, the keys around `smarthost` and the transport map to msa/route.
 * Trusted with: passwords of smart hosts, read here. Diagnostics: one line that says what to
 * change. Known gaps: none.
 */
#include <string.h>
#include <talloc.h>

#include "msa/config.h"
#include "msa/route/own.h"

/* A host that is one of our listeners would send everything back to us. */
static bool not_ourselves(void *ctx, const struct msa_config *c, const struct route *r, char **why)
{
	const struct conf_list *const lists[2] = {&c->listen_submission, &c->listen_submissions};
	struct own *own = own_new(ctx);
	bool ok = true;

	for (size_t k = 0; k < 2; k++)
		for (size_t i = 0; i < lists[k]->n; i++)
			(void)own_add_text(own, lists[k]->items[i]);
	for (size_t i = 0; ok && i < r->n; i++) {
		ok = !r->list[i].literal || !own_is(own, &r->list[i].addr, r->list[i].port);
		if (!ok)
			*why = talloc_asprintf(ctx, "%s:%u is this server itself: it listens there",
					       r->list[i].name, r->list[i].port);
	}
	talloc_free(own);
	return ok;
}

static bool prepare_route(void *ctx, struct msa_config *c, struct route *r, const char *what,
			  char **err)
{
	char *why = NULL;

	if (route_prepare(c, r, ctx, &why) && not_ourselves(ctx, c, r, &why) &&
	    route_read_password(c, r, ctx, &why))
		return true;
	*err = talloc_asprintf(ctx, "%s: %s", what, why);
	return false;
}

static struct route *route_named(const struct msa_config *c, const char *name)
{
	struct route *all = c->routes.items;

	for (size_t i = 0; i < c->routes.n; i++)
		if (strcmp(all[i].name, name) == 0)
			return &all[i];
	return NULL;
}

/* smarthost and its neighbours, as a route without a name. */
static bool make_default_route(void *ctx, struct msa_config *c, char **err)
{
	char *empty = talloc_strdup(c, "");
	const struct route *named = route_named(c, c->smarthost);
	struct route *r = &c->default_route;

	if (named) {
		*r = *named;
		r->name = empty;
		return true;
	}
	*r = (struct route){.name = empty,
			    .auth_user = empty,
			    .auth_password_file = empty,
			    .tls = c->relay_tls,
			    .tls_name = c->smarthost_name,
			    .tls_ca = c->smarthost_ca,
			    .source = c->relay_source,
			    .connections = c->destination_connections,
			    .rate = c->destination_rate,
			    .per_connection = c->connection_messages};
	if (strcmp(c->smarthost, "mx") == 0) {
		r->tls_name = r->tls_ca = empty; /* those are of one host */
	} else {
		r->hosts = (struct conf_list){.items = talloc_array(c, char *, 1), .n = 1};
		r->hosts.items[0] = c->smarthost;
	}
	return prepare_route(ctx, c, r, "msa.smarthost", err);
}

bool msa_config_routes(void *ctx, struct msa_config *c, char **err)
{
	struct route *all = c->routes.items;

	for (size_t i = 0; i < c->routes.n; i++) {
		char *what = talloc_asprintf(ctx, "route %s", all[i].name);
		if (!prepare_route(ctx, c, &all[i], what, err))
			return false;
	}
	if (!make_default_route(ctx, c, err))
		return false;
	c->route_table = route_table_new(c, &c->default_route, all, c->routes.n);
	if (!route_set_fallback(c->route_table, c->fallback_route, (uint32_t)c->fallback_after))
		*err = talloc_asprintf(ctx, "msa.fallback_route: there is no route %s",
				       c->fallback_route);
	else if (!route_set_suspect(c->route_table, c->suspect_route))
		*err = talloc_asprintf(ctx, "msa.suspect_route: there is no route %s",
				       c->suspect_route);
	else
		return !c->transport_map[0] ||
		       route_map_load(c->route_table, c->transport_map, ctx, err);
	return false;
}
