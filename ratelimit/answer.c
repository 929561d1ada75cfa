/*
 * answer - see answer.h.
 *
 * Trusted with text from anybody: only compares it, at most ANSWER_TEXT_MAX octets of it. A file's
 * expressions are the operator's; back-references, which can take for ever, are refused.
 * Diagnostics: err. Known gaps: the built-in words are English.
 */
#include "ratelimit/answer.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"

#define FILE_MAX   (4u << 20)
#define COPIES_MAX 65536 /* of one part of an expression */

static const char *const names[ANSWER_CLASSES] = {
    [ANSWER_NONE] = "none",	  [ANSWER_OK] = "ok",	      [ANSWER_UNKNOWN] = "unknown-user",
    [ANSWER_BLOCKED] = "blocked", [ANSWER_SPAM] = "spam",     [ANSWER_RATE] = "rate-limited",
    [ANSWER_FULL] = "full",	  [ANSWER_POLICY] = "policy", [ANSWER_TEMPORARY] = "temporary",
    [ANSWER_NETWORK] = "network", [ANSWER_TLS] = "tls",	      [ANSWER_OTHER] = "other",
};

struct row {
	enum answer_class class;
	const char *code, *text;
};

/*
 * The first that fits decides. Words of spam are believed before any code. A code that names the
 * recipient is believed before words; 5.7.1 says anything, so that words about the recipient are
 * believed before it, of a final refusal only.
 */
