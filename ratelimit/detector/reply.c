/*
 * reply - answers of remote servers, by a table. Pure.
 *
 * Trusted with text from anybody; only compares it. Diagnostics: none. Known gaps: words in English
 * only; an enhanced code is believed before words, except 5.7.1, which says anything.
 */
#include "ratelimit/detector/reply.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct row {
	const char *text;
	enum reply_kind kind;
};

/* The longest prefix that fits counts. X.4.x and 4xx without a word for spam say nothing. */
static const struct row codes[] = {
    {"5.1.1", REPLY_UNKNOWN}, {"5.1.2", REPLY_UNKNOWN},	 {"5.1.3", REPLY_UNKNOWN},
    {"5.1.6", REPLY_UNKNOWN}, {"5.1.10", REPLY_UNKNOWN}, {"5.1.0", REPLY_UNKNOWN},
    {"5.4.1", REPLY_UNKNOWN}, {"5.2.1", REPLY_UNKNOWN},	 {"5.7.1", REPLY_SPAM},
    {"5.7.28", REPLY_SPAM},   {"4.7.28", REPLY_SPAM},	 {"5.7.350", REPLY_SPAM},
    {"5.7.606", REPLY_SPAM},  {"5.7.511", REPLY_SPAM},	 {"5.7.512", REPLY_SPAM},
    {"5.7.708", REPLY_SPAM},  {"5.7.750", REPLY_SPAM},	 {"4.7.650", REPLY_SPAM},
    {"4.7.0", REPLY_OTHER},   {"5.7.0", REPLY_SPAM},	 {"5.7.9", REPLY_OTHER},
    {"5.7.26", REPLY_OTHER},  {"5.7.25", REPLY_OTHER},	 {"5.7.23", REPLY_OTHER},
    {"5.7.509", REPLY_OTHER}, {"2.", REPLY_OK},		 {"4.", REPLY_OTHER},
    {"5.", REPLY_OTHER},
};

static const struct row words[] = {
    {"spam", REPLY_SPAM},
    {"unsolicited", REPLY_SPAM},
    {"blacklist", REPLY_SPAM},
    {"blocklist", REPLY_SPAM},
    {"block list", REPLY_SPAM},
    {"block-list", REPLY_SPAM},
    {"black list", REPLY_SPAM},
    {"listed at", REPLY_SPAM},
    {"listed by", REPLY_SPAM},
    {"bulk mail", REPLY_SPAM},
    {"reputation", REPLY_SPAM},
    {"virus", REPLY_SPAM},
    {"malware", REPLY_SPAM},
    {"phish", REPLY_SPAM},
    {"junk", REPLY_SPAM},
    {"abuse", REPLY_SPAM},
    {"complaint", REPLY_SPAM},
    {"content reject", REPLY_SPAM},
    {"message rejected", REPLY_SPAM},
    {"user unknown", REPLY_UNKNOWN},
    {"unknown user", REPLY_UNKNOWN},
    {"unknown recipient", REPLY_UNKNOWN},
    {"recipient unknown", REPLY_UNKNOWN},
    {"no such", REPLY_UNKNOWN},
    {"does not exist", REPLY_UNKNOWN},
    {"doesn't exist", REPLY_UNKNOWN},
    {"not exist", REPLY_UNKNOWN},
    {"invalid recipient", REPLY_UNKNOWN},
    {"invalid mailbox", REPLY_UNKNOWN},
    {"mailbox unavailable", REPLY_UNKNOWN},
    {"mailbox not found", REPLY_UNKNOWN},
    {"not found", REPLY_UNKNOWN},
    {"recipientnotfound", REPLY_UNKNOWN},
    {"not our customer", REPLY_UNKNOWN},
    {"address rejected", REPLY_UNKNOWN},
    {"account disabled", REPLY_UNKNOWN},
    {"no mailbox", REPLY_UNKNOWN},
};

static bool code_fits(const char *text, const char *code)
{
	size_t n = strlen(code);
	if (strncmp(text, code, n) != 0)
		return false;
	return code[n - 1] == '.' || !isdigit((unsigned char)text[n]);
}

static const struct row *code_row(const char *text)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (code_fits(text, codes[i].text))
			return &codes[i];
	return NULL;
}

enum reply_kind reply_kind_of_code(const char *code)
{
	const struct row *r = code ? code_row(code) : NULL;
	return r ? r->kind : REPLY_OTHER;
}

static const struct row *word_row(const char *text)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasestr(text, words[i].text))
			return &words[i];
	return NULL;
}

/* 5.7.1 is "not allowed" for any reason: a word about the recipient is believed before it. */
static enum reply_kind refused(const char *text, const char *code, const struct row *word)
{
	const struct row *c = code_row(code);
	if (c && c->kind == REPLY_UNKNOWN)
		return word && word->kind == REPLY_SPAM ? REPLY_SPAM : REPLY_UNKNOWN;
	if (word)
		return word->kind == REPLY_UNKNOWN && text[0] == '4' ? REPLY_OTHER : word->kind;
	return c ? c->kind : REPLY_OTHER;
}

enum reply_kind reply_kind(const char *text)
{
	if (!text || !isdigit((unsigned char)text[0]))
		return REPLY_NONE;
	if (text[0] == '2')
		return REPLY_OK;
	const char *code = text + strspn(text, "0123456789");
	code += strspn(code, " -");
	return refused(text, code, word_row(text));
}
