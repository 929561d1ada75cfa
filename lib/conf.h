/*
 * conf - one configuration file for all programs, read with libconfuse and checked by a table.
 *
 * The file has one section a program: common, kernel-rules, nfq, msa, ratelimit, accounting, webui.
 * Beside them stand groups, any number of each kind, with a name: class NAME { }, pool NAME { };
 * a name is 1 to 15 of a-z, 0-9 and -. A group written twice is one, as a section is.
 * A program reads `common` and the sections it has keys for; the others are skipped, but their
 * names are checked. Each key is one row of a table, which drives parsing, defaults, -n, the dump
 * and the check against the manual page.
 *
 * Errors name file:line and say what to do: an unknown section or key, a key set twice in one file,
 * a value out of its range, a missing unit, trailing bytes. A section of which a table has only
 * `peek` rows belongs to another program: its other keys are not checked here. `include("FILE")`
 * reads another file at that point (relative to the including file); a key set there overrides one
 * set by the including file: the way to keep site changes apart.
 */
#ifndef LIB_CONF_H
#define LIB_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum conf_type {
	CONF_BOOL,     /* bool: true/false/yes/no/on/off */
	CONF_INT,      /* int64_t in min..max */
	CONF_DURATION, /* int64_t milliseconds; text with unit, as clock_parse_duration() */
	CONF_SIZE,     /* int64_t bytes; "10M", "64k", "4096" */
	CONF_STRING,   /* char * */
	CONF_PATH,     /* char *, absolute or "" */
	CONF_ENUM,     /* int: index into choices */
	CONF_LIST,     /* struct conf_list of strings */
	CONF_GROUP,    /* struct conf_items: every group of the kind `section`; name is "" */
};

struct conf_list {
	char **items;
	size_t n;
};

#define CONF_TITLE_MAX 15 /* characters of a group's name */

/*
 * The groups of one kind, in the order of their first lines. items is an array of the program's own
 * struct, whose first member is `char *name`; the CONF_GROUP row's max is its size. The kind's keys
 * are rows as others are, with offsets in that struct.
 */
struct conf_items {
	void *items;
	size_t n;
};

struct conf_key {
	const char *section, *name;
	enum conf_type type;
	size_t offset;	     /* in the program's own struct, or in the group's */
	const char *dflt;    /* as it would be typed; for lists, items separated by blanks */
	int64_t min, max;    /* of the value in its base unit; both 0: no limit. CONF_GROUP: max is
				the size of an item */
	const char *choices; /* CONF_ENUM: "closed|open" */
	bool reload;	     /* may change on SIGHUP */
	const char *doc;     /* one line, for the dump */
	bool peek;	     /* another program's key, read here too: see the top */
};

/*
 * Fill out (zeroed by the caller, all strings talloc'd under ctx) from file. False: *err is a
 * talloc'd text under ctx with file:line. out is then not to be used.
 */
bool conf_load(void *ctx, const char *file, const struct conf_key *keys, size_t n, void *out,
	       char **err);
/* Every key with its current value and doc, in the file's own format; groups after the sections. */
void conf_dump(FILE *f, const struct conf_key *keys, size_t n, const void *out);
/*
 * After conf_load() of a fresh struct on SIGHUP: false when a key that is not reloadable differs;
 * *err (talloc'd under ctx) names it. Groups of a kind may come and go if its CONF_GROUP row says
 * reload.
 */
bool conf_may_reload(void *ctx, const struct conf_key *keys, size_t n, const void *old,
		     const void *fresh, char **err);

/* The section `common`, the same for every program; embed it first in the program's own struct. */
struct conf_common {
	char *state_dir; /* /var/lib/sekisho */
	char *run_dir;	 /* /run/sekisho: sockets */
	char *user;	 /* who daemons become, "" = stay */
};
/* Rows for `common`; offsets are from the start of conf_common. */
/* clang-format off */
#define CONF_COMMON_ROWS \
	{"common", "state_dir", CONF_PATH, offsetof(struct conf_common, state_dir), \
	 "/var/lib/sekisho", 0, 0, NULL, false, \
	 "where daemons keep what must survive a restart", false}, \
	{"common", "run_dir", CONF_PATH, offsetof(struct conf_common, run_dir), \
	 "/run/sekisho", 0, 0, NULL, false, \
	 "where their sockets are", false}, \
	{"common", "user", CONF_STRING, offsetof(struct conf_common, user), \
	 "sekisho", 0, 0, NULL, false, \
	 "the account daemons become after start; empty: stay, with capabilities dropped", false}
/* clang-format on */

#endif