static const struct row builtin[] = {
    {ANSWER_SPAM, "*", "spam"},
    {ANSWER_SPAM, "*", "unsolicited"},
    {ANSWER_SPAM, "*", "blacklist"},
    {ANSWER_SPAM, "*", "blocklist"},
    {ANSWER_SPAM, "*", "block list"},
    {ANSWER_SPAM, "*", "block-list"},
    {ANSWER_SPAM, "*", "black list"},
    {ANSWER_SPAM, "*", "listed at"},
    {ANSWER_SPAM, "*", "listed by"},
    {ANSWER_SPAM, "*", "bulk mail"},
    {ANSWER_SPAM, "*", "reputation"},
    {ANSWER_SPAM, "*", "virus"},
    {ANSWER_SPAM, "*", "malware"},
    {ANSWER_SPAM, "*", "phish"},
    {ANSWER_SPAM, "*", "junk"},
    {ANSWER_SPAM, "*", "abuse"},
    {ANSWER_SPAM, "*", "complaint"},
    {ANSWER_SPAM, "*", "content reject"},
    {ANSWER_SPAM, "*", "message rejected"},

    {ANSWER_UNKNOWN, "5.1.0", "*"},
    {ANSWER_UNKNOWN, "5.1.1", "*"},
    {ANSWER_UNKNOWN, "5.1.2", "*"},
    {ANSWER_UNKNOWN, "5.1.3", "*"},
    {ANSWER_UNKNOWN, "5.1.6", "*"},
    {ANSWER_UNKNOWN, "5.1.10", "*"},
    {ANSWER_UNKNOWN, "5.2.1", "*"},
    {ANSWER_UNKNOWN, "5.4.1", "*"},

    {ANSWER_UNKNOWN, "5xx", "user unknown"},
    {ANSWER_UNKNOWN, "5xx", "unknown user"},
    {ANSWER_UNKNOWN, "5xx", "unknown recipient"},
    {ANSWER_UNKNOWN, "5xx", "recipient unknown"},
    {ANSWER_UNKNOWN, "5xx", "no such"},
    {ANSWER_UNKNOWN, "5xx", "does not exist"},
    {ANSWER_UNKNOWN, "5xx", "doesn't exist"},
    {ANSWER_UNKNOWN, "5xx", "not exist"},
    {ANSWER_UNKNOWN, "5xx", "invalid recipient"},
    {ANSWER_UNKNOWN, "5xx", "invalid mailbox"},
    {ANSWER_UNKNOWN, "5xx", "mailbox unavailable"},
    {ANSWER_UNKNOWN, "5xx", "mailbox not found"},
    {ANSWER_UNKNOWN, "5xx", "not found"},
    {ANSWER_UNKNOWN, "5xx", "recipientnotfound"},
    {ANSWER_UNKNOWN, "5xx", "not our customer"},
    {ANSWER_UNKNOWN, "5xx", "address rejected"},
    {ANSWER_UNKNOWN, "5xx", "account disabled"},
    {ANSWER_UNKNOWN, "5xx", "no mailbox"},

    {ANSWER_TLS, "x.7.4", "*"},
    {ANSWER_TLS, "x.7.5", "*"},
    {ANSWER_TLS, "x.7.10", "*"},
    {ANSWER_TLS, "x.7.11", "*"},
    {ANSWER_TLS, "x.7.30", "*"},
    {ANSWER_TLS, "*", "starttls"},

    {ANSWER_SPAM, "5.7.28", "*"},
    {ANSWER_SPAM, "4.7.28", "*"},
    {ANSWER_SPAM, "5.7.350", "*"},
    {ANSWER_SPAM, "5.7.511", "*"},
    {ANSWER_SPAM, "5.7.512", "*"},
    {ANSWER_SPAM, "5.7.708", "*"},
    {ANSWER_SPAM, "5.7.750", "*"},
    {ANSWER_SPAM, "4.7.650", "*"},
    {ANSWER_BLOCKED, "5.7.606", "*"},
    {ANSWER_BLOCKED, "5.7.0", "*"},
    {ANSWER_BLOCKED, "5.7.1", "*"},

    {ANSWER_POLICY, "x.3.4", "*"},
    {ANSWER_POLICY, "*", "message size"},
    {ANSWER_POLICY, "*", "too large"},
    {ANSWER_FULL, "x.2.2", "*"},
    {ANSWER_FULL, "x.3.1", "*"},
    {ANSWER_FULL, "552", "*"},
    {ANSWER_FULL, "*", "mailbox full"},
    {ANSWER_FULL, "*", "mailbox is full"},
    {ANSWER_FULL, "*", "over quota"},
    {ANSWER_FULL, "*", "quota exceeded"},
    {ANSWER_FULL, "*", "exceeded storage"},
    {ANSWER_FULL, "452", "insufficient"},

    {ANSWER_TEMPORARY, "4xx", "greylist"},
    {ANSWER_TEMPORARY, "4xx", "graylist"},
    {ANSWER_RATE, "4.7.0", "*"},
    {ANSWER_RATE, "*", "too many"},
    {ANSWER_RATE, "*", "rate limit"},
    {ANSWER_RATE, "*", "ratelimit"},
    {ANSWER_RATE, "*", "throttl"},
    {ANSWER_RATE, "*", "too fast"},
    {ANSWER_RATE, "*", "too quickly"},

    {ANSWER_NETWORK, "x.4.*", "*"},

    {ANSWER_POLICY, "5.7.*", "*"},
    {ANSWER_POLICY, "5.6.*", "*"},
    {ANSWER_POLICY, "5.5.*", "*"},
    {ANSWER_POLICY, "x.1.7", "*"},
    {ANSWER_POLICY, "x.1.8", "*"},
    {ANSWER_POLICY, "5.2.3", "*"},
    {ANSWER_BLOCKED, "5xx", "blocked"},
    {ANSWER_BLOCKED, "5xx", "access denied"},

    {ANSWER_TEMPORARY, "4xx", "*"},
    {ANSWER_TEMPORARY, "4.*", "*"},
    {ANSWER_OTHER, "*", "*"},
};

const char *answer_class_name(enum answer_class c)
{
	return (unsigned)c < ANSWER_CLASSES ? names[c] : names[ANSWER_NONE];
}

