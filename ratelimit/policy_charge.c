/*
 * policy_charge - once a message, at RCPT, DATA or END-OF-MESSAGE.
 *
 * Messages under way are kept in a table of fixed size, four places a slot, the oldest giving way.
 *
 * Trusted with what a mail server says. Diagnostics: policy_verdict(). Known gaps: without
 * `instance` each question at RCPT is a message of its own; where only RCPT is hooked in, a message
 * that is given up after RCPT stays counted, and the declared size of a class is not judged.
 */
#include "ratelimit/policy_charge.h"

#include <stdlib.h>
#include <string.h>

#include "lib/proc.h"
#include "ratelimit/hash.h"
#include "ratelimit/uniq.h"

#define SLOTS	    4096
#define WAYS	    4
#define LEARNT_MS   3600000
#define INSTANCE_MS 3600000
#define ENOUGH	    20 /* questions, before one may say that it cannot bite */

struct under_way {
	uint64_t key; /* 0: free */
	int64_t t_ms;
	uint32_t rcpts, asked; /* counted; passed at RCPT */
	uint32_t last;	       /* its newest in kept[] + 1; 0: none */
	bool message;	       /* counted */
};

/* A recipient that passed at RCPT. */
struct kept {
	uint64_t key;  /* of its message */
	uint32_t prev; /* the one before it + 1; 0: none */
	struct policy_rcpt rcpt;
};

struct policy_charges {
	struct policy_client client[POLICY_CLIENTS];
	unsigned n_clients;
	struct under_way place[SLOTS][WAYS];
	struct kept kept[POLICY_KEPT]; /* a ring */
	uint32_t next;
	uint64_t name[UNIQ_MAX_HASHES], domain[UNIQ_MAX_HASHES]; /* of the ask */
};

struct policy_charges *policy_charges_new(void)
{
	struct policy_charges *t = calloc(1, sizeof *t);
	if (!t)
		fatal("out of memory");
	return t;
}

void policy_charges_free(struct policy_charges *t)
{
	free(t);
}

static struct policy_client *client_of(struct policy_charges *t, const struct addr *server)
{
	struct policy_client *oldest = &t->client[0];
	for (unsigned i = 0; i < t->n_clients; i++) {
		if (addr_eq(&t->client[i].address, server))
			return &t->client[i];
		if (t->client[i].used_ms < oldest->used_ms)
			oldest = &t->client[i];
	}
	if (t->n_clients < POLICY_CLIENTS)
		oldest = &t->client[t->n_clients++];
	*oldest = (struct policy_client){.address = *server};
	return oldest;
}

struct policy_client *policy_note(struct policy_charges *t, const struct addr *server,
				  const struct policy_request *r, int64_t mono_ms)
{
	struct policy_client *c = client_of(t, server);
	c->used_ms = mono_ms;
	c->requests++;
	c->stage[r->stage]++;
	c->with_login += r->account[0] != '\0';
	if (r->stage == POLICY_DATA && r->account[0])
		c->data_ms = mono_ms;
	if (r->stage == POLICY_END && r->account[0])
		c->end_ms = mono_ms;
	return c;
}

static struct under_way *find(struct policy_charges *t, const struct policy_client *c,
			      const struct policy_request *r, int64_t mono_ms)
{
	uint64_t key = hash_bytes(hash_bytes(1, &c->address, sizeof c->address), r->instance,
				  strlen(r->instance)) |
		       1;
	struct under_way *slot = t->place[key / 2 % SLOTS], *oldest = &slot[0];
	if (r->instance[0] == '\0')
		return NULL;
	for (int i = 0; i < WAYS; i++) {
		if (slot[i].key == key && mono_ms - slot[i].t_ms < INSTANCE_MS)
			return &slot[i];
		if (slot[i].t_ms < oldest->t_ms)
			oldest = &slot[i];
	}
	*oldest = (struct under_way){.key = key, .t_ms = mono_ms};
	return oldest;
}

static bool lately(int64_t t_ms, int64_t mono_ms)
{
	return t_ms != 0 && mono_ms - t_ms < LEARNT_MS;
}

static void keep(struct policy_charges *t, struct under_way *u, const struct policy_rcpt *rcpt)
{
	t->kept[t->next] = (struct kept){.key = u->key, .prev = u->last, .rcpt = *rcpt};
	u->last = t->next + 1;
	t->next = (t->next + 1) % POLICY_KEPT;
}

