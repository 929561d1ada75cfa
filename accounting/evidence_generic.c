/*
 * evidence_generic - is a host name made from its address? (contract in evidence.h)
 *
 * Judged by rules: the address's octets (in order or reversed, padded or not, three of them are
 * enough), its hexadecimal or decimal form, an IPv6 address's nibbles; then words. The domain that
 * somebody registered, the last two or three labels, is not searched for words, so that
 * mail.cable-news.example is not taken for a cable modem.
 *
 * Known gaps: what is a registered domain is guessed (two labels, three under a short second label
 * of a country); names in other languages than English and the shared words of the trade.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accounting/evidence.h"

#define RUNS_MAX 16

struct words {
	const char *word;
	enum evidence_verdict verdict;
};

static const struct words words[] = {
    {"dyn", EVIDENCE_BAD},	    {"dynamic", EVIDENCE_BAD},	   {"dynip", EVIDENCE_BAD},
    {"dynamicip", EVIDENCE_BAD},    {"dhcp", EVIDENCE_BAD},	   {"ppp", EVIDENCE_BAD},
    {"pppoe", EVIDENCE_BAD},	    {"dial", EVIDENCE_BAD},	   {"dialup", EVIDENCE_BAD},
    {"dialin", EVIDENCE_BAD},	    {"pool", EVIDENCE_BAD},	   {"pools", EVIDENCE_BAD},
    {"unassigned", EVIDENCE_BAD},   {"unallocated", EVIDENCE_BAD}, {"unused", EVIDENCE_BAD},
    {"cgn", EVIDENCE_BAD},	    {"cgnat", EVIDENCE_BAD},	   {"dsl", EVIDENCE_WEAK},
    {"adsl", EVIDENCE_WEAK},	    {"vdsl", EVIDENCE_WEAK},	   {"xdsl", EVIDENCE_WEAK},
    {"sdsl", EVIDENCE_WEAK},	    {"cable", EVIDENCE_WEAK},	   {"catv", EVIDENCE_WEAK},
    {"ftth", EVIDENCE_WEAK},	    {"broadband", EVIDENCE_WEAK},  {"customer", EVIDENCE_WEAK},
    {"customers", EVIDENCE_WEAK},   {"cust", EVIDENCE_WEAK},	   {"client", EVIDENCE_WEAK},
    {"clients", EVIDENCE_WEAK},	    {"subscriber", EVIDENCE_WEAK}, {"user", EVIDENCE_WEAK},
    {"users", EVIDENCE_WEAK},	    {"home", EVIDENCE_WEAK},	   {"res", EVIDENCE_WEAK},
    {"residential", EVIDENCE_WEAK}, {"mobile", EVIDENCE_WEAK},	   {"wifi", EVIDENCE_WEAK},
    {"wlan", EVIDENCE_WEAK},	    {"static", EVIDENCE_WEAK},	   {"rev", EVIDENCE_WEAK},
    {"reverse", EVIDENCE_WEAK},	    {"host", EVIDENCE_WEAK},	   {"ip", EVIDENCE_WEAK},
};

static bool is_digit(char b)
{
	return b >= '0' && b <= '9';
}

static bool is_letter(char b)
{
	return b >= 'a' && b <= 'z';
}

static bool is_hex(char b)
{
	return is_digit(b) || (b >= 'a' && b <= 'f');
}

/* --- the address, IPv4 --- */

/* Numbers of the name that may be octets, in order; -1 for one that cannot. */
static size_t numbers(const char *name, int out[static RUNS_MAX])
{
	size_t n = 0;
	while (*name && n < RUNS_MAX) {
		size_t k = strspn(name, "0123456789");
		if (k == 0) {
			name++;
			continue;
		}
		out[n++] = k <= 3 ? (int)strtol(name, NULL, 10) : -1;
		name += k;
	}
	return n;
}

/* The most octets that follow one another in the name as in seq. */
static size_t longest(const int *run, size_t n, const int seq[static 4])
{
	size_t best = 0;
	for (size_t i = 0; i < n; i++)
		for (size_t from = 0; from < 4; from++) {
			size_t k = 0;
			while (i + k < n && from + k < 4 && run[i + k] == seq[from + k])
				k++;
			best = k > best ? k : best;
		}
	return best;
}

static size_t octets_in(const char *name, const uint8_t v[static 4])
{
	const int fwd[4] = {v[0], v[1], v[2], v[3]}, back[4] = {v[3], v[2], v[1], v[0]};
	int run[RUNS_MAX];
	size_t n = numbers(name, run);
	size_t f = longest(run, n, fwd), b = longest(run, n, back);
	return f > b ? f : b;
}

static bool holds(const char *name, const char *text)
{
	return strstr(name, text) != NULL;
}

