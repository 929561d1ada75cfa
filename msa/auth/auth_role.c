/*
 * auth_role - the process that checks passwords: `sekisho-msad -x auth`, fd 3 its parent.
 *
 * Trusted with: passwords, read access to the password database; no network, no children. Its
 * configuration comes as the first frame, so that it can be started again after the parent has
 * given up its privileges and can no longer read files of root. It ends when the parent's end of fd
 * 3 closes; signals meant for the parent are ignored.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include <event2/event.h>

#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "lib/wire.h"

#include "msa/auth/auth_wire.h"
#include "msa/wipe.h"

struct live {
	struct live *next;
	uint64_t id;
	struct sasl_exchange *x;
};

struct role {
	struct event_base *base;
	struct live *live;
	struct auth_wire_config text;
	struct auth_mech_config cfg; /* strings in text */
	bool configured;
};

static void become(struct role *r)
{
	struct proc_identity id;
	const char *err;

	if (!proc_identity(r->text.user, &id, &err))
		fatal("cannot become %s: %s", r->text.user, err);
	if (id.change && geteuid() == id.uid)
		id.change = false; /* started again by a parent that has dropped already */
	proc_drop(&id, NULL, 0);
	proc_seccomp(false);
}

static bool configure(struct role *r, const uint8_t *data, size_t len)
{
	const struct auth_wire_config *t = &r->text;
	const char *err;

	if (r->configured || !auth_wire_get_config(data, len, &r->text))
		return false;
	r->cfg = (struct auth_mech_config){t->text[0], t->text[1], t->text[2],
					   t->text[3], t->text[4], t->keep_case};
	become(r);
	if (!auth_cyrus_init(&r->cfg, &err))
		fatal("Cyrus SASL does not start: %s", err);
	r->configured = true;
	return true;
}

static struct live **find(struct role *r, uint64_t id)
{
	struct live **l = &r->live;

	while (*l && (*l)->id != id)
		l = &(*l)->next;
	return l;
}

static void forget(struct live **at)
{
	struct live *l = *at;

	if (!l)
		return;
	*at = l->next;
	auth_cyrus_free(l->x);
	talloc_free(l);
}

static void answer(struct ipc_conn *c, uint64_t id, const struct auth_answer *a)
{
	uint8_t buf[AUTH_ANSWER_MAX];
	struct wire_out w;

	wire_out_init(&w, buf, sizeof(buf));
	auth_wire_put_answer(&w, id, a);
	bug_on(w.bad);
	if (!ipc_send(c, AUTH_F_ANSWER, buf, w.len))
		log_event(LOG_ERR, "-", "auth", "parent-stuck");
}

static void step(struct role *r, struct ipc_conn *c, struct live *l, const char *mech,
		 const uint8_t *data, size_t len)
{
	struct auth_answer a;
	uint64_t id = l->id;

	auth_cyrus_step(l->x, mech, (const char *)data, len, &a);
	answer(c, id, &a);
	if (a.result != AUTH_CONTINUE)
		forget(find(r, id));
}

static bool on_start(struct role *r, struct ipc_conn *c, const uint8_t *data, size_t len)
{
	struct auth_wire_start s;
	bool ok = auth_wire_get_start(data, len, &s) && !*find(r, s.id);

	if (ok) {
		struct live *l = talloc_zero(NULL, struct live);

		*l = (struct live){.next = r->live, .id = s.id, .x = auth_cyrus_new(&s.ctx)};
		r->live = l;
		step(r, c, l, s.mech, s.data, s.len);
	}
	explicit_bzero(&s, sizeof(s));
	return ok;
}

static bool on_step(struct role *r, struct ipc_conn *c, const uint8_t *data, size_t len)
{
	const uint8_t *text;
	struct live *l;
	size_t text_len;
	uint64_t id;

	if (!auth_wire_get_step(data, len, &id, &text, &text_len))
		return false;
	l = *find(r, id);
	if (l)
		step(r, c, l, NULL, text, text_len);
	return l != NULL;
}

static bool on_end(struct role *r, const uint8_t *data, size_t len)
{
	uint64_t id;

	if (!auth_wire_get_end(data, len, &id))
		return false;
	forget(find(r, id));
	return true;
}

static void frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	struct role *r = arg;
	bool ok = false;

	if (type == AUTH_F_CONFIG) {
		ok = configure(r, data, len);
		if (ok)
			ipc_send(c, AUTH_F_READY, NULL, 0);
	} else if (!r->configured) {
		ok = false;
	} else if (type == AUTH_F_START) {
		ok = on_start(r, c, data, len);
	} else if (type == AUTH_F_STEP) {
		ok = on_step(r, c, data, len);
	} else if (type == AUTH_F_END) {
		ok = on_end(r, data, len);
	}
	if (!ok)
		fatal("the parent sent a frame that breaks the rules (type %u)", type);
}

static void closed(struct ipc_conn *c, const char *reason, void *arg)
{
	struct role *r = arg;

	(void)c;
	(void)reason;
	event_base_loopbreak(r->base);
}

int auth_main(void)
{
	static const struct ipc_handlers handlers = {.frame = frame, .closed = closed};
	struct role *r = talloc_zero(NULL, struct role);

	wipe_buffers();
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	r->base = event_base_new();
	if (!r->base)
		fatal("no event loop");
	ipc_from_fd(r->base, 3, &handlers, r);
	event_base_dispatch(r->base);
	while (r->live)
		forget(&r->live);
	event_base_free(r->base);
	talloc_free(r);
	return 0;
}
