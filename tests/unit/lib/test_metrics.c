/* metrics: the text format, adding from threads, and the HTTP port. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/metrics.h"

static char *rendered(struct evbuffer *b)
{
	metrics_render(b);
	evbuffer_add(b, "", 1);
	return (char *)evbuffer_pullup(b, -1);
}

static void test_render(void **state)
{
	(void)state;
	struct metric *a =
	    metric_new(METRIC_COUNTER, "t_verdicts_total", "what=\"ok\"", "Verdicts.");
	struct metric *g = metric_new(METRIC_GAUGE, "t_queue_messages", NULL, "Messages waiting.");
	struct metric *b =
	    metric_new(METRIC_COUNTER, "t_verdicts_total", "what=\"no\"", "Verdicts.");
	assert_ptr_equal(metric_new(METRIC_COUNTER, "t_verdicts_total", "what=\"ok\"", "Verdicts."),
			 a);
	assert_ptr_not_equal(a, b);
	metric_add(a, 2);
	metric_add(a, 1);
	metric_set(g, -5);
	assert_int_equal(metric_get(a), 3);
	struct evbuffer *out = evbuffer_new();
	/* Grouped by name, in order of registration, one HELP and TYPE a name. */
	assert_string_equal(rendered(out), "# HELP t_verdicts_total Verdicts.\n"
					   "# TYPE t_verdicts_total counter\n"
					   "t_verdicts_total{what=\"ok\"} 3\n"
					   "t_verdicts_total{what=\"no\"} 0\n"
					   "# HELP t_queue_messages Messages waiting.\n"
					   "# TYPE t_queue_messages gauge\n"
					   "t_queue_messages -5\n");
	evbuffer_free(out);
}

#define THREADS 4
#define ADDS	20000

static void *add(void *arg)
{
	(void)arg;
	for (int i = 0; i < ADDS; i++)
		metric_add(metric_new(METRIC_COUNTER, "t_threads_total", NULL, "Adds."), 1);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t t[THREADS];
	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, add, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(metric_get(metric_new(METRIC_COUNTER, "t_threads_total", NULL, "")),
			 THREADS * ADDS);
}

/* --- HTTP ---------------------------------------------------------------------------- */

static int refreshed;

static void refresh(void *arg)
{
	metric_set(arg, ++refreshed);
}

static int bound_socket(uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

/* One request over a fresh connection; the loop runs until the server closes. */
static void ask(struct event_base *base, uint16_t port, const char *request, char *answer,
		size_t cap)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	size_t n = 0;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof in), 0);
	assert_int_equal(send(fd, request, strlen(request), 0), (ssize_t)strlen(request));
	for (;;) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		ssize_t r = recv(fd, answer + n, cap - 1 - n, MSG_DONTWAIT);
		if (r == 0)
			break;
		n += r > 0 ? (size_t)r : 0;
	}
	answer[n] = '\0';
	close(fd);
}

static void test_serve(void **state)
{
	struct event_base *base = event_base_new();
	char at[32], answer[4096];
	const char *err = NULL;
	uint16_t port;
	(void)state;
	struct metric *m = metric_new(METRIC_GAUGE, "t_refreshed", NULL, "Refreshes.");
	assert_true(metrics_serve(base, "", refresh, m, &err));
	assert_false(metrics_serve(base, "localhost:1", refresh, m, &err));
	assert_non_null(err);
	int fd = bound_socket(&port);
	assert_int_equal(listen(fd, 1), 0);
	(void)snprintf(at, sizeof at, "127.0.0.1:%u", port);
	assert_false(metrics_serve(base, at, refresh, m, &err)); /* in use */
	close(fd);
	assert_true(metrics_serve(base, at, refresh, m, &err));
	assert_false(metrics_serve(base, at, refresh, m, &err)); /* one a process */

	ask(base, port, "GET /metrics HTTP/1.0\r\n\r\n", answer, sizeof answer);
	assert_non_null(strstr(answer, " 200 OK\r\n"));
	assert_non_null(
	    strstr(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	assert_non_null(strstr(answer, "\nt_refreshed 1\n"));
	ask(base, port, "GET /metrics HTTP/1.0\r\n\r\n", answer, sizeof answer);
	assert_non_null(strstr(answer, "\nt_refreshed 2\n"));
	ask(base, port, "GET / HTTP/1.0\r\n\r\n", answer, sizeof answer);
	assert_non_null(strstr(answer, " 404 "));
	ask(base, port, "POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n", answer,
	    sizeof answer);
	assert_null(strstr(answer, " 200 "));
	ask(base, port, "\x16\x03\x01 what\r\n\r\n", answer, sizeof answer);
	assert_null(strstr(answer, " 200 "));
	assert_int_equal(refreshed, 2);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_render),
	    cmocka_unit_test(test_threads),
	    cmocka_unit_test(test_serve),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