bool answer_class_find(const char *name, enum answer_class *out)
{
	for (int i = ANSWER_OK; i < ANSWER_CLASSES; i++)
		if (strcmp(names[i], name) == 0) {
			*out = (enum answer_class)i;
			return true;
		}
	return false;
}

enum answer_kind answer_kind(enum answer_class c)
{
	switch (c) {
	case ANSWER_NONE:
		return ANSWER_KIND_NONE;
	case ANSWER_OK:
		return ANSWER_KIND_OK;
	case ANSWER_UNKNOWN:
		return ANSWER_KIND_UNKNOWN;
	case ANSWER_BLOCKED:
	case ANSWER_SPAM:
		return ANSWER_KIND_SPAM;
	default:
		return ANSWER_KIND_OTHER;
	}
}

/* --- an answer ----------------------------------------------------------------------------- */

struct parts {
	char code[4];	 /* "550"; "" our own words */
	char status[16]; /* "5.1.1"; "" none */
	char text[ANSWER_TEXT_MAX + 1];
};

/* Octets of "5.1.1" at s; 0: there is none. */
static size_t status_length(const char *s)
{
	size_t n = 0;

	for (int part = 0; part < 3; part++) {
		size_t k = strspn(s + n, "0123456789");
		if (k == 0 || k > 3 || (part == 0 && k != 1))
			return 0;
		n += k;
		if (part < 2 && s[n++] != '.')
			return 0;
	}
	return isalnum((unsigned char)s[n]) ? 0 : n;
}

static void take_apart(struct parts *p, const char *status, const char *text)
{
	size_t n;

	memset(p, 0, sizeof(*p));
	strncat(p->text, text, ANSWER_TEXT_MAX);
	if (strspn(text, "0123456789") == 3 && text[0] >= '2' && text[0] <= '5') {
		memcpy(p->code, text, 3);
		text += 3;
		text += strspn(text, " -");
		if ((n = status_length(text)) > 0) {
			memcpy(p->status, text, n < sizeof(p->status) ? n : sizeof(p->status) - 1);
			return;
		}
	}
	if (status && (n = status_length(status)) > 0 && status[n] == '\0')
		memcpy(p->status, status, n < sizeof(p->status) ? n : sizeof(p->status) - 1);
}

/* --- a row ----------------------------------------------------------------------------------- */

/* pattern: digits and dots, "x" any digit, ".*" any rest. */
static bool status_fits(const char *pattern, const char *status)
{
	for (; *pattern && *pattern != '*'; pattern++, status++)
		if (*pattern == 'x' ? !isdigit((unsigned char)*status) : *pattern != *status)
			return false;
	return *pattern == '*' ? *status != '\0' : *status == '\0';
}

/* "5xx" is any final refusal, of a server or our own. */
static bool code_fits(const char *pattern, const struct parts *p)
{
	if (strcmp(pattern, "*") == 0)
		return true;
	if (strchr(pattern, '.'))
		return status_fits(pattern, p->status);
	if (strcmp(pattern + 1, "xx") == 0)
		return pattern[0] == (p->code[0] ? p->code[0] : p->status[0]);
	return status_fits(pattern, p->code);
}

static bool words_fit(const char *words, const char *text)
{
	return strcmp(words, "*") == 0 || strcasestr(text, words);
}

static const struct row *row_of(const struct parts *p)
{
	const struct row *r = builtin; /* the last one fits everything */

	while (!code_fits(r->code, p) || !words_fit(r->text, p->text))
		r++;
	return r;
}

/* --- a file ---------------------------------------------------------------------------------- */

struct line {
	enum answer_class class;
	char code[16];
	char *words; /* NULL: regex */
	regex_t regex;
};

struct answer_table {
	struct line *lines;
	size_t n, cap;
};

struct answer_table *answer_table_new(void)
{
	return calloc(1, sizeof(struct answer_table));
}

void answer_table_free(struct answer_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++) {
		if (!t->lines[i].words)
			regfree(&t->lines[i].regex);
		free(t->lines[i].words);
	}
	free(t->lines);
	free(t);
}