/* One number or one word: 192000002001, c0000201, c0-00-02-01, 3221225985, and reversed. */
static bool whole_in(const char *name, const uint8_t v[static 4])
{
	static const char *const forms[] = {"%03u%03u%03u%03u", "%02x%02x%02x%02x",
					    "%02x-%02x-%02x-%02x"};
	char text[32];
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		/* The formats are the literals above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(text, sizeof text, forms[i], v[0], v[1], v[2], v[3]);
		if (holds(name, text))
			return true;
		snprintf(text, sizeof text, forms[i], v[3], v[2], v[1], v[0]);
#pragma GCC diagnostic pop
		if (holds(name, text))
			return true;
	}
	snprintf(text, sizeof text, "%u",
		 (unsigned)v[0] << 24 | (unsigned)v[1] << 16 | (unsigned)v[2] << 8 | v[3]);
	return strlen(text) >= 8 && holds(name, text);
}

/* --- the address, IPv6 --- */

/* The name without what stands between nibbles. */
static void squeeze(const char *name, char *out, size_t n)
{
	size_t used = 0;
	for (; *name && used + 1 < n; name++)
		if (is_hex(*name))
			out[used++] = *name;
		else if (*name != '-' && *name != '.' && *name != '_')
			out[used++] = '/';
	out[used] = '\0';
}

/* "2001-db8-1--25": its text with another sign for the colons; at least three groups. */
static bool text6_in(const char *name, const struct addr *a, char sign)
{
	char text[ADDR_STRLEN];
	int groups = 0;
	addr_format(a, text);
	for (char *p = text; *p; p++)
		if (*p == ':') {
			groups++;
			*p = sign;
		}
	return groups >= 3 && holds(name, text);
}

static bool addr6_in(const char *name, const struct addr *a)
{
	char nib[33], rev[33], flat[DNS_NAME_MAX], half[17];
	for (int i = 0; i < 16; i++)
		snprintf(nib + (ptrdiff_t)2 * i, 3, "%02x", a->b[i]);
	for (int i = 0; i < 32; i++)
		rev[i] = nib[31 - i];
	rev[32] = '\0';
	squeeze(name, flat, sizeof flat);
	snprintf(half, sizeof half, "%s", nib + 16);
	return holds(flat, nib) || holds(flat, rev) || holds(flat, half) ||
	       text6_in(name, a, '-') || text6_in(name, a, '.') || text6_in(name, a, 'x');
}

/* --- words --- */

/* Bytes of the name before the registered domain. */
static size_t host_part(const char *name)
{
	const char *dot[4] = {NULL};
	size_t len = strlen(name), n = 0;
	for (size_t i = len; i-- > 0 && n < 4;)
		if (name[i] == '.')
			dot[n++] = name + i;
	if (n < 2)
		return n ? 0 : len;
	bool country = strlen(dot[0] + 1) == 2 && dot[0] - dot[1] - 1 <= 3;
	if (!country)
		return (size_t)(dot[1] - name);
	return n < 3 ? 0 : (size_t)(dot[2] - name);
}

static const struct words *find_word(const char *text, size_t n)
{
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strlen(words[i].word) == n && memcmp(words[i].word, text, n) == 0)
			return &words[i];
	return NULL;
}

/* The worst word: letters between anything that is no letter. */
static const struct words *worst_word(const char *name)
{
	const struct words *worst = NULL;
	size_t n = host_part(name);
	for (size_t i = 0; i < n;) {
		size_t k = 0;
		while (i + k < n && is_letter(name[i + k]))
			k++;
		const struct words *w = find_word(name + i, k);
		if (w && (!worst || w->verdict > worst->verdict))
			worst = w;
		i += k ? k : 1;
	}
	return worst;
}

enum evidence_verdict evidence_generic(const char *name, const struct addr *a, char *why, size_t n)
{
	char low[DNS_NAME_MAX], text[ADDR_STRLEN];
	size_t octets = 0;
	bool whole;
	if (!dns_name(name, low))
		snprintf(low, sizeof low, "%s", name);
	if (addr_is4(a)) {
		octets = octets_in(low, addr_v4(a));
		whole = octets >= 3 || whole_in(low, addr_v4(a));
	} else {
		whole = addr6_in(low, a);
	}
	if (whole) {
		snprintf(why, n, "%s is made from the address %s", low, addr_format(a, text));
		return EVIDENCE_BAD;
	}
	const struct words *w = worst_word(low);
	if (w && w->verdict == EVIDENCE_BAD) {
		snprintf(why, n, "%s says \"%s\": the name of a dynamic line", low, w->word);
		return EVIDENCE_BAD;
	}
	if (w || octets == 2) {
		if (w)
			snprintf(why, n, "%s says \"%s\", as names given to every line do", low,
				 w->word);
		else
			snprintf(why, n, "%s holds two octets of the address", low);
		return EVIDENCE_WEAK;
	}
	snprintf(why, n, "%s is a name of its own", low);
	return EVIDENCE_GOOD;
}
