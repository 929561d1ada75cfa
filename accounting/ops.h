/*
 * ops - what a request on the control socket is, for the files that serve one.
 *
 * An operation is a row of a table: its name, the role it needs, the arguments it knows, and a
 * function. The function is called when the arguments have the right types and the caller the right
 * role; it ends with exactly one op_done() or op_fail(), at once or later. The connection may be
 * gone by then: that is nobody's concern.
 */
#ifndef ACCOUNTING_OPS_H
#define ACCOUNTING_OPS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "accounting/store.h"

enum op_type {
	OP_TEXT,   /* at most 512 bytes, no control characters */
	OP_LONG,   /* at most 4000 bytes; line breaks are allowed */
	OP_SECRET, /* 1 to 256 bytes; wiped when the call ends */
	OP_BLOB,   /* text of any length (base64) */
	OP_INT,
	OP_ID,	 /* an integer above 0 */
	OP_TIME, /* UTC milliseconds, 0 or more */
	OP_LIST, /* an array */
	OP_BOOL,
	OP_ANY,
};

struct op_arg {
	const char *name; /* NULL ends the list */
	enum op_type type;
	bool required;
};

struct acctd;
struct op_call {
	struct acctd *a;
	const char *op;
	const json_t *args; /* an object */
	struct store_who who;
	enum store_role role;
	const char *session; /* as presented, NULL: none */
	const char *session_hash;
	int64_t now_ms; /* UTC, when the call began */
};

struct op {
	const char *name;
	enum store_role role;	   /* ROLE_NONE: anybody */
	const struct op_arg *args; /* NULL: whatever the daemon behind it takes */
	void (*run)(struct op_call *c);
};

/* Takes result. */
void op_done(struct op_call *c, json_t *result);
void op_fail(struct op_call *c, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Ends the transaction: true when it is on disk; else the call has failed. */
bool op_commit(struct op_call *c);

/* Types and names, against a list: false with a sentence in err. Pure. */
bool op_check(const char *what, const struct op_arg *list, const json_t *args, char *err, size_t n);
/* Of an object of arguments; text is NULL and numbers are dflt when not there. */
const char *op_text(const json_t *args, const char *name);
int64_t op_int(const json_t *args, const char *name, int64_t dflt);
bool op_has(const json_t *args, const char *name);

/* The tables: each ends with a row without a name. */
extern const struct op ops_door[], ops_who[], ops_policy[], ops_import[], ops_incident[],
    ops_report[], ops_remote[], ops_alert[];

#endif
