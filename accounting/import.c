/*
 * import - see import.h.
 *
 * Trusted with: nothing but memory. Diagnostics: an error names the row, counted over all requests.
 * Known gaps: none.
 */
#include "accounting/import.h"

#include <stdio.h>
#include <string.h>

#include <talloc.h>

#include "lib/proc.h"
#include "accounting/acctd.h"

#define ROWS_MAX    1000    /* of one request */
#define IMPORT_ROWS 1000000 /* of one import */
#define IMPORTS_MAX 4	    /* of one operation */
#define IDLE_MS	    60000
#define BLOCK	    65536

void import_forget(struct import *m)
{
	struct import **p = &m->a->imports;
	while (*p && *p != m)
		p = &(*p)->next;
	if (*p)
		*p = m->next;
	event_free(m->idle);
	talloc_free(m);
}

static void on_idle(evutil_socket_t none, short what, void *arg)
{
	(void)none, (void)what;
	import_forget(arg);
}

void imports_end(struct acctd *a)
{
	while (a->imports)
		import_forget(a->imports);
}

static struct import *new_import(struct op_call *c, size_t row_size)
{
	struct import *m = talloc_zero(NULL, struct import);
	m->a = c->a;
	m->op = c->op;
	m->row_size = row_size;
	m->idle = evtimer_new(c->a->base, on_idle, m);
	if (!m->idle)
		fatal("out of memory");
	token_new(m->id);
	snprintf(m->actor, sizeof m->actor, "%s", c->who.actor);
	m->next = c->a->imports;
	c->a->imports = m;
	return m;
}

struct import *import_of(struct op_call *c, size_t row_size)
{
	const char *id = op_text(c->args, "import");
	int n = 0;
	for (struct import *m = c->a->imports; m; m = m->next) {
		if (strcmp(m->op, c->op) != 0)
			continue;
		if (id && strcmp(m->id, id) == 0 && strcmp(m->actor, c->who.actor) == 0)
			return m;
		n++;
	}
	if (id)
		op_fail(c, "notfound",
			"there is no such import: it ended, or was idle for a minute; begin again");
	else if (n >= IMPORTS_MAX)
		op_fail(c, "unavailable", "%d imports are under way: try again in a minute", n);
	else
		return new_import(c, row_size);
	return NULL;
}

void *import_row(struct import *m)
{
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 256;
		m->rows = talloc_realloc_size(m, m->rows, m->cap * m->row_size);
	}
	char *row = (char *)m->rows + m->n * m->row_size;
	memset(row, 0, m->row_size);
	return row;
}

const char *import_text(struct import *m, const char *s)
{
	size_t n = s ? strlen(s) + 1 : 1;
	if (n == 1)
		return "";
	if (!m->block || m->used + n > BLOCK) {
		m->block = talloc_size(m, BLOCK > n ? BLOCK : n);
		m->used = 0;
	}
	char *to = m->block + m->used;
	memcpy(to, s, n);
	m->used += n;
	return to;
}

bool import_bad_row(struct op_call *c, const char *code, size_t row, const char *why)
{
	op_fail(c, code, "row %zu: %s; nothing was changed", row, why);
	return false;
}

bool import_take(struct op_call *c, struct import *m, bool may_be_empty,
		 bool (*take)(struct op_call *c, struct import *m, const json_t *row))
{
	const json_t *rows = json_object_get(c->args, "rows");
	size_t n = json_array_size(rows);
	if (n > ROWS_MAX || (n == 0 && m->n == 0 && !may_be_empty)) {
		op_fail(c, "invalid", "rows has 1 to %d rows a request", ROWS_MAX);
		return false;
	}
	if (m->n + n > IMPORT_ROWS) {
		op_fail(c, "invalid", "an import has at most %d rows: split the file", IMPORT_ROWS);
		return false;
	}
	for (size_t i = 0; i < n; i++)
		if (!take(c, m, json_array_get(rows, i)))
			return false;
	return true;
}

bool import_more(struct op_call *c, struct import *m)
{
	static const struct timeval idle = {.tv_sec = IDLE_MS / 1000};
	if (!json_is_true(json_object_get(c->args, "more")))
		return false;
	(void)event_add(m->idle, &idle);
	op_done(c, json_pack("{s:s, s:I}", "import", m->id, "rows", (json_int_t)m->n));
	return true;
}

void import_add_id(int64_t id, void *ids)
{
	struct import_ids *l = ids;
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 1024;
		l->list = talloc_realloc(l->ctx, l->list, int64_t, l->cap);
	}
	l->list[l->n++] = id;
}
