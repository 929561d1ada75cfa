/*
 * spool_queue - the queue as a session sees it: queue_submit() to its answer, without SMTP and TLS.
 *
 *   spool_queue DIRECTORY rate SIZE SECONDS SESSIONS    messages a second, processor time a message
 *   spool_queue DIRECTORY fill N SIZE                   N held messages, 500 a commit
 *   spool_queue DIRECTORY start                         seconds to open, memory a message
 *   spool_queue DIRECTORY deliver N                     N messages in, then their results
 *   spool_queue DIRECTORY leave N MSAD PORT             N messages to a server at 127.0.0.1:PORT
 *   spool_queue DIRECTORY dead N                        N messages for one destination that takes
 *                                                       nothing: what a turn of the schedule
 *                                                       costs, what a request waits
 *   spool_queue DIRECTORY hold N MSAD PORT              N messages of one account on their way:
 *                                                       hold it, release it
 *
 * One line of `name value` pairs on standard output.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "msa/queue/lanes.h"
#include "msa/queue/queue_int.h"

static struct queue *q;
static struct event_base *base;
static char data[1 << 20];
static long want, done, asked, failed;
static size_t size;
static bool hold, one_account, one_domain;
static int64_t until_us;

static bool outbox(uint64_t seq, uint32_t n, const uint8_t *records, size_t len, void *arg)
{
	(void)n;
	(void)records;
	(void)len;
	(void)arg;
	queue_outbox_acked(q, seq);
	return true;
}

static void submit(void);

static void answered(enum queue_result r, void *arg)
{
	(void)arg;
	failed += r != QUEUE_OK;
	done++;
	if (want ? asked < want : clock_mono_us() < until_us)
		submit();
	else if (done == asked)
		event_base_loopbreak(base);
}

static void submit(void)
{
	char account[40], rcpt[60];
	/* Ten thousand accounts, a thousand domains. */
	snprintf(account, sizeof(account), "user%04ld@isp.example",
		 one_account ? 0 : asked % 10000);
	snprintf(rcpt, sizeof(rcpt), "somebody%ld@d%03ld.example.net", asked,
		 one_domain ? 0 : asked % 1000);
	struct queue_rcpt to = {.address = rcpt};
	struct event e = {.kind = EVENT_MESSAGE, .t_ms = clock_utc_ms()};
	struct queue_msg m = {.account = account,
			      .mail_from = account,
			      .mail_from_out = account,
			      .rcpts = &to,
			      .n_rcpts = 1,
			      .data = (const uint8_t *)data,
			      .len = size,
			      .received_ms = clock_utc_ms(),
			      .event = &e};
	queue_new_id(q, clock_utc_ms(), m.id);
	snprintf(e.u.message.account, sizeof(e.u.message.account), "%s", account);
	snprintf(e.u.message.queue_id, sizeof(e.u.message.queue_id), "%s", m.id);
	asked++;
	queue_submit(q, &m, hold, answered, NULL);
}

static double cpu_us(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static long rss_kb(void)
{
	long all = 0, rss = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f && fscanf(f, "%ld %ld", &all, &rss) != 2)
		rss = 0;
	if (f)
		fclose(f);
	return rss * (sysconf(_SC_PAGESIZE) / 1024);
}

static void go(int sessions)
{
	for (int i = 0; i < sessions && (!want || asked < want); i++)
		submit();
	event_base_dispatch(base);
}

/*
 * The host of a virtual machine takes back what is free here, and gives it again at the first
 * touch: microseconds for each page of the files that grow. Removing an old spool leaves pages that
 * the next one gets, so that a queue that began empty would find them and a full one would not.
 * Here both find pages of a file that was just written and removed.
 */
#define WARM_MB 1500
static void warm_pages(const char *dir)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/warm", dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (int i = 0; fd >= 0 && i < WARM_MB; i++)
		if (write(fd, data, sizeof(data)) != (ssize_t)sizeof(data)) {
			perror(path);
			exit(1);
		}
	if (fd >= 0)
		close(fd);
	(void)unlink(path);
}

static void rate(char **v)
{
	size = strtoul(v[0], NULL, 10);
	until_us = clock_mono_us() + strtol(v[1], NULL, 10) * 1000000;
	hold = true; /* without delivery nothing would leave; held, nothing is tried */
	int64_t start = clock_mono_us();
	double cpu = cpu_us();
	go((int)strtol(v[2], NULL, 10));
	double s = (double)(clock_mono_us() - start) / 1e6;
	struct writer_stats w = writer_stats(q->writer);
	printf("rate %.0f cpu_us %.1f share %.1f failed %ld\n", (double)done / s,
	       (cpu_us() - cpu) / (double)done, (double)done / (double)(w.commits ? w.commits : 1),
	       failed);
}

