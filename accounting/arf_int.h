/*
 * arf_int - header blocks, for arf.c and arf_fields.c.
 */
#ifndef ACCOUNTING_ARF_INT_H
#define ACCOUNTING_ARF_INT_H

#include "accounting/arf.h"

/* "Name: value" lines with folding; blank lines and lines that are no field are passed over.
 * Returns the number, at most max. */
size_t arf_read_fields(void *ctx, const char *text, size_t len, struct arf_field *out, size_t max);
/* What Source-IP, Source-Port, Original-Envelope-Id and the original headers say, into a. */
void arf_interpret(struct arf *a, const char *hostname);
/* JSON of XARF into a->fields and a->original_headers. False, and nothing is changed: it is none.
 */
bool arf_read_xarf(struct arf *a, const char *text, size_t len);
/* The header block of a message with any line ends, into a->original_headers. */
void arf_read_original(struct arf *a, const char *raw, size_t len);
/* bytes without NUL, cut at max. */
char *arf_text(void *ctx, const char *s, size_t len, size_t max);

#endif
