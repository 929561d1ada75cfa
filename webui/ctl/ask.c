/*
 * ask - see ask.h.
 *
 * Trusted with: the control socket, the database read-only, passwords on their way to acctd (wiped
 * after). Diagnostics: on stderr. Known gaps: none.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/clock.h"
#include "lib/proc.h"

#include "webui/ctl/ask.h"

bool ask_conf(struct cli *c, int *status)
{
	static const struct conf_key keys[] = {CONF_COMMON_ROWS};
	char *err = NULL;
	if (c->conf_loaded)
		return true;
	c->conf_loaded =
	    conf_load(c->pool, c->conf_file, keys, sizeof(keys) / sizeof(keys[0]), &c->conf, &err);
	if (!c->conf_loaded)
		*status = cli_fail(c, EX_CONFIG, "%s", err);
	return c->conf_loaded;
}

/* --- acctd --- */

json_t *ask_control_quiet(struct cli *c, const char *op, json_t *args, struct control_error *e)
{
	json_t *r = control_call(c->conf.run_dir, op, args, NULL, e);
	json_decref(args);
	return r;
}

int ask_failed(struct cli *c, const struct control_error *e)
{
	return cli_fail(c, control_exit_code(e), "%s", e->text);
}

int ask_data_code(const struct control_error *e)
{
	bool data = strcmp(e->code, "invalid") == 0 || strcmp(e->code, "notfound") == 0;
	return data ? EX_DATAERR : control_exit_code(e);
}

json_t *ask_control(struct cli *c, const char *op, json_t *args, int *status)
{
	struct control_error e;
	if (!ask_conf(c, status)) {
		json_decref(args);
		return NULL;
	}
	json_t *r = ask_control_quiet(c, op, args, &e);
	if (!r)
		*status = ask_failed(c, &e);
	return r;
}

/* --- the database --- */

struct query *ask_query(struct cli *c, int *status)
{
	const char *err = NULL;
	if (c->query || !ask_conf(c, status))
		return c->query;
	c->query = query_open(c->conf.state_dir, &err);
	if (!c->query)
		*status = cli_fail(c, EX_UNAVAILABLE, "the database in %s/accounting: %s",
				   c->conf.state_dir, err);
	return c->query;
}

json_t *ask_got(struct cli *c, json_t *v, const char *err, int *status)
{
	if (v)
		return v;
	*status = cli_fail(c, err && strcmp(err, "not found") == 0 ? CLI_NO : EX_SOFTWARE, "%s",
			   err ? err : "no answer");
	return NULL;
}

json_t *ask_one(struct cli *c, const char *what,
		json_t *(*get)(struct query *q, int64_t id, const char **err), int *status)
{
	const char *err = NULL;
	int64_t id;
	struct query *q = ask_id(c, c->args[0], &id, status) ? ask_query(c, status) : NULL;
	json_t *r = q ? get(q, id, &err) : NULL;

	if (q && !r && err && strcmp(err, "not found") == 0) {
		*status = cli_fail(c, CLI_NO, "there is no %s %s", what, c->args[0]);
		return NULL;
	}
	return q ? ask_got(c, r, err, status) : NULL;
}

/* --- files --- */

static char *read_stream(struct cli *c, FILE *f, size_t max, size_t *len, int *status)
{
	size_t cap = 65536;
	char *buf = talloc_size(c->pool, cap + 1);
	for (*len = 0;;) {
		*len += fread(buf + *len, 1, cap - *len, f);
		if (*len > max || *len < cap)
			break;
		cap *= 2;
		buf = talloc_realloc_size(c->pool, buf, cap + 1);
	}
	buf[*len] = '\0';
	if (ferror(f))
		*status = cli_fail(c, EX_IOERR, "cannot read the input: %s", strerror(errno));
	else if (*len > max)
		*status = cli_fail(c, EX_DATAERR, "the input is larger than %zu bytes", max);
	else
		return buf;
	return NULL;
}

char *ask_file(struct cli *c, const char *name, size_t max, size_t *len, int *status)
{
	if (strcmp(name, "-") == 0)
		return read_stream(c, c->io->in, max, len, status);
	FILE *f = fopen(name, "re");
	if (!f) {
		*status = cli_fail(c, EX_NOINPUT, "%s: %s", name, strerror(errno));
		return NULL;
	}
	char *buf = read_stream(c, f, max, len, status);
	fclose(f);
	return buf;
}

static bool drain(FILE *f)
{
	char drop[65536];
	size_t all = 0, n;
	while ((n = fread(drop, 1, sizeof(drop), f)) > 0)
		all += n;
	return all > 0;
}

char *ask_file_head(struct cli *c, const char *name, size_t max, size_t *len, bool *cut,
		    int *status)
{
	bool in = strcmp(name, "-") == 0;
	FILE *f = in ? c->io->in : fopen(name, "re");
	if (!f) {
		*status = cli_fail(c, EX_NOINPUT, "%s: %s", name, strerror(errno));
		return NULL;
	}
	char *buf = talloc_size(c->pool, max + 1);
	*len = fread(buf, 1, max, f);
	buf[*len] = '\0';
	*cut = drain(f);
	if (ferror(f)) {
		*status = cli_fail(c, EX_IOERR, "cannot read %s: %s", name, strerror(errno));
		buf = NULL;
	}
	if (!in)
		fclose(f);
	return buf;
}

