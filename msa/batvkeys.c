/*
 * batvkeys - see batvkeys.h.
 *
 * Trusted with: the tag keys, in memory and in their file (mode 0600). A key never appears in a
 * log, an error or an answer.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <talloc.h>
#include <unistd.h>

#include "lib/proc.h"

#include "msa/batvkeys.h"

#define FILE_MAX  65536
#define LINE_ROOM (16 + 2 * BATV_KEY_MAX)

/* --- the file --- */

static bool parse_hex(const char *s, size_t len, uint8_t *out, size_t *n)
{
	if (len % 2 || len / 2 > BATV_KEY_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		int c = tolower((unsigned char)s[i]);

		if (!isxdigit(c))
			return false;
		out[i / 2] = (uint8_t)(out[i / 2] << 4 | (c <= '9' ? c - '0' : c - 'a' + 10));
	}
	*n = len / 2;
	return true;
}

static bool parse_key(const char *s, size_t len, struct batv_keys *out, int number,
		      const char **err)
{
	uint8_t *key = out->k[number].key;
	size_t n = len;

	*err = "a key is 16 to 64 characters, or hex: and 16 to 64 bytes";
	if (len > 4 && strncmp(s, "hex:", 4) == 0) {
		if (!parse_hex(s + 4, len - 4, key, &n))
			return false;
	} else {
		if (len > BATV_KEY_MAX)
			return false;
		for (size_t i = 0; i < len; i++)
			if (s[i] <= ' ' || s[i] > '~')
				return false;
		memcpy(key, s, len);
	}
	if (n < BATV_KEY_MIN)
		return false;
	out->k[number].len = n;
	out->newest = number;
	return true;
}

static bool parse_line(const char *s, size_t len, struct batv_keys *out, const char **err)
{
	while (len > 0 && isspace((unsigned char)s[len - 1]))
		len--;
	if (len == 0 || s[0] == '#')
		return true;
	*err = "NUMBER KEY is expected, NUMBER one digit";
	if (len < 3 || !isdigit((unsigned char)s[0]) || s[1] != ' ')
		return false;
	*err = "this key number is there twice";
	if (out->k[s[0] - '0'].len > 0)
		return false;
	return parse_key(s + 2, len - 2, out, s[0] - '0', err);
}

bool batv_keys_parse(const char *text, size_t len, struct batv_keys *out, int *line,
		     const char **err)
{
	const char *end = text + len;

	memset(out, 0, sizeof(*out));
	out->newest = -1;
	for (*line = 1; text < end; (*line)++) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		size_t n = nl ? (size_t)(nl - text) : (size_t)(end - text);

		if (!parse_line(text, n, out, err)) {
			batv_wipe(out);
			return false;
		}
		text += n + 1;
		if (!nl)
			break;
	}
	*err = "there is no key";
	return out->newest >= 0;
}

static size_t key_line(char out[LINE_ROOM], const struct batv_keys *keys, int number)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = (size_t)snprintf(out, LINE_ROOM, "%d hex:", number);

	for (size_t i = 0; i < keys->k[number].len; i++) {
		out[n++] = hex[keys->k[number].key[i] >> 4];
		out[n++] = hex[keys->k[number].key[i] & 15];
	}
	out[n++] = '\n';
	return n;
}

/* Oldest first; the order of numbers, from the one after the newest round to the newest. */
static bool save(void *ctx, const char *path, const struct batv_keys *keys, char **err)
{
	char text[BATV_KEYS * LINE_ROOM + 1];
	size_t n = 0;
	bool ok;

	for (int i = 1; i <= BATV_KEYS; i++) {
		int number = (keys->newest + i) % BATV_KEYS;

		if (keys->k[number].len > 0)
			n += key_line(text + n, keys, number);
	}
	ok = proc_write_file(path, text, n, 0600);
	if (!ok)
		*err = talloc_asprintf(ctx, "cannot write %s: %s", path, strerror(errno));
	explicit_bzero(text, sizeof(text));
	return ok;
}

bool batv_keys_rotate(void *ctx, const char *path, struct batv_keys *keys, char **err)
{
	struct batv_keys fresh = *keys;
	int number = (keys->newest + 1) % BATV_KEYS;
	bool ok;

	fresh.newest = number;
	fresh.k[number].len = 32;
	if (getrandom(fresh.k[number].key, 32, 0) != 32)
		fatal_errno("getrandom");
	ok = save(ctx, path, &fresh, err);
	if (ok)
		*keys = fresh;
	explicit_bzero(&fresh, sizeof(fresh));
	return ok;
}

bool batv_keys_read(void *ctx, const char *path, struct batv_keys *out, char **err)
{
	const char *why;
	size_t len;
	int line;
	char *text = proc_read_file(path, FILE_MAX, &len);
	bool ok;

	if (!text) {
		*err = talloc_asprintf(ctx, "cannot read %s: %s", path, strerror(errno));
		return false;
	}
	ok = batv_keys_parse(text, len, out, &line, &why);
	if (!ok)
		*err = talloc_asprintf(ctx, "%s:%d: %s", path, line, why);
	explicit_bzero(text, len);
	free(text);
	return ok;
}

