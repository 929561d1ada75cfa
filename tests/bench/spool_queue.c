/*
 * spool_queue - the queue as a session sees it: queue_submit() to its answer, without SMTP and TLS.
 *
 *   spool_queue DIRECTORY rate SIZE SECONDS SESSIONS    messages a second, processor time a message
 *   spool_queue DIRECTORY fill N SIZE                   N held messages, 500 a commit
 *   spool_queue DIRECTORY start                         seconds to open, memory a message
 *
 * One line of `name value` pairs on standard output.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "msa/queue/queue_int.h"

static struct queue *q;
static struct event_base *base;
static char data[1 << 20];
static long want, done, asked, failed;
static size_t size;
static bool hold;
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
	snprintf(account, sizeof(account), "user%04ld@isp.example", asked % 10000);
	snprintf(rcpt, sizeof(rcpt), "somebody%ld@d%03ld.example.net", asked, asked % 1000);
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
	struct queue_handlers h = {.outbox = outbox};
	char *err = NULL;
	bool is_rate = argc == 6 && strcmp(argv[2], "rate") == 0,
	     is_fill = argc == 5 && strcmp(argv[2], "fill") == 0;

	if (!is_rate && !is_fill && (argc != 3 || strcmp(argv[2], "start") != 0)) {
		fputs("usage: spool_queue DIRECTORY rate SIZE SECONDS SESSIONS | fill N SIZE | "
		      "start\n",
		      stderr);
		return 64;
	}
	log_open("bench", LOG_ERR);
	memset(data, 'x', sizeof(data));
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
	if (is_rate) {
		rate(argv + 3);
	} else if (is_fill) {
		want = strtol(argv[3], NULL, 10);
		size = strtoul(argv[4], NULL, 10);
		hold = true;
		go(500);
		printf("filled %ld failed %ld\n", done, failed);
	} else {
		printf("messages %zu seconds %.2f bytes_each %.0f\n", n, seconds,
		       n ? (double)(rss_kb() - before) * 1024 / (double)n : 0);
	}
	queue_close(q);
	event_base_free(base);
	return failed ? 1 : 0;
}