size_t answer_table_size(const struct answer_table *t)
{
	return t ? t->n : 0;
}

static bool code_valid(const char *s)
{
	size_t n = strlen(s);

	if (strcmp(s, "*") == 0)
		return true;
	if (n == 3 && s[0] >= '2' && s[0] <= '5' &&
	    (strcmp(s + 1, "xx") == 0 ||
	     (isdigit((unsigned char)s[1]) && isdigit((unsigned char)s[2]))))
		return true;
	const char *last = strrchr(s, '.');
	return n >= 3 && n < 12 && strchr("245x", s[0]) && s[1] == '.' &&
	       (s[n - 1] == '*' ? s[n - 2] == '.' : last != s + 1 && last[1]) &&
	       strspn(s, "0123456789.x") + (s[n - 1] == '*') == n;
}

/* A reference to an earlier part makes matching exponential. */
static bool refers_back(const char *s)
{
	for (; *s; s++)
		if (*s == '\\' && s[1]) {
			if (isdigit((unsigned char)s[1]))
				return true;
			s++;
		}
	return false;
}

/* How often what a repetition repeats is written out: "+" is once and any number, "{2,9}" nine. */
static unsigned long copies_of(const char *s)
{
	char *end;
	unsigned long n, m;

	if (*s == '+')
		return 2;
	if (*s != '{')
		return 1;
	n = strtoul(s + 1, &end, 10);
	m = *end == ',' && isdigit((unsigned char)end[1]) ? strtoul(end + 1, NULL, 10) : n + 1;
	n = n > m ? n : m;
	return n ? n : 1;
}

/* regcomp(3) writes repetitions out, those inside of others multiplied: some bytes can fill the
 * memory. Taken as if each were inside of the one before. */
static bool is_huge(const char *s)
{
	unsigned long copies = 1;

	for (; *s && copies <= COPIES_MAX; s++) {
		unsigned long n = copies_of(s);

		copies *= n <= COPIES_MAX ? n : COPIES_MAX + 1;
		if (*s == '\\' && s[1])
			s++;
		else if (*s == '[') /* a set, where nothing repeats */
			s += strcspn(s + 1 + strspn(s + 1, "^]"), "]") + strspn(s + 1, "^]");
	}
	return copies > COPIES_MAX;
}

static bool take_regex(struct line *l, char *s, size_t n, const char **err)
{
	s[n - 1] = '\0';
	*err = "the expression between the slashes cannot be used";
	if (refers_back(s + 1))
		*err = "an expression that refers back (\\1) can take for ever";
	else if (is_huge(s + 1))
		*err = "an expression with so many repetitions would need too much memory";
	else if (regcomp(&l->regex, s + 1, REG_EXTENDED | REG_ICASE | REG_NOSUB) == 0)
		return true;
	return false;
}

static bool take_text(struct line *l, char *s, const char **err)
{
	size_t n = strlen(s);

	if (n == 0) {
		*err = "the third field is empty: say * for any text";
		return false;
	}
	if (s[0] == '/' && n > 2 && s[n - 1] == '/')
		return take_regex(l, s, n, err);
	*err = "out of memory";
	return (l->words = strdup(s)) != NULL;
}

static bool take_line(struct line *l, char *s, const char **err)
{
	char *code = strchr(s, '\t'), *text = code ? strchr(code + 1, '\t') : NULL;

	if (!text) {
		*err = "three fields are needed, with a tab between them: CLASS, CODE, TEXT";
		return false;
	}
	*code++ = *text++ = '\0';
	if (!answer_class_find(s, &l->class)) {
		*err = "no such class: unknown-user, blocked, spam, rate-limited, full, policy, "
		       "temporary, network, tls, other";
		return false;
	}
	if (!code_valid(code)) {
		*err = "the second field is a code: *, 550, 5xx, 5.7.1 or 5.7.*";
		return false;
	}
	strncat(l->code, code, sizeof(l->code) - 1);
	return take_text(l, text, err);
}

