/*
 * audit - who changed what, when, from where, and why.
 *
 * Known gaps: none.
 */
#include "webui/pages/pages.h"

static void row(struct html *h, const json_t *x)
{
	put(h, LIT("<tr><th scope=\"row\" class=\"n\">"), INT(jint(x, "seq", 0)), LIT("</th><td>"),
	    WHEN(jint(x, "t_ms", 0)), LIT("</td><td>"), FOR(jstr(x, "actor")),
	    LIT("<br><span class=\"sub\">"), FOR(jstr(x, "peer")), LIT("</span></td><td><strong>"),
	    FOR(jstr(x, "action")), LIT("</strong></td><td class=\"id\">"), FOR(jstr(x, "object")),
	    LIT("</td><td class=\"why\">"), FOR(jstr(x, "reason")),
	    LIT("</td><td class=\"why sub\">"), FOR(jstr(x, "detail")), LIT("</td></tr>"));
}

void page_audit(struct web *w)
{
	const char *err = NULL;
	struct query *q = web_query(w);
	const struct query_list l = {.about = web_asked(w, "about"), .before_id = web_before(w)};
	json_t *rows = q ? query_audit(q, &l, (int)w->conf->rows, &err) : NULL, *x;
	size_t i;
	page_begin(w, "Audit trail", NAV_AUDIT);
	put(w->h, LIT("<section class=\"card\">"));
	page_filter(w, "/audit", "Part of who, what or object", NULL);
	if (!rows) {
		page_unread(w, "The audit trail", q ? err : w->query_err);
	} else if (json_array_size(rows) == 0) {
		put(w->h,
		    EITHER(l.about || l.before_id, "<p class=\"empty\">None is like that.</p>",
			   "<p class=\"empty\">Nothing was changed yet.</p>"));
	} else {
		put(w->h, SCROLL("Changes"),
		    LIT("<table><caption class=\"sr\">Changes, newest "
			"first</caption><thead><tr><th scope=\"col\" class=\"n\">No.</th>"
			"<th scope=\"col\">When</th><th scope=\"col\">Who</th><th "
			"scope=\"col\">What</th><th scope=\"col\">Object</th>"
			"<th scope=\"col\">Reason</th><th "
			"scope=\"col\">Detail</th></tr></thead><tbody>"));
		json_array_foreach (rows, i, x)
			row(w->h, x);
		put(w->h, LIT("</tbody></table></div>"));
	}
	page_older(w, rows, "seq", "/audit");
	put(w->h, LIT("</section>"));
	page_end(w);
	json_decref(rows);
}
