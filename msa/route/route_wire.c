/*
 * route_wire - the table of routes on its way to the relay role.
 *
 * Purpose: one encode/decode pair. Trusted with: passwords, in a frame between two processes of
 * ours. Diagnostics: a bool. Known gaps: none.
 */
#include <string.h>
#include <talloc.h>

#include "lib/proc.h"

#include "msa/route/route_int.h"

#define TEXT_MAX   2048
#define ROUTES_MAX 1000

enum piece { PIECE_ROUTES = 1, PIECE_LINES = 2, PIECE_END = 3 };

static void put_list(struct wire_out *w, const struct conf_list *l)
{
	wire_u32(w, (uint32_t)l->n);
	for (size_t i = 0; i < l->n; i++)
		wire_str(w, l->items[i]);
}

static void put_route(struct wire_out *w, const struct route *r)
{
	wire_str(w, r->name);
	put_list(w, &r->hosts);
	wire_str(w, r->auth_user);
	wire_str(w, r->auth_password_file);
	wire_u8(w, (uint8_t)r->tls);
	wire_str(w, r->tls_name);
	wire_str(w, r->tls_ca);
	put_list(w, &r->source);
	wire_u8(w, r->lmtp);
	wire_i64(w, r->connections);
	wire_i64(w, r->rate);
	wire_i64(w, r->per_connection);
	wire_str(w, r->password);
}

static void put_routes(struct wire_out *w, const struct route_table *t)
{
	wire_u8(w, PIECE_ROUTES);
	wire_u32(w, (uint32_t)t->n);
	for (size_t i = 0; i < t->n; i++)
		put_route(w, &t->routes[i]);
	wire_str(w, t->fallback ? t->fallback->name : "");
	wire_u32(w, t->fallback_after);
	wire_str(w, t->suspect ? t->suspect->name : "");
}

/* As many lines as fit. */
static size_t put_lines(struct wire_out *w, const struct route_table *t, size_t from)
{
	size_t i = from;

	wire_u8(w, PIECE_LINES);
	while (i < t->n_entries && strlen(t->entries[i]->line) + 4 <= w->cap - w->len)
		wire_str(w, t->entries[i++]->line);
	return i;
}

bool route_table_put(const struct route_table *t, size_t *at, struct wire_out *w)
{
	if (*at == 0) {
		put_routes(w, t);
		*at = 1;
		return true;
	}
	if (*at <= t->n_entries) {
		*at = put_lines(w, t, *at - 1) + 1;
		return true;
	}
	wire_u8(w, PIECE_END);
	return false;
}

static char *get_text(void *ctx, struct wire_in *in)
{
	char buf[TEXT_MAX];
	char *s;

	wire_get_str(in, buf, sizeof(buf));
	s = talloc_strdup(ctx, buf);
	explicit_bzero(buf, sizeof(buf)); /* it may have been the password */
	if (!s)
		fatal("out of memory");
	return s;
}

static void get_list(void *ctx, struct wire_in *in, struct conf_list *l)
{
	l->n = wire_get_u32(in);
	if (in->bad || l->n > ROUTE_HOSTS_MAX) {
		in->bad = true;
		l->n = 0;
	}
	l->items = talloc_zero_array(ctx, char *, (unsigned)l->n + 1);
	if (!l->items)
		fatal("out of memory");
	for (size_t i = 0; i < l->n; i++)
		l->items[i] = get_text(ctx, in);
}

static int forget(struct route *r)
{
	if (r->password)
		explicit_bzero(r->password, strlen(r->password));
	return 0;
}

static bool get_route(void *ctx, struct wire_in *in, struct route *r)
{
	char *err;

	r->name = get_text(ctx, in);
	get_list(ctx, in, &r->hosts);
	r->auth_user = get_text(ctx, in);
	r->auth_password_file = get_text(ctx, in);
	r->tls = wire_get_u8(in);
	r->tls_name = get_text(ctx, in);
	r->tls_ca = get_text(ctx, in);
	get_list(ctx, in, &r->source);
	r->lmtp = wire_get_u8(in);
	r->connections = wire_get_i64(in);
	r->rate = wire_get_i64(in);
	r->per_connection = wire_get_i64(in);
	struct route *guard = talloc_zero(ctx, struct route);
	if (!guard)
		fatal("out of memory");
	r->password = guard->password = get_text(guard, in);
	talloc_set_destructor(guard, forget);
	return !in->bad && r->tls >= ROUTE_TLS_NONE && r->tls <= ROUTE_TLS_VERIFY &&
	       r->connections > 0 && r->rate >= 0 && r->per_connection >= 0 &&
	       route_prepare(ctx, r, ctx, &err);
}

static struct route_table *get_routes(void *ctx, struct wire_in *in)
{
	uint32_t n = wire_get_u32(in);
	static const struct route none;
	struct route_table *t;

	if (in->bad || n == 0 || n > ROUTES_MAX)
		return NULL;
	t = route_table_new(ctx, &none, NULL, 0);
	talloc_free(t->routes);
	t->routes = talloc_zero_array(t, struct route, n);
	if (!t->routes)
		fatal("out of memory");
	t->n = n;
	for (uint32_t i = 0; i < n; i++)
		if (!get_route(t, in, &t->routes[i]))
			goto bad;
	char *name = get_text(t, in);
	if (!route_set_fallback(t, name, wire_get_u32(in)))
		goto bad;
	name = get_text(t, in);
	if (route_set_suspect(t, name) && wire_done(in))
		return t;
bad:
	talloc_free(t);
	return NULL;
}

static bool get_lines(struct wire_in *in, struct route_table *t)
{
	const char *err;

	while (!in->bad && in->p < in->end) {
		size_t n;
		const uint8_t *line = wire_get_bytes(in, TEXT_MAX, &n);
		if (in->bad || !route_map_line(t, (const char *)line, n, &err))
			return false;
	}
	return !in->bad;
}

bool route_table_get(void *ctx, struct wire_in *in, struct route_table **t)
{
	switch (wire_get_u8(in)) {
	case PIECE_ROUTES:
		if (*t)
			return false;
		*t = get_routes(ctx, in);
		return *t != NULL;
	case PIECE_LINES:
		return *t && get_lines(in, *t);
	case PIECE_END:
		return *t && wire_done(in);
	default:
		return false;
	}
}
