/*
 * arf - abuse reports taken apart with gmime (contract in arf.h).
 *
 * The feedback report is the first part of that type; the reported message is the last message
 * part, whole or headers only. A report that was forwarded as an attachment is looked for inside
 * it. Where there is none, a part of JSON may be one (arf_xarf.c).
 *
 * Trusted with: nothing. It runs in a child that can do no more than compute (arf_child.c). Known
 * gaps: none.
 */
#include "accounting/arf.h"

#include <gmime/gmime.h>
#include <string.h>
#include <strings.h>

#include <talloc.h>

#include "lib/proc.h"
#include "accounting/arf_int.h"

#define NESTING_MAX 8 /* multiparts in multiparts */
#define WRAPPED_MAX 3 /* reports in messages */
#define PARTS_MAX   256

struct found {
	GMimeObject *feedback, *original, *json;
	int parts;
};

/* CRLF and bare CR become LF, so that every line end is one. malloc'd. */
static char *normal_lines(const uint8_t *raw, size_t len, size_t *out_len)
{
	char *out = g_malloc(len + 1), *w = out;
	for (size_t i = 0; i < len; i++) {
		if (raw[i] != '\r')
			*w++ = (char)raw[i];
		else if (i + 1 == len || raw[i + 1] != '\n')
			*w++ = '\n';
	}
	*w = '\0';
	*out_len = (size_t)(w - out);
	return out;
}

static GMimeMessage *parse_message(const char *text, size_t len)
{
	GMimeStream *mem = g_mime_stream_mem_new_with_buffer(text, len);
	GMimeParser *parser = g_mime_parser_new_with_stream(mem);
	GMimeMessage *m = g_mime_parser_construct_message(parser, NULL);
	g_object_unref(parser);
	g_object_unref(mem);
	return m;
}

static bool is_type(GMimeObject *o, const char *type, const char *subtype)
{
	GMimeContentType *t = g_mime_object_get_content_type(o);
	return t && g_mime_content_type_is_type(t, type, subtype);
}

static bool is_original(GMimeObject *o)
{
	return GMIME_IS_MESSAGE_PART(o) || is_type(o, "message", "rfc822") ||
	       is_type(o, "text", "rfc822-headers") || is_type(o, "text", "rfc822-header") ||
	       is_type(o, "message", "rfc822-headers") || is_type(o, "text", "rfc822");
}

static bool is_json(GMimeObject *o)
{
	const char *name = GMIME_IS_PART(o) ? g_mime_part_get_filename(GMIME_PART(o)) : NULL;
	size_t n = name ? strlen(name) : 0;
	return is_type(o, "application", "json") || is_type(o, "application", "xarf+json") ||
	       is_type(o, "text", "json") || (n > 5 && strcasecmp(name + n - 5, ".json") == 0);
}

static void look_through(GMimeObject *o, int depth, struct found *f)
{
	if (!o || depth > NESTING_MAX || ++f->parts > PARTS_MAX)
		return;
	if (GMIME_IS_MULTIPART(o)) {
		GMimeMultipart *m = GMIME_MULTIPART(o);
		for (int i = 0; i < g_mime_multipart_get_count(m); i++)
			look_through(g_mime_multipart_get_part(m, i), depth + 1, f);
	} else if (is_type(o, "message", "feedback-report")) {
		if (!f->feedback)
			f->feedback = o;
	} else if (is_original(o)) {
		f->original = o;
	} else if (!f->json && is_json(o)) {
		f->json = o;
	}
}

/* The decoded bytes of a leaf; NULL when it is none. The caller unrefs. */
static GByteArray *content_of(GMimeObject *o)
{
	GMimeDataWrapper *content =
	    GMIME_IS_PART(o) ? g_mime_part_get_content(GMIME_PART(o)) : NULL;
	if (!content)
		return NULL;
	GByteArray *bytes = g_byte_array_new();
	GMimeStream *mem = g_mime_stream_mem_new_with_byte_array(bytes);
	g_mime_stream_mem_set_owner(GMIME_STREAM_MEM(mem), FALSE);
	(void)g_mime_data_wrapper_write_to_stream(content, mem);
	g_object_unref(mem);
	return bytes;
}

