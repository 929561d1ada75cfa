/*
 * spool_store - what ways of storing accepted mail cost: messages a second, and processor time a
 * message.
 *
 *   spool_store DIRECTORY SIZE SECONDS
 *
 * Each way makes GROUP messages durable at a time, as a group commit with sixteen sessions does,
 * with what belongs to each: the envelope, one recipient, an accounting record. Ways: sqlite rows
 * and body in one SQLite file (WAL, synchronous=FULL) hybrid    bodies appended to a file, rows in
 * SQLite: two syncs a group files     a file and an fsync a message, one fsync of the directory a
 * group log       everything appended to one file, one fdatasync a group log+room  the same into
 * space that was taken with fallocate(2) log+used  the same over a file that was written before Not
 * part of the product: a measurement that docs/decisions/0017-segments.md cites.
 */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define GROUP	 11
#define ENVELOPE 300
#define LOG_MAX	 (64 << 20)

static size_t size;
static char *body, dir[400];
static sqlite3 *db;
static sqlite3_stmt *st[6];
static int fd = -1, dfd;
static off_t at;
static int64_t key;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static char *path(const char *name)
{
	static char p[500];
	snprintf(p, sizeof(p), "%s/%s", dir, name);
	return p;
}

static void sql_open(void)
{
	static const char *const q[] = {
	    "BEGIN IMMEDIATE",
	    "COMMIT",
	    "INSERT INTO message "
	    "VALUES(?,?,'account@isp.example','account@isp.example','prvs=0123abcdef=account@isp."
	    "example',4096,0,1,1,1,0,x'00',1,0,'',0,0,'')",
	    "INSERT INTO recipient VALUES(?,0,'somebody@example.net',0,'','',0,'')",
	    "INSERT INTO body VALUES(?,?)",
	    "INSERT INTO outbox(n,records) VALUES(11,?)"};

	if (sqlite3_open(path("db"), &db) != SQLITE_OK ||
	    sqlite3_exec(db,
			 "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
			 "PRAGMA wal_autocheckpoint=2000;"
			 "CREATE TABLE message(key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, "
			 "account, mail_from, mail_from_out, size, body, "
			 "received_ms, life_from_ms, next_ms, attempts, src, src_port, hold, "
			 "last_reply, flags, ret, envid);"
			 "CREATE TABLE recipient(message INTEGER, idx INTEGER, address, state, "
			 "status, reply, notify, orcpt, "
			 "PRIMARY KEY(message,idx)) WITHOUT ROWID;"
			 "CREATE TABLE body(message INTEGER PRIMARY KEY, data BLOB);"
			 "CREATE TABLE outbox(seq INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER, "
			 "records BLOB);",
			 NULL, NULL, NULL) != SQLITE_OK)
		die(sqlite3_errmsg(db));
	for (int i = 0; i < 6; i++)
		if (sqlite3_prepare_v2(db, q[i], -1, &st[i], NULL) != SQLITE_OK)
			die(sqlite3_errmsg(db));
}

static void step(int i)
{
	if (sqlite3_step(st[i]) != SQLITE_DONE)
		die(sqlite3_errmsg(db));
	sqlite3_reset(st[i]);
}

static void rows(void)
{
	char id[32];

	key++;
	snprintf(id, sizeof(id), "%016lld", (long long)key);
	sqlite3_bind_int64(st[2], 1, key);
	sqlite3_bind_text(st[2], 2, id, -1, SQLITE_TRANSIENT);
	step(2);
	sqlite3_bind_int64(st[3], 1, key);
	step(3);
}

static void outbox(void)
{
	sqlite3_bind_blob(st[5], 1, body, 11 * 130 < size ? 11 * 130 : (int)size, SQLITE_STATIC);
	step(5);
}

static void group_sqlite(void)
{
	step(0);
	for (int i = 0; i < GROUP; i++) {
		rows();
		sqlite3_bind_int64(st[4], 1, key);
		sqlite3_bind_blob(st[4], 2, body, (int)size, SQLITE_STATIC);
		step(4);
	}
	outbox();
	step(1);
}

