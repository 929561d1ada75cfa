/*
 * html - a writer that escapes by type.
 *
 * A page is written as a list of typed pieces, so that text can only get into it as text:
 *
 *	put(h, LIT("<td>"), FOR(account), LIT("</td><td class=\"n\">"), NUM(rcpts), LIT("</td>"));
 *
 * LIT takes string literals only (anything else does not compile). Text that came from outside is
 *FOR: escaped, wrapped in <bdi>, and with control, bidi and invisible characters shown by their
 *number instead of doing their work. Bytes that are not UTF-8 are shown as \xNN. The page is kept
 *in memory until it is whole; running out of memory is sticky, see html_ok().
 */
#ifndef WEBUI_HTML_H
#define WEBUI_HTML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct html;

enum html_type {
	HTML_END,
	HTML_LIT,   /* markup of ours */
	HTML_TXT,   /* our own or validated text, escaped */
	HTML_FOR,   /* foreign text: marked and isolated; "" and NULL show as a dash */
	HTML_PRE,   /* foreign text of several lines, for <pre>; CR LF is a line end */
	HTML_ATT,   /* inside a quoted attribute value or a textarea: entities, no markup */
	HTML_URL,   /* one path segment or query value, percent-encoded */
	HTML_NUM,   /* 1,234,567 */
	HTML_INT,   /* 1234567: ids, ports, coordinates */
	HTML_SIZE,  /* octets: 812 B, 1.2 kB, 34 MB (powers of 1000) */
	HTML_WHEN,  /* <time>: date and time of day, UTC */
	HTML_DAY,   /* <time>: the date, UTC */
	HTML_AGO,   /* <time>: how long before (or after) html_now */
	HTML_MILLI, /* a coordinate: thousandths as a decimal fraction */
};

struct html_piece {
	enum html_type type;
	const char *s;
	int64_t i;
};

/* clang-format off */
#define LIT(x)   {.type = HTML_LIT, .s = ("" x "")}
#define TXT(x)   {.type = HTML_TXT, .s = (x)}
#define FOR(x)   {.type = HTML_FOR, .s = (x)}
#define PRE(x)   {.type = HTML_PRE, .s = (x)}
#define ATT(x)   {.type = HTML_ATT, .s = (x)}
#define URL(x)   {.type = HTML_URL, .s = (x)}
#define NUM(x)   {.type = HTML_NUM, .i = (int64_t)(x)}
#define INT(x)   {.type = HTML_INT, .i = (int64_t)(x)}
#define SIZE(x)  {.type = HTML_SIZE, .i = (int64_t)(x)}
#define WHEN(x)  {.type = HTML_WHEN, .i = (int64_t)(x)}
#define DAY(x)   {.type = HTML_DAY, .i = (int64_t)(x)}
#define AGO(x)   {.type = HTML_AGO, .i = (int64_t)(x)}
#define MILLI(x) {.type = HTML_MILLI, .i = (int64_t)(x)}
/* One of two literals. */
#define EITHER(cond, x, y) {.type = HTML_LIT, .s = (cond) ? ("" x "") : ("" y "")}
/* clang-format on */

#define put(h, ...) html_put((h), (const struct html_piece[]){__VA_ARGS__, {.type = HTML_END}})

/* now_ms: what AGO counts from. Freed with ctx. */
struct html *html_new(void *ctx, int64_t now_ms);
void html_put(struct html *h, const struct html_piece *pieces);
int64_t html_now(const struct html *h);
/* False when memory ran out somewhere: the page must not be sent. */
bool html_ok(const struct html *h);
/* What was written, NUL-terminated; valid until the next html_put(). */
const char *html_data(const struct html *h, size_t *len);

/* "in 3 d", "5 min ago", "just now"; returns buf. */
const char *html_ago(int64_t t_ms, int64_t now_ms, char buf[static 40]);
/* "3 d", "5 min", for a span of milliseconds. */
const char *html_span(int64_t ms, char buf[static 40]);
/* True for characters that must never act inside a page: C0 (but TAB, LF), DEL, C1, bidi controls,
 * zero-width and tag characters. */
bool html_is_hidden(uint32_t cp);

#endif
