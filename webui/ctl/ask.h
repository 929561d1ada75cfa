/*
 * ask - where answers come from: the configuration, acctd's control socket, the database, files,
 * and the person at the terminal.
 *
 * Each call says on stderr what went wrong and gives the exit status in *status, so that a verb
 * returns it at once.
 */
#ifndef WEBUI_CTL_ASK_H
#define WEBUI_CTL_ASK_H

#include <jansson.h>

#include "accounting/control.h"
#include "accounting/query.h"
#include "lib/addr.h"

#include "webui/ctl/cli.h"

#define ASK_ROWS 1000000 /* "all of them", for queries that take a limit */

/* Reads section `common` once. */
bool ask_conf(struct cli *c, int *status);

/*
 * One request to acctd. Takes args (a reference, may be NULL). The result is a new reference, or
 * NULL.
 */
json_t *ask_control(struct cli *c, const char *op, json_t *args, int *status);
/* The same, but saying nothing: for callers that make something of the error. */
json_t *ask_control_quiet(struct cli *c, const char *op, json_t *args, struct control_error *e);
int ask_failed(struct cli *c, const struct control_error *e);
/* control_exit_code() for what came out of a file: 65 when acctd finds the data wrong. */
int ask_data_code(const struct control_error *e);

/* The read-only database, opened once; NULL when it cannot be. The handle is c's. */
struct query *ask_query(struct cli *c, int *status);
/* A query's result, or NULL: says err and gives the status ("not found" is 1). Passes v through. */
json_t *ask_got(struct cli *c, json_t *v, const char *err, int *status);
/* What ("incident") the first argument names by its number: a new reference, or NULL with
 * *status. */
json_t *ask_one(struct cli *c, const char *what,
		json_t *(*get)(struct query *q, int64_t id, const char **err), int *status);

/* FILE or "-" (standard input), at most max bytes; talloc'd under c->pool, NUL-terminated past
 * *len. NULL with *status. */
char *ask_file(struct cli *c, const char *name, size_t max, size_t *len, int *status);

/* The same, but of a longer one the first max bytes: *cut. It is read to its end all the same. */
char *ask_file_head(struct cli *c, const char *name, size_t max, size_t *len, bool *cut,
		    int *status);

/* Yes from the person at the terminal? Always true when there is none. */
bool ask_yes(const struct cli *c, const char *question);
/* A password: a line from standard input when that is no terminal or only_stdin, else asked twice
 * without echo. Wipe it with explicit_bzero(). False with *status. */
bool ask_password(struct cli *c, bool only_stdin, char *buf, size_t n, int *status);

/* Checked arguments; false with *status and the reason said. */
bool ask_addr(struct cli *c, const char *text, struct addr *out, int *status);
bool ask_prefix(struct cli *c, const char *text, char out[static PREFIX_STRLEN], int *status);
bool ask_time(struct cli *c, const char *text, int64_t *out_ms, int *status);
bool ask_id(struct cli *c, const char *text, int64_t *out, int *status);
bool ask_int(const char *text, int64_t min, int64_t max, int64_t *out);

/* Put the option's value into args under key, when it was given. */
void ask_put_text(const struct cli *c, json_t *args, const char *key, const char *opt);
void ask_put_number(const struct cli *c, json_t *args, const char *key, const char *opt);

#endif
