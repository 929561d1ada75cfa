/*
 * sink - a smart host for tests, in a process of its own, told what to do by the addresses it is
 * given.
 *
 * A recipient's local part up to the first '-' decides the reply to RCPT: "no" 550 5.1.1, "later"
 * 451 4.7.1, else 250. The sender's local part: "badfrom" 550 to MAIL; "slowdot" the final reply
 * comes DOT_DELAY_MS late; "dotlater" 451 to the final dot; "dotno" 554; "drop" closes at the final
 * dot; "dropdata" closes at DATA; "stall" never answers MAIL; "dribble" answers MAIL an octet at a
 * time and never to its end; "early" says 250 before it has the message; "slowbody" reads a message
 * slowly. Each message taken adds a line "X-Test-Id recipients" to the log, before 250 is sent.
 * Options: what EHLO offers.
 */
#ifndef TESTS_SINK_H
#define TESTS_SINK_H

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DOT_DELAY_MS 400

struct sink_options {
	bool no_pipelining, no_ehlo, no_8bit, size_small, greet_421;
	size_t slow_bytes; /* every 20 ms, of "slowbody" */
	/* STARTTLS is offered when set; NULL from it: junk is sent instead of a handshake. */
	struct bufferevent *(*tls)(struct event_base *base, int fd);
};

struct sink {
	pid_t pid;
	int port;
	char log[300];
	struct sink_options o;
};

struct sink_conn {
	struct sink *s;
	struct bufferevent *bev;
	struct event *late;
	char from[64], id[64], rcpts[2048];
	bool data, header, tls;
	int taken, n;
};

static void sink_say(struct sink_conn *c, const char *text)
{
	evbuffer_add(bufferevent_get_output(c->bev), text, strlen(text));
	evbuffer_add(bufferevent_get_output(c->bev), "\r\n", 2);
}

static bool sink_is(const char *address, const char *word)
{
	size_t n = strlen(word);
	return strncmp(address, word, n) == 0 && (address[n] == '-' || address[n] == '@');
}

static void sink_free(struct sink_conn *c)
{
	event_free(c->late);
	bufferevent_free(c->bev);
	free(c);
}

static void sink_log(const struct sink_conn *c)
{
	char line[2300];
	int fd = open(c->s->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	int n = snprintf(line, sizeof(line), "%s%s%s\n", c->id, c->rcpts, c->tls ? " TLS" : "");
	if (fd < 0 || write(fd, line, (size_t)n) != n)
		abort();
	close(fd);
}

static void sink_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	sink_say(arg, "250 2.0.0 taken late");
}

static void sink_dribble(evutil_socket_t fd, short what, void *arg)
{
	struct sink_conn *c = arg;
	const struct timeval tv = {.tv_usec = 50000};
	(void)fd;
	(void)what;
	evbuffer_add(bufferevent_get_output(c->bev), "250 welcome" + (c->n < 4 ? c->n++ : 5), 1);
	event_free(c->late);
	c->late = event_new(bufferevent_get_base(c->bev), -1, 0, sink_dribble, c);
	event_add(c->late, &tv);
}

/* Some octets every 20 ms. */
static void sink_slow(struct sink_conn *c)
{
	const struct timeval tick = {.tv_usec = 20000};

	bufferevent_set_rate_limit(
	    c->bev, ev_token_bucket_cfg_new(c->s->o.slow_bytes, c->s->o.slow_bytes,
					    EV_RATE_LIMIT_MAX, EV_RATE_LIMIT_MAX, &tick));
}

static bool sink_dot(struct sink_conn *c)
{
	const struct timeval tv = {.tv_usec = DOT_DELAY_MS * 1000};

	c->data = false;
	if (sink_is(c->from, "dotlater")) {
		sink_say(c, "451 4.3.2 not now");
	} else if (sink_is(c->from, "dotno")) {
		sink_say(c, "554-5.7.1 we do not\r\n554 5.7.1 like this");
	} else if (sink_is(c->from, "drop")) {
		sink_free(c);
		return false;
	} else {
		sink_log(c);
		if (sink_is(c->from, "slowdot"))
			event_add(c->late, &tv);
		else
			sink_say(c, "250 2.0.0 taken");
	}
	c->from[0] = '\0';
	return true;
}

static void sink_read(struct bufferevent *bev, void *arg);
static void sink_event(struct bufferevent *bev, short what, void *arg);

