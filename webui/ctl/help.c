/*
 * help - usage texts and suggestions, printed from the tables.
 *
 * Trusted with: nothing. Diagnostics: none of its own. Known gaps: text is folded at 79 columns
 * whatever the terminal's width.
 */
#include <limits.h>
#include <string.h>

#include "webui/ctl/help.h"

#define WIDTH 79
#define NEAR  2

const struct cli_opt help_globals[] = {
    {"config", CLI_TEXT, "FILE",
     "the configuration, default /etc/sekisho/sekisho.conf; also -c FILE", 0, 0, false},
    {"json", CLI_FLAG, NULL, "print JSON", 0, 0, false},
    {"help", CLI_FLAG, NULL, "print this; also -h", 0, 0, false},
    {"version", CLI_FLAG, NULL, "print the version", 0, 0, false},
    {NULL, CLI_FLAG, NULL, NULL, 0, 0, false},
};

static const char time_note[] =
    "TIME is 2026-12-31 (00:00 UTC), 2026-12-31T23:59:59Z, now, +90d, -5m or @SECONDS. "
    "Times are printed in UTC.";

static const char everywhere[] =
    "On a terminal results are tables; elsewhere they are tab-separated lines without a header, or "
    "JSON with --json. "
    "Exit status: 0 done, 1 no or nothing found, 64 to 78 as in sysexits(3).";

/* --- folding --- */

/* Prints the words of text, continuing at column *col and breaking to indent. */
static void fold(FILE *f, const char *text, int indent, int *col)
{
	for (const char *p = text; *p; p += strspn(p, " ")) {
		int len = (int)strcspn(p, " ");
		if (*col > indent && *col + 1 + len > WIDTH) {
			fprintf(f, "\n%*s", indent, "");
			*col = indent;
		} else if (*col > indent) {
			fputc(' ', f);
			(*col)++;
		}
		fprintf(f, "%.*s", len, p);
		*col += len;
		p += len;
	}
}

static void paragraph(FILE *f, const char *text)
{
	int col = 0;
	fold(f, text, 0, &col);
	fputc('\n', f);
}