/* --- deliveries ------------------------------------------------------------------------------ */

static void fill(const char *n, size_t bytes)
{
	want = asked + strtol(n, NULL, 10);
	size = bytes;
	go(500);
}

/* Past what was queued before. */
static struct msg *first_ready(void)
{
	struct msg *m = index_first(q->ix);

	while (m && (m->state != MSG_READY || index_is_held(m)))
		m = m->next;
	return m;
}

/* Everything that may go gets its result, as the relay role would say it. */
static void deliver(char **v)
{
	hold = false;
	fill(v[0], 4096);
	long n = 0;
	struct relay_outcome *o = calloc(1, sizeof(*o));
	o->n = 1;
	o->rcpts[0] = (struct relay_rcpt){.result = RELAY_DELIVERED, .status = "2.0.0"};
	struct msg *next = first_ready();
	int64_t start = clock_mono_us();
	double cpu = cpu_us();
	for (struct msg *m = next; m; m = next, n++) {
		next = m->next;
		memcpy(o->id, m->id, sizeof(o->id));
		o->attempt = m->attempts;
		queue_op_settle(q, m, o);
		if (n % 64 == 0)
			event_base_loop(base, EVLOOP_NONBLOCK);
	}
	(void)writer_sync(q->writer, 60000);
	double s = (double)(clock_mono_us() - start) / 1e6;
	printf("delivered %ld rate %.0f cpu_us %.1f\n", n, (double)n / s,
	       (cpu_us() - cpu) / (double)n);
	free(o);
}

/* Microseconds of the slowest and the middle one of 200. */
static void timed(const char *name, void (*fn)(void))
{
	double us[200];
	for (int i = 0; i < 200; i++) {
		int64_t start = clock_mono_us();
		fn();
		us[i] = (double)(clock_mono_us() - start);
		for (int k = i; k > 0 && us[k - 1] > us[k]; k--) {
			double x = us[k];
			us[k] = us[k - 1];
			us[k - 1] = x;
		}
	}
	printf("%s_us %.0f %s_max_us %.0f ", name, us[100], name, us[199]);
}

static void a_turn(void)
{
	int64_t now = clock_utc_ms();
	if (index_due(q->ix, now) || index_next(q->ix) < now)
		failed++;
}

static void ask(const char *op, const char *args)
{
	bool ok;
	json_t *a = json_loads(args, 0, NULL), *r = queue_request(q, op, a, &ok);
	failed += !ok;
	json_decref(a);
	json_decref(r);
}

static void a_status(void)
{
	ask("queue.stats", "{}");
}

static void a_list(void)
{
	ask("queue.list", "{\"limit\":100}");
}

static void a_search(void)
{
	ask("queue.list", "{\"limit\":100,\"account\":\"nobody@isp.example\"}");
}

static void dead(char **v)
{
	long before = rss_kb();
	one_domain = true;
	hold = false;
	fill(v[0], 1000);
	struct msg *m = index_first(q->ix);
	char name[] = "d000.example.net";
	for (; m; m = m->next)
		lanes_set(index_lanes(q->ix), m, name);
	lanes_limit(index_lanes(q->ix), name, 0, clock_utc_ms() + 3600000);
	printf("messages %zu bytes_each %.0f ", index_counts(q->ix).queued,
	       (double)(rss_kb() - before) * 1024 / (double)index_counts(q->ix).queued);
	timed("turn", a_turn);
	timed("status", a_status);
	timed("list", a_list);
	timed("search", a_search);
	puts("");
}

/* --- a hold ---------------------------------------------------------------------------------- */

static bool turn(void)
{
	return event_base_loop(base, EVLOOP_ONCE) == 0;
}

static void leave(char **v)
{
	char *err = NULL;
	size_t before = index_counts(q->ix).queued;

	hold = false;
	fill(v[0], 4096);
	size_t n = index_counts(q->ix).queued - before;
	if (!queue_start(q, &err)) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
	while (index_counts(q->ix).queued > before + n - n / 20 && turn())
		; /* TLS, names, the first connections */
	size_t first = index_counts(q->ix).queued;
	int64_t start = clock_mono_us();
	double cpu = cpu_us();
	while (index_counts(q->ix).queued > before && turn())
		;
	double left = (double)(first - before);
	printf("left %.0f rate %.0f cpu_us %.1f\n", left,
	       left * 1e6 / (double)(clock_mono_us() - start), (cpu_us() - cpu) / left);
}

