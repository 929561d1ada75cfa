/*
 * sender - see sender.h.
 *
 * Trusted with: starting our own program again. Diagnostics: "alert" log lines. Known gaps: when
 * the process is killed every job under way is answered as failed, and may have arrived.
 */
#include "accounting/alert/sender.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "lib/ipc.h"
#include "lib/log.h"
#include "lib/proc.h"
#include "lib/role.h"
#include "accounting/alert/role.h"

#define GRACE_MS 5000

struct job {
	TAILQ_ENTRY(job) link;
	struct sender *s;
	int64_t id;
	struct event *late;
	sender_done *done;
	void *arg;
	const char *lost; /* it cannot be answered any more: why */
};

struct sender {
	struct event_base *base;
	char *exe;
	struct ipc_conn *conn; /* NULL: it does not run */
	pid_t pid;
	int64_t last_id;
	TAILQ_HEAD(, job) jobs;
};

static void end_job(struct job *j, bool ok, const char *answer)
{
	sender_done *done = j->done;
	void *arg = j->arg;
	TAILQ_REMOVE(&j->s->jobs, j, link);
	event_free(j->late);
	free(j);
	done(ok, answer, arg);
}

static struct job *job_of(struct sender *s, int64_t id)
{
	struct job *j;
	TAILQ_FOREACH(j, &s->jobs, link)
	if (j->id == id)
		return j;
	return NULL;
}

/* What is under way is answered from the loop, not from here. */
static void lose_all(struct sender *s, const char *why)
{
	struct job *j;
	TAILQ_FOREACH(j, &s->jobs, link)
	{
		j->lost = why;
		event_active(j->late, EV_TIMEOUT, 0);
	}
}

static void end_process(struct sender *s, const char *why)
{
	log_event(LOG_ERR, "-", "alert", "process-ended", LI("pid", s->pid), LS("why", why));
	ipc_free(s->conn, false);
	role_kill(s->pid);
	s->conn = NULL;
	s->pid = 0;
	lose_all(s, "the sending process ended");
}

static void on_frame(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len, void *arg)
{
	struct sender *s = arg;
	(void)c;
	json_t *o = json_loadb((const char *)data, len, 0, NULL);
	const char *text = json_string_value(json_object_get(o, "answer"));
	struct job *j = job_of(s, json_integer_value(json_object_get(o, "id")));
	if (type != ALERT_F_ANSWER || !text)
		end_process(s, "it sent a frame that breaks the rules");
	else if (j)
		end_job(j, json_is_true(json_object_get(o, "ok")), text);
	json_decref(o);
}

/* The connection is freed after this returns. */
static void on_closed(struct ipc_conn *c, const char *reason, void *arg)
{
	struct sender *s = arg;
	(void)c;
	log_event(LOG_ERR, "-", "alert", "process-ended", LI("pid", s->pid), LS("why", reason));
	role_kill(s->pid);
	s->conn = NULL;
	s->pid = 0;
	lose_all(s, "the sending process ended");
}

static void on_late(evutil_socket_t none, short what, void *arg)
{
	struct job *j = arg;
	struct sender *s = j->s;
	(void)none, (void)what;
	if (j->lost) {
		end_job(j, false, j->lost);
		return;
	}
	if (s->conn)
		end_process(s, "it does not answer");
}

static bool start(struct sender *s)
{
	static const struct ipc_handlers h = {.frame = on_frame, .closed = on_closed};
	int fd, r;
	if (s->conn)
		return true;
	r = role_start(s->exe, "alert", &fd, &s->pid);
	if (r != 0) {
		log_event(LOG_ERR, "-", "alert", "process-failed", LS("why", strerror(r)));
		s->pid = 0;
		return false;
	}
	s->conn = ipc_from_fd(s->base, fd, &h, s);
	log_event(LOG_INFO, "-", "alert", "process-started", LI("pid", s->pid));
	return true;
}

struct sender *sender_new(struct event_base *base, const char *exe)
{
	struct sender *s = calloc(1, sizeof *s);
	if (!s)
		fatal("out of memory");
	s->base = base;
	s->exe = strdup(exe);
	if (!s->exe)
		fatal("out of memory");
	TAILQ_INIT(&s->jobs);
	return s;
}

void sender_free(struct sender *s)
{
	struct job *j;
	if (!s)
		return;
	while ((j = TAILQ_FIRST(&s->jobs)) != NULL) {
		TAILQ_REMOVE(&s->jobs, j, link);
		event_free(j->late);
		free(j);
	}
	ipc_free(s->conn, false);
	role_kill(s->pid);
	free(s->exe);
	free(s);
}

static struct job *new_job(struct sender *s, int64_t timeout_ms, sender_done *done, void *arg)
{
	struct timeval tv = {.tv_sec = (timeout_ms + GRACE_MS) / 1000,
			     .tv_usec = (timeout_ms + GRACE_MS) % 1000 * 1000};
	struct job *j = calloc(1, sizeof *j);
	if (!j)
		fatal("out of memory");
	*j = (struct job){.s = s, .id = ++s->last_id, .done = done, .arg = arg};
	j->late = evtimer_new(s->base, on_late, j);
	if (!j->late || event_add(j->late, &tv) != 0)
		fatal("out of memory");
	TAILQ_INSERT_TAIL(&s->jobs, j, link);
	return j;
}

void sender_send(struct sender *s, json_t *job, sender_done *done, void *arg)
{
	struct job *j =
	    new_job(s, json_integer_value(json_object_get(job, "timeout_ms")), done, arg);
	(void)json_object_set_new(job, "id", json_integer(j->id));
	char *text = json_dumps(job, JSON_COMPACT);
	if (!text)
		fatal("out of memory");
	bool ok = start(s) && ipc_send(s->conn, ALERT_F_JOB, text, strlen(text));
	if (!ok) {
		j->lost = "the sending process does not start";
		event_active(j->late, EV_TIMEOUT, 0);
	}
	/* Headers may be secrets. */
	explicit_bzero(text, strlen(text));
	free(text);
	json_decref(job);
}