static void opt_words(const struct cli_opt *o, char *buf, size_t n)
{
	snprintf(buf, n, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
}

/* A unit that must not be torn apart at a line's end. */
static void fold_unit(FILE *f, const char *unit, int indent, int *col)
{
	int len = (int)strlen(unit);
	if (*col + 1 + len > WIDTH && *col > indent) {
		fprintf(f, "\n%*s", indent, "");
		*col = indent;
	} else {
		fputc(' ', f);
		(*col)++;
	}
	fputs(unit, f);
	*col += len;
}

void help_synopsis(FILE *f, const struct cli_noun *n, const struct cli_verb *v, const char *lead)
{
	char head[128], unit[160], words[128];
	snprintf(head, sizeof(head), "%s%s%s%s%s%s", lead, n->name, v->name ? " " : "",
		 v->name ? v->name : "", *v->args ? " " : "", v->args);
	int col = (int)strlen(head), indent = (int)strspn(lead, " ") + 8;
	fputs(head, f);
	for (const struct cli_opt *o = v->opts; o && o->name; o++) {
		opt_words(o, words, sizeof(words));
		snprintf(unit, sizeof(unit), "[%s]%s", words, o->many ? "..." : "");
		fold_unit(f, unit, indent, &col);
	}
	fputc('\n', f);
}

/* --- the three levels --- */

static void print_opts(FILE *f, const struct cli_opt *opts)
{
	char words[128];
	for (const struct cli_opt *o = opts; o && o->name; o++) {
		opt_words(o, words, sizeof(words));
		if (fprintf(f, "  %-24s", words) > 26)
			fprintf(f, "\n%26s", "");
		fputc(' ', f);
		int col = 27;
		fold(f, o->help, 27, &col);
		fputc('\n', f);
	}
}

static bool has_time(const struct cli_verb *v)
{
	for (const struct cli_opt *o = v->opts; o && o->name; o++)
		if (o->type == CLI_TIME || o->type == CLI_END)
			return true;
	return strstr(v->args, "TIME") != NULL;
}

static void print_verb(const struct cli_noun *n, const struct cli_verb *v, FILE *f)
{
	help_synopsis(f, n, v, "usage: sekishoctl [-c FILE] [--json] ");
	fputc('\n', f);
	paragraph(f, v->help);
	if (v->more) {
		fputc('\n', f);
		paragraph(f, v->more);
	}
	fputc('\n', f);
	print_opts(f, v->opts);
	print_opts(f, help_globals);
	fputc('\n', f);
	if (has_time(v))
		paragraph(f, time_note);
	paragraph(f, everywhere);
}

static void print_noun(const struct cli_noun *n, FILE *f)
{
	bool time = false;
	fprintf(f, "usage: sekishoctl [-c FILE] [--json] %s VERB ...\n\n", n->name);
	paragraph(f, n->help);
	fputc('\n', f);
	for (size_t i = 0; i < n->n_verbs; i++) {
		const struct cli_verb *v = &n->verbs[i];
		int col = 8;
		help_synopsis(f, n, v, "  ");
		fprintf(f, "%8s", "");
		fold(f, v->help, 8, &col);
		fputc('\n', f);
		time |= has_time(v);
	}
	fputc('\n', f);
	print_opts(f, help_globals);
	fputc('\n', f);
	if (time)
		paragraph(f, time_note);
	fprintf(f, "sekishoctl %s VERB --help explains each option.\n", n->name);
}

static void print_verb_names(FILE *f, const struct cli_noun *n)
{
	int col = 4;
	if (!n->verbs[0].name)
		return;
	fprintf(f, "%14s", "");
	col = 14;
	for (size_t i = 0; i < n->n_verbs; i++)
		fold_unit(f, n->verbs[i].name, 14, &col);
	fputc('\n', f);
}

static void print_all(FILE *f)
{
	fputs("usage: sekishoctl [-c FILE] [--json] NOUN VERB ...\n\n", f);
	paragraph(f, "Ask and tell a Sekisho gateway.");
	fputc('\n', f);
	for (size_t i = 0; i < cli_n_nouns; i++) {
		const struct cli_noun *n = cli_nouns[i];
		fprintf(f, "  %-12s %s\n", n->name, n->help);
		print_verb_names(f, n);
	}
	fputc('\n', f);
	print_opts(f, help_globals);
	fputc('\n', f);
	paragraph(f, everywhere);
	fputs("sekishoctl NOUN [VERB] --help explains each; see also sekishoctl(8).\n", f);
}

void help_print(const struct cli *c, FILE *f)
{
	if (c->verb)
		print_verb(c->noun, c->verb, f);
	else if (c->noun)
		print_noun(c->noun, f);
	else
		print_all(f);
}

void help_hint(const struct cli *c)
{
	fprintf(c->io->err, "see sekishoctl%s%s%s%s --help\n", c->noun ? " " : "",
		c->noun ? c->noun->name : "", c->verb && c->verb->name ? " " : "",
		c->verb && c->verb->name ? c->verb->name : "");
}

/* --- nearest words --- */

static int least(int a, int b, int c)
{
	int m = a < b ? a : b;
	return m < c ? m : c;
}

int help_distance(const char *a, const char *b)
{
	int d[34][34];
	size_t n = strlen(a), m = strlen(b);
	if (n > 32 || m > 32)
		return 99;
	for (size_t i = 0; i <= n; i++)
		d[i][0] = (int)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (int)j;
	for (size_t i = 1; i <= n; i++)
		for (size_t j = 1; j <= m; j++) {
			d[i][j] = least(d[i - 1][j] + 1, d[i][j - 1] + 1,
					d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	return d[n][m];
}

/* Keeps candidate in *best when it is nearer than what was there. A whole-word prefix counts as
 * near. */
static void consider(const char *word, const char *candidate, const char **best, int *best_d)
{
	int d = help_distance(word, candidate);
	if (strlen(word) >= 2 && strncmp(word, candidate, strlen(word)) == 0)
		d = 1;
	/* Two edits of a word of three letters make any other word. */
	if (d <= NEAR && d < (int)strlen(candidate) - 1 && d < *best_d) {
		*best = candidate;
		*best_d = d;
	}
}

const char *help_near_noun(const struct cli *c, const char *word)
{
	const char *best = NULL;
	int d = INT_MAX;
	(void)c;
	for (size_t i = 0; i < cli_n_nouns; i++)
		consider(word, cli_nouns[i]->name, &best, &d);
	return best;
}

const char *help_near_verb(const struct cli *c, const char *word)
{
	const char *best = NULL;
	int d = INT_MAX;
	for (size_t i = 0; i < c->noun->n_verbs; i++)
		consider(word, c->noun->verbs[i].name, &best, &d);
	return best;
}

const char *help_near_opt(const struct cli *c, const char *word)
{
	const char *best = NULL;
	int d = INT_MAX;
	for (const struct cli_opt *o = c->verb ? c->verb->opts : NULL; o && o->name; o++)
		consider(word, o->name, &best, &d);
	for (const struct cli_opt *o = help_globals; o->name; o++)
		consider(word, o->name, &best, &d);
	return best;
}