static void read_feedback(struct arf *a, GMimeObject *part)
{
	GByteArray *bytes = content_of(part);
	if (!bytes)
		return;
	size_t len = 0;
	char *text = normal_lines(bytes->data, bytes->len, &len);
	a->n_fields = (uint32_t)arf_read_fields(a, text, len, a->fields, ARF_FIELDS_MAX);
	g_free(text);
	g_byte_array_unref(bytes);
}

/* The header block at the start of text. */
static char *header_block(struct arf *a, const char *text, size_t len)
{
	while (len && *text == '\n') { /* blank lines before it */
		text++;
		len--;
	}
	const char *end = memmem(text, len, "\n\n", 2);
	return arf_text(a, text, end ? (size_t)(end - text) + 1 : len, ARF_HEADERS_MAX);
}

void arf_read_original(struct arf *a, const char *raw, size_t len)
{
	char *text = normal_lines((const uint8_t *)raw, len, &len);
	a->original_headers = header_block(a, text, len);
	g_free(text);
}

static void read_original_leaf(struct arf *a, GMimeObject *part)
{
	GByteArray *bytes = content_of(part);
	if (!bytes)
		return;
	arf_read_original(a, (const char *)bytes->data, bytes->len);
	g_byte_array_unref(bytes);
}

static void read_original_part(struct arf *a, GMimeObject *part)
{
	if (!GMIME_IS_MESSAGE_PART(part)) {
		read_original_leaf(a, part);
		return;
	}
	GMimeMessage *m = g_mime_message_part_get_message(GMIME_MESSAGE_PART(part));
	char *headers = m ? g_mime_object_get_headers(GMIME_OBJECT(m), NULL) : NULL;
	if (headers)
		a->original_headers = arf_text(a, headers, strlen(headers), ARF_HEADERS_MAX);
	g_free(headers);
}

/* A date as reporters write it: what gmime reads, and the zone JST. 0: none. */
static int64_t read_date(struct arf *a, const char *text)
{
	if (!text || strlen(text) < 6)
		return 0;
	size_t n = strlen(text);
	if (n > 3 && strcasecmp(text + n - 3, "JST") == 0)
		text = talloc_asprintf(a, "%.*s+0900", (int)(n - 3), text);
	GDateTime *t = text[4] == '-' ? g_date_time_new_from_iso8601(text, NULL) : NULL;
	if (!t)
		t = g_mime_utils_header_decode_date(text);
	int64_t ms = t ? g_date_time_to_unix(t) * 1000 : 0;
	if (t)
		g_date_time_unref(t);
	return ms > 0 ? ms : 0;
}

static const char *original_field(struct arf *a, const char *name)
{
	struct arf_field f[ARF_FIELDS_MAX];
	size_t n =
	    arf_read_fields(a, a->original_headers, strlen(a->original_headers), f, ARF_FIELDS_MAX);
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(f[i].name, name) == 0)
			return f[i].value;
	return NULL;
}

static void read_dates(struct arf *a)
{
	const char *arrival = arf_field(a, "Arrival-Date");
	a->arrival_ms = read_date(a, arrival ? arrival : arf_field(a, "Received-Date"));
	a->original_ms = read_date(a, original_field(a, "Date"));
}

static void read_reporter(struct arf *a, GMimeMessage *m)
{
	InternetAddressList *from = g_mime_message_get_from(m);
	InternetAddress *ia = from && internet_address_list_length(from) > 0
				  ? internet_address_list_get_address(from, 0)
				  : NULL;
	const char *addr = ia && INTERNET_ADDRESS_IS_MAILBOX(ia)
			       ? internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(ia))
			       : NULL;
	if (addr)
		a->reporter = arf_text(a, addr, strlen(addr), 320);
	else if (arf_field(a, "Reporter"))
		a->reporter =
		    arf_text(a, arf_field(a, "Reporter"), strlen(arf_field(a, "Reporter")), 320);
}