static void log_open(const char *name)
{
	fd = open(path(name), O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		die(name);
	at = 0;
}

static void append(size_t n)
{
	static char *buf;
	size_t len = 0;

	if (!buf && !(buf = malloc(GROUP * (size + ENVELOPE + 200))))
		die("malloc");
	for (int i = 0; i < GROUP; i++) {
		memset(buf + len, 'e', n);
		memcpy(buf + len + n, body, size);
		len += n + size;
	}
	if (pwrite(fd, buf, len, at) != (ssize_t)len)
		die("write");
	at += (off_t)len;
	if (fdatasync(fd) != 0)
		die("fdatasync");
}

static void group_hybrid(void)
{
	append(0);
	step(0);
	for (int i = 0; i < GROUP; i++)
		rows();
	outbox();
	step(1);
}

static void group_files(void)
{
	char name[64];

	for (int i = 0; i < GROUP; i++) {
		snprintf(name, sizeof(name), "m%lld", (long long)++key);
		int f = open(path(name), O_WRONLY | O_CREAT | O_EXCL, 0600);
		if (f < 0 || write(f, body, ENVELOPE) != ENVELOPE ||
		    write(f, body, size) != (ssize_t)size || fsync(f) != 0)
			die(name);
		close(f);
	}
	if (fsync(dfd) != 0)
		die("fsync");
}

static void group_log(void)
{
	append(ENVELOPE + 130);
	if (at > LOG_MAX) {
		close(fd);
		unlink(path("log"));
		log_open("log");
	}
}

static void room(void)
{
	if (fd >= 0)
		close(fd);
	unlink(path("log"));
	log_open("log");
	if (posix_fallocate(fd, 0, LOG_MAX + (2 << 20)) != 0)
		die("fallocate");
}

static void group_room(void)
{
	append(ENVELOPE + 130);
	if (at > LOG_MAX)
		room();
}

static void used(void)
{
	room();
	char *zero = calloc(1, 1 << 20);
	for (int i = 0; zero && i < (LOG_MAX >> 20) + 2; i++)
		if (pwrite(fd, zero, 1 << 20, (off_t)i << 20) < 0)
			die("write");
	free(zero);
	fsync(fd);
}

static void group_used(void)
{
	append(ENVELOPE + 130);
	if (at > LOG_MAX)
		at = 0;
}

static void open_log(void)
{
	log_open("log");
}

static void open_hybrid(void)
{
	sql_open();
	log_open("bodies");
}

static void open_files(void)
{
}

static double now(clockid_t c)
{
	struct timespec t;
	clock_gettime(c, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void clean(void)
{
	char cmd[500];

	if (db) {
		for (int i = 0; i < 6; i++)
			sqlite3_finalize(st[i]);
		sqlite3_close(db);
		db = NULL;
	}
	if (fd >= 0)
		close(fd);
	fd = -1;
	key = 0;
	snprintf(cmd, sizeof(cmd), "find '%s' -type f -delete", dir);
	if (system(cmd) != 0)
		die(cmd);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*open)(void), (*group)(void);
	} ways[] = {{"sqlite", sql_open, group_sqlite}, {"hybrid", open_hybrid, group_hybrid},
		    {"files", open_files, group_files}, {"log", open_log, group_log},
		    {"log+room", room, group_room},	{"log+used", used, group_used}};

	if (argc != 4)
		return 64;
	snprintf(dir, sizeof(dir), "%s", argv[1]);
	size = (size_t)strtoul(argv[2], NULL, 10);
	double seconds = strtod(argv[3], NULL);
	body = malloc(size < 4096 ? 4096 : size);
	dfd = open(dir, O_RDONLY | O_DIRECTORY);
	if (!body || dfd < 0)
		die(dir);
	for (size_t i = 0; i < size; i++)
		body[i] = (char)(i * 7);
	printf("%-9s %8s %12s %14s\n", "way", "octets", "messages/s", "us of CPU each");
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		ways[i].open();
		double start = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID), end;
		long n = 0;
		do {
			ways[i].group();
			n += GROUP;
		} while ((end = now(CLOCK_MONOTONIC)) - start < seconds);
		printf("%-9s %8zu %12.0f %14.1f\n", ways[i].name, size, (double)n / (end - start),
		       (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e6 / (double)n);
		fflush(stdout);
		clean();
	}
	return 0;
}
