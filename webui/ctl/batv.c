/*
 * batv - tags of envelope senders: sign, verify, explain, rotate the key.
 *
 * Trusted with: asking msad through acctd; the keys stay with msad. Diagnostics: on stderr. Known
 * gaps: none.
 */
#include <string.h>

#include <talloc.h>

#include "webui/ctl/ask.h"
#include "webui/ctl/nouns.h"
#include "webui/ctl/out.h"

#define CHUNK	  500 /* addresses a request */
#define MAX_INPUT (16u << 20)

static const struct col explain_cols[] = {
    {"ADDRESS", "address", COL_TEXT},
    {"FORM", "form", COL_TEXT},
    {"VALID", "valid", COL_TEXT},
    {"ORIGINAL", "original", COL_TEXT},
    {"KEY", "key", COL_TEXT},
    {"EXPIRY_DAY", "expiry_day", COL_TEXT},
    {"TODAY", "today", COL_TEXT},
    {"REASON", "reason", COL_TEXT},
    COL_END,
};
static const struct col verify_cols[] = {
    {"RESULT", "result", COL_TEXT},
    {"ADDRESS", "address", COL_TEXT},
    {"ORIGINAL", "original", COL_TEXT},
    {"REASON", "reason", COL_TEXT},
    COL_END,
};
static const struct col rotate_cols[] = {{"KEY", "key", COL_TEXT}, COL_END};

/* --- addresses --- */

/* text with U+FFFD for what JSON cannot hold. No tag of ours has one. */
static json_t *nearest(struct cli *c, const char *text, size_t len)
{
	char *out = talloc_strdup(c->pool, "");
	for (size_t i = 0, n; i < len; i += n) {
		json_t *v = NULL;
		for (n = 1; n <= 4 && i + n <= len && !v && text[i]; n++)
			v = json_stringn(text + i, n);
		n = v ? n - 1 : 1;
		out = talloc_asprintf_append_buffer(out, "%.*s", v ? (int)n : 3,
						    v ? text + i : "\xef\xbf\xbd");
		json_decref(v);
	}
	return json_string(out);
}

/* lenient: a line that is no text is an address all the same, and a wrong one. */
static bool add_address(struct cli *c, json_t *list, const char *text, size_t len, bool lenient,
			size_t line, int *status)
{
	while (len > 0 && strchr(" \t\r", text[len - 1]))
		len--;
	if (len == 0)
		return true;
	json_t *v = memchr(text, '\0', len) ? NULL : json_stringn(text, len);
	if (!v && lenient)
		v = nearest(c, text, len);
	if (v)
		return json_array_append_new(list, v) == 0;
	*status = cli_fail(c, EX_DATAERR, "line %zu is not UTF-8 text", line);
	return false;
}

static json_t *from_input(struct cli *c, bool lenient, int *status)
{
	size_t len, line = 1;
	const char *text = ask_file(c, "-", MAX_INPUT, &len, status);
	json_t *list = json_array();
	for (const char *p = text, *end = text ? text + len : NULL; p && p < end;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t n = nl ? (size_t)(nl - p) : (size_t)(end - p);
		if (!add_address(c, list, p, n, lenient, line++, status))
			break;
		p += n + 1;
	}
	if (*status == EX_OK && json_array_size(list) == 0)
		*status =
		    cli_fail(c, EX_USAGE,
			     "no address: give it as an argument, or one a line on standard input");
	if (*status == EX_OK)
		return list;
	json_decref(list);
	return NULL;
}

/* The arguments, or the lines of standard input. NULL with *status. */
static json_t *addresses(struct cli *c, bool lenient, int *status)
{
	if (c->n_args == 0 || (c->n_args == 1 && strcmp(c->args[0], "-") == 0))
		return from_input(c, lenient, status);
	json_t *list = json_array();
	for (size_t i = 0; i < c->n_args; i++)
		json_array_append_new(list, json_string(c->args[i]));
	return list;
}

/* --- sign and explain: one request an address --- */

static json_t *ask_each(struct cli *c, const char *op, const json_t *list, int *status)
{
	json_t *out = json_array(), *a;
	size_t i;
	json_array_foreach (list, i, a) {
		json_t *args = json_pack("{s:O}", "address", a);
		ask_put_number(c, args, "at_ms", "at");
		if (strcmp(op, "batv.sign") == 0)
			ask_put_number(c, args, "key", "key");
		json_t *r = ask_control(c, op, args, status);
		if (!r) {
			json_decref(out);
			return NULL;
		}
		if (!json_object_get(r, "address"))
			json_object_set(r, "address", a);
		json_array_append_new(out, r);
	}
	return out;
}

