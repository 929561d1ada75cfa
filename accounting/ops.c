/*
 * ops - arguments of requests, checked against a list (contract in ops.h). Pure.
 */
#include "accounting/ops.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX   512
#define LONG_MAX_  4000
#define SECRET_MAX 256

static const struct op_arg *find_arg(const struct op_arg *list, const char *name)
{
	for (; list->name; list++)
		if (strcmp(list->name, name) == 0)
			return list;
	return NULL;
}

/* No control characters; line feeds and tabs when lines is set. Bytes above 0x7f are UTF-8 already.
 */
static bool plain(const char *s, size_t len, bool lines)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		if ((c < 0x20 && !(lines && (c == '\n' || c == '\r' || c == '\t'))) || c == 0x7f)
			return false;
	}
	return true;
}

static bool text_fits(const json_t *v, size_t min, size_t max, bool lines)
{
	size_t len = json_string_length(v);
	return json_is_string(v) && len >= min && len <= max &&
	       plain(json_string_value(v), len, lines);
}

/* NULL when v is of the type; else what it must be. */
static const char *type_error(enum op_type t, const json_t *v)
{
	switch (t) {
	case OP_TEXT:
		return text_fits(v, 0, TEXT_MAX, false)
			   ? NULL
			   : "text of at most 512 bytes without control characters";
	case OP_LONG:
		return text_fits(v, 0, LONG_MAX_, true)
			   ? NULL
			   : "text of at most 4000 bytes without control characters";
	case OP_SECRET:
		return text_fits(v, 1, SECRET_MAX, false) ? NULL : "text of 1 to 256 bytes";
	case OP_BLOB:
		return json_is_string(v) ? NULL : "text";
	case OP_INT:
		return json_is_integer(v) ? NULL : "an integer";
	case OP_ID:
		return json_is_integer(v) && json_integer_value(v) > 0 ? NULL
								       : "an integer above 0";
	case OP_TIME:
		/* Year 9999: later ones cannot be written down. */
		return json_is_integer(v) && json_integer_value(v) >= 0 &&
			       json_integer_value(v) < 253402300800000
			   ? NULL
			   : "a time: an integer, UTC milliseconds";
	case OP_LIST:
		return json_is_array(v) ? NULL : "an array";
	case OP_BOOL:
		return json_is_boolean(v) ? NULL : "true or false";
	case OP_ANY:
		break;
	}
	return NULL;
}

static bool check_members(const char *what, const struct op_arg *list, const json_t *args,
			  char *err, size_t n)
{
	const char *key;
	json_t *value;
	json_object_foreach ((json_t *)(uintptr_t)args, key, value) {
		const struct op_arg *a = find_arg(list, key);
		if (!a) {
			snprintf(err, n, "%s has no argument \"%.64s\"", what, key);
			return false;
		}
		const char *bad = json_is_null(value) ? NULL : type_error(a->type, value);
		if (bad) {
			snprintf(err, n, "\"%s\" must be %s", key, bad);
			return false;
		}
	}
	return true;
}

bool op_check(const char *what, const struct op_arg *list, const json_t *args, char *err, size_t n)
{
	if (!json_is_object(args)) {
		snprintf(err, n, "the arguments of %s are an object", what);
		return false;
	}
	if (!check_members(what, list, args, err, n))
		return false;
	for (; list->name; list++) {
		if (list->required && !op_has(args, list->name)) {
			snprintf(err, n, "%s needs \"%s\"", what, list->name);
			return false;
		}
	}
	return true;
}

const char *op_text(const json_t *args, const char *name)
{
	return json_string_value(json_object_get(args, name));
}

int64_t op_int(const json_t *args, const char *name, int64_t dflt)
{
	const json_t *v = json_object_get(args, name);
	return json_is_integer(v) ? json_integer_value(v) : dflt;
}

bool op_has(const json_t *args, const char *name)
{
	const json_t *v = json_object_get(args, name);
	return v && !json_is_null(v);
}