static void hold_it(char **v)
{
	char *err = NULL;

	one_account = true;
	hold = false;
	fill(v[0], 1000);
	if (!queue_start(q, &err)) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
	size_t all = index_counts(q->ix).queued;
	while (index_counts(q->ix).queued > all - all / 20 && turn())
		;
	size_t at_hold = index_counts(q->ix).queued, with_relay = index_counts(q->ix).active;
	int64_t start = clock_mono_us();
	queue_hold_account(q, "user0000@isp.example", "bench");
	int64_t called = clock_mono_us();
	while (index_counts(q->ix).active && turn())
		;
	int64_t out = clock_mono_us();
	size_t left = index_counts(q->ix).queued;
	(void)writer_sync(q->writer, 60000);
	int64_t durable = clock_mono_us();
	int64_t quiet = clock_mono_us() + 2000000;
	while (clock_mono_us() < quiet && turn())
		;
	printf("with_relay %zu call_ms %.1f out_ms %.1f durable_ms %.1f delivered_meanwhile %zu "
	       "delivered_later %zu ",
	       with_relay, (double)(called - start) / 1e3, (double)(out - start) / 1e3,
	       (double)(durable - start) / 1e3, at_hold - left, left - index_counts(q->ix).queued);
	start = clock_mono_us();
	queue_release_account(q, "user0000@isp.example");
	called = clock_mono_us();
	(void)writer_sync(q->writer, 60000);
	printf("release_call_ms %.1f release_durable_ms %.1f", (double)(called - start) / 1e3,
	       (double)(clock_mono_us() - start) / 1e3);
	/* In order: what leaves is the oldest, but for what is on its way at once. */
	size_t now = index_counts(q->ix).queued;
	while (index_counts(q->ix).queued > now - now / 20 && turn())
		;
	const struct msg *m = index_first(q->ix);
	size_t ahead = 0, seen = 0, n = index_counts(q->ix).queued;
	for (const struct msg *p = m; p; p = p->next, seen++)
		if (p->state != MSG_READY)
			ahead = seen;
	printf(" released %zu left %zu furthest_ahead %zu\n", now - n, n, ahead);
}

int main(int argc, char **argv)
{
	struct queue_config cfg = {.state_dir = argv[1],
				   .hostname = "smtp.isp.example",
				   .smarthost = "127.0.0.1:9",
				   .postmaster = "postmaster@isp.example",
				   .retry_min_ms = 60000,
				   .retry_max_ms = 600000,
				   .lifetime_ms = 400000000,
				   .max_bytes = (int64_t)1 << 40,
				   .max_held_per_account = 1000000,
				   .connections = 4,
				   .timeout_ms = 5000};
	static const struct {
		const char *name;
		int args;
		void (*fn)(char **v);
	} modes[] = {{"rate", 3, rate},
		     {"deliver", 1, deliver},
		     {"dead", 1, dead},
		     {"hold", 3, hold_it},
		     {"leave", 3, leave}};
	struct queue_handlers h = {.outbox = outbox};
	char *err = NULL, host[40];
	void (*fn)(char **v) = NULL;
	bool is_fill = argc == 5 && strcmp(argv[2], "fill") == 0,
	     is_start = argc == 3 && strcmp(argv[2], "start") == 0;

	for (size_t i = 0; argc > 2 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[2], modes[i].name) == 0 && argc == 3 + modes[i].args)
			fn = modes[i].fn;
	if (!fn && !is_fill && !is_start) {
		fputs("usage: spool_queue DIRECTORY rate SIZE SECONDS SESSIONS | fill N SIZE | "
		      "start | deliver N | leave N MSAD PORT | dead N | hold N MSAD PORT\n",
		      stderr);
		return 64;
	}
	if (fn == hold_it || fn == leave) {
		snprintf(host, sizeof(host), "127.0.0.1:%s", argv[5]);
		cfg.smarthost = host;
		cfg.exe = argv[4];
		cfg.start_relay = true;
	}
	log_open("bench", LOG_ERR);
	memset(data, 'x', sizeof(data));
	for (size_t i = 0; i + 1 < sizeof(data); i += 72) { /* lines */
		data[i] = '\r';
		data[i + 1] = '\n';
	}
	memcpy(data, "Subject: bench\r\n\r\n", 18);
	long before = rss_kb();
	int64_t start = clock_mono_us();
	base = event_base_new();
	q = queue_open(base, &cfg, &h, NULL, &err);
	if (!q) {
		fprintf(stderr, "%s\n", err);
		return 1;
	}
	double seconds = (double)(clock_mono_us() - start) / 1e6;
	size_t n = index_counts(q->ix).queued;
	if (fn) {
		warm_pages(argv[1]);
		fn(argv + 3);
	} else if (is_fill) {
		hold = true;
		fill(argv[3], strtoul(argv[4], NULL, 10));
		printf("filled %ld failed %ld\n", done, failed);
	} else {
		printf("messages %zu seconds %.2f bytes_each %.0f\n", n, seconds,
		       n ? (double)(rss_kb() - before) * 1024 / (double)n : 0);
	}
	queue_close(q);
	event_base_free(base);
	return failed ? 1 : 0;
}
