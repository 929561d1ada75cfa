/* conf: any file; what is taken must load from its own dump to the same dump, and no file may spoil
 * the next one. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <talloc.h>

#include "lib/conf.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

struct fuzz_class {
	char *name;
	int64_t rate;
	struct conf_list list;
};

struct fuzz_conf {
	struct conf_common common;
	struct conf_items classes;
	bool on;
	int64_t port, size, wait;
	char *host, *cert, *peeked;
	int fail;
	struct conf_list list;
};

#define AT(field) offsetof(struct fuzz_conf, field)
static const struct conf_key keys[] = {
    CONF_COMMON_ROWS,
    {"nfq", "on", CONF_BOOL, AT(on), "yes", 0, 0, NULL, true, "on or off", false},
    {"nfq", "port", CONF_INT, AT(port), "25", -5, 65535, NULL, true, "the port", false},
    {"nfq", "size", CONF_SIZE, AT(size), "10M", 0, 0, NULL, true, "bytes", false},
    {"nfq", "wait", CONF_DURATION, AT(wait), "1h30m", 0, 0, NULL, false, "time", false},
    {"nfq", "host", CONF_STRING, AT(host), "", 0, 0, NULL, false, "a name", false},
    {"nfq", "cert", CONF_PATH, AT(cert), "", 0, 0, NULL, false, "a file", false},
    {"nfq", "fail", CONF_ENUM, AT(fail), "closed", 0, 0, "closed|open", true, "policy", false},
    {"nfq", "list", CONF_LIST, AT(list), "a b", 0, 0, NULL, false, "some", false},
    {"msa", "hostname", CONF_STRING, AT(peeked), "mx", 0, 0, NULL, true, "theirs", true},
    {"class", "", CONF_GROUP, AT(classes), NULL, 0, sizeof(struct fuzz_class), NULL, true, NULL,
     false},
    {"class", "rate", CONF_INT, offsetof(struct fuzz_class, rate), "60", 1, 1000, NULL, false,
     "a rate", false},
    {"class", "list", CONF_LIST, offsetof(struct fuzz_class, list), "x", 0, 0, NULL, true, "a list",
     false},
};
#define N_KEYS (sizeof keys / sizeof *keys)

/* Loads the bytes; the dump on success (malloc'd), or NULL. */
static char *load(const void *data, size_t size)
{
	void *ctx = talloc_new(NULL);
	struct fuzz_conf c = {.port = 0};
	char path[32], *err = NULL, *dump = NULL;
	size_t len = 0;
	int fd = memfd_create("conf", MFD_CLOEXEC);
	must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (conf_load(ctx, path, keys, N_KEYS, &c, &err)) {
		FILE *f = open_memstream(&dump, &len);
		must(f != NULL);
		conf_dump(f, keys, N_KEYS, &c);
		(void)fclose(f);
	} else {
		must(err && *err);
	}
	(void)close(fd);
	talloc_free(ctx);
	return dump;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char good[] = "nfq { host = \"fine\" } # good\n";
	/* Reading a device or a pipe for ever would say nothing about the parser. */
	if (memmem(data, size, "include", 7) && memmem(data, size, "/", 1))
		return 0;
	char *first = load(data, size);
	if (first) {
		char *second = load(first, strlen(first));
		must(second && strcmp(first, second) == 0);
		free(second);
	}
	free(first);
	char *after = load(good, sizeof good - 1);
	must(after && strstr(after, "\"fine\""));
	free(after);
	return 0;
}
