/*
 * import - the rows of one import, which may come in several requests ("more").
 *
 * They are kept as they come and applied by the last request, all or nothing: what applies them is
 * the operation's own affair (ops_import.c, ops_lease.c). Arguments that it knows: rows, import
 * (the id the first answer gave) and more. At most four of an operation are under way; who does not
 * go on with his within a minute begins again.
 */
#ifndef ACCOUNTING_IMPORT_H
#define ACCOUNTING_IMPORT_H

#include <event2/event.h>

#include "accounting/ops.h"
#include "accounting/token.h"

#define IMPORT_BUSY_ROWS 10000 /* who goes through rows tells the watchdog after so many */

struct import {
	struct acctd *a;
	struct import *next;
	const char *op; /* of the table: whose rows they are */
	char id[TOKEN_HEX], actor[80];
	void *rows; /* n of the size import_of() was told; talloc'd under this */
	size_t n, cap, row_size;
	char *block; /* of texts, of which used bytes are taken */
	size_t used;
	struct event *idle;
};

/* The import this request goes on with (the same operation, the same caller), or a new one; NULL
 * after having failed the call. Given to import_forget() or import_more() in the end. */
struct import *import_of(struct op_call *c, size_t row_size);
/* Room for the next row, zeroed; it counts when the caller adds 1 to n. */
void *import_row(struct import *m);
/* s (NULL: empty) kept as long as the import. */
const char *import_text(struct import *m, const char *s);
/* Each row of the request to take(), which adds it or fails the call. may_be_empty: none at all is
 * right, too; after other requests it always is. False after having failed the call. */
bool import_take(struct op_call *c, struct import *m, bool may_be_empty,
		 bool (*take)(struct op_call *c, struct import *m, const json_t *row));
/* True when more requests follow: the call is answered, the rows wait. */
bool import_more(struct op_call *c, struct import *m);
/* Fails the call: row, from 1 over all requests. False, for the caller to give back. */
bool import_bad_row(struct op_call *c, const char *code, size_t row, const char *why);
void import_forget(struct import *m);
/* All that were begun and not finished. */
void imports_end(struct acctd *a);

/* A list of ids that grows, talloc'd under ctx. */
struct import_ids {
	int64_t *list;
	size_t n, cap;
	void *ctx;
};
void import_add_id(int64_t id, void *ids);

#endif