/* --- the person --- */

bool ask_yes(const struct cli *c, const char *question)
{
	char line[16];
	if (!c->io->in_tty || !c->io->out_tty)
		return true;
	fprintf(c->io->err, "%s [y/N] ", question);
	fflush(c->io->err);
	return fgets(line, sizeof(line), c->io->in) && (line[0] == 'y' || line[0] == 'Y');
}

static bool read_line(FILE *f, char *buf, size_t n)
{
	if (!fgets(buf, (int)n, f))
		return false;
	size_t len = strlen(buf);
	if (len > 0 && buf[len - 1] == '\n')
		buf[--len] = '\0';
	else if (!feof(f))
		return false; /* longer than buf */
	if (len > 0 && buf[len - 1] == '\r')
		buf[--len] = '\0';
	return len > 0;
}

/* A line typed without echo. Signals that would leave the terminal silent wait until it is back. */
static bool read_hidden(const struct cli *c, const char *prompt, char *buf, size_t n)
{
	struct termios was, quiet;
	sigset_t block, old;
	int fd = fileno(c->io->in);
	if (tcgetattr(fd, &was) != 0)
		return false;
	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGTERM);
	sigaddset(&block, SIGTSTP);
	sigprocmask(SIG_BLOCK, &block, &old);
	quiet = was;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	fprintf(c->io->err, "%s: ", prompt);
	fflush(c->io->err);
	tcsetattr(fd, TCSAFLUSH, &quiet);
	bool ok = read_line(c->io->in, buf, n);
	tcsetattr(fd, TCSAFLUSH, &was);
	fputc('\n', c->io->err);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return ok && !strchr(buf, 0x03);
}

static bool typed_twice(struct cli *c, char *buf, size_t n, int *status)
{
	char again[256];
	bool ok = n <= sizeof(again) && read_hidden(c, "Password", buf, n) &&
		  read_hidden(c, "Again", again, n);
	if (!ok)
		*status = cli_fail(c, EX_USAGE, "no password was given");
	else if (strcmp(buf, again) != 0) {
		*status = cli_fail(c, EX_USAGE, "the two passwords differ: nothing was changed");
		ok = false;
	}
	explicit_bzero(again, sizeof(again));
	return ok;
}

bool ask_password(struct cli *c, bool only_stdin, char *buf, size_t n, int *status)
{
	if (c->io->in_tty && !only_stdin)
		return typed_twice(c, buf, n, status);
	/* Unbuffered, so that no copy of the password stays behind in the stream. */
	setvbuf(c->io->in, NULL, _IONBF, 0);
	if (read_line(c->io->in, buf, n))
		return true;
	*status =
	    cli_fail(c, EX_USAGE,
		     "no password on standard input: give one line of at most %zu bytes", n - 2);
	return false;
}

/* --- arguments --- */

bool ask_addr(struct cli *c, const char *text, struct addr *out, int *status)
{
	const char *err = NULL;
	if (addr_parse(text, out, &err))
		return true;
	*status = cli_fail(c, EX_USAGE, "%s is not an address: %s", text, err);
	return false;
}

bool ask_prefix(struct cli *c, const char *text, char out[static PREFIX_STRLEN], int *status)
{
	char err[128] = "";
	struct prefix p;
	if (prefix_parse(text, &p, err)) {
		prefix_format(&p, out);
		return true;
	}
	*status = cli_fail(c, EX_USAGE, "%s: %s", text, err);
	return false;
}

bool ask_time(struct cli *c, const char *text, int64_t *out_ms, int *status)
{
	const char *err = NULL;
	if (clock_parse(text, c->io->now_ms, out_ms, &err))
		return true;
	*status = cli_fail(c, EX_USAGE, "%s is not a time: %s", text, err);
	return false;
}

bool ask_int(const char *text, int64_t min, int64_t max, int64_t *out)
{
	size_t len = strlen(text);
	if (len == 0 || len > 18 || strspn(text, "0123456789") != len)
		return false;
	*out = strtoll(text, NULL, 10);
	return *out >= min && *out <= max;
}

bool ask_id(struct cli *c, const char *text, int64_t *out, int *status)
{
	if (ask_int(text, 1, INT64_MAX, out))
		return true;
	*status = cli_fail(c, EX_USAGE, "%s is not a number: give the ID that list shows", text);
	return false;
}

void ask_put_text(const struct cli *c, json_t *args, const char *key, const char *opt)
{
	const char *v = cli_text(c, opt);
	if (v)
		json_object_set_new(args, key, json_string(v));
}

void ask_put_number(const struct cli *c, json_t *args, const char *key, const char *opt)
{
	int64_t n;
	if (cli_number(c, opt, &n))
		json_object_set_new(args, key, json_integer(n));
}
