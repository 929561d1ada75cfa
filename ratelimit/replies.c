/*
 * replies - see replies.h.
 *
 * Messages are in a list in the order of their first reply, and in chains by their account, the
 * oldest first; recipients in a pool. Places are numbers from 1, 0 is none.
 *
 * Trusted with texts of fixed size. Diagnostics: none. Known gaps: what a host says when the
 * message was taken out already counts as another's.
 */
#include "ratelimit/replies.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAINS 1024

struct rcpt {
	char name[REPLIES_NAME_SIZE];
	enum answer_kind kind;
	uint32_t next; /* of the message, or of the free ones */
};

struct message {
	uint64_t id;
	int64_t first_ms;
	uint32_t first, last, n;	       /* recipients */
	uint32_t older, newer;		       /* of all; newer also of the free ones */
	uint32_t chain_older, chain_newer, of; /* of one chain, and which it is */
	char account[RL_ACCOUNT_MAX + 1];
};

struct chain {
	uint32_t oldest, newest;
};

struct replies {
	struct chain all, of[CHAINS];
	uint32_t free_message, free_rcpt;
	struct message message[REPLIES_MESSAGES + 1];
	struct rcpt rcpt[REPLIES_RCPTS + 1];
	/* of what was taken out */
	const char *name[REPLIES_RCPTS];
	enum answer_kind kind[REPLIES_RCPTS];
};

struct replies *replies_new(void)
{
	struct replies *r = calloc(1, sizeof *r);
	if (!r)
		return NULL;
	for (uint32_t i = 1; i < REPLIES_MESSAGES; i++)
		r->message[i].newer = i + 1;
	for (uint32_t i = 1; i < REPLIES_RCPTS; i++)
		r->rcpt[i].next = i + 1;
	r->free_message = r->free_rcpt = 1;
	return r;
}

void replies_free(struct replies *r)
{
	free(r);
}

bool replies_full(const struct replies *r)
{
	return r->free_message == 0 || r->free_rcpt == 0;
}

static uint32_t chain_of(const char *account)
{
	return (uint32_t)(rl_hash(account) % CHAINS);
}

static bool is_of(const struct message *m, const char *account)
{
	return strcmp(m->account, account) == 0;
}

static uint32_t find(const struct replies *r, uint32_t chain, const char *account, uint64_t id)
{
	uint32_t i = r->of[chain].oldest;
	while (i && !(r->message[i].id == id && is_of(&r->message[i], account)))
		i = r->message[i].chain_newer;
	return i;
}

static uint32_t begin(struct replies *r, uint32_t chain, const char *account, uint64_t id,
		      int64_t now_ms)
{
	uint32_t i = r->free_message;
	struct message *m = &r->message[i];
	r->free_message = m->newer;
	*m = (struct message){.id = id, .first_ms = now_ms, .of = chain};
	snprintf(m->account, sizeof m->account, "%s", account);
	m->older = r->all.newest;
	*(m->older ? &r->message[m->older].newer : &r->all.oldest) = i;
	r->all.newest = i;
	struct chain *c = &r->of[chain];
	m->chain_older = c->newest;
	*(m->chain_older ? &r->message[m->chain_older].chain_newer : &c->oldest) = i;
	c->newest = i;
	return i;
}

void replies_add(struct replies *r, const char *account, uint64_t message, int64_t now_ms,
		 const char *name, enum answer_kind kind)
{
	uint32_t chain = chain_of(account), i, k = r->free_rcpt;
	if (replies_full(r))
		return;
	i = find(r, chain, account, message);
	if (i == 0)
		i = begin(r, chain, account, message, now_ms);
	struct message *m = &r->message[i];
	struct rcpt *t = &r->rcpt[k];
	r->free_rcpt = t->next;
	t->next = 0;
	t->kind = kind;
	snprintf(t->name, sizeof t->name, "%s", name);
	*(m->last ? &r->rcpt[m->last].next : &m->first) = k;
	m->last = k;
	m->n++;
}

static void unlink_message(struct replies *r, struct message *m)
{
	struct chain *c = &r->of[m->of];
	*(m->older ? &r->message[m->older].newer : &r->all.oldest) = m->newer;
	*(m->newer ? &r->message[m->newer].older : &r->all.newest) = m->older;
	*(m->chain_older ? &r->message[m->chain_older].chain_newer : &c->oldest) = m->chain_newer;
	*(m->chain_newer ? &r->message[m->chain_newer].chain_older : &c->newest) = m->chain_older;
}

static void take_out(struct replies *r, uint32_t i, struct replies_of *out)
{
	struct message *m = &r->message[i];
	size_t n = 0;
	for (uint32_t k = m->first; k; k = r->rcpt[k].next, n++) {
		r->name[n] = r->rcpt[k].name;
		r->kind[n] = r->rcpt[k].kind;
	}
	unlink_message(r, m);
	/* What is free is written to by the next replies_add() at the earliest. */
	r->rcpt[m->last].next = r->free_rcpt;
	r->free_rcpt = m->first;
	memcpy(out->account, m->account, sizeof out->account);
	*m = (struct message){.newer = r->free_message};
	r->free_message = i;
	out->n = n;
	out->name = r->name;
	out->kind = r->kind;
}

bool replies_take(struct replies *r, const char *account, int64_t before_ms, struct replies_of *out)
{
	uint32_t i = account ? r->of[chain_of(account)].oldest : r->all.oldest;
	while (i && account && !is_of(&r->message[i], account))
		i = r->message[i].chain_newer;
	if (i == 0 || r->message[i].first_ms > before_ms)
		return false;
	take_out(r, i, out);
	return true;
}
