/*
 * ipc - length-prefixed frames over unix stream sockets, on a libevent base.
 *
 * Frame: u32 length of what follows, u16 type, payload (big-endian; payload at most IPC_MAX_FRAME).
 * What a type means belongs to the folder that serves it. A frame that breaks the rules ends that
 * connection, never the process. All calls are from the base's thread. SIGPIPE must be ignored, as
 * proc_signals() does.
 */
#ifndef LIB_IPC_H
#define LIB_IPC_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IPC_MAX_FRAME	(1u << 20)
#define IPC_MAX_BACKLOG (8u << 20) /* bytes waiting to be written before ipc_send() refuses */
#define IPC_UNHURRIED_MS 20	   /* a frame nobody waits for leaves with the next, or then */

struct ipc_conn;
struct ipc_listener;

struct ipc_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid; /* SO_PEERCRED, read when the connection came */
};

struct ipc_handlers {
	/* data is valid during the call. The handler may free conn (ipc_free). */
	void (*frame)(struct ipc_conn *c, uint16_t type, const uint8_t *data, size_t len,
		      void *arg);
	/* The connection ended; reason is static text. Server and fd connections are freed after
	 * the call returns; a client goes on trying. May be NULL. */
	void (*closed)(struct ipc_conn *c, const char *reason, void *arg);
	/* Clients only: (re)connected, send your hello now. May be NULL. */
	void (*connected)(struct ipc_conn *c, void *arg);
};

/*
 * Listen on path (an old socket there is removed unless someone answers on it, which is an error:
 * *err names it, a talloc'd text without parent). mode is set with the socket's creation; the
 * folder must exist. accepted() is called for each new connection and must call ipc_accept() to
 * take it, or return false to close it.
 */
struct ipc_listener *ipc_listen(struct event_base *base, const char *path, mode_t mode,
				bool (*accepted)(struct ipc_conn *c, const struct ipc_peer *peer,
						 void *arg),
				void *arg, char **err);
/* Inside accepted(): who handles this connection. */
void ipc_accept(struct ipc_conn *c, const struct ipc_handlers *h, void *arg);
/* Inside accepted(): the connection's descriptor, now the caller's, for who reads it himself; then
 * return false. -1 with errno. */
int ipc_take_fd(struct ipc_conn *c);
/* Hand the socket file to uid/gid before privileges are dropped; false with errno. */
bool ipc_listener_chown(struct ipc_listener *l, uid_t uid, gid_t gid);
void ipc_listener_free(struct ipc_listener *l); /* closes and unlinks; connections live on */

/*
 * A client that connects in the background and reconnects with back-off (50 ms to 2 s). Never NULL.
 */
struct ipc_conn *ipc_client(struct event_base *base, const char *path, const struct ipc_handlers *h,
			    void *arg);
/* A connection over an already connected fd (a socketpair to a role); takes the fd. */
struct ipc_conn *ipc_from_fd(struct event_base *base, int fd, const struct ipc_handlers *h,
			     void *arg);

/*
 * False when not connected, the backlog is full or len is above IPC_MAX_FRAME: nothing was queued.
 */
bool ipc_send(struct ipc_conn *c, uint16_t type, const void *data, size_t len);
/* The same; the other side is not woken for it before IPC_UNHURRIED_MS have passed, or another
 * frame is sent. Frames keep their order. */
bool ipc_send_unhurried(struct ipc_conn *c, uint16_t type, const void *data, size_t len);
bool ipc_connected(const struct ipc_conn *c);
size_t ipc_backlog(const struct ipc_conn *c); /* bytes */
/* Ends and frees without calling closed(); what was sent is flushed first if flush. NULL is
 * allowed. Safe inside a handler. */
void ipc_free(struct ipc_conn *c, bool flush);

/* Blocking calls for command-line tools and the CGI. -1 with *err (static or strerror text) on
 * failure. */
int ipc_dial(const char *path, int timeout_ms, const char **err);
bool ipc_write(int fd, uint16_t type, const void *data, size_t len, int timeout_ms,
	       const char **err);
/* On success *data is malloc'd, NUL-terminated past len, and the caller's to free. */
bool ipc_read(int fd, uint16_t *type, uint8_t **data, size_t *len, int timeout_ms,
	      const char **err);

#endif
