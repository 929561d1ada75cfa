/*
 * proc - how a daemon comes up, gives up its privileges, and stops.
 *
 * Order in every daemon: arguments, configuration, sockets and files that need root, proc_drop(),
 * proc_seccomp(), proc_ready(), loop. Three kinds of failure: expected ones are results; an
 * environment that does not allow to start is fatal(); a broken invariant of our own is bug(),
 * which aborts.
 */
#ifndef LIB_PROC_H
#define LIB_PROC_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Logs at LOG_CRIT and exits with 78 (EX_CONFIG) for fatal_config, 71 (EX_OSERR) for fatal. errno
 * is appended when not 0 by fatal_errno. */
_Noreturn void fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fatal_errno(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fatal_config(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void bug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define bug_on(cond)                                                                               \
	do {                                                                                       \
		if (__builtin_expect(!!(cond), 0))                                                 \
			bug("%s:%d: %s", __FILE__, __LINE__, #cond);                               \
	} while (0)

struct proc_args {
	const char *conf_file; /* -c, default /etc/sekisho/sekisho.conf */
	bool check_only;       /* -n */
	int log_priority;      /* LOG_INFO; -v: LOG_DEBUG; -q: LOG_WARNING */
};

/* Handles -c -n -v -q -h/--help --version; prints usage and exits on a bad one (64). summary is one
 * line for --help. Opens the log. */
void proc_args(int argc, char **argv, const char *program, const char *summary,
	       struct proc_args *out);

struct proc_identity {
	uid_t uid;
	gid_t gid;
	bool change; /* false: user was "", stay who we are */
};
/* Looks up user ("" = stay); its primary group. False with *err. */
bool proc_identity(const char *user, struct proc_identity *out, const char **err);
/*
 * Become id, keep only the capabilities listed (CAP_*; n may be 0), set no_new_privs, non-dumpable,
 * no core, umask 027. With change false the uid stays, and every capability not listed is dropped
 * all the same; uid 0 gains nothing by execve(2) any more. Before any thread is started. fatal()
 * when anything fails.
 */
void proc_drop(const struct proc_identity *id, const int *keep_caps, size_t n);
/* The same, but the capabilities survive an execve(2): for a program that runs itself again
 * (lib/upgrade.h). */
void proc_drop_for_upgrade(const struct proc_identity *id, const int *keep_caps, size_t n);
/* Kill the process on system calls no daemon of ours needs (execve, ptrace, mount, bpf, module
 * loading, ...). allow_exec leaves execve in. */
void proc_seccomp(bool allow_exec);
/* Kill the process on everything but memory, time, randomness, and reading and writing what is open
 * already: for a process that computes. */
void proc_seccomp_compute(void);
/* Names the filter in force; "": none. */
const char *proc_filter(void);

/* This process stands back while processors are short: beside one that does not it gets a tenth of
 * a processor. Before any thread is started, and before proc_seccomp(). */
void proc_stand_back(void);
/* This process has its share of the processors, but when it is woken it takes none from another
 * that runs (SCHED_BATCH). Before any thread is started, and before proc_seccomp(). */
void proc_give_way(void);

/* sd_notify(3): no-ops without NOTIFY_SOCKET. status may be NULL. */
void proc_ready(const char *status);
void proc_reloading(void);
void proc_stopping(void);
/* Pings the systemd watchdog at half its interval from base, if one is asked for. */
void proc_watchdog(struct event_base *base);
/* The same, but only while fine() says so: who hangs is started again. */
void proc_watchdog_while(struct event_base *base, bool (*fine)(void *arg), void *arg);
/* It is at work: for what keeps the loop from turning for long. */
void proc_busy(void);

/* SIGTERM and SIGINT call stop, SIGHUP calls reload (may be NULL); SIGPIPE is ignored. Signals that
 * proc_block_signals() holds back are let in. */
void proc_signals(struct event_base *base, void (*stop)(void *arg), void (*reload)(void *arg),
		  void *arg);

/* Hold the signals of proc_signals() and SIGUSR2 back, also over an execve(2). */
void proc_block_signals(bool block);

/* What proc_args() was given, and the file this program was started from. */
char *const *proc_own_args(void);
const char *proc_own_file(void);

/* mkdir -p of one folder, owned by id if id->change (id may be NULL); mode is for a new one only. A
 * link at its place is refused. False with errno. */
bool proc_folder(const char *path, mode_t mode, const struct proc_identity *id);
/* Write a file durably: temporary name, fsync, rename, fsync of the folder. False with errno. */
bool proc_write_file(const char *path, const void *data, size_t len, mode_t mode);
/* Whole file into malloc'd memory, NUL-terminated past len; NULL with errno (EFBIG above max). */
char *proc_read_file(const char *path, size_t max, size_t *len);

#endif