bool batv_keys_load(void *ctx, const char *path, struct batv_keys *out, char **err)
{
	struct batv_keys none = {.newest = -1};

	if (access(path, F_OK) == 0 || errno != ENOENT)
		return batv_keys_read(ctx, path, out, err);
	*out = none;
	return batv_keys_rotate(ctx, path, out, err);
}

/* --- questions --- */

struct question {
	const char *path;
	struct batv_keys *keys;
	const json_t *args;
	int64_t now_ms;
	bool ok;
};

static json_t *no(struct question *q, const char *why)
{
	q->ok = false;
	return json_string(why);
}

/* The address of a question: with or without <>. */
static bool get_address(const json_t *v, struct path *p, const char **err)
{
	const char *s = json_string_value(v);
	size_t len = json_string_length(v), used;

	*err = "address is missing";
	if (!s || strlen(s) != len)
		return false;
	if (s[0] != '<')
		return path_parse_mailbox_utf8(s, len, p, err);
	if (!path_parse_utf8(s, len, p, &used, err))
		return false;
	*err = "there is more after the address";
	return used == len;
}

static json_t *sign(struct question *q)
{
	static const char *const why[] = {
	    [BATV_SIGNED] = "",
	    [BATV_NULL] = "the null sender is never tagged",
	    [BATV_TOO_LONG] = "the local part would be longer than 64 octets with a tag",
	    [BATV_ALREADY] = "the address is tagged already",
	    [BATV_NO_KEY] = "there is no such key"};
	const json_t *key = json_object_get(q->args, "key");
	int number = json_is_integer(key) ? (int)json_integer_value(key) : -1;
	struct path p, tagged;
	const char *err;
	enum batv_sign r;

	if (!get_address(json_object_get(q->args, "address"), &p, &err))
		return no(q, err);
	if (json_is_integer(key) &&
	    (json_integer_value(key) < 0 || json_integer_value(key) >= BATV_KEYS))
		return no(q, why[BATV_NO_KEY]);
	r = batv_sign(q->keys, &p, number, q->now_ms, &tagged);
	return r == BATV_SIGNED ? json_pack("{s:s}", "tagged", tagged.text) : no(q, why[r]);
}

static json_t *verify_one(struct question *q, const json_t *v)
{
	const char *text = json_is_string(v) ? json_string_value(v) : "", *err;
	struct batv_result r;
	struct path p;

	if (!get_address(v, &p, &err))
		return json_pack("{s:s,s:b,s:n,s:s}", "address", text, "valid", 0, "original",
				 "reason", err);
	batv_verify(q->keys, &p, q->now_ms, &r);
	return json_pack("{s:s,s:b,s:s,s:s}", "address", text, "valid", r.reason == BATV_VALID,
			 "original", r.original.text, "reason", batv_reason_name(r.reason));
}

static json_t *verify(struct question *q)
{
	const json_t *list = json_object_get(q->args, "addresses");
	json_t *out;

	if (!json_is_array(list))
		return no(q, "addresses is missing: an array of addresses");
	out = json_array();
	for (size_t i = 0; i < json_array_size(list); i++)
		json_array_append_new(out, verify_one(q, json_array_get(list, i)));
	return out;
}

static json_t *explain(struct question *q)
{
	struct batv_result r;
	struct path p;
	const char *err;

	if (!get_address(json_object_get(q->args, "address"), &p, &err))
		return no(q, err);
	batv_verify(q->keys, &p, q->now_ms, &r);
	if (r.key < 0)
		batv_strip_any(&p, &r.original);
	return json_pack("{s:s,s:s,s:b,s:s,s:o,s:o,s:i,s:s}", "address", p.text, "form",
			 batv_form(&p), "valid", r.reason == BATV_VALID, "original",
			 r.original.text, "key", r.key < 0 ? json_null() : json_integer(r.key),
			 "expiry_day", r.key < 0 ? json_null() : json_integer(r.expiry_day),
			 "today", batv_day(q->now_ms), "reason", batv_reason_text(r.reason));
}

static json_t *rotate(struct question *q)
{
	char *err = NULL;
	json_t *out;

	if (batv_keys_rotate(NULL, q->path, q->keys, &err))
		return json_pack("{s:i}", "key", q->keys->newest);
	out = no(q, err);
	talloc_free(err);
	return out;
}

json_t *batv_request(const char *path, struct batv_keys *keys, const char *op, const json_t *args,
		     int64_t now_ms, bool *ok)
{
	static const struct {
		const char *op;
		json_t *(*run)(struct question *q);
	} ops[] = {{"batv.sign", sign},
		   {"batv.verify", verify},
		   {"batv.explain", explain},
		   {"batv.rotate", rotate}};
	const json_t *at = json_object_get(args, "at_ms");
	struct question q = {path, keys, args,
			     json_is_integer(at) ? json_integer_value(at) : now_ms, true};
	json_t *out;

	if (q.now_ms < 0) {
		*ok = false;
		return json_string("at_ms is before 1970");
	}
	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
		if (strcmp(ops[i].op, op) != 0)
			continue;
		out = ops[i].run(&q);
		*ok = q.ok;
		return out;
	}
	*ok = false;
	return json_string("msad does not know this request");
}