/* The newest n of the message, and rcpt, in the order they came. */
static void recipients(struct policy_charges *t, const struct under_way *u, uint32_t n,
		       const struct policy_rcpt *rcpt, struct rl_ask *ask)
{
	uint32_t at = UNIQ_MAX_HASHES, i = u->last;
	if (rcpt) {
		t->name[--at] = rcpt->name;
		t->domain[at] = rcpt->domain;
	}
	for (; n > 0 && at > 0 && i > 0 && t->kept[i - 1].key == u->key; n--) {
		t->name[--at] = t->kept[i - 1].rcpt.name;
		t->domain[at] = t->kept[i - 1].rcpt.domain;
		i = t->kept[i - 1].prev;
	}
	ask->rcpt_hash = t->name + at;
	ask->domain_hash = t->domain + at;
	ask->n_hash = UNIQ_MAX_HASHES - at;
}

bool policy_amounts(struct policy_charges *t, const struct policy_client *c,
		    const struct policy_request *r, const struct policy_rcpt *rcpt, int64_t mono_ms,
		    struct rl_ask *ask)
{
	static const struct under_way none;
	struct under_way *u = find(t, c, r, mono_ms);
	bool later =
	    lately(c->end_ms, mono_ms) || (r->stage == POLICY_RCPT && lately(c->data_ms, mono_ms));
	uint32_t total = r->recipients;
	if (r->stage == POLICY_OTHER || r->account[0] == '\0')
		return false;
	u = u ? u : (struct under_way *)(uintptr_t)&none;
	if (r->stage == POLICY_RCPT)
		total = later ? u->asked + 1 : u->rcpts + 1;
	else if (total == 0)
		total = u->asked; /* a server that does not tell the number */
	ask->charge = r->stage == POLICY_END || !later;
	ask->messages = u->message ? 0 : 1;
	ask->rcpts = total > u->rcpts ? total - u->rcpts : 0;
	uint32_t new = u->asked > u->rcpts ? u->asked - u->rcpts : 0;
	/* Of a message to one, Postfix names that one again at its end. */
	if (r->stage == POLICY_RCPT)
		recipients(t, u, ask->charge ? 0 : u->asked, rcpt, ask);
	else
		recipients(t, u, new, u->asked > 0 || ask->rcpts == 0 ? NULL : rcpt, ask);
	ask->bytes = r->stage == POLICY_RCPT ? 0 : r->size;
	if (r->stage == POLICY_DATA && ask->charge)
		ask->bytes = 0; /* not known yet */
	return true;
}

void policy_passed(struct policy_charges *t, const struct policy_client *c,
		   const struct policy_request *r, const struct policy_rcpt *rcpt, int64_t mono_ms,
		   const struct rl_ask *ask)
{
	struct under_way *u = find(t, c, r, mono_ms);
	if (!u)
		return;
	if (r->stage == POLICY_RCPT) {
		u->asked++;
		if (rcpt)
			keep(t, u, rcpt);
	}
	if (!ask->charge)
		return;
	u->message |= ask->messages > 0;
	u->rcpts += ask->rcpts;
}

const char *policy_verdict(const struct policy_client *c, bool *bites)
{
	*bites = c->requests < ENOUGH;
	if (c->with_login == 0)
		return "no sasl_username ever: hook it into a service that asks for logins "
		       "(smtpd_sasl_auth_enable), before permit_sasl_authenticated";
	if (c->stage[POLICY_RCPT] + c->stage[POLICY_DATA] + c->stage[POLICY_END] == 0)
		return "hooked in before there is a recipient: use smtpd_recipient_restrictions";
	*bites = true;
	if (c->stage[POLICY_END] > 0 && c->stage[POLICY_RCPT] > 0)
		return "bites: checked at RCPT, counted once at END-OF-MESSAGE with its size";
	if (c->stage[POLICY_END] > 0)
		return "bites: counted once at END-OF-MESSAGE; single recipients are not refused";
	if (c->stage[POLICY_DATA] > 0)
		return "bites: counted once at DATA, without its size";
	return "bites: counted at RCPT, recipient by recipient, without its size";
}

void policy_each_client(const struct policy_charges *t,
			void (*f)(const struct policy_client *c, void *arg), void *arg)
{
	for (unsigned i = 0; i < t->n_clients; i++)
		f(&t->client[i], arg);
}