static void read_type(struct arf *a)
{
	const char *v = arf_field(a, "Feedback-Type");
	if (!v || !*v)
		return;
	a->feedback_type = arf_text(a, v, strcspn(v, " ;("), 64);
	for (char *p = a->feedback_type; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 32);
}

/* JMRP: "complaint about message from 192.0.2.1", and the message. Its address becomes the field an
 * ARF report would have. */
static bool read_jmrp(struct arf *a, GMimeMessage *m, const struct found *f)
{
	static const char start[] = "complaint about message from ";
	const char *subject = g_mime_message_get_subject(m);
	if (!subject || !f->original || strncasecmp(subject, start, sizeof start - 1) != 0)
		return false;
	a->format = talloc_strdup(a, "jmrp");
	a->fields[0].name = talloc_strdup(a, "Source-IP");
	a->fields[0].value =
	    arf_text(a, subject + sizeof start - 1, strlen(subject) - (sizeof start - 1), 64);
	a->n_fields = 1;
	return true;
}

static bool read_xarf(struct arf *a, const struct found *f)
{
	GByteArray *bytes = f->json ? content_of(f->json) : NULL;
	bool ok = bytes && arf_read_xarf(a, (const char *)bytes->data, bytes->len);
	if (bytes)
		g_byte_array_unref(bytes);
	if (!ok)
		return false;
	a->format = talloc_strdup(a, "xarf");
	read_type(a);
	return true;
}

static struct arf *new_arf(void *ctx)
{
	struct arf *a = talloc_zero(ctx, struct arf);
	if (!a)
		fatal("out of memory");
	a->format = talloc_strdup(a, "arf");
	a->feedback_type = talloc_strdup(a, "abuse");
	a->reporter = talloc_strdup(a, "");
	a->source_ip = talloc_strdup(a, "");
	a->token = talloc_strdup(a, "");
	a->queue_id = talloc_strdup(a, "");
	a->tagged = talloc_strdup(a, "");
	a->original_headers = talloc_strdup(a, "");
	a->fields = talloc_zero_array(a, struct arf_field, ARF_FIELDS_MAX);
	if (!a->fields || !a->original_headers)
		fatal("out of memory");
	return a;
}

/* The message that is the report: m itself, or one it carries. */
static bool find_report(GMimeMessage **m, struct found *f)
{
	for (int i = 0; i < WRAPPED_MAX; i++) {
		*f = (struct found){.parts = 0};
		look_through(g_mime_message_get_mime_part(*m), 0, f);
		if (f->feedback || !f->original || !GMIME_IS_MESSAGE_PART(f->original))
			return f->feedback != NULL;
		GMimeMessage *inner =
		    g_mime_message_part_get_message(GMIME_MESSAGE_PART(f->original));
		if (!inner)
			return false;
		*m = inner;
	}
	return false;
}

static bool read_report(struct arf *a, GMimeMessage *outer, const char *hostname)
{
	struct found f;
	GMimeMessage *m = outer;
	if (find_report(&m, &f)) {
		read_feedback(a, f.feedback);
		read_type(a);
	} else {
		m = outer;
		f = (struct found){.parts = 0};
		look_through(g_mime_message_get_mime_part(m), 0, &f);
		if (!read_jmrp(a, m, &f) && !read_xarf(a, &f))
			return false;
	}
	if (f.original)
		read_original_part(a, f.original);
	read_reporter(a, m);
	read_dates(a);
	arf_interpret(a, hostname);
	return true;
}

struct arf *arf_parse(void *ctx, const uint8_t *raw, size_t len, const char *hostname,
		      const char **err)
{
	size_t n = 0;
	if (len > ARF_RAW_MAX) {
		*err = "the message is longer than 700 KB";
		return NULL;
	}
	g_mime_init();
	struct arf *a = new_arf(ctx);
	char *text = normal_lines(raw, len, &n);
	GMimeMessage *m = parse_message(text, n);
	bool ok = m && read_report(a, m, hostname);
	if (m)
		g_object_unref(m);
	g_free(text);
	if (ok)
		return a;
	talloc_free(a);
	*err = m ? "it has no message/feedback-report part (RFC 5965) and no XARF"
		 : "it is not a mail message";
	return NULL;
}
