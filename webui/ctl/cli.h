/*
 * cli - the command line of sekishoctl as data: nouns, verbs, their arguments and options are rows
 * of tables.
 *
 * Parsing, --help, the suggestion for a mistyped word and shell completion all read the same rows,
 * so that none of them can disagree with another. A verb's function gets a struct cli with
 * everything checked that a table can check, and returns the exit status: 0 done, 1 "no" or nothing
 * found, 64-78 as in sysexits(3).
 */
#ifndef WEBUI_CTL_CLI_H
#define WEBUI_CTL_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sysexits.h>

#include "lib/conf.h"

#define CLI_NO 1 /* exit status: the answer is no, or nothing was found */

enum cli_type {
	CLI_FLAG,     /* takes no value */
	CLI_TEXT,     /* anything */
	CLI_TIME,     /* a point in time, clock_parse() */
	CLI_END,      /* a point in time, or never, which is as if it were not given */
	CLI_DURATION, /* clock_parse_duration() */
	CLI_INT,      /* min..max */
	CLI_CHOICE,   /* one of the words of .value: "full|throttled" */
};

struct cli_opt {
	const char *name; /* without its dashes; NULL ends a list */
	enum cli_type type;
	const char *value; /* what the help calls its value; NULL for a flag */
	const char *help;  /* one line */
	int64_t min, max;  /* CLI_INT, CLI_DURATION (ms) */
	bool many;	   /* may be given more than once */
};

struct cli;

struct cli_verb {
	const char *name; /* NULL: the noun stands alone */
	/* Positional arguments as shown: "PREFIX", "IP [PORT] TIME", "[ID...]". Their number is
	 * read from this text. */
	const char *args;
	const char *help;	    /* one line */
	const char *more;	    /* a paragraph for this verb's own help, or NULL */
	const struct cli_opt *opts; /* or NULL */
	int (*run)(struct cli *c);
};

struct cli_noun {
	const char *name;
	const char *help;
	const struct cli_verb *verbs;
	size_t n_verbs;
};

#define CLI_VERBS(a) .verbs = (a), .n_verbs = sizeof(a) / sizeof((a)[0])

extern const struct cli_noun *const cli_nouns[]; /* nouns.c */
extern const size_t cli_n_nouns;

/* What a run talks to; filled by main(), or by a test. */
struct cli_io {
	FILE *in, *out, *err;
	bool in_tty, out_tty; /* is there a person at that end */
	bool color;
	int64_t now_ms;	  /* UTC at the start */
	const char *self; /* path of the running program, to find its sisters; NULL: unknown */
};

struct cli_given {
	const struct cli_opt *opt;
	const char *text;
	int64_t n; /* CLI_TIME, CLI_END (0: never), CLI_DURATION: milliseconds; CLI_INT */
};

struct query;

struct cli {
	void *pool; /* talloc; everything here lives until the command ends */
	const struct cli_io *io;
	const struct cli_noun *noun;
	const struct cli_verb *verb;
	const char *conf_file;
	bool json;
	const char **args; /* the positional arguments */
	size_t n_args;
	struct cli_given *given;
	size_t n_given;
	struct conf_common conf; /* after ask_conf() */
	bool conf_loaded;
	struct query *query; /* after ask_query() */
};

/* The whole of sekishoctl: parse, run, tidy up. Returns the exit status. */
int cli_main(int argc, char **argv, const struct cli_io *io);

/*
 * Fill c (pool and io set, the rest zero) from the words. True: run c->verb. False: *status is the
 * exit status; help or the reason was printed.
 */
bool cli_parse(struct cli *c, int argc, char **argv, int *status);

/* The options of this run. Asking for a name that is not in the verb's table is a bug(). */
bool cli_flag(const struct cli *c, const char *name);
const char *cli_text(const struct cli *c, const char *name); /* NULL: not given */
bool cli_number(const struct cli *c, const char *name,
		int64_t *out); /* false: not given, *out untouched */
const char *cli_next(const struct cli *c, const char *name,
		     size_t *at); /* .many: each in turn; *at starts at 0 */

/* "sekishoctl: message" on stderr, escaped; returns status, to be returned at once. */
int cli_fail(const struct cli *c, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same without a status: something the reader should know. */
void cli_warn(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