/* One address: the object itself; several: an array. */
static void print_json(const struct cli *c, const json_t *r)
{
	out_json(c, json_array_size(r) == 1 ? json_array_get(r, 0) : r);
}

static int run_sign(struct cli *c)
{
	int status = EX_OK;
	json_t *list = addresses(c, false, &status), *v;
	json_t *r = list ? ask_each(c, "batv.sign", list, &status) : NULL;
	size_t i;
	if (r && c->json)
		print_json(c, r);
	else
		json_array_foreach (r, i, v)
			fprintf(c->io->out, "%s\n",
				out_value(c, COL_TEXT, json_object_get(v, "tagged")));
	json_decref(list);
	json_decref(r);
	return status;
}

static int run_explain(struct cli *c)
{
	int status = EX_OK;
	json_t *list = addresses(c, false, &status), *v;
	json_t *r = list ? ask_each(c, "batv.explain", list, &status) : NULL;
	size_t i;
	if (r && c->json)
		print_json(c, r);
	else
		json_array_foreach (r, i, v) {
			fputs(i ? "\n" : "", c->io->out);
			out_object(c, explain_cols, v);
		}
	json_decref(list);
	json_decref(r);
	return status;
}

/* --- verify --- */

static json_t *verify_chunk(struct cli *c, const json_t *list, size_t *at, int *status)
{
	json_t *some = json_array();
	while (*at < json_array_size(list) && json_array_size(some) < CHUNK)
		json_array_append(some, json_array_get(list, (*at)++));
	json_t *args = json_pack("{s:o}", "addresses", some);
	ask_put_number(c, args, "at_ms", "at");
	return ask_control(c, "batv.verify", args, status);
}

static json_t *verify_all(struct cli *c, const json_t *list, int *status)
{
	json_t *out = json_array();
	for (size_t at = 0; at < json_array_size(list);) {
		json_t *r = verify_chunk(c, list, &at, status);
		if (!r) {
			json_decref(out);
			return NULL;
		}
		json_array_extend(out, r);
		json_decref(r);
	}
	return out;
}

static int run_verify(struct cli *c)
{
	int status = EX_OK;
	bool all_valid = true;
	json_t *list = addresses(c, true, &status), *v;
	json_t *r = list ? verify_all(c, list, &status) : NULL;
	size_t i;
	json_array_foreach (r, i, v)
		all_valid &= json_is_true(json_object_get(v, "valid"));
	if (r && c->json) {
		out_json(c, r);
	} else if (r) {
		json_array_foreach (r, i, v)
			json_object_set_new(v, "result",
					    json_string(json_is_true(json_object_get(v, "valid"))
							    ? "valid"
							    : "invalid"));
		out_rows(c, NULL, verify_cols, r);
	}
	json_decref(list);
	json_decref(r);
	return status == EX_OK && !all_valid ? CLI_NO : status;
}

static int run_rotate(struct cli *c)
{
	int status = EX_OK;
	json_t *r = ask_control(c, "batv.rotate", NULL, &status);
	if (r)
		out_result(c, rotate_cols, r);
	json_decref(r);
	return status;
}

static const struct cli_opt at_opts[] = {
    {"at", CLI_TIME, "TIME", "as if it were then; default now", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
static const struct cli_opt sign_opts[] = {
    {"at", CLI_TIME, "TIME", "as if it were then; default now", 0, 0, false},
    {"key", CLI_INT, "N", "with this key; default the one that signs now", 0, 9, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};
#define INPUT "Addresses are arguments, or lines of standard input when there are none."
static const struct cli_verb verbs[] = {
    {"sign", "[ADDRESS...]", "Print each address with its tag.", INPUT, sign_opts, run_sign},
    {"verify", "[ADDRESS...]", "Say whether the tag of each address is ours and has not expired.",
     INPUT " Exit status 0 when all are valid, 1 when one is not.", at_opts, run_verify},
    {"explain", "[ADDRESS...]",
     "Take a tagged address apart: form, key, day, and what is wrong with it.", INPUT, at_opts,
     run_explain},
    {"rotate", "", "Make a new key that signs from now on; the old ones still verify.", NULL, NULL,
     run_rotate},
};
const struct cli_noun noun_batv = {"batv", "tags of envelope senders (prvs=)", CLI_VERBS(verbs)};
