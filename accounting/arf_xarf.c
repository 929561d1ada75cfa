/*
 * arf_xarf - XARF, abuse reports in JSON (x-arf.org), versions 3 and 4, and flat ones: their
 * members become the fields an ARF report would have (contract in arf_int.h). Pure.
 *
 * Trusted with: nothing; it runs where arf.c runs. Strict JSON, one object, no member twice; what
 * is no text or number is passed over. Known gaps: version 0.2, which was YAML, is not read.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>
#include <talloc.h>

#include "accounting/arf_int.h"
#include "accounting/token.h"

#define DEPTH 3 /* of a member's path */

/* The first path of a field that is there is taken. */
static const struct {
	const char *field, *path[DEPTH];
} rows[] = {
    {"Feedback-Type", {"Report", "ReportType"}},
    {"Feedback-Type", {"type"}},
    {"Feedback-Type", {"ReportType"}},
    {"Feedback-Type", {"Report-Type"}},
    {"Source-IP", {"Report", "SourceIp"}},
    {"Source-IP", {"Report", "Source"}},
    {"Source-IP", {"source_identifier"}},
    {"Source-IP", {"SourceIp"}},
    {"Source-IP", {"Source"}},
    {"Source-Port", {"Report", "SourcePort"}},
    {"Source-Port", {"source_port"}},
    {"Source-Port", {"SourcePort"}},
    {"Source-Port", {"Source-Port"}},
    {"Arrival-Date", {"Report", "Date"}},
    {"Arrival-Date", {"timestamp"}},
    {"Arrival-Date", {"Date"}},
    {"Message-ID", {"Report", "MessageId"}},
    {"Message-ID", {"message_id"}},
    {"Message-ID", {"Message-ID"}},
    {"Original-Mail-From", {"Report", "SmtpMailFromAddress"}},
    {"Original-Mail-From", {"smtp_from"}},
    {"Original-Mail-From", {"Original-Mail-From"}},
    {"Reporter", {"ReporterInfo", "ReporterOrgEmail"}},
    {"Reporter", {"reporter", "contact"}},
    {"Reported-From", {"Reported-From"}},
};

static const json_t *member(const json_t *root, const char *const path[DEPTH])
{
	const json_t *v = root;
	for (int i = 0; i < DEPTH && path[i]; i++)
		v = json_object_get(v, path[i]);
	return v;
}

static char *text_of(void *ctx, const json_t *v)
{
	if (json_is_string(v))
		return arf_text(ctx, json_string_value(v), json_string_length(v), ARF_VALUE_MAX);
	if (json_is_integer(v))
		return talloc_asprintf(ctx, "%lld", (long long)json_integer_value(v));
	return NULL;
}

/* "LoginAttack" and "login_attack" are "login-attack". */
static char *type_word(void *ctx, const char *s)
{
	size_t n = strnlen(s, 32), w = 0;
	char *out = talloc_size(ctx, 2 * n + 1);
	for (size_t i = 0; out && i < n; i++) {
		bool upper = s[i] >= 'A' && s[i] <= 'Z';
		if (upper && i > 0 && s[i - 1] >= 'a' && s[i - 1] <= 'z')
			out[w++] = '-';
		out[w++] = s[i] == '_' || s[i] == ' ' ? '-' : (char)(upper ? s[i] + 32 : s[i]);
	}
	if (out)
		out[w] = '\0';
	return out;
}

static void add_field(struct arf *a, const char *name, char *value)
{
	if (!value || arf_field(a, name) || a->n_fields == ARF_FIELDS_MAX)
		return;
	if (strcmp(name, "Feedback-Type") == 0)
		value = type_word(a, value);
	struct arf_field *f = &a->fields[a->n_fields++];
	f->name = talloc_strdup(a, name);
	f->value = value;
}

/* --- the message complained of --- */

static bool is_mail(const json_t *sample)
{
	const char *type = json_string_value(json_object_get(sample, "ContentType"));
	if (!type)
		type = json_string_value(json_object_get(sample, "content_type"));
	return type && (strncasecmp(type, "message/rfc822", 14) == 0 ||
			strncasecmp(type, "text/rfc822-headers", 19) == 0 ||
			strncasecmp(type, "text/rfc822", 11) == 0);
}

static bool take_sample(struct arf *a, const json_t *sample)
{
	const json_t *payload = json_object_get(sample, "Payload");
	bool old = payload != NULL, plain = false;
	size_t len = 0;
	if (!old)
		payload = json_object_get(sample, "payload");
	if (!is_mail(sample) || !json_is_string(payload))
		return false;
	/* Of version 4 it is always base64. */
	plain = old && !json_is_true(json_object_get(sample, "Base64Encoded"));
	if (plain) {
		arf_read_original(a, json_string_value(payload), json_string_length(payload));
		return true;
	}
	uint8_t *raw =
	    token_unbase64(json_string_value(payload), json_string_length(payload), &len);
	if (raw)
		arf_read_original(a, (const char *)raw, len);
	free(raw);
	return raw != NULL;
}

static void read_samples(struct arf *a, const json_t *root)
{
	const json_t *lists[] = {json_object_get(json_object_get(root, "Report"), "Samples"),
				 json_object_get(root, "evidence"),
				 json_object_get(root, "Samples")};
	const json_t *sample;
	size_t i;
	for (size_t k = 0; k < sizeof lists / sizeof lists[0]; k++)
		json_array_foreach (lists[k], i, sample)
			if (take_sample(a, sample))
				return;
}

/* It says what it is, and of what. */
static bool is_report(const struct arf *a)
{
	return arf_field(a, "Feedback-Type") &&
	       (arf_field(a, "Source-IP") || arf_field(a, "Message-ID") ||
		arf_field(a, "Original-Mail-From"));
}

bool arf_read_xarf(struct arf *a, const char *text, size_t len)
{
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(root)) {
		json_decref(root);
		return false;
	}
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		add_field(a, rows[i].field, text_of(a, member(root, rows[i].path)));
	bool ok = is_report(a);
	if (ok)
		read_samples(a, root);
	else
		a->n_fields = 0;
	json_decref(root);
	return ok;
}
