/*
 * A peer of ratelimitd sends frames: u8 type, u16 length, payload, again and again. Everything
 * behind the socket runs: decoding, limiter, JSON requests, the standing file, pushes to the peer
 * itself.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/ipc.h"
#include "lib/log.h"
#include "ratelimit/server.h"
#include "tests/fuzz/ratelimit/few.h"

static struct event_base *base;
static struct ratelimit_conf conf;
static char folder[] = "/dev/shm/sekisho-fuzz-XXXXXX", standing[64], state[48];

static void no_log(const char *line, size_t len, void *arg)
{
	(void)line, (void)len, (void)arg;
}

static void clean(void)
{
	(void)unlink(standing);
	(void)rmdir(state);
	(void)rmdir(folder);
}

static void start(void)
{
	if (!mkdtemp(folder))
		abort();
	snprintf(state, sizeof state, "%s/ratelimit", folder);
	snprintf(standing, sizeof standing, "%s/standing", state);
	atexit(clean);
	log_open("fuzz", LOG_ERR);
	log_sink(no_log, NULL);
	base = event_base_new();
	conf.common.run_dir = conf.common.state_dir = folder;
	conf.snapshot_interval_ms = 3600000;
	detector_conf_default(&conf.detector.detector);
	conf.detector.accounts = 100;
	conf.detector.snapshot_interval_ms = 3600000;
	limiter_of_a_few(&conf.limiter);
}

static void settle(int fd)
{
	uint8_t drain[4096];
	do
		event_base_loop(base, EVLOOP_NONBLOCK);
	while (recv(fd, drain, sizeof drain, MSG_DONTWAIT) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct proc_identity id = {.change = false};
	const char *why;
	char *err;
	int fd[2];
	if (!base)
		start();
	struct server *s = server_new(base, &conf, &id, &err);
	if (!s || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) != 0)
		abort();
	server_adopt_fd(s, fd[1]);
	while (size >= 3) {
		size_t len = (size_t)data[1] << 8 | data[2];
		if (len > size - 3)
			len = size - 3;
		if (!ipc_write(fd[0], data[0], data + 3, len, 1000, &why))
			break;
		settle(fd[0]);
		data += 3 + len;
		size -= 3 + len;
	}
	close(fd[0]);
	event_base_loop(base, EVLOOP_NONBLOCK);
	server_free(s);
	(void)unlink(standing);
	return 0;
}
