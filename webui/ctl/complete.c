/*
 * complete - `sekishoctl --complete WORD...`: what may stand in place of the last word.
 *
 * Trusted with: nothing; it opens no file and no socket. Diagnostics: none, a shell is listening.
 * Known gaps: values from the database (prefixes, incident numbers) are not offered.
 */
#include <string.h>

#include "webui/ctl/complete.h"
#include "webui/ctl/help.h"

static void offer(const struct cli *c, const char *lead, const char *word, const char *typed)
{
	size_t n = strlen(lead);
	size_t take = strlen(typed) < n ? strlen(typed) : n;
	if (strncmp(lead, typed, take) == 0 &&
	    (strlen(typed) <= n || strncmp(word, typed + n, strlen(typed) - n) == 0))
		fprintf(c->io->out, "%s%s\n", lead, word);
}

static void offer_opts(const struct cli *c, const struct cli_opt *o, const char *typed)
{
	for (; o && o->name; o++)
		offer(c, "--", o->name, typed);
}

static void offer_choices(const struct cli *c, const char *choices, const char *typed)
{
	char word[64];
	for (const char *p = choices; *p; p += strspn(p, "|")) {
		size_t len = strcspn(p, "|");
		snprintf(word, sizeof(word), "%.*s", (int)len, p);
		offer(c, "", word, typed);
		p += len;
	}
}

static const struct cli_opt *opt_of(const struct cli *c, const char *w)
{
	const struct cli_opt *const lists[] = {c->verb ? c->verb->opts : NULL, help_globals};
	if (strcmp(w, "-c") == 0)
		return &help_globals[0];
	for (size_t i = 0; i < 2 && strncmp(w, "--", 2) == 0; i++)
		for (const struct cli_opt *o = lists[i]; o && o->name; o++)
			if (strcmp(o->name, w + 2) == 0)
				return o;
	return NULL;
}

static void take(struct cli *c, const char *w)
{
	if (!c->noun) {
		for (size_t i = 0; i < cli_n_nouns; i++)
			if (strcmp(cli_nouns[i]->name, w) == 0)
				c->noun = cli_nouns[i];
		if (c->noun && !c->noun->verbs[0].name)
			c->verb = &c->noun->verbs[0];
		return;
	}
	for (size_t i = 0; !c->verb && i < c->noun->n_verbs; i++)
		if (strcmp(c->noun->verbs[i].name, w) == 0)
			c->verb = &c->noun->verbs[i];
}

static void offer_words(const struct cli *c, const char *typed)
{
	if (!c->noun)
		for (size_t i = 0; i < cli_n_nouns; i++)
			offer(c, "", cli_nouns[i]->name, typed);
	else if (!c->verb)
		for (size_t i = 0; i < c->noun->n_verbs; i++)
			offer(c, "", c->noun->verbs[i].name, typed);
}

void complete_print(struct cli *c, int n, char **words)
{
	const struct cli_opt *pending = NULL;
	if (n < 1)
		return;
	for (int i = 0; i < n - 1; i++) {
		if (pending) {
			pending = NULL;
			continue;
		}
		const struct cli_opt *o = opt_of(c, words[i]);
		if (o && o->type != CLI_FLAG)
			pending = o;
		else if (words[i][0] != '-')
			take(c, words[i]);
	}
	const char *typed = words[n - 1];
	if (pending && pending->type == CLI_CHOICE) {
		offer_choices(c, pending->value, typed);
	} else if (!pending) {
		offer_words(c, typed);
		if (c->verb || typed[0] == '-') {
			offer_opts(c, c->verb ? c->verb->opts : NULL, typed);
			offer_opts(c, help_globals, typed);
		}
	}
}
