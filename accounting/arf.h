/*
 * arf - an abuse report (RFC 5965; RFC 6591, 6692) as mail: bytes in, struct out.
 *
 * Liberal, because reporters are: any order and case of fields, comments, folding, any line ends,
 * encoded parts, a missing final boundary. What makes it a report is one message/feedback-report
 * part; Microsoft's JMRP complaints, which have none, are known by their subject, XARF by its JSON
 * (x-arf.org). Pure: gmime is called on memory only. Strings are talloc'd under the struct, hold no
 * NUL, and may be any bytes else.
 */
#ifndef ACCOUNTING_ARF_H
#define ACCOUNTING_ARF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

#define ARF_RAW_MAX	(700u << 10)
#define ARF_FIELDS_MAX	256
#define ARF_NAME_MAX	128
#define ARF_VALUE_MAX	2048 /* longer ones are cut */
#define ARF_TAGGED_MAX	320
#define ARF_HEADERS_MAX 32768 /* of the original message, cut */
#define ARF_WIRE_MAX	(1u << 20)

struct arf_field {
	char *name, *value;
};

struct arf {
	char *format;	     /* "arf" "jmrp" "xarf" */
	char *feedback_type; /* lower case: "abuse" "not-spam" ... */
	char *reporter;	     /* address of From */
	char *source_ip;     /* canonical text, "" when not said or not an address */
	struct addr source;
	uint32_t source_port; /* 0: not said */
	int64_t arrival_ms;   /* Arrival-Date, 0: not said or not a date */
	int64_t original_ms;  /* Date of the reported message */
	char *token;	      /* X-Sekisho-Trace or CFBL-Feedback-ID of the reported message, or
				 Original-Envelope-Id; "" */
	char *queue_id;	      /* from a Received header of our host, a Message-ID of ours, or
				 Original-Envelope-Id; "" */
	char
	    *tagged; /* the envelope sender as it left, with a tag of the form of ours (BATV); "" */
	char *original_headers;
	uint32_t n_fields;
	struct arf_field *fields; /* of the feedback report, in their order */
};

/* hostname: of our MSA, "" for any. NULL when it is no report; *err then says why (static). */
struct arf *arf_parse(void *ctx, const uint8_t *raw, size_t len, const char *hostname,
		      const char **err);
/* The first field of this name, in any case; NULL: there is none. */
const char *arf_field(const struct arf *a, const char *name);

/* The same over a pipe. arf_encode() returns 0 when cap is too small. */
size_t arf_encode(const struct arf *a, uint8_t *buf, size_t cap);
struct arf *arf_decode(void *ctx, const uint8_t *buf, size_t len);

#endif
