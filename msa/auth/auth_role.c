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

#include "msa/auth/auth.h"
#include "msa/mail/path.h"
#include "msa/smtp/parser.h"
#include "msa/wipe.h"

#define ANSWER_MAX 8192

struct live {
	struct live *next;
	uint64_t id;
	struct sasl_exchange *x;
};

struct role {
	struct event_base *base;
	struct live *live;
	struct auth_mech_config cfg; /* strings in text */
	char text[5][1024], user[64];
	bool configured;
};

static void become(struct role *r)
{
	struct proc_identity id;
	const char *err;

	if (!proc_identity(r->user, &id, &err))
		fatal("cannot become %s: %s", r->user, err);
	if (id.change && geteuid() == id.uid)
		id.change = false; /* started again by a parent that has dropped already */
	proc_drop(&id, NULL, 0);
	proc_seccomp(false);
}

static bool configure(struct role *r, struct wire_in *in)
{
	const char *err;

	if (r->configured)
		return false;
	for (int i = 0; i < 5; i++)
		wire_get_str(in, r->text[i], sizeof(r->text[i]));
	wire_get_str(in, r->user, sizeof(r->user));
	if (!wire_done(in))
		return false;
	r->cfg =
	    (struct auth_mech_config){r->text[0], r->text[1], r->text[2], r->text[3], r->text[4]};
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
	uint8_t buf[ANSWER_MAX];
	struct wire_out w;

	wire_out_init(&w, buf, sizeof(buf));
	wire_u64(&w, id);
	wire_u8(&w, (uint8_t)a->result);
	wire_str(&w, a->challenge);
	wire_str(&w, a->account);
	wire_str(&w, a->detail);
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

static size_t get_binding(struct wire_in *in, uint8_t *out, size_t max)
{
	size_t len;
	const uint8_t *data = wire_get_bytes(in, max, &len);

	if (!data)
		return 0;
	memcpy(out, data, len);
	return len;
}

static bool on_start(struct role *r, struct ipc_conn *c, struct wire_in *in)
{
	uint64_t id = wire_get_u64(in);
	char mech[32], external[PATH_TEXT_MAX + 1];
	struct auth_context ctx = {.external = external};
	size_t len;

	wire_get_str(in, mech, sizeof(mech));
	uint8_t initial = wire_get_u8(in);
	const uint8_t *data = wire_get_bytes(in, SMTP_AUTH_LINE_MAX, &len);

	ctx.plus = wire_get_u8(in) != 0;
	ctx.tls.exporter_len = get_binding(in, ctx.tls.exporter, sizeof(ctx.tls.exporter));
	ctx.tls.endpoint_len = get_binding(in, ctx.tls.endpoint, sizeof(ctx.tls.endpoint));
	wire_get_str(in, external, sizeof(external));
	if (!wire_done(in) || *find(r, id))
		return false;
	struct live *l = talloc_zero(NULL, struct live);

	*l = (struct live){.next = r->live, .id = id, .x = auth_cyrus_new(&ctx)};
	r->live = l;
	step(r, c, l, mech, initial ? data : NULL, initial ? len : 0);
	return true;
}

static bool on_step(struct role *r, struct ipc_conn *c, struct wire_in *in)
{
	uint64_t id = wire_get_u64(in);
	size_t len;
	const uint8_t *data = wire_get_bytes(in, SMTP_AUTH_LINE_MAX, &len);
	struct live *l = *find(r, id);

	if (!wire_done(in) || !l)
		return false;
	step(r, c, l, NULL, data, len);
	return true;
}

static void frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	struct role *r = arg;
	struct wire_in in;
	bool ok = false;

	wire_in_init(&in, data, len);
	if (type == AUTH_F_CONFIG) {
		ok = configure(r, &in);
		if (ok)
			ipc_send(c, AUTH_F_READY, NULL, 0);
	} else if (!r->configured) {
		ok = false;
	} else if (type == AUTH_F_START) {
		ok = on_start(r, c, &in);
	} else if (type == AUTH_F_STEP) {
		ok = on_step(r, c, &in);
	} else if (type == AUTH_F_END) {
		uint64_t id = wire_get_u64(&in);

		ok = wire_done(&in);
		if (ok)
			forget(find(r, id));
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
