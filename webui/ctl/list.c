/*
 * list - see list.h.
 *
 * Trusted with: reading. Diagnostics: on stderr. Known gaps: none.
 */
#include "webui/ctl/list.h"

int list_run(struct cli *c, list_get *get, const char *state, const struct col *cols)
{
	int status = EX_OK;
	int64_t limit = 100;
	const char *err = NULL;
	struct query_list l = {.state = state, .about = cli_text(c, "about")};
	struct query *q = ask_query(c, &status);
	cli_number(c, "limit", &limit);
	cli_number(c, "before", &l.before_id);
	json_t *r = q ? ask_got(c, get(q, &l, (int)limit, &err), err, &status) : NULL;
	if (r)
		status = out_list(c, cols, r);
	json_decref(r);
	return status;
}
