/*
 * link - the server's end of one connection, without an allocation a frame: what a read brings is
 * handled whole, and all answers leave in one write.
 *
 * Frames are those of lib/ipc. A frame longer than LINK_MAX_FRAME ends the connection.
 */
#ifndef RATELIMIT_LINK_H
#define RATELIMIT_LINK_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_MAX_FRAME	 (160u << 10)
#define LINK_MAX_BACKLOG (8u << 20)

struct link;

struct link_handlers {
	/* data is valid during the call. False ends the connection: closed() follows. */
	bool (*frame)(struct link *c, uint16_t type, const uint8_t *data, size_t len, void *arg);
	/* What a read brought, n frames, is handled, and the answers are about to leave; the read
	 * returned at since_us of clock_mono_us(). NULL: nothing to do. */
	void (*batch)(unsigned n, int64_t since_us, void *arg);
	/* It is over and freed afterwards; reason is static text. */
	void (*closed)(struct link *c, const char *reason, void *arg);
};

/* Takes fd. */
struct link *link_new(struct event_base *base, int fd, const struct link_handlers *h, void *arg);
/* False: the backlog is full; nothing was queued. Sent at the end of the present frames, or now. */
bool link_send(struct link *c, uint16_t type, const void *data, size_t len);
size_t link_backlog(const struct link *c); /* bytes */
/* Ends it at once without closed(). Not from inside frame(): return false there. */
void link_free(struct link *c);

#endif