static void sink_tls(struct sink_conn *c)
{
	struct event_base *base = bufferevent_get_base(c->bev);
	int fd = dup(bufferevent_getfd(c->bev));

	if (write(fd, "220 go\r\n", 8) != 8)
		abort();
	bufferevent_free(c->bev);
	c->bev = c->s->o.tls(base, fd);
	c->tls = c->bev != NULL;
	if (!c->bev) {
		c->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
		sink_say(c, "this is no handshake");
	}
	bufferevent_setcb(c->bev, sink_read, NULL, sink_event, c);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

/* False: c is gone, or its buffers are new. */
static bool sink_line(struct sink_conn *c, const char *line)
{
	if (c->data) {
		if (strcmp(line, ".") == 0)
			return sink_dot(c);
		if (line[0] == '\0')
			c->header = false;
		if (c->header && strncmp(line, "X-Test-Id: ", 11) == 0)
			snprintf(c->id, sizeof(c->id), "%s", line + 11);
		return true;
	}
	if (strncmp(line, "EHLO ", 5) == 0) {
		if (c->s->o.no_ehlo) {
			sink_say(c, "502 5.5.1 what?");
		} else {
			sink_say(c, "250-sink.example at your service");
			if (!c->s->o.no_pipelining)
				sink_say(c, "250-PIPELINING");
			if (!c->s->o.no_8bit)
				sink_say(c, "250-8BITMIME");
			if (c->s->o.tls && !c->tls)
				sink_say(c, "250-STARTTLS");
			sink_say(c, c->s->o.size_small ? "250 SIZE 1000" : "250 SIZE 100000000");
		}
	} else if (strncmp(line, "HELO ", 5) == 0) {
		sink_say(c, "250 sink.example");
	} else if (strncmp(line, "MAIL FROM:<", 11) == 0) {
		snprintf(c->from, sizeof(c->from), "%s", line + 11);
		if (c->from[0] == '>')
			snprintf(c->from, sizeof(c->from), "null@");
		c->rcpts[0] = c->id[0] = '\0';
		c->taken = 0;
		if (sink_is(c->from, "badfrom"))
			sink_say(c, "550 5.1.0 not you");
		else if (sink_is(c->from, "dribble"))
			sink_dribble(-1, 0, c);
		else if (!sink_is(c->from, "stall"))
			sink_say(c, "250 2.1.0 Ok");
	} else if (strncmp(line, "RCPT TO:<", 9) == 0) {
		if (!c->from[0] || sink_is(c->from, "badfrom")) {
			sink_say(c, "503 5.5.1 MAIL first");
		} else if (sink_is(line + 9, "no")) {
			sink_say(c, "550 5.1.1 no such user");
		} else if (sink_is(line + 9, "later")) {
			sink_say(c, "451 4.7.1 greylisted");
		} else {
			c->taken++;
			size_t n = strlen(c->rcpts);
			snprintf(c->rcpts + n, sizeof(c->rcpts) - n, " %.*s",
				 (int)strcspn(line + 9, ">"), line + 9);
			sink_say(c, "250 2.1.5 Ok");
		}
	} else if (strcmp(line, "DATA") == 0) {
		if (sink_is(c->from, "dropdata")) {
			sink_free(c);
			return false;
		}
		c->data = c->taken > 0;
		c->header = true;
		sink_say(c, c->taken ? "354 go" : "503 5.5.1 RCPT first");
		if (sink_is(c->from, "early"))
			sink_say(c, "250 2.0.0 taken, I think");
		if (sink_is(c->from, "slowbody"))
			sink_slow(c);
	} else if (strcmp(line, "STARTTLS") == 0 && c->s->o.tls && !c->tls) {
		sink_tls(c);
		return false;
	} else if (strcmp(line, "RSET") == 0) {
		c->from[0] = '\0';
		sink_say(c, "250 2.0.0 Ok");
	} else if (strcmp(line, "QUIT") == 0) {
		sink_say(c, "221 2.0.0 Bye");
	} else {
		sink_say(c, "500 5.5.2 no");
	}
	return true;
}

static void sink_read(struct bufferevent *bev, void *arg)
{
	char *line;
	bool go = true;
	while (go && (line = evbuffer_readln(bufferevent_get_input(bev), NULL,
					     EVBUFFER_EOL_CRLF_STRICT))) {
		go = sink_line(arg, line);
		free(line);
	}
}

static void sink_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		sink_free(arg);
}

static void sink_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len,
			void *arg)
{
	struct sink_conn *c = calloc(1, sizeof(*c));
	int one = 1;
	(void)sa;
	(void)len;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->s = arg;
	c->bev = bufferevent_socket_new(evconnlistener_get_base(l), fd, BEV_OPT_CLOSE_ON_FREE);
	c->late = event_new(evconnlistener_get_base(l), -1, 0, sink_late, c);
	bufferevent_setcb(c->bev, sink_read, NULL, sink_event, c);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	sink_say(c, c->s->o.greet_421 ? "421 4.3.2 busy" : "220 sink.example ESMTP");
}

/* A port of 127.0.0.1 that was free a moment ago. */
static int sink_free_port(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&in, len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&in, &len) < 0)
		abort();
	close(fd);
	return ntohs(in.sin_port);
}

/* dir: where the log goes. s->port 0: any. Listens before it returns. */
static inline void sink_start(struct sink *s, const char *dir)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	pid_t parent = getpid();

	if (!s->port)
		s->port = sink_free_port();
	in.sin_port = htons((uint16_t)s->port);
	snprintf(s->log, sizeof(s->log), "%s/sink.log", dir);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(fd, 128) < 0)
		abort();
	s->pid = fork();
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		evutil_make_socket_nonblocking(fd);
		struct event_base *base = event_base_new();
		if (!evconnlistener_new(base, sink_accept, s, LEV_OPT_CLOSE_ON_FREE, 0, fd))
			abort();
		event_base_dispatch(base);
		_exit(0);
	}
	close(fd);
}

static inline void sink_stop(struct sink *s)
{
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	s->pid = 0;
}

/* Lines of the log that contain what. */
static inline int sink_count(const struct sink *s, const char *what)
{
	char line[2400];
	int n = 0;
	FILE *f = fopen(s->log, "r");
	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, what) != NULL;
	if (f)
		fclose(f);
	return n;
}

#endif