static struct line *room_for_one(struct answer_table *t)
{
	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 16;
		struct line *bigger = reallocarray(t->lines, cap, sizeof(*bigger));
		if (!bigger)
			return NULL;
		t->lines = bigger;
		t->cap = cap;
	}
	return memset(&t->lines[t->n], 0, sizeof(struct line));
}

bool answer_line(struct answer_table *t, const char *line, size_t len, const char **err)
{
	char s[ANSWER_LINE_MAX + 1];

	if (len && line[len - 1] == '\r')
		len--;
	if (len == 0 || line[0] == '#')
		return true;
	if (len > ANSWER_LINE_MAX || memchr(line, '\0', len)) {
		*err = "a line is at most 1024 octets, without NUL";
		return false;
	}
	if (t->n >= ANSWER_LINES_MAX) {
		*err = "more than 10000 lines";
		return false;
	}
	memcpy(s, line, len);
	s[len] = '\0';
	struct line *l = room_for_one(t);
	*err = "out of memory";
	if (!l || !take_line(l, s, err))
		return false;
	t->n++;
	return true;
}

static char *complain(const char *file, size_t n, const char *what)
{
	char *s;

	if (n ? asprintf(&s, "%s:%zu: %s", file, n, what) < 0
	      : asprintf(&s, "%s: %s", file, what) < 0)
		return NULL;
	return s;
}

struct answer_table *answer_load(const char *file, char **err)
{
	struct answer_table *t = answer_table_new();
	const char *why = NULL;
	size_t len, n = 0;
	char *text = t ? proc_read_file(file, FILE_MAX, &len) : NULL;

	if (!text) {
		*err = complain(file, 0, t ? strerror(errno) : "out of memory");
		answer_table_free(t);
		return NULL;
	}
	for (const char *s = text, *end = text + len; s < end;) {
		const char *lf = memchr(s, '\n', (size_t)(end - s));
		n++;
		if (!answer_line(t, s, (size_t)((lf ? lf : end) - s), &why)) {
			*err = complain(file, n, why);
			answer_table_free(t);
			t = NULL;
			break;
		}
		s = lf ? lf + 1 : end;
	}
	free(text);
	return t;
}

static bool line_fits(const struct line *l, const struct parts *p)
{
	return code_fits(l->code, p) && (l->words ? words_fit(l->words, p->text)
						  : regexec(&l->regex, p->text, 0, NULL, 0) == 0);
}

enum answer_class answer_classify(const struct answer_table *t, const char *status,
				  const char *text)
{
	struct parts p;

	if ((!text || !text[0]) && (!status || !status[0]))
		return ANSWER_NONE;
	take_apart(&p, status, text ? text : "");
	if (!p.code[0] && !p.status[0])
		return ANSWER_NONE;
	if (p.code[0] ? p.code[0] == '2' : p.status[0] == '2')
		return ANSWER_OK;
	for (size_t i = 0; t && i < t->n; i++)
		if (line_fits(&t->lines[i], &p))
			return t->lines[i].class;
	return row_of(&p)->class;
}

/* --- a shorter one --------------------------------------------------------------------------- */

#define GAP  " ... "
#define HEAD 32 /* octets of it that stay at least */

void answer_abridge(char *out, size_t n, const char *text)
{
	struct parts p;
	size_t k;

	snprintf(out, n, "%s", text);
	if (strlen(text) < n ||
	    answer_classify(NULL, NULL, text) == answer_classify(NULL, NULL, out))
		return;
	take_apart(&p, NULL, text);
	/* Only words can be lost. */
	const char *words = row_of(&p)->text;
	k = strlen(words) + strlen(GAP);
	if (k + HEAD < n)
		snprintf(out + n - 1 - k, k + 1, GAP "%s", words);
}
